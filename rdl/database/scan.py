"""Reading anything DuckDB can put after FROM: each column in the Arrow type of its Dtype, in batches."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from rdl.clock import NO_BEGINNING, NO_END, US_PER_DAY
from rdl.database.failures import explained
from rdl.database.types import ARROW_TYPES, STYPES, dtype_named
from rdl.schema import Column, Dtype, Stype

#: Rows of a batch, and its bytes, by which rows of wide text are fewer.
BATCH_ROWS = 16_384
_BATCH_BYTES = 2**26
#: Text that may be a time: the year comes first, so that no order of day and month is ever guessed.
ISO_TIME = r"^\s*\d{4}-\d{1,2}-\d{1,2}([ T].*)?$"
#: How text spells a time that is infinite or beyond the years 1 to 9999 (PostgreSQL writes ``0044-03-15 BC``).
_AFTER_ALL = r"(?i)^\s*\+?(infinity|\d{5,}-\d{1,2}-\d{1,2}([ T].*)?)\s*$"
_BEFORE_ALL = r"(?i)^\s*(-infinity|-\d{4,}-\d{1,2}-\d{1,2}.*|\d{4,}-\d{1,2}-\d{1,2}.*\sbc)\s*$"
#: The last and the first time of each type of DuckDB's that holds years beyond 1 to 9999.
_ENDS = {
    "DATE": ("DATE '9999-12-31'", "DATE '0001-01-01'"),
    "TIMESTAMP": (f"make_timestamp({NO_END})", f"make_timestamp({NO_BEGINNING})"),
    "TIMESTAMPTZ": ("TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'", "TIMESTAMPTZ '0001-01-01 00:00:00+00'"),
    "TIMESTAMP_S": ("TIMESTAMP_S '9999-12-31 23:59:59'", "TIMESTAMP_S '0001-01-01 00:00:00'"),
    "TIMESTAMP_MS": ("TIMESTAMP_MS '9999-12-31 23:59:59.999'", "TIMESTAMP_MS '0001-01-01 00:00:00'"),
    "TIMESTAMP_NS": (f"make_timestamp_ns({2**63 - 2})", f"make_timestamp_ns({2 - 2**63})"),
}
_MONTH_US = 2_629_800_000_000  # 30.4375 days, as rdl.clock counts a month
_NARROW = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_WIDE = {"HUGEINT", "UBIGINT", "UHUGEINT", "BIGNUM"}
_NANOS = {"TIMESTAMP_NS", "TIMESTAMPTZ_NS", "TIME_NS"}
#: Integers of up to so many digits fit 64 bits.
_INTEGER_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Scan:
    """What DuckDB reads: ``sql`` stands after FROM, ``types`` holds each column's type as DuckDB writes it.

    ``wanted`` overrides the storage type of some columns: those whose text or numbers are declared otherwise;
    ``tested`` says that every cell is known to fit.
    """

    sql: str
    types: Mapping[str, str]
    wanted: Mapping[str, Dtype]
    tested: bool = False

    def dtype(self, column: str) -> Dtype:
        """The storage type of ``column``."""
        return self.wanted.get(column) or duckdb_dtype(self.types[column])

    def dtypes(self) -> dict[str, Dtype]:
        """The storage type of every column."""
        return {column: self.dtype(column) for column in self.types}

    def only(self, columns: Iterable[str]) -> Scan:
        """The same with these columns alone."""
        return replace(self, types={column: self.types[column] for column in columns})


def quote(name: str) -> str:
    """``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def fold(name: str) -> str:
    """``name`` as SQLite and DuckDB compare names: ASCII letters in lower case, others as they are."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def literal(text: str) -> str:
    """``text`` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def duckdb_dtype(type_text: str) -> Dtype:
    """The storage type of a DuckDB type. A decimal without digits after the point is an integer.

    >>> duckdb_dtype("DECIMAL(18,3)"), duckdb_dtype("VARCHAR[]"), duckdb_dtype("STRUCT(a INTEGER)")
    (<Dtype.decimal: 'decimal'>, <Dtype.list: 'list'>, <Dtype.unknown: 'unknown'>)
    """
    if type_text.endswith("]"):
        element = _element(type_text)
        return Dtype.unknown if duckdb_dtype(element) in (Dtype.list, Dtype.unknown, Dtype.interval) else Dtype.list
    if re.fullmatch(r"DECIMAL\(\d+,\s*0\)", type_text):
        return Dtype.integer
    if type_text.split("(", maxsplit=1)[0] in ("BIT", "STRUCT", "MAP", "UNION"):
        return Dtype.unknown
    return dtype_named(type_text) or Dtype.unknown


