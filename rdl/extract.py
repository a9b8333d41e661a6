"""The one pass over a database that fills a snapshot's folder: read, sort by time, resolve keys.

Tables stream to disk and are mapped back, so what stands in memory is a few batches and some bytes a row.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl import clock
from rdl.database.failures import explained
from rdl.database.reader import Reader
from rdl.errors import DatabaseError, SchemaError
from rdl.keys import Match, Rows, match
from rdl.schema import Relation, Schema
from rdl.sorting import map_table, sort_file

#: Changes with the layout on disk: snapshots of another format are built again.
FORMAT = 1

_MOST_ROWS = 2**31 - 1


class Listener(Protocol):
    """Who is told how far an extraction is; several threads may tell at once."""

    def rows(self, doing: str, done: int, total: int) -> None:
        """So many rows of all tables are done."""
        ...

    def note(self, text: str) -> None:
        """A line that stays."""
        ...


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

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Report:
        """The report that :meth:`to_json` wrote."""
        dangling = {relation: (count, share) for relation, (count, share) in value["dangling"].items()}
        return Report(**{**value, "dangling": dangling})

    def to_json(self) -> dict[str, object]:
        """The report as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        counts = {
            "dangling key": sum(count for count, _ in self.dangling.values()),
            "repeated key": sum(self.duplicate_keys.values()),
            "unknown time": sum(self.null_times.values()),
            "cell that does not fit its type": sum(self.repairs.values()),
        }
        told = {what: count for what, count in counts.items() if count}
        plural = {"cell that does not fit its type": "cells that do not fit their type"}
        return ", ".join(f"{n:,} {what if n == 1 else plural.get(what, what + 's')}" for what, n in told.items())


@dataclass(frozen=True, slots=True)
class Kept:
    """What of an older snapshot's table still holds if rows were only appended: the rows ``before`` its newest time,
    which is ``since`` in the column ``column``, and those ``without`` a time."""

    before: pa.Table
    without: pa.Table
    column: str
    since: int


class Older(Protocol):
    """An older snapshot of the same tables."""

    schema: Schema
    report: Report

    def arrow(self, table: str) -> pa.Table:
        """The table's rows."""
        ...

    def time(self, table: str) -> clock.Times:
        """The time of each row, ascending."""
        ...


def what_holds(older: Older, name: str) -> Kept | str:
    """What still holds of a table, or why nothing does."""
    path = older.schema[name].time
    if path is None or path.through:
        return "no time of its own"
    if any(cell.startswith(f"{name}.") for cell in older.report.repairs):
        return "cells that did not fit their type"
    times, rows = older.time(name), older.arrow(name)
    known = int(np.searchsorted(times, clock.NEVER))
    if not known:
        return "no row with a time before"
    newest = int(times[known - 1])
    return Kept(rows.slice(0, int(np.searchsorted(times, newest))), rows.slice(known), path.column, newest)


