"""A database, extracted once: columns on disk, memory-mapped, rows sorted by time, keys resolved to row numbers.

A snapshot is a folder: for the n-th table ``n.arrow`` (its own columns, Arrow IPC, uncompressed) and ``n.time.npy``
(int64 µs UTC), for the n-th relation ``n.parent.npy`` (int32 row numbers), and ``snapshot.json``. It is built beside
its place and renamed when whole, so what can be opened is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time as wall
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl import clock
from rdl.database.reader import Reader
from rdl.errors import ConfigError, DatabaseError, SchemaError
from rdl.extract import FORMAT, Extraction, Progress, Report, map_table
from rdl.keys import Rows, match, quote
from rdl.schema import Relation, Schema

#: How many snapshots a cache keeps; the ones not opened for longest go first.
KEPT = 8


class Snapshot:
    """The tables of a database as they stood when it was extracted, opened from a folder by :func:`open_snapshot`.

    ``path`` is the folder, ``schema`` the schema it was extracted by, ``num_rows`` the rows of each table, ``report``
    what was found on the way. Row numbers are positions in the time-sorted tables. Arrays are read-only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        facts = json.loads((path / "snapshot.json").read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, not {FORMAT}")
        self.schema = Schema.from_json(facts["schema"])
        dangling = {relation: (count, share) for relation, (count, share) in facts["report"]["dangling"].items()}
        self.report = Report(**{**facts["report"], "dangling": dangling})
        self.num_rows: dict[str, int] = self.report.rows
        self._arrow: dict[str, pa.Table] = {}
        self._time: dict[str, clock.Times] = {}
        self._parent: dict[Relation, npt.NDArray[np.int32]] = {}
        for number, name in enumerate(self.schema.tables):
            self._arrow[name] = map_table(path / f"{number}.arrow")
            self._time[name] = np.load(path / f"{number}.time.npy", mmap_mode="r")
            if not self._arrow[name].num_rows == len(self._time[name]) == self.num_rows[name]:
                raise ValueError(f"table {name!r} has another number of rows")
        for number, relation in enumerate(self.schema.relations):
            self._parent[relation] = np.load(path / f"{number}.parent.npy", mmap_mode="r")
            if len(self._parent[relation]) != self.num_rows[relation.child]:
                raise ValueError(f"{relation} has another number of rows")
        self._sources: dict[str, pa.Table] = {}

    def __reduce__(self) -> tuple[Callable[[Path], Snapshot], tuple[Path]]:
        return open_snapshot, (self.path,)

    def __repr__(self) -> str:
        return f"Snapshot({str(self.path)!r}: {len(self.num_rows)} tables, {sum(self.num_rows.values())} rows)"

    def arrow(self, table: str) -> pa.Table:
        """The table's own columns, memory-mapped, rows sorted by time; equal times keep the engine's order."""
        return self._arrow[self.schema[table].name]

    def time(self, table: str) -> clock.Times:
        """The time of each row [rows], µs UTC, ascending: ``clock.ALWAYS`` throughout for a timeless table,
        ``clock.NEVER`` (at the end) where a row's time is NULL or the walk to it meets a NULL."""
        return self._time[self.schema[table].name]

    def parent(self, relation: Relation) -> npt.NDArray[np.int32]:
        """For each child row the row number in the parent table [rows], -1 where the key is NULL or dangling."""
        if relation not in self._parent:
            raise SchemaError(f"there is no relation {relation}")
        return self._parent[relation]

    def keys(self, table: str, rows: npt.NDArray[np.integer]) -> pa.Table:
        """The primary-key columns of ``rows``, in that order; of a table without one, a single column ``row``."""
        columns = list(self.schema[table].primary_key)
        if not columns:
            return pa.table({"row": pa.array(np.asarray(rows, np.int64))})
        return self._arrow[table].select(columns).take(pa.array(np.asarray(rows, np.int64)))

    def row_of(self, table: str, keys: pa.Table | Sequence[object]) -> Rows:
        """The row numbers of primary keys [keys], -1 where no row has the key.

        ``keys`` is a sequence of values where the key is one column, else an Arrow table with the key's columns.
        Without a primary key the keys are row numbers. Values of another type are compared as :func:`match` says.
        Raises ConfigError where ``keys`` cannot be keys of this table.
        """
        columns = list(self.schema[table].primary_key)
        names = columns or ["row"]
        if not isinstance(keys, pa.Table):
            if len(names) > 1:
                raise ConfigError(f"a key of {table!r} is {len(names)} values", hint=_keys_wanted(names))
            try:
                keys = pa.table({names[0]: pa.array(keys)})
            except (pa.ArrowException, TypeError, ValueError):
                raise ConfigError(f"keys of {table!r} of mixed or unknown types", hint="give one type.") from None
        if missing := [name for name in names if name not in keys.column_names]:
            raise ConfigError(f"keys of {table!r} lack {', '.join(map(repr, missing))}", hint=_keys_wanted(names))
        rows = pa.table({"row": np.arange(self.num_rows[table])})
        known = self._arrow[table].select(columns) if columns else rows
        return match(keys.select(names), known).rows

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A new in-memory DuckDB connection in which every table is a view by its own name.

        A view has the table's own columns, ``"#row"`` BIGINT (row number), ``"#time"`` TIMESTAMP (NULL where timeless
        or unknown) and for each relation from it ``"#" || '+'.join(key)`` BIGINT: the parent's row number, NULL where
        none. Of several relations over the same key the first has that name, a further one ``"#key→parent"``.
        Raises SchemaError where two names differ by case only, which DuckDB cannot tell apart.
        """
        _refuse_alike("tables", list(self.schema.tables))
        connection = duckdb.connect(config={"python_enable_replacements": "false"})
        prefix = "#source"
        while any(_fold(name).startswith(prefix) for name in self.schema.tables):
            prefix += "#"
        for number, name in enumerate(self.schema.tables):
            if name not in self._sources:
                self._sources[name] = self._source(name)
            source = self._sources[name]
            connection.register(f"{prefix}{number}", source)
            own = set(self._arrow[name].column_names) | {"#row", "#time"}
            shown = [
                quote(column) if column in own else f"CAST({quote(column)} AS BIGINT) AS {quote(column)}"
                for column in source.column_names
            ]
            connection.execute(
                f"CREATE VIEW {quote(name)} AS SELECT {', '.join(shown)} FROM {quote(f'{prefix}{number}')}"
            )
        return connection

    def _source(self, table: str) -> pa.Table:
        """The table's own columns, its row numbers, its time and its parents as one Arrow table."""
        columns = dict(zip(self._arrow[table].column_names, self._arrow[table].columns, strict=True))
        names, times = list(columns), self._time[table]
        unknown = (times == clock.ALWAYS) | (times == clock.NEVER)
        added: dict[str, pa.Array] = {
            "#row": pa.array(np.arange(len(times))),
            "#time": pa.array(times, mask=unknown if unknown.any() else None).view(pa.timestamp("us")),
        }
        for relation in self.schema.relations_from(table):
            name, parent = "#" + "+".join(relation.key), self._parent[relation]
            if name in added:
                name += f"→{relation.parent}"
            none = parent < 0
            added[name] = pa.array(parent, mask=none if none.any() else None)
        _refuse_alike(f"columns of table {table!r}", [*names, *added])
        return pa.table({**columns, **added})


