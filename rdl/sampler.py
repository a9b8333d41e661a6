"""Seeds → the subgraph each seed may see: time-respecting, disjoint by seed, vectorised over the whole batch.

A hop follows every foreign key of the frontier's rows both ways: to the parent (one gather), and to the most recent
``fanout`` children known at the seed's cut (a bisection inside the parent's time-ordered children). The same code runs
on CPU and CUDA.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rdl.clock import ALWAYS, NEVER, US_PER_DAY
from rdl.graph import Link, TemporalGraph
from rdl.schema import Relation


@dataclass(frozen=True, slots=True)
class Seeds:
    """What is asked: rows of ``table`` at ``time`` µs, all tensors int64 ``[S]``.

    ``cut`` is the newest time a visible row may have (``time`` itself in the seed-time regime, at most the split's cut
    in the frozen one). ``strictly`` (row-level tasks): children must be older than ``cut``, not at it; what a row
    refers to is known with the row, so parents may be as old as the cut.
    """

    table: str
    row: Tensor
    time: Tensor
    cut: Tensor
    strictly: bool = False

    def __len__(self) -> int:
        return len(self.row)

    def part(self, start: int, stop: int) -> Seeds:
        """The seeds from ``start`` up to, not including, ``stop``."""
        kept = slice(start, stop)
        return Seeds(self.table, self.row[kept], self.time[kept], self.cut[kept], self.strictly)

    def to(self, device: torch.device) -> Seeds:
        """The same seeds on ``device``."""
        return Seeds(self.table, self.row.to(device), self.time.to(device), self.cut.to(device), self.strictly)


@dataclass(frozen=True, slots=True)
class EdgeType:
    """The way a message travels over ``relation``: from child to parent, or from parent to child."""

    relation: Relation
    to_parent: bool

    @property
    def source(self) -> str:
        """The table the message comes from."""
        return self.relation.child if self.to_parent else self.relation.parent

    @property
    def target(self) -> str:
        """The table the message goes to."""
        return self.relation.parent if self.to_parent else self.relation.child


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A forest: one tree a seed, the seed's row at its root.

    ``rows[table]`` int64 ``[N]`` are row numbers and ``seed[table]`` int64 ``[N]`` the seed each node belongs to, nodes
    in order of hops; ``num_nodes[table][h]`` of them are at most h hops away. ``age_days[table]`` float32 ``[N]`` is
    the seed's time less the row's own, 0 where the table is timeless. ``edges[type]`` int64 ``[2, E]`` are (source
    node, target node), targets ascending; the first ``num_edges[type][h]`` of them have a target at most h hops away.
    ``degrees[type]`` int64 ``[targets]`` says, for types that go to parents, how many children each target really has
    at its seed's cut, sampled or not.
    """

    seeds: Seeds
    rows: Mapping[str, Tensor]
    seed: Mapping[str, Tensor]
    edges: Mapping[EdgeType, Tensor]
    degrees: Mapping[EdgeType, Tensor]
    age_days: Mapping[str, Tensor]
    num_nodes: Mapping[str, list[int]]
    num_edges: Mapping[EdgeType, list[int]]


@dataclass(slots=True)
class _Growth:
    """A subgraph under construction: pieces of tensors by hop."""

    rows: dict[str, list[Tensor]] = field(default_factory=dict)
    seed: dict[str, list[Tensor]] = field(default_factory=dict)
    edges: dict[EdgeType, list[Tensor]] = field(default_factory=dict)
    degrees: dict[EdgeType, list[tuple[int, Tensor]]] = field(default_factory=dict)
    size: dict[str, int] = field(default_factory=dict)

    def add(self, table: str, rows: Tensor, seed: Tensor) -> int:
        """Appends nodes and returns the number of the first of them."""
        first = self.size.get(table, 0)
        self.rows.setdefault(table, []).append(rows)
        self.seed.setdefault(table, []).append(seed)
        self.size[table] = first + len(rows)
        return first


@dataclass(frozen=True, slots=True)
class _Frontier:
    """Nodes of one table reached over one edge type (None: the seeds), after so many steps to children, to be expanded
    next."""

    table: str
    first: int
    rows: Tensor
    seed: Tensor
    reached_over: EdgeType | None
    descents: int


