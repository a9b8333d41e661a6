"""Columns → tensors: statistics fitted at the training cut, tables packed as torch-frame TensorFrames.

Statistics (vocabularies, medians, scales) come from rows whose time is at most the training cut, never later. Each
column goes from Arrow to a tensor in one vectorised pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor
from torch_frame import TensorFrame, stype
from torch_frame.data import MultiEmbeddingTensor
from torch_frame.data.stats import StatType

from rdl.clock import ALWAYS, NEVER, NO_BEGINNING, NO_END_FROM
from rdl.schema import Column, Stype, Table
from rdl.snapshot import Snapshot

#: A category seen fewer times than this at the training cut, or beyond the vocabulary's size, counts as unseen.
MIN_COUNT, MAX_CATEGORIES = 3, 2_000
TEXT_CHANNELS = 64
MIN_ROWS_OF_A_CLOCK, ROWS_TO_TELL_A_CLOCK = 30, 200_000
#: Code 0 of every categorical column: a value that was unseen at the training cut. NULL is −1, as in torch-frame.
UNSEEN = "\x00unseen"
_MISSING_TIME = NEVER


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was learnt of one table's columns at the training cut, as JSON values.

    ``numerical[column]`` is (median, scale); ``categories[column]`` the vocabulary by falling count, as text;
    ``texts`` and ``times`` are column names. A column in none of them is no input. ``late[column]`` are the inputs
    that become known at the time in ``column``, which is later than their row.
    """

    numerical: Mapping[str, tuple[float, float]]
    categories: Mapping[str, list[str]]
    texts: tuple[str, ...]
    times: tuple[str, ...]
    late: Mapping[str, tuple[str, ...]]

    def stats_list(self) -> dict[str, dict[StatType, Any]]:
        """The statistics in torch-frame's form, by column. Numbers are already standardised."""
        return {
            **{name: {StatType.MEAN: 0.0, StatType.STD: 1.0} for name in self.numerical},
            **{name: {StatType.COUNT: (words, [1] * len(words))} for name, words in self.categories.items()},
            **{name: {StatType.EMB_DIM: TEXT_CHANNELS} for name in self.texts},
            **{name: {} for name in self.times},
        }

    def columns(self) -> dict[stype, list[str]]:
        """The column names by torch-frame stype, in the order of the packed tensors; no empty entries."""
        named = {
            stype.numerical: list(self.numerical),
            stype.categorical: list(self.categories),
            stype.embedding: list(self.texts),
            stype.timestamp: list(self.times),
        }
        return {kind: names for kind, names in named.items() if names}


@dataclass(frozen=True, slots=True)
class Features:
    """The packed columns of one table.

    ``frame`` holds ``[rows, columns]`` a stype (None where the table has no input column); ``times`` int64
    ``[rows, 1 + T]`` are the row's own time and its timestamp columns in µs, ``clock.NEVER`` where there is none (or
    one of the year 9999, or an infinite one, in a column).
    ``known_at`` int64 ``[rows, G]`` are the times at which the columns ``late[g]`` become known, ``clock.NEVER`` for
    never; ``time_names`` are the names of the T timestamp columns.
    """

    frame: TensorFrame | None
    times: Tensor
    time_names: tuple[str, ...]
    known_at: Tensor
    late: tuple[tuple[str, ...], ...]

    def to(self, device: torch.device) -> Features:
        """The same features on ``device``."""
        frame = self.frame and self.frame.to(device)
        return Features(frame, self.times.to(device), self.time_names, self.known_at.to(device), self.late)


def inputs(table: Table, hidden: Collection[tuple[str, str]]) -> list[Column]:
    """The columns of ``table`` that a model may read: those with a meaning, less the hidden ones."""
    useless = (Stype.identifier, Stype.unsupported, Stype.multicategorical, Stype.embedding)
    return [c for c in table.columns if c.stype not in useless and (table.name, c.name) not in hidden]


