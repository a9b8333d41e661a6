"""The future is really deleted; and where a part of rdl looked into it, the comparison says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rdl import aggregates, clock, features, labels, sampler
from rdl.audit.inputs import Checked, Inputs
from rdl.audit.past import Past
from rdl.audit.rebuild import _source, moments, rebuilt
from rdl.errors import DatabaseError
from rdl.query import read_task
from rdl.schema import Relation, Schema
from rdl.snapshot import Snapshot
from tests.labels.sample import sample_shop
from tests.query.memory import snapshot_of
from tests.query.shop import SHOP

CHURN = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id WHERE COUNT(orders.*, -90, 0, days) > 0"
CLICK = "PREDICT impressions.clicked FOR EACH impressions.id"


def _with_late(*columns: str) -> Schema:
    """The shop's schema where ``columns`` of orders are known when these are delivered."""
    orders = SHOP["orders"]
    late = tuple(replace(one, known_at="delivered_at") if one.name in columns else one for one in orders.columns)
    return Schema({**SHOP.tables, "orders": replace(orders, columns=late)}, SHOP.relations)


@pytest.fixture(scope="module")
def shop() -> Iterator[Snapshot]:
    with snapshot_of(_with_late("status", "delivered_at"), sample_shop()) as snapshot:
        yield snapshot


def _rebuilt(query: str, snapshot: Snapshot) -> Checked:
    task = read_task(query, snapshot.schema)
    return rebuilt(task, labels.compute(task, snapshot).table, Inputs(task, snapshot.schema), snapshot)


def test_the_past_holds_what_was_known(shop: Snapshot) -> None:
    at = clock.to_us("2022-06-01")
    past = Past(shop, at, frozenset({("orders", "qty")}))
    left = past.read("orders").read_all().to_pylist()
    rows = shop.arrow("orders").to_pylist()
    kept = [row for row in rows if clock.to_us(row["created_at"]) <= at]
    assert 0 < len(kept) < len(rows)
    for row in kept:
        if row["delivered_at"] is None or clock.to_us(row["delivered_at"]) > at:
            row["status"] = row["delivered_at"] = None
        if clock.to_us(row["created_at"]) == at:
            row["qty"] = None
    assert left == kept
    assert past.count("orders") == len(kept)
    assert past.read("companies").read_all() == shop.arrow("companies")
    assert past.read("orders", ["id"], limit=3).read_all().column_names == ["id"]
    since = past.read("orders", ["id"], since=("created_at", clock.to_us("2022-01-01"))).read_all()
    assert since["id"].to_pylist() == [row["id"] for row in kept if row["created_at"].year == 2022]
    assert Past(shop).read("orders").read_all() == shop.arrow("orders")
    with pytest.raises(DatabaseError, match="can only be read"):
        past.write("scores", shop.arrow("users"))


@pytest.mark.parametrize(
    "query",
    [
        CHURN, CLICK, "PREDICT AVG(reviews.stars, 0, 60) FOR EACH items.id",
        "PREDICT orders.amount > 20 FOR EACH orders.id", "PREDICT reviews.stars FOR EACH reviews.id",
    ],
)  # fmt: skip
def test_nothing_changes_with_the_future(query: str, shop: Snapshot) -> None:
    found = _rebuilt(query, shop)
    assert found.findings == ()
    assert "later rows deleted" in found.looked


ORDERS = "PREDICT orders.qty FOR EACH orders.id"


@pytest.mark.parametrize("query", [CHURN, ORDERS, "PREDICT AVG(reviews.stars, 0, 60) FOR EACH items.id"])
def test_nothing_changes_with_keys_that_are_filled_in_later(query: str) -> None:
    with snapshot_of(_with_late("status", "user_id", "item_id"), sample_shop()) as snapshot:
        assert _rebuilt(query, snapshot).findings == ()


