"""Columns that hold more than was known with their row: later times, cells filled in afterwards, sums of later rows."""

from __future__ import annotations

from rdl.audit.finding import Finding, Fix, Kind, Severity
from rdl.audit.inputs import Checked, Inputs
from rdl.audit.past import Past
from rdl.infer.aggregates import denormalised
from rdl.infer.late import PLANNED
from rdl.infer.outcomes import SEEN, outcomes
from rdl.infer.sample import Sample
from rdl.infer.times import time_words
from rdl.problems import late_cells, percent, plural
from rdl.schema import Schema, Stype
from rdl.snapshot import Snapshot

#: So many rows of a table are looked at where not all are needed.
SAMPLE_ROWS = 100_000


def later(inputs: Inputs, snapshot: Snapshot) -> Checked:
    """The times among the inputs that are often later than their own row."""
    findings = []
    for table, column, share in late_cells(snapshot):
        if not inputs.reads(table.name, column.name):
            continue
        planned = PLANNED & set(time_words(column.name))
        evidence = f"{percent(share)} of its cells are later than {table.name}'s own time ({table.time})"
        evidence += "; by its name it may be a plan, known from the beginning" if planned else ""
        fix = Fix(table.name, column.name, "known_at", column.name)
        severity = Severity.note if planned else Severity.severe
        findings.append(Finding(Kind.later, table.name, column.name, severity, evidence, fix))
    return Checked(tuple(findings), f"{plural(_times(inputs, snapshot.schema), 'column')} of times within reach")


def _times(inputs: Inputs, schema: Schema) -> int:
    return sum(
        column.stype is Stype.timestamp and inputs.reads(table.name, column.name)
        for table in schema.tables.values() for column in table.columns
    )  # fmt: skip


def filled_in(inputs: Inputs, snapshot: Snapshot) -> Checked:
    """The inputs that are NULL or different in the newest rows, or named as outcomes, so that they may have been
    filled in later; and the columns of a row-level label that are, for older rows tell those labels too early."""
    findings = []
    for proposal in outcomes(snapshot.schema, Sample(Past(snapshot), snapshot.schema, SAMPLE_ROWS)):
        table, column, seen = proposal.table, proposal.column or "", proposal.confidence >= SEEN
        if not inputs.reads(table, column) or (inputs.is_label(table, column) and not seen):
            continue
        evidence, fix = proposal.evidence, Fix.leave_out(table, column)
        if inputs.is_label(table, column):
            evidence += "; it is the label, which is read on every older row as if it had been known at once"
            fix = Fix.hide(table, column)
        severity = Severity.suspect if seen else Severity.note
        findings.append(Finding(Kind.filled, table, column, severity, evidence, fix))
    timed = [name for name in inputs.over if snapshot.schema[name].time is not None]
    return Checked(tuple(findings), f"the newest rows of {plural(len(timed), 'table')} against the older ones")


def aggregated(inputs: Inputs, snapshot: Snapshot) -> Checked:
    """The inputs that equal a number, sum, mean or extreme of rows that came later than their own."""
    findings = []
    for proposal in denormalised(snapshot.schema, Sample(Past(snapshot), snapshot.schema, SAMPLE_ROWS)):
        if proposal.column is not None and inputs.reads(proposal.table, proposal.column):
            fix = Fix.leave_out(proposal.table, proposal.column)
            evidence = proposal.evidence
            findings.append(Finding(Kind.aggregate, proposal.table, proposal.column, Severity.severe, evidence, fix))
    relations = [relation for relation in snapshot.schema.relations if relation.parent in inputs.over]
    return Checked(
        tuple(findings), f"numbers and times of parents against the children of {plural(len(relations), 'key')}"
    )
