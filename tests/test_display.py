"""What is told of an extraction: a bar to a person, lines to a log file, nothing if quiet."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rdl import display
from rdl.config import Regime
from rdl.progress import Evaluation, Progress
from rdl.query.task import Kind


@pytest.fixture(params=[True, False], ids=["terminal", "file"])
def shown(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed, on a terminal or into a file."""
    text = io.StringIO()
    monkeypatch.setattr(display, "console", Console(file=text, force_terminal=request.param, width=100))
    return text


def test_rows_and_notes(shown: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal = display.console.is_terminal
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    with display.watcher() as watch:
        for done in range(0, 4_000_001, 1_000_000):
            watch.rows("reading", done, 8_000_000)
            now[0] += 10
        watch.note("extracted [all] of it")
        if on_terminal:
            watch._bars.refresh()  # type: ignore[attr-defined]
    lines = shown.getvalue().splitlines()
    assert any("extracted [all] of it" in line for line in lines)
    if on_terminal:
        assert "4,000,000/8,000,000" in shown.getvalue()
        assert "100,000 rows/s" in shown.getvalue()
    else:
        assert lines == [
            "reading: 2,000,000 of 8,000,000 rows, 100,000 rows/s",
            "reading: 4,000,000 of 8,000,000 rows, 100,000 rows/s",
            "extracted [all] of it",
        ]


def test_quiet(shown: io.StringIO) -> None:
    with display.watcher(quiet=True) as watch:
        watch.stage("reading")
        watch.rows("reading", 10**9, 10**9)
        watch.note("extracted all of it")
    assert shown.getvalue() == ""


@pytest.mark.parametrize("regime", Regime)
def test_the_regime_stands_above_the_figures(regime: Regime) -> None:
    figures = {"model": {"val": {"auroc": 0.7}, "test": {"auroc": 0.8}}}
    shown = Console(file=io.StringIO(), width=100)
    shown.print(display.figures_table(Kind.binary, figures, regime))
    lines = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [lines[0].split()[0], lines[1].split()[0]] == ["regime", regime.value]
    assert "0.8000" in lines[2]


def test_training_is_told_with_its_losses_and_speed(shown: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal = display.console.is_terminal
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    progress = Progress(total_steps=40, metric="auroc", label="training, model 2 of 3")
    with display.watcher() as watch:
        watch.stage("training, regime frozen")
        for step in range(1, 41):
            progress.step, progress.seconds, progress.samples = step, float(step), 256 * step
            if step == 20:
                progress.history.append(Evaluation(20, 20.0, 0.51234, 0.6, 0.75, 1e-3))
            now[0] += 1
            watch.step(progress)
        if on_terminal:
            watch._bars.refresh()  # type: ignore[attr-defined]
    text = "loss 0.5123, validation 0.6000, auroc 0.7500, 256 samples/s"
    if on_terminal:
        assert "training, model 2 of 3" in shown.getvalue()
        assert "40/40" in shown.getvalue()
    else:
        assert shown.getvalue().splitlines() == [
            "training, model 2 of 3: step 15 of 40, 256 samples/s, 25 s left at most",
            f"training, model 2 of 3: step 30 of 40, {text}, 10 s left at most",
        ]
