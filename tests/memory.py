"""Databases that stand in memory, for tests that need rows and no engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rdl.database.reader import IfExists
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath
from rdl.snapshot import Snapshot, build

_TYPES = [
    (pa.types.is_boolean, Dtype.boolean, Stype.categorical),
    (pa.types.is_integer, Dtype.integer, Stype.numerical),
    (pa.types.is_floating, Dtype.float, Stype.numerical),
    (pa.types.is_timestamp, Dtype.timestamp, Stype.timestamp),
    (pa.types.is_string, Dtype.text, Stype.categorical),
]


class MemoryReader:
    """A reader of Arrow tables in memory. ``reads`` are the tables read so far, ``version`` the state of the data."""

    url, name, version = "memory:shop", "shop", "1"
    parallel_reads = 1
    warnings: Sequence[str] = ()

    def __init__(
        self,
        tables: Mapping[str, pa.Table],
        *,
        keys: Mapping[str, str] | None = None,
        times: Mapping[str, str] | None = None,
        relations: Sequence[tuple[str, str, str]] = (),
        known_at: Mapping[str, str] | None = None,
        rows_a_batch: int | None = None,
    ) -> None:
        """``relations`` are (child, column, parent); ``known_at`` says, for a column of any table, when it is known."""
        self.tables, self.rows_a_batch = dict(tables), rows_a_batch
        self.repairs: dict[tuple[str, str], int] = {}
        self.reads: list[str] = []
        keys, times, known_at = keys or {}, times or {}, known_at or {}
        identifiers = {(child, column) for child, column, _ in relations} | set(keys.items())

        def described(table: str, field: pa.Field) -> Column:
            kinds = ((dtype, stype) for fits, dtype, stype in _TYPES if fits(field.type))
            dtype, stype = next(kinds, (Dtype.unknown, Stype.unsupported))
            stype = Stype.identifier if (table, field.name) in identifiers else stype
            return Column(field.name, dtype, stype, known_at=known_at.get(field.name))

        self.schema = Schema(
            {
                name: Table(
                    name,
                    tuple(described(name, field) for field in rows.schema),
                    (keys[name],) if name in keys else (),
                    TimePath(times[name]) if name in times else None,
                )
                for name, rows in tables.items()
            },
            tuple(Relation(child, (key,), parent, (keys[parent],)) for child, key, parent in relations),
        )

    def reflect(self) -> Schema:
        return self.schema

    def count(self, table: str) -> int:
        return int(self.tables[table].num_rows)

    @contextlib.contextmanager
    def consistent(self) -> Iterator[None]:
        yield

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        limit: int | None = None,
        since: tuple[str, int] | None = None,
    ) -> pa.RecordBatchReader:
        self.reads.append(table)
        rows = self.tables[table]
        if since is not None:
            rows = rows.filter(pc.greater_equal(rows[since[0]].cast(pa.timestamp("us")).cast(pa.int64()), since[1]))
        rows = rows.select(list(columns)) if columns is not None else rows
        batches = rows.slice(0, limit).to_batches(max_chunksize=self.rows_a_batch)
        return pa.RecordBatchReader.from_batches(rows.schema, batches)

    def fingerprint(self) -> str:
        return self.version

    def write(
        self,
        table: str,
        rows: pa.Table,
        *,
        if_exists: IfExists = "fail",
        like: Mapping[str, tuple[str, str]] | None = None,
    ) -> int:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def snapshot(self, folder: Path) -> Snapshot:
        """The snapshot of the whole, in the new folder ``folder``."""
        return build(self, self.schema, folder)
