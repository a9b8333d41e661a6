"""SQLite: one state of the data while others write, locks, and no lock held for longer."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from rdl.database import open_reader
from rdl.errors import DatabaseError
from tests.database.test_sqlite import database

UPDATE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0.1)
connection.execute("UPDATE t SET a = a + 1")
connection.commit()
"""


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_consistent_read_sees_one_state(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.db"
    rows: list[tuple[object, ...]] = [(0,)] * 50_000
    reader = database(
        path,
        f"PRAGMA journal_mode = {mode}",
        "CREATE TABLE t (a INTEGER)",
        "CREATE TABLE u (a INTEGER)",
        rows=[("INSERT INTO t VALUES (?)", rows)],
    )
    before = reader.fingerprint()
    with reader.consistent():
        half = reader.read("t")
        half.read_next_batch()
        assert reader.fingerprint() == before
        other = subprocess.run([sys.executable, "-c", UPDATE, str(path)], capture_output=True, check=False)
        assert (b"locked" in other.stderr) == (mode == "delete")
        assert reader.fingerprint() == before
        assert reader.count("t") == 50_000
        assert set(reader.read("t").read_all()["a"].to_pylist()) == {0}
        with pytest.raises(DatabaseError, match="under way already"), reader.consistent():
            pass
    assert (reader.fingerprint() == before) == (mode == "delete")
    del half
    subprocess.run([sys.executable, "-c", UPDATE, str(path)], check=True)
    assert set(reader.read("t").read_all()["a"].to_pylist()) == {1 if mode == "delete" else 2}


def test_what_is_left_of_a_consistent_read_cannot_be_taken_for_the_whole(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [(0,)] * 50_000
    statements = ("PRAGMA journal_mode = wal", "CREATE TABLE t (a INTEGER)")
    reader = database(tmp_path / "a.db", *statements, rows=[("INSERT INTO t VALUES (?)", rows)])
    with reader.consistent():
        stream = reader.read("t")
        stream.read_next_batch()
    with pytest.raises(DatabaseError, match="cannot read table 't'"):
        stream.read_all()
    with pytest.raises(KeyError, match="mine"), reader.consistent():
        raise KeyError("mine")
    assert reader.read("t").read_all().num_rows == 50_000


def test_a_consistent_read_tells_of_changes_by_this_process(tmp_path: Path) -> None:
    # A process's locks on a file do not keep itself out.
    path = tmp_path / "a.db"
    reader = database(path, "CREATE TABLE t (a INTEGER)", "INSERT INTO t VALUES (1)")
    with pytest.raises(DatabaseError, match="changed while they were read"), reader.consistent():
        database(path, "UPDATE t SET a = 2")


def test_a_database_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database(path, "PRAGMA journal_mode = wal", "CREATE TABLE t (a INTEGER)").close()
    writer = sqlite3.connect(path)
    writer.execute("INSERT INTO t VALUES (1)")
    writer.commit()
    reader = open_reader(path)
    before = reader.fingerprint()
    assert reader.read("t").read_all().to_pylist() == [{"a": 1}]
    assert reader.fingerprint() == before
    writer.execute("UPDATE t SET a = 2")
    writer.commit()
    assert reader.fingerprint() != before
    assert reader.write("p", pa.table({"a": [1]})) == 1
    assert reader.read("t").read_all().to_pylist() == [{"a": 2}]
    writer.close()


def test_a_locked_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    reader = database(path, "CREATE TABLE t (a INTEGER)", "INSERT INTO t VALUES (1)")
    reader.reflect()
    hold = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN EXCLUSIVE');"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(DatabaseError, match="locked"):
            reader.read("t").read_all()
        other.communicate()
    assert reader.read("t").read_all().num_rows == 1


def test_a_read_that_is_left_half_way_holds_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    rows: list[tuple[object, ...]] = [(number,) for number in range(50_000)]
    reader = database(path, "CREATE TABLE t (a INTEGER)", rows=[("INSERT INTO t VALUES (?)", rows)])
    stream = reader.read("t")
    assert stream.read_next_batch().num_rows > 0
    del stream
    assert reader.write("p", pa.table({"a": [1]})) == 1


def test_a_wal_file_in_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    database(path, "PRAGMA journal_mode = wal", "CREATE TABLE t (a INTEGER)", "INSERT INTO t VALUES (1)")
    for log in tmp_path.glob("a.db-*"):
        log.unlink()
    monkeypatch.setattr(os, "access", lambda place, mode: mode != os.W_OK)
    reader = open_reader(path)
    assert reader.read("t").read_all().to_pylist() == [{"a": 1}]
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]
    with pytest.raises(DatabaseError, match="no permission to write"):
        reader.write("p", pa.table({"a": [1]}))
