"""The sample shop as pandas frames, and what a window, an eligible row and a row's own time are on them.

Written from the meaning of the language alone: nothing here has read a query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from tests.query.shop import Rows

Frames = dict[str, pd.DataFrame]
Label = bool | int | float | str | list[Any]
Labels = dict[tuple[int, pd.Timestamp], Label]

KEYS = {
    "users": {"company_id": "companies"},
    "categories": {"parent_id": "categories"},
    "items": {"category_id": "categories"},
    "orders": {"user_id": "users", "item_id": "items"},
    "reviews": {"order_id": "orders"},
    "impressions": {"user_id": "users", "item_id": "items"},
    "messages": {"sender_id": "users", "receiver_id": "users"},
}
TIMES = {
    "users": "joined_at", "items": "listed_at", "orders": "created_at", "reviews": "created_at",
    "impressions": "shown_at", "messages": "sent_at",
}  # fmt: skip


def frames_of(rows: Rows) -> Frames:
    """A frame a table, with nullable types (NULL in a comparison is NULL); keys that name no row are NULL."""
    frames = {name: pd.DataFrame(listed) for name, listed in rows.items()}
    for child, keys in KEYS.items():
        for key, parent in keys.items():
            frames[child][key] = frames[child][key].where(frames[child][key].isin(frames[parent]["id"]))
    return {name: _nullable(frame) for name, frame in frames.items()}


def _nullable(frame: pd.DataFrame) -> pd.DataFrame:
    typed = frame.convert_dtypes()
    return typed.astype({column: pd.StringDtype("python") for column in typed.select_dtypes("string").columns})


def through(frame: pd.DataFrame, key: str, parent: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with the columns of the parent that ``key`` names beside its own, as ``key.column``."""
    named = parent.add_prefix(f"{key}.")
    return frame.merge(named, how="left", left_on=key, right_on=f"{key}.id")


def asked(frame: pd.DataFrame, own_time: str | None, anchors: Sequence[pd.Timestamp]) -> pd.DataFrame:
    """The rows of ``frame`` at each anchor ``t`` that they are not younger than."""
    pairs = frame.merge(pd.DataFrame({"t": list(anchors)}), how="cross")
    return pairs if own_time is None else pairs[pairs[own_time] <= pairs["t"]]


def within(
    pairs: pd.DataFrame, events: pd.DataFrame, key: str, time: str, start: pd.DateOffset | None, end: pd.DateOffset
) -> pd.DataFrame:
    """The events whose ``key`` is the ``id`` of a pair and whose ``time`` is in (t + start, t + end], with their ``t``
    and that id as ``of``. No ``start``: from the beginning."""
    seeds = pairs[["id", "t"]].rename(columns={"id": "of"})
    seeds = seeds.assign(until=seeds["t"] + end)
    both = seeds.merge(events, left_on="of", right_on=key)
    inside = both[time] <= both["until"]
    if start is not None:
        inside &= both[time] > both["t"] + start
    return both[inside]


def days(count: int) -> pd.DateOffset:
    return pd.DateOffset(days=count)


def per_seed(pairs: pd.DataFrame, found: pd.Series, nothing: Any = None) -> pd.Series:
    """``found``, indexed by ``of`` and ``t``, for every pair in their order; ``nothing`` where it has no such seed."""
    values = found.reindex(pd.MultiIndex.from_frame(pairs[["id", "t"]]))
    if nothing is not None:
        values = values.fillna(nothing)
    return values.set_axis(pairs.index)


def counted(pairs: pd.DataFrame, events: pd.DataFrame) -> pd.Series:
    """How many of ``events`` (from :func:`within`) each pair has; 0 of nothing."""
    return per_seed(pairs, events.groupby(["of", "t"]).size(), 0)


def summed(pairs: pd.DataFrame, events: pd.DataFrame, column: str) -> pd.Series:
    """The sum of a column of ``events`` for each pair; 0 of nothing."""
    return per_seed(pairs, events.groupby(["of", "t"])[column].sum(), 0)


def listed(pairs: pd.DataFrame, events: pd.DataFrame, column: str) -> pd.Series:
    """The distinct values of a column of ``events`` for each pair, ascending; an empty list of nothing."""
    groups = events.dropna(subset=[column]).groupby(["of", "t"])[column]
    lists = {seed: sorted(set(values)) for seed, values in groups}
    return pd.Series([lists.get(seed, []) for seed in zip(pairs["id"], pairs["t"], strict=True)], pairs.index)


def labelled(pairs: pd.DataFrame, label: pd.Series) -> Labels:
    """What is known: a label by entity and time; a NULL label is none."""
    known = label.notna()
    seeds = zip(pairs["id"][known], pairs["t"][known], strict=True)
    return dict(zip(seeds, label[known], strict=True))


def anchors(
    begin: pd.Timestamp,
    end: pd.Timestamp,
    horizon: pd.DateOffset,
    every: pd.DateOffset,
    split: tuple[pd.Timestamp, pd.Timestamp] | None = None,
) -> list[list[pd.Timestamp]]:
    """The anchors of training, validation and test over data from ``begin`` to ``end``: of each, none whose window
    reaches past where the next begins, or past the end of the data."""
    at_least = max(horizon, every, key=lambda span: end + span)
    test = end - horizon if split is None else split[1]
    val = test - at_least if split is None else split[0]
    train = [val - horizon - every * n for n in range(2_000)]
    return [
        [t for t in reversed(train) if t >= begin],
        [t for n in range(2_000) if (t := val + every * n) + horizon <= test],
        [t for n in range(2_000) if (t := test + every * n) + horizon <= end],
    ]
