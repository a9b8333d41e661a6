"""Inference: predictions for seeds, in their order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from rdl.config import Regime
from rdl.features import Features
from rdl.losses import Objective
from rdl.query.task import TaskTable
from rdl.sampler import Sampler, Seeds
from rdl.schema import Relation


def seeds_of(
    table: TaskTable, entity: str, regime: Regime, *, strictly: bool, hidden: tuple[Relation, ...] = ()
) -> Seeds:
    """The seeds of a task table, with each one's cut under ``regime``; the rest as in :class:`rdl.sampler.Seeds`."""
    row, time, cut = (torch.from_numpy(a.copy()) for a in (table.entity, table.time, table.cuts(regime)))
    return Seeds(entity, row, time, cut, strictly, hidden)


@torch.no_grad()
def predict(
    model: torch.nn.Module,
    features: Mapping[str, Features],
    sampler: Sampler,
    seeds: Seeds,
    objective: Objective,
    *,
    batch_size: int = 1024,
) -> npt.NDArray[np.float64]:
    """One prediction a seed, float64 ``[S]``: a probability, or a number in the label's units. The model is left in
    evaluation mode; features, graph and model are on one device."""
    model.eval()
    device = next(model.parameters()).device
    pieces = [
        objective.prediction(model(features, sampler(seeds.part(start, start + batch_size).to(device)))).cpu()
        for start in range(0, len(seeds), batch_size)
    ]
    return np.asarray(torch.cat(pieces).numpy()) if pieces else np.empty(0)
