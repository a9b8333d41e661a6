"""Task → DuckDB SQL over the views of a snapshot: anchors, one table an aggregate, eligible entities, labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from textwrap import indent

from rdl.clock import Span, to_datetime
from rdl.query.expressions import Aggregate, ColumnRef, Compare, Expression, Literal, Logic, RowRef
from rdl.query.paths import key_of
from rdl.query.scalar import Rows, aggregate_sql, quote, table_sql, value_sql
from rdl.query.task import Kind, Task
from rdl.query.timeframes import timeframes
from rdl.schema import Schema


@dataclass(slots=True)
class Compiler:
    """Compiles ``task``. ``anchors`` are the times (µs) t; None: each row's own time."""

    task: Task
    schema: Schema
    anchors: Sequence[int] | None
    _tables: list[tuple[str, str]] = field(default_factory=list)
    _named: dict[tuple[Aggregate, bool], str] = field(default_factory=dict)
    _offsets: dict[Span, str] = field(default_factory=dict)

    def labels(self) -> str:
        """SQL for ``entity`` (row number), ``time`` and ``target`` (NULL: unknown), by time and entity key.

        The target is a DOUBLE (binary, regression), a value (multiclass), or a list: of values (multilabel), of row
        numbers (recommendation), of a DOUBLE a timeframe (forecast).
        """
        self._tables.append(("eligible", self._eligible()))
        rows = self._rows('s."time"', past=False)
        target = self._target(rows)
        where = f"\nWHERE {rows.sql(self.task.assuming)}" if self.task.assuming is not None else ""
        source = f'eligible s JOIN {table_sql(self.task.entity)} e ON e."#row" = s.entity{_lines(rows.joins)}'
        self._tables.append(("labels", f'SELECT s."time", s.entity, {target} AS target\nFROM {source}{where}'))
        key = [f"e.{quote(column)}" for column in self.schema[self.task.entity].primary_key] or ["l.entity"]
        return self._with(
            'SELECT l.entity, l."time", l.target\n'
            f'FROM labels l JOIN {table_sql(self.task.entity)} e ON e."#row" = l.entity\n'
            f'ORDER BY l."time", {", ".join(key)}, l.entity'
        )

    def _target(self, rows: Rows) -> str:
        task = self.task
        if task.target is None:
            raise TypeError("a task without a target has its own SQL")
        if task.kind is Kind.forecast and task.stride is not None:
            frames = timeframes(task.target, task.stride, task.timeframes or 1)
            return f"[{', '.join(f'CAST({rows.sql(frame)} AS DOUBLE)' for frame in frames)}]"
        if task.kind is Kind.recommendation:
            return rows.sql(_rows_listed(task.target, self.schema))
        target = rows.sql(task.target)
        return f"CAST({target} AS DOUBLE)" if task.kind in (Kind.binary, Kind.regression) else target

    def seeds(self) -> str:
        """SQL for ``entity`` and ``time``: who is eligible, ordered by entity."""
        self._tables.append(("eligible", self._eligible()))
        return self._with('SELECT entity, "time" FROM eligible ORDER BY entity')

    # --- who is asked about -----------------------------------------------------------------------------------

    def _eligible(self) -> str:
        task, table = self.task, self.schema[self.task.entity]
        own_time = self.anchors is None
        time = 'e."#time"' if own_time else 'a."time"'
        rows = self._rows(time, past=True)
        where = [rows.sql(task.where)] if task.where is not None else []
        _join_inner(rows, task.where, self._named)
        if table.valid_until is not None:
            ends = f"e.{quote(table.valid_until)}"
            where.append(f"({ends} IS NULL OR {ends} > {time})")
        if own_time:
            where.insert(0, 'e."#time" IS NOT NULL')
            source = f"{table_sql(table.name)} e"
        else:
            known = 'e."#time" <= a."time"' if table.time is not None else "TRUE"
            source = f"anchors a JOIN {table_sql(table.name)} e ON {known}"
        kept = f"\nWHERE {' AND '.join(where)}" if where else ""
        return f'SELECT {time} AS "time", e."#row" AS entity\nFROM {source}{_lines(rows.joins)}{kept}'

    def _rows(self, time: str, *, past: bool) -> Rows:
        return Rows(self.schema, self.task.entity, "e", time, past, self._join_window)

    # --- aggregates -------------------------------------------------------------------------------------------

    def _join_window(self, node: Aggregate, rows: Rows) -> str:
        """The alias under which the values of ``node`` are joined to ``rows``."""
        name = self._window(node, past=rows.past)
        join = f'LEFT JOIN {name} ON {name}."time" = {rows.time} AND {name}.entity = {rows.alias}."#row"'
        if join not in rows.joins:
            rows.joins.append(join)
        return name

    def _window(self, node: Aggregate, *, past: bool) -> str:
        """The quoted name of the table that holds ``node`` by time and row; it is made where there is none yet."""
        if (node, past) in self._named:
            return self._named[node, past]
        own_time = self.anchors is None
        time = 'a."#time"' if own_time else 'a."time"'
        rows = Rows(self.schema, node.table, "c", time, past, self._join_window)
        entity = rows.hop(node.relations)
        ending = "<" if own_time and node.end.count == 0 else "<="
        begun = [f'c."#time" > {self._offset(node.start)}'] if node.start is not None else []
        over = [f'c."#time" {ending} {self._offset(node.end)}']
        where = [f"{entity} IS NOT NULL"]
        if own_time:
            within = [f'a."#row" = {entity}', *begun, *over]
            rows.joins.append(f"JOIN {table_sql(self.task.entity)} a ON {' AND '.join(within)}")
        elif self._is_tiled(node):  # each row is in one window at most: the last that has begun, where it is not over
            rows.joins.append(f"ASOF JOIN anchors a ON {begun[0]}")
            where += over
        else:
            rows.joins.append(f"JOIN anchors a ON {' AND '.join([*begun, *over])}")
        value = aggregate_sql(node, rows)
        where += [rows.sql(node.filter)] if node.filter is not None else []
        body = (
            f'SELECT {time} AS "time", {entity} AS entity, {value} AS value\n'
            f"FROM {table_sql(node.table)} c{_lines(rows.joins)}\nWHERE {' AND '.join(where)}\nGROUP BY 1, 2"
        )
        name = self._fresh(f"{node.function.lower()} of {node.table}")
        self._tables.append((name, body))
        self._named[node, past] = quote(name)
        return self._named[node, past]

    def _is_tiled(self, node: Aggregate) -> bool:
        """Whether there are several windows and each ends before the next begins."""
        if node.start is None or self.anchors is None or len(self.anchors) < 2:
            return False
        starts, ends = ([span.after(anchor) for anchor in self.anchors] for span in (node.start, node.end))
        return all(end <= start for end, start in zip(ends, starts[1:], strict=False))

    def _fresh(self, name: str) -> str:
        taken = {taken.casefold() for taken, _ in self._tables} | {table.casefold() for table in self.schema.tables}
        number, fresh = 1, name
        while fresh.casefold() in taken:
            number += 1
            fresh = f"{name} {number}"
        return fresh

    def _offset(self, span: Span) -> str:
        """The SQL of t + ``span``: a column of the anchors, or the row's own time and an interval."""
        if self.anchors is None:
            return f'a."#time" + INTERVAL ({span.count}) {span.unit.upper()}' if span.count else 'a."#time"'
        if span.count == 0:
            return 'a."time"'
        sign = "+" if span.count > 0 else "-"
        name = f"time {sign} {Span(abs(span.count), span.unit)}"
        self._offsets[span] = quote(name)
        return f"a.{quote(name)}"

    # --- the whole --------------------------------------------------------------------------------------------

    def _with(self, select: str) -> str:
        tables = list(self._tables)
        parts = [f"{quote(name)} AS (\n{indent(body, '  ')}\n)" for name, body in tables]
        if self.anchors is not None:
            columns = ", ".join(['"time"', *self._offsets.values()])
            values = ",\n".join(f"  ({', '.join(self._bounds(anchor))})" for anchor in self.anchors)
            parts.insert(0, f"anchors({columns}) AS (VALUES\n{values}\n)")
        return f"WITH {', '.join(parts)}\n{select}"

    def _bounds(self, anchor: int) -> list[str]:
        times = [anchor, *(span.after(anchor) for span in self._offsets)]
        return [value_sql(to_datetime(time)) for time in times]


