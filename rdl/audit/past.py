"""A snapshot read once more as a database: the whole of it, or as it stood at a time, with the future deleted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rdl import clock
from rdl.database.reader import IfExists
from rdl.errors import DatabaseError
from rdl.extract import micros
from rdl.schema import Schema
from rdl.snapshot import Snapshot


class Past:
    """A reader of what ``snapshot`` held at ``at_us`` (None: of all of it).

    Rows later than that, or without a time, are gone; a column that is known later than its row is NULL where it was
    not known yet, and so are the cells ``labels`` of rows not older than that. Rows keep the snapshot's order.
    """

    parallel_reads = 1
    repairs: Mapping[tuple[str, str], int] = {}
    warnings: Sequence[str] = ()

    def __init__(
        self, snapshot: Snapshot, at_us: int | None = None, labels: frozenset[tuple[str, str]] = frozenset()
    ) -> None:
        self.snapshot, self.at_us, self.labels = snapshot, at_us, labels
        self.name = "past"
        self.url = f"past:{snapshot.path.name}"
        self._rows: dict[str, pa.Table] = {}

    def reflect(self) -> Schema:
        """The snapshot's own schema."""
        return self.snapshot.schema

    def count(self, table: str) -> int:
        """The number of rows that are left."""
        return int(self._left(table).num_rows)

    @contextlib.contextmanager
    def consistent(self) -> Iterator[None]:
        """A snapshot never changes."""
        yield

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        limit: int | None = None,
        since: tuple[str, int] | None = None,
    ) -> pa.RecordBatchReader:
        """As :meth:`rdl.database.reader.Reader.read` says."""
        rows = self._left(table)
        rows = rows if columns is None else rows.select(list(columns))
        if since is not None:
            rows = rows.filter(pa.array(micros(self._left(table)[since[0]]) >= since[1]))
        return pa.RecordBatchReader.from_batches(rows.schema, rows.slice(0, limit).to_batches())

    def fingerprint(self) -> str:
        """That of the snapshot and the time."""
        return f"{self.snapshot.path.name} {self.at_us}"

    def write(
        self,
        table: str,
        rows: pa.Table,
        *,
        if_exists: IfExists = "fail",
        like: Mapping[str, tuple[str, str]] | None = None,
    ) -> int:
        """Raises DatabaseError: nothing is written into the past."""
        raise DatabaseError(f"{table!r} cannot be written: {self.url} can only be read")

    def close(self) -> None:
        """Nothing is held open."""

    def _left(self, table: str) -> pa.Table:
        if table not in self._rows:
            self._rows[table] = self._cut(table)
        return self._rows[table]

    def _cut(self, name: str) -> pa.Table:
        rows = self.snapshot.arrow(name)
        if self.at_us is None:
            return rows
        table, times = self.snapshot.schema[name], self.snapshot.time(name)
        rows = rows.slice(0, int(np.searchsorted(times, self.at_us, side="right")))
        times = times[: rows.num_rows]
        columns = {}
        for column in table.columns:
            unknown = np.zeros(rows.num_rows, np.bool_)
            if (told_by := table.told_by(column)) is not None:
                unknown |= micros(rows[told_by]) > self.at_us
            if (name, column.name) in self.labels and table.time is not None:
                unknown |= ~clock.visible(times, self.at_us, strictly=True)
            cells = rows[column.name]
            columns[column.name] = (
                pc.if_else(pa.array(unknown), pa.scalar(None, cells.type), cells) if unknown.any() else cells
            )
        return pa.table(columns) if columns else rows
