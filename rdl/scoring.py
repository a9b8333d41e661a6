"""How good predictions of a task's seeds are: the figures of a model and of the baselines, made in one way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rdl.baselines import fit_baselines
from rdl.config import TrainConfig
from rdl.intervals import calibrate, cross_fitted, shifted
from rdl.losses import Objective
from rdl.metrics import evaluate
from rdl.query.task import Kind, Split, Task, TaskTable
from rdl.snapshot import Snapshot

Floats = npt.NDArray[np.float64]
#: Figures by name, for each split.
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Judge:
    """Says how good predictions by split (``val``, ``test``) for the seeds of ``table`` are."""

    kind: Kind
    table: TaskTable
    quantiles: tuple[float, ...] = ()

    def calibrated(self, raw: Mapping[str, Floats]) -> dict[str, Floats]:
        """Predictions as they are judged: ``quantiles`` are moved by what validation shows of them, those of validation
        itself cross-fitted (:mod:`rdl.intervals`); all else is as it was."""
        if not self.quantiles:
            return dict(raw)
        target, val = self.table.of(Split.val).target, raw[Split.val.value]
        shifts = calibrate(self.quantiles, target, val)
        moved = {split: shifted(predicted, shifts) for split, predicted in raw.items()}
        return moved | {Split.val.value: cross_fitted(self.quantiles, target, val)}

    def figures(self, predictions: Mapping[str, Floats]) -> Figures:
        """The figures of predictions by split; none of a split without seeds."""
        train = self.table.of(Split.train).dense()
        return {
            split: evaluate(self.kind, part.dense(), predicted, train_target=train, quantiles=self.quantiles)
            if len(part := self.table.of(split))
            else {}
            for split, predicted in predictions.items()
        }


def baseline_figures(task: Task, snapshot: Snapshot, table: TaskTable, config: TrainConfig) -> dict[str, Figures]:
    """The metrics of every baseline by name and split, under the config's regime.

    Raises ConfigError for a setting that says nothing of this kind of task.
    """
    levels = Objective.fit(task.kind, table.of(Split.train), config).quantiles
    judge = Judge(task.kind, table, levels)
    fitted = fit_baselines(
        task, snapshot, table, regime=config.regime, seed=config.seed, loss=config.loss, quantiles=levels
    )
    return {name: judge.figures(judge.calibrated(one.predictions)) for name, one in fitted.items()}