def duckdb_stype(type_text: str) -> Stype:
    """The semantic type that a DuckDB type suggests: an ENUM is categorical, a fixed array of floats an embedding."""
    dtype = duckdb_dtype(type_text)
    if type_text.startswith("ENUM") and dtype is Dtype.text:
        return Stype.categorical
    if dtype is Dtype.list and duckdb_dtype(_element(type_text)) in (Dtype.float, Dtype.decimal):
        return Stype.unsupported if type_text.endswith("[]") else Stype.embedding
    return STYPES[dtype]


def exact_keys(types: Mapping[str, str], keys: Iterable[str], compared: Iterable[str]) -> dict[str, Dtype]:
    """The columns that are read as text, since no other storage type tells all their values apart: numbers of the
    ``keys``, and times in nanoseconds that a relation has ``compared`` with others.

    >>> exact_keys({"id": "DECIMAL(38,10)", "at": "TIMESTAMP_NS", "n": "DECIMAL(18,0)"}, ["id", "at", "n"], [])
    {'id': <Dtype.text: 'text'>}
    """
    numbers, times = set(keys), set(compared)
    return {
        column: Dtype.text
        for column, type_text in types.items()
        if (column in numbers and (type_text in _WIDE or _wide_decimal(type_text)))
        or (column in times and counts_nanos(type_text))
    }


def counts_nanos(type_text: str) -> bool:
    """Whether a DuckDB type is of times finer than a microsecond."""
    return type_text in _NANOS


def _wide_decimal(type_text: str) -> bool:
    found = re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", type_text)
    return found is not None and (found[2] != "0" or int(found[1]) > _INTEGER_DIGITS)


def columns_of(scan: Scan, *, keys: set[str], required: set[str]) -> tuple[Column, ...]:
    """The columns of ``scan``; those in ``keys`` are identifiers, those in ``required`` never NULL."""
    columns = []
    for name, type_text in scan.types.items():
        dtype = scan.dtype(name)
        suggested = STYPES[dtype] if name in scan.wanted else duckdb_stype(type_text)
        stype = Stype.identifier if name in keys else suggested
        columns.append(Column(name, dtype, stype, nullable=name not in required))
    return tuple(columns)


def _element(type_text: str) -> str:
    return type_text[: type_text.rindex("[")]


def timestamp_of(quoted: str, type_text: str) -> str:
    """SQL for ``quoted`` as TIMESTAMP in UTC, from ``clock.NO_BEGINNING`` to ``NO_END``; NULL where it is no time."""
    last, first = _ENDS["TIMESTAMP"]
    if type_text == "VARCHAR":
        moment = _clamped(_moment_of_text(quoted), *_ENDS["TIMESTAMP"])
        return (
            f"CASE WHEN regexp_matches({quoted}, {literal(ISO_TIME)}) AND NOT {_matches(quoted, _BEFORE_ALL)} "
            f"THEN {moment} WHEN {_matches(quoted, _AFTER_ALL)} THEN {last} "
            f"WHEN {_matches(quoted, _BEFORE_ALL)} THEN {first} END"
        )
    if type_text == "TIMESTAMPTZ_NS":
        return timestamp_of(f"timezone('UTC', {quoted})", "TIMESTAMP_NS")
    kind = _kind_of_time(type_text)
    after, before = _ENDS[kind]
    if kind == "TIMESTAMP_NS":  # a cast would round up, to a time that was not yet
        nanos = f"epoch_ns({quoted})"
        moment = f"make_timestamp(({nanos} - (({nanos} % 1000) + 1000) % 1000) // 1000)"
    else:
        moment = f"timezone('UTC', {quoted})" if kind == "TIMESTAMPTZ" else f"TRY_CAST({quoted} AS TIMESTAMP)"
    return f"CASE WHEN {quoted} > {after} THEN {last} WHEN {quoted} < {before} THEN {first} ELSE {moment} END"


def _kind_of_time(type_text: str) -> str:
    zoned = type_text in ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
    return "TIMESTAMPTZ" if zoned else type_text if type_text in _ENDS else "TIMESTAMP"


def _clamped(moment: str, last: str, first: str) -> str:
    return f"CASE WHEN {moment} > {last} THEN {last} WHEN {moment} < {first} THEN {first} ELSE {moment} END"


def _matches(quoted: str, pattern: str) -> str:
    return f"regexp_matches({quoted}, {literal(pattern)})"


def _moment_of_text(quoted: str) -> str:
    """SQL for ISO text as TIMESTAMP in UTC. A leap second is the first moment of the next minute."""
    leap = f"regexp_replace(trim({quoted}), '(\\d:\\d{{2}}):60(\\.\\d+)?', '\\1:59')"
    late = f"CASE WHEN contains({quoted}, ':60') THEN TRY_CAST({leap} AS TIMESTAMPTZ) + INTERVAL 1 SECOND END"
    return f"timezone('UTC', coalesce(TRY_CAST(trim({quoted}) AS TIMESTAMPTZ), {late}))"


