"""Values that became known later than their row: when a parcel was delivered, and the status that came with it.

A column of times that records what happened after its row (never earlier, and so named or still NULL in the newest
rows) was itself known only then; columns whose value tells whether that has happened were known at the same time.
Plans, like a due date, stand from the beginning and are left alone; so are keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rdl import clock
from rdl.errors import SchemaError
from rdl.extract import micros
from rdl.infer.proposal import Proposal
from rdl.infer.sample import Sample
from rdl.infer.times import row_times, time_words
from rdl.infer.words import word_set
from rdl.schema import Column, Dtype, Schema, Stype, Table

#: The least number of rows in which something has happened, and in which it has not, that say anything.
ENOUGH = 20
#: The largest share of rows that may disagree.
NOISE = 0.01
#: The least share of times later than their row: where the name says that something happened, and where it does not.
LATER_NAMED, LATER = 0.05, 0.5
#: Values that stand on fewer rows are taken together, as are all but the most frequent ``VALUES``.
VALUE_ROWS, VALUES = 5, 50
#: How much more often, and by what share of rows more, the newest tenth of rows is NULL where things take their time.
NEWER_TIMES, NEWER_SHARE = 2.0, 0.05

HAPPENED = word_set(
    """
    accepted acknowledged answered approved archived arrived assigned canceled cancelled charged churned clicked closed
    completed confirmed converted deactivated death deleted delivered denied departed died discontinued dismissed
    dispatched ended exited failed finished fixed fulfilled granted left logout merged opened paid picked
    processed read received redeemed refunded rejected removed replied resolved responded retired returned reviewed
    revoked settled shipped signed sold solved stopped terminated used verified viewed withdrawn won
    """
)
PLANNED = word_set(
    """
    begin begins birth birthday deadline desired dob due effective end ends estimated eta event expected expiration
    expire expires expiry forecast from launch next plan planned preferred projected promised proposed release requested
    required reserved scheduled start starting starts target thru to until valid wanted
    """
)


@dataclass(frozen=True, slots=True)
class _Record:
    """A column of times that says when something happened to its row, why it is taken for one, how many µs after the
    row it mostly did, in how many rows it has not, and whether it is no input, as it is overwritten each time."""

    name: str
    evidence: str
    delay_us: float
    missing: int
    overwritten: bool


@dataclass(frozen=True, slots=True)
class _Told:
    """How well one column tells whether another is filled: exactly or only where it is not NULL, and in what share
    of rows."""

    exact: bool
    share: float
    evidence: str


def known_later(schema: Schema, sample: Sample) -> list[Proposal]:
    """For each column of a table with a time whose values were not known with their row, the column that says when;
    and the columns that are overwritten with a time which ``schema`` says is no input.

    The times themselves are judged by all rows, what goes with them by the sample or, where it holds too few rows of
    either kind, by all. What ``schema`` already says of a column stands.
    """
    proposals = []
    for table in schema.tables.values():
        if table.time is None:
            continue
        records = _records(schema, table, sample)
        free = {column.name for column in table.columns if table.told_by(column) is None}
        for name, record in records.items():
            if name in free and not record.overwritten:
                proposals.append(Proposal("known_at", table.name, name, record.evidence, column=name))
        proposals += [found for found in _followers(schema, table, records, sample) if found.column in free]
    return proposals


def _records(schema: Schema, table: Table, sample: Sample) -> dict[str, _Record]:
    """The columns that say when something happened to a row after its own time, by name."""
    named = [
        column
        for column in _others(schema, table, sample)
        if column.dtype in (Dtype.date, Dtype.timestamp) and not PLANNED & set(time_words(column.name))
    ]
    if not named or table.time is None:
        return {}
    begun, rows = _timed(schema, table, named, sample)
    step = sample.step(table.name)
    found = {}
    for column in named:
        record = _record(column, begun, micros(rows[column.name]))
        if record:
            thinned = f"; of every {step}th row" if step > 1 else ""
            found[column.name] = replace(record, evidence=record.evidence + thinned)
    return found


def _others(schema: Schema, table: Table, sample: Sample) -> list[Column]:
    """The columns of a table that can be read and are neither part of a key nor its time."""
    keys = {*table.primary_key, *(name for relation in schema.relations_from(table.name) for name in relation.key)}
    keys |= {name for relation in schema.relations_to(table.name) for name in relation.referred}
    if table.time and not table.time.through:
        keys.add(table.time.column)
    readable = set(sample.rows(table.name).column_names)
    return [column for column in table.columns if column.name in readable and column.name not in keys]


def _timed(
    schema: Schema, table: Table, columns: Sequence[Column], sample: Sample, *, whole: bool = True
) -> tuple[clock.Times, pa.Table]:
    """The rows of a table, of all of them (a very large table is thinned) or the sample, and the time of each."""
    if (time := table.time) is None:
        raise SchemaError(f"table {table.name!r} has no time column")
    needed = time.through[0] if time.through else (time.column,)
    names = list(dict.fromkeys((*needed, *(column.name for column in columns))))
    rows = sample.thinned(table.name, names) if whole else sample.rows(table.name)
    return row_times(schema, sample, table.name, time, rows), rows


def _record(column: Column, begun: clock.Times, ended: clock.Times) -> _Record | None:
    both = (begun != clock.NEVER) & (ended != clock.NEVER)
    filled = int(both.sum())
    if filled < ENOUGH:
        return None
    one, other = begun[both], ended[both]
    if _is_daily(one) or _is_daily(other):
        one, other = one - one % clock.US_PER_DAY, other - other % clock.US_PER_DAY
    early, later = float(np.mean(other < one)), float(np.mean(other > one))
    overwritten = column.stype is Stype.unsupported
    is_named = overwritten or bool(HAPPENED & set(time_words(column.name)))
    if early > NOISE or later < (LATER_NAMED if is_named else LATER):
        return None
    missing = int((ended == clock.NEVER).sum())
    evidence = f"later than the row in {later:.0%} of {filled} rows, earlier in {early:.1%}, NULL in {missing}"
    if is_named:
        evidence += "; named as something that happened"
    else:
        newest, others = _newest(begun, ended == clock.NEVER)
        ahead = float(np.mean(other > begun[begun != clock.NEVER].max()))  # what lies ahead of all rows is a plan
        if newest < max(NEWER_TIMES * others, others + NEWER_SHARE) or ahead > NOISE or missing < ENOUGH:
            return None
        evidence += f"; in the newest tenth of rows in {newest:.0%}, in the others in {others:.0%}"
    return _Record(column.name, evidence, float(np.median(ended[both] - begun[both])), missing, overwritten)


def _is_daily(times: clock.Times) -> bool:
    return bool(np.all(times % clock.US_PER_DAY == 0))


def missing_shares(times: clock.Times, values: pa.ChunkedArray) -> tuple[float, float]:
    """The share of rows whose value is NULL among the newest tenth, and among the others; ``times`` are the rows'."""
    return _newest(times, _is_null(values))


