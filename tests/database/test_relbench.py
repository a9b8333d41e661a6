"""RelBench folders: the manifest is believed, and checked."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from rdl.clock import to_us
from rdl.database import open_reader
from rdl.database.relbench import RelbenchReader
from rdl.errors import DatabaseError
from rdl.schema import Dtype, Relation, Stype, TimePath


def data_set(folder: Path, **changes: Any) -> Path:
    """A small data set whose manifest has ``changes``; a change to None leaves the entry out."""
    (folder / "db").mkdir(exist_ok=True)
    moment = dt.datetime(2020, 1, 31)
    pq.write_table(pa.table({"id": [0, 1], "name": ["a", "b"]}), folder / "db" / "users.parquet")
    events = pa.table(
        {
            "user": pa.array([0.0, None]),
            "at": pa.array([moment, None], pa.timestamp("ns")),
            "text": ["2020-01-31", "?"],
            "n": [1, 2],
        }
    )
    pq.write_table(events, folder / "db" / "events.parquet")
    manifest: dict[str, Any] = {
        "name": "small",
        "val_timestamp": "2020-01-01",
        "test_timestamp": dt.date(2021, 1, 1),
        "tables": {
            "users": {"pkey": "id", "time_col": None, "fkeys": {}},
            "events": {"pkey": None, "time_col": "at", "fkeys": {"user": "users"}},
        },
    }
    for key, change in changes.items():
        if isinstance(change, dict):
            manifest["tables"][key].update(change)
        else:
            manifest[key] = change
    (folder / "manifest.yaml").write_text(yaml.safe_dump({k: v for k, v in manifest.items() if v is not None}))
    return folder


def test_what_is_declared(tmp_path: Path) -> None:
    reader = open_reader(f"relbench:{data_set(tmp_path)}")
    assert isinstance(reader, RelbenchReader)
    schema = reader.reflect()
    assert reader.name == "small"
    assert schema["users"].primary_key == ("id",)
    assert schema["events"].time == TimePath("at")
    assert schema["users"].time is None
    assert schema.relations == (Relation("events", ("user",), "users", ("id",)),)
    assert (reader.val_cut_us, reader.test_cut_us) == (to_us("2020-01-01"), to_us("2021-01-01"))
    assert reader.tasks == {}


def test_a_key_that_pandas_made_a_float_is_an_integer(tmp_path: Path) -> None:
    reader = open_reader(data_set(tmp_path))
    column = reader.reflect()["events"]["user"]
    assert (column.dtype, column.stype) == (Dtype.integer, Stype.identifier)
    assert reader.read("events").read_all()["user"].to_pylist() == [0, None]


def test_a_time_column_of_text_is_read_as_time(tmp_path: Path) -> None:
    reader = open_reader(data_set(tmp_path, events={"time_col": "text"}))
    column = reader.reflect()["events"]["text"]
    assert (column.dtype, column.stype) == (Dtype.timestamp, Stype.timestamp)
    assert reader.read("events").read_all()["text"].to_pylist() == [dt.datetime(2020, 1, 31), None]
    assert reader.repairs == {("events", "text"): 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"events": {"time_col": "n"}}, "has no unit"),
        ({"events": {"time_col": "att"}}, "did you mean 'at'"),
        ({"users": {"pkey": "idd"}}, "did you mean 'id'"),
        ({"events": {"fkeys": {"usr": "users"}}}, "did you mean 'user'"),
        ({"events": {"fkeys": {"user": "user"}}}, "did you mean 'users'"),
        ({"events": {"fkeys": {"user": "events"}}}, "which has no pkey"),
        ({"events": {"fkeys": ["user"]}}, "needs the entries"),
        ({"val_timestamp": None}, "val_timestamp is missing"),
        ({"test_timestamp": "soon"}, "is not a time"),
        ({"test_timestamp": "2019-01-01"}, "later than test_timestamp"),
        ({"tables": None}, "declares no tables"),
        ({"tables": ["users"]}, "declares no tables"),
    ],
)
def test_a_manifest_that_cannot_be(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    data_set(tmp_path, **changes)
    with pytest.raises(DatabaseError, match=reason) as caught:
        open_reader(f"relbench:{tmp_path}").reflect()
    assert str(tmp_path / "manifest.yaml") in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_manifest_that_is_no_yaml(tmp_path: Path) -> None:
    data_set(tmp_path)
    (tmp_path / "manifest.yaml").write_text("tables: [")
    with pytest.raises(DatabaseError, match="not valid YAML"):
        open_reader(f"relbench:{tmp_path}")
    (tmp_path / "manifest.yaml").unlink()
    with pytest.raises(DatabaseError, match=r"there is no manifest\.yaml"):
        open_reader(f"relbench:{tmp_path}")


def test_a_table_without_a_file(tmp_path: Path) -> None:
    data_set(tmp_path)
    (tmp_path / "db" / "users.parquet").unlink()
    with pytest.raises(DatabaseError, match=r"no file db/users\.parquet"):
        open_reader(tmp_path)


def test_the_manifest_counts_in_the_fingerprint(tmp_path: Path) -> None:
    before = open_reader(data_set(tmp_path)).fingerprint()
    assert open_reader(data_set(tmp_path, val_timestamp="2019-01-01")).fingerprint() != before


def test_a_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import relbench.hf

    asked: list[str] = []

    def fetch(spec: str) -> Path:
        asked.append(spec)
        if spec != "rel-small":
            raise OSError("404 Client Error for https://user:s3cret@hub\nmore")
        return data_set(tmp_path)

    monkeypatch.setattr(relbench.hf, "download_dataset_dir", fetch)
    monkeypatch.chdir(tmp_path)
    assert open_reader("relbench:rel-small").count("users") == 2
    with pytest.raises(DatabaseError, match="cannot be had from the RelBench hub: 404") as caught:
        open_reader("relbench:rel-smal")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(DatabaseError, match="there is no folder"):
        open_reader("relbench:./nowhere")
    assert asked == ["rel-small", "rel-smal"]
