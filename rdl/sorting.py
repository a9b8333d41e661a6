"""Tables in files, sorted by time in bounded memory: sorted runs, merged piece by piece.

Both passes go through the files from front to back, so a table larger than memory sorts at the speed of the disk. What
stands in memory is some hundred megabytes of cells, and 24 bytes a row for the order.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl import clock

#: Cells taken into memory at once. Beyond 2 GiB the offsets of text would not do.
RUN_BYTES = 64 * 2**20

Order = npt.NDArray[np.integer]


def map_table(path: Path) -> pa.Table:
    """The table in an Arrow IPC file, memory-mapped."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def sort_file(path: Path, times: clock.Times, *, run_bytes: int = RUN_BYTES) -> clock.Times:
    """Sorts the rows of the Arrow IPC file ``path`` by ``times`` [rows], equal times in their order; returns the sorted
    times. A file that is in order already stays as it is."""
    if not np.any(times[1:] < times[:-1]):
        return times
    unsorted, runs = path.with_suffix(".unsorted"), path.with_suffix(".runs")
    path.rename(unsorted)
    order = np.argsort(times, kind="stable")
    if not _sort_nearby(unsorted, order, path, run_bytes):
        starts = _write_runs(unsorted, times, runs, run_bytes)
        unsorted.unlink()
        _merge(runs, order, starts, path, run_bytes)
        runs.unlink()
    unsorted.unlink(missing_ok=True)
    return times[order]


def _sort_nearby(unsorted: Path, order: Order, path: Path, run_bytes: int) -> bool:
    """Sorts in one pass where every row stands near its place already, as in a log; else does nothing."""
    with _mapped(unsorted) as (table, forget):
        rows_a_piece = max(1, run_bytes * table.num_rows // max(table.nbytes, 1))
        pieces = np.arange(0, len(order), rows_a_piece)
        first, last = np.minimum.reduceat(order, pieces), np.maximum.reduceat(order, pieces) + 1
        if any(table.slice(start, end - start).nbytes > 4 * run_bytes for start, end in zip(first, last, strict=True)):
            return False
        with _writing(path, table.schema) as writer:
            for start, end, at in zip(first, last, pieces, strict=True):
                near = pa.concat_batches(table.slice(start, end - start).to_batches())
                writer.write_batch(near.take(pa.array(order[at : at + rows_a_piece] - start)))
                forget()
    return True


def _write_runs(unsorted: Path, times: clock.Times, path: Path, run_bytes: int) -> Order:
    """Writes the rows of each run in its own order, a batch a run; returns the row at which each run starts."""
    starts, start = [], 0
    with _mapped(unsorted) as (table, forget), _writing(path, table.schema) as writer:
        for run in _runs(table.to_batches(), run_bytes):
            local = np.argsort(times[start : start + run.num_rows], kind="stable")
            writer.write_batch(run.take(pa.array(local)))
            starts.append(start)
            start += run.num_rows
            forget()
    return np.array(starts, np.int64)


@contextmanager
def _mapped(path: Path) -> Iterator[tuple[pa.Table, Callable[[], None]]]:
    """The table in a file, and a function that lets go of the pages of it that are in memory."""
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    yield pa.ipc.open_file(pa.py_buffer(pages)).read_all(), lambda: pages.madvise(mmap.MADV_DONTNEED)


@contextmanager
def _writing(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatchFileWriter]:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        yield writer


def _runs(batches: list[pa.RecordBatch], run_bytes: int) -> Iterator[pa.RecordBatch]:
    """The batches, small ones joined."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if held and size + batch.nbytes > run_bytes:
            yield pa.concat_batches(held)
            held, size = [], 0
        held.append(batch)
        size += batch.nbytes
    if held:
        yield pa.concat_batches(held)


def _merge(runs: Path, order: Order, starts: Order, path: Path, run_bytes: int) -> None:
    """Writes the rows in ``order``: each piece takes the next rows of every run, and puts them in order."""
    taken = np.zeros(len(starts), np.int64)
    with _mapped(runs) as (table, forget), _writing(path, table.schema) as writer:
        batches, rows_a_piece = table.to_batches(), max(1, run_bytes * table.num_rows // max(table.nbytes, 1))
        for start in range(0, len(order), rows_a_piece):
            run = np.searchsorted(starts, order[start : start + rows_a_piece], side="right") - 1
            for piece in _piece(batches, run.astype(np.int32), taken, run_bytes):
                writer.write_batch(piece)
            forget()


def _piece(batches: list[pa.RecordBatch], run: Order, taken: Order, run_bytes: int) -> Iterator[pa.RecordBatch]:
    """The rows whose runs are ``run``, in that order; halved as long as a few huge cells are more than may be held."""
    counts = np.bincount(run, minlength=len(batches))
    parts = [batches[i].slice(taken[i], counts[i]) for i in np.flatnonzero(counts)]
    if len(run) > 1 and sum(part.nbytes for part in parts) > 4 * run_bytes:
        for half in np.array_split(run, 2):
            yield from _piece(batches, half, taken, run_bytes)
        return
    taken += counts
    position = np.empty(len(run), np.int32)
    position[_grouped(run)] = np.arange(len(run), dtype=np.int32)
    yield pa.concat_batches(parts).take(pa.array(position))


def _grouped(run: Order) -> Order:
    """The order that brings equal runs together; where they are few, by counting."""
    return np.argsort(run.astype(np.uint16) if run.max() < 2**16 else run, kind="stable")
