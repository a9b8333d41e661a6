"""What inference finds again of the keys that real databases declare, once all of them are taken away, and what it
costs on many rows.

python benchmarks/inference.py [--data ../shared/data] [--list] [URL …]

Further URLs, as of servers with the dumps, are measured like the databases of the folder.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from rdl.database import open_reader
from rdl.database.types import STYPES
from rdl.infer import apply, propose
from rdl.schema import Relation, Schema, Table

FILES = ("f1", "worldcup", "ml_100k", "mind_5k", "beauty", "dumps/sqlite/northwind", "dumps/sqlite/Chinook_Sqlite")

LARGE = """
import time
from rdl.database import open_reader
from rdl.infer import propose
reader = open_reader("duckdb:///{path}")
schema = reader.reflect()
started = time.perf_counter()
proposals = propose(reader, schema)
print(time.perf_counter() - started)
print(*(proposal.what for proposal in proposals if proposal.kind != "stype"), sep="\\n")
"""

TABLES = """
CREATE TABLE users AS SELECT range AS id, 'user ' || range AS name, range % 97 AS level,
    TIMESTAMP '2015-01-01' + range * INTERVAL 500 SECOND AS signup_at FROM range({rows} // 50);
CREATE TABLE events AS SELECT range AS event_id, hash(range) % ({rows} // 50) AS user_id,
    (hash(range + 1) % 100000) / 100 AS amount, 'kind ' || (hash(range + 2) % 20) AS kind,
    TIMESTAMP '2020-01-01' + range * INTERVAL 5 SECOND AS created_at,
    CASE WHEN range < {rows} - 5000 THEN TIMESTAMP '2020-01-01' + (range + hash(range) % 10000) * INTERVAL 5 SECOND END
        AS closed_at,
    CASE WHEN range < {rows} - 5000 THEN 'closed' ELSE 'open' END AS status FROM range({rows});
"""


@dataclass(frozen=True, slots=True)
class Score:
    """How many were declared, how many of those found, and how many found that were not declared. Of the declared
    keys that were not found, ``narrower`` were found with fewer columns, as these are unique already."""

    declared: int
    found: int
    wrong: int
    narrower: int = 0

    def __add__(self, other: Score) -> Score:
        narrower = self.narrower + other.narrower
        return Score(self.declared + other.declared, self.found + other.found, self.wrong + other.wrong, narrower)

    def __str__(self) -> str:
        recall = f"{self.found} of {self.declared}" + (f" + {self.narrower} narrower" if self.narrower else "")
        right = self.found + self.narrower
        return f"{recall} | {right / max(right + self.wrong, 1):.3f}"


def without_keys(schema: Schema) -> Schema:
    """``schema`` as it would be reflected had no one declared a key."""

    def bare(table: Table) -> Table:
        columns = tuple(replace(column, stype=STYPES[column.dtype], nullable=True) for column in table.columns)
        return replace(table, columns=columns, primary_key=())

    return Schema({name: bare(table) for name, table in schema.tables.items()})


def score(url: str, *, listed: bool) -> tuple[Score, Score, int]:
    """Primary keys and relations found again, and suggestions that are declared relations."""
    reader = open_reader(url)
    declared = reader.reflect()
    bare = without_keys(declared)
    proposals = propose(reader, bare)
    found = apply(bare, proposals)
    reader.close()
    keys = {name: table.primary_key for name, table in declared.tables.items() if table.primary_key}
    proposed = {name: table.primary_key for name, table in found.tables.items() if table.primary_key}
    right = sum(set(proposed.get(name, ())) == set(key) for name, key in keys.items())
    narrower = sum(set(proposed.get(name, key)) < set(key) for name, key in keys.items())
    wrong = {name: key for name, key in proposed.items() if not set(key) <= set(keys.get(name, ()))}
    one, other = set(map(_pairs, declared.relations)), set(map(_pairs, found.relations))
    suggested = {_pairs(proposal.value) for proposal in proposals if isinstance(proposal.value, Relation)} - other
    if listed:
        for name, key in keys.items():
            if set(proposed.get(name, ())) != set(key):
                print(f"  key: {name} {'+'.join(key)}, found {'+'.join(proposed.get(name, ())) or 'none'}")
        for name in wrong.keys() - keys.keys():
            print(f"  key: {name} has none, found {'+'.join(wrong[name])}")
        for kind, those in (("missed", one - other), ("wrong", other - one)):
            for entry in sorted(those):
                print(f"  {kind}: {entry}{' (suggested)' if entry in suggested else ''}")
    return (
        Score(len(keys), right, len(wrong), narrower),
        Score(len(one), len(one & other), len(other - one)),
        len(suggested & (one - other)),
    )


def _pairs(relation: Relation) -> str:
    """A relation as text that does not depend on the order of its columns."""
    pairs = sorted(zip(relation.key, relation.referred, strict=True))
    key, referred = zip(*pairs, strict=True)
    return str(replace(relation, key=key, referred=referred))


def large(rows: int) -> None:
    """Seconds and memory of ``propose`` on a generated table of ``rows`` events, in a process of its own."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/large.duckdb"
        with duckdb.connect(path) as connection:
            connection.execute(TABLES.format(rows=rows))
        command = [sys.executable, "-c", LARGE.format(path=path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    print(f"\n{rows:,} events of {rows // 50:,} users: {float(done.stdout.split()[0]):.1f} s, {peak:.0f} MB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("urls", nargs="*", metavar="URL", help="further databases with declared keys")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--list", action="store_true", help="say which keys were missed and which are wrong")
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the large table; 0: leave it out")
    options = parser.parse_args()
    urls = [f"sqlite:///{options.data / name}.sqlite" for name in FILES] if options.data.is_dir() else []
    if not urls:
        print(f"the real databases are not there: {options.data}")
    print("| database | primary keys | precision | relations | precision | suggested only | propose |")
    print("|---|---|---|---|---|---|---|")
    every_key = every_relation = Score(0, 0, 0)
    for url in [*urls, *options.urls]:
        started = time.perf_counter()
        keys, relations, suggested = score(url, listed=options.list)
        seconds = time.perf_counter() - started
        every_key, every_relation = every_key + keys, every_relation + relations
        name = url.rsplit("/", 1)[-1].removesuffix(".sqlite")
        print(f"| {name} | {keys} | {relations} | {suggested} | {seconds:.1f} s |", flush=True)
    print(f"| all | {every_key} | {every_relation} | | |")
    if options.rows:
        large(options.rows)


if __name__ == "__main__":
    main()
