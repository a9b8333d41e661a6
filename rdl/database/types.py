"""One vocabulary of storage types for all engines: SQL type name → Dtype, Dtype → Arrow type, Dtype → Stype."""

from __future__ import annotations

import re

import pyarrow as pa

from rdl.schema import Dtype, Stype

#: How a column of each storage type looks in Arrow; a list's element type is the engine's to say.
ARROW_TYPES: dict[Dtype, pa.DataType] = {
    Dtype.boolean: pa.bool_(),
    Dtype.integer: pa.int64(),
    Dtype.float: pa.float64(),
    Dtype.decimal: pa.float64(),
    Dtype.text: pa.string(),
    Dtype.date: pa.timestamp("us"),
    Dtype.timestamp: pa.timestamp("us"),
    Dtype.time: pa.time64("us"),
    Dtype.interval: pa.duration("us"),
    Dtype.uuid: pa.string(),
    Dtype.json: pa.string(),
    Dtype.binary: pa.binary(),
    Dtype.list: pa.list_(pa.string()),
    Dtype.unknown: pa.string(),
}

#: What a storage type alone suggests about meaning; :mod:`rdl.infer` looks at the values and may know better.
STYPES: dict[Dtype, Stype] = {
    Dtype.boolean: Stype.categorical,
    Dtype.integer: Stype.numerical,
    Dtype.float: Stype.numerical,
    Dtype.decimal: Stype.numerical,
    Dtype.text: Stype.text_embedded,
    Dtype.date: Stype.timestamp,
    Dtype.timestamp: Stype.timestamp,
    Dtype.time: Stype.numerical,
    Dtype.interval: Stype.numerical,
    Dtype.uuid: Stype.identifier,
    Dtype.json: Stype.unsupported,
    Dtype.binary: Stype.unsupported,
    Dtype.list: Stype.multicategorical,
    Dtype.unknown: Stype.unsupported,
}

_NAMES: dict[Dtype, str] = {
    Dtype.boolean: "BOOLEAN BOOL BIT LOGICAL",
    Dtype.integer: "INTEGER INT TINYINT SMALLINT MEDIUMINT BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT"
    " INT1 INT2 INT3 INT4 INT8 INT16 INT32 INT64 INT128 BIGNUM SERIAL SMALLSERIAL BIGSERIAL OID YEAR BYTE SHORT",
    Dtype.float: "REAL FLOAT DOUBLE FLOAT4 FLOAT8 NUMBER BINARY_FLOAT BINARY_DOUBLE",
    Dtype.decimal: "DECIMAL NUMERIC DEC NUM FIXED MONEY SMALLMONEY CURRENCY",
    Dtype.text: "TEXT VARCHAR VARCHAR2 NVARCHAR NVARCHAR2 CHAR NCHAR CHARACTER CLOB NCLOB STRING BPCHAR NAME CITEXT"
    " NTEXT TINYTEXT MEDIUMTEXT LONGTEXT ENUM SET",
    Dtype.date: "DATE",
    Dtype.timestamp: "TIMESTAMP TIMESTAMPTZ DATETIME DATETIME2 SMALLDATETIME DATETIMEOFFSET TIMESTAMP_S TIMESTAMP_MS"
    " TIMESTAMP_US TIMESTAMP_NS TIMESTAMPTZ_NS TIMESTAMP_LTZ TIMESTAMP_NTZ",
    Dtype.time: "TIME TIMETZ TIME_NS",
    Dtype.interval: "INTERVAL",
    Dtype.uuid: "UUID GUID UNIQUEIDENTIFIER",
    Dtype.json: "JSON JSONB",
    Dtype.binary: "BLOB BYTEA BINARY VARBINARY TINYBLOB MEDIUMBLOB LONGBLOB IMAGE RAW",
}
_BY_NAME = {name: dtype for dtype, names in _NAMES.items() for name in names.split()}


def dtype_named(sql_type: str) -> Dtype | None:
    """The storage type that an SQL type's name means in every engine, or None where the name is not a known one.

    Length, precision, zone and case do not matter.

    >>> dtype_named("double precision"), dtype_named("NVARCHAR(160)"), dtype_named("point")
    (<Dtype.float: 'float'>, <Dtype.text: 'text'>, None)
    """
    words = re.findall(r"\w+", sql_type.split("(", maxsplit=1)[0].upper())
    return next((_BY_NAME[word] for word in words if word in _BY_NAME), None)