def fit(snapshot: Snapshot, cut_us: int, hidden: Collection[tuple[str, str]] = ()) -> dict[str, Statistics]:
    """The statistics of every table, from the rows with a time ≤ ``cut_us`` and no others."""
    fitted = {}
    for name, table in snapshot.schema.tables.items():
        known = int(np.searchsorted(snapshot.time(name), cut_us, side="right"))
        rows = snapshot.arrow(name).slice(0, known)
        numerical: dict[str, tuple[float, float]] = {}
        categories: dict[str, list[str]] = {}
        texts: list[str] = []
        times: list[str] = []
        for column in inputs(table, hidden):
            values = rows.column(column.name)
            if (told_by := table.told_by(column)) is not None:
                unknown = _to_times(rows.column(told_by)) > cut_us
                values = pc.if_else(pa.array(unknown), pa.scalar(None, values.type), values)
            if column.stype is Stype.numerical:
                numbers = to_numbers(values)
                if not is_clock(numbers, snapshot.time(name)[:known]):
                    numerical[column.name] = _fit_numbers(numbers)
            elif column.stype is Stype.categorical:
                categories[column.name] = _fit_categories(values)
            elif column.stype is Stype.text_embedded:
                texts.append(column.name)
            elif column.stype is Stype.timestamp and pa.types.is_timestamp(values.type):
                times.append(column.name)
        late: dict[str, tuple[str, ...]] = {source: () for c in table.columns if (source := table.told_by(c))}
        read = {*numerical, *categories, *texts, *times}
        for source in late:
            late[source] = tuple(c.name for c in table.columns if table.told_by(c) == source and c.name in read)
        fitted[name] = Statistics(
            numerical, categories, tuple(texts), tuple(times), {k: v for k, v in late.items() if v}
        )
    return fitted


def pack(snapshot: Snapshot, statistics: Mapping[str, Statistics]) -> dict[str, Features]:
    """Every row of every table as tensors, by table."""
    return {name: _pack(snapshot, name, fitted) for name, fitted in statistics.items()}


def _pack(snapshot: Snapshot, table: str, fitted: Statistics) -> Features:
    rows = snapshot.arrow(table)
    parts: dict[stype, Any] = {}
    for kind, names in fitted.columns().items():
        if kind is stype.numerical:
            columns = [standardise(to_numbers(rows.column(name)), *fitted.numerical[name]) for name in names]
            parts[kind] = torch.from_numpy(np.stack(columns, axis=1))
        elif kind is stype.categorical:
            codes = [_codes(rows.column(name), fitted.categories[name]) for name in names]
            parts[kind] = torch.from_numpy(np.stack(codes, axis=1))
        elif kind is stype.timestamp:
            parts[kind] = torch.stack([_calendar(_finite_times(rows.column(name))) for name in names], dim=1)
        else:
            embedded = torch.from_numpy(np.concatenate([embed_text(rows.column(name)) for name in names], axis=1))
            offset = torch.arange(0, TEXT_CHANNELS * len(names) + 1, TEXT_CHANNELS)
            parts[kind] = MultiEmbeddingTensor(rows.num_rows, len(names), embedded, offset)
    own = np.where(snapshot.time(table) == ALWAYS, _MISSING_TIME, snapshot.time(table))
    times = np.stack([own, *(_finite_times(rows.column(name)) for name in fitted.times)], axis=1)
    known_at = np.empty((rows.num_rows, len(fitted.late)), np.int64)
    for number, name in enumerate(fitted.late):
        known_at[:, number] = _to_times(rows.column(name))
    return Features(
        TensorFrame(parts, fitted.columns()) if parts else None,
        torch.from_numpy(times),
        fitted.times,
        torch.from_numpy(known_at),
        tuple(fitted.late.values()),
    )


def to_numbers(values: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """``values`` as float64, NaN for NULL and for infinities. Durations are in seconds."""
    if pa.types.is_duration(values.type):
        values = pc.divide(pc.cast(values.cast(pa.duration("us")), pa.int64()).cast(pa.float64()), 1e6)
    if pa.types.is_time(values.type):
        values = pc.divide(pc.cast(values.cast(pa.time64("us")), pa.int64()).cast(pa.float64()), 1e6)
    numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64, copy=True)
    numbers[~np.isfinite(numbers)] = np.nan
    return np.asarray(numbers)


def standardise(numbers: npt.NDArray[np.float64], median: float, scale: float) -> npt.NDArray[np.float32]:
    """asinh((x − median) / scale): linear near the median, logarithmic in the tails; NaN stays NaN."""
    return np.asarray(np.arcsinh((numbers - median) / scale), dtype=np.float32)


