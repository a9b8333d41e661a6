"""From labels to what a model is trained on, and from its outputs back to predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from rdl.config import ClassWeights, Loss, TrainConfig
from rdl.errors import ConfigError
from rdl.query.expressions import Value
from rdl.query.task import Kind, TaskTable

#: Labels are told apart up to so many scales from the centre, which a float32 squares without an overflow.
_FAR = 1e6
#: More classes than this are not told apart: each is an output of every member of the head.
MOST_CLASSES = 1_000

_DISTANCES: dict[Loss, Callable[..., Tensor]] = {
    Loss.l1: functional.l1_loss, Loss.l2: functional.mse_loss, Loss.huber: functional.huber_loss,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Objective:
    """How one kind of task is trained, and what the model's ``outputs`` numbers a seed mean.

    - binary: the logit of the positive class, by cross-entropy.
    - multiclass: a logit for each of ``classes``, by the cross-entropy of their softmax.
    - multilabel: a logit for each of ``classes``, by the mean of their binary cross-entropies.
    - regression: a number by its ``distance`` from the label; or with ``quantiles`` each of them by the pinball loss
      (Koenker and Bassett, 1978), put in order where they cross (Chernozhukov et al., 2010) and moved by ``shifts``.
    - forecast: a number a timeframe by its ``distance``, over the timeframes whose label is known.

    A number is in units of ``scale`` around ``center`` and clamped to ``[low, high]``. ``weights`` are what a label of
    each class (binary: of the negative, then the positive one) counts in training; their logarithms are taken off the
    logits again, so that probabilities are those of the classes as they are. ``starts`` are added to the logits of
    classes: their shares in training, so that a model need not learn first which ones are rare. All of it is fitted on
    training labels only, but for ``shifts``, which are on validation (:mod:`rdl.intervals`).
    """

    kind: Kind
    outputs: int = 1
    center: float = 0.0
    scale: float = 1.0
    low: float = -np.inf
    high: float = np.inf
    distance: Loss = Loss.l1
    quantiles: tuple[float, ...] = ()
    shifts: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    starts: tuple[float, ...] = ()
    classes: tuple[Value, ...] = ()

    @staticmethod
    def fit(kind: Kind, train: TaskTable, config: TrainConfig | None = None) -> Objective:
        """The objective for the training seeds ``train``: of numbers the median, :func:`scale_of` them, and the 0.5 %
        and 99.5 % quantiles to clamp to.

        Raises ConfigError for a setting that says nothing of this kind of task, and for too many classes.
        """
        config = config or TrainConfig()
        _check(kind, train, config)
        if kind is Kind.multilabel:
            share = (train.dense().sum(axis=0, dtype=np.float64) + 0.5) / (len(train) + 1)
            starts = tuple(np.log(share / (1 - share)).tolist())
            return Objective(kind, len(train.classes), starts=starts, classes=train.classes)
        if kind in (Kind.binary, Kind.multiclass):
            outputs = max(1, len(train.classes))
            counts = np.maximum(np.bincount(train.target.astype(np.int64), minlength=max(2, outputs)), 1)
            balanced = config.class_weights == ClassWeights.balanced
            weights = counts.sum() / len(counts) / counts if balanced else np.ones(len(counts))
            starts = tuple(np.log(counts * weights / counts.sum()).tolist()) if kind is Kind.multiclass else ()
            return Objective(
                kind, outputs, weights=tuple(weights.tolist()) if balanced else (), starts=starts, classes=train.classes
            )
        known = train.target[np.isfinite(train.target)]
        low, center, high = np.quantile(known, [0.005, 0.5, 0.995]).tolist()
        outputs = train.target.shape[1] if kind is Kind.forecast else max(1, len(config.quantiles))
        return Objective(
            kind, outputs, center, scale_of(known), low, high, distance=Loss(config.loss), quantiles=config.quantiles
        )

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Objective:
        """The objective whose fields were written as JSON, infinities as null."""
        ends = {name: end if value[name] is None else value[name] for name, end in (("low", -np.inf), ("high", np.inf))}
        lists = {name: tuple(value[name]) for name in ("quantiles", "shifts", "weights", "starts", "classes")}
        known = {field.name: value[field.name] for field in fields(Objective)}
        return Objective(**{**known, **ends, **lists, "kind": Kind(value["kind"]), "distance": Loss(value["distance"])})

    @property
    def judged_by(self) -> str:
        """The name of the figure on validation by which weights are chosen: of what is trained, that which is in the
        labels' own units (Huber's loss is judged by the absolute error)."""
        if self.quantiles:
            return "pinball"
        if self.kind in (Kind.regression, Kind.forecast):
            return "rmse" if self.distance is Loss.l2 else "mae"
        return "log_loss"

    def encode(self, table: TaskTable) -> Tensor:
        """The labels of ``table`` as :meth:`loss` takes them: class numbers int64 ``[S]``; bool ``[S, classes]`` for
        multilabel; float32 ``[S]`` (binary) or numbers of scales from the centre ``[S, 1]`` (regression),
        ``[S, timeframes]`` (forecast, NaN where unknown)."""
        target = torch.from_numpy(table.dense())
        if self.kind is Kind.multiclass:
            return target
        if self.kind is Kind.multilabel:
            return target.bool()
        if self.kind is Kind.binary:
            return target.float()
        far = ((target.double() - self.center) / self.scale).clamp(-_FAR, _FAR).float()
        return far if self.kind is Kind.forecast else far.unsqueeze(1)

    def known(self, target: Tensor) -> int:
        """How many encoded labels :meth:`loss` is the mean of, 1 or more: of a forecast not those that are unknown."""
        return max(1, int((~target.isnan()).sum()) if self.kind is Kind.forecast else len(target))

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean loss of the members' outputs ``[S, members, outputs]`` for encoded labels, a scalar: that of each
        member, not of their mean."""
        weights = torch.tensor(self.weights, device=output.device) if self.weights else None
        output = output + torch.tensor(self.starts, device=output.device) if self.starts else output
        if self.kind is Kind.multiclass:
            each = target.unsqueeze(1).expand(output.shape[:2])
            lost = functional.cross_entropy(output.transpose(1, 2), each, reduction="none")
            return (lost if weights is None else lost * weights[each]).mean()
        if self.kind is Kind.binary:
            each = target.unsqueeze(1).expand(output.shape[:2])
            counts = None if weights is None else weights[each.long()]
            return functional.binary_cross_entropy_with_logits(output[..., 0], each, weight=counts)
        each = target.unsqueeze(1).expand_as(output) if not self.quantiles else target.unsqueeze(1)
        if self.kind is Kind.multilabel:
            return functional.binary_cross_entropy_with_logits(output, each.to(output.dtype))
        if self.quantiles:
            return pinball(each - output, torch.tensor(self.quantiles, device=output.device)).mean()
        known = ~each.isnan()
        lost = _DISTANCES[self.distance](output, each.nan_to_num(0.0), reduction="none")
        return torch.where(known, lost, 0.0).sum() / known.sum().clamp(min=1)

    def prediction(self, output: Tensor) -> Tensor:
        """The members' outputs ``[S, members, outputs]`` → predictions as float64, of their mean: probabilities ``[S]``
        (binary) or ``[S, classes]``, or numbers in the label's own units ``[S]``, ``[S, timeframes]`` (forecast) or
        ``[S, quantiles]``, ascending."""
        output = output.double().mean(dim=1)
        if self.starts:
            output = output + torch.tensor(self.starts, dtype=torch.float64, device=output.device)
        logs = torch.tensor(self.weights, dtype=torch.float64, device=output.device).log()
        if self.kind is Kind.binary:
            return torch.sigmoid(output[:, 0] - (logs[1] - logs[0] if self.weights else 0))
        if self.kind is Kind.multiclass:
            return torch.softmax(output - logs if self.weights else output, dim=1)
        if self.kind is Kind.multilabel:
            return torch.sigmoid(output)
        numbers = (output * self.scale + self.center).clamp(self.low, self.high)
        if self.quantiles:
            numbers = numbers.sort(dim=1).values
            if self.shifts:
                shifts = torch.tensor(self.shifts, dtype=torch.float64, device=output.device)
                numbers = (numbers + shifts).sort(dim=1).values
            return numbers
        return numbers if self.kind is Kind.forecast else numbers[:, 0]


