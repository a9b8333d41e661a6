"""A database that stands in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from rdl.database.reader import IfExists
from rdl.schema import Schema


class MemoryReader:
    """A reader over Arrow tables."""

    def __init__(self, tables: Mapping[str, pa.Table], *, rows_a_batch: int = 3) -> None:
        self.tables, self.rows_a_batch = dict(tables), rows_a_batch
        self.url, self.name, self.repairs, self.version = "memory:shop", "shop", {}, "1"
        self.reads: list[str] = []

    def reflect(self) -> Schema:
        raise NotImplementedError

    def count(self, table: str) -> int:
        return int(self.tables[table].num_rows)

    def read(
        self, table: str, columns: Sequence[str] | None = None, *, limit: int | None = None
    ) -> pa.RecordBatchReader:
        self.reads.append(table)
        rows = self.tables[table].select(list(columns)) if columns else self.tables[table]
        return pa.RecordBatchReader.from_batches(
            rows.schema, rows.slice(0, limit).to_batches(max_chunksize=self.rows_a_batch)
        )

    def fingerprint(self) -> str:
        return self.version

    def write(self, table: str, rows: pa.Table, *, if_exists: IfExists = "fail") -> int:
        raise NotImplementedError

    def close(self) -> None:
        pass
