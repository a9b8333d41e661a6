"""Reading a generated shop of 20 million events from Parquet, DuckDB, SQLite and PostgreSQL: rows a second and peak
memory, as ratios in one interleaved run to DuckDB on the same Parquet, pandas.read_sql, and RelBench's materialisation.

python benchmarks/ingest.py [--events 20000000] [--folder /tmp/rdl-ingest] [--rounds 3] [--only snapshot]

Every measurement is a process of its own. `rss` is its highest resident memory (VmHWM), which counts pages of files
that are mapped and can be dropped any time; `anonymous` is the highest of what cannot (RssAnon, looked at 50 times a
second). A slice is as many first rows of the events; beside it stand its own rows a second. The databases but
PostgreSQL's are kept in the folder for the next run, unless --remove is given: 2.4 GB for 20 million events, and room
for a snapshot of 1.3 GB and for PostgreSQL.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

TABLES = ("users", "items", "events")
#: Events of the slices of what is too slow, or holds too much, for all.
SLICE, RELBENCH_SLICES = 2_000_000, (500_000, 1_000_000)

GENERATE = """
CREATE TEMP MACRO pick(i, salt, n) AS (hash(i, salt) % n)::BIGINT;
CREATE TABLE users AS SELECT
    i AS id, 'user ' || i AS name, ['at', 'be', 'ch', 'de', 'es', 'fr', 'gb', 'it'][1 + pick(i, 1, 8)] AS country,
    CASE WHEN pick(i, 2, 10) > 0 THEN 18 + pick(i, 3, 60) END AS age,
    TIMESTAMP '2019-01-01' + to_seconds(pick(i, 4, 31000000)) AS created_at
    FROM range({users}) t(i);
CREATE TABLE items AS SELECT
    i AS id, 'item ' || i AS title, 'category ' || pick(i, 5, 50) AS category,
    (pick(i, 6, 100000) / 100)::DOUBLE AS price
    FROM range({items}) t(i);
