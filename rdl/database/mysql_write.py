"""Writing an Arrow table into MySQL or MariaDB by inserts of many rows.

CREATE TABLE ends a transaction there, so a new table is filled under a name that nobody looks at, and one RENAME TABLE
puts it in its place: at each moment the old rows are there or the new ones. That a table is rdl's stands in its
comment, which goes with it. What a crash leaves behind is cleared away by the next write.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress

import duckdb
import pyarrow as pa
import pymysql

from rdl.database.mysql_catalog import LOADING, WRITTEN, is_written
from rdl.database.mysql_connect import fetch, literal, qualified, quote, run
from rdl.database.reader import IfExists
from rdl.database.registry import in_order, plan_write, written_now
from rdl.database.scan import prepare
from rdl.database.scan import quote as duckdb_quote
from rdl.errors import DatabaseError

_ROWS = 5_000
_WAIT_S = 60


def put(
    connection: pymysql.Connection,
    schema: str,
    table: str,
    rows: pa.Table,
    if_exists: IfExists,
    declared: Mapping[str, str],
) -> None:
    """Writes ``rows``. ``declared`` holds the SQL type of some columns; the others take the one that fits theirs."""
    lock = "rdl " + hashlib.sha256(schema.encode()).hexdigest()[:32]
    if fetch(connection, "SELECT GET_LOCK(%s, %s)", lock, _WAIT_S) != [(1,)]:
        raise DatabaseError("another rdl is writing to this database", hint="wait until it is done.")
    _clear(connection, schema)
    columns = "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE (TABLE_SCHEMA, TABLE_NAME) = (%s, %s)"
    existing = [str(name) for (name,) in fetch(connection, f"{columns} ORDER BY ORDINAL_POSITION", schema, table)]
    there = "SELECT TABLE_NAME, TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s"
    # In another case, too, a name is taken: some servers tell them apart, some do not.
    named = fetch(connection, f"{there} AND LOWER(TABLE_NAME) = LOWER(%s)", schema, table)
    ours = bool(named) and all(name.lower() == table.lower() and is_written(name, said) for name, said in named)
    action = plan_write(table, rows, if_exists, existing=existing or ([] if named else None), ours=ours)
    if action == "append":
        run(connection, "START TRANSACTION")
        _insert(connection, qualified(schema, table), in_order(rows, existing))
        comment = _comment(table)
        run(connection, "COMMIT")
        with suppress(pymysql.err.Error):  # the rows are committed; only their time is not
            run(connection, f"ALTER TABLE {qualified(schema, table)} COMMENT {comment}")
        return
    loading = LOADING + secrets.token_hex(8)
    try:
        _create(connection, schema, loading, rows, declared, f"{WRITTEN}{table}, not yet")
        run(connection, "START TRANSACTION")
        _insert(connection, qualified(schema, loading), rows)
        comment = _comment(table)
        run(connection, "COMMIT", f"ALTER TABLE {qualified(schema, loading)} COMMENT {comment}")
        target, aside = qualified(schema, table), qualified(schema, LOADING + secrets.token_hex(8))
        moved = f"{target} TO {aside}, " if action == "replace" else ""
        run(connection, f"RENAME TABLE {moved}{qualified(schema, loading)} TO {target}")
    except BaseException:
        with suppress(pymysql.err.Error, OSError):
            _clear(connection, schema)
        raise
    with suppress(pymysql.err.Error):
        _clear(connection, schema)


def _comment(table: str) -> str:
    return literal(f"{WRITTEN}{table}, {written_now()}")


def _clear(connection: pymysql.Connection, schema: str) -> None:
    """Drops what a write that did not end has left behind. Only who holds the lock may."""
    query = """SELECT TABLE_NAME, TABLE_COMMENT FROM information_schema.TABLES
        WHERE TABLE_SCHEMA = %s AND TABLE_NAME LIKE %s"""
    for name, comment in fetch(connection, query, schema, LOADING.replace("_", r"\_") + "%"):
        if is_written(name, comment):
            run(connection, f"DROP TABLE {qualified(schema, name)}")


def _create(
    connection: pymysql.Connection,
    schema: str,
    table: str,
    rows: pa.Table,
    declared: Mapping[str, str],
    comment: str,
) -> None:
    # NULL is said: a TIMESTAMP would else be of the moment of writing.
    columns = ", ".join(
        f"{quote(field.name)} {declared.get(field.name) or _declared(field.type)} NULL" for field in rows.schema
    )
    options = f"ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COMMENT {literal(comment)}"
    run(connection, f"CREATE TABLE {qualified(schema, table)} ({columns}) {options}")


def _insert(connection: pymysql.Connection, target: str, rows: pa.Table) -> None:
    """Inserts ``rows``, whose columns are those of the table ``target`` in their order."""
    most = int(fetch(connection, "SELECT @@max_allowed_packet")[0][0]) - 1024
    names = ", ".join(map(quote, rows.column_names))
    with connection.cursor() as cursor:
        for batch in _literals(rows):
            pending, size = list[str](), 0
            for values in batch:
                length = 4 * len(values)  # at most four bytes a character
                if pending and size + length > most:
                    cursor.execute(f"INSERT INTO {target} ({names}) VALUES {','.join(pending)}")
                    pending, size = [], 0
                pending.append(values)
                size += length
            cursor.execute(f"INSERT INTO {target} ({names}) VALUES {','.join(pending)}")


def _literals(rows: pa.Table) -> Iterator[list[str]]:
    """The rows as SQL, ``(1,'a',NULL)``, some thousands at a time."""
    numbered = rows.rename_columns([str(position) for position in range(rows.num_columns)])
    cells = " || ',' || ".join(
        f"coalesce({_literal(duckdb_quote(name), column.type)}, 'NULL')"
        for name, column in zip(numbered.column_names, rows.columns, strict=True)
    )
    connection = prepare(duckdb.connect())
    connection.register("rows", numbered)
    for batch in connection.sql(f"SELECT '(' || {cells} || ')' FROM rows").to_arrow_reader(_ROWS):
        if batch.num_rows:
            yield batch.column(0).to_pylist()


def _literal(cell: str, type_: pa.DataType) -> str:
    """DuckDB's SQL for a cell as a literal of MySQL; NULL for what MySQL has no number for."""
    is_ = pa.types
    if is_.is_dictionary(type_):
        return _literal(f"{cell}::VARCHAR", type_.value_type)
    if is_.is_boolean(type_):
        return f"({cell}::INTEGER)::VARCHAR"
    if is_.is_floating(type_):
        return f"CASE WHEN isfinite({cell}) THEN {cell}::VARCHAR END"
    if is_.is_integer(type_) or is_.is_decimal(type_):
        return f"{cell}::VARCHAR"
    if is_.is_binary(type_) or is_.is_large_binary(type_) or is_.is_fixed_size_binary(type_):
        return f"'X''' || hex({cell}) || ''''"
    if is_.is_duration(type_):
        return f"epoch_us({cell})::VARCHAR"
    if is_.is_timestamp(type_):
        cell = f"timezone('UTC', {cell})" if type_.tz else cell
    text = f"to_json({cell})::VARCHAR" if is_.is_nested(type_) else f"{cell}::VARCHAR"
    return rf"'''' || replace(replace({text}, '\', '\\'), '''', '''''') || ''''"


def _declared(type_: pa.DataType) -> str:
    """The type of a column for an Arrow type."""
    is_ = pa.types
    if is_.is_dictionary(type_):
        return _declared(type_.value_type)
    kinds = {
        is_.is_boolean: "BOOLEAN",
        is_.is_uint64: "BIGINT UNSIGNED",
        is_.is_integer: "BIGINT",
        is_.is_floating: "DOUBLE",
        is_.is_decimal: "DOUBLE",
        is_.is_timestamp: "DATETIME(6)",
        is_.is_date: "DATE",
        is_.is_time: "TIME(6)",
        is_.is_duration: "BIGINT",
        is_.is_binary: "LONGBLOB",
        is_.is_large_binary: "LONGBLOB",
        is_.is_fixed_size_binary: "LONGBLOB",
    }
    return next((declared for check, declared in kinds.items() if check(type_)), "LONGTEXT")
