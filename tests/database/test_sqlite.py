"""SQLite: any value in any column, odd declarations, keys."""

from __future__ import annotations

import datetime as dt
import math
import sqlite3
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
from rdl.schema import Dtype

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


def test_rows_since_a_whole_number_among_other_cells(tmp_path: Path) -> None:
    reader = database(
        tmp_path / "a.db",
        "CREATE TABLE t (n INTEGER, x REAL)",
        rows=[("INSERT INTO t VALUES (?, 1)", [(cell,) for cell in (1, 5, None, "x", b"9", 7.5, 8.0, 2**62)])],
    )
    assert reader.read("t", ["n"], since=("n", 5)).read_all().to_pydict() == {"n": [5, 8, 2**62]}
    with pytest.raises(DatabaseError, match="no date or timestamp"):
        reader.read("t", since=("x", 0))


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


def test_a_column_that_is_dropped_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    reader = database(path, "CREATE TABLE t (a INTEGER, b TEXT)", "INSERT INTO t VALUES (1, 'x')")
    reader.reflect()
    database(path, "ALTER TABLE t DROP COLUMN b")
    with pytest.raises(DatabaseError, match="no such column"):
        reader.read("t").read_all()
