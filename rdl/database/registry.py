"""What rdl wrote: the list of its tables in a database, and the rules for writing over one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Literal

import pyarrow as pa

from rdl.database.reader import IfExists
from rdl.errors import DatabaseError, did_you_mean
from rdl.schema import Dtype

#: The table (in a folder: the JSON file) that lists the tables rdl wrote.
REGISTRY = "rdl_predictions"
#: Its columns: the table, when it was last written, and the seal of :mod:`rdl.database.fingerprint`.
REGISTRY_COLUMNS = ("table_name", "written_at", "seal")


def is_registry(table: str, columns: Sequence[str]) -> bool:
    """Whether a table of this name and these columns is rdl's list, and not a user's table of the same name."""
    return table.casefold() == REGISTRY and tuple(columns) == REGISTRY_COLUMNS


def written_now() -> str:
    """The time of writing, in UTC, to the second."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def known_columns(table: str, columns: Sequence[str] | None, known: Mapping[str, object]) -> list[str]:
    """``columns``, or all ``known`` ones. Raises DatabaseError, with the nearest name, for an unknown one."""
    for column in columns or ():
        if column not in known:
            raise DatabaseError(f"table {table!r} has no column {column!r}", hint=did_you_mean(column, known))
    return list(known) if columns is None else list(columns)


def check_since(table: str, since: tuple[str, int] | None, dtypes: Mapping[str, Dtype]) -> None:
    """Raises DatabaseError where the column of ``since`` is not one of dates, timestamps or whole numbers."""
    if since is not None:
        known_columns(table, [since[0]], dtypes)
        if dtypes[since[0]] not in (Dtype.date, Dtype.timestamp, Dtype.integer):
            raise DatabaseError(f"column {since[0]!r} is no date or timestamp", hint="name one that is.")


def plan_write(
    table: str, rows: pa.Table, if_exists: IfExists, *, existing: Sequence[str] | None, ours: bool
) -> Literal["create", "append", "replace"]:
    """What is to be done to write ``rows`` into ``table``, which has the columns ``existing`` (None: is not there).

    Raises DatabaseError where that is not allowed: a name or columns that cannot be, a table that stands, one that
    rdl did not write, other columns than those there.
    """
    if not table.strip() or table.casefold() == REGISTRY:
        raise DatabaseError(f"{table!r} cannot name a table of predictions", hint="choose another name.")
    names = list(rows.column_names)
    folded = [name.casefold() for name in names]
    if not names or "" in names or len(set(folded)) < len(folded):
        raise DatabaseError(f"cannot write table {table!r}: its column names are missing or stand twice: {names}")
    if if_exists not in ("fail", "append", "replace"):
        raise DatabaseError(f"if_exists={if_exists!r}", hint="use 'fail', 'append' or 'replace'.")
    if existing is None:
        return "create"
    if not ours:
        raise DatabaseError(
            f"table {table!r} exists and was not written by rdl, so it is left as it is", hint="choose another name."
        )
    if if_exists == "fail":
        raise DatabaseError(f"table {table!r} exists", hint="choose another name, or append to it or replace it.")
    if sorted(folded) != sorted(name.casefold() for name in existing):  # maybe somebody made it anew
        raise DatabaseError(
            f"cannot {if_exists} table {table!r}: it has the columns {list(existing)}, the rows have {names}",
            hint="drop it yourself, or choose another name.",
        )
    return if_exists


def in_order(rows: pa.Table, existing: Sequence[str]) -> pa.Table:
    """``rows`` with its columns in the order of ``existing`` and under its spelling; case does not matter."""
    positions = {name.casefold(): position for position, name in enumerate(rows.column_names)}
    return rows.select([positions[name.casefold()] for name in existing]).rename_columns(list(existing))


def note_repairs(repairs: MutableMapping[tuple[str, str], int], table: str) -> Callable[[str, int], None]:
    """A function that notes the cells of a column of ``table`` that became NULL; the most ever seen is kept."""

    def lost(column: str, cells: int) -> None:
        repairs[table, column] = max(cells, repairs.get((table, column), 0))

    return lost
