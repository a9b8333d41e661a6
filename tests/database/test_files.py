"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from rdl.database import files
from rdl.database.files import write_file
from rdl.errors import DatabaseError

ROWS = pa.table({"id": [1, 2], "score": [0.5, None], "items": [["a"], []]})


def test_parquet(tmp_path: Path) -> None:
    assert write_file(tmp_path / "p.parquet", ROWS) == 2
    assert pq.read_table(tmp_path / "p.parquet") == ROWS


def test_csv(tmp_path: Path) -> None:
    assert write_file(tmp_path / "p.CSV", ROWS) == 2
    assert (tmp_path / "p.CSV").read_text() == '"id","score","items"\n1,0.5,"[""a""]"\n2,,"[]"\n'


@pytest.mark.parametrize("name", ["p.parquet", "p.csv"])
def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path, name: str) -> None:
    write_file(tmp_path / name, ROWS)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(DatabaseError, match="exists"):
        write_file(tmp_path / name, ROWS.slice(1))
    assert (tmp_path / name).read_bytes() == before
    write_file(tmp_path / name, ROWS.slice(1), if_exists="replace")
    assert (tmp_path / name).read_bytes() != before


def test_append(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_file(path, ROWS, if_exists="append")
    write_file(path, ROWS.select(["items", "score", "id"]), if_exists="append")
    assert pq.read_table(path).to_pylist() == ROWS.to_pylist() * 2
    with pytest.raises(DatabaseError, match="cannot append"):
        write_file(path, ROWS.select(["id"]), if_exists="append")
    write_file(tmp_path / "p.csv", ROWS)
    with pytest.raises(DatabaseError, match="cannot append"):
        write_file(tmp_path / "p.csv", ROWS, if_exists="append")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("p.xlsx", r"use \.parquet or \.csv"),
        ("p", r"use \.parquet or \.csv"),
        ("nowhere/p.csv", "no folder"),
        ("d.csv", "is a folder"),
    ],
)
def test_paths_that_cannot_be(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(DatabaseError, match=reason):
        write_file(tmp_path / name, ROWS)
    assert [path.name for path in tmp_path.iterdir()] == ["d.csv"]


@pytest.mark.parametrize("name", ["p.parquet", "p.csv"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / name, ROWS)
    before = (tmp_path / name).read_bytes()

    def full(*arguments: object, **_: object) -> None:
        next(argument for argument in arguments if isinstance(argument, Path)).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_write_parquet", full)
    monkeypatch.setattr(pa.csv, "write_csv", full)
    with pytest.raises(DatabaseError, match=rf"{name}': No space left on device$"):
        write_file(tmp_path / name, ROWS, if_exists="replace")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before
