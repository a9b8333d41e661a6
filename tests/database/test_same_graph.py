"""The same database in another engine gives the same graph: real databases, copied through the readers."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rdl import snapshot
from rdl.database import open_reader
from rdl.database.reader import Reader
from rdl.keys import session
from rdl.schema import Dtype, Relation, Schema, Table, TimePath
from rdl.snapshot import Snapshot
from tests.servers import MariaServer, PostgresServer, statements

TYPES = {
    Dtype.boolean: "BOOLEAN", Dtype.integer: "BIGINT", Dtype.float: "DOUBLE", Dtype.decimal: "DOUBLE",
    Dtype.text: "TEXT", Dtype.date: "DATE", Dtype.timestamp: "TIMESTAMP", Dtype.time: "TIME", Dtype.uuid: "UUID",
    Dtype.json: "JSON", Dtype.binary: "BLOB", Dtype.interval: "BIGINT", Dtype.list: "JSON",
}  # fmt: skip
DATABASES = ["f1", "worldcup", "mind_5k", "ml_100k", "dumps/sqlite/Chinook_Sqlite", "dumps/sqlite/northwind"]


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def declared(table: Table, relations: tuple[Relation, ...]) -> str:
    """CREATE TABLE with the keys of ``table`` and these foreign keys."""

    def listed(columns: tuple[str, ...]) -> str:
        return ", ".join(map(quote, columns))

    parts = [f"{quote(column.name)} {TYPES[column.dtype]}" for column in table.columns]
    parts += [f"PRIMARY KEY ({listed(table.primary_key)})"] if table.primary_key else []
    for relation in relations:
        refers = f"REFERENCES {quote(relation.parent)} ({listed(relation.referred)})"
        parts.append(f"FOREIGN KEY ({listed(relation.key)}) {refers}")
    return f"CREATE TABLE {quote(table.name)} ({', '.join(parts)})"


def to_sqlite(reader: Reader, schema: Schema, folder: Path) -> str:
    """A copy in SQLite that declares the same keys."""
    with closing(sqlite3.connect(folder / "copy.sqlite")) as connection:
        for name, table in schema.tables.items():
            connection.execute(declared(table, schema.relations_from(name)))
            marks = ", ".join("?" * len(table.columns))
            for batch in reader.read(name):
                rows = zip(*(stored(column) for column in batch.columns), strict=True)
                connection.executemany(f"INSERT INTO {quote(name)} VALUES ({marks})", rows)
        connection.commit()
    return f"sqlite:///{folder / 'copy.sqlite'}"


def stored(column: pa.Array) -> list[object]:
    """The cells as SQLite holds them."""
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int64() if pa.types.is_duration(column.type) else pa.string())
    if pa.types.is_nested(column.type):
        return [cell if cell is None else json.dumps(cell) for cell in column.to_pylist()]
    return list(column.to_pylist())


def to_duckdb(reader: Reader, schema: Schema, folder: Path) -> str:
    """A copy in DuckDB that declares the primary keys; a foreign one would have to hold for every row."""
    with duckdb.connect(folder / "copy.duckdb") as connection:
        for name, table in schema.tables.items():
            connection.execute(declared(table, ()))
            connection.register("rows", reader.read(name).read_all())
            connection.execute(f"INSERT INTO {quote(name)} SELECT * FROM rows")
    return f"duckdb:///{folder / 'copy.duckdb'}"


def to_parquet(reader: Reader, schema: Schema, folder: Path) -> str:
    """A copy in Parquet files, which declare nothing."""
    files = folder / "copy"
    files.mkdir()
    for name in schema.tables:
        pq.write_table(reader.read(name).read_all(), files / f"{name}.parquet")
    return f"folder:{files}"


def timed(schema: Schema) -> Schema:
    """``schema`` in which rows have the time of their first column of times, or of the parent that has one."""
    times: dict[str, TimePath] = {}
    for name, table in schema.tables.items():
        found = [column.name for column in table.columns if column.dtype in (Dtype.date, Dtype.timestamp)]
        if found:
            times[name] = TimePath(found[0])
    for relation in schema.relations:
        path = times.get(relation.parent)
        if path and not path.through and relation.child not in times:
            times[relation.child] = TimePath(path.column, (relation.key,))
    tables = {name: replace(table, time=times.get(name)) for name, table in schema.tables.items()}
    return Schema(tables, schema.relations)


def links(taken: Snapshot, relation: Relation) -> pa.Table:
    """For each row of the child its key, its time and the parent's key and time, sorted: row numbers play no part."""
    rows, parents = taken.parent(relation), taken.arrow(relation.parent)
    child, there = taken.arrow(relation.child), pa.array(rows, mask=rows < 0)
    named = list(dict.fromkeys((*taken.schema[relation.child].primary_key, *relation.key)))
    columns = [child[name] for name in named] + [parents[name].take(there) for name in relation.referred]
    columns += [pa.array(taken.time(relation.child)), pa.array(taken.time(relation.parent)).take(there)]
    cells = pa.table([column.cast(pa.string()) for column in columns], names=[f"c{n}" for n in range(len(columns))])
    with session() as connection:
        connection.register("cells", cells)
        return connection.sql("FROM cells ORDER BY ALL").to_arrow_table()


