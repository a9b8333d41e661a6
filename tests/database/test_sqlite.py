"""SQLite: any value in any column, odd declarations, keys."""

from __future__ import annotations

import datetime as dt
import math
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdl import clock
from rdl.clock import to_us
from rdl.database import open_reader
from rdl.database import sqlite as sqlite_reader
from rdl.database.reader import Reader
from rdl.errors import DatabaseError
from rdl.schema import Dtype, Relation, Stype

NO_END, NO_BEGINNING = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999), dt.datetime(1, 1, 1)


def database(path: Path, *statements: str, rows: Iterable[tuple[str, list[tuple[object, ...]]]] = ()) -> Reader:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    for insert, values in rows:
        connection.executemany(insert, values)
    connection.commit()
    connection.close()
    return open_reader(path)


def column(path: Path, declared: str, values: list[object]) -> tuple[pa.Array, int, Dtype]:
    """What a column of this declared type that holds ``values`` is read as, its repairs, its type."""
    reader = database(
        path, f"CREATE TABLE t (v {declared})", rows=[("INSERT INTO t VALUES (?)", [(value,) for value in values])]
    )
    dtype = reader.reflect()["t"]["v"].dtype
    return reader.read("t").read_all()["v"].combine_chunks(), reader.repairs.get(("t", "v"), 0), dtype


@pytest.mark.parametrize(
    ("declared", "late", "expected"),
    [
        ("REAL", 0.5, 0.5),
        ("NUMERIC", 0.5, 0.5),
        ("INTEGER", 2**60 + 1, 2**60 + 1),
        ("TEXT", "late", "late"),
        ("", "late", "late"),
        ("", 0.5, 0.5),
        ("BLOB", b"\x00\xff", b"\x00\xff"),
        ("TIMESTAMP", "2020-01-01 00:00:01.5", dt.datetime(2020, 1, 1, 0, 0, 1, 500_000)),
    ],
)
@pytest.mark.parametrize("early", [None, 7], ids=["null first", "integers first"])
def test_a_column_whose_values_come_late(
    tmp_path: Path, declared: str, early: int | None, late: object, expected: object
) -> None:
    found, repairs, _ = column(tmp_path / "a.db", declared, [early] * 40_000 + [late])
    assert len(found) == 40_001
    assert found[-1].as_py() == expected
    if early is None:
        assert found.null_count == 40_000
    elif declared in ("BLOB", "TIMESTAMP"):
        assert (found.null_count, repairs) == (40_000, 40_000)
    else:
        assert repairs == 0
        assert found[0].as_py() == ("7" if isinstance(late, str) else 7)


@pytest.mark.parametrize(
    ("declared", "values", "expected", "repairs"),
    [
        ("INTEGER", ["12", "abc", 3.0, 2.5, b"1", None], [12, None, 3, None, None, None], 3),
        ("BOOLEAN", [0, 1, 2, "true", "F", "maybe", 1.0, None], [False, True, None, True, False, None, True, None], 2),
        ("DOUBLE PRECISION", [1, "2.5", "n/a", b"", math.inf, None], [1.0, 2.5, None, None, math.inf, None], 2),
        ("DECIMAL(10, 2)", ["1.25", 3, "1,5"], [1.25, 3.0, None], 1),
        ("VARCHAR(3)", ["longer", 5, 1.5, b"x", None, ""], ["longer", "5", "1.5", None, None, ""], 1),
        ("UUID", ["a-b", b"\x01\xff"], ["a-b", "01ff"], 0),
        ("JSON", ['{"a": 1}', None], ['{"a": 1}', None], 0),
        ("TIME", ["10:20:30", "25:00:00", None], [dt.time(10, 20, 30), None, None], 1),
        ("INTERVAL", ["1 day"], ["1 day"], 0),
    ],
)
def test_cells_that_do_not_fit_become_null_and_are_counted(
    tmp_path: Path, declared: str, values: list[object], expected: list[object], repairs: int
) -> None:
    found, counted, _ = column(tmp_path / "a.db", declared, values)
    assert found.to_pylist() == expected
    assert counted == repairs


