"""What a task comes to, for people: SQL, paths, anchors, rows and balance by split, what was lost, what to know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rdl import clock
from rdl.query.balance import Balance, balance, warn
from rdl.query.expressions import aggregates, own_columns
from rdl.query.task import SPLITS, Kind, Task, TaskTable
from rdl.schema import Schema

_FEW_ROWS, _MANY_ANCHORS = 20, 10_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a task comes to on a snapshot, before any training.

    ``path`` says how each aggregate reaches the entity; ``anchors`` and ``rows`` count by split; ``balance`` holds,
    by split, what :func:`rdl.query.balance.balance` says for the kind of task, None where there are no rows;
    ``dropped`` counts rows whose label is unknown, ``censored`` anchors whose window the data do not cover.
    """

    kind: Kind
    entity: str
    sql: str
    path: tuple[str, ...]
    cuts: dict[str, int]
    anchors: dict[str, int]
    rows: dict[str, int]
    balance: dict[str, Balance | float | None]
    dropped: int
    censored: int
    hidden: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """The plan as JSON values, as ``rdl plan --json`` prints it; times are ISO-8601 UTC."""
        return {
            "kind": self.kind.value,
            "entity": self.entity,
            "sql": self.sql,
            "path": list(self.path),
            "cuts": {split: clock.format_time(cut) for split, cut in self.cuts.items()},
            "anchors": dict(self.anchors),
            "rows": dict(self.rows),
            "balance": dict(self.balance),
            "dropped": self.dropped,
            "censored": self.censored,
            "hidden": list(self.hidden),
            "warnings": list(self.warnings),
        }


def describe(
    task: Task,
    schema: Schema,
    table: TaskTable,
    sql: str,
    *,
    anchors: tuple[int, ...] | None,
    dropped: int,
    censored: int,
    warnings: list[str],
) -> Plan:
    """The plan of ``task``, whose labels are ``table``; ``anchors`` counts anchors by split (None: distinct times)."""
    parts = {split.value: table.of(split) for split in SPLITS}
    anchors = anchors or tuple(len(np.unique(part.time)) for part in parts.values())
    return Plan(
        kind=task.kind,
        entity=task.entity,
        sql=sql,
        path=_paths(task),
        cuts={"val": table.val_cut, "test": table.test_cut},
        anchors=dict(zip(parts, anchors, strict=True)),
        rows={split: len(part) for split, part in parts.items()},
        balance={split: balance(task.kind, part, parts["train"]) for split, part in parts.items()},
        dropped=dropped,
        censored=censored,
        hidden=tuple(f"{name}.{column}" for name, column in sorted(task.hidden)),
        warnings=(*task.warnings, *warnings, *_warnings(task, schema, parts, sum(anchors), dropped)),
    )


def _paths(task: Task) -> tuple[str, ...]:
    """How each aggregate, filters included, reaches the row it belongs to, and each column read through keys."""
    paths = []
    for node in (task.target, task.where, task.assuming):
        for window in aggregates(node):
            paths.append(", ".join(str(relation) for relation in window.relations))
        for column in own_columns(node):
            paths += [", ".join(str(relation) for relation in column.relations)] if column.relations else []
    return tuple(dict.fromkeys(paths))


def _warnings(task: Task, schema: Schema, parts: dict[str, TaskTable], anchors: int, dropped: int) -> list[str]:
    """What a user should know before training, worst first."""
    warnings = [f"{split} has no row" for split, part in parts.items() if len(part) == 0]
    warnings += [
        f"{split} has only {len(part)} rows: its figures will be rough"
        for split, part in parts.items() if 0 < len(part) < _FEW_ROWS
    ]  # fmt: skip
    warnings += warn(task.kind, parts)
    kept = sum(len(part) for part in parts.values())
    if dropped > kept:
        warnings.append(f"more labels are unknown ({dropped}) than known ({kept})")
    train, test = parts["train"], parts["test"]
    if not task.row_level and len(train) and len(test):
        unseen = float(np.mean(~np.isin(test.entity, train.entity)))
        if unseen > 0.1:
            warnings.append(f"{unseen:.0%} of the test rows are of entities never seen in training")
    if anchors > _MANY_ANCHORS and not task.row_level:
        warnings.append(f"{anchors:,} anchors: EVERY takes fewer of them")
    if task.assuming is not None:
        warnings.append("ASSUMING keeps only rows whose future fulfils it: all figures hold under that condition")
    timeless = [table.name for table in schema.tables.values() if table.time is None]
    if timeless:
        warnings.append(f"without a time, and so known at every time: {', '.join(timeless)}")
    return warnings