def _newest(begun: clock.Times, missing: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """The share of ``missing`` among the newest tenth of rows, and among the others."""
    known = begun != clock.NEVER
    if not known.any():
        return 0.0, 0.0
    ordered = missing[known][np.argsort(begun[known], kind="stable")]
    cut = len(ordered) - max(len(ordered) // 10, 1)
    return float(np.mean(ordered[cut:])), float(np.mean(ordered[:cut])) if cut else 0.0


def _followers(schema: Schema, table: Table, records: dict[str, _Record], sample: Sample) -> Iterator[Proposal]:
    """For each other column whose value tells whether one of ``records`` is filled, the one that it tells best; of
    equals the latest. What goes with a time that is overwritten is overwritten too."""
    known_with = [name for name, record in records.items() if record.missing >= ENOUGH]
    columns = [column for column in _others(schema, table, sample) if column.name not in records]
    if not known_with or not columns:
        return
    begun, rows = _timed(schema, table, columns, sample, whole=False)
    if not sample.is_whole(table.name) and not all(_states(begun, rows[name])[1] for name in known_with):
        # Long texts on every row are much to read, and tell nothing by being there.
        columns = [c for c in columns if c.stype is not Stype.text_embedded or rows[c.name].null_count]
        begun, rows = _timed(schema, table, [*columns, *(table[name] for name in known_with)], sample)
    states = {}
    for name in known_with:
        chosen, is_enough = _states(begun, rows[name])
        if is_enough:
            states[name] = chosen, _is_null(rows[name].filter(pa.array(chosen)))
    for column in columns:
        told = []
        for name, (chosen, is_open) in states.items():
            if found := _told(rows[column.name].filter(pa.array(chosen)), is_open, name):
                record = records[name]
                told.append(
                    ((not record.overwritten, found.exact, round(found.share, 2), record.delay_us), name, found)
                )
        if told:
            _, name, best = max(told, key=lambda entry: entry[0])
            if not records[name].overwritten:
                yield Proposal("known_at", table.name, name, best.evidence, column=column.name, confidence=best.share)
            elif column.stype is not Stype.unsupported:
                said = f"written when {name} is: {best.evidence}"
                yield Proposal("overwritten", table.name, Stype.unsupported, said, column.name, best.share)


def _states(begun: clock.Times, record: pa.ChunkedArray) -> tuple[npt.NDArray[np.bool_], bool]:
    """The rows at least as new as those in which nothing has happened yet, or a little older where they are few, and
    whether enough of them are of either kind. Only such rows compare: whatever else is new about the newest rows
    tells them from all older ones."""
    is_open = _is_null(record)
    known = begun != clock.NEVER
    if not (is_open & known).any():
        return known, False
    since = np.quantile(begun[is_open & known], 0.05, method="lower")
    filled = np.sort(begun[known & ~is_open])
    chosen = known & (begun >= min([since, *filled[-ENOUGH:]]))
    count = int((chosen & is_open).sum())
    return chosen, min(count, int(chosen.sum()) - count) >= ENOUGH


def _told(values: pa.ChunkedArray, is_open: npt.NDArray[np.bool_], record: str) -> _Told | None:
    """How ``values`` tell ``is_open``, or None where they do not: each value stands (almost) only in rows of one
    kind, or values are (almost) never there before something has happened, where they often are after it."""
    codes, names = coded(values)
    seen = np.zeros((len(names), 2), np.int64)
    np.add.at(seen, (codes, is_open.astype(np.int64)), 1)
    filled, opened = (int(count) for count in seen.sum(axis=0))
    before = seen[:, 1] > seen[:, 0]  # the values of rows in which nothing has happened yet
    hits, right = int(seen[before, 1].sum()), int(seen[~before, 0].sum())
    wrong, missed = int(seen[before, 0].sum()), int(seen[~before, 1].sum())
    if hits and right:
        shares = (hits / (hits + wrong), hits / (hits + missed), right / (right + missed), right / (right + wrong))
        if min(shares) >= 1 - NOISE:
            first, then = (_listed(names, seen[:, state], before == bool(state)) for state in (1, 0))
            evidence = f"{first} in {opened} rows whose {record} is NULL, {then} in {filled} others as new"
            return _Told(True, min(shares), evidence if min(shares) == 1 else f"{evidence} ({min(shares):.1%} agree)")
    there_before, there_after = opened - int(seen[0, 1]), filled - int(seen[0, 0])
    expected = opened * there_after / filled
    if expected >= ENOUGH and there_before <= NOISE * expected:
        share, all_before = there_after / filled, f"{there_before} of {opened}"
        evidence = f"filled in {all_before} rows whose {record} is NULL, in {share:.0%} of {filled} others as new"
        return _Told(False, 1 - there_before / expected, evidence)
    return None


def coded(values: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Values as codes and what each stands for: 0 for NULL, 1 for all rare values, then the frequent ones.
    Of lists and structures only whether they are there."""
    if pa.types.is_nested(values.type):
        return (~_is_null(values)).astype(np.int64), ["NULL", "a value"]
    encoded = pc.dictionary_encode(values).combine_chunks()
    indices = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    counts = np.bincount(indices[indices >= 0], minlength=len(encoded.dictionary))
    frequent = np.argsort(-counts, kind="stable")[:VALUES]
    frequent = frequent[counts[frequent] >= VALUE_ROWS]
    codes = np.ones(len(counts) + 1, np.int64)
    codes[-1] = 0
    codes[frequent] = np.arange(len(frequent)) + 2
    shown = [_shortened(str(encoded.dictionary[int(place)].as_py())) for place in frequent]
    return codes[indices], ["NULL", "other values" if shown else "a value", *shown]


def _listed(names: Sequence[str], counts: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_]) -> str:
    """The values ``chosen`` that occur, the most frequent first, at most three."""
    order = [place for place in np.argsort(-counts, kind="stable") if chosen[place] and counts[place]]
    return ", ".join(names[place] for place in order[:3]) + (", …" if len(order) > 3 else "")


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 20 else f"{text[:19]}…")


def _is_null(values: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.is_null(values, nan_is_null=True).to_numpy(), np.bool_)
