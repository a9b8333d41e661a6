"""Processes and servers killed at random moments: never half a snapshot, never half a table."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rdl.database import open_reader
from rdl.errors import DatabaseError
from rdl.snapshot import build, load_or_build, open_snapshot
from tests.memory import MemoryReader
from tests.servers import MariaServer, PostgresServer

EXTRACT = """
    import sys
    from pathlib import Path
    from rdl.snapshot import build, load_or_build
    from tests.test_kill import reader_of

    build(reader_of(0), reader_of(0).schema, Path(sys.argv[1]) / f"warm{sys.argv[2]}")
    print("begun", flush=True)
    for version in range(1, 1_000_000):
        load_or_build(reader_of(version), reader_of(version).schema, cache=Path(sys.argv[1]))
"""


def reader_of(version: int) -> MemoryReader:
    """A shop whose every cell says its version; its tables are read slowly enough to be killed within."""
    times = pa.array(np.arange(3_000)[::-1], pa.timestamp("us"))
    orders = pa.table(
        {"id": np.arange(3_000), "user": np.arange(3_000) % 50, "at": times, "v": np.full(3_000, version)}
    )
    users = pa.table({"id": [str(i) for i in range(50)], "v": np.full(50, version)})
    reader = MemoryReader(
        {"users": users, "orders": orders},
        keys={"users": "id", "orders": "id"}, times={"orders": "at"}, relations=[("orders", "user", "users")],
        rows_a_batch=100,
    )  # fmt: skip
    reader.version, reader.parallel_reads = str(version), 2
    return reader


def test_a_process_killed_while_it_extracts_leaves_nothing_half(tmp_path: Path) -> None:
    rng, half = random.Random(0), 0
    for turn in range(10):
        command = [sys.executable, "-c", textwrap.dedent(EXTRACT), str(tmp_path)]
        pair = [subprocess.Popen([*command, f"{turn}{n}"], stdout=subprocess.PIPE, text=True) for n in range(2)]
        for process in pair:
            with process:
                assert process.stdout is not None
                assert process.stdout.readline() == "begun\n"
                time.sleep(rng.uniform(0, 0.05))
                os.kill(process.pid, signal.SIGKILL)
        for folder in (tmp_path / "snapshots").glob("*"):
            if folder.name.startswith(".making-"):
                half += 1
                with pytest.raises(DatabaseError, match="is not a whole snapshot"):
                    open_snapshot(folder)
            else:
                check(folder)
        assert len(list((tmp_path / "snapshots").glob(".making-*"))) <= 2
    assert half >= 5  # they were indeed killed within
    check(load_or_build(reader_of(-1), reader_of(-1).schema, cache=tmp_path).path)
    assert not list((tmp_path / "snapshots").glob(".making-*"))


def check(folder: Path) -> None:
    """The snapshot is whole, and all of it of one version."""
    snapshot = open_snapshot(folder)
    orders, users = snapshot.arrow("orders"), snapshot.arrow("users")
    assert orders["id"].to_pylist() == list(range(2_999, -1, -1))
    assert set(orders["v"].to_pylist()) == set(users["v"].to_pylist())
    assert snapshot.parent(snapshot.schema.relations[0]).tolist() == [i % 50 for i in range(2_999, -1, -1)]
    assert snapshot.report.rows == {"users": 50, "orders": 3_000}


NUMBERS = {
    PostgresServer: "CREATE TABLE t AS SELECT g AS id, g % 7 AS v FROM generate_series(1, 60000) g",
    MariaServer: "CREATE TABLE t AS SELECT seq AS id, seq % 7 AS v FROM seq_1_to_60000",
}
SCORES = 4_000


def versions_of(server: PostgresServer | MariaServer, url: str) -> dict[str, int]:
    """How many rows of each version the table of scores holds."""
    listed = "FROM information_schema.tables WHERE table_name = 'scores'"
    query = "SELECT concat(version, ':', count(*)) AS line FROM scores GROUP BY version"
    if isinstance(server, PostgresServer):
        lines = server.run(url, query).split() if server.run(url, f"SELECT 1 {listed}").strip() else []
    else:
        lines = [str(row["line"]) for row in server.run(url, query)] if server.run(url, f"SELECT 1 {listed}") else []
    return {version: int(count) for version, count in (line.split(":") for line in lines)}


class Until(threading.Thread):
    """Repeats a piece of work, with one number after the other, until it fails with a DatabaseError."""

    def __init__(self, work: Callable[[int], object], first: int) -> None:
        super().__init__()
        self.work, self.first, self.begun, self.error = work, first, threading.Event(), ""

    def run(self) -> None:
        try:
            for number in range(self.first, self.first + 1_000_000):
                self.begun.set()
                self.work(number)
        except DatabaseError as error:
            self.error = str(error)


@pytest.mark.parametrize("kind", NUMBERS)
def test_a_server_killed_while_it_is_read_and_written_leaves_nothing_half(
    kind: type[PostgresServer | MariaServer], tmp_path: Path
) -> None:
    rng, server, written = random.Random(1), kind(), 0
    try:
        url = server.database()
        server.run(url, NUMBERS[kind])

        def extract(number: int) -> None:
            reader = open_reader(url, tables=["t"])
            build(reader, reader.reflect(), tmp_path / str(number))

        def write(number: int) -> None:
            rows = pa.table({"id": np.arange(SCORES), "version": np.full(SCORES, number)})
            open_reader(url).write("scores", rows, if_exists="replace" if number % 3 == 0 else "append")

        for turn in range(5):
            work = [Until(extract, turn * 1_000_000), Until(write, turn * 1_000_000)]
            for thread in work:
                thread.start()
                thread.begun.wait()
            time.sleep(rng.uniform(0.02, 0.6))
            server.kill()
            for thread in work:
                thread.join()
                assert 0 < len(thread.error.splitlines()) <= 2
                assert server.PASSWORD not in thread.error
            server.start()
            versions = versions_of(server, url)
            assert set(versions.values()) <= {SCORES}
            written += len(versions)
            assert not list(tmp_path.glob(".making-*"))
            for folder in tmp_path.iterdir():
                found = open_snapshot(folder)
                assert sum(found.arrow("t")["id"].to_pylist()) == 60_000 * 60_001 // 2
        assert written
        assert list(tmp_path.iterdir())
    finally:
        server.close()
