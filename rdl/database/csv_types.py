"""The columns of CSV files: names from the first line, types from every cell of the file."""

from __future__ import annotations

import csv
from pathlib import Path

import duckdb

from rdl.database.scan import ISO_TIME, literal, quote
from rdl.errors import DatabaseError
from rdl.schema import Dtype

_DELIMITERS = ",;\t|"
#: What every cell of a column of the type looks like, narrowest first. Digits with a leading zero are a code.
_TESTS: dict[Dtype, str] = {
    Dtype.boolean: "lower({0}) IN ('true', 'false')",
    Dtype.integer: "regexp_matches({0}, '^[+-]?(0|[1-9][0-9]*)$') AND TRY_CAST({0} AS BIGINT) IS NOT NULL",
    Dtype.float: "regexp_matches({0}, '^[+-]?((0|[1-9][0-9]*)(\\.[0-9]*)?|\\.[0-9]+)([eE][+-]?[0-9]+)?$"
    "|^(?i)[+-]?(nan|inf|infinity)$') AND TRY_CAST({0} AS DOUBLE) IS NOT NULL",
    Dtype.date: "regexp_matches({0}, '^\\d{{4}}-\\d{{2}}-\\d{{2}}$') AND TRY_CAST({0} AS DATE) IS NOT NULL",
    Dtype.timestamp: f"regexp_matches({{0}}, {literal(ISO_TIME.replace('{', '{{').replace('}', '}}'))})"
    " AND TRY_CAST(trim({0}) AS TIMESTAMPTZ) IS NOT NULL",
    Dtype.uuid: "regexp_matches({0}, '^[0-9a-fA-F]{{8}}(-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}}$')",
}


def csv_sql(path: Path, pattern: str) -> tuple[str, list[str]]:
    """What stands after FROM to read ``path`` (``pattern``: the path with its wildcards escaped) as text, and the
    names of its columns.

    Nothing is sniffed: the first line names the columns and tells the delimiter, of comma, semicolon, tab and bar
    the one it holds most of. Raises DatabaseError for a file without a first line or with a name that stands twice.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            line = next(iter(file), "")
            delimiter = max(_DELIMITERS, key=_outside_quotes(line).count)
            file.seek(0)
            names = next(csv.reader(file, delimiter=delimiter), [])
        except UnicodeDecodeError:
            raise DatabaseError(f"{str(path)!r} is not UTF-8 text", hint="convert it to UTF-8.") from None
    if not any(names):
        raise DatabaseError(f"{str(path)!r} has no first line with the names of its columns")
    names = [name or f"column{number}" for number, name in enumerate(names)]
    folded = [name.casefold() for name in names]
    twice = next((name for name, key in zip(names, folded, strict=True) if folded.count(key) > 1), None)
    if twice is not None:
        raise DatabaseError(f"{str(path)!r}: column {twice!r} stands twice")
    columns = ", ".join(f"{quote(name)}: 'VARCHAR'" for name in names)
    options = f"auto_detect = false, header = true, delim = {literal(delimiter)}, quote = '\"', escape = '\"'"
    return f"read_csv({literal(pattern)}, columns = {{{columns}}}, {options})", names


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def csv_dtypes(connection: duckdb.DuckDBPyConnection, sql: str, names: list[str]) -> dict[str, Dtype]:
    """The narrowest type that every cell of each column has; text where there is none or no cell."""
    tests = [
        f"coalesce(bool_and(CASE WHEN {quote(name)} IS NOT NULL THEN {test.format(quote(name))} END), false)"
        for name in names
        for test in _TESTS.values()
    ]
    found = connection.execute(f"SELECT {', '.join(tests)} FROM {sql}").fetchall()[0]
    width = len(_TESTS)
    return {
        name: next((dtype for dtype, fits in zip(_TESTS, found[at * width :], strict=False) if fits), Dtype.text)
        for at, name in enumerate(names)
    }
