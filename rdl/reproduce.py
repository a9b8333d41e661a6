"""The command that trains a model again."""

from __future__ import annotations

import shlex
from dataclasses import fields

from rdl.config import TrainConfig
from rdl.errors import redact

#: The settings that have an option of their own; others are given by ``--set``.
OPTIONS = {
    "regime": "--regime", "model": "--model", "sampling": "--sampling", "text_embedder": "--text-embedder",
    "seed": "--seed", "loss": "--loss", "quantiles": "--quantiles", "class_weights": "--class-weights",
    "ensemble": "--ensemble", "device": "--device", "devices": "--devices", "precision": "--precision",
    "time_budget_min": "--time-budget",
}  # fmt: skip


def command(source: str, config: TrainConfig, url: str) -> str:
    """``rdl train`` for the question ``source`` with every setting that is not the default, and without the password of
    ``url``."""
    words, default = ["rdl", "train", source.strip(), "--db", redact(url), "--out", "run"], TrainConfig()
    for name in dict.fromkeys(["regime", "seed", *(field.name for field in fields(TrainConfig))]):
        value = getattr(config, name)
        if value == getattr(default, name) and name not in ("regime", "seed"):
            continue
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        if isinstance(value, bool):
            text = text.lower()
        if name in OPTIONS:
            words += [OPTIONS[name], text]
        else:
            words += ["--set", f"{name}={f'[{text}]' if isinstance(value, tuple) else text}"]
    return shlex.join(words)
