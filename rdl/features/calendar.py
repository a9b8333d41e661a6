"""Times → the parts of the year, the week and the day they fall on."""

from __future__ import annotations

import torch
from torch import Tensor

from rdl.clock import NEVER, US_PER_DAY

#: From 1 March of the year 0 to 1970, and the lengths of four hundred, one hundred, four years and one, in days.
_TO_1970, _ERA, _CENTURY, _FOUR, _YEAR = 719_468, 146_097, 36_524, 1_460, 365
_MARCH_TO_JANUARY = 306


def calendar(times: Tensor) -> Tensor:
    """µs UTC ``[…]`` → float32 ``[…, 3]``: the part of the year, of the week and of the day, each in [0, 1]; NaN where
    the time is ``clock.NEVER``.

    The year itself is left out on purpose: a model would have to extrapolate it.
    """
    missing = times == NEVER
    moments = times.masked_fill(missing, 0)
    day = moments.div(US_PER_DAY, rounding_mode="floor")
    parts = [_day_of_year(day) / 366, (day + 3).remainder(7) / 7, (moments - day * US_PER_DAY) / US_PER_DAY]
    found = torch.stack([part.float() for part in parts], dim=-1)
    return found.masked_fill(missing.unsqueeze(-1), torch.nan)


def _day_of_year(day: Tensor) -> Tensor:
    """Days since 1970 → days since 1 January, by way of years that begin in March (Hinnant, 2013)."""
    in_era = (day + _TO_1970).remainder(_ERA)
    leaps = in_era // _FOUR - in_era // _CENTURY + in_era // (_ERA - 1)
    year = (in_era - leaps) // _YEAR  # of the 400 years of an era
    since_march = in_era - (_YEAR * year + year // 4 - year // 100)
    is_leap = (year % 4 == 0) & ((year % 100 != 0) | (year == 0))
    return torch.where(since_march >= _MARCH_TO_JANUARY, since_march - _MARCH_TO_JANUARY, since_march + 59 + is_leap)


def seasons(times: Tensor) -> Tensor:
    """µs UTC ``[N]`` → float32 ``[N, 6]``: sine and cosine of the part of the year, of the week and of the day."""
    angle = calendar(times) * (2 * torch.pi)
    return torch.cat([angle.sin(), angle.cos()], dim=1)
