"""Random databases for what must hold of any: composite keys, keys to the own table and in circles, duplicate and NULL
times, rows that end, timeless and empty tables, keys that name nothing or a row to come, and keys known later."""

from __future__ import annotations

from collections.abc import Collection
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


def random_database(rng: np.random.Generator, days: int = DAYS) -> Database:
    """Two to four tables, each with up to three keys to any of them, of whose columns some are known later; all within
    so many days."""
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
        rows[name] = table_of(schema.tables[name], ids, draw(rng, schema.tables[name], len(ids), 0, days))
    return Database(schema, rows)


def draw(rng: np.random.Generator, table: Table, count: int, first_day: int, days: int) -> dict[str, pa.Array]:
    """Random values of every column but the key; times within so many ``days`` from the first on."""

    def moments(nulls: float) -> pa.Array:
        drawn = rng.integers(first_day, first_day + days, count) * US_PER_DAY
        return pa.array(drawn, mask=rng.random(count) < nulls).cast(pa.timestamp("us"))

    found = {
        "value": pa.array(rng.random(count)),
        "status": pa.array(rng.choice(["new", "paid", "sent"], count)),
        "at": moments(0.1),
        "until": moments(0.3),
        "told_at": moments(0.2),
        "linked_at": moments(0.2),
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


@dataclass(frozen=True, slots=True)
class Line:
    """What is known with the row of a row-level seed at its time: itself, and up from row to row of that very time what
    they refer to. ``rows`` are the places of these rows by table, ``ids`` those that they name."""

    rows: dict[str, npt.NDArray[np.bool_]]
    ids: dict[str, set[int]]


def line_of(database: Database, table: str, place: int, day: int, hidden: Collection[Relation]) -> Line:
    """The line of the row at ``place`` of ``table``, asked at ``day``; keys known on that day or later, and those
    ``hidden``, lead nowhere from it."""
    found = Line({name: np.zeros(rows.num_rows, np.bool_) for name, rows in database.tables.items()}, {})
    found.rows[table][place] = True
    left = [(table, place)]
    while left:
        child, row = left.pop()
        for relation in database.schema.relations_from(child):
            rows = database.tables[child]
            late = any(times(rows, told)[row] >= day * US_PER_DAY for told in database.schema.told_by(relation))
            named = ids_of(rows, relation.key)[row]
            if late or relation in hidden or named < 0:
                continue
            found.ids.setdefault(relation.parent, set()).add(int(named))
            parents, whose = database.tables[relation.parent], database.schema[relation.parent]
            there = np.flatnonzero(ids_of(parents, relation.referred) == named)
            if whose.time and len(there) and times(parents, "at")[there[0]] == day * US_PER_DAY:
                if not found.rows[relation.parent][there[0]]:
                    left.append((relation.parent, int(there[0])))
                found.rows[relation.parent][there[0]] = True
    return found


def with_another_future(database: Database, rng: np.random.Generator, day: int, line: Line | None = None) -> Database:
    """The same database but from ``day`` on: rows of that day or later, or of no time, are deleted, altered and added,
    and what is told then of the others is altered. Rows stand in another order, but those before ``day`` among
    themselves. The ``line`` of a row-level seed at that day stands too, and as many rows of that day are before it."""
    changed = {}
    for name, rows in database.tables.items():
        table = database.schema.tables[name]
        at = times(rows, "at") if table.time is not None else np.full(rows.num_rows, -1)
        mine = line.rows[name] if line else np.zeros(rows.num_rows, np.bool_)
        known = (at < day * US_PER_DAY) | mine
        if table.time is None:
            changed[name] = late_altered(rows, table, rng, day)
            continue
        taken = line.ids.get(name, set()) | set(ids_of(rows, table.primary_key)[mine].tolist()) if line else set()
        free = np.array([number for number in range(IDS + 1) if number not in taken])
        before = ~known & (at == day * US_PER_DAY) & (np.arange(len(at)) < max(np.flatnonzero(mine), default=-1))
        that_day = pa.array(np.full(len(at), day * US_PER_DAY)).cast(pa.timestamp("us"))
        altered = anew(rows, table, rng, free, day).set_column(rows.column_names.index("at"), "at", that_day)
        stays = late_altered(rows, table, rng, day).filter(pa.array(known))
        kept = pa.concat_tables([stays, altered.filter(pa.array(before))])
        order = np.argsort(np.concatenate([np.flatnonzero(known), np.flatnonzero(before)]))
        new = anew(rows.slice(0, 0), table, rng, free, day, int(rng.integers(0, 6)))
        old = rows.filter(pa.array(~known & ~before & (rng.random(len(known)) < 0.5)))
        # The known rows keep their order; the others stand anywhere between them, or behind the line.
        place = np.empty(len(order))
        place[order] = np.sort(rng.random(len(order)))
        others = rng.random(old.num_rows + new.num_rows) + bool(mine.any())
        whole = pa.concat_tables([kept, old, new])
        changed[name] = whole.take(pa.array(np.argsort(np.concatenate([place, others]), kind="stable")))
    return Database(database.schema, changed)


def anew(
    rows: pa.Table,
    table: Table,
    rng: np.random.Generator,
    ids: npt.NDArray[np.int64],
    day: int,
    count: int | None = None,
) -> pa.Table:
    """As many other rows as ``rows``, or ``count``, of ``day`` or later, with some of ``ids``."""
    count = rows.num_rows if count is None else count
    return table_of(table, rng.choice(ids, count), draw(rng, table, count, day, 3)).cast(rows.schema)


def late_altered(rows: pa.Table, table: Table, rng: np.random.Generator, day: int) -> pa.Table:
    """``rows`` with other values of what is not told before ``day``: ends, and what is told then or later."""
    other, altered = draw(rng, table, rows.num_rows, day, 3), rows
    for column in table.columns:
        if (told_by := table.told_by(column)) is not None:
            field, later = rows.schema.field(column.name), pa.array(times(rows, told_by) >= day * US_PER_DAY)
            values = pc.if_else(later, other[column.name].cast(field.type), rows[column.name])
            altered = altered.set_column(rows.schema.get_field_index(column.name), field, values)
    return altered


def times(rows: pa.Table, column: str) -> npt.NDArray[np.int64]:
    return rows[column].cast(pa.int64()).fill_null(NEVER).to_numpy()


def ids_of(rows: pa.Table, columns: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """The ids that one or two columns spell, below 0 where NULL."""
    parts = [rows[column].cast(pa.int64()).fill_null(-IDS).to_numpy() for column in columns]
    return parts[0] if len(parts) == 1 else np.where(parts[1] < 0, -1, parts[0] * 3 + parts[1])
