"""Taking only what was appended since the last snapshot: the same as taking all, or said to be impossible."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.schema import Schema, TimePath
from rdl.snapshot import Snapshot, build, load_or_build
from tests.memory import MemoryReader


class Told:
    """A listener that keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def rows(self, doing: str, done: int, total: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        self.notes.append(text)


class Counting(MemoryReader):
    """A reader that counts the rows it hands out."""

    handed = 0

    def read(self, *args: object, **options: object) -> pa.RecordBatchReader:
        rows = super().read(*args, **options).read_all()  # type: ignore[arg-type]
        self.handed += rows.num_rows
        return rows.to_reader()


def shop(users: list[int], orders: list[tuple[int | None, int | None]]) -> Counting:
    tables = {
        "users": pa.table({"id": pa.array(users, pa.int64())}),
        "orders": pa.table({
            "id": pa.array(range(len(orders)), pa.int64()),
            "user": pa.array([user for user, _ in orders], pa.int64()),
            "at": pa.array([at for _, at in orders], pa.timestamp("us")),
        }),
        "lines": pa.table({"order": pa.array(range(0, len(orders), 2), pa.int64())}),
    }  # fmt: skip
    relations = [("orders", "user", "users"), ("lines", "order", "orders")]
    reader = Counting(
        tables, keys={"users": "id", "orders": "id"}, times={"orders": "at"}, relations=relations, rows_a_batch=4
    )
    lines = replace(reader.schema["lines"], time=TimePath("at", (("order",),)))
    reader.schema = Schema({**reader.schema.tables, "lines": lines}, reader.schema.relations)
    reader.version = str(len(orders))
    return reader


def same(one: Snapshot, other: Snapshot) -> None:
    assert one.schema == other.schema
    assert one.report == other.report
    for name in one.schema.tables:
        assert one.arrow(name).equals(other.arrow(name))
        assert np.array_equal(one.time(name), other.time(name))
    for relation in one.schema.relations:
        assert np.array_equal(one.parent(relation), other.parent(relation))


ORDER = st.tuples(st.none() | st.integers(0, 4), st.none() | st.integers(0, 5))


@settings(deadline=None, max_examples=40)
@given(st.lists(ORDER, max_size=12), st.lists(st.tuples(ORDER, st.booleans()), max_size=12))
def test_appended_rows_give_what_a_full_extraction_gives(
    orders: list[tuple[int | None, int | None]], more: list[tuple[tuple[int | None, int | None], bool]]
) -> None:
    """Appended are rows from the newest time on, some of them older or without a time: then all is read."""
    newest = max((at for _, at in orders if at is not None), default=0)
    added = [(user, at + newest if later and at is not None else at) for (user, at), later in more]
    with tempfile.TemporaryDirectory() as folder:
        load_or_build(shop([0, 1, 2], orders), shop([], []).schema, cache=Path(folder))
        reader = shop([0, 1, 2, 3], orders + added)
        if not added:
            reader.version = "changed"
        found = load_or_build(reader, reader.schema, cache=Path(folder), refresh=True)
        same(found, build(reader, reader.schema, Path(folder) / "whole"))


def test_only_newer_rows_are_read(tmp_path: Path) -> None:
    orders = [(1, at) for at in range(100)] + [(0, None)] * 5
    before = shop([0, 1], orders)
    load_or_build(before, before.schema, cache=tmp_path)
    told, reader = Told(), shop([0, 1], [*orders, (1, 99), (0, 100), (1, 99)])
    same(
        load_or_build(reader, reader.schema, cache=tmp_path, listener=told, refresh=True),
        build(shop([0, 1], [*orders, (1, 99), (0, 100), (1, 99)]), reader.schema, tmp_path / "whole"),
    )
    assert reader.handed == 2 + 4 + 54  # the users, the orders from 99 on, every line
    assert told.notes[0] == "read whole (no time of its own): users, lines"
    assert [note.split()[0] for note in told.notes] == ["read", "extracted"]


@pytest.mark.parametrize(
    "change", [lambda rows: rows[1:], lambda rows: [*rows, (1, 3)], lambda rows: [*rows, (1, None)], lambda rows: []]
)
def test_a_table_that_was_not_only_appended_to_is_read_whole(tmp_path: Path, change: object) -> None:
    orders: list[tuple[int | None, int | None]] = [(1, at) for at in range(10)]
    before = shop([0, 1], orders)
    load_or_build(before, before.schema, cache=tmp_path)
    told, after = Told(), shop([0, 1], change(orders))  # type: ignore[operator]
    found = load_or_build(after, after.schema, cache=tmp_path, listener=told, refresh=True)
    same(found, build(after, after.schema, tmp_path / "whole"))
    note = next(note for note in told.notes if note.endswith(": orders"))
    assert note.startswith(f"read whole ({len(change(orders))} rows, but ")  # type: ignore[operator]


def test_repaired_cells_and_unknown_times_are_read_again(tmp_path: Path) -> None:
    for cells, orders in (({("orders", "user"): 1}, [(1, 5)]), ({}, [(1, None)])):
        folder, told = tmp_path / str(len(cells)), Told()
        before, after = shop([1], orders), shop([1], [*orders, (1, 7)])
        before.repairs = cells
        load_or_build(before, before.schema, cache=folder)
        load_or_build(after, after.schema, cache=folder, listener=told, refresh=True)
        expected = "cells that did not fit their type" if cells else "no row with a time before"
        assert f"read whole ({expected}): orders" in told.notes


def test_another_schema_or_no_change_takes_nothing_over(tmp_path: Path) -> None:
    reader = shop([0, 1], [(1, 5), (0, 6)])
    first = load_or_build(reader, reader.schema, cache=tmp_path)
    told, handed = Told(), reader.handed
    again = load_or_build(reader, reader.schema, cache=tmp_path, listener=told, refresh=True)
    assert (again.path, reader.handed, told.notes) == (first.path, handed, ["nothing has changed since the last time"])
    timeless = replace(reader.schema["orders"], time=None)
    other = Schema({"users": reader.schema["users"], "orders": timeless}, reader.schema.relations[:1])
    load_or_build(reader, other, cache=tmp_path, refresh=True)
    assert reader.handed == handed + 4


def test_without_refresh_all_is_read(tmp_path: Path) -> None:
    before, after = shop([0], [(0, 5), (0, 6)]), shop([0], [(0, 5), (0, 6), (0, 7)])
    load_or_build(before, before.schema, cache=tmp_path)
    load_or_build(after, after.schema, cache=tmp_path)
    assert after.handed == 1 + 3 + 2


def test_a_row_changed_in_place_is_missed_by_a_refresh_alone(tmp_path: Path) -> None:
    before = shop([0, 1], [(0, 5), (0, 6)])
    load_or_build(before, before.schema, cache=tmp_path)
    after = shop([0, 1], [(1, 5), (0, 6), (0, 7)])
    refreshed = load_or_build(after, after.schema, cache=tmp_path, refresh=True)
    assert refreshed.arrow("orders")["user"].to_pylist() == [0, 0, 0]
    whole = load_or_build(after, after.schema, cache=tmp_path)
    assert whole.arrow("orders")["user"].to_pylist() == [1, 0, 0]
    assert load_or_build(after, after.schema, cache=tmp_path, refresh=True).path == whole.path
