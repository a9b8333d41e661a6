"""Full attention among the rows of a seed's subgraph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from rdl.convs.attention import AGE_CHANNELS, age_features
from rdl.dropout import ByteDropout
from rdl.sampler import EdgeType, Subgraph

#: Rows of a seed's subgraph that are attended to, at most: the nearest, and of those as near the newest.
MAX_TOKENS = 300
#: Hops that are told apart.
MAX_HOPS = 8


@dataclass(frozen=True, slots=True)
class _Tokens:
    """The nodes of all tables, table by table, as tokens of their seeds.

    ``place`` int64 ``[N]`` is each one's in ``[seeds · width]``, −1 where a seed has more than its share; those at most
    ``hops`` away come first. ``counts`` int64 ``[seeds]`` says how many a seed has, ``near`` ``[N]`` bool which of them
    are at most ``hops`` away, and ``distance`` int64 ``[N]`` how far each is.
    """

    place: Tensor
    counts: Tensor
    near: Tensor
    distance: Tensor
    width: int


def _tokens(subgraph: Subgraph, sizes: Mapping[str, int], hops: int, most: int) -> _Tokens:
    device = subgraph.seeds.row.device
    seed = torch.cat([subgraph.seed[table][:size] for table, size in sizes.items()])
    age = torch.cat([subgraph.age_days[table][:size] for table, size in sizes.items()])
    ends = {table: torch.tensor(subgraph.num_nodes[table], device=device) for table in sizes}
    distance = torch.cat(
        [
            torch.searchsorted(ends[table], torch.arange(size, device=device), right=True)
            for table, size in sizes.items()
        ]
    )
    order = torch.argsort(age, stable=True)
    nearest = torch.argsort((seed * (hops + 2) + distance)[order], stable=True)
    order = order[nearest]
    counts = torch.bincount(seed, minlength=len(subgraph.seeds))
    rank = torch.empty_like(seed)
    rank[order] = torch.arange(len(seed), device=device) - (counts.cumsum(0) - counts)[seed[order]]
    counts = counts.clamp(max=most)
    width = int(counts.max()) if len(counts) else 0
    return _Tokens(torch.where(rank < most, seed * width + rank, -1), counts, distance <= hops, distance, width)


class RelationalTransformer(nn.Module):
    """A layer of a relational graph transformer (RelGT, Dwivedi et al., 2025), normalised before each part.

    h′ = h + O · attention(Q x, K x, V x) and h″ = h′ + FFN(norm(h′)) for the rows at most ``hops`` away, which attend
    to all rows of their seed that are given, at most ``tokens`` of them. A token x is norm(h) + what its table is, how
    many hops away it is, its age (:func:`rdl.convs.attention.age_features`) and, for the structure, a map of the row
    that it was reached from, one for each edge type.
    """

    def __init__(
        self,
        tables: Sequence[str],
        types: Sequence[EdgeType],
        channels: int,
        *,
        dropout: float = 0.0,
        heads: int = 4,
        tokens: int = MAX_TOKENS,
    ) -> None:
        super().__init__()
        self._tables = {table: number for number, table in enumerate(tables)}
        self._types = {type_: number for number, type_ in enumerate(types)}
        self.heads, self.tokens = heads if channels % heads == 0 else 1, tokens
        self.norm, self.second_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.table = nn.Embedding(len(tables), channels)
        self.hop = nn.Embedding(MAX_HOPS, channels)
        self.age = nn.Linear(AGE_CHANNELS, channels)
        self.structure = nn.ModuleList(nn.Linear(channels, channels) for _ in types)
        self.query, self.key, self.value, self.out = (nn.Linear(channels, channels) for _ in range(4))
        self.hidden = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), ByteDropout(dropout))
        self.second = nn.Linear(2 * channels, channels)
        self.dropout = ByteDropout(dropout)

    def forward(self, nodes: Mapping[str, Tensor], subgraph: Subgraph, hops: int) -> dict[str, Tensor]:
        """See :class:`rdl.convs.Conv`."""
        # In one order, whichever table came first in this batch.
        sizes = {table: len(nodes[table]) for table in self._tables if table in nodes}
        first = dict(zip(sizes, torch.tensor([0, *sizes.values()]).cumsum(0).tolist(), strict=False))
        if not any(sizes.values()):
            return {}
        own = torch.cat([nodes[table] for table in sizes])
        at = _tokens(subgraph, sizes, hops, self.tokens)
        x = self.norm(own)
        x = self._described(x, subgraph, sizes, first, at.distance, hops)
        attended = self._attend(x, at)
        near = torch.nonzero(at.near).squeeze(1)
        own = own.index_select(0, near) + self.dropout(self.out(attended))
        own = own + self.dropout(self.second(self.hidden(self.second_norm(own))))
        left = [subgraph.num_nodes[table][hops] for table in sizes]
        return {table: part for table, part in zip(sizes, own.split(left), strict=True) if len(part)}

    def _described(
        self,
        x: Tensor,
        subgraph: Subgraph,
        sizes: Mapping[str, int],
        first: Mapping[str, int],
        distance: Tensor,
        hops: int,
    ) -> Tensor:
        """The vectors ``x`` ``[N, channels]`` with what each token is, where and how old."""
        numbers = torch.tensor([self._tables[table] for table in sizes], device=x.device)
        table = torch.repeat_interleave(numbers, torch.tensor(list(sizes.values()), device=x.device))
        age = torch.cat([subgraph.age_days[name][:size] for name, size in sizes.items()])
        told: Tensor = x + self.table(table) + self.hop(distance.clamp(max=MAX_HOPS - 1)) + self.age(age_features(age))
        for type_, all_edges in subgraph.edges.items():
            source, target = all_edges[:, : subgraph.num_edges[type_][hops]]
            if len(source):
                reached_from = self.structure[self._types[type_]](x.index_select(0, target + first[type_.target]))
                told = told.index_add(0, source + first[type_.source], reached_from.to(told.dtype))
        return told

    def _attend(self, x: Tensor, at: _Tokens) -> Tensor:
        """What the near tokens ``[M, channels]`` read of all tokens of their seeds; zeros for one without a place."""
        seeds, channels = len(at.counts), x.size(1)
        shown = torch.nonzero(at.place >= 0).squeeze(1)
        place, known = at.place[shown], x.index_select(0, shown)

        def padded(vectors: Tensor, places: Tensor) -> Tensor:
            whole = vectors.new_zeros(seeds * at.width, channels).index_copy(0, places, vectors)
            return whole.view(seeds, at.width, self.heads, channels // self.heads).transpose(1, 2)

        asking = torch.nonzero(at.near[shown]).squeeze(1)
        # The near ones come first of each seed, so that the rest of the places is left away.
        most = int((place[asking] % max(1, at.width)).max()) + 1 if len(asking) else 0
        query = padded(self.query(known.index_select(0, asking)), place[asking])[:, :, :most]
        seen = torch.arange(at.width, device=x.device) < at.counts.unsqueeze(1)
        read = scaled_dot_product_attention(
            query, padded(self.key(known), place), padded(self.value(known), place), attn_mask=seen[:, None, None]
        )
        read = read.transpose(1, 2).reshape(seeds * most, channels)
        near_place = at.place[at.near]
        column = torch.where(near_place >= 0, near_place % max(1, at.width), 0)
        row = torch.div(near_place.clamp(min=0), max(1, at.width), rounding_mode="floor")
        attended: Tensor = read.index_select(0, row * most + column) * (near_place >= 0).unsqueeze(1)
        return attended
