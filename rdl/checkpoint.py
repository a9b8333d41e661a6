"""Weights and states on disk: safetensors and JSON, never pickle; a file appears whole or not at all."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from rdl.errors import ConfigError, RdlError

_WEIGHTS, _VALUES = "state.safetensors", "state.json"


def write_state(folder: Path, parts: Mapping[str, Mapping[str, Tensor]], values: Any) -> None:
    """Writes named groups of tensors and a dataclass of JSON values into ``folder``, replacing what was there.

    Raises ConfigError where the disk is full or the folder cannot be written.
    """
    flat = {f"{part}/{name}": value for part, group in parts.items() for name, value in group.items()}
    fresh = folder.with_name(folder.name + ".new")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        write_weights(fresh / _WEIGHTS, flat)
        (fresh / _VALUES).write_text(json.dumps(asdict(values)))
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise ConfigError(f"{folder} cannot be written: {error.strerror or error}") from None


def read_state(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
    """What :func:`write_state` wrote, or None where there is nothing."""
    if not (folder / _VALUES).exists():
        return None
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in load_file(folder / _WEIGHTS).items():
        part, _, key = name.partition("/")
        parts.setdefault(part, {})[key] = value
    return parts, json.loads((folder / _VALUES).read_text())


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Writes tensors as safetensors."""
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}, path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads safetensors. Raises ConfigError where the file is damaged or not there."""
    try:
        return load_file(path)
    except Exception as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="train the run again.") from None


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
    except FileNotFoundError:
        raise ConfigError(f"{path.parent} is not a run folder: {path.name} is not there") from None
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}", hint="train the run again.") from None


class NewFolder:
    """A folder that appears under its name whole or not at all: ``with NewFolder(path) as folder`` fills it.

    Raises ConfigError at once where ``path`` exists, and where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise ConfigError(f"{path} exists already", hint="choose another --out, or remove it first.")
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
