"""``rdl demo``: the whole road on the sample shop, from an empty folder to scores in the database."""

from __future__ import annotations

import os
import time
from pathlib import Path

from rdl.blending import figures_by_name
from rdl.display import console, figures_table
from rdl.errors import ConfigError
from rdl.pipeline import FittedRun, connect
from rdl.report import verdict
from rdl.shop import QUESTIONS, build_shop

QUESTION = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id WHERE COUNT(orders.*, -90, 0, days) > 0"


def run_demo(folder: Path, *, seed: int = 0, scale: float = 1.0) -> FittedRun:
    """Builds ``folder``/shop.duckdb, trains the churn model ``folder``/churn and writes ``churn_scores`` into the shop.

    Raises ConfigError where the shop or the run is there already.
    """
    database, run_folder = folder / "shop.duckdb", folder / "churn"
    for path in (database, run_folder):
        if path.exists():
            raise ConfigError(f"{path} exists already", hint="choose another --out, or remove it first.")
    started = time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}") from None
    build_shop(database, seed=seed, scale=scale)
    url = f"duckdb:///{database}"
    db = connect(url)
    rows = sum(db.snapshot.num_rows.values())
    console.print(f"[bold]A sample shop[/]: {len(db.schema.tables)} tables, {rows:,} rows in {database}")
    console.print(f"[bold]The question[/]: {QUESTION}", highlight=False)
    task = db.task(QUESTION)
    # A demonstration has the machine to itself, and three minutes.
    run = task.fit(out=run_folder, seed=seed, max_steps=800, threads=os.cpu_count() or 1)
    console.print(figures_table(task.kind, figures_by_name(run.run), run.run.config.regime))
    console.print(verdict(task.kind, run.metrics, run.baselines), highlight=False)
    scores = run.predict_arrow()
    db.write("churn_scores", scores, if_exists="replace", entity="users")
    top = scores.sort_by([("score", "descending")]).slice(0, 5).to_pandas()
    console.print(f"\n[bold]churn_scores[/] now holds {scores.num_rows:,} predictions; the users likeliest to leave:")
    console.print(top.to_string(index=False), highlight=False)
    console.print(f"\nDone in {time.perf_counter() - started:.0f} s. The whole story: {run_folder}/report.html")
    console.print("[bold]What to try next[/]")
    console.print(f"  rdl inspect {url}", highlight=False, markup=False)
    for title, query in QUESTIONS[1:4]:
        name = title.split()[0].strip(",:").lower()
        console.print(f"  # {title}", highlight=False, markup=False, style="dim")
        console.print(
            f'  rdl train "{query}" --db {url} --out {folder}/{name}', highlight=False, markup=False, soft_wrap=True
        )
    return run
