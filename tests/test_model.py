"""The model and its parts: shapes, masks, batches, and what must not change an output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from rdl import features
from rdl.clock import NEVER, US_PER_DAY
from rdl.convs import COUNT_CONSTANTS_DAYS, Aggregate
from rdl.dropout import ByteDropout
from rdl.encoders import DECAY_DAYS, gap_features, gaps
from rdl.features import Features
from rdl.graph import TemporalGraph
from rdl.heads import EnsembleHead
from rdl.model import RelationalModel, build
from rdl.sampler import Sampler, Seeds
from rdl.snapshot import Snapshot
from rdl.summaries import SummaryStatistics
from tests.memory import MemoryReader
from tests.test_sampler import shop


def made(snapshot: Snapshot, masked: set[tuple[str, str]] | None = None) -> tuple[RelationalModel, dict[str, Features]]:
    """An untrained model on ``snapshot`` in evaluation mode, and the packed features."""
    statistics = features.fit(snapshot, NEVER - 1)
    torch.manual_seed(0)
    model = build(statistics, snapshot.schema.relations, channels=16, layers=2, dropout=0.2, masked=masked or set())
    return model.eval(), features.pack(snapshot, statistics)


def output(snapshot: Snapshot, model: RelationalModel, packed: dict[str, Features], seeds: Seeds) -> Tensor:
    with torch.no_grad():
        return model(packed, Sampler(TemporalGraph.build(snapshot), (4, 3))(seeds))


def seeds_at(table: str, rows: list[int], day: int, *, strictly: bool = False) -> Seeds:
    time = torch.full((len(rows),), day * US_PER_DAY)
    return Seeds(table, torch.tensor(rows), time, time, strictly)


def test_outputs_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    snapshot = shop(np.random.default_rng(0), users=6, items=4, orders=90, messages=40).snapshot(tmp_path / "s")
    model, packed = made(snapshot)
    seeds = seeds_at("users", [0, 1, 2, 3, 4, 5], 12)
    whole = output(snapshot, model, packed, seeds)
    assert whole.shape == (6, 1, 1)
    parts = torch.cat([output(snapshot, model, packed, seeds.part(n, n + 1)) for n in range(6)])
    assert torch.allclose(whole, parts, atol=1e-5)
    assert whole.std() > 0


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_some_seeds_see_nothing_of_the_graph_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    monkeypatch.setattr("rdl.model.GRAPH_DROPOUT", 1 - 1e-9)  # all of them
    snapshot = shop(np.random.default_rng(0), users=6, items=4, orders=90, messages=40).snapshot(tmp_path / "s")
    statistics = features.fit(snapshot, NEVER - 1)
    rows = np.arange(40, dtype=np.float32)
    summed = SummaryStatistics.fit({"x": rows, "y": rows % 7}, 0, np.tile([1, 2], 20))
    torch.manual_seed(0)
    model = build(statistics, snapshot.schema.relations, channels=16, layers=1, dropout=dropout, summary=summed)
    for module in model.modules():
        if isinstance(module, ByteDropout):
            module.dropped = 0  # nothing else is random
    packed, seeds = features.pack(snapshot, statistics), seeds_at("users", [0, 1, 2, 3, 4, 5], 12)
    same = torch.full((6, summed.width), 0.3)
    subgraph = Sampler(TemporalGraph.build(snapshot), (4,))(seeds)
    with torch.no_grad():
        trained, asked = model.train()(packed, subgraph, same), model.eval()(packed, subgraph, same)
    assert asked.std() > 0
    assert (trained.std() == 0) == (dropout > 0)


def test_the_future_changes_no_output(tmp_path: Path) -> None:
    reader = shop(np.random.default_rng(3), users=5, items=4, orders=80, messages=30)
    snapshot = reader.snapshot(tmp_path / "whole")
    cut = 11
    for name in ("orders", "messages", "items"):
        time = {"orders": "at", "messages": "at", "items": "listed_at"}[name]
        known = pa.compute.less_equal(reader.tables[name][time].cast(pa.int64()), cut * US_PER_DAY)
        reader.tables[name] = reader.tables[name].filter(known)
    past = reader.snapshot(tmp_path / "past")
    statistics = features.fit(past, cut * US_PER_DAY)
    assert statistics == features.fit(snapshot, cut * US_PER_DAY)
    torch.manual_seed(0)
    model = build(statistics, snapshot.schema.relations, channels=16, layers=2, dropout=0.0).eval()
    seeds = seeds_at("users", [0, 1, 2, 3, 4], cut)
    with_future = output(snapshot, model, features.pack(snapshot, statistics), seeds)
    without = output(past, model, features.pack(past, statistics), seeds)
    assert torch.equal(with_future, without)


def clicks(clicked: list[bool]) -> MemoryReader:
    """Impressions of one user, two on each day."""
    days = pa.array([n // 2 * US_PER_DAY for n in range(len(clicked))], pa.int64())
    shown = pa.table({"user_id": [0] * len(clicked), "clicked": clicked, "at": days.cast(pa.timestamp("us"))})
    return MemoryReader(
        {"users": pa.table({"id": [0]}), "shown": shown},
        keys={"users": "id"},
        times={"shown": "at"},
        relations=[("shown", "user_id", "users")],
    )


def test_a_label_is_read_on_strictly_older_rows_alone(tmp_path: Path) -> None:
    truth = [True, False, True, True, False, False, True, False]
    seeds = seeds_at("shown", [4], 2, strictly=True)
    base = clicks(truth).snapshot(tmp_path / "base")
    model, packed = made(base, {("shown", "clicked")})
    expected = output(base, model, packed, seeds)
    moved = []
    for changed in range(len(truth)):
        other = [not value if number == changed else value for number, value in enumerate(truth)]
        snapshot = clicks(other).snapshot(tmp_path / str(changed))
        again = features.pack(snapshot, features.fit(base, NEVER - 1))
        moved.append(not torch.equal(output(snapshot, model, again, seeds), expected))
    # The four older ones are seen; the row itself, its sibling at the same time and all later ones are not.
    assert moved == [True, True, True, True, False, False, False, False]


def late_orders(status: list[str]) -> MemoryReader:
    """Orders of one user on days 0, 1, 2, …, each delivered three days after; ``status`` is known at delivery."""
    days = pa.array([n * US_PER_DAY for n in range(len(status))], pa.int64())
    orders = pa.table(
        {
            "user_id": [0] * len(status),
            "status": status,
            "at": days.cast(pa.timestamp("us")),
            "delivered_at": pa.compute.add(days, 3 * US_PER_DAY).cast(pa.timestamp("us")),
        }
    )
    return MemoryReader(
        {"users": pa.table({"id": [0]}), "orders": orders},
        keys={"users": "id"},
        times={"orders": "at"},
        relations=[("orders", "user_id", "users")],
        known_at={"status": "delivered_at", "delivered_at": "delivered_at"},
    )


def test_a_late_column_is_read_once_it_is_known(tmp_path: Path) -> None:
    truth = ["ok", "bad", "ok", "ok", "bad", "bad"]
    base = late_orders(truth).snapshot(tmp_path / "base")
    model, packed = made(base)
    seeds = seeds_at("users", [0], 5)
    expected = output(base, model, packed, seeds)
    moved = []
    for changed in range(len(truth)):
        other = ["ok" if (value == "bad") == (number == changed) else "bad" for number, value in enumerate(truth)]
        snapshot = late_orders(other).snapshot(tmp_path / str(changed))
        again = features.pack(snapshot, features.fit(base, NEVER - 1))
        moved.append(not torch.equal(output(snapshot, model, again, seeds), expected))
    # On day 5 the orders of days 0, 1 and 2 have been delivered; a fan-out of four leaves days 2 to 5 in sight.
    assert moved == [False, False, True, False, False, False]


def test_many_columns_become_known_each_at_its_time(tmp_path: Path) -> None:
    """Seventy columns of one row, each told on another day: on day 20 the first twenty-one are read."""
    count = 70
    names = [f"c{n}" for n in range(count)]

    def told(changed: int | None) -> Snapshot:
        cells = {f"c{n}": [1.0, 2.0 + (n == changed), 3.0] for n in range(count)}
        days = {f"t{n}": pa.array([n * US_PER_DAY] * 3).cast(pa.timestamp("us")) for n in range(count)}
        at = pa.array([0, 0, 0]).cast(pa.timestamp("us"))
        return MemoryReader(
            {"things": pa.table({"id": [0, 1, 2], "at": at, **cells, **days})},
            keys={"things": "id"},
            times={"things": "at"},
            known_at={f"c{n}": f"t{n}" for n in range(count)},
        ).snapshot(tmp_path / str(changed))

    base = told(None)
    model, packed = made(base)
    seeds = seeds_at("things", [1], 20)
    expected, statistics = output(base, model, packed, seeds), features.fit(base, NEVER - 1)
    assert set(names) <= set(statistics["things"].numerical)
    moved = []
    for changed in (0, 8, 9, 20, 21, 31, 69):
        snapshot = told(changed)
        moved.append(not torch.equal(output(snapshot, model, features.pack(snapshot, statistics), seeds), expected))
    assert moved == [True, True, True, True, False, False, False]


def test_aggregates_are_those_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    source, age = torch.randn(6, 3, generator=generator), torch.tensor([1.0, 5.0, 9.0, 2.0, 2.0, 7.0])
    edges = torch.tensor([[0, 1, 2, 3, 5], [0, 0, 0, 2, 2]])
    aggregate = Aggregate()
    with torch.no_grad():
        found = aggregate(source, age, edges, torch.tensor([7, 0, 2]))
    assert found.shape == (3, Aggregate.width * 3 + Aggregate.counts)
    assert not found[1].any(), "no message, all zeros"
    for target, rows in ((0, [0, 1, 2]), (2, [3, 5])):
        messages, ages = source[rows], age[rows]
        parts = [messages.mean(0), messages[0], messages.max(0).values]
        for constant in aggregate.log_constant.detach().exp():
            weight = torch.exp(-(ages - ages[0]) / constant)
            parts.append((weight[:, None] * messages).sum(0) / weight.sum())
        parts.append(torch.tensor([7.0 if target == 0 else 2.0]).log1p())
        parts.append(torch.stack([torch.exp(-ages / days).sum().log1p() for days in COUNT_CONSTANTS_DAYS]))
        assert torch.allclose(found[target], torch.cat(parts), atol=1e-5)


def test_gaps_of_unknown_times_are_zero() -> None:
    gaps_us, known = gaps(torch.tensor([10 * US_PER_DAY]), torch.tensor([[NEVER, 9 * US_PER_DAY, 11 * US_PER_DAY]]))
    assert known.tolist() == [[False, True, True]]
    encoded = gap_features(gaps_us, known)
    assert encoded.shape == (1, 3, 2 + len(DECAY_DAYS))
    assert not encoded[0, 0].any()
    assert encoded[0, 1, 0] == -encoded[0, 2, 0] > 0


@pytest.mark.parametrize("seeds", [0, 1, 5])
def test_a_head_gives_its_outputs_for_each_seed_and_member(seeds: int) -> None:
    read, beside = torch.zeros(seeds, 8), torch.zeros(seeds, 6)
    assert EnsembleHead(8, 6, 4, 3)(read, beside).shape == (seeds, 3, 1)
    assert EnsembleHead(8, 6, 4, 3, 5)(read, beside).shape == (seeds, 3, 5)


def test_the_members_of_a_head_are_as_its_formula_says_and_differ() -> None:
    torch.manual_seed(0)
    head, x, z = EnsembleHead(5, 3, 7, 4, 2).eval(), torch.randn(6, 5), torch.randn(6, 3)
    with torch.no_grad():
        for part in (head.hidden_scale, head.hidden_bias, head.bias):
            part.normal_()
        found = head(x, z)
        for k in range(4):
            hidden = head.hidden_scale[k] * ((head.input_scale[k] * x) @ head.weight) + head.hidden_bias[k]
            expected = head.norm(hidden).relu() @ head.output[k].T + z @ head.linear[k].T + head.bias[k]
            assert torch.allclose(found[:, k], expected, atol=1e-5)
    assert found.std(dim=1).min() > 0.01


def test_tables_without_columns_rows_or_children_are_encoded(tmp_path: Path) -> None:
    snapshot = shop(np.random.default_rng(0), users=3, items=0, orders=0, messages=0).snapshot(tmp_path / "s")
    model, packed = made(snapshot)
    found = output(snapshot, model, packed, seeds_at("users", [0, 1, 2], 5))
    assert found.isfinite().all()
