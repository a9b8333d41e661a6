"""What a seed at t sees is the same to the last bit, whatever comes, changes or goes after t."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_frame import TensorFrame
from torch_geometric.data import HeteroData

from rdl import sampler, streams
from rdl.aggregates import window_features
from rdl.cells import Cells
from rdl.clock import ALWAYS, US_PER_DAY, Times
from rdl.config import Sampling
from rdl.graph import TemporalGraph
from rdl.query.task import Kind, Task
from rdl.sampler import Sampler, Seeds, Subgraph
from rdl.snapshot import Snapshot, open_snapshot
from tests.databases import DAYS, Database, Line, line_of, random_database, times, with_another_future
from tests.test_sampler import some_seeds


def assert_identical(one: Subgraph, other: Subgraph) -> None:
    for field in ("rows", "seed", "edges", "degrees", "age_days"):
        these, those = getattr(one, field), getattr(other, field)
        assert list(these) == list(those), field
        for name, tensor in these.items():
            assert torch.equal(tensor, those[name]), f"{field} of {name}"
    assert (one.num_nodes, one.num_edges) == (other.num_nodes, other.num_edges)


def tensors(data: HeteroData) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a batch with its name, those of TensorFrames too."""
    for store in data.stores:
        for name, value in sorted(store.items()):
            if isinstance(value, Tensor):
                yield f"{store._key} {name}", value
            elif isinstance(value, TensorFrame):
                for kind, part in value.feat_dict.items():
                    whole = (part,) if isinstance(part, Tensor) else (part.values, part.offset)
                    for number, tensor in enumerate(whole):
                        yield f"{store._key} {kind} {number}", tensor


def assert_same_batch(one: HeteroData, other: HeteroData) -> None:
    these, those = dict(tensors(one)), dict(tensors(other))
    assert these.keys() == those.keys()
    for name, tensor in these.items():
        assert torch.equal(tensor.nan_to_num(-1.5), those[name].nan_to_num(-1.5)), name


def asked_at(before: Snapshot, rng: np.random.Generator, *, strictly: bool) -> tuple[int, Seeds] | None:
    """A day from which on all is news, and seeds that are asked before it; row by row the first of them on it."""
    seeds = some_seeds(before, rng, strictly=strictly, count=12)
    if seeds is None:
        return None
    day = int(seeds.time[0]) // US_PER_DAY if strictly else int(rng.integers(1, DAYS + 1))
    known = int(np.searchsorted(before.time(seeds.table), day * US_PER_DAY))
    asked = (seeds.time < day * US_PER_DAY) & (seeds.row < known)
    asked[0] |= strictly
    return day, replace(seeds, cut=seeds.time).take(asked) if strictly else seeds.take(asked)


def first_line(database: Database, seeds: Seeds, day: int) -> Line:
    """What is known with the row of the first seed."""
    rows, row = database.tables[seeds.table], int(seeds.row[0])
    timed = database.schema[seeds.table].time is not None
    place = int(np.argsort(times(rows, "at"), kind="stable")[row]) if timed else row
    return line_of(database, seeds.table, place, day, seeds.hidden)


def prove(number: int, *, strictly: bool, strategy: Sampling) -> bool:
    """Samples the same seeds, and aggregates for them, of a random database and of one with another future, which for
    row-level seeds begins at their very time, where much coincides; whether there was a seed to sample."""
    rng = np.random.default_rng(number)
    database = random_database(rng, days=4 if strictly else DAYS)
    with TemporaryDirectory() as folder:
        before = database.snapshot(Path(folder) / "before")
        found = asked_at(before, rng, strictly=strictly)
        if found is None or not len(found[1]):
            return False
        day, seeds = found
        line = first_line(database, seeds, day) if strictly else None
        after = with_another_future(database, rng, day, line).snapshot(Path(folder) / "after")
        for table, described in database.schema.tables.items():
            rows, keys = np.searchsorted(before.time(table), day * US_PER_DAY), list(described.primary_key)
            assert np.searchsorted(after.time(table), day * US_PER_DAY) == rows
            one, other = (snapshot.arrow(table).select(keys).slice(0, rows) for snapshot in (before, after))
            assert one.equals(other)
        samplers = [
            Sampler(TemporalGraph.build(snapshot), (3, 2, 2), strategy=strategy, seed=number)
            for snapshot in (before, after)
        ]
        assert_identical(*(by(seeds) for by in samplers))
        if strictly and strategy is Sampling.recent:
            assert_same_aggregates(before, after, seeds, day * US_PER_DAY - 1, "value")
        return True


def assert_same_aggregates(before: Snapshot, after: Snapshot, seeds: Seeds, fitted_at_us: int, label: str) -> None:
    """Of a question about ``label``, the keys that are hidden and, in every table, text."""
    asked = frozenset({(seeds.table, label), *((r.child, name) for r in seeds.hidden for name in r.key)})
    task = Task(Kind.binary, "", seeds.table, None, row_level=True, label_columns=asked)
    rows, time, cut = (part.numpy() for part in (seeds.row, seeds.time, seeds.cut))
    one, other = (
        window_features(task, snapshot, streams.Seeds(rows, time, cut), fitted_at_us=fitted_at_us)
        for snapshot in (before, after)
    )
    assert one.column_names == other.column_names
    for name in one.column_names:
        assert np.array_equal(one[name].to_numpy(), other[name].to_numpy(), equal_nan=True), name


