"""The only training loop: Lightning Fabric places the model, AdamW moves it, validation chooses what is kept.

Every random number depends on the run's seed and the step alone, so a run that was interrupted goes on as if it had not
been: batches, dropout and the schedule are the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rdl.checkpoint import read_state, write_state
from rdl.config import Regime, TrainConfig
from rdl.errors import ConfigError
from rdl.features import Features
from rdl.losses import Objective
from rdl.metrics import evaluate, headline
from rdl.model import RelationalModel
from rdl.predict import predict, seeds_of
from rdl.query.task import TaskTable
from rdl.sampler import Sampler, Seeds
from rdl.schema import Relation

#: Training pauses to look at validation about this many times, but not more often than this many steps apart.
EVALUATIONS, MIN_STEPS_BETWEEN_EVALUATIONS = 25, 20
#: Validation seeds looked at in each pause, at most; the final figures use all of them.
MAX_VALIDATION_SEEDS = 20_000
#: Of more training seeds than this, so many are learnt from, evenly spread over time.
MAX_TRAINING_SEEDS = 100_000
#: Weights are judged once this share of the steps is done: before that they are still near where they began, and the
#: loss of a few hundred validation rows may like them for their caution alone.
RIPE_SHARE = 0.2
#: The share of training seeds that see an older database in the frozen regime, as its validation and test seeds do; and
#: of how many ages each of them may see it.
STALE_SHARE, STALE_VERSIONS = 0.9, 4


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One line of ``history.csv``: the mean training loss since the last one, and on validation the loss, by which the
    weights to keep are chosen, and the headline metric."""

    step: int
    seconds: float
    train_loss: float
    val_loss: float
    val_metric: float
    learning_rate: float


@dataclass(slots=True)
class Progress:
    """How far a run is: what :func:`fit` tells its listener, and what a resumed run starts from."""

    step: int = 0
    total_steps: int = 0
    seconds: float = 0.0
    history: list[Evaluation] = field(default_factory=list)
    best_step: int = 0
    best: float = math.nan
    ripe: bool = False
    stopped: str = ""
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that training reads: the seeds with their labels, the packed features, the sampler over the graph, and what
    says how the past of seeds adds up, ``[S, width]`` (None: the model does not read it)."""

    table: TaskTable
    entity: str
    strictly: bool
    hidden: tuple[Relation, ...]
    features: Mapping[str, Features]
    sampler: Sampler
    objective: Objective
    summarise: Callable[[Seeds], Tensor] | None = None


def choose_device(name: str) -> str:
    """Fabric's accelerator for ``name``: ``auto`` takes a GPU where there is one. Raises ConfigError where there is no
    such device."""
    there = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(name):
        found = ", ".join(device for device, usable in there.items() if usable)
        raise ConfigError(f"there is no device {name!r} here", hint=f"use one of {found}.")
    return name


def fit(
    model: RelationalModel,
    inputs: Inputs,
    config: TrainConfig,
    *,
    partial: Path | None = None,
    resume: bool = False,
    identity: str = "",
    listen: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Trains ``model`` in place and leaves it with the averaged weights that were best on validation.

    With ``partial``, the state is kept there after every evaluation, and with ``resume`` taken from there; ``identity``
    says what the run is of, and a state of another is refused with ConfigError. ``listen`` is told after every step.
    Without validation seeds the last weights are kept.
    """
    fabric = Fabric(accelerator=choose_device(config.device), devices=1)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    placed, optimizer = fabric.setup(model, optimizer)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.averaging))
    features = {table: packed.to(fabric.device) for table, packed in inputs.features.items()}
    sampler = inputs.sampler.to(fabric.device)
    train = inputs.table.of("train").thinned(MAX_TRAINING_SEEDS)
    batches = _Batches(train, inputs, config, fabric.device)
    validation = _Validation.of(train, inputs, config)
    progress = Progress(total_steps=batches.total_steps, identity=identity)
    state = _State(model, average, optimizer)
    if resume and partial is not None:
        progress = state.load(partial, progress)
    started = time.perf_counter() - progress.seconds
    losses: list[Tensor] = []
    while progress.step < progress.total_steps and not progress.stopped:
        rate = _set_rate(optimizer, config, progress)
        seeds, target, summary = batches[progress.step]
        torch.manual_seed(_mixed(config.seed, progress.step))
        placed.train()
        loss = inputs.objective.loss(placed(features, sampler(seeds, draw=progress.step), summary), target)
        optimizer.zero_grad()
        fabric.backward(loss)
        fabric.clip_gradients(placed, optimizer, max_norm=1.0)
        optimizer.step()
        average.update_parameters(model)
        losses.append(loss.detach())
        progress.step += 1
        progress.seconds = time.perf_counter() - started
        over = config.time_budget_min is not None and progress.seconds > 60 * config.time_budget_min
        if progress.step % batches.per_evaluation == 0 or progress.step == progress.total_steps or over:
            mean_loss = float(torch.stack(losses).mean())
            losses.clear()
            judged = validation.judge(average.module, inputs, features, sampler)
            progress.history.append(Evaluation(progress.step, progress.seconds, mean_loss, *judged, rate))
            _judge(progress, config, over, state)
            if partial is not None:
                state.save(partial, progress)
        listen(progress)
    model.load_state_dict(state.best or average.module.state_dict())
    model.to("cpu")  # where predictions find it, and the features
    return progress


