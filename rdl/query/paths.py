"""The foreign keys from a table up to another: the shortest way, and what to do where two tie."""

from __future__ import annotations

from rdl.errors import QueryError, did_you_mean, nearest
from rdl.query.expressions import ColumnRef, Name
from rdl.query.tokens import Place, refuse, spelled
from rdl.schema import Relation, Schema

Path = tuple[Relation, ...]


def key_of(schema: Schema, column: ColumnRef) -> Relation | None:
    """The foreign key that ``column`` is on its own, or None; of several over the same column the first."""
    return next((key for key in schema.relations_from(column.table) if key.key == (column.column,)), None)


def find_paths(schema: Schema, child: str, parent: str, first: frozenset[Relation] = frozenset()) -> tuple[Path, ...]:
    """Every shortest path of at least one foreign key from ``child`` up to ``parent``; empty where there is none.

    ``first``, where not empty, holds the foreign keys that a path may begin with. Nothing is walked twice.
    """
    begin = [relation for relation in schema.relations_from(child) if not first or relation in first]
    frontier: list[Path] = [(relation,) for relation in begin]
    seen = {child}
    while frontier:
        arrived = tuple(path for path in frontier if path[-1].parent == parent)
        if arrived:
            return arrived
        seen |= {path[-1].parent for path in frontier}
        frontier = [
            (*path, relation)
            for path in frontier
            for relation in schema.relations_from(path[-1].parent)
            if relation.parent not in seen or relation.parent == parent
        ]
    return ()


def choose_path(schema: Schema, child: str, parent: str, via: frozenset[Relation], place: Place) -> Path | None:
    """The path from ``child`` up to ``parent``: the shortest, among equals the one through the keys in ``via``.

    A key in ``via`` that leaves ``child`` itself is followed even where another path is shorter. None where there
    is no path. Raises QueryError (tied-paths) where several remain, naming the VIA that picks each.
    """
    leaving = frozenset(relation for relation in via if relation.child == child)
    paths = (find_paths(schema, child, parent, leaving) if leaving else ()) or find_paths(schema, child, parent)
    if not paths:
        return None
    most = max(len(via.intersection(path)) for path in paths)
    best = [path for path in paths if len(via.intersection(path)) == most]
    if len(best) == 1:
        return best[0]
    picks = [_pick(path, best) for path in best[:6]]
    number = {2: "two", 3: "three"}.get(len(best), str(len(best)))
    raise refuse(
        "tied-paths", f"{number} paths lead from {child} to {parent}: {' or '.join(picks)}", place,
        f"add the one you mean: {picks[0]} takes {', '.join(map(str, best[0]))}.",
    )  # fmt: skip


def _pick(path: Path, tied: list[Path]) -> str:
    """The VIA that picks ``path`` among ``tied``: the keys that set it apart."""
    own = [step for step in path if sum(step in other for other in tied) == 1]
    steps = own[:1] or [step for step in path if not all(step in other for other in tied)]
    return "VIA " + ", ".join(f"{step.child}.{'+'.join(step.key)}" for step in steps)


def match_name(written: str, allowed: list[str]) -> str | None:
    """The name in ``allowed`` that ``written`` means: the same, or the only one that differs in case alone."""
    if written in allowed:
        return written
    alike = [name for name in allowed if name.casefold() == written.casefold()]
    return alike[0] if len(alike) == 1 else None


def split_table(schema: Schema, name: Name) -> tuple[str, tuple[str, ...]]:
    """The table that ``name`` begins with and the parts after it; a schema's name before it is allowed.

    Raises QueryError (unknown-table) with the nearest name.
    """
    parts, tables = name.parts, list(schema.tables)
    for length in (2, 1):
        table = match_name(".".join(parts[:length]), tables) if len(parts) >= length else None
        if table is not None and (length == 1 or len(parts) > 1):
            return table, parts[length:]
    if len(parts) > 2 and (table := match_name(parts[1], tables)) is not None:
        return table, parts[2:]
    if len(parts) == 1:
        holders = [t.name for t in schema.tables.values() if match_name(parts[0], [c.name for c in t.columns])]
        if holders:
            written = [spelled(holder, parts[0]) for holder in holders]
            hint = f"write {' or '.join(written[:8])}."
            known = tuple(written) if len(written) == 1 else ()
            raise refuse("unknown-table", f"{parts[0]!r} is a column without its table", name.place, hint, known)
    behind = len(parts) > 2 and nearest(parts[0], tables) is None  # the first part is a schema's name
    wrong, rest = (parts[1], parts[2:]) if behind else (parts[0], parts[1:])
    close = nearest(wrong, tables)
    hint = did_you_mean(wrong, tables)
    if close is None and not rest:
        hint += f" Text stands in single quotes: '{wrong}'."
    instead = (spelled(close, *rest),) if close else () if rest else (f"'{wrong}'",)
    raise refuse("unknown-table", f"there is no table {wrong!r}", name.place, hint, instead)


def find_key(schema: Schema, table: str, written: str, place: Place) -> Relation:
    """The foreign key of ``table`` called ``written`` (its columns joined by ``+``). Raises QueryError."""
    keys = {"+".join(relation.key): relation for relation in schema.relations_from(table)}
    key = match_name(written, list(keys))
    if key is None:
        hint = did_you_mean(written, list(keys)) if keys else f"{table} has no foreign key."
        instead = _in_place(place, written, nearest(written, keys))
        raise refuse("not-a-key", f"{table}.{written} is not a foreign key", place, hint, instead)
    return keys[key]


def find_column(schema: Schema, table: str, written: str, place: Place) -> str:
    """The column of ``table`` called ``written``. Raises QueryError (unknown-column) with the nearest name."""
    names = [column.name for column in schema[table].columns]
    column = match_name(written, names)
    if column is None:
        raise unknown_column(schema, table, written, place)
    return column


def unknown_column(schema: Schema, table: str, written: str, place: Place) -> QueryError:
    """The error for a column that ``table`` does not have; it points to a parent table that has it."""
    names = [column.name for column in schema[table].columns]
    hint, instead = did_you_mean(written, names), _in_place(place, written, nearest(written, names))
    for relation in schema.relations_from(table):
        if written in schema[relation.parent]:
            instead = (f"{spelled(table, '+'.join(relation.key), written)}",)
            hint = f"{relation.parent} has it: write {instead[0]}."
            break
    return refuse("unknown-column", f"table {table} has no column {written!r}", place, hint, instead)


def _in_place(place: Place, written: str, close: str | None) -> tuple[str, ...]:
    """What is written at ``place`` with ``close`` instead of ``written``, the last time it stands there."""
    before, found, after = place.snippet.rpartition(written)
    return (before + spelled(close) + after,) if close and found else ()
