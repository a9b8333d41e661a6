"""What looks wrong in a database, each on one line that says what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np

from rdl import clock
from rdl.extract import Report, micros
from rdl.schema import Column, Dtype, Schema, Stype, Table
from rdl.snapshot import Snapshot

#: A column whose time is later than its row's in this share of its cells is suspected to be filled in later.
LATE_SHARE = 0.1
#: A line names at most so many tables or columns.
NAMED = 10


def find(schema: Schema, report: Report, snapshot: Snapshot | None = None) -> list[str]:
    """The problems of a database used as ``schema`` and extracted with ``report``, gravest first.

    With its ``snapshot``, columns that may be filled in later than their row are looked for as well.
    """
    lines = [*_keys(schema, report), *_times(schema, report)]
    if snapshot is not None:
        lines += late_columns(snapshot)
    return [*lines, *_rows(schema, report)]


def _keys(schema: Schema, report: Report) -> Iterator[str]:
    for relation in schema.relations:
        if str(relation) in report.dangling:
            count, share = report.dangling[str(relation)]
            yield (
                f"{relation}: {count:,} keys ({percent(share)}) name no row and are read as NULL; "
                "check that the parent is complete and that this is its key."
            )
    for name, count in report.duplicate_keys.items():
        yield (
            f"{name}: {plural(count, 'row')} with a key that an earlier row already has; relations lead to the first "
            "one: remove the others, or name another primary_key in the schema file."
        )
    if not schema.relations and len(schema.tables) > 1:
        yield "no relation between any tables: name the foreign keys as [[relations]] in the schema file."
    if keyless := [table.name for table in schema.tables.values() if not table.primary_key]:
        yield (
            f"no primary key: {some(keyless)}; fine for rows that nothing refers to, and predictions name their row "
            "numbers: else give primary_key in the schema file."
        )


def _times(schema: Schema, report: Report) -> Iterator[str]:
    timeless = [table.name for table in schema.tables.values() if table.time is None]
    if len(timeless) == len(schema.tables) and timeless:
        yield (
            "no table has a time: what was known when cannot be told, so nothing can be predicted over time; name a "
            "time column in the schema file."
        )
    elif timeless:
        yield (
            f"timeless: {some(timeless)}; their rows count as known at all times: where rows are added or changed over "
            "time, give their time in the schema file."
        )
    for name, count in report.null_times.items():
        share = count / max(report.rows.get(name, 0), 1)
        yield (
            f"{name}: {plural(count, 'row')} ({percent(share)}) without a known time ({schema[name].time}), which "
            "nothing will ever see; fill it in, or name another time in the schema file."
        )


def _rows(schema: Schema, report: Report) -> Iterator[str]:
    for cell, count in report.repairs.items():
        yield (
            f"{cell}: {plural(count, 'cell')} did not fit the column's type, read as NULL; correct them in the "
            "database, or declare the type they have."
        )
    if empty := [name for name in schema.tables if not report.rows.get(name)]:
        yield f"empty: {some(empty)}; fill them, or leave them out with --exclude."


def late_columns(snapshot: Snapshot) -> Iterator[str]:
    """The leak suspects of :func:`late_cells`, a line each."""
    for table, column, share in late_cells(snapshot):
        yield (
            f"{table.name}.{column.name}: later than its row ({table.time}) in {percent(share)} of cells; "
            f"where it is filled in later, say so in the schema file: known_at = {json.dumps(column.name)}."
        )


def late_cells(snapshot: Snapshot) -> Iterator[tuple[Table, Column, float]]:
    """The dates and times that are often later than the time of their own row, and in what share of the cells that are
    filled: at least :data:`LATE_SHARE`.

    Where all times of a table are whole days, a time of the same day is not later.
    """
    for table in snapshot.schema.tables.values():
        times = snapshot.time(table.name)
        timed = times[: int(np.searchsorted(times, clock.NEVER))]
        if table.time is None or not len(timed):
            continue
        margin = 0 if np.any(timed % clock.US_PER_DAY) else clock.US_PER_DAY - 1
        for column in table.columns:
            if not _may_leak(table, column):
                continue
            values = micros(snapshot.arrow(table.name)[column.name])[: len(timed)]
            filled = values < clock.NO_END_FROM
            late = int(np.count_nonzero(filled & (values - margin > timed)))
            share = late / max(int(filled.sum()), 1)
            if share >= LATE_SHARE:
                yield table, column, share


def _may_leak(table: Table, column: Column) -> bool:
    own = table.time is not None and not table.time.through and table.time.column == column.name
    known = column.known_at is not None or column.name == table.valid_until
    is_read = column.stype is not Stype.unsupported
    return column.dtype in (Dtype.date, Dtype.timestamp) and is_read and not own and not known


def some(names: Sequence[str]) -> str:
    """The names by comma, at most :data:`NAMED` of them."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def plural(count: int, noun: str) -> str:
    """``count`` and the noun.

    >>> plural(1, "row"), plural(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """``share`` for people; one that is not none is never shown as none, nor one that is not all as all.

    >>> percent(0.5), percent(0.0004), percent(0.99999)
    ('50%', '<0.1%', '>99.9%')
    """
    if 0 < share < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < share < 1 else f"{100 * share:.3g}%"
