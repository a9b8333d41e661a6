"""SQLite keys as the engine compares them: numbers and odd times exactly, text in the spelling of what it refers to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import adbc_driver_sqlite.dbapi as adbc

from rdl.database.scan import quote
from rdl.database.sqlite_catalog import Declared, fetch, own
from rdl.schema import Dtype, Relation

Place = tuple[str, str]
"""A table and a column of it."""
_TIMES = (Dtype.date, Dtype.timestamp, Dtype.time)
#: SQL for a cell of a key as text, the same for every two that are equal: 1.0 is 1, and no digit of a number is lost.
_EXACT = (
    "CASE typeof({0}) WHEN 'text' THEN {0} WHEN 'integer' THEN CAST({0} AS TEXT) WHEN 'real' THEN"
    " CASE WHEN {0} = CAST({0} AS INTEGER) THEN CAST(CAST({0} AS INTEGER) AS TEXT) ELSE printf('%!.17g', {0}) END END"
)
_DATE = "CASE WHEN length({0}) = 10 AND date({0}) = {0} AND {0} > '0001' THEN '10' END"
_MOMENT = (
    "CASE WHEN datetime(substr({0}, 1, 19)) = substr({0}, 1, 10) || ' ' || substr({0}, 12, 8) AND {0} > '0001'"
    " AND substr({0}, 11, 1) IN (' ', 'T') AND (length({0}) = 19 OR substr({0}, 20, 1) = '.'"
    " AND length({0}) BETWEEN 21 AND 26 AND substr({0}, 21) NOT GLOB '*[^0-9]*')"
    " THEN length({0}) || substr({0}, 11, 1) END"
)
_CLOCK = "CASE WHEN length({0}) = 8 AND time({0}) = {0} THEN '8' END"
#: SQL for how a cell spells a time; times of one such spelling are equal where their text is. '' where it is no time.
_SPELLING = f"CASE WHEN typeof({{0}}) = 'text' THEN coalesce({_DATE}, {_MOMENT}, {_CLOCK}, '') ELSE '' END"


def exact_columns(
    connection: adbc.Connection,
    declared: Mapping[str, Sequence[Declared]],
    keys: Mapping[str, Sequence[str]],
    relations: Sequence[Relation],
    dtypes: Mapping[str, Mapping[str, Dtype]],
) -> set[Place]:
    """The columns that are read as text because some key compares them: those declared as numbers with a point, which
    may be longer than a float, and times of a foreign key, or that one refers to, which are not all spelled alike."""
    pairs = [pair for relation in relations for pair in _pairs(relation)]
    compared = {(table, column) for table, key in keys.items() for column in key}.union(*pairs)
    typed = {(table, column.name) for table, columns in declared.items() for column in columns if column.type_text}
    numbers = {
        (table, column)
        for table, column in compared & typed
        if dtypes.get(table, {}).get(column) in (Dtype.decimal, Dtype.float)
    }
    pairs = [pair for pair in pairs if all(column in dtypes.get(table, ()) for table, column in pair)]
    return numbers | _odd_times(connection, pairs, dtypes)


def _pairs(relation: Relation) -> list[tuple[Place, Place]]:
    ends = zip(relation.key, relation.referred, strict=False)
    return [((relation.child, own_), (relation.parent, other)) for own_, other in ends]


def _odd_times(
    connection: adbc.Connection, pairs: Sequence[tuple[Place, Place]], dtypes: Mapping[str, Mapping[str, Dtype]]
) -> set[Place]:
    times = {place for pair in pairs for place in pair if dtypes[place[0]].get(place[1]) in _TIMES}
    found = {place: _spellings(connection, *place) for place in sorted(times)}
    odd = {place for place, spellings in found.items() if len(spellings) > 1 or "" in spellings}
    for one, other in pairs:
        if not (one in times and other in times) or len(found[one] | found[other]) > 1:
            odd |= {one, other} & times
    while more := {place for pair in pairs if odd & set(pair) for place in times.intersection(pair)} - odd:
        odd |= more
    return odd


def _spellings(connection: adbc.Connection, table: str, column: str) -> set[str]:
    """The least and the greatest of the spellings of times in a column."""
    spelling = _SPELLING.format(own(column))
    query = f"SELECT min({spelling}), max({spelling}) FROM {quote(table)} AS r WHERE {own(column)} IS NOT NULL"
    return {str(found) for found in fetch(connection, query)[0] if found is not None}


def key_expressions(
    exact: Iterable[Place],
    relations: Sequence[Relation],
    collations: Mapping[str, Sequence[Mapping[str, str]]],
    dtypes: Mapping[str, Mapping[str, Dtype]],
) -> dict[Place, str]:
    """SQL for the columns of keys that are not read as others of their type: the ``exact`` ones, and text that refers
    to text whose collation takes 'Abc' for 'aBC', or 'a ' for 'a', in the spelling of what it refers to."""
    links: dict[Place, tuple[Relation, str, Mapping[str, str]]] = {}
    for relation in relations:
        unique = next((i for i in collations.get(relation.parent, ()) if set(i) == set(relation.referred)), {})
        if not {"NOCASE", "RTRIM"}.intersection(unique.values()):
            continue
        for one, other in _pairs(relation):
            if all(dtypes.get(table, {}).get(column) is Dtype.text for table, column in (one, other)):
                links.setdefault(one, (relation, other[1], unique))
    found = {place: _EXACT.format(own(place[1])) for place in exact}
    return found | {place: _as_referred(place, "r", links, frozenset()) for place in links}


def _as_referred(
    place: Place,
    alias: str,
    links: Mapping[Place, tuple[Relation, str, Mapping[str, str]]],
    seen: frozenset[Place],
) -> str:
    """SQL for a column of the table ``alias`` in the spelling of what it refers to, which may itself refer on."""
    exact = _EXACT.format(f"{alias}.{quote(place[1])}")
    if place not in links or place in seen:
        return exact
    relation, column, unique = links[place]
    other = f"{alias}p"
    equal = " AND ".join(
        f"{other}.{quote(theirs)} = {alias}.{quote(mine)} COLLATE {unique[theirs]}"
        for mine, theirs in zip(relation.key, relation.referred, strict=True)
    )
    spelled = _as_referred((relation.parent, column), other, links, seen | {place})
    return f"coalesce((SELECT {spelled} FROM {quote(relation.parent)} AS {other} WHERE {equal} LIMIT 1), {exact})"


def collations_of(connection: adbc.Connection) -> dict[str, list[dict[str, str]]]:
    """By table, the collation of each column of each unique index; without those that SQLite does not come with."""
    query = """
        SELECT t.name, i.name, coalesce(x.name, ''), x.coll
        FROM pragma_table_list AS t JOIN pragma_index_list(t.name) AS i JOIN pragma_index_xinfo(i.name) AS x
        WHERE t.schema = 'main' AND t.type = 'table' AND i."unique" AND NOT i.partial AND x.key
        ORDER BY t.name, i.seq, x.seqno"""
    indexes: dict[tuple[str, str], dict[str, str]] = {}
    for table, index, column, collation in fetch(connection, query):
        indexes.setdefault((table, index), {})[column] = str(collation).upper()
    found: dict[str, list[dict[str, str]]] = {}
    for (table, _), columns in indexes.items():
        if {"BINARY", "NOCASE", "RTRIM"}.issuperset(columns.values()):
            found.setdefault(table, []).append(columns)
    return found
