"""How a column of each PostgreSQL type is read: its Dtype, and SQL that brings it into what Arrow can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from rdl.database.types import ARROW_TYPES, STYPES
from rdl.schema import Dtype, Stype

_MONTH_US = 2_629_800_000_000  # 30.4375 days, as rdl.clock counts a month
_LAST, _FIRST = "9999-12-31 23:59:59.999999", "0001-01-01 00:00:00"
# Integers of up to so many digits fit 64 bits.
_INTEGER_DIGITS = 18


@dataclass(frozen=True, slots=True)
class PgType:
    """A type as ``pg_type`` has it. ``kind`` is its typtype, ``builtin`` whether it stands in pg_catalog; ``base`` is
    what a domain is made of, ``element`` that of an array, ``subtype`` that of a range; 0 where there is none."""

    name: str
    kind: str
    builtin: bool
    base: int
    base_modifier: int
    element: int
    subtype: int


@dataclass(frozen=True, slots=True)
class Reading:
    """How a column is read: ``sql`` of ``{0}``, the column itself; ``lossy`` where that may be NULL for a value."""

    dtype: Dtype
    stype: Stype
    sql: str
    arrow: pa.DataType
    lossy: bool = False


def resolve(oid: int, modifier: int, types: Mapping[int, PgType]) -> tuple[int, int]:
    """The type and modifier that a domain, or a domain of domains, stands for."""
    while oid in types and types[oid].base:
        modifier = types[oid].base_modifier if modifier < 0 else modifier
        oid = types[oid].base
    return oid, modifier


def reading(oid: int, modifier: int, types: Mapping[int, PgType], *, key: bool = False) -> Reading | None:
    """How a column of the type is read; None where the type has no meaning here.

    In a ``key``, equal values look equal: a decimal is exact text, and text whose case does not matter is lower case.
    """
    oid, modifier = resolve(oid, modifier, types)
    pg = types.get(oid)
    if pg is None:
        return None
    if pg.kind == "e":
        return Reading(Dtype.text, Stype.categorical, "{0}::text", pa.string())
    if pg.element:
        return _array(pg.element, modifier, types)
    if pg.kind != "b":
        return None
    if not pg.builtin:
        return _of_extension(pg.name, modifier, key)
    if pg.name == "numeric":
        return _numeric(modifier, key)
    if pg.name == "bit":
        return _plain(Dtype.boolean, "{0} = B'1'") if modifier == 1 else None
    if pg.name not in _READINGS:
        return None
    dtype, sql, lossy = _READINGS[pg.name]
    return _plain(dtype, sql, lossy)


def _plain(dtype: Dtype, sql: str, lossy: bool = False) -> Reading:
    return Reading(dtype, STYPES[dtype], sql, ARROW_TYPES[dtype], lossy)


def _within(type_: str, last: str, zone: str = "") -> str:
    """SQL for a time between the year 1 and 9999; ends that never come are the last microsecond."""
    low, high, end = f"'{_FIRST}{zone}'::{type_}", f"'{last}{zone}'::{type_}", f"'{_LAST}'::timestamp"
    value = "{0} AT TIME ZONE 'UTC'" if zone else "{0}::timestamp"
    return (
        f"CASE WHEN {{0}} BETWEEN {low} AND {high} THEN {value} "
        f"WHEN {{0}} > {high} THEN {end} WHEN {{0}} < {low} THEN '{_FIRST}'::timestamp END"
    )


# What extract() gives is exact; months count as everywhere in rdl. An infinite interval has no months, so it is NULL.
_MICROSECONDS = (
    f"(extract(year FROM {{0}}) * 12 + extract(month FROM {{0}})) * {_MONTH_US}"
    " + extract(day FROM {0}) * 86400000000 + extract(hour FROM {0}) * 3600000000"
    " + extract(minute FROM {0}) * 60000000 + extract(microseconds FROM {0})"
)
_INTERVAL = f"CASE WHEN abs({_MICROSECONDS}) < 9.2e18 THEN ({_MICROSECONDS})::int8 END"
_TEXT = (Dtype.text, "{0}::text", False)
_JSON = (Dtype.json, "{0}::text", False)
_READINGS: dict[str, tuple[Dtype, str, bool]] = {
    "bool": (Dtype.boolean, "{0}", False),
    **dict.fromkeys(("int2", "int4", "int8"), (Dtype.integer, "{0}", False)),
    "oid": (Dtype.integer, "{0}::int8", False),
    **dict.fromkeys(("float4", "float8"), (Dtype.float, "{0}::float8", False)),
    "money": (Dtype.decimal, "{0}::numeric::float8", False),
    **dict.fromkeys(("text", "varchar", "bpchar", "char", "name", "inet", "cidr", "macaddr", "macaddr8"), _TEXT),
    "uuid": (Dtype.uuid, "{0}::text", False),
    **dict.fromkeys(("json", "jsonb"), _JSON),
    "date": (Dtype.date, _within("date", "9999-12-31"), False),
    "timestamp": (Dtype.timestamp, _within("timestamp", _LAST), False),
    "timestamptz": (Dtype.timestamp, _within("timestamptz", _LAST, "+00"), False),
    # 24:00 is a time there, and no time of a day here.
    "time": (Dtype.time, "CASE WHEN {0} < '24:00' THEN {0} END", True),
    "timetz": (Dtype.time, "CASE WHEN {0}::time < '24:00' THEN ({0} AT TIME ZONE 'UTC')::time END", True),
    "interval": (Dtype.interval, _INTERVAL, True),
    "bytea": (Dtype.binary, "{0}", False),
}


def _numeric(modifier: int, key: bool) -> Reading:
    """A numeric: an integer where it has no digits after the point and fits one, else a float."""
    digits, scale = ((modifier - 4) >> 16) & 0xFFFF, (((modifier - 4) & 0x7FF) ^ 1024) - 1024
    if modifier >= 0 and scale <= 0 and digits - scale <= _INTEGER_DIGITS:
        return _plain(Dtype.integer, "CASE WHEN {0} <> 'NaN' THEN {0}::int8 END", lossy=True)
    if key:
        return Reading(Dtype.text, Stype.identifier, "trim_scale({0})::text", pa.string())
    if modifier >= 0 and scale <= 0:
        return _plain(
            Dtype.integer, "CASE WHEN {0} BETWEEN -2^63::numeric AND 2^63::numeric - 1 THEN {0}::int8 END", lossy=True
        )
    if modifier >= 0 and digits <= 300 and scale <= 300:
        return _plain(Dtype.decimal, "{0}::float8")
    return _plain(
        Dtype.decimal,
        "CASE WHEN abs({0}) BETWEEN 1e-307 AND 1.797e308 THEN {0}::float8 WHEN abs({0}) < 1e-307 THEN 0::float8"
        " WHEN {0}::text IN ('NaN', 'Infinity', '-Infinity') THEN {0}::text::float8 END",
        lossy=True,
    )


def _of_extension(name: str, modifier: int, key: bool) -> Reading | None:
    if name == "citext":
        return _plain(Dtype.text, "lower({0}::text)" if key else "{0}::text")
    if name == "vector":  # as many numbers in each cell, where the column says how many
        stype = Stype.embedding if modifier > 0 else Stype.unsupported
        return Reading(Dtype.list, stype, "{0}::real[]", pa.list_(pa.float32()))
    return None


_ELEMENTS = {
    Dtype.boolean: "bool",
    Dtype.integer: "int8",
    Dtype.float: "float8",
    Dtype.decimal: "float8",
    Dtype.text: "text",
    Dtype.uuid: "text",
    Dtype.json: "text",
    Dtype.binary: "bytea",
}


def _array(element: int, modifier: int, types: Mapping[int, PgType]) -> Reading | None:
    """A list of what the element is; an array of arrays is read as one list."""
    inner = reading(element, modifier, types)
    if inner is None or inner.dtype in (Dtype.list, Dtype.interval):
        return None
    real = inner.dtype in (Dtype.float, Dtype.decimal)
    stype = Stype.unsupported if real else STYPES[Dtype.list]
    if inner.dtype in _ELEMENTS and not inner.lossy and "=" not in inner.sql:
        sql = f"{{0}}::{_ELEMENTS[inner.dtype]}[]"
    else:
        each = inner.sql.format("u.x")
        sql = f"CASE WHEN {{0}} IS NOT NULL THEN ARRAY(SELECT {each} FROM unnest({{0}}) AS u(x)) END"
    return Reading(Dtype.list, stype, sql, pa.list_(inner.arrow))
