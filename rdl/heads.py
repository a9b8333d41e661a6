"""Seed vectors → outputs."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from rdl.dropout import ByteDropout


class Head(Protocol):
    """The last part of a model."""

    def __call__(self, seeds: Tensor) -> Tensor:
        """Seed vectors ``[S, channels]`` → one output a seed, ``[S]``."""
        ...


class MLPHead(nn.Module):
    """A two-layer perceptron with one output."""

    def __init__(self, channels: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, hidden),
            nn.ReLU(),
            ByteDropout(dropout),
            nn.Linear(hidden, 1),
        )

    def forward(self, seeds: Tensor) -> Tensor:
        """See :class:`Head`."""
        output: Tensor = self.body(seeds)
        return output.squeeze(1)
