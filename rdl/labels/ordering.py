"""What label SQL gave, in any order → seeds by time and entity. A sort of one number a seed costs a part of SQL's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Rows = npt.NDArray[np.int64]

#: So many rows of a ranking are gathered, at least, before those listed twice are dropped.
GATHERED = 1 << 25
#: Seeds are put in their places, rather than sorted, where one place in so many is taken.
_SPARSE = 8


def in_order(entity: Rows, n: Rows, entities: int) -> Rows | None:
    """The order [seeds] of seeds by anchor ``n`` and ``entity``, a number below ``entities``; no two are the same.
    None where they are in order."""
    seed = n * entities + entity
    if (seed[1:] > seed[:-1]).all():
        return None
    places = int(seed.max()) + 1
    if places > _SPARSE * len(seed):
        return np.argsort(seed)
    place = np.full(places, -1, np.int64)
    place[seed] = np.arange(len(seed))
    return np.asarray(place[place >= 0])


def gather(batches: Iterable[pa.RecordBatch], entities: int, anchors: int, ranked: int) -> tuple[Rows, Rows, pa.Array]:
    """Seeds in order, as ``entity`` and ``n`` [seeds], and the rows that each lists, ascending and once each.

    Each row of ``batches`` is a seed and a row, below ``ranked``, that it lists, or NULL where it lists none. What is
    held grows with the result, not with the rows gathered.
    """
    width = ranked.bit_length()  # a row listed is kept as its number + 1, none as 0
    packs = (anchors * entities).bit_length() + width < 64
    kept, waiting, many = _pairs([], packs=packs), [], 0
    for batch in batches:
        seed = _whole(batch["n"]) * entities + _whole(batch["entity"])
        row = _whole(batch["listed"].fill_null(-1)) + 1
        waiting.append(seed << width | row if packs else np.stack([seed, row], axis=1))
        many += len(seed)
        if many > max(GATHERED, len(kept)):
            kept, waiting, many = _pairs([kept, *waiting], packs=packs), [], 0
    kept = _pairs([kept, *waiting], packs=packs)
    del waiting
    seed, row = (kept >> width, (kept & ((1 << width) - 1)) - 1) if packs else (kept[:, 0], kept[:, 1] - 1)
    heads = np.flatnonzero(np.concatenate([np.ones(min(len(seed), 1), bool), seed[1:] != seed[:-1]]))
    listed = row >= 0
    before = np.concatenate([[0], np.cumsum(listed)])
    lists = pa.LargeListArray.from_arrays(pa.array(before[np.append(heads, len(seed))]), pa.array(row[listed]))
    number, entity = np.divmod(seed[heads], entities)
    return entity, number, lists


def _pairs(parts: Sequence[Rows], *, packs: bool) -> Rows:
    """The distinct seeds and rows of ``parts``, ascending: as one number each, or as two."""
    if not packs:
        return np.unique(np.concatenate([np.empty((0, 2), np.int64), *parts]), axis=0)
    pairs = np.concatenate([np.empty(0, np.int64), *parts])
    pairs.sort()
    first: npt.NDArray[np.bool_] = np.concatenate([np.ones(min(len(pairs), 1), bool), pairs[1:] != pairs[:-1]])
    return np.asarray(pairs[first])


def _whole(column: pa.Array) -> Rows:
    return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False))
