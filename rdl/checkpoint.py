"""Weights and states on disk: safetensors and JSON, never pickle; a state appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from rdl.errors import ConfigError

_STATE = "state.safetensors"


def write_state(folder: Path, parts: Mapping[str, Mapping[str, Tensor]], values: Any) -> None:
    """Writes named groups of tensors and a dataclass of JSON values into ``folder``, whole or not at all, in place of
    what was there.

    Raises ConfigError where the disk is full or the folder cannot be written.
    """
    flat = {f"{part}/{name}": value for part, group in parts.items() for name, value in group.items()}
    fresh = folder / f"{_STATE}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(fresh, flat, {"values": json.dumps(asdict(values))})
        fresh.replace(folder / _STATE)
    except (OSError, SafetensorError) as error:
        fresh.unlink(missing_ok=True)
        raise ConfigError(f"{folder} cannot be written: {getattr(error, 'strerror', None) or error}") from None


def read_state(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
    """What :func:`write_state` wrote, or None where there is nothing. Raises ConfigError where it is damaged."""
    path = folder / _STATE
    if not path.exists():
        return None
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in read_weights(path).items():
        part, _, key = name.partition("/")
        parts.setdefault(part, {})[key] = value
    with safe_open(path, framework="pt") as file:
        return parts, json.loads(file.metadata()["values"])


def write_weights(path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes tensors as safetensors, with text beside them."""
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}, path, metadata)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads safetensors. Raises ConfigError where the file is damaged or not there."""
    try:
        return load_file(path)
    except Exception as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="train the run anew.") from None
