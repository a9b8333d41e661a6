"""What an audit finds: what may leak, with what was seen, and what to write down about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import tomlkit

from rdl.query.tokens import spelled


class Severity(StrEnum):
    """How grave a finding is: the data prove a leak, make one likely, or only its owner can tell."""

    severe = "severe"
    suspect = "suspect"
    note = "note"


class Kind(StrEnum):
    """What was found. Each value is how it is shown."""

    tells = "tells the label"
    follows = "follows from the label"
    later = "later than its row"
    overwritten = "overwritten in place"
    filled = "filled in later"
    aggregate = "sums up later rows"
    future = "changes with the future"
    unborn = "not there yet"
    growing = "grows without a time"
    early = "older than its parent"
    backdated = "written later than its time says"
    untimed = "without a time"


@dataclass(frozen=True, slots=True)
class Fix:
    """What to write so that a finding goes away: ``clause`` as it stands in the query, or what the schema file says of
    ``column`` of ``table``, or of the table itself where the column is None: ``entry`` = ``value``."""

    table: str
    column: str | None = None
    entry: str | None = None
    value: str | bool = "unsupported"
    clause: str | None = None

    @staticmethod
    def hide(table: str, column: str) -> Fix:
        """The column is no input of this task: HIDE in the query."""
        return Fix(table, column, clause=f"HIDE {spelled(table, column)}")

    @staticmethod
    def leave_out(table: str, column: str) -> Fix:
        """The column is no input of any task: said in the schema file."""
        return Fix(table, column, "stype", "unsupported")

    @property
    def where(self) -> str:
        """Where it is written: ``query`` or ``schema``."""
        return "query" if self.clause is not None else "schema"

    def __str__(self) -> str:
        return self.clause if self.clause is not None else schema_text([self])


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that may leak. ``evidence`` says in figures what was seen; a ``column`` of None stands for the whole
    table, a ``fix`` of None for something that no line in the query or the schema can mend."""

    kind: Kind
    table: str
    column: str | None
    severity: Severity
    evidence: str
    fix: Fix | None = None

    @property
    def what(self) -> str:
        """The table or its column."""
        return self.table if self.column is None else f"{self.table}.{self.column}"

    def __str__(self) -> str:
        return f"{self.what} {self.kind}: {self.evidence}"

    def to_json(self) -> dict[str, object]:
        """The finding as JSON values; ``fix`` is text, and ``fix_in`` says whether it belongs in query or schema."""
        return {
            "kind": self.kind.name,
            "table": self.table,
            "column": self.column,
            "severity": self.severity.value,
            "evidence": self.evidence,
            "fix": self.fix and str(self.fix),
            "fix_in": self.fix and self.fix.where,
        }


def hide_text(fixes: Iterable[Fix]) -> str:
    """One HIDE clause for all columns that ``fixes`` hide; empty where there is none."""
    cells = [spelled(fix.table, fix.column) for fix in fixes if _hides(fix) and fix.column is not None]
    return f"HIDE {', '.join(dict.fromkeys(cells))}" if cells else ""


def clauses_text(fixes: Iterable[Fix]) -> str:
    """The other clauses that ``fixes`` write, a line each; empty where there is none."""
    return "\n".join(dict.fromkeys(fix.clause for fix in fixes if fix.clause is not None and not _hides(fix)))


def schema_text(fixes: Sequence[Fix]) -> str:
    """What ``fixes`` say in a schema file, as TOML; empty where nothing."""
    tables = tomlkit.table(is_super_table=True)
    for fix in fixes:
        if fix.entry is None:
            continue
        table = tables.setdefault(fix.table, tomlkit.table())
        if fix.column is None:
            table[fix.entry] = fix.value
            continue
        columns = table.setdefault("columns", tomlkit.table())
        entry = columns.setdefault(fix.column, tomlkit.inline_table())
        entry[fix.entry] = fix.value
    return tomlkit.dumps({"tables": tables}).strip() if tables else ""


def _hides(fix: Fix) -> bool:
    return fix.clause is not None and fix.clause.startswith("HIDE ")
