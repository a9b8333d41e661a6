"""What inference proposes, on small tables made to mislead it and on the real databases."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pytest

from rdl.errors import SchemaError
from rdl.infer import Proposal, apply, propose
from rdl.infer.words import alike, stem, words
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath
from tests.memory import MemoryReader

STORED = [
    (pa.types.is_boolean, Dtype.boolean, Stype.categorical),
    (pa.types.is_integer, Dtype.integer, Stype.numerical),
    (pa.types.is_floating, Dtype.float, Stype.numerical),
    (pa.types.is_date, Dtype.date, Stype.timestamp),
    (pa.types.is_timestamp, Dtype.timestamp, Stype.timestamp),
    (pa.types.is_binary, Dtype.binary, Stype.unsupported),
    (lambda _: True, Dtype.text, Stype.text_embedded),
]


def reflect(
    tables: Mapping[str, pa.Table],
    relations: Sequence[Relation] = (),
    keys: Mapping[str, tuple[str, ...]] | None = None,
) -> Schema:
    """What a reader would reflect of Arrow tables."""
    described = {}
    for name, rows in tables.items():
        columns = []
        for field, values in zip(rows.schema, rows.columns, strict=True):
            _, dtype, stype = next(entry for entry in STORED if entry[0](field.type))
            columns.append(Column(field.name, dtype, stype, nullable=values.null_count > 0))
        described[name] = Table(name, tuple(columns), (keys or {}).get(name, ()))
    return Schema(described, tuple(relations))


def inferred(
    tables: Mapping[str, pa.Table],
    relations: Sequence[Relation] = (),
    keys: Mapping[str, tuple[str, ...]] | None = None,
    sample_rows: int = 100_000,
) -> Schema:
    schema = reflect(tables, relations, keys)
    return apply(schema, propose(MemoryReader(tables), schema, sample_rows=sample_rows))


def days(*values: int | None) -> pa.Array:
    return pa.array([None if value is None else dt.date(2020, 1, 1) + dt.timedelta(value) for value in values])


def moments(*values: int | None) -> pa.Array:
    return days(*values).cast(pa.timestamp("us"))


@pytest.mark.parametrize(("name", "expected"), [
    ("home_teamID", ["home", "team", "id"]), ("OrderDate", ["order", "date"]), ("fp1_date", ["fp1", "date"]),
    ("HTTPServer", ["http", "server"]), ("Größe", ["größe"]), ("", []),
])  # fmt: skip
def test_words(name: str, expected: list[str]) -> None:
    assert words(name) == expected


def test_stems() -> None:
    assert stem("userid", ["users"]) == (["user"], True)
    assert stem("grid", ["users"]) == (["grid"], False)
    assert stem("id_movie") == (["movie"], True)
    assert stem("id") == (["id"], False)
    assert alike(["movie"], ["movies"])
    assert alike(["category"], ["categories"])
    assert alike(["news"], ["news"])
    assert not alike(["status"], ["stat"])


SHOP = {
    "users": pa.table({"id": [10, 20, 30], "age": [40, 50, 60]}),
    "Movies": pa.table({"movieId": ["a", "b", "c"], "title": ["x", "y", "z"]}),
    "categories": pa.table({"category_id": [1, 2], "parent_id": pa.array([None, 1]), "name": ["p", "q"]}),
    "ratings": pa.table({"userId": [10, 20, 20], "movieId": list("abc"), "category": [1, 1, 2], "stars": [1, 2, 3]}),
    "messages": pa.table({"sender_user_id": [10, 20], "rank": [10, 20], "users_id": [30, 77]}),
}


def test_keys_and_relations_that_no_one_declared() -> None:
    schema = inferred(SHOP)
    assert {name: table.primary_key for name, table in schema.tables.items()} == {
        "users": ("id",), "Movies": ("movieId",), "categories": ("category_id",), "ratings": (), "messages": (),
    }  # fmt: skip
    assert set(map(str, schema.relations)) == {
        "ratings.userId → users.id",
        "ratings.movieId → Movies.movieId",
        "ratings.category → categories.category_id",
        "categories.parent_id → categories.category_id",
        "messages.sender_user_id → users.id",  # and not users_id, of which half is not there, nor rank
    }
    assert schema["ratings"]["userId"].stype == Stype.identifier


def test_numbers_that_happen_to_be_in_a_key_are_no_relation() -> None:
    tables = {
        "laps": pa.table({"id": range(100)}),
        "teams": pa.table({"id": range(100)}),
        "results": pa.table({"id": range(50), "laps": range(50), "team_number": range(50), "item_id": range(50)}),
    }
    assert inferred(tables).relations == ()


def test_what_is_declared_stands() -> None:
    declared = Relation("ratings", ("userId",), "categories", ("category_id",))
    schema = inferred(SHOP, [declared], {"users": ("age",)})
    assert schema["users"].primary_key == ("age",)
    assert [relation for relation in schema.relations if relation.key == ("userId",)] == [declared]
    timed = replace(reflect({"t": pa.table({"date": days(1), "at": days(2)})})["t"], time=TimePath("at"))
    proposals = propose(MemoryReader({"t": pa.table({"date": days(1), "at": days(2)})}), Schema({"t": timed}))
    assert [proposal for proposal in proposals if proposal.kind == "time"] == []


def test_a_key_must_be_unique_in_all_rows_not_only_in_the_sample() -> None:
    tables = {"t": pa.table({"id": [1, 2, 3, 4, 1]}), "u": pa.table({"id": pa.array([1, None])})}
    schema = inferred(tables, sample_rows=3)
    assert schema["t"].primary_key == schema["u"].primary_key == ()
    parent = {"users": pa.table({"id": range(9)}), "orders": pa.table({"user_id": [8, 7], "note": ["a", "b"]})}
    assert [str(relation) for relation in inferred(parent, sample_rows=2).relations] == ["orders.user_id → users.id"]


def test_one_to_one_tables_point_at_the_table_they_are_named_after() -> None:
    tables = {"users": pa.table({"user_id": [1, 2]}), "user_profiles": pa.table({"user_id": [1, 2]})}
    keys = {"users": ("user_id",), "user_profiles": ("user_id",)}
    assert [str(relation) for relation in inferred(tables, (), keys).relations] == [
        "user_profiles.user_id → users.user_id"
    ]
    same = {"results": pa.table({"resultId": [1, 2]}), "sprint_results": pa.table({"resultId": [1, 2]})}
    assert inferred(same, (), {"results": ("resultId",), "sprint_results": ("resultId",)}).relations == ()
    assert inferred(same).relations == ()
    assert inferred(same)["sprint_results"].primary_key == ("resultId",)


def own_time(table: str, **columns: pa.Array) -> TimePath | None:
    return inferred({table: pa.table(columns)})[table].time


@pytest.mark.parametrize(("table", "columns", "expected"), [
    ("orders", {"updated_at": moments(1, 2), "created_at": moments(1, 2)}, "created_at"),
    ("orders", {"delivered_at": moments(3, 4), "orderdate": moments(1, 2)}, "orderdate"),
    ("races", {"date": days(1, 2), "start_at": moments(1, 2), "fp1_date": days(None, 1)}, "date"),
    ("events", {"date": days(1, 2), "timestamp": moments(1, 2)}, "timestamp"),
    ("deliveries", {"delivered_at": moments(3, 4)}, "delivered_at"),
    ("tournaments", {"end_date": days(3, 4), "start_date": days(1, 2)}, "start_date"),
    ("visits", {"when": moments(1, 2)}, "when"),
    ("x", {"odd_date": days(1, 2)}, "odd_date"),
    ("x", {"odd_date": days(1, None)}, None),
    ("drivers", {"dob": days(1, 2), "birthDate": days(1, 2)}, None),
    ("users", {"updated_at": moments(1, 2), "valid_until": moments(3, 4), "last_seen_at": moments(1, 2)}, None),
    ("x", {"created_at": moments(*[None] * 9, 1)}, None),
    ("x", {"created_at": moments(*[1] * 20)}, None),
    ("x", {"created_at": pa.array([1_600_000_000, 1_600_000_001])}, None),
])  # fmt: skip
def test_own_times(table: str, columns: dict[str, pa.Array], expected: str | None) -> None:
    assert own_time(table, **columns) == (TimePath(expected) if expected else None)


@pytest.mark.parametrize(("released", "expected"), [((1, 1, 1), "release_date"), ((9, 9, 1), None)])
def test_a_row_cannot_be_known_after_what_happens_to_it(released: tuple[int, ...], expected: str | None) -> None:
    tables = {
        "movies": pa.table({"movie_id": [1, 2, 3], "release_date": days(*released)}),
        "ratings": pa.table({"movie_id": [1, 2, 3], "rated_at": moments(1, 5, 5)}),
    }
    assert inferred(tables)["movies"].time == (TimePath(expected) if expected else None)


def related(child: str, columns: dict[str, object], *others: str) -> TimePath | None:
    """The time of ``child`` beside companies (founded), orders of users (created) and the tables named."""
    tables = {
        "companies": pa.table({"id": [1, 2], "founded_at": moments(1, 2)}),
        "users": pa.table({"id": [1, 2], "joined_at": moments(3, 4)}),
        "items": pa.table({"id": [1, 2], "price": [1.0, 2.5]}),
        "orders": pa.table({"id": [1, 2], "user_id": [1, 2], "created_at": moments(5, 6)}),
        **{other: pa.table({f"{child[:-1]}_id": [1, 2]}) for other in others},
    }
    key = {"id": pa.array([1, 2])} if "id" in columns else {}
    return inferred({**tables, child: pa.table({**columns, **key})})[child].time


def test_times_through_keys() -> None:
    line = {"id": [], "item_id": [1, 2], "order_id": [1, 2]}
    order = TimePath("created_at", (("order_id",),))
    assert related("lines", line) == order
    assert related("lines", line, "returns") == order
    assert related("notes", {"id": [], "order_id": [1, 2]}) == order
    # of several parents the one known last
    assert related("lines", {"user_id": [1, 2], "order_id": [1, 2]}) == order
    # a pair of things is not older than either
    assert related("favourites", {"user_id": [1, 2], "item_id": [1, 2]}) == TimePath("joined_at", (("user_id",),))
    # half the rows would never be seen
    assert related("lines", {"id": [], "item_id": [1, 2], "order_id": pa.array([1, None])}) is None


def test_lasting_things_take_no_time_from_a_parent() -> None:
    assert related("customers", {"id": [], "company_id": [1, 2]}, "visits") is None
    assert related("products", {"id": [], "order_id": [1, 2], "user_id": [1, 2]}) is None
    assert related("notes", {"id": [], "company_id": [1, 2]}) is None
    assert related("notes", {"id": [], "order_id": [1, 2]}, "stamps") is None  # a thing that others refer to


def test_times_through_several_keys_and_in_cycles() -> None:
    tables = {
        "races": pa.table({"id": [1, 2], "date": days(1, 2), "winner_result_id": [1, 2]}),
        "results": pa.table({"id": [1, 2], "race_id": [1, 2], "car_id": [1, 2]}),
        "cars": pa.table({"id": [1, 2]}),
        "stops": pa.table({"id": [1, 2], "result_id": [1, 2]}),
        "a": pa.table({"id": [1, 2], "b_id": [1, 2]}),
        "b": pa.table({"id": [1, 2], "a_id": [1, 2]}),
    }
    schema = inferred(tables)
    assert schema["results"].time == TimePath("date", (("race_id",),))
    assert schema["stops"].time == TimePath("date", (("result_id",), ("race_id",)))
    assert schema["a"].time is schema["b"].time is schema["cars"].time is None


def test_the_evidence_of_times() -> None:
    tables = {
        "cups": pa.table({"id": [1, 2], "start_date": days(1, 2), "end_date": days(8, 9)}),
        "prizes": pa.table({"id": [1, 2], "cup_id": [1, 2]}),
    }
    proposals = propose(MemoryReader(tables), reflect(tables))
    said = {proposal.what: proposal.evidence for proposal in proposals}
    assert said["cups.time = start_date"] == "named as when something began, never NULL"
    assert said["prizes.time = cup_id.end_date"] == (
        "every row has a known cups.end_date through cup_id; "
        "where its rows are known from the beginning, cups.start_date is their time"
    )


N = 400
MANY = range(N)


@pytest.mark.parametrize(("name", "values", "expected"), [
    ("age", [value % 5 for value in MANY], Stype.numerical),
    ("position", [value % 3 for value in MANY], Stype.numerical),
    ("stars", [value % 5 for value in MANY], Stype.numerical),
    ("milliseconds", list(MANY), Stype.numerical),
    ("clicked", [value % 2 for value in MANY], Stype.categorical),
    ("colour", [value % 7 for value in MANY], Stype.categorical),
    ("colour", [value % 90 for value in MANY], Stype.numerical),
    ("statusId", [value % 40 for value in MANY], Stype.categorical),
    ("zip_code", list(MANY), Stype.identifier),
    ("weight", [value % 2 + 0.5 for value in MANY], Stype.numerical),
    ("nothing", pa.array([None] * N, pa.int64()), Stype.numerical),
    ("nothing", ["same"] * N, Stype.categorical),
    ("flag", [None, *["x"] * (N - 1)], Stype.categorical),
    ("country", [f"c {value % 30}" for value in MANY], Stype.categorical),
    ("queue", [f"q{value % 60}" for value in MANY], Stype.categorical),
    ("driverRef", [f"r{value}" for value in MANY], Stype.identifier),
    ("serial", [f"r{value}" for value in MANY], Stype.identifier),
    ("thing", [f"r{value}" for value in MANY], Stype.identifier),
    ("surname", [chr(65 + value % 26) * (value // 26 + 1) for value in MANY], Stype.identifier),
    ("wiki", [f"https://a.b/{value}" for value in MANY], Stype.identifier),
    ("url", [None, *[f"a/{value}" for value in range(N - 1)]], Stype.identifier),
    ("body", [f"some words about {value} things" for value in MANY], Stype.text_embedded),
    ("body", [f"long words about {value % 3} things in a text that is said again" for value in MANY],
     Stype.text_embedded),
    ("lap", [f"1:{value:06.3f}" for value in MANY], Stype.unsupported),
    ("entities", ['[{"a": "b\n"}]', "[]"] * (N // 2), Stype.unsupported),
    ("made", days(*MANY), Stype.timestamp),
    ("made", pa.array([None] * N, pa.timestamp("us")), Stype.timestamp),
])  # fmt: skip
def test_semantic_types(name: str, values: object, expected: Stype) -> None:
    tables = {"t": pa.table({name: values, "other": list(MANY)})}
    assert inferred(tables)["t"][name].stype == expected


def test_key_columns_are_identifiers_but_numbers_within_a_composite_key_are_not() -> None:
    tables = {
        "lists": pa.table({"list_id": [1, 2], "made_at": days(1, 2)}),
        "shown": pa.table({"list_id": [1, 1, 2], "position": [1, 2, 1]}),
    }
    schema = inferred(tables, (), {"lists": ("list_id",), "shown": ("list_id", "position")})
    assert schema["lists"]["list_id"].stype == schema["shown"]["list_id"].stype == Stype.identifier
    assert schema["shown"]["position"].stype == Stype.numerical
    tables = {"read": pa.table({"meter": [1, 1, 2], "day": days(1, 2, 1)})}
    assert inferred(tables, (), {"read": ("meter", "day")})["read"]["day"].stype == Stype.timestamp


def test_empty_tables_and_odd_names() -> None:
    tables = {
        'my "table"': pa.table({"id": [1, 2], 'a"b': ["x y", "z"], "": [1, 2]}),
        "empty": pa.table({"id": pa.array([], pa.int64()), "user_id": pa.array([], pa.int64()), "at": moments()}),
        "bytes": pa.table({"b": [b"x", b"y"]}),
    }
    schema = inferred(tables)
    assert schema["empty"].primary_key == ("id",)
    assert schema["empty"].time == TimePath("at")
    assert schema['my "table"'].primary_key == ("id",)


def test_proposals_are_shown_stored_and_applied() -> None:
    relation = Relation("results", ("raceId",), "races", ("raceId",))
    proposals = [
        Proposal("primary_key", "races", ("raceId",), "unique"),
        Proposal("relation", "results", relation, "all there"),
        Proposal("time", "races", TimePath("date"), "never NULL"),
        Proposal("time", "results", TimePath("date", (("raceId",),)), "every row has a race"),
        Proposal("stype", "results", Stype.categorical, "few", column="grid"),
    ]
    assert [str(proposal) for proposal in proposals] == [
        "races.primary_key = raceId: unique",
        "results.raceId → races.raceId: all there",
        "races.time = date: never NULL",
        "results.time = raceId.date: every row has a race",
        "results.grid = categorical: few",
    ]
    assert json.loads(json.dumps(proposals[3].to_json()))["value"] == {"column": "date", "through": [["raceId"]]}
    assert json.loads(json.dumps(proposals[4].to_json()))["value"] == "categorical"
    tables = {"races": pa.table({"raceId": [1], "date": days(1)}), "results": pa.table({"raceId": [1], "grid": [1]})}
    schema = apply(reflect(tables), proposals)
    assert schema["races"].primary_key == ("raceId",)
    assert schema.relations == (relation,)
    assert schema.time_table("results").name == "races"
    assert schema["results"]["grid"].stype == Stype.categorical
    with pytest.raises(SchemaError, match="no table 'nowhere'"):
        apply(schema, [Proposal("time", "nowhere", TimePath("date"), "")])
    with pytest.raises(SchemaError, match="no column 'gird'"):
        apply(schema, [Proposal("stype", "results", Stype.categorical, "", column="gird")])
