"""Names taken apart: words, singulars, and whether a column's name speaks of a table."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence


def word_set(text: str) -> frozenset[str]:
    """The words of ``text``, which are parted by white space."""
    return frozenset(text.split())


#: Words that end a column's name and say that it is a key.
KEY_WORDS = word_set("code fk guid id key pk uuid")

#: Words that number things: a key where they number the rows of a table, else a measure.
NUMBER_WORDS = word_set("cod no nr num number nummer numero")

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
#: What some styles put before the name of a column: its storage type, or that it is a key.
_COLUMN_PREFIXES = word_set("fk id int lng num str")


def words(name: str) -> list[str]:
    """The words of a name in lower case.

    >>> words("home_teamID"), words("fp1_date"), words("OrderDate")
    (['home', 'team', 'id'], ['fp1', 'date'], ['order', 'date'])
    """
    return list(_words(name))


@functools.lru_cache(100_000)
def _words(name: str) -> tuple[str, ...]:
    name = re.sub(r"__[cr]$", "", name)  # as Salesforce marks what a customer added
    parts = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name))
    return tuple(part.lower() for part in parts)


@functools.lru_cache(100_000)
def forms(word: str) -> frozenset[str]:
    """``word`` and what its singular could be.

    >>> sorted(forms("movies"))
    ['movi', 'movie', 'movies', 'movy']
    >>> sorted(forms("kunden"))
    ['kund', 'kunde', 'kunden']
    """
    found = {word, _IRREGULAR.get(word, word)}
    if len(word) > 4:
        found |= {word[: -len(end)] for end in ("n", "en", "x") if word.endswith(end)}
    if word.endswith("s") and not word.endswith("ss"):
        found.add(word[:-1])
    if word.endswith("es"):
        found.add(word[:-2])
    if word.endswith("ies"):
        found.add(word[:-3] + "y")
    return frozenset(found)


def alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists of words say the same, but for the number of each word and how they are parted.

    >>> alike(["order", "item"], ["orderitems"]), alike(["order"], ["order", "items"])
    (True, False)
    """
    if len(one) == len(other) > 0 and all(forms(a) & forms(b) for a, b in zip(one, other, strict=True)):
        return True
    return len(one) != len(other) and bool(one and other and forms("".join(one)) & forms("".join(other)))


def ends_alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the last words of ``one``, which are more, say the same as ``other``."""
    return len(one) > len(other) and alike(one[-len(other) :], other)


def abbreviates(root: Sequence[str], table: Sequence[str]) -> bool:
    """Whether ``root`` is how a name may shorten the words of a table: ``cust`` of ``customers``.

    >>> abbreviates(["cust"], ["customers"]), abbreviates(["c"], ["customers"]), abbreviates(["art"], ["parts"])
    (True, False, False)
    """
    one, other = "".join(root), "".join(table)
    return len(one) >= 3 and one != other and (other.startswith(one) or (len(other) >= 3 and one.startswith(other)))


def table_words(table: str) -> list[str]:
    """The words of a table's name without its schema and without ``tbl``, ``dim`` or ``fact``."""
    found = words(table.rsplit(".", 1)[-1])
    return found[1:] if len(found) > 1 and found[0] in _PREFIXES else found


@functools.lru_cache(1000)
def namespaces(tables: tuple[str, ...]) -> frozenset[str]:
    """The first words that the names of three tables or more share and that name no table: ``wp``, ``auth``.

    >>> sorted(namespaces(("wp_posts", "wp_users", "wp_meta", "orders", "order_a", "order_b", "order_c")))
    ['wp']
    """
    split = [table_words(table) for table in tables]
    first = Counter(said[0] for said in split if len(said) > 1)
    return frozenset(
        word for word, count in first.items() if count >= 3 and not any(alike(said, [word]) for said in split)
    )


def stem(column: str, tables: Sequence[str] = ()) -> tuple[list[str], bool]:
    """The words of a column's name without what makes it a key, and whether there was such a word.

    ``tables`` tell that ``userid`` ends in ``id`` and ``grid`` does not.

    >>> stem("OrderID_FK"), stem("fk_customer"), stem("lngOrderID")
    ((['order'], True), (['customer'], True), (['order'], True))
    """
    found = words(column)
    is_key = False
    while len(found) > 1 and found[-1] in KEY_WORDS:
        found, is_key = found[:-1], True
    while len(found) > 1 and found[0] in _COLUMN_PREFIXES and (found[0] in ("id", "fk") or is_key):
        found, is_key = found[1:], True
    if not is_key and found and found[-1].endswith("id"):
        joined = [*found[:-1], found[-1][:-2]]
        if any(alike(joined[-len(table_words(table)) :], table_words(table)) for table in tables):
            return joined, True
    return found, is_key


def number_stem(column: str) -> list[str]:
    """The words of a name without the word that says it numbers something; empty where none does.

    >>> number_stem("CUST_NO"), number_stem("orderNumber"), number_stem("NumClient"), number_stem("REP_EMPNO")
    (['cust'], ['order'], ['client'], ['rep', 'emp'])
    """
    found = words(column)
    if len(found) > 1 and found[-1] in NUMBER_WORDS:
        return found[:-1]
    if len(found) > 1 and found[0] in NUMBER_WORDS:
        return found[1:]
    tail = next((end for end in ("number", "no", "nr") if found and found[-1].endswith(end)), "")
    return [*found[:-1], found[-1][: -len(tail)]] if tail and len(found[-1]) - len(tail) >= 3 else []
