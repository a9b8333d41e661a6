"""Labels of every kind as arrays: vocabularies, lists, timeframes, and what a plan says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rdl import labels
from rdl.errors import QueryError
from rdl.labels.targets import encode, known
from rdl.plan import plan as plan_of
from rdl.query import Kind, TaskTable, read_task
from tests.query.memory import snapshot_of
from tests.query.shop import DAY, SHOP, START, Rows, plain_rows


def _encode(kind: Kind, target: pa.Array, training: list[bool]) -> tuple[Any, ...]:
    chunked = pa.chunked_array([target[:1], target[1:]])
    return encode(kind, chunked, np.array(training), known(kind, chunked))


def test_classes_are_numbered_by_their_frequency_in_training() -> None:
    words = pa.array(["b", "a", "c", "b", "z", "z", "z", None, "y"])
    training = [True] * 4 + [False] * 5
    target, indptr, classes, unseen = _encode(Kind.multiclass, words, training)
    assert (classes, unseen, indptr) == (("b", "a", "c"), ("y", "z"), None)
    assert target[:7].tolist() == [0, 1, 2, 0, -2, -2, -2]
    assert target[8] == -1


@pytest.mark.parametrize(
    "words", [[True, False, True], [3, 1, 3], [0.5, 1.5, 0.5], ["b", "a", "b"]], ids=["bool", "int", "float", "text"]
)
def test_classes_may_be_of_any_type(words: list[Any]) -> None:
    target, _, classes, _ = _encode(Kind.multiclass, pa.array(words), [True] * 3)
    assert classes == (words[0], words[1])
    assert target.tolist() == [0, 1, 0]


def test_sets_of_classes_are_lists_of_numbers() -> None:
    lists = pa.array([["a", "b"], [], ["c", "d", "a"], ["b"]])
    target, indptr, classes, unseen = _encode(Kind.multilabel, lists, [True, True, False, True])
    assert (classes, unseen) == (("b", "a"), ("c", "d"))
    assert indptr.tolist() == [0, 2, 2, 5, 6]
    assert target.tolist() == [0, 1, -2, -1, 1, 0]


def test_rows_listed_are_ascending_and_a_single_row_is_a_list_of_one() -> None:
    target, indptr, classes, _ = _encode(Kind.recommendation, pa.array([[9, 2, 5], [], [1]]), [True] * 3)
    assert (target.tolist(), indptr.tolist(), classes) == ([2, 5, 9, 1], [0, 3, 3, 4], ())
    target, indptr, _, _ = _encode(Kind.recommendation, pa.array([4, None, 1]), [True] * 3)
    assert (target.tolist(), indptr.tolist()) == ([4, 1], [0, 1, 1, 2])


def test_an_unknown_timeframe_is_nan_and_a_seed_with_none_known_is_unknown() -> None:
    frames = pa.array([[1.0, None], [None, None], [2.0, float("inf")]])
    target, _, _, _ = _encode(Kind.forecast, frames, [True] * 3)
    np.testing.assert_array_equal(target, [[1, np.nan], [np.nan, np.nan], [2, np.nan]])
    assert known(Kind.forecast, pa.chunked_array([frames])).tolist() == [True, False, True]
    assert known(Kind.forecast, pa.chunked_array([frames[:0]])).tolist() == []


def test_seeds_taken_keep_their_lists() -> None:
    numbers = np.arange(4)
    indptr = np.array([0, 2, 2, 5, 6])
    table = TaskTable(numbers, numbers, np.zeros(4, np.int8), np.array([7, 8, 1, 2, 3, 9]), 0, 0, indptr)
    taken = table.take(np.array([3, 1, 2, 0]))
    assert taken.indptr is not None
    assert taken.indptr.tolist() == [0, 1, 1, 4, 6]
    assert taken.target.tolist() == [9, 1, 2, 3, 7, 8]
    assert taken.owners().tolist() == [0, 2, 2, 2, 3, 3]
    assert len(table.of("test").target) == 0


def _rows() -> Rows:
    """Two items, a second of which comes late; a third status that only the last days have."""
    rows = plain_rows()
    item = {"category_id": None, "title": None, "price": 1.0}
    rows["items"] = [{"id": 1, **item, "listed_at": START}, {"id": 2, **item, "listed_at": START + 57 * DAY}]
    for number, order in enumerate(rows["orders"]):
        order["status"] = "new" if number > 56 else "ok" if number % 3 else "lost"
        order["item_id"] = 2 if number > 58 else 1
    return rows


def test_plans_say_what_is_odd_about_a_kind() -> None:
    with snapshot_of(SHOP, _rows()) as snapshot:

        def planned(target: str, entity: str = "users.id") -> tuple[Any, str]:
            plan = plan_of(read_task(f"PREDICT {target} FOR EACH {entity}", SHOP), snapshot)
            assert set(plan.to_json()) >= {"balance", "warnings"}
            return plan.balance, " / ".join(plan.warnings)

        balance, told = planned("LAST(orders.status, 0, 7)")
        assert balance == {"train": {"ok": 4 / 6, "lost": 2 / 6}, "val": {"ok": 1, "lost": 0}, "test": {
            "ok": 0, "lost": 0, "(unseen)": 1}}  # fmt: skip
        assert "100% of the test labels are values never seen in training" in told
        assert "test has one class only, one never seen in training" in told
        balance, told = planned("LIST_DISTINCT(orders.status, 0, 7) CLASSIFY")
        assert balance["test"] == {"labels a seed": 1.5, "ok": 0.5, "lost": 0.5, "(unseen)": 0.5}
        balance, told = planned("LIST_DISTINCT(orders.item_id, 0, 7) RANK TOP 2")
        assert balance["train"] == {"labels a seed": 1, "seeds without any": 0, "labels not in training": 0}
        assert balance["test"] == {"labels a seed": 1, "seeds without any": 0.5, "labels not in training": 0.5}
        assert "50% of the test labels are rows that are no label in training" in told
        assert "of the labels are rows of items that were not known at the seed's time" in told
        balance, told = planned("SUM(orders.amount, 0, 7) FORECAST 2 TIMEFRAMES")
        assert balance["val"] == {"timeframe 1": 7, "timeframe 2": 7}
        balance, told = planned("AVG(orders.amount WHERE orders.status = 'new', 0, 7) FORECAST 2 TIMEFRAMES")
        assert "train has no row" in told


def test_labels_are_shown_as_they_stand_in_the_database() -> None:
    with snapshot_of(SHOP, _rows()) as snapshot:

        def shown(query: str) -> list[Any]:
            task = read_task(query, SHOP)
            found: list[Any] = labels.values(task, labels.build(task, snapshot).of("test"), snapshot).to_pylist()
            return found

        assert shown("PREDICT orders.status FOR EACH orders")[-4:] == ["new"] * 4
        assert shown("PREDICT orders.item_id RANK TOP 2 FOR EACH orders")[-3:] == [[1], [2], [2]]
        lists = shown("PREDICT LIST_DISTINCT(orders.item_id, 0, 7) RANK TOP 2 FOR EACH users.id")
        assert [sorted(keys) for keys in lists] == [[1, 2], []]
        assert shown("PREDICT SUM(orders.amount, 0, 2) FORECAST 3 TIMEFRAMES FOR EACH users.id") == [[2] * 3, [0] * 3]


@pytest.mark.parametrize(
    ("query", "trained"),
    [
        ("PREDICT orders.status FOR EACH orders", True),
        ("PREDICT orders.item_id RANK TOP 2 FOR EACH orders", False),
        ("PREDICT SUM(orders.amount, 0, 2) FORECAST 3 TIMEFRAMES FOR EACH users.id", True),
        ("PREDICT SUM(orders.amount, 0, 2) FOR EACH users.id", True),
        ("PREDICT users.vip FOR EACH users", True),
    ],
)
def test_what_has_no_model_yet_is_refused_by_name(query: str, trained: bool) -> None:
    task = read_task(query, SHOP)
    if trained:
        labels.refuse_untrained(task)
        return
    with pytest.raises(QueryError, match=f"{task.kind} tasks are labelled and planned, but not trained yet"):
        labels.refuse_untrained(task)


def test_the_own_key_of_a_row_is_no_input_of_its_next_item() -> None:
    task = read_task("PREDICT orders.item_id RANK TOP 2 FOR EACH orders", SHOP)
    assert task.label_columns == {("orders", "item_id")}
    assert task.candidates == "items"


@pytest.mark.parametrize(
    "target",
    ["FIRST(orders.item_id, 0, 7)", "MAX(orders.item_id, 0, 7)", "LAST(orders.item_id.category_id, 0, 7) CLASSIFY"],
)
def test_a_key_is_no_number(target: str) -> None:
    with pytest.raises(QueryError, match="list the keys and rank them"):
        read_task(f"PREDICT {target} FOR EACH users.id", SHOP)


def test_timeframes_are_apart_by_the_target_window() -> None:
    task = read_task("PREDICT SUM(orders.amount, 7, 14) FORECAST 3 TIMEFRAMES FOR EACH users.id", SHOP)
    assert (str(task.stride), str(task.horizon)) == ("7 days", "28 days")
    mixed = "COUNT(orders.*, 0, 1, week) - COUNT(orders.*, -7, 0, days)"
    task = read_task(f"PREDICT {mixed} FORECAST 2 TIMEFRAMES FOR EACH users.id", SHOP)
    assert task.horizon is not None
    assert task.horizon.days == 14
    mixed = "COUNT(orders.*, 0, 1, month) - COUNT(orders.*, -7, 0, days)"
    with pytest.raises(QueryError, match="measured in days") as caught:
        read_task(f"PREDICT {mixed} FORECAST 2 TIMEFRAMES FOR EACH users.id", SHOP)
    assert caught.value.snippet == "COUNT"


def test_counts_beyond_reason_are_refused() -> None:
    for query in (
        f"PREDICT SUM(orders.amount, 0, {'9' * 400}) FOR EACH users.id",
        f"PREDICT SUM(orders.amount, 0, 7) FOR EACH users.id EVERY {'9' * 5000} days",
        "PREDICT SUM(orders.amount, 0, 7) FORECAST 367 TIMEFRAMES FOR EACH users.id",
    ):
        with pytest.raises(QueryError):
            read_task(query, SHOP)
    with pytest.raises(QueryError, match="whole number"):
        read_task("PREDICT SUM(orders.amount, 0, :n) FOR EACH users.id", SHOP, parameters={"n": 10**30})
