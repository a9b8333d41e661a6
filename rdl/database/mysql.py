"""MySQL and MariaDB: reflected from ``information_schema``, read from the bytes on the wire, written by bulk insert."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import pyarrow as pa
import pymysql

from rdl.database import mysql_catalog as catalogue
from rdl.database.fingerprint import unchanged
from rdl.database.mysql_catalog import MyTable, Source
from rdl.database.mysql_connect import connect, fetch, options_of, quote, run, told
from rdl.database.mysql_read import arrow_schema, batches, time_filter
from rdl.database.mysql_write import put
from rdl.database.reader import IfExists
from rdl.database.registry import check_since, known_columns, note_repairs
from rdl.database.selection import Place, fitting, pick
from rdl.database.url import DatabaseUrl
from rdl.errors import DatabaseError, did_you_mean
from rdl.schema import Column, Relation, Schema, Stype, Table


class MysqlReader:
    """A MySQL or MariaDB database. Each call opens a connection for itself, but within :meth:`consistent`.

    Tables of the URL's database are read, or of those picked by ``?schemas=``; a name that stands in several of them
    is spelled ``database.table``. Predictions go to the first. A consistent read is one transaction on one connection,
    so one table is read at a time; tables of an engine without transactions (MyISAM) are compared before and after.
    """

    def __init__(
        self,
        url: DatabaseUrl,
        *,
        tables: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        views: Sequence[str] = (),
    ) -> None:
        self.url, self._address, self._options = url.redacted, url, options_of(url)
        self._repairs: dict[tuple[str, str], int] = {}
        self.repairs: Mapping[tuple[str, str], int] = self._repairs
        self.warnings: Sequence[str] = []
        self.parallel_reads = 1
        self._tables, self._exclude, self._views = tables, tuple(exclude), tuple(views)
        self._picked: dict[str, MyTable] = {}
        self._sources: dict[str, dict[str, Source]] = {}
        self._held: pymysql.Connection | None = None
        self._held_tables: list[MyTable] = []  # those of its fingerprint: a catalogue knows no transactions
        self._reading: str | None = None  # the table that the held connection reads
        with told(f"{self.url}: cannot be opened"), connect(self._options, url) as connection:
            self._schemas = catalogue.schemas_of(connection, self._options["database"], url.schemas, self.url)
        self.name = self._schemas[0]

    def reflect(self) -> Schema:
        """As :meth:`rdl.database.reader.Reader.reflect` says."""
        warnings, tables = list[str](), dict[str, Table]()
        self._sources, self._picked = {}, {}
        with self._connected("cannot be reflected") as connection:
            known = self._load(connection)
            names = catalogue.names_in(known)
            keys = catalogue.identifying(known)
            picked = [place for place in self._pick(known) if known[place].columns]
            beyond = catalogue.any_beyond(connection, {place: known[place] for place in picked}, keys)
            for place in picked:
                name, table = names[place], known[place]
                origins = catalogue.origins_of(known, place, picked)
                sources = catalogue.sources_of(connection, table, name, keys[place], origins, beyond, warnings)
                if not sources:
                    warnings.append(f"table {name} was left out: none of its columns can be read")
                    continue
                self._sources[name], self._picked[name] = sources, table
                tables[name] = _table(name, table, sources)
        relations = [
            Relation(names[place], key, names.get(parent, ".".join(parent)), referred)
            for place, table in known.items()
            for key, parent, referred in table.foreign
        ]
        self.warnings = warnings
        return Schema(tables, fitting(relations, tables, names.values(), warnings))

    def count(self, table: str) -> int:
        """The number of rows of ``table``."""
        self._known(table)
        with self._connected(f"cannot count table {table!r}") as connection:
            return int(fetch(connection, f"SELECT COUNT(*) FROM {self._picked[table].sql}")[0][0])

    @contextmanager
    def consistent(self) -> Iterator[None]:
        """As :meth:`rdl.database.reader.Reader.consistent` says; not one within another."""
        if self._held is not None:
            raise DatabaseError(f"{self.url}: a consistent read is under way already")
        doing = f"{self.url}: cannot begin a consistent read"
        with ExitStack() as stack:
            with told(doing):
                connection = stack.enter_context(connect(self._options, self._address))
                engines = "SELECT ENGINE FROM information_schema.ENGINES WHERE TRANSACTIONS = 'YES'"
                sure = {str(name) for (name,) in fetch(connection, engines)}
                known = self._load(connection)
                self._held_tables = [known[place] for place in self._pick(known)]
                open_ = [table for table in self._held_tables if not table.is_view and table.engine not in sure]
                run(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            if open_:
                stack.enter_context(unchanged(self.url, lambda: self._state(connection, open_)))
            self._held = connection
            try:
                yield
            finally:
                self._held = self._reading = None

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        limit: int | None = None,
        since: tuple[str, int] | None = None,
    ) -> pa.RecordBatchReader:
        """As :meth:`rdl.database.reader.Reader.read` says. A connection is held until the last batch was read; a
        consistent read has one, so there a table is read to its end, or closed, before the next."""
        sources = self._known(table)
        chosen = {name: sources[name] for name in known_columns(table, columns, sources)}
        check_since(table, since, {name: source.dtype for name, source in sources.items()})
        tail = f"FROM {self._picked[table].sql}" + (time_filter(*since, sources[since[0]].dtype) if since else "")
        tail += "" if limit is None else f" LIMIT {int(limit)}"
        lost = note_repairs(self._repairs, table)

        def stream() -> Iterator[pa.RecordBatch]:
            with self._connected(f"cannot read table {table!r}") as connection:
                held = connection is self._held
                self._reading = table if held else self._reading
                try:
                    yield from batches(connection, chosen, tail, lost)
                finally:
                    self._reading = None if held else self._reading

        return pa.RecordBatchReader.from_batches(arrow_schema(chosen), stream())

    def fingerprint(self) -> str:
        """As :meth:`rdl.database.reader.Reader.fingerprint` says.

        It is made of CHECKSUM TABLE, which the server computes from every row: the times of change that it keeps are
        of whole seconds and forgotten at a restart.
        """
        with self._connected("cannot be looked at") as connection:
            if connection is self._held:
                return self._state(connection, self._held_tables)
            known = self._load(connection)
            return self._state(connection, [known[place] for place in self._pick(known)])

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
        with told(f"{self.url}: cannot write table {table!r}"), connect(self._options, self._address) as connection:
            put(connection, self._schemas[0], table, rows, if_exists, declared)
        return int(rows.num_rows)

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _load(self, connection: pymysql.Connection) -> dict[Place, MyTable]:
        """The catalogue. Raises DatabaseError where there is nothing to read."""
        known = catalogue.load(connection, self._schemas)
        if not known or (all(table.is_view for table in known.values()) and not (self._views or self._tables)):
            raise DatabaseError(f"{self.url} has no tables", hint="give a database that holds some.")
        return known

    def _pick(self, known: Mapping[Place, MyTable]) -> list[Place]:
        """The tables and views to read."""
        places = {name: place for place, name in catalogue.names_in(known).items()}
        views = [name for name, place in places.items() if known[place].is_view]
        names = [name for name in places if name not in views]
        picked = pick(names, self._tables, self._exclude, where=self.url, views=views, wanted=self._views)
        return [places[name] for name in picked]

    def _known(self, table: str) -> dict[str, Source]:
        if not self._sources:
            self.reflect()
        if table not in self._sources:
            raise DatabaseError(f"{self.url} has no table {table!r}", hint=did_you_mean(table, self._sources))
        return self._sources[table]

    def _state(self, connection: pymysql.Connection, tables: Sequence[MyTable]) -> str:
        """Sixteen hex digits of what ``tables`` are and hold."""
        with told(f"{self.url}: cannot be looked at"):
            sums: list[object] = [table.described() for table in tables]
            stored = [table.sql for table in tables if not table.is_view]
            if stored:
                sums += [found for _, found in fetch(connection, f"CHECKSUM TABLE {', '.join(stored)}")]
            for table in tables:
                if table.is_view:
                    cells = ", ".join(f"QUOTE({quote(column.name)})" for column in table.columns)
                    query = f"SELECT COUNT(*), SUM(CRC32(CONCAT_WS(',', {cells}))) FROM {table.sql}"
                    sums += [str(cell) for cell in fetch(connection, query)[0]]
        return hashlib.sha256(repr(sums).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @contextmanager
    def _connected(self, doing: str) -> Iterator[pymysql.Connection]:
        with told(f"{self.url}: {doing}"):
            if self._held is None:
                with connect(self._options, self._address) as connection:
                    yield connection
                return
            if self._reading is not None:
                raise DatabaseError(
                    f"{self.url}: {doing}: table {self._reading!r} is still being read",
                    hint="read it to its end, or close its reader, first.",
                )
            yield self._held


def _table(name: str, table: MyTable, sources: Mapping[str, Source]) -> Table:
    key = table.key if sources.keys() >= set(table.key) else ()
    identifiers = {*key, *(part for columns, *_ in table.foreign for part in columns)}
    columns = tuple(
        Column(
            column,
            source.dtype,
            Stype.identifier if column in identifiers else source.stype,
            nullable=not source.required,
        )
        for column, source in sources.items()
    )
    return Table(name, columns, key)
