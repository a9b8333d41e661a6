"""Reading PostgreSQL: one moment for all threads, and what goes wrong half way."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from rdl import clock
from rdl.database import open_reader
from rdl.database.postgresql import PostgresReader
from rdl.errors import DatabaseError
from tests.database.postgresql_engine import reader_of
from tests.servers import PostgresServer


@pytest.mark.parametrize(("encoding", "cell"), [("LATIN1", "é"), ("SQL_ASCII", None)])
def test_other_encodings(postgres: PostgresServer, encoding: str, cell: str | None) -> None:
    url = postgres.database(f"ENCODING '{encoding}' LOCALE 'C'")
    postgres.run(
        url,
        "CREATE TABLE t (id int, c text, l text[])",
        "SET client_encoding = SQL_ASCII",
        "INSERT INTO t VALUES (1, convert_from('\\xe9', current_setting('server_encoding')), NULL), (2, 'ok', '{a}')",
    )
    reader = open_reader(url)
    assert reader.read("t").read_all()["c"].to_pylist() == [cell, "ok"]
    assert reader.repairs == ({} if cell else {("t", "c"): 1})


def test_only_rows_since(postgres: PostgresServer) -> None:
    reader = reader_of(
        postgres,
        "CREATE TABLE t (id int, d date, s timestamp, z timestamptz, x text)",
        "SET TimeZone = 'UTC'",
        """INSERT INTO t SELECT n, day::date, day::timestamp, day::timestamptz, day FROM (VALUES (1, '-infinity'),
            (2, '2020-01-01'), (3, '2020-01-02'), (4, 'infinity'), (5, NULL), (6, '0044-01-01 BC')) AS v (n, day)""",
    )
    day = clock.to_us("2020-01-01")
    for column in "dsz":
        for since, wanted in ((day, [2, 3, 4]), (day + 1, [3, 4]), (clock.NO_BEGINNING, [1, 2, 3, 4, 6])):
            found = reader.read("t", ["id"], since=(column, since)).read_all()["id"].to_pylist()
            assert found == wanted
        assert reader.read("t", since=(column, clock.NO_END)).read_all().num_rows == 1
    assert reader.read("t", ["id"], since=("id", 5)).read_all()["id"].to_pylist() == [5, 6]
    with pytest.raises(DatabaseError, match="'x' is no date or timestamp"):
        reader.read("t", since=("x", 0))
    with pytest.raises(DatabaseError, match="has no column"):
        reader.read("t", since=("nope", 0))
    assert reader.read("t", [], limit=2).read_all().num_columns == 0


#: More rows than one batch holds.
MANY = (
    "INSERT INTO t SELECT g, g FROM generate_series(2000, 300000) g",
    "ALTER TABLE t ADD w text DEFAULT repeat('x', 200)",
)


def _open_connections(server: PostgresServer, url: str) -> int:
    name = url.rpartition("/")[2].partition("?")[0]
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND application_name = 'rdl'"
    for _ in range(50):  # the server learns a little later that a client is gone
        number = int(server.run(server.url("postgres"), query))
        if number == 0:
            break
        threading.Event().wait(0.02)
    return number


@pytest.mark.parametrize("exported", [True, False], ids=["shared snapshot", "one connection"])
def test_a_consistent_read_is_of_one_moment(counted: tuple[PostgresServer, str], exported: bool) -> None:
    server, url = counted
    if not exported:
        server.run(
            url,
            "DROP ROLE IF EXISTS poor",
            "CREATE ROLE poor LOGIN PASSWORD 'p'",
            "GRANT SELECT ON t TO poor",
            "REVOKE EXECUTE ON FUNCTION pg_export_snapshot FROM public",
        )
    reader = open_reader(url if exported else url.replace(url[url.index("//") : url.index("@")], "//poor:p"))
    reader.reflect()
    outside = reader.fingerprint()
    found: list[int] = []

    def look() -> None:
        found.append(reader.count("t"))
        found.append(sum(reader.read("t", ["v"]).read_all()["v"].to_pylist()))

    with reader.consistent():
        server.run(url, "UPDATE t SET v = 0", "DELETE FROM t WHERE id > 10")
        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert reader.fingerprint() == outside
        with reader.consistent():
            assert reader.count("t") == 1000
        assert reader.parallel_reads >= 1
    assert sorted(found) == sorted([1000, 500500] * 4)
    assert reader.count("t") == 10
    assert reader.fingerprint() != outside
    assert _open_connections(server, url) == 0


def test_one_connection_refuses_two_reads_of_one_thread(
    counted: tuple[PostgresServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rdl.database import postgresql_read

    counted[0].run(counted[1], *MANY)
    reader = open_reader(counted[1])
    monkeypatch.setattr(postgresql_read, "_EXPORT", "SELECT no_such_function()")
    with reader.consistent():
        batches = reader.read("t")
        batches.read_next_batch()
        with pytest.raises(DatabaseError, match="another read is not finished"):
            reader.count("t")
        del batches
        assert reader.count("t") == 299_001


def test_a_read_left_half_way_lets_go(counted: tuple[PostgresServer, str]) -> None:
    server, url = counted
    server.run(url, *MANY)
    reader = open_reader(url)
    batches = reader.read("t")
    assert batches.read_next_batch().num_rows > 0
    del batches
    assert _open_connections(server, url) == 0
    with reader.consistent():
        batches = reader.read("t")
        batches.read_next_batch()
        assert reader.count("t") == 299_001
        del batches
    assert _open_connections(server, url) == 0


def test_a_statement_timeout_says_how_to_lift_it(counted: tuple[PostgresServer, str]) -> None:
    reader = open_reader(counted[1] + "?options=-c%20statement_timeout%3D100", views=["slow"])
    counted[0].run(counted[1], "CREATE VIEW slow AS SELECT id, pg_sleep(0.01)::text FROM t")
    with pytest.raises(DatabaseError, match="canceling statement due to statement timeout") as caught:
        reader.read("slow").read_all()
    assert "options=" in str(caught.value)


def test_a_table_dropped_meanwhile(counted: tuple[PostgresServer, str]) -> None:
    server, url = counted
    reader = open_reader(url)
    reader.reflect()
    server.run(url, "DROP TABLE t")
    with pytest.raises(DatabaseError, match=r'relation "public\.t" does not exist') as caught:
        reader.read("t").read_all()
    assert "dropped meanwhile" in str(caught.value)


def test_a_hundred_megabytes_in_one_cell(counted: tuple[PostgresServer, str]) -> None:
    server, url = counted
    server.run(url, "CREATE TABLE wide (c text)", "INSERT INTO wide VALUES (repeat('x', 100000000))")
    found = [batch["c"].to_numpy(zero_copy_only=False) for batch in open_reader(url).read("wide")]
    assert [len(cell) for cells in found for cell in cells] == [100_000_000]


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that may be killed."""
    server = PostgresServer()
    yield server
    server.close()


