"""Reading queries: tokens, clauses, names, paths, windows, parameters, positions."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rdl.clock import Span, to_us
from rdl.errors import ConfigError, QueryError
from rdl.query import Kind, read_task
from rdl.query.expressions import Aggregate, ColumnRef, Compare, In, Literal, aggregates, walk
from rdl.query.task import Task
from rdl.query.tokens import TokenKind, tokenize
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath
from tests.query.shop import SHOP


def _window(query: str) -> Aggregate:
    target = read_task(query, SHOP).target
    found = aggregates(target)
    return found[0]


def _refusal(query: str, schema: Schema = SHOP, **parameters: object) -> QueryError:
    with pytest.raises(QueryError) as caught:
        read_task(query, schema, parameters=parameters)
    return caught.value


def test_windows_have_units() -> None:
    for written, start, end in (
        ("0, 30", Span(0), Span(30)),
        ("0, 2, weeks", Span(0, "week"), Span(2, "week")),
        ("7, 14, DAY", Span(7), Span(14)),
        ("-3, 1, months", Span(-3, "month"), Span(1, "month")),
        ("-INF, 7", None, Span(7)),
    ):
        window = _window(f"PREDICT COUNT(orders.*, {written}) FOR EACH users.id")
        assert (window.start, window.end) == (start, end)


@pytest.mark.parametrize(
    ("target", "horizon", "stride"),
    [
        ("SUM(orders.amount, 7, 14)", Span(14), Span(7)),
        ("COUNT(orders.*, 0, 7) > COUNT(orders.*, -7, 0)", Span(7), Span(7)),
        ("COUNT(orders.*, 0, 7) + COUNT(orders.*, 0, 1, month)", Span(1, "month"), Span(1, "month")),
        ("COUNT(orders.*, -INF, 7)", Span(7), Span(7)),
    ],
)
def test_horizon_is_the_furthest_end_and_stride_the_length(target: str, horizon: Span, stride: Span) -> None:
    task = read_task(f"PREDICT {target} FOR EACH users.id", SHOP)
    assert (task.horizon, task.stride) == (horizon, stride)


def test_every_clause_is_read() -> None:
    task = read_task(
        """predict count(orders.*, 0, 7) > 0   -- will they order?
        for each users.id
        where users.age > 20 and count(orders.*, -90, 0) > 0
        assuming count(messages.*, 0, 30) > 2
        every 2 weeks split at '2024-01-01', 2024-02-01
        hide users.vip, users.bio via messages.sender_id as of '2024-03-01T12:00' # now""",
        SHOP,
    )
    assert task.kind is Kind.binary
    assert task.every == Span(2, "week")
    assert task.horizon == Span(30)  # ASSUMING must be covered too
    assert task.split_at == (to_us("2024-01-01"), to_us("2024-02-01"))
    assert task.hidden == {("users", "vip"), ("users", "bio")}
    assert task.as_of == to_us("2024-03-01T12:00")
    (messages,) = aggregates(task.assuming)
    assert messages.relations == (SHOP.relation("messages", ("sender_id",)),)


def test_several_hops_take_the_shortest_path() -> None:
    window = _window("PREDICT SUM(orders.amount, 0, 30) FOR EACH companies.id")
    assert [relation.parent for relation in window.relations] == ["users", "companies"]


def test_filter_walks_keys() -> None:
    window = _window("PREDICT COUNT(orders.* WHERE orders.item_id.category_id.name = 'toys', 0, 7) FOR EACH users.id")
    column = next(node for node in walk(window.filter) if isinstance(node, ColumnRef))
    assert [relation.parent for relation in column.relations] == ["items", "categories"]
    assert column == next(
        node
        for node in walk(
            _window("PREDICT COUNT(orders.* WHERE categories.name = 'toys', 0, 7) FOR EACH users.id").filter
        )
        if isinstance(node, ColumnRef)
    )


def test_self_reference_is_a_path() -> None:
    tables = dict(SHOP.tables)
    tables["categories"] = Table(
        "categories",
        (*tables["categories"].columns, Column("made_at", Dtype.timestamp, Stype.timestamp)),
        ("id",),
        TimePath("made_at"),
    )
    task = read_task("PREDICT COUNT(categories.*, 0, 7) FOR EACH categories.id", Schema(tables, SHOP.relations))
    assert [str(relation) for relation in aggregates(task.target)[0].relations] == [
        "categories.parent_id → categories.id"
    ]


