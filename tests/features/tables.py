"""One table of events with a column of every kind, for tests of features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rdl.clock import US_PER_DAY
from rdl.schema import Column, Dtype, Schema, Stype, Table, TimePath
from rdl.snapshot import Snapshot
from tests.memory import MemoryReader

#: Every column but the row's time: its type, what it means, and the column that says when it is known.
COLUMNS: dict[str, tuple[pa.DataType, Stype, str | None]] = {
    "number": (pa.float64(), Stype.numerical, None),
    "whole": (pa.int64(), Stype.numerical, None),
    "price": (pa.decimal128(12, 2), Stype.numerical, None),
    "lasted": (pa.duration("us"), Stype.numerical, None),
    "late_number": (pa.float64(), Stype.numerical, "told_at"),
    "word": (pa.string(), Stype.categorical, None),
    "flag": (pa.bool_(), Stype.categorical, None),
    "late_word": (pa.string(), Stype.categorical, "told_at"),
    "tags": (pa.list_(pa.string()), Stype.multicategorical, None),
    "written_tags": (pa.string(), Stype.multicategorical, None),
    "late_tags": (pa.list_(pa.int64()), Stype.multicategorical, "told_at"),
    "note": (pa.string(), Stype.text_embedded, None),
    "late_note": (pa.string(), Stype.text_embedded, "told_at"),
    "vector": (pa.list_(pa.float32()), Stype.embedding, None),
    "late_vector": (pa.list_(pa.float32(), 2), Stype.embedding, "told_at"),
    "due": (pa.timestamp("us"), Stype.timestamp, None),
    "told_at": (pa.timestamp("us"), Stype.timestamp, None),
}
LATE = (*(name for name, (_, _, known_at) in COLUMNS.items() if known_at), "told_at")


def schema() -> Schema:
    columns = [Column("at", Dtype.timestamp, Stype.timestamp)]
    columns += [Column(name, Dtype.unknown, stype, known_at=told) for name, (_, stype, told) in COLUMNS.items()]
    return Schema({"events": Table("events", tuple(columns), (), TimePath("at"))})


def draw(rng: np.random.Generator, days: np.ndarray, told: np.ndarray) -> pa.Table:
    """Random cells for rows on ``days`` (below 0: NULL), late ones told on the days ``told`` (below 0: never)."""
    count = len(days)

    def some(values: Any, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind, mask=rng.random(count) < rng.choice([0.0, 0.2]))

    def lists(alphabet: list[Any], most: int) -> list[list[Any]]:
        return [list(rng.choice(alphabet, rng.integers(0, most + 1))) for _ in range(count)]

    words = np.array(["red", "green", "blue", "a\x00b", "", "grün"])
    texts = [" ".join(rng.choice(words, rng.integers(0, 5))) for _ in range(count)]
    wild = rng.normal(size=count) * 10.0 ** rng.integers(-5, 12, count)
    wild[rng.random(count) < 0.1] = rng.choice([np.inf, -np.inf, np.nan])
    moments = np.where(rng.random(count) < 0.1, 2**62, rng.integers(-(10**15), 10**16, count))
    values: dict[str, Any] = {
        "number": wild,
        "whole": rng.integers(-(2**62), 2**62, count),
        "price": [int(n) for n in rng.integers(-999, 999, count)],
        "lasted": rng.integers(0, 10**12, count),
        "late_number": rng.normal(size=count),
        "word": rng.choice(words, count),
        "flag": rng.random(count) < 0.5,
        "late_word": rng.choice(words, count),
        "tags": lists(["a", "b", "c", None], 3),
        "written_tags": ["|".join(cell) for cell in lists(["x", "y"], 3)],
        "late_tags": lists([1, 2], 2),
        "note": texts,
        "late_note": texts[::-1],
        "vector": [list(rng.normal(size=rng.choice([3, 3, 3, 2]))) for _ in range(count)],
        "late_vector": [list(rng.normal(size=2)) for _ in range(count)],
        "due": moments,
    }
    found = {"at": pa.array(days * US_PER_DAY, mask=days < 0).cast(pa.timestamp("us"))}
    found |= {name: some(cells, COLUMNS[name][0]) for name, cells in values.items()}
    found["told_at"] = pa.array(told * US_PER_DAY, mask=told < 0).cast(pa.timestamp("us"))
    return pa.table(found)


def snapshot_of(rows: pa.Table, folder: Path, like: Schema | None = None) -> Snapshot:
    reader = MemoryReader({"events": rows})
    reader.schema = like or schema()
    return reader.snapshot(folder)


def events(folder: Path, days: list[int | None], columns: dict[str, pa.Array], stypes: dict[str, Stype]) -> Snapshot:
    """Rows on ``days`` with the ``columns`` given."""
    at = pa.array([None if day is None else day * US_PER_DAY for day in days], pa.int64()).cast(pa.timestamp("us"))
    described = (
        Column("at", Dtype.timestamp, Stype.timestamp),
        *(Column(name, Dtype.unknown, stype) for name, stype in stypes.items()),
    )
    like = Schema({"events": Table("events", described, (), TimePath("at"))})
    return snapshot_of(pa.table({"at": at, **columns}), folder, like)


def told(snapshot: Snapshot, **known_at: str) -> Snapshot:
    """The snapshot under a schema that says when columns become known."""
    table = snapshot.schema.tables["events"]
    columns = tuple(replace(c, known_at=known_at.get(c.name, c.known_at)) for c in table.columns)
    snapshot.schema = Schema({"events": replace(table, columns=columns)})
    return snapshot