@pytest.mark.parametrize("declared", ["TIMESTAMP", "DATE", "DATETIME", "timestamp with time zone"])
def test_times(tmp_path: Path, declared: str) -> None:
    day = dt.datetime(2020, 1, 31)
    values = {
        "2020-01-31": day,
        "2020-01-31 10:00": day.replace(hour=10),
        "2020-01-31T10:00:00": day.replace(hour=10),
        "2020-01-31T10:00:00Z": day.replace(hour=10),
        "2020-01-31 10:00:00+02:00": day.replace(hour=8),
        "2020-01-31 23:30:00-02": dt.datetime(2020, 2, 1, 1, 30),
        "2020-01-31 10:00:00.1234567": day.replace(hour=10, microsecond=123_456),
        " 2020-01-31 ": day,
        "0001-01-01": dt.datetime(1, 1, 1),
        "31/01/2020": None,
        "01-02-2020": None,
        "2020-02-30": None,
        "infinity": NO_END,
        "-infinity": NO_BEGINNING,
        "12345-06-07 08:09:10+00": NO_END,
        "9999-12-31": dt.datetime(9999, 12, 31),
        "0044-03-15 BC": NO_BEGINNING,
        "0000-01-01": NO_BEGINNING,
        "2020-01-31 24:00:00": dt.datetime(2020, 2, 1),
        "2016-12-31 23:59:60": dt.datetime(2017, 1, 1),
        "1969-12-31 23:59:59.999999": dt.datetime(1969, 12, 31, 23, 59, 59, 999_999),
        "epoch": None,
        "now": None,
        "0000-00-00 00:00:00": None,
        "": None,
        "yesterday": None,
        1_580_428_800: None,
        1_580_428_800.5: None,
        b"2020-01-31": None,
    }
    found, repairs, _ = column(tmp_path / "a.db", declared, list(values))
    assert dict(zip(values, found.to_pylist(), strict=True)) == values
    assert repairs == sum(value is None for value in values.values())


def test_repairs_of_part_of_the_rows(tmp_path: Path) -> None:
    reader = database(tmp_path / "a.db", "CREATE TABLE t (v INTEGER)", "INSERT INTO t VALUES (1), ('x'), (NULL), ('y')")
    reader.read("t", limit=3).read_all()
    assert reader.repairs == {("t", "v"): 1}
    reader.read("t").read_all()
    reader.read("t", limit=1).read_all()
    assert reader.repairs == {("t", "v"): 2}


@pytest.mark.parametrize("name", ["true", "FALSE", "rowid", "null", "current_date", "*"])
def test_repairs_of_a_column_that_is_called_like_a_value(tmp_path: Path, name: str) -> None:
    values = "INSERT INTO t VALUES (1), ('x'), (NULL), (NULL)"
    reader = database(tmp_path / "a.db", f'CREATE TABLE t ("{name}" INTEGER)', values)
    assert reader.read("t").read_all()[name].to_pylist() == [1, None, None, None]
    assert reader.repairs == {("t", name): 1}


def test_text_that_is_no_utf8_becomes_null(tmp_path: Path) -> None:
    statements = (
        "CREATE TABLE t (v TEXT)",
        "INSERT INTO t VALUES ('é'), (CAST(x'ff41' AS TEXT)), (NULL), ('a' || char(0) || 'b')",
    )
    reader = database(tmp_path / "a.db", *statements)
    assert reader.read("t").read_all()["v"].to_pylist() == ["é", None, None, "a\0b"]
    assert reader.repairs == {("t", "v"): 1}


def test_a_time_of_the_year_0_among_plain_ones(tmp_path: Path) -> None:
    found, repairs, _ = column(tmp_path / "a.db", "TIMESTAMP", ["2020-01-31", "0000-06-01", None])
    assert found.to_pylist() == [dt.datetime(2020, 1, 31), NO_BEGINNING, None]
    assert repairs == 0


cells = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    st.sampled_from(["1", "-0.5", "true", "1e3", " 7 "]),
    st.binary(max_size=3),
)


