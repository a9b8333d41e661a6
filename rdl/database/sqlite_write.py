"""Writing an Arrow table into SQLite, inside the caller's transaction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import adbc_driver_sqlite.dbapi as adbc
import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from rdl.database.reader import IfExists
from rdl.database.registry import REGISTRY, REGISTRY_COLUMNS, in_order, is_registry, plan_write, written_now
from rdl.database.scan import prepare, quote
from rdl.errors import DatabaseError


def put(
    connection: adbc.Connection, table: str, rows: pa.Table, if_exists: IfExists, seal: str, types: Mapping[str, str]
) -> None:
    """Writes ``rows`` and the entry in the list of rdl's tables; the caller commits. ``types`` are the declared types
    of columns that do not take their own."""
    with connection.cursor() as cursor:
        # From the first read on, the lock keeps others from committing until the caller does.
        _, *columns = _first_column(cursor, "SELECT '' UNION ALL SELECT name FROM pragma_table_info(?)", REGISTRY)
        if columns and not is_registry(REGISTRY, columns):
            raise DatabaseError(f"a table {REGISTRY!r} that is not rdl's stands in the way", hint="rename it.")
        name, time, seal_column = REGISTRY_COLUMNS
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {REGISTRY} ({name} TEXT, {time} TIMESTAMP, {seal_column} TEXT)")
        existing = _first_column(cursor, "SELECT '' UNION ALL SELECT name FROM pragma_table_info(?)", table)[1:]
        mine = "FROM rdl_predictions WHERE lower(table_name) = lower(?)"
        ours = _first_column(cursor, f"SELECT count(*) {mine}", table) != [0]
        action = plan_write(table, rows, if_exists, existing=existing or None, ours=ours)
        stored = storable(in_order(rows, existing) if action == "append" else rows)
        if action == "replace":
            cursor.execute(f"DROP TABLE {quote(table)}")
        if action != "append":
            declared = [(field.name, types.get(field.name, _declared(field.type))) for field in rows.schema]
            columns_sql = ", ".join(f"{quote(name)} {_type_sql(type_text)}" for name, type_text in declared)
            cursor.execute(f"CREATE TABLE {quote(table)} ({columns_sql})")
        if stored.num_rows:
            marks = ", ".join("?" * stored.num_columns)
            cursor.executemany(f"INSERT INTO {quote(table)} VALUES ({marks})", stored)
        cursor.execute(f"DELETE {mine}", (table,))
        cursor.execute(f"INSERT INTO {REGISTRY} VALUES (?, ?, ?)", (table, written_now(), seal))


def _type_sql(type_text: str) -> str:
    """A declared type, which can be any text, as SQL: SQLite takes a quoted name for one."""
    plain = re.fullmatch(r"[A-Za-z]\w*(\(\d+(, ?\d+)?\))?|DOUBLE PRECISION|", type_text, re.ASCII)
    return type_text if plain else quote(type_text)


def _first_column(cursor: Any, sql: str, *values: object) -> list[Any]:
    cursor.execute(sql, values or None)
    return [row[0] for row in cursor.fetchall()]


def _declared(type_: pa.DataType) -> str:
    """The SQLite type to declare for an Arrow type."""
    if pa.types.is_boolean(type_):
        return "BOOLEAN"
    if pa.types.is_integer(type_):
        return "INTEGER"
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "DOUBLE PRECISION"
    if pa.types.is_timestamp(type_):
        return "TIMESTAMP"
    if pa.types.is_date(type_):
        return "DATE"
    return "BLOB" if pa.types.is_binary(type_) or pa.types.is_large_binary(type_) else "TEXT"


def storable(rows: pa.Table) -> pa.Table:
    """``rows`` in what SQLite can hold: times as ISO-8601 text in UTC, truth as 0 and 1, lists as JSON text."""
    columns = [_storable(column) for column in rows.columns]
    return pa.table(columns, names=[str(position) for position in range(len(columns))])


def _storable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    type_ = column.type
    if pa.types.is_dictionary(type_):
        return _storable(column.cast(type_.value_type))
    if pa.types.is_boolean(type_) or pa.types.is_integer(type_):
        return column.cast(pa.int64())
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return column.cast(pa.float64())
    if pa.types.is_date(type_):
        return column.cast(pa.date32()).cast(pa.string())
    if pa.types.is_timestamp(type_):
        moments = column.cast(pa.timestamp("us"), safe=False)
        whole = pc.all(pc.equal(pc.microsecond(moments), 0)).as_py() is not False
        whole = whole and pc.all(pc.equal(pc.millisecond(moments), 0)).as_py() is not False
        return pc.strftime(moments.cast(pa.timestamp("s")) if whole else moments, format="%Y-%m-%d %H:%M:%S")
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return column.cast(pa.string())
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_):
        return column.cast(pa.binary())
    if pa.types.is_null(type_):
        return column.cast(pa.string())
    if pa.types.is_time(type_):
        return column.cast(pa.string())
    connection = prepare(duckdb.connect())
    connection.register("rows", pa.table({"cell": column}))
    nested = pa.types.is_nested(type_)
    return (
        connection.sql(f"SELECT {'to_json(cell)' if nested else 'cell'}::VARCHAR FROM rows").to_arrow_table().column(0)
    )
