"""A run: one task, one snapshot, one model, with its figures beside the baselines' — in memory and as a folder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rdl import boosting, features
from rdl.baselines import fit_baselines
from rdl.blending import Blend, blend
from rdl.config import Layers, TrainConfig
from rdl.convs import HeteroAttention, HeteroSAGE, RelationalTransformer, RelGNN
from rdl.embedders import HASHING, Embedder, embedder, rows_needed
from rdl.ensemble import Ensemble, models_of
from rdl.features import Features, Statistics
from rdl.importance import MOST_SEEDS, Importance, Subject, importance
from rdl.intervals import calibrate, cross_fitted
from rdl.losses import Objective
from rdl.metrics import loss
from rdl.model import ConvFactory, build
from rdl.predict import predict, sampler_of, seeds_of
from rdl.progress import Progress
from rdl.query.task import Split, Task, TaskTable
from rdl.sampler import Sampler, Seeds
from rdl.schema import Relation
from rdl.scoring import Figures, Judge
from rdl.snapshot import Snapshot
from rdl.summaries import SEEDS_A_PIECE, Summaries, SummaryStatistics
from rdl.train import MAX_TRAINING_SEEDS, Inputs, fit

Floats = npt.NDArray[np.float64]

#: A table whose rows are told apart has at most so many of them, and so many training seeds for each.
MAX_IDENTITIES, SEEDS_AN_IDENTITY = 2_000, 8

_CONVS: Mapping[str, ConvFactory] = {
    Layers.sage: HeteroSAGE,
    Layers.attention: HeteroAttention,
    Layers.relgnn: RelGNN,
    Layers.transformer: RelationalTransformer,
}


@dataclass(slots=True)
class Run:
    """A model, or an ensemble of some, for a task on a snapshot. ``progress`` says how the training of each went.

    ``metrics[split]``, ``baselines[name][split]`` and ``blend`` are empty until scored; ``predicted[name][split]`` are
    then the predictions behind them, the model's as ``model``. They are not saved.
    """

    task: Task
    snapshot: Snapshot
    labels: Callable[[], TaskTable]
    config: TrainConfig
    statistics: Mapping[str, Statistics]
    objective: Objective
    model: nn.Module
    summary: SummaryStatistics
    embedder: Embedder = HASHING
    progress: list[Progress] = field(default_factory=list)
    metrics: Figures = field(default_factory=dict)
    baselines: dict[str, Figures] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    blend: Blend | None = None
    importance: list[Importance] = field(default_factory=list)
    predicted: dict[str, dict[str, Floats]] = field(default_factory=dict)
    _summaries: Summaries | None = None
    _packed: tuple[dict[str, Features], Sampler] | None = None

    @staticmethod
    def new(
        task: Task,
        snapshot: Snapshot,
        table: TaskTable,
        config: TrainConfig,
        by: Embedder | None = None,
        statistics: Mapping[str, Statistics] | None = None,
    ) -> Run:
        """An untrained run: statistics fitted at the training cut, weights drawn from the config's seed. ``by`` is the
        text embedder where it is not the one that the config names. Raises ConfigError for a setting that says nothing
        of this kind of task."""
        train = table.of(Split.train).thinned(MAX_TRAINING_SEEDS)
        objective = Objective.fit(task.kind, train, config)
        by = by or embedder(config.text_embedder)
        if statistics is None:
            most = min(MAX_IDENTITIES, len(train) // SEEDS_AN_IDENTITY) if config.identities else 0
            statistics = features.fit(
                snapshot, table.fitted_at_us, task.hidden, text_channels=by.channels, text_rows=rows_needed(by),
                identities=most,
            )  # fmt: skip
        summaries = Summaries(task, snapshot, fitted_at_us=table.fitted_at_us, most_columns=config.summaries)
        seeds = seeds_of(train, task.entity, config.regime, strictly=task.row_level, hidden=_hidden(task, snapshot))
        summary = SummaryStatistics.fit(summaries.columns(seeds), table.fitted_at_us, train.time)
        model = models(task, snapshot, statistics, config, objective.outputs, summary)
        return Run(
            task, snapshot, lambda: table, config, statistics, objective, model, summary, by, _summaries=summaries
        )

    def again(self, config: TrainConfig) -> Run:
        """An untrained run of another config, with the statistics, features and graph of this one."""
        run = Run.new(self.task, self.snapshot, self.table, config, self.embedder, self.statistics)
        packed, sampler = self.packed()
        run._packed = packed, Sampler(sampler.graph, config.fanouts, strategy=config.sampling, seed=config.seed)
        return run

    @property
    def table(self) -> TaskTable:
        """The seeds with their labels; predicting at a time needs none."""
        return self.labels()

    def packed(self) -> tuple[dict[str, Features], Sampler]:
        """The packed features and the sampler over the graph, made when first needed."""
        if self._packed is None:
            config = self.config
            sampler = sampler_of(self.task, self.snapshot, config.fanouts, config.sampling, config.seed)
            self._packed = features.pack(self.snapshot, self.statistics, self.embedder), sampler
        return self._packed

    def summarise(self, seeds: Seeds) -> Tensor:
        """What the past of ``seeds`` adds up to, float32 ``[S, width]``."""
        return self.summary.tensor(self._summed().columns(seeds), len(seeds))

    def _summed(self) -> Summaries:
        if self._summaries is None:
            fitted_at_us, most_columns = self.summary.fitted_at_us, self.config.summaries
            self._summaries = Summaries(self.task, self.snapshot, fitted_at_us=fitted_at_us, most_columns=most_columns)
        return self._summaries

    def train(
        self,
        *,
        partial: Path | None = None,
        resume: bool = False,
        listen: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        """Trains the model, or one model of an ensemble after the other (:func:`rdl.train.fit`), and calibrates the
        intervals of a regression with quantiles on validation (:mod:`rdl.intervals`)."""
        started = time.perf_counter()
        torch.set_num_threads(self.config.threads)
        packed, sampler = self.packed()
        self.seconds["features"] = time.perf_counter() - started
        strictly, hidden = self.task.row_level, _hidden(self.task, self.snapshot)
        summarise = self.summarise if self.summary.width else None
        self.progress, self.predicted = [], {}
        trained = models_of(self.model)
        for number, model in enumerate(trained):
            config = self._config_of(number, self.config.ensemble - number)

            def told(progress: Progress, number: int = number) -> None:
                progress.label = f"training, model {number + 1} of {len(trained)}" if len(trained) > 1 else ""
                listen(progress)

            own = Sampler(sampler.graph, sampler.fanouts, strategy=sampler.strategy, seed=config.seed)
            inputs = Inputs(self.table, self.task.entity, strictly, hidden, packed, own, self.objective, summarise)
            folder = partial / str(config.seed) if partial is not None and len(trained) > 1 else partial
            progress = fit(model, inputs, config, partial=folder, resume=resume, identity=self.identity(), listen=told)
            self.progress.append(progress)
        self.seconds["training"] = sum(progress.seconds for progress in self.progress)
        if self.objective.quantiles:
            target, raw = self.table.of(Split.val).target, self._raw(Split.val)
            self.objective = replace(self.objective, shifts=calibrate(self.objective.quantiles, target, raw))

    def _config_of(self, number: int, left: int) -> TrainConfig:
        """The config of one model of an ensemble: its seed, and its share of the time that is left."""
        budget = self.config.time_budget_min
        if budget is not None:
            spent = sum(progress.seconds for progress in self.progress)
            budget = max(budget - spent / 60, 1e-6) / left
        return replace(self.config, seed=self.config.seed + number, ensemble=1, time_budget_min=budget)

    def identity(self) -> str:
        """What a resumed run must have in common with the interrupted one: all but the time and the machine. The
        question is told with its parameters, the data by their rows and labels."""
        config = {**asdict(self.config), "time_budget_min": None, "device": "", "devices": 1, "threads": 0}
        task, table = self.task, self.table
        parameters = [repr(part) for part in (task.target, task.where, task.assuming)]
        labels = hashlib.sha256()
        for values in (table.entity, table.time, table.split, table.target):
            labels.update(np.ascontiguousarray(values).tobytes())
        asked = [
            task.source,
            parameters,
            self.snapshot.schema.fingerprint(),
            self.snapshot.num_rows,
            labels.hexdigest(),
        ]
        return json.dumps([*asked, config, self.summary.names, self.summary.gappy], sort_keys=True, default=str)

    def score(self, *, baselines: bool = True) -> None:
        """Fills ``metrics`` for validation and test and, by default, ``baselines`` and ``blend``, under the run's
        regime."""
        started = time.perf_counter()
        judge = self._judge()
        raw = {split.value: self._raw(split) for split in (Split.val, Split.test)}
        self.predicted = {"model": judge.calibrated(raw)}
        self.metrics = judge.figures(self.predicted["model"])
        self.seconds["evaluation"] = time.perf_counter() - started
        if baselines:
            started = time.perf_counter()
            config, kind = self.config, self.task.kind
            fitted = fit_baselines(
                self.task, self.snapshot, self.table, regime=config.regime, seed=config.seed, loss=config.loss,
                quantiles=judge.quantiles,
            )  # fmt: skip
            theirs = {name: judge.calibrated(one.predictions) for name, one in fitted.items()}
            self.baselines = {name: judge.figures(predicted) for name, predicted in theirs.items()}
            self.predicted |= theirs
            boosted, target = fitted[boosting.name(kind, self.table)], self.table.of(Split.val).dense()
            self.blend = blend(
                raw, boosted.predictions, lambda predicted: self._loss(target, predicted),
                lambda predicted: judge.figures(judge.calibrated(predicted)),
            )  # fmt: skip
            self.seconds["baselines"] = time.perf_counter() - started

    def _loss(self, target: npt.NDArray[Any], predicted: Floats) -> float:
        """The figure by which predictions are chosen, as the weights of a model are."""
        return loss(self.task.kind, self.objective.judged_by, target, predicted, self.objective.quantiles)

    def explain(self, *, budget_s: float = 15.0) -> None:
        """Fills ``importance``: what the model reads, measured on validation within about so many seconds."""
        started = time.perf_counter()
        table = self.table.of(Split.val).thinned(MOST_SEEDS)
        target, seeds = table.dense(), self._seeds_of(table)
        packed, sampler = self.packed()
        summary = self.summarise(seeds) if self.summary.width else None
        subject = Subject(
            self.model, packed, sampler, seeds, summary, self.summary, self.objective,
            lambda which, predicted: self._loss(target[which], predicted),
        )  # fmt: skip
        self.importance = importance(subject, budget_s=budget_s, seed=self.config.seed)
        self.seconds["importance"] = time.perf_counter() - started

    def evaluate(self, split: Split | str) -> dict[str, float]:
        """The metrics of one split under the run's regime; empty where the split has no seeds. On validation, whose
        labels intervals are calibrated on, those of intervals are cross-fitted (:mod:`rdl.intervals`)."""
        name, quantiles = Split(split), self.objective.quantiles
        predicted = self.predict_split(name)
        if quantiles and name is Split.val:
            predicted = cross_fitted(quantiles, self.table.of(name).target, self._raw(name))
        return self._judge().figures({name.value: predicted})[name.value]

    def _judge(self) -> Judge:
        return Judge(self.task.kind, self.table, self.objective.quantiles)

    def predict_split(self, split: Split | str) -> Floats:
        """Predictions for the seeds of ``split`` in the task table's order, under the run's regime."""
        return self._predict(self._seeds(split), self.objective)

    def _raw(self, split: Split | str) -> Floats:
        """As :meth:`predict_split`, but for the calibration."""
        return self._predict(self._seeds(split), replace(self.objective, shifts=()))

    def _seeds(self, split: Split | str) -> Seeds:
        return self._seeds_of(self.table.of(split))

    def _seeds_of(self, part: TaskTable) -> Seeds:
        strictly, hidden = self.task.row_level, _hidden(self.task, self.snapshot)
        return seeds_of(part, self.task.entity, self.config.regime, strictly=strictly, hidden=hidden)

    def predict_at(self, rows: npt.NDArray[np.int64], times: npt.NDArray[np.int64]) -> Floats:
        """Predictions for the entities ``rows`` ``[n]`` at ``times`` ``[n]`` µs from all that was known then."""
        time_us = torch.from_numpy(times.copy())
        row, strictly = torch.from_numpy(rows.copy()), self.task.row_level
        seeds = Seeds(self.task.entity, row, time_us, time_us, strictly, _hidden(self.task, self.snapshot))
        return self._predict(seeds, self.objective)

    def _predict(self, seeds: Seeds, objective: Objective) -> Floats:
        torch.set_num_threads(self.config.threads)
        packed, sampler = self.packed()
        if not self.summary.width:
            return predict(self.model, packed, sampler, seeds, objective)
        self._summed().remember(seeds)
        # In pieces: what the pasts of millions of seeds add up to is not held at once.
        pieces = [
            predict(self.model, packed, sampler, piece, objective, self.summarise(piece))
            for piece in (seeds.part(at, at + SEEDS_A_PIECE) for at in range(0, max(len(seeds), 1), SEEDS_A_PIECE))
        ]
        return np.concatenate(pieces)


def _hidden(task: Task, snapshot: Snapshot) -> tuple[Relation, ...]:
    return task.label_keys(snapshot.schema)


def models(
    task: Task,
    snapshot: Snapshot,
    statistics: Mapping[str, Statistics],
    config: TrainConfig,
    outputs: int,
    summary: SummaryStatistics,
) -> nn.Module:
    """The model of ``config``, or its ensemble, each with the weights that its seed alone gives it."""
    built = []
    for number in range(config.ensemble):
        torch.manual_seed(config.seed + number)
        built.append(
            build(
                statistics,
                snapshot.schema.relations,
                channels=config.channels,
                layers=len(config.fanouts),
                dropout=config.dropout,
                members=config.members,
                outputs=outputs,
                summary=summary,
                masked=task.label_columns,
                conv=_CONVS[config.model],
            )
        )
    return built[0] if len(built) == 1 else Ensemble(built)
