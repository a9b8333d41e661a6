"""Inference on databases of any shape: it never fails, and the schema file says exactly what was used."""

from __future__ import annotations

import random

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl import schema_file
from rdl.infer import apply, propose, suggestions
from tests.memory import MemoryReader
from tests.test_infer import days, moments, reflect

NAMES = (
    "id", "user_id", "a.b", "order", "no", "nr", "name", "valid_to", "deleted_at", "created_at", "parent", "manager_id",
    "status", "total", "count", "users", "orders", "items", "x__c", "col7", "Größe", '"', "by", "at", "end_date", "to",
    "outcome", "a\nb", "users_id",
)  # fmt: skip


def column(draw: random.Random, size: int) -> pa.Array:
    """Values of some kind, many of them odd."""
    rows = range(size)
    kinds = [
        lambda: pa.array([draw.choice([None, draw.randint(0, 5)]) for _ in rows], pa.int64()),
        lambda: pa.array(list(rows), pa.int64()),
        lambda: pa.array([None] * size, pa.int64()),
        lambda: pa.array([draw.choice(["a", "b", None, ""]) for _ in rows], pa.string()),
        lambda: pa.array([f"u{row}" for row in rows], pa.string()),
        lambda: pa.array([draw.choice([None, 1.5, float("nan"), float("inf")]) for _ in rows], pa.float64()),
        lambda: moments(*[draw.choice([None, row]) for row in rows]),
        lambda: days(*[draw.choice([row, row + 3]) for row in rows]),
        lambda: pa.array([draw.choice([True, False, None]) for _ in rows], pa.bool_()),
        lambda: pa.array([b"x"] * size, pa.binary()),
        lambda: pa.array([2**63 - 1 - row for row in rows], pa.int64()),
        lambda: pa.array([7 * row - 2**62 for row in rows], pa.int64()),
    ]
    return draw.choice(kinds)()


@settings(max_examples=120, deadline=None)
@given(st.randoms(use_true_random=False))
def test_any_database(draw: random.Random) -> None:
    tables = {}
    for name in draw.sample(NAMES, draw.randint(1, 4)):
        size = draw.choice([0, 1, 2, 25, 60, 600])
        tables[name] = pa.table({other: column(draw, size) for other in draw.sample(NAMES, draw.randint(1, 6))})
    schema = reflect(tables)
    reader = MemoryReader(tables, rows_a_batch=100)
    proposals = propose(reader, schema, sample_rows=draw.choice([10, 50, 100_000]))
    used = apply(schema, proposals)
    evidence = {proposal.subject: proposal.evidence for proposal in proposals if not proposal.suggested}
    text = schema_file.write(used, schema, evidence, suggestions(used, proposals))
    assert schema_file.merge(schema, text) == used
