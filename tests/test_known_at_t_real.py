"""What was known at t in real databases: the same seeds, with another future, to the last bit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from rdl import features, infer
from rdl import model as models
from rdl.clock import ALWAYS, NEVER
from rdl.columns import as_times
from rdl.config import Sampling
from rdl.database import open_reader
from rdl.graph import TemporalGraph
from rdl.loader import hetero_data
from rdl.sampler import Sampler, Seeds
from rdl.schema import Column, Dtype, Schema, Stype, Table
from rdl.snapshot import Snapshot, build
from tests.memory import MemoryReader
from tests.test_known_at_t import assert_identical, assert_same_aggregates, assert_same_batch

#: A database, the table asked about, one with a time, and the label of a question asked row by row.
REAL = [
    ("f1", "drivers", "results", None),
    ("f1", "results", "results", "points"),
    ("ml_100k", "users", "ratings", None),
    ("ml_100k", "ratings", "ratings", "rating"),
    ("mind_5k", "users", "impressions", None),
    ("mind_5k", "impression_items", "impressions", "clicked"),
]


@dataclass(frozen=True, slots=True)
class Asked:
    """``seeds``, asked when all from ``news_us`` on was news. Row by row the first of them was asked at that very time:
    ``line`` are the rows, by table, that were known with its own, ``later`` those that its line names and that come
    later, and ``label`` the column asked for."""

    seeds: Seeds
    news_us: int
    line: dict[str, set[int]]
    later: dict[str, set[int]]
    label: str | None = None


def with_ends(snapshot: Snapshot, moment_us: int, rng: np.random.Generator) -> MemoryReader:
    """The database with two more times in each table, much of them at one moment: when rows end, and when a column and
    a foreign key are told."""
    times = np.concatenate([snapshot.time(name) for name in snapshot.schema.tables])
    times = times[(times != ALWAYS) & (times != NEVER)]
    tables, described = {}, {}
    for name, table in snapshot.schema.tables.items():
        rows = snapshot.arrow(name)
        for added in ("told", "ended"):
            drawn = np.where(rng.random(len(rows)) < 0.2, moment_us, rng.choice(times, len(rows)))
            none = rng.random(len(rows)) < (0.7 if added == "ended" else 0.2)
            rows = rows.append_column(added, pa.array(drawn, mask=none).cast(pa.timestamp("us")))
        tables[name] = rows
        timing = {table.time.column, *sum(table.time.through, ())} if table.time else set()
        plain = [column.name for column in table.columns if column.stype is not Stype.identifier]
        second = [column for relation in snapshot.schema.relations_from(name)[1:2] for column in relation.key]
        late = {*plain[-1:], *second} - timing - {*table.primary_key}
        columns = tuple(replace(c, known_at="told") if c.name in late else c for c in table.columns)
        columns += tuple(Column(added, Dtype.timestamp, Stype.timestamp) for added in ("told", "ended"))
        described[name] = Table(name, columns, table.primary_key, table.time, "ended")
    reader = MemoryReader(tables)
    reader.schema = Schema(described, snapshot.schema.relations)
    return reader


def ask(before: Snapshot, entity: str, timed: str, label: str | None) -> Asked:
    """Seeds of a database up to a moment."""
    rng, own = np.random.default_rng(1), before.time(entity)
    moment = int(np.quantile(before.time(timed), 0.6, method="nearest"))
    if label is None:
        row = rng.integers(0, np.searchsorted(own, moment, side="right"), 64)
        time = torch.from_numpy(rng.integers(np.quantile(before.time(timed), 0.3), moment, 64))
        return Asked(Seeds(entity, torch.from_numpy(row), time, time), moment + 1, {}, {})
    there = np.flatnonzero(own == moment)
    row = np.concatenate([there[len(there) // 2 :][:1], rng.integers(0, there[0], 63)])
    time, hidden = torch.from_numpy(own[row]), before.schema.relations_from(entity)[-1:]
    asked = Asked(Seeds(entity, torch.from_numpy(row), time, time, True, hidden), moment, {}, {}, label)
    left = [(entity, int(row[0]))]
    while left:
        table, at = left.pop()
        asked.line.setdefault(table, set()).add(at)
        for relation in before.schema.relations_from(table):
            parent = int(before.parent(relation)[at])
            if relation in hidden or parent < 0 or before.linked(relation)[at] >= moment:
                continue
            time_ = int(before.time(relation.parent)[parent])
            if time_ == moment:
                left.append((relation.parent, parent))
            elif time_ > moment:
                asked.later.setdefault(relation.parent, set()).add(parent)
    return asked


def with_another_future(snapshot: Snapshot, asked: Asked, rng: np.random.Generator) -> MemoryReader:
    """The same database but for what is news: rows are deleted, moved in time and, where nothing refers to them, added;
    of these and of what is told late all is altered, as is what is asked of the first seed. Rows that stand before its
    line stay where they are, altered."""
    tables, schema = dict[str, dict[str, pa.ChunkedArray]](), snapshot.schema
    secret = {column for relation in asked.seeds.hidden for column in relation.key} | {asked.label}
    for name, table in schema.tables.items():
        rows, count = snapshot.arrow(name), snapshot.num_rows[name]
        first = int(np.searchsorted(snapshot.time(name), asked.news_us))
        line = sorted(asked.line.get(name, ()))
        stop = max([first, *(row + 1 for row in line)])
        referred = {column for relation in schema.relations_to(name) for column in relation.referred}
        timing = {*(table.time.through[0] if table.time.through else (table.time.column,))} if table.time else set()
        rest = np.setdiff1d(np.arange(stop, count), sorted(asked.later.get(name, ())))
        rest = rng.choice(rest, len(rest) * 2 // 3, replace=not referred)
        place = np.concatenate([np.arange(stop), rest])
        altered = np.arange(len(place)) >= first
        altered[line] = False
        for column in table.columns:
            source = place.copy()
            if column.name in timing:
                source[stop:] = rng.choice(np.arange(first, count), len(rest))
            elif column.name not in referred:
                source[altered] = rng.integers(0, count, altered.sum())
            if (told_by := table.told_by(column)) is not None:
                told = as_times(rows[told_by])
                late = ~altered & (told[place] >= asked.news_us)
                others = np.flatnonzero(told >= asked.news_us) if told_by == column.name else np.arange(count)
                source[late] = rng.choice(others, late.sum())
            if name == asked.seeds.table and column.name in secret:
                source[line] = rng.integers(0, count, len(line))
            tables.setdefault(name, {})[column.name] = rows[column.name].take(pa.array(source))
    reader = MemoryReader({name: pa.table(cells) for name, cells in tables.items()})
    reader.schema = schema
    return reader


@pytest.mark.parametrize(("file", "entity", "timed", "label"), REAL)
def test_another_future_of_a_real_database_changes_nothing(
    tmp_path: Path, shared_data: Path, file: str, entity: str, timed: str, label: str | None
) -> None:
    """Neither statistics, nor subgraphs in either strategy, nor batches, nor predictions, nor aggregates."""
    rng = np.random.default_rng(0)
    reader = open_reader(f"sqlite:///{shared_data / file}.sqlite")
    declared = reader.reflect()
    read = build(reader, infer.apply(declared, infer.propose(reader, declared)), tmp_path / "read")
    moment = int(np.quantile(read.time(timed), 0.6, method="nearest"))
    before = with_ends(read, moment, rng).snapshot(tmp_path / "before")
    asked = ask(before, entity, timed, label)
    after = with_another_future(before, asked, rng).snapshot(tmp_path / "after")
    seeds, labels = asked.seeds, [label] if label else []
    fitted = features.fit(before, asked.news_us - 1)
    assert fitted == features.fit(after, asked.news_us - 1)
    torch.manual_seed(0)
    masked = [(entity, column) for column in labels]
    model = models.build(fitted, before.schema.relations, channels=8, layers=3, dropout=0.0, masked=masked).eval()
    packed = [features.pack(snapshot, fitted) for snapshot in (before, after)]
    for strategy in Sampling:
        samplers = [Sampler(TemporalGraph.build(s), (16, 8, 4), strategy=strategy) for s in (before, after)]
        one, other = (by(seeds) for by in samplers)
        assert_identical(one, other)
        assert len(one.rows[timed]) > 16
        for table, rows in one.rows.items():
            first = len(seeds) if table == entity else 0
            seen, seed = rows[first:].numpy(), one.seed[table][first:].numpy()
            times, asked_at = before.time(table)[seen], seeds.time.numpy()[seed]
            assert (times <= asked_at).all(), "no row is later than its seed"
            brought = set(seen[(times == asked_at) & (seed == 0)]) if label else set()
            assert brought <= asked.line.get(table, set()), "of its own time there is its line"
        batches = [
            hetero_data(subgraph, part, by, {entity: labels})
            for subgraph, part, by in zip((one, other), packed, samplers, strict=True)
        ]
        assert_same_batch(*batches)
        with torch.no_grad():
            assert torch.equal(
                *(model(columns, subgraph) for columns, subgraph in zip(packed, (one, other), strict=True))
            )
    if label is not None:
        assert_same_aggregates(before, after, seeds, asked.news_us - 1, label)
