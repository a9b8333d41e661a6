"""Generated schemas round-trip through every engine: what is declared, every row, every edge."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from rdl import snapshot
from rdl.database import open_reader
from rdl.schema import Dtype, Relation, Stype
from tests.database.hostile import (
    ARROW,
    DUCKDB,
    MYSQL,
    POSTGRESQL,
    SQLITE,
    TableSpec,
    as_read,
    edges,
    enforced,
    renamed,
    schemas,
    to_arrow,
)
from tests.servers import MariaServer, PostgresServer

EXAMPLES = int(os.environ.get("EXAMPLES", "15"))
hostile = settings(
    max_examples=EXAMPLES, deadline=None, derandomize="EXAMPLES" not in os.environ, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)  # fmt: skip


def check(url: str, tables: list[TableSpec], folder: Path, *, keys: bool = True) -> None:
    """Whether the database at ``url`` is reflected and read as ``tables`` say."""
    reader = open_reader(url)
    schema = reader.reflect()
    by_name = {table.name: table for table in tables}
    assert set(schema.tables) == set(by_name)
    declared = {
        Relation(table.name, key.columns, key.parent, key.referred) for table in tables for key in table.foreign if keys
    }
    assert set(schema.relations) == declared
    assert list(reader.warnings) == []
    for table in tables:
        found = schema[table.name]
        assert {column.name: column.dtype for column in found.columns} == table.kinds
        assert found.primary_key == (table.key if keys else ())
        used = {*found.primary_key, *(column for key in table.foreign for column in key.columns if keys)}
        for column in found.columns:
            assert (column.stype is Stype.identifier) == (column.name in used or column.dtype is Dtype.uuid)
            assert column.nullable or column.name in table.required
        assert reader.count(table.name) == len(table.rows)
        assert counted(reader.read(table.name).read_all()) == Counter(map(plain, table.rows))
    assert reader.repairs == {}
    taken = snapshot.build(reader, schema, folder / "snapshot")
    for relation in schema.relations:
        key = next(key for key in by_name[relation.child].foreign if key.columns == relation.key)
        expected = Counter(
            (plain(child), parent and plain(parent)) for child, parent in edges(by_name[relation.child], key, by_name)
        )
        children = rows_of(taken.arrow(relation.child))
        parents = rows_of(taken.arrow(relation.parent))
        named = [parents[row] if row >= 0 else None for row in taken.parent(relation)]
        assert Counter(zip(children, named, strict=True)) == expected
    reader.close()


def plain(row: dict[str, object]) -> tuple[object, ...]:
    return tuple(as_read(row[name]) for name in sorted(row))


def rows_of(rows: pa.Table) -> list[tuple[object, ...]]:
    return [plain(row) for row in rows.to_pylist()]


def counted(rows: pa.Table) -> Counter[tuple[object, ...]]:
    return Counter(rows_of(rows))


@hostile
@given(tables=schemas(frozenset(SQLITE.types)))
def test_sqlite(tables: list[TableSpec]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.sqlite")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            for table in tables:
                connection.execute(SQLITE.create(table, keys=True))
                for statement in SQLITE.insert(table):
                    connection.execute(statement)
            connection.execute("COMMIT")
        check(f"sqlite:///{path}", tables, Path(folder))


@hostile
@given(tables=schemas(frozenset(DUCKDB.types)).map(enforced))
def test_duckdb(tables: list[TableSpec]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.duckdb")
        with duckdb.connect(path) as connection:
            for table in tables:
                connection.execute(DUCKDB.create(table, keys=True))
                for statement in DUCKDB.insert(table):
                    connection.execute(statement)
        check(f"duckdb:///{path}", tables, Path(folder))


@hostile
@given(tables=schemas(frozenset(ARROW)))
def test_parquet(tables: list[TableSpec]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # A file has no slash in its name, and is hidden where that begins with a dot or an underscore. A uuid is text.
        tables = renamed(tables, lambda name: name.replace("/", "÷").lstrip("._") or "x")
        tables = [with_text(table) for table in tables]
        files = Path(folder, "files")
        files.mkdir()
        for table in tables:
            pq.write_table(to_arrow(table), files / f"{table.name}.parquet")
        check(f"folder:{files}", tables, Path(folder), keys=False)


def with_text(table: TableSpec) -> TableSpec:
    """``table`` with its uuids as text."""
    kinds: dict[str, Dtype] = {name: Dtype.text if kind is Dtype.uuid else kind for name, kind in table.kinds.items()}
    rows = [
        {
            name: value if value is None or table.kinds[name] is not Dtype.uuid else str(value)
            for name, value in row.items()
        }
        for row in table.rows
    ]
    return TableSpec(table.name, kinds, table.primary_key, table.unique, table.required, table.foreign, rows)


@pytest.fixture(scope="module")
def postgresql_url(postgres: PostgresServer) -> str:
    return postgres.database()


@hostile
@given(tables=schemas(frozenset(POSTGRESQL.types)))
def test_postgresql(postgres: PostgresServer, postgresql_url: str, tables: list[TableSpec]) -> None:
    # PostgreSQL's own system columns.
    tables = renamed(tables, lambda name: f"{name}_" if name in ("oid", "ctid", "xmin") else name)
    statements = ["DROP SCHEMA public CASCADE", "CREATE SCHEMA public", "BEGIN"]
    for table in tables:
        statements += [POSTGRESQL.create(table, keys=False), *POSTGRESQL.insert(table)]
    for table in tables:
        statements += POSTGRESQL.add_keys(table, " NOT VALID")
    postgres.run(postgresql_url, "; ".join([*statements, "COMMIT"]))
    with tempfile.TemporaryDirectory() as folder:
        check(postgresql_url, tables, Path(folder))


@pytest.fixture(scope="module")
def mysql_url(mariadb: MariaServer) -> str:
    return mariadb.database()


@hostile
@given(tables=schemas(frozenset(MYSQL.types)))
def test_mariadb(mariadb: MariaServer, mysql_url: str, tables: list[TableSpec]) -> None:
    # Its names have no characters beyond the Basic Multilingual Plane and no space at their end.
    tables = renamed(tables, lambda name: "".join(c if ord(c) < 0x10000 else "e" for c in name).rstrip() or "x")
    database = mysql_url.rpartition("/")[2]
    statements = [f"DROP DATABASE {database}", f"CREATE DATABASE {database} CHARACTER SET utf8mb4", f"USE {database}"]
    statements += ["SET foreign_key_checks = 0", "BEGIN"]
    for table in tables:
        statements += [MYSQL.create(table, keys=False), *MYSQL.insert(table)]
    for number, table in enumerate(tables):
        for more, key in enumerate(table.foreign):  # the server's own names for them would be too long
            added = f"ADD CONSTRAINT f{number}_{more} {MYSQL.foreign(key)}"
            statements.append(f"ALTER TABLE {MYSQL.quote(table.name)} {added}")
    mariadb.run("", "; ".join([*statements, "COMMIT"]))
    with tempfile.TemporaryDirectory() as folder:
        check(mysql_url, tables, Path(folder))
