"""Relational deep learning on any database: from a URL and a predictive query to a trained model and predictions.

``import rdl`` is light: each name below is loaded, with what it needs, when it is first used.

>>> import rdl
>>> rdl.Schema.__module__
'rdl.schema'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdl.errors import RdlError
    from rdl.loading import load
    from rdl.pipeline import connect
    from rdl.schema import Schema

    __version__: str
else:

    def __getattr__(name: str) -> object:
        if name == "__version__":
            value = _installed_version()
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module 'rdl' has no attribute {name!r}")
        globals()[name] = value
        return value


__all__ = ["RdlError", "Schema", "__version__", "connect", "load"]

_HOMES = {"RdlError": "rdl.errors", "Schema": "rdl.schema", "connect": "rdl.pipeline", "load": "rdl.loading"}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _installed_version() -> str:
    """The version of the installed distribution, or ``0+unknown`` where rdl runs from a folder without one."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rdl")
    except PackageNotFoundError:
        return "0+unknown"
