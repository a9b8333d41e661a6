"""When a question is asked, and of whom: anchors, splits and eligibility worked out by hand on daily orders.

The first order is of 1 January 2024, there is one every day, and the last is of 1 March (60 days later).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from rdl import labels
from rdl.clock import to_us
from rdl.query import Split, TaskTable, read_task
from rdl.schema import Column, Dtype, Schema, Stype
from tests.query.memory import snapshot_of
from tests.query.shop import SHOP, START, Rows, plain_rows

WEEK = "PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id"


def _asked(query: str, rows: Rows, schema: Schema = SHOP) -> tuple[TaskTable, list[str], int]:
    """The table, its seeds as text (split, user and day), and how many anchors are censored."""
    with snapshot_of(schema, rows) as snapshot:
        task = read_task(query, schema)
        found = labels.compute(task, snapshot)
        table = found.table
        users = snapshot.keys("users", table.entity).column(0).to_pylist()
    days = [dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=time) for time in table.time.tolist()]
    names = [split.value for split in Split]
    seeds = [f"{names[split]} {user} {day:%m-%d}" for split, user, day in zip(table.split, users, days, strict=True)]
    return table, seeds, found.censored


def _one_user(days: int = 60) -> Rows:
    rows = plain_rows(days)
    return {**rows, "users": rows["users"][:1]}


def _of_user_1(train: str, val: str, test: str) -> list[str]:
    splits = zip(Split, (train, val, test), strict=True)
    return [f"{split.value} 1 {day}" for split, days in splits for day in days.split()]


@pytest.mark.parametrize(
    ("query", "days", "train", "val", "test", "censored"),
    [
        # Test begins one window before the end, validation one before that; training windows end where it begins.
        # At the end itself, 1 March, the question is asked too, but nothing answers it.
        (WEEK, 60, "01-05 01-12 01-19 01-26 02-02 02-09", "02-16", "02-23", 1),
        # Anchors further apart than the window is long: so is validation from test.
        (f"{WEEK} EVERY 2 weeks", 60, "01-05 01-19 02-02", "02-09", "02-23", 0),
        # The window of 29 February reaches beyond the last order: it is censored. That of the 8th ends as test begins.
        (f"{WEEK} SPLIT AT '2024-02-01', '2024-02-15'", 60, "01-04 01-11 01-18 01-25", "02-01 02-08", "02-15 02-22", 1),
        # A window a day: of 16 to 22 February all but the first reach into test, of 23 on all but it past the end.
        (f"{WEEK} EVERY 10 days SPLIT AT '2024-02-01', '2024-02-15'", 60, "01-05 01-15 01-25", "02-01", "02-15", 2),
        # ASSUMING must be covered, too: the horizon is 14 days, the distance of anchors is the target's window.
        (f"{WEEK} ASSUMING COUNT(orders.*, 0, 14) > 0", 60, "01-05 01-12 01-19", "02-02", "02-16", 3),
        # Months are those of the calendar: a month before 30 March is 29 February, and before that 29 January. From
        # 29 March a month reaches into test.
        ("PREDICT COUNT(orders.*, 0, 1, month) FOR EACH users.id", 120, "01-29", "02-29", "03-30", 2),
        # Three weeks ahead, asked every week: 26 March and 2 April reach into test, 16 April on past the end.
        ("PREDICT COUNT(orders.*, 0, 7) FORECAST 3 TIMEFRAMES FOR EACH users.id", 120,
         "01-02 01-09 01-16 01-23 01-30 02-06 02-13 02-20 02-27", "03-19", "04-09", 5),
        # A window that begins later: its end counts, its length is the distance.
        ("PREDICT COUNT(orders.*, 7, 14) FOR EACH users.id", 60, "01-05 01-12 01-19", "02-02", "02-16", 3),
    ],
)  # fmt: skip
def test_anchors(query: str, days: int, train: str, val: str, test: str, censored: int) -> None:
    _, seeds, found = _asked(query, _one_user(days))
    assert seeds == _of_user_1(train, val, test)
    assert found == censored


def test_an_anchor_every_day() -> None:
    table, seeds, censored = _asked(f"{WEEK} EVERY 1 day", _one_user())
    train = [f"train 1 {START + dt.timedelta(days=day):%m-%d}" for day in range(40)]  # to 9 February
    assert seeds == [*train, "val 1 02-16", "test 1 02-23"]
    assert censored == 6 + 7  # 17 to 22 February reach into test, 24 February to 1 March past the end
    assert table.target.tolist() == [7] * 42


def test_who_is_asked_about() -> None:
    """From the time they join, to the time they leave: at that time they are gone."""
    users = SHOP["users"]
    ending = replace(
        users, columns=(*users.columns, Column("left_at", Dtype.timestamp, Stype.timestamp)), valid_until="left_at"
    )
    schema = Schema({**SHOP.tables, "users": ending}, SHOP.relations)
    rows = _one_user()
    one = {**rows["users"][0], "left_at": None}
    rows["users"] = [
        one,
        {**one, "id": 2, "joined_at": dt.datetime(2024, 2, 2)},
        {**one, "id": 3, "joined_at": dt.datetime(2024, 2, 2, 0, 0, 1)},
        {**one, "id": 4, "left_at": dt.datetime(2024, 1, 26)},
        {**one, "id": 5, "left_at": dt.datetime(2024, 1, 26, 0, 0, 1)},
    ]
    table, seeds, _ = _asked(WEEK, rows, schema)
    days = ["01-05", "01-12", "01-19", "01-26", "02-02", "02-09", "02-16", "02-23"]
    of = {user: [seed.split()[2] for seed in seeds if f" {user} " in seed] for user in range(1, 6)}
    assert of == {1: days, 2: days[4:], 3: days[5:], 4: days[:3], 5: days[:4]}
    assert sorted(table.target.tolist()) == [0] * (len(table) - 8) + [7] * 8


def test_the_border_of_a_window() -> None:
    """What happens at its start is out, at its end in; WHERE reads what is known at t, which t itself is."""
    rows = _one_user()
    at = [dt.datetime(2024, 2, 9), dt.datetime(2024, 2, 16), dt.datetime(2024, 3, 1)]  # 9 + 7 = 16
    rows["messages"] = [
        {"id": n, "sender_id": 1, "receiver_id": 1, "body": "hi", "sent_at": time} for n, time in enumerate(at)
    ]
    query = "PREDICT COUNT(messages.*, 0, 7) > 0 FOR EACH users.id {} VIA messages.sender_id SPLIT AT '2024-02-16', {}"
    table, seeds, _ = _asked(query.format("EVERY 1 day", "'2024-02-23'"), rows)
    labelled = dict(zip([seed.split()[2] for seed in seeds], table.target.tolist(), strict=True))
    assert labelled["02-09"] == 1  # the 16th is in (9, 16], the 9th itself is not what makes it so
    assert labelled["02-16"] == 0  # (16, 23] has none: the 16th is out
    where = "WHERE COUNT(messages.*, -7, 0) > 0 EVERY 1 day"
    _, seeds, _ = _asked(query.format(where, "'2024-02-22'"), rows)
    assert {seed.split()[2] for seed in seeds if seed.startswith("train")} == {"02-09"}


def test_row_level_questions_are_asked_at_the_time_of_each_row() -> None:
    query = "PREDICT orders.amount FOR EACH orders SPLIT AT '2024-01-03', '2024-01-04 00:00:01'"
    with snapshot_of(SHOP, _one_user(5)) as snapshot:
        table = labels.build(read_task(query, SHOP), snapshot)
    assert table.time.tolist() == [to_us(START + dt.timedelta(days=day)) for day in range(6)]
    assert table.split.tolist() == [0, 0, 1, 1, 2, 2]
