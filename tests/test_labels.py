"""Labels against brute force, RelBench, and what the language promises of anchors, splits and what is dropped."""

from __future__ import annotations

import datetime as dt
import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl import labels
from rdl.clock import US_PER_DAY, Span, to_datetime, to_us
from rdl.errors import QueryError
from rdl.labels.running import connected
from rdl.plan import plan as plan_of
from rdl.query import Task, read_manifest, read_task
from rdl.query.anchors import lay_anchors
from rdl.schema import Schema, TimePath
from rdl.snapshot import Snapshot
from tests.query.brute import Tables
from tests.query.memory import snapshot_of
from tests.query.shop import DAY, SHOP, START, Rows, plain_rows

CUTS = "SPLIT AT '2024-01-16', '2024-01-24'"


# --- brute force --------------------------------------------------------------------------------------------------


def _days(most: int = 40) -> st.SearchStrategy[dt.datetime]:
    """Times on a coarse grid, so that rows often fall exactly on an anchor or on a window's end."""
    return st.integers(0, most * 2).map(lambda halves: START + halves * DAY / 2)


def _maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def _table(
    columns: dict[str, st.SearchStrategy[Any]], least: int, most: int
) -> st.SearchStrategy[list[dict[str, Any]]]:
    rows = st.lists(st.fixed_dictionaries(columns), min_size=least, max_size=most)
    return rows.map(lambda found: [{"id": number, **row} for number, row in enumerate(found)])


@st.composite
def shops(draw: st.DrawFn) -> Rows:
    """A few users, items, orders and reviews, with NULLs, keys that dangle, and times that tie."""
    number = st.integers(0, 4)
    key = st.integers(0, 3)
    text = st.sampled_from(["ok", "lost", "a%b"])
    rows = {
        "companies": draw(_table({"name": _maybe(text), "size": _maybe(number)}, 1, 2)),
        "users": draw(_table({
            "company_id": _maybe(key), "country": _maybe(text), "age": _maybe(number), "vip": _maybe(st.booleans()),
            "bio": _maybe(text), "joined_at": _days(10),
        }, 2, 3)),
        "categories": draw(_table({"parent_id": _maybe(key), "name": _maybe(text)}, 1, 2)),
        "items": draw(_table({
            "category_id": _maybe(key), "title": _maybe(text), "price": _maybe(number.map(float)),
            "listed_at": _days(20),
        }, 1, 3)),
        "orders": draw(_table({
            "user_id": key, "item_id": key, "qty": _maybe(number), "amount": _maybe(number.map(float)),
            "status": _maybe(text), "delivered_at": _maybe(_days()), "created_at": _days(),
        }, 3, 14)),
        "reviews": draw(_table({
            "order_id": key, "stars": _maybe(number), "body": _maybe(text), "created_at": _days(),
        }, 1, 6)),
    }  # fmt: skip
    # The newest row is always there, so that the last window is covered.
    rows["orders"].append({**rows["orders"][0], "id": 99, "created_at": START + 41 * DAY})
    rows["reviews"].append({**rows["reviews"][0], "id": 99, "created_at": START + 41 * DAY})
    return rows


