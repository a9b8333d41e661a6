"""Totals with noise and weights are told from what merely makes more rows come."""

from __future__ import annotations

import numpy as np
import pytest

from rdl.audit.totals import SPANS, _followed

PARENTS = 1_000


def _spans(seed: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """How often things come by rate and span; ``level`` rows a span on average."""
    draw = np.random.default_rng(seed)
    rate = draw.lognormal(0, 1, PARENTS)
    return rate, draw.poisson(level * rate[:, None], (PARENTS, SPANS)).astype(np.float64)


@pytest.mark.parametrize("level", [0.5, 5, 50])
@pytest.mark.parametrize("begin", [0, 8, 12])
def test_a_total_that_reaches_to_the_end(level: float, begin: int) -> None:
    _, spans = _spans(1, level)
    noise = np.random.default_rng(2).random(PARENTS) / 2
    found = _followed(spans[:, begin:].sum(axis=1) + noise, spans)
    assert found is not None
    share, early, _ = found
    assert share > 0.9
    assert early < share


@pytest.mark.parametrize("level", [0.5, 5, 50, 5_000])
@pytest.mark.parametrize("seed", range(5))
def test_what_makes_rows_come_is_innocent(level: float, seed: int) -> None:
    """A town of more people has more visits: its size follows from any of the spans."""
    rate, spans = _spans(seed, level)
    assert _followed(rate, spans) is None
    assert _followed(rate * np.random.default_rng(seed).lognormal(0, 0.1, PARENTS), spans) is None


def test_the_total_of_what_was_is_innocent() -> None:
    """It stands on the first spans: what comes later adds nothing to it."""
    _, spans = _spans(3, 5)
    assert _followed(spans[:, :4].sum(axis=1), spans) is None
    assert _followed(np.random.default_rng(0).random(PARENTS), spans) is None
    assert _followed(np.full(PARENTS, np.nan), spans) is None
