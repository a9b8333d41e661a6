"""What the audit takes the tables for: when their rows and columns were known, and what of it was inferred."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rdl.audit.inputs import Inputs
from rdl.infer import Proposal
from rdl.schema import Schema, Stype

#: What follows a meaning that was inferred, and what is said of these.
MARK = " *"
INFERRED = "* inferred from all rows, those to come included: write it into the schema file (rdl schema) to fix it"


@dataclass(frozen=True, slots=True)
class Meaning:
    """When the rows of ``table`` are known and over, and the columns that are known later or are no input as they are
    overwritten: ``facts`` in words, by what they are. What was ``inferred`` is marked in the words."""

    table: str
    facts: dict[str, str]
    inferred: bool

    def __str__(self) -> str:
        rest = [f"{what} {said}" for what, said in self.facts.items() if what != "time"]
        return "; ".join([self.facts["time"], *rest])


def meanings(inputs: Inputs, schema: Schema, proposals: Sequence[Proposal], file: Path | None) -> tuple[Meaning, ...]:
    """The meanings of the tables within reach, nearest first. What of ``proposals`` stands in ``schema`` and is not
    said in the schema ``file`` counts as inferred."""
    said = tomllib.loads(file.read_text(encoding="utf-8-sig")).get("tables", {}) if file is not None else {}
    guessed: dict[tuple[str, str, str | None], object] = {
        (one.table, one.kind, one.column): one.value
        for one in proposals
        if not one.suggested and not _says(said.get(one.table, {}), one)
    }
    found = []
    for name in inputs.over:
        table = schema[name]

        def mark(kind: str, column: str | None, value: object, name: str = name) -> str:
            return MARK if value is not None and guessed.get((name, kind, column)) == value else ""

        facts = {"time": f"{table.time or 'timeless'}{mark('time', None, table.time)}"}
        if table.valid_until:
            facts["over at"] = f"{table.valid_until}{mark('valid_until', None, table.valid_until)}"
        late = [column for column in table.columns if column.known_at]
        for told_by in dict.fromkeys(column.known_at for column in late):
            columns = [f"{one.name}{mark('known_at', one.name, told_by)}" for one in late if one.known_at == told_by]
            facts[f"at {told_by}"] = ", ".join(columns)
        unused = [
            f"{column.name}{MARK}"
            for column in table.columns
            if column.stype is Stype.unsupported and (name, "overwritten", column.name) in guessed
        ]
        if unused:
            facts["overwritten"] = ", ".join(unused)
        found.append(Meaning(name, facts, any(MARK in words for words in facts.values())))
    return tuple(found)


def _says(table: object, proposal: Proposal) -> bool:
    """Whether what a schema file says of a table settles what is proposed."""
    if not isinstance(table, dict):
        return False
    if proposal.column is None:
        return proposal.kind in table
    column = table.get("columns", {}).get(proposal.column, {})
    return ("stype" if proposal.kind == "overwritten" else proposal.kind) in column
