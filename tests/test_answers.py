"""What a report says and draws of each kind of answer."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from rdl.answers import MOST_LISTED, drawings, middle, standard_error, unseen
from rdl.query.task import Kind, TaskTable
from rdl.report import _best, _named

CLASSES = ("ok", "$ back $", "a name that is longer than what a chart has room for")


def answers(kind: Kind, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(3), n)
    if kind is Kind.binary:
        return (rng.random(n) < shares[:, 0]).astype(float), shares[:, 0]
    if kind is Kind.multiclass:
        return rng.integers(-1, 3, n), shares
    if kind is Kind.multilabel:
        return (rng.random((n, 3)) < shares).astype(np.float32), shares
    if kind is Kind.forecast:
        return np.where(rng.random((n, 3)) < 0.1, np.nan, shares), shares + 0.1
    return shares[:, 0], shares[:, 0] + rng.normal(size=n) / 10


@pytest.mark.parametrize(
    ("kind", "titles"),
    [
        (Kind.binary, ("calibration", "scores by class")),
        (Kind.multiclass, ("actual and predicted", "calibration", "$ back $", "a name t…room for")),
        (Kind.multilabel, ("calibration", "AUROC of the most frequent classes", "ok")),
        (Kind.forecast, ("predicted and actual", "MAE of each timeframe")),
        (Kind.regression, ("predicted and actual", "errors")),
    ],
)
def test_each_kind_has_its_charts(kind: Kind, titles: tuple[str, ...]) -> None:
    drawn = drawings(kind, *answers(kind), CLASSES, ())
    assert len(drawn) == 2
    for title in titles:
        assert title in "".join(drawn), title


def test_quantiles_are_held_against_the_labels_below_them() -> None:
    target, median = answers(Kind.regression)
    drawn = drawings(Kind.regression, target, np.stack([median - 1, median, median + 1], axis=1), (), (0.1, 0.5, 0.9))
    assert "share of labels below" in "".join(drawn)


def test_one_class_only_and_all_the_same_are_drawn() -> None:
    """Without a warning, which is an error here."""
    target, shares = answers(Kind.multilabel)
    assert len(drawings(Kind.multilabel, np.zeros_like(target), shares, CLASSES, ())) == 1
    assert len(drawings(Kind.multiclass, np.full(80, -1), shares, CLASSES, ())) == 2
    assert len(drawings(Kind.forecast, np.tile([1, 1, np.nan], (80, 1)), shares, (), ())) == 2


@pytest.mark.parametrize("kind", [Kind.multiclass, Kind.forecast, Kind.regression])
def test_the_standard_error_is_that_of_the_mean(kind: Kind) -> None:
    target, prediction = answers(kind)
    if kind is Kind.multiclass:
        each = (prediction.argmax(axis=1) == target).astype(float)
    else:
        each = np.abs(prediction - target)
        each = np.nanmean(each, axis=1) if each.ndim > 1 else each
    assert standard_error(kind, target, prediction) == pytest.approx(each.std(ddof=1) / len(each) ** 0.5)
    assert math.isnan(standard_error(kind, target[:1], prediction[:1]))
    assert math.isnan(standard_error(Kind.multilabel, target, prediction))


def table(target: list[int], split: list[int], **facts: object) -> TaskTable:
    none = np.zeros(len(split), np.int64)
    return TaskTable(none, none, np.array(split, np.int8), np.array(target), 1, 2, classes=CLASSES, **facts)  # type: ignore[arg-type]


def test_classes_that_training_has_not_are_said() -> None:
    found = table([0, 1, -1, 0, -1, -2], [0, 0, 1, 1, 2, 2], unseen=("lost", "found"))
    val, test = unseen(found)
    assert val.startswith("1 of 2 val labels are of classes that training has not ('lost'): no model")
    assert test.startswith("2 of 2 test labels are of classes that training has not ('lost', 'found')")
    many = table([0, *(-1 - n for n in range(9))], [0] + [2] * 9, unseen=tuple("abcdefghi"))
    assert f"'e' and {9 - MOST_LISTED} more" in unseen(many)[0]
    lists = replace(found, split=found.split[:3], entity=found.entity[:3], indptr=np.array([0, 2, 4, 6]))
    assert unseen(lists) == [
        "2 of 2 val labels are of classes that training has not ('lost', 'found'): they are in no figure."
    ]
    assert unseen(found.of("train")) == []


def test_labels_are_summed_up_by_kind() -> None:
    found = table([0, 1, 0, 0], [0] * 4)
    assert middle(Kind.multiclass, found) == ("share of ok", "0.75")
    assert middle(Kind.multilabel, replace(found, indptr=np.array([0, 2, 2, 4, 4]))) == ("classes a seed", "1")
    assert middle(Kind.forecast, replace(found, target=np.array([[1.0, np.nan]] * 4)))[1] == "1"
    assert middle(Kind.multiclass, found.of("test"))[1] == "–"


def test_figures_of_parts_have_names_and_coverage_no_best() -> None:
    assert _named("mae_3") == "MAE, timeframe 3"
    assert _named("width_80") == "mean width, of % 80"
    assert _best([1.0, 2.0], "width_80") == 1.0
    assert _best([1.0, 2.0], "mae_2") == 1.0
    assert math.isnan(_best([0.7, 0.9], "coverage_80"))
