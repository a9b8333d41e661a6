"""Batches for a model of one's own in PyG: the seeds of a task with all they may see, as ``HeteroData``.

    train = loaders(task, snapshot, table)["train"]
    encoders = {name: encoder(fitted) for name, fitted in train.statistics.items() if fitted.columns()}
    for batch in train:
        x = {name: encode(batch[name].tf)[0] for name, encode in encoders.items()}
        ...

What is in a batch depends on its seeds and the pass over them alone, not on the number of worker processes.

The columns are what torch-frame's encoders read. Its own ``StypeWiseFeatureEncoder``, made of what
:class:`~rdl.features.Statistics` says of a table, encodes them with finite values and gradients:

    def encoder(fitted):
        return StypeWiseFeatureEncoder(16, fitted.stats_list(), fitted.columns(), {
            stype.numerical: LinearEncoder(na_strategy=NAStrategy.MEAN),
            stype.categorical: EmbeddingEncoder(),
            stype.multicategorical: MultiCategoricalEmbeddingEncoder(),
            stype.embedding: LinearEmbeddingEncoder(),
            stype.timestamp: CyclicEncoder(),
        })

:class:`rdl.encoders.CyclicEncoder` stands in place of torch-frame's ``TimestampEncoder``, which wants a year and six
more parts: here a time is its part of the year, of the week and of the day, and the year is told by ``age_days``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from multiprocessing import get_all_start_methods
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch_frame import TensorFrame, stype
from torch_geometric.data import HeteroData

from rdl import features
from rdl.clock import NEVER, US_PER_DAY
from rdl.config import TrainConfig, require_whole
from rdl.draws import mixed
from rdl.embedders import embedder
from rdl.errors import ConfigError, did_you_mean
from rdl.features import Features, Statistics
from rdl.graph import edge_name
from rdl.predict import sampler_of, seeds_of
from rdl.query.task import SPLITS, Task, TaskTable
from rdl.sampler import EdgeType, Sampler, Seeds, Subgraph
from rdl.snapshot import Snapshot


class HeteroLoader:
    """The seeds of a task table, batch by batch; ``len`` is the number of batches.

    A batch is a ``HeteroData`` on the sampler's device, with every table and both directions of every foreign key. Of
    each table: ``n_id`` row numbers in the snapshot, ``batch`` the seed of each node, and as each seed sees them

    - ``tf``, the columns as a TensorFrame (none for a table without any). Numbers are standardised; they and the parts
      of times are NaN where they are NULL or masked, vectors zeros. Codes of categories are -1 for NULL; values unseen
      in training and masked cells have the first two entries of the vocabulary.
    - ``masked`` bool ``[N, M]``: which cells of the M columns ``masked_names`` the seed may not read yet; these are the
      input columns that are known later than their row, and the label's.
    - ``age_days`` float32 ``[N, 1 + T]``: the seed's time less the row's own and its T timestamp columns'
      (``time_names``), NaN where there is none or it is masked.

    ``statistics`` says by table what a model's encoders are sized by: columns, vocabularies, widths of vectors. Edges
    are named as in :meth:`rdl.graph.TemporalGraph.to_hetero_data` and lead towards the seeds. Of the entity's table,
    whose first nodes are the seeds: ``batch_size``, ``seed_time`` int64 µs, ``input_id`` their numbers in the task
    table and ``y`` their labels; where these are lists, ``y`` holds them end to end and ``y_batch`` the seed of each.

    Every pass is another ``epoch``: another sample and, with ``shuffle``, another order; set it to repeat one.
    ``workers`` processes sample side by side, started as ``context`` says (``fork``, ``spawn``; None: the platform's
    way); 0 samples here.
    """

    def __init__(
        self,
        statistics: Mapping[str, Statistics],
        packed: Mapping[str, Features],
        sampler: Sampler,
        seeds: Seeds,
        table: TaskTable,
        *,
        labels: Collection[tuple[str, str]] = (),
        batch_size: int = 512,
        shuffle: bool = False,
        workers: int = 0,
        context: str | None = None,
    ) -> None:
        """``packed`` are the columns under ``statistics``, ``seeds`` those of ``table``; ``labels`` the (table, column)
        pairs read on strictly older rows alone. Raises ConfigError."""
        require_whole("batch_size", batch_size, least=1)
        require_whole("workers", workers, least=0)
        if context is not None and context not in (ways := get_all_start_methods()):
            raise ConfigError(f"unknown way to start processes {context!r}", hint=f"use {' or '.join(ways)}.")
        self.statistics = statistics
        self.batches = _Batches(packed, sampler, seeds, table, labels, batch_size, shuffle)
        self.epoch = 0
        self._order = _Order(self.batches.count)
        self._loader = DataLoader(
            self.batches,
            batch_size=None,
            sampler=self._order,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context=context if workers else None,
            generator=torch.Generator(),  # else it would draw from the global one
        )

    def __len__(self) -> int:
        return self.batches.count

    def __iter__(self) -> Iterator[HeteroData]:
        self._order.epoch = self.epoch
        self.epoch += 1
        return iter(self._loader)


class _Order:
    """The (epoch, batch) pairs of one pass."""

    def __init__(self, count: int) -> None:
        self.epoch, self.count = 0, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(self.epoch, number) for number in range(self.count)])


class _Batches(Dataset[HeteroData]):
    """Batches by (epoch, number), in whichever process."""

    def __init__(
        self,
        packed: Mapping[str, Features],
        sampler: Sampler,
        seeds: Seeds,
        table: TaskTable,
        labels: Collection[tuple[str, str]],
        batch_size: int,
        shuffle: bool,
    ) -> None:
        self.packed, self.sampler, self.seeds, self.table = packed, sampler, seeds, table
        self.labels = {name: [column for t, column in labels if t == name] for name in packed}
        self.size, self.shuffle, self.count = batch_size, shuffle, -(-len(seeds) // batch_size)
        self.order = -1, torch.arange(len(seeds))

    def __getitem__(self, place: tuple[int, int]) -> HeteroData:
        epoch, number = place
        which = self._order(epoch)[number * self.size : (number + 1) * self.size]
        seeds = self.seeds.take(which).to(self.sampler.device)
        data = hetero_data(self.sampler(seeds, draw=epoch), self.packed, self.sampler, self.labels)
        entity, part = data[seeds.table], self.table.take(which.numpy())
        entity.input_id, entity.batch_size, entity.seed_time = which.to(seeds.row.device), len(seeds), seeds.time
        entity.y = torch.from_numpy(part.target).to(seeds.row.device)
        if part.indptr is not None:
            entity.y_batch = torch.from_numpy(part.owners()).to(seeds.row.device)
        return data

    def _order(self, epoch: int) -> Tensor:
        """The seeds' numbers in the order of this pass."""
        if self.shuffle and self.order[0] != epoch:
            key = mixed(mixed(torch.zeros(1, dtype=torch.int64), self.sampler.seed), epoch)
            self.order = epoch, mixed(key, torch.arange(len(self.seeds))).argsort(stable=True)
        return self.order[1]


