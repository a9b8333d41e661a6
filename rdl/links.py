"""The two directions of one foreign key: the parent of a row by one gather, the children of a row in order of time.

What a seed sees of a row's children is a range of them, or, where rows end, a set of which each member is found by its
number. Either costs the logarithm of the number of children, and nothing is walked through. Where the key became known
later than its row, a child comes to its parent then, not before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
class Late:
    """When the keys of one relation became known, which is later than their rows.

    ``known`` int64 ``[children]``: µs UTC of each child row's key, ``clock.NEVER`` where nobody says. ``linked`` int64
    ``[links]``: of each of the link's children when both it and its key were known, ascending in each parent's range.
    """

    known: Tensor
    linked: Tensor

    def to(self, device: torch.device) -> Late:
        """The same times on ``device``."""
        return Late(self.known.to(device), self.linked.to(device))


@dataclass(frozen=True, slots=True)
class Link:
    """One relation's edges, both ways.

    ``parent`` int32 ``[children]``: the parent's row of each child row, −1 where NULL or dangling.
    ``children`` int32 ``[links]``: child rows ordered by (parent, time); the children of parent row p are
    ``children[indptr[p]:indptr[p + 1]]``. ``indptr`` int64 ``[parents + 1]``. ``endings`` say when these children end;
    None where they never do. ``late`` says when the keys became known, and children are then ordered by (parent,
    ``late.linked``, row); None where keys were known with their rows.
    """

    parent: Tensor
    children: Tensor
    indptr: Tensor
    endings: Endings | None = None
    late: Late | None = None

    def to(self, device: torch.device) -> Link:
        """The same link on ``device``."""
        endings, late = self.endings and self.endings.to(device), self.late and self.late.to(device)
        return Link(self.parent.to(device), self.children.to(device), self.indptr.to(device), endings, late)

    def visible(self, parents: Tensor, limit: Tensor, cut: Tensor) -> Visible:
        """The children of ``parents`` that are rows below ``limit`` and have not ended by ``cut`` µs; all ``[N]``. Of
        late keys ``limit`` is a time, and the children are those linked before it."""
        start, stop = self.indptr.index_select(0, parents), self.indptr.index_select(0, parents + 1)
        known = bisect(self.children if self.late is None else self.late.linked, start, stop, limit)
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


def write_late(folder: Path, link: Link, time: Rows64, known: Rows64) -> None:
    """Writes the children of ``link`` in the order in which they and their keys were known: rows at ``time``, keys at
    ``known``, both ``[children]`` µs."""
    linked = np.maximum(time, known)
    order = np.argsort(linked, kind="stable")
    place, _ = grouped(link.parent.numpy()[order], len(link.indptr) - 1)
    children = order[place]
    np.save(folder / "children.npy", children.astype(np.int32))
    np.save(folder / "linked.npy", linked[children])
    np.save(folder / "known.npy", known)


def read_late(folder: Path, link: Link) -> Link:
    """``link`` with its children in the order of ``folder``, memory-mapped. Raises ValueError where that is damaged."""
    children, linked, known = (mapped(folder / f"{name}.npy") for name in ("children", "linked", "known"))
    if not len(children) == len(linked) == len(link.children) or len(known) != len(link.parent):
        raise ValueError(f"{folder} has links of another graph")
    return replace(link, children=children, late=Late(known, linked))


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
