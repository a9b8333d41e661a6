"""Packed tensors say what the columns say, and a masked cell is a state of its own all the way into the encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_frame import stype

from rdl.clock import NEVER, NO_BEGINNING, NO_END, US_PER_DAY, to_us
from rdl.columns import MASKED, NULL, STATES, UNSEEN
from rdl.embedders import HashingEmbedder
from rdl.encoders import TableEncoder
from rdl.errors import ConfigError, SchemaError
from rdl.features import Features, Statistics, fit, pack
from rdl.features.packing import Bags
from rdl.schema import Stype
from rdl.snapshot import Snapshot
from tests.features.tables import draw, events, snapshot_of

ONE = torch.tensor([0])


def packed(snapshot: Snapshot, cut_us: int = NEVER - 1) -> tuple[Statistics, Features]:
    statistics = fit(snapshot, cut_us)
    return statistics["events"], pack(snapshot, statistics)["events"]


def single(
    folder: Path, cells: list, kind: pa.DataType, meaning: Stype, days: list[int]
) -> tuple[Statistics, Features]:
    """One column ``c``, its statistics fitted on day 5."""
    return packed(events(folder / "s", days, {"c": pa.array(cells, kind)}, {"c": meaning}), 5 * US_PER_DAY)


#: A cell, two other values, and one that was unseen at the cut or cannot be told from a far one.
KINDS = [
    (pa.float64(), Stype.numerical, 1.0, 2.0, np.inf),
    (pa.string(), Stype.categorical, "a", "b", "new"),
    (pa.bool_(), Stype.categorical, True, False, None),
    (pa.list_(pa.string()), Stype.multicategorical, ["a"], ["a", "b"], ["new"]),
    (pa.string(), Stype.text_embedded, "red", "blue", "new"),
    (pa.list_(pa.float32()), Stype.embedding, [1.0, 2.0], [0.0, 1.0], [9.0, 9.0]),
    (pa.timestamp("us"), Stype.timestamp, 0, 10**15, 10**14),
]


@pytest.mark.parametrize(("kind", "meaning", "one", "other", "far"), KINDS)
def test_null_masked_unseen_and_values_are_states_of_their_own(
    tmp_path: Path, kind: pa.DataType, meaning: Stype, one: object, other: object, far: object
) -> None:
    cells = [one] * 4 + [other] * 4 + [None, far, one]
    statistics, features = single(tmp_path, cells, kind, meaning, [1] * 9 + [9, 9])
    rows = torch.tensor([0, 4, 8, 10, *([9] if far is not None else [])])
    hide = torch.tensor([False, False, False, True, *([False] if far is not None else [])])
    torch.manual_seed(0)
    encoder = TableEncoder(statistics, 16).eval()
    with torch.no_grad():
        encoded = encoder.columns(features.frame(rows, [(["c"], hide)]), len(rows))
        shown = encoder.columns(features.frame(rows), len(rows))
    assert encoded.isfinite().all()
    assert torch.equal(shown[0], shown[3]), "the masked cell holds the same value as the first"
    assert torch.equal(encoded[~hide], shown[~hide])
    assert torch.cdist(encoded, encoded).fill_diagonal_(1).min() > 1e-3, "no two states look alike"


@pytest.mark.parametrize(("kind", "meaning", "one", "other", "far"), KINDS)
def test_every_state_is_learned(
    tmp_path: Path, kind: pa.DataType, meaning: Stype, one: object, other: object, far: object
) -> None:
    statistics, features = single(tmp_path, [one] * 4 + [other] * 4 + [None], kind, meaning, [1] * 9)
    encoder = TableEncoder(statistics, 4)
    for hide in (True, False):
        encoder.zero_grad()
        encoder.columns(features.frame(torch.arange(4), [(["c"], torch.full((4,), hide))]), 4).sum().backward()
        assert encoder.encode is not None
        gradients = [weights.grad for weights in encoder.encode.parameters() if weights.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert any(gradient.any() for gradient in gradients)


def test_codes_and_numbers(tmp_path: Path) -> None:
    columns = {
        "value": pa.array([1, 2, 3, None, 7, np.inf]),
        "word": pa.array(["a", "a", "a", None, "new", "a"]),
        "tags": pa.array([["a"], ["a", None, "a"], None, [], ["new", "a"], ["a"]]),
    }
    stypes = {"value": Stype.numerical, "word": Stype.categorical, "tags": Stype.multicategorical}
    _, features = packed(events(tmp_path / "s", [1, 2, 3, 4, 9, 9], columns, stypes), 5 * US_PER_DAY)
    frame = features.frame(torch.arange(6))
    assert frame is not None
    word, numbers = len(STATES), frame.feat_dict[stype.numerical][:, 0]
    assert frame.feat_dict[stype.categorical][:, 0].tolist() == [word, word, word, NULL, UNSEEN, word]
    assert numbers.isnan().tolist() == [False, False, False, True, False, False]
    assert (numbers[1], numbers[5]) == (0, 20), "the median of the rows known at the cut; infinity is far"
    tags = frame.feat_dict[stype.multicategorical]
    assert [tags[n, 0].tolist() for n in range(6)] == [[word], [word, word], [NULL], [], [UNSEEN, word], [word]]
    hidden = [(["value", "tags"], torch.tensor([True, False])), (["word"], torch.tensor([False, True]))]
    masked = features.frame(torch.tensor([4, 3]), hidden)
    assert masked is not None
    assert masked.feat_dict[stype.numerical][0, 0] == torch.inf
    assert masked.feat_dict[stype.numerical][1, 0].isnan()
    assert masked.feat_dict[stype.categorical][:, 0].tolist() == [UNSEEN, MASKED]
    assert [masked.feat_dict[stype.multicategorical][n, 0].tolist() for n in range(2)] == [[MASKED], []]
    again = features.frame(torch.arange(6))
    assert again is not None
    assert torch.equal(again.feat_dict[stype.categorical], frame.feat_dict[stype.categorical]), "taken, not changed"


@given(st.lists(st.lists(st.integers(-1, 5), max_size=3), min_size=1, max_size=8), st.data())
@settings(deadline=None)
def test_bags_are_taken_as_a_loop_would(lists: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=9))
    hide = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    codes = torch.tensor([code for each in lists for code in each], dtype=torch.int16)
    bags = Bags(codes, torch.tensor([0, *np.cumsum([len(each) for each in lists])]))
    index, masked = torch.tensor(rows, dtype=torch.int64), torch.tensor(hide, dtype=torch.bool)
    expected = [[MASKED] if hidden else lists[row] for row, hidden in zip(rows, hide, strict=True)]
    found, lengths = bags.take(index, masked)
    assert (found.tolist(), lengths.tolist()) == ([c for each in expected for c in each], [len(e) for e in expected])
    found, lengths = bags.take(index, None)
    assert (found.tolist(), lengths.tolist()) == ([c for r in rows for c in lists[r]], [len(lists[r]) for r in rows])


def test_what_a_seed_may_not_read_yet(tmp_path: Path) -> None:
    told = np.array([3, 5, -1, 2])
    rows = draw(np.random.default_rng(0), np.array([1, 1, 1, 2]), told)
    _, features = packed(snapshot_of(rows, tmp_path / "s"))
    seen = torch.arange(4)
    time = torch.full((4,), 4 * US_PER_DAY)
    ((names, hide),) = features.unread(seen, time, time)
    assert set(names) >= {"late_number", "late_note", "late_vector", "told_at"}
    assert hide.tolist() == [False, True, True, False]
    _, (labels, own) = features.unread(seen, time // 2, time // 2, ["word"])
    assert labels == ["word"]
    assert own.tolist() == [False, False, False, True], "a label is read on strictly older rows alone"


def test_labels_of_rows_without_a_time_are_never_read(tmp_path: Path) -> None:
    snapshot = events(tmp_path / "s", [1, None], {"c": pa.array(["a", "b"])}, {"c": Stype.categorical})
    _, features = packed(snapshot)
    time = torch.full((2,), NEVER - 1)
    assert features.unread(torch.arange(2), time, time, ["c"])[0][1].tolist() == [False, True]


def test_times_hold_the_own_time_first(tmp_path: Path) -> None:
    until = pa.array([2 * US_PER_DAY, None, 0]).cast(pa.timestamp("us"))
    _, features = packed(events(tmp_path / "s", [1, 1, None], {"until": until}, {"until": Stype.timestamp}))
    assert features.time_names == ["until"], "the row's own time does not vary"
    assert features.times.tolist() == [[US_PER_DAY, 2 * US_PER_DAY], [US_PER_DAY, NEVER], [NEVER, 0]]


def test_an_end_that_never_comes_is_no_time(tmp_path: Path) -> None:
    ends = pa.array([0, NO_END, NO_BEGINNING, to_us("9999-12-31"), to_us("9998-12-31"), None], pa.int64())
    snapshot = events(tmp_path / "s", [1] * 6, {"c": ends.cast(pa.timestamp("us"))}, {"c": Stype.timestamp})
    _, features = packed(snapshot)
    known = [True, False, False, False, True, False]
    assert (features.times[:, 1] != NEVER).tolist() == known
    frame = features.frame(torch.arange(6))
    assert frame is not None
    assert frame.feat_dict[stype.timestamp].isnan().any(dim=2)[:, 0].tolist() == [not time for time in known]


def test_each_distinct_text_is_embedded_once(tmp_path: Path) -> None:
    seen: list[str] = []

    class Counting(HashingEmbedder):
        def embed(self, texts: pa.Array) -> np.ndarray:
            seen.extend(texts.to_pylist())
            return super().embed(texts)

    texts = ["red apple", "blue car", None, "red apple"] * 5
    snapshot = events(tmp_path / "s", [1] * 20, {"c": pa.array(texts)}, {"c": Stype.text_embedded})
    features = pack(snapshot, fit(snapshot, NEVER - 1), Counting())["events"]
    assert sorted(seen) == ["blue car", "red apple"]
    frame = features.frame(torch.arange(4))
    assert frame is not None
    vectors = frame.feat_dict[stype.embedding].values
    assert torch.equal(vectors[0], vectors[3])
    assert not torch.allclose(vectors[0], vectors[1])
    assert vectors[2].isnan().all()


def test_an_embedder_of_another_width_is_refused(tmp_path: Path) -> None:
    snapshot = events(tmp_path / "s", [1, 1], {"c": pa.array(["a", "b"])}, {"c": Stype.text_embedded})
    with pytest.raises(ConfigError, match="vectors of 32 numbers, the model was trained on 64"):
        pack(snapshot, fit(snapshot, NEVER - 1), HashingEmbedder(32))


@pytest.mark.parametrize(
    ("kind", "meaning", "cells", "new", "values"),
    [
        (pa.float64(), Stype.numerical, [1.0, 2.0], pa.string(), ["1", "x"]),
        (pa.int64(), Stype.categorical, [1, 2], pa.string(), ["1", "two"]),
        (pa.string(), Stype.categorical, ["1", "2"], pa.float64(), [1.0, 0.5]),
        (pa.list_(pa.string()), Stype.multicategorical, [["a"], ["b"]], pa.string(), ["a", "b"]),
        (pa.list_(pa.float32()), Stype.embedding, [[1, 2], [3, 4]], pa.list_(pa.int64()), [[1, 2], [3]]),
        (pa.timestamp("us"), Stype.timestamp, [1, 2], pa.date32(), [1, 2]),
    ],
)
def test_a_column_may_be_stored_otherwise_after_a_refresh(
    tmp_path: Path, kind: pa.DataType, meaning: Stype, cells: list, new: pa.DataType, values: list
) -> None:
    before = events(tmp_path / "a", [1] * 8, {"c": pa.array(cells * 4, kind)}, {"c": meaning})
    after = events(tmp_path / "b", [1, 1], {"c": pa.array(values, new)}, {"c": meaning})
    statistics = fit(before, NEVER - 1)
    frames = [pack(snapshot, statistics)["events"].frame(ONE) for snapshot in (before, after)]
    assert frames[0] is not None
    assert frames[1] is not None
    for kind_, part in frames[0].feat_dict.items():
        this, that = (p if isinstance(p, torch.Tensor) else p.values for p in (part, frames[1].feat_dict[kind_]))
        assert torch.equal(this, that) or meaning is Stype.timestamp, "the first cell means the same"


def test_a_column_that_cannot_be_read_any_more_is_named(tmp_path: Path) -> None:
    before = events(tmp_path / "a", [1, 1], {"c": pa.array([1.0, 2.0])}, {"c": Stype.numerical})
    after = events(tmp_path / "b", [1, 1], {"c": pa.array([[1], [2]])}, {"c": Stype.numerical})
    with pytest.raises(SchemaError, match=r"events\.c is read as list<") as raised:
        pack(after, fit(before, NEVER - 1))
    assert "train it anew" in str(raised.value)


@pytest.mark.parametrize("rows", [0, 1])
def test_empty_tables_and_tables_that_were_empty_at_the_cut(tmp_path: Path, rows: int) -> None:
    table = draw(np.random.default_rng(0), np.full(rows, 3), np.full(rows, 4))
    snapshot = snapshot_of(table, tmp_path / "s")
    statistics, features = packed(snapshot, US_PER_DAY)
    assert statistics.columns() == {}
    assert (len(features), features.frame(torch.arange(rows))) == (rows, None)
    assert TableEncoder(statistics, 8).columns(None, rows).shape == (rows, 8)


def test_statistics_of_full_tables_pack_empty_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    full = draw(rng, rng.integers(0, 9, 200), rng.integers(0, 9, 200))
    statistics = fit(snapshot_of(full, tmp_path / "full"), NEVER - 1)
    features = pack(snapshot_of(full.slice(0, 0), tmp_path / "empty"), statistics)["events"]
    frame = features.frame(torch.arange(0))
    assert frame is not None
    assert TableEncoder(statistics["events"], 8).columns(frame, 0).shape == (0, 8)


def test_huge_texts_are_read_from_their_begin(tmp_path: Path) -> None:
    texts = pa.array(["word " * 2_000_000, "word " * 2_000_000 + "end", "other"])
    _, features = packed(events(tmp_path / "s", [1] * 3, {"c": texts}, {"c": Stype.text_embedded}))
    vectors = features.vectors[0].table
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[0], vectors[2])


def test_features_move_to_a_device_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    snapshot = snapshot_of(draw(rng, rng.integers(0, 9, 50), rng.integers(0, 9, 50)), tmp_path / "s")
    _, features = packed(snapshot)
    moved = features.to(torch.device("meta"))
    for field in ("numbers", "codes", "times", "known_at"):
        assert getattr(moved, field).device.type == "meta"
    assert {t.device.type for bags in moved.bags for t in (bags.codes, bags.indptr)} == {"meta"}
    assert {t.device.type for vectors in moved.vectors for t in (vectors.table, vectors.place)} == {"meta"}
    assert moved.time_names == features.time_names


def test_every_device_gives_the_same(tmp_path: Path, device: torch.device) -> None:
    rng = np.random.default_rng(0)
    days, told = rng.integers(0, 9, 200), rng.integers(0, 9, 200)
    statistics, features = packed(snapshot_of(draw(rng, days, told), tmp_path / "s"))
    rows, time = torch.arange(200).flip(0), torch.full((200,), 6 * US_PER_DAY)
    torch.manual_seed(0)
    encoder = TableEncoder(statistics, 8).eval()
    expected = encoder.columns(features.frame(rows, features.unread(rows, time, time, ["word"])), 200)
    moved, rows, time = features.to(device), rows.to(device), time.to(device)
    found = encoder.to(device).columns(moved.frame(rows, moved.unread(rows, time, time, ["word"])), 200)
    assert found.device.type == device.type
    assert torch.allclose(found.cpu(), expected, atol=1e-5)
