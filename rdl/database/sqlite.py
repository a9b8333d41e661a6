"""SQLite files: reflected through PRAGMAs, read and written through ADBC.

A SQLite column may hold anything whatever its declared type, and ADBC takes a column's type from its first rows. So
every column is brought into one storage class in the SELECT, and a first row of the right classes, dropped again,
settles what ADBC sees; what the declared type does not allow becomes NULL and is counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote as percent_encode

import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa
import pyarrow.compute as pc

from rdl.clock import NO_BEGINNING, NO_END, US_PER_DAY, to_datetime
from rdl.database.cells import CellParser
from rdl.database.failures import explained
from rdl.database.fingerprint import FileState, seal_after, sqlite_state, unchanged, unsealed
from rdl.database.reader import IfExists
from rdl.database.registry import REGISTRY, check_since, is_registry, known_columns, note_repairs
from rdl.database.scan import BATCH_ROWS, fold, literal, quote
from rdl.database.selection import fitting, pick
from rdl.database.sqlite_catalog import (
    Declared,
    dtypes_of,
    fetch,
    own,
    primary_key,
    relations_of,
    tables_of,
    unique_keys,
    view_columns,
    views_of,
    written_by_rdl,
)
from rdl.database.sqlite_keys import Place, collations_of, exact_columns, key_expressions
from rdl.database.sqlite_write import put
from rdl.database.types import ARROW_TYPES, STYPES
from rdl.database.url import DatabaseUrl
from rdl.errors import DatabaseError, did_you_mean
from rdl.schema import Column, Dtype, Schema, Stype, Table

_BUSY_MS = 2_000
#: A batch is meant to stay below this size.
_BATCH_BYTES = 2**27


@dataclass(frozen=True, slots=True)
class _Held:
    """A consistent read under way: of a file in WAL mode one connection sees its snapshot; any other file cannot
    change while a connection has its lock, so every read opens it for itself (``connection`` is None)."""

    connection: adbc.Connection | None
    fingerprint: str
    mode: str


class SqliteReader:
    """A SQLite file. Each call opens the file for itself, so nothing stays locked between calls.

    Virtual tables and their shadows are left out. A column without a declared type, or with one that says
    nothing, has the type of what it holds. Call :meth:`fingerprint` between reads, not while one runs.
    """

    def __init__(
        self,
        url: DatabaseUrl,
        *,
        tables: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        views: Sequence[str] = (),
    ) -> None:
        self.path = Path(url.path or url.location)
        self.url, self.name = url.redacted, self.path.stem
        self._repairs: dict[tuple[str, str], int] = {}
        self.repairs: Mapping[tuple[str, str], int] = self._repairs
        self.warnings: Sequence[str] = []
        self._tables, self._exclude, self._views = tables, tuple(exclude), tuple(views)
        self._dtypes: dict[str, dict[str, Dtype]] = {}
        self._keys: dict[Place, str] = {}
        self._held: _Held | None = None
        with self._connected("cannot be opened") as connection:
            fetch(connection, "SELECT count(*) FROM sqlite_schema")
        self.parallel_reads = 1 if _in_wal_mode(self.path) else 4

    def reflect(self) -> Schema:
        """As :meth:`rdl.database.reader.Reader.reflect` says."""
        with self._connected("cannot be reflected") as connection:
            declared = tables_of(connection)
            views = views_of(connection)
            ours = written_by_rdl(connection, declared)
            names = [name for name in declared if fold(name) not in ours]
            if not names and not (views and (self._views or self._tables)):
                raise DatabaseError(f"{self.url} has no tables", hint="give a database that holds some.")
            picked = pick(names, self._tables, self._exclude, where=self.url, views=views, wanted=self._views)
            relations = [relation for relation in relations_of(connection, declared) if relation.child in names]
            declared |= {name: view_columns(connection, name) for name in picked if name in views}
            dtypes = {name: dtypes_of(connection, name, declared[name]) for name in picked}
            unique = unique_keys(connection, declared)
            keys = {name: primary_key(declared[name]) or unique.get(name, ()) for name in declared}
            exact = exact_columns(connection, declared, keys, relations, dtypes)
            collations = collations_of(connection)
        for table, column in exact:
            dtypes[table][column] = Dtype.text
        warnings: list[str] = []
        tables: dict[str, Table] = {}
        for name in picked:
            used = {column for relation in relations if relation.child == name for column in relation.key}
            used |= {column for table, column in exact if table == name}.union(keys[name])
            tables[name] = _table(name, declared[name], dtypes[name], keys[name], used)
        schema = Schema(tables, fitting(relations, tables, names, warnings))
        self.warnings, self._dtypes = warnings, dtypes
        self._keys = key_expressions(exact, schema.relations, collations, dtypes)
        return schema

    def count(self, table: str) -> int:
        """The number of rows of ``table``."""
        self._known(table)
        with self._connected(f"cannot count table {table!r}") as connection:
            return int(fetch(connection, f"SELECT count(*) FROM {quote(table)}")[0][0])

    @contextmanager
    def consistent(self) -> Iterator[None]:
        """As :meth:`rdl.database.reader.Reader.consistent` says; not one within another. A file in WAL mode is read as
        of the beginning while others write; any other file others cannot write to meanwhile."""
        if self._held is not None:
            raise DatabaseError(f"{self.url}: a consistent read is under way already")
        doing = "cannot begin a consistent read"
        with ExitStack() as stack:
            with explained(f"{self.url}: {doing}"):
                mode, before = _reading_mode(self.path), sqlite_state(self.path)
                # To close any handle of the file would drop the lock, so this one stays open.
                file = stack.enter_context(self.path.open("rb"))
            connection = stack.enter_context(self._connected(doing, mode=mode, transaction=True))
            with explained(f"{self.url}: {doing}"):
                fetch(connection, "SELECT count(*) FROM sqlite_schema")
            wal = _in_wal_mode(self.path, file)
            if not wal:
                before = self._state(file)
                stack.enter_context(unchanged(self.url, lambda: self._state(file)))
            # What others commit between the look at a log and the snapshot is read, and looks like a later change.
            self._held = _Held(connection if wal else None, _unsealed(before, connection), mode)
            try:
                yield
            finally:
                self._held = None

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        limit: int | None = None,
        since: tuple[str, int] | None = None,
    ) -> pa.RecordBatchReader:
        """As :meth:`rdl.database.reader.Reader.read` says. The file is open until the last batch was read."""
        dtypes = self._known(table)
        chosen = {name: dtypes[name] for name in known_columns(table, columns, dtypes)}
        check_since(table, since, dtypes)
        schema = pa.schema([(name, ARROW_TYPES[dtype]) for name, dtype in chosen.items()])
        batches = self._batches(table, chosen, since, None if since else limit, schema)
        if since and limit is not None:
            batches = _first_rows(batches, limit)
        return pa.RecordBatchReader.from_batches(schema, batches)

    def _batches(
        self,
        table: str,
        chosen: dict[str, Dtype],
        since: tuple[str, int] | None,
        limit: int | None,
        schema: pa.Schema,
    ) -> Iterator[pa.RecordBatch]:
        nulls, parser = dict.fromkeys(chosen, 0), CellParser()
        read = chosen if since is None else chosen | {since[0]: self._dtypes[table][since[0]]}
        tail = f"FROM {quote(table)} AS r" + ("" if since is None else f" WHERE {_maybe_since(*since, read[since[0]])}")
        tail += "" if limit is None else f" LIMIT {int(limit)}"
        firsts = ", ".join(_FIRST[dtype] for dtype in read.values())
        sql = ", ".join(
            self._keys.get((table, name)) or _EXPRESSIONS[dtype].format(own(name)) for name, dtype in read.items()
        )
        with self._connected(f"cannot read table {table!r}") as connection, connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(self._batch_rows(table))})
            cursor.execute(f"SELECT {firsts or 'NULL'} UNION ALL SELECT * FROM (SELECT {sql or 'NULL'} {tail})")
            for number, batch in enumerate(cursor.fetch_record_batch()):
                rows = batch.slice(1) if number == 0 else batch
                cells = zip(read.items(), rows.columns, strict=False)
                arrays = {name: parser.parse(array, dtype) for (name, dtype), array in cells}
                for name in chosen:
                    nulls[name] += arrays[name].null_count
                if since:
                    late = pc.greater_equal(arrays[since[0]].cast(pa.int64()), since[1])
                    arrays = {name: array.filter(late) for name, array in arrays.items()}
                yield pa.RecordBatch.from_arrays([arrays[name] for name in chosen], schema=schema)
            self._note_lost(connection, table, {name: count for name, count in nulls.items() if count}, tail)

    def _batch_rows(self, table: str) -> int:
        """Rows of a batch: fewer where they may be large, as all that is in the file may be in this table."""
        size = self.path.stat().st_size
        return BATCH_ROWS if size < _BATCH_BYTES else max(1, min(BATCH_ROWS, self.count(table) * _BATCH_BYTES // size))

    def _note_lost(self, connection: adbc.Connection, table: str, nulls: dict[str, int], tail: str) -> None:
        """Counts the cells that are not NULL in the database and came out as NULL."""
        if not nulls:
            return
        # Numbered, as SQLite takes a subquery's column "true" for the truth.
        counted = ", ".join(f"count(*) - count(c{number})" for number in range(len(nulls)))
        chosen = ", ".join(f"{own(name)} AS c{number}" for number, name in enumerate(nulls))
        there = fetch(connection, f"SELECT {counted} FROM (SELECT {chosen} {tail})")[0]
        lost = note_repairs(self._repairs, table)
        for name, missing in zip(nulls, there, strict=True):
            if nulls[name] > missing:
                lost(name, nulls[name] - missing)

    def fingerprint(self) -> str:
        """As :meth:`rdl.database.reader.Reader.fingerprint` says."""
        if self._held is not None:
            return self._held.fingerprint
        with explained(f"{self.url}: cannot be looked at"):
            state = sqlite_state(self.path)
        if not state.sealable:
            return state.digest()
        with self._connected("cannot be looked at") as connection:
            return _unsealed(state, connection)

    def _state(self, file: BinaryIO) -> FileState:
        with explained(f"{self.url}: cannot be looked at"):
            return sqlite_state(self.path, file)

    def write(
        self,
        table: str,
        rows: pa.Table,
        *,
        if_exists: IfExists = "fail",
        like: Mapping[str, tuple[str, str]] | None = None,
    ) -> int:
        """As :meth:`rdl.database.reader.Reader.write` says."""
        doing = f"cannot write table {table!r}"
        types = {column: self._type(*source) for column, source in (like or {}).items()}
        with explained(f"{self.url}: {doing}"):
            before = sqlite_state(self.path)
            seal = seal_after(before, self.fingerprint())
            with self._connected(doing, mode="rw", transaction=True) as connection:
                put(connection, table, rows, if_exists, str(seal or ""), types)
                connection.commit()
            if seal:
                seal.stamp(sqlite_state(self.path))
        return int(rows.num_rows)

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _known(self, table: str) -> dict[str, Dtype]:
        if not self._dtypes:
            self.reflect()
        if table not in self._dtypes:
            raise DatabaseError(f"{self.url} has no table {table!r}", hint=did_you_mean(table, self._dtypes))
        return self._dtypes[table]

    def _type(self, table: str, column: str) -> str:
        known_columns(table, [column], self._known(table))
        with self._connected("cannot be looked at") as connection:
            query = "SELECT type FROM pragma_table_xinfo(?) WHERE name = ?"
            return str(fetch(connection, query, table, column)[0][0])

    @contextmanager
    def _connected(
        self, doing: str, *, mode: str | None = None, transaction: bool = False
    ) -> Iterator[adbc.Connection]:
        """A connection, let go of afterwards; where ``transaction``, all that is not committed is then undone."""
        with explained(f"{self.url}: {doing}"):
            if self._held and self._held.connection and mode != "rw":
                yield self._held.connection
                return
            wanted = os.W_OK if mode == "rw" else os.R_OK
            if not os.access(self.path, wanted):
                raise DatabaseError(
                    f"{self.url}: {doing}: no permission to {'write' if mode == 'rw' else 'read'} the file"
                )
            mode = mode or (self._held.mode if self._held else _reading_mode(self.path))
            uri = f"file:{percent_encode(str(self.path.resolve()))}?mode={mode}"
            connection = adbc.connect(uri, autocommit=not transaction)
            try:
                fetch(connection, f"PRAGMA busy_timeout = {_BUSY_MS}")
                yield connection
            finally:
                connection.close()


def _in_wal_mode(path: Path, file: BinaryIO | None = None) -> bool:
    return sqlite_state(path, file).counter is None


def _reading_mode(path: Path) -> str:
    """How to open ``path`` for reading: a file in WAL mode needs a folder to write its log's index into, unless
    it is declared not to change."""
    if os.access(path.parent, os.W_OK) or path.with_name(path.name + "-wal").exists():
        return "ro"
    return "ro&immutable=1" if _in_wal_mode(path) else "ro"


def _unsealed(state: FileState, connection: adbc.Connection) -> str:
    """The fingerprint of a file in this ``state``."""
    listed = fetch(connection, "SELECT name FROM pragma_table_info(?)", REGISTRY)
    ours = is_registry(REGISTRY, [name for (name,) in listed])
    seals = fetch(connection, f"SELECT seal FROM {REGISTRY} WHERE seal <> ''") if ours else []
    return unsealed(state, [seal for (seal,) in seals])


def _table(
    name: str, declared: Sequence[Declared], dtypes: Mapping[str, Dtype], key: tuple[str, ...], used: set[str]
) -> Table:
    """The table with this primary key; ``used`` are the columns of any key."""
    columns = (
        Column(
            column.name,
            dtypes[column.name],
            Stype.identifier if column.name in used else STYPES[dtypes[column.name]],
            nullable=not (column.required or column.position),
        )
        for column in declared
    )
    return Table(name, tuple(columns), key)


def _maybe_since(column: str, since_us: int, dtype: Dtype) -> str:
    """SQL that holds for every text that may be a time from ``since_us`` on, and for few others: what begins with a
    date of the day before (zones differ by less) or later, with a blank, or with a year beyond 9999. Of a column of
    whole numbers, for those from ``since_us`` on."""
    if dtype is Dtype.integer:
        return f"{own(column)} >= {int(since_us)}"
    day = max(since_us - US_PER_DAY, NO_BEGINNING)
    text = "" if day <= NO_BEGINNING else to_datetime(min(day, NO_END)).date().isoformat()
    name = own(column)
    return f"({name} >= {literal(text)} OR {name} < '!' OR {name} GLOB '[+0-9][0-9][0-9][0-9][0-9]*')"


def _first_rows(batches: Iterator[pa.RecordBatch], limit: int) -> Iterator[pa.RecordBatch]:
    left = limit
    with closing(batches):  # type: ignore[type-var]
        for batch in batches:
            if left <= 0:
                return
            yield batch.slice(0, left)
            left -= batch.num_rows


#: A cell of the storage class that each type is read in; the first row of a read.
_FIRST = dict.fromkeys(Dtype, "''") | {
    Dtype.boolean: "0",
    Dtype.integer: "0",
    Dtype.float: "0.5",
    Dtype.decimal: "0.5",
    Dtype.binary: "x'00'",
}
_TEXT = "CASE WHEN typeof({0}) <> 'blob' THEN CAST({0} AS TEXT) END"
_REAL = "CASE WHEN typeof({0}) IN ('integer', 'real') THEN CAST({0} AS REAL) END"
# A number in a time column has no unit (seconds? days?), so it is not taken for a time.
_TIME = "CASE typeof({0}) WHEN 'text' THEN {0} END"
#: SQL that brings a column into that class, NULL where its value does not fit; {0} is the quoted column.
_EXPRESSIONS = dict.fromkeys(Dtype, _TEXT) | {
    Dtype.boolean: "CASE WHEN {0} IN (0, 1) THEN CAST({0} AS INTEGER) WHEN lower({0}) IN ('true', 't') THEN 1"
    " WHEN lower({0}) IN ('false', 'f') THEN 0 END",
    Dtype.integer: "CASE typeof({0}) WHEN 'integer' THEN {0} WHEN 'real' THEN"
    " CASE WHEN {0} = CAST({0} AS INTEGER) THEN CAST({0} AS INTEGER) END END",
    Dtype.float: _REAL,
    Dtype.decimal: _REAL,
    Dtype.date: _TIME,
    Dtype.timestamp: _TIME,
    Dtype.time: _TIME,
    Dtype.uuid: "CASE typeof({0}) WHEN 'blob' THEN lower(hex({0})) ELSE CAST({0} AS TEXT) END",
    Dtype.binary: "CASE WHEN typeof({0}) IN ('blob', 'text') THEN CAST({0} AS BLOB) END",
}
