"""Earlier labels: which are known when, against a search through all of them; and what LightGBM is asked by kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.baselines import _from_past, fit_baselines, past_labels
from rdl.boosting import MOST_FITS, constant, joined, name, problems
from rdl.clock import US_PER_DAY
from rdl.earlier import history
from rdl.metrics import evaluate
from rdl.query import read_task
from rdl.query.task import Kind, TaskTable
from rdl.snapshot import Snapshot
from tests.query.shop import SHOP
from tests.test_baselines import CHURN, labels, shop

DAY = US_PER_DAY
WEEKS = read_task("PREDICT SUM(orders.amount, 0, 1, weeks) FORECAST 3 TIMEFRAMES FOR EACH users.id", SHOP)
NOTHING = cast("Snapshot", None)


def forecasts(seed: int, n: int) -> TaskTable:
    rng = np.random.default_rng(seed)
    time = rng.permutation(60)[:n] * DAY
    target = np.where(rng.random((n, 3)) < 0.2, np.nan, rng.random((n, 3)))
    return TaskTable(rng.integers(0, 3, n), time, np.zeros(n, np.int8), target, 100 * DAY, 100 * DAY)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 25), frozen=st.booleans())
def test_a_timeframe_is_known_once_it_has_closed(seed: int, n: int, frozen: bool) -> None:
    table = forecasts(seed, n)
    cuts = np.minimum(table.time, 30 * DAY) if frozen else table.time
    found = past_labels(replace(WEEKS, sql=None), _no_late(), table, cuts)
    for row in range(n):
        known = [
            (table.time[other] + 7 * DAY * (frame + 1), table.target[other, frame])
            for other in range(n)
            for frame in range(3)
            if table.entity[other] == table.entity[row] and np.isfinite(table.target[other, frame])
            and table.time[other] + 7 * DAY * (frame + 1) <= cuts[row]
        ]  # fmt: skip
        newest = {value for at, value in known if at == max(known)[0]}
        assert found[row] in newest if known else np.isnan(found[row])


def _no_late() -> Snapshot:
    """A snapshot of which only the schema is read: no column is known later than its row."""

    class Empty:
        schema = SHOP

    return cast("Snapshot", Empty())


CLASSES = ("a", "b", "c")


def several(kind: Kind) -> TaskTable:
    """The spells of :func:`tests.test_baselines.labels` as classes: by user and whether there is an order."""
    table = labels(Kind.binary)
    active = table.target.astype(np.int64)
    if kind is Kind.multiclass:
        return replace(table, target=np.where(active == 1, 1 + table.entity % 2, 0), classes=CLASSES)
    if kind is Kind.multilabel:
        indptr = np.concatenate([[0], np.cumsum(active * 2)])
        return replace(table, target=np.tile([0, 1], int(active.sum())), indptr=indptr, classes=CLASSES[:2])
    frames = np.stack([active * table.entity, active * 1.0], axis=1).astype(np.float64)
    return replace(table, target=np.where(table.split[:, None] * [0, 1] > 1, np.nan, frames))


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return shop(tmp_path_factory.mktemp("shop") / "snapshot")


@pytest.mark.parametrize(
    ("kind", "figure", "levels"),
    [(Kind.multiclass, "log_loss", ()), (Kind.multilabel, "log_loss", ()), (Kind.forecast, "mae", ()),
     (Kind.regression, "pinball", (0.1, 0.5, 0.9))],
)  # fmt: skip
def test_each_kind_has_baselines_that_learn_and_repeat_themselves(
    snapshot: Snapshot, kind: Kind, figure: str, levels: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rdl.baselines.MOST_ROUNDS", 60)
    table, task = labels(kind) if levels else several(kind), replace(CHURN, kind=kind)
    found, again = (fit_baselines(task, snapshot, table, quantiles=levels) for _ in range(2))
    train, test = table.of("train").dense(), table.of("test").dense()
    lost = {
        one: evaluate(kind, test, fitted["test"], train_target=train, quantiles=levels)[figure]
        for one, fitted in found.items()
    }
    assert lost["LightGBM"] < 0.9 * lost["global"]
    assert lost["past label"] < lost["global"]
    for one, fitted in found.items():
        assert np.array_equal(fitted["test"], again[one]["test"])


def test_a_baseline_sees_no_label_of_a_window_that_is_open(snapshot: Snapshot) -> None:
    """Test labels are turned round: what is said of the first seeds of test, whose windows all end later, stays."""
    table, task = several(Kind.multiclass), replace(CHURN, kind=Kind.multiclass)
    first = table.time == table.of("test").time.min()
    late = table.time >= table.of("test").time.min()
    other = replace(table, target=np.where(late, (table.target + 1) % 3, table.target))
    columns, changed = (
        dict(history(task, snapshot, t, np.flatnonzero(first), t.time[first], 5)) for t in (table, other)
    )
    assert columns.keys() == changed.keys()
    assert all(np.array_equal(columns[key], changed[key], equal_nan=True) for key in columns)
    assert np.isfinite(columns["label class 0 last"]).all()
    assert np.array_equal(past_labels(task, snapshot, table, table.time)[first],
                          past_labels(task, snapshot, other, table.time)[first])  # fmt: skip


def of(kind: Kind, target: Any, past: list[float], **facts: Any) -> tuple[TaskTable, np.ndarray]:
    none = np.zeros(len(past), np.int64)
    split = np.array([0] * (len(past) - 1) + [2], np.int8)
    return TaskTable(none, none, split, np.array(target), 1, 2, **facts), np.array(past)


def test_what_a_past_label_says_of_the_next_by_hand() -> None:
    table, past = of(Kind.multiclass, [0, 0, 1, 0], [0, 1, np.nan, 1], classes=CLASSES[:2])
    # It came again once of two times; of the rest, two thirds are a, as in training.
    assert _from_past(Kind.multiclass, table, past, np.array([2 / 3, 1 / 3]), ())[3] == pytest.approx([1 / 3, 2 / 3])
    assert _from_past(Kind.multiclass, table, np.full(4, np.nan), np.array([2 / 3, 1 / 3]), ())[3, 0] == 2 / 3
    table, past = of(
        Kind.multilabel, [0, 0, 1], [np.nan, 0, 1, 2], indptr=np.array([0, 1, 3, 3, 3]), classes=CLASSES[:2]
    )
    found = _from_past(Kind.multilabel, table, past, np.array([2 / 3, 1 / 3]), ())
    # a was there twice and came once; b was not there once and came, was there once and did not.
    assert found[3] == pytest.approx([2 / 3, 1.0])
    assert found[2] == pytest.approx([0.5, 0.0])
    table, past = of(Kind.regression, [1.0, 3.0, 5.0], [0.0, 2.0, 7.0])
    assert _from_past(Kind.regression, table, past, np.zeros(3), (0.1, 0.5, 0.9))[2] == pytest.approx([8, 8, 8])


def test_many_classes_are_learnt_in_part_and_told_so() -> None:
    many = MOST_FITS + 5
    table = TaskTable(*(np.zeros(many + 1, np.int64),) * 2, np.zeros(many + 1, np.int8), np.append(np.arange(many), 0),
                      1, 2, classes=tuple(range(many)))  # fmt: skip
    assert name(Kind.multiclass, table) == f"LightGBM on {MOST_FITS} of {many} classes"
    (problem,) = problems(Kind.multiclass, table, "l1", ())
    assert problem.parameters["num_class"] == MOST_FITS + 1
    assert (problem.target[MOST_FITS:-1] == MOST_FITS).all()
    prior = constant(Kind.multiclass, table, "l1", ())
    found = joined(Kind.multiclass, [np.full((2, MOST_FITS + 1), 1 / (MOST_FITS + 1))], prior)
    assert found.shape == (2, many)
    assert found.sum(axis=1) == pytest.approx([1, 1])
    assert found[0, -1] == pytest.approx(1 / (MOST_FITS + 1) / 5)
    frames = replace(table, target=np.ones((many + 1, many)), classes=())
    assert name(Kind.forecast, frames) == f"LightGBM on {MOST_FITS} of {many} timeframes"
    assert joined(Kind.forecast, [np.zeros(1)] * MOST_FITS, constant(Kind.forecast, frames, "l1", ())).shape == (
        1,
        many,
    )


def test_a_timeframe_without_training_labels_is_said_as_the_others_are(snapshot: Snapshot) -> None:
    table = several(Kind.forecast)
    unknown = np.where((table.split == 0)[:, None] * [False, True], np.nan, table.target)
    fitted = fit_baselines(replace(CHURN, kind=Kind.forecast), snapshot, replace(table, target=unknown))
    expected = np.nanmedian(unknown[table.split == 0])
    assert (fitted["LightGBM"]["test"][:, 1] == expected).all()
    assert (fitted["global"]["test"][:, 1] == expected).all()
