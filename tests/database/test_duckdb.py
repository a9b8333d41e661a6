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

from rdl.database import open_reader, scan
from rdl.database.scan import duckdb_dtype, duckdb_stype
from rdl.errors import DatabaseError
from rdl.schema import Dtype, Stype


def database(path: Path, *statements: str) -> Path:
    with duckdb.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


NO_END, NO_BEGINNING = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999), dt.datetime(1, 1, 1)
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
    ("DATE", "'infinity'", Dtype.date, NO_END),
    ("DATE", "'5874897-12-31'", Dtype.date, NO_END),
    ("DATE", "'9999-12-31'", Dtype.date, dt.datetime(9999, 12, 31)),
    ("DATE", "'0044-03-15 (BC)'", Dtype.date, NO_BEGINNING),
    ("TIMESTAMP", "'2020-02-29 10:00:00.000001'", Dtype.timestamp, dt.datetime(2020, 2, 29, 10, 0, 0, 1)),
    ("TIMESTAMP", "'-infinity'", Dtype.timestamp, NO_BEGINNING),
    ("TIMESTAMP", "'290000-01-01'", Dtype.timestamp, NO_END),
    ("TIMESTAMP_S", "'infinity'", Dtype.timestamp, NO_END),
    ("TIMESTAMP_MS", "'250000-01-01'", Dtype.timestamp, NO_END),
    ("TIMESTAMP_S", "'2020-02-29 10:00:00'", Dtype.timestamp, dt.datetime(2020, 2, 29, 10)),
    ("TIMESTAMP_MS", "'2020-02-29 10:00:00.5'", Dtype.timestamp, dt.datetime(2020, 2, 29, 10, 0, 0, 500_000)),
    ("TIMESTAMP_NS", "'2020-02-29 10:00:00.0000019'", Dtype.timestamp, dt.datetime(2020, 2, 29, 10, 0, 0, 1)),
    ("TIMESTAMP_NS", "'1969-12-31 23:59:59.9999995'", Dtype.timestamp, dt.datetime(1969, 12, 31, 23, 59, 59, 999_999)),
    ("TIMESTAMP_NS", "'infinity'", Dtype.timestamp, NO_END),
    ("TIMESTAMP_NS", "'-infinity'", Dtype.timestamp, NO_BEGINNING),
    ("TIMESTAMPTZ", "'2020-02-29 10:00:00+05:30'", Dtype.timestamp, dt.datetime(2020, 2, 29, 4, 30)),
    ("TIMESTAMPTZ", "'infinity'", Dtype.timestamp, NO_END),
    ("TIMESTAMPTZ", "'-infinity'", Dtype.timestamp, NO_BEGINNING),
    ("TIMESTAMPTZ_NS", "'2020-02-29 10:00:00.0000019+01'", Dtype.timestamp, dt.datetime(2020, 2, 29, 9, 0, 0, 1)),
    ("TIMESTAMPTZ_NS", "'infinity'", Dtype.timestamp, NO_END),
    ("TIME", "'10:20:30.000001'", Dtype.time, dt.time(10, 20, 30, 1)),
    ("TIME", "'24:00:00'", Dtype.time, dt.time(23, 59, 59, 999_999)),
    ("TIMETZ", "'10:20:30+02'", Dtype.time, dt.time(10, 20, 30)),
    ("INTERVAL", "'3 days 04:05:06.5'", Dtype.interval, dt.timedelta(days=3, hours=4, minutes=5, seconds=6.5)),
    ("INTERVAL", "'1 year 2 months'", Dtype.interval, 14 * MONTH),
    ("INTERVAL", "'-1 month -2 days'", Dtype.interval, -MONTH - dt.timedelta(days=2)),
    ("INTERVAL", "INTERVAL '100000000 years'", Dtype.interval, None),
    ("BIGNUM", "7", Dtype.integer, 7),
    ("DECIMAL(38,0)", "99999999999999999999999999999999999999", Dtype.integer, None),
    ("DECIMAL(38,2)", "-999999999999999999999999999999999999.99", Dtype.decimal, -1e36),
    ("UUID", f"'{uuid.UUID(int=1)}'", Dtype.uuid, str(uuid.UUID(int=1))),
    ("JSON", "'{\"a\": 1}'", Dtype.json, '{"a": 1}'),
    ("BLOB", r"'\x00\xff'::BLOB", Dtype.binary, b"\x00\xff"),
    ("VARCHAR[]", "['x', NULL, 'y']", Dtype.list, ["x", None, "y"]),
    ("SMALLINT[]", "[1, 2]", Dtype.list, [1, 2]),
    ("UUID[]", f"['{uuid.UUID(int=1)}']", Dtype.list, [str(uuid.UUID(int=1))]),
    ("DATE[]", "['2020-02-29', 'infinity']", Dtype.list, [dt.datetime(2020, 2, 29), NO_END]),
    ("FLOAT[2]", "[0.5, 1]", Dtype.list, [0.5, 1.0]),
]
WITHOUT_MEANING = [
    "INTEGER[][]",
    "INTERVAL[]",
    "STRUCT(a INTEGER)",
    "STRUCT(a INTEGER)[]",
    "MAP(VARCHAR, INTEGER)",
    "UNION(n INTEGER, t VARCHAR)",
    "BIT",
    "VARIANT",
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


def test_columns_without_a_meaning_are_left_out(tmp_path: Path) -> None:
    columns = ", ".join(f"c{number} {type_text}" for number, type_text in enumerate(WITHOUT_MEANING))
    path = database(
        tmp_path / "a.duckdb",
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})",
        "INSERT INTO t (id) VALUES (1)",
        "CREATE TABLE flags (bits BIT PRIMARY KEY, n INTEGER)",
        "CREATE TABLE flagged (bits BIT REFERENCES flags)",
    )
    reader = open_reader(path)
    schema = reader.reflect()
    assert [column.name for column in schema["t"].columns] == ["id"]
    assert reader.read("t").read_all().to_pylist() == [{"id": 1}]
    assert schema["flags"].primary_key == ()
    assert set(schema.tables) == {"t", "flags"}
    for number, type_text in enumerate(WITHOUT_MEANING):
        assert f"column t.c{number} was left out: its type {type_text} has no meaning here" in reader.warnings
    assert "table 'flagged' was left out: it has no other columns" in reader.warnings
    assert "primary key flags.bits was dropped with its column" in reader.warnings


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


