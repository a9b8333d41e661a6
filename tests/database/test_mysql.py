"""MySQL and MariaDB: what is declared there, what its types become, and what happens when it fails."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdl.database import open_reader
from rdl.database.mysql_connect import quote
from rdl.errors import DatabaseError
from rdl.schema import Dtype, Relation, Stype
from tests.database.mysql_types import TYPES
from tests.servers import MariaServer, free_port, statements


def in_lines(error: BaseException) -> list[str]:
    lines = str(error).splitlines()
    assert len(lines) <= 2
    return lines


@pytest.mark.parametrize("form", ["mysql", "mariadb", "mysql+pymysql"])
def test_forms_of_urls(mariadb: MariaServer, form: str) -> None:
    url = mariadb.database()
    mariadb.run(url, "CREATE TABLE t (a INT)")
    reader = open_reader(url.replace("mysql:", f"{form}:") + "?charset=latin1&connect_timeout=5")
    assert list(reader.reflect().tables) == ["t"]
    assert mariadb.PASSWORD not in reader.url
    assert "***" in reader.url


def test_a_socket_and_a_password_from_elsewhere(
    mariadb: MariaServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = mariadb.database()
    mariadb.run(url, "CREATE TABLE t (a INT)")
    name = url.rpartition("/")[2]
    redacted = open_reader(f"mysql://ann:{url.split(':')[2].split('@')[0]}@/{name}?unix_socket={mariadb.socket}").url
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DatabaseError, match="Access denied"):
        open_reader(redacted)
    monkeypatch.setenv("MYSQL_PWD", mariadb.PASSWORD)
    assert open_reader(redacted).count("t") == 0
    monkeypatch.delenv("MYSQL_PWD")
    mariadb.run("", "CREATE OR REPLACE USER bob IDENTIFIED BY 'from file'; GRANT ALL ON *.* TO bob")
    (tmp_path / ".my.cnf").write_text("[client]\nuser = bob\npassword = from file\n")
    assert open_reader(f"mysql://127.0.0.1:{mariadb.port}/{name}").count("t") == 0


def test_what_cannot_be_opened(mariadb: MariaServer) -> None:
    url = mariadb.database()
    cases = {
        mariadb.url("d1", password="wrong s3cret"): "Access denied .*\nHint: give the password",
        f"mysql://ann:wrong%20s3cret@127.0.0.1:{free_port()}/x": "Can't connect .*\nHint: start the server",
        mariadb.url("nowhere"): "Unknown database 'nowhere'\nHint: ",
        mariadb.url(""): "no database is named\nHint: add one",
        f"{url}?schema=d1": "unknown option 'schema'\nHint: did you mean 'schemas'",
        f"{url}?ssl_mode=on": "ssl_mode='on'\nHint: use one of",
        f"{url}?ssl_mode=required": "SSL is required",
        f"{url}?read_default_file=/nowhere": "there is no file '/nowhere'\nHint",
        f"{url}?schemas=nowhere": "no database 'nowhere'\nHint",
        url: "has no tables\nHint",
        "mysql://ann:x@127.0.0.1:port/d": "is no host and port",
    }
    for bad, said in cases.items():
        with pytest.raises(DatabaseError, match=said) as caught:
            open_reader(bad).reflect()
        in_lines(caught.value)
        assert "s3cret" not in str(caught.value)


def test_every_type(mariadb: MariaServer) -> None:
    url = mariadb.database()
    declared = ", ".join(f"{quote(name)} {type_}" for name, (type_, *_) in TYPES.items())
    mariadb.run(url, f"CREATE TABLE t ({declared}, place POINT)")
    for row in range(2):
        cells = ", ".join(cells[row][0] for *_, cells in TYPES.values())
        names = ", ".join(map(quote, TYPES))
        mariadb.run(url, f"SET time_zone = '+02:00', sql_mode = ''; INSERT INTO t ({names}) VALUES ({cells})")
    reader = open_reader(url)
    table = reader.reflect()["t"]
    assert {column.name: (column.dtype, column.stype) for column in table.columns} == {
        name: (dtype, stype) for name, (_, dtype, stype, _) in TYPES.items()
    }
    assert reader.warnings == ["column t.place was left out: its type point has no meaning here"]
    found = reader.read("t").read_all().to_pydict()
    assert found == {name: [expected for _, expected in cells] for name, (*_, cells) in TYPES.items()}
    assert reader.repairs == {("t", "u64"): 1, ("t", "day"): 1, ("t", "part"): 1, ("t", "micro"): 1}


def test_keys_of_every_kind(mariadb: MariaServer) -> None:
    url = mariadb.database("CHARACTER SET latin1")
    mariadb.run(
        url,
        """CREATE TABLE `a ``"b` (`select` INT, `Ünï` VARCHAR(5), PRIMARY KEY (`Ünï`, `select`));
        CREATE TABLE child (x VARCHAR(5), y INT, FOREIGN KEY (x, y) REFERENCES `a ``"b` (`Ünï`, `select`));
        CREATE TABLE Staff (id INT PRIMARY KEY, boss INT, store INT, FOREIGN KEY (boss) REFERENCES Staff (ID));
        CREATE TABLE store (id INT NOT NULL, code CHAR(3) NOT NULL, soft INT, UNIQUE (soft), UNIQUE k (code),
            UNIQUE (id, code(2)), manager INT, FOREIGN KEY (manager) REFERENCES Staff (id));
        ALTER TABLE Staff ADD FOREIGN KEY (store) REFERENCES store (soft);
        CREATE TABLE parted (id INT PRIMARY KEY, v INT) PARTITION BY HASH (id) PARTITIONS 3;
        INSERT INTO parted VALUES (1, 1), (2, 2), (3, 3), (4, 4);
        CREATE TABLE versioned (id INT PRIMARY KEY) WITH SYSTEM VERSIONING;
        CREATE SEQUENCE counter; CREATE VIEW seen AS SELECT id AS `the id` FROM Staff""",
    )
    reader = open_reader(url)
    schema = reader.reflect()
    assert set(schema.tables) == {'a `"b', "child", "Staff", "store", "parted", "versioned"}
    assert schema['a `"b'].primary_key == ("Ünï", "select")
    assert schema["store"].primary_key == ("code",)
    assert set(schema.relations) == {
        Relation("child", ("x", "y"), 'a `"b', ("Ünï", "select")),
        Relation("Staff", ("boss",), "Staff", ("id",)),
        Relation("Staff", ("store",), "store", ("soft",)),
        Relation("store", ("manager",), "Staff", ("id",)),
    }
    assert sorted(reader.read("parted").read_all()["id"].to_pylist()) == [1, 2, 3, 4]
    assert reader.warnings == []
    named = open_reader(url, views=["seen"])
    assert [column.name for column in named.reflect()["seen"].columns] == ["the id"]
    before = named.fingerprint()
    mariadb.run(url, "INSERT INTO Staff VALUES (1, 1, NULL)")
    assert named.read("seen").read_all().to_pydict() == {"the id": [1]}
    assert named.fingerprint() != before


def test_several_databases(mariadb: MariaServer) -> None:
    one, two = mariadb.database(), mariadb.database()
    first, second = (url.rpartition("/")[2] for url in (one, two))
    mariadb.run(one, "CREATE TABLE users (id INT PRIMARY KEY); CREATE TABLE t (a INT)")
    mariadb.run(two, f"CREATE TABLE t (u INT, FOREIGN KEY (u) REFERENCES {first}.users (id))")
    reader = open_reader(f"{one}?schemas={first},{second}")
    schema = reader.reflect()
    assert list(schema.tables) == [f"{first}.t", "users", f"{second}.t"]
    assert schema.relations == (Relation(f"{second}.t", ("u",), "users", ("id",)),)
    alone = open_reader(two)
    assert alone.reflect().relations == ()
    (warning,) = alone.warnings
    assert warning.endswith(f"was dropped: there is no table '{first}.users'")


def test_unsigned_keys_beyond_int64_stay_apart(mariadb: MariaServer) -> None:
    url = mariadb.database()
    mariadb.run(
        url,
        """CREATE TABLE p (id BIGINT UNSIGNED PRIMARY KEY); CREATE TABLE c (p BIGINT UNSIGNED REFERENCES p (id));
        INSERT INTO p VALUES (1), (18446744073709551614), (18446744073709551615);
        INSERT INTO c VALUES (18446744073709551615), (1)""",
    )
    reader = open_reader(url)
    assert reader.reflect()["c"]["p"].dtype is Dtype.text
    assert reader.read("c").read_all()["p"].to_pylist() == ["1", "18446744073709551615"]
    assert reader.read("p").read_all()["id"].to_pylist() == ["1", "18446744073709551614", "18446744073709551615"]
    assert reader.repairs == {}
    small = mariadb.database()
    mariadb.run(small, "CREATE TABLE p (id BIGINT UNSIGNED PRIMARY KEY)")
    assert open_reader(small).reflect()["p"]["id"].dtype is Dtype.integer


def test_text_keys_are_spelled_as_their_parent_spells_them(mariadb: MariaServer) -> None:
    url = mariadb.database()
    mariadb.run(
        url,
        """CREATE TABLE p (code VARCHAR(5) PRIMARY KEY, up VARCHAR(5), FOREIGN KEY (up) REFERENCES p (code));
        CREATE TABLE c (code VARCHAR(5), FOREIGN KEY (code) REFERENCES p (code));
        INSERT INTO p VALUES ('abc', 'ABC'); INSERT INTO c VALUES ('ABC'), ('abc '), (NULL);
        SET foreign_key_checks = 0; INSERT INTO c VALUES ('gone')""",
    )
    reader = open_reader(url)
    assert sorted(map(str, reader.read("c").read_all()["code"].to_pylist())) == ["None", "abc", "abc", "gone"]
    assert reader.read("p").read_all().to_pylist() == [{"code": "abc", "up": "abc"}]
    alone = open_reader(url, tables=["c"])
    assert "ABC" in alone.read("c").read_all()["code"].to_pylist()
    mariadb.run(
        url,
        """CREATE TABLE sub (code VARCHAR(5) PRIMARY KEY, FOREIGN KEY (code) REFERENCES p (code));
        CREATE TABLE ofsub (code VARCHAR(5), FOREIGN KEY (code) REFERENCES sub (code));
        INSERT INTO sub VALUES ('ABC'); INSERT INTO ofsub VALUES ('aBc')""",
    )
    chained = open_reader(url)
    for table in ("sub", "ofsub"):
        assert chained.read(table).read_all()["code"].to_pylist() == ["abc"]


cell_texts = st.text(st.characters(codec="utf-8"), max_size=300).map(lambda text: text * (1 + len(text) % 7))


any_row = st.tuples(
    st.none() | cell_texts,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.binary(max_size=300),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(any_row, max_size=40))
def test_any_rows_come_back(mariadb: MariaServer, rows: list[tuple[object, ...]]) -> None:
    mariadb.run("", "CREATE DATABASE IF NOT EXISTS anything CHARACTER SET utf8mb4")
    url = mariadb.url("anything")
    mariadb.run(url, "CREATE OR REPLACE TABLE t (a LONGTEXT, b BIGINT, c LONGBLOB, d DOUBLE)")
    if rows:
        marks = ", ".join(["(%s, %s, %s, %s)"] * len(rows))
        mariadb.run(url, f"INSERT INTO t VALUES {marks}", *(cell for row in rows for cell in row))
    found = open_reader(url).read("t").read_all()
    assert [tuple(row.values()) for row in found.to_pylist()] == rows


def test_batches_and_packets_of_every_size(mariadb: MariaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = mariadb.database()
    mariadb.run(url, "CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT)")
    mariadb.run(url, "INSERT INTO t SELECT seq, REPEAT('x', seq % 300) FROM seq_1_to_600")
    expected = ["x" * (number % 300) for number in range(1, 601)]
    for size in (5, 1000, 65_537):
        monkeypatch.setattr("rdl.database.mysql_read._READ_BYTES", size)
        monkeypatch.setattr("rdl.database.mysql_read._BATCH_BYTES", 3 * size)
        reader = open_reader(url)
        assert reader.read("t").read_all()["a"].to_pylist() == expected
        assert reader.read("t", []).read_all().num_rows == 600


def test_rows_longer_than_a_packet(mariadb: MariaServer) -> None:
    url, most = mariadb.database(), 2**24 - 1
    mariadb.run("", "SET GLOBAL max_allowed_packet = 268435456")
    mariadb.run(url, "CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT, b INT)")
    # With its number before it the third row is exactly one packet long, so that an empty one follows.
    lengths = [1, most, most - 4 - 2 - 2, 2 * most + 5]
    for number, length in enumerate(lengths):
        mariadb.run(url, "INSERT INTO t VALUES (%s, REPEAT('y', %s), %s)", number, length, number)
    found = open_reader(url).read("t").read_all()
    assert [len(text) for text in found["a"].to_pylist()] == lengths
    assert found["b"].to_pylist() == [0, 1, 2, 3]


@pytest.fixture
def counted(mariadb: MariaServer) -> tuple[MariaServer, str]:
    """A database of one table with 300,000 rows."""
    url = mariadb.database()
    mariadb.run(url, "CREATE TABLE t (id INT PRIMARY KEY, v INT, note TEXT)")
    mariadb.run(url, "INSERT INTO t SELECT seq, 0, REPEAT('z', 60) FROM seq_1_to_300000")
    return mariadb, url


def test_a_consistent_read_sees_one_moment(counted: tuple[MariaServer, str]) -> None:
    server, url = counted
    reader = open_reader(url)
    before = reader.fingerprint()
    with reader.consistent():
        server.run(url, "UPDATE t SET v = 1; CREATE TABLE late (a INT)")
        assert reader.fingerprint() == before
        half = reader.read("t")
        half.read_next_batch()
        with pytest.raises(DatabaseError, match="'t' is still being read\nHint"):
            reader.count("t")
        half.close()
        del half
        assert reader.count("t") == 300_000
        assert set(reader.read("t", ["v"]).read_all()["v"].to_pylist()) == {0}
    assert reader.fingerprint() != before
    assert set(reader.read("t", ["v"]).read_all()["v"].to_pylist()) == {1}


def test_tables_without_transactions_are_compared(mariadb: MariaServer) -> None:
    url = mariadb.database()
    mariadb.run(url, "CREATE TABLE t (a INT) ENGINE = MyISAM; INSERT INTO t VALUES (1)")
    reader = open_reader(url)
    with reader.consistent():
        assert reader.count("t") == 1
    with pytest.raises(DatabaseError, match="the data changed while they were read"), reader.consistent():
        mariadb.run(url, "UPDATE t SET a = 2")


def test_the_fingerprint_outlives_the_server(mariadb: MariaServer) -> None:
    url = mariadb.database()
    mariadb.run(url, "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, NULL)")
    before = open_reader(url).fingerprint()
    mariadb.restart()
    assert open_reader(url).fingerprint() == before
    changes = ("UPDATE t SET b = '' WHERE a = 2", "INSERT INTO t VALUES (1, 'x')", "DELETE FROM t LIMIT 1")
    for change in (*changes, "ALTER TABLE t ADD c INT"):
        mariadb.run(url, change)
        after = open_reader(url).fingerprint()
        assert after != before
        before = after


def test_a_server_that_dies_while_it_is_read(counted: tuple[MariaServer, str]) -> None:
    server, url = counted
    reader = open_reader(url)
    batches = reader.read("t")
    batches.read_next_batch()
    server.kill()
    try:
        with pytest.raises(DatabaseError, match="the connection to the server was lost\nHint: see whether") as caught:
            for _ in batches:
                pass
        in_lines(caught.value)
        with pytest.raises(DatabaseError, match="Can't connect"):
            reader.count("t")
    finally:
        server.start()
    assert reader.read("t").read_all().num_rows == 300_000


def test_a_table_that_goes_away(mariadb: MariaServer) -> None:
    url = mariadb.database()
    mariadb.run(url, "CREATE TABLE t (a INT, b INT); CREATE TABLE u (a INT)")
    reader = open_reader(url)
    reader.reflect()
    mariadb.run(url, "ALTER TABLE t DROP b; DROP TABLE u")
    for act, said in ((lambda: reader.read("t").read_all(), "Unknown column"), (lambda: reader.count("u"), "exist")):
        with pytest.raises(DatabaseError, match=f"{said}.*\nHint: it was changed or dropped meanwhile"):
            act()


def test_a_user_who_may_not(mariadb: MariaServer) -> None:
    url = mariadb.database()
    name = url.rpartition("/")[2]
    mariadb.run(url, "CREATE TABLE t (a INT); CREATE TABLE secret (a INT)")
    mariadb.run("", f"CREATE OR REPLACE USER eve IDENTIFIED BY 'e'; GRANT SELECT ON {name}.t TO eve")
    reader = open_reader(f"mysql://eve:e@127.0.0.1:{mariadb.port}/{name}")
    assert list(reader.reflect().tables) == ["t"]
    with pytest.raises(DatabaseError, match=r"denied.*\nHint: ask for the permission"):
        reader.write("p", pa.table({"a": [1]}))


def test_statements_of_a_dump() -> None:
    text = '-- a;b\nSELECT \';\' /* ; */; # x;\nDELIMITER ;;\nBEGIN; END ;;\nDELIMITER ;\nSELECT "a\\";" ;'
    assert list(statements(text)) == ["SELECT ';'", "BEGIN; END", 'SELECT "a\\";"']


#: tables, relations, and by table: rows.
DUMPS = {
    "sakila": (16, 22, {"rental": 16044, "payment": 16049, "film": 1000, "film_text": 1000, "inventory": 4581}),
    "chinook": (11, 11, {"Track": 3503, "PlaylistTrack": 8715, "Employee": 8}),
    "classicmodels": (8, 8, {"orderdetails": 2996, "products": 110, "payments": 273, "customers": 122}),
}


@pytest.fixture(scope="module")
def dumps(mariadb: MariaServer, shared_data: Path) -> dict[str, str]:
    """The URLs of the real databases."""
    for name in DUMPS:
        for path in sorted((shared_data / "dumps" / "mysql" / name).glob("*.sql")):
            mariadb.run_file(path)
    there = [str(row["Database"]) for row in mariadb.run("", "SHOW DATABASES")]
    return {name: mariadb.url(next(found for found in there if found.lower() == name)) for name in DUMPS}


@pytest.mark.parametrize("name", DUMPS)
def test_real_databases(mariadb: MariaServer, dumps: dict[str, str], name: str) -> None:
    reader = open_reader(dumps[name])
    schema = reader.reflect()
    tables, relations, rows = DUMPS[name]
    assert (len(schema.tables), len(schema.relations)) == (tables, relations)
    assert {table: reader.count(table) for table in rows} == rows
    for table in schema.tables.values():
        found = reader.read(table.name).read_all()
        asked = ", ".join(f"COUNT({quote(column.name)})" for column in table.columns)
        (expected,) = mariadb.run(dumps[name], f"SELECT COUNT(*) AS n, {asked} FROM {quote(table.name)}")
        assert [found.num_rows, *(len(column) - column.null_count for column in found.columns)] == [*expected.values()]
    assert reader.repairs == {}


def test_sakila(dumps: dict[str, str]) -> None:
    reader = open_reader(dumps["sakila"], views=["film_list"])
    schema = reader.reflect()
    film = {column.name: (column.dtype, column.stype) for column in schema["film"].columns}
    assert film["rating"] == (Dtype.text, Stype.categorical)
    assert film["special_features"] == (Dtype.list, Stype.multicategorical)
    assert film["release_year"] == (Dtype.integer, Stype.numerical)
    assert schema["film_actor"].primary_key == ("actor_id", "film_id")
    assert Relation("store", ("manager_staff_id",), "staff", ("staff_id",)) in schema.relations
    assert Relation("staff", ("store_id",), "store", ("store_id",)) in schema.relations
    row = reader.read("film", limit=1).read_all().to_pylist()[0]
    assert row["special_features"] == ["Deleted Scenes", "Behind the Scenes"]
    assert (row["release_year"], row["rental_rate"], row["rating"]) == (2006, 0.99, "PG")
    assert schema["film_list"].primary_key == ()
    assert reader.count("film_list") > 900
    assert reader.warnings == []


def test_nothing_of_the_driver_escapes(mariadb: MariaServer) -> None:
    url = mariadb.database()
    mariadb.run(url, "CREATE TABLE t (a INT)")
    reader = open_reader(url)
    with reader.consistent():
        for row in mariadb.run("", "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'ann'"):
            mariadb.run("", f"KILL {row['ID']}")
        with pytest.raises(DatabaseError, match="Hint: see whether the server still runs"):
            reader.count("t")
    assert reader.count("t") == 0
