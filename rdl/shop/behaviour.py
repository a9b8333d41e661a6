"""The behaviour behind the sample shop: a day-by-day simulation in which causes cross the tables.

What a day does is drawn from the state at its beginning, so nothing ever depends on what comes later. What causes what:

- **Tastes.** A user likes some of eight departments, and some of their four categories each, more than others (age
  shifts it); bios hint at it. Utility of an item = taste for its category − price sensitivity × relative price + its
  reputation. Sensitivity comes from country, age and the size of the user's company.
- **Home page.** A recommender mixes popularity, the categories a user clicked and bought before, and new items.
  Clicks depend on utility and position; a click leads to an order at once or leaves an interest that brings the user
  back within days. A page without anything to one's taste lowers satisfaction.
- **Satisfaction** is a state of each user that drifts home within two months. Bad items (hidden quality, which shows in
  the stars *others* give the same item), late deliveries (slow suppliers and categories, winter) and overspending
  lower it, all measured against what the shop's customers have come to expect. Low satisfaction means longer gaps
  between visits, fewer orders, and in the end leaving for good.
- **Reputation.** Reviews follow deliveries; their stars move what others choose from then on.
- **Word of mouth.** Friends (mostly of one company or country) write more when they are buying. Praise raises the
  receiver's appetite, complaints and farewells lower it; a user who leaves tells friends.
- **Companies** pay a benefit that rises, falls and may end: colleagues move together.
- **Seasons.** Months and weekdays move visits, each department has its time of the year, and winter slows deliveries.
  Items age, new ones are listed all the time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rdl.shop.world import (
    DAY_S,
    DAYS,
    LEAVES,
    LEAVES_EACH,
    START,
    Bools,
    Companies,
    Events,
    Floats,
    Ints,
    Items,
    Users,
    found,
    settle,
    sigmoid,
    stock,
)

_MONTH = np.array([-0.2, -0.1, 0.0, 0.0, 0.05, 0.0, -0.15, -0.15, 0.0, 0.05, 0.2, 0.3])  # log visits, January first
_WEEKDAY = np.array([0.0, -0.08, -0.05, 0.0, 0.02, 0.15, 0.12])
_WINTER_MONTHS = (12, 1)
_PEAK_MONTH = np.array([5, 1, 12, 2, 10, 12, 6, 11])  # of each department, and how strong it is
_PEAK = np.array([0.5, 0.2, 0.3, 0.2, 0.3, 0.8, 0.5, 0.4])

CHAT, PRAISE, COMPLAINT, FAREWELL = range(4)


@dataclass(slots=True)
class Log:
    """Events of one table: columns collected in chunks, in order of their days."""

    chunks: dict[str, list[npt.NDArray[Any]]] = field(default_factory=dict)

    def add(self, **columns: npt.NDArray[Any]) -> None:
        """Appends rows; every call names the same columns."""
        for name, values in columns.items():
            self.chunks.setdefault(name, []).append(values)

    def columns(self, time: str) -> Events:
        """All rows, in order of the column ``time``."""
        whole = {name: np.concatenate(chunks) for name, chunks in self.chunks.items()}
        order = np.argsort(whole[time], kind="stable")
        return {name: values[order] for name, values in whole.items()}


@dataclass(frozen=True, slots=True)
class Simulation:
    """All that happened. Times are seconds since :data:`START`; users, items and orders are row numbers.

    ``rate_trace[n, user]`` is the hidden expected number of visits on the n-th traced day, as it begins; 0 for who has
    left or not joined.
    """

    companies: Companies
    users: Users
    items: Items
    orders: Events
    reviews: Events
    impressions: Events
    messages: Events
    rate_trace: Floats


def simulate(seed: int, scale: float, trace_days: Sequence[int] = ()) -> Simulation:
    """Two years of the shop, the same for the same ``seed`` and ``scale``."""
    rng = np.random.default_rng(seed)
    companies = found(rng, max(8, round(200 * scale)))
    users = settle(rng, max(60, round(4500 * scale)), companies)
    items = stock(rng, max(3 * LEAVES, round(2000 * scale)))
    shop = _Shop(rng, companies, users, items)
    trace = []
    for day in range(DAYS):
        if day in trace_days:
            trace.append(shop.rates(day))
        shop.live(day)
    return Simulation(companies, users, items, *shop.history(), np.array(trace).reshape(-1, len(users.age)))


class _Shop:
    """The state of everything at the beginning of a day; :meth:`live` moves it on by one."""

    def __init__(self, rng: np.random.Generator, companies: Companies, users: Users, items: Items) -> None:
        self.rng, self.users, self.items = rng, users, items
        count, stock = len(users.age), len(items.leaf)
        self.left = np.zeros(count, bool)
        self.satisfaction = users.contentment.copy()
        self.appetite = np.zeros(count)  # from word of mouth
        self.interest = np.zeros(count)  # clicked, not bought
        self.buzz = np.zeros(count)  # own recent orders
        self.department = np.argmax(users.taste, axis=1) // LEAVES_EACH  # what one talks about
        self.benefit = np.append(rng.normal(0, 0.7, len(companies.size)), 0.0)  # the last one is "no company"
        self.ended = np.zeros(len(companies.size) + 1, bool)
        self.guess = np.full((count, LEAVES), 0.15)  # what the recommender has seen of each user
        self.popularity = np.ones(stock)
        self.stars, self.raters = np.full(stock, 3.7 * 4), np.full(stock, 4.0)
        self.shelf = np.argsort(items.leaf, kind="stable")
        self.shelf_bounds = np.searchsorted(items.leaf[self.shelf], np.arange(LEAVES + 1))
        self.due = np.zeros((0, 3))  # deliveries on the way: day, user, change of satisfaction
        self.due_reviews = np.zeros((0, 3))  # day, item, stars
        self.orders, self.reviews, self.impressions, self.messages = Log(), Log(), Log(), Log()
        self.ordered = 0
        self.norm = 0.0  # what one has come to expect of an order

    def rates(self, day: int) -> Floats:
        """Expected visits of each user on ``day``; 0 for who is not there. ``[users]``"""
        date = START + dt.timedelta(days=day)
        here = ~self.left & (self.users.joined_s < day * DAY_S)
        log_rate = (
            self.users.rate + 1.3 * self.satisfaction + 0.8 * self.benefit[self.users.company]
            + 1.0 * self.appetite + 0.5 * self.interest + _MONTH[date.month - 1] + _WEEKDAY[date.weekday()]
        )  # fmt: skip
        return np.where(here, np.exp(log_rate.clip(-8, 0.5)), 0.0)

    def live(self, day: int) -> None:
        """One day: who leaves, who visits and what they do, what arrives, who writes; then states drift."""
        rate = self.rates(day)
        leaving = self._leave(rate > 0)
        rate[leaving] = 0.0
        self._deliver(day)
        self._write(day, rate > 0, leaving)
        self._drift()
        visitors = np.flatnonzero(self.rng.random(len(rate)) < 1 - np.exp(-rate))
        if len(visitors):
            self._prepare_shelf(day)
            second = day * DAY_S + self._second(len(visitors))
            home = self.rng.random(len(visitors)) < 0.37
            self._browse(visitors[home], second[home])
            self._search(visitors[~home], second[~home])

    def history(self) -> tuple[Events, Events, Events, Events]:
        """Orders, reviews, impressions and messages, each in order of time, up to :data:`END`."""
        orders = self.orders.columns("created_s")
        rank = np.empty(self.ordered, np.int64)
        rank[orders["order"].astype(np.int64)] = np.arange(self.ordered)
        reviews = self.reviews.columns("created_s")
        reviews["order"] = rank[reviews["order"].astype(np.int64)]
        told = reviews["created_s"] < DAYS * DAY_S
        reviews = {name: values[told] for name, values in reviews.items()}
        return orders, reviews, self.impressions.columns("shown_s"), self.messages.columns("sent_s")

    def _second(self, count: int) -> Ints:
        """Seconds of the day, most in the evening, some around noon; an hour is left before midnight."""
        evening = self.rng.random(count) < 0.6
        hour = np.where(evening, self.rng.normal(19.5, 1.8, count), self.rng.normal(12.5, 2.8, count))
        return (hour.clip(0.1, 22.9) * 3600 + self.rng.integers(0, 300, count)).astype(np.int64)

    def _leave(self, here: Bools) -> Ints:
        hazard = 0.0023 * np.exp((-1.4 * self.satisfaction - 0.8 * self.appetite).clip(-3, 4))
        leaving = np.flatnonzero(here & (self.rng.random(len(here)) < hazard))
        self.left[leaving] = True
        return leaving

    def _deliver(self, day: int) -> None:
        """What arrives today changes satisfaction; reviews that appear today change reputations."""
        today = self.due[:, 0] <= day
        np.add.at(self.satisfaction, self.due[today, 1].astype(np.int64), self.due[today, 2])
        self.due = self.due[~today]
        today = self.due_reviews[:, 0] <= day
        rated = self.due_reviews[today, 1].astype(np.int64)
        np.add.at(self.stars, rated, self.due_reviews[today, 2])
        np.add.at(self.raters, rated, 1.0)
        self.due_reviews = self.due_reviews[~today]

    def _write(self, day: int, here: Bools, leaving: Ints) -> None:
        """Messages between friends who are both there, and farewells; they move the receivers' appetite."""
        sender, receiver = self.users.friends.T
        odds = 0.0105 * np.exp(1.5 * np.tanh(self.buzz[sender]))
        says_bye = np.isin(sender, leaving) & here[receiver] & (self.rng.random(len(sender)) < 0.7)
        writes = says_bye | (here[sender] & here[receiver] & (self.rng.random(len(sender)) < odds))
        sender, receiver, says_bye = sender[writes], receiver[writes], says_bye[writes]
        mood = self.satisfaction[sender] - 0.1 + 0.3 * self.buzz[sender]
        happy = self.rng.random(len(sender)) < sigmoid(3.0 * mood)
        topic = np.where(self.rng.random(len(sender)) < 0.3, CHAT, np.where(happy, PRAISE, COMPLAINT))
        topic = np.where(says_bye, FAREWELL, topic)
        moved = np.array([0.0, 0.6, -0.7, -1.2])[topic] + 0.25 * np.tanh(self.buzz[sender])
        np.add.at(self.appetite, receiver, moved)
        self.messages.add(
            sender=sender, receiver=receiver, topic=topic, department=self.department[sender],
            sent_s=day * DAY_S + self._second(len(sender)),
        )  # fmt: skip

    def _drift(self) -> None:
        """Satisfaction goes home, word of mouth and interest fade, companies' benefits wander and may end."""
        rng = self.rng
        self.satisfaction += (self.users.contentment - self.satisfaction) / 45
        np.clip(self.satisfaction, -2.5, 1.0, out=self.satisfaction)
        self.appetite = (self.appetite * (1 - 1 / 40)).clip(-2, 1.5)
        self.interest = (self.interest * (1 - 1 / 10)).clip(0, 2)
        self.buzz *= 1 - 1 / 20
        self.popularity *= 0.985
        self.ended[:-1] |= rng.random(len(self.ended) - 1) < 0.0003
        self.benefit[:-1] += -self.benefit[:-1] / 60 + rng.normal(0, 0.13, len(self.benefit) - 1)
        self.benefit[self.ended] = -2.0
        self.benefit[-1] = 0.0

    def _prepare_shelf(self, day: int) -> None:
        """What is on sale today and how likely each item is met, as one running sum ordered by category."""
        age = day - self.items.listed_s / DAY_S
        self.reputation = self.stars / self.raters - 3.7
        weight = np.where(age > 0, (self.popularity + 0.3) * (np.exp(-age / 300) + 0.15), 0.0)
        month = (START + dt.timedelta(days=day)).month
        self.season = np.repeat(_PEAK * np.cos((month - _PEAK_MONTH) * np.pi / 6), LEAVES_EACH)
        fresh = np.where(weight > 0, np.exp(-age / 20) + 1e-3, 0.0)
        self.met = np.concatenate([[0.0], np.cumsum(weight[self.shelf])])
        self.new = np.concatenate([[0.0], np.cumsum(fresh[self.shelf])])

    def _pick(self, running: Floats, leaf: Ints | None, count: int) -> Ints:
        """Items drawn by the weights behind ``running``, from the category ``leaf`` where given."""
        low = np.zeros(count, np.int64) if leaf is None else self.shelf_bounds[leaf]
        high = np.full(count, len(self.shelf)) if leaf is None else self.shelf_bounds[leaf + 1]
        point = running[low] + self.rng.random(count) * (running[high] - running[low])
        return np.asarray(self.shelf[(np.searchsorted(running, point, "right") - 1).clip(low, high - 1)])

    def _pick_leaf(self, weight: Floats) -> Ints:
        """One category a row of ``weight`` ``[rows, leaves]``."""
        running = np.cumsum(weight, axis=1)
        return np.asarray(
            (running < self.rng.random((len(weight), 1)) * running[:, -1:]).sum(axis=1).clip(0, LEAVES - 1)
        )

    def _utility(self, user: Ints, item: Ints) -> Floats:
        """How much each user wants each item: taste, price and reputation."""
        taste = self.users.taste[user, self.items.leaf[item]]
        thrift = self.users.thrift[user] * self.items.costliness[item]
        return np.asarray(0.8 * taste - 1.2 * thrift + 0.8 * self.reputation[item])

    def _browse(self, user: Ints, second: Ints) -> None:
        """The home page: three to five items are shown; some are clicked; at most one of these is bought."""
        if not len(user):
            return
        rng = self.rng
        shown = rng.integers(3, 6, len(user))
        visit = np.repeat(np.arange(len(user)), shown)
        position = np.arange(len(visit)) - np.repeat(np.cumsum(shown) - shown, shown) + 1
        viewer = user[visit]
        source = rng.random(len(visit))
        item = self._pick(self.met, self._pick_leaf(self.guess[viewer]), len(visit))
        item = np.where(source < 0.35, self._pick(self.met, None, len(visit)), item)
        item = np.where(source > 0.85, self._pick(self.new, None, len(visit)), item)
        utility = self._utility(viewer, item)
        clicked = rng.random(len(visit)) < sigmoid(-2.3 + 1.1 * utility - 0.8 * np.log(position))
        self.impressions.add(user=viewer, item=item, position=position, clicked=clicked, shown_s=second[visit])
        np.add.at(self.guess, (viewer[clicked], self.items.leaf[item[clicked]]), 0.5)
        np.add.at(self.popularity, item[clicked], 0.3)
        page = np.bincount(visit, np.tanh(utility), len(user)) / shown
        np.add.at(self.satisfaction, user, 0.12 * (page - 0.1))
        best = _best(visit, np.where(clicked, utility + rng.gumbel(0, 0.5, len(visit)), -np.inf), len(user))
        any_click = clicked[best]
        buys = any_click & (rng.random(len(user)) < sigmoid(0.2 + 0.6 * utility[best] + self.satisfaction[user]))
        np.add.at(self.interest, user[any_click & ~buys], 1.0)
        self._order(user[buys], item[best[buys]], second[buys])

    def _search(self, user: Ints, second: Ints) -> None:
        """A visit with an aim: four items of a category to one's taste, the best of which may be bought."""
        if not len(user):
            return
        leaf = self._pick_leaf(np.exp(1.2 * self.users.taste[user] + self.season))
        visit = np.repeat(np.arange(len(user)), 4)
        item = self._pick(self.met, leaf[visit], len(visit))
        utility = self._utility(user[visit], item)
        best = _best(visit, utility + self.rng.gumbel(0, 0.7, len(visit)), len(user))
        wish = -0.3 + 0.4 * utility[best] + 0.8 * self.satisfaction[user] + 0.5 * self.interest[user]
        buys = self.rng.random(len(user)) < sigmoid(wish)
        self._order(user[buys], item[best[buys]], second[buys])

    def _order(self, user: Ints, item: Ints, second: Ints) -> None:
        """Orders are placed; how and when they will arrive, and be reviewed, is drawn now and felt then."""
        rng, count = self.rng, len(user)
        created_s = second + rng.integers(60, 1_500, count)
        day = created_s // DAY_S
        month = (START + dt.timedelta(days=int(day[0]))).month if count else 1
        late = rng.random(count) < sigmoid(self.items.slowness[item] + 0.9 * (month in _WINTER_MONTHS))
        wait = 1 + rng.gamma(3.0, 0.9, count) + np.where(late, 5 + rng.exponential(6.0, count), 0.0)
        pain = ((wait - 6) / 7).clip(0, 1.8)
        delivered_s = (day + np.ceil(wait)).astype(np.int64) * DAY_S + rng.integers(9 * 3600, 18 * 3600, count)
        arrives = np.ceil(day + wait) + 1  # felt the day after, so never before the delivery is on record
        joy = self.items.quality[item] + rng.normal(0, 0.5, count)
        regret = self.users.thrift[user] * self.items.costliness[item].clip(0, None)
        change = 0.55 * joy - 0.95 * pain - 0.3 * regret - self.norm
        self.norm += 2.25 / len(self.left) * float((change - 0.01).sum())
        self.due = np.concatenate([self.due, np.stack([arrives, user, change], axis=1)])
        qty = 1 + (rng.random(count) < 0.2) + (rng.random(count) < 0.06)
        discount = np.where(rng.random(count) < 0.15, 0.85, 1.0)
        number = self.ordered + np.arange(count)
        self.ordered += count
        self.orders.add(
            order=number, user=user, item=item, qty=qty, amount=np.round(self.items.price[item] * qty * discount, 2),
            returned=rng.random(count) < sigmoid(-3.6 - 1.3 * joy), delivered_s=delivered_s, created_s=created_s,
        )  # fmt: skip
        stars = np.round(3.5 + 0.85 * joy - 0.8 * pain + rng.normal(0, 0.3, count)).clip(1, 5).astype(np.int64)
        tells = rng.random(count) < sigmoid(-1.1 + 0.3 * (stars - 3.5) ** 2)
        told_s = delivered_s + (rng.exponential(4.0, count) * DAY_S).astype(np.int64) + 1_800
        self.reviews.add(order=number[tells], stars=stars[tells], joy=joy[tells], pain=pain[tells],
                         leaf=self.items.leaf[item[tells]], created_s=told_s[tells])  # fmt: skip
        appears = np.stack([told_s // DAY_S + 1, item, stars], axis=1)[tells]
        self.due_reviews = np.concatenate([self.due_reviews, appears.astype(np.float64)])
        np.add.at(self.buzz, user, 0.6)
        np.add.at(self.popularity, item, 1.0)
        np.add.at(self.guess, (user, self.items.leaf[item]), 1.0)
        self.department[user] = self.items.leaf[item] // LEAVES_EACH
        self.interest[user] = 0.0


def _best(group: Ints, value: Floats, count: int) -> Ints:
    """The position of the largest value of each of ``count`` groups; every group has one at least."""
    order = np.lexsort((value, group))
    return order[np.searchsorted(group[order], np.arange(count), "right") - 1]
