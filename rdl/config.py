"""Every setting of a training run, with what it means and its default."""

from __future__ import annotations

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
    fanouts: tuple[int, ...] = (64, 4)
    """The children sampled a relation, where a path goes to children for the first time, the second, …;
    as many hops and layers of message passing as there are numbers."""
    sampling: Sampling = Sampling.recent
    """Which children these are."""
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
    max_epochs: int = 20
    """Passes over the training seeds."""
    min_steps: int = 400
    """Training steps, at least: few seeds are passed over more often."""
    max_steps: int = 1_000
    """Training steps, at most: many seeds are passed over less often, or in part."""
    patience: int = 8
    """Evaluations without a better validation figure before training stops."""
    averaging: float = 0.98
    """The decay of the running average of the weights that is evaluated and kept."""
    time_budget_min: float | None = None
    """Minutes after which training stops with the best model so far; None for no limit."""
    threads: int = max(1, (os.cpu_count() or 1) // 2)
    """PyTorch's threads on a CPU. Half of the cores by default: on busy cores more threads stall, not speed up."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or another accelerator that Lightning Fabric knows."""

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
        for name in ("seed", "summaries"):
            require_whole(name, getattr(self, name), least=0)
        counts = ("channels", "members", "batch_size", "max_epochs", "min_steps", "max_steps", "patience", "threads")
        for name in counts:
            require_whole(name, getattr(self, name), least=1)
        if self.time_budget_min is not None and self.time_budget_min <= 0:
            raise ConfigError(f"a time budget of {self.time_budget_min} minutes: it must be above 0")


def require_whole(name: str, value: object, *, least: int) -> None:
    """Raises ConfigError, naming the setting, where ``value`` is no whole number of ``least`` or more."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} is {value!r}: it must be a whole number, {least} or more")
