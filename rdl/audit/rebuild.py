"""The experiment: delete the future, build everything again, and compare what a model sees, bit for bit."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rdl import clock
from rdl.aggregates import window_features
from rdl.audit.finding import Finding, Fix, Kind, Severity
from rdl.audit.inputs import Checked, Inputs
from rdl.audit.past import Past
from rdl.labels import history
from rdl.problems import percent, plural
from rdl.query.task import Task, TaskTable
from rdl.schema import Schema, TimePath
from rdl.snapshot import Snapshot, build
from rdl.streams import Seeds

#: So many seeds are looked at, at most, at each of the times.
SEEDS = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed for the share ``share`` of the seeds, or a statistic (None), in ``column`` of ``table``, or in which
    of its rows are seen (None)."""

    table: str
    column: str | None
    what: str
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """``seeds`` that are asked at ``at_us`` or, of row-level tasks, shortly before, none of them later, with statistics
    fitted on what was known at ``fitted_at_us``: of row-level tasks on what is strictly older than that moment, as the
    labels of rows of that very time are only asked for."""

    at_us: int
    seeds: Seeds
    fitted_at_us: int


def rebuilt(task: Task, table: TaskTable, inputs: Inputs, snapshot: Snapshot) -> Checked:
    """What seeds see of the whole database, and of one from which all later rows and values were deleted: aggregates
    of the past, earlier labels among them, statistics, sampled rows and encoded cells. Each difference is a finding."""
    found: dict[tuple[str, str | None], list[tuple[Moment, Difference]]] = {}
    at = list(moments(task, table))
    for moment in at:
        for difference in _differences(task, snapshot, moment):
            found.setdefault((difference.table, difference.column), []).append((moment, difference))
    deleted = [_deleted(snapshot, moment.at_us) for moment in at]
    looked = f"{plural(sum(len(moment.seeds.rows) for moment in at), 'seed')} at {plural(len(at), 'time')}"
    looked += f", {', '.join(f'{count:,}' for count in deleted)} later rows deleted"
    findings = tuple(_finding(inputs, snapshot.schema, *one) for one in found.items())
    return Checked(findings, looked if at else "nothing: no seed")


def moments(task: Task, table: TaskTable) -> Iterator[Moment]:
    """At the middle of training and at the begin of validation and of test, some seeds each."""
    times: list[int] = []
    for split in range(3):
        asked = np.sort(table.time[table.split == split])
        if len(asked):
            place = len(asked) // 2 if split == 0 else 0 if not task.row_level else min(SEEDS, len(asked)) - 1
            times.append(int(asked[place]))
    for at in dict.fromkeys(times):
        if task.row_level:
            before = np.flatnonzero(table.time <= at)
            chosen = before[np.argsort(table.time[before], kind="stable")][-SEEDS:]
        else:
            there = np.flatnonzero(table.time == at)
            chosen = there[np.unique(np.linspace(0, len(there) - 1, min(len(there), SEEDS)).astype(np.int64))]
        time = table.time[chosen]
        yield Moment(at, Seeds(table.entity[chosen], time, time), min(at - int(task.row_level), table.fitted_at_us))


def _deleted(snapshot: Snapshot, at_us: int) -> int:
    return sum(
        rows - int(np.searchsorted(snapshot.time(name), at_us, side="right"))
        for name, rows in snapshot.num_rows.items()
    )  # fmt: skip


def _differences(task: Task, snapshot: Snapshot, moment: Moment) -> Iterator[Difference]:
    past = Past(snapshot, moment.at_us, task.label_columns)
    with tempfile.TemporaryDirectory(prefix="rdl-audit-") as folder:
        cut = build(past, snapshot.schema, Path(folder) / "snapshot")
        if moved := list(_moved(snapshot, cut)):  # then row numbers mean nothing any more
            yield from moved
            return
        yield from _aggregates(task, snapshot, cut, moment)
        from rdl.audit.sampled import differences  # loads torch

        yield from differences(task, snapshot, cut, moment.seeds, moment.fitted_at_us)


