"""Which tables of a database are looked at, and what they are called."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from rdl.errors import DatabaseError, did_you_mean
from rdl.schema import Dtype, Relation, Table

Place = tuple[str, str]
"""The schema and the name of a table, as the catalogue spells them."""


def names_of(places: Collection[Place]) -> dict[Place, str]:
    """What each table is called: its own name, spelled ``schema.table`` where it stands in several schemas."""
    schemas: dict[str, set[str]] = {}
    for schema, table in places:
        schemas.setdefault(table.casefold(), set()).add(schema)
    return {place: place[1] if len(schemas[place[1].casefold()]) == 1 else ".".join(place) for place in places}


def pick(
    names: Sequence[str],
    tables: Sequence[str] | None,
    exclude: Sequence[str],
    *,
    where: str,
    views: Collection[str] = (),
    wanted: Sequence[str] = (),
) -> list[str]:
    """The tables of ``names`` that ``tables`` (None: all) keeps and ``exclude`` does not leave out, in order, and then
    those of the database's ``views`` that ``wanted`` or ``tables`` names.

    Raises DatabaseError, with the nearest name, for a name that the database does not have.
    """
    for name in wanted:
        if name not in views:
            raise DatabaseError(f"{where} has no view {name!r}", hint=did_you_mean(name, views or names))
    there = [*names, *views]
    for name in (*(tables or ()), *exclude):
        if name not in there:
            raise DatabaseError(f"{where} has no table {name!r}", hint=did_you_mean(name, there))
    asked = {*(tables or ()), *wanted}
    kept = [name for name in names if tables is None or name in asked] + [name for name in views if name in asked]
    return [name for name in kept if name not in exclude]


def without_unknown(table: Table, types: Mapping[str, str], warnings: list[str]) -> Table | None:
    """``table`` without its columns of a type that has no meaning here, and without a key that needs one of them; None
    where no column is left. Each has a line in ``warnings``, with its type as ``types`` names it."""
    kept = tuple(column for column in table.columns if column.dtype is not Dtype.unknown)
    lost = [column.name for column in table.columns if column.dtype is Dtype.unknown]
    for name in lost:
        what = shorten(types[name])
        warnings.append(f"column {table.name}.{name} was left out: its type {what} has no meaning here")
    if not kept:
        warnings.append(f"table {table.name!r} was left out: it has no other columns")
        return None
    key = () if set(lost) & set(table.primary_key) else table.primary_key
    if key != table.primary_key:
        warnings.append(f"primary key {table.name}.{'+'.join(table.primary_key)} was dropped with its column")
    return replace(table, columns=kept, primary_key=key)


def shorten(type_text: str) -> str:
    """A type's name in one short line."""
    text = " ".join(type_text.split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def fitting(
    relations: Iterable[Relation], tables: dict[str, Table], known: Iterable[str], warnings: list[str]
) -> tuple[Relation, ...]:
    """The ``relations`` whose tables and columns are there, each once.

    One to a table that was left out is dropped silently; one to a table or column that the database does not have
    is dropped with a line in ``warnings``.
    """
    kept: dict[Relation, None] = {}
    there = set(known)
    for relation in relations:
        missing = next((name for name in (relation.child, relation.parent) if name not in there), None)
        if missing is not None:
            warnings.append(f"foreign key {relation} was dropped: there is no table {missing!r}")
            continue
        if relation.child not in tables or relation.parent not in tables:
            continue
        lost = [column for column in relation.key if column not in tables[relation.child]]
        if lost:
            warnings.append(f"foreign key {relation} was dropped: {relation.child!r} has no column {lost[0]!r}")
            continue
        lost = [column for column in relation.referred if column not in tables[relation.parent]]
        if lost or not relation.referred or len(relation.key) != len(relation.referred):
            why = f"no column {lost[0]!r}" if lost else "no primary key of as many columns"
            warnings.append(f"foreign key {relation} was dropped: {relation.parent!r} has {why}")
            continue
        kept[relation] = None
    return tuple(kept)