def _judge(progress: Progress, config: TrainConfig, over: bool, state: _State) -> None:
    """Keeps the weights where the validation loss is less than ever, and says why training stops where it does.

    The loss judges rather than a metric of ranks: on few rows that is erratic, and blind to overconfidence.
    """
    loss = progress.history[-1].val_loss
    ripe = progress.step >= RIPE_SHARE * progress.total_steps
    if math.isnan(loss) or not progress.ripe or loss < progress.best:
        progress.ripe = ripe
        progress.best, progress.best_step = loss, progress.step
        state.best = {name: value.detach().clone() for name, value in state.average.module.state_dict().items()}
    since = sum(evaluation.step > progress.best_step for evaluation in progress.history) if progress.ripe else 0
    if over:
        progress.stopped = "the time budget is spent"
    elif since >= config.patience:
        progress.stopped = f"validation has not improved for {since} evaluations"
    elif progress.step == progress.total_steps:
        progress.stopped = "all steps are done"


@dataclass(frozen=True, slots=True)
class _Validation:
    """The validation seeds that are looked at while a model is trained, and the training labels beside theirs."""

    table: TaskTable
    train_target: npt.NDArray[Any]
    seeds: Seeds
    summary: Tensor | None

    @staticmethod
    def of(train: TaskTable, inputs: Inputs, config: TrainConfig) -> _Validation:
        table = inputs.table.of("val").thinned(MAX_VALIDATION_SEEDS)
        seeds = seeds_of(table, inputs.entity, config.regime, strictly=inputs.strictly, hidden=inputs.hidden)
        return _Validation(table, train.dense(), seeds, inputs.summarise and inputs.summarise(seeds))

    def judge(
        self, model: torch.nn.Module, inputs: Inputs, features: Mapping[str, Features], sampler: Sampler
    ) -> tuple[float, float]:
        """The figure of the loss in the label's own units and the headline metric; NaN where there are no seeds."""
        if not len(self.table):
            return math.nan, math.nan
        predicted = predict(model, features, sampler, self.seeds, inputs.objective, self.summary)
        objective, target = inputs.objective, self.table.dense()
        figures = evaluate(
            objective.kind, target, predicted, train_target=self.train_target, quantiles=objective.quantiles
        )
        return figures[objective.judged_by], figures[headline(objective.kind)[0]]


