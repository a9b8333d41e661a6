"""Failures of drivers, files and Arrow, told as a DatabaseError in a line or two."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from rdl.errors import DatabaseError, RdlError

_DRIVERS = {"adbc_driver_manager", "duckdb", "pyarrow", "sqlite3", "yaml"}
# What drivers put before the sentence that matters.
_PREFIXES = re.compile(
    r"^(?:[A-Z_]+: |\[SQLite\] |[A-Z][A-Za-z ]+ Error: |Failed to (?:prepare|step|execute) query: |\[Errno -?\d+\] )+"
)


def reason_of(error: BaseException) -> str:
    """The first line of what a driver said, without its prefixes, without a full stop and at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _PREFIXES.sub("", lines[0])[:300].rstrip(".") if lines else type(error).__name__


def is_failure(error: BaseException) -> bool:
    """Whether ``error`` is a driver's, a file's or Arrow's word on the data, rather than a fault of rdl."""
    module = type(error).__module__.split(".")[0].lstrip("_")
    return isinstance(error, OSError) or module in _DRIVERS


@contextmanager
def explained(doing: str, *, hint: str | None = None) -> Iterator[None]:
    """Inside it, a driver's or a file's failure is raised as DatabaseError "``doing``: the reason"."""
    try:
        yield
    except RdlError:
        raise
    except Exception as error:
        if not is_failure(error):
            raise
        raise DatabaseError(f"{doing}: {reason_of(error)}", hint=hint) from error