def stored_as(value: object, dtype: Dtype) -> object:
    """The brute-force word on what a stored value is read as."""
    if value is None:
        return None
    if dtype is Dtype.integer:
        whole = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and value == int(value))
        return int(value) if whole and -(2**63) <= int(value) < 2**63 else None  # type: ignore[call-overload]
    if dtype is Dtype.float:
        return float(value) if isinstance(value, int | float) else None
    if dtype is Dtype.binary:
        return value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else None
    assert dtype is Dtype.text
    return value if isinstance(value, str) else None if isinstance(value, bytes) else NotImplemented


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(cells, min_size=1, max_size=30))
@pytest.mark.parametrize(
    ("declared", "dtype"),
    [("BIGINT", Dtype.integer), ("REAL", Dtype.float), ("TEXT", Dtype.text), ("BLOB", Dtype.binary)],
)
def test_any_values_agree_with_brute_force(tmp_path: Path, declared: str, dtype: Dtype, values: list[object]) -> None:
    path = tmp_path / "any.db"
    path.unlink(missing_ok=True)
    found, repairs, reflected = column(path, declared, values)
    assert reflected is dtype
    connection = sqlite3.connect(path)
    stored = [value for (value,) in connection.execute("SELECT v FROM t ORDER BY rowid")]
    connection.close()
    expected = [stored_as(value, dtype) for value in stored]
    for cell, wanted, value in zip(found.to_pylist(), expected, stored, strict=True):
        if wanted is not NotImplemented:
            assert cell == wanted, value
    assert repairs == sum(wanted is None and value is not None for wanted, value in zip(expected, stored, strict=True))


def test_columns_without_a_declared_type_have_that_of_what_they_hold(tmp_path: Path) -> None:
    reader = database(
        tmp_path / "a.db",
        "CREATE TABLE t (i, r, s, b, mixed, empty, geometry POINT, big UNSIGNED BIG INT, string, a INTEGER[])",
        "INSERT INTO t VALUES (1, 1, 1, x'00', x'00', NULL, 'POINT(1 2)', 5, NULL, '{1,2}')",
        "INSERT INTO t VALUES (2, 0.5, 'a', x'01', 1, NULL, NULL, 6, NULL, NULL)",
    )
    dtypes = {column.name: column.dtype.value for column in reader.reflect()["t"].columns}
    assert dtypes == {
        "i": "integer",
        "r": "float",
        "s": "text",
        "b": "binary",
        "mixed": "binary",
        "empty": "text",
        "geometry": "text",
        "big": "integer",
        "string": "text",
        "a": "text",
    }
    assert reader.read("t").read_all()["s"].to_pylist() == ["1", "a"]
    assert reader.read("t").read_all()["mixed"].to_pylist() == [b"\0", None]


def test_keys_and_relations(tmp_path: Path) -> None:
    reader = database(
        tmp_path / "a.db",
        "CREATE TABLE Company (Id INTEGER PRIMARY KEY, boss INTEGER REFERENCES Person)",
        "CREATE TABLE Person (id INTEGER PRIMARY KEY, employer INTEGER REFERENCES company(ID), friend INTEGER"
        " REFERENCES person)",
        "CREATE TABLE seat (row TEXT, place INTEGER, PRIMARY KEY (place, row)) WITHOUT ROWID",
        "CREATE TABLE ticket (p INTEGER, r TEXT, gone INTEGER REFERENCES vanished(id), odd INTEGER REFERENCES seat,"
        " FOREIGN KEY (p, r) REFERENCES seat, FOREIGN KEY (r, p) REFERENCES seat(row, place))",
        "CREATE VIEW v AS SELECT 1",
        "CREATE VIRTUAL TABLE words USING fts5(word)",
    )
    schema = reader.reflect()
    assert list(schema.tables) == ["Company", "Person", "seat", "ticket"]
    assert schema["seat"].primary_key == ("place", "row")
    assert schema["ticket"].primary_key == ()
    assert schema.relations == (
        Relation("Company", ("boss",), "Person", ("id",)),
        Relation("Person", ("employer",), "Company", ("Id",)),
        Relation("Person", ("friend",), "Person", ("id",)),
        Relation("ticket", ("p", "r"), "seat", ("place", "row")),
        Relation("ticket", ("r", "p"), "seat", ("row", "place")),
    )
    warnings = reader.warnings
    assert len(warnings) == 2
    assert any("'vanished'" in warning for warning in warnings)
    assert any("ticket.odd" in warning for warning in warnings)
    assert schema["Person"]["friend"].stype is Stype.identifier


def test_names_that_differ_in_more_than_ascii_case(tmp_path: Path) -> None:
    statements = (
        "CREATE TABLE Été (id INTEGER PRIMARY KEY)",
        "CREATE TABLE été (É INTEGER PRIMARY KEY, é INTEGER UNIQUE)",
        "CREATE TABLE c (a INTEGER REFERENCES Été(ID), b INTEGER REFERENCES ÉTé(Id), d INTEGER REFERENCES éTé(é))",
    )
    reader = database(tmp_path / "a.db", *statements)
    assert set(reader.reflect().relations) == {
        Relation("c", ("a",), "Été", ("id",)),
        Relation("c", ("b",), "Été", ("id",)),
        Relation("c", ("d",), "été", ("é",)),
    }
    reader.write("ÉTÉ", pa.table({"a": [1]}))
    assert set(reader.reflect().tables) == {"Été", "été", "c"}


