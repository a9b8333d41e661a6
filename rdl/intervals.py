"""Prediction intervals that hold what they say: quantiles moved by what validation shows of them.

Conformalised quantile regression (Romano, Patterson and Candès, 2019): a validation label y lies E = max(low - y,
y - high) outside of the interval from the quantile q to 1 - q. Both ends are moved out by the (1 - 2q)(1 + 1/n)
quantile of E, or in where it is negative. A new label that is drawn as those of validation were lies inside with
probability 1 - 2q, or more: of labels that are mostly one value, as 0, no interval holds just so many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Figures of the labels that intervals are calibrated on are computed of so many parts, each moved by the others' E.
FOLDS = 5


def pairs(quantiles: Sequence[float]) -> list[tuple[int, int]]:
    """The places of the two ends of each interval in the ascending, symmetric ``quantiles``, the widest first."""
    return [(at, len(quantiles) - 1 - at) for at in range(len(quantiles) // 2)]


def calibrate(quantiles: Sequence[float], target: Floats, predicted: Floats) -> tuple[float, ...]:
    """How far each quantile is to be moved ``[quantiles]``, 0 for the median, by labels ``target`` ``[n]`` and their
    predictions ``[n, quantiles]``; none of no labels. Of too few labels for a quantile their largest E is taken."""
    if not len(target):
        return ()
    shifts = np.zeros(len(quantiles))
    for low, high in pairs(quantiles):
        beyond = np.maximum(predicted[:, low] - target, target - predicted[:, high])
        rank = int(np.ceil((quantiles[high] - quantiles[low]) * (len(target) + 1) - 1e-9))
        shift = np.sort(beyond)[min(rank, len(target)) - 1]
        shifts[low], shifts[high] = -shift, shift
    return tuple(shifts.tolist())


def shifted(predicted: Floats, shifts: Sequence[float]) -> Floats:
    """``predicted`` ``[n, quantiles]`` moved by ``shifts``, ascending."""
    return np.sort(predicted + np.array(shifts), axis=1) if len(shifts) else predicted


def cross_fitted(quantiles: Sequence[float], target: Floats, predicted: Floats) -> Floats:
    """``predicted`` ``[n, quantiles]``, each moved by what the labels of other folds show: what intervals are worth on
    the very labels that they are calibrated on. Every fifth seed is of one fold."""
    fold = np.arange(len(target)) % FOLDS
    found = predicted.copy()
    for number in np.unique(fold):
        own = fold == number
        found[own] = shifted(predicted[own], calibrate(quantiles, target[~own], predicted[~own]))
    return found
