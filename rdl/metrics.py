"""How good predictions are: one figure a name, computed on NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as measured  # type: ignore[import-untyped, unused-ignore]

from rdl.errors import ConfigError
from rdl.intervals import pairs
from rdl.query.task import Kind

Floats = npt.NDArray[np.float64]

#: The figure by which models of a kind are chosen and compared, and whether more of it is better.
_HEADLINES = {
    Kind.binary: ("auroc", True), Kind.regression: ("mae", False), Kind.multiclass: ("accuracy", True),
    Kind.multilabel: ("macro_auroc", True), Kind.forecast: ("mae", False),
}  # fmt: skip
#: The names of the figures that each kind has, in the order in which they are shown. A forecast has the MAE of each
#: timeframe beside them, a regression with quantiles what :func:`evaluate` says of intervals.
NAMES = {
    Kind.binary: ("auroc", "average_precision", "log_loss", "accuracy", "brier"),
    Kind.regression: ("mae", "rmse", "r2", "nmae"),
    Kind.multiclass: ("accuracy", "macro_f1", "log_loss", "mrr"),
    Kind.multilabel: ("macro_auroc", "macro_average_precision", "log_loss", "micro_f1"),
    Kind.forecast: ("mae", "rmse", "r2", "nmae"),
}

#: The figures that :func:`loss` computes alone.
SOON = ("log_loss", "mae", "rmse", "pinball")


def headline(kind: Kind) -> tuple[str, bool]:
    """The name of the figure that a kind of task is judged by, and whether higher is better.

    Raises ConfigError for a kind that has no metrics.

    >>> headline(Kind.regression)
    ('mae', False)
    """
    if kind not in _HEADLINES:
        raise ConfigError(f"there are no metrics for {kind} tasks", hint=f"measured are {', '.join(_HEADLINES)}.")
    return _HEADLINES[kind]


def evaluate(
    kind: Kind,
    target: npt.NDArray[Any],
    prediction: Floats,
    *,
    train_target: npt.NDArray[Any],
    quantiles: Sequence[float] = (),
) -> dict[str, float]:
    """The figures of ``prediction`` against ``target``, as :meth:`rdl.query.task.TaskTable.dense` gives it; labels that
    are NaN do not count.

    - Binary (target 0 or 1 ``[n]``, prediction the probability of 1): ``auroc``, ``average_precision``, ``log_loss``,
      ``accuracy`` at one half, ``brier``.
    - Regression, ``[n]``: ``mae``, ``rmse``, ``r2`` and ``nmae``, the MAE over the standard deviation (ddof=1) of
      ``train_target`` ``[m]``. With ``quantiles``, predicted ``[n, quantiles]``, these are of the median, and there are
      ``pinball``, the mean pinball loss, and of each interval, as from 0.1 to 0.9, ``coverage_80``, the share of labels
      inside, and ``width_80``, its mean width.
    - Forecast, ``[n, timeframes]``: the same over all timeframes, and ``mae_1``, ``mae_2``, … of each.
    - Multiclass (target numbers of classes ``[n]``, below 0 for one that training has not; prediction ``[n, classes]``
      probabilities): ``accuracy`` of the likeliest class, ``macro_f1`` over the classes that are there or predicted,
      ``log_loss`` of the labels that training has, and ``mrr``, the mean of one over the rank of the label's class. A
      class that training has not is always wrong: its rank is infinite, its F1 0.
    - Multilabel (target 0 or 1 ``[n, classes]``, prediction probabilities): ``macro_auroc`` and
      ``macro_average_precision``, means over the classes that have them, ``log_loss`` over all seeds and classes, and
      ``micro_f1`` at one half.

    A figure that has no value is NaN: every one of no rows, AUROC where there is one class only, average precision
    without a positive, r2 of a constant target, nmae of a constant training target. Raises ConfigError where shapes
    differ, where a prediction is not a finite number, or for a kind without metrics.

    >>> evaluate(Kind.binary, np.array([0.0, 1.0]), np.array([0.2, 0.9]), train_target=np.array([0.0, 1.0]))["auroc"]
    1.0
    """
    headline(kind)
    target, prediction = np.asarray(target), np.asarray(prediction, np.float64)
    ends = prediction.shape[-1:] if kind is Kind.multiclass else (len(quantiles),) if quantiles else ()
    if prediction.shape != (*target.shape, *ends) or target.ndim != 1 + (kind in (Kind.multilabel, Kind.forecast)):
        raise ConfigError(f"{prediction.shape} predictions do not match {target.shape} targets")
    if target.ndim == 1 and kind is not Kind.multiclass:
        labelled = ~np.isnan(target)
        target, prediction = target[labelled], prediction[labelled]
    if not np.isfinite(prediction).all():
        raise ConfigError(f"{int((~np.isfinite(prediction)).sum())} of {prediction.size} predictions are not finite")
    if kind not in (Kind.regression, Kind.forecast) and prediction.size and not _are_shares(prediction):
        raise ConfigError(
            f"{kind} predictions lie between {prediction.min():.3g} and {prediction.max():.3g}",
            hint="give probabilities, from 0 to 1.",
        )
    if not len(target):
        return dict.fromkeys([*NAMES[kind], *_more(kind, quantiles, target)], float("nan"))
    if kind is Kind.binary:
        return _binary(target, prediction)
    if kind is Kind.multiclass:
        return _multiclass(target, prediction)
    if kind is Kind.multilabel:
        return _multilabel(target, prediction)
    if kind is Kind.forecast:
        return _forecast(target, prediction, train_target)
    if quantiles:
        return _quantiles(target, prediction, train_target, quantiles)
    return _regression(target, prediction, train_target)


def loss(kind: Kind, name: str, target: npt.NDArray[Any], prediction: Floats, quantiles: Sequence[float] = ()) -> float:
    """One figure of :func:`evaluate` alone, of which less is better, and which is soon computed: one of :data:`SOON`
    (:attr:`rdl.losses.Objective.judged_by` says which one judges)."""
    if kind is not Kind.multiclass:
        known = ~np.isnan(target)
        target, prediction = target[known], prediction[known]
    if not len(target):
        return float("nan")
    if name == "log_loss":
        return _log_loss(kind, target, prediction)
    if name == "pinball":
        return _pinball(target, prediction, quantiles)
    error = (prediction[:, len(quantiles) // 2] if quantiles else prediction) - target
    with np.errstate(over="ignore"):
        return float(np.abs(error).mean() if name == "mae" else np.square(error).mean() ** 0.5)


def interval_names(quantiles: Sequence[float]) -> list[str]:
    """What the intervals between ``quantiles`` are called, the widest first: the share of labels that each should hold.

    >>> interval_names([0.1, 0.25, 0.5, 0.75, 0.9])
    ['80', '50']
    """
    return [f"{100 * (quantiles[high] - quantiles[low]):.6g}" for low, high in pairs(quantiles)]


def _more(kind: Kind, quantiles: Sequence[float], target: npt.NDArray[Any]) -> list[str]:
    """The names of figures that not all tasks of a kind have."""
    if kind is Kind.forecast:
        return [f"mae_{frame + 1}" for frame in range(target.shape[1])]
    intervals = [f"{name}_{one}" for one in interval_names(quantiles) for name in ("coverage", "width")]
    return ["pinball", *intervals] if quantiles else []


def _are_shares(prediction: Floats) -> bool:
    return bool(prediction.min() >= 0 and prediction.max() <= 1)


def _binary(target: Floats, probability: Floats) -> dict[str, float]:
    positives = int((target == 1).sum())
    both = 0 < positives < len(target)
    return {
        "auroc": float(measured.roc_auc_score(target, probability)) if both else float("nan"),
        "average_precision": (
            float(measured.average_precision_score(target, probability)) if positives else float("nan")
        ),
        "log_loss": _log_loss(Kind.binary, target, probability),
        "accuracy": float(((probability >= 0.5) == (target == 1)).mean()),
        "brier": float(np.square(probability - target).mean()),
    }


def _multiclass(target: npt.NDArray[np.int64], probability: Floats) -> dict[str, float]:
    likeliest, seen = probability.argmax(axis=1), target >= 0
    own = probability[np.arange(len(target)), np.where(seen, target, 0)]
    # Of equally likely classes that with the lower number comes first, as for the likeliest.
    before = (probability == own[:, None]) & (np.arange(probability.shape[1]) < target[:, None])
    rank = 1 + (probability > own[:, None]).sum(axis=1) + before.sum(axis=1)
    return {
        "accuracy": float((likeliest == target).mean()),
        "macro_f1": float(measured.f1_score(target, likeliest, average="macro", zero_division=0)),
        "log_loss": _log_loss(Kind.multiclass, target, probability),
        "mrr": float(np.where(seen, 1 / rank, 0).mean()),
    }


def _multilabel(target: npt.NDArray[Any], probability: Floats) -> dict[str, float]:
    target = target > 0
    some, all_ = target.any(axis=0), target.all(axis=0)
    # One figure a class, not a row.
    auroc = [measured.roc_auc_score(target[:, n], probability[:, n]) for n in np.flatnonzero(some & ~all_)]
    precision = [measured.average_precision_score(target[:, n], probability[:, n]) for n in np.flatnonzero(some)]
    predicted = probability >= 0.5
    found = int(predicted.sum() + target.sum())
    return {
        "macro_auroc": float(np.mean(auroc)) if auroc else float("nan"),
        "macro_average_precision": float(np.mean(precision)) if precision else float("nan"),
        "log_loss": _log_loss(Kind.multilabel, target, probability),
        "micro_f1": 2 * int((predicted & target).sum()) / found if found else float("nan"),
    }


def _log_loss(kind: Kind, target: npt.NDArray[Any], probability: Floats) -> float:
    """The mean of minus the logarithms of what was said of each label that training has; NaN of none."""
    if kind is Kind.multiclass:
        rows = np.flatnonzero(target >= 0)
        said = probability[rows, target[rows]]
    else:
        said = np.where(target > 0, probability, 1 - probability)
    return float(-np.log(np.clip(said, np.finfo(np.float64).eps, 1)).mean()) if said.size else float("nan")


def _pinball(target: Floats, prediction: Floats, quantiles: Sequence[float]) -> float:
    error, levels = target[:, None] - prediction, np.array(quantiles)
    return float(np.maximum(levels * error, (levels - 1) * error).mean())


def _forecast(target: Floats, prediction: Floats, train_target: npt.NDArray[Any]) -> dict[str, float]:
    known = ~np.isnan(target)
    error = np.where(known, np.abs(prediction - np.where(known, target, 0)), 0)
    count = known.sum(axis=0)
    mae = np.where(count > 0, error.sum(axis=0) / np.maximum(count, 1), np.nan)
    overall = _regression(target[known], prediction[known], train_target)
    return overall | {f"mae_{frame}": float(value) for frame, value in enumerate(mae, start=1)}


def _quantiles(
    target: Floats, prediction: Floats, train_target: npt.NDArray[Any], quantiles: Sequence[float]
) -> dict[str, float]:
    found = _regression(target, prediction[:, len(quantiles) // 2], train_target)
    found["pinball"] = _pinball(target, prediction, quantiles)
    for name, (low, high) in zip(interval_names(quantiles), pairs(quantiles), strict=True):
        inside = (prediction[:, low] <= target) & (target <= prediction[:, high])
        found[f"coverage_{name}"] = float(inside.mean())
        found[f"width_{name}"] = float((prediction[:, high] - prediction[:, low]).mean())
    return found


def _regression(target: Floats, prediction: Floats, train_target: npt.NDArray[Any]) -> dict[str, float]:
    error = prediction - target
    mae = float(np.abs(error).mean())
    train = np.asarray(train_target, np.float64)
    train = train[~np.isnan(train)]
    with np.errstate(over="ignore"):  # of labels beyond 1e154 the squares are infinite
        squared, variance = float(np.square(error).mean()), float(target.var())
        spread = float(train.std(ddof=1)) if len(train) > 1 else 0.0
    return {
        "mae": mae,
        "rmse": squared**0.5,
        "r2": 1 - squared / variance if 0 < variance < np.inf else float("nan"),
        "nmae": mae / spread if spread > 0 else float("nan"),
    }
