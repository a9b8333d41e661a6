"""What a question comes to on a database, before any training: for programs as JSON, for a terminal through rich, for a
notebook and a browser as a page with the picture of its windows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as Grid
from rich.text import Text

from rdl import charts, clock, labels
from rdl.infer import Proposal
from rdl.leaks import tellers
from rdl.page import Html, bullets, element, fragment, page
from rdl.page import table as html_table
from rdl.problems import percent, plural, some
from rdl.query.balance import Balance, balance, warn
from rdl.query.expressions import Aggregate, ColumnRef, Expression, aggregates, own_columns, walk
from rdl.query.task import SPLITS, Kind, Split, Task, TaskTable
from rdl.schema import Schema
from rdl.snapshot import Snapshot
from rdl.windows import Window, seeds_line, windows_grid, windows_of

_FEW_ROWS, _MANY_ANCHORS = 20, 10_000
#: So many timeframes and keys are written out.
_FRAMES_SHOWN, _KEYS_SHOWN = 8, 5


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What ``task`` comes to on a snapshot: its seeds are ``table``.

    ``path`` says how each aggregate reaches the entity, ``windows`` what each of them reads around t; ``anchors`` and
    ``rows`` count by split; ``balance`` holds, by split, what :func:`rdl.query.balance.balance` says for the kind of
    task, None where there are no rows; ``dropped`` counts rows whose label is unknown, ``censored`` anchors whose
    window the data do not cover. The columns ``hidden`` are no inputs at all, the ``masked`` ones are on the seed's own
    row and on every row not strictly older.
    """

    task: Task
    table: TaskTable
    sql: str
    path: tuple[str, ...]
    windows: tuple[Window, ...]
    anchors: dict[str, int]
    rows: dict[str, int]
    balance: dict[str, Balance | float | None]
    dropped: int
    censored: int
    hidden: tuple[str, ...]
    masked: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        """The kind of task."""
        return self.task.kind

    @property
    def cuts(self) -> dict[str, int]:
        """The times µs at which validation and test begin."""
        return {"val": self.table.val_cut, "test": self.table.test_cut}

    def to_json(self) -> dict[str, object]:
        """The plan as JSON values, as ``rdl plan --json`` prints it; times are ISO-8601 UTC."""
        return {
            "query": self.task.source,
            "kind": self.kind.value,
            "entity": self.task.entity,
            "sql": self.sql,
            "path": list(self.path),
            "windows": [window.to_json() for window in self.windows],
            "cuts": {split: clock.format_time(cut) for split, cut in self.cuts.items()},
            "anchors": dict(self.anchors),
            "rows": dict(self.rows),
            "balance": dict(self.balance),
            "dropped": self.dropped,
            "censored": self.censored,
            "hidden": list(self.hidden),
            "masked": list(self.masked),
            "warnings": list(self.warnings),
        }

    @property
    def summary(self) -> str:
        """What is asked, of how many rows and at which times, on one line."""
        asked = f"{self.kind} for each {self.task.entity}: {plural(len(self.table), 'row')}"
        if not len(self.table):
            return asked
        first, last = (clock.format_time(int(time)) for time in (self.table.time.min(), self.table.time.max()))
        when = "each at its own time" if self.task.row_level else f"at {plural(sum(self.anchors.values()), 'anchor')}"
        return f"{asked} {when}, {first} to {last}" if first != last else f"{asked} at {first}"

    def __repr__(self) -> str:
        console = Console(width=110, no_color=True, highlight=False, force_terminal=False)
        with console.capture() as written:
            console.print(self, crop=False)
        return written.get()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.summary, style="bold")
        yield ""
        if len(self.table):
            yield seeds_line(self.table, options.max_width)
            yield ""
        if self.windows:
            yield windows_grid(self.windows, options.max_width, row_level=self.task.row_level)
            yield ""
        splits = Grid(box=None, pad_edge=False, header_style="bold")
        for name in ("split", "begins", self._times, "rows", "balance"):
            splits.add_column(name, justify="right" if name in (self._times, "rows") else "left", overflow="fold")
        for row in self._splits():
            splits.add_row(*map(Text, row))
        yield splits
        yield ""
        facts = Grid.grid(padding=(0, 2))
        for name, value in self._facts():
            facts.add_row(Text(name, style="bold"), Text(value))
        yield facts
        yield ""
        yield Text(_shortened(self.sql), style="dim", no_wrap=True, overflow="ignore")
        if self.warnings:
            lines = Grid.grid(padding=(0, 1))
            for warning in self.warnings:
                lines.add_row(Text("!", style="yellow"), Text(warning))
            yield ""
            yield Text(plural(len(self.warnings), "warning"), style="bold yellow")
            yield lines

    @property
    def _times(self) -> str:
        return "times" if self.task.row_level else "anchors"

    def _splits(self) -> list[tuple[str, str, str, str, str]]:
        """A line a split: its name, begin, anchors, rows and balance."""
        lines = []
        for split in SPLITS:
            times = self.table.of(split).time
            begins = self.cuts.get(split.value, int(times.min()) if len(times) else None)
            shown = "–" if begins is None or self.task.split_by else clock.format_time(begins)
            figures = (f"{self.anchors[split]:,}", f"{self.rows[split]:,}", _cell(self.kind, self.balance[split]))
            lines.append((split.value, shown, *figures))
        return lines

    def _facts(self) -> list[tuple[str, str]]:
        """What there is to say beside the splits, name by name."""
        facts = [("path", ", ".join(self.path))] if self.path else []
        if self.task.row_level:
            facts.append(("inputs", "all rows strictly older than the row itself, its parents, and its own columns"))
        else:
            facts.append(("inputs", "all rows with time ≤ t"))
        facts += [("predicts", self._asked_of())] if self._asked_of() else []
        facts += [("masked", f"{', '.join(self.masked)}: read on strictly older rows only")] if self.masked else []
        facts += [("hidden", ", ".join(self.hidden))] if self.hidden else []
        facts += [("dropped", f"{plural(self.dropped, 'row')} with an unknown label")] if self.dropped else []
        censored = f"{plural(self.censored, 'anchor')} with a window that the data do not cover"
        return facts + ([("censored", censored)] if self.censored else [])

    def _asked_of(self) -> str:
        """Whom and when predictions are made for, where the query says so."""
        task, parts = self.task, []
        if task.entities is not None:
            more = len(task.entities) - _KEYS_SHOWN
            shown = ", ".join(map(repr, task.entities[:_KEYS_SHOWN]))
            parts.append(f"{task.entity} {shown}{f' and {more:,} more' if more > 0 else ''}")
        parts += [f"as of {clock.format_time(task.as_of)}"] if task.as_of is not None else []
        return ", ".join(parts)

    def _repr_html_(self) -> str:
        return fragment(element("h3", self.summary), *self._body())

    def to_html(self) -> str:
        """One page that stands alone."""
        lines = self.task.source.strip().splitlines()
        comment = [line.lstrip("- ") for line in takewhile(lambda line: line.startswith("--"), lines)]
        question = element("h1", "\n".join(lines[len(comment) :]), kind="question")
        said = element("p", " ".join(comment), kind="soft") if comment else Html()
        return page(self.summary, question, said, element("p", self.summary), *self._body())

    def _body(self) -> list[Html]:
        parts = []
        if len(self.table):
            caption = element("figcaption", "Seeds over time, by split.")
            parts.append(element("figure", charts.seeds_over_time(self.table), caption))
        if self.windows:
            caption = element("figcaption", "What each aggregate reads around the time t of a seed.")
            parts.append(element("figure", charts.windows_around(self.windows), caption))
        parts.append(html_table(("split", "begins", self._times, "rows", "balance"), self._splits()))
        parts.append(html_table((), [(element("b", name), value) for name, value in self._facts()]))
        if self.warnings:
            counted = element("b", plural(len(self.warnings), "warning"))
            parts.append(element("div", counted, bullets(self.warnings), kind="warn"))
        sql = element("pre", _shortened(self.sql))
        return [*parts, element("details", element("summary", "SQL of the labels"), sql)]


