"""The consecutive windows of a forecast: the target as it is asked at t, one stride later, two strides later, …"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TypeVar

from rdl.clock import Span
from rdl.query.expressions import Aggregate, Expression
from rdl.query.tokens import refuse

Node = TypeVar("Node")

_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


def timeframes(target: Expression, stride: Span, count: int) -> tuple[Expression, ...]:
    """``target`` as it is asked at t, t + ``stride``, … of t, ``count`` times.

    Raises QueryError where a window is measured in days and ``stride`` in months, or the other way round.
    """
    return tuple(_later(target, Span(stride.count * number, stride.unit)) for number in range(count))


def _later(value: Node, by: Span) -> Node:
    """An expression, or a part of one, with every window moved ``by`` ahead."""
    if isinstance(value, tuple):
        return tuple(_later(item, by) for item in value)  # type: ignore[return-value]
    if not isinstance(value, Expression):
        return value
    moved = {slot.name: _later(getattr(value, slot.name), by) for slot in fields(value) if slot.init}
    if isinstance(value, Aggregate):
        moved["start"] = value.start and _sum(value.start, by, value)
        moved["end"] = _sum(value.end, by, value)
    return replace(value, **moved)


def _sum(one: Span, other: Span, window: Aggregate) -> Span:
    if one.unit == other.unit or other.count == 0:
        return Span(one.count + other.count, one.unit)
    if one.count == 0:
        return other
    for lengths, unit in ((_SECONDS, "second"), (_MONTHS, "month")):
        if one.unit in lengths and other.unit in lengths:
            return Span(one.count * lengths[one.unit] + other.count * lengths[other.unit], unit)
    raise refuse(
        "forecast", f"the timeframes are {Span(abs(other.count), other.unit)} apart, this window is measured in "
        f"{one.unit}s", window.place, "measure all of them in days and weeks, or all in months and years.",
    )  # fmt: skip
