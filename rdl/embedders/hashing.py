"""Texts → vectors by hashing words and pieces of words, vectorised over the bytes of an Arrow array.

Signed feature hashing (Weinberger et al., 2009) is a random projection of the counts: each word adds +1 or −1 to one
of the channels, each run of four letters (n-grams as of fastText, Bojanowski et al., 2017) half of that, and the sum is
scaled to length 1. Texts that share words or parts of words have vectors that point alike.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

#: Letters of a text that are read, and bytes of texts that are worked on at once (25 times as much memory).
MOST_LETTERS, BATCH_BYTES = 20_000, 1 << 17
WORD_WEIGHT, PIECE_WEIGHT, PIECE_BYTES = 1.0, 0.5, 4

_U64, _U32 = np.uint64, np.uint32
_FACTOR = 0x9E3779B97F4A7C15
_INVERSE = pow(_FACTOR, -1, 1 << 64)

#: Bytes that belong to words: letters, digits, underscores, and all bytes of letters beyond ASCII.
_IN_WORD = np.zeros(256, np.bool_)
_IN_WORD[[byte for byte in range(256) if byte >= 128 or chr(byte).isalnum() or byte == ord("_")]] = True


class HashingEmbedder:
    """The :class:`~rdl.embedders.Embedder` that needs nothing: see the module. A text without a word is all zeros."""

    name = "hashing"

    def __init__(self, channels: int = 64) -> None:
        """``channels`` is a power of two."""
        self.channels = channels
        self._shift = 33 - channels.bit_length()  # the topmost bits of a 32-bit hash choose the channel

    def embed(self, texts: pa.Array) -> npt.NDArray[np.float32]:
        """See :class:`~rdl.embedders.Embedder`."""
        vectors = np.zeros((len(texts), self.channels), np.float32)
        texts = pc.utf8_lower(pc.utf8_slice_codeunits(texts.cast(pa.large_string()), 0, MOST_LETTERS))
        offsets = np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1, texts.offset * 8)
        letters = texts.buffers()[2]
        first = 0
        while first < len(texts):
            last = int(np.searchsorted(offsets, offsets[first] + BATCH_BYTES, side="right")) - 1
            last = max(last, first + 1)
            begin, end = int(offsets[first]), int(offsets[last])
            if end > begin:
                piece = np.frombuffer(letters, np.uint8, end - begin, begin)
                vectors[first:last] = self._batch(piece, offsets[first : last + 1] - begin)
            first = last
        return vectors

    def _batch(self, letters: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The vectors of the texts that lie end to end in ``letters``."""
        number = len(offsets) - 1
        text = np.repeat(np.arange(number, dtype=np.int32), np.diff(offsets))
        places, weights = [], []
        for hashed, owner, weight in (_words(letters, offsets, text), _pieces(letters, text)):
            places.append(owner.astype(np.int64) * self.channels + (hashed >> _U32(self._shift)))
            weights.append(np.where(hashed & _U32(1), weight, -weight))
        size = number * self.channels
        sums = np.bincount(np.concatenate(places), np.concatenate(weights), size).reshape(number, self.channels)
        length = np.sqrt(np.square(sums).sum(axis=1, keepdims=True))
        return np.asarray(sums / np.where(length > 0, length, 1), np.float32)


_Hashed = tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32], float]


def _words(letters: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], text: npt.NDArray[np.int32]) -> _Hashed:
    """The hash of each word, the text it stands in, and its weight.

    A word's hash is Σ byte · factor^position over its bytes, from a running sum over all bytes (modulo 2⁶⁴).
    """
    inside, edge = _IN_WORD[letters], np.zeros(len(letters) + 1, np.bool_)
    edge[offsets] = True
    begin, end = inside.copy(), inside.copy()
    begin[1:] &= ~inside[:-1] | edge[1:-1]
    end[:-1] &= ~inside[1:] | edge[1:-1]
    first, last = np.flatnonzero(begin), np.flatnonzero(end) + 1
    running = np.zeros(len(letters) + 1, _U64)
    np.cumsum((letters + _U64(1)) * _powers(_FACTOR, len(letters)), out=running[1:])
    sums = (running[last] - running[first]) * _powers(_INVERSE, len(letters))[first]
    return _mixed((sums ^ (sums >> _U64(32))).astype(_U32)), text[first], WORD_WEIGHT


def _pieces(letters: npt.NDArray[np.uint8], text: npt.NDArray[np.int32]) -> _Hashed:
    """The hash of each run of four bytes within a text; all that is no letter is a space."""
    number = max(len(letters) - PIECE_BYTES + 1, 0)
    spaced = np.zeros(len(letters) + PIECE_BYTES, np.uint8)
    spaced[: len(letters)] = np.where(_IN_WORD[letters], letters, ord(" "))
    packed = np.empty(len(letters) + PIECE_BYTES, _U32)
    for place in range(PIECE_BYTES):  # every fourth run, four times
        runs = np.frombuffer(spaced, "<u4", (len(spaced) - place) // PIECE_BYTES, place)
        packed[place : place + PIECE_BYTES * len(runs) : PIECE_BYTES] = runs
    whole = text[:number] == text[len(text) - number :]
    return _mixed(packed[:number][whole] + _U32(0x85EBCA6B)), text[:number][whole], PIECE_WEIGHT


def _powers(factor: int, number: int) -> npt.NDArray[np.uint64]:
    """factor⁰, factor¹, …, ``number`` of them, modulo 2⁶⁴."""
    return _rounded_powers(factor, 1 << max(number - 1, 0).bit_length())[:number]


@lru_cache(maxsize=4)
def _rounded_powers(factor: int, number: int) -> npt.NDArray[np.uint64]:
    powers = np.full(number, factor, _U64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


def _mixed(hashed: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Each bit of the result depends on each bit of ``hashed`` (the end of MurmurHash3)."""
    hashed = (hashed ^ (hashed >> _U32(16))) * _U32(0x85EBCA6B)
    hashed = (hashed ^ (hashed >> _U32(13))) * _U32(0xC2B2AE35)
    return hashed ^ (hashed >> _U32(16))
