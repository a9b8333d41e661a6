"""One clock: conversions are exact, and bare numbers are refused."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.clock import NEVER, Span, format_time, to_datetime, to_us, unit_named, visible
from rdl.errors import ConfigError


@given(st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)))
def test_round_trip_is_exact_to_the_microsecond(moment: dt.datetime) -> None:
    assert to_datetime(to_us(moment)) == moment
    assert to_us(moment.isoformat()) == to_us(moment)


@given(st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)))
def test_all_libraries_agree(moment: dt.datetime) -> None:
    assert to_us(np.datetime64(moment)) == to_us(pd.Timestamp(moment)) == to_us(moment)


def test_zones_are_converted_and_dates_are_midnight() -> None:
    assert to_us("2024-01-01T02:00:00+02:00") == to_us("2024-01-01")
    assert to_us(dt.date(1960, 1, 1)) == to_us("1960-01-01T00:00:00") < 0


@pytest.mark.parametrize("value", [0, 1.5, 1_600_000_000, "1600000000", "yesterday", "", None, np.datetime64("NaT")])
def test_what_has_no_unit_or_no_meaning_is_refused(value: object) -> None:
    with pytest.raises(ConfigError):
        to_us(value)


def test_spans_follow_the_calendar() -> None:
    assert format_time(Span(1, "month").after(to_us("2023-01-31"))) == "2023-02-28"
    assert format_time(Span(1, "month").after(to_us("2024-03-31"), -1)) == "2024-02-29"
    assert format_time(Span(1, "year").after(to_us("2024-02-29"), 4)) == "2028-02-29"
    assert format_time(Span(2, "week").after(to_us("2024-12-25"))) == "2025-01-08"
    assert unit_named("Weeks") == "week"
    assert unit_named("fortnight") is None
    with pytest.raises(ConfigError, match="fortnight"):
        Span(1, "fortnight")


@given(st.lists(st.integers(-5, 5)), st.integers(-5, 5))
def test_visible_is_at_most_the_cut_or_strictly_below(times: list[int], cut: int) -> None:
    rows = np.array([*times, NEVER], np.int64)
    assert visible(rows, cut).tolist() == [time <= cut for time in times] + [False]
    assert visible(rows, cut, strictly=True).tolist() == [time < cut for time in times] + [False]
    assert not visible(np.array([NEVER]), NEVER).any()
