"""What a model reads: by how much its loss grows where one thing that it reads is spoilt.

Columns are permuted among the rows of their table, aggregates of the past among the seeds (permutation importance,
Breiman, 2001), relations are left out. What two inputs say both is counted with neither: it says what this model leans
on, not what could be known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch_frame import stype

from rdl.features import Features
from rdl.losses import Objective
from rdl.predict import predict
from rdl.sampler import Sampler, Seeds
from rdl.summaries import SummaryStatistics

#: Seeds looked at: at first, at least, and at most.
FIRST_SEEDS, LEAST_SEEDS, MOST_SEEDS = 256, 100, 4_000
#: Of so many groups of aggregates, those that matter most, each aggregate is looked at too; so many of all things are
#: looked at as often.
GROUPS, LARGEST, REPEATS = 3, 20, 3

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Importance:
    """By how much the loss ``growth`` on validation grows where the ``kind`` of input called ``name`` is spoilt:
    ``column``, ``relation``, ``past`` (the aggregates of one stream or column of it) or ``aggregate`` (one of them)."""

    kind: str
    name: str
    growth: float


@dataclass(frozen=True, slots=True)
class Subject:
    """The model looked at and what it reads of validation seeds; ``judge`` gives the loss of predictions for the seeds
    with these numbers."""

    model: nn.Module
    features: Mapping[str, Features]
    sampler: Sampler
    seeds: Seeds
    summary: Tensor | None
    statistics: SummaryStatistics
    objective: Objective
    judge: Callable[[npt.NDArray[np.int64], Floats], float]


def importance(subject: Subject, *, budget_s: float, seed: int = 0) -> list[Importance]:
    """What matters, the most important first, within about ``budget_s`` seconds: of as many seeds as that allows, and
    where it does not suffice for all, the tables farthest from the seeds are left out. Empty without labelled seeds."""
    if not len(subject.seeds):
        return []
    return _Measurement(subject, budget_s, seed).run()


@dataclass(frozen=True, slots=True)
class _Change:
    kind: str
    name: str
    loss: Callable[[], float]


class _Measurement:
    """One look at a model."""

    def __init__(self, subject: Subject, budget_s: float, seed: int) -> None:
        self.subject, self.end = subject, time.perf_counter() + budget_s
        self.generator = torch.Generator().manual_seed(seed)
        self.drawn = torch.randperm(len(subject.seeds), generator=self.generator)
        changes = sum(len(names) for one in subject.features.values() for names in one.names.values())
        changes += len(subject.sampler.graph.links) + len(self.groups())
        self.take(FIRST_SEEDS)
        self.loss()  # what is made once is not counted
        started = time.perf_counter()
        self.before = self.loss()
        each = (time.perf_counter() - started) / len(self.seeds)
        # Half of the time for one look at all, half for a closer one at what matters most.
        self.take(int(np.clip(budget_s / 2 / max(changes * each, 1e-9), LEAST_SEEDS, MOST_SEEDS)))
        self.before = self.loss()

    def run(self) -> list[Importance]:
        if not np.isfinite(self.before):
            return []
        found: dict[tuple[str, str], list[float]] = {}
        changes = [*self.past(), *self.relations(), *self.columns()]
        self.look(changes, found)
        largest = [name for kind, name in _sorted(found) if kind == "past"][:GROUPS]
        single = list(self.aggregates(largest))
        self.look(single, found)
        by_name = {(change.kind, change.name): change for change in [*changes, *single]}
        for _ in range(REPEATS - 1):
            self.look([by_name[key] for key in _sorted(found)[:LARGEST] if key[0] != "relation"], found)
        return [Importance(*key, float(np.mean(found[key]))) for key in _sorted(found)]

    def take(self, number: int) -> None:
        self.which = self.drawn[:number].sort().values
        self.seeds = self.subject.seeds.take(self.which)
        self.summary = None if self.subject.summary is None else self.subject.summary[self.which]

    def loss(self, sampler: Sampler | None = None, summary: Tensor | None = None) -> float:
        """The loss, or what it is with another sampler or other aggregates."""
        of = self.subject
        summary = self.summary if summary is None else summary
        return of.judge(
            self.which.numpy(),
            predict(of.model, of.features, sampler or of.sampler, self.seeds, of.objective, summary),
        )

    def look(self, changes: Sequence[_Change], found: dict[tuple[str, str], list[float]]) -> None:
        """Adds by how much each change makes the loss grow, while there is time."""
        for change in changes:
            if time.perf_counter() > self.end:
                return
            found.setdefault((change.kind, change.name), []).append(change.loss() - self.before)

    def relations(self) -> Iterator[_Change]:
        sampler = self.subject.sampler
        for relation in sampler.graph.links:
            without = _without(sampler, relation)
            yield _Change("relation", str(relation), partial(self.loss, without))

    def columns(self) -> Iterator[_Change]:
        """The columns of every table, those of the nearest tables first."""
        features = self.subject.features
        for table in _by_distance(self.subject.sampler, self.seeds.table):
            known = int((self.subject.sampler.graph.time[table] <= int(self.seeds.cut.max())).sum())
            for kind, names in features[table].names.items() if table in features else ():
                for number, name in enumerate(names):
                    spoilt = partial(self.spoilt, features[table], kind, number, known)
                    yield _Change("column", f"{table}.{name}", spoilt)

    def spoilt(self, features: Features, kind: stype, number: int, known: int) -> float:
        order = torch.randperm(known, generator=self.generator)
        with _permuted(features, kind, number, order):
            return self.loss()

    def groups(self) -> dict[str, list[int]]:
        """The numbers of the aggregates of each stream, or column of it."""
        found: dict[str, list[int]] = {}
        for number, name in enumerate(self.subject.statistics.names):
            found.setdefault(name.split(" ")[0] if "[" in name else name, []).append(number)
        return found

    def past(self) -> Iterator[_Change]:
        for name, numbers in self.groups().items():
            yield _Change("past", name, partial(self.mixed, numbers))

    def aggregates(self, groups: Sequence[str]) -> Iterator[_Change]:
        """Each aggregate of some groups that have several."""
        by_group, names = self.groups(), self.subject.statistics.names
        for group in groups:
            for number in by_group[group] if len(by_group[group]) > 1 else ():
                yield _Change("aggregate", names[number], partial(self.mixed, [number]))

    def mixed(self, numbers: Sequence[int]) -> float:
        """The loss with some aggregates, and whether they are known, permuted together among the seeds."""
        if self.summary is None:
            return self.before
        gappy = {number: place for place, number in enumerate(self.subject.statistics.gappy)}
        width = len(self.subject.statistics.names)
        columns = [*numbers, *(width + gappy[number] for number in numbers if number in gappy)]
        order = torch.randperm(len(self.summary), generator=self.generator)
        summary = self.summary.clone()
        summary[:, columns] = self.summary[order][:, columns]
        return self.loss(summary=summary)


def _without(sampler: Sampler, relation: object) -> Sampler:
    """The same sampler without the edges of a relation."""
    graph = sampler.graph.without((relation,))  # type: ignore[arg-type]
    return Sampler(graph, sampler.fanouts, strategy=sampler.strategy, seed=sampler.seed)


def _sorted(found: Mapping[tuple[str, str], Sequence[float]]) -> list[tuple[str, str]]:
    return sorted(found, key=lambda key: -float(np.mean(found[key])))


def _by_distance(sampler: Sampler, entity: str) -> list[str]:
    """The tables that seeds reach, the nearest first."""
    found = [entity]
    for table in found:
        for type_ in sampler.outgoing.get(table, []):
            if type_.source not in found:
                found.append(type_.source)
    return found


@contextmanager
def _permuted(features: Features, kind: stype, number: int, order: Tensor) -> Iterator[None]:
    """One column of the first rows, as many as ``order`` has, in another order; as it was when it is left."""
    first = len(order)
    if kind is stype.multicategorical:
        bags = features.bags[number]
        rest = torch.arange(first, len(features))
        codes, lengths = bags.take(torch.cat([order, rest]), None)
        parts = [(bags.codes, codes.to(bags.codes.dtype)), (bags.indptr[1:], lengths.cumsum(0))]
    elif kind is stype.embedding:
        place = features.vectors[number].place[:first]
        parts = [(place, place[order])]
    else:
        of = {stype.numerical: features.numbers, stype.categorical: features.codes, stype.timestamp: features.times}
        column = of[kind][:first, number + (kind is stype.timestamp)]
        parts = [(column, column[order])]
    before = [tensor.clone() for tensor, _ in parts]
    try:
        for tensor, value in parts:
            tensor.copy_(value)
        yield
    finally:
        for (tensor, _), value in zip(parts, before, strict=True):
            tensor.copy_(value)
