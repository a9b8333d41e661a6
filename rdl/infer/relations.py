"""Foreign keys that no one declared: a name that speaks of a table, and values that its key has.

Whole numbers from 1 on are in every key that counts rows, so that values alone prove little: the name decides whom a
column refers to, and the values whether it can. What is not sure enough is suggested only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from rdl.infer.primary import TEXTS
from rdl.infer.proposal import Proposal
from rdl.infer.roles import role
from rdl.infer.sample import Sample
from rdl.infer.values import by_value
from rdl.infer.words import (
    KEY_WORDS,
    MEASURES,
    abbreviates,
    alike,
    ends_alike,
    forms,
    namespaces,
    number_stem,
    stem,
    table_words,
    words,
)
from rdl.schema import Column, Dtype, Relation, Schema, Table

#: The least share of a foreign key's distinct values that its parent must have.
INCLUDED = 0.95

_NUMBERS = (Dtype.integer, Dtype.float, Dtype.decimal)


@dataclass(frozen=True, slots=True)
class _Reference:
    """Whom a column may refer to, why, how sure that is, and whether it is enough to be used."""

    parent: Table
    why: str
    confidence: float
    suggested: bool = False


def relations(schema: Schema, sample: Sample) -> list[Proposal]:
    """For each column that is no declared foreign key, the table that it refers to by its name, else by its role
    (``manager_id``, ``created_by``), else by values that can hardly be in a key by chance.

    A parent must have a key of one column; at least ``INCLUDED`` of the column's distinct values must be in it. Where
    two parents are equally likely, none is proposed.
    """
    proposals = []
    for table in schema.tables.values():
        declared = {column for relation in schema.relations_from(table.name) for column in relation.key}
        for column in table.columns:
            if column.name in declared or column.dtype not in (*_NUMBERS, *TEXTS):
                continue
            for reference in _references(schema, table, column, sample):
                if found := _proposal(table, column, reference, sample):
                    proposals.append(found)
                    break
    return proposals


def _references(schema: Schema, table: Table, column: Column, sample: Sample) -> Iterator[_Reference]:
    """Whom a column may refer to, the likeliest first."""
    ranked = [(_refers(table, column, parent, schema), parent) for parent in schema.tables.values()]
    best = max((rank for rank, _ in ranked), default=0)
    named = [parent for rank, parent in ranked if rank == best > 0]
    if len(named) == 1:
        yield _Reference(named[0], "named after it", best / 4)
    if best >= 3 or table.primary_key == (column.name,):
        return
    possible = [parent for parent in schema.tables.values() if _can_refer(column, parent)]
    if found := role(table, column, possible):
        yield _Reference(found.parent, found.why, 0.5, found.suggested)
    if best == 0 and (value := by_value(table, column, possible, sample)):
        yield _Reference(value.parent, value.why, 0.5, value.suggested)
    kin = [parent for parent in possible if parent.name != table.name and _is_kin(column, parent)]
    if best == 0 and len(kin) == 1:
        yield _Reference(kin[0], "named a little like it", 0.25, suggested=True)


def _proposal(table: Table, column: Column, reference: _Reference, sample: Sample) -> Proposal | None:
    parent = reference.parent
    values = sample.rows(table.name)[column.name].drop_null().unique()
    relation = Relation(table.name, (column.name,), parent.name, parent.primary_key)
    if len(values) == 0:
        if reference.confidence < 0.75 or reference.suggested:
            return None
        return Proposal("relation", table.name, relation, f"{reference.why}; it has no values yet", None, 0.5, True)
    found = sample.lookup(pa.table({"key": values}), parent.name, parent.primary_key)
    share = 1 - found["#row"].null_count / len(values)
    if share < INCLUDED:
        return None
    shown = "all" if share == 1 else f"{share:.1%} of"
    held = f"{shown} {len(values):,} distinct values are in {parent.name}.{relation.referred[0]}"
    rows = sample.rows(table.name).num_rows
    evidence = f"{reference.why}, and {held}" + (
        "" if sample.is_whole(table.name) else f" (of the first {rows:,} rows)"
    )
    return Proposal(
        "relation", table.name, relation, evidence, confidence=share * reference.confidence,
        suggested=reference.suggested,
    )  # fmt: skip


def _can_refer(column: Column, parent: Table) -> bool:
    """Whether the types allow that a column refers to the key of ``parent``."""
    if len(parent.primary_key) != 1:
        return False
    key = parent[parent.primary_key[0]].dtype
    return (key in TEXTS and column.dtype in TEXTS) or (key in _NUMBERS and column.dtype in _NUMBERS)


def _refers(table: Table, column: Column, parent: Table, schema: Schema) -> int:
    """How much the name of ``column`` says that it refers to ``parent``, from 0 to 4."""
    same_table = parent.name == table.name
    if not _can_refer(column, parent) or (same_table and parent.primary_key == (column.name,)):
        return 0
    root, is_key = stem(column.name, list(schema.tables))
    if is_key and words(column.name)[-1] == "code" and column.dtype not in TEXTS:
        return 0
    named, own = _plain(parent, schema), table_words(table.name)
    is_own_key = table.primary_key == (column.name,)
    if is_own_key and (alike(root, own) or ends_alike(own, root)):
        return 0
    if alike(root, named) and not same_table:
        if is_key:
            return 4
        return 0 if is_own_key or MEASURES & set().union(*map(forms, root)) else 1
    if is_own_key:
        return 0
    if is_key and ends_alike(root, named):
        return 3
    if not same_table and _is_key_of(column.name, parent):
        return 3 if abbreviates(number_stem(column.name) or root, named) else 2
    numbered = number_stem(column.name)
    if numbered and parent.primary_key and number_stem(parent.primary_key[0]):
        key = number_stem(parent.primary_key[0])
        if ends_alike(numbered, key) and (alike(key, named) or abbreviates(key, named)):
            return 3  # salesRepEmployeeNumber
    return 0


def _plain(table: Table, schema: Schema) -> list[str]:
    """The words of a table's name without that of the part of the program that it belongs to."""
    named = table_words(table.name)
    return named[1:] if len(named) > 1 and named[0] in namespaces(tuple(schema.tables)) else named


def _is_kin(column: Column, parent: Table) -> bool:
    """Whether a column has the very name of the key of ``parent``, or its name begins like that of the table."""
    said, key = words(column.name), words(parent.primary_key[0])
    if said == key and said[-1:] and said[-1] not in (*KEY_WORDS, "name"):
        return True
    if said[-1:] == ["code"] and column.dtype not in TEXTS:
        return False
    root, is_key = stem(column.name)
    if is_key and abbreviates(root, table_words(parent.name)):
        return True
    measures = any(MEASURES & forms(word) for word in said)
    return not measures and len(said) > 1 and len(said[0]) >= 4 and abbreviates(said[:1], table_words(parent.name))


def _is_key_of(column: str, parent: Table) -> bool:
    """Whether a column has the name of the key of ``parent``, and that name says whose key it is."""
    key = parent.primary_key[0]
    if words(column) != words(key):
        return False
    said = words(key)
    if len(said) > 1 and said[-1] in KEY_WORDS:
        return True
    number = number_stem(key)
    if number:
        return alike(number, table_words(parent.name)) or abbreviates(number, table_words(parent.name))
    return len(said) > 1 and alike(said, table_words(parent.name))
