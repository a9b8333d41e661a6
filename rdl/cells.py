"""The cells of a snapshot as numbers and codes, and when each was known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rdl import clock
from rdl.columns import as_numbers, as_times, is_countable
from rdl.query.task import Task
from rdl.schema import Column, Stype
from rdl.snapshot import Snapshot

Codes32 = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
V = TypeVar("V", bound=np.generic)

#: A vocabulary holds this many categories, the most frequent ones; all others share one code.
MOST_CATEGORIES = 1000
#: Whether anything varies in a column is mostly told by so many rows.
FIRST_ROWS = 1000


class Cells:
    """The cells of a snapshot as numbers and codes, with the time at which each was known. Read once a column."""

    def __init__(self, task: Task, snapshot: Snapshot, fitted_at_us: int) -> None:
        self.task, self.snapshot, self.fitted_at_us = task, snapshot, fitted_at_us
        self._codes: dict[tuple[str, str], Codes32] = {}
        self._inputs: dict[str, list[Column]] = {}

    def inputs(self, table: str, stypes: tuple[Stype, ...], *, masked: bool) -> Iterator[Column]:
        """The inputs of the table that the task does not hide and that vary by the training cut; without the label's
        where ``masked``."""
        for column in self._read(table):
            label = (table, column.name) in self.task.label_columns
            timeless = self.snapshot.schema[table].time is None
            if column.stype in stypes and not (label and (masked or (self.task.row_level and timeless))):
                yield column

    def _read(self, table: str) -> list[Column]:
        """The inputs of the table, those of a label too; looked up once, for wide tables are asked about often."""
        if table not in self._inputs:
            self._inputs[table] = [
                column
                for column in self.snapshot.schema.inputs(table)
                if (table, column.name) not in self.task.hidden and self.varies(table, column)
            ]
        return self._inputs[table]

    def varies(self, table: str, column: Column) -> bool:
        """Whether the cells known at the training cut are not all the same; of a column known later than its row,
        whether any is. Lists and texts are not looked at."""
        values = self.snapshot.arrow(table)[column.name]
        if pa.types.is_nested(values.type) or column.stype is Stype.text_embedded:
            return True
        if self.snapshot.schema[table].told_by(column) is None:
            rows = int(np.searchsorted(self.snapshot.time(table), self.fitted_at_us, side="right"))
            known = values.slice(0, rows)
            return any(len(some.unique()) > 1 for some in (known.slice(0, FIRST_ROWS), known))
        known = values.filter(pa.array(self.known(table, column) <= self.fitted_at_us))
        return bool(known.null_count < len(known))

    def known(self, table: str, column: Column | None = None) -> clock.Times:
        """When each row of the table, or its cell in ``column``, was known."""
        times = self.snapshot.time(table)
        told_by = column and self.snapshot.schema[table].told_by(column)
        return np.maximum(times, self.instants(table, told_by)) if told_by else times

    def readable(
        self,
        table: str,
        column: Column,
        rows: npt.NDArray[np.integer],
        time: clock.Times,
        cut: clock.Times | None = None,
    ) -> npt.NDArray[np.bool_]:
        """Whether each seed may read the cell of its row of ``rows``, -1 for none: the row was there at ``time`` µs,
        and what tells of a column that is known later had come at ``cut`` (None: ``time``); before it, where the task
        is row-level. A column told of before its row is known with it."""
        readable = (rows >= 0) & (gather(self.snapshot.time(table), rows, clock.NEVER) <= time)
        told_by = self.snapshot.schema[table].told_by(column)
        if told_by is not None:
            told = gather(self.instants(table, told_by), rows, clock.NEVER)
            readable &= told <= (time if cut is None else cut) - int(self.task.row_level)
        return readable

    def instants(self, table: str, column: str) -> clock.Times:
        """A column of times in µs, NEVER where NULL."""
        return as_times(self.snapshot.arrow(table)[column])

    def numbers(self, table: str, column: Column) -> Floats:
        """A column as numbers, NaN where NULL or no number; a time as the days by which it precedes the row's own."""
        if column.stype is Stype.timestamp:
            return days_between(self.snapshot.time(table), self.instants(table, column.name))
        values = self.snapshot.arrow(table)[column.name]
        return as_numbers(values) if is_countable(values.type) else np.full(len(values), np.nan)

    def codes(self, table: str, column: Column) -> Codes32:
        """A column as codes by falling frequency at the training cut, -1 where NULL, the last code for all others."""
        cell = (table, column.name)
        if cell not in self._codes:
            visible = self.known(table, column) <= self.fitted_at_us
            self._codes[cell] = to_codes(self.snapshot.arrow(table)[column.name], visible)
        return self._codes[cell]

    def numbers_known(self, table: str, column: Column) -> tuple[Floats, clock.Times]:
        """A column as numbers, and when each was known."""
        return self.numbers(table, column), self.known(table, column)

    def codes_known(self, table: str, column: Column) -> tuple[Codes32, clock.Times]:
        """A column as codes, and when each was known."""
        return self.codes(table, column), self.known(table, column)


def days_between(late: clock.Times, early: clock.Times) -> Floats:
    """The days from ``early`` to ``late``, NaN where either is not a moment."""
    known = np.ones(len(early), np.bool_)
    for times in (late, early):
        known &= (times != clock.NEVER) & (times != clock.ALWAYS)
    return np.where(known, late - np.where(known, early, 0), np.nan) / clock.US_PER_DAY


def gather(values: npt.NDArray[V], rows: npt.NDArray[np.integer], missing: float) -> npt.NDArray[V]:
    """``values[rows]``, and ``missing`` where a row is -1."""
    found = np.full(len(rows), missing, values.dtype)
    there = rows >= 0
    found[there] = values[rows[there]]
    return found


def to_codes(values: pa.ChunkedArray, visible: npt.NDArray[np.bool_]) -> Codes32:
    """An Arrow column as codes by falling frequency among the visible cells, ties by value."""
    if pa.types.is_nested(values.type):
        return np.full(len(values), -1, np.int32)
    if pa.types.is_boolean(values.type):
        values = pc.cast(values, pa.int8())
    encoded = pc.dictionary_encode(values).combine_chunks()
    places = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    size = len(encoded.dictionary)
    count = np.bincount(places[visible & (places >= 0)], minlength=size)
    by_value = np.empty(size, np.int64)
    by_value[pc.array_sort_indices(encoded.dictionary).to_numpy()] = np.arange(size)
    order = np.lexsort((by_value, -count))
    others = min(int((count > 0).sum()), MOST_CATEGORIES)
    codes = np.full(size + 1, -1, np.int32)
    codes[order] = np.minimum(np.arange(size), others)
    return np.asarray(codes[places], np.int32)
