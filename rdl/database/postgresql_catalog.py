"""What a PostgreSQL database declares, read from its catalogue in one query a kind, however many tables it has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import adbc_driver_postgresql.dbapi as adbc

from rdl.database.postgresql_connect import fetch, literal, qualified
from rdl.database.postgresql_types import PgType, Reading, reading, resolve
from rdl.database.registry import REGISTRY, is_registry
from rdl.database.selection import Place, names_of
from rdl.errors import DatabaseError, did_you_mean


@dataclass(frozen=True, slots=True)
class PgColumn:
    """A column; ``declared`` is its type as SQL writes it, ``made_of`` the expression of a generated one. A column that
    is dropped and added again has another ``number``: its default then stands in rows that were not written again."""

    name: str
    type: int
    modifier: int
    required: bool
    readable: bool
    declared: str
    made_of: str
    number: int


@dataclass(slots=True)
class PgTable:
    """A table, a partitioned one with all its partitions, or a view. ``keys`` holds the columns of each unique index,
    the primary key's first where ``has_primary``; ``foreign`` those of each foreign key, its parent and what it refers
    to there. ``whole`` says whether every column may be read, ``local`` whether all rows lie in the server's own
    heaps, ``guarded`` whether row-level security may hide some of them."""

    oid: int
    place: Place
    kind: str
    whole: bool
    local: bool
    guarded: bool
    columns: list[PgColumn] = field(default_factory=list)
    keys: list[tuple[str, ...]] = field(default_factory=list)
    has_primary: bool = False
    foreign: list[tuple[tuple[str, ...], int, tuple[str, ...]]] = field(default_factory=list)

    @property
    def sql(self) -> str:
        """What stands after FROM: without the rows of tables that inherit from it, as its keys do not hold for them."""
        return ("ONLY " if self.kind == "r" else "") + qualified(*self.place)

    @property
    def is_view(self) -> bool:
        """Whether it is read only on request: a view, a materialised one, a foreign table."""
        return self.kind in ("v", "m", "f")

    @property
    def readable(self) -> list[str]:
        """The columns that may be read."""
        return [column.name for column in self.columns if column.readable]

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key, else the first unique columns that are never NULL."""
        required = {column.name for column in self.columns if column.required}
        unique = self.keys[:1] if self.has_primary else [key for key in self.keys if required.issuperset(key)]
        return unique[0] if unique else ()


