"""The same function as the reference, with its weights, computed for what is distinct and needed alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from reference import Names, Reference, frame_of, timed, unread_of
from segments import segment_sum
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, layer_norm
from torch_frame import TensorFrame, stype
from torch_frame.nn.models import ResNet

from rdl.dropout import ByteDropout
from rdl.features import Features
from rdl.sampler import EdgeType, Subgraph


@dataclass(frozen=True)
class Rows:
    """Vectors of the distinct rows of one table ``[D, channels]`` and which of them each node is, ``[N]``; and the same
    of the distinct times between row and seed, where the table has times. ``mapped`` are vectors known beforehand:
    of distinct rows by edge type, and by None for the nodes' own map."""

    vectors: Tensor
    place: Tensor
    times: Tensor | None
    at: Tensor
    mapped: Mapping[EdgeType | None, Tensor]

    def gathered(self, weight: Tensor, which: Tensor | slice, known: Tensor | None) -> Tensor:
        """The vectors of some nodes through a linear map; ``known`` are those of the distinct rows, if they are."""
        mapped = self.vectors @ weight.T if known is None else known
        found = mapped.index_select(0, self.place[which])
        return found if self.times is None else found + (self.times @ weight.T).index_select(0, self.at[which])


class Shared(nn.Module):
    """Column encoders are folded into the first linear map; each distinct row, and each distinct time between a row and
    its seed, is encoded once a batch; layers are computed where a later one needs them; maps of the first layer are
    applied to what is distinct, or after the mean, whichever is less."""

    def __init__(self, reference: Reference, names: Names, dropout: float = 0.2) -> None:
        super().__init__()
        self.of, self.names, self.drop = reference, names, ByteDropout(dropout)
        self.known: dict[str, Rows] = {}

    def forward(self, features: Mapping[str, Features], subgraph: Subgraph) -> Tensor:
        """The logits of the seeds ``[S]``."""
        rows = {table: self._rows(features[table], table, subgraph) for table in subgraph.rows}
        hops = len(self.of.gnn.convs) - 1
        x = self._layer(0, subgraph, hops, rows, None)
        for layer in range(1, hops + 1):
            x = self._layer(layer, subgraph, hops - layer, rows, x)
        return self.of.head(x[subgraph.seeds.table][: len(subgraph.seeds)]).squeeze(1)

    @torch.no_grad()
    def freeze(self, features: Mapping[str, Features], chunk: int = 16_384) -> None:
        """Encodes every row of every table once, and maps it as the first layer will: the weights stay as they are."""
        self.eval()
        for table, columns in features.items():
            states = 2 ** len(columns.late)
            pieces = []
            for state in torch.arange(len(columns) * states).split(chunk):
                row, bits = state // states, state % states
                late = enumerate(reversed(columns.late))
                unread = [(names, (bits >> place & 1).bool()) for place, names in late]
                pieces.append(self._encode(table, frame_of(columns, row, unread)))
            vectors = torch.cat(pieces)
            mapped = {None: vectors @ self._own(0, table, self.names.types).T} if len(vectors) else {}
            for type_ in self.names.types:
                if type_.source == table and not type_.to_parent:
                    mapped[type_] = vectors @ self._conv(0, type_).lin_l.weight.T
            self.known[table] = Rows(vectors, vectors, None, vectors, mapped)

    def _rows(self, features: Features, table: str, subgraph: Subgraph) -> Rows:
        rows, unread = subgraph.rows[table], unread_of(features, table, subgraph)
        state = rows
        for _, hide in unread:
            state = state * 2 + hide
        if table in self.known:
            vectors, place, mapped = self.known[table].vectors, state, self.known[table].mapped
        else:
            _, place = torch.unique(state, return_inverse=True)
            one = torch.empty(int(place.max()) + 1, dtype=torch.int64).scatter_(0, place, torch.arange(len(rows)))
            frame = frame_of(features, rows[one], [(names, hide[one]) for names, hide in unread])
            vectors, mapped = self._encode(table, frame), {}
        if not timed(features):
            return Rows(vectors, place, None, place, mapped)
        seconds = subgraph.seeds.time[subgraph.seed[table]] // 1_000_000 - features.times[rows, 0] // 1_000_000
        gaps, at = torch.unique(seconds, return_inverse=True)
        named = self.names.tables[table]
        told = self.of.temporal.lin_dict[named](self.of.temporal.encoder_dict[named](gaps / 86_400))
        return Rows(vectors, place, told, at, mapped)

    def _encode(self, table: str, frame: TensorFrame) -> Tensor:
        """torch-frame's ResNet of ``[n]`` rows, the column encoders part of its first two maps."""
        resnet: ResNet = self.of.encoder.encoders[self.names.tables[table]]
        first, *others = resnet.backbone
        maps = torch.cat([first.lin1.weight, first.shortcut.weight]) if first.shortcut else first.lin1.weight
        maps = maps.T.reshape(-1, resnet.encoder.encoder_dict[frame.stypes[0].value].out_channels, len(maps))
        x = torch.cat([first.lin1.bias, first.shortcut.bias]) if first.shortcut else first.lin1.bias
        for kind in frame.stypes:  # in the order in which torch-frame joins them
            count = len(frame.col_names_dict[kind])
            x = x + _folded(resnet.encoder.encoder_dict[kind.value], kind, frame.feat_dict[kind], maps[:count])
            maps = maps[count:]
        if first.shortcut:
            inner, shortcut = x.split(len(first.lin1.bias), dim=1)
        else:  # one column: the block adds its input, which the reference encodes
            inner, shortcut = x, resnet.encoder(frame)[0].flatten(1)
        x = self._block(first, inner) + shortcut
        for block in others:
            x = self._block(block, block.lin1(x)) + x
        return resnet.decoder(x)

    def _block(self, block: nn.Module, x: Tensor) -> Tensor:
        x = self.drop(block.norm1(x).relu())
        return self.drop(block.norm2(block.lin2(x)).relu())

    def _conv(self, layer: int, type_: EdgeType) -> nn.Module:
        return self.of.gnn.convs[layer].convs[self.names.types[type_]]

    def _own(self, layer: int, table: str, types: Mapping[EdgeType, object]) -> Tensor:
        """The sum over edge types of their maps of the target itself."""
        return sum(self._conv(layer, type_).lin_r.weight for type_ in types if type_.target == table)

    def _layer(
        self, layer: int, subgraph: Subgraph, hops: int, rows: Mapping[str, Rows], x: Mapping[str, Tensor] | None
    ) -> dict[str, Tensor]:
        """The nodes at most ``hops`` away; the first layer reads ``rows``, later ones the vectors ``x`` of nodes."""
        types = [t for t in self.names.types if t.source in subgraph.rows and t.target in subgraph.rows]
        out = {}
        for table, ends in subgraph.num_nodes.items():
            into, size = [type_ for type_ in types if type_.target == table], ends[hops]
            if not size or not into:
                continue
            bias = sum(self._conv(layer, type_).lin_l.bias for type_ in into)
            weight = self._own(layer, table, dict.fromkeys(into))
            if x is None:
                whole = len(into) == sum(type_.target == table for type_ in self.names.types)
                own = rows[table].gathered(weight, slice(size), rows[table].mapped.get(None) if whole else None)
            else:
                own = x[table][:size] @ weight.T
            own = own + bias
            for type_ in into:
                if type_ in subgraph.edges and subgraph.num_edges[type_][hops]:
                    edges = subgraph.edges[type_][:, : subgraph.num_edges[type_][hops]]
                    source = rows[type_.source] if x is None else x[type_.source]
                    own = self._received(own, source, edges, type_, self._conv(layer, type_).lin_l.weight)
            norm = self.of.gnn.norms[layer][self.names.tables[table]]
            out[table] = layer_norm(own, own.shape[-1:], norm.weight, norm.bias, norm.eps).relu()
        return out

    def _received(self, own: Tensor, source: Rows | Tensor, edges: Tensor, type_: EdgeType, weight: Tensor) -> Tensor:
        """``own`` ``[N, channels]`` and the mapped mean of what each receives."""
        if not type_.to_parent:  # a child has one parent
            if isinstance(source, Rows):
                return own.index_add(0, edges[1], source.gathered(weight, edges[0], source.mapped.get(type_)))
            return own.index_add(0, edges[1], source.index_select(0, edges[0]) @ weight.T)
        number = torch.bincount(edges[1], minlength=len(own)).clamp(min=1).to(own.dtype).unsqueeze(1)
        if isinstance(source, Rows):
            total = segment_sum(source.vectors, source.place[edges[0]], edges[1], len(own))
            if source.times is not None:
                total = total + segment_sum(source.times, source.at[edges[0]], edges[1], len(own))
        else:
            total = segment_sum(source, edges[0], edges[1], len(own))
        return own + (total / number) @ weight.T