def hetero_data(
    subgraph: Subgraph,
    packed: Mapping[str, Features],
    sampler: Sampler,
    labels: Mapping[str, Collection[str]] | None = None,
) -> HeteroData:
    """``subgraph`` as :class:`HeteroLoader` describes it, but for what the task says of its seeds. ``labels`` are the
    columns by table that are read on strictly older rows alone."""
    data, none = HeteroData(), torch.empty(0, dtype=torch.int64, device=subgraph.seeds.row.device)
    for table, columns in packed.items():
        rows, seed = subgraph.rows.get(table, none), subgraph.seed.get(table, none)
        time, cut = subgraph.seeds.time[seed], subgraph.seeds.late_cut[seed]
        asked = (labels or {}).get(table, ())
        unread = columns.unread(rows, time, cut, asked)
        nodes = data[table]
        nodes.num_nodes, nodes.n_id, nodes.batch = len(rows), rows, seed
        nodes.age_days, nodes.time_names = _ages(columns, rows, time, unread), columns.time_names
        nodes.masked_names, nodes.masked = _masked(columns, len(rows), asked, unread)
        frame = columns.frame(rows, unread)
        if frame is not None:
            nodes.tf = _plain(frame)
    for relation in sampler.graph.links:
        for type_ in (EdgeType(relation, to_parent=True), EdgeType(relation, to_parent=False)):
            edges = edge_name(relation, sampler.graph.links, back=not type_.to_parent)
            name = type_.source, edges, type_.target
            data[name].edge_index = subgraph.edges.get(type_, none.view(2, 0))
    return data