TARGETS = [
    "COUNT(orders.*, 0, 7) = 0",
    "COUNT(orders.amount, 0, 7)",
    "SUM(orders.amount * orders.qty, 0, 7)",
    "SUM(orders.amount, 3, 7) / NULLIF(COUNT(orders.*, 0, 7), 0)",
    "SUM(orders.amount, 0, 7) / COUNT(orders.*, -7, 0)",
    "COUNT_DISTINCT(orders.item_id, 0, 8)",
    "AVG(orders.amount, 0, 7)",
    "STDDEV(orders.amount, 0, 7)",
    "MEDIAN(orders.amount, 0, 7)",
    "MIN(orders.amount, 0, 7) <= 2",
    "MAX(orders.qty, -INF, 7) - MIN(orders.qty, -7, 7)",
    "FIRST(orders.qty, 0, 7)",
    "LAST(orders.status, 0, 7) = 'ok'",
    "NOT EXISTS(orders.*, 0, 7)",
    "COUNT(orders.* WHERE orders.amount > 1 AND orders.status = 'ok', 0, 7)",
    "COUNT(orders.* WHERE items.price > 1, 0, 7)",
    "SUM(orders.amount * items.price, 0, 7)",
    "COUNT(orders.* WHERE orders.item_id.category_id.name <> 'ok', 0, 7)",
    "COUNT(orders.* WHERE COUNT(reviews.*, -7, 3) > 0, 0, 7)",
    "SUM(CASE WHEN orders.status IN ('ok', 'a%b') THEN orders.amount ELSE 1 END, 0, 1, week)",
    "COUNT(reviews.*, 0, 7)",
    "SUM(orders.amount, 0, 7) BETWEEN 1 AND 4 OR users.vip",
    "SUM(COALESCE(orders.amount, -1), 0, 7) > users.age",
    "COUNT(orders.* WHERE orders.status CONTAINS '%' OR orders.status IS NULL, 0, 7)",
    "SUM(users.vip + orders.qty, 0, 7)",
]
FILTERS = [
    "",
    "WHERE COUNT(orders.*, -9, 0) > 0",
    "WHERE COUNT(orders.*, -9, 0) > 0 AND users.country NOT IN ('lost')",
    "WHERE COUNT(orders.* WHERE items.price > 1, -INF, 0) = 0 OR users.age > 2",
    "WHERE companies.size > 1 OR users.company_id IS NULL",
    "WHERE users.joined_at > '2024-01-03' AND users.country NOT LIKE 'x%' OR users.bio STARTS WITH 'o'",
    "WHERE LAST(orders.status, -20, -2) = 'ok' AND NOT users.vip",
    "ASSUMING COUNT(orders.*, 0, 7) > 0",
]


def _expected(task: Task, rows: Rows, anchors: tuple[int, ...], key: str = "id") -> dict[tuple[int, int], float]:
    tables, found = Tables(SHOP, rows), {}
    for t in anchors:
        for row in rows[task.entity]:
            known = tables.time(task.entity, row)
            if known is None or known > t or (task.where and not tables.value(task.where, row, t, past=True)):
                continue
            if task.assuming is not None and not tables.value(task.assuming, row, t):
                continue
            assert task.target is not None
            value = tables.value(task.target, row, t)
            if value is not None:
                found[row[key], t] = float(value)
    return found


def _found(task: Task, snapshot: Snapshot) -> dict[tuple[int, int], float]:
    table = labels.compute(task, snapshot).table
    keys = snapshot.keys(task.entity, table.entity).column(0).to_pylist()
    assert len(set(zip(keys, table.time.tolist(), strict=True))) == len(table)
    return dict(zip(zip(keys, table.time.tolist(), strict=True), table.target.tolist(), strict=True))


def _agree(found: dict[tuple[int, int], float], expected: dict[tuple[int, int], float]) -> None:
    assert found.keys() == expected.keys()
    for seed, value in expected.items():
        assert math.isclose(found[seed], value, abs_tol=1e-9), seed


@st.composite
def questions(draw: st.DrawFn) -> str:
    """A question about users, with cuts that every generated shop covers."""
    every = draw(st.sampled_from(["1 day", "3 days", "1 week"]))
    target, kept = draw(st.sampled_from(TARGETS)), draw(st.sampled_from(FILTERS))
    return f"PREDICT {target} FOR EACH users.id {kept} EVERY {every} {CUTS}"


@settings(max_examples=8, deadline=None)
@given(shops(), st.lists(questions(), min_size=6, max_size=6))
def test_labels_agree_with_brute_force(rows: Rows, asked: list[str]) -> None:
    with snapshot_of(SHOP, rows) as snapshot:
        for query in asked:
            task = read_task(query, SHOP)
            times = [row["created_at"] for row in rows["reviews" if "PREDICT COUNT(reviews" in query else "orders"]]
            timeline = lay_anchors(task, to_us(min(times)), to_us(max(times)))
            _agree(_found(task, snapshot), _expected(task, rows, timeline.all))
            t = timeline.test[0]
            eligible = {row for row, _ in _expected(replace(task, target=_true(), assuming=None), rows, (t,))}
            keys = snapshot.keys("users", labels.seeds_at(task, snapshot, t)).column(0).to_pylist()
            assert set(keys) == eligible


