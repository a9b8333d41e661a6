"""A relation's links against its keys."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl import links
from rdl.links import read_link, write_link


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
