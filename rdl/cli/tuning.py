"""The command that searches for the best settings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rdl.cli.options import (
    Db,
    DeviceName,
    Json,
    LossName,
    Parameters,
    Quantiles,
    Quiet,
    Refresh,
    RegimeName,
    SchemaFile,
    Settings,
    TaskText,
    Views,
    WeightsName,
    connect,
    numbers,
    parameters,
    print_json,
    say,
    say_figures,
    settings_of,
)

app = typer.Typer()


@app.command()
def tune(
    task: TaskText,
    db: Db,
    out: Annotated[Path, typer.Option(help="The run folder to make: the best trial's.")],
    trials: Annotated[int | None, typer.Option(help="So many trials, at most.")] = None,
    time_budget: Annotated[
        float | None,
        typer.Option(help="Minutes of trials, at most; reading the data, evaluation and baselines come on top."),
    ] = None,
    param: Parameters = None,
    schema: SchemaFile = None,
    regime: RegimeName = "seed-time",
    seed: Annotated[int, typer.Option(help="The seed of every random number.")] = 0,
    loss: LossName = "l1",
    quantiles: Quantiles = None,
    class_weights: WeightsName = "none",
    device: DeviceName = "auto",
    settings: Settings = None,
    resume: Annotated[bool, typer.Option(help="Go on where an interrupted search stopped.")] = False,
    views: Views = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Searches for better settings on validation, from the recipe on; what --set fixes is not searched over."""
    from rdl.display import trials_table, watcher
    from rdl.tuning_page import said

    bound = connect(db, schema, views=views, refresh=refresh).task(task, parameters=parameters(param))
    try:
        found = bound.tune(
            out=out, trials=trials, time_budget_min=time_budget, resume=resume, watch=watcher(quiet=quiet or as_json),
            **settings_of(
                settings, regime=regime, seed=seed, loss=loss, quantiles=numbers(quantiles),
                class_weights=class_weights, device=device,
            ),
        )  # fmt: skip
    except KeyboardInterrupt:
        say(f"Interrupted. Go on with the same command and --resume; {out} was not made.")
        raise typer.Exit(130) from None
    if as_json:
        print_json(
            {
                "task": bound.definition.source,
                "regime": regime,
                "trials": [asdict(one) for one in found.tuned.trials],
                "best": asdict(found.tuned.best),
                "importance": found.tuned.importance,
                "metrics": found.metrics,
                "baselines": found.baselines,
                "run": str(out),
            }
        )
    elif not quiet:
        say(trials_table(found.tuned))
        say(said(found.tuned))
        say_figures(found, regime)
        say(f"{out}/tuning.html and {out}/report.html show more.")
