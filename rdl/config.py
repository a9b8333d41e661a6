"""Every setting of a training run, with what it means and its default."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from numbers import Integral
from typing import Any

from rdl.errors import ConfigError, did_you_mean


class Regime(StrEnum):
    """Which rows an evaluation may see: all up to each seed's own time, or none after the split's begin."""

    seed_time = "seed-time"
    frozen = "frozen"


class Sampling(StrEnum):
    """Which of a row's children are sampled where there are more than wanted: the most recent ones, or any, each set of
    them as likely as any other."""

    recent = "recent"
    uniform = "uniform"


class Layers(StrEnum):
    """How messages are passed: :class:`~rdl.convs.HeteroSAGE`, :class:`~rdl.convs.HeteroAttention`,
    :class:`~rdl.convs.RelGNN` or :class:`~rdl.convs.RelationalTransformer`."""

    sage = "sage"
    attention = "attention"
    relgnn = "relgnn"
    transformer = "transformer"


class Loss(StrEnum):
    """What is made small where labels are numbers: absolute errors (the prediction is a median), squared ones (a mean),
    or Huber's, squared up to one scale of the labels and absolute beyond."""

    l1 = "l1"
    l2 = "l2"
    huber = "huber"


class ClassWeights(StrEnum):
    """What a label of a rare class counts in training: as any other, or so much more that all weigh the same."""

    none = "none"
    balanced = "balanced"


#: The precisions of training steps, as Lightning Fabric calls them.
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a model is built and trained."""

    regime: Regime = Regime.seed_time
    """Which rows validation and test may see."""
    seed: int = 0
    """The seed of every random number: the same seed gives the same model."""
    model: Layers = Layers.sage
    """What the layers of message passing are: ``sage``, ``attention``, ``relgnn`` or ``transformer``."""
    channels: int = 64
    """The width of node vectors."""
    fanouts: tuple[int, ...] = (24, 4)
    """The children sampled a relation, where a path goes to children for the first time, the second, …;
    as many hops and layers of message passing as there are numbers."""
    sampling: Sampling = Sampling.recent
    """Which children these are."""
    loss: Loss = Loss.l1
    """What is made small in regression and forecasts."""
    quantiles: tuple[float, ...] = ()
    """The quantiles that a regression predicts beside the median, in pairs around it, as (0.1, 0.9): intervals that are
    calibrated on validation. None by default."""
    class_weights: ClassWeights = ClassWeights.none
    """What a label of a rare class counts, in binary and multiclass questions. Probabilities are corrected for it: they
    are those of the classes as they are."""
    text_embedder: str = "hashing"
    """The name of what turns texts into vectors: ``hashing``, ``model2vec:NAME``, ``sentence-transformers:NAME``, or of
    the model or function that was given."""
    summaries: int = 200
    """Window aggregates of each seed's past that are read beside its graph, at most; 0 for none."""
    identities: bool = False
    """Whether a learnt vector says which row it is, of small tables that others refer to."""
    members: int = 16
    """Perceptrons of the head, which share most of their weights, and whose mean is the prediction."""
    dropout: float = 0.3
    """The share of vector entries dropped in training."""
    batch_size: int = 256
    """Seeds a training step."""
    learning_rate: float = 2e-3
    """The peak of AdamW's learning rate, which falls along a cosine."""
    weight_decay: float = 1e-2
    """AdamW's weight decay."""
    max_epochs: int = 10
    """Passes over the training seeds."""
    min_steps: int = 200
    """Training steps, at least: few seeds are passed over more often."""
    max_steps: int = 1_000
    """Training steps, at most: many seeds are passed over less often, or in part."""
    patience: int = 8
    """Evaluations without a better validation figure before training stops."""
    averaging: float = 0.98
    """The decay of the running average of the weights that is evaluated and kept."""
    ensemble: int = 1
    """Models trained, with this seed and those that follow it; the mean of their outputs is the prediction."""
    time_budget_min: float | None = None
    """Minutes after which training stops with the best weights so far, all models of an ensemble taken together; None
    for no limit. Reading the data before, and evaluation, baselines and report after, are not among them."""
    threads: int = max(1, (os.cpu_count() or 1) // 2)
    """PyTorch's threads on a CPU. Half of the cores by default: on busy cores more threads stall, not speed up."""
    device: str = "auto"
    """``auto``, ``cpu`` or ``cuda``."""
    devices: int = 1
    """Processes that share each batch, each on a GPU of its own, or on the CPU with its share of the threads."""
    precision: str = "32-true"
    """``32-true``, or ``bf16-mixed`` or ``16-mixed``: training steps in half of the bits. Evaluation and prediction are
    in full precision always."""

    @staticmethod
    def of(settings: Mapping[str, Any]) -> TrainConfig:
        """The config of ``settings``. Raises ConfigError, with the nearest name, for one that there is not."""
        allowed = list(TrainConfig.__dataclass_fields__)
        for name in settings:
            if name not in allowed:
                raise ConfigError(f"unknown setting {name!r}", hint=did_you_mean(name, allowed))
        try:
            regime = Regime(settings.get("regime", Regime.seed_time))
        except ValueError:
            raise ConfigError(f"unknown regime {settings['regime']!r}", hint="use seed-time or frozen.") from None
        return TrainConfig(**{**settings, "regime": regime})

    def __post_init__(self) -> None:
        if not isinstance(self.fanouts, Sequence) or isinstance(self.fanouts, str) or not self.fanouts:
            raise ConfigError(
                f"fanouts are {self.fanouts!r}: there must be at least one hop", hint="give a list, as (64, 4)."
            )
        object.__setattr__(self, "fanouts", tuple(self.fanouts))
        for hop, children in enumerate(self.fanouts, start=1):
            require_whole(f"the fanout of hop {hop}", children, least=1)
        if self.sampling not in tuple(Sampling):
            raise ConfigError(f"unknown sampling {self.sampling!r}", hint=f"use {' or '.join(Sampling)}.")
        if self.model not in tuple(Layers):
            raise ConfigError(f"there is no model {self.model!r}", hint=f"use one of {', '.join(Layers)}.")
        for name, choices in (("loss", Loss), ("class_weights", ClassWeights)):
            if (chosen := getattr(self, name)) not in tuple(choices):
                raise ConfigError(f"unknown {name} {chosen!r}", hint=f"use {' or '.join(choices)}.")
        object.__setattr__(self, "quantiles", _paired(self.quantiles))
        for name in ("seed", "summaries"):
            require_whole(name, getattr(self, name), least=0)
        counts = ("channels", "members", "batch_size", "max_epochs", "min_steps", "max_steps", "patience", "threads")
        for name in (*counts, "ensemble", "devices"):
            require_whole(name, getattr(self, name), least=1)
        for name, below in (("dropout", 1), ("averaging", 1), ("learning_rate", 10), ("weight_decay", 10)):
            require_real(name, getattr(self, name), below=below)
        if not isinstance(self.identities, bool):
            raise ConfigError(f"identities is {self.identities!r}: it must be true or false")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"unknown precision {self.precision!r}", hint=f"use {', '.join(PRECISIONS)}.")
        if self.time_budget_min is not None:
            require_real("time_budget_min", self.time_budget_min)
            if self.time_budget_min == 0:
                raise ConfigError("a time budget of 0 minutes: it must be above 0")


