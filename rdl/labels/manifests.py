"""Labels that the SQL of a RelBench manifest gives, with the rows that RelBench itself would give."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl import clock
from rdl.labels.running import Found, connected, extent, fetch, line, refuse
from rdl.query.anchors import lay_manifest_anchors
from rdl.query.scalar import quote, value_sql
from rdl.query.task import Kind, LabelSql, Task
from rdl.schema import Dtype
from rdl.snapshot import Snapshot

Rows = npt.NDArray[np.int64]


def from_manifest(task: Task, sql: LabelSql, snapshot: Snapshot) -> Found:
    """Labels that a RelBench manifest's SQL gives: training and validation from data up to the begin of test."""
    own_times = [table.name for table in snapshot.schema.tables.values() if table.time and not table.time.through]
    start, end = extent(snapshot, own_times)
    timeline = lay_manifest_anchors(task, sql, start, end)
    query = sql.sql.strip().rstrip(";").replace("{timedelta}", sql.timedelta)
    parts = []
    with connected(snapshot) as connection:
        try:
            _create_views(connection, snapshot, "upto test", f"TIMESTAMP '{clock.to_datetime(timeline.test_cut)}'")
            _create_views(connection, snapshot, "all", None)
            connection.execute("SET enable_external_access = false")
            for split, schema in ((timeline.train, "upto test"), (timeline.val, "upto test"), (timeline.test, "all")):
                connection.register("timestamps", pa.table({"timestamp": pa.array(split, pa.timestamp("us"))}))
                connection.execute(f"SET schema = {value_sql(f'#{schema}')}")
                connection.execute(f"CREATE OR REPLACE TEMP TABLE {quote('#labels')} AS {query}\n")
                parts.append(fetch(connection, _rows(task, sql, snapshot, timeline.test_cut)))
        except duckdb.Error as error:
            raise refuse(f"the manifest's SQL fails: {line(error)}", "manifest") from None
    entity, time = (np.concatenate([part[column] for part in parts]) for column in (0, 1))
    target = pa.chunked_array([chunk for part in parts for chunk in part[2].chunks], parts[0][2].type)
    found = entity >= 0
    return Found(
        query, entity[found], time[found], target.filter(pa.array(found)),
        np.repeat(np.arange(3, dtype=np.int8), [len(part[0]) for part in parts])[found],
        timeline.val_cut, timeline.test_cut, (len(timeline.train), len(timeline.val), len(timeline.test)),
        lost=int((~found).sum()),
    )  # fmt: skip


def closed_labels(
    task: Task, sql: LabelSql, snapshot: Snapshot, anchors: Sequence[int]
) -> tuple[Rows, Rows, pa.ChunkedArray]:
    """Entity, time and target at ``anchors``, each anchor's from the rows known at the end of its window alone: what a
    manifest's SQL reads beyond that is not told."""
    query = sql.sql.strip().rstrip(";").replace("{timedelta}", sql.timedelta)
    parts = []
    with connected(snapshot) as connection:
        try:
            connection.execute("SET VARIABLE known_at = TIMESTAMP '1970-01-01'")
            _create_views(connection, snapshot, "known", "getvariable('known_at')", borrowed=True)
            connection.execute("SET enable_external_access = false")
            connection.execute(f"SET schema = {value_sql('#known')}")
            for anchor in anchors:
                known_at = clock.to_datetime(anchor + sql.window_us)
                connection.execute(f"SET VARIABLE known_at = TIMESTAMP '{known_at}'")
                connection.register("timestamps", pa.table({"timestamp": pa.array([anchor], pa.timestamp("us"))}))
                connection.execute(f"CREATE OR REPLACE TEMP TABLE {quote('#labels')} AS {query}\n")
                parts.append(fetch(connection, _rows(task, sql, snapshot, anchor + sql.window_us)))
        except duckdb.Error as error:
            raise refuse(f"the manifest's SQL fails: {line(error)}", "manifest") from None
    entity, time = (np.concatenate([part[column] for part in parts]) for column in (0, 1))
    target = pa.chunked_array([chunk for part in parts for chunk in part[2].chunks], parts[0][2].type)
    found = entity >= 0
    return entity[found], time[found], target.filter(pa.array(found))


def _rows(task: Task, sql: LabelSql, snapshot: Snapshot, test_cut: int) -> str:
    """SQL for entity, time and target from what the manifest's SQL gave; entities that are dangling get NULL.

    Of a recommendation the target lists the row numbers of the keys listed; NULL where all of them are dangling.
    """
    listed, ranked, target = "", "", f"l.{quote(sql.target)}"
    if task.candidates is not None:
        key, below = _key(task.candidates, "u.key", snapshot, test_cut)
        listed = (
            f"WITH numbered AS (SELECT row_number() OVER () AS n, * FROM {quote('#labels')}),\n"
            f'rows AS (SELECT u.n, LIST(d."#row") AS target FROM (SELECT n, UNNEST({quote(sql.target)}) AS key '
            f"FROM numbered) u JOIN main.{quote(task.candidates)} d ON d.{quote(key)} = u.key{below} GROUP BY 1)\n"
        )
        ranked, target = " LEFT JOIN rows r ON r.n = l.n", "r.target"
    elif task.kind in (Kind.binary, Kind.regression):
        target = f"CAST({target} AS DOUBLE)"
    own = f"l.{quote(sql.entity)}"
    key, below = _key(task.entity, own, snapshot, test_cut)
    return (
        f'{listed}SELECT e."#row" AS entity, CAST(l.{quote(sql.time)} AS TIMESTAMP) AS "time", {target} AS target\n'
        f"FROM {'numbered' if listed else quote('#labels')} l "
        f"LEFT JOIN main.{quote(task.entity)} e ON e.{quote(key)} = {own}{below}{ranked}\n"
        f"ORDER BY 2, {own}, 1"
    )


def _key(name: str, written: str, snapshot: Snapshot, test_cut: int) -> tuple[str, str]:
    """The primary key of the table ``name``, and a condition that drops dangling ones from the keys ``written``.

    As in RelBench a key is dangling where it is not below the number of rows known at the begin of test.
    """
    table = snapshot.schema[name]
    column = table[table.primary_key[0]]
    known = int(np.searchsorted(snapshot.time(name), test_cut, side="right"))
    numeric = column.dtype in (Dtype.integer, Dtype.float, Dtype.decimal)
    return column.name, f" AND {written} < {known}" if numeric else ""


def _create_views(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, schema: str, cut: str | None, *, borrowed: bool = False
) -> None:
    """Views by name of every table's own columns, with the rows whose time is not after ``cut``, in SQL; of tables that
    take their time from another, all rows unless ``borrowed``."""
    connection.execute(f"CREATE SCHEMA {quote(f'#{schema}')}")
    for table in snapshot.schema.tables.values():
        columns = ", ".join(quote(column.name) for column in table.columns)
        timed = table.time is not None and (borrowed or not table.time.through)
        where = f' WHERE "#time" <= {cut}' if timed and cut is not None else ""
        name = f"{quote(f'#{schema}')}.{quote(table.name)}"
        connection.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM main.{quote(table.name)}{where}")
