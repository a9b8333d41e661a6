"""Small databases for the tests of readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.database.engines import ENGINES, Engine
from tests.servers import PostgresServer, mariadb, postgres

__all__ = ["mariadb", "postgres"]


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


@pytest.fixture
def server(engine: Engine, request: pytest.FixtureRequest) -> Any:
    """The server of a remote engine, else None."""
    return request.getfixturevalue(engine.remote.fixture) if engine.remote else None


@pytest.fixture
def url(engine: Engine, server: Any, tmp_path: Path) -> str:
    """The URL of the small database in one engine; its folder has wildcards in its name."""
    if engine.remote:
        return engine.build(server)
    folder = tmp_path / "it's [a] *folder* 50% #1"
    folder.mkdir()
    return engine.build(folder)


@pytest.fixture
def counted(postgres: PostgresServer) -> tuple[PostgresServer, str]:
    """A database of one table ``t`` with 1,000 rows."""
    url = postgres.database()
    made = "CREATE TABLE t (id int PRIMARY KEY, v int)"
    postgres.run(url, made, "INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g")
    return postgres, url
