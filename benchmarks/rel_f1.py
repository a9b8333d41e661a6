"""Accuracy on rel-f1 in both regimes: mean ± standard deviation over seeds, beside LightGBM on window aggregates.

python benchmarks/rel_f1.py [--data ../shared/data/rel-f1] [--seeds 3] [--regimes frozen,seed-time]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import rdl
from rdl.metrics import headline

TASKS = ("driver-position", "driver-dnf", "driver-top3")


def measure(db: rdl.pipeline.Database, name: str, regime: str, seeds: int) -> str:
    """One line of the table."""
    task = db.task(name)
    metric, _ = headline(task.kind)
    runs = [task.fit(regime=regime, seed=seed, baselines=seed == 0) for seed in range(seeds)]
    cells = [f"{name}, {regime}", metric]
    for split in ("val", "test"):
        found = np.array([run.metrics[split][metric] for run in runs])
        cells.append(f"{found.mean():.4f} ± {found.std():.4f}")
    cells.append(f"{runs[0].baselines['LightGBM']['test'][metric]:.4f}")
    cells.append(f"{np.mean([run.seconds['training'] for run in runs]):.0f} s")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "rel-f1")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--regimes", default="frozen,seed-time")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"rel-f1 is not there: {options.data}")
        return
    db = rdl.connect(f"relbench:{options.data}")
    print("| task, regime | metric | val | test | LightGBM, test | training |\n|---|---|---|---|---|---|")
    for regime in options.regimes.split(","):
        for name in TASKS:
            print(measure(db, name, regime, options.seeds), flush=True)


if __name__ == "__main__":
    main()
