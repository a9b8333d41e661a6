"""A RelBench task folder → a Task: ``manifest.yaml`` as RelBench 3 reads it, its SQL unchanged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml

from rdl.clock import US_PER_DAY, US_PER_SECOND, Span
from rdl.errors import QueryError, RdlError
from rdl.query.expressions import ColumnRef
from rdl.query.functions import Type
from rdl.query.names import TYPES
from rdl.query.task import Kind, LabelSql, Task
from rdl.schema import Schema

_KINDS = {
    "binary_classification": Kind.binary,
    "regression": Kind.regression,
    "multiclass_classification": Kind.multiclass,
    "multilabel_classification": Kind.multilabel,
    "recommendation": Kind.recommendation,
}
_ENTITY_FIELDS = {
    "autocomplete": ("entity_table", "target_col"),
    "forecast": ("entity_table", "entity_col", "target_col", "time_col"),
    "external": ("entity_table",),
}
_LINK_FIELDS = ("src_entity_table", "src_entity_col", "dst_entity_table", "dst_entity_col")


@dataclass(frozen=True, slots=True)
class TaskManifest:
    """What stands in a task's ``manifest.yaml``; other keys are ignored, as RelBench does."""

    name: str
    kind: str
    task_type: str
    description: str | None = None
    entity_table: str | None = None
    entity_col: str | None = None
    target_col: str | None = None
    time_col: str | None = None
    src_entity_table: str | None = None
    src_entity_col: str | None = None
    dst_entity_table: str | None = None
    dst_entity_col: str | None = None
    eval_k: int | None = None
    timedelta: str | None = None
    num_eval_timestamps: int = 1
    remove_columns: list[list[str]] = field(default_factory=list)
    sql: str | None = None
    evaluator: str | None = None
    manifest_version: int = 1


def read_manifest(folder: str | Path, schema: Schema, val_cut_us: int, test_cut_us: int) -> Task:
    """The task of the RelBench task folder ``folder`` on ``schema``, whose data set begins validation and test at
    ``val_cut_us`` and ``test_cut_us``.

    A forecast task keeps its SQL; an autocomplete task becomes a row-level one whose label column is hidden.
    Raises QueryError where the manifest is not one, or names something that the schema does not have.
    """
    path = Path(folder).expanduser()
    path = path if path.name == "manifest.yaml" else path / "manifest.yaml"
    manifest = _load(path)
    kind = _KINDS[manifest.task_type]
    source = str(path.parent)
    try:
        hidden = frozenset((table, column) for table, column in manifest.remove_columns if column in schema[table])
        if manifest.kind == "external":
            raise _refuse(path, f"task {manifest.name!r} has labels made elsewhere, which are not read yet")
        if kind is Kind.recommendation and manifest.kind == "autocomplete":
            raise _refuse(path, "an autocomplete task completes a column, it ranks nothing", "use kind: forecast.")
        tables = [manifest.entity_table]
        if kind is Kind.recommendation:
            tables = [manifest.src_entity_table, manifest.dst_entity_table]
        if manifest.kind == "autocomplete":
            return _autocomplete(path, manifest, schema, source, (val_cut_us, test_cut_us), hidden)
        for table in tables:
            if len(schema[str(table)].primary_key) != 1:
                raise _refuse(path, f"table {table!r} has no primary key of one column to find its rows by")
    except QueryError:
        raise
    except RdlError as error:
        raise _refuse(path, error.message, error.hint) from None
    return _forecast(path, manifest, source, (val_cut_us, test_cut_us), hidden)


