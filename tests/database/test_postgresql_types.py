"""Every PostgreSQL type: what it is read as, and what has no meaning here."""

from __future__ import annotations

import datetime as dt

import pytest

from rdl import clock
from rdl.database.postgresql import PostgresReader
from rdl.schema import Dtype, Schema, Stype
from tests.database.postgresql_engine import SETUP, reader_of
from tests.servers import PostgresServer

TYPES = {
    # declared type: (Dtype, cells in SQL, what is read)
    "smallint": (Dtype.integer, ["-32768", "7"], [-32768, 7]),
    "bigint": (Dtype.integer, ["9223372036854775807"], [2**63 - 1]),
    "oid": (Dtype.integer, ["4294967295"], [2**32 - 1]),
    "numeric(18,0)": (Dtype.integer, ["999999999999999999", "'NaN'"], [10**18 - 1, None]),
    "numeric(20,0)": (
        Dtype.integer,
        ["9223372036854775807", "9223372036854775808", "-9223372036854775809", "'NaN'"],
        [2**63 - 1, None, None, None],
    ),
    "numeric(5,-2)": (Dtype.integer, ["1234567"], [1234600]),
    "numeric(12,3)": (Dtype.decimal, ["-1.5", "'NaN'"], [-1.5, "nan"]),
    "numeric": (
        Dtype.decimal,
        ["1e400", "1e-400", "0", "'Infinity'", "'-Infinity'", "'NaN'", "0.1", "-1.7e308"],
        [None, 0.0, 0.0, float("inf"), float("-inf"), "nan", 0.1, -1.7e308],
    ),
    "real": (Dtype.float, ["1.5", "'NaN'", "'Infinity'"], [1.5, "nan", float("inf")]),
    "double precision": (Dtype.float, ["1e308", "'-Infinity'"], [1e308, float("-inf")]),
    "money": (Dtype.decimal, ["'1,234.56'", "'-92233720368547758.08'"], [1234.56, -92233720368547758.08]),
    "boolean": (Dtype.boolean, ["true", "false"], [True, False]),
    "bit(1)": (Dtype.boolean, ["B'1'", "B'0'"], [True, False]),
    "text": (Dtype.text, ["''", "'naïve 🐘'", "E'a\\nb\\\\'"], ["", "naïve 🐘", "a\nb\\"]),
    "varchar(3)": (Dtype.text, ["'ab '"], ["ab "]),
    "char(5)": (Dtype.text, ["'ab'"], ["ab"]),
    "name": (Dtype.text, ["'x'"], ["x"]),
    "citext": (Dtype.text, ["'MiXed'"], ["MiXed"]),
    "mood": (Dtype.text, ["'so-so'", "'né''e'"], ["so-so", "né'e"]),
    "positive": (Dtype.integer, ["5"], [5]),
    "inet": (Dtype.text, ["'10.0.0.1'"], ["10.0.0.1/32"]),
    "uuid": (Dtype.uuid, ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"], ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    "json": (Dtype.json, ["'{\"a\": [1]}'"], ['{"a": [1]}']),
    "jsonb": (Dtype.json, ["'{\"a\":1}'"], ['{"a": 1}']),
    "bytea": (Dtype.binary, ["'\\x00ff'"], [b"\x00\xff"]),
    "date": (
        Dtype.date,
        ["'1969-12-31'", "'9999-12-31'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'"],
        [dt.datetime(1969, 12, 31), dt.datetime(9999, 12, 31), "end", "beginning", "beginning", "end"],
    ),
    "timestamp": (
        Dtype.timestamp,
        ["'1969-12-31 23:59:59.999999'", "'infinity'", "'-infinity'", "'294276-12-31'", "'4713-01-01 BC'"],
        [dt.datetime(1969, 12, 31, 23, 59, 59, 999999), "end", "beginning", "end", "beginning"],
    ),
    "timestamptz": (
        Dtype.timestamp,
        ["'2020-01-01 00:30+02'", "'infinity'", "'-infinity'", "'0001-01-01 00:00+14'"],
        [dt.datetime(2019, 12, 31, 22, 30), "end", "beginning", "beginning"],
    ),
    "time": (Dtype.time, ["'23:59:59.999999'", "'24:00'"], [dt.time(23, 59, 59, 999999), None]),
    "timetz": (Dtype.time, ["'01:30+02'", "'24:00+00'"], [dt.time(23, 30), None]),
    "interval": (
        Dtype.interval,
        ["'1 year 2 mons -3 days 04:05:06.000007'", "'infinity'", "'178000000 years'"],
        [dt.timedelta(days=14 * 30.4375 - 3, hours=4, minutes=5, seconds=6, microseconds=7), None, None],
    ),
    "int[]": (Dtype.list, ["'{1,NULL,3}'", "'{}'", "'{{1,2},{3,4}}'"], [[1, None, 3], [], [1, 2, 3, 4]]),
    "text[]": (Dtype.list, ["'{a,\"b c\",NULL}'"], [["a", "b c", None]]),
    "mood[]": (Dtype.list, ["'{so-so}'"], [["so-so"]]),
    "uuid[]": (Dtype.list, ["'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'"], [["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]]),
    "numeric[]": (Dtype.list, ["'{1.5,1e400}'"], [[1.5, None]]),
    "timestamptz[]": (
        Dtype.list,
        ["'{infinity,2020-01-01 00:00+00}'", "'{}'"],
        [[dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.datetime(2020, 1, 1)], []],
    ),
    "bool[]": (Dtype.list, ["'{t,f}'"], [[True, False]]),
    "vector(2)": (Dtype.list, ["'[1,2.5]'"], [[1.0, 2.5]]),
}


@pytest.fixture(scope="module")
def typed(postgres: PostgresServer) -> tuple[PostgresReader, Schema]:
    """A database of a table a type: its cells, then a NULL."""
    made = []
    for number, (declared, (_, cells, _)) in enumerate(TYPES.items()):
        rows = ", ".join(f"({position}, {cell})" for position, cell in enumerate([*cells, "NULL"]))
        made += [f"CREATE TABLE t{number} (id int, c {declared})", f"INSERT INTO t{number} VALUES {rows}"]
    reader = reader_of(postgres, *SETUP, *made)
    return reader, reader.reflect()


@pytest.mark.parametrize("declared", TYPES)
def test_every_type(typed: tuple[PostgresReader, Schema], declared: str) -> None:
    reader, schema = typed
    dtype, _, expected = TYPES[declared]
    table = f"t{list(TYPES).index(declared)}"
    column = schema[table]["c"]
    assert (column.dtype, column.nullable) == (dtype, True)
    ends = {"end": clock.NO_END, "beginning": clock.NO_BEGINNING}
    found = reader.read(table, ["c"]).read_all()["c"].to_pylist()
    wanted = [clock.to_datetime(ends[c]) if isinstance(c, str) and c in ends else c for c in expected if c != "nan"]
    assert [cell for cell in found if cell == cell][:-1] == wanted  # noqa: PLR0124
    assert found[-1] is None
    assert len(found) == len(expected) + 1
    assert reader.repairs.get((table, "c"), 0) == (0 if dtype is Dtype.list else expected.count(None))
    assert reader.read(table, ["c"], limit=0).read_all().num_rows == 0


def test_what_types_mean(typed: tuple[PostgresReader, Schema]) -> None:
    _, schema = typed
    stypes = {declared: schema[f"t{number}"]["c"].stype for number, declared in enumerate(TYPES)}
    assert stypes["mood"] is Stype.categorical
    assert stypes["mood[]"] is Stype.multicategorical
    assert stypes["numeric[]"] is Stype.unsupported
    assert stypes["vector(2)"] is Stype.embedding


def test_types_without_a_meaning_are_left_out_with_a_warning(postgres: PostgresServer) -> None:
    odd = {
        "point": "'(1,2)'",
        "tsvector": "'a'",
        "pair": "'(1,2)'",
        "pair[]": "'{}'",
        "int4multirange": "'{}'",
        "bit(8)": "B'00000000'",
        "hstore": "'a=>1'",
        "xml": "NULL",
        "interval[]": "'{}'",
        "pg_lsn": "'0/0'",
        "jsonpath": "'$'",
    }
    columns = ", ".join(f'"{type_}" {type_}' for type_ in odd)
    reader = reader_of(
        postgres,
        "CREATE EXTENSION hstore",
        "CREATE TYPE pair AS (a int, b int)",
        f"CREATE TABLE t (id int PRIMARY KEY, {columns})",
        f"INSERT INTO t VALUES (1, {', '.join(odd.values())})",
        "CREATE TABLE only_odd (p point)",
    )
    schema = reader.reflect()
    assert [column.name for column in schema["t"].columns] == ["id"]
    assert list(schema.tables) == ["t"]
    assert len(reader.warnings) == len(odd) + 1  # the columns, and the table that has no others
    assert "column t.hstore was left out: its type hstore has no meaning here" in reader.warnings
    assert "table only_odd was left out: none of its columns can be read" in reader.warnings
    assert reader.read("t").read_all().to_pylist() == [{"id": 1}]


def test_a_range_is_two_columns(postgres: PostgresServer) -> None:
    reader = reader_of(
        postgres,
        "CREATE TABLE t (r tstzrange, n int4range, m numrange, d daterange, s int4range, s_lower int)",
        """INSERT INTO t VALUES
            ('[2020-01-01 00:00+00,infinity)', '[1,5]', '(,1.5]', '[2020-01-01,)', NULL, 1),
            ('empty', NULL, '[0,0]', '[-infinity,2020-01-01]', '[1,2]', 2)""",
    )
    schema = reader.reflect()
    names = ["r_lower", "r_upper", "n_lower", "n_upper", "m_lower", "m_upper", "d_lower", "d_upper", "s_lower"]
    assert [column.name for column in schema["t"].columns] == names
    assert reader.warnings == ["column t.s was left out: ['s_lower', 's_upper'] exist"]
    end, beginning = clock.to_datetime(clock.NO_END), clock.to_datetime(clock.NO_BEGINNING)
    first, second = (list(row.values()) for row in reader.read("t").read_all().to_pylist())
    assert first == [dt.datetime(2020, 1, 1), end, 1, 6, None, 1.5, dt.datetime(2020, 1, 1), None, 1]
    assert second == [None, None, None, None, 0.0, 0.0, beginning, dt.datetime(2020, 1, 2), 2]
    late = reader.read("t", ["n_lower"], since=("r_lower", clock.to_us("2020-01-01"))).read_all()
    assert late.to_pylist() == [{"n_lower": 1}]


def test_equal_keys_look_equal(postgres: PostgresServer) -> None:
    reader = reader_of(
        postgres,
        "CREATE EXTENSION citext",
        "CREATE TABLE a (id numeric PRIMARY KEY, c citext UNIQUE, d char(4) UNIQUE, e numeric(30,0) UNIQUE)",
        "CREATE TABLE b (a numeric REFERENCES a, c citext REFERENCES a (c), d varchar(9) REFERENCES a (d), "
        "e numeric(30,0) REFERENCES a (e))",
        "INSERT INTO a VALUES (1.50, 'Ann', 'x', 12345678901234567890), (2, 'Bob', 'y', 12345678901234567891)",
        "INSERT INTO b VALUES (1.5, 'ANN', 'x', 12345678901234567890), (2.00, 'bob', 'y', 12345678901234567891)",
    )
    parents, children = reader.read("a").read_all(), reader.read("b").read_all()
    for column, parent in zip(children.columns, parents.columns, strict=True):
        assert column.to_pylist() == parent.to_pylist()
        assert len(set(column.to_pylist())) == 2
