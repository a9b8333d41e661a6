"""The ensemble head's own gradients are those of its formula, with dropout and without."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rdl.heads import EnsembleHead


def plain(head: EnsembleHead, x: Tensor, mask: Tensor) -> Tensor:
    """The head as its formula is written, with the factors ``mask`` of its members' inputs, and no other dropout."""
    hidden = ((x * mask * head.input_scale.unsqueeze(1)) @ head.weight) * head.hidden_scale.unsqueeze(1)
    hidden = torch.relu(head.norm(hidden + head.hidden_bias.unsqueeze(1)))
    return (hidden * head.output.unsqueeze(1)).sum(-1).T + x @ head.linear.T + head.bias


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_gradients_are_those_of_the_formula(p: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head, x = EnsembleHead(9, 6, 4, dropout=p), torch.randn(5, 9, requires_grad=True)
    drawn = head.dropout.draw(torch.Size((4, 5, 9)), x.device)
    monkeypatch.setattr(head.dropout, "draw", lambda shape, device: drawn)
    monkeypatch.setattr(head.dropout, "forward", lambda hidden: hidden)
    mask = head.dropout.mask(drawn) if p else torch.ones(4, 5, 9)
    assert (mask == 0).any() == (p > 0)
    wanted = [x, *head.parameters()]
    weights = torch.randn(5, 4)
    expected = torch.autograd.grad((plain(head, x, mask) * weights).sum(), wanted)
    found = torch.autograd.grad((head(x) * weights).sum(), wanted)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_head_is_trained_in_any_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    head = EnsembleHead(9, 6, 4, dropout=0.3).to(dtype)
    head(torch.randn(5, 9, dtype=dtype)).sum().backward()
    assert all(weights.grad is not None and weights.grad.isfinite().all() for weights in head.parameters())
    plainly = EnsembleHead(9, 6, 4, dropout=0.3)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = plainly(torch.randn(5, 9))
    outputs.float().sum().backward()
    assert all(weights.grad is not None and weights.grad.isfinite().all() for weights in plainly.parameters())
