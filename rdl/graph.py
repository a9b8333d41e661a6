"""The temporal graph of a snapshot: rows are nodes, foreign keys are edges, rows have times.

Rows are numbered by time inside each table, so "known at t" is ``row < limit`` with one ``searchsorted`` a table, the
parent of a row is one gather, and the children of a row known at t are a prefix of its children.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from torch import Tensor
from torch_frame import TensorFrame
from torch_geometric.data import HeteroData

from rdl.schema import Relation
from rdl.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Link:
    """One relation's edges, both ways.

    ``parent`` int32 ``[children]``: the parent's row of each child row, −1 where NULL or dangling.
    ``children`` int32 ``[links]``: child rows ordered by (parent, time); the children of parent row p are
    ``children[indptr[p]:indptr[p + 1]]``. ``indptr`` int64 ``[parents + 1]``.
    """

    parent: Tensor
    children: Tensor
    indptr: Tensor

    @staticmethod
    def of(parent: Tensor, num_parents: int) -> Link:
        """The link of child rows (numbered by time) to the parents in ``parent``."""
        rows = parent.numpy()
        child = np.flatnonzero(rows >= 0)
        # A sparse matrix is made row by row by counting, ten times faster than by sorting.
        links = (np.ones(len(child), np.bool_), (rows[child], child))
        by_parent = coo_array(links, shape=(num_parents, len(rows))).tocsr()
        indptr = torch.from_numpy(by_parent.indptr.astype(np.int64))
        return Link(parent, torch.from_numpy(by_parent.indices.astype(np.int32)), indptr)

    def to(self, device: torch.device) -> Link:
        """The same link on ``device``."""
        return Link(self.parent.to(device), self.children.to(device), self.indptr.to(device))


@dataclass(frozen=True, slots=True)
class TemporalGraph:
    """The nodes' times and the links between them.

    ``time[table]`` int64 ``[rows]``, ascending: µs UTC, ``clock.ALWAYS`` for timeless tables, ``clock.NEVER`` for rows
    without a time.
    """

    num_rows: Mapping[str, int]
    time: Mapping[str, Tensor]
    links: Mapping[Relation, Link]

    @staticmethod
    def build(snapshot: Snapshot) -> TemporalGraph:
        """The graph of every row and relation of ``snapshot``."""
        schema = snapshot.schema
        time = {table: torch.from_numpy(snapshot.time(table).copy()) for table in schema.tables}
        links = {
            relation: Link.of(torch.from_numpy(snapshot.parent(relation).copy()), snapshot.num_rows[relation.parent])
            for relation in schema.relations
        }
        return TemporalGraph(dict(snapshot.num_rows), time, links)

    def to(self, device: torch.device) -> TemporalGraph:
        """The same graph on ``device``."""
        return TemporalGraph(
            self.num_rows,
            {table: time.to(device) for table, time in self.time.items()},
            {relation: link.to(device) for relation, link in self.links.items()},
        )

    def to_hetero_data(self, frames: Mapping[str, TensorFrame] | None = None) -> HeteroData:
        """The graph as PyG's ``HeteroData``: ``num_nodes``, ``time`` (int64 µs) and, from ``frames``, ``tf`` for each
        table; ``edge_index`` int64 ``[2, links]`` for each relation as (child, "key", parent), and back as (parent,
        "rev_key", child), where key is the relation's columns joined by "+"."""
        data = HeteroData()
        for table, count in self.num_rows.items():
            data[table].num_nodes, data[table].time = count, self.time[table]
            if frames is not None and table in frames:
                data[table].tf = frames[table]
        for relation, link in self.links.items():
            child = torch.nonzero(link.parent >= 0).squeeze(1)
            edges, key = torch.stack([child, link.parent[child].long()]), "+".join(relation.key)
            data[relation.child, key, relation.parent].edge_index = edges
            data[relation.parent, f"rev_{key}", relation.child].edge_index = edges.flip(0)
        return data

    def __repr__(self) -> str:
        rows, links = sum(self.num_rows.values()), sum(len(link.children) for link in self.links.values())
        return f"TemporalGraph({rows:,} rows in {len(self.num_rows)} tables, {links:,} links in {len(self.links)} keys)"