def _plain(frame: TensorFrame) -> TensorFrame:
    """``frame`` as encoders read it that know no infinite cells: masked numbers and times are NaN, as NULL is, and
    vectors of either are zeros, of which torch-frame's ``LinearEmbeddingEncoder`` has a finite gradient."""
    for kind, feat in frame.feat_dict.items():
        if kind in (stype.numerical, stype.timestamp):
            feat.masked_fill_(feat.isinf(), torch.nan)
        elif kind is stype.embedding:
            feat.values.nan_to_num_(0, 0, 0)
    return frame


def _masked(
    columns: Features, rows: int, labels: Collection[str], unread: list[tuple[Collection[str], Tensor]]
) -> tuple[list[str], Tensor]:
    """The names of the input columns that can be masked, and bool ``[rows, names]`` where they are."""
    able = {*labels, *(name for late in columns.late for name in late)}
    names = [name for named in columns.names.values() for name in named if name in able]
    masked = torch.zeros(rows, len(names), dtype=torch.bool, device=columns.times.device)
    for hidden, hide in unread:
        for number, name in enumerate(names):
            if name in hidden:
                masked[:, number] |= hide
    return names, masked


def _ages(columns: Features, rows: Tensor, time: Tensor, unread: list[tuple[Collection[str], Tensor]]) -> Tensor:
    times = columns.times[rows]
    known = times != NEVER
    for names, hide in unread:
        for number, name in enumerate(columns.time_names, start=1):
            if name in names:
                known[:, number] &= ~hide
    gap_us = time.unsqueeze(1) - torch.where(known, times, 0)
    return gap_us.double().div_(US_PER_DAY).float().masked_fill_(~known, torch.nan)


#: What a loader takes beside the settings of a sample, which are those of training.
_SAMPLE, _OPTIONS = ("regime", "fanouts", "sampling", "seed"), ("batch_size", "shuffle", "workers", "context")


def loaders(
    task: Task, snapshot: Snapshot, table: TaskTable, *, text_embedder: object = "hashing", **options: Any
) -> dict[str, HeteroLoader]:
    """A loader for each split of ``table``, by its name, with statistics fitted at the training cut.

    ``options`` are ``regime``, ``fanouts``, ``sampling`` and ``seed``, as :class:`rdl.config.TrainConfig` describes
    them, and those of :class:`HeteroLoader`; ``train`` is shuffled by default. ``text_embedder`` is what
    :func:`rdl.embedders.embedder` takes. Raises ConfigError.
    """
    for name in options:
        if name not in (known := (*_SAMPLE, *_OPTIONS, "text_embedder")):
            raise ConfigError(f"unknown option {name!r} of loaders", hint=did_you_mean(name, known))
    by = embedder(text_embedder)
    config = TrainConfig.of({name: value for name, value in options.items() if name in _SAMPLE})
    options = {name: value for name, value in options.items() if name in _OPTIONS}
    fitted = features.fit(snapshot, table.fitted_at_us, task.hidden, text_channels=by.channels)
    packed = features.pack(snapshot, fitted, by)
    sampler = sampler_of(task, snapshot, config.fanouts, config.sampling, config.seed)
    hidden, found = task.label_keys(snapshot.schema), {}
    for split in SPLITS:
        part = table.of(split)
        seeds = seeds_of(part, task.entity, config.regime, strictly=task.row_level, hidden=hidden)
        shuffled = {"shuffle": split is SPLITS[0], **options}
        found[split.value] = HeteroLoader(fitted, packed, sampler, seeds, part, labels=task.label_columns, **shuffled)
    return found
