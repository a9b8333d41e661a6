"""RelBench's reference model of its own modules, and the batches that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from relbench.modeling.nn import HeteroEncoder, HeteroGraphSAGE, HeteroTemporalEncoder
from torch import Tensor, nn
from torch_frame import TensorFrame, stype
from torch_frame.data.stats import StatType
from torch_frame.nn.encoder import (
    EmbeddingEncoder,
    LinearEmbeddingEncoder,
    LinearEncoder,
    MultiCategoricalEmbeddingEncoder,
)
from torch_frame.nn.models import ResNet

from rdl.clock import NEVER
from rdl.encoders import CyclicEncoder
from rdl.features import Features, Statistics
from rdl.sampler import EdgeType, Subgraph

CHANNELS, LAYERS, BLOCKS = 128, 2, 4
#: torch-frame's own, but that for times, which wants a year.
ENCODERS = {
    stype.categorical: (EmbeddingEncoder, {}),
    stype.numerical: (LinearEncoder, {}),
    stype.multicategorical: (MultiCategoricalEmbeddingEncoder, {}),
    stype.embedding: (LinearEmbeddingEncoder, {}),
    stype.timestamp: (CyclicEncoder, {}),
}
CONSTANT = {stype.numerical: ["constant"]}


@dataclass(frozen=True)
class Names:
    """What tables and edge types are called in modules, where a table called ``items`` would break a ModuleDict."""

    tables: Mapping[str, str]
    types: Mapping[EdgeType, tuple[str, str, str]]

    @staticmethod
    def of(tables: list[str], types: list[EdgeType]) -> Names:
        named = {table: f"table{number}" for number, table in enumerate(tables)}
        return Names(named, {t: (named[t.source], f"edge{n}", named[t.target]) for n, t in enumerate(types)})


@dataclass(frozen=True)
class Batch:
    """What RelBench's loaders give: a TensorFrame a table, times in seconds, edges."""

    frames: dict[str, TensorFrame]
    seed_time: Tensor
    time: dict[str, Tensor]
    seed: dict[str, Tensor]
    edges: dict[tuple[str, str, str], Tensor]
    entity: str


def frame_of(features: Features, rows: Tensor, unread: list[tuple[object, Tensor]]) -> TensorFrame:
    """The columns of ``rows``; numbers that are missing or masked are 0, for torch-frame's encoder has no gradient
    there; a table without columns has a constant, as RelBench gives it."""
    frame = features.frame(rows, unread)
    if frame is None:
        return TensorFrame({stype.numerical: torch.ones(len(rows), 1)}, dict(CONSTANT))
    if stype.numerical in frame.feat_dict:
        frame.feat_dict[stype.numerical] = frame.feat_dict[stype.numerical].nan_to_num(0, 0, 0)
    if stype.embedding in frame.feat_dict:
        vectors = frame.feat_dict[stype.embedding]
        vectors.values = vectors.values.nan_to_num(0, 0, 0)
    return frame


def unread_of(features: Features, table: str, subgraph: Subgraph) -> list[tuple[object, Tensor]]:
    seed = subgraph.seed[table]
    return features.unread(subgraph.rows[table], subgraph.seeds.time[seed], subgraph.seeds.late_cut[seed])


def timed(features: Features) -> bool:
    return bool((features.times[:, 0] != NEVER).any())


def batch_of(features: Mapping[str, Features], subgraph: Subgraph, names: Names) -> Batch:
    frames, time = {}, {}
    for table, rows in subgraph.rows.items():
        frames[names.tables[table]] = frame_of(features[table], rows, unread_of(features[table], table, subgraph))
        if timed(features[table]):
            time[names.tables[table]] = features[table].times[rows, 0] // 1_000_000
    edges = {
        named: subgraph.edges.get(type_, torch.empty(2, 0, dtype=torch.int64))
        for type_, named in names.types.items()
        if type_.source in subgraph.rows and type_.target in subgraph.rows
    }
    seed = {names.tables[table]: seed for table, seed in subgraph.seed.items()}
    seeds = subgraph.seeds
    return Batch(frames, seeds.time // 1_000_000, time, seed, edges, names.tables[seeds.table])


class Reference(nn.Module):
    """The model of RelBench's examples: encode rows, add the time, GraphSAGE, a linear head."""

    def __init__(self, statistics: Mapping[str, Statistics], features: Mapping[str, Features], names: Names) -> None:
        super().__init__()
        columns = {names.tables[t]: fitted.columns() or CONSTANT for t, fitted in statistics.items()}
        constant = {"constant": {StatType.MEAN: 0.0, StatType.STD: 1.0}}
        stats = {names.tables[t]: fitted.stats_list() or constant for t, fitted in statistics.items()}
        settings = {"channels": CHANNELS, "num_layers": BLOCKS}
        self.encoder = HeteroEncoder(CHANNELS, columns, stats, ResNet, settings, ENCODERS)
        with_times = [named for table, named in names.tables.items() if timed(features[table])]
        self.temporal = HeteroTemporalEncoder(with_times, CHANNELS)
        self.gnn = HeteroGraphSAGE(list(names.tables.values()), list(names.types.values()), CHANNELS, "mean", LAYERS)
        self.head = nn.Linear(CHANNELS, 1)

    def forward(self, batch: Batch) -> Tensor:
        """The logits of the seeds ``[S]``."""
        x = self.encoder(batch.frames)
        for table, told in self.temporal(batch.seed_time, batch.time, batch.seed).items():
            x[table] = x[table] + told
        x = self.gnn(x, batch.edges)
        return self.head(x[batch.entity][: len(batch.seed_time)]).squeeze(1)
