"""Clauses + Schema → Task: what the target is, of which rows it is asked, what must be hidden."""

from __future__ import annotations

from rdl.clock import CALENDAR, Span
from rdl.query.clauses import Clauses
from rdl.query.expressions import Aggregate, ColumnRef, Expression, Name, aggregates, own_columns
from rdl.query.functions import AGGREGATES, Type
from rdl.query.names import Resolver, Scope
from rdl.query.paths import find_column, find_key, key_of, match_name, split_table
from rdl.query.task import Kind, Task
from rdl.query.timeframes import timeframes
from rdl.query.tokens import Place, refuse, spelled
from rdl.schema import Relation, Schema, Stype

Cell = tuple[str, str]

#: The days, and more, by which calendar months and years are longer or shorter than on average.
_MONTH_VARIES = 3
#: Aggregates whose value is one of the values aggregated.
_ONE_VALUE = tuple(name for name, rule in AGGREGATES.items() if rule.gives is None)


def resolve_task(clauses: Clauses, schema: Schema, source: str) -> Task:
    """The task that ``clauses`` ask on ``schema``. Raises QueryError where they have no meaning there."""
    entity = _entity(clauses.entity, schema)
    resolver = Resolver(schema, frozenset(_key(name, schema) for name in clauses.via))
    target, type_ = resolver.resolve(clauses.target, Scope(entity))
    where = clauses.where and resolver.condition(clauses.where, Scope(entity, past=True, clause="WHERE"))
    assuming = clauses.assuming and resolver.condition(clauses.assuming, Scope(entity, clause="ASSUMING"))
    place = target.place if target.place.snippet else clauses.places["PREDICT"]
    row_level = not aggregates(target)
    _check_target(target, clauses, schema, entity, place)
    kind = _kind(target, type_, clauses, schema, place)
    windows = (*aggregates(target), *aggregates(assuming))
    if row_level and any(window.end.count > 0 for window in windows):
        raise refuse(
            "assuming-ahead", "ASSUMING looks ahead, but the target is known with its own row",
            clauses.places["ASSUMING"], "use WHERE for a row-level target.",
        )  # fmt: skip
    nested = next((inner for window in aggregates(where) for inner in aggregates(window.filter)), None)
    if row_level and nested is not None:
        raise refuse("nested", "an aggregate inside another needs a target over a window", nested.place)
    stride = None if row_level else _stride(target)
    last = timeframes(target, stride, clauses.forecast)[-1] if stride and clauses.forecast else target
    hidden, masked = _label_cells(target, schema, entity) if row_level else (frozenset[Cell](), frozenset[Cell]())
    _check_where(where, hidden | masked)
    split_by = _split_column(clauses.split_by, schema, entity, row_level=row_level)
    listed = frozenset(_cell(name, schema) for name in clauses.hide) | (frozenset([split_by]) if split_by else set())
    return Task(
        kind, source, entity, target,
        horizon=None if row_level else _horizon((*aggregates(last), *aggregates(assuming))),
        stride=stride,
        where=where,
        assuming=assuming,
        every=clauses.every,
        split_at=clauses.split_at,
        split_by=split_by,
        hidden=hidden | listed,
        row_level=row_level,
        label_columns=masked - listed,
        top_k=clauses.rank,
        timeframes=clauses.forecast,
        as_of=clauses.as_of,
        entities=None if clauses.entities is None else tuple(literal.value for literal in clauses.entities),
        candidates=_candidates(target, schema) if kind is Kind.recommendation else None,
        warnings=_warnings(target, row_level=row_level, hidden=listed),
    )  # fmt: skip


# --- the parts of a task ------------------------------------------------------------------------------------------


def _entity(name: Name, schema: Schema) -> str:
    """The table asked about. Raises QueryError where what follows its name is not its primary key."""
    table, rest = split_table(schema, name)
    key = schema[table].primary_key
    if not rest:
        return table
    column = match_name("+".join(rest), ["+".join(key)]) if key else None
    if column is None:
        use = spelled(table, key[0]) if len(key) == 1 else spelled(table)
        written, names = ".".join(rest), [column.name for column in schema[table].columns]
        if len(rest) == 1 and match_name(written, names) is None:
            message = f"table {table} has no column {written!r}"
            raise refuse("unknown-column", message, name.place, f"its rows are asked about by {use}.", (use,))
        parents = [key.parent for key in schema.relations_from(table) if key.key == rest]
        meant = [spelled(parent, *schema[parent].primary_key) for parent in parents if schema[parent].primary_key]
        hint = f"use {use}." if not meant else f"use {meant[0]}, which it refers to, or {use}."
        message = f"{table}.{written} is not a primary key"
        raise refuse("not-a-primary-key", message, name.place, hint, (*meant, use))
    return table


