"""Keys to row numbers: a hash join that never yields a wrong edge, nor one edge twice."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Match:
    """Keys looked up: ``rows`` [keys] the row each names (-1: none), ``dangling`` of the ``filled`` keys (no part
    NULL) name none; ``duplicates`` rows of the table looked up in repeat the key of an earlier row."""

    rows: Rows
    filled: int
    dangling: int
    duplicates: int


def match(keys: pa.Table, known: pa.Table) -> Match:
    """Looks each row of ``keys`` up among the rows of ``known``, column by column in their order.

    A key matches where every part is equal and none is NULL or NaN; the first of several equal rows wins. Parts of
    different types are compared by value: numbers as numbers, a number and text by the number's plain decimal
    text (7 is ``'7'``, not ``'007'``), text and a time as times. What cannot be compared does not match.
    """
    pairs = [(own.type, other.type) for own, other in zip(keys.columns, known.columns, strict=True)]
    parts = range(len(pairs))
    named = [f"k{part}" for part in parts]
    with session() as connection:
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
        found = connection.execute(
            f"SELECT keys.row AS key, firsts.row AS row FROM (SELECT {key}, row FROM keys) keys "
            f"JOIN firsts USING ({all_parts})"
        ).fetchnumpy()
        filled = _scalar(connection, f"SELECT count(*) FROM keys WHERE {whole}")
        duplicates = _scalar(connection, "SELECT coalesce(sum(n - 1), 0) FROM firsts")
    rows = np.full(keys.num_rows, -1, np.int64)
    rows[found["key"]] = found["row"]
    return Match(rows, filled, filled - len(found["key"]), duplicates)


def session() -> duckdb.DuckDBPyConnection:
    """A new session, with nothing in it, of this process's one in-memory DuckDB: starting it costs 50 ms, this 1."""
    return _engine(os.getpid()).cursor()


@functools.cache
def _engine(process: int) -> duckdb.DuckDBPyConnection:
    """One engine a process: a fork cannot use its parent's threads."""
    return duckdb.connect(config={"python_enable_replacements": "false"})


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
    return pa.table([*table.columns, pa.array(np.arange(table.num_rows))], names=[*names, "row"])


def _scalar(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    found = connection.execute(sql).fetchone()
    return int(found[0]) if found else 0


def quote(name: str) -> str:
    """``name`` as a quoted SQL identifier of DuckDB."""
    return '"' + name.replace('"', '""') + '"'
