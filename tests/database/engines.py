"""The same content in every engine: builders of small databases."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import yaml

PEOPLE = 'Größe & "Co"; --'
ORDERS = "select"
US = dt.timedelta(microseconds=1)


def people() -> pa.Table:
    return pa.table(
        {
            "id": pa.array([10, 20, 30], pa.int64()),
            'a "b"': ["O'Brien", None, "naïve\nline, 2"],
            "group": pa.array([None, 2.5, -1e300], pa.float64()),
        }
    )


def orders() -> pa.Table:
    start = dt.datetime(2020, 1, 31, 23, 59, 59, 123456)
    return pa.table(
        {
            "Id": pa.array([1, 2, 3, 4], pa.int64()),
            "person id": pa.array([10, None, 20, 99], pa.int64()),
            "WHEN": pa.array([start, start - dt.timedelta(days=20_000), None, start + US], pa.timestamp("us")),
            "day": pa.array([dt.datetime(2020, 2, 29), None, dt.datetime(1999, 1, 1), None], pa.timestamp("us")),
            "ok?": pa.array([True, None, False, True]),
            "note": [None, None, "12", "twelve"],
            "amount": pa.array([None, None, 3.0, 4.5], pa.float64()),
        }
    )


CONTENT: dict[str, Callable[[], pa.Table]] = {PEOPLE: people, ORDERS: orders}
_KEYS = {PEOPLE: "id", ORDERS: "Id"}
_DAYS = {"day"}


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _declared(table: pa.Table, name: str) -> str:
    types = {pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.string(): "VARCHAR", pa.bool_(): "BOOLEAN"}
    columns = [
        f"{quote(field.name)} {'DATE' if field.name in _DAYS else types.get(field.type, 'TIMESTAMP')}"
        for field in table.schema
    ]
    columns.append(f"PRIMARY KEY ({quote(_KEYS[name])})")
    if name == ORDERS:
        columns.append(f"FOREIGN KEY ({quote('person id')}) REFERENCES {quote(PEOPLE)} ({quote('id')})")
    return f"CREATE TABLE {quote(name)} ({', '.join(columns)})"


def build_sqlite(folder: Path) -> str:
    path = folder / "small.sqlite"
    with sqlite3.connect(path) as connection:
        for name, make in CONTENT.items():
            rows = [[_text(value) for value in row.values()] for row in make().to_pylist()]
            connection.execute(_declared(make(), name))
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {quote(name)} VALUES ({marks})", rows)
    connection.close()
    return f"sqlite:///{path}"


def _text(value: object) -> object:
    return value.isoformat(" ") if isinstance(value, dt.datetime) else value


def build_duckdb(folder: Path) -> str:
    path = folder / "small.duckdb"
    with duckdb.connect(path) as connection:
        for name, make in CONTENT.items():
            # DuckDB enforces foreign keys, so the dangling one is left out of what is declared there.
            declared = _declared(make(), name).split(", FOREIGN KEY")[0]
            connection.execute(declared if declared.endswith("))") else f"{declared})")
            connection.register("given", make())
            connection.execute(f"INSERT INTO {quote(name)} SELECT * FROM given")
    return f"duckdb:///{path}"


def _with_dates(table: pa.Table) -> pa.Table:
    for name in _DAYS & set(table.column_names):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.date32()))
    return table


def build_parquet(folder: Path) -> str:
    for name, make in CONTENT.items():
        pq.write_table(_with_dates(make()), folder / f"{name}.parquet")
    return f"folder:{folder}"


def build_csv(folder: Path) -> str:
    for name, make in CONTENT.items():
        pa.csv.write_csv(_with_dates(make()), folder / f"{name}.csv")
    return str(folder)


def build_parts(folder: Path) -> str:
    for name, make in CONTENT.items():
        (folder / name / "deeper").mkdir(parents=True)
        table = _with_dates(make())
        pq.write_table(table.slice(0, 1), folder / name / "a.parquet")
        pq.write_table(table.slice(1), folder / name / "deeper" / "b.parquet")
    return str(folder)


def build_relbench(folder: Path) -> str:
    (folder / "db").mkdir()
    for name, make in CONTENT.items():
        pq.write_table(_with_dates(make()), folder / "db" / f"{name}.parquet")
    tables = {
        PEOPLE: {"pkey": "id", "time_col": None, "fkeys": {}},
        ORDERS: {"pkey": "Id", "time_col": "WHEN", "fkeys": {"person id": PEOPLE}},
    }
    manifest = {"name": "small", "val_timestamp": "2020-01-01", "test_timestamp": "2021-01-01", "tables": tables}
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest, allow_unicode=True), "utf-8")
    return f"relbench:{folder}"


@dataclass(frozen=True)
class Engine:
    name: str
    build: Callable[[Path], str]
    keys: bool  # whether it declares keys
    relations: bool  # whether the small database declares its relation there


ENGINES = [
    Engine("sqlite", build_sqlite, keys=True, relations=True),
    Engine("duckdb", build_duckdb, keys=True, relations=False),
    Engine("parquet", build_parquet, keys=False, relations=False),
    Engine("csv", build_csv, keys=False, relations=False),
    Engine("parts", build_parts, keys=False, relations=False),
    Engine("relbench", build_relbench, keys=True, relations=True),
]
