"""The sampler against a brute force that walks rows one by one, in both strategies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from rdl.clock import ALWAYS, NEVER, US_PER_DAY
from rdl.config import Sampling
from rdl.errors import ConfigError
from rdl.extract import micros
from rdl.graph import TemporalGraph
from rdl.sampler import EdgeType, Sampler, Seeds, Subgraph
from rdl.schema import Relation
from rdl.snapshot import Snapshot
from tests.databases import DAYS, random_database
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


def key_known(snapshot: Snapshot, relation: Relation) -> list[int | None]:
    """When each child row's key was known: None where with its row."""
    table = snapshot.schema[relation.child]
    told = {column.known_at for column in table.columns if column.name in relation.key} - {None}
    times = [micros(snapshot.arrow(table.name)[name]).tolist() for name in told]
    return [max(row) for row in zip(*times, strict=True)] if times else [None] * snapshot.num_rows[table.name]


def check_trees(subgraph: Subgraph, snapshot: Snapshot, sampler: Sampler) -> int:
    """Walks every tree from its seed and asks of each node whether its neighbours are those it may and must have:
    exactly these where children are the most recent, so many different ones of them where they are any. Returns the
    number of nodes.

    What is later than the cut is news to a seed, and to a row-level one what is at the cut too: that a row is there,
    that it has ended, that its key is known. Its own row brings what it refers to, and a row of its own time among
    that does too."""
    seeds, below = subgraph.seeds, dict[tuple[str, int], list[tuple[EdgeType, int]]]()
    for type_, edges in subgraph.edges.items():
        for source, target in edges.T.tolist():
            below.setdefault((type_.target, target), []).append((type_, source))
    known = {relation: key_known(snapshot, relation) for relation in snapshot.schema.relations}
    ends = {
        t.name: micros(snapshot.arrow(t.name)[t.valid_until]) for t in snapshot.schema.tables.values() if t.valid_until
    }

    def news(time: int, cut: int) -> bool:
        return time == NEVER or time > cut or (time == cut and seeds.strictly)

    def visible(table: str, row: int, cut: int, *, brought: bool = False) -> bool:
        time = int(snapshot.time(table)[row])
        there = not news(time, cut) or (brought and time == cut)
        return there and not (table in ends and not news(int(ends[table][row]), cut))

    def linked(relation: Relation, row: int, cut: int) -> bool:
        time = known[relation][row]
        return time is None or not news(time, cut)

    def grow(table: str, node: int, came: EdgeType | None, hop: int, down: int, brings: bool) -> int:
        row, seed = int(subgraph.rows[table][node]), int(subgraph.seed[table][node])
        cut, found, size = int(seeds.cut[seed]), dict[EdgeType, list[int]](), 1
        for type_, source in below.get((table, node), []):
            assert int(subgraph.seed[type_.source][source]) == seed
            found.setdefault(type_, []).append(int(subgraph.rows[type_.source][source]))
            assert hop < len(sampler.fanouts), "no farther than so many hops"
            own = brings and not type_.to_parent and snapshot.time(type_.source)[found[type_][-1]] == cut
            size += grow(type_.source, source, type_, hop + 1, down + type_.to_parent, bool(own))
        for relation in snapshot.schema.relations if hop < len(sampler.fanouts) else ():
            to_parent, to_child, parents = (
                EdgeType(relation, True),
                EdgeType(relation, False),
                snapshot.parent(relation),
            )
            if relation.parent == table:
                wanted = sampler.by_relation.get(relation, sampler.fanouts)[down]
                seen = [int(r) for r in np.flatnonzero(parents == row)]
                seen = [r for r in seen if visible(relation.child, r, cut)]
                seen = [r for r in seen if linked(relation, r, cut)]
                own, told = snapshot.time(relation.child), known[relation]
                since = {r: (max(int(own[r]), ALWAYS if (t := told[r]) is None else t), r) for r in seen}
                seen.sort(key=since.__getitem__, reverse=True)
                sampled = found.pop(to_parent, [])
                assert len(sampled) == min(wanted, len(seen))
                assert int(subgraph.degrees[to_parent][node]) == len(seen)
                assert sampled == [r for r in seen if r in sampled], "each once, the newest first"
                assert sampler.strategy is Sampling.uniform or sampled == seen[:wanted]
            old = snapshot.schema[table].time is not None and snapshot.time(table)[row] < cut
            back = came == to_parent or (relation in seeds.hidden and not old)
            up = relation.child == table and not back and parents[row] >= 0 and linked(relation, row, cut)
            if up and visible(relation.parent, int(parents[row]), cut, brought=brings):
                assert found.pop(to_child) == [parents[row]]
        assert not found, "nothing else"
        return size

    walked = sum(grow(seeds.table, number, None, 0, 0, True) for number in range(len(seeds)))
    assert walked == sum(len(rows) for rows in subgraph.rows.values()), "every node is in one tree"
    return walked