def test_a_server_that_dies(own_server: PostgresServer) -> None:
    server, url = own_server, own_server.database()
    server.run(url, "CREATE TABLE t AS SELECT g AS id, repeat('x', 100) AS c FROM generate_series(1, 600000) g")
    reader = open_reader(url)
    before = reader.fingerprint()
    batches = reader.read("t")
    batches.read_next_batch()
    server.kill()
    with pytest.raises(DatabaseError) as caught:
        batches.read_all()
    assert "see whether the server still runs" in str(caught.value)
    with pytest.raises(DatabaseError, match="start the server"):
        reader.count("t")
    server.start()
    assert reader.fingerprint() == before
    rows = pa.table({"a": range(3_000_000)})
    killer = threading.Timer(0.6, server.kill)
    killer.start()
    with pytest.raises(DatabaseError):
        _write_until_it_fails(reader, rows)
    killer.join()
    server.start()
    held = server.run(url, "SELECT to_regclass('p')").strip()
    assert not held or server.run(url, "SELECT count(*) FROM p").strip() == "3000000"
    assert bool(held) == (server.run(url, "SELECT to_regclass('rdl_predictions')").strip() != "")
    assert reader.fingerprint() == before


def _write_until_it_fails(reader: PostgresReader, rows: pa.Table) -> None:
    while True:
        reader.write("p", rows, if_exists="replace")
