"""The columns of CSV files: names from the first line, types from every cell of the file."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from rdl.database.scan import literal, quote, timestamp_of
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
    Dtype.timestamp: timestamp_of("{0}", "VARCHAR").replace("{", "{{").replace("}", "}}").replace("{{0}}", "{0}")
    + " IS NOT NULL",
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
            raise _not_utf8(path) from None
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


def _not_utf8(path: Path) -> DatabaseError:
    with path.open("rb") as file:
        known = "UTF-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "LATIN1"
    hint = f"convert it to UTF-8, as with iconv -f {known} -t UTF-8."
    return DatabaseError(f"{str(path)!r} is not UTF-8 text", hint=hint)


@contextmanager
def csv_explained(path: Path) -> Iterator[None]:
    """Inside it, what DuckDB says of a line of ``path`` is raised as a DatabaseError that names the line."""
    try:
        yield
    except duckdb.InvalidInputException as error:
        text = str(error)
        if "utf-8" in text.lower() or "unicode" in text.lower():
            raise _not_utf8(path) from error
        where = re.search(r"on Line: (\d+)", text)
        columns = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text)
        if columns:
            what = f"{columns[2]} cells where the first line names {columns[1]} columns"
        elif "unterminated quote" in text:
            what = "a quote that does not end"
        elif "invalid state" in text:
            what = "lines that end in two ways (\\n and \\r\\n), or text around a quoted cell"
        else:
            raise
        line = f", line {where[1]}" if where else ""
        raise DatabaseError(f"cannot read {str(path)!r}{line}: {what}", hint="mend the file.") from error


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