def test_via_follows_a_longer_path_from_its_own_table() -> None:
    query = "PREDICT COUNT(impressions.*, 0, 7) > 0 FOR EACH users.id"
    assert len(_window(query).relations) == 1
    error = _refusal(f"{query} VIA impressions.position")
    assert error.kind == "not-a-key"


def test_row_level_masks_its_label_and_static_hides_it() -> None:
    click = read_task("PREDICT impressions.clicked FOR EACH impressions.id", SHOP)
    assert click.row_level
    assert click.label_columns == {("impressions", "clicked")}
    assert click.hidden == frozenset()
    size = read_task("PREDICT companies.size FOR EACH companies.id", SHOP)
    assert size.hidden == {("companies", "size")}
    assert size.label_columns == frozenset()
    through_key = read_task("PREDICT companies.size FOR EACH users.id", SHOP)
    assert through_key.hidden == {("companies", "size")}


def test_label_that_stays_readable_is_warned_of() -> None:
    query = "PREDICT users.age > 30 AND COUNT(orders.*, 0, 7) > 0 FOR EACH users.id"
    assert any("users.age" in warning for warning in read_task(query, SHOP).warnings)
    assert read_task(f"{query} HIDE users.age", SHOP).warnings == ()


def test_split_by_is_hidden() -> None:
    task = read_task("PREDICT users.age FOR EACH users.id SPLIT BY users.country", SHOP)
    assert task.split_by == ("users", "country")
    assert ("users", "country") in task.hidden
    assert _refusal("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id SPLIT BY users.country").kind == "split-by"


def test_parameters_stand_for_values() -> None:
    task = read_task(
        "PREDICT COUNT(orders.* WHERE orders.status IN :wanted, 0, :days) > :least FOR users.id IN :who AS OF :now",
        SHOP,
        parameters={"wanted": ["ok", "it's"], "days": 14, "least": 2, "who": (1, 2), "now": dt.date(2024, 1, 2)},
    )
    assert task.horizon == Span(14)
    assert task.entities == (1, 2)
    assert task.as_of == to_us("2024-01-02")
    assert isinstance(task.target, Compare)
    assert task.target.right == Literal(2)
    kept = aggregates(task.target)[0].filter
    assert isinstance(kept, In)
    assert [item.value for item in kept.items if isinstance(item, Literal)] == ["ok", "it's"]
    assert "no value" in str(_refusal("PREDICT COUNT(orders.*, 0, :days) FOR EACH users.id"))


def test_text_beside_a_time_is_a_time() -> None:
    for written in ("'2020-02-01'", "2020-02-01", "'2020-02-01T00:00:00+00:00'"):
        task = read_task(f"PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id WHERE users.joined_at > {written}", SHOP)
        assert isinstance(task.where, Compare)
        assert task.where.right == Literal(dt.datetime(2020, 2, 1))
    error = _refusal("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id WHERE users.joined_at > 'soon'")
    assert (error.kind, error.snippet) == ("not-a-time", "'soon'")


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id WHERE users.age", "not-a-condition"),
        ("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id WHERE users.age > 'x'", "types-differ"),
        ("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id WHERE users.age LIKE 'x'", "not-text"),
        ("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id WHERE users.age > 1 WHERE users.age > 2", "repeated-clause"),
        ("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id SPLIT AT '2024-02-01', '2024-01-01'", "split-order"),
        ("PREDICT COUNT(orders.*, 0, 7.5) FOR EACH users.id", "not-a-number"),
        ("PREDICT COUNT(orders.*, 0, INF) FOR EACH users.id", "endless-window"),
        ("PREDICT COUNT(orders.* WHERE COUNT(reviews.*, 0, 1) > 0, -7, 7) > 0 FOR EACH users.id", None),
        ("PREDICT EXISTS(orders.*, 0, 7) FOR EACH users.id "
         "WHERE COUNT(orders.* WHERE COUNT(reviews.*, 0, 1) > 0, -7, 0) > 0", "looks-ahead"),
        ("PREDICT SUM(COUNT(orders.*, 0, 7), 0, 7) FOR EACH users.id", "nested"),
        ("PREDICT 1 FOR EACH users.id", "constant"),
        ("PREDICT users.joined_at FOR EACH users.id", "time-target"),
        ("PREDICT orders.item_id FOR EACH orders", "key-target"),
        ("PREDICT users FOR EACH users.id", "table-as-value"),
        ("PREDICT age > 3 FOR EACH users.id", "unknown-table"),
        ("PREDICT users.age > 30 FOR EACH users.id ASSUMING COUNT(orders.*, 0, 7) > 0", "assuming-ahead"),
        ("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id LIMIT 3", "syntax"),
        ("PREDICT COUNT(orders.*, 0, 7 FOR EACH users.id", "syntax"),
        ("PREDICT COUNT(orders.*, 0, 7) = 'ok FOR EACH users.id", "syntax"),
        ("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id EVERY 0 days", "bad-count"),
    ],
)  # fmt: skip
def test_other_mistakes(query: str, kind: str | None) -> None:
    if kind is None:
        assert read_task(query, SHOP).kind is Kind.binary
    else:
        assert _refusal(query).kind == kind


