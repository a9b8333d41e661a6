"""Aggregates over ranges of time-ordered rows: for each seed, the rows that happened to its owner in a frame of time.

Rows are sorted once by owner and time; a frame of a seed is then a range ``[low, high)`` of positions, and every
aggregate over it is a difference of running totals or a look-up. Totals are held in fixed point, as integers, so an
aggregate depends on the rows in its frame and on nothing else, to the bit. Linear in rows and seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rdl import clock

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
V = TypeVar("V", bound=np.generic)

#: Values are held to 36 bits, which leaves 2^27 rows of the largest before a total overflows.
_BITS = 36


@dataclass(frozen=True, slots=True)
class Frame:
    """A part of what came before: the last ``us`` µs, the last ``rows`` rows, or all of it where both are None."""

    name: str
    us: int | None = None
    rows: int | None = None


ALL = Frame("all")


class Ranges:
    """The rows of a stream by owner and time, and for each seed how far it sees.

    ``owner`` ``[rows]`` (-1: nobody's) and ``time`` ``[rows]`` µs (``clock.NEVER``: never seen) are of the stream;
    ``asked`` ``[seeds]`` (-1: nobody) and ``cut`` ``[seeds]`` µs of the seeds. Afterwards ``order`` are the row numbers
    that belong to somebody, sorted; ``high`` ``[seeds]`` the position after the last row with time ≤ cut.
    """

    def __init__(self, owner: npt.NDArray[np.integer], time: clock.Times, asked: Rows, cut: clock.Times) -> None:
        kept = np.flatnonzero((owner >= 0) & (time != clock.NEVER))
        self.order: Rows = kept[np.lexsort((time[kept], owner[kept]))]
        self.owner, self.time = owner[self.order].astype(np.int64), np.asarray(time[self.order])
        self.asked, self.cut = asked.astype(np.int64), cut
        self._ascending = np.sort(self.time)
        self._width = len(self.order) + 1
        self._position = self.owner * self._width + np.searchsorted(self._ascending, self.time)
        self.start = self._find(np.zeros(len(asked), np.int64))
        self.high = self._find(np.searchsorted(self._ascending, cut, side="right"))
        self._low: dict[Frame, Rows] = {}

    def _find(self, rank: Rows) -> Rows:
        found = np.searchsorted(self._position, self.asked * self._width + rank)
        return np.where(self.asked < 0, 0, found)

    def low(self, frame: Frame) -> Rows:
        """For each seed the position of the first row of ``frame``: later than cut - us, or among the last rows."""
        if frame not in self._low:
            low = self.start
            if frame.us is not None:
                low = self._find(np.searchsorted(self._ascending, self.cut - frame.us, side="right"))
            if frame.rows is not None:
                low = np.maximum(self.start, self.high - frame.rows)
            self._low[frame] = np.minimum(low, self.high)
        return self._low[frame]

    def count(self, frame: Frame) -> Rows:
        """How many rows are in the frame."""
        return self.high - self.low(frame)

    def newest(self) -> Rows:
        """The row number of the newest visible row, -1 where there is none."""
        return self._row(self.high - 1)

    def oldest(self) -> Rows:
        """The row number of the oldest visible row, -1 where there is none."""
        return self._row(self.start)

    def _row(self, position: Rows) -> Rows:
        found = np.full(len(position), -1, np.int64)
        there = self.high > self.start
        found[there] = self.order[position[there]]
        return found


@dataclass(frozen=True, slots=True)
class Fit:
    """Where a column's values lie: ``centre``, and powers of two by which deviations and their squares are scaled."""

    centre: float
    scale: float
    square_scale: float


def fit(values: Floats) -> Fit | None:
    """The fit of a column's values as known at the training cut, or None where there is none that is finite."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    centre = float(np.rint(np.clip(values, -1e30, 1e30).mean()))
    # Twice the reach, so that somewhat larger values that come later are not clipped.
    reach = float(np.clip(np.abs(values - centre).max(), 1e-12, 1e30)) * 2
    return Fit(centre, 2.0 ** (_BITS - np.ceil(np.log2(reach))), 2.0 ** (_BITS - np.ceil(2 * np.log2(reach))))


class Numbers:
    """A numerical column of a stream: aggregates by frame, NaN where no row of the frame has a finite value."""

    def __init__(self, ranges: Ranges, values: Floats, fitted: Fit) -> None:
        self.ranges, self._fitted = ranges, fitted
        self._values = values[ranges.order]
        self._there = np.isfinite(self._values)
        self._count = _running(self._there)
        self._deviation = np.where(self._there, self._values - fitted.centre, 0.0)
        self._sum = _running(_fixed(self._deviation, fitted.scale))
        self._squares: Rows | None = None

    def _over(self, total: Rows, frame: Frame) -> Floats:
        return (total[self.ranges.high] - total[self.ranges.low(frame)]).astype(np.float64)

    def _count_of(self, frame: Frame) -> Floats:
        count = self._over(self._count, frame)
        return np.where(count > 0, count, np.nan)

    def mean(self, frame: Frame) -> Floats:
        """The mean."""
        return self._fitted.centre + self._over(self._sum, frame) / self._count_of(frame) / self._fitted.scale

    def total(self, frame: Frame) -> Floats:
        """The sum."""
        count = self._count_of(frame)
        return self._fitted.centre * count + self._over(self._sum, frame) / self._fitted.scale

    def spread(self, frame: Frame) -> Floats:
        """The standard deviation (ddof=0)."""
        if self._squares is None:
            with np.errstate(over="ignore"):  # what is infinite then is clipped
                squares = np.square(self._deviation)
            self._squares = _running(_fixed(squares, self._fitted.square_scale))
        count = self._count_of(frame)
        mean = self._over(self._sum, frame) / count / self._fitted.scale
        square = self._over(self._squares, frame) / count / self._fitted.square_scale
        return np.sqrt(np.maximum(square - np.square(mean), 0))

    def last(self) -> Floats:
        """The most recent value that is not missing."""
        return _last(self.ranges, self._values, self._there, np.nan)

    def smallest(self, frame: Frame) -> Floats:
        """The minimum."""
        return -_greatest(np.where(self._there, -self._values, -np.inf), self.ranges.low(frame), self.ranges.high)

    def greatest(self, frame: Frame) -> Floats:
        """The maximum."""
        return _greatest(np.where(self._there, self._values, -np.inf), self.ranges.low(frame), self.ranges.high)


class Codes:
    """A categorical column of a stream, codes from 0, -1 where unknown."""

    def __init__(self, ranges: Ranges, codes: npt.NDArray[np.integer]) -> None:
        self.ranges = ranges
        self._codes = codes[ranges.order].astype(np.int64)
        self._there = self._codes >= 0
        self._count = _running(self._there)

    def last(self) -> Rows:
        """The most recent code that is known, -1 where there is none."""
        return _last(self.ranges, self._codes, self._there, -1)

    def share(self, code: int, frame: Frame) -> Floats:
        """The share of ``code`` among the known ones; NaN where none is."""
        low, high = self.ranges.low(frame), self.ranges.high
        there, these = self._count, _running(self._codes == code)
        count = (there[high] - there[low]).astype(np.float64)
        return (these[high] - these[low]) / np.where(count > 0, count, np.nan)

    def distinct(self) -> Floats:
        """How many different codes are visible."""
        kinds = int(self._codes.max(initial=-1)) + 1
        places = np.flatnonzero(self._there)
        _, first = np.unique(self.ranges.owner[places] * kinds + self._codes[places], return_index=True)
        new = np.zeros(len(self._codes), np.bool_)
        new[places[first]] = True
        total = _running(new)
        return (total[self.ranges.high] - total[self.ranges.start]).astype(np.float64)


def _running(values: npt.NDArray[np.generic]) -> Rows:
    """Totals of the values before each position, one more than there are values."""
    total = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, dtype=np.int64, out=total[1:])
    return total


def _fixed(values: Floats, scale: float) -> Rows:
    with np.errstate(over="ignore"):
        return np.rint(np.clip(values * scale, -(2.0**_BITS), 2.0**_BITS)).astype(np.int64)


def _last(ranges: Ranges, values: npt.NDArray[V], there: npt.NDArray[np.bool_], missing: float) -> npt.NDArray[V]:
    """The value at the last position before ``high`` where there is one, not before the owner's first."""
    found = np.full(len(ranges.high), missing, values.dtype)
    if len(values):
        newest = np.maximum.accumulate(np.where(there, np.arange(len(values)), -1))[ranges.high - 1]
        seen = (ranges.high > ranges.start) & (newest >= ranges.start)
        found[seen] = values[newest[seen]]
    return found


def _greatest(values: Floats, low: Rows, high: Rows) -> Floats:
    """The maximum of each range, NaN where it is empty or holds nothing but -inf.

    A range of length n is covered by two runs of the largest power of two ≤ n; runs are doubled level by level.
    """
    found = np.full(len(low), -np.inf)
    length = high - low
    level = np.where(length > 0, np.frexp(length)[1] - 1, -1)
    runs = values
    for at in range(int(level.max(initial=-1)) + 1):
        here = np.flatnonzero(level == at)
        found[here] = np.maximum(runs[low[here]], runs[high[here] - 2**at])
        runs = np.maximum(runs[: -(2**at)], runs[2**at :]) if len(runs) > 2**at else runs[:0]
    return np.where(np.isneginf(found), np.nan, found)
