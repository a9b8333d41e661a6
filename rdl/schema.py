"""What a database is made of: tables, columns with a meaning, and relations from child to parent.

Every object here is immutable and knows no connection. Keys are tuples, so composite and self-referencing keys are
nothing special. A ``Schema`` is written to and merged from ``schemas/<db>.toml`` by :mod:`rdl.schema_file`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum

from rdl.errors import SchemaError, did_you_mean


class Stype(StrEnum):
    """The semantic type of a column: what its values mean to a model. Values are torch-frame's own names,
    but for the last two, which are no input of a model."""

    numerical = "numerical"
    categorical = "categorical"
    multicategorical = "multicategorical"
    timestamp = "timestamp"
    text_embedded = "text_embedded"
    embedding = "embedding"
    identifier = "identifier"
    unsupported = "unsupported"


class Dtype(StrEnum):
    """How a column's values are stored, in one vocabulary for all engines."""

    boolean = "boolean"
    integer = "integer"
    float = "float"
    decimal = "decimal"
    text = "text"
    date = "date"
    timestamp = "timestamp"
    time = "time"
    interval = "interval"
    uuid = "uuid"
    json = "json"
    binary = "binary"
    list = "list"
    unknown = "unknown"


#: How times may be stored in columns of other types: a number of the unit since 1970 UTC, or text that begins with the
#: year, UTC where it names no offset. By format, the storage types that can hold it.
TIME_FORMATS: Mapping[str, tuple[Dtype, ...]] = {
    **dict.fromkeys(("s", "ms", "us", "ns"), (Dtype.integer, Dtype.float, Dtype.decimal)),
    "iso": (Dtype.text,),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column. ``known_at`` names the column of the same table that says when this one's value became known;
    before that time, and where it is NULL, the value is masked and a foreign key leads nowhere. None: known with its
    row.

    ``time_format``, one of :data:`TIME_FORMATS`, says that the column is stored so and read as a timestamp. None: read
    as stored.
    """

    name: str
    dtype: Dtype
    stype: Stype
    nullable: bool = True
    known_at: str | None = None
    time_format: str | None = None

    def as_time(self, time_format: str) -> Column:
        """The column read as times stored as ``time_format``; one of a key stays an identifier. Raises SchemaError for
        an unknown format, and where the column's storage cannot hold it."""
        if time_format not in TIME_FORMATS:
            allowed = ", ".join(map(repr, TIME_FORMATS))
            raise SchemaError(f"{time_format!r} is no time format", hint=f"use one of {allowed}.")
        if self.time_format is None:
            fits = self.dtype in TIME_FORMATS[time_format]
        else:
            fits = TIME_FORMATS[self.time_format] == TIME_FORMATS[time_format]
        if not fits:
            stored = self.dtype if self.time_format is None else f"stored as {self.time_format!r}"
            hint = "a time already needs no time_format." if self.dtype in (Dtype.date, Dtype.timestamp) else None
            hint = hint or f"{time_format!r} needs one of {', '.join(TIME_FORMATS[time_format])}."
            raise SchemaError(f"column {self.name!r} is {stored}", hint=hint)
        stype = self.stype if self.stype is Stype.identifier else Stype.timestamp
        return replace(self, dtype=Dtype.timestamp, stype=stype, time_format=time_format)


@dataclass(frozen=True, slots=True)
class TimePath:
    """Where a row's time stands: in ``column`` of its own table, or of the table reached through foreign keys.

    ``through`` holds the foreign keys to walk, each a tuple of columns: ``results`` taking its time from
    ``races.date`` is ``TimePath("date", through=(("raceId",),))`` and prints as ``raceId.date``.
    """

    column: str
    through: tuple[tuple[str, ...], ...] = ()

    def __str__(self) -> str:
        return ".".join(["+".join(key) for key in self.through] + [self.column])


@dataclass(frozen=True, slots=True)
class Table:
    """A table. ``time`` says when a row became known (None: timeless, always known); ``valid_until`` names the
    column after whose time a row is over (NULL there: not over)."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    time: TimePath | None = None
    valid_until: str | None = None

    def __getitem__(self, column: str) -> Column:
        """The column called ``column``. Raises SchemaError, with the nearest name, where there is none."""
        for candidate in self.columns:
            if candidate.name == column:
                return candidate
        raise SchemaError(
            f"table {self.name!r} has no column {column!r}", hint=did_you_mean(column, [c.name for c in self.columns])
        )

    def told_by(self, column: Column) -> str | None:
        """The column of this table that says when ``column`` became known: its ``known_at``; itself where it is the
        end of the row or tells of another column, for nobody knows that time before it has come; None where it was
        known with its row."""
        tells = column.name == self.valid_until or any(other.known_at == column.name for other in self.columns)
        return column.known_at or (column.name if tells else None)

    def __contains__(self, column: object) -> bool:
        return any(candidate.name == column for candidate in self.columns)


@dataclass(frozen=True, slots=True)
class Relation:
    """A foreign key: the columns ``key`` of ``child`` refer to the columns ``referred`` of ``parent``."""

    child: str
    key: tuple[str, ...]
    parent: str
    referred: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.child}.{'+'.join(self.key)} → {self.parent}.{'+'.join(self.referred)}"


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables by name and the relations between them.

    Raises SchemaError where a key, a time or a relation names something that is not there, and where a table takes its
    time through a foreign key that is known later than its rows.
    """

    tables: Mapping[str, Table]
    relations: tuple[Relation, ...] = field(default=())

    def __post_init__(self) -> None:
        for relation in self.relations:
            if len(relation.key) != len(relation.referred):
                raise SchemaError(f"{relation}: {len(relation.key)} columns refer to {len(relation.referred)}")
            for table, columns in ((relation.child, relation.key), (relation.parent, relation.referred)):
                for column in columns:
                    _ = self[table][column]
        for table_ in self.tables.values():
            for column in (*table_.primary_key, *([table_.valid_until] if table_.valid_until else [])):
                _ = table_[column]
            if table_.time:
                self.time_table(table_.name)
                self._refuse_late_times(table_)

    def __getitem__(self, table: str) -> Table:
        """The table called ``table``. Raises SchemaError, with the nearest name, where there is none."""
        if table not in self.tables:
            raise SchemaError(f"there is no table {table!r}", hint=did_you_mean(table, self.tables))
        return self.tables[table]

    def relations_from(self, child: str) -> tuple[Relation, ...]:
        """The foreign keys of ``child``, in the schema's order."""
        return tuple(relation for relation in self.relations if relation.child == child)

    def relations_to(self, parent: str) -> tuple[Relation, ...]:
        """The foreign keys that refer to ``parent``, in the schema's order."""
        return tuple(relation for relation in self.relations if relation.parent == parent)

    def told_by(self, relation: Relation) -> tuple[str, ...]:
        """The columns of the child that say when its key became known, the latest of them; none where it was known with
        its row."""
        child = self[relation.child]
        told = (child.told_by(child[column]) for column in relation.key)
        return tuple(dict.fromkeys(column for column in told if column is not None))

    def relation(self, child: str, key: tuple[str, ...]) -> Relation:
        """The relation of ``child`` over the columns ``key``. Raises SchemaError where there is none."""
        for relation in self.relations_from(child):
            if relation.key == key:
                return relation
        keys = ["+".join(relation.key) for relation in self.relations_from(child)]
        raise SchemaError(f"{child}.{'+'.join(key)} is not a foreign key", hint=did_you_mean("+".join(key), keys))

    def inputs(self, table: str) -> tuple[Column, ...]:
        """The columns of ``table`` that mean something beyond which row it is, so that a model may read them: no
        identifier and nothing unsupported, no part of a foreign key, nothing that a foreign key refers to, and no
        primary key of one column. What is left of a composite primary key, as the lap of a race or the line of an
        order, is a value."""
        keys = {name for relation in self.relations_from(table) for name in relation.key}
        keys |= {name for relation in self.relations_to(table) for name in relation.referred}
        if len(self[table].primary_key) == 1:
            keys.update(self[table].primary_key)
        useless = (Stype.identifier, Stype.unsupported)
        return tuple(one for one in self[table].columns if one.stype not in useless and one.name not in keys)

    def time_relations(self, table: str) -> tuple[Relation, ...]:
        """The relations walked, in order, from ``table`` to the table that holds its time; empty where its own."""
        time, walked, at = self[table].time, [], table
        for key in time.through if time else ():
            walked.append(self.relation(at, key))
            at = walked[-1].parent
        return tuple(walked)

    def time_table(self, table: str) -> Table:
        """The table whose column holds the time of ``table``'s rows. Raises SchemaError where it is timeless."""
        time = self[table].time
        if time is None:
            raise SchemaError(f"table {table!r} has no time column")
        walked = self.time_relations(table)
        holder = self[walked[-1].parent if walked else table]
        _ = holder[time.column]
        return holder

    def _refuse_late_times(self, table: Table) -> None:
        """Before such a key is known nobody knows when the row is there, and its time would say that it was."""
        for relation in self.time_relations(table.name):
            if told := self.told_by(relation):
                key = f"{relation.child}.{'+'.join(relation.key)}"
                raise SchemaError(
                    f"table {table.name!r} takes its time, {table.time}, through {key}, which is known later than its "
                    f"row, at {' and '.join(told)}: its rows would be seen too early",
                    hint=f"give {table.name!r} a time of its own, or time = false, or take known_at away from {key}.",
                )

    def to_json(self) -> dict[str, object]:
        """The schema as JSON values; :meth:`from_json` reads it back."""
        return {
            "tables": [asdict(table) for table in self.tables.values()],
            "relations": [asdict(relation) for relation in self.relations],
        }

    @staticmethod
    def from_json(value: Mapping[str, object]) -> Schema:
        """The schema that :meth:`to_json` wrote."""
        tables: dict[str, Table] = {}
        for entry in value["tables"]:  # type: ignore[attr-defined]
            columns = tuple(
                Column(**{**column, "dtype": Dtype(column["dtype"]), "stype": Stype(column["stype"])})
                for column in entry["columns"]
            )
            time = entry["time"] and TimePath(entry["time"]["column"], tuple(map(tuple, entry["time"]["through"])))
            tables[entry["name"]] = Table(
                entry["name"], columns, tuple(entry["primary_key"]), time, entry["valid_until"]
            )
        relations = tuple(
            Relation(entry["child"], tuple(entry["key"]), entry["parent"], tuple(entry["referred"]))
            for entry in value["relations"]  # type: ignore[attr-defined]
        )
        return Schema(tables, relations)

    def fingerprint(self) -> str:
        """Sixteen hex digits that change with anything in the schema."""
        text = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
