"""Arrow columns become arrays as a loop over their cells would make them."""

from __future__ import annotations

import datetime as dt
import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.clock import NEVER, NO_BEGINNING, NO_END, US_PER_DAY
from rdl.columns import (
    MASKED,
    MOST_SCALES,
    NULL,
    UNSEEN,
    as_lists,
    as_moments,
    as_numbers,
    as_times,
    as_vectors,
    as_words,
    require,
    standardise,
)
from rdl.errors import SchemaError
from rdl.schema import Stype

NAN, INF = float("nan"), float("inf")


def chunked(cells: list, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    """The cells in two chunks, the second of which does not begin where its memory does."""
    whole = pa.array([*cells, *cells], kind)
    half = len(cells) // 2
    return pa.chunked_array([whole.slice(0, half), whole.slice(len(cells) + half)], whole.type)


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        ([1, None, -3], pa.int64(), [1, NAN, -3]),
        ([2**63, 1, None], pa.uint64(), [2.0**63, 1, NAN]),
        ([1.5, None, INF, -INF, NAN], pa.float32(), [1.5, NAN, INF, -INF, NAN]),
        ([True, False, None], pa.bool_(), [1, 0, NAN]),
        ([decimal.Decimal("1.25"), None], pa.decimal128(38, 10), [1.25, NAN]),
        ([dt.timedelta(days=1, microseconds=5), None], pa.duration("us"), [86400.000005, NAN]),
        ([dt.time(0, 1), None], pa.time64("us"), [60, NAN]),
        ([dt.time(0, 1), None], pa.time32("ms"), [60, NAN]),
        (["1", " 2.5 ", "-1e3", ".5", "", "n/a", "1,5", "0x1", None], pa.string(), [1, 2.5, -1e3, 0.5, *[NAN] * 5]),
        ([], pa.int32(), []),
        ([None, None], pa.float64(), [NAN, NAN]),
    ],
)
def test_numbers_of_every_type(cells: list, kind: pa.DataType, expected: list[float]) -> None:
    numbers = as_numbers(chunked(cells, kind))
    assert numbers.dtype == np.float64
    assert np.allclose(numbers, expected, equal_nan=True, rtol=1e-12, atol=0)
    numbers[:] = 0  # memory of its own: the snapshot's is read-only


def test_standardised_numbers_are_bounded_and_ordered() -> None:
    values = standardise(np.array([-INF, -1e307, -1e6, -1.0, 0.0, 1.0, 1e6, 1e307, INF, NAN]), 0.0, 1e-3)
    assert (np.diff(values[:9]) >= 0).all()
    assert (np.diff(values[2:7]) > 0).all()
    assert (values[0], values[8]) == (-MOST_SCALES, MOST_SCALES)
    assert np.isnan(values[9])


@pytest.mark.parametrize(
    ("cells", "kind", "words"),
    [
        (["b", None, "a", "b"], pa.string(), ["b", None, "a", "b"]),
        ([3, None, 1, 3], pa.int64(), ["3", None, "1", "3"]),
        ([True, None, False], pa.bool_(), ["true", None, "false"]),
        ([0.5, NAN, None], pa.float64(), ["0.5", None, None]),
        ([dt.date(2020, 1, 2), None], pa.date32(), ["2020-01-02", None]),
        ([dt.timedelta(microseconds=7), None], pa.duration("us"), ["7", None]),
        ([b"\xff\x00", None], pa.binary(), ["ff00", None]),
        ([decimal.Decimal("1.50"), None], pa.decimal128(5, 2), ["1.50", None]),
        ([], pa.string(), []),
        ([None], pa.null(), [None]),
    ],
)
def test_words_of_every_type(cells: list, kind: pa.DataType, words: list[str | None]) -> None:
    coded = as_words(chunked(cells, kind))
    assert [None if place == NULL else coded.words[place].as_py() for place in coded.places.tolist()] == words
    assert coded.counts().sum() == sum(word is not None for word in words)


def test_codes_tell_null_unseen_and_words_apart() -> None:
    codes = as_words(chunked(["a", "c", None, "b", "\x00masked", "\x00unseen"])).codes(("b", "a"))
    assert codes.tolist() == [3, UNSEEN, NULL, 2, UNSEEN, UNSEEN]
    assert MASKED not in codes
    assert as_words(chunked([], pa.string())).codes(()).tolist() == []


