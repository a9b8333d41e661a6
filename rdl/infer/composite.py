"""Keys of several columns that no one declared: the first columns that together are different in every row.

Any two columns of many values are unique together by chance, so that uniqueness proves something only where chance
would have made equal rows, or where a table is nothing but the keys of others and what orders its rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rdl.infer.primary import KEYS, TEXTS
from rdl.infer.proposal import Proposal
from rdl.infer.sample import Sample
from rdl.infer.words import KEY_WORDS, NUMBER_WORDS, alike, number_stem, stem, table_words, word_set, words
from rdl.schema import Column, Dtype, Relation, Schema, Table

#: A key has at most so many columns, of at most so many that may be in one.
LONGEST, CANDIDATES = 4, 9
#: So many pairs of equal rows would be expected by chance where that there are none says something.
EXPECTED = 3.0
#: Of so many rows at least it says something that none are equal.
ENOUGH = 20
#: A table of keys has at most so many other columns.
OTHERS = 3
#: The largest share of the possible combinations that may be keys, so that being one says something.
DENSE = 0.5

_ORDINALS = NUMBER_WORDS | word_set(
    """
    index lap leg level line lineno month ord order ordinal part pos position rank revision round row seq
    sequence slot stage step stop version week year
    """
)
_TIME = 4
_NAMES = word_set("name group type kind language lang locale day date")
_SUMMED = word_set("amount avg count max mean min score sum total")


def composite_keys(schema: Schema, sample: Sample) -> list[Proposal]:
    """For each table still without a primary key, the first of its foreign keys, other keys, ordinals, names and times
    that are unique together and never NULL, less those not needed."""
    proposals = []
    for table in schema.tables.values():
        if not table.primary_key and (found := _key_of(schema, table, sample)):
            proposals.append(found)
    return proposals


def _key_of(schema: Schema, table: Table, sample: Sample) -> Proposal | None:
    rows = sample.rows(table.name)
    classes = _classes(schema, table, rows)
    names = _junction(schema, table, sample)
    if rows.num_rows == 0:
        said = "nothing but foreign keys; the table is empty"
        return Proposal("primary_key", table.name, names, said, confidence=0.3) if names else None
    codes = {name: _codes(rows[name]) for name in classes}
    if not names and rows.num_rows >= ENOUGH:
        names = _leading(classes, codes)
    if not names or not sample.is_unique(table.name, names):
        return None
    expected = _expected_pairs([codes[name] for name in names])
    said = f"{sample.count(table.name):,} rows, all different together, none NULL"
    if expected >= EXPECTED:
        said += f"; by chance some {expected:,.0f} pairs would be equal" if expected < 1e9 else ""
    elif len(table.columns) - len(names) > OTHERS or any(classes[name] > 2 for name in names):
        return Proposal("primary_key", table.name, names, f"{said}, but that may be chance", None, 0.3, True)
    return Proposal("primary_key", table.name, names, said, confidence=0.6)


def _junction(schema: Schema, table: Table, sample: Sample) -> tuple[str, ...]:
    """The foreign keys of a table that has nothing else but times, where they are unique together."""
    keys = tuple(dict.fromkeys(name for relation in schema.relations_from(table.name) for name in relation.key))
    keys = tuple(column.name for column in table.columns if column.name in keys)
    others = [column for column in table.columns if column.name not in keys]
    if len(keys) < 2 or any(column.dtype not in (Dtype.date, Dtype.timestamp) for column in others):
        return ()
    return keys if sample.is_unique(table.name, keys) else ()


def _leading(classes: dict[str, int], codes: dict[str, npt.NDArray[np.int64]]) -> tuple[str, ...]:
    """The first columns of ``classes`` that are unique together, less those that are not needed; () where none are.

    Times come last: with one more of them nearly everything is unique. Two columns at least stay, one of them a key.
    """
    order = sorted(classes, key=lambda name: classes[name] == _TIME)
    for end in range(2, len(order) + 1):
        names = order[:end]
        if any(classes[name] <= 1 for name in names) and _is_unique([codes[name] for name in names]):
            break
    else:
        return ()
    for name in sorted(names, key=lambda name: -classes[name]):
        rest = [other for other in names if other != name]
        has_key = any(classes[other] <= 1 for other in rest)
        if len(names) > 2 and has_key and _is_unique([codes[other] for other in rest]):
            names = rest
    return tuple(sorted(names, key=list(classes).index)) if len(names) <= LONGEST else ()


def _classes(schema: Schema, table: Table, rows: pa.Table) -> dict[str, int]:
    """The columns that may be part of a key, in the table's order: 0 foreign keys, 1 other keys, 2 ordinals, 3 names,
    4 times; at most ``CANDIDATES``, never NULL and not always the same."""
    foreign = {name for relation in schema.relations_from(table.name) for name in relation.key}
    ranks: dict[str, int] = {}
    for column in table.columns:
        if column.name not in rows.column_names or rows[column.name].null_count:
            continue
        if (rank := 0 if column.name in foreign else _class(table, column, schema)) is not None:
            ranks[column.name] = rank
    varied = [name for name in ranks if rows.num_rows < 2 or len(rows[name].unique()) > 1]
    return {name: ranks[name] for name in varied[:CANDIDATES]}


def _class(table: Table, column: Column, schema: Schema) -> int | None:
    if column.dtype in (Dtype.date, Dtype.timestamp):
        return _TIME
    if column.dtype not in KEYS:
        return None
    said = words(column.name)
    if stem(column.name, list(schema.tables))[1] and said[-1] in KEY_WORDS:
        return 1
    if set(said) & _SUMMED:
        return None
    numbered = number_stem(column.name)
    if numbered and any(alike(numbered, table_words(name)) for name in schema.tables):
        return 1
    if numbered or (column.dtype is Dtype.integer and said[-1:] and said[-1] in _ORDINALS):
        return 2
    if alike(said, table_words(table.name)[-1:]):
        return 2
    if column.dtype in TEXTS and said and said[-1] in _NAMES:
        return 3
    return None


def _codes(values: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Values as numbers from 0 on."""
    encoded = pc.dictionary_encode(values).combine_chunks()
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)


