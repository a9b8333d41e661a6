"""The model and LightGBM together: a weighted mean of what they predict, beside the figures of either."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

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
    model: Mapping[str, Floats],
    lightgbm: Mapping[str, Floats],
    loss: Callable[[Floats], float],
    judge: Callable[[Mapping[str, Floats]], Mapping[str, Mapping[str, float]]],
) -> Blend | None:
    """The blend of two predictions ``[seeds]`` or ``[seeds, outputs]`` by split: the mean of their numbers, of their
    probabilities (a linear opinion pool, Stone, 1961), or of either's quantiles (Vincent, 1912). The weight is that
    whose ``loss`` on validation is least, the smallest such one; ``judge`` gives the figures of predictions by split.

    None where there are no labelled seeds in validation to fit the weight on.
    """
    if not len(model["val"]):
        return None

    def mixed(split: str, weight: float) -> Floats:
        return np.asarray((1 - weight) * model[split] + weight * lightgbm[split])

    losses = [loss(mixed("val", float(weight))) for weight in WEIGHTS]
    if not np.isfinite(losses).any():
        return None
    weight = float(WEIGHTS[int(np.nanargmin(losses))])
    return Blend(weight, judge({split: mixed(split, weight) for split in model}))


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
