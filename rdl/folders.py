"""Folders that appear whole or not at all, and the JSON files in them."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from rdl.errors import ConfigError, RdlError


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file; dataclasses are written as their fields, NaN as null."""
    path.write_text(json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run folder. Raises ConfigError where it is not there or damaged."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path.parent} is not a run folder: {path.name} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}", hint="train the run again.") from None


class NewFolder:
    """A folder that appears under its name whole or not at all: ``with NewFolder(path) as folder`` fills it.

    Raises ConfigError at once where ``path`` exists, and where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise ConfigError(f"{path} exists already", hint="choose another --out, or remove it first.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{path} cannot be made: {error.strerror}", hint="choose another --out.") from None
        if not os.access(path.parent, os.W_OK):
            raise ConfigError(f"{path} cannot be made: {path.parent} is not writable", hint="choose another --out.")
        self.path, self.filling = path, path.with_name(f".{path.name}.{os.getpid()}.new")

    def __enter__(self) -> Path:
        try:
            self.filling.mkdir(parents=True)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written: {error.strerror}") from None
        return self.filling

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if kind is None:
                self.filling.rename(self.path)
        except OSError as failure:
            kind, error = OSError, failure
        finally:
            shutil.rmtree(self.filling, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, RdlError):
            raise ConfigError(f"{self.path} cannot be written: {error.strerror or error}") from None
