"""Parts of the seeds by what they are and by how much past they have, to see where a model errs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from rdl.predict import seeds_of
from rdl.query.task import TaskTable
from rdl.run import Run
from rdl.sampler import Sampler
from rdl.schema import Stype

#: Columns shown, and values of one, at most; seeds of a segment, at least.
MOST_COLUMNS, MOST_VALUES, LEAST_SEEDS = 4, 8, 20
#: Seeds whose past is counted, at most.
MOST_SEEDS = 50_000


@dataclass(frozen=True, slots=True)
class Segment:
    """The seeds ``rows`` int64 ``[n]`` of a part, which have the same ``value`` of ``by``."""

    by: str
    value: str
    rows: npt.NDArray[np.int64]


def segments(run: Run, part: TaskTable) -> list[Segment]:
    """The segments of ``part`` by its past and by its entity's columns of few values; those of few seeds are left out,
    and with them what has one segment only."""
    found: list[Segment] = []
    for group in (list(_by_past(run, part)), *(list(group) for group in _by_column(run, part))):
        kept = [one for one in group if len(one.rows) >= LEAST_SEEDS]
        found += kept if len(kept) > 1 else []
    return found


def _by_past(run: Run, part: TaskTable) -> Iterator[Segment]:
    """None, few (up to the median of those that have any) and many rows that refer to the entity and were known."""
    if len(part) > MOST_SEEDS:
        return
    _, sampler = run.packed()
    task = run.task
    hidden = task.label_keys(run.snapshot.schema)
    seeds = seeds_of(part, task.entity, run.config.regime, strictly=task.row_level, hidden=hidden)
    subgraph = Sampler(sampler.graph, (1,))(seeds)
    count = np.zeros(len(part), np.int64)
    for type_, degrees in subgraph.degrees.items():
        if type_.target == task.entity:
            count += degrees[: len(part)].numpy()
    if not count.any():
        return
    middle = int(np.median(count[count > 0]))
    named = {
        "none": count == 0,
        f"1 to {middle:,}": (count > 0) & (count <= middle),
        f"over {middle:,}": count > middle,
    }
    for value, mask in named.items():
        yield Segment("past rows", value, np.flatnonzero(mask))


def _by_column(run: Run, part: TaskTable) -> Iterator[Iterator[Segment]]:
    """The entity's categories, of columns that are an input and were known with the row."""
    task, table = run.task, run.snapshot.schema[run.task.entity]
    rows = run.snapshot.arrow(task.entity)
    shown = 0
    for column in table.columns:
        cell = (table.name, column.name)
        if column.stype is not Stype.categorical or table.told_by(column) or cell in task.hidden | task.label_columns:
            continue
        words = pc.fill_null(pc.cast(rows.column(column.name).take(part.entity), "string"), "NULL")
        codes = words.combine_chunks().dictionary_encode()
        if not 1 < len(codes.dictionary) <= MOST_VALUES or shown == MOST_COLUMNS:
            continue
        shown += 1
        numbers = codes.indices.to_numpy()
        yield (
            Segment(column.name, value, np.flatnonzero(numbers == number))
            for number, value in sorted(enumerate(codes.dictionary.to_pylist()), key=lambda one: one[1])
        )
