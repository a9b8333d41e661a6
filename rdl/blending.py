"""The model and LightGBM together: a weighted mean of what they predict, beside the figures of either."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rdl.metrics import headline
from rdl.query.task import Kind

Floats = npt.NDArray[np.float64]
#: The row of the model and LightGBM together, where figures stand beside each other.
NAME = "model + LightGBM"
#: The weights of LightGBM that are tried.
WEIGHTS = np.linspace(0, 1, 21)


@dataclass(frozen=True, slots=True)
class Blend:
    """(1 - weight) · model + weight · LightGBM, with the figures of it by split. ``weight`` was fitted on validation,
    so the figures of validation flatter it; those of test do not."""

    weight: float
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def blend(
    kind: Kind,
    model: Mapping[str, Floats],
    lightgbm: Mapping[str, Floats],
    judge: Callable[[str, Floats], dict[str, float]],
) -> Blend | None:
    """The blend of two predictions ``[seeds, …]`` by split, with the weight whose loss on validation is least, the
    smallest such one. ``judge(split, prediction)`` gives the figures of a split.

    None where validation has no labelled seeds, or where the two do not predict the same sort of thing.
    """
    if not len(model.get("val", ())) or any(model[split].shape != lightgbm[split].shape for split in model):
        return None

    def mixed(split: str, weight: float) -> Floats:
        return np.asarray((1 - weight) * model[split] + weight * lightgbm[split])

    losses = [loss(kind, judge("val", mixed("val", float(weight)))) for weight in WEIGHTS]
    if not np.isfinite(losses).any():
        return None
    weight = float(WEIGHTS[int(np.nanargmin(losses))])
    return Blend(weight, {split: judge(split, mixed(split, weight)) for split in model if len(model[split])})


def loss(kind: Kind, figures: Mapping[str, float]) -> float:
    """The figure of which less is better that tells most of few seeds: the log loss, else the mean absolute error, else
    the headline metric, turned round where more of it is better."""
    for name in ("log_loss", "mae"):
        if name in figures:
            return figures[name]
    name, higher = headline(kind)
    return -figures[name] if higher else figures[name]


class Scored(Protocol):
    """What has figures of a model, of its blend with LightGBM, and of baselines, each by split."""

    metrics: dict[str, dict[str, float]]
    baselines: dict[str, dict[str, dict[str, float]]]
    blend: Blend | None


def figures_by_name(run: Scored) -> dict[str, dict[str, dict[str, float]]]:
    """The rows of a table of figures: the model, what it makes with LightGBM where that is there, the baselines."""
    blended = {} if run.blend is None else {NAME: {split: dict(found) for split, found in run.blend.metrics.items()}}
    return {"model": run.metrics, **blended, **run.baselines}


def blend_note(blend: Blend) -> str:
    """What the row of the model and LightGBM is."""
    return f"{NAME}: {1 - blend.weight:.2f} · model + {blend.weight:.2f} · LightGBM, the weight fitted on validation."
