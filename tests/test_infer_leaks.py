"""What inference suspects to tell the future: aggregates over later rows, outcomes, gaps in the newest rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest

from rdl import schema_file
from rdl.infer import Proposal, apply, propose, suggestions
from rdl.schema import Stype
from tests.memory import MemoryReader
from tests.test_infer import moments, reflect

USERS, ORDERS = 60, 400
DRAW = np.random.default_rng(0)
OWNER = DRAW.integers(0, USERS, ORDERS)
AMOUNT = DRAW.integers(1, 900, ORDERS) / 100


def leaks(tables: Mapping[str, pa.Table]) -> list[Proposal]:
    proposals = propose(MemoryReader(tables, rows_a_batch=100), reflect(tables))
    return [proposal for proposal in proposals if proposal.kind == "leak"]


def shop(**columns: object) -> dict[str, pa.Table]:
    """Users who joined before their orders, with further ``columns``."""
    return {
        "users": pa.table({"id": range(USERS), "joined_at": moments(*range(USERS)), **columns}),
        "orders": pa.table({
            "id": range(ORDERS), "user_id": OWNER, "created_at": moments(*range(100, 100 + ORDERS)),
            "amount": AMOUNT, "items": DRAW.integers(1, 9, ORDERS),
        }),
    }  # fmt: skip


def each(values: Sequence[float], how: str) -> list[float]:
    """An aggregate of the values of each user's orders."""
    return [float(getattr(np, how)(np.asarray(values)[user == OWNER])) for user in range(USERS)]


def last_order() -> pa.Array:
    return moments(*[100 + int(np.flatnonzero(user == OWNER).max()) for user in range(USERS)])


def test_what_later_rows_add_up_to() -> None:
    counts = np.bincount(OWNER, minlength=USERS)
    found = leaks(shop(
        n=counts, spent=each(AMOUNT, "sum"), top=each(AMOUNT, "max"), low=each(AMOUNT, "min"),
        basket=each(AMOUNT, "mean"), last_order_at=last_order(), age=DRAW.integers(18, 90, USERS),
    ))  # fmt: skip
    said = {str(proposal.column): proposal.evidence for proposal in found}
    for column, aggregate in [
        ("n", "the number"), ("spent", "the sum of amount"), ("top", "the largest amount"),
        ("low", "the smallest amount"), ("basket", "the mean of amount"),
    ]:  # fmt: skip
        assert said[column].startswith(
            f"equals {aggregate} of its orders (orders.user_id → users.id) in 100.0% of rows"
        )
    assert "last_order_at" not in said  # no input at all, for it is overwritten
    assert "age" not in said
    assert all(proposal.suggested and proposal.value is Stype.unsupported for proposal in found)


@pytest.mark.parametrize("off", [0.02, 0.2])
def test_a_few_disagreements_are_forgiven(off: float) -> None:
    counts = np.bincount(OWNER, minlength=USERS)
    counts[: int(off * USERS)] += 3
    assert [proposal.column for proposal in leaks(shop(n=counts))] == (["n"] if off < 0.05 else [])


def test_lines_that_come_with_their_order_are_known_with_it() -> None:
    order = [n for n in range(100) for _ in range(n % 3 + 2)]
    amount = [float(n * 37 % 91) for n in range(len(order))]
    totals = np.bincount(order, amount)
    tables = {
        "orders": pa.table({"id": range(100), "created_at": moments(*range(100)), "total": totals}),
        "lines": pa.table({"id": range(len(order)), "order_id": order, "amount": amount}),
    }
    assert leaks(tables) == []
    later = pa.table({**{name: tables["lines"][name] for name in ("id", "order_id", "amount")},
                      "entered_at": moments(*[n + 5 for n in order])})  # fmt: skip
    assert [proposal.column for proposal in leaks({**tables, "lines": later})] == ["total"]


def test_the_number_of_replies() -> None:
    parent = [None if n < 40 else int(DRAW.integers(0, n // 2)) for n in range(300)]
    replies = np.bincount([one for one in parent if one is not None], minlength=300)
    posts = {"id": range(300), "parent_id": parent, "created_at": moments(*range(300)), "reply_count": replies}
    assert [proposal.what for proposal in leaks({"posts": pa.table(posts)})] == [
        "posts.reply_count may tell the future"
    ]  # fmt: skip


def test_children_that_are_hardly_more_than_one_prove_nothing() -> None:
    tables = {
        "users": pa.table({"id": range(100), "joined_at": moments(*range(100)), "age": list(range(20, 120))}),
        "visits": pa.table({
            "id": range(100), "user_id": range(100), "at": moments(*range(200, 300)), "old": list(range(20, 120)),
        }),
    }  # fmt: skip
    assert leaks(tables) == []


def test_the_copy_of_a_price_is_no_aggregate() -> None:
    price = DRAW.integers(1, 90, USERS)
    tables = shop(price=price)
    tables["orders"] = tables["orders"].append_column("price", pa.array(price[OWNER]))
    assert leaks(tables) == []


ROWS = 2000


def loans(**columns: object) -> dict[str, pa.Table]:
    return {"loans": pa.table({"id": range(ROWS), "created_at": moments(*range(ROWS)), **columns})}


def test_what_is_empty_in_the_newest_rows() -> None:
    late = [None if n > 1850 or n % 7 == 0 else n % 5 for n in range(ROWS)]
    ever = [None if n % 4 == 0 else n % 5 for n in range(ROWS)]
    new = [None if n < 1850 else n % 5 for n in range(ROWS)]
    found = leaks(loans(score=late, mood=ever, version=new))
    assert [proposal.column for proposal in found] == ["score"]
    assert found[0].evidence.startswith("NULL in 78% of the newest tenth of rows and in 14% of the others")


def test_states_and_outcomes() -> None:
    state = ["new" if n > 1900 else ("ok", "bad")[n % 2] for n in range(ROWS)]
    always = [("a", "b", "c")[n % 3] for n in range(ROWS)]
    found = leaks(
        loans(status=state, stage=always, outcome=always, defaulted=[n % 2 == 0 for n in range(ROWS)], region=always)
    )
    assert [proposal.column for proposal in found] == ["status", "outcome", "defaulted"]


def test_what_is_known_later_is_no_suspect() -> None:
    done = [None if n > 1900 else n + 20 for n in range(ROWS)]
    tables = loans(closed_at=moments(*done), outcome=[None if day is None else "x" * (day % 3 + 1) for day in done])
    assert leaks(tables) == []


def test_timeless_tables_and_few_rows_say_nothing() -> None:
    tables = {
        "a": pa.table({"id": range(ROWS), "outcome": ["x", "y"] * 1000}),
        "b": loans(outcome=["x", "y"] * 1000)["loans"][:90],
    }
    assert leaks(tables) == []


def test_a_suspect_is_a_comment_that_takes_the_column_away() -> None:
    tables = shop(n=np.bincount(OWNER, minlength=USERS))
    schema = reflect(tables)
    proposals = propose(MemoryReader(tables, rows_a_batch=100), schema)
    applied = apply(schema, proposals)
    assert applied["users"]["n"].stype is not Stype.unsupported
    text = schema_file.write(applied, schema, {}, suggestions(applied, proposals))
    assert schema_file.merge(schema, text) == applied
    used = text.replace('# n = {stype = "unsupported"}', 'n = {stype = "unsupported"}')
    assert used != text
    assert schema_file.merge(schema, used)["users"]["n"].stype is Stype.unsupported
