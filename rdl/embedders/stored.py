"""Vectors kept on disk by the content of their texts, so that each text is embedded once."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl.cache import default_cache, making, prune
from rdl.embedders.protocol import Embedder, embed

#: What an embedder makes of these, to the last bit, tells it from most others of the same name.
_PROBES = ("", "rdl", "The quick brown fox jumps over the lazy dog.")


class Stored:
    """``embedder`` with a memory: a text that it has seen is read from ``folder`` (default: rdl's cache).

    Whoever makes one says that its name and ``version`` stand for it: another that has both, and makes the same of a
    few texts, is taken for the same. Vectors stand in files of (128 bits of the text's MD5, vector), one for each call
    that met new texts. A folder that cannot be written, or a damaged file, costs time and nothing else.
    """

    def __init__(self, embedder: Embedder, version: str = "", folder: Path | None = None) -> None:
        self._embedder, self._version, self._folder = embedder, version, folder
        self.name, self.channels = embedder.name, embedder.channels

    def embed(self, texts: pa.Array) -> npt.NDArray[np.float32]:
        """See :class:`~rdl.embedders.Embedder`."""
        place = (self._folder or default_cache() / "embeddings") / self._identity()
        kind = np.dtype([("key", "S16"), ("vector", np.float32, (self.channels,))])
        keys, known = _keys(texts), _read(place, kind)
        found = np.searchsorted(known["key"], keys)
        is_known = np.append(known["key"], b"")[found] == keys
        vectors = np.empty((len(texts), self.channels), np.float32)
        vectors[is_known] = known["vector"][found[is_known]]
        fresh = np.flatnonzero(~is_known)
        if len(fresh):
            vectors[fresh] = made = embed(self._embedder, texts.take(pa.array(fresh)))
            rows = np.empty(len(fresh), kind)
            rows["key"], rows["vector"] = keys[fresh], made
            _write(place, rows)
        return vectors

    def _identity(self) -> str:
        """Hex digits that change with the embedder's name and version, and with what it makes of the probes."""
        made = embed(self._embedder, pa.array(_PROBES))
        said = f"{len(self.name)} {self.name} {self._version}"
        return hashlib.sha256(said.encode() + made.tobytes()).hexdigest()[:32]


def _keys(texts: pa.Array) -> npt.NDArray[Any]:
    """The MD5 of each text, 16 bytes."""
    with duckdb.connect(config={"python_enable_replacements": "false"}) as connection:
        connection.register("texts", pa.table({"text": texts}))
        lower, upper = (
            connection.sql("SELECT md5_number_lower(text) AS low, md5_number_upper(text) AS high FROM texts")
            .to_arrow_table()
            .columns
        )
    pairs = np.stack([lower.to_numpy(), upper.to_numpy()], axis=1)
    # A trailing zero byte is no part of NumPy's bytes, to both sides of a comparison alike.
    return np.ascontiguousarray(pairs).view("S16")[:, 0]


def _read(place: Path, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """All that is kept in ``place``, sorted by key."""
    pieces = []
    for file in sorted(place.glob("*.npy")):
        with contextlib.suppress(OSError, ValueError, EOFError):
            rows = np.load(file)
            if rows.dtype == kind and rows.ndim == 1:
                pieces.append(rows)
    rows = np.concatenate(pieces) if pieces else np.empty(0, kind)
    return rows[np.argsort(rows["key"], kind="stable")]


def _write(place: Path, rows: npt.NDArray[Any]) -> None:
    """Adds ``rows`` to ``place`` as a file that appears whole or not at all."""
    with contextlib.suppress(OSError):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with making(place) as folder:
            np.save(folder / "rows.npy", rows)
            digest = hashlib.sha256(rows["key"].tobytes()).hexdigest()[:32]
            (folder / "rows.npy").replace(place / f"{digest}.npy")
        os.utime(place)
        prune(place.parent, place)
