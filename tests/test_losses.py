"""What each kind of task is trained by: at the least loss stands what should be predicted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.config import ClassWeights, Loss, TrainConfig
from rdl.errors import ConfigError
from rdl.folders import _plain
from rdl.losses import Objective, scale_of
from rdl.query.task import Kind, TaskTable

MEMBERS = 3


def seeds(target: Any, *, classes: tuple[Any, ...] = (), indptr: Any = None) -> TaskTable:
    """Training seeds with these labels."""
    many = len(target) if indptr is None else len(indptr) - 1
    none = np.zeros(many, np.int64)
    return TaskTable(none, none, none.astype(np.int8), np.asarray(target), 1, 2, indptr, classes)


def learnt(objective: Objective, table: TaskTable, steps: int = 600) -> np.ndarray:
    """What a model predicts of every seed that can tell none from another, at its least loss."""
    output = torch.zeros(1, MEMBERS, objective.outputs, requires_grad=True)
    optimizer, target = torch.optim.Adam([output], lr=0.05), objective.encode(table)
    for _ in range(steps):
        optimizer.zero_grad()
        objective.loss(output.expand(len(table), -1, -1), target).backward()
        optimizer.step()
    return np.asarray(objective.prediction(output.detach()))[0]


@pytest.mark.parametrize("weights", ClassWeights)
def test_probabilities_are_those_of_the_classes_however_they_are_weighed(weights: ClassWeights) -> None:
    config = TrainConfig(class_weights=weights)
    binary = seeds(np.array([1.0] + [0.0] * 9))
    objective = Objective.fit(Kind.binary, binary, config)
    assert learnt(objective, binary) == pytest.approx(0.1, abs=5e-3)
    several = seeds(np.array([0] * 7 + [1] * 2 + [2]), classes=("a", "b", "c"))
    objective = Objective.fit(Kind.multiclass, several, config)
    assert learnt(objective, several) == pytest.approx([0.7, 0.2, 0.1], abs=5e-3)
    assert (objective.weights == ()) == (weights is ClassWeights.none)


def test_balanced_weights_count_each_class_the_same() -> None:
    table = seeds(np.array([0] * 6 + [1] * 3 + [2]), classes=("a", "b", "c"))
    objective = Objective.fit(Kind.multiclass, table, TrainConfig(class_weights=ClassWeights.balanced))
    assert np.multiply(objective.weights, [6, 3, 1]) == pytest.approx([10 / 3] * 3)
    # Where nothing is told apart, and the classes count the same, all are equally likely: the loss is that of thirds.
    assert objective.starts == pytest.approx([-np.log(3)] * 3)
    flat = objective.loss(torch.zeros(10, MEMBERS, 3), objective.encode(table))
    assert float(flat) == pytest.approx(np.log(3))


def test_a_model_of_classes_starts_from_their_shares() -> None:
    table = seeds(np.array([0] * 7 + [1] * 2 + [2]), classes=("a", "b", "c"))
    for weights in ClassWeights:
        objective = Objective.fit(Kind.multiclass, table, TrainConfig(class_weights=weights))
        assert objective.prediction(torch.zeros(1, MEMBERS, 3))[0].tolist() == pytest.approx([0.7, 0.2, 0.1])
    lists = seeds(np.array([0, 0, 1]), classes=("x", "y"), indptr=np.array([0, 1, 3, 3]))
    objective = Objective.fit(Kind.multilabel, lists)
    assert objective.prediction(torch.zeros(1, MEMBERS, 2))[0].tolist() == pytest.approx([2.5 / 4, 1.5 / 4])


def test_each_of_several_labels_is_learnt() -> None:
    table = seeds(np.array([0, 0, 1, 0]), classes=("x", "y"), indptr=np.array([0, 1, 3, 4, 4]))
    assert table.dense().tolist() == [[1, 0], [1, 1], [1, 0], [0, 0]]
    objective = Objective.fit(Kind.multilabel, table)
    assert learnt(objective, table) == pytest.approx([0.75, 0.25], abs=5e-3)


@pytest.mark.parametrize(("loss", "expected"), [(Loss.l1, 3.0), (Loss.l2, 8.0)])
def test_numbers_are_learnt_as_their_median_or_mean(loss: Loss, expected: float) -> None:
    table = seeds(np.array([1.0, 2, 3, 4, 30]))
    objective = Objective.fit(Kind.regression, table, TrainConfig(loss=loss))
    assert learnt(objective, table, 2000) == pytest.approx(expected, abs=0.1)
    between = Objective.fit(Kind.regression, table, TrainConfig(loss=Loss.huber))
    assert 3.0 < learnt(between, table) < 8.0


def test_quantiles_are_learnt_in_order_and_moved_by_their_calibration() -> None:
    table = seeds(np.arange(101.0))
    objective = Objective.fit(Kind.regression, table, TrainConfig(quantiles=(0.9, 0.1)))
    assert objective.quantiles == (0.1, 0.5, 0.9)
    assert learnt(objective, table) == pytest.approx([10, 50, 90], abs=1.5)
    crossing = objective.prediction(torch.tensor([[[1.0, 0.0, -1.0]]]))
    assert (crossing.diff(dim=1) > 0).all()


def test_unknown_timeframes_teach_nothing() -> None:
    table = seeds(np.array([[1.0, np.nan], [3.0, 10.0], [5.0, np.nan]]))
    objective = Objective.fit(Kind.forecast, table)
    assert learnt(objective, table) == pytest.approx([3.0, objective.high], abs=0.3)
    output = torch.zeros(1, MEMBERS, 2, requires_grad=True)
    objective.loss(output, torch.full((1, 2), torch.nan)).backward()
    assert output.grad is not None
    assert not output.grad.any()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=30), st.sampled_from(Loss))
def test_whatever_the_labels_the_loss_and_its_gradient_are_finite(labels: list[float], loss: Loss) -> None:
    table = seeds(np.array(labels))
    for config in (TrainConfig(loss=loss), TrainConfig(quantiles=(0.1, 0.9))):
        objective = Objective.fit(Kind.regression, table, config)
        output = torch.zeros(len(labels), MEMBERS, objective.outputs, requires_grad=True)
        lost = objective.loss(output, objective.encode(table))
        lost.backward()
        assert lost.isfinite()
        assert output.grad is not None
        assert output.grad.isfinite().all()
        assert objective.prediction(output.detach()).isfinite().all()


def test_outliers_do_not_set_the_scale() -> None:
    rng = np.random.default_rng(0)
    usual = rng.normal(size=1000) * 7
    assert scale_of(usual) == usual.std(), "of usual labels it is the standard deviation, to the bit"
    usual[:20] = 1e12
    assert 6 < scale_of(usual) < 20
    usual[:200] = 1e12
    assert 6 < scale_of(usual) < 60
    spent = np.where(rng.random(1000) < 0.97, 0.0, rng.random(1000) * 100)
    assert 0 < scale_of(spent) < 100
    assert scale_of(np.full(5, 3.0)) == 1


@pytest.mark.parametrize(
    ("kind", "setting", "says"),
    [
        (Kind.binary, {"loss": "l2"}, "loss l2 is of regression"),
        (Kind.forecast, {"quantiles": (0.1, 0.9)}, "quantiles are of regression"),
        (Kind.regression, {"quantiles": (0.1, 0.9), "loss": "huber"}, "a loss of their own"),
        (Kind.multilabel, {"class_weights": "balanced"}, "this is a multilabel task"),
    ],
)
def test_a_setting_of_another_kind_is_refused(kind: Kind, setting: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Objective.fit(kind, seeds(np.array([0.0, 1.0])), TrainConfig(**setting))


def test_too_many_classes_are_refused() -> None:
    table = seeds(np.arange(1001), classes=tuple(range(1001)))
    with pytest.raises(ConfigError, match="1,001 classes"):
        Objective.fit(Kind.multiclass, table)


@pytest.mark.parametrize(
    "setting",
    [{"quantiles": (0.1,)}, {"quantiles": (0.5,)}, {"quantiles": (0.0, 1.0)}, {"quantiles": "0.1"}, {"loss": "l3"},
     {"quantiles": (True,)}, {"class_weights": "some"}],
)  # fmt: skip
def test_settings_without_a_meaning_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        TrainConfig(**setting)


def test_an_objective_comes_back_from_json() -> None:
    for objective in (
        Objective.fit(Kind.regression, seeds(np.arange(9.0)), TrainConfig(quantiles=(0.1, 0.9))),
        Objective.fit(
            Kind.multiclass,
            seeds(np.array([0, 1]), classes=("a", "b")),
            TrainConfig(class_weights="balanced"),  # type: ignore[arg-type]
        ),
        Objective.fit(Kind.forecast, seeds(np.ones((3, 2))), TrainConfig(loss=Loss.huber)),
    ):
        assert Objective.from_json(json.loads(json.dumps(_plain(objective)))) == objective


@pytest.mark.parametrize("kind", [Kind.binary, Kind.multiclass, Kind.multilabel, Kind.regression, Kind.forecast])
@pytest.mark.parametrize("mine", [slice(0, 3), slice(0, 9), slice(2, 4)])
def test_processes_that_share_a_batch_add_up_to_its_loss(kind: Kind, mine: slice) -> None:
    """The losses of two parts, weighted by the labels known in each, are that of the whole."""
    generator = torch.Generator().manual_seed(0)
    outputs = {Kind.binary: 1, Kind.regression: 1}.get(kind, 3)
    objective = Objective(kind, outputs)
    output = torch.randn(10, MEMBERS, outputs, generator=generator)
    target = {
        Kind.binary: (output[:, 0, 0] > 0).float(),
        Kind.multiclass: output[:, 0].argmax(dim=1),
        Kind.multilabel: output[:, 0] > 0,
        Kind.regression: torch.randn(10, 1, generator=generator),
        Kind.forecast: torch.where(output[:, 1] > 0, output[:, 0], torch.nan),
    }[kind]
    rest = np.setdiff1d(np.arange(10), np.arange(10)[mine])
    parts = [np.arange(10)[mine], rest]
    found = sum(
        float(objective.loss(output[part], target[part])) * objective.known(target[part]) for part in parts
    ) / objective.known(target)
    assert found == pytest.approx(float(objective.loss(output, target)), abs=1e-6)
