"""What is not written as a RelBench folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import rdl
from rdl.errors import ConfigError, QueryError, RdlError
from rdl.query import read_task
from rdl.relbench_export import export
from rdl.snapshot import Snapshot
from tests.query.shop import SHOP
from tests.relbench_export.compared import check_labels

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("queries", "given_cuts", "reason"),
    [
        (["PREDICT users.country FOR EACH users.id SPLIT BY users.country"], {}, "not by a column"),
        (["PREDICT COUNT(orders.* WHERE orders.qty > 1, 0, 7) FOR EACH users.id HIDE orders.qty"], {}, "qty, which"),
        (
            ["PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id", "PREDICT COUNT(orders.*, 0, 30) FOR EACH users.id"], {},
            "give val and test",
        ),
        (["PREDICT COUNT(orders.*, 0, 300) FOR EACH users.id"], {"val": "2023-05-01", "test": "2023-06-01"}, "no lab"),
        (["PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id"], {"val": "2023-05-01"}, "belong together"),
        ([], {}, "give val and test, or a task"),
        ([], {"val": "2023-05-01", "test": "2023-05-01"}, "a second between"),
        ([], {"val": "soon", "test": "later"}, "is not a time"),
    ],
)  # fmt: skip
def test_refused(queries: list[str], given_cuts: dict[str, str], reason: str, sample: Snapshot, tmp_path: Path) -> None:
    tasks = {f"t{number}": read_task(query, SHOP) for number, query in enumerate(queries)}
    with pytest.raises(RdlError, match=reason) as caught:
        export(sample, tasks, tmp_path / "out", **given_cuts)
    assert len(str(caught.value).splitlines()) <= 2
    assert not list(tmp_path.iterdir())


def test_rows_that_come_after_test_begins(sample: Snapshot, tmp_path: Path) -> None:
    """RelBench takes them for dangling in labels, so a query that asks about them, or lists them, is refused."""
    half = "SPLIT AT '2022-10-01', '2023-01-01'"
    late = f"PREDICT COUNT(orders.*, 0, 30) FOR EACH users.id {half}"
    with pytest.raises(QueryError, match="not known when test began"):
        export(sample, {"t": read_task(late, SHOP)}, tmp_path / "out")
    early = f"PREDICT COUNT(orders.*, 0, 30) FOR EACH users.id WHERE users.joined_at <= '2023-01-01' {half}"
    export(sample, {"t": read_task(early, SHOP)}, tmp_path / "out")
    check_labels(tmp_path / "out", "t", read_task(early, SHOP), sample)
    ranked = "PREDICT LIST_DISTINCT(orders.item_id{}, 0, 60) RANK TOP 5 FOR EACH companies.id EVERY 900 days {}"
    half = "SPLIT AT '2021-09-01', '2021-12-01'"
    with pytest.raises(QueryError, match="its lists were not known"):
        export(sample, {"t": read_task(ranked.format("", half), SHOP)}, tmp_path / "ranked")


def test_the_folder_is_new_and_tasks_have_names(shop: rdl.pipeline.Database, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        shop.to_relbench(tmp_path / "there", val="2024-03-01", test="2024-05-01")
    query = "PREDICT SUM(orders.amount, 0, 60) FOR EACH users.id"
    with pytest.raises(ConfigError, match="cannot name a task"):
        shop.to_relbench(tmp_path / "out", {"../up": query})
    with pytest.raises(ConfigError, match="two tasks"):
        shop.to_relbench(tmp_path / "out", [f"a={query}", f"a={query}"])
    with pytest.raises(ConfigError, match="one text"):
        shop.to_relbench(tmp_path / "out", query)
    asked = [query, f"value={query}", shop.task(query), ROOT / "tasks" / "shop" / "impression-click.pql"]
    found = shop.to_relbench(tmp_path / "out", asked, val="2024-03-01", test="2024-05-01")
    assert list(found.tasks) == ["task-1", "value", "task-3", "impression-click"]
