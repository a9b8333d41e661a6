"""Batches for a model of one's own in PyG: the seeds of a task with all they may see, as ``HeteroData``.

    for batch in loaders(task, snapshot, table)["train"]:
        x = {table: encode(batch[table].tf) for table in batch.node_types}
        ...

What is in a batch depends on its seeds and the pass over them alone, not on the number of worker processes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import HeteroData

from rdl import features
from rdl.clock import NEVER, US_PER_DAY
from rdl.config import Regime, Sampling
from rdl.draws import mixed
from rdl.embedders import HASHING, Embedder
from rdl.features import Features
from rdl.graph import edge_name
from rdl.predict import sampler_of, seeds_of
from rdl.query.task import SPLITS, Task, TaskTable
from rdl.sampler import EdgeType, Sampler, Seeds, Subgraph
from rdl.snapshot import Snapshot


class HeteroLoader:
    """The seeds of a task table, batch by batch; ``len`` is the number of batches.

    A batch is a ``HeteroData`` on the sampler's device, with every table and both directions of every foreign key. Of
    each table: ``n_id`` row numbers in the snapshot, ``batch`` the seed of each node, ``tf`` the columns as a
    TensorFrame (none for a table without any), masked as each seed sees them, and ``age_days`` float32
    ``[N, 1 + T]``: the seed's time less the row's own and its T timestamp columns' (``time_names``), NaN where there is
    none or it is masked. Edges are named as in :meth:`rdl.graph.TemporalGraph.to_hetero_data` and lead towards the
    seeds. Of the entity's table, whose first nodes are the seeds: ``batch_size``, ``seed_time`` int64 µs, ``input_id``
    their numbers in the task table and ``y`` their labels; where these are lists, ``y`` holds them end to end and
    ``y_batch`` the seed of each.

    Every pass is another ``epoch``: another sample and, with ``shuffle``, another order; set it to repeat one.
    ``workers`` processes sample side by side, started as ``context`` says (``fork``, ``spawn``; None: the platform's
    way); 0 samples here.
    """

    def __init__(
        self,
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
        """``seeds`` are those of ``table``; ``labels`` the (table, column) pairs read on strictly older rows alone."""
        self.batches = _Batches(packed, sampler, seeds, table, labels, batch_size, shuffle)
        self.epoch = 0
        self._order = _Order(self.batches.count)
        self._loader = DataLoader(
            self.batches,
            batch_size=None,
            sampler=self._order,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context=context,
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
        unread = columns.unread(rows, time, cut, (labels or {}).get(table, ()))
        nodes = data[table]
        nodes.num_nodes, nodes.n_id, nodes.batch = len(rows), rows, seed
        nodes.age_days, nodes.time_names = _ages(columns, rows, time, unread), columns.time_names
        frame = columns.frame(rows, unread)
        if frame is not None:
            nodes.tf = frame
    for relation in sampler.graph.links:
        for type_ in (EdgeType(relation, to_parent=True), EdgeType(relation, to_parent=False)):
            edges = edge_name(relation, sampler.graph.links, back=not type_.to_parent)
            name = type_.source, edges, type_.target
            data[name].edge_index = subgraph.edges.get(type_, none.view(2, 0))
    return data


def _ages(columns: Features, rows: Tensor, time: Tensor, unread: list[tuple[Collection[str], Tensor]]) -> Tensor:
    times = columns.times[rows]
    known = times != NEVER
    for names, hide in unread:
        for number, name in enumerate(columns.time_names, start=1):
            if name in names:
                known[:, number] &= ~hide
    gap_us = time.unsqueeze(1) - torch.where(known, times, 0)
    return gap_us.double().div_(US_PER_DAY).float().masked_fill_(~known, torch.nan)


def loaders(
    task: Task,
    snapshot: Snapshot,
    table: TaskTable,
    *,
    regime: Regime = Regime.seed_time,
    fanouts: tuple[int, ...] = (64, 4),
    sampling: Sampling = Sampling.uniform,
    seed: int = 0,
    embedder: Embedder = HASHING,
    **options: Any,
) -> dict[str, HeteroLoader]:
    """A loader for each split of ``table``, by its name. Statistics are fitted at the training cut; evaluation sees
    what ``regime`` lets it. ``train`` is shuffled; texts are read by ``embedder``; ``options`` are those of
    :class:`HeteroLoader`."""
    fitted = features.fit(snapshot, table.val_cut, task.hidden, text_channels=embedder.channels)
    packed = features.pack(snapshot, fitted, embedder)
    sampler = sampler_of(task, snapshot, fanouts, sampling, seed)
    hidden, found = task.label_keys(snapshot.schema), {}
    for split in SPLITS:
        part = table.of(split)
        seeds = seeds_of(part, task.entity, regime, strictly=task.row_level, hidden=hidden)
        shuffled = {"shuffle": split is SPLITS[0], **options}
        found[split.value] = HeteroLoader(packed, sampler, seeds, part, labels=task.label_columns, **shuffled)
    return found