class Sampler:
    """Samples subgraphs of as many hops as ``fanouts`` has: ``fanouts[d]`` children a relation where a path goes to
    children for the d-th time, counted from 0; parents are always followed, and cost no fan-out. So a row-level seed,
    which has parents alone, sees as much of their history as an entity sees of its own.

    Results depend on the seeds alone, not on their order or batch.
    """

    def __init__(self, graph: TemporalGraph, fanouts: tuple[int, ...]) -> None:
        self.graph, self.fanouts = graph, fanouts
        self._outgoing: dict[str, list[EdgeType]] = {}
        for relation in graph.links:
            self._outgoing.setdefault(relation.parent, []).append(EdgeType(relation, to_parent=True))
            self._outgoing.setdefault(relation.child, []).append(EdgeType(relation, to_parent=False))

    def to(self, device: torch.device) -> Sampler:
        """The same sampler over the graph on ``device``."""
        return Sampler(self.graph.to(device), self.fanouts)

    def __call__(self, seeds: Seeds) -> Subgraph:
        """The rows visible to each seed, tree by tree: no row later than the seed's cut is among them."""
        limits: dict[tuple[str, bool], Tensor] = {}
        growth = _Growth()
        index = torch.arange(len(seeds), device=seeds.row.device)
        frontiers = [_Frontier(seeds.table, growth.add(seeds.table, seeds.row, index), seeds.row, index, None, 0)]
        nodes, edges = [dict(growth.size)], []
        for _ in self.fanouts:
            # Sorted by the targets' numbers, so that edges of one type have ascending targets.
            frontiers = [
                reached
                for frontier in frontiers
                for type_ in self._outgoing.get(frontier.table, [])
                if (reached := self._expand(frontier, type_, seeds, limits, growth)) is not None
            ]
            nodes.append(dict(growth.size))
            edges.append({type_: sum(piece.size(1) for piece in pieces) for type_, pieces in growth.edges.items()})
        rows = {table: torch.cat(pieces) for table, pieces in growth.rows.items()}
        seed = {table: torch.cat(pieces) for table, pieces in growth.seed.items()}
        return Subgraph(
            seeds,
            rows,
            seed,
            {type_: torch.cat(pieces, dim=1) for type_, pieces in growth.edges.items()},
            {type_: _dense(pieces, growth.size[type_.target]) for type_, pieces in growth.degrees.items()},
            {table: self._age_days(table, rows[table], seeds.time[seed[table]]) for table in rows},
            {table: [size.get(table, 0) for size in nodes] for table in growth.rows},
            {type_: [size.get(type_, 0) for size in edges] for type_ in growth.edges},
        )

    def _age_days(self, table: str, rows: Tensor, seed_time: Tensor) -> Tensor:
        """How many days before the seed's time each row became known; 0 where nobody says."""
        time = self.graph.time[table][rows]
        known = (time != ALWAYS) & (time != NEVER)
        return torch.where(known, seed_time - torch.where(known, time, 0), 0).double().div(US_PER_DAY).float()

    def _limit(self, type_: EdgeType, seeds: Seeds, limits: dict[tuple[str, bool], Tensor]) -> Tensor:
        """For each seed, how many rows of the type's source it may see: rows are numbered by time."""
        key = (type_.source, seeds.strictly and type_.to_parent)
        if key not in limits:
            limits[key] = torch.searchsorted(self.graph.time[key[0]], seeds.cut, right=not key[1])
        return limits[key]

    def _expand(
        self,
        at: _Frontier,
        type_: EdgeType,
        seeds: Seeds,
        limits: dict[tuple[str, bool], Tensor],
        growth: _Growth,
    ) -> _Frontier | None:
        """The nodes that send messages of ``type_`` to the frontier, or None where there are none.

        A child is not led back to the parent it was just reached from: that node is known already.
        """
        came = at.reached_over
        if came is not None and came.relation == type_.relation and came.to_parent and not type_.to_parent:
            return None
        link = self.graph.links[type_.relation]
        limit = self._limit(type_, seeds, limits)[at.seed]
        if type_.to_parent:
            target, rows, degree = recent_children(link, at.rows, limit, self.fanouts[at.descents])
            growth.degrees.setdefault(type_, []).append((at.first, degree))
        else:
            rows = link.parent[at.rows].long()
            target = torch.nonzero((rows >= 0) & (rows < limit)).squeeze(1)
            rows = rows[target]
        if not len(rows):
            return None
        seed = at.seed[target]
        first = growth.add(type_.source, rows, seed)
        source = torch.arange(first, first + len(rows), device=rows.device)
        growth.edges.setdefault(type_, []).append(torch.stack([source, target + at.first]))
        return _Frontier(type_.source, first, rows, seed, type_, at.descents + type_.to_parent)


def _dense(pieces: list[tuple[int, Tensor]], size: int) -> Tensor:
    """One tensor ``[size]`` of pieces that each begin at a number, zeros elsewhere."""
    whole = torch.zeros(size, dtype=torch.int64, device=pieces[0][1].device)
    for first, piece in pieces:
        whole[first : first + len(piece)] = piece
    return whole


def recent_children(link: Link, parents: Tensor, limit: Tensor, fanout: int) -> tuple[Tensor, Tensor, Tensor]:
    """The newest ``fanout`` children below ``limit`` of each parent: (position in ``parents`` ascending, child rows),
    and how many there are of each parent ``[N]`` in all.

    ``parents`` and ``limit`` are int64 ``[N]``. Children come newest first.
    """
    start = link.indptr[parents]
    low, high = start.clone(), link.indptr[parents + 1]
    width = int((high - low).max()) if len(parents) else 0
    last = len(link.children) - 1
    for _ in range(width.bit_length()):
        middle = (low + high) // 2
        below = (link.children[middle.clamp(max=last)] < limit) & (low < high)
        low, high = torch.where(below, middle + 1, low), torch.where(below, high, middle)
    degree = low - start
    taken = degree.clamp(max=fanout)
    target = torch.repeat_interleave(taken)
    rank = torch.arange(len(target), device=parents.device) - (taken.cumsum(0) - taken)[target]
    return target, link.children[low[target] - 1 - rank].long(), degree
