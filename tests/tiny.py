"""Small databases in memory, for tests that need rows and no engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

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
    """A reader of Arrow tables in memory."""

    url, name = "memory:", "memory"

    def __init__(
        self,
        tables: Mapping[str, pa.Table],
        *,
        keys: Mapping[str, str],
        times: Mapping[str, str],
        relations: Sequence[tuple[str, str, str]],
        known_at: Mapping[str, str] | None = None,
    ) -> None:
        """``relations`` are (child, column, parent); ``known_at`` says, for a column of any table, when it is known."""
        self.tables, self.repairs = dict(tables), {}
        self.known_at = known_at or {}
        identifiers = {(child, column) for child, column, _ in relations} | set(keys.items())
        self.schema = Schema(
            {
                name: Table(
                    name,
                    tuple(self._column(name, field, identifiers) for field in table.schema),
                    (keys[name],) if name in keys else (),
                    TimePath(times[name]) if name in times else None,
                )
                for name, table in tables.items()
            },
            tuple(Relation(child, (column,), parent, (keys[parent],)) for child, column, parent in relations),
        )

    def _column(self, table: str, field: pa.Field, identifiers: set[tuple[str, str]]) -> Column:
        dtype, stype = next((dtype, stype) for fits, dtype, stype in _TYPES if fits(field.type))
        stype = Stype.identifier if (table, field.name) in identifiers else stype
        return Column(field.name, dtype, stype, known_at=self.known_at.get(field.name))

    def reflect(self) -> Schema:
        return self.schema

    def count(self, table: str) -> int:
        return int(self.tables[table].num_rows)

    def read(
        self, table: str, columns: Sequence[str] | None = None, *, limit: int | None = None
    ) -> pa.RecordBatchReader:
        rows = self.tables[table] if columns is None else self.tables[table].select(list(columns))
        return (rows if limit is None else rows.slice(0, limit)).to_reader()

    def fingerprint(self) -> str:
        return "memory"

    def close(self) -> None:
        pass

    def snapshot(self, folder: Path) -> Snapshot:
        """The snapshot of the whole, in the new folder ``folder``."""
        return build(self, self.schema, folder)
