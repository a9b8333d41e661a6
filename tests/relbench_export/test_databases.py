"""Whole databases as RelBench folders, and back."""

from __future__ import annotations

import functools
from pathlib import Path

import pandas as pd
import pytest
import relbench

import rdl
from rdl.errors import QueryError
from rdl.query import Kind, Split
from rdl.shop import QUESTIONS
from tests.relbench_export.compared import check_labels, check_tables

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def connected(url: str, schema: Path) -> rdl.pipeline.Database:
    return rdl.connect(url, schema=schema)


@pytest.mark.parametrize(
    ("question", "refused"),
    [
        ("f1/driver-dnf", None),
        ("f1/driver-position", None),
        ("f1/driver-top3", None),
        ("ml_100k/movie-occupations", None),
        ("ml_100k/movie-ratings", "several numbers"),
        ("ml_100k/movie-stars", None),
        ("ml_100k/rating-liked", None),
        ("ml_100k/rating-movie", "at its own time"),
        ("ml_100k/user-gender", "users has none"),
        ("ml_100k/user-next-liked", "at one time"),
        ("ml_100k/user-return", None),
        ("worldcup/match-result", None),
        ("worldcup/player-scorer", None),
        ("worldcup/team-goals", None),
        ("worldcup/team-opponents", "at one time"),
        ("worldcup/team-round", None),
    ],
)
def test_real_databases(question: str, refused: str | None, shared_data: Path, tmp_path: Path) -> None:
    """Times through keys, composite keys of up to four columns, two keys to one table."""
    database, name = question.split("/")
    db = connected(f"sqlite:///{shared_data / database}.sqlite", ROOT / "schemas" / f"{database}.toml")
    path = ROOT / "tasks" / f"{question}.pql"
    if refused is not None:
        with pytest.raises(QueryError, match=refused):
            db.to_relbench(tmp_path / "out", [path])
        return
    db.to_relbench(tmp_path / "out", [path])
    check_labels(tmp_path / "out", name, db.task(path).definition, db.snapshot)
    if name in ("driver-dnf", "movie-stars", "match-result"):
        check_tables(tmp_path / "out", db.snapshot)


def test_relbench_again(shared_data: Path, tmp_path: Path) -> None:
    """A data set of RelBench is written as it was, with its own SQL."""
    db = rdl.connect(f"relbench:{shared_data / 'rel-f1'}")
    names = list(db.reader.tasks)  # type: ignore[attr-defined]
    db.to_relbench(tmp_path / "again", names)
    check_tables(tmp_path / "again", db.snapshot)
    before, after = (relbench.load_dataset(folder) for folder in (shared_data / "rel-f1", tmp_path / "again"))
    assert after.get_task_names() == before.get_task_names()
    for name in names:
        for split in ("train", "val", "test"):
            one, other = (
                data.load_task(name, regenerate=True).get_table(split, mask_input_cols=False).df
                for data in (before, after)
            )
            pd.testing.assert_frame_equal(one, other, check_dtype=False)
    for name, table in before.get_db().table_dict.items():
        columns = list(table.df.columns)
        pd.testing.assert_frame_equal(table.df, after.get_db().table_dict[name].df[columns], check_dtype=False)


def test_back_into_rdl(shop: rdl.pipeline.Database, tmp_path: Path) -> None:
    """rdl reads the folder: the manifests, and the queries themselves where keys are kept, give the same labels."""
    whom = "FOR EACH users.id WHERE users.joined_at <= '2024-05-01'"
    queries = {
        "churn": f"PREDICT COUNT(orders.*, 0, 30, days) = 0 {whom} AND COUNT(orders.*, -90, 0, days) > 0",
        "value": f"PREDICT SUM(orders.amount, 0, 7) {whom}",
        "click": "PREDICT impressions.clicked FOR EACH impressions.id",
        "few": f"PREDICT COUNT(orders.* WHERE items.price > 20, 0, 30) > 0 {whom} AND users.country <> 'US'",
    }
    shop.to_relbench(tmp_path / "out", queries, val="2024-03-01", test="2024-05-01")
    again = rdl.connect(f"relbench:{tmp_path / 'out'}")
    data = relbench.load_dataset(tmp_path / "out")
    for name, query in queries.items():
        manifest = again.task(name)
        written = again.task(f"{query} SPLIT AT '2024-03-01', '2024-05-01'")
        for split in Split:
            theirs = data.load_task(name, regenerate=True).get_table(split.value, mask_input_cols=False).df
            for one in (manifest, written):
                part = one.labels.of(split)
                assert part.entity.tolist() == theirs.sort_values(list(theirs.columns[:2]))[theirs.columns[1]].tolist()
                assert part.target.tolist() == pytest.approx(theirs[theirs.columns[2]].astype(float).tolist())
                assert part.time.tolist() == theirs[theirs.columns[0]].astype("datetime64[us]").astype(int).tolist()


@pytest.mark.parametrize("query", [q for _, q in QUESTIONS], ids=[t.split(":")[0] for t, _ in QUESTIONS])
def test_questions_of_the_demo(shop: rdl.pipeline.Database, query: str, tmp_path: Path) -> None:
    task = shop.task(query)
    if task.kind is Kind.forecast or (task.kind is Kind.recommendation and task.definition.row_level):
        with pytest.raises(QueryError, match="RelBench has no task"):
            shop.to_relbench(tmp_path / "out", {"asked": task})
        return
    shop.to_relbench(tmp_path / "out", {"asked": task})
    check_labels(tmp_path / "out", "asked", task.definition, shop.snapshot)
