"""Schemas of every shape, generated: keys, types, names and rows, and the same in each engine's own SQL."""

from __future__ import annotations

import datetime as dt
import json
import string
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pyarrow as pa
from hypothesis import strategies as st

from rdl.schema import Dtype

Row = dict[str, object]

#: What a column of each kind holds, as Python values.
KINDS: dict[Dtype, st.SearchStrategy[object]] = {
    Dtype.boolean: st.booleans(),
    Dtype.integer: st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 9),
    Dtype.float: st.floats(-1e300, 1e300, allow_subnormal=False) | st.sampled_from([0.1, -0.0, 1e-5]),
    Dtype.decimal: st.decimals(-(10**9), 10**9, places=2),
    Dtype.text: st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
    | st.sampled_from(["NULL", "null", "1", "007", "true", "2020-01-01", "\\N", "\\", "'", '"', "a\nb", " x ", "%s"]),
    Dtype.date: st.dates(dt.date(1000, 1, 1), dt.date(9998, 12, 31)),
    Dtype.timestamp: st.datetimes(dt.datetime(1000, 1, 1), dt.datetime(9998, 12, 31)),
    Dtype.time: st.times(),
    Dtype.uuid: st.uuids(),
    Dtype.json: st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(-9, 9), max_size=2).map(json.dumps),
    Dtype.binary: st.binary(max_size=4),
    Dtype.interval: st.timedeltas(dt.timedelta(days=-34), dt.timedelta(days=34)),
    Dtype.list: st.lists(st.none() | st.integers(-9, 9), max_size=3),
}
#: What the columns of a key hold: few values, so that keys meet.
KEY_KINDS: dict[Dtype, st.SearchStrategy[object]] = {
    Dtype.integer: st.integers(-2, 5) | st.just(2**62 + 1),
    Dtype.text: st.sampled_from(["a", "A", "7", "007", "ä", "", " ", "日本", "🙂", "it's", "%", "a.b", "\\"]),
    Dtype.uuid: st.sampled_from([uuid.UUID(int=number << 96 | number) for number in range(6)]),
    Dtype.date: st.dates(dt.date(1969, 12, 30), dt.date(1970, 1, 4)),
}
ODD_NAMES = [
    "select", "Order Details", 'quo"ted', "it's", "back`tick", "dot.ted", ".lead", "a+b", "100%", "[br]", "größe",
    "日本", "🙂 x", "1st", "MixedCase", "x" * 60, "a  b", "#row", "null", "rowid", "true", "group", "table",
    "semi;colon", "-- no", "tab\tname", "line\nname", ":bind", "?", "$1", "{0}", "@x", "*", "_hidden", "oid", "time",
    "a,b", "(x)", "k=v", "Ångström", "ß", "'", '"', "%s", "%(x)s", "é" * 30, "back\\slash", "/*", "#",
]  # fmt: skip
_names = st.sampled_from(ODD_NAMES) | st.text(string.ascii_letters + " .\"'`+%[]é_-", min_size=1, max_size=9).map(
    lambda name: name.strip() or "x"
)


@dataclass(frozen=True)
class Key:
    """A foreign key: ``columns`` refer to the columns ``referred`` of ``parent``."""

    columns: tuple[str, ...]
    parent: str
    referred: tuple[str, ...]


