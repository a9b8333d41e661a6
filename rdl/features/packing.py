"""Tables packed as tensors, and the TensorFrames of rows as a seed may see them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch_frame import TensorFrame, stype
from torch_frame.data import MultiEmbeddingTensor, MultiNestedTensor

from rdl import columns
from rdl.clock import ALWAYS, NEVER
from rdl.columns import MASKED, NULL
from rdl.embedders import HASHING, Embedder, embed
from rdl.errors import ConfigError
from rdl.features.calendar import calendar
from rdl.features.statistics import Statistics
from rdl.schema import Stype
from rdl.snapshot import Snapshot

#: In a TensorFrame a number, a time's parts and the first entry of a vector are NaN for NULL, and this where masked.
MASKED_NUMBER = torch.inf


@dataclass(frozen=True, slots=True)
class Bags:
    """A column of lists of categories: the codes int16 of row r are ``codes[indptr[r]:indptr[r + 1]]``, ``NULL`` alone
    where the list is NULL, nothing where it is empty. ``indptr`` is int64 ``[rows + 1]``."""

    codes: Tensor
    indptr: Tensor

    def take(self, rows: Tensor, masked: Tensor | None) -> tuple[Tensor, Tensor]:
        """The codes of ``rows`` end to end, ``MASKED`` alone where ``masked``, and how many each row has."""
        begin = self.indptr[rows]
        lengths = self.indptr[rows + 1] - begin
        if masked is not None:
            lengths = torch.where(masked, 1, lengths)
        owner = torch.repeat_interleave(lengths)
        place = torch.arange(len(owner), device=rows.device) - (lengths.cumsum(0) - lengths)[owner]
        if masked is None:
            return self.codes[begin[owner] + place].long(), lengths
        codes = torch.full_like(owner, MASKED)
        shown = ~masked[owner]
        codes[shown] = self.codes[begin[owner[shown]] + place[shown]].long()
        return codes, lengths


@dataclass(frozen=True, slots=True)
class Vectors:
    """A column of vectors: row r's is ``table[place[r]]``. ``table`` is float32 ``[distinct + 2, channels]``; the last
    two stand for NULL and for a masked cell. ``place`` is int32 ``[rows]``."""

    table: Tensor
    place: Tensor

    def take(self, rows: Tensor, masked: Tensor | None) -> Tensor:
        """float32 ``[n, channels]``."""
        place = self.place[rows].long()
        return self.table[place if masked is None else place.masked_fill(masked, len(self.table) - 1)]


@dataclass(frozen=True, slots=True)
class Features:
    """The packed columns of one table, ``[rows]`` in the snapshot's order.

    ``numbers`` float32 ``[rows, n]``, NaN for NULL; ``codes`` int16 ``[rows, c]``; ``bags`` and ``vectors`` a column
    each; ``times`` int64 ``[rows, 1 + T]``: the row's own time and its timestamp columns in µs, ``clock.NEVER`` where
    there is none (or one of the year 9999, or an infinite one, in a column). ``names`` are the columns by torch-frame
    stype, in these orders.

    ``known_at`` int64 ``[rows, G]`` are the times at which the columns ``late[g]`` become known, ``clock.NEVER`` for
    never.
    """

    names: Mapping[stype, list[str]]
    numbers: Tensor
    codes: Tensor
    bags: tuple[Bags, ...]
    vectors: tuple[Vectors, ...]
    times: Tensor
    known_at: Tensor
    late: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.times)

    @property
    def time_names(self) -> list[str]:
        """The names of the timestamp columns."""
        return self.names.get(stype.timestamp, [])

    def to(self, device: torch.device) -> Features:
        """The same features on ``device``."""
        return Features(
            self.names,
            self.numbers.to(device),
            self.codes.to(device),
            tuple(Bags(bags.codes.to(device), bags.indptr.to(device)) for bags in self.bags),
            tuple(Vectors(vectors.table.to(device), vectors.place.to(device)) for vectors in self.vectors),
            self.times.to(device),
            self.known_at.to(device),
            self.late,
        )

    def unread(
        self, rows: Tensor, time: Tensor, cut: Tensor, labels: Collection[str] = ()
    ) -> list[tuple[Collection[str], Tensor]]:
        """What seeds may not read yet of ``rows`` ``[n]``, each seen by the seed at ``time`` ``[n]`` µs with the
        ``cut`` ``[n]``: names of columns, and for which of the rows they are masked, bool ``[n]``.

        These are the columns that become known after the cut, and ``labels`` on rows that are not strictly older than
        the seed.
        """
        hidden: list[tuple[Collection[str], Tensor]] = [
            (names, self.known_at[rows, number] > cut) for number, names in enumerate(self.late)
        ]
        if labels:
            own = self.times[rows, 0]
            hidden.append((labels, (own >= time) | (own == NEVER)))
        return hidden

    def frame(self, rows: Tensor, unread: Sequence[tuple[Collection[str], Tensor]] = ()) -> TensorFrame | None:
        """``rows`` int64 ``[n]`` as a TensorFrame; None without an input column. Cells of ``unread`` are masked.

        Categorical columns hold codes (``NULL``, ``UNSEEN``, ``MASKED``, then words), lists of them bags of codes;
        numbers, the three parts of times that :func:`~rdl.features.calendar.calendar` gives, and the vectors of texts
        and embeddings are NaN for NULL and :data:`MASKED_NUMBER` where masked.
        """
        masked: dict[str, Tensor] = {}
        for names, hidden in unread:
            for name in names:
                masked[name] = masked[name] | hidden if name in masked else hidden
        parts: dict[stype, Any] = {}
        for kind, named in self.names.items():
            hidden_by = [masked.get(name) for name in named]
            if kind is stype.multicategorical:
                parts[kind] = _nested([bags.take(rows, hide) for bags, hide in zip(self.bags, hidden_by, strict=True)])
            elif kind is stype.embedding:
                taken = [column.take(rows, hide) for column, hide in zip(self.vectors, hidden_by, strict=True)]
                widths = torch.tensor([0, *(vectors.size(1) for vectors in taken)]).cumsum(0).to(rows.device)
                parts[kind] = MultiEmbeddingTensor(len(rows), len(taken), torch.cat(taken, dim=1), widths)
            else:
                parts[kind] = part = self._part(kind, rows)
                for number, hide in enumerate(hidden_by):
                    if hide is not None:
                        part[hide, number] = MASKED if kind is stype.categorical else MASKED_NUMBER
        return TensorFrame(parts, dict(self.names)) if parts else None

    def _part(self, kind: stype, rows: Tensor) -> Tensor:
        """The columns of one kind, ``[n, columns, …]``, in memory of its own."""
        if kind is stype.numerical:
            return self.numbers[rows]
        return self.codes[rows].long() if kind is stype.categorical else calendar(self.times[rows, 1:])


def _nested(columns_: Sequence[tuple[Tensor, Tensor]]) -> MultiNestedTensor:
    """The columns' codes, each with its rows' lengths, as one tensor row by row."""
    lengths = torch.stack([length for _, length in columns_], dim=1)
    offset = torch.nn.functional.pad(lengths.flatten().cumsum(0), (1, 0))
    values = torch.empty(int(offset[-1]), dtype=torch.int64, device=lengths.device)
    for number, (codes, length) in enumerate(columns_):
        begin = offset[:-1].view(lengths.shape)[:, number]
        owner = torch.repeat_interleave(length)
        place = torch.arange(len(owner), device=owner.device) - (length.cumsum(0) - length)[owner]
        values[begin[owner] + place] = codes
    return MultiNestedTensor(len(lengths), len(columns_), values, offset)


def pack(snapshot: Snapshot, statistics: Mapping[str, Statistics], embedder: Embedder = HASHING) -> dict[str, Features]:
    """Every row of every table as tensors, by table.

    Raises SchemaError where a column is no longer stored as when the statistics were fitted, and ConfigError where the
    text embedder's vectors have another width or are none.
    """
    return {name: _pack(snapshot, name, fitted, embedder) for name, fitted in statistics.items()}


def _pack(snapshot: Snapshot, table: str, fitted: Statistics, embedder: Embedder) -> Features:
    rows = snapshot.arrow(table)

    def column(name: str, meaning: Stype) -> pa.ChunkedArray:
        return columns.require(rows.column(name), meaning, f"{table}.{name}")

    number = len(rows)
    numbers = np.empty((number, len(fitted.numerical)), np.float32)
    for place, (name, (median, scale)) in enumerate(fitted.numerical.items()):
        numbers[:, place] = columns.standardise(columns.as_numbers(column(name, Stype.numerical)), median, scale)
    codes = np.empty((number, len(fitted.categories)), np.int16)
    for place, (name, words) in enumerate(fitted.categories.items()):
        codes[:, place] = columns.as_words(column(name, Stype.categorical)).codes(words)
    bags = [
        _bags(columns.as_lists(column(name, Stype.multicategorical), known.separator), known.words)
        for name, known in fitted.lists.items()
    ]
    if fitted.texts and embedder.channels != fitted.text_channels:
        raise ConfigError(
            f"text embedder {embedder.name!r} makes vectors of {embedder.channels} numbers, the model was trained on "
            f"{fitted.text_channels}",
            hint="give the embedder that the run was trained with, or train it anew.",
        )
    vectors = [_texts(columns.as_words(column(name, Stype.text_embedded)), embedder) for name in fitted.texts]
    for name, centre in fitted.vectors.items():
        found = columns.as_vectors(column(name, Stype.embedding), len(centre.mean))
        vectors.append(_indexed(columns.standardise(found, np.asarray(centre.mean), centre.scale)))
    times = np.empty((number, 1 + len(fitted.times)), np.int64)
    own = snapshot.time(table)
    times[:, 0] = np.where(own == ALWAYS, NEVER, own)
    for place, name in enumerate(fitted.times, start=1):
        times[:, place] = columns.as_moments(column(name, Stype.timestamp))
    known_at = np.empty((number, len(fitted.late)), np.int64)
    for place, name in enumerate(fitted.late):
        known_at[:, place] = columns.as_times(column(name, Stype.timestamp))
    return Features(
        fitted.columns(),
        torch.from_numpy(numbers),
        torch.from_numpy(codes),
        tuple(bags),
        tuple(vectors),
        torch.from_numpy(times),
        torch.from_numpy(known_at),
        tuple(fitted.late.values()),
    )


def _bags(lists: columns.Lists, words: tuple[str, ...]) -> Bags:
    """Codes of the elements; a list that is NULL has the one element ``NULL``."""
    lengths = np.where(lists.missing, 1, lists.lengths)
    codes = np.full(lengths.sum(), NULL, np.int16)
    codes[np.repeat(~lists.missing, lengths)] = columns.as_words(lists.elements).codes(words)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Bags(torch.from_numpy(codes), torch.from_numpy(indptr))


def _texts(coded: columns.Coded, embedder: Embedder) -> Vectors:
    """Each distinct text embedded once."""
    table = np.empty((len(coded.words) + 2, embedder.channels), np.float32)
    table[:-2] = embed(embedder, coded.words)
    table[-2], table[-1] = np.nan, MASKED_NUMBER
    place = np.where(coded.places == NULL, len(coded.words), coded.places).astype(np.int32)
    return Vectors(torch.from_numpy(table), torch.from_numpy(place))


def _indexed(vectors: np.ndarray) -> Vectors:
    """A vector a row; rows of NaN are NULL."""
    states = np.full((2, vectors.shape[1]), np.nan, np.float32)
    states[1] = MASKED_NUMBER
    place = torch.arange(len(vectors), dtype=torch.int32)
    return Vectors(torch.from_numpy(np.concatenate([vectors, states])), place)
