"""A run: one task, one snapshot, one model, with its figures beside the baselines' — in memory and as a folder."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import math
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rdl import features
from rdl.baselines import fit_baselines
from rdl.checkpoint import read_weights, write_weights
from rdl.config import Layers, Regime, TrainConfig
from rdl.convs import HeteroAttention, HeteroSAGE, RelationalTransformer, RelGNN
from rdl.embedders import HASHING, Embedder, embedder
from rdl.errors import ConfigError
from rdl.features import Features, Statistics
from rdl.folders import read_json, write_json
from rdl.losses import Objective
from rdl.metrics import evaluate
from rdl.model import ConvFactory, RelationalModel, build
from rdl.predict import predict, sampler_of, seeds_of
from rdl.query.task import Split, Task, TaskTable
from rdl.sampler import Sampler, Seeds
from rdl.schema import Relation
from rdl.snapshot import Snapshot
from rdl.summaries import Summaries, SummaryStatistics
from rdl.train import MAX_TRAINING_SEEDS, Evaluation, Inputs, Progress, fit

Figures = dict[str, dict[str, float]]

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
    """A model for a task on a snapshot. ``metrics[split]`` and ``baselines[name][split]`` are empty until scored."""

    task: Task
    snapshot: Snapshot
    labels: Callable[[], TaskTable]
    config: TrainConfig
    statistics: Mapping[str, Statistics]
    objective: Objective
    model: RelationalModel
    summary: SummaryStatistics
    embedder: Embedder = HASHING
    progress: Progress = field(default_factory=Progress)
    metrics: Figures = field(default_factory=dict)
    baselines: dict[str, Figures] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    _summaries: Summaries | None = None
    _packed: tuple[dict[str, Features], Sampler] | None = None

    @staticmethod
    def new(task: Task, snapshot: Snapshot, table: TaskTable, config: TrainConfig, by: Embedder | None = None) -> Run:
        """An untrained run: statistics fitted at the training cut, weights drawn from the config's seed. ``by`` is the
        text embedder where it is not the one that the config names."""
        by = by or embedder(config.text_embedder)
        train = table.of(Split.train).thinned(MAX_TRAINING_SEEDS)
        most = min(MAX_IDENTITIES, len(train) // SEEDS_AN_IDENTITY) if config.identities else 0
        statistics = features.fit(snapshot, table.fitted_at_us, task.hidden, text_channels=by.channels, identities=most)
        objective = Objective.fit(task.kind, train.target)
        summaries = Summaries(task, snapshot, fitted_at_us=table.fitted_at_us, most_columns=config.summaries)
        seeds = seeds_of(train, task.entity, config.regime, strictly=task.row_level, hidden=_hidden(task, snapshot))
        summary = SummaryStatistics.fit(summaries.columns(seeds), table.fitted_at_us)
        model = _model(task, snapshot, statistics, config, summary.width)
        return Run(
            task, snapshot, lambda: table, config, statistics, objective, model, summary, by, _summaries=summaries
        )

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
        if self._summaries is None:
            fitted_at_us, most_columns = self.summary.fitted_at_us, self.config.summaries
            self._summaries = Summaries(self.task, self.snapshot, fitted_at_us=fitted_at_us, most_columns=most_columns)
        return self.summary.tensor(self._summaries.columns(seeds), len(seeds))

    def train(
        self,
        *,
        partial: Path | None = None,
        resume: bool = False,
        listen: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        """Trains the model; see :func:`rdl.train.fit`."""
        started = time.perf_counter()
        torch.set_num_threads(self.config.threads)
        packed, sampler = self.packed()
        self.seconds["features"] = time.perf_counter() - started
        strictly, hidden = self.task.row_level, _hidden(self.task, self.snapshot)
        summarise = self.summarise if self.summary.width else None
        inputs = Inputs(self.table, self.task.entity, strictly, hidden, packed, sampler, self.objective, summarise)
        self.progress = fit(
            self.model, inputs, self.config, partial=partial, resume=resume, identity=self._identity(), listen=listen
        )
        self.seconds["training"] = self.progress.seconds

    def _identity(self) -> str:
        """What a resumed run must have in common with the interrupted one: all but the time and the machine."""
        config = {**asdict(self.config), "time_budget_min": None, "device": "", "threads": 0}
        asked = [self.task.source, self.snapshot.schema.fingerprint(), config, self.summary.names, self.summary.gappy]
        return json.dumps(asked, sort_keys=True, default=str)

    def score(self, *, baselines: bool = True) -> None:
        """Fills ``metrics`` for validation and test and, by default, ``baselines``, under the run's regime."""
        started = time.perf_counter()
        self.metrics = {split.value: self.evaluate(split) for split in (Split.val, Split.test)}
        self.seconds["evaluation"] = time.perf_counter() - started
        if baselines:
            started = time.perf_counter()
            self.baselines = baseline_figures(self.task, self.snapshot, self.table, self.config)
            self.seconds["baselines"] = time.perf_counter() - started

    def evaluate(self, split: Split | str) -> dict[str, float]:
        """The metrics of one split under the run's regime; empty where the split has no seeds."""
        part = self.table.of(split)
        if not len(part):
            return {}
        return evaluate(
            self.task.kind, part.target, self.predict_split(split), train_target=self.table.of(Split.train).target
        )

    def predict_split(self, split: Split | str) -> npt.NDArray[np.float64]:
        """Predictions for the seeds of ``split`` in the task table's order, under the run's regime."""
        seeds = seeds_of(
            self.table.of(split),
            self.task.entity,
            self.config.regime,
            strictly=self.task.row_level,
            hidden=_hidden(self.task, self.snapshot),
        )
        return self._predict(seeds)

    def predict_at(self, rows: npt.NDArray[np.int64], times: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Predictions for the entities ``rows`` ``[n]`` at ``times`` ``[n]`` µs from all that was known then."""
        time_us = torch.from_numpy(times.copy())
        row, strictly = torch.from_numpy(rows.copy()), self.task.row_level
        seeds = Seeds(self.task.entity, row, time_us, time_us, strictly, _hidden(self.task, self.snapshot))
        return self._predict(seeds)

    def _predict(self, seeds: Seeds) -> npt.NDArray[np.float64]:
        torch.set_num_threads(self.config.threads)
        packed, sampler = self.packed()
        summary = self.summarise(seeds) if self.summary.width else None
        return predict(self.model, packed, sampler, seeds, self.objective, summary)

    def save(self, folder: Path, *, source: Mapping[str, Any]) -> None:
        """Writes the run into the existing, empty ``folder``; ``source`` says what it was asked of (no passwords)."""
        write_json(
            folder / "run.json",
            {
                "query": self.task.source,
                "kind": self.task.kind,
                "entity": self.task.entity,
                **source,
                "val_cut_us": self.table.val_cut,
                "test_cut_us": self.table.test_cut,
                "regime": self.config.regime,
                "schema": self.snapshot.schema.to_json(),
                "schema_fingerprint": self.snapshot.schema.fingerprint(),
                "config": self.config,
                "objective": self.objective,
                "seconds": self.seconds,
                "peak_rss_mb": peak_rss_mb(),
                "versions": versions(),
            },
        )
        figures = {"regime": self.config.regime, "metrics": self.metrics, "baselines": self.baselines}
        write_json(folder / "metrics.json", figures)
        write_json(folder / "statistics.json", self.statistics)
        write_json(folder / "summary.json", self.summary)
        write_weights(folder / "model.safetensors", self.model.state_dict())
        with (folder / "history.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(Evaluation.__dataclass_fields__))
            writer.writeheader()
            writer.writerows(asdict(line) for line in self.progress.history)

    @staticmethod
    def open(
        folder: Path,
        facts: Mapping[str, Any],
        task: Task,
        snapshot: Snapshot,
        labels: Callable[[], TaskTable],
        by: Embedder | None = None,
    ) -> Run:
        """The run in ``folder``, whose ``run.json`` holds ``facts``, on ``snapshot``. ``by`` is its text embedder where
        that has no name by which it could be loaded.

        Raises ConfigError where a file is missing or damaged, or the text embedder is another.
        """
        config = TrainConfig(
            **{
                **facts["config"],
                "regime": Regime(facts["config"]["regime"]),
                "fanouts": tuple(facts["config"]["fanouts"]),
            }
        )
        objective = Objective.from_json(facts["objective"])
        saved = read_json(folder / "statistics.json")
        statistics = {name: Statistics.from_json(entry) for name, entry in saved.items()}
        if any(fitted.texts for fitted in statistics.values()):
            by = _same_embedder(config.text_embedder, by)
        summary = SummaryStatistics.from_json(read_json(folder / "summary.json"))
        model = _model(task, snapshot, statistics, config, summary.width)
        try:
            model.load_state_dict(read_weights(folder / "model.safetensors"))
        except RuntimeError:
            raise ConfigError(
                f"{folder} holds a model of another make: its weights do not fit", hint="train the run again."
            ) from None
        figures = read_json(folder / "metrics.json")
        with (folder / "history.csv").open() as file:
            history = [
                Evaluation(int(line.pop("step")), **{k: float(v) for k, v in line.items()})
                for line in csv.DictReader(file)
            ]
        progress = Progress(history=history)
        return Run(
            task, snapshot, labels, config, statistics, objective, model, summary, by or HASHING, progress,
            _figures(figures["metrics"]),
            {name: _figures(found) for name, found in figures["baselines"].items()}, facts["seconds"],
        )  # fmt: skip


def _same_embedder(name: str, by: Embedder | None) -> Embedder:
    """``by``, or the one called ``name``, by which a run was trained. Raises ConfigError where they are not the same,
    or it cannot be loaded."""
    if by is None:
        try:
            return embedder(name)
        except ConfigError as error:
            hint = f"{error.hint} Or rdl.load(…, text_embedder=…) with the one that it was trained with."
            raise ConfigError(f"the run reads texts by the embedder {name!r}: {error.message}", hint=hint) from None
    if by.name != name:
        raise ConfigError(
            f"the run reads texts by the embedder {name!r}, not by {by.name!r}",
            hint="give the one it was trained with.",
        )
    return by


def _figures(saved: Mapping[str, Mapping[str, float | None]]) -> Figures:
    """Figures as they were before JSON, which has no NaN."""
    return {
        split: {name: math.nan if value is None else value for name, value in found.items()}
        for split, found in saved.items()
    }


def _hidden(task: Task, snapshot: Snapshot) -> tuple[Relation, ...]:
    return task.label_keys(snapshot.schema)


def _model(
    task: Task, snapshot: Snapshot, statistics: Mapping[str, Statistics], config: TrainConfig, summary: int
) -> RelationalModel:
    torch.manual_seed(config.seed)
    return build(
        statistics,
        snapshot.schema.relations,
        channels=config.channels,
        layers=len(config.fanouts),
        dropout=config.dropout,
        members=config.members,
        summary=summary,
        masked=task.label_columns,
        conv=_CONVS[config.model],
    )


def baseline_figures(task: Task, snapshot: Snapshot, table: TaskTable, config: TrainConfig) -> dict[str, Figures]:
    """The metrics of every baseline by name and split, under the config's regime."""
    fitted = fit_baselines(task, snapshot, table, regime=config.regime, seed=config.seed)
    train = table.of(Split.train).target
    return {
        name: {
            split.value: evaluate(task.kind, table.of(split).target, predictions[split.value], train_target=train)
            for split in (Split.val, Split.test)
            if len(table.of(split))
        }
        for name, predictions in fitted.items()
    }


def peak_rss_mb() -> float:
    """The most memory this process has held at once, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that figures depend on."""
    packages = ("rdl", "torch", "torch-geometric", "pytorch-frame", "lightgbm", "duckdb")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
