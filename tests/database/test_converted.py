"""Times stored as numbers or as text: what Python makes of them, and a database used by them from end to end."""

from __future__ import annotations

import datetime as dt
import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import rdl
from rdl.cli import app
from rdl.clock import NO_BEGINNING, NO_END
from rdl.database.cells import CellParser
from rdl.database.converted import ConvertedReader, formats_of, to_times, with_formats
from rdl.errors import SchemaError
from rdl.pipeline import Database
from rdl.schema import Dtype, Schema, Stype
from rdl.snapshot import load_or_build
from tests.memory import MemoryReader

UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
MOMENTS = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
EPOCH = dt.datetime(1970, 1, 1)


def micros(cells: Sequence[object], time_format: str, type_: pa.DataType | None = None) -> list[int | None]:
    found = to_times(pa.array(cells, type_), time_format, CellParser())
    assert found.type == pa.timestamp("us")
    return list(found.cast(pa.int64()).to_pylist())


def expected(value: int, unit: str) -> int:
    """The microseconds, in Python's own whole numbers."""
    return max(NO_BEGINNING, min(value * UNITS[unit] // 1000, NO_END)) if unit != "s" else _of_seconds(value)


def _of_seconds(value: int) -> int:
    us = value * 10**6
    return NO_END if us > NO_END else max(NO_BEGINNING, us)


@pytest.mark.parametrize("unit", UNITS)
@given(cells=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**34), 2**34)))
def test_whole_numbers(unit: str, cells: list[int | None]) -> None:
    exact = [None if cell is None else expected(cell, unit) for cell in cells]
    assert micros(cells, unit, pa.int64()) == exact


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@given(moments=st.lists(MOMENTS))
def test_the_numbers_of_moments_give_the_moments(unit: str, moments: list[dt.datetime]) -> None:
    a_unit = dt.timedelta(microseconds=UNITS[unit] // 1000)
    cells = [(moment - EPOCH) // a_unit for moment in moments]
    found = to_times(pa.array(cells, pa.int64()), unit, CellParser()).to_pylist()
    assert found == [EPOCH + cell * a_unit for cell in cells]
    assert all(dt.timedelta(0) <= moment - back < a_unit for moment, back in zip(moments, found, strict=True))


@pytest.mark.parametrize("unit", UNITS)
@given(cells=st.lists(st.none() | st.floats()))
def test_numbers_with_a_point(unit: str, cells: list[float | None]) -> None:
    for cell, found in zip(cells, micros(cells, unit, pa.float64()), strict=True):
        if cell is None or math.isnan(cell):
            assert found is None
            continue
        us = cell * (UNITS[unit] / 1000)
        assert found is not None
        assert NO_BEGINNING <= found <= NO_END
        if NO_BEGINNING < us < NO_END:
            assert abs(found - us) <= 1 + abs(us) * 2**-51
        else:
            assert found in (NO_END, NO_BEGINNING, round(max(min(us, 1e18), -1e18)))


def test_seconds_with_a_point_keep_their_microseconds() -> None:
    moment = dt.datetime(2020, 9, 13, 12, 26, 40, 123457, tzinfo=dt.UTC)
    assert micros([moment.timestamp(), -0.5], "s") == [round(moment.timestamp() * 1e6), -500_000]
    assert micros([math.inf, -math.inf, math.nan], "s") == [NO_END, NO_BEGINNING, None]


ZONES = st.none() | st.timedeltas(dt.timedelta(hours=-14), dt.timedelta(hours=14)).map(
    lambda offset: dt.timezone(dt.timedelta(minutes=offset // dt.timedelta(minutes=1)))
)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(MOMENTS, ZONES, st.sampled_from("T "))))
def test_iso_text(cells: list[tuple[dt.datetime, dt.timezone | None, str]]) -> None:
    moments = [moment.replace(tzinfo=zone) for moment, zone, _ in cells]
    texts = [moment.isoformat(sep) for moment, (_, _, sep) in zip(moments, cells, strict=True)]
    utc = [m.astimezone(dt.UTC).replace(tzinfo=None) if m.tzinfo else m for m in moments]
    assert to_times(pa.array(texts, pa.string()), "iso", CellParser()).to_pylist() == utc


def test_text_that_is_no_time_is_null() -> None:
    assert micros(["2020-01-01", "01.02.2020", "", None, "2020-02-31", "infinity", "1600000000"], "iso") == [
        1_577_836_800_000_000, None, None, None, None, NO_END, None,
    ]  # fmt: skip


def reader(**columns: pa.Array) -> MemoryReader:
    return MemoryReader({"t": pa.table({"id": pa.array(range(len(next(iter(columns.values()))))), **columns})})


@settings(deadline=None)
@given(
    cells=st.lists(st.none() | st.integers(-(10**4), 10**4) | st.integers(-(2**62), 2**62), max_size=12),
    since=st.integers(-(10**10), 10**10) | st.sampled_from([NO_BEGINNING, NO_END, NO_END - 1]),
    unit=st.sampled_from(list(UNITS)),
    limit=st.none() | st.integers(0, 4),
    columns=st.sampled_from([None, ["id"], ["id", "at"], ["at"]]),
)
def test_since_loses_and_doubles_no_row(
    cells: list[int | None], since: int, unit: str, limit: int | None, columns: list[str] | None
) -> None:
    of = MemoryReader({"t": pa.table({"id": range(len(cells)), "at": pa.array(cells, pa.int64())})}, rows_a_batch=3)
    found = ConvertedReader(of, {("t", "at"): unit}).read("t", columns, limit=limit, since=("at", since)).read_all()
    late = [(n, us) for n, cell in enumerate(cells) if cell is not None and (us := expected(cell, unit)) >= since]
    assert found.column_names == (columns or ["id", "at"])
    if "id" in found.column_names:
        assert found["id"].to_pylist() == [n for n, _ in late][:limit]
    if "at" in found.column_names:
        assert found["at"].cast(pa.int64()).to_pylist() == [us for _, us in late][:limit]


def test_of_whole_numbers_only_what_is_late_is_asked_for() -> None:
    of = reader(at=pa.array([10, 11, 12]), half=pa.array([10.0, 11.0, 12.0]), said=pa.array(["2020-01-01"] * 3))
    asked: list[object] = []
    given_out = of.read

    def listening(*args: object, **options: object) -> pa.RecordBatchReader:
        asked.append(options.get("since"))
        return given_out(*args, **options)  # type: ignore[arg-type]

    of.read = listening  # type: ignore[method-assign]
    converted = ConvertedReader(of, {("t", "at"): "ms", ("t", "half"): "ms", ("t", "said"): "iso"})
    for column in ("at", "half"):
        assert converted.read("t", ["id"], since=(column, 10_001)).read_all()["id"].to_pylist() == [1, 2]
    assert converted.read("t", since=("said", 0)).read_all().num_rows == 3
    assert asked == [("at", 11), None, None]


def test_what_is_no_time_is_counted_and_all_else_is_the_readers_own() -> None:
    of = reader(at=pa.array([1.0, math.nan, None]), said=pa.array(["2020-01-01", "x", "y"]))
    of.repairs = {("t", "said"): 3, ("t", "id"): 1}
    of.tasks = {"a": Path("a")}  # type: ignore[attr-defined]
    converted = ConvertedReader(of, {("t", "at"): "s", ("t", "said"): "iso"})
    for _ in range(2):  # the most ever seen is kept, not the sum
        converted.read("t").read_all()
    assert dict(converted.repairs) == {("t", "at"): 1, ("t", "said"): 5, ("t", "id"): 1}
    assert converted.tasks == {"a": Path("a")}
    assert not hasattr(converted, "val_cut_us")
    assert (converted.url, converted.name, converted.count("t")) == (of.url, of.name, 3)
    assert converted.fingerprint() == of.fingerprint()
    assert [column.time_format for column in converted.reflect()["t"].columns] == [None, "s", "iso"]
    assert formats_of(converted.reflect()) == {("t", "at"): "s", ("t", "said"): "iso"}


def test_a_column_of_another_storage_is_refused() -> None:
    of = reader(at=pa.array(["2020"]))
    with pytest.raises(SchemaError, match=r"t\.at is read as string, and time_format = 's' is of numbers"):
        ConvertedReader(of, {("t", "at"): "s"}).read("t")
    with pytest.raises(SchemaError, match="column 'at' is text"):
        with_formats(of.schema, {("t", "at"): "s"})
    with pytest.raises(SchemaError, match="no column 'ta'"):
        ConvertedReader(of, {("t", "ta"): "s"}).reflect()


Rows = list[tuple[int, int, int, str]]
START = 1_600_000_000


def rows(number: int) -> Rows:
    """Orders, one every half day: their number, their user, when they were made (s) and when they were sent (text)."""
    return [
        (n, n % 7, START + n * 43_200, f"{EPOCH + dt.timedelta(seconds=START + n * 43_200 + 60)}Z")
        for n in range(number)
    ]


TABLES = """CREATE TABLE users (id INTEGER PRIMARY KEY);
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (id), created BIGINT, sent TEXT);
CREATE TABLE lines (order_id INTEGER REFERENCES orders (id), amount INTEGER)"""


def in_sqlite(folder: Path, orders: Rows) -> str:
    path = folder / "shop.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript("DROP TABLE IF EXISTS lines; DROP TABLE IF EXISTS orders; DROP TABLE IF EXISTS users;")
        connection.executescript(TABLES)
        connection.executemany("INSERT INTO users VALUES (?)", [(n,) for n in range(7)])
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", orders)
        connection.executemany("INSERT INTO lines VALUES (?, ?)", [(n, n % 50) for n, *_ in orders])
    connection.close()
    return str(path)


def in_duckdb(folder: Path, orders: Rows) -> str:
    path = folder / "shop.duckdb"
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute(TABLES)
        connection.execute("INSERT INTO users SELECT range FROM range(7)")
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", orders)
        connection.execute("INSERT INTO lines SELECT id, id % 50 FROM orders")
    return str(path)


def in_parquet(folder: Path, orders: Rows) -> str:
    path = folder / "shop"
    path.mkdir(exist_ok=True)
    names = ["id", "user_id", "created", "sent"]
    pq.write_table(pa.table({"id": range(7)}), path / "users.parquet")
    columns = dict(zip(names, map(list, zip(*orders, strict=True)), strict=True))
    pq.write_table(pa.table(columns), path / "orders.parquet")
    lines = {"order_id": [n for n, *_ in orders], "amount": [n % 50 for n, *_ in orders]}
    pq.write_table(pa.table(lines), path / "lines.parquet")
    return str(path)


ENGINES = [in_sqlite, in_duckdb, in_parquet]
QUERY = "PREDICT COUNT(orders.*, 0, 14, days) = 0 FOR EACH users.id"


def done(*command: str) -> str:
    result = CliRunner().invoke(app, list(command))
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def taken(url: str, file: Path) -> Path:
    """The schema file that ``rdl schema`` writes, with every time format that it suggests taken."""
    lines = done("schema", url).splitlines()
    used = [line.removeprefix("# ") if "time_format" in line else line for line in lines]
    assert used != lines
    file.write_text("\n".join(used))
    return file


@pytest.mark.parametrize("engine", ENGINES)
def test_from_a_suggestion_to_a_plan(engine: Callable[[Path, Rows], str], tmp_path: Path) -> None:
    url = engine(tmp_path, rows(200))
    seen = json.loads(done("inspect", url, "--json"))
    assert {table["time"] for table in seen["tables"].values()} == {None}
    what = {entry["what"] for entry in seen["inferred"] if entry["kind"] == "time_format" and not entry["used"]}
    assert what == {'orders.created time_format = "s"', 'orders.sent time_format = "iso"'}
    file = taken(url, tmp_path / "used.toml")
    seen = json.loads(done("inspect", url, "--schema", str(file), "--json"))
    assert (seen["tables"]["orders"]["time"], seen["tables"]["lines"]["time"]) == ("created", "order_id.created")
    created = seen["tables"]["orders"]["columns"]["created"]
    assert created == {"dtype": "timestamp", "stype": "timestamp", "time_format": "s"}
    assert not any(entry["kind"] == "time_format" for entry in seen["inferred"])
    plan = json.loads(done("plan", QUERY, "--db", url, "--schema", str(file), "--json"))
    assert "2020-" in json.dumps(plan)
    db = rdl.connect(url, schema=file)
    sent = db.snapshot.arrow("orders")["sent"].cast(pa.int64()).to_pylist()
    assert db.snapshot.time("orders").tolist() == [(START + n * 43_200) * 10**6 for n in range(200)]
    assert [late - at for at, late in zip(db.snapshot.time("orders").tolist(), sent, strict=True)] == [60_000_000] * 200
    schema_file = tmp_path / "schemas" / f"{db.reader.name}.toml"
    schema_file.parent.mkdir()
    schema_file.write_text(file.read_text())
    written = done("schema", url)  # what was taken over is written again
    assert 'created = {time_format = "s"}' in written
    assert 'sent = {time_format = "iso"}' in written
    assert "# created" not in written


@pytest.mark.parametrize("engine", ENGINES)
def test_a_refresh_takes_what_was_appended(engine: Callable[[Path, Rows], str], tmp_path: Path) -> None:
    url = engine(tmp_path, rows(100))
    file = taken(url, tmp_path / "used.toml")
    before = rdl.connect(url, schema=file).snapshot
    assert before.num_rows["orders"] == 100
    engine(tmp_path, rows(130))
    notes: list[str] = []

    class Told:
        def rows(self, doing: str, done: int, total: int) -> None:
            """Nothing."""

        def note(self, text: str) -> None:
            notes.append(text)

    db = rdl.connect(url, schema=file)
    refreshed = load_or_build(db.reader, db.schema, listener=Told(), refresh=True)
    assert "orders" not in "".join(note for note in notes if note.startswith("read whole"))
    whole = load_or_build(db.reader, db.schema, cache=tmp_path / "other")
    assert refreshed.arrow("orders").equals(whole.arrow("orders"))
    assert refreshed.time("orders").tolist() == whole.time("orders").tolist()
    assert refreshed.num_rows["orders"] == 130


def test_a_saved_schema_reads_as_it_did(tmp_path: Path) -> None:
    url = in_duckdb(tmp_path, rows(50))
    file = taken(url, tmp_path / "used.toml")
    first = rdl.connect(url, schema=file)
    kept = Schema.from_json(json.loads(json.dumps(first.schema.to_json())))
    again = Database(rdl.connect(url).reader, saved=kept)
    assert again.snapshot.path == first.snapshot.path
    assert again.snapshot.time("orders").tolist() == first.snapshot.time("orders").tolist()


def test_another_format_is_another_snapshot(tmp_path: Path) -> None:
    url = in_duckdb(tmp_path, rows(50))
    seconds, milliseconds = tmp_path / "s.toml", tmp_path / "ms.toml"
    seconds.write_text('tables.orders.columns.created.time_format = "s"')
    milliseconds.write_text('tables.orders.columns.created.time_format = "ms"')
    first, second = (rdl.connect(url, schema=file).snapshot for file in (seconds, milliseconds))
    assert first.path != second.path
    assert first.time("orders")[0] == 1000 * second.time("orders")[0]


def test_a_key_of_times_stays_a_key(tmp_path: Path) -> None:
    path = tmp_path / "k.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE ticks (ts BIGINT PRIMARY KEY, price DOUBLE)")
        connection.execute("INSERT INTO ticks SELECT 1600000000 + range * 3600, range % 17 FROM range(500)")
    file = tmp_path / "k.toml"
    file.write_text('tables.ticks.columns.ts.time_format = "s"')
    db = rdl.connect(str(path), schema=file)
    assert (db.schema["ticks"]["ts"].dtype, db.schema["ticks"]["ts"].stype) == (Dtype.timestamp, Stype.identifier)
    assert str(db.schema["ticks"].time) == "ts"
    written = pa.table({"ts": db.snapshot.keys("ticks", db.snapshot.row_of("ticks", [EPOCH]).clip(0))["ts"]})
    assert db.write("predictions", written, entity="ticks") == 1
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT ts FROM predictions").fetchall() == [(EPOCH + dt.timedelta(seconds=START),)]
