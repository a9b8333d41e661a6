"""Seed vectors → outputs."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from rdl.dropout import ByteDropout


class Head(Protocol):
    """The last part of a model."""

    def __call__(self, seeds: Tensor, beside: Tensor) -> Tensor:
        """Seed vectors ``[S, channels]``, and numbers ``[S, width]`` that answers may be in proportion to → the outputs
        of its members ``[S, members, outputs]``: each is trained on its own, and their mean is the prediction."""
        ...


class EnsembleHead(nn.Module):
    """Perceptrons that share their weights but for scales of each member's inputs and hidden units (TabM, Gorishniy et
    al., 2025), and a linear map of each beside it.

    yₖ(x, z) = Oₖ ReLU(norm(sₖ ∘ W(rₖ ∘ x) + bₖ)) + Aₖ z + cₖ, with rₖ of random signs at the beginning, so that the
    members differ. Their mean is steadier than any one of them; they have few more weights than one, and take the time
    of as many.
    """

    def __init__(
        self, channels: int, beside: int, hidden: int, members: int, outputs: int = 1, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.input_scale = nn.Parameter(torch.randint(0, 2, (members, channels)) * 2.0 - 1)
        self.weight = nn.Parameter(_uniform(channels, hidden, fan_in=channels))
        self.hidden_scale = nn.Parameter(torch.ones(members, hidden))
        self.hidden_bias = nn.Parameter(torch.zeros(members, hidden))
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Parameter(_uniform(members, outputs, hidden, fan_in=hidden))
        self.linear = nn.Parameter(_uniform(members, outputs, beside, fan_in=beside))
        self.bias = nn.Parameter(torch.zeros(members, outputs))
        self.dropout = ByteDropout(dropout)

    def forward(self, seeds: Tensor, beside: Tensor) -> Tensor:
        """See :class:`Head`."""
        hidden = ((seeds.unsqueeze(1) * self.input_scale) @ self.weight) * self.hidden_scale + self.hidden_bias
        hidden = self.dropout(torch.relu(self.norm(hidden)))
        direct = (beside @ self.linear.flatten(0, 1).T).unflatten(1, self.bias.shape)
        outputs: Tensor = torch.einsum("smh,moh->smo", hidden, self.output) + direct + self.bias
        return outputs


def _uniform(*shape: int, fan_in: int) -> Tensor:
    return (torch.rand(*shape) * 2 - 1) / math.sqrt(max(1, fan_in))
