"""The sample shop of ``rdl demo``: a DuckDB database of about 200,000 rows to learn from and to try questions on.

Two years of companies, users, categories (a tree), items, orders, reviews, impressions and messages, made by the
simulation of :mod:`rdl.shop.behaviour`, whose docstring says what causes what. Much of what decides about the future
stands in other tables than the one asked about: whether a user orders again shows in how late the last parcels were,
in what others say of the items in them, in what friends write, in what the home page showed, in what colleagues do.
"""

from __future__ import annotations

from rdl.shop.build import SCHEMA_SQL, build_shop, shop_tables

__all__ = ["QUESTIONS", "SCHEMA_SQL", "build_shop", "shop_tables"]

#: What to try on the shop: a title for people, which begins with a name of one word and a colon, and the query.
QUESTIONS: tuple[tuple[str, str], ...] = (
    (
        "Churn: which active users will order nothing in the next 30 days?",
        "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id WHERE COUNT(orders.*, -90, 0, days) > 0",
    ),
    (
        "Value: how much will each user spend in the next 30 days?",
        "PREDICT SUM(orders.amount, 0, 30, days) FOR EACH users.id",
    ),
    ("Clicks: will this impression be clicked?", "PREDICT impressions.clicked FOR EACH impressions.id"),
    (
        "Demand: how often will each item be ordered in the next 30 days?",
        "PREDICT COUNT(orders.*, 0, 30, days) FOR EACH items.id",
    ),
    ("Stars: will this review give five stars?", "PREDICT reviews.stars = 5 FOR EACH reviews.id"),
    (
        "Companies: how much will the people of each company spend in the next 30 days?",
        "PREDICT SUM(orders.amount, 0, 30, days) FOR EACH companies.id",
    ),
    (
        "Friends: who will write to a friend in the next 30 days?",
        "PREDICT COUNT(messages.*, 0, 30, days) > 0 FOR EACH users.id VIA messages.sender_id",
    ),
)
