"""Whatever tables, columns, texts and parameters are called: what is compiled is one SELECT of the tables named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rdl.clock import to_us
from rdl.errors import QueryError
from rdl.query import read_task
from rdl.query.sql import Compiler
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath
from tests.query.shop import SHOP
from tests.query.test_fuzz import mutated

NASTY = [
    "'; DROP TABLE users; --", '"; DROP TABLE users; --', '" UNION SELECT 1 --', "/*", "*/", "--", "#row", "a.b", "''",
    '""', "\\", "\\'", "$1", "?", ":x", "{timedelta}", "%s", "\n;", "`", "é\u2028'", "anchors", "eligible", "e", "time",
]  # fmt: skip
#: Also what holds every sort of quote, comment and end of a statement, in any order.
names = st.one_of(st.sampled_from(NASTY), st.text("'\"`;-/*#\\.: aé\n", min_size=1, max_size=8)).filter(str.strip)


def _schema(table: str, column: str) -> Schema:
    parent = Table("people", (Column("key", Dtype.integer, Stype.identifier),), ("key",))
    columns = (
        Column("key", Dtype.integer, Stype.identifier),
        Column(column, Dtype.text, Stype.categorical),
        Column("person", Dtype.integer, Stype.identifier),
        Column("when", Dtype.timestamp, Stype.timestamp),
    )
    child = Table(table, columns, ("key",), TimePath("when"))
    return Schema({"people": parent, table: child}, (Relation(table, ("person",), "people", ("key",)),))


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _one_select(sql: str) -> list[dict[str, Any]]:
    """The nodes of ``sql``, which is one SELECT; DuckDB tells by its own parser."""
    ((told,),) = duckdb.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    parsed = json.loads(told)
    assert not parsed["error"], (sql, parsed)
    (statement,) = parsed["statements"]
    assert statement["node"]["type"] == "SELECT_NODE"
    return list(_nodes(statement))


@settings(deadline=None)
@given(names, names, names, names)
@example('a"b', "c'd", "'; DROP TABLE users; --", "x' OR '1'='1")
def test_names_and_texts_stay_what_they_are(table: str, column: str, text: str, parameter: str) -> None:
    if column in ("key", "person", "when") or table.casefold() == "people":
        return
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in (table, column)}
    written = "'" + text.replace("'", "''") + "'"
    schema = _schema(table, column)
    cell = f"{quoted[table]}.{quoted[column]}"
    query = (
        f"PREDICT COUNT({quoted[table]}.* WHERE {cell} = {written} OR {cell} LIKE :given OR {cell} IN (:given), 0, 7) "
        f"FOR EACH people.key WHERE LAST({cell}, -7, 0) <> {written}"
    )
    task = read_task(query, schema, parameters={"given": parameter})
    sql = Compiler(task, schema, [to_us("2024-01-31"), to_us("2024-02-29")]).labels()
    nodes = _one_select(sql)
    aliases = {entry["key"] for node in nodes for entry in node.get("map", []) if "key" in entry}
    read = {node["table_name"] for node in nodes if node.get("type") == "BASE_TABLE"}
    assert read <= {table, "people"} | aliases
    texts = {value for node in nodes for value in node.values() if isinstance(value, str)}
    assert {text, parameter} <= texts


@pytest.mark.parametrize("name", NASTY)
def test_a_row_is_asked_about_under_any_name(name: str) -> None:
    schema = _schema(name, name)
    quoted = '"' + name.replace('"', '""') + '"'
    task = read_task(f"PREDICT {quoted}.{quoted} FOR EACH {quoted}", schema)
    nodes = _one_select(Compiler(task, schema, None).labels())
    assert any(node.get("column_names") == ["e", name] for node in nodes)


def test_mutated_queries_compile_to_one_select() -> None:
    compiled = 0
    for query in mutated(800, seed=1):
        try:
            task = read_task(query + " ", SHOP)
        except QueryError:
            continue
        anchors = None if task.row_level else [to_us("2024-01-31"), to_us("2024-02-29")]
        _one_select(Compiler(task, SHOP, anchors).labels())
        compiled += 1
    assert compiled > 20