def _key(name: Name, schema: Schema) -> Relation:
    table, rest = split_table(schema, name)
    if len(rest) != 1:
        raise refuse("not-a-key", f"{name} is not a foreign key", name.place, "write VIA child.foreign_key.")
    return find_key(schema, table, rest[0], name.place)


def _cell(name: Name, schema: Schema) -> Cell:
    table, rest = split_table(schema, name)
    if len(rest) != 1:
        raise refuse("not-a-column", f"{name} is not a column", name.place, "write table.column.")
    return table, find_column(schema, table, rest[0], name.place)


def _split_column(name: Name | None, schema: Schema, entity: str, *, row_level: bool) -> Cell | None:
    if name is None:
        return None
    cell = _cell(name, schema)
    if cell[0] != entity or not row_level:
        message = "SPLIT BY reads a column of the entity, in a task without windows"
        raise refuse("split-by", message, name.place, "use SPLIT AT for a target over a window.")
    return cell


def _horizon(windows: tuple[Aggregate, ...]) -> Span:
    """The end of the furthest window. Raises QueryError where which one that is depends on the month."""
    furthest = max(windows, key=lambda window: window.end.days)
    for window in windows:
        one, other = window.end, furthest.end
        if (one.unit in CALENDAR) != (other.unit in CALENDAR) and other.days - one.days < _MONTH_VARIES:
            raise refuse(
                "mixed-units", f"one window ends {one} after t, one {other}: which is later depends on the month",
                window.place, "measure both in days, or both in months.",
            )  # fmt: skip
    return furthest.end


def _check_where(where: Expression | None, label: frozenset[Cell]) -> None:
    """Raises QueryError where a row-level WHERE reads what the label is made of."""
    for column in own_columns(where):
        if (column.table, column.column) in label:
            raise refuse(
                "looks-ahead", f"WHERE reads {column.table}.{column.column}, of which the label is made: nobody knows "
                "it then", column.place, "ASSUMING keeps rows by what comes out, and says so in every figure.",
            )  # fmt: skip


def _stride(target: Expression) -> Span:
    """The length of the target's window: of the longest, counted from t where it begins before t."""
    outer = [window for window in aggregates(target, nested=False) if window.end.count > 0]
    ahead = outer or [window for window in aggregates(target) if window.end.count > 0]
    lengths = [
        Span(window.end.count - max(window.start.count if window.start else 0, 0), window.end.unit) for window in ahead
    ]
    return max(lengths, key=lambda length: length.days)


def _label_cells(target: Expression, schema: Schema, entity: str) -> tuple[frozenset[Cell], frozenset[Cell]]:
    """The columns that a row-level target reads: those to hide everywhere, and those to mask on rows not older.

    On the entity itself a label column is masked, which needs times; in another table, or without them, it is hidden.
    """
    cells = {(column.table, column.column): column for column in own_columns(target)}
    timed = schema[entity].time is not None
    masked = {cell for cell, column in cells.items() if timed and not column.relations}
    return frozenset(set(cells) - masked), frozenset(masked)


def _warnings(target: Expression, *, row_level: bool, hidden: frozenset[Cell]) -> tuple[str, ...]:
    """What to know about columns that a target over windows reads on the entity itself."""
    if row_level:
        return ()
    readable = {(column.table, column.column) for column in own_columns(target)} - hidden
    return tuple(
        f"the target reads {table}.{column}, which stays readable as an input: HIDE {table}.{column} if that tells it"
        for table, column in sorted(readable)
    )


def _listed(target: Expression) -> ColumnRef | None:
    """The column whose values a ranking lists."""
    if isinstance(target, Aggregate):
        return target.argument if isinstance(target.argument, ColumnRef) else None
    return target if isinstance(target, ColumnRef) else None


def _is_key(column: ColumnRef | None, schema: Schema) -> bool:
    """Whether ``column`` is a foreign key on its own."""
    return column is not None and key_of(schema, column) is not None


def _key_of_part(column: ColumnRef | None, schema: Schema) -> Relation | None:
    """The foreign key of several columns that ``column`` is one of."""
    keys = schema.relations_from(column.table) if column is not None else ()
    return next((key for key in keys if column is not None and column.column in key.key and len(key.key) > 1), None)


def _candidates(target: Expression, schema: Schema) -> str | None:
    """The table whose rows a recommendation ranks."""
    column = _listed(target)
    key = key_of(schema, column) if column is not None else None
    return key.parent if key is not None else None


# --- what kind of task --------------------------------------------------------------------------------------------


