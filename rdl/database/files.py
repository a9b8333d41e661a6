"""Writing Parquet and CSV files whole or not at all, and the list of rdl's own files in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from rdl.database.failures import explained
from rdl.database.reader import IfExists
from rdl.database.registry import REGISTRY, in_order, plan_write, written_now
from rdl.errors import DatabaseError

SUFFIXES = (".parquet", ".csv")


def write_file(path: str | os.PathLike[str], rows: pa.Table, *, if_exists: IfExists = "fail") -> int:
    """Writes ``rows`` to a .parquet or .csv file, whole or not at all, and returns their number.

    ``replace`` writes over an existing file, ``append`` adds to a Parquet file of the same columns. Raises
    DatabaseError for another suffix, an existing file, a folder that is not there, a full disk.
    """
    file = Path(path).expanduser()
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise DatabaseError(f"cannot write {str(file)!r}: unknown suffix {suffix!r}", hint="use .parquet or .csv.")
    if not file.parent.is_dir():
        raise DatabaseError(f"cannot write {str(file)!r}: there is no folder {str(file.parent)!r}")
    if file.is_dir():
        raise DatabaseError(f"cannot write {str(file)!r}: it is a folder")
    there = file.exists()
    if there and if_exists == "fail":
        raise DatabaseError(f"{str(file)!r} exists", hint="choose another name, or replace it.")
    if there and if_exists == "append":
        if suffix == ".csv":
            raise DatabaseError(f"cannot append to {str(file)!r}", hint="replace it, or append to a Parquet file.")
        existing = _column_names(file)
        plan_write(file.stem, rows, "append", existing=existing, ours=True)
        rows = in_order(rows, existing)
    else:
        plan_write(file.stem, rows, if_exists, existing=None, ours=True)
    with explained(f"cannot write {str(file)!r}"), replacing(file) as part:
        if suffix == ".csv":
            pa.csv.write_csv(_plain(rows), part)
        else:
            _write_parquet(part, rows, file if there and if_exists == "append" else None)
    return int(rows.num_rows)


def read_file(path: str | os.PathLike[str]) -> pa.Table:
    """The rows of a .parquet or .csv file. Raises DatabaseError where it is neither, or cannot be read."""
    file = Path(path).expanduser()
    if file.suffix.lower() not in SUFFIXES:
        raise DatabaseError(f"cannot read {str(file)!r}: unknown suffix {file.suffix!r}", hint="use .parquet or .csv.")
    with explained(f"cannot read {str(file)!r}"):
        return pa.csv.read_csv(file) if file.suffix.lower() == ".csv" else pq.read_table(file)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new path beside ``path``; what was written there takes its place at the end, or is removed on any error."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def cast_column(rows: pa.Table, column: str, schema: pa.Schema, source: str) -> pa.Table:
    """``rows`` with ``column`` in the type that ``schema`` has for ``source``, not as a dictionary. Raises Arrow's
    errors for a value that does not fit."""
    names = [name for name in schema.names if name.casefold() == source.casefold()]
    if not names:  # a folder's name of a partition, key=value, is no column of the file
        return rows
    type_ = schema.field(source if source in names else names[0]).type
    while pa.types.is_dictionary(type_):
        type_ = type_.value_type
    position = rows.column_names.index(column)
    cells = rows.column(position)
    if isinstance(type_, pa.UuidType) and not isinstance(cells.type, pa.UuidType):
        with duckdb.connect() as connection:
            connection.register("rows", pa.table({"cell": cells}))
            parsed = "SELECT unhex(replace(CAST(CAST(cell AS UUID) AS VARCHAR), '-', '')) FROM rows"
            stored = connection.sql(parsed).to_arrow_table().column(0).cast(pa.binary(16)).combine_chunks()
        return rows.set_column(position, column, pa.ExtensionArray.from_storage(type_, stored))
    if pa.types.is_decimal(type_) and pa.types.is_integer(cells.type):
        cells = cells.cast(pa.decimal128(38, 0))  # else Arrow asks for room for every integer there is
    return rows.set_column(position, column, cells.cast(type_))


def _column_names(file: Path) -> list[str]:
    with explained(f"cannot append to {str(file)!r}"):
        return list(pq.read_schema(file).names)


def _write_parquet(part: Path, rows: pa.Table, before: Path | None) -> None:
    """Writes the rows of the Parquet file ``before``, if any, and then ``rows``."""
    if before is None:
        pq.write_table(rows, part)
        return
    with pq.ParquetFile(before) as old:
        schema = old.schema_arrow
        with pq.ParquetWriter(part, schema) as writer:
            for batch in old.iter_batches():
                writer.write_batch(batch)
            writer.write_table(rows.cast(schema))


def _plain(rows: pa.Table) -> pa.Table:
    """``rows`` with nested columns as JSON text, which is all that CSV can hold."""
    for position, field in enumerate(rows.schema):
        if pa.types.is_nested(field.type):
            text = [
                None if cell is None else json.dumps(cell, default=str) for cell in rows.column(position).to_pylist()
            ]
            rows = rows.set_column(position, field.name, pa.array(text, pa.string()))
    return rows


def registry_of(folder: Path) -> dict[str, str]:
    """The tables that rdl wrote into ``folder``, with the time of writing. Raises DatabaseError."""
    file = folder / f"{REGISTRY}.json"
    with explained(f"cannot read {str(file)!r}"):
        if not file.exists():
            return {}
        try:
            return {str(name): str(time) for name, time in json.loads(file.read_text("utf-8"))["tables"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatabaseError(
                f"{str(file)!r} is not rdl's list of its own tables", hint="restore it, or remove it."
            ) from error


def write_into(folder: Path, table: str, rows: pa.Table, if_exists: IfExists, taken: Callable[[str], bool]) -> int:
    """Writes ``rows`` as ``folder/table.parquet`` and enters it in the folder's list of rdl's tables.

    ``taken`` says whether a name belongs to a table of the user's.
    """
    if set(table) & set("/\\\0") or table.startswith("."):
        raise DatabaseError(f"{table!r} cannot name a file", hint="choose a name without slashes.")
    entered = registry_of(folder)
    spelled = next((name for name in entered if name.casefold() == table.casefold()), table)
    file = folder / f"{spelled}.parquet"
    ours = spelled in entered
    existing = _column_names(file) if file.exists() else [] if taken(table) else None
    plan_write(table, rows, if_exists, existing=existing, ours=ours)
    # The list first: a table of predictions that is not on it would be taken for an input.
    _enter(folder, {**entered, spelled: written_now()})
    try:
        return write_file(file, rows, if_exists="replace" if existing is None else if_exists)
    except BaseException:
        _enter(folder, entered)
        raise


def _enter(folder: Path, tables: dict[str, str]) -> None:
    file = folder / f"{REGISTRY}.json"
    with explained(f"cannot write {str(file)!r}"), replacing(file) as part:
        part.write_text(json.dumps({"tables": tables}, indent=2, ensure_ascii=False) + "\n", "utf-8")
