"""A shop of three years with everything that real data have: NULLs, keys that dangle, times that tie, quiet weeks."""

from __future__ import annotations

import datetime as dt
import functools
import random
from typing import Any

from tests.query.shop import DAY, Rows

BEGIN = dt.datetime(2021, 1, 1)
DAYS = 1_200


@functools.cache
def sample_shop(seed: int = 7) -> Rows:
    """Rows by table; times lie on a grid of half days, so that many fall exactly on the border of a window."""
    rng = random.Random(seed)

    def when(first: int = 0, last: int = DAYS) -> dt.datetime:
        return BEGIN + rng.randint(first * 2, last * 2) * DAY / 2

    def maybe(value: Any, share: float = 0.1) -> Any:
        return None if rng.random() < share else value

    def rows(count: int, make: Any) -> list[dict[str, Any]]:
        return [{"id": number * 3 + 1, **make()} for number in range(count)]

    def key(count: int) -> int:  # one in twenty dangles
        return rng.randrange(count) * 3 + (1 if rng.random() > 0.05 else 2)

    word = lambda *words: maybe(rng.choice(words))  # noqa: E731
    return {
        "companies": rows(4, lambda: {"name": word("acme", "zeta"), "size": maybe(rng.randint(1, 9))}),
        "users": rows(30, lambda: {
            "company_id": maybe(key(4)), "country": word("US", "US", "DE", "FR"), "age": maybe(rng.randint(15, 60)),
            "vip": maybe(rng.random() < 0.4), "bio": word("I play chess", "a bot", "I sing", "x"),
            "joined_at": when(0, 900),
        }),
        "categories": rows(5, lambda: {"parent_id": maybe(key(5), 0.6), "name": word("toys", "food")}),
        "items": rows(15, lambda: {
            "category_id": maybe(key(5)), "title": word("a", "b"), "price": maybe(rng.randint(1, 10) * 1.0),
            "listed_at": when(0, 600),
        }),
        "orders": rows(900, lambda: {
            "user_id": key(24), "item_id": key(15), "qty": maybe(rng.randint(0, 3)),
            "amount": maybe(rng.randint(0, 20) / 2), "status": word("ok", "ok", "lost", "back"),
            "delivered_at": maybe(when()), "created_at": when(),
        }),
        "reviews": rows(900, lambda: {
            "order_id": key(900), "stars": maybe(rng.randint(1, 5)), "body": word("fine", "bad"), "created_at": when(),
        }),
        "impressions": rows(200, lambda: {
            "user_id": key(30), "item_id": key(15), "position": maybe(rng.randint(0, 5)),
            "clicked": maybe(rng.random() < 0.3), "shown_at": when(),
        }),
        "messages": rows(800, lambda: {
            "sender_id": key(30), "receiver_id": key(4), "body": word("hi", "yo"), "sent_at": when(),
        }),
    }  # fmt: skip
