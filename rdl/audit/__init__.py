"""Looks for leaks in a question on a database: columns that tell the label, columns that hold more than was known with
their row, tables whose times say too little; and deletes the future to see whether anything changes.

Nothing is mended silently: each finding comes with what was seen and the line to write into the query or the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rdl import labels
from rdl.audit.finding import Finding, Fix, Kind, Severity
from rdl.audit.inputs import Checked, Inputs
from rdl.audit.label import following, telling
from rdl.audit.late import aggregated, filled_in, later
from rdl.audit.meanings import Meaning, meanings
from rdl.audit.rebuild import rebuilt
from rdl.audit.result import Audit
from rdl.audit.times import times
from rdl.infer import Proposal
from rdl.query.task import Task
from rdl.snapshot import Snapshot

__all__ = ["Audit", "Finding", "Fix", "Kind", "Meaning", "Severity", "audit"]


def audit(
    task: Task,
    snapshot: Snapshot,
    proposals: Sequence[Proposal] = (),
    schema_file: Path | None = None,
    *,
    listen: Callable[[str], None] = lambda _: None,
) -> Audit:
    """What may leak in ``task`` on ``snapshot``, gravest first, and what was looked at; ``listen`` is told each check
    as it begins. What of ``proposals`` the schema took and ``schema_file`` does not say is told of as inferred. Raises
    QueryError where the labels cannot be computed.

    Only columns are found that the query does not hide and of which the schema does not say that they are known later
    or are no inputs; so what a fix says makes its finding go away.
    """
    table = labels.compute(task, snapshot).table
    inputs = Inputs(task, snapshot.schema)
    checks: dict[str, Callable[[], Checked]] = {
        "columns that tell the label": lambda: telling(task, table, snapshot),
        "columns that follow from the label": lambda: following(task, table, snapshot),
        "times later than their row, or overwritten": lambda: later(inputs, snapshot),
        "columns filled in later": lambda: filled_in(inputs, snapshot),
        "sums of later rows": lambda: aggregated(task, table, inputs, snapshot),
        "the future deleted": lambda: rebuilt(task, table, inputs, snapshot),
        "times of tables": lambda: times(task, table, inputs, snapshot),
    }
    found: dict[tuple[str, str | None, str], Finding] = {}
    looked = {}
    for name, check in checks.items():
        listen(name)
        checked = check()
        looked[name] = checked.looked
        for finding in checked.findings:  # of several that one line mends, the first
            found.setdefault((finding.table, finding.column, str(finding.fix or finding.kind)), finding)
    gravest = sorted(found.values(), key=lambda one: list(Severity).index(one.severity))
    return Audit(task, tuple(gravest), looked, meanings(inputs, snapshot.schema, proposals, schema_file))
