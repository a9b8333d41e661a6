"""Any other database that SQLAlchemy has a dialect for: reflected by its Inspector, read through a cursor."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from warnings import catch_warnings, simplefilter

import duckdb
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.types import TypeEngine

from rdl.clock import NO_BEGINNING, NO_END, to_datetime
from rdl.database.cursor import CursorParser
from rdl.database.failures import explained, reason_of
from rdl.database.fingerprint import unchanged
from rdl.database.reader import IfExists
from rdl.database.registry import check_since, known_columns, note_repairs
from rdl.database.selection import Place, fitting, names_of, pick, without_unknown
from rdl.database.sqlalchemy_types import reading
from rdl.database.sqlalchemy_write import put, quoted, written_tables
from rdl.database.types import ARROW_TYPES
from rdl.database.url import DatabaseUrl
from rdl.errors import DatabaseError, did_you_mean
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table

_ROWS = 8_192
_DAY = dt.timedelta(days=1)
#: What a transaction must be that sees one state of the database; the first that the engine has.
_ISOLATIONS = ("SERIALIZABLE", "REPEATABLE READ", "SNAPSHOT")
#: Packages whose name is not the module's.
_PACKAGES = {
    "MySQLdb": "mysqlclient",
    "psycopg2": "psycopg2-binary",
    "firebird": "firebird-driver",
    "google": "protobuf",
    "snowflake": "snowflake-sqlalchemy",
    "ibm_db_dbi": "ibm_db",
}


@dataclass(frozen=True, slots=True)
class _Found:
    """A reflected table or view: its columns as the Inspector describes them, its keys, and what it is in a query."""

    columns: Mapping[str, Any]
    primary_key: tuple[str, ...]
    foreign: tuple[tuple[tuple[str, ...], Place, tuple[str, ...]], ...]
    is_view: bool


class SqlalchemyReader:
    """A database of any dialect of SQLAlchemy. Nothing is held open between calls, but within :meth:`consistent`.

    The tables of the connection's own schema are read, or of those picked by ``?schemas=``. Rows pass through Python
    one by one, so this is many times slower than the engines that rdl knows. Predictions are written in one
    transaction; an engine that ends it at CREATE TABLE may keep an empty table of them after a crash.
    """

    def __init__(
        self,
        url: DatabaseUrl,
        *,
        tables: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        views: Sequence[str] = (),
    ) -> None:
        self.url = url.redacted
        self._repairs: dict[tuple[str, str], int] = {}
        self.repairs: Mapping[tuple[str, str], int] = self._repairs
        self.warnings: Sequence[str] = []
        self.parallel_reads = 1
        self._schemas: tuple[str | None, ...] = url.schemas or (None,)
        self._tables, self._exclude, self._views = tables, tuple(exclude), tuple(views)
        self._engine = _engine(url)
        self._sources: dict[str, tuple[Place, dict[str, Dtype], dict[str, TypeEngine[Any]]]] = {}
        self._held: sa.Connection | None = None
        self.name = str(self._engine.url.database or url.engine).replace("\\", "/").rpartition("/")[2].split(".")[0]
        with self._connected("cannot be opened"):
            pass

    def reflect(self) -> Schema:
        """As :meth:`rdl.database.reader.Reader.reflect` says."""
        with self._connected("cannot be reflected") as connection, catch_warnings():
            simplefilter("ignore")  # a type that SQLAlchemy does not know has a line of ours
            found = self._load(connection)
        names = names_of(list(found))
        places = {name: place for place, name in names.items()}
        picked = self._pick(found, names)
        keys = {place: set(table.primary_key) for place, table in found.items()}
        for place, described in found.items():
            for key, parent, referred in described.foreign:
                keys[place].update(key)
                keys.get(parent, set()).update(referred)
        warnings, tables = list[str](), dict[str, Table]()
        self._sources = {}
        for name in picked:
            place = places[name]
            types = {column: described["type"] for column, described in found[place].columns.items()}
            shown = {column: type(type_).__name__ for column, type_ in types.items()}
            if kept := without_unknown(_table(name, found[place], keys[place]), shown, warnings):
                tables[name] = kept
                self._sources[name] = (place, {column.name: column.dtype for column in kept.columns}, types)
        relations = [
            Relation(names[place], key, names.get(parent, parent[1]), referred)
            for place, described in found.items()
            for key, parent, referred in described.foreign
        ]
        self.warnings = warnings
        return Schema(tables, fitting(relations, tables, names.values(), warnings))

    def count(self, table: str) -> int:
        """The number of rows of ``table``."""
        query = sa.select(sa.func.count()).select_from(self._clause(table))
        with self._connected(f"cannot count table {table!r}") as connection:
            return int(connection.execute(query).scalar_one())

    @contextmanager
    def consistent(self) -> Iterator[None]:
        """As :meth:`rdl.database.reader.Reader.consistent` says: one transaction, as far isolated as the engine can."""
        if self._held is not None:
            raise DatabaseError(f"{self.url}: a consistent read is under way already")
        doing = f"{self.url}: cannot begin a consistent read"
        with ExitStack() as stack:
            with explained(doing), _told():
                connection = stack.enter_context(self._engine.connect())
                isolated = _isolated(self._engine.dialect, connection)
            if not isolated:
                stack.enter_context(unchanged(self.url, self.fingerprint))
            self._held = connection
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
        """As :meth:`rdl.database.reader.Reader.read` says. A connection is held until the last batch was read."""
        _, dtypes, types = self._known(table)
        chosen = {name: dtypes[name] for name in known_columns(table, columns, dtypes)}
        check_since(table, since, dtypes)
        # Without their types: what the driver gives is brought into Arrow here, where a cell that does not fit is NULL.
        selected: list[Any] = [sa.column(self._quoted(name)) for name in chosen] or [sa.literal(1)]
        query = sa.select(*selected).select_from(self._clause(table))
        if since is not None:
            query = query.where(_since(self._quoted(since[0]), types[since[0]], since[1], dtypes[since[0]]))
        query = query if limit is None else query.limit(int(limit))
        schema = pa.schema([(name, ARROW_TYPES[dtype]) for name, dtype in chosen.items()])
        return pa.RecordBatchReader.from_batches(schema, self._batches(table, query, chosen, schema))

    def _batches(
        self, table: str, query: sa.Select[Any], chosen: Mapping[str, Dtype], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        parser, missing, lost = CursorParser(), dict.fromkeys(chosen, 0), note_repairs(self._repairs, table)
        with (
            self._connected(f"cannot read table {table!r}") as connection,
            connection.execute(query, execution_options={"stream_results": True, "yield_per": _ROWS}) as result,
        ):
            for rows in result.partitions(_ROWS):
                arrays = []
                for (name, dtype), cells in zip(chosen.items(), zip(*rows, strict=True), strict=False):
                    array, cells_lost = parser.parse(cells, dtype)
                    arrays.append(array)
                    missing[name] += cells_lost
                if arrays:
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)
                else:
                    yield pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([])))
        for name, cells_lost in missing.items():
            if cells_lost:
                lost(name, cells_lost)

    def fingerprint(self) -> str:
        """As :meth:`rdl.database.reader.Reader.fingerprint` says.

        No engine unknown to rdl can be asked whether its rows have changed, so they are read and added up; that takes
        as long as an extraction.
        """
        schema = self.reflect()
        sums: list[object] = [schema.to_json()]
        with duckdb.connect() as adder:
            for name in schema.tables:
                total = 0
                for batch in self.read(name):
                    adder.register("batch", pa.Table.from_batches([batch]))
                    found = adder.execute("SELECT count(*), sum(hash(batch)::HUGEINT) FROM batch").fetchall()[0]
                    total += sum(int(cell) for cell in found if cell is not None)
                sums.append(total)
        return hashlib.sha256(repr(sums).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def write(
        self,
        table: str,
        rows: pa.Table,
        *,
        if_exists: IfExists = "fail",
        like: Mapping[str, tuple[str, str]] | None = None,
    ) -> int:
        """As :meth:`rdl.database.reader.Reader.write` says."""
        types = {column: self._known(at)[2][name] for column, (at, name) in (like or {}).items()}
        with explained(f"{self.url}: cannot write table {table!r}"), _told():
            put(self._engine, self._schemas[0], table, rows, if_exists, types)
        return int(rows.num_rows)

    def close(self) -> None:
        """Lets go of the engine."""
        self._engine.dispose()

    def _load(self, connection: sa.Connection) -> dict[Place, _Found]:
        """What the Inspector finds; what rdl wrote is not among it. Raises DatabaseError where that is nothing."""
        inspector, found = sa.inspect(connection), dict[Place, _Found]()
        for schema in self._schemas:
            ours = written_tables(connection, schema)
            for kind in (ObjectKind.TABLE, ObjectKind.ANY_VIEW):
                is_view = kind is not ObjectKind.TABLE
                columns = inspector.get_multi_columns(schema=schema, kind=kind)
                none: dict[Any, Any] = {}
                primary = none if is_view else _asked(inspector.get_multi_pk_constraint, schema, kind)
                unique = none if is_view else _asked(inspector.get_multi_unique_constraints, schema, kind)
                indexes = none if is_view else _asked(inspector.get_multi_indexes, schema, kind)
                foreign = none if is_view else _asked(inspector.get_multi_foreign_keys, schema, kind)
                for at, described in columns.items():
                    if at[1].casefold() in ours:
                        continue
                    own = {str(column["name"]): column for column in described}
                    key = tuple((primary.get(at) or {}).get("constrained_columns") or ())
                    candidates = [*(unique.get(at) or ()), *(indexes.get(at) or ())]
                    key = key or next((found_ for each in candidates if (found_ := _key(each, own))), ())
                    references = tuple(
                        (
                            tuple(constraint["constrained_columns"]),
                            (str(constraint["referred_schema"] or schema or ""), str(constraint["referred_table"])),
                            tuple(constraint["referred_columns"]),
                        )
                        for constraint in foreign.get(at) or ()
                    )
                    found[str(schema or ""), str(at[1])] = _Found(own, key, references, is_view)
        if not found or (all(table.is_view for table in found.values()) and not (self._views or self._tables)):
            raise DatabaseError(f"{self.url} has no tables", hint="give a database that holds some.")
        return found

    def _pick(self, found: Mapping[Place, _Found], names: Mapping[Place, str]) -> list[str]:
        views = [name for place, name in names.items() if found[place].is_view]
        tables = [name for name in names.values() if name not in views]
        return pick(tables, self._tables, self._exclude, where=self.url, views=views, wanted=self._views)

    def _known(self, table: str) -> tuple[Place, dict[str, Dtype], dict[str, TypeEngine[Any]]]:
        if not self._sources:
            self.reflect()
        if table not in self._sources:
            raise DatabaseError(f"{self.url} has no table {table!r}", hint=did_you_mean(table, self._sources))
        return self._sources[table]

    def _clause(self, table: str) -> sa.TableClause:
        schema, name = self._known(table)[0]
        return sa.table(self._quoted(name), schema=self._quoted(schema) if schema else None)

    def _quoted(self, name: str) -> str:
        return quoted(self._engine.dialect, name)

    @contextmanager
    def _connected(self, doing: str) -> Iterator[sa.Connection]:
        with explained(f"{self.url}: {doing}"), _told():
            if self._held is not None:
                yield self._held
                return
            with self._engine.connect() as connection:
                yield connection


def _engine(url: DatabaseUrl) -> sa.Engine:
    """An engine whose connections are closed when they are let go of. Raises DatabaseError."""
    try:
        address = sa.make_url(url.address)
        address = address.set(password=None) if address.password == "***" else address
        return sa.create_engine(address, poolclass=sa.NullPool)
    except ModuleNotFoundError as error:
        module = str(error.name or url.engine).split(".")[0]
        hint = f"pip install {_PACKAGES.get(module, module)}"
        raise DatabaseError(f"{url.redacted}: the driver {module!r} is not installed", hint=hint) from None
    except (sa.exc.SQLAlchemyError, ImportError, ValueError, TypeError) as error:
        raise DatabaseError(f"{url.redacted}: cannot be opened: {reason_of(error)}") from None


def _asked(ask: Callable[..., Any], schema: str | None, kind: ObjectKind) -> Mapping[Any, Any]:
    """What the Inspector says; nothing where the dialect does not know such a thing."""
    try:
        found: Mapping[Any, Any] = ask(schema=schema, kind=kind)
    except NotImplementedError:
        return {}
    return found


def _key(described: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns of a unique constraint or index that could be a key; none where some rows have no place in it."""
    names = tuple(described["column_names"])
    options = described.get("dialect_options") or {}
    partial = any(option.endswith("_where") and where is not None for option, where in options.items())
    whole = described.get("unique", True) and not partial and all(name in own for name in names)
    return names if whole and not any(own[name].get("nullable", True) for name in names) else ()


