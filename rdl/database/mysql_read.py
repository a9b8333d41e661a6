"""Rows of MySQL and MariaDB → Arrow, column by column, straight from the bytes that the server sends.

A row is a packet: its length in three bytes, a number, then every cell as text with its length before it (251 instead
of a length: NULL). So a batch of packets is cut into columns by NumPy, all rows at once, and Arrow parses each column:
there is no Python object a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pymysql
from pymysql.cursors import SSCursor

from rdl.clock import NO_BEGINNING, NO_END, to_datetime
from rdl.database.mysql_catalog import Source
from rdl.database.mysql_connect import LOST, code_of, quote
from rdl.database.mysql_types import TextParser
from rdl.database.types import ARROW_TYPES
from rdl.schema import Dtype

_READ_BYTES = 1 << 20
_BATCH_BYTES = 1 << 22
_MOST = (1 << 24) - 1  # bytes of a packet; a longer row has several
_NULL, _TWO, _THREE, _EIGHT, _ERROR = 0xFB, 0xFC, 0xFD, 0xFE, 0xFF
_head = Struct("<I").unpack_from

Ints = npt.NDArray[np.int64]


def arrow_schema(sources: Mapping[str, Source]) -> pa.Schema:
    """The schema that :func:`batches` yields."""
    return pa.schema([(name, ARROW_TYPES[source.dtype]) for name, source in sources.items()])


def time_filter(column: str, since_us: int, dtype: Dtype) -> str:
    """SQL that keeps the rows whose time, or whole number, in ``column`` is ``since_us`` or later."""
    if dtype is Dtype.integer:
        return f" WHERE {quote(column)} >= {int(since_us)}"
    moment = to_datetime(min(max(since_us, NO_BEGINNING), NO_END)).isoformat(" ")
    return f" WHERE {quote(column)} >= TIMESTAMP'{moment}'"


def batches(
    connection: pymysql.Connection, chosen: Mapping[str, Source], tail: str, lost: Callable[[str, int], None]
) -> Iterator[pa.RecordBatch]:
    """The columns ``chosen`` of what ``tail`` says. ``lost`` is told of the cells that became NULL for not fitting."""
    schema, parser, missing = arrow_schema(chosen), TextParser(), dict.fromkeys(chosen, 0)
    # A column that nobody asked for keeps the number of rows where no column is chosen.
    selected = ", ".join(source.sql for source in chosen.values()) or "NULL"
    for data, starts in _packets(connection, f"SELECT {selected} {tail}"):
        arrays, at = [], starts
        for name, source in chosen.items():
            cells, at = _column(data, at, pa.binary() if source.dtype is Dtype.binary else pa.string())
            arrays.append(parser.parse(cells, source.dtype))
            missing[name] += arrays[-1].null_count - cells.null_count
        if arrays:
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        else:
            yield pa.RecordBatch.from_struct_array(pa.array([{}] * len(starts), pa.struct([])))
    for name, cells_lost in missing.items():
        if cells_lost:
            lost(name, cells_lost)


def _packets(connection: pymysql.Connection, sql: str) -> Iterator[tuple[bytes, Ints]]:
    """The rows of a query: bytes, and where in them the cells of each row begin.

    Who stops half way has the rest of the rows read and thrown away, so that the connection can be used again.
    """
    with connection.cursor(SSCursor) as cursor:
        cursor.execute(sql)
        stream, result = connection._rfile, cursor._result
        # From here on the rows are read past PyMySQL.
        result.unbuffered_active, result.connection, connection._result = False, None, None
        cursor.connection = None
        rest, ended = b"", False
        try:
            while not ended:
                data, starts, rest, ended = _gather(stream, rest)
                if len(starts):
                    yield data, starts
        except GeneratorExit:
            while not ended and connection.open:
                *_, rest, ended = _gather(stream, rest)
            raise
        except BaseException as error:
            if not isinstance(error, pymysql.err.Error) or code_of(error) in LOST:
                connection._force_close()
            raise


def _gather(stream: Any, rest: bytes) -> tuple[bytes, Ints, bytes, bool]:
    """The next whole packets, after the ``rest`` of the last call: their bytes, where their cells begin, the rest, and
    whether these were the last."""
    data, heads, at, ended = bytearray(rest), list[int](), 0, False
    while not ended and (len(data) < _BATCH_BYTES or not heads):
        read = stream.read1(_READ_BYTES)
        if not read:
            raise pymysql.err.OperationalError(LOST[-1], "")
        data += read
        while at + 4 <= len(data):
            size = _head(data, at)[0] & _MOST
            stop = at + 4 + size
            if size == _MOST:
                stop = _join(data, at)
            if stop > len(data) or stop < 0:
                break
            heads.append(at)
            at = stop
        if heads and data[heads[-1] + 4] >= _EIGHT and at - heads[-1] < _MOST:
            ended = _is_end(data, heads[-1], at)
            heads = heads[:-1] if ended else heads
    return bytes(data[:at]), np.array(heads, np.int64) + 4, bytes(data[at:]), ended


def _join(data: bytearray, at: int) -> int:
    """Makes one of the packets of a long row that begins at ``at``; its end, or -1 where it has not come whole."""
    heads, size, stop = list[int](), _MOST, at + 4 + _MOST
    while size == _MOST:
        if stop + 4 > len(data):
            return -1
        heads.append(stop)
        size = _head(data, stop)[0] & _MOST
        stop += 4 + size
    if stop > len(data):
        return -1
    for head in reversed(heads):
        del data[head : head + 4]
    return stop - 4 * len(heads)


def _is_end(data: bytearray, head: int, stop: int) -> bool:
    """Whether the packet says that there are no more rows. Raises its error where it is one."""
    if data[head + 4] == _ERROR:
        pymysql.err.raise_mysql_exception(bytes(data[head + 4 : stop]))
    return stop - head < 4 + 9


def _column(data: bytes, at: Ints, type_: pa.DataType) -> tuple[pa.Array, Ints]:
    """The cells that begin at ``at`` [rows], and where the cells after them begin."""
    octets = np.frombuffer(data, np.uint8)
    first = octets[at]
    start, length = at + 1, first.astype(np.int64)
    null = first == _NULL
    if (first >= _NULL).any():
        length[null] = 0
        for code, width in ((_TWO, 2), (_THREE, 3), (_EIGHT, 8)):
            if len(rows := np.flatnonzero(first == code)):
                length[rows] = sum(octets[start[rows] + i].astype(np.int64) << (8 * i) for i in range(width))
                start[rows] += width
    stop = start + length
    # The bytes from cell to cell are taken for cells too, and every second one is then left out.
    bounds = np.empty(2 * len(at), np.int32)
    bounds[0::2], bounds[1::2] = start, stop
    between = pa.Array.from_buffers(type_, len(bounds) - 1, [None, pa.py_buffer(bounds), pa.py_buffer(data)])
    cells = pa.array(np.arange(0, len(bounds), 2, dtype=np.int32), mask=null if null.any() else None)
    return between.take(cells), stop
