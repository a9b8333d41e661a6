"""A column that alone tells the label is found; one that only helps, or is known too late to be read, is not."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rdl import labels
from rdl.cells import Cells
from rdl.clock import NEVER
from rdl.leaks import ENOUGH, _origins, tellers
from rdl.plan import plan
from rdl.query import read_task
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath
from tests.query.memory import snapshot_of

BEGIN = dt.datetime(2024, 1, 1)
STATIONS = Table("stations", (
    Column("id", Dtype.integer, Stype.identifier), Column("closed", Dtype.text, Stype.categorical),
), ("id",))  # fmt: skip
TRAINS = Table("trains", (
    Column("id", Dtype.integer, Stype.identifier), Column("station_id", Dtype.integer, Stype.identifier),
    Column("left_at", Dtype.timestamp, Stype.timestamp), Column("late", Dtype.boolean, Stype.categorical),
    Column("delay", Dtype.float, Stype.numerical), Column("refund", Dtype.float, Stype.numerical),
    Column("remark", Dtype.text, Stype.categorical), Column("arrived_at", Dtype.timestamp, Stype.timestamp),
), ("id",), TimePath("left_at"))  # fmt: skip
SCHEMA = Schema({"stations": STATIONS, "trains": TRAINS}, (Relation("trains", ("station_id",), "stations", ("id",)),))


def _rows(
    count: int, change: Callable[[dict[str, Any], random.Random], dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Trains, late by chance; ``change`` says what of a row to put otherwise, and is told its ``true`` delay."""
    rng = random.Random(3)
    trains = []
    for number in range(count):
        delay = rng.choice([0.0, 0.0, 0.0, rng.random() * 100])
        left = BEGIN + dt.timedelta(hours=number)
        row = {
            "id": number, "station_id": rng.randrange(2), "left_at": left, "late": delay > 20, "delay": rng.random(),
            "refund": rng.random(), "remark": rng.choice(["leaves", "snow", None]),
            "arrived_at": left + dt.timedelta(hours=rng.randrange(1, 9)),
        }  # fmt: skip
        trains.append(row | (change(row | {"true": delay}, rng) if change else {}))
    return {"stations": [{"id": 0, "closed": "no"}, {"id": 1, "closed": "yes"}], "trains": trains}


def _found(query: str, schema: Schema, rows: dict[str, Any]) -> list[str]:
    task = read_task(query, schema)
    with snapshot_of(schema, rows) as snapshot:
        return [f"{t.table}.{t.column}" for t in tellers(task, labels.compute(task, snapshot).table, snapshot)]


def test_nothing_is_suspected_of_noise() -> None:
    assert _found("PREDICT trains.late FOR EACH trains.id", SCHEMA, _rows(2_000)) == []


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("delay", lambda row, rng: row["true"]),  # a number, above a bound
        ("remark", lambda row, rng: None if row["late"] else "on time"),  # NULL tells as well
        ("refund", lambda row, rng: 5.0 if row["late"] and rng.random() < 0.99 else None),  # nearly always
    ],
)
def test_a_column_that_tells_the_label_is_found(column: str, told: Callable[..., Any]) -> None:
    rows = _rows(2_000, lambda row, rng: {column: told(row, rng)})
    query = "PREDICT trains.late FOR EACH trains.id"
    assert _found(query, SCHEMA, rows) == [f"trains.{column}"]
    assert _found(f"{query} HIDE trains.{column}", SCHEMA, rows) == []
    late = Table("trains", tuple(
        replace(one, known_at="arrived_at") if one.name == column else one for one in TRAINS.columns
    ), ("id",), TRAINS.time)  # fmt: skip
    masked = Schema({"stations": STATIONS, "trains": late}, SCHEMA.relations)
    assert _found(query, masked, rows) == []
    with snapshot_of(SCHEMA, rows) as snapshot:
        told_of = plan(read_task(query, SCHEMA), snapshot).warnings
    assert any(f"trains.{column} tells the label almost alone" in line and "HIDE" in line for line in told_of)


def test_a_parents_column_and_a_number_to_predict() -> None:
    rows = _rows(2_000, lambda row, rng: {"late": row["station_id"] == 1, "delay": row["true"]})
    query = "PREDICT trains.late FOR EACH trains.id"
    assert _found(query, SCHEMA, rows) == ["stations.closed", "trains.station_id"]
    assert _found(f"{query} HIDE trains.station_id", SCHEMA, rows) == []
    twice = _rows(2_000, lambda row, rng: {"delay": row["true"], "refund": 2 * row["true"] + 1})
    assert _found("PREDICT trains.delay FOR EACH trains.id HIDE trains.late", SCHEMA, twice) == ["trains.refund"]