@dataclass(frozen=True)
class TableSpec:
    """A table. ``unique`` are sets of columns without equal rows; the columns in ``required`` are never NULL."""

    name: str
    kinds: dict[str, Dtype]
    primary_key: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    required: frozenset[str] = frozenset()
    foreign: tuple[Key, ...] = ()
    rows: list[Row] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key, else the unique columns that stand in for one."""
        return self.primary_key or next((columns for columns in self.unique if self.required.issuperset(columns)), ())


def fresh(draw: st.DrawFn, taken: Iterable[str]) -> str:
    """A name that is not among ``taken``, whatever the case."""
    name, folded = draw(_names), {other.casefold() for other in taken}
    while name.casefold() in folded:
        name += draw(st.sampled_from("abcdefgh"))
    return name


@st.composite
def schemas(draw: st.DrawFn, kinds: frozenset[Dtype] = frozenset(KINDS)) -> list[TableSpec]:
    """Two to five tables with rows, whose columns are of these ``kinds``."""
    tables: list[TableSpec] = []
    for _ in range(draw(st.integers(2, 5))):
        name = fresh(draw, [table.name for table in tables])
        tables.append(draw(st.sampled_from([_plain, _plain, _junction]))(draw, name, tables, kinds))
    return [_with_keys(draw, table, tables) for table in tables]


def _plain(draw: st.DrawFn, name: str, before: list[TableSpec], kinds: frozenset[Dtype]) -> TableSpec:
    """A table with a primary key, a unique key or neither, and columns of any kind."""
    columns: dict[str, Dtype] = {}

    def add(width: int, among: Iterable[Dtype]) -> tuple[str, ...]:
        added: list[str] = []
        for _ in range(width):
            added.append(fresh(draw, columns))
            columns[added[-1]] = draw(st.sampled_from(sorted(among)))
        return tuple(added)

    primary = add(draw(st.integers(0, 3)), KEY_KINDS)
    unique = add(draw(st.integers(0, 2)), KEY_KINDS)
    add(draw(st.integers(0 if columns else 1, 3)), kinds)
    required = frozenset({*primary, *(unique if draw(st.booleans()) else ())})
    spec = TableSpec(name, columns, primary, (unique,) if unique else (), required)
    cells = {
        column: (KEY_KINDS[kind] if column in {*primary, *unique} else KINDS[kind]) for column, kind in columns.items()
    }
    nullable = {column: made if column in required else st.none() | made for column, made in cells.items()}
    rows = draw(st.lists(st.fixed_dictionaries(nullable), max_size=6))  # type: ignore[arg-type]
    return replace(spec, rows=_distinct(rows, [key for key in (primary, unique) if key]))


def _junction(draw: st.DrawFn, name: str, before: list[TableSpec], kinds: frozenset[Dtype]) -> TableSpec:
    """A table whose primary key is made of two foreign keys; a plain one where there are no parents for it."""
    parents = [(table, key) for table in before for key in {table.key} if key and table.rows]
    if not parents:
        return _plain(draw, name, before, kinds)
    columns: dict[str, Dtype] = {}
    foreign: list[Key] = []
    picked = [draw(st.sampled_from(parents)) for _ in range(2)]
    for parent, referred in picked:
        own = []
        for column in referred:
            own.append(fresh(draw, columns))
            columns[own[-1]] = parent.kinds[column]
        foreign.append(Key(tuple(own), parent.name, referred))
    rows: list[Row] = []
    for _ in range(draw(st.integers(0, 6))):
        row: Row = {}
        for key, (parent, referred) in zip(foreign, picked, strict=True):
            chosen = draw(st.sampled_from(parent.rows))
            row |= dict(zip(key.columns, (chosen[column] for column in referred), strict=True))
        rows.append(row)
    primary = tuple(columns)
    return TableSpec(name, columns, primary, (), frozenset(primary), tuple(foreign), _distinct(rows, [primary]))


def _with_keys(draw: st.DrawFn, table: TableSpec, tables: list[TableSpec]) -> TableSpec:
    """``table`` with up to two more foreign keys, to any table: itself, a later one, the same one twice."""
    candidates = [(parent, key) for parent in tables for key in (parent.primary_key, *parent.unique) if key]
    for _ in range(draw(st.integers(0, 2)) if candidates else 0):
        parent, referred = draw(st.sampled_from(candidates))
        own: list[str] = []
        for _ in referred:
            own.append(fresh(draw, [*table.kinds, *own]))
        kinds = {name: parent.kinds[column] for name, column in zip(own, referred, strict=True)}
        rows = []
        for row in table.rows:
            if parent.rows and draw(st.integers(0, 2)):
                chosen = draw(st.sampled_from(parent.rows))
                values = [chosen[column] for column in referred]
            else:
                values = [draw(st.none() | KEY_KINDS[kind]) for kind in kinds.values()]
            rows.append(row | dict(zip(own, values, strict=True)))
        key = Key(tuple(own), parent.name, referred)
        table = replace(table, kinds=table.kinds | kinds, foreign=(*table.foreign, key), rows=rows)
    return table


def _distinct(rows: list[Row], keys: list[tuple[str, ...]]) -> list[Row]:
    """``rows`` without those that repeat a key none of whose parts is NULL."""
    seen: set[tuple[object, ...]] = set()
    kept = []
    for row in rows:
        own = [(number, *(row[column] for column in key)) for number, key in enumerate(keys)]
        own = [key for key in own if None not in key]
        if not seen.intersection(own):
            seen.update(own)
            kept.append(row)
    return kept


def edges(table: TableSpec, key: Key, tables: Mapping[str, TableSpec]) -> list[tuple[Row, Row | None]]:
    """Each row of ``table`` with the row that its ``key`` names, by plain look-up."""
    parents = {tuple(row[column] for column in key.referred): row for row in tables[key.parent].rows}
    found = [tuple(row[column] for column in key.columns) for row in table.rows]
    return [(row, None if None in named else parents.get(named)) for row, named in zip(table.rows, found, strict=True)]


def renamed(tables: list[TableSpec], spell: Callable[[str], str]) -> list[TableSpec]:
    """``tables`` with every name as an engine can have it."""
    tables_by = _respelled([table.name for table in tables], spell)
    columns = {table.name: _respelled(list(table.kinds), spell) for table in tables}

    def of(table: str, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(columns[table][name] for name in names)

    return [
        TableSpec(
            tables_by[table.name],
            {columns[table.name][name]: kind for name, kind in table.kinds.items()},
            of(table.name, table.primary_key),
            tuple(of(table.name, unique) for unique in table.unique),
            frozenset(of(table.name, table.required)),
            tuple(
                Key(of(table.name, key.columns), tables_by[key.parent], of(key.parent, key.referred))
                for key in table.foreign
            ),
            [{columns[table.name][name]: value for name, value in row.items()} for row in table.rows],
        )
        for table in tables
    ]


def _respelled(names: list[str], spell: Callable[[str], str]) -> dict[str, str]:
    spelled: dict[str, str] = {}
    for name in names:
        new = spell(name)
        while new.casefold() in {other.casefold() for other in spelled.values()}:
            new += "x"
        spelled[name] = new
    return spelled


def enforced(tables: list[TableSpec]) -> list[TableSpec]:
    """``tables`` as an engine takes them that wants parents first: keys to earlier tables and to earlier rows of the
    same one only, every other reference NULL."""
    kept: list[TableSpec] = []
    for table in tables:
        known = {other.name: other for other in kept}
        foreign = tuple(key for key in table.foreign if key.parent in known or key.parent == table.name)
        rows: list[Row] = []
        for row in table.rows:
            new = dict(row)
            for key in foreign:
                parents = rows if key.parent == table.name else known[key.parent].rows
                there = {tuple(parent[column] for column in key.referred) for parent in parents}
                named = tuple(row[column] for column in key.columns)
                if named not in there or None in named:
                    new |= dict.fromkeys(key.columns)
            rows.append(new)
        kept.append(replace(table, foreign=foreign, rows=rows))
    return kept


@dataclass(frozen=True)
class Dialect:
    """An engine's SQL: ``types`` of columns, how a name and a value are written."""

    types: dict[Dtype, str]
    quote: Callable[[str], str]
    literal: Callable[[object], str]

    def names(self, columns: Iterable[str]) -> str:
        return ", ".join(self.quote(column) for column in columns)

    def create(self, table: TableSpec, *, keys: bool) -> str:
        """CREATE TABLE, its foreign keys with it where ``keys``."""
        parts = [
            f"{self.quote(name)} {self.types[kind]}{' NOT NULL' if name in table.required else ''}"
            for name, kind in table.kinds.items()
        ]
        if table.primary_key:
            parts.append(f"PRIMARY KEY ({self.names(table.primary_key)})")
        parts += [f"UNIQUE ({self.names(columns)})" for columns in table.unique]
        parts += [self.foreign(key) for key in table.foreign if keys]
        return f"CREATE TABLE {self.quote(table.name)} ({', '.join(parts)})"

    def foreign(self, key: Key) -> str:
        refers = f"REFERENCES {self.quote(key.parent)} ({self.names(key.referred)})"
        return f"FOREIGN KEY ({self.names(key.columns)}) {refers}"

    def add_keys(self, table: TableSpec, more: str = "") -> list[str]:
        """ALTER TABLE for each foreign key."""
        return [f"ALTER TABLE {self.quote(table.name)} ADD {self.foreign(key)}{more}" for key in table.foreign]

    def insert(self, table: TableSpec) -> list[str]:
        """An INSERT for each row."""
        rows = [", ".join(self.literal(row[name]) for name in table.kinds) for row in table.rows]
        return [f"INSERT INTO {self.quote(table.name)} VALUES ({row})" for row in rows]


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text(value: object) -> str:
    """A value as the text of an SQL literal."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | Decimal):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dt.datetime):
        value = value.isoformat(" ")
    if isinstance(value, dt.timedelta):
        micros = (value.seconds * 10**6) + value.microseconds
        return f"INTERVAL '{value.days} days {micros} microseconds'"
    return "'" + str(value).replace("'", "''") + "'"


def _sqlite(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return f"x'{value.hex()}'" if isinstance(value, bytes) else text(value)


def _duckdb(value: object) -> str:
    if isinstance(value, bytes):
        return "'" + "".join(f"\\x{byte:02x}" for byte in value) + "'::BLOB"
    if isinstance(value, list):
        return "[" + ", ".join(map(text, value)) + "]::BIGINT[]"
    return text(value)


def _postgresql(value: object) -> str:
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'::bytea"
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(text, value))}]::bigint[]"
    return text(value)


def _mysql(value: object) -> str:
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, dt.timedelta):
        seconds, micros = divmod(abs(value) // dt.timedelta(microseconds=1), 10**6)
        sign = "-" if value < dt.timedelta() else ""
        return f"'{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micros:06}'"
    written = text(value)
    return written.replace("\\", "\\\\") if written.startswith("'") else written


_PLAIN = {
    Dtype.boolean: "BOOLEAN", Dtype.integer: "BIGINT", Dtype.float: "DOUBLE PRECISION", Dtype.decimal: "DECIMAL(12, 2)",
    Dtype.text: "TEXT", Dtype.date: "DATE", Dtype.timestamp: "TIMESTAMP", Dtype.time: "TIME", Dtype.uuid: "UUID",
    Dtype.json: "JSON", Dtype.binary: "BLOB",
}  # fmt: skip
_BINARY = "VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
SQLITE = Dialect(_PLAIN, quote, _sqlite)
DUCKDB = Dialect(_PLAIN | {Dtype.interval: "INTERVAL", Dtype.list: "BIGINT[]"}, quote, _duckdb)
POSTGRESQL = Dialect(
    _PLAIN | {Dtype.binary: "bytea", Dtype.interval: "INTERVAL", Dtype.list: "BIGINT[]"}, quote, _postgresql
)
MYSQL = Dialect(
    {kind: type_ for kind, type_ in _PLAIN.items() if kind not in (Dtype.json, Dtype.time)}
    | {Dtype.text: _BINARY, Dtype.timestamp: "DATETIME(6)", Dtype.interval: "TIME(6)"},
    lambda name: "`" + name.replace("`", "``") + "`",
    _mysql,
)

ARROW = {
    Dtype.boolean: pa.bool_(), Dtype.integer: pa.int64(), Dtype.float: pa.float64(),
    Dtype.decimal: pa.decimal128(12, 2), Dtype.text: pa.string(), Dtype.date: pa.date32(),
    Dtype.timestamp: pa.timestamp("us"), Dtype.time: pa.time64("us"), Dtype.binary: pa.binary(),
    Dtype.list: pa.list_(pa.int64()),
}  # fmt: skip


def to_arrow(table: TableSpec) -> pa.Table:
    """The rows of ``table`` in the types of ``ARROW``."""
    return pa.table(
        [pa.array([row[name] for row in table.rows], ARROW[kind]) for name, kind in table.kinds.items()],
        names=list(table.kinds),
    )


def as_read(value: object) -> object:
    """What a reader gives back for a value, in a form that can be compared and hashed."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return dt.datetime(value.year, value.month, value.day)
    return value
