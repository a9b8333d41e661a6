"""Tables whose times say too little: entities that are not there yet, tables that grow and have no time, rows without
one, children older than what they refer to, rows written later than their time says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.stats import spearmanr

from rdl import clock
from rdl.audit.finding import Finding, Fix, Kind, Severity
from rdl.audit.inputs import Checked, Inputs
from rdl.extract import micros
from rdl.problems import percent, plural
from rdl.query.expressions import aggregates
from rdl.query.task import Task, TaskTable
from rdl.query.tokens import spelled
from rdl.schema import Relation, Stype
from rdl.snapshot import Snapshot

#: The share of seeds, rows or keys from which on something is worth a line.
SHARE = 0.01
#: Keys are numbered in order of arrival from this rank correlation with the first row that refers to them on.
IN_ORDER, ENOUGH = 0.9, 50
#: So many rows of a table are looked at, at most; of so many written one after the other the oldest counts, for one
#: time that is wrong says nothing.
ROWS, RUN = 500_000, 5


def times(task: Task, table: TaskTable, inputs: Inputs, snapshot: Snapshot) -> Checked:
    """What the times of the tables within reach leave open."""
    findings = (
        *_unborn(task, table, snapshot), *_growing(task, table, inputs, snapshot), *_early(inputs, snapshot),
        *_untimed(inputs, snapshot), *_backdated(inputs, snapshot),
    )  # fmt: skip
    timeless = [name for name in inputs.over if snapshot.schema[name].time is None]
    looked = f"{plural(len(inputs.over), 'table')}, {len(timeless)} timeless"
    if len(table) and table.time.max() > table.val_cut > clock.ALWAYS:
        days = (int(table.time.max()) - table.val_cut) / clock.US_PER_DAY
        looked += f"; seeds see rows up to {days:,.0f} days after the fit, with --regime frozen none"
    return Checked(findings, looked)


def first_seen(snapshot: Snapshot, table: str) -> clock.Times:
    """The time of the first row that refers to each row of ``table``, NEVER where none with a time does."""
    found = np.full(snapshot.num_rows[table], clock.NEVER)
    for relation in _timed_children(snapshot, table):
        parents, seen = snapshot.parent(relation)[::-1], np.full(len(found), clock.NEVER)
        there = parents >= 0
        seen[parents[there]] = snapshot.time(relation.child)[::-1][there]  # the last one written is the oldest
        np.minimum(found, seen, out=found)
    return found


def _timed_children(snapshot: Snapshot, table: str) -> list[Relation]:
    return [one for one in snapshot.schema.relations_to(table) if snapshot.schema[one.child].time is not None]


def _unborn(task: Task, table: TaskTable, snapshot: Snapshot) -> Iterator[Finding]:
    """Seeds of a timeless entity before anything refers to it: that it is in the table tells that something will."""
    children = _timed_children(snapshot, task.entity)
    if task.row_level or snapshot.schema[task.entity].time is not None or not children or not len(table):
        return
    early = first_seen(snapshot, task.entity)[table.entity] > table.time
    if early.mean() < SHARE:
        return
    evidence = f"{percent(float(early.mean()))} of the seeds are asked before any row refers to their {task.entity}, "
    evidence += "which has no time: that it stands in the table tells that something will come"
    if table.indptr is None and table.target.ndim == 1 and not early.all():
        evidence += f"; their mean label is {np.mean(table.target[early]):.3g}, that of the others "
        evidence += f"{np.mean(table.target[~early]):.3g}"
    if task.assuming is not None:
        evidence += "; ASSUMING may say so already"
    fix = None
    if (counted := _counted(task, snapshot, children)) is not None:
        join = "WHERE" if task.where is None else "AND"
        fix = Fix(task.entity, clause=f"{join} EXISTS({spelled(counted, '*')}, -INF, 0, days)")
    severity = Severity.suspect if early.mean() >= 5 * SHARE and task.assuming is None else Severity.note
    yield Finding(Kind.unborn, task.entity, None, severity, evidence, fix)


def _counted(task: Task, snapshot: Snapshot, children: list[Relation]) -> str | None:
    """The table whose rows show that an entity is there: what the target reads, else that of most rows; None where
    each of them refers to the entity over several keys, of which only VIA could choose one."""
    names = [relation.child for relation in children]
    plain = [relation for relation in children if names.count(relation.child) == 1]
    read = {relation for window in aggregates(task.target) for relation in window.relations}
    best = [relation for relation in plain if relation in read] or plain
    if not best:
        return None
    return max(best, key=lambda relation: int((snapshot.parent(relation) >= 0).sum())).child


def _growing(task: Task, table: TaskTable, inputs: Inputs, snapshot: Snapshot) -> Iterator[Finding]:
    """Timeless tables whose keys are numbered in the order in which rows first refer to them."""
    for name in inputs.over:
        key = snapshot.schema[name].primary_key
        if snapshot.schema[name].time is not None or len(key) != 1:
            continue
        numbers = snapshot.arrow(name)[key[0]]
        first = first_seen(snapshot, name)
        seen = first != clock.NEVER
        if not pa.types.is_integer(numbers.type) or seen.sum() < ENOUGH or np.ptp(first[seen]) == 0:
            continue
        keys = numbers.to_numpy()[seen]
        order = float(spearmanr(keys, first[seen]).statistic)
        late = float(np.mean(first[seen] > table.val_cut))
        if order >= IN_ORDER and late >= SHARE:
            evidence = f"{percent(late)} of its rows that anything refers to are first referred to after validation "
            evidence += f"begins ({clock.format_time(table.val_cut)}), and {key[0]} rises with that time (rank "
            evidence += f"correlation {order:.2f}): its rows seem to come with time and count as always known"
            fix = _born(snapshot, name, first)
            evidence += "" if fix else "; give it a column that says when"
            # What refers to nothing is reached by rows that refer to it alone: its later rows are never seen.
            seen_early = name == task.entity or snapshot.schema.relations_from(name)
            yield Finding(Kind.growing, name, None, Severity.suspect if seen_early else Severity.note, evidence, fix)


def _born(snapshot: Snapshot, table: str, first: clock.Times) -> Fix | None:
    """A column of times that is not later than the first row that refers to each row, as the table's time."""
    for column in snapshot.schema[table].columns:
        if column.stype is Stype.timestamp:
            born = micros(snapshot.arrow(table)[column.name])
            if np.mean(born <= first) >= 1 - SHARE and np.mean(born == clock.NEVER) <= SHARE:
                return Fix(table, None, "time", column.name)
    return None


