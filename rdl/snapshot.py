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
import time as wall
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rdl import clock
from rdl.cache import default_cache, discard, making, prune, writing
from rdl.database.failures import explained
from rdl.database.reader import Reader
from rdl.errors import ConfigError, DatabaseError, SchemaError
from rdl.extract import FORMAT, Extraction, Listener, Older, Report, micros
from rdl.keys import match, quote
from rdl.schema import Relation, Schema, Stype
from rdl.sorting import map_table

Rows = npt.NDArray[np.int64]


class Snapshot:
    """The tables of a database as they stood when it was extracted, opened from a folder by :func:`open_snapshot`.

    ``path`` is the folder, ``schema`` the schema it was opened or else extracted by, ``num_rows`` the rows of each
    table, ``report`` what was found on the way. Row numbers are positions in the time-sorted tables. Arrays are
    read-only.
    """

    def __init__(self, path: Path, schema: Schema | None = None) -> None:
        self.path = path
        facts = json.loads((path / "snapshot.json").read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, not {FORMAT}")
        self.schema = schema or Schema.from_json(facts["schema"])
        self.report = Report.from_json(facts["report"])
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

    def __reduce__(self) -> tuple[Callable[..., Snapshot], tuple[Path, Schema]]:
        return open_snapshot, (self.path, self.schema)

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

    def linked(self, relation: Relation) -> clock.Times:
        """When the key of each child row became known [rows], µs UTC: ``clock.ALWAYS`` throughout for a key that was
        known with its row, ``clock.NEVER`` where nobody says (NULL)."""
        found = np.full(self.num_rows[relation.child], clock.ALWAYS)
        for column in self.schema.told_by(relation):
            np.maximum(found, micros(self._arrow[relation.child][column], f"{relation.child}.{column}"), out=found)
        return found

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
        return match(keys.select(names), known).rows.astype(np.int64)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A new in-memory DuckDB connection in which every table is a view by its own name.

        A view has the table's own columns (a foreign key of one column is NULL where it names no row), ``"#row"``
        BIGINT (row number), ``"#time"`` TIMESTAMP (NULL where timeless or unknown) and for each relation from it
        ``"#" || '+'.join(key)`` BIGINT: the parent's row number, NULL where none. Of several relations over the same
        key the first has that name, a further one ``"#key→parent"``.
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
            keys = self._keys(name)
            shown = [
                f"CASE WHEN {keys[column]} THEN {quote(column)} END AS {quote(column)}" if column in keys
                else quote(column) if column in own else f"CAST({quote(column)} AS BIGINT) AS {quote(column)}"
                for column in source.column_names
            ]  # fmt: skip
            connection.execute(
                f"CREATE VIEW {quote(name)} AS SELECT {', '.join(shown)} FROM {quote(f'{prefix}{number}')}"
            )
        return connection

    def _links(self, table: str) -> dict[Relation, str]:
        """The name, in the view of ``table``, of the parent's row number, by relation."""
        names: dict[Relation, str] = {}
        for relation in self.schema.relations_from(table):
            name = "#" + "+".join(relation.key)
            names[relation] = f"{name}→{relation.parent}" if name in names.values() else name
        return names

    def _keys(self, table: str) -> dict[str, str]:
        """SQL for whether a foreign key names a row, by its only column; not where that is in the primary key too."""
        found: dict[str, list[str]] = {}
        for relation, link in self._links(table).items():
            if len(relation.key) == 1 and relation.key[0] not in self.schema[table].primary_key:
                found.setdefault(relation.key[0], []).append(f"{quote(link)} IS NOT NULL")
        return {key: " OR ".join(tests) for key, tests in found.items()}

    def _source(self, table: str) -> pa.Table:
        """The table's own columns, its row numbers, its time and its parents as one Arrow table."""
        columns = dict(zip(self._arrow[table].column_names, self._arrow[table].columns, strict=True))
        names, times = list(columns), self._time[table]
        unknown = (times == clock.ALWAYS) | (times == clock.NEVER)
        added: dict[str, pa.Array] = {
            "#row": pa.array(np.arange(len(times))),
            "#time": pa.array(times, mask=unknown if unknown.any() else None).view(pa.timestamp("us")),
        }
        for relation, name in self._links(table).items():
            parent = self._parent[relation]
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


def open_snapshot(directory: Path, schema: Schema | None = None) -> Snapshot:
    """The snapshot in ``directory``, with the meanings that ``schema`` gives to the same tables and columns. Raises
    DatabaseError where there is none, or none that is whole."""
    try:
        return Snapshot(Path(directory), schema)
    except (OSError, ValueError, KeyError, TypeError, EOFError, pa.ArrowException, SchemaError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = (reason.strip().splitlines() or ["unknown reason"])[0]
        raise DatabaseError(f"{directory} is not a whole snapshot: {reason}") from None


def build(reader: Reader, schema: Schema, directory: Path, *, listener: Listener | None = None) -> Snapshot:
    """Extracts every table of ``schema`` once into ``directory``, which must not hold anything yet.

    It appears there whole or not at all; where another process was first, that one's stays and is opened.
    Raises DatabaseError where the database cannot be read or the folder not be written, SchemaError where a time
    column holds no times.
    """
    directory = Path(directory)
    with writing(directory):
        if directory.is_dir() and any(directory.iterdir()):
            raise DatabaseError(f"{directory} already holds something", hint="give an empty or a new folder.")
        directory.parent.mkdir(parents=True, exist_ok=True)
        with making(directory.parent) as folder:
            with _reading(reader):
                _extract(reader, schema, folder, listener)
            _put(folder, directory)
    return open_snapshot(directory)


def load_or_build(
    reader: Reader,
    schema: Schema,
    *,
    cache: Path | None = None,
    listener: Listener | None = None,
    refresh: bool = False,
) -> Snapshot:
    """The snapshot of this database as it is now: from the cache, else extracted into it.

    ``cache`` defaults to ``$RDL_CACHE``, ``$XDG_CACHE_HOME/rdl`` or ``~/.cache/rdl``. A snapshot is found again by
    the database's URL and fingerprint and by the tables, columns, keys and times of the schema; one that is damaged is
    built again, and the ones not opened for longest are deleted once there are many.

    ``refresh`` takes only the rows newer than the newest of the last snapshot, from every table that has a time of its
    own and, by its number of rows, was only appended to; the listener is told of those that are read whole. A row that
    was changed in place and is older stays as it was then, so only a ``refresh`` finds such a snapshot again. Raises as
    :func:`build`.
    """
    folder = (cache or default_cache()) / "snapshots"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with making(folder) as filling:
            with _reading(reader):
                source = _digest(FORMAT, reader.url, _extracted(schema).fingerprint())
                whole = folder / f"{source}-{_digest(reader.fingerprint())}"
                appended = whole.with_name(f"{whole.name}-appended")
                for directory in (whole, appended) if refresh else (whole,):
                    if (found := _reopened(directory, schema)) is not None:
                        if refresh and listener:
                            listener.note("nothing has changed since the last time")
                        return found
                older = _newest(folder, source) if refresh else None
                directory = appended if _extract(reader, schema, filling, listener, older) else whole
            _put(filling, directory)
        prune(folder, directory)
    return open_snapshot(directory, schema)


def _reopened(directory: Path, schema: Schema) -> Snapshot | None:
    """The snapshot in ``directory``, marked as used now; a damaged one is deleted."""
    if not directory.exists():
        return None
    try:
        snapshot = open_snapshot(directory, schema)
    except DatabaseError:
        discard(directory)
        return None
    with contextlib.suppress(OSError):
        os.utime(directory)
    return snapshot


def _newest(folder: Path, source: str) -> Snapshot | None:
    """The snapshot of ``source`` that was made last."""
    made = [entry / "snapshot.json" for entry in folder.glob(f"{source}-*")]
    for facts in sorted(made, key=lambda path: path.stat().st_mtime if path.exists() else 0, reverse=True):
        with contextlib.suppress(DatabaseError):
            return open_snapshot(facts.parent)
    return None


@contextlib.contextmanager
def _reading(reader: Reader) -> Iterator[None]:
    with explained(f"{reader.url}: cannot be read"), reader.consistent():
        yield


def _extract(
    reader: Reader, schema: Schema, folder: Path, listener: Listener | None, older: Older | None = None
) -> bool:
    """Extracts into ``folder``, tells how much there was and what was not in order, and returns whether rows of
    ``older`` were kept."""
    started = wall.perf_counter()
    extraction = Extraction(reader, schema, folder, listener, older)
    with writing(folder.parent):
        report = extraction.run()
    if listener:
        seconds, rows = wall.perf_counter() - started, sum(report.rows.values())
        rate = f"{rows:,} rows in {seconds:.1f} s, {rows / max(seconds, 1e-3):,.0f} rows/s"
        listener.note("; ".join(["extracted " + rate, *([str(report)] if str(report) else [])]))
    return extraction.appended


def _put(folder: Path, directory: Path) -> None:
    try:
        folder.rename(directory)
    except OSError:  # another process was first, or the disk refuses: the former can be opened
        if not (directory / "snapshot.json").exists():
            raise


def _extracted(schema: Schema) -> Schema:
    """``schema`` less what does not matter to an extraction: what its columns mean."""
    tables = {
        name: replace(
            table,
            columns=tuple(replace(c, stype=Stype.unsupported, nullable=True, known_at=None) for c in table.columns),
            valid_until=None,
        )
        for name, table in schema.tables.items()
    }
    return Schema(tables, schema.relations)


def _digest(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