def plan(task: Task, snapshot: Snapshot, proposals: Sequence[Proposal] = ()) -> Plan:
    """What ``task`` comes to on ``snapshot``. Columns that ``proposals`` suspect of telling the future are warned of.

    Raises QueryError where it cannot be computed.
    """
    found = labels.compute(task, snapshot)
    parts = {split.value: found.table.of(split) for split in SPLITS}
    anchors = found.anchors or tuple(len(np.unique(part.time)) for part in parts.values())
    warnings = [*task.warnings, *found.warnings, *_warnings(task, parts, sum(anchors), found.dropped)]
    warnings += [f"{teller}: HIDE {teller.table}.{teller.column} if it was not known then"
                 for teller in tellers(task, found.table, snapshot)]  # fmt: skip
    warnings += [*_predicted(task, snapshot, found.table), *_told_by_time(task, snapshot.schema)]
    warnings += [*_suspects(task, snapshot.schema, proposals), *_timeless(snapshot.schema)]
    return Plan(
        task,
        found.table,
        found.sql,
        _paths(task),
        windows_of(task),
        anchors=dict(zip(parts, anchors, strict=True)),
        rows={split: len(part) for split, part in parts.items()},
        balance={split: balance(task.kind, part, parts["train"]) for split, part in parts.items()},
        dropped=found.dropped,
        censored=found.censored,
        hidden=_cells(task.hidden),
        masked=_cells(task.label_columns),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _cells(cells: frozenset[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(f"{table}.{column}" for table, column in sorted(cells))


def _paths(task: Task) -> tuple[str, ...]:
    """How each aggregate reaches the row it belongs to, and each column that is read through keys, filters included."""
    asked: tuple[Expression | None, ...] = (task.target, task.where, task.assuming)
    found = [node for root in asked for node in walk(root) if isinstance(node, Aggregate | ColumnRef)]
    return tuple(dict.fromkeys(", ".join(map(str, node.relations)) for node in found if node.relations))


def _warnings(task: Task, parts: Mapping[str, TaskTable], anchors: int, dropped: int) -> list[str]:
    """What a user should know of the seeds and their labels before training, worst first."""
    warnings = [f"{split} has no row" for split, part in parts.items() if len(part) == 0]
    warnings += [
        f"{split} has only {plural(len(part), 'row')}: its figures will be rough"
        for split, part in parts.items() if 0 < len(part) < _FEW_ROWS
    ]  # fmt: skip
    warnings += warn(task.kind, dict(parts))
    kept = sum(len(part) for part in parts.values())
    if dropped > kept:
        warnings.append(f"more labels are unknown ({dropped:,}) than known ({kept:,})")
    train, test = parts[Split.train], parts[Split.test]
    if not task.row_level and len(train) and len(test):
        unseen = float(np.mean(~np.isin(test.entity, train.entity)))
        if unseen > 0.1:
            warnings.append(f"{unseen:.0%} of the test rows are of entities never seen in training")
    if anchors > _MANY_ANCHORS and not task.row_level:
        warnings.append(f"{anchors:,} anchors: EVERY takes fewer of them")
    if task.assuming is not None:
        warnings.append("ASSUMING keeps only rows whose future fulfils it: all figures hold under that condition")
    return warnings


def _predicted(task: Task, snapshot: Snapshot, table: TaskTable) -> Iterator[str]:
    """What is odd about whom and when predictions are made for."""
    if task.entities is not None:
        missing = int((snapshot.row_of(task.entity, list(task.entities)) < 0).sum())
        if missing:
            yield f"{missing:,} of the {plural(len(task.entities), 'key')} to predict for are not in {task.entity}"
    if task.as_of is None or not len(table):
        return
    newest = labels.newest(replace(task, as_of=None), snapshot)
    if task.as_of > newest:
        yield f"AS OF {clock.format_time(task.as_of)} is later than all data, which end at {clock.format_time(newest)}"
    learned = table.time[table.split < SPLITS.index(Split.test)]
    if task.horizon is not None and len(learned) and task.horizon.after(int(learned.max())) > task.as_of:
        yield (
            f"training and validation read labels from after AS OF {clock.format_time(task.as_of)}: "
            "a SPLIT AT before it keeps the model from what was not known then"
        )


def _told_by_time(task: Task, schema: Schema) -> Iterator[str]:
    """A warning where all that a row-level target reads is the time at which it is asked, which the model knows."""
    time, own = schema[task.entity].time, own_columns(task.target)
    if time is None or time.through or not (task.row_level and own):
        return
    if all((column.table, column.column) == (task.entity, time.column) for column in own):
        yield f"the target reads only {task.entity}.{time.column}, the time at which it is asked: it is known then"


def _suspects(task: Task, schema: Schema, proposals: Sequence[Proposal]) -> list[str]:
    """The columns within reach that are suspected of telling the future, where neither query nor schema heeds it."""
    near = {task.entity}
    for window in (window for node in (task.target, task.where) for window in aggregates(node)):
        near |= {relation.child for relation in window.relations} | {relation.parent for relation in window.relations}
    near |= {relation.child for relation in schema.relations_to(task.entity)}
    near |= {relation.parent for table in tuple(near) for relation in schema.relations_from(table)}
    heeded = task.hidden | task.label_columns
    return [
        f"{leak.what}: {leak.evidence}. HIDE {leak.table}.{leak.column}, or say in the schema file when it was known"
        for leak in proposals
        if leak.kind == "leak" and leak.table in near and leak.column is not None
        and (leak.table, leak.column) not in heeded and _is_read(schema, leak.table, leak.column)
    ]  # fmt: skip


def _is_read(schema: Schema, table: str, column: str) -> bool:
    found = schema[table][column]
    return found.stype.value != "unsupported" and schema[table].told_by(found) is None


def _timeless(schema: Schema) -> list[str]:
    timeless = [table.name for table in schema.tables.values() if table.time is None]
    return [f"without a time, and so known at every time: {some(timeless)}"] if timeless else []


def _shortened(sql: str) -> str:
    """SQL with all but the first two and the last of a long list of anchors left out."""

    def short(found: re.Match[str]) -> str:
        lines = found[0].splitlines(keepends=True)
        return found[0] if len(lines) < 6 else "".join([*lines[:2], f"  … {len(lines) - 3:,} more\n", lines[-1]])

    return re.sub(r"(?:^ *\(TIMESTAMP .*\n)+", short, sql, flags=re.MULTILINE)


def _cell(kind: Kind, value: Balance | float | None) -> str:
    """A balance in words."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{percent(value)} positive" if kind is Kind.binary else f"{value:.4g}"
    if kind is Kind.forecast:
        shown = [f"{item:.4g}" for item in value.values()]
        return f"mean {', '.join(shown[:_FRAMES_SHOWN])}{', …' if len(shown) > _FRAMES_SHOWN else ''}"
    plain = kind is Kind.regression
    return ", ".join(
        f"{name} {item:.4g}" if plain or name == "labels a seed" else f"{name} {percent(item)}"
        for name, item in value.items()
    )
