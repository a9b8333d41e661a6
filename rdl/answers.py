"""What a report says and draws of the answers of each kind of task: the labels, and predictions beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as measured  # type: ignore[import-untyped, unused-ignore]

from rdl import charts
from rdl.page import Html
from rdl.query.expressions import Value
from rdl.query.task import Kind, Split, TaskTable

Floats = npt.NDArray[np.float64]

#: Classes that a chart tells apart, and values that a line lists, at most.
MOST_CLASSES, MOST_LISTED = 12, 5

_LINE = "Stronger: more seeds. On the line, the prediction is right."
_PROBABILITY = "Ten groups of equal size, with standard errors. On the line, a score is a probability."


def drawings(
    kind: Kind, target: npt.NDArray[Any], prediction: Floats, classes: Sequence[Value], quantiles: Sequence[float]
) -> dict[Html, str]:
    """Charts of ``prediction`` against ``target``, shaped as :func:`rdl.metrics.evaluate` takes them, each with a
    caption."""
    if kind is Kind.binary:
        apart = "The further apart, the better either class is told."
        return {charts.calibration(target, prediction): _PROBABILITY, charts.scores_by_class(target, prediction): apart}
    if kind is Kind.multiclass:
        right, likeliest = target == prediction.argmax(axis=1), prediction.max(axis=1)
        told = "Ten groups of equal size, with standard errors: of the likeliest class, how likely and how often right."
        return {
            charts.confusion(
                *_confused(target, prediction, classes)
            ): "Shares of each actual class; the rest are others.",
            charts.calibration(right.astype(np.float64), likeliest): told,
        }
    if kind is Kind.multilabel:
        shown = [n for n in range(target.shape[1]) if 0 < target[:, n].mean() < 1][:MOST_CLASSES]
        auroc = np.array([measured.roc_auc_score(target[:, n], prediction[:, n]) for n in shown])
        found = {charts.calibration(target.ravel().astype(np.float64), prediction.ravel()): _PROBABILITY}
        if shown:
            by_class = dict(zip((str(classes[n]) for n in shown), auroc.tolist(), strict=True))
            found[charts.bars(by_class, "AUROC of the most frequent classes", "")] = ""
        return found
    if kind is Kind.forecast:
        known = np.isfinite(target)
        error = np.where(known, np.abs(prediction - np.where(known, target, 0)), 0).sum(axis=0)
        mae = error / np.maximum(known.sum(axis=0), 1)
        by_frame = {str(frame): float(value) for frame, value in enumerate(mae, start=1)}
        return {
            charts.predicted_and_actual(target[known], prediction[known]): _LINE,
            charts.bars(by_frame, "MAE of each timeframe", ""): "",
        }
    if quantiles:
        below = (target[:, None] <= prediction).mean(axis=0)
        return {
            charts.predicted_and_actual(target, prediction[:, len(quantiles) // 2]): _LINE,
            charts.reliability(
                np.array(quantiles), below
            ): "On the line, as many labels lie below a quantile as should.",
        }
    mean = f"The mean error is {(prediction - target).mean():+.4g}: right of 0, predictions are too high."
    return {charts.predicted_and_actual(target, prediction): _LINE, charts.errors(target, prediction): mean}


def middle(kind: Kind, part: TaskTable) -> tuple[str, str]:
    """What sums up the labels of ``part`` best, in words, and its value."""
    known = part.target[np.isfinite(part.target)]
    if kind is Kind.multiclass:
        name = f"share of {part.classes[0]}" if part.classes else "share"
        return name, f"{(part.target == 0).mean():.4g}" if len(part) else "–"
    if kind is Kind.multilabel:
        return "classes a seed", f"{len(part.target) / len(part):.4g}" if len(part) else "–"
    name = "share of positives" if kind is Kind.binary else "mean label"
    return name, f"{known.mean():.4g}" if len(known) else "–"


def means(kind: Kind, quantiles: Sequence[float]) -> dict[str, Callable[[npt.NDArray[Any], Floats], float]]:
    """What sums up labels and their predictions in one number each, by its name; nothing for several classes."""
    if kind in (Kind.multiclass, Kind.multilabel):
        return {}
    at = len(quantiles) // 2
    return {
        "mean label": lambda target, _: float(np.nanmean(target)),
        "mean prediction": lambda _, prediction: float((prediction[:, at] if quantiles else prediction).mean()),
    }


def unseen(table: TaskTable) -> list[str]:
    """A line for each split some of whose labels are of classes that training has not."""
    lines = []
    for split in (Split.val, Split.test):
        target = table.of(split).target
        if table.classes and (target < 0).any():
            values = np.unique(-1 - target[target < 0])
            listed = ", ".join(repr(table.unseen[n]) for n in values[:MOST_LISTED])
            more = f" and {len(values) - MOST_LISTED} more" if len(values) > MOST_LISTED else ""
            count = f"{int((target < 0).sum()):,} of {len(target):,} {split.value} labels"
            what = "they are in no figure" if table.indptr is not None else "no model can be right there"
            lines.append(f"{count} are of classes that training has not ({listed}{more}): {what}.")
    return lines


def standard_error(kind: Kind, target: npt.NDArray[Any], prediction: Floats) -> float:
    """The standard error of the headline metric on rows taken as independent: DeLong's for AUROC, the mean's for MAE
    and accuracy; NaN where there is none, as for a mean of AUROCs.

    >>> round(standard_error(Kind.regression, np.array([0.0, 0.0]), np.array([1.0, 3.0])), 4)
    1.0
    """
    if kind is Kind.multilabel or len(target) < 2:
        return np.nan
    if kind is Kind.binary:
        positive, negative = np.sort(prediction[target == 1]), np.sort(prediction[target == 0])
        if min(len(positive), len(negative)) < 2:
            return np.nan
        above = _share_below(negative, positive)
        below = 1 - _share_below(positive, negative)
        return float((above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below)) ** 0.5)
    if kind is Kind.multiclass:
        each = (prediction.argmax(axis=1) == target).astype(np.float64)
    elif kind is Kind.forecast:
        known = np.isfinite(target)
        each = np.where(known, np.abs(prediction - np.where(known, target, 0)), 0).sum(axis=1)
        each = each / known.mean(axis=1) / target.shape[1]
    else:
        each = np.abs((prediction[:, prediction.shape[1] // 2] if prediction.ndim > 1 else prediction) - target)
    return float(each.std(ddof=1) / len(each) ** 0.5)


def _share_below(values: Floats, limits: Floats) -> Floats:
    """For each of ``limits`` the share of the sorted ``values`` below it; equal ones count half."""
    below, upto = np.searchsorted(values, limits, "left"), np.searchsorted(values, limits, "right")
    return np.asarray((below + upto) / (2 * len(values)))


def _confused(target: npt.NDArray[np.int64], prediction: Floats, classes: Sequence[Value]) -> tuple[list[str], Floats]:
    """The names of the most frequent classes, and of each actual one the shares predicted ``[names, names]``."""
    count = min(len(classes), MOST_CLASSES)
    likeliest = prediction.argmax(axis=1)
    shown = (target >= 0) & (target < count)
    totals = np.bincount(target[shown], minlength=count)
    both = shown & (likeliest < count)
    found = np.bincount(target[both] * count + likeliest[both], minlength=count * count).reshape(count, count)
    return [str(value) for value in classes[:count]], found / np.maximum(totals, 1)[:, None]
