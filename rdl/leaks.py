"""Columns that tell the label too well: one of them alone, read when the seed is asked about, nearly says the answer.

A column is judged by what it says of entities it was not fitted on: these are halved at random, each value of the
column gets the mean label (the commonest class) of one half, and is held against the labels of the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rdl.cells import Cells, gather
from rdl.columns import as_numbers
from rdl.query.expressions import ColumnRef, walk
from rdl.query.task import Kind, Task, TaskTable
from rdl.ranges import Ranges
from rdl.schema import Column, Relation, Stype
from rdl.snapshot import Snapshot

#: So many seeds are looked at, at most, and fewer than the latter say nothing.
SEEDS, ENOUGH = 50_000, 200
#: A column is suspected that leaves this share of the error, at most, which is made without it.
LEFT = 0.2
#: Numbers of more different values are put into so many bins, and so many classes are looked at one by one.
BINS, CLASSES = 64, 10
#: So many of a row's own columns are looked at two by two, at most: those that explain most alone.
PAIRED = 12

Codes = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]

_READ = tuple(stype for stype in Stype if stype not in (Stype.identifier, Stype.unsupported))


@dataclass(frozen=True, slots=True)
class Teller:
    """A column of ``table`` that alone explains the share ``explained`` of what a constant does not.

    ``over`` leads there from the entity: from child to parent, but for the last relation where ``newest`` says that it
    is the newest child that tells.
    """

    table: str
    column: str
    over: tuple[Relation, ...]
    explained: float
    newest: bool = False

    def __str__(self) -> str:
        keys = f", reached over {', '.join(map(str, self.over))}," if self.over else ""
        newest = f" of the newest {self.table}" if self.newest else ""
        return f"{self.table}.{self.column}{newest}{keys} tells the label almost alone ({self.explained:.1%} of it)"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two columns of the seeds' own row, neither of which tells the label alone, that do so together."""

    columns: tuple[str, str]
    explained: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What was looked at: ``seeds`` seeds and ``columns`` columns, of which ``tellers`` tell too much, surest first,
    and so do ``pairs`` of those that do not alone."""

    tellers: tuple[Teller, ...]
    columns: int
    seeds: int
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True, slots=True)
class _Origin:
    """For each seed a row of ``table``, -1 where it has none."""

    table: str
    over: tuple[Relation, ...]
    rows: Rows
    newest: bool = False


def tellers(task: Task, table: TaskTable, snapshot: Snapshot) -> list[Teller]:
    """The input columns of the entity and its parents that tell the labels of ``table`` too well alone, surest first.

    Of binary, multiclass and regression tasks; of others none is looked for.
    """
    if task.kind not in (Kind.binary, Kind.multiclass, Kind.regression):
        return []
    return list(judge(task, table, snapshot, far=False).tellers)


def judge(task: Task, table: TaskTable, snapshot: Snapshot, *, far: bool = True) -> Judged:
    """The columns that tell the labels of ``table`` too well alone, surest first, and how many were looked at.

    Looked at are the input columns of the entity and its parents; where ``far``, those of their parents too, and of the
    newest child of each of them that was known at the seed's time, less the columns that the target itself reads: that
    what was goes on is no leak; and of the entity's own columns those that tell most, two by two. A forecast is judged
    by the sum of its timeframes, a ranking where each seed has one row; of other lists, and of too few seeds, nothing
    is looked at.
    """
    chosen = table.take(np.unique(np.linspace(0, len(table) - 1, min(len(table), SEEDS)).astype(np.int64)))
    found = _target(task.kind, chosen)
    if found is None or len(chosen) < ENOUGH:
        return Judged((), 0, 0)
    kind, target = found
    cells, read = Cells(task, snapshot, table.fitted_at_us), _read_by(task)
    looked, told, own = 0, list[Teller](), list[tuple[float, str, Codes]]()
    halves = halves_of(chosen.entity)
    for origin in _origins(task, chosen, snapshot, far=far):
        for column in cells.inputs(origin.table, _READ, masked=not origin.over or origin.table == task.entity):
            if origin.newest and (origin.table, column.name) in read:
                continue
            looked += 1
            readable = cells.readable(origin.table, column, origin.rows, chosen.time)
            codes = codes_of(snapshot, origin.table, column, np.where(readable, origin.rows, -1))
            explained = explain(kind, target, codes, halves)
            if explained >= 1 - LEFT:
                told.append(Teller(origin.table, column.name, origin.over, explained, origin.newest))
            elif not origin.over:
                own.append((explained, column.name, codes))
    pairs = _pairs(kind, target, own, halves) if far else []
    surest = sorted(told, key=lambda teller: -teller.explained)
    return Judged(tuple(surest), looked, len(chosen), tuple(sorted(pairs, key=lambda pair: -pair.explained)))


def _pairs(
    kind: Kind, target: npt.NDArray[np.float64], own: list[tuple[float, str, Codes]], halves: tuple[Rows, Rows]
) -> Iterator[Pair]:
    """The pairs that tell the label, of the columns that say most of it."""
    best = sorted(own, key=lambda one: -one[0])[:PAIRED]
    for (_, first, codes), (_, second, others) in itertools.combinations(best, 2):
        _, both = np.unique(codes * (int(others.max()) + 1) + others, return_inverse=True)
        explained = explain(kind, target, both, halves)
        if explained >= 1 - LEFT:
            yield Pair((first, second), explained)


def _target(kind: Kind, table: TaskTable) -> tuple[Kind, npt.NDArray[np.float64]] | None:
    """The labels as one number or class a seed, and of which kind they then are; None where they are lists."""
    if kind is Kind.forecast:
        return Kind.regression, np.nansum(table.target, axis=1)
    if table.indptr is None:
        return kind, np.asarray(table.target, np.float64)
    if len(table.target) == len(table) and (np.diff(table.indptr) == 1).all():
        return Kind.multiclass, np.asarray(table.target, np.float64)
    return None


def _read_by(task: Task) -> set[tuple[str, str]]:
    """The (table, column) pairs that the target reads."""
    found = {(node.table, node.column) for node in walk(task.target) if isinstance(node, ColumnRef)}
    return found | task.label_columns


def _origins(task: Task, table: TaskTable, snapshot: Snapshot, *, far: bool) -> Iterator[_Origin]:
    """The entity's own rows, and over each of its keys those of the parent; where ``far`` theirs too, and the newest
    child of each."""
    schema = snapshot.schema

    def parents(below: _Origin) -> list[_Origin]:
        return [
            _Origin(
                relation.parent, (*below.over, relation),
                gather(snapshot.parent(relation), below.rows, -1).astype(np.int64),
            )
            for relation in schema.relations_from(below.table)
            if relation not in closed
        ]  # fmt: skip

    closed = (*task.label_keys(schema), *task.closed_keys(schema))
    entity = _Origin(task.entity, (), table.entity)
    first = parents(entity)
    yield from (entity, *first)
    if not far:
        return
    for origin in first:
        yield from parents(origin)
    cut = table.time - 1 if task.row_level else table.time
    for origin in (entity, *first):
        for relation in schema.relations_to(origin.table):
            children = Ranges(snapshot.parent(relation), snapshot.time(relation.child), origin.rows, cut)
            yield _Origin(relation.child, (*origin.over, relation), children.newest(), newest=True)


def codes_of(snapshot: Snapshot, table: str, column: Column, rows: Rows) -> Codes:
    """What a column says of each seed, as small numbers: 0 where it is not readable, 1 where NULL."""
    if not snapshot.num_rows[table]:
        return np.zeros(len(rows), np.int64)
    taken = snapshot.arrow(table)[column.name].take(pa.array(np.maximum(rows, 0)))
    codes = np.full(len(rows), 1, np.int64)
    if pa.types.is_nested(taken.type) or column.stype in (Stype.text_embedded, Stype.embedding):
        codes[taken.is_valid().to_numpy()] = 2
    elif column.stype in (Stype.numerical, Stype.timestamp):
        values = as_numbers(pc.cast(taken, pa.int64()) if pa.types.is_timestamp(taken.type) else taken)
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


def halves_of(entity: Rows) -> tuple[Rows, Rows]:
    """The seeds of one half of the entities, drawn at random, and those of the other: what is learnt of an entity must
    not be judged on itself."""
    entities, owner = np.unique(entity, return_inverse=True)
    side = np.random.default_rng(0).permutation(len(entities)) % 2
    return np.flatnonzero(side[owner] == 0), np.flatnonzero(side[owner] == 1)


def explain(
    kind: Kind, target: npt.NDArray[np.float64], codes: Codes, halves: tuple[Rows, Rows] | None = None
) -> float:
    """The share of a constant's error on one half of the seeds that ``codes`` take away, fitted on the other half; of
    several classes, in telling the one that is told best from all the others."""
    fitted, judged = halves or halves_of(np.arange(len(codes)))
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
