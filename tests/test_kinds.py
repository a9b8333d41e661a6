"""Every kind of question on a small, hostile database: trained, judged, saved, read again, predicted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

import rdl
from rdl.baselines import fit_baselines
from rdl.blending import WEIGHTS
from rdl.config import TrainConfig
from rdl.errors import QueryError
from rdl.metrics import NAMES, evaluate
from rdl.pipeline import Database
from rdl.query.task import Kind
from rdl.run import Run

FAST = {"channels": 8, "fanouts": (4,), "min_steps": 40, "max_steps": 40, "summaries": 20, "members": 2, "threads": 1}
QUESTIONS = {
    "binary": "PREDICT COUNT(events.*, 0, 10) > 3 FOR EACH users.id",
    "multiclass": "PREDICT LAST(events.kind, 0, 10) FOR EACH users.id",
    "multilabel": "PREDICT LIST_DISTINCT(events.kind, 0, 10) CLASSIFY FOR EACH users.id",
    "regression": "PREDICT SUM(events.amount, 0, 10) FOR EACH users.id",
    "forecast": "PREDICT SUM(events.amount, 0, 5) FORECAST 3 TIMEFRAMES FOR EACH users.id",
}


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdl.baselines.MOST_ROUNDS", 12)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten users and 150 days of events: constant columns, columns all NULL, infinite and NaN numbers, amounts of 1e12,
    and in the last days a kind that was never before."""
    path, rng = tmp_path_factory.mktemp("hostile") / "hostile.duckdb", np.random.default_rng(0)
    many = 900
    day = np.sort(rng.integers(0, 150, many))
    user = rng.integers(0, 10, many)
    events = pd.DataFrame(
        {
            "id": range(many),
            "user_id": user,
            "kind": np.where((day > 140) & (user < 5), "new", np.array(["a", "b", "c"])[(user + day // 50) % 3]),
            "amount": np.where(rng.random(many) < 0.02, 1e12, user + rng.random(many)),
            "wild": rng.choice([np.inf, -np.inf, np.nan, 1e30, 1.0], many),
            "same": 7,
            "day": day,
        }
    )
    with duckdb.connect(str(path)) as connection:
        connection.register("frame", events)
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, nothing DOUBLE, same VARCHAR)")
        connection.execute("INSERT INTO users SELECT range, NULL, 'same' FROM range(10)")
        connection.execute(
            "CREATE TABLE events (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users(id), kind VARCHAR, "
            "amount DOUBLE, wild DOUBLE, same INTEGER, nothing VARCHAR, made_at TIMESTAMP NOT NULL)"
        )
        connection.execute(
            "INSERT INTO events SELECT id, user_id, kind, amount, wild, same, NULL, "
            "TIMESTAMP '2024-01-01' + INTERVAL (day) DAY FROM frame"
        )
    return path


@pytest.fixture(scope="module")
def db(hostile: Path) -> Database:
    return rdl.connect(f"duckdb:///{hostile}")


COLUMNS = {
    "binary": ["score"],
    "multiclass": ["prediction", "probability"],
    "multilabel": ["class", "score"],
    "regression": ["prediction"],
    "quantiles": ["prediction", "q10", "q90"],
    "forecast": ["timeframe", "prediction"],
}


#: What each is asked with; a regression's quantiles and losses are settings.
SETTINGS: dict[str, dict[str, Any]] = {
    "binary": {"class_weights": "balanced"}, "forecast": {"loss": "l2"}, "regression": {"loss": "huber"},
    "quantiles": {"quantiles": (0.1, 0.9)},
}  # fmt: skip


def losses(run: Run) -> list[float]:
    return [line.train_loss for progress in run.progress for line in progress.history]


@pytest.mark.parametrize("asked", COLUMNS)
def test_every_kind_is_trained_judged_saved_and_predicted(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """As an ensemble, beside its blend with LightGBM, with all that a report says of it."""
    monkeypatch.setattr("rdl.report.LEAST_ANCHORS", 1)
    monkeypatch.setattr("rdl.segments.LEAST_SEEDS", 2)
    task = db.task(QUESTIONS.get(asked, QUESTIONS["regression"]))
    run = task.fit(out=tmp_path / "run", ensemble=2, **FAST, **SETTINGS.get(asked, {}))
    assert np.isfinite(losses(run.run)).all()
    assert run.blend is not None
    for figures in (run.metrics, run.blend.metrics, *run.baselines.values()):
        for split in ("val", "test"):
            assert set(NAMES[task.kind]) <= set(figures[split])
            assert set(figures[split]) == set(run.metrics[split])
            assert not any(math.isinf(value) for value in figures[split].values())
    assert list(run.baselines) == ["global", "past label", "LightGBM"]
    assert {one.kind for one in run.run.importance} >= {"column", "relation", "past"}
    assert np.isfinite([one.growth for one in run.run.importance]).all()
    again = rdl.load(tmp_path / "run")
    assert str(again.metrics) == str(run.metrics)
    assert again.run.blend == run.blend
    for split in ("val", "test"):
        assert again.evaluate(split) == pytest.approx(run.metrics[split], nan_ok=True)
    now, of_test = run.predict(), run.predict(split="test")
    assert now.columns.tolist() == ["id", "time", *COLUMNS[asked]]
    lines = {"multilabel": 3, "forecast": 3}.get(asked, 1)
    assert len(now) == 10 * lines
    assert len(of_test) == lines * len(task.labels.of("test"))
    pd.testing.assert_frame_equal(again.predict(), now)
    assert run.predict(entities=[3, 4])["id"].tolist() == [3] * lines + [4] * lines
    page = (tmp_path / "run" / "report.html").read_text()
    for expected in ("<td>LightGBM</td>", "<td>model + LightGBM</td>", "growth of the validation loss", "over time"):
        assert expected in page
    assert "past rows" in page, "errors by segment"
    for name, value in SETTINGS.get(asked, {}).items():
        option = f"--{name.replace('_', '-')}"
        assert f"{option} {'0.1,0.5,0.9' if name == 'quantiles' else value}" in page
    assert ("never" in page or "training has not" in page) == (asked in ("multiclass", "multilabel"))


@pytest.mark.parametrize("asked", COLUMNS)
def test_the_weight_of_each_kinds_blend_is_the_best_on_validation(db: Database, asked: str) -> None:
    task = db.task(QUESTIONS.get(asked, QUESTIONS["regression"]))
    run = task.fit(**FAST, **SETTINGS.get(asked, {})).run
    fitted = fit_baselines(
        task.definition, db.snapshot, task.labels, loss=run.config.loss, quantiles=run.objective.quantiles
    )
    own, other = run._raw("val"), fitted["LightGBM"]["val"]
    target, train = task.labels.of("val").dense(), task.labels.of("train").dense()
    by = [
        evaluate(task.kind, target, (1 - w) * own + w * other, train_target=train, quantiles=run.objective.quantiles)
        for w in WEIGHTS
    ]
    assert run.blend is not None
    best = min(figures[run.objective.judged_by] for figures in by)
    assert by[round(run.blend.weight * 20)][run.objective.judged_by] == pytest.approx(best)
    if asked != "quantiles":
        assert run.blend.metrics["val"] == pytest.approx(by[round(run.blend.weight * 20)], nan_ok=True)
    assert run.metrics["test"] == pytest.approx(
        evaluate(
            task.kind, task.labels.of("test").dense(), run.predict_split("test"), train_target=train,
            quantiles=run.objective.quantiles,
        ), nan_ok=True,
    )  # fmt: skip


@pytest.mark.parametrize("asked", ["quantiles", "multilabel"])
def test_other_kinds_are_tuned_and_resumed(db: Database, tmp_path: Path, asked: str) -> None:
    task = db.task(QUESTIONS.get(asked, QUESTIONS["regression"]))
    settings = {**FAST, "min_steps": 20, "max_steps": 20, **SETTINGS.get(asked, {})}
    found = task.tune(out=tmp_path / "run", trials=2, **settings)
    assert found.tuned is not None
    assert np.isfinite([one.loss for one in found.tuned.trials]).all()
    assert (tmp_path / "run" / "tuning.html").exists()
    run = Run.new(task.definition, db.snapshot, task.labels, TrainConfig.of({**settings, "ensemble": 2}))
    run.train(partial=tmp_path / "state")
    again = Run.new(task.definition, db.snapshot, task.labels, run.config)
    again.train(partial=tmp_path / "state", resume=True)
    assert np.array_equal(again.predict_split("test"), run.predict_split("test"))
    assert again.objective == run.objective


def test_a_class_is_said_as_it_stands_in_the_database(db: Database) -> None:
    run = db.task(QUESTIONS["multiclass"]).fit(baselines=False, **FAST)
    found = run.predict(split="test")
    assert set(found["prediction"]) <= {"a", "b", "c"}
    assert found["probability"].between(1 / 3, 1).all()
    labels = run.task.table("test")
    assert (labels["label"] == "new").any()
    assert run.metrics["test"]["accuracy"] == pytest.approx((labels["label"] == found["prediction"]).mean())


def test_scores_of_classes_and_timeframes_stand_a_line_each(db: Database) -> None:
    run = db.task(QUESTIONS["multilabel"]).fit(baselines=False, **FAST)
    found = run.predict(split="test")
    wide = found.pivot(index=["time", "id"], columns="class", values="score")
    assert np.array_equal(wide[list(run.task.labels.classes)], run.run.predict_split("test"))
    run = db.task(QUESTIONS["forecast"]).fit(baselines=False, **FAST)
    found = run.predict(split="test").pivot(index=["time", "id"], columns="timeframe", values="prediction")
    assert np.array_equal(found[[1, 2, 3]], run.run.predict_split("test"))


def test_lines_of_timeframes_go_back_into_the_database(hostile: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(hostile.read_bytes())
    db = rdl.connect(f"duckdb:///{copy}")
    for asked, name in (("forecast", "timeframe"), ("multilabel", "class")):
        found = db.task(QUESTIONS[asked]).fit(baselines=False, **FAST).predict_arrow()
        assert db.write(asked, found, entity="users") == 30
        with duckdb.connect(str(copy), read_only=True) as connection:
            again = connection.sql(f'SELECT * FROM {asked} ORDER BY time, id, "{name}"').to_arrow_table()
        assert again.to_pydict() == found.sort_by([(n, "ascending") for n in ("time", "id", name)]).to_pydict()


def test_outliers_leave_the_others_well_predicted(db: Database) -> None:
    """Of a tenth of the labels 1e12 is a part; what users usually spend is told in its own order of size."""
    run = db.task(QUESTIONS["regression"]).fit(baselines=False, **FAST)
    target, found = run.task.labels.of("test").target, run.run.predict_split("test")
    usual = target < 1e6
    assert usual.mean() > 0.7
    assert np.median(np.abs(found - target)[usual]) < 100


def test_intervals_are_calibrated_and_kept(db: Database, tmp_path: Path) -> None:
    task = db.task(QUESTIONS["regression"])
    run = task.fit(out=tmp_path / "run", importance=False, baselines=False, quantiles=(0.1, 0.25, 0.75, 0.9), **FAST)
    assert len(run.run.objective.shifts) == 5
    found = run.predict(split="val")
    assert (np.diff(found[["q10", "q25", "prediction", "q75", "q90"]].to_numpy(), axis=1) >= 0).all()
    target = task.labels.of("val").target
    assert ((found["q10"] <= target) & (target <= found["q90"])).mean() >= 0.8, "by the calibration, of its own labels"
    assert rdl.load(tmp_path / "run").run.objective == run.run.objective


@pytest.mark.parametrize("asked", QUESTIONS)
def test_a_task_without_a_test_row_has_a_model(db: Database, tmp_path: Path, asked: str) -> None:
    query = f"{QUESTIONS[asked]} SPLIT AT '2024-04-15', '2030-01-01'"
    run = db.task(query).fit(out=tmp_path / "run", importance=False, **FAST)
    assert run.metrics["test"] == {}
    assert set(NAMES[Kind(asked)]) <= set(run.metrics["val"])
    assert run.predict(split="test").empty
    assert len(run.predict())


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("PREDICT COUNT(events.*, 0, 10) >= 0 FOR EACH users.id", "one class only"),
        ("PREDICT LAST(events.same, 0, 10) = 8 FOR EACH users.id", "no positive"),
        ("PREDICT users.same FOR EACH users.id", "one class only"),
        ("PREDICT LIST_DISTINCT(events.nothing, 0, 10) CLASSIFY FOR EACH users.id", "no positive"),
        ("PREDICT AVG(events.amount WHERE events.same = 8, 0, 10) FOR EACH users.id", "no training row"),
    ],
)
def test_where_there_is_nothing_to_learn_it_is_said(db: Database, query: str, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        db.task(query).fit(**FAST)


@pytest.mark.parametrize("query", ["PREDICT COUNT(events.*, 0, 10) * 0 FOR EACH users.id",
                                   "PREDICT COUNT(events.*, 0, 5) * 0 FORECAST 2 TIMEFRAMES FOR EACH users.id",
                                   "PREDICT MAX(events.wild, 0, 10) FOR EACH users.id"])  # fmt: skip
def test_labels_that_are_all_the_same_or_infinite_have_a_result(db: Database, query: str) -> None:
    run = db.task(query).fit(**FAST)
    assert np.isfinite(run.run.predict_split("test")).all()
    assert np.isfinite(losses(run.run)).all()


def test_class_numbers_are_those_that_the_model_learnt(hostile: Path, tmp_path: Path) -> None:
    """Rows that come in late make another class the most frequent one: its number in a saved run stays."""
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(hostile.read_bytes())
    run = (
        rdl.connect(f"duckdb:///{copy}")
        .task(QUESTIONS["multiclass"])
        .fit(out=tmp_path / "run", importance=False, **FAST)
    )
    before = run.task.labels.classes
    with duckdb.connect(str(copy)) as connection:
        connection.execute(
            f"UPDATE events SET kind = '{before[-1]}' WHERE made_at < '2024-04-01' AND kind <> '{before[0]}'"
        )
        connection.execute("UPDATE events SET kind = 'other' WHERE made_at < '2024-04-01' AND kind = 'a'")
    later = rdl.load(tmp_path / "run")
    assert later.data_changed
    assert later.task.labels.classes != before
    table = later.run.table
    assert table.classes == before
    values = later.task.table("test")["label"].to_numpy()
    number = np.array([(*table.classes, *table.unseen[::-1])[n] for n in table.of("test").target])
    assert (values == number).all()
    assert 0 <= later.evaluate("test")["accuracy"] <= 1
