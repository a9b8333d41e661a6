"""Writes what a schema says beyond a reflected one, as a schema file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tomlkit
from tomlkit.items import InlineTable, Item
from tomlkit.items import Table as TomlTable

from rdl.errors import SchemaError
from rdl.schema import Column, Relation, Schema, Table
from rdl.schema_file.reading import time_of


def write(
    schema: Schema,
    reflected: Schema,
    evidence: Mapping[str, str] | None = None,
    suggested: Sequence[tuple[Schema, str]] = (),
) -> str:
    """TOML with all that ``schema`` says beyond ``reflected``: ``merge(reflected, write(schema, reflected))`` has
    the same tables and relations as ``schema``.

    ``evidence`` is put beside entries as comments, by ``table.time``, ``table.primary_key``, ``table.valid_until``,
    ``table.columns.column``, ``table.columns.column.known_at`` or a relation as text. ``suggested`` are schemas that
    say more than ``schema``, each with why: what they say is written as comments, to be used by taking the # away.
    Raises SchemaError where the schemas have other tables or columns.
    """
    evidence = evidence or {}
    document = tomlkit.document()
    document.add(tomlkit.comment("What the database does not declare. Edit freely: what stands here wins."))
    if suggested:
        document.add(tomlkit.comment("Entries behind a # are suggested and not used: take the # away to use one."))
    timeless = [_line(name) for name, table in schema.tables.items() if table.time is None]
    if timeless:
        document.add(tomlkit.comment(f"Timeless, so always known: {', '.join(timeless)}."))
    document.add(tomlkit.comment("infer = false  # then only this holds, and data to come change none of it"))
    document.add(tomlkit.nl())
    tables = tomlkit.table(is_super_table=True)
    for name in schema.tables:
        entry = _table_entry(schema, name, reflected, evidence, suggested)
        if entry.as_string().strip():
            tables.append(name, entry)
    if tables.value:
        document.append("tables", tables)
    gone = [relation for relation in reflected.relations if relation not in schema.relations]
    added = [relation for relation in schema.relations if relation not in reflected.relations]
    entries = tomlkit.aot()
    for relation in gone + added:
        entries.append(_relation_entry(relation, evidence.get(str(relation)), ignore=relation in gone))
    if added or gone:
        document.append("relations", entries)
    text = tomlkit.dumps(document)
    for with_it, why in suggested:
        for relation in with_it.relations:
            if relation not in schema.relations:
                block = tomlkit.aot()
                block.append(_relation_entry(relation, why))
                lines = tomlkit.dumps({"relations": block}).strip().splitlines()
                text += "\n" + "".join(f"# {line}\n" for line in lines)
    return text


def _relation_entry(relation: Relation, why: str | None, *, ignore: bool = False) -> TomlTable:
    entry = tomlkit.table()
    values = {"child": relation.child, "key": list(relation.key), "parent": relation.parent}
    for key, value in (values | {"referred": list(relation.referred)}).items():
        entry.append(key, value)
    if ignore:
        entry.append("ignore", True)
    _comment(entry["parent"], why)
    return entry


def _table_entry(
    schema: Schema, name: str, reflected: Schema, evidence: Mapping[str, str], suggested: Sequence[tuple[Schema, str]]
) -> TomlTable:
    entry, columns = tomlkit.table(), tomlkit.table()
    for key, value in _table_facts(schema, schema[name], reflected[name]).items():
        entry.append(key, tomlkit.item(value))
        _comment(entry[key], evidence.get(f"{name}.{key}"))
    for column in schema[name].columns:
        if (said := _column_facts(column, reflected[name][column.name])).value:
            columns.append(column.name, said)
            subject = f"{name}.columns.{column.name}"
            why = [evidence[key] for key in (subject, f"{subject}.known_at") if key in evidence]
            _comment(columns[column.name], "; ".join(why))
    for with_it, why_ in suggested:
        for key, value in _table_facts(with_it, with_it[name], schema[name]).items():
            _suggest(entry, key, value, why_)
        for column in with_it[name].columns:
            if column != schema[name][column.name]:
                said = _column_facts(column, reflected[name][column.name])
                _suggest(columns, column.name, said, f"instead: {why_}" if column.name in columns else why_)
    if columns.as_string().strip():
        entry.append("columns", columns)
    return entry


def _suggest(entry: TomlTable, key: str, value: object, why: str) -> None:
    """Writes ``key`` with its value as a comment."""
    document = tomlkit.document()
    document.append(key, tomlkit.item(value))
    entry.add(tomlkit.comment(f"{tomlkit.dumps(document).strip()} # {_line(why)}"))


def _table_facts(schema: Schema, table: Table, reflected: Table) -> dict[str, object]:
    """What ``table`` says beyond ``reflected``, but for its columns."""
    facts: dict[str, object] = {}
    if table.time != reflected.time:
        facts["time"] = False if table.time is None else _time_entry(schema, table)
    if table.primary_key != reflected.primary_key:
        facts["primary_key"] = list(table.primary_key)
    if table.valid_until != reflected.valid_until:
        facts["valid_until"] = table.valid_until if table.valid_until is not None else False
    return facts


def _column_facts(column: Column, reflected: Column) -> InlineTable:
    """What ``column`` says beyond ``reflected``."""
    said = tomlkit.inline_table()
    if column.time_format is not None and column.time_format != reflected.time_format:
        said.append("time_format", column.time_format)
        reflected = reflected.as_time(column.time_format)
    if column.stype != reflected.stype:
        said.append("stype", str(column.stype))
    if column.known_at != reflected.known_at:
        said.append("known_at", column.known_at if column.known_at is not None else False)
    return said


def _time_entry(schema: Schema, table: Table) -> str | list[object]:
    """A time as text where text is read back as the same time, else as a list."""
    if table.time is None:
        return []
    text = str(table.time)
    try:
        if time_of(text, schema, table.name) == table.time:
            return text
    except SchemaError:
        pass
    return [*([*key] for key in table.time.through), table.time.column]


def _comment(item: object, text: str | None) -> None:
    if text and isinstance(item, Item):
        item.comment(_line(text))


def _line(text: str) -> str:
    """``text`` as a comment can hold it: on one line, without control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
