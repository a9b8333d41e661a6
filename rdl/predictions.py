"""Predictions as a table: for the seeds of a split, or as of a time for entities that are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from rdl import labels
from rdl.clock import to_us
from rdl.errors import ConfigError
from rdl.predict import tabulate
from rdl.query.task import Split
from rdl.run import Run


def predictions(
    run: Run,
    *,
    split: Split | str | None = None,
    at: object = None,
    entities: Sequence[object] | pa.Table | None = None,
) -> pa.Table:
    """What :meth:`rdl.pipeline.FittedRun.predict` says."""
    task, snapshot = run.task, run.snapshot
    if split is not None and (at is not None or entities is not None):
        raise ConfigError("a split has its own times and entities", hint="give either a split, or at and entities.")
    if split is not None:
        part = run.table.of(split)
        rows, times, values = part.entity, part.time, run.predict_split(split)
    else:
        moment = to_us(at) if at is not None else labels.newest(task, snapshot)
        known = None if entities is None else snapshot.row_of(task.entity, entities)
        if known is not None and (known < 0).any():
            missing = int((known < 0).sum())
            raise ConfigError(f"{missing} of {len(known)} entities are not in {task.entity!r}")
        rows = labels.seeds_at(task, snapshot, moment, known)
        own = task.row_level and snapshot.schema[task.entity].time is not None
        times = snapshot.time(task.entity)[rows] if own else np.full(len(rows), moment, np.int64)
        values = run.predict_at(rows, times)
    lines, columns = tabulate(run.objective, values)
    return labels.keyed(task, snapshot, rows[lines], times[lines], columns)
