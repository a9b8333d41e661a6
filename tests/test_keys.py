"""Looking integers up by address against the join that looks up everything."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl import keys
from rdl.keys import Match, join, match

FAR = [-(2**63), 2**63 - 1, -(2**62), 0]
INTEGER = st.none() | st.integers(-6, 6) | st.sampled_from(FAR)


def table(values: list[int | None], dtype: pa.DataType, at: int) -> pa.Table:
    parts = [pa.array(part, dtype) for part in (values[:at], values[at:])]
    return pa.table({"k": pa.chunked_array(parts)})


def same(found: Match, expected: Match) -> None:
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.rows.dtype == expected.rows.dtype == np.int32
    assert (found.filled, found.dangling, found.duplicates) == (
        expected.filled,
        expected.dangling,
        expected.duplicates,
    )


@settings(deadline=None, max_examples=60)
@given(
    st.lists(INTEGER, max_size=14),
    st.lists(st.none() | st.integers(-6, 6), max_size=14) | st.lists(INTEGER, max_size=14),
    st.integers(0, 14),
)
def test_by_address_as_by_join(wanted: list[int | None], known: list[int | None], at: int) -> None:
    left, right = table(wanted, pa.int64(), at), table(known, pa.int64(), at)
    same(match(left, right), join(left, right))


@pytest.mark.parametrize("dtype", [pa.int8(), pa.int32(), pa.int64()])
def test_any_width_of_integers(dtype: pa.DataType) -> None:
    left, right = table([5, None, 7, 5, 120], dtype, 2), table([7, 5, 5, None], pa.int64(), 1)
    same(match(left, right), join(left, right))
    same(match(right, left), join(right, left))


def test_integers_far_apart_are_joined() -> None:
    known = pa.table({"k": [0, 10**12]})
    assert keys._Places.of(known.column(0)) is None
    assert match(pa.table({"k": [10**12, 5, 0]}), known).rows.tolist() == [1, -1, 0]


def test_a_join_larger_than_its_memory_spills(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_LARGE", 0)
    monkeypatch.setattr(keys, "_JOIN_MEMORY", "48MB")
    rng, n = np.random.default_rng(0), 400_000
    numbers = rng.permutation(n)
    names = [f"a key that is of some width, so that they are many bytes {number:08}" for number in range(n)]
    known, wanted = pa.table({"k": names}), pa.table({"k": pa.array(names).take(pa.array(numbers))})
    assert known.nbytes > 20 * 2**20
    folder = tmp_path_factory.mktemp("spill")
    found = match(wanted, known, spill=folder)
    assert np.array_equal(found.rows, numbers)
    assert (found.filled, found.dangling, found.duplicates) == (n, 0, 0)
