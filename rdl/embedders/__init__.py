"""Texts → vectors: what stands for a text in a model's input.

The default hashes words and pieces of words: it needs no model, no download and no fitting. Any other embedder is given
as an object, and its vectors are kept on disk.
"""

from __future__ import annotations

from rdl.embedders.hashing import HashingEmbedder
from rdl.embedders.models import Encoded, load_model
from rdl.embedders.protocol import Embedder, embed
from rdl.embedders.stored import Stored

__all__ = ["HASHING", "Embedder", "Encoded", "HashingEmbedder", "Stored", "embed", "embedder"]

HASHING = HashingEmbedder()


def embedder(chosen: object) -> Embedder:
    """The embedder that ``chosen`` is or names: ``"hashing"``; ``"model2vec:NAME"`` or ``"sentence-transformers:NAME"``
    (the package must be installed); a model of either; an :class:`Embedder`; or a function from a list of n strings to
    ``[n, channels]`` numbers. Raises ConfigError for anything else, and where a model cannot be loaded."""
    if chosen == HASHING.name:
        return HASHING
    if isinstance(chosen, str):
        return Stored(Encoded(load_model(chosen), chosen))
    if isinstance(chosen, Embedder):
        return chosen
    return Stored(Encoded.of(chosen))
