"""Expressions as written → expressions on a schema: every name a column or an aggregate, every value typed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rdl.clock import Span
from rdl.query.comparing import (
    Typed,
    are_comparable,
    compared,
    literal_type,
    one_type,
    place_of,
    to_time,
    unlike,
    with_article,
    written,
)
from rdl.query.expressions import (
    Aggregate,
    Arithmetic,
    Between,
    Call,
    Case,
    ColumnRef,
    Compare,
    Expression,
    Function,
    In,
    IsNull,
    Like,
    ListLiteral,
    Literal,
    Logic,
    Name,
    Negative,
    Not,
    walk,
)
from rdl.query.functions import AGGREGATES, FUNCTIONS, Type
from rdl.query.paths import choose_path, find_column, find_key, find_paths, split_table
from rdl.query.tokens import Place, refuse, spelled
from rdl.schema import Dtype, Relation, Schema

TYPES = {
    Dtype.boolean: Type.boolean,
    Dtype.integer: Type.number,
    Dtype.float: Type.number,
    Dtype.decimal: Type.number,
    Dtype.text: Type.text,
    Dtype.uuid: Type.text,
    Dtype.date: Type.time,
    Dtype.timestamp: Type.time,
}


@dataclass(frozen=True, slots=True)
class Scope:
    """The row on which an expression is read: one of ``table``; ``past`` where no window may look ahead of t."""

    table: str
    past: bool = False
    clause: str = "the target"


@dataclass(frozen=True, slots=True)
class Resolver:
    """Resolves expressions on ``schema``, following the foreign keys ``via`` where paths tie."""

    schema: Schema
    via: frozenset[Relation] = frozenset()

    def condition(self, node: Expression, scope: Scope) -> Expression:
        """``node`` resolved. Raises QueryError where it is no condition."""
        found, kind = self.resolve(node, scope)
        if kind not in (Type.boolean, Type.unknown):
            raise refuse(
                "not-a-condition", f"{scope.clause} needs a condition, this is {with_article(kind)}", place_of(node),
                "compare it with something: > 0.", compared(node, kind),
            )  # fmt: skip
        return found

    def resolve(self, node: Expression, scope: Scope) -> Typed:
        """``node`` with its names resolved on a row of ``scope``, and the type of its values. Raises QueryError."""
        match node:
            case Literal(value=value):
                return node, literal_type(value)
            case Name():
                return self.column(node, scope.table)
            case Call(windowed=True):
                return self.aggregate(node, scope)
            case Call():
                return self._function(node, scope)
            case Case():
                return self._case(node, scope)
            case Not():
                return replace(node, operand=self._boolean(node.operand, scope, "NOT")), Type.boolean
            case Logic():
                left, right = (self._boolean(side, scope, node.operator) for side in (node.left, node.right))
                return replace(node, left=left, right=right), Type.boolean
            case Negative():
                return replace(node, operand=self._number(node.operand, scope, "minus")), Type.number
            case Arithmetic():
                left, right = (self._number(side, scope, node.operator) for side in (node.left, node.right))
                return replace(node, left=left, right=right), Type.number
            case IsNull():
                return replace(node, operand=self.resolve(node.operand, scope)[0]), Type.boolean
            case ListLiteral():
                raise refuse("list", "a list stands only after IN", node.place, "write … IN (…).")
        return self._test(node, scope)

    # --- columns ----------------------------------------------------------------------------------------------

    def column(self, name: Name, table: str) -> tuple[ColumnRef, Type]:
        """The column that ``name`` means on a row of ``table``, through keys where it stands in another table."""
        head, rest = split_table(self.schema, name)
        if not rest:
            raise refuse(
                "table-as-value", f"{head} is a table, not a value", name.place,
                f"name a column, such as {head}.{self.schema[head].columns[0].name}, or aggregate it.",
                (spelled(head, "*"),),
            )  # fmt: skip
        relations = self._way(name, head, table)
        at = head
        for key in rest[:-1]:
            relation = find_key(self.schema, at, key, name.place)
            relations, at = (*relations, relation), relation.parent
        column = find_column(self.schema, at, rest[-1], name.place)
        kind = TYPES.get(self.schema[at][column].dtype, Type.unknown)
        return ColumnRef(relations, at, column, place=name.place), kind

    def _way(self, name: Name, head: str, table: str) -> tuple[Relation, ...]:
        """The foreign keys from ``table`` up to ``head``; none where they are the same."""
        if head == table:
            return ()
        way = choose_path(self.schema, table, head, self.via, name.place)
        if way is not None:
            return way
        if find_paths(self.schema, head, table):
            find_column(self.schema, head, name.parts[-1], name.place)
            windows = ("0, 30, days", "-30, 0, days")
            instead = tuple(f"LAST({name.place.snippet}, {window})" for window in windows)
            hint = f"write LAST({name.place.snippet}, …), or FOR EACH {head}."
            message = f"{name} has many values for each row of {table}: aggregate it"
            raise refuse("many-values", message, name.place, hint, instead)
        raise refuse(
            "no-path", f"no path of foreign keys leads from {table} to {head}", name.place,
            f"from {table} one reaches {', '.join(_parents(self.schema, table)) or 'nothing'}.",
        )  # fmt: skip

    # --- aggregates -------------------------------------------------------------------------------------------

    def aggregate(self, call: Call, scope: Scope) -> tuple[Aggregate, Type]:
        """The aggregate that ``call`` means on a row of ``scope``."""
        argument = call.arguments[0]
        table = self._aggregated_table(call, argument)
        starred = isinstance(argument, Name) and argument.starred
        if starred and not AGGREGATES[call.function].stars:
            hint = f"name a column: {call.function}({table}.…)."
            raise refuse("star", "* belongs to COUNT and EXISTS alone", argument.place, hint)
        inner = replace(scope, table=table, clause=f"the filter of {call.function}")
        resolved, kind = (None, Type.number) if starred else self.resolve(argument, inner)
        if self.schema[table].time is None:
            raise refuse(
                "no-time", f"{table} has no time column, so no window can be laid over it", place_of(argument),
                "declare its time in the schema file, or read it through a key.",
            )  # fmt: skip
        relations = choose_path(self.schema, table, scope.table, self.via, place_of(argument))
        if relations is None:
            below = [name for name in self.schema.tables if find_paths(self.schema, name, scope.table)]
            raise refuse(
                "no-path", f"no path: {table} are not children of {scope.table}", place_of(argument),
                f"what happens to {scope.table} stands in {', '.join(below[:8]) or 'no table'}.",
            )  # fmt: skip
        self._check_window(call, scope)
        result = self._aggregate_type(call, argument, kind)
        kept = self.condition(call.filter, inner) if call.filter is not None else None
        unit, start, end = call.unit or "day", call.start, call.end or 0
        span = None if start is None else Span(start, unit)
        return (
            Aggregate(call.function, table, relations, resolved, kept, span, Span(end, unit), place=call.place),
            result,
        )

    def _aggregated_table(self, call: Call, argument: Expression) -> str:
        """The table whose rows are aggregated: the one from which all others named in ``argument`` are reached."""
        for inner in walk(argument):
            if isinstance(inner, Call) and inner.windowed:
                raise refuse("nested", f"{inner.function} inside {call.function}", inner.place, "filter by it instead.")
        names = [node for node in walk(argument) if isinstance(node, Name)]
        heads = list(dict.fromkeys(split_table(self.schema, name)[0] for name in names))
        if not heads:
            hint = f"write {call.function}(orders.amount, …)."
            raise refuse("no-table", f"{call.function} needs a column", call.place, hint)
        for head in heads:
            if all(other == head or find_paths(self.schema, head, other) for other in heads):
                return head
        raise refuse(
            "no-path", f"{' and '.join(heads)} are not on one path of foreign keys", names[-1].place,
            "aggregate each of them on its own.",
        )  # fmt: skip

    def _check_window(self, call: Call, scope: Scope) -> None:
        if scope.past and call.end is not None and call.end > 0:
            raise refuse(
                "looks-ahead", "the filter looks ahead: at time t nobody knows it yet", call.place,
                f"end its window at or before 0: {call.function}(…, -{call.end}, 0, {call.unit}s).",
            )  # fmt: skip

    def _aggregate_type(self, call: Call, argument: Expression, kind: Type) -> Type:
        rule = AGGREGATES[call.function]
        if rule.takes is Type.number and kind not in (Type.number, Type.boolean, Type.unknown):
            message = f"{call.function} needs a number, {written(argument)} is {with_article(kind)}"
            raise refuse("not-a-number", message, place_of(argument), "COUNT or COUNT_DISTINCT counts any column.")
        return rule.gives or kind

    # --- values -----------------------------------------------------------------------------------------------

    def _number(self, node: Expression, scope: Scope, operator: str) -> Expression:
        found, kind = self.resolve(node, scope)
        if kind not in (Type.number, Type.boolean, Type.unknown):
            message = f"{operator} needs a number, {written(node)} is {with_article(kind)}"
            raise refuse("not-a-number", message, place_of(node), "count it, or compare it.")
        return Function("NUMBER", (found,), place=node.place) if kind is Type.boolean else found

    def _boolean(self, node: Expression, scope: Scope, operator: str) -> Expression:
        found, kind = self.resolve(node, scope)
        if kind not in (Type.boolean, Type.unknown):
            message, hint = (
                f"{operator} needs a condition, {written(node)} is {with_article(kind)}",
                "compare it with something: > 0.",
            )
            raise refuse("not-a-condition", message, place_of(node), hint, compared(node, kind))
        return found

    def _test(self, node: Expression, scope: Scope) -> Typed:
        match node:
            case Compare():
                for one, other in ((node.left, node.right), (node.right, node.left)):
                    if isinstance(one, Literal) and one.value is None:
                        asked = "IS NOT NULL" if node.operator == "<>" else "IS NULL"
                        hint = f"write {written(other)} {asked}."
                        raise refuse("null", "nothing equals NULL, and nothing differs from it", one.place, hint)
                left, right = self._alike([node.left, node.right], scope, node.place)
                return replace(node, left=left, right=right), Type.boolean
            case Between():
                operand, low, high = self._alike([node.operand, node.low, node.high], scope, node.place)
                return replace(node, operand=operand, low=low, high=high), Type.boolean
            case In():
                operand, *items = self._alike([node.operand, *node.items], scope, node.place)
                return replace(node, operand=operand, items=tuple(items)), Type.boolean
            case Like():
                return self._like(node, scope), Type.boolean
        raise refuse("syntax", "this cannot be used here", node.place)

    def _like(self, node: Like, scope: Scope) -> Like:
        operand, kind = self.resolve(node.operand, scope)
        pattern, pattern_kind = self.resolve(node.pattern, scope)
        if kind is Type.list and node.test == "CONTAINS":
            listed = operand.argument if isinstance(operand, Aggregate) else None
            element = (
                TYPES.get(self.schema[listed.table][listed.column].dtype) if isinstance(listed, ColumnRef) else None
            )
            if element is not None and not are_comparable((operand, element), (pattern, pattern_kind)):
                raise unlike((node.operand, element), (node.pattern, pattern_kind), node.place)
            return replace(node, operand=operand, pattern=pattern)
        for side, found in ((node.operand, kind), (node.pattern, pattern_kind)):
            if found not in (Type.text, Type.unknown):
                message = f"{node.test} needs text, {written(side)} is {with_article(found)}"
                raise refuse("not-text", message, place_of(side), "write text in 'single quotes'.")
        return replace(node, operand=operand, pattern=pattern)

    def _alike(self, nodes: list[Expression], scope: Scope, place: Place) -> list[Expression]:
        """``nodes`` resolved and comparable with the first; text beside a time becomes a time."""
        typed = [self.resolve(node, scope) for node in nodes]
        if any(kind is Type.time for _, kind in typed):
            typed = [to_time(found, kind) for found, kind in typed]
        for node, (found, kind) in zip(nodes[1:], typed[1:], strict=True):
            if not are_comparable(typed[0], (found, kind)):
                raise unlike((nodes[0], typed[0][1]), (node, kind), place)
        return [found for found, _ in typed]

    def _case(self, node: Case, scope: Scope) -> Typed:
        branches, kinds = [], []
        for condition, value in node.branches:
            found, kind = self.resolve(value, scope)
            branches.append((self._boolean(condition, scope, "WHEN"), found))
            kinds.append((value, kind))
        otherwise = None
        if node.otherwise is not None:
            otherwise, kind = self.resolve(node.otherwise, scope)
            kinds.append((node.otherwise, kind))
        return replace(node, branches=tuple(branches), otherwise=otherwise), one_type(kinds, node.place)

    def _function(self, call: Call, scope: Scope) -> Typed:
        rule = FUNCTIONS[call.function]
        least, most = rule.arguments
        if not least <= len(call.arguments) <= most:
            expected = str(least) if least == most else f"{least} or more" if most > 2 else f"{least} or {most}"
            message = f"{call.function} takes {expected} arguments, not {len(call.arguments)}"
            raise refuse("arguments", message, call.place)
        digits = call.arguments[1] if call.function == "ROUND" and len(call.arguments) == 2 else Literal(0)
        if not (isinstance(digits, Literal) and digits.value in range(-15, 16)):
            raise refuse("arguments", "ROUND takes a whole number of digits, at most 15", place_of(digits))
        if rule.takes is Type.number:
            found = tuple(self._number(argument, scope, call.function) for argument in call.arguments)
            return Function(call.function, found, place=call.place), Type.number
        typed = [self.resolve(argument, scope) for argument in call.arguments]
        found = tuple(argument for argument, _ in typed)
        kinds = [(node, kind) for node, (_, kind) in zip(call.arguments, typed, strict=True)]
        function = Function(call.function, found, place=call.place)
        if rule.takes is None or rule.gives is None:
            return function, one_type(kinds, call.place)
        node, kind = kinds[0]
        if kind not in (rule.takes, Type.unknown):
            message = f"{call.function} needs a {rule.takes}, {written(node)} is {with_article(kind)}"
            raise refuse("not-text" if rule.takes is Type.text else "not-time", message, place_of(node))
        return function, rule.gives


def _parents(schema: Schema, table: str) -> list[str]:
    return list(dict.fromkeys(relation.parent for relation in schema.relations_from(table)))
