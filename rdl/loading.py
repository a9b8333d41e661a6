"""Saved runs, brought back on their database."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from rdl.database import open_reader
from rdl.database.reader import Reader
from rdl.display import Watcher
from rdl.errors import ConfigError, DatabaseError
from rdl.folders import read_json
from rdl.pipeline import Database, FittedRun
from rdl.schema import Schema


def load(
    path: str | os.PathLike[str],
    *,
    url: str | os.PathLike[str] | None = None,
    refresh: bool = False,
    watch: Watcher | None = None,
    text_embedder: object = None,
) -> FittedRun:
    """The run saved in the folder ``path``, on its database or the one at ``url``; ``refresh`` as in :func:`connect`.

    Raises ConfigError where the folder is not a run, and what :func:`connect` raises. Give ``url`` where the saved one
    lacks its password, and ``text_embedder`` where the run was trained with a model or function given to ``fit``.
    """
    from rdl.embedders import embedder
    from rdl.saving import reopen

    folder = Path(path)
    facts = read_json(folder / "run.json")
    try:
        schema = Schema.from_json(facts["schema"])
        reader = _reader(url, facts["url"], schema)
        task = Database(reader, saved=schema, refresh=refresh).task(facts["query"], parameters=facts["parameters"])
        task.db.extract(watch)
        asked = task.definition
        if asked.sql is None and asked.split_by is None and (not asked.row_level or schema[asked.entity].time):
            # The splits stay where they were in training, however much data have come since.
            task.definition = dataclasses.replace(asked, split_at=(facts["val_cut_us"], facts["test_cut_us"]))
        by = None if text_embedder is None else embedder(text_embedder)
        run = reopen(folder, facts, task.definition, task.db.snapshot, lambda: task.labels, by)
        return FittedRun(task, run, folder, data_changed=reader.fingerprint() != facts["data"])
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise ConfigError(f"{folder} is damaged: {error!r}", hint="train the run anew.") from None


def _reader(url: str | os.PathLike[str] | None, saved: str, schema: Schema) -> Reader:
    """A reader at ``url``, else at the URL that a run keeps, which is without its password."""
    try:
        return open_reader(url or saved, tables=list(schema.tables))
    except DatabaseError as error:
        if url is None and ":***@" in saved and "password" in (error.hint or ""):
            hint = "a run keeps no password: give --db with the whole URL (url= in Python)"
            raise DatabaseError(error.message, hint=f"{hint}, or {error.hint}") from None
        raise
