"""Every task file is planned on its database, with the schema file of that, and held against the table of the tasks."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import rdl
from rdl.pipeline import BoundTask, Database
from rdl.plan import Plan
from rdl.query import Kind, Split
from rdl.shop import QUESTIONS, build_shop

ROOT = Path(__file__).resolve().parents[1]
TASKS = ROOT / "tasks"
FILES = sorted(TASKS.glob("*/*.pql"))
TABLE = (TASKS / "README.md").read_text()

#: Where in the folder of real databases the one is that a folder of tasks is about.
DATABASES = {
    "beauty": "sqlite:///{}/beauty.sqlite",
    "f1": "sqlite:///{}/f1.sqlite",
    "mind_5k": "sqlite:///{}/mind_5k.sqlite",
    "ml_100k": "sqlite:///{}/ml_100k.sqlite",
    "northwind": "sqlite:///{}/dumps/sqlite/northwind.sqlite",
    "rel-f1": "relbench:{}/rel-f1",
    "worldcup": "sqlite:///{}/worldcup.sqlite",
}


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Database]:
    """Opens the database of a folder of tasks, once; the test skips where the data are absent."""

    @cache
    def opened(folder: str) -> Database:
        if folder == "shop":
            path = tmp_path_factory.mktemp("tasks") / "shop.duckdb"
            build_shop(path, scale=0.1)
            return rdl.connect(f"duckdb:///{path}")
        url = DATABASES[folder].format(request.getfixturevalue("shared_data"))
        schema = ROOT / "schemas" / f"{folder}.toml"
        return rdl.connect(url, schema=schema if schema.is_file() else None)

    return opened


def line(path: Path, plan: Plan) -> str:
    """What the table of the tasks says of the one at ``path``, whose plan is ``plan``."""
    comment = " ".join(re.findall(r"^-- *(.*)$", path.read_text(), flags=re.MULTILINE))
    asked, question_mark, _ = comment.partition("?")
    assert question_mark, f"{path}: its comment asks nothing"
    rows = " | ".join(f"{count:,}" for count in plan.rows.values())
    return f"| [{path.stem}]({path.relative_to(TASKS)}) | {asked}? | {plan.kind} | {rows} |"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_task_is_as_the_table_says_and_leaves_no_leak(database: Callable[[str], Database], path: Path) -> None:
    plan = database(path.parent.name).task(path).plan()
    expected = line(path, plan)
    assert expected in TABLE.splitlines(), f"tasks/README.md should have the line\n{expected}"
    assert all(count > 0 for count in plan.rows.values()), plan.rows
    assert not [warning for warning in plan.warnings if re.search("one class|no positive|HIDE", warning)]


def test_the_table_of_tasks_has_every_file_once_and_every_kind() -> None:
    linked = re.findall(r"\]\((\S+\.pql)\)", TABLE)
    assert sorted(linked) == sorted(str(path.relative_to(TASKS)) for path in FILES)
    assert {kind for kind in Kind if f"? | {kind} | " in TABLE} == set(Kind)


@pytest.mark.parametrize(
    "query", [query for _, query in QUESTIONS], ids=[title.split(":")[0] for title, _ in QUESTIONS]
)
def test_questions_of_the_demo(database: Callable[[str], Database], query: str) -> None:
    plan = database("shop").task(query).plan()
    assert all(count > 0 for count in plan.rows.values()), plan.rows
    assert not [warning for warning in plan.warnings if "class" in warning]


@pytest.mark.parametrize("path", sorted((TASKS / "rel-f1").glob("*.pql")), ids=lambda path: path.stem)
def test_relbench_tasks_as_queries_have_its_rows(database: Callable[[str], Database], path: Path) -> None:
    """At every anchor of both: a query takes all anchors of validation and of test, and of training none from before
    the first row that it counts."""
    rel_f1 = database("rel-f1")
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
