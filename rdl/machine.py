"""What figures depend on beside data and settings: versions, and the memory that was needed."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import sys


def peak_rss_mb() -> float:
    """The most memory this process has held at once, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that figures depend on."""
    packages = ("rdl", "torch", "torch-geometric", "pytorch-frame", "lightgbm", "duckdb")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