def _true() -> Any:
    target = read_task("PREDICT users.id IS NOT NULL FOR EACH users.id", SHOP).target
    assert target is not None
    return target


@settings(max_examples=6, deadline=None)
@given(shops(), st.sampled_from(["SUM(orders.amount, 0, 7)", "COUNT(orders.*, 0, 7) > 1", "MAX(reviews.stars, 0, 9)"]))
def test_several_hops_agree_with_brute_force(rows: Rows, target: str) -> None:
    """Companies have no time: each is asked about at every anchor."""
    task = read_task(f"PREDICT {target} FOR EACH companies.id {CUTS}", SHOP)
    with snapshot_of(SHOP, rows) as snapshot:
        times = [row["created_at"] for row in rows["reviews" if "reviews" in target else "orders"]]
        anchors = lay_anchors(task, to_us(min(times)), to_us(max(times))).all
        tables, expected = Tables(SHOP, rows), {}
        for t in anchors:
            for row in rows["companies"]:
                assert task.target is not None
                value = tables.value(task.target, row, t)
                expected.update({(row["id"], t): float(value)} if value is not None else {})
        _agree(_found(task, snapshot), expected)


@settings(max_examples=10, deadline=None)
@given(shops(), st.sampled_from(["", "WHERE COUNT(reviews.*, -9, 0) > 0", "WHERE items.price > 1"]))
def test_row_level_labels_agree_with_brute_force(rows: Rows, kept: str) -> None:
    """Each row's own time is t; other rows count only where they are strictly older."""
    task = read_task(f"PREDICT orders.amount > 1 FOR EACH orders.id {kept} {CUTS}", SHOP)
    tables, expected = Tables(SHOP, rows, strictly=True), {}
    for row in rows["orders"]:
        t = to_us(row["created_at"])
        if row["amount"] is None:
            continue
        if task.where is not None and not tables.value(task.where, row, t, past=True):
            continue
        expected[row["id"], t] = float(row["amount"] > 1)
    with snapshot_of(SHOP, rows) as snapshot:
        _agree(_found(task, snapshot), expected)


# --- anchors, splits, what is lost --------------------------------------------------------------------------------


@pytest.fixture
def plain() -> Iterator[Snapshot]:
    with snapshot_of(SHOP, plain_rows()) as snapshot:
        yield snapshot


def test_default_anchors_are_the_last_two_windows_and_back(plain: Snapshot) -> None:
    plan = plan_of(read_task("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id", SHOP), plain)
    assert plan.cuts == {"val": to_us(START + 46 * DAY), "test": to_us(START + 53 * DAY)}
    assert plan.anchors == {"train": 6, "val": 1, "test": 1}
    assert plan.rows == {"train": 6, "val": 1, "test": 2}
    table = labels.build(read_task("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id", SHOP), plain)
    assert table.target.tolist() == [7.0] * 8 + [0.0]
    assert [to_datetime(time) for time in table.time[:6]] == [START + day * DAY for day in range(4, 40, 7)]


def test_training_labels_end_before_validation(plain: Snapshot) -> None:
    for every in ("1 day", "5 days", "1 month"):
        task = read_task(f"PREDICT COUNT(orders.*, 0, 10) FOR EACH users.id EVERY {every}", SHOP)
        table = labels.build(task, plain)
        assert task.horizon is not None
        for split, end in (("train", table.val_cut), ("val", table.test_cut), ("test", to_us(START + 60 * DAY))):
            part = table.of(split)
            assert max((task.horizon.after(int(time)) for time in part.time), default=0) <= end


def test_uncovered_windows_are_censored(plain: Snapshot) -> None:
    task = read_task(
        "PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id EVERY 1 day SPLIT AT '2024-02-01', '2024-02-11'", SHOP
    )
    plan = plan_of(task, plain)
    # Validation: 10 days hold 4 anchors with a whole week. Test: 20 days of data hold 13 anchors, the end included.
    assert (plan.anchors["val"], plan.anchors["test"]) == (4, 13)
    assert plan.censored == 6 + 7


