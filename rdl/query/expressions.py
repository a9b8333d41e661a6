"""What a query says, as a small tree of frozen nodes.

The parser writes :class:`Name` and :class:`Call`; resolution on a schema replaces them by :class:`ColumnRef` and
:class:`Aggregate`. Every node knows its place in the text; places take no part in equality.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from rdl.clock import Span
from rdl.query.tokens import Place
from rdl.schema import Relation

Value = bool | int | float | str | dt.datetime | None

_NOWHERE = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """Any node."""

    place: Place = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Literal(Expression):
    """A value. A datetime has no zone and is UTC."""

    value: Value


@dataclass(frozen=True, slots=True)
class ListLiteral(Expression):
    """Values in parentheses."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Name(Expression):
    """A dotted name as written; ``orders.*`` is ``starred``, and its last part ``*``."""

    parts: tuple[str, ...]
    starred: bool = False

    def __str__(self) -> str:
        return ".".join(self.parts)


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """A function as written: an aggregate over a window, or a function of values."""

    function: str
    arguments: tuple[Expression, ...]
    filter: Expression | None = None
    start: int | None = None
    end: int | None = None
    unit: str | None = None
    windowed: bool = False


@dataclass(frozen=True, slots=True)
class ColumnRef(Expression):
    """A column of the row at hand, or of the row reached from it through ``relations`` (each child → parent)."""

    relations: tuple[Relation, ...]
    table: str
    column: str


@dataclass(frozen=True, slots=True)
class RowRef(Expression):
    """The row number, in the last parent, of the row reached from the row at hand through ``relations``."""

    relations: tuple[Relation, ...]


@dataclass(frozen=True, slots=True)
class Aggregate(Expression):
    """``function`` over the rows of ``table`` in the window (t + start, t + end] that reach the row at hand.

    ``relations`` leads from ``table`` up to the row at hand; ``argument`` is None for ``*``; ``start`` is None
    for -INF. ``argument`` and ``filter`` are read on a row of ``table``.
    """

    function: str
    table: str
    relations: tuple[Relation, ...]
    argument: Expression | None
    filter: Expression | None
    start: Span | None
    end: Span


@dataclass(frozen=True, slots=True)
class Negative(Expression):
    """Minus ``operand``."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Not(Expression):
    """NOT ``operand``."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Arithmetic(Expression):
    """``left`` + - * / % ``right``; dividing by zero gives NULL."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Compare(Expression):
    """``left`` = <> < <= > >= ``right``; with NULL on either side the result is NULL."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Logic(Expression):
    """``left`` AND / OR ``right``."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class In(Expression):
    """``operand`` [NOT] IN ``items``."""

    operand: Expression
    items: tuple[Expression, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Like(Expression):
    """``operand`` [NOT] LIKE, CONTAINS, STARTS WITH or ENDS WITH (``test``) ``pattern``; case matters."""

    test: str
    operand: Expression
    pattern: Expression
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Between(Expression):
    """``operand`` [NOT] BETWEEN ``low`` AND ``high``, both included."""

    operand: Expression
    low: Expression
    high: Expression
    negated: bool = False


@dataclass(frozen=True, slots=True)
class IsNull(Expression):
    """``operand`` IS [NOT] NULL."""

    operand: Expression
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Case(Expression):
    """CASE WHEN condition THEN value … ELSE ``otherwise`` END."""

    branches: tuple[tuple[Expression, Expression], ...]
    otherwise: Expression | None = None


@dataclass(frozen=True, slots=True)
class Function(Expression):
    """A function of values on one row, such as COALESCE."""

    name: str
    arguments: tuple[Expression, ...]


def children(node: Expression) -> Iterator[Expression]:
    """The expressions directly inside ``node``."""
    for slot in fields(node):
        yield from _expressions(getattr(node, slot.name))


def _expressions(value: object) -> Iterator[Expression]:
    if isinstance(value, Expression):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _expressions(item)


def walk(node: Expression | None, *, into_aggregates: bool = True) -> Iterator[Expression]:
    """``node`` and everything below it, outermost first; nothing below an aggregate unless ``into_aggregates``."""
    if node is None:
        return
    yield node
    if into_aggregates or not isinstance(node, Aggregate):
        for child in children(node):
            yield from walk(child, into_aggregates=into_aggregates)


def aggregates(node: Expression | None, *, nested: bool = True) -> tuple[Aggregate, ...]:
    """The aggregates in ``node``, outermost first; those inside others only where ``nested``."""
    return tuple(found for found in walk(node, into_aggregates=nested) if isinstance(found, Aggregate))


def own_columns(node: Expression | None) -> tuple[ColumnRef, ...]:
    """The columns that ``node`` reads on the row at hand or through its keys, outside every aggregate."""
    return tuple(found for found in walk(node, into_aggregates=False) if isinstance(found, ColumnRef))
