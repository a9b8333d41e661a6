"""Expressions → DuckDB SQL over the views of a snapshot, read on one row."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from rdl.query.expressions import (
    Aggregate,
    Arithmetic,
    Between,
    Case,
    ColumnRef,
    Compare,
    Expression,
    Function,
    In,
    IsNull,
    Like,
    Literal,
    Logic,
    Negative,
    Not,
    RowRef,
    Value,
)
from rdl.query.functions import AGGREGATES, FUNCTIONS
from rdl.query.grammar import TESTS
from rdl.query.paths import Path
from rdl.schema import Relation, Schema

#: Names of the common table expressions that every compiled query has.
RESERVED_TABLES = ("anchors", "eligible")

_TESTS = {test.words: test.sql for test in TESTS if test.sql is not None}


def quote(name: str) -> str:
    """``name`` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def table_sql(name: str) -> str:
    """The view of the table ``name``, also where it is called like a common table expression of ours."""
    return f"main.{quote(name)}" if name.casefold() in RESERVED_TABLES else quote(name)


def indented(sql: str) -> str:
    """``sql`` two blanks further to the right; what stands in quotes, line breaks included, stays as it is."""
    quoted_or_break = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")|\n""")
    return "  " + quoted_or_break.sub(lambda found: found[1] or "\n  ", sql)


