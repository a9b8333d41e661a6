"""What inference says was known later than its row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rdl import schema_file
from rdl.database import open_reader
from rdl.errors import SchemaError
from rdl.infer import Proposal, apply, propose
from rdl.schema import Relation, Schema
from rdl.shop import build_shop
from tests.memory import MemoryReader
from tests.test_infer import days, moments, reflect

ROWS = 600


def late(
    tables: Mapping[str, pa.Table], relations: Sequence[Relation] = (), sample_rows: int = 100_000
) -> list[Proposal]:
    schema = reflect(tables, relations, dict.fromkeys(tables, ("id",)))
    proposals = propose(MemoryReader(tables, rows_a_batch=1000), schema, sample_rows=sample_rows)
    return [proposal for proposal in proposals if proposal.kind == "known_at"]


def said(tables: Mapping[str, pa.Table], relations: Sequence[Relation] = ()) -> dict[str, str]:
    return {str(proposal.column): str(proposal.value) for proposal in late(tables, relations)}


def orders(delay: int = 40, **more: object) -> dict[str, pa.Table]:
    """``ROWS`` orders, one a day, of which those of the last days are not delivered yet; each takes up to ``delay``
    days. ``more`` are columns."""
    took = np.random.default_rng(0).integers(1, delay + 1, ROWS)
    done = np.arange(ROWS) + took
    is_open = done >= ROWS
    columns = {
        "id": list(range(ROWS)),
        "created_at": moments(*range(ROWS)),
        "delivered_at": moments(*[None if missing else int(day) for missing, day in zip(is_open, done, strict=True)]),
        "status": np.where(is_open, "open", np.where(took % 5 == 0, "returned", "ok")).tolist(),
    }
    return {"orders": pa.table(columns | more)}


def is_open(tables: Mapping[str, pa.Table]) -> list[bool]:
    return [value is None for value in tables["orders"]["delivered_at"].to_pylist()]


def test_a_delivery_and_the_status_that_tells_of_it() -> None:
    tables = orders(200)
    time, status = late(tables)
    opened = sum(is_open(tables))
    assert time.what == "orders.delivered_at known at delivered_at"
    assert time.evidence == (
        f"later than the row in 100% of {ROWS - opened} rows, earlier in 0.0%, NULL in {opened}; "
        "named as something that happened"
    )
    assert status.what == "orders.status known at delivered_at"
    assert status.evidence.startswith("'open' in ")
    assert " rows whose delivered_at is NULL, 'ok', 'returned' in " in status.evidence
    facts = json.loads(json.dumps(status.to_json()))
    assert (facts["kind"], facts["column"], facts["value"]) == ("known_at", "status", "delivered_at")


@pytest.mark.parametrize("name", ["due_date", "expected_delivery", "required_date", "valid_until", "scheduled_at"])
def test_a_plan_was_known_from_the_beginning(name: str) -> None:
    tables = {"orders": orders()["orders"].rename_columns(["id", "created_at", name, "status"])}
    assert said(tables) == {}


def test_a_name_that_tells_nothing_needs_gaps_in_the_newest_rows() -> None:
    columns = ["id", "created_at", "chat_date", "status"]
    found = late({"orders": orders()["orders"].rename_columns(columns)})
    assert [proposal.column for proposal in found] == ["chat_date", "status"]
    assert "in the newest tenth of rows in" in found[0].evidence
    always = {"id": range(ROWS), "created_at": moments(*range(ROWS))}
    anywhere = np.random.default_rng(1).random(ROWS) < 0.2
    gaps = [None if gap else row + 5 for row, gap in enumerate(anywhere)]
    assert said({"orders": pa.table(always | {"chat_date": moments(*gaps)})}) == {}
    ahead = [row + 900 if row < ROWS - 60 else None for row in range(ROWS)]
    assert said({"orders": pa.table(always | {"chat_date": moments(*ahead)})}) == {}


def test_times_before_the_row_were_known_with_it() -> None:
    base = {"id": range(ROWS), "created_at": moments(*range(ROWS))}
    before = moments(*[row - 3 if row % 20 == 0 else row + 3 for row in range(ROWS)])
    same = moments(*range(ROWS))
    assert said({"orders": pa.table(base | {"paid_at": before})}) == {}
    assert said({"orders": pa.table(base | {"paid_at": same})}) == {}
    assert said({"orders": pa.table(base | {"paid_at": moments(*range(1, ROWS + 1))})}) == {"paid_at": "paid_at"}


def test_dates_are_compared_by_day() -> None:
    noon = pa.array([value.replace(hour=12) for value in moments(*range(ROWS)).to_pylist()])
    shipped = days(*[row + row % 2 for row in range(ROWS)])  # at midnight of the row's day, or of the next
    tables = {"orders": pa.table({"id": range(ROWS), "created_at": noon, "shipped_date": shipped})}
    assert said(tables) == {"shipped_date": "shipped_date"}


def test_what_is_filled_or_empty_with_the_time_goes_with_it() -> None:
    opened = is_open(orders())
    tables = orders(
        rating=[None if missing else row % 5 for row, missing in enumerate(opened)],
        tracking=[f"T{row}" if missing else None for row, missing in enumerate(opened)],
        is_delivered=[not missing for missing in opened],
        comment=[None if missing or row % 3 else f"words {row}" for row, missing in enumerate(opened)],
        coupon=[f"C{row}" if row % 3 else None for row in range(ROWS)],
        amount=[float(row % 97) for row in range(ROWS)],
        country=[("nl", "de", "fr")[row % 3] for row in range(ROWS)],
    )
    names = ("delivered_at", "status", "rating", "tracking", "is_delivered")
    assert said(tables) == dict.fromkeys(names, "delivered_at")  # too few open orders to be sure of ``comment``
    opened = is_open(orders(200))
    tables = orders(200, comment=[None if missing or row % 3 else "good" for row, missing in enumerate(opened)])
    assert said(tables) == dict.fromkeys(("delivered_at", "status", "comment"), "delivered_at")


def test_a_few_disagreements_are_forgiven_and_more_are_not() -> None:
    tables = orders(400)
    assert sum(is_open(tables)) > 150
    status = tables["orders"]["status"].to_pylist()
    places = [row for row, value in enumerate(status) if value == "ok"]
    for wrong, expected in ((1, {"status"}), (10, set())):
        wronged = list(status)
        for row in places[-wrong:]:
            wronged[row] = "open"
        changed = tables["orders"].set_column(3, "status", pa.array(wronged))
        assert set(said({"orders": changed})) == {"delivered_at"} | expected


def test_few_rows_prove_nothing() -> None:
    tables = orders(10)
    assert sum(is_open(tables)) < 20
    assert said(tables) == {"delivered_at": "delivered_at"}
    assert said({"orders": orders()["orders"].slice(0, 15)}) == {}


def test_what_is_new_about_the_newest_rows_is_not_taken_for_what_has_not_happened() -> None:
    opened = is_open(orders())
    first = opened.index(True)
    tables = orders(
        month=[f"{row // 30:02}" for row in range(ROWS)],
        version=["old" if row < first else "new" for row in range(ROWS)],
        legacy=[row if row < first else None for row in range(ROWS)],
    )
    assert set(said(tables)) == {"delivered_at", "status"}


def test_random_columns_are_not_proposed() -> None:
    draw = np.random.default_rng(3)
    columns = {f"c{size}": draw.integers(0, size, ROWS).astype(str).tolist() for size in (2, 10, 60, 100_000)}
    columns |= {f"n{n}": [None if draw.random() < n / 10 else "x" for _ in range(ROWS)] for n in range(1, 10)}
    assert set(said(orders(200, **columns))) == {"delivered_at", "status"}


def test_of_several_times_the_one_that_agrees_best_then_the_latest() -> None:
    rows = range(ROWS)
    shipped = [None if row >= ROWS - 30 else row + 1 for row in rows]
    delivered = [None if row >= ROWS - 60 or row % 7 == 0 else row + 2 for row in rows]
    steps = zip(shipped, delivered, strict=True)
    status = ["open" if sent is None else "gone" if there is None else "there" for sent, there in steps]
    tables = {
        "orders": pa.table({
            "id": rows, "created_at": moments(*rows), "delivered_at": moments(*delivered),
            "shipped_at": moments(*shipped), "status": status,
            "carrier": [None if day is None else "post" for day in shipped],
        })
    }  # fmt: skip
    found = said(tables)
    assert found["status"] == "delivered_at"  # tells both exactly
    assert found["carrier"] == "shipped_at"


def test_keys_and_what_is_said_already_stand() -> None:
    opened = is_open(orders())
    tables = orders(invoice_id=[None if missing else row for row, missing in enumerate(opened)])
    tables["invoices"] = pa.table({"id": range(ROWS)})
    assert "invoice_id" not in said(tables)
    schema = reflect(orders(), keys={"orders": ("id",)})
    table = schema["orders"]
    columns = tuple(replace(c, known_at="created_at") if c.name == "status" else c for c in table.columns)
    schema = Schema({"orders": replace(table, columns=columns)})
    found = propose(MemoryReader(orders(), rows_a_batch=1000), schema)
    assert [proposal.column for proposal in found if proposal.kind == "known_at"] == ["delivered_at"]


def test_a_time_through_a_key() -> None:
    whole = orders()["orders"]
    lines = whole.drop_columns(["created_at"]).append_column("order_id", pa.array(range(ROWS)))
    tables = {"lines": lines, "orders": whole.select(["id", "created_at"])}
    relation = Relation("lines", ("order_id",), "orders", ("id",))
    assert said(tables, [relation]) == {"delivered_at": "delivered_at", "status": "delivered_at"}


def test_a_sample_of_old_rows_is_not_enough() -> None:
    found = late(orders(), sample_rows=100)
    assert [proposal.column for proposal in found] == ["delivered_at", "status"]


def test_apply_and_the_schema_file() -> None:
    schema = reflect(orders(), keys={"orders": ("id",)})
    found = propose(MemoryReader(orders(), rows_a_batch=1000), schema)
    applied = apply(schema, found)
    assert applied["orders"]["status"].known_at == applied["orders"]["delivered_at"].known_at == "delivered_at"
    assert applied["orders"]["created_at"].known_at is None
    text = schema_file.write(applied, schema, {proposal.subject: proposal.evidence for proposal in found})
    line = next(line for line in text.splitlines() if line.startswith("status"))
    for evidence in (proposal.evidence for proposal in found if proposal.column == "status"):
        assert evidence in line  # of its type and of when it was known
    assert schema_file.merge(schema, text) == applied
    with pytest.raises(SchemaError, match="delivered"):
        apply(schema, [Proposal("known_at", "orders", "delivered", "", column="status")])
    with pytest.raises(SchemaError, match="state"):
        apply(schema, [Proposal("known_at", "orders", "delivered_at", "", column="state")])


def of_database(url: str) -> set[str]:
    reader = open_reader(url)
    proposals = propose(reader, reader.reflect())
    reader.close()
    return {proposal.what for proposal in proposals if proposal.kind == "known_at"}


def test_the_sample_shop(tmp_path: Path) -> None:
    build_shop(tmp_path / "shop.duckdb", scale=0.2)
    assert of_database(f"duckdb:///{tmp_path / 'shop.duckdb'}") == {
        "orders.delivered_at known at delivered_at", "orders.status known at delivered_at",
    }  # fmt: skip


@pytest.mark.parametrize(("database", "expected"), [
    ("dumps/sqlite/northwind", {"Orders.ShippedDate known at ShippedDate"}),
    ("f1", set()), ("ml_100k", set()), ("mind_5k", set()), ("beauty", set()), ("worldcup", set()),
    ("dumps/sqlite/Chinook_Sqlite", set()),
])  # fmt: skip
def test_real_databases(shared_data: Path, database: str, expected: set[str]) -> None:
    assert of_database(f"sqlite:///{shared_data / database}.sqlite") == expected
