"""Calibrated intervals: moved by what is counted by hand, and covering what they say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rdl.intervals import FOLDS, calibrate, cross_fitted, pairs, shifted

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


def drawn(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=n).round(1), np.sort(rng.normal(size=(n, len(LEVELS))), axis=1)


@given(seed=st.integers(0, 1000), n=st.integers(1, 60))
def test_each_interval_holds_as_many_of_its_own_labels_as_it_should(seed: int, n: int) -> None:
    target, predicted = drawn(seed, n)
    shifts = calibrate(LEVELS, target, predicted)
    assert shifts[2] == 0
    for low, high in pairs(LEVELS):
        assert shifts[low] == -shifts[high]
        # The smallest distance by which n + 1 labels, of which these are n, would be covered often enough.
        wanted = min(n, int(np.ceil((LEVELS[high] - LEVELS[low]) * (n + 1) - 1e-9)))
        outside = np.maximum(predicted[:, low] - target, target - predicted[:, high])
        assert (outside <= shifts[high]).sum() >= wanted > (outside < shifts[high]).sum()


@given(seed=st.integers(0, 1000), n=st.integers(0, 60))
def test_quantiles_never_cross_and_a_calibration_of_none_moves_none(seed: int, n: int) -> None:
    target, predicted = drawn(seed, n)
    moved = shifted(predicted, calibrate(LEVELS, target, predicted))
    assert (np.diff(moved, axis=1) >= 0).all()
    assert moved.shape == predicted.shape
    assert calibrate(LEVELS, target[:0], predicted[:0]) == ()
    assert shifted(predicted, ()) is predicted


def test_too_narrow_and_too_wide_intervals_cover_what_they_say() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=20_000)
    for width in (0.2, 3.0):
        predicted = np.tile([-width, 0.0, width], (20_000, 1))
        shifts = calibrate((0.1, 0.5, 0.9), target[:10_000], predicted[:10_000])
        low, _, high = shifted(predicted[10_000:], shifts).T
        assert abs(((low <= target[10_000:]) & (target[10_000:] <= high)).mean() - 0.8) < 0.02


def test_a_label_has_no_say_in_its_own_interval() -> None:
    target, predicted = drawn(3, 100)
    before = cross_fitted(LEVELS, target, predicted)
    target[17] = 1e6
    after = cross_fitted(LEVELS, target, predicted)
    same = (before == after).all(axis=1)
    assert same[17 % FOLDS :: FOLDS].all()
    assert not same.all()