class _Batches:
    """The training batches by step: a fresh permutation every pass, drawn from the seed and the pass alone."""

    def __init__(self, train: TaskTable, inputs: Inputs, config: TrainConfig, device: torch.device) -> None:
        self.seeds = seeds_of(train, inputs.entity, config.regime, strictly=inputs.strictly, hidden=inputs.hidden)
        self.target = inputs.objective.encode(train)
        self.size, self.seed, self.device = min(config.batch_size, len(train)), config.seed, device
        self.per_epoch = max(1, len(train) // self.size)
        passes = config.max_epochs * self.per_epoch
        self.total_steps = min(max(passes, config.min_steps), config.max_steps)
        self.per_evaluation = max(MIN_STEPS_BETWEEN_EVALUATIONS, self.total_steps // EVALUATIONS)
        self.cuts = self._cuts(inputs.table.of("val"), config)
        versions = (replace(self.seeds, cut=cut) for cut in self.cuts)
        self.summaries = inputs.summarise and torch.stack([inputs.summarise(seeds) for seeds in versions])

    def _cuts(self, val: TaskTable, config: TrainConfig) -> Tensor:
        """The cuts under which each seed is seen, int64 ``[versions, S]``, its own first. In the frozen regime the
        newest visible row of a validation seed is older than the seed by some time: train on such ages too."""
        cuts = [self.seeds.cut]
        if config.regime is Regime.frozen and len(val):
            ages = torch.from_numpy(val.time - val.cuts(config.regime))
            for number in range(STALE_VERSIONS if ages.any() else 0):
                generator = torch.Generator().manual_seed(_mixed(self.seed, number) + 2)
                drawn = torch.randint(0, len(ages), (len(self.target),), generator=generator)
                cuts.append(self.seeds.cut - ages[drawn])
        return torch.stack(cuts)

    def __getitem__(self, step: int) -> tuple[Seeds, Tensor, Tensor | None]:
        """The seeds of one step, their labels, and what their pasts add up to."""
        epoch, place = divmod(step, self.per_epoch)
        generator = torch.Generator().manual_seed(_mixed(self.seed, epoch))
        order = torch.randperm(len(self.target), generator=generator)[place * self.size : (place + 1) * self.size]
        version = torch.zeros_like(order)
        if len(self.cuts) > 1:
            generator.manual_seed(_mixed(self.seed, step) + 1)
            stale = torch.rand(len(order), generator=generator) < STALE_SHARE
            drawn = torch.randint(1, len(self.cuts), (len(order),), generator=generator)
            version = torch.where(stale, drawn, 0)
        seeds = replace(self.seeds.take(order), cut=self.cuts[version, order])
        summary = None if self.summaries is None else self.summaries[version, order].to(self.device)
        return seeds.to(self.device), self.target[order].to(self.device), summary


@dataclass(slots=True)
class _State:
    """The tensors of a run in progress."""

    model: torch.nn.Module
    average: AveragedModel
    optimizer: Any
    best: dict[str, Tensor] | None = None

    def save(self, folder: Path, progress: Progress) -> None:
        """Writes the state into ``folder``, whole or not at all."""
        parts = {"model": self.model.state_dict(), "average": self.average.state_dict(), "best": self.best or {}}
        moments = self.optimizer.state_dict()["state"]
        parts |= {f"optimizer.{number}": values for number, values in moments.items()}
        write_state(folder, parts, progress)

    def load(self, folder: Path, fresh: Progress) -> Progress:
        """Takes the state from ``folder``; ``fresh`` where there is none."""
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
        history = [Evaluation(**line) for line in values.pop("history")]
        return Progress(**{**values, "history": history, "total_steps": fresh.total_steps, "stopped": ""})


def _set_rate(optimizer: Any, config: TrainConfig, progress: Progress) -> float:
    """The learning rate of this step: up over the first 5 % of the steps, then down along a cosine."""
    done, rise = progress.step / progress.total_steps, 0.05
    share = done / rise if done < rise else 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise)))
    rate = config.learning_rate * max(share, 0.01)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def _mixed(seed: int, number: int) -> int:
    """One seed of two numbers."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
