"""The model, to be read top to bottom: encode rows, pass messages towards the seeds, read the answer at the seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from rdl.convs import Conv, HeteroSAGE
from rdl.dropout import ByteDropout
from rdl.encoders import Encoder, SummaryEncoder, TableEncoder, gaps
from rdl.features import Features, Statistics, seasons
from rdl.heads import EnsembleHead, Head
from rdl.sampler import EdgeType, Subgraph
from rdl.schema import Relation
from rdl.summaries import SummaryStatistics

#: What a seed's past adds up to is encoded as a vector so wide.
SUMMARY_CHANNELS = 128
#: What is read from the graph begins on this scale: it grows where it tells more than what the past adds up to.
GRAPH_SCALE = 0.1
#: In training so large a share of seeds sees nothing of the graph, so that neither is learnt on the other's crutches.
GRAPH_DROPOUT = 0.5

#: So many bits beside a row's number, which has 31, are one number of 64.
_BITS = 31


class ConvFactory(Protocol):
    """What makes a layer: a class of :mod:`rdl.convs`, or a function."""

    def __call__(self, tables: Sequence[str], types: Sequence[EdgeType], channels: int, *, dropout: float) -> Conv:
        """A layer for these tables and edge types, of as many channels."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a model is made of: an encoder a table, the layers, the head, which reads ``channels`` numbers of each
    seed's graph, and the encoder of what its past adds up to, if it is to read that too."""

    encoders: Mapping[str, Encoder]
    convs: Sequence[Conv]
    head: Head
    channels: int
    summary: SummaryEncoder | None = None
    dropout: float = 0.0


class RelationalModel(nn.Module):
    """A heterogeneous temporal graph network.

    ``masked`` are label columns by (table, column): a cell of theirs is masked from a seed unless its row is strictly
    older.
    """

    def __init__(self, parts: Parts, masked: Collection[tuple[str, str]] = ()) -> None:
        super().__init__()
        self._tables = {table: number for number, table in enumerate(parts.encoders)}
        # Numbered, never keyed by the user's names, which may clash with attributes of the module.
        self.encoders = nn.ModuleList(parts.encoders.values())  # type: ignore[arg-type]
        self.convs = nn.ModuleList(parts.convs)  # type: ignore[arg-type]
        self.norm, self.dropout = nn.LayerNorm(parts.channels), ByteDropout(parts.dropout)
        self._unseen = GRAPH_DROPOUT if parts.dropout else 0.0
        if parts.summary is not None:
            nn.init.constant_(self.norm.weight, GRAPH_SCALE)
        self.summary, self.head = parts.summary, parts.head
        self._masked = {table: tuple(c for t, c in masked if t == table) for table, _ in masked}

    def forward(self, features: Mapping[str, Features], subgraph: Subgraph, summary: Tensor | None = None) -> Tensor:
        """The outputs of the head's members ``[S, members, outputs]``, in the order of the seeds. ``summary``
        ``[S, width]`` is what the past of each adds up to (:mod:`rdl.summaries`), where the model was built for one."""
        nodes = {table: self._encode(features[table], table, subgraph) for table in subgraph.rows}
        first = nodes[subgraph.seeds.table][: len(subgraph.seeds)]
        for layer, conv in enumerate(self.convs):
            nodes = conv(nodes, subgraph, hops=len(self.convs) - 1 - layer)
        last = nodes[subgraph.seeds.table][: len(subgraph.seeds)]
        read = self.norm(torch.cat([last, first, seasons(subgraph.seeds.time)], dim=1))
        if self.training and summary is not None:
            kept = torch.rand(len(read), 1, device=read.device) >= self._unseen
            read = read * (kept / (1 - self._unseen))
        dropped = self.dropout(read)
        if self.summary is None or summary is None:
            return self.head(dropped, read)
        return self.head(torch.cat([dropped, self.summary(summary)], dim=1), torch.cat([read, summary], dim=1))

    def _encode(self, features: Features, table: str, subgraph: Subgraph) -> Tensor:
        """Node vectors of one table: columns once for each row, and gaps once for each row and seed's time, however
        often and over however many paths a batch reaches it."""
        encoder: Encoder = self.encoders[self._tables[table]]  # type: ignore[assignment]
        rows, seed = subgraph.rows[table], subgraph.seed[table]
        times, at = torch.unique(subgraph.seeds.time, return_inverse=True)
        unread = features.unread(
            rows, subgraph.seeds.time[seed], subgraph.seeds.late_cut[seed], self._masked.get(table, ())
        )
        state = rows
        for number, (_, hide) in enumerate(unread, start=1):
            state = state * 2 + hide
            if number % _BITS == 0:
                state = torch.unique(state, return_inverse=True)[1]
        # Rows that look the same to their seeds are encoded once: any one of them stands for all.
        one, place = _distinct(state)
        pair, node = _distinct(place * len(times) + at[seed])
        shown, seed_time = place[pair], times[at[seed[pair]]]
        gaps_us, known = gaps(seed_time, features.times[rows[pair]])
        for columns, hide in unread:
            for number, name in enumerate(features.time_names, start=1):
                if name in columns:
                    known[:, number] &= ~hide[pair]
        frame = features.frame(rows[one], [(columns, hide[one]) for columns, hide in unread])
        encoded = encoder.columns(frame, len(one))
        # Not by [], whose gradient costs three times as much.
        joined = encoded.index_select(0, shown)
        nodes: Tensor = encoder.forward(joined, torch.where(known, gaps_us, 0), known).index_select(0, node)
        # In mixed precision too, what the layers add up is kept in full.
        return nodes.float()


def _distinct(values: Tensor) -> tuple[Tensor, Tensor]:
    """Of int64 ``[N]``: where one of each distinct value is, ``[D]``, and which of these each is, ``[N]``."""
    distinct, place = torch.unique(values, return_inverse=True)
    return torch.empty_like(distinct).scatter_(0, place, torch.arange(len(values), device=values.device)), place


def build(
    statistics: Mapping[str, Statistics],
    relations: Sequence[Relation],
    *,
    channels: int,
    layers: int,
    dropout: float,
    members: int = 1,
    outputs: int = 1,
    summary: SummaryStatistics | None = None,
    masked: Collection[tuple[str, str]] = (),
    conv: ConvFactory = HeteroSAGE,
) -> RelationalModel:
    """The reference model: :class:`TableEncoder` for each table, ``layers`` of what ``conv`` makes, and an
    :class:`EnsembleHead` of ``members`` with ``outputs`` each, which reads what each seed's past adds up to beside its
    graph, where there are statistics of that: ``summary``."""
    types = [EdgeType(relation, to_parent) for relation in relations for to_parent in (True, False)]
    encoders = {table: TableEncoder(fitted, channels, dropout=dropout) for table, fitted in statistics.items()}
    convs = [conv(list(statistics), types, channels, dropout=dropout) for _ in range(layers)]
    read = beside = 2 * channels + 6
    sums, encoded = None, 0
    if summary is not None and summary.width:
        sums = SummaryEncoder(summary.width, torch.tensor(summary.quantiles), SUMMARY_CHANNELS, dropout=dropout)
        encoded, beside = SUMMARY_CHANNELS, read + summary.width
    head = EnsembleHead(read + encoded, beside, channels, members, outputs, dropout=dropout)
    return RelationalModel(Parts(encoders, convs, head, read, sums, dropout), masked)
