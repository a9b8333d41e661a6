"""Accuracy on rel-f1 in both regimes: mean ± standard deviation over seeds, beside LightGBM on window aggregates.

python benchmarks/rel-f1/run.py [--data ../shared/data/rel-f1] [--seeds 5] [--regimes seed-time,frozen] [--tasks …]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import rdl
from rdl.metrics import headline

TASKS = "driver-position,driver-dnf,driver-top3"


def measure(db: rdl.pipeline.Database, name: str, regime: str, seeds: int) -> str:
    """One line of the table: the figures of the models of each seed, and of the baseline."""
    task = db.task(name)
    metric, _ = headline(task.kind)
    runs = [task.fit(regime=regime, seed=seed, baselines=seed == 0, importance=False) for seed in range(seeds)]
    cells = [f"{name}, {regime}", metric]
    for split in ("val", "test"):
        found = np.array([run.metrics[split][metric] for run in runs])
        cells.append(f"{found.mean():.4f} ± {found.std():.4f}")
    cells += [f"{runs[0].baselines['LightGBM'][split][metric]:.4f}" for split in ("val", "test")]
    cells.append(f"{np.mean([run.seconds['training'] for run in runs]):.0f} s")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data" / "rel-f1")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--regimes", default="seed-time,frozen")
    parser.add_argument("--tasks", default=TASKS)
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"rel-f1 is not there: {options.data}")
        return
    db = rdl.connect(f"relbench:{options.data}")
    print("| task, regime | metric | val | test | LightGBM, val | LightGBM, test | training |")
    print("|---|---|---|---|---|---|---|")
    for regime in options.regimes.split(","):
        for name in options.tasks.split(","):
            print(measure(db, name, regime, options.seeds), flush=True)


if __name__ == "__main__":
    main()
