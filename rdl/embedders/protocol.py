"""What an embedder is, and what holds of the vectors of every one."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl.errors import ConfigError, RdlError


@runtime_checkable
class Embedder(Protocol):
    """What turns texts into vectors. Equal texts have equal vectors, whatever stands beside them."""

    @property
    def name(self) -> str:
        """Which it is: kept with a run, and asked for when the run is opened again."""
        ...

    @property
    def channels(self) -> int:
        """The width of its vectors."""
        ...

    def embed(self, texts: pa.Array) -> npt.NDArray[np.float32]:
        """An Arrow array of n strings, no NULL among them → finite float32 ``[n, channels]``."""
        ...


def embed(by: Embedder, texts: pa.Array) -> npt.NDArray[np.float32]:
    """``texts``, distinct and none of them NULL, as float32 ``[n, channels]``. Raises ConfigError where ``by`` fails or
    returns anything else."""
    if not len(texts):
        return np.zeros((0, by.channels), np.float32)
    try:
        vectors = np.asarray(by.embed(texts), np.float32)
    except RdlError:
        raise
    except Exception as error:  # whatever a user's own embedder raises
        raise ConfigError(f"text embedder {by.name!r} failed: {type(error).__name__}: {error}") from error
    if vectors.shape != (len(texts), by.channels) or not np.isfinite(vectors).all():
        found = "numbers that are not finite" if vectors.shape == (len(texts), by.channels) else list(vectors.shape)
        raise ConfigError(
            f"text embedder {by.name!r} made {found} of {len(texts)} texts",
            hint=f"it must return finite numbers [{len(texts)}, {by.channels}].",
        )
    return vectors