@given(st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.sampled_from("abc")), max_size=4)), max_size=9))
def test_lists_are_those_of_a_loop(cells: list[list[str | None] | None]) -> None:
    lists = as_lists(chunked(cells, pa.list_(pa.string())))
    kept = [[element for element in cell or [] if element is not None] for cell in cells]
    assert lists.lengths.tolist() == [len(cell) for cell in kept]
    assert lists.elements.to_pylist() == [element for cell in kept for element in cell]
    assert lists.missing.tolist() == [cell is None for cell in cells]


@pytest.mark.parametrize(
    ("cells", "kind", "separator", "expected"),
    [
        (["a|b", "a", "", None, "| c|"], pa.string(), "|", [["a", "b"], ["a"], [], [], ["c"]]),
        (['["x", "y"]', "[]", "{x,y}"], pa.string(), ",", [["x", "y"], [], ["x", "y"]]),
        (["a b", None], pa.string(), "", [["a b"], []]),
        ([[1, 2], None, [3, None]], pa.list_(pa.int64(), 2), "", [[1, 2], [], [3]]),
        ([[["a"], ["b", None]], [], None, [[]]], pa.list_(pa.list_(pa.string())), "", [["a", "b"], [], [], []]),
        ([[b"\xff"], []], pa.large_list(pa.binary()), "", [[b"\xff"], []]),
    ],
)
def test_lists_of_every_make(cells: list, kind: pa.DataType, separator: str, expected: list) -> None:
    lists = as_lists(chunked(cells, kind), separator)
    assert lists.lengths.tolist() == [len(cell) for cell in expected]
    assert lists.elements.to_pylist() == [element for cell in expected for element in cell]
    assert lists.missing.tolist() == [cell is None for cell in cells]


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.int64()), pa.large_list(pa.float64())])
def test_vectors_of_another_length_are_null(kind: pa.DataType) -> None:
    cells = [[1, 2], None, [3], [4, 5], [], [6, None], [7, 8, 9]]
    vectors = as_vectors(chunked(cells, kind), 2)
    expected = [[1, 2], [NAN] * 2, [NAN] * 2, [4, 5], [NAN] * 2, [NAN] * 2, [NAN] * 2]
    assert np.array_equal(vectors, np.array(expected, np.float32), equal_nan=True)


def test_vectors_of_fixed_length() -> None:
    vectors = as_vectors(chunked([[1, 2], None, [INF, 0], [NAN, 0], [3, 4]], pa.list_(pa.float64(), 2)), 2)
    assert np.isnan(vectors[1:4]).all()
    assert vectors[[0, 4]].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("ticks", "kind", "expected"),
    [
        ([0, None, -1], pa.timestamp("us"), [0, NEVER, -1]),
        ([1, None], pa.timestamp("s", "UTC"), [10**6, NEVER]),
        ([1, -1], pa.timestamp("ms"), [1000, -1000]),
        ([1999, -1], pa.timestamp("ns"), [1, -1]),
        ([2**62, -(2**62)], pa.timestamp("s"), [NO_END // 10**6 * 10**6, NO_BEGINNING]),
        ([1, 2**31 - 1], pa.date32(), [US_PER_DAY, NO_END // US_PER_DAY * US_PER_DAY]),
        ([86_400_000, None], pa.date64(), [US_PER_DAY, NEVER]),
        ([], pa.timestamp("us"), []),
    ],
)
def test_times_of_every_unit(ticks: list, kind: pa.DataType, expected: list[int]) -> None:
    width = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    assert as_times(chunked(ticks, width).cast(kind)).tolist() == expected


def test_times_beyond_the_calendar_are_no_moments() -> None:
    ticks = [0, NO_END, NO_BEGINNING, 2**63 - 1, -(2**63), None]
    moments = as_moments(chunked(ticks, pa.int64()).cast(pa.timestamp("us")))
    assert (moments != NEVER).tolist() == [True, False, False, False, False, False]


@pytest.mark.parametrize(
    ("kind", "stype"),
    [
        (pa.list_(pa.int64()), Stype.numerical),
        (pa.list_(pa.string()), Stype.categorical),
        (pa.struct([("a", pa.int64())]), Stype.categorical),
        (pa.int64(), Stype.multicategorical),
        (pa.list_(pa.struct([("a", pa.int64())])), Stype.multicategorical),
        (pa.int64(), Stype.text_embedded),
        (pa.string(), Stype.embedding),
        (pa.list_(pa.string()), Stype.embedding),
        (pa.int64(), Stype.timestamp),
    ],
)
def test_storage_that_cannot_be_what_it_should_is_named(kind: pa.DataType, stype: Stype) -> None:
    with pytest.raises(SchemaError, match=f"t.c is read as .*cannot be {stype}"):
        require(chunked([], kind), stype, "t.c")
