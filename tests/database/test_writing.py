"""Predictions are written whole or not at all, never over a user's table, and never taken for an input."""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rdl.database import duckdb as duckdb_reader
from rdl.database import files, fingerprint, mysql_write, open_reader, postgresql_write, sqlalchemy_write, sqlite_write
from rdl.database import sqlite as sqlite_reader
from rdl.database.reader import Reader
from rdl.errors import DatabaseError
from tests.database.engines import CONTENT, ENGINES, ORDERS, PEOPLE, Engine, build_sqlite, orders, quote

TABLE = 'Prédictions "1"'


def predictions(start: int = 0, rows: int = 5) -> pa.Table:
    moment = dt.datetime(2024, 1, 31, 12, 30)
    return pa.table(
        {
            "id": pa.array(range(start, start + rows), pa.int64()),
            "time": pa.array([moment] * rows, pa.timestamp("us")),
            'sco"re': pa.array([None, *(number / 7 for number in range(1, rows))], pa.float64()),
            "label": pa.array(["é"] * rows),
            "hit": pa.array([True] * rows),
        }
    )


Written = Callable[[Reader], list[dict[str, object]] | None]


@pytest.fixture
def written(engine: Engine, server: Any, url: str) -> Written:
    """The rows of the table that rdl wrote, past the reader; None where there is none."""
    remote = engine.remote
    return (lambda _: remote.written(server, url, TABLE)) if remote else written_in_file


def written_in_file(reader: Reader, table: str = TABLE) -> list[dict[str, object]] | None:
    path: Path = reader.path  # type: ignore[attr-defined]
    if path.is_dir():
        found = [*path.glob(f"{table}.parquet"), *path.glob(f"predictions/{table}.parquet")]
        return pq.read_table(found[0]).to_pylist() if found else None
    query = f"SELECT * FROM {quote(table)}"
    if path.suffix == ".duckdb":
        with duckdb.connect(path) as connection:
            try:
                return connection.sql(query).to_arrow_table().to_pylist()
            except duckdb.CatalogException:
                return None
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        rows = [dict(row) for row in connection.execute(query)]
    except sqlite3.OperationalError:
        return None
    finally:
        connection.close()
    return [{**row, "time": dt.datetime.fromisoformat(row["time"]), "hit": bool(row["hit"])} for row in rows]


def test_write_then_fail_append_replace(url: str, written: Written) -> None:
    reader = open_reader(url)
    assert reader.write(TABLE, predictions()) == 5
    assert written(reader) == predictions().to_pylist()
    with pytest.raises(DatabaseError, match="exists"):
        reader.write(TABLE, predictions())
    assert reader.write(TABLE, predictions(5, 3).select([4, 3, 2, 1, 0]), if_exists="append") == 3
    assert written(reader) == predictions().to_pylist() + predictions(5, 3).to_pylist()
    assert reader.write(TABLE, predictions(7, 2), if_exists="replace") == 2
    assert written(reader) == predictions(7, 2).to_pylist()


@pytest.mark.parametrize("if_exists", ["append", "replace"])
def test_append_and_replace_make_a_table_that_is_not_there(url: str, written: Written, if_exists: str) -> None:
    reader = open_reader(url)
    reader.write(TABLE, predictions(), if_exists=if_exists)
    assert written(reader) == predictions().to_pylist()


def test_what_rdl_wrote_is_no_input_and_no_change(url: str) -> None:
    reader = open_reader(url)
    before, schema = reader.fingerprint(), reader.reflect()
    for if_exists in ("fail", "append", "replace"):
        reader.write(TABLE, predictions(), if_exists=if_exists)
        again = open_reader(url)
        assert again.fingerprint() == before == reader.fingerprint()
        assert again.reflect() == schema
        assert again.read(ORDERS).read_all() == orders()


def test_empty_predictions(url: str, written: Written) -> None:
    reader = open_reader(url)
    assert reader.write(TABLE, predictions().slice(0, 0)) == 0
    assert written(reader) == []


