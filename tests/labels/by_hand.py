"""What the accepted reference queries over windows mean, and a few more, written again by hand in pandas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from tests.labels.shop_frames import (
    Frames,
    Labels,
    asked,
    counted,
    days,
    labelled,
    listed,
    per_seed,
    summed,
    through,
    within,
)

Meaning = Callable[[Frames, list[pd.Timestamp]], Labels]


@dataclass(frozen=True)
class Windowed:
    """A query over windows: its labels at given anchors, how far it looks ahead, how far anchors lie apart."""

    labels: Meaning
    horizon: pd.DateOffset
    every: pd.DateOffset
    data: tuple[str, ...]
    split: tuple[pd.Timestamp, pd.Timestamp] | None = None


WINDOWED: dict[str, Windowed] = {}


def windowed(
    query: str,
    horizon: pd.DateOffset,
    every: pd.DateOffset | None = None,
    data: str = "orders",
    split: tuple[pd.Timestamp, pd.Timestamp] | None = None,
) -> Callable[[Meaning], Meaning]:
    def enter(meaning: Meaning) -> Meaning:
        assert query not in WINDOWED
        WINDOWED[query] = Windowed(meaning, horizon, every or horizon, tuple(data.split()), split)
        return meaning

    return enter


def of_user(f: Frames, pairs: pd.DataFrame, start: pd.DateOffset | None, end: pd.DateOffset) -> pd.DataFrame:
    """The orders of each user asked about."""
    return within(pairs, f["orders"], "user_id", "created_at", start, end)


def users(f: Frames, anchors: list[pd.Timestamp]) -> pd.DataFrame:
    return asked(f["users"], "joined_at", anchors)


def items(f: Frames, anchors: list[pd.Timestamp]) -> pd.DataFrame:
    return asked(f["items"], "listed_at", anchors)


NOW, WEEK = days(0), days(7)


@windowed("PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id", days(30))
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, counted(pairs, of_user(f, pairs, NOW, days(30))) == 0)


@windowed(
    "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id WHERE COUNT(orders.*, -90, 0, days) > 0", days(30)
)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    pairs = pairs[counted(pairs, of_user(f, pairs, days(-90), NOW)) > 0]
    return labelled(pairs, counted(pairs, of_user(f, pairs, NOW, days(30))) == 0)


@windowed("predict count(orders.*, 0, 30) > 0 for each users.id", days(30))
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, counted(pairs, of_user(f, pairs, NOW, days(30))) > 0)


@windowed("PREDICT COUNT(orders.*,0,1,month)>0   FOR  EACH   users.id", pd.DateOffset(months=1))
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, counted(pairs, of_user(f, pairs, NOW, pd.DateOffset(months=1))) > 0)


@windowed("PREDICT COUNT(orders.*, 0, 2, weeks) FOR users.id", days(14))
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, counted(pairs, of_user(f, pairs, NOW, days(14))))


@windowed("PREDICT SUM(orders.amount, 0, 7, days) FOR EACH users.id", WEEK)
@windowed("PREDICT SUM(orders.amount, 0, 7) FOR users.id IN (1, 2, 3)", WEEK)  # IN says whom to predict for,
@windowed("PREDICT SUM(orders.amount, 0, 7) FOR users.id = 7 AS OF '2024-01-01'", WEEK)  # AS OF when: not the labels
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, summed(pairs, of_user(f, pairs, NOW, WEEK), "amount"))


@windowed(
    "PREDICT SUM(orders.amount, 0, 7) FOR EACH users.id EVERY 1 day SPLIT AT '2024-01-01', '2024-02-01' HIDE users.vip",
    WEEK, days(1), split=(pd.Timestamp("2024-01-01"), pd.Timestamp("2024-02-01")),
)  # fmt: skip
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, summed(pairs, of_user(f, pairs, NOW, WEEK), "amount"))


@windowed("PREDICT SUM(orders.amount, 7, 14, days) FOR EACH users.id", days(14), WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, summed(pairs, of_user(f, pairs, WEEK, days(14)), "amount"))


@windowed("PREDICT AVG(reviews.stars, 0, 1, years) FOR EACH users.id", pd.DateOffset(years=1), data="reviews")
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    reviews = through(f["reviews"], "order_id", f["orders"])
    inside = within(pairs, reviews, "order_id.user_id", "created_at", NOW, pd.DateOffset(years=1))
    return labelled(pairs, per_seed(pairs, inside.groupby(["of", "t"])["stars"].mean()))


@windowed("PREDICT SUM(orders.amount, 0, 30) FOR EACH companies.id", days(30))
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = asked(f["companies"], None, anchors)
    orders = through(f["orders"], "user_id", f["users"])
    return labelled(
        pairs, summed(pairs, within(pairs, orders, "user_id.company_id", "created_at", NOW, days(30)), "amount")
    )


@windowed("PREDICT SUM(orders.amount * orders.qty, 0, 7) FOR EACH users.id", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    inside = of_user(f, pairs, NOW, WEEK)
    return labelled(pairs, summed(pairs, inside.assign(paid=inside["amount"] * inside["qty"]), "paid"))


@windowed("PREDICT SUM(orders.amount, 0, 7) / NULLIF(COUNT(orders.*, 0, 7), 0) FOR EACH users.id", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    inside = of_user(f, pairs, NOW, WEEK)
    number = counted(pairs, inside)
    pairs, number = pairs[number > 0], number[number > 0]
    return labelled(pairs, summed(pairs, inside, "amount") / number)


@windowed("PREDICT MAX(orders.amount, 0, 90, days) FOR EACH items.id", days(90))
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = items(f, anchors)
    inside = within(pairs, f["orders"], "item_id", "created_at", NOW, days(90))
    return labelled(pairs, per_seed(pairs, inside.groupby(["of", "t"])["amount"].max()))


@windowed("PREDICT COUNT_DISTINCT(orders.item_id, 0, 30) FOR EACH users.id", days(30))
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, listed(pairs, of_user(f, pairs, NOW, days(30)), "item_id").map(len))


@windowed("PREDICT COUNT(orders.*, 0, 7) > COUNT(orders.*, -7, 0) FOR EACH users.id", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    after, before = of_user(f, pairs, NOW, WEEK), of_user(f, pairs, days(-7), NOW)
    return labelled(pairs, counted(pairs, after) > counted(pairs, before))


@windowed("PREDICT COUNT(orders.*, 0, 7) BETWEEN 1 AND 3 FOR EACH users.id", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, counted(pairs, of_user(f, pairs, NOW, WEEK)).isin([1, 2, 3]))


@windowed("PREDICT COUNT(orders.*, 0, 7) > 0 OR SUM(orders.amount, 7, 14) > 10 FOR EACH users.id", days(14), WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    first, second = of_user(f, pairs, NOW, WEEK), of_user(f, pairs, WEEK, days(14))
    return labelled(pairs, (counted(pairs, first) > 0) | (summed(pairs, second, "amount") > 10))


@windowed("PREDICT NOT EXISTS(orders.*, 0, 28) FOR EACH users.id", days(28))
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, counted(pairs, of_user(f, pairs, NOW, days(28))) == 0)


@windowed("PREDICT MIN(reviews.stars, 0, 30) <= 2 FOR EACH items.id", days(30), data="reviews")
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = items(f, anchors)
    reviews = through(f["reviews"], "order_id", f["orders"])
    inside = within(pairs, reviews, "order_id.item_id", "created_at", NOW, days(30))
    return labelled(pairs, per_seed(pairs, inside.groupby(["of", "t"])["stars"].min()) <= 2)


@windowed("PREDICT FIRST(orders.status, 0, 30, days) FOR EACH users.id", days(30))
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    inside = of_user(f, pairs, NOW, days(30)).sort_values(["created_at", "id"])
    return labelled(pairs, per_seed(pairs, inside.groupby(["of", "t"])["status"].first()))  # of those with a status


@windowed("PREDICT LIST_DISTINCT(orders.status, 0, 7, days) CLASSIFY FOR EACH users.id", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, listed(pairs, of_user(f, pairs, NOW, WEEK), "status"))


@windowed("PREDICT LIST_DISTINCT(orders.item_id, 0, 7, days) RANK TOP 12 FOR EACH users.id", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, listed(pairs, of_user(f, pairs, NOW, WEEK), "item_id"))


@windowed("PREDICT LIST_DISTINCT(orders.item_id WHERE items.price > 5, 0, 7) RANK TOP 100 FOR EACH users.id", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    inside = through(of_user(f, pairs, NOW, WEEK), "item_id", f["items"])
    return labelled(pairs, listed(pairs, inside[inside["item_id.price"] > 5], "item_id"))


@windowed("PREDICT LIST_DISTINCT(orders.user_id, 0, 7) RANK TOP 10 FOR EACH items.id", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = items(f, anchors)
    return labelled(pairs, listed(pairs, within(pairs, f["orders"], "item_id", "created_at", NOW, WEEK), "user_id"))


@windowed("PREDICT SUM(orders.amount, 0, 7, days) FORECAST 4 TIMEFRAMES FOR EACH items.id", days(28), WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = items(f, anchors)
    weeks = [
        summed(pairs, within(pairs, f["orders"], "item_id", "created_at", days(7 * n), days(7 * n + 7)), "amount")
        for n in range(4)
    ]
    return labelled(pairs, pd.Series([list(week) for week in zip(*weeks, strict=True)], pairs.index))


@windowed("PREDICT COUNT(orders.* WHERE orders.amount > 5 AND orders.status = 'ok', 0, 7) FOR EACH users.id", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    inside = of_user(f, pairs, NOW, WEEK)
    return labelled(pairs, counted(pairs, inside[(inside["amount"] > 5) & (inside["status"] == "ok")]))


@windowed("PREDICT COUNT(orders.* WHERE items.price > 5, 0, 7) FOR EACH users.id", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    inside = through(of_user(f, pairs, NOW, WEEK), "item_id", f["items"])
    return labelled(pairs, counted(pairs, inside[inside["item_id.price"] > 5]))


@windowed("PREDICT COUNT(orders.* WHERE orders.item_id.category_id.name = 'toys', 0, 7) FOR EACH users.id", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    inside = through(of_user(f, pairs, NOW, WEEK), "item_id", through(f["items"], "category_id", f["categories"]))
    return labelled(pairs, counted(pairs, inside[inside["item_id.category_id.name"] == "toys"]))


@windowed("PREDICT COUNT(orders.* WHERE COUNT(reviews.*, -7, 0, days) > 0, 0, 7) FOR EACH users.id", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    inside = of_user(f, pairs, NOW, WEEK)
    reviewed = within(inside[["id", "t"]].drop_duplicates(), f["reviews"], "order_id", "created_at", days(-7), NOW)
    return labelled(
        pairs, counted(pairs, inside.merge(reviewed[["of", "t"]].drop_duplicates().rename(columns={"of": "id"})))
    )


@windowed("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id WHERE companies.size > 5", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = through(users(f, anchors), "company_id", f["companies"])
    pairs = pairs[pairs["company_id.size"] > 5]
    return labelled(pairs, counted(pairs, of_user(f, pairs, NOW, WEEK)))


def weekly(f: Frames, pairs: pd.DataFrame, where: pd.Series) -> Labels:
    """How many orders a user places within a week, of those for whom ``where`` is true."""
    pairs = pairs[where]
    return labelled(pairs, counted(pairs, of_user(f, pairs, NOW, WEEK)))


@windowed(
    "PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id "
    "WHERE users.country IN ('US', 'DE') AND users.joined_at > '2020-02-01'", WEEK,
)  # fmt: skip
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    american_or_german = (pairs["country"] == "US") | (pairs["country"] == "DE")
    return weekly(f, pairs, american_or_german & (pairs["joined_at"] > pd.Timestamp(2020, 2, 1)))


@windowed("PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id WHERE users.joined_at > 2020-02-01", WEEK)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return weekly(f, pairs, pairs["joined_at"] > pd.Timestamp(2020, 2, 1))


@windowed(
    "PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id WHERE users.country NOT IN ('US') AND users.bio NOT LIKE '%bot%'",
    WEEK,
)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return weekly(f, pairs, (pairs["country"] != "US") & ~pairs["bio"].str.contains("bot"))


@windowed(
    "PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id WHERE users.bio CONTAINS 'chess' OR users.bio STARTS WITH 'I '",
    WEEK,
)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return weekly(f, pairs, pairs["bio"].str.contains("chess") | pairs["bio"].str.startswith("I "))


@windowed(
    "PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id ASSUMING COUNT(messages.*, 0, 7) > 2 VIA messages.receiver_id",
    WEEK,
)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    received = within(pairs, f["messages"], "receiver_id", "sent_at", NOW, WEEK)
    return weekly(f, pairs, counted(pairs, received) > 2)


@windowed("PREDICT COUNT(messages.*, 0, 7) FOR EACH users.id VIA messages.sender_id", WEEK, data="messages")
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, counted(pairs, within(pairs, f["messages"], "sender_id", "sent_at", NOW, WEEK)))


@windowed(
    "PREDICT SUM(CASE WHEN orders.status = 'ok' THEN orders.amount ELSE 0 END, 0, 30) FOR EACH users.id", days(30)
)
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    inside = of_user(f, pairs, NOW, days(30))
    return labelled(pairs, summed(pairs, inside[inside["status"] == "ok"], "amount"))


@windowed(
    "PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id "
    "WHERE COUNT(orders.*, -INF, 0, days) > 0 AND users.company_id IS NOT NULL", WEEK,
)  # fmt: skip
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return weekly(f, pairs, (counted(pairs, of_user(f, pairs, None, NOW)) > 0) & pairs["company_id"].notna())


# --- aggregates and tests that no reference query has -------------------------------------------------------------


@windowed("PREDICT LAST(orders.status, 0, 30) FOR EACH users.id", days(30))
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    inside = of_user(f, pairs, NOW, days(30)).sort_values(["created_at", "id"])
    return labelled(pairs, per_seed(pairs, inside.groupby(["of", "t"])["status"].last()))


@windowed("PREDICT MEDIAN(orders.amount, -30, 30) FOR EACH users.id WHERE users.bio ENDS WITH 'bot'", days(30))
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    pairs = pairs[pairs["bio"].str.endswith("bot")]
    return labelled(
        pairs, per_seed(pairs, of_user(f, pairs, days(-30), days(30)).groupby(["of", "t"])["amount"].median())
    )


@windowed("PREDICT STDDEV(orders.amount, 0, 60) FOR EACH users.id EVERY 3 weeks", days(60), days(21))
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = users(f, anchors)
    return labelled(pairs, per_seed(pairs, of_user(f, pairs, NOW, days(60)).groupby(["of", "t"])["amount"].std()))


@windowed("PREDICT EXISTS(orders.qty, 0, 14) FOR EACH items.id WHERE categories.name = 'toys'", days(14))
def _(f: Frames, anchors: list[pd.Timestamp]) -> Labels:
    pairs = through(items(f, anchors), "category_id", f["categories"])
    pairs = pairs[pairs["category_id.name"] == "toys"]
    orders = f["orders"].dropna(subset=["qty"])
    return labelled(pairs, counted(pairs, within(pairs, orders, "item_id", "created_at", NOW, days(14))) > 0)
