"""Where labels come from: windows at anchors, the entity's own rows, or a RelBench manifest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl import clock
from rdl.errors import RdlError
from rdl.labels.manifests import from_manifest
from rdl.labels.running import Found, extent, refuse, run, run_at
from rdl.labels.targets import known
from rdl.query.anchors import cut_at_shares, lay_anchors, split_at, split_hashed
from rdl.query.expressions import aggregates
from rdl.query.sql import Compiler
from rdl.query.task import Task
from rdl.snapshot import Snapshot

Splits = npt.NDArray[np.int8]

_SPLIT_WORDS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2}


def find(task: Task, snapshot: Snapshot) -> Found:
    """The labels of ``task``. Raises QueryError where they cannot be computed."""
    if task.sql is not None:
        return from_manifest(task, task.sql, snapshot)
    return _from_rows(task, snapshot) if task.row_level else _from_windows(task, snapshot)


def _from_windows(task: Task, snapshot: Snapshot) -> Found:
    """Labels of a target over windows: every eligible entity at every anchor."""
    tables = sorted({window.table for window in aggregates(task.target, nested=False)})
    start, end = extent(snapshot, tables)
    timeline = lay_anchors(task, start, end)
    if not timeline.all:
        raise refuse(
            f"no window is covered: {', '.join(tables)} hold data from {clock.format_time(start)} to "
            f"{clock.format_time(end)}, windows reach {task.horizon}", "no-rows", "use a shorter window, or SPLIT AT.",
        )  # fmt: skip
    sql, loose = (compiled(task, snapshot, timeline.all, loose=loose) for loose in (False, True))
    entity, time, target = run_at(snapshot, loose, task, timeline.all)
    counts = (len(timeline.train), len(timeline.val), len(timeline.test))
    return Found(
        sql, entity, time, target, split_at(time, timeline.val_cut, timeline.test_cut),
        timeline.val_cut, timeline.test_cut, counts, timeline.censored,
    )  # fmt: skip


def _from_rows(task: Task, snapshot: Snapshot) -> Found:
    """Labels that stand in the entity's own rows: each at its own time, without times all at the newest one."""
    timed = snapshot.schema[task.entity].time is not None
    newest = extent(snapshot, list(snapshot.schema.tables), anything=True)[1]
    sql = compiled(task, snapshot, None if timed else (newest,), loose=False)
    entity, time, target = run(snapshot, sql)
    untimed = int((snapshot.time(task.entity) == clock.NEVER).sum()) if timed else 0
    warnings = [f"{untimed:,} rows of {task.entity} have no time, so nobody asks about them"] if untimed else []
    if task.split_by is not None:
        split = _split_words(snapshot, task.split_by)[entity]
        if others := int((split < 0).sum()):
            column = ".".join(task.split_by)
            warnings.append(f"{others:,} rows are in no split: {column} says neither train, val nor test")
        val_cut, test_cut = (_begin(time, split, number) for number in (1, 2))
        early = (time < val_cut) & (split > 0)
        if early.any():
            share = early.sum() / (split > 0).sum()
            warnings.append(
                f"{share:.1%} of the rows of validation and test are not later than all of training: what is learnt of "
                "the columns includes their labels"
            )
        return Found(sql, entity, time, target, split, val_cut, test_cut, warnings=warnings)
    if not timed:
        warning = f"{task.entity} has no time: its rows are split at random, 80/10/10, and all data count as known"
        split = split_hashed(entity)
        return Found(sql, entity, time, target, split, newest, newest, warnings=[warning])
    val_cut, test_cut = task.split_at or cut_at_shares(time[known(task.kind, target)])
    split = split_at(time, val_cut, test_cut)
    return Found(sql, entity, time, target, split, val_cut, test_cut, warnings=warnings)


def compiled(task: Task, snapshot: Snapshot, anchors: tuple[int, ...] | None, *, loose: bool) -> str:
    """The SQL of the task's labels at ``anchors``. Raises QueryError."""
    try:
        return Compiler(task, snapshot.schema, anchors, loose=loose).labels()
    except RdlError as error:
        raise refuse(error.message, "anchors", error.hint) from None
    except (ValueError, OverflowError):
        raise refuse("a window leaves the calendar", "anchors", "use -INF for a window without a start.") from None


def _begin(time: npt.NDArray[np.int64], split: Splits, number: int) -> int:
    """When the split ``number`` begins that a column says: at its first seed or, where those before it go on after
    that, once they have ended."""
    first = int(time[split == number].min(initial=clock.NEVER))
    last = int(time[(split >= 0) & (split < number)].max(initial=clock.ALWAYS))
    return first if last <= first < clock.NEVER else last + 1


def _split_words(snapshot: Snapshot, cell: tuple[str, str]) -> Splits:
    """The split that a column's words say, by row; -1 for any other word."""
    words = snapshot.arrow(cell[0])[cell[1]].cast(pa.string()).combine_chunks().dictionary_encode()
    codes = [_SPLIT_WORDS.get(str(word).strip().casefold(), -1) for word in words.dictionary.to_pylist()]
    by_code: Splits = np.array([*codes, -1], np.int8)
    split: Splits = by_code[words.indices.fill_null(len(codes)).to_numpy(zero_copy_only=False)]
    return split
