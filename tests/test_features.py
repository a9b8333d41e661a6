"""Statistics see nothing after the cut, and packed tensors say what the columns say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_frame import stype

from rdl.clock import NEVER, NO_BEGINNING, NO_END, US_PER_DAY, to_us
from rdl.features import Statistics, embed_text, fit, mask, pack, seasons, standardise
from rdl.schema import Schema
from rdl.snapshot import Snapshot
from tests.memory import MemoryReader


def events(
    folder: Path,
    days: list[int | None],
    values: list[float | None],
    words: list[str | None],
    known_at: Mapping[str, str] | None = None,
) -> Snapshot:
    """One table of events with a number, a category and a second time a day after the first."""
    at = pa.array([None if day is None else day * US_PER_DAY for day in days], pa.int64())
    table = pa.table(
        {
            "value": pa.array(values, pa.float64()),
            "word": pa.array(words, pa.string()),
            "at": at.cast(pa.timestamp("us")),
            "until": pa.compute.add(at, US_PER_DAY).cast(pa.timestamp("us")),
        }
    )
    return MemoryReader(
        {"events": table}, keys={}, times={"events": "at"}, relations=[], known_at=known_at or {}
    ).snapshot(folder)


Row = st.tuples(
    st.one_of(st.none(), st.integers(0, 20)),
    st.one_of(st.none(), st.floats(-1e6, 1e6)),
    st.sampled_from([None, "a", "b", "c", "", "ä"]),
)


@given(st.lists(Row, min_size=1, max_size=30), st.lists(Row, max_size=10), st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_statistics_do_not_depend_on_what_comes_after_the_cut(
    before: list[tuple[int | None, float | None, str | None]],
    after: list[tuple[int | None, float | None, str | None]],
    cut: int,
) -> None:
    known = [row for row in before if row[0] is not None and row[0] <= cut]
    later = [(cut + 1 + (day or 0), 1e9, word) for day, _, word in after] + [(None, 5.0, "null")]
    with TemporaryDirectory() as folder:
        one = fit(events(Path(folder) / "1", *map(list, zip(*(known + later), strict=True))), cut * US_PER_DAY)
        other_rows = known or [(None, None, None)]
        other = fit(events(Path(folder) / "2", *map(list, zip(*other_rows, strict=True))), cut * US_PER_DAY)
    assert one == other


def test_nulls_unseen_and_known_values_are_three_states(tmp_path: Path) -> None:
    snapshot = events(tmp_path / "s", [1, 2, 3, 4, 9, 9], [1, 2, 3, None, 7, np.inf], ["a", "a", "a", None, "new", "a"])
    statistics = fit(snapshot, 5 * US_PER_DAY)
    features = pack(snapshot, statistics)["events"]
    assert features.frame is not None
    assert features.frame.feat_dict[stype.categorical][:, 0].tolist() == [1, 1, 1, -1, 0, 1]
    numbers = features.frame.feat_dict[stype.numerical][:, 0]
    assert numbers.isnan().tolist() == [False, False, False, True, False, True]
    assert numbers[1] == 0, "the median of the rows known at the cut"


def test_times_hold_the_own_time_first(tmp_path: Path) -> None:
    snapshot = events(tmp_path / "s", [1, None], [1, 2], ["a", "b"])
    features = pack(snapshot, fit(snapshot, NEVER - 1))["events"]
    assert features.time_names == ("at", "until")
    assert features.times.tolist() == [[US_PER_DAY, US_PER_DAY, 2 * US_PER_DAY], [NEVER] * 3]


def test_outliers_stay_finite_and_ordered() -> None:
    values = standardise(np.array([-1e12, -1.0, 0.0, 1.0, 1e12, np.nan]), 0.0, 1.0)
    assert np.isfinite(values[:5]).all()
    assert (np.diff(values[:5]) > 0).all()
    assert abs(values[4]) < 40


def test_equal_texts_have_equal_vectors_and_null_is_zero() -> None:
    vectors = embed_text(pa.chunked_array([["red apple", "red apple", "blue car", None]]))
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.allclose(vectors[0], vectors[2])
    assert not vectors[3].any()


def test_a_mask_touches_only_its_cells(tmp_path: Path) -> None:
    snapshot = events(tmp_path / "s", [1, 2, 3], [1, 2, 3], ["a", "a", "a"])
    frame = pack(snapshot, fit(snapshot, NEVER - 1))["events"].frame
    assert frame is not None
    masked = mask(frame, ["value"], torch.tensor([False, True, False]))
    assert masked.feat_dict[stype.numerical][:, 0].isnan().tolist() == [False, True, False]
    assert torch.equal(masked.feat_dict[stype.categorical], frame.feat_dict[stype.categorical])
    assert not frame.feat_dict[stype.numerical].isnan().any(), "the original is as it was"


def test_statistics_have_torch_frames_form() -> None:
    statistics = Statistics({"n": (0.0, 1.0)}, {"c": ["?", "x"]}, ("t",), ("d",), {})
    assert set(statistics.stats_list()) == {"n", "c", "t", "d"}
    assert list(statistics.columns()) == [stype.numerical, stype.categorical, stype.embedding, stype.timestamp]


@given(st.integers(-(10**15), 10**15))
def test_seasons_lie_on_circles(time: int) -> None:
    waves = seasons(torch.tensor([time]))
    assert torch.allclose(waves[:, :3] ** 2 + waves[:, 3:] ** 2, torch.ones(1, 3), atol=1e-4)


@pytest.mark.parametrize(("slope", "clock"), [(1.0, True), (-1.0, True), (0.0, False)])
def test_a_column_that_tells_the_time_is_no_input(tmp_path: Path, slope: float, clock: bool) -> None:
    rng = np.random.default_rng(0)
    days = list(range(60))
    values = [2000 + slope * (day // 7) if slope else float(rng.random()) for day in days]
    snapshot = events(tmp_path / "s", days, values, ["a"] * 60)
    assert ("value" not in fit(snapshot, NEVER - 1)["events"].numerical) == clock


def test_what_is_known_later_is_not_in_the_statistics(tmp_path: Path) -> None:
    late = {"value": "until", "word": "until"}
    snapshot = events(tmp_path / "s", [1, 2, 3, 4], [1, 2, 3, 1000], ["a", "a", "a", "late"], late)
    fitted = fit(snapshot, 4 * US_PER_DAY)["events"]
    assert fitted.late == {"until": ("value", "word")}
    assert fitted.numerical["value"][0] == 2, "the fourth value is known on the fifth day"
    assert pack(snapshot, {"events": fitted})["events"].known_at[:, 0].tolist() == [
        (d + 1) * US_PER_DAY for d in (1, 2, 3, 4)
    ]


def test_the_end_of_a_row_is_known_when_it_has_come(tmp_path: Path) -> None:
    snapshot = events(tmp_path / "s", [1, 2, 3, 4], [1, 2, 3, 4], ["a", "a", "a", "a"])
    table = replace(snapshot.schema.tables["events"], valid_until="until")
    assert table.told_by(table["until"]) == "until"
    assert table.told_by(table["value"]) is None
    snapshot.schema = Schema({"events": table})
    assert fit(snapshot, 4 * US_PER_DAY)["events"].late == {"until": ("until",)}


def test_an_end_that_never_comes_is_no_time(tmp_path: Path) -> None:
    ends = pa.array([0, NO_END, NO_BEGINNING, to_us("9999-12-31"), to_us("9998-12-31"), None], pa.int64())
    table = pa.table({"at": ends.cast(pa.timestamp("us")), "value": pa.array([1.0] * 6)})
    snapshot = MemoryReader({"t": table}, keys={}, times={}, relations=[]).snapshot(tmp_path)
    packed = pack(snapshot, fit(snapshot, 0))["t"]
    known = [True, False, False, False, True, False]
    assert (packed.times[:, 1] != NEVER).tolist() == known
    assert packed.frame is not None
    assert packed.frame.feat_dict[stype.timestamp].isnan().any(dim=2)[:, 0].tolist() == [not time for time in known]
