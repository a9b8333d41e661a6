"""What a seed knows of, and what happened to it: the walk along the keys from each seed, as of its cut.

An *origin* is a row that a seed knows of: the entity, a row it refers to, or what its newest child refers to. A
*stream* is what happens to an origin: its children, and their children, each with the time at which it was known. A key
that became known later than its row leads to the parent, and brings it the child, from then on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rdl import clock
from rdl.cells import Cells, gather
from rdl.query.expressions import Aggregate, ColumnRef, RowRef, walk
from rdl.query.task import Task, TaskTable
from rdl.schema import Relation
from rdl.snapshot import Snapshot

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Seeds:
    """Rows of the task's entity table ``[n]``, asked at ``time`` ``[n]`` µs. What they see by ``cut`` ``[n]`` is what
    :class:`rdl.sampler.Seeds` says, ``strictly`` in row-level tasks."""

    rows: Rows
    time: clock.Times
    cut: clock.Times


def closing_times(task: Task, labels: TaskTable, snapshot: Snapshot) -> clock.Times:
    """When each label of ``labels`` was known ``[n]``: at the end of its window; with its row in a row-level task, or
    when the columns of that row that it is read from were. NEVER where it reads other columns that are known later than
    their row, or over such keys: nobody says when the last of them was."""
    nodes = [node for node in walk(task.target) if isinstance(node, Aggregate | ColumnRef | RowRef)]
    read = {(node.table, node.column) for node in nodes if isinstance(node, ColumnRef)} | task.label_columns
    read |= {(relation.child, name) for node in nodes for relation in node.relations for name in relation.key}
    if task.sql is not None:  # which of all columns it reads is not told
        read = {(table.name, column.name) for table in snapshot.schema.tables.values() for column in table.columns}
    late = {cell for cell in read if snapshot.schema[cell[0]].told_by(snapshot.schema[cell[0]][cell[1]])}
    if late - task.label_columns:
        return np.full(len(labels), clock.NEVER)
    if task.row_level or task.horizon is None:
        cells = Cells(task, snapshot, clock.NEVER)
        known = (cells.known(table, snapshot.schema[table][column])[labels.entity] for table, column in late)
        return np.asarray(np.maximum.reduce([labels.time, *known]))
    anchors, place = np.unique(labels.time, return_inverse=True)
    closed = np.array([task.horizon.after(int(anchor)) for anchor in anchors], np.int64)
    return closed[place]


@dataclass(frozen=True, slots=True)
class Origin:
    """For each seed a row of ``table``, -1 where it has none. ``path`` leads there from the entity, if keys do."""

    label: str
    table: str
    rows: Rows
    depth: int
    path: tuple[Relation, ...] | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """Rows of ``table`` that happen to the origin's rows ``owner`` ``[rows]``, each known at ``time`` ``[rows]``."""

    origin: Origin
    label: str
    table: str
    owner: npt.NDArray[np.integer]
    time: clock.Times
    over: tuple[Relation, ...]

    @property
    def depth(self) -> int:
        """How many keys lead from the entity to the stream's rows."""
        return self.origin.depth + len(self.over)


class Walk:
    """The keys that may be followed from the seeds of a task. With ``labels``, earlier ones are streams too, unless the
    task hides them.

    ``cut`` ``[n]`` µs is the newest time at which another row, or a key known later than its row, may have become
    known, or a row have ended: in a row-level task strictly before the seed's.
    """

    def __init__(self, task: Task, snapshot: Snapshot, seeds: Seeds, labels: TaskTable | None, cells: Cells) -> None:
        self.task, self.snapshot, self.schema, self.seeds = task, snapshot, snapshot.schema, seeds
        self.labels, self.cells = labels, cells
        self.cut = seeds.cut - int(task.row_level)
        self.closed, self.label_keys = set(task.closed_keys(self.schema)), set(task.label_keys(self.schema))

    def keys_of(self, child: str) -> list[Relation]:
        """The foreign keys of ``child`` that may be followed."""
        return [relation for relation in self.schema.relations_from(child) if relation not in self.closed]

    def children_of(self, parent: str) -> list[Relation]:
        """The foreign keys to ``parent`` that may be followed."""
        return [relation for relation in self.schema.relations_to(parent) if relation not in self.closed]

    def parents(self, origin: Origin, hops: int) -> list[Origin]:
        """The rows that the origin's rows refer to, over so many keys, nearest first."""
        found, at = [], [origin]
        for _ in range(hops):
            at = [
                self.parent(below, relation)
                for below in at
                for relation in self.keys_of(below.table)
                if below is not origin or relation not in self.label_keys
            ]
            found.extend(at)
        return found

    def parent(self, below: Origin, relation: Relation) -> Origin:
        """The rows that the rows of ``below`` refer to, where at the seeds' cuts they and the key were known and they
        had not ended. What a row-level seed's own row refers to was known with it, and so was what a row of its
        time among that refers to, but for what the label is read from."""
        rows = gather(self.snapshot.parent(relation), below.rows, -1).astype(np.int64)
        rows[gather(self.snapshot.linked(relation), below.rows, clock.NEVER) > self.cut] = -1
        older = gather(self.snapshot.time(below.table), below.rows, clock.ALWAYS) <= self.cut
        if relation in self.label_keys:
            rows[~older] = -1
        cut = self.seeds.cut if below.path == () else np.where(older, self.cut, self.seeds.cut)
        rows[gather(self.snapshot.time(relation.parent), rows, clock.NEVER) > cut] = -1
        until = self.schema[relation.parent].valid_until
        if until is not None:
            rows[gather(self.cells.instants(relation.parent, until), rows, clock.NEVER) <= self.cut] = -1
        path = None if below.path is None else (*below.path, relation)
        return Origin(f"{below.label}{'+'.join(relation.key)}.", relation.parent, rows, below.depth + 1, path)

    def streams(self, origin: Origin) -> Iterator[Stream]:
        """The origin's earlier labels, children, and children's children."""
        if self.labels is not None and origin.path is not None and self.labelled(origin.path):
            owner: npt.NDArray[np.integer] = self.labels.entity
            known = closing_times(self.task, self.labels, self.snapshot)
            for relation in origin.path:
                known = np.maximum(known, gather(self.linked(relation), owner, clock.NEVER))
                owner = gather(self.snapshot.parent(relation), owner, -1)
            yield Stream(origin, f"{origin.label}label", "", owner, known, ())
        for relation in self.children_of(origin.table):
            child, times = relation.child, self.linked(relation)
            label = f"{origin.label}{child}[{'+'.join(relation.key)}]"
            owner = self.snapshot.parent(relation)
            yield Stream(origin, label, child, owner, times, (relation,))
            for further in self.children_of(child):
                rows = self.snapshot.parent(further)
                known = np.maximum(self.linked(further), gather(times, rows, clock.NEVER))
                deeper = f"{label}←{further.child}[{'+'.join(further.key)}]"
                yield Stream(origin, deeper, further.child, gather(owner, rows, -1), known, (relation, further))

    def linked(self, relation: Relation) -> clock.Times:
        """When each child row and its key were known."""
        return np.maximum(self.snapshot.time(relation.child), self.snapshot.linked(relation))

    def labelled(self, path: tuple[Relation, ...]) -> bool:
        """Whether earlier labels are a stream of what ``path`` leads to: in a row-level task only of what rows refer
        to, and only where the label's columns may be read on older rows."""
        columns = self.task.label_columns
        return not self.task.row_level or bool(path and columns and not columns & self.task.hidden)
