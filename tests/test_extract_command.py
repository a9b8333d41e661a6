"""Extraction as the commands and the Python face show it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

import rdl
from rdl.cli import app
from rdl.errors import DatabaseError
from rdl.loading import _reader

MADE = """
CREATE TABLE users (id VARCHAR(7) PRIMARY KEY, age INTEGER);
CREATE TABLE orders (id INTEGER PRIMARY KEY, user VARCHAR(7) REFERENCES users (id), at TIMESTAMP);
CREATE VIEW adults AS SELECT * FROM users WHERE age > 17;
INSERT INTO users VALUES ('ann', 30), ('bob', 7);
INSERT INTO orders VALUES (1, 'ann', '2020-01-01 10:00:00'), (2, 'cy', '2020-01-02 10:00:00');
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RDL_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "shop.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(MADE)
    connection.close()
    return path


def change(shop: Path, sql: str) -> None:
    connection = sqlite3.connect(shop)
    connection.executescript(sql)
    connection.close()


def told(*words: object) -> list[str]:
    """What the command said beside its output."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stderr.splitlines()


def test_an_extraction_is_summed_up_once(shop: Path) -> None:
    (line,) = told("inspect", shop)
    assert line.startswith("extracted 4 rows in ")
    assert line.endswith(" rows/s; 1 dangling key")
    assert told("inspect", shop) == []


def test_refresh_says_what_it_could_not_read_in_part(shop: Path) -> None:
    told("inspect", shop)
    assert told("inspect", shop, "--refresh") == ["nothing has changed since the last time"]
    change(shop, "INSERT INTO orders VALUES (3, 'bob', '2020-01-02 10:00:00')")
    whole, summary = told("inspect", shop, "--refresh")
    assert whole == "read whole (no time of its own): users"
    assert summary.startswith("extracted 5 rows")
    change(shop, "DELETE FROM orders WHERE id = 1")
    assert told("inspect", shop, "--refresh", "--quiet") == []
    assert rdl.connect(shop).snapshot.arrow("orders")["id"].to_pylist() == [2, 3]


def test_views_are_read_on_request(shop: Path) -> None:
    done = CliRunner().invoke(app, ["inspect", str(shop), "--views", "adults", "--json"])
    tables = json.loads(done.stdout)["tables"]
    assert {name: table["rows"] for name, table in tables.items()} == {"users": 2, "orders": 2, "adults": 1}
    assert done.stderr == ""


def test_keys_that_are_written_back_have_the_types_of_the_entitys_own(shop: Path) -> None:
    rows = pa.table({"id": ["ann"], "score": [0.5]})
    assert rdl.connect(shop).write("scores", rows, entity="users") == 1
    rdl.connect(shop).write("plain", rows)
    connection = sqlite3.connect(shop)
    types = {table: connection.execute(f"PRAGMA table_info({table})").fetchall()[0][2] for table in ("scores", "plain")}
    connection.close()
    assert types == {"scores": "VARCHAR(7)", "plain": "TEXT"}


def test_a_run_without_its_password_says_how_to_give_it(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **options: object) -> None:
        raise DatabaseError("no password supplied", hint="give the password in PGPASS.")

    schema = rdl.connect(shop).schema
    monkeypatch.setattr("rdl.loading.open_reader", refuse)
    with pytest.raises(DatabaseError) as caught:
        _reader(None, "postgresql://ann:***@db/shop", schema)
    assert str(caught.value).splitlines() == [
        "no password supplied",
        "Hint: a run keeps no password: give --db with the whole URL (url= in Python), or give the password in PGPASS.",
    ]
    with pytest.raises(DatabaseError, match="no password supplied") as caught:
        _reader("postgresql://ann@db/shop", "postgresql://ann:***@db/shop", schema)
    assert caught.value.hint == "give the password in PGPASS."
