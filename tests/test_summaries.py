"""What seeds' pasts add up to: standardised by the training seeds alone, and blind to the future."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rdl.clock import US_PER_DAY
from rdl.query import read_task
from rdl.query.task import Task
from rdl.sampler import Seeds
from rdl.snapshot import Snapshot
from rdl.summaries import Summaries, SummaryStatistics
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
    fitted = SummaryStatistics.fit(columns, 7)
    assert fitted.names == ("x", "gappy")
    assert fitted.width == 3
    found = fitted.tensor({"x": np.array([2, nan], np.float32), "gappy": np.array([5, nan], np.float32)}, 2)
    assert found.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert fitted.tensor({}, 2).tolist() == [[0, 0, 1], [0, 0, 1]]
    scaled = fitted.tensor(columns, 5)[:, 0]
    assert torch.allclose(scaled, torch.asinh((torch.arange(5.0) - 2) / fitted.scales[0]))
    assert SummaryStatistics.from_json(
        {"fitted_at_us": 7, "names": ["x"], "medians": [1.0], "scales": [2.0], "gappy": []}
    ) == SummaryStatistics(7, ("x",), (1.0,), (2.0,))


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
    fitted = SummaryStatistics.fit(summaries.columns(seeds), 8 * US_PER_DAY)
    part = seeds.part(0, count)
    assert fitted.tensor(summaries.columns(part), count).shape == (count, fitted.width)
    whole = fitted.tensor(summaries.columns(seeds), len(seeds))
    assert torch.equal(fitted.tensor(summaries.columns(part), count), whole[:count])
