"""Database URLs: what they name, what is wrong with them, and that no password is told."""

from __future__ import annotations

import importlib.util
import sqlite3
from pathlib import Path

import duckdb
import pytest

from rdl.database import open_reader
from rdl.database.url import parse_url, redact_url
from rdl.errors import DatabaseError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    sqlite3.connect("shop.sqlite").execute("CREATE TABLE t (a)").connection.close()
    duckdb.connect("shop.duckdb").close()
    (tmp_path / "my folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("url", "engine", "path"),
    [
        ("sqlite:///shop.sqlite", "sqlite", "shop.sqlite"),
        ("SQLite:///shop.sqlite", "sqlite", "shop.sqlite"),
        ("sqlite+pysqlite:///shop.sqlite", "sqlite", "shop.sqlite"),
        ("sqlite:shop.sqlite", "sqlite", "shop.sqlite"),
        ("duckdb:///shop.duckdb", "duckdb", "shop.duckdb"),
        ("shop.sqlite", "sqlite", "shop.sqlite"),
        ("shop.duckdb", "duckdb", "shop.duckdb"),
        ("folder:my folder", "folder", "my folder"),
        ("folder:my%20folder", "folder", "my folder"),
        ("folder://my folder", "folder", "my folder"),
        ("my folder", "folder", "my folder"),
        ("./my folder/", "folder", "my folder"),
    ],
)
def test_what_a_url_names(url: str, engine: str, path: str) -> None:
    parsed = parse_url(url)
    assert (parsed.engine, parsed.path) == (engine, Path(path))


def test_an_absolute_path(folder: Path) -> None:
    assert parse_url(f"sqlite:///{folder}/shop.sqlite").path == folder / "shop.sqlite"
    assert parse_url(folder / "shop.sqlite").path == folder / "shop.sqlite"


def test_a_files_content_tells_more_than_its_suffix(folder: Path) -> None:
    (folder / "shop.sqlite").rename("data.duckdb")
    (folder / "shop.duckdb").rename("plain")
    assert parse_url("data.duckdb").engine == "sqlite"
    assert parse_url("plain").engine == "duckdb"


def test_schemas_and_odd_file_names(folder: Path) -> None:
    assert parse_url("duckdb:///shop.duckdb?schemas=a, b,,a").schemas == ("a", "b")
    assert parse_url("shop.duckdb?schemas=a").schemas == ("a",)
    (folder / "shop.sqlite").rename("what?schemas=x:y.db")
    assert parse_url("what?schemas=x:y.db").path == Path("what?schemas=x:y.db")
    assert parse_url("sqlite:///what?schemas=x:y.db").schemas == ()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///shp.sqlite", "no file 'shp.sqlite'\nHint: did you mean 'shop.sqlite'"),
        ("duckdb:///shop.ducdb", "did you mean 'shop.duckdb'"),
        ("duckdb:///nowhere/shop.duckdb", "no folder 'nowhere' either"),
        ("shp.sqlite", "no file or folder 'shp.sqlite'"),
        ("folder:myfolder", "did you mean 'my folder'"),
        ("folder:shop.sqlite", "no folder 'shop.sqlite'"),
        ("sqlite:///my folder", "is a folder, not a sqlite file"),
        ("sqlite://shop.sqlite", "write sqlite:///shop.sqlite"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///shop.sqlite?schemas=a", "SQLite has no schemas"),
        ("folder:my folder?schemas=a", "has no schemas"),
        ("duckdb:///shop.duckdb?schema=a", "did you mean 'schemas'"),
        ("sqllite:///shop.sqlite", "did you mean sqlite:"),
        ("postgresql:ann:s3cret@host/db", "begins with postgresql://"),
        ("postgresql:/ann:s3cret@host/db", "begins with postgresql://"),
        ("postgresql://ann:s3cret/db", "what follows the colon is no port"),
        ("mysql://ann:s3cret", "what follows the colon is no port"),
        ("ann:s3cret@host/db", "unknown scheme 'ann'"),
        ("host=h password=s3cret dbname=x", "there is no file or folder 'host=h password="),
        ("postgrsql://ann:s3cret@host/db", "did you mean postgresql:"),
        ("carrier+pigeon://x", "unknown scheme 'carrier'"),
        ("", "is empty"),
    ],
)
def test_urls_that_cannot_be(url: str, said: str, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(DatabaseError) as caught:
        open_reader(url)
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
    assert sorted(folder.rglob("*")) == before


def test_a_file_of_another_kind(folder: Path) -> None:
    (folder / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(DatabaseError, match="neither a SQLite nor a DuckDB file"):
        open_reader("a.xlsx")


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("postgresql://ann:s3cret@host/db", "rdl[postgres]"),
        ("postgres://ann:s3cret@host/db", "rdl[postgres]"),
        ("postgresql+psycopg://ann:s3cret@host/db?schemas=a", "rdl[postgres]"),
        ("mysql://ann:s3cret@host/db", "rdl[mysql]"),
        ("mariadb://ann:s3cret@host/db", "rdl[mysql]"),
    ],
)
def test_a_server_needs_its_driver(url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DatabaseError) as caught:
        open_reader(url)
    assert f'pip install "{extra}"' in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "ann:***@host" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql://ann:p@ss:w/rd@db/shop", "mysql://ann:***@db/shop"),
        ("mysql://ann:a/b@c d?e@db/shop", "mysql://ann:***@db/shop"),
        ("mysql://db/shop?user=ann&password=s3cret&ssl=1", "mysql://db/shop?user=ann&password=***&ssl=1"),
        ("x://h/d?api_key=1;AccessToken=2", "x://h/d?api_key=***;AccessToken=***"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_redaction(text: str, shown: str) -> None:
    assert redact_url(text) == shown