def require_whole(name: str, value: object, *, least: int) -> None:
    """Raises ConfigError, naming the setting, where ``value`` is no whole number of ``least`` or more."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} is {value!r}: it must be a whole number, {least} or more")


def require_real(name: str, value: object, *, below: float = math.inf) -> None:
    """Raises ConfigError, naming the setting, where ``value`` is no number from 0 on that is less than ``below``."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < below:
        limits = "0 or more" + (f" and below {below:g}" if math.isfinite(below) else "")
        raise ConfigError(f"{name} is {value!r}: it must be a number, {limits}")


def _paired(quantiles: object) -> tuple[float, ...]:
    """``quantiles`` in ascending order with the median among them; none of none. Raises ConfigError where they are not
    numbers between 0 and 1, in pairs around one half."""
    if not isinstance(quantiles, Sequence) or isinstance(quantiles, str):
        raise ConfigError(f"quantiles are {quantiles!r}", hint="give a list, as (0.1, 0.9).")
    for value in quantiles:
        if not isinstance(value, int | float) or not 0 < value < 1:
            raise ConfigError(f"quantile {value!r}: it must be a number between 0 and 1")
    found = sorted({round(float(value), 9) for value in (*quantiles, 0.5)}) if quantiles else []
    alone = [value for value in found if round(1 - value, 9) not in found]
    if alone:
        raise ConfigError(
            f"the quantile {alone[0]:g} stands alone", hint=f"give {1 - alone[0]:g} too: an interval has two ends."
        )
    if len(found) == 1:
        raise ConfigError("the median alone is no interval", hint="give two quantiles beside it, as (0.1, 0.9).")
    return tuple(found)