def test_a_parent_over_a_key_that_is_filled_in_later_tells_nothing() -> None:
    rows = _rows(2_000, lambda row, rng: {"late": row["station_id"] == 1})
    columns = tuple(replace(one, known_at="arrived_at") if one.name == "station_id" else one for one in TRAINS.columns)
    schema = Schema({**SCHEMA.tables, "trains": replace(TRAINS, columns=columns)}, SCHEMA.relations)
    query = "PREDICT trains.late FOR EACH trains.id"
    assert sorted(_found(query, SCHEMA, rows)) == ["stations.closed", "trains.station_id"]
    assert _found(query, schema, rows) == []
    at_once = [row | {"arrived_at": row["left_at"] - dt.timedelta(hours=1)} for row in rows["trains"]]
    assert sorted(_found(query, schema, rows | {"trains": at_once})) == ["stations.closed", "trains.station_id"]


def test_the_newest_child_is_the_one_linked_last() -> None:
    rows = _rows(300, lambda row, rng: {"arrived_at": row["left_at"] + dt.timedelta(hours=rng.choice([-1, 5]))})
    columns = tuple(replace(one, known_at="arrived_at") if one.name == "station_id" else one for one in TRAINS.columns)
    schema = Schema({**SCHEMA.tables, "trains": replace(TRAINS, columns=columns)}, SCHEMA.relations)
    task = read_task("PREDICT trains.late FOR EACH trains.id", schema)
    with snapshot_of(schema, rows) as snapshot:
        table = labels.compute(task, snapshot).table
        origins = _origins(task, table, Cells(task, snapshot, NEVER), far=True)
        (children,) = [origin for origin in origins if origin.newest]
    trains, expected = rows["trains"], []
    for seed in (trains[number] for number in table.entity):
        since = {train["id"]: max(train["left_at"], train["arrived_at"]) for train in trains}
        known = seed["arrived_at"] < seed["left_at"]
        older = [
            (since[train["id"]], train["id"]) for train in trains
            if known and train["station_id"] == seed["station_id"] and since[train["id"]] < seed["left_at"]
        ]  # fmt: skip
        expected.append(max(older)[1] if older else -1)
    assert children.rows.tolist() == expected
    assert len(set(expected)) > 50


def test_one_class_of_several_is_told() -> None:
    def change(row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        remark = rng.choice(["snow", "leaves", "strike"])
        return {"remark": remark, "refund": float(remark == "strike")}

    assert _found("PREDICT trains.remark FOR EACH trains.id", SCHEMA, _rows(2_000, change)) == ["trains.refund"]


def test_too_few_seeds_say_nothing() -> None:
    rows = _rows(ENOUGH - 1, lambda row, rng: {"delay": row["true"]})
    assert _found("PREDICT trains.late FOR EACH trains.id", SCHEMA, rows) == []


def test_a_parent_without_rows_tells_nothing() -> None:
    rows = _rows(300) | {"stations": []}
    assert _found("PREDICT trains.late FOR EACH trains.id", SCHEMA, rows) == []


def test_a_copy_of_numbers_that_few_rows_make_up_is_found() -> None:
    rows = _rows(2_000, lambda row, rng: {"delay": 10 ** (rng.random() * 20)})
    for row in rows["trains"]:
        row["refund"] = row["delay"] * 3
    assert _found("PREDICT trains.delay FOR EACH trains.id", SCHEMA, rows) == ["trains.refund"]


def test_a_text_and_a_list_that_tell_the_label_are_found() -> None:
    words = {True: "the train was late again and nobody knew", False: "the train left at the time that was announced"}
    rows = _rows(2_000, lambda row, rng: {"remark": words[row["late"]]})
    said = Table("trains", tuple(
        replace(one, stype=Stype.text_embedded) if one.name == "remark" else one for one in TRAINS.columns
    ), ("id",), TRAINS.time)  # fmt: skip
    schema = Schema({"stations": STATIONS, "trains": said}, SCHEMA.relations)
    assert _found("PREDICT trains.late FOR EACH trains.id", schema, rows) == ["trains.remark"]


def test_lists_and_forecasts_are_told_part_by_part() -> None:
    """Each station has a favourite remark, which stands in the list of what is written of it in the next days."""

    def change(row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        station = rng.randrange(100)
        remark = ("snow", "leaves", "strike")[station % 3]
        return {"station_id": station, "remark": remark, "delay": float(station % 5) + rng.random() / 10}

    def stations(closed: Callable[[int], str]) -> list[dict[str, Any]]:
        return [{"id": number, "closed": closed(number)} for number in range(100)]

    rows = _rows(6_000, change)
    lists = "PREDICT LIST_DISTINCT(trains.remark, 0, 30, days) CLASSIFY FOR EACH stations.id"
    forecast = "PREDICT AVG(trains.delay, 0, 15, days) FORECAST 3 TIMEFRAMES FOR EACH stations.id"
    for query, told in ((lists, lambda number: f"m{number % 3}"), (forecast, lambda number: f"m{number % 5}")):
        assert _found(query, SCHEMA, rows | {"stations": stations(told)}) == ["stations.closed"]
        assert _found(query, SCHEMA, rows | {"stations": stations(lambda number: f"m{number * 37 % 101 % 4}")}) == []
