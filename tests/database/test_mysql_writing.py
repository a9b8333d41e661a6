"""Writing to MySQL and MariaDB: whole or not at all, whatever dies."""

from __future__ import annotations

import datetime as dt
import math
import threading

import pyarrow as pa
import pytest

from rdl.database import mysql_write, open_reader
from rdl.errors import DatabaseError
from tests.servers import MariaServer


def test_predictions_take_the_types_of_their_entity(mariadb: MariaServer) -> None:
    url = mariadb.database()
    mariadb.run(
        url,
        """CREATE TABLE t (id UUID PRIMARY KEY, code VARCHAR(5) COLLATE utf8mb4_bin, kind ENUM('a','b'),
        big BIGINT UNSIGNED, day TIMESTAMP NULL)""",
    )
    rows = pa.table(
        {
            "id": ["123e4567-e89b-12d3-a456-426655440000"],
            "code": ["A'\\b"],
            "kind": ["b"],
            "big": ["18446744073709551615"],
            "day": pa.array([dt.datetime(2020, 1, 1, 5)], pa.timestamp("us")),
            "nan": [math.nan],
            "raw": [b"\x00'"],
        }
    )
    reader = open_reader(url)
    like = {name: ("t", name) for name in ("id", "code", "kind", "big", "day")}
    reader.write("p", rows, like=like)
    types = {row["Field"]: row["Type"] for row in mariadb.run(url, "DESCRIBE p")}
    assert types == {
        "id": "uuid", "code": "varchar(5)", "kind": "enum('a','b')", "big": "bigint(20) unsigned", "day": "timestamp",
        "nan": "double", "raw": "longblob",
    }  # fmt: skip
    (row,) = mariadb.run(url, "SELECT *, COLLATION(code) AS c FROM p")
    assert (row["code"], row["big"], row["day"], row["nan"], row["raw"], row["c"]) == (
        "A'\\b", 2**64 - 1, dt.datetime(2020, 1, 1, 5), None, b"\x00'", "utf8mb4_bin",
    )  # fmt: skip
    with pytest.raises(DatabaseError, match="Data too long"):
        reader.write("p", rows.set_column(1, "code", pa.array(["longer"])), like=like, if_exists="replace")
    assert len(mariadb.run(url, "SELECT * FROM p")) == 1


def test_copied_and_renamed_predictions_are_the_users(mariadb: MariaServer) -> None:
    url = mariadb.database()
    mariadb.run(url, "CREATE TABLE t (a INT)")
    reader = open_reader(url)
    reader.write("p", pa.table({"a": [1]}))
    mariadb.run(url, "CREATE TABLE copied LIKE p; RENAME TABLE p TO renamed")
    assert set(open_reader(url).reflect().tables) == {"t", "copied", "renamed"}
    for name in ("copied", "renamed"):
        with pytest.raises(DatabaseError, match="not written by rdl"):
            reader.write(name, pa.table({"a": [1]}), if_exists="replace")


@pytest.mark.parametrize("if_exists", ["append", "replace"])
def test_a_server_killed_at_any_point_of_a_write(mariadb: MariaServer, if_exists: str) -> None:
    url = mariadb.database()
    mariadb.run(url, "CREATE TABLE t (a INT)")
    reader, done = open_reader(url), threading.Event()
    before, schema = reader.fingerprint(), reader.reflect()
    reader.write("p", pa.table({"a": [-1]}))
    rows, states = pa.table({"a": range(20_000)}), set()
    for number in range(3):
        held = mariadb.run(url, "SELECT COUNT(*) AS n FROM p")[0]["n"]
        timer = threading.Timer(0.01 + 0.06 * number, lambda: (mariadb.kill(), done.set()))
        timer.start()
        try:
            reader.write("p", rows, if_exists=if_exists)  # type: ignore[arg-type]
            states.add("written")
        except DatabaseError as error:
            lines = len(str(error).splitlines())
            states.add("failed" if lines <= 2 else f"failed in {lines} lines")
        done.wait()
        timer.join()
        done.clear()
        mariadb.start()
        found = mariadb.run(url, "SELECT COUNT(*) AS n FROM p")[0]["n"]
        assert found in ((held, held + 20_000) if if_exists == "append" else (1, 20_000))
        assert open_reader(url).fingerprint() == before
        assert open_reader(url).reflect() == schema
    assert "failed" in states
    assert states <= {"failed", "written"}
    reader.write("p", rows, if_exists="replace")
    assert [*mariadb.run(url, "SHOW TABLES LIKE 'rdl%%'")] == []


def test_a_process_that_dies_before_the_rename(mariadb: MariaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = mariadb.database()
    mariadb.run(url, "CREATE TABLE t (a INT)")
    reader = open_reader(url)
    before = reader.fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(mysql_write, "_clear", lambda *_: None)
        patch.setattr(mysql_write, "written_now", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            reader.write("p", pa.table({"a": [1]}))
    assert len(mariadb.run(url, "SHOW TABLES LIKE 'rdl%%'")) == 1
    assert reader.fingerprint() == before
    assert list(open_reader(url).reflect().tables) == ["t"]
    reader.write("p", pa.table({"a": [1]}))
    assert not mariadb.run(url, "SHOW TABLES LIKE 'rdl%%'")
