"""A task: what is asked, of which rows, at which times. The result of reading a query on a schema.

A task holds no rows and no connection; :mod:`rdl.labels` turns it and a snapshot into a :class:`TaskTable`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from rdl.clock import NEVER, Span
from rdl.config import Regime
from rdl.query.expressions import Expression, Value
from rdl.schema import Relation, Schema


class Kind(StrEnum):
    """What a label is: one of two classes, a number, one of several classes, a set of classes, a ranking of rows,
    or one number for each of several consecutive windows."""

    binary = "binary"
    regression = "regression"
    multiclass = "multiclass"
    multilabel = "multilabel"
    recommendation = "recommendation"
    forecast = "forecast"


class Split(StrEnum):
    """The three parts of a task table, earliest first."""

    train = "train"
    val = "val"
    test = "test"


#: The order in which ``TaskTable.split`` numbers the splits: 0 train, 1 val, 2 test.
SPLITS = tuple(Split)


@dataclass(frozen=True, slots=True)
class TaskTable:
    """The seeds of a task with their labels, one row a seed, ordered by split, time and entity.

    ``entity[n]`` is the row number of the entity in its (time-sorted) snapshot table, ``time[n]`` the anchor in µs
    UTC, ``split[n]`` 0, 1 or 2 (train, val, test). ``val_cut`` and ``test_cut`` are the times (µs) at which validation
    and test begin: no training seed is later, and the frozen regime cuts the database at ``val_cut`` for validation
    seeds and at ``test_cut`` for test seeds. ``row_level`` says that each seed is asked at its own row's time, and so
    sees strictly older rows alone.

    ``target`` is the label, by kind of task:

    - binary, regression: float64 ``[seeds]``; binary: 0 or 1.
    - forecast: float64 ``[seeds, timeframes]``; NaN where a timeframe's label is unknown, never all of a seed.
    - multiclass: int64 ``[seeds]``, a number into ``classes``; -1 - i is the value ``unseen[i]``.
    - multilabel: int64 ``[labels]``, numbered so too, those of seed n being ``target[indptr[n]:indptr[n + 1]]``,
      ascending.
    - recommendation: int64 ``[labels]``, row numbers in the ranked table, by ``indptr`` as for multilabel.

    ``indptr`` is int64 ``[seeds + 1]`` where labels are lists, else None. ``classes`` are the values that training
    seeds have, most frequent first, equally frequent ones ascending; ``unseen`` those that only other seeds have.
    """

    entity: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    split: npt.NDArray[np.int8]
    target: npt.NDArray[Any]
    val_cut: int
    test_cut: int
    indptr: npt.NDArray[np.int64] | None = None
    classes: tuple[Value, ...] = ()
    unseen: tuple[Value, ...] = ()
    row_level: bool = False

    def __len__(self) -> int:
        return len(self.entity)

    @property
    def fitted_at_us(self) -> int:
        """The *training cut*: the newest time (µs) that a row may have from which statistics, vocabularies and scales
        are fitted. It is when validation begins; in a row-level task just before, or the first validation seed's own
        label would be among them."""
        return self.val_cut - int(self.row_level)

    def of(self, split: Split | str) -> TaskTable:
        """The seeds of one split, in order."""
        return self.take(np.flatnonzero(self.split == SPLITS.index(Split(split))))

    def take(self, rows: npt.NDArray[np.int64]) -> TaskTable:
        """The seeds with the numbers ``rows``, in that order."""
        target, indptr = self.target, None
        if self.indptr is None:
            target = target[rows]
        else:
            begins, lengths = self.indptr[rows], np.diff(self.indptr)[rows]
            indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            target = target[np.arange(indptr[-1]) + np.repeat(begins - indptr[:-1], lengths)]
        return replace(
            self, entity=self.entity[rows], time=self.time[rows], split=self.split[rows], target=target, indptr=indptr
        )

    def owners(self) -> npt.NDArray[np.int64]:
        """The seed's number for each label of a target of lists ``[labels]``, for each seed otherwise."""
        lengths = np.diff(self.indptr) if self.indptr is not None else 1
        return np.repeat(np.arange(len(self)), lengths)

    def dense(self) -> npt.NDArray[Any]:
        """The labels as an array of one line a seed: ``target``, or for a target of lists of classes float32
        ``[seeds, classes]``, 1 where a seed has the class. Values in ``unseen`` stand in no column."""
        if self.indptr is None:
            return self.target
        found, seen = np.zeros((len(self), len(self.classes)), np.float32), self.target >= 0
        found[self.owners()[seen], self.target[seen]] = 1
        return found

    def numbered_by(self, classes: tuple[Value, ...]) -> TaskTable:
        """The same labels with the numbers that they have in ``classes``; all other values are unseen."""
        if classes == self.classes:
            return self
        values = (*self.classes, *self.unseen)
        number = {value: at for at, value in enumerate(classes)}
        unseen = tuple(value for value in values if value not in number)
        number |= {value: -1 - at for at, value in enumerate(unseen)}
        numbers = [number[value] for value in values]
        place = np.where(self.target < 0, len(self.classes) - 1 - self.target, self.target)
        target = np.array(numbers, np.int64)[place] if values else self.target
        if self.indptr is not None:
            target = target[np.lexsort((target, self.owners()))]
        return replace(self, target=target, classes=classes, unseen=unseen)

    def thinned(self, most: int) -> TaskTable:
        """At most ``most`` of the seeds, evenly spread over their order (time, then entity)."""
        if len(self) <= most:
            return self
        return self.take(np.linspace(0, len(self) - 1, most).astype(np.int64))

    def cuts(self, regime: Regime | str) -> npt.NDArray[np.int64]:
        """The newest time, in µs, that a row visible to each seed may have: the seed's own time or, in the frozen
        regime, at most the begin of the seed's split."""
        if Regime(regime) is Regime.seed_time:
            return self.time
        begin = np.array([NEVER, self.val_cut, self.test_cut])[self.split]
        return np.asarray(np.minimum(self.time, begin))


