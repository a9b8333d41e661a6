"""The shop schema of the reference queries, as reflection and inference would give it."""

from __future__ import annotations

import datetime as dt
from typing import Any

from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath

_STYPES = {
    Dtype.integer: Stype.numerical,
    Dtype.float: Stype.numerical,
    Dtype.boolean: Stype.categorical,
    Dtype.text: Stype.categorical,
    Dtype.timestamp: Stype.timestamp,
}
_FREE_TEXT = {"bio", "body", "title"}


def _table(name: str, columns: str, time: str | None = None) -> Table:
    made = [Column("id", Dtype.integer, Stype.identifier, nullable=False)]
    for written in columns.split():
        column, dtype = written.split(":")
        stype = Stype.text_embedded if column in _FREE_TEXT else _STYPES[Dtype(dtype)]
        made.append(Column(column, Dtype(dtype), Stype.identifier if column.endswith("_id") else stype))
    if time:
        made.append(Column(time, Dtype.timestamp, Stype.timestamp, nullable=False))
    return Table(name, tuple(made), ("id",), TimePath(time) if time else None)


def _schema() -> Schema:
    tables = [
        _table("companies", "name:text size:integer"),
        _table("users", "company_id:integer country:text age:integer vip:boolean bio:text", "joined_at"),
        _table("categories", "parent_id:integer name:text"),
        _table("items", "category_id:integer title:text price:float", "listed_at"),
        _table(
            "orders",
            "user_id:integer item_id:integer qty:integer amount:float status:text delivered_at:timestamp",
            "created_at",
        ),
        _table("reviews", "order_id:integer stars:integer body:text", "created_at"),
        _table("impressions", "user_id:integer item_id:integer position:integer clicked:boolean", "shown_at"),
        _table("messages", "sender_id:integer receiver_id:integer body:text", "sent_at"),
    ]
    keys = [
        ("users", "company_id", "companies"),
        ("categories", "parent_id", "categories"),
        ("items", "category_id", "categories"),
        ("orders", "user_id", "users"),
        ("orders", "item_id", "items"),
        ("reviews", "order_id", "orders"),
        ("impressions", "user_id", "users"),
        ("impressions", "item_id", "items"),
        ("messages", "sender_id", "users"),
        ("messages", "receiver_id", "users"),
    ]
    relations = tuple(Relation(child, (key,), parent, ("id",)) for child, key, parent in keys)
    return Schema({table.name: table for table in tables}, relations)


SHOP = _schema()


START = dt.datetime(2024, 1, 1)
DAY = dt.timedelta(days=1)

Rows = dict[str, list[dict[str, Any]]]


def plain_rows(days: int = 60) -> Rows:
    """One user with an order of amount 1 every day; another who joined late and never ordered."""
    user = {"company_id": None, "country": "US", "age": 30, "vip": True, "bio": None}
    order = {"user_id": 1, "item_id": 1, "qty": 1, "status": "ok", "delivered_at": None}
    return {
        "users": [{"id": 1, **user, "joined_at": START}, {"id": 2, **user, "joined_at": START + 50 * DAY}],
        "orders": [{"id": day, **order, "amount": 1.0, "created_at": START + day * DAY} for day in range(days + 1)],
    }
