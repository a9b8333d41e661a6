"""Primary and foreign keys that no one declared: a name that says so, and data that agree."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from rdl.infer.proposal import Proposal
from rdl.infer.sample import Sample
from rdl.infer.words import KEY_WORDS, MEASURES, alike, forms, stem, table_words, words
from rdl.keys import match
from rdl.schema import Column, Dtype, Relation, Schema, Table

#: The least share of a foreign key's distinct values that its parent must have.
INCLUDED = 0.95

_NUMBERS = (Dtype.integer, Dtype.float, Dtype.decimal)
_TEXTS = (Dtype.text, Dtype.uuid)


def primary_keys(schema: Schema, sample: Sample) -> list[Proposal]:
    """For each table without a primary key, the first column that is named like one, unique and never NULL."""
    proposals = []
    for table in schema.tables.values():
        if table.primary_key:
            continue
        ranked = sorted((-_key_name(table, column, schema), place) for place, column in enumerate(table.columns))
        for rank, place in ranked:
            column = table.columns[place]
            if rank == 0 or not _is_unique(table.name, column.name, sample):
                continue
            count = sample.columns(table.name, [column.name]).num_rows
            if count == 0 and rank > -3:
                continue
            evidence = f"named like a key, {count} rows, all different, none NULL" if count else "named like a key"
            proposals.append(
                Proposal("primary_key", table.name, (column.name,), evidence, confidence=min(1.0, -rank / 3))
            )
            break
    return proposals


def _key_name(table: Table, column: Column, schema: Schema) -> int:
    """How much the name of a column says that it is its table's key: 3 ``id`` or ``<table>_id``, 2 the first column
    and some other key, 1 some other ``…_id``, 0 nothing."""
    if column.dtype not in (*_TEXTS, Dtype.integer):
        return 0
    others = [name for name in schema.tables if name != table.name]
    root, is_key = stem(column.name, list(schema.tables))
    if words(column.name) in (["id"], ["pk"], ["uuid"], ["guid"], ["key"]):
        return 3
    if is_key and alike(root, table_words(table.name)):
        return 3
    is_first = column.name == table.columns[0].name
    if is_key and is_first and alike(root, table_words(table.name)[-len(root) :]):
        return 2
    if not is_key or any(alike(root[-len(table_words(other)) :], table_words(other)) for other in others):
        return 0
    if is_first:
        return 2
    return 1 if words(column.name)[-1] in ("id", "uuid", "guid") else 0


def _is_unique(table: str, column: str, sample: Sample) -> bool:
    def unique(values: pa.ChunkedArray) -> bool:
        return bool(values.null_count == 0 and pc.count_distinct(values).as_py() == len(values))

    return unique(sample.rows(table)[column]) and unique(sample.columns(table, [column])[column])


def relations(schema: Schema, sample: Sample) -> list[Proposal]:
    """For each column that is no declared foreign key, the table that its name speaks of and that has its values.

    A parent must have a key of one column; at least ``INCLUDED`` of the column's distinct values must be in it. Where
    two parents are named equally well, none is proposed.
    """
    proposals = []
    for table in schema.tables.values():
        declared = {column for relation in schema.relations_from(table.name) for column in relation.key}
        for column in table.columns:
            if column.name in declared or column.dtype not in (*_NUMBERS, *_TEXTS):
                continue
            ranked = [(_refers(table, column, parent, schema), parent) for parent in schema.tables.values()]
            best = max((rank for rank, _ in ranked), default=0)
            parents = [parent for rank, parent in ranked if rank == best > 0]
            if len(parents) != 1:
                continue
            share, count = _included(table.name, column.name, parents[0], sample)
            if count and share >= INCLUDED:
                key = parents[0].primary_key
                shown = "all" if share == 1 else f"{share:.1%} of"
                evidence = f"named after it, and {shown} {count} distinct values are in {parents[0].name}.{key[0]}"
                relation = Relation(table.name, (column.name,), parents[0].name, key)
                proposals.append(Proposal("relation", table.name, relation, evidence, confidence=share * best / 4))
    return proposals


def _refers(table: Table, column: Column, parent: Table, schema: Schema) -> int:
    """How much the name of ``column`` says that it refers to ``parent``, from 0 to 4."""
    if len(parent.primary_key) != 1:
        return 0
    key = parent[parent.primary_key[0]]
    same_table = parent.name == table.name
    if (same_table and key.name == column.name) or (key.dtype in _TEXTS) != (column.dtype in _TEXTS):
        return 0
    root, is_key = stem(column.name, list(schema.tables))
    if is_key and words(column.name)[-1] == "code" and column.dtype not in _TEXTS:
        return 0
    named = table_words(parent.name)
    if table.primary_key == (column.name,) and alike(root, table_words(table.name)[-len(root) :]):
        return 0
    if alike(root, named) and not same_table:
        if is_key:
            return 4
        return 0 if table.primary_key == (column.name,) or MEASURES & set().union(*map(forms, root)) else 1
    if table.primary_key == (column.name,):
        return 0
    if is_key and len(root) > len(named) and alike(root[-len(named) :], named):
        return 3
    key_words = words(key.name)
    if words(column.name) == key_words and len(key_words) > 1 and key_words[-1] in KEY_WORDS:
        return 2
    return 1 if same_table and is_key and root == ["parent"] else 0


def _included(table: str, column: str, parent: Table, sample: Sample) -> tuple[float, int]:
    """The share of the column's distinct values that the parent's key has, and their number."""
    distinct = pc.unique(sample.rows(table)[column].drop_null())
    if len(distinct) == 0:
        return 0.0, 0
    found = match(pa.table({"key": distinct}), sample.columns(parent.name, list(parent.primary_key)))
    return 1 - found.dangling / max(found.filled, 1), len(distinct)
