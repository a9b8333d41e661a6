"""The report of a run: what it says, that it stands alone, and that it is honest."""

from __future__ import annotations

import math
import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl import charts
from rdl.answers import standard_error
from rdl.blending import Blend
from rdl.clock import US_PER_DAY, Span, to_us
from rdl.config import Regime, TrainConfig
from rdl.importance import Importance
from rdl.losses import Objective
from rdl.metrics import evaluate
from rdl.page import Html
from rdl.progress import Evaluation, Progress
from rdl.query.task import SPLITS, Kind, LabelSql, Split, Task, TaskTable
from rdl.report import verdict, write_report
from rdl.run import Run
from rdl.schema import Column, Dtype, Schema, Stype, Table
from rdl.scoring import Figures
from rdl.segments import Segment, segments
from tests.memory import MemoryReader
from tests.test_inspection import Page

QUERY = "PREDICT SUM(orders.amount, 0, 30, days) > '<b>'\nFOR EACH users.id"
SCHEMA = Schema({"users": Table("users", (Column("id", Dtype.integer, Stype.identifier),), ("id",))})
URL = "postgresql://ann:s3cret@host/shop"
HISTORY = [
    Evaluation(step, step / 10, 1 / step, 1 - value, value, 1e-3) for step, value in ((20, 0.6), (40, 0.9), (60, 0.7))
]


def seeds(kind: Kind, anchors: int, users: int = 60) -> tuple[TaskTable, np.ndarray]:
    """Every user at every anchor, the last eight of which are of validation and test, and predictions for them."""
    rng = np.random.default_rng(0)
    at = to_us("2020-01-01") + 30 * US_PER_DAY * np.arange(anchors)
    number = np.repeat(np.arange(anchors), users)
    split = np.select([number < anchors - 8, number < anchors - 5], [0, 1], 2).astype(np.int8)
    signal = rng.normal(size=len(number))
    if kind is Kind.binary:
        target, predicted = (signal + rng.normal(size=len(number)) > 1).astype(float), 1 / (1 + np.exp(1 - signal))
    else:
        target, predicted = np.exp(signal + rng.normal(size=len(number))), np.exp(signal)
    table = TaskTable(np.tile(np.arange(users), anchors), at[number], split, target, int(at[-8]), int(at[-5]))
    return table, predicted


def run_of(kind: Kind = Kind.binary, *, anchors: int = 12, **facts: Any) -> Any:
    """A run as the report sees it, with all but its model; ``facts`` in place of what it has."""
    table, predicted = seeds(kind, anchors)
    train = table.of("train").target

    def figures(of: np.ndarray) -> Figures:
        return {
            split.value: evaluate(kind, table.of(split).target, of[table.split == number], train_target=train)
            for number, split in enumerate(SPLITS)
            if split is not Split.train
        }

    run = {
        "task": Task(kind, QUERY, "users", None, horizon=Span(30), hidden=frozenset({("orders", "secret")})),
        "table": table,
        "config": TrainConfig(),
        "objective": Objective(kind),
        "metrics": figures(predicted),
        "baselines": {"global": figures(np.full(len(table), train.mean()))},
        "seconds": {"training": 12.34},
        "progress": [Progress(step=60, history=HISTORY, best_step=40, stopped="validation has not improved")],
        "predicted": {},
        "blend": None,
        "importance": [],
        "snapshot": SimpleNamespace(schema=SCHEMA, num_rows={"users": 1234}),
        "predict_split": lambda split: predicted[table.split == SPLITS.index(Split(split))],
    }
    return SimpleNamespace(**{**run, **facts})


def report(run: Any, folder: Path) -> Page:
    write_report(run, folder / "report.html", url=URL)
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "http" not in text
    assert "s3cret" not in text
    found = Page.check(text)
    found.text = text
    return found


@pytest.fixture(autouse=True)
def parted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds of a run without a database are parted in two."""

    def halves(run: Any, part: TaskTable) -> list[Segment]:
        if isinstance(run, Run):
            return segments(run, part)
        rows = np.array_split(np.arange(len(part)), 2)
        return [Segment("city", name, half) for name, half in zip(("Rome", "Oslo"), rows, strict=True)]

    monkeypatch.setattr("rdl.report.segments", halves)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are left empty, where a test is about the words around them."""
    monkeypatch.setattr(charts, "_chart", lambda *_: Html("<svg></svg>"))


