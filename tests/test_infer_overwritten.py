"""What inference says of times that are overwritten in place: they are no inputs, and no row's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest

from rdl import schema_file
from rdl.infer import Proposal, apply, propose
from rdl.schema import Relation, Schema, Stype
from tests.memory import MemoryReader
from tests.test_infer import moments, reflect

USERS, ORDERS = 80, 600
DRAW = np.random.default_rng(1)
OWNER = DRAW.integers(0, USERS - 10, ORDERS)  # the last ten never order
OF_USER = Relation("orders", ("user_id",), "users", ("id",))


def proposals(tables: Mapping[str, pa.Table], relations: Sequence[Relation] = (OF_USER,)) -> list[Proposal]:
    schema = reflect(tables, relations, {name: (rows.column_names[0],) for name, rows in tables.items()})
    return propose(MemoryReader(tables, rows_a_batch=1000), schema)


def applied(tables: Mapping[str, pa.Table], relations: Sequence[Relation] = (OF_USER,)) -> Schema:
    schema = reflect(tables, relations, {name: (rows.column_names[0],) for name, rows in tables.items()})
    return apply(schema, proposals(tables, relations))


def overwritten(tables: Mapping[str, pa.Table], relations: Sequence[Relation] = (OF_USER,)) -> dict[str, str]:
    found = [one for one in proposals(tables, relations) if one.kind == "overwritten"]
    return {f"{one.table}.{one.column}": one.evidence for one in found}


def shop(**columns: object) -> dict[str, pa.Table]:
    """Users who joined in the first 80 days, and their orders of the next 600."""
    return {
        "users": pa.table({"id": range(USERS), "joined_at": moments(*range(USERS)), **columns}),
        "orders": pa.table({
            "id": range(ORDERS), "user_id": OWNER, "created_at": moments(*range(100, 100 + ORDERS)),
            "amount": DRAW.integers(1, 900, ORDERS) / 100,
        }),
    }  # fmt: skip


def order(of: int) -> pa.Array:
    """The time of each user's first (0) or last (-1) order."""
    days = [np.flatnonzero(user == OWNER) for user in range(USERS)]
    return moments(*[100 + int(day[of]) if len(day) else None for day in days])


@pytest.mark.parametrize("name", ["last_order_at", "seen", "activity", "closed_at", "ts"])
def test_the_last_time_of_its_children_whatever_its_name(name: str) -> None:
    tables = shop(**{name: order(-1)})
    found = overwritten(tables)
    assert list(found) == [f"users.{name}"]
    assert found[f"users.{name}"].startswith(
        "equals the last created_at of its orders (orders.user_id → users.id) in 100"
    )
    column = applied(tables)["users"][name]
    assert (column.stype, column.known_at) == (Stype.unsupported, None)


@pytest.mark.parametrize("name", ["first_order_at", "first_seen", "activated_at"])
def test_the_first_time_is_known_when_it_comes(name: str) -> None:
    assert overwritten(shop(**{name: order(0)})) == {}


@pytest.mark.parametrize(
    "name", ["last_login", "updated_at", "modified", "LastSeen", "lastlogin", "last_modified_date"]
)
def test_a_name_alone(name: str) -> None:
    days = [day + int(DRAW.integers(0, 500)) for day in range(USERS)]
    found = overwritten(shop(**{name: moments(*days)}))
    assert list(found) == [f"users.{name}"]
    assert found[f"users.{name}"].startswith("named as a time that is overwritten")


@pytest.mark.parametrize(
    "name", ["created_at", "delivered_at", "shipped_at", "closed_at", "ended_at", "left_at", "read_at"]
)
def test_what_is_written_once_stands(name: str) -> None:
    days = [day + int(DRAW.integers(1, 500)) if day % 3 else None for day in range(USERS)]
    tables = shop(**{name: moments(*days)})
    assert overwritten(tables) == {}
    assert applied(tables)["users"][name].stype is Stype.timestamp


