"""What a seed at t sees is the same to the last bit, whatever comes, changes or goes after t."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_frame import TensorFrame
from torch_geometric.data import HeteroData

from rdl import features, infer, sampler
from rdl import model as models
from rdl.clock import ALWAYS, US_PER_DAY
from rdl.config import Sampling
from rdl.database import open_reader
from rdl.graph import TemporalGraph
from rdl.loader import hetero_data
from rdl.sampler import Sampler, Seeds, Subgraph
from rdl.snapshot import Snapshot, build, open_snapshot
from tests.databases import DAYS, random_database, with_another_future
from tests.memory import MemoryReader
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


def known(snapshot: Snapshot, table: str, day: int) -> int:
    return int(np.searchsorted(snapshot.time(table), day * US_PER_DAY, side="right"))


def prove(number: int, *, strictly: bool, strategy: Sampling) -> bool:
    """Samples the same seeds, all at most as late as a day, of a random database and of one with another future;
    whether there was a seed to sample."""
    rng = np.random.default_rng(number)
    database, day = random_database(rng), int(rng.integers(0, DAYS))
    other = with_another_future(database, rng, day)
    with TemporaryDirectory() as folder:
        before, after = (d.snapshot(Path(folder) / str(n)) for n, d in enumerate((database, other)))
        for table in database.schema.tables:
            rows = known(before, table, day)
            assert known(after, table, day) == rows
            keys = list(database.schema.tables[table].primary_key)
            assert (
                before.arrow(table).select(keys).slice(0, rows).equals(after.arrow(table).select(keys).slice(0, rows))
            )
        seeds = some_seeds(before, rng, strictly=strictly, count=12)
        if seeds is None:
            return False
        seeds = seeds.take((seeds.time <= day * US_PER_DAY) & (seeds.row < known(before, seeds.table, day)))
        if len(seeds):
            one, other = (
                Sampler(TemporalGraph.build(snapshot), (3, 2, 2), strategy=strategy, seed=number)(seeds)
                for snapshot in (before, after)
            )
            assert_identical(one, other)
        return len(seeds) > 0


@pytest.mark.parametrize("strategy", Sampling)
@given(st.integers(0, 10**7), st.booleans())
@settings(max_examples=50, deadline=None)
def test_another_future_changes_no_subgraph(strategy: Sampling, number: int, strictly: bool) -> None:
    prove(number, strictly=strictly, strategy=strategy)


def failing(strategy: Sampling, proofs: int = 60) -> Iterator[int]:
    """Those of so many proofs that fail."""
    for number in range(proofs):
        try:
            prove(number, strictly=number % 2 == 0, strategy=strategy)
        except AssertionError:
            yield number


@pytest.mark.parametrize("strategy", Sampling)
def test_without_the_test_of_times_the_proof_fails(monkeypatch: pytest.MonkeyPatch, strategy: Sampling) -> None:
    assert list(failing(strategy, 24)) == []

    def all_rows(self: sampler._Sampling, table: str, *, strictly: bool) -> torch.Tensor:
        return torch.full_like(self.cut, self.graph.num_rows[table])

    monkeypatch.setattr(sampler._Sampling, "_limit", all_rows)
    assert any(failing(strategy))


@pytest.mark.parametrize("strategy", Sampling)
def test_without_the_test_of_ends_the_proof_fails(monkeypatch: pytest.MonkeyPatch, strategy: Sampling) -> None:
    """An end that comes after t is put to another time after t: what is seen at t is the same, but not a day later."""

    def a_day_later(self: sampler._Sampling, *arguments: object, **named: object) -> None:
        original(self, *arguments, **named)  # type: ignore[arg-type]
        self.limits = {
            (table, strictly): self._limit(table, strictly=strictly)
            for table in self.graph.num_rows
            for strictly in (False, True)
        }
        self.cut = self.cut + DAYS * US_PER_DAY

    original = sampler._Sampling.__init__
    monkeypatch.setattr(sampler._Sampling, "__init__", a_day_later)
    assert any(failing(strategy))


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
    assert any(failing(strategy))


def with_future_shuffled(snapshot: Snapshot, cut: int) -> MemoryReader:
    """The same database but for what is later than ``cut``: a half of these rows, in another order, every column but
    the primary key's shuffled on its own."""
    rng, tables = np.random.default_rng(0), {}
    for name, table in snapshot.schema.tables.items():
        rows, stop = snapshot.arrow(name), int(np.searchsorted(snapshot.time(name), cut, side="right"))
        future = rows.take(pa.array(rng.permutation(np.arange(stop, rows.num_rows))[: (rows.num_rows - stop) // 2]))
        for number, column in enumerate(future.column_names):
            if column not in table.primary_key:
                shuffled = future[column].take(pa.array(rng.permutation(future.num_rows)))
                future = future.set_column(number, future.schema.field(number), shuffled)
        tables[name] = pa.concat_tables([rows.slice(0, stop), future])
    reader = MemoryReader(tables)
    reader.schema = snapshot.schema
    return reader


REAL = [
    ("f1.sqlite", "drivers", "results", False),
    ("ml_100k.sqlite", "users", "ratings", False),
    ("ml_100k.sqlite", "ratings", "ratings", True),
    ("mind_5k.sqlite", "users", "impressions", False),
    ("mind_5k.sqlite", "impression_items", "impressions", True),
]


def real(folder: Path, url: str, entity: str, timed: str, *, strictly: bool) -> tuple[Snapshot, Snapshot, int, Seeds]:
    """A database, the same with another future after a time, that time, and seeds up to it."""
    reader = open_reader(url)
    declared = reader.reflect()
    before = build(reader, infer.apply(declared, infer.propose(reader, declared)), folder / "before")
    cut = int(np.quantile(before.time(timed), 0.6))
    after = with_future_shuffled(before, cut).snapshot(folder / "after")
    rng = np.random.default_rng(1)
    row = torch.from_numpy(rng.integers(0, np.searchsorted(before.time(entity), cut, side="right"), 64))
    if strictly:
        time = torch.from_numpy(before.time(entity)[row.numpy()])
        return before, after, cut, Seeds(entity, row, time, time, True, before.schema.relations_from(entity)[-1:])
    time = torch.from_numpy(rng.integers(np.quantile(before.time(timed), 0.3), cut, 64))
    return before, after, cut, Seeds(entity, row, time, time)


@pytest.mark.parametrize(("file", "entity", "timed", "strictly"), REAL)
def test_another_future_of_a_real_database_changes_nothing(
    tmp_path: Path, shared_data: Path, file: str, entity: str, timed: str, strictly: bool
) -> None:
    """Neither statistics fitted at t, nor subgraphs in either strategy, nor batches, nor predictions."""
    url = f"sqlite:///{shared_data / file}"
    before, after, cut, seeds = real(tmp_path, url, entity, timed, strictly=strictly)
    fitted = features.fit(before, cut)
    assert fitted == features.fit(after, cut)
    torch.manual_seed(0)
    model = models.build(fitted, before.schema.relations, channels=8, layers=3, dropout=0.0).eval()
    packed = [features.pack(snapshot, fitted) for snapshot in (before, after)]
    for strategy in Sampling:
        samplers = [Sampler(TemporalGraph.build(s), (16, 8, 4), strategy=strategy) for s in (before, after)]
        one, other = (by(seeds) for by in samplers)
        assert_identical(one, other)
        assert len(one.rows[timed]) > 16
        for table, rows in one.rows.items():
            first = len(seeds) if table == entity else 0
            times = torch.from_numpy(before.time(table)[rows[first:].numpy()])
            assert (times <= seeds.time[one.seed[table][first:]]).all(), "no row is later than its seed"
        assert_same_batch(*map(hetero_data, (one, other), packed, samplers))
        with torch.no_grad():
            assert torch.equal(
                *(model(columns, subgraph) for columns, subgraph in zip(packed, (one, other), strict=True))
            )