def _forecast(
    path: Path, manifest: TaskManifest, source: str, cuts: tuple[int, int], hidden: frozenset[tuple[str, str]]
) -> Task:
    """A task whose labels are what the manifest's SQL says."""
    window_us, timedelta = _timedelta(path, str(manifest.timedelta))
    if cuts[1] - cuts[0] < window_us:
        raise _refuse(path, f"timedelta {manifest.timedelta!r} is longer than the time from validation to test")
    ranks = manifest.task_type == "recommendation"
    entity, target = manifest.entity_col, manifest.target_col
    if ranks:
        entity, target = manifest.src_entity_col, manifest.dst_entity_col
    sql = LabelSql(
        str(manifest.sql), timedelta, window_us, int(manifest.num_eval_timestamps),
        str(entity), str(manifest.time_col), str(target),
    )  # fmt: skip
    days, rest = divmod(window_us, US_PER_DAY)
    horizon = Span(days) if rest == 0 else Span(window_us // US_PER_SECOND, "second")
    return Task(
        _KINDS[manifest.task_type], source, str(manifest.src_entity_table if ranks else manifest.entity_table), None,
        horizon=horizon, stride=horizon, split_at=cuts, hidden=hidden, sql=sql,
        top_k=manifest.eval_k if ranks else None, candidates=manifest.dst_entity_table if ranks else None,
    )  # fmt: skip


def _autocomplete(
    path: Path, manifest: TaskManifest, schema: Schema, source: str, cuts: tuple[int, int],
    hidden: frozenset[tuple[str, str]],
) -> Task:  # fmt: skip
    """A task whose labels stand in a column of the entity's own rows, which is taken out of the inputs."""
    table = schema[str(manifest.entity_table)]
    column = table[str(manifest.target_col)]
    if table.time is None:
        raise _refuse(path, f"table {table.name!r} has no time column to split its rows by")
    if column.name in table.primary_key or any(column.name in key.key for key in schema.relations_from(table.name)):
        raise _refuse(path, f"{table.name}.{column.name} is a key: only other columns can be completed")
    kind = _KINDS[manifest.task_type]
    if kind in (Kind.regression, Kind.binary) and TYPES.get(column.dtype) not in (Type.number, Type.boolean):
        raise _refuse(path, f"{table.name}.{column.name} is {column.dtype.value}, not a number")
    # RelBench's parts are (…, val], (val, test] and (test, …): a microsecond later than the usual [val, test).
    return Task(
        kind, source, table.name, ColumnRef((), table.name, column.name),
        split_at=(cuts[0] + 1, cuts[1] + 1),
        hidden=hidden | {(table.name, column.name)},
        row_level=True,
    )  # fmt: skip


def _load(path: Path) -> TaskManifest:
    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise _refuse(path, "there is no readable manifest.yaml", "give the folder of a RelBench task.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise _refuse(path, f"it is not YAML{where}") from None
    if not isinstance(written, Mapping):
        raise _refuse(path, "it is not a task manifest: no fields")
    known = {slot.name for slot in fields(TaskManifest)}
    given = {name: value for name, value in written.items() if name in known and value is not None}
    if missing := [name for name in ("name", "kind", "task_type") if not given.get(name)]:
        raise _refuse(path, f"it is not a task manifest: {', '.join(missing)} missing")
    manifest = TaskManifest(**given)
    pairs = manifest.remove_columns
    if not (isinstance(pairs, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)):
        raise _refuse(path, "remove_columns is not a list of pairs", "write - [table, column].")
    if not isinstance(manifest.num_eval_timestamps, int):
        raise _refuse(path, "num_eval_timestamps is not a whole number")
    for name, allowed in (("kind", _ENTITY_FIELDS), ("task_type", _KINDS)):
        if getattr(manifest, name) not in allowed:
            raise _refuse(path, f"{name} is {getattr(manifest, name)!r}", f"use one of {', '.join(allowed)}.")
    if missing := [name for name in _required(manifest) if not getattr(manifest, name)]:
        raise _refuse(path, f"a {manifest.kind} {manifest.task_type} task needs {', '.join(missing)}")
    return manifest


def _required(manifest: TaskManifest) -> tuple[str, ...]:
    if manifest.task_type == "recommendation":
        ranked = () if manifest.kind == "external" and manifest.evaluator else ("eval_k",)
        required = (*_LINK_FIELDS, *ranked)
    else:
        required = _ENTITY_FIELDS[manifest.kind]
    return (*required, "timedelta", "sql") if manifest.kind == "forecast" else required


def _timedelta(path: Path, written: str) -> tuple[int, str]:
    """The length in µs of a time difference as pandas writes and reads them, and the text that RelBench puts in SQL."""
    import pandas as pd

    try:
        length = pd.Timedelta(written)
    except ValueError:
        length = pd.Timedelta(0)
    if not length > pd.Timedelta(0) or re.fullmatch(r"[\d.]+", written):  # NaT is above nothing
        raise _refuse(path, f"timedelta {written!r} is not a length of time", "write it as '30 days'.")
    return int(length / pd.Timedelta(microseconds=1)), str(length)


def _refuse(path: Path, message: str, hint: str | None = None) -> QueryError:
    return QueryError(f"{path}: {message}", kind="manifest", text="", hint=hint)