@pytest.mark.parametrize("query", [CHURN, ORDERS])
def test_keys_followed_before_they_are_known_are_caught(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(self: Snapshot, relation: Relation) -> clock.Times:
        return np.full(self.num_rows[relation.child], clock.ALWAYS)

    monkeypatch.setattr(Snapshot, "linked", at_once)
    with snapshot_of(_with_late("user_id", "item_id"), sample_shop()) as snapshot:
        found = _rebuilt(query, snapshot).findings
    evidence = " ".join(one.evidence for one in found)
    assert "which of its rows are sampled" in evidence
    assert "aggregate" in evidence


def test_no_seed_is_asked_after_its_moment(shop: Snapshot) -> None:
    for query in (CHURN, CLICK):
        task = read_task(query, shop.schema)
        table = labels.compute(task, shop).table
        found = list(moments(task, table))
        assert len(found) == 3
        for moment in found:
            assert (moment.seeds.time <= moment.at_us).all()
            assert moment.seeds.time.max() == moment.at_us
            assert moment.fitted_at_us <= table.val_cut
        assert found[-1].at_us >= table.test_cut > found[0].at_us


def test_a_sampler_without_its_time_test_is_caught(shop: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_rows(self: Any, table: str, *, strictly: bool) -> torch.Tensor:
        return torch.full((len(self.seeds),), len(self.graph.time[table]))

    monkeypatch.setattr(sampler._Sampling, "_limit", all_rows)
    found = {one.what: one for one in _rebuilt(CHURN, shop).findings}
    assert "orders" in found
    assert "which of its rows are sampled" in found["orders"].evidence


def test_aggregates_without_their_cut_are_caught(shop: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    def uncut(owner: Any, time: Any, asked: Any, cut: Any) -> Any:
        return ranges(owner, time, asked, np.full(len(cut), clock.NEVER - 1))

    ranges = aggregates.Ranges
    monkeypatch.setattr(aggregates, "Ranges", uncut)
    found = {one.what: one for one in _rebuilt(CHURN, shop).findings}
    assert {"orders", "orders.amount", "messages"} <= set(found)
    assert "aggregate" in found["orders.amount"].evidence
    assert str(found["orders.amount"].fix) == "HIDE orders.amount"


def test_statistics_of_all_rows_are_caught(shop: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = features.fit
    monkeypatch.setattr(features, "fit", lambda snapshot, cut, hidden=(): fit(snapshot, clock.NEVER - 1, hidden))
    found = {one.what for one in _rebuilt(CHURN, shop).findings}
    assert {"orders.amount", "users.age"} <= found


def test_a_column_read_before_it_is_known_is_caught(shop: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    def unmasked(*words: Any) -> Any:
        return {name: replace(one, late={}) for name, one in fit(*words).items()}

    fit = features.fit
    monkeypatch.setattr(features, "fit", unmasked)
    found = {one.what for one in _rebuilt(CHURN, shop).findings}
    assert "orders.status" in found


def test_the_label_of_a_seed_itself_is_deleted_too(shop: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    from rdl.audit import sampled

    cells = sampled._cells
    monkeypatch.setattr(sampled, "_cells", lambda part, graph, name, masked: cells(part, graph, name, set()))
    assert {one.what for one in _rebuilt(CLICK, shop).findings} == {"impressions.clicked"}


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("age", ("users", "age")),
        ("joined_at (days ago)", ("users", "joined_at")),
        ("day of week", ("users", None)),
        ("company_id.size", ("companies", "size")),
        ("orders[user_id] count, all", ("orders", None)),
        ("orders[user_id].amount mean, 30 days", ("orders", "amount")),
        ("orders[user_id].item_id.price last", ("items", "price")),
        ("orders[user_id]←reviews[order_id].stars share 1, all", ("reviews", "stars")),
        ("company_id.users[company_id]←orders[user_id].status distinct", ("orders", "status")),
        ("orders[user_id]:last.item_id.impressions[item_id] days since last", ("impressions", None)),
        ("orders[user_id].item_id distinct", ("orders", "item_id")),
    ],
)
def test_an_aggregate_is_traced_to_its_column(name: str, cell: tuple[str, str | None], shop: Snapshot) -> None:
    assert _source(read_task(CHURN, shop.schema), shop, name) == cell
