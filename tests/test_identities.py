"""Which row it is: an entry for each row of a small table known at the cut, zeros for any other."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import torch
from torch_frame import stype

from rdl import features
from rdl.clock import US_PER_DAY
from rdl.encoders import IDENTITY_DROPOUT, TableEncoder
from rdl.features import Statistics
from rdl.folders import read_json, write_json
from rdl.snapshot import Snapshot
from tests.memory import MemoryReader


def drivers(folder: Path, count: int = 6) -> Snapshot:
    """A driver begins on each day; two results each on day 0."""
    days = pa.array([n * US_PER_DAY for n in range(count)], pa.int64()).cast(pa.timestamp("us"))
    tables = {
        "drivers": pa.table(
            {"id": [f"d{n}" for n in range(count)], "tall": [n % 2 == 0 for n in range(count)], "at": days}
        ),
        "results": pa.table({"id": range(2 * count), "driver": [f"d{n // 2}" for n in range(2 * count)]}),
    }
    reader = MemoryReader(
        tables,
        keys={"drivers": "id", "results": "id"},
        times={"drivers": "at"},
        relations=[("results", "driver", "drivers")],
    )
    return reader.snapshot(folder)


def test_small_tables_that_are_referred_to_have_identities(tmp_path: Path) -> None:
    snapshot = drivers(tmp_path / "s")
    assert not any(fitted.identities for fitted in features.fit(snapshot, 3 * US_PER_DAY).values())
    assert not features.fit(snapshot, 3 * US_PER_DAY, identities=3)["drivers"].identities, "there are four"
    fitted = features.fit(snapshot, 3 * US_PER_DAY, identities=4)
    assert fitted["drivers"].identities == ("id",)
    assert fitted["drivers"].categories["id"] == ("d0", "d1", "d2", "d3")
    assert not fitted["results"].identities, "nothing refers to them"
    write_json(tmp_path / "s.json", fitted["drivers"])
    assert Statistics.from_json(read_json(tmp_path / "s.json")) == fitted["drivers"]


def test_new_rows_have_none_and_any_may_be_hidden_in_training(tmp_path: Path) -> None:
    snapshot = drivers(tmp_path / "s")
    fitted = features.fit(snapshot, 3 * US_PER_DAY, identities=4)
    packed = features.pack(snapshot, fitted)["drivers"]
    torch.manual_seed(0)
    encoder = TableEncoder(fitted["drivers"], 16)

    assert encoder.encode is not None
    entries = encoder.encode.encoder_dict["categorical"]
    place = list(fitted["drivers"].categories).index("id")
    mix = torch.randn(len(fitted["drivers"].categories), 16, 5)

    def cells(rows: list[int]) -> torch.Tensor:
        """What the identity adds, and that the shorter way gives what the two maps do."""
        codes = packed.frame(torch.tensor(rows)).feat_dict[stype.categorical]
        seed = int(torch.randint(1000, (1,)))
        with torch.no_grad():
            torch.manual_seed(seed)
            encoded = entries(codes)
            torch.manual_seed(seed)
            assert torch.allclose(entries.mixed(codes, mix), encoded.flatten(1) @ mix.flatten(0, 1), atol=1e-5)
        return encoded[:, place]

    encoder.eval()
    for rows in ([0, 2, 4, 5], [0, 2, 4, 5] * 20):  # of fewer cells than entries, and of more
        old, other, new, newer = cells(rows)[:4]
        assert old.any()
        assert not torch.allclose(old, other)
        assert not new.any()
        assert not newer.any()
    encoder.train()
    drawn = torch.cat([cells([0] * 50) for _ in range(40)])
    hidden = ~drawn.any(1)
    assert torch.equal(drawn[~hidden], old.expand(int((~hidden).sum()), -1)), "shown or hidden, whole"
    assert abs(float(hidden.double().mean()) - IDENTITY_DROPOUT) < 0.04