def _early(inputs: Inputs, snapshot: Snapshot) -> Iterator[Finding]:
    """Rows older than the row they refer to: one of the two times is wrong."""
    for relation in snapshot.schema.relations:
        ends = (snapshot.schema[relation.child], snapshot.schema[relation.parent])
        if any(end.time is None or end.name not in inputs.over for end in ends) or relation.child == relation.parent:
            continue
        rows, own = snapshot.parent(relation), snapshot.time(relation.child)
        there = (rows >= 0) & (own != clock.NEVER)
        begun = snapshot.time(relation.parent)[rows[there]]
        early = float(np.mean(begun > own[there])) if there.any() else 0.0
        if early >= SHARE:
            evidence = f"{percent(early)} of its rows are older than the row they refer to ({relation}), which seeds "
            evidence += f"in between do not see: {relation.parent}'s time ({ends[1].time}) is too late, or "
            evidence += f"{relation.child}'s ({ends[0].time}) too early, and then it leaks. If it is the former, "
            evidence += f"{relation.parent} can be read as timeless"
            fix = Fix(relation.parent, None, "time", value=False)
            yield Finding(Kind.early, relation.child, None, Severity.note, evidence, fix)


def _untimed(inputs: Inputs, snapshot: Snapshot) -> Iterator[Finding]:
    for name, count in snapshot.report.null_times.items():
        if name in inputs.over:
            share = count / max(snapshot.num_rows[name], 1)
            evidence = (
                f"{plural(count, 'row')} ({percent(share)}) have no known time ({snapshot.schema[name].time}): no "
            )
            evidence += "seed ever sees them. That leaks nothing; fill the times in, or name another column"
            yield Finding(Kind.untimed, name, None, Severity.note, evidence)


def _backdated(inputs: Inputs, snapshot: Snapshot) -> Iterator[Finding]:
    """Rows of tables whose keys are numbered as they are written that are days older than what was written before them:
    seeds see them at a time at which they were not there."""
    for name in inputs.over:
        table = snapshot.schema[name]
        if table.time is None or table.time.through or len(table.primary_key) != 1:
            continue
        keys, times = snapshot.arrow(name)[table.primary_key[0]], snapshot.time(name)
        timed = int(np.searchsorted(times, clock.NEVER))
        if not pa.types.is_integer(keys.type) or timed < ENOUGH:
            continue
        chosen = np.arange(0, timed, -(-timed // ROWS))
        written = chosen[np.argsort(keys.to_numpy()[chosen], kind="stable")]
        late, share = _behind(times[written])
        if not SHARE <= share <= 0.5 or spearmanr(np.arange(len(written)), times[written]).statistic < IN_ORDER:
            continue
        behind = written[late > 0]
        days = float(np.median(late[late > 0])) / clock.US_PER_DAY
        evidence = (
            f"{percent(share)} of its rows have a higher {table.primary_key[0]} than rows that are newer by days "
        )
        evidence += f"(mostly {days:,.0f}), while on the whole it rises with {table.time}: they may have been written "
        evidence += "later than that says, and seeds in between see them too early"
        fix = _written_at(snapshot, name, written, behind)
        evidence += "" if fix else "; if so, name a column that says when, or leave them out"
        yield Finding(Kind.backdated, name, None, Severity.suspect if fix else Severity.note, evidence, fix)


def _behind(times: clock.Times) -> tuple[clock.Times, float]:
    """By how many µs each of the rows, in the order in which they were written, is older than ones written before it, 0
    where by less than a day; and the share of rows that are."""
    oldest = np.lib.stride_tricks.sliding_window_view(times, RUN).min(axis=1)
    reached = np.concatenate([np.full(RUN, clock.ALWAYS), np.maximum.accumulate(oldest)[:-1]])
    late = np.where(reached > times + clock.US_PER_DAY, reached - times, 0)
    return late, float(np.mean(late > 0))


def _written_at(
    snapshot: Snapshot, table: str, written: npt.NDArray[np.int64], behind: npt.NDArray[np.int64]
) -> Fix | None:
    """A column of times in the order of writing, later than the table's own where that is too early, as its time."""
    own = snapshot.schema[table].time
    for column in snapshot.schema[table].columns:
        if column.stype is Stype.timestamp and own is not None and column.name != own.column:
            times = micros(snapshot.arrow(table)[column.name])
            is_ordered = (times[written] != clock.NEVER).all() and _behind(times[written])[1] < SHARE
            if is_ordered and np.mean(times[behind] > snapshot.time(table)[behind]) >= 1 - SHARE:
                return Fix(table, None, "time", column.name)
    return None
