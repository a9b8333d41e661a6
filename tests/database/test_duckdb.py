"""DuckDB: every type, keys from its catalogue, schemas, connections that are open elsewhere."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import uuid
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from rdl.database import open_reader
from rdl.database.scan import duckdb_dtype, duckdb_stype
from rdl.errors import DatabaseError
from rdl.schema import Dtype, Relation, Stype


def database(path: Path, *statements: str) -> Path:
    with duckdb.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


MONTH = dt.timedelta(days=30.4375)
CELLS: list[tuple[str, str, Dtype, object]] = [
    ("BOOLEAN", "true", Dtype.boolean, True),
    ("UTINYINT", "255", Dtype.integer, 255),
    ("UBIGINT", "7", Dtype.integer, 7),
    ("UBIGINT", "18446744073709551615", Dtype.integer, None),
    ("HUGEINT", "-7", Dtype.integer, -7),
    ("HUGEINT", "170141183460469231731687303715884105727", Dtype.integer, None),
    ("DECIMAL(18,0)", "900719925474099301", Dtype.integer, 900719925474099301),
    ("DECIMAL(10,2)", "12.5", Dtype.decimal, 12.5),
    ("FLOAT", "0.5", Dtype.float, 0.5),
    ("VARCHAR", "'it''s'", Dtype.text, "it's"),
    ("ENUM('a', 'b')", "'b'", Dtype.text, "b"),
    ("DATE", "'2020-02-29'", Dtype.date, dt.datetime(2020, 2, 29)),
    ("DATE", "'infinity'", Dtype.date, None),
    ("TIMESTAMP", "'2020-02-29 10:00:00.000001'", Dtype.timestamp, dt.datetime(2020, 2, 29, 10, 0, 0, 1)),
    ("TIMESTAMP", "'-infinity'", Dtype.timestamp, None),
    ("TIMESTAMP_S", "'2020-02-29 10:00:00'", Dtype.timestamp, dt.datetime(2020, 2, 29, 10)),
    ("TIMESTAMP_MS", "'2020-02-29 10:00:00.5'", Dtype.timestamp, dt.datetime(2020, 2, 29, 10, 0, 0, 500_000)),
    ("TIMESTAMP_NS", "'2020-02-29 10:00:00.0000019'", Dtype.timestamp, dt.datetime(2020, 2, 29, 10, 0, 0, 1)),
    ("TIMESTAMP_NS", "'1969-12-31 23:59:59.9999995'", Dtype.timestamp, dt.datetime(1969, 12, 31, 23, 59, 59, 999_999)),
    ("TIMESTAMP_NS", "'infinity'", Dtype.timestamp, None),
    ("TIMESTAMPTZ", "'2020-02-29 10:00:00+05:30'", Dtype.timestamp, dt.datetime(2020, 2, 29, 4, 30)),
    ("TIMESTAMPTZ", "'infinity'", Dtype.timestamp, None),
    ("TIME", "'10:20:30.000001'", Dtype.time, dt.time(10, 20, 30, 1)),
    ("TIMETZ", "'10:20:30+02'", Dtype.time, dt.time(10, 20, 30)),
    ("INTERVAL", "'3 days 04:05:06.5'", Dtype.interval, dt.timedelta(days=3, hours=4, minutes=5, seconds=6.5)),
    ("INTERVAL", "'1 year 2 months'", Dtype.interval, 14 * MONTH),
    ("INTERVAL", "'-1 month -2 days'", Dtype.interval, -MONTH - dt.timedelta(days=2)),
    ("UUID", f"'{uuid.UUID(int=1)}'", Dtype.uuid, str(uuid.UUID(int=1))),
    ("JSON", "'{\"a\": 1}'", Dtype.json, '{"a": 1}'),
    ("BLOB", r"'\x00\xff'::BLOB", Dtype.binary, b"\x00\xff"),
    ("VARCHAR[]", "['x', NULL, 'y']", Dtype.list, ["x", None, "y"]),
    ("SMALLINT[]", "[1, 2]", Dtype.list, [1, 2]),
    ("UUID[]", f"['{uuid.UUID(int=1)}']", Dtype.list, [str(uuid.UUID(int=1))]),
    ("DATE[]", "['2020-02-29', 'infinity']", Dtype.list, [dt.datetime(2020, 2, 29), None]),
    ("FLOAT[2]", "[0.5, 1]", Dtype.list, [0.5, 1.0]),
    ("INTEGER[][]", "[[1], [2]]", Dtype.unknown, "[[1], [2]]"),
    ("STRUCT(a INTEGER)", "{'a': 1}", Dtype.unknown, "{'a': 1}"),
    ("MAP(VARCHAR, INTEGER)", "MAP {'k': 1}", Dtype.unknown, "{k=1}"),
    ("BIT", "'101'", Dtype.unknown, "101"),
]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_every_type(tmp_path: Path, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    columns = ", ".join(f"c{number} {type_text}" for number, (type_text, *_) in enumerate(CELLS))
    values = ", ".join(f"{value}" for _, value, *_ in CELLS)
    nulls = ", ".join(["NULL"] * len(CELLS))
    path = database(tmp_path / "a.duckdb", f"CREATE TABLE t ({columns})", f"INSERT INTO t VALUES ({values}), ({nulls})")
    reader = open_reader(path)
    columns_ = reader.reflect()["t"].columns
    assert [column.dtype for column in columns_] == [dtype for *_, dtype, _ in CELLS]
    table = reader.read("t").read_all()
    found = [column[0].as_py() for column in table.columns]
    assert found == [expected for *_, expected in CELLS]
    assert all(column[1].as_py() is None for column in table.columns)
    lost = {("t", f"c{number}"): 1 for number, (*_, expected) in enumerate(CELLS) if expected is None}
    assert reader.repairs == lost


@pytest.mark.parametrize(
    ("type_text", "dtype", "stype"),
    [
        ("ENUM('a', 'it''s (b)')", Dtype.text, Stype.categorical),
        ("ENUM('a')[]", Dtype.list, Stype.multicategorical),
        ("FLOAT[3]", Dtype.list, Stype.embedding),
        ("DOUBLE[]", Dtype.list, Stype.unsupported),
        ("VARCHAR[]", Dtype.list, Stype.multicategorical),
        ("STRUCT(a DATE)", Dtype.unknown, Stype.unsupported),
        ("GEOMETRY", Dtype.unknown, Stype.unsupported),
        ("TIMESTAMP WITH TIME ZONE", Dtype.timestamp, Stype.timestamp),
        ("UUID", Dtype.uuid, Stype.identifier),
    ],
)
def test_types_suggest_a_meaning(type_text: str, dtype: Dtype, stype: Stype) -> None:
    assert (duckdb_dtype(type_text), duckdb_stype(type_text)) == (dtype, stype)


def test_keys_and_relations(tmp_path: Path) -> None:
    path = database(
        tmp_path / "a.duckdb",
        "CREATE TABLE person (id INTEGER PRIMARY KEY, friend INTEGER REFERENCES person(id), name VARCHAR NOT NULL)",
        'CREATE TABLE seat ("row" VARCHAR, place INTEGER, PRIMARY KEY (place, "row"))',
        'CREATE TABLE ticket (p INTEGER, "R" VARCHAR, buyer INTEGER, seller INTEGER,'
        ' FOREIGN KEY (p, "R") REFERENCES seat (place, "row"), FOREIGN KEY (buyer) REFERENCES person,'
        " FOREIGN KEY (seller) REFERENCES person)",
        "CREATE VIEW v AS SELECT * FROM person",
    )
    schema = open_reader(path).reflect()
    assert list(schema.tables) == ["person", "seat", "ticket"]
    assert schema["seat"].primary_key == ("place", "row")
    assert not schema["person"]["name"].nullable
    assert schema["person"]["friend"].nullable
    assert set(schema.relations) == {
        Relation("person", ("friend",), "person", ("id",)),
        Relation("ticket", ("p", "R"), "seat", ("place", "row")),
        Relation("ticket", ("buyer",), "person", ("id",)),
        Relation("ticket", ("seller",), "person", ("id",)),
    }


@pytest.fixture
def two_schemas(tmp_path: Path) -> Path:
    return database(
        tmp_path / "a.duckdb",
        "CREATE SCHEMA shop",
        'CREATE SCHEMA "Old shop"',
        "CREATE TABLE shop.item (id INTEGER PRIMARY KEY)",
        "CREATE TABLE shop.sale (item INTEGER REFERENCES shop.item(id))",
        "INSERT INTO shop.item VALUES (1)",
        'CREATE TABLE "Old shop".item (id INTEGER, gone BOOLEAN)',
    )


def test_schemas_are_picked(two_schemas: Path) -> None:
    reader = open_reader(f"duckdb:///{two_schemas}?schemas=shop")
    schema = reader.reflect()
    assert list(schema.tables) == ["item", "sale"]
    assert schema.relations == (Relation("sale", ("item",), "item", ("id",)),)
    assert reader.read("item").read_all().to_pylist() == [{"id": 1}]
    both = open_reader(f"duckdb:///{two_schemas}?schemas=Old%20shop,shop")
    schema = both.reflect()
    assert list(schema.tables) == ["Old shop.item", "shop.item", "sale"]
    assert schema.relations == (Relation("sale", ("item",), "shop.item", ("id",)),)
    assert both.read("Old shop.item").read_all().num_rows == 0


def test_predictions_go_to_the_picked_schema(two_schemas: Path) -> None:
    reader = open_reader(f"duckdb:///{two_schemas}?schemas=shop")
    before = reader.fingerprint()
    reader.write("p", pa.table({"a": [1]}))
    assert list(reader.reflect().tables) == ["item", "sale"]
    assert reader.fingerprint() == before
    with duckdb.connect(two_schemas) as connection:
        assert connection.sql("SELECT * FROM shop.p").fetchall() == [(1,)]


def test_an_empty_main_schema_says_where_the_tables_are(two_schemas: Path) -> None:
    with pytest.raises(DatabaseError, match=r"\?schemas=Old shop,shop"):
        open_reader(two_schemas).reflect()
    with pytest.raises(DatabaseError, match="did you mean 'shop'"):
        open_reader(f"duckdb:///{two_schemas}?schemas=shp").reflect()


def test_a_file_that_this_process_has_open(tmp_path: Path) -> None:
    path = database(tmp_path / "a.duckdb", "CREATE TABLE t AS SELECT 1 AS a")
    with duckdb.connect(path) as mine:
        reader = open_reader(path)
        before = reader.fingerprint()
        assert reader.read("t").read_all().to_pylist() == [{"a": 1}]
        assert reader.write("p", pa.table({"a": [1]})) == 1
        mine.execute("UPDATE t SET a = 2")
        assert reader.read("t").read_all().to_pylist() == [{"a": 2}]
        assert reader.fingerprint() != before
    assert reader.fingerprint() != before
    assert list(reader.reflect().tables) == ["t"]


def test_a_change_in_the_log_changes_the_fingerprint(tmp_path: Path) -> None:
    path = database(tmp_path / "a.duckdb", "CREATE TABLE t AS SELECT 1 AS a")
    reader = open_reader(path)
    before = reader.fingerprint()
    database(path, "PRAGMA disable_checkpoint_on_shutdown", "UPDATE t SET a = 2")
    assert path.with_name("a.duckdb.wal").stat().st_size > 0
    changed = reader.fingerprint()
    assert changed != before
    assert reader.read("t").read_all().to_pylist() == [{"a": 2}]
    assert reader.fingerprint() == changed


def test_a_file_locked_by_another_process(tmp_path: Path) -> None:
    path = database(tmp_path / "a.duckdb", "CREATE TABLE t AS SELECT 1 AS a")
    reader = open_reader(path)
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(DatabaseError, match="lock") as caught:
            reader.read("t")
        with pytest.raises(DatabaseError, match="lock"):
            reader.write("p", pa.table({"a": [1]}))
        other.communicate()
    assert len(str(caught.value).splitlines()) == 2
    assert reader.read("t").read_all().num_rows == 1


@pytest.mark.parametrize("content", [b"", b"no database at all" * 1000])
def test_not_a_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.duckdb"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match=r"a\.duckdb: cannot be opened"):
        open_reader(path)
    assert path.read_bytes() == content


def test_a_read_that_is_left_half_way_holds_no_lock(tmp_path: Path) -> None:
    path = database(tmp_path / "a.duckdb", "CREATE TABLE t AS SELECT range AS a FROM range(500000)")
    reader = open_reader(path)
    stream = reader.read("t")
    assert stream.read_next_batch().num_rows > 0
    del stream
    assert reader.write("p", pa.table({"a": [1]})) == 1


def test_a_variable_of_python_is_no_table(tmp_path: Path) -> None:
    path = database(tmp_path / "a.duckdb", 'CREATE TABLE "connection" AS SELECT 1 AS a')
    assert open_reader(path).read("connection").read_all().to_pylist() == [{"a": 1}]