def _is_unique(codes: Sequence[npt.NDArray[np.int64]]) -> bool:
    together = np.zeros(len(codes[0]), np.int64)
    sizes = [int(one.max()) + 1 for one in codes]
    if math.prod(sizes) < len(together):
        return False
    for one, size in zip(codes, sizes, strict=True):
        if together.max() >= 2**62 // size:
            together = np.unique(together, return_inverse=True)[1]
        together = together * size + one
    return len(np.unique(together)) == len(together)


def _expected_pairs(codes: Sequence[npt.NDArray[np.int64]]) -> float:
    """How many pairs of rows would be equal in all columns, were these independent of one another."""
    count = len(codes[0])
    shares = [float(np.sum((np.bincount(one) / count) ** 2)) for one in codes]
    return count * (count - 1) / 2 * math.prod(shares)


def composite_relations(schema: Schema, sample: Sample) -> list[Proposal]:
    """For each table with a key of several columns, the tables that have all of them by name and hold its values.

    Where all parts are foreign keys themselves, the rows are linked through those, and a further relation is only
    suggested; and so it is where the child declares other keys. Where most combinations are keys, values prove nothing.
    Of several relations over the same columns, and some more, the longest is taken.
    """
    proposals: list[Proposal] = []
    for parent in schema.tables.values():
        if len(parent.primary_key) < 2 or not sample.rows(parent.name).num_rows:
            continue
        for child in schema.tables.values():
            key = _matching(parent, child, schema)
            if key and all(known.key != key for known in schema.relations_from(child.name)):
                relation = Relation(child.name, key, parent.name, parent.primary_key)
                if found := _measured(relation, schema, sample):
                    proposals.append(found)
    keys = {(proposal.table, frozenset(_key(proposal))) for proposal in proposals}
    return [
        proposal
        for proposal in proposals
        if not any(table == proposal.table and set(_key(proposal)) < key for table, key in keys)
    ]


def _key(proposal: Proposal) -> tuple[str, ...]:
    return proposal.value.key if isinstance(proposal.value, Relation) else ()


def _matching(parent: Table, child: Table, schema: Schema) -> tuple[str, ...] | None:
    """The columns of ``child`` named like the key of ``parent``, or None where one is missing or they are its key."""
    if parent.name == child.name:
        return None
    named = {tuple(words(column.name)): column for column in child.columns}
    key = []
    for part in parent.primary_key:
        found = named.get(tuple(words(part)))
        own = parent[part]
        if found is None and words(part)[-1:] and words(part)[-1] in (_ORDINALS | KEY_WORDS):
            found = named.get((*table_words(parent.name), *words(part)))  # line_no as shipment_line_no
        if found is None or (found.dtype in TEXTS) != (own.dtype in TEXTS) or found.dtype not in (*KEYS, own.dtype):
            return None
        key.append(found.name)
    return None if set(key) == set(child.primary_key) and len(child.columns) <= len(key) else tuple(key)


def _measured(relation: Relation, schema: Schema, sample: Sample) -> Proposal | None:
    rows = sample.rows(relation.child).select(list(relation.key)).drop_null()
    if rows.num_rows == 0:
        return None
    rows = rows.group_by(list(relation.key)).aggregate([])
    found = sample.lookup(rows, relation.parent, relation.referred)
    share = 1 - found["#row"].null_count / rows.num_rows
    if share < 0.95:
        return None
    shown = "all" if share == 1 else f"{share:.1%} of"
    said = f"named like its key, and {shown} {rows.num_rows:,} combinations are in {relation.parent}"
    foreign = {name for known in schema.relations_from(relation.parent) for name in known.key}
    possible = math.prod(len(rows[name].unique()) for name in relation.key)
    parents = sample.rows(relation.parent).num_rows
    # Who declares the other keys of a table has left this one out for a reason.
    declared = bool(sample.schema.relations_from(relation.child))
    through_parts = set(relation.referred) <= foreign
    if parents > DENSE * possible or (through_parts and declared):
        return None
    said += "; its columns refer to their own tables too" if through_parts else ""
    is_key = set(relation.key) == set(schema[relation.child].primary_key)
    suggested = through_parts or declared or is_key or share < 1
    return Proposal("relation", relation.child, relation, said, confidence=0.5 * share, suggested=suggested)
