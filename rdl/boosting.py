"""What LightGBM is asked by kind of task.

It learns one number at a time, or one of several classes: a multilabel task is a fit for each class, a forecast one for
each timeframe, a regression with quantiles one for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rdl.config import Loss
from rdl.losses import scale_of
from rdl.query.task import Kind, Split, TaskTable

Floats = npt.NDArray[np.float64]

#: The most frequent classes, or the first timeframes, that are learnt, at most; of the others the constant is said.
MOST_FITS = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One fit of LightGBM: its parameters, and what it learns of each seed of the table ``[n]``, NaN where unknown."""

    parameters: dict[str, Any]
    target: Floats


def known(table: TaskTable) -> npt.NDArray[np.bool_]:
    """Whether anything is known of each seed's label ``[n]``."""
    if table.indptr is not None:
        return np.ones(len(table), bool)
    return np.asarray(np.isfinite(table.target if table.target.ndim > 1 else table.target[:, None]).any(axis=1))


def constant(kind: Kind, table: TaskTable, loss: Loss | str, quantiles: Sequence[float]) -> float | Floats:
    """What is said of every seed where nothing is known of it, by the training labels: the share of positives, or of
    each class; the median of the numbers, their mean where squared errors count, or their quantiles; of a forecast that
    of each timeframe."""
    train = table.of(Split.train)
    if kind is Kind.binary:
        return float(np.nanmean(train.target))
    if kind is Kind.multiclass:
        return np.bincount(train.target, minlength=len(table.classes)) / len(train)
    if kind is Kind.multilabel:
        return np.asarray(train.dense().mean(axis=0, dtype=np.float64))
    if quantiles:
        return np.asarray(np.nanquantile(train.target, quantiles))
    middle = np.nanmean if loss == Loss.l2 else np.nanmedian
    if kind is Kind.regression:
        return float(middle(train.target))
    overall = middle(train.target)
    return np.array([middle(frame) if np.isfinite(frame).any() else overall for frame in train.target.T])


def problems(kind: Kind, table: TaskTable, loss: Loss | str, quantiles: Sequence[float]) -> list[Problem]:
    """What LightGBM is to learn, one fit after the other."""
    if kind is Kind.binary:
        return [Problem({"objective": "binary", "metric": "binary_logloss"}, table.target)]
    if kind is Kind.multiclass:
        learnt = min(len(table.classes), MOST_FITS)
        target = np.where(table.target < 0, np.nan, np.minimum(table.target, learnt))
        several = {"objective": "multiclass", "metric": "multi_logloss", "learning_rate": 0.1}
        return [Problem({**several, "num_class": learnt + (len(table.classes) > learnt)}, target)]
    if kind is Kind.multilabel:
        has = table.dense()[:, :MOST_FITS].astype(np.float64)
        return [Problem({"objective": "binary", "metric": "binary_logloss"}, one) for one in has.T]
    if quantiles:
        pinball = {"objective": "quantile", "metric": "quantile"}
        return [Problem({**pinball, "alpha": quantile}, table.target) for quantile in quantiles]
    measured: dict[str, Any] = {"objective": str(loss), "metric": str(loss)}
    if loss == Loss.huber:
        known = table.of(Split.train).target
        measured["alpha"] = scale_of(known[np.isfinite(known)])  # as the model's: squared up to one scale of the labels
    frames = table.target[:, :MOST_FITS].T if kind is Kind.forecast else [table.target]
    return [Problem(measured, frame) for frame in frames]


def trees_a_round(several: Sequence[Problem]) -> int:
    """The trees that all fits together grow in a round."""
    return sum(problem.parameters.get("num_class", 1) for problem in several)


def joined(kind: Kind, several: Sequence[Floats], otherwise: float | Floats) -> Floats:
    """The predictions of all fits as one array ``[n]`` or ``[n, outputs]``: of what was not learnt as ``otherwise``."""
    if kind is Kind.binary or (kind is Kind.regression and len(several) == 1):
        return several[0]
    rest = np.asarray(otherwise)
    if kind is Kind.multiclass:
        found = several[0]
        if found.shape[1] <= MOST_FITS:
            return found
        share = rest[MOST_FITS:] / rest[MOST_FITS:].sum()
        return np.concatenate([found[:, :MOST_FITS], found[:, MOST_FITS:] * share], axis=1)
    found = np.column_stack(several)
    if kind is Kind.regression:
        return np.sort(found, axis=1)
    return np.concatenate([found, np.tile(rest[len(several) :], (len(found), 1))], axis=1)


def name(kind: Kind, table: TaskTable) -> str:
    """What the baseline is called: it says where it learns a part of the classes or timeframes only."""
    many, what = len(table.classes), "classes"
    if kind is Kind.forecast:
        many, what = table.target.shape[1], "timeframes"
    return f"LightGBM on {MOST_FITS} of {many} {what}" if many > MOST_FITS else "LightGBM"
