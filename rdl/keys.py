"""Keys to row numbers: a look-up that never yields a wrong edge, nor one edge twice."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

Rows = npt.NDArray[np.int32]

#: A join of more rows than this has an engine of its own, which spills to disk beyond ``_JOIN_MEMORY``.
_LARGE = 1_000_000
_JOIN_MEMORY = "1GB"
#: Integers are looked up in an array where it has at most this many places a row.
_PLACES_A_ROW = 4


@dataclass(frozen=True, slots=True)
class Match:
    """Keys looked up: ``rows`` [keys] the row each names (-1: none), ``dangling`` of the ``filled`` keys (no part
    NULL) name none; ``duplicates`` rows of the table looked up in repeat the key of an earlier row."""

    rows: Rows
    filled: int
    dangling: int
    duplicates: int


def match(keys: pa.Table, known: pa.Table, *, spill: Path | None = None) -> Match:
    """Looks each row of ``keys`` up among the rows of ``known``, column by column in their order.

    A key matches where every part is equal and none is NULL or NaN; the first of several equal rows wins. Parts of
    different types are compared by value: numbers as numbers, a number and text by the number's plain decimal
    text (7 is ``'7'``, not ``'007'``), text and a time as times. What cannot be compared does not match. What does not
    fit into memory goes to files in the folder ``spill``.
    """
    if keys.num_columns == 1 and _signed(keys.schema.types[0]) and (places := _Places.of(known.column(0))):
        return places.match(keys.column(0))
    return join(keys, known, spill=spill)


class _Places:
    """The first row of each integer in an array that begins with the smallest: an address instead of a hash."""

    def __init__(self, known: pa.ChunkedArray, low: int, high: int) -> None:
        self.low, self.first = low, np.full(high - low + 1, -1, np.int32)
        filled, end = 0, len(known)
        for chunk in reversed(known.chunks):  # of equal places the last assigned stays: the first row
            start = end - len(chunk)
            values, there = _integers(chunk)
            rows = np.arange(start, end, dtype=np.int32)
            if there is not None:
                values, rows = values[there], rows[there]
            self.first[values[::-1] - low] = rows[::-1]
            filled, end = filled + len(rows), start
        self.duplicates = filled - int(np.count_nonzero(self.first >= 0))

    @staticmethod
    def of(known: pa.ChunkedArray) -> _Places | None:
        """None where ``known`` is not of integers, or of ones too far apart."""
        if not _signed(known.type):
            return None
        low, high = None, None
        for chunk in known.chunks:
            values, there = _integers(chunk)
            values = values if there is None else values[there]
            if len(values):
                low = int(values.min()) if low is None else min(low, int(values.min()))
                high = int(values.max()) if high is None else max(high, int(values.max()))
        if low is None or high is None or high - low >= _PLACES_A_ROW * len(known) + 1024:
            return None
        return _Places(known, low, high)

    def match(self, keys: pa.ChunkedArray) -> Match:
        """The keys, which are integers, looked up."""
        rows, start, filled = np.full(len(keys), -1, np.int32), 0, 0
        for chunk in keys.chunks:
            values, there = _integers(chunk)
            # What is below the smallest wraps around to a large number, so one comparison checks both ends.
            place = (values - np.int64(self.low)).view(np.uint64)
            inside = place < len(self.first) if there is None else (place < len(self.first)) & there
            found = rows[start : start + len(chunk)]
            found[inside] = self.first[place[inside]]
            filled += len(chunk) - chunk.null_count
            start += len(chunk)
        return Match(rows, filled, filled - int(np.count_nonzero(rows >= 0)), self.duplicates)


def _signed(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_signed_integer(dtype))


def _integers(chunk: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_] | None]:
    """The values as int64, 0 where NULL, and where they are not NULL (None: everywhere)."""
    if not chunk.null_count:
        return np.asarray(chunk.to_numpy(zero_copy_only=False), np.int64), None
    there = chunk.is_valid().to_numpy(zero_copy_only=False)
    return np.asarray(chunk.fill_null(0).to_numpy(zero_copy_only=False), np.int64), there


def join(keys: pa.Table, known: pa.Table, *, spill: Path | None = None) -> Match:
    """What :func:`match` says, for keys of any types and widths, by DuckDB's hash join."""
    pairs = [(own.type, other.type) for own, other in zip(keys.columns, known.columns, strict=True)]
    parts = range(len(pairs))
    named = [f"k{part}" for part in parts]
    with session() if keys.num_rows + known.num_rows < _LARGE or spill is None else _spilling(spill) as connection:
        connection.register("keys", _numbered(keys, named))
        connection.register("known", _numbered(known, named))
        key = ", ".join(f"{_comparable(f'k{i}', *pairs[i])} AS k{i}" for i in parts)
        row = ", ".join(f"{_comparable(f'k{i}', *reversed(pairs[i]))} AS k{i}" for i in parts)
        whole = " AND ".join(f"k{i} IS NOT NULL" for i in parts)
        all_parts = ", ".join(named)
        connection.execute(
            f"CREATE TEMP TABLE firsts AS SELECT {all_parts}, min(row) AS row, count(*) AS n "
            f"FROM (SELECT {row}, row FROM known) WHERE {whole} GROUP BY {all_parts}"
        )
        filled = _scalar(connection, f"SELECT count(*) FROM keys WHERE {whole}")
        duplicates = _scalar(connection, "SELECT coalesce(sum(n - 1), 0) FROM firsts")
        rows, linked = np.full(keys.num_rows, -1, np.int32), 0
        if filled:
            found = connection.sql(
                f"SELECT keys.row AS key, firsts.row AS row FROM (SELECT {key}, row FROM keys) keys "
                f"JOIN firsts USING ({all_parts})"
            )
            for batch in found.to_arrow_reader(100_000):
                rows[batch.column("key").to_numpy()] = batch.column("row").to_numpy()
                linked += batch.num_rows
    return Match(rows, filled, filled - linked, duplicates)


