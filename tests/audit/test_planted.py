"""Every kind of leak, planted in the sample shop, is found with its fix; the fix makes it go away."""

from __future__ import annotations

from pathlib import Path

import pytest

import rdl
from rdl.audit import Severity
from rdl.shop import build_shop
from tests.audit.planted import cells, plant

CLICK = "PREDICT impressions.clicked FOR EACH impressions.id"
AMOUNT = "PREDICT orders.amount FOR EACH orders.id"
STARS = "PREDICT reviews.stars FOR EACH reviews.id"
CHURN = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id WHERE COUNT(orders.*, -90, 0, days) > 0"
STATUSES = "PREDICT LIST_DISTINCT(orders.status, 0, 30) CLASSIFY FOR EACH users.id ASSUMING COUNT(orders.*, 0, 30) > 0"
ACTIVE = "PREDICT COUNT(orders.*, 0, 30, days) > 0 FOR EACH users.id"

#: By name: the SQL that plants it, the schema file, the question, what is found, in which column, how grave.
LEAKS: dict[str, tuple[list[str], str, str, str, str, Severity]] = {
    "a number that tells a class": (
        ["ALTER TABLE impressions ADD COLUMN dwell DOUBLE",
         "UPDATE impressions SET dwell = CASE WHEN clicked THEN 5 + random() ELSE 5 * random() END"],
        "", CLICK, "tells", "impressions.dwell", Severity.severe,
    ),
    "two that tell it together": (
        ["ALTER TABLE impressions ADD COLUMN odd BOOLEAN", "ALTER TABLE impressions ADD COLUMN flip BOOLEAN",
         "UPDATE impressions SET odd = random() < 0.4",
         "UPDATE impressions SET flip = (odd <> clicked)"],
        "", CLICK, "tells", "impressions.odd", Severity.severe,
    ),
    "a copy on a parent's parent": (
        ["CREATE TABLE shelves (id INTEGER PRIMARY KEY, hot BOOLEAN)",
         "INSERT INTO shelves SELECT range, range % 2 = 0 FROM range(10)",
         "ALTER TABLE items ADD COLUMN shelf_id INTEGER", "UPDATE items SET shelf_id = id % 10",
         "UPDATE impressions SET clicked = (SELECT i.id % 2 = 0 FROM items i WHERE i.id = item_id)"],
        '[[relations]]\nchild = "items"\nkey = ["shelf_id"]\nparent = "shelves"',
        CLICK, "tells", "shelves.hot", Severity.severe,
    ),
    "a copy on a child without a time": (
        ["CREATE TABLE bills (id INTEGER PRIMARY KEY, order_id INTEGER REFERENCES orders(id), total DOUBLE)",
         "INSERT INTO bills SELECT id, id, amount * 100 + 7 FROM orders"],
        "[tables.bills]\ntime = false", AMOUNT, "tells", "bills.total", Severity.severe,
    ),
    "what follows from the label": (
        ["ALTER TABLE reviews ADD COLUMN mood TEXT",
         "UPDATE reviews SET mood = CASE WHEN stars IN (2, 4) THEN 'even' ELSE 'odd' END"],
        "", STARS, "follows", "reviews.mood", Severity.severe,
    ),
    "a time after its row": (
        ["ALTER TABLE reviews ADD COLUMN checked TIMESTAMP",
         "UPDATE reviews SET checked = created_at + to_days(CAST(1 + 50 * random() AS INTEGER))"],
        "", CHURN, "later", "reviews.checked", Severity.severe,
    ),
    "filled in later": (
        ["ALTER TABLE reviews ADD COLUMN votes INTEGER",
         "UPDATE reviews SET votes = id % 7 WHERE created_at < (SELECT quantile_cont(created_at, 0.92) FROM reviews)"],
        "", CHURN, "filled", "reviews.votes", Severity.suspect,
    ),
    "a label that is filled in later": (
        ["UPDATE reviews SET stars = NULL"
         " WHERE created_at > (SELECT quantile_cont(created_at, 0.96) FROM reviews)"],
        "", STARS, "filled", "reviews.stars", Severity.suspect,
    ),
    "named as an outcome": (
        ["ALTER TABLE impressions ADD COLUMN fraud BOOLEAN", "UPDATE impressions SET fraud = random() < 0.1"],
        "", CLICK, "filled", "impressions.fraud", Severity.note,
    ),
    "a sum of later rows": (
        ["ALTER TABLE users ADD COLUMN total_orders INTEGER",
         "UPDATE users SET total_orders = (SELECT count(*) FROM orders o WHERE o.user_id = users.id)"],
        "", CHURN, "aggregate", "users.total_orders", Severity.severe,
    ),
    "a key that is written with the label": (
        ["CREATE TABLE desks (id INTEGER PRIMARY KEY)", "INSERT INTO desks SELECT range FROM range(6)",
         "ALTER TABLE impressions ADD COLUMN desk_id INTEGER",
         "UPDATE impressions SET desk_id = id % 3 + CASE WHEN clicked THEN 3 ELSE 0 END"],
        '[[relations]]\nchild = "impressions"\nkey = ["desk_id"]\nparent = "desks"',
        CLICK, "tells", "impressions.desk_id", Severity.suspect,
    ),
    "a parent that tells what a list will hold": (
        ["ALTER TABLE users ADD COLUMN habit TEXT",
         "UPDATE users SET habit = 'h' || (id % 3)",
         "UPDATE orders SET status = ['new', 'paid', 'sent'][1 + user_id % 3]"],
        '[tables.orders]\ncolumns.status = {known_at = false}',
        STATUSES, "tells", "users.habit", Severity.severe,
    ),
    "a mean of the labels": (
        ["ALTER TABLE items ADD COLUMN appeal DOUBLE",
         "UPDATE items SET appeal = (SELECT avg(clicked::INT) FROM impressions i WHERE i.item_id = items.id)"],
        "", CLICK, "aggregate", "items.appeal", Severity.severe,
    ),
    "a number of labels above a bound": (
        ["ALTER TABLE users ADD COLUMN liked INTEGER",
         "UPDATE users SET liked = (SELECT count(*) FROM reviews r JOIN orders o ON o.id = r.order_id"
         " WHERE o.user_id = users.id AND stars >= 4)"],
        "", "PREDICT reviews.stars >= 4 FOR EACH reviews.id", "aggregate", "users.liked", Severity.severe,
    ),
    "rows written later than their time": (
        ["ALTER TABLE orders ADD COLUMN booked_at TIMESTAMP", "UPDATE orders SET booked_at = created_at",
         "UPDATE orders SET created_at = created_at - to_days(60) WHERE id % 20 = 3"],
        '[tables.orders]\ntime = "created_at"\ncolumns.booked_at = {known_at = false}',
        CHURN, "backdated", "orders", Severity.suspect,
    ),
    "a time that is overwritten, known at itself": (
        ["ALTER TABLE users ADD COLUMN last_order_at TIMESTAMP",
         "UPDATE users SET last_order_at = (SELECT max(created_at) FROM orders o WHERE o.user_id = users.id)"],
        '[tables.users]\ncolumns.last_order_at = {stype = "timestamp", known_at = "last_order_at"}',
        CHURN, "overwritten", "users.last_order_at", Severity.severe,
    ),
    "a state that is known at the last change": (
        ["ALTER TABLE reviews ADD COLUMN updated_at TIMESTAMP",
         "UPDATE reviews SET updated_at = created_at + to_days(CAST(100 * random() AS INTEGER))",
         "ALTER TABLE reviews ADD COLUMN votes INTEGER", "UPDATE reviews SET votes = id % 7"],
        '[tables.reviews]\ncolumns.votes = {known_at = "updated_at"}',
        CHURN, "overwritten", "reviews.votes", Severity.suspect,
    ),
    "a summary that holds what is to come": (
        ["CREATE TABLE totals (user_id INTEGER PRIMARY KEY REFERENCES users(id), n INTEGER)",
         "INSERT INTO totals SELECT user_id, count(*) FROM orders GROUP BY user_id"],
        "", CHURN, "aggregate", "totals.n", Severity.severe,
    ),
    "a summary that is there once all is over": (
        ["CREATE TABLE totals (user_id INTEGER PRIMARY KEY REFERENCES users(id), n DOUBLE, lastbuy TIMESTAMP)",
         "INSERT INTO totals SELECT user_id, random(), max(created_at) FROM orders GROUP BY user_id"],
        '[tables.totals]\ntime = "lastbuy"', CHURN, "overwritten", "totals", Severity.severe,
    ),
    "a noisy total of some months": (
        ["CREATE TABLE totals (user_id INTEGER PRIMARY KEY REFERENCES users(id), n DOUBLE)",
         "INSERT INTO totals SELECT user_id, count(*) + random() / 2 FROM orders"
         " WHERE created_at > (SELECT quantile_cont(created_at, 0.6) FROM orders) GROUP BY user_id"],
        "", CHURN, "aggregate", "totals.n", Severity.suspect,
    ),
    "a mean of the labels beside what they are about": (
        ["CREATE TABLE appeals (item_id INTEGER PRIMARY KEY REFERENCES items(id), appeal DOUBLE)",
         "INSERT INTO appeals SELECT item_id, avg(clicked::INT) FROM impressions GROUP BY item_id"],
        "", CLICK, "aggregate", "appeals.appeal", Severity.severe,
    ),
    "a key that is filled with the label": (
        ["CREATE TABLE coupons (id INTEGER PRIMARY KEY, percent DOUBLE)",
         "INSERT INTO coupons SELECT range, range / 10 FROM range(6)",
         "ALTER TABLE impressions ADD COLUMN coupon_id INTEGER",
         "UPDATE impressions SET coupon_id = id % 6 WHERE clicked"],
        '[[relations]]\nchild = "impressions"\nkey = ["coupon_id"]\nparent = "coupons"',
        CLICK, "tells", "impressions.coupon_id", Severity.severe,
    ),
    "a time that was there before its row": (
        ["CREATE TABLE bills (id INTEGER PRIMARY KEY, order_id INTEGER REFERENCES orders(id), total DOUBLE)",
         "INSERT INTO bills SELECT id, id, random() FROM orders",
         "ALTER TABLE orders ADD COLUMN planned_on TIMESTAMP",
         "UPDATE orders SET planned_on = created_at - to_days(40)"],
        '[tables.bills]\ntime = "order_id.planned_on"', CHURN, "future", "bills", Severity.severe,
    ),
    "entities that are not there yet": (
        [], "[tables.users]\ntime = false", ACTIVE, "unborn", "users", Severity.suspect,
    ),
    "a table that grows without a time": (
        ["UPDATE users SET joined_at = TIMESTAMP '2022-01-01' + to_hours(CAST(id AS INTEGER) * 36)",
         "UPDATE orders SET created_at = joined_at + to_hours(CAST(50 * random() AS INTEGER)) FROM users u"
         " WHERE u.id = user_id",
         "DELETE FROM impressions", "DELETE FROM messages"],
        "[tables.users]\ntime = false", AMOUNT, "growing", "users", Severity.suspect,
    ),
    "rows older than their parent": (
        ["UPDATE items SET listed_at = listed_at + to_days(300)"],
        '[tables.items]\ntime = "listed_at"', CHURN, "early", "orders", Severity.note,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clean") / "shop.duckdb"
    build_shop(path, scale=0.1)
    return path


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_found_and_its_fix_mends_it(name: str, clean: Path, tmp_path: Path) -> None:
    sql, schema, query, kind, what, severity = LEAKS[name]
    shop = plant(clean, tmp_path, *sql, schema=schema)
    found = [one for one in shop.audit(query).findings if (one.what, one.kind.name) == (what, kind)]
    assert [one.severity for one in found] == [severity]
    assert any(letter.isdigit() for letter in found[0].evidence) or severity is Severity.note
    again = shop.mended(query, found[0]) if found[0].fix.where == "query" or not schema else None
    if again is None:  # what is written takes the place of what the schema file said of the table
        again = type(shop)(shop.path).audit(query, str(found[0].fix))
    assert (what, kind) not in cells(again)


def test_the_innocent_behind_a_key_that_tells_are_not_accused(clean: Path, tmp_path: Path) -> None:
    sql, schema, query, *_ = LEAKS["a key that is filled with the label"]
    found = plant(clean, tmp_path, *sql, schema=schema).audit(query)
    assert cells(found) == {("impressions.coupon_id", "tells")}


def test_what_is_overwritten_is_no_input_without_a_schema_file(clean: Path, tmp_path: Path) -> None:
    for name in ("a time that is overwritten, known at itself", "a summary that is there once all is over"):
        shop = plant(clean, tmp_path, *LEAKS[name][0])
        assert shop.audit(CHURN).findings == ()
        (inferred,) = (one for one in rdl.connect(f"duckdb:///{shop.path}").proposals if one.kind == "overwritten")
        assert "equals the last created_at of its orders" in inferred.evidence


def test_rows_without_a_time_are_told_of(clean: Path, tmp_path: Path) -> None:
    shop = plant(
        clean, tmp_path, "ALTER TABLE reviews ALTER COLUMN created_at DROP NOT NULL",
        "UPDATE reviews SET created_at = NULL WHERE id % 9 = 0", schema='[tables.reviews]\ntime = "created_at"',
    )  # fmt: skip
    (found,) = shop.audit(CHURN).findings
    assert (found.what, found.kind.name, found.severity, found.fix) == ("reviews", "untimed", Severity.note, None)
    assert "11.1%" in found.evidence


def test_all_lines_together_mend_all(clean: Path, tmp_path: Path) -> None:
    shop = plant(clean, tmp_path, *(sql for name in (
        "a number that tells a class", "a time after its row", "filled in later", "a sum of later rows",
    ) for sql in LEAKS[name][0]))  # fmt: skip
    found = shop.audit(CLICK)
    assert {one.kind.name for one in found.findings} == {"tells", "later", "filled", "aggregate"}
    assert found.query_lines == "HIDE impressions.dwell"
    assert shop.audit(f"{CLICK} {found.query_lines}", found.schema_lines).findings == ()
