"""The one pass over a database that fills a snapshot's folder: read, sort by time, resolve keys.

Tables stream to disk and are mapped back, so what stands in memory at once is one table being sorted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from rdl import clock
from rdl.database.reader import Reader
from rdl.errors import DatabaseError, SchemaError
from rdl.keys import Match, Rows, match
from rdl.schema import Relation, Schema

#: Changes with the layout on disk: snapshots of another format are built again.
FORMAT = 1

#: Called with a table, its rows read so far and its rows in all.
Progress = Callable[[str, int, int], None]

_MOST_ROWS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Report:
    """What an extraction found. Only what is not in order has an entry, but for ``rows``.

    ``rows``: rows of each table. ``dangling``: by relation (as text), how many keys that are not NULL name no row,
    and their share of the keys that are not NULL. ``duplicate_keys``: by table, rows whose key an earlier row already
    has (the first row wins). ``null_times``: by table, rows whose time is unknown, which no seed ever sees.
    ``repairs``: by ``table.column``, cells that did not fit their type and were read as NULL.
    """

    rows: dict[str, int]
    dangling: dict[str, tuple[int, float]]
    duplicate_keys: dict[str, int]
    null_times: dict[str, int]
    repairs: dict[str, int]

    def to_json(self) -> dict[str, object]:
        """The report as JSON values."""
        return asdict(self)


class Extraction:
    """One run of :func:`build`: ``tables`` are mapped from the folder, in the engine's order until arranged."""

    def __init__(self, reader: Reader, schema: Schema, folder: Path) -> None:
        self.reader, self.schema, self.folder = reader, schema, folder
        self.tables: dict[str, pa.Table] = {}
        self.arranged: set[str] = set()
        self.null_times: dict[str, int] = {}

    def run(self, progress: Progress | None) -> None:
        """Fills the folder; ``snapshot.json`` comes last."""
        for name in self.schema.tables:
            self.extract(name, progress)
        for name in self.schema.tables:
            self.arrange(name)
        dangling, duplicates = self.resolve()
        report = Report(
            rows={name: self.tables[name].num_rows for name in self.schema.tables},
            dangling=dangling,
            duplicate_keys=duplicates,
            null_times=self.null_times,
            repairs={f"{table}.{column}": count for (table, column), count in self.reader.repairs.items() if count},
        )
        facts = {"format": FORMAT, "url": self.reader.url, "schema": self.schema.to_json(), "report": report.to_json()}
        (self.folder / "snapshot.json").write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")

    def file(self, table: str, suffix: str) -> Path:
        """A file of a table; they are numbered, as a table's name may be no file's."""
        return self.folder / f"{list(self.schema.tables).index(table)}.{suffix}"

    def extract(self, name: str, progress: Progress | None) -> None:
        """Streams the rows of a table to its file, in the engine's order."""
        wanted = [column.name for column in self.schema[name].columns]
        total = self.reader.count(name) if progress else 0
        batches = self.reader.read(name, wanted)
        if missing := [column for column in wanted if column not in batches.schema.names]:
            raise SchemaError(f"table {name!r} no longer has column {missing[0]!r}", hint="reflect it again.")
        schema = pa.schema([(column, _plain(batches.schema.field(column).type)) for column in wanted])
        done = 0
        with pa.OSFile(str(self.file(name, "arrow")), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch.select(wanted).cast(schema))
                done += batch.num_rows
                if progress:
                    progress(name, done, max(done, total))
        if done > _MOST_ROWS:
            raise DatabaseError(f"table {name!r} has {done} rows, more than the {_MOST_ROWS} that rdl can number")
        self.tables[name] = map_table(self.file(name, "arrow"))

    def arrange(self, name: str) -> None:
        """Sorts a table by time, once the tables that its time is walked through are sorted.

        Only with duplicate keys does the order matter to a walk; one that comes back to a table meets the
        engine's order there.
        """
        if name in self.arranged:
            return
        self.arranged.add(name)
        for relation in self.schema.time_relations(name):
            self.arrange(relation.parent)
        times = self.times(name)
        if np.any(times[1:] < times[:-1]):
            order = np.argsort(times, kind="stable")
            times = times[order]
            unsorted = self.file(name, "arrow").rename(self.file(name, "unsorted"))
            table = _wide(self.tables[name]).take(pa.array(order))
            with pa.OSFile(str(self.file(name, "arrow")), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
            unsorted.unlink()
            self.tables[name] = map_table(self.file(name, "arrow"))
        np.save(self.file(name, "time.npy"), times)
        if unknown := int(np.count_nonzero(times == clock.NEVER)):
            self.null_times[name] = unknown

    def times(self, name: str) -> clock.Times:
        """The time of each row, in the table's present order."""
        path = self.schema[name].time
        if path is None:
            return np.full(self.tables[name].num_rows, clock.ALWAYS)
        rows: Rows | None = None
        for relation in self.schema.time_relations(name):
            step = self.match(relation).rows
            rows = step if rows is None else gather(step, rows, -1)
        holder = self.schema.time_table(name).name
        times = micros(self.tables[holder][path.column], f"{name}.time = {path}")
        return times if rows is None else gather(times, rows, clock.NEVER)

    def match(self, relation: Relation) -> Match:
        """The parents of a relation's children, both in their tables' present order."""
        keys = self.tables[relation.child].select(list(relation.key))
        return match(keys, self.tables[relation.parent].select(list(relation.referred)))

    def resolve(self) -> tuple[dict[str, tuple[int, float]], dict[str, int]]:
        """Writes the parents of every relation; returns the dangling keys and the duplicate keys."""
        dangling: dict[str, tuple[int, float]] = {}
        repeated: dict[tuple[str, tuple[str, ...]], int] = {}
        for number, relation in enumerate(self.schema.relations):
            found = self.match(relation)
            np.save(self.folder / f"{number}.parent.npy", found.rows.astype(np.int32))
            repeated[relation.parent, relation.referred] = found.duplicates
            if found.dangling:
                dangling[str(relation)] = (found.dangling, found.dangling / found.filled)
        for name, table in self.schema.tables.items():
            if table.primary_key and (name, table.primary_key) not in repeated:
                known = self.tables[name].select(list(table.primary_key))
                repeated[name, table.primary_key] = match(known.slice(0, 0), known).duplicates
        duplicates: dict[str, int] = {}
        for (name, _), count in repeated.items():
            if count:
                duplicates[name] = max(count, duplicates.get(name, 0))
        return dangling, duplicates


def map_table(path: Path) -> pa.Table:
    """The table in an Arrow IPC file, memory-mapped."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _plain(dtype: pa.DataType) -> pa.DataType:
    """Dictionaries are stored as their values: a file holds one dictionary only, and batches may differ in theirs."""
    return dtype.value_type if pa.types.is_dictionary(dtype) else dtype


def _wide(table: pa.Table) -> pa.Table:
    """``table`` with 64-bit offsets in text and binary columns that 32 bits could not address in one piece."""
    wide = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
    fields = [
        field.with_type(wide.get(field.type, field.type)) if column.nbytes >= 2**31 else field
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return table.cast(pa.schema(fields))


def gather(values: Rows, rows: Rows, missing: int) -> Rows:
    """``values[rows]``, with ``missing`` where a row is -1."""
    found = np.full(len(rows), missing, np.int64)
    there = rows >= 0
    found[there] = values[rows[there]]
    return found


def micros(column: pa.ChunkedArray, what: str = "a time") -> clock.Times:
    """A date or timestamp column in µs UTC, NEVER where NULL. A number or text has no unit and is refused."""
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        raise SchemaError(
            f"{what}: a column of {column.type}, not of dates or timestamps",
            hint="name a date or timestamp column, or none: time = false.",
        )
    zone = getattr(column.type, "tz", None)
    counts = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
    return np.asarray(counts.fill_null(clock.NEVER).to_numpy(), np.int64)
