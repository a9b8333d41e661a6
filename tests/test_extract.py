"""Reading tables at once, and everything that can go wrong on the way."""

from __future__ import annotations

import _thread
import contextlib
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rdl.errors import DatabaseError
from rdl.extract import micros
from rdl.snapshot import build, load_or_build
from tests.memory import MemoryReader

TABLES = {name: pa.table({"n": np.arange(size)}) for name, size in (("a", 10), ("b", 3000), ("c", 200), ("d", 2000))}


class Parallel(MemoryReader):
    """A reader whose every batch waits for ``gate``; ``begun`` are the tables in the order in which they began."""

    def __init__(self, at_once: int) -> None:
        super().__init__(TABLES, rows_a_batch=10)
        self.parallel_reads, self.begun = at_once, list[str]()
        self.threads: set[int] = set()
        self.inside = False

    @contextlib.contextmanager
    def consistent(self) -> Iterator[None]:
        self.inside = True
        yield
        self.inside = False

    def gate(self, table: str) -> None:
        """What happens before each batch."""

    def read(self, table: str, *args: object, **options: object) -> pa.RecordBatchReader:
        assert self.inside
        self.begun.append(table)
        source = super().read(table, *args, **options)  # type: ignore[arg-type]

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in source:
                self.threads.add(threading.get_ident())
                self.gate(table)
                yield batch

        return pa.RecordBatchReader.from_batches(source.schema, batches())


def test_as_many_tables_at_once_as_the_reader_allows_the_largest_first(tmp_path: Path) -> None:
    reader = Parallel(2)
    together = threading.Barrier(2, timeout=30)
    met = threading.local()

    def gate(table: str) -> None:
        if table in "bd" and not getattr(met, "once", False):
            met.once = True
            together.wait()  # only if b and d are read at once does this return

    reader.gate = gate  # type: ignore[method-assign]
    snapshot = build(reader, reader.schema, tmp_path / "s")
    assert set(reader.begun[:2]) == {"b", "d"}
    assert len(reader.threads) == 2
    for name, rows in TABLES.items():
        assert snapshot.arrow(name).equals(rows)


def test_a_reader_that_allows_one_is_asked_by_one_thread(tmp_path: Path) -> None:
    reader = Parallel(1)
    build(reader, reader.schema, tmp_path / "s")
    assert reader.threads == {threading.get_ident()}
    assert reader.begun == list(TABLES)


@pytest.mark.parametrize("at_once", [1, 3])
def test_the_first_failure_ends_all(tmp_path: Path, at_once: int) -> None:
    reader = Parallel(at_once)
    broken = threading.Event()

    def gate(table: str) -> None:
        if table == "d":
            broken.set()
            raise DatabaseError("the server went away")
        if at_once > 1:
            broken.wait(30)

    reader.gate = gate  # type: ignore[method-assign]
    with pytest.raises(DatabaseError, match="the server went away"):
        load_or_build(reader, reader.schema, cache=tmp_path)
    assert list((tmp_path / "snapshots").iterdir()) == []
    assert threading.active_count() == 1 or at_once == 1


@pytest.mark.parametrize("at_once", [1, 3])
def test_an_interrupt_ends_all(tmp_path: Path, at_once: int, interruptible: None) -> None:
    reader = Parallel(at_once)
    once = iter([True])

    def gate(table: str) -> None:
        if next(once, False):
            _thread.interrupt_main()

    reader.gate = gate  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        load_or_build(reader, reader.schema, cache=tmp_path)
    assert list((tmp_path / "snapshots").iterdir()) == []


@pytest.mark.parametrize("where", ["consistent", "fingerprint", "count", "read", "batch", "leaving"])
def test_a_failure_of_the_reader_is_not_one_of_the_disk(tmp_path: Path, where: str) -> None:
    class Broken(Parallel):
        def fail(self, at: str) -> None:
            if where == at:
                raise ConnectionResetError(104, "Connection reset by peer")

        @contextlib.contextmanager
        def consistent(self) -> Iterator[None]:
            self.fail("consistent")
            with super().consistent():
                yield
            self.fail("leaving")

        def fingerprint(self) -> str:
            self.fail("fingerprint")
            return "1"

        def count(self, table: str) -> int:
            self.fail("count")
            return super().count(table)

        def read(self, *args: object, **options: object) -> pa.RecordBatchReader:
            self.fail("read")
            return super().read(*args, **options)  # type: ignore[arg-type]

        def gate(self, table: str) -> None:
            self.fail("batch")

    for at_once in (1, 2):
        with pytest.raises(DatabaseError, match=r"memory:shop: cannot .*: Connection reset by peer") as caught:
            load_or_build(Broken(at_once), Broken(1).schema, cache=tmp_path)
        assert len(str(caught.value).splitlines()) == 1
        assert list((tmp_path / "snapshots").iterdir()) == []


def test_what_changes_during_the_read_is_seen_once(tmp_path: Path) -> None:
    """The fingerprint that a snapshot is filed under is the one of the state that was read."""

    class Changing(Parallel):
        state = "before"

        @contextlib.contextmanager
        def consistent(self) -> Iterator[None]:
            self.state = "within"
            with super().consistent():
                yield
            self.state = "after"

        def fingerprint(self) -> str:
            return self.state

    reader, other = Changing(1), MemoryReader(TABLES)
    other.version = "within"
    found = load_or_build(reader, reader.schema, cache=tmp_path)
    assert load_or_build(other, other.schema, cache=tmp_path).path == found.path
    assert other.reads == []


@pytest.mark.parametrize("bytes_allowed", [0, 1, 20_000])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, bytes_allowed: int) -> None:
    """A limit on the size of files fails as a full disk does."""
    program = f"""
        import resource, signal, sys
        import numpy as np, pyarrow as pa
        from pathlib import Path
        from rdl.errors import RdlError
        from rdl.snapshot import load_or_build
        from tests.memory import MemoryReader
        rows = pa.table({{"at": pa.array(np.arange(5000)[::-1], pa.timestamp("us"))}})
        reader = MemoryReader({{"t": rows}}, times={{"t": "at"}}, rows_a_batch=500)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes_allowed}, {bytes_allowed}))
        try:
            load_or_build(reader, reader.schema, cache=Path({str(tmp_path)!r}))
        except RdlError as error:
            sys.stdout.write(str(error))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False, capture_output=True, text=True)
    assert done.stdout.startswith(f"cannot write the snapshot {tmp_path}"), done
    assert len(done.stdout.splitlines()) == 2
    assert list((tmp_path / "snapshots").iterdir()) == []


@pytest.mark.parametrize("dtype", [pa.date32(), pa.timestamp("us"), pa.timestamp("s", "Europe/Paris")])
def test_times_of_a_column_in_pieces(dtype: pa.DataType) -> None:
    pieces = pa.chunked_array([pa.array([1, None], dtype), pa.array([], dtype), pa.array([-2], dtype)])
    whole = micros(pa.chunked_array([pieces.combine_chunks()]))
    assert micros(pieces).tolist() == whole.tolist()
    assert micros(pa.chunked_array([], pa.date32())).tolist() == []
