"""Declared keys of every width: the edges are those of the engine's own join."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings

from rdl import snapshot
from rdl.database import open_reader
from rdl.database.reader import Reader
from rdl.schema import Dtype, Stype

Edges = list[tuple[Any, Any]]


def edges_of(reader: Reader, folder: Path) -> Edges:
    """Of every child the number of its parent: both tables have a column ``row``."""
    taken = snapshot.build(reader, reader.reflect(), folder)
    (relation,) = taken.schema.relations
    child, parent = (taken.arrow(name)["row"].to_pylist() for name in (relation.child, relation.parent))
    rows = taken.parent(relation).tolist()
    return sorted((child[row], parent[at]) for row, at in enumerate(rows) if at >= 0)


def make_duckdb(path: Path, type_: str, parents: Sequence[str], children: Sequence[str]) -> Edges:
    with duckdb.connect(path) as connection:
        connection.execute(f'CREATE TABLE p(k {type_} PRIMARY KEY, "row" INT)')
        connection.execute(f'CREATE TABLE c("row" INT PRIMARY KEY, k {type_} REFERENCES p(k))')
        for row, cell in enumerate(parents):
            connection.execute(f"INSERT INTO p VALUES ('{cell}', {row})")
        for row, cell in enumerate(children):
            connection.execute(f"INSERT INTO c VALUES ({row}, '{cell}')")
        return sorted(connection.execute("SELECT c.row, p.row FROM c JOIN p ON p.k = c.k").fetchall())


def make_sqlite(path: Path, declared: tuple[str, str], parents: Sequence[Any], children: Sequence[Any]) -> Edges:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f'CREATE TABLE p(k {declared[0]} PRIMARY KEY, "row" INTEGER)')
        connection.execute(f'CREATE TABLE c("row" INTEGER PRIMARY KEY, k {declared[1]} REFERENCES p(k))')
        connection.executemany("INSERT OR IGNORE INTO p VALUES (?, ?)", [(k, n) for n, k in enumerate(parents)])
        connection.executemany("INSERT INTO c VALUES (?, ?)", list(enumerate(children)))
        connection.commit()
        return sorted(connection.execute("SELECT c.row, p.row FROM c JOIN p ON p.k = c.k").fetchall())


def near(middle: int, scale: int = 0) -> st.SearchStrategy[str]:
    """Numbers close to ``middle``, with ``scale`` digits after the point: text."""
    return st.integers(-3, 3).map(lambda step: format(Decimal(f"{middle + step}e-{scale}"), "f"))


def moments(step_ns: int) -> st.SearchStrategy[str]:
    return st.integers(0, 5).map(lambda n: f"2020-01-01 00:00:00.{n * step_ns:09d}")


DUCKDB = {
    "DECIMAL(38,10)": near(10**29 + 1, 10),
    "DECIMAL(38,38)": near(0, 38) | near(5 * 10**37, 38),
    "DECIMAL(38,0)": near(10**37) | near(2**53),
    "DECIMAL(18,0)": near(10**17) | near(2**53),
    "DECIMAL(12,3)": near(1000, 3) | near(-(10**10), 3),
    "HUGEINT": near(2**63) | near(-(2**63)) | near(2**127 - 4),
    "UBIGINT": near(2**64 - 4) | near(2**63),
    "UHUGEINT": near(2**128 - 4) | near(2**64),
    "BIGINT": near(2**63 - 4) | near(2**53),
    "TIMESTAMP_NS": moments(1) | moments(1000),
    "TIMESTAMP": moments(1000),
    "TIME_NS": moments(1).map(lambda text: text[11:]),
    "DATE": st.dates().map(str),
}
SLOW = settings(max_examples=4, deadline=None)


@pytest.mark.parametrize("type_", DUCKDB)
def test_keys_of_duckdb(type_: str) -> None:
    cells = DUCKDB[type_]

    @SLOW
    @given(st.lists(cells, min_size=1, max_size=6, unique=True), st.data())
    def check(parents: list[str], data: st.DataObject) -> None:
        children = data.draw(st.lists(st.sampled_from(parents), max_size=8))
        with tempfile.TemporaryDirectory() as folder:
            there = make_duckdb(Path(folder) / "a.duckdb", type_, parents, children)
            assert edges_of(open_reader(f"{folder}/a.duckdb"), Path(folder) / "taken") == there
            assert len(there) == len(children)

    check()


whole = st.integers(-3, 3).map(lambda step: 2**53 + step) | st.integers(-3, 3).map(lambda step: 10**18 + step)
real = st.floats(-1e6, 1e6, width=64) | st.sampled_from([0.1, 0.1 + 0.2, 0.3, 1e300, 5e-324, 2.0**53, 1.0, -0.0])
day = st.sampled_from(
    ["01/02/2020", "02/01/2020", "2020-01-02", "2020-1-2", "2020-01-02 00:00:00", "2020-02-30", 20200102]
)
moment = st.sampled_from(
    ["2020-01-02 00:00:00", "2020-01-02 00:00:00.0", "2020-01-02T00:00:00Z", "2020-01-02T00:00:00+00:00", "now"]
) | st.sampled_from([1577836800, 1577836801, 2458849.5, 2458849.25])
word = st.text("aA ", min_size=1, max_size=2) | st.sampled_from(["ß", "ẞ", "é", "É"])
SQLITE: dict[tuple[str, str], st.SearchStrategy[Any]] = {
    ("NUMERIC", "NUMERIC"): whole | real,
    ("DECIMAL(20,2)", "INTEGER"): whole | st.integers(-3, 3),
    ("INTEGER", "NUMERIC"): whole,
    ("NUMBER", "NUMBER"): whole,
    ("REAL", "NUMERIC"): st.integers(-3, 3) | real,
    ("NUMERIC", "TEXT"): whole,
    ("DATE", "DATE"): day,
    ("DATE", "TEXT"): st.sampled_from(["2020-01-02", "2020-1-2", "2020-01-03"]),
    ("TIMESTAMP", "DATETIME"): moment | day,
    ("DATE ", "DATE "): st.dates().map(str),
    ("TEXT COLLATE NOCASE", "TEXT COLLATE NOCASE"): word,
    ("TEXT COLLATE NOCASE", "TEXT"): word,
    ("TEXT", "TEXT"): word,
    ("TEXT COLLATE RTRIM", "TEXT"): word,
}


@pytest.mark.parametrize("declared", SQLITE, ids=" to ".join)
def test_keys_of_sqlite(declared: tuple[str, str]) -> None:
    cells = SQLITE[declared]

    @settings(max_examples=20, deadline=None)
    @given(st.lists(cells, min_size=1, max_size=6), st.lists(cells, max_size=6))
    def check(parents: list[Any], others: list[Any]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            there = make_sqlite(Path(folder) / "a.sqlite", declared, parents, [*parents, *others, None])
            assert edges_of(open_reader(f"{folder}/a.sqlite"), Path(folder) / "taken") == there

    check()


@pytest.mark.parametrize("type_", [type_ for type_ in DUCKDB if type_ != "TIME_NS"])
def test_predictions_have_the_type_of_a_key_of_duckdb(tmp_path: Path, type_: str) -> None:
    @settings(max_examples=1, deadline=None, database=None)
    @given(st.lists(DUCKDB[type_], min_size=3, max_size=3, unique=True))
    def check(parents: list[str]) -> None:
        path = tmp_path / "a.duckdb"
        path.unlink(missing_ok=True)
        make_duckdb(path, type_, parents, parents)
        reader = open_reader(str(path))
        assert (column := reader.reflect()["p"]["k"]).stype is Stype.identifier
        assert (column.dtype is Dtype.text) == (type_ not in ("DECIMAL(18,0)", "BIGINT", "TIMESTAMP", "DATE"))
        reader.write("made", reader.read("p").read_all(), like={"k": ("p", "k")})
        with duckdb.connect(path) as connection:
            assert connection.sql("SELECT k FROM made EXCEPT ALL SELECT k FROM p").fetchall() == []
            types = connection.sql("SELECT DISTINCT typeof(k) FROM (SELECT k FROM made UNION ALL SELECT k FROM p)")
            assert types.fetchall() == [(type_,)]

    check()


def test_predictions_have_the_type_of_a_key_of_sqlite(tmp_path: Path) -> None:
    keys = [2**53 + 1, 2**53, 0.1, 0.1 + 0.2, 1, "AB", 1e300]
    make_sqlite(tmp_path / "a.sqlite", ("NUMERIC", "NUMERIC"), keys, keys)
    reader = open_reader(str(tmp_path / "a.sqlite"))
    assert reader.reflect()["c"]["k"].dtype is Dtype.text
    reader.write("made", reader.read("p").read_all(), like={"k": ("p", "k")})
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        found = connection.execute("SELECT k, typeof(k) FROM made ORDER BY row").fetchall()
        assert found == connection.execute("SELECT k, typeof(k) FROM p ORDER BY row").fetchall()


def test_times_of_keys_stay_times_where_that_loses_nothing(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        connection.executescript("""
            CREATE TABLE day(d DATE PRIMARY KEY, odd DATE UNIQUE, at TIMESTAMP UNIQUE);
            CREATE TABLE sale(id INTEGER PRIMARY KEY, d DATE REFERENCES day, odd DATE REFERENCES day(odd),
                              at TIMESTAMP REFERENCES day(at));
            CREATE TABLE alone(at TIMESTAMP, n NUMERIC, PRIMARY KEY(at, n));
            INSERT INTO day VALUES ('2020-01-01', '01/02/2020', '2020-01-01T00:00:00.125');
            INSERT INTO sale VALUES (1, '2020-01-01', '01/02/2020', '2020-01-01T00:00:00.125'), (2, NULL, NULL, NULL);
            INSERT INTO alone VALUES (5, 1.50)""")
        connection.execute("CREATE TABLE lost(at TIMESTAMP REFERENCES day(gone))")
    schema = open_reader(str(tmp_path / "a.sqlite")).reflect()
    assert schema["lost"]["at"].dtype is Dtype.timestamp
    for table in ("day", "sale"):
        found = [schema[table][name].dtype for name in ("d", "odd", "at")]
        assert found == [Dtype.date, Dtype.text, Dtype.timestamp]
    assert [column.dtype for column in schema["alone"].columns] == [Dtype.timestamp, Dtype.text]
    with duckdb.connect(tmp_path / "a.duckdb") as connection:
        connection.execute("CREATE TABLE alone(t TIMESTAMP_NS, n DECIMAL(9, 2), x DECIMAL(9, 2), PRIMARY KEY(t, n))")
    table = open_reader(str(tmp_path / "a.duckdb")).reflect()["alone"]
    assert [column.dtype for column in table.columns] == [Dtype.timestamp, Dtype.text, Dtype.decimal]


def test_text_refers_on_in_the_spelling_of_the_last(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        connection.executescript("""
            CREATE TABLE a(x TEXT COLLATE NOCASE, y TEXT COLLATE RTRIM, n INTEGER, PRIMARY KEY(x, n, y));
            CREATE TABLE b(x TEXT COLLATE NOCASE, "y z" TEXT COLLATE RTRIM, n INTEGER, PRIMARY KEY(x, "y z", n),
                           FOREIGN KEY(x, "y z", n) REFERENCES a(x, y, n));
            CREATE TABLE c(x TEXT, y TEXT, n INTEGER, FOREIGN KEY(x, y, n) REFERENCES b(x, "y z", n));
            CREATE TABLE boss(id TEXT COLLATE NOCASE PRIMARY KEY, above TEXT REFERENCES boss);
            INSERT INTO a VALUES ('Ab', 'Q', 1), ('Ab', 'Q', 2);
            INSERT INTO b VALUES ('aB', 'Q ', 2), ('AB', 'Q  ', 1);
            INSERT INTO c VALUES ('AB', 'Q   ', 1), ('ab', 'Q', 2), ('ab', 'q', 2), (NULL, 'Q', 1);
            INSERT INTO boss VALUES ('Ann', 'ANN'), ('bob', 'ann'), ('Cy', 'BOB')""")
    reader = open_reader(str(tmp_path / "a.sqlite"))
    taken = snapshot.build(reader, reader.reflect(), tmp_path / "taken")
    rows = {relation.child: taken.parent(relation).tolist() for relation in taken.schema.relations}
    assert rows == {"b": [1, 0], "c": [1, 0, -1, -1], "boss": [0, 0, 1]}
    assert taken.arrow("b")["x"].to_pylist() == ["Ab", "Ab"]
    assert taken.arrow("c")["x"].to_pylist() == ["Ab", "Ab", "ab", None]


RELBENCH = [
    (pa.decimal128(38, 10), pa.decimal128(38, 10), ["12345678901234567890.1", "12345678901234567890.2"]),
    (pa.decimal128(38, 10), pa.int64(), ["9007199254740993", "9007199254740992"]),
    (pa.uint64(), pa.uint64(), ["18446744073709551615", "5"]),
    (pa.timestamp("ns"), pa.timestamp("ns"), ["2020-01-01 00:00:00.000000001", "2020-01-01 00:00:00.000000002"]),
    (pa.timestamp("ns"), pa.timestamp("us"), ["2020-01-01 00:00:00.500000", "2020-01-01 00:00:00.000001"]),
]


@pytest.mark.parametrize(("type_", "other", "cells"), RELBENCH, ids=str)
def test_keys_of_relbench(tmp_path: Path, type_: pa.DataType, other: pa.DataType, cells: list[str]) -> None:
    keys = pa.array(cells).cast(type_)
    (tmp_path / "db").mkdir()
    pq.write_table(pa.table({"k": keys, "row": [0, 1]}), tmp_path / "db" / "p.parquet")
    child = pa.array(cells[::-1]).cast(other)
    pq.write_table(pa.table({"row": [0, 1], "k": child}), tmp_path / "db" / "c.parquet")
    tables = {"p": {"pkey": "k", "time_col": None, "fkeys": {}}, "c": {"pkey": "row", "fkeys": {"k": "p"}}}
    manifest = {"name": "x", "val_timestamp": "2020-01-01", "test_timestamp": "2020-01-02", "tables": tables}
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(manifest))
    reader = open_reader(f"relbench:{tmp_path}")
    assert edges_of(reader, tmp_path / "taken") == [(0, 1), (1, 0)]
    reader.write("made", reader.read("p").read_all(), like={"k": ("p", "k")})
    assert pq.read_table(tmp_path / "predictions" / "made.parquet")["k"].combine_chunks() == keys
