"""What DuckDB's own catalogue says of the tables of some schemas: columns, keys, foreign keys, views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from rdl.database.registry import REGISTRY, is_registry
from rdl.database.scan import describe, fold, quote
from rdl.database.selection import Place
from rdl.database.url import schemas_option
from rdl.errors import DatabaseError, did_you_mean

_HERE = "database_name = current_database() AND list_contains($1, schema_name)"


@dataclass(frozen=True, slots=True)
class Declared:
    """What is declared of one table: ``required`` columns are never NULL; ``foreign``: columns, parent, its columns."""

    primary_key: tuple[str, ...]
    required: frozenset[str]
    foreign: tuple[tuple[tuple[str, ...], Place, tuple[str, ...]], ...]


def quoted(place: Place) -> str:
    """``schema.table`` as SQL."""
    return f"{quote(place[0])}.{quote(place[1])}"


def check_schemas(connection: duckdb.DuckDBPyConnection, schemas: Sequence[str], url: str) -> None:
    """Raises DatabaseError for a schema that is not there, and where ``main`` is empty and others are not."""
    there = column(connection, "SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database()")
    for schema in schemas:
        if schema not in there:
            raise DatabaseError(f"{url}: there is no schema {schema!r}", hint=did_you_mean(schema, there))
    query = """SELECT DISTINCT schema_name FROM duckdb_tables() WHERE database_name = current_database()
        UNION SELECT schema_name FROM duckdb_views() WHERE database_name = current_database() AND NOT internal
        ORDER BY ALL"""
    filled = column(connection, query)
    if filled and not set(filled) & set(schemas):
        raise DatabaseError(
            f"{url}: schema {schemas[0]!r} has no tables", hint=f"add {schemas_option(filled)} to the URL."
        )


def column(connection: duckdb.DuckDBPyConnection, query: str, *values: object) -> list[str]:
    """The first column of a small result."""
    return [str(row[0]) for row in connection.execute(query, list(values) or None).fetchall()]


def types_of(connection: duckdb.DuckDBPyConnection, schemas: Sequence[str]) -> dict[Place, dict[str, str]]:
    """The DuckDB type of each column of each table, in the order of the schemas picked and of creation."""
    query = f"""
        SELECT schema_name, table_name, column_name, data_type
        FROM duckdb_columns() SEMI JOIN duckdb_tables() USING (database_oid, schema_oid, table_oid)
        WHERE {_HERE} ORDER BY list_position($1, schema_name), table_oid, column_index"""
    types: dict[Place, dict[str, str]] = {}
    for schema, table, name, type_text in connection.execute(query, [list(schemas)]).fetchall():
        types.setdefault((schema, table), {})[name] = type_text
    return types


def views_of(connection: duckdb.DuckDBPyConnection, schemas: Sequence[str]) -> list[Place]:
    """The users' views, in the order of the schemas picked and of their names."""
    query = f"""SELECT schema_name, view_name FROM duckdb_views()
        WHERE {_HERE} AND NOT internal ORDER BY list_position($1, schema_name), view_name"""
    return [(schema, view) for schema, view in connection.execute(query, [list(schemas)]).fetchall()]


def view_types(connection: duckdb.DuckDBPyConnection, place: Place) -> dict[str, str]:
    """The DuckDB type of each column of a view. Raises duckdb.Error where what it reads is gone."""
    return describe(connection, quoted(place))


def declared(connection: duckdb.DuckDBPyConnection, types: Mapping[Place, Mapping[str, str]]) -> dict[Place, Declared]:
    """The keys of every table of ``types``, with every name as its table spells it; DuckDB does not mind the case."""
    query = f"""
        SELECT schema_name, table_name, constraint_type, constraint_column_names, referenced_table,
               referenced_column_names
        FROM duckdb_constraints() WHERE {_HERE} ORDER BY table_oid, constraint_index"""
    primary: dict[Place, tuple[str, ...]] = {}
    required: dict[Place, set[str]] = {place: set() for place in types}
    unique: dict[Place, list[tuple[str, ...]]] = {place: [] for place in types}
    foreign: dict[Place, list[tuple[tuple[str, ...], Place, tuple[str, ...]]]] = {place: [] for place in types}
    schemas = list(dict.fromkeys(schema for schema, _ in types))
    tables = {(schema, fold(name)): (schema, name) for schema, name in types}
    for schema, table, kind, columns, parent, referred in connection.execute(query, [schemas]).fetchall():
        place = (schema, table)
        key = spelled(columns or (), types[place])
        if kind in ("PRIMARY KEY", "NOT NULL"):
            required[place].update(key)
        if kind == "PRIMARY KEY":
            primary[place] = key
        elif kind == "UNIQUE":
            unique[place].append(key)
        elif kind == "FOREIGN KEY":
            other = tables.get((schema, fold(parent)), (schema, parent))
            foreign[place].append((key, other, spelled(referred or (), types.get(other, {}))))
    for place, key in _unique_indexes(connection, types, schemas):
        unique[place].append(key)
    for place, keys in unique.items():
        if place not in primary:
            primary[place] = next((key for key in keys if required[place].issuperset(key)), ())
    return {place: Declared(primary[place], frozenset(required[place]), tuple(foreign[place])) for place in types}


def compared(keys: Mapping[Place, Declared]) -> dict[Place, set[str]]:
    """The columns of each table that foreign keys compare: their own, and those that they refer to."""
    found: dict[Place, set[str]] = {place: set() for place in keys}
    for place, own in keys.items():
        for key, parent, referred in own.foreign:
            found[place].update(key)
            found.get(parent, set()).update(referred)
    return found


def spelled(names: Sequence[str], known: Mapping[str, object]) -> tuple[str, ...]:
    """``names`` as their table spells them."""
    folded = {fold(name): name for name in known}
    return tuple(name if name in known else folded.get(fold(name), name) for name in names)


def _unique_indexes(
    connection: duckdb.DuckDBPyConnection, types: Mapping[Place, Mapping[str, str]], schemas: Sequence[str]
) -> list[tuple[Place, tuple[str, ...]]]:
    """The columns of unique indexes, where the catalogue's text of them names columns and nothing else."""
    query = f"""SELECT schema_name, table_name, expressions FROM duckdb_indexes()
        WHERE {_HERE} AND is_unique AND NOT is_primary ORDER BY index_oid"""
    found = []
    for schema, table, text in connection.execute(query, [list(schemas)]).fetchall():
        parts = [part.strip("'\"").replace('""', '"') for part in str(text)[1:-1].split(", ")]
        key = spelled(parts, types[schema, table])
        if all(name in types[schema, table] for name in key):
            found.append(((schema, table), key))
    return found


def user_tables(connection: duckdb.DuckDBPyConnection, types: Mapping[Place, Mapping[str, str]]) -> list[Place]:
    """The tables that rdl did not write."""
    ours: set[tuple[str, str]] = set()
    for (schema, table), columns in types.items():
        if is_registry(table, list(columns)):
            written = column(connection, f"SELECT table_name FROM {quoted((schema, table))}")
            ours |= {(schema, fold(name)) for name in (*written, table)}
    return [place for place in types if (place[0], fold(place[1])) not in ours]


def seals_of(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The seals of every list of rdl's tables in the file."""
    query = """SELECT schema_name FROM duckdb_columns()
        WHERE database_name = current_database() AND table_name = $1 AND column_name = 'seal'"""
    return [
        seal
        for schema in column(connection, query, REGISTRY)
        for seal in column(connection, f"SELECT seal FROM {quoted((schema, REGISTRY))} WHERE seal IS NOT NULL")
    ]
