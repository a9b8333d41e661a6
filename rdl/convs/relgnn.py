"""Composite messages through junction tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from rdl.convs.attention import HeteroAttention
from rdl.sampler import EdgeType, Subgraph


class RelGNN(HeteroAttention):
    """RelGNN (Chen et al., 2025): a table with two keys or more is a bridge between its parents, and passes what one of
    them says to another through itself in one step of attention, not two.

    Where a bridge's row b is a child of v, v attends to W_table · h_b + Σ W_key · hₐ over the other parents a of b that
    are within the layer's reach; the rows of other tables are attended to as they are (:class:`HeteroAttention`).
    """

    def __init__(
        self, tables: Sequence[str], types: Sequence[EdgeType], channels: int, *, dropout: float = 0.0, heads: int = 4
    ) -> None:
        super().__init__(tables, types, channels, dropout=dropout, heads=heads)
        keys = [type_.relation.child for type_ in types if not type_.to_parent]
        self._bridges = {table: number for number, table in enumerate(sorted({k for k in keys if keys.count(k) > 1}))}
        routes = [type_ for type_ in types if not type_.to_parent and type_.target in self._bridges]
        self._routes = {type_: number for number, type_ in enumerate(routes)}
        self.bridges = nn.ModuleList(nn.Linear(channels, channels) for _ in self._bridges)
        self.routes = nn.ModuleList(nn.Linear(channels, channels, bias=False) for _ in routes)

    def sources(self, nodes: Mapping[str, Tensor], subgraph: Subgraph, hops: int) -> Mapping[str, Tensor]:
        """What the rows of each table say to their parents: those of bridges, fused with their other parents.

        A row that was reached from a parent has edges from its other parents alone.
        """
        fused = {
            table: self.bridges[self._bridges[table]](own) if table in self._bridges and len(own) else own
            for table, own in nodes.items()
        }
        for type_, all_edges in subgraph.edges.items():
            source, target = all_edges[:, : subgraph.num_edges[type_][hops]]
            if type_ in self._routes and len(source):
                sent = self.routes[self._routes[type_]](nodes[type_.source].index_select(0, source))
                fused[type_.target] = fused[type_.target].index_add(0, target, sent)
        return fused
