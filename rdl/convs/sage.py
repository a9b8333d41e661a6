"""Message passing over a sampled subgraph: one layer a module, each on every table and edge type at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from rdl.dropout import ByteDropout
from rdl.sampler import EdgeType, Subgraph


class Conv(Protocol):
    """One layer of message passing."""

    def __call__(self, nodes: Mapping[str, Tensor], subgraph: Subgraph, hops: int) -> dict[str, Tensor]:
        """Node vectors ``[N, channels]`` by table, nodes up to ``hops + 1`` hops away → the same for nodes up to
        ``hops`` hops away: nothing farther is needed by the layers to come."""
        ...


#: Where the learned time constants of :class:`Aggregate` begin, and the fixed ones of its counts, in days.
TIME_CONSTANTS_DAYS = (30.0, 365.0)
COUNT_CONSTANTS_DAYS = (7.0, 30.0, 90.0, 365.0)


class Aggregate(nn.Module):
    """The messages at each target, several ways at once: ``[targets, width · channels + counts]``.

    Mean; means weighted by exp(−(age − age of the newest) / τ) for learned τ, so that what is recent counts more,
    however stale all of it is; the newest alone; the maximum; and as counts log(1 + degree), whatever was sampled of
    it, and log(1 + Σ exp(−age / τ)) for fixed τ. Zeros where no message arrives.
    """

    width = 3 + len(TIME_CONSTANTS_DAYS)
    counts = 1 + len(COUNT_CONSTANTS_DAYS)

    def __init__(self) -> None:
        super().__init__()
        self.log_constant = nn.Parameter(torch.tensor(TIME_CONSTANTS_DAYS).log())

    def forward(self, source: Tensor, age_days: Tensor, edges: Tensor, degree: Tensor) -> Tensor:
        """``source`` ``[N, channels]`` and its age ``[N]``; ``edges`` int64 ``[2, E]``, targets ascending and each
        target's messages from the newest to the oldest; ``degree`` int64 ``[targets]``."""
        sampled = torch.bincount(edges[1], minlength=len(degree))
        offsets = sampled.cumsum(0) - sampled
        number = sampled.to(source.dtype).unsqueeze(1)
        age = age_days[edges[0]]
        newest = offsets.clamp(max=len(age) - 1)
        parts = [
            embedding_bag(edges[0], source, offsets, mode="sum") / number.clamp(min=1),
            source.index_select(0, edges[0, newest]) * (number > 0),
            embedding_bag(edges[0], source, offsets, mode="max"),
        ]
        behind = (age - age[newest][edges[1]]).clamp(min=0)
        weights = torch.exp(-behind.unsqueeze(1) / self.log_constant.exp())
        totals = source.new_zeros(len(degree), weights.size(1)).index_add(0, edges[1], weights)
        for weight, total in zip(weights.T, totals.T, strict=True):
            weighted = embedding_bag(edges[0], source, offsets, mode="sum", per_sample_weights=weight.contiguous())
            parts.append(weighted / total.clamp(min=1e-6).unsqueeze(1))
        recent = torch.exp(-age.clamp(min=0).unsqueeze(1) / age.new_tensor(COUNT_CONSTANTS_DAYS))
        counts = source.new_zeros(len(degree), recent.size(1)).index_add(0, edges[1], recent)
        return torch.cat([*parts, degree.to(source.dtype).log1p().unsqueeze(1), counts.log1p()], dim=1)


class HeteroSAGE(nn.Module):
    """GraphSAGE (Hamilton et al., 2017) on a heterogeneous graph, with several aggregations at once.

    h′ᵥ = hᵥ + ReLU(norm(W_table · hᵥ + Σ over edge types e of W_e · aggregateₑ({hᵤ : u → v of type e}))), where a
    child's only parent is taken as it is and a parent's children are aggregated by :class:`Aggregate`.
    """

    def __init__(
        self, tables: Sequence[str], types: Sequence[EdgeType], channels: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self._tables = {table: number for number, table in enumerate(tables)}
        self._types = {type_: number for number, type_ in enumerate(types)}
        self.own = nn.ModuleList(nn.Linear(channels, channels) for _ in tables)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in tables)
        self.messages = nn.ModuleList(
            nn.Linear(
                Aggregate.width * channels + Aggregate.counts if type_.to_parent else channels, channels, bias=False
            )
            for type_ in types
        )
        self.aggregates = nn.ModuleList(Aggregate() for _ in types)
        self.dropout = ByteDropout(dropout)

    def forward(self, nodes: Mapping[str, Tensor], subgraph: Subgraph, hops: int) -> dict[str, Tensor]:
        """See :class:`Conv`."""
        kept = {table: own[: subgraph.num_nodes[table][hops]] for table, own in nodes.items()}
        updated = {table: self.own[self._tables[table]](own) for table, own in kept.items() if len(own)}
        for type_, all_edges in subgraph.edges.items():
            edges = all_edges[:, : subgraph.num_edges[type_][hops]]
            if not edges.size(1):
                continue
            weight = self.messages[self._types[type_]]
            source = nodes[type_.source]
            if type_.to_parent:
                aggregate = self.aggregates[self._types[type_]]
                degree = subgraph.degrees[type_][: len(updated[type_.target])]
                messages = aggregate(source, subgraph.age_days[type_.source], edges, degree)
                updated[type_.target] = updated[type_.target] + weight(messages)
            else:
                updated[type_.target] = updated[type_.target].index_add(
                    0, edges[1], weight(source.index_select(0, edges[0]))
                )
        return {
            table: kept[table] + self.dropout(torch.relu(self.norms[self._tables[table]](own)))
            for table, own in updated.items()
        }
