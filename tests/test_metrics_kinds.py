"""The figures of classes, lists, forecasts and quantiles agree with their definitions, written again by hand."""

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


def shares(rng: np.random.Generator, n: int, classes: int) -> np.ndarray:
    drawn = rng.integers(1, 5, (n, classes)).astype(np.float64)
    return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 25), classes=st.integers(1, 5))
def test_multiclass_figures_equal_their_definitions(seed: int, n: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    target, probability = rng.integers(-2, classes, n), shares(rng, n, classes)
    figures = evaluate(Kind.multiclass, target, probability, train_target=target)
    assert tuple(figures) == NAMES[Kind.multiclass]
    orders = [sorted(range(classes), key=lambda c: (-probability[row, c], c)) for row in range(n)]
    predicted = np.array([order[0] for order in orders])
    assert figures["accuracy"] == pytest.approx(np.mean(predicted == target))
    inverse = [1 / (1 + order.index(label)) if label >= 0 else 0 for order, label in zip(orders, target, strict=True)]
    assert figures["mrr"] == pytest.approx(np.mean(inverse))
    each = []
    for label in {*target.tolist(), *predicted.tolist()}:
        both = ((target == label) & (predicted == label)).sum()
        each.append(2 * both / ((target == label).sum() + (predicted == label).sum()))
    assert figures["macro_f1"] == pytest.approx(np.mean(each))
    seen = np.flatnonzero(target >= 0)
    if len(seen):
        assert figures["log_loss"] == pytest.approx(-np.log(probability[seen, target[seen]]).mean())
    else:
        assert math.isnan(figures["log_loss"])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 25), classes=st.integers(1, 4))
def test_multilabel_figures_are_means_of_the_binary_ones(seed: int, n: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    target, probability = (rng.random((n, classes)) < 0.4).astype(np.float32), rng.random((n, classes)).round(1)
    figures = evaluate(Kind.multilabel, target, probability, train_target=target)
    assert tuple(figures) == NAMES[Kind.multilabel]
    columns = (target.T.astype(np.float64), probability.T)
    one = [evaluate(Kind.binary, *pair, train_target=NONE) for pair in zip(*columns, strict=True)]
    for name, binary in (("macro_auroc", "auroc"), ("macro_average_precision", "average_precision")):
        known = [found[binary] for found in one if not math.isnan(found[binary])]
        assert figures[name] == pytest.approx(np.mean(known) if known else math.nan, nan_ok=True)
    assert figures["log_loss"] == pytest.approx(np.mean([found["log_loss"] for found in one]))
    found, there = probability >= 0.5, target > 0
    expected = 2 * (found & there).sum() / (found.sum() + there.sum()) if (found | there).any() else math.nan
    assert figures["micro_f1"] == pytest.approx(expected, nan_ok=True)


def test_forecast_figures_equal_their_definitions_by_hand() -> None:
    target = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]])
    found = evaluate(
        Kind.forecast, target, np.array([[2.0, 9, 9], [3.0, 1.0, 9]]), train_target=np.array([[0.0, 2, 4]])
    )
    assert found["mae"] == pytest.approx(4 / 3)
    assert found["rmse"] == pytest.approx(math.sqrt(10 / 3))
    assert found["nmae"] == pytest.approx(2 / 3)
    assert [found["mae_1"], found["mae_2"]] == [0.5, 3.0]
    assert math.isnan(found["mae_3"])


def test_figures_of_quantiles_equal_their_definitions_by_hand() -> None:
    target, predicted = np.array([1.0, 5.0, 9.0]), np.array([[0.0, 1, 2], [6, 7, 8], [8, 9, 9]])
    found = evaluate(Kind.regression, target, predicted, train_target=target, quantiles=(0.1, 0.5, 0.9))
    assert found["mae"] == pytest.approx(2 / 3)
    assert found["coverage_80"] == pytest.approx(2 / 3)
    assert found["width_80"] == pytest.approx(5 / 3)
    lost = [0.1 * 1, 0, 0.1 * 1, 0.9 * 1, 0.5 * 2, 0.1 * 3, 0.1 * 1, 0, 0]
    assert found["pinball"] == pytest.approx(np.mean(lost))


@pytest.mark.parametrize("kind", [Kind.multiclass, Kind.multilabel, Kind.forecast])
def test_no_rows_have_no_figures(kind: Kind) -> None:
    target = np.zeros(0, np.int64) if kind is Kind.multiclass else np.zeros((0, 2))
    figures = evaluate(kind, target, np.zeros((0, 2)), train_target=target)
    assert set(NAMES[kind]) <= set(figures)
    assert all(math.isnan(figure) for figure in figures.values())
    assert headline(kind)[0] == NAMES[kind][0]


@pytest.mark.parametrize(
    ("kind", "target", "prediction", "says"),
    [
        (Kind.multiclass, [0, 1], [0.2, 0.8], "do not match"),
        (Kind.multiclass, [0], [[2.0, -1.0]], "between -1 and 2"),
        (Kind.multilabel, [[0, 1]], [[0.5]], "do not match"),
        (Kind.forecast, [[0.0, 1.0]], [[np.inf, 0.0]], "1 of 2"),
    ],
)
def test_what_cannot_be_measured_is_refused(kind: Kind, target: list, prediction: list, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        evaluate(kind, np.array(target), np.array(prediction), train_target=np.array(target))


def test_labels_whose_squares_overflow_have_figures() -> None:
    figures = evaluate(Kind.regression, np.array([1e200, 0.0]), np.zeros(2), train_target=np.array([1e200, 0.0]))
    assert figures["mae"] == 5e199
    assert figures["rmse"] == math.inf
    assert math.isnan(figures["r2"])
