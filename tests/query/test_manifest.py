"""RelBench task folders: what is read, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rdl import labels
from rdl.clock import Span, to_us
from rdl.errors import QueryError
from rdl.plan import plan as plan_of
from rdl.query import Kind, read_manifest
from tests.query.memory import snapshot_of
from tests.query.shop import SHOP, START, plain_rows

VAL, TEST = to_us("2024-02-01"), to_us("2024-02-15")

FORECAST: dict[str, Any] = {
    "name": "spend",
    "kind": "forecast",
    "task_type": "regression",
    "entity_table": "users",
    "entity_col": "buyer",
    "target_col": "spent",
    "time_col": "timestamp",
    "timedelta": "7 days",
    "num_eval_timestamps": 2,
    "metrics": ["an old key that nobody reads"],
    "sql": """
        SELECT t.timestamp, o.user_id AS buyer, SUM(o.amount) AS spent   -- per user and time
        FROM timestamps t JOIN orders o
        ON o.created_at > t.timestamp AND o.created_at <= t.timestamp + INTERVAL '{timedelta}'
        GROUP BY ALL;
    """,
}
COMPLETE: dict[str, Any] = {
    "name": "amount",
    "kind": "autocomplete",
    "task_type": "regression",
    "entity_table": "orders",
    "target_col": "amount",
    "remove_columns": [["orders", "qty"]],
}


def _folder(tmp_path: Path, manifest: object) -> Path:
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
    return tmp_path


def test_forecast_runs_its_sql(tmp_path: Path) -> None:
    task = read_manifest(_folder(tmp_path, FORECAST), SHOP, VAL, TEST)
    assert (task.kind, task.entity, task.horizon) == (Kind.regression, "users", Span(7))
    rows = plain_rows()
    rows["users"][0]["id"] = 0
    rows["users"].append({**rows["users"][1], "id": 5})
    for order in rows["orders"]:
        order["user_id"] = order["id"] % 2 * 5  # user 5 exists, but the key is not below the number of users: dangling
    with snapshot_of(SHOP, rows) as snapshot:
        plan, table = plan_of(task, snapshot), labels.build(task, snapshot)
        assert labels.seeds_at(task, snapshot, VAL).tolist() == [0]
    assert plan.anchors == {"train": 4, "val": 2, "test": 2}
    assert plan.rows == {"train": 4, "val": 2, "test": 2}
    assert set(table.target) == {3.0, 4.0}
    assert plan.dropped == 8
    assert "7 days 00:00:00" in plan.sql


def test_autocomplete_hides_its_label(tmp_path: Path) -> None:
    task = read_manifest(_folder(tmp_path, COMPLETE), SHOP, VAL, TEST)
    assert task.row_level
    assert task.hidden == {("orders", "amount"), ("orders", "qty")}
    with snapshot_of(SHOP, plain_rows()) as snapshot:
        table = labels.build(task, snapshot)
    # An order at exactly the begin of validation is still training, as RelBench has it.
    assert table.of("train").time.max() == VAL
    assert table.of("val").time.max() == TEST
    assert len(table) == 61
    assert table.time[0] == to_us(START)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sql": None}, "needs sql"),
        ({"kind": "guess"}, "use one of"),
        ({"task_type": "poetry"}, "use one of"),
        ({"timedelta": "soon"}, "not a length of time"),
        ({"timedelta": "90 days"}, "longer than"),
        ({"entity_table": "usres"}, "did you mean 'users'"),
        ({"kind": "external"}, "made elsewhere"),
        ({"name": None}, "name missing"),
        ({"remove_columns": [["nowhere", "x"]]}, "no table 'nowhere'"),
        ({"remove_columns": "users.vip"}, "pairs"),
        ({"num_eval_timestamps": "many"}, "whole number"),
    ],
)
def test_what_is_no_manifest_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(QueryError) as caught:
        read_manifest(_folder(tmp_path, {**FORECAST, **change}), SHOP, VAL, TEST)
    assert words in str(caught.value)
    assert "manifest.yaml" in str(caught.value)


@pytest.mark.parametrize("written", ["a: [", "just text", ""])
def test_what_is_no_yaml_is_refused(written: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text(written, encoding="utf-8")
    with pytest.raises(QueryError, match=r"manifest\.yaml"):
        read_manifest(tmp_path, SHOP, VAL, TEST)
    with pytest.raises(QueryError, match="no readable manifest"):
        read_manifest(tmp_path / "nowhere", SHOP, VAL, TEST)


@pytest.mark.parametrize(("column", "words"), [("user_id", "is a key"), ("status", "not a number"), ("x", "no column")])
def test_only_values_are_completed(column: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=words):
        read_manifest(_folder(tmp_path, {**COMPLETE, "target_col": column}), SHOP, VAL, TEST)


@pytest.mark.parametrize("sql", ["SELECT nothing FROM timestamps", "SELEC 1", "SELECT * FROM read_csv('/etc/passwd')"])
def test_sql_that_fails_is_no_raw_error(sql: str, tmp_path: Path) -> None:
    task = read_manifest(_folder(tmp_path, {**FORECAST, "sql": sql}), SHOP, VAL, TEST)
    with snapshot_of(SHOP, plain_rows()) as snapshot, pytest.raises(QueryError, match="SQL fails"):
        plan_of(task, snapshot)


def test_too_few_anchors_are_refused_as_relbench_does(tmp_path: Path) -> None:
    task = read_manifest(_folder(tmp_path, {**FORECAST, "timedelta": "14 days"}), SHOP, VAL, TEST)
    with snapshot_of(SHOP, plain_rows()) as snapshot, pytest.raises(QueryError, match="at least 3"):
        plan_of(task, snapshot)
