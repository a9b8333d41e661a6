"""When rows became known: a table's own time column, or the time of what its rows refer to.

An own column is chosen by its name (``created_at`` before ``start_date``; never a birth, an update, an end), by how
full it is, and by what refers to it: most events cannot precede the row they are about. A time through a key is the
*latest* of the times of a row's parents, as nothing is known before what it speaks of.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rdl import clock
from rdl.extract import micros
from rdl.infer.proposal import Proposal
from rdl.infer.sample import Sample
from rdl.infer.words import alike, forms, table_words, word_set, words
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath

#: The least share of rows that must have a time.
FILLED = 0.95
#: The largest share of events that may precede the row they are about.
EARLY = 0.05

_BARE = word_set("at date datetime day dt moment time timestamp ts utc when")
_CREATED = word_set("added create created creation entered ingested inserted logged recorded")
_BEGUN = word_set(
    """
    admission admitted began begin booked booking bought clicked effective entry event filed from happened
    invoice issued listed match measured observed occurred open opened order ordered payment placed played
    posted published purchase purchased rated received rental reported sent shown sign signed start started
    submitted transaction viewed visited watched
    """
)
_ORIGIN = word_set(
    """
    built established founded hire hired introduced joined opened register registered registration release
    released signup subscribed
    """
)
_LATER = word_set(
    """
    accepted answered approved archived arrival arrived birth birthdate birthday born canceled cancelled
    checkout churned close closed closing completed completion deadline death deleted deletion delivered
    delivery died discontinued dispatched dob dod due edited end ended ending ends estimated expected expiration
    expire expired expires expiry finish finished last latest left logout modification modified modifieddate
    next paid planned refunded rejected removed required resolved return returned settled ship shipped shipping
    stop stopped terminated termination thru to until update updated
    """
)
_NAMED = {3: "named as the time of a row", 2: "named as when something began", 1: "a time of unknown meaning"}
_ENDED = word_set("close closed end ended ends finish finished until")
_ENTITIES = word_set(
    """
    account article artist author category circuit city client company constructor country customer department
    driver employee item location member movie patient person player product school seller shop store student
    supplier team user vendor
    """
)


def times(schema: Schema, sample: Sample) -> list[Proposal]:
    """A time for each table without one that has a column saying when its rows became known, or that lists events
    of a table which has; tables of lasting things, like users or items without a date, stay timeless."""
    own = {
        table.name: found
        for table in schema.tables.values()
        if table.time is None and (found := _own(table, schema, sample)) is not None
    }
    walk = _Walk(schema, sample, own)
    proposals = []
    for table in schema.tables.values():
        if table.name in own:
            proposals.append(own[table.name])
        elif table.time is None and (found := walk.through(table)) is not None:
            proposals.append(found)
    return proposals


def _own(table: Table, schema: Schema, sample: Sample) -> Proposal | None:
    for rank, column in ranked(table):
        values = sample.rows(table.name)[column.name]
        filled = 1 - values.null_count / max(len(values), 1)
        if filled < FILLED or (len(values) > 10 and pc.count_distinct(values).as_py() == 1):
            continue
        early = _early(table, column, schema, sample) if rank < 3 else 0.0
        if early > EARLY:
            continue
        evidence = _NAMED[rank]
        evidence += ", never NULL" if filled == 1 else f", NULL in {1 - filled:.2%} of rows, which no seed will see"
        evidence += "" if sample.is_whole(table.name) else f" (of the first {len(values):,} rows)"
        return Proposal("time", table.name, TimePath(column.name), evidence, confidence=rank / 3)
    return None


def ranked(table: Table) -> list[tuple[int, Column]]:
    """The columns of times whose names may say when a row became known, best first: 3 they say that it was made or
    name the table or nothing else, 2 that something began, 1 something else. Then NOT NULL, then finer, then first.
    What is no input is no time either."""
    found = []
    for place, column in enumerate(table.columns):
        is_time = column.dtype in (Dtype.date, Dtype.timestamp) and column.stype is not Stype.unsupported
        if is_time and (rank := _rank(table, column)):
            found.append(((-rank, column.nullable, column.dtype == Dtype.date, place), (rank, column)))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def _rank(table: Table, column: Column) -> int:
    named = time_words(column.name)
    said = {word for word in named if word not in _BARE}
    of_table = {word for word in said if any(_akin(word, other) for other in table_words(table.name))}
    if (said - of_table) & _LATER:
        return 0
    if said <= of_table or said & _CREATED:
        return 3
    if said & (_BEGUN | _ORIGIN) or (named[-1] == "at" and len(named) == 2):
        return 2
    return 1


def time_words(name: str) -> list[str]:
    """The words of the name of a column of times, ``shippeddate`` as two: ``shipped``, ``date``."""
    named: list[str] = []
    for word in words(name):
        tail = next((end for end in ("datetime", "timestamp", "date", "time") if word.endswith(end)), "")
        whole = word in _LATER or word in ("lifetime", "runtime", "overtime") or word == tail
        named += [word] if whole or not tail else [word[: -len(tail)], tail]
    return named


def _is_end(column: Column) -> bool:
    return column.dtype in (Dtype.date, Dtype.timestamp) and bool(_ENDED & set(words(column.name)))


def _akin(word: str, other: str) -> bool:
    """Whether two words share a form or a root of four letters: ``delivered`` and ``deliveries``."""
    return bool(forms(word) & forms(other)) or (len(word) >= 4 and word[:4] == other[:4])


def _early(table: Table, column: Column, schema: Schema, sample: Sample) -> float:
    """The largest share of rows, over the tables that refer to ``table``, that are older than the row they name."""
    worst = 0.0
    for relation in schema.relations_to(table.name):
        events = ranked(schema[relation.child])
        if relation.child == table.name or not events or events[0][0] < 2:
            continue
        event = _day(sample.rows(relation.child)[events[0][1].name])
        keys = sample.rows(relation.child).select(list(relation.key))
        begun = _day(sample.lookup(keys, table.name, relation.referred, [column.name])[column.name])
        both = (begun != clock.NEVER) & (event != clock.NEVER)
        if both.any():
            worst = max(worst, float(np.mean(event[both] < begun[both])))
    return worst


def _day(column: pa.ChunkedArray) -> clock.Times:
    """Times cut to whole days, so that dates and moments compare."""
    exact = micros(column)
    return np.where(exact == clock.NEVER, exact, exact - exact % clock.US_PER_DAY)


class _Walk:
    """Times through keys, each table's found once; ``own`` holds the proposals of tables with their own column."""

    def __init__(self, schema: Schema, sample: Sample, own: dict[str, Proposal]) -> None:
        self.schema, self.sample = schema, sample
        self.paths: dict[str, TimePath | None] = {}
        self.paths |= {name: table.time for name, table in schema.tables.items() if table.time}
        self.paths |= {name: found.value for name, found in own.items() if isinstance(found.value, TimePath)}
        self.found: dict[str, Proposal] = {}

    def through(self, table: Table) -> Proposal | None:
        """The proposal for a table without its own time, or None where it is timeless."""
        self.path(table.name)
        return self.found.get(table.name)

    def path(self, name: str) -> TimePath | None:
        if name not in self.paths:
            self.paths[name] = None  # a walk that comes back here finds no time
            if best := self.latest(name, list(self.candidates(name))):
                self.paths[name], self.found[name] = best
        return self.paths[name]

    def candidates(self, name: str) -> Iterator[tuple[Relation, TimePath]]:
        for relation in self.schema.relations_from(name):
            if relation.parent == name or self.schema.relation(name, relation.key) != relation:
                continue
            path = self.path(relation.parent)
            if path is not None and _is_event_of(self.schema, relation, path):
                yield relation, TimePath(path.column, (relation.key, *path.through))

    def latest(self, name: str, candidates: list[tuple[Relation, TimePath]]) -> tuple[TimePath, Proposal] | None:
        """The candidate whose time is the latest of all in most rows; of equals the one whose key is never NULL,
        is part of the primary key, is shortest, is first."""
        table = self.schema[name]
        scored = []
        known = [self.times(name, path) for _, path in candidates]
        last = np.max([np.where(time == clock.NEVER, clock.ALWAYS, time) for time in known], axis=0) if known else []
        for place, ((relation, path), time) in enumerate(zip(candidates, known, strict=True)):
            missing = float(np.mean(time == clock.NEVER)) if len(time) else 0.0
            if missing > 1 - FILLED:
                continue
            is_last = float(np.mean(time >= last)) if len(time) else 1.0
            nullable = any(table[column].nullable for column in relation.key)
            outside = not set(relation.key) <= set(table.primary_key)
            scored.append(((-round(is_last, 2), nullable, outside, len(path.through), place), relation, path, missing))
        if not scored:
            return None
        (share, *_), relation, path, missing = min(scored, key=lambda entry: entry[0])
        holder = self.holder(name, path)
        rows = "every row has" if missing == 0 else f"{1 - missing:.1%} of rows have"
        evidence = f"{rows} a known {holder}.{path.column} through {'+'.join(relation.key)}"
        if len(scored) > 1:
            evidence += f", the latest of {len(scored)} such times in {-share:.0%} of rows"
        for end in (column.name for column in self.schema[holder].columns if _is_end(column)):
            # What belongs to something that lasts may be known only when it is over: later is the safe side.
            late, early = self.times(name, TimePath(end, path.through)), self.times(name, path)
            if float(np.mean(late == clock.NEVER)) <= 1 - FILLED and (late >= early).all():
                evidence = evidence.replace(f"{holder}.{path.column}", f"{holder}.{end}")
                evidence += f"; where its rows are known from the beginning, {holder}.{path.column} is their time"
                path = TimePath(end, path.through)
                break
        return path, Proposal("time", name, path, evidence, confidence=2 / 3)

    def holder(self, name: str, path: TimePath) -> str:
        for key in path.through:
            name = self.schema.relation(name, key).parent
        return name

    def times(self, name: str, path: TimePath) -> clock.Times:
        """The time that each sampled row of a table takes by ``path``, NEVER where it has none."""
        return row_times(self.schema, self.sample, name, path, self.sample.rows(name))


