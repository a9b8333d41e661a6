"""Aggregates over windows and functions of values: what each takes, gives and means, its SQL, and an example of each.

The parser, the resolver and the compiler read these tables and :mod:`rdl.query.reference` renders them: what stands
here is all there is. Examples are asked of the sample shop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Type(StrEnum):
    """What an expression's values are, as far as a query cares."""

    number = "number"
    text = "text"
    boolean = "boolean"
    time = "time"
    list = "list"
    unknown = "unknown"


@dataclass(frozen=True, slots=True)
class Example:
    """A query over the sample shop and what it asks; ``parameters`` are the values of its ``:name``, ``after`` is SQL
    that the shop needs first."""

    query: str
    says: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    after: str = ""


@dataclass(frozen=True, slots=True)
class AggregateRule:
    """An aggregate over the rows in a window.

    ``sql`` is DuckDB's, of ``{argument}``, of it as ``{number}``, and of it ``{ordered}`` by time. ``takes`` is None
    where any type will do, ``gives`` None where the value is one of those aggregated. ``nothing`` is the SQL of the
    value over no rows, None where that is unknown. ``stars``: ``table.*`` may stand for a column. ``own``: beyond PQL.
    """

    name: str
    means: str
    sql: str
    example: Example
    takes: Type | None = None
    gives: Type | None = Type.number
    nothing: str | None = None
    stars: bool = False
    own: bool = False


@dataclass(frozen=True, slots=True)
class FunctionRule:
    """A function of values on one row.

    ``takes`` is None where any type will do if all arguments have the same, ``gives`` None where the value has that
    type too. ``arguments`` are the least and the most of them. ``sql`` is DuckDB's of the arguments ``{0}``, … where
    it is not the function's name. ``strict``: NULL where an argument is.
    """

    syntax: str
    means: str
    example: Example
    takes: Type | None = None
    gives: Type | None = None
    arguments: tuple[int, int] = (1, 1)
    sql: str | None = None
    strict: bool = True

    @property
    def name(self) -> str:
        """The function's name."""
        return self.syntax.partition("(")[0]


_KNOWN = "{argument} IS NOT NULL"

_AGGREGATES = (
    AggregateRule(
        "COUNT", "how many rows there are; of a column, how many have a value", "COUNT({argument})",
        Example("PREDICT COUNT(orders.*, 0, 30, days) FOR EACH users.id", "How many orders will a user place?"),
        nothing="0", stars=True,
    ),
    AggregateRule(
        "COUNT_DISTINCT", "how many different values there are; also written `COUNT(DISTINCT …)`",
        "COUNT(DISTINCT {argument})",
        Example(
            "PREDICT COUNT_DISTINCT(orders.item_id, 0, 30, days) FOR EACH users.id",
            "How many different items will a user order?",
        ),
        nothing="0",
    ),
    AggregateRule(
        "SUM", "their sum", "SUM({number})",
        Example("PREDICT SUM(orders.amount, 0, 30, days) FOR EACH users.id", "How much will a user spend?"),
        takes=Type.number, nothing="0",
    ),
    AggregateRule(
        "AVG", "their mean", "AVG({number})",
        Example("PREDICT AVG(reviews.stars, 0, 90, days) FOR EACH users.id", "How many stars will a user give?"),
        takes=Type.number,
    ),
    AggregateRule(
        "MIN", "the least of them; of texts the first in the alphabet, of times the earliest", "MIN({argument})",
        Example(
            "PREDICT MIN(reviews.stars, 0, 90, days) <= 2 FOR EACH items.id",
            "Will anyone be unhappy with an item?",
        ),
        gives=None,
    ),
    AggregateRule(
        "MAX", "the greatest of them", "MAX({argument})",
        Example("PREDICT MAX(orders.amount, 0, 90, days) FOR EACH users.id", "How large will the largest order be?"),
        gives=None,
    ),
    AggregateRule(
        "FIRST", "the value of the earliest row that has one", f"FIRST({{ordered}}) FILTER (WHERE {_KNOWN})",
        Example(
            "PREDICT FIRST(orders.qty, 0, 30, days) FOR EACH users.id",
            "How many pieces will the next order be of?",
        ),
        gives=None,
    ),
    AggregateRule(
        "LAST", "the value of the latest row that has one", f"LAST({{ordered}}) FILTER (WHERE {_KNOWN})",
        Example(
            "PREDICT LAST(orders.status, 0, 90, days) FOR EACH users.id",
            "How will the last order of the next 90 days have ended?",
        ),
        gives=None,
    ),
    AggregateRule(
        "LIST_DISTINCT", "the set of their values, to be ranked or classified",
        f"LIST(DISTINCT {{argument}}) FILTER (WHERE {_KNOWN})",
        Example(
            "PREDICT LIST_DISTINCT(orders.item_id, 0, 30, days) RANK TOP 12 FOR EACH users.id",
            "Which twelve items is a user likeliest to order?",
        ),
        gives=Type.list, nothing="[]",
    ),
    AggregateRule(
        "EXISTS", "whether there is a row; of a column, whether one has a value", "COUNT({argument}) > 0",
        Example("PREDICT EXISTS(reviews.*, 0, 60, days) FOR EACH users.id", "Will a user write a review?"),
        gives=Type.boolean, nothing="FALSE", stars=True, own=True,
    ),
    AggregateRule(
        "STDDEV", "their standard deviation, over n − 1; unknown for one value alone", "STDDEV_SAMP({number})",
        Example("PREDICT STDDEV(orders.amount, 0, 180, days) FOR EACH users.id", "How unlike will a user's orders be?"),
        takes=Type.number, own=True,
    ),
    AggregateRule(
        "MEDIAN", "their median", "MEDIAN({number})",
        Example(
            "PREDICT MEDIAN(orders.amount, 0, 90, days) FOR EACH items.id",
            "How large is a typical order of an item?",
        ),
        takes=Type.number, own=True,
    ),
)  # fmt: skip

