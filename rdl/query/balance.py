"""How the labels of a split are distributed, by kind of task, and what about that a user should know."""

from __future__ import annotations

import numpy as np

from rdl.query.task import Kind, TaskTable

Balance = dict[str, float]

_CLASSES_SHOWN, _RARE, _MANY_CLASSES = 5, 10, 50


def balance(kind: Kind, part: TaskTable, train: TaskTable) -> Balance | float | None:
    """The distribution of the labels of ``part``, whose training seeds are ``train``; None where it has no seeds.

    - binary: the share of positives.
    - regression: mean, min, median and max.
    - forecast: the mean of each timeframe.
    - multiclass: the share of each class, the most frequent in training alone, the rest as ``(other)``, and of values
      that training has not as ``(unseen)``.
    - multilabel: ``labels a seed``, and the share of seeds that have each class, so too.
    - recommendation: ``labels a seed``, and the shares of seeds with no label and of labels not in training.
    """
    target = part.target
    if len(part) == 0:
        return None
    if kind is Kind.binary:
        return float(target.mean())
    if kind is Kind.regression:
        spread = {"min": target.min(), "median": np.median(target), "max": target.max()}
        return {"mean": float(target.mean()), **{name: float(value) for name, value in spread.items()}}
    if kind is Kind.forecast:
        known = np.isfinite(target)
        means = np.where(known, target, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return {f"timeframe {number + 1}": float(mean) for number, mean in enumerate(means)}
    if kind is Kind.multiclass:
        return _shares(part)
    lists = {"labels a seed": len(target) / len(part)}
    if kind is Kind.multilabel:
        return {**lists, **_shares(part)}
    return {**lists, "seeds without any": _without(part), "labels not in training": _unseen(part, train)}


def warn(kind: Kind, parts: dict[str, TaskTable]) -> list[str]:
    """What is odd about the labels by split, worst first."""
    warnings = []
    for split, part in parts.items():
        if not len(part) or kind in (Kind.regression, Kind.forecast):
            continue
        if part.indptr is not None:
            warnings += [] if len(part.target) else [f"{split} has no positive at all: every list is empty"]
        elif part.target.min() == part.target.max():
            warnings.append(f"{split} has one class only{_which(kind, part)}")
    train, test = parts["train"], parts["test"]
    if kind in (Kind.multiclass, Kind.multilabel) and len(train.classes) > _MANY_CLASSES:
        rare = int((np.bincount(train.target, minlength=len(train.classes)) < _RARE).sum())
        warnings.append(f"{len(train.classes):,} classes, {rare:,} of them in fewer than {_RARE} training labels")
    if kind is Kind.multiclass and sorted(map(str, train.classes)) == ["0", "1"]:
        warnings.append("the classes are 0 and 1: write … = 1 in the target to ask a binary question")
    if kind in (Kind.multiclass, Kind.multilabel) and len(test.target) and (test.target < 0).mean() > 0.01:
        warnings.append(f"{(test.target < 0).mean():.0%} of the test labels are values never seen in training")
    if kind is Kind.recommendation and len(test.target) and _unseen(test, train) > 0.1:
        warnings.append(f"{_unseen(test, train):.0%} of the test labels are rows that are no label in training")
    if kind in (Kind.multilabel, Kind.recommendation) and len(train) and len(train.target) and _without(train) > 0.5:
        warnings.append(f"{_without(train):.0%} of the training seeds have no label: their list is empty")
    if kind is Kind.forecast and len(train) and np.isnan(train.target).any():
        warnings.append(f"{np.isnan(train.target).mean():.0%} of the training seeds' timeframes have no known label")
    return warnings


def _which(kind: Kind, part: TaskTable) -> str:
    if kind is Kind.binary:
        return ", positives" if part.target[0] else ", negatives: no positive at all"
    number = int(part.target[0])
    return f", {part.classes[number]!r}" if number >= 0 else ", one never seen in training"


def _shares(part: TaskTable) -> Balance:
    counts = np.bincount(part.target[part.target >= 0], minlength=len(part.classes)) / len(part)
    unseen = float((part.target < 0).sum() / len(part))
    shares = {str(value): float(share) for value, share in zip(part.classes, counts[:_CLASSES_SHOWN], strict=False)}
    if len(part.classes) > _CLASSES_SHOWN:
        shares["(other)"] = float(counts[_CLASSES_SHOWN:].sum())
    return {**shares, "(unseen)": unseen} if unseen else shares


def _without(part: TaskTable) -> float:
    return float((np.diff(part.indptr) == 0).mean()) if part.indptr is not None else 0.0


def _unseen(part: TaskTable, train: TaskTable) -> float:
    return float((~np.isin(part.target, train.target)).mean()) if len(part.target) else 0.0
