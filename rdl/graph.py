"""The temporal graph of a snapshot: rows are nodes, foreign keys are edges, rows have times.

Rows are numbered by time inside each table, so "known at t" is ``row < limit`` with one ``searchsorted`` a table, the
parent of a row is one gather, and the children of a row known at t are a prefix of its children.

It stands on disk inside the snapshot, in folders that appear whole or not at all: ``links-1`` with ``n.children.npy``
and ``n.indptr.npy`` for the n-th relation; for each whose key became known later than its row ``late-1-<n>-<columns>``,
with ``children.npy`` in another order and their times; and, for each table whose rows end, ``ends-1-<table>-<column>``,
with the names of its late keys behind. What is opened is memory-mapped, so processes share it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch_frame import TensorFrame
from torch_geometric.data import HeteroData

from rdl.cache import discard, making, writing
from rdl.endings import mapped, read_endings
from rdl.extract import micros
from rdl.links import Link, read_late, read_link, write_late, write_link, write_link_endings
from rdl.schema import Relation
from rdl.snapshot import Snapshot

#: Changes with the layout on disk.
FORMAT = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TemporalGraph:
    """The nodes' times and the links between them.

    ``time[table]`` int64 ``[rows]``, ascending: µs UTC, ``clock.ALWAYS`` for timeless tables, ``clock.NEVER`` for rows
    without a time. ``until[table]`` int64 ``[rows]``, for the tables whose schema says when rows end: µs UTC,
    ``clock.NEVER`` where they do not.
    """

    num_rows: Mapping[str, int]
    time: Mapping[str, Tensor]
    until: Mapping[str, Tensor]
    links: Mapping[Relation, Link]
    source: Snapshot | None = None

    @staticmethod
    def build(snapshot: Snapshot) -> TemporalGraph:
        """The graph of every row and relation of ``snapshot``: opened from its folder, after it was built there where
        it was not yet. Another process may build it at the same time. Raises DatabaseError where the folder cannot be
        written."""
        schema = snapshot.schema
        time = {table: _shared(snapshot.time(table)) for table in schema.tables}
        links = _opened(
            snapshot.path / f"links-{FORMAT}", partial(_write_links, snapshot), partial(_read_links, snapshot)
        )
        links |= {relation: _late(snapshot, relation, links[relation]) for relation in filter(schema.told_by, links)}
        until = {}
        for table in schema.tables:
            if schema.tables[table].valid_until is not None:
                until[table], ending = _endings(snapshot, table, links)
                links |= ending
        return TemporalGraph(dict(snapshot.num_rows), time, until, links, snapshot)

    def without(self, relations: Collection[Relation]) -> TemporalGraph:
        """The same graph less ``relations``."""
        left = {relation: link for relation, link in self.links.items() if relation not in relations}
        return replace(self, links=left)

    def __reduce__(self) -> tuple[Callable[..., TemporalGraph], tuple[Any, ...]]:
        if self.source is None:
            return TemporalGraph, (self.num_rows, self.time, self.until, self.links)
        return _reopened, (self.source, tuple(self.links))

    def to(self, device: torch.device) -> TemporalGraph:
        """The same graph on ``device``."""
        if device.type == "cpu" and self.source is not None:
            return self
        return TemporalGraph(
            self.num_rows,
            {table: time.to(device) for table, time in self.time.items()},
            {table: until.to(device) for table, until in self.until.items()},
            {relation: link.to(device) for relation, link in self.links.items()},
        )

    def to_hetero_data(self, frames: Mapping[str, TensorFrame] | None = None) -> HeteroData:
        """The graph as PyG's ``HeteroData``: ``num_nodes``, ``time`` (int64 µs) and, from ``frames``, ``tf`` for each
        table; ``edge_index`` int64 ``[2, links]`` for each relation as (child, "key", parent), and back as (parent,
        "rev_key", child), named as :func:`edge_name` says. Edges whose key became known later than its row have
        ``known_at`` int64 ``[links]`` µs, ``clock.NEVER`` where nobody says when: before then they tell the future."""
        data = HeteroData()
        for table, count in self.num_rows.items():
            data[table].num_nodes, data[table].time = count, self.time[table]
            if frames is not None and table in frames:
                data[table].tf = frames[table]
        for relation, link in self.links.items():
            child = torch.nonzero(link.parent >= 0).squeeze(1)
            edges = torch.stack([child, link.parent[child].long()])
            up = data[relation.child, edge_name(relation, self.links), relation.parent]
            down = data[relation.parent, edge_name(relation, self.links, back=True), relation.child]
            up.edge_index, down.edge_index = edges, edges.flip(0)
            if link.late is not None:
                up.known_at = down.known_at = link.late.known[child]
        return data

    def __repr__(self) -> str:
        rows, links = sum(self.num_rows.values()), sum(len(link.children) for link in self.links.values())
        return f"TemporalGraph({rows:,} rows in {len(self.num_rows)} tables, {links:,} links in {len(self.links)} keys)"


def edge_name(relation: Relation, among: Collection[Relation], *, back: bool = False) -> str:
    """What PyG calls the edges from child to parent, or ``back``: the key's columns joined by "+"; behind them "→" and
    what they refer to, where another relation ``among`` the graph's has the same columns and tables."""
    name = "+".join(relation.key)
    alike = [(one.child, "+".join(one.key), one.parent) for one in among].count((relation.child, name, relation.parent))
    return ("rev_" if back else "") + name + (f"→{'+'.join(relation.referred)}" if alike > 1 else "")