def _isolated(dialect: sa.Dialect, connection: sa.Connection) -> bool:
    """Brings ``connection`` to the first of ``_ISOLATIONS`` that the engine has; False where it has none."""
    dbapi = connection.connection.dbapi_connection
    levels: Sequence[str] = ()
    if dbapi is not None:
        with suppress(NotImplementedError):
            levels = dialect.get_isolation_level_values(dbapi)
    connection.rollback()
    for level in _ISOLATIONS:
        # Dialects list levels that they, or the driver, then do not know how to set.
        with suppress(sa.exc.SQLAlchemyError, NotImplementedError, AttributeError):
            if level in levels:
                connection.execution_options(isolation_level=level)
                return True
    return False


@contextmanager
def _told() -> Iterator[None]:
    """Inside it, what SQLAlchemy raises is raised as DatabaseError of the driver's own words."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        said = getattr(error, "orig", None) or error
        raise OSError(_words(said)) from None
    except NotImplementedError as error:
        raise OSError(f"the dialect cannot: {reason_of(error)}") from None


def _words(error: BaseException) -> str:
    """The first of what a driver said that is text."""
    texts = [str(part) for part in error.args if isinstance(part, str)]
    said = (texts[-1] if texts else str(error)).split("[SQL:")[0]
    return " ".join(said.split()) or type(error).__name__


def _since(column: str, type_: TypeEngine[Any], since_us: int, dtype: Dtype) -> sa.ColumnElement[bool]:
    """Whether the time, or whole number, in ``column`` is ``since_us`` or later; a day begins at midnight."""
    if dtype is Dtype.integer:
        return sa.column(column) >= int(since_us)
    moment = to_datetime(min(max(since_us, NO_BEGINNING), NO_END))
    if not isinstance(type_, sa.Date):
        return sa.column(column, type_) >= moment
    if moment.time() == dt.time():
        return sa.column(column, type_) >= moment.date()
    return sa.column(column, type_) >= moment.date() + _DAY if moment.date() < dt.date.max else sa.false()


def _table(name: str, found: _Found, keys: set[str]) -> Table:
    identifiers = {*found.primary_key, *(part for columns, *_ in found.foreign for part in columns)}
    columns = []
    for column, described in found.columns.items():
        dtype, stype = reading(described["type"], key=column in keys)
        stype = Stype.identifier if column in identifiers else stype
        required = column in found.primary_key or not described.get("nullable", True)
        columns.append(Column(column, dtype, stype, nullable=not required))
    return Table(name, tuple(columns), found.primary_key)
