"""The figures agree with their formulas and with RelBench's, and have no value rather than an exception."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.errors import ConfigError
from rdl.metrics import NAMES, evaluate, headline
from rdl.query.task import Kind

NONE = np.zeros(0)


def _sample(seed: int, n: int, ties: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = (rng.random(n) < 0.4).astype(np.float64)
    return target, np.round(rng.random(n) * ties) / ties


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 40), ties=st.integers(1, 20))
def test_binary_figures_equal_their_definitions(seed: int, n: int, ties: int) -> None:
    target, probability = _sample(seed, n, ties)
    figures = evaluate(Kind.binary, target, probability, train_target=target)
    assert tuple(figures) == NAMES[Kind.binary]
    positive, negative = probability[target == 1], probability[target == 0]
    if len(positive) and len(negative):
        difference = positive[:, None] - negative[None, :]
        auroc = (difference > 0).mean() + (difference == 0).mean() / 2
        assert figures["auroc"] == pytest.approx(auroc)
    else:
        assert math.isnan(figures["auroc"])
    if len(positive):
        thresholds = np.unique(probability)[::-1]
        recall = np.array([0.0] + [(positive >= at).mean() for at in thresholds])
        precision = np.array([target[probability >= at].mean() for at in thresholds])
        assert figures["average_precision"] == pytest.approx(float((np.diff(recall) * precision).sum()))
    else:
        assert math.isnan(figures["average_precision"])
    clipped = np.clip(probability, np.finfo(float).eps, 1 - np.finfo(float).eps)
    log_loss = -(target * np.log(clipped) + (1 - target) * np.log1p(-clipped)).mean()
    assert figures["log_loss"] == pytest.approx(log_loss)
    assert figures["accuracy"] == pytest.approx(np.mean((probability >= 0.5) == target))
    assert figures["brier"] == pytest.approx(np.mean((probability - target) ** 2))


def test_regression_figures_equal_their_definitions_by_hand() -> None:
    figures = evaluate(
        Kind.regression, np.array([1.0, 2, 6]), np.array([2.0, 2, 4]), train_target=np.array([0.0, 2.0, 4.0])
    )
    assert tuple(figures) == NAMES[Kind.regression]
    assert figures == pytest.approx({"mae": 1.0, "rmse": math.sqrt(5 / 3), "r2": 1 - 5 / 14, "nmae": 0.5})


def test_figures_equal_those_of_relbench() -> None:
    theirs = pytest.importorskip("relbench.metrics")
    target, probability = _sample(7, 500, 50)
    assert evaluate(Kind.binary, target, probability, train_target=target)["auroc"] == pytest.approx(
        theirs.roc_auc(target, probability), abs=1e-12
    )
    rng = np.random.default_rng(3)
    train, target, prediction = rng.normal(size=90) * 7, rng.normal(size=50), rng.normal(size=50)
    nmae = theirs.make_nmae(lambda: float(np.std(train, ddof=1)))(target, prediction)
    assert evaluate(Kind.regression, target, prediction, train_target=train)["nmae"] == pytest.approx(nmae, abs=1e-12)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_has_no_auroc_and_raises_nothing(label: float) -> None:
    figures = evaluate(Kind.binary, np.full(4, label), np.linspace(0, 1, 4), train_target=np.full(4, label))
    assert math.isnan(figures["auroc"])
    assert math.isnan(figures["average_precision"]) == (label == 0)
    assert figures["accuracy"] == 0.5
    assert math.isfinite(figures["log_loss"])


@pytest.mark.parametrize("kind", [Kind.binary, Kind.regression])
def test_no_rows_have_no_figures(kind: Kind) -> None:
    figures = evaluate(kind, NONE, NONE, train_target=NONE)
    assert tuple(figures) == NAMES[kind]
    assert all(math.isnan(figure) for figure in figures.values())


def test_rows_without_a_label_do_not_count() -> None:
    whole = evaluate(Kind.binary, np.array([0.0, 1.0]), np.array([0.3, 0.6]), train_target=np.array([0.0, 1.0]))
    holed = evaluate(
        Kind.binary, np.array([0.0, np.nan, 1.0]), np.array([0.3, 0.9, 0.6]), train_target=np.array([0.0, 1.0])
    )
    assert holed == whole


def test_a_constant_train_target_has_no_nmae_and_a_constant_target_no_r2() -> None:
    figures = evaluate(Kind.regression, np.ones(3), np.arange(3.0), train_target=np.ones(3))
    assert math.isnan(figures["nmae"])
    assert math.isnan(figures["r2"])
    assert figures["mae"] == pytest.approx(2 / 3)


def test_headlines() -> None:
    assert headline(Kind.binary) == ("auroc", True)
    assert headline(Kind.regression) == ("mae", False)


@pytest.mark.parametrize(
    ("kind", "target", "prediction", "says"),
    [
        (Kind.binary, [0.0, 1.0], [0.5], "do not match"),
        (Kind.binary, [0.0, 1.0], [-3.0, 2.0], "between -3 and 2"),
        (Kind.regression, [0.0, 1.0], [np.nan, 2.0], "1 of 2"),
        (Kind.recommendation, [0.0], [0.0], "recommendation"),
    ],
)
def test_what_cannot_be_measured_is_refused(kind: Kind, target: list, prediction: list, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        evaluate(kind, np.array(target), np.array(prediction), train_target=np.array(target))
