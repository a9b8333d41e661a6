"""Children that end, counted and found, against a walk through all of them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.clock import NEVER
from rdl.endings import bisect, read_endings
from rdl.links import read_link, write_link, write_link_endings


@given(
    st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 6)), max_size=80),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 80), st.integers(-1, 7)), min_size=1, max_size=20),
)
@settings(max_examples=150, deadline=None)
def test_children_not_over_are_those_of_a_walk(
    children: list[tuple[int, int]], asked: list[tuple[int, int, int]]
) -> None:
    parent = np.array([p for p, _ in children], np.int32)
    until = np.array([NEVER if u == 6 else u for _, u in children], np.int64)
    parents, limit, cut = (torch.tensor(values) for values in zip(*asked, strict=True))
    with TemporaryDirectory() as made:
        folder = Path(made)
        write_link(folder, 0, parent, 5)
        link = read_link(folder, 0, torch.from_numpy(parent), 5)
        write_link_endings(folder, 0, link, until)
        ended = type(link)(link.parent, link.children, link.indptr, read_endings(folder, 0, len(link.children)))
        visible = ended.visible(parents, limit, cut)
        for number, (p, below, at) in enumerate(asked):
            walked = [c for c in range(min(below, len(parent))) if parent[c] == p and until[c] > at]
            assert int(visible.count[number]) == len(walked)
            rank = torch.arange(len(walked))
            assert visible.newest(torch.full_like(rank, number), rank).tolist() == walked[::-1]


def test_many_children_need_many_words(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parent, until = np.zeros(5_000, np.int32), rng.integers(0, 100, 5_000)
    write_link(tmp_path, 0, parent, 1)
    link = read_link(tmp_path, 0, torch.from_numpy(parent), 1)
    write_link_endings(tmp_path, 0, link, until)
    endings = read_endings(tmp_path, 0, 5_000)
    assert endings.bits.shape == (13, 5_000 // 64 + 2)
    cut, known = torch.arange(-1, 101), torch.arange(102) * 48
    _, count = endings.count(torch.zeros(102, dtype=torch.int64), torch.full((102,), 5_000), known, cut)
    assert count.tolist() == [int((until[:k] > c).sum()) for k, c in zip(known.tolist(), cut.tolist(), strict=True)]


def test_endings_of_another_graph_are_refused(tmp_path: Path) -> None:
    parent = np.zeros(100, np.int32)
    write_link(tmp_path, 0, parent, 1)
    link = read_link(tmp_path, 0, torch.from_numpy(parent), 1)
    write_link_endings(tmp_path, 0, link, np.arange(100))
    with pytest.raises(ValueError, match="another graph"):
        read_endings(tmp_path, 0, 101)


@given(st.lists(st.integers(0, 20), max_size=40), st.data())
def test_bisection_is_that_of_numpy(values: list[int], data: st.DataObject) -> None:
    ascending = np.sort(np.array(values, np.int64))
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    limits = torch.arange(-1, 22)
    found = bisect(torch.from_numpy(ascending), torch.full_like(limits, start), torch.full_like(limits, stop), limits)
    assert found.tolist() == (start + np.searchsorted(ascending[start:stop], limits.numpy())).tolist()
