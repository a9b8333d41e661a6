"""Expressions as asked → expressions that say the same and cost less, or that the compiler needs."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TypeVar

from rdl.query.expressions import Aggregate, ColumnRef, Compare, Expression, Literal, Not, RowRef, walk
from rdl.query.paths import key_of
from rdl.schema import Schema

Node = TypeVar("Node")

#: COUNT(…) compared with a number says whether there is a row …
_SOME = ((">", 0), (">=", 1), ("<>", 0))
#: … or that there is none.
_NONE = (("=", 0), ("<", 1), ("<=", 0))


def ask_existence(node: Node) -> Node:
    """``node`` with EXISTS(…) in place of COUNT(…) > 0 and NOT EXISTS(…) in place of COUNT(…) = 0.

    Whether there is any row in a window is found without counting them, where windows overlap.
    """
    if isinstance(node, tuple):
        return tuple(ask_existence(item) for item in node)  # type: ignore[return-value]
    if not isinstance(node, Expression):
        return node
    same = replace(node, **{slot.name: ask_existence(getattr(node, slot.name)) for slot in fields(node)})
    if isinstance(same, Compare) and isinstance(same.left, Aggregate) and isinstance(same.right, Literal):
        asked = (same.operator, same.right.value)
        counted = same.left.function == "COUNT" and not isinstance(same.right.value, bool)
        if counted and asked in (*_SOME, *_NONE):
            exists = replace(same.left, function="EXISTS")
            return exists if asked in _SOME else Not(exists)  # type: ignore[return-value]
    return same


def list_rows(target: Expression, schema: Schema) -> Expression:
    """The target of a recommendation with row numbers of the table that is ranked in place of its keys."""
    if isinstance(target, Aggregate) and target.argument is not None:
        return replace(target, argument=list_rows(target.argument, schema))
    key = key_of(schema, target) if isinstance(target, ColumnRef) else None
    if not isinstance(target, ColumnRef) or key is None:
        raise TypeError("only a foreign key is ranked")
    return RowRef((*target.relations, key))


def reads_own_row(node: Expression | None) -> bool:
    """Whether ``node`` reads the row at hand itself, or a parent of it, outside every aggregate."""
    return any(isinstance(found, ColumnRef | RowRef) for found in walk(node, into_aggregates=False))


def is_settled(node: Expression | None, schema: Schema, *, past: bool) -> bool:
    """Whether ``node`` says the same of a row at every time t: it has no aggregate inside and, where only the ``past``
    is read, reads columns of that row alone, none known later."""
    return all(
        not isinstance(found, Aggregate)
        and not (
            past and isinstance(found, ColumnRef) and (found.relations or schema[found.table][found.column].known_at)
        )
        for found in walk(node)
    )
