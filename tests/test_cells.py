"""Aggregates, tensors and the audit read the same columns; a part of a composite key is a value unless it is a key."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rdl import features
from rdl.aggregates import window_features
from rdl.audit.inputs import Inputs
from rdl.cells import Cells
from rdl.clock import NEVER, US_PER_DAY, to_us
from rdl.extract import micros
from rdl.query import read_task
from rdl.sampler import Seeds as Asked
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath
from rdl.streams import Seeds
from tests.query.memory import snapshot_of
from tests.test_aggregates import CLICK, DAYS, database

RACES = Table("races", (Column("id", Dtype.integer, Stype.identifier), Column("code", Dtype.integer, Stype.numerical),
    Column("rounds", Dtype.integer, Stype.numerical)), ("id",))  # fmt: skip
LAPS = Table("laps", (
    Column("race", Dtype.integer, Stype.numerical), Column("lap", Dtype.integer, Stype.numerical),
    Column("at", Dtype.timestamp, Stype.timestamp), Column("seconds", Dtype.float, Stype.numerical),
), ("race", "lap"), TimePath("at"))  # fmt: skip
STOPS = Table("stops", (
    Column("race", Dtype.integer, Stype.numerical), Column("lap", Dtype.integer, Stype.numerical),
    Column("stop", Dtype.integer, Stype.numerical), Column("crew", Dtype.integer, Stype.numerical),
), ("race", "lap", "stop"), TimePath("at", (("race", "lap"),)))  # fmt: skip
CALLS = Table("calls", (Column("race_code", Dtype.integer, Stype.numerical),
    Column("words", Dtype.integer, Stype.numerical)))  # fmt: skip


def schema(*relations: Relation) -> Schema:
    return Schema({table.name: table for table in (RACES, LAPS, STOPS, CALLS)}, relations)


TO_RACES = Relation("laps", ("race",), "races", ("id",))
TO_LAPS = Relation("stops", ("race", "lap"), "laps", ("race", "lap"))
TO_CODES = Relation("calls", ("race_code",), "races", ("code",))


@pytest.mark.parametrize(
    ("table", "names"),
    [("races", ["rounds"]), ("laps", ["at", "seconds"]), ("stops", ["stop", "crew"]), ("calls", ["words"])],
)
def test_a_key_says_which_row_is_meant_and_the_rest_of_one_is_a_value(table: str, names: list[str]) -> None:
    found = schema(TO_RACES, TO_LAPS, TO_CODES)
    assert [column.name for column in found.inputs(table)] == names


def test_a_lap_that_nothing_refers_to_is_a_value() -> None:
    timeless = Table("stops", STOPS.columns, STOPS.primary_key)
    keys = (TO_RACES, Relation("stops", ("race",), "races", ("id",)))
    found = Schema({"races": RACES, "laps": LAPS, "stops": timeless}, keys)
    assert [column.name for column in found.inputs("laps")] == ["lap", "at", "seconds"]
    assert [column.name for column in found.inputs("stops")] == ["lap", "stop", "crew"]


def test_tensors_aggregates_and_the_audit_read_the_same_columns() -> None:
    found = Schema({"races": RACES, "laps": LAPS}, (TO_RACES,))
    begin = dt.datetime(2024, 1, 1)
    rows: dict[str, Any] = {
        "races": [{"id": race, "code": race, "rounds": race % 7} for race in range(20)],
        "laps": [
            {"race": race, "lap": lap, "at": begin + dt.timedelta(days=race, minutes=lap), "seconds": lap * 1.5}
            for race in range(20) for lap in range(9)
        ],
    }  # fmt: skip
    task = read_task("PREDICT SUM(laps.seconds, 0, 2, days) FOR EACH races.id", found)
    with snapshot_of(found, rows) as snapshot:
        tensors = features.fit(snapshot, NEVER - 1)
        cells, inputs = Cells(task, snapshot, NEVER - 1), Inputs(task, found)
        for name, table in found.tables.items():
            read = {column.name for column in cells.inputs(name, tuple(Stype), masked=False)}
            assert read == {column.name for column in table.columns if inputs.reads(name, column.name)}
            fitted = {column for columns in tensors[name].columns().values() for column in columns}
            assert fitted == read
        assert "lap" in tensors["laps"].numerical


def test_what_does_not_vary_by_the_cut_is_no_input() -> None:
    names = ("same", "null", "begins", "late", "never", "value")
    columns = tuple(Column(name, Dtype.float, Stype.numerical) for name in names)
    late = tuple(replace(one, known_at="told" if one.name in ("late", "never") else None) for one in columns)
    times = (Column("at", Dtype.timestamp, Stype.timestamp), Column("told", Dtype.timestamp, Stype.timestamp))
    found = Schema({"laps": Table("laps", (*late, *times), (), TimePath("at"))})
    begin = dt.datetime(2024, 1, 1)
    rows = [
        {"same": 1.0, "null": None, "begins": None if day < 60 else float(day), "late": 2.0,
         "never": None if day < 60 else 1.0, "value": float(day * 7 % 11), "at": begin + dt.timedelta(days=day),
         "told": begin + dt.timedelta(days=day + 1)}
        for day in range(90)
    ]  # fmt: skip
    cut = to_us(begin + dt.timedelta(days=50))
    task = read_task("PREDICT laps.value FOR EACH laps", found)
    with snapshot_of(found, {"laps": rows}) as snapshot:
        cells = Cells(task, snapshot, cut)
        read = {column.name for column in cells.inputs("laps", tuple(Stype), masked=False)}
        assert read == {"late", "value", "at", "told"}
        fitted = features.fit(snapshot, cut)["laps"].columns()
        assert {column for columns in fitted.values() for column in columns} == read


def test_a_cell_told_before_its_row_is_known_with_it(tmp_path: Path) -> None:
    """To baselines as to models: a row-level seed's own row too."""
    snapshot = database(1).snapshot(tmp_path / "snapshot")
    own, fee = snapshot.time("orders"), snapshot.arrow("orders")["fee"].to_numpy().astype(np.float32)
    told = micros(snapshot.arrow("orders")["paid"])
    rows = np.arange(len(own))
    found = window_features(CLICK, snapshot, Seeds(rows, own, own), fitted_at_us=DAYS * US_PER_DAY)
    packed = features.pack(snapshot, features.fit(snapshot, DAYS * US_PER_DAY))["orders"]
    readable = Cells(CLICK, snapshot, 0).readable("orders", snapshot.schema["orders"]["fee"], rows, own)
    asked = Asked("orders", *map(torch.from_numpy, (rows, own.copy(), own.copy())), strictly=True)
    hidden = dict(packed.unread(asked.row, asked.time, asked.late_cut))
    assert (told < own).any()
    assert np.array_equal(readable, told < own)
    assert np.array_equal(found["fee"].to_numpy(), np.where(readable, fee, np.nan), equal_nan=True)
    (unread,) = [hide for names, hide in hidden.items() if "fee" in names]
    assert np.array_equal(~unread.numpy(), readable)