@pytest.mark.parametrize("cuts", ["'2050-01-01', '2051-01-01'", "'1950-01-01', '1951-01-01'"])
def test_no_label_is_told_from_no_data(cuts: str, plain: Snapshot) -> None:
    """A window after the last row, or an anchor before the first, is no window without rows: nobody knows."""
    task = read_task(f"PREDICT COUNT(orders.*, 0, 7) = 0 FOR EACH users.id EVERY 1 week SPLIT AT {cuts}", SHOP)
    start, end = to_us(START), to_us(START + 60 * DAY)
    timeline = lay_anchors(task, start, end)
    assert all(start <= anchor and anchor + 7 * US_PER_DAY <= end for anchor in timeline.all)
    assert timeline.censored > 1_000
    late = read_task("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id SPLIT AT '2024-03-01', '2024-03-20'", SHOP)
    assert plan_of(late, plain).rows["val"] == 0


def test_months_follow_the_calendar() -> None:
    task = read_task("PREDICT COUNT(orders.*, 0, 1, month) FOR EACH users.id", SHOP)
    timeline = lay_anchors(task, to_us("2023-10-01"), to_us("2024-03-31"))
    assert [to_datetime(time).date().isoformat() for time in timeline.all] == [
        "2023-10-29", "2023-11-29", "2023-12-29", "2024-01-29", "2024-02-29",
    ]  # fmt: skip
    assert Span(1, "month").after(timeline.val_cut) <= timeline.test_cut


def test_unknown_labels_are_dropped_and_counted(plain: Snapshot) -> None:
    plan = plan_of(read_task("PREDICT AVG(orders.amount, 0, 7) FOR EACH users.id", SHOP), plain)
    assert plan.dropped == 1  # the user who never ordered, at the last anchor
    assert plan.rows["test"] == 1
    assert plan.balance["train"] == {"mean": 1.0, "min": 1.0, "median": 1.0, "max": 1.0}


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("PREDICT COUNT(orders.*, 0, 7) > 100 FOR EACH users.id", "no-positives"),
        ("PREDICT COUNT(orders.*, 0, 7) > 0 FOR EACH users.id", "one-class"),
        ("PREDICT AVG(orders.amount, 0, 7) FOR EACH users.id WHERE users.age > 99", "no-rows"),
        ("PREDICT SUM(orders.amount, 0, 90) FOR EACH users.id", "no-rows"),
        ("PREDICT COUNT(reviews.*, 0, 7) FOR EACH users.id", "no-rows"),
        ("PREDICT LIST_DISTINCT(orders.item_id, 0, 7) RANK TOP 3 FOR EACH users.id", "no-positives"),
        ("PREDICT LIST_DISTINCT(orders.status WHERE orders.qty > 1, 0, 7) CLASSIFY FOR EACH users.id", "no-positives"),
        ("PREDICT users.country FOR EACH users.id", "one-class"),
        ("PREDICT FIRST(orders.status, 0, 7) FOR EACH users.id", "one-class"),
        ("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id EVERY 1 second", "anchors"),
        ("PREDICT COUNT(orders.*, 0, 9000, years) FOR EACH users.id", "anchors"),
    ],
)
def test_nothing_to_learn_is_refused(query: str, kind: str, plain: Snapshot) -> None:
    with pytest.raises(QueryError) as caught:
        labels.build(read_task(query, SHOP), plain)
    assert caught.value.kind == kind
    assert "line 1" not in str(caught.value)


def test_plan_warns_where_build_refuses(plain: Snapshot) -> None:
    plan = plan_of(read_task("PREDICT COUNT(orders.*, 0, 7) > 100 FOR EACH users.id", SHOP), plain)
    assert plan.balance == {"train": 0.0, "val": 0.0, "test": 0.0}
    told = " / ".join(plan.warnings)
    for part in ("train has one class only", "no positive at all", "only 6 rows", "companies, categories"):
        assert part in told


def test_plan_is_json(plain: Snapshot) -> None:
    task = read_task("PREDICT COUNT(orders.*, 0, 7) > 0 FOR EACH users.id HIDE users.vip", SHOP)
    found = plan_of(task, plain).to_json()
    assert json.loads(json.dumps(found)) == found
    promised = {"kind", "entity", "sql", "anchors", "rows", "balance", "dropped", "censored", "hidden", "warnings"}
    assert promised < set(found)
    assert found["hidden"] == ["users.vip"]
    assert found["path"] == ["orders.user_id → users.id"]
    with plain.connect() as connection:
        assert connection.execute(str(found["sql"])).fetchall()


