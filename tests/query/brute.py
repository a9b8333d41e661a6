"""Labels by brute force: resolved expressions evaluated row by row on lists of Python dicts. Slow and plain."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rdl.clock import to_us
from rdl.query.expressions import (
    Aggregate,
    Arithmetic,
    Between,
    Case,
    ColumnRef,
    Compare,
    Expression,
    Function,
    In,
    IsNull,
    Like,
    Literal,
    Logic,
    Negative,
    Not,
)
from rdl.schema import Relation, Schema

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Tables:
    """Rows by table; each row's time is a datetime in the table's own time column.

    ``strictly``: rows at t itself are in no window that ends there, as where each row is asked about at its own time.
    """

    schema: Schema
    rows: Mapping[str, Sequence[Row]]
    strictly: bool = False
    _below: dict[tuple[str, tuple[Relation, ...]], dict[int, list[tuple[int, int, Row]]]] = field(default_factory=dict)
    _by_key: dict[Relation, dict[tuple[Any, ...], Row]] = field(default_factory=dict)

    def time(self, table: str, row: Row) -> int | None:
        time = self.schema[table].time
        value = row[time.column] if time else None
        return None if value is None else to_us(value)

    def parent(self, relation: Relation, row: Row | None) -> Row | None:
        if row is None or any(row[column] is None for column in relation.key):
            return None
        if relation not in self._by_key:
            rows = self.rows.get(relation.parent, ())
            self._by_key[relation] = {tuple(row[column] for column in relation.referred): row for row in rows}
        return self._by_key[relation].get(tuple(row[column] for column in relation.key))

    def below(self, table: str, relations: tuple[Relation, ...], row: Row) -> list[tuple[int, int, Row]]:
        """The timed rows of ``table`` that reach ``row``, with their times and numbers, oldest first."""
        if (table, relations) not in self._below:
            found: dict[int, list[tuple[int, int, Row]]] = {}
            for number, child in enumerate(self.rows.get(table, ())):
                time, at = self.time(table, child), child
                for relation in relations:
                    at = self.parent(relation, at)  # type: ignore[assignment]
                if at is not None and time is not None:
                    found.setdefault(id(at), []).append((time, number, child))
            self._below[table, relations] = {key: sorted(rows, key=lambda e: e[:2]) for key, rows in found.items()}
        return self._below[table, relations].get(id(row), [])

    def value(self, node: Expression, row: Row, t: int, *, past: bool = False) -> Any:
        """The value of ``node`` on ``row`` at ``t``; None: unknown."""
        of = lambda inner: self.value(inner, row, t, past=past)  # noqa: E731
        match node:
            case Literal(value=value):
                return value
            case ColumnRef(relations=relations, table=table, column=column):
                at: Row | None = row
                for relation in relations:
                    at = self.parent(relation, at)
                    if past and at is not None:
                        known = self.time(relation.parent, at)
                        timed = self.schema[relation.parent].time is not None
                        at = at if not timed or (known is not None and known <= t) else None
                keys = [relation for relation in self.schema.relations_from(table) if relation.key == (column,)]
                dangling = bool(keys) and all(self.parent(key, at) is None for key in keys)
                return None if at is None or dangling else at[column]
            case Aggregate():
                return self.aggregate(node, row, t, past=past)
            case Negative(operand=operand):
                return _strict(lambda a: -a, of(operand))
            case Not(operand=operand):
                return _strict(lambda a: not a, of(operand))
            case Logic(operator=operator, left=left, right=right):
                sides = [of(left), of(right)]
                decisive = operator == "OR"
                return decisive if decisive in sides else None if None in sides else not decisive
            case Arithmetic(operator=operator, left=left, right=right):
                return _strict(_ARITHMETIC[operator], of(left), of(right))
            case Compare(operator=operator, left=left, right=right):
                return _strict(_COMPARE[operator], of(left), of(right))
            case Between(operand=operand, low=low, high=high, negated=negated):
                return _strict(lambda a, b, c: (b <= a <= c) != negated, of(operand), of(low), of(high))
            case In(operand=operand, items=items, negated=negated):
                value, listed = of(operand), [of(item) for item in items]
                if value is None or (value not in listed and None in listed):
                    return None
                return (value in listed) != negated
            case IsNull(operand=operand, negated=negated):
                return (of(operand) is None) != negated
            case Like(test=test, operand=operand, pattern=pattern, negated=negated):
                return _strict(lambda a, b: _LIKE[test](a, b) != negated, of(operand), of(pattern))
            case Case(branches=branches, otherwise=otherwise):
                for when, then in branches:
                    if of(when):
                        return of(then)
                return None if otherwise is None else of(otherwise)
            case Function(name="COALESCE", arguments=arguments):
                return next((value for value in map(of, arguments) if value is not None), None)
            case Function(name="NULLIF", arguments=(one, other)):
                return None if of(one) == of(other) else of(one)
            case Function(name="NUMBER", arguments=(one,)):
                return _strict(float, of(one))
        raise NotImplementedError(node)

    def aggregate(self, node: Aggregate, row: Row, t: int, *, past: bool) -> Any:
        start = None if node.start is None else node.start.after(t)
        end = node.end.after(t)
        values = []
        for time, _, child in self.below(node.table, node.relations, row):
            if not (start is None or start < time) or time > end or (self.strictly and time == end == t):
                continue
            if node.filter is not None and not self.value(node.filter, child, t, past=past):
                continue
            value = True if node.argument is None else self.value(node.argument, child, t, past=past)
            if value is not None:
                values.append(value)
        return _AGGREGATES[node.function](values)


def _strict(function: Any, *values: Any) -> Any:
    return None if None in values else function(*values)


_ARITHMETIC = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b if b else None,
}
_COMPARE = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_LIKE = {
    "LIKE": lambda a, b: re.fullmatch(re.escape(b).replace("%", ".*").replace("_", "."), a, re.DOTALL) is not None,
    "CONTAINS": lambda a, b: b in a,
    "STARTS WITH": lambda a, b: a.startswith(b),
    "ENDS WITH": lambda a, b: a.endswith(b),
}
_AGGREGATES = {
    "COUNT": len,
    "COUNT_DISTINCT": lambda values: len(set(values)),
    "SUM": sum,
    "LIST_DISTINCT": lambda values: sorted(set(values)),
    "EXISTS": bool,
    "AVG": lambda values: sum(values) / len(values) if values else None,
    "MEDIAN": lambda values: statistics.median(values) if values else None,
    "STDDEV": lambda values: statistics.stdev(values) if len(values) > 1 else None,
    "MIN": lambda values: min(values, default=None),
    "MAX": lambda values: max(values, default=None),
    "FIRST": lambda values: values[0] if values else None,
    "LAST": lambda values: values[-1] if values else None,
}
