"""The only training loop: Lightning Fabric places the model, AdamW moves it, validation chooses what is kept.

Every random number depends on the run's seed and the step alone, so a run that was interrupted goes on as if it had not
been: batches, dropout and the schedule are the same. Several processes share each batch (:mod:`rdl.processes`): but for
the order of sums, and for dropout, the result is that of one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial as partially
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rdl import processes
from rdl.config import Regime, TrainConfig
from rdl.errors import ConfigError
from rdl.features import Features
from rdl.losses import Objective
from rdl.metrics import evaluate, headline
from rdl.model import RelationalModel
from rdl.predict import predict, seeds_of
from rdl.progress import OUT_OF_TIME, Evaluation, Progress, State, out_of_time
from rdl.query.task import TaskTable
from rdl.sampler import Sampler, Seeds, Subgraph
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
    train = inputs.table.of("train").thinned(MAX_TRAINING_SEEDS)
    batches = _Batches(train, inputs, config, torch.device("cpu"))
    if batches.size < config.devices:
        raise ConfigError(f"{config.devices} processes cannot share batches of {batches.size} training seeds")
    validation = _Validation.of(train, inputs, config)
    fresh = Progress(total_steps=batches.total_steps, identity=identity, seed=config.seed)
    fresh.metric = headline(inputs.objective.kind)[0]
    training = _Training(
        model, replace(inputs, summarise=None), config, batches, validation, fresh, partial, resume=resume
    )
    progress, weights = processes.run(config, training, listen)
    model.to("cpu")  # where predictions find it, and the features
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return progress


@dataclass(frozen=True, slots=True)
class _Training:
    """All that one process needs to train, prepared once: it can be sent to others."""

    model: RelationalModel
    inputs: Inputs
    config: TrainConfig
    batches: _Batches
    validation: _Validation
    fresh: Progress
    partial: Path | None
    resume: bool

    def __call__(
        self, fabric: Fabric, listen: Callable[[Progress], None]
    ) -> tuple[Progress, dict[str, npt.NDArray[Any]]]:
        """How training went, and the weights to keep: the loop, in this process and in each of those beside it."""
        config, inputs, batches = self.config, self.inputs, self.batches
        # Tensors sent to another process are shared with it: weights must not be.
        model = self.model if fabric.world_size == 1 else deepcopy(self.model)
        fused = config.precision != "16-mixed"  # which is unscaled before it is clipped, not within the optimizer
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused
        )
        placed, optimizer = fabric.setup(_Called(model), optimizer)
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.averaging))
        features = {table: packed.to(fabric.device) for table, packed in inputs.features.items()}
        sampler = inputs.sampler.to(fabric.device)
        batches.device = fabric.device
        mine = processes.share(batches.size, fabric)
        state, progress = State(model, average, optimizer, fabric), self.fresh
        if self.resume and self.partial is not None:
            progress = state.load(self.partial, progress, config)
        started = time.perf_counter() - progress.seconds
        losses: list[Tensor] = []
        while progress.step < progress.total_steps and not progress.stopped:
            rate = _set_rate(optimizer, config, progress)
            seeds, target, summary = batches[progress.step]
            whole = inputs.objective.known(target)
            seeds, target, summary = seeds.take(mine), target[mine], None if summary is None else summary[mine]
            weight = inputs.objective.known(target) * fabric.world_size / whole
            torch.manual_seed(_mixed(config.seed, progress.step) + fabric.global_rank)
            placed.train()
            subgraph = sampler(seeds, draw=progress.step)
            loss = weight * inputs.objective.loss(placed(partially(_forward, features, subgraph, summary)), target)
            optimizer.zero_grad()
            fabric.backward(loss)
            fabric.clip_gradients(placed, optimizer, max_norm=1.0)
            optimizer.step()
            average.update_parameters(model)
            losses.append(loss.detach())
            progress.step += 1
            progress.samples += batches.size
            progress.seconds = time.perf_counter() - started
            over = config.time_budget_min is not None and fabric.broadcast(out_of_time(progress, config))
            if progress.step % batches.per_evaluation == 0 or progress.step == progress.total_steps or over:
                mean_loss = float(np.mean(processes.gather(float(torch.stack(losses).mean()), fabric)))
                losses.clear()
                judged = self.validation.judge(average.module, inputs, features, sampler, fabric)
                line = Evaluation(progress.step, progress.seconds, mean_loss, *judged, rate, config.seed)
                progress.history.append(line)
                _judge(progress, config, over, state)
                if self.partial is not None and fabric.is_global_zero:
                    state.save(self.partial, progress)
            listen(progress)
        best = state.best or average.module.state_dict()
        return progress, {name: value.cpu().numpy() for name, value in best.items()}


class _Called(torch.nn.Module):
    """A model that is handed a function to call with it: strategies and precisions look into arguments to cast them,
    and would take subgraphs apart."""

    def __init__(self, model: RelationalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, call: Callable[[RelationalModel], Tensor]) -> Tensor:
        """What ``call`` returns for the model."""
        return call(self.model)


def _forward(
    features: Mapping[str, Features], subgraph: Subgraph, summary: Tensor | None, model: RelationalModel
) -> Tensor:
    outputs: Tensor = model(features, subgraph, summary)
    return outputs


def _judge(progress: Progress, config: TrainConfig, over: bool, state: State) -> None:
    """Keeps the weights where the validation loss is less than ever, and says why training stops where it does.

    The loss judges rather than a metric of ranks: on few rows that is erratic, and blind to overconfidence.
    """
    loss = progress.history[-1].val_loss
    if math.isinf(loss):
        if state.best is None:
            raise ConfigError("the weights diverged", hint="try a lower rate: learning_rate=0.0005.")
        progress.stopped = "predictions were no longer finite"
        return
    ripe = progress.step >= RIPE_SHARE * progress.total_steps
    if math.isnan(loss) or not progress.ripe or loss < progress.best:
        progress.ripe = ripe
        progress.best, progress.best_step = loss, progress.step
        state.best = {name: value.detach().clone() for name, value in state.average.module.state_dict().items()}
    since = sum(evaluation.step > progress.best_step for evaluation in progress.history) if progress.ripe else 0
    if over:
        progress.stopped = OUT_OF_TIME
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
        self,
        model: torch.nn.Module,
        inputs: Inputs,
        features: Mapping[str, Features],
        sampler: Sampler,
        fabric: Fabric,
    ) -> tuple[float, float]:
        """The figure of the loss in the label's own units and the headline metric; NaN where there are no seeds.
        Processes predict a part each, in full precision."""
        if not len(self.table):
            return math.nan, math.nan
        mine = processes.share(len(self.table), fabric)
        summary = None if self.summary is None else self.summary[mine]
        part = predict(model, features, sampler, self.seeds.take(mine), inputs.objective, summary)
        predicted = np.concatenate(processes.gather(part, fabric))
        if not np.isfinite(predicted).all():
            return math.inf, math.nan
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
        self.summaries: Tensor | None = None
        for version, cut in enumerate(self.cuts if inputs.summarise else ()):
            found = inputs.summarise(replace(self.seeds, cut=cut))  # type: ignore[misc]
            if self.summaries is None:
                self.summaries = found.new_empty(len(self.cuts), *found.shape)
            self.summaries[version] = found

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
