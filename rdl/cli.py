"""The command line: arguments, exit codes, and where the output goes. What it does stands in :mod:`rdl.pipeline`.

Exit codes: 0 done, 2 the user's input is wrong (a line or two on stderr say what and what to do), 1 a fault of rdl's.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rdl.errors import ConfigError, RdlError

app = typer.Typer(
    help="Relational deep learning on any database.", no_args_is_help=True, pretty_exceptions_enable=False
)

Url = Annotated[str, typer.Argument(metavar="URL", help="The database: sqlite:///file, duckdb:///file, folder:path, …")]
TaskText = Annotated[
    str, typer.Argument(metavar="TASK", help="A query in quotes, a .pql file, a RelBench task folder or name.")
]
Db = Annotated[str, typer.Option("--db", metavar="URL", help="The database.")]
SchemaFile = Annotated[
    Path | None, typer.Option("--schema", help="A schema file to merge (default: schemas/<database>.toml, if there).")
]
Names = Annotated[str | None, typer.Option(help="Only these tables, by comma.")]
Excluded = Annotated[str | None, typer.Option(help="Not these tables, by comma.")]
Views = Annotated[str | None, typer.Option(help="Also these views, by comma, as tables without keys.")]
Refresh = Annotated[
    bool,
    typer.Option(
        "--refresh",
        help="Take only rows newer than the last time, from the tables that were only appended to; a row that was "
        "changed in place and is older stays as it was.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing on the way.")]
RegimeName = Annotated[str, typer.Option("--regime", help="seed-time or frozen.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as made by rdl train.")]
Override = Annotated[str | None, typer.Option("--db", metavar="URL", help="The database, where it has moved.")]


def _connect(
    url: str,
    schema: Path | None,
    tables: str | None = None,
    exclude: str | None = None,
    *,
    views: str | None,
    refresh: bool = False,
) -> Any:
    from rdl.pipeline import connect

    chosen = {"tables": _names(tables), "exclude": _names(exclude) or (), "views": _names(views) or ()}
    return connect(url, schema=schema, refresh=refresh, **chosen)  # type: ignore[arg-type]


def _extract(db: Any, *, quiet: bool) -> Any:
    """``db``, with progress shown while it is extracted."""
    from rdl.display import watcher

    with watcher(quiet=quiet) as watch:
        db.extract(watch)
    return db


def _load(run: Path, db: str | None, *, refresh: bool, quiet: bool) -> Any:
    """The saved run on its database, extracted."""
    from rdl.display import watcher
    from rdl.pipeline import load

    with watcher(quiet=quiet) as watch:
        return load(run, url=db, refresh=refresh, watch=watch)


def _names(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text else None


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(_finite(value), ensure_ascii=False, default=str))


def _finite(value: Any) -> Any:
    """``value`` with NaN and infinities as null, which JSON has no words for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _say(text: object, *, style: str | None = None) -> None:
    from rdl.display import console

    console.print(text, style=style, highlight=False, soft_wrap=True)