def time_of(quoted: str) -> str:
    """SQL for ``quoted`` as TIME; the end of a day, 24:00:00, which no Arrow time is, is the microsecond before."""
    moment = f"TRY_CAST({quoted} AS TIME)"
    return f"CASE WHEN {moment} = TIME '24:00:00' THEN TIME '23:59:59.999999' ELSE {moment} END"


def time_filter(name: str, type_text: str, since_us: int) -> str:
    """SQL that holds where column ``name`` is ``since_us`` or later.

    A bare comparison of the column, where its type allows one, lets DuckDB skip whole row groups of a file.
    """
    quoted, since = quote(name), min(since_us, NO_END)
    if since > NO_BEGINNING:
        if type_text == "DATE":
            return f"{quoted} >= DATE '1970-01-01' + {-(-since // US_PER_DAY)}"
        if type_text == "TIMESTAMP":
            return f"{quoted} >= make_timestamp({since})"
        if _kind_of_time(type_text) == "TIMESTAMPTZ":
            return f"{quoted} >= timezone('UTC', make_timestamp({since}))"
        if type_text == "TIMESTAMP_NS" and abs(since * 1000) < 2**62:
            return f"{quoted} >= make_timestamp_ns({since * 1000})"
    return f"{timestamp_of(quoted, type_text)} >= make_timestamp({max(since, NO_BEGINNING)})"


def _since(scan: Scan, name: str, since: int) -> str:
    """SQL that holds where column ``name``, of times or of whole numbers, is ``since`` or more."""
    if scan.dtype(name) is Dtype.integer:
        return f"{_expression(name, scan.types[name], Dtype.integer)[0]} >= {int(since)}"
    return time_filter(name, scan.types[name], since)


def _interval(quoted: str) -> str:
    """SQL for ``quoted`` as microseconds; a month counts 30.4375 days."""
    months = f"(datepart('year', {quoted})::HUGEINT * 12 + datepart('month', {quoted})) * {_MONTH_US}"
    clock = f"datepart('hour', {quoted}) * 3600000000 + datepart('minute', {quoted}) * 60000000"
    whole = f"{months} + datepart('day', {quoted}) * 86400000000 + {clock} + datepart('microsecond', {quoted})"
    return f"TRY_CAST({whole} AS BIGINT)"


def _list(quoted: str, type_text: str) -> str:
    element = _element(type_text)
    if duckdb_dtype(element) in (Dtype.date, Dtype.timestamp):
        return f"list_transform({quoted}::{element}[], lambda x: {timestamp_of('x', element)})"
    targets = {Dtype.boolean: "BOOLEAN", Dtype.integer: "BIGINT", Dtype.decimal: "DOUBLE", Dtype.binary: "BLOB"}
    targets[Dtype.float] = element
    return f"TRY_CAST({quoted} AS {targets.get(duckdb_dtype(element), 'VARCHAR')}[])"


def _exact(quoted: str, type_text: str) -> str | None:
    """SQL for a number or a time of a key as text that is the same for all types; None for other types."""
    if type_text.startswith("DECIMAL("):
        text = f"CAST({quoted} AS VARCHAR)"
        if not _wide_decimal(type_text) or type_text.endswith((",0)", ", 0)")):
            return text
        return f"CASE WHEN {quoted} = 0 THEN '0' ELSE rtrim(rtrim({text}, '0'), '.') END"
    if type_text.startswith("TIMESTAMP") or type_text == "DATE":
        zoned = _kind_of_time(type_text) == "TIMESTAMPTZ" or type_text == "TIMESTAMPTZ_NS"
        moment = f"timezone('UTC', {quoted})" if zoned else quoted
        return f"coalesce(CAST(TRY_CAST({moment} AS TIMESTAMP_NS) AS VARCHAR), CAST({moment} AS VARCHAR))"
    return None


