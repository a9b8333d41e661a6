"""The walk of the baselines along the keys: what it reaches is what the sampler reaches."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.aggregates import _Builder, window_features
from rdl.cells import Cells
from rdl.clock import US_PER_DAY, Span
from rdl.graph import TemporalGraph
from rdl.query.task import Kind, Task
from rdl.sampler import EdgeType, Sampler
from rdl.sampler import Seeds as Asked
from rdl.schema import Relation
from rdl.streams import Origin, Seeds, Walk
from tests.databases import random_database
from tests.memory import MemoryReader
from tests.test_sampler import some_seeds


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), row_level=st.booleans())
def test_parents_and_the_number_of_children_are_those_of_the_sampler(seed: int, row_level: bool) -> None:
    rng = np.random.default_rng(seed)
    with TemporaryDirectory() as folder:
        snapshot = random_database(rng, days=4).snapshot(Path(folder) / "snapshot")
        asked = some_seeds(snapshot, rng, strictly=row_level)
        if asked is None:
            return
        horizon = None if row_level else Span(5)
        label = frozenset((asked.table, column) for relation in asked.hidden for column in relation.key)
        task = Task(Kind.binary, "", asked.table, None, horizon, row_level=row_level, label_columns=label)
        graph = TemporalGraph.build(snapshot).without(task.closed_keys(snapshot.schema))
        subgraph = Sampler(graph, (99, 99, 99))(asked)
        seeds = Seeds(*(part.numpy() for part in (asked.row, asked.time, asked.cut)))
        found = window_features(task, snapshot, seeds, fitted_at_us=5 * US_PER_DAY, most_columns=999)
        walk = Walk(task, snapshot, seeds, None, Cells(task, snapshot, 0))
        parents = walk.parents(Origin("", asked.table, seeds.rows, 0, ()), 2)
        newest = list(_Builder(task, snapshot, seeds, 0, None).newest_parents())
    for relation in walk.children_of(asked.table):
        which = "all" if snapshot.schema[relation.child].valid_until is None else "not ended"
        counted = found[f"{relation.child}[{'+'.join(relation.key)}] count, {which}"].to_numpy()
        assert counted.tolist() == subgraph.degrees[EdgeType(relation, to_parent=True)][: len(asked)].tolist()

    def parents_of(nodes: np.ndarray, relation: Relation) -> np.ndarray:
        """The nodes that these refer to, -1 where none."""
        edges, found = subgraph.edges.get(EdgeType(relation, to_parent=False)), np.full(len(nodes), -1)
        for source, target in edges.T.tolist() if edges is not None else ():
            found[nodes == target] = source
        return found

    def rows(nodes: np.ndarray, table: str) -> list[int]:
        return [-1 if node < 0 else int(subgraph.rows[table][node]) for node in nodes.tolist()]

    roots = np.arange(len(asked))
    for origin in parents:
        nodes = roots
        for relation in origin.path or ():
            nodes = parents_of(nodes, relation)
        assert origin.rows.tolist() == rows(nodes, origin.table)
    relations = [
        (over, relation)
        for over in walk.children_of(asked.table)
        for relation in walk.keys_of(over.child)
        if relation != over
    ]
    for origin, (over, relation) in zip(newest, relations, strict=True):
        nodes, edges = np.full(len(asked), -1), subgraph.edges.get(EdgeType(over, to_parent=True))
        for source, target in reversed(edges.T.tolist()) if edges is not None else ():
            nodes[roots == target] = source  # the newest child stands first
        if snapshot.schema[over.child].valid_until is None:  # one that has ended is history, and no node
            assert origin.rows.tolist() == rows(parents_of(nodes, relation), relation.parent)


def test_the_seed_itself_and_no_other_row_of_its_time_brings_a_parent_of_that_time() -> None:
    """Orders bring their shipment, and that its ship, all of one day. Over an older order none of that day is seen."""

    def days(*n: int) -> pa.Array:
        return pa.array(np.array(n) * US_PER_DAY).cast(pa.timestamp("us"))

    reader = MemoryReader(
        {
            "users": pa.table({"id": [0]}),
            "ships": pa.table({"id": [0, 1], "size": [3.0, 4.0], "at": days(5, 5)}),
            "shipments": pa.table({"id": [0, 1, 2], "ship": [0, 1, 1], "at": days(5, 5, 1)}),
            "orders": pa.table({"user": [0, 0, 0], "shipment": [2, 1, 0], "at": days(2, 3, 5)}),
        },
        keys={"users": "id", "ships": "id", "shipments": "id"},
        times={"ships": "at", "shipments": "at", "orders": "at"},
        relations=[("shipments", "ship", "ships"), ("orders", "user", "users"), ("orders", "shipment", "shipments")],
    )
    with TemporaryDirectory() as folder:
        snapshot = reader.snapshot(Path(folder) / "snapshot")
        time = np.full(2, 5 * US_PER_DAY)
        seeds, task = Seeds(np.array([2, 0]), time, time), Task(Kind.binary, "", "orders", None, row_level=True)
        found = window_features(task, snapshot, seeds, fitted_at_us=9 * US_PER_DAY)
        walk = Walk(task, snapshot, seeds, None, Cells(task, snapshot, 0))
        shipment = snapshot.schema.relation("orders", ("shipment",))
        newest = walk.parent(Origin("", "orders", np.array([1, 1]), 0), shipment)
        subgraph = Sampler(TemporalGraph.build(snapshot), (9, 9, 9))(
            Asked("orders", *map(torch.from_numpy, (seeds.rows, time, time)), strictly=True)
        )
    np.testing.assert_array_equal(found["shipment.ship.size"].to_numpy(), np.array([3, np.nan], np.float32))
    assert newest.rows.tolist() == [-1, -1]
    assert subgraph.rows["ships"].tolist() == [0]
    assert sorted(subgraph.rows["shipments"].tolist()) == [0, 0, 0, 1], "those of older orders, and its own"


def test_what_the_label_is_read_from_is_not_read_of_a_parent_of_the_seeds_time_either() -> None:
    at = pa.array(np.array([1, 5, 5]) * US_PER_DAY).cast(pa.timestamp("us"))
    reader = MemoryReader(
        {
            "topics": pa.table({"id": [0, 1]}),
            "messages": pa.table({"id": [0, 1, 2], "answers": [None, 0, 1], "topic": [1, 0, 1], "at": at}),
        },
        keys={"topics": "id", "messages": "id"},
        times={"messages": "at"},
        relations=[("messages", "answers", "messages"), ("messages", "topic", "topics")],
    )
    task = Task(Kind.binary, "", "messages", None, row_level=True, label_columns=frozenset({("messages", "topic")}))
    rows, time = np.array([1, 2]), np.full(2, 5 * US_PER_DAY)
    with TemporaryDirectory() as folder:
        snapshot = reader.snapshot(Path(folder) / "snapshot")
        walk = Walk(task, snapshot, Seeds(rows, time, time), None, Cells(task, snapshot, 0))
        parents = {
            origin.label: origin.rows.tolist() for origin in walk.parents(Origin("", "messages", rows, 0, ()), 2)
        }
        hidden = task.label_keys(snapshot.schema)
        asked = Asked("messages", *map(torch.from_numpy, (rows, time, time)), True, hidden)
        subgraph = Sampler(TemporalGraph.build(snapshot), (0, 0))(asked)
    assert parents == {"answers.": [0, 1], "answers.answers.": [-1, 0], "answers.topic.": [1, -1]}
    assert (subgraph.rows["topics"].tolist(), subgraph.seed["topics"].tolist()) == ([1], [0])
