"""Models of PyG's and torch-frame's own parts on our batches: they compute what ours do, and nothing breaks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_frame import NAStrategy, TensorFrame, stype
from torch_frame.nn import (
    EmbeddingEncoder,
    LinearEmbeddingEncoder,
    LinearEncoder,
    MultiCategoricalEmbeddingEncoder,
    StypeWiseFeatureEncoder,
)
from torch_geometric.data import HeteroData
from torch_geometric.nn import HeteroConv, SAGEConv

import rdl
from rdl import features
from rdl.clock import NEVER, US_PER_DAY
from rdl.columns import MASKED
from rdl.config import Sampling
from rdl.encoders import CyclicEncoder, TableEncoder
from rdl.features import Statistics, seasons
from rdl.graph import TemporalGraph, edge_name
from rdl.heads import EnsembleHead
from rdl.loader import HeteroLoader, hetero_data
from rdl.model import Parts, RelationalModel
from rdl.query.task import TaskTable
from rdl.sampler import EdgeType, Sampler, Seeds, Subgraph
from rdl.schema import Relation
from rdl.shop import build_shop
from rdl.snapshot import Snapshot
from tests.databases import random_database
from tests.features.tables import draw, snapshot_of
from tests.test_sampler import shop, some_seeds

CHANNELS = 16


class PlainSAGE(nn.Module):
    """GraphSAGE with means as the formula says it, over our subgraph: h′ᵥ = ReLU(Σ over edge types e that lead to v of
    W_e · mean({hᵤ : u → v of type e}) + b_e + R_e · hᵥ), with the weights of PyG's layers."""

    def __init__(self, layers: Mapping[EdgeType, SAGEConv]) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, nodes: Mapping[str, Tensor], subgraph: Subgraph, hops: int) -> dict[str, Tensor]:
        kept = {table: own[: subgraph.num_nodes[table][hops]] for table, own in nodes.items()}
        updated = {type_.target: torch.zeros(()) for type_ in self.layers if type_.target in kept}
        for type_, layer in self.layers.items():
            if type_.target not in kept:
                continue
            own = kept[type_.target]
            total, number = torch.zeros(len(own), CHANNELS), torch.zeros(len(own), 1)
            if type_ in subgraph.edges:
                source, target = subgraph.edges[type_][:, : subgraph.num_edges[type_][hops]]
                total.index_add_(0, target, nodes[type_.source][source])
                number.index_add_(0, target, torch.ones(len(target), 1))
            mean = total / number.clamp(min=1)
            sent = mean @ layer.lin_l.weight.T + layer.lin_l.bias + own @ layer.lin_r.weight.T
            updated[type_.target] = updated[type_.target] + sent
        return kept | {table: own.relu() for table, own in updated.items()}


class PygModel(nn.Module):
    """The same model of PyG's own layers on the whole of a batch: ``HeteroConv`` of ``SAGEConv``."""

    def __init__(self, encoders: Mapping[str, TableEncoder], layers: list[HeteroConv], ours: RelationalModel) -> None:
        super().__init__()
        self.encoders, self.layers, self.norm, self.head = encoders, layers, ours.norm, ours.head

    def forward(self, batch: HeteroData) -> Tensor:
        (entity,) = (table for table in batch.node_types if "seed_time" in batch[table])
        size, x = batch[entity].batch_size, {}
        for table, encoder in self.encoders.items():
            nodes = batch[table]
            gaps = (nodes.age_days.double() * US_PER_DAY).nan_to_num(0).round().long()
            columns = encoder.columns(with_masked(nodes), nodes.num_nodes)
            x[table] = encoder(columns, gaps, ~nodes.age_days.isnan())
        first = x[entity][:size]
        for layer in self.layers:
            x = {**x, **{table: sent.relu() for table, sent in layer(x, batch.edge_index_dict).items()}}
        read = self.norm(torch.cat([x[entity][:size], first, seasons(batch[entity].seed_time)], dim=1))
        return self.head(read, read)


