"""Seeds → the subgraph each seed may see: time-respecting, disjoint by seed, vectorised over the whole batch.

A hop follows every foreign key of the frontier's rows both ways: to the parent (one gather), and to as many of the
children known at the seed's cut as are wanted, the most recent or any (a bisection inside the parent's time-ordered
children). A key that became known later than its row is followed, either way, from then on: its newest children are
those linked last. The same code runs on CPU and CUDA, and what it draws depends on the seed alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rdl.clock import ALWAYS, NEVER, US_PER_DAY
from rdl.config import Sampling
from rdl.draws import key_of, mixed, subsets
from rdl.errors import ConfigError
from rdl.graph import TemporalGraph
from rdl.schema import Relation


@dataclass(frozen=True, slots=True)
class Seeds:
    """What is asked: rows of ``table`` at ``time`` µs, all tensors int64 ``[S]``.

    ``cut`` is the newest time a visible row may have (``time`` itself in the seed-time regime, at most the split's cut
    in the frozen one), and a row that has ended by then is not seen. ``strictly`` (row-level tasks): what is at the cut
    is as new as the seed, so rows, their ends and keys known later than their row count only where they are older. The
    one exception is what was known with the seed's own row: the rows that it refers to, and those that rows at the cut
    among these refer to in turn, may be at the cut. ``hidden`` (only with it) are foreign keys of ``table`` that are
    asked for: they are followed from rows older than ``cut`` alone, so never from a seed's own row, and from none of a
    timeless table. Raises ConfigError for hidden keys without ``strictly``.
    """

    table: str
    row: Tensor
    time: Tensor
    cut: Tensor
    strictly: bool = False
    hidden: tuple[Relation, ...] = ()

    def __post_init__(self) -> None:
        if self.hidden and not self.strictly:
            raise ConfigError(
                f"the key {self.hidden[0]} is hidden, but rows as old as the seed are seen, which tell it",
                hint="ask row by row: strictly=True.",
            )

    def __len__(self) -> int:
        return len(self.row)

    @property
    def late_cut(self) -> Tensor:
        """The newest time int64 ``[S]`` at which another row, a late column or a late key may have become known, or a
        row have ended: what is strictly older."""
        return self.cut - int(self.strictly)

    def take(self, which: Tensor | slice) -> Seeds:
        """The seeds numbered ``which``, in that order."""
        return replace(self, row=self.row[which], time=self.time[which], cut=self.cut[which])

    def part(self, start: int, stop: int) -> Seeds:
        """The seeds from ``start`` up to, not including, ``stop``."""
        return self.take(slice(start, stop))

    def to(self, device: torch.device) -> Seeds:
        """The same seeds on ``device``."""
        return replace(self, row=self.row.to(device), time=self.time.to(device), cut=self.cut.to(device))


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
    next. ``key`` is what random numbers are drawn from: a hash of the seed and the path from it."""

    table: str
    first: int
    rows: Tensor
    seed: Tensor
    key: Tensor
    reached_over: EdgeType | None
    descents: int


class Sampler:
    """Samples subgraphs of as many hops as ``fanouts`` has: ``fanouts[d]`` children a relation where a path goes to
    children for the d-th time, counted from 0; parents are always followed, and cost no fan-out. So a row-level seed,
    which has parents alone, sees as much of their history as an entity sees of its own.

    ``by_relation`` gives the children of a relation fan-outs of their own, 0 for none. Where there are more children
    than wanted, ``strategy`` says which are taken: ``recent`` the newest; ``uniform`` any, every set of that many as
    likely as any other, drawn anew with every ``seed``.

    Results depend on the graph's visible part and on each seed's row, time and cut, not on the other seeds, their
    order, the batch or the device. Raises ConfigError for fan-outs of another number of hops, or below 0.
    """

    def __init__(
        self,
        graph: TemporalGraph,
        fanouts: tuple[int, ...],
        *,
        by_relation: Mapping[Relation, tuple[int, ...]] | None = None,
        strategy: Sampling = Sampling.recent,
        seed: int = 0,
    ) -> None:
        self.graph, self.fanouts, self.by_relation = graph, fanouts, dict(by_relation or {})
        self.strategy, self.seed = Sampling(strategy), seed
        for own in (fanouts, *self.by_relation.values()):
            if len(own) != len(fanouts) or min(own, default=0) < 0:
                raise ConfigError(f"fan-outs {own}: give {len(fanouts)} of them, none below 0")
        self.outgoing: dict[str, list[EdgeType]] = {}
        for relation in graph.links:
            self.outgoing.setdefault(relation.parent, []).append(EdgeType(relation, to_parent=True))
            self.outgoing.setdefault(relation.child, []).append(EdgeType(relation, to_parent=False))
        self.timeless = {table for table, time in graph.time.items() if len(time) and int(time[0]) == ALWAYS}
        self.keys = {type_: key_of(f"{type_}") for types in self.outgoing.values() for type_ in types}

    @property
    def device(self) -> torch.device:
        """Where the graph is, and the seeds are wanted."""
        return next(iter(self.graph.time.values())).device

    def to(self, device: torch.device) -> Sampler:
        """The same sampler over the graph on ``device``."""
        return Sampler(
            self.graph.to(device), self.fanouts, by_relation=self.by_relation, strategy=self.strategy, seed=self.seed
        )

    def __call__(self, seeds: Seeds, draw: int = 0) -> Subgraph:
        """The rows visible to each seed, tree by tree: no row later than the seed's cut is among them but, where it is
        itself, the seed's own. Another ``draw`` is another sample of the same seeds.

        Raises ConfigError for seeds of a table or row that is not there.
        """
        self._check(seeds)
        return _Sampling(self, seeds, draw).run()

    def _check(self, seeds: Seeds) -> None:
        rows = self.graph.num_rows.get(seeds.table)
        if rows is None:
            raise ConfigError(
                f"there is no table {seeds.table!r}", hint=f"use one of {', '.join(self.graph.num_rows)}."
            )
        unknown = (seeds.row < 0) | (seeds.row >= rows)
        if len(seeds) and bool(unknown.any()):
            which = int(unknown.nonzero()[0])
            raise ConfigError(
                f"{int(unknown.sum())} of {len(seeds)} seeds are no rows of {seeds.table!r}: seed {which} is row "
                f"{int(seeds.row[which])}, and there are {rows}",
                hint="leave unknown entities out.",
            )