@dataclass(frozen=True, slots=True)
class Source:
    """One column to read: ``raw`` is what is stored, as SQL, and ``how`` it is read; ``declared`` its SQL type."""

    raw: str
    how: Reading
    declared: str
    type: str
    required: bool

    @property
    def sql(self) -> str:
        """SQL for the column in a form that Arrow can hold."""
        return self.how.sql.format(self.raw)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every table and view of the schemas picked, by oid, with what it is called; all types; and what is to be said."""

    tables: dict[int, PgTable]
    names: dict[int, str]
    types: dict[int, PgType]
    warnings: list[str]

    def sources(self, table: PgTable, keys: Iterable[str], warnings: list[str]) -> dict[str, Source]:
        """The columns of ``table`` that can be read, a range as two; a line in ``warnings`` for each left out."""
        found: dict[str, Source] = {}
        name, identifying = self.names[table.oid], set(keys)
        taken = {column.name for column in table.columns}
        for column in table.columns:
            if not column.readable:
                warnings.append(f"column {name}.{column.name} was left out: no permission to read it")
                continue
            oid, modifier = resolve(column.type, column.modifier, self.types)
            subtype = self.types[oid].subtype if oid in self.types else 0
            how = reading(subtype or oid, modifier, self.types, key=column.name in identifying)
            ends = [f"{column.name}_{end}" for end in ("lower", "upper")]
            if how is None or (subtype and taken.intersection(ends)):
                why = f"its type {column.declared} has no meaning here"
                warnings.append(
                    f"column {name}.{column.name} was left out: " + (why if how is None else f"{ends} exist")
                )
            elif subtype:
                declared = self.types[subtype].name
                for end, bound in zip(ends, ("lower", "upper"), strict=True):
                    found[end] = Source(f"{bound}({_own(column.name)})", how, declared, declared, False)
            else:
                name_ = self.types[oid].name
                found[column.name] = Source(_own(column.name), how, column.declared, name_, column.required)
        return found


# Rows of another server, or kept by an extension in its own way: they do not say which transaction wrote them.
_ELSEWHERE = "(c.relkind IN ('f', 'v') OR coalesce(m.amname, 'heap') <> 'heap')"


def _own(column: str) -> str:
    return qualified("r", column)


def schemas_of(connection: adbc.Connection, wanted: Sequence[str], where: str) -> list[str]:
    """The schemas ``wanted``, else those of the search path. Raises DatabaseError for one that is not there."""
    usable = "has_schema_privilege(oid, 'USAGE')"
    rows = fetch(connection, f"SELECT nspname::text, {usable} FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1")
    there = {str(name): bool(allowed) for name, allowed in rows}
    for name in wanted:
        if name not in there:
            raise DatabaseError(f"{where}: there is no schema {name!r}", hint=did_you_mean(name, there))
        if not there[name]:
            raise DatabaseError(f"{where}: no permission to use the schema {name!r}", hint="GRANT USAGE ON SCHEMA.")
    return list(wanted) or [str(name) for (name,) in fetch(connection, "SELECT unnest(current_schemas(false))::text")]


def filled_schemas(connection: adbc.Connection) -> list[str]:
    """The schemas in which there are tables."""
    query = """SELECT DISTINCT nspname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
        WHERE relkind IN ('r', 'p') AND nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1"""
    return [str(name) for (name,) in fetch(connection, query)]


def load(connection: adbc.Connection, schemas: Sequence[str]) -> Catalog:
    """Reads the catalogue of ``schemas``; what rdl wrote is not in it."""
    types = _types(connection)
    listed = ", ".join(literal(schema) for schema in schemas) or "NULL"
    ours = f"(SELECT oid FROM pg_namespace WHERE nspname IN ({listed}))"
    roots, distant = _roots(connection)
    query = f"""
        SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text,
               has_table_privilege(c.oid, 'SELECT'), NOT {_ELSEWHERE}, row_security_active(c.oid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am m ON m.oid = c.relam
        WHERE n.nspname IN ({listed}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT EXISTS (SELECT FROM pg_depend
            WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e') ORDER BY c.oid"""
    rows = sorted(fetch(connection, query), key=lambda row: schemas.index(row[1]))
    tables = {oid: PgTable(oid, (schema, name), *rest) for oid, schema, name, *rest in rows}
    roots = {part: whole for part, whole in roots.items() if whole in tables}  # else a partition stands for itself
    for oid in distant & tables.keys():
        tables[oid].local = False
    for oid, columns in _columns(connection, ours).items():
        if oid in tables:
            tables[oid].columns = list(columns.values())
    lost = _add_keys(connection, ours, tables, roots)
    written = _written(connection, tables.values())
    kept = {oid: table for oid, table in tables.items() if oid not in roots and table.place not in written}
    names = names_of([table.place for table in kept.values()])
    named = {oid: names[table.place] for oid, table in kept.items()}
    warnings = [
        f"table {named[parent]} is inherited by {', '.join(named.get(oid, str(oid)) for oid in heirs)}: each is read "
        "as a table of its own"
        for parent, heirs in _heirs(connection, ours).items()
        if parent in named
    ]
    warnings += [
        f"table {named[oid]}: row-level security shows only the rows that this user may see"
        for oid, table in kept.items()
        if table.guarded and not table.is_view
    ]
    warnings += [
        f"foreign key {named[oid]}.{key} was dropped: it refers to one partition, whose key is none of the whole table"
        for oid, key in lost
        if oid in named
    ]
    return Catalog(kept, named, types, warnings)


def _types(connection: adbc.Connection) -> dict[int, PgType]:
    query = """
        SELECT t.oid::int8, t.typname::text, t.typtype::text, t.typnamespace = 'pg_catalog'::regnamespace,
               t.typbasetype::int8, t.typtypmod, CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END::int8,
               coalesce(r.rngsubtype, 0)::int8
        FROM pg_type t LEFT JOIN pg_range r ON r.rngtypid = t.oid WHERE t.typtype <> 'c'"""
    return {oid: PgType(*rest) for oid, *rest in fetch(connection, query)}


def _roots(connection: adbc.Connection) -> tuple[dict[int, int], set[int]]:
    """Each partition, whatever its schema, and the topmost table that holds its rows; and those of the latter that have
    some rows elsewhere."""
    query = f"""SELECT i.inhrelid::int8, i.inhparent::int8, {_ELSEWHERE} FROM pg_inherits i
        JOIN pg_class p ON p.oid = i.inhparent JOIN pg_class c ON c.oid = i.inhrelid
        LEFT JOIN pg_am m ON m.oid = c.relam
        WHERE p.relkind = 'p' AND c.relispartition"""
    rows = fetch(connection, query)
    parents = {part: parent for part, parent, _ in rows}

    def top(oid: int) -> int:
        while oid in parents:
            oid = parents[oid]
        return oid

    return {oid: top(oid) for oid in parents}, {top(oid) for oid, _, distant in rows if distant}


def _heirs(connection: adbc.Connection, ours: str) -> dict[int, list[int]]:
    """The tables that inherit from each table of ``ours``."""
    query = f"""SELECT p.oid::int8, i.inhrelid::int8 FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
        WHERE p.relnamespace IN {ours} AND p.relkind = 'r' ORDER BY 1, 2"""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for parent, heir in fetch(connection, query):
        found[parent].append(heir)
    return found


def _columns(connection: adbc.Connection, ours: str) -> dict[int, dict[int, PgColumn]]:
    """The columns of every table, by oid and number."""
    query = f"""
        SELECT a.attrelid::int8, a.attnum::int8, a.attname::text, a.atttypid::int8, a.atttypmod, a.attnotnull,
               has_column_privilege(c.oid, a.attnum, 'SELECT'), format_type(a.atttypid, a.atttypmod),
               CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) ELSE '' END, a.attnum::int8
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated <> ''
        WHERE c.relnamespace IN {ours} AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum"""
    found: defaultdict[int, dict[int, PgColumn]] = defaultdict(dict)
    for oid, number, *rest in fetch(connection, query):
        found[oid][number] = PgColumn(*rest)
    return found


def _add_keys(
    connection: adbc.Connection, ours: str, tables: Mapping[int, PgTable], roots: Mapping[int, int]
) -> list[tuple[int, str]]:
    """Enters unique and foreign keys; a foreign key of a partition is one of the table it is part of. Returns those
    left out, as table and columns: they refer to the key of one partition, which the whole table may hold twice."""
    unique = f"""
        SELECT i.indrelid::int8, i.indisprimary, ARRAY(SELECT a.attname::text FROM generate_series(1, i.indnkeyatts) n
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[n - 1] ORDER BY n)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u')
        WHERE c.relnamespace IN {ours} AND i.indisunique AND i.indisvalid
          AND i.indpred IS NULL AND i.indexprs IS NULL
        ORDER BY i.indrelid, i.indisprimary DESC, k.oid IS NULL, i.indexrelid"""
    for oid, primary, columns in fetch(connection, unique):
        if oid in tables:
            tables[oid].keys.append(tuple(columns))
            tables[oid].has_primary |= bool(primary)
    spelled = """ARRAY(SELECT a.attname::text FROM unnest(k.{0}) WITH ORDINALITY AS u(number, n)
        JOIN pg_attribute a ON a.attrelid = k.{1} AND a.attnum = u.number ORDER BY u.n)"""
    foreign = f"""
        SELECT k.conrelid::int8, {spelled.format("conkey", "conrelid")}, k.confrelid::int8,
               {spelled.format("confkey", "confrelid")}
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        WHERE c.relnamespace IN {ours} AND k.contype = 'f' ORDER BY k.conrelid, k.oid"""
    lost = []
    for child, key, parent, referred in fetch(connection, foreign):
        table, whole = tables.get(roots.get(child, child)), tables.get(roots.get(parent, parent))
        if parent in roots and whole and not any(set(own) == set(referred) for own in whole.keys):
            lost.append((roots.get(child, child), "+".join(key)))
            continue
        found = (tuple(key), roots.get(parent, parent), tuple(referred))
        if table is not None and found not in table.foreign:
            table.foreign.append(found)
    return lost


def _written(connection: adbc.Connection, tables: Iterable[PgTable]) -> set[Place]:
    """The tables that rdl wrote, and its lists of them."""
    found: set[Place] = set()
    for table in tables:
        schema, name = table.place
        if table.kind == "r" and table.whole and is_registry(name, [column.name for column in table.columns]):
            rows = fetch(connection, f"SELECT table_name FROM {qualified(schema, name)}")
            found |= {table.place, *((schema, str(written)) for (written,) in rows)}
    return found


def registry_of(schema: str) -> str:
    """The SQL name of the list of rdl's tables in a schema."""
    return qualified(schema, REGISTRY)


def identity(connection: adbc.Connection) -> tuple[Any, ...]:
    """What tells this database from every other, a restored copy of it too, as far as the server lets it be asked."""
    own = "(SELECT oid FROM pg_database WHERE datname = current_database())::text"
    asked = " AND ".join(
        f"has_function_privilege('{f}()', 'EXECUTE')" for f in ("pg_control_system", "pg_control_checkpoint")
    )
    cluster = "(pg_control_system()).system_identifier::text, (pg_control_checkpoint()).timeline_id::text"
    allowed = fetch(connection, f"SELECT {asked}")[0][0]
    return fetch(connection, f"SELECT {own}, {cluster if allowed else 'NULL'}")[0]


def described(table: PgTable) -> tuple[Any, ...]:
    """What of a table's declaration says how its rows look."""
    columns = [(c.name, c.declared, c.readable, c.made_of, c.number) for c in table.columns]
    return (table.place, table.kind, columns)
