"""A task over windows → the SQL by which RelBench makes its labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rdl.errors import QueryError
from rdl.query.expressions import Aggregate, ColumnRef, Expression, RowRef, walk
from rdl.query.rewrite import ask_existence, list_rows
from rdl.query.scalar import RESERVED_TABLES, quote, row_column
from rdl.query.sql import Compiler
from rdl.query.task import Kind, Task
from rdl.relbench_export.layout import Cell, TableLayout
from rdl.relbench_export.splits import Grid
from rdl.relbench_export.tables import restored
from rdl.schema import Relation, Schema


@dataclass(slots=True)
class Reads:
    """What labels read of a table: the values of ``columns``, and the parents by ``relations``."""

    columns: set[str] = field(default_factory=set)
    relations: set[Relation] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The columns of a table of labels."""

    time: str
    entity: str
    target: str


def reads(task: Task, schema: Schema) -> dict[str, Reads]:
    """What the labels of ``task`` read, by table."""
    found = {task.entity: Reads()}
    ends = schema[task.entity].valid_until
    cells = [(task.entity, ends)] if ends is not None else []
    for node in _nodes(task, schema):
        if isinstance(node, Aggregate):
            found.setdefault(node.table, Reads())
        if isinstance(node, ColumnRef):
            known_at = schema[node.table][node.column].known_at
            cells += [(node.table, column) for column in (node.column, known_at) if column is not None]
        if isinstance(node, Aggregate | ColumnRef | RowRef):
            for relation in node.relations:
                found.setdefault(relation.child, Reads()).relations.add(relation)
    for table, column in cells:
        found.setdefault(table, Reads()).columns.add(column)
    return found


def cells_read(task: Task, schema: Schema) -> set[Cell]:
    """The columns, by table, whose values the labels of ``task`` read."""
    return {(table, column) for table, read in reads(task, schema).items() for column in read.columns}


def label_sql(
    task: Task,
    schema: Schema,
    layouts: Mapping[str, TableLayout],
    types: Mapping[str, Mapping[str, str]],
    unit: str,
    anchors: tuple[int, ...],
    grid: Grid,
    columns: LabelColumns,
) -> str:
    """DuckDB SQL over ``timestamps(timestamp)`` and the tables of the folder, for the labels of ``task``.

    The tables are first given the columns that rdl's SQL reads, then that SQL runs as it does elsewhere. Times are in
    ``unit``.
    """
    read = reads(task, schema)
    if reserved := [table for table in read if table.casefold() in RESERVED_TABLES]:
        raise QueryError(
            f"the SQL of the labels has a table {reserved[0]!r} of its own", kind="relbench",
            hint="rename yours through a view.",
        )  # fmt: skip
    mark = "#"
    while any(layout.name.startswith(mark) for layout in layouts.values()):
        mark += "#"
    times = 'SELECT DISTINCT CAST(timestamp AS TIMESTAMP) AS "time"\n  FROM timestamps'
    sources = {quote(f"{mark}times"): times + (f"\n  WHERE {grid.where}" if grid.where else "")}
    views = {}
    for table, part in read.items():
        name = quote(f"{mark}{layouts[table].name}")
        sources[name] = f"SELECT {', '.join(_shown(layouts[table], part, schema, types[table]))}"
        sources[name] += f"\n  FROM {quote(layouts[table].name)}"
        views[quote(table)] = f"SELECT * FROM {name}"
    inner = Compiler(task, schema, anchors, times=quote(f"{mark}times")).labels().removeprefix("WITH ")
    target, known = _target(task)
    return (
        f"WITH {_tables(sources)}\n"
        f'SELECT CAST("time" AS TIMESTAMP_{unit.upper()}) AS {quote(columns.time)}, entity AS {quote(columns.entity)}, '
        f"{target} AS {quote(columns.target)}\n"
        f"FROM (\nWITH {_tables(views)},\n{inner}\n) AS labels\nWHERE {known}"
    )


def _nodes(task: Task, schema: Schema) -> Iterator[Expression]:
    """All expressions that the compiler reads."""
    target = ask_existence(task.target)
    if task.kind is Kind.recommendation and target is not None:
        target = list_rows(target, schema)
    for node in (target, ask_existence(task.where), ask_existence(task.assuming)):
        yield from walk(node)


def _shown(layout: TableLayout, part: Reads, schema: Schema, types: Mapping[str, str]) -> list[str]:
    """The columns that rdl's SQL reads of a table, from those of the folder."""
    time = f"CAST({quote(layout.time)} AS TIMESTAMP)" if layout.time is not None else "CAST(NULL AS TIMESTAMP)"
    shown = [f'CAST({quote(layout.key)} AS BIGINT) AS "#row"', f'{time} AS "#time"']
    shown += [
        f"CAST({quote(own)} AS BIGINT) AS {row_column(schema, relation)}"
        for relation, own in layout.parents.items() if relation in part.relations
    ]  # fmt: skip
    for column in sorted(part.columns):
        holder = layout.holder(column)
        if holder is None:
            raise TypeError(f"the values of {column} are not kept")
        shown.append(f"{restored(holder, types[column])} AS {quote(column)}")
    return shown


def _tables(tables: Mapping[str, str]) -> str:
    return ",\n".join(f"{name} AS (\n  {body}\n)" for name, body in tables.items())


def _target(task: Task) -> tuple[str, str]:
    """SQL for the label, and for whether it is known."""
    if task.kind is Kind.recommendation:  # RelBench leaves out who has nothing to be ranked
        return "CAST(list_sort(target) AS BIGINT[])", "len(target) > 0"
    if task.kind is Kind.multilabel:
        return "list_sort(target)", "target IS NOT NULL"
    if task.kind is Kind.multiclass:
        return "target", "target IS NOT NULL AND CAST(target AS VARCHAR) NOT IN ('nan', 'inf', '-inf')"
    return "CAST(target AS INTEGER)" if task.kind is Kind.binary else "target", "isfinite(target)"
