"""Rows of a driver's cursor → Arrow: the last resort, for engines that have nothing better."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from rdl.clock import NO_BEGINNING, NO_END, US_PER_DAY
from rdl.database.cells import CellParser
from rdl.database.types import ARROW_TYPES
from rdl.schema import Dtype

_EPOCH = dt.datetime(1970, 1, 1)
_US = dt.timedelta(microseconds=1)
_FLAGS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_NOT_FITTING = (ValueError, TypeError, OverflowError, ArithmeticError, AttributeError, pa.ArrowInvalid)


class CursorParser:
    """Brings the cells of one stream, whatever objects the driver makes of them, into Arrow."""

    def __init__(self) -> None:
        self._text = CellParser()

    def parse(self, cells: Sequence[Any], dtype: Dtype) -> tuple[pa.Array, int]:
        """``cells`` as ``ARROW_TYPES[dtype]``, and how many of them became NULL for not fitting."""
        if dtype in (Dtype.date, Dtype.timestamp, Dtype.time) and all(
            cell is None or isinstance(cell, str) for cell in cells
        ):
            found = self._text.parse(pa.array(cells, pa.string()), dtype)
        else:
            stored = _STORED.get(dtype, ARROW_TYPES[dtype])
            fitted = [_fitted(cell, _CONVERTERS[dtype]) for cell in cells]
            found = pa.array(fitted, stored).cast(ARROW_TYPES[dtype])
        return found, found.null_count - sum(cell is None for cell in cells)


def _fitted(cell: Any, convert: Callable[[Any], Any]) -> Any:
    if cell is None:
        return None
    try:
        return convert(cell.read() if hasattr(cell, "read") else cell)
    except _NOT_FITTING:
        return None


def _boolean(cell: Any) -> bool | None:
    if isinstance(cell, bytes):
        cell = int.from_bytes(cell, "big")
    return _FLAGS.get(str(int(cell) if isinstance(cell, int | float | decimal.Decimal) else cell).strip().lower())


def _integer(cell: Any) -> int | None:
    number = int.from_bytes(cell, "big") if isinstance(cell, bytes) else int(cell)
    if not isinstance(cell, bytes | str) and number != cell:
        return None
    return number if -(2**63) <= number < 2**63 else None


def _text(cell: Any) -> str:
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell).decode()
    text = cell if isinstance(cell, str) else f"{cell:f}" if isinstance(cell, decimal.Decimal) else str(cell)
    text.encode()  # lone surrogates do not fit
    return text


def _json(cell: Any) -> str:
    return _text(cell) if isinstance(cell, str | bytes) else json.dumps(cell, ensure_ascii=False, default=str)


def _uuid(cell: Any) -> str:
    return str(uuid.UUID(bytes=bytes(cell))) if isinstance(cell, bytes) else str(cell)


def _moment(cell: Any) -> int:
    if isinstance(cell, str):
        cell = dt.datetime.fromisoformat(cell.strip())
    if not isinstance(cell, dt.datetime):
        cell = dt.datetime(cell.year, cell.month, cell.day)
    offset = cell.utcoffset() or dt.timedelta()
    return min(max(int((cell.replace(tzinfo=None) - _EPOCH - offset) // _US), NO_BEGINNING), NO_END)


def _clock(cell: Any) -> int | None:
    if isinstance(cell, str):
        cell = dt.time.fromisoformat(cell.strip())
    if isinstance(cell, dt.timedelta):
        span = cell // _US
    else:
        span = ((cell.hour * 60 + cell.minute) * 60 + cell.second) * 1_000_000 + cell.microsecond
    return span if 0 <= span < US_PER_DAY else None


def _span(cell: Any) -> int:
    return int(cell // _US)


def _list(cell: Any) -> list[str | None]:
    return [None if item is None else _text(item) for item in cell]


_CONVERTERS: dict[Dtype, Callable[[Any], Any]] = {
    Dtype.boolean: _boolean,
    Dtype.integer: _integer,
    Dtype.float: float,
    Dtype.decimal: float,
    Dtype.text: _text,
    Dtype.date: _moment,
    Dtype.timestamp: _moment,
    Dtype.time: _clock,
    Dtype.interval: _span,
    Dtype.uuid: _uuid,
    Dtype.json: _json,
    Dtype.binary: bytes,
    Dtype.list: _list,
}
_STORED = dict.fromkeys((Dtype.date, Dtype.timestamp, Dtype.time, Dtype.interval), pa.int64())