@pytest.mark.parametrize("kind", [Kind.binary, Kind.regression])
def test_it_says_all_of_a_run(tmp_path: Path, kind: Kind) -> None:
    run = run_of(kind)
    found = report(run, tmp_path)
    assert re.search(r"<title>rdl: PREDICT SUM\(orders.amount, 0, 30, days\) &gt; &#x27;&lt;b&gt;", found.text)
    for expected in (
        QUERY, "postgresql://ann:***@host/shop", "1,234 rows", "regime seed-time", "The model beats every baseline",
        "Ended at step 60: validation has not improved. Kept are the weights of step 40", "training 12.3 s",
        "A label looks at the 30 days after its time", "Never an input: orders.secret", "2020-01-01", "2020-11-26",
        "--regime seed-time --seed 0", "python 3.",
    ):  # fmt: skip
        assert expected in found.words.replace("Training ended", "Ended"), expected
    for split in ("val", "test"):
        for figures in (run.metrics, *run.baselines.values()):
            for value in figures[split].values():
                assert "–" in found.words if math.isnan(value) else f"{value:.4f}" in found.words
    drawn = {
        Kind.binary: ("calibration", "scores by class", "test AUROC over time", "validation AUROC"),
        Kind.regression: ("predicted and actual", "errors", "test MAE over time", "validation MAE"),
    }
    for title in drawn[kind]:
        assert title in found.words
    assert found.tags.count("figure") == 6


@pytest.mark.usefixtures("undrawn")
def test_the_headline_stands_first_and_the_best_is_marked(tmp_path: Path) -> None:
    run = run_of(
        metrics={"val": {}, "test": {"brier": 0.3, "auroc": 0.7}},
        baselines={"one": {"test": {"brier": 0.2, "auroc": 0.6}}, "two": {"test": {"brier": math.nan, "auroc": 0.7}}},
    )
    found = report(run, tmp_path)
    assert found.words.index("AUROC ↑") < found.words.index("Brier score ↓")
    assert re.findall(r'class="best">([^<]*)<', found.text) == ["0.7000", "0.2000", "0.7000"]
    assert "Validation: no seeds." in found.words


@pytest.mark.usefixtures("undrawn")
def test_each_regime_says_what_was_seen(tmp_path: Path) -> None:
    run = run_of(config=TrainConfig(regime=Regime.frozen, seed=7, time_budget_min=1.5))
    found = report(run, tmp_path)
    assert "nothing newer than 2020-04-30 is seen in validation, nothing newer than 2020-07-29 in test" in found.words
    assert "Test, regime frozen" in found.words
    assert "Validation, regime frozen" in found.words
    assert "--out run --regime frozen --seed 7 --time-budget 1.5" in found.words


@pytest.mark.usefixtures("undrawn")
def test_the_command_gives_every_setting_that_is_not_the_default(tmp_path: Path) -> None:
    config = TrainConfig(channels=16, fanouts=(8, 2), regime=Regime.frozen, seed=3, ensemble=2)
    found = report(run_of(config=config), tmp_path)
    assert "--regime frozen --seed 3 --set channels=16 --set 'fanouts=[8,2]' --ensemble 2" in found.words


@pytest.mark.usefixtures("undrawn")
def test_a_manifest_shows_its_sql(tmp_path: Path) -> None:
    sql = LabelSql("SELECT 1 < 2 -- {timedelta}", "60 days", 60 * US_PER_DAY, 1, "id", "date", "y")
    task = Task(Kind.binary, "tasks/driver-dnf", "users", None, sql=sql)
    words = report(run_of(task=task), tmp_path).words
    assert "tasks/driver-dnf" in words
    assert "SELECT 1 < 2 -- {timedelta}" in words
    assert "with {timedelta} = 60 days" in words
    assert "looks at the 60 days" in words


