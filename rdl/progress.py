"""How far training is: what is told of it, and the state from which it goes on after an interruption."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from rdl.checkpoint import read_state, write_state
from rdl.config import TrainConfig
from rdl.errors import ConfigError

#: Why a run stops that goes on where it is given more time.
OUT_OF_TIME = "the time budget is spent"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One line of ``history.csv``: the mean training loss since the last one, and on validation the loss, by which the
    weights to keep are chosen, and the headline metric. ``seed`` is the model's, one of several in an ensemble."""

    step: int
    seconds: float
    train_loss: float
    val_loss: float
    val_metric: float
    learning_rate: float
    seed: int = 0


@dataclass(slots=True)
class Progress:
    """How far a model is: what :func:`fit` tells its listener, and what a resumed run starts from.

    ``samples`` are the training seeds seen so far; ``metric`` is the name of the headline metric; ``label`` says which
    of several models it is, for people. ``scaler`` is the state of what scales gradients in 16 bits.
    """

    step: int = 0
    total_steps: int = 0
    seconds: float = 0.0
    history: list[Evaluation] = field(default_factory=list)
    best_step: int = 0
    best: float = math.nan
    ripe: bool = False
    stopped: str = ""
    identity: str = ""
    samples: int = 0
    metric: str = ""
    seed: int = 0
    label: str = ""
    scaler: dict[str, float] = field(default_factory=dict)


def out_of_time(progress: Progress, config: TrainConfig) -> bool:
    """Whether the time budget is spent."""
    return config.time_budget_min is not None and progress.seconds > 60 * config.time_budget_min


@dataclass(slots=True)
class State:
    """The tensors of a run in progress."""

    model: torch.nn.Module
    average: AveragedModel
    optimizer: Any
    fabric: Fabric
    best: dict[str, Tensor] | None = None

    def save(self, folder: Path, progress: Progress) -> None:
        """Writes the state into ``folder``, whole or not at all."""
        parts = {"model": self.model.state_dict(), "average": self.average.state_dict(), "best": self.best or {}}
        moments = self.optimizer.state_dict()["state"]
        parts |= {f"optimizer.{number}": values for number, values in moments.items()}
        progress.scaler = self.fabric.strategy.precision.state_dict()
        write_state(folder, parts, progress)

    def load(self, folder: Path, fresh: Progress, config: TrainConfig) -> Progress:
        """Takes the state from ``folder``; ``fresh`` where there is none. Training that came to its end stays there,
        but goes on where it has been given more time."""
        kept = read_state(folder)
        if kept is None:
            return fresh
        parts, values = kept
        if values["identity"] != fresh.identity:
            raise ConfigError(
                f"{folder} is an interrupted run of another question, database or setting",
                hint="give the command it was started with, or leave --resume out to begin anew.",
            )
        self.model.load_state_dict(parts["model"])
        self.average.load_state_dict(parts["average"])
        self.best = parts.get("best")
        state = self.optimizer.state_dict()
        state["state"] = {int(k.split(".")[1]): v for k, v in parts.items() if k.startswith("optimizer.")}
        self.optimizer.load_state_dict(state)
        self.fabric.strategy.precision.load_state_dict(values["scaler"])
        history = [Evaluation(**line) for line in values.pop("history")]
        progress = Progress(**{**values, "history": history, "total_steps": fresh.total_steps})
        if progress.stopped == OUT_OF_TIME and not out_of_time(progress, config):
            progress.stopped = ""
        return progress
