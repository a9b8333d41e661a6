"""Random numbers by counting: each is a function of a key and of its place alone, on every device the same.

No generator is advanced, so what is drawn for one seed does not depend on the others, on their order, or on the number
of workers. The hash is the finaliser of SplitMix64 (Steele, Lea & Flood, 2014) in torch's int64, which wraps around.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
#: Numbers drawn at once on a CPU: so many stay in its cache.
_BLOCK = 2**17


def key_of(name: str) -> int:
    """A key, of 64 bits with a sign, for a name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little", signed=True)


def mixed(key: Tensor, number: Tensor | int) -> Tensor:
    """A new key of a key and a number, int64, of the shape of both."""
    step = number * _GOLDEN
    z = key + (step if isinstance(step, Tensor) else _signed(step))
    z += _GOLDEN
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        z ^= (z >> shift) & (2 ** (64 - shift) - 1)
        z *= factor
    z ^= (z >> 31) & (2**33 - 1)
    return z


def _signed(number: int) -> int:
    """``number`` as int64 wraps it around."""
    return (number + 2**63) % 2**64 - 2**63


def below(random: Tensor, size: Tensor) -> Tensor:
    """Random bits int64 → a number in [0, ``size``), each as likely as any other to within ``size`` / 2⁵².

    ``size`` is at most 2³¹. Doubles are rounded the same way everywhere, so all devices agree.
    """
    return ((random >> 12) & (2**52 - 1)).double().mul_(size.double() * 2.0**-52).long()


def subsets(key: Tensor, size: Tensor, count: int) -> Tensor:
    """``count`` different numbers below ``size``, which is more than ``count``: int64 ``[N, count]``, ascending.

    ``key`` and ``size`` are int64 ``[N]``. Every subset of ``count`` is as likely as any other. The cost does not
    depend on ``size``.
    """
    found = torch.empty(len(key), count, dtype=torch.int64, device=key.device)
    wide = size >= 2 * count
    for choose, rows in ((_redrawn, wide), (_ranked, ~wide)):
        place = torch.nonzero(rows).squeeze(1)
        block = max(1, _BLOCK // count) if key.device.type == "cpu" else max(1, len(place))
        for part in place.split(block):
            found[part] = choose(key[part], size[part], count)
    return found


def _redrawn(key: Tensor, size: Tensor, count: int) -> Tensor:
    """Draws ``count`` numbers and draws anew what came twice, as long as anything did.

    The rule treats all numbers alike, so all subsets are equally likely. With ``size`` ≥ 2 · ``count`` a new draw is
    good with probability a half or more, so some log₂ of the number of draws rounds are enough.
    """
    place = torch.arange(count, device=key.device)
    drawn = _sorted(below(mixed(key.unsqueeze(1), place), size.unsqueeze(1)))
    row, now, first = torch.arange(len(key), device=key.device), drawn, count
    while True:
        node, twice = torch.nonzero(now[:, 1:] == now[:, :-1]).unbind(1)
        if not len(node):
            return drawn
        now[node, twice] = below(mixed(key[row[node]], twice + first), size[row[node]])
        open_ = torch.unique_consecutive(node)
        row, now, first = row[open_], _sorted(now[open_]), first + count
        drawn[row] = now


def _ranked(key: Tensor, size: Tensor, count: int) -> Tensor:
    """Gives each of the fewer than 2 · ``count`` numbers a random key, and takes the ``count`` with the smallest."""
    place = torch.arange(2 * count, device=key.device)
    bits = (2 * count).bit_length()
    # A key ends in its number, so no two are equal.
    keys = (mixed(key.unsqueeze(1), place) & (2**63 - 2**bits)) | place
    keys = torch.where(place < size.unsqueeze(1), keys, 2**63 - 1)
    return _sorted(_sorted(keys)[:, :count] & (2**bits - 1))


def _sorted(numbers: Tensor) -> Tensor:
    """``numbers`` ``[N, count]`` with ascending rows. On a CPU NumPy sorts them ten times faster than torch."""
    if numbers.device.type == "cpu":
        return torch.from_numpy(np.sort(numbers.numpy(), axis=1))
    return numbers.sort(dim=1).values
