"""Rows → vectors: torch-frame encoders over a table's columns, and the gaps between its times and the seed's."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch_frame import TensorFrame, stype
from torch_frame.data.stats import StatType
from torch_frame.nn.encoder import (
    EmbeddingEncoder,
    LinearEmbeddingEncoder,
    StypeEncoder,
    StypeWiseFeatureEncoder,
)

from rdl.clock import NEVER, US_PER_DAY
from rdl.dropout import ByteDropout
from rdl.features import Statistics

#: Time constants of the decays, in days: an hour, six hours, a day, a week, a month, a quarter, a year, three years.
DECAY_DAYS = (1 / 24, 0.25, 1.0, 7.0, 30.0, 90.0, 365.0, 1095.0)


class Encoder(Protocol):
    """A table's rows → ``[N, channels]``."""

    def columns(self, frame: TensorFrame | None, rows: int) -> Tensor:
        """What the columns say, whatever the seed: ``[rows, channels]``. The frame is None without input columns."""
        ...

    def forward(self, columns: Tensor, gaps_us: Tensor, known: Tensor) -> Tensor:
        """``columns`` ``[N, channels]`` joined with the gaps ``[N, T]`` (seed's time − row's times; ``known`` says
        which exist) → ``[N, channels]``."""
        ...


class WeightedEncoder(StypeEncoder):
    """A linear map of its own for each column over what :meth:`expand` makes of it: ``[N, columns, channels]``."""

    width: int

    def init_modules(self) -> None:
        """Makes the weights, once torch-frame has told the encoder its columns."""
        super().init_modules()
        self.weight = nn.Parameter(torch.empty(len(self.stats_list), self.width, self.out_channels))
        self.bias = nn.Parameter(torch.empty(len(self.stats_list), self.out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the weights anew."""
        super().reset_parameters()
        nn.init.normal_(self.weight, std=self.width**-0.5)
        nn.init.zeros_(self.bias)

    def encode_forward(self, feat: Tensor, col_names: list[str] | None = None) -> Tensor:
        """The values ``[N, columns, …]``, NaN where missing → ``[N, columns, channels]``."""
        return torch.einsum("ncw,cwd->ncd", self.expand(feat), self.weight) + self.bias

    def expand(self, feat: Tensor) -> Tensor:
        """The finite inputs ``[N, columns, width]`` of the linear maps."""
        raise NotImplementedError


class NumberEncoder(WeightedEncoder):
    """Standardised numbers ``[N, columns]`` and whether they are missing: NULL is a state of its own, not the median.

    (torch-frame's own ``LinearEncoder`` has NaN gradients where a number is missing.)
    """

    supported_stypes = {stype.numerical}  # noqa: RUF012 - torch-frame reads it from the class
    width = 2

    def expand(self, feat: Tensor) -> Tensor:
        """See :class:`WeightedEncoder`."""
        missing = feat.isnan()
        return torch.stack([feat.masked_fill(missing, 0), missing.to(feat.dtype)], dim=-1)


class CyclicEncoder(WeightedEncoder):
    """Cyclic parts ``[N, columns, 3]`` in [0, 1) (of the year, the week, the day): sine and cosine of each.

    The parts are those of :func:`rdl.features.pack`; a missing time gives zeros.
    """

    supported_stypes = {stype.timestamp}  # noqa: RUF012 - torch-frame reads it from the class
    width = 6

    def expand(self, feat: Tensor) -> Tensor:
        """See :class:`WeightedEncoder`."""
        angle = feat.nan_to_num(0) * (2 * torch.pi)
        return torch.cat([angle.sin(), angle.cos()], dim=-1) * feat[..., :1].isfinite()


def gap_features(gaps_us: Tensor, known: Tensor) -> Tensor:
    """``[N, T]`` gaps in µs → ``[N, T, 2 + decays]``: sign · log(1 + days), whether known, exp(−|days| / τ) for each τ
    of :data:`DECAY_DAYS`. All are zero where the time is not known."""
    days = (torch.where(known, gaps_us, 0).double() / US_PER_DAY).float()
    scales = torch.tensor(DECAY_DAYS, device=days.device)
    decays = torch.exp(-days.abs().unsqueeze(-1) / scales)
    log = torch.sign(days) * torch.log1p(days.abs()) / 5
    features = torch.cat([log.unsqueeze(-1), torch.ones_like(log).unsqueeze(-1), decays], dim=-1)
    return features * known.unsqueeze(-1)


def gaps(seed_time: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """(seed's time ``[N]`` − times ``[N, T]`` in µs, whether the time is known): 0 where it is not."""
    known = times != NEVER
    return torch.where(known, seed_time.unsqueeze(1) - torch.where(known, times, 0), 0), known


class TableEncoder(nn.Module):
    """The reference encoder of one table: torch-frame's column encoders side by side, a linear map of them and one of
    the gaps, summed, then a two-layer perceptron with layer normalisation."""

    def __init__(
        self, statistics: Statistics, channels: int, *, column_channels: int = 16, dropout: float = 0.0
    ) -> None:
        super().__init__()
        columns = statistics.columns()
        self.encode: StypeWiseFeatureEncoder | None = None
        if columns:
            encoders: dict[stype, StypeEncoder] = {
                stype.numerical: NumberEncoder(),
                stype.categorical: EmbeddingEncoder(),
                stype.embedding: LinearEmbeddingEncoder(),
                stype.timestamp: CyclicEncoder(),
            }
            stats: dict[str, dict[StatType, object]] = statistics.stats_list()
            self.encode = StypeWiseFeatureEncoder(
                column_channels, stats, columns, {kind: encoders[kind] for kind in columns}
            )
        width = column_channels * sum(map(len, columns.values()))
        self.mix = nn.Linear(width, channels, bias=False) if width else None
        self.bias = nn.Parameter(torch.zeros(channels))
        self.gap = nn.Linear((1 + len(statistics.times)) * (2 + len(DECAY_DAYS)), channels, bias=False)
        self.body = nn.Sequential(
            nn.LayerNorm(channels), nn.ReLU(), ByteDropout(dropout), nn.Linear(channels, channels), nn.ReLU()
        )

    def columns(self, frame: TensorFrame | None, rows: int) -> Tensor:
        """The columns' part of the rows' vectors, ``[rows, channels]``; the bias alone without input columns."""
        if self.encode is None or self.mix is None or frame is None:
            return self.bias.expand(rows, -1)
        encoded, _ = self.encode(frame)
        mixed: Tensor = self.mix(encoded.flatten(1)) + self.bias
        return mixed

    def forward(self, columns: Tensor, gaps_us: Tensor, known: Tensor) -> Tensor:
        """``[N, channels]`` and gaps ``[N, T]`` → ``[N, channels]``."""
        joined = columns + self.gap(gap_features(gaps_us, known).flatten(1))
        encoded: Tensor = self.body(joined)
        return encoded