def test_row_level_default_cuts_take_the_last_rows(plain: Snapshot) -> None:
    table = labels.build(read_task("PREDICT orders.amount FOR EACH orders.id", SHOP), plain)
    assert [len(table.of(split)) for split in ("train", "val", "test")] == [48, 6, 7]
    assert table.of("train").time.max() < table.val_cut <= table.of("val").time.min()


def test_row_level_split_at_is_half_open(plain: Snapshot) -> None:
    task = read_task("PREDICT orders.amount FOR EACH orders SPLIT AT '2024-02-01', '2024-02-02'", SHOP)
    table = labels.build(task, plain)
    assert [to_datetime(time) for time in table.of("val").time] == [dt.datetime(2024, 2, 1)]
    assert to_datetime(table.of("test").time[0]) == dt.datetime(2024, 2, 2)


def test_table_without_times_is_split_by_a_fixed_hash() -> None:
    rows: Rows = {"companies": [{"id": n, "name": "x", "size": n % 7} for n in range(1000)], **plain_rows(3)}
    with snapshot_of(SHOP, rows) as snapshot:
        task = read_task("PREDICT companies.size > 3 FOR EACH companies.id", SHOP)
        table = labels.build(task, snapshot)
        again = labels.build(task, snapshot)
        assert any("no time" in warning for warning in plan_of(task, snapshot).warnings)
    assert [round(len(table.of(split)), -2) for split in ("train", "val", "test")] == [800, 100, 100]
    np.testing.assert_array_equal(table.entity, again.entity)
    assert set(table.time) == {to_us(START + 50 * DAY)}  # the newest time anywhere


def test_split_by_reads_a_column() -> None:
    rows = plain_rows(5)
    words = ["train", "Valid", "test", "train", "none", None]
    for row, word in zip(rows["orders"], words, strict=True):
        row["status"] = word
    with snapshot_of(SHOP, rows) as snapshot:
        task = read_task("PREDICT orders.amount FOR EACH orders.id SPLIT BY orders.status", SHOP)
        table, plan = labels.build(task, snapshot), plan_of(task, snapshot)
        keys = snapshot.keys("orders", table.entity).column(0).to_pylist()
    assert (keys, table.split.tolist()) == ([0, 3, 1, 2], [0, 0, 1, 2])
    assert plan.dropped == 0
    assert "2 rows are in no split: orders.status says neither train, val nor test" in plan.warnings
    assert plan.hidden == ("orders.status",)


def test_seeds_are_ordered_by_split_time_and_entity() -> None:
    rows = plain_rows()
    rows["users"] = [{**rows["users"][0], "id": key, "joined_at": START - key * DAY} for key in (5, 9, 1, 7)]
    with snapshot_of(SHOP, rows) as snapshot:
        table = labels.build(read_task("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id", SHOP), snapshot)
        keys = snapshot.keys("users", table.entity).column(0).to_pylist()
    order = list(zip(table.split.tolist(), table.time.tolist(), table.entity.tolist(), strict=True))
    assert order == sorted(order)
    assert keys[:4] == [9, 7, 5, 1]


def test_seeds_at_a_time_are_who_is_eligible_then(plain: Snapshot) -> None:
    task = read_task("PREDICT COUNT(orders.*, 0, 7) > 0 FOR EACH users.id", SHOP)
    assert labels.seeds_at(task, plain, to_us(START + 49 * DAY)).tolist() == [0]
    assert labels.seeds_at(task, plain, to_us(START + 50 * DAY)).tolist() == [0, 1]
    assert labels.seeds_at(task, plain, to_us(START + 50 * DAY), np.array([1])).tolist() == [1]
    named = read_task("PREDICT COUNT(orders.*, 0, 7) > 0 FOR users.id IN (2, 77)", SHOP)
    assert labels.seeds_at(named, plain, to_us(START + 50 * DAY)).tolist() == [1]
    assert len(labels.build(read_task("PREDICT COUNT(orders.*, 0, 7) FOR users.id = 2", SHOP), plain)) > 2
    assert labels.newest(task, plain) == to_us(START + 60 * DAY)
    assert labels.newest(read_task(f"{named.source} AS OF '2024-01-05'", SHOP), plain) == to_us("2024-01-05")


