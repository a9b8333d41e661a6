"""The words of the language: clauses, what follows a target, tests, operators, literals, units, and kinds of task.

The parser takes its lists from these tables and :mod:`rdl.query.reference` renders them: what stands here is all there
is. Aggregates and functions stand in :mod:`rdl.query.functions`, errors in :mod:`rdl.query.mistakes`. Examples are
asked of the sample shop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rdl.query.functions import Example, function_examples


@dataclass(frozen=True, slots=True)
class Word:
    """Keywords and what they begin; ``words`` are those it is told by.

    ``otherwise`` says what holds where it is not written. No value begins with the first of ``words``, nor with one
    of ``within``. ``own``: beyond PQL.
    """

    words: str
    syntax: str
    means: str
    example: Example
    otherwise: str = ""
    within: tuple[str, ...] = ()
    own: bool = False


@dataclass(frozen=True, slots=True)
class Test:
    """A test of a value: a condition. ``negated``: NOT may stand before its ``words``.

    ``sql`` is DuckDB's of a text ``{0}`` and a pattern ``{1}``, where it is a test of texts.
    """

    words: str
    syntax: str
    means: str
    example: Example
    negated: bool = True
    sql: str | None = None


@dataclass(frozen=True, slots=True)
class KindRule:
    """A kind of task: the targets that make it one, and what its label is."""

    kind: str
    targets: str
    label: str
    example: Example


@dataclass(frozen=True, slots=True)
class Written:
    """Something spelled without keywords: what it looks like, and what it stands for."""

    form: str
    means: str


#: Each timeframe is a window to aggregate; more than this nobody means.
MOST_TIMEFRAMES = 366

#: What every query has.
OPENING = (
    Word(
        "PREDICT", "PREDICT <target>", "What is to be predicted, of one row of the entity's table at time t.",
        Example("PREDICT SUM(orders.amount, 0, 30, days) FOR EACH users.id", "How much will a user spend in 30 days?"),
    ),
    Word(
        "FOR", "FOR [EACH] <table>[.<primary key>] [IN (…) | = …]",
        "Of which rows it is asked. The key may be left out (＋), so that a table with a composite key, or none, can "
        "be asked about. With IN or =, predictions are made for these alone; training takes all.",
        Example(
            "PREDICT SUM(orders.amount, 0, 30, days) FOR users.id IN (1, 2, 3)",
            "The same, but predicted for three.",
        ),
    ),
)  # fmt: skip

#: What may follow the target.
MODIFIERS = (
    Word(
        "CLASSIFY", "CLASSIFY",
        "The values are classes: of a list, each with a probability; of a number, one of the numbers that occur.",
        Example(
            "PREDICT reviews.stars CLASSIFY FOR EACH reviews.id",
            "Which of one to five stars, not how many on average.",
        ),
        otherwise="a number is a number, unless its column is categorical",
    ),
    Word(
        "RANK", "RANK TOP k", "The k likeliest rows of another table, best first.",
        Example(
            "PREDICT LIST_DISTINCT(impressions.item_id WHERE impressions.clicked, 0, 14) RANK TOP 5 FOR EACH users.id",
            "Which five items will a user click?",
        ),
        within=("TOP",),
    ),
    Word(
        "FORECAST", "FORECAST n TIMEFRAMES",
        "The target once more for each of n windows in a row, each beginning where the one before ends; at most "
        f"{MOST_TIMEFRAMES}.",
        Example(
            "PREDICT SUM(orders.amount, 0, 1, weeks) FORECAST 4 TIMEFRAMES FOR EACH companies.id",
            "What will the people of a company spend in each of the next four weeks?",
        ),
    ),
)  # fmt: skip

#: What may follow the entity, each once, in any order.
CLAUSES = (
    Word(
        "WHERE", "WHERE <condition>",
        "Which rows are asked about at t. It is read with what is known at t, so its windows end at or before 0.",
        Example(
            "PREDICT COUNT(orders.*, 0, 30) = 0 FOR EACH users.id WHERE COUNT(orders.*, -90, 0) > 0",
            "Which active users will order nothing?",
        ),
        otherwise="every row that exists at t",
    ),
    Word(
        "ASSUMING", "ASSUMING <condition>",
        "Keeps only rows whose future fulfils the condition, in training and in every figure; the plan says so.",
        Example(
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id ASSUMING COUNT(impressions.*, 0, 7) > 2",
            "How much will those spend who are shown more than two items in the first week?",
        ),
        otherwise="no assumption",
    ),
    Word(
        "EVERY", "EVERY [n] <unit>", "The distance from one anchor time t to the next.",
        Example(
            "PREDICT COUNT(orders.*, 0, 30) = 0 FOR EACH users.id EVERY 1 week",
            "Asked each week, of the 30 days that follow.",
        ),
        otherwise="the length of the target's window", own=True,
    ),
    Word(
        "SPLIT AT", "SPLIT AT <time>, <time>", "Validation begins at the first time, test at the second.",
        Example(
            "PREDICT COUNT(orders.*, 0, 30) = 0 FOR EACH users.id SPLIT AT '2024-01-01', '2024-04-01'",
            "Tested on everything from April 2024 on.",
        ),
        otherwise="the last two windows; of a target without one, the last two tenths of the rows", own=True,
    ),
    Word(
        "SPLIT BY", "SPLIT BY <table>.<column>",
        "A column of the entity says train, val (valid, validation, dev) or test; it is hidden from the inputs, and "
        "rows with another word are left out. Only for a target without a window.",
        Example(
            "PREDICT users.vip FOR EACH users.id SPLIT BY users.part", "Split as a column says.",
            after="ALTER TABLE users ADD COLUMN part TEXT; UPDATE users SET part = "
            "CASE id % 5 WHEN 3 THEN 'val' WHEN 4 THEN 'test' ELSE 'train' END",
        ),
        otherwise="by time", own=True,
    ),
    Word(
        "HIDE", "HIDE <table>.<column>, …",
        "Columns that are never an input, because the label could be read from them.",
        Example(
            "PREDICT orders.amount FOR EACH orders.id HIDE orders.qty, items.price",
            "What is an order worth? Told without its pieces and their price, whose product it is.",
        ),
        otherwise="what the target itself reads of the row it is asked of", own=True,
    ),
    Word(
        "VIA", "VIA <child>.<foreign key>, …", "The foreign keys to follow where several paths tie.",
        Example(
            "PREDICT COUNT(messages.*, 0, 30) > 0 FOR EACH users.id VIA messages.sender_id",
            "Who will write to somebody? (Not: who will be written to.)",
        ),
        otherwise="the shortest path", own=True,
    ),
    Word(
        "AS OF", "AS OF <time>", "The time at which predictions are made, where `rdl predict --at` does not say it.",
        Example(
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id AS OF '2024-06-15'",
            "Predicted as of the 15th of June.",
        ),
        otherwise="the newest time in the data", own=True,
    ),
)  # fmt: skip

#: What joins conditions, loosest first.
JUNCTIONS = (Written("a OR b", "either"), Written("a AND b", "both"), Written("NOT a", "the opposite"))

#: How a comparison can be written, and how it is kept.
COMPARISONS = {"=": "=", "==": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}

TESTS = (
    Test(
        "IS", "a IS [NOT] NULL", "there is no value",
        Example(
            "PREDICT EXISTS(orders.*, 0, 30) FOR EACH users.id WHERE users.company_id IS NOT NULL",
            "Will those order who work somewhere?",
        ),
        negated=False,
    ),
    Test(
        "IN", "a [NOT] IN (b, c, …)", "it equals one of them; a parameter may stand for the list",
        Example(
            "PREDICT EXISTS(orders.*, 0, 30) FOR EACH users.id WHERE users.country IN ('US', 'GB')",
            "Will users of two countries order?",
        ),
    ),
    Test(
        "BETWEEN", "a [NOT] BETWEEN b AND c", "it is neither below `b` nor above `c`",
        Example(
            "PREDICT COUNT(orders.*, 0, 90) BETWEEN 1 AND 3 FOR EACH users.id",
            "Will a user order one to three times?",
        ),
    ),
    Test(
        "LIKE", "text [NOT] LIKE pattern", "`%` in the pattern stands for any characters, `_` for one; case matters",
        Example(
            "PREDICT EXISTS(orders.*, 0, 30) FOR EACH users.id WHERE users.bio NOT LIKE '%coffee%'",
            "Will users order who do not write of coffee?",
        ),
        sql="{0} LIKE {1}",
    ),
    Test(
        "CONTAINS", "text [NOT] CONTAINS part", "the part occurs in it; of a LIST_DISTINCT: it is one of the values",
        Example(
            "PREDICT LIST_DISTINCT(orders.status, 0, 90) CONTAINS 'returned' FOR EACH users.id",
            "Will a user send something back?",
        ),
        sql="contains({0}, {1})",
    ),
    Test(
        "STARTS WITH", "text [NOT] STARTS WITH part", "it begins so",
        Example(
            "PREDICT COUNT(orders.*, 0, 90) FOR EACH items.id WHERE items.title STARTS WITH 'W'",
            "How often will items of some brands be ordered?",
        ),
        sql="starts_with({0}, {1})",
    ),
    Test(
        "ENDS WITH", "text [NOT] ENDS WITH part", "it ends so",
        Example(
            "PREDICT COUNT(orders.*, 0, 90) FOR EACH items.id WHERE items.title NOT ENDS WITH 'shampoo'",
            "And how often all items but shampoos?",
        ),
        sql="suffix({0}, {1})",
    ),
)  # fmt: skip

#: Arithmetic by how tightly it binds, loosest first.
SUMS, PRODUCTS = ("+", "-"), ("*", "/", "%")

CASE = Word(
    "CASE", "CASE WHEN condition THEN value … [ELSE value] END",
    "the value of the first condition that holds; without ELSE, NULL where none does. `CASE a WHEN b THEN …` compares",
    Example(
        "PREDICT SUM(CASE orders.status WHEN 'returned' THEN 0 ELSE orders.amount END, 0, 30) FOR EACH users.id",
        "Spending that will not be sent back.",
    ),
    within=("WHEN", "THEN", "ELSE", "END"), own=True,
)  # fmt: skip

CONSTANTS: dict[str, bool | None] = {"TRUE": True, "FALSE": False, "NULL": None}

#: Values and names by the kind of token that they are (a symbol: by what it does).
SPELLED = {
    "string": Written("`'text'`", "text; a quote inside is doubled: `'it''s'`"),
    "number": Written("`7`, `0.5`, `1e-3`", "a number; minus goes before it"),
    "date": Written("`2024-01-31`", "midnight UTC of that day; beside a time text is one too: `'2024-01-31T12:00'`"),
    "parameter": Written("`:name`", "a value, or a list of values, that Python hands over"),
    "word": Written("`orders.amount`", "a column, or one through keys: `orders.item_id.price`; case does not matter"),
    "name": Written('`"order"."total"`', "the same with any characters in it; in double quotes or backticks"),
    "comment": Written("`-- …`, `# …`, `/* … */`", "a comment"),
}  # fmt: skip

#: What a unit of time is, by its singular.
UNITS_MEAN = {
    "second": "1 second", "minute": "60 seconds", "hour": "60 minutes", "day": "24 hours; where no unit is written",
    "week": "7 days",
    "month": "to the same day of another month, or to its last day where it is shorter", "quarter": "3 months",
    "year": "12 months",
}  # fmt: skip

#: Words for a window without a start.
INFINITE = ("INF", "INFINITY")

BOUNDS = (
    Written("`0, 30`", "(t, t + 30 days]"),
    Written("`7, 14, days`", "(t + 7 days, t + 14 days]: the second week"),
    Written("`-90, 0`", "(t − 90 days, t]: what has happened lately"),
    Written("`-INF, 0`", "everything up to t"),
    Written("`-7, 1, months`", "across t; only in a target, or in ASSUMING"),
    Written("`0, :days`", "a parameter may stand for a bound"),
)

KINDS = (
    KindRule(
        "binary", "a condition: a comparison, a test, EXISTS, a column of truth values", "0 or 1",
        Example(
            "PREDICT COUNT(orders.*, 0, 30) = 0 FOR EACH users.id WHERE COUNT(orders.*, -90, 0) > 0",
            "Churn: which active users will order nothing?",
        ),
    ),
    KindRule(
        "regression", "a number: an aggregate, arithmetic, a numerical column", "a number",
        Example("PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id", "Value: how much will a user spend?"),
    ),
    KindRule(
        "multiclass", "a text, a categorical column, a number with CLASSIFY; alone or in FIRST, LAST, MIN, MAX",
        "one of the values that training has",
        Example("PREDICT users.country FOR EACH users.id", "Country: where is somebody from who joins?"),
    ),
    KindRule(
        "multilabel", "LIST_DISTINCT of a column, with CLASSIFY", "a set of the values that training has",
        Example(
            "PREDICT LIST_DISTINCT(orders.status, 0, 90) CLASSIFY FOR EACH users.id",
            "Outcomes: what will become of a user's orders?",
        ),
    ),
    KindRule(
        "recommendation", "LIST_DISTINCT of a foreign key, or a row's own foreign key (＋), with RANK TOP k",
        "a set of rows of the table that the key refers to",
        Example(
            "PREDICT LIST_DISTINCT(orders.item_id, 0, 30) RANK TOP 12 FOR EACH users.id "
            "WHERE COUNT(orders.*, -90, 0) > 0",
            "Next items: what will an active user order?",
        ),
    ),
    KindRule(
        "forecast", "a number over a window, with FORECAST n TIMEFRAMES", "n numbers",
        Example(
            "PREDICT COUNT(orders.*, 0, 7) FORECAST 4 TIMEFRAMES FOR EACH items.id",
            "Demand: how often will an item be ordered in each of four weeks?",
        ),
    ),
)  # fmt: skip

#: Words that begin or join clauses, so that no value starts with them (a table of that name is quoted or dotted).
RESERVED = (
    *(word.words.split()[0] for word in (*OPENING, *MODIFIERS, *CLAUSES)),
    *(inner for word in (*MODIFIERS, CASE) for inner in word.within),
    "AND", "OR", *(test.words.split()[0] for test in TESTS),
)  # fmt: skip


def examples() -> Iterator[Example]:
    """Every example, of words, tests, kinds and functions."""
    for word in (*OPENING, *MODIFIERS, *CLAUSES, CASE, *TESTS, *KINDS):
        yield word.example
    yield from function_examples()
