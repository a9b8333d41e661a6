"""Columns of times that are overwritten in place: when a user was last seen, when a row was last changed.

Such a time tells of the present, whatever the time of the seed: that it is not past yet says that something is still to
come, and that it is past that nothing is. So it is neither a row's time nor known at itself, but no input at all. It is
told by its cells, which equal the last time of the rows that refer to the same thing, or else by its name. A time that
is written once, as that of a delivery, stands.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rdl import clock
from rdl.infer.aggregates import AGREE, ENOUGH, PARENTS, Floats, as_floats, children_of, keys_to_same
from rdl.infer.late import HAPPENED, PLANNED
from rdl.infer.proposal import Proposal
from rdl.infer.sample import Sample
from rdl.infer.times import ranked, time_words
from rdl.infer.words import word_set
from rdl.schema import Column, Dtype, Schema, Stype, Table

#: What is over after so small a share of the time of all children, in the middle, has an end, as a visit has.
SHORT = 0.05

#: What is said of a column that its name tells of.
NAMED = "named as a time that is overwritten whenever something happens"

_ALWAYS_NAMED = word_set(
    "edited last latest modification modified modifieddate recent synced touched update updated updating"
)
_SEEN = word_set("active activity seen")
_TIMES = (Dtype.date, Dtype.timestamp)


def overwritten(schema: Schema, sample: Sample) -> list[Proposal]:
    """The columns of times that hold the present, as no inputs; what ``schema`` already says of one stands."""
    found = {}
    for table, column, said, share in last_times(schema, sample):
        if _is_free(table, column):
            found[table.name, column.name] = _proposal(table, column, said, share)
    for table in schema.tables.values():
        for column in table.columns:
            if _is_free(table, column) and (table.name, column.name) not in found and is_named(schema, table, column):
                said = NAMED
                if not any(other != column for _, other in ranked(table)):
                    said += f'; where rows are written once, it is their time: time = "{column.name}"'
                found[table.name, column.name] = _proposal(table, column, said, 0.5)
    return list(found.values())


def _proposal(table: Table, column: Column, said: str, share: float) -> Proposal:
    return Proposal("overwritten", table.name, Stype.unsupported, said, column.name, share)


def is_named(schema: Schema, table: Table, column: Column) -> bool:
    """Whether the name of a column of times says that it is overwritten. When something was seen may also be when a row
    came to be: not where the table has another time for that, or is referred to."""
    said = set(time_words(column.name))
    if column.dtype not in _TIMES or "first" in said:
        return False
    if said & _ALWAYS_NAMED or any(word.startswith("last") for word in said):
        return True
    others = any(other != column for rank, other in ranked(table) if rank > 1)
    return bool(said & _SEEN) and (others or bool(schema.relations_to(table.name)))


def _is_free(table: Table, column: Column) -> bool:
    """Whether nothing is said of a column yet but how it is stored."""
    is_time = table.time is not None and table.time.column == column.name and not table.time.through
    return column.stype is Stype.timestamp and table.told_by(column) is None and not is_time


def last_times(schema: Schema, sample: Sample) -> Iterator[tuple[Table, Column, str, float]]:
    """The columns of times that equal the last time of the rows which refer to the same thing, each once, with what
    was seen and the share of rows in which it is so. What a thing's rows come to in a short time is its end, where the
    name does not say otherwise: that is written once."""
    seen = set()
    for relation in keys_to_same(schema, sample):
        parent, child = schema[relation.parent], schema[relation.child]
        keys = {name for one in schema.relations_from(parent.name) for name in one.key} | set(parent.primary_key)
        read = set(sample.rows(parent.name).column_names)
        times = [
            column
            for column in parent.columns
            if column.dtype in _TIMES and column.name in read - keys and (parent.name, column.name) not in seen
            and (is_named(schema, parent, column) or not PLANNED & set(time_words(column.name)))
        ]  # fmt: skip
        measured = [column.name for column in child.columns if column.dtype in _TIMES]
        if not times or not measured:
            continue
        rows = sample.rows(parent.name).slice(0, PARENTS)
        children = children_of(relation, child, measured, rows.select(list(relation.referred)), sample)
        for column in times:
            values = as_floats(rows[column.name])
            for name in measured:
                if (child.name, name) == (parent.name, column.name):
                    continue
                first, last = (children.values[f"time: the {end} {name}"] for end in ("first", "last"))
                share, is_short = _last(values, first, last)
                if share >= AGREE and (is_named(schema, parent, column) or not (is_short and _happens(parent, column))):
                    said = f"equals the last {name} of its {child.name} ({relation}) in {share:.1%} of rows: it is "
                    seen.add((parent.name, column.name))
                    yield parent, column, said + "overwritten when another one comes", share
                    break


def _happens(table: Table, column: Column) -> bool:
    """Whether the name of a time says that it is of something that happens once."""
    return any(rank > 1 for rank, other in ranked(table) if other == column) or bool(
        set(time_words(column.name)) & HAPPENED
    )


def _last(values: Floats, first: Floats, last: Floats) -> tuple[float, bool]:
    """In what share of the rows whose children have different times the last one is the value, and whether these
    mostly come within a short time. 0 where such rows are too few."""
    if len(found := values[~np.isnan(values)]) and np.all(found % clock.US_PER_DAY == 0):
        first, last = (times - times % clock.US_PER_DAY for times in (first, last))
    there = ~np.isnan(values) & (last - first > clock.US_PER_SECOND)
    if int(there.sum()) < ENOUGH:
        return 0.0, False
    near = np.abs(values[there] - last[there]) <= clock.US_PER_SECOND
    is_short = float(np.median(last[there] - first[there])) <= SHORT * float(np.nanmax(last) - np.nanmin(first))
    return float(np.mean(near)), is_short
