"""Columns that tell the label: alone, when the seed is asked about; or by coming to be with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from rdl.audit.finding import Finding, Fix, Kind, Severity
from rdl.audit.inputs import Checked
from rdl.cells import Cells, gather
from rdl.columns import as_numbers
from rdl.leaks import ENOUGH, LEFT, SEEDS, Codes, Pair, Rows, Teller, codes_of, explain, halves_of, judge, numbers
from rdl.problems import plural
from rdl.query.task import Kind as TaskKind
from rdl.query.task import Task, TaskTable
from rdl.schema import Column, Stype
from rdl.snapshot import Snapshot

#: A column that leaves no more of the error than this is no coincidence.
SURE = 0.01


def telling(task: Task, table: TaskTable, snapshot: Snapshot) -> Checked:
    """The columns that tell the label almost alone, of the entity, its parents over one key or two, and the newest
    child of each; and the keys, where which row they lead to tells it, or that there is one."""
    judged = judge(task, table, snapshot)
    if not judged.seeds:
        return Checked((), f"nothing: only {plural(len(table), 'seed')}")
    findings = (*map(_told, judged.tellers), *_together(task.entity, judged.pairs))
    return Checked(findings, f"{judged.columns:,} columns and keys on {plural(judged.seeds, 'seed')}")


def _told(teller: Teller) -> Finding:
    share = (
        f"explains {teller.explained:.1%} of what a constant does not{' in the test split' if teller.in_test else ''}"
    )
    share += ", on entities it was not fitted on"
    severity = Severity.severe if teller.explained >= 1 - SURE else Severity.suspect
    over = f", over {', '.join(map(str, teller.over))}," if teller.over else ""
    if teller.there:
        evidence = f"{teller.subject} {share}: no more is needed, whatever stands there"
    elif teller.key is not None:
        severity = Severity.suspect
        evidence = f"which row of {teller.key.parent} it leads to {share}: it may be written with the label; "
        evidence += "there is no leak where all that refer to one row have the same label, as older ones tell"
    else:
        evidence = f"its {'newest ' if teller.newest else ''}value{over} alone {share}"
    return Finding(Kind.tells, teller.table, teller.column, severity, evidence, Fix.hide(teller.table, teller.column))


def _together(entity: str, pairs: Sequence[Pair]) -> Iterator[Finding]:
    """One finding for each column of a pair, with its surest partner."""
    partners: dict[str, tuple[str, float]] = {}
    for pair in pairs:
        for column, other in (pair.columns, pair.columns[::-1]):
            partners.setdefault(column, (other, pair.explained))
    for column, (other, explained) in partners.items():
        evidence = (
            f"its value and that of {entity}.{other} together explain {explained:.1%} of what a constant does not, "
        )
        evidence += "on entities they were not fitted on"
        severity = Severity.severe if explained >= 1 - SURE else Severity.suspect
        yield Finding(Kind.tells, entity, column, severity, evidence, Fix.hide(entity, column))


def following(task: Task, table: TaskTable, snapshot: Snapshot) -> Checked:
    """The columns of a row-level seed's own row that follow from the label's columns, and so come to be with them."""
    told_by = sorted(name for name_, name in task.label_columns if name_ == task.entity)
    if not told_by or len(table) < ENOUGH:
        return Checked(
            (), "nothing: the label does not stand in the seed's own row" if not told_by else "too few seeds"
        )
    chosen = table.take(np.unique(np.linspace(0, len(table) - 1, min(len(table), SEEDS)).astype(np.int64)))
    own = snapshot.schema[task.entity]
    label = np.zeros(len(chosen), np.int64)
    for name in told_by:
        codes = codes_of(snapshot, task.entity, own[name], chosen.entity)
        _, label = np.unique(label * (int(codes.max()) + 1) + codes, return_inverse=True)
    looked, findings = 0, []
    for column, kind, values, known in _own_columns(task, chosen, snapshot, table.fitted_at_us):
        looked += 1
        share = _follows(kind, values[known], label[known])
        if share >= 1 - LEFT:
            severity = Severity.severe if share >= 1 - SURE else Severity.suspect
            evidence = f"{share:.1%} of it follows from {' and '.join(told_by)}, which the question is about"
            findings.append(
                Finding(Kind.follows, task.entity, column.name, severity, evidence, Fix.hide(task.entity, column.name))
            )
    return Checked(tuple(findings), f"{plural(looked, 'column')} of {task.entity} against {' and '.join(told_by)}")


def _own_columns(
    task: Task, table: TaskTable, snapshot: Snapshot, fitted_at_us: int
) -> Iterator[tuple[Column, TaskKind, npt.NDArray[np.float64], npt.NDArray[np.bool_]]]:
    """The input columns of the seeds' own rows as numbers or codes, and where they were known at the seed's time."""
    cells = Cells(task, snapshot, fitted_at_us)
    for column in cells.inputs(task.entity, (Stype.numerical, Stype.categorical), masked=True):
        known = cells.readable(task.entity, column, table.entity, table.time)
        if column.stype is Stype.numerical:
            values = gather(as_numbers(snapshot.arrow(task.entity)[column.name]), table.entity, np.nan)
            yield column, TaskKind.regression, values, known & np.isfinite(values)
        else:
            yield (
                column,
                TaskKind.multiclass,
                codes_of(snapshot, task.entity, column, table.entity).astype(np.float64),
                known,
            )


def _follows(kind: TaskKind, values: npt.NDArray[np.float64], label: Codes) -> float:
    """How much of the error of a constant the label takes away from guessing ``values``."""
    if len(values) < ENOUGH:
        return 0.0
    if kind is TaskKind.regression:
        return explain(numbers(values), label)
    fitted, judged = halves_of(np.arange(len(values)))
    _, codes = np.unique(values, return_inverse=True)
    commonest = int(np.bincount(codes[fitted]).argmax())
    before = int((codes[judged] != commonest).sum())
    wrong = int(
        (
            codes[judged] != _commonest(label[fitted], codes[fitted], int(label.max()) + 1, commonest)[label[judged]]
        ).sum()
    )
    return 1 - wrong / before if before else 0.0


def _commonest(label: Codes, codes: Rows, size: int, otherwise: int) -> Rows:
    """The code that comes most often with each label; ``otherwise`` where none does."""
    pairs, counts = np.unique(np.stack([label, codes]), axis=1, return_counts=True)
    order = np.argsort(counts, kind="stable")
    found = np.full(size, otherwise, np.int64)
    found[pairs[0][order]] = pairs[1][order]  # the last one wins
    return found
