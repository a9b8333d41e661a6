"""``schemas/<db>.toml``: what reflection cannot know about a database, to be read, edited and merged by hand.

    [tables.races]
    time = "date"                                # when a row became known; false: timeless
    [tables.results]
    time = "raceId.date"                         # through the foreign key raceId; a composite key is "a+b.date"
    primary_key = ["resultId"]
    valid_until = "closed_at"                    # after this time a row is over; false: never
    columns.grid = { stype = "numerical", known_at = "started_at" }
    columns.total_points = { stype = "unsupported" }   # no input: it tells the future
    columns.created = { time_format = "s" }      # a number since 1970: "s", "ms", "us", "ns"; ISO text: "iso"
    [[relations]]
    child = "orders"
    key = ["user_id"]
    parent = "users"
    referred = ["id"]                            # default: the parent's primary key; ignore = true: leave it out

Where a name holds a dot or a plus, a time is a list: ``time = ["race.id", "date"]``, ``time = [["a", "b"], "date"]``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import InlineTable, Item
from tomlkit.items import Table as TomlTable

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
    _check(document, ("tables", "relations"), source)
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
            time = _time(entry["time"], related, name) if "time" in entry else table.time
            timed[name] = replace(timed[name], time=time)
            if time is not None:
                holder = Schema({**related.tables, name: timed[name]}, related.relations).time_table(name)
                _check_stored(holder[time.column], Stype.timestamp)
    return Schema(timed, related.relations)


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
        if _time(text, schema, table.name) == table.time:
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


def _time(value: object, schema: Schema, table: str) -> TimePath | None:
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