def pinball(error: Tensor, quantiles: Tensor) -> Tensor:
    """max(q e, (q - 1) e) for each ``error`` (label less prediction) ``[…, quantiles]``."""
    return torch.maximum(quantiles * error, (quantiles - 1) * error)


def scale_of(labels: npt.NDArray[np.float64]) -> float:
    """The standard deviation of ``labels`` ``[n]``, but for outliers: those ten times further from the middle half
    than this is wide count as if they stood there. Where that half is one value, as where most labels are 0, it is the
    middle nine tenths, then more of them. Above 0, and finite.

    >>> bool(scale_of(np.arange(100.0)) == np.arange(100.0).std())
    True
    >>> round(scale_of(np.array([*range(99), 1e12])), 1)
    59.1
    """
    for tail in (0.25, 0.05, 0.005, 0.0):
        low, high = np.quantile(labels, [tail, 1 - tail])
        with np.errstate(over="ignore", invalid="ignore"):
            reach = 10 * (high - low)
            spread = float(np.std(np.clip(labels, low - reach, high + reach)))
        if 0 < spread < np.inf:
            return spread
    return 1.0


def _check(kind: Kind, train: TaskTable, config: TrainConfig) -> None:
    numbers = kind in (Kind.regression, Kind.forecast)
    classes = kind in (Kind.binary, Kind.multiclass)
    for setting, meant, of in (
        (config.loss != Loss.l1, numbers, f"loss {config.loss!s} is of regression and forecast tasks"),
        (config.quantiles, kind is Kind.regression, "quantiles are of regression tasks"),
        (
            config.quantiles and config.loss != Loss.l1,
            False,
            f"quantiles have a loss of their own, not {config.loss!s}",
        ),
        (config.class_weights != ClassWeights.none, classes, "class weights are of binary and multiclass tasks"),
    ):
        if setting and not meant:
            raise ConfigError(f"{of}; this is a {kind.value} task", hint="leave the setting out.")
    if len(train.classes) > MOST_CLASSES:
        raise ConfigError(
            f"the training labels have {len(train.classes):,} classes, and at most {MOST_CLASSES:,} are told apart",
            hint="put the rare ones together with CASE, or list keys and RANK TOP k.",
        )