def session() -> duckdb.DuckDBPyConnection:
    """A new session, with nothing in it, of this process's one in-memory DuckDB: starting it costs 50 ms, this 1."""
    return _engine(os.getpid()).cursor()


@functools.cache
def _engine(process: int) -> duckdb.DuckDBPyConnection:
    """One engine a process: a fork cannot use its parent's threads."""
    return duckdb.connect(config={"python_enable_replacements": "false"})


def _spilling(folder: Path) -> duckdb.DuckDBPyConnection:
    """An engine that takes no more than ``_JOIN_MEMORY`` and puts the rest into ``folder``."""
    limits = {
        "memory_limit": _JOIN_MEMORY,
        "temp_directory": str(folder / "spill"),
        "preserve_insertion_order": "false",
    }
    return duckdb.connect(config={"python_enable_replacements": "false", **limits})


def _comparable(column: str, own: pa.DataType, other: pa.DataType) -> str:
    """SQL for ``column`` of Arrow type ``own`` in the form in which it is compared with one of type ``other``."""
    kind, against = _family(own), _family(other)
    integral = f"CASE WHEN {column} = trunc({column}) THEN TRY_CAST({column} AS HUGEINT) END"
    match kind, against:
        case "real", "real":
            return f"CASE WHEN NOT isnan(CAST({column} AS DOUBLE)) THEN CAST({column} AS DOUBLE) END"
        case "integer", "integer" | "real":
            return f"CAST({column} AS HUGEINT)"
        case "real", "integer":
            return integral
        case "integer", "text":
            return f"CAST(CAST({column} AS HUGEINT) AS VARCHAR)"
        case "real", "text":
            return f"coalesce(CAST({integral} AS VARCHAR), CAST({column} AS VARCHAR))"
        case ("time", "time" | "text") | ("text", "time"):
            return f"TRY_CAST({column} AS TIMESTAMP)"
        case "text", "binary":
            return f"encode({column})"
        case ("text", "integer" | "real" | "text") | ("binary", "text"):
            return column
        case _:
            return column if own == other and kind != "null" else "CAST(NULL AS VARCHAR)"


def _family(dtype: pa.DataType) -> str:
    is_ = pa.types
    if is_.is_integer(dtype) or is_.is_boolean(dtype):
        return "integer"
    if is_.is_floating(dtype) or is_.is_decimal(dtype):
        return "real"
    if is_.is_string(dtype) or is_.is_large_string(dtype) or is_.is_string_view(dtype):
        return "text"
    if is_.is_timestamp(dtype) or is_.is_date(dtype):
        return "time"
    if is_.is_binary(dtype) or is_.is_large_binary(dtype):
        return "binary"
    return "null" if is_.is_null(dtype) else "other"


def _numbered(table: pa.Table, names: Sequence[str]) -> pa.Table:
    return pa.table([*table.columns, pa.array(np.arange(table.num_rows, dtype=np.int32))], names=[*names, "row"])


def _scalar(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.execute(sql).fetchall()[0][0])


def quote(name: str) -> str:
    """``name`` as a quoted SQL identifier of DuckDB."""
    return '"' + name.replace('"', '""') + '"'