def test_a_unique_key_stands_in_for_a_primary_one(tmp_path: Path) -> None:
    reader = database(
        tmp_path / "a.db",
        "CREATE TABLE a (n INTEGER UNIQUE, x INTEGER NOT NULL, y INTEGER NOT NULL, UNIQUE (y, x), UNIQUE (x))",
        'CREATE TABLE b (n INTEGER NOT NULL, "a, b" INTEGER NOT NULL)',
        "CREATE UNIQUE INDEX b1 ON b (n + 1)",
        "CREATE UNIQUE INDEX b2 ON b (n) WHERE n > 0",
        'CREATE UNIQUE INDEX b3 ON b ("a, b" DESC, n)',
        "CREATE TABLE c (n INTEGER UNIQUE)",
        "CREATE TABLE d (n INTEGER NOT NULL UNIQUE, id TEXT, PRIMARY KEY (id))",
        "CREATE TABLE e (a INTEGER REFERENCES a, b INTEGER REFERENCES a(X))",
    )
    schema = reader.reflect()
    keys = {name: table.primary_key for name, table in schema.tables.items()}
    assert keys == {"a": ("y", "x"), "b": ("a, b", "n"), "c": (), "d": ("id",), "e": ()}
    assert schema["a"]["y"].stype is Stype.identifier
    assert schema.relations == (Relation("e", ("b",), "a", ("x",)),)
    assert len(reader.warnings) == 1  # a key to a table without a primary one names no columns


def test_views_are_read_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP)",
        "INSERT INTO t VALUES (1, '2020-01-31'), (2, NULL)",
        """CREATE VIEW "t'wice" AS SELECT id, at, id * 2 AS two FROM t""",
        "CREATE VIEW broken AS SELECT * FROM gone",
    )
    assert list(open_reader(path).reflect().tables) == ["t"]
    reader = open_reader(path, views=["t'wice"])
    schema = reader.reflect()
    assert list(schema.tables) == ["t", "t'wice"]
    assert schema["t'wice"].primary_key == ()
    first, second = reader.read("t'wice").read_all().to_pylist()
    assert first == {"id": 1, "at": dt.datetime(2020, 1, 31), "two": 2}
    assert second == {"id": 2, "at": None, "two": 4}
    assert list(open_reader(path, tables=["t'wice"]).reflect().tables) == ["t'wice"]
    with pytest.raises(DatabaseError, match=r"has no view 'twice'\n.*did you mean"):
        open_reader(path, views=["twice"]).reflect()
    with pytest.raises(DatabaseError, match="gone"):
        open_reader(path, views=["broken"]).reflect()


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


def test_rows_since_a_time_in_any_format(tmp_path: Path) -> None:
    texts = [
        "2020-01-31", "2020-01-31 23:59:59.999999", "2020-02-01T00:00:00Z", "2020-02-01 01:00:00+02:00",
        "2020-01-31 20:00:00-05", " 2020-02-01", "\t2020-2-1 ", "2020-1-31", "2020-10-5", "2019-12-31", "infinity",
        "-infinity", "12345-01-01", "0044-03-15 BC", None, "no time", "31/12/2021", 1_580_428_800, b"2020-02-02",
        "9999-12-31", "2020-02-01 00:00:00",
    ]  # fmt: skip
    reader = database(
        tmp_path / "a.db",
        "CREATE TABLE t (n INTEGER, at TIMESTAMP)",
        rows=[("INSERT INTO t VALUES (?, ?)", list(enumerate(texts)))],
    )
    parsed = reader.read("t").read_all()
    sinces = [
        to_us("2020-01-31"), to_us("2020-02-01"), to_us("2020-02-01") + 1, to_us("2020-10-05"), clock.NO_END,
        clock.NO_BEGINNING, clock.NO_BEGINNING + 1, to_us("2020-01-31T23:00:00"),
    ]  # fmt: skip
    for since in sinces:
        later = [row["n"] for row in parsed.to_pylist() if row["at"] and to_us(row["at"]) >= since]
        found = reader.read("t", ["n"], since=("at", since)).read_all()
        assert found.to_pydict() == {"n": later}, since
        assert reader.read("t", ["n"], since=("at", since), limit=3).read_all().to_pydict() == {"n": later[:3]}
    with pytest.raises(DatabaseError, match="no date or timestamp"):
        reader.read("t", since=("n", 0))


