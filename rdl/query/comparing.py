"""Which values can be compared, and what is said of those that cannot."""

from __future__ import annotations

import re
from dataclasses import replace

from rdl.clock import to_datetime, to_us
from rdl.errors import ConfigError, QueryError
from rdl.query.expressions import Call, Expression, Literal, Name, walk
from rdl.query.functions import Type
from rdl.query.tokens import Place, refuse

Typed = tuple[Expression, Type]


def literal_type(value: object) -> Type:
    """The type of a literal's value."""
    if isinstance(value, bool):
        return Type.boolean
    if value is None:
        return Type.unknown
    return Type.number if isinstance(value, int | float) else Type.text if isinstance(value, str) else Type.time


def to_time(node: Expression, kind: Type) -> Typed:
    """A text literal beside a time, as that time."""
    if not (isinstance(node, Literal) and isinstance(node.value, str)):
        return node, kind
    try:
        return replace(node, value=to_datetime(to_us(node.value))), Type.time
    except ConfigError as error:
        raise refuse("not-a-time", error.message, node.place, error.hint) from None


def are_comparable(one: Typed, other: Typed) -> bool:
    """Whether two values may stand beside a comparison: of one type, or a truth value beside 0 or 1."""
    kinds = {one[1], other[1]} - {Type.unknown}
    if len(kinds) <= 1:
        return Type.list not in kinds
    literals = [node.value for node, _ in (one, other) if isinstance(node, Literal)]
    return kinds == {Type.boolean, Type.number} and all(value in (0, 1) for value in literals)


def unlike(one: Typed, other: Typed, place: Place) -> QueryError:
    """The error for two values, as written, of types that cannot be compared."""
    (left, left_kind), (right, right_kind) = one, other
    expected, found = with_article(left_kind), with_article(right_kind)
    message = f"{expected} compared with {found}: {written(left)} is {expected}"
    if not isinstance(right, Literal):
        return refuse("types-differ", f"{message}, {written(right)} is {found}", place)
    hint, instead = f"write {expected}.", _literal_of(left_kind, right.place.snippet)
    if left_kind is Type.list:
        hint = f"write {written(left)} CONTAINS {right.place.snippet}."
    if left_kind is Type.text and instead:
        hint = f"write {instead[0]} for text."
    elif instead:
        hint = f"write {expected}: {instead[0]}."
    return refuse("types-differ", f"{message}, {written(right)} is not", right.place, hint, instead)


def _literal_of(kind: Type, snippet: str) -> tuple[str, ...]:
    """A literal of ``kind`` that says what ``written`` says as one of another; none where there is none."""
    bare = snippet.strip("'")
    if kind is Type.text:
        return (f"'{bare}'",) if snippet == bare else ()
    if kind is Type.number:
        return (bare,) if re.fullmatch(r"-?\d+(\.\d+)?", bare) else ()
    if kind is Type.boolean:
        known = {"true": "TRUE", "yes": "TRUE", "1": "TRUE", "false": "FALSE", "no": "FALSE", "0": "FALSE"}
        return (known[bare.lower()],) if bare.lower() in known else ()
    day = re.fullmatch(r"([12]\d{3})(?:(\d\d)(\d\d))?", bare)
    return (f"'{day[1]}-{day[2] or '01'}-{day[3] or '01'}'",) if kind is Type.time and day else ()


def compared(node: Expression, kind: Type) -> tuple[str, ...]:
    """A column of numbers as a condition."""
    return (f"{node.place.snippet} > 0",) if isinstance(node, Name) and kind is Type.number else ()


def one_type(kinds: list[Typed], place: Place) -> Type:
    """The type that all values have. Raises QueryError where two differ."""
    known = [(node, kind) for node, kind in kinds if kind is not Type.unknown]
    for node, kind in known[1:]:
        if kind is not known[0][1]:
            raise unlike(known[0], (node, kind), place)
    return known[0][1] if known else Type.unknown


def with_article(kind: Type) -> str:
    """``kind`` in a sentence."""
    return kind if kind in (Type.text, Type.unknown) else f"a {'truth value' if kind is Type.boolean else kind}"


def place_of(node: Expression) -> Place:
    """The place of the leftmost thing in ``node``."""
    return min((inner.place for inner in walk(node) if inner.place.snippet), default=node.place, key=_order)


def _order(place: Place) -> tuple[int, int]:
    return place.line, place.column


def written(node: Expression) -> str:
    """What stands in the query, in short."""
    if isinstance(node, Literal):
        return node.place.snippet
    if isinstance(node, Call):
        return f"{node.function}(…)"
    return str(node) if isinstance(node, Name) else "this"
