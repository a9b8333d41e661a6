"""The Parquet files of a RelBench folder: every table's rows, in types that RelBench's own reader understands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rdl.clock import NEVER
from rdl.keys import session
from rdl.query.scalar import quote
from rdl.relbench_export.layout import TableLayout
from rdl.snapshot import Snapshot

#: What the nanoseconds of pandas reach, in µs: the years 1678 to 2261 and a bit.
_NANOS = 9_223_372_036_854_775
_ROWS_AT_ONCE = 500_000


def time_unit(snapshot: Snapshot) -> str:
    """The unit of the times of rows and labels, ``ns`` or ``us``.

    RelBench's graphs take every time for nanoseconds, so microseconds would be read as times a thousandth as far from
    1970; they are used, everywhere, only where a time is out of the reach of nanoseconds.
    """
    ends = extent(snapshot)
    return "us" if ends is not None and (ends[0] < -_NANOS or ends[1] > _NANOS) else "ns"


def write_tables(
    snapshot: Snapshot, layouts: Mapping[str, TableLayout], labels: Mapping[str, Mapping[str, pa.Array]], folder: Path
) -> None:
    """Writes ``db/<table>.parquet``, rows by number, and ``keys/<table>.parquet``: the number and the primary key that
    each row had.

    ``labels`` holds, by table, a value a row for every column of labels.
    """
    for part in ("db", "keys"):
        (folder / part).mkdir()
    unit = time_unit(snapshot)
    for name, layout in layouts.items():
        rows = _rows(layout, snapshot, labels.get(name, {}))
        _write(rows, folder / "db" / f"{layout.name}.parquet", layout.time, unit)
        if key := layout.source.primary_key:
            number = pa.array(np.arange(snapshot.num_rows[name]))
            keys = snapshot.arrow(name).select(list(key)).add_column(0, "row" if "row" not in key else "row_", number)
            _write(keys, folder / "keys" / f"{layout.name}.parquet", None, unit)


def _rows(layout: TableLayout, snapshot: Snapshot, labels: Mapping[str, pa.Array]) -> pa.Table:
    """The columns of the folder, those of the source first and in its order."""
    name = layout.source.name
    source, times = snapshot.arrow(name), snapshot.time(name)
    columns = dict(zip(source.column_names, source.columns, strict=True))
    kept = _values(layout, snapshot)
    columns[layout.key] = pa.array(np.arange(len(times)))
    if layout.time is not None:
        columns[layout.time] = pa.array(times, mask=times == NEVER).view(pa.timestamp("us"))
    for relation, column in layout.parents.items():
        columns[column] = _numbers(snapshot.parent(relation))
    columns |= {**kept, **labels}
    return pa.table(list(columns.values()), names=list(columns))


def _values(layout: TableLayout, snapshot: Snapshot) -> dict[str, pa.ChunkedArray]:
    """The values of keys that labels read, as the views of the snapshot show them to labels."""
    if not layout.values:
        return {}
    read = ", ".join(f"{quote(column)} AS {quote(held)}" for column, held in layout.values.items())
    with snapshot.connect() as connection:
        found = connection.sql(f'SELECT {read} FROM {quote(layout.source.name)} ORDER BY "#row"').to_arrow_table()
    return dict(zip(found.column_names, found.columns, strict=True))


def _numbers(parent: npt.NDArray[np.int32]) -> pa.Array:
    return pa.array(parent, pa.int64(), mask=parent < 0)


def _write(rows: pa.Table, file: Path, time: str | None, unit: str) -> None:
    """Writes ``rows``, some at a time; the column ``time`` in ``unit``."""

    def converted(part: pa.Table) -> pa.Table:
        columns = [
            column.cast(pa.timestamp(unit)) if name == time else stored(column)
            for name, column in zip(part.column_names, part.columns, strict=True)
        ]
        return pa.table(columns, names=part.column_names)

    with pq.ParquetWriter(file, converted(rows.slice(0, 0)).schema) as writer:
        for start in range(0, rows.num_rows, _ROWS_AT_ONCE):
            writer.write_table(converted(rows.slice(start, _ROWS_AT_ONCE)))


def stored(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """``column`` in a type that pandas and RelBench read back: lengths of time in seconds, times of day as text, dates
    as times, decimals as floats."""
    is_ = pa.types
    if is_.is_duration(column.type):
        return pc.divide(column.cast(pa.duration("us")).cast(pa.int64()).cast(pa.float64()), 1e6)
    for fits, wanted in (
        (is_.is_time, pa.string()), (is_.is_date, pa.timestamp("us")), (is_.is_decimal, pa.float64()),
        (is_.is_null, pa.string()),
    ):  # fmt: skip
        if fits(column.type):
            return column.cast(wanted)
    return column


def column_types(snapshot: Snapshot, table: str) -> dict[str, str]:
    """The SQL type of each column of the view of ``table``."""
    schema = snapshot.arrow(table).schema
    empty = pa.table([pa.array([], kind) for kind in schema.types], names=[f"c{n}" for n in range(len(schema))])
    with session() as connection:
        return dict(zip(schema.names, map(str, connection.from_arrow(empty).types), strict=True))


def restored(column: str, type_: str) -> str:
    """SQL for what :func:`stored` and pandas made of a column of the SQL type ``type_``, in that type again."""
    if type_ == "INTERVAL":
        return f"to_microseconds(CAST(round({quote(column)} * 1e6) AS BIGINT))"
    return quote(column) if type_ == '"NULL"' else f"CAST({quote(column)} AS {type_})"


def extent(snapshot: Snapshot, upto: int = NEVER - 1) -> tuple[int, int] | None:
    """The oldest and the newest time (µs) of any row not after ``upto``; None where there is none."""
    ends = []
    for name, table in snapshot.schema.tables.items():
        times = snapshot.time(name)
        if table.time is not None and (count := known(snapshot, name, upto)):
            ends += [int(times[0]), int(times[count - 1])]
    return (min(ends), max(ends)) if ends else None


def known(snapshot: Snapshot, table: str, time_us: int) -> int:
    """How many rows of ``table`` are known at ``time_us``: as many as RelBench knows when test begins there."""
    return int(np.searchsorted(snapshot.time(table), time_us, side="right"))