def test_predictions_take_the_types_of_what_they_are_like(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    reader = database(
        path,
        "CREATE TABLE t (a VARCHAR(5), b UNSIGNED BIG INT, c NUMERIC(10, 0), d,"
        ' e "INTEGER PRIMARY KEY); DROP TABLE t; --")',
    )
    rows = pa.table({"A": ["x"], "b": [1], "c": [2], "d": ["y"], "e": [5], "score": [0.5]})
    like = {"A": ("t", "a"), "b": ("t", "b"), "c": ("t", "c"), "d": ("t", "d"), "e": ("t", "e")}
    assert reader.write("p", rows, like=like) == 1
    assert reader.write("p", rows, like=like, if_exists="append") == 1
    connection = sqlite3.connect(path)
    types = [row[2] for row in connection.execute("PRAGMA table_info(p)")]
    assert types[:4] == ["VARCHAR(5)", "UNSIGNED BIG INT", "NUMERIC(10, 0)", ""]
    assert types[4:] == [connection.execute("PRAGMA table_info(t)").fetchall()[4][2], "DOUBLE PRECISION"]
    assert connection.execute("SELECT * FROM p").fetchall() == [("x", 1, 2, "y", 5, 0.5)] * 2
    connection.close()


def test_generated_columns_are_read(tmp_path: Path) -> None:
    reader = database(
        tmp_path / "a.db",
        "CREATE TABLE t (a INTEGER, b INTEGER GENERATED ALWAYS AS (a + 1) STORED, c INTEGER AS (a + 2))",
        "INSERT INTO t (a) VALUES (1)",
    )
    assert reader.read("t").read_all().to_pylist() == [{"a": 1, "b": 2, "c": 3}]


def test_a_users_own_table_called_like_the_list_stays_theirs(tmp_path: Path) -> None:
    reader = database(tmp_path / "a.db", "CREATE TABLE rdl_predictions (a INTEGER)")
    assert list(reader.reflect().tables) == ["rdl_predictions"]
    with pytest.raises(DatabaseError, match="stands in the way"):
        reader.write("p", pa.table({"a": [1]}))
    assert list(reader.reflect().tables) == ["rdl_predictions"]


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


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\x07" * 500])
def test_not_a_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match=r"a\.sqlite: cannot be opened") as caught:
        open_reader(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    rows: list[tuple[object, ...]] = [("x" * 100,)] * 5_000
    reader = database(path, "CREATE TABLE t (a TEXT)", rows=[("INSERT INTO t VALUES (?)", rows)])
    reader.reflect()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DatabaseError, match="cannot read table 't'"):
        reader.read("t").read_all()


def test_large_rows_come_in_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_reader, "_BATCH_BYTES", 2**20)
    texts = ["x" * 300_000] * 30
    rows: list[tuple[object, ...]] = [(text,) for text in texts]
    reader = database(tmp_path / "a.db", "CREATE TABLE t (v TEXT)", rows=[("INSERT INTO t VALUES (?)", rows)])
    batches = list(reader.read("t"))
    assert max(batch.nbytes for batch in batches) <= 2**20
    assert pa.Table.from_batches(batches)["v"].to_pylist() == texts


def test_a_table_that_is_dropped_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    reader = database(path, "CREATE TABLE t (a TEXT)")
    reader.reflect()
    database(path, "DROP TABLE t")
    with pytest.raises(DatabaseError, match=r"no such table: t$"):
        reader.read("t").read_all()


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


def test_a_column_that_is_dropped_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    reader = database(path, "CREATE TABLE t (a INTEGER, b TEXT)", "INSERT INTO t VALUES (1, 'x')")
    reader.reflect()
    database(path, "ALTER TABLE t DROP COLUMN b")
    with pytest.raises(DatabaseError, match="no such column"):
        reader.read("t").read_all()


def test_a_database_without_tables(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"")
    with pytest.raises(DatabaseError, match="has no tables"):
        open_reader(tmp_path / "a.db").reflect()
    reader = database(tmp_path / "b.db", "CREATE VIEW v AS SELECT 1")
    with pytest.raises(DatabaseError, match="has no tables"):
        reader.reflect()
