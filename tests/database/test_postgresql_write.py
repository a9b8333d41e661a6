"""Predictions in PostgreSQL: types, turns, all or nothing."""

from __future__ import annotations

import datetime as dt
import threading

import pyarrow as pa
import pytest

from rdl.database import open_reader
from rdl.errors import DatabaseError
from tests.database.postgresql_engine import SETUP, reader_of
from tests.servers import PostgresServer


def test_predictions_take_the_types_of_the_keys(postgres: PostgresServer) -> None:
    declared = {
        "a": ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
        "b": ("varchar(5)", "'abc'"),
        "c": ("mood", "'so-so'"),
        "d": ("numeric(10,0)", "12"),
        "e": ("smallint", "3"),
        "f": ("positive", "4"),
        "g": ("timestamptz", "'2020-01-01 00:00+00'"),
        "h": ("char(3)", "'x'"),
        "i": ("citext", "'MiX'"),
        "j": ("date", "'2020-01-01'"),
        "k": ("numeric(30,0)", "12345678901234567890123"),
        "l": ("mood[]", "'{so-so}'"),
    }
    columns = ", ".join(f"{name} {type_}" for name, (type_, _) in declared.items())
    reader = reader_of(
        postgres,
        *SETUP,
        f"CREATE TABLE t ({columns}, PRIMARY KEY (k))",
        f"INSERT INTO t VALUES ({', '.join(cell for _, cell in declared.values())})",
    )
    rows = reader.read("t").read_all()
    reader.write("p", rows, like={name: ("t", name) for name in declared})
    url = postgres.url(reader.name)
    types = """SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = '{}'::regclass AND attnum > 0 ORDER BY 1"""
    assert postgres.run(url, types.format("p")) == postgres.run(url, types.format("t"))
    assert postgres.run(url, "SELECT count(*) FROM (TABLE t INTERSECT TABLE p) AS r").strip() == "1"
    reader.write("p", rows, if_exists="append")
    assert postgres.run(url, "SELECT count(*), count(DISTINCT a) FROM p").strip() == "2|1"
    longer = rows.set_column(1, "b", pa.array(["too long"]))
    with pytest.raises(DatabaseError, match="too long for type character varying"):
        reader.write("p", longer, if_exists="replace", like={"b": ("t", "b")})
    assert postgres.run(url, "SELECT count(*) FROM p").strip() == "2"
    with pytest.raises(DatabaseError, match="no table 'nope'"):
        reader.write("q", rows, like={"b": ("nope", "b")})


def test_every_type_of_arrow_is_written(postgres: PostgresServer) -> None:
    moment = dt.datetime(2020, 1, 1, 0, 0, 0, 5)
    rows = pa.table(
        {
            "x": pa.array([float("nan"), None, 1e308]),
            "half": pa.array([1.5, None, 2], pa.float32()),
            "at": pa.array([moment, None, dt.datetime(9999, 12, 31)], pa.timestamp("us")),
            "zoned": pa.array([moment, None, moment], pa.timestamp("ns", "Europe/Berlin")),
            "day": pa.array([moment.date(), None, dt.date(1, 1, 1)]),
            "clock": pa.array([dt.time(1, 2, 3), None, dt.time()]),
            "span": pa.array([dt.timedelta(1, 2, 3), None, dt.timedelta()]),
            "items": pa.array([[1, None], None, []]),
            "words": pa.array([["a", 'b,"c"'], None, []]),
            "deep": pa.array([[[1], [2]], None, []]),
            "pair": pa.array([{"a": 1}, None, {"a": 2}]),
            "bytes": pa.array([b"\x00\xff", None, b""]),
            "class": pa.array(["a", None, "b"]).dictionary_encode(),
            "small": pa.array([1, None, 255], pa.uint8()),
            "nothing": pa.nulls(3),
            "exact": pa.array([1, None, 2], pa.decimal128(10, 2)),
            'na"me; --': pa.array(["it's \\", None, "🐘"], pa.large_string()),
        }
    )
    reader = reader_of(postgres, "CREATE TABLE t (id int)")
    assert reader.write("p", rows) == 3
    found = postgres.run(postgres.url(reader.name), "SELECT * FROM p").splitlines()
    assert found[0] == (
        "NaN|1.5|2020-01-01 00:00:00.000005|2020-01-01 00:00:00.000005+00|2020-01-01|01:02:03|24:00:02.000003|{1,NULL}|"
        '{a,"b,\\"c\\""}|[[1],[2]]|{"a":1}|\\x00ff|a|1||1|it\'s \\'
    )
    assert found[1] == "|" * (rows.num_columns - 1)
    with pytest.raises(DatabaseError, match="0x00"):
        reader.write("q", pa.table({"a": ["x\0y"]}))
    with pytest.raises(DatabaseError):
        reader.write("q", pa.table({"a": pa.array([2**64 - 1], pa.uint64())}))


def test_writers_take_turns(counted: tuple[PostgresServer, str]) -> None:
    server, url = counted
    failures: list[Exception] = []

    def write(number: int) -> None:
        try:
            open_reader(url).write("p", pa.table({"a": [number] * 1000}), if_exists="append")
        except Exception as error:  # whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert server.run(url, "SELECT count(*), count(DISTINCT a) FROM p").strip() == "6000|6"


def test_what_others_made_of_predictions_stays_when_they_are_replaced(counted: tuple[PostgresServer, str]) -> None:
    server, url = counted
    reader = open_reader(url)
    reader.write("p", pa.table({"a": [1]}))
    server.run(url, "CREATE VIEW w AS TABLE p")
    assert reader.write("p", pa.table({"a": [2, 3]}), if_exists="replace") == 2
    assert server.run(url, "SELECT sum(a) FROM w").strip() == "5"
    with pytest.raises(DatabaseError, match="cannot drop table p because other objects depend on it"):
        reader.write("p", pa.table({"a": ["text"]}), if_exists="replace")
    assert server.run(url, "SELECT sum(a) FROM w").strip() == "5"


def test_a_table_that_somebody_made_in_place_of_predictions_stays(counted: tuple[PostgresServer, str]) -> None:
    server, url = counted
    reader = open_reader(url)
    reader.write("q", pa.table({"id": [1], "score": [0.5]}))
    server.run(url, "ALTER TABLE q RENAME TO mine; CREATE TABLE q (precious int); INSERT INTO q VALUES (7)")
    with pytest.raises(DatabaseError, match="cannot replace table 'q'"):
        reader.write("q", pa.table({"id": [2], "score": [0.1]}), if_exists="replace")
    assert server.run(url, "SELECT precious FROM q").strip() == "7"
