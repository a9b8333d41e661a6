"""Tasks → RelBench's task manifests, and the manifest of the data set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rdl.clock import to_datetime
from rdl.errors import QueryError
from rdl.query.expressions import ColumnRef
from rdl.query.task import Kind, LabelSql, Task
from rdl.relbench_export.forecasts import LabelColumns, cells_read, label_sql
from rdl.relbench_export.layout import Cell, TableLayout, is_plain
from rdl.relbench_export.splits import Asked, Cuts, lay_grid
from rdl.relbench_export.tables import column_types, known, time_unit
from rdl.schema import Dtype
from rdl.snapshot import Snapshot

_TASK_TYPES = {
    Kind.binary: "binary_classification",
    Kind.regression: "regression",
    Kind.multiclass: "multiclass_classification",
    Kind.multilabel: "multilabel_classification",
    Kind.recommendation: "recommendation",
}


class _Dumper(yaml.SafeDumper):
    """Lines of SQL stand as lines, unchanged."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Writes ``manifest`` as YAML."""
    text = yaml.dump(dict(manifest), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=4096)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def dataset_manifest(
    name: str, cuts: Cuts, snapshot: Snapshot, layouts: Mapping[str, TableLayout]
) -> dict[str, object]:
    """The manifest of the data set."""
    tables = {
        layout.name: {
            "pkey": layout.key,
            "time_col": layout.time,
            "fkeys": {own: layouts[relation.parent].name for relation, own in layout.parents.items()},
        }
        for source, layout in layouts.items()
    }
    # The oldest time of a table without rows is NaT; where it comes first, RelBench takes it for the oldest of all.
    filled = [layout.name for source, layout in layouts.items() if layout.time and known(snapshot, source, cuts[0])]
    tables = {**{table: tables[table] for table in filled}, **tables}
    val, test = (to_datetime(cut).isoformat(" ") for cut in cuts)
    return {"name": name, "manifest_version": 1, "val_timestamp": val, "test_timestamp": test, "tables": tables}


def needs_column(task: Task, snapshot: Snapshot) -> bool:
    """Whether the labels of a row-level task need a column of their own: they are not just one of the table's.

    A truth value that may be NULL is an object to pandas, which RelBench's metric does not take for a class.
    """
    table, target = snapshot.schema[task.entity], task.target
    if not isinstance(target, ColumnRef) or target.relations or task.where is not None or task.assuming is not None:
        return True
    keys = {column for relation in snapshot.schema.relations_from(table.name) for column in relation.key}
    truth = table[target.column].dtype is Dtype.boolean and snapshot.arrow(table.name)[target.column].null_count > 0
    own = table.time is not None and not table.time.through and table.time.column == target.column
    return bool(
        truth or own or table.valid_until is not None or not is_plain(target.column)
        or target.column in keys | set(table.primary_key)
    )  # fmt: skip


def task_manifest(
    asked: Asked,
    cuts: Cuts,
    snapshot: Snapshot,
    layouts: Mapping[str, TableLayout],
) -> dict[str, object]:
    """The manifest of a task. Raises QueryError where RelBench could not make its labels."""
    task = asked.task
    layout = layouts[task.entity]
    own = layout.labels.get(asked.name)
    others = [(one.name, column) for one in layouts.values() for column in one.labels.values() if column != own]
    removed = sorted({*_hidden(task.hidden | task.label_columns, layouts), *others})
    manifest: dict[str, object] = {
        "name": asked.name,
        "kind": "autocomplete" if task.row_level else "forecast",
        "task_type": _TASK_TYPES[task.kind],
    }
    if re.search(r"\bPREDICT\b", task.source, re.IGNORECASE):
        manifest["description"] = " ".join(re.sub(r"(--|#).*", "", task.source).split())
    if task.row_level:
        target = own or (task.target.column if isinstance(task.target, ColumnRef) else "")
        removed = [cell for cell in removed if cell != (layout.name, target)]
        manifest |= {"entity_table": layout.name, "target_col": target}
    else:
        manifest |= _forecast(asked, cuts, snapshot, layouts)
    if removed:
        manifest["remove_columns"] = [list(cell) for cell in removed]
    return {**manifest, "manifest_version": 1}


