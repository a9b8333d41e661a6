"""What a plan shows: in a terminal, as a page, in a notebook, and what it warns of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
from rich.console import Console

from rdl.clock import Span
from rdl.errors import ConfigError
from rdl.infer import Proposal
from rdl.plan import Plan, plan
from rdl.query import read_task
from rdl.schema import Stype
from rdl.snapshot import Snapshot
from rdl.windows import Window, extent, windows_of
from tests.labels.sample import sample_shop
from tests.query.memory import snapshot_of
from tests.query.shop import SHOP

CHURN = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id WHERE COUNT(orders.*, -90, 0, days) > 0"
EVERY_KIND = {
    "binary": CHURN,
    "regression": "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id HIDE users.age",
    "multiclass": "PREDICT LAST(orders.status, 0, 30) FOR EACH users.id",
    "multilabel": "PREDICT LIST_DISTINCT(orders.status, 0, 30) CLASSIFY FOR EACH users.id",
    "recommendation": "PREDICT LIST_DISTINCT(orders.item_id, 0, 30) RANK TOP 3 FOR EACH users.id",
    "forecast": "PREDICT SUM(orders.amount, 0, 1, weeks) FORECAST 4 TIMEFRAMES FOR EACH items.id",
}


@pytest.fixture(scope="module")
def shop() -> Iterator[Snapshot]:
    with snapshot_of(SHOP, sample_shop()) as snapshot:
        yield snapshot


def _printed(found: Plan, width: int) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as written:
        console.print(found, crop=False)
    return written.get()


def test_windows_are_those_of_the_clauses() -> None:
    task = read_task(f"{CHURN} ASSUMING SUM(orders.amount WHERE orders.qty > 1, -INF, 7) > 3", SHOP)
    assert windows_of(task) == (
        Window("target", "COUNT(orders.*)", Span(0, "day"), Span(30, "day")),
        Window("assuming", "SUM(orders.amount WHERE …)", None, Span(7, "day")),
        Window("where", "COUNT(orders.*)", Span(-90, "day"), Span(0, "day")),
    )
    assert [str(window) for window in windows_of(task)] == ["(t, t + 30 days]", "(−∞, t + 7 days]", "(t − 90 days, t]"]
    low, high = extent(windows_of(task))
    assert low < -90
    assert high == 30


def test_a_forecast_reads_one_window_after_another() -> None:
    (window,) = windows_of(read_task(EVERY_KIND["forecast"], SHOP))
    assert window.edges == (0, 7, 14, 21, 28)
    assert str(window) == "(t, t + 1 week], 4 times"


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_is_shown(kind: str, shop: Snapshot) -> None:
    found = plan(read_task(EVERY_KIND[kind], SHOP), shop)
    told = repr(found)
    assert told.startswith(f"{kind} for each ")
    for split in ("train", "val", "test"):
        assert re.search(rf"^{split} .*{found.rows[split]:,}", told, re.MULTILINE)
    assert "orders.user_id → users.id" in told or "orders.item_id → items.id" in told
    assert "SELECT" in told
    page = found.to_html()
    assert page.count("<svg") == 2
    assert "http" not in page.replace("http://www.w3.org", "")
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)
    assert "body {" not in found._repr_html_()  # a notebook's own style is left alone


def test_a_comment_is_told_apart_from_the_question(shop: Snapshot) -> None:
    page = plan(read_task(f"-- Who leaves?\n-- Of the active.\n{CHURN}", SHOP), shop).to_html()
    assert '<p class="soft">Who leaves? Of the active.</p>' in page
    assert '<h1 class="question">PREDICT COUNT' in page


def test_the_picture_puts_each_window_where_it_is(shop: Snapshot) -> None:
    lines = _printed(plan(read_task(CHURN, SHOP), shop), 100).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("target"))
    now = lines[at - 1].index("t")
    target, where = lines[at], lines[at + 1]
    assert target[now] == "│"
    assert target.index("━") == now + 1
    assert where.startswith("WHERE")
    assert where.rindex("━") == now
    ahead, past = target.count("━"), where.count("━")
    assert past == pytest.approx(3 * ahead, abs=3)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_picture_fits_the_terminal(width: int, shop: Snapshot) -> None:
    found = plan(read_task(CHURN, SHOP), shop)
    shown, _, sql = _printed(found, width).partition("WITH anchors")
    assert all(len(line) <= width for line in shown.splitlines())
    assert 'LEFT JOIN "exists of orders 2" ON "exists of orders 2".n = s.n' in sql  # whole, to be copied


def test_a_row_level_question_says_what_is_masked(shop: Snapshot) -> None:
    found = plan(read_task("PREDICT impressions.clicked FOR EACH impressions HIDE impressions.position", SHOP), shop)
    assert found.masked == ("impressions.clicked",)
    assert found.hidden == ("impressions.position",)
    assert found.to_json()["masked"] == ["impressions.clicked"]
    told = repr(found)
    assert "masked   impressions.clicked: read on strictly older rows only" in told
    assert "each at its own time" in told


def test_whom_and_when_it_predicts_is_told(shop: Snapshot) -> None:
    query = "PREDICT COUNT(orders.*, 0, 30) FOR users.id IN (1, 4, 999) AS OF"
    found = plan(read_task(f"{query} '2022-06-30'", SHOP), shop)
    assert "predicts  users 1, 4, 999, as of 2022-06-30" in repr(found)
    told = "\n".join(found.warnings)
    assert "1 of the 3 keys to predict for are not in users" in told
    assert "training and validation read labels from after AS OF 2022-06-30" in told
    later = "\n".join(plan(read_task(f"{query} '2099-01-01'", SHOP), shop).warnings)
    assert "AS OF 2099-01-01 is later than all data" in later
    with pytest.raises(ConfigError, match="mixed or unknown types"):
        plan(read_task("PREDICT COUNT(orders.*, 0, 30) FOR users.id IN (1, 'x')", SHOP), shop)


def test_a_label_that_the_time_tells_is_warned_of(shop: Snapshot) -> None:
    told = plan(read_task("PREDICT MONTH(orders.created_at) = 12 FOR EACH orders", SHOP), shop).warnings
    assert any("reads only orders.created_at, the time at which it is asked" in line for line in told)


def test_paths_of_filters_are_told(shop: Snapshot) -> None:
    found = plan(read_task("PREDICT COUNT(orders.* WHERE items.price > 3, 0, 30) FOR EACH users.id", SHOP), shop)
    assert found.path == ("orders.user_id → users.id", "orders.item_id → items.id")


def test_suspects_within_reach_are_warned_of(shop: Snapshot) -> None:
    leaks = [
        Proposal("leak", table, Stype.unsupported, "equals COUNT of its orders", column, suggested=True)
        for table, column in (("users", "age"), ("items", "price"), ("impressions", "clicked"), ("reviews", "stars"))
    ]
    told = "\n".join(plan(read_task(CHURN, SHOP), shop, leaks).warnings)
    assert "users.age may tell the future: equals COUNT of its orders. HIDE users.age" in told
    assert "items.price" in told
    assert "impressions.clicked" in told, "what refers to the entity, though the query does not read it"
    assert "reviews.stars" not in told
    assert "users.age" not in "\n".join(plan(read_task(f"{CHURN} HIDE users.age", SHOP), shop, leaks).warnings)
