"""When validation and test begin in a RelBench folder, and the grid of times on which RelBench asks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from rdl import labels
from rdl.clock import US_PER_SECOND, format_time, to_datetime
from rdl.errors import ConfigError, QueryError
from rdl.labels.running import extent as extent_of
from rdl.query.anchors import MOST_ANCHORS, Timeline, lay_anchors, lay_manifest_anchors
from rdl.query.expressions import aggregates
from rdl.query.scalar import value_sql
from rdl.query.task import SPLITS, Kind, LabelSql, Task, TaskTable
from rdl.relbench_export.tables import extent
from rdl.snapshot import Snapshot

Cuts = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Asked:
    """A task as it is asked in a RelBench folder, and rdl's labels."""

    name: str
    task: Task
    table: TaskTable


@dataclass(frozen=True, slots=True)
class Grid:
    """The times that RelBench asks about: ``step_us`` apart, ``evaluated`` of them at most in validation, and in test.

    ``where`` is SQL for the condition on ``timestamp`` that leaves a task's anchors of them; None: all are.
    """

    step_us: int
    evaluated: int
    where: str | None


def settle(tasks: Mapping[str, Task], snapshot: Snapshot, given: Cuts | None) -> tuple[Cuts, list[Asked]]:
    """When validation and test begin (µs) for RelBench, and the tasks with their labels.

    A row at exactly that time is of the split before, in RelBench: rows that rdl counts to the split after want a time
    a microsecond earlier. Where the times are ``given``, tasks without SPLIT AT are split there as RelBench splits.
    Raises ConfigError where tasks disagree, QueryError where RelBench has no task of the kind.
    """
    asked = []
    for name, task in tasks.items():
        _refuse_kind(name, task, snapshot)
        at = task
        if given is not None and task.split_at is None:
            at = replace(task, split_at=(given[0] + 1, given[1] + 1) if task.row_level else given)
        asked.append(Asked(name, at, labels.build(at, snapshot)))
        _refuse_empty(asked[-1])
    if given is not None:
        cuts = given
    elif asked:
        cuts = _cuts(min(asked, key=lambda one: one.task.row_level))
    else:
        raise ConfigError(
            "a RelBench data set says when validation and test begin", hint="give val and test, or a task that does."
        )
    if cuts[1] - cuts[0] < US_PER_SECOND:
        raise ConfigError(
            f"validation begins at {_time(cuts[0])} and test at {_time(cuts[1])}: RelBench needs a second between them"
        )
    for one in asked:
        _check(one, cuts)
    return cuts, asked


def lay_grid(asked: Asked, cuts: Cuts, snapshot: Snapshot) -> tuple[Timeline, Grid]:
    """The anchors of a task over windows, and the grid of RelBench's times on which all of them lie.

    Its step is a window where anchors are a window apart; otherwise the longest one that divides all their distances.
    Raises QueryError where there is none.
    """
    task = asked.task
    windows = sorted({window.table for window in aggregates(task.target, nested=False)})
    timeline = lay_anchors(task, *extent_of(snapshot, windows))
    widest = math.gcd(
        *(cuts[0] - anchor for anchor in (*timeline.train, *timeline.val)),
        *(cuts[1] - anchor for anchor in timeline.test),
    ) or cuts[1] - cuts[0]  # fmt: skip
    reason = QueryError("", kind="relbench")
    for parts in range(1, 101):  # shorter steps where RelBench wants three training times, or an early end
        step = widest // parts
        if widest % parts or not step:
            continue
        evaluated = 1 + max(
            (anchors[-1] - cut) // step if anchors else 0
            for cut, anchors in zip(cuts, (timeline.val, timeline.test), strict=True)
        )
        try:
            laid = _relbench_anchors(task, snapshot, cuts, step, evaluated)
        except QueryError as error:
            reason = error
            continue
        if task.kind is Kind.recommendation and evaluated > 1:
            raise QueryError(
                f"task {asked.name!r}: RelBench asks for a ranking at one time in validation and one in test, this "
                f"query at {len(timeline.val)} and {len(timeline.test)}", kind="relbench",
                hint=f"leave one window of {task.horizon} in each with SPLIT AT, or make EVERY longer.",
            )  # fmt: skip
        same = (timeline.train, timeline.val, timeline.test) == (laid.train, laid.val, laid.test)
        return timeline, Grid(step, evaluated, None if same else _among(task, timeline))
    raise QueryError(
        f"task {asked.name!r}: RelBench cannot lay these anchors: {reason.message}", kind="relbench",
        hint="use shorter windows, or another SPLIT AT.",
    )  # fmt: skip