def test_what_is_over_soon_ends_once() -> None:
    """A visit ends with its last click, minutes after it began; nothing comes to it later."""
    visit = np.repeat(np.arange(200), 4)
    seconds = np.datetime64("2020-01-01", "us") + visit * np.timedelta64(86_400, "s")
    at = seconds + DRAW.integers(0, 3_000, len(visit)) * np.timedelta64(1, "s")
    first, last = (getattr(at.reshape(200, 4), end)(axis=1) for end in ("min", "max"))
    tables = {
        "visits": pa.table({"id": range(200), "begun_at": first, "ended_at": last}),
        "clicks": pa.table({"id": range(800), "visit_id": visit, "at": at}),
    }
    of_visit = [Relation("clicks", ("visit_id",), "visits", ("id",))]
    assert overwritten(tables, of_visit) == {}
    assert applied(tables, of_visit)["visits"]["ended_at"].known_at == "ended_at"
    renamed = {**tables, "visits": tables["visits"].rename_columns(["id", "begun_at", "last_click"])}
    assert list(overwritten(renamed, of_visit)) == ["visits.last_click"]


def test_lines_that_come_with_their_order_say_nothing_of_it() -> None:
    created = moments(*range(300))
    tables = {
        "orders": pa.table({"id": range(300), "created_at": created}),
        "lines": pa.table({"id": range(900), "order_id": np.repeat(range(300), 3),
                           "entered_at": created.take(pa.array(np.repeat(range(300), 3)))}),
    }  # fmt: skip
    assert overwritten(tables, [Relation("lines", ("order_id",), "orders", ("id",))]) == {}


def test_a_summary_of_siblings_has_no_time_of_its_own() -> None:
    counts = np.bincount(OWNER, minlength=USERS)
    tables = shop()
    tables["totals"] = pa.table({"user_id": range(USERS), "n": counts, "lastbuy": order(-1)})
    relations = [OF_USER, Relation("totals", ("user_id",), "users", ("id",))]
    assert list(overwritten(tables, relations)) == ["totals.lastbuy"]
    schema = applied(tables, relations)
    assert schema["totals"].time is None or schema["totals"].time.column != "lastbuy"
    told = {f"{one.table}.{one.column}": one.evidence for one in proposals(tables, relations) if one.kind == "leak"}
    assert list(told) == ["totals.n"]
    assert told["totals.n"].startswith("equals the number of its orders (orders.user_id → totals.user_id)")


def test_a_table_with_only_the_time_of_its_last_change_has_none() -> None:
    tables = {"pages": pa.table({"id": range(300), "updated_at": moments(*range(300))})}
    (evidence,) = overwritten(tables, []).values()
    assert 'time = "updated_at"' in evidence
    assert applied(tables, [])["pages"].time is None


def test_when_something_was_seen_is_a_rows_time_where_nothing_else_is() -> None:
    tables = {"birds": pa.table({"id": range(300), "seen_at": moments(*range(300)), "kind": ["a", "b", "c"] * 100})}
    assert overwritten(tables, []) == {}
    assert str(applied(tables, [])["birds"].time) == "seen_at"


def test_what_is_written_with_it_is_no_input_either() -> None:
    last = order(-1)
    channel = [None if value is None else ("web", "shop")[row % 2] for row, value in enumerate(last.to_pylist())]
    tables = shop(last_order_at=last, last_channel=channel, city=["x", "y"] * 40)
    tables["users"] = pa.concat_tables([tables["users"]] * 4).set_column(0, "id", pa.array(range(4 * USERS)))
    assert set(overwritten(tables)) == {"users.last_order_at", "users.last_channel"}


def test_a_schema_file_has_the_last_word() -> None:
    tables = shop(last_order_at=order(-1))
    schema = reflect(tables, [OF_USER], {"users": ("id",), "orders": ("id",)})
    found = proposals(tables)
    text = schema_file.write(apply(schema, found), schema, {one.subject: one.evidence for one in found})
    line = next(line for line in text.splitlines() if line.startswith("last_order_at"))
    assert 'stype = "unsupported"' in line
    assert "equals the last created_at" in line
    assert schema_file.merge(schema, text) == apply(schema, found)
    said = schema_file.merge(apply(schema, found), '[tables.users]\ncolumns.last_order_at = {stype = "timestamp"}')
    assert said["users"]["last_order_at"].stype is Stype.timestamp
