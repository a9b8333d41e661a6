"""Commands that train, judge and predict."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from rdl.cli.options import (
    Db,
    DeviceName,
    Json,
    LossName,
    Override,
    Parameters,
    Quantiles,
    Quiet,
    Refresh,
    RegimeName,
    RunFolder,
    SchemaFile,
    Settings,
    TaskText,
    Views,
    WeightsName,
    ask,
    check_split,
    connect,
    load,
    names,
    numbers,
    parameters,
    print_json,
    say,
    say_figures,
    settings_of,
)
from rdl.errors import ConfigError

app = typer.Typer()


@app.command()
def train(
    task: TaskText,
    db: Db,
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    param: Parameters = None,
    schema: SchemaFile = None,
    regime: RegimeName = "seed-time",
    model: Annotated[str, typer.Option(help="sage, attention, relgnn or transformer.")] = "sage",
    sampling: Annotated[str, typer.Option(help="recent or uniform: which of many children are sampled.")] = "recent",
    text_embedder: Annotated[
        str, typer.Option(help="What reads texts: hashing, model2vec:NAME or sentence-transformers:NAME.")
    ] = "hashing",
    seed: Annotated[int, typer.Option(help="The seed of every random number.")] = 0,
    loss: LossName = "l1",
    quantiles: Quantiles = None,
    class_weights: WeightsName = "none",
    ensemble: Annotated[int, typer.Option(help="So many models, of this seed and those after it, averaged.")] = 1,
    device: DeviceName = "auto",
    devices: Annotated[int, typer.Option(help="Processes that share each batch: one a GPU, or on the CPU.")] = 1,
    precision: Annotated[str, typer.Option(help="Of training steps: 32-true, bf16-mixed or 16-mixed.")] = "32-true",
    settings: Settings = None,
    time_budget: Annotated[
        float | None,
        typer.Option(help="Minutes of training, at most; reading the data, evaluation and baselines come on top."),
    ] = None,
    importance: Annotated[
        bool, typer.Option(help="Measure, in some 15 s, what the model reads: columns, relations, aggregates.")
    ] = True,
    resume: Annotated[bool, typer.Option(help="Go on where an interrupted run stopped.")] = False,
    views: Views = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Trains a model, keeps the best by validation, and reports it beside the baselines."""
    from rdl.answers import unseen
    from rdl.display import watcher
    from rdl.machine import peak_rss_mb

    bound = connect(db, schema, views=views, refresh=refresh).task(task, parameters=parameters(param))
    try:
        run = bound.fit(
            out=out, resume=resume, watch=watcher(quiet=quiet or as_json),
            importance=importance,
            **settings_of(
                settings, regime=regime, model=model, sampling=sampling, text_embedder=text_embedder, seed=seed,
                loss=loss, quantiles=numbers(quantiles), class_weights=class_weights, ensemble=ensemble, device=device,
                devices=devices, precision=precision, time_budget_min=time_budget,
            ),
        )  # fmt: skip
    except KeyboardInterrupt:
        say(f"Interrupted. Go on with the same command and --resume; {out} was not made.")
        raise typer.Exit(130) from None
    if as_json:
        print_json(
            {
                "task": bound.definition.source,
                "kind": bound.kind,
                "regime": regime,
                "metrics": run.metrics,
                "baselines": run.baselines,
                "blend": run.blend and asdict(run.blend),
                "seconds": run.seconds,
                "peak_rss_mb": peak_rss_mb(),
                "run": str(out),
            }
        )
    elif not quiet:
        say(f"{bound.kind} for each {bound.definition.entity}, regime {regime}")
        say_figures(run, regime)
        for line in unseen(bound.labels):
            say(line)
        say(f"{run.seconds['total']:.0f} s; {out}/report.html shows more.")


