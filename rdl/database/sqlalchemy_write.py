"""Writing an Arrow table through any SQLAlchemy dialect."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from rdl.database.reader import IfExists
from rdl.database.registry import REGISTRY, REGISTRY_COLUMNS, in_order, is_registry, plan_write, written_now
from rdl.database.sqlalchemy_types import declared
from rdl.errors import DatabaseError

_ROWS = 5_000
#: Dialects whose tables take rows only after the transaction that made them.
_MADE_FIRST = ("firebird",)


def quoted(dialect: sa.Dialect, name: str) -> str:
    """``name``, to be quoted whatever SQLAlchemy thinks of it; but where it spells names in another case than the
    catalogue (Oracle, Firebird), it alone knows which ones to quote."""
    return sa.quoted_name(name, quote=None if dialect.requires_name_normalize else True)


def registry_table(schema: str | None) -> sa.Table:
    """The list of rdl's tables in a schema."""
    columns = [sa.Column(name, sa.String(255)) for name in REGISTRY_COLUMNS]
    return sa.Table(REGISTRY, sa.MetaData(), *columns, schema=schema)


def written_tables(connection: sa.Connection, schema: str | None) -> set[str]:
    """The case-folded names of the tables that rdl wrote, and of its list of them."""
    inspector, registry = sa.inspect(connection), registry_table(schema)
    if not inspector.has_table(REGISTRY, schema=schema):
        return set()
    if not is_registry(REGISTRY, [column["name"] for column in inspector.get_columns(REGISTRY, schema=schema)]):
        return set()
    return {REGISTRY, *(str(name).casefold() for name in connection.scalars(sa.select(registry.c.table_name)))}


def put(
    engine: sa.Engine,
    schema: str | None,
    table: str,
    rows: pa.Table,
    if_exists: IfExists,
    types: Mapping[str, TypeEngine[Any]],
) -> None:
    """Writes ``rows`` and the entry in the list of rdl's tables in one transaction.

    Where CREATE TABLE ends a transaction, the list names the table before it is made, its rows come in one transaction,
    and a new one whose rows could not be written is dropped again; one to be replaced is gone before the new rows come.
    """
    registry = registry_table(schema)
    with engine.begin() as connection:
        inspector = sa.inspect(connection)
        if REGISTRY not in written_tables(connection, schema):
            if inspector.has_table(REGISTRY, schema=schema):
                raise DatabaseError(f"a table {REGISTRY!r} that is not rdl's stands in the way", hint="rename it.")
            registry.create(connection)
    created = False
    try:
        with engine.connect() as connection:
            inspector = sa.inspect(connection)
            existing = _columns(inspector, schema, table)
            ours = table.casefold() in written_tables(connection, schema)
            action = plan_write(table, rows, if_exists, existing=existing, ours=ours)
            mine = registry.c.table_name == table
            connection.execute(registry.delete().where(mine))
            connection.execute(registry.insert(), dict(zip(REGISTRY_COLUMNS, (table, "", ""), strict=True)))
            rows = in_order(rows, existing or ()) if action == "append" else rows
            columns = [
                sa.Column(quoted(engine.dialect, field.name), types.get(field.name) or declared(field.type))
                for field in rows.schema
            ]
            target = sa.Table(quoted(engine.dialect, table), sa.MetaData(), *columns, schema=schema)
            if action == "replace":
                target.drop(connection)
            if action != "append":
                target.create(connection)
                created = True
                if engine.dialect.name.partition(".")[0] in _MADE_FIRST:
                    connection.commit()
            for batch in _batches(rows):
                connection.execute(target.insert(), batch)
            connection.execute(registry.update().where(mine), {"written_at": written_now()})
            connection.commit()
    except BaseException:
        if created:
            _forget(engine, schema, table, registry)
        raise


def _columns(inspector: sa.Inspector, schema: str | None, table: str) -> list[str] | None:
    """The columns of a table or view of this name in any case; None where there is none."""
    there = [*inspector.get_table_names(schema=schema), *inspector.get_view_names(schema=schema)]
    name = next((name for name in there if name.casefold() == table.casefold()), None)
    return None if name is None else [str(column["name"]) for column in inspector.get_columns(name, schema=schema)]


def _forget(engine: sa.Engine, schema: str | None, table: str, registry: sa.Table) -> None:
    """Drops a table that could not be filled, where the end of the transaction has not."""
    with engine.begin() as connection:
        listed = connection.execute(sa.select(registry.c.written_at).where(registry.c.table_name == table)).all()
        if len(listed) == 1 and not listed[0][0]:  # '' may come back as NULL
            sa.Table(quoted(engine.dialect, table), sa.MetaData(), schema=schema).drop(connection, checkfirst=True)
            connection.execute(registry.delete().where(registry.c.table_name == table))


def _batches(rows: pa.Table) -> Iterator[list[dict[str, Any]]]:
    for batch in rows.to_batches(max_chunksize=_ROWS):
        found = batch.to_pylist()
        if found:
            yield [{name: _storable(cell) for name, cell in row.items()} for row in found]


def _storable(cell: Any) -> Any:
    """``cell`` as drivers take it: lists as JSON, times in UTC without a zone, spans in microseconds."""
    if isinstance(cell, list | dict):
        return json.dumps(cell, ensure_ascii=False, default=str)
    if isinstance(cell, dt.timedelta):
        return cell // dt.timedelta(microseconds=1)
    if isinstance(cell, dt.datetime):
        return cell.astimezone(dt.UTC).replace(tzinfo=None) if cell.tzinfo else cell
    return cell
