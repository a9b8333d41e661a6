"""What any model has to beat: a constant, the entity's own past label, and LightGBM on window aggregates.

All are fitted on the training seeds and see, for each seed, exactly what a model would see under the same regime.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from rdl import boosting
from rdl.aggregates import MOST_COLUMNS, window_features
from rdl.boosting import MOST_FITS, Problem
from rdl.config import Loss, Regime
from rdl.earlier import EarlierLabels, history
from rdl.errors import ConfigError
from rdl.metrics import headline
from rdl.query.task import Kind, Split, Task, TaskTable
from rdl.snapshot import Snapshot
from rdl.streams import Seeds

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
    """Predictions by split name (``val``, ``test``) in the task table's order: ``[seeds]`` or ``[seeds, outputs]``, as
    :func:`rdl.metrics.evaluate` takes them. ``detail`` holds what was learnt, as JSON values."""

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
    loss: Loss | str = Loss.l1,
    quantiles: Sequence[float] = (),
    progress: Callable[[str], None] | None = None,
) -> dict[str, Baseline]:
    """The baselines of a task by name: ``global``, ``past label`` and ``LightGBM``; each predicts validation and test.

    Where there are more classes or timeframes than :data:`rdl.boosting.MOST_FITS`, LightGBM learns so many of them, and
    its name says so. Every seed sees rows up to its cut under ``regime``. Numbers are predicted under ``loss``, or
    their ``quantiles``. The same seed gives the same numbers. ``progress`` is told each name before it is fitted.
    Raises ConfigError for a kind of task without baselines, without training seeds, or where LightGBM cannot be loaded.
    """
    headline(task.kind)
    if not boosting.known(table.of(Split.train)).any():
        raise ConfigError("there are no training seeds to fit baselines on", hint="give the task an earlier SPLIT AT.")
    constant = boosting.constant(task.kind, table, loss, quantiles)
    fits: dict[str, Callable[[], tuple[Mapping[str, Floats], Mapping[str, object]]]] = {
        "global": lambda: _fit_global(table, constant),
        "past label": lambda: _fit_past_label(task, snapshot, table, Regime(regime), constant, quantiles),
        boosting.name(task.kind, table): lambda: _LightGbm(
            task, snapshot, table, Regime(regime), seed, loss, quantiles
        ).fit(),
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
    """For each seed of ``table`` its entity's most recent label that was known at ``cuts`` ``[n]`` µs, NaN where none
    (:class:`rdl.earlier.EarlierLabels`); of a forecast that is the last known timeframe, of a multilabel task the
    number of the seed whose labels they are."""
    target = np.arange(len(table)) if table.indptr is not None else table.target.ravel()
    newest = EarlierLabels(task, snapshot, table).ranges(np.isfinite(target), slice(None), cuts).newest()
    found = np.full(len(table), np.nan)
    found[newest >= 0] = target[newest[newest >= 0]]
    return found


def _fit_global(table: TaskTable, constant: float | Floats) -> tuple[dict[str, Floats], dict[str, object]]:
    shape = np.shape(constant)
    predictions = {split.value: np.full((len(table.of(split)), *shape), constant) for split in (Split.val, Split.test)}
    return predictions, {"value": np.asarray(constant).tolist()}


def _fit_past_label(
    task: Task,
    snapshot: Snapshot,
    table: TaskTable,
    regime: Regime,
    constant: float | Floats,
    quantiles: Sequence[float],
) -> tuple[dict[str, Floats], dict[str, object]]:
    past = past_labels(task, snapshot, table, table.cuts(regime))
    filled = _from_past(task.kind, table, past, constant, quantiles)
    parts = {split.value: table.split == number for number, split in ((1, Split.val), (2, Split.test))}
    shares = {name: float((~np.isnan(past[part])).mean()) if part.any() else 0.0 for name, part in parts.items()}
    return {name: filled[part] for name, part in parts.items()}, {"share with a past label": shares}


def _from_past(
    kind: Kind, table: TaskTable, past: Floats, constant: float | Floats, quantiles: Sequence[float]
) -> Floats:
    """What a past label says of the next one, ``constant`` where there is none. A binary label and a number are taken
    as they are. A class comes again as often as it did in training, and is else any; each of several labels comes as
    often as in training where it was there, or was not. Quantiles lie about a number as in training."""
    there = ~np.isnan(past)
    if kind in (Kind.binary, Kind.regression) and not quantiles:
        return np.where(there, past, constant)
    found = np.tile(np.asarray(constant), (len(table), 1))
    train = there & (table.split == 0)
    if kind is Kind.forecast:
        found[there] = past[there, None]
    elif kind is Kind.regression:
        if train.any():
            found[there] = past[there, None] + np.quantile((table.target - past)[train], quantiles)
    elif kind is Kind.multiclass:
        again = float((table.target == past)[train].mean()) if train.any() else 0.0
        seen = np.flatnonzero(there & (past >= 0))
        found[seen] *= 1 - again
        found[seen, past[seen].astype(np.int64)] += again
    elif train.any():
        labels = table.dense()
        before = labels[past[there].astype(np.int64)]
        learnt, was = labels[train], labels[past[train].astype(np.int64)]
        for value in (0.0, 1.0):  # of a class that never was, or always, nothing is told
            often, many = (learnt * (was == value)).sum(axis=0), (was == value).sum(axis=0)
            share = np.where(many > 0, often / np.maximum(many, 1), constant)
            found[there] = np.where(before == value, share, found[there])
    return found


class _LightGbm:
    """One fit of LightGBM: the mean of what several settings predict, each stopped early on validation.

    Validation does not choose among settings: of a few hundred seeds it would choose by chance.
    """

    def __init__(
        self, task: Task, snapshot: Snapshot, table: TaskTable, regime: Regime, seed: int,
        loss: Loss | str = Loss.l1, quantiles: Sequence[float] = (),
    ) -> None:  # fmt: skip
        self.engine = _load_lightgbm()
        self.task, self.snapshot, self.table, self.seed = task, snapshot, table, seed
        self.problems = boosting.problems(task.kind, table, loss, quantiles)
        self.otherwise = boosting.constant(task.kind, table, loss, quantiles)
        # Several trees a round are as much work as more seeds.
        self.trees = boosting.trees_a_round(self.problems)
        self.cuts = table.cuts(regime)
        self.random = np.random.default_rng(seed)
        self.validation = np.flatnonzero(table.split == 1)
        train = np.flatnonzero((table.split == 0) & boosting.known(table))
        most = max(MOST_SEEDS // self.trees, MANY_SEEDS)
        if len(train) > most:
            train = np.sort(self.random.choice(train, most, replace=False))
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
        fitted = [[(setting, self.booster(setting, seen, one)) for setting in settings] for one in self.problems]
        predictions = {
            split.value: self.predict(fitted, np.flatnonzero(self.table.split == number))
            for number, split in ((1, Split.val), (2, Split.test))
        }
        return predictions, self.detail([one for several in fitted for one in several], seen["train"][1])

    def settings(self) -> list[_Setting]:
        settings = [_Setting(MOST_COLUMNS, 7), _Setting(100, 15), _Setting(60, 15)]
        if self.trees > 1:
            settings = [_Setting(MOST_COLUMNS, 15)]
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
            numbers = self.task.kind in (Kind.binary, Kind.regression)
            columns = window_features(
                self.task, self.snapshot, seeds, fitted_at_us=self.table.fitted_at_us,
                labels=self.table if numbers else None,
            )  # fmt: skip
            named = {} if numbers else dict(
                history(self.task, self.snapshot, self.table, which[part], cuts[part], MOST_FITS)
            )  # fmt: skip
            named |= dict(zip(columns.column_names, (column.to_numpy() for column in columns.columns), strict=True))
            pieces.append(np.column_stack([column.astype(np.float32) for column in named.values()]))
        return np.concatenate(pieces), list(named)

    def booster(self, setting: _Setting, seen: Mapping[str, tuple[Floats32, list[str]]], problem: Problem) -> Any:
        """LightGBM fitted under a setting, stopped where validation no longer gets better; None where no training label
        is known."""
        inputs, target = seen["train"][0], problem.target[self.train]
        if setting.aged:
            inputs, target = np.concatenate([inputs, seen["aged"][0]]), np.concatenate([target, target])
        if not (known := np.isfinite(target)).all():
            inputs, target = inputs[known], target[known]
        if not len(target):
            return None
        parameters = {
            "num_leaves": setting.leaves, "learning_rate": 0.05, "min_data_in_leaf": 40, "lambda_l2": 5.0,
            "feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1,
            "seed": self.seed, "deterministic": True, "force_row_wise": True, "verbosity": -1,
            # A second thread costs more than it brings on a small table.
            "num_threads": 2 if inputs.size > SECOND_THREAD else 1, **problem.parameters,
        }  # fmt: skip
        learnt = self.engine.Dataset(inputs[:, : setting.columns], target, params={"verbosity": -1})
        labelled = np.isfinite(problem.target[self.validation])
        if not labelled.any():
            return self.engine.train(parameters, learnt, MOST_ROUNDS // 6)
        target = problem.target[self.validation[labelled]]
        watched = learnt.create_valid(seen["val"][0][labelled, : setting.columns], target)
        stopping = self.engine.early_stopping(PATIENCE, verbose=False)
        return self.engine.train(parameters, learnt, MOST_ROUNDS, valid_sets=[watched], callbacks=[stopping])

    def predict(self, fitted: list[list[tuple[_Setting, Any]]], which: Rows) -> Floats:
        """The mean prediction for the seeds ``which`` under the regime, a piece at a time."""
        pieces = [np.zeros((0, *np.shape(self.otherwise)))]
        for start in range(0, len(which), SEEDS_A_PIECE):
            part = which[start : start + SEEDS_A_PIECE]
            inputs, _ = self.features(part, self.cuts[part])
            several = [self.mean(number, one, inputs) for number, one in enumerate(fitted)]
            pieces.append(boosting.joined(self.task.kind, several, self.otherwise))
        return np.concatenate(pieces)

    def mean(self, number: int, fitted: list[tuple[_Setting, Any]], inputs: Floats32) -> Floats:
        """The mean prediction of the settings in one problem."""
        if any(booster is None for _, booster in fitted):
            return np.full(len(inputs), np.asarray(self.otherwise)[number])
        several = [booster.predict(inputs[:, : setting.columns]) for setting, booster in fitted]
        return np.asarray(np.mean(several, axis=0, dtype=np.float64))

    def detail(self, fitted: list[tuple[_Setting, Any]], names: list[str]) -> dict[str, object]:
        """Trees of each setting, and the ten columns that mattered most by their share of the gain."""
        fitted = [(setting, booster) for setting, booster in fitted if booster is not None]
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