def _expression(name: str, type_text: str, dtype: Dtype) -> tuple[str, bool]:
    """SQL for one column in the form of its ``dtype``, and whether a value can get lost on the way."""
    quoted = quote(name)
    if dtype is Dtype.text and (exact := _exact(quoted, type_text)):
        return exact, False
    if dtype in (Dtype.date, Dtype.timestamp):
        return timestamp_of(quoted, type_text), True
    if dtype is Dtype.interval:
        return (_interval(quoted), True) if type_text == "INTERVAL" else ("NULL::BIGINT", True)
    if dtype is Dtype.time:
        return time_of(quoted), True
    if dtype is Dtype.list:
        return _list(quoted, type_text), True
    if dtype is Dtype.integer and type_text in ("DOUBLE", "FLOAT"):
        return f"CASE WHEN {quoted} = trunc({quoted}) THEN TRY_CAST({quoted} AS BIGINT) END", True
    target = {
        Dtype.boolean: "BOOLEAN",
        Dtype.integer: "BIGINT",
        Dtype.float: "DOUBLE",
        Dtype.decimal: "DOUBLE",
        Dtype.binary: "BLOB",
    }.get(dtype, "VARCHAR")
    if target == type_text:
        return quoted, False
    return f"TRY_CAST({quoted} AS {target})", type_text not in _NARROW


def describe(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, str]:
    """The DuckDB type of each column of what stands after FROM."""
    rows = connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {sql})").fetchall()
    return {str(name): str(type_text) for name, type_text in rows}


def prepare(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """``connection`` with times in UTC and without sight of Python's variables."""
    connection.execute("SET TimeZone = 'UTC'; SET python_enable_replacements = false")
    return connection


def _batch_rows(connection: duckdb.DuckDBPyConnection, scan: Scan, columns: Sequence[str]) -> int:
    """How many rows like the first hundred make a batch."""
    sizes = {"VARCHAR": "strlen({})", "JSON": "strlen({})", "BLOB": "octet_length({})"}
    told = [sizes[scan.types[name]].format(quote(name)) for name in columns if scan.types[name] in sizes]
    if not told:
        return BATCH_ROWS
    total = " + ".join(f"coalesce({size}, 0)" for size in told)
    found = connection.execute(f"SELECT avg({total}) FROM (FROM {scan.sql} LIMIT 100)").fetchall()[0][0]
    return max(1, min(BATCH_ROWS, int(_BATCH_BYTES / max(found or 1, 1))))


def stream(
    connection: duckdb.DuckDBPyConnection,
    scan: Scan,
    columns: Sequence[str],
    *,
    limit: int | None,
    since: tuple[str, int] | None,
    lost: Callable[[str, int], None],
    doing: str,
) -> pa.RecordBatchReader:
    """The rows of ``scan`` as Arrow; closes ``connection`` when the last one was read.

    After the last batch ``lost`` is told, for each column with such, how many cells became NULL for not fitting.
    Raises DatabaseError "``doing``: …", here or while batches are read.
    """
    planned = {name: _expression(name, scan.types[name], scan.dtype(name)) for name in columns}
    tail = "" if since is None else f" WHERE {_since(scan, *since)}"
    tail += "" if limit is None else f" LIMIT {int(limit)}"
    chosen = ", ".join(f"{sql} AS {quote(name)}" for name, (sql, _) in planned.items())
    with explained(doing):
        # A column that nobody asked for keeps the number of rows where no column is chosen.
        source = connection.sql(f"SELECT {chosen or 'NULL'} FROM {scan.sql}{tail}").to_arrow_reader(
            _batch_rows(connection, scan, columns)
        )
    types = [
        found.type if scan.dtype(name) is Dtype.list else ARROW_TYPES[scan.dtype(name)]
        for name, found in zip(columns, source.schema, strict=False)
    ]
    schema = pa.schema(list(zip(columns, types, strict=True)))

    def batches() -> Iterator[pa.RecordBatch]:
        nulls = dict.fromkeys(columns, 0)
        try:
            with explained(doing):
                for batch in source:
                    arrays = [array.cast(type_) for array, type_ in zip(batch.columns, types, strict=False)]
                    for name, array in zip(columns, arrays, strict=True):
                        nulls[name] += array.null_count
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)
                lossy = [
                    name for name, (_, can_lose) in planned.items() if can_lose and nulls[name] and not scan.tested
                ]
                for name, cells in _count_lost(connection, scan.sql, lossy, nulls, tail).items():
                    lost(name, cells)
        finally:
            source.close()
            connection.close()

    return pa.RecordBatchReader.from_batches(schema, batches())


def _count_lost(
    connection: duckdb.DuckDBPyConnection, sql: str, columns: list[str], nulls: dict[str, int], tail: str
) -> dict[str, int]:
    """By column, how many more NULLs were read than there are."""
    if not columns:
        return {}
    counted = ", ".join(f"count(*) - count({quote(name)})" for name in columns)
    chosen = ", ".join(quote(name) for name in columns)
    found = connection.execute(f"SELECT {counted} FROM (SELECT {chosen} FROM {sql}{tail})").fetchall()[0]
    lost = {name: nulls[name] - missing for name, missing in zip(columns, found, strict=True)}
    return {name: count for name, count in lost.items() if count > 0}
