"""Reads a schema file, and merges it over a schema."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rdl.errors import SchemaError, did_you_mean
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath

_TIMES = (Dtype.date, Dtype.timestamp)
_STORED = {
    Stype.numerical: (Dtype.boolean, Dtype.integer, Dtype.float, Dtype.decimal, Dtype.interval, Dtype.time),
    Stype.timestamp: _TIMES,
    Stype.text_embedded: (Dtype.text, Dtype.uuid, Dtype.json),
}


def read(path: Path, schema: Schema) -> Schema:
    """``schema`` with the file at ``path`` merged over it. Raises SchemaError as :func:`merge`, and for a file that
    cannot be read."""
    return merge(schema, _text_of(path), source=str(path))


def infers(path: Path) -> bool:
    """Whether what neither the database nor the file at ``path`` says is to be inferred: its entry ``infer``, or True.
    Raises SchemaError as :func:`read`."""
    said = _document(_text_of(path), str(path)).get("infer", True)
    if not isinstance(said, bool):
        raise SchemaError(f"{path}: infer: {said!r} is neither true nor false", hint="write it without quotes.")
    return said


def read_formats(path: Path, schema: Schema) -> dict[tuple[str, str], str]:
    """The time formats that the file at ``path`` names, by (table, column) of ``schema``, which is as reflected.
    They are used before anything is inferred. Raises SchemaError as :func:`read`."""
    source, formats = str(path), dict[tuple[str, str], str]()
    document = _document(_text_of(path), source)
    for name, entry in _mapping(document.get("tables", {}), f"{source}: tables").items():
        where = f"{source}: tables.{name}"
        with _at(where):
            table = schema[name]
        read_ = _with_formats(table, _mapping(entry, where), where)
        formats |= {(name, c.name): c.time_format for c in read_.columns if c.time_format is not None}
    return formats


def _text_of(path: Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SchemaError(f"cannot read the schema file {path}: {reason}") from None


def _document(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(f"{source} is not TOML: {error}") from None


def merge(schema: Schema, text: str, *, source: str = "the schema file") -> Schema:
    """``schema`` with the TOML ``text`` merged over it: what the text says wins, what it leaves out stands.

    Raises SchemaError, naming ``source`` and the entry, where the text is no TOML or names a table, column, key or
    entry that is not there.
    """
    document = _document(text, source)
    _check(document, ("infer", "tables", "relations"), source)
    entries = _mapping(document.get("tables", {}), f"{source}: tables")
    for name in entries:
        with _at(f"{source}: tables.{name}"):
            _ = schema[name]
    tables = {name: replace(table, time=None) for name, table in schema.tables.items()}
    for name, entry in entries.items():
        tables[name] = _merge_table(tables[name], entry, f"{source}: tables.{name}")
    related = Schema(tables, _merge_relations(Schema(tables, schema.relations), document, source))
    timed = dict(related.tables)
    for name, table in schema.tables.items():
        entry = entries.get(name, {})
        with _at(f"{source}: tables.{name}.time"):
            time = time_of(entry["time"], related, name) if "time" in entry else table.time
            timed[name] = replace(timed[name], time=time)
            if time is not None:
                holder = Schema({**related.tables, name: timed[name]}, related.relations).time_table(name)
                _check_stored(holder[time.column], Stype.timestamp)
    return Schema(timed, related.relations)


def _merge_table(table: Table, value: object, where: str) -> Table:
    entry = _mapping(value, where)
    _check(entry, ("time", "primary_key", "valid_until", "columns"), where)
    table = _with_formats(table, entry, where)
    if "primary_key" in entry:
        table = replace(table, primary_key=_names(entry["primary_key"], table, f"{where}.primary_key"))
    if "valid_until" in entry:
        table = replace(table, valid_until=_time_column(entry["valid_until"], table, f"{where}.valid_until"))
    columns = {column.name: column for column in table.columns}
    for name, value_ in _mapping(entry.get("columns", {}), f"{where}.columns").items():
        place = f"{where}.columns.{name}"
        with _at(place):
            column = table[name]
        said = _mapping(value_, place)
        _check(said, ("stype", "known_at", "time_format"), place)
        if "stype" in said:
            if said["stype"] not in list(Stype):
                allowed = [str(stype) for stype in Stype]
                hint = did_you_mean(str(said["stype"]), allowed)
                raise SchemaError(f"{place}.stype: {said['stype']!r} is no semantic type", hint=hint)
            column = replace(column, stype=Stype(said["stype"]))
            with _at(f"{place}.stype"):
                _check_stored(column, column.stype)
        if "known_at" in said:
            column = replace(column, known_at=_time_column(said["known_at"], table, f"{place}.known_at"))
        columns[name] = column
    return replace(table, columns=tuple(columns.values()))


def _with_formats(table: Table, entry: Mapping[str, Any], where: str) -> Table:
    """``table`` with those columns read as times of which ``entry`` says how they are stored."""
    columns = {column.name: column for column in table.columns}
    for name, value in _mapping(entry.get("columns", {}), f"{where}.columns").items():
        place = f"{where}.columns.{name}"
        with _at(place):
            column = table[name]
        said = _mapping(value, place).get("time_format", column.time_format)
        if said != column.time_format:
            time_format = _text(said, f"{place}.time_format")
            with _at(f"{place}.time_format"):
                columns[name] = column.as_time(time_format)
    return replace(table, columns=tuple(columns.values()))


def _merge_relations(schema: Schema, document: Mapping[str, Any], source: str) -> tuple[Relation, ...]:
    entries = document.get("relations", [])
    if not isinstance(entries, list):
        raise SchemaError(f"{source}: relations is not a list", hint="write [[relations]] above each.")
    relations = list(schema.relations)
    for number, value in enumerate(entries, 1):
        where = f"{source}: relation {number}"
        entry = _mapping(value, where)
        _check(entry, ("child", "key", "parent", "referred", "ignore"), where)
        if missing := [key for key in ("child", "key", "parent") if key not in entry]:
            raise SchemaError(f"{where} has no {missing[0]}", hint="give child, key and parent.")
        with _at(where):
            child, parent = schema[_text(entry["child"], where)], schema[_text(entry["parent"], where)]
        key = _names(entry["key"], child, f"{where}.key")
        referred = _names(entry.get("referred", list(parent.primary_key)), parent, f"{where}.referred")
        relation = Relation(child.name, key, parent.name, referred)
        if len(key) != len(referred) or not key:
            raise SchemaError(f"{where}: {len(key)} columns refer to {len(referred)}", hint="name as many in referred.")
        if entry.get("ignore", False) is True:
            if relation not in relations:
                raise SchemaError(f"{where}: there is no {relation} to ignore", hint="compare `rdl inspect`.")
            relations.remove(relation)
        elif relation not in relations:
            relations.append(relation)
    return tuple(relations)


def time_of(value: object, schema: Schema, table: str) -> TimePath | None:
    """The time that ``value`` spells for ``table``. Raises SchemaError where it is none."""
    if value is False:
        return None
    if isinstance(value, str):
        if value in schema[table]:
            return TimePath(value)
        *keys, column = value.split(".")
        steps: list[object] = [key if _is_key(schema, table, (key,)) else key.split("+") for key in keys]
    elif isinstance(value, list) and value:
        *steps, column = value
    else:
        raise SchemaError(f"{value!r} is no time", hint='write "column", "key.column" or false.')
    through: list[tuple[str, ...]] = []
    at = table
    for step in steps:
        names = [step] if isinstance(step, str) else step
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise SchemaError(f"{step!r} is no key", hint="write the names of its columns.")
        for name in names:
            _ = schema[at][name]
        relation = schema.relation(at, tuple(names))
        through.append(relation.key)
        at = relation.parent
    if not isinstance(column, str):
        raise SchemaError(f"{column!r} is no column", hint="the last part of a time names a column.")
    _ = schema[at][column]
    return TimePath(column, tuple(through))


def _is_key(schema: Schema, table: str, key: tuple[str, ...]) -> bool:
    return any(relation.key == key for relation in schema.relations_from(table))


def _time_column(value: object, table: Table, where: str) -> str | None:
    if value is False:
        return None
    with _at(where):
        column = table[_text(value, where)]
        _check_stored(column, Stype.timestamp)
    return column.name


def _check_stored(column: Column, stype: Stype) -> None:
    stored = _STORED.get(stype)
    if stored and column.dtype not in (*stored, Dtype.unknown):
        allowed = ", ".join(stored)
        raise SchemaError(f"column {column.name!r} is {column.dtype}", hint=f"{stype} needs one of {allowed}.")


def _names(value: object, table: Table, where: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SchemaError(f"{where}: {value!r} is no list of columns", hint='write ["column", …].')
    with _at(where):
        return tuple(table[name].name for name in names)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise SchemaError(f"{where}: {value!r} is no name", hint="put a name in quotes.")
    return value


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SchemaError(f"{where}: {value!r} stands where entries are expected", hint="write it as a TOML table.")
    return value


def _check(entry: Mapping[str, object], allowed: Sequence[str], where: str) -> None:
    for key in entry:
        if key not in allowed:
            raise SchemaError(f"{where}: unknown entry {key!r}", hint=did_you_mean(key, allowed))


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Says where a SchemaError stands."""
    try:
        yield
    except SchemaError as error:
        raise SchemaError(f"{where}: {error.message}", hint=error.hint) from None
