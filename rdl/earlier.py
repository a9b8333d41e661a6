"""Earlier labels of a task as a stream: whose they are, and when each was known. What a baseline may read of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rdl import clock
from rdl.query.expressions import aggregates
from rdl.query.task import Kind, Task, TaskTable
from rdl.query.timeframes import timeframes
from rdl.ranges import ALL, Frame, Numbers, Ranges, fit
from rdl.snapshot import Snapshot
from rdl.streams import closing_times

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

_FRAMES = (ALL, Frame("last 5", rows=5), Frame("last 20", rows=20))


class EarlierLabels:
    """The labels of a table, each ``known`` ``[labels]`` once its window has closed
    (:func:`rdl.streams.closing_times`), by ``owner`` ``[labels]``, their entity; a forecast's are the timeframes, each
    of them known once it has closed.

    The rows of a row-level task have one label each: there the owner is the row's parent over the table's first foreign
    key (the user's clicks), -1 where the label columns are hidden or the table has no foreign key, and a label is read
    strictly later than it was known, as both keys are.
    """

    def __init__(self, task: Task, snapshot: Snapshot, table: TaskTable) -> None:
        self.owner = self._asked = table.entity
        self.known = closing_times(task, table, snapshot)
        self._strictly, self._linked = task.row_level, np.zeros(0, np.int64)
        if task.row_level:
            schema = snapshot.schema
            closed = (*task.label_keys(schema), *task.closed_keys(schema))
            relations = [relation for relation in schema.relations_from(task.entity) if relation not in closed]
            readable = bool(relations and task.label_columns and not task.label_columns & task.hidden)
            self.owner = self._asked = np.full(len(table), -1, np.int64)
            self._linked = self.known
            if readable:
                self.owner = self._asked = snapshot.parent(relations[0])[table.entity].astype(np.int64)
                self._linked = snapshot.linked(relations[0])[table.entity].astype(np.int64)
                self.known = np.maximum(self.known, self._linked)
        elif task.kind is Kind.forecast:
            self.owner = np.repeat(table.entity, table.target.shape[1])
            self.known = _closing_frames(task, table, self.known)

    def ranges(self, there: npt.NDArray[np.bool_], seeds: Rows | slice, cuts: Rows) -> Ranges:
        """The labels that are ``there`` ``[labels]`` as ``seeds`` of the table see them at ``cuts`` ``[seeds]`` µs."""
        asked = self._asked[seeds]
        if self._strictly:
            cuts = cuts - 1
            asked = np.where(self._linked[seeds] <= cuts, asked, -1)
        return Ranges(np.where(there, self.owner, -1), self.known, asked, cuts)


def history(
    task: Task, snapshot: Snapshot, table: TaskTable, seeds: Rows, cuts: Rows, most_classes: int
) -> Iterator[tuple[str, Floats32]]:
    """Columns by name of what ``seeds`` of ``table`` know at ``cuts`` of their earlier labels: the last one, and means
    over the last ones; for each class whether it was there. Where values lie is learnt from the training labels."""
    labels = EarlierLabels(task, snapshot, table)
    train = (table.split == 0) & (table.time <= table.fitted_at_us)
    if task.kind is Kind.forecast:
        streams, train = {"timeframe": table.target.ravel()}, np.repeat(train, table.target.shape[1])
    elif task.kind is Kind.multiclass:
        streams = {f"class {n}": (table.target == n) * 1.0 for n in range(min(len(table.classes), most_classes))}
    else:
        has = table.dense()[:, :most_classes].astype(np.float64)
        streams = {f"class {n}": one for n, one in enumerate(has.T)}
    there = np.isfinite(next(iter(streams.values())))
    ranges = labels.ranges(there, seeds, cuts)
    for name, values in streams.items():
        lies = fit(values[train])
        if lies is not None:
            numbers = Numbers(ranges, values, lies)
            yield f"label {name} last", numbers.last().astype(np.float32)
            for frame in _FRAMES:
                yield f"label {name} mean, {frame.name}", numbers.mean(frame).astype(np.float32)


def _closing_frames(task: Task, table: TaskTable, known: Rows) -> Rows:
    """When each timeframe of each seed had closed ``[seeds × timeframes]``; NEVER where that is not told."""
    if task.target is None or task.stride is None:
        return np.repeat(known, table.target.shape[1])
    anchors, place = np.unique(table.time, return_inverse=True)
    ends = [
        [window.end for window in aggregates(frame, nested=False) if window.end is not None]
        for frame in timeframes(task.target, task.stride, table.target.shape[1])
    ]
    closed = np.array([[max(e.after(int(t)) for e in frame) for frame in ends] for t in anchors], np.int64)
    return np.where(known[:, None] == clock.NEVER, clock.NEVER, closed[place]).ravel()
