"""Drawn subsets: different numbers, every set as likely as any other, and nothing but the key decides."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from rdl.draws import below, key_of, mixed, subsets


def keys(count: int, of: int = 0) -> torch.Tensor:
    return mixed(mixed(torch.zeros(count, dtype=torch.int64), of), torch.arange(count))


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 2**31))
def test_random_bits_become_numbers_below_the_size(bits: int, size: int) -> None:
    number = int(below(torch.tensor([bits]), torch.tensor([size])))
    assert number == int((bits % 2**64 >> 12) * (size * 2.0**-52))
    assert abs(number - (bits % 2**64 >> 12) * size / 2**52) <= 1
    assert 0 <= number < size


def test_a_hash_is_that_of_splitmix64() -> None:
    # The first numbers of SplitMix64 from the state 1234567, as its authors' program prints them.
    state = torch.tensor([1234567])
    first = [int(mixed(state, n)) % 2**64 for n in range(3)]
    assert first == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=30), st.integers(1, 40), st.integers(0, 10**6))
def test_subsets_are_different_numbers_in_order(sizes: list[int], count: int, of: int) -> None:
    size = torch.tensor(sizes) + count
    found = subsets(keys(len(sizes), of), size, count)
    assert found.shape == (len(sizes), count)
    assert (found.diff(dim=1) > 0).all()
    assert (found >= 0).all()
    assert (found < size.unsqueeze(1)).all()


@given(st.integers(1, 60), st.integers(0, 10**6))
def test_a_subset_depends_on_its_own_key_alone(count: int, of: int) -> None:
    size = count + 1 + torch.arange(50) ** 2
    whole = subsets(keys(50, of), size, count)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(of))
    assert torch.equal(subsets(keys(50, of)[order], size[order], count), whole[order])
    assert torch.equal(subsets(keys(50, of)[7:8], size[7:8], count), whole[7:8])


@pytest.mark.parametrize(("size", "count"), [(3, 1), (5, 2), (6, 3), (5, 3), (5, 4), (7, 4), (12, 2)])
def test_every_subset_is_as_likely_as_any_other(size: int, count: int) -> None:
    found = subsets(keys(60_000), torch.full((60_000,), size), count)
    numbers = {subset: number for number, subset in enumerate(combinations(range(size), count))}
    counts = np.bincount([numbers[tuple(row)] for row in found.tolist()], minlength=len(numbers))
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(("size", "count"), [(1000, 64), (130, 64), (100, 64), (10_000_000, 128)])
def test_every_member_is_as_likely_as_any_other(size: int, count: int) -> None:
    found = subsets(keys(2_000), torch.full((2_000,), size), count)
    counts = torch.bincount((found * 50 // size).view(-1), minlength=50)
    fair = np.diff(np.ceil(np.arange(51) * size / 50))
    # Members of one subset differ, so their counts spread less than those of as many draws: by this factor.
    spread = 1 - (count - 1) / (size - 1)
    expected = fair / fair.sum() * counts.sum().item()
    statistic = ((counts.numpy() - expected) ** 2 / expected).sum() / spread
    assert statistic < 95, "chi-squared with 49 degrees of freedom has more once in ten thousand times"


def test_keys_of_names_are_the_same_in_every_process() -> None:
    assert key_of("orders.user_id") == -4492843807490962280
    assert key_of("orders.user_id") != key_of("orders.item_id")


def test_no_seed_no_subset() -> None:
    assert subsets(keys(0), torch.empty(0, dtype=torch.int64), 3).shape == (0, 3)