def _relbench_anchors(task: Task, snapshot: Snapshot, cuts: Cuts, step: int, evaluated: int) -> Timeline:
    """What RelBench lays over all tables. Raises QueryError where it refuses."""
    upto_test, whole = extent(snapshot, cuts[1]), extent(snapshot)
    if upto_test is None or whole is None or cuts[0] + step > upto_test[1] or step > cuts[1] - cuts[0]:
        raise QueryError(f"no data reach from {_time(cuts[0])} to a window later, before test begins", kind="relbench")
    if (cuts[0] - upto_test[0]) / step > MOST_ANCHORS:
        raise QueryError(f"there would be more than {MOST_ANCHORS:,} times", kind="relbench")
    sql = LabelSql("", "", step, evaluated, "", "", "")
    return lay_manifest_anchors(replace(task, split_at=cuts), sql, upto_test[0], whole[1])


def _among(task: Task, timeline: Timeline) -> str:
    """SQL for whether ``timestamp`` is an anchor: they step back from the newest of training, and on from the oldest of
    validation and of test."""
    every = task.every or task.stride or task.horizon
    if every is None:
        raise TypeError("a task without windows has no anchors")
    runs = [(timeline.train[::-1], -every.count), (timeline.val, every.count), (timeline.test, every.count)]
    steps = [
        f"SELECT {value_sql(to_datetime(anchors[0]))} + INTERVAL (k * {count}) {every.unit.upper()} "
        f"FROM range({len(anchors)}) AS steps(k)"
        for anchors, count in runs if anchors
    ]  # fmt: skip
    listed = "\n    UNION ALL ".join(steps)
    return f"timestamp IN (\n    {listed}\n  )" if steps else "FALSE"


def _refuse_kind(name: str, task: Task, snapshot: Snapshot) -> None:
    def refuse(message: str, hint: str) -> QueryError:
        return QueryError(f"task {name!r}: {message}", kind="relbench", hint=hint)

    if task.kind is Kind.forecast:
        raise refuse(
            "RelBench has no task of several numbers a row",
            "ask for one timeframe: leave FORECAST out, or make a task of each with its own window.",
        )  # fmt: skip
    if not task.row_level:
        return
    if task.kind is Kind.recommendation:
        raise refuse(
            "RelBench has no task that ranks for each row at its own time",
            "rank over a window: PREDICT LIST_DISTINCT(…, 0, 7) RANK TOP 10.",
        )  # fmt: skip
    if task.split_by is not None:
        raise refuse("RelBench splits rows by time, not by a column", "use SPLIT AT instead of SPLIT BY.")
    if snapshot.schema[task.entity].time is None:
        raise refuse(
            f"RelBench splits rows by time, and {task.entity} has none", "give it one in the schema file."
        )  # fmt: skip


def _refuse_empty(asked: Asked) -> None:
    """Raises QueryError where a split has no label: RelBench cannot sort a table without rows."""
    for split in SPLITS:
        part = asked.table.of(split)
        if not (len(part) if asked.task.kind is not Kind.recommendation else len(part.target)):
            raise QueryError(
                f"task {asked.name!r}: {split.value} has no label, and RelBench wants some in each split",
                kind="relbench", hint="use other times of validation and test: SPLIT AT.",
            )  # fmt: skip


def _cuts(asked: Asked) -> Cuts:
    """When RelBench's validation and test begin so that its splits are those of ``asked``."""
    val_cut, test_cut = asked.table.val_cut, asked.table.test_cut
    if not asked.task.row_level:
        return val_cut, test_cut
    early = int(np.isin([val_cut, test_cut], asked.table.time).any())
    return val_cut - early, test_cut - early


def _check(asked: Asked, cuts: Cuts) -> None:
    """Raises ConfigError where the splits of ``asked`` are not RelBench's with these ``cuts``."""
    table = asked.table
    if not asked.task.row_level:
        agrees = (table.val_cut, table.test_cut) == cuts
    else:
        agrees = bool(((table.time > cuts[0]).astype(int) + (table.time > cuts[1]) == table.split).all())
    if not agrees:
        raise ConfigError(
            f"task {asked.name!r} begins validation at {_time(table.val_cut)} and test at {_time(table.test_cut)}, the "
            f"data set at {_time(cuts[0])} and {_time(cuts[1])}",
            hint="give val and test and leave SPLIT AT out, or write the same SPLIT AT in every task; a row at exactly "
            "that time is of the split before it to RelBench.",
        )  # fmt: skip


def _time(time_us: int) -> str:
    moment = to_datetime(time_us)
    return format_time(time_us) if not moment.microsecond else moment.isoformat(" ")
