"""Mutated queries end in a task or in a QueryError that says where: nothing else, and never slowly."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from rdl.errors import QueryError
from rdl.query import Task, read_task
from tests.query.shop import SHOP

QUERIES = [
    line.split("\t")[1]
    for name in ("accepted.tsv", "refused.tsv")
    for line in (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
    if line
]
QUERIES += [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parents[2].glob("tasks/*/*.pql"))]
PIECES = sorted({piece for query in QUERIES for piece in re.findall(r"\w+|'[^']*'|[^\w\s]", query)})
ODD = [
    "(" * 60, ")" * 60, "NOT " * 50, "'", '"', "`", "\0", "é", "∞", "1e999", "9" * 400, "0x1", "1..2", "-", "--", ";",
    "/*", ":x", "''", "%", "*", "\n", "users.", ".id", "NULL", "IN ()", "CASE", "END", "CAST(1 AS INT)", "SELECT",
]  # fmt: skip


def mutated(count: int, seed: int = 0) -> Iterator[str]:
    """Queries with one to four words or characters taken out, put in, swapped, doubled, or replaced."""
    rng = random.Random(seed)
    for _ in range(count):
        query = rng.choice(QUERIES)
        words = list(query) if rng.random() < 0.3 else re.findall(r"\s+|\w+|'[^']*'|[^\w\s]", query)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            at, other = rng.randrange(len(words) or 1), rng.randrange(len(words) or 1)
            match rng.randrange(7):
                case 0 if words:
                    del words[at]
                case 1:
                    words.insert(at, rng.choice(PIECES))
                case 2:
                    words.insert(at, rng.choice(ODD))
                case 3 if words:
                    words[at], words[other] = words[other], words[at]
                case 4 if words:
                    words[at] = rng.choice(PIECES)
                case 5 if words:
                    words[at:at] = words[min(at, other) : max(at, other)]
                case _ if words:
                    written = words[at]
                    cut = rng.randrange(len(written) + 1)
                    words[at] = written[:cut] + chr(rng.choice([32, 39, 46, 48, 95, 233, 8364])) + written[cut + 1 :]
        yield "".join(words)


def read(query: str) -> Task | QueryError:
    """What ``query`` comes to; any other exception escapes."""
    try:
        return read_task(query + " ", SHOP)  # a query, however it ends, and no path of a file
    except QueryError as error:
        return error


def check(query: str) -> bool:
    """Whether ``query`` is a task; a QueryError says why and names a place in the text, and what it says works does."""
    found = read(query)
    if isinstance(found, QueryError):
        assert 1 <= found.line <= query.count("\n") + 1, query
        assert found.column >= 1, query
        assert found.message, query
        assert str(found), query
        assert found.corrected is None or isinstance(read(found.corrected), Task), query
    return isinstance(found, Task)


def test_mutated_queries_are_tasks_or_query_errors() -> None:
    found = [check(query) for query in mutated(3_000)]
    assert 50 < sum(found) < 2_900
