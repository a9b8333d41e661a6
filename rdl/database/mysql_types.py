"""Types of MySQL and MariaDB: what a column is, the SQL for its text, and that text → Arrow."""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from rdl.clock import NO_BEGINNING
from rdl.database.cells import CellParser, valid_text
from rdl.database.scan import prepare
from rdl.database.types import ARROW_TYPES, STYPES, dtype_named
from rdl.schema import Dtype, Stype

#: SQL for the text of a column, where it is not the column itself.
_NUMBER = "{0} + 0"
# A FLOAT's own text has six digits; that of the same number as DOUBLE has all.
_SINGLE = "{0} + 0e0"
# A TIME is a span of -838 to 838 hours, also where it is used as a time of day.
_SPAN = (
    "IF(LEFT({0}, 1) = '-', -1, 1) * ((HOUR({0}) * 3600 + MINUTE({0}) * 60 + SECOND({0})) * 1000000 + MICROSECOND({0}))"
)
_DTYPES = {
    "bit": Dtype.integer,
    "year": Dtype.integer,
    "time": Dtype.interval,
    "set": Dtype.list,
    "inet4": Dtype.text,
    "inet6": Dtype.text,
}


def reading(data_type: str, column_type: str, *, key: bool, beyond: bool) -> tuple[Dtype, Stype, str] | None:
    """How a column of a type is read: its storage type, what that suggests, and the SQL for its text, ``{0}`` being the
    column; None for a type without a meaning here.

    A number that is a ``key`` and fits neither int64 nor exactly float64 is read as text, so that two keys stay two;
    ``beyond`` says that unsigned keys are that large.

    >>> reading("bigint", "bigint(20) unsigned", key=True, beyond=False)[0]
    <Dtype.integer: 'integer'>
    """
    dtype = _DTYPES.get(data_type) or (dtype_named(data_type) if data_type != "vector" else None)
    if dtype is None:
        return None
    sql, stype = "{0}", STYPES[dtype]
    if data_type in ("enum", "set"):
        stype = Stype.categorical if data_type == "enum" else Stype.multicategorical
    elif data_type == "bit":
        sql = _NUMBER
        dtype = Dtype.boolean if column_type == "bit(1)" else dtype
    elif column_type == "tinyint(1)":
        dtype = Dtype.boolean
    elif data_type == "float":
        sql = _SINGLE
    elif data_type == "time":
        sql = _SPAN
    elif dtype is Dtype.decimal:
        dtype = _decimal(column_type, key)
    elif key and beyond and column_type.startswith("bigint") and "unsigned" in column_type:
        dtype = Dtype.text
    if dtype is Dtype.boolean:
        stype = Stype.categorical
    return dtype, stype if data_type in ("enum", "set") else STYPES[dtype], sql


def _decimal(column_type: str, key: bool) -> Dtype:
    match = re.search(r"\((\d+)(?:,(\d+))?\)", column_type)
    digits, places = (int(match[1]), int(match[2] or 0)) if match else (10, 0)
    if places == 0 and digits <= 18:
        return Dtype.integer
    return Dtype.text if key else Dtype.integer if places == 0 else Dtype.decimal


class TextParser:
    """Brings the cells of one stream, as the server writes them, into Arrow; what does not fit becomes NULL."""

    def __init__(self) -> None:
        self._times = CellParser()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def parse(self, cells: pa.Array, dtype: Dtype) -> pa.Array:
        """``cells`` (string, or binary for that type) as ``ARROW_TYPES[dtype]``."""
        wanted = ARROW_TYPES[dtype]
        if dtype in (Dtype.date, Dtype.timestamp):
            moments = self._times.parse(cells, dtype)
            first = pc.min(moments).cast(pa.int64()).as_py()
            if first is None or first >= NO_BEGINNING:
                return moments
            return pc.max_element_wise(moments, pa.scalar(NO_BEGINNING, wanted), skip_nulls=False)
        if dtype is Dtype.list:
            cells = valid_text(cells)
            empty = pa.scalar([], wanted)
            return pc.if_else(pc.equal(cells, ""), empty, pc.split_pattern(cells, ",")).cast(wanted)
        if dtype in (Dtype.boolean, Dtype.integer, Dtype.float, Dtype.decimal, Dtype.interval):
            return self._numbers(cells, pa.int64() if dtype is Dtype.interval else wanted).cast(wanted)
        return cells if dtype is Dtype.binary else valid_text(cells).cast(wanted)

    def _numbers(self, cells: pa.Array, wanted: pa.DataType) -> pa.Array:
        try:
            return cells.cast(wanted)
        except pa.ArrowInvalid:
            pass
        if self._connection is None:
            self._connection = prepare(duckdb.connect())
        self._connection.register("cells", pa.table({"cell": cells}))
        name = {pa.bool_(): "BOOLEAN", pa.int64(): "BIGINT"}.get(wanted, "DOUBLE")
        found = self._connection.sql(f"SELECT TRY_CAST(cell AS {name}) AS cell FROM cells").to_arrow_table()
        return found.column(0).combine_chunks().cast(wanted)
