"""The sampler against a brute force that walks rows one by one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.clock import NEVER, US_PER_DAY
from rdl.graph import TemporalGraph
from rdl.sampler import EdgeType, Sampler, Seeds, Subgraph
from rdl.snapshot import Snapshot
from tests.memory import MemoryReader


def shop(rng: np.random.Generator, *, users: int, items: int, orders: int, messages: int) -> MemoryReader:
    """Users without a time, items and orders with one (some NULL), messages with two keys to users."""

    def key(n: int, to: int, nulls: float = 0.1) -> pa.Array:
        return pa.array(rng.integers(0, max(to, 1), n), mask=(rng.random(n) < nulls) | (to == 0))

    def days(n: int, nulls: float) -> pa.Array:
        moments = rng.integers(0, 20, n) * US_PER_DAY
        return pa.array(moments, mask=rng.random(n) < nulls).cast(pa.timestamp("us"))

    tables = {
        "users": pa.table({"id": np.arange(users), "age": rng.random(users)}),
        "items": pa.table({"id": np.arange(items), "listed_at": days(items, 0.1)}),
        "orders": pa.table({"user_id": key(orders, users), "item_id": key(orders, items), "at": days(orders, 0.1)}),
        "messages": pa.table({"a": key(messages, users), "b": key(messages, users), "at": days(messages, 0.0)}),
    }
    return MemoryReader(
        tables,
        keys={"users": "id", "items": "id"},
        times={"items": "listed_at", "orders": "at", "messages": "at"},
        relations=[
            ("orders", "user_id", "users"),
            ("orders", "item_id", "items"),
            ("messages", "a", "users"),
            ("messages", "b", "users"),
        ],
    )


def brute_force(snapshot: Snapshot, seeds: Seeds, seed: int, fanouts: tuple[int, ...]) -> list[tuple[object, ...]]:
    """Every path of one seed's tree: (table, row) followed by (relation, direction, row) for each hop."""
    cut = int(seeds.cut[seed])

    def visible(table: str, row: int, *, strictly: bool) -> bool:
        time = int(snapshot.time(table)[row])
        return time != NEVER and (time < cut if strictly else time <= cut)

    def grow(table: str, row: int, came: EdgeType | None, hop: int, down: int) -> list[tuple[object, ...]]:
        if hop == len(fanouts):
            return []
        found: list[tuple[object, ...]] = []
        for relation in snapshot.schema.relations:
            parents = snapshot.parent(relation)
            if relation.parent == table:
                rows = [int(r) for r in np.flatnonzero(parents == row)]
                rows = [r for r in rows if visible(relation.child, r, strictly=seeds.strictly)]
                steps = [(EdgeType(relation, True), r) for r in rows[::-1][: fanouts[down]]]
                found += [((t, r),) for t, r in steps] + [
                    ((t, r), *rest) for t, r in steps for rest in grow(relation.child, r, t, hop + 1, down + 1)
                ]
            back = came is not None and came.relation == relation and came.to_parent
            up = relation.child == table and not back and parents[row] >= 0
            if up and visible(relation.parent, int(parents[row]), strictly=False):
                step = (EdgeType(relation, False), int(parents[row]))
                found += [(step,)] + [(step, *r) for r in grow(relation.parent, step[1], step[0], hop + 1, down)]
        return found

    return grow(seeds.table, int(seeds.row[seed]), None, 0, 0)


def paths(subgraph: Subgraph, seed: int) -> list[tuple[object, ...]]:
    """The same paths, read from a sampled subgraph."""
    below: dict[tuple[str, int], list[tuple[EdgeType, int]]] = {}
    for type_, edges in subgraph.edges.items():
        for source, target in edges.T.tolist():
            below.setdefault((type_.target, target), []).append((type_, source))

    def walk(table: str, node: int) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for type_, source in below.get((table, node), []):
            assert int(subgraph.seed[type_.source][source]) == seed
            step = (type_, int(subgraph.rows[type_.source][source]))
            found += [(step,)] + [(step, *rest) for rest in walk(type_.source, source)]
        return found

    return walk(subgraph.seeds.table, seed)