def with_masked(nodes: HeteroData) -> TensorFrame | None:
    """The columns as our own encoders read them: numbers and times that ``masked`` says are masked are infinite."""
    if "tf" not in nodes:
        return None
    feats = {kind: feat.clone() for kind, feat in nodes.tf.feat_dict.items()}
    for kind in (stype.numerical, stype.timestamp):
        for number, name in enumerate(nodes.tf.col_names_dict.get(kind, [])):
            if name in nodes.masked_names:
                feats[kind][nodes.masked[:, nodes.masked_names.index(name)], number] = torch.inf
    return TensorFrame(feats, nodes.tf.col_names_dict)


def both_models(
    fitted: Mapping[str, Statistics], relations: tuple[Relation, ...], layers: int
) -> tuple[PygModel, RelationalModel]:
    """One model twice, with the same random weights: of PyG's layers, and of the formula in our own step."""
    types = [EdgeType(relation, to_parent) for relation in relations for to_parent in (True, False)]
    encoders = {table: TableEncoder(known, CHANNELS) for table, known in fitted.items()}
    read, theirs, ours = 2 * CHANNELS + 6, [], []
    for _ in range(layers):
        convs = {type_: SAGEConv((CHANNELS, CHANNELS), CHANNELS, aggr="mean") for type_ in types}
        named = {
            (type_.source, edge_name(type_.relation, relations, back=not type_.to_parent), type_.target): conv
            for type_, conv in convs.items()
        }
        theirs.append(HeteroConv(named, aggr="sum"))
        ours.append(PlainSAGE(convs))
    model = RelationalModel(Parts(encoders, ours, EnsembleHead(read, read, CHANNELS, 2), read))
    return PygModel(encoders, theirs, model).eval(), model.eval()


def logits(snapshot: Snapshot, seeds: Seeds, strategy: Sampling) -> tuple[Tensor, Tensor]:
    fitted = features.fit(snapshot, 8 * US_PER_DAY)
    packed = features.pack(snapshot, fitted)
    sampler = Sampler(TemporalGraph.build(snapshot), (5, 3, 2), strategy=strategy)
    table = TaskTable(*(part.numpy() for part in (seeds.row, seeds.time, seeds.time * 0, seeds.time)), NEVER, NEVER)
    theirs, ours = both_models(fitted, snapshot.schema.relations, layers=3)
    (batch,) = HeteroLoader(fitted, packed, sampler, seeds, table)
    with torch.no_grad():
        return theirs(batch), ours(packed, sampler(seeds))


@pytest.mark.parametrize("strategy", Sampling)
def test_pygs_sage_on_our_batches_has_the_logits_of_the_formula_in_our_step(tmp_path: Path, strategy: Sampling) -> None:
    """One GraphSAGE of three layers, every weight of it random and none of them zero, the same seeds, computed twice.

    On one side PyG's own ``HeteroConv`` of ``SAGEConv`` (means, with bias and the node's own weight) on the
    ``HeteroData`` of our loader: every layer on all nodes, columns of ``tf`` encoded node by node. On the other our own
    step, :class:`RelationalModel` on the sampler's subgraph: alike rows encoded once, each layer on the nodes that
    later ones need alone, and the same formula written with sums. Encoders, head and weights are the same objects. So
    what agrees are the batch and the subgraph, and the step's savings with a model that makes none.
    """
    torch.manual_seed(0)
    rng, spread, time = np.random.default_rng(5), [], torch.arange(40) // 2 * US_PER_DAY
    snapshot = shop(np.random.default_rng(4), users=5, items=6, orders=150, messages=60).snapshot(tmp_path / "shop")
    cases = [(snapshot, Seeds("users", torch.arange(40) % 5, time, time))]
    for number in range(30):
        snapshot = random_database(rng).snapshot(tmp_path / str(number))
        seeds = some_seeds(snapshot, rng, strictly=number % 2 == 0, count=12)
        if seeds is not None and snapshot.schema.relations:
            cases.append((snapshot, seeds))
    for snapshot, seeds in cases:
        theirs, ours = logits(snapshot, seeds, strategy)
        assert torch.allclose(theirs, ours, atol=1e-5)
        spread.append(float(ours.std()))
    assert len(spread) > 10
    assert np.median(spread) > 0.01


