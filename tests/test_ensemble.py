"""Ensembles: the numbers of their models trained alone, saved and loaded, and a kill that costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rdl
from rdl.blending import blend
from rdl.metrics import evaluate
from rdl.pipeline import BoundTask
from rdl.query.task import Kind
from tests.small import FAST, QUESTION, build_small


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_small(tmp_path_factory.mktemp("shop") / "shop.duckdb")


@pytest.fixture(scope="module")
def churn(shop: str) -> BoundTask:
    return rdl.connect(shop).task(QUESTION)


def test_an_ensemble_is_the_mean_of_its_models_trained_alone(churn: BoundTask, tmp_path: Path) -> None:
    alone = [churn.fit(seed=seed, baselines=False, **FAST).run.predict_split("test") for seed in (5, 6)]
    run = churn.fit(seed=5, ensemble=2, out=tmp_path / "run", importance=False, **FAST)
    logits = np.mean([np.log(one / (1 - one)) for one in alone], axis=0)
    assert run.run.predict_split("test") == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-5)
    assert abs(alone[0] - alone[1]).max() > 1e-3
    saved = rdl.load(tmp_path / "run")
    assert np.array_equal(saved.run.predict_split("test"), run.run.predict_split("test"))
    assert [one.seed for one in saved.run.progress] == [5, 6]
    assert [line for one in saved.run.progress for line in one.history] == [
        line for one in run.run.progress for line in one.history
    ]
    assert pd.read_csv(tmp_path / "run" / "history.csv")["seed"].tolist() == [5, 5, 6, 6]
    # The blend is a row of its own, and the model's figures are the model's.
    assert run.blend is not None
    assert saved.run.blend == run.blend
    model, tree = run.run.predicted["model"], run.run.predicted["LightGBM"]
    for split in ("val", "test"):
        part = churn.labels.of(split)
        mixed = (1 - run.blend.weight) * model[split] + run.blend.weight * tree[split]
        own = evaluate(churn.kind, part.target, model[split], train_target=churn.labels.of("train").target)
        assert run.metrics[split] == own
        found = evaluate(churn.kind, part.target, mixed, train_target=churn.labels.of("train").target)
        assert run.blend.metrics[split] == found
    best = min(run.metrics["val"]["log_loss"], run.baselines["LightGBM"]["val"]["log_loss"])
    assert run.blend.metrics["val"]["log_loss"] <= best


def test_the_weight_of_a_blend_is_fitted_on_validation_alone() -> None:
    rng = np.random.default_rng(0)
    target = {"val": rng.normal(size=4000), "test": rng.normal(size=50)}
    model = {split: known + 1 * rng.normal(size=len(known)) for split, known in target.items()}
    tree = {split: known + 2 * rng.normal(size=len(known)) for split, known in target.items()}

    def judge(split: str, prediction: np.ndarray) -> dict[str, float]:
        return evaluate(Kind.regression, target[split], prediction, train_target=target["val"])

    found = blend(Kind.regression, model, tree, judge)
    assert found is not None
    assert found.weight == pytest.approx(0.2, abs=0.051)  # by the inverse of the variances
    assert found.metrics["val"]["mae"] < judge("val", model["val"])["mae"]
    assert blend(Kind.regression, model, {**tree, "test": np.zeros((50, 2))}, judge) is None
    assert blend(Kind.regression, {"val": np.zeros(0), "test": model["test"]}, tree, judge) is None


def test_a_run_killed_in_its_second_model_goes_on_to_the_same_figures(shop: str, tmp_path: Path) -> None:
    settings = [f"--set={name}={json.dumps(value)}" for name, value in FAST.items() if "steps" not in name]
    words = ["train", QUESTION, "--db", shop, "--ensemble", "2", "--no-importance", "--quiet", *settings,
             "--set=min_steps=120", "--set=max_steps=120", "--set=patience=100"]  # fmt: skip
    command = [sys.executable, "-m", "rdl.cli", *words, "--out"]
    subprocess.run([*command, tmp_path / "whole"], check=True)
    process = subprocess.Popen([*command, tmp_path / "killed"])
    second = tmp_path / ".killed.partial" / "1" / "state.safetensors"
    deadline = time.monotonic() + 120
    while not second.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    first = second.parents[1] / "0" / "state.safetensors"
    trained_at = first.stat().st_mtime_ns
    resumed = subprocess.Popen([*command, tmp_path / "killed", "--resume"])
    while resumed.poll() is None:
        assert not first.exists() or first.stat().st_mtime_ns == trained_at, "the first model is not trained again"
        time.sleep(0.005)
    assert resumed.returncode == 0
    whole, killed = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "killed"))
    assert killed["metrics"] == whole["metrics"]
    assert killed["blend"] == whole["blend"]
    columns = ["step", "train_loss", "val_loss", "val_metric", "seed"]
    histories = [pd.read_csv(tmp_path / name / "history.csv")[columns] for name in ("whole", "killed")]
    assert histories[0].equals(histories[1])
    assert not second.parents[1].exists()
