"""The cells of a snapshot: when each may be read."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from rdl.aggregates import window_features
from rdl.cells import Cells
from rdl.clock import US_PER_DAY
from rdl.extract import micros
from rdl.features import fit, pack
from rdl.sampler import Seeds as Asked
from rdl.streams import Seeds
from tests.test_aggregates import CLICK, DAYS, database


def test_a_cell_told_before_its_row_is_known_with_it() -> None:
    """To baselines as to models: a row-level seed's own row too."""
    reader = database(1)
    with TemporaryDirectory() as folder:
        snapshot = reader.snapshot(Path(folder) / "snapshot")
        own, fee = snapshot.time("orders"), snapshot.arrow("orders")["fee"].to_numpy().astype(np.float32)
        told = micros(snapshot.arrow("orders")["paid"])
        rows = np.arange(len(own))
        found = window_features(CLICK, snapshot, Seeds(rows, own, own), fitted_at_us=DAYS * US_PER_DAY)
        packed = pack(snapshot, fit(snapshot, DAYS * US_PER_DAY))["orders"]
        readable = Cells(CLICK, snapshot, 0).readable("orders", snapshot.schema["orders"]["fee"], rows, own)
    asked = Asked("orders", *map(torch.from_numpy, (rows, own.copy(), own.copy())), strictly=True)
    hidden = dict(packed.unread(asked.row, asked.time, asked.late_cut))
    assert (told < own).any()
    assert np.array_equal(readable, told < own)
    assert np.array_equal(found["fee"].to_numpy(), np.where(readable, fee, np.nan), equal_nan=True)
    (unread,) = [hide for names, hide in hidden.items() if "fee" in names]
    assert np.array_equal(~unread.numpy(), readable)
