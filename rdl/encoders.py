"""Rows → vectors: torch-frame encoders over a table's columns, and the gaps between its times and the seed's."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag
from torch_frame import TensorFrame, stype
from torch_frame.data import MultiEmbeddingTensor, MultiNestedTensor
from torch_frame.data.stats import StatType
from torch_frame.nn.encoder import EmbeddingEncoder, StypeEncoder, StypeWiseFeatureEncoder

from rdl.clock import NEVER, US_PER_DAY
from rdl.columns import NULL, UNSEEN
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
        """The values ``[N, columns, …]``, NaN for NULL and infinite where masked → ``[N, columns, channels]``."""
        return torch.einsum("ncw,cwd->ncd", self.expand(feat), self.weight) + self.bias

    def mixed(self, feat: Tensor, mix: Tensor) -> Tensor:
        """Σ over columns c of ``encode_forward(feat)[:, c] @ mix[c]``, ``[N, D]``, for maps ``[columns, channels, D]``:
        the two maps of each column are one, and those of all columns one product."""
        bias = torch.einsum("cd,cde->e", self.bias, mix)
        return torch.addmm(bias, self.expand(feat).flatten(1), torch.bmm(self.weight, mix).flatten(0, 1))

    def expand(self, feat: Tensor) -> Tensor:
        """The finite inputs ``[N, columns, width]`` of the linear maps."""
        raise NotImplementedError


def states(first: Tensor) -> Tensor:
    """Whether cells ``[…]`` are NULL (NaN) and whether they are masked (infinite), as float32 ``[…, 2]``."""
    return torch.stack([first.isnan(), first.isinf()], dim=-1).float()


class NumberEncoder(WeightedEncoder):
    """Standardised numbers ``[N, columns]``; NULL and masked are states of their own, not the median.

    (torch-frame's own ``LinearEncoder`` has NaN gradients where a number is missing.)
    """

    supported_stypes = {stype.numerical}  # noqa: RUF012 - torch-frame reads it from the class
    width = 3

    def expand(self, feat: Tensor) -> Tensor:
        """See :class:`WeightedEncoder`."""
        return torch.cat([feat.nan_to_num(0, 0, 0).unsqueeze(-1), states(feat)], dim=-1)


class CyclicEncoder(WeightedEncoder):
    """Cyclic parts ``[N, columns, 3]`` in [0, 1] (of the year, the week, the day): sine and cosine of each, zeros where
    there is no time, and whether it is NULL or masked.

    The parts are those of :func:`rdl.features.calendar.calendar`.
    """

    supported_stypes = {stype.timestamp}  # noqa: RUF012 - torch-frame reads it from the class
    width = 8

    def expand(self, feat: Tensor) -> Tensor:
        """See :class:`WeightedEncoder`."""
        angle = feat.nan_to_num(0, 0, 0) * (2 * torch.pi)
        waves = torch.cat([angle.sin(), angle.cos()], dim=-1) * feat[..., :1].isfinite()
        return torch.cat([waves, states(feat[..., 0])], dim=-1)


#: The share of rows that are shown without their identity in training, so that one without it is known too.
IDENTITY_DROPOUT = 0.3


class CodeEncoder(EmbeddingEncoder):
    """Categories: an entry for each of a column, zeros for NULL.

    ``identities`` are the numbers of columns that say which row it is. One that training did not see has zeros there,
    and in training so has any at random, for all seeds of a batch alike.
    """

    identities: tuple[int, ...] = ()

    def encode_forward(self, feat: Tensor, col_names: list[str] | None = None) -> Tensor:
        """Codes ``[N, columns]`` → ``[N, columns, channels]``."""
        cells: Tensor = super().encode_forward(self.shown(feat), col_names)
        return cells

    def shown(self, feat: Tensor) -> Tensor:
        """The codes with NULL for identities that are unseen or dropped."""
        if not self.identities:
            return feat
        which = torch.tensor(self.identities, device=feat.device)
        codes = feat[:, which]
        hidden = codes == UNSEEN
        if self.training:
            hidden |= torch.rand(codes.shape, device=codes.device) < IDENTITY_DROPOUT
        return feat.index_copy(1, which, codes.masked_fill(hidden, NULL))

    def mixed(self, feat: Tensor, mix: Tensor) -> Tensor:
        """Σ over columns c of ``encode_forward(feat)[:, c] @ mix[c]``, ``[N, D]``, for maps ``[columns, channels, D]``:
        where there are fewer entries than cells, the entries are mapped rather than the cells."""
        if len(self.emb.weight) > feat.numel():
            return self.encode_forward(feat).flatten(1) @ mix.flatten(0, 1)
        codes = self.shown(feat)
        ends = [*self.offset[1:].tolist(), len(self.emb.weight) - 1]
        sizes = [end - begin for begin, end in zip(self.offset.tolist(), ends, strict=True)]
        of_columns = self.emb.weight[1:].split(sizes)
        entries = torch.cat([entry @ each for entry, each in zip(of_columns, mix, strict=True)])
        return embedding_bag(
            torch.where(codes < 0, len(entries), codes + self.offset),
            torch.cat([entries, entries.new_zeros(1, entries.size(1))]),
            mode="sum",
        )


class VectorEncoder(StypeEncoder):
    """The vectors of texts and embeddings: a linear map of its own for each column, of the vector (zeros where there is
    none) and of whether it is NULL or masked."""

    supported_stypes = {stype.embedding}  # noqa: RUF012 - torch-frame reads it from the class

    def init_modules(self) -> None:
        """Makes the weights, once torch-frame has told the encoder its columns."""
        super().init_modules()
        self.widths = [stats[StatType.EMB_DIM] for stats in self.stats_list]
        self.maps = nn.ModuleList(nn.Linear(width + 2, self.out_channels) for width in self.widths)

    def reset_parameters(self) -> None:
        """Draws the weights anew."""
        super().reset_parameters()
        for each in self.maps:
            each.reset_parameters()  # type: ignore[operator]

    def encode_forward(self, feat: MultiEmbeddingTensor, col_names: list[str] | None = None) -> Tensor:
        """The vectors ``[N, columns, …]``, NaN for NULL and infinite where masked → ``[N, columns, channels]``."""
        encoded = []
        for each, vectors in zip(self.maps, feat.values.split(self.widths, dim=1), strict=True):
            encoded.append(each(torch.cat([vectors.nan_to_num(0, 0, 0), states(vectors[:, 0])], dim=1)))
        return torch.stack(encoded, dim=1)


class BagEncoder(StypeEncoder):
    """Lists of categories: the mean of what their elements are looked up as, zeros for an empty list. NULL, masked and
    unseen elements have an entry of their own.

    (torch-frame's own encoder takes NULL for an empty list.)
    """

    supported_stypes = {stype.multicategorical}  # noqa: RUF012 - torch-frame reads it from the class

    def init_modules(self) -> None:
        """Makes the weights, once torch-frame has told the encoder its columns."""
        super().init_modules()
        sizes = torch.tensor([len(stats[StatType.MULTI_COUNT][0]) - NULL for stats in self.stats_list])
        self.entries = nn.EmbeddingBag(int(sizes.sum()), self.out_channels, mode="mean")
        self.first: Tensor
        self.register_buffer("first", sizes.cumsum(0) - sizes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the weights anew."""
        super().reset_parameters()
        self.entries.reset_parameters()

    def encode_forward(self, feat: MultiNestedTensor, col_names: list[str] | None = None) -> Tensor:
        """Bags of codes ``[N, columns, …]`` → ``[N, columns, channels]``."""
        cell = torch.repeat_interleave(feat.offset.diff())
        entries = feat.values - NULL + self.first[cell % feat.num_cols]
        means: Tensor = self.entries(entries, feat.offset[:-1])
        return means.view(feat.num_rows, feat.num_cols, self.out_channels)


def gap_features(gaps_us: Tensor, known: Tensor) -> Tensor:
    """``[N, T]`` gaps in µs → ``[N, T, 2 + decays]``: sign · log(1 + days), whether known, exp(−|days| / τ) for each τ
    of :data:`DECAY_DAYS`. All are zero where the time is not known."""
    days = (torch.where(known, gaps_us, 0).double() / US_PER_DAY).float()
    rates = -1 / torch.tensor(DECAY_DAYS, device=days.device)
    decays = torch.exp(days.abs().unsqueeze(-1) * rates)
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
        self.column_channels = column_channels
        self.encode: StypeWiseFeatureEncoder | None = None
        if columns:
            codes = CodeEncoder()
            codes.identities = tuple(map(list(statistics.categories).index, statistics.identities))
            encoders: dict[stype, StypeEncoder] = {
                stype.numerical: NumberEncoder(),
                stype.categorical: codes,
                stype.multicategorical: BagEncoder(),
                stype.embedding: VectorEncoder(),
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
        mixed = self.bias.expand(rows, -1)
        maps = self.mix.weight.T.reshape(-1, self.column_channels, len(self.bias))
        for kind in frame.stypes:  # in the order in which torch-frame joins them
            encoder, names, values = (
                self.encode.encoder_dict[kind.value],
                frame.col_names_dict[kind],
                frame.feat_dict[kind],
            )
            own, maps = maps[: len(names)], maps[len(names) :]
            if isinstance(encoder, WeightedEncoder | CodeEncoder):
                mixed = mixed + encoder.mixed(values, own)
            else:
                mixed = torch.addmm(mixed, encoder(values, names).flatten(1), own.flatten(0, 1))
        return mixed

    def forward(self, columns: Tensor, gaps_us: Tensor, known: Tensor) -> Tensor:
        """``[N, channels]`` and gaps ``[N, T]`` → ``[N, channels]``."""
        joined = columns + self.gap(gap_features(gaps_us, known).flatten(1))
        encoded: Tensor = self.body(joined)
        return encoded


class SummaryEncoder(nn.Module):
    """Numbers that sum up a seed's past → ``[S, channels]``: ReLU(norm(W · [x, b₁(x), …, bₙ(x)])), where bₜ is how far
    each number has got through its t-th bin, from 0 to 1 (piecewise linear encoding; Gorishniy et al., 2022). What lies
    beyond the bins of training is at their ends there: nothing is extrapolated.
    """

    def __init__(self, width: int, quantiles: Tensor, channels: int, *, dropout: float = 0.0) -> None:
        """Of the ``width`` numbers of a seed the first ``len(quantiles)`` are in bins, whose borders are ``quantiles``
        ``[columns, bins + 1]``."""
        super().__init__()
        self.low: Tensor
        self.size: Tensor
        self.register_buffer("low", quantiles[:, :-1])
        self.register_buffer("size", quantiles.diff(dim=1).clamp(min=1e-6))
        self.mix = nn.Linear(width + self.low.numel(), channels)
        self.norm, self.dropout = nn.LayerNorm(channels), ByteDropout(dropout)

    def forward(self, summary: Tensor) -> Tensor:
        """See above; ``summary`` is ``[S, width]``."""
        numbers = summary[:, : len(self.low)].unsqueeze(-1)
        bins = ((numbers - self.low) / self.size).clamp(0, 1).flatten(1)
        encoded: Tensor = torch.relu(self.norm(self.mix(self.dropout(torch.cat([summary, bins], dim=1)))))
        return encoded
