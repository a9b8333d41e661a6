"""DuckDB files, reflected through DuckDB's own catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa

from rdl.database.duckdb_catalog import (
    Declared,
    check_schemas,
    compared,
    declared,
    quoted,
    seals_of,
    types_of,
    user_tables,
    view_types,
    views_of,
)
from rdl.database.failures import explained
from rdl.database.fingerprint import FileState, duckdb_state, seal_after, unchanged, unsealed
from rdl.database.reader import IfExists
from rdl.database.registry import (
    REGISTRY,
    REGISTRY_COLUMNS,
    check_since,
    in_order,
    is_registry,
    known_columns,
    note_repairs,
    plan_write,
    written_now,
)
from rdl.database.scan import Scan, columns_of, exact_keys, prepare, quote, stream
from rdl.database.selection import Place, fitting, names_of, pick, without_unknown
from rdl.database.url import DatabaseUrl
from rdl.errors import DatabaseError, did_you_mean
from rdl.schema import Relation, Schema, Table


class DuckdbReader:
    """A DuckDB file. Each call opens the file for itself, so nothing stays locked between calls.

    Tables of the schema ``main`` are read, or of those picked by ``?schemas=``; a name that stands in several of
    them is spelled ``schema.table``. Predictions go to the first schema. A consistent read holds the file open, so that
    no other process can write to it, and looks whether this one did.
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
        self.parallel_reads = 4
        self._schemas = url.schemas or ("main",)
        self._tables, self._exclude, self._views = tables, tuple(exclude), tuple(views)
        self._scans: dict[str, Scan] = {}
        self._held: str | None = None
        _connect(self.path, self.url).close()

    def reflect(self) -> Schema:
        """As :meth:`rdl.database.reader.Reader.reflect` says."""
        with explained(f"{self.url}: cannot be reflected"), _connect(self.path, self.url) as connection:
            check_schemas(connection, self._schemas, self.url)
            types = types_of(connection, self._schemas)
            places = user_tables(connection, types)
            seen = views_of(connection, self._schemas)
            names = names_of([*places, *seen])
            if not places and not (seen and (self._views or self._tables)):
                raise DatabaseError(f"{self.url} has no tables", hint="give a database that holds some.")
            picked = pick(
                [names[place] for place in places],
                self._tables,
                self._exclude,
                where=self.url,
                views=[names[place] for place in seen],
                wanted=self._views,
            )
            keys = declared(connection, types)
            exact = {
                place: exact_keys(types[place], {*keys[place].primary_key, *columns}, columns)
                for place, columns in compared(keys).items()
            }
            types |= {place: view_types(connection, place) for place in seen if names[place] in picked}
        relations = [
            Relation(names[place], key, names.get(parent, parent[1]), referred)
            for place in places
            for key, parent, referred in keys[place].foreign
        ]
        warnings: list[str] = []
        tables, scans = dict[str, Table](), dict[str, Scan]()
        for place, name in names.items():
            if name in picked:
                scan = Scan(quoted(place), types[place], exact.get(place, {}))
                if table := without_unknown(_table(name, scan, keys.get(place)), scan.types, warnings):
                    tables[name], scans[name] = table, scan.only(column.name for column in table.columns)
        self._scans = scans
        known = [names[place] for place in places]
        schema = Schema(tables, fitting(relations, tables, known, warnings))
        self.warnings = warnings
        return schema

    def count(self, table: str) -> int:
        """The number of rows of ``table``."""
        scan = self._scan(table)
        with explained(f"{self.url}: cannot count table {table!r}"), _connect(self.path, self.url) as connection:
            found = connection.execute(f"SELECT count(*) FROM {scan.sql}").fetchall()
        return int(found[0][0])

    @contextmanager
    def consistent(self) -> Iterator[None]:
        """As :meth:`rdl.database.reader.Reader.consistent` says; not one within another."""
        if self._held is not None:
            raise DatabaseError(f"{self.url}: a consistent read is under way already")
        with ExitStack() as stack:
            file = stack.enter_context(self._file())
            connection = stack.enter_context(_connect(self.path, self.url))
            stack.enter_context(unchanged(self.url, lambda: self._state(file)))
            with explained(f"{self.url}: cannot be looked at"):
                self._held = _unsealed(self._state(file), connection)
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
        scan = self._scan(table)
        chosen = known_columns(table, columns, scan.types)
        check_since(table, since, scan.dtypes())
        doing = f"{self.url}: cannot read table {table!r}"
        lost = note_repairs(self._repairs, table)
        return stream(_connect(self.path, self.url), scan, chosen, limit=limit, since=since, lost=lost, doing=doing)

    def fingerprint(self) -> str:
        """As :meth:`rdl.database.reader.Reader.fingerprint` says."""
        if self._held is not None:
            return self._held
        with explained(f"{self.url}: cannot be looked at"):
            state = duckdb_state(self.path)
            if not state.sealable:
                return state.digest()
            with _connect(self.path, self.url) as connection:
                return _unsealed(state, connection)

    def write(
        self,
        table: str,
        rows: pa.Table,
        *,
        if_exists: IfExists = "fail",
        like: Mapping[str, tuple[str, str]] | None = None,
    ) -> int:
        """As :meth:`rdl.database.reader.Reader.write` says."""
        types = {column: self._type(*source) for column, source in (like or {}).items()}
        with explained(f"{self.url}: cannot write table {table!r}"):
            before = duckdb_state(self.path)
            fingerprint = self.fingerprint()
            connection, alone = _connect_to_write(self.path)
            # Somebody who shares this process's connection could write between us and the checkpoint.
            seal = seal_after(before, fingerprint) if alone else None
            with connection:
                connection.begin()
                _put(connection, (self._schemas[0], table), rows, if_exists, str(seal or ""), types)
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

    def _type(self, table: str, column: str) -> str:
        known_columns(table, [column], self._scan(table).types)
        return self._scan(table).types[column]

    def _state(self, file: BinaryIO) -> FileState:
        with explained(f"{self.url}: cannot be looked at"):
            return duckdb_state(self.path, file)

    def _file(self) -> BinaryIO:
        with explained(f"{self.url}: cannot be opened"):
            return self.path.open("rb")


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