def _folded(encoder: nn.Module, kind: stype, values: object, maps: Tensor) -> Tensor:
    """Σ over columns c of ``encoder(values)[:, c] @ maps[c]``, ``[n, channels]``; ``maps`` ``[C, width, channels]``."""
    if kind is stype.numerical:
        numbers = (values - encoder.mean) / encoder.std
        return numbers @ torch.einsum("cw,cwd->cd", encoder.weight, maps) + torch.einsum(
            "cw,cwd->d", encoder.bias, maps
        )
    if kind is stype.timestamp:
        return encoder.mixed(values, maps)
    if kind is stype.embedding:
        parts = values.values.split(encoder.emb_dim_list, dim=1)
        constant = torch.einsum("cw,cwd->d", encoder.biases, maps)
        return sum(part @ (w @ m) for part, w, m in zip(parts, encoder.weight_list, maps, strict=True)) + constant
    if kind is stype.categorical and len(encoder.emb.weight) <= values.numel():
        ends = [*encoder.offset[1:].tolist(), len(encoder.emb.weight) - 1]
        sizes = [end - begin for begin, end in zip(encoder.offset.tolist(), ends, strict=True)]
        parts = zip(encoder.emb.weight[1:].split(sizes), maps, strict=True)
        entries = torch.cat([entry @ each for entry, each in parts])
        entries = torch.cat([entries, entries.new_zeros(1, entries.size(1))])
        return embedding_bag(torch.where(values < 0, len(entries) - 1, values + encoder.offset), entries, mode="sum")
    return encoder(values).flatten(1) @ maps.flatten(0, 1)
