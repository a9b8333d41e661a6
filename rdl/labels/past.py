"""Earlier labels as inputs: those whose windows had closed, each from what was known when its window closed alone."""

from __future__ import annotations

import numpy as np

from rdl.labels.manifests import closed_labels
from rdl.labels.running import extent, run_at
from rdl.labels.sources import compiled
from rdl.query.anchors import history_anchors
from rdl.query.expressions import Aggregate, ColumnRef, RowRef, aggregates, walk
from rdl.query.task import Kind, Task, TaskTable
from rdl.schema import Schema
from rdl.snapshot import Snapshot

#: Labels of at most so many anchors before validation are remembered; fewer where they are more than so many seeds.
MOST_ANCHORS, MOST_SEEDS = 400, 20_000_000


def history(task: Task, snapshot: Snapshot, val_cut: int, until_us: int) -> TaskTable | None:
    """The labels of ``task`` whose windows had closed by ``until_us``, or None where its labels are no numbers, stand
    in rows, were given and nobody says how they are made, or are read over rows that may be known only later.

    Their anchors are whole steps from ``val_cut``, wherever the data end, and each label is computed from the rows
    known at the end of its window: two databases that hold the same rows until then tell the same. Those whose windows
    had closed at ``val_cut`` are the split 0, later ones 1. Raises QueryError.
    """
    told = task.sql is not None or (task.target is not None and _known_in_time(task, snapshot.schema))
    if task.kind not in (Kind.binary, Kind.regression) or task.row_level or task.horizon is None or not told:
        return None
    read = {window.table for window in aggregates(task.target, nested=False)}
    start, _ = extent(snapshot, sorted(read or snapshot.schema.tables), anything=True)
    # What is left out does not depend on what came after val_cut.
    entities = int(np.searchsorted(snapshot.time(task.entity), val_cut, side="right"))
    most = min(MOST_ANCHORS, max(1, MOST_SEEDS // max(1, entities)))
    anchors = history_anchors(task, val_cut, start, max(until_us, val_cut), most)
    if not anchors:
        return None
    if task.sql is not None:
        entity, time, target = closed_labels(task, task.sql, snapshot, anchors)
    else:
        entity, time, target = run_at(snapshot, compiled(task, snapshot, anchors, loose=True), task, anchors)
    known = target.cast("float64").to_numpy()
    kept = np.isfinite(known)
    open_at_cut = np.array([task.horizon.after(anchor) > val_cut for anchor in anchors])
    later = open_at_cut[np.searchsorted(np.array(anchors), time[kept])]
    return TaskTable(entity[kept], time[kept], later.astype(np.int8), known[kept], val_cut, val_cut)


def _known_in_time(task: Task, schema: Schema) -> bool:
    """Whether a label is read from rows that are known by the end of its window, whatever the data. What a row refers
    to may come later than the row itself, unless it has no time, or is the row at hand that a window is of."""
    for expression in (task.target, task.where, task.assuming):
        for node in walk(expression):
            if isinstance(node, Aggregate):
                referred = node.relations[:-1]
            elif isinstance(node, ColumnRef | RowRef):
                referred = node.relations
            else:
                continue
            if any(schema[relation.parent].time is not None for relation in referred):
                return False
    return True
