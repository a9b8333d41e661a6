"""Models of others as embedders: sentence-transformers, model2vec, or any function of a list of texts."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl.errors import ConfigError

#: By the package that a name begins with: the module and how a model of it is loaded.
_PACKAGES = {
    "model2vec": ("model2vec", "StaticModel", "from_pretrained"),
    "sentence-transformers": ("sentence_transformers", "SentenceTransformer", None),
}
#: Texts given to a model at once.
BATCH = 4096


def load_model(name: str) -> Any:
    """The model ``name``, as ``model2vec:minishlab/potion-base-8M``. Raises ConfigError where its package is unknown or
    not installed, or the model cannot be loaded."""
    package, _, model = name.partition(":")
    if package not in _PACKAGES or not model:
        allowed = ", ".join(["'hashing'", *(f"'{known}:NAME'" for known in _PACKAGES)])
        raise ConfigError(
            f"unknown text embedder {name!r}",
            hint=f"use one of {allowed}, or in Python give the model or function itself (text_embedder=…).",
        )
    module, kind, maker = _PACKAGES[package]
    try:
        make = getattr(importlib.import_module(module), kind)
    except ImportError:
        raise ConfigError(f"text embedder {name!r} needs {package}", hint=f"pip install {package}") from None
    try:
        return (getattr(make, maker) if maker else make)(model)
    except Exception as error:  # whatever the package raises
        raise ConfigError(f"text embedder {name!r} cannot be loaded: {error}") from error


def version_of(name: str) -> str:
    """What tells the model ``name`` of :func:`load_model` from another that had this name before: the version of its
    package and, where it is a folder here, the sizes and times of its files."""
    package, _, model = name.partition(":")
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    files = sorted((str(file), file.stat()) for file in Path(model).rglob("*") if file.is_file())
    return " ".join([version, *(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in files)])


class Encoded:
    """An :class:`~rdl.embedders.Embedder` of a model with ``encode``, or of a function: both take a list of n strings
    and return ``[n, channels]`` numbers.

    >>> Encoded(lambda texts: [[len(text), 1] for text in texts], "lengths").embed(pa.array(["to", "be"])).tolist()
    [[2.0, 1.0], [2.0, 1.0]]
    """

    def __init__(self, model: Any, name: str) -> None:
        """Asks the model once, for its width. Raises ConfigError where it does not return a row of numbers a text."""
        self.name = name
        self._encode: Callable[[Sequence[str]], Any] = getattr(model, "encode", model)
        try:
            shape = np.shape(np.asarray(self._encode(["a text", "another one"]), np.float32))
        except Exception as error:  # whatever the model raises
            raise ConfigError(f"text embedder {name!r} failed: {type(error).__name__}: {error}") from error
        if len(shape) != 2 or shape[0] != 2 or not shape[1]:
            raise ConfigError(f"text embedder {name!r} made {list(shape)} of two texts", hint="make it [2, channels].")
        self.channels = int(shape[1])

    @staticmethod
    def of(model: object, name: str | None = None) -> Encoded:
        """An embedder of ``model``, called ``name``, else as the model says its name, else as it stands in its module.
        Raises ConfigError where it is neither a model nor a function."""
        if not callable(getattr(model, "encode", model)):
            raise ConfigError(
                f"{model!r} is no text embedder",
                hint="give its name, a model with encode(texts), or a function of a list of texts.",
            )
        told = (getattr(model, attribute, None) for attribute in ("name", "base_model_name", "__name__"))
        names = (found for found in (name, *told) if isinstance(found, str) and found)
        return Encoded(model, next(names, type(model).__name__))

    def embed(self, texts: pa.Array) -> npt.NDArray[np.float32]:
        """See :class:`~rdl.embedders.Embedder`."""
        pieces = [
            np.asarray(self._encode(texts.slice(first, BATCH).to_pylist()), np.float32)
            for first in range(0, len(texts), BATCH)
        ]
        return np.concatenate(pieces) if pieces else np.zeros((0, self.channels), np.float32)
