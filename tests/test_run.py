"""A run: what it is of, and predictions of many seeds."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

import rdl
from rdl.config import TrainConfig
from rdl.run import Run
from tests.small import FAST, QUESTION, build_small

ASKED = "PREDICT COUNT(orders.* WHERE orders.amount > :least, 0, 10, days) > 0 FOR EACH users.id EVERY 10 days"


def of(url: str, least: float) -> Run:
    task = rdl.connect(url).task(ASKED, parameters={"least": least})
    return Run.new(task.definition, task.db.snapshot, task.labels, TrainConfig.of(FAST))


def test_a_run_of_other_parameters_or_data_is_another(tmp_path: Path) -> None:
    url = build_small(tmp_path / "small.duckdb")
    one = of(url, 5).identity()
    assert of(url, 5).identity() == one
    assert of(url, 6).identity() != one
    with duckdb.connect(str(tmp_path / "small.duckdb")) as connection:
        connection.execute("INSERT INTO orders SELECT 9999, 3, 50, MAX(created_at) FROM orders")
    assert of(url, 5).identity() != one


def test_predictions_are_the_same_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = rdl.connect(build_small(tmp_path / "small.duckdb")).task(QUESTION)
    run = Run.new(task.definition, task.db.snapshot, task.labels, TrainConfig.of(FAST))
    whole = run.predict_split("test")
    assert len(whole) > 20
    monkeypatch.setattr("rdl.run.SEEDS_A_PIECE", 7)
    assert np.allclose(run.predict_split("test"), whole, atol=1e-6)
    assert len(run.predict_at(np.zeros(0, np.int64), np.zeros(0, np.int64))) == 0
