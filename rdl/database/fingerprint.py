"""When has a database file changed? And how rdl's own writes do not count.

A file's state is its size, its time of change, the counter that the engine itself raises with every change, and the
content of its write-ahead log. All of them change when rdl writes predictions, so rdl *seals* its writes: within the
transaction it notes the fingerprint from before, the counter that the file must have after it, and a time of change
that it gives the file when all is done. As long as counter and time are those, nobody else has written since, and the
fingerprint from before still holds. Any doubt (a crash in between, another writer, a log) leaves the seal broken, and
the fingerprint changes: it is better to extract again than to use stale data.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rdl.errors import DatabaseError


@dataclass(frozen=True, slots=True)
class FileState:
    """A database file at one moment. ``counter`` is None where the engine does not keep it with every change;
    ``log`` digests a write-ahead log that holds changes, and is empty where there is none."""

    path: Path
    size: int
    mtime_ns: int
    counter: int | None
    log: str

    @property
    def sealable(self) -> bool:
        """Whether the counter alone says if somebody wrote."""
        return self.counter is not None and not self.log

    def digest(self) -> str:
        """Sixteen hex digits of the state."""
        text = f"{self.size}:{self.mtime_ns}:{self.counter}:{self.log}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def sqlite_state(path: Path, file: BinaryIO | None = None) -> FileState:
    """The state of a SQLite file. Raises OSError.

    To close any handle of a file drops every lock that the process has on it; so who holds one gives ``file``, a
    handle that stays open.
    """
    header, stat = _header(path, 100, file)
    # Byte 18: 1 is a rollback journal, whose every transaction raises the counter at byte 24; 2 is a log.
    counted = len(header) == 100 and header[18] == 1
    counter = int.from_bytes(header[24:28], "big") if counted else None
    return FileState(path, stat.st_size, stat.st_mtime_ns, counter, _digest_log(path, "-wal"))


def duckdb_state(path: Path, file: BinaryIO | None = None) -> FileState:
    """The state of a DuckDB file, as :func:`sqlite_state`. Raises OSError."""
    header, stat = _header(path, 3 * 4096, file)
    # Two headers take turns; each checkpoint writes one with the next number.
    numbers = [int.from_bytes(header[at + 8 : at + 16], "little") for at in (4096, 8192)]
    counter = max(numbers) if len(header) == 3 * 4096 else None
    return FileState(path, stat.st_size, stat.st_mtime_ns, counter, _digest_log(path, ".wal"))


def _header(path: Path, size: int, file: BinaryIO | None) -> tuple[bytes, os.stat_result]:
    with ExitStack() as stack:
        handle = file or stack.enter_context(path.open("rb"))
        return os.pread(handle.fileno(), size, 0), os.fstat(handle.fileno())


def _digest_log(path: Path, suffix: str) -> str:
    log = path.with_name(path.name + suffix)
    try:
        if log.stat().st_size == 0:
            return ""
        with log.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except FileNotFoundError:
        return ""


@dataclass(frozen=True, slots=True)
class Seal:
    """What is true of a file that only rdl has written to since it had ``fingerprint``."""

    counter: int
    mtime_ns: int
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.counter}:{self.mtime_ns}:{self.fingerprint}"

    def stamp(self, after: FileState) -> None:
        """Gives the file the sealed time of change, unless somebody else wrote meanwhile."""
        if after.sealable and after.counter == self.counter:
            with suppress(OSError):  # another user's file: the rows are written, only the seal stays broken
                os.utime(after.path, ns=(time.time_ns(), self.mtime_ns))


def seal_after(before: FileState, fingerprint: str) -> Seal | None:
    """The seal of a write that begins at ``before``, when the data's fingerprint is ``fingerprint``; None where the
    file's state cannot tell whether somebody else writes."""
    if before.counter is None or before.log:
        return None
    return Seal(before.counter + 1, time.time_ns(), fingerprint)


def unsealed(state: FileState, seals: Iterable[str | None]) -> str:
    """The fingerprint that a seal keeps for the file in this ``state``, else the state's own."""
    if state.sealable:
        kept = f"{state.counter}:{state.mtime_ns}:"
        for seal in seals:
            if seal and seal.startswith(kept):
                return seal.removeprefix(kept)
    return state.digest()


@contextmanager
def unchanged(url: str, look: Callable[[], object]) -> Iterator[None]:
    """Raises DatabaseError on leaving where ``look`` then sees something else than on entering."""
    before = look()
    yield
    if look() != before:
        raise DatabaseError(f"{url}: the data changed while they were read", hint="read again when nobody writes.")