def _reopened(snapshot: Snapshot, relations: Collection[Relation]) -> TemporalGraph:
    graph = TemporalGraph.build(snapshot)
    return graph.without([relation for relation in graph.links if relation not in relations])


def _write_links(snapshot: Snapshot, folder: Path) -> None:
    for number, relation in enumerate(snapshot.schema.relations):
        write_link(folder, number, snapshot.parent(relation), snapshot.num_rows[relation.parent])


def _read_links(snapshot: Snapshot, folder: Path) -> dict[Relation, Link]:
    return {
        relation: read_link(folder, number, _shared(snapshot.parent(relation)), snapshot.num_rows[relation.parent])
        for number, relation in enumerate(snapshot.schema.relations)
    }


def _late(snapshot: Snapshot, relation: Relation, link: Link) -> Link:
    """``link`` with its children in the order in which they and their keys were known."""
    return _opened(
        snapshot.path / _late_name(snapshot, relation),
        lambda folder: write_late(folder, link, snapshot.time(relation.child), snapshot.linked(relation)),
        lambda folder: read_late(folder, link),
    )


def _late_name(snapshot: Snapshot, relation: Relation) -> str:
    """What tells the order of a late key's children from that by other columns."""
    columns = [column.name for column in snapshot.schema[relation.child].columns]
    told = [str(columns.index(name)) for name in snapshot.schema.told_by(relation)]
    return "-".join(["late", str(FORMAT), str(snapshot.schema.relations.index(relation)), *told])


def _endings(snapshot: Snapshot, table: str, links: Mapping[Relation, Link]) -> tuple[Tensor, dict[Relation, Link]]:
    """When the rows of ``table`` end, and its links to parents with their endings."""
    described = snapshot.schema[table]
    column = [c.name for c in described.columns].index(str(described.valid_until))
    ending = [(n, relation) for n, relation in enumerate(snapshot.schema.relations) if relation.child == table]
    late = [_late_name(snapshot, relation) for _, relation in ending if links[relation].late is not None]
    name = "-".join(["ends", str(FORMAT), str(list(snapshot.schema.tables).index(table)), str(column), *late])

    def write(folder: Path) -> None:
        until = micros(snapshot.arrow(table)[described.valid_until], f"{table}.valid_until")
        np.save(folder / "until.npy", until)
        for number, relation in ending:
            write_link_endings(folder, number, links[relation], until)

    def read(folder: Path) -> tuple[Tensor, dict[Relation, Link]]:
        until = mapped(folder / "until.npy")
        if len(until) != snapshot.num_rows[table]:
            raise ValueError(f"{folder} has another number of rows")
        found = {n: read_endings(folder, n, len(links[relation].children)) for n, relation in ending}
        return until, {relation: replace(links[relation], endings=found[n]) for n, relation in ending}

    return _opened(snapshot.path / name, write, read)


def _opened(folder: Path, write: Callable[[Path], object], read: Callable[[Path], T]) -> T:
    """What ``read`` finds in ``folder``; where it is not there, or damaged, ``write`` fills it first."""
    if folder.exists():
        try:
            return read(folder)
        except (OSError, ValueError, EOFError):
            with writing(folder):
                discard(folder)
    with writing(folder), making(folder.parent) as new:
        write(new)
        try:
            new.rename(folder)
        except OSError:  # another process was first
            if not folder.exists():
                raise
    return read(folder)


def _shared(array: npt.NDArray[Any]) -> Tensor:
    """The tensor of a snapshot's memory-mapped, read-only array, on the same pages."""
    if not isinstance(array, np.memmap) or array.filename is None:
        return torch.from_numpy(array.copy())
    return torch.from_numpy(np.memmap(array.filename, array.dtype, "c", array.offset, array.shape))
