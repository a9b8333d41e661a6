"""Hashed texts are what a loop over their words and letters would make of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.embedders import HASHING, HashingEmbedder, hashing
from rdl.embedders.hashing import MOST_LETTERS, PIECE_BYTES, PIECE_WEIGHT, WORD_WEIGHT

TEXTS = st.lists(st.text(alphabet="ab1_ .-ÄßéИ\n\x00😀", max_size=12), max_size=12)


def embed(texts: list[str], channels: int = 64) -> np.ndarray:
    return HashingEmbedder(channels).embed(pa.array(texts, pa.string()))


def words_and_pieces(text: str) -> tuple[list[bytes], list[bytes]]:
    letters = text.lower()[:MOST_LETTERS].encode()
    inside = [byte >= 128 or chr(byte).isalnum() or byte == ord("_") for byte in letters]
    spaced = bytes(byte if within else 32 for byte, within in zip(letters, inside, strict=True))
    pieces = [spaced[n : n + PIECE_BYTES] for n in range(len(spaced) - PIECE_BYTES + 1)]
    return [word for word in spaced.split(b" ") if word], pieces


def mixed(hashed: int) -> int:
    hashed = ((hashed ^ hashed >> 16) * 0x85EBCA6B) % 2**32
    hashed = ((hashed ^ hashed >> 13) * 0xC2B2AE35) % 2**32
    return hashed ^ hashed >> 16


def slowly(text: str, channels: int) -> np.ndarray:
    """The vector of one text, word by word."""
    vector = np.zeros(channels)
    words, pieces = words_and_pieces(text)
    for weight, hashes in (
        (WORD_WEIGHT, [sum((b + 1) * hashing._FACTOR**n for n, b in enumerate(word)) % 2**64 for word in words]),
        (PIECE_WEIGHT, [int.from_bytes(piece, "little") + 0x85EBCA6B for piece in pieces]),
    ):
        for number in hashes:
            folded = number ^ number >> 32 if weight == WORD_WEIGHT else number
            hashed = mixed(folded % 2**32)
            vector[hashed * channels >> 32] += weight if hashed % 2 else -weight
    return vector / (np.linalg.norm(vector) or 1)


@given(TEXTS, st.sampled_from([1, 8, 64]))
@settings(deadline=None)
def test_vectors_are_those_of_a_loop(texts: list[str], channels: int) -> None:
    expected = np.array([slowly(text, channels) for text in texts]).reshape(len(texts), channels)
    assert np.allclose(embed(texts, channels), expected, atol=1e-6)


@given(TEXTS, st.integers(0, 12), st.sampled_from([1, 7, 10**6]))
@settings(deadline=None)
def test_a_vector_does_not_depend_on_the_texts_beside_it(texts: list[str], first: int, batch: int) -> None:
    whole = embed(texts)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hashing, "BATCH_BYTES", batch)
        assert np.array_equal(embed(texts), whole)
        part = HASHING.embed(pa.array(texts, pa.string()).slice(first))
    assert np.array_equal(part, whole[first:])


def test_alike_texts_point_alike() -> None:
    red, same, plural, other = embed(["Red apples", "(red APPLES!)", "red apple", "an entirely different thing"])
    assert red @ same > 0.8
    assert red @ plural > 0.5 > abs(red @ other)
    assert np.allclose(np.linalg.norm([red, other], axis=1), 1)


def test_texts_without_a_word_are_zeros() -> None:
    assert not embed(["", "  ", "..."])[:2].any()
    assert embed([]).shape == (0, 64)


def test_only_the_begin_of_a_text_is_read() -> None:
    one, other = embed(["ü" * MOST_LETTERS, "ü" * MOST_LETTERS + " more"])
    assert np.array_equal(one, other)
