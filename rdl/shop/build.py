"""The tables of the sample shop as Arrow, and the DuckDB file that holds them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rdl.errors import ConfigError, DatabaseError
from rdl.shop.behaviour import Simulation, simulate
from rdl.shop.words import CATEGORIES, bios, company_names, message_bodies, review_bodies, titles
from rdl.shop.world import COUNTRIES, DAY_S, DAYS, DEPARTMENTS, LEAVES_EACH, START

#: The tables, parents before children.
SCHEMA_SQL = """
CREATE TABLE companies  (id INTEGER PRIMARY KEY, name TEXT, size INTEGER);
CREATE TABLE users      (id INTEGER PRIMARY KEY, company_id INTEGER REFERENCES companies(id), country TEXT, age INTEGER,
                         vip BOOLEAN, bio TEXT, joined_at TIMESTAMP NOT NULL);
CREATE TABLE categories (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES categories(id), name TEXT);
CREATE TABLE items      (id INTEGER PRIMARY KEY, category_id INTEGER REFERENCES categories(id), title TEXT,
                         price DOUBLE PRECISION, listed_at TIMESTAMP NOT NULL);
CREATE TABLE orders     (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users(id),
                         item_id INTEGER NOT NULL REFERENCES items(id), qty INTEGER, amount DOUBLE PRECISION,
                         status TEXT, delivered_at TIMESTAMP, created_at TIMESTAMP NOT NULL);
CREATE TABLE reviews    (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders(id), stars INTEGER,
                         body TEXT, created_at TIMESTAMP NOT NULL);
CREATE TABLE impressions(id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users(id),
                         item_id INTEGER NOT NULL REFERENCES items(id), position INTEGER, clicked BOOLEAN,
                         shown_at TIMESTAMP NOT NULL);
CREATE TABLE messages   (id INTEGER PRIMARY KEY, sender_id INTEGER NOT NULL REFERENCES users(id),
                         receiver_id INTEGER NOT NULL REFERENCES users(id), body TEXT, sent_at TIMESTAMP NOT NULL);
"""

Column = npt.NDArray[Any]


def build_shop(path: Path, *, seed: int = 0, scale: float = 1.0) -> None:
    """The shop stands in the new DuckDB file ``path``, whole; on failure there is no file.

    The same ``seed`` and ``scale`` give the same rows. ``scale`` multiplies users, companies and items (and so the
    events), not the two years; 1.0 gives about 200,000 rows. Ids count from 1 and, in tables of events, rise with time.
    Raises ConfigError where ``path`` exists, its folder does not, or ``seed`` or ``scale`` is out of range;
    DatabaseError where the file cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise ConfigError(f"{path} exists already", hint="give another path, or remove the file first.")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent}", hint="make it first.")
    tables = shop_tables(seed=seed, scale=scale)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _write(partial, tables)
        partial.rename(path)
    except (duckdb.Error, OSError) as error:
        raise DatabaseError(f"{path} cannot be written: {str(error).splitlines()[0]}") from None
    finally:
        partial.unlink(missing_ok=True)
        Path(f"{partial}.wal").unlink(missing_ok=True)


def shop_tables(*, seed: int = 0, scale: float = 1.0) -> dict[str, pa.Table]:
    """The shop's tables by name, parents before children, rows in order of id. Raises ConfigError as build_shop."""
    if seed < 0:
        raise ConfigError(f"the seed {seed} is negative", hint="give 0 or more.")
    if not 0 < scale <= 50:
        raise ConfigError(f"the scale {scale} is out of range", hint="give a number above 0 and up to 50.")
    happened = simulate(seed, scale)
    rng = np.random.default_rng([seed, 1])
    return {
        "companies": _companies(happened, rng),
        "users": _users(happened, rng),
        "categories": _categories(),
        "items": _items(happened, rng),
        "orders": _orders(happened),
        "reviews": _reviews(happened, rng),
        "impressions": _impressions(happened),
        "messages": _messages(happened, rng),
    }


def _write(path: Path, tables: dict[str, pa.Table]) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(SCHEMA_SQL)
        for name, rows in tables.items():
            # A row may refer only to rows of an earlier statement, so departments go before their categories.
            parts = (rows.slice(0, DEPARTMENTS), rows.slice(DEPARTMENTS)) if name == "categories" else (rows,)
            for part in parts:
                connection.register("#rows", part)
                connection.execute(f'INSERT INTO "{name}" SELECT * FROM "#rows"')
                connection.unregister("#rows")


