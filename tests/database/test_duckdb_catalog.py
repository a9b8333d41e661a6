"""DuckDB: what is declared: keys, foreign keys, schemas, views, names."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from rdl.database import open_reader
from rdl.errors import DatabaseError
from rdl.schema import Relation, Stype
from tests.database.test_duckdb import database


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


def test_names_in_keys_are_spelled_as_their_tables_do(tmp_path: Path) -> None:
    path = database(
        tmp_path / "a.duckdb",
        'CREATE TABLE "Person" ("Id" INTEGER PRIMARY KEY, "Mail" VARCHAR UNIQUE)',
        'CREATE TABLE post (AUTHOR INTEGER REFERENCES person(ID), "to" VARCHAR REFERENCES PERSON(mail))',
    )
    assert open_reader(path).reflect().relations == (
        Relation("post", ("AUTHOR",), "Person", ("Id",)),
        Relation("post", ("to",), "Person", ("Mail",)),
    )


def test_names_that_differ_in_more_than_ascii_case(tmp_path: Path) -> None:
    statements = (
        "CREATE TABLE Été (id INTEGER PRIMARY KEY)",
        "CREATE TABLE été (É INTEGER PRIMARY KEY, é INTEGER UNIQUE)",
        "CREATE TABLE c (a INTEGER REFERENCES Été(ID), b INTEGER REFERENCES ÉTé(Id), d INTEGER REFERENCES éTé(é))",
    )
    reader = open_reader(database(tmp_path / "a.duckdb", *statements))
    assert set(reader.reflect().relations) == {
        Relation("c", ("a",), "Été", ("id",)),
        Relation("c", ("b",), "Été", ("id",)),
        Relation("c", ("d",), "été", ("é",)),
    }


def test_a_unique_key_stands_in_for_a_primary_one(tmp_path: Path) -> None:
    path = database(
        tmp_path / "a.duckdb",
        "CREATE TABLE a (n INTEGER UNIQUE, x INTEGER NOT NULL, y INTEGER NOT NULL, UNIQUE (y, x), UNIQUE (x))",
        'CREATE TABLE b (n INTEGER NOT NULL, "a b" INTEGER NOT NULL)',
        'CREATE UNIQUE INDEX i ON b (n + 1); CREATE UNIQUE INDEX j ON b ("a b", n)',
        "CREATE TABLE c (n INTEGER UNIQUE)",
        "CREATE TABLE d (n INTEGER NOT NULL UNIQUE, id INTEGER PRIMARY KEY)",
    )
    schema = open_reader(path).reflect()
    keys = {name: table.primary_key for name, table in schema.tables.items()}
    assert keys == {"a": ("y", "x"), "b": ("a b", "n"), "c": (), "d": ("id",)}
    assert schema["a"]["y"].stype is Stype.identifier


def test_views_are_read_when_asked_for(tmp_path: Path) -> None:
    path = database(
        tmp_path / "a.duckdb",
        "CREATE TABLE t (id INTEGER PRIMARY KEY)",
        "INSERT INTO t VALUES (1), (2)",
        "CREATE VIEW twice AS SELECT id, id * 2 AS two, {'a': 1} AS s FROM t",
        "CREATE TABLE gone (id INTEGER)",
        "CREATE VIEW broken AS SELECT * FROM gone",
        "DROP TABLE gone",
    )
    assert list(open_reader(path).reflect().tables) == ["t"]
    reader = open_reader(path, views=["twice"])
    schema = reader.reflect()
    assert list(schema.tables) == ["t", "twice"]
    assert schema["twice"].primary_key == ()
    assert reader.read("twice").read_all().to_pylist() == [{"id": 1, "two": 2}, {"id": 2, "two": 4}]
    assert reader.count("twice") == 2
    assert list(open_reader(path, tables=["twice"]).reflect().tables) == ["twice"]
    with pytest.raises(DatabaseError, match=r"has no view 'twce'\n.*did you mean 'twice'"):
        open_reader(path, views=["twce"]).reflect()
    with pytest.raises(DatabaseError, match="gone"):
        open_reader(path, views=["broken"]).reflect()
