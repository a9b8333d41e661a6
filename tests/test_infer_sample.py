"""What inference reads, against brute force: uniqueness, look-ups and thinning of tables of any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.infer import sample as module
from rdl.infer.sample import Sample
from tests.memory import MemoryReader
from tests.test_infer import reflect

CELLS = st.none() | st.integers(0, 4)
ROWS = st.lists(st.tuples(CELLS, st.none() | st.sampled_from("abc")), max_size=12)


@pytest.fixture(params=[3, 1_000_000], ids=["pieces", "whole"])
def sampled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sample]:
    monkeypatch.setattr(module, "MOST_ROWS", request.param)

    def make(rows: pa.Table, limit: int = 4) -> Sample:
        tables = {"t": rows}
        return Sample(MemoryReader(tables, rows_a_batch=2), reflect(tables), limit)

    return make


def table(rows: list[tuple[int | None, str | None]]) -> pa.Table:
    return pa.table({
        "a": pa.array([row[0] for row in rows], pa.int64()), "b": pa.array([row[1] for row in rows], pa.string()),
    })  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(rows=ROWS, names=st.sampled_from([("a",), ("b",), ("a", "b")]))
def test_unique(rows: list[tuple[int | None, str | None]], names: tuple[str, ...]) -> None:
    chosen = [tuple(value for name, value in zip("ab", row, strict=True) if name in names) for row in rows]
    expected = len(set(chosen)) == len(chosen) and not any(None in row for row in chosen)
    tables = {"t": table(rows)}
    assert Sample(MemoryReader(tables, rows_a_batch=2), reflect(tables), 4).is_unique("t", names) == expected


def test_unique_in_pieces(sampled: Callable[..., Sample]) -> None:
    numbers, words = list(range(20)), [f"w{n}" for n in range(20)]
    assert sampled(pa.table({"a": numbers, "b": words})).is_unique("t", ["a"])
    assert sampled(pa.table({"a": numbers[::-1], "b": words})).is_unique("t", ["b"])
    assert not sampled(pa.table({"a": [*numbers, 0]})).is_unique("t", ["a"])
    assert not sampled(pa.table({"b": [*words, "w1"]})).is_unique("t", ["b"])
    assert not sampled(pa.table({"b": [*words, None]})).is_unique("t", ["b"])
    pairs = pa.table({"a": [n % 5 for n in numbers], "b": [n // 5 for n in numbers]})
    assert sampled(pairs).is_unique("t", ["a", "b"])
    assert not sampled(pa.concat_tables([pairs, pairs.slice(7, 1)])).is_unique("t", ["a", "b"])


def test_look_up(sampled: Callable[..., Sample]) -> None:
    known = pa.table({"k": [5, 7, None, 9, 7, 11, 2], "v": list("abcdefg")})
    keys = pa.table({"x": [2, 7, 8, None, 5, 7, 11]})
    found = sampled(known).lookup(keys, "t", ["k"], ["v", "k"])
    assert found.column_names == ["v", "k", "#row"]
    assert found["#row"].to_pylist() == [6, 1, None, None, 0, 1, 5]  # the first of two rows
    assert found["v"].to_pylist() == ["g", "b", None, None, "a", "b", "f"]
    assert found["k"].to_pylist() == [2, 7, None, None, 5, 7, 11]
    empty = sampled(known.slice(0, 0)).lookup(keys, "t", ["k"], ["v"])
    assert empty["v"].null_count == empty["#row"].null_count == 7


def test_thinned(sampled: Callable[..., Sample]) -> None:
    rows = pa.table({"a": range(20)})
    small = sampled(rows)
    kept = small.thinned("t", ["a"])["a"].to_pylist()
    assert kept == list(range(0, 20, small.step("t")))
    assert small.step("t") == (1 if module.MOST_ROWS > 20 else 7)
    whole = [value for piece in small.pieces("t", ["a"]) for value in piece["a"].to_pylist()]
    assert whole == list(range(20))
    if module.MOST_ROWS == 3:
        assert max(piece.num_rows for piece in small.pieces("t", ["a"])) == 4  # batches of two


def test_wide_tables_of_many_rows_are_read_once(sampled: Callable[..., Sample]) -> None:
    small = sampled(pa.table({"a": np.arange(50)}), 10)
    for _ in range(3):
        small.rows("t")
        assert small.count("t") == 50
        assert small.is_unique("t", ["a"])
    assert len(small.reader.reads) <= 2 + 1  # the first rows, and the column


def test_of_wide_rows_fewer_are_read(sampled: Callable[..., Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    rows = pa.table({"a": pa.array(range(50)), "b": pa.array([f"{i:040d}" for i in range(50)])})
    sample = sampled(rows, limit=1000)
    assert 0 < sample.rows("t").num_rows < 10
    assert not sample.is_whole("t")
    assert sample.count("t") == 50