def _moved(whole: Snapshot, cut: Snapshot) -> Iterator[Difference]:
    """Tables whose rows have another time without the future: it is read from a row that was not there yet."""
    for name in whole.schema.tables:
        times = cut.time(name)
        before = whole.time(name)[: len(times)]
        if not np.array_equal(times, before):
            share = float(np.mean(times != before))
            yield Difference(name, None, f"the time of {percent(share)} of its rows is read from rows that came later")


def _aggregates(task: Task, whole: Snapshot, cut: Snapshot, moment: Moment) -> Iterator[Difference]:
    earlier = (history(task, snapshot, moment.fitted_at_us, moment.at_us) for snapshot in (whole, cut))
    seen, left = (
        window_features(task, snapshot, moment.seeds, fitted_at_us=moment.fitted_at_us, labels=labels)
        for snapshot, labels in zip((whole, cut), earlier, strict=True)
    )
    for name in dict.fromkeys((*seen.column_names, *left.column_names)):
        table, column = _source(task, whole, name)
        if name not in left.column_names or name not in seen.column_names:
            yield Difference(
                table,
                column,
                f"the aggregate {name!r} is there {'with' if name in seen.column_names else 'without'} the future only",
            )
            continue
        one, other = (features[name].to_numpy() for features in (seen, left))
        changed = ~((one == other) | (np.isnan(one) & np.isnan(other)))
        if changed.any():
            yield Difference(table, column, f"the aggregate {name!r}", float(changed.mean()))


def _source(task: Task, snapshot: Snapshot, name: str) -> tuple[str, str | None]:
    """The table and the column that an aggregate's name ends with: of the last ``table[key]`` in it, or else of the
    entity or a row that it refers to."""
    ends = {table: name.rfind(f"{table}[") for table in snapshot.schema.tables}
    table = max(ends, key=lambda one: (ends[one], len(one)))
    rest = name[name.find("]", ends[table]) + 1 :] if ends[table] >= 0 else name
    if ends[table] < 0:
        table = task.entity
    walked = True
    while walked:
        walked = False
        for relation in snapshot.schema.relations_from(table):
            start = "+".join(relation.key) + "."
            if rest.lstrip(".").startswith(start):
                table, rest, walked = relation.parent, rest.lstrip(".")[len(start) :], True
                break
    rest = rest.removeprefix(":last").lstrip(".")
    columns = [column.name for column in snapshot.schema[table].columns if f"{rest} ".startswith(f"{column.name} ")]
    return table, max(columns, key=len, default=None)


def _finding(
    inputs: Inputs, schema: Schema, cell: tuple[str, str | None], seen: list[tuple[Moment, Difference]]
) -> Finding:
    table, column = cell
    counted = Counter(difference.what for _, difference in seen)
    moment, worst = max(seen, key=lambda one: one[1].share or 0)
    evidence = f"without what came after {clock.format_time(moment.at_us)}, {worst.what}"
    if worst.share:
        evidence += f" differs for {percent(worst.share)} of {plural(len(moment.seeds.rows), 'seed')}"
    evidence += f"; so do {len(counted) - 1} more" if len(counted) > 1 else ""
    fix = _time_fix(schema, table) if column is None else None
    if column is not None and inputs.reads(table, column) and not inputs.is_label(table, column):
        fix = Fix.hide(table, column)
    return Finding(Kind.future, table, column, Severity.severe, evidence, fix)


def _time_fix(schema: Schema, table: str) -> Fix | None:
    """The time of a table that takes it from another row's column, read from that row's own time instead."""
    walked = schema.time_relations(table)
    holder = schema.time_table(table) if walked else None
    if holder is None or holder.time is None:
        return None
    path = TimePath(holder.time.column, (*(relation.key for relation in walked), *holder.time.through))
    return Fix(table, None, "time", str(path)) if path != schema[table].time else None
