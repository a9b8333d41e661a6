"""The same content in every engine: builders of small databases."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import yaml
from sqlalchemy.dialects import registry

from tests.database import mysql_engine, postgresql_engine

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


def build_postgresql(server: Any) -> str:
    return postgresql_engine.build(server, CONTENT, _KEYS, _DAYS)


def _change_postgresql(server: Any, url: str) -> None:
    server.run(url, f'UPDATE {quote(ORDERS)} SET amount = 7 WHERE "Id" = 1')


def build_generic(folder: Path) -> str:
    """The SQLite file under a name that rdl knows nothing of, so that it is read through SQLAlchemy alone."""
    registry.register("anydb", "sqlalchemy.dialects.sqlite.pysqlite", "SQLiteDialect_pysqlite")
    return build_sqlite(folder).replace("sqlite:///", "anydb:///file:") + "?mode=rw&uri=true"


def _file_of(url: str) -> str:
    return url.removeprefix("anydb:///file:").partition("?")[0]


def _written_generic(_: Path, url: str, table: str) -> list[dict[str, object]] | None:
    with closing(sqlite3.connect(_file_of(url))) as connection:
        connection.row_factory = sqlite3.Row
        try:
            rows = [dict(row) for row in connection.execute(f"SELECT * FROM {quote(table)}")]
        except sqlite3.OperationalError:
            return None
    return [{**row, "time": dt.datetime.fromisoformat(row["time"]), "hit": bool(row["hit"])} for row in rows]


def _change_generic(_: Path, url: str) -> None:
    with closing(sqlite3.connect(_file_of(url))) as connection, connection:
        connection.execute(f'UPDATE {quote(ORDERS)} SET amount = 7 WHERE "Id" = 1')


def build_mariadb(server: Any) -> str:
    return mysql_engine.build(server, CONTENT, _KEYS, _DAYS)


def _change_mariadb(server: Any, url: str) -> None:
    server.run(url, f"UPDATE `{ORDERS}` SET amount = 7 WHERE Id = 1")


@dataclass(frozen=True)
class Remote:
    """What the suites do with a database on a server, past its reader; each is given the server and the URL."""

    fixture: str  # the server's, in tests.servers
    written: Callable[[Any, str, str], list[dict[str, object]] | None]  # the rows of a table; None: there is none
    change: Callable[[Any, str], None]  # changes a user's number
    drop: Callable[[Any, str], None]


@dataclass(frozen=True)
class Engine:
    name: str
    build: Callable[[Any], str]  # of a folder, or of the server of a remote engine
    keys: bool  # whether it declares keys
    relations: bool  # whether the small database declares its relation there
    remote: Remote | None = None


POSTGRESQL = Remote("postgres", postgresql_engine.written, _change_postgresql, postgresql_engine.drop)
MARIADB = Remote("mariadb", mysql_engine.written, _change_mariadb, mysql_engine.drop)
# A file, but not looked at as one: the folder stands for the server.
GENERIC = Remote("tmp_path", _written_generic, _change_generic, lambda _, url: Path(_file_of(url)).unlink())

ENGINES = [
    Engine("sqlite", build_sqlite, keys=True, relations=True),
    Engine("duckdb", build_duckdb, keys=True, relations=False),
    Engine("parquet", build_parquet, keys=False, relations=False),
    Engine("csv", build_csv, keys=False, relations=False),
    Engine("parts", build_parts, keys=False, relations=False),
    Engine("relbench", build_relbench, keys=True, relations=True),
    Engine("postgresql", build_postgresql, keys=True, relations=True, remote=POSTGRESQL),
    Engine("generic", build_generic, keys=True, relations=True, remote=GENERIC),
    Engine("mariadb", build_mariadb, keys=True, relations=True, remote=MARIADB),
]
