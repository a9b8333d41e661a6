"""Proposes what a database does not declare: keys, relations, times, semantic types, and when values became known
that were not with their row; each with its evidence.

Nothing is applied silently: :func:`propose` returns a list to show, to edit or to hand to :func:`apply`.
"""

from __future__ import annotations

from rdl.database.reader import Reader
from rdl.infer.keys import primary_keys, relations
from rdl.infer.late import known_later
from rdl.infer.proposal import Proposal, apply
from rdl.infer.sample import Sample
from rdl.infer.stypes import stypes
from rdl.infer.times import times
from rdl.schema import Schema

__all__ = ["Proposal", "apply", "propose"]


def propose(reader: Reader, schema: Schema, *, sample_rows: int = 100_000) -> list[Proposal]:
    """What the names and the first ``sample_rows`` rows of each table suggest beyond ``schema``.

    Keys and times that ``schema`` already has stand. In order: primary keys, relations, times, semantic types, values
    known later than their row, as each builds on the ones before; ``apply(schema, proposals)`` takes any part of the
    list that is consistent.
    Raises DatabaseError where a table cannot be read.
    """
    sample = Sample(reader, schema, sample_rows)
    proposals: list[Proposal] = []
    for step in (primary_keys, relations, times, stypes, known_later):
        proposals += step(apply(schema, proposals), sample)
    return proposals
