"""The folder where rdl keeps what it can build again, and how a folder appears in it whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rdl.errors import DatabaseError

#: How many snapshots a cache keeps; the ones not opened for longest go first.
KEPT = 8

_MAKING = ".making-"


def default_cache() -> Path:
    """Where rdl keeps what it can build again: ``$RDL_CACHE``, ``$XDG_CACHE_HOME/rdl`` or ``~/.cache/rdl``."""
    if chosen := os.environ.get("RDL_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rdl"


@contextlib.contextmanager
def making(parent: Path) -> Iterator[Path]:
    """A new folder in ``parent``, gone afterwards unless it was renamed.

    It is locked as long as this process lives: what a killed process left behind goes with the next call.
    """
    sweep(parent)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_MAKING, dir=parent))
        with _locked(folder) as ours:
            if ours is False:  # another process swept it away before it was locked
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


def discard(folder: Path) -> None:
    """Deletes a folder in one step as others see it."""
    with making(folder.parent) as away, contextlib.suppress(FileNotFoundError):
        folder.rename(away / folder.name)


def sweep(parent: Path) -> None:
    """Deletes what processes that are no more were making in ``parent``."""
    with contextlib.suppress(OSError):
        for folder in parent.glob(f"{_MAKING}*"):
            with _locked(folder) as ours:
                if ours:
                    shutil.rmtree(folder, ignore_errors=True)


def prune(parent: Path, newest: Path) -> None:
    """Deletes all but ``newest`` and the folders opened last, ``KEPT`` in all."""
    with contextlib.suppress(OSError):
        whole = [entry for entry in parent.iterdir() if not entry.name.startswith(".") and entry != newest]
        for old in sorted(whole, key=lambda entry: entry.stat().st_mtime, reverse=True)[KEPT - 1 :]:
            discard(old)


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Inside it, a failure of the disk is raised as DatabaseError. A reader's own must not reach it."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        raise DatabaseError(
            f"cannot write the snapshot {directory}: {reason}",
            hint="make room there, or name another folder in RDL_CACHE.",
        ) from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool | None]:
    """Inside it, whether ``folder`` is there and locked by us; None where its file system knows no locks."""
    ours: bool | None = False
    with contextlib.ExitStack() as opened:
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            opened.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                ours = folder.exists()
            except BlockingIOError:
                ours = False
            except OSError:
                ours = None
        yield ours