def test_row_level_seeds_are_the_rows_whose_label_is_unknown() -> None:
    rows = plain_rows(5)
    rows["orders"][2]["amount"] = None
    rows["orders"][5]["amount"] = None
    with snapshot_of(SHOP, rows) as snapshot:
        task = read_task("PREDICT orders.amount FOR EACH orders.id", SHOP)
        assert labels.seeds_at(task, snapshot, to_us(START + 3 * DAY)).tolist() == [2]
        assert labels.seeds_at(task, snapshot, to_us(START + 3 * DAY), np.array([1, 2, 5])).tolist() == [1, 2]


def test_rows_end_and_columns_become_known() -> None:
    """WHERE sees no user after the end of its row, and no status before it is delivered."""
    tables = dict(SHOP.tables)
    orders = tables["orders"]
    columns = tuple(
        replace(column, known_at="delivered_at") if column.name == "status" else column for column in orders.columns
    )
    tables["orders"] = replace(orders, columns=columns, valid_until="delivered_at")
    schema = Schema(tables, SHOP.relations)
    rows = plain_rows()
    rows["reviews"] = [
        {"id": n, "order_id": n % 3, "stars": 1, "body": None, "created_at": START + n * DAY} for n in range(30)
    ]
    rows["orders"] = [{**rows["orders"][0], "id": n, "delivered_at": START + (10 + n) * DAY} for n in range(2)]
    rows["orders"].append({**rows["orders"][0], "id": 2, "delivered_at": None})
    cut = "SPLIT AT '2024-01-21', '2024-01-26'"
    with snapshot_of(schema, rows) as snapshot:
        ended = labels.build(read_task(f"PREDICT COUNT(reviews.*, 0, 1) FOR EACH orders.id {cut}", schema), snapshot)
        last = {row: to_datetime(ended.time[ended.entity == row].max()) for row in range(3)}
        assert last == {0: START + 9 * DAY, 1: START + 10 * DAY, 2: START + 28 * DAY}
    tables["orders"] = replace(tables["orders"], valid_until=None)
    schema = Schema(tables, SHOP.relations)
    with snapshot_of(schema, rows) as snapshot:
        query = f"PREDICT COUNT(reviews.*, 0, 1) FOR EACH orders.id WHERE orders.status = 'ok' {cut}"
        known = labels.build(read_task(query, schema), snapshot)
        first = {int(row): to_datetime(known.time[known.entity == row].min()) for row in set(known.entity)}
        assert first == {0: START + 10 * DAY, 1: START + 11 * DAY}
    columns = tuple(
        replace(column, known_at="delivered_at") if column.name == "user_id" else column for column in orders.columns
    )
    schema = Schema({**SHOP.tables, "orders": replace(orders, columns=columns)}, SHOP.relations)
    with snapshot_of(schema, rows) as snapshot:  # a key is walked from the time on at which it is known
        for where in ("orders.user_id IS NOT NULL", "users.joined_at IS NOT NULL"):
            query = f"PREDICT COUNT(reviews.*, 0, 1) FOR EACH orders.id WHERE {where} {cut}"
            known = labels.build(read_task(query, schema), snapshot)
            first = {int(row): to_datetime(known.time[known.entity == row].min()) for row in set(known.entity)}
            assert first == {0: START + 10 * DAY, 1: START + 11 * DAY}, where
        for where in ("COUNT(orders.*, -INF, 0) > 0", "EXISTS(orders.*, -40, 0)", "COUNT(reviews.*, -INF, 0) > 0"):
            query = f"PREDICT COUNT(reviews.*, 0, 1) FOR EACH users.id WHERE {where} {cut}"
            known = labels.build(read_task(query, schema), snapshot)
            assert to_datetime(int(known.time.min())) == START + 10 * DAY, where


