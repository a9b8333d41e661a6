"""The windows of a question around the time t at which it is asked, and its seeds over time, drawn with letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table as Grid
from rich.text import Text

from rdl.clock import Span, format_time
from rdl.query.expressions import Aggregate, ColumnRef, Expression, aggregates
from rdl.query.task import SPLITS, Task, TaskTable

#: How wide the pictures are, in letters, and the colours of train, val and test.
LEAST, MOST, COLOURS = 16, 60, ("blue", "yellow", "green")
#: The clauses that read windows, as they are shown.
CLAUSES = {"target": "target", "where": "WHERE", "assuming": "ASSUMING"}
_HEIGHTS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Window:
    """What one aggregate of a question reads: rows in (t + ``start``, t + ``end``].

    A ``start`` of None is the beginning of time. ``clause`` is ``target``, ``where`` or ``assuming``. A forecast reads
    ``frames`` such windows, each ``stride`` after the one before.
    """

    clause: str
    text: str
    start: Span | None
    end: Span
    frames: int = 1
    stride: Span | None = None

    @property
    def edges(self) -> tuple[float, ...]:
        """The days from t at which the window begins (−∞ where it has no start), at which each frame but the last is
        over, and at which the last one is."""
        first = -np.inf if self.start is None else self.start.days
        stride = self.stride.days if self.stride else 0.0
        return (first, *(self.end.days + frame * stride for frame in range(self.frames)))

    def to_json(self) -> dict[str, object]:
        """The window as JSON values; spans in words."""
        facts = {"clause": self.clause, "text": self.text, "start": self.start and str(self.start)}
        return {**facts, "end": str(self.end), "timeframes": self.frames}

    def __str__(self) -> str:
        begin = "(−∞" if self.start is None else f"({_from_t(self.start)}"
        more = f", {self.frames} times" if self.frames > 1 else ""
        return f"{begin}, {_from_t(self.end)}]{more}"


def windows_of(task: Task) -> tuple[Window, ...]:
    """The windows that a task reads, those of its target first."""
    return tuple(_windows(task))


def _windows(task: Task) -> Iterator[Window]:
    if task.sql is not None and task.horizon is not None:
        yield Window("target", "the manifest's SQL", Span(0), task.horizon)
    for clause, node in (("target", task.target), ("assuming", task.assuming), ("where", task.where)):
        for window in aggregates(node):
            frames, stride = (task.timeframes or 1, task.stride) if clause == "target" else (1, None)
            yield Window(clause, _written(window), window.start, window.end, frames, stride if frames > 1 else None)


def _written(window: Aggregate) -> str:
    kept = " WHERE …" if window.filter is not None else ""
    return f"{window.function}({_argument(window.table, window.argument)}{kept})"


def _argument(table: str, argument: Expression | None) -> str:
    if argument is None:
        return f"{table}.*"
    if isinstance(argument, ColumnRef):
        walked = ["+".join(relation.key) for relation in argument.relations]
        return ".".join([table, *walked, argument.column])
    return f"… of {table}"


def _from_t(span: Span) -> str:
    return "t" if span.count == 0 else f"t {'+' if span.count > 0 else '−'} {Span(abs(span.count), span.unit)}"


def extent(windows: Sequence[Window]) -> tuple[float, float]:
    """The days from t that a picture of ``windows`` spans; a window of all time is cut a little before the others."""
    edges = np.array([edge for window in windows for edge in window.edges])
    finite = edges[np.isfinite(edges)]
    low, high = min(0.0, finite.min()), max(0.0, finite.max())
    if np.isinf(edges).any():
        low -= 0.35 * (high - low or 1.0)
    return low, high if high > low else low + 1.0


def windows_grid(windows: Sequence[Window], width: int, *, row_level: bool) -> Grid:
    """A line a window, in ``width`` letters: what it reads, where it lies around t, and its bounds in words."""
    clause, bounds = (max(map(len, texts)) for texts in ((CLAUSES[w.clause] for w in windows), map(str, windows)))
    longest = max(8, width - clause - LEAST - 3 * 2)  # what is left for the names of aggregates
    named = min(longest, max(len(window.text) for window in windows))
    room = width - clause - named - 3 * 2
    bounded = room >= LEAST + 2 + bounds  # else there is no room for the bounds in words
    drawn = max(LEAST, min(MOST, room - 2 - bounds if bounded else room))
    low, high = extent(windows)
    scale = (drawn - 1) / (high - low)
    now = round(-low * scale)
    grid = Grid(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("", "", Text(" " * now + "t", style="bold"), ""):
        grid.add_column(title, no_wrap=True)
    for window in windows:
        first, *ends = (round((max(edge, low) - low) * scale) for edge in window.edges)
        cells = [" "] * drawn
        cells[now] = "│"
        begin = first + (first == now)  # the window does not hold t itself
        cells[begin : max(ends[-1], begin) + 1] = "━" * (max(ends[-1], begin) + 1 - begin)
        for end in ends[:-1]:
            cells[end] = "┿"
        if np.isinf(window.edges[0]):
            cells[0] = "┅"
        style = "blue" if window.edges[-1] <= 0 else "yellow"
        bar = Text("".join(cells)[:drawn], style=style)
        said = Text(str(window) if bounded else "", style="dim")
        text = window.text if len(window.text) <= named else f"{window.text[: named - 1]}…"
        grid.add_row(CLAUSES[window.clause], Text(text), bar, said)
    if row_level:
        grid.add_row("target", Text("the row itself"), Text(" " * now + "●", style="yellow"), "")
    return grid


def seeds_line(table: TaskTable, width: int) -> Text:
    """The number of seeds by time as a line of bars, coloured by split, between its first and its last time; a bar an
    anchor where there is room."""
    anchors = np.unique(table.time)
    drawn = max(LEAST, min(MOST, width - 60))
    edges = np.append(anchors, anchors[-1] + 1)
    if len(anchors) > drawn:
        edges = np.linspace(anchors[0], anchors[-1] + 1, drawn + 1)
    counts = np.stack([np.histogram(table.time[table.split == number], edges)[0] for number in range(len(SPLITS))])
    highest = max(int(counts.sum(axis=0).max()), 1)
    line = Text(f"seeds  {format_time(int(anchors[0]))[:10]} ")
    for bar in counts.T:
        height = int(np.ceil(bar.sum() / highest * (len(_HEIGHTS) - 1)))
        line.append(_HEIGHTS[height], style=COLOURS[int(bar.argmax())])
    line.append(f" {format_time(int(anchors[-1]))[:10]}  ")
    for split, colour in zip(SPLITS, COLOURS, strict=True):
        line.append(f"{split.value} ", style=colour)
    return line