def is_masked(kind: stype, cells: Any) -> Tensor:
    """Which cells of a column of our own features are masked, bool ``[N]``."""
    if kind is stype.multicategorical:
        lengths = cells.offset.diff()
        return torch.zeros(len(lengths), dtype=torch.bool).index_fill_(
            0, torch.repeat_interleave(lengths)[cells.values == MASKED], True
        )
    if kind is stype.categorical:
        return cells == MASKED
    values = cells.values if kind is stype.embedding else cells
    return values.reshape(len(values), -1)[:, 0].isinf()


@given(st.integers(0, 10**7), st.booleans())
@settings(max_examples=30, deadline=None)
def test_masked_says_what_our_own_encoders_see_as_masked(number: int, strictly: bool) -> None:
    """``tf`` is our own features, but for masked cells, which ``masked`` tells, and vectors that are NULL."""
    rng = np.random.default_rng(number)
    with TemporaryDirectory() as folder:
        rows = draw(rng, rng.integers(-1, 9, 60), rng.integers(-1, 9, 60))
        snapshot = snapshot_of(rows, Path(folder) / "s")
        packed = features.pack(snapshot, features.fit(snapshot, NEVER - 1))
        time = torch.from_numpy(snapshot.time("events").copy())
        known = torch.nonzero(time < NEVER)[:, 0]
        seeds, sampler = (
            Seeds("events", known, time[known], time[known], strictly),
            Sampler(TemporalGraph.build(snapshot), (2,)),
        )
        labels = ["number", "word", "late_word"] if strictly else []
        nodes = hetero_data(sampler(seeds), packed, sampler, {"events": labels})["events"]
        ours = packed["events"].frame(known, packed["events"].unread(known, seeds.time, seeds.late_cut, labels))
        assert ours is not None
        assert nodes.tf.col_names_dict == ours.col_names_dict
        for kind, names in ours.col_names_dict.items():
            for place, name in enumerate(names):
                cells, found = ours.feat_dict[kind][:, place], nodes.tf.feat_dict[kind][:, place]
                masked = is_masked(kind, cells)
                if name in nodes.masked_names:
                    assert torch.equal(nodes.masked[:, nodes.masked_names.index(name)], masked)
                else:
                    assert not masked.any()
                if kind is stype.embedding:
                    assert torch.equal(found.values, cells.values.nan_to_num(0, 0, 0))
                elif kind in (stype.categorical, stype.multicategorical):
                    assert torch.equal(*(c if kind is stype.categorical else c.values for c in (found, cells)))
                else:
                    assert torch.equal(found.isnan(), ~cells.isfinite())
                    assert torch.equal(found.nan_to_num(0), cells.nan_to_num(0, 0, 0))


def stock_encoder(fitted: Statistics) -> StypeWiseFeatureEncoder:
    """torch-frame's own encoders of a table's columns, but for times."""
    return StypeWiseFeatureEncoder(
        CHANNELS,
        fitted.stats_list(),
        fitted.columns(),
        {
            stype.numerical: LinearEncoder(na_strategy=NAStrategy.MEAN),
            stype.categorical: EmbeddingEncoder(),
            stype.multicategorical: MultiCategoricalEmbeddingEncoder(),
            stype.embedding: LinearEmbeddingEncoder(),
            stype.timestamp: CyclicEncoder(),
        },
    )


