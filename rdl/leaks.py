"""Columns that tell the label too well: one of them alone, read when the seed is asked about, nearly says the answer.

A column is judged by what it says of seeds it was not fitted on: the seeds are halved at random, each value of the
column gets the mean label (the commonest class) of one half, and is held against the labels of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rdl.cells import Cells, gather, to_numbers
from rdl.query.task import Kind, Task, TaskTable
from rdl.schema import Column, Relation, Stype
from rdl.snapshot import Snapshot

#: So many seeds are looked at, at most, and fewer than the latter say nothing.
SEEDS, ENOUGH = 50_000, 200
#: A column is suspected that leaves this share of the error, at most, which is made without it.
LEFT = 0.2
#: Numbers of more different values are put into so many bins, and so many classes are looked at one by one.
BINS, CLASSES = 64, 10

Codes = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]

_READ = tuple(stype for stype in Stype if stype not in (Stype.identifier, Stype.unsupported))


@dataclass(frozen=True, slots=True)
class Teller:
    """A column of ``table``, the seeds' own or a parent reached over ``relation``, that alone explains the share
    ``explained`` of what a constant does not."""

    table: str
    column: str
    relation: Relation | None
    explained: float

    def __str__(self) -> str:
        over = f", reached over {self.relation}," if self.relation else ""
        return f"{self.table}.{self.column}{over} tells the label almost alone ({self.explained:.1%} of it)"


def tellers(task: Task, table: TaskTable, snapshot: Snapshot) -> list[Teller]:
    """The input columns of the entity and its parents that tell the labels of ``table`` too well alone, surest first.

    Of binary, multiclass and regression tasks; of others none is looked for.
    """
    if task.kind not in (Kind.binary, Kind.multiclass, Kind.regression) or len(table) < ENOUGH:
        return []
    chosen = table.take(np.unique(np.linspace(0, len(table) - 1, min(len(table), SEEDS)).astype(np.int64)))
    cells = Cells(task, snapshot, table.val_cut)
    found = []
    for name, relation, rows in _reached(task, chosen, snapshot):
        for column in cells.inputs(name, _READ, masked=relation is None or name == task.entity):
            readable = (rows >= 0) & (gather(cells.known(name, column), rows, 0) <= chosen.time)
            codes = _codes(snapshot, name, column, np.where(readable, rows, -1))
            explained = _explained(task.kind, chosen.target, codes)
            if explained >= 1 - LEFT:
                found.append(Teller(name, column.name, relation, explained))
    return sorted(found, key=lambda teller: -teller.explained)


def _reached(task: Task, table: TaskTable, snapshot: Snapshot) -> Iterator[tuple[str, Relation | None, Rows]]:
    """The entity's own rows, and over each of its keys those of the parent, -1 where there is none."""
    yield task.entity, None, table.entity
    for relation in snapshot.schema.relations_from(task.entity):
        yield relation.parent, relation, snapshot.parent(relation)[table.entity].astype(np.int64)


def _codes(snapshot: Snapshot, table: str, column: Column, rows: Rows) -> Codes:
    """What a column says of each seed, as small numbers: 0 where it is not readable, 1 where NULL."""
    taken = snapshot.arrow(table)[column.name].take(pa.array(np.maximum(rows, 0)))
    codes = np.full(len(rows), 1, np.int64)
    if pa.types.is_nested(taken.type) or column.stype in (Stype.text_embedded, Stype.embedding):
        codes[taken.is_valid().to_numpy()] = 2
    elif column.stype in (Stype.numerical, Stype.timestamp):
        values = to_numbers(pc.cast(taken, pa.int64()) if pa.types.is_timestamp(taken.type) else taken)
        known = np.isfinite(values)
        edges = np.unique(values[known])
        if len(edges) > BINS:
            edges = np.unique(np.quantile(values[known], np.arange(BINS) / BINS))
        codes[known] = 1 + np.searchsorted(edges, values[known], side="right")
    else:
        coded = taken.combine_chunks().dictionary_encode()
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 2
    codes[rows < 0] = 0
    return codes


def _explained(kind: Kind, target: npt.NDArray[np.float64], codes: Codes) -> float:
    """The share of a constant's error on one half of the seeds that ``codes`` take away, fitted on the other half; of
    several classes, in telling the one that is told best from all the others."""
    order = np.random.default_rng(0).permutation(len(codes))
    fitted, judged = order[::2], order[1::2]
    size = int(codes.max()) + 1
    counts = np.bincount(codes[fitted], minlength=size)

    def gain(value: npt.NDArray[np.float64], *, rounded: bool) -> float:
        """How much better the mean of ``value`` by code guesses it than the mean of all, in squares."""
        overall = value[fitted].mean()
        means = np.where(counts > 0, np.bincount(codes[fitted], value[fitted], size) / np.maximum(counts, 1), overall)
        if rounded:
            means, overall = np.round(means), np.round(overall)
        before = np.square(value[judged] - overall).sum()
        return float(1 - np.square(value[judged] - means[codes[judged]]).sum() / before) if before > 0 else 0.0

    if kind is Kind.regression:
        with np.errstate(all="ignore"):  # squares of huge numbers
            return float(np.nan_to_num(gain(target, rounded=False)))
    classes, labels = np.unique(target, return_inverse=True)
    commonest = np.argsort(-np.bincount(labels), kind="stable")[: 1 if len(classes) == 2 else CLASSES]
    return max(gain((labels == number).astype(np.float64), rounded=True) for number in commonest)
