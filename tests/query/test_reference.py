"""The reference queries: what each is, or why it is refused and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from rdl.errors import QueryError
from rdl.query import read_task
from tests.query.shop import SHOP


def _lines(name: str) -> list[tuple[str, str]]:
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    pairs = [line.split("\t") for line in text.splitlines() if line]
    return [(first, query) for first, query in pairs]


# What refused.tsv says in its first column → the kind of error, words its text has, and what is underlined.
REFUSALS = {
    "unknown table, nearest name users": ("unknown-table", ["'user'", "users"], "user.id"),
    "unknown column, nearest name amount": ("unknown-column", ["'amont'", "amount"], "orders.amont"),
    "unknown column": ("unknown-column", ["'price'", "orders.item_id.price"], "orders.price"),
    "entity is not a primary key; use users.id": ("not-a-primary-key", ["primary key", "use users.id"], "users.age"),
    "* belongs to COUNT and EXISTS alone": ("star", ["* belongs to COUNT and EXISTS alone"], "orders.*"),
    "SUM needs a number, orders.status is text": (
        "not-a-number", ["SUM needs a number, orders.status is text"], "orders.status"
    ),
    "text compared with a number": ("types-differ", ["text compared with a number", "'5'"], "5"),
    "IN needs a list": ("in-without-list", ["IN needs a list"], "'US'"),
    "window start is not before its end": ("empty-window", ["start 7", "not before its end 0"], "7"),
    "the target looks back only: nothing to predict": ("looks-back", ["looks back only: nothing to predict"], "COUNT"),
    "the filter looks ahead": ("looks-ahead", ["the filter looks ahead"], "COUNT"),
    "no path: items are not children of users": ("no-path", ["items are not children of users"], "items.*"),
    "companies has no time column": ("no-time", ["companies has no time column"], "companies.*"),
    "two paths: VIA messages.sender_id or VIA messages.receiver_id": (
        "tied-paths", ["two paths", "VIA messages.sender_id or VIA messages.receiver_id"], "messages.*"
    ),
    "RANK needs LIST_DISTINCT": ("rank-without-list", ["RANK needs LIST_DISTINCT"], "RANK"),
    "TOP needs RANK": ("top-without-rank", ["TOP needs RANK"], "TOP"),
    "say RANK TOP k or CLASSIFY": ("list-without-rank", ["say RANK TOP k or CLASSIFY"], "LIST_DISTINCT"),
    "k must be at least 1": ("bad-count", ["k", "must be at least 1"], "0"),
    "LIST_DISTINCT of the table's own key": ("own-key", ["LIST_DISTINCT of the table's own key"], "LIST_DISTINCT"),
    "an aggregate over time needs a window": ("no-window", ["an aggregate over time needs a window"], "COUNT"),
    "nothing to predict: the entity's own key": ("own-key", ["nothing to predict: the entity's own key"], "users.id"),
    "free text is not a target": ("free-text", ["free text is not a target"], "users.bio"),
    "orders.amount has many values for each user: aggregate it": (
        "many-values", ["orders.amount has many values", "users", "aggregate it"], "orders.amount"
    ),
    "FORECAST needs a number over a window": ("forecast", ["FORECAST needs a number over a window"], "FORECAST"),
    "unknown aggregate TOTAL": ("unknown-aggregate", ["unknown aggregate TOTAL"], "TOTAL"),
    "expected FOR EACH": ("expected-for-each", ["expected FOR EACH", "the end of the query"], ""),
    "expected a target": ("expected-target", ["expected a target"], "FOR"),
    "expected a value after >": ("expected-value", ["expected a value after >"], "FOR"),
    "not a predictive query": ("not-a-query", ["not a predictive query"], "SELECT"),
    "unknown unit fortnights": ("unknown-unit", ["unknown unit fortnights"], "fortnights"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "query"), _lines("accepted.tsv"))
def test_accepted_query_is_the_task_it_says(kind: str, query: str) -> None:
    task = read_task(query, SHOP)
    assert task.kind == kind
    assert task.source == query
    assert task.row_level == (task.horizon is None)


@pytest.mark.parametrize(("reason", "query"), _lines("refused.tsv"))
def test_refused_query_says_why_and_where(reason: str, query: str) -> None:
    kind, words, underlined = REFUSALS[reason]
    with pytest.raises(QueryError) as caught:
        read_task(query, SHOP)
    error = caught.value
    assert error.kind == kind
    for word in words:
        assert word in str(error)
    assert error.snippet == underlined
    assert error.line == 1
    assert query[error.column - 1 :].startswith(underlined)


def test_the_copies_are_the_reference() -> None:
    reference = Path(__file__).resolve().parents[3] / "shared" / "queries"
    if not reference.is_dir():
        pytest.skip(f"the reference queries are not there: {reference}")
    for name in ("accepted.tsv", "refused.tsv"):
        assert _lines(name) == [tuple(line.split("\t")) for line in (reference / name).read_text().splitlines() if line]