class _Sampling:
    """One batch of one sampler."""

    def __init__(self, sampler: Sampler, seeds: Seeds, draw: int) -> None:
        self.sampler, self.graph, self.seeds, self.growth = sampler, sampler.graph, seeds, _Growth()
        # Rows without a time are seen by nobody, however late.
        self.cut = seeds.cut.clamp(max=NEVER - 1)
        # Of other rows, of ends, and of keys known later than their row, the newest time that each seed sees.
        self.late_cut = self.cut - int(seeds.strictly)
        self.limits: dict[tuple[str, bool], Tensor] = {}
        self.uniform = sampler.strategy is Sampling.uniform
        self.draw = draw

    def run(self) -> Subgraph:
        """The subgraph, hop by hop."""
        seeds, growth, hops = self.seeds, self.growth, len(self.sampler.fanouts)
        index = torch.arange(len(seeds), device=seeds.row.device)
        first = growth.add(seeds.table, seeds.row, index)
        frontiers = [_Frontier(seeds.table, first, seeds.row, index, self._root_key(), None, 0)]
        nodes, edges = [dict(growth.size)], []
        for hop in range(1, hops + 1):
            # Sorted by the targets' numbers, so that edges of one type have ascending targets.
            frontiers = [
                reached
                for frontier in frontiers
                for type_ in self.sampler.outgoing.get(frontier.table, [])
                if (reached := self._expand(frontier, type_, last=hop == hops)) is not None
            ]
            nodes.append(dict(growth.size))
            edges.append({type_: sum(piece.size(1) for piece in pieces) for type_, pieces in growth.edges.items()})
        rows = {table: torch.cat(pieces) for table, pieces in growth.rows.items()}
        seed = {table: torch.cat(pieces) for table, pieces in growth.seed.items()}
        # In one order, whichever came first in this batch: sums over types are the same to the last bit.
        types = [type_ for type_ in self.sampler.keys if type_ in growth.edges]
        return Subgraph(
            seeds,
            rows,
            seed,
            {type_: torch.cat(growth.edges[type_], dim=1) for type_ in types},
            {type_: _dense(pieces, growth.size[type_.target]) for type_, pieces in growth.degrees.items()},
            {table: self._age_days(table, rows[table], seeds.time.index_select(0, seed[table])) for table in rows},
            {table: [size.get(table, 0) for size in nodes] for table in growth.rows},
            {type_: [size.get(type_, 0) for size in edges] for type_ in growth.edges},
        )

    def _root_key(self) -> Tensor:
        key = torch.zeros_like(self.seeds.row)
        for part in (self.sampler.seed, self.draw, key_of(self.seeds.table), self.seeds.row, self.seeds.time):
            key = mixed(key, part)
        return key

    def _age_days(self, table: str, rows: Tensor, seed_time: Tensor) -> Tensor:
        """How many days before the seed's time each row became known; 0 where nobody says."""
        if table in self.sampler.timeless:
            return torch.zeros(len(rows), device=rows.device)
        age = seed_time.sub_(self.graph.time[table].index_select(0, rows)).double().div_(US_PER_DAY).float()
        if table == self.seeds.table:  # of all rows, those asked about alone may have no time
            first = age[: len(self.seeds)]
            first.masked_fill_(self.graph.time[table].index_select(0, self.seeds.row) == NEVER, 0)
        return age

    def _limit(self, table: str, *, strictly: bool) -> Tensor:
        """For each seed, how many rows of the table it may see: rows are numbered by time."""
        key = (table, strictly)
        if key not in self.limits:
            self.limits[key] = torch.searchsorted(self.graph.time[table], self.cut, right=not strictly)
        return self.limits[key]

    def _expand(self, at: _Frontier, type_: EdgeType, *, last: bool) -> _Frontier | None:
        """The nodes that send messages of ``type_`` to the frontier, or None where there are none.

        A child is not led back to the parent it was just reached from: that node is known already.
        """
        came, growth = at.reached_over, self.growth
        if came is not None and came.relation == type_.relation and came.to_parent and not type_.to_parent:
            return None
        key = mixed(at.key, self.sampler.keys[type_]) if self.uniform else at.key
        target, rows = self._children(at, type_, key) if type_.to_parent else self._parents(at, type_)
        if not len(rows):
            return None
        seed = at.seed.index_select(0, target)
        first = growth.add(type_.source, rows, seed)
        edges = torch.empty(2, len(rows), dtype=torch.int64, device=rows.device)
        torch.arange(first, first + len(rows), out=edges[0])
        torch.add(target, at.first, out=edges[1])
        growth.edges.setdefault(type_, []).append(edges)
        # Numbers below 0, as those from 0 on are the draws from the same key.
        path = mixed(key.index_select(0, target), ~rows) if self.uniform and not last else key
        return _Frontier(type_.source, first, rows, seed, path, type_, at.descents + type_.to_parent)

    def _children(self, at: _Frontier, type_: EdgeType, key: Tensor) -> tuple[Tensor, Tensor]:
        """The children sampled of each row, the newest, or the one linked last, first: (number in the frontier,
        ascending, and child row)."""
        fanout = self.sampler.by_relation.get(type_.relation, self.sampler.fanouts)[at.descents]
        link = self.graph.links[type_.relation]
        late = link.late is not None
        cut = self.late_cut.index_select(0, at.seed)
        limit = cut + 1 if late else self._limit(type_.source, strictly=self.seeds.strictly).index_select(0, at.seed)
        visible = link.visible(at.rows, limit, cut)
        self.growth.degrees.setdefault(type_, []).append((at.first, visible.count))
        taken = visible.count.clamp(max=fanout)
        target = torch.repeat_interleave(taken)
        first = taken.cumsum(0) - taken
        rank = torch.arange(len(target), device=target.device).sub_(first.index_select(0, target))
        if self.uniform and fanout:
            more = torch.nonzero(visible.count > fanout).squeeze(1)
            place = first[more].unsqueeze(1) + torch.arange(fanout, device=more.device)
            rank[place] = subsets(key[more], visible.count[more], fanout)
        return target, visible.newest(target, rank)

    def _parents(self, at: _Frontier, type_: EdgeType) -> tuple[Tensor, Tensor]:
        """The parent of each row that has one in sight: (number in the frontier, ascending, and parent row)."""
        link = self.graph.links[type_.relation]
        rows = link.parent.index_select(0, at.rows).long()
        seen = (rows >= 0) & (rows < self._parent_limit(at, type_.source))
        if type_.relation in self.seeds.hidden:
            older = at.rows < self._limit(at.table, strictly=True).index_select(0, at.seed)
            seen &= older & (at.table not in self.sampler.timeless)
        if link.late is not None:
            seen &= link.late.known.index_select(0, at.rows) <= self.late_cut.index_select(0, at.seed)
        target = torch.nonzero(seen).squeeze(1)
        if type_.source in self.graph.until:
            until = self.graph.until[type_.source].index_select(0, rows.index_select(0, target))
            target = target[until > self.late_cut.index_select(0, at.seed.index_select(0, target))]
        return target, rows.index_select(0, target)

    def _parent_limit(self, at: _Frontier, parent: str) -> Tensor:
        """For each row of the frontier, how many rows of the table ``parent``, which it refers to, its seed may see."""
        limit = self._limit(parent, strictly=self.seeds.strictly).index_select(0, at.seed)
        if not self.seeds.strictly or at.descents:  # what is reached over children is older than the seed
            return limit
        # What the seed's own row refers to was known with it, and so on up from row to row of that time.
        known_with = self._limit(parent, strictly=False).index_select(0, at.seed)
        if at.reached_over is None:
            return known_with
        older = at.rows < self._limit(at.table, strictly=True).index_select(0, at.seed)
        return torch.where(older, limit, known_with)


def _dense(pieces: list[tuple[int, Tensor]], size: int) -> Tensor:
    """One tensor ``[size]`` of pieces that each begin at a number, zeros elsewhere."""
    whole = torch.zeros(size, dtype=torch.int64, device=pieces[0][1].device)
    for first, piece in pieces:
        whole[first : first + len(piece)] = piece
    return whole
