"""Columns that hold more than was known with their row: later times, times that are overwritten, cells filled in
afterwards, sums of later rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rdl import clock
from rdl.audit.finding import Finding, Fix, Kind, Severity
from rdl.audit.inputs import Checked, Inputs
from rdl.audit.past import Past
from rdl.audit.totals import describing, weighed
from rdl.cells import gather
from rdl.columns import as_numbers
from rdl.extract import micros
from rdl.infer.aggregates import denormalised, equal_share
from rdl.infer.late import PLANNED
from rdl.infer.outcomes import SEEN, outcomes
from rdl.infer.overwritten import NAMED, is_named, last_times
from rdl.infer.sample import Sample
from rdl.infer.times import time_words
from rdl.problems import late_cells, percent, plural
from rdl.query.task import Kind as TaskKind
from rdl.query.task import Task, TaskTable
from rdl.schema import Relation, Schema, Stype
from rdl.snapshot import Snapshot

#: So many rows of a table are looked at where not all are needed.
SAMPLE_ROWS = 100_000


def later(inputs: Inputs, snapshot: Snapshot) -> Checked:
    """The times among the inputs that are often later than their own row, and those that are overwritten in place,
    whatever the schema says of when they were known."""
    present = _present(inputs, snapshot)
    findings = list(_overwritten(inputs, snapshot.schema, present))
    for table, column, share in late_cells(snapshot):
        if not inputs.reads(table.name, column.name) or (table.name, column.name) in present:
            continue
        planned = PLANNED & set(time_words(column.name))
        evidence = f"{percent(share)} of its cells are later than {table.name}'s own time ({table.time})"
        evidence += "; by its name it may be a plan, known from the beginning" if planned else ""
        fix = Fix(table.name, column.name, "known_at", column.name)
        severity = Severity.note if planned else Severity.severe
        findings.append(Finding(Kind.later, table.name, column.name, severity, evidence, fix))
    return Checked(tuple(findings), f"{plural(_times(inputs, snapshot.schema), 'column')} of times")


def _present(inputs: Inputs, snapshot: Snapshot) -> dict[tuple[str, str], tuple[str, Severity]]:
    """By table and column the times within reach that tell of the present: what was seen, and how sure that is."""
    schema, found = snapshot.schema, {}
    for table, column, said, _ in last_times(schema, Sample(Past(snapshot), schema, SAMPLE_ROWS)):
        if table.name in inputs.over:
            found[table.name, column.name] = said, Severity.severe
    for name in inputs.over:
        for column in schema[name].columns:
            if is_named(schema, schema[name], column):
                newest = micros(snapshot.arrow(name)[column.name])
                newest = newest[newest < clock.NO_END_FROM]
                if len(newest):
                    said = f"{NAMED}, lastly on {clock.format_time(int(newest.max()))}"
                    found.setdefault((name, column.name), (said, Severity.suspect))
    return found


def _overwritten(
    inputs: Inputs, schema: Schema, present: dict[tuple[str, str], tuple[str, Severity]]
) -> Iterator[Finding]:
    """The columns, and the rows, that are known once a time has passed which is overwritten."""
    for name in inputs.over:
        table = schema[name]
        own = table.time.column if table.time is not None and not table.time.through else None
        if own is not None and (name, own) in present:
            said, severity = present[name, own]
            evidence = f"its rows are seen once {own} has passed, which tells that nothing comes after it; {own} {said}"
            fix = Fix(name, None, "time", value=False) if severity is Severity.severe else None
            severity = severity if fix else Severity.note
            evidence += "" if fix else ". Where rows are written once, nothing leaks"
            yield Finding(Kind.overwritten, name, None, severity, evidence, fix)
        for column in schema.inputs(name):
            told_by = table.told_by(column) or column.name
            if (name, told_by) not in present or (name, column.name) in inputs.task.hidden or column.name == own:
                continue
            evidence, severity = present[name, told_by]
            if told_by != column.name:
                evidence = f"known at {told_by}: {evidence}"
            elif column.known_at is not None:
                evidence += "; that it is masked at t tells that something comes after t"
            yield Finding(Kind.overwritten, name, column.name, severity, evidence, Fix.leave_out(name, column.name))


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
    return Checked(tuple(findings), f"the newest rows of {plural(len(timed), 'table')}")


def aggregated(task: Task, table: TaskTable, inputs: Inputs, snapshot: Snapshot) -> Checked:
    """The inputs that equal a number, sum, mean or extreme of rows that came later than their own, or of the labels."""
    findings = []
    for proposal in denormalised(snapshot.schema, Sample(Past(snapshot), snapshot.schema, SAMPLE_ROWS)):
        if proposal.column is not None and inputs.reads(proposal.table, proposal.column):
            findings.append(_total(proposal.table, proposal.column, proposal.evidence))
    findings += [*_label_totals(task, table, inputs, snapshot), *weighed(inputs, snapshot)]
    relations = [relation for relation in snapshot.schema.relations if relation.parent in inputs.over]
    looked = f"the children of {plural(len(relations), 'key')}" + (", and the labels" if task.row_level else "")
    return Checked(tuple(findings), looked)


def _total(table: str, column: str, evidence: str) -> Finding:
    return Finding(Kind.aggregate, table, column, Severity.severe, evidence, Fix.leave_out(table, column))


def _label_totals(task: Task, table: TaskTable, inputs: Inputs, snapshot: Snapshot) -> Iterator[Finding]:
    """The numbers of what row-level seeds refer to, over one key or two, and of tables with a row for each of it, that
    are sums or means of their labels, those to come included."""
    if not task.row_level or task.kind not in (TaskKind.binary, TaskKind.regression):
        return
    label = np.asarray(table.target, np.float64)
    walks: list[tuple[tuple[Relation, ...], npt.NDArray[np.int32]]] = [
        ((one,), snapshot.parent(one)[table.entity]) for one in snapshot.schema.relations_from(task.entity)
    ]
    for over, rows in walks:
        parent = over[-1].parent
        if len(over) == 1:
            further = snapshot.schema.relations_from(parent)
            walks += [((*over, one), gather(snapshot.parent(one), rows, -1)) for one in further]
        size, there = snapshot.num_rows[parent], rows >= 0
        count = np.bincount(rows[there], minlength=size)
        total = np.bincount(rows[there], label[there], size).astype(np.float64)
        for name, of_row in describing(parent, snapshot):
            for column in snapshot.schema[name].columns:
                if column.stype is not Stype.numerical or not inputs.reads(name, column.name):
                    continue
                values = as_numbers(snapshot.arrow(name)[column.name])
                for what, found in (("sum", total), ("mean", total / np.maximum(count, 1))):
                    slack = 0.005 if what == "mean" else 1e-6
                    share = equal_share(values, found[of_row], count[of_row], slack=slack)
                    if share is not None:
                        evidence = f"equals the {what} of the labels of {task.entity} ({', '.join(map(str, over))}) in "
                        evidence += f"{share:.1%} of rows, those that are still to be asked included"
                        yield _total(name, column.name, evidence)
                        break