def test_append_needs_the_same_columns(url: str, written: Written) -> None:
    reader = open_reader(url)
    reader.write(TABLE, predictions())
    with pytest.raises(DatabaseError, match="cannot append"):
        reader.write(TABLE, predictions().drop_columns(["hit"]), if_exists="append")
    assert written(reader) == predictions().to_pylist()


@pytest.mark.parametrize("if_exists", ["fail", "append", "replace"])
@pytest.mark.parametrize("name", [ORDERS, PEOPLE.lower()])
def test_a_users_table_is_never_touched(engine: Engine, url: str, if_exists: str, name: str) -> None:
    if engine.name == "relbench":
        pytest.skip("its predictions stand in a folder of their own")
    reader = open_reader(url)
    with pytest.raises(DatabaseError, match="not written by rdl"):
        reader.write(name, predictions(), if_exists=if_exists)
    for table, make in CONTENT.items():
        assert reader.read(table).read_all() == make()


@pytest.mark.parametrize("name", ["rdl_predictions", "RDL_Predictions", "", " "])
def test_names_that_cannot_be(url: str, name: str) -> None:
    with pytest.raises(DatabaseError, match="cannot name"):
        open_reader(url).write(name, predictions())


def test_columns_that_cannot_be(url: str) -> None:
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "A"])
    with pytest.raises(DatabaseError, match="stand twice"):
        open_reader(url).write(TABLE, twice)
    with pytest.raises(DatabaseError, match="use 'fail', 'append' or 'replace'"):
        open_reader(url).write(TABLE, predictions(), if_exists="overwrite")  # type: ignore[arg-type]


@pytest.mark.parametrize("if_exists", ["fail", "append", "replace"])
def test_a_write_that_fails_at_its_end_leaves_nothing(
    engine: Engine, url: str, written: Written, if_exists: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = open_reader(url)
    if if_exists != "fail":
        reader.write(TABLE, predictions())
    before, state, schema = written(reader), reader.fingerprint(), reader.reflect()

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    def half(part: Path, *_: object) -> None:
        part.write_bytes(b"PAR1 half of a file")
        full()

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_write, "written_now", full)
        patch.setattr(duckdb_reader, "written_now", full)
        patch.setattr(postgresql_write, "written_now", full)
        patch.setattr(mysql_write, "written_now", full)
        patch.setattr(sqlalchemy_write, "written_now", full)
        patch.setattr(files, "_write_parquet", half)
        with pytest.raises(DatabaseError, match="No space left on device"):
            reader.write(TABLE, predictions(9), if_exists=if_exists)
    assert written(reader) == before
    assert open_reader(url).fingerprint() == state
    assert open_reader(url).reflect() == schema
    if not engine.remote:
        folder: Path = reader.path  # type: ignore[attr-defined]
        assert not list((folder if folder.is_dir() else folder.parent).rglob("*.part"))
    assert reader.write(TABLE, predictions(9), if_exists=if_exists) == 5


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    sqlite3.connect(path).execute("CREATE TABLE t (a INTEGER)").connection.close()
    reader = open_reader(path)
    reader.write("p", pa.table({"a": [1]}))
    with sqlite3.connect(path) as connection:
        stop = "CREATE TRIGGER stop BEFORE INSERT ON p WHEN new.a = 70000 BEGIN SELECT RAISE(ABORT, 'enough'); END"
        connection.execute(stop)
    connection.close()
    with pytest.raises(DatabaseError, match="enough"):
        reader.write("p", pa.table({"a": range(100_000)}), if_exists="append")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM p").fetchall() == [(1,)]
    connection.close()