class Extraction:
    """One run over ``reader``'s tables into ``folder``, within :meth:`Reader.consistent`.

    ``tables`` are mapped from the folder, in the engine's order until arranged. With ``older``, what was appended since
    is read of the tables that allow it.
    """

    def __init__(
        self, reader: Reader, schema: Schema, folder: Path, listener: Listener | None = None, older: Older | None = None
    ) -> None:
        self.reader, self.schema, self.folder, self.listener, self.older = reader, schema, folder, listener, older
        self.tables: dict[str, pa.Table] = {}
        self.counts: dict[str, int] = {}
        self.arranged: set[str] = set()
        self.null_times: dict[str, int] = {}
        self.whole: dict[str, list[str]] = {}  # by the reason, what a refresh could not read in part
        self.appended = False  # whether rows of ``older`` were kept
        self.done = 0
        self.stopped, self.lock = threading.Event(), threading.Lock()

    def run(self) -> Report:
        """Fills the folder; ``snapshot.json`` comes last."""
        self.read_all()
        for why, names in sorted(self.whole.items()):
            if self.listener:
                self.listener.note(f"read whole ({why}): {', '.join(names)}")
        rows = {name: self.tables[name].num_rows for name in self.schema.tables}
        for name in self.schema.tables:
            self.arrange(name)
        dangling, duplicates = self.resolve()
        repairs = {f"{table}.{column}": count for (table, column), count in self.reader.repairs.items() if count}
        report = Report(rows, dangling, duplicates, self.null_times, repairs)
        shutil.rmtree(self.folder / "spill", ignore_errors=True)
        facts = {"format": FORMAT, "url": self.reader.url, "schema": self.schema.to_json(), "report": report.to_json()}
        (self.folder / "snapshot.json").write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
        return report

    def file(self, table: str, suffix: str) -> Path:
        """A file of a table; they are numbered, as a table's name may be no file's."""
        return self.folder / f"{list(self.schema.tables).index(table)}.{suffix}"

    def read_all(self) -> None:
        """Reads every table, as many at once as the reader allows, the largest first. The first failure ends all."""
        names = list(self.schema.tables)
        workers = min(self.reader.parallel_reads, len(names))
        if workers < 2:
            self.count(names)
            for name in names:
                self.read(name)
            return
        with ThreadPoolExecutor(workers) as pool:
            self.count(names)
            names.sort(key=self.counts.__getitem__, reverse=True)
            try:
                for finished in as_completed([pool.submit(self.read, name) for name in names]):
                    finished.result()
            except BaseException:
                self.stopped.set()
                pool.shutdown(cancel_futures=True)
                raise

    def count(self, names: list[str]) -> None:
        """Counts the rows there will be."""
        with explained(f"{self.reader.url}: cannot count the rows"):
            self.counts = {name: self.reader.count(name) for name in names}

    def read(self, name: str) -> None:
        """Reads one table: what was appended to it, where that can be told to be all, else the whole."""
        why = ""
        if self.older is not None:
            kept = what_holds(self.older, name)
            if isinstance(kept, Kept):
                found = self.write(name, kept)
                if found == self.counts[name]:
                    self.appended = True
                    return
                why = f"{self.counts[name]:,} rows, but {found:,} with those appended"
                self.tell(-found)
            else:
                why = kept
        if why:
            with self.lock:
                self.whole.setdefault(why, []).append(name)
        self.write(name)

    def write(self, name: str, kept: Kept | None = None) -> int:
        """Streams the rows of a table to its file, in the engine's order, and returns their number; with ``kept`` only
        the newer ones from the database."""
        wanted = [column.name for column in self.schema[name].columns]
        doing = f"{self.reader.url}: cannot read table {name!r}"
        with explained(doing):
            batches = self.reader.read(name, wanted, since=(kept.column, kept.since) if kept else None)
        if missing := [column for column in wanted if column not in batches.schema.names]:
            raise SchemaError(f"table {name!r} no longer has column {missing[0]!r}", hint="reflect it again.")
        schema = pa.schema([(column, _plain(batches.schema.field(column).type)) for column in wanted])
        if kept and not kept.before.schema.equals(schema):
            kept = None
        found = 0
        with (
            contextlib.closing(batches),
            pa.OSFile(str(self.file(name, "arrow")), "wb") as sink,
            pa.ipc.new_file(sink, schema) as writer,
        ):
            for batch in self.followed(kept, _batches(batches, doing)):
                rows = batch.select(wanted)
                writer.write_batch(rows if rows.schema.equals(schema) else rows.cast(schema))
                found += rows.num_rows
                self.tell(rows.num_rows)
        if found > _MOST_ROWS:
            raise DatabaseError(f"table {name!r} has {found} rows, more than the {_MOST_ROWS} that rdl can number")
        self.tables[name] = map_table(self.file(name, "arrow"))
        return found

    def followed(self, kept: Kept | None, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """``batches`` between the rows kept, until another thread fails."""
        yield from kept.before.to_batches() if kept else ()
        for batch in batches:
            if self.stopped.is_set():
                raise DatabaseError("the extraction was stopped")
            yield batch
        yield from kept.without.to_batches() if kept else ()

    def tell(self, rows: int) -> None:
        """Adds to the rows that are read, and says so."""
        with self.lock:
            self.done += rows
            if self.listener:
                self.listener.rows("reading", self.done, max(self.done, sum(self.counts.values())))

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
        del self.tables[name]  # its file is replaced
        times = sort_file(self.file(name, "arrow"), times)
        self.tables[name] = map_table(self.file(name, "arrow"))
        np.save(self.file(name, "time.npy"), times)
        if unknown := len(times) - int(np.searchsorted(times, clock.NEVER)):
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
        return match(keys, self.tables[relation.parent].select(list(relation.referred)), spill=self.folder)

    def resolve(self) -> tuple[dict[str, tuple[int, float]], dict[str, int]]:
        """Writes the parents of every relation; returns the dangling keys and the duplicate keys."""
        dangling: dict[str, tuple[int, float]] = {}
        repeated: dict[tuple[str, tuple[str, ...]], int] = {}
        for number, relation in enumerate(self.schema.relations):
            found = self.match(relation)
            np.save(self.folder / f"{number}.parent.npy", found.rows)
            repeated[relation.parent, relation.referred] = found.duplicates
            if found.dangling:
                dangling[str(relation)] = (found.dangling, found.dangling / found.filled)
        for name, table in self.schema.tables.items():
            if table.primary_key and (name, table.primary_key) not in repeated:
                known = self.tables[name].select(list(table.primary_key))
                repeated[name, table.primary_key] = match(known.slice(0, 0), known, spill=self.folder).duplicates
        duplicates: dict[str, int] = {}
        for (name, _), count in repeated.items():
            if count:
                duplicates[name] = max(count, duplicates.get(name, 0))
        return dangling, duplicates


def _batches(batches: pa.RecordBatchReader, doing: str) -> Iterator[pa.RecordBatch]:
    """The batches; a failure of the reader is told as such, and not as one of the disk that they are written to."""
    while True:
        with explained(doing):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _plain(dtype: pa.DataType) -> pa.DataType:
    """Dictionaries are stored as their values: a file holds one dictionary only, and batches may differ in theirs."""
    return dtype.value_type if pa.types.is_dictionary(dtype) else dtype


def gather(values: npt.NDArray[Any], rows: Rows, missing: int) -> npt.NDArray[Any]:
    """``values[rows]``, with ``missing`` where a row is -1."""
    found = np.full(len(rows), missing, values.dtype)
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
    zoned = pa.timestamp("us", getattr(column.type, "tz", None))
    times, start = np.empty(len(column), np.int64), 0
    for chunk in column.chunks:
        counts = chunk.cast(zoned, safe=False).cast(pa.int64())
        times[start : start + len(chunk)] = counts.fill_null(clock.NEVER).to_numpy(zero_copy_only=False)
        start += len(chunk)
    return times
