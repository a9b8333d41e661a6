"""From labels to what a model is trained on, and from its outputs back to predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from rdl.query.task import Kind


@dataclass(frozen=True, slots=True)
class Objective:
    """How one kind of task is trained: binary by cross-entropy, regression by the absolute error.

    A regression output is in units of ``scale`` around ``center``, and predictions are clamped to ``[low, high]``: all
    four are fitted on training labels only.
    """

    kind: Kind
    center: float = 0.0
    scale: float = 1.0
    low: float = -np.inf
    high: float = np.inf

    @staticmethod
    def fit(kind: Kind, target: npt.NDArray[np.float64]) -> Objective:
        """The objective for training labels ``target`` ``[n]``: median, standard deviation, and the 0.5 % and 99.5 %
        quantiles to clamp to."""
        if kind is Kind.binary:
            return Objective(kind)
        low, center, high = np.quantile(target, [0.005, 0.5, 0.995])
        return Objective(kind, float(center), float(np.std(target)) or 1.0, float(low), float(high))

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Objective:
        """The objective whose fields were written as JSON, infinities as null."""
        low, high = (end if value[name] is None else value[name] for name, end in (("low", -np.inf), ("high", np.inf)))
        return Objective(Kind(value["kind"]), value["center"], value["scale"], low, high)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean loss of the members' outputs ``[S, members]`` for labels ``[S]``, a scalar: that of each member, not
        of their mean."""
        target = target.unsqueeze(1).expand_as(output)
        if self.kind is Kind.binary:
            return binary_cross_entropy_with_logits(output, target)
        return l1_loss(output, (target - self.center) / self.scale)

    def prediction(self, output: Tensor) -> Tensor:
        """The members' outputs ``[S, members]`` → predictions ``[S]`` as float64, of their mean: a probability, or a
        number in the label's own units."""
        output = output.double().mean(dim=1)
        if self.kind is Kind.binary:
            return torch.sigmoid(output)
        return (output * self.scale + self.center).clamp(self.low, self.high)
