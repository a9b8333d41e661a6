"""One file a family of engines: reflect what is declared, read tables to Arrow, write predictions back."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rdl.errors import DatabaseError

if TYPE_CHECKING:
    from rdl.database.reader import Reader

__all__ = ["open_reader"]


def open_reader(
    url: str | os.PathLike[str], *, tables: Sequence[str] | None = None, exclude: Sequence[str] = ()
) -> Reader:
    """A reader of the database at ``url``: a URL, or the path of a SQLite or DuckDB file or of a folder.

    ``tables`` keeps only the named tables and ``exclude`` leaves the named ones out; relations to a table that is
    left out are left out with it. Raises DatabaseError where the database is not there or cannot be read, and,
    when the tables are first looked at, for a name in ``tables`` or ``exclude`` that the database does not have.
    """
    from rdl.database.url import SERVER_ENGINES, parse_url

    parsed = parse_url(url)
    if parsed.engine == "sqlite":
        from rdl.database.sqlite import SqliteReader

        return SqliteReader(parsed, tables=tables, exclude=exclude)
    if parsed.engine == "duckdb":
        from rdl.database.duckdb import DuckdbReader

        return DuckdbReader(parsed, tables=tables, exclude=exclude)
    if parsed.engine == "folder":
        from rdl.database.folder import FolderReader

        return FolderReader(parsed, tables=tables, exclude=exclude)
    if parsed.engine == "relbench":
        from rdl.database.relbench import RelbenchReader

        return RelbenchReader(parsed, tables=tables, exclude=exclude)
    driver, extra = SERVER_ENGINES.get(parsed.engine, ("", ""))
    if driver and importlib.util.find_spec(driver) is None:
        raise DatabaseError(
            f"{parsed.redacted}: the driver {driver!r} is not installed", hint=f'pip install "rdl[{extra}]"'
        )
    raise DatabaseError(
        f"{parsed.redacted}: {parsed.engine} is not read yet",
        hint="copy the tables to SQLite, DuckDB or Parquet files.",
    )
