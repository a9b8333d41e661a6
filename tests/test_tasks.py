"""Every task file is planned on its database, with the schema file that stands beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import rdl
from rdl.pipeline import BoundTask, Database
from rdl.query import Kind, Split
from rdl.shop import QUESTIONS, build_shop

ROOT = Path(__file__).resolve().parents[1]


def files(database: str) -> list[Path]:
    found = sorted((ROOT / "tasks" / database).glob("*.pql"))
    assert found
    return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Database:
    path = tmp_path_factory.mktemp("tasks") / "shop.duckdb"
    build_shop(path, scale=0.1)
    return rdl.connect(f"duckdb:///{path}")


@pytest.fixture(scope="module")
def formula_one(shared_data: Path) -> Database:
    return rdl.connect(f"sqlite:///{shared_data / 'f1.sqlite'}", schema=ROOT / "schemas" / "f1.toml")


def check(db: Database, query: str | Path) -> None:
    plan = db.task(query).plan()
    assert all(count > 0 for count in plan.rows.values()), plan.rows
    assert not [warning for warning in plan.warnings if "class" in warning]


@pytest.mark.parametrize("path", files("shop"), ids=lambda path: path.stem)
def test_shop(shop: Database, path: Path) -> None:
    assert path.read_text().startswith("--"), "a comment says what it asks"
    check(shop, path)


@pytest.mark.parametrize(
    "query", [query for _, query in QUESTIONS], ids=[title.split(":")[0] for title, _ in QUESTIONS]
)
def test_questions_of_the_demo(shop: Database, query: str) -> None:
    check(shop, query)


@pytest.mark.parametrize("path", files("f1"), ids=lambda path: path.stem)
def test_formula_one(formula_one: Database, path: Path) -> None:
    assert path.read_text().startswith("--"), "a comment says what it asks"
    check(formula_one, path)


@pytest.fixture(scope="module")
def rel_f1(shared_data: Path) -> Database:
    return rdl.connect(f"relbench:{shared_data / 'rel-f1'}")


@pytest.mark.parametrize("path", files("rel-f1"), ids=lambda path: path.stem)
def test_relbench_tasks_as_queries_have_its_rows(rel_f1: Database, path: Path) -> None:
    """At every anchor of both: a query takes all anchors of validation and of test, and of training none from before
    the first row that it counts."""
    asked, theirs = rel_f1.task(path), rel_f1.task(path.stem)
    assert asked.kind == theirs.kind
    for split in Split:
        ours, expected = (_labels(task, split) for task in (asked, theirs))
        taken = {time for time, _ in ours}
        left = sorted({time for time, _ in expected} - taken)
        assert left == ([pd.Timestamp("1994-02-28")] if path.stem == "driver-top3" and split is Split.train else [])
        expected = {seed: label for seed, label in expected.items() if seed[0] in taken}
        anchors = {time for time, _ in expected}
        assert {seed: label for seed, label in ours.items() if seed[0] in anchors} == expected
        assert len(expected) > 20


def _labels(task: BoundTask, split: Split) -> dict[tuple[Any, int], Any]:
    frame = task.table(split)
    seeds = zip(frame["time"], frame["driverId"], strict=True)
    lists = task.kind is Kind.recommendation
    return dict(zip(seeds, [sorted(keys) for keys in frame["label"]] if lists else frame["label"], strict=True))