@pytest.mark.parametrize("count", [0, 1, 60])
def test_torch_frames_own_encoders_read_every_kind_of_column(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(2)
    snapshot = snapshot_of(draw(rng, rng.integers(0, 9, 60), rng.integers(0, 9, 60)), tmp_path / "s")
    fitted = features.fit(snapshot, NEVER - 1)
    sampler, rows = Sampler(TemporalGraph.build(snapshot), (2,)), torch.arange(count)
    time = torch.from_numpy(snapshot.time("events").copy())[:count]
    batch = hetero_data(sampler(Seeds("events", rows, time, time)), features.pack(snapshot, fitted), sampler)
    encoder = stock_encoder(fitted["events"])
    assert set(encoder.encoder_dict) == {kind.value for kind in batch["events"].tf.feat_dict}
    assert len(encoder.encoder_dict) == 5
    encoded, names = encoder(batch["events"].tf)
    assert encoded.shape == (count, len(names), CHANNELS)
    encoded.sum().backward()
    assert encoded.isfinite().all()
    assert all(one.grad.isfinite().all() for one in encoder.parameters())


class StockModel(nn.Module):
    """What a user of PyG and torch-frame writes: their encoders by table, their layers, a linear head."""

    def __init__(self, loader: HeteroLoader) -> None:
        super().__init__()
        data = next(iter(loader))
        self.names = {name: str(number) for number, name in enumerate(data.node_types)}
        self.encoders = nn.ModuleDict(
            {self.names[name]: stock_encoder(fitted) for name, fitted in loader.statistics.items() if fitted.columns()}
        )
        self.ages = nn.ModuleDict(
            {self.names[name]: nn.Linear(1 + len(fitted.times), CHANNELS) for name, fitted in loader.statistics.items()}
        )
        self.layers = nn.ModuleList(
            HeteroConv({edge: SAGEConv((CHANNELS, CHANNELS), CHANNELS) for edge in data.edge_types}) for _ in range(2)
        )
        self.head = nn.Linear(CHANNELS, 1)

    def forward(self, batch: HeteroData, entity: str) -> Tensor:
        x = {}
        for name, key in self.names.items():
            x[name] = self.ages[key](batch[name].age_days.nan_to_num(0) / 365)
            if key in self.encoders:
                x[name] = x[name] + self.encoders[key](batch[name].tf)[0].mean(dim=1)
        for layer in self.layers:
            x = {**x, **{name: sent.relu() for name, sent in layer(x, batch.edge_index_dict).items()}}
        return self.head(x[entity][: batch[entity].batch_size])[:, 0]


def train_one_pass(loader: HeteroLoader, entity: str) -> Iterator[tuple[HeteroData, Tensor]]:
    """A step on each batch, with its logits; every logit and every gradient is finite."""
    torch.manual_seed(0)
    model = StockModel(loader)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    for batch in loader:
        optimiser.zero_grad()
        found = model(batch, entity)
        nn.functional.binary_cross_entropy_with_logits(found, batch[entity].y).backward()
        assert found.isfinite().all()
        assert all(one.grad.isfinite().all() for one in model.parameters() if one.grad is not None)
        optimiser.step()
        yield batch, found.detach()


def test_torch_frames_own_encoders_read_the_shop(tmp_path: Path) -> None:
    build_shop(tmp_path / "shop.duckdb", scale=0.05)
    db = rdl.connect(f"duckdb:///{tmp_path / 'shop.duckdb'}")
    task = db.task("PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id WHERE COUNT(orders.*, -90, 0, days) > 0")
    masked = 0
    for loader in task.loaders(fanouts=(8, 4)).values():
        for batch, _ in train_one_pass(loader, "users"):
            masked += int(batch["orders"].masked.sum())
    assert masked > 0


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("mind_5k", "PREDICT impression_items.clicked = 1 FOR EACH impression_items"),
        ("ml_100k", "PREDICT ratings.rating >= 4 FOR EACH ratings"),
    ],
)
def test_torch_frames_own_encoders_read_real_databases(shared_data: Path, name: str, query: str) -> None:
    root = Path(__file__).resolve().parents[1]
    db = rdl.connect(f"sqlite:///{shared_data / name}.sqlite", schema=root / "schemas" / f"{name}.toml")
    task = db.task(query)
    entity, seen = task.definition.entity, 0
    for loader in task.loaders(fanouts=(4, 2), batch_size=4096).values():
        for batch, _ in train_one_pass(loader, entity):
            assert batch[entity].masked[: batch[entity].batch_size].any()
            seen += batch[entity].batch_size
    assert seen == len(task.labels)