def test_positions_refer_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "churn.pql"
    path.write_text(
        "-- a comment\nPREDICT COUNT(orders.*, 0, 7) > 0\n/* more\n*/ FOR EACH usres.id\n", encoding="utf-8"
    )
    error = _refusal(str(path))
    assert (error.line, error.column, error.snippet) == (4, 13, "usres.id")
    assert str(error).splitlines()[1:3] == ["  */ FOR EACH usres.id", "              ^^^^^^^^"]
    path.write_text("PREDICT users.vip FOR EACH users.id", encoding="utf-8")
    assert read_task(path, SHOP).kind is Kind.binary
    with pytest.raises(ConfigError, match=r"none\.pql cannot be read"):
        read_task(str(tmp_path / "none.pql"), SHOP)


def _odd_schema(table: str, column: str) -> Schema:
    columns = (
        Column("key", Dtype.integer, Stype.identifier),
        Column(column, Dtype.float, Stype.numerical),
        Column("parent", Dtype.integer, Stype.identifier),
        Column("when", Dtype.timestamp, Stype.timestamp),
    )
    tables = {table: Table(table, columns, ("key",), TimePath("when"))}
    return Schema(tables, (Relation(table, ("parent",), table, ("key",)),))


@given(st.text(min_size=1, max_size=8).filter(str.strip), st.text(min_size=1, max_size=8).filter(str.strip))
@example("orders", "*")
def test_quoted_names_may_be_anything(table: str, column: str) -> None:
    if column in ("key", "parent", "when"):
        return
    schema = _odd_schema(table, column)
    quoted = [name.replace('"', '""') for name in (table, column)]
    task = read_task(f'PREDICT SUM("{quoted[0]}"."{quoted[1]}", 0, 7) FOR EACH "{quoted[0]}".key', schema)
    window = task.target
    assert isinstance(window, Aggregate)
    assert window.table == task.entity == table
    assert window.argument == ColumnRef((), table, column)


@pytest.mark.parametrize(
    "name", ["order", "rank", "timestamp", "for", "where", "select", "top", "end", "case", "true", "not"]
)
def test_reserved_words_are_names_beside_a_dot(name: str) -> None:
    task = read_task(f"PREDICT SUM({name}.{name}, 0, 7) FOR EACH {name}.key", _odd_schema(name, name))
    assert task.entity == name


def test_names_are_found_in_any_case_and_behind_a_schema() -> None:
    task = read_task("PREDICT SUM(public.ORDERS.Amount, 0, 7) FOR EACH Public.Users.ID", SHOP)
    assert task.entity == "users"
    assert _window("PREDICT SUM(shop.orders.amount, 0, 7) FOR EACH users.id").table == "orders"


def _outcome(query: str) -> Task | QueryError:
    try:
        return read_task(query, SHOP)
    except QueryError as error:
        return error


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    outcome = _outcome("PREDICT " + text)
    if isinstance(outcome, QueryError):
        assert outcome.text == "PREDICT " + text
        assert 1 <= outcome.line <= outcome.text.count("\n") + 1
        assert outcome.column >= 1
        assert str(outcome)


