"""Batches for PyG: what they hold, that a PyG model on them is ours, and that nothing but their seeds decides."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_frame import stype

import rdl
from rdl import features
from rdl.clock import NEVER, US_PER_DAY
from rdl.columns import MASKED
from rdl.config import Sampling
from rdl.errors import ConfigError
from rdl.extract import micros
from rdl.graph import TemporalGraph, edge_name
from rdl.loader import HeteroLoader, hetero_data, loaders
from rdl.model import build
from rdl.query.task import TaskTable
from rdl.sampler import Sampler, Seeds
from rdl.shop import build_shop
from rdl.snapshot import Snapshot
from tests.databases import DAYS, random_database, with_another_future
from tests.test_known_at_t import asked_at, first_line
from tests.test_known_at_t_real import assert_same_batch
from tests.test_sampler import shop, some_seeds

CHANNELS = 16


def loader(snapshot: Snapshot, count: int = 10, **options: object) -> HeteroLoader:
    """A loader of ``count`` seeds of users, three days apart, in batches of four."""
    row, time = np.arange(count) % snapshot.num_rows["users"], np.arange(count) // 2 * 3 * US_PER_DAY
    table = TaskTable(row, time, np.zeros(count, np.int8), np.arange(count) / 10, NEVER, NEVER)
    moments = torch.from_numpy(time)
    sampler = Sampler(TemporalGraph.build(snapshot), (5, 3), strategy=Sampling.uniform, seed=1)
    fitted = features.fit(snapshot, 8 * US_PER_DAY)
    packed = features.pack(snapshot, fitted)
    seeds = Seeds("users", torch.from_numpy(row), moments, moments)
    return HeteroLoader(fitted, packed, sampler, seeds, table, **{"batch_size": 4, **options})  # type: ignore[arg-type]


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return shop(np.random.default_rng(4), users=5, items=6, orders=150, messages=60).snapshot(tmp_path / "s")


def test_a_batch_holds_all_that_its_seeds_may_see(snapshot: Snapshot) -> None:
    made = loader(snapshot)
    batches = list(made)
    assert len(batches) == len(made) == 3
    assert torch.cat([batch["users"].input_id for batch in batches]).tolist() == list(range(10))
    for batch in batches:
        assert batch.validate()
        assert set(batch.node_types) == set(snapshot.schema.tables)
        assert len(batch.edge_types) == 2 * len(snapshot.schema.relations)
        seeds = batch["users"]
        size = seeds.batch_size
        assert torch.equal(seeds.y, seeds.input_id.double() / 10)
        assert seeds.batch[:size].tolist() == list(range(size))
        assert torch.equal(seeds.n_id[:size], seeds.input_id % 5)
        for table in batch.node_types:
            nodes, seed_time = batch[table], seeds.seed_time[batch[table].batch]
            own = torch.from_numpy(snapshot.time(table)[nodes.n_id.numpy()])
            assert nodes.tf.num_rows == nodes.num_nodes == len(nodes.n_id)
            if snapshot.schema[table].time is not None:
                assert torch.equal(nodes.age_days[:, 0], (seed_time - own).double().div(US_PER_DAY).float())
                assert (nodes.age_days[:, 0] >= 0).all()
        for relation in snapshot.schema.relations:
            name = edge_name(relation, snapshot.schema.relations)
            child, parent = batch[relation.child, name, relation.parent].edge_index
            keys = snapshot.parent(relation)[batch[relation.child].n_id[child].numpy()]
            assert np.array_equal(keys, batch[relation.parent].n_id[parent])
            back = batch[relation.parent, f"rev_{name}", relation.child].edge_index
            keys = snapshot.parent(relation)[batch[relation.child].n_id[back[1]].numpy()]
            assert np.array_equal(keys, batch[relation.parent].n_id[back[0]])


@given(st.integers(0, 10**7), st.booleans())
@settings(max_examples=50, deadline=None)
def test_another_future_changes_no_batch_and_no_prediction(number: int, strictly: bool) -> None:
    """Statistics fitted just before a day, and batches and predictions of seeds before it, row by row also of one on
    it, whatever comes from that day on."""
    rng = np.random.default_rng(number)
    database = random_database(rng, days=4 if strictly else DAYS)
    with TemporaryDirectory() as folder:
        before = database.snapshot(Path(folder) / "before")
        found = asked_at(before, rng, strictly=strictly)
        if found is None or not len(found[1]):
            return
        day, seeds = found
        line = first_line(database, seeds, day) if strictly else None
        after = with_another_future(database, rng, day, line).snapshot(Path(folder) / "after")
        fitted = features.fit(before, day * US_PER_DAY - 1)
        assert fitted == features.fit(after, day * US_PER_DAY - 1)
        labels, batches, predictions = {seeds.table: ["value"]} if strictly else {}, [], []
        torch.manual_seed(0)
        masked = {(table, column) for table, columns in labels.items() for column in columns}
        model = build(fitted, database.schema.relations, channels=8, layers=2, dropout=0.0, masked=masked).eval()
        for snapshot in (before, after):
            sampler = Sampler(TemporalGraph.build(snapshot), (3, 2), strategy=Sampling.uniform)
            subgraph, packed = sampler(seeds), features.pack(snapshot, fitted)
            batches.append(hetero_data(subgraph, packed, sampler, labels))
            with torch.no_grad():
                predictions.append(model(packed, subgraph))
        assert_same_batch(*batches)
        assert torch.equal(*predictions)


@pytest.mark.parametrize("shuffle", [False, True])
def test_workers_change_nothing(snapshot: Snapshot, shuffle: bool) -> None:
    alone, two = loader(snapshot, shuffle=shuffle), loader(snapshot, shuffle=shuffle, workers=2)
    for _ in range(2):
        for one, other in zip(alone, two, strict=True):
            assert_same_batch(one, other)


def test_a_worker_that_is_started_anew_opens_the_graph(snapshot: Snapshot) -> None:
    spawned = loader(snapshot, workers=1, context="spawn")
    for one, other in zip(loader(snapshot), spawned, strict=True):
        assert_same_batch(one, other)


def test_a_pass_is_another_sample_in_another_order_and_can_be_repeated(snapshot: Snapshot) -> None:
    made = loader(snapshot, shuffle=True)
    passes = [list(made), list(made)]
    orders = [torch.cat([batch["users"].input_id for batch in batches]).tolist() for batches in passes]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    made.epoch = 0
    for one, other in zip(passes[0], made, strict=True):
        assert_same_batch(one, other)


def test_the_global_generator_is_left_alone(snapshot: Snapshot) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    assert len(list(loader(snapshot, shuffle=True, workers=1))) == 3
    assert torch.equal(torch.rand(4), expected)


def test_a_late_value_is_masked_and_so_is_its_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    seen = 0
    for number in range(20):
        snapshot = random_database(rng).snapshot(tmp_path / str(number))
        seeds = some_seeds(snapshot, rng, strictly=False, count=12)
        if seeds is None:
            continue
        packed = features.pack(snapshot, features.fit(snapshot, NEVER - 1))
        sampler = Sampler(TemporalGraph.build(snapshot), (4, 3))
        batch = hetero_data(sampler(seeds), packed, sampler)
        for table in batch.node_types:
            nodes = batch[table]
            if "told_at" in nodes.time_names:
                told = torch.from_numpy(
                    snapshot.arrow(table)["told_at"].cast("int64").fill_null(NEVER).to_numpy().copy()
                )
                late = told[nodes.n_id] > seeds.cut[nodes.batch]
                age = nodes.age_days[:, 1 + nodes.time_names.index("told_at")]
                assert torch.equal(age.isnan(), late)
                seen += int(late.sum())
    assert seen > 20


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> rdl.Database:
    path = tmp_path_factory.mktemp("loader") / "shop.duckdb"
    build_shop(path, scale=0.05)
    return rdl.connect(f"duckdb:///{path}")


def test_loaders_of_a_task_cover_its_splits(db: rdl.Database) -> None:
    task = db.task("PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id EVERY 90 days")
    found = task.loaders(fanouts=(4, 2), batch_size=100_000)
    for split in ("train", "val", "test"):
        (batch,) = found[split]
        part, users = task.labels.of(split), batch["users"]
        order = users.input_id.numpy()
        assert np.array_equal(np.sort(order), np.arange(len(part)))
        assert np.array_equal(users.y.numpy(), part.target[order])
        assert np.array_equal(users.seed_time.numpy(), part.time[order])
        assert batch["orders"].num_nodes > 0


def test_the_next_item_is_not_read_from_the_seed_itself(db: rdl.Database) -> None:
    task = db.task("PREDICT orders.item_id RANK TOP 5 FOR EACH orders")
    (batch,) = loaders(task.definition, db.snapshot, task.labels, fanouts=(4, 4, 4), batch_size=100_000)["val"]
    part, orders = task.labels.of("val"), batch["orders"]
    owner = part.owners()
    assert torch.equal(orders.y_batch, torch.from_numpy(owner))
    assert np.array_equal(orders.y, part.target)
    item = batch["items", "rev_item_id", "orders"].edge_index
    assert item.size(1) > 0
    assert not (item[1] < orders.batch_size).any(), "no seed is led to its own item"
    user = batch["users", "rev_user_id", "orders"].edge_index
    assert (user[1] < orders.batch_size).sum() == orders.batch_size, "but to its user"
    others = orders.n_id[orders.batch_size :]
    time = torch.from_numpy(db.snapshot.time("orders")[others.numpy()])
    assert (time < orders.seed_time[orders.batch[orders.batch_size :]]).all()


def test_a_hidden_key_is_no_edge(db: rdl.Database) -> None:
    query = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id EVERY 90 days HIDE orders.item_id"
    task = db.task(query)
    (batch,) = loaders(task.definition, db.snapshot, task.labels, batch_size=100_000)["val"]
    assert ("orders", "item_id", "items") not in batch.edge_types
    assert ("orders", "user_id", "users") in batch.edge_types


def test_a_key_that_is_known_later_is_an_edge_from_then_on(db: rdl.Database, tmp_path: Path) -> None:
    (tmp_path / "late.toml").write_text('[tables.orders]\ncolumns.item_id = { known_at = "delivered_at" }\n')
    for schema in (None, tmp_path / "late.toml"):
        late = rdl.connect(db.url, schema=schema)
        task = late.task("PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id EVERY 90 days")
        (batch,) = loaders(task.definition, late.snapshot, task.labels, batch_size=100_000)["val"]
        orders, (_, order) = batch["orders"], batch["items", "rev_item_id", "orders"].edge_index
        delivered = micros(late.snapshot.arrow("orders")["delivered_at"])[orders.n_id.numpy()]
        known = delivered <= batch["users"].seed_time[orders.batch].numpy()
        expected = known if schema else np.ones_like(known)
        assert np.array_equal(order.unique(), np.flatnonzero(expected))
        assert 0 < known.sum() < len(known)


def test_what_is_known_at_the_very_time_of_a_row_level_seed_is_masked(tmp_path: Path) -> None:
    """As other rows must be strictly older than such a seed, so must the time be at which a column became known."""
    path = tmp_path / "shop.duckdb"
    build_shop(path, scale=0.05)
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE orders SET delivered_at = created_at")
    (tmp_path / "shop.toml").write_text('[tables.orders]\ncolumns.status = { known_at = "delivered_at" }\n')
    db = rdl.connect(f"duckdb:///{path}", schema=tmp_path / "shop.toml")
    task = db.task("PREDICT orders.amount FOR EACH orders")
    (batch,) = loaders(task.definition, db.snapshot, task.labels, batch_size=100_000)["val"]
    orders = batch["orders"]
    codes = orders.tf.feat_dict[stype.categorical][:, orders.tf.col_names_dict[stype.categorical].index("status")]
    assert (codes[: orders.batch_size] == MASKED).all()
    older = torch.from_numpy(db.snapshot.time("orders")[orders.n_id.numpy()]) < orders.seed_time[orders.batch]
    assert older.any()
    assert not (codes[older] == MASKED).any()


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"batchsize": 3}, "unknown option 'batchsize' of loaders", "did you mean 'batch_size'?"),
        ({"channels": 8}, "unknown option 'channels' of loaders", "there is regime, fanouts"),
        ({"batch_size": 0}, "batch_size is 0: it must be a whole number, 1 or more", None),
        ({"batch_size": "many"}, "batch_size is 'many'", None),
        ({"workers": -1}, "workers is -1: it must be a whole number, 0 or more", None),
        ({"context": "thread"}, "unknown way to start processes 'thread'", "use fork"),
        ({"regime": "foo"}, "unknown regime 'foo'", "use seed-time or frozen."),
        ({"sampling": "best"}, "unknown sampling 'best'", "use recent or uniform."),
        ({"seed": "one"}, "seed is 'one'", None),
        ({"fanouts": ()}, "fanouts are (): there must be at least one hop", "give a list"),
        ({"fanouts": 3}, "fanouts are 3", "give a list"),
        ({"fanouts": (3, -1)}, "the fanout of hop 2 is -1: it must be a whole number, 1 or more", None),
        ({"fanouts": (0.5,)}, "the fanout of hop 1 is 0.5", None),
        ({"text_embedder": "word2vec"}, "unknown text embedder 'word2vec'", "use one of"),
    ],
)
def test_options_that_cannot_be_used_are_told(
    db: rdl.Database, options: dict[str, object], message: str, hint: str | None
) -> None:
    task = db.task("PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id EVERY 90 days")
    with pytest.raises(ConfigError) as raised:
        task.loaders(**options)
    assert message in raised.value.message
    assert hint is None or hint in str(raised.value.hint)


def test_options_are_taken_as_they_are_for_training(db: rdl.Database) -> None:
    task = db.task("PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id EVERY 90 days")
    lengths = lambda texts: [[float(len(text)), 1.0] for text in texts]  # noqa: E731
    found = task.loaders(fanouts=[2], sampling="uniform", regime="frozen", batch_size=7, text_embedder=lengths)
    val = found["val"]
    assert len(next(iter(val))["users"].y) == 7
    assert val.batches.sampler.fanouts == (2,)
    assert val.batches.sampler.strategy is Sampling.uniform
    assert (val.batches.seeds.cut <= task.labels.val_cut).all()
    assert val.statistics["orders"].text_channels == 2
    assert set(val.statistics) == set(db.schema.tables)
