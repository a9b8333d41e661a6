"""Columns are encoded as torch-frame's encoders and a linear map say, by a shorter way."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from rdl import features
from rdl.clock import NEVER
from rdl.encoders import TableEncoder
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
