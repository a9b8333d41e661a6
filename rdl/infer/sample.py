"""The rows that inference looks at, each read once."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from rdl.database.reader import Reader
from rdl.schema import Dtype, Schema

_UNREAD = (Dtype.binary, Dtype.list, Dtype.unknown, Dtype.json)


class Sample:
    """The first ``limit`` rows of each table, and whole columns where a sample would prove nothing."""

    def __init__(self, reader: Reader, schema: Schema, limit: int) -> None:
        self.reader, self.schema, self.limit = reader, schema, limit
        self._rows: dict[str, pa.Table] = {}
        self._columns: dict[tuple[str, tuple[str, ...]], pa.Table] = {}

    def rows(self, table: str) -> pa.Table:
        """At most ``limit`` rows, in the engine's order; columns of bytes, lists and JSON are left out."""
        if table not in self._rows:
            wanted = [column.name for column in self.schema[table].columns if column.dtype not in _UNREAD]
            batches = self.reader.read(table, wanted, limit=self.limit) if wanted else None
            self._rows[table] = batches.read_all() if batches else pa.table({})
        return self._rows[table]

    def is_whole(self, table: str) -> bool:
        """Whether :meth:`rows` holds every row of the table."""
        return bool(self.rows(table).num_rows < self.limit)

    def columns(self, table: str, names: Sequence[str]) -> pa.Table:
        """Every row of the columns ``names``."""
        if self.is_whole(table):
            return self.rows(table).select(list(names))
        key = (table, tuple(names))
        if key not in self._columns:
            self._columns[key] = self.reader.read(table, list(names)).read_all()
        return self._columns[key]
