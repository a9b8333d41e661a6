"""PostgreSQL: reflected from its catalogue, read and written through ADBC's binary COPY."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa

from rdl.database import postgresql_catalog as catalogue
from rdl.database.postgresql_catalog import Catalog, PgTable, Source
from rdl.database.postgresql_connect import Connector, fetch, qualified, told
from rdl.database.postgresql_read import Snapshots, arrow_schema, batches, time_filter
from rdl.database.postgresql_write import put
from rdl.database.reader import IfExists
from rdl.database.registry import known_columns, note_repairs
from rdl.database.selection import fitting, pick
from rdl.database.url import DatabaseUrl, schemas_option
from rdl.errors import DatabaseError, did_you_mean
from rdl.schema import Column, Relation, Schema, Stype, Table

_OLDEST = 13
_TABLES_A_QUERY = 50


class PostgresReader:
    """A PostgreSQL database (13 or newer). Each call opens a connection for itself, but within :meth:`consistent`.

    Tables of the schemas on the search path are read, or of those picked by ``?schemas=``; a name that stands in
    several of them is spelled ``schema.table``. A partitioned table is one table; tables that inherit from another are
    tables of their own, as their keys are. Views, materialised views and foreign tables are read on request.
    Predictions go to the first schema.
    """

    def __init__(
        self,
        url: DatabaseUrl,
        *,
        tables: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        views: Sequence[str] = (),
    ) -> None:
        self.url, self._wanted = url.redacted, url.schemas
        self._repairs: dict[tuple[str, str], int] = {}
        self.repairs: Mapping[tuple[str, str], int] = self._repairs
        self.warnings: Sequence[str] = []
        self.parallel_reads = min(4, os.cpu_count() or 1)
        self._tables, self._exclude, self._views = tables, tuple(exclude), tuple(views)
        self._picked: dict[str, PgTable] = {}
        self._sources: dict[str, dict[str, Source]] = {}
        self._connect = Connector(url)
        self._snapshots = Snapshots(self._connect)
        with told(f"{self.url}: cannot be opened"), self._connect() as connection:
            version = "current_setting('server_version_num')::int / 10000, current_setting('server_version')"
            query = f"SELECT current_database()::text, current_setting('server_encoding'), {version}"
            self.name, encoding, number, shown = fetch(connection, query)[0]
        if number < _OLDEST:
            raise DatabaseError(f"{self.url}: the server is PostgreSQL {shown}", hint=f"use {_OLDEST} or newer.")
        self._any_bytes = encoding == "SQL_ASCII"

    def reflect(self) -> Schema:
        """As :meth:`rdl.database.reader.Reader.reflect` says."""
        with self._connected("cannot be reflected") as connection:
            catalog = self._load(connection)
        names, warnings = catalog.names, list(catalog.warnings)
        picked = {oid: catalog.tables[oid] for oid in self._pick(catalog)}
        relations = [
            Relation(names[oid], key, names[parent], referred)
            for oid, table in catalog.tables.items()
            for key, parent, referred in table.foreign
            if parent in names
        ]
        compared = _compared(relations)
        tables, self._sources, self._picked = dict[str, Table](), {}, {}
        for oid, table in picked.items():
            name = names[oid]
            sources = catalog.sources(table, compared[name].union(table.key), said := list[str]())
            if not sources:
                warnings.append(f"table {name} was left out: none of its columns can be read")
                continue
            warnings += said
            key = table.key if sources.keys() >= set(table.key) else ()
            own = [part for parts, parent, _ in table.foreign if parent in names for part in parts]
            tables[name] = Table(name, _columns(sources, {*key, *own}), key)
            self._sources[name], self._picked[name] = sources, table
        relations = [relation for relation in relations if _has_key(relation, tables, warnings)]
        self.warnings = warnings
        return Schema(tables, fitting(relations, tables, names.values(), warnings))

    def count(self, table: str) -> int:
        """The number of rows of ``table``."""
        self._known(table)
        with self._connected(f"cannot count table {table!r}") as connection:
            return int(fetch(connection, f"SELECT count(*) FROM {self._place(table)}")[0][0])

    def consistent(self) -> AbstractContextManager[None]:
        """As :meth:`rdl.database.reader.Reader.consistent` says: one snapshot, shared by the connections of all
        threads; where the server shares none, by one connection that they take turns at."""
        return self._snapshots.shared(f"{self.url}: cannot begin a consistent read")

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        limit: int | None = None,
        since: tuple[str, int] | None = None,
    ) -> pa.RecordBatchReader:
        """As :meth:`rdl.database.reader.Reader.read` says. A connection is held until the last batch was read."""
        sources = self._known(table)
        chosen = {name: sources[name] for name in known_columns(table, columns, sources)}
        tail = f"FROM {self._place(table)} AS r"
        if since is not None:
            known_columns(table, [since[0]], sources)
            tail += time_filter(since[0], sources[since[0]], since[1])
        tail += "" if limit is None else f" LIMIT {int(limit)}"
        lost = note_repairs(self._repairs, table)

        def stream() -> Iterator[pa.RecordBatch]:
            with self._connected(f"cannot read table {table!r}") as connection:
                yield from batches(connection, chosen, tail, lost, any_bytes=self._any_bytes)

        return pa.RecordBatchReader.from_batches(arrow_schema(chosen), stream())

    def fingerprint(self) -> str:
        """As :meth:`rdl.database.reader.Reader.fingerprint` says.

        Every version of a row carries the number of the transaction that wrote it, and all rows of a transaction
        appear at once. So how many rows there are of which transaction changes with every change and with nothing
        else: not with VACUUM, not with what others write elsewhere. It costs one scan of each table.
        """
        with self._connected("cannot be looked at") as connection:
            catalog = self._load(connection)
            tables = [table for table in map(catalog.tables.__getitem__, self._pick(catalog)) if table.readable]
            labels = "coalesce(sum(hashtextextended(enumtypid || ':' || enumlabel, 0)), 0)::text FROM pg_enum"
            state = [catalogue.identity(connection), *fetch(connection, f"SELECT {labels}")]
            for start in range(0, len(tables), _TABLES_A_QUERY):
                parts = [_state(table) for table in tables[start : start + _TABLES_A_QUERY]]
                state += fetch(connection, " UNION ALL ".join(parts))
        text = repr((state, [catalogue.described(table) for table in tables]))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def write(
        self,
        table: str,
        rows: pa.Table,
        *,
        if_exists: IfExists = "fail",
        like: Mapping[str, tuple[str, str]] | None = None,
    ) -> int:
        """As :meth:`rdl.database.reader.Reader.write` says."""
        types = {column: self._known(at).get(name) for column, (at, name) in (like or {}).items()}
        declared = {column: source.declared for column, source in types.items() if source}
        with told(f"{self.url}: cannot write table {table!r}"), self._connect() as connection:
            put(connection, self._schemas(connection)[0], table, rows, if_exists, declared)
        return int(rows.num_rows)

    def close(self) -> None:
        """No connection is held open between calls; the reader can be used no more."""
        self._connect.close()

    def _schemas(self, connection: adbc.Connection) -> list[str]:
        found = catalogue.schemas_of(connection, self._wanted, self.url)
        if not found:
            raise DatabaseError(f"{self.url}: no schema on the search path is there", hint="add ?schemas= to the URL.")
        return found

    def _load(self, connection: adbc.Connection) -> Catalog:
        """The catalogue of the schemas looked at. Raises DatabaseError where they hold nothing."""
        schemas = self._schemas(connection)
        catalog = catalogue.load(connection, schemas)
        if not any(not table.is_view for table in catalog.tables.values()) and not (self._views or self._tables):
            filled = [schema for schema in catalogue.filled_schemas(connection) if schema not in schemas]
            hint = f"add {schemas_option(filled)} to the URL." if filled else "give a database that holds some."
            raise DatabaseError(
                f"{self.url} has no tables" + (f" in schema {schemas[0]!r}" if filled else ""), hint=hint
            )
        return catalog

    def _pick(self, catalog: Catalog) -> list[int]:
        """The tables and views to read."""
        oids = {name: oid for oid, name in catalog.names.items()}
        views = [name for name, oid in oids.items() if catalog.tables[oid].is_view]
        names = [name for name in oids if name not in views]
        picked = pick(names, self._tables, self._exclude, where=self.url, views=views, wanted=self._views)
        return [oids[name] for name in picked]

    def _known(self, table: str) -> dict[str, Source]:
        if not self._sources:
            self.reflect()
        if table not in self._sources:
            raise DatabaseError(f"{self.url} has no table {table!r}", hint=did_you_mean(table, self._sources))
        return self._sources[table]

    def _place(self, table: str) -> str:
        return self._picked[table].sql

    def _connected(self, doing: str) -> AbstractContextManager[adbc.Connection]:
        return self._snapshots.connection(f"{self.url}: {doing}")


def _columns(sources: Mapping[str, Source], identifiers: set[str]) -> tuple[Column, ...]:
    return tuple(
        Column(
            name,
            source.how.dtype,
            Stype.identifier if name in identifiers else source.how.stype,
            nullable=not source.required,
        )
        for name, source in sources.items()
    )


def _compared(relations: Sequence[Relation]) -> defaultdict[str, set[str]]:
    """By table, the columns that relations compare."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for relation in relations:
        found[relation.child].update(relation.key)
        found[relation.parent].update(relation.referred)
    return found


def _has_key(relation: Relation, tables: Mapping[str, Table], warnings: list[str]) -> bool:
    """Whether the child has the columns of its foreign key; else a line in ``warnings``."""
    lost = [part for part in relation.key if relation.child in tables and part not in tables[relation.child]]
    if lost:
        warnings.append(f"foreign key {relation} was dropped: {relation.child!r} is read without {lost[0]!r}")
    return not lost


def _state(table: PgTable) -> str:
    """SQL for the state of a table's rows: those of each transaction counted, or, where that cannot be asked, what
    the rows hold."""
    if table.whole and table.local:
        return f"SELECT count(*)::text, sum(hashtextextended(xmin::text, 0))::text, '' FROM {table.sql}"
    read = ", ".join(qualified("r", column) for column in table.readable)
    return f"SELECT count(*)::text, sum(hashtextextended(ROW({read})::text, 0))::text, '' FROM {table.sql} AS r"