def test_what_is_not_there_is_not_drawn(tmp_path: Path) -> None:
    table, _ = seeds(Kind.binary, 12)
    train = table.of("train")
    run = run_of(table=train, metrics={"val": {}, "test": {}}, baselines={}, progress=[], seconds={})
    found = report(run, tmp_path)
    for expected in (
        "There is nothing to compare", "Test: no seeds.", "too few labelled seeds", "has not been trained"
    ):  # fmt: skip
        assert expected in found.words
    assert found.tags.count("figure") == 1


@pytest.mark.parametrize("kind", [Kind.binary, Kind.regression])
def test_odd_predictions_are_drawn(tmp_path: Path, kind: Kind) -> None:
    """All the same, one class only, labels unknown: without a warning (which is an error here)."""
    table, _ = seeds(kind, 12)
    same = replace(table, target=np.where(table.split == 2, 0.0, table.target))
    same.target[-3:] = np.nan
    run = run_of(kind, table=same, predict_split=lambda split: np.full(len(same.of(split)), 0.25))
    assert "over time" in report(run, tmp_path).words


def test_without_validation_the_last_weights_are_kept(tmp_path: Path) -> None:
    history = [replace(line, val_loss=math.nan, val_metric=math.nan) for line in HISTORY]
    found = report(run_of(progress=[Progress(history=history)]), tmp_path)
    assert "The last weights are kept." in found.words
    assert "validation AUROC" not in found.words


@pytest.mark.usefixtures("undrawn")
def test_each_model_of_an_ensemble_says_how_it_ended(tmp_path: Path) -> None:
    two = [Progress(step=60, history=HISTORY, best_step=step, seed=step, stopped="done") for step in (20, 40)]
    words = report(run_of(progress=two), tmp_path).words
    for step in (20, 40):
        assert f"Model {step}: training ended at step 60: done. Kept are the weights of step {step}" in words


def test_many_times_are_taken_in_groups_and_few_left_out(tmp_path: Path) -> None:
    run = run_of(anchors=12)
    rows = run.table
    spread = replace(rows, time=rows.time + np.arange(len(rows)) * 1_000_000)
    assert "In 20 groups of about as many seeds" in report(run_of(table=spread), tmp_path).words
    single = replace(rows, time=np.where(rows.split == 2, rows.test_cut, rows.time))
    assert "test AUROC over time" not in report(run_of(table=single), tmp_path).words


def test_it_is_written_fast_and_small(tmp_path: Path) -> None:
    run = run_of(anchors=60)
    report(run, tmp_path)
    started = time.perf_counter()
    found = report(run, tmp_path)
    assert time.perf_counter() - started < 3
    assert len(found.text) < 400_000


@pytest.mark.parametrize("kind", [Kind.binary, Kind.regression])
def test_lightgbm_stands_beside_the_model_wherever_it_is_judged(tmp_path: Path, kind: Kind) -> None:
    run = run_of(kind)
    test, train = run.table.of("test"), run.table.of("train").target
    own, other = run.predict_split("test"), np.full(len(test), 0.25)
    run.predicted = {"model": {"test": own}, "LightGBM": {"test": other}, "global": {"test": other}}
    run.blend = Blend(0.25, {"test": {"auroc": 0.9, "mae": 0.1}})
    run.importance = [Importance("column", "orders.amount", 0.2), Importance("relation", "orders → users", -0.1)]
    found = report(run, tmp_path)
    (line,) = (line for line in re.findall(r"<tr>(.*?)</tr>", found.text) if "city Rome" in line)
    half = len(test) // 2
    for each in (own, other):
        figures = evaluate(kind, test.target[:half], each[:half], train_target=train)
        for name in ("auroc", "log_loss") if kind is Kind.binary else ("mae",):
            assert f'<td class="n">{figures[name]:.4f}</td>' in line
    assert "model + LightGBM: 0.75 · model + 0.25 · LightGBM, the weight fitted on validation." in found.words
    assert "column orders.amount" in found.words
    assert "relation orders → users" not in found.words


def figures_of(value: float) -> Figures:
    return {"test": {"auroc": value, "mae": value}}


