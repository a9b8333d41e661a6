"""The graph against the tables it was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rdl.graph import Link, TemporalGraph
from tests.test_sampler import shop


def test_links_hold_every_key_both_ways(tmp_path: Path) -> None:
    snapshot = shop(np.random.default_rng(0), users=5, items=4, orders=60, messages=30).snapshot(tmp_path / "s")
    graph = TemporalGraph.build(snapshot)
    for relation, link in graph.links.items():
        parents = snapshot.parent(relation)
        for parent in range(graph.num_rows[relation.parent]):
            found = link.children[link.indptr[parent] : link.indptr[parent + 1]].tolist()
            assert found == np.flatnonzero(parents == parent).tolist(), "in order of time"
    assert repr(graph).startswith("TemporalGraph(99 rows in 4 tables")


def test_a_link_without_children_or_parents_is_empty() -> None:
    assert Link.of(torch.empty(0, dtype=torch.int32), 3).indptr.tolist() == [0, 0, 0, 0]
    assert Link.of(torch.tensor([-1, -1], dtype=torch.int32), 0).children.tolist() == []


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
