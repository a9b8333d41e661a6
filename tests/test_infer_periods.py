"""What inference says of the end of rows: ``valid_until``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest

from rdl import schema_file
from rdl.infer import Proposal, apply, propose, suggestions
from tests.memory import MemoryReader
from tests.test_infer import days, moments, reflect

OPEN = dt.datetime(9999, 12, 31, 23, 59, 59, 999999)


def ends(tables: Mapping[str, pa.Table]) -> list[Proposal]:
    proposals = propose(MemoryReader(tables, rows_a_batch=1000), reflect(tables))
    return [proposal for proposal in proposals if proposal.kind == "valid_until"]


def said(table: str, columns: Mapping[str, object]) -> list[tuple[str, bool]]:
    """The ends found in a table, and whether each is only suggested."""
    return [(str(end.value), end.suggested) for end in ends({table: pa.table(columns)})]


def prices(gap: int = 0, last: dt.datetime | None = None, **names: str) -> dict[str, object]:
    """Forty products of four prices each, every one for thirty days, the next ``gap`` days after the one before."""
    begin = [n % 7 + (30 + gap) * step for n in range(40) for step in range(4)]
    until = moments(*[None if n % 4 == 3 else day + 30 for n, day in enumerate(begin)]).to_pylist()
    columns = {
        "id": range(160),
        "product_id": [n // 4 for n in range(160)],
        "start_date": moments(*begin),
        "end_date": pa.array([end or last for end in until], pa.timestamp("us")),
        "price": [float(n % 90) for n in range(160)],
    }
    return {names.get(name, name): values for name, values in columns.items()}


def test_rows_that_follow_on_one_another() -> None:
    found = ends({"history": pa.table(prices())})
    assert [(end.what, end.suggested) for end in found] == [("history.valid_until = end_date", False)]
    assert found[0].evidence == (
        "in 100% of 120 cases the next row of the same product_id begins where one ended; "
        "never before start_date, open in 25% of 160 rows"
    )
    assert said("history", prices(last=OPEN)) == [("end_date", False)]
    assert said("history", prices(last=dt.datetime(9999, 1, 1))) == [("end_date", False)]
    assert said("history", prices(gap=1)) == [("end_date", False)]  # through the 30th, from the 31st
    assert said("history", prices(start_date="period_lower", end_date="period_upper")) == [("period_upper", False)]


def test_rows_with_gaps_between_them_are_what_happened() -> None:
    assert said("rentals", prices(gap=9)) == []
    assert said("rentals", prices(gap=9, end_date="returned_at")) == []
    assert said("rentals", prices(gap=9, start_date="rental_period_lower", end_date="rental_period_upper")) == []
    assert said("histories", prices(gap=-9)) == []


def test_a_column_that_does_not_end_anything_by_its_name() -> None:
    assert said("history", prices(end_date="paid_at")) == []


ROWS = 400


def lasting(name: str, share: float = 0.3, early: float = 0.0) -> dict[str, object]:
    """Rows of which ``share`` have an end, and ``early`` one before they begin."""
    draw = np.random.default_rng(0)
    ended = draw.random(ROWS) < share
    after = np.where(draw.random(ROWS) < early, -5, draw.integers(1, 300, ROWS))
    end = [int(day) if over else None for day, over in zip(np.arange(ROWS) + after, ended, strict=True)]
    return {"id": range(ROWS), "created_at": moments(*range(ROWS)), name: moments(*end), "plan": ["a", "b"] * 200}


@pytest.mark.parametrize(("table", "name", "expected"), [
    ("users", "deleted_at", [("deleted_at", False)]),
    ("posts", "deletion_date", [("deletion_date", False)]),
    ("coupons", "valid_to", [("valid_to", False)]),
    ("rates", "effective_end_date", [("effective_end_date", False)]),
    ("rates", "sys_period_upper", [("sys_period_upper", False)]),
    ("subscriptions", "ended_at", [("ended_at", True)]),
    ("employees", "termination_date", [("termination_date", True)]),
    ("memberships", "expires_at", [("expires_at", True)]),
    ("tickets", "closed_at", []),
    ("orders", "returned_at", []),
    ("orders", "delivered_at", []),
    ("loans", "due_date", []),
])  # fmt: skip
def test_names(table: str, name: str, expected: list[tuple[str, bool]]) -> None:
    assert said(table, lasting(name)) == expected
    assert said(table, lasting(name, early=0.05)) == []


def test_few_ends_prove_nothing() -> None:
    assert said("users", lasting("deleted_at", share=0.02)) == []


def test_where_nothing_is_open_a_name_is_not_enough() -> None:
    assert said("coupons", lasting("valid_to", share=1.0)) == [("valid_to", True)]
    assert said("users", lasting("deleted_at", share=1.0)) == [("deleted_at", True)]


def test_an_end_is_known_when_it_has_come_and_proposed_once() -> None:
    tables = {"users": pa.table(lasting("deleted_at"))}
    schema = reflect(tables)
    proposals = propose(MemoryReader(tables, rows_a_batch=1000), schema)
    assert not any(proposal.kind == "known_at" for proposal in proposals)
    applied = apply(schema, proposals)
    assert applied["users"].valid_until == "deleted_at"
    text = schema_file.write(
        applied, schema, {p.subject: p.evidence for p in proposals}, suggestions(applied, proposals)
    )
    assert 'valid_until = "deleted_at" # named as when the row was deleted' in text
    assert schema_file.merge(schema, text) == applied


def test_a_suggested_end_is_a_comment_in_the_schema_file() -> None:
    tables = {"subscriptions": pa.table(lasting("ended_at"))}
    schema = reflect(tables)
    proposals = propose(MemoryReader(tables, rows_a_batch=1000), schema)
    applied = apply(schema, proposals)
    text = schema_file.write(applied, schema, {}, suggestions(applied, proposals))
    assert applied["subscriptions"].valid_until is None
    assert schema_file.merge(schema, text) == applied
    used = text.replace('# valid_until = "ended_at"', 'valid_until = "ended_at"')
    assert schema_file.merge(schema, used)["subscriptions"].valid_until == "ended_at"


def test_dates() -> None:
    begin = [30 * step for _ in range(40) for step in range(4)]
    columns = {
        "code": [f"k{n // 4}" for n in range(160)],
        "from_date": days(*begin),
        "to_date": days(*[d + 29 for d in begin]),
    }
    assert said("salaries", columns) == [("to_date", False)]
