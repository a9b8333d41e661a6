"""Columns that look filled in after the fact, with no column to say when: outcomes by name, and columns that are empty
or look different in the newest rows. They are shown as suspects; whether they tell the future only their owner knows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl import clock
from rdl.infer.late import coded, missing_shares
from rdl.infer.proposal import Proposal
from rdl.infer.sample import Sample
from rdl.infer.times import row_times
from rdl.infer.words import word_set, words
from rdl.schema import Column, Schema, Stype, Table

#: So many rows say something about the newest tenth of them.
ENOUGH = 500
#: How much more of the newest rows than of the others are NULL in a column that is filled in later.
NEWER = 0.25
#: By how much the shares of values differ between the newest rows and the others where rows go from state to state.
SHIFT = 0.3
#: Columns of more values are no states.
STATES = 30
#: How sure a suspicion is that the cells speak for, and one that only a name does.
SEEN, NAMED = 0.5, 0.3

_OUTCOMES = word_set(
    """
    cancellation churn churned closed chargeback converted conversion defaulted final fraud fraudulent lost outcome
    refunded resolution result returned settled survived unsubscribed verdict won
    """
)
_STATES = word_set("phase stage state status")


def outcomes(schema: Schema, sample: Sample) -> list[Proposal]:
    """The columns of tables with a time that look as if they were filled in or changed later than their row."""
    proposals = []
    for table in schema.tables.values():
        if table.time is None or sample.count(table.name) < ENOUGH:
            continue
        columns = list(_suspects(schema, table, sample))
        if not columns:
            continue
        needed = table.time.through[0] if table.time.through else (table.time.column,)
        rows = sample.thinned(table.name, list(dict.fromkeys((*needed, *(column.name for column in columns)))))
        times = row_times(schema, sample, table.name, table.time, rows)
        for column in columns:
            if found := _suspicion(column, rows[column.name], times):
                said, confidence = found
                proposals.append(
                    Proposal("leak", table.name, Stype.unsupported, said, column.name, confidence, suggested=True)
                )
    return proposals


def _suspects(schema: Schema, table: Table, sample: Sample) -> list[Column]:
    """The inputs of a table of which nothing says that they were known later."""
    keys = {name for relation in schema.relations_from(table.name) for name in relation.key} | set(table.primary_key)
    keys |= {table.time.column} if table.time and not table.time.through else set()
    unused = (Stype.identifier, Stype.unsupported, Stype.timestamp, Stype.embedding)
    return [
        column
        for column in table.columns
        if column.name not in keys and column.stype not in unused and table.told_by(column) is None
        and column.name in sample.rows(table.name).column_names
        and (sample.rows(table.name)[column.name].null_count or set(words(column.name)) & (_OUTCOMES | _STATES))
    ]  # fmt: skip


def _suspicion(column: Column, values: pa.ChunkedArray, times: clock.Times) -> tuple[str, float] | None:
    """What speaks against a column and how much: its cells, or its name alone."""
    newest, others = missing_shares(times, values)
    if newest >= others + NEWER and others <= 0.5:
        said = f"NULL in {newest:.0%} of the newest tenth of rows and in {others:.0%} of the others: filled in later?"
        return said, SEEN
    named = words(column.name)
    if named[-1:] and named[-1] in _STATES and (shift := _shift(values, times)) >= SHIFT:
        return f"other values in the newest rows ({shift:.0%} of them): rows go from one to the next?", SEEN
    if set(named) & _OUTCOMES:
        return "named as an outcome, and nothing says when it became known", NAMED
    return None


def _shift(values: pa.ChunkedArray, times: clock.Times) -> float:
    """The total variation between the values of the newest twentieth of rows and those of the older half."""
    codes, names = coded(values)
    known = times != clock.NEVER
    if len(names) > STATES or int(known.sum()) < ENOUGH:
        return 0.0
    ordered = codes[known][np.argsort(times[known], kind="stable")]
    newest, older = ordered[-(len(ordered) // 20) :], ordered[: len(ordered) // 2]
    return 0.5 * float(np.abs(_shares(newest, len(names)) - _shares(older, len(names))).sum())


def _shares(codes: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.float64]:
    return np.bincount(codes, minlength=size) / max(len(codes), 1)
