"""The baselines: what they say by hand, what they may see, and that LightGBM learns what there is to learn."""

from __future__ import annotations

import builtins
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl import baselines
from rdl.baselines import fit_baselines, past_labels
from rdl.clock import US_PER_DAY, Span
from rdl.errors import ConfigError
from rdl.metrics import evaluate
from rdl.query.task import Kind, Split, Task, TaskTable
from rdl.snapshot import Snapshot
from tests.memory import MemoryReader

CHURN = Task(Kind.binary, "", "users", None, horizon=Span(7))
WEEK = 7 * US_PER_DAY
USERS, WEEKS = 40, 30


def shop(folder: Path, *, spent_after: float | None = None) -> Snapshot:
    """Users that buy in spells of some weeks. With ``spent_after``, orders after week 24 amount to that."""
    rng = np.random.default_rng(0)
    active = np.repeat(rng.random((USERS, WEEKS // 5)) < 0.5, 5, axis=1)
    user, week = np.nonzero(active)
    amount = np.round(rng.random(len(user)) * 9 + user, 2)
    if spent_after is not None:
        amount = np.where(week > 24, spent_after, amount)
    reader = MemoryReader(
        {
            "users": pa.table({"id": np.arange(USERS)}),
            "orders": pa.table(
                {"user": user, "amount": amount, "at": pa.array(week * WEEK + US_PER_DAY).cast(pa.timestamp("us"))}
            ),
        },
        keys={"users": "id"},
        times={"orders": "at"},
        relations=[("orders", "user", "users")],
    )
    return reader.snapshot(folder)


def labels(kind: Kind) -> TaskTable:
    """Every user at every week: whether there is an order in the next one, or what it amounts to."""
    rng = np.random.default_rng(0)
    active = np.repeat(rng.random((USERS, WEEKS // 5)) < 0.5, 5, axis=1)
    week, user = (grid.ravel() for grid in np.meshgrid(np.arange(1, WEEKS), np.arange(USERS), indexing="ij"))
    split = np.select([week < 18, week < 24], [0, 1], 2).astype(np.int8)
    target = active[user, week].astype(np.float64) * (1 if kind is Kind.binary else user)
    return TaskTable(user.astype(np.int64), week * WEEK, split, target, 18 * WEEK, 24 * WEEK)


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MOST_ROUNDS", 60)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return shop(tmp_path_factory.mktemp("shop") / "snapshot")


@pytest.mark.parametrize("kind", [Kind.binary, Kind.regression])
def test_lightgbm_beats_the_constant_and_repeats_itself(snapshot: Snapshot, kind: Kind) -> None:
    task, table, told = replace(CHURN, kind=kind), labels(kind), []
    fitted = fit_baselines(task, snapshot, table, progress=told.append)
    assert told == list(fitted) == ["global", "past label", "LightGBM"]
    train = table.of("train").target
    figures = {
        name: evaluate(kind, table.of("test").target, fit["test"], train_target=train) for name, fit in fitted.items()
    }
    if kind is Kind.binary:
        assert figures["global"]["auroc"] == 0.5
        assert figures["LightGBM"]["auroc"] > 0.75
    else:
        assert figures["LightGBM"]["mae"] < 0.8 * figures["global"]["mae"]
    again = fit_baselines(task, snapshot, table)
    for name, baseline in fitted.items():
        for split in (Split.val, Split.test):
            assert len(baseline[split]) == len(table.of(split))
            assert np.array_equal(baseline[split], again[name][split])


def test_the_constant_is_the_share_of_positives_or_the_median(snapshot: Snapshot) -> None:
    table = labels(Kind.binary)
    value = fit_baselines(CHURN, snapshot, table)["global"]["val"]
    assert set(value) == {table.of("train").target.mean()}
    table = replace(labels(Kind.regression), target=np.arange(len(table), dtype=np.float64))
    value = fit_baselines(replace(CHURN, kind=Kind.regression), snapshot, table)["global"]["test"]
    assert set(value) == {float(np.median(table.of("train").target))}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(0, 30), frozen=st.booleans())
def test_a_past_label_is_the_newest_whose_window_had_closed(seed: int, n: int, frozen: bool) -> None:
    rng = np.random.default_rng(seed)
    time = rng.permutation(200)[:n] * US_PER_DAY // 2
    target = np.where(rng.random(n) < 0.1, np.nan, rng.random(n))
    table = TaskTable(rng.integers(0, 3, n), time, np.zeros(n, np.int8), target, 0, 0)
    cuts = np.minimum(time, 40 * US_PER_DAY) if frozen else time
    expected = []
    for at in range(n):
        closed = (table.entity == table.entity[at]) & (time + WEEK <= cuts[at]) & ~np.isnan(target)
        expected.append(target[closed][np.argmax(time[closed])] if closed.any() else np.nan)
    nothing = cast("Snapshot", None)
    assert np.array_equal(past_labels(CHURN, nothing, table, cuts), expected, equal_nan=True)


def test_the_past_label_of_a_row_is_its_parents_last_one_strictly_before(tmp_path: Path) -> None:
    days = np.array([0, 1, 1, 2, 3, 3]) * US_PER_DAY
    shown = pa.table({"user_id": [0, 0, 1, 0, 1, 0], "clicked": [1.0, 0, 1, 1, 0, 0], "at": pa.array(days)})
    shown = shown.set_column(2, "at", shown["at"].cast(pa.timestamp("us")))
    reader = MemoryReader(
        {"users": pa.table({"id": [0, 1]}), "shown": shown},
        keys={"users": "id"},
        times={"shown": "at"},
        relations=[("shown", "user_id", "users")],
    )
    table = TaskTable(np.arange(6), days, np.zeros(6, np.int8), shown["clicked"].to_numpy(), 0, 0)
    asked = frozenset({("shown", "clicked")})
    task = replace(CHURN, entity="shown", row_level=True, horizon=None, label_columns=asked, hidden=frozenset())
    snapshot = reader.snapshot(tmp_path / "s")
    found = past_labels(task, snapshot, table, table.time)
    assert np.array_equal(found, [np.nan, 1, np.nan, 0, 1, 1], equal_nan=True)
    assert np.isnan(past_labels(replace(task, hidden=asked), snapshot, table, table.time)).all()
    frozen = past_labels(task, snapshot, table, np.minimum(days, 2 * US_PER_DAY))
    assert np.array_equal(frozen, [np.nan, 1, np.nan, 0, 1, 0], equal_nan=True), "strictly older than the cut, too"
    # Users are known later: row 1's two days after it, row 4's never.
    told = pa.array([0, 3, 1, 1, None, 2])
    reader.tables["shown"] = shown.append_column("told", pc.multiply(told, US_PER_DAY).cast(pa.timestamp("us")))
    late = MemoryReader(
        reader.tables,
        keys={"users": "id"},
        times={"shown": "at"},
        relations=[("shown", "user_id", "users")],
        known_at={"user_id": "told"},
    ).snapshot(tmp_path / "late")
    found = past_labels(task, late, table, table.time)
    assert np.array_equal(found, [np.nan, np.nan, np.nan, 1, np.nan, 1], equal_nan=True)


def test_the_frozen_regime_sees_nothing_after_the_cut(snapshot: Snapshot, tmp_path: Path) -> None:
    table = labels(Kind.binary)
    other = shop(tmp_path / "other", spent_after=1e6)
    changed = replace(table, target=np.where(table.time > 24 * WEEK - WEEK, 1 - table.target, table.target))
    # Test labels may change at will; those of training and validation stay.
    changed = replace(changed, target=np.where(table.split == 2, changed.target, table.target))
    frozen = [
        fit_baselines(CHURN, snapshot, table, regime="frozen"),
        fit_baselines(CHURN, other, changed, regime="frozen"),
    ]
    fresh = [fit_baselines(CHURN, snapshot, table), fit_baselines(CHURN, other, changed)]
    for name in frozen[0]:
        assert np.array_equal(frozen[0][name]["test"], frozen[1][name]["test"])
    for name in ("past label", "LightGBM"):
        assert not np.array_equal(fresh[0][name]["test"], fresh[1][name]["test"])


def test_splits_may_be_empty_and_classes_may_be_one(snapshot: Snapshot) -> None:
    table = labels(Kind.binary)
    train = table.of("train")
    fitted = fit_baselines(CHURN, snapshot, train)
    assert all(len(baseline[split]) == 0 for baseline in fitted.values() for split in (Split.val, Split.test))
    fitted = fit_baselines(CHURN, snapshot, replace(table, target=np.ones(len(table))))
    assert all(np.isfinite(baseline["test"]).all() for baseline in fitted.values())


def test_without_training_seeds_or_for_other_kinds_there_is_a_clear_error(snapshot: Snapshot) -> None:
    table = labels(Kind.binary)
    with pytest.raises(ConfigError, match="no training seeds"):
        fit_baselines(CHURN, snapshot, table.of("val"))
    with pytest.raises(ConfigError, match="recommendation"):
        fit_baselines(replace(CHURN, kind=Kind.recommendation), snapshot, table)


@pytest.mark.parametrize(
    ("fault", "hint"), [(OSError("libgomp.so.1"), "libgomp1"), (ImportError("none"), "pip install")]
)
def test_a_missing_library_is_named(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, fault: Exception, hint: str
) -> None:
    imported = builtins.__import__

    def failing(name: str, *rest: object, **named: object) -> object:
        if name == "lightgbm":
            raise fault
        return imported(name, *rest, **named)

    monkeypatch.delitem(sys.modules, "lightgbm", raising=False)
    monkeypatch.setattr(builtins, "__import__", failing)
    with pytest.raises(ConfigError, match=r"LightGBM") as raised:
        fit_baselines(CHURN, snapshot, labels(Kind.binary))
    assert hint in str(raised.value)
