"""Task → DuckDB SQL over the views of a snapshot: anchors, one table an aggregate, eligible entities, labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rdl.clock import Span, to_datetime
from rdl.query.expressions import Aggregate, Compare, Expression, Literal, Logic, RowRef, aggregates
from rdl.query.rewrite import ask_existence, is_settled, list_rows, reads_own_row
from rdl.query.scalar import Rows, aggregate_sql, indented, quote, table_sql, value_sql
from rdl.query.task import Kind, Task
from rdl.query.timeframes import timeframes
from rdl.query.windows import PARTS, Windows, lay_windows, line_up, put_together, window_of
from rdl.schema import Schema


@dataclass(slots=True)
class Compiler:
    """Compiles ``task``, once. ``anchors`` are the times (µs) t, ascending; None: each row's own time.

    ``times`` is the SQL of a relation with a column ``"time"``, each once, to read the anchors from instead of listing
    them; it may hold some of them only.

    ``loose`` SQL leaves to others what they do faster: rows come in any order, the number ``n`` of the anchor stands in
    place of its time, and a recommendation over windows has ``listed`` in place of ``target``: a row for each row
    number that a seed lists, some more than once, and NULL where it lists none.
    """

    task: Task
    schema: Schema
    anchors: Sequence[int] | None
    times: str | None = None
    loose: bool = False
    _tables: list[tuple[str, str]] = field(default_factory=list)
    _named: dict[tuple[Aggregate, bool], str] = field(default_factory=dict)
    _offsets: dict[Span, str] = field(default_factory=dict)
    _framed: dict[Aggregate, tuple[str, str, int]] = field(default_factory=dict)

    def labels(self) -> str:
        """SQL for ``entity`` (row number), ``time`` and ``target`` (NULL: unknown), by time and entity.

        The target is a DOUBLE (binary, regression), a value (multiclass), or a list: of values (multilabel), of row
        numbers (recommendation), of a DOUBLE a timeframe (forecast).
        """
        task, assuming = self.task, ask_existence(self.task.assuming)
        ranked = _ranked(task, self.schema) if self.loose else None
        if ranked is not None and task.where is None and assuming == replace(ranked, function="EXISTS", argument=None):
            return self._listed(ranked)
        self._tables.append(("eligible", self._eligible()))
        rows = self._rows(self._time("e"), self._key("s", "s.entity"), past=False)
        target = f"{self._join_window(ranked, rows)}.value AS listed" if ranked is not None else self._target(rows)
        where = f"\nWHERE {rows.sql(assuming)}" if assuming is not None else ""
        for wanted in _wanted(assuming):  # first, so that fewer rows are joined to the others
            at = next(at for at, join in enumerate(rows.joins) if f" {self._named[wanted, False]} ON " in join)
            rows.joins.insert(0, rows.joins.pop(at).removeprefix("LEFT "))
        own_row = self.anchors is None or any(map(reads_own_row, (task.target, assuming)))
        return self._select(target, rows, own_row=own_row, where=where)

    def seeds(self) -> str:
        """SQL for ``entity`` and ``time``: who is eligible, by time and entity."""
        self._tables.append(("eligible", self._eligible()))
        rows = self._rows(self._time(), (), past=False)
        return self._select("", rows, own_row=self.anchors is None, where="")

    def _select(self, target: str, rows: Rows, *, own_row: bool, where: str) -> str:
        time, source = 'a."time"', "eligible s"
        if self.anchors is None:
            time = 'e."#time" AS "time"'
        elif self.loose:
            time = "s.n"
        else:
            source += "\nJOIN anchors a ON a.n = s.n"
        if own_row:
            source += f'\nJOIN {table_sql(self.task.entity)} e ON e."#row" = s.entity'
        order = "" if self.loose else f"\nORDER BY {', '.join(self._key('s', 's.entity'))}"
        columns = ", ".join(["s.entity", time, *([target] if target else [])])
        return self._with(f"SELECT {columns}\nFROM {source}{_lines(rows.joins)}{where}{order}")

    def _target(self, rows: Rows) -> str:
        task = self.task
        if task.target is None:
            raise TypeError("a task without a target has its own SQL")
        asked = ask_existence(task.target)
        if task.kind is Kind.forecast and task.stride is not None:
            frames = timeframes(asked, task.stride, task.timeframes or 1)
            for nodes in zip(*(aggregates(frame, nested=False) for frame in frames), strict=True):
                self._share(nodes)
            values = ", ".join(f"CAST({rows.sql(frame)} AS DOUBLE)" for frame in frames)
            self._framed.clear()
            return f"[{values}] AS target"
        target = rows.sql(list_rows(asked, self.schema) if task.kind is Kind.recommendation else asked)
        return f"{f'CAST({target} AS DOUBLE)' if task.kind in (Kind.binary, Kind.regression) else target} AS target"

    def _listed(self, ranked: Aggregate) -> str:
        """The labels of a ranking that asks only for those of whom there is a row in the window: they say it all."""
        name, table = self._window(ranked, past=False), self.schema[self.task.entity]
        source = f'{name} s\nJOIN anchors a ON a.n = s.n\nJOIN {table_sql(table.name)} e ON e."#row" = s.entity'
        return self._with(f"SELECT s.entity, s.n, s.value AS listed\nFROM {source} AND {self._known()}")

    # --- who is asked about -----------------------------------------------------------------------------------

    def _eligible(self) -> str:
        task, table = self.task, self.schema[self.task.entity]
        own_time = self.anchors is None
        rows = self._rows(self._time("e"), self._key("a", 'e."#row"'), past=True)
        asked = ask_existence(task.where)
        where = [rows.sql(asked)] if asked is not None else []
        source = f"anchors a JOIN {table_sql(table.name)} e ON {self._known()}"
        if own_time:
            source, where = f"{table_sql(table.name)} e", [self._known(), *where]
        for name in dict.fromkeys(self._named[wanted, True] for wanted in _wanted(asked)):
            at = next(at for at, join in enumerate(rows.joins) if join.startswith(f"LEFT JOIN {name} "))
            join = rows.joins.pop(at).removeprefix("LEFT ")
            if own_time or not source.startswith("anchors"):
                rows.joins.insert(0, join)
            else:  # begin with those who have something, rather than with everyone at every anchor
                source = f"{name} JOIN anchors a ON a.n = {name}.n"
                source += f'\nJOIN {table_sql(table.name)} e ON e."#row" = {name}.entity AND {self._known()}'
        kept = f"\nWHERE {' AND '.join(where)}" if where else ""
        columns = ", ".join(self._key("a", 'e."#row"::INTEGER AS entity'))
        return f"SELECT {columns}\nFROM {source}{_lines(rows.joins)}{kept}"

    def _known(self) -> str:
        """The condition that a row of the entity is there at t: it has begun, and has not ended."""
        table = self.schema[self.task.entity]
        known = ['e."#time" IS NOT NULL'] if self.anchors is None else []
        if table.time is not None and self.anchors is not None:
            known.append('e."#time" <= a."time"')
        if table.valid_until is not None:
            ends = f"e.{quote(table.valid_until)}"
            known.append(f"({ends} IS NULL OR {ends} > {self._time('e')})")
        return " AND ".join(known) or "TRUE"

    def _rows(self, time: str, key: tuple[str, ...], *, past: bool) -> Rows:
        return Rows(self.schema, self.task.entity, "e", time, key, past, self._join_window)

    def _below(self, node: Aggregate, *, past: bool) -> Rows:
        """The rows of ``node``, each in a window of an anchor."""
        return Rows(self.schema, node.table, "c", self._time(), self._key("a", 'c."#row"'), past, self._join_window)

    def _key(self, anchor: str, row: str) -> tuple[str, ...]:
        """What tells a seed from others: the number of its anchor under the alias ``anchor``, and its ``row``."""
        return (row,) if self.anchors is None else (f"{anchor}.n", row)

    # --- aggregates -------------------------------------------------------------------------------------------

    def _join_window(self, node: Aggregate, rows: Rows) -> str:
        """The alias under which the values of ``node`` are joined to ``rows``."""
        if node in self._framed:
            return self._join_frame(node, rows)
        name = self._window(node, past=rows.past)
        own = [f"{name}.{column}" for column in ("n", "entity")[-len(rows.key) :]]
        join = (
            f"LEFT JOIN {name} ON {' AND '.join(f'{one} = {other}' for one, other in zip(own, rows.key, strict=True))}"
        )
        if join not in rows.joins:
            rows.joins.append(join)
        return name

    def _join_frame(self, node: Aggregate, rows: Rows) -> str:
        """As :meth:`_join_window`, from the table that all timeframes share."""
        name, numbers, later = self._framed[node]
        alias = f"f{list(self._framed).index(node) + 1}"
        for join in (
            f"JOIN {numbers} ON {numbers}.n = {rows.key[0]}",
            f"LEFT JOIN {name} {alias} ON {alias}.n = {numbers}.first + {later} AND {alias}.entity = {rows.key[1]}",
        ):
            if join not in rows.joins:
                rows.joins.append(join)
        return alias

    def _window(self, node: Aggregate, *, past: bool) -> str:
        """The quoted name of the table that holds ``node`` by anchor and row; it is made where there is none yet."""
        if (node, past) not in self._named:
            body = self._body(node, self._below(node, past=past))
            self._named[node, past] = self._table(f"{node.function.lower()} of {node.table}", body)
        return self._named[node, past]

    def _body(self, node: Aggregate, rows: Rows) -> str:
        """The SQL of ``node`` by anchor and row: from windows that do not overlap, from their cells, or from all pairs
        of a row and a window that it lies in."""
        if self.anchors is None or len(self.anchors) < 2:
            return self._grouped(node, rows)
        windows = lay_windows(node, self.anchors)
        if windows.are_tiled:
            return self._grouped(node, rows, tiled=True)
        counted = self.times is None and (node.function in PARTS or self._is_loose(node))  # anchors by their numbers
        settled = all(is_settled(part, self.schema, past=rows.past) for part in (node.argument, node.filter))
        if settled and not rows.keys_known(node.relations):
            if node.function == "EXISTS" and windows.are_apart:
                return self._spread(node, rows)
            if counted:
                return self._celled(node, rows, windows)
        return self._grouped(node, rows)

    def _grouped(self, node: Aggregate, rows: Rows, *, tiled: bool = False) -> str:
        """``node`` by anchor and row, from all pairs of a row and a window that it lies in."""
        entity = rows.hop(node.relations)
        ending = "<" if self.anchors is None and node.end.count == 0 else "<="
        begun = [f'c."#time" > {self._offset("a", node.start)}'] if node.start is not None else []
        over = [f'c."#time" {ending} {self._offset("a", node.end)}']
        kept: list[str] = []
        if self.anchors is None:
            within = [f'a."#row" = {entity}', *begun, *over]
            rows.joins.append(f"JOIN {table_sql(self.task.entity)} a ON {' AND '.join(within)}")
        elif tiled:  # each row is in one window at most: the last that has begun, where it is not over
            rows.joins.append(f"ASOF JOIN anchors a ON {begun[0]}")
            kept = over
        else:
            rows.joins.append(f"JOIN anchors a ON {' AND '.join([*begun, *over])}")
        where = self._kept(node, rows, kept)
        listed = f"{', '.join(self._key('a', f'{entity}::INTEGER AS entity'))}, {self._value(node, rows)} AS value"
        selected = f"SELECT {listed}\nFROM {table_sql(node.table)} c{_lines(rows.joins)}\nWHERE {where}"
        groups = "" if self._is_loose(node) else "\nGROUP BY 1, 2" if self.anchors is not None else "\nGROUP BY 1"
        return selected + groups

    def _spread(self, node: Aggregate, rows: Rows) -> str:
        """EXISTS over windows that overlap: each row is seen from one anchor on until its window is left or the next
        row of the same entity is seen, and so no anchor of an entity is met twice."""
        entity = rows.hop(node.relations)
        rows.joins.append(f'ASOF JOIN anchors a ON c."#time" <= {self._offset("a", node.end)}')
        last = f"{len(self.anchors or ()) - 1}"
        if node.start is not None:
            rows.joins.append(f'ASOF JOIN anchors z ON c."#time" > {self._offset("z", node.start)}')
            last = "MAX(z.n)"
        where = self._kept(node, rows)
        seen = (
            f"SELECT {entity}::INTEGER AS entity, a.n AS first, {last} AS last,\n"
            f"  LEAD(a.n) OVER (PARTITION BY {entity} ORDER BY a.n) AS next\n"
            f"FROM {table_sql(node.table)} c{_lines(rows.joins)}\nWHERE {where}\nGROUP BY {entity}, a.n"
        )
        window = window_of("first", "LEAST(last + 1, next)")
        return f"SELECT {window}, entity, TRUE AS value\nFROM (\n{indented(seen)}\n)"

    def _celled(self, node: Aggregate, rows: Rows, windows: Windows) -> str:
        """``node`` by anchor and row where windows overlap: each row is met once, in its cell, and each window is put
        together from what its cells hold."""
        parts = [replace(node, function=part) for part in PARTS.get(node.function, (node.function,))]
        held = self._in_cells(parts, rows, windows, "x.first, x.last")
        if self._is_loose(node):
            return f"SELECT {window_of('first', 'last')}, entity, v1 AS value\nFROM (\n{indented(held)}\n)"
        held = self._table(f"cells of {node.table}", f"{held}\nGROUP BY 1, 2, 3")
        return put_together(node.function, held, windows)

    def _in_cells(self, parts: Sequence[Aggregate], rows: Rows, windows: Windows, cell: str) -> str:
        """SQL for the columns ``cell``, the entity and the values v1, v2 of ``parts``, which differ in their functions,
        over the rows that lie in a cell of ``windows``; they are still to be grouped."""
        entity = rows.hop(parts[0].relations)
        ends = ",\n".join(f"  ({_time_sql(cell.end)}, {cell.first}, {cell.last})" for cell in windows.cells())
        cells = self._table("cells", f'SELECT * FROM (VALUES\n{ends}\n) cell("end", first, last)')
        rows.joins.append(f'ASOF JOIN {cells} x ON c."#time" <= x."end"')
        where = self._kept(parts[0], rows, ["x.first < x.last"])
        values = ", ".join(f"{self._value(part, rows)} AS v{number}" for number, part in enumerate(parts, 1))
        return (
            f"SELECT {cell}, {entity}::INTEGER AS entity, {values}\n"
            f"FROM {table_sql(parts[0].table)} c{_lines(rows.joins)}\nWHERE {where}"
        )

    def _share(self, nodes: tuple[Aggregate, ...]) -> None:
        """Lets the same aggregate of consecutive timeframes be read from one table by window, where the windows of one
        anchor are those of others."""
        node, alike = nodes[0], {replace(node, start=None, end=Span(0)) for node in nodes}
        settled = all(is_settled(part, self.schema, past=False) for part in (node.argument, node.filter))
        if self.anchors is None or self.times is not None or len(alike) > 1 or not settled:
            return
        found = line_up([lay_windows(frame, self.anchors) for frame in nodes])
        if found is None:
            return
        windows, first = found
        held = self._in_cells([node], self._below(node, past=False), windows, "x.first AS n") + "\nGROUP BY 1, 2"
        body = f"SELECT n, entity, v1 AS value\nFROM (\n{indented(held)}\n)"
        table = self._table(f"{node.function.lower()} of {node.table}", body)
        numbers = ", ".join(f"({n}, {number})" for n, number in enumerate(first))
        numbers = self._table("timeframes", f"SELECT * FROM (VALUES {numbers}) timeframe(n, first)")
        self._framed |= {frame: (table, numbers, later) for later, frame in enumerate(nodes)}

    def _kept(self, node: Aggregate, rows: Rows, within: Sequence[str] = ()) -> str:
        """The condition under which a row of ``node`` counts; ``within``: under which it lies in a window."""
        where = [f"{rows.hop(node.relations)} IS NOT NULL", *rows.keys_known(node.relations), *within]
        if node.argument is not None and node.function == "EXISTS":
            where.append(f"{rows.sql(node.argument)} IS NOT NULL")
        return " AND ".join([*where, *([rows.sql(node.filter)] if node.filter is not None else [])])

    def _value(self, node: Aggregate, rows: Rows) -> str:
        """The SQL of ``node`` over a group of ``rows`` that count."""
        if self._is_loose(node) and node.argument is not None:
            return rows.sql(node.argument)
        return "TRUE" if node.function == "EXISTS" else aggregate_sql(node, rows)

    def _is_loose(self, node: Aggregate) -> bool:
        """Whether ``node`` lists the rows of a ranking one by one, rather than as lists, which are slow in SQL."""
        return self.loose and node.function == "LIST_DISTINCT" and isinstance(node.argument, RowRef)

    def _time(self, alias: str = "a") -> str:
        """The SQL of t: the time of the row of the entity under ``alias``, or of the anchor."""
        return f'{alias}."#time"' if self.anchors is None else 'a."time"'

    def _table(self, name: str, body: str) -> str:
        """The quoted name of a further common table expression, ``name`` unless that is taken."""
        taken = {taken.casefold() for taken, _ in self._tables} | {table.casefold() for table in self.schema.tables}
        number, fresh = 1, name
        while fresh.casefold() in taken:
            number += 1
            fresh = f"{name} {number}"
        self._tables.append((fresh, body))
        return quote(fresh)

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
        return [_time_sql(anchor), str(number), *(_time_sql(span.after(anchor)) for span in self._offsets)]


def _ranked(task: Task, schema: Schema) -> Aggregate | None:
    """The aggregate whose row numbers a recommendation over windows ranks; None of any other task."""
    if task.kind is not Kind.recommendation or task.target is None:
        return None
    listed = list_rows(ask_existence(task.target), schema)
    return listed if isinstance(listed, Aggregate) else None


def _time_sql(time_us: int) -> str:
    return value_sql(to_datetime(time_us))


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
