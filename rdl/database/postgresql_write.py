"""Writing an Arrow table into PostgreSQL: bulk load into a temporary table, then one transaction does the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping

import adbc_driver_postgresql.dbapi as adbc
import duckdb
import pyarrow as pa

from rdl.database.postgresql_catalog import registry_of
from rdl.database.postgresql_connect import fetch, literal, qualified, run
from rdl.database.reader import IfExists
from rdl.database.registry import REGISTRY, REGISTRY_COLUMNS, in_order, is_registry, plan_write, written_now
from rdl.database.scan import prepare, quote
from rdl.errors import DatabaseError

# Whoever writes with rdl to a database takes this lock first: writers come one after the other.
_LOCK = 7_165_276_148
_LOADED = "rdl loaded rows"


def put(
    connection: adbc.Connection,
    schema: str,
    table: str,
    rows: pa.Table,
    if_exists: IfExists,
    declared: Mapping[str, str],
) -> None:
    """Writes ``rows`` and the entry in the list of rdl's tables in one transaction.

    ``declared`` holds the SQL type of some columns; the others take the one that fits theirs in Arrow.
    """
    place, registry = qualified(schema, table), registry_of(schema)
    run(connection, "BEGIN")
    fetch(connection, f"SELECT pg_advisory_xact_lock({_LOCK})::text")
    listed = [name for name, _ in _columns(connection, schema, REGISTRY)]
    if listed and not is_registry(REGISTRY, listed):
        raise DatabaseError(f"a table {REGISTRY!r} that is not rdl's stands in the way", hint="rename it.")
    name, time, seal = REGISTRY_COLUMNS
    if not listed:
        run(connection, f"CREATE TABLE {registry} ({name} text, {time} timestamp, {seal} text)")
    existing = [column for column, _ in _columns(connection, schema, table)]
    mine = f"FROM {registry} WHERE table_name = {literal(table)}"
    ours = fetch(connection, f"SELECT count(*) {mine}")[0][0] > 0
    taken = _folded(connection, schema, table)
    action = plan_write(table, rows, if_exists, existing=existing or taken, ours=ours)
    rows = in_order(rows, existing) if action == "append" else rows
    stored = storable(rows)
    wanted = {field.name: declared.get(field.name) or _declared(field.type) for field in stored.schema}
    if action == "replace" and _same(wanted, _columns(connection, schema, table)):
        run(connection, f"DELETE FROM {place}")  # what others may do with it stays, and so do views on it
        rows, action = in_order(rows, existing), "append"
        stored = storable(rows)
    if action == "replace":
        run(connection, f"DROP TABLE {place}")
    if action != "append":
        columns = ", ".join(f"{quote(n)} {type_}" for n, type_ in wanted.items())
        run(connection, f"CREATE TABLE {place} ({columns})")
    if stored.num_rows:
        _load(connection, place, stored, _columns(connection, schema, table))
    run(connection, f"DELETE {mine}")
    run(connection, f"INSERT INTO {registry} VALUES ({literal(table)}, '{written_now()}', '')", "COMMIT")


def _same(types: Mapping[str, str], target: list[tuple[str, str]]) -> bool:
    """Whether a table has columns of these names and types, lengths aside."""
    return {name: re.sub(r"\([^)]*\)", "", type_) for name, type_ in types.items()} == {
        name: "timestamp" if type_ == "timestamp without time zone" else type_ for name, type_ in target
    }


def _load(connection: adbc.Connection, place: str, rows: pa.Table, target: list[tuple[str, str]]) -> None:
    """Loads ``rows`` and inserts them under the types of ``target``, in the same order.

    The cast is to the type without its length: a text that is too long is refused then, not cut.
    """
    numbered = rows.rename_columns([str(position) for position in range(rows.num_columns)])
    with connection.cursor() as cursor:
        cursor.adbc_ingest(_LOADED, numbered, mode="create", temporary=True)
    cells = ", ".join(f"{quote(str(position))}::{type_}" for position, (_, type_) in enumerate(target))
    names = ", ".join(quote(column) for column, _ in target)
    run(connection, f"INSERT INTO {place} ({names}) SELECT {cells} FROM pg_temp.{quote(_LOADED)}")
    run(connection, f"DROP TABLE pg_temp.{quote(_LOADED)}")


def _columns(connection: adbc.Connection, schema: str, table: str) -> list[tuple[str, str]]:
    """The columns of a table, each with its type without length; none where there is no such table."""
    query = f"""SELECT a.attname::text, format_type(a.atttypid, -1) FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = {literal(schema)} AND c.relname = {literal(table)} AND c.relkind <> 'i'
          AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
    return [(str(name), str(type_)) for name, type_ in fetch(connection, query)]


def _folded(connection: adbc.Connection, schema: str, table: str) -> list[str] | None:
    """No columns, but not None, where something of this name in another case, or a table without columns, is there."""
    query = f"""SELECT relname::text FROM pg_class WHERE relnamespace = {literal(schema)}::regnamespace
        AND lower(relname) = lower({literal(table)})"""
    return [] if fetch(connection, query) else None


def _declared(type_: pa.DataType) -> str:
    """The PostgreSQL type for an Arrow type that :func:`storable` yields."""
    if pa.types.is_list(type_):
        return f"{_declared(type_.value_type)}[]"
    if pa.types.is_timestamp(type_):
        return "timestamptz" if type_.tz else "timestamp"
    return _TYPES[type_]


_TYPES = {
    pa.bool_(): "boolean",
    pa.int64(): "bigint",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.binary(): "bytea",
    pa.date32(): "date",
    pa.time64("us"): "time",
    pa.duration("us"): "interval",
}


def storable(rows: pa.Table) -> pa.Table:
    """``rows`` in Arrow types that ADBC writes; what is nested deeper than a list of cells becomes JSON text."""
    return pa.table([_storable(column) for column in rows.columns], names=rows.column_names)


def _storable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    type_ = _target(column.type)
    if type_ is not None:
        return column.cast(type_, safe=not pa.types.is_timestamp(type_))
    connection = prepare(duckdb.connect())
    connection.register("rows", pa.table({"cell": column}))
    nested = pa.types.is_nested(column.type)
    sql = f"SELECT {'to_json(cell)' if nested else 'cell'}::VARCHAR FROM rows"
    return connection.sql(sql).to_arrow_table().column(0)


def _target(type_: pa.DataType) -> pa.DataType | None:
    """The Arrow type that cells of ``type_`` are stored as; None where they become text."""
    is_ = pa.types
    if is_.is_dictionary(type_):
        return _target(type_.value_type)
    if is_.is_list(type_) or is_.is_large_list(type_) or is_.is_fixed_size_list(type_):
        inner = _target(type_.value_type)
        return None if inner is None or is_.is_list(inner) or is_.is_duration(inner) else pa.list_(inner)
    if is_.is_boolean(type_):
        return pa.bool_()
    if is_.is_integer(type_):
        return pa.int64()
    if is_.is_floating(type_) or is_.is_decimal(type_):
        return pa.float64()
    if is_.is_timestamp(type_):
        return pa.timestamp("us", "UTC" if type_.tz else None)
    kinds = {is_.is_date: pa.date32(), is_.is_time: pa.time64("us"), is_.is_duration: pa.duration("us")}
    kinds |= {is_.is_binary: pa.binary(), is_.is_large_binary: pa.binary(), is_.is_null: pa.string()}
    kinds |= dict.fromkeys((is_.is_string, is_.is_large_string, is_.is_string_view), pa.string())
    return next((target for check, target in kinds.items() if check(type_)), None)
