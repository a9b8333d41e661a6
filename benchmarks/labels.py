"""Labels beside RelBench: the same six questions on the same rows, in turn, each in a process of its own.

python benchmarks/labels.py [--events 20000000] [--runs 3] [--tasks count,sum,list,hops,where,overlap]

Orders of 100,000 users over two years, asked about every week. RelBench runs the SQL of its manifests (in the style of
its own tasks: user-ltv, user-item-purchase, user-churn) over pandas frames and sorts what comes. ``sql`` is the time of
its DuckDB alone, and ours with seeds put in order; ``table`` that of all that gives a finished table of labels, and
``cpu`` its processor time, which says more on a machine that has other work. Both must give the same labels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np

START, VAL, TEST = "2020-01-01", "2021-12-15", "2021-12-23"
PAST = "orders.user_id = users.id AND orders.created_at <= timestamp"
AHEAD = "orders.created_at > timestamp AND orders.created_at <= timestamp + INTERVAL '{timedelta}'"
AROUND = AHEAD.replace("> timestamp", "> timestamp - INTERVAL '21 days'")
CUTS = f"EVERY 7 days SPLIT AT '{VAL}', '{TEST}'"

#: Our question, RelBench's SQL, and the entity table.
TASKS = {
    "count": (
        "PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id",
        "SELECT timestamp, id AS entity, target FROM timestamps, users, (SELECT COUNT(*) AS target FROM orders "
        f"WHERE orders.user_id = users.id AND {AHEAD}) WHERE users.joined_at <= timestamp",
        "users",
    ),
    "sum": (
        "PREDICT SUM(orders.amount WHERE orders.status = 1, 0, 7) FOR EACH users.id",
        "SELECT timestamp, id AS entity, target FROM timestamps, users, (SELECT COALESCE(SUM(amount), 0) AS target "
        f"FROM orders WHERE orders.user_id = users.id AND orders.status = 1 AND {AHEAD}) "
        "WHERE users.joined_at <= timestamp",
        "users",
    ),
    "list": (
        "PREDICT LIST_DISTINCT(orders.item_id, 0, 7) RANK TOP 10 FOR EACH users.id ASSUMING EXISTS(orders.*, 0, 7)",
        "SELECT timestamp, user_id AS entity, LIST(DISTINCT item_id) AS target FROM timestamps LEFT JOIN orders "
        f"ON {AHEAD} JOIN users ON users.id = user_id AND users.joined_at <= timestamp GROUP BY timestamp, user_id",
        "users",
    ),
    "hops": (
        "PREDICT SUM(orders.amount, 0, 7) FOR EACH companies.id",
        "SELECT timestamp, id AS entity, target FROM timestamps, companies, (SELECT COALESCE(SUM(amount), 0) AS target "
        f"FROM orders, users WHERE orders.user_id = users.id AND users.company_id = companies.id AND {AHEAD})",
        "companies",
    ),
    "where": (
        "PREDICT COUNT(orders.*, 0, 7) = 0 FOR EACH users.id WHERE COUNT(orders.*, -90, 0) > 0",
        "SELECT timestamp, id AS entity, CAST(NOT EXISTS (SELECT 1 FROM orders WHERE orders.user_id = users.id AND "
        f"{AHEAD}) AS INTEGER) AS target FROM timestamps, users WHERE EXISTS (SELECT 1 FROM orders WHERE {PAST} "
        "AND orders.created_at > timestamp - INTERVAL '90 days')",
        "users",
    ),
    "overlap": (
        "PREDICT COUNT(orders.*, -21, 7) FOR EACH users.id",
        "SELECT timestamp, id AS entity, target FROM timestamps, users, (SELECT COUNT(*) AS target FROM orders WHERE "
        f"orders.user_id = users.id AND {AROUND}) "
        "WHERE users.joined_at <= timestamp",
        "users",
    ),
}


def generate(path: Path, events: int, users: int) -> None:
    """A shop whose users order after they joined; a few order much more than most."""
    seconds = (105 * 7 + 1) * 86_400
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"""
            SELECT setseed(0.5);
            CREATE TABLE companies (id INTEGER PRIMARY KEY, size INTEGER);
            INSERT INTO companies SELECT n, n % 10 FROM range({users // 50}) r(n);
            CREATE TABLE users (id INTEGER PRIMARY KEY, company_id INTEGER REFERENCES companies (id),
                joined_at TIMESTAMP);
            INSERT INTO users SELECT n, hash(n) % {users // 50},
                TIMESTAMP '{START}' + INTERVAL (CAST(86400 + pow(random(), 3) * 31000000 AS INTEGER)) SECOND
            FROM range({users}) r(n);
            CREATE TABLE items (id INTEGER PRIMARY KEY, price DOUBLE);
            INSERT INTO items SELECT n, n % 100 FROM range(10000) r(n);
            CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (id),
                item_id INTEGER REFERENCES items (id), amount DOUBLE, status INTEGER, created_at TIMESTAMP);
            CREATE TEMP TABLE drawn AS SELECT n, CAST(floor(pow(random(), 2) * {users}) AS INTEGER) AS user_id,
                CAST(floor(random() * 10000) AS INTEGER) AS item_id, floor(random() * 1000) / 8 AS amount,
                CAST(floor(random() * 3) AS INTEGER) AS status, random() AS share FROM range({events}) r(n);
            INSERT INTO orders SELECT n, user_id, item_id, amount, status, joined_at + INTERVAL (CAST(share *
                ({seconds} - epoch(joined_at) + epoch(TIMESTAMP '{START}')) AS INTEGER)) SECOND
            FROM drawn JOIN users ON users.id = user_id;
        """)


def run_rdl(path: Path, name: str) -> dict[str, float]:
    from rdl import labels
    from rdl.database import open_reader
    from rdl.labels import sources
    from rdl.pipeline import Database
    from rdl.schema import Schema, TimePath

    reader = open_reader(f"duckdb:///{path}")
    reflected = reader.reflect()
    tables = dict(reflected.tables)
    for table, column in (("users", "joined_at"), ("orders", "created_at")):
        tables[table] = replace(tables[table], time=TimePath(column))
    db = Database(reader, saved=Schema(tables, reflected.relations))
    snapshot = db.snapshot
    if not name:
        return {}
    task = db.task(f"{TASKS[name][0]} {CUTS}").definition
    in_sql = [0.0]

    def timed(*arguments: object, run: object = sources.run_at) -> object:
        begun = time.perf_counter()
        found = run(*arguments)  # type: ignore[operator]
        in_sql[0] += time.perf_counter() - begun
        return found

    sources.run_at = timed  # type: ignore[assignment]
    started, used = time.perf_counter(), time.process_time()
    table = labels.build(task, snapshot)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    total = float(len(table.target)) if table.indptr is not None else float(table.target.sum())
    return {"table": seconds, "cpu": used, "sql": in_sql[0], "rows": len(table), "total": total}


def run_relbench(path: Path, name: str) -> dict[str, float]:
    warnings.simplefilter("ignore")
    import pandas as pd
    from relbench import load
    from relbench.base import Database, Dataset, Table
    from relbench.manifest import TaskManifest

    times = {"users": "joined_at", "orders": "created_at"}
    with duckdb.connect(str(path), read_only=True) as connection:
        frames = {table: connection.sql(f"FROM {table}").df() for table in ("companies", "users", "items", "orders")}
    db = Database({table: Table(frame, {}, "id", times.get(table)) for table, frame in frames.items()})

    class Shop(Dataset):
        val_timestamp, test_timestamp = pd.Timestamp(VAL), pd.Timestamp(TEST)

        def make_db(self) -> Database:
            return db

    _, sql, entity = TASKS[name]
    ranks = name == "list"
    ends = {"src_entity_table": entity, "src_entity_col": "entity", "dst_entity_table": "items", "eval_k": 10,
            "dst_entity_col": "target"} if ranks else {"entity_table": entity, "entity_col": "entity"}  # fmt: skip
    manifest = TaskManifest(
        name=name, kind="forecast", task_type="recommendation" if ranks else "regression", target_col="target",
        time_col="timestamp", timedelta="7 days", sql=sql, **ends,
    )  # fmt: skip
    task = (load._ForecastRecommendationTask if ranks else load._ForecastEntityTask)(Shop(), manifest, regenerate=True)
    in_sql = [0.0]
    run_sql = load._run_task_sql

    def timed(*arguments: object) -> object:
        begun = time.perf_counter()
        found = run_sql(*arguments)
        in_sql[0] += time.perf_counter() - begun
        return found

    load._run_task_sql = timed
    started, used = time.perf_counter(), time.process_time()
    tables = [task.get_table(split, mask_input_cols=False, db=db).df for split in ("train", "val", "test")]
    seconds, used = time.perf_counter() - started, time.process_time() - used
    target = [np.concatenate(frame["target"].to_list()) if ranks else frame["target"].to_numpy() for frame in tables]
    total = float(sum(map(len, target))) if ranks else float(sum(part.sum() for part in target))
    return {"table": seconds, "cpu": used, "sql": in_sql[0], "rows": sum(map(len, tables)), "total": total}


def measure(side: str, path: Path, name: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--path", str(path), "--tasks", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(path: Path, name: str, runs: int) -> str:
    """A line of the table: the median of ``runs`` on each side, taken in turn."""
    found: dict[str, list[dict[str, float]]] = {"rdl": [], "relbench": []}
    for _ in range(runs):
        for side, figures in found.items():
            figures.append(measure(side, path, name))
    ours, theirs = (
        {key: float(np.median([run[key] for run in figures])) for key in figures[0]} for figures in found.values()
    )
    for key in ("rows", "total"):
        assert np.isclose(ours[key], theirs[key], rtol=1e-9), (name, key, ours, theirs)
    cells = [f"{name}, {ours['rows'] / 1e6:.1f}M rows"]
    for key in ("sql", "table", "cpu"):
        cells += [f"{theirs[key]:.1f} s", f"{ours[key]:.1f} s", f"{theirs[key] / ours[key]:.1f}×"]
    cells += [f"{theirs['peak']:.0f}", f"{ours['peak']:.0f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=lambda text: int(float(text)), default=20_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        found = (run_rdl if options.side == "rdl" else run_relbench)(options.path, options.tasks)
        # Not getrusage, which counts what the process that began this one held, too.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        print(json.dumps({**found, "peak": int(status.split("VmHWM:")[1].split()[0]) / 1e3}))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RDL_CACHE"] = folder
        path = Path(folder) / "shop.duckdb"
        generate(path, options.events, options.users)
        measure("rdl", path, "")  # makes the snapshot
        print(f"{options.events:,} orders of {options.users:,} users, median of {options.runs}\n")
        heads = [f"{key}: RelBench | rdl | ratio" for key in ("sql", "table", "cpu")]
        print(f"| labels | {' | '.join(heads)} | peak MB: RelBench | rdl |")
        print(f"|{'---|' * 12}", flush=True)
        for name in options.tasks.split(","):
            print(compare(path, name, options.runs), flush=True)


if __name__ == "__main__":
    main()
