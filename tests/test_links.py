"""A relation's links against its keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl import links
from rdl.clock import NEVER, US_PER_DAY
from rdl.config import Sampling
from rdl.endings import read_endings
from rdl.graph import TemporalGraph
from rdl.links import read_late, read_link, write_late, write_link, write_link_endings
from rdl.sampler import Sampler, Seeds
from tests.memory import MemoryReader


@given(st.lists(st.integers(-1, 6), max_size=60), st.integers(1, 25))
@settings(deadline=None)
def test_children_are_in_order_of_parent_and_time_however_many_are_written_at_once(
    keys: list[int], at_once: int
) -> None:
    parent = np.array(keys, np.int32)
    with TemporaryDirectory() as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(links, "_ROWS_AT_ONCE", at_once)
        write_link(Path(made), 0, parent, 7)
        link = read_link(Path(made), 0, torch.from_numpy(parent), 7)
        assert link.children.dtype == torch.int32
        assert link.indptr.dtype == torch.int64
        for p in range(7):
            assert link.children[link.indptr[p] : link.indptr[p + 1]].tolist() == np.flatnonzero(parent == p).tolist()


CHILDREN = st.tuples(st.integers(-1, 4), st.integers(0, 6), st.integers(0, 6), st.integers(0, 7))


@given(
    st.lists(CHILDREN, max_size=60),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8), st.integers(-1, 8)), min_size=1, max_size=20),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_late_children_are_those_of_a_walk(
    children: list[tuple[int, int, int, int]], asked: list[tuple[int, int, int]], ends: bool
) -> None:
    rows = np.array(sorted(children, key=lambda row: row[1]), np.int64).reshape(-1, 4)
    parent, time, known, until = rows[:, 0].astype(np.int32), *rows[:, 1:].T
    known = np.where(known == 6, NEVER, known)
    with TemporaryDirectory() as made:
        folder = Path(made)
        write_link(folder, 0, parent, 5)
        plain = read_link(folder, 0, torch.from_numpy(parent), 5)
        write_late(folder, plain, time, known)
        link = read_late(folder, plain)
        assert link.late is not None
        assert link.late.known.tolist() == known.tolist()
        if ends:
            write_link_endings(folder, 0, link, until)
            link = replace(link, endings=read_endings(folder, 0, len(link.children)))
        parents, limit, cut = (torch.tensor(values) for values in zip(*asked, strict=True))
        visible = link.visible(parents, limit, cut)
        for number, (p, before, at) in enumerate(asked):
            linked = {r: (max(time[r], known[r]), r) for r in np.flatnonzero(parent == p).tolist()}
            walked = [r for r, (when, _) in linked.items() if when < before and (until[r] > at or not ends)]
            assert int(visible.count[number]) == len(walked)
            rank = torch.arange(len(walked))
            newest = visible.newest(torch.full_like(rank, number), rank).tolist()
            assert newest == sorted(walked, key=linked.__getitem__, reverse=True)


def test_late_links_of_another_graph_are_refused(tmp_path: Path) -> None:
    parent = np.array([0, 1, -1], np.int32)
    write_link(tmp_path, 0, parent, 2)
    link = read_link(tmp_path, 0, torch.from_numpy(parent), 2)
    write_late(tmp_path, link, np.arange(3), np.arange(3))
    for name in ("children", "linked", "known"):
        np.save(tmp_path / f"{name}.npy", np.zeros(4, np.int64))
        with pytest.raises(ValueError, match="another graph"):
            read_late(tmp_path, link)
        write_late(tmp_path, link, np.arange(3), np.arange(3))


@pytest.mark.parametrize(("keys", "parents"), [([], 3), ([-1, -1], 0), ([], 0)])
def test_a_link_without_children_or_parents_is_empty(tmp_path: Path, keys: list[int], parents: int) -> None:
    parent = np.array(keys, np.int32)
    write_link(tmp_path, 3, parent, parents)
    link = read_link(tmp_path, 3, torch.from_numpy(parent), parents)
    assert link.indptr.tolist() == [0] * (parents + 1)
    assert link.children.tolist() == []
    at = torch.arange(parents)
    assert link.visible(at, at, at).count.tolist() == [0] * parents


def test_links_of_other_parents_are_refused(tmp_path: Path) -> None:
    parent = np.array([0, 1], np.int32)
    write_link(tmp_path, 0, parent, 2)
    with pytest.raises(ValueError, match="another graph"):
        read_link(tmp_path, 0, torch.from_numpy(parent), 3)


@pytest.mark.parametrize("strategy", Sampling)
@pytest.mark.parametrize("strictly", [False, True])
def test_a_late_key_is_followed_from_the_time_on_when_it_is_known(
    tmp_path: Path, strategy: Sampling, strictly: bool
) -> None:
    at = pa.array(np.arange(4) * US_PER_DAY).cast(pa.timestamp("us"))
    shipped = pa.array(np.array([5, 2, 2, 0]) * US_PER_DAY, mask=np.arange(4) == 3).cast(pa.timestamp("us"))
    orders = pa.table({"courier_id": [0, 0, 1, 0], "at": at, "shipped_at": shipped})
    snapshot = MemoryReader(
        {"couriers": pa.table({"id": [0, 1]}), "orders": orders},
        keys={"couriers": "id"},
        times={"orders": "at"},
        relations=[("orders", "courier_id", "couriers")],
        known_at={"courier_id": "shipped_at"},
    ).snapshot(tmp_path / "s")
    sampler = Sampler(TemporalGraph.build(snapshot), (9,), strategy=strategy)

    def sampled(table: str, rows: list[int], days: list[int]) -> list[list[int]]:
        time = torch.tensor(days) * US_PER_DAY
        subgraph = sampler(Seeds(table, torch.tensor(rows), time, time, strictly))
        other = {"couriers": "orders", "orders": "couriers"}[table]
        none = torch.empty(0, dtype=torch.int64)
        found, seed = subgraph.rows.get(other, none), subgraph.seed.get(other, none)
        return [found[seed == number].tolist() for number in range(len(rows))]

    later = int(strictly)  # a row-level seed sees what is strictly older
    children = sampled("couriers", [0, 0, 0, 0, 1], [1 + later, 2 + later, 4 + later, 5 + later, 9])
    assert children == [[], [1], [1], [0, 1], [2]], "the one linked last first, and never where nobody says when"
    assert sampled("couriers", [0, 0], [1, 4]) == [[], [1]]
    rows, days = [0, 0, 1, 1, 2, 3], [4 + later, 5 + later, 1 + later, 2 + later, 2 + later, 99]
    assert sampled("orders", rows, days) == [[], [0], [], [0], [1], []]