CREATE TABLE events AS SELECT
    i AS id, pick(i, 7, {users}) AS user_id, CASE WHEN pick(i, 8, 50) > 0 THEN pick(i, 9, {items}) END AS item_id,
    TIMESTAMP '2020-01-01' + to_seconds(i * 94608000 // {events} + pick(i, 10, 86400)) AS at,
    ['view', 'view', 'view', 'add to cart', 'buy', 'return'][1 + pick(i, 11, 6)] AS kind,
    CASE WHEN pick(i, 12, 10) > 0 THEN (pick(i, 13, 1000000) / 100)::DOUBLE END AS amount,
    (pick(i, 14, 1000000) / 1000000)::DOUBLE AS score
    FROM range({events}) t(i);
"""
DECLARE = {
    "users": "id BIGINT, name TEXT, country TEXT, age BIGINT, created_at TIMESTAMP",
    "items": "id BIGINT, title TEXT, category TEXT, price DOUBLE PRECISION",
    "events": "id BIGINT, user_id BIGINT, item_id BIGINT, at TIMESTAMP, kind TEXT, amount DOUBLE PRECISION,"
    " score DOUBLE PRECISION",
}


# --- the databases


def generate(folder: Path, events: int) -> None:
    """Writes the shop as Parquet, DuckDB and SQLite, unless it is there."""
    import duckdb

    if (folder / "shop" / "events.parquet").exists():
        return
    (folder / "shop").mkdir(parents=True, exist_ok=True)
    users, items = max(1000, events // 100), max(500, events // 400)
    (folder / "shop.duckdb").unlink(missing_ok=True)
    with duckdb.connect(folder / "shop.duckdb") as connection:
        for statement in GENERATE.format(users=users, items=items, events=events).split(";")[:-1]:
            connection.execute(statement)
        create_sqlite(folder)
        for table in reversed(TABLES):
            load_sqlite(folder / "shop.sqlite", table, connection.sql(f"FROM {table}").to_arrow_reader(200_000))
        for table in TABLES:
            connection.execute(f"COPY {table} TO '{folder}/shop/{table}.parquet'")


def create_sqlite(folder: Path) -> None:
    """An empty SQLite file with the tables."""
    import sqlite3

    (folder / "shop.sqlite").unlink(missing_ok=True)
    connection = sqlite3.connect(folder / "shop.sqlite")
    for table, columns in DECLARE.items():
        connection.execute(f"CREATE TABLE {table} ({columns})")
    connection.close()


def load_sqlite(path: Path, table: str, rows: object) -> None:
    """Appends rows; a time is text, as it is in most SQLite files."""
    import adbc_driver_sqlite.dbapi

    with adbc_driver_sqlite.dbapi.connect(str(path)) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest(table, rows, mode="append")
        connection.commit()


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The URL of a server of its own with the shop in it."""
    import adbc_driver_postgresql.dbapi
    import duckdb

    from tests.servers import PostgresServer

    server = PostgresServer()
    try:
        url = server.database()
        server.run(url, *(f"CREATE TABLE {table} ({columns})" for table, columns in DECLARE.items()))
        with adbc_driver_postgresql.dbapi.connect(url) as connection, connection.cursor() as cursor:
            for table in TABLES:
                rows = duckdb.sql(f"FROM '{folder}/shop/{table}.parquet'").to_arrow_reader(200_000)
                cursor.adbc_ingest(table, rows, mode="append")
            connection.commit()
        server.run(url, "VACUUM ANALYZE")
        yield url
    finally:
        server.close()


# --- what is measured, each in a process of its own; they return the rows they read


def schema_of(reader: object) -> object:
    """What the reader reflects, with the keys, times and meanings that a schema file would add."""
    from dataclasses import replace

    from rdl.schema import Relation, Schema, Stype, TimePath

    found = reader.reflect()  # type: ignore[attr-defined]
    times = {"users": "created_at", "events": "at"}
    meanings = {"country": Stype.categorical, "category": Stype.categorical, "kind": Stype.categorical}
    meanings |= dict.fromkeys(("id", "user_id", "item_id", "name", "title"), Stype.identifier)
    tables = {
        name: replace(
            found[name],
            primary_key=("id",),
            time=TimePath(times[name]) if name in times else None,
            columns=tuple(replace(c, stype=meanings.get(c.name, c.stype)) for c in found[name].columns),
        )
        for name in TABLES
    }
    keys = [("user_id", "users"), ("item_id", "items")]
    return Schema(tables, tuple(Relation("events", (key,), parent, ("id",)) for key, parent in keys))


def duckdb_parquet(folder: Path, url: str) -> int:
    """DuckDB reads the Parquet files to Arrow, a batch at a time."""
    import duckdb

    rows = 0
    for table in TABLES:
        batches = duckdb.sql(f"FROM '{folder}/shop/{table}.parquet'").to_arrow_reader(16_384)
        rows += sum(batch.num_rows for batch in batches)
    return rows


def duckdb_whole(folder: Path, url: str) -> int:
    """DuckDB reads the Parquet files to Arrow tables."""
    import duckdb

    tables = [duckdb.sql(f"FROM '{folder}/shop/{table}.parquet'").to_arrow_table() for table in TABLES]
    return sum(table.num_rows for table in tables)


def read(folder: Path, url: str) -> int:
    """rdl reads every table, a batch at a time."""
    from rdl.database import open_reader

    reader = open_reader(url)
    reader.reflect()
    with reader.consistent():
        return sum(batch.num_rows for table in TABLES for batch in reader.read(table))


def snapshot(folder: Path, url: str) -> int:
    """rdl extracts the snapshot: read, sorted by time, keys resolved."""
    from rdl.database import open_reader
    from rdl.snapshot import build

    reader = open_reader(url)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        return sum(build(reader, schema_of(reader), Path(made) / "snapshot").num_rows.values())  # type: ignore[arg-type]


def materialise(folder: Path, url: str) -> int:
    """rdl extracts the snapshot, fits and packs its features and builds the graph."""
    from rdl import clock, features
    from rdl.database import open_reader
    from rdl.graph import TemporalGraph
    from rdl.snapshot import build

    reader = open_reader(url)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        found = build(reader, schema_of(reader), Path(made) / "snapshot")  # type: ignore[arg-type]
        started = time.perf_counter()
        packed = features.pack(found, features.fit(found, clock.to_us("2022-01-01")))
        graph = TemporalGraph.build(found)
        PACKED.append(time.perf_counter() - started)
        return sum(graph.num_rows[table] for table in packed)


def pack(folder: Path, url: str) -> int:
    """Of that, the features and the graph alone, from the snapshot: what RelBench's function does from data frames."""
    rows = materialise(folder, url)
    SPENT.extend(PACKED)
    return rows


def pandas(folder: Path, url: str) -> int:
    """pandas.read_sql through SQLAlchemy, of a slice of the events."""
    import pandas
    import sqlalchemy

    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        query = f"SELECT * FROM events LIMIT {SLICE}"
        return len(pandas.read_sql(query, connection, parse_dates=["at"]))


def relbench(folder: Path, url: str) -> int:
    """RelBench's make_pkey_fkey_graph on a slice of the events, given as data frames with numbered keys."""
    import duckdb
    from relbench.base import Database, Table
    from relbench.modeling.graph import make_pkey_fkey_graph
    from torch_frame import stype

    limit = int(url)
    frames = {table: duckdb.sql(f"FROM '{folder}/shop/{table}.parquet' LIMIT {limit}").df() for table in TABLES}
    frames["events"] = frames["events"].sort_values("at", ignore_index=True)
    frames["events"]["id"] = range(len(frames["events"]))
    started = time.perf_counter()
    keys = {"user_id": "users", "item_id": "items"}
    db = Database({
        "users": Table(frames["users"].drop(columns="name"), {}, "id", "created_at"),
        "items": Table(frames["items"].drop(columns="title"), {}, "id"),
        "events": Table(frames["events"], keys, "id", "at"),
    })  # fmt: skip
    kinds = {
        "users": {"country": stype.categorical, "age": stype.numerical, "created_at": stype.timestamp},
        "items": {"category": stype.categorical, "price": stype.numerical},
        "events": {
            "at": stype.timestamp, "kind": stype.categorical, "amount": stype.numerical, "score": stype.numerical,
        },
    }  # fmt: skip
    make_pkey_fkey_graph(db, kinds)
    SPENT.append(time.perf_counter() - started)
    return sum(len(frame) for frame in frames.values())


#: Seconds that a measurement says itself, where making its input is not a part of it.
SPENT: list[float] = []
PACKED: list[float] = []
MEASURED: dict[str, Callable[[Path, str], int]] = {
    work.__name__: work for work in (duckdb_parquet, duckdb_whole, read, snapshot, materialise, pack, pandas, relbench)
}


def measured(work: str, folder: Path, url: str) -> dict[str, float]:
    """Seconds, rows and memory of a piece of work in this process; what it imports is loaded before."""
    import duckdb
    import pyarrow.compute  # noqa: F401

    import rdl.snapshot

    if work in ("materialise", "pack", "relbench"):
        import rdl.features
        import rdl.graph  # noqa: F401
    duckdb.sql("SELECT 1").fetchall()
    anonymous, over = [resident("RssAnon")], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            anonymous[0] = max(anonymous[0], resident("RssAnon"))

    before, watching = anonymous[0], threading.Thread(target=watch, daemon=True)
    watching.start()
    started = time.perf_counter()
    rows = MEASURED[work](folder, url)
    seconds = SPENT[0] if SPENT else time.perf_counter() - started
    over.set()
    watching.join()
    return {
        "rows": rows, "seconds": seconds, "rss": resident("VmHWM"), "anonymous": anonymous[0], "before": before,
    }  # fmt: skip


def resident(line: str) -> float:
    """MB of a line of this process's status."""
    status = Path("/proc/self/status").read_text()
    return next(int(text.split()[1]) for text in status.splitlines() if text.startswith(line)) / 1024


# --- the run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "rdl-ingest")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="Only measurements whose name holds one of these words, by comma.")
    parser.add_argument("--remove", action="store_true", help="Remove the databases afterwards.")
    parser.add_argument("--measure", nargs=2, metavar=("WORK", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(options.measure[0], options.folder, options.measure[1])))
        return
    generate(options.folder, options.events)
    with postgres(options.folder) as server:
        show(run(options, server), options)
    if options.remove:
        shutil.rmtree(options.folder)


def run(options: argparse.Namespace, server: str) -> dict[str, list[dict[str, float]]]:
    """Every measurement in every round, one after the other."""
    folder = options.folder
    urls = {
        "parquet": f"folder:{folder}/shop",
        "duckdb": f"duckdb:///{folder}/shop.duckdb",
        "sqlite": f"sqlite:///{folder}/shop.sqlite",
        "postgresql": server,
    }
    jobs = {"duckdb_parquet": "", "duckdb_whole": ""}
    jobs |= {f"{work} {engine}": url for engine, url in urls.items() for work in ("read", "snapshot")}
    jobs |= {f"pandas {engine}": urls[engine] for engine in ("sqlite", "postgresql")}
    jobs |= {"materialise parquet": urls["parquet"], "materialise postgresql": server, "pack parquet": urls["parquet"]}
    jobs |= {f"relbench {size}": str(size) for size in RELBENCH_SLICES}
    words = [word for word in options.only.split(",") if word]
    found: dict[str, list[dict[str, float]]] = {}
    for number in range(options.rounds):
        for name, url in jobs.items():
            if words and not any(word in name for word in words):
                continue
            command = [sys.executable, __file__, "--folder", str(folder), "--measure", name.split()[0], url]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
            if done.returncode:
                print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            found.setdefault(name, []).append(json.loads(done.stdout))
            print(f"{number} {name}: {found[name][-1]}", file=sys.stderr)
    return found


def show(found: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    """The medians, as a table in Markdown."""
    import pyarrow.dataset

    files = [f"{options.folder}/shop/{table}.parquet" for table in TABLES]
    arrow = sum(batch.nbytes for file in files for batch in pyarrow.dataset.dataset(file).to_batches()) / 2**20
    print(f"Arrow size {arrow:,.0f} MB\n\n| what | rows | s | rows/s | rss, MB | of Arrow | anonymous, MB |")
    print("|---|---|---|---|---|---|---|")
    for name, rounds in found.items():
        rows, seconds, rss, anonymous = (
            statistics.median(one[key] for one in rounds) for key in ("rows", "seconds", "rss", "anonymous")
        )
        cells = [f"{rows:,.0f}", f"{seconds:.2f}", f"{rows / seconds:,.0f}", f"{rss:,.0f}", f"{rss / arrow:.2f}"]
        print(f"| {name} | {' | '.join([*cells, f'{anonymous:,.0f}'])} |")


if __name__ == "__main__":
    main()
