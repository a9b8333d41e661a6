"""Commands that look: at a database, its schema, a question and its labels. Only an audit loads torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rdl.cli.options import (
    Db,
    Excluded,
    Json,
    Names,
    Parameters,
    Quiet,
    Refresh,
    SchemaFile,
    TaskText,
    Url,
    Views,
    ask,
    connect,
    extract,
    parameters,
    print_json,
    say,
    write_text,
)
from rdl.errors import ConfigError

app = typer.Typer()


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
    found = extract(
        connect(url, schema, tables, exclude, views=views, refresh=refresh), quiet=quiet or as_json
    ).inspect()
    if html is not None:
        write_text(html, found.to_html())
    if as_json:
        print_json(found.to_json())
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
    db = connect(url, None, tables, exclude, views=views)
    evidence = {proposal.subject: proposal.evidence for proposal in db.proposals if not proposal.suggested}
    text = schema_file.write(db.schema, db.declared, evidence, infer.suggestions(db.schema, db.proposals))
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)


@app.command()
def plan(
    task: TaskText,
    db: Db,
    param: Parameters = None,
    schema: SchemaFile = None,
    html: Annotated[Path | None, typer.Option(help="Also write the plan as a page, with its pictures.")] = None,
    views: Views = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """What a question means, without training: windows, rows and balance by split, warnings, SQL."""
    bound = ask(task, db, param, schema, views=views, refresh=refresh, quiet=quiet or as_json)
    found = bound.plan()
    if html is not None:
        write_text(html, found.to_html())
    if as_json:
        print_json(found.to_json())
    else:
        from rich.console import Console

        Console(highlight=False).print(found, crop=False)


@app.command()
def audit(
    task: TaskText,
    db: Db,
    param: Parameters = None,
    schema: SchemaFile = None,
    html: Annotated[Path | None, typer.Option(help="Also write the audit as a page.")] = None,
    fail: Annotated[bool, typer.Option("--fail", help="Exit with code 3 where a leak is severe, for CI.")] = False,
    views: Views = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Leaks in a question: what may tell the future, the evidence, and the line to write into query or schema.

    The exit code is 0 whatever is found, but for --fail.
    """
    bound = ask(task, db, param, schema, views=views, refresh=refresh, quiet=quiet or as_json)
    found = bound.audit()
    if html is not None:
        write_text(html, found.to_html())
    if as_json:
        print_json(found.to_json())
    else:
        from rich.console import Console

        Console(highlight=False).print(found, crop=False)
    if fail:
        found.check()


@app.command()
def labels(
    task: TaskText,
    db: Db,
    out: Annotated[Path, typer.Option(help="The folder for train.parquet, val.parquet and test.parquet.")],
    param: Parameters = None,
    schema: SchemaFile = None,
    views: Views = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The labels of a task as Parquet files: the entity's own key, time and label."""
    from rdl.folders import NewFolder
    from rdl.query import Split

    bound = ask(task, db, param, schema, views=views, refresh=refresh, quiet=quiet or as_json)
    counts = {}
    with NewFolder(out) as folder:
        for split in Split:
            frame = bound.table(split)
            counts[split.value] = len(frame)
            frame.to_parquet(folder / f"{split.value}.parquet")
    if as_json:
        print_json({"rows": counts, "out": str(out)})
    else:
        say(f"{out}: {', '.join(f'{name} {count:,}' for name, count in counts.items())} rows")


@app.command()
def export(
    db: Db,
    out: Annotated[Path, typer.Option(help="The RelBench data set, a folder to make.")],
    tasks: Annotated[
        list[str] | None, typer.Argument(metavar="TASK", help="As for rdl labels, any number; NAME=TASK names one.")
    ] = None,
    val: Annotated[str | None, typer.Option(help="When validation begins (default: as the tasks say).")] = None,
    test: Annotated[str | None, typer.Option(help="When test begins (default: as the tasks say).")] = None,
    param: Parameters = None,
    schema: SchemaFile = None,
    views: Views = None,
    refresh: Refresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The database as a RelBench data set, with tasks whose labels RelBench makes itself."""
    from rdl.query import parameters_of
    from rdl.relbench_export import named

    values = parameters(param)
    data = connect(db, schema, views=views, refresh=refresh)
    asked, unused = {}, set(values)
    for name, task in named(tasks or ()).items():
        own = parameters_of(task) if values else frozenset()  # a value may be of one of the tasks only
        unused -= own
        asked[name] = data.task(task, parameters={key: value for key, value in values.items() if key in own})
    if unused:
        raise ConfigError(f"--param {min(unused)}: no task has a parameter of that name", hint="leave it out.")
    found = extract(data, quiet=quiet or as_json).to_relbench(out, asked, val=val, test=test)
    if as_json:
        print_json({"out": str(out), "tables": found.tables, "tasks": found.tasks})
    else:
        say(f"{out}: {len(found.tables)} tables, {len(found.tasks)} tasks")


@app.command()
def language(
    topic: Annotated[
        list[str] | None,
        typer.Argument(metavar="TOPIC", help="A part (windows), a word (MEDIAN, split at) or an error (tied-paths)."),
    ] = None,
) -> None:
    """The reference of the query language, or what it says on a topic."""
    from rdl.query.reference import find

    text = find(" ".join(topic or ()))
    if not sys.stdout.isatty():
        typer.echo(text, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))
