"""How good predictions are: one figure a name, computed on NumPy arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn import metrics as measured  # type: ignore[import-untyped, unused-ignore]

from rdl.errors import ConfigError
from rdl.query.task import Kind

Floats = npt.NDArray[np.float64]

#: The figure by which models of a kind are chosen and compared, and whether more of it is better.
_HEADLINES = {Kind.binary: ("auroc", True), Kind.regression: ("mae", False)}
#: The names of the figures that each kind has, in the order in which they are shown.
NAMES = {
    Kind.binary: ("auroc", "average_precision", "log_loss", "accuracy", "brier"),
    Kind.regression: ("mae", "rmse", "r2", "nmae"),
}


def headline(kind: Kind) -> tuple[str, bool]:
    """The name of the figure that a kind of task is judged by, and whether higher is better.

    Raises ConfigError for a kind that has no metrics.

    >>> headline(Kind.regression)
    ('mae', False)
    """
    if kind not in _HEADLINES:
        raise ConfigError(f"there are no metrics for {kind} tasks", hint=f"measured are {', '.join(_HEADLINES)}.")
    return _HEADLINES[kind]


def evaluate(kind: Kind, target: Floats, prediction: Floats, *, train_target: Floats) -> dict[str, float]:
    """The figures of ``prediction`` ``[n]`` against ``target`` ``[n]``; rows whose target is NaN do not count.

    Binary (target 0 or 1, prediction the probability of 1): ``auroc``, ``average_precision``, ``log_loss``,
    ``accuracy`` at one half, ``brier``. Regression: ``mae``, ``rmse``, ``r2`` and ``nmae``, the MAE over the standard
    deviation (ddof=1) of ``train_target`` ``[m]``. A figure that has no value is NaN: every one of no rows, AUROC where
    there is one class only, average precision without a positive, r2 of a constant target, nmae of a constant training
    target. Raises ConfigError where shapes differ, where a prediction is not a finite number, or for a kind without
    metrics.

    >>> evaluate(Kind.binary, np.array([0.0, 1.0]), np.array([0.2, 0.9]), train_target=np.array([0.0, 1.0]))["auroc"]
    1.0
    """
    headline(kind)
    target, prediction = np.asarray(target, np.float64), np.asarray(prediction, np.float64)
    if target.shape != prediction.shape or target.ndim != 1:
        raise ConfigError(f"{prediction.shape} predictions do not match {target.shape} targets")
    labelled = ~np.isnan(target)
    target, prediction = target[labelled], prediction[labelled]
    if not np.isfinite(prediction).all():
        raise ConfigError(f"{int((~np.isfinite(prediction)).sum())} of {len(prediction)} predictions are not finite")
    if not len(target):
        return dict.fromkeys(NAMES[kind], float("nan"))
    return _binary(target, prediction) if kind is Kind.binary else _regression(target, prediction, train_target)


def _binary(target: Floats, probability: Floats) -> dict[str, float]:
    if probability.min() < 0 or probability.max() > 1:
        raise ConfigError(
            f"binary predictions lie between {probability.min():.3g} and {probability.max():.3g}",
            hint="give the probability of the positive class, from 0 to 1.",
        )
    positives = int((target == 1).sum())
    both = 0 < positives < len(target)
    return {
        "auroc": float(measured.roc_auc_score(target, probability)) if both else float("nan"),
        "average_precision": (
            float(measured.average_precision_score(target, probability)) if positives else float("nan")
        ),
        "log_loss": float(measured.log_loss(target, probability, labels=[0, 1])),
        "accuracy": float(((probability >= 0.5) == (target == 1)).mean()),
        "brier": float(np.square(probability - target).mean()),
    }


def _regression(target: Floats, prediction: Floats, train_target: Floats) -> dict[str, float]:
    error = prediction - target
    mae, squared = float(np.abs(error).mean()), float(np.square(error).mean())
    train = np.asarray(train_target, np.float64)
    train = train[~np.isnan(train)]
    spread = float(train.std(ddof=1)) if len(train) > 1 else 0.0
    variance = float(target.var())
    return {
        "mae": mae,
        "rmse": squared**0.5,
        "r2": 1 - squared / variance if variance > 0 else float("nan"),
        "nmae": mae / spread if spread > 0 else float("nan"),
    }
