"""DuckDB files, reflected through DuckDB's own catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa

from rdl.database.failures import explained
from rdl.database.fingerprint import duckdb_state, seal_after, unsealed
from rdl.database.reader import IfExists
from rdl.database.registry import (
    REGISTRY,
    REGISTRY_COLUMNS,
    in_order,
    is_registry,
    known_columns,
    note_repairs,
    plan_write,
    written_now,
)
from rdl.database.scan import Scan, columns_of, prepare, quote, stream
from rdl.database.selection import Place, fitting, names_of, pick
from rdl.database.url import DatabaseUrl
from rdl.errors import DatabaseError, did_you_mean
from rdl.schema import Relation, Schema, Table


class DuckdbReader:
    """A DuckDB file. Each call opens the file for itself, so nothing stays locked between calls.

    Tables of the schema ``main`` are read, or of those picked by ``?schemas=``; a name that stands in several of
    them is spelled ``schema.table``. Views are left out. Predictions go to the first schema.
    """

    def __init__(self, url: DatabaseUrl, *, tables: Sequence[str] | None = None, exclude: Sequence[str] = ()) -> None:
        self.path = Path(url.path or url.location)
        self.url, self.name = url.redacted, self.path.stem
        self._repairs: dict[tuple[str, str], int] = {}
        self.repairs: Mapping[tuple[str, str], int] = self._repairs
        self.warnings: list[str] = []
        self._schemas = url.schemas or ("main",)
        self._tables, self._exclude = tables, tuple(exclude)
        self._scans: dict[str, Scan] = {}
        _connect(self.path, self.url).close()

    def reflect(self) -> Schema:
        """As :meth:`rdl.database.reader.Reader.reflect` says; ``warnings`` then names what had to be dropped."""
        with explained(f"{self.url}: cannot be reflected"), _connect(self.path, self.url) as connection:
            _check_schemas(connection, self._schemas, self.url)
            types = _types(connection, self._schemas)
            places = _user_tables(connection, types)
            constraints = _constraints(connection, self._schemas)
        if not places:
            raise DatabaseError(f"{self.url} has no tables", hint="give a database that holds some.")
        names = names_of(places)
        picked = pick(list(names.values()), self._tables, self._exclude, where=self.url)
        relations = [
            Relation(names[place], key, names.get((place[0], parent), parent), referred)
            for place, kind, key, parent, referred in constraints
            if kind == "FOREIGN KEY" and place in names
        ]
        self.warnings, self._scans, tables = [], {}, {}
        for place, name in names.items():
            if name in picked:
                declared = [(kind, key) for at, kind, key, *_ in constraints if at == place]
                self._scans[name] = Scan(_quoted(place), types[place], {})
                tables[name] = _table(name, self._scans[name], declared)
        return Schema(tables, fitting(relations, tables, names.values(), self.warnings))

    def count(self, table: str) -> int:
        """The number of rows of ``table``."""
        scan = self._scan(table)
        with explained(f"{self.url}: cannot count table {table!r}"), _connect(self.path, self.url) as connection:
            found = connection.execute(f"SELECT count(*) FROM {scan.sql}").fetchall()
        return int(found[0][0])

    def read(
        self, table: str, columns: Sequence[str] | None = None, *, limit: int | None = None
    ) -> pa.RecordBatchReader:
        """As :meth:`rdl.database.reader.Reader.read` says. The file is open until the last batch was read."""
        scan = self._scan(table)
        chosen = known_columns(table, columns, scan.types)
        doing = f"{self.url}: cannot read table {table!r}"
        lost = note_repairs(self._repairs, table)
        return stream(_connect(self.path, self.url), scan, chosen, limit=limit, lost=lost, doing=doing)

    def fingerprint(self) -> str:
        """As :meth:`rdl.database.reader.Reader.fingerprint` says."""
        with explained(f"{self.url}: cannot be looked at"):
            state = duckdb_state(self.path)
            if not state.sealable:
                return state.digest()
            with _connect(self.path, self.url) as connection:
                return unsealed(state, _seals(connection))

    def write(self, table: str, rows: pa.Table, *, if_exists: IfExists = "fail") -> int:
        """As :meth:`rdl.database.reader.Reader.write` says."""
        with explained(f"{self.url}: cannot write table {table!r}"):
            before = duckdb_state(self.path)
            fingerprint = self.fingerprint()
            connection, alone = _connect_to_write(self.path)
            # Somebody who shares this process's connection could write between us and the checkpoint.
            seal = seal_after(before, fingerprint) if alone else None
            with connection:
                connection.begin()
                _put(connection, (self._schemas[0], table), rows, if_exists, str(seal or ""))
                connection.commit()
                with suppress(duckdb.Error):  # the rows are committed; somebody else reads
                    connection.execute("CHECKPOINT")
            if seal:
                seal.stamp(duckdb_state(self.path))
        return int(rows.num_rows)

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _scan(self, table: str) -> Scan:
        if not self._scans:
            self.reflect()
        if table not in self._scans:
            raise DatabaseError(f"{self.url} has no table {table!r}", hint=did_you_mean(table, self._scans))
        return self._scans[table]


def _connect(path: Path, url: str) -> duckdb.DuckDBPyConnection:
    """A connection for reading: read-only, unless this process has the file open for writing already."""
    with explained(f"{url}: cannot be opened", hint="close the program that writes to it, if one does."):
        try:
            return prepare(duckdb.connect(path, read_only=True))
        except duckdb.ConnectionException:
            return prepare(duckdb.connect(path))


def _connect_to_write(path: Path) -> tuple[duckdb.DuckDBPyConnection, bool]:
    """A connection for writing, and whether this process has no other one."""
    try:
        return prepare(duckdb.connect(path, config={"custom_user_agent": "rdl"})), True
    except duckdb.ConnectionException:
        return prepare(duckdb.connect(path)), False


def _quoted(place: Place) -> str:
    return f"{quote(place[0])}.{quote(place[1])}"


def _check_schemas(connection: duckdb.DuckDBPyConnection, schemas: Sequence[str], url: str) -> None:
    """Raises DatabaseError for a schema that is not there, and where ``main`` is empty and others are not."""
    there = _column(connection, "SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database()")
    for schema in schemas:
        if schema not in there:
            raise DatabaseError(f"{url}: there is no schema {schema!r}", hint=did_you_mean(schema, there))
    query = "SELECT DISTINCT schema_name FROM duckdb_tables() WHERE database_name = current_database() ORDER BY ALL"
    filled = _column(connection, query)
    if filled and not set(filled) & set(schemas):
        raise DatabaseError(
            f"{url}: schema {schemas[0]!r} has no tables", hint=f"add ?schemas={','.join(filled)} to the URL."
        )


def _column(connection: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(query).fetchall()]


def _types(connection: duckdb.DuckDBPyConnection, schemas: Sequence[str]) -> dict[Place, dict[str, str]]:
    """The DuckDB type of each column of each table, in the order of the schemas picked and of creation."""
    query = """
        SELECT schema_name, table_name, column_name, data_type
        FROM duckdb_columns() SEMI JOIN duckdb_tables() USING (database_oid, schema_oid, table_oid)
        WHERE database_name = current_database() AND list_contains($1, schema_name)
        ORDER BY list_position($1, schema_name), table_oid, column_index"""
    types: dict[Place, dict[str, str]] = {}
    for schema, table, column, type_text in connection.execute(query, [list(schemas)]).fetchall():
        types.setdefault((schema, table), {})[column] = type_text
    return types


def _constraints(
    connection: duckdb.DuckDBPyConnection, schemas: Sequence[str]
) -> list[tuple[Place, str, tuple[str, ...], str, tuple[str, ...]]]:
    """Table, kind, columns, parent and the parent's columns of each constraint."""
    query = """
        SELECT schema_name, table_name, constraint_type, constraint_column_names, referenced_table,
               referenced_column_names
        FROM duckdb_constraints() WHERE database_name = current_database() AND list_contains($1, schema_name)
        ORDER BY table_oid, constraint_index"""
    rows = connection.execute(query, [list(schemas)]).fetchall()
    return [
        ((schema, table), kind, tuple(columns or ()), parent or "", tuple(referred or ()))
        for schema, table, kind, columns, parent, referred in rows
    ]


