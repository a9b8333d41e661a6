"""Texts → vectors: what stands for a text in a model's input.

The default hashes words and pieces of words: it needs no model, no download and no fitting. Any other is loaded by its
name, and its vectors are kept on disk, or given as an object.
"""

from __future__ import annotations

from rdl.embedders.hashing import HashingEmbedder
from rdl.embedders.models import Encoded, load_model, version_of
from rdl.embedders.protocol import Embedder, embed
from rdl.embedders.stored import Stored
from rdl.errors import ConfigError

__all__ = ["HASHING", "Embedder", "Encoded", "HashingEmbedder", "Stored", "embed", "embedder", "rows_needed"]

HASHING = HashingEmbedder()
#: Known texts a channel that a column of hashed words needs.
HASHED_TEXTS_A_CHANNEL = 20


def rows_needed(by: Embedder) -> int:
    """How many texts a column must have to be an input. The words of few texts, hashed, tell which row it is, as the
    names of drivers or teams do, and not what it is like; a language model's vectors say that of any."""
    return HASHED_TEXTS_A_CHANNEL * by.channels if isinstance(by, HashingEmbedder) else 0


def embedder(chosen: object, name: str | None = None) -> Embedder:
    """The embedder that ``chosen`` is or names: ``"hashing"``; ``"model2vec:NAME"`` or ``"sentence-transformers:NAME"``
    (the package must be installed); a model of either; an :class:`Embedder`; or a function from a list of n strings to
    ``[n, channels]`` numbers. Raises ConfigError for anything else, and where a model cannot be loaded.

    The vectors of a model loaded by its name are kept on disk. Of a model or function given as an object nobody can
    tell what it will make of a text, so it is asked each time, unless you give it a ``name``: under that name its
    vectors are kept from then on, and another name must be given whenever it is changed.
    """
    if isinstance(chosen, (str, Embedder)):
        if name is not None:
            raise ConfigError(f"the text embedder {chosen!r} has a name: it cannot be called {name!r}")
        if isinstance(chosen, Embedder):
            return chosen
        return HASHING if chosen == HASHING.name else Stored(Encoded(load_model(chosen), chosen), version_of(chosen))
    made = Encoded.of(chosen, name)
    return made if name is None else Stored(made)