@pytest.mark.parametrize("every", ["1 day", "1 week"])
@pytest.mark.parametrize(
    ("counted", "asked"),
    [
        ("COUNT(orders.*, -9, 0) >= 1", "COUNT(orders.*, -9, 0) > 0.5"),
        ("COUNT(orders.*, -9, 0) = 0", "COUNT(orders.*, -9, 0) < 0.5"),
        (
            "COUNT(orders.amount WHERE orders.qty > 0, -INF, -2) <> 0",
            "SUM(orders.qty WHERE orders.amount >= 0, -INF, -2) > 0",
        ),
    ],
)
def test_existence_is_what_counting_says(counted: str, asked: str, every: str, plain: Snapshot) -> None:
    """Windows that overlap are asked for existence without counting; the seeds are the same."""
    tables = []
    for where in (counted, asked):
        query = f"PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id WHERE {where} EVERY {every} {CUTS}"
        tables.append(labels.compute(read_task(query, SHOP), plain))
    assert "exists of orders" in tables[0].sql
    assert "exists of orders" not in tables[1].sql
    for name in ("entity", "time", "target"):
        np.testing.assert_array_equal(getattr(tables[0].table, name), getattr(tables[1].table, name))


def test_texts_may_hold_braces(plain: Snapshot) -> None:
    for text in ("{0}", "{x}", "{", "}}", "%s"):
        for form in (f"LOWER(orders.status) <> '{text}'", f"NOT orders.status CONTAINS '{text}'"):
            table = labels.build(
                read_task(f"PREDICT SUM(orders.amount WHERE {form}, 0, 7) FOR EACH users.id", SHOP), plain
            )
            assert table.target.any()


def test_labels_spill_rather_than_run_out_of_memory(plain: Snapshot) -> None:
    with connected(plain) as connection:
        settings = "SELECT current_setting('temp_directory'), current_setting('memory_limit')"
        folder, limit = connection.execute(settings).fetchall()[0]
        assert Path(folder).is_dir()
        connection.execute("SET memory_limit = '60MB'")
        spilling = connection.execute("SELECT n % 100000, LIST(n) FROM range(6000000) r(n) GROUP BY 1")
        assert len(spilling.fetchmany(10)) == 10
    assert not Path(folder).exists()
    assert limit.endswith(("GiB", "MiB"))


def test_values_without_a_result_are_unknown(plain: Snapshot) -> None:
    for broken in ("LN(orders.qty - 1)", "SQRT(orders.qty - 2)", "orders.amount / (orders.qty - 1)"):
        plan = plan_of(read_task(f"PREDICT AVG({broken}, 0, 7) FOR EACH users.id", SHOP), plain)
        assert sum(plan.rows.values()) == 0
        assert plan.dropped == 9


@pytest.mark.parametrize("name", ["labels", "anchors", "eligible", "select", "a b", "count of orders", 'q"t', "Ünï"])
def test_tables_may_have_any_name(name: str) -> None:
    tables = {name if table == "orders" else table: found for table, found in SHOP.tables.items()}
    tables[name] = replace(tables[name], name=name)
    named = {"orders": name}
    keys = tuple(
        replace(key, child=named.get(key.child, key.child), parent=named.get(key.parent, key.parent))
        for key in SHOP.relations
    )
    schema, rows = Schema(tables, keys), plain_rows()
    rows[name] = rows.pop("orders")
    quoted = '"' + name.replace('"', '""') + '"'
    with snapshot_of(schema, rows) as snapshot:
        task = read_task(f"PREDICT SUM({quoted}.amount, 0, 7) FOR EACH users.id", schema)
        assert labels.build(task, snapshot).target.tolist() == [7.0] * 8 + [0.0]
        own = read_task(f"PREDICT {quoted}.amount FOR EACH {quoted}", schema)
        assert len(labels.build(own, snapshot)) == 61