def value_sql(value: Value) -> str:
    """A value as an SQL literal; a datetime is UTC."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, dt.datetime):
        return f"TIMESTAMP '{value.isoformat(' ')}'"
    return repr(value) if math.isfinite(value) else f"CAST('{value}' AS DOUBLE)"


def row_column(schema: Schema, relation: Relation) -> str:
    """The column of the child's view that holds the parent's row number, quoted."""
    name = "#" + "+".join(relation.key)
    first = next(other for other in schema.relations_from(relation.child) if other.key == relation.key)
    return quote(name if first == relation else f"{name}→{relation.parent}")


@dataclass(slots=True)
class Rows:
    """Rows of ``table`` under an ``alias``, each at a time (the SQL expression ``time``), and what is joined to them.

    ``key`` are the SQL expressions by which values of aggregates are joined: the number of the anchor, unless each row
    has a time of its own, and the row's number.
    ``past``: only what is known at that time may be read, of parents and of columns that are known later than their
    row. ``windows`` gives, for an aggregate over these rows, the alias under which its values are joined.
    """

    schema: Schema
    table: str
    alias: str
    time: str
    key: tuple[str, ...]
    past: bool = False
    windows: Callable[[Aggregate, Rows], str] | None = None
    joins: list[str] = field(default_factory=list)
    parents: dict[tuple[Path, bool], str] = field(default_factory=dict)

    def parent(self, path: Path, *, known: bool) -> str:
        """The alias of the row reached through ``path``, joined where it is not yet; NULLs where there is none.

        Where ``known``, only a parent is joined whose own time is not after the row's, and over a key known by then.
        """
        if not path:
            return self.alias
        if (path, known) not in self.parents:
            child, step = self.parent(path[:-1], known=known), path[-1]
            alias = f"p{len(self.parents) + 1}"
            condition = f'{alias}."#row" = {child}.{row_column(self.schema, step)}'
            if known and self.schema[step.parent].time is not None:
                condition += f' AND {alias}."#time" <= {self.time}'
            for told in self.schema.told_by(step) if known else ():
                condition += f" AND {child}.{quote(told)} <= {self.time}"
            self.joins.append(f"LEFT JOIN {table_sql(step.parent)} {alias} ON {condition}")
            self.parents[path, known] = alias
        return self.parents[path, known]

    def hop(self, path: Path) -> str:
        """The row number, in the last parent of ``path``, of the row reached through it."""
        return f"{self.parent(path[:-1], known=False)}.{row_column(self.schema, path[-1])}"

    def keys_known(self, path: Path) -> list[str]:
        """The conditions, where only the past may be read, that the keys of ``path`` were known by then."""
        steps = enumerate(path) if self.past else ()
        return [
            f"{self.parent(path[:number], known=False)}.{quote(told)} <= {self.time}"
            for number, step in steps
            for told in self.schema.told_by(step)
        ]

    def sql(self, node: Expression) -> str:
        """``node`` as SQL on these rows; what it needs is joined."""
        match node:
            case Literal(value=value):
                return value_sql(value)
            case ColumnRef():
                return self._column(node)
            case RowRef(relations=relations):
                return f"{self.hop(relations)}::INTEGER"
            case Aggregate():
                return self._aggregate(node)
            case Negative(operand=operand):
                return f"(- {self.sql(operand)})"
            case Not(operand=operand):
                return f"(NOT {self.sql(operand)})"
            case Arithmetic(operator=operator, left=left, right=right):
                divisor = self.sql(right)
                if operator in "/%":
                    divisor = f"NULLIF({divisor}, 0)"
                return f"({self.sql(left)} {operator} {divisor})"
            case Compare(operator=operator, left=left, right=right) | Logic(operator=operator, left=left, right=right):
                return f"({self.sql(left)} {operator} {self.sql(right)})"
        return self._test(node)

    def _test(self, node: Expression) -> str:
        match node:
            case IsNull(operand=operand, negated=negated):
                return f"({self.sql(operand)} IS {'NOT ' if negated else ''}NULL)"
            case In(operand=operand, items=items, negated=negated):
                listed = ", ".join(self.sql(item) for item in items)
                if not items:
                    return "TRUE" if negated else "FALSE"
                return f"({self.sql(operand)} {'NOT ' if negated else ''}IN ({listed}))"
            case Between(operand=operand, low=low, high=high, negated=negated):
                bounds = f"{self.sql(low)} AND {self.sql(high)}"
                return f"({self.sql(operand)} {'NOT ' if negated else ''}BETWEEN {bounds})"
            case Like(test=test, operand=operand, pattern=pattern, negated=negated):
                form = _TESTS[test]
                if isinstance(operand, Aggregate) and operand.function == "LIST_DISTINCT":
                    form = "list_contains({0}, {1})"
                written = form.format(self.sql(operand), self.sql(pattern))
                return f"(NOT {written})" if negated else f"({written})"
            case Case(branches=branches, otherwise=otherwise):
                whens = " ".join(f"WHEN {self.sql(when)} THEN {self.sql(then)}" for when, then in branches)
                return f"CASE {whens}{f' ELSE {self.sql(otherwise)}' if otherwise is not None else ''} END"
            case Function(name=name, arguments=arguments):
                written_arguments = [self.sql(argument) for argument in arguments]
                if name == "NUMBER":
                    return f"CAST({written_arguments[0]} AS DOUBLE)"
                guarded = FUNCTIONS[name].sql
                return guarded.format(*written_arguments) if guarded else f"{name}({', '.join(written_arguments)})"
        raise TypeError(f"{type(node).__name__} has no SQL")

    def _column(self, node: ColumnRef) -> str:
        alias = self.parent(node.relations, known=self.past)
        column = self.schema[node.table][node.column]
        written = f"{alias}.{quote(node.column)}"
        if self.past and column.known_at is not None:
            return f"CASE WHEN {alias}.{quote(column.known_at)} <= {self.time} THEN {written} END"
        return written

    def _aggregate(self, node: Aggregate) -> str:
        if self.windows is None:
            raise TypeError("an aggregate where none is allowed")
        value = f"{self.windows(node, self)}.value"
        nothing = AGGREGATES[node.function].nothing
        return value if nothing is None else f"COALESCE({value}, {nothing})"


def aggregate_sql(node: Aggregate, rows: Rows) -> str:
    """The SQL aggregate of ``node`` over ``rows``; NULLs are left out, equal times count in the rows' order."""
    argument = "*" if node.argument is None else rows.sql(node.argument)
    number = f"CAST({argument} AS DOUBLE)"
    ordered = f'{argument} ORDER BY {rows.alias}."#row"'
    return AGGREGATES[node.function].sql.format(argument=argument, number=number, ordered=ordered)
