"""What the command line says of training and tuning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.small import FAST, QUESTION, build_small
from tests.test_cli import parsed, refused

SETTINGS = [f"--set={name}={list(value) if isinstance(value, tuple) else value}" for name, value in FAST.items()]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_small(tmp_path_factory.mktemp("shop") / "shop.duckdb")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--set", "channels"], "NAME=VALUE"),
        (["train", "--set", "seed=3"], "give --seed"),
        (["train", "--set", "time_budget_min=3"], "give --time-budget"),
        (["train", "--set", "chanels=8"], "did you mean 'channels'"),
        (["train", "--set", "channels=8", "--set", "channels=9"], "give it once"),
        (["train", "--set", "channels=wide"], "whole number"),
        (["train", "--devices", "0"], "devices is 0"),
        (["train", "--ensemble", "0"], "ensemble is 0"),
        (["train", "--precision", "half"], "32-true"),
        (["tune"], "has no end"),
        (["tune", "--trials", "0"], "the number of trials is 0"),
        (["tune", "--time-budget", "0"], "above 0"),
        (["tune", "--trials", "1", "--set", "ensemble=2"], "an ensemble is not tuned"),
    ],
)
def test_settings_without_a_meaning_are_refused(shop: str, tmp_path: Path, words: list[str], said: str) -> None:
    command, *options = words
    assert said in refused(command, QUESTION, "--db", shop, "--out", tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()


def test_tuning_tells_programs_what_it_found(shop: str, tmp_path: Path) -> None:
    found = parsed("tune", QUESTION, "--db", shop, "--out", tmp_path / "run", "--trials", "2", *SETTINGS)
    assert [one["number"] for one in found["trials"]] == [0, 1]
    assert found["best"] in found["trials"]
    assert set(found["best"]["tried"]) == {"learning_rate", "dropout", "weight_decay"}, "what --set gives is not"
    assert found["metrics"]["val"]["log_loss"] == pytest.approx(found["best"]["loss"], abs=1e-6)
    assert {path.name for path in (tmp_path / "run").iterdir()} > {"run.json", "report.html", "tuning.html"}


def test_two_processes_from_the_command_line(shop: str, tmp_path: Path) -> None:
    words = ["train", QUESTION, "--db", shop, "--out", str(tmp_path / "run"), "--devices", "2", "--device", "cpu"]
    command = [sys.executable, "-m", "rdl.cli", *words, "--no-importance", *SETTINGS]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert sum(line.startswith("model ") for line in lines) >= 1
    assert not [line for line in lines if "distributed" in line or ("Warning:" in line and "is better" not in line)]