@app.command()
def evaluate(
    run: RunFolder,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    db: Override = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The figures of a saved run, computed anew."""
    check_split(split)
    found = load(run, db, refresh=refresh, quiet=quiet or as_json)
    if found.data_changed:
        say("The data are not those the run was trained on: figures may differ.", style="yellow")
    figures = found.evaluate(split)
    if as_json:
        print_json({"split": split, "regime": found.run.config.regime, "metrics": figures})
    else:
        typer.echo(f"{split}, regime {found.run.config.regime}")
        for name, value in figures.items():
            typer.echo(f"{name:20} {value:.6f}")


@app.command()
def predict(
    run: RunFolder,
    split: Annotated[str | None, typer.Option(help="Predict for the seeds of this split.")] = None,
    at: Annotated[str | None, typer.Option(help="Predict as of this time (default: the newest in the data).")] = None,
    entities: Annotated[str | None, typer.Option(help="Keys by comma, or a Parquet or CSV file of them.")] = None,
    to: Annotated[str | None, typer.Option(help="A table of the database, or a .parquet or .csv file.")] = None,
    if_exists: Annotated[str, typer.Option(help="fail, append or replace.")] = "fail",
    db: Override = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Predictions for eligible entities, into a table of the same database or a file."""
    from rdl.database.files import SUFFIXES, read_file, write_file

    if split is not None:
        check_split(split)
    if if_exists not in ("fail", "append", "replace"):
        raise ConfigError(f"--if-exists {if_exists!r}", hint="use fail, append or replace.")
    if to is not None and Path(to).suffix not in SUFFIXES and (Path(to).suffix or os.sep in to):
        raise ConfigError(f"cannot write {to!r}", hint="give a .parquet or .csv file, or the plain name of a table.")
    found = load(run, db, refresh=refresh, quiet=quiet or as_json)
    keys: Any = names(entities)
    if entities is not None and Path(entities).suffix in SUFFIXES:
        keys = read_file(entities)
    rows = found.predict_arrow(split=split, at=at, entities=keys)
    if keys is not None and rows.num_rows < len(keys):
        say(f"{len(keys) - rows.num_rows} of {len(keys)} entities are not eligible then: they have no prediction.")
    if to is None:
        typer.echo(json.dumps(rows.to_pylist(), default=str) if as_json else rows.to_pandas().to_string(index=False))
        return
    if Path(to).suffix in SUFFIXES:
        write_file(Path(to), rows, if_exists=if_exists)  # type: ignore[arg-type]
    else:
        found.task.db.write(to, rows, if_exists=if_exists, entity=found.task.definition.entity)
    if as_json:
        print_json({"rows": rows.num_rows, "to": to})
    else:
        say(f"{rows.num_rows:,} predictions in {to}")


@app.command()
def baselines(
    task: TaskText,
    db: Db,
    param: Parameters = None,
    schema: SchemaFile = None,
    regime: RegimeName = "seed-time",
    seed: Annotated[int, typer.Option(help="LightGBM's seed.")] = 0,
    loss: LossName = "l1",
    quantiles: Quantiles = None,
    views: Views = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The baselines alone: a constant, the entity's past label, LightGBM on window aggregates."""
    from rdl.display import figures_table

    bound = ask(task, db, param, schema, views=views, refresh=refresh, quiet=quiet or as_json)
    found = bound.baselines(regime=regime, seed=seed, loss=loss, quantiles=numbers(quantiles))
    if as_json:
        print_json({"kind": bound.kind, "regime": regime, "baselines": found})
    else:
        say(figures_table(bound.kind, found, regime))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder for the shop's database and the run.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="The seed of the shop and the model.")] = 0,
    scale: Annotated[float, typer.Option(help="The size of the shop; 1 is some 200,000 rows.")] = 1.0,
) -> None:
    """Builds a sample shop, trains a churn model on it, writes the scores back, and shows what to try next."""
    from rdl.demo import run_demo

    run_demo(out, seed=seed, scale=scale)
