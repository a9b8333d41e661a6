"""Columns that look like times stored as something else: text that is all times, whole numbers since 1970.

They are only suggested: a number has no unit, and what is read as a time takes part in what was known when.
"""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from rdl import clock
from rdl.database.cells import CellParser
from rdl.database.scan import ISO_TIME
from rdl.infer.proposal import Proposal
from rdl.infer.sample import Sample, distinct
from rdl.infer.times import time_words
from rdl.infer.words import word_set
from rdl.schema import TIME_FORMATS, Column, Dtype, Schema

#: So many rows of a column are looked at.
LOOKED_AT = 10_000
#: The least share of the texts that must be times.
MEANT = 0.95
#: Words in the name of a column that holds times.
NAMED_TIMES = word_set("at created date datetime epoch modified time timestamp ts unixtime updated utc when")
#: Numbers are taken for times since 1970 from 1990 to 2060, in seconds.
EARLIEST_S, LATEST_S = 631_152_000, 2_840_140_800
_UNITS = {
    "s": ("seconds", 1),
    "ms": ("milliseconds", 10**3),
    "us": ("microseconds", 10**6),
    "ns": ("nanoseconds", 10**9),
}


def time_formats(schema: Schema, sample: Sample) -> list[Proposal]:
    """How times are stored in the columns, but for keys, of text that is all ISO times, and of numbers that are named
    as times and look like times since 1970."""
    proposals = []
    for table in schema.tables.values():
        keys = {name for relation in schema.relations_from(table.name) for name in relation.key}
        for column in table.columns:
            if column.name in keys | set(table.primary_key) or column.dtype not in (*TIME_FORMATS["s"], Dtype.text):
                continue
            values = sample.rows(table.name)[column.name].slice(0, LOOKED_AT).drop_null()
            if len(values) > 1 and distinct(values) > 1 and (found := _format(column, values.combine_chunks())):
                time_format, why = found
                proposals.append(
                    Proposal("time_format", table.name, time_format, why, column=column.name, suggested=True)
                )
    return proposals


def _format(column: Column, values: pa.Array) -> tuple[str, str] | None:
    return _as_text(values) if column.dtype is Dtype.text else _since_1970(column.name, values)


def _as_text(values: pa.Array) -> tuple[str, str] | None:
    if pc.sum(pc.match_substring_regex(values, ISO_TIME)).as_py() < MEANT * len(values):
        return None
    moments = CellParser().parse(values, Dtype.timestamp).drop_null()
    if len(moments) < MEANT * len(values):
        return None
    low, high = (pc.min_max(moments)[name].as_py().date() for name in ("min", "max"))
    rest = len(values) - len(moments)
    but = f", but for {rest / len(values):.1%}, which would be NULL" if rest else ""
    return "iso", f"text that is all times, {_range(low, high)}{but}; until it is used, no time but text"


def _since_1970(name: str, values: pa.Array) -> tuple[str, str] | None:
    if not set(time_words(name)) & NAMED_TIMES:
        return None
    low, high = (pc.min_max(values)[end].as_py() for end in ("min", "max"))
    for time_format, (unit, a_second) in _UNITS.items():
        if EARLIEST_S * a_second <= low and high < LATEST_S * a_second:
            first, last = (clock.to_datetime(int(v) * clock.US_PER_SECOND // a_second).date() for v in (low, high))
            said = f"numbers that would be {_range(first, last)} as {unit} since 1970"
            return time_format, f"{said}; until it is used, no time but numbers"
    return None


def _range(first: date, last: date) -> str:
    return f"{first} to {last}" if first != last else f"of {first}"
