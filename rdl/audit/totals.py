"""Numbers that follow from rows still to come, though they equal no plain total of them: the orders of some months, or
totals with some noise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rdl import clock
from rdl.audit.finding import Finding, Fix, Kind, Severity
from rdl.audit.inputs import Inputs
from rdl.columns import as_numbers
from rdl.schema import Relation, Stype
from rdl.snapshot import Snapshot

#: Rows are counted in so many spans of time with equally many rows each, for at most so many parents, of which so many
#: say something, and of so many columns of the rows sums are taken.
SPANS, PARENTS, ENOUGH, SUMMED = 16, 20_000, 200, 3
#: So much of a number must follow from all spans, and what is left of it be so small a share of what the first spans
#: leave, beyond what more rows of the same kind tell anyhow.
FOLLOWS, LEFT = 0.9, 0.4
#: What is left no larger than this is rounding.
NONE = 1e-6

Floats = npt.NDArray[np.float64]


def weighed(inputs: Inputs, snapshot: Snapshot) -> Iterator[Finding]:
    """The numbers that follow from how many rows refer to the same thing in each span of time, or from their sums, and
    from the later spans beyond what the earlier ones tell. Only rows later than what they refer to count."""
    for relation in snapshot.schema.relations:
        child = snapshot.schema[relation.child]
        if relation.child not in inputs.over or child.time is None or relation.child == relation.parent:
            continue
        numbers = [
            (name, column.name, of_row, as_numbers(snapshot.arrow(name)[column.name]))
            for name, of_row in describing(relation.parent, snapshot)
            for column in snapshot.schema[name].columns
            if name != relation.child and column.stype is Stype.numerical and inputs.reads(name, column.name)
        ]
        if not numbers:
            continue
        chosen = np.unique(np.linspace(0, snapshot.num_rows[relation.parent] - 1, PARENTS).astype(np.int64))
        for what, totals in _totals(relation, chosen, snapshot):
            for name, column, of_row, values in numbers:
                by_parent = np.full(snapshot.num_rows[relation.parent], np.nan)
                by_parent[of_row] = values
                if found := _followed(by_parent[chosen], totals):
                    share, early, span = found
                    evidence = (
                        f"{share:.1%} of it follows from {what} of {relation.child} ({relation}) in {SPANS} spans"
                    )
                    evidence += f" of time, {max(early, 0):.1%} from the first {span} of them: it tells of later rows"
                    fix = Fix.leave_out(name, column)
                    yield Finding(Kind.aggregate, name, column, Severity.suspect, evidence, fix)


def describing(table: str, snapshot: Snapshot) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """``table``, and the tables with at most one row for each of its rows, with the row of ``table`` of each row."""
    yield table, np.arange(snapshot.num_rows[table])
    for relation in snapshot.schema.relations_to(table):
        rows = snapshot.parent(relation).astype(np.int64)
        if relation.child != table and len(rows) and rows.min() >= 0 and len(np.unique(rows)) == len(rows):
            yield relation.child, rows


def _totals(relation: Relation, chosen: npt.NDArray[np.int64], snapshot: Snapshot) -> Iterator[tuple[str, Floats]]:
    """The number of children and sums of theirs, for the parents ``chosen`` by span ``[chosen, spans]``."""
    size, child = snapshot.num_rows[relation.parent], snapshot.schema[relation.child]
    place = np.full(size + 1, -1)
    place[chosen] = np.arange(len(chosen))
    rows, times = snapshot.parent(relation), snapshot.time(relation.child)
    begun = snapshot.time(relation.parent)
    counted = (rows >= 0) & (times != clock.NEVER) & (place[rows] >= 0)
    counted &= times > begun[np.maximum(rows, 0)]
    if counted.sum() < ENOUGH:
        return
    order = np.flatnonzero(counted)  # rows are in the order of their times
    cells = place[rows[order]] * SPANS + np.arange(len(order)) * SPANS // len(order)

    def summed(weights: Floats | None) -> Floats:
        return np.bincount(cells, weights, len(chosen) * SPANS).reshape(-1, SPANS).astype(np.float64)

    yield "the number", summed(None)
    keys = {name for one in snapshot.schema.relations_from(child.name) for name in one.key} | set(child.primary_key)
    numerical = [one.name for one in child.columns if one.stype is Stype.numerical and one.name not in keys]
    for name in numerical[:SUMMED]:
        yield f"the sums of {name}", summed(np.nan_to_num(as_numbers(snapshot.arrow(child.name)[name])[order]))


def _followed(values: Floats, totals: Floats) -> tuple[float, float, int] | None:
    """The share of ``values`` that follows from all spans and from the first of them, and how many these are, where
    the later ones tell more than the earlier foretell; None where they do not."""
    known = np.isfinite(values) & (totals.sum(axis=1) > 0)
    if known.sum() < ENOUGH or np.ptp(values[known]) == 0:
        return None
    values, totals = values[known], totals[known]
    share = _share(values, totals)
    if share < FOLLOWS:
        return None
    for span in (SPANS // 4, SPANS // 2, 3 * SPANS // 4):
        early = _share(values, totals[:, :span])
        if early < 1 - NONE and 1 - share <= LEFT * span / SPANS * (1 - early):
            return share, early, span
    return None


def _share(values: Floats, totals: Floats) -> float:
    """How much of the values of one half a linear fit on the other half explains."""
    side = np.random.default_rng(0).permutation(len(values)) % 2 == 0
    inputs = np.column_stack([totals, np.ones(len(values))])
    weights = np.linalg.lstsq(inputs[side], values[side], rcond=None)[0]
    judged = values[~side]
    error = np.square(judged - inputs[~side] @ weights).sum()
    return float(1 - error / max(np.square(judged - values[side].mean()).sum(), 1e-300))
