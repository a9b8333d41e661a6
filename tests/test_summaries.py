"""What seeds' pasts add up to: standardised by the training seeds alone, and blind to the future."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rdl.clock import US_PER_DAY
from rdl.query import read_task
from rdl.query.task import Task
from rdl.sampler import Seeds
from rdl.snapshot import Snapshot
from rdl.summaries import BINS, Summaries, SummaryStatistics
from tests.test_sampler import shop

QUERY = "PREDICT COUNT(orders.*, 0, 2, days) FOR EACH users.id SPLIT AT '1970-01-09', '1970-01-13'"


def test_columns_are_scaled_and_what_is_unknown_is_told_apart() -> None:
    nan = np.float32(np.nan)
    columns = {
        "x": np.array([0, 1, 2, 3, 4], np.float32),
        "gappy": np.array([5, nan, 5, nan, 5], np.float32),
        "constant": np.ones(5, np.float32),
        "unknown": np.full(5, nan),
    }
    fitted = SummaryStatistics.fit(columns, 7, np.zeros(5, np.int64))
    assert fitted.names == ("x", "gappy")
    assert fitted.width == 3
    found = fitted.tensor({"x": np.array([2, nan], np.float32), "gappy": np.array([5, nan], np.float32)}, 2)
    assert found.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert fitted.tensor({}, 2).tolist() == [[0, 0, 1], [0, 0, 1]]
    scaled = fitted.tensor(columns, 5)[:, 0]
    assert torch.allclose(scaled, torch.asinh((torch.arange(5.0) - 2) / fitted.scales[0]))
    assert np.array(fitted.quantiles).shape == (2, BINS + 1)
    borders = np.arcsinh((np.linspace(0, 4, BINS + 1) - 2) / fitted.scales[0])
    assert np.allclose(fitted.quantiles[0], borders, atol=1e-6)
    assert SummaryStatistics.from_json(json.loads(json.dumps(asdict(fitted)))) == fitted


def seeds_in_time(values: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """One column of seeds, one seed at each time."""
    return {"x": values.astype(np.float32)}, np.arange(len(values))


@given(shift=st.sampled_from([0.0, 0.5, 5.0]), seed=st.integers(0, 99))
def test_a_column_whose_newest_fifth_lies_elsewhere_is_left_out(shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=500)
    values[400:] += shift
    columns, time = seeds_in_time(values)
    assert SummaryStatistics.fit(columns, 7, time).names == (() if shift == 5 else ("x",))
    order = rng.permutation(500)
    assert SummaryStatistics.fit({"x": columns["x"][order]}, 7, time).names == ("x",), "as many of either at any time"


def test_a_column_of_which_little_is_known_drifts_by_how_much_is_known() -> None:
    few, time = seeds_in_time(np.where(np.arange(500) % 50 == 0, np.arange(500.0), np.nan))
    assert SummaryStatistics.fit(few, 7, time).names == ("x",), "ten values are not compared"
    late, time = seeds_in_time(np.where(np.arange(500) >= 395, np.arange(500.0), np.nan))
    assert SummaryStatistics.fit(late, 7, time).names == (), "known of hardly any but the newest"
    at_once = np.zeros(500, np.int64)
    assert SummaryStatistics.fit(late, 7, at_once).names == ("x",), "seeds of one time have no newest fifth"


def asked(snapshot: Snapshot) -> tuple[Task, Seeds]:
    rows = torch.arange(6).repeat(3)
    time = torch.tensor([4, 6, 8]).repeat_interleave(6) * US_PER_DAY
    return read_task(QUERY, snapshot.schema), Seeds("users", rows, time, time)


def summed(snapshot: Snapshot) -> dict[str, np.ndarray]:
    task, seeds = asked(snapshot)
    summaries = Summaries(task, snapshot, fitted_at_us=8 * US_PER_DAY, most_columns=60)
    return dict(summaries.columns(seeds))


def test_another_future_changes_nothing(tmp_path: Path) -> None:
    before = shop(np.random.default_rng(0), users=6, items=4, orders=90, messages=40)
    other = shop(np.random.default_rng(0), users=6, items=4, orders=90, messages=40)
    for name, time in (("orders", "at"), ("messages", "at")):
        rows = other.tables[name]
        late = rows[time].cast("int64").to_numpy() > 8 * US_PER_DAY
        assert late.any()
        kept = rows.filter(~late)
        doubled = rows.filter(late).take(np.arange(late.sum())[::3])
        other.tables[name] = kept if name == "messages" else _joined(kept, doubled)
    one, two = summed(before.snapshot(tmp_path / "a")), summed(other.snapshot(tmp_path / "b"))
    assert list(one) == list(two)
    assert len(one) > 20
    assert sum(name.startswith("label ") for name in one) > 5  # earlier labels, of windows that closed at the cut too
    for name, values in one.items():
        assert np.array_equal(values, two[name], equal_nan=True), name


def _joined(*tables):  # type: ignore[no-untyped-def]
    import pyarrow as pa

    return pa.concat_tables(tables)


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_few_seeds(tmp_path: Path, count: int) -> None:
    snapshot = shop(np.random.default_rng(0), users=6, items=4, orders=90, messages=40).snapshot(tmp_path / "s")
    task, seeds = asked(snapshot)
    summaries = Summaries(task, snapshot, fitted_at_us=8 * US_PER_DAY, most_columns=40)
    fitted = SummaryStatistics.fit(summaries.columns(seeds), 8 * US_PER_DAY, seeds.time.numpy())
    part = seeds.part(0, count)
    assert fitted.tensor(summaries.columns(part), count).shape == (count, fitted.width)
    whole = fitted.tensor(summaries.columns(seeds), len(seeds))
    assert torch.equal(fitted.tensor(summaries.columns(part), count), whole[:count])


def test_a_column_drifts_where_most_seeds_are_of_the_newest_time_too() -> None:
    time = np.repeat([1, 2, 3], [30, 30, 90])
    columns = {
        "same": np.tile(np.arange(30, dtype=np.float32), 5),
        "clock": time.astype(np.float32) + np.tile(np.arange(30) / 99, 5).astype(np.float32),
    }
    assert SummaryStatistics.fit(columns, 0, time).names == ("same",)
