"""Every accepted reference query, of whatever kind, gives the labels that brute force finds on a sample shop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rdl import labels
from rdl.clock import Span
from rdl.plan import plan as plan_of
from rdl.query import Kind, Task, read_task
from rdl.query.anchors import lay_anchors
from rdl.query.expressions import aggregates
from rdl.snapshot import Snapshot
from tests.labels.sample import sample_shop
from tests.query.brute import Tables
from tests.query.memory import snapshot_of
from tests.query.shop import SHOP

QUERIES = [
    line.split("\t")[1]
    for line in (Path(__file__).parents[1] / "query" / "accepted.tsv").read_text(encoding="utf-8").splitlines()
]
MORE = [
    "PREDICT SUM(orders.amount, 7, 14) FORECAST 3 TIMEFRAMES FOR EACH users.id",
    "PREDICT AVG(orders.amount, 0, 1, month) FORECAST 2 TIMEFRAMES FOR EACH users.id EVERY 2 weeks",
    "PREDICT COUNT(orders.*, 0, 4, weeks) - COUNT(orders.*, -28, 0, days) FORECAST 3 TIMEFRAMES FOR EACH items.id",
    "PREDICT COUNT(orders.* WHERE COUNT(reviews.*, 0, 21) > 0, 0, 7) FORECAST 2 TIMEFRAMES FOR EACH users.id",
    "PREDICT LIST_DISTINCT(orders.item_id.category_id, 0, 30) RANK TOP 2 FOR EACH users.id",
    "PREDICT LIST_DISTINCT(orders.qty, 0, 30) CLASSIFY FOR EACH companies.id",
    "PREDICT LAST(orders.qty, 0, 30) CLASSIFY FOR EACH users.id WHERE EXISTS(orders.*, -60, 0)",
    "PREDICT orders.status FOR EACH orders WHERE items.price > 3",
    "PREDICT CASE WHEN users.age > 40 THEN 'old' WHEN users.vip THEN 'vip' ELSE 'other' END FOR EACH users.id",
    "PREDICT companies.name FOR EACH companies.id",
    "PREDICT reviews.stars CLASSIFY FOR EACH reviews",
]


@pytest.fixture(scope="module")
def shop() -> Iterator[Snapshot]:
    with snapshot_of(SHOP, sample_shop()) as snapshot:
        yield snapshot


@pytest.mark.parametrize("query", [*QUERIES, *MORE])
def test_labels_are_those_that_brute_force_finds(query: str, shop: Snapshot) -> None:
    task = read_task(query, SHOP)
    table = labels.build(task, shop)
    times = sorted(set(table.time.tolist()))
    asked = {times[place] for place in np.linspace(0, len(times) - 1, 12).astype(int)}  # the first and last included
    keys = shop.keys(task.entity, table.entity).column(0).to_pylist()
    shown = labels.values(task, table, shop).to_pylist()
    found = dict(zip(zip(keys, table.time.tolist(), strict=True), shown, strict=True))
    assert len(found) == len(table)
    expected = dict(_brute(task, shop, None if task.row_level else asked))
    compared = {seed: label for seed, label in found.items() if task.row_level or seed[1] in asked}
    assert compared.keys() == expected.keys()
    for seed, label in expected.items():
        assert _same(task.kind, compared[seed], label), (seed, compared[seed], label)
    assert len(expected) > 2
    planned = plan_of(task, shop)
    assert sum(planned.rows.values()) == len(table)


def _brute(task: Task, shop: Snapshot, anchors: set[int] | None) -> Iterator[tuple[tuple[int, int], Any]]:
    tables = Tables(SHOP, sample_shop())
    if anchors is not None:
        windows = aggregates(task.target, nested=False)
        ends = [shop.time(window.table)[[0, -1]] for window in windows]
        assert anchors <= set(lay_anchors(task, int(np.min(ends)), int(np.max(ends))).all)
    newest = max(int(shop.time(name).max()) for name in SHOP.tables if SHOP[name].time)
    for row in sample_shop()[task.entity]:
        own = tables.time(task.entity, row)
        for t in anchors if anchors is not None else [newest if own is None else own]:
            if own is not None and own > t:
                continue
            if task.where is not None and not tables.value(task.where, row, t, past=True):
                continue
            if task.assuming is not None and not tables.value(task.assuming, row, t):
                continue
            label = _label(task, tables, row, t)
            if label is not None:
                yield (row["id"], t), label


def _label(task: Task, tables: Tables, row: Any, t: int) -> Any:
    assert task.target is not None
    if task.kind is not Kind.forecast:
        label = tables.value(task.target, row, t)
        if task.kind is Kind.recommendation:
            ids = {candidate["id"] for candidate in tables.rows[str(task.candidates)]}
            listed = label if isinstance(label, list) else [label]
            return [key for key in listed if key in ids] if not task.row_level or label in ids else None
        return label
    assert task.stride is not None
    frames = [
        tables.value(task.target, row, Span(task.stride.count * n, task.stride.unit).after(t))
        for n in range(task.timeframes or 1)
    ]
    return None if frames == [None] * len(frames) else frames


def _same(kind: Kind, found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        if kind is not Kind.forecast:  # the order of a set means nothing
            found, expected = sorted(found), sorted(expected)
        return len(found) == len(expected) and all(map(_equal, found, expected))
    return _equal(found, expected)


def _equal(found: Any, expected: Any) -> bool:
    if found is None or isinstance(found, str):
        return bool(found == expected)
    return expected is not None and math.isclose(float(found), float(expected), abs_tol=1e-9)
