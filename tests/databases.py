"""Random databases for what must hold of any: composite keys, keys to the own table and in circles, duplicate and NULL
times, rows that end, timeless and empty tables, keys that name nothing or a row to come, and keys known later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rdl.clock import NEVER, US_PER_DAY
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath
from rdl.snapshot import Snapshot
from tests.memory import MemoryReader

DAYS = 12
#: Rows that a table may have at most, and the ids that its rows and the keys to it draw from.
IDS = 9


@dataclass(frozen=True, slots=True)
class Database:
    """A schema and rows for it, in the engine's order."""

    schema: Schema
    tables: dict[str, pa.Table]

    def snapshot(self, folder: Path) -> Snapshot:
        reader = MemoryReader(self.tables)
        reader.schema = self.schema
        return reader.snapshot(folder)


def random_database(rng: np.random.Generator) -> Database:
    """Two to four tables, each with up to three keys to any of them, of whose columns some are known later."""
    names = [f"t{number}" for number in range(rng.integers(2, 5))]
    keys = {name: ("a", "b") if rng.random() < 0.4 else ("id",) for name in names}
    tables, relations, rows = {}, [], {}
    for name in names:
        timed, ends = rng.random() < 0.8, rng.random() < 0.5
        parents = [names[rng.integers(len(names))] for _ in range(rng.integers(0, 4))]
        foreign = [tuple(f"to{n}_{column}" for column in keys[parent]) for n, parent in enumerate(parents)]
        relations += [Relation(name, key, parent, keys[parent]) for key, parent in zip(foreign, parents, strict=True)]
        columns = [Column(c, Dtype.integer, Stype.identifier) for c in keys[name]]
        told = rng.choice(["", "", "linked_at", "told_at"], len(sum(foreign, ())))
        columns += [
            Column(c, Dtype.integer, Stype.identifier, known_at=str(by) or None)
            for c, by in zip(sum(foreign, ()), told, strict=True)
        ]
        columns += [
            Column("value", Dtype.float, Stype.numerical),
            Column("status", Dtype.text, Stype.categorical, known_at="told_at"),
            *(Column(c, Dtype.timestamp, Stype.timestamp) for c in ("at", "until", "told_at", "linked_at")),
        ]
        time = TimePath("at") if timed else None
        tables[name] = Table(name, tuple(columns), keys[name], time, "until" if ends else None)
    schema = Schema(tables, tuple(relations))
    for name in names:
        ids = rng.permutation(IDS)[: rng.integers(0, IDS + 1)]
        rows[name] = table_of(schema.tables[name], ids, draw(rng, schema.tables[name], len(ids)))
    return Database(schema, rows)


def draw(rng: np.random.Generator, table: Table, count: int, first_day: int = 0) -> dict[str, pa.Array]:
    """Random values of every column but the key; times not before ``first_day``."""

    def days(nulls: float) -> pa.Array:
        moments = rng.integers(first_day, max(DAYS, first_day + 3), count) * US_PER_DAY
        return pa.array(moments, mask=rng.random(count) < nulls).cast(pa.timestamp("us"))

    found = {
        "value": pa.array(rng.random(count)),
        "status": pa.array(rng.choice(["new", "paid", "sent"], count)),
        "at": days(0.1),
        "until": days(0.3),
        "told_at": days(0.2),
        "linked_at": days(0.2),
    }
    keys = sorted({c.name.rsplit("_", 1)[0] for c in table.columns if c.name.startswith("to") and c.name != "told_at"})
    for key in keys:
        ids, none = rng.integers(0, IDS, count), rng.random(count) < 0.15
        found |= {f"{key}_{column}": pa.array(values, mask=none) for column, values in spelled(ids).items()}
    return found


def spelled(ids: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
    """An id as every key spells it: alone, or in two columns."""
    return {"id": ids, "a": ids // 3, "b": ids % 3}


def table_of(table: Table, ids: npt.NDArray[np.int64], values: dict[str, pa.Array]) -> pa.Table:
    whole = spelled(ids) | values
    return pa.table({column.name: whole[column.name] for column in table.columns})


def with_another_future(database: Database, rng: np.random.Generator, day: int) -> Database:
    """The same database up to ``day``: rows later than that, or of no time, are deleted, altered and added, and what
    was to be told later of the others is altered. Rows stand in another order, but those up to ``day`` among
    themselves."""
    changed = {}
    for name, rows in database.tables.items():
        table = database.schema.tables[name]
        known = times(rows, "at") <= day * US_PER_DAY if table.time is not None else np.ones(rows.num_rows, np.bool_)
        kept = late_altered(rows.filter(pa.array(known)), table, rng, day)
        if table.time is None:
            changed[name] = kept
            continue
        count = int(rng.integers(0, 6))
        new = table_of(table, rng.integers(0, IDS, count), draw(rng, table, count, day + 1)).cast(kept.schema)
        old = rows.filter(pa.array(~known & (rng.random(len(known)) < 0.5)))
        whole = pa.concat_tables([kept, old, new])
        # The known rows keep their order; the others stand anywhere between them.
        place = np.concatenate([np.sort(rng.random(kept.num_rows)), rng.random(old.num_rows + count)])
        changed[name] = whole.take(pa.array(np.argsort(place, kind="stable")))
    return Database(database.schema, changed)


def late_altered(rows: pa.Table, table: Table, rng: np.random.Generator, day: int) -> pa.Table:
    """``rows`` with other values of what is not told by ``day``: ends, and what is told at a later time."""
    other, altered = draw(rng, table, rows.num_rows, day + 1), rows
    for column in table.columns:
        if (told_by := table.told_by(column)) is not None:
            field, later = rows.schema.field(column.name), pa.array(times(rows, told_by) > day * US_PER_DAY)
            values = pc.if_else(later, other[column.name].cast(field.type), rows[column.name])
            altered = altered.set_column(rows.schema.get_field_index(column.name), field, values)
    return altered


def times(rows: pa.Table, column: str) -> npt.NDArray[np.int64]:
    return rows[column].cast(pa.int64()).fill_null(NEVER).to_numpy()
