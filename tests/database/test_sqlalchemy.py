"""Any dialect of SQLAlchemy: what a reader that knows nothing of the engine makes of it."""

from __future__ import annotations

import datetime as dt
import decimal
import sqlite3
import uuid
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy.dialects import registry

from rdl.database import open_reader
from rdl.database.cursor import CursorParser
from rdl.database.sqlalchemy import SqlalchemyReader
from rdl.database.url import parse_url
from rdl.errors import DatabaseError
from rdl.schema import Dtype, Relation, Stype
from tests.servers import MariaServer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


def reader_of(path: Path, script: str, **picked: list[str]) -> SqlalchemyReader:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    registry.register("anydb", "sqlalchemy.dialects.sqlite.pysqlite", "SQLiteDialect_pysqlite")
    reader = open_reader(f"anydb:///{path}", **picked)
    assert isinstance(reader, SqlalchemyReader)
    return reader


CELLS: dict[Dtype, list[tuple[object, object]]] = {
    Dtype.boolean: [(True, True), (0, False), (decimal.Decimal(1), True), (b"\x01", True), ("f", False), (2, None)],
    Dtype.integer: [(7, 7), (decimal.Decimal("8"), 8), (2.5, None), (2**63, None), ("x", None), (" 12 ", 12)],
    Dtype.float: [(decimal.Decimal("0.5"), 0.5), (3, 3.0), ("1e3", 1000.0), ("x", None)],
    Dtype.text: [("é", "é"), (b"\xc3\xa9", "é"), (b"\xff", None), (decimal.Decimal("1E+3"), "1000"), ("\udc00", None)],
    Dtype.timestamp: [
        (dt.datetime(2020, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), dt.datetime(2020, 1, 1)),
        (dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)),
        (dt.date(1, 1, 1), dt.datetime(1, 1, 1)),
        ("2020-02-30", None),
        (5, None),
    ],
    Dtype.time: [
        (dt.time(1, 2, 3, 4), dt.time(1, 2, 3, 4)),
        (dt.timedelta(hours=25), None),
        ("23:59", dt.time(23, 59)),
    ],
    Dtype.interval: [(dt.timedelta(days=-1), dt.timedelta(days=-1)), ("1 day", None)],
    Dtype.uuid: [(uuid.UUID(int=1), str(uuid.UUID(int=1))), (uuid.UUID(int=2).bytes, str(uuid.UUID(int=2)))],
    Dtype.json: [({"a": [1, "é"]}, '{"a": [1, "é"]}'), ("[]", "[]")],
    Dtype.binary: [(memoryview(b"a"), b"a"), (bytearray(b"b"), b"b"), ("c", None)],
    Dtype.list: [(["a", None], ["a", None]), ((1, 2), ["1", "2"])],
}


@pytest.mark.parametrize("dtype", CELLS)
def test_whatever_a_driver_gives(dtype: Dtype) -> None:
    given, expected = zip(*[*CELLS[dtype], (None, None)], strict=True)
    found, lost = CursorParser().parse(given, dtype)
    assert tuple(found.to_pylist()) == expected
    assert lost == expected.count(None) - 1


def test_reflection(path: Path) -> None:
    reader = reader_of(
        path,
        """CREATE TABLE a (x INTEGER NOT NULL, "y z" TEXT NOT NULL, boss INTEGER REFERENCES a (x),
            big NUMERIC(30, 0), price NUMERIC(9, 2), at TIMESTAMP, doc JSON, UNIQUE (x), PRIMARY KEY ("y z", x));
        CREATE TABLE b (x INTEGER, y TEXT, n NUMERIC(30, 0), odd GEOMETRY, FOREIGN KEY (y, x) REFERENCES a ("y z", x));
        CREATE TABLE c (soft INT, code VARCHAR(3) NOT NULL, UNIQUE (soft), UNIQUE (code));
        CREATE TABLE d (a INT NOT NULL, b INT NOT NULL);
        CREATE UNIQUE INDEX some ON d (a) WHERE b > 0; CREATE UNIQUE INDEX whole ON d (b);
        CREATE VIEW v AS SELECT x FROM a""",
        views=["v"],
    )
    schema = reader.reflect()
    assert schema["a"].primary_key == ("y z", "x")
    assert schema["c"].primary_key == ("code",)
    assert schema["d"].primary_key == ("b",)
    assert schema["v"].primary_key == ()
    assert set(schema.relations) == {
        Relation("a", ("boss",), "a", ("x",)),
        Relation("b", ("y", "x"), "a", ("y z", "x")),
    }
    dtypes = {column.name: (column.dtype, column.stype) for column in schema["a"].columns}
    assert dtypes["price"] == (Dtype.decimal, Stype.numerical)
    assert dtypes["at"] == (Dtype.timestamp, Stype.timestamp)
    assert dtypes["doc"] == (Dtype.json, Stype.unsupported)
    assert "odd" in schema["b"] or any("b.odd was left out" in line for line in reader.warnings)


