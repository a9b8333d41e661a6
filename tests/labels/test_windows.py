"""Every way in which windows are computed gives what all pairs of a row and a window give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rdl import labels
from rdl.clock import Span, to_us
from rdl.labels import ordering
from rdl.labels.running import connected, fetch, run_at
from rdl.query import Kind, read_task
from rdl.query.sql import Compiler
from rdl.query.windows import Windows, line_up
from rdl.snapshot import Snapshot
from tests.labels.sample import BEGIN, sample_shop
from tests.query.memory import snapshot_of
from tests.query.shop import SHOP


@pytest.fixture(scope="module")
def shop() -> Iterator[Snapshot]:
    with snapshot_of(SHOP, sample_shop()) as snapshot:
        yield snapshot


@contextmanager
def _all_pairs() -> Iterator[None]:
    """Within it aggregates are computed from all pairs of a row and a window that it lies in."""
    patched = pytest.MonkeyPatch()
    patched.setattr(Compiler, "_body", lambda self, node, rows: self._grouped(node, rows))
    patched.setattr(Compiler, "_share", lambda self, nodes: None)
    with patched.context():
        yield
    patched.undo()


def _table(found: tuple[Any, Any, pa.ChunkedArray]) -> dict[tuple[int, int], Any]:
    entity, time, target = found
    assert (np.diff(time) >= 0).all()
    seeds = list(zip(time.tolist(), entity.tolist(), strict=True))
    assert seeds == sorted(set(seeds))
    return dict(zip(seeds, target.to_pylist(), strict=True))


ARGUMENTS = ["orders.amount", "orders.qty", "orders.amount * items.price"]
FILTERS = ["", " WHERE orders.status = 'ok'", " WHERE items.price > 3", " WHERE COUNT(reviews.*, -9, 3) > 0"]
WINDOWS = ["0, 7", "0, 28", "3, 17", "-5, 9", "-INF, 7", "0, 1, month", "0, 1, quarter"]
EVERY = ["3 days", "1 week", "20 days", "1 month"]
KEPT = [
    "",
    "WHERE COUNT(orders.*, -40, 0) > 1",
    "WHERE MAX(orders.amount, -INF, 0) > 2",
    "WHERE EXISTS(orders.*, -9, 0)",
]
ENTITIES = ["users.id", "companies.id", "items.id"]


@st.composite
def _aggregates(draw: st.DrawFn) -> str:
    function = draw(
        st.sampled_from(["COUNT", "SUM", "AVG", "MIN", "MAX", "STDDEV", "COUNT_DISTINCT", "LAST", "EXISTS"])
    )
    argument = draw(st.sampled_from([*ARGUMENTS, "orders.*"] if function in ("COUNT", "EXISTS") else ARGUMENTS))
    return f"{function}({argument}{draw(st.sampled_from(FILTERS))}, {draw(st.sampled_from(WINDOWS))})"


def _questions() -> st.SearchStrategy[str]:
    """Questions whose windows tile, overlap, begin or end at once, or have no beginning."""
    entity, every, kept = (st.sampled_from(words) for words in (ENTITIES, EVERY, KEPT))
    asked = st.tuples(_aggregates(), entity, kept, every)
    return asked.map(lambda parts: "PREDICT {} FOR EACH {} {} EVERY {}".format(*parts))


def _forecasts() -> st.SearchStrategy[str]:
    frame = st.sampled_from(["0, 7", "0, 1, week", "0, 14", "3, 10", "0, 1, month"])
    entity, every, function = (st.sampled_from(words) for words in (ENTITIES, ["", *EVERY], ["SUM", "AVG", "COUNT"]))
    asked = st.tuples(function, st.sampled_from(FILTERS[:3]), frame, st.integers(1, 4), entity, every)
    return asked.map(
        lambda p: (
            f"PREDICT {p[0]}(orders.amount{p[1]}, {p[2]}) FORECAST {p[3]} TIMEFRAMES FOR EACH {p[4]} "
            + (f"EVERY {p[5]}" if p[5] else "")
        )
    )


def _rankings() -> st.SearchStrategy[str]:
    window, kept = st.sampled_from(["0, 7", "0, 20", "0, 1, month"]), st.sampled_from(["", *FILTERS])
    some = st.sampled_from(["", "WHERE EXISTS(orders.*, -9, 0)", "ASSUMING EXISTS(orders.*{1}, {0})",
                            "ASSUMING COUNT(orders.*, {0}) > 0", "ASSUMING COUNT(orders.*, 0, 9) > 1"])  # fmt: skip
    item = st.sampled_from(["item_id", "item_id.category_id"])
    asked = st.tuples(window, kept, item, st.sampled_from(["users.id", "companies.id"]), some, st.sampled_from(EVERY))
    return asked.map(
        lambda p: (
            f"PREDICT LIST_DISTINCT(orders.{p[2]}{p[1]}, {p[0]}) RANK TOP 9 FOR EACH {p[3]} "
            f"{p[4].format(p[0], p[1])} EVERY {p[5]}"
        )
    )


@settings(deadline=None, max_examples=40)
@example("PREDICT COUNT(orders.*, 0, 28) FOR EACH users.id EVERY 1 week", [3])
@example("PREDICT SUM(orders.amount * items.price, 3, 17) FOR EACH companies.id EVERY 3 days", [3])
@example("PREDICT AVG(orders.amount, -INF, 7) FOR EACH items.id WHERE MAX(orders.qty, -INF, 0) > 2 EVERY 20 days", [3])
@example("PREDICT SUM(orders.amount, 0, 7) FORECAST 3 TIMEFRAMES FOR EACH users.id", [3])
@example("PREDICT LIST_DISTINCT(orders.item_id, 0, 20) RANK TOP 9 FOR EACH users.id EVERY 1 week", [3])
@given(_questions() | _forecasts() | _rankings(), st.lists(st.integers(-40, 900), min_size=1, max_size=9))
def test_windows_hold_what_all_pairs_of_a_row_and_a_window_give(shop: Snapshot, question: str, days: list[int]) -> None:
    """At anchors that come at any distance, as well as where the question lays them; in order, and as run."""
    task = read_task(question, SHOP)
    steps = [Span(n, "day").after(to_us(BEGIN)) for n in sorted({*days, *(40 + 7 * n for n in range(6))})]
    for anchors in (steps, sorted(set(labels.compute(task, shop).table.time.tolist()))[:20]):
        if not anchors:
            continue
        with _all_pairs():
            plain = Compiler(task, SHOP, anchors).labels()
        with connected(shop) as connection:
            expected = _table(fetch(connection, plain))
            found = _table(fetch(connection, Compiler(task, SHOP, anchors).labels()))
        run = _table(run_at(shop, Compiler(task, SHOP, anchors, loose=True).labels(), task, anchors))
        for one in (found, run):
            assert one.keys() == expected.keys()
            for seed, value in expected.items():
                np.testing.assert_equal(_plain(one[seed], task.kind), _plain(value, task.kind), err_msg=str(seed))


def _plain(value: Any, kind: Kind) -> Any:
    """Numbers to nine digits, as a sum may be taken in any order, and what is ranked ascending."""
    if isinstance(value, list):
        return [_plain(item, kind) for item in (sorted(value) if kind is Kind.recommendation else value)]
    return round(value, 9) if isinstance(value, float) else value


borders = st.lists(st.integers(0, 40), min_size=2, max_size=12).map(sorted)


@given(starts=st.none() | borders, ends=borders)
def test_a_window_is_the_cells_that_name_it(starts: list[int] | None, ends: list[int]) -> None:
    if starts is not None:
        starts, ends = zip(*[(s, s + e + 1) for s, e in zip(starts, ends, strict=False)], strict=True)  # type: ignore[assignment]
    windows = Windows(None if starts is None else tuple(starts), tuple(ends))
    cells = windows.cells()
    assert all(one.end < other.end for one, other in pairwise(cells))
    for time in range(-1, 100):
        expected = {n for n, end in enumerate(ends) if (starts is None or starts[n] < time) and time <= end}
        cell = next((cell for cell in cells if time <= cell.end), None)
        assert set(range(cell.first, cell.last) if cell else ()) == expected


def test_timeframes_share_windows_only_where_they_are_the_same() -> None:
    def frames(*starts: list[int], length: int) -> list[Windows]:
        return [Windows(tuple(begin), tuple(start + length for start in begin)) for begin in starts]

    found = line_up(frames([0, 7, 28], [7, 14, 35], length=7))
    assert found is not None
    assert (found[0].starts, found[1]) == ((0, 7, 14, 28, 35), (0, 1, 3))
    assert line_up(frames([0, 7, 14], [7, 14, 21], length=8)) is None  # they overlap
    assert line_up(frames([0, 7, 15], [7, 14, 22], length=7)) is None  # so do those of the last anchor
    assert line_up(frames([0, 20], [7, 27], length=7)) is None  # none is met twice
    assert line_up(frames([0, 7, 14], [14, 21, 28], length=7)) is None  # another lies between


def test_the_windows_of_a_forecast_are_computed_once(shop: Snapshot) -> None:
    task = read_task("PREDICT SUM(orders.amount, 0, 7) FORECAST 4 TIMEFRAMES FOR EACH users.id", SHOP)
    sql = labels.compute(task, shop).sql
    assert sql.count("SUM(") == 1
    assert sql.count("LEFT JOIN") == 4


@given(
    pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.none() | st.integers(0, 6)), max_size=40),
    gathered=st.sampled_from([1, 5, 1 << 25]), wide=st.booleans(), size=st.integers(1, 9),
)  # fmt: skip
def test_lists_are_gathered_batch_by_batch(
    pairs: list[tuple[int, int, int | None]], gathered: int, wide: bool, size: int
) -> None:
    """Also where the rows gathered are folded many times, and where a seed and a row do not fit into one number."""
    columns = {
        name: pa.array([pair[at] for pair in pairs], pa.int32()) for at, name in enumerate(("n", "entity", "listed"))
    }
    batches = pa.table(columns).to_batches(max_chunksize=size)
    with pytest.MonkeyPatch().context() as patched:
        patched.setattr(ordering, "GATHERED", gathered)
        entity, n, lists = ordering.gather(batches, 6, (1 << 60) if wide else 4, 7)
    expected: dict[tuple[int, int], set[int]] = {}
    for number, row, listed in pairs:
        expected.setdefault((number, row), set()).update([] if listed is None else [listed])
    assert list(zip(n.tolist(), entity.tolist(), strict=True)) == sorted(expected)
    assert lists.to_pylist() == [sorted(expected[seed]) for seed in sorted(expected)]


@given(seeds=st.sets(st.tuples(st.integers(0, 50), st.integers(0, 9))), rng=st.randoms(use_true_random=False))
def test_seeds_are_put_in_order(seeds: set[tuple[int, int]], rng: Any) -> None:
    drawn = sorted(seeds)
    rng.shuffle(drawn)
    n, entity = (np.array([seed[at] for seed in drawn], np.int64) for at in (0, 1))
    order = ordering.in_order(entity, n, 10)
    order = np.arange(len(drawn)) if order is None else order
    assert list(zip(n[order].tolist(), entity[order].tolist(), strict=True)) == sorted(seeds)