@app.command()
def inspect(
    url: Url,
    schema: SchemaFile = None,
    html: Annotated[Path | None, typer.Option(help="Also write the inspection as a page with an ER diagram.")] = None,
    tables: Names = None,
    exclude: Excluded = None,
    views: Views = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Tables, keys, relations, times and types: declared and inferred, with what looks wrong."""
    found = _extract(
        _connect(url, schema, tables, exclude, views=views, refresh=refresh), quiet=quiet or as_json
    ).inspect()
    if html is not None:
        _write_text(html, found.to_html())
    if as_json:
        _print_json(found.to_json())
    else:
        from rich.console import Console

        Console().print(found)


@app.command()
def schema(
    url: Url,
    out: Annotated[Path | None, typer.Option(help="Write it to this file instead of stdout.")] = None,
    tables: Names = None,
    exclude: Excluded = None,
    views: Views = None,
) -> None:
    """What reflection cannot know, proposed as an editable TOML."""
    from rdl import infer, schema_file

    if out is not None and out.exists():
        raise ConfigError(f"{out} exists, and may have been edited", hint="give another name, or delete it first.")
    db = _connect(url, None, tables, exclude, views=views)
    evidence = {proposal.subject: proposal.evidence for proposal in db.proposals if not proposal.suggested}
    text = schema_file.write(db.schema, db.declared, evidence, infer.suggestions(db.schema, db.proposals))
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write_text(out, text)


@app.command()
def plan(
    task: TaskText,
    db: Db,
    schema: SchemaFile = None,
    html: Annotated[Path | None, typer.Option(help="Also write the plan as a page, with its pictures.")] = None,
    views: Views = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """What a question means, without training: windows, rows and balance by split, warnings, SQL."""
    found = _extract(_connect(db, schema, views=views, refresh=refresh), quiet=quiet or as_json).task(task).plan()
    if html is not None:
        _write_text(html, found.to_html())
    if as_json:
        _print_json(found.to_json())
    else:
        from rich.console import Console

        Console(highlight=False).print(found, crop=False)


@app.command()
def labels(
    task: TaskText,
    db: Db,
    out: Annotated[Path, typer.Option(help="The folder for train.parquet, val.parquet and test.parquet.")],
    schema: SchemaFile = None,
    views: Views = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The labels of a task as Parquet files: the entity's own key, time and label."""
    from rdl.folders import NewFolder
    from rdl.query import Split

    bound = _extract(_connect(db, schema, views=views, refresh=refresh), quiet=quiet or as_json).task(task)
    counts = {}
    with NewFolder(out) as folder:
        for split in Split:
            frame = bound.table(split)
            counts[split.value] = len(frame)
            frame.to_parquet(folder / f"{split.value}.parquet")
    if as_json:
        _print_json({"rows": counts, "out": str(out)})
    else:
        _say(f"{out}: {', '.join(f'{name} {count:,}' for name, count in counts.items())} rows")


@app.command()
def train(
    task: TaskText,
    db: Db,
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    schema: SchemaFile = None,
    regime: RegimeName = "seed-time",
    model: Annotated[str, typer.Option(help="The model: sage.")] = "sage",
    seed: Annotated[int, typer.Option(help="The seed of every random number.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    time_budget: Annotated[float | None, typer.Option(help="Minutes of training, at most.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on where an interrupted run stopped.")] = False,
    views: Views = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Trains a model, keeps the best by validation, and reports it beside the baselines."""
    from rdl.display import figures_table, watcher
    from rdl.report import verdict
    from rdl.run import peak_rss_mb

    if model != "sage":
        raise ConfigError(f"there is no model {model!r}", hint="there is sage.")
    bound = _connect(db, schema, views=views, refresh=refresh).task(task)
    try:
        run = bound.fit(
            out=out, resume=resume, watch=watcher(quiet=quiet or as_json),
            regime=regime, seed=seed, device=device, time_budget_min=time_budget,
        )  # fmt: skip
    except KeyboardInterrupt:
        _say(f"Interrupted. Go on with the same command and --resume; {out} was not made.")
        raise typer.Exit(130) from None
    if as_json:
        _print_json(
            {
                "task": bound.definition.source,
                "kind": bound.kind,
                "regime": regime,
                "metrics": run.metrics,
                "baselines": run.baselines,
                "seconds": run.seconds,
                "peak_rss_mb": peak_rss_mb(),
                "run": str(out),
            }
        )
    elif not quiet:
        _say(f"{bound.kind} for each {bound.definition.entity}, regime {regime}")
        _say(figures_table(bound.kind, {"model": run.metrics, **run.baselines}))
        _say(verdict(bound.kind, run.metrics, run.baselines))
        _say(f"{run.seconds['total']:.0f} s; {out}/report.html shows more.")


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
    _check_split(split)
    found = _load(run, db, refresh=refresh, quiet=quiet or as_json)
    if found.data_changed:
        _say("The data are not those the run was trained on: figures may differ.", style="yellow")
    figures = found.evaluate(split)
    if as_json:
        _print_json({"split": split, "regime": found.run.config.regime, "metrics": figures})
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
        _check_split(split)
    if if_exists not in ("fail", "append", "replace"):
        raise ConfigError(f"--if-exists {if_exists!r}", hint="use fail, append or replace.")
    if to is not None and Path(to).suffix not in SUFFIXES and (Path(to).suffix or os.sep in to):
        raise ConfigError(f"cannot write {to!r}", hint="give a .parquet or .csv file, or the plain name of a table.")
    found = _load(run, db, refresh=refresh, quiet=quiet or as_json)
    keys: Any = _names(entities)
    if entities is not None and Path(entities).suffix in SUFFIXES:
        keys = read_file(entities)
    rows = found.predict_arrow(split=split, at=at, entities=keys)
    if keys is not None and rows.num_rows < len(keys):
        _say(f"{len(keys) - rows.num_rows} of {len(keys)} entities are not eligible then: they have no prediction.")
    if to is None:
        typer.echo(json.dumps(rows.to_pylist(), default=str) if as_json else rows.to_pandas().to_string(index=False))
        return
    if Path(to).suffix in SUFFIXES:
        write_file(Path(to), rows, if_exists=if_exists)  # type: ignore[arg-type]
    else:
        found.task.db.write(to, rows, if_exists=if_exists, entity=found.task.definition.entity)
    if as_json:
        _print_json({"rows": rows.num_rows, "to": to})
    else:
        _say(f"{rows.num_rows:,} predictions in {to}")


@app.command()
def baselines(
    task: TaskText,
    db: Db,
    schema: SchemaFile = None,
    regime: RegimeName = "seed-time",
    seed: Annotated[int, typer.Option(help="LightGBM's seed.")] = 0,
    views: Views = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The baselines alone: a constant, the entity's past label, LightGBM on window aggregates."""
    from rdl.display import figures_table

    bound = _extract(_connect(db, schema, views=views, refresh=refresh), quiet=quiet or as_json).task(task)
    found = bound.baselines(regime=regime, seed=seed)
    if as_json:
        _print_json({"kind": bound.kind, "regime": regime, "baselines": found})
    else:
        _say(figures_table(bound.kind, found))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder for the shop's database and the run.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="The seed of the shop and the model.")] = 0,
    scale: Annotated[float, typer.Option(help="The size of the shop; 1 is some 200,000 rows.")] = 1.0,
) -> None:
    """Builds a sample shop, trains a churn model on it, writes the scores back, and shows what to try next."""
    from rdl.demo import run_demo

    run_demo(out, seed=seed, scale=scale)


def _check_split(split: str) -> None:
    if split not in ("train", "val", "test"):
        raise ConfigError(f"unknown split {split!r}", hint="use train, val or test.")


def _write_text(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def main() -> None:
    """Runs the command line and exits."""
    try:
        app()
    except RdlError as error:
        sys.stderr.write(f"rdl: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("rdl: interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


if __name__ == "__main__":
    main()
