"""Columns that repeat what later rows add up to: ``users.total_orders`` is the number of a user's orders.

Such a column holds today's value whatever the time of the seed, and so tells the future. Its value is compared with
the number of the children, and with the sum, the largest, the smallest and the mean of their columns; children that
come with their parent, like the lines of an order, tell nothing that was not known. A table of totals, with one row for
each user, is compared with the user's children as if they were its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl import clock
from rdl.extract import micros
from rdl.infer.late import PLANNED
from rdl.infer.proposal import Proposal
from rdl.infer.sample import MOST_ROWS, Sample
from rdl.infer.times import row_times, time_words
from rdl.infer.words import words
from rdl.keys import match
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table

#: At most so many parents are compared, and so many columns of their children, of very many children fewer.
PARENTS, COLUMNS, MANY_COLUMNS = 5_000, 12, 3
#: So many parents with children, and so many different values, say something; such a share of them must agree.
ENOUGH, VALUES, AGREE = 20, 4, 0.95
#: The least share of children that come later than their parent.
LATER = 0.05

_NUMBERS = (Dtype.integer, Dtype.float, Dtype.decimal)
_TIMES = (Dtype.date, Dtype.timestamp)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Children:
    """What the children of each parent come to: their number, and by name of an aggregate its value, NaN where none."""

    count: npt.NDArray[np.int64]
    values: dict[str, Floats]

    def without(self, column: str) -> Children:
        """All but the aggregates of columns called ``column``."""
        size = len(words(column))
        kept = {name: found for name, found in self.values.items() if words(name)[-size:] != words(column)}
        return Children(self.count, kept)


def denormalised(schema: Schema, sample: Sample) -> list[Proposal]:
    """The columns that equal an aggregate over rows which came later than their own row, as suspected leaks."""
    found: dict[tuple[str, str], Proposal] = {}
    for relation in keys_to_same(schema, sample):
        parent = schema[relation.parent]
        columns = [column for column in _compared(schema, parent, sample) if (parent.name, column.name) not in found]
        if not columns or schema[relation.child].time is None or not _comes_later(schema, relation, sample):
            continue
        rows = sample.rows(parent.name).slice(0, PARENTS)
        measured = _measured(schema, schema[relation.child], columns, sample)
        children = children_of(relation, schema[relation.child], measured, rows.select(list(relation.referred)), sample)
        for column in columns:
            others = children.without(column.name)  # a child's copy of its parent's value tells nothing
            if said := _equals(as_floats(rows[column.name]), others, is_time=column.dtype in _TIMES):
                name, share = said
                evidence = f"equals {name} of its {relation.child} ({relation}) in {share:.1%} of rows, and many of "
                evidence += "these came later than their parent"
                found[parent.name, column.name] = Proposal(
                    "leak", parent.name, Stype.unsupported, evidence, column.name, share, suggested=True
                )
    return list(found.values())


def keys_to_same(schema: Schema, sample: Sample) -> Iterator[Relation]:
    """The relations and, for each table with one row at most for each row of its parent, those of its siblings as if
    they referred to it: both speak of the same thing."""
    yield from schema.relations
    for own in schema.relations:
        siblings = [one for one in schema.relations_to(own.parent) if one.referred == own.referred and one != own]
        if siblings and own.child != own.parent and _is_single(schema, own, sample):
            yield from (Relation(one.child, one.key, own.child, own.key) for one in siblings if one.child != own.child)


def _is_single(schema: Schema, relation: Relation, sample: Sample) -> bool:
    """Whether no two rows of the child refer to the same parent."""
    if set(relation.key) == set(schema[relation.child].primary_key):
        return True
    rows = sample.rows(relation.child)
    return rows.num_rows > 0 and set(relation.key) <= set(rows.column_names) and sample.is_unique(
        relation.child, relation.key
    )  # fmt: skip


def _compared(schema: Schema, parent: Table, sample: Sample) -> list[Column]:
    """The columns of numbers and times of a table that are no part of a key, not its time, and known with their row."""
    keys = {name for relation in schema.relations_from(parent.name) for name in relation.key} | set(parent.primary_key)
    keys |= {parent.time.column} if parent.time and not parent.time.through else set()
    rows = sample.rows(parent.name)
    return [
        column
        for column in parent.columns
        if column.dtype in (*_NUMBERS, *_TIMES)
        and column.name not in keys
        and column.name in rows.column_names
        and column.stype is not Stype.unsupported
        and parent.told_by(column) is None
        and not (column.dtype in _TIMES and PLANNED & set(time_words(column.name)))
        and len(rows[column.name].slice(0, PARENTS).unique()) >= VALUES
    ]


def _comes_later(schema: Schema, relation: Relation, sample: Sample) -> bool:
    """Whether children come later than their parent, or have times where the parent is always known."""
    child, parent = schema[relation.child], schema[relation.parent]
    if child.time is None:
        return False
    if parent.time is None:
        return True
    rows = sample.rows(child.name)
    needed = parent.time.through[0] if parent.time.through else (parent.time.column,)
    own = sample.lookup(rows.select(list(relation.key)), parent.name, relation.referred, needed)
    begun = row_times(schema, sample, parent.name, parent.time, own)
    came = row_times(schema, sample, child.name, child.time, rows)
    both = (begun != clock.NEVER) & (came != clock.NEVER)
    return bool(both.any() and np.mean(came[both] > begun[both]) >= LATER)


def _measured(schema: Schema, child: Table, compared: Sequence[Column], sample: Sample) -> list[str]:
    """The columns of children that are added up; of very many children only a few, times and what is named alike."""
    keys = {name for other in schema.relations_from(child.name) for name in other.key} | set(child.primary_key)
    found = [c for c in child.columns if c.dtype in (*_NUMBERS, *_TIMES) and c.name not in keys]
    if sample.count(child.name) > MOST_ROWS:
        said = {word for column in compared for word in words(column.name)}
        is_timed = any(column.dtype in _TIMES for column in compared)
        found = [c for c in found if (c.dtype in _TIMES and is_timed) or said & set(words(c.name))][:MANY_COLUMNS]
    return [column.name for column in found][:COLUMNS]


def children_of(
    relation: Relation, child: Table, measured: Sequence[str], parents: pa.Table, sample: Sample
) -> Children:
    """What the columns ``measured`` of ``child`` come to for each row of ``parents``, which holds the columns that
    ``relation`` refers to. All rows of the child are read."""
    size = parents.num_rows
    count = np.zeros(size, np.int64)
    totals = {name: np.zeros(size) for name in measured}
    filled = {name: np.zeros(size, np.int64) for name in measured}
    most, least = ({name: np.full(size, sign * -np.inf) for name in measured} for sign in (1, -1))
    for piece in sample.pieces(child.name, list(dict.fromkeys((*relation.key, *measured)))):
        rows = match(piece.select(list(relation.key)), parents).rows
        there = rows >= 0
        count += np.bincount(rows[there], minlength=size)
        for name in measured:
            values = as_floats(piece[name])
            known = there & ~np.isnan(values)
            at, values = rows[known], values[known]
            totals[name] += np.bincount(at, values, minlength=size)
            filled[name] += np.bincount(at, minlength=size)
            np.maximum.at(most[name], at, values)
            np.minimum.at(least[name], at, values)
    return Children(count, dict(_named(child, measured, totals, filled, most, least)))


def _named(
    child: Table,
    measured: Sequence[str],
    totals: dict[str, Floats],
    filled: dict[str, npt.NDArray[np.int64]],
    most: dict[str, Floats],
    least: dict[str, Floats],
) -> Iterator[tuple[str, Floats]]:
    for name in measured:
        none = filled[name] == 0
        if child[name].dtype in _TIMES:
            yield f"time: the last {name}", np.where(none, np.nan, most[name])
            yield f"time: the first {name}", np.where(none, np.nan, least[name])
            continue
        yield f"the sum of {name}", totals[name]
        yield f"the largest {name}", np.where(none, np.nan, most[name])
        yield f"the smallest {name}", np.where(none, np.nan, least[name])
        yield f"the mean of {name}", np.where(none, np.nan, totals[name] / np.maximum(filled[name], 1))


def _equals(values: Floats, children: Children, *, is_time: bool) -> tuple[str, float] | None:
    """The aggregate that a column equals, and in what share of the rows with children."""
    candidates = {} if is_time else {"the number": children.count.astype(np.float64)}
    for name, found in children.values.items():
        if name.startswith("time: ") == is_time:
            candidates[name.removeprefix("time: ")] = found
    for name, found in candidates.items():
        slack = clock.US_PER_SECOND if is_time else 0.005 if name.startswith("the mean") else 1e-6
        share = equal_share(values, found, children.count, slack=slack, is_time=is_time)
        if share is not None:
            return name, share
    return None


def equal_share(
    values: Floats, found: Floats, count: npt.NDArray[np.int64], *, slack: float, is_time: bool = False
) -> float | None:
    """In what share of the rows with any of ``count`` children ``values`` equal ``found`` but for ``slack``; None where
    that is not most of them, or where they are too few or too much alike to say anything."""
    there = (count > 0) & ~np.isnan(values)
    # Where hardly any parent has two children, an aggregate is the value of the one child.
    if there.sum() < ENOUGH or np.mean(count[there] > 1) < 0.2 or len(np.unique(values[there])) < VALUES:
        return None
    near = np.abs(values[there] - found[there]) <= slack + 1e-9 * np.abs(values[there])
    if is_time and np.all(values[there] % clock.US_PER_DAY == 0):
        near = values[there] // clock.US_PER_DAY == found[there] // clock.US_PER_DAY
    share = float(np.mean(near))
    return share if share >= AGREE and len(np.unique(found[there])) >= VALUES else None


def as_floats(values: pa.ChunkedArray) -> Floats:
    """Numbers, or times in µs, as floats; NaN where NULL."""
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        times = micros(values)
        return np.where(times == clock.NEVER, np.nan, times.astype(np.float64))
    return np.asarray(values.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy(), np.float64)
