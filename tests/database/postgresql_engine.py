"""The small database on a PostgreSQL server, and how the suites look at it past its reader."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable

import pyarrow as pa

from rdl.database import open_reader
from rdl.database.postgresql import PostgresReader
from tests.servers import PostgresServer

#: Extensions and types of a user's own.
SETUP = (
    "CREATE EXTENSION citext",
    "CREATE EXTENSION vector",
    "CREATE TYPE mood AS ENUM ('so-so', 'né''e')",
    "CREATE DOMAIN whole AS int",
    "CREATE DOMAIN positive AS whole CHECK (VALUE > 0)",
)

_TYPES = {pa.int64(): "bigint", pa.float64(): "double precision", pa.string(): "text", pa.bool_(): "boolean"}


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, bool | int | float) else "'" + str(value).replace("'", "''") + "'"


def build(
    server: PostgresServer, content: dict[str, Callable[[], pa.Table]], keys: dict[str, str], days: set[str]
) -> str:
    """A database of the ``content``, whose last table refers to the first; the dangling key is in it all the same."""
    if server.small is None:
        server.small = _filled(server, content, keys, days).rpartition("/")[2]
    return server.database(template=server.small)


def _filled(
    server: PostgresServer, content: dict[str, Callable[[], pa.Table]], keys: dict[str, str], days: set[str]
) -> str:
    url, statements = server.database(), []
    for name, make in content.items():
        columns = [
            f"{quote(field.name)} {'date' if field.name in days else _TYPES.get(field.type, 'timestamp')}"
            for field in make().schema
        ]
        statements.append(f"CREATE TABLE {quote(name)} ({', '.join(columns)}, PRIMARY KEY ({quote(keys[name])}))")
        rows = [f"({', '.join(map(literal, row.values()))})" for row in make().to_pylist()]
        statements.append(f"INSERT INTO {quote(name)} VALUES {', '.join(rows)}")
    parent, child = content
    statements.append(f'ALTER TABLE {quote(child)} ADD FOREIGN KEY ("person id") REFERENCES {quote(parent)} NOT VALID')
    server.run(url, *statements)
    return url


def written(server: PostgresServer, url: str, table: str) -> list[dict[str, object]] | None:
    if not server.run(url, f"SELECT to_regclass({literal(quote(table))})").strip():
        return None
    rows = json.loads(server.run(url, f"SELECT coalesce(json_agg(r), '[]') FROM {quote(table)} r"))
    return [{**row, "time": dt.datetime.fromisoformat(row["time"])} for row in rows]


def drop(server: PostgresServer, url: str) -> None:
    name = url.rpartition("/")[2]
    server.run(server.url("postgres"), f"DROP DATABASE {quote(name)} WITH (FORCE)")


def reader_of(server: PostgresServer, *sql: str, options: str = "", **picked: object) -> PostgresReader:
    """A reader of a fresh database in which ``sql`` was run."""
    url = server.database()
    server.run(url, *sql)
    return open_reader(url + options, **picked)  # type: ignore[arg-type,return-value]
