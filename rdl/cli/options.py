"""The options that commands share, and what reads them and prints: JSON on stdout, words for people on stderr."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rdl.errors import ConfigError

if TYPE_CHECKING:
    from rdl.pipeline import FittedRun

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
LossName = Annotated[str, typer.Option("--loss", help="What is made small where labels are numbers: l1, l2 or huber.")]
Quantiles = Annotated[
    str | None, typer.Option(help="Quantiles that a regression predicts too, in pairs: 0.1,0.9 is an interval.")
]
WeightsName = Annotated[
    str, typer.Option("--class-weights", help="none, or balanced: rare classes count as much as others in training.")
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as made by rdl train.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--param", metavar="NAME=VALUE", help="The value of :NAME in the query: JSON (5, true, [1, 2]), or else text."
    ),
]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Any other setting of a run, such as channels=128 or fanouts=[64,8]."
    ),
]
Override = Annotated[str | None, typer.Option("--db", metavar="URL", help="The database, where it has moved.")]


def connect(
    url: str,
    schema: Path | None,
    tables: str | None = None,
    exclude: str | None = None,
    *,
    views: str | None,
    refresh: bool = False,
) -> Any:
    """The database at ``url``; lists of names come by comma."""
    from rdl import pipeline

    chosen = {"tables": names(tables), "exclude": names(exclude) or (), "views": names(views) or ()}
    return pipeline.connect(url, schema=schema, refresh=refresh, **chosen)  # type: ignore[arg-type]


def extract(db: Any, *, quiet: bool) -> Any:
    """``db``, with progress shown while it is extracted."""
    from rdl.display import watcher

    with watcher(quiet=quiet) as watch:
        db.extract(watch)
    return db


def ask(
    task: str,
    db: str,
    param: Sequence[str] | None,
    schema: Path | None,
    *,
    views: str | None,
    refresh: bool,
    quiet: bool,
) -> Any:
    """The question ``task`` on the database at ``db``, which is extracted once the question has been understood."""
    values = parameters(param)
    bound = connect(db, schema, views=views, refresh=refresh).task(task, parameters=values)
    extract(bound.db, quiet=quiet)
    return bound


def load(run: Path, db: str | None, *, refresh: bool, quiet: bool) -> Any:
    """The saved run on its database, extracted."""
    from rdl import loading
    from rdl.display import watcher

    with watcher(quiet=quiet) as watch:
        return loading.load(run, url=db, refresh=refresh, watch=watch)


def parameters(given: Sequence[str] | None) -> dict[str, object]:
    """The values of the query's parameters by name. Raises ConfigError where one is not NAME=VALUE, or given twice."""
    values: dict[str, object] = {}
    for pair in given or ():
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"--param {pair!r}", hint="write --param NAME=VALUE, such as --param days=30.")
        if name in values:
            raise ConfigError(f"--param {name} is given twice", hint="a list is written as JSON: [1, 2].")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def settings_of(given: Sequence[str] | None, **named: object) -> dict[str, object]:
    """The settings of a run: those that have an option of their own, and those given as NAME=VALUE. Raises ConfigError
    where one is given twice, or is not NAME=VALUE."""
    others: dict[str, object] = {}
    for pair in given or ():
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"--set {pair!r}", hint="write --set NAME=VALUE, such as --set channels=128.")
        if name in named or name in others:
            own = f"--{name.replace('_', '-').removesuffix('-min')}"
            raise ConfigError(f"--set {name}", hint=f"give {own}." if name in named else "give it once.")
        try:
            others[name] = json.loads(text)
        except ValueError:
            others[name] = text
    return {**named, **others}


def names(text: str | None) -> list[str] | None:
    """The names in a list by comma; None where there is none."""
    return [part.strip() for part in text.split(",") if part.strip()] if text else None


def numbers(text: str | None) -> tuple[float, ...]:
    """The numbers in a list by comma; none where there is none. Raises ConfigError."""
    try:
        return tuple(float(part) for part in names(text) or ())
    except ValueError:
        raise ConfigError(f"{text!r} is no list of numbers", hint="write them by comma: 0.1,0.9.") from None


def print_json(value: Any) -> None:
    """Prints ``value`` as one line of JSON on stdout."""
    typer.echo(json.dumps(_finite(value), ensure_ascii=False, default=str))


def _finite(value: Any) -> Any:
    """``value`` with NaN and infinities as null, which JSON has no words for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(text: object, *, style: str | None = None) -> None:
    """Tells people ``text``, on stderr."""
    from rdl.display import console

    console.print(text, style=style, highlight=False, soft_wrap=True)


def say_figures(run: FittedRun, regime: str) -> None:
    """Tells people the figures of a run, its blend's and the baselines', and what to make of them."""
    from rdl.blending import blend_note, figures_by_name
    from rdl.display import figures_table
    from rdl.report import verdict

    kind = run.task.kind
    say(figures_table(kind, figures_by_name(run), regime))
    if run.blend is not None:
        say(blend_note(run.blend), style="dim")
    say(verdict(kind, run.metrics, run.baselines))


def check_split(split: str) -> None:
    """Raises ConfigError where ``split`` is none."""
    if split not in ("train", "val", "test"):
        raise ConfigError(f"unknown split {split!r}", hint="use train, val or test.")


def write_text(path: Path, text: str) -> None:
    """Writes the file ``path`` whole or not at all. Raises ConfigError where that cannot be done."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
