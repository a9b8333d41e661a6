"""Running label SQL on a snapshot: in bounded memory, and with errors in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl import clock
from rdl.errors import QueryError
from rdl.labels.ordering import gather, in_order
from rdl.query.scalar import value_sql
from rdl.query.task import Task
from rdl.snapshot import Snapshot

Rows = npt.NDArray[np.int64]

#: What DuckDB may hold of the machine's memory before it writes to disk: labels and snapshot need some, too.
MEMORY_LIMIT = "50%"
#: Rows of a ranking that are taken from DuckDB at a time.
BATCH = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """Labels as DuckDB gave them, one a seed; ``lost`` counts seeds that never got one."""

    sql: str
    entity: Rows
    time: Rows
    target: pa.ChunkedArray
    split: npt.NDArray[np.int8]
    val_cut: int
    test_cut: int
    anchors: tuple[int, int, int] | None = None
    censored: int = 0
    lost: int = 0
    warnings: list[str] = field(default_factory=list)


@contextmanager
def connected(snapshot: Snapshot) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the views of ``snapshot`` that spills to a folder of its own rather than run out of memory."""
    with TemporaryDirectory(prefix="rdl-labels-") as folder, snapshot.connect() as connection:
        connection.execute(f"SET temp_directory = {value_sql(folder)}")
        connection.execute(f"SET memory_limit = {value_sql(MEMORY_LIMIT)}")
        yield connection


def run(snapshot: Snapshot, sql: str) -> tuple[Rows, Rows, pa.ChunkedArray]:
    """The columns entity, time (µs) and target of ``sql``; without a target NULLs. Raises QueryError."""
    with _running(snapshot) as connection:
        return fetch(connection, sql)


def run_at(snapshot: Snapshot, sql: str, task: Task, anchors: Sequence[int]) -> tuple[Rows, Rows, pa.ChunkedArray]:
    """Entity, time (µs) and target of ``task`` at ``anchors`` by time and entity, from the compiler's loose ``sql``; of
    a recommendation the target lists row numbers, ascending. Raises QueryError."""
    entities = max(snapshot.num_rows[task.entity], 1)
    times = np.array(anchors, np.int64)
    with _running(snapshot) as connection:
        relation = connection.sql(sql)
        if task.candidates is not None:
            entity, n, lists = gather(batches(relation), entities, len(anchors), snapshot.num_rows[task.candidates])
            return entity, times[n], pa.chunked_array([lists])
        found: pa.Table = relation.to_arrow_table()
    entity, n = (found[column].cast(pa.int64()).to_numpy() for column in ("entity", "n"))
    if (order := in_order(entity, n, entities)) is None:
        return entity, times[n], found["target"]
    return entity[order], times[n[order]], found["target"].take(pa.array(order))


def batches(relation: duckdb.DuckDBPyRelation) -> Iterator[pa.RecordBatch]:
    """The rows of ``relation`` as they are found, never all of them at once. Raises duckdb.Error."""
    try:
        yield from relation.to_arrow_reader(BATCH)
    except OSError as error:  # what DuckDB says once the first rows are there, as Arrow tells it
        kinds = {"Out of Memory": duckdb.OutOfMemoryException, "Out of Range": duckdb.OutOfRangeException,
                 "Conversion": duckdb.ConversionException}  # fmt: skip
        kind = next((kind for words, kind in kinds.items() if str(error).startswith(words)), duckdb.Error)
        raise kind(str(error)) from error


@contextmanager
def _running(snapshot: Snapshot) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection for the compiler's SQL."""
    with connected(snapshot) as connection:
        # The compiler lays joins in the order in which they should be done; left to itself DuckDB, which does not know
        # how many rows an as-of join or UNNEST gives, begins with all entities at all anchors.
        connection.execute("SET disabled_optimizers = 'join_order'")
        try:
            yield connection
        except duckdb.Error as error:
            raise refuse(f"the labels cannot be computed: {_said(error)}", "labels") from error


def fetch(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Rows, Rows, pa.ChunkedArray]:
    """As :func:`run`, on a connection; an entity that is not there is -1. Raises duckdb.Error."""
    found: pa.Table = connection.sql(sql).to_arrow_table()
    entity = found["entity"].cast(pa.int64()).fill_null(-1).to_numpy()
    time = found["time"].cast(pa.timestamp("us")).cast(pa.int64()).fill_null(clock.NEVER).to_numpy()
    target = found["target"] if "target" in found.column_names else pa.chunked_array([pa.nulls(len(entity))])
    return entity, time, target


def _said(error: duckdb.Error) -> str:
    """What went wrong in the compiler's SQL, in words; the engine's own stand in the cause."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return f"{MEMORY_LIMIT} of the memory and the disk of temporary files do not hold them"
    if isinstance(error, duckdb.OutOfRangeException):
        return "a value is too large"
    if isinstance(error, duckdb.ConversionException):
        return "a value cannot be read as what it is compared with"
    return "a function has no result for what it is given"


def extent(snapshot: Snapshot, tables: list[str], *, anything: bool = False) -> tuple[int, int]:
    """The oldest and newest time of ``tables``, infinite ones aside; of no time at all (0, 0) where ``anything`` will
    do."""
    firsts, lasts = [], []
    for table in tables:
        times = snapshot.time(table)
        first = np.searchsorted(times, clock.NO_BEGINNING, side="right")
        times = times[first : np.searchsorted(times, clock.NO_END_FROM)]
        if len(times):
            firsts.append(int(times[0]))
            lasts.append(int(times[-1]))
    if firsts:
        return min(firsts), max(lasts)
    if anything:
        return 0, 0
    raise refuse(f"{', '.join(tables)}: no row has a time, so there is no window to look at", "no-rows")


def refuse(message: str, kind: str, hint: str | None = None) -> QueryError:
    """The error for a task as a whole."""
    return QueryError(message, kind=kind, hint=hint, text="")


def line(error: Exception) -> str:
    """The first line of what an engine said."""
    return (str(error).strip().splitlines() or ["unknown reason"])[0]
