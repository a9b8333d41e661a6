"""The anchor times of a task: where validation and test begin, and which times t are asked about in each split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rdl.clock import Span, format_time
from rdl.errors import ConfigError, QueryError
from rdl.query.task import LabelSql, Task

#: More anchors than this are refused: nobody means them.
MOST_ANCHORS = 100_000


@dataclass(frozen=True, slots=True)
class Timeline:
    """Anchor times (µs) by split, each ascending; ``censored`` counts those whose window is not covered: they lie
    before the data begin, or it reaches past the begin of the next split or past the end of the data."""

    val_cut: int
    test_cut: int
    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]
    censored: int = 0

    @property
    def all(self) -> tuple[int, ...]:
        """Every anchor, ascending."""
        return (*self.train, *self.val, *self.test)


def lay_anchors(task: Task, start_us: int, end_us: int) -> Timeline:
    """The anchors of a task over windows, whose data begin at ``start_us`` and end at ``end_us``.

    Test begins one window before the end and validation one window (at least EVERY) before that, unless SPLIT AT
    says. Training anchors step back from one window before validation while they are not before the data begin. An
    anchor whose window the data do not cover is left out of any split: no label can be told from no data.
    Raises QueryError where there are too many anchors or times leave the calendar.
    """
    horizon = task.horizon or Span(0)
    every = task.every or task.stride or horizon
    try:
        if task.split_at is not None:
            val_cut, test_cut = task.split_at
        else:
            test_cut = horizon.after(end_us, -1)
            val_cut = max(horizon, every, key=lambda span: span.days).after(test_cut, -1)
        train = _steps(horizon.after(val_cut, -1), Span(-every.count, every.unit), start_us)
        val = _steps(val_cut, every, test_cut - 1)
        test = _steps(test_cut, every, end_us)
        laid = ((train[::-1], val_cut), (val, test_cut), (test, end_us))
        covered = [
            tuple(anchor for anchor in anchors if anchor >= start_us and horizon.after(anchor) <= min(until, end_us))
            for anchors, until in laid
        ]
    except ConfigError as error:
        raise QueryError(f"the anchors cannot be laid: {error.message}", kind="anchors", hint=error.hint) from None
    except (ValueError, OverflowError):
        raise QueryError(f"windows of {horizon} leave the calendar", kind="anchors") from None
    censored = len(train) + len(val) + len(test) - sum(map(len, covered))
    return Timeline(val_cut, test_cut, covered[0], covered[1], covered[2], censored)


def lay_manifest_anchors(task: Task, sql: LabelSql, start_us: int, end_us: int) -> Timeline:
    """The anchors of a RelBench forecast task, as RelBench 3 lays them over data from ``start_us`` to ``end_us``.

    Raises QueryError where RelBench does: no whole window after the begin of validation or of test, or fewer than
    three training anchors.
    """
    val_cut, test_cut = task.split_at or (0, 0)
    window, last = sql.window_us, (sql.num_eval_timestamps - 1) * sql.window_us
    if test_cut + window > end_us:
        message = f"the data end at {format_time(end_us)}, less than a window of {task.horizon} after the begin of test"
        raise QueryError(message, kind="anchors")
    train = tuple(range(val_cut - window, start_us - 1, -window))[::-1]
    val = tuple(range(val_cut, min(val_cut + last, test_cut - window) + 1, window))
    test = tuple(range(test_cut, min(test_cut + last, end_us - window) + 1, window))
    if len(train) < 3:
        raise QueryError(f"{len(train)} training anchors are too few: at least 3 are needed", kind="anchors")
    return Timeline(val_cut, test_cut, train, val, test)


def history_anchors(task: Task, val_cut: int, start_us: int, until_us: int, most: int) -> tuple[int, ...]:
    """The anchors, ascending, whose windows close by ``until_us``, wherever the data end: the newest ``most`` of
    training's, which step back from one window before ``val_cut`` as far as ``start_us``, and all from ``val_cut`` on,
    stepping as validation's do."""
    horizon = task.horizon or Span(0)
    every = task.every or task.stride or horizon
    try:
        before = _steps(horizon.after(val_cut, -1), Span(-every.count, every.unit), start_us)[::-1]
        anchors = (*before[-most:], *_steps(val_cut, every, until_us))
        return tuple(anchor for anchor in anchors if horizon.after(anchor) <= until_us)
    except (ConfigError, ValueError, OverflowError):
        return ()  # windows that leave the calendar or too many of them: nothing is remembered


def _steps(first: int, step: Span, last: int) -> tuple[int, ...]:
    """The times from ``first`` by ``step`` (back where negative) as far as ``last``, which is included."""
    sign = 1 if step.count > 0 else -1
    if abs(last - first) / (abs(step.days) * 86_400e6) > MOST_ANCHORS:
        message = f"one every {Span(abs(step.count), step.unit)} is more than {MOST_ANCHORS:,} in all"
        raise ConfigError(message, hint="take fewer of them: EVERY 1 day.")
    times: list[int] = []
    while sign * (time := step.after(first, len(times))) <= sign * last:
        times.append(time)
    return tuple(times)


def split_at(time: npt.NDArray[np.int64], val_cut: int, test_cut: int) -> npt.NDArray[np.int8]:
    """The split (0, 1, 2) of each time: validation and test begin at their cuts."""
    return (time >= val_cut).astype(np.int8) + (time >= test_cut).astype(np.int8)


def split_hashed(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
    """80 % train, 10 % val, 10 % test, by a fixed hash (splitmix64) of the row number."""
    mixed = rows.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    tenth = (mixed ^ (mixed >> np.uint64(31))) % np.uint64(10)
    return (tenth >= 8).astype(np.int8) + (tenth >= 9).astype(np.int8)


def cut_at_shares(time: npt.NDArray[np.int64]) -> tuple[int, int]:
    """The times at which the last 20 % and the last 10 % of rows begin."""
    if len(time) == 0:
        return 0, 0
    ordered = np.sort(time)
    val_cut = int(ordered[int(len(ordered) * 0.8)])
    later = ordered[ordered > val_cut]
    test_cut = int(ordered[int(len(ordered) * 0.9)])
    return val_cut, test_cut if test_cut > val_cut else int(later[0]) if len(later) else val_cut + 1