def test_cells_that_do_not_fit_are_counted(path: Path) -> None:
    reader = reader_of(path, "CREATE TABLE t (n INTEGER, at TIMESTAMP); INSERT INTO t VALUES ('x', 'never'), (1, NULL)")
    assert reader.read("t").read_all().to_pydict() == {"n": [None, 1], "at": [None, None]}
    assert reader.repairs == {("t", "n"): 1, ("t", "at"): 1}


def test_many_batches(path: Path) -> None:
    rows = 20_000
    script = "CREATE TABLE t (a INTEGER); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT "
    reader = reader_of(path, f"{script}{rows}) INSERT INTO t SELECT i FROM n")
    assert reader.read("t").read_all()["a"].to_pylist() == list(range(1, rows + 1))
    assert reader.read("t", []).read_all().num_rows == rows
    half = reader.read("t")
    half.read_next_batch()
    half.close()
    assert reader.count("t") == rows


def test_a_driver_that_is_missing() -> None:
    with pytest.raises(DatabaseError, match="'oracledb' is not installed\nHint: pip install oracledb"):
        open_reader("oracle+oracledb://ann:s3cret@localhost/shop") if not _installed("oracledb") else pytest.skip()


def _installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def test_the_same_as_the_engines_own_reader(mariadb: MariaServer) -> None:
    url = mariadb.database()
    mariadb.run(
        url,
        """CREATE TABLE p (id INT PRIMARY KEY, kind ENUM('a','b'), price DECIMAL(9,2), at DATETIME, note TEXT);
        CREATE TABLE c (p INT, q DOUBLE, FOREIGN KEY (p) REFERENCES p (id));
        INSERT INTO p VALUES (1, 'a', 1.25, '2020-01-01 10:00:00', 'é'), (2, NULL, NULL, NULL, NULL);
        INSERT INTO c VALUES (2, 0.1), (NULL, NULL)""",
    )
    mariadb.run("", "CREATE OR REPLACE USER plain IDENTIFIED BY 'word'; GRANT ALL ON *.* TO plain")
    own = open_reader(url)
    place = url.rpartition("@")[2]
    generic = SqlalchemyReader(parse_url(f"mysql+pymysql://plain:word@{place}"))
    assert generic.reflect() == own.reflect()
    for name in ("p", "c"):
        assert generic.read(name).read_all() == own.read(name).read_all()
    before = generic.fingerprint()
    with generic.consistent():
        mariadb.run(url, "SET innodb_lock_wait_timeout = 1; INSERT INTO p VALUES (3, 'b', 1, NULL, NULL)")
        mariadb.run(url, "DELETE FROM p WHERE id = 3")
    generic.write("q", pa.table({"id": [1, 2], "score": [0.5, None]}), like={"id": ("p", "id")})
    assert mariadb.run(url, "SELECT * FROM q") == [{"id": 1, "score": 0.5}, {"id": 2, "score": None}]
    assert generic.fingerprint() == before
    with pytest.raises(DatabaseError, match="cannot write table 'q'"):
        generic.write(
            "q", pa.table({"id": [1, 2**40], "score": [0.5, None]}), like={"id": ("p", "id")}, if_exists="append"
        )
    assert len(mariadb.run(url, "SELECT * FROM q")) == 2
    generic.close()


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(DatabaseError, match="Can't connect") as caught:
        SqlalchemyReader(parse_url("mysql+pymysql://ann:s3cret@127.0.0.1:1/shop"))
    assert "s3cret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
