"""Primary keys that no one declared: a name that says so, and values that are all different and never NULL."""

from __future__ import annotations

import pyarrow as pa

from rdl.infer.proposal import Proposal
from rdl.infer.sample import Sample
from rdl.infer.words import (
    KEY_WORDS,
    MEASURES,
    abbreviates,
    alike,
    ends_alike,
    forms,
    number_stem,
    stem,
    table_words,
    words,
)
from rdl.schema import Column, Dtype, Schema, Table

#: So many rows whose foreign key is all different are taken for rows of a one-to-one table.
ONE_TO_ONE_ROWS = 50
#: Of numbers that name things at random, less than this share of those between the least and the largest is taken.
SPARSE = 0.1
#: So many different values that stand in the column of the same name elsewhere show that a table lists them.
LISTED = 5

TEXTS = (Dtype.text, Dtype.uuid)
KEYS = (*TEXTS, Dtype.integer)
TIMES = (Dtype.date, Dtype.timestamp)


def primary_keys(schema: Schema, sample: Sample) -> list[Proposal]:
    """For each table without a primary key, the first column that is named like one, unique and never NULL."""
    found = ((table, _primary_key(table, schema, sample)) for table in schema.tables.values() if not table.primary_key)
    return [
        Proposal("primary_key", table.name, (key[0],), key[1], confidence=min(1.0, key[2] / 3))
        for table, key in found
        if key
    ]


def _primary_key(table: Table, schema: Schema, sample: Sample) -> tuple[str, str, int] | None:
    """The key of a table, why, and how well it is named."""
    if not sample.rows(table.name).column_names:
        return None
    ranked = sorted((-_key_name(table, column, schema), place) for place, column in enumerate(table.columns))
    count = sample.count(table.name)
    for rank, place in ranked:
        column = table.columns[place]
        if rank and (count or rank <= -2) and sample.is_unique(table.name, [column.name]):
            said = f"named like a key, {count:,} rows, all different, none NULL"
            return column.name, said if count else "named like a key; the table is empty", -rank
    first = table.columns[0]
    if first.dtype not in KEYS or not count or not sample.is_unique(table.name, [first.name]):
        return None
    if stem(first.name, list(schema.tables))[1]:
        said = f"the first column, {count:,} rows, all different, none NULL"
        is_pair = all(stem(c.name, list(schema.tables))[1] or c.dtype in TIMES for c in table.columns)
        return (first.name, said, 1) if count >= ONE_TO_ONE_ROWS and not (is_pair and len(table.columns) > 1) else None
    is_name = first.dtype is Dtype.integer and count >= ONE_TO_ONE_ROWS and not _is_number(first.name)
    if is_name and not sample.is_dense(table.name, first.name, SPARSE):
        return first.name, f"the first column, {count:,} large numbers, all different, none NULL", 1
    users = [other.name for other in schema.tables.values() if _lists(table, other, first.name, sample)]
    said = f"the first column, all different, and all values of {users[0]}.{first.name} are in it" if users else ""
    return (first.name, said, 1) if users else None


def _key_name(table: Table, column: Column, schema: Schema) -> int:
    """How much the name of a column says that it is its table's key: 3 ``id``, ``<table>_id`` or ``<table>_no``, 2 the
    first column and some other key or the table's own name, 1 some other ``…_id``, 0 nothing."""
    if column.dtype not in KEYS:
        return 0
    others = [table_words(name) for name in schema.tables if name != table.name]
    own = table_words(table.name)
    root, is_key = stem(column.name, list(schema.tables))
    if words(column.name) in (["id"], ["pk"], ["uuid"], ["guid"], ["key"]):
        return 3
    if is_key and alike(root, own):
        return 3
    is_first = column.name == table.columns[0].name
    if number := number_stem(column.name):
        if alike(number, own):
            return 3
        return 2 if is_first and abbreviates(number, own) and not any(alike(number, other) for other in others) else 0
    if is_first and is_key and ends_alike(own, root):
        return 2
    if is_first and is_key and (ends_alike(root, own) or abbreviates(root, own)):
        return 2 if not any(alike(root, other) for other in others) else 0
    if not is_key:
        return 2 if is_first and len(words(column.name)) > 1 and alike(root, own) else 0
    if any(alike(root, other) or ends_alike(root, other) for other in others):
        return 0
    if is_first:
        return 2
    return 1 if words(column.name)[-1] in KEY_WORDS - {"code", "key", "fk"} else 0


def _is_number(name: str) -> bool:
    """Whether a name says that its values count or measure."""
    return words(name)[-1:] == ["at"] or any(forms(word) & MEASURES for word in words(name))


def _lists(table: Table, other: Table, column: str, sample: Sample) -> bool:
    """Whether the column of the same name in ``other`` repeats values that are all in ``table``, nearly all of them."""
    if other.name == table.name or column not in other or column not in sample.rows(other.name).column_names:
        return False
    if set(words(column)) & MEASURES - {"year"} or (table[column].dtype in TEXTS) != (other[column].dtype in TEXTS):
        return False
    values = sample.rows(other.name)[column].drop_null().unique()
    if len(values) < LISTED or sample.rows(other.name).num_rows <= len(values):
        return False
    found = sample.lookup(pa.table({"key": values}), table.name, [column])["#row"]
    return bool(found.null_count == 0 and len(values) >= 0.8 * sample.count(table.name))