def row_times(schema: Schema, sample: Sample, name: str, path: TimePath, here: pa.Table) -> clock.Times:
    """The time that each row of ``here``, rows of the table ``name``, takes by ``path``, NEVER where it has none."""
    for step, key in enumerate(path.through):
        relation = schema.relation(name, key)
        name = relation.parent
        needed = path.through[step + 1] if step + 1 < len(path.through) else (path.column,)
        here = sample.lookup(here.select(list(key)), name, relation.referred, needed)
    return micros(here[path.column])


def _is_event_of(schema: Schema, relation: Relation, path: TimePath) -> bool:
    """Whether rows of the child read like something that happened to, or is a part of, a row of the parent.

    A table of pairs does (its key holds the foreign key, or it has no key and two foreign keys). Else not where the
    parent's time is the birth of a lasting thing or the child is named as one; a table to which nothing refers does,
    and one with several foreign keys whose parent is not named as a lasting thing (the lines of an order). In doubt
    it does: a table without a time is always visible, and so shows what was not known yet.
    """
    table = schema[relation.child]
    keys = schema.relations_from(table.name)
    if len(table.primary_key) > 1 and set(relation.key) <= set(table.primary_key):
        return True
    if not table.primary_key and len(keys) > 1:
        return True
    if _is_lasting(table.name) or set(words(path.column)) & _ORIGIN:
        return False
    if all(other.child == table.name for other in schema.relations_to(table.name)):
        return True
    return len(keys) > 1 and not _is_lasting(relation.parent)


def _is_lasting(table: str) -> bool:
    return any(alike(table_words(table)[-1:], [name]) for name in _ENTITIES)
