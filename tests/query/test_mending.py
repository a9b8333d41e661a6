"""What is said to work in place of a query that does not."""

from __future__ import annotations

import pytest

from rdl.errors import QueryError
from rdl.query import read_task
from rdl.query.mending import LONGEST
from tests.query.shop import SHOP


def _refusal(query: str, **parameters: object) -> QueryError:
    with pytest.raises(QueryError) as caught:
        read_task(query, SHOP, parameters=parameters)
    return caught.value


def test_of_a_query_of_several_lines_those_that_change_are_shown() -> None:
    error = _refusal('PREDICT SUM(orders.amont, 0, 7) -- spending\nFOR EACH users.id\nWHERE users.country = "US"\n')
    assert error.corrected == (
        "PREDICT SUM(orders.amount, 0, 7) -- spending\nFOR EACH users.id\nWHERE users.country = 'US'\n"
    )
    shown = "This works: PREDICT SUM(orders.amount, 0, 7) -- spending\n            WHERE users.country = 'US'"
    assert str(error).endswith(shown)


def test_parameters_stay() -> None:
    error = _refusal("PREDICT COUNT(orders.*, 0, :n, dayz) FOR EACH users.id", n=7)
    assert error.corrected == "PREDICT COUNT(orders.*, 0, :n, days) FOR EACH users.id"
    assert _refusal("PREDICT COUNT(orders.*, 0, :n, dayz) FOR EACH users.id").corrected is None


def test_three_mistakes_are_mended_and_four_are_not() -> None:
    three = "PREDICT SUM(order.amont, 0, 7, dayz) FOR EACH users.id"
    assert _refusal(three).corrected == "PREDICT SUM(orders.amount, 0, 7, days) FOR EACH users.id"
    assert _refusal(three.replace("users.id", "usres.id WERE users.age > 3")).corrected is None


@pytest.mark.parametrize(
    "query",
    [
        "PREDICT SUM(orders.amount, 0, 7) > 'high' FOR EACH users.id",  # nothing says which number
        "PREDICT COUNT(*, 0, 7) FOR EACH users.id",  # … which table
        "PREDICT SUM(orders.amount, 0, 7), COUNT(orders.*, 0, 7) FOR EACH users.id",  # … which of the two
        "PREDICT COUNT(items.*, 0, 7) FOR EACH users.id",
    ],
)
def test_what_was_meant_is_not_made_up(query: str) -> None:
    error = _refusal(query)
    assert error.corrected is None
    assert "This works" not in str(error)


def test_nothing_is_tried_on_what_nobody_writes() -> None:
    within = f"PREDICT SUM(orders.amont, 0, 7) FOR EACH users.id WHERE users.bio = '{'x' * LONGEST}'"
    assert _refusal(within).corrected is None


def test_a_name_is_quoted_where_it_must_be() -> None:
    assert _refusal('PREDICT SUM("orders"."amont", 0, 7) FOR EACH users.id').corrected == (
        'PREDICT SUM("orders"."amount", 0, 7) FOR EACH users.id'
    )
