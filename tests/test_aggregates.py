"""Window aggregates: right by hand, and blind to every row that a seed may not see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.aggregates import MOST_COLUMNS, window_features
from rdl.clock import NEVER, US_PER_DAY, Span
from rdl.extract import micros
from rdl.query.expressions import Aggregate, ColumnRef
from rdl.query.task import Kind, LabelSql, Task, TaskTable
from rdl.schema import Table
from rdl.streams import Seeds, closing_times
from tests.memory import MemoryReader

CHURN = Task(Kind.binary, "", "users", None, horizon=Span(5))
CLICK = Task(Kind.regression, "", "orders", None, row_level=True, label_columns=frozenset({("orders", "amount")}))
DAYS = 40
#: The keys of orders that are known later than these.
LATE: list[tuple[str, ...]] = [(), ("item",), ("user id", "item")]


def database(seed: int, *, after: int | None = None, late: tuple[str, ...] = ()) -> MemoryReader:
    """Firms ← users ← orders → items. With ``after``, whatever happens later than that day is another history, some
    items that are listed later are not there, and orders of that very day have other values. The keys of orders
    that are ``late`` are known when these are paid."""
    rng, other = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    n = 60
    at = rng.integers(0, DAYS, n)
    values = {
        "user id": rng.integers(0, 5, n).astype(np.float64), "item": rng.integers(0, 6, n).astype(np.float64),
        "amount": np.round(rng.random(n) * 50, 1), "kind": rng.integers(0, 4, n), "paid": at + rng.integers(-2, 9, n),
        "fee": rng.random(n),
    }  # fmt: skip
    values["user id"][rng.random(n) < 0.1] = np.nan
    listed = rng.integers(0, DAYS, 6)
    price, there = rng.random(6), np.arange(6)
    if after is not None:
        there = np.flatnonzero((listed <= after) | (other.random(6) < 0.5))
        later, unpaid = at > after, values["paid"] > after
        for column in ("user id", "item", "amount", "kind"):
            values[column] = np.where(later, other.permutation(values[column]), values[column])
        for column in late:
            values[column] = np.where(unpaid, other.permutation(values[column]), values[column])
        values["fee"] = np.where(unpaid, other.random(n), values["fee"])
        values["paid"] = np.where(unpaid, other.integers(after + 1, DAYS + 20, n), values["paid"])
        price = np.where(listed > after, other.random(6), price)
        at = np.where(later, other.integers(after + 1, DAYS + 9, n), at)
        kept = ~later | (other.random(n) < 0.6)
        at, values = at[kept], {name: column[kept] for name, column in values.items()}
    words = np.array(["b", "a", "select", "ü"])
    tables = {
        "firms": pa.table({"id": np.arange(2), "size": [5.0, 9.0]}),
        "users": pa.table({"id": np.arange(5), "age": rng.random(5), "firm": rng.integers(0, 2, 5)}),
        "items": pa.table({"id": there, "price": price[there], "listed": _moments(listed[there])}),
        "orders": pa.table(
            {
                "user id": pa.array(values["user id"], from_pandas=True).cast(pa.int64()),
                "item": values["item"].astype(np.int64),
                "amount": values["amount"],
                "kind": words[values["kind"]],
                "fee": values["fee"],
                "paid": _moments(values["paid"]),
                "at": _moments(at),
            }
        ),
    }
    reader = MemoryReader(
        tables,
        keys={"firms": "id", "users": "id", "items": "id"},
        times={"orders": "at", "items": "listed"},
        relations=[("users", "firm", "firms"), ("orders", "user id", "users"), ("orders", "item", "items")],
    )
    orders, told = reader.schema["orders"], {"fee", "paid", *late}
    columns = tuple(replace(c, known_at="paid") if c.name in told else c for c in orders.columns)
    known = Table("orders", columns, orders.primary_key, orders.time)
    reader.schema = replace(reader.schema, tables={**reader.schema.tables, "orders": known})
    return reader


def _moments(days: np.ndarray) -> pa.Array:
    return pa.array(np.asarray(days) * US_PER_DAY).cast(pa.timestamp("us"))


def churn_seeds(seed: int, newest: int) -> Seeds:
    rng = np.random.default_rng(seed)
    time = rng.integers(0, newest + 1, 12) * US_PER_DAY
    return Seeds(rng.integers(0, 5, 12), time, time)


def labels_of(seeds: Seeds, target: np.ndarray) -> TaskTable:
    split = np.zeros(len(seeds.rows), np.int8)
    return TaskTable(seeds.rows, seeds.time, split, target, 10 * US_PER_DAY, 10 * US_PER_DAY)


def features(reader: MemoryReader, task: Task, seeds: Seeds, fitted: int, labels: TaskTable | None = None) -> pa.Table:
    with TemporaryDirectory() as folder:
        snapshot = reader.snapshot(Path(folder) / "snapshot")
        return window_features(task, snapshot, seeds, fitted_at_us=fitted * US_PER_DAY, labels=labels)


def differing(one: pa.Table, other: pa.Table) -> list[str]:
    """The columns that are not equal to the bit."""
    assert one.column_names == other.column_names
    return [n for n in one.column_names if one[n].to_numpy().tobytes() != other[n].to_numpy().tobytes()]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), after=st.integers(10, DAYS), late=st.sampled_from(LATE))
def test_what_happens_after_the_cut_changes_nothing(seed: int, after: int, late: tuple[str, ...]) -> None:
    seeds = churn_seeds(seed, after)
    rng = np.random.default_rng(seed)
    target = rng.random(12)
    closed = seeds.time + 5 * US_PER_DAY <= after * US_PER_DAY
    before = features(database(seed, late=late), CHURN, seeds, 10, labels_of(seeds, target))
    changed = labels_of(seeds, np.where(closed, target, rng.random(12)))
    # The fit of labels may only read those of training seeds, all of which lie before the fit's own time.
    fitted = seeds.time <= 10 * US_PER_DAY
    changed.target[fitted] = target[fitted]
    assert differing(before, features(database(seed, after=after, late=late), CHURN, seeds, 10, changed)) == []


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), after=st.integers(12, DAYS), late=st.sampled_from(LATE))
def test_row_level_seeds_see_nothing_that_is_not_strictly_older(seed: int, after: int, late: tuple[str, ...]) -> None:
    one, other = database(seed, late=late), database(seed, after=after, late=late)
    at = one.tables["orders"]["at"].to_numpy().astype("datetime64[us]").astype(np.int64)
    order = np.argsort(at, kind="stable")
    at = at[order]
    rows = np.flatnonzero(at <= after * US_PER_DAY)
    seeds = Seeds(rows, at[rows], at[rows])
    # Rows of the seed's own time, the seed's own included, get another label: nobody may notice.
    place = order[rows[at[rows] == after * US_PER_DAY]]
    amounts = one.tables["orders"]["amount"].to_numpy().copy()
    amounts[place] = 777
    one.tables["orders"] = one.tables["orders"].set_column(2, "amount", pa.array(amounts))
    labels = labels_of(seeds, np.arange(len(rows), dtype=np.float64))
    relabelled = labels_of(seeds, np.where(at[rows] == after * US_PER_DAY, -1.0, labels.target))
    before, later = features(one, CLICK, seeds, 10, labels), features(other, CLICK, seeds, 10, relabelled)
    assert differing(before, later) == []
    assert "amount" not in before.column_names


def test_a_row_before_the_cut_does_change_something() -> None:
    """The tests above could pass on features that are constant: they are not."""
    seeds = churn_seeds(3, DAYS)
    assert (
        len(differing(features(database(3), CHURN, seeds, 10), features(database(3, after=5), CHURN, seeds, 10))) > 50
    )


@pytest.mark.parametrize("late", LATE)
def test_aggregates_equal_those_by_hand(late: tuple[str, ...]) -> None:
    reader = database(8, late=late)
    orders = reader.tables["orders"].to_pandas()
    seeds = churn_seeds(8, DAYS)
    found = features(reader, CHURN, seeds, DAYS).to_pandas()
    price, listed = (reader.tables["items"].to_pandas()[name] for name in ("price", "listed"))
    for place, (user, time) in enumerate(zip(seeds.rows, seeds.time.astype("datetime64[us]"), strict=True)):
        since = np.maximum(orders["at"], orders["paid"]) if "user id" in late else orders["at"]
        mine = orders.assign(since=since)[(orders["user id"] == user) & (since <= time)]
        mine = mine.sort_values(["since", "at"], kind="stable")
        recent = mine[mine["since"] > time - np.timedelta64(5, "D")]
        paid = mine[mine["paid"] <= time]
        known = mine["item"][(listed[mine["item"]].to_numpy() <= time) & ((mine["paid"] <= time) | (not late))]
        expected = {
            "orders[user id] count, all": len(mine),
            "orders[user id] count, 5 days": len(recent),
            "orders[user id].amount sum, all": mine["amount"].sum() if len(mine) else np.nan,
            "orders[user id].amount mean, 5 days": recent["amount"].mean(),
            "orders[user id].amount last": mine["amount"].iloc[-1] if len(mine) else np.nan,
            "orders[user id].item distinct": known.nunique(),
            "orders[user id].fee mean, all": paid["fee"].mean(),
            "orders[user id].kind distinct": mine["kind"].nunique(),
            "orders[user id].item.price mean, all": price[known].mean(),
            "age": reader.tables["users"]["age"][int(user)].as_py(),
            "firm.size": [5.0, 9.0][reader.tables["users"]["firm"][int(user)].as_py()],
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][place], value, rtol=1e-4, err_msg=name)


def test_two_hops_are_counted_and_columns_are_bounded() -> None:
    reader = database(5)
    seeds = Seeds(np.array([0, 1]), np.full(2, DAYS * US_PER_DAY), np.full(2, DAYS * US_PER_DAY))
    found = features(reader, replace(CHURN, entity="firms"), seeds, DAYS)
    orders, users = reader.tables["orders"].to_pandas(), reader.tables["users"].to_pandas()
    counted = orders.dropna(subset=["user id"]).merge(users, left_on="user id", right_on="id")["firm"].value_counts()
    assert found["users[firm]←orders[user id] count, all"].to_pylist() == [counted.get(0, 0), counted.get(1, 0)]
    assert found.num_columns <= MOST_COLUMNS
    with TemporaryDirectory() as folder:
        snapshot = reader.snapshot(Path(folder) / "snapshot")
        few = window_features(CHURN, snapshot, seeds, fitted_at_us=DAYS * US_PER_DAY, most_columns=20)
    assert few.num_columns == 20


def test_hidden_columns_are_never_read() -> None:
    task = replace(CHURN, hidden=frozenset({("orders", "amount"), ("users", "age")}))
    found = features(database(2), task, churn_seeds(2, DAYS), 10)
    assert not [name for name in found.column_names if "amount" in name or name == "age"]


def test_a_key_that_is_asked_for_or_hidden_is_not_followed() -> None:
    def parts(task: Task, reader: MemoryReader) -> str:
        seeds = Seeds(np.arange(10), np.full(10, DAYS * US_PER_DAY), np.full(10, DAYS * US_PER_DAY))
        asked = seeds if task.row_level else churn_seeds(2, DAYS)
        return " ".join(features(reader, task, asked, DAYS).column_names)

    assert "item.price" in parts(CLICK, database(2))
    named = parts(replace(CLICK, label_columns=frozenset({("orders", "item")})), database(2)).split(" ")
    assert not [name for name in named if name.startswith("item.")], "the seed's own"
    assert "item" in parts(CHURN, database(2))
    assert "item" not in parts(replace(CHURN, hidden=frozenset({("orders", "item")})), database(2))


def test_a_late_key_leads_to_its_parent_from_then_on() -> None:
    reader = database(6, late=("item",))
    with TemporaryDirectory() as folder:
        snapshot = reader.snapshot(Path(folder) / "snapshot")
        rows, paid = np.arange(60), micros(snapshot.arrow("orders")["paid"])
        item, at = snapshot.parent(snapshot.schema.relation("orders", ("item",))), snapshot.time("orders")
        price, listed = snapshot.arrow("items")["price"].to_numpy()[item], snapshot.time("items")[item]
        for task in (replace(CHURN, entity="orders"), CLICK):
            time = at if task.row_level else at + 2 * US_PER_DAY
            found = window_features(task, snapshot, Seeds(rows, time, time), fitted_at_us=DAYS * US_PER_DAY)
            known = (paid < time if task.row_level else paid <= time) & (listed <= time)
            assert known.any()
            assert not known.all()
            prices = np.where(known, price, np.nan).astype(np.float32)
            np.testing.assert_array_equal(found["item.price"].to_numpy(), prices)


def test_that_a_child_ends_at_the_very_time_of_a_row_level_seed_is_news() -> None:
    at = pa.array(np.array([0, 0, 0, 5]) * US_PER_DAY).cast(pa.timestamp("us"))
    until = pa.array([4, 5, 6, None]).cast(pa.int64())
    until = pc.multiply(until, US_PER_DAY).cast(pa.timestamp("us"))
    loans = pa.table({"id": np.arange(4), "of": [3, 3, 3, 0], "at": at, "until": until})
    reader = MemoryReader(
        {"loans": loans}, keys={"loans": "id"}, times={"loans": "at"}, relations=[("loans", "of", "loans")]
    )
    table = replace(reader.schema["loans"], valid_until="until")
    reader.schema = replace(reader.schema, tables={"loans": table})
    for row_level in (False, True):
        task = replace(CLICK if row_level else CHURN, entity="loans", label_columns=frozenset())
        seeds = Seeds(np.array([3]), np.array([5 * US_PER_DAY]), np.array([5 * US_PER_DAY]))
        found = features(reader, task, seeds, DAYS)
        counts = [found[f"loans[of] count, {which}"].to_pylist() for which in ("all", "not ended")]
        assert counts == [[3], [2 if row_level else 1]]


def test_labels_that_the_task_hides_are_no_stream() -> None:
    seeds = Seeds(np.arange(10), np.arange(10) * US_PER_DAY, np.arange(10) * US_PER_DAY)
    labels = labels_of(seeds, np.arange(10.0))
    named = features(database(2), CLICK, seeds, 10, labels).column_names
    assert any("label" in name for name in named)
    for hidden in (
        replace(CLICK, label_columns=frozenset()),
        replace(CLICK, hidden=frozenset({("orders", "amount")})),
    ):
        assert not any("label" in name for name in features(database(2), hidden, seeds, 10, labels).column_names)


def test_a_timeless_row_level_table_never_shows_its_label() -> None:
    reader = database(4)
    orders = reader.schema["orders"]
    timeless = Table("orders", orders.columns, orders.primary_key, None)
    reader.schema = replace(reader.schema, tables={**reader.schema.tables, "orders": timeless})
    seeds = Seeds(np.arange(10), np.full(10, DAYS * US_PER_DAY), np.full(10, DAYS * US_PER_DAY))
    assert not [name for name in features(reader, CLICK, seeds, DAYS).column_names if "amount" in name]
    bought = replace(CLICK, label_columns=frozenset({("orders", "item")}))
    assert not [name for name in features(reader, bought, seeds, DAYS).column_names if "item" in name]


@pytest.mark.parametrize(("horizon", "days"), [(Span(5), 5), (Span(1, "week"), 7)])
def test_labels_are_known_when_their_window_closes(horizon: Span, days: int) -> None:
    labels = labels_of(churn_seeds(1, DAYS), np.zeros(12))
    with TemporaryDirectory() as folder:
        snapshot = database(1).snapshot(Path(folder) / "snapshot")
        assert (
            closing_times(replace(CHURN, horizon=horizon), labels, snapshot) - labels.time == days * US_PER_DAY
        ).all()
        assert np.array_equal(closing_times(CLICK, labels, snapshot), labels.time)


def test_labels_of_late_columns_are_known_when_these_are() -> None:
    fee = ColumnRef((), "orders", "fee")  # which is known when the order is paid
    labels = labels_of(Seeds(np.arange(9), np.zeros(9, np.int64), np.zeros(9, np.int64)), np.zeros(9))
    with TemporaryDirectory() as folder:
        snapshot = database(1).snapshot(Path(folder) / "snapshot")
        asked = replace(CLICK, target=fee, label_columns=frozenset({("orders", "fee")}))
        labels = replace(labels, time=snapshot.time("orders")[:9])
        paid = snapshot.arrow("orders")["paid"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()[:9]
        assert np.array_equal(closing_times(asked, labels, snapshot), np.maximum(paid, labels.time))
        assert (paid > labels.time).any()
        window = Aggregate("SUM", "orders", (), fee, None, Span(0), Span(5))
        assert (closing_times(replace(CHURN, target=window), labels, snapshot) == NEVER).all()
        # Which rows a window holds is not known when it closes where their keys come later.
        over = replace(window, argument=None, relations=snapshot.schema.relations_from("orders")[:1])
        assert (closing_times(replace(CHURN, target=over), labels, snapshot) < NEVER).all()
        # Nor where SQL makes the labels, of which columns nobody says.
        plain = LabelSql("SELECT 1", "5 days", 5 * US_PER_DAY, 1, "id", "date", "y")
        assert (closing_times(replace(CHURN, sql=plain), labels, snapshot) == NEVER).all()
        late = database(1, late=("user id",)).snapshot(Path(folder) / "late")
        assert (closing_times(replace(CHURN, target=over), labels, late) == NEVER).all()


def test_what_is_known_at_the_very_time_of_a_row_level_seed_is_not_read() -> None:
    reader = database(1)
    with TemporaryDirectory() as folder:
        snapshot = reader.snapshot(Path(folder) / "snapshot")
        own = snapshot.time("orders")
        paid = snapshot.arrow("orders")["paid"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
        rows = np.flatnonzero(paid == own)
        assert len(rows)
        seeds = Seeds(rows, own[rows], own[rows])
        found = window_features(CLICK, snapshot, seeds, fitted_at_us=DAYS * US_PER_DAY)
    assert np.isnan(found["fee"].to_numpy()).all()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_stationary_columns_are_numbers_and_none_grows_whatever_happens(seed: int) -> None:
    seeds = churn_seeds(seed, DAYS)
    with TemporaryDirectory() as folder:
        snapshot = database(seed).snapshot(Path(folder) / "snapshot")
        whole, found = (
            window_features(CHURN, snapshot, seeds, fitted_at_us=10 * US_PER_DAY, stationary=stationary)
            for stationary in (False, True)
        )
    assert set(found.column_names) < set(whole.column_names), "the others are as they were"
    for name in found.column_names:
        assert found[name].to_numpy().tobytes() == whole[name].to_numpy().tobytes(), name
        assert pa.types.is_floating(found[name].type), name
    left_out = set(whole.column_names) - set(found.column_names)
    grows = ("count, all", "sum, all", "days since first")
    kept = set(found.column_names) - {"firm.users[firm] count, all"}  # users are there from the beginning
    assert not [name for name in kept if name.endswith(grows) or name.startswith(("day of", "hour"))]
    for name in ("day of year", "day of week", "hour", "orders[user id] count, all", "orders[user id].amount sum, all",
                 "orders[user id] days since first", "orders[user id].kind last"):  # fmt: skip
        assert name in left_out, name
    codes = {name for name in left_out if pa.types.is_integer(whole[name].type)}
    assert {name for name in left_out if not name.endswith(grows)} == codes | {"day of year", "day of week", "hour"}


def test_numbers_beyond_those_of_32_bits_are_the_greatest_of_them() -> None:
    """Without a warning of an overflow, which is an error here."""
    reader = database(3)
    ages = np.array([1e300, -1e300, 1.0, 2.0, 3.0])
    reader.tables["users"] = reader.tables["users"].set_column(1, "age", pa.array(ages))
    seeds = Seeds(np.arange(5), np.full(5, DAYS * US_PER_DAY), np.full(5, DAYS * US_PER_DAY))
    found = features(reader, CHURN, seeds, DAYS)["age"].to_numpy()
    assert found.dtype == np.float32
    most = np.finfo(np.float32).max
    assert np.array_equal(found, np.clip(ages, -most, most).astype(np.float32))
