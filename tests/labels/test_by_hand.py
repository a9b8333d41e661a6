"""Every accepted reference query gives the labels that its meaning, written again by hand in pandas, gives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rdl import labels
from rdl.query import Kind, TaskTable, read_task
from rdl.snapshot import Snapshot
from tests.labels.by_hand import WINDOWED
from tests.labels.sample import sample_shop
from tests.labels.shop_frames import TIMES, Frames, Labels, anchors, frames_of, labelled, through
from tests.query.memory import snapshot_of
from tests.query.shop import SHOP

ACCEPTED = [
    line.split("\t")[1]
    for line in (Path(__file__).parents[1] / "query" / "accepted.tsv").read_text(encoding="utf-8").splitlines()
]


def _own(frame: pd.DataFrame, time: str, label: pd.Series) -> Labels:
    """A label a row of ``frame``, at the row's own time."""
    return labelled(frame.assign(t=frame[time]), label)


def _size_of_the_company(f: Frames) -> Labels:
    rows = through(f["users"], "company_id", f["companies"])
    return _own(rows, "joined_at", rows["company_id.size"])


def _own_item(f: Frames) -> Labels:
    orders = f["orders"].dropna(subset=["item_id"])
    return _own(orders, "created_at", orders["item_id"].map(lambda item: [item]))


ROW_LEVEL = {
    "PREDICT users.age FOR EACH users.id": lambda f: _own(f["users"], "joined_at", f["users"]["age"]),
    "PREDICT users.vip FOR EACH users.id": lambda f: _own(f["users"], "joined_at", f["users"]["vip"]),
    "PREDICT users.country FOR EACH users.id": lambda f: _own(f["users"], "joined_at", f["users"]["country"]),
    "PREDICT users.age > 30 AND users.country = 'US' FOR EACH users.id": lambda f: _own(
        f["users"], "joined_at", (f["users"]["age"] > 30) & (f["users"]["country"] == "US")
    ),
    "PREDICT impressions.clicked FOR EACH impressions.id": lambda f: _own(
        f["impressions"], "shown_at", f["impressions"]["clicked"]
    ),
    'PREDICT `orders`.`amount` FOR EACH "orders"."id" # the amount of an order when it is placed': lambda f: _own(
        f["orders"], "created_at", f["orders"]["amount"]
    ),
    "PREDICT reviews.stars >= 4 FOR EACH reviews": lambda f: _own(
        f["reviews"], "created_at", f["reviews"]["stars"] >= 4
    ),
    "PREDICT companies.size FOR EACH users.id": _size_of_the_company,
    "PREDICT orders.item_id RANK TOP 10 FOR EACH orders SPLIT AT '2024-01-01', '2024-02-01'": _own_item,
}


@pytest.fixture(scope="module")
def shop() -> Iterator[Snapshot]:
    with snapshot_of(SHOP, sample_shop()) as snapshot:
        yield snapshot


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_of(sample_shop())


def test_every_accepted_query_is_written_by_hand() -> None:
    assert {*ACCEPTED} <= {*WINDOWED, *ROW_LEVEL}


def _built(query: str, snapshot: Snapshot) -> tuple[Labels, TaskTable]:
    task = read_task(query, snapshot.schema)
    table = labels.build(task, snapshot)
    keys = snapshot.keys(task.entity, table.entity).column(0).to_pylist()
    shown = labels.values(task, table, snapshot).to_pylist()
    if task.kind in (Kind.multilabel, Kind.recommendation):
        shown = [sorted(found) for found in shown]
    found = dict(zip(zip(keys, pd.to_datetime(table.time, unit="us"), strict=True), shown, strict=True))
    assert len(found) == len(table)
    return found, table


def _compare(found: Labels, expected: Labels) -> None:
    assert len({str(label) for label in expected.values()}) > 1
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    assert not missing, f"{len(missing)} seeds are missing, such as {min(missing)}"
    assert not extra, f"{len(extra)} seeds are too many, such as {min(extra)}"
    wrong = {seed: (found[seed], label) for seed, label in expected.items() if not _same(found[seed], label)}
    assert not wrong, f"{len(wrong)} labels differ (found, by hand), such as {next(iter(wrong.items()))}"


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(_same, found, expected))
    if isinstance(expected, str):
        return bool(found == expected)
    return math.isclose(float(found), float(expected), abs_tol=1e-9)


@pytest.mark.parametrize("query", WINDOWED)
def test_labels_over_windows_are_those_by_hand(query: str, shop: Snapshot, frames: Frames) -> None:
    meant = WINDOWED[query]
    times = pd.concat([frames[name][TIMES[name]] for name in meant.data])
    laid = anchors(times.min(), times.max(), meant.horizon, meant.every, meant.split)
    found, table = _built(query, shop)
    _compare(found, meant.labels(frames, [t for split in laid for t in split]))
    for number, of_split in enumerate(laid):
        assert set(pd.to_datetime(table.time[table.split == number], unit="us")) <= set(of_split)
        assert of_split


@pytest.mark.parametrize("query", ROW_LEVEL)
def test_row_level_labels_are_those_by_hand(query: str, shop: Snapshot, frames: Frames) -> None:
    _compare(_built(query, shop)[0], ROW_LEVEL[query](frames))
