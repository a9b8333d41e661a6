"""SQLite files: reflected through PRAGMAs, read and written through ADBC.

A SQLite column may hold anything whatever its declared type, and ADBC takes a column's type from its first rows. So
every column is brought into one storage class in the SELECT, and a first row of the right classes, dropped again,
settles what ADBC sees; what the declared type does not allow becomes NULL and is counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote as percent_encode

import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa

from rdl.database.cells import CellParser
from rdl.database.failures import explained
from rdl.database.fingerprint import seal_after, sqlite_state, unsealed
from rdl.database.reader import IfExists
from rdl.database.registry import REGISTRY, is_registry, known_columns, note_repairs
from rdl.database.scan import BATCH_ROWS, quote
from rdl.database.selection import fitting, pick
from rdl.database.sqlite_write import put
from rdl.database.types import ARROW_TYPES, STYPES, dtype_named
from rdl.database.url import DatabaseUrl
from rdl.errors import DatabaseError, did_you_mean
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table

_BUSY_MS = 2_000


class SqliteReader:
    """A SQLite file. Each call opens the file for itself, so nothing stays locked between calls.

    Views, virtual tables and their shadows are left out. A column without a declared type, or with one that says
    nothing, has the type of what it holds. Call :meth:`fingerprint` between reads, not while one runs.
    """

    def __init__(self, url: DatabaseUrl, *, tables: Sequence[str] | None = None, exclude: Sequence[str] = ()) -> None:
        self.path = Path(url.path or url.location)
        self.url, self.name = url.redacted, self.path.stem
        self._repairs: dict[tuple[str, str], int] = {}
        self.repairs: Mapping[tuple[str, str], int] = self._repairs
        self.warnings: list[str] = []
        self._tables, self._exclude = tables, tuple(exclude)
        self._dtypes: dict[str, dict[str, Dtype]] = {}
        with self._connected("cannot be opened") as connection:
            _rows(connection, "SELECT count(*) FROM sqlite_schema")

    def reflect(self) -> Schema:
        """As :meth:`rdl.database.reader.Reader.reflect` says; ``warnings`` then names what had to be dropped."""
        with self._connected("cannot be reflected") as connection:
            declared = _columns(connection)
            ours = _written(connection, declared)
            names = [name for name in declared if name.casefold() not in ours]
            if not names:
                raise DatabaseError(f"{self.url} has no tables", hint="give a database that holds some.")
            picked = pick(names, self._tables, self._exclude, where=self.url)
            dtypes = {name: _dtypes(connection, name, declared[name]) for name in picked}
            keys = {name: _primary_key(declared[name]) for name in names}
            relations = [relation for relation in _relations(connection, declared, keys) if relation.child in names]
        self.warnings, self._dtypes, tables = [], dtypes, {}
        for name in picked:
            used = {column for relation in relations if relation.child == name for column in relation.key}
            used |= set(keys[name])
            columns = tuple(
                Column(
                    column,
                    dtypes[name][column],
                    Stype.identifier if column in used else STYPES[dtypes[name][column]],
                    nullable=not (required or position),
                )
                for column, _, required, position in declared[name]
            )
            tables[name] = Table(name, columns, keys[name])
        return Schema(tables, fitting(relations, tables, names, self.warnings))

    def count(self, table: str) -> int:
        """The number of rows of ``table``."""
        self._known(table)
        with self._connected(f"cannot count table {table!r}") as connection:
            return int(_rows(connection, f"SELECT count(*) FROM {quote(table)}")[0][0])

    def read(
        self, table: str, columns: Sequence[str] | None = None, *, limit: int | None = None
    ) -> pa.RecordBatchReader:
        """As :meth:`rdl.database.reader.Reader.read` says. The file is open until the last batch was read."""
        dtypes = self._known(table)
        chosen = {name: dtypes[name] for name in known_columns(table, columns, dtypes)}
        schema = pa.schema([(name, ARROW_TYPES[dtype]) for name, dtype in chosen.items()])
        return pa.RecordBatchReader.from_batches(schema, self._batches(table, chosen, limit, schema))

    def _batches(
        self, table: str, chosen: dict[str, Dtype], limit: int | None, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        nulls, parser = dict.fromkeys(chosen, 0), CellParser()
        tail = f"FROM {quote(table)} AS r" + ("" if limit is None else f" LIMIT {int(limit)}")
        firsts = ", ".join(_FIRST[dtype] for dtype in chosen.values())
        sql = ", ".join(_EXPRESSIONS[dtype].format(_own(name)) for name, dtype in chosen.items())
        with self._connected(f"cannot read table {table!r}") as connection, connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)})
            cursor.execute(f"SELECT {firsts} UNION ALL SELECT * FROM (SELECT {sql} {tail})")
            for number, batch in enumerate(cursor.fetch_record_batch()):
                rows = batch.slice(1) if number == 0 else batch
                arrays = [
                    parser.parse(array, dtype) for array, dtype in zip(rows.columns, chosen.values(), strict=True)
                ]
                for name, array in zip(chosen, arrays, strict=True):
                    nulls[name] += array.null_count
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            self._note_lost(connection, table, {name: count for name, count in nulls.items() if count}, tail)

    def _note_lost(self, connection: adbc.Connection, table: str, nulls: dict[str, int], tail: str) -> None:
        """Counts the cells that are not NULL in the database and came out as NULL."""
        if not nulls:
            return
        counted = ", ".join(f"count(*) - count({quote(name)})" for name in nulls)
        chosen = ", ".join(_own(name) for name in nulls)
        there = _rows(connection, f"SELECT {counted} FROM (SELECT {chosen} {tail})")[0]
        lost = note_repairs(self._repairs, table)
        for name, missing in zip(nulls, there, strict=True):
            if nulls[name] > missing:
                lost(name, nulls[name] - missing)

    def fingerprint(self) -> str:
        """As :meth:`rdl.database.reader.Reader.fingerprint` says."""
        with explained(f"{self.url}: cannot be looked at"):
            state = sqlite_state(self.path)
        if not state.sealable:
            return state.digest()
        with self._connected("cannot be looked at") as connection:
            listed = _rows(connection, "SELECT name FROM pragma_table_info(?)", REGISTRY)
            ours = is_registry(REGISTRY, [name for (name,) in listed])
            seals = _rows(connection, f"SELECT seal FROM {REGISTRY} WHERE seal <> ''") if ours else []
        return unsealed(state, [seal for (seal,) in seals])

    def write(self, table: str, rows: pa.Table, *, if_exists: IfExists = "fail") -> int:
        """As :meth:`rdl.database.reader.Reader.write` says."""
        doing = f"cannot write table {table!r}"
        with explained(f"{self.url}: {doing}"):
            before = sqlite_state(self.path)
            seal = seal_after(before, self.fingerprint())
            with self._connected(doing, writing=True) as connection:
                put(connection, table, rows, if_exists, str(seal or ""))
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

    @contextmanager
    def _connected(self, doing: str, *, writing: bool = False) -> Iterator[adbc.Connection]:
        """A connection, let go of afterwards; where ``writing``, one transaction that is undone by any error."""
        with explained(f"{self.url}: {doing}"):
            if not os.access(self.path, os.W_OK if writing else os.R_OK):
                raise DatabaseError(f"{self.url}: {doing}: no permission to {'write' if writing else 'read'} the file")
            mode = "rw" if writing else _reading_mode(self.path)
            uri = f"file:{percent_encode(str(self.path.resolve()))}?mode={mode}"
            connection = adbc.connect(uri, autocommit=not writing)
            try:
                with connection.cursor() as cursor:
                    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
                yield connection
                if writing:
                    connection.commit()
            finally:
                connection.close()  # undoes what was not committed


def _reading_mode(path: Path) -> str:
    """How to open ``path`` for reading: a file in WAL mode needs a folder to write its log's index into, unless
    it is declared not to change."""
    if os.access(path.parent, os.W_OK) or path.with_name(path.name + "-wal").exists():
        return "ro"
    with path.open("rb") as file:
        return "ro&immutable=1" if file.read(19)[18:] == b"\x02" else "ro"


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


def _own(column: str) -> str:
    """``column`` of the table read as ``r``: SQLite takes a bare quoted name that is no column for a text."""
    return f"r.{quote(column)}"


_Declared = tuple[str, str, bool, int]  # a column: name, declared type, NOT NULL, position in the primary key from 1


def _rows(connection: adbc.Connection, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a small result."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return list(cursor.fetchall())


def _columns(connection: adbc.Connection) -> dict[str, list[_Declared]]:
    """The columns of every table, generated ones too, in one query; in the order of creation."""
    query = """
        SELECT t.name, c.name, c.type, c."notnull", c.pk
        FROM sqlite_schema AS s
        JOIN pragma_table_list AS t ON t.schema = 'main' AND t.type = 'table' AND t.name = s.name
        JOIN pragma_table_xinfo(t.name) AS c ON c.hidden <> 1
        WHERE s.type = 'table' AND substr(t.name, 1, 7) <> 'sqlite_' ORDER BY s.rowid, c.cid"""
    declared: dict[str, list[_Declared]] = {}
    for table, column, type_text, required, position in _rows(connection, query):
        declared.setdefault(table, []).append((column, type_text, bool(required), int(position)))
    return declared


def _written(connection: adbc.Connection, declared: dict[str, list[_Declared]]) -> set[str]:
    """The case-folded names of the tables that rdl wrote, and of the list of them."""
    for name, columns in declared.items():
        if is_registry(name, [column for column, *_ in columns]):
            return {
                REGISTRY,
                *(str(row[0]).casefold() for row in _rows(connection, f"SELECT table_name FROM {REGISTRY}")),
            }
    return set()


def _primary_key(columns: Sequence[_Declared]) -> tuple[str, ...]:
    return tuple(name for name, _, _, position in sorted(columns, key=lambda column: column[3]) if position)


def _dtypes(connection: adbc.Connection, table: str, columns: Sequence[_Declared]) -> dict[str, Dtype]:
    """The storage type of each column: what its declared type says, else what it holds."""
    dtypes = {name: _declared_dtype(type_text) for name, type_text, *_ in columns}
    open_ = [name for name, dtype in dtypes.items() if dtype is None]
    if open_:
        classes = ("integer", "real", "text", "blob")
        held = ", ".join(f"coalesce(max(typeof({_own(name)}) = '{class_}'), 0)" for name in open_ for class_ in classes)
        found = _rows(connection, f"SELECT {held} FROM {quote(table)} AS r")[0]
        for position, name in enumerate(open_):
            dtypes[name] = _held_dtype(*map(bool, found[4 * position : 4 * position + 4]))
    return {name: dtype or Dtype.unknown for name, dtype in dtypes.items()}


def _declared_dtype(type_text: str) -> Dtype | None:
    """The storage type that a declared type means; None where it means nothing known."""
    named = dtype_named(type_text)
    return Dtype.text if named is Dtype.interval else named


def _held_dtype(integer: bool, real: bool, text: bool, blob: bool) -> Dtype:
    """The storage type of a column that holds values of these classes."""
    if blob:
        return Dtype.unknown if integer or real or text else Dtype.binary
    if text:
        return Dtype.text
    return Dtype.float if real else Dtype.integer if integer else Dtype.unknown


def _relations(
    connection: adbc.Connection, declared: dict[str, list[_Declared]], keys: dict[str, tuple[str, ...]]
) -> list[Relation]:
    """The foreign keys of every table, in one query; where the parent's columns are omitted, its primary key."""
    query = """
        SELECT t.name, f.id, f."from", f."table", f."to" IS NULL, coalesce(f."to", '')
        FROM pragma_table_list AS t JOIN pragma_foreign_key_list(t.name) AS f
        WHERE t.schema = 'main' AND t.type = 'table' ORDER BY t.name, f.id DESC, f.seq"""
    tables = {name.casefold(): name for name in declared}
    found: dict[tuple[str, int], Relation] = {}
    for child, number, column, parent_text, omitted, to in _rows(connection, query):
        parent = tables.get(parent_text.casefold(), parent_text)
        before = found.get((child, number), Relation(child, (), parent, ()))
        named = (*before.referred, _spelled(to, declared.get(parent, [])))
        referred = keys.get(parent, ()) if omitted else named
        key = (*before.key, _spelled(column, declared.get(child, [])))
        found[child, number] = Relation(child, key, parent, referred)
    order = {name: position for position, name in enumerate(declared)}
    return sorted(found.values(), key=lambda relation: order.get(relation.child, -1))


def _spelled(column: str, columns: Sequence[_Declared]) -> str:
    """``column`` as its table spells it; SQLite does not mind the case."""
    return next((name for name, *_ in columns if name.casefold() == column.casefold()), column)
