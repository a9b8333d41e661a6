"""What each seed's past adds up to, as inputs of a model: the columns of :mod:`rdl.aggregates`, standardised.

A graph network that samples some of a row's children cannot count the others, and learns slowly to compare a month with
a year. The window aggregates that LightGBM is given, but for what only grows as time goes by, stand beside what it
reads from the graph; earlier labels of binary tasks and regressions over windows are among them
(:func:`rdl.labels.history`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from rdl import labels, streams
from rdl.aggregates import window_features
from rdl.columns import standardise
from rdl.query.task import Task, TaskTable
from rdl.sampler import Seeds
from rdl.snapshot import Snapshot

#: Seeds are summed up in pieces of so many.
SEEDS_A_PIECE = 100_000
#: A column drifts where the newest share of the training seeds and the others are distributed this differently.
NEWEST_SHARE, MOST_DRIFT = 0.2, 0.5
#: So few known values of a sample are not compared.
FEWEST_KNOWN = 20
#: Bins of each column, a multiple of four.
BINS = 8
#: The quartiles of a normal distribution lie this many standard deviations apart.
_QUARTILES = 1.349

Columns = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class SummaryStatistics:
    """Where the columns of the training seeds' summaries lie: fitted once, kept with a run. (What the columns are made
    of, as which categories are the most frequent, is read from the rows known at the cut of the database asked.)

    ``fitted_at_us`` is the training cut at which vocabularies and scales of the cells were fitted. Of each column in
    ``names`` there are the median and the scale (the standard deviation of a normal distribution with its quartiles),
    and the quantiles of its standardised values that part them into :data:`BINS` bins of as many seeds each; ``gappy``
    are the numbers of those that are unknown of some training seeds.
    """

    fitted_at_us: int
    names: tuple[str, ...] = ()
    medians: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    gappy: tuple[int, ...] = ()
    quantiles: tuple[tuple[float, ...], ...] = ()

    @property
    def width(self) -> int:
        """The inputs a seed: one a column, and one for each that may be unknown."""
        return len(self.names) + len(self.gappy)

    @staticmethod
    def fit(columns: Columns, fitted_at_us: int, time: npt.NDArray[np.int64]) -> SummaryStatistics:
        """The statistics of ``columns`` of training seeds at ``time`` ``[S]`` µs. Left out are those that do not vary,
        and those that drift: what they are of the newest fifth of the seeds hardly tells of the seeds to come."""
        since = np.quantile(time, 1 - NEWEST_SHARE) if len(time) else 0
        newest = time > since if (time > since).any() else time >= since
        names: list[str] = []
        medians: list[float] = []
        scales: list[float] = []
        gappy: list[int] = []
        quantiles: list[tuple[float, ...]] = []
        for name, values in columns.items():
            known = values[np.isfinite(values)].astype(np.float64)
            if not len(known) or (len(known) == len(values) and (known[0] == known).all()):
                continue
            if _drift(values[~newest], values[newest]) > MOST_DRIFT:
                continue
            levels = np.quantile(known, np.linspace(0, 1, BINS + 1))
            low, median, high = levels[[BINS // 4, BINS // 2, 3 * BINS // 4]]
            scale = float((high - low) / _QUARTILES or known.std() or 1.0)
            if len(known) < len(values):
                gappy.append(len(names))
            names.append(name)
            medians.append(float(median))
            scales.append(scale)
            quantiles.append(tuple(standardise(levels, float(median), scale).tolist()))
        return SummaryStatistics(
            fitted_at_us, tuple(names), tuple(medians), tuple(scales), tuple(gappy), tuple(quantiles)
        )

    def tensor(self, columns: Columns, seeds: int) -> Tensor:
        """``columns`` standardised as :func:`rdl.columns.standardise` says, 0 where unknown, then for each of the gappy
        ones whether it is unknown: float32 ``[seeds, width]``. A column that is not there is unknown throughout."""
        found = np.full((seeds, len(self.names)), np.nan, np.float32)
        for place, (name, median, scale) in enumerate(zip(self.names, self.medians, self.scales, strict=True)):
            if name in columns:
                found[:, place] = standardise(columns[name], median, scale)
        unknown = np.isnan(found)
        gaps = unknown[:, list(self.gappy)].astype(np.float32)
        return torch.from_numpy(np.concatenate([np.where(unknown, np.float32(0), found), gaps], axis=1))

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> SummaryStatistics:
        """The statistics written as JSON."""
        lists = {name: tuple(value[name]) for name in ("names", "medians", "scales", "gappy")}
        quantiles = tuple(tuple(levels) for levels in value["quantiles"])
        return SummaryStatistics(value["fitted_at_us"], **lists, quantiles=quantiles)


class Summaries:
    """Sums up the past of seeds of one task, as each of them knows it at its cut."""

    def __init__(self, task: Task, snapshot: Snapshot, *, fitted_at_us: int, most_columns: int) -> None:
        """Vocabularies and scales of the cells are those of the snapshot's rows that were known at ``fitted_at_us``."""
        self.task, self.snapshot, self.fitted_at_us, self.most_columns = task, snapshot, fitted_at_us, most_columns
        self._last: tuple[Seeds, Columns] | None = None
        self._labels: tuple[int, TaskTable | None] | None = None

    def remember(self, seeds: Seeds) -> None:
        """Computes the earlier labels that ``seeds`` know once, for all pieces that they are asked about in."""
        if len(seeds) and self.most_columns:
            self._history(int(seeds.cut.max()))

    def columns(self, seeds: Seeds) -> Columns:
        """Numeric columns float32 ``[S]`` by name, NaN where unknown: the shallow and simple ones first, at most as
        many as wanted. What a later row or cell says is in none of them. The last answer is kept: statistics are
        fitted on what is trained on next."""
        if not self.most_columns:
            return {}
        if self._last is not None and _same(self._last[0], seeds):
            return self._last[1]
        earlier = self._history(int(seeds.cut.max())) if len(seeds) else None
        pieces = [
            self._piece(seeds.part(start, start + SEEDS_A_PIECE), earlier)
            for start in range(0, len(seeds), SEEDS_A_PIECE)
        ]
        found = {
            name: np.concatenate([piece[name].to_numpy() for piece in pieces])
            for name, kind in (zip(pieces[0].column_names, pieces[0].schema.types, strict=True) if pieces else ())
            if pa.types.is_floating(kind) and all(name in piece.column_names for piece in pieces)
        }
        self._last = seeds, found
        return found

    def _history(self, until_us: int) -> TaskTable | None:
        """Earlier labels, of windows closed by ``until_us`` and perhaps of some that closed later."""
        if self._labels is None or self._labels[0] < until_us:
            self._labels = until_us, labels.history(self.task, self.snapshot, self.fitted_at_us, until_us)
        return self._labels[1]

    def _piece(self, seeds: Seeds, earlier: TaskTable | None) -> pa.Table:
        rows, time, cut = (tensor.cpu().numpy() for tensor in (seeds.row, seeds.time, seeds.cut))
        return window_features(
            self.task,
            self.snapshot,
            streams.Seeds(rows, time, cut),
            fitted_at_us=self.fitted_at_us,
            labels=earlier,
            most_columns=self.most_columns,
            stationary=True,
        )


def _same(one: Seeds, other: Seeds) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("row", "time", "cut"))


def _drift(early: npt.NDArray[np.float32], late: npt.NDArray[np.float32]) -> float:
    """How far two samples lie apart, from 0 to 1: the distance of Kolmogorov and Smirnov of what is known of them, or
    the difference of how much of them is, where that is next to nothing; 0 of no sample."""
    if not len(early) or not len(late):
        return 0.0
    one, two = (np.sort(values[np.isfinite(values)]) for values in (early, late))
    if min(len(one), len(two)) < FEWEST_KNOWN:
        return abs(len(one) / len(early) - len(two) / len(late))
    places = np.concatenate([one, two])
    shares = [np.searchsorted(values, places, side="right") / len(values) for values in (one, two)]
    return float(np.abs(shares[0] - shares[1]).max())