def some_seeds(snapshot: Snapshot, rng: np.random.Generator, *, strictly: bool, count: int = 6) -> Seeds | None:
    """Rows of any table at any times, before and after all data among them. Row by row: at the rows' own times, a key
    of the table hidden. Cuts are at most as late."""
    tables = [t for t, rows in snapshot.num_rows.items() if rows and not (strictly and snapshot.time(t)[0] == NEVER)]
    if not tables:
        return None
    table = tables[rng.integers(len(tables))]
    lag = rng.integers(0, 3, count) * (rng.random() < 0.3) * US_PER_DAY
    if strictly:
        row = rng.integers(0, np.searchsorted(snapshot.time(table), NEVER), count)
        own = snapshot.time(table)[row]
        time = np.where(own == ALWAYS, rng.integers(0, DAYS, count) * US_PER_DAY, own)
        hidden = snapshot.schema.relations_from(table)[:1]
        return Seeds(table, *map(torch.from_numpy, (row, time, time - lag)), True, hidden)
    row, time = rng.integers(0, snapshot.num_rows[table], count), rng.integers(-1, DAYS + 2, count) * US_PER_DAY
    return Seeds(table, *map(torch.from_numpy, (row, time, time - lag)))


@pytest.mark.parametrize("strategy", Sampling)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([(3,), (2, 2), (2, 1, 2)]))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_trees_are_those_of_brute_force(
    device: torch.device, strategy: Sampling, number: int, strictly: bool, fanouts: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(number)
    database = random_database(rng, days=4 if strictly else DAYS)
    with TemporaryDirectory() as folder:
        snapshot = database.snapshot(Path(folder) / "s")
        own = {relation: (1,) * len(fanouts) for relation in snapshot.schema.relations[1:2]}
        sampler = Sampler(TemporalGraph.build(snapshot), fanouts, by_relation=own, strategy=strategy, seed=number)
        seeds = some_seeds(snapshot, rng, strictly=strictly)
        if seeds is not None:
            check_trees(sampler.to(device)(seeds.to(device)), snapshot, sampler)


@pytest.mark.parametrize("strategy", Sampling)
def test_three_hops_of_a_larger_shop(tmp_path: Path, device: torch.device, strategy: Sampling) -> None:
    snapshot = shop(np.random.default_rng(2), users=8, items=6, orders=700, messages=300).snapshot(tmp_path / "s")
    sampler = Sampler(TemporalGraph.build(snapshot), (9, 7, 3), strategy=strategy)
    row = torch.arange(48) % 8
    time = torch.arange(48) // 2 * US_PER_DAY
    subgraph = sampler.to(device)(Seeds("users", row, time, time).to(device))
    assert check_trees(subgraph, snapshot, sampler) > 10_000


def paths(subgraph: Subgraph, seed: int) -> list[tuple[object, ...]]:
    """Every path of one seed's tree: (relation, direction, row) for each hop."""
    below: dict[tuple[str, int], list[tuple[EdgeType, int]]] = {}
    for type_, edges in subgraph.edges.items():
        for source, target in edges.T.tolist():
            below.setdefault((type_.target, target), []).append((type_, source))

    def walk(table: str, node: int) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for type_, source in below.get((table, node), []):
            step = (type_, int(subgraph.rows[type_.source][source]))
            found += [(step,)] + [(step, *rest) for rest in walk(type_.source, source)]
        return found

    return walk(subgraph.seeds.table, seed)


def hub(folder: Path, children: int, *, ends: bool = False, late: bool = False) -> Snapshot:
    """One parent of many children, a microsecond apart; a half of them end when half of them are there, and where they
    are late the parents of ten are known in the opposite order."""
    at = np.arange(children)
    end = pa.array(np.full(children, children // 2), mask=at % 2 == 0).cast(pa.timestamp("us"))
    events = pa.table(
        {
            "user_id": np.zeros(children, np.int64),
            "at": pa.array(at).cast(pa.timestamp("us")),
            "end": end,
            "told": pa.array(at // 10 * 10 + 9 - at % 10).cast(pa.timestamp("us")),
        }
    )
    reader = MemoryReader(
        {"users": pa.table({"id": [0]}), "events": events},
        keys={"users": "id"},
        times={"events": "at"},
        relations=[("events", "user_id", "users")],
        known_at={"user_id": "told"} if late else None,
    )
    if ends:
        tables = dict(reader.schema.tables)
        tables["events"] = replace(tables["events"], valid_until="end")
        reader.schema = replace(reader.schema, tables=tables)
    return reader.snapshot(folder)


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize(("known", "fanout"), [(6, 2), (6, 4), (40, 8), (40, 30)])
def test_every_visible_child_is_as_likely_as_any_other(
    tmp_path: Path, device: torch.device, known: int, fanout: int, ends: bool
) -> None:
    sampler = Sampler(
        TemporalGraph.build(hub(tmp_path / "s", 3 * known, ends=ends)), (fanout,), strategy=Sampling.uniform
    )
    # At 2 · known − 1 as many are there, and a half of them, the odd ones, are over.
    cut = torch.full((20_000,), 2 * known - 1 if ends else known - 1)
    seeds = Seeds("users", torch.zeros_like(cut), cut + torch.arange(20_000), cut)
    subgraph = sampler.to(device)(seeds.to(device))
    (edges,), rows = subgraph.edges.values(), subgraph.rows["events"].cpu()
    assert torch.equal(torch.bincount(edges[1].cpu()), torch.full((20_000,), fanout))
    counts = np.bincount(rows.numpy())
    if ends:
        assert not counts[1::2].any()
        counts = counts[::2]
    assert len(counts) == known, "none of the future"
    # Those of one sample differ, so counts spread less than those of as many draws: by this factor.
    spread = 1 - (fanout - 1) / (known - 1)
    assert chisquare(counts).statistic / spread < {6: 26, 40: 85}[known], "once in ten thousand times"


def test_another_draw_or_seed_is_another_sample_and_the_same_is_the_same(tmp_path: Path) -> None:
    graph = TemporalGraph.build(hub(tmp_path / "s", 200))
    seeds = Seeds("users", *torch.tensor([[0, 0], [300, 301], [300, 301]]))

    def rows(seed: int, draw: int) -> list[int]:
        return Sampler(graph, (20,), strategy=Sampling.uniform, seed=seed)(seeds, draw).rows["events"].tolist()

    assert rows(0, 0) == rows(0, 0)
    samples = [rows(0, 0)[:20], rows(0, 0)[20:], rows(0, 1)[:20], rows(1, 0)[:20]]
    assert len({tuple(sample) for sample in samples}) == 4


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
    for type_, edges in subgraph.edges.items():
        assert (edges[1].diff() >= 0).all()
        for hop, count in enumerate(subgraph.num_edges[type_]):
            assert (edges[1, :count] < subgraph.num_nodes[type_.target][hop]).all()
            assert (edges[0, :count] < subgraph.num_nodes[type_.source][hop + 1]).all()
    for table, age in subgraph.age_days.items():
        row_time = graph.time[table][subgraph.rows[table]]
        known = (row_time != ALWAYS) & (row_time != NEVER)
        assert torch.equal(age[known], (15 * US_PER_DAY - row_time[known]).double().div(US_PER_DAY).float())
        assert not age[~known].any()


@pytest.mark.parametrize("strategy", Sampling)
@pytest.mark.parametrize("batch", [1, 4])
def test_order_and_batches_do_not_change_samples(tmp_path: Path, strategy: Sampling, batch: int) -> None:
    snapshot = shop(np.random.default_rng(1), users=6, items=5, orders=220, messages=80).snapshot(tmp_path / "s")
    sampler = Sampler(TemporalGraph.build(snapshot), (5, 3, 2), strategy=strategy)
    time = torch.arange(12) // 2 * 3 * US_PER_DAY
    seeds = Seeds("users", torch.arange(12) % 6, time, time)
    whole, order = sampler(seeds), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    for start in range(0, 12, batch):
        part = sampler(seeds.take(order[start : start + batch]))
        for number in range(len(part.seeds)):
            assert paths(part, number) == paths(whole, int(order[start + number]))


def test_devices_agree(tmp_path: Path, device: torch.device) -> None:
    snapshot = shop(np.random.default_rng(1), users=6, items=5, orders=900, messages=80).snapshot(tmp_path / "s")
    sampler = Sampler(TemporalGraph.build(snapshot), (20, 9, 2), strategy=Sampling.uniform)
    time = torch.arange(12) // 2 * 3 * US_PER_DAY
    seeds = Seeds("users", torch.arange(12) % 6, time, time)
    here, there = sampler(seeds), sampler.to(device)(seeds.to(device))
    for table, rows in here.rows.items():
        assert torch.equal(rows, there.rows[table].cpu())
    for type_, edges in here.edges.items():
        assert torch.equal(edges, there.edges[type_].cpu())


# --- what is asked wrongly, or of nothing


@pytest.mark.parametrize("strategy", Sampling)
def test_seeds_that_see_nothing_stand_alone(tmp_path: Path, strategy: Sampling) -> None:
    snapshot = shop(np.random.default_rng(0), users=3, items=2, orders=40, messages=0).snapshot(tmp_path / "s")
    sampler = Sampler(TemporalGraph.build(snapshot), (2, 2), strategy=strategy)
    early = torch.full((3,), -US_PER_DAY)
    subgraph = sampler(Seeds("users", torch.arange(3), early, early))
    assert {table: rows.tolist() for table, rows in subgraph.rows.items()} == {"users": [0, 1, 2]}
    assert subgraph.edges == {}
    assert all(not degree.any() for degree in subgraph.degrees.values())


def test_rows_without_a_time_are_never_seen(tmp_path: Path) -> None:
    snapshot = shop(np.random.default_rng(0), users=3, items=2, orders=40, messages=0).snapshot(tmp_path / "s")
    assert snapshot.report.null_times["orders"]
    sampler = Sampler(TemporalGraph.build(snapshot), (100,))
    last = torch.full((3,), NEVER)
    rows = sampler(Seeds("users", torch.arange(3), last, last)).rows["orders"]
    assert (snapshot.time("orders")[rows] < NEVER).all()


def test_no_seeds_make_no_nodes(tmp_path: Path) -> None:
    snapshot = shop(np.random.default_rng(0), users=3, items=2, orders=40, messages=0).snapshot(tmp_path / "s")
    none = torch.empty(0, dtype=torch.int64)
    for strategy in Sampling:
        subgraph = Sampler(TemporalGraph.build(snapshot), (2, 2), strategy=strategy)(Seeds("users", none, none, none))
        assert subgraph.rows["users"].tolist() == []


@pytest.mark.parametrize("tables", [{}, {"items": 3}])
def test_empty_tables_are_no_hindrance(tmp_path: Path, tables: dict[str, int]) -> None:
    sizes = {"users": 2, "items": 0, "orders": 0, "messages": 0} | tables
    snapshot = shop(np.random.default_rng(0), **sizes).snapshot(tmp_path / "s")
    time = torch.tensor([US_PER_DAY, NEVER - 1])
    for strategy in Sampling:
        subgraph = Sampler(TemporalGraph.build(snapshot), (2, 2), strategy=strategy)(
            Seeds("users", torch.arange(2), time, time)
        )
        assert set(subgraph.rows) == {"users"}


def test_seeds_that_are_no_rows_are_refused(tmp_path: Path) -> None:
    snapshot = shop(np.random.default_rng(0), users=3, items=2, orders=4, messages=0).snapshot(tmp_path / "s")
    sampler, time = Sampler(TemporalGraph.build(snapshot), (2,)), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ConfigError, match="2 of 3 seeds are no rows of 'users': seed 1 is row -1, and there are 3"):
        sampler(Seeds("users", torch.tensor([0, -1, 3]), time, time))
    with pytest.raises(ConfigError, match="there is no table 'user'"):
        sampler(Seeds("user", torch.tensor([0, 1, 2]), time, time))


def test_a_hidden_key_needs_strictly_older_rows() -> None:
    relation, time = Relation("orders", ("item_id",), "items", ("id",)), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ConfigError, match="is hidden, but rows as old as the seed are seen"):
        Seeds("orders", time, time, time, hidden=(relation,))


@pytest.mark.parametrize("fanouts", [(-1, 2), (2,)])
def test_fanouts_that_are_none_are_refused(tmp_path: Path, fanouts: tuple[int, ...]) -> None:
    graph = TemporalGraph.build(hub(tmp_path / "s", 3))
    with pytest.raises(ConfigError, match="give 2 of them, none below 0"):
        Sampler(graph, (2, 2), by_relation=dict.fromkeys(graph.links, fanouts))


@pytest.mark.parametrize("late", [False, True])
def test_a_hub_costs_the_logarithm_of_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    """Counted in cells of the graph that are read, which no load of the machine changes."""
    graphs = [TemporalGraph.build(hub(tmp_path / f"{n}", 10**n, ends=True, late=late)) for n in (3, 6)]
    select, read = torch.Tensor.index_select, [0]

    def counted(self: torch.Tensor, dim: int, index: torch.Tensor) -> torch.Tensor:
        read[0] += len(index)
        return select(self, dim, index)

    monkeypatch.setattr(torch.Tensor, "index_select", counted)
    for strategy in Sampling:
        cells = []
        for graph in graphs:
            read[0], time = 0, torch.tensor([graph.num_rows["events"] - 1])
            Sampler(graph, (16,), strategy=strategy)(Seeds("users", torch.tensor([0]), time, time))
            cells.append(read[0])
        assert cells[1] < 2.5 * cells[0], "log 10⁶ is twice log 10³"
