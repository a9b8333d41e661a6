"""The ensemble head is trained in any precision."""

from __future__ import annotations

import pytest
import torch

from rdl.heads import EnsembleHead


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_head_is_trained_in_any_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    head = EnsembleHead(9, 3, 6, 4, 2, dropout=0.3).to(dtype)
    head(torch.randn(5, 9, dtype=dtype), torch.randn(5, 3, dtype=dtype)).sum().backward()
    assert all(weights.grad is not None and weights.grad.isfinite().all() for weights in head.parameters())
    plainly = EnsembleHead(9, 3, 6, 4, 2, dropout=0.3)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = plainly(torch.randn(5, 9), torch.randn(5, 3))
    outputs.float().sum().backward()
    assert all(weights.grad is not None and weights.grad.isfinite().all() for weights in plainly.parameters())