def _table(name: str, scan: Scan, declared: Iterable[tuple[str, tuple[str, ...]]]) -> Table:
    """The table with its declared (kind, columns) constraints."""
    required: set[str] = set()
    keys: set[str] = set()
    primary_key: tuple[str, ...] = ()
    for kind, columns in declared:
        if kind in ("PRIMARY KEY", "NOT NULL"):
            required.update(columns)
        if kind in ("PRIMARY KEY", "FOREIGN KEY"):
            keys.update(columns)
        if kind == "PRIMARY KEY":
            primary_key = columns
    return Table(name, columns_of(scan, keys=keys, required=required), primary_key)


def _user_tables(connection: duckdb.DuckDBPyConnection, types: dict[Place, dict[str, str]]) -> list[Place]:
    """The tables that rdl did not write."""
    ours: set[tuple[str, str]] = set()
    for (schema, table), columns in types.items():
        if is_registry(table, list(columns)):
            written = _column(connection, f"SELECT table_name FROM {_quoted((schema, table))}")
            ours |= {(schema, name.casefold()) for name in (*written, table)}
    return [place for place in types if (place[0], place[1].casefold()) not in ours]


def _seals(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The seals of every list of rdl's tables in the file."""
    query = """SELECT schema_name FROM duckdb_columns()
        WHERE database_name = current_database() AND table_name = $1 AND column_name = 'seal'"""
    schemas = [str(row[0]) for row in connection.execute(query, [REGISTRY]).fetchall()]
    return [
        seal
        for schema in schemas
        for seal in _column(connection, f"SELECT seal FROM {_quoted((schema, REGISTRY))} WHERE seal IS NOT NULL")
    ]


def _put(connection: duckdb.DuckDBPyConnection, place: Place, rows: pa.Table, if_exists: IfExists, seal: str) -> None:
    """Writes ``rows`` and the entry in the list of rdl's tables; the caller commits."""
    schema, table = place
    registry = _quoted((schema, REGISTRY))
    query = """SELECT column_name FROM duckdb_columns() WHERE database_name = current_database()
        AND schema_name = $1 AND lower(table_name) = lower($2) ORDER BY column_index"""
    columns = [str(row[0]) for row in connection.execute(query, [schema, REGISTRY]).fetchall()]
    if columns and not is_registry(REGISTRY, columns):
        raise DatabaseError(f"a table {REGISTRY!r} that is not rdl's stands in the way", hint="rename it.")
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {registry} ({REGISTRY_COLUMNS[0]} VARCHAR, "
        f"{REGISTRY_COLUMNS[1]} TIMESTAMP, {REGISTRY_COLUMNS[2]} VARCHAR)"
    )
    existing = [str(row[0]) for row in connection.execute(query, [schema, table]).fetchall()]
    listed = f"FROM {registry} WHERE lower(table_name) = lower($1)"
    ours = connection.execute(f"SELECT count(*) {listed}", [table]).fetchall() != [(0,)]
    action = plan_write(table, rows, if_exists, existing=existing or None, ours=ours)
    if action == "append":
        rows = in_order(rows, existing)
    connection.register("rdl rows", rows)
    if action == "replace":
        connection.execute(f"DROP TABLE {_quoted(place)}")
    if action == "append":
        connection.execute(f'INSERT INTO {_quoted(place)} SELECT * FROM "rdl rows"')
    else:
        connection.execute(f'CREATE TABLE {_quoted(place)} AS SELECT * FROM "rdl rows"')
    connection.execute(f"DELETE {listed}", [table])
    connection.execute(f"INSERT INTO {registry} VALUES ($1, $2, $3)", [table, written_now(), seal])
    connection.unregister("rdl rows")
