"""When has a PostgreSQL database changed?"""

from __future__ import annotations

import pytest

from rdl.database import open_reader
from tests.servers import PostgresServer

CHANGES = [
    "UPDATE t SET v = v WHERE id = 1",
    "DELETE FROM t WHERE id = 1",
    "INSERT INTO t VALUES (0, 0)",
    "BEGIN; DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 99); COMMIT",
    "TRUNCATE t; INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g",
    "CREATE TABLE u AS TABLE t; DROP TABLE t; ALTER TABLE u RENAME TO t",
    "ALTER TABLE t ADD COLUMN w int DEFAULT 5",
    "ALTER TABLE t ALTER COLUMN v TYPE bigint USING v + 1",
    "ALTER TABLE t DROP COLUMN v",
    "ALTER TABLE t DROP COLUMN v, ADD COLUMN v int DEFAULT 777",
    "CREATE TABLE another (id int)",
    "ALTER TYPE mood RENAME VALUE 'good' TO 'bad'",
]


NO_CHANGES = [
    "VACUUM t",
    "VACUUM (FREEZE, ANALYZE) t",
    "VACUUM FULL t",
    "CLUSTER t USING t_pkey",
    "BEGIN; UPDATE t SET v = 0; INSERT INTO t VALUES (0, 0); ROLLBACK",
    "SELECT * FROM t FOR UPDATE",
    "CHECKPOINT",
    "CREATE INDEX ON t (v)",
]


@pytest.fixture(scope="module")
def changed(postgres: PostgresServer) -> tuple[PostgresServer, str]:
    return postgres, postgres.database()


@pytest.mark.parametrize("sql", CHANGES)
def test_every_change_changes_the_fingerprint(changed: tuple[PostgresServer, str], sql: str) -> None:
    server, url = changed
    _refill(server, url)
    before = open_reader(url).fingerprint()
    server.run(url, sql)
    assert open_reader(url).fingerprint() != before


@pytest.mark.parametrize("sql", NO_CHANGES)
def test_nothing_else_changes_the_fingerprint(changed: tuple[PostgresServer, str], sql: str) -> None:
    server, url = changed
    _refill(server, url)
    before = open_reader(url).fingerprint()
    server.run(url, sql)
    assert open_reader(url).fingerprint() == before


def _refill(server: PostgresServer, url: str) -> None:
    server.run(
        url,
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TYPE mood AS ENUM ('good')",
        "CREATE TABLE t (id int PRIMARY KEY, v int, m mood)",
        "INSERT INTO t SELECT g, g, 'good' FROM generate_series(1, 1000) g",
    )


def test_the_fingerprint_of_a_copy_on_another_server_differs(counted: tuple[PostgresServer, str]) -> None:
    server, url = counted
    before = open_reader(url).fingerprint()
    name = url.rpartition("/")[2]
    server.run(server.url("postgres"), f'CREATE DATABASE "{name} copy" TEMPLATE "{name}"')
    assert open_reader(url).fingerprint() == before
    assert open_reader(server.url(f"{name} copy")).fingerprint() != before
