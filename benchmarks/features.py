"""Columns to tensors: rdl's statistics and packing against PyTorch Frame's materialize, and texts to vectors against
scikit-learn's HashingVectorizer. CPU seconds of one process, one thread, measured in turns.

python benchmarks/features.py [--rows 2700000] [--texts 200000] [--rounds 2]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pyarrow as pa

from rdl import features
from rdl.embedders import HASHING, HashingEmbedder
from rdl.schema import Column, Dtype, Schema, Stype, Table, TimePath
from rdl.snapshot import Snapshot

LETTERS = list("abcdefghijklmnopqrstuvwxyz")


def columns(rows: int) -> tuple[pa.Table, dict[str, Stype]]:
    """Ten columns: four of numbers, one of them with NULLs, four of categories of 4 to 100,000 values, two of times."""
    rng = np.random.default_rng(0)
    day_us = 86_400_000_000
    at = np.sort(rng.integers(0, 3650 * day_us, rows))

    def words(count: int) -> pa.Array:
        chosen = np.minimum(rng.pareto(0.7, rows).astype(np.int64), count - 1)
        return pa.array([f"word {n}" for n in range(count)]).take(pa.array(chosen))

    table = pa.table(
        {
            "amount": pa.array(np.exp(rng.normal(size=rows))),
            "score": pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.1),
            "count": pa.array(rng.poisson(3, rows)),
            "price": pa.array(rng.random(rows).astype(np.float32)),
            "kind": words(4),
            "city": words(1_000),
            "product": words(100_000),
            "code": pa.array(rng.integers(0, 50, rows)),
            "at": pa.array(at).cast(pa.timestamp("us")),
            "due": pa.array(at + rng.integers(0, 30 * day_us, rows)).cast(pa.timestamp("us")),
        }
    )
    meanings = [Stype.numerical] * 4 + [Stype.categorical] * 4 + [Stype.timestamp] * 2
    return table, dict(zip(table.column_names, meanings, strict=True))


class Tables:
    """One table in memory where a snapshot is asked for: reading the disk is not measured."""

    def __init__(self, table: pa.Table, meanings: dict[str, Stype]) -> None:
        described = tuple(Column(name, Dtype.unknown, stype) for name, stype in meanings.items())
        self.schema = Schema({"t": Table("t", described, (), TimePath("at"))})
        self.arrow = lambda _: table
        self.time = lambda _: table["at"].cast(pa.int64()).to_numpy()


def rdl_fits(source: Snapshot) -> object:
    return features.fit(source, 3000 * 86_400_000_000)


def texts(count: int) -> pa.Array:
    """Twelve words each, rare ones rare."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(LETTERS, rng.integers(2, 10))) for _ in range(20_000)])
    chosen = np.minimum((rng.pareto(1, (count, 12)) * 50).astype(np.int64), len(words) - 1)
    return pa.array([" ".join(row) for row in words[chosen]])


def turns(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median CPU seconds of each work."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            started = time.process_time()
            work()
            spent[name].append(time.process_time() - started)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_700_000)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    import torch
    import torch_frame
    from sklearn.feature_extraction.text import HashingVectorizer

    torch.set_num_threads(1)
    table, meanings = columns(options.rows)
    source: Snapshot = Tables(table, meanings)  # type: ignore[assignment]
    fitted, frame = rdl_fits(source), table.to_pandas()
    assert len(fitted["t"].stats_list()) == 10  # type: ignore[index]
    kinds = {name: torch_frame.stype(stype.value) for name, stype in meanings.items()}
    taken = torch.from_numpy(np.random.default_rng(0).integers(0, options.rows, 100_000))
    packed = features.pack(source, fitted)["t"]  # type: ignore[arg-type]
    spent = turns(
        {
            "rdl: statistics at a cut": lambda: rdl_fits(source),
            "rdl: packing": lambda: features.pack(source, fitted),  # type: ignore[arg-type]
            "PyTorch Frame: materialize, statistics and tensors": lambda: torch_frame.data.Dataset(
                frame, kinds
            ).materialize(),
        },
        options.rounds,
    )
    frames = turns({"rdl: a TensorFrame of packed rows": lambda: packed.frame(taken)}, 9)
    both = spent["rdl: statistics at a cut"] + spent["rdl: packing"]
    size = sum(t.nbytes for t in (packed.numbers, packed.codes, packed.times, packed.known_at))
    print(
        f"| {options.rows:,} rows of 10 columns, {table.nbytes / 1e6:.0f} MB as Arrow | CPU s | rows/s |\n|---|---|---|"
    )
    for name, seconds in spent.items():
        print(f"| {name} | {seconds:.2f} | {options.rows / seconds:,.0f} |")
    print(f"| rdl, both; packed: {size / 1e6:.0f} MB | {both:.2f} | {options.rows / both:,.0f} |")
    for name, seconds in frames.items():
        print(f"| {name} | {seconds:.3f} | {len(taken) / seconds:,.0f} |")
    written = texts(options.texts)
    lists, wide = written.to_pylist(), HashingEmbedder(256)

    def peer(**options_: object) -> Callable[[], object]:
        return lambda: HashingVectorizer(n_features=64, dtype=np.float32, **options_).transform(lists).toarray()

    spent = turns(
        {
            "rdl: words and pieces, 64 channels": lambda: HASHING.embed(written),
            "rdl: the same, 256 channels": lambda: wide.embed(written),
            "scikit-learn: words": peer(),
            "scikit-learn: words and pairs of them": peer(ngram_range=(1, 2)),
            "scikit-learn: pieces of four letters": peer(analyzer="char_wb", ngram_range=(4, 4)),
        },
        options.rounds,
    )
    letters = np.mean([len(text) for text in lists])
    print(f"\n| {options.texts:,} texts of {letters:.0f} letters | CPU s | texts/s |\n|---|---|---|")
    for name, seconds in spent.items():
        print(f"| {name} | {seconds:.2f} | {options.texts / seconds:,.0f} |")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(Path(folder))
        main()
