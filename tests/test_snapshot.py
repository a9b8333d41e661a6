"""The snapshot against brute force over in-memory tables."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl import clock
from rdl.cache import KEPT
from rdl.errors import ConfigError, DatabaseError, SchemaError
from rdl.keys import match
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath
from rdl.snapshot import build, load_or_build, open_snapshot
from tests.memory import MemoryReader


def schema_of(
    tables: Mapping[str, pa.Table],
    relations: Sequence[Relation] = (),
    times: Mapping[str, TimePath] | None = None,
    keys: Mapping[str, tuple[str, ...]] | None = None,
) -> Schema:
    described = {
        name: Table(
            name,
            tuple(Column(column, Dtype.unknown, Stype.unsupported) for column in rows.column_names),
            (keys or {}).get(name, ()),
            (times or {}).get(name),
        )
        for name, rows in tables.items()
    }
    return Schema(described, tuple(relations))


def us(*values: int | None) -> pa.Array:
    return pa.array(values, pa.timestamp("us"))


SHOP = {
    "users": pa.table({"id": [7, 8, 9], "name": ["ann", "bob", "cy"], "boss": pa.array([8, None, 8])}),
    "orders": pa.table({"id": [1, 2, 3, 4], "user": pa.array([9, 7, None, 5]), "at": us(30, 10, None, 20)}),
    "order lines": pa.table({"order": pa.array([4, 1, None, 2, 1, 3]), "n": list("abcdef")}),
}
OF_USER = Relation("orders", ("user",), "users", ("id",))
OF_ORDER = Relation("order lines", ("order",), "orders", ("id",))
BOSS = Relation("users", ("boss",), "users", ("id",))
SHOP_SCHEMA = schema_of(
    SHOP,
    [OF_USER, OF_ORDER, BOSS],
    {"orders": TimePath("at"), "order lines": TimePath("at", (("order",),))},
    {"users": ("id",), "orders": ("id",)},
)


def test_rows_are_sorted_by_time_and_keys_resolved(tmp_path: Path) -> None:
    snapshot = build(MemoryReader(SHOP), SHOP_SCHEMA, tmp_path / "s")
    assert snapshot.arrow("orders")["id"].to_pylist() == [2, 4, 1, 3]
    assert snapshot.time("orders").tolist() == [10, 20, 30, clock.NEVER]
    assert snapshot.parent(OF_USER).tolist() == [0, -1, 2, -1]
    # lines take their order's time; equal times keep the engine's order, unknown orders come last
    assert snapshot.arrow("order lines")["n"].to_pylist() == ["d", "a", "b", "e", "c", "f"]
    assert snapshot.time("order lines").tolist() == [10, 20, 30, 30, clock.NEVER, clock.NEVER]
    assert snapshot.parent(OF_ORDER).tolist() == [0, 1, 2, 2, -1, 3]
    assert snapshot.parent(OF_ORDER).dtype == np.int32
    # a timeless table keeps the engine's order
    assert snapshot.arrow("users")["id"].to_pylist() == [7, 8, 9]
    assert set(snapshot.time("users").tolist()) == {clock.ALWAYS}
    assert snapshot.parent(BOSS).tolist() == [1, -1, 1]
    assert snapshot.num_rows == {"users": 3, "orders": 4, "order lines": 6}


def test_report_counts_what_is_not_in_order(tmp_path: Path) -> None:
    reader = MemoryReader({**SHOP, "users": pa.concat_tables([SHOP["users"], SHOP["users"].slice(0, 1)])})
    reader.repairs = {("orders", "at"): 2, ("orders", "id"): 0}
    report = build(reader, SHOP_SCHEMA, tmp_path / "s").report
    assert report.rows == {"users": 4, "orders": 4, "order lines": 6}
    assert report.dangling == {"orders.user → users.id": (1, 1 / 3)}
    assert report.duplicate_keys == {"users": 1}
    assert report.null_times == {"orders": 1, "order lines": 2}
    assert report.repairs == {"orders.at": 2}
    json.dumps(report.to_json())


def test_duckdb_sees_every_table_with_rows_times_and_parents(tmp_path: Path) -> None:
    snapshot = build(MemoryReader(SHOP), SHOP_SCHEMA, tmp_path / "s")
    for _ in range(2):  # a second connection is independent of the first
        with snapshot.connect() as connection:
            sql = 'SELECT "order", n, "#row", "#time", "#order" FROM "order lines" ORDER BY "#row"'
            rows = connection.execute(sql).fetchall()
            types = connection.execute('DESCRIBE "order lines"').fetchall()
    moment = [dt.datetime(1970, 1, 1, microsecond=time) if time else None for time in (10, 20, 30, 30, None, None)]
    assert rows == [
        (2, "d", 0, moment[0], 0),
        (4, "a", 1, moment[1], 1),
        (1, "b", 2, moment[2], 2),
        (1, "e", 3, moment[3], 2),
        (None, "c", 4, None, None),
        (3, "f", 5, None, 3),
    ]
    assert {name: dtype for name, dtype, *_ in types} == {
        "order": "BIGINT", "n": "VARCHAR", "#row": "BIGINT", "#time": "TIMESTAMP", "#order": "BIGINT"
    }  # fmt: skip
    with snapshot.connect() as connection:
        counts = connection.execute('SELECT count("#time"), count("#boss"), count(*) FROM users').fetchall()
    assert counts == [(0, 2, 3)]


def test_duckdb_sees_null_where_a_key_names_no_row(tmp_path: Path) -> None:
    snapshot = build(MemoryReader(SHOP), SHOP_SCHEMA, tmp_path / "s")
    with snapshot.connect() as connection:
        assert connection.execute('SELECT id, "user" FROM orders ORDER BY id').fetchall() == [
            (1, 9), (2, 7), (3, None), (4, None),  # the last names user 5, whom nobody knows
        ]  # fmt: skip
    tables = {"c": pa.table({"k": [1, 2, 3]}), "p": pa.table({"id": [2]}), "q": pa.table({"id": [1]})}
    either = [Relation("c", ("k",), parent, ("id",)) for parent in ("p", "q")]
    snapshot = build(MemoryReader(tables), schema_of(tables, either), tmp_path / "either")
    with snapshot.connect() as connection:
        assert connection.execute("SELECT k FROM c").fetchall() == [(1,), (2,), (None,)]


def test_odd_names(tmp_path: Path) -> None:
    tables = {'a"b': pa.table({"sel ect": [1], "x'y": [2]}), "#source0": pa.table({"é.ß": [1], "k": [1]})}
    relation = Relation('a"b', ("sel ect",), "#source0", ("é.ß",))
    snapshot = build(MemoryReader(tables), schema_of(tables, [relation]), tmp_path / "s")
    with snapshot.connect() as connection:
        assert connection.execute('SELECT "x\'y", "#sel ect" FROM "a""b"').fetchall() == [(2, 0)]
        assert connection.execute('SELECT "é.ß", "#row" FROM "#source0"').fetchall() == [(1, 0)]


@pytest.mark.parametrize("tables", [
    {"Users": pa.table({"a": [1]}), "users": pa.table({"a": [1]})},
    {"t": pa.table({"Name": [1], "name": [2]})},
    {"t": pa.table({"#ROW": [1]})},
])  # fmt: skip
def test_names_that_duckdb_confuses_are_refused(tmp_path: Path, tables: dict[str, pa.Table]) -> None:
    snapshot = build(MemoryReader(tables), schema_of(tables), tmp_path / "s")
    with pytest.raises(SchemaError, match="differ by case only"):
        snapshot.connect()


def test_two_relations_over_one_key(tmp_path: Path) -> None:
    tables = {"c": pa.table({"k": [1, 2]}), "p": pa.table({"id": [2]}), "q": pa.table({"id": [1]})}
    first, second = Relation("c", ("k",), "p", ("id",)), Relation("c", ("k",), "q", ("id",))
    snapshot = build(MemoryReader(tables), schema_of(tables, [first, second]), tmp_path / "s")
    assert (snapshot.parent(first).tolist(), snapshot.parent(second).tolist()) == ([-1, 0], [0, -1])
    with snapshot.connect() as connection:
        assert connection.execute('SELECT "#k", "#k→q" FROM c').fetchall() == [(None, 0), (0, None)]


def test_duplicate_keys_the_earliest_row_wins(tmp_path: Path) -> None:
    tables = {"p": pa.table({"id": [1, 1], "at": us(20, 10)}), "c": pa.table({"p": [1]})}
    relation = Relation("c", ("p",), "p", ("id",))
    times = {"p": TimePath("at"), "c": TimePath("at", (("p",),))}
    snapshot = build(MemoryReader(tables), schema_of(tables, [relation], times), tmp_path / "s")
    assert snapshot.parent(relation).tolist() == [0]
    assert snapshot.time("c").tolist() == snapshot.time("p").tolist()[:1] == [10]
    assert snapshot.report.duplicate_keys == {"p": 1}


def test_time_walks_any_number_of_keys_and_through_itself(tmp_path: Path) -> None:
    tables = {
        "d": pa.table({"c": [0, 1, 2]}),
        "c": pa.table({"id": [0, 1, 2], "b": [2, 1, 0]}),
        "b": pa.table({"id": [0, 1, 2], "up": pa.array([None, 0, 1]), "day": pa.array([3, None, 1], pa.date32())}),
    }
    relations = [
        Relation("d", ("c",), "c", ("id",)), Relation("c", ("b",), "b", ("id",)), Relation("b", ("up",), "b", ("id",)),
    ]  # fmt: skip
    times = {"d": TimePath("day", (("c",), ("b",))), "b": TimePath("day", (("up",),))}
    snapshot = build(MemoryReader(tables), schema_of(tables, relations, times), tmp_path / "s")
    day = clock.US_PER_DAY
    assert snapshot.time("d").tolist() == [day, 3 * day, clock.NEVER]
    assert snapshot.arrow("d")["c"].to_pylist() == [0, 2, 1]
    assert snapshot.time("b").tolist() == [3 * day, clock.NEVER, clock.NEVER]
    assert snapshot.arrow("b")["id"].to_pylist() == [1, 0, 2]
    assert snapshot.parent(relations[2]).tolist() == [1, -1, 0]


@pytest.mark.parametrize(("values", "expected"), [
    (pa.array([dt.datetime(9999, 12, 31)]), clock.to_us("9999-12-31")),
    (pa.array([1], pa.timestamp("s")), 1_000_000),
    (pa.array([-1500], pa.timestamp("ns")), -1),
    (pa.array([5], pa.timestamp("us", "Europe/Paris")), 5),
])  # fmt: skip
def test_times_of_any_arrow_unit(tmp_path: Path, values: pa.Array, expected: int) -> None:
    tables = {"t": pa.table({"at": values})}
    snapshot = build(MemoryReader(tables), schema_of(tables, times={"t": TimePath("at")}), tmp_path / "s")
    assert snapshot.time("t").tolist() == [expected]


def test_a_number_is_no_time(tmp_path: Path) -> None:
    tables = {"t": pa.table({"at": [1]})}
    with pytest.raises(SchemaError, match=r"t\.time = at: a column of int64"):
        build(MemoryReader(tables), schema_of(tables, times={"t": TimePath("at")}), tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_empty_tables(tmp_path: Path) -> None:
    tables = {name: rows.slice(0, 0) for name, rows in SHOP.items()}
    snapshot = build(MemoryReader(tables), SHOP_SCHEMA, tmp_path / "s")
    assert snapshot.num_rows == {"users": 0, "orders": 0, "order lines": 0}
    assert snapshot.parent(OF_ORDER).tolist() == []
    with snapshot.connect() as connection:
        assert connection.execute('SELECT * FROM "order lines"').fetchall() == []
    assert snapshot.row_of("users", [1]).tolist() == [-1]


def test_keys_and_rows_are_inverse(tmp_path: Path) -> None:
    pairs = pa.table({"a": [1, 1, 2], "b": ["x", "y", "x"], "at": us(3, 2, 1)})
    tables = {**SHOP, "pairs": pairs}
    schema = schema_of(tables, times={"pairs": TimePath("at")}, keys={"pairs": ("b", "a"), "users": ("id",)})
    snapshot = build(MemoryReader(tables), schema, tmp_path / "s")
    assert snapshot.keys("pairs", np.array([0, 2])).to_pydict() == {"b": ["x", "x"], "a": [2, 1]}
    assert snapshot.row_of("pairs", pairs).tolist() == [2, 1, 0]
    assert snapshot.row_of("pairs", pa.table({"a": [1, None], "b": ["z", "x"]})).tolist() == [-1, -1]
    assert snapshot.row_of("users", [9, 7, 1]).tolist() == [2, 0, -1]
    assert snapshot.row_of("users", ["9", "07"]).tolist() == [2, -1]
    assert snapshot.row_of("users", np.array([8])).tolist() == [1]
    assert snapshot.keys("orders", np.array([3, 1])).to_pydict() == {"row": [3, 1]}
    assert snapshot.row_of("orders", [3, 4]).tolist() == [3, -1]
    with pytest.raises(ConfigError, match="is 2 values"):
        snapshot.row_of("pairs", [1])
    with pytest.raises(ConfigError, match="lack 'b'"):
        snapshot.row_of("pairs", pa.table({"a": [1]}))
    with pytest.raises(ConfigError, match="mixed"):
        snapshot.row_of("users", [1, "a"])


@pytest.mark.parametrize(("keys", "known", "expected"), [
    ([1, 2], ["2", "1", "01"], [1, 0]),
    (["01", "1", None], [1, 2], [-1, 0, -1]),
    ([1.0, 1.5, float("nan"), None], [1, float("nan")], [0, -1, -1, -1]),
    ([1.0, 1.5], ["1.5", "1"], [1, 0]),
    ([2**53 + 1], [float(2**53)], [-1]),
    ([float("nan"), 2.0], [2.0, float("nan")], [-1, 0]),
    ([True, False], [0, 1], [1, 0]),
    ([dt.date(2020, 1, 1)], [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 2)], [0]),
    (["2020-01-01", "never"], [dt.datetime(2020, 1, 1)], [0, -1]),
    (["é", "a\0b", ""], ["a", "a\0b", "", "é"], [3, 1, 2]),
    (["a"], [b"a"], [0]),
    ([b"\xff"], ["a"], [-1]),
    ([1], [dt.date(1970, 1, 2)], [-1]),
    (pa.nulls(2), pa.nulls(1), [-1, -1]),
])  # fmt: skip
def test_keys_of_different_types(keys: object, known: object, expected: list[int]) -> None:
    found = match(pa.table({"a": pa.array(keys)}), pa.table({"b": pa.array(known)}))
    assert found.rows.tolist() == expected


KEY = st.one_of(st.none(), st.integers(0, 3))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(KEY, KEY), max_size=12), st.lists(st.tuples(KEY, KEY), max_size=12))
def test_match_is_the_first_equal_row(keys: list[tuple[object, ...]], known: list[tuple[object, ...]]) -> None:
    def table(rows: list[tuple[object, ...]]) -> pa.Table:
        columns = [pa.array([row[i] for row in rows], pa.int64()) for i in range(2)]
        return pa.table([columns[0], columns[1].cast(pa.string())], names=["x", "y"])

    found = match(table(keys), table(known))
    filled = [None not in key for key in keys]
    expected = [known.index(key) if ok and key in known else -1 for key, ok in zip(keys, filled, strict=True)]
    assert found.rows.tolist() == expected
    assert found.filled == sum(filled)
    assert found.dangling == sum(row == -1 and ok for row, ok in zip(expected, filled, strict=True))
    whole = [key for key in known if None not in key]
    assert found.duplicates == len(whole) - len(set(whole))


@settings(deadline=None, max_examples=15)
@given(st.lists(st.one_of(st.none(), st.integers(-5, 5)), max_size=20), st.integers(1, 7))
def test_sorting_is_stable_however_rows_are_batched(
    tmp_path_factory: pytest.TempPathFactory, times: list[int | None], rows_a_batch: int
) -> None:
    tables = {"t": pa.table({"at": us(*times), "n": pa.array(range(len(times)), pa.int64())})}
    schema = schema_of(tables, times={"t": TimePath("at")})
    snapshot = build(MemoryReader(tables, rows_a_batch=rows_a_batch), schema, tmp_path_factory.mktemp("s") / "s")
    order = sorted(range(len(times)), key=lambda row: (times[row] is None, times[row] or 0))
    assert snapshot.arrow("t")["n"].to_pylist() == order


def test_columns_are_mapped_not_read(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    tables = {"t": pa.table({"n": np.arange(100_000)})}
    snapshot = build(MemoryReader(tables, rows_a_batch=10_000), schema_of(tables), tmp_path / "s")
    del tables
    assert pa.total_allocated_bytes() - before < 100_000
    assert snapshot.arrow("t")["n"][99_999].as_py() == 99_999
    assert not snapshot.time("t").flags.writeable


def test_a_snapshot_is_pickled_as_its_place(tmp_path: Path) -> None:
    snapshot = build(MemoryReader(SHOP), SHOP_SCHEMA, tmp_path / "s")
    again = pickle.loads(pickle.dumps(snapshot))
    assert again.arrow("orders").equals(snapshot.arrow("orders"))
    assert again.schema == snapshot.schema
    assert again.report == snapshot.report


def test_cached_by_data_and_schema(tmp_path: Path) -> None:
    reader = MemoryReader(SHOP)
    first = load_or_build(reader, SHOP_SCHEMA, cache=tmp_path)
    assert load_or_build(reader, SHOP_SCHEMA, cache=tmp_path).path == first.path
    assert len(reader.reads) == 3
    timeless = schema_of(SHOP, SHOP_SCHEMA.relations)
    assert load_or_build(reader, timeless, cache=tmp_path).path != first.path
    reader.version = "2"
    assert load_or_build(reader, SHOP_SCHEMA, cache=tmp_path).path != first.path
    assert len(reader.reads) == 9


def test_what_columns_mean_does_not_matter_to_an_extraction(tmp_path: Path) -> None:
    reader = MemoryReader(SHOP)
    first = load_or_build(reader, SHOP_SCHEMA, cache=tmp_path)
    orders = SHOP_SCHEMA["orders"]
    columns = tuple(replace(column, stype=Stype.categorical, known_at="at") for column in orders.columns)
    other = Schema(
        {**SHOP_SCHEMA.tables, "orders": replace(orders, columns=columns, valid_until="at")}, first.schema.relations
    )
    second = load_or_build(reader, other, cache=tmp_path)
    assert second.path == first.path
    assert second.schema == pickle.loads(pickle.dumps(second)).schema == other
    assert open_snapshot(first.path).schema == SHOP_SCHEMA
    assert len(reader.reads) == 3


def test_the_cache_stands_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDL_CACHE", str(tmp_path / "mine"))
    assert load_or_build(MemoryReader(SHOP), SHOP_SCHEMA).path.parent == tmp_path / "mine" / "snapshots"
    monkeypatch.delenv("RDL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert load_or_build(MemoryReader(SHOP), SHOP_SCHEMA).path.parent == tmp_path / "xdg" / "rdl" / "snapshots"


@pytest.mark.parametrize("file", ["snapshot.json", "1.arrow", "0.time.npy", "2.parent.npy"])
@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
def test_damaged_snapshots_are_built_again(tmp_path: Path, file: str, damage: str) -> None:
    reader = MemoryReader(SHOP)
    path = load_or_build(reader, SHOP_SCHEMA, cache=tmp_path).path / file
    whole = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    with pytest.raises(DatabaseError, match="is not a whole snapshot"):
        open_snapshot(path.parent)
    snapshot = load_or_build(reader, SHOP_SCHEMA, cache=tmp_path)
    assert snapshot.arrow("orders")["id"].to_pylist() == [2, 4, 1, 3]
    assert len(reader.reads) == 6


@pytest.mark.parametrize("error", [DatabaseError("the server went away"), KeyboardInterrupt()])
def test_an_interrupted_extraction_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    reader = MemoryReader(SHOP)
    read = reader.read

    def fail(table: str, columns: Sequence[str] | None = None, **options: Any) -> pa.RecordBatchReader:
        if table == "order lines":
            raise error
        return read(table, columns, **options)

    reader.read = fail  # type: ignore[method-assign]
    with pytest.raises(type(error)):
        load_or_build(reader, SHOP_SCHEMA, cache=tmp_path)
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_the_first_of_two_processes_wins(tmp_path: Path) -> None:
    slow, fast = MemoryReader(SHOP), MemoryReader(SHOP)
    read = slow.read

    def overtaken(table: str, columns: Sequence[str] | None = None, **options: Any) -> pa.RecordBatchReader:
        load_or_build(fast, SHOP_SCHEMA, cache=tmp_path)
        return read(table, columns, **options)

    slow.read = overtaken  # type: ignore[method-assign]
    snapshot = load_or_build(slow, SHOP_SCHEMA, cache=tmp_path)
    assert len(fast.reads) == 3
    assert list((tmp_path / "snapshots").iterdir()) == [snapshot.path]


def test_a_folder_in_use_is_refused_and_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError, match="already holds something"):
        build(MemoryReader(SHOP), SHOP_SCHEMA, tmp_path)
    with pytest.raises(DatabaseError, match=r"cannot write the snapshot .*Not a directory") as caught:
        load_or_build(MemoryReader(SHOP), SHOP_SCHEMA, cache=tmp_path / "file")
    assert len(str(caught.value).splitlines()) == 2


def test_old_snapshots_go(tmp_path: Path) -> None:
    reader = MemoryReader({"t": pa.table({"n": [1]})})
    schema = schema_of(reader.tables)
    for version in range(KEPT + 3):
        reader.version = str(version)
        newest = load_or_build(reader, schema, cache=tmp_path)
    kept = list((tmp_path / "snapshots").iterdir())
    assert len(kept) == KEPT
    assert newest.path in kept


class Told:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.rows_done: list[tuple[str, int, int]] = []
        self.notes: list[str] = []

    def rows(self, doing: str, done: int, total: int) -> None:
        self.rows_done.append((doing, done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_progress_counts_the_rows_of_all_tables(tmp_path: Path) -> None:
    told = Told()
    reader = MemoryReader(SHOP, rows_a_batch=3)
    reader.repairs = {("orders", "at"): 2}
    build(reader, SHOP_SCHEMA, tmp_path / "s", listener=told)
    assert told.rows_done == [("reading", done, 13) for done in (3, 6, 7, 10, 13)]
    assert len(told.notes) == 1
    assert told.notes[0].startswith("extracted 13 rows in ")
    assert told.notes[0].endswith("; 1 dangling key, 3 unknown times, 2 cells that do not fit their type")


def test_a_column_that_is_gone(tmp_path: Path) -> None:
    class Narrow(MemoryReader):
        def read(self, table: str, columns: Sequence[str] | None = None, **options: Any) -> pa.RecordBatchReader:
            return super().read(table, list(columns or ())[:1], **options)

    with pytest.raises(SchemaError, match="no longer has column 'name'"):
        build(Narrow(SHOP), SHOP_SCHEMA, tmp_path / "s")


def test_an_unknown_relation_is_refused(tmp_path: Path) -> None:
    snapshot = build(MemoryReader(SHOP), SHOP_SCHEMA, tmp_path / "s")
    with pytest.raises(SchemaError, match="no relation"):
        snapshot.parent(replace(BOSS, parent="orders"))
