"""The graph against the tables it was made of, and as files that processes share."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rdl import graph as module
from rdl.errors import DatabaseError
from rdl.graph import TemporalGraph
from rdl.snapshot import Snapshot, open_snapshot
from tests.test_sampler import hub, shop


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return shop(np.random.default_rng(0), users=5, items=4, orders=60, messages=30).snapshot(tmp_path / "s")


def test_links_hold_every_key_both_ways(snapshot: Snapshot) -> None:
    graph = TemporalGraph.build(snapshot)
    for relation, link in graph.links.items():
        parents = snapshot.parent(relation)
        for parent in range(graph.num_rows[relation.parent]):
            found = link.children[link.indptr[parent] : link.indptr[parent + 1]].tolist()
            assert found == np.flatnonzero(parents == parent).tolist(), "in order of time"
    assert repr(graph).startswith("TemporalGraph(99 rows in 4 tables")


def assert_same(one: TemporalGraph, other: TemporalGraph) -> None:
    assert one.num_rows == other.num_rows
    for these, those in ((one.time, other.time), (one.until, other.until)):
        assert these.keys() == those.keys()
        assert all(torch.equal(times, those[table]) for table, times in these.items())
    assert one.links.keys() == other.links.keys()
    for relation, link in one.links.items():
        for field in ("parent", "children", "indptr"):
            assert torch.equal(getattr(link, field), getattr(other.links[relation], field))
        assert (link.endings is None) == (other.links[relation].endings is None)


def test_a_graph_is_built_once_and_opened_after(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    built = TemporalGraph.build(snapshot)
    monkeypatch.setattr(module, "write_link", None)
    assert_same(built, TemporalGraph.build(open_snapshot(snapshot.path)))


def test_what_one_process_writes_to_a_graph_no_other_sees(snapshot: Snapshot) -> None:
    built = TemporalGraph.build(snapshot)
    for tensor in (*built.time.values(), *(link.parent for link in built.links.values())):
        tensor.fill_(7)
    again = TemporalGraph.build(snapshot)
    assert all(np.array_equal(again.time[table], snapshot.time(table)) for table in again.num_rows)
    assert any((link.parent != 7).any() for link in again.links.values())


def test_a_pickled_graph_is_opened_from_its_files(snapshot: Snapshot) -> None:
    graph = TemporalGraph.build(snapshot)
    assert len(pickle.dumps(graph)) < 5_000
    assert_same(graph, pickle.loads(pickle.dumps(graph)))
    less = graph.without(list(graph.links)[:2])
    assert_same(less, pickle.loads(pickle.dumps(less)))
    assert len(less.links) == 2
    moved = replace(graph, source=None)
    assert_same(graph, pickle.loads(pickle.dumps(moved)))


def test_a_graph_that_fails_half_way_leaves_nothing(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write, calls = sorted(snapshot.path.iterdir()), module.write_link, []

    def full(*arguments: object) -> None:
        if calls:
            raise OSError(28, "No space left on device")
        calls.append(write(*arguments))  # type: ignore[arg-type, func-returns-value]

    monkeypatch.setattr(module, "write_link", full)
    with pytest.raises(DatabaseError, match="No space left on device"):
        TemporalGraph.build(snapshot)
    assert sorted(snapshot.path.iterdir()) == before


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4])


@pytest.mark.parametrize("damage", [truncate, Path.unlink, lambda file: file.write_bytes(b"")])
@pytest.mark.parametrize("name", ["0.children.npy", "1.indptr.npy"])
def test_a_damaged_graph_is_built_again(snapshot: Snapshot, damage: Callable[[Path], object], name: str) -> None:
    # Copied: the pages of a file that is cut off cannot be read any more.
    expected = pickle.loads(pickle.dumps(replace(TemporalGraph.build(snapshot), source=None)))
    damage(snapshot.path / f"links-{module.FORMAT}" / name)
    assert_same(expected, TemporalGraph.build(snapshot))


def test_another_process_may_be_first(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    write, first = module.write_link, []

    def second(*arguments: object) -> None:
        if not first:
            first.append(True)
            TemporalGraph.build(snapshot)
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_link", second)
    assert_same(TemporalGraph.build(snapshot), TemporalGraph.build(snapshot))
    assert [entry.name for entry in snapshot.path.iterdir() if entry.is_dir()] == [f"links-{module.FORMAT}"]


def test_rows_end_as_the_schema_says_and_no_longer(tmp_path: Path) -> None:
    with_ends = hub(tmp_path / "s", 40, ends=True)
    graph = TemporalGraph.build(with_ends)
    assert list(graph.until) == ["events"]
    assert all(link.endings is not None for link in graph.links.values())
    tables = {name: replace(table, valid_until=None) for name, table in with_ends.schema.tables.items()}
    without = TemporalGraph.build(open_snapshot(with_ends.path, replace(with_ends.schema, tables=tables)))
    assert without.until == {}
    assert all(link.endings is None for link in without.links.values())
    assert_same(graph, TemporalGraph.build(open_snapshot(with_ends.path)))


def test_hetero_data_is_what_pyg_expects(tmp_path: Path) -> None:
    snapshot = shop(np.random.default_rng(1), users=5, items=4, orders=40, messages=20).snapshot(tmp_path / "s")
    data = TemporalGraph.build(snapshot).to_hetero_data()
    assert data.validate()
    assert set(data.node_types) == set(snapshot.schema.tables)
    assert ("messages", "a", "users") in data.edge_types
    assert ("users", "rev_b", "messages") in data.edge_types
    for relation in snapshot.schema.relations:
        child, parent = data[relation.child, "+".join(relation.key), relation.parent].edge_index
        assert np.array_equal(snapshot.parent(relation)[child], parent)
