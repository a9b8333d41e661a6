"""A snapshot of rows given in Python."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from rdl.schema import Dtype, Schema
from rdl.snapshot import Snapshot, build
from tests.memory import MemoryReader

_ARROW = {
    Dtype.integer: pa.int64(),
    Dtype.float: pa.float64(),
    Dtype.boolean: pa.bool_(),
    Dtype.text: pa.string(),
    Dtype.timestamp: pa.timestamp("us"),
}


@contextmanager
def snapshot_of(schema: Schema, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Snapshot]:
    """A snapshot of ``rows`` by table, deleted afterwards."""
    tables = {
        name: pa.table({
            column.name: pa.array([row[column.name] for row in rows.get(name, ())], _ARROW[column.dtype])
            for column in table.columns
        })
        for name, table in schema.tables.items()
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        yield build(MemoryReader(tables), schema, Path(folder) / "snapshot")
