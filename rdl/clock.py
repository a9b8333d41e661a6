"""One clock for everything: int64 microseconds since 1970 in UTC.

Every time that enters rdl is converted here and nowhere else. A bare number has no unit and is refused, never guessed.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rdl.errors import ConfigError

Times = npt.NDArray[np.int64]

#: The time of a row of a timeless table: earlier than any seed, so always visible.
ALWAYS = int(np.iinfo(np.int64).min)
#: The time of a row whose time is NULL: nobody knows when it became known, so it is never visible.
NEVER = int(np.iinfo(np.int64).max)

#: How an end that never comes is spelled in a column (infinity, 9999-12-31), and a beginning that ever was:
#: the last microsecond of 9999 and the first of the year 1.
NO_END = 253_402_300_799_999_999
NO_BEGINNING = -62_135_596_800_000_000
#: From the year 9999 on a time stands for an end that never comes.
NO_END_FROM = NO_END + 1 - 365 * 86_400_000_000

US_PER_SECOND = 1_000_000
US_PER_DAY = 86_400 * US_PER_SECOND

_FIXED = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
UNITS = (*_FIXED, *_MONTHS)
#: Those that have no fixed length.
CALENDAR = tuple(_MONTHS)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time: ``count`` times ``unit``; months, quarters and years follow the calendar.

    >>> Span(2, "week").days
    14.0
    >>> format_time(Span(1, "month").after(to_us("2024-01-31")))
    '2024-02-29'
    """

    count: int
    unit: str = "day"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ConfigError(f"unknown unit {self.unit!r}", hint=f"use one of {', '.join(UNITS)}.")

    def after(self, time_us: int, times: int = 1) -> int:
        """The time ``times`` spans after ``time_us`` (before it where negative)."""
        if self.unit in _FIXED:
            return time_us + times * self.count * _FIXED[self.unit] * US_PER_SECOND
        start = to_datetime(time_us)
        months = start.year * 12 + start.month - 1 + times * self.count * _MONTHS[self.unit]
        year, month = divmod(months, 12)
        last_day = (dt.date(year + (month == 11), (month + 1) % 12 + 1, 1) - dt.timedelta(days=1)).day
        return to_us(start.replace(year=year, month=month + 1, day=min(start.day, last_day)))

    @property
    def days(self) -> float:
        """Its length in days; a month counts 30.4375, a year 365.25."""
        if self.unit in _FIXED:
            return self.count * _FIXED[self.unit] / 86_400
        return self.count * _MONTHS[self.unit] * 30.4375

    def __str__(self) -> str:
        return f"{self.count} {self.unit}{'' if abs(self.count) == 1 else 's'}"


def unit_named(word: str) -> str | None:
    """The unit that ``word`` names, singular or plural in any case, or None."""
    folded = word.casefold()
    return folded if folded in UNITS else folded[:-1] if folded.endswith("s") and folded[:-1] in UNITS else None


def to_us(value: object) -> int:
    """Microseconds since 1970 UTC of a date, a datetime, a NumPy or pandas time, or ISO-8601 text.

    A time without a zone is UTC. Raises ConfigError for anything else, bare numbers included.

    >>> to_us("1970-01-02")
    86400000000
    """
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            raise ConfigError("a missing time (NaT) where a time is needed")
        return int(value.astype("datetime64[us]").astype(np.int64))
    if isinstance(value, str):
        text = value.strip()
        try:
            if re.fullmatch(r"\d{4}", text) or not re.match(r"\d{4}-?\d{2}", text):
                raise ValueError
            value = dt.datetime.fromisoformat(text)
        except ValueError:
            raise ConfigError(
                f"{text!r} is not a time", hint="write it as 2024-01-31 or 2024-01-31T12:00:00."
            ) from None
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return (aware - _EPOCH) // dt.timedelta(microseconds=1)
    if isinstance(value, dt.date):
        return (value - _EPOCH.date()).days * US_PER_DAY
    raise ConfigError(
        f"{value!r} ({type(value).__name__}) is not a time: a bare number has no unit",
        hint="give a date, a datetime or ISO-8601 text.",
    )


def to_datetime(time_us: int) -> dt.datetime:
    """The UTC datetime of ``time_us``, without a zone. Raises ConfigError outside the years 1 to 9999."""
    try:
        return (_EPOCH + dt.timedelta(microseconds=int(time_us))).replace(tzinfo=None)
    except OverflowError:
        raise ConfigError(f"{time_us} µs is outside the years 1 to 9999") from None


def format_time(time_us: int) -> str:
    """``time_us`` for people: the date alone at midnight, else date and time to the second.

    >>> format_time(0)
    '1970-01-01'
    """
    if time_us in (ALWAYS, NEVER):
        return "always" if time_us == ALWAYS else "never"
    moment = to_datetime(time_us)
    midnight = moment.time() == dt.time()
    return moment.date().isoformat() if midnight else moment.isoformat(" ", timespec="seconds")


def visible(row_time: Times, cut: Times | int, *, strictly: bool = False) -> npt.NDArray[np.bool_]:
    """Whether rows are known at ``cut``: time ≤ cut, or time < cut where ``strictly`` (row-level seeds).

    Rows at :data:`NEVER` are visible to no cut.
    """
    known = row_time < cut if strictly else row_time <= cut
    return np.asarray(known & (row_time != NEVER))
