"""Aggregates over ranges against a brute force that looks at one seed's rows at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.clock import ALWAYS, NEVER
from rdl.ranges import ALL, Codes, Frame, Numbers, Ranges, fit

FRAMES = [ALL, Frame("5 µs", us=5), Frame("last 2", rows=2)]


def stream(seed: int, rows: int, seeds: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    time = rng.integers(0, 15, rows)
    time[rng.random(rows) < 0.1] = NEVER
    time[rng.random(rows) < 0.1] = ALWAYS
    values = np.round(rng.normal(size=rows) * 10, 2)
    values[rng.random(rows) < 0.2] = np.nan
    codes = rng.integers(-1, 4, rows)
    return rng.integers(-1, 3, rows), time, values, codes, rng.integers(-1, 4, seeds), rng.integers(0, 16, seeds)


def seen(owner: np.ndarray, time: np.ndarray, asked: int, cut: int, frame: Frame) -> np.ndarray:
    """The rows in the frame of one seed, oldest first."""
    rows = np.flatnonzero((owner == asked) & (owner >= 0) & (time <= cut) & (time != NEVER))
    rows = rows[np.argsort(time[rows], kind="stable")]
    if frame.us is not None:
        rows = rows[time[rows] > cut - frame.us]
    return rows if frame.rows is None else rows[-frame.rows :]


def same(found: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(found, np.array(expected, np.float64), rtol=1e-6, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), rows=st.integers(0, 40), seeds=st.integers(0, 8))
def test_aggregates_equal_those_of_the_rows_in_the_frame(seed: int, rows: int, seeds: int) -> None:
    owner, time, values, codes, asked, cut = stream(seed, rows, seeds)
    ranges = Ranges(owner, time, asked, cut)
    numbers = Numbers(ranges, values, fit(values) or fit(np.zeros(1)))
    coded = Codes(ranges, codes)
    every = list(zip(asked.tolist(), cut.tolist(), strict=True))
    nan = float("nan")
    for frame in FRAMES:
        inside = [seen(owner, time, *at, frame) for at in every]
        filled = [v[~np.isnan(v)] for v in (values[rows] for rows in inside)]
        known = [c[c >= 0] for c in (codes[rows] for rows in inside)]
        assert ranges.count(frame).tolist() == [len(rows) for rows in inside]
        same(numbers.mean(frame), [v.mean() if len(v) else nan for v in filled])
        same(numbers.total(frame), [v.sum() if len(v) else nan for v in filled])
        np.testing.assert_allclose(
            numbers.spread(frame), [v.std() if len(v) else nan for v in filled], rtol=1e-4, atol=2e-3
        )
        assert np.array_equal(numbers.smallest(frame), [v.min() if len(v) else nan for v in filled], equal_nan=True)
        assert np.array_equal(numbers.greatest(frame), [v.max() if len(v) else nan for v in filled], equal_nan=True)
        same(coded.share(1, frame), [(c == 1).mean() if len(c) else nan for c in known])
        if frame is ALL:
            assert np.array_equal(numbers.last(), [v[-1] if len(v) else nan for v in filled], equal_nan=True)
            assert coded.last().tolist() == [int(c[-1]) if len(c) else -1 for c in known]
            assert coded.distinct().tolist() == [len(set(c.tolist())) for c in known]
            assert ranges.newest().tolist() == [int(rows[-1]) if len(rows) else -1 for rows in inside]
            assert ranges.oldest().tolist() == [int(rows[0]) if len(rows) else -1 for rows in inside]


def test_whole_numbers_are_summed_without_rounding() -> None:
    values = np.arange(100_000, dtype=np.float64) * 37 - 1_000_000
    ranges = Ranges(np.zeros(100_000, np.int64), np.arange(100_000), np.zeros(1, np.int64), np.array([99_999]))
    assert Numbers(ranges, values, fit(values)).total(ALL)[0] == values.sum()


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e12, 1e200])
def test_numbers_of_any_size_keep_their_mean(size: float) -> None:
    values = np.array([1.0, 2.0, 4.0]) * min(size, 1e29)
    ranges = Ranges(np.zeros(3, np.int64), np.arange(3), np.zeros(1, np.int64), np.array([2]))
    assert Numbers(ranges, values, fit(values)).mean(ALL)[0] == pytest.approx(values.mean(), rel=1e-4)


def test_a_column_without_a_finite_value_has_no_fit() -> None:
    assert fit(np.array([np.nan, np.inf])) is None
