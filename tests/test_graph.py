"""The graph against the tables it was made of, and as files that processes share."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from rdl import graph as module
from rdl.errors import DatabaseError
from rdl.graph import TemporalGraph, edge_name
from rdl.schema import Relation
from rdl.snapshot import Snapshot, open_snapshot
from tests.memory import MemoryReader
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
        those_late = other.links[relation].late
        assert (link.endings is None) == (other.links[relation].endings is None)
        assert (link.late is None) == (those_late is None)
        if link.late is not None and those_late is not None:
            assert torch.equal(link.late.known, those_late.known)
            assert torch.equal(link.late.linked, those_late.linked)


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


def test_children_come_when_their_keys_are_known_as_the_schema_says(tmp_path: Path) -> None:
    late = hub(tmp_path / "s", 40, ends=True, late=True)
    graph = TemporalGraph.build(late)
    (relation,) = late.schema.relations
    assert graph.links[relation].late is not None
    columns = tuple(replace(column, known_at=None) for column in late.schema["events"].columns)
    tables = {**late.schema.tables, "events": replace(late.schema["events"], columns=columns)}
    early = TemporalGraph.build(open_snapshot(late.path, replace(late.schema, tables=tables)))
    assert early.links[relation].late is None
    expected = TemporalGraph.build(hub(tmp_path / "early", 40, ends=True))
    assert_same(early, expected)
    for one, other in ((early, expected), (graph, TemporalGraph.build(open_snapshot(late.path)))):
        endings, those = one.links[relation].endings, other.links[relation].endings
        assert endings is not None
        assert those is not None
        assert torch.equal(endings.bits, those.bits)


def test_a_damaged_late_link_is_built_again(tmp_path: Path) -> None:
    snapshot = hub(tmp_path / "s", 40, late=True)
    expected = pickle.loads(pickle.dumps(replace(TemporalGraph.build(snapshot), source=None)))
    truncate(snapshot.path / f"late-{module.FORMAT}-0-3" / "linked.npy")
    assert_same(expected, TemporalGraph.build(snapshot))


def test_edges_of_late_keys_say_when_they_are_known(tmp_path: Path) -> None:
    for late in (False, True):
        data = TemporalGraph.build(hub(tmp_path / f"{late}", 40, late=late)).to_hetero_data()
        assert data.validate()
        for name in data.edge_types:
            events = data[name].edge_index[int(name[0] == "users")]
            if late:
                assert torch.equal(data[name].known_at, events // 10 * 10 + 9 - events % 10)
            else:
                assert "known_at" not in data[name]


def test_two_keys_of_the_same_columns_have_two_names(tmp_path: Path) -> None:
    reader = MemoryReader(
        {"users": pa.table({"id": [1, 2], "nick": [2, 1]}), "orders": pa.table({"user": [1, 1, 2], "item": [1, 2, 2]})}
    )
    by_id, by_nick = (Relation("orders", ("user",), "users", (referred,)) for referred in ("id", "nick"))
    other = Relation("orders", ("item",), "users", ("id",))
    reader.schema = replace(reader.schema, relations=(by_id, by_nick, other))
    graph = TemporalGraph.build(reader.snapshot(tmp_path / "s"))
    data = graph.to_hetero_data()
    assert [name for _, name, _ in data.edge_types] == [
        "user→id", "rev_user→id", "user→nick", "rev_user→nick", "item", "rev_item"
    ]  # fmt: skip
    assert data["orders", "user→id", "users"].edge_index[1].tolist() == [0, 0, 1]
    assert data["orders", "user→nick", "users"].edge_index[1].tolist() == [1, 1, 0]
    assert edge_name(by_id, [by_id, other]) == "user"


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
