"""Tuning: never below the recipe on validation, cut short where hopeless, gone on with after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import rdl
from rdl.config import TrainConfig
from rdl.errors import ConfigError
from rdl.pipeline import BoundTask
from rdl.progress import Progress
from rdl.run import Run
from rdl.tuning import Tuning, settings_of, space
from tests.small import FAST, QUESTION, build_small
from tests.test_cli import rdl as main

CONFIG = TrainConfig(**{**FAST, "fanouts": (4, 2), "learning_rate": 1e-4, "device": "cpu"})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_small(tmp_path_factory.mktemp("shop") / "shop.duckdb")


@pytest.fixture(scope="module")
def small(shop: str) -> BoundTask:
    return rdl.connect(shop).task(QUESTION)


@pytest.fixture(scope="module")
def start(small: BoundTask) -> Run:
    return Run.new(small.definition, small.db.snapshot, small.labels, CONFIG)


def test_the_recipe_is_the_first_trial_and_what_is_found_is_no_worse(start: Run, tmp_path: Path) -> None:
    alone = start.again(CONFIG)
    alone.train()
    found = Tuning(tmp_path / "t", trials=6).run(start)
    first = found.trials[0]
    assert settings_of(first.tried) == {name: getattr(CONFIG, name) for name in space(CONFIG)}
    assert first.loss == alone.progress[0].best
    assert found.best.loss == min(one.loss for one in found.trials if not one.pruned) <= first.loss
    assert found.best.number > 0, "a recipe this slow is beaten"
    # The best run is as its trial left it, and as it would be trained again.
    assert {name: getattr(found.run.config, name) for name in space(CONFIG)} == settings_of(found.best.tried)
    again = start.again(replace(CONFIG, **settings_of(found.best.tried)))
    again.train()
    assert again.predict_split("val") == pytest.approx(found.run.predict_split("val"), abs=1e-9)
    assert found.run.evaluate("val")["log_loss"] == pytest.approx(found.best.loss, abs=1e-6)


def test_an_interrupted_search_goes_on_in_the_middle_of_a_trial(start: Run, tmp_path: Path) -> None:
    whole = Tuning(tmp_path / "whole", trials=3).run(start)
    told = [0]

    def interrupt(progress: Progress) -> None:
        told[0] += 1
        if told[0] == 40 + 25:
            raise KeyboardInterrupt

    search = Tuning(tmp_path / "t", trials=3)
    with pytest.raises(KeyboardInterrupt):
        search.run(start, listen=interrupt)
    steps: list[int] = []
    found = search.run(start, resume=True, listen=lambda progress: steps.append(progress.step))
    assert steps[0] == 21, "the second trial goes on where its state was saved"
    assert [(one.tried, one.loss) for one in found.trials] == [(one.tried, one.loss) for one in whole.trials]
    with pytest.raises(ConfigError, match="another question"):
        search.run(start.again(replace(CONFIG, seed=1)), resume=True)


def test_hopeless_trials_are_cut_short(start: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are lost after the first trials: whatever they were told is far below what any reaches later."""
    monkeypatch.setattr("rdl.tuning.WHOLE", 1)

    def spoil(progress: Progress) -> None:
        if not progress.label.startswith("trial 0"):
            progress.best = 9.0

    found = Tuning(tmp_path / "t", trials=3).run(start, listen=spoil)
    assert [one.pruned for one in found.trials] == [False, True, True]
    assert [one.steps for one in found.trials] == [40, 20, 20]
    assert found.best.number == 0


def test_what_is_given_is_not_searched_over(start: Run, tmp_path: Path) -> None:
    found = Tuning(tmp_path / "t", trials=2, fixed=frozenset({"channels", "fanouts", "dropout"})).run(start)
    assert set(found.best.tried) == {"learning_rate", "weight_decay", "summaries"}
    with pytest.raises(ConfigError, match="every choice is fixed"):
        Tuning(tmp_path / "t", trials=2, fixed=frozenset(space(CONFIG))).run(start)


def test_searches_without_a_meaning_are_refused(small: BoundTask, start: Run, tmp_path: Path) -> None:
    for ends in ({}, {"trials": 0}, {"trials": 1.5}, {"time_budget_min": 0}, {"time_budget_min": float("nan")}):
        with pytest.raises(ConfigError):
            small.tune(out=tmp_path / "run", **ends)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ensemble"):
        small.tune(out=tmp_path / "run", trials=1, ensemble=2)
    only = start.table.take((start.table.split == 0).nonzero()[0])
    with pytest.raises(ConfigError, match="validation"):
        Tuning(tmp_path / "t", trials=1).run(replace(start, labels=lambda: only))
    assert not (tmp_path / "run").exists()


def test_a_killed_search_goes_on_and_ends_in_a_run(shop: str, tmp_path: Path) -> None:
    settings = [f"--set={name}={json.dumps(value)}" for name, value in FAST.items()]
    words = ["tune", QUESTION, "--db", shop, "--trials", "3", "--quiet", *settings, "--out", str(tmp_path / "run")]
    process = subprocess.Popen([sys.executable, "-m", "rdl.cli", *words])
    search = tmp_path / ".run.tuning"
    deadline = time.monotonic() + 120
    while not list(search.glob("*/state.safetensors")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "run").exists()
    main(*words, "--resume")
    trials = pd.read_csv(tmp_path / "run" / "trials.csv")
    assert trials["trial"].tolist() == [0, 1, 2]
    page = (tmp_path / "run" / "tuning.html").read_text()
    assert "validation loss by trial" in page
    assert "http" not in page
    figures = rdl.load(tmp_path / "run").evaluate("val")
    assert figures["log_loss"] == pytest.approx(trials["val_loss"][trials["pruned"] == 0].min(), abs=1e-6)
    assert not search.exists()
