"""Sampling, on one thread: CPU time a batch against PyG's samplers where they can be imported, the graph's size and how
fast it is there, and the cost of a seed against its degree.

python benchmarks/sampling.py [--events 2000000 20000000] [--largest 100000000] [--folder DIRECTORY] [--rounds 5]

A generated shop: users and items of very different activity (the busiest user has a hundred times the median's events),
events in order of time over three years. Batches are 512 users at mixed times. PyG's own sampler needs pyg-lib, or
torch-sparse, which samples no disjoint trees; where neither is there, rdl is measured alone. The shops are kept in the
folder for the next run: 5 GB for 100 million events.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from rdl.clock import US_PER_DAY
from rdl.config import Sampling
from rdl.graph import TemporalGraph
from rdl.sampler import Sampler, Seeds
from rdl.snapshot import Snapshot, build, open_snapshot

DAYS, SEEDS = 1_095, 512
#: Two hops end at the events' items; the third goes back from these to events.
FANOUTS = ((128, 64), (128, 64, 64))
DEGREES = (10**3, 10**4, 10**5, 10**6, 10**7)

SHOP = {
    "users": "SELECT i AS id FROM range({users}) t(i)",
    "items": "SELECT i AS id FROM range({items}) t(i)",
    "events": """SELECT
        ({users} * pow((hash(i, 1) % 1000000007) / 1000000007, 2))::BIGINT % {users} AS user_id,
        ({items} * pow((hash(i, 2) % 1000000007) / 1000000007, 3))::BIGINT % {items} AS item_id,
        TIMESTAMP '1970-01-01' + to_microseconds(i * ({days} * 86400000000 // {events})) AS at
        FROM range({events}) t(i)""",
}
#: One user with all the events; half of them end within a day.
HUB = {
    "users": "SELECT 0 AS id",
    "events": """SELECT 0 AS user_id, TIMESTAMP '1970-01-01' + to_microseconds(i * ({days} * 86400000000 // {events}))
        AS "at", CASE WHEN i % 2 = 0 THEN "at" + INTERVAL 1 DAY END AS until FROM range({events}) t(i)""",
}


# --- the shops


def shop(folder: Path, name: str, tables: dict[str, str], events: int, valid_until: str | None = None) -> Snapshot:
    """The snapshot of a generated database, made unless it is there."""
    import duckdb

    from rdl.database import open_reader
    from rdl.schema import Relation, Schema, Table, TimePath

    place = folder / f"{name}-{events}"
    parquet, made = place / "parquet", place / "snapshot"
    if not parquet.exists():
        part = place / "part"
        part.mkdir(parents=True, exist_ok=True)
        sizes = {"users": max(1000, events // 100), "items": max(500, events // 400), "events": events, "days": DAYS}
        duckdb.sql("SET enable_progress_bar = false")
        for table, query in tables.items():
            duckdb.sql(f"COPY ({query.format(**sizes)}) TO '{part}/{table}.parquet'")
        part.rename(parquet)
    reader = open_reader(f"folder:{parquet}")
    keys = [(column, column.replace("_id", "s")) for column in ("user_id", "item_id")]
    found = {
        table.name: Table(
            table.name,
            table.columns,
            ("id",) if "id" in table else (),
            TimePath("at") if "at" in table else None,
            valid_until if "at" in table else None,
        )
        for table in reader.reflect().tables.values()
    }
    relations = tuple(Relation("events", (key,), parent, ("id",)) for key, parent in keys if parent in found)
    schema = Schema(found, relations)
    return open_snapshot(made, schema) if made.exists() else build(reader, schema, made)


def batches(graph: TemporalGraph, count: int) -> Iterator[Seeds]:
    """Batches of seeds in the second half of the time, each of others."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        row = torch.randint(graph.num_rows["users"], (SEEDS,), generator=generator)
        moment = torch.randint(DAYS // 2 * US_PER_DAY, DAYS * US_PER_DAY, (SEEDS,), generator=generator)
        yield Seeds("users", row, moment, moment)


# --- what is measured


def cpu_ms(work: Callable[[], object]) -> float:
    """Milliseconds of CPU time, which another process on the machine does not count into."""
    started = time.process_time()
    work()
    return 1e3 * (time.process_time() - started)


def sample(folder: Path, sizes: list[int], rounds: int) -> None:
    """CPU time a batch, all samplers in turn in every round."""
    print("\n| events | fan-out | strategy | sampler | nodes | ms a batch | ns a node | ratio |\n" + "|---" * 8 + "|")
    for events in sizes:
        graph = TemporalGraph.build(shop(folder, "shop", SHOP, events))
        peer = pyg(graph)
        for fanouts in FANOUTS:
            for strategy in Sampling:
                sampler = Sampler(graph, fanouts, strategy=strategy)
                ours: dict[str, Callable[[Seeds], int]] = {"rdl": lambda seeds, by=sampler: nodes(by(seeds))}
                samplers = ours | ({"pyg-lib": peer(fanouts, strategy)} if peer else {})
                for run in samplers.values():
                    run(next(batches(graph, 1)))
                spent: dict[str, list[float]] = {name: [] for name in samplers}
                found = dict.fromkeys(samplers, 0)
                for seeds in batches(graph, rounds):
                    for name, run in samplers.items():
                        spent[name].append(cpu_ms(lambda: found.update({name: run(seeds)})))  # noqa: B023
                base = statistics.median(spent["rdl"])
                for name, each in spent.items():
                    middle = statistics.median(each)
                    print(
                        f"| {events:,} | {'/'.join(map(str, fanouts))} | {strategy} | {name} | {found[name]:,} | "
                        f"{middle:.1f} | {1e6 * middle / found[name]:.0f} | {middle / base:.2f} |",
                        flush=True,
                    )
        if torch.cuda.is_available():
            on_cuda(graph, rounds)


def nodes(subgraph: object) -> int:
    return sum(len(rows) for rows in subgraph.rows.values())  # type: ignore[attr-defined]


def pyg(graph: TemporalGraph) -> Callable[[tuple[int, ...], Sampling], Callable[[Seeds], int]] | None:
    """PyG's sampler of disjoint trees on the same graph, made from fan-outs and a strategy; None without pyg-lib."""
    try:
        import pyg_lib  # noqa: F401
    except ImportError:
        return None
    from torch_geometric.sampler import NeighborSampler, NodeSamplerInput

    data = graph.to_hetero_data()

    def made(fanouts: tuple[int, ...], strategy: Sampling) -> Callable[[Seeds], int]:
        sampler = NeighborSampler(
            data,
            list(fanouts),
            disjoint=True,
            time_attr="time",
            temporal_strategy="last" if strategy is Sampling.recent else "uniform",
        )

        def run(seeds: Seeds) -> int:
            asked = NodeSamplerInput(None, seeds.row, seeds.time, "users")
            return sum(len(rows) for rows in sampler.sample_from_nodes(asked).node.values())

        return run

    return made


def on_cuda(graph: TemporalGraph, rounds: int) -> None:
    """Wall time a batch on a CUDA device, beside the CPU's."""
    device = torch.device("cuda")
    for fanouts in FANOUTS:
        for strategy in Sampling:
            sampler = Sampler(graph.to(device), fanouts, strategy=strategy)
            given, spent = [seeds.to(device) for seeds in batches(graph, rounds + 2)], []
            for seeds in given:
                torch.cuda.synchronize()
                started = time.perf_counter()
                found = nodes(sampler(seeds))
                torch.cuda.synchronize()
                spent.append(1e3 * (time.perf_counter() - started))
            middle = statistics.median(spent[2:])
            print(f"| | {fanouts} | {strategy} | rdl, CUDA | {found:,} | {middle:.2f} | {1e6 * middle / found:.1f} | |")


def hubs(folder: Path, rounds: int) -> None:
    """CPU time of 512 seeds on one row against the number of its children."""
    print("\n| children of each seed | " + " | ".join(f"{degree:,}" for degree in DEGREES) + " |")
    print("|---" * (len(DEGREES) + 1) + "|")
    for ends in (False, True):
        graphs = [TemporalGraph.build(shop(folder, "hub", HUB, d, "until" if ends else None)) for d in DEGREES]
        for strategy in Sampling:
            cells = []
            for graph in graphs:
                sampler = Sampler(graph, (128,), strategy=strategy)
                spent = []
                for seeds in batches(graph, rounds + 1):
                    one = Seeds("users", seeds.row * 0, seeds.time, seeds.time)
                    spent.append(cpu_ms(lambda: sampler(one)))  # noqa: B023
                cells.append(f"{statistics.median(spent[1:]):.1f}")
            what = f"{strategy}{', half of the rows end' if ends else ''}, ms"
            print(f"| {what} | {' | '.join(cells)} |", flush=True)


def graph(folder: Path, events: int) -> None:
    """Seconds and memory of building and of opening a graph, each in a process of its own."""
    made = folder / f"shop-{events}" / "snapshot"
    shop(folder, "shop", SHOP, events)
    for file in made.glob("links-*/*"):
        file.unlink()
    costs = {}
    for what in ("build", "open"):
        command = [sys.executable, __file__, "--measure", str(made)]
        costs[what] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    size = sum(file.stat().st_size for file in made.glob("links-*/*")) / 1e9
    built, opened = costs["build"], costs["open"]
    print(
        f"| {events:,} | {built['links']:,} | {built['wall']:.1f} s | {built['cpu']:.1f} s | {size:.2f} GB | "
        f"{1e3 * opened['wall']:.0f} ms | {built['anonymous']:.0f} MB | {opened['anonymous']:.0f} MB | "
        f"{built['peak']:,.0f} MB | {opened['peak']:,.0f} MB |",
        flush=True,
    )


def measured(made: Path) -> dict[str, float]:
    """What building or opening the graph in this process costs; what it imports is loaded before. ``anonymous`` is the
    most memory beyond what it began with that is no page of a file, ``peak`` the most that it had in all, with pages of
    files and Python itself."""
    from threading import Event, Thread

    snapshot = open_snapshot(made)
    before, over = resident(), Event()
    most = [before]

    def watch() -> None:
        while not over.wait(0.01):
            most[0] = max(most[0], resident())

    watching = Thread(target=watch, daemon=True)
    watching.start()
    started, spent = time.perf_counter(), time.process_time()
    links = sum(len(link.children) for link in TemporalGraph.build(snapshot).links.values())
    cost = {"wall": time.perf_counter() - started, "cpu": time.process_time() - spent, "links": links}
    over.set()
    watching.join()
    return {**cost, "anonymous": max(most[0], resident()) - before, "peak": resident("VmHWM")}


def resident(what: str = "RssAnon") -> float:
    """MB of this process's memory: what is no page of a file, or as ``what`` names it in Linux's status of it."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="*", default=[2_000_000, 20_000_000])
    parser.add_argument("--largest", type=int, default=100_000_000, help="Events of the largest graph; 0 for none.")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "rdl-sampling")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        print(json.dumps(measured(options.measure)))
        return
    print("| events | links | built, wall | built, CPU | size | opened | built in | opened in | peaks: build | open |")
    print("|---" * 10 + "|")
    for events in (*options.events, *([options.largest] if options.largest else [])):
        graph(options.folder, events)
    sample(options.folder, options.events, options.rounds)
    hubs(options.folder, options.rounds)


if __name__ == "__main__":
    main()
