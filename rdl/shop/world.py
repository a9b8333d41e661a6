"""Who and what there is in the sample shop before anything happens: companies, users with hidden traits, items.

Price sensitivity comes from country, age and employer; tastes from age and chance, more alike within a department of
four categories; friends mostly share a company or a country. Who is a VIP is settled at joining, more likely for those
who will come often.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Events = dict[str, npt.NDArray[Any]]

START, END = dt.date(2022, 7, 1), dt.date(2024, 7, 1)
DAYS = (END - START).days
DAY_S = 86_400
DEPARTMENTS, LEAVES_EACH = 8, 4
LEAVES = DEPARTMENTS * LEAVES_EACH
# How categories differ: always the same spread, dealt out anew for each seed, so that no seed has all the bad ones.
_SPREAD = np.sort(np.random.default_rng(0).normal(0, 1, (999, LEAVES)), axis=1).mean(axis=0)

COUNTRIES = ("US", "DE", "GB", "FR", "BR", "IN", "JP")
_COUNTRY_SHARE = np.array([0.34, 0.18, 0.14, 0.10, 0.10, 0.08, 0.06])
_COUNTRY_THRIFT = np.array([-0.15, 0.0, -0.05, 0.05, 0.35, 0.45, -0.2])
_PRICES = np.array([6, 25, 15, 90, 35, 30, 110, 45, 12, 20, 16, 10, 18, 45, 14, 12,
                    70, 80, 55, 22, 25, 30, 15, 28, 25, 30, 110, 50, 15, 40, 60, 150], float)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Companies:
    """Companies as rows; ``country`` is where most of a company's users live."""

    size: Ints
    country: Ints


@dataclass(frozen=True, slots=True)
class Users:
    """Users as rows in order of joining; ``company`` −1 is none. What follows ``joined_s`` is hidden from the shop."""

    company: Ints
    country: Ints
    age: Ints
    vip: Bools
    joined_s: Ints
    rate: Floats  # log of visits a day, all else average
    thrift: Floats  # price sensitivity
    taste: Floats  # [users, leaves]
    contentment: Floats  # where satisfaction drifts to
    friends: Ints  # [pairs, 2], each pair both ways


@dataclass(frozen=True, slots=True)
class Items:
    """Items as rows in order of listing. What follows ``listed_s`` is hidden from the shop."""

    leaf: Ints
    price: Floats
    listed_s: Ints
    quality: Floats
    slowness: Floats  # log-odds of a late delivery
    costliness: Floats  # log price against its category


def sigmoid(x: npt.NDArray[np.floating[Any]]) -> Floats:
    """The probability whose log-odds are ``x``."""
    return np.asarray(1 / (1 + np.exp(-x)))


def found(rng: np.random.Generator, count: int) -> Companies:
    """``count`` companies of three to twenty thousand people."""
    size = np.round(np.exp(rng.normal(4.2, 1.4, count))).clip(3, 20_000).astype(np.int64)
    return Companies(size, rng.choice(len(COUNTRIES), count, p=_COUNTRY_SHARE))


def settle(rng: np.random.Generator, count: int, companies: Companies) -> Users:
    """``count`` users, joining over all the time, more of them early; three in four belong to a company."""
    joined_s = np.sort(rng.random(count) ** 1.5 * (DAYS - 1) * DAY_S).astype(np.int64)
    weight = np.sqrt(companies.size.clip(5, 2_000))
    company = rng.choice(len(weight), count, p=weight / weight.sum())
    company[rng.random(count) < 0.25] = -1
    country = rng.choice(len(COUNTRIES), count, p=_COUNTRY_SHARE)
    country = np.where((company >= 0) & (rng.random(count) < 0.8), companies.country[company], country)
    age = (18 + rng.gamma(3.0, 7.5, count)).clip(18, 80).astype(np.int64)
    employer = np.where(company >= 0, np.log(companies.size[company] / 60), -1.0)
    thrift = np.exp(_COUNTRY_THRIFT[country] - 0.015 * (age - 38) - 0.08 * employer + rng.normal(0, 0.3, count))
    rate = -3.4 + 0.012 * (age - 38) + rng.normal(0, 0.62, count)
    department = rng.normal(0, 1.0, (count, DEPARTMENTS)) + 0.03 * np.outer(age - 38, np.linspace(-1, 1, DEPARTMENTS))
    taste = np.repeat(department, LEAVES_EACH, axis=1) + rng.normal(0, 0.8, (count, LEAVES))
    vip = rng.random(count) < sigmoid(3.0 * (rate + 3.4) - 3.6)
    return Users(
        company, country, age, vip, joined_s, rate, thrift, taste,
        contentment=rng.normal(0.25, 0.2, count), friends=_befriend(rng, company, country),
    )  # fmt: skip


def _befriend(rng: np.random.Generator, company: Ints, country: Ints) -> Ints:
    """Pairs of friends, both ways: three in four drawn within the company (or the country, where there is none)."""
    count = len(company)
    one = np.repeat(np.arange(count), rng.poisson(1.1, count) + (rng.random(count) < 0.5))
    group = np.where(company >= 0, company, company.max() + 1 + country)
    group_of_one = np.where(rng.random(len(one)) < 0.75, group[one], -1)
    order = np.argsort(group, kind="stable")
    first, last = np.searchsorted(group[order], [group_of_one, group_of_one + 1])
    near = order[(first + (rng.random(len(one)) * (last - first)).astype(np.int64)).clip(0, count - 1)]
    other = np.where(group_of_one >= 0, near, rng.integers(0, count, len(one)))
    pairs = np.stack([one, other], axis=1)[one != other]
    return np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)


def stock(rng: np.random.Generator, count: int) -> Items:
    """``count`` items listed over all the time; the first few of every category stand there from the first day."""
    leaf = np.concatenate([np.arange(2 * LEAVES) % LEAVES, rng.integers(0, LEAVES, count - 2 * LEAVES)])
    listed_s = np.where(rng.random(count) < 0.4, 0.0, rng.random(count) * (DAYS - 5) * DAY_S)
    listed_s[: 2 * LEAVES] = 0
    order = np.argsort(listed_s, kind="stable")
    leaf, listed_s = leaf[order], listed_s[order].astype(np.int64)
    costliness = rng.normal(0, 0.5, count)
    price = np.round(_PRICES[leaf] * np.exp(costliness) + 1) - 0.01
    quality = 0.2 * costliness + 0.4 * rng.permutation(_SPREAD)[leaf] + rng.normal(0, 0.9, count)
    slowness = -1.7 + 0.7 * rng.permutation(_SPREAD)[leaf] + rng.normal(0, 1.3, count)
    return Items(leaf, price, listed_s, quality, slowness, costliness)
