"""Runs as folders: what was asked, settings, figures, statistics and weights; written, and read again."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rdl.blending import Blend
from rdl.checkpoint import read_weights, write_weights
from rdl.config import Regime, TrainConfig
from rdl.embedders import HASHING, Embedder, embedder
from rdl.errors import ConfigError
from rdl.features import Statistics
from rdl.folders import read_json, write_json
from rdl.importance import Importance
from rdl.losses import Objective
from rdl.machine import peak_rss_mb, versions
from rdl.progress import Evaluation, Progress
from rdl.query.task import Task, TaskTable
from rdl.run import Run, models
from rdl.scoring import Figures
from rdl.snapshot import Snapshot
from rdl.summaries import SummaryStatistics


def save(run: Run, folder: Path, *, source: Mapping[str, Any]) -> None:
    """Writes ``run`` into the existing, empty ``folder``; ``source`` says what it was asked of (no passwords)."""
    write_json(
        folder / "run.json",
        {
            "query": run.task.source,
            "kind": run.task.kind,
            "entity": run.task.entity,
            **source,
            "val_cut_us": run.table.val_cut,
            "test_cut_us": run.table.test_cut,
            "regime": run.config.regime,
            "schema": run.snapshot.schema.to_json(),
            "schema_fingerprint": run.snapshot.schema.fingerprint(),
            "config": run.config,
            "objective": run.objective,
            "training": [
                {"seed": one.seed, "step": one.step, "best_step": one.best_step, "stopped": one.stopped}
                for one in run.progress
            ],
            "seconds": run.seconds,
            "peak_rss_mb": peak_rss_mb(),
            "versions": versions(),
        },
    )
    figures = {
        "regime": run.config.regime,
        "metrics": run.metrics,
        "baselines": run.baselines,
        "blend": run.blend,
        "importance": run.importance,
    }
    write_json(folder / "metrics.json", figures)
    write_json(folder / "statistics.json", run.statistics)
    write_json(folder / "summary.json", run.summary)
    write_weights(folder / "model.safetensors", run.model.state_dict())
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(Evaluation.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(line) for progress in run.progress for line in progress.history)


def reopen(
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
    model = models(task, snapshot, statistics, config, objective.outputs, summary)
    try:
        model.load_state_dict(read_weights(folder / "model.safetensors"))
    except RuntimeError:
        raise ConfigError(
            f"{folder} holds a model of another make: its weights do not fit", hint="train the run again."
        ) from None
    figures = read_json(folder / "metrics.json")
    with (folder / "history.csv").open() as file:
        history = [
            Evaluation(int(line.pop("step")), seed=int(line.pop("seed")), **{k: float(v) for k, v in line.items()})
            for line in csv.DictReader(file)
        ]
    progress = [
        Progress(**known, history=[line for line in history if line.seed == known["seed"]])
        for known in facts["training"]
    ]
    blended = figures["blend"] and Blend(figures["blend"]["weight"], _figures(figures["blend"]["metrics"]))

    def numbered() -> TaskTable:
        """The labels with the class numbers that the model learnt, whatever data have come since."""
        return labels().numbered_by(objective.classes)

    return Run(
        task, snapshot, numbered, config, statistics, objective, model, summary, by or HASHING, progress,
        _figures(figures["metrics"]),
        {name: _figures(found) for name, found in figures["baselines"].items()}, facts["seconds"], blended,
        [Importance(**one) for one in figures["importance"]],
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
