"""The two directions of one foreign key: the parent of a row by one gather, the children of a row in order of time.

What a seed sees of a row's children is a range of them, or, where rows end, a set of which each member is found by its
number. Either costs the logarithm of the number of children, and nothing is walked through.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array
from torch import Tensor

from rdl.endings import Endings, bisect, mapped, write_endings

#: Child rows put in order at once while a link is written, or as many as there are parents: so many stay in the cache.
_ROWS_AT_ONCE = 2**21

Rows32 = npt.NDArray[np.int32]
Rows64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Link:
    """One relation's edges, both ways.

    ``parent`` int32 ``[children]``: the parent's row of each child row, −1 where NULL or dangling.
    ``children`` int32 ``[links]``: child rows ordered by (parent, time); the children of parent row p are
    ``children[indptr[p]:indptr[p + 1]]``. ``indptr`` int64 ``[parents + 1]``. ``endings`` say when these children end;
    None where they never do.
    """

    parent: Tensor
    children: Tensor
    indptr: Tensor
    endings: Endings | None = None

    def to(self, device: torch.device) -> Link:
        """The same link on ``device``."""
        endings = self.endings and self.endings.to(device)
        return Link(self.parent.to(device), self.children.to(device), self.indptr.to(device), endings)

    def visible(self, parents: Tensor, limit: Tensor, cut: Tensor) -> Visible:
        """The children of ``parents`` that are rows below ``limit`` and have not ended by ``cut`` µs; all ``[N]``."""
        start, stop = self.indptr.index_select(0, parents), self.indptr.index_select(0, parents + 1)
        known = bisect(self.children, start, stop, limit)
        if self.endings is None:
            return Visible(self, start, known, known - start)
        alive, count = self.endings.count(start, stop, known - start, cut)
        return Visible(self, start, alive, count)


@dataclass(frozen=True, slots=True)
class Visible:
    """Of each of N parents, the children that a seed sees; ``count`` int64 ``[N]`` is how many."""

    link: Link
    start: Tensor
    stop: Tensor
    count: Tensor

    def newest(self, which: Tensor, rank: Tensor) -> Tensor:
        """The child rows that are ``rank``-th newest, from 0, among those of the parents numbered ``which``."""
        children, endings = self.link.children, self.link.endings
        if endings is None:
            return children.index_select(0, (self.stop - 1).index_select(0, which).sub_(rank)).long()
        start, stop, count = (bound.index_select(0, which) for bound in (self.start, self.stop, self.count))
        return children.index_select(0, start + endings.find(start, stop, count - 1 - rank)).long()


def write_link(folder: Path, number: int, parent: Rows32, num_parents: int) -> None:
    """Writes the children of the ``number``-th relation and their ``indptr``. What stands in memory is some bytes for
    each parent, whatever the number of children."""
    at_once = max(_ROWS_AT_ONCE, num_parents)
    counts = np.zeros(num_parents, np.int64)
    for start in range(0, len(parent), at_once):
        rows = parent[start : start + at_once]
        counts += np.bincount(rows[rows >= 0], minlength=num_parents)
    indptr = np.zeros(num_parents + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    np.save(folder / f"{number}.indptr.npy", indptr)
    free = indptr[:-1].copy()
    children = np.lib.format.open_memmap(folder / f"{number}.children.npy", "w+", np.int32, (int(indptr[-1]),))
    for start in range(0, len(parent), at_once):
        child, bounds = grouped(parent[start : start + at_once], num_parents)
        counts = np.diff(bounds)
        children[np.repeat(free - bounds[:-1], counts) + np.arange(len(child))] = child + np.int32(start)
        free += counts


def read_link(folder: Path, number: int, parent: Tensor, num_parents: int) -> Link:
    """The ``number``-th relation's link, memory-mapped. Raises ValueError where it is damaged."""
    children, indptr = (mapped(folder / f"{number}.{name}.npy") for name in ("children", "indptr"))
    if len(indptr) != num_parents + 1 or int(indptr[-1]) != len(children):
        raise ValueError(f"{folder} has links of another graph")
    return Link(parent, children, indptr)


def write_link_endings(folder: Path, number: int, link: Link, until: Rows64) -> None:
    """Writes the endings of ``link``, whose child rows end at ``until`` ``[children]`` µs."""
    order = np.argsort(-until, kind="stable")
    place, _ = grouped(link.parent.numpy()[order], len(link.indptr) - 1)
    last_first = order[place]
    number_by_time = np.empty(len(until), np.int64)
    indptr = link.indptr.numpy()
    number_by_time[link.children.numpy()] = np.arange(len(place)) - np.repeat(indptr[:-1], np.diff(indptr))
    write_endings(folder, number, -until[last_first], number_by_time[last_first])


def grouped(parent: Rows32, num_parents: int) -> tuple[Rows32, Rows64]:
    """The places in ``parent`` that are not −1, ordered by (parent, place), and where those of each parent begin."""
    place = np.flatnonzero(parent >= 0)
    # A sparse matrix is made row by row by counting, ten times faster than by sorting.
    links = (np.ones(len(place), np.bool_), (parent[place], place))
    by_parent = coo_array(links, shape=(num_parents, len(parent))).tocsr()
    return by_parent.indices.astype(np.int32, copy=False), by_parent.indptr.astype(np.int64)
