"""Small databases for the tests of readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.database.engines import ENGINES, Engine


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


@pytest.fixture
def url(engine: Engine, tmp_path: Path) -> str:
    """The URL of the small database in one engine; its folder has wildcards in its name."""
    folder = tmp_path / "it's [a] *folder* 50% #1"
    folder.mkdir()
    return engine.build(folder)
