"""Names taken apart: words, singulars, and whether a column's name speaks of a table."""

from __future__ import annotations

import re
from collections.abc import Sequence


def word_set(text: str) -> frozenset[str]:
    """The words of ``text``, which are parted by white space."""
    return frozenset(text.split())


#: Words that end a column's name and say that it is a key.
KEY_WORDS = word_set("code fk guid id key pk uuid")

#: Words of columns that count, measure or order something.
MEASURES = word_set(
    """
    age alt altitude amount average avg balance budget capacity change cost count days delta depth diff
    differential discount distance draws duration elevation fee freight fuel goals grade grid growth height hour
    hours income index km lap laps lat latitude length level limit lng lon longitude losses margin mean miles
    milliseconds minute minutes money month months ms n number order page pages percent percentage place points
    population pos position price qty quantity quota rank rate rating ratio revenue round salary score seconds
    seq sequence size speed spend stars step stock stop sum tax temperature tip total units value volume votes
    week weeks weight width wins year years
    """
)

_IRREGULAR = {"people": "person", "children": "child", "men": "man", "women": "woman"}
_PREFIXES = word_set("dim fact t tbl")


def words(name: str) -> list[str]:
    """The words of a name in lower case.

    >>> words("home_teamID"), words("fp1_date"), words("OrderDate")
    (['home', 'team', 'id'], ['fp1', 'date'], ['order', 'date'])
    """
    parts = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name))
    return [part.lower() for part in parts]


def forms(word: str) -> set[str]:
    """``word`` and what its singular could be.

    >>> sorted(forms("movies"))
    ['movi', 'movie', 'movies', 'movy']
    """
    found = {word, _IRREGULAR.get(word, word)}
    if word.endswith("s") and not word.endswith("ss"):
        found.add(word[:-1])
    if word.endswith("es"):
        found.add(word[:-2])
    if word.endswith("ies"):
        found.add(word[:-3] + "y")
    return found


def alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists of words say the same, but for the number of each word."""
    return len(one) == len(other) > 0 and all(forms(a) & forms(b) for a, b in zip(one, other, strict=True))


def table_words(table: str) -> list[str]:
    """The words of a table's name without its schema and without ``tbl``, ``dim`` or ``fact``."""
    found = words(table.rsplit(".", 1)[-1])
    return found[1:] if len(found) > 1 and found[0] in _PREFIXES else found


def stem(column: str, tables: Sequence[str] = ()) -> tuple[list[str], bool]:
    """The words of a column's name without what makes it a key, and whether there was such a word.

    ``tables`` tell that ``userid`` ends in ``id`` and ``grid`` does not.
    """
    found = words(column)
    if len(found) > 1 and found[-1] in KEY_WORDS:
        return found[:-1], True
    if len(found) > 1 and found[0] in ("id", "fk"):
        return found[1:], True
    if found and found[-1].endswith("id"):
        joined = [*found[:-1], found[-1][:-2]]
        if any(alike(joined[-len(table_words(table)) :], table_words(table)) for table in tables):
            return joined, True
    return found, False
