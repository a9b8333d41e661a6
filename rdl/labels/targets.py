"""Labels as DuckDB gave them → the arrays of a TaskTable, by kind of task, and back to what stands in the database."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rdl.query.expressions import Value
from rdl.query.task import Kind, Task, TaskTable
from rdl.snapshot import Snapshot

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
Values = tuple[Value, ...]


def known(kind: Kind, target: pa.ChunkedArray) -> Mask:
    """Whether each label is known [seeds]: it is not NULL or NaN; of a forecast, at least one timeframe is not."""
    if kind is Kind.forecast:
        return np.asarray(np.isfinite(_frames(target)).any(axis=1))
    if pa.types.is_floating(target.type):
        return np.isfinite(_floats(target))
    return np.asarray(target.is_valid().to_numpy())


def encode(
    kind: Kind, target: pa.ChunkedArray, training: Mask, kept: Mask
) -> tuple[npt.NDArray[Any], Rows | None, Values, Values]:
    """``target``, ``indptr``, ``classes`` and ``unseen`` of a TaskTable.

    The vocabulary is that of the seeds in ``training`` [seeds], ``unseen`` that of the other ones in ``kept``.
    """
    if kind is Kind.forecast:
        return _frames(target), None, (), ()
    if kind in (Kind.binary, Kind.regression):
        return _floats(target), None, (), ()
    if kind is Kind.multiclass:
        return _numbered(target, training, kept, None)
    if not _is_list(target.type):  # a ranking of one row a seed
        indptr = np.concatenate([[0], np.cumsum(target.is_valid().to_numpy())]).astype(np.int64)
        return target.drop_null().cast(pa.int64()).to_numpy(), indptr, (), ()
    lengths = pc.list_value_length(target).fill_null(0).to_numpy()
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    flat = pc.list_flatten(target)
    if kind is Kind.recommendation:
        return _ascending(flat.cast(pa.int64()).to_numpy(), indptr), indptr, (), ()
    return _numbered(flat, np.repeat(training, lengths), np.repeat(kept, lengths), indptr)


def shown(task: Task, table: TaskTable, snapshot: Snapshot) -> pa.Array:
    """The labels of ``table`` as they stand in the database, one a seed."""
    if task.kind in (Kind.binary, Kind.regression):
        return pa.array(table.target)
    if task.kind is Kind.forecast:
        flat = pa.array(table.target.ravel(), from_pandas=True)  # NaN: unknown, NULL
        return pa.FixedSizeListArray.from_arrays(flat, table.target.shape[1])
    if task.candidates is not None:
        keys = snapshot.keys(task.candidates, table.target).combine_chunks()
        columns = [column.combine_chunks() for column in keys.columns]
        flat = columns[0] if len(columns) == 1 else pa.StructArray.from_arrays(columns, keys.column_names)
    else:
        unseen = len(table.classes) - 1 - table.target
        flat = pa.array([*table.classes, *table.unseen]).take(
            pa.array(np.where(table.target < 0, unseen, table.target))
        )
    return flat if table.indptr is None else pa.LargeListArray.from_arrays(pa.array(table.indptr), flat)


def _floats(target: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Numbers; NaN where NULL, NaN or infinite."""
    found = target.cast(pa.float64()).fill_null(np.nan).to_numpy()
    return found if np.isfinite(found).all() else np.where(np.isfinite(found), found, np.nan)


def _frames(target: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Lists of equal length as an array [seeds, timeframes]."""
    flat = _floats(pc.list_flatten(target))
    return flat.reshape(len(target), len(flat) // max(len(target), 1))


def _numbered(
    values: pa.ChunkedArray, training: Mask, kept: Mask, indptr: Rows | None
) -> tuple[Rows, Rows | None, Values, Values]:
    """Values as class numbers: those in ``training`` by falling frequency, others of ``kept`` as -1, -2, …"""
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_finite(values), values, None)
    coded = values.dictionary_encode().unify_dictionaries().combine_chunks()
    coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    words = coded.dictionary.to_pylist()
    seen, used = (np.bincount(codes[mask & (codes >= 0)], minlength=len(words)) for mask in (training, kept))
    by_value = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
    order = by_value[np.argsort(-seen[by_value], kind="stable")]
    fitted, others = order[seen[order] > 0], by_value[(seen[by_value] == 0) & (used[by_value] > 0)]
    number = np.full(len(words) + 1, -1, np.int64)
    number[fitted], number[others] = np.arange(len(fitted)), -1 - np.arange(len(others))
    numbers = number[codes]
    target = numbers if indptr is None else _ascending(numbers, indptr)
    return target, indptr, tuple(words[code] for code in fitted), tuple(words[code] for code in others)


def _ascending(values: Rows, indptr: Rows) -> Rows:
    """``values`` with each list in ascending order."""
    begins = np.zeros(len(values) + 1, bool)
    begins[indptr] = True
    if begins[np.flatnonzero(values[1:] < values[:-1]) + 1].all():
        return values
    owner = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    least = values.min()
    span = int(values.max() - least) + 1
    if span * len(indptr) < np.iinfo(np.int64).max:  # one key to sort by is several times faster than two
        return np.asarray(np.sort(owner * span + (values - least)) % span + least)
    return np.asarray(values[np.lexsort((values, owner))])


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
