"""Seed vectors → outputs."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from rdl.dropout import ByteDropout


class Head(Protocol):
    """The last part of a model."""

    def __call__(self, seeds: Tensor) -> Tensor:
        """Seed vectors ``[S, channels]`` → the outputs of its members ``[S, members]``: each is trained on its own, and
        their mean is the prediction."""
        ...


class EnsembleHead(nn.Module):
    """Perceptrons that share their weights but for scales of each member's inputs and hidden units (TabM, Gorishniy et
    al., 2025), and a linear map of each beside it.

    yₖ(x) = oₖ · ReLU(norm(sₖ ∘ W(rₖ ∘ x) + bₖ)) + aₖ · x + cₖ, with rₖ of random signs at the beginning, so that the
    members differ. Their mean is steadier than any one of them; they have few more weights than one, and take the time
    of as many.
    """

    def __init__(self, channels: int, hidden: int, members: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.input_scale = nn.Parameter(torch.randint(0, 2, (members, channels)) * 2.0 - 1)
        self.weight = nn.Parameter(_uniform(channels, hidden, fan_in=channels))
        self.hidden_scale = nn.Parameter(torch.ones(members, hidden))
        self.hidden_bias = nn.Parameter(torch.zeros(members, hidden))
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Parameter(_uniform(members, hidden, fan_in=hidden))
        self.linear = nn.Parameter(_uniform(members, channels, fan_in=channels))
        self.bias = nn.Parameter(torch.zeros(members))
        self.dropout = ByteDropout(dropout)

    def forward(self, seeds: Tensor) -> Tensor:
        """See :class:`Head`."""
        drawn = None
        if self.dropout.active:
            drawn = self.dropout.draw(torch.Size((len(self.bias), *seeds.shape)), seeds.device)
        hidden: Tensor = _Members.apply(  # type: ignore[no-untyped-call]
            seeds, self.input_scale, self.weight, drawn, self.dropout
        )
        hidden = hidden * self.hidden_scale.unsqueeze(1) + self.hidden_bias.unsqueeze(1)
        hidden = self.dropout(torch.relu(self.norm(hidden)))
        outputs: Tensor = (hidden * self.output.unsqueeze(1)).sum(-1).T + seeds @ self.linear.T + self.bias
        return outputs


class _Members(Function):
    """(dropout(x) ∘ rₖ) W of every member k: ``x`` ``[S, channels]`` → ``[members, S, hidden]``.

    One member after the other, their inputs made again for the gradients: those of all at once are too large for a
    processor's cache, and writing and reading them takes as long as the products.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scales: Tensor, weight: Tensor, drawn: Tensor | None, dropout: ByteDropout
    ) -> Tensor:
        """``drawn`` are the bytes of ``dropout``, uint8 ``[members, S, channels]``; None drops nothing."""
        ctx.save_for_backward(x, scales, weight, drawn)
        ctx.dropout = dropout
        out = x.new_empty(len(scales), len(x), weight.size(1))
        for member, scale in enumerate(scales):
            own = x * scale
            if drawn is not None:
                own.mul_(dropout.mask(drawn[member], x.dtype))
            torch.mm(own, weight, out=out[member])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of ``x``, the scales and the weight."""
        x, scales, weight, drawn = ctx.saved_tensors
        of_x, of_scales, of_weight = torch.zeros_like(x), torch.empty_like(scales), torch.zeros_like(weight)
        for member, scale in enumerate(scales):
            of_own, kept = grad[member] @ weight.T, x
            if drawn is not None:
                mask = ctx.dropout.mask(drawn[member], x.dtype)
                of_own.mul_(mask)
                kept = mask.mul_(x)
            of_x.addcmul_(of_own, scale)
            torch.sum(of_own.mul_(x), 0, out=of_scales[member])
            of_weight.addmm_((kept * scale).T, grad[member])
        return of_x, of_scales, of_weight, None, None


def _uniform(*shape: int, fan_in: int) -> Tensor:
    return (torch.rand(*shape) * 2 - 1) / math.sqrt(max(1, fan_in))
