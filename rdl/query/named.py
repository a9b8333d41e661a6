"""A question by its text, by a file of it, or by the name of a RelBench task."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rdl.errors import ConfigError, did_you_mean
from rdl.query import read_manifest, read_task
from rdl.query.task import Task
from rdl.schema import Schema


def read_named(
    query: str | os.PathLike[str],
    schema: Schema,
    *,
    tasks: Mapping[str, Path],
    cuts: tuple[int | None, int | None],
    url: str,
    parameters: Mapping[str, object] | None = None,
) -> Task:
    """The question ``query``: its text, the path of a ``.pql`` file, a RelBench task folder, or one of the ``tasks`` of
    the database at ``url``, whose validation and test begin at ``cuts`` µs. Raises QueryError and ConfigError."""
    text = os.fspath(query)
    folder = tasks.get(text) or Path(text)
    if os.path.isfile(folder / "manifest.yaml"):  # noqa: PTH113  (a query may be longer than any path)
        val_cut, test_cut = cuts
        if val_cut is None or test_cut is None:
            raise ConfigError(
                f"{folder} is a RelBench task, and {url} says no validation and test times",
                hint="give its RelBench data set: --db relbench:FOLDER.",
            )
        return read_manifest(folder, schema, val_cut, test_cut)
    if tasks and text.replace("-", "").replace("_", "").isalnum() and not text.upper().startswith("PREDICT"):
        raise ConfigError(f"{url} has no task {text!r}", hint=did_you_mean(text, tasks))
    return read_task(query if isinstance(query, Path) else text, schema, parameters=parameters)
