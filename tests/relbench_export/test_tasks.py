"""Every kind of question over a sample shop, asked by RelBench itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import relbench

from rdl import labels
from rdl.errors import ConfigError, QueryError
from rdl.query import Task, read_task
from rdl.relbench_export import export
from rdl.snapshot import Snapshot
from tests.labels.test_reference import MORE, QUERIES
from tests.query.shop import SHOP
from tests.relbench_export.compared import check_labels, check_tables

#: Between two rows of the sample shop, so that no row stands exactly there.
CUTS = "SPLIT AT '2023-10-01T06:00', '2024-01-01T06:00'"


def asked(query: str, snapshot: Snapshot) -> Task:
    """``query`` with the cuts of the sample shop where it says none."""
    if "SPLIT AT" not in query:
        place = next((at for word in ("HIDE", "VIA", "AS OF") if (at := query.find(word)) > 0), len(query))
        query = f"{query[:place].split('#', maxsplit=1)[0]} {CUTS} {query[place:]}"
    return read_task(query, snapshot.schema)


#: What the reference queries ask that RelBench cannot, on the sample shop, where parents may follow children.
REFUSED = {
    "FORECAST": "several numbers a row",
    "orders.item_id RANK": "ranks for each row at its own time",
    "PREDICT companies.name": "companies has none",
    "AVG(reviews.stars, 0, 1, years)": "has no label",
    "MIN(reviews.stars, 0, 30)": "other labels",
    "PREDICT users.": "has no label",
    "PREDICT companies.size": "has no label",
    "CASE WHEN users.age": "has no label",
    "users.age > 30 AND": "has no label",
    "RANK TOP": "a ranking at one time",
}


@pytest.mark.parametrize("query", [*QUERIES, *MORE])
def test_every_reference_query(query: str, sample: Snapshot, tmp_path: Path) -> None:
    """With validation and test of three months: many times are asked about."""
    task = asked(query, sample)
    reason = next((reason for word, reason in REFUSED.items() if word in query), None)
    if reason is not None:
        with pytest.raises(QueryError, match=reason):
            export(sample, {"t": task}, tmp_path / "out")
        assert not list(tmp_path.iterdir())
        return
    export(sample, {"t": task}, tmp_path / "out")
    check_labels(tmp_path / "out", "t", task, sample)


@pytest.mark.parametrize(
    "query",
    [
        "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id",
        "PREDICT LIST_DISTINCT(orders.item_id, 0, 7, days) RANK TOP 12 FOR EACH users.id",
        "PREDICT LIST_DISTINCT(orders.user_id, 0, 7) RANK TOP 10 FOR EACH items.id",
        "PREDICT SUM(orders.amount, 0, 1, month) FOR EACH users.id",
        "PREDICT SUM(orders.amount, 0, 7) FOR EACH users.id EVERY 30 days",
        "PREDICT SUM(orders.amount, 0, 28) FOR EACH users.id EVERY 1 week",
        "PREDICT SUM(orders.amount, 0, 1, month) FOR EACH users.id EVERY 1 quarter",
        "PREDICT EXISTS(orders.*, 0, 12, hours) FOR EACH users.id WHERE EXISTS(orders.*, -INF, 0) EVERY 1 week",
        "PREDICT users.country FOR EACH users.id",
        "PREDICT users.age FOR EACH users.id",
    ],
)
def test_without_cuts_the_last_windows(query: str, sample: Snapshot, tmp_path: Path) -> None:
    task = read_task(query, SHOP)
    export(sample, {"t": task}, tmp_path / "out")
    check_labels(tmp_path / "out", "t", task, sample)


def test_tables_and_several_tasks(sample: Snapshot, tmp_path: Path) -> None:
    queries = {
        "churn": f"PREDICT NOT EXISTS(orders.*, 0, 28) FOR EACH users.id {CUTS} HIDE users.vip",
        "fine": f"PREDICT reviews.stars >= 4 FOR EACH reviews {CUTS}",
        "stars": f"PREDICT reviews.stars FOR EACH reviews {CUTS}",
        "items": f"PREDICT COUNT_DISTINCT(orders.item_id, 0, 30) FOR EACH users.id {CUTS}",
    }
    tasks = {name: read_task(query, SHOP) for name, query in queries.items()}
    found = export(sample, tasks, tmp_path / "out")
    check_tables(tmp_path / "out", sample)
    assert found.tables == sample.num_rows
    data = relbench.load_dataset(tmp_path / "out")
    assert data.get_task_names() == sorted(tasks)
    for name, task in tasks.items():
        check_labels(tmp_path / "out", name, task, sample, files=True)
        assert sum(found.tasks[name].values()) == len(labels.build(task, sample))
    # No task sees another's label, nor what its own query hides.
    seen = {name: set(data.load_task(name).get_db().table_dict["reviews"].df.columns) for name in tasks}
    assert all("label_fine" not in columns for columns in seen.values())
    assert ["stars" in seen[name] for name in queries] == [True, False, False, True]
    assert "vip" not in data.load_task("churn").get_db().table_dict["users"].df
    assert "vip" in data.load_task("stars").get_db().table_dict["users"].df


def test_a_row_at_exactly_the_cut(sample: Snapshot, tmp_path: Path) -> None:
    """RelBench counts it to the split before, rdl to the one after: the data set begins a microsecond earlier."""
    query = "PREDICT impressions.clicked FOR EACH impressions.id SPLIT AT '{}', '{}'"
    labelled = labels.build(read_task(query.partition("SPLIT")[0], SHOP), sample)  # without those that are not known
    times, counts = np.unique(labelled.time, return_counts=True)
    val, test = (pd.Timestamp(times[-place], unit="us") for place in (30, 15))
    task = read_task(query.format(val, test), SHOP)
    export(sample, {"t": task}, tmp_path / "out")
    check_labels(tmp_path / "out", "t", task, sample)
    data = relbench.load_dataset(tmp_path / "out")
    assert data.val_timestamp == val - pd.Timedelta(1, "us")
    with pytest.raises(ConfigError, match="the data set at"):
        export(sample, {"t": task}, tmp_path / "other", val=val, test=test)
    # Without SPLIT AT a row at exactly the given time is where RelBench has it.
    rows = export(sample, {"t": read_task(query.partition("SPLIT")[0], SHOP)}, tmp_path / "given", val=val, test=test)
    assert rows.tasks["t"]["train"] == len(labels.build(task, sample).of("train")) + counts[-30]
