"""Children that end: how many of a parent's are known and not over at a time, and which, in logarithmic time.

Of each parent the children are put in the order in which they end, the last first, so that those not over at a time
are a prefix. In it, those known at the time are the ones with the smallest numbers by time, and a wavelet matrix
(Claude, Navarro & Ordóñez, 2015) over these numbers counts them and finds any one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_WORD = 64

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Endings:
    """The endings of one relation's children.

    ``ends`` int64 ``[links]`` are the ends of the children, negated (−µs UTC), ascending in each parent's range. The
    numbers by time of the children in that order, from 0 within each parent, stand bit by bit, the highest first and
    stably partitioned by each bit in turn: ``bits`` int64 ``[levels, words]`` has a 1 where a bit is 0, and ``zeros``
    int32 ``[levels, words]`` says how many bits are 0 before each word, in its last one on the whole level.
    """

    ends: Tensor
    bits: Tensor
    zeros: Tensor

    def to(self, device: torch.device) -> Endings:
        """The same endings on ``device``."""
        return Endings(self.ends.to(device), self.bits.to(device), self.zeros.to(device))

    def count(self, start: Tensor, stop: Tensor, known: Tensor, cut: Tensor) -> tuple[Tensor, Tensor]:
        """Of the ranges [start, stop): where those that end after ``cut`` stop, and how many of these are among the
        first ``known`` by time. All int64 ``[N]``."""
        alive = bisect(self.ends, start, stop, -cut)
        found, begin, end = torch.zeros_like(known), start, alive
        for level in range(len(self.bits)):
            low, high = self._zeros(level, begin), self._zeros(level, end)
            one = (known >> (len(self.bits) - 1 - level)) & 1 == 1
            found = torch.where(one, found + high - low, found)
            begin, end = self._next(level, one, begin, end, low, high)
        # More known than there are numbers with so many bits: all of them.
        return alive, torch.where(known >> len(self.bits) > 0, alive - start, found)

    def find(self, start: Tensor, stop: Tensor, rank: Tensor) -> Tensor:
        """The number by time that is ``rank``-th smallest, from 0, in [start, stop). All int64 ``[N]``."""
        found = torch.zeros_like(rank)
        for level in range(len(self.bits)):
            low, high = self._zeros(level, start), self._zeros(level, stop)
            one = rank >= high - low
            rank = torch.where(one, rank - (high - low), rank)
            found = (found << 1) | one.long()
            start, stop = self._next(level, one, start, stop, low, high)
        return found

    def _zeros(self, level: int, place: Tensor) -> Tensor:
        """How many bits of the level are 0 before ``place``."""
        word = place // _WORD
        below = self.bits[level].index_select(0, word) & ((1 << (place % _WORD)) - 1)
        return self.zeros[level].index_select(0, word) + _ones(below)

    def _next(
        self, level: int, one: Tensor, start: Tensor, stop: Tensor, low: Tensor, high: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where the ranges' zeros, or their ones, stand on the next level."""
        all_zeros = self.zeros[level, -1]
        return (
            torch.where(one, all_zeros + start - low, low),
            torch.where(one, all_zeros + stop - high, high),
        )


def _ones(word: Tensor) -> Tensor:
    """How many bits of each int64 are 1; the highest is not."""
    word = word - ((word >> 1) & 0x5555555555555555)
    word = (word & 0x3333333333333333) + ((word >> 2) & 0x3333333333333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F0F0F0F0F
    return (word * 0x0101010101010101) >> 56


def bisect(values: Tensor, start: Tensor, stop: Tensor, limit: Tensor) -> Tensor:
    """The first place in each range [start, stop) of ascending ``values`` that is not below ``limit``, else its stop.

    All int64 ``[N]`` but ``values``; ``limit`` fits their type.
    """
    width = int((stop - start).max()) if len(start) else 0
    found, limit = start - 1, limit.to(values.dtype)
    for bit in reversed(range(width.bit_length())):
        candidate = found + (1 << bit)
        inside = candidate < stop
        below = values.index_select(0, torch.where(inside, candidate, 0)) < limit
        found = torch.where(below & inside, candidate, found)
    return found + 1


def write_endings(folder: Path, number: int, ends: Numbers, numbers: Numbers) -> None:
    """Writes the endings of the ``number``-th relation: negated ``ends`` and, in the same order, the ``numbers`` by
    time of the children, both ``[links]``."""
    np.save(folder / f"{number}.ends.npy", ends)
    levels = (int(numbers.max()) if len(numbers) else 0).bit_length()
    words = len(numbers) // _WORD + 2
    bits, zeros = (
        np.lib.format.open_memmap(folder / f"{number}.{name}.npy", "w+", dtype, (levels, words))
        for name, dtype in (("bits", np.int64), ("zeros", np.int32))
    )
    for level in range(levels):
        zero = (numbers >> (levels - 1 - level)) & 1 == 0
        packed = np.zeros(words * _WORD // 8, np.uint8)
        packed[: -(-len(zero) // 8)] = np.packbits(zero, bitorder="little")
        bits[level] = packed.view("<i8")
        zeros[level, 1:] = np.bitwise_count(packed.view("<u8")).cumsum()[:-1]
        numbers = np.concatenate([numbers[zero], numbers[~zero]])


def read_endings(folder: Path, number: int, links: int) -> Endings:
    """The endings of the ``number``-th relation, which has ``links`` links, memory-mapped. Raises ValueError where they
    are damaged."""
    ends, bits, zeros = (mapped(folder / f"{number}.{name}.npy") for name in ("ends", "bits", "zeros"))
    if len(ends) != links or bits.shape != zeros.shape or bits.size(1) != links // _WORD + 2:
        raise ValueError(f"{folder} has endings of another graph")
    return Endings(ends, bits, zeros)


def mapped(path: Path) -> Tensor:
    """The tensor in a .npy file, memory-mapped: processes that open it share its pages, and what is written to it is
    seen by none but the writer."""
    return torch.from_numpy(np.load(path, mmap_mode="c"))
