"""One file a family of engines: reflect what is declared, read tables to Arrow, write predictions back."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rdl.errors import DatabaseError

if TYPE_CHECKING:
    from rdl.database.reader import Reader

__all__ = ["open_reader"]


def open_reader(
    url: str | os.PathLike[str],
    *,
    tables: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    views: Sequence[str] = (),
) -> Reader:
    """A reader of the database at ``url``: a URL, or the path of a SQLite or DuckDB file or of a folder.

    ``tables`` keeps only the named tables (views among them) and ``exclude`` leaves the named ones out; relations to a
    table that is left out are left out with it. ``views`` are read beside the tables, as tables without keys. Raises
    DatabaseError where the database is not there or cannot be read, and, when the tables are first looked at, for a
    name that the database does not have.
    """
    from rdl.database.url import SERVER_ENGINES, parse_url

    parsed = parse_url(url)
    picked: dict[str, Any] = {"tables": tables, "exclude": exclude, "views": views}
    if parsed.engine == "sqlite":
        from rdl.database.sqlite import SqliteReader

        return SqliteReader(parsed, **picked)
    if parsed.engine == "duckdb":
        from rdl.database.duckdb import DuckdbReader

        return DuckdbReader(parsed, **picked)
    if parsed.engine == "folder":
        from rdl.database.folder import FolderReader

        return FolderReader(parsed, **picked)
    if parsed.engine == "relbench":
        from rdl.database.relbench import RelbenchReader

        return RelbenchReader(parsed, **picked)
    driver, extra = SERVER_ENGINES.get(parsed.engine, ("", ""))
    if driver and importlib.util.find_spec(driver) is None:
        raise DatabaseError(
            f"{parsed.redacted}: the driver {driver!r} is not installed", hint=f'pip install "rdl[{extra}]"'
        )
    if parsed.engine == "postgresql":
        from rdl.database.postgresql import PostgresReader

        return PostgresReader(parsed, **picked)
    if parsed.engine in ("mysql", "mariadb"):
        from rdl.database.mysql import MysqlReader

        return MysqlReader(parsed, **picked)
    from rdl.database.sqlalchemy import SqlalchemyReader

    return SqlalchemyReader(parsed, **picked)
