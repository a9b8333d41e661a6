"""The small database on a MariaDB server, and how the suites look at it past its reader."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from rdl.database.mysql_connect import quote
from tests.servers import MariaServer

_TYPES = {pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.string(): "LONGTEXT", pa.bool_(): "BOOLEAN"}


def build(server: MariaServer, content: dict[str, Callable[[], pa.Table]], keys: dict[str, str], days: set[str]) -> str:
    """A database of the ``content``, whose last table refers to the first; the dangling key is in it all the same."""
    url, (parent, child) = server.database(), content
    for name, make in content.items():
        parts = [
            f"{quote(field.name)} {'DATE' if field.name in days else _TYPES.get(field.type, 'DATETIME(6)')}"
            for field in make().schema
        ]
        parts.append(f"PRIMARY KEY ({quote(keys[name])})")
        if name == child:
            parts.append(f"FOREIGN KEY (`person id`) REFERENCES {quote(parent)} ({quote(keys[parent])})")
        server.run(url, f"CREATE TABLE {quote(name)} ({', '.join(parts)})")
        rows = [list(row.values()) for row in make().to_pylist()]
        marks = ", ".join(f"({', '.join(['%s'] * len(row))})" for row in rows)
        values = [value for row in rows for value in row]
        server.run(url, f"SET foreign_key_checks = 0; INSERT INTO {quote(name)} VALUES {marks}", *values)
    return url


def written(server: MariaServer, url: str, table: str) -> list[dict[str, object]] | None:
    if not server.run(url, "SHOW TABLES LIKE %s", table):
        return None
    rows = server.run(url, f"SELECT * FROM {quote(table)}")
    return [{**row, "hit": bool(row["hit"])} if "hit" in row else row for row in rows]


def drop(server: MariaServer, url: str) -> None:
    server.run("", f"DROP DATABASE {url.rpartition('/')[2]}")
