"""What MySQL and MariaDB declare: tables, columns, keys, read from ``information_schema``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pymysql

from rdl.database.mysql_connect import databases, fetch, is_mariadb, qualified, quote
from rdl.database.mysql_types import reading
from rdl.database.selection import Place, names_of
from rdl.errors import DatabaseError, did_you_mean
from rdl.schema import Dtype, Stype

#: How the comment of a table begins that rdl wrote; the table's own name follows, so that neither a copy nor a renamed
#: table counts. A comment goes with its table through RENAME TABLE, which a list in another table could not.
WRITTEN = "predictions by rdl: "
#: How the names of tables begin that rdl has not filled yet, or has replaced.
LOADING = "rdl_loading_"
#: Rows looked at to tell a TINYINT(1) that holds small numbers from one that holds 0 and 1.
_PROBED_ROWS = 10_000
_INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Source:
    """Where a column comes from: ``sql`` is its text; ``declared`` its type as CREATE TABLE takes it."""

    sql: str
    dtype: Dtype
    stype: Stype
    declared: str
    required: bool


@dataclass(frozen=True, slots=True)
class MyColumn:
    """A column as the catalogue has it."""

    name: str
    data_type: str
    column_type: str
    charset: str | None
    collation: str | None
    nullable: bool

    @property
    def declared(self) -> str:
        """The type as CREATE TABLE takes it."""
        text = f" CHARACTER SET {self.charset} COLLATE {self.collation}" if self.collation and self.charset else ""
        return self.column_type + text


@dataclass(slots=True)
class MyTable:
    """A table or view. ``foreign`` holds (columns, parent, the parent's columns)."""

    place: Place
    is_view: bool
    engine: str
    columns: list[MyColumn] = field(default_factory=list)
    keys: list[tuple[str, ...]] = field(default_factory=list)
    foreign: list[tuple[tuple[str, ...], Place, tuple[str, ...]]] = field(default_factory=list)

    @property
    def sql(self) -> str:
        """Its name in SQL."""
        return qualified(*self.place)

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key, else the first unique one."""
        return self.keys[0] if self.keys else ()

    def spelled(self, columns: Iterable[str]) -> tuple[str, ...]:
        """``columns`` as the table spells them: constraints may spell them in another case."""
        own = {column.name.lower(): column.name for column in self.columns}
        return tuple(own.get(column.lower(), column) for column in columns)

    def described(self) -> str:
        """Text that changes with the table's definition."""
        return repr((self.place, self.columns, self.keys, self.foreign))


def schemas_of(connection: pymysql.Connection, database: str | None, wanted: Sequence[str], where: str) -> list[str]:
    """The databases ``wanted``, else that of the URL. Raises DatabaseError for one that is not there, or for none."""
    there = databases(connection)
    if not wanted and not database:
        raise DatabaseError(f"{where}: no database is named", hint=f"add one to the URL: {did_you_mean('', there)}")
    for name in wanted:
        if name not in there:
            raise DatabaseError(f"{where}: there is no database {name!r}", hint=did_you_mean(name, there))
    current = str(fetch(connection, "SELECT DATABASE()")[0][0])
    return list(wanted) or [current]


def load(connection: pymysql.Connection, schemas: Sequence[str]) -> dict[Place, MyTable]:
    """The tables and views of ``schemas`` in the order of their names; what rdl wrote is not among them."""
    query = """SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, COALESCE(ENGINE, ''), COALESCE(TABLE_COMMENT, '')
        FROM information_schema.TABLES WHERE TABLE_SCHEMA IN %s AND TABLE_TYPE <> 'SEQUENCE' ORDER BY TABLE_NAME"""
    tables = {
        (schema, name): MyTable((schema, name), "VIEW" in kind, engine)
        for schema, name, kind, engine, comment in fetch(connection, query, tuple(schemas))
        if not is_written(name, comment)
    }
    tables = {place: tables[place] for schema in schemas for place in tables if place[0] == schema}
    for place, column in _columns(connection, schemas):
        if place in tables:
            tables[place].columns.append(column)
    _add_keys(connection, schemas, tables)
    return tables


def is_written(table: str, comment: str) -> bool:
    """Whether rdl wrote the table of this name and comment, or was about to."""
    if not comment.startswith(WRITTEN):
        return False
    own = comment.removeprefix(WRITTEN).rpartition(", ")[0]
    return own.lower() == table.lower() or table.startswith(LOADING)


def _columns(connection: pymysql.Connection, schemas: Sequence[str]) -> list[tuple[Place, MyColumn]]:
    query = """SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME,
        IS_NULLABLE = 'YES' FROM information_schema.COLUMNS WHERE TABLE_SCHEMA IN %s ORDER BY ORDINAL_POSITION"""
    documents = _documents(connection, schemas)
    found = []
    for schema, table, name, data_type, column_type, charset, collation, nullable in fetch(
        connection, query, tuple(schemas)
    ):
        type_ = "json" if (schema, table, name.lower()) in documents else str(data_type).lower()
        column = MyColumn(name, type_, str(column_type).lower(), charset, collation, bool(nullable))
        if "(" in column_type and type_ in ("enum", "set"):  # their words keep their case
            column = MyColumn(name, type_, str(column_type), charset, collation, bool(nullable))
        found.append(((schema, table), column))
    return found


def _documents(connection: pymysql.Connection, schemas: Sequence[str]) -> set[tuple[str, str, str]]:
    """MariaDB's JSON columns, lower case: text that is checked to be JSON."""
    if not is_mariadb(connection):
        return set()
    query = """SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS
        WHERE CONSTRAINT_SCHEMA IN %s AND CHECK_CLAUSE LIKE 'json_valid(`%%`)'"""
    rows = fetch(connection, query, tuple(schemas))
    return {(schema, table, clause[12:-2].replace("``", "`").lower()) for schema, table, clause in rows}


def _add_keys(connection: pymysql.Connection, schemas: Sequence[str], tables: Mapping[Place, MyTable]) -> None:
    """Enters unique keys that are never NULL, the primary one first, and foreign keys."""
    query = """SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART IS NULL AND COLUMN_NAME IS NOT NULL
            AND NULLABLE <> 'YES' FROM information_schema.STATISTICS
        WHERE TABLE_SCHEMA IN %s AND NON_UNIQUE = 0 ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX"""
    unique: dict[tuple[Place, str], list[tuple[str, bool]]] = {}
    for schema, name, index, column, usable in fetch(connection, query, tuple(schemas)):
        unique.setdefault(((schema, name), index), []).append((column, bool(usable)))
    for (place, _), columns in unique.items():
        if place in tables and all(usable for _, usable in columns):
            tables[place].keys.append(tables[place].spelled(column for column, _ in columns))
    query = """SELECT TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME,
            REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME
        FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA IN %s AND REFERENCED_TABLE_NAME IS NOT NULL
        ORDER BY TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION"""
    spelled = {(schema.lower(), name.lower()): (schema, name) for schema, name in tables}
    foreign: dict[tuple[Place, str], tuple[Place, list[tuple[str, str]]]] = {}
    for schema, name, constraint, column, *parent, referred in fetch(connection, query, tuple(schemas)):
        at: Place = (str(parent[0]), str(parent[1]))
        # A server that ignores the case of names may have the parent's in another one.
        at = at if at in tables else spelled.get((at[0].lower(), at[1].lower()), at)
        foreign.setdefault(((schema, name), constraint), (at, []))[1].append((column, referred))
    for (place, _), (at, pairs) in foreign.items():
        if place in tables:
            table = tables[place]
            referred = [column for _, column in pairs]
            parts = tables[at].spelled(referred) if at in tables else tuple(referred)
            table.foreign.append((table.spelled(column for column, _ in pairs), at, parts))


def names_in(tables: Mapping[Place, MyTable]) -> dict[Place, str]:
    """What each table is called."""
    return names_of(list(tables))


def identifying(tables: Mapping[Place, MyTable]) -> dict[Place, set[str]]:
    """The columns of each table that some key compares."""
    found = {place: set(table.key) for place, table in tables.items()}
    for place, table in tables.items():
        for key, parent, referred in table.foreign:
            found[place].update(key)
            found.get(parent, set()).update(referred)
    return found


def any_beyond(connection: pymysql.Connection, tables: Mapping[Place, MyTable], keys: Mapping[Place, set[str]]) -> bool:
    """Whether some unsigned key is larger than int64 holds; each look is one into an index."""
    for place, table in tables.items():
        for column in table.columns:
            if column.name in keys[place] and re.match(r"bigint.* unsigned", column.column_type):
                largest = fetch(connection, f"SELECT MAX({quote(column.name)}) FROM {table.sql}")[0][0]
                if largest is not None and int(largest) > _INT64_MAX:
                    return True
    return False


def origins_of(
    tables: Mapping[Place, MyTable], place: Place, picked: Collection[Place]
) -> dict[str, tuple[Place, str]]:
    """For each foreign key of one column the table and column that it leads to, through keys that are foreign keys
    themselves, as far as tables are ``picked``."""

    def parent(at: Place, column: str) -> tuple[Place, str] | None:
        keys = ((up, referred[0]) for key, up, referred in tables[at].foreign if key == (column,) and up in picked)
        return next(keys, None)

    found = {}
    for column in tables[place].columns:
        step, seen = parent(place, column.name), {(place, column.name)}
        while step is not None and step not in seen:
            found[column.name] = step
            seen.add(step)
            step = parent(*step)
    return found


def sources_of(
    connection: pymysql.Connection,
    table: MyTable,
    name: str,
    keys: set[str],
    origins: Mapping[str, tuple[Place, str]],
    beyond: bool,
    warnings: list[str],
) -> dict[str, Source]:
    """How each column is read; one without a meaning has a line in ``warnings`` instead. ``origins`` are as
    :func:`origins_of` says."""
    counters = _counters(connection, table)
    found = {}
    for column in table.columns:
        column_type = "tinyint(4)" if column.name in counters else column.column_type
        how = reading(column.data_type, column_type, key=column.name in keys, beyond=beyond)
        if how is None:
            warnings.append(
                f"column {name}.{column.name} was left out: its type {column.column_type} has no meaning here"
            )
            continue
        dtype, stype, sql = how
        sql = sql.format(quote(column.name))
        if column.name in origins and column.collation and not column.collation.endswith("_bin"):
            sql = _as_its_parent(f"{table.sql}.{sql}", *origins[column.name])
        found[column.name] = Source(sql, dtype, stype, column.declared, not column.nullable)
    return found


def _as_its_parent(own: str, parent: Place, referred: str) -> str:
    """SQL for a text key in its parent's spelling: most collations take ABC, abc and 'abc ' for the same."""
    key = f"p.{quote(referred)}"
    return f"COALESCE((SELECT {key} FROM {qualified(*parent)} AS p WHERE {key} = {own} LIMIT 1), {own})"


def _counters(connection: pymysql.Connection, table: MyTable) -> set[str]:
    """The TINYINT(1) columns that hold other numbers than 0 and 1: BOOLEAN is but a name for the type."""
    flags = [column.name for column in table.columns if column.column_type == "tinyint(1)"]
    if not flags:
        return set()
    tests = ", ".join(f"MAX({quote(name)} NOT IN (0, 1))" for name in flags)
    chosen = ", ".join(map(quote, flags))
    query = f"SELECT {tests} FROM (SELECT {chosen} FROM {table.sql} LIMIT {_PROBED_ROWS}) AS r"
    return {name for name, other in zip(flags, fetch(connection, query)[0], strict=True) if other}
