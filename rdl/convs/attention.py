"""Attention over a row's children, by what they say and how old they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch_geometric.utils import softmax

from rdl.dropout import ByteDropout
from rdl.sampler import EdgeType, Subgraph

#: Time constants, in days, of what attention reads of a row's age.
AGE_CONSTANTS_DAYS = (7.0, 30.0, 90.0, 365.0, 1095.0)
AGE_CHANNELS = 1 + len(AGE_CONSTANTS_DAYS)


def age_features(age_days: Tensor) -> Tensor:
    """Ages ``[N]`` in days → ``[N, AGE_CHANNELS]``: log(1 + age), scaled, and exp(−age / τ) for each τ."""
    age = age_days.clamp(min=0).unsqueeze(1)
    return torch.cat([age.log1p() / 5, torch.exp(age * (-1 / age.new_tensor(AGE_CONSTANTS_DAYS)))], dim=1)


class ChildAttention(nn.Module):
    """The messages of one edge type at each target, in several heads by GATv2 (Brody et al., 2022).

    Σᵤ αᵤᵥ V hᵤ and log(1 + degree), mapped by O, with αᵤᵥ = softmaxᵤ(a · LeakyReLU(Q hᵥ + K hᵤ + T age(u))) over the
    children u of v, age as of :func:`age_features`; the degree counts those that were not sampled too.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=False)
        self.age = nn.Linear(AGE_CHANNELS, channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        self.score = nn.Parameter(torch.randn(heads, channels // heads) * (channels // heads) ** -0.5)
        self.out = nn.Linear(channels + 1, channels, bias=False)

    def forward(self, source: Tensor, target: Tensor, age_days: Tensor, edges: Tensor, degree: Tensor) -> Tensor:
        """``source`` ``[E, channels]`` and its age ``[E]``, one an edge; ``target`` ``[N, channels]``; ``edges`` int64
        ``[E]``, the target of each, ascending; ``degree`` int64 ``[N]`` → ``[N, channels]``."""
        joined = self.query(target).index_select(0, edges) + self.key(source) + self.age(age_features(age_days))
        scores = (leaky_relu(joined, 0.2).unflatten(1, (self.heads, -1)) * self.score).sum(-1)
        weights = softmax(scores, edges, num_nodes=len(target))
        values = (self.value(source).unflatten(1, (self.heads, -1)) * weights.unsqueeze(-1)).flatten(1)
        attended = values.new_zeros(target.shape).index_add(0, edges, values)
        mapped: Tensor = self.out(torch.cat([attended, degree.to(source.dtype).log1p().unsqueeze(1)], dim=1))
        return mapped


class HeteroAttention(nn.Module):
    """Heterogeneous graph attention: h′ᵥ = hᵥ + ReLU(norm(W_table · hᵥ + Σ over edge types of their messages)).

    A child's only parent sends W_e · hᵤ; a parent's children are attended to by :class:`ChildAttention`, with maps of
    keys, values and queries for each edge type, as in HGT (Hu et al., 2020).
    """

    def __init__(
        self, tables: Sequence[str], types: Sequence[EdgeType], channels: int, *, dropout: float = 0.0, heads: int = 4
    ) -> None:
        super().__init__()
        self._tables = {table: number for number, table in enumerate(tables)}
        self._types = {type_: number for number, type_ in enumerate(types)}
        self.own = nn.ModuleList(nn.Linear(channels, channels) for _ in tables)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in tables)
        heads = heads if channels % heads == 0 else 1
        self.messages = nn.ModuleList(
            ChildAttention(channels, heads) if type_.to_parent else nn.Linear(channels, channels, bias=False)
            for type_ in types
        )
        self.dropout = ByteDropout(dropout)

    def forward(self, nodes: Mapping[str, Tensor], subgraph: Subgraph, hops: int) -> dict[str, Tensor]:
        """See :class:`rdl.convs.Conv`."""
        kept = {table: own[: subgraph.num_nodes[table][hops]] for table, own in nodes.items()}
        updated = {table: self.own[self._tables[table]](own) for table, own in kept.items() if len(own)}
        sources = self.sources(nodes, subgraph, hops)
        for type_, all_edges in subgraph.edges.items():
            source, target = all_edges[:, : subgraph.num_edges[type_][hops]]
            if not len(source):
                continue
            message, aim = self.messages[self._types[type_]], type_.target
            if type_.to_parent:
                age = subgraph.age_days[type_.source].index_select(0, source)
                degree = subgraph.degrees[type_][: len(updated[aim])]
                sent = sources[type_.source].index_select(0, source)
                updated[aim] = updated[aim] + message(sent, kept[aim], age, target, degree)
            else:
                sent = message(nodes[type_.source].index_select(0, source))
                updated[aim] = updated[aim].index_add(0, target, sent)
        return {
            table: kept[table] + self.dropout(torch.relu(self.norms[self._tables[table]](own)))
            for table, own in updated.items()
        }

    def sources(self, nodes: Mapping[str, Tensor], subgraph: Subgraph, hops: int) -> Mapping[str, Tensor]:
        """What the rows of each table say to their parents: the rows as they are."""
        return nodes
