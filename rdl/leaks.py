"""Columns that tell the label too well: one of them alone, read when the seed is asked about, nearly says the answer.

A column is judged by what it says of entities it was not fitted on: these are halved at random, each value of the
column gets the mean label of one half, and is held against the labels of the other. Numbers are judged by their ranks,
so that neither a few huge ones nor their absence hides a copy; of classes, and of what lists hold, the commonest are
told from all others one by one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import rankdata

from rdl import clock
from rdl.cells import Cells, gather
from rdl.columns import as_numbers
from rdl.query.expressions import ColumnRef, walk
from rdl.query.task import SPLITS, Kind, Split, Task, TaskTable
from rdl.ranges import Ranges
from rdl.schema import Column, Relation, Stype
from rdl.snapshot import Snapshot

#: So many seeds are looked at, at most, and fewer than the latter say nothing.
SEEDS, ENOUGH = 50_000, 200
#: A column is suspected that leaves this share of the error, at most, which is made without it.
LEFT = 0.2
#: Numbers of more different values are put into so many bins, and so many classes are looked at one by one.
BINS, CLASSES = 64, 10
#: What a constant gets wrong for fewer seeds of a half may be told by chance.
FEW = 5
#: So many of a row's own columns are looked at two by two, at most: those that explain most alone.
PAIRED = 12

Codes = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]

_READ = tuple(stype for stype in Stype if stype not in (Stype.identifier, Stype.unsupported))


@dataclass(frozen=True, slots=True)
class Teller:
    """A column of ``table`` that alone explains the share ``explained`` of what a constant does not, of all seeds or,
    where ``in_test``, of those of the test split.

    ``over`` leads there from the entity: from child to parent, but for the last relation where ``newest`` says that it
    is the newest child that tells. ``key`` is the foreign key that the column is a part of, where it is the key that
    tells: by which row it leads to or, where ``there``, by whether there is one.
    """

    table: str
    column: str
    over: tuple[Relation, ...]
    explained: float
    newest: bool = False
    key: Relation | None = None
    there: bool = False
    in_test: bool = False

    @property
    def subject(self) -> str:
        """What it is that tells, in words."""
        keys = f", reached over {', '.join(map(str, self.over))}," if self.over else ""
        if self.key is None:
            return f"{self.table}.{self.column}{f' of the newest {self.table}' if self.newest else ''}{keys}"
        if self.there:
            return f"whether {'any row refers to it by ' if self.newest else ''}{self.key}{keys}" + (
                "" if self.newest else " leads to a row"
            )
        return f"which row {self.key} leads to{keys}"

    def __str__(self) -> str:
        test = " in the test split" if self.in_test else ""
        return f"{self.subject} tells the label almost alone ({self.explained:.1%} of it{test})"


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
class Asked:
    """What is to be told of each seed: ``values`` float64 ``[seeds]`` each, one by one; ranks, or, where ``rounded``,
    0 and 1."""

    values: tuple[npt.NDArray[np.float64], ...]
    rounded: bool


@dataclass(frozen=True, slots=True)
class _Origin:
    """For each seed a row of ``table``, -1 where it has none."""

    table: str
    over: tuple[Relation, ...]
    rows: Rows
    newest: bool = False


def tellers(task: Task, table: TaskTable, snapshot: Snapshot) -> list[Teller]:
    """The inputs of the entity and its parents that tell the labels of ``table`` too well alone, surest first."""
    return list(judge(task, table, snapshot, far=False).tellers)


def judge(task: Task, table: TaskTable, snapshot: Snapshot, *, far: bool = True) -> Judged:
    """The columns that tell the labels of ``table`` too well alone, surest first, and how many were looked at.

    Looked at are the input columns of the entity and its parents, which rows its own keys lead to, and whether they
    lead to one; where ``far``, the parents of these too, and the newest child of each of them that was known at the
    seed's time, less the columns that the target itself reads and its own time: that what was goes on is no leak, nor
    how long ago it was; and of the entity's own columns those that tell most, two by two. A key by whose being there
    the label is told is accused, and nothing that is read over it. What is not known yet is judged like a value. The
    seeds of the test split are judged by themselves as well, for what is overwritten until the end tells the end best.
    Of too few seeds nothing is looked at.
    """
    chosen = table.take(np.unique(np.linspace(0, len(table) - 1, min(len(table), SEEDS)).astype(np.int64)))
    if len(chosen) < ENOUGH:
        return Judged((), 0, 0)
    court, cells, read = _Court(task.kind, chosen), Cells(task, snapshot, table.fitted_at_us), _read_by(task)
    looked, told, own = 0, list[Teller](), list[tuple[float, str, Codes]]()
    shut = set[tuple[Relation, ...]]()
    for origin in _origins(task, chosen, cells, far=far):
        if any(origin.over[:length] in shut for length in range(len(origin.over))):
            continue
        time = snapshot.schema[origin.table].time
        is_timed = origin.newest and time is not None
        own_time = time.column if time is not None and not time.through else None
        seen = origin.rows >= 0
        if origin.over and not is_timed:  # that a row with a time was there by then was known by then
            looked += 1
            seen &= gather(snapshot.time(origin.table), origin.rows, clock.NEVER) <= chosen.time
            if (verdict := court.judge(seen.astype(np.int64))).tells:
                told.append(_of_key(origin, verdict, snapshot, there=True))
                shut.add(origin.over)
                continue
        for column in cells.inputs(origin.table, _READ, masked=not origin.over or origin.table == task.entity):
            if origin.newest and ((origin.table, column.name) in read or column.name == own_time):
                continue
            looked += 1
            readable = cells.readable(origin.table, column, origin.rows, chosen.time)
            codes = codes_of(snapshot, origin.table, column, np.where(readable, origin.rows, -1))
            verdict = court.judge(codes, np.minimum(codes, 2), among=seen if is_timed else None)
            if verdict.tells:
                told.append(Teller(
                    origin.table, column.name, origin.over, verdict.explained, origin.newest, in_test=verdict.in_test
                ))  # fmt: skip
            elif not origin.over:
                own.append((verdict.explained, column.name, codes))
        if len(origin.over) == 1 and not origin.newest:
            looked += 1
            _, rows = np.unique(origin.rows, return_inverse=True)
            if (verdict := court.judge(rows)).tells:
                told.append(_of_key(origin, verdict, snapshot, there=False))
    pairs = _pairs(court, own) if far else []
    surest = sorted(told, key=lambda teller: -teller.explained)
    return Judged(tuple(surest), looked, len(chosen), tuple(sorted(pairs, key=lambda pair: -pair.explained)))


@dataclass(frozen=True, slots=True)
class _Verdict:
    """How much codes explain, and whether it is of the test split alone."""

    explained: float
    in_test: bool

    @property
    def tells(self) -> bool:
        return self.explained >= 1 - LEFT


class _Court:
    """What is asked of the seeds of ``table``, and the halves that codes are fitted and judged on: of all seeds, and of
    those of the test split where they are enough."""

    def __init__(self, kind: Kind, table: TaskTable) -> None:
        self.asked, self.halves = _asked(kind, table), halves_of(table.entity)
        is_test = table.split == SPLITS.index(Split.test)
        self.sets = [self.halves]
        if ENOUGH <= is_test.sum() < len(table):
            self.sets.append((self.halves[0][is_test[self.halves[0]]], self.halves[1][is_test[self.halves[1]]]))

    def judge(self, *codes: Codes, among: npt.NDArray[np.bool_] | None = None) -> _Verdict:
        """The most that any of ``codes`` explains of the seeds, or of those ``among`` them; 0 where these are few."""
        found = [_Verdict(0.0, in_test=False)]
        for number, (one, other) in enumerate(self.sets):
            halves = (one, other) if among is None else (one[among[one]], other[among[other]])
            if min(map(len, halves)) >= ENOUGH // 4:
                found += [_Verdict(explain(self.asked, part, halves), number == 1) for part in codes]
        return max(found, key=lambda verdict: verdict.explained)


def _of_key(origin: _Origin, verdict: _Verdict, snapshot: Snapshot, *, there: bool) -> Teller:
    """The last key that leads to ``origin`` as the teller."""
    key = origin.over[-1]
    return Teller(
        key.child, _own_part(key, snapshot), origin.over[:-1], verdict.explained, origin.newest, key, there,
        verdict.in_test,
    )  # fmt: skip


def _own_part(key: Relation, snapshot: Snapshot) -> str:
    """A column of a key that is in no other key of its table, or the last one."""
    others = {name for one in snapshot.schema.relations_from(key.child) if one != key for name in one.key}
    return next((name for name in reversed(key.key) if name not in others), key.key[-1])


def _pairs(court: _Court, own: list[tuple[float, str, Codes]]) -> Iterator[Pair]:
    """The pairs that tell the label, of the columns that say most of it."""
    best = sorted(own, key=lambda one: -one[0])[:PAIRED]
    for (_, first, codes), (_, second, others) in itertools.combinations(best, 2):
        _, both = np.unique(codes * (int(others.max()) + 1) + others, return_inverse=True)
        explained = explain(court.asked, both, court.halves)
        if explained >= 1 - LEFT:
            yield Pair((first, second), explained)


def _asked(kind: Kind, table: TaskTable) -> Asked:
    """What the labels ask to be told: of a forecast, the sum of its timeframes and each of the first; of lists,
    whether the commonest elements are in them."""
    if kind is Kind.forecast:
        return numbers(np.nansum(table.target, axis=1), *np.nan_to_num(table.target[:, :CLASSES]).T)
    if kind is Kind.regression:
        return numbers(np.asarray(table.target, np.float64))
    values, of_value = np.unique(table.target, return_inverse=True)
    commonest = np.argsort(-np.bincount(of_value, minlength=1), kind="stable")[:CLASSES]
    if kind is Kind.binary:
        commonest = commonest[:1]
    owners = table.owners()
    is_in = np.zeros((len(commonest), len(table)))
    for place, number in enumerate(commonest if len(values) else ()):
        is_in[place, owners[of_value == number]] = 1
    return Asked(tuple(is_in), rounded=True)


def numbers(*columns: npt.NDArray[np.float64]) -> Asked:
    """Numbers to be told by their ranks."""
    return Asked(tuple(rankdata(column) for column in columns), rounded=False)


def _read_by(task: Task) -> set[tuple[str, str]]:
    """The (table, column) pairs that the target reads."""
    found = {(node.table, node.column) for node in walk(task.target) if isinstance(node, ColumnRef)}
    return found | task.label_columns


def _origins(task: Task, table: TaskTable, cells: Cells, *, far: bool) -> Iterator[_Origin]:
    """The entity's own rows, and over each of its keys those of the parent; where ``far`` theirs too, and the newest
    child of each."""
    snapshot, schema = cells.snapshot, cells.snapshot.schema

    def parent(below: _Origin, relation: Relation) -> _Origin:
        rows = gather(snapshot.parent(relation), below.rows, -1).astype(np.int64)
        rows[gather(snapshot.linked(relation), below.rows, clock.NEVER) > cut] = -1
        return _Origin(relation.parent, (*below.over, relation), rows)

    def parents(below: _Origin) -> list[_Origin]:
        keys = [relation for relation in schema.relations_from(below.table) if relation not in closed]
        return [parent(below, relation) for relation in keys]

    shut = task.closed_keys(schema)
    closed = (*task.label_keys(schema), *shut)
    cut = table.time - 1 if task.row_level else table.time
    entity = _Origin(task.entity, (), table.entity)
    first = parents(entity)
    yield from (entity, *first)
    if not far:
        return
    for origin in first:
        yield from parents(origin)
    for origin in (entity, *first):
        for relation in schema.relations_to(origin.table):
            if relation in shut:
                continue
            known = np.maximum(snapshot.time(relation.child), snapshot.linked(relation))
            children = Ranges(snapshot.parent(relation), known, origin.rows, cut)
            yield _Origin(relation.child, (*origin.over, relation), children.newest(), newest=True)


def codes_of(snapshot: Snapshot, table: str, column: Column, rows: Rows) -> Codes:
    """What a column says of each seed, as small numbers: 0 where it is not readable, 1 where NULL."""
    if not snapshot.num_rows[table]:
        return np.zeros(len(rows), np.int64)
    taken = snapshot.arrow(table)[column.name].take(pa.array(np.maximum(rows, 0)))
    codes = np.full(len(rows), 1, np.int64)
    if pa.types.is_list(taken.type) or pa.types.is_large_list(taken.type):
        codes = pc.list_value_length(taken).fill_null(-1).to_numpy().astype(np.int64).clip(-1, BINS) + 2
    elif pa.types.is_nested(taken.type):
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


def explain(asked: Asked, codes: Codes, halves: tuple[Rows, Rows] | None = None) -> float:
    """The share of a constant's error on one half of the seeds that ``codes`` take away, fitted on the other half: of
    what is asked the part that is told best. 0 where there is nothing to tell."""
    fitted, judged = halves or halves_of(np.arange(len(codes)))
    size = int(codes.max()) + 1
    counts = np.bincount(codes[fitted], minlength=size)

    def gain(value: npt.NDArray[np.float64]) -> float:
        """How much better the mean of ``value`` by code guesses it than the mean of all, in squares."""
        overall = value[fitted].mean()
        means = np.where(counts > 0, np.bincount(codes[fitted], value[fitted], size) / np.maximum(counts, 1), overall)
        if asked.rounded:
            means, overall = np.round(means), np.round(overall)
        before = np.square(value[judged] - overall).sum()
        return float(1 - np.square(value[judged] - means[codes[judged]]).sum() / before) if before >= FEW else 0.0

    return max(map(gain, asked.values), default=0.0)
