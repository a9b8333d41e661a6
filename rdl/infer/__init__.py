"""Proposes what a database does not declare: keys, relations, times, the ends of rows, semantic types, when values
became known that were not with their row, and times that tell of the present alone; each with its evidence. What is not
sure enough is only suggested, and so is to leave out a column that may tell the future.

Nothing is applied silently: :func:`propose` returns a list to show, to edit or to hand to :func:`apply`, which passes
over suggestions; :func:`suggestions` are those, each as the schema it would make.
"""

from __future__ import annotations

from rdl.database.reader import Reader
from rdl.infer.aggregates import denormalised
from rdl.infer.composite import composite_keys, composite_relations
from rdl.infer.formats import time_formats
from rdl.infer.late import known_later
from rdl.infer.outcomes import outcomes
from rdl.infer.overwritten import overwritten
from rdl.infer.periods import valid_until
from rdl.infer.primary import primary_keys
from rdl.infer.proposal import Proposal, apply, suggestions
from rdl.infer.relations import relations
from rdl.infer.sample import Sample
from rdl.infer.stypes import stypes
from rdl.infer.times import times
from rdl.schema import Schema

__all__ = ["Proposal", "apply", "propose", "suggestions"]

#: Each builds on what the ones before proposed.
STEPS = (
    primary_keys, relations, composite_keys, composite_relations, time_formats, overwritten, times, stypes, valid_until,
    known_later, denormalised, outcomes,
)  # fmt: skip


def propose(reader: Reader, schema: Schema, *, sample_rows: int = 100_000) -> list[Proposal]:
    """What the names and the first ``sample_rows`` rows of each table suggest beyond ``schema``.

    Keys and times that ``schema`` already has stand. In the order of ``STEPS``, as each builds on the ones before;
    ``apply(schema, proposals)`` takes any part of the list that is consistent. A column that may hold times stored
    otherwise keeps its semantic type until a schema file says what it is. What needs all rows, like uniqueness, is
    measured on all; of a table of more than a million rows at most some million stand in memory at once.
    Raises DatabaseError where a table cannot be read.
    """
    sample = Sample(reader, schema, sample_rows)
    proposals: list[Proposal] = []
    for step in STEPS:
        found = step(apply(schema, proposals), sample)
        written = {(proposal.table, proposal.column) for proposal in proposals if proposal.kind == "time_format"}
        proposals += [p for p in found if p.kind != "stype" or (p.table, p.column) not in written]
    return proposals
