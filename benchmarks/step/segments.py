"""Sums over runs of edges, with a gradient that is as cheap as the sum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag


def segment_sum(source: Tensor, index: Tensor, target: Tensor, targets: int) -> Tensor:
    """Σ of ``source[index[e]]`` over the edges e of each target: ``[N, channels]``, int64 ``[E]`` twice, the targets
    ascending → ``[targets, channels]``; zeros where a target has no edge.

    ``embedding_bag`` is a third of the time of a scatter, but its gradient sorts; that of a sum is one gather and one
    addition of rows.
    """
    summed: Tensor = _SegmentSum.apply(source, index, target, targets)  # type: ignore[no-untyped-call]
    return summed


class _SegmentSum(Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, index: Tensor, target: Tensor, targets: int) -> Tensor:
        ctx.save_for_backward(index, target)
        ctx.rows = len(source)
        if not len(index):
            return source.new_zeros(targets, source.size(1))
        counts = torch.bincount(target, minlength=targets)
        return embedding_bag(index, source, counts.cumsum(0) - counts, mode="sum")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        index, target = ctx.saved_tensors
        of_source = grad.new_zeros(ctx.rows, grad.size(1))
        return of_source.index_add_(0, index, grad.index_select(0, target)), None, None, None
