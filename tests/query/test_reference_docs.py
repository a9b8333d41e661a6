"""The reference of the language: whole, of today, and true of the sample shop."""

from __future__ import annotations

import ast
import datetime as dt
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import duckdb
import numpy as np
import pytest

import rdl
from rdl import labels
from rdl.clock import UNITS, to_us
from rdl.errors import ConfigError, QueryError
from rdl.query import Kind, Split, clauses, read_manifest, read_task
from rdl.query.expressions import Case, Expression, Function, Literal, Value, aggregates, walk
from rdl.query.functions import AGGREGATES, FUNCTIONS, AggregateRule, FunctionRule
from rdl.query.grammar import CLAUSES, KINDS, MODIFIERS, SPELLED, UNITS_MEAN, KindRule
from rdl.query.mistakes import MISTAKES, Mistake
from rdl.query.parser import Parser
from rdl.query.reference import find, reference, topics
from rdl.query.scalar import Rows
from rdl.query.task import Task
from rdl.query.tokens import TokenKind, tokenize
from rdl.shop import build_shop
from rdl.snapshot import Snapshot
from tests.query.shop import SHOP

ROOT = Path(__file__).resolve().parents[2]
LANGUAGE = (ROOT / "tasks" / "LANGUAGE.md").read_text(encoding="utf-8")
EVERY_MISTAKE = list(chain.from_iterable(MISTAKES.values()))


def test_file_is_what_the_tables_say() -> None:
    assert reference() == LANGUAGE, "refresh it: python -m rdl.query.reference > tasks/LANGUAGE.md"


