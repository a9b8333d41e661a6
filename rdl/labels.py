"""Task + Snapshot → labels: who is asked about, when, and what came of it. All in DuckDB, no loop over rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl import clock
from rdl.errors import QueryError, RdlError
from rdl.query.anchors import Timeline, cut_at_shares, lay_anchors, lay_manifest_anchors, split_at, split_hashed
from rdl.query.expressions import aggregates
from rdl.query.plan import Plan, describe
from rdl.query.scalar import quote, value_sql
from rdl.query.sql import Compiler
from rdl.query.task import Kind, LabelSql, Split, Task, TaskTable
from rdl.schema import Dtype
from rdl.snapshot import Snapshot

__all__ = ["Plan", "build", "newest", "plan", "seeds_at"]

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Splits = npt.NDArray[np.int8]

#: The kinds of task that have labels today.
LABELLED = (Kind.binary, Kind.regression)

_SPLIT_WORDS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2}


@dataclass(frozen=True, slots=True)
class _Found:
    """Labels as found: unknown ones are NaN."""

    sql: str
    entity: Rows
    time: Rows
    target: Floats
    split: Splits
    val_cut: int
    test_cut: int
    anchors: tuple[int, int, int] | None = None
    censored: int = 0
    lost: int = 0
    warnings: list[str] = field(default_factory=list)


def plan(task: Task, snapshot: Snapshot) -> Plan:
    """What ``task`` comes to on ``snapshot``. Raises QueryError where it cannot be computed."""
    return _compute(task, snapshot)[1]


def build(task: Task, snapshot: Snapshot) -> TaskTable:
    """The seeds of ``task`` with their labels, by split, time and entity; rows with an unknown label are left out.

    Raises QueryError where nothing can be learned: no training row, one class only, no positive at all.
    """
    table, planned = _compute(task, snapshot)
    train = table.of(Split.train)
    unknown = f"; {planned.dropped} rows have an unknown label" if planned.dropped else ""
    if len(train) == 0:
        raise _refuse(task, f"the task has no training row{unknown}", "no-rows", "look at the plan: rdl plan.")
    if task.kind is Kind.binary and not train.target.any():
        raise _refuse(
            task, f"no positive at all among {len(train)} training rows", "no-positives",
            "widen the window, or ask for something that happens.",
        )  # fmt: skip
    if task.kind is Kind.binary and train.target.all():
        raise _refuse(task, f"one class only: all {len(train)} training rows are positive", "one-class")
    return table


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
        rows, time, target = _run(task, snapshot, compiler.labels())
        rows, target = rows[time <= time_us], target[time <= time_us]
        if entities is None and np.isnan(target).any():
            rows = rows[np.isnan(target)]
    elif task.sql is not None:
        rows = np.flatnonzero(snapshot.time(task.entity) <= time_us)
    else:
        rows, _, _ = _run(task, snapshot, Compiler(task, snapshot.schema, [time_us]).seeds())
    return np.sort(rows if entities is None else rows[np.isin(rows, entities)])


def newest(task: Task, snapshot: Snapshot) -> int:
    """The time (µs) to predict at: AS OF where the query says it, else the newest time in the tables that the target
    aggregates, or where it aggregates none, in the entity's table (in all tables, where that is timeless)."""
    if task.as_of is not None:
        return task.as_of
    tables = {window.table for window in aggregates(task.target, nested=False)}
    if not tables and snapshot.schema[task.entity].time is not None:
        tables = {task.entity}
    return _extent(task, snapshot, sorted(tables or snapshot.schema.tables), anything=True)[1]


# --- the computation that plan and build share --------------------------------------------------------------------


def _compute(task: Task, snapshot: Snapshot) -> tuple[TaskTable, Plan]:
    if task.kind not in LABELLED:
        raise _refuse(
            task, f"{task.kind.value} tasks are not trained yet", "not-yet",
            "binary and regression tasks are: compare the target with a value, or aggregate a number.",
        )  # fmt: skip
    if task.sql is not None:
        found = _from_manifest(task, task.sql, snapshot)
    elif task.row_level:
        found = _from_rows(task, snapshot)
    else:
        found = _from_windows(task, snapshot)
    known = np.isfinite(found.target) & (found.split >= 0)
    order = np.argsort(found.split[known], kind="stable")
    kept = np.flatnonzero(known)[order]
    table = TaskTable(
        found.entity[kept], found.time[kept], found.split[kept], found.target[kept], found.val_cut, found.test_cut
    )
    dropped = int((~known).sum()) + found.lost
    planned = describe(
        task, snapshot.schema, table, found.sql,
        anchors=found.anchors, dropped=dropped, censored=found.censored, warnings=found.warnings,
    )  # fmt: skip
    return table, planned