def _keys_wanted(names: Sequence[str]) -> str:
    return f"give a table (a Parquet or CSV file) with the columns {', '.join(map(repr, names))}."


def _fold(name: str) -> str:
    """``name`` as DuckDB compares names: ASCII letters in lower case."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def _refuse_alike(what: str, names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if _fold(name) in seen:
            raise SchemaError(
                f"{what} {seen[_fold(name)]!r} and {name!r} differ by case only, and labels cannot tell them apart",
                hint="leave one table out with --exclude, or rename it through a view.",
            )
        seen[_fold(name)] = name


def open_snapshot(directory: Path) -> Snapshot:
    """The snapshot in ``directory``. Raises DatabaseError where there is none, or none that is whole."""
    try:
        return Snapshot(Path(directory))
    except (OSError, ValueError, KeyError, TypeError, EOFError, pa.ArrowException, SchemaError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DatabaseError(f"{directory} is not a whole snapshot: {_line(reason)}") from None


def build(reader: Reader, schema: Schema, directory: Path, *, progress: Progress | None = None) -> Snapshot:
    """Extracts every table of ``schema`` once into ``directory``, which must not hold anything yet.

    It appears there whole or not at all; where another process was first, that one's stays and is opened.
    Raises DatabaseError where the database cannot be read or the folder not be written, SchemaError where a time
    column holds no times.
    """
    directory = Path(directory)
    with _writing(directory):
        if directory.is_dir() and any(directory.iterdir()):
            raise DatabaseError(f"{directory} already holds something", hint="give an empty or a new folder.")
        directory.parent.mkdir(parents=True, exist_ok=True)
    return _build(reader, schema, directory, progress)


def load_or_build(
    reader: Reader,
    schema: Schema,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    refresh: bool = False,
) -> Snapshot:
    """The snapshot of this database as it is now: from the cache, else (or where ``refresh``) extracted into it.

    ``cache`` defaults to ``$RDL_CACHE``, ``$XDG_CACHE_HOME/rdl`` or ``~/.cache/rdl``. A snapshot is found again by
    the database's URL and fingerprint and the schema's; one that is damaged is built again, and the ones not opened
    for longest are deleted once there are more than ``KEPT``. Raises as :func:`build`.
    """
    folder = (cache or default_cache()) / "snapshots"
    facts = json.dumps([FORMAT, reader.url, reader.fingerprint(), schema.fingerprint()])
    directory = folder / hashlib.sha256(facts.encode()).hexdigest()[:32]
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if directory.exists():
        if not refresh:
            with contextlib.suppress(DatabaseError):
                snapshot = open_snapshot(directory)
                with contextlib.suppress(OSError):
                    os.utime(directory)
                return snapshot
        with _writing(directory):
            _discard(directory)
    snapshot = _build(reader, schema, directory, progress)
    _prune(folder, directory)
    return snapshot


def default_cache() -> Path:
    """Where rdl keeps what it can build again: ``$RDL_CACHE``, ``$XDG_CACHE_HOME/rdl`` or ``~/.cache/rdl``."""
    if chosen := os.environ.get("RDL_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rdl"


def _build(reader: Reader, schema: Schema, directory: Path, progress: Progress | None) -> Snapshot:
    with _writing(directory):
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=directory.parent))
        try:
            Extraction(reader, schema, making).run(progress)
            try:
                making.rename(directory)
            except OSError:  # another process was first, or the disk refuses: the former can be opened
                if not (directory / "snapshot.json").exists():
                    raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return open_snapshot(directory)


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatabaseError(
            f"cannot write the snapshot {directory}: {_line(error.strerror or str(error))}",
            hint="make room there, or name another folder in RDL_CACHE.",
        ) from error


def _discard(directory: Path) -> None:
    """Deletes a folder in one step as others see it."""
    away = Path(tempfile.mkdtemp(prefix=".making-", dir=directory.parent))
    with contextlib.suppress(FileNotFoundError):
        directory.rename(away / directory.name)
    shutil.rmtree(away, ignore_errors=True)


def _prune(folder: Path, newest: Path) -> None:
    """Deletes all but the ``KEPT`` snapshots opened last, and what extractions killed over a day ago left."""
    with contextlib.suppress(OSError):
        entries = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime, reverse=True)
        whole = [entry for entry in entries if not entry.name.startswith(".") and entry != newest]
        left = [entry for entry in entries if entry.name.startswith(".making-")]
        day_ago = wall.time() - 86_400
        for old in whole[KEPT - 1 :] + [entry for entry in left if entry.stat().st_mtime < day_ago]:
            shutil.rmtree(old, ignore_errors=True)


def _line(text: str) -> str:
    return (text.strip().splitlines() or ["unknown reason"])[0]
