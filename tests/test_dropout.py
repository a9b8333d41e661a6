"""Dropout keeps the mean, drops the right share, and does nothing in evaluation."""

from __future__ import annotations

import pytest
import torch

from rdl.dropout import ByteDropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_shares_and_scale(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 97, requires_grad=True)
    dropped = ByteDropout(p)(x)
    assert abs((dropped == 0).double().mean() - p) < 0.01
    assert abs(dropped.double().mean() - 1) < 0.02
    dropped.sum().backward()
    assert torch.equal(x.grad == 0, dropped == 0)
    by_column = (dropped == 0).double().mean(0)
    assert by_column.std() < 0.03, "no column is dropped more often than others"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_mask_is_the_same_in_any_precision(dtype: torch.dtype) -> None:
    dropout, drawn = ByteDropout(0.3), torch.arange(256).to(torch.uint8)
    mask = dropout.mask(drawn, dtype)
    assert torch.equal(mask == 0, torch.arange(256) < dropout.dropped)
    assert torch.equal(mask[mask != 0].unique(), torch.tensor([256 / (256 - 77)], dtype=dtype))
    assert dropout(torch.ones(4, 5, dtype=dtype)).dtype == dtype


def test_evaluation_and_zero_change_nothing() -> None:
    x = torch.randn(5, 3)
    assert ByteDropout(0.5).eval()(x) is x
    assert ByteDropout(0.0)(x) is x
    assert ByteDropout(0.5)(torch.empty(0, 3)).shape == (0, 3)
