"""The parts of a time are those of NumPy's calendar."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from rdl.clock import NEVER, NO_BEGINNING, NO_END, US_PER_DAY
from rdl.features.calendar import calendar, seasons

TIMES = st.integers(NO_BEGINNING, NO_END)


@given(st.lists(TIMES, min_size=1, max_size=20))
def test_parts_are_those_of_numpys_calendar(times: list[int]) -> None:
    moments = np.array(times).astype("datetime64[us]")
    day, year = moments.astype("datetime64[D]"), moments.astype("datetime64[Y]")
    parts = [
        (day - year.astype("datetime64[D]")).astype(np.int64) / 366,
        (day.astype(np.int64) + 3) % 7 / 7,
        (moments - day.astype("datetime64[us]")).astype(np.int64) / US_PER_DAY,
    ]
    found = calendar(torch.tensor(times))
    assert np.allclose(found.numpy(), np.stack(parts, axis=1), atol=1e-6)
    assert ((found >= 0) & (found <= 1)).all()


def test_no_time_has_no_parts() -> None:
    assert calendar(torch.tensor([[NEVER], [0]])).isnan().all(dim=2)[:, 0].tolist() == [True, False]
    assert calendar(torch.empty(0, 2, dtype=torch.int64)).shape == (0, 2, 3)


@given(TIMES)
def test_seasons_lie_on_circles(time: int) -> None:
    waves = seasons(torch.tensor([time]))
    assert torch.allclose(waves[:, :3] ** 2 + waves[:, 3:] ** 2, torch.ones(1, 3), atol=1e-4)