def _companies(happened: Simulation, rng: np.random.Generator) -> pa.Table:
    size = happened.companies.size
    return pa.table(
        {
            "id": _ids(len(size)),
            "name": company_names(rng, len(size)),
            "size": _null(size, _some(rng, len(size), 0.05)),
        }
    )


def _users(happened: Simulation, rng: np.random.Generator) -> pa.Table:
    users, count = happened.users, len(happened.users.age)
    countries = pa.array(COUNTRIES).take(pa.array(users.country))
    return pa.table(
        {
            "id": _ids(count),
            "company_id": _null(users.company + 1, users.company < 0),
            "country": _null(countries, _some(rng, count, 0.02)),
            "age": _null(users.age, _some(rng, count, 0.08)),
            "vip": users.vip,
            "bio": _null(bios(rng, users.taste), _some(rng, count, 0.3)),
            "joined_at": _times(users.joined_s),
        }
    )


def _categories() -> pa.Table:
    leaves = [leaf for _, leaves in CATEGORIES for leaf, _, _ in leaves]
    parent = np.concatenate([np.zeros(DEPARTMENTS, np.int64), np.arange(len(leaves)) // LEAVES_EACH + 1])
    names = [department for department, _ in CATEGORIES] + leaves
    return pa.table({"id": _ids(len(names)), "parent_id": _null(parent, parent == 0), "name": names})


def _items(happened: Simulation, rng: np.random.Generator) -> pa.Table:
    items, count = happened.items, len(happened.items.leaf)
    return pa.table(
        {
            "id": _ids(count),
            "category_id": items.leaf + DEPARTMENTS + 1,
            "title": titles(rng, items.leaf, items.costliness),
            "price": _null(items.price, _some(rng, count, 0.01)),
            "listed_at": _times(items.listed_s),
        }
    )


def _orders(happened: Simulation) -> pa.Table:
    orders = happened.orders
    under_way = orders["delivered_s"] >= DAYS * DAY_S
    status = pa.array(["ok", "returned", "open"]).take(pa.array(np.where(under_way, 2, orders["returned"])))
    return pa.table(
        {
            "id": _ids(len(status)),
            "user_id": orders["user"] + 1,
            "item_id": orders["item"] + 1,
            "qty": orders["qty"],
            "amount": orders["amount"],
            "status": status,
            "delivered_at": _null(_times(orders["delivered_s"]), under_way),
            "created_at": _times(orders["created_s"]),
        }
    )


def _reviews(happened: Simulation, rng: np.random.Generator) -> pa.Table:
    reviews, count = happened.reviews, len(happened.reviews["order"])
    body = review_bodies(rng, reviews["stars"], reviews["pain"], reviews["leaf"])
    return pa.table(
        {
            "id": _ids(count),
            "order_id": reviews["order"] + 1,
            "stars": reviews["stars"],
            "body": _null(body, _some(rng, count, 0.35)),
            "created_at": _times(reviews["created_s"]),
        }
    )


def _impressions(happened: Simulation) -> pa.Table:
    impressions = happened.impressions
    return pa.table(
        {
            "id": _ids(len(impressions["user"])),
            "user_id": impressions["user"] + 1,
            "item_id": impressions["item"] + 1,
            "position": impressions["position"],
            "clicked": impressions["clicked"],
            "shown_at": _times(impressions["shown_s"]),
        }
    )


def _messages(happened: Simulation, rng: np.random.Generator) -> pa.Table:
    messages = happened.messages
    return pa.table(
        {
            "id": _ids(len(messages["sender"])),
            "sender_id": messages["sender"] + 1,
            "receiver_id": messages["receiver"] + 1,
            "body": message_bodies(rng, messages["topic"], messages["department"]),
            "sent_at": _times(messages["sent_s"]),
        }
    )


def _some(rng: np.random.Generator, count: int, share: float) -> Column:
    """A flag for each of ``count`` rows, set for ``share`` of them and for one at least."""
    return rng.permutation(count) < max(1, round(share * count))


def _ids(count: int) -> Column:
    return np.arange(1, count + 1)


def _times(seconds: Column) -> pa.Array:
    return pa.array(np.datetime64(START, "us") + seconds.astype("timedelta64[s]"))


def _null(values: Column | pa.Array, missing: Column) -> pa.Array:
    """``values`` with NULL where ``missing``."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return pc.if_else(pa.array(missing), pa.scalar(None, array.type), array)
