"""Columns are encoded as torch-frame's encoders and a linear map say, by a shorter way; what a past adds up to as the
formula says."""

from __future__ import annotations

import datetime
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rdl import features
from rdl.clock import NEVER
from rdl.encoders import SummaryEncoder, TableEncoder
from rdl.schema import Stype
from tests.memory import MemoryReader


@pytest.mark.parametrize("rows", [0, 2, 40])
def test_the_columns_are_those_of_the_two_maps(tmp_path: Path, rows: int) -> None:
    """Of few rows, where entries of categories outnumber the cells, and of many."""
    count, day = 40, datetime.datetime(2020, 1, 1)
    table = pa.table(
        {
            "id": range(count),
            "number": [None if n % 7 == 0 else n * n / 3 for n in range(count)],
            "other": [float(n % 5) for n in range(count)],
            "word": [None if n % 11 == 0 else "abc"[n % 3] for n in range(count)],
            "colour": ["red" if n % 2 else "blue" for n in range(count)],
            "day": [day + datetime.timedelta(days=37 * (n % 9)) for n in range(count)],
            "text": [f"some words {n} and {n * 7}" for n in range(count)],
        }
    )
    reader = MemoryReader({"things": table}, keys={"things": "id"})
    columns = (
        replace(c, stype=Stype.text_embedded) if c.name == "text" else c for c in reader.schema["things"].columns
    )
    things = replace(reader.schema["things"], columns=tuple(columns))
    reader.schema = replace(reader.schema, tables={"things": things})
    snapshot = reader.snapshot(tmp_path / "s")
    fitted = features.fit(snapshot, NEVER - 1)
    packed = features.pack(snapshot, fitted)["things"]
    torch.manual_seed(0)
    encoder = TableEncoder(fitted["things"], 8)
    assert encoder.encode is not None
    assert encoder.mix is not None
    assert {"numerical", "categorical", "timestamp", "embedding"} == set(encoder.encode.encoder_dict)
    torch.nn.init.normal_(encoder.bias)
    taken = torch.arange(rows)
    frame = packed.frame(taken, [(("number", "word"), taken % 4 == 1)])
    assert frame is not None
    found = encoder.columns(frame, rows)
    encoded, _ = encoder.encode(frame)
    assert torch.allclose(found, encoder.mix(encoded.flatten(1)) + encoder.bias, atol=1e-5)
    assert found.shape == (rows, 8)


BORDERS = torch.tensor([[-1.0, 0.0, 0.5, 2.0, 3.0], [0.0, 0.0, 0.0, 1.0, 4.0]])


def encoded(rows: np.ndarray) -> np.ndarray:
    torch.manual_seed(0)
    encoder = SummaryEncoder(3, BORDERS, 6, dropout=0.5).eval()
    with torch.no_grad():
        return encoder(torch.from_numpy(rows).float()).numpy()


@given(st.lists(st.tuples(*[st.floats(-5, 9, width=32)] * 3), min_size=1, max_size=5))
def test_numbers_are_encoded_piecewise_linearly(rows: list[tuple[float, float, float]]) -> None:
    """Two numbers in four bins each, some of no width, and one more that is read as it is."""
    torch.manual_seed(0)
    encoder, values = SummaryEncoder(3, BORDERS, 6), np.array(rows)
    parts = [values]
    for number, border in enumerate(BORDERS.numpy()):
        for low, high in pairwise(border):
            inside = (values[:, number] - low) / max(high - low, 1e-6)
            parts.append(np.clip(inside, 0, 1)[:, None])
    weight, bias = (tensor.detach().numpy() for tensor in (encoder.mix.weight, encoder.mix.bias))
    mixed = np.concatenate(parts, axis=1) @ weight.T + bias
    normed = (mixed - mixed.mean(axis=1, keepdims=True)) / np.sqrt(mixed.var(axis=1, keepdims=True) + 1e-5)
    assert np.allclose(encoded(values), np.maximum(normed, 0), atol=1e-4)
    passed = np.interp(values[:, 0], BORDERS[0].numpy(), np.arange(5))
    assert np.allclose(np.concatenate(parts[1:5], axis=1).sum(axis=1), passed), "the formula is that of the paper"


def test_beyond_the_bins_nothing_more_is_said_than_at_their_ends() -> None:
    torch.manual_seed(0)
    encoder = SummaryEncoder(2, BORDERS, 6)
    with torch.no_grad():
        encoder.mix.weight[:, :2] = 0  # but for the numbers themselves
        found = encoder(torch.tensor([[-1.0, 0.0], [-1e9, -7.0], [3.0, 4.0], [1e9, 8.0]]))
    assert torch.allclose(found[0], found[1])
    assert torch.allclose(found[2], found[3])
    assert not torch.allclose(found[0], found[2])
