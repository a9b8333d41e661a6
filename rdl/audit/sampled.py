"""What the sampler and the encoders see of two snapshots: statistics, rows and cells, compared bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch_frame import stype
from torch_frame.data import MultiEmbeddingTensor, MultiNestedTensor

from rdl import features, streams
from rdl.audit.rebuild import Difference
from rdl.clock import NEVER
from rdl.config import TrainConfig
from rdl.extract import micros
from rdl.features import Features
from rdl.predict import sampler_of
from rdl.query.task import Task
from rdl.sampler import Seeds, Subgraph
from rdl.schema import Stype
from rdl.snapshot import Snapshot


def differences(
    task: Task, whole: Snapshot, cut: Snapshot, asked: streams.Seeds, fitted_at_us: int
) -> Iterator[Difference]:
    """Where the two snapshots, whose rows have the same numbers, differ for the seeds ``asked``. Texts are compared as
    they stand, all other inputs as they are encoded."""
    texts = {
        (table.name, column.name)
        for table in whole.schema.tables.values() for column in table.columns
        if column.stype is Stype.text_embedded
    }  # fmt: skip
    fitted = [features.fit(snapshot, fitted_at_us, task.hidden | texts) for snapshot in (whole, cut)]
    for name, column in _statistics(*fitted):
        yield Difference(name, column, "the statistics fitted at the training cut differ")
    row, time, limit = (torch.from_numpy(part.copy()) for part in (asked.rows, asked.time, asked.cut))
    seeds = Seeds(task.entity, row, time, limit, task.row_level, task.label_keys(whole.schema))
    config = TrainConfig()
    seen, left = (sampler_of(task, one, config.fanouts, config.sampling)(seeds) for one in (whole, cut))
    same = []
    for name in dict.fromkeys((*seen.rows, *left.rows)):
        if (share := _other_rows(seen, left, name)) > 0:
            yield Difference(name, None, "which of its rows are sampled", share)
        elif name in seen.rows:
            same.append(name)
    packed = [features.pack(snapshot, fitted[0]) for snapshot in (whole, cut)]
    for name in same:
        masked = {column for table, column in task.label_columns if table == name}
        cells = [dict(_cells(part[name], seen, name, masked)) for part in packed]
        for column, how in cells[0]:
            changed = _changed(cells[0][column, how], cells[1][column, how])
            if changed.any():
                yield Difference(name, column, how, _share(changed, seen, name))
        yield from _texts(texts - task.hidden, whole, cut, seen, name)


def _statistics(
    one: Mapping[str, features.Statistics], other: Mapping[str, features.Statistics]
) -> Iterator[tuple[str, str | None]]:
    """The columns whose statistics differ."""
    for name, statistics in one.items():
        again = other[name]
        for by_column in ("numerical", "categories", "lists", "vectors"):
            first, second = getattr(statistics, by_column), getattr(again, by_column)
            yield from ((name, column) for column in {*first, *second} if first.get(column) != second.get(column))
        if (statistics.times, statistics.late) != (again.times, again.late):
            yield name, None


def _other_rows(seen: Subgraph, left: Subgraph, name: str) -> float:
    """The share of the seeds that see other rows of a table, or other numbers of children of them."""
    parts = []
    for graph in (seen, left):
        none = torch.zeros(0, dtype=torch.int64)
        rows, seed = graph.rows.get(name, none), graph.seed.get(name, none)
        degrees = [graph.degrees[kind] for kind in sorted(graph.degrees, key=str) if kind.target == name]
        parts.append((rows, seed, degrees))
    (rows, seed, degrees), (again, seed_again, degrees_again) = parts
    if not (torch.equal(rows, again) and torch.equal(seed, seed_again)):
        pairs = [set(zip(one.tolist(), two.tolist(), strict=True)) for one, two in ((rows, seed), (again, seed_again))]
        return max(len({number for _, number in pairs[0] ^ pairs[1]}), 1) / max(len(seen.seeds), 1)
    if len(degrees) != len(degrees_again):
        return 1.0
    changed = torch.zeros(len(rows), dtype=torch.bool)
    for degree, degree_again in zip(degrees, degrees_again, strict=True):
        changed |= degree != degree_again
    return _share(changed, seen, name)


def _cells(part: Features, graph: Subgraph, name: str, labels: set[str]) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """The cells of the sampled rows ``[nodes, …]`` by column and how it is read; a masked time is NEVER."""
    rows, seed = graph.rows[name], graph.seed[name]
    unread = part.unread(rows, graph.seeds.time[seed], graph.seeds.late_cut[seed], labels)
    frame = part.frame(rows, unread)
    cells = frame.feat_dict if frame is not None else {}
    for kind, names in part.names.items():
        for number, column in enumerate(names):
            if kind is not stype.timestamp:
                yield (column, "its encoded value"), _numbers(cells[kind], number)
    for number, column in enumerate(part.time_names, start=1):
        moments = part.times[rows, number].clone()
        for columns, hidden in unread:
            if column in columns:
                moments[hidden] = NEVER
        yield (column, "its distance from the seed"), moments.unsqueeze(1)


def _numbers(cells: Tensor | MultiNestedTensor | MultiEmbeddingTensor, number: int) -> Tensor:
    """One column of a TensorFrame as numbers ``[nodes, …]``, lists filled up with -9."""
    if isinstance(cells, MultiNestedTensor):
        found: Tensor = cells.to_dense(fill_value=-9)[:, number]
    elif isinstance(cells, MultiEmbeddingTensor):
        found = cells.values[:, cells.offset[number] : cells.offset[number + 1]]
    else:
        found = cells[:, number].reshape(len(cells), -1)
    return found.double()


def _changed(one: Tensor, other: Tensor) -> Tensor:
    """The nodes of which any number differs."""
    width = max(one.size(1), other.size(1))
    one, other = (torch.nn.functional.pad(cells, (0, width - cells.size(1)), value=-9) for cells in (one, other))
    same = (one == other) | (one.isnan() & other.isnan())
    return ~same.all(dim=1)


def _texts(
    texts: set[tuple[str, str]], whole: Snapshot, cut: Snapshot, graph: Subgraph, name: str
) -> Iterator[Difference]:
    """The columns of text that differ where a seed may read them."""
    rows, seed = graph.rows[name].numpy(), graph.seed[name]
    table = whole.schema[name]
    for _, column in sorted(cell for cell in texts if cell[0] == name):
        both = [snapshot.arrow(name)[column].take(pa.array(rows)) for snapshot in (whole, cut)]
        changed = _unlike(*both)
        if (told_by := table.told_by(table[column])) is not None:
            known = micros(whole.arrow(name)[told_by])[rows]
            changed &= known <= graph.seeds.late_cut[seed].numpy()
        if changed.any():
            yield Difference(name, column, "its text", _share(torch.from_numpy(changed), graph, name))


def _unlike(one: pa.ChunkedArray, other: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    same = pc.fill_null(pc.equal(one, other), False)
    none = pc.and_(pc.is_null(one), pc.is_null(other))
    return ~np.asarray(pc.or_(same, none).to_numpy(), np.bool_)


def _share(changed: Tensor, graph: Subgraph, name: str) -> float:
    """The share of the seeds with a node that changed."""
    return len(torch.unique(graph.seed[name][changed])) / max(len(graph.seeds), 1)
