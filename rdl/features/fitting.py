"""Statistics, from the rows known at a cut and no others."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import spearmanr

from rdl import columns
from rdl.clock import ALWAYS, NEVER, Times
from rdl.columns import Coded
from rdl.embedders import HASHING
from rdl.features.statistics import Centre, Statistics, Words
from rdl.schema import Column, Stype
from rdl.snapshot import Snapshot

#: A category seen fewer times than this at the training cut, or beyond the vocabulary's size, counts as unseen.
MIN_COUNT, MAX_CATEGORIES = 3, 2_000
#: What may stand between the elements of lists that are written as text.
SEPARATORS = ("|", ";", "\t", ",")
#: A column of numbers tells the time where its rank correlation with it is so high, in a sample of so many rows; in few
#: rows it is looked for first.
CLOCK_CORRELATION, MIN_ROWS_OF_A_CLOCK, ROWS_TO_TELL_A_CLOCK, FIRST_ROWS = 0.98, 30, 200_000, 5_000


def fit(
    snapshot: Snapshot,
    cut_us: int,
    hidden: Collection[tuple[str, str]] = (),
    *,
    text_channels: int = HASHING.channels,
    text_rows: int = 0,
    identities: int = 0,
) -> dict[str, Statistics]:
    """The statistics of every table, from the cells known at ``cut_us`` and no others: of rows with a time ≤ the cut,
    and of columns known later than their row where that was at the cut. ``text_channels`` is the width of the text
    embedder's vectors; a column of texts with fewer than ``text_rows`` of them known is no input
    (:func:`rdl.embedders.rows_needed`). A table that others refer to, and that has a primary key of one column and at
    most ``identities`` rows at the cut, is read with the key as a category: which row it is.

    A column in which nothing varies by then is no input, nor is one that only tells the time. Raises SchemaError where
    a column's storage cannot be what its stype says.
    """
    return {
        name: _Fit(snapshot, name, cut_us).run(hidden, text_channels, text_rows, identities)
        for name in snapshot.schema.tables
    }


class _Fit:
    """The statistics of one table in the making."""

    def __init__(self, snapshot: Snapshot, table: str, cut_us: int) -> None:
        self.schema, self.table, self.cut_us = snapshot.schema, snapshot.schema[table], cut_us
        known = int(np.searchsorted(snapshot.time(table), cut_us, side="right"))
        self.rows, self.times = snapshot.arrow(table).slice(0, known), snapshot.time(table)[:known]

    def run(
        self, hidden: Collection[tuple[str, str]], text_channels: int, text_rows: int, identities: int
    ) -> Statistics:
        found: dict[Stype, dict[str, object]] = {stype: {} for stype in Stype}
        late: dict[str, tuple[str, ...]] = {}
        for column in self.schema.inputs(self.table.name):
            if (self.table.name, column.name) in hidden:
                continue
            told_by = self.table.told_by(column)
            values, times = self.known(column, told_by)
            if column.stype is Stype.text_embedded and len(values) - values.null_count < text_rows:
                continue
            fitted = _FITS[column.stype](values, times, told_by is not None)
            if fitted is not None:
                found[column.stype][column.name] = fitted
                if told_by is not None:
                    late[told_by] = (*late.get(told_by, ()), column.name)
        identity = self.identity(identities)
        found[Stype.categorical].update(identity)
        return Statistics(
            found[Stype.numerical],  # type: ignore[arg-type]
            found[Stype.categorical],  # type: ignore[arg-type]
            found[Stype.multicategorical],  # type: ignore[arg-type]
            found[Stype.embedding],  # type: ignore[arg-type]
            tuple(found[Stype.text_embedded]),
            text_channels,
            tuple(found[Stype.timestamp]),
            late,
            tuple(identity),
        )

    def identity(self, most: int) -> dict[str, tuple[str, ...]]:
        """The primary key and its values at the cut, where the table has at most so many rows and is referred to."""
        referred = any(relation.parent == self.table.name for relation in self.schema.relations)
        if not 1 < len(self.rows) <= most or len(self.table.primary_key) != 1 or not referred:
            return {}
        (key,) = self.table.primary_key
        return {key: tuple(sorted(columns.as_words(self.rows.column(key)).words.to_pylist()))}

    def known(self, column: Column, told_by: str | None) -> tuple[pa.ChunkedArray, Times]:
        """The cells of ``column`` that are known at the cut, and the times of their rows."""
        place = f"{self.table.name}.{column.name}"
        values = columns.require(self.rows.column(column.name), column.stype, place)
        if told_by is None:
            return values, self.times
        told = columns.require(self.rows.column(told_by), Stype.timestamp, f"{self.table.name}.{told_by}")
        known = columns.as_times(told) <= self.cut_us
        return values.filter(pa.array(known)), self.times[known]


# Each takes the known cells of a column, their rows' times, and whether the column is known later than its row. It
# returns None where nothing varies: all cells are NULL or, of a column known with its row, all are the same.


def _fit_numbers(values: pa.ChunkedArray, times: Times, is_late: bool) -> tuple[float, float] | None:
    """Median and scale: the interquartile range as a standard deviation, or the standard deviation where that is 0."""
    numbers = columns.as_numbers(values)
    known = numbers[~np.isnan(numbers)]
    if not len(known) or (not is_late and len(known) == len(numbers) and known.min() == known.max()):
        return None
    if is_clock(numbers, times):
        return None
    finite = known[np.isfinite(known)]
    if not len(finite):
        return 0.0, 1.0
    low, median, high = np.quantile(finite, [0.25, 0.5, 0.75])
    scale = high / 1.349 - low / 1.349
    if not 0 < scale < np.inf:
        most = np.abs(finite / 2 - median / 2).max()  # halves do not overflow
        scale = 2 * most * float(np.sqrt(np.mean(np.square((finite / 2 - median / 2) / most)))) if most else 1.0
    return float(median), float(np.clip(scale, np.finfo(np.float64).tiny, np.finfo(np.float64).max))


def is_clock(numbers: npt.NDArray[np.float64], times: Times) -> bool:
    """Whether a column only tells the time in other units (a year, a running number): rank correlation with the rows'
    times of 0.98 or more. Such a column is no input: beyond the training cut it has values never seen."""
    for most, enough in ((FIRST_ROWS, 0.9), (ROWS_TO_TELL_A_CLOCK, CLOCK_CORRELATION)):
        every = -(-len(numbers) // most) or 1  # a sample across all times tells as much
        some, at = numbers[::every], times[::every]
        told = np.isfinite(some) & (at != ALWAYS) & (at != NEVER)
        if told.sum() < MIN_ROWS_OF_A_CLOCK or np.ptp(at[told]) == 0 or some[told].min() == some[told].max():
            return False
        if not abs(spearmanr(some[told], at[told]).statistic) >= enough:
            return False
    return True


def _fit_categories(values: pa.ChunkedArray, _: Times, is_late: bool) -> tuple[str, ...] | None:
    coded = columns.as_words(values)
    counts, words = coded.counts(), vocabulary(coded)
    distinct = len(counts) + (counts.sum() < len(values))
    is_one = distinct == 1 or (not words and counts.sum() == len(values))  # all of them are rare, so UNSEEN
    return words if counts.sum() and (is_late or not is_one) else None


def vocabulary(coded: Coded) -> tuple[str, ...]:
    """The words by falling count, ties by the word itself, so that the order of rows does not matter."""
    counts = coded.counts()
    often = np.flatnonzero(counts >= MIN_COUNT)
    kept = pa.table({"word": coded.words.take(pa.array(often)), "count": counts[often]})
    order = pc.sort_indices(kept, [("count", "descending"), ("word", "ascending")])
    return tuple(kept["word"].take(order[:MAX_CATEGORIES]).to_pylist())


def _fit_lists(values: pa.ChunkedArray, _: Times, is_late: bool) -> Words | None:
    separator = ""
    if columns.is_text(values.type):
        shares = [pc.sum(pc.match_substring(values, separator)).as_py() or 0 for separator in SEPARATORS]
        separator = SEPARATORS[int(np.argmax(shares))] if max(shares) else ""
    lists = columns.as_lists(values, separator)
    coded = columns.as_words(lists.elements)
    words = vocabulary(coded)
    same = len(words) and not lists.missing.any() and len(coded.words) == len(words)
    if not words or (not is_late and same and (coded.counts() == len(values)).all()):
        return None
    return Words(words, separator)


def _fit_vectors(values: pa.ChunkedArray, _: Times, is_late: bool) -> Centre | None:
    lengths = pc.list_value_length(values).drop_null()
    lengths = lengths.filter(pc.greater(lengths, 0))
    if not len(lengths):
        return None
    often = pc.value_counts(lengths)
    channels = max(zip(often.field(1).to_pylist(), often.field(0).to_pylist(), strict=True))[1]
    vectors = columns.as_vectors(values, channels).astype(np.float64)
    known = vectors[~np.isnan(vectors).any(axis=1)]
    if not len(known):
        return None
    scale = float(np.sqrt(known.var(axis=0).mean()))
    if not is_late and len(known) == len(vectors) and scale == 0:
        return None
    return Centre(tuple(known.mean(axis=0).tolist()), scale or 1.0)


def _fit_texts(values: pa.ChunkedArray, _: Times, is_late: bool) -> bool | None:
    return _varies(values, is_late)


def _fit_times(values: pa.ChunkedArray, _: Times, is_late: bool) -> bool | None:
    return _varies(values, is_late)


def _varies(values: pa.ChunkedArray, is_late: bool) -> bool | None:
    if values.null_count == len(values):
        return None
    least, most = pc.min_max(values).values()
    return True if is_late or values.null_count or not least.equals(most) else None


_FITS = {
    Stype.numerical: _fit_numbers,
    Stype.categorical: _fit_categories,
    Stype.multicategorical: _fit_lists,
    Stype.embedding: _fit_vectors,
    Stype.text_embedded: _fit_texts,
    Stype.timestamp: _fit_times,
}
