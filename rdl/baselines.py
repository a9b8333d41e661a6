"""What any model has to beat: a constant, the entity's own past label, and LightGBM on window aggregates.

All are fitted on the training seeds and see, for each seed, exactly what a model would see under the same regime.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from rdl.aggregates import MOST_COLUMNS, window_features
from rdl.config import Regime
from rdl.errors import ConfigError
from rdl.metrics import headline
from rdl.query.task import Kind, Split, Task, TaskTable
from rdl.ranges import Ranges
from rdl.snapshot import Snapshot
from rdl.streams import Seeds, closing_times

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

#: LightGBM learns from at most so many training seeds, drawn evenly; features are computed in pieces of so many seeds.
MOST_SEEDS, SEEDS_A_PIECE = 200_000, 100_000
#: With more training seeds than this one setting is fitted; with fewer the mean of several steadies the predictions.
MANY_SEEDS = 30_000
MOST_ROUNDS, PATIENCE = 600, 50
#: From so many cells of features on, two threads are used.
SECOND_THREAD = 10_000_000


@dataclass(frozen=True, slots=True)
class Baseline:
    """Predictions by split name (``val``, ``test``) ``[seeds of the split]`` in the task table's order: probabilities
    for binary tasks. ``detail`` holds what was learnt, as JSON values."""

    name: str
    predictions: Mapping[str, Floats]
    seconds: float
    detail: Mapping[str, object] = field(default_factory=dict)

    def __getitem__(self, split: Split | str) -> Floats:
        return self.predictions[Split(split).value]


@dataclass(frozen=True, slots=True)
class _Setting:
    """One way to fit LightGBM: how many of the columns, how large the trees, and whether training seeds are seen
    a second time with a cut as old as in validation."""

    columns: int
    leaves: int
    aged: bool = False


def fit_baselines(
    task: Task,
    snapshot: Snapshot,
    table: TaskTable,
    *,
    regime: Regime | str = Regime.seed_time,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Baseline]:
    """The baselines of a task by name: ``global``, ``past label`` and ``LightGBM``; each predicts validation and test.

    Every seed sees rows up to its cut under ``regime``. The same seed gives the same numbers. ``progress`` is told each
    name before it is fitted. Raises ConfigError for a kind of task without baselines, without training seeds, or where
    LightGBM cannot be loaded.
    """
    headline(task.kind)
    if not np.isfinite(table.of(Split.train).target).any():
        raise ConfigError("there are no training seeds to fit baselines on", hint="give the task an earlier SPLIT AT.")
    fits: dict[str, Callable[[], tuple[Mapping[str, Floats], Mapping[str, object]]]] = {
        "global": lambda: _fit_global(task, table),
        "past label": lambda: _fit_past_label(task, snapshot, table, Regime(regime)),
        "LightGBM": lambda: _LightGbm(task, snapshot, table, Regime(regime), seed).fit(),
    }
    fitted = {}
    for name, fit in fits.items():
        if progress is not None:
            progress(name)
        started = time.perf_counter()
        predictions, detail = fit()
        fitted[name] = Baseline(name, predictions, time.perf_counter() - started, detail)
    return fitted


def past_labels(task: Task, snapshot: Snapshot, table: TaskTable, cuts: Rows) -> Floats:
    """For each seed of ``table`` its entity's most recent label that was known at ``cuts`` ``[n]`` µs, NaN where none.

    A label is known once its window has closed (:func:`rdl.streams.closing_times`): time + horizon ≤ cut. The rows
    of a row-level task have one label each: there it is that of the newest row of the same parent over the table's
    first foreign key (the user's last click) that is strictly older than the cut, as both keys are, NaN throughout
    where the label columns are hidden or the table has no foreign key.
    """
    found = np.full(len(table), np.nan)
    owner = asked = table.entity
    known = closing_times(task, table, snapshot)
    if task.row_level:
        schema = snapshot.schema
        closed = (*task.label_keys(schema), *task.closed_keys(schema))
        relations = [relation for relation in schema.relations_from(task.entity) if relation not in closed]
        if not relations or not task.label_columns or task.label_columns & task.hidden:
            return found
        owner, linked = (of(relations[0])[table.entity].astype(np.int64) for of in (snapshot.parent, snapshot.linked))
        cuts, known = cuts - 1, np.maximum(known, linked)
        asked = np.where(linked <= cuts, owner, -1)
    labelled = np.where(np.isfinite(table.target), owner, -1)
    newest = Ranges(labelled, known, asked, cuts).newest()
    found[newest >= 0] = table.target[newest[newest >= 0]]
    return found


def _constant(task: Task, table: TaskTable) -> float:
    """The share of positives among the training labels, or their median."""
    target = table.of(Split.train).target
    return float(np.nanmean(target) if task.kind is Kind.binary else np.nanmedian(target))


def _fit_global(task: Task, table: TaskTable) -> tuple[dict[str, Floats], dict[str, object]]:
    constant = _constant(task, table)
    predictions = {split.value: np.full(len(table.of(split)), constant) for split in (Split.val, Split.test)}
    return predictions, {"value": constant}


def _fit_past_label(
    task: Task, snapshot: Snapshot, table: TaskTable, regime: Regime
) -> tuple[dict[str, Floats], dict[str, object]]:
    past = past_labels(task, snapshot, table, table.cuts(regime))
    filled = np.where(np.isnan(past), _constant(task, table), past)
    parts = {split.value: table.split == number for number, split in ((1, Split.val), (2, Split.test))}
    shares = {name: float((~np.isnan(past[part])).mean()) if part.any() else 0.0 for name, part in parts.items()}
    return {name: filled[part] for name, part in parts.items()}, {"share with a past label": shares}


class _LightGbm:
    """One fit of LightGBM: the mean of what several settings predict, each stopped early on validation.

    Validation does not choose among settings: of a few hundred seeds it would choose by chance.
    """

    def __init__(self, task: Task, snapshot: Snapshot, table: TaskTable, regime: Regime, seed: int) -> None:
        self.engine = _load_lightgbm()
        self.task, self.snapshot, self.table, self.seed = task, snapshot, table, seed
        self.cuts = table.cuts(regime)
        self.random = np.random.default_rng(seed)
        self.validation = np.flatnonzero(table.split == 1)
        train = np.flatnonzero((table.split == 0) & np.isfinite(table.target))
        if len(train) > MOST_SEEDS:
            train = np.sort(self.random.choice(train, MOST_SEEDS, replace=False))
        self.train = train
        # How long before its time what a validation seed sees ends: nothing in the seed-time regime. In the frozen one
        # training seeds are seen once more with ages drawn from these, or the trees would rely on fresh rows.
        self.ages = (table.time - self.cuts)[self.validation]

    def fit(self) -> tuple[dict[str, Floats], dict[str, object]]:
        """Predictions by split, and what was chosen."""
        seen = {"train": self.features(self.train, self.cuts[self.train])}
        seen["val"] = self.features(self.validation, self.cuts[self.validation])
        settings = self.settings()
        if any(setting.aged for setting in settings):
            ages = self.random.choice(self.ages, len(self.train))
            seen["aged"] = self.features(self.train, self.table.time[self.train] - ages)
        fitted = [(setting, self.booster(setting, seen)) for setting in settings]
        predictions = {
            split.value: self.predict(fitted, np.flatnonzero(self.table.split == number))
            for number, split in ((1, Split.val), (2, Split.test))
        }
        return predictions, self.detail(fitted, seen["train"][1])

    def settings(self) -> list[_Setting]:
        settings = [_Setting(MOST_COLUMNS, 7), _Setting(100, 15), _Setting(60, 15)]
        if len(self.train) > MANY_SEEDS or not len(self.validation):
            settings = [_Setting(MOST_COLUMNS, 31)]
        if (self.ages > 0).any():
            settings += [replace(setting, aged=True) for setting in settings]
        return settings

    def features(self, which: Rows, cuts: Rows) -> tuple[Floats32, list[str]]:
        """The columns of the seeds ``which`` under ``cuts`` ``[seeds, columns]``, and their names."""
        pieces = []
        for start in range(0, max(1, len(which)), SEEDS_A_PIECE):
            part = slice(start, start + SEEDS_A_PIECE)
            seeds = Seeds(self.table.entity[which[part]], self.table.time[which[part]], cuts[part])
            columns = window_features(
                self.task, self.snapshot, seeds, fitted_at_us=self.table.fitted_at_us, labels=self.table
            )
            pieces.append(np.column_stack([column.to_numpy().astype(np.float32) for column in columns.columns]))
        return np.concatenate(pieces), columns.column_names

    def booster(self, setting: _Setting, seen: Mapping[str, tuple[Floats32, list[str]]]) -> Any:
        """LightGBM fitted under a setting, stopped where validation no longer gets better."""
        inputs, target = seen["train"][0], self.table.target[self.train]
        if setting.aged:
            inputs, target = np.concatenate([inputs, seen["aged"][0]]), np.concatenate([target, target])
        binary = self.task.kind is Kind.binary
        parameters = {
            "objective": "binary" if binary else "l1", "metric": "binary_logloss" if binary else "l1",
            "num_leaves": setting.leaves, "learning_rate": 0.05, "min_data_in_leaf": 40, "lambda_l2": 5.0,
            "feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1,
            "seed": self.seed, "deterministic": True, "force_row_wise": True, "verbosity": -1,
            # A second thread costs more than it brings on a small table.
            "num_threads": 2 if inputs.size > SECOND_THREAD else 1,
        }  # fmt: skip
        learnt = self.engine.Dataset(inputs[:, : setting.columns], target, params={"verbosity": -1})
        labelled = np.isfinite(self.table.target[self.validation])
        if not labelled.any():
            return self.engine.train(parameters, learnt, MOST_ROUNDS // 6)
        target = self.table.target[self.validation[labelled]]
        watched = learnt.create_valid(seen["val"][0][labelled, : setting.columns], target)
        stopping = self.engine.early_stopping(PATIENCE, verbose=False)
        return self.engine.train(parameters, learnt, MOST_ROUNDS, valid_sets=[watched], callbacks=[stopping])

    def predict(self, fitted: list[tuple[_Setting, Any]], which: Rows) -> Floats:
        """The mean prediction for the seeds ``which`` under the regime, a piece at a time."""
        pieces = [np.zeros(0)]
        for start in range(0, len(which), SEEDS_A_PIECE):
            part = which[start : start + SEEDS_A_PIECE]
            inputs, _ = self.features(part, self.cuts[part])
            several = [booster.predict(inputs[:, : setting.columns]) for setting, booster in fitted]
            pieces.append(np.mean(several, axis=0, dtype=np.float64))
        return np.concatenate(pieces)

    def detail(self, fitted: list[tuple[_Setting, Any]], names: list[str]) -> dict[str, object]:
        """Trees of each setting, and the ten columns that mattered most by their share of the gain."""
        gain = np.zeros(len(names))
        for _, booster in fitted:
            part = booster.feature_importance("gain")
            gain[: len(part)] += part / max(float(part.sum()), 1e-12) / len(fitted)
        top = np.argsort(-gain, kind="stable")[:10]
        return {
            "columns": len(names),
            "trees": [int(booster.best_iteration or booster.current_iteration()) for _, booster in fitted],
            "importance": {names[column]: round(float(gain[column]), 4) for column in top if gain[column] > 0},
        }


def _load_lightgbm() -> ModuleType:
    """LightGBM, loaded when first needed. Raises ConfigError where it, or the OpenMP library it needs, is missing."""
    try:
        import lightgbm
    except ImportError:
        raise ConfigError("LightGBM is not installed", hint="pip install lightgbm.") from None
    except OSError as error:
        raise ConfigError(
            f"LightGBM cannot be loaded: {error}",
            hint="install the OpenMP runtime: apt install libgomp1, dnf install libgomp, or brew install libomp.",
        ) from None
    return lightgbm
