"""A snapshot of rows given in Python."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from rdl import snapshot as snapshots
from rdl.database.reader import IfExists
from rdl.schema import Dtype, Schema
from rdl.snapshot import Snapshot

_ARROW = {
    Dtype.integer: pa.int64(),
    Dtype.float: pa.float64(),
    Dtype.boolean: pa.bool_(),
    Dtype.text: pa.string(),
    Dtype.timestamp: pa.timestamp("us"),
}


class MemoryReader:
    """A database of Python rows."""

    url = "memory:"
    name = "memory"

    def __init__(self, schema: Schema, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self.repairs: dict[tuple[str, str], int] = {}
        self._schema = schema
        self._tables = {
            name: pa.table({
                column.name: pa.array([row[column.name] for row in rows.get(name, ())], _ARROW[column.dtype])
                for column in table.columns
            })
            for name, table in schema.tables.items()
        }  # fmt: skip

    def reflect(self) -> Schema:
        return self._schema

    def count(self, table: str) -> int:
        return int(self._tables[table].num_rows)

    def read(
        self, table: str, columns: Sequence[str] | None = None, *, limit: int | None = None
    ) -> pa.RecordBatchReader:
        found = self._tables[table].select(list(columns)) if columns is not None else self._tables[table]
        return found.slice(0, limit).to_reader()

    def fingerprint(self) -> str:
        return str(id(self))

    def write(self, table: str, rows: pa.Table, *, if_exists: IfExists = "fail") -> int:
        raise NotImplementedError

    def close(self) -> None:
        return


@contextmanager
def snapshot_of(schema: Schema, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Snapshot]:
    """A snapshot of ``rows`` by table, deleted afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield snapshots.build(MemoryReader(schema, rows), schema, Path(folder) / "snapshot")