def test_a_conversion_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    duckdb.connect(path).close()
    reader = open_reader(path)
    reader.write("p", pa.table({"a": [1]}))
    texts = [str(number) for number in range(100_000)]
    with pytest.raises(DatabaseError, match="cannot write table 'p'"):
        reader.write("p", pa.table({"a": [*texts, "x"]}), if_exists="append")
    with duckdb.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM p").fetchall() == [(1,)]


def change_a_cell(path: Path) -> None:
    """Changes a user's number, the file's size staying as it is."""
    if path.is_dir():
        file = next(file for file in path.rglob(f"{ORDERS}*") if file.is_file() or file.is_dir())
        file = next(file.rglob("*.parquet")) if file.is_dir() else file
        data = file.read_bytes()
        file.write_bytes(data)
    elif path.suffix == ".duckdb":
        with duckdb.connect(path) as connection:
            connection.execute(f'UPDATE {quote(ORDERS)} SET amount = 7 WHERE "Id" = 1')
    else:
        with sqlite3.connect(path) as connection:
            connection.execute(f'UPDATE {quote(ORDERS)} SET amount = 7 WHERE "Id" = 1')
        connection.close()


@pytest.mark.parametrize("predicted", [False, True], ids=["", "after predictions"])
@pytest.mark.parametrize("restored", [False, True], ids=["", "with its old time of change"])
def test_a_change_in_place_changes_the_fingerprint(
    engine: Engine, server: Any, url: str, predicted: bool, restored: bool
) -> None:
    reader = open_reader(url)
    before = reader.fingerprint()
    if predicted:
        reader.write(TABLE, predictions())
    if engine.remote:
        engine.remote.change(server, url)
        times: dict[Path, int] = {}
    else:
        path: Path = reader.path  # type: ignore[attr-defined]
        times = {file: file.stat().st_mtime_ns for file in [path, *path.rglob("*")]}
        change_a_cell(path)
    for file, time in times.items():
        if restored and file.exists():
            os.utime(file, ns=(time, time))
    changed = reader.fingerprint()
    assert changed != before
    reader.write(TABLE, predictions(), if_exists="replace")
    assert reader.fingerprint() == changed


def test_lists_times_and_categories_are_written(engine: Engine, url: str) -> None:
    rows = pa.table(
        {
            "items": pa.array([[1, 2], None, []], pa.list_(pa.int64())),
            "at": pa.array([dt.datetime(2024, 1, 1, 0, 0, 0, 5), None, None], pa.timestamp("us", "UTC")),
            "day": pa.array([dt.date(2024, 1, 1), None, None]),
            "class": pa.array(["a", None, "b"]).dictionary_encode(),
            "nothing": pa.nulls(3),
            "small": pa.array([1, None, 2], pa.uint8()),
        }
    )
    reader = open_reader(url)
    reader.write("odd", rows)
    if engine.name != "sqlite":
        return
    path: Path = reader.path  # type: ignore[attr-defined]
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT * FROM odd").fetchall()
    connection.close()
    assert found == [
        ("[1,2]", "2024-01-01 00:00:00.000005", "2024-01-01", "a", None, 1),
        (None, None, None, None, None, None),
        ("[]", None, None, "b", None, 2),
    ]


@pytest.mark.parametrize("engine", ENGINES[:2], ids=lambda engine: engine.name)
def test_a_crash_before_the_seal_leaves_the_fingerprint_in_doubt(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = open_reader(url)
    before = reader.fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint.Seal, "stamp", lambda *_: None)
        reader.write(TABLE, predictions())
    assert reader.fingerprint() != before


def test_somebody_who_writes_at_the_same_time_breaks_the_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(build_sqlite(tmp_path).removeprefix("sqlite:///"))
    reader = open_reader(path)
    before, put = reader.fingerprint(), sqlite_write.put

    def put_late(*arguments: object) -> None:
        change_a_cell(path)
        put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite_reader, "put", put_late)
    reader.write(TABLE, predictions())
    assert reader.fingerprint() != before
    assert reader.read(ORDERS).read_all()["amount"][0].as_py() == 7
