"""A small database with something to learn in it, for tests that train: users who order by taste, and their orders."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

QUESTION = "PREDICT COUNT(orders.*, 0, 10, days) > 2 FOR EACH users.id EVERY 10 days"
#: Settings under which a model is trained in a second or two.
FAST = {
    "channels": 8,
    "fanouts": (4,),
    "summaries": 8,
    "members": 2,
    "batch_size": 64,
    "min_steps": 40,
    "max_steps": 40,
}


def build_small(path: Path, users: int = 60, orders: int = 3_000) -> str:
    """Writes the database and returns its URL: each user orders at a rate of their own, which their city tells."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(2.0, 1.0, users)
    user = rng.choice(users, orders, p=rate / rate.sum())
    at = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(rng.random(orders) * 200), "D")
    bought = pd.DataFrame({"id": range(orders), "user_id": user, "amount": rng.exponential(10, orders), "at": at})
    people = pd.DataFrame({"id": range(users), "city": np.where(rate > np.median(rate), "Rome", "Oslo")})
    with duckdb.connect(str(path)) as connection:
        connection.register("people", people)
        connection.register("bought", bought)
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, city VARCHAR)")
        connection.execute("INSERT INTO users FROM people")
        connection.execute(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users(id), amount DOUBLE, "
            "created_at TIMESTAMP NOT NULL)"
        )
        connection.execute("INSERT INTO orders FROM bought")
    return f"duckdb:///{path}"