def test_a_consistent_read_keeps_other_processes_out(tmp_path: Path) -> None:
    path = database(tmp_path / "a.duckdb", "CREATE TABLE t AS SELECT 1 AS a")
    reader = open_reader(path)
    write = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('UPDATE t SET a = 2')"
    with reader.consistent():
        reader.read("t").read_all()
        reader.fingerprint()
        other = subprocess.run([sys.executable, "-c", write, str(path)], capture_output=True, check=False)
        assert b"lock" in other.stderr
        assert reader.read("t").read_all().to_pylist() == [{"a": 1}]
    subprocess.run([sys.executable, "-c", write, str(path)], check=True)
    assert reader.read("t").read_all().to_pylist() == [{"a": 2}]


def test_a_consistent_read_tells_of_changes_by_this_process(tmp_path: Path) -> None:
    path = database(tmp_path / "a.duckdb", "CREATE TABLE t AS SELECT 1 AS a")
    with duckdb.connect(path) as mine:
        reader = open_reader(path)
        with reader.consistent():
            assert reader.read("t").read_all().to_pylist() == [{"a": 1}]
        with pytest.raises(DatabaseError, match="changed while they were read"), reader.consistent():
            mine.execute("UPDATE t SET a = 2")


def test_predictions_take_the_types_of_what_they_are_like(tmp_path: Path) -> None:
    path = database(
        tmp_path / "a.duckdb",
        "CREATE TYPE mood AS ENUM ('a', 'it''s')",
        "CREATE TABLE t (u UUID, d DECIMAL(20,0), h HUGEINT, m mood, z TIMESTAMPTZ, s SMALLINT)",
    )
    reader, key = open_reader(path), str(uuid.UUID(int=7))
    rows = pa.table(
        {
            "u": [key],
            "d": pa.array([2**62]),
            "h": [7],
            "m": ["it's"],
            "z": pa.array([dt.datetime(2020, 1, 1)], pa.timestamp("us")),
            "small": [3],
            "score": [0.5],
        }
    )
    like = {"u": ("t", "u"), "d": ("t", "d"), "h": ("t", "h"), "m": ("t", "m"), "z": ("t", "z"), "small": ("t", "s")}
    assert reader.write("p", rows, like=like) == 1
    assert reader.write("p", rows, like=like, if_exists="append") == 1
    with duckdb.connect(path) as connection:
        types = [row[1] for row in connection.execute("DESCRIBE p").fetchall()]
        found = connection.execute("SELECT u::VARCHAR, d, h, m, z = '2020-01-01 00:00:00+00', small FROM p").fetchall()
    assert types == [
        "UUID",
        "DECIMAL(20,0)",
        "HUGEINT",
        "ENUM('a', 'it''s')",
        "TIMESTAMP WITH TIME ZONE",
        "SMALLINT",
        "DOUBLE",
    ]
    assert found == [(key, 2**62, 7, "it's", True, 3)] * 2
    with pytest.raises(DatabaseError, match="cannot write table 'q'"):
        reader.write("q", rows.set_column(0, "u", pa.array(["no uuid"])), like=like)
    with pytest.raises(DatabaseError, match="did you mean 'u'"):
        reader.write("q", rows, like={"u": ("t", "U")})
    assert list(open_reader(path).reflect().tables) == ["t"]


def test_rows_of_wide_text_come_in_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE t AS SELECT i, repeat('é', 50) AS body FROM range(300) r(i)")
    monkeypatch.setattr(scan, "_BATCH_BYTES", 2_000)
    batches = list(open_reader(path).read("t"))
    assert max(batch.num_rows for batch in batches) <= 20
    assert sum(batch.num_rows for batch in batches) == 300
    assert open_reader(path).read("t", ["i"]).read_next_batch().num_rows == 300
