"""Sorting files by time in runs and pieces, against sorting in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.sorting import map_table, sort_file

CELLS = st.tuples(
    st.integers(-3, 3),
    st.none() | st.text(max_size=6),
    st.none() | st.lists(st.none() | st.text(max_size=3), max_size=3),
    st.booleans(),
)


def write(path: Path, rows: pa.Table, rows_a_batch: int) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=rows_a_batch)


@settings(deadline=None, max_examples=60)
@given(st.lists(CELLS, max_size=60), st.integers(1, 9), st.integers(1, 600))
def test_sorted_as_in_memory(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[object, ...]], rows_a_batch: int, run_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("sorted") / "0.arrow"
    types = [pa.int64(), pa.string(), pa.list_(pa.string()), pa.bool_()]
    columns = [pa.array([row[i] for row in cells], types[i]) for i in range(4)]
    rows = pa.table([*columns, pa.array(np.arange(len(cells)))], names=list("tslbn"))
    write(path, rows, rows_a_batch)
    times = rows["t"].to_numpy().astype(np.int64)
    order = np.argsort(times, kind="stable")
    assert sort_file(path, times, run_bytes=run_bytes).tolist() == times[order].tolist()
    assert map_table(path).to_pylist() == rows.take(pa.array(order)).to_pylist()
    assert map_table(path).schema == rows.schema
    assert [file.name for file in path.parent.iterdir()] == ["0.arrow"]


@pytest.mark.parametrize("late", [0, 5, 300])
def test_rows_near_their_place_and_far_from_it(tmp_path: Path, late: int) -> None:
    path, rng = tmp_path / "0.arrow", np.random.default_rng(late)
    times = np.arange(1_000) + rng.integers(0, late + 1, 1_000)
    rows = pa.table({"n": np.arange(1_000), "w": [f"word {n % 7}" * (n % 3) for n in range(1_000)]})
    write(path, rows, 64)
    order = np.argsort(times, kind="stable")
    assert np.array_equal(sort_file(path, times, run_bytes=500), times[order])
    assert map_table(path).equals(rows.take(pa.array(order)))
    assert [file.name for file in tmp_path.iterdir()] == ["0.arrow"]


def test_a_file_in_order_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "0.arrow"
    write(path, pa.table({"t": [1, 1, 2]}), 2)
    before = path.stat()
    sort_file(path, np.array([1, 1, 2]))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_huge_cells_are_never_held_at_once(tmp_path: Path) -> None:
    path, rng = tmp_path / "0.arrow", np.random.default_rng(0)
    words = ["x" * 2_000_000 if i % 100 == 0 else "y" for i in range(1_000)]
    write(path, pa.table({"w": words}), 50)
    times = 10 + rng.permutation(1_000)
    times[::100] = np.arange(10)  # the huge ones come to stand together
    normal, watched = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(watched)
    try:
        sort_file(path, times, run_bytes=1_000_000)
    finally:
        pa.set_memory_pool(normal)
    assert watched.max_memory() < 10_000_000
    assert [len(word) for word in map_table(path)["w"].to_pylist()] == [2_000_000] * 10 + [1] * 990