def _unsealed(state: FileState, connection: duckdb.DuckDBPyConnection) -> str:
    return unsealed(state, seals_of(connection)) if state.sealable else state.digest()


def _table(name: str, scan: Scan, keys: Declared | None) -> Table:
    """The table, or the view where nothing is declared."""
    if keys is None:
        return Table(name, columns_of(scan, keys=set(), required=set()))
    used = {*keys.primary_key, *scan.wanted, *(column for key, *_ in keys.foreign for column in key)}
    return Table(name, columns_of(scan, keys=used, required=set(keys.required)), keys.primary_key)


def _put(
    connection: duckdb.DuckDBPyConnection,
    place: Place,
    rows: pa.Table,
    if_exists: IfExists,
    seal: str,
    types: Mapping[str, str],
) -> None:
    """Writes ``rows`` and the entry in the list of rdl's tables; the caller commits. ``types`` are those of columns
    that take not their own."""
    schema, table = place
    registry = quoted((schema, REGISTRY))
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
        connection.execute(f"DROP TABLE {quoted(place)}")
    if action == "append":
        connection.execute(f'INSERT INTO {quoted(place)} SELECT * FROM "rdl rows"')
    else:
        # The catalogue's own text of a type is SQL.
        chosen = ", ".join(
            f"CAST({quote(name)} AS {types[name]}) AS {quote(name)}" if name in types else quote(name)
            for name in rows.column_names
        )
        connection.execute(f'CREATE TABLE {quoted(place)} AS SELECT {chosen} FROM "rdl rows"')
    connection.execute(f"DELETE {listed}", [table])
    connection.execute(f"INSERT INTO {registry} VALUES ($1, $2, $3)", [table, written_now(), seal])
    connection.unregister("rdl rows")