def _from_windows(task: Task, snapshot: Snapshot) -> _Found:
    """Labels of a target over windows: every eligible entity at every anchor."""
    tables = sorted({window.table for window in aggregates(task.target, nested=False)})
    start, end = _extent(task, snapshot, tables)
    timeline = lay_anchors(task, start, end)
    if not timeline.all:
        raise _refuse(
            task, f"no window is covered: {', '.join(tables)} hold data from {clock.format_time(start)} to "
            f"{clock.format_time(end)}, windows reach {task.horizon}", "no-rows", "use a shorter window, or SPLIT AT.",
        )  # fmt: skip
    sql = _compile(task, snapshot, list(timeline.all))
    return _on_timeline(task, snapshot, sql, timeline)


def _on_timeline(task: Task, snapshot: Snapshot, sql: str, timeline: Timeline) -> _Found:
    entity, time, target = _run(task, snapshot, sql)
    counts = (len(timeline.train), len(timeline.val), len(timeline.test))
    return _Found(
        sql, entity, time, target, split_at(time, timeline.val_cut, timeline.test_cut),
        timeline.val_cut, timeline.test_cut, counts, timeline.censored,
    )  # fmt: skip


def _from_rows(task: Task, snapshot: Snapshot) -> _Found:
    """Labels that stand in the entity's own rows: each at its own time, without times all at the newest one."""
    timed = snapshot.schema[task.entity].time is not None
    newest = _extent(task, snapshot, list(snapshot.schema.tables), anything=True)[1]
    sql = _compile(task, snapshot, None if timed else [newest])
    entity, time, target = _run(task, snapshot, sql)
    lost = snapshot.num_rows[task.entity] - len(entity) if task.where is None else 0
    if task.split_by is not None:
        split = _split_words(snapshot, task.split_by)[entity]
        # Statistics are fitted on what was known at the newest seed of training, the frozen regime cuts there too.
        val_cut, test_cut = (int(time[(split >= 0) & (split <= last)].max(initial=clock.ALWAYS)) for last in (0, 1))
        return _Found(sql, entity, time, target, split, val_cut, test_cut, lost=lost)
    if not timed:
        warning = f"{task.entity} has no time: its rows are split at random, 80/10/10, and all data count as known"
        split = split_hashed(entity)
        return _Found(sql, entity, time, target, split, newest, newest, lost=lost, warnings=[warning])
    val_cut, test_cut = task.split_at or cut_at_shares(time[np.isfinite(target)])
    split = split_at(time, val_cut, test_cut)
    return _Found(sql, entity, time, target, split, val_cut, test_cut, lost=lost)


def _from_manifest(task: Task, sql: LabelSql, snapshot: Snapshot) -> _Found:
    """Labels that a RelBench manifest's SQL gives: training and validation from data up to the begin of test."""
    own_times = [table.name for table in snapshot.schema.tables.values() if table.time and not table.time.through]
    start, end = _extent(task, snapshot, own_times)
    timeline = lay_manifest_anchors(task, sql, start, end)
    known = int(np.searchsorted(snapshot.time(task.entity), timeline.test_cut, side="right"))
    query = sql.sql.strip().rstrip(";").replace("{timedelta}", sql.timedelta)
    parts = []
    with snapshot.connect() as connection:
        try:
            for schema, cut in (("upto test", timeline.test_cut), ("all", None)):
                _create_views(connection, snapshot, schema, cut)
            connection.execute("SET enable_external_access = false")
            for split, schema in ((timeline.train, "upto test"), (timeline.val, "upto test"), (timeline.test, "all")):
                connection.register("timestamps", pa.table({"timestamp": pa.array(split, pa.timestamp("us"))}))
                connection.execute(f"SET schema = {value_sql(f'#{schema}')}")
                connection.execute(f"CREATE OR REPLACE TEMP TABLE {quote('#labels')} AS {query}\n")
                parts.append(_fetch(connection, _manifest_rows(task, sql, snapshot, known)))
        except duckdb.Error as error:
            raise _refuse(task, f"the manifest's SQL fails: {_line(error)}", "manifest") from None
    entity, time, target = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    found = entity >= 0
    return _Found(
        query, entity[found], time[found], target[found],
        np.repeat(np.arange(3, dtype=np.int8), [len(part[0]) for part in parts])[found],
        timeline.val_cut, timeline.test_cut, (len(timeline.train), len(timeline.val), len(timeline.test)),
        lost=int((~found).sum()),
    )  # fmt: skip


