"""Task → DuckDB SQL over the views of a snapshot: anchors, one table an aggregate, eligible entities, labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from rdl.clock import Span, to_datetime
from rdl.query.expressions import Aggregate, Compare, Expression, Literal, Logic
from rdl.query.rewrite import ask_existence, is_settled, list_rows, reads_own_row
from rdl.query.scalar import Rows, aggregate_sql, indented, quote, table_sql, value_sql
from rdl.query.task import Kind, Task
from rdl.query.timeframes import timeframes
from rdl.schema import Schema


@dataclass(slots=True)
class Compiler:
    """Compiles ``task``. ``anchors`` are the times (µs) t, ascending; None: each row's own time.

    ``times`` is the SQL of a relation with a column ``"time"``, each once, to read the anchors from instead of listing
    them; it may hold some of them only.
    """

    task: Task
    schema: Schema
    anchors: Sequence[int] | None
    times: str | None = None
    _tables: list[tuple[str, str]] = field(default_factory=list)
    _named: dict[tuple[Aggregate, bool], str] = field(default_factory=dict)
    _offsets: dict[Span, str] = field(default_factory=dict)

    def labels(self) -> str:
        """SQL for ``entity`` (row number), ``time`` and ``target`` (NULL: unknown), by time and entity.

        The target is a DOUBLE (binary, regression), a value (multiclass), or a list: of values (multilabel), of row
        numbers (recommendation), of a DOUBLE a timeframe (forecast).
        """
        self._tables.append(("eligible", self._eligible()))
        rows = self._rows('e."#time"' if self.anchors is None else 'a."time"', self._key("s", "s.entity"), past=False)
        target = self._target(rows)
        assuming = ask_existence(self.task.assuming)
        where = f"\nWHERE {rows.sql(assuming)}" if assuming is not None else ""
        for wanted in _wanted(assuming):
            left = f"LEFT JOIN {self._named[wanted, False]} "
            rows.joins[:] = [join.removeprefix("LEFT ") if join.startswith(left) else join for join in rows.joins]
        own_row = self.anchors is None or any(map(reads_own_row, (self.task.target, assuming)))
        return self._select(f"{target} AS target", rows, own_row=own_row, where=where)

    def seeds(self) -> str:
        """SQL for ``entity`` and ``time``: who is eligible, by time and entity."""
        self._tables.append(("eligible", self._eligible()))
        rows = self._rows('a."time"', (), past=False)
        return self._select("", rows, own_row=self.anchors is None, where="")

    def _select(self, target: str, rows: Rows, *, own_row: bool, where: str) -> str:
        time = 'a."time"' if self.anchors is not None else 'e."#time" AS "time"'
        source = "eligible s" + ("\nJOIN anchors a ON a.n = s.n" if self.anchors is not None else "")
        if own_row:
            source += f'\nJOIN {table_sql(self.task.entity)} e ON e."#row" = s.entity'
        order = ", ".join(self._key("s", "s.entity"))
        columns = ", ".join(["s.entity", time, *([target] if target else [])])
        return self._with(f"SELECT {columns}\nFROM {source}{_lines(rows.joins)}{where}\nORDER BY {order}")

    def _target(self, rows: Rows) -> str:
        task = self.task
        if task.target is None:
            raise TypeError("a task without a target has its own SQL")
        asked = ask_existence(task.target)
        if task.kind is Kind.forecast and task.stride is not None:
            frames = timeframes(asked, task.stride, task.timeframes or 1)
            return f"[{', '.join(f'CAST({rows.sql(frame)} AS DOUBLE)' for frame in frames)}]"
        if task.kind is Kind.recommendation:
            return rows.sql(list_rows(asked, self.schema))
        target = rows.sql(asked)
        return f"CAST({target} AS DOUBLE)" if task.kind in (Kind.binary, Kind.regression) else target

    # --- who is asked about -----------------------------------------------------------------------------------

    def _eligible(self) -> str:
        task, table = self.task, self.schema[self.task.entity]
        own_time = self.anchors is None
        time = 'e."#time"' if own_time else 'a."time"'
        rows = self._rows(time, self._key("a", 'e."#row"'), past=True)
        asked = ask_existence(task.where)
        where = [rows.sql(asked)] if asked is not None else []
        known = 'e."#time" <= a."time"' if table.time is not None else "TRUE"
        source = f"anchors a JOIN {table_sql(table.name)} e ON {known}"
        if own_time:
            source, where = f"{table_sql(table.name)} e", ['e."#time" IS NOT NULL', *where]
        for name in dict.fromkeys(self._named[wanted, True] for wanted in _wanted(asked)):
            at = next(at for at, join in enumerate(rows.joins) if join.startswith(f"LEFT JOIN {name} "))
            join = rows.joins.pop(at).removeprefix("LEFT ")
            if own_time or not source.startswith("anchors"):
                rows.joins.insert(0, join)
            else:  # begin with those who have something, rather than with everyone at every anchor
                source = f"{name} JOIN anchors a ON a.n = {name}.n"
                source += f'\nJOIN {table_sql(table.name)} e ON e."#row" = {name}.entity AND {known}'
        if table.valid_until is not None:
            ends = f"e.{quote(table.valid_until)}"
            where.append(f"({ends} IS NULL OR {ends} > {time})")
        kept = f"\nWHERE {' AND '.join(where)}" if where else ""
        columns = ", ".join(self._key("a", 'e."#row"::INTEGER AS entity'))
        return f"SELECT {columns}\nFROM {source}{_lines(rows.joins)}{kept}"

    def _rows(self, time: str, key: tuple[str, ...], *, past: bool) -> Rows:
        return Rows(self.schema, self.task.entity, "e", time, key, past, self._join_window)

    def _key(self, anchor: str, row: str) -> tuple[str, ...]:
        """What tells a seed from others: the number of its anchor under the alias ``anchor``, and its ``row``."""
        return (row,) if self.anchors is None else (f"{anchor}.n", row)

    # --- aggregates -------------------------------------------------------------------------------------------

    def _join_window(self, node: Aggregate, rows: Rows) -> str:
        """The alias under which the values of ``node`` are joined to ``rows``."""
        name = self._window(node, past=rows.past)
        own = [f"{name}.{column}" for column in ("n", "entity")[-len(rows.key) :]]
        join = (
            f"LEFT JOIN {name} ON {' AND '.join(f'{one} = {other}' for one, other in zip(own, rows.key, strict=True))}"
        )
        if join not in rows.joins:
            rows.joins.append(join)
        return name

    def _window(self, node: Aggregate, *, past: bool) -> str:
        """The quoted name of the table that holds ``node`` by anchor and row; it is made where there is none yet."""
        if (node, past) not in self._named:
            rows = Rows(self.schema, node.table, "c", self._time(), self._key("a", 'c."#row"'), past, self._join_window)
            body = self._spread(node, rows) if self._is_spread(node) else self._grouped(node, rows)
            name = self._fresh(f"{node.function.lower()} of {node.table}")
            self._tables.append((name, body))
            self._named[node, past] = quote(name)
        return self._named[node, past]

    def _grouped(self, node: Aggregate, rows: Rows) -> str:
        """``node`` by anchor and row, from all pairs of a row and a window that it lies in."""
        entity = rows.hop(node.relations)
        ending = "<" if self.anchors is None and node.end.count == 0 else "<="
        begun = [f'c."#time" > {self._offset("a", node.start)}'] if node.start is not None else []
        over = [f'c."#time" {ending} {self._offset("a", node.end)}']
        where = [f"{entity} IS NOT NULL"]
        if self.anchors is None:
            within = [f'a."#row" = {entity}', *begun, *over]
            rows.joins.append(f"JOIN {table_sql(self.task.entity)} a ON {' AND '.join(within)}")
        elif self._is_tiled(node):  # each row is in one window at most: the last that has begun, where it is not over
            rows.joins.append(f"ASOF JOIN anchors a ON {begun[0]}")
            where += over
        else:
            rows.joins.append(f"JOIN anchors a ON {' AND '.join([*begun, *over])}")
        value = aggregate_sql(node, rows)
        where += [rows.sql(node.filter)] if node.filter is not None else []
        columns = self._key("a", f"{entity}::INTEGER AS entity")
        return (
            f"SELECT {', '.join(columns)}, {value} AS value\nFROM {table_sql(node.table)} c{_lines(rows.joins)}\n"
            f"WHERE {' AND '.join(where)}\nGROUP BY {', '.join(map(str, range(1, len(columns) + 1)))}"
        )

    def _spread(self, node: Aggregate, rows: Rows) -> str:
        """EXISTS over windows that overlap: each row is seen from one anchor on until its window is left or the next
        row of the same entity is seen, and so no anchor of an entity is met twice."""
        entity = rows.hop(node.relations)
        rows.joins.append(f'ASOF JOIN anchors a ON c."#time" <= {self._offset("a", node.end)}')
        last = f"{len(self.anchors or ()) - 1}"
        if node.start is not None:
            rows.joins.append(f'ASOF JOIN anchors z ON c."#time" > {self._offset("z", node.start)}')
            last = "MAX(z.n)"
        where = [f"{entity} IS NOT NULL"]
        where += [f"{rows.sql(node.argument)} IS NOT NULL"] if node.argument is not None else []
        where += [rows.sql(node.filter)] if node.filter is not None else []
        seen = (
            f"SELECT {entity}::INTEGER AS entity, a.n AS first, {last} AS last,\n"
            f"  LEAD(a.n) OVER (PARTITION BY {entity} ORDER BY a.n) AS next\n"
            f"FROM {table_sql(node.table)} c{_lines(rows.joins)}\nWHERE {' AND '.join(where)}\nGROUP BY {entity}, a.n"
        )
        return (
            "SELECT CAST(UNNEST(range(first, LEAST(last + 1, next))) AS INTEGER) AS n, entity, TRUE AS value\n"
            f"FROM (\n{indented(seen)}\n)"
        )

    def _is_tiled(self, node: Aggregate) -> bool:
        """Whether there are several windows and each ends before the next begins."""
        if node.start is None or self.anchors is None or len(self.anchors) < 2:
            return False
        starts, ends = ([span.after(anchor) for anchor in self.anchors] for span in (node.start, node.end))
        return all(end <= start for end, start in zip(ends, starts[1:], strict=False))

    def _is_spread(self, node: Aggregate) -> bool:
        """Whether ``node`` asks for the existence of rows in windows that overlap, and whether a row counts does not
        depend on the time. (Calendar months may let two windows begin or end at once: their order is then open.)"""
        if node.function != "EXISTS" or self.anchors is None or self._is_tiled(node):
            return False
        spans = [node.end] if node.start is None else [node.start, node.end]
        apart = all(one < other for span in spans for one, other in pairwise(map(span.after, self.anchors)))
        return apart and all(is_settled(part, self.schema) for part in (node.argument, node.filter))

    def _time(self) -> str:
        return 'a."#time"' if self.anchors is None else 'a."time"'

    def _fresh(self, name: str) -> str:
        taken = {taken.casefold() for taken, _ in self._tables} | {table.casefold() for table in self.schema.tables}
        number, fresh = 1, name
        while fresh.casefold() in taken:
            number += 1
            fresh = f"{name} {number}"
        return fresh

    def _offset(self, alias: str, span: Span) -> str:
        """The SQL of t + ``span``: a column of the anchors, or the row's own time and an interval."""
        if self.anchors is None:
            time = f'{alias}."#time"'
            return f"{time} + INTERVAL ({span.count}) {span.unit.upper()}" if span.count else time
        if span.count == 0:
            return f'{alias}."time"'
        sign = "+" if span.count > 0 else "-"
        self._offsets[span] = quote(f"time {sign} {Span(abs(span.count), span.unit)}")
        return f"{alias}.{self._offsets[span]}"

    # --- the whole --------------------------------------------------------------------------------------------

    def _with(self, select: str) -> str:
        parts = [f"{quote(name)} AS (\n{indented(body)}\n)" for name, body in self._tables]
        if self.anchors is not None:
            columns = ", ".join(['"time"', "n", *self._offsets.values()])
            parts.insert(0, f"anchors({columns}) AS {self._anchors(self.anchors)}")
        return f"WITH {', '.join(parts)}\n{select}"

    def _anchors(self, anchors: Sequence[int]) -> str:
        """The anchors with their numbers and the times that windows reach from each."""
        if self.times is None:
            values = ",\n".join(f"  ({', '.join(self._bounds(*anchor))})" for anchor in enumerate(anchors))
            return f"(VALUES\n{values}\n)"
        bounds = [f'"time" + INTERVAL ({span.count}) {span.unit.upper()}' for span in self._offsets]
        columns = ", ".join(['"time"', '(row_number() OVER (ORDER BY "time") - 1)::INTEGER', *bounds])
        return f"MATERIALIZED (\n  SELECT {columns}\n  FROM {self.times}\n)"

    def _bounds(self, number: int, anchor: int) -> list[str]:
        bounds = [value_sql(to_datetime(span.after(anchor))) for span in self._offsets]
        return [value_sql(to_datetime(anchor)), str(number), *bounds]


def _wanted(where: Expression | None) -> list[Aggregate]:
    """The aggregates in which a condition wants a row to be: entities without one need not be looked at."""
    if isinstance(where, Logic) and where.operator == "AND":
        return [*_wanted(where.left), *_wanted(where.right)]
    found = where.left if isinstance(where, Compare) and _wants_some(where) else where
    counts = isinstance(found, Aggregate) and found.function in ("EXISTS", "COUNT", "COUNT_DISTINCT")
    return [found] if counts else []  # type: ignore[list-item]


def _wants_some(where: Compare) -> bool:
    """Whether ``where`` says that its left side is above zero."""
    bound = where.right.value if isinstance(where.right, Literal) else None
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        return False
    return (where.operator == ">" and bound >= 0) or (where.operator in (">=", "=") and bound > 0)


def _lines(joins: Sequence[str]) -> str:
    return "".join(f"\n{join}" for join in joins)
