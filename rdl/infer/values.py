"""Columns whose names say nothing and whose values are in one key only, where they can hardly be by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rdl.infer.sample import Sample
from rdl.infer.words import KEY_WORDS, MEASURES, ends_alike, forms, stem, table_words, words
from rdl.schema import Column, Dtype, Table

#: So many distinct values say something.
ENOUGH = 20
#: The largest share of the whole numbers in a column's range that may be keys, so that being one says something.
DENSE = 0.5
#: Text of at most so many letters is no key: 'A', 'NL'.
SHORT = 3


@dataclass(frozen=True, slots=True)
class Value:
    """The table whose key has a column's values, why they are not there by chance, and whether that is not sure
    enough to be used."""

    parent: Table
    why: str
    suggested: bool


def by_value(table: Table, column: Column, parents: Sequence[Table], sample: Sample) -> Value | None:
    """The one table of ``parents`` whose key has all values of a column; None where there is none, where there are
    several, or where whole numbers would be in such a key anyway."""
    _, is_key = stem(column.name)
    if column.dtype in (Dtype.float, Dtype.decimal) or _measures(column.name):
        return None
    values = sample.rows(table.name)[column.name].drop_null().unique()
    if len(values) < ENOUGH or (len(values) == sample.rows(table.name).num_rows and not is_key):
        return None
    if pa.types.is_string(values.type) and pc.max(pc.utf8_length(values)).as_py() <= SHORT:
        return None
    holding = [parent for parent in parents if parent.name != table.name and _holds(parent, values, sample)]
    if len(holding) != 1:
        return None
    parent = holding[0]
    if column.dtype is not Dtype.integer:
        return Value(parent, "texts that no other key has", suggested=False)
    low, high = pc.min(values).as_py(), pc.max(values).as_py()
    share = _between(parent, low, high, sample) / (high - low + 1)
    if share > DENSE:
        return None
    percent = f"{share:.1%}" if share >= 0.001 else "<0.1%"
    why = f"only {percent} of the numbers from {low} to {high} are keys there"
    named = words(column.name)
    is_named = named == words(parent.primary_key[0]) or ends_alike(named, table_words(parent.name))
    return Value(parent, why, suggested=not (is_key or is_named))


def _measures(name: str) -> bool:
    said = words(name)
    if said[-1:] == ["at"]:
        return True
    return not (said and said[-1] in KEY_WORDS) and any(forms(word) & MEASURES for word in said)


def _holds(parent: Table, values: pa.Array, sample: Sample) -> bool:
    """Whether the key of ``parent`` has all ``values``, and not nearly all numbers there are."""
    key = parent.primary_key[0]
    if key not in sample.rows(parent.name).column_names or sample.count(parent.name) < len(values):
        return False
    if pa.types.is_integer(values.type) and sample.is_dense(parent.name, key, DENSE):
        return False
    known = sample.rows(parent.name)[key]
    if sample.is_whole(parent.name) and known.type == values.type and not pc.any(pc.equal(known, values[0])).as_py():
        return False
    return bool(sample.lookup(pa.table({"key": values}), parent.name, parent.primary_key)["#row"].null_count == 0)


def _between(parent: Table, low: int, high: int, sample: Sample) -> int:
    """How many keys of a table lie between ``low`` and ``high``."""
    count = 0
    for piece in sample.pieces(parent.name, parent.primary_key):
        keys = np.asarray(piece.column(0).drop_null().to_numpy())
        count += int(np.count_nonzero((keys >= low) & (keys <= high)))
    return count
