"""Ensembles: the numbers of their models trained alone, saved and loaded, and a kill that costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rdl
from rdl.blending import blend
from rdl.metrics import evaluate, loss
from rdl.pipeline import BoundTask
from rdl.progress import Progress, State
from rdl.query.task import Kind
from tests.small import FAST, QUESTION, build_small
from tests.test_cli import rdl as main


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_small(tmp_path_factory.mktemp("shop") / "shop.duckdb")


@pytest.fixture(scope="module")
def small(shop: str) -> BoundTask:
    return rdl.connect(shop).task(QUESTION)


def test_an_ensemble_is_the_mean_of_its_models_trained_alone(small: BoundTask, tmp_path: Path) -> None:
    alone = [small.fit(seed=seed, baselines=False, **FAST).run.predict_split("test") for seed in (5, 6)]
    run = small.fit(seed=5, ensemble=2, out=tmp_path / "run", importance=False, **FAST)
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
        part = small.labels.of(split)
        mixed = (1 - run.blend.weight) * model[split] + run.blend.weight * tree[split]
        own = evaluate(small.kind, part.target, model[split], train_target=small.labels.of("train").target)
        assert run.metrics[split] == own
        found = evaluate(small.kind, part.target, mixed, train_target=small.labels.of("train").target)
        assert run.blend.metrics[split] == found
    best = min(run.metrics["val"]["log_loss"], run.baselines["LightGBM"]["val"]["log_loss"])
    assert run.blend.metrics["val"]["log_loss"] <= best


def test_the_weight_of_a_blend_is_fitted_on_validation_alone() -> None:
    rng = np.random.default_rng(0)
    target = {"val": rng.normal(size=4000), "test": rng.normal(size=50)}
    model = {split: known + 1 * rng.normal(size=len(known)) for split, known in target.items()}
    tree = {split: known + 2 * rng.normal(size=len(known)) for split, known in target.items()}

    def judge(predictions: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        return {
            split: evaluate(Kind.regression, target[split], each, train_target=target["val"])
            for split, each in predictions.items()
        }

    def lost(prediction: np.ndarray) -> float:
        return loss(Kind.regression, "mae", target["val"], prediction)

    found = blend(model, tree, lost, judge)
    assert found is not None
    assert found.weight == pytest.approx(0.2, abs=0.051)  # by the inverse of the variances
    assert found.metrics["val"]["mae"] < judge(model)["val"]["mae"]
    assert blend({"val": np.zeros(0), "test": model["test"]}, {**tree, "val": np.zeros(0)}, lost, judge) is None


def test_a_run_killed_in_its_second_model_goes_on_to_the_same_figures(
    shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [f"--set={name}={json.dumps(value)}" for name, value in FAST.items() if "steps" not in name]
    words = ["train", QUESTION, "--db", shop, "--ensemble", "2", "--no-importance", "--quiet", *settings,
             "--set=min_steps=160", "--set=max_steps=160", "--set=patience=100", "--out"]  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "rdl.cli", *words, str(tmp_path / "killed")])
    second = tmp_path / ".killed.partial" / "1" / "state.safetensors"
    deadline = time.monotonic() + 120
    while not second.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    saved: list[str] = []
    save = State.save

    def noted(state: State, folder: Path, progress: Progress) -> None:
        saved.append(folder.name)
        save(state, folder, progress)

    monkeypatch.setattr(State, "save", noted)
    main(*words, tmp_path / "killed", "--resume")
    assert set(saved) == {"1"}, "the first model is not trained again"
    assert len(saved) < 8, "nor is the second from its beginning"
    main(*words, tmp_path / "whole")
    whole, killed = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "killed"))
    assert killed["metrics"] == whole["metrics"]
    assert killed["blend"] == whole["blend"]
    columns = ["step", "train_loss", "val_loss", "val_metric", "seed"]
    histories = [pd.read_csv(tmp_path / name / "history.csv")[columns] for name in ("whole", "killed")]
    assert histories[0].equals(histories[1])
    assert not second.parents[1].exists()


def test_python_too_is_warned_of_a_model_that_does_not_beat_the_baselines(
    small: BoundTask, capfd: pytest.CaptureFixture[str]
) -> None:
    run = small.fit(importance=False, **{**FAST, "min_steps": 1, "max_steps": 1, "summaries": 0})
    best = max(run.baselines, key=lambda name: run.baselines[name]["test"]["auroc"])
    assert run.baselines[best]["test"]["auroc"] > run.metrics["test"]["auroc"]
    told = " ".join(capfd.readouterr().err.split())
    assert f"Warning: {best} is better than the model on test AUROC" in told


def test_a_time_budget_is_shared_by_the_models(small: BoundTask) -> None:
    settings = {**FAST, "min_steps": 100_000, "max_steps": 100_000, "patience": 100_000}
    run = small.fit(ensemble=2, time_budget_min=0.02, baselines=False, **settings).run
    assert [one.stopped for one in run.progress] == ["the time budget is spent"] * 2
    assert all(one.step > 1 for one in run.progress)