def _forecast(asked: Asked, cuts: Cuts, snapshot: Snapshot, layouts: Mapping[str, TableLayout]) -> dict[str, object]:
    """What a task over windows has in its manifest."""
    task = asked.task
    layout = layouts[task.entity]
    _refuse_late(asked, cuts, snapshot)
    if task.sql is not None:
        columns, fields = LabelColumns(task.sql.time, task.sql.entity, task.sql.target), _copied(task.sql)
    else:
        if blind := sorted(cells_read(task, snapshot.schema) & task.hidden):
            raise QueryError(
                f"task {asked.name!r}: its labels read {'.'.join(blind[0])}, which is hidden, and RelBench's SQL does "
                "not see what is hidden from the model", kind="relbench", hint="leave it out of HIDE.",
            )  # fmt: skip
        entity = layout.key
        columns = LabelColumns(_free("timestamp", entity), entity, _free("label", entity))
        if task.candidates is not None:
            columns = LabelColumns(columns.time, entity, _free(layouts[task.candidates].key, entity, columns.time))
        timeline, grid = lay_grid(asked, cuts, snapshot)
        types = {name: column_types(snapshot, name) for name in layouts}
        unit = time_unit(snapshot)
        sql = label_sql(task, snapshot.schema, layouts, types, unit, timeline.all, grid, columns)
        import pandas as pd

        fields = {"timedelta": str(pd.Timedelta(grid.step_us, "us")), "num_eval_timestamps": grid.evaluated, "sql": sql}
    named: dict[str, object]
    if task.candidates is None:
        named = {"entity_table": layout.name, "entity_col": columns.entity, "target_col": columns.target}
    else:
        named = {
            "target_col": columns.target, "src_entity_table": layout.name, "src_entity_col": columns.entity,
            "dst_entity_table": layouts[task.candidates].name, "dst_entity_col": columns.target, "eval_k": task.top_k,
        }  # fmt: skip
    return {**named, "time_col": columns.time, **fields}


def _copied(sql: LabelSql) -> dict[str, object]:
    return {"timedelta": sql.timedelta, "num_eval_timestamps": sql.num_eval_timestamps, "sql": sql.sql}


def _hidden(cells: frozenset[Cell], layouts: Mapping[str, TableLayout]) -> set[Cell]:
    """The columns of the folder that hold what ``cells`` hold."""
    found = set()
    for table, column in cells:
        layout = layouts[table]
        found |= {(layout.name, held) for held in (column, layout.values.get(column)) if held is not None}
    return found


def _refuse_late(asked: Asked, cuts: Cuts, snapshot: Snapshot) -> None:
    """Raises QueryError where labels are of rows that RelBench takes to be dangling: not known when test begins."""
    task, table = asked.task, asked.table
    if task.sql is not None:
        return
    late = int((table.entity >= known(snapshot, task.entity, cuts[1])).sum())
    if late:
        raise QueryError(
            f"task {asked.name!r}: {late:,} test rows are of {task.entity} that were not known when test began, and "
            "RelBench does not ask about these", kind="relbench",
            hint=f"ask about those alone: WHERE {_known_then(task.entity, cuts[1], snapshot)}.",
        )  # fmt: skip
    if task.candidates is not None:
        late = int((table.target >= known(snapshot, task.candidates, cuts[1])).sum())
        if late:
            raise QueryError(
                f"task {asked.name!r}: {late:,} of the {task.candidates} in its lists were not known when test began, "
                "and RelBench ranks only those that were", kind="relbench",
                hint=f"list those alone: LIST_DISTINCT(… WHERE {_known_then(task.candidates, cuts[1], snapshot)}, …).",
            )  # fmt: skip


def _known_then(table: str, time_us: int, snapshot: Snapshot) -> str:
    """What a query says of rows of ``table`` that are known at a time."""
    time = snapshot.schema[table].time
    column = ".".join([table, *("+".join(key) for key in time.through), time.column]) if time else table
    return f"{column} <= '{to_datetime(time_us)}'"


def _free(name: str, *taken: str) -> str:
    while name in taken:
        name += "_"
    return name
