"""What a data scientist would write first: counts, means and most recent values along the keys, at each seed's cut.

Aggregates over the streams of each origin (:mod:`rdl.streams`) are planned from the cheap and shallow ones on, up to a
number of columns, then computed stream by stream with :mod:`rdl.ranges`, at a cost linear in rows and seeds.

A row that a seed refers to is not read once it has ended, as the sampler does not see it. Rows that have ended stay in
streams, as history: they were known. Beside the number of all of them stands that of those that have not ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl import clock
from rdl.cells import Cells, Codes32, Floats, days_between, gather
from rdl.query.task import Task, TaskTable
from rdl.ranges import ALL, Codes, Fit, Frame, Numbers, Ranges, fit
from rdl.schema import Column, Relation, Stype, TimePath
from rdl.snapshot import Snapshot
from rdl.streams import Origin, Rows, Seeds, Stream, Walk

T = TypeVar("T")
#: Reads a column of a stream: its cells and when each was known.
Load = Callable[[], tuple[T, clock.Times]]

#: At most so many columns; beyond them the deeper and less telling aggregates are left out.
MOST_COLUMNS = 300
_TOP = 4
_LAST_5, _LAST_20 = Frame("last 5", rows=5), Frame("last 20", rows=20)
#: Lengths of the first window where the task has no horizon, in days.
_LADDER = (1 / 24, 1, 7, 30, 365)


def window_features(
    task: Task,
    snapshot: Snapshot,
    seeds: Seeds,
    *,
    fitted_at_us: int,
    labels: TaskTable | None = None,
    most_columns: int = MOST_COLUMNS,
    stationary: bool = False,
) -> pa.Table:
    """One row a seed, in order: int32 columns are category codes (-1: unknown), float32 columns numbers (NaN: unknown).

    Read are the entity's own columns, those of its parents, and aggregates over what happened to them, all from rows
    visible at each seed's cut; never the task's hidden columns, keys or text, and a label column only on rows older
    than the seed. With ``labels``, earlier labels whose windows had closed at the cut are a stream too, unless the
    task hides them. Vocabularies and scales come from rows visible at ``fitted_at_us``. The columns depend on the
    task, the schema and what was visible at ``fitted_at_us`` alone, so tables of different seeds agree; the shallow
    and simple ones stand first. With ``stationary``, they are numbers only, and none that grows as time goes by
    whatever happens: the calendar, totals over all time, and times since the first row of a stream.
    """
    return _Builder(task, snapshot, seeds, fitted_at_us, labels, stationary=stationary).build(most_columns)


@dataclass(frozen=True, slots=True)
class _Source:
    """What one arrangement of a stream gives: ``prepare`` it (None: nothing was known at the training cut), then
    compute ``columns``, each (cost, name, method). The lower the cost, the sooner a column is taken."""

    stream: int
    prepare: Callable[[], object | None]
    columns: tuple[tuple[float, str, Callable[..., npt.NDArray[np.generic] | None]], ...]


class _Builder:
    """One run of :func:`window_features`."""

    def __init__(
        self, task: Task, snapshot: Snapshot, seeds: Seeds, fitted_at_us: int, labels: TaskTable | None,
        *, stationary: bool = False,
    ) -> None:  # fmt: skip
        self.stationary = stationary
        self.task, self.snapshot, self.schema, self.seeds = task, snapshot, snapshot.schema, seeds
        self.cells, self.labels = Cells(task, snapshot, fitted_at_us), labels
        self.walk = Walk(task, snapshot, seeds, labels, self.cells)
        self.frames = _frames(task, snapshot, fitted_at_us)
        self.arranged: dict[int, Ranges] = {}
        entity = Origin("", task.entity, seeds.rows, 0, ())
        self.parents = self.walk.parents(entity, 2 if task.row_level else 1)
        self.streams = [stream for origin in (entity, *self.parents) for stream in self.walk.streams(origin)]
        for origin in self.newest_parents():
            self.streams.extend(self.walk.streams(origin))

    def build(self, most_columns: int) -> pa.Table:
        named = dict(self.read_rows())
        sources, chosen = self.cheapest(max(0, most_columns - len(named)))
        order, wished = [*named, *chosen], set(chosen)
        for source in sources:
            wanted = [(name, compute) for _, name, compute in source.columns if name in wished]
            prepared = source.prepare() if wanted else None
            for name, compute in wanted if prepared is not None else ():
                values = compute(prepared)
                if values is not None:
                    named[name] = values
            self.arranged = {source.stream: self.arranged[source.stream]} if source.stream in self.arranged else {}
        return pa.table({name: pa.array(_narrow(named[name])) for name in order if name in named})

    def cheapest(self, most: int) -> tuple[list[_Source], list[str]]:
        """The sources of the ``most`` cheapest columns, and these by name, without listing deeper streams in vain."""
        least = [max(0.0, stream.depth - 1) for stream in self.streams]
        sources: dict[int, list[_Source]] = {}
        ranked: list[tuple[float, int, int, str]] = []
        for depth in sorted(set(least)):
            if len(ranked) >= most and (not most or ranked[most - 1][0] < depth):
                break
            for number in (number for number, cost in enumerate(least) if cost == depth):
                own = sources[number] = list(self.sources(number))
                ranked += [(cost, number, at, name) for at, one in enumerate(own) for cost, name, _ in one.columns]
            ranked.sort()
        return [one for number in sorted(sources) for one in sources[number]], [name for *_, name in ranked[:most]]

    def newest_parents(self) -> Iterator[Origin]:
        """What the newest child of the entity refers to: a driver's present team."""
        for number, stream in enumerate(self.streams):
            if stream.table and stream.origin.depth == 0 and len(stream.over) == 1:
                newest = Origin(f"{stream.label}:last.", stream.table, self.ranges(number).newest(), 0)
                for relation in self.walk.keys_of(stream.table):
                    if relation != stream.over[0]:
                        yield self.walk.parent(newest, relation)

    def ranges(self, number: int) -> Ranges:
        if number not in self.arranged:
            stream = self.streams[number]
            self.arranged[number] = Ranges(stream.owner, stream.time, stream.origin.rows, self.walk.cut)
        return self.arranged[number]

    def at(self, number: int, known: clock.Times) -> Ranges:
        """The arrangement of a stream by the time at which the cells of one column were known."""
        stream = self.streams[number]
        known = np.maximum(known, stream.time)
        if np.array_equal(known, stream.time):
            return self.ranges(number)
        return Ranges(stream.owner, known, stream.origin.rows, self.walk.cut)

    def read_rows(self) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
        """The calendar at each seed, and the columns of the entity's row and of the rows it refers to."""
        if not self.stationary:
            yield from _calendar(self.seeds)
        yield "days since cut", days_between(self.seeds.time, self.seeds.cut)
        entity = Origin("", self.task.entity, self.seeds.rows, 0)
        for origin in (entity, *self.parents):
            there = self.seeds.time if self.task.row_level and origin is entity else self.seeds.cut
            stypes = (Stype.numerical, Stype.categorical, Stype.timestamp)
            for column in self.cells.inputs(origin.table, stypes, masked=True):
                readable = self.cells.readable(origin.table, column, origin.rows, there, self.seeds.cut)
                rows = np.where(readable, origin.rows, -1)
                if column.stype is Stype.timestamp:
                    instants = gather(self.cells.instants(origin.table, column.name), rows, clock.NEVER)
                    yield f"{origin.label}{column.name} (days ago)", days_between(self.seeds.time, instants)
                elif column.stype is Stype.categorical:
                    if not self.stationary:
                        codes = self.cells.codes(origin.table, column)
                        yield f"{origin.label}{column.name}", gather(codes, rows, -1)
                else:
                    yield f"{origin.label}{column.name}", gather(self.cells.numbers(origin.table, column), rows, np.nan)

    def sources(self, number: int) -> Iterator[_Source]:
        """What can be aggregated over a stream, nearest first."""
        stream = self.streams[number]
        depth = max(0.0, stream.depth - 1)
        if not stream.table:
            yield self.past_labels(number, depth - 1)
            return
        yield _Source(number, partial(self.ranges, number), tuple(self.counted(stream, depth)))
        own_time = self.schema[stream.table].time
        for column in self.cells.inputs(stream.table, (Stype.numerical, Stype.timestamp), masked=False):
            if own_time == TimePath(column.name):
                continue
            load = partial(self.cells.numbers_known, stream.table, column)
            yield self.numbers(number, f".{column.name}", load, depth)
        for column in self.cells.inputs(stream.table, (Stype.categorical,), masked=False):
            codes = partial(self.cells.codes_known, stream.table, column)
            yield self.codes(number, f".{column.name}", codes, depth)
        for relation in self.walk.keys_of(stream.table):
            if relation in stream.over:
                continue
            key = f"{'+'.join(relation.key)}"
            keys = partial(self.keyed, stream, relation)
            distinct = (depth + 1.3, f"{stream.label}.{key} distinct", Codes.distinct)
            yield _Source(number, partial(self.coded, number, keys), (distinct,))
            for column in self.cells.inputs(relation.parent, (Stype.numerical,), masked=False):
                yield self.numbers(
                    number, f".{key}.{column.name}", partial(self.referred, relation, column), depth + 1.5
                )

    def counted(self, stream: Stream, cost: float) -> Iterator[tuple[float, str, Callable[[Ranges], Floats]]]:
        windows = [frame for frame in self.frames if frame.us is not None]
        timeless = self.schema[stream.table].time is None and not any(map(self.schema.told_by, stream.over))
        for frame in [ALL] if timeless else self.lasting(*windows):
            yield cost, f"{stream.label} count, {frame.name}", partial(_counted, frame)
        if self.schema[stream.table].valid_until is not None:
            yield cost, f"{stream.label} count, not ended", lambda ranges: self.going_on(stream, ranges)
        if not timeless:
            yield cost, f"{stream.label} days since last", lambda ranges: self.since(stream, ranges.newest())
            if not self.stationary:
                yield cost + 0.5, f"{stream.label} days since first", lambda ranges: self.since(stream, ranges.oldest())

    def lasting(self, *windows: Frame) -> tuple[Frame, ...]:
        """The frames of totals: that of all time, which only grows, and ``windows``."""
        return windows if self.stationary else (ALL, *windows)

    def going_on(self, stream: Stream, ranges: Ranges) -> Floats:
        """How many of a stream's rows have not ended by the cut, as :class:`rdl.sampler.Sampler` counts them."""
        until = self.cells.instants(stream.table, str(self.schema[stream.table].valid_until))
        over = Ranges(stream.owner, np.maximum(stream.time, until), stream.origin.rows, self.walk.cut)
        return _counted(ALL, ranges) - _counted(ALL, over)

    def since(self, stream: Stream, rows: Rows) -> Floats:
        return days_between(self.seeds.cut, gather(stream.time, rows, clock.NEVER))

    def keyed(self, stream: Stream, relation: Relation) -> tuple[Codes32, clock.Times]:
        """What a stream's rows refer to, and when that was known: not before it was there itself."""
        rows, known = self.snapshot.parent(relation), np.maximum(stream.time, self.snapshot.linked(relation))
        return rows, np.maximum(known, gather(self.snapshot.time(relation.parent), rows, clock.ALWAYS))

    def referred(self, relation: Relation, column: Column) -> tuple[Floats, clock.Times]:
        """The cells that a child's rows refer to, and when each was known."""
        values, known = self.cells.numbers_known(relation.parent, column)
        rows = self.snapshot.parent(relation)
        known = np.maximum(gather(known, rows, clock.NEVER), self.snapshot.linked(relation))
        return gather(values, rows, np.nan), known

    def past_labels(self, number: int, cost: float) -> _Source:
        """Aggregates over earlier labels; where they lie is learnt from the training labels."""
        labels = cast("TaskTable", self.labels)
        train = labels.target[(labels.split == 0) & (labels.time <= self.cells.fitted_at_us)]
        return self.numbers(number, "", lambda: (labels.target, self.streams[number].time), cost, fitted=fit(train))

    def numbers(
        self, number: int, label: str, load: Load[Floats], cost: float, *, fitted: Fit | None = None
    ) -> _Source:
        """Aggregates over a column of numbers: the level first, then its course, spread and extremes."""
        label = f"{self.streams[number].label}{label}"
        columns: list[tuple[float, str, Callable[[Numbers], Floats]]] = [(cost + 1, f"{label} last", Numbers.last)]
        windows = [frame for frame in self.frames if frame.us is not None]
        aggregates = [
            *((extra, "mean", Numbers.mean, frame) for extra, frame in ((1.0, ALL), (1.1, _LAST_5), (1.3, _LAST_20))),
            *((1.5, "mean", Numbers.mean, frame) for frame in windows),
            *((1.6, "sum", Numbers.total, frame) for frame in self.lasting(*windows[-1:])),
            *((2.5, "std", Numbers.spread, frame) for frame in (ALL, _LAST_20)),
            *((2.7, "min", Numbers.smallest, frame) for frame in (ALL, _LAST_20)),
            *((2.7, "max", Numbers.greatest, frame) for frame in (ALL, _LAST_20)),
        ]
        for extra, name, method, frame in aggregates:
            columns.append((cost + extra, f"{label} {name}, {frame.name}", partial(_over, method, frame)))

        def prepare() -> Numbers | None:
            values, known = load()
            visible = np.maximum(known, self.streams[number].time) <= self.cells.fitted_at_us
            lies = fitted or fit(values[visible])
            return None if lies is None else Numbers(self.at(number, known), values, lies)

        return _Source(number, prepare, tuple(columns))

    def codes(self, number: int, label: str, load: Load[Codes32], cost: float) -> _Source:
        """Aggregates over a column of codes: the most recent one, how many, and the shares of the most frequent."""
        label = f"{self.streams[number].label}{label}"
        columns: list[tuple[float, str, Callable[[Codes], npt.NDArray[np.generic]]]] = [
            (cost + 1.5, f"{label} distinct", Codes.distinct)
        ]
        if not self.stationary:
            columns.append((cost + 1, f"{label} last", Codes.last))
        for extra, frame in ((1.8, ALL), (2.0, _LAST_20)):
            for code in range(_TOP):
                share = partial(lambda code, frame, codes: codes.share(code, frame), code, frame)
                columns.append((cost + extra, f"{label} share {code}, {frame.name}", share))
        return _Source(number, partial(self.coded, number, load), tuple(columns))

    def coded(self, number: int, load: Load[Codes32]) -> Codes:
        codes, known = load()
        return Codes(self.at(number, known), codes)


