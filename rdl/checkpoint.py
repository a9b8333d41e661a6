"""Weights and states on disk: safetensors and JSON, never pickle; a state appears whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from rdl.errors import ConfigError

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
