"""Databases to write as RelBench folders, and no network."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

import rdl
from rdl.shop import build_shop
from rdl.snapshot import Snapshot
from tests.labels.sample import sample_shop
from tests.query.memory import snapshot_of
from tests.query.shop import SHOP


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def sample() -> Iterator[Snapshot]:
    with snapshot_of(SHOP, sample_shop()) as snapshot:
        yield snapshot


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> rdl.pipeline.Database:
    path = tmp_path_factory.mktemp("relbench") / "shop.duckdb"
    build_shop(path, scale=0.1)
    return rdl.connect(f"duckdb:///{path}")