def _over(method: Callable[[Numbers, Frame], Floats], frame: Frame, numbers: Numbers) -> Floats:
    return method(numbers, frame)


def _counted(frame: Frame, ranges: Ranges) -> Floats:
    return ranges.count(frame).astype(np.float64)


def _frames(task: Task, snapshot: Snapshot, fitted_at_us: int) -> list[Frame]:
    """Everything, and windows of one, three and twelve horizons as far as the data reach at the training cut."""
    firsts = [times[0] for name in snapshot.schema.tables if len(times := snapshot.time(name))]
    spans = [fitted_at_us - int(first) for first in firsts if clock.ALWAYS < first <= fitted_at_us]
    span = max(spans, default=0) / clock.US_PER_DAY
    short = max((days for days in _LADDER if days <= span / 20), default=_LADDER[0])
    horizon = task.horizon.days if task.horizon else short
    lengths = [horizon * times for times in (1, 3, 12) if horizon * times < span]
    return [ALL, *(Frame(f"{days:g} days", us=int(days * clock.US_PER_DAY)) for days in lengths)]


def _calendar(seeds: Seeds) -> Iterator[tuple[str, Floats]]:
    days = seeds.time / clock.US_PER_DAY
    years = seeds.time.astype("datetime64[us]").astype("datetime64[Y]")
    yield "day of year", np.floor(days) - years.astype("datetime64[D]").astype(np.float64)
    yield "day of week", np.mod(np.floor(days) + 3, 7)
    yield "hour", np.mod(days, 1) * 24


def _narrow(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Codes as int32, numbers as float32: those that are too large for it as its largest."""
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.int32)
    most = np.finfo(np.float32).max
    return np.where(np.isinf(values), values, np.clip(values, -most, most)).astype(np.float32)
