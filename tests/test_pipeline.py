"""The Python face on real databases."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

import rdl
from rdl.errors import ConfigError
from rdl.pipeline import BoundTask, Database

FAST = {"channels": 16, "fanouts": (8,), "min_steps": 60, "max_steps": 60}


@pytest.fixture(scope="module")
def formula_one(shared_data: Path) -> Database:
    return rdl.connect(f"relbench:{shared_data / 'rel-f1'}")


@pytest.fixture(scope="module")
def top3(formula_one: Database) -> BoundTask:
    return formula_one.task("driver-top3")


@pytest.mark.parametrize("name", ["driver-top3", "driver-position", "results-position"])
def test_relbenchs_evaluator_gives_our_figure(
    formula_one: Database, shared_data: Path, tmp_path: Path, name: str
) -> None:
    import relbench

    run = formula_one.task(name).fit(regime="frozen", baselines=False, out=tmp_path / name, **FAST)
    predicted = rdl.load(tmp_path / name).predict(split="test")
    theirs = relbench.load_dataset(str(shared_data / "rel-f1")).load_task(name, regenerate=True)
    labels = theirs.get_table("test", mask_input_cols=False).df
    assert np.array_equal(predicted[theirs.entity_col], labels[theirs.entity_col])
    assert (predicted["time"] == labels[theirs.time_col].to_numpy()).all()
    column, ours = ("score", "auroc") if run.task.kind == "binary" else ("prediction", "nmae")
    (figure,) = theirs.evaluate(predicted[column].to_numpy()).values()
    assert figure == pytest.approx(run.evaluate("test")[ours], abs=1e-6)


def test_frozen_and_seed_time_are_two_regimes(top3: BoundTask) -> None:
    frozen = top3.fit(regime="frozen", baselines=False, seed=1, **FAST)
    test = top3.labels.of("test")
    late = test.time > test.test_cut + 365 * 86_400_000_000
    assert np.isfinite(frozen.run.predict_split("test")[late]).all()
    assert (top3.labels.cuts("frozen") <= np.where(top3.labels.split == 2, test.test_cut, top3.labels.time)).all()


def test_predictions_do_not_depend_on_the_order_or_number_of_entities(top3: BoundTask) -> None:
    run = top3.fit(baselines=False, **FAST)
    whole = run.predict(at="2009-06-01")
    keys = whole["driverId"].tolist()[::7][::-1]
    some = run.predict(at="2009-06-01", entities=keys)
    expected = whole[whole["driverId"].isin(keys)]["score"].to_numpy()
    assert some["driverId"].tolist() == sorted(keys)
    assert some["score"].to_numpy() == pytest.approx(expected, abs=1e-6)


def test_the_same_question_of_the_raw_database(shared_data: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    db = rdl.connect(f"sqlite:///{shared_data / 'f1.sqlite'}", schema=root / "schemas" / "f1.toml")
    task = db.task(root / "tasks" / "f1" / "driver-dnf.pql")
    plan = task.plan()
    assert plan.rows["train"] > 10_000
    assert task.table("test")["time"].min() >= pd.Timestamp("2010-01-01")
    run = task.fit(baselines=False, **FAST)
    assert 0.5 < run.metrics["test"]["auroc"] < 1


def test_a_saved_run_says_all_that_made_it(top3: BoundTask, tmp_path: Path) -> None:
    run = top3.fit(baselines=False, seed=3, **FAST)
    run.save(tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["config"]["seed"] == 3
    assert facts["regime"] == "seed-time"
    assert facts["schema_fingerprint"] == top3.db.schema.fingerprint()
    assert {"rdl", "torch", "python"} <= set(facts["versions"])
    with pytest.raises(ConfigError, match="exists"):
        run.save(tmp_path / "run")
    again = rdl.load(tmp_path / "run")
    assert again.metrics == run.metrics
    assert np.array_equal(again.run.predict_split("val"), run.run.predict_split("val"))


def test_mistakes_are_named(top3: BoundTask, formula_one: Database, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chanels"):
        top3.fit(chanels=8)
    with pytest.raises(ConfigError, match="no task"):
        formula_one.task("driver-dnff")
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        top3.fit(out=tmp_path / "there")
    with pytest.raises(ConfigError, match="not a run"):
        rdl.load(tmp_path / "there")
    (tmp_path / "there" / "run.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        rdl.load(tmp_path / "there")


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    """Impressions of a few users over a hundred days, clicked by taste."""
    path, rng = tmp_path / "clicks.duckdb", np.random.default_rng(0)
    user, day = rng.integers(0, 20, 2000), np.sort(rng.integers(0, 100, 2000))
    clicked = rng.random(2000) < np.where(user % 2, 0.8, 0.2)
    shown = pd.DataFrame({"id": range(2000), "user_id": user, "clicked": clicked, "day": day})
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO users FROM range(20)")
        connection.execute(
            "CREATE TABLE shown (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users(id), clicked BOOLEAN, "
            "shown_at TIMESTAMP NOT NULL)"
        )
        connection.register("frame", shown)
        connection.execute(
            "INSERT INTO shown SELECT id, user_id, clicked, TIMESTAMP '2024-01-01' + INTERVAL (day) DAY FROM frame"
        )
    return path


def test_a_row_is_asked_about_at_its_own_time_and_never_reads_its_own_label(clicks: Path, tmp_path: Path) -> None:
    task = rdl.connect(f"duckdb:///{clicks}").task("PREDICT shown.clicked FOR EACH shown.id")
    run = task.fit(out=tmp_path / "run", **FAST)
    assert run.baselines["past label"]["test"]["auroc"] > 0.55
    asked = list(range(1500, 2000, 50))
    before = run.predict(entities=asked)
    own = pd.concat([task.table(split) for split in ("train", "val", "test")]).set_index("id")["time"]
    assert before["time"].tolist() == own[before["id"]].tolist()
    assert before["time"].nunique() > 1
    with duckdb.connect(str(clicks)) as connection:
        connection.execute("UPDATE shown SET clicked = NOT clicked WHERE id = 1500")
    flipped = rdl.load(tmp_path / "run")
    assert flipped.data_changed
    again = flipped.predict(entities=asked)
    same_day = before["time"] <= before["time"].iloc[0]
    assert before["id"].iloc[0] == 1500
    assert again["score"][same_day].to_numpy() == pytest.approx(before["score"][same_day].to_numpy(), abs=1e-7)


def test_newer_data_move_no_split_of_a_saved_run(clicks: Path, tmp_path: Path) -> None:
    query = "PREDICT COUNT(shown.* WHERE shown.id >= :least, 0, 7, days) > 2 FOR EACH users.id EVERY 2 days"
    task = rdl.connect(f"duckdb:///{clicks}").task(query, parameters={"least": 5})
    run = task.fit(out=tmp_path / "run", baselines=False, **FAST)
    assert not rdl.load(tmp_path / "run").data_changed
    with duckdb.connect(str(clicks)) as connection:
        connection.execute("INSERT INTO shown VALUES (2000, 1, true, '2024-08-01')")
    later = rdl.load(tmp_path / "run")
    assert later.data_changed
    assert later.run.table.val_cut == run.run.table.val_cut
    assert later.run.table.test_cut == run.run.table.test_cut
    assert later.metrics["val"] == pytest.approx(run.metrics["val"], nan_ok=True)


@pytest.mark.parametrize(
    ("name", "text"),
    [("run.json", "{}"), ("run.json", "["), ("metrics.json", "[]"), ("history.csv", None), ("statistics.json", "{}"),
     ("summary.json", "{}"),
     ("model.safetensors", "x")],
)  # fmt: skip
def test_damaged_runs_are_said_to_be(top3: BoundTask, tmp_path: Path, name: str, text: str | None) -> None:
    top3.fit(out=tmp_path / "run", baselines=False, **{**FAST, "min_steps": 1, "max_steps": 1})
    if text is None:
        (tmp_path / "run" / name).unlink()
    else:
        (tmp_path / "run" / name).write_text(text)
    with pytest.raises(ConfigError):
        rdl.load(tmp_path / "run").predict(split="test")
