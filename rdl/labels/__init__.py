"""Task + Snapshot → labels: who is asked about, when, and what came of it. DuckDB and NumPy, no loop over rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl.labels.past import history
from rdl.labels.running import extent, refuse, run
from rdl.labels.sources import find
from rdl.labels.targets import encode, known, shown
from rdl.query.expressions import aggregates
from rdl.query.sql import Compiler
from rdl.query.task import Kind, Split, Task, TaskTable
from rdl.snapshot import Snapshot

__all__ = [
    "TRAINED",
    "Labelled",
    "build",
    "compute",
    "history",
    "keyed",
    "newest",
    "refuse_untrained",
    "seeds_at",
    "values",
]

Rows = npt.NDArray[np.int64]

#: The kinds of task that a model can be trained for today; every kind is labelled and planned.
TRAINED = (Kind.binary, Kind.regression, Kind.multiclass, Kind.multilabel, Kind.forecast)


@dataclass(frozen=True, slots=True)
class Labelled:
    """What computing labels gave: the ``table``, and how it came about.

    ``sql`` gives the labels on the snapshot's views; ``anchors`` are counted by split, None where each row's own time
    is one; ``dropped`` counts seeds whose label is unknown, ``censored`` anchors whose window the data do not cover.
    """

    table: TaskTable
    sql: str
    anchors: tuple[int, int, int] | None
    dropped: int
    censored: int
    warnings: tuple[str, ...]


def build(task: Task, snapshot: Snapshot) -> TaskTable:
    """The seeds of ``task`` with their labels, by split, time and entity; rows with an unknown label are left out.

    Raises QueryError where nothing can be learned: no training row, one class only, no positive at all.
    """
    labelled = compute(task, snapshot)
    table = labelled.table
    train = table.of(Split.train)
    unknown = f"; {labelled.dropped} rows have an unknown label" if labelled.dropped else ""
    if len(train) == 0:
        raise refuse(f"the task has no training row{unknown}", "no-rows", "look at the plan: rdl plan.")
    lists = train.indptr is not None
    if (lists and not len(train.target)) or (task.kind is Kind.binary and not train.target.any()):
        raise refuse(
            f"no positive at all among {len(train)} training rows", "no-positives",
            "widen the window, or ask for something that happens.",
        )  # fmt: skip
    if task.kind is Kind.binary and train.target.all():
        raise refuse(f"one class only: all {len(train)} training rows are positive", "one-class")
    if task.kind is Kind.multiclass and len(table.classes) == 1:
        raise refuse(f"one class only: all {len(train)} training rows are {table.classes[0]!r}", "one-class")
    return table


def values(task: Task, table: TaskTable, snapshot: Snapshot) -> pa.Array:
    """The labels of ``table`` as they stand in the database, one a seed.

    Numbers (binary, regression), class values (multiclass), and lists: of class values (multilabel), of primary keys
    of the table that is ranked (recommendation), of a number a timeframe (forecast).
    """
    return shown(task, table, snapshot)


def keyed(task: Task, snapshot: Snapshot, rows: Rows, times: Rows, values: Mapping[str, object]) -> pa.Table:
    """The key columns of the entities ``rows`` [seeds], ``time`` and ``values``, a row a seed, by time and key.

    A name that a key column has already gets an underscore.
    """
    found = snapshot.keys(task.entity, rows)
    keys = found.column_names
    time, *names = (name + "_" if name in keys else name for name in ("time", *values))
    found = found.append_column(time, pa.array(times).cast(pa.timestamp("us")))
    for name, value in zip(names, values.values(), strict=True):
        found = found.append_column(name, pa.array(value))
    return found.sort_by([(name, "ascending") for name in (time, *keys)])


def refuse_untrained(task: Task) -> None:
    """Raises QueryError where no model can be trained for this kind of task yet."""
    if task.kind not in TRAINED:
        raise refuse(
            f"{task.kind.value} tasks are labelled and planned, but not trained yet", "not-yet",
            "all others are: ask whether there will be any, how many, or list what few values there are and CLASSIFY.",
        )  # fmt: skip


def seeds_at(task: Task, snapshot: Snapshot, time_us: int, entities: Rows | None = None) -> Rows:
    """The row numbers, ascending, of the entities that ``task`` asks about at ``time_us``, without labels.

    Over windows: those eligible at that time. Row-level: the rows known by then whose label is unknown; where none
    is, all rows known by then. ``entities`` (row numbers), or those the query names, are the only ones considered,
    and then whether their label is known does not matter. Raises QueryError.
    """
    if entities is None and task.entities is not None:
        entities = snapshot.row_of(task.entity, list(task.entities))
    timed = snapshot.schema[task.entity].time is not None
    if task.row_level:
        compiler = Compiler(task, snapshot.schema, None if timed else [time_us])
        rows, time, target = run(snapshot, compiler.labels())
        told = known(task.kind, target)[time <= time_us]
        rows = rows[time <= time_us]
        if entities is None and not told.all():
            rows = rows[~told]
    elif task.sql is not None:
        rows = np.flatnonzero(snapshot.time(task.entity) <= time_us)
    else:
        rows, _, _ = run(snapshot, Compiler(task, snapshot.schema, [time_us]).seeds())
    return np.sort(rows if entities is None else rows[np.isin(rows, entities)])


def newest(task: Task, snapshot: Snapshot) -> int:
    """The time (µs) to predict at: AS OF where the query says it, else the newest time in the tables that the target
    aggregates, or where it aggregates none, in the entity's table (in all tables, where that is timeless)."""
    if task.as_of is not None:
        return task.as_of
    tables = {window.table for window in aggregates(task.target, nested=False)}
    if not tables and snapshot.schema[task.entity].time is not None:
        tables = {task.entity}
    return extent(snapshot, sorted(tables or snapshot.schema.tables), anything=True)[1]


def compute(task: Task, snapshot: Snapshot) -> Labelled:
    """The labels of ``task`` on ``snapshot``, whether or not anything can be learned from them. Raises QueryError."""
    found = find(task, snapshot)
    split = found.split >= 0
    kept = known(task.kind, found.target) & split
    target, indptr, classes, unseen = encode(task.kind, found.target, kept & (found.split == 0), kept)
    table = TaskTable(
        found.entity, found.time, found.split, target, found.val_cut, found.test_cut, indptr, classes, unseen,
        task.row_level,
    )  # fmt: skip
    if not kept.all() or (np.diff(found.split) < 0).any():
        order = np.argsort(found.split[kept], kind="stable")
        table = table.take(np.flatnonzero(kept)[order])
    return Labelled(
        table, found.sql, found.anchors, int((split & ~kept).sum()) + found.lost, found.censored,
        (*found.warnings, *_come_later(task, snapshot, table)),
    )  # fmt: skip


def _come_later(task: Task, snapshot: Snapshot, table: TaskTable) -> list[str]:
    """A warning where labels are rows that nobody could rank: at the seed's time they were not known."""
    if task.candidates is None or not len(table.target):
        return []
    late = snapshot.time(task.candidates)[table.target] > table.time[table.owners()]
    share = f"{late.mean():.1%} of the labels are rows of {task.candidates} that were not known at the seed's time"
    return [f"{share}: they cannot be ranked"] if late.any() else []
