"""SQLite: what is declared: keys, foreign keys, views, names."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest

from rdl.database import open_reader
from rdl.errors import DatabaseError
from rdl.schema import Relation, Stype
from tests.database.test_sqlite import database


def test_columns_without_a_declared_type_have_that_of_what_they_hold(tmp_path: Path) -> None:
    reader = database(
        tmp_path / "a.db",
        "CREATE TABLE t (i, r, s, b, mixed, empty, geometry POINT, big UNSIGNED BIG INT, string, a INTEGER[])",
        "INSERT INTO t VALUES (1, 1, 1, x'00', x'00', NULL, 'POINT(1 2)', 5, NULL, '{1,2}')",
        "INSERT INTO t VALUES (2, 0.5, 'a', x'01', 1, NULL, NULL, 6, NULL, NULL)",
    )
    dtypes = {column.name: column.dtype.value for column in reader.reflect()["t"].columns}
    assert dtypes == {
        "i": "integer",
        "r": "float",
        "s": "text",
        "b": "binary",
        "mixed": "binary",
        "empty": "text",
        "geometry": "text",
        "big": "integer",
        "string": "text",
        "a": "text",
    }
    assert reader.read("t").read_all()["s"].to_pylist() == ["1", "a"]
    assert reader.read("t").read_all()["mixed"].to_pylist() == [b"\0", None]


def test_keys_and_relations(tmp_path: Path) -> None:
    reader = database(
        tmp_path / "a.db",
        "CREATE TABLE Company (Id INTEGER PRIMARY KEY, boss INTEGER REFERENCES Person)",
        "CREATE TABLE Person (id INTEGER PRIMARY KEY, employer INTEGER REFERENCES company(ID), friend INTEGER"
        " REFERENCES person)",
        "CREATE TABLE seat (row TEXT, place INTEGER, PRIMARY KEY (place, row)) WITHOUT ROWID",
        "CREATE TABLE ticket (p INTEGER, r TEXT, gone INTEGER REFERENCES vanished(id), odd INTEGER REFERENCES seat,"
        " FOREIGN KEY (p, r) REFERENCES seat, FOREIGN KEY (r, p) REFERENCES seat(row, place))",
        "CREATE VIEW v AS SELECT 1",
        "CREATE VIRTUAL TABLE words USING fts5(word)",
    )
    schema = reader.reflect()
    assert list(schema.tables) == ["Company", "Person", "seat", "ticket"]
    assert schema["seat"].primary_key == ("place", "row")
    assert schema["ticket"].primary_key == ()
    assert schema.relations == (
        Relation("Company", ("boss",), "Person", ("id",)),
        Relation("Person", ("employer",), "Company", ("Id",)),
        Relation("Person", ("friend",), "Person", ("id",)),
        Relation("ticket", ("p", "r"), "seat", ("place", "row")),
        Relation("ticket", ("r", "p"), "seat", ("row", "place")),
    )
    warnings = reader.warnings
    assert len(warnings) == 2
    assert any("'vanished'" in warning for warning in warnings)
    assert any("ticket.odd" in warning for warning in warnings)
    assert schema["Person"]["friend"].stype is Stype.identifier


def test_names_that_differ_in_more_than_ascii_case(tmp_path: Path) -> None:
    statements = (
        "CREATE TABLE Été (id INTEGER PRIMARY KEY)",
        "CREATE TABLE été (É INTEGER PRIMARY KEY, é INTEGER UNIQUE)",
        "CREATE TABLE c (a INTEGER REFERENCES Été(ID), b INTEGER REFERENCES ÉTé(Id), d INTEGER REFERENCES éTé(é))",
    )
    reader = database(tmp_path / "a.db", *statements)
    assert set(reader.reflect().relations) == {
        Relation("c", ("a",), "Été", ("id",)),
        Relation("c", ("b",), "Été", ("id",)),
        Relation("c", ("d",), "été", ("é",)),
    }
    reader.write("ÉTÉ", pa.table({"a": [1]}))
    assert set(reader.reflect().tables) == {"Été", "été", "c"}


def test_a_unique_key_stands_in_for_a_primary_one(tmp_path: Path) -> None:
    reader = database(
        tmp_path / "a.db",
        "CREATE TABLE a (n INTEGER UNIQUE, x INTEGER NOT NULL, y INTEGER NOT NULL, UNIQUE (y, x), UNIQUE (x))",
        'CREATE TABLE b (n INTEGER NOT NULL, "a, b" INTEGER NOT NULL)',
        "CREATE UNIQUE INDEX b1 ON b (n + 1)",
        "CREATE UNIQUE INDEX b2 ON b (n) WHERE n > 0",
        'CREATE UNIQUE INDEX b3 ON b ("a, b" DESC, n)',
        "CREATE TABLE c (n INTEGER UNIQUE)",
        "CREATE TABLE d (n INTEGER NOT NULL UNIQUE, id TEXT, PRIMARY KEY (id))",
        "CREATE TABLE e (a INTEGER REFERENCES a, b INTEGER REFERENCES a(X))",
    )
    schema = reader.reflect()
    keys = {name: table.primary_key for name, table in schema.tables.items()}
    assert keys == {"a": ("y", "x"), "b": ("a, b", "n"), "c": (), "d": ("id",), "e": ()}
    assert schema["a"]["y"].stype is Stype.identifier
    assert schema.relations == (Relation("e", ("b",), "a", ("x",)),)
    assert len(reader.warnings) == 1  # a key to a table without a primary one names no columns


def test_views_are_read_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP)",
        "INSERT INTO t VALUES (1, '2020-01-31'), (2, NULL)",
        """CREATE VIEW "t'wice" AS SELECT id, at, id * 2 AS two FROM t""",
        "CREATE VIEW broken AS SELECT * FROM gone",
    )
    assert list(open_reader(path).reflect().tables) == ["t"]
    reader = open_reader(path, views=["t'wice"])
    schema = reader.reflect()
    assert list(schema.tables) == ["t", "t'wice"]
    assert schema["t'wice"].primary_key == ()
    first, second = reader.read("t'wice").read_all().to_pylist()
    assert first == {"id": 1, "at": dt.datetime(2020, 1, 31), "two": 2}
    assert second == {"id": 2, "at": None, "two": 4}
    assert list(open_reader(path, tables=["t'wice"]).reflect().tables) == ["t'wice"]
    with pytest.raises(DatabaseError, match=r"has no view 'twice'\n.*did you mean"):
        open_reader(path, views=["twice"]).reflect()
    with pytest.raises(DatabaseError, match="gone"):
        open_reader(path, views=["broken"]).reflect()


def test_generated_columns_are_read(tmp_path: Path) -> None:
    reader = database(
        tmp_path / "a.db",
        "CREATE TABLE t (a INTEGER, b INTEGER GENERATED ALWAYS AS (a + 1) STORED, c INTEGER AS (a + 2))",
        "INSERT INTO t (a) VALUES (1)",
    )
    assert reader.read("t").read_all().to_pylist() == [{"a": 1, "b": 2, "c": 3}]


def test_a_users_own_table_called_like_the_list_stays_theirs(tmp_path: Path) -> None:
    reader = database(tmp_path / "a.db", "CREATE TABLE rdl_predictions (a INTEGER)")
    assert list(reader.reflect().tables) == ["rdl_predictions"]
    with pytest.raises(DatabaseError, match="stands in the way"):
        reader.write("p", pa.table({"a": [1]}))
    assert list(reader.reflect().tables) == ["rdl_predictions"]


def test_a_database_without_tables(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"")
    with pytest.raises(DatabaseError, match="has no tables"):
        open_reader(tmp_path / "a.db").reflect()
    reader = database(tmp_path / "b.db", "CREATE VIEW v AS SELECT 1")
    with pytest.raises(DatabaseError, match="has no tables"):
        reader.reflect()
