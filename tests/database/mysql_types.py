# ruff: noqa: E501
"""Every type of MariaDB's: how it is declared, what it is here, and what two cells of it become."""

from __future__ import annotations

import datetime as dt
from typing import Any

from rdl.schema import Dtype, Stype

# fmt: off
TYPES: dict[str, tuple[str, Dtype, Stype, list[tuple[str, Any]]]] = {
    # column: declared, storage type, semantic type, (SQL, expected)
    "i8": ("TINYINT", Dtype.integer, Stype.numerical, [("-128", -128), ("127", 127)]),
    "u64": ("BIGINT UNSIGNED", Dtype.integer, Stype.numerical, [("9223372036854775807", 2**63 - 1), ("18446744073709551615", None)]),
    "flag": ("BOOLEAN", Dtype.boolean, Stype.categorical, [("TRUE", True), ("0", False)]),
    "stars": ("TINYINT(1)", Dtype.integer, Stype.numerical, [("5", 5), ("0", 0)]),
    "bit1": ("BIT(1)", Dtype.boolean, Stype.categorical, [("b'1'", True), ("b'0'", False)]),
    "bits": ("BIT(17)", Dtype.integer, Stype.numerical, [("b'10000000000000001'", 65537), ("0", 0)]),
    "money": ("DECIMAL(12,2)", Dtype.decimal, Stype.numerical, [("-1234.50", -1234.5), ("0.01", 0.01)]),
    "whole": ("DECIMAL(18,0)", Dtype.integer, Stype.numerical, [("999999999999999999", 10**18 - 1), ("-1", -1)]),
    "single": ("FLOAT", Dtype.float, Stype.numerical, [("16777215", 16777215.0), ("1e-20", 9.999999682655225e-21)]),
    "real": ("DOUBLE", Dtype.float, Stype.numerical, [("1.7976931348623157e308", 1.7976931348623157e308), ("0.1", 0.1)]),
    "year": ("YEAR", Dtype.integer, Stype.numerical, [("1901", 1901), ("2155", 2155)]),
    "day": ("DATE", Dtype.date, Stype.timestamp, [("'1000-01-01'", dt.datetime(1000, 1, 1)), ("'0000-00-00'", None)]),
    "part": ("DATE", Dtype.date, Stype.timestamp, [("'2020-02-00'", None), ("'9999-12-31'", dt.datetime(9999, 12, 31))]),
    "micro": ("DATETIME(6)", Dtype.timestamp, Stype.timestamp, [("'1969-12-31 23:59:59.999999'", dt.datetime(1969, 12, 31, 23, 59, 59, 999999)), ("'0000-00-00'", None)]),
    "stamp": ("TIMESTAMP NULL", Dtype.timestamp, Stype.timestamp, [("'2020-06-01 12:00:00'", dt.datetime(2020, 6, 1, 10)), ("NULL", None)]),
    "span": ("TIME(6)", Dtype.interval, Stype.numerical, [("'-838:59:59.5'", -dt.timedelta(hours=838, minutes=59, seconds=59.5)), ("'08:30'", dt.timedelta(hours=8.5))]),
    "kind": ("ENUM('a','B, c','é')", Dtype.text, Stype.categorical, [("'B, c'", "B, c"), ("'é'", "é")]),
    "tags": ("SET('x','y z','ü')", Dtype.list, Stype.multicategorical, [("'ü,x'", ["x", "ü"]), ("''", [])]),
    "doc": ("JSON", Dtype.json, Stype.unsupported, [("'{\"a\": [1]}'", '{"a": [1]}'), ("NULL", None)]),
    "id": ("UUID", Dtype.uuid, Stype.identifier, [("'123e4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000"), ("NULL", None)]),
    "ip": ("INET6", Dtype.text, Stype.text_embedded, [("'::1'", "::1"), ("'::ffff:1.2.3.4'", "::ffff:1.2.3.4")]),
    "raw": ("BINARY(4)", Dtype.binary, Stype.unsupported, [("X'00FF'", b"\x00\xff\x00\x00"), ("NULL", None)]),
    "blob": ("BLOB", Dtype.binary, Stype.unsupported, [("X'FBFCFDFE0A'", b"\xfb\xfc\xfd\xfe\n"), ("''", b"")]),
    "latin": ("VARCHAR(9) CHARACTER SET latin1", Dtype.text, Stype.text_embedded, [("'Größe €'", "Größe €"), ("''", "")]),
    "wide": ("LONGTEXT", Dtype.text, Stype.text_embedded, [("'😀\\\\ \\n\\0'", "😀\\ \n\0"), ("REPEAT('é', 70000)", "é" * 70000)]),
    "twice": ("INT AS (i8 * 2) PERSISTENT", Dtype.integer, Stype.numerical, [("DEFAULT", -256), ("DEFAULT", 254)]),
    "hidden": ("INT INVISIBLE", Dtype.integer, Stype.numerical, [("1", 1), ("NULL", None)]),
}
