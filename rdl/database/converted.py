"""Times that are stored as numbers since 1970 or as text: a reader that shows them as the times they are."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from rdl.clock import NO_BEGINNING, NO_END
from rdl.database.cells import CellParser
from rdl.database.reader import IfExists, Reader
from rdl.errors import SchemaError
from rdl.schema import Dtype, Schema

#: How many of a unit are a second.
_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_US = pa.timestamp("us")


def formats_of(schema: Schema) -> dict[tuple[str, str], str]:
    """The time formats that ``schema`` names, by (table, column)."""
    return {
        (table.name, column.name): column.time_format
        for table in schema.tables.values()
        for column in table.columns
        if column.time_format is not None
    }


def with_formats(schema: Schema, formats: Mapping[tuple[str, str], str]) -> Schema:
    """``schema``, as reflected, with the columns of ``formats`` as times. Raises SchemaError where one is not there or
    cannot hold such times."""
    tables = dict(schema.tables)
    for (table, column), time_format in formats.items():
        changed = schema[table][column].as_time(time_format)
        columns = tuple(changed if other.name == column else other for other in tables[table].columns)
        tables[table] = replace(tables[table], columns=columns)
    return Schema(tables, schema.relations)


class ConvertedReader:
    """``reader`` with some columns read as times: ``formats`` says by (table, column) how they are stored.

    A cell that is no time becomes NULL and is counted in ``repairs``. All else, what the reader has beyond a
    :class:`Reader` included, is the reader's own.
    """

    def __init__(self, reader: Reader, formats: Mapping[tuple[str, str], str]) -> None:
        self._reader, self._formats = reader, dict(formats)
        self.url, self.name, self.parallel_reads = reader.url, reader.name, reader.parallel_reads
        self.warnings = reader.warnings
        self._reflected: Schema | None = None
        self._lost: dict[tuple[str, str], int] = {}
        self.repairs: Mapping[tuple[str, str], int] = ChainMap(
            self._lost, cast("dict[tuple[str, str], int]", reader.repairs)
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._reader, name)

    def reflect(self) -> Schema:
        """As :meth:`rdl.database.reader.Reader.reflect` says, with the converted columns as times. Raises SchemaError
        where one is not there or cannot hold such times."""
        self._reflected = self._reader.reflect()
        self.warnings = self._reader.warnings
        return with_formats(self._reflected, self._formats)

    def count(self, table: str) -> int:
        """The number of rows of ``table``."""
        return self._reader.count(table)

    def consistent(self) -> AbstractContextManager[None]:
        """As :meth:`rdl.database.reader.Reader.consistent` says."""
        return self._reader.consistent()

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        limit: int | None = None,
        since: tuple[str, int] | None = None,
    ) -> pa.RecordBatchReader:
        """As :meth:`rdl.database.reader.Reader.read` says. By a column of text or of numbers with a point, ``since``
        keeps what is that late once all rows are read. Raises SchemaError where a column holds no such times."""
        formats = {column: said for (name, column), said in self._formats.items() if name == table}
        if since is None or since[0] not in formats:
            batches = self._reader.read(table, columns, limit=limit, since=since)
            return self._converted(table, batches, formats, batches.schema.names, None, None)
        asked = columns if columns is None or since[0] in columns else [*columns, since[0]]
        batches = self._reader.read(table, asked, since=self._stored_since(table, *since))
        wanted = batches.schema.names if columns is None else list(columns)
        return self._converted(table, batches, formats, wanted, since, limit)

    def _stored_since(self, table: str, column: str, since_us: int) -> tuple[str, int] | None:
        """What to ask the reader for, to be given at least the rows that late: None for all."""
        time_format = self._formats[table, column]
        if time_format == "iso" or since_us <= NO_BEGINNING:
            return None
        if self._reflected is None:
            self._reflected = self._reader.reflect()
        if self._reflected[table][column].dtype is not Dtype.integer:
            return None
        stored = -(-min(since_us, NO_END) * _A_SECOND[time_format] // 10**6)  # rounded up
        return column, min(stored, 2**63 - 1)

    def _converted(
        self,
        table: str,
        source: pa.RecordBatchReader,
        formats: Mapping[str, str],
        wanted: Sequence[str],
        since: tuple[str, int] | None,
        limit: int | None,
    ) -> pa.RecordBatchReader:
        for field in source.schema:
            if field.name in formats:
                _check(table, field, formats[field.name])
        types = {field.name: _US if field.name in formats else field.type for field in source.schema}
        schema = pa.schema([(name, types[name]) for name in wanted])

        def batches() -> Iterator[pa.RecordBatch]:
            parser, lost, left = CellParser(), dict.fromkeys(formats, 0), limit
            with source:
                for batch in source:
                    arrays = dict(zip(source.schema.names, batch.columns, strict=True))
                    for name in formats.keys() & arrays.keys():
                        found = to_times(arrays[name], formats[name], parser)
                        lost[name] += found.null_count - arrays[name].null_count
                        arrays[name] = found
                    rows = pa.RecordBatch.from_arrays([arrays[name] for name in wanted], schema=schema)
                    if since is not None:
                        rows = rows.filter(pc.greater_equal(arrays[since[0]].cast(pa.int64()), since[1]))
                    if left is not None:
                        rows = rows.slice(0, left)
                        left -= rows.num_rows
                    yield rows
                    if left == 0:
                        break
            self._note_lost(table, lost)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def _note_lost(self, table: str, lost: Mapping[str, int]) -> None:
        """Notes the cells that are no times, beside those that the reader could not read; the most seen is kept."""
        for column, cells in lost.items():
            if cells > 0:
                both = cells + self._reader.repairs.get((table, column), 0)
                self._lost[table, column] = max(both, self._lost.get((table, column), 0))

    def fingerprint(self) -> str:
        """As :meth:`rdl.database.reader.Reader.fingerprint` says."""
        return self._reader.fingerprint()

    def write(
        self,
        table: str,
        rows: pa.Table,
        *,
        if_exists: IfExists = "fail",
        like: Mapping[str, tuple[str, str]] | None = None,
    ) -> int:
        """As :meth:`rdl.database.reader.Reader.write` says; a key that is a converted time is written as a time."""
        stored = {name: column for name, column in (like or {}).items() if column not in self._formats}
        return self._reader.write(table, rows, if_exists=if_exists, like=stored)

    def close(self) -> None:
        """Lets go of the connection."""
        self._reader.close()


def _check(table: str, field: pa.Field, time_format: str) -> None:
    is_ = pa.types
    number = is_.is_integer(field.type) or is_.is_floating(field.type)
    if not (is_.is_string(field.type) if time_format == "iso" else number):
        raise SchemaError(
            f"{table}.{field.name} is read as {field.type}, and time_format = {time_format!r} is of "
            f"{'text' if time_format == 'iso' else 'numbers'}",
            hint="correct time_format in the schema file; a run is bound to how the column was stored: train it anew.",
        )


def to_times(cells: pa.Array, time_format: str, parser: CellParser) -> pa.Array:
    """``cells`` as timestamp[us], UTC. Parts of a microsecond are cut off, of numbers with a point rounded; what lies
    beyond the years 1 to 9999 is ``clock.NO_END`` or ``NO_BEGINNING``, and what is no time NULL.

    >>> to_times(pa.array([-1, None, 2**60]), "ms", CellParser()).to_pylist()[0].isoformat()
    '1969-12-31T23:59:59.999000'
    """
    if time_format == "iso":
        return parser.parse(cells, Dtype.timestamp)
    a_second = _A_SECOND[time_format]
    micros = _of_floats if pa.types.is_floating(cells.type) else _of_integers
    return micros(cells, a_second).cast(_US)


def _of_integers(cells: pa.Array, a_second: int) -> pa.Array:
    cells = cells.cast(pa.int64())
    if a_second > 10**6:
        many = a_second // 10**6
        whole = pc.divide(cells, many)  # towards zero, and an earlier time is to stay one
        return pc.subtract(whole, pc.less(cells, pc.multiply(whole, many)).cast(pa.int64()))
    factor = 10**6 // a_second
    last, first = NO_END // factor, NO_BEGINNING // factor
    within = pc.min_element_wise(pc.max_element_wise(cells, first, skip_nulls=False), last, skip_nulls=False)
    return _clamped(pc.multiply(within, factor), pc.greater(cells, last), pc.less(cells, first))


def _of_floats(cells: pa.Array, a_second: int) -> pa.Array:
    cells = cells.cast(pa.float64())
    cells = pc.if_else(pc.is_nan(cells), pa.scalar(None, pa.float64()), cells)
    scaled = pc.multiply(cells, 1e6 / a_second) if a_second <= 10**6 else pc.divide(cells, a_second / 1e6)
    after, before = pc.greater_equal(scaled, float(NO_END + 1)), pc.less(scaled, float(NO_BEGINNING))
    within = pc.if_else(pc.or_(after, before), 0.0, scaled)
    return _clamped(pc.round(within).cast(pa.int64()), after, before)


def _clamped(micros: pa.Array, after: pa.Array, before: pa.Array) -> pa.Array:
    micros = pc.if_else(after, pa.scalar(NO_END, pa.int64()), micros)
    return pc.if_else(before, pa.scalar(NO_BEGINNING, pa.int64()), micros)
