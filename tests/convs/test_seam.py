"""What every layer of message passing must do, and what each says it computes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from rdl import features
from rdl.clock import US_PER_DAY
from rdl.convs import HeteroAttention, HeteroSAGE, RelationalTransformer, RelGNN
from rdl.convs.attention import ChildAttention, age_features
from rdl.graph import TemporalGraph
from rdl.model import build
from rdl.sampler import EdgeType, Sampler, Seeds, Subgraph
from rdl.snapshot import Snapshot
from tests.test_sampler import shop

CHANNELS, HOPS = 8, 2
LAYERS = [HeteroSAGE, HeteroAttention, RelGNN, RelationalTransformer]
every_layer = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    rng = np.random.default_rng(1)
    return shop(rng, users=6, items=4, orders=90, messages=40).snapshot(tmp_path_factory.mktemp("shop") / "s")


def sampled(snapshot: Snapshot, users: list[int], fanouts: tuple[int, ...] = (4, 3)) -> Subgraph:
    time = torch.full((len(users),), 15 * US_PER_DAY)
    return Sampler(TemporalGraph.build(snapshot), fanouts)(Seeds("users", torch.tensor(users).long(), time, time))


def made(layer: Callable[..., torch.nn.Module], snapshot: Snapshot, **settings: object) -> torch.nn.Module:
    """The layer with weights none of which is zero, in evaluation mode."""
    types = [EdgeType(r, to_parent) for r in snapshot.schema.relations for to_parent in (True, False)]
    torch.manual_seed(0)
    conv = layer(list(snapshot.schema.tables), types, CHANNELS, dropout=0.3, **settings).eval()
    with torch.no_grad():
        for weights in conv.parameters():
            weights.add_(0.1 * torch.rand_like(weights))
    return conv


def vectors(subgraph: Subgraph) -> dict[str, Tensor]:
    """A vector a node that says what row it is."""
    return {
        table: torch.sin(
            (rows.double().unsqueeze(1) + 1 + len(table)) * torch.arange(1, CHANNELS + 1, dtype=torch.float64)
        ).float()
        for table, rows in subgraph.rows.items()
    }


def shuffled(subgraph: Subgraph) -> tuple[Subgraph, dict[str, Tensor]]:
    """The nodes of each hop but the seeds in another order, edges still by target; and where each node was."""
    generator, was = torch.Generator().manual_seed(3), {}
    for table, ends in subgraph.num_nodes.items():
        blocks = [
            begin + (torch.randperm(end - begin, generator=generator) if hop else torch.arange(end - begin))
            for hop, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
        ]
        was[table] = torch.cat(blocks)
    now = {table: torch.argsort(place) for table, place in was.items()}
    edges = {}
    for type_, (source, target) in subgraph.edges.items():
        moved = torch.stack([now[type_.source][source], now[type_.target][target]])
        edges[type_] = moved[:, torch.argsort(moved[1], stable=True)]
    each = (subgraph.rows, subgraph.seed, subgraph.age_days)
    rows, seed, age = ({table: part[was[table]] for table, part in parts.items()} for parts in each)
    degrees = {type_: degree[was[type_.target]] for type_, degree in subgraph.degrees.items()}
    return replace(subgraph, rows=rows, seed=seed, age_days=age, edges=edges, degrees=degrees), was


@every_layer
def test_a_layer_keeps_the_seam(layer: Callable[..., torch.nn.Module], snapshot: Snapshot) -> None:
    subgraph, conv = sampled(snapshot, [0, 1, 2, 3]), made(layer, snapshot)
    given = vectors(subgraph)
    before, graph_before = copy.deepcopy(given), copy.deepcopy(subgraph)
    with torch.no_grad():
        found = conv(given, subgraph, HOPS - 1)
        last = conv(found, subgraph, 0)
        # Shape: the nodes that later layers need.
        assert {t: len(own) for t, own in found.items()} == {t: n[1] for t, n in subgraph.num_nodes.items() if n[1]}
        assert {table: own.shape for table, own in last.items()} == {"users": (4, CHANNELS)}
        assert all(own.isfinite().all() for own in found.values())
        # No mutation.
        assert all(torch.equal(given[table], before[table]) for table in before)
        for name in ("rows", "seed", "edges", "degrees", "age_days"):
            these, those = getattr(subgraph, name), getattr(graph_before, name)
            assert all(torch.equal(these[key], those[key]) for key in those), name
        # The same again, and after a round trip of the state.
        again = made(layer, snapshot)
        again.load_state_dict({name: weights.clone() for name, weights in conv.state_dict().items()})
        assert torch.equal(again(again(given, subgraph, 1), subgraph, 0)["users"], last["users"])
        # Another order of the nodes and edges.
        other, was = shuffled(subgraph)
        mixed = conv({table: own[was[table]] for table, own in given.items()}, other, 1)
        for table, own in found.items():
            assert torch.allclose(mixed[table], own[was[table][: len(own)]], atol=1e-5), table
        # Another order of the tables.
        turned = conv(dict(reversed(given.items())), subgraph, 1)
        assert all(torch.equal(turned[table], own) for table, own in found.items())
        # Seed by seed.
        alone = sampled(snapshot, [2])
        single = conv(conv(vectors(alone), alone, 1), alone, 0)
        assert torch.allclose(single["users"][0], last["users"][2], atol=1e-5)


@every_layer
def test_mixed_precision(layer: Callable[..., torch.nn.Module], snapshot: Snapshot) -> None:
    subgraph, conv = sampled(snapshot, [0, 1, 2, 3]), made(layer, snapshot).train()
    given = vectors(subgraph)
    with torch.autocast("cpu", torch.bfloat16):
        found = conv(conv(given, subgraph, 1), subgraph, 0)["users"]
    found.float().sum().backward()
    assert found.isfinite().all()
    assert all(weights.grad is None or weights.grad.isfinite().all() for weights in conv.parameters())


@every_layer
def test_empty_input(layer: Callable[..., torch.nn.Module], snapshot: Snapshot, tmp_path: Path) -> None:
    conv, nobody = made(layer, snapshot), sampled(snapshot, [])
    assert not any(len(own) for own in conv(vectors(nobody), nobody, 1).values())
    bare = shop(np.random.default_rng(0), users=3, items=0, orders=0, messages=0).snapshot(tmp_path / "s")
    lonely = sampled(bare, [0, 1, 2])
    found = conv(vectors(lonely), lonely, 1)
    assert found["users"].shape == (3, CHANNELS)
    assert found["users"].isfinite().all()


@every_layer
def test_every_weight_is_learnt(layer: Callable[..., torch.nn.Module], snapshot: Snapshot) -> None:
    subgraph, conv = sampled(snapshot, [0, 1, 2, 3, 4, 5], (4, 3, 2, 2)), made(layer, snapshot)
    given = vectors(subgraph)
    loss = sum(own.square().sum() for own in conv(given, subgraph, 3).values())
    loss.backward()
    still = [name for name, weights in conv.named_parameters() if weights.grad is None or not weights.grad.any()]
    # A softmax is the same whatever is added to all scores, and so is a decay among equally old children.
    assert [name for name in still if name != "key.bias" and not name.endswith("log_constant")] == []


@every_layer
def test_the_future_changes_no_output(layer: Callable[..., torch.nn.Module], tmp_path: Path) -> None:
    reader = shop(np.random.default_rng(3), users=5, items=4, orders=80, messages=30)
    snapshot = reader.snapshot(tmp_path / "whole")
    cut = 11
    for name, time in {"orders": "at", "messages": "at", "items": "listed_at"}.items():
        known = pa.compute.less_equal(reader.tables[name][time].cast(pa.int64()), cut * US_PER_DAY)
        reader.tables[name] = reader.tables[name].filter(known)
    past = reader.snapshot(tmp_path / "past")
    statistics = features.fit(past, cut * US_PER_DAY)

    def outputs(of: Snapshot, day: int) -> Tensor:
        time = torch.full((5,), day * US_PER_DAY)
        torch.manual_seed(0)
        model = build(statistics, snapshot.schema.relations, channels=16, layers=2, dropout=0.3, members=2, conv=layer)
        with torch.no_grad():
            subgraph = Sampler(TemporalGraph.build(of), (4, 3))(Seeds("users", torch.arange(5), time, time))
            return model(features.pack(of, statistics), subgraph)  # with dropout, and so the same random numbers

    assert torch.equal(outputs(snapshot, cut), outputs(past, cut))
    assert not torch.equal(outputs(snapshot, cut + 1), outputs(past, cut + 1))


def test_attention_is_that_of_a_loop() -> None:
    torch.manual_seed(0)
    attention = ChildAttention(CHANNELS, 2)
    source, target, age = torch.randn(5, CHANNELS), torch.randn(3, CHANNELS), torch.tensor([0.0, 3.0, 400.0, 1.0, 9.0])
    edges, degree = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([7, 0, 2])
    with torch.no_grad():
        found = attention(source, target, age, edges, degree)
        for v in range(3):
            heads = []
            for head in range(2):
                part, own = slice(4 * head, 4 * head + 4), (edges == v).nonzero().flatten()
                read = attention.query(target[v]) + attention.key(source[own])
                read = torch.nn.functional.leaky_relu(read + attention.age(age_features(age[own])), 0.2)
                weights = torch.softmax(read[:, part] @ attention.score[head], 0)
                heads.append(weights @ attention.value(source[own])[:, part])
            expected = attention.out(torch.cat([*heads, degree[v : v + 1].log1p()]))
            assert torch.allclose(found[v], expected, atol=1e-5)


@pytest.mark.parametrize(("layer", "at_once"), [(HeteroAttention, False), (RelGNN, True)])
def test_a_bridge_passes_a_parent_on_in_one_step(
    layer: Callable[..., torch.nn.Module], at_once: bool, snapshot: Snapshot
) -> None:
    """From the item of an order to the user who placed it: two hops."""
    subgraph, conv = sampled(snapshot, [0, 1, 2, 3]), made(layer, snapshot)
    given = {table: own.requires_grad_() for table, own in vectors(subgraph).items()}
    conv(given, subgraph, 1)["users"][:4].sum().backward()
    (orders,) = {type_ for type_ in subgraph.edges if (type_.source, type_.to_parent) == ("orders", True)}
    (items,) = {type_ for type_ in subgraph.edges if (type_.source, type_.to_parent) == ("items", False)}
    bought = subgraph.edges[items][0, : subgraph.num_edges[items][1]]
    assert len(bought)
    assert len(subgraph.edges[orders].T)
    grad = given["items"].grad
    assert (grad is not None and bool(grad[bought].abs().sum(1).gt(0).all())) == at_once


def test_a_transformer_attends_as_a_loop_does(snapshot: Snapshot) -> None:
    subgraph = sampled(snapshot, [0, 1, 2, 3])
    conv, few = made(RelationalTransformer, snapshot), made(RelationalTransformer, snapshot, tokens=5)
    given, tables = vectors(subgraph), list(snapshot.schema.tables)
    entries = []  # (seed, hop, age, table, node) of every token
    for number, table in enumerate(name for name in tables if name in given):
        for node, (seed, age) in enumerate(zip(subgraph.seed[table], subgraph.age_days[table], strict=True)):
            hop = sum(node >= end for end in subgraph.num_nodes[table])
            entries.append((int(seed), hop, float(age), number, node, table))
    with torch.no_grad():
        for layer, most in ((conv, 300), (few, 5)):
            found = layer(given, subgraph, 1)
            x = {}
            for _, hop, age, _, node, table in entries:
                h = layer.norm(given[table][node])
                told = layer.table.weight[tables.index(table)] + layer.hop.weight[hop]
                told = told + layer.age(age_features(torch.tensor([age])))[0]
                for type_, edges in subgraph.edges.items():
                    if type_.source == table and node in edges[0].tolist():
                        target = int(edges[1, edges[0].tolist().index(node)])
                        told = told + layer.structure[layer._types[type_]](layer.norm(given[type_.target][target]))
                x[table, node] = h + told
            for seed in range(4):
                own = sorted(entry for entry in entries if entry[0] == seed)[:most]
                keys = torch.stack([x[table, node] for *_, node, table in own])
                for place, (_, hop, _, _, node, table) in enumerate(own):
                    if hop > 1:
                        continue
                    heads = []
                    for part in torch.arange(CHANNELS).split(CHANNELS // layer.heads):
                        scores = layer.key(keys)[:, part] @ layer.query(keys[place])[part] / len(part) ** 0.5
                        heads.append(torch.softmax(scores, 0) @ layer.value(keys)[:, part])
                    h = given[table][node] + layer.out(torch.cat(heads))
                    expected = h + layer.second(layer.hidden(layer.second_norm(h)))
                    assert torch.allclose(found[table][node], expected, atol=1e-5)