def _check_target(target: Expression, clauses: Clauses, schema: Schema, entity: str, place: Place) -> None:
    """Raises QueryError where the target has nothing to predict."""
    windows = aggregates(target)
    if windows and all(window.end.count <= 0 for window in windows):
        first = windows[0]
        length = -first.start.count if first.start else 30
        raise refuse(
            "looks-back", "the target looks back only: nothing to predict", first.place,
            f"let a window end after 0: {first.function}(…, 0, {length}, {first.end.unit}s).",
        )  # fmt: skip
    if not windows and not own_columns(target):
        raise refuse("constant", "the target reads no column: nothing to predict", place, "name a column.")
    if isinstance(target, ColumnRef) and not target.relations and (target.column,) == schema[entity].primary_key:
        raise refuse("own-key", "nothing to predict: the entity's own key", place, "name another column.")
    own_key = [
        window for window in windows
        if window.function == "LIST_DISTINCT" and isinstance(window.argument, ColumnRef)
        and window.argument.table == window.table and (window.argument.column,) == schema[window.table].primary_key
    ]  # fmt: skip
    if own_key:
        keys = [f"{window.table}.{'+'.join(r.key)}" for window in own_key for r in schema.relations_from(window.table)]
        raise refuse(
            "own-key", "LIST_DISTINCT of the table's own key: each value occurs once and never again",
            own_key[0].place, f"list a foreign key, such as {keys[0]}." if keys else "list another column.",
        )  # fmt: skip
    if "FORECAST" in clauses.places and not (windows and not isinstance(target, ColumnRef)):
        raise refuse("forecast", "FORECAST needs a number over a window", clauses.places["FORECAST"])


def _kind(target: Expression, type_: Type, clauses: Clauses, schema: Schema, place: Place) -> Kind:
    """The kind of task that a target of ``type_`` is, with the word that follows it. Raises QueryError."""
    listing = isinstance(target, Aggregate) and target.function == "LIST_DISTINCT"
    column = _listed(target)
    if clauses.rank is not None:
        if listing:
            return Kind.recommendation if _is_key(column, schema) else Kind.multilabel
        if isinstance(target, ColumnRef) and not target.relations and _is_key(target, schema):
            return Kind.recommendation
        raise refuse(
            "rank-without-list", "RANK needs LIST_DISTINCT of a foreign key", clauses.places["RANK"],
            f"leave out RANK TOP {clauses.rank}, or predict LIST_DISTINCT(…) of a column of keys.",
        )  # fmt: skip
    if clauses.forecast is not None:
        if type_ is not Type.number:
            raise refuse(
                "forecast", "FORECAST needs a number over a window", clauses.places["FORECAST"],
                "leave out the comparison, or FORECAST.",
            )  # fmt: skip
        return Kind.forecast
    if listing:
        if column is not None and schema[column.table][column.column].stype is Stype.timestamp:
            raise refuse("time-target", "times are not a target", place, "list another column.")
        if clauses.classify:
            return Kind.multilabel
        raise refuse(
            "list-without-rank", "a list can be ranked or classified: say RANK TOP k or CLASSIFY", place,
            "add RANK TOP 10 for the likeliest, CLASSIFY for a probability a value.",
        )  # fmt: skip
    return _single_kind(target, type_, clauses, schema, place)


def _single_kind(target: Expression, type_: Type, clauses: Clauses, schema: Schema, place: Place) -> Kind:
    """The kind of a target with one value a row."""
    if type_ is Type.boolean:
        return Kind.binary
    column = _listed(target)
    stype = schema[column.table][column.column].stype if column is not None else None
    if isinstance(target, ColumnRef) and _is_key(target, schema):
        raise refuse("key-target", "a foreign key is ranked: say RANK TOP k", place, "add RANK TOP 10.")
    whole = _key_of_part(column, schema) if column is target else None
    if whole is not None:
        raise refuse(
            "key-target", f"the target is a part of the key {whole}, which is no number and no class", place,
            "compare it with a value, or predict another column.",
        )  # fmt: skip
    one_value = isinstance(target, ColumnRef) or (isinstance(target, Aggregate) and target.function in _ONE_VALUE)
    if one_value and _is_key(column, schema):
        raise refuse(
            "key-target", "a foreign key is not a number: list the keys and rank them", place,
            "write LIST_DISTINCT(…) RANK TOP 10, or count them: COUNT_DISTINCT(…).", ("LIST_DISTINCT",),
        )  # fmt: skip
    if type_ is Type.number and not clauses.classify:
        categorical = stype is Stype.categorical and one_value
        return Kind.multiclass if categorical else Kind.regression
    if type_ is Type.time:
        raise refuse("time-target", "a time is not a target", place, "predict whether something happens: COUNT(…) > 0.")
    if stype is Stype.text_embedded:
        raise refuse("free-text", "free text is not a target", place, "compare it with a value, or count rows.")
    if type_ is Type.unknown or type_ is Type.list:
        raise refuse("unknown-type", "the target's type is unknown", place, "compare it with a value.")
    return Kind.multiclass