def _rows_listed(target: Expression, schema: Schema) -> Expression:
    """The target of a recommendation with row numbers of the table that is ranked in place of its keys."""
    if isinstance(target, Aggregate) and target.argument is not None:
        return replace(target, argument=_rows_listed(target.argument, schema))
    key = key_of(schema, target) if isinstance(target, ColumnRef) else None
    if not isinstance(target, ColumnRef) or key is None:
        raise TypeError("only a foreign key is ranked")
    return RowRef((*target.relations, key))


def _join_inner(rows: Rows, where: Expression | None, named: dict[tuple[Aggregate, bool], str]) -> None:
    """Joins an aggregate that WHERE wants to be above zero so that entities without one need not be looked at."""
    if isinstance(where, Logic) and where.operator == "AND":
        _join_inner(rows, where.left, named)
        _join_inner(rows, where.right, named)
    if not (isinstance(where, Compare) and isinstance(where.left, Aggregate) and isinstance(where.right, Literal)):
        return
    bound, name = where.right.value, named[where.left, True]
    if where.left.function not in ("COUNT", "COUNT_DISTINCT") or isinstance(bound, bool | str) or bound is None:
        return
    if (where.operator == ">" and bound >= 0) or (where.operator in (">=", "=") and bound > 0):  # type: ignore[operator]
        rows.joins[:] = [
            join.removeprefix("LEFT ") if join.startswith(f"LEFT JOIN {name} ") else join for join in rows.joins
        ]


def _lines(joins: Sequence[str]) -> str:
    return "".join(f"\n{join}" for join in joins)
