"""What a seed's past adds up to is encoded as the formula says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from rdl.encoders import SummaryEncoder

BORDERS = torch.tensor([[-1.0, 0.0, 0.5, 2.0, 3.0], [0.0, 0.0, 0.0, 1.0, 4.0]])


def encoded(rows: np.ndarray) -> np.ndarray:
    torch.manual_seed(0)
    encoder = SummaryEncoder(3, BORDERS, 6, dropout=0.5).eval()
    with torch.no_grad():
        return encoder(torch.from_numpy(rows).float()).numpy()


@given(st.lists(st.tuples(*[st.floats(-5, 9, width=32)] * 3), min_size=1, max_size=5))
def test_numbers_are_encoded_piecewise_linearly(rows: list[tuple[float, float, float]]) -> None:
    """Two numbers in four bins each, some of no width, and one more that is read as it is."""
    torch.manual_seed(0)
    encoder, values = SummaryEncoder(3, BORDERS, 6), np.array(rows)
    parts = [values]
    for number, border in enumerate(BORDERS.numpy()):
        for low, high in pairwise(border):
            inside = (values[:, number] - low) / max(high - low, 1e-6)
            parts.append(np.clip(inside, 0, 1)[:, None])
    weight, bias = (tensor.detach().numpy() for tensor in (encoder.mix.weight, encoder.mix.bias))
    mixed = np.concatenate(parts, axis=1) @ weight.T + bias
    normed = (mixed - mixed.mean(axis=1, keepdims=True)) / np.sqrt(mixed.var(axis=1, keepdims=True) + 1e-5)
    assert np.allclose(encoded(values), np.maximum(normed, 0), atol=1e-4)
    passed = np.interp(values[:, 0], BORDERS[0].numpy(), np.arange(5))
    assert np.allclose(np.concatenate(parts[1:5], axis=1).sum(axis=1), passed), "the formula is that of the paper"


def test_beyond_the_bins_nothing_more_is_said_than_at_their_ends() -> None:
    torch.manual_seed(0)
    encoder = SummaryEncoder(2, BORDERS, 6)
    with torch.no_grad():
        encoder.mix.weight[:, :2] = 0  # but for the numbers themselves
        found = encoder(torch.tensor([[-1.0, 0.0], [-1e9, -7.0], [3.0, 4.0], [1e9, 8.0]]))
    assert torch.allclose(found[0], found[1])
    assert torch.allclose(found[2], found[3])
    assert not torch.allclose(found[0], found[2])
