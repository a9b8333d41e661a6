"""Times that are stored as numbers or text are found, and only suggested."""

from __future__ import annotations

import pyarrow as pa

from rdl import infer
from rdl.schema import Dtype, Stype
from tests.memory import MemoryReader


def proposed(**columns: object) -> list[infer.Proposal]:
    reader = MemoryReader({"t": pa.table(columns)}, keys={"t": "id"})
    return infer.propose(reader, reader.schema)


def found(**columns: object) -> dict[str | None, infer.Proposal]:
    return {p.column: p for p in proposed(**columns) if p.kind == "time_format"}


def test_times_that_are_stored_as_something_else_are_suggested() -> None:
    n = range(3)
    formats = found(
        id=list(n),
        made=[f"2020-01-0{i + 1} 10:00" for i in n],
        zoned=[f"2020-01-0{i + 1}T23:30:00-01:00" for i in n],
        mixed=["2020-01-01", "soon", "2020-01-02"],
        impossible=["2020-13-45", "2020-02-31", "0000-00-00"],
        empty=pa.array([None] * 3, pa.string()),
        once=["2020-01-01"] * 3,
        created_at=[1_600_000_000 + i for i in n],
        event_ts=[1_600_000_000_000 + i for i in n],
        updated_ts=[1_600_000_000.5 + i for i in n],
        amount=[1_600_000_000 + i for i in n],
        time_ms=[5 + i for i in n],
        date=[20200101 + i for i in n],
        broken_ts=[float("nan")] * 3,
    )
    assert {name: p.value for name, p in formats.items()} == {
        "made": "iso", "zoned": "iso", "created_at": "s", "event_ts": "ms", "updated_ts": "s",
    }  # fmt: skip
    assert all(p.suggested for p in formats.values())
    assert "2020-01-01 to 2020-01-03" in formats["made"].evidence
    assert "2020-01-02 to 2020-01-04" in formats["zoned"].evidence
    assert "would be of 2020-09-13 as seconds since 1970" in formats["created_at"].evidence
    assert "milliseconds" in formats["event_ts"].evidence
    assert str(formats["made"]).startswith('t.made time_format = "iso": text')


def test_a_few_texts_that_are_no_times_are_said() -> None:
    made = [f"2020-01-{i % 28 + 1:02}" for i in range(99)]
    assert "but for 1.0%, which would be NULL" in found(id=range(100), made=[*made, "soon"])["made"].evidence
    assert not found(id=range(100), made=[*made[:90], *["soon"] * 10])


def test_nothing_else_is_proposed_of_them_so_that_one_line_is_all_there_is_to_change() -> None:
    made = [f"2020-01-01T10:00:{i:02}" for i in range(60)]
    proposals = proposed(id=range(60), made=made, created=[1_600_000_000 + i % 3 for i in range(60)])
    assert {p.kind for p in proposals if p.column in ("made", "created")} == {"time_format"}


def test_a_suggestion_taken_makes_a_time() -> None:
    reader = MemoryReader({"t": pa.table({"id": [1, 2], "created": [1_600_000_000, 1_600_000_001]})}, keys={"t": "id"})
    proposals = infer.propose(reader, reader.schema)
    assert infer.apply(reader.schema, proposals)["t"]["created"].time_format is None
    ((taken, why),) = infer.suggestions(infer.apply(reader.schema, proposals), proposals)
    column = taken["t"]["created"]
    assert (column.dtype, column.stype, column.time_format) == (Dtype.timestamp, Stype.timestamp, "s")
    assert "seconds since 1970" in why


def test_keys_are_left_alone() -> None:
    reader = MemoryReader(
        {"t": pa.table({"ts": [1_600_000_000, 1_600_000_001]}), "c": pa.table({"ts": [1_600_000_000, 1_600_000_001]})},
        keys={"t": "ts"},
        relations=[("c", "ts", "t")],
    )
    assert not [p for p in infer.propose(reader, reader.schema) if p.kind == "time_format"]