@pytest.mark.parametrize("strategy", Sampling)
@given(st.integers(0, 10**7), st.booleans())
@settings(max_examples=50, deadline=None)
def test_another_future_changes_no_subgraph(strategy: Sampling, number: int, strictly: bool) -> None:
    prove(number, strictly=strictly, strategy=strategy)


def fails(strategy: Sampling, *, strictly: bool | None = None, proofs: int = 60) -> bool:
    """Whether any of so many proofs fails."""
    for number in range(proofs):
        try:
            prove(number, strictly=number % 2 == 0 if strictly is None else strictly, strategy=strategy)
        except AssertionError:
            return True
    return False


@pytest.mark.parametrize("strategy", Sampling)
def test_without_the_test_of_times_the_proof_fails(monkeypatch: pytest.MonkeyPatch, strategy: Sampling) -> None:
    assert not fails(strategy, proofs=24)

    def all_rows(self: sampler._Sampling, table: str, *, strictly: bool) -> torch.Tensor:
        return torch.full_like(self.cut, self.graph.num_rows[table])

    monkeypatch.setattr(sampler._Sampling, "_limit", all_rows)
    assert fails(strategy)


@pytest.mark.parametrize("strategy", Sampling)
def test_where_row_level_seeds_see_others_of_their_time_the_proof_fails(
    monkeypatch: pytest.MonkeyPatch, strategy: Sampling
) -> None:
    def any_parent(self: sampler._Sampling, at: sampler._Frontier, parent: str) -> torch.Tensor:
        return limit(self, parent, strictly=False).index_select(0, at.seed)

    limit = sampler._Sampling._limit
    with monkeypatch.context() as patch:
        patch.setattr(sampler._Sampling, "_parent_limit", any_parent)
        assert fails(strategy, strictly=True), "parents"
    monkeypatch.setattr(sampler._Sampling, "_limit", lambda self, table, strictly: limit(self, table, strictly=False))
    assert fails(strategy, strictly=True), "children"


@pytest.mark.parametrize("strategy", Sampling)
@pytest.mark.parametrize(("strictly", "by_us"), [(False, DAYS * US_PER_DAY), (True, 1)])
def test_without_the_test_of_ends_the_proof_fails(
    monkeypatch: pytest.MonkeyPatch, strategy: Sampling, strictly: bool, by_us: int
) -> None:
    """Ends are seen a while before they come: for row-level seeds those of their very time are."""

    def earlier(snapshot: Snapshot) -> TemporalGraph:
        graph = original(snapshot)
        links = {
            relation: replace(link, endings=link.endings and replace(link.endings, ends=link.endings.ends + by_us))
            for relation, link in graph.links.items()
        }
        return replace(graph, links=links, until={table: until - by_us for table, until in graph.until.items()})

    original = TemporalGraph.build
    monkeypatch.setattr(TemporalGraph, "build", staticmethod(earlier))
    assert fails(strategy, strictly=strictly)


def test_where_aggregates_see_what_ends_at_the_seeds_time_the_proof_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def earlier(self: Cells, table: str, column: str) -> Times:
        return instants(self, table, column) - int(column == self.snapshot.schema[table].valid_until)

    instants = Cells.instants
    monkeypatch.setattr(Cells, "instants", earlier)
    assert fails(Sampling.recent, strictly=True)


def with_keys_known_at_once(graph: TemporalGraph, whole: TemporalGraph, way: str) -> TemporalGraph:
    """``graph`` with the late keys known with their rows, to ``parents`` or to ``children``; ``whole`` is the graph of
    a schema without any."""
    links = dict(graph.links)
    for relation, link in links.items():
        if link.late is None:
            continue
        if way == "parents":
            links[relation] = replace(link, late=replace(link.late, known=torch.full_like(link.late.known, ALWAYS)))
        else:
            plain = whole.links[relation]
            linked = graph.time[relation.child][plain.children.long()]
            links[relation] = replace(plain, late=replace(link.late, linked=linked))
    return replace(graph, links=links)


@pytest.mark.parametrize("strategy", Sampling)
@pytest.mark.parametrize("way", ["parents", "children"])
def test_without_the_test_of_keys_the_proof_fails(
    monkeypatch: pytest.MonkeyPatch, strategy: Sampling, way: str
) -> None:
    original = TemporalGraph.build

    def blind(snapshot: Snapshot) -> TemporalGraph:
        tables = {
            table.name: replace(table, columns=tuple(replace(column, known_at=None) for column in table.columns))
            for table in snapshot.schema.tables.values()
        }
        early = open_snapshot(snapshot.path, replace(snapshot.schema, tables=tables))
        return with_keys_known_at_once(original(snapshot), original(early), way)

    monkeypatch.setattr(TemporalGraph, "build", staticmethod(blind))
    assert fails(strategy)
