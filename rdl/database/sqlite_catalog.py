"""What a SQLite file declares: columns, keys, foreign keys, views; and the storage type of each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import adbc_driver_sqlite.dbapi as adbc

from rdl.database.registry import REGISTRY, is_registry
from rdl.database.scan import fold, quote
from rdl.database.types import dtype_named
from rdl.schema import Dtype, Relation


@dataclass(frozen=True, slots=True)
class Declared:
    """A column: ``position`` is its place in the primary key, from 1, or 0."""

    name: str
    type_text: str
    required: bool
    position: int


def fetch(connection: adbc.Connection, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a small result."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return list(cursor.fetchall())


def own(column: str) -> str:
    """``column`` of the table read as ``r``: SQLite takes a bare quoted name that is no column for a text."""
    return f"r.{quote(column)}"


def tables_of(connection: adbc.Connection) -> dict[str, list[Declared]]:
    """The columns of every table, generated ones too, in one query; in the order of creation."""
    query = """
        SELECT t.name, c.name, c.type, c."notnull", c.pk
        FROM sqlite_schema AS s
        JOIN pragma_table_list AS t ON t.schema = 'main' AND t.type = 'table' AND t.name = s.name
        JOIN pragma_table_xinfo(t.name) AS c ON c.hidden <> 1
        WHERE s.type = 'table' AND substr(t.name, 1, 7) <> 'sqlite_' ORDER BY s.rowid, c.cid"""
    declared: dict[str, list[Declared]] = {}
    for table, column, type_text, required, position in fetch(connection, query):
        declared.setdefault(table, []).append(Declared(column, type_text, bool(required), int(position)))
    return declared


def views_of(connection: adbc.Connection) -> list[str]:
    """The names of the views, in the order of creation."""
    query = "SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY rowid"
    return [str(name) for (name,) in fetch(connection, query)]


def view_columns(connection: adbc.Connection, view: str) -> list[Declared]:
    """The columns of a view: of a declared type where they are a table's, and nothing else is known of them."""
    query = "SELECT name, type FROM pragma_table_xinfo(?) ORDER BY cid"
    return [Declared(name, type_text or "", False, 0) for name, type_text in fetch(connection, query, view)]


def written_by_rdl(connection: adbc.Connection, declared: Mapping[str, Sequence[Declared]]) -> set[str]:
    """The folded names of the tables that rdl wrote, and of the list of them."""
    for name, columns in declared.items():
        if is_registry(name, [column.name for column in columns]):
            listed = fetch(connection, f"SELECT table_name FROM {REGISTRY}")
            return {REGISTRY, *(fold(str(row[0])) for row in listed)}
    return set()


def primary_key(columns: Sequence[Declared]) -> tuple[str, ...]:
    """The declared primary key."""
    return tuple(c.name for c in sorted(columns, key=lambda column: column.position) if c.position)


def unique_keys(connection: adbc.Connection, declared: Mapping[str, Sequence[Declared]]) -> dict[str, tuple[str, ...]]:
    """By table, the first unique constraint (else unique index of the whole table) over columns that are NOT NULL."""
    query = """
        SELECT t.name, i.name, x.name
        FROM pragma_table_list AS t JOIN pragma_index_list(t.name) AS i JOIN pragma_index_xinfo(i.name) AS x
        WHERE t.schema = 'main' AND t.type = 'table' AND i."unique" AND NOT i.partial AND i.origin <> 'pk' AND x.key
        ORDER BY t.name, i.origin = 'c', i.seq DESC, x.seqno"""
    indexes: dict[tuple[str, str], list[str | None]] = {}
    for table, index, column in fetch(connection, query):
        indexes.setdefault((table, index), []).append(column)
    found: dict[str, tuple[str, ...]] = {}
    for (table, _), columns in indexes.items():
        required = {column.name for column in declared.get(table, ()) if column.required}
        if table not in found and required.issuperset(columns):  # an expression has no name
            found[table] = tuple(str(column) for column in columns)
    return found


def relations_of(connection: adbc.Connection, declared: Mapping[str, Sequence[Declared]]) -> list[Relation]:
    """The foreign keys of every table, in one query; where the parent's columns are omitted, its primary key."""
    query = """
        SELECT t.name, f.id, f."from", f."table", f."to" IS NULL, coalesce(f."to", '')
        FROM pragma_table_list AS t JOIN pragma_foreign_key_list(t.name) AS f
        WHERE t.schema = 'main' AND t.type = 'table' ORDER BY t.name, f.id DESC, f.seq"""
    tables = {fold(name): name for name in declared}
    found: dict[tuple[str, int], Relation] = {}
    for child, number, column, parent_text, omitted, to in fetch(connection, query):
        parent = tables.get(fold(parent_text), parent_text)
        before = found.get((child, number), Relation(child, (), parent, ()))
        named = (*before.referred, _spelled(to, declared.get(parent, [])))
        referred = primary_key(declared.get(parent, ())) if omitted else named
        key = (*before.key, _spelled(column, declared.get(child, [])))
        found[child, number] = Relation(child, key, parent, referred)
    order = {name: position for position, name in enumerate(declared)}
    return sorted(found.values(), key=lambda relation: order.get(relation.child, -1))


def _spelled(column: str, columns: Sequence[Declared]) -> str:
    """``column`` as its table spells it; SQLite does not mind the case."""
    return next((known.name for known in columns if fold(known.name) == fold(column)), column)


def dtypes_of(connection: adbc.Connection, table: str, columns: Sequence[Declared]) -> dict[str, Dtype]:
    """The storage type of each column: what its declared type says, else what it holds."""
    named = {column.name: _named(column.type_text) for column in columns}
    open_ = [name for name, dtype in named.items() if dtype is None]
    held = dict.fromkeys(named, Dtype.text)
    if open_:
        classes = ("integer", "real", "text", "blob")
        asked = ", ".join(f"coalesce(max(typeof({own(name)}) = '{class_}'), 0)" for name in open_ for class_ in classes)
        found = fetch(connection, f"SELECT {asked} FROM {quote(table)} AS r")[0]
        for position, name in enumerate(open_):
            held[name] = _held(*map(bool, found[4 * position : 4 * position + 4]))
    return {name: dtype or held[name] for name, dtype in named.items()}


def _named(type_text: str) -> Dtype | None:
    """The storage type that a declared type means; None where it means nothing known."""
    named = None if "[" in type_text else dtype_named(type_text)
    return Dtype.text if named is Dtype.interval else named


def _held(integer: bool, real: bool, text: bool, blob: bool) -> Dtype:
    """The storage type of a column that holds values of these classes: text where it holds none."""
    if blob:
        return Dtype.binary
    if text:
        return Dtype.text
    return Dtype.float if real else Dtype.integer if integer else Dtype.text