# --- every example is run -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """A query as it stands in the document, its parameters as written, and the SQL that the shop needs first."""

    query: str
    parameters: tuple[tuple[str, str], ...] = ()
    after: str = ""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```", LANGUAGE, flags=re.MULTILINE | re.DOTALL)


def asked() -> list[Asked]:
    """The queries of the document: in SQL blocks, in commands, and within a line."""
    found = [_asked(part) for block in blocks("sql") for part in block.split("\n\n")]
    found += [Asked(query) for block in blocks("bash") for query in re.findall(r'"(PREDICT [^"]+)"', block)]
    found += [Asked(query) for query in re.findall(r"`(PREDICT [^`<]+ FOR [^`]+)`", LANGUAGE)]
    return list(dict.fromkeys(found))


def _asked(part: str) -> Asked:
    values = tuple(re.findall(r"^-- with (\w+) = (.+)$", part, re.M))
    after = "".join(re.findall(r"^-- after (.+)$", part, re.M))
    return Asked("\n".join(line for line in part.splitlines() if not line.startswith("-- ")), values, after)


def shop(folder: Path, after: str = "") -> Snapshot:
    """The sample shop, small."""
    build_shop(folder / "shop.duckdb", scale=0.1)
    if after:
        with duckdb.connect(str(folder / "shop.duckdb")) as connection:
            connection.execute(after)
    db = rdl.connect(f"duckdb:///{folder / 'shop.duckdb'}")
    db.extract()
    return db.snapshot


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return shop(tmp_path_factory.mktemp("language"))


def check(task: Task, snapshot: Snapshot) -> None:
    """Fails where the labels of ``task`` are none that anybody would learn from."""
    table = labels.build(task, snapshot)
    parts = [table.of(split) for split in Split]
    assert all(len(part) for part in parts)
    for part in (parts[0], *(part for part in parts[1:] if len(part) > 5)):  # at this scale there are 20 companies
        known = part.target[np.isfinite(part.target)]
        assert len(np.unique(known)) > 1


@pytest.mark.parametrize("example", asked(), ids=lambda example: example.query)
def test_example_has_labels(example: Asked, snapshot: Snapshot, tmp_path: Path) -> None:
    if example.after:
        with pytest.raises(QueryError):
            read_task(example.query, snapshot.schema)
        snapshot = shop(tmp_path, example.after)
    parameters = {name: ast.literal_eval(value) for name, value in example.parameters}
    check(read_task(example.query, snapshot.schema, parameters=parameters), snapshot)


def test_manifest_of_the_document_has_labels(snapshot: Snapshot, tmp_path: Path) -> None:
    (written,) = blocks("yaml")
    (tmp_path / "manifest.yaml").write_text(written, encoding="utf-8")
    task = read_manifest(tmp_path, snapshot.schema, to_us("2024-01-01"), to_us("2024-04-01"))
    check(task, snapshot)


@pytest.mark.parametrize("mistake", EVERY_MISTAKE, ids=lambda mistake: mistake.kind)
def test_mistake_is_refused_in_the_words_shown(mistake: Mistake, snapshot: Snapshot, tmp_path: Path) -> None:
    with pytest.raises(QueryError) as caught:
        _ask(mistake, snapshot, tmp_path)
    assert caught.value.kind == mistake.kind
    if "«" in mistake.example:
        assert str(caught.value) == mistake.text
    else:
        assert re.fullmatch(re.escape(mistake.text).replace("…", ".+"), str(caught.value))
    assert mistake.text in LANGUAGE


def _ask(mistake: Mistake, snapshot: Snapshot, folder: Path) -> None:
    if mistake.kind == "manifest":
        (folder / "manifest.yaml").write_text(mistake.query, encoding="utf-8")
        read_manifest(folder, snapshot.schema, to_us("2024-01-01"), to_us("2024-04-01"))
    task = read_task(mistake.query, snapshot.schema, parameters=mistake.parameters)
    labels.build(task, snapshot)
    labels.refuse_untrained(task)


# --- the tables are all there is ----------------------------------------------------------------------------------


def kinds_raised() -> set[str]:
    """The kinds of error that the sources name."""
    found: set[str] = set()
    for folder in ("query", "labels"):
        for path in (ROOT / "rdl" / folder).rglob("*.py"):
            if path.name != "mistakes.py":
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                    found |= _kinds(node, folder)
    return found


#: Which argument of a call is the kind of an error: of ``refuse`` as rdl.query and as rdl.labels have it.
PLACES = {"refuse": {"query": 0, "labels": 1}, "unexpected": {"query": 1}}


def _kinds(node: ast.AST, folder: str) -> set[str]:
    """The texts that stand where ``node``, a call, names the kind of an error, or a function's default for it."""
    if isinstance(node, ast.FunctionDef):
        arguments = [*node.args.posonlyargs, *node.args.args][::-1]
        given = dict(zip((argument.arg for argument in arguments), node.args.defaults[::-1], strict=False))
        return _texts(given["kind"]) if "kind" in given else set()
    if not isinstance(node, ast.Call):
        return set()
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    place = PLACES.get(name, {}).get(folder)
    given = [argument.value for argument in node.keywords if argument.arg == "kind"]
    if place is not None and len(node.args) > place:
        given.append(node.args[place])
    elif name == "QueryError":
        assert given, "a QueryError has a kind"
    return set().union(*map(_texts, given)) if name in ("QueryError", *PLACES) else set()


def _texts(node: ast.AST) -> set[str]:
    """The kinds that an expression can be: texts of it that are no comparison's; a variable's are elsewhere."""
    if isinstance(node, ast.IfExp):
        return _texts(node.body) | _texts(node.orelse)
    assert isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {node.value} if isinstance(node, ast.Constant) else set()


def test_every_kind_of_error_is_explained() -> None:
    kinds = [mistake.kind for mistake in EVERY_MISTAKE]
    assert len(kinds) == len(set(kinds))
    assert set(kinds) == kinds_raised()


def test_words_are_those_that_are_read() -> None:
    assert list(clauses._READERS) == [word.words for word in (*MODIFIERS, *CLAUSES)]
    assert tuple(UNITS_MEAN) == UNITS
    assert {*SPELLED, "symbol", "end"} == {*TokenKind, "comment"}


@pytest.mark.parametrize("rule", KINDS, ids=lambda rule: rule.kind)
def test_kind_is_that_of_its_example(rule: KindRule) -> None:
    assert {rule.kind for rule in KINDS} == set(Kind)
    assert read_task(rule.example.query, SHOP).kind == rule.kind


@pytest.mark.parametrize("rule", AGGREGATES.values(), ids=lambda rule: rule.name)
def test_aggregate_over_nothing(rule: AggregateRule, snapshot: Snapshot) -> None:
    (window,) = aggregates(read_task(rule.example.query, SHOP).target)
    assert window.function == rule.name
    never = "PREDICT {}(orders.amount WHERE orders.amount < 0, 0, 30) {} FOR EACH users.id"
    task = read_task(never.format(rule.name, "CLASSIFY" if rule.gives == "list" else ""), SHOP)
    found = labels.compute(task, snapshot)
    if rule.nothing is None:
        assert len(found.table) == 0
        assert found.dropped > 0
    else:
        assert found.dropped == 0
        assert len(found.table) > 0
        assert not found.table.target.any()


SAMPLES: dict[str | None, Value] = {"number": 2, "text": "Two", "time": dt.datetime(2022, 2, 2), None: 2}


@pytest.mark.parametrize("rule", FUNCTIONS.values(), ids=lambda rule: rule.name)
def test_function_of_null(rule: FunctionRule) -> None:
    task = read_task(rule.example.query, SHOP)
    called = [node.name for asked in (task.target, task.where) for node in walk(asked) if isinstance(node, Function)]
    assert rule.name in called
    for count in range(rule.arguments[0], min(rule.arguments[1], 3) + 1):
        known = (Literal(SAMPLES[rule.takes]),) * count
        null = Case(((Literal(False), known[0]),))
        partly = [_value(rule, (*known[:at], null, *known[at + 1 :])) for at in range(count)]
        assert (_value(rule, known) is None) == (rule.name == "NULLIF")  # which is NULL of the same twice
        assert (set(partly) == {None}) == (rule.strict or count == 1)


def _value(rule: FunctionRule, arguments: tuple[Expression, ...]) -> object:
    """What the SQL of a function gives."""
    sql = Rows(SHOP, "users", "e", "t", ()).sql(Function(rule.name, arguments))
    with duckdb.connect() as connection:
        row = connection.execute(f"SELECT {sql}").fetchone()
    assert row is not None
    return row[0]


# --- finding one's way --------------------------------------------------------------------------------------------


def test_topics_and_words_are_found() -> None:
    parts = topics()
    assert find() == "".join(parts.values())
    for topic, text in parts.items():
        assert find(topic.upper()) == text
    for link in re.findall(r"\]\(#(.+?)\)", LANGUAGE):
        assert link in parts
    words = [
        *AGGREGATES,
        *FUNCTIONS,
        *(word.words for word in (*MODIFIERS, *CLAUSES)),
        *(m.kind for m in EVERY_MISTAKE),
    ]
    for word in words:
        told = find(f" {word.lower()} ")
        assert word in told
        (where,) = re.findall(r"More: `rdl language (\w+)`", told)
        assert told.split("\n\nMore")[0].splitlines()[-2] in parts[where]
    with pytest.raises(ConfigError, match="nothing on 'medain'") as caught:
        find("medain")
    assert caught.value.hint == "did you mean 'median'?"
    with pytest.raises(ConfigError) as caught:
        find("zzzzzz")
    assert "windows" in str(caught.value.hint)


def test_reading_and_looking_up_load_nothing_heavy() -> None:
    program = "import sys, rdl.query.reference; print(*{'torch', 'duckdb', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_every_test_of_texts_is_read() -> None:
    expression = Parser(tokenize("a.b NOT ENDS WITH 'x' AND a.b LIKE 'y'")).expression()
    assert {getattr(node, "test", None) for node in walk(expression)} == {None, "ENDS WITH", "LIKE"}
