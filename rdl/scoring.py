"""The figures of the baselines."""

from __future__ import annotations

from collections.abc import Mapping

from rdl.baselines import Baseline, fit_baselines
from rdl.config import TrainConfig
from rdl.metrics import evaluate
from rdl.query.task import Split, Task, TaskTable
from rdl.snapshot import Snapshot

#: Figures by name, for each split.
Figures = dict[str, dict[str, float]]


def baseline_figures(task: Task, snapshot: Snapshot, table: TaskTable, config: TrainConfig) -> dict[str, Figures]:
    """The metrics of every baseline by name and split, under the config's regime."""
    return figures_of(task, table, fit_baselines(task, snapshot, table, regime=config.regime, seed=config.seed))


def figures_of(task: Task, table: TaskTable, fitted: Mapping[str, Baseline]) -> dict[str, Figures]:
    """The metrics of fitted baselines by name and split."""
    train = table.of(Split.train).target
    return {
        name: {
            split.value: evaluate(task.kind, table.of(split).target, predictions[split.value], train_target=train)
            for split in (Split.val, Split.test)
            if len(table.of(split))
        }
        for name, predictions in fitted.items()
    }