def _manifest_rows(task: Task, sql: LabelSql, snapshot: Snapshot, known: int) -> str:
    """SQL for entity, time and target from what the manifest's SQL gave; entities that are dangling get NULL.

    As in RelBench a key is dangling where it is not below the number of entities known at the begin of test.
    """
    table = snapshot.schema[task.entity]
    key = table.primary_key[0] if len(table.primary_key) == 1 else sql.entity
    numeric = table[key].dtype in (Dtype.integer, Dtype.float, Dtype.decimal)
    dangling = f" AND l.{quote(sql.entity)} < {known}" if numeric else ""
    return (
        f'SELECT e."#row" AS entity, CAST(l.{quote(sql.time)} AS TIMESTAMP) AS "time", '
        f"CAST(l.{quote(sql.target)} AS DOUBLE) AS target\n"
        f"FROM {quote('#labels')} l LEFT JOIN main.{quote(task.entity)} e "
        f"ON e.{quote(key)} = l.{quote(sql.entity)}{dangling}\n"
        f"ORDER BY 2, l.{quote(sql.entity)}, 1"
    )


def _create_views(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, schema: str, cut: int | None) -> None:
    """Views by name of every table's own columns, with the rows whose time is not after ``cut``."""
    connection.execute(f"CREATE SCHEMA {quote(f'#{schema}')}")
    for table in snapshot.schema.tables.values():
        columns = ", ".join(quote(column.name) for column in table.columns)
        timed = cut is not None and table.time is not None and not table.time.through
        where = f" WHERE \"#time\" <= TIMESTAMP '{clock.to_datetime(cut)}'" if timed and cut is not None else ""
        name = f"{quote(f'#{schema}')}.{quote(table.name)}"
        connection.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM main.{quote(table.name)}{where}")


# --- running and splitting ----------------------------------------------------------------------------------------


def _compile(task: Task, snapshot: Snapshot, anchors: list[int] | None) -> str:
    try:
        return Compiler(task, snapshot.schema, anchors).labels()
    except RdlError as error:
        raise _refuse(task, error.message, "anchors", error.hint) from None
    except (ValueError, OverflowError):
        raise _refuse(
            task, "a window leaves the calendar", "anchors", "use -INF for a window without a start."
        ) from None


def _run(task: Task, snapshot: Snapshot, sql: str) -> tuple[Rows, Rows, Floats]:
    """The columns entity, time (µs) and target (NaN: unknown) of ``sql``."""
    with snapshot.connect() as connection:
        try:
            return _fetch(connection, sql)
        except duckdb.Error as error:
            raise _refuse(task, f"the labels cannot be computed: {_line(error)}", "labels") from None


def _fetch(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Rows, Rows, Floats]:
    found: Any = connection.sql(sql).to_arrow_table()
    entity = found["entity"].cast(pa.int64()).fill_null(-1).to_numpy()
    time = found["time"].cast(pa.timestamp("us")).cast(pa.int64()).fill_null(clock.NEVER).to_numpy()
    if "target" not in found.column_names:
        return entity, time, np.empty(len(entity))
    return entity, time, found["target"].cast(pa.float64()).fill_null(np.nan).to_numpy()


def _extent(task: Task, snapshot: Snapshot, tables: list[str], *, anything: bool = False) -> tuple[int, int]:
    """The oldest and newest time of ``tables``; of no time at all (0, 0) where ``anything`` will do."""
    firsts, lasts = [], []
    for table in tables:
        times = snapshot.time(table)
        times = times[: np.searchsorted(times, clock.NEVER)]
        if len(times) and times[0] != clock.ALWAYS:
            firsts.append(int(times[0]))
            lasts.append(int(times[-1]))
    if firsts:
        return min(firsts), max(lasts)
    if anything:
        return 0, 0
    raise _refuse(task, f"{', '.join(tables)}: no row has a time, so there is no window to look at", "no-rows")


def _split_words(snapshot: Snapshot, cell: tuple[str, str]) -> Splits:
    """The split that a column's words say, by row; -1 for any other word."""
    words = snapshot.arrow(cell[0])[cell[1]].cast(pa.string()).combine_chunks().dictionary_encode()
    codes = [_SPLIT_WORDS.get(str(word).strip().casefold(), -1) for word in words.dictionary.to_pylist()]
    by_code: Splits = np.array([*codes, -1], np.int8)
    split: Splits = by_code[words.indices.fill_null(len(codes)).to_numpy(zero_copy_only=False)]
    return split


def _refuse(task: Task, message: str, kind: str, hint: str | None = None) -> QueryError:
    """The error for a task as a whole."""
    return QueryError(message, kind=kind, hint=hint, text="")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["unknown reason"])[0]