@pytest.mark.parametrize(
    ("kind", "model", "baselines", "said"),
    [
        (Kind.binary, 0.75, {"a": 0.5, "b": 0.7}, "The model beats every baseline on test AUROC: 0.7500 against 0.7000"
         " of b, 0.0500 better."),
        (Kind.regression, 2.0, {"a": 3.0, "b": 2.5}, "The model beats every baseline on test MAE: 2.0000 against"
         " 2.5000 of b, 0.5000 better."),
        (Kind.binary, 0.6, {"LightGBM": 0.7, "b": 0.5}, "Warning: LightGBM is better than the model on test AUROC:"
         " 0.7000 against 0.6000, by 0.1000. Use it, or train longer."),
        (Kind.regression, 2.0, {"a": 1.0}, "Warning: a is better than the model on test MAE: 1.0000 against 2.0000,"
         " by 1.0000. Use it, or train longer."),
        (Kind.binary, 0.5, {"a": 0.5}, "Warning: the model is no better than a on test AUROC: 0.5000 against 0.5000."
         " Use the baseline, or train longer."),
        (Kind.binary, math.nan, {"a": 0.5}, "There is nothing to compare on the test split."),
        (Kind.binary, 0.5, {"a": math.nan}, "There is nothing to compare on the test split."),
        (Kind.binary, 0.5, {}, "There is nothing to compare on the test split."),
    ],
)  # fmt: skip
def test_the_verdict_is_honest(kind: Kind, model: float, baselines: dict[str, float], said: str) -> None:
    assert verdict(kind, figures_of(model), {name: figures_of(value) for name, value in baselines.items()}) == said


def test_figures_without_a_value_may_be_null() -> None:
    null: Any = {"test": {"auroc": None}}
    assert verdict(Kind.binary, null, {"a": figures_of(0.5)}) == "There is nothing to compare on the test split."


@pytest.mark.parametrize(("gain", "mark"), [(0.3, "good"), (0.001, "even"), (-0.3, "warn")])
@pytest.mark.usefixtures("undrawn")
def test_a_gain_that_may_be_chance_is_not_shown_as_one(tmp_path: Path, gain: float, mark: str) -> None:
    run = run_of()
    model = run.metrics["test"]["auroc"]
    found = report(run_of(baselines={"a": {"test": {"auroc": model - gain}}}), tmp_path)
    assert f'<div class="{mark}">' in found.text
    assert ("may be chance" in found.words) == (mark == "even")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=30))
def test_the_standard_error_of_auroc_is_delongs(rows: list[tuple[bool, int]]) -> None:
    target, score = np.array([float(label) for label, _ in rows]), np.array([value / 6 for _, value in rows])
    positive, negative = score[target == 1], score[target == 0]
    found = standard_error(Kind.binary, target, score)
    if min(len(positive), len(negative)) < 2:
        assert math.isnan(found)
        return
    won = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    variance = won.mean(axis=1).var(ddof=1) / len(positive) + won.mean(axis=0).var(ddof=1) / len(negative)
    assert found == pytest.approx(variance**0.5, abs=1e-12)


def test_a_real_run_is_reported(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    at = pa.array(np.sort(rng.integers(0, 100, 400)) * US_PER_DAY).cast(pa.timestamp("us"))
    orders = pa.table({"user": rng.integers(0, 20, 400), "amount": rng.normal(size=400), "at": at})
    reader = MemoryReader(
        {"users": pa.table({"id": np.arange(20)}), "orders": orders},
        keys={"users": "id"},
        times={"orders": "at"},
        relations=[("orders", "user", "users")],
    )
    number = np.repeat(np.arange(6), 20)
    split, target = np.select([number < 3, number < 4], [0, 1], 2).astype(np.int8), rng.integers(0, 2, 120) * 1.0
    anchors = (number + 3) * 10 * US_PER_DAY
    table = TaskTable(np.tile(np.arange(20), 6), anchors, split, target, 60 * US_PER_DAY, 70 * US_PER_DAY)
    config = TrainConfig(channels=8, fanouts=(4,), min_steps=20, max_steps=20, device="cpu")
    task = Task(Kind.binary, "PREDICT COUNT(orders.*) > 3 FOR EACH users.id", "users", None, horizon=Span(10))
    run = Run.new(task, reader.snapshot(tmp_path / "snapshot"), table, config)
    run.train()
    run.score(baselines=False)
    found = report(run, tmp_path)
    assert f"{run.metrics['test']['auroc']:.4f}" in found.words
    assert "2 tables, 420 rows" in found.words
    assert "channels=8" in found.words
