"""Keys that tell the label by being NULL, by the row they lead to, or by being there; what is read behind one is not
accused in its place. And cells that tell by being known or not."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import replace
from typing import Any

from rdl import labels
from rdl.leaks import judge
from rdl.query import read_task
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath
from tests.query.memory import snapshot_of

BEGIN = dt.datetime(2024, 1, 1)
ID = Column("id", Dtype.integer, Stype.identifier)


def _key(name: str) -> Column:
    return Column(name, Dtype.integer, Stype.identifier)


BUYS = Table("buys", (
    ID, _key("coupon_id"), _key("user_id"), Column("at", Dtype.timestamp, Stype.timestamp),
    Column("channel", Dtype.text, Stype.categorical), Column("large", Dtype.boolean, Stype.categorical),
), ("id",), TimePath("at"))  # fmt: skip
COUPONS = Table("coupons", (ID, Column("percent", Dtype.float, Stype.numerical)), ("id",))
USERS = Table("users", (ID, Column("age", Dtype.integer, Stype.numerical)), ("id",))
BILLS = Table("bills", (ID, _key("buy_id"), Column("tax", Dtype.float, Stype.numerical)), ("id",))
SCHEMA = Schema(
    {"buys": BUYS, "coupons": COUPONS, "users": USERS, "bills": BILLS},
    (
        Relation("buys", ("coupon_id",), "coupons", ("id",)),
        Relation("buys", ("user_id",), "users", ("id",)),
        Relation("bills", ("buy_id",), "buys", ("id",)),
    ),
)
LARGE = "PREDICT buys.large FOR EACH buys.id"


def _rows(coupon: str = "any", bills: str = "none") -> dict[str, Any]:
    """1,500 purchases of 100 users, of whom some buy large more often."""
    rng = random.Random(5)
    rows: dict[str, Any] = {
        "buys": [], "bills": [], "coupons": [{"id": n, "percent": n / 10} for n in range(4)],
        "users": [{"id": n, "age": rng.randrange(18, 80)} for n in range(100)],
    }  # fmt: skip
    for number in range(1500):
        user = rng.randrange(100)
        large = rng.random() < 0.1 + 0.8 * (user % 10 == 0)
        given = {"any": rng.random() < 0.5, "large": large, "large, with a code of its own": large}[coupon]
        code = number if coupon.endswith("own") else rng.randrange(4)
        rows["buys"].append({
            "id": number, "user_id": user, "at": BEGIN + dt.timedelta(hours=number), "large": large,
            "channel": rng.choice("wx"), "coupon_id": code if given else None,
        })  # fmt: skip
        if bills == "all" or (bills == "large" and large):
            rows["bills"].append({"id": number, "buy_id": number, "tax": rng.random()})
    if coupon.endswith("own"):
        rows["coupons"] = [{"id": n, "percent": n / 10} for n in range(1500)]
    return rows


def _told(rows: dict[str, Any], query: str = LARGE, schema: Schema = SCHEMA) -> list[str]:
    task = read_task(query, schema)
    with snapshot_of(schema, rows) as snapshot:
        found = judge(task, labels.compute(task, snapshot).table, snapshot)
    return sorted(f"{one.table}.{one.column}" for one in found.tellers)


def test_users_who_differ_are_innocent() -> None:
    assert _told(_rows()) == []
    assert _told(_rows(bills="all")) == []


def test_a_key_that_is_filled_where_the_label_is_true_is_accused_and_nothing_behind_it() -> None:
    for coupon in ("large", "large, with a code of its own"):
        assert _told(_rows(coupon)) == ["buys.coupon_id"]
        assert _told(_rows(coupon), f"{LARGE} HIDE buys.coupon_id") == []


def test_children_that_are_there_where_the_label_is_true_tell_by_their_key() -> None:
    assert _told(_rows(bills="large")) == ["bills.buy_id"]
    assert _told(_rows(bills="large"), f"{LARGE} HIDE bills.buy_id") == []


def test_what_the_target_counts_may_go_on() -> None:
    """Whoever has bought will buy again, and who has not will not: that is no leak."""
    rng = random.Random(1)
    rows = _rows()
    rows["users"] = [{"id": n, "age": 30} for n in range(600)]
    rows["buys"] = [
        {"id": n, "user_id": rng.randrange(300), "at": BEGIN + dt.timedelta(minutes=20 * n), "large": True,
         "channel": "w", "coupon_id": None}
        for n in range(9000)
    ]  # fmt: skip
    assert _told(rows, "PREDICT COUNT(buys.*, 0, 30, days) > 0 FOR EACH users.id") == []


def test_texts_that_are_each_their_own_tell_by_being_there() -> None:
    rows = _rows()
    said = Column("reason", Dtype.text, Stype.text_embedded)
    schema = Schema({**SCHEMA.tables, "buys": replace(BUYS, columns=(*BUYS.columns, said))}, SCHEMA.relations)
    for number, row in enumerate(rows["buys"]):
        row["reason"] = f"because of {number * 7919} and nothing else" if row["large"] else None
    assert _told(rows, schema=schema) == ["buys.reason"]


def test_a_time_that_is_overwritten_tells_by_being_masked() -> None:
    """``last_at`` known at itself: where it is not known at t, the user will buy again. It tells the end best."""
    rng = random.Random(2)
    rows = _rows()
    rows["users"] = [{"id": n, "age": 30, "last_at": None} for n in range(400)]
    rows["buys"] = []
    for number in range(6000):
        user = rng.randrange(400)
        at = BEGIN + dt.timedelta(hours=number)
        rows["buys"].append({"id": number, "user_id": user, "at": at, "large": True, "channel": "w", "coupon_id": None})
        rows["users"][user]["last_at"] = at
    for known_at, told in ((None, []), ("last_at", ["users.last_at"])):
        stype = Stype.timestamp if known_at else Stype.unsupported
        users = replace(USERS, columns=(*USERS.columns, Column("last_at", Dtype.timestamp, stype, known_at=known_at)))
        schema = Schema({**SCHEMA.tables, "users": users}, SCHEMA.relations)
        query = "PREDICT COUNT(buys.*, 0, 20, days) = 0 FOR EACH users.id WHERE COUNT(buys.*, -90, 0, days) > 0"
        assert _told(rows, query, schema) == told
