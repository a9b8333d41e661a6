"""Importance: what tells the label stands on top, what does not stands near nothing, and all is left as it was."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import rdl
from rdl import features
from rdl.clock import US_PER_DAY
from rdl.config import TrainConfig
from rdl.importance import _permuted
from rdl.run import Run
from rdl.segments import LEAST_SEEDS, segments
from tests.features.tables import draw, snapshot_of
from tests.small import FAST, QUESTION, build_small


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained without aggregates: that a user's rate is told by the city and by the orders."""
    task = rdl.connect(build_small(tmp_path_factory.mktemp("small") / "small.duckdb")).task(QUESTION)
    config = TrainConfig(**{**FAST, "min_steps": 120, "max_steps": 120, "learning_rate": 1e-2, "dropout": 0.0})  # type: ignore[arg-type]
    run = Run.new(task.definition, task.db.snapshot, task.labels, config)
    run.train()
    run.score(baselines=False)
    return run


def test_what_tells_the_label_matters_most(run: Run) -> None:
    packed, _ = run.packed()
    before = deepcopy(packed)
    run.explain(budget_s=5)
    growth = {(one.kind, one.name): one.growth for one in run.importance}
    assert {"column", "relation", "past"} <= {one.kind for one in run.importance}
    assert growth == dict(sorted(growth.items(), key=lambda one: -one[1]))
    orders = [value for (kind, name), value in growth.items() if kind == "past" and name.startswith("orders[user_id]")]
    assert max(orders) > 0.02, "how often a user has ordered tells how often he will"
    assert max(orders) > 4 * abs(growth["column", "orders.amount"])
    for table, kept in before.items():
        for name in ("numbers", "codes", "times"):
            assert torch.equal(getattr(kept, name).nan_to_num(7), getattr(packed[table], name).nan_to_num(7))


def test_the_budget_is_kept_and_nothing_is_measured_of_no_seeds(run: Run) -> None:
    fresh = run.again(run.config)
    fresh.explain(budget_s=1e-9)
    assert fresh.importance == []
    only = run.table.of("train")
    nothing = replace(fresh, labels=lambda: only)
    nothing.explain()
    assert nothing.importance == []
    assert nothing.seconds["importance"] >= 0


def test_segments_part_the_seeds_by_their_past_and_their_columns(run: Run) -> None:
    part = run.table.of("test")
    found = segments(run, part)
    assert {one.by for one in found} == {"past rows", "city"}
    cities = run.snapshot.arrow("users").column("city").to_numpy(zero_copy_only=False)
    owner = run.snapshot.parent(run.snapshot.schema.relations[0])
    times = run.snapshot.time("orders")
    counts = np.array(
        [((owner == user) & (times <= at)).sum() for user, at in zip(part.entity, part.time, strict=True)]
    )
    middle = int(np.median(counts[counts > 0]))
    for one in found:
        assert len(one.rows) >= LEAST_SEEDS
        if one.by == "city":
            assert (cities[part.entity[one.rows]] == one.value).all()
        elif one.value.startswith("over"):
            assert np.array_equal(one.rows, np.flatnonzero(counts > middle))
    assert segments(run, part.take(np.arange(LEAST_SEEDS))) == []


def test_a_column_of_any_kind_is_permuted_alone_and_put_back(tmp_path: Path) -> None:
    days = np.arange(40)
    snapshot = snapshot_of(draw(np.random.default_rng(0), days, days + 1), tmp_path / "s")
    packed = features.pack(snapshot, features.fit(snapshot, 100 * US_PER_DAY))["events"]
    rows, first = torch.arange(len(packed)), 30
    order = torch.cat([torch.randperm(first, generator=torch.Generator().manual_seed(0)), torch.arange(first, 40)])
    plain, mixed = packed.frame(rows), packed.frame(rows[order])
    for kind, names in packed.names.items():
        for number in range(len(names)):
            with _permuted(packed, kind, number, order[:first]):
                found = packed.frame(rows)
            assert (plain is None, mixed is None, found is None) == (False, False, False)
            for other, others in packed.names.items():
                for place, _ in enumerate(others):
                    expected = mixed if (other, place) == (kind, number) else plain
                    cells = [cell_of(frame.feat_dict[other], place) for frame in (found, expected)]  # type: ignore[union-attr]
                    assert cells[0] == cells[1], (names[number], others[place])
    again = packed.frame(rows)
    for kind, feat in again.feat_dict.items():  # type: ignore[union-attr]
        assert cell_of(feat, 0) == cell_of(plain.feat_dict[kind], 0)  # type: ignore[union-attr]


def cell_of(feat: object, number: int) -> list[str]:
    """A column's cells, so that NaN equals NaN."""
    column = feat[:, number]  # type: ignore[index]
    values = [column[row, 0].tolist() for row in range(len(column))] if hasattr(column, "offset") else column.tolist()
    return [str(value) for value in values]
