"""Earlier labels as inputs: those of the task's table, wherever the data end, and nothing later than their window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rdl
from rdl import labels
from rdl.clock import US_PER_DAY, to_us
from rdl.query import read_task
from rdl.query.task import TaskTable
from rdl.snapshot import Snapshot
from tests.labels.sample import sample_shop
from tests.query.memory import snapshot_of
from tests.query.shop import SHOP

WINDOWED = [
    "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id",
    "PREDICT SUM(orders.amount, 0, 1, month) FOR EACH users.id EVERY 2 weeks",
    "PREDICT COUNT(orders.* WHERE orders.amount > 20, 7, 21) FOR EACH items.id WHERE COUNT(orders.*, -60, 0) > 0",
]


def cells(table: TaskTable) -> dict[tuple[int, int], float]:
    return dict(zip(zip(table.entity.tolist(), table.time.tolist(), strict=True), table.target.tolist(), strict=True))


@pytest.mark.parametrize("query", WINDOWED)
def test_they_are_the_labels_of_the_table_that_had_closed(query: str) -> None:
    with snapshot_of(SHOP, sample_shop()) as snapshot:
        task = read_task(query, SHOP)
        table = labels.compute(task, snapshot).table
        until = int(np.unique(table.time)[-3])
        found = labels.history(task, snapshot, table.val_cut, until)
        assert found is not None
        assert len(found)
        closed = {key: value for key, value in cells(table).items() if task.horizon.after(key[1]) <= until}  # type: ignore[union-attr]
        remembered = cells(found)
        shared = closed.keys() & remembered.keys()
        assert len(shared) > len(closed) / 2
        assert {key: remembered[key] for key in shared} == {key: closed[key] for key in shared}
        ends = np.array([task.horizon.after(int(time)) for time in found.time])  # type: ignore[union-attr]
        assert (ends <= max(until, table.val_cut)).all()
        assert np.array_equal(found.split == 0, ends <= table.val_cut)


@pytest.mark.parametrize("query", WINDOWED)
@pytest.mark.parametrize("days", [-1, 0, 40])
def test_what_comes_later_changes_nothing(query: str, days: int) -> None:
    frames = sample_shop()
    with snapshot_of(SHOP, frames) as snapshot:
        task = read_task(query, SHOP)
        table = labels.compute(task, snapshot).table
        until = table.val_cut + days * US_PER_DAY
        before = labels.history(task, snapshot, table.val_cut, until)
    kept = max(until, table.val_cut)
    ended = {name: _known(rows, kept) for name, rows in frames.items()}
    assert sum(map(len, ended.values())) < sum(map(len, frames.values()))
    with snapshot_of(SHOP, ended) as snapshot:
        after = labels.history(task, snapshot, table.val_cut, until)
    assert before is not None
    assert after is not None
    assert cells(before) == cells(after)


def _known(rows: list[dict[str, Any]], until_us: int) -> list[dict[str, Any]]:
    """The rows of a table of the shop that were known by then; companies and categories have no time."""
    times = ("created_at", "shown_at", "joined_at", "listed_at", "sent_at")
    name = next((name for name in times if rows and name in rows[0]), None)
    return [row for row in rows if name is None or row[name] is None or to_us(row[name]) <= until_us]


def test_of_many_entities_fewer_anchors_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    task = read_task(WINDOWED[0], SHOP)
    with snapshot_of(SHOP, sample_shop()) as snapshot:
        val_cut = labels.compute(task, snapshot).table.val_cut
        monkeypatch.setattr("rdl.labels.past.MOST_SEEDS", 5 * 30)
        found = [labels.history(task, snapshot, val_cut, val_cut + days * US_PER_DAY) for days in (0, 35)]
    before, after = (np.unique(table.time) for table in found if table is not None)
    assert 5 <= len(before) < 9
    assert np.array_equal(after[: len(before)], before)
    assert len(after) == len(before) + 1


@pytest.mark.parametrize(
    "query",
    [
        "PREDICT orders.amount FOR EACH orders.id",
        "PREDICT LIST_DISTINCT(orders.item_id, 0, 30) RANK TOP 5 FOR EACH users.id",
        "PREDICT LAST(orders.qty, 0, 30) CLASSIFY FOR EACH users.id",
        # An order may be known later than its review, and an item than its order.
        "PREDICT AVG(reviews.stars, 0, 60) FOR EACH items.id",
        "PREDICT COUNT(orders.* WHERE items.price > 3, 0, 30) FOR EACH users.id",
    ],
)
def test_of_others_nothing_is_remembered(query: str) -> None:
    with snapshot_of(SHOP, sample_shop()) as snapshot:
        assert labels.history(read_task(query, SHOP), snapshot, to_us("2024-01-01"), to_us("2024-02-01")) is None


@pytest.mark.parametrize("name", ["driver-top3", "driver-dnf"])
def test_a_manifests_labels_read_nothing_beyond_their_window(shared_data: Path, name: str) -> None:
    task = rdl.connect(f"relbench:{shared_data / 'rel-f1'}").task(name)
    table, snapshot = task.labels, task.db.snapshot
    found = labels.history(task.definition, snapshot, table.val_cut, int(table.time.max()))
    assert found is not None
    given, remembered = cells(table), cells(found)
    shared = given.keys() & remembered.keys()
    assert len(shared) > 1000
    assert all(given[key] == remembered[key] for key in shared)
    for anchor in np.unique(found.time)[[40, -2]]:
        end = task.definition.horizon.after(int(anchor))  # type: ignore[union-attr]
        asked = found.entity[found.time == anchor]
        raced = _raced(snapshot, end)
        assert np.isin(asked, raced).all(), "who is asked about is not told by races after the window"


def _raced(snapshot: Snapshot, until_us: int) -> np.ndarray:
    """The drivers in results or qualifying by then."""
    found = [np.zeros(0, np.int64)]
    for relation in snapshot.schema.relations:
        if relation.parent == "drivers" and relation.child in ("results", "qualifying"):
            found.append(snapshot.parent(relation)[snapshot.time(relation.child) <= until_us])
    return np.unique(np.concatenate(found))