@given(
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.integers(0, 4),
    st.integers(0, 25),
    st.booleans(),
    st.sampled_from([(3,), (2, 2), (4, 3, 2)]),
)
@settings(max_examples=60, deadline=None)
def test_trees_are_those_of_brute_force(
    number: int, users: int, items: int, orders: int, strictly: bool, fanouts: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(number)
    reader = shop(rng, users=users, items=items, orders=orders, messages=orders // 2)
    with TemporaryDirectory() as folder:
        snapshot = reader.snapshot(Path(folder) / "s")
        time = torch.from_numpy(rng.integers(-1, 22, 6) * US_PER_DAY)
        seeds = Seeds("users", torch.from_numpy(rng.integers(0, users, 6)), time, time, strictly)
        subgraph = Sampler(TemporalGraph.build(snapshot), fanouts)(seeds)
        for seed in range(len(seeds)):
            expected = brute_force(snapshot, seeds, seed, fanouts)
            assert sorted(map(repr, paths(subgraph, seed))) == sorted(map(repr, expected))


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_numbering_is_by_hop_and_targets_ascend(number: int) -> None:
    rng = np.random.default_rng(number)
    reader = shop(rng, users=4, items=3, orders=30, messages=12)
    with TemporaryDirectory() as folder:
        graph = TemporalGraph.build(reader.snapshot(Path(folder) / "s"))
        time = torch.full((5,), 15 * US_PER_DAY)
        subgraph = Sampler(graph, (3, 2, 2))(Seeds("users", torch.tensor([0, 1, 2, 3, 0]), time, time))
    assert subgraph.num_nodes["users"][0] == 5
    for type_, degree in subgraph.degrees.items():
        assert type_.to_parent
        assert len(degree) == len(subgraph.rows[type_.target])
        sampled = (
            torch.bincount(subgraph.edges[type_][1], minlength=len(degree)) if type_ in subgraph.edges else 0 * degree
        )
        known = graph.links[type_.relation].parent[graph.time[type_.source] <= 15 * US_PER_DAY]
        true = torch.bincount(known[known >= 0].long(), minlength=graph.num_rows[type_.target])
        assert torch.equal(degree[sampled > 0], true[subgraph.rows[type_.target]][sampled > 0])
    for type_, edges in subgraph.edges.items():
        assert (edges[1].diff() >= 0).all()
        for hop, count in enumerate(subgraph.num_edges[type_]):
            assert (edges[1, :count] < subgraph.num_nodes[type_.target][hop]).all()
            assert (edges[0, :count] < subgraph.num_nodes[type_.source][hop + 1]).all()


def test_what_comes_after_the_cut_changes_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    reader = shop(rng, users=5, items=4, orders=80, messages=30)
    cut = 11 * US_PER_DAY
    kept = reader.tables["orders"].filter(pa.compute.less_equal(reader.tables["orders"]["at"].cast(pa.int64()), cut))
    later = shop(np.random.default_rng(7), users=5, items=4, orders=80, messages=30)
    later.tables["orders"] = kept
    time = torch.full((5,), cut)
    seeds = Seeds("users", torch.arange(5), time, time)
    one, other = (
        Sampler(TemporalGraph.build(r.snapshot(tmp_path / str(n))), (4, 4))(seeds)
        for n, r in enumerate([reader, later])
    )
    assert one.rows.keys() == other.rows.keys()
    for table, rows in one.rows.items():
        assert torch.equal(rows, other.rows[table])
    for type_, edges in one.edges.items():
        assert torch.equal(edges, other.edges[type_])


@pytest.mark.parametrize("batch", [1, 3])
def test_batches_do_not_change_samples(tmp_path: Path, batch: int) -> None:
    snapshot = shop(np.random.default_rng(1), users=6, items=5, orders=120, messages=40).snapshot(tmp_path / "s")
    sampler = Sampler(TemporalGraph.build(snapshot), (5, 3))
    time = torch.arange(6) * 3 * US_PER_DAY
    seeds = Seeds("users", torch.arange(6), time, time)
    whole = sampler(seeds)
    for start in range(0, 6, batch):
        part = sampler(seeds.part(start, start + batch))
        for number in range(len(part.seeds)):
            assert sorted(map(repr, paths(part, number))) == sorted(map(repr, paths(whole, start + number)))