def assert_same(first: Snapshot, copy: str, folder: Path, *, keys: bool = True) -> None:
    """Whether the database at ``copy`` gives the graph that ``first`` is; without ``keys`` it declares fewer."""
    reader, schema = open_reader(copy), first.schema
    found = timed(reader.reflect())
    if keys:
        assert set(found.relations) == set(schema.relations)
        for name, table in schema.tables.items():
            assert (found[name].primary_key, found[name].time) == (table.primary_key, table.time)
    assert reader.warnings == []
    second = snapshot.build(reader, found if keys else schema, folder)
    assert second.num_rows == first.num_rows
    assert second.report.dangling == first.report.dangling
    assert second.report.repairs == {}
    for relation in schema.relations:
        assert links(second, relation) == links(first, relation), relation
    for name in schema.tables:
        assert np.array_equal(second.time(name), first.time(name))


@pytest.mark.parametrize("name", DATABASES)
def test_copies_of_sqlite(shared_data: Path, tmp_path: Path, name: str) -> None:
    reader = open_reader(shared_data / f"{name}.sqlite")
    schema = reader.reflect()
    first = snapshot.build(reader, timed(schema), tmp_path / "first")
    assert_same(first, to_duckdb(reader, schema, tmp_path), tmp_path / "in duckdb", keys=False)
    assert_same(first, to_parquet(reader, schema, tmp_path), tmp_path / "in parquet", keys=False)


def test_pagila(postgres: PostgresServer, shared_data: Path, tmp_path: Path) -> None:
    url, folder = postgres.database(), shared_data / "dumps" / "postgresql" / "pagila"
    postgres.run(url, folder / "pagila-schema.sql", folder / "pagila-data.sql")
    reader = open_reader(url)
    schema = reader.reflect()
    first = snapshot.build(reader, timed(schema), tmp_path / "first")
    assert_same(first, to_sqlite(reader, schema, tmp_path), tmp_path / "in sqlite")


def test_sakila(mariadb: MariaServer, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "dumps" / "mysql" / "sakila"
    mariadb.run("", "CREATE OR REPLACE DATABASE sakila CHARACTER SET utf8mb4")  # the name that it calls itself by
    url = mariadb.url("sakila")
    for dump in sorted(folder.glob("*.sql")):
        mariadb.run(url, "; ".join(statements(dump.read_text(encoding="utf-8"))))
    reader = open_reader(url)
    schema = reader.reflect()
    first = snapshot.build(reader, timed(schema), tmp_path / "first")
    assert_same(first, to_sqlite(reader, schema, tmp_path), tmp_path / "in sqlite")
