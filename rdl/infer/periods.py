"""``valid_until``: the column after whose time a row is over.

A wrong one hides rows, so it takes either rows that follow on one another without a gap, each the state of something
until the next one began, or a name that can mean nothing else. When a parcel came back or a ticket was closed is no
end of its row: the row goes on telling what happened, and :mod:`rdl.infer.late` says from when that was known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rdl import clock
from rdl.extract import micros
from rdl.infer.primary import KEYS
from rdl.infer.proposal import Proposal
from rdl.infer.sample import Sample
from rdl.infer.times import time_words
from rdl.infer.words import alike, table_words, word_set, words
from rdl.schema import Dtype, Schema, Table

#: So many rows that follow on another, or that have ended, say something.
ENOUGH = 20
#: The largest share of rows that may end before they begin, and the least share that must follow on another.
NOISE, FOLLOWING = 0.01, 0.9
#: From this year on a time means that a row has no end.
_OPEN_FROM = clock.to_us("9000-01-01")

_ENDS = word_set(
    """
    close closed deactivated deleted deletion discontinued dissolved end ended ending ends expiration expire expired
    expires expiry finish finished left removed retired terminated termination thru to until upper
    """
)
_VALID = word_set("active asof effective eff row sys system valid validity")
_DELETED = word_set("deleted deletion")
_LASTING = word_set(
    """
    account assignment campaign card contract coupon customer employee employment enrollment license listing member
    membership plan policy position price product promotion registration role shop store subscription supplier user
    vendor
    """
)


@dataclass(frozen=True, slots=True)
class _End:
    """What was seen of a column that may say when rows are over."""

    column: str
    said: str
    suggested: bool


def valid_until(schema: Schema, sample: Sample) -> list[Proposal]:
    """For each table with a time of its own, the column that says when its rows are over."""
    proposals = []
    for table in schema.tables.values():
        if table.time is None or table.time.through or table.valid_until:
            continue
        found = [end for column in table.columns if (end := _end(schema, table, column.name, sample))]
        found.sort(key=lambda end: end.suggested)
        if found and not (len(found) > 1 and found[0].suggested):
            best = found[0]
            value, confidence = best.column, 0.5 if best.suggested else 0.9
            proposals.append(
                Proposal("valid_until", table.name, value, best.said, None, confidence, suggested=best.suggested)
            )
    return proposals


def _end(schema: Schema, table: Table, name: str, sample: Sample) -> _End | None:
    rows = sample.rows(table.name)
    time = table.time
    if time is None or name == time.column or table[name].dtype not in (Dtype.date, Dtype.timestamp):
        return None
    said = set(time_words(name))
    if not said & _ENDS or name not in rows.column_names:
        return None
    begun, ended = micros(rows[time.column]), micros(rows[name])
    is_open = (ended == clock.NEVER) | (ended >= _OPEN_FROM)
    both = (begun != clock.NEVER) & ~is_open
    if int(both.sum()) < ENOUGH or float(np.mean(ended[both] < begun[both])) > NOISE:
        return None
    shown = f"never before {time.column}" if np.all(ended[both] >= begun[both]) else f"hardly ever before {time.column}"
    shown += f", open in {is_open.mean():.0%} of {len(is_open):,} rows"
    if state := _follows(schema, table, name, begun, np.where(is_open, clock.NEVER, ended), rows):
        return _End(name, f"{state}; {shown}", suggested=False)
    if said & _DELETED and is_open.any():
        return _End(name, f"named as when the row was deleted; {shown}", suggested=False)
    if said & _VALID and said & (_ENDS - {"closed", "left"}):
        return _End(name, f"named as the end of what the row says; {shown}", suggested=not is_open.any())
    lasting = any(alike(table_words(table.name)[-1:], [word]) for word in _LASTING)
    return _End(name, f"named as an end of something that lasts; {shown}", suggested=True) if lasting else None


def _follows(
    schema: Schema, table: Table, name: str, begun: clock.Times, ended: clock.Times, rows: pa.Table
) -> str | None:
    """Whether rows of the same thing, by some column, begin when (or the day or second after) the one before ended."""
    for column in table.columns:
        if column.dtype not in KEYS or (column.name,) == table.primary_key or column.name not in rows.column_names:
            continue
        is_key = any(column.name in relation.key for relation in schema.relations_from(table.name))
        if not is_key and words(column.name)[-1:] not in (["id"], ["key"], ["code"], ["no"], ["number"], ["sku"]):
            continue
        things = np.asarray(
            pc.dictionary_encode(rows[column.name]).combine_chunks().indices.fill_null(-1).to_numpy(False), np.int64
        )
        known = (begun != clock.NEVER) & (things >= 0)
        order = np.lexsort((begun[known], things[known]))
        thing, begin, end = things[known][order], begun[known][order], ended[known][order]
        pairs = thing[1:] == thing[:-1]
        count = int(pairs.sum())
        if count < ENOUGH:
            continue
        gap = begin[1:][pairs] - end[:-1][pairs]
        closed = end[:-1][pairs] != clock.NEVER
        follows = closed & (gap >= -clock.US_PER_DAY) & (gap <= clock.US_PER_DAY)
        if follows.mean() >= FOLLOWING:
            share = f"{follows.mean():.0%} of {count:,} cases"
            return f"in {share} the next row of the same {column.name} begins where one ended"
    return None
