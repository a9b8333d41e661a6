"""What people see in a terminal or a notebook while rdl works, and the tables of figures it ends with."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from rdl.query.task import Kind

if TYPE_CHECKING:  # a picture of progress needs no torch
    from rdl import progress as training
    from rdl.scoring import Figures
    from rdl.tuning import Tuned

#: Everything for people goes to stderr: stdout is for what was asked.
console = Console(stderr=True)


class Watcher(Protocol):
    """Who is told how far the work is; a context manager around it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def stage(self, name: str) -> None:
        """A new part of the work begins."""
        ...

    def rows(self, doing: str, done: int, total: int) -> None:
        """So many rows of the database are done."""
        ...

    def note(self, text: str) -> None:
        """A line that stays."""
        ...

    def step(self, progress: training.Progress) -> None:
        """A training step is done."""
        ...


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def stage(self, name: str) -> None:
        """See :class:`Watcher`."""

    def rows(self, doing: str, done: int, total: int) -> None:
        """See :class:`Watcher`."""

    def note(self, text: str) -> None:
        """See :class:`Watcher`."""

    def step(self, progress: training.Progress) -> None:
        """See :class:`Watcher`."""


class Lines(Silent):
    """A line now and then, for a log file: the rows extracted so far, the steps trained, and what is worth a note."""

    def __init__(self, *, every_s: float = 15.0) -> None:
        self._every_s, self._started, self._told = every_s, time.monotonic(), time.monotonic()
        self._doing = ""

    def rows(self, doing: str, done: int, total: int) -> None:
        """See :class:`Watcher`."""
        now = time.monotonic()
        if doing != self._doing:
            self._doing, self._started, self._told = doing, now, now
        if now - self._told >= self._every_s:
            self._told = now
            self.note(f"{doing}: {done:,} of {total:,} rows, {_rate(done, now - self._started)}")

    def step(self, progress: training.Progress) -> None:
        """See :class:`Watcher`."""
        now = time.monotonic()
        if now - self._told >= self._every_s:
            self._told = now
            left = progress.seconds / progress.step * (progress.total_steps - progress.step)
            done = f"step {progress.step:,} of {progress.total_steps:,}"
            self.note(f"{progress.label or 'training'}: {done}, {_state(progress)}, {left:.0f} s left at most")

    def note(self, text: str) -> None:
        """See :class:`Watcher`."""
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _rate(rows: int, seconds: float) -> str:
    return f"{rows / max(seconds, 1e-3):,.0f} rows/s"


def _state(progress: training.Progress) -> str:
    """The losses and the metric of the last evaluation, where there was one, and how fast it goes."""
    speed = f"{progress.samples / max(progress.seconds, 1e-3):,.0f} samples/s"
    if not progress.history:
        return speed
    last = progress.history[-1]
    loss = f"loss {last.train_loss:.4f}, validation {last.val_loss:.4f}"
    return f"{loss}, {progress.metric.replace('_', ' ')} {last.val_metric:.4f}, {speed}"


class _Count(ProgressColumn):
    """How much is done of how much."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.completed:,.0f}/{task.total:,.0f}")


class Bars:
    """Progress bars: rows of all tables while extracting, steps with loss, figure and time left while training."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            _Count(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._current: TaskID | None = None
        self._name, self._started = "", 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def stage(self, name: str) -> None:
        """See :class:`Watcher`."""
        if self._current is not None:
            self._bars.remove_task(self._current)
        self._current, self._name = self._bars.add_task(name, total=None, note=""), name
        self._started = time.monotonic()

    def rows(self, doing: str, done: int, total: int) -> None:
        """See :class:`Watcher`."""
        if self._name != doing:
            self.stage(doing)
        if self._current is not None:
            note = _rate(done, time.monotonic() - self._started)
            self._bars.update(self._current, completed=done, total=total, note=note)

    def note(self, text: str) -> None:
        """See :class:`Watcher`."""
        self._bars.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def step(self, progress: training.Progress) -> None:
        """See :class:`Watcher`."""
        if progress.label and progress.label != self._name:
            self.stage(progress.label)
        if self._current is not None:
            note = _state(progress)
            self._bars.update(self._current, completed=progress.step, total=progress.total_steps, note=note)


def watcher(*, quiet: bool = False) -> Watcher:
    """Bars where a person watches (a terminal or a notebook), else a line now and then; nothing if ``quiet``."""
    if quiet:
        return Silent()
    return Bars() if console.is_terminal or console.is_jupyter else Lines()


def figures_table(kind: Kind, rows: Mapping[str, Figures], regime: str) -> Table:
    """The headline figure on validation and test and the others on test, a line each of ``rows``; the best in bold.
    The regime under which they were measured stands above them."""
    from rdl.metrics import headline

    main, higher = headline(kind)
    parts = f"{main}_"  # of one timeframe: there may be many
    names = [n for n in next(iter(rows.values())).get("test", {}) if n != main and not n.startswith(parts)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"regime\n{regime}")
    columns = [("val", main), ("test", main), *(("test", name) for name in names)]
    for split, name in columns:
        table.add_column(f"{split}\n{name.replace('_', ' ')}", justify="right", no_wrap=True)
    found = [figures.get("test", {}).get(main) for figures in rows.values()]
    known = [value for value in found if value is not None and not math.isnan(value)]
    best = (max if higher else min)(known, default=None)
    for label, figures in rows.items():
        leads = best is not None and figures.get("test", {}).get(main) == best
        table.add_row(label, *(_figure(figures, *column) for column in columns), style="bold" if leads else None)
    return table


def trials_table(tuned: Tuned, most: int = 8) -> Table:
    """The best trials by their loss on validation, the least first, with what was tried in each."""
    whole = sorted((one for one in tuned.trials if not one.pruned), key=lambda one: one.loss)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("trial", "val\nloss", *(name.replace("_", "\n") for name in tuned.best.tried)):
        table.add_column(name, justify="right", no_wrap=True)
    for one in whole[:most]:
        tried = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in one.tried.values())
        table.add_row(str(one.number), f"{one.loss:.4f}", *tried, style="bold" if one is tuned.best else None)
    return table


def _figure(figures: Figures, split: str, name: str) -> str:
    value = figures.get(split, {}).get(name)
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"
