"""How the tables of a snapshot stand in a RelBench folder: the names of tables, and of their keys and times.

RelBench's keys are numbers: the primary key of row n is n, in the order of the file, and a foreign key holds the number
of the parent's row. Rows stand in the order of time, so that what was known at a time is a beginning of the table.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword

from rdl.schema import Relation, Schema, Table

Cell = tuple[str, str]


@dataclass(frozen=True, slots=True)
class TableLayout:
    """A table of the folder.

    ``name`` is its own, ``key`` the column of its rows' numbers, ``time`` that of their times (None: timeless),
    ``parents`` that of the parent's number for each relation. ``values`` holds, by name, the columns that keep the
    values of a key which numbers replace; ``labels``, by task, those of labels that no column holds.
    """

    source: Table
    name: str
    key: str
    time: str | None
    parents: Mapping[Relation, str]
    values: Mapping[str, str]
    labels: Mapping[str, str]

    def holder(self, column: str) -> str | None:
        """The column that holds the values of the source's ``column``; None where only numbers are left of them."""
        return self.values.get(column) if column in {self.key, *self.parents.values()} else column


def lay_out(schema: Schema, read: Collection[Cell], labels: Mapping[str, Sequence[str]]) -> dict[str, TableLayout]:
    """The layout of every table, by its name in ``schema``.

    ``read`` are the columns whose values the SQL of a task reads; ``labels`` names, by table, the tasks whose labels
    need a column.
    """
    taken = {"timestamps"}  # what RelBench calls the times that it asks about
    names = {table: _fresh(_file_name(table), taken) for table in schema.tables}
    return {
        name: _table(table, names[name], schema, {c for t, c in read if t == name}, labels.get(name, ()))
        for name, table in schema.tables.items()
    }


def is_plain(name: str) -> bool:
    """Whether ``name`` needs no quotes: RelBench puts the names of times and labels into SQL and Python as they are."""
    return re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is not None and not iskeyword(name)


def _table(table: Table, name: str, schema: Schema, read: Collection[str], labels: Sequence[str]) -> TableLayout:
    taken = {column.name.casefold() for column in table.columns}
    used: set[str] = set()
    key = table.primary_key[0] if len(table.primary_key) == 1 and is_plain(table.primary_key[0]) else None
    key = key or _fresh("row", taken)
    used.add(key)
    time = None
    if table.time is not None:
        own = not table.time.through and table.time.column not in used and is_plain(table.time.column)
        time = table.time.column if own else _fresh("time", taken)
        used.add(time)
    parents: dict[Relation, str] = {}
    for relation in schema.relations_from(table.name):
        if len(relation.key) == 1 and relation.key[0] not in used:
            parents[relation] = relation.key[0]
        else:
            parents[relation] = _fresh("_".join([*relation.key, relation.parent]), taken)
        used.add(parents[relation])
    replaced = {key, *parents.values()}
    values = {c.name: _fresh(f"{c.name}_value", taken) for c in table.columns if c.name in replaced and c.name in read}
    completed = {task: _fresh(re.sub(r"\W", "_", f"label_{task}", flags=re.ASCII), taken) for task in labels}
    return TableLayout(table, name, key, time, parents, values, completed)


def _file_name(table: str) -> str:
    """``table`` as the name of a file: no path."""
    name = re.sub(r"[/\\\0]", "_", table)
    return name if name.strip(".") else f"_{name}"


def _fresh(name: str, taken: set[str]) -> str:
    """``name``, with underscores where it is ``taken``, in whatever case; it is taken then."""
    while name.casefold() in taken:
        name += "_"
    taken.add(name.casefold())
    return name
