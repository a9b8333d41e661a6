"""Inference: predictions for seeds, in their order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from rdl.config import Regime, Sampling
from rdl.features import Features
from rdl.graph import TemporalGraph
from rdl.losses import Objective
from rdl.query.task import Kind, Task, TaskTable
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
    """What :meth:`rdl.losses.Objective.prediction` says of each seed, float64 ``[S]`` or ``[S, outputs]``. ``summary``
    is what the seeds' pasts add up to, where the model reads it. The model is left in evaluation mode; features, graph
    and model are on one device."""
    model.eval()
    device = next(model.parameters()).device
    pieces = []
    for start in range(0, len(seeds), batch_size):
        part = None if summary is None else summary[start : start + batch_size].to(device)
        output = model(features, sampler(seeds.part(start, start + batch_size).to(device)), part)
        pieces.append(objective.prediction(output).cpu())
    none = objective.prediction(torch.empty(0, 1, objective.outputs))
    return np.asarray(torch.cat([none, *pieces]).numpy())


def tabulate(
    objective: Objective, predicted: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], dict[str, pa.Array]]:
    """Predictions for seeds as the columns of a table, and the seed's number for each of its lines.

    A line a seed: ``score`` (binary: the probability of true); ``prediction`` (regression), beside it the ends of
    intervals, as ``q10`` and ``q90`` (``q2_5`` for 2.5 %); ``prediction`` and ``probability`` (multiclass: the
    likeliest class, as it stands in the database). A line a seed and timeframe: ``timeframe`` from 1 on, ``prediction``
    (forecast). A line a seed and class: ``class``, and ``score``, the probability that the seed has it (multilabel).
    """
    lines, kind, width = np.arange(len(predicted)), objective.kind, objective.outputs
    if kind is Kind.binary:
        return lines, {"score": pa.array(predicted)}
    if kind is Kind.multiclass:
        likeliest = predicted.argmax(axis=1)
        found = {"prediction": pa.array(objective.classes).take(pa.array(likeliest))}
        return lines, {**found, "probability": pa.array(predicted[lines, likeliest])}
    if kind is Kind.multilabel:
        classes = pa.array(objective.classes).take(pa.array(np.tile(np.arange(width), len(predicted))))
        return lines.repeat(width), {"class": classes, "score": pa.array(predicted.ravel())}
    if kind is Kind.forecast:
        frames = pa.array(np.tile(np.arange(1, width + 1), len(predicted)))
        return lines.repeat(width), {"timeframe": frames, "prediction": pa.array(predicted.ravel())}
    if not objective.quantiles:
        return lines, {"prediction": pa.array(predicted)}
    named = ((f"q{100 * q:g}".replace(".", "_") if q != 0.5 else "prediction") for q in objective.quantiles)
    columns = dict(zip(named, map(pa.array, predicted.T), strict=True))
    return lines, {"prediction": columns.pop("prediction"), **columns}
