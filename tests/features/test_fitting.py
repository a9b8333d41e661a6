"""Statistics: what they are, and which columns have none."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from torch_frame import stype

from rdl.clock import NEVER, US_PER_DAY
from rdl.embedders import HASHING, embedder, rows_needed
from rdl.errors import SchemaError
from rdl.features import Statistics, fit
from rdl.features.fitting import MAX_CATEGORIES, is_clock
from rdl.schema import Relation, Schema, Stype
from rdl.snapshot import Snapshot
from tests.features.tables import COLUMNS, draw, events, snapshot_of, told
from tests.memory import MemoryReader


def fitted(folder: Path, cells: list, kind: pa.DataType, meaning: Stype, days: list[int] | None = None) -> Statistics:
    """The statistics of one column."""
    days = days or [1] * len(cells)
    snapshot = events(folder / "s", days, {"c": pa.array(cells, kind)}, {"c": meaning})
    return fit(snapshot, 5 * US_PER_DAY)["events"]


def test_every_kind_of_column_is_an_input(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    snapshot = snapshot_of(draw(rng, rng.integers(0, 9, 300), rng.integers(0, 9, 300)), tmp_path / "s")
    statistics = fit(snapshot, NEVER - 1)["events"]
    assert {name for names in statistics.columns().values() for name in names} == {"at", *COLUMNS}
    assert set(statistics.late["told_at"]) == {n for n, (_, _, late) in COLUMNS.items() if late} | {"told_at"}
    assert set(statistics.stats_list()) == {"at", *COLUMNS}
    assert Statistics.from_json(json.loads(json.dumps(asdict(statistics)))) == statistics


@pytest.mark.parametrize(
    ("cells", "kind", "meaning"),
    [
        ([7.5] * 4, pa.float64(), Stype.numerical),
        ([np.nan] * 4, pa.float64(), Stype.numerical),
        (["a"] * 4, pa.string(), Stype.categorical),
        (["a", "b", "c", "d"], pa.string(), Stype.categorical),  # all of them rare: all unseen
        ([["a", "b"]] * 4, pa.list_(pa.string()), Stype.multicategorical),
        ([[]] * 4, pa.list_(pa.string()), Stype.multicategorical),
        (["same text"] * 4, pa.string(), Stype.text_embedded),
        ([[1.0, 2.0]] * 4, pa.list_(pa.float32()), Stype.embedding),
        ([7] * 4, pa.timestamp("us"), Stype.timestamp),
        *(
            ([None] * 4, kind, meaning)
            for kind, meaning in [
                (pa.float64(), Stype.numerical),
                (pa.string(), Stype.categorical),
                (pa.list_(pa.string()), Stype.multicategorical),
                (pa.string(), Stype.text_embedded),
                (pa.list_(pa.float32()), Stype.embedding),
                (pa.timestamp("us"), Stype.timestamp),
            ]
        ),
    ],
)
def test_a_column_in_which_nothing_varies_is_no_input(
    tmp_path: Path, cells: list, kind: pa.DataType, meaning: Stype
) -> None:
    assert "c" not in fitted(tmp_path / "one", cells, kind, meaning).stats_list()
    assert "c" not in fitted(tmp_path / "none", cells[:0], kind, meaning).stats_list()
    later = fitted(tmp_path / "later", [*cells, None], kind, meaning, [1, 1, 1, 1, 9])
    assert "c" not in later.stats_list(), "what comes after the cut does not make it vary"
    if cells[0] is not None and cells[0] == cells[0] and cells[0]:
        with_null = fitted(tmp_path / "null", [*cells, None], kind, meaning)
        assert "c" in with_null.stats_list(), "whether it is NULL varies"


def test_a_late_column_of_one_value_tells_that_it_has_come(tmp_path: Path) -> None:
    columns = {"done": pa.array([True] * 4), "then": pa.array([2 * US_PER_DAY] * 4).cast(pa.timestamp("us"))}
    snapshot = events(tmp_path / "s", [1] * 4, columns, {"done": Stype.categorical, "then": Stype.timestamp})
    assert fit(snapshot, NEVER - 1)["events"].columns() == {}
    statistics = fit(told(snapshot, done="then"), NEVER - 1)["events"]
    assert statistics.late == {"then": ("done", "then")}


def test_numbers_are_centred_at_their_median(tmp_path: Path) -> None:
    found = fitted(tmp_path / "a", [1.0, 2.0, 3.0, 4.0, np.inf, None, 9e9], pa.float64(), Stype.numerical)
    assert found.numerical["c"][0] == 3
    flat = fitted(tmp_path / "b", [0.0] * 9 + [10.0], pa.float64(), Stype.numerical)
    assert flat.numerical["c"] == pytest.approx((0, np.sqrt(10)))
    assert fitted(tmp_path / "c", [np.inf, -np.inf], pa.float64(), Stype.numerical).numerical["c"] == (0, 1)
    huge = fitted(tmp_path / "d", [-1.7e308] + [0.0] * 9 + [1.7e308], pa.float64(), Stype.numerical)
    assert 0 < huge.numerical["c"][1] < np.inf


def test_a_vocabulary_is_what_was_seen_often_by_falling_count(tmp_path: Path) -> None:
    words = ["b"] * 3 + ["a"] * 3 + ["c"] * 5 + ["rare"] * 2
    assert fitted(tmp_path, words, pa.string(), Stype.categorical).categories["c"] == ("c", "a", "b")


def test_a_million_categories_are_cut_to_the_most_frequent(tmp_path: Path) -> None:
    codes = np.concatenate([np.arange(1_000_000), np.repeat(np.arange(3_000), 2), np.arange(10)])
    words = pa.array(codes).cast(pa.string())
    snapshot = events(tmp_path / "s", [1] * len(codes), {"c": words}, {"c": Stype.categorical})
    found = fit(snapshot, NEVER - 1)["events"].categories["c"]
    assert len(found) == MAX_CATEGORIES
    assert set(found[:10]) == {str(n) for n in range(10)}


def test_lists_written_as_text_are_parted_where_most_of_them_are(tmp_path: Path) -> None:
    cells = ["a|b", "b|a, b", "a", None, "b|a"]
    found = fitted(tmp_path, cells * 3, pa.string(), Stype.multicategorical).lists["c"]
    assert (found.separator, set(found.words)) == ("|", {"a", "b", "a, b"})
    later = fitted(
        tmp_path / "l", [*cells * 3, *["x;y"] * 99], pa.string(), Stype.multicategorical, [1] * 15 + [9] * 99
    )
    assert later.lists["c"] == found


def test_vectors_have_the_length_that_most_have(tmp_path: Path) -> None:
    cells = [[1.0, 0.0], [3.0, 0.0], [1.0, 2.0, 3.0], None, []]
    centre = fitted(tmp_path, cells, pa.list_(pa.float32()), Stype.embedding).vectors["c"]
    assert centre.mean == (2.0, 0.0)
    assert centre.scale == pytest.approx(np.sqrt(0.5))


def test_keys_are_no_inputs(tmp_path: Path) -> None:
    tables = {
        "a": pa.table({"id": ["x", "y"] * 4, "code": ["p", "q"] * 4}),
        "b": pa.table({"id": list("abcdefgh"), "a": ["x", "y"] * 4, "code": ["p", "q"] * 4, "n": ["x", "y"] * 4}),
    }
    reader = MemoryReader(tables, keys={"a": "id", "b": "id"})
    # Someone says of a key that it is a category.
    described = {
        name: replace(table, columns=tuple(replace(c, stype=Stype.categorical) for c in table.columns))
        for name, table in reader.schema.tables.items()
    }
    relations = (Relation("b", ("a",), "a", ("id",)), Relation("b", ("code",), "a", ("code",)))
    reader.schema = Schema(described, relations)
    found = fit(reader.snapshot(tmp_path / "s"), 0)
    assert found["a"].categories == {}
    assert list(found["b"].categories) == ["n"]


@pytest.mark.parametrize(("slope", "clock"), [(1.0, True), (-1.0, True), (0.0, False)])
def test_a_column_that_tells_the_time_is_no_input(tmp_path: Path, slope: float, clock: bool) -> None:
    rng = np.random.default_rng(0)
    days = list(range(60))
    values = [2000 + slope * (day // 7) if slope else float(rng.random()) for day in days]
    snapshot = events(tmp_path / "s", days, {"c": pa.array(values)}, {"c": Stype.numerical})
    assert ("c" not in fit(snapshot, NEVER - 1)["events"].numerical) == clock


def test_a_clock_is_told_in_many_rows() -> None:
    times, rng = np.arange(300_000) * US_PER_DAY, np.random.default_rng(0)
    assert is_clock(times / 7.0, times)
    assert not is_clock(rng.permutation(times) / 7.0, times)
    assert not is_clock(times + rng.normal(size=len(times)) * 0.3 * times[-1], times)


def late_events(folder: Path) -> Snapshot:
    until = pa.array([(day + 1) * US_PER_DAY for day in (1, 2, 3, 4)]).cast(pa.timestamp("us"))
    columns = {"value": pa.array([1.0, 2, 3, 1000]), "word": pa.array(["a", "a", "a", "late"]), "until": until}
    stypes = {"value": Stype.numerical, "word": Stype.categorical, "until": Stype.timestamp}
    return events(folder / "s", [1, 2, 3, 4], columns, stypes)


def test_what_is_known_later_is_not_in_the_statistics(tmp_path: Path) -> None:
    snapshot = told(late_events(tmp_path), value="until", word="until")
    found = fit(snapshot, 4 * US_PER_DAY)["events"]
    assert found.late == {"until": ("value", "word", "until")}
    assert found.numerical["value"][0] == 2, "the fourth value is known on the fifth day"


def test_the_end_of_a_row_is_known_when_it_has_come(tmp_path: Path) -> None:
    snapshot = late_events(tmp_path)
    table = replace(snapshot.schema.tables["events"], valid_until="until")
    assert table.told_by(table["until"]) == "until"
    assert table.told_by(table["value"]) is None
    snapshot.schema = Schema({"events": table})
    assert fit(snapshot, 4 * US_PER_DAY)["events"].late == {"until": ("until",)}


@pytest.mark.parametrize(("texts", "kept"), [(9, False), (10, True)])
def test_few_texts_are_no_input_of_hashed_words(tmp_path: Path, texts: int, kept: bool) -> None:
    cells = [f"word {n}" for n in range(texts)] + [None, "too late"]
    days = [1] * (texts + 1) + [9]
    snapshot = events(tmp_path / "s", days, {"c": pa.array(cells)}, {"c": Stype.text_embedded})
    assert fit(snapshot, 5 * US_PER_DAY, text_rows=10)["events"].texts == (("c",) if kept else ())
    assert fit(snapshot, 5 * US_PER_DAY)["events"].texts == ("c",)
    assert rows_needed(HASHING) == 20 * 64
    assert rows_needed(embedder(lambda found: np.ones((len(found), 64)), "own")) == 0


def test_hidden_columns_are_no_inputs(tmp_path: Path) -> None:
    found = fit(late_events(tmp_path), NEVER - 1, {("events", "value"), ("events", "until")})["events"]
    assert found.columns() == {stype.categorical: ["word"], stype.timestamp: ["at"]}


def test_storage_that_cannot_be_what_it_should_is_named(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"events\.c is read as int64, which cannot be text_embedded"):
        fitted(tmp_path, [1, 2], pa.int64(), Stype.text_embedded)