@dataclass(frozen=True, slots=True)
class LabelSql:
    """Labels asked for in plain SQL, as RelBench does: DuckDB SQL over ``timestamps(timestamp)`` and the tables.

    ``timedelta`` is the text put in place of ``{timedelta}``, ``window_us`` its length and the distance of anchors;
    at most ``num_eval_timestamps`` of them are in validation, and in test. The result has the columns ``entity``
    (the entity's primary key), ``time`` and ``target``; of a recommendation the target is a list of primary keys of the
    table that is ranked.
    """

    sql: str
    timedelta: str
    window_us: int
    num_eval_timestamps: int
    entity: str
    time: str
    target: str


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked, of which rows, at which times.

    ``source`` is the query's text (or the manifest's folder); ``entity`` the table asked about. ``target``, ``where``
    and ``assuming`` are expressions on a row of it at time t; ``horizon`` is the end of the furthest window, None
    for a ``row_level`` task, in which each row's own time is t. ``stride`` is the distance of anchors where EVERY
    does not say it.

    ``hidden`` holds the (table, column) pairs that are never an input; ``label_columns`` those of a row-level task's
    target on the entity itself, which are inputs only on rows strictly older than the seed. ``split_at`` holds the
    times (µs) at which validation and test begin, ``split_by`` a column of the entity that says the split.
    ``entities`` are the primary keys to predict for (None: all eligible), ``as_of`` the time (µs) of prediction.
    ``candidates`` is the table whose rows a recommendation ranks; its target lists a foreign key to it.
    ``timeframes`` is the number of windows of a forecast, each ``stride`` after the one before. ``sql`` is that of a
    RelBench manifest.
    """

    kind: Kind
    source: str
    entity: str
    target: Expression | None
    horizon: Span | None = None
    stride: Span | None = None
    where: Expression | None = None
    assuming: Expression | None = None
    every: Span | None = None
    split_at: tuple[int, int] | None = None
    split_by: tuple[str, str] | None = None
    hidden: frozenset[tuple[str, str]] = frozenset()
    row_level: bool = False
    label_columns: frozenset[tuple[str, str]] = frozenset()
    top_k: int | None = None
    timeframes: int | None = None
    as_of: int | None = None
    entities: tuple[Value, ...] | None = None
    candidates: str | None = None
    sql: LabelSql | None = None
    warnings: tuple[str, ...] = ()

    def label_keys(self, schema: Schema) -> tuple[Relation, ...]:
        """The foreign keys of a row-level seed's own row that its label is read from: what they refer to is the label.
        Only rows strictly older than the seed lead over them."""
        own = {column for _, column in self.label_columns}
        return tuple(relation for relation in schema.relations_from(self.entity) if own & set(relation.key))

    def closed_keys(self, schema: Schema) -> tuple[Relation, ...]:
        """The foreign keys with a column that is never an input: nothing leads over them. Those that a label is read
        from are among them where the rows asked about are timeless, for then none is older than another."""
        timeless = self.row_level and schema[self.entity].time is None
        hidden = self.hidden | self.label_columns if timeless else self.hidden
        return tuple(one for one in schema.relations if any((one.child, name) in hidden for name in one.key))
