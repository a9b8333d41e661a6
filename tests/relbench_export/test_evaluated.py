"""RelBench's evaluator, asked for the figures it has no default of, gives those of a run on the exported task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import relbench
from sklearn import metrics

from rdl.pipeline import Database
from tests.relbench_export.compared import keys_of

FAST = {"channels": 8, "fanouts": (4,), "min_steps": 40, "max_steps": 40, "summaries": 20, "members": 2, "threads": 1}


def evaluated(db: Database, query: str, folder: Path, **settings: Any) -> tuple[Any, Any, pd.DataFrame]:
    """The run, the exported task as RelBench reads it, and the predictions by its rows of test."""
    run = db.task(query).fit(baselines=False, **FAST, **settings)
    db.to_relbench(folder, {"t": query})
    theirs: Any = relbench.load_dataset(folder).load_task("t", regenerate=True)
    frame = theirs.get_table("test", mask_input_cols=False).df
    keys = np.array([key for (key,) in keys_of(folder, run.task.definition.entity)])
    seeds = pd.DataFrame({"id": keys[frame[theirs.entity_col]], "time": pd.to_datetime(frame[theirs.time_col])})
    found = run.predict(split="test")
    found["time"] = found["time"].astype(seeds["time"].dtype)
    return run, theirs, seeds.merge(found, how="left", on=["id", "time"])


def test_classes(shop: Database, tmp_path: Path) -> None:
    query = "PREDICT FIRST(orders.status, 0, 90, days) FOR EACH users.id"
    run, theirs, found = evaluated(shop, query, tmp_path / "out")

    def macro_f1(target: np.ndarray, predicted: np.ndarray) -> float:
        return float(metrics.f1_score(target, predicted, average="macro", zero_division=0))

    figures = theirs.evaluate(found["prediction"].to_numpy(), metrics=[metrics.accuracy_score, macro_f1])
    assert figures["accuracy_score"] == pytest.approx(run.metrics["test"]["accuracy"])
    assert figures["macro_f1"] == pytest.approx(run.metrics["test"]["macro_f1"])


def test_lists_of_classes(shop: Database, tmp_path: Path) -> None:
    query = "PREDICT LIST_DISTINCT(orders.status, 0, 30, days) CLASSIFY FOR EACH users.id"
    run, theirs, found = evaluated(shop, query, tmp_path / "out")
    classes = run.run.objective.classes
    predicted = found["score"].to_numpy().reshape(-1, len(classes))
    assert found["class"].tolist() == [*classes] * len(predicted)

    def there(target: np.ndarray) -> np.ndarray:
        return np.array([[value in listed for value in classes] for listed in target])

    def macro_auroc(target: np.ndarray, predicted: np.ndarray) -> float:
        return float(metrics.roc_auc_score(there(target), predicted, average="macro"))

    def macro_average_precision(target: np.ndarray, predicted: np.ndarray) -> float:
        return float(metrics.average_precision_score(there(target), predicted, average="macro"))

    for name, value in theirs.evaluate(predicted, metrics=[macro_auroc, macro_average_precision]).items():
        assert value == pytest.approx(run.metrics["test"][name]), name


def test_the_median_of_quantiles(shop: Database, tmp_path: Path) -> None:
    query = "PREDICT SUM(orders.amount, 0, 30, days) FOR EACH users.id"
    run, theirs, found = evaluated(shop, query, tmp_path / "out", quantiles=(0.1, 0.9))
    (figure,) = theirs.evaluate(found["prediction"].to_numpy()).values()
    assert figure == pytest.approx(run.metrics["test"]["nmae"])
