"""What a model reads for a task: the tables within reach of a seed, and their columns."""

from __future__ import annotations

from dataclasses import dataclass

from rdl.audit.finding import Finding
from rdl.problems import plural
from rdl.query.task import Task
from rdl.schema import Relation, Schema

#: As far as the baselines' aggregates reach: over two keys to parents, and from each to its children's children.
HOPS = 4


@dataclass(frozen=True, slots=True)
class Checked:
    """What one check found, and what it looked at, in figures."""

    findings: tuple[Finding, ...]
    looked: str


class Inputs:
    """The tables that a seed of ``task`` reaches over at most :data:`HOPS` keys, in either direction; ``over`` holds
    by table the keys walked."""

    def __init__(self, task: Task, schema: Schema) -> None:
        self.task, self.schema = task, schema
        self.over: dict[str, tuple[Relation, ...]] = {task.entity: ()}
        frontier = [task.entity]
        for _ in range(HOPS):
            found = []
            for table in frontier:
                ends = [(relation, relation.parent) for relation in schema.relations_from(table)]
                ends += [(relation, relation.child) for relation in schema.relations_to(table)]
                for relation, end in ends:
                    if end not in self.over:
                        self.over[end] = (*self.over[table], relation)
                        found.append(end)
            frontier = found
        self._read = {
            (table, column.name)
            for table in self.over
            for column in schema.inputs(table)
            if (table, column.name) not in task.hidden and schema[table].told_by(column) is None
        }

    def reads(self, table: str, column: str) -> bool:
        """Whether a model reads the column as soon as its row is visible: it is an input within reach, is not hidden,
        and nothing says that it is known later."""
        return (table, column) in self._read

    def is_label(self, table: str, column: str) -> bool:
        """Whether it is a column of a row-level label, read on older rows alone."""
        return (table, column) in self.task.label_columns

    def away(self, table: str) -> str:
        """How far the table is from the seed, in words."""
        keys = self.over[table]
        return f"{plural(len(keys), 'key')} from the seed" if keys else "on the seed's own row"
