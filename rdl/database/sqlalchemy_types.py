"""Types of SQLAlchemy: what a column of any dialect is, and what an Arrow column becomes."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from rdl.database.types import STYPES, dtype_named
from rdl.schema import Dtype, Stype

#: The first class that a type is of says what it is; FLOAT is a NUMERIC and ENUM a VARCHAR, so they come first.
_CLASSES: list[tuple[type[TypeEngine[Any]], Dtype]] = [
    (sa.Boolean, Dtype.boolean),
    (sa.Enum, Dtype.text),
    (sa.Integer, Dtype.integer),
    (sa.Float, Dtype.float),
    (sa.Numeric, Dtype.decimal),
    (sa.DateTime, Dtype.timestamp),
    (sa.Date, Dtype.date),
    (sa.Time, Dtype.time),
    (sa.Interval, Dtype.interval),
    (sa.Uuid, Dtype.uuid),
    (sa.JSON, Dtype.json),
    (sa.ARRAY, Dtype.list),
    (sa.LargeBinary, Dtype.binary),
    (sa.String, Dtype.text),
]


def reading(type_: TypeEngine[Any], *, key: bool) -> tuple[Dtype, Stype]:
    """The storage type of a reflected type, and what it suggests.

    A number that is a ``key`` and fits neither int64 nor exactly float64 is read as text, so that two keys stay two.

    >>> reading(sa.Numeric(30, 0), key=True)[0], reading(sa.Enum("a"), key=False)[1]
    (<Dtype.text: 'text'>, <Stype.categorical: 'categorical'>)
    """
    dtype = next((found for class_, found in _CLASSES if isinstance(type_, class_)), None)
    if dtype is None:
        dtype = dtype_named(type(type_).__name__) or Dtype.unknown
    if dtype is Dtype.decimal and isinstance(type_, sa.Numeric):
        if type_.scale == 0 and type_.precision is not None and type_.precision <= 18:
            dtype = Dtype.integer
        elif key:
            dtype = Dtype.text
    return dtype, Stype.categorical if isinstance(type_, sa.Enum) else STYPES[dtype]


def declared(type_: pa.DataType) -> TypeEngine[Any]:
    """The type of a column for an Arrow type."""
    is_ = pa.types
    if is_.is_dictionary(type_):
        return declared(type_.value_type)
    kinds: dict[Any, TypeEngine[Any]] = {
        is_.is_boolean: sa.Boolean(),
        is_.is_integer: sa.BigInteger(),
        is_.is_floating: sa.DOUBLE_PRECISION(),
        is_.is_decimal: sa.DOUBLE_PRECISION(),
        is_.is_timestamp: sa.DateTime(),
        is_.is_date: sa.Date(),
        is_.is_time: sa.Time(),
        is_.is_duration: sa.BigInteger(),
        is_.is_binary: sa.LargeBinary(),
        is_.is_large_binary: sa.LargeBinary(),
    }
    return next((found for check, found in kinds.items() if check(type_)), sa.Text())
