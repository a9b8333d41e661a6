"""Which tables of a database are looked at, and what they are called."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rdl.errors import DatabaseError, did_you_mean
from rdl.schema import Relation, Table

Place = tuple[str, str]
"""The schema and the name of a table, as the catalogue spells them."""


def names_of(places: Collection[Place]) -> dict[Place, str]:
    """What each table is called: its own name, spelled ``schema.table`` where it stands in several schemas."""
    folded = [table.casefold() for _, table in places]
    return {place: place[1] if folded.count(place[1].casefold()) == 1 else ".".join(place) for place in places}


def pick(names: Sequence[str], tables: Sequence[str] | None, exclude: Sequence[str], *, where: str) -> list[str]:
    """The tables of ``names`` that ``tables`` (None: all) keeps and ``exclude`` does not leave out, in order.

    Raises DatabaseError, with the nearest name, for a name that is not among ``names``.
    """
    for name in (*(tables or ()), *exclude):
        if name not in names:
            raise DatabaseError(f"{where} has no table {name!r}", hint=did_you_mean(name, names))
    return [name for name in names if (tables is None or name in tables) and name not in exclude]


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
        lost = [column for column in relation.referred if column not in tables[relation.parent]]
        if lost or not relation.referred or len(relation.key) != len(relation.referred):
            why = f"no column {lost[0]!r}" if lost else "no primary key of as many columns"
            warnings.append(f"foreign key {relation} was dropped: {relation.parent!r} has {why}")
            continue
        kept[relation] = None
    return tuple(kept)