_WORDS = [
    "PREDICT",
    "COUNT(",
    "orders.*",
    ",",
    "0",
    "7",
    ")",
    ">",
    "FOR",
    "EACH",
    "users.id",
    "WHERE",
    "'a'",
    "IN",
    "-",
]


def test_conditions_may_be_many() -> None:
    for word in ("OR", "AND"):
        chain = f" {word} ".join(f"users.age <> {number}" for number in range(3_000))
        asked = read_task(f"PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id WHERE {chain}", SHOP).where
        assert [node.right.value for node in walk(asked) if isinstance(node, Compare)] == list(range(3_000))  # type: ignore[attr-defined]


def test_every_parameter_given_is_used_and_numbers_may_be_numpys() -> None:
    query = "PREDICT SUM(orders.amount, 0, :days) > :least FOR EACH users.id WHERE users.joined_at < :now"
    values = {"days": np.int32(7), "least": np.float32(2.5), "now": np.datetime64("2024-01-02")}
    plain = {"days": 7, "least": 2.5, "now": dt.date(2024, 1, 2)}
    assert read_task(query, SHOP, parameters=values) == read_task(query, SHOP, parameters=plain)
    error = _refusal("PREDICT SUM(orders.amount, 0, :days) FOR EACH users.id", days=7, dais=3)
    assert ":dais, which the query does not have" in error.message
    assert "days" in str(error.hint)


def test_numbers_are_written_in_ascii() -> None:
    assert _refusal("PREDICT COUNT(orders.*, 0, ٣) FOR EACH users.id").kind == "syntax"


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("PREDICT orders.amount > 50 FOR EACH orders WHERE orders.amount > 20", "looks-ahead"),
        ("PREDICT orders.item_id.price FOR EACH orders WHERE items.price > 3", "looks-ahead"),
        ("PREDICT COUNT(orders.*, 0, 1, month) + COUNT(orders.*, 0, 31) FOR EACH users.id", "mixed-units"),
        ("PREDICT LIST_DISTINCT(orders.created_at, 0, 30) CLASSIFY FOR EACH users.id", "time-target"),
    ],
)
def test_what_has_no_honest_label_is_refused(query: str, kind: str) -> None:
    assert _refusal(query).kind == kind


def test_units_may_be_mixed_where_one_window_ends_later_in_every_month() -> None:
    task = read_task("PREDICT COUNT(orders.*, 0, 7) + COUNT(orders.*, 0, 1, month) FOR EACH users.id", SHOP)
    assert task.horizon == Span(1, "month")


def test_a_part_of_a_composite_key_is_no_target() -> None:
    line = Table("line", (Column("a", Dtype.integer, Stype.numerical), Column("b", Dtype.integer, Stype.numerical)))
    page = Table("page", line.columns, ("a", "b"))
    schema = Schema({"line": line, "page": page}, (Relation("line", ("a", "b"), "page", ("a", "b")),))
    with pytest.raises(QueryError, match=r"a part of the key line.a\+b → page.a\+b"):
        read_task("PREDICT line.a FOR EACH line", schema)


@given(st.lists(st.sampled_from(_WORDS), max_size=15))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    outcome = _outcome(" ".join(words))
    assert isinstance(outcome, QueryError | Task)
    if isinstance(outcome, QueryError):
        assert outcome.snippet in outcome.text


def test_deep_nesting_is_refused() -> None:
    assert "nested too deeply" in str(_refusal("PREDICT " + "(" * 5_000))


@given(st.text(alphabet="ab 1.\n'\"`#-/*é:=", max_size=30))
def test_tokens_stand_where_they_say(text: str) -> None:
    try:
        tokens = tokenize(text)
    except QueryError:
        return
    lines = text.split("\n")
    for token in tokens[:-1]:
        at = lines[token.place.line - 1][token.place.column - 1 :]
        assert at.startswith(token.place.snippet.split("\n")[0])
        assert text[token.start : token.stop] == token.place.snippet
    assert tokens[-1].kind is TokenKind.end
