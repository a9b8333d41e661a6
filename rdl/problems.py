"""What looks wrong in a database, each on one line that says what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rdl import clock
from rdl.database.scan import ISO_TIME
from rdl.extract import Report, micros
from rdl.infer.times import time_words
from rdl.infer.words import word_set
from rdl.schema import Column, Dtype, Schema, Table
from rdl.snapshot import Snapshot

#: A column whose time is later than its row's in this share of its cells is suspected to be filled in later.
LATE_SHARE = 0.1
#: So many rows of a column are looked at.
LOOKED_AT = 10_000
#: Words in the name of a column that holds times.
NAMED_TIMES = word_set("at created date datetime epoch modified time timestamp ts unixtime updated utc when")
#: Numbers are taken for times since 1970 from 1990 to 2060, in seconds.
EARLIEST_S, LATEST_S = 631_152_000, 2_840_140_800
#: A line names at most so many tables or columns.
NAMED = 10


def find(schema: Schema, report: Report, snapshot: Snapshot | None = None) -> list[str]:
    """The problems of a database used as ``schema`` and extracted with ``report``, gravest first.

    With its ``snapshot``, columns that may be filled in later than their row are looked for as well.
    """
    lines = [*_keys(schema, report), *_times(schema, report)]
    if snapshot is not None:
        lines += [*late_columns(snapshot), *written_times(snapshot)]
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
    """The leak suspects: dates and times that are often later than the time of their own row.

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
            filled = values != clock.NEVER
            late = int(np.count_nonzero(filled & (values - margin > timed)))
            share = late / max(int(filled.sum()), 1)
            if share >= LATE_SHARE:
                yield (
                    f"{table.name}.{column.name}: later than its row ({table.time}) in {percent(share)} of cells; "
                    f"where it is filled in later, say so in the schema file: known_at = {json.dumps(column.name)}."
                )


def _may_leak(table: Table, column: Column) -> bool:
    own = table.time is not None and not table.time.through and table.time.column == column.name
    known = column.known_at is not None or column.name == table.valid_until
    return column.dtype in (Dtype.date, Dtype.timestamp) and not own and not known


def written_times(snapshot: Snapshot) -> Iterator[str]:
    """The columns of text that is all ISO times, and of whole numbers that are named and look like times since 1970:
    they are read as what they are stored as, so that nothing can take its time from them."""
    for table in snapshot.schema.tables.values():
        keys = {name for relation in snapshot.schema.relations_from(table.name) for name in relation.key}
        for column in table.columns:
            if column.name in keys | set(table.primary_key) or column.dtype not in (Dtype.text, Dtype.integer):
                continue
            values = snapshot.arrow(table.name)[column.name].slice(0, LOOKED_AT).drop_null()
            said = _as_text(values) if column.dtype is Dtype.text else _since_1970(column.name, values)
            if said:
                yield (
                    f"{table.name}.{column.name}: {said}, so no time; for rdl to use it as one, store it as TIMESTAMP "
                    "(in SQLite, declare it DATETIME), or make a view that does and read that."
                )


def _as_text(values: pa.ChunkedArray) -> str | None:
    if len(values) == 0 or not pc.all(pc.match_substring_regex(values, ISO_TIME)).as_py():
        return None
    return f"text that is all times, like {values[0].as_py().strip()[:40]!r}, is read as text"


def _since_1970(name: str, values: pa.ChunkedArray) -> str | None:
    if not set(time_words(name)) & NAMED_TIMES or len(values.unique()) < 2:
        return None
    low, high = pc.min(values).as_py(), pc.max(values).as_py()
    for unit, a_second in (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)):
        if EARLIEST_S * a_second <= low and high < LATEST_S * a_second:
            first, last = (clock.to_datetime(value * clock.US_PER_SECOND // a_second).date() for value in (low, high))
            return f"numbers that would be {first} to {last} as {unit} since 1970 are read as numbers"
    return None


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
