"""Every task file is planned on its database, with the schema file that stands beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

import rdl
from rdl.pipeline import Database
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
