"""Reading PostgreSQL: transactions that several connections share, and rows as Arrow batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa

from rdl import clock
from rdl.database.cells import valid_text
from rdl.database.postgresql_catalog import Source
from rdl.database.postgresql_connect import fetch, literal, run, told
from rdl.database.scan import quote
from rdl.errors import DatabaseError
from rdl.schema import Dtype

_BEGIN, _EXPORT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", "SELECT pg_export_snapshot()"


@dataclass(slots=True)
class _Shared:
    """The snapshot of one consistent read: ``name`` is what other connections take it by, None where the server
    gives it to none; ``idle`` are connections that have it already."""

    holder: adbc.Connection
    name: str | None
    idle: list[adbc.Connection] = field(default_factory=list)
    turn: threading.Lock = field(default_factory=threading.Lock)
    reading: int = 0
    ended: bool = False


class Snapshots:
    """Connections in a read-only transaction, all in one snapshot within :meth:`shared`."""

    def __init__(self, open_: Callable[[], adbc.Connection]) -> None:
        self._open = open_
        self._now: _Shared | None = None

    @contextmanager
    def shared(self, doing: str) -> Iterator[None]:
        """Within it :meth:`connection` always sees the database as it stood at the beginning."""
        if self._now is not None:
            yield
            return
        with told(doing):
            holder = self._open()
            try:
                name = _exported(holder)
            except BaseException:
                holder.close()
                raise
        now = self._now = _Shared(holder, name)
        try:
            yield
        finally:
            self._now, now.ended = None, True
            for connection in (*now.idle, holder):
                connection.close()

    @contextmanager
    def connection(self, doing: str) -> Iterator[adbc.Connection]:
        """A connection in a transaction of its own, or in the shared snapshot. Failures are told as DatabaseError."""
        now = self._now
        with told(doing):
            if now is not None and now.name is None:
                with _turn(now, doing):
                    yield now.holder
                return
            connection = (now and _popped(now.idle)) or self._begun(now)
            whole = False
            try:
                yield connection
                whole = True
            finally:
                # One that failed or was left half way holds rows of that read: it is of no more use.
                if whole and now and not now.ended:
                    now.idle.append(connection)
                else:
                    connection.close()

    def _begun(self, now: _Shared | None) -> adbc.Connection:
        connection = self._open()
        try:
            run(connection, _BEGIN)
            if now is not None:
                run(connection, f"SET TRANSACTION SNAPSHOT {literal(str(now.name))}")
        except BaseException:
            connection.close()
            raise
        return connection


def _popped(idle: list[adbc.Connection]) -> adbc.Connection | None:
    try:
        return idle.pop()
    except IndexError:  # none, or another thread was faster
        return None


def _exported(holder: adbc.Connection) -> str | None:
    """Begins the transaction and returns its snapshot's name; None where the server does not give one out: a pooler,
    a standby, no permission."""
    run(holder, _BEGIN)
    with suppress(adbc.Error):
        return str(fetch(holder, _EXPORT)[0][0])
    run(holder, "ROLLBACK", _BEGIN)
    fetch(holder, "SELECT txid_current_snapshot()::text")  # the snapshot is taken now, not at the first read
    return None


@contextmanager
def _turn(now: _Shared, doing: str) -> Iterator[None]:
    """Waits for the one connection. A thread that has a read under way itself would wait for ever, so it may not."""
    if now.reading == threading.get_ident():
        raise DatabaseError(
            f"{doing}: another read is not finished, and this server lets only one connection see one snapshot",
            hint="read that one to its end first.",
        )
    with now.turn:
        now.reading = threading.get_ident()
        try:
            yield
        finally:
            now.reading = 0


def arrow_schema(chosen: Mapping[str, Source]) -> pa.Schema:
    """The Arrow schema that :func:`batches` yields."""
    return pa.schema([(name, source.how.arrow) for name, source in chosen.items()])


def batches(
    connection: adbc.Connection,
    chosen: Mapping[str, Source],
    tail: str,
    lost: Callable[[str, int], None],
    *,
    any_bytes: bool,
) -> Iterator[pa.RecordBatch]:
    """The ``chosen`` columns of what ``tail`` (FROM and all after it) selects; then ``lost`` is told of the cells that
    did not fit. ``any_bytes``: the server does not vouch for its text being UTF-8."""
    schema = arrow_schema(chosen)
    nulls = dict.fromkeys(chosen, 0)
    selected = ", ".join(f"{source.sql} AS {quote(name)}" for name, source in chosen.items())
    # Rows in the engine's own order: parallel workers would mix them.
    run(connection, "SET LOCAL max_parallel_workers_per_gather = 0")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {selected or 'NULL'} {tail}")
        for batch in cursor.fetch_record_batch():
            arrays = [_cast(array, type_, any_bytes) for array, type_ in zip(batch.columns, schema.types, strict=False)]
            for name, array in zip(chosen, arrays, strict=True):
                nulls[name] += array.null_count
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
    for name, count in nulls.items():
        if not count or not (chosen[name].how.lossy or any_bytes):
            continue
        rows = f"SELECT {chosen[name].raw} AS c {tail}"
        there = fetch(connection, f"SELECT count(*) - count(c) FROM ({rows}) AS r")[0][0]
        if count > there:
            lost(name, count - int(there))


def _cast(array: pa.Array, type_: pa.DataType, any_bytes: bool) -> pa.Array:
    if any_bytes and pa.types.is_string(array.type):
        array = valid_text(array)
    elif any_bytes and pa.types.is_list(array.type) and pa.types.is_string(array.type.value_type):
        array = pa.ListArray.from_arrays(array.offsets, valid_text(array.values), mask=array.is_null())
    return array.cast(type_)


_TIMES = {"date": "timestamp", "timestamp": "timestamp", "timestamptz": "timestamptz"}


def time_filter(name: str, source: Source, since_us: int) -> str:
    """SQL that keeps the rows whose time, or whole number, is ``since_us`` or later. Raises DatabaseError where it is
    neither."""
    if source.how.dtype is Dtype.integer:
        return f" WHERE {source.raw} >= {int(since_us)}"
    if source.how.dtype not in (Dtype.date, Dtype.timestamp):
        raise DatabaseError(f"column {name!r} is no date or timestamp", hint="name one that is.")
    if since_us <= clock.NO_BEGINNING:
        return f" WHERE {source.raw} IS NOT NULL"
    moment = clock.to_datetime(min(since_us, clock.NO_END)).isoformat(" ")
    return f" WHERE {source.raw} >= {literal(moment + '+00')}::{_TIMES[source.type]}"
