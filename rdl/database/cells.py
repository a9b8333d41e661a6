"""Text cells → Arrow: times of ISO-8601 text, text that is no UTF-8."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from rdl.clock import NO_BEGINNING
from rdl.database.scan import prepare, time_of, timestamp_of
from rdl.database.types import ARROW_TYPES
from rdl.schema import Dtype

_FIRST = pa.scalar(NO_BEGINNING, pa.timestamp("us"))


class CellParser:
    """Brings the arrays of one stream into the Arrow type of a Dtype; cells that do not fit become NULL."""

    def __init__(self) -> None:
        self._connection: duckdb.DuckDBPyConnection | None = None

    def parse(self, array: pa.Array, dtype: Dtype) -> pa.Array:
        """``array`` (int64, double, string or binary, as SQLite stores) as ``ARROW_TYPES[dtype]``."""
        wanted = ARROW_TYPES[dtype]
        if pa.types.is_string(array.type):
            array = valid_text(array)
        if dtype is Dtype.time:
            return self._parse_times(array, dtype)
        if dtype not in (Dtype.date, Dtype.timestamp):
            return array.cast(wanted)
        try:
            # ISO text without a zone: Arrow reads it at memory speed, or refuses the batch as a whole.
            moments = array.cast(wanted)
        except pa.ArrowInvalid:
            return self._parse_times(array, dtype)
        early = pc.less(moments, _FIRST)  # of the year 0
        return pc.if_else(early, _FIRST, moments) if pc.any(early).as_py() else moments

    def _parse_times(self, array: pa.Array, dtype: Dtype) -> pa.Array:
        if self._connection is None:
            self._connection = prepare(duckdb.connect())
        self._connection.register("cells", pa.table({"cell": array}))
        moment = time_of("trim(cell)") if dtype is Dtype.time else timestamp_of("cell", "VARCHAR")
        found = self._connection.sql(f"SELECT {moment} AS moment FROM cells").to_arrow_table()
        return found.column(0).combine_chunks().cast(ARROW_TYPES[dtype])


def valid_text(array: pa.Array) -> pa.Array:
    """``array`` of strings with NULL for every cell that is not UTF-8."""
    try:
        array.validate(full=True)
        return array
    except pa.ArrowInvalid:
        pass
    cells = array.cast(pa.binary(), safe=False)
    # A rare batch: only here are cells looked at one by one.
    return pa.array([_decoded(cell) for cell in cells.to_pylist()], pa.string())


def _decoded(cell: bytes | None) -> str | None:
    try:
        return None if cell is None else cell.decode()
    except UnicodeDecodeError:
        return None