# --- RelBench -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def formula_one(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Snapshot, int, int, Any]:
    from rdl.database import open_reader
    from rdl.snapshot import build

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import relbench
    reader: Any = open_reader(f"relbench:{shared_data / 'rel-f1'}")
    snapshot = build(reader, reader.reflect(), tmp_path_factory.mktemp("rel-f1") / "snapshot")
    return snapshot, reader.val_cut_us, reader.test_cut_us, relbench.load_dataset(str(shared_data / "rel-f1"))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("driver-dnf", (11411, 566, 702)),
        ("driver-position", (7453, 499, 760)),
        ("driver-top3", (1353, 588, 726)),
        ("results-position", (9009, 1400, 4798)),
        ("qualifying-position", (2228, 1854, 5733)),
    ],
)
def test_manifests_give_the_labels_that_relbench_gives(
    name: str, sizes: tuple[int, int, int], formula_one: tuple[Snapshot, int, int, Any], shared_data: Path
) -> None:
    snapshot, val_cut, test_cut, dataset = formula_one
    task = read_manifest(shared_data / "rel-f1" / "tasks" / name, snapshot.schema, val_cut, test_cut)
    table = labels.build(task, snapshot)
    assert tuple(len(table.of(split)) for split in ("train", "val", "test")) == sizes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = dataset.load_task(name, regenerate=True)
        for split in ("train", "val", "test"):
            frame = theirs.get_table(split, mask_input_cols=False).df
            ours = table.of(split)
            keys = snapshot.keys(task.entity, ours.entity).column(0).to_numpy()
            np.testing.assert_array_equal(keys, frame[theirs.entity_col].to_numpy())
            np.testing.assert_array_equal(ours.target, frame[theirs.target_col].to_numpy(np.float64))
            times = frame[theirs.time_col].to_numpy().astype("datetime64[us]").astype(np.int64)
            np.testing.assert_array_equal(ours.time, times)


def test_recommendation_manifest_gives_the_lists_that_relbench_gives(
    formula_one: tuple[Snapshot, int, int, Any], shared_data: Path
) -> None:
    snapshot, val_cut, test_cut, dataset = formula_one
    name = "driver-circuit-compete"
    task = read_manifest(shared_data / "rel-f1" / "tasks" / name, snapshot.schema, val_cut, test_cut)
    table = labels.build(task, snapshot)
    assert [len(table.of(split)) for split in ("train", "val", "test")] == [2649, 27, 27]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = dataset.load_task(name, regenerate=True)
        for split in ("train", "val", "test"):
            frame = theirs.get_table(split, mask_input_cols=False).df
            ours = table.of(split)
            keys = snapshot.keys("drivers", ours.entity).column(0).to_numpy()
            np.testing.assert_array_equal(keys, frame["driverId"].to_numpy())
            np.testing.assert_array_equal(ours.time, frame["date"].to_numpy().astype("datetime64[us]").astype(np.int64))
            listed = labels.values(task, ours, snapshot).to_pylist()
            assert [sorted(keys) for keys in listed] == [sorted(keys) for keys in frame["circuitId"]]


# --- the tasks beside the package ---------------------------------------------------------------------------------

TASKS = Path(__file__).resolve().parents[1] / "tasks"


@pytest.mark.parametrize("path", sorted((TASKS / "shop").glob("*.pql")), ids=lambda path: path.stem)
def test_shop_tasks_are_read(path: Path) -> None:
    task = read_task(path, SHOP)
    assert task.source.startswith("-- ")


def test_formula_one_tasks_ask_what_relbench_asks(shared_data: Path, tmp_path: Path) -> None:
    """On the raw database, of the drivers who raced within a year; without that filter the counts are RelBench's."""
    from rdl.database import open_reader
    from rdl.snapshot import build

    reader = open_reader(f"sqlite:///{shared_data / 'f1.sqlite'}")
    declared = reader.reflect()
    tables = dict(declared.tables)
    tables["races"] = replace(tables["races"], time=TimePath("date"))
    for relation in declared.relations_to("races"):
        tables[relation.child] = replace(tables[relation.child], time=TimePath("date", (relation.key,)))
    schema = Schema(tables, declared.relations)
    snapshot = build(reader, schema, tmp_path / "snapshot")
    for name, sizes in (("driver-position", (7453, 499)), ("driver-dnf", (11411, 891)), ("driver-top3", (1303, 891))):
        task = read_task(TASKS / "f1" / f"{name}.pql", schema)
        asked, everyone = plan_of(task, snapshot), plan_of(replace(task, where=None), snapshot)
        assert (everyone.rows["train"], everyone.rows["val"]) == sizes
        assert 0.85 < asked.rows["train"] / everyone.rows["train"] < 1
