"""Where the windows of an aggregate lie, one an anchor, and the cells that their borders cut time into."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rdl.query.expressions import Aggregate
from rdl.query.scalar import indented


@dataclass(frozen=True, slots=True)
class Cell:
    """The time after the end of the cell before up to ``end`` (µs), which is included; it lies in the windows
    ``first`` to ``last`` - 1."""

    end: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows (start, end] of an aggregate in µs, by anchor; ``starts`` is None where they have no beginning.
    Neither starts nor ends ever fall from one to the next."""

    starts: tuple[int, ...] | None
    ends: tuple[int, ...]

    @property
    def are_tiled(self) -> bool:
        """Whether each ends before the next begins, so that no time is in two of them."""
        return self.starts is not None and all(
            end <= start for end, start in zip(self.ends, self.starts[1:], strict=False)
        )

    @property
    def are_apart(self) -> bool:
        """Whether no two begin or end at once, as windows of calendar months may."""
        return all(one < other for borders in (self.starts or (), self.ends) for one, other in pairwise(borders))

    def cells(self) -> tuple[Cell, ...]:
        """The cells between two borders, ascending, those that lie in no window too: each window is a run of cells."""
        if self.starts is None:
            return tuple(Cell(end, bisect_left(self.ends, end), len(self.ends)) for end in sorted(set(self.ends)))
        return tuple(
            Cell(border, bisect_left(self.ends, border), bisect_left(self.starts, border))
            for border in sorted({*self.starts, *self.ends})
        )


def lay_windows(node: Aggregate, anchors: Sequence[int]) -> Windows:
    """The windows of ``node`` at ``anchors`` (µs), which ascend. Raises ConfigError where they leave the calendar."""
    starts = None if node.start is None else tuple(map(node.start.after, anchors))
    return Windows(starts, tuple(map(node.end.after, anchors)))


def line_up(frames: Sequence[Windows]) -> tuple[Windows, tuple[int, ...]] | None:
    """The distinct windows of ``frames``, which are one after the other at each anchor, and the number of each anchor's
    first one among them. None where windows overlap, are apart in time, or no two anchors share one."""
    if any(frame.starts is None for frame in frames):
        return None
    spans = [list(zip(frame.starts or (), frame.ends, strict=True)) for frame in frames]
    apart = sorted({span for frame in spans for span in frame})
    numbers = {span: number for number, span in enumerate(apart)}
    first = tuple(numbers[span] for span in spans[0])
    windows = Windows(tuple(start for start, _ in apart), tuple(end for _, end in apart))
    follow = all(
        numbers[span] == n + later for later, frame in enumerate(spans) for n, span in zip(first, frame, strict=True)
    )
    shared = len(apart) < sum(map(len, spans))
    return (windows, first) if windows.are_tiled and follow and shared else None


#: What is aggregated within a cell, for each aggregate that can be put together from the cells of a window …
PARTS = {"COUNT": ("COUNT",), "SUM": ("SUM",), "AVG": ("SUM", "COUNT"), "MIN": ("MIN",), "MAX": ("MAX",)}
#: … and how it is put together.
_WHOLE = {
    "COUNT": "CAST(SUM(v1){0} AS BIGINT)", "SUM": "SUM(v1){0}", "AVG": "SUM(v1){0} / NULLIF(SUM(v2){0}, 0)",
    "MIN": "MIN(v1){0}", "MAX": "MAX(v1){0}",
}  # fmt: skip


def put_together(function: str, held: str, windows: Windows) -> str:
    """SQL for ``n``, ``entity`` and ``value`` of an aggregate ``function`` from the table ``held``: its parts v1, v2
    for an ``entity`` in a cell, which lies in the windows ``first`` to ``last`` - 1."""
    if windows.starts is not None and function != "COUNT":
        spread = f"SELECT {window_of('first', 'last')}, * EXCLUDE (first, last) FROM {held}"
        return f"SELECT n, entity, {_WHOLE[function].format('')} AS value\nFROM ({spread})\nGROUP BY 1, 2"
    steps = f"SELECT * FROM {held}"
    if windows.starts is not None:  # what came in leaves again: only whole numbers can be taken away without a trace
        steps = f"SELECT first, entity, v1 FROM {held} UNION ALL SELECT last, entity, -v1 FROM {held}"
    kept = (
        f"SELECT first, entity, {_WHOLE[function].format(' OVER so_far')} AS value,\n"
        f"  COALESCE(LEAD(first) OVER so_far, {len(windows.ends)}) AS next\n"
        f"FROM ({steps})\nWINDOW so_far AS (PARTITION BY entity ORDER BY first)"
    )
    return f"SELECT {window_of('first', 'next')}, entity, value\nFROM (\n{indented(kept)}\n)"


def window_of(first: str, end: str) -> str:
    """The SQL that makes a row for each window from ``first`` up to the one before ``end``, its number ``n``."""
    return f"CAST(UNNEST(range({first}, {end})) AS INTEGER) AS n"