_FUNCTIONS = (
    FunctionRule(
        "COALESCE(a, b, …)", "the first that is not NULL",
        Example(
            "PREDICT COALESCE(AVG(reviews.stars, 0, 90), 3) FOR EACH items.id",
            "Where nobody reviews: three stars.",
        ),
        arguments=(1, 99), strict=False,
    ),
    FunctionRule(
        "NULLIF(a, b)", "`a`, but NULL where it equals `b`",
        Example(
            "PREDICT SUM(orders.amount, 0, 90) / NULLIF(COUNT(orders.*, 0, 90), 0) FOR EACH users.id",
            "Spending an order; unknown where there is none.",
        ),
        arguments=(2, 2), strict=False,
    ),
    FunctionRule(
        "GREATEST(a, b, …)", "the greatest, NULLs aside",
        Example(
            "PREDICT GREATEST(SUM(orders.amount, 0, 30) - 50, 0) FOR EACH users.id",
            "Spending beyond the first 50.",
        ),
        arguments=(1, 99), strict=False,
    ),
    FunctionRule(
        "LEAST(a, b, …)", "the least, NULLs aside",
        Example("PREDICT LEAST(COUNT(orders.*, 0, 90), 3) CLASSIFY FOR EACH users.id", "No order, one, two, or more."),
        arguments=(1, 99), strict=False,
    ),
    FunctionRule(
        "ABS(x)", "without its sign",
        Example(
            "PREDICT ABS(SUM(orders.amount, 0, 30) - SUM(orders.amount, -30, 0)) FOR EACH users.id",
            "By how much will spending change?",
        ),
        Type.number, Type.number,
    ),
    FunctionRule(
        "ROUND(x[, digits])", "rounded, to whole numbers or to so many digits",
        Example("PREDICT ROUND(AVG(reviews.stars, 0, 180), 1) FOR EACH items.id", "Stars to a tenth."),
        Type.number, Type.number, (1, 2),
    ),
    FunctionRule(
        "FLOOR(x)", "rounded down",
        Example("PREDICT FLOOR(users.age / 10) CLASSIFY FOR EACH users.id", "In which decade of life is a user?"),
        Type.number, Type.number,
    ),
    FunctionRule(
        "CEIL(x)", "rounded up",
        Example("PREDICT CEIL(SUM(orders.amount, 0, 90) / 100) FOR EACH users.id", "Spending in hundreds begun."),
        Type.number, Type.number,
    ),
    FunctionRule(
        "SQRT(x)", "the square root; NULL below 0",
        Example("PREDICT SQRT(SUM(orders.amount, 0, 30)) FOR EACH users.id", "Spending, large sums drawn in."),
        Type.number, Type.number, sql="CASE WHEN {0} >= 0 THEN SQRT({0}) END",
    ),
    FunctionRule(
        "LN(x)", "the natural logarithm; NULL at and below 0",
        Example("PREDICT LN(1 + SUM(orders.amount, 0, 30)) FOR EACH users.id", "Spending on a logarithmic scale."),
        Type.number, Type.number, sql="CASE WHEN {0} > 0 THEN LN({0}) END",
    ),
    FunctionRule(
        "EXP(x)", "e to the power of x",
        Example(
            "PREDICT SUM(EXP(-impressions.position), 0, 30) FOR EACH items.id",
            "How prominently will an item be shown? Each place further down counts less.",
        ),
        Type.number, Type.number,
    ),
    FunctionRule(
        "POWER(x, y)", "x to the power of y",
        Example("PREDICT SUM(POWER(orders.qty, 2), 0, 90) FOR EACH items.id", "Orders of many pieces, weighed up."),
        Type.number, Type.number, (2, 2),
    ),
    FunctionRule(
        "LOWER(text)", "in small letters",
        Example(
            "PREDICT EXISTS(reviews.* WHERE LOWER(reviews.body) CONTAINS 'love', 0, 180) FOR EACH items.id",
            "Will a review speak of love, however it is spelled?",
        ),
        Type.text, Type.text,
    ),
    FunctionRule(
        "UPPER(text)", "in capital letters",
        Example(
            "PREDICT EXISTS(orders.* WHERE UPPER(orders.status) = 'RETURNED', 0, 90) FOR EACH items.id",
            "Will an item be sent back?",
        ),
        Type.text, Type.text,
    ),
    FunctionRule(
        "LENGTH(text)", "how many characters it has",
        Example(
            "PREDICT COUNT(reviews.* WHERE LENGTH(reviews.body) > 40, 0, 90) FOR EACH items.id",
            "How many long reviews will an item get?",
        ),
        Type.text, Type.number,
    ),
    FunctionRule(
        "YEAR(time)", "its year, in UTC",
        Example(
            "PREDICT EXISTS(orders.*, 0, 30) FOR EACH users.id WHERE YEAR(users.joined_at) = 2022",
            "Will those who joined in 2022 order?",
        ),
        Type.time, Type.number,
    ),
    FunctionRule(
        "MONTH(time)", "its month, 1 to 12",
        Example(
            "PREDICT COUNT(orders.*, 0, 30) FOR EACH items.id WHERE MONTH(items.listed_at) BETWEEN 6 AND 8",
            "How will the items sell that were listed in a summer?",
        ),
        Type.time, Type.number,
    ),
    FunctionRule(
        "DAY(time)", "its day of the month, 1 to 31",
        Example(
            "PREDICT COUNT(orders.* WHERE DAY(orders.created_at) <= 7, 0, 30) FOR EACH users.id",
            "How many orders will a user place in the first week of a month?",
        ),
        Type.time, Type.number,
    ),
    FunctionRule(
        "HOUR(time)", "its hour, 0 to 23",
        Example(
            "PREDICT EXISTS(orders.* WHERE HOUR(orders.created_at) >= 18, 0, 30) FOR EACH users.id",
            "Will a user order in an evening?",
        ),
        Type.time, Type.number,
    ),
)  # fmt: skip

#: Functions over the rows in a window, by name.
AGGREGATES: dict[str, AggregateRule] = {rule.name: rule for rule in _AGGREGATES}
#: Functions of values on one row, by name.
FUNCTIONS: dict[str, FunctionRule] = {rule.name: rule for rule in _FUNCTIONS}


def function_examples() -> Iterator[Example]:
    """The example of every aggregate and function."""
    yield from (rule.example for rule in (*_AGGREGATES, *_FUNCTIONS))