def is_clock(numbers: npt.NDArray[np.float64], times: npt.NDArray[np.int64]) -> bool:
    """Whether a column only tells the time in other units (a year, a running number): rank correlation with the rows'
    times of 0.98 or more. Such a column is no input: beyond the training cut it has values never seen."""
    every = -(-len(numbers) // ROWS_TO_TELL_A_CLOCK) or 1  # a sample across all times tells as much
    numbers, times = numbers[::every], times[::every]
    told = ~np.isnan(numbers) & (times != ALWAYS) & (times != NEVER)
    if told.sum() < MIN_ROWS_OF_A_CLOCK or np.ptp(numbers[told]) == 0 or np.ptp(times[told]) == 0:
        return False
    return bool(abs(spearmanr(numbers[told], times[told]).statistic) >= 0.98)


def _fit_numbers(numbers: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Median and scale: the interquartile range as a standard deviation, or the standard deviation where that is 0."""
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return 0.0, 1.0
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75])
    scale = (high - low) / 1.349
    if scale <= 0:
        scale = float(np.std(known)) or 1.0
    return float(median), float(scale)


def _as_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values if pa.types.is_string(values.type) else values.cast(pa.string())


def _fit_categories(values: pa.ChunkedArray) -> list[str]:
    """The vocabulary by falling count, ties by the text itself, so that the order of rows does not matter."""
    counted = pc.value_counts(_as_text(values).drop_null())
    words, counts = counted.field("values").to_pylist(), counted.field("counts").to_numpy()
    order = sorted(range(len(words)), key=lambda i: (-counts[i], words[i]))
    return [UNSEEN, *(words[i] for i in order[:MAX_CATEGORIES] if counts[i] >= MIN_COUNT)]


def _codes(values: pa.ChunkedArray, words: list[str]) -> npt.NDArray[np.int64]:
    """Vocabulary numbers: −1 for NULL, 0 for unseen."""
    text = _as_text(values)
    found = pc.fill_null(pc.index_in(text, pa.array(words, pa.string())), 0)
    codes = found.to_numpy().astype(np.int64)
    codes[pc.is_null(text).to_numpy(zero_copy_only=False)] = -1
    return np.asarray(codes)


def _to_times(values: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """µs UTC, ``clock.NEVER`` for NULL."""
    micros = pc.fill_null(values.cast(pa.timestamp("us"), safe=False).cast(pa.int64()), _MISSING_TIME)
    return np.asarray(micros.to_numpy(), dtype=np.int64)


def _finite_times(values: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """As :func:`_to_times`; an end that never comes and a beginning that ever was are no times either."""
    times = _to_times(values)
    return np.where((times >= NO_END_FROM) | (times <= NO_BEGINNING), _MISSING_TIME, times)


def _calendar(times: npt.NDArray[np.int64]) -> Tensor:
    """float32 ``[N, 3]``: the part of the year, of the week and of the day, each in [0, 1); NaN where there is no time.

    The year itself is left out on purpose: a model would have to extrapolate it.
    """
    missing = times == _MISSING_TIME
    moments = np.where(missing, 0, times).astype("datetime64[us]")
    day = moments.astype("datetime64[D]")
    year = moments.astype("datetime64[Y]")
    parts = np.stack(
        [
            (day - year.astype("datetime64[D]")).astype(np.int64) / 366,
            (day.astype(np.int64) + 3) % 7 / 7,
            (moments - day.astype("datetime64[us]")).astype(np.int64) / 86_400e6,
        ],
        axis=1,
    ).astype(np.float32)
    parts[missing] = np.nan
    return torch.from_numpy(parts)


def embed_text(values: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """float32 ``[N, TEXT_CHANNELS]``: hashed counts of words and word pairs, of length 1; zeros for NULL.

    Signed feature hashing (Weinberger et al., 2009) is a random projection: it needs no fitting, no model and no net.
    """
    encoded = _as_text(values).combine_chunks().dictionary_encode()
    words = encoded.dictionary.to_pylist()
    table = np.zeros((len(words) + 1, TEXT_CHANNELS), np.float32)
    if words:
        hashing = HashingVectorizer(n_features=TEXT_CHANNELS, ngram_range=(1, 2), norm="l2", dtype=np.float32)
        table[:-1] = hashing.transform(words).toarray()
    codes = pc.fill_null(encoded.indices, len(words)).to_numpy(zero_copy_only=False)
    return np.asarray(table[codes])


def mask(frame: TensorFrame, columns: Collection[str], rows: Tensor) -> TensorFrame:
    """A copy of ``frame`` in which the cells of ``columns`` are NULL where ``rows`` (bool ``[N]``) holds."""
    parts = dict(frame.feat_dict)
    for kind, names in frame.col_names_dict.items():
        hit = [number for number, name in enumerate(names) if name in columns]
        if not hit:
            continue
        if kind is stype.embedding:
            values = parts[kind].values.clone()
            for number in hit:
                values[rows, number * TEXT_CHANNELS : (number + 1) * TEXT_CHANNELS] = 0
            parts[kind] = MultiEmbeddingTensor(frame.num_rows, len(names), values, parts[kind].offset)
        else:
            parts[kind] = parts[kind].clone()
            for number in hit:
                parts[kind][rows, number] = -1 if kind is stype.categorical else torch.nan
    return TensorFrame(parts, frame.col_names_dict)


def seasons(times: Tensor) -> Tensor:
    """µs UTC ``[N]`` → float32 ``[N, 6]``: sine and cosine of the part of the year, of the week and of the day."""
    angle = _calendar(times.cpu().numpy()).to(times.device) * (2 * torch.pi)
    return torch.cat([angle.sin(), angle.cos()], dim=1)
