"""A database as a RelBench data set: a folder that RelBench loads offline, with tasks whose labels it makes itself.

The folder is what RelBench 3 reads: ``manifest.yaml``, ``db/<table>.parquet``, and ``tasks/<task>/`` with a manifest
and labels. RelBench wants keys of one column that hold row numbers, so

- the primary key of every table is the row's number in the order of time: in its own column where it is a single one
  with a plain name, else in a new column ``row``. What it was stands in ``keys/<table>.parquet``, beside its number;
- a foreign key holds the number of the parent's row, in its own column where it is a single one that no other key has
  taken, else in a new one, ``<columns>_<parent>``: composite keys, a second key over the same column, a key that is the
  primary key too. A key that is NULL or names no row is NULL. Keys to a unique constraint are like any other;
- where a task reads the values of a key, not only whom it names, they are kept in a new column ``<column>_value``;
- a time is the row's own column, where its name is plain, else a new column ``time``: also one that is reached through
  keys. Times are UTC. Dates are times at midnight, lengths of time are seconds, times of day text, decimals floats;
  lists and bytes stay what they are. A file's name has no slash, and none is ``timestamps``, RelBench's own table.

A task over windows becomes a ``forecast`` with SQL, one of each row at its own time an ``autocomplete``: of its column,
or where the label is more than a column, of a new column ``label_<task>`` that every other task hides. RelBench takes a
label's column away altogether, where rdl shows it on strictly older rows. Rankings leave out who has nothing to be
ranked: RelBench has no such rows. A label of several classes is the list of them. A ``timedelta`` is the distance of
the times that RelBench lays: the window's length wherever anchors are a window apart and RelBench can lay them so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rdl import labels
from rdl.clock import to_us
from rdl.errors import ConfigError
from rdl.folders import NewFolder
from rdl.query.task import Task
from rdl.relbench_export.forecasts import cells_read
from rdl.relbench_export.layout import TableLayout, lay_out
from rdl.relbench_export.manifests import dataset_manifest, needs_column, task_manifest, write_manifest
from rdl.relbench_export.proof import prove
from rdl.relbench_export.splits import Asked, settle
from rdl.relbench_export.tables import write_tables
from rdl.snapshot import Snapshot

__all__ = ["Exported", "export", "named"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What stands in the folder ``path``: the rows of each table, and of each task by split."""

    path: Path
    tables: Mapping[str, int]
    tasks: Mapping[str, Mapping[str, int]]


def export(
    snapshot: Snapshot, tasks: Mapping[str, Task], folder: Path, *, val: object = None, test: object = None
) -> Exported:
    """Writes ``snapshot`` as the RelBench data set ``folder``, with ``tasks`` by name; it appears whole or not at all.

    RelBench has made the labels of each task and they were rdl's, row for row. ``val`` and ``test`` are the times at
    which validation and test begin (default: those of the tasks, which agree). Raises ConfigError where the folder
    exists or times disagree, QueryError for a task that RelBench cannot ask the same way.
    """
    given = _given(val, test)
    with NewFolder(folder) as filling:
        cuts, asked = settle(tasks, snapshot, given)
        read = {
            cell for one in asked if not one.task.row_level and one.task.sql is None
            for cell in cells_read(one.task, snapshot.schema)
        }  # fmt: skip
        added = [one for one in asked if one.task.row_level and needs_column(one.task, snapshot)]
        by_table = {
            one.task.entity: [other.name for other in added if other.task.entity == one.task.entity] for one in added
        }
        layouts = lay_out(snapshot.schema, read, by_table)
        columns = {table: _label_columns(layouts[table], added, snapshot) for table in by_table}
        write_tables(snapshot, layouts, columns, filling)
        write_manifest(filling / "manifest.yaml", dataset_manifest(folder.name, cuts, snapshot, layouts))
        rows = {}
        for one in asked:
            manifest = task_manifest(one, cuts, snapshot, layouts)
            write_manifest(filling / "tasks" / one.name / "manifest.yaml", manifest)
            rows[one.name] = prove(filling, one, snapshot)
    return Exported(folder, {layout.name: snapshot.num_rows[name] for name, layout in layouts.items()}, rows)


def named(tasks: Mapping[str, object] | Sequence[object]) -> dict[str, Any]:
    """Tasks by the names of their folders: as given, also as the text ``name=task``, else a file's or a folder's own
    name, or task-1, task-2, …

    Raises ConfigError where a name cannot be a folder's, or two are the same.
    """
    if isinstance(tasks, Mapping):
        found: dict[str, object] = dict(tasks)
    elif isinstance(tasks, str):
        raise ConfigError("one text where several tasks are wanted", hint="write [task], or {name: task}.")
    else:
        found = {}
        for number, given in enumerate(tasks, 1):
            spelled = re.fullmatch(r"([\w.-]+)=(.*)", given, re.ASCII | re.DOTALL) if isinstance(given, str) else None
            name, task = spelled.groups() if spelled else (_own_name(given) or f"task-{number}", given)
            if name in found:
                raise ConfigError(f"two tasks are called {name!r}", hint="name them: {name: task}.")
            found[name] = task
    for name in found:
        if not re.fullmatch(r"[\w-][\w.-]*", name, re.ASCII):
            raise ConfigError(f"{name!r} cannot name a task", hint="use letters, digits, -, . and _.")
    return found


def _own_name(task: object) -> str | None:
    """The name that the path of a file, or of a RelBench task, or the name of one, gives; None for other texts."""
    text = os.fspath(task) if isinstance(task, str | os.PathLike) else ""
    path = Path(text)
    plain = path.suffix == ".pql" or re.fullmatch(r"[\w.-]+", path.name, re.ASCII)
    return path.name.removesuffix(".pql") if text and plain and "\n" not in text else None


def _given(val: object, test: object) -> tuple[int, int] | None:
    if val is None and test is None:
        return None
    if val is None or test is None:
        raise ConfigError("val and test belong together", hint="give both times, or neither.")
    return to_us(val), to_us(test)


def _label_columns(layout: TableLayout, added: Sequence[Asked], snapshot: Snapshot) -> dict[str, pa.Array]:
    """A value a row for every task whose labels need a column of the table; NULL where a row has no label."""
    found = {}
    for one in added:
        if one.name in layout.labels:
            place = np.full(snapshot.num_rows[layout.source.name], -1)
            place[one.table.entity] = np.arange(len(one.table))
            values = labels.values(one.task, one.table, snapshot)
            found[layout.labels[one.name]] = values.take(pa.array(place, mask=place < 0))
    return found
