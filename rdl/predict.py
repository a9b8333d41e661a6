"""Inference: predictions for seeds, in their order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rdl.config import Regime, Sampling
from rdl.features import Features
from rdl.graph import TemporalGraph
from rdl.losses import Objective
from rdl.query.task import Task, TaskTable
from rdl.sampler import Sampler, Seeds
from rdl.schema import Relation
from rdl.snapshot import Snapshot


def seeds_of(
    table: TaskTable, entity: str, regime: Regime, *, strictly: bool, hidden: tuple[Relation, ...] = ()
) -> Seeds:
    """The seeds of a task table, with each one's cut under ``regime``; the rest as in :class:`rdl.sampler.Seeds`."""
    row, time, cut = (torch.from_numpy(a.copy()) for a in (table.entity, table.time, table.cuts(regime)))
    return Seeds(entity, row, time, cut, strictly, hidden)


def sampler_of(task: Task, snapshot: Snapshot, fanouts: tuple[int, ...], strategy: Sampling, seed: int = 0) -> Sampler:
    """A sampler over the snapshot's graph; a key with a column that is never an input is no edge."""
    graph = TemporalGraph.build(snapshot).without(task.closed_keys(snapshot.schema))
    return Sampler(graph, fanouts, strategy=strategy, seed=seed)


@torch.no_grad()
def predict(
    model: torch.nn.Module,
    features: Mapping[str, Features],
    sampler: Sampler,
    seeds: Seeds,
    objective: Objective,
    summary: Tensor | None = None,
    *,
    batch_size: int = 1024,
) -> npt.NDArray[np.float64]:
    """One prediction a seed, float64 ``[S]``: a probability, or a number in the label's units. ``summary`` is what the
    seeds' pasts add up to, where the model reads it. The model is left in evaluation mode; features, graph and model
    are on one device."""
    model.eval()
    device = next(model.parameters()).device
    pieces = []
    for start in range(0, len(seeds), batch_size):
        part = None if summary is None else summary[start : start + batch_size].to(device)
        output = model(features, sampler(seeds.part(start, start + batch_size).to(device)), part)
        pieces.append(objective.prediction(output).cpu())
    return np.asarray(torch.cat(pieces).numpy()) if pieces else np.empty(0)
