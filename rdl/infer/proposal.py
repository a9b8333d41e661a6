"""A proposal: one thing that a schema does not say and its data suggest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from rdl.schema import Column, Relation, Schema, Stype, Table, TimePath

Kind = Literal[
    "primary_key", "relation", "time", "valid_until", "stype", "known_at", "leak", "time_format", "overwritten"
]


@dataclass(frozen=True, slots=True)
class Proposal:
    """One addition to a schema.

    ``value`` is by ``kind`` the columns of the primary key, the relation, the time, the name of the column after whose
    time a row is over, the semantic type of ``column`` (``unsupported`` of a suspected leak and of what is
    overwritten), the name of the column that says when ``column`` became known, or how the times in ``column`` are
    stored. ``evidence`` says in words what was seen; ``confidence`` orders proposals from 0 to 1 and is no probability.
    What is ``suggested`` is shown and not used: :func:`apply` passes over it.

    >>> print(Proposal("time", "results", TimePath("date", (("raceId",),)), "every row has a race"))
    results.time = raceId.date: every row has a race
    """

    kind: Kind
    table: str
    value: tuple[str, ...] | Relation | TimePath | Stype | str
    evidence: str
    column: str | None = None
    confidence: float = 1.0
    suggested: bool = False

    @property
    def what(self) -> str:
        """What is proposed, on one line."""
        match self.value:
            case Relation():
                return str(self.value)
            case TimePath():
                return f"{self.table}.time = {self.value}"
            case Stype():
                said = {"leak": "may tell the future", "overwritten": "is overwritten, so no input"}
                return f"{self.table}.{self.column} {said.get(self.kind, f'= {self.value}')}"
            case str() if self.kind == "valid_until":
                return f"{self.table}.valid_until = {self.value}"
            case str() if self.kind == "time_format":
                return f'{self.table}.{self.column} time_format = "{self.value}"'
            case str():
                return f"{self.table}.{self.column} known at {self.value}"
            case _:
                return f"{self.table}.primary_key = {'+'.join(self.value)}"

    @property
    def subject(self) -> str:
        """What it is about, as :func:`rdl.schema_file.write` names it."""
        if isinstance(self.value, Relation):
            return str(self.value)
        if self.column is None:
            return f"{self.table}.{self.kind}"
        what = f".{self.kind}" if self.kind in ("known_at", "leak", "time_format") else ""
        return f"{self.table}.columns.{self.column}{what}"

    def __str__(self) -> str:
        return f"{self.what}: {self.evidence}"

    def to_json(self) -> dict[str, object]:
        """The proposal as JSON values, with ``what`` as text."""
        value = asdict(self.value) if isinstance(self.value, Relation | TimePath) else self.value
        facts = {"kind": self.kind, "table": self.table, "column": self.column, "what": self.what, "value": value}
        return {**facts, "evidence": self.evidence, "confidence": self.confidence, "suggested": self.suggested}


def apply(schema: Schema, proposals: Sequence[Proposal]) -> Schema:
    """``schema`` with ``proposals`` in place, but for those only suggested. Raises SchemaError where one names what is
    not there."""
    tables = dict(schema.tables)
    relations = list(schema.relations)
    for proposal in proposals:
        if proposal.suggested:
            continue
        table = schema[proposal.table]
        match proposal.value:
            case Relation():
                if proposal.value not in relations:
                    relations.append(proposal.value)
            case Stype():
                changed = replace(tables[table.name][proposal.column or ""], stype=proposal.value)
                tables[table.name] = _with_column(tables[table.name], changed)
            case str() if proposal.kind == "valid_until":
                tables[table.name] = replace(tables[table.name], valid_until=proposal.value)
            case str() if proposal.kind == "time_format":
                changed = tables[table.name][proposal.column or ""].as_time(proposal.value)
                tables[table.name] = _with_column(tables[table.name], changed)
            case str():
                _ = table[proposal.value]
                changed = replace(tables[table.name][proposal.column or ""], known_at=proposal.value)
                tables[table.name] = _with_column(tables[table.name], changed)
            case TimePath():
                tables[table.name] = replace(tables[table.name], time=proposal.value)
            case _:
                tables[table.name] = replace(tables[table.name], primary_key=proposal.value)
    return Schema(tables, tuple(relations))


def suggestions(schema: Schema, proposals: Sequence[Proposal]) -> list[tuple[Schema, str]]:
    """For each of ``proposals`` only suggested, and not in ``schema``: the schema with it, and why."""
    taken = (
        (apply(schema, [replace(proposal, suggested=False)]), proposal.evidence)
        for proposal in proposals
        if proposal.suggested
    )
    return [(with_it, evidence) for with_it, evidence in taken if with_it != schema]


def _with_column(table: Table, changed: Column) -> Table:
    """``table`` with ``changed`` in the place of the column of that name."""
    columns = tuple(changed if column.name == changed.name else column for column in table.columns)
    return replace(table, columns=columns)
