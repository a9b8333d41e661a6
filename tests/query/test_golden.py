"""Golden pairs: queries and the SQL of their labels, mistakes and what a user is told, word for word.

``golden/<path>.sql`` holds a query, as comments, and the SQL of its labels at three anchors, by what the compiler does
with it. In ``golden/errors.txt`` blank lines stand between mistakes: the query, and below it the error. After a change
that is meant, write them anew and read what changed:

    REWRITE_GOLDEN=1 python -m pytest tests/query/test_golden.py; git diff tests/query/golden
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

from rdl.clock import to_us
from rdl.errors import QueryError
from rdl.query import read_task
from rdl.query.sql import Compiler
from tests.query.shop import SHOP

GOLDEN = Path(__file__).parent / "golden"
ERRORS = GOLDEN / "errors.txt"
REWRITE = "REWRITE_GOLDEN" in os.environ


def _compare(path: Path, made: str) -> None:
    kept = path.read_text(encoding="utf-8")
    if REWRITE:
        path.write_text(made, encoding="utf-8")
    elif kept != made:
        difference = difflib.unified_diff(kept.splitlines(), made.splitlines(), path.name, "now", lineterm="")
        pytest.fail("\n".join(difference), pytrace=False)


def _query(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line.removeprefix("-- ") for line in lines if line.startswith("-- "))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.sql")), ids=lambda path: path.stem)
def test_labels_are_compiled_so(path: Path) -> None:
    query = _query(path)
    task = read_task(query, SHOP)
    every = task.every or task.stride
    timed = SHOP[task.entity].time is not None
    anchors = None if task.row_level and timed else [to_us("2024-01-31")]
    if anchors is not None and every is not None:
        anchors = [every.after(anchors[0], number) for number in range(3)]
    written = "".join(f"-- {line}\n" for line in query.splitlines())
    _compare(path, f"{written}\n{Compiler(task, SHOP, anchors).labels()}\n")


def _told(query: str) -> str:
    try:
        return f"a {read_task(query, SHOP).kind} task"
    except QueryError as error:
        return f"{error.kind}: {error}"


def test_mistakes_are_told_so() -> None:
    queries = [block.splitlines()[0] for block in ERRORS.read_text(encoding="utf-8").strip().split("\n\n")]
    _compare(ERRORS, "\n\n".join(f"{query}\n{_told(query)}" for query in queries) + "\n")


def test_every_refused_query_is_among_the_mistakes() -> None:
    refused = (Path(__file__).parent / "refused.tsv").read_text(encoding="utf-8").splitlines()
    assert {line.split("\t")[1] for line in refused if line} <= set(ERRORS.read_text(encoding="utf-8").splitlines())


def test_what_is_said_to_work_works() -> None:
    shown = [line for line in ERRORS.read_text(encoding="utf-8").splitlines() if line.startswith("This works: ")]
    assert len(shown) > 80
    for line in shown:
        read_task(line.removeprefix("This works: "), SHOP)
