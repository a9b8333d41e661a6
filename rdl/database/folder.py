"""A folder of Parquet and CSV files, each a table; read through DuckDB."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from rdl.database.csv_types import csv_dtypes, csv_explained, csv_sql
from rdl.database.failures import explained
from rdl.database.files import SUFFIXES, cast_column, registry_of, write_into
from rdl.database.fingerprint import unchanged
from rdl.database.reader import IfExists
from rdl.database.registry import check_since, known_columns, note_repairs
from rdl.database.scan import Scan, columns_of, describe, literal, prepare, stream
from rdl.database.selection import pick, without_unknown
from rdl.database.url import DatabaseUrl
from rdl.errors import DatabaseError, did_you_mean
from rdl.schema import Schema, Table


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one table: a single Parquet or CSV file, or the Parquet parts of a sub-folder."""

    name: str
    files: tuple[Path, ...]


class FolderReader:
    """A folder: each .parquet or .csv file is a table named by its stem, each sub-folder of Parquet parts one table.

    Nothing is declared in such a folder, so there are no keys and no relations. The type of a CSV column is the
    narrowest that all its cells have. Predictions are written as Parquet files into the folder.
    """

    def __init__(
        self,
        url: DatabaseUrl,
        *,
        tables: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        views: Sequence[str] = (),
    ) -> None:
        self.path = Path(url.path or url.location)
        self.url, self.name = url.redacted, self.path.resolve().name
        self._repairs: dict[tuple[str, str], int] = {}
        self.repairs: Mapping[tuple[str, str], int] = self._repairs
        self.warnings: Sequence[str] = []
        self.parallel_reads = 4
        self._tables, self._exclude, self._views = tables, tuple(exclude), tuple(views)
        self._scans: dict[str, Scan] = {}
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._connecting = threading.Lock()
        self._held: str | None = None

    def reflect(self) -> Schema:
        """As :meth:`rdl.database.reader.Reader.reflect` says."""
        tables, warnings = self._reflect_tables()
        self.warnings = warnings
        return Schema(tables)

    def _reflect_tables(self) -> tuple[dict[str, Table], list[str]]:
        """The tables picked, and what had to be left out of them; sets what is read of each."""
        tables, scans, warnings = dict[str, Table](), dict[str, Scan](), list[str]()
        for name, scan in self._find_scans().items():
            if table := without_unknown(self._table(name, scan), scan.types, warnings):
                tables[name], scans[name] = table, scan.only(column.name for column in table.columns)
        self._scans = scans
        return tables, warnings

    def count(self, table: str) -> int:
        """The number of rows of ``table``."""
        scan = self._scan(table)
        with explained(f"{self.url}: cannot count table {table!r}"), self._connect() as connection:
            found = connection.execute(f"SELECT count(*) FROM {scan.sql}").fetchall()
        return int(found[0][0])

    @contextmanager
    def consistent(self) -> Iterator[None]:
        """As :meth:`rdl.database.reader.Reader.consistent` says; not one within another. Files have no transactions."""
        if self._held is not None:
            raise DatabaseError(f"{self.url}: a consistent read is under way already")
        with unchanged(self.url, self._state):
            self._held = self._state()
            try:
                yield
            finally:
                self._held = None

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        limit: int | None = None,
        since: tuple[str, int] | None = None,
    ) -> pa.RecordBatchReader:
        """As :meth:`rdl.database.reader.Reader.read` says."""
        scan = self._scan(table)
        chosen = known_columns(table, columns, scan.types)
        check_since(table, since, scan.dtypes())
        doing = f"{self.url}: cannot read table {table!r}"
        lost = note_repairs(self._repairs, table)
        return stream(self._connect(), scan, chosen, limit=limit, since=since, lost=lost, doing=doing)

    def fingerprint(self) -> str:
        """As :meth:`rdl.database.reader.Reader.fingerprint` says: of every file its name, size and times of change."""
        return self._state() if self._held is None else self._held

    def _state(self) -> str:
        with explained(f"{self.url}: cannot be looked at"):
            return fingerprint_files(self.path, (file for source in self._sources() for file in source.files))

    def write(
        self,
        table: str,
        rows: pa.Table,
        *,
        if_exists: IfExists = "fail",
        like: Mapping[str, tuple[str, str]] | None = None,
    ) -> int:
        """As :meth:`rdl.database.reader.Reader.write` says; the table is a Parquet file in the folder."""
        names = {source.name.casefold() for source in self._sources()}
        rows = self._as_declared(table, rows, like or {})
        return write_into(self.path, table, rows, if_exists, lambda name: name.casefold() in names)

    def _as_declared(self, table: str, rows: pa.Table, like: Mapping[str, tuple[str, str]]) -> pa.Table:
        """``rows`` with the columns of ``like`` in the types of the Parquet columns they name; CSV has no types."""
        files = {source.name: source.files[0] for source in self._sources()}
        for column, (name, part) in like.items():
            known_columns(name, [part], self._scan(name).types)
            if files[name].suffix.lower() == ".parquet":
                with explained(f"{self.url}: cannot write table {table!r}: column {column!r}"):
                    rows = cast_column(rows, column, pq.read_schema(files[name]), part)
        return rows

    def close(self) -> None:
        """Lets go of the connection; no file is held open between calls."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _sources(self) -> list[Source]:
        """The tables of the folder that rdl did not write."""
        ours = {name.casefold() for name in registry_of(self.path)}
        with explained(f"{self.url}: cannot be read"):
            found = [source for source in find_sources(self.path) if source.name.casefold() not in ours]
        by_name: dict[str, Source] = {}
        for source in found:
            other = by_name.setdefault(source.name.casefold(), source)
            if other is not source:
                places = " and ".join(repr(str(s.files[0].relative_to(self.path))) for s in (other, source))
                raise DatabaseError(
                    f"{self.url}: table {source.name!r} stands twice: {places}", hint="rename or remove one."
                )
        return found

    def _find_scans(self) -> dict[str, Scan]:
        sources = {source.name: source for source in self._sources()}
        if not sources:
            raise DatabaseError(
                f"{self.url}: there is no .parquet or .csv file in {str(self.path)!r}", hint="give another folder."
            )
        picked = pick(list(sources), self._tables, self._exclude, where=self.url, wanted=self._views)
        with self._connect() as connection:
            return {name: scan_files(connection, sources[name].files, self.path) for name in picked}

    def _table(self, name: str, scan: Scan) -> Table:
        return Table(name, columns_of(scan, keys=set(), required=set()))

    def _connect(self) -> duckdb.DuckDBPyConnection:
        with self._connecting:
            if self._connection is None:
                self._connection = duckdb.connect()
            return prepare(self._connection.cursor())

    def _scan(self, table: str) -> Scan:
        if not self._scans:
            self.reflect()
        if table not in self._scans:
            raise DatabaseError(f"{self.url} has no table {table!r}", hint=did_you_mean(table, self._scans))
        return self._scans[table]


def find_sources(folder: Path) -> list[Source]:
    """The tables of ``folder`` in the order of their names; hidden files and folders are passed over."""
    sources = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_file() and entry.suffix.lower() in SUFFIXES:
            sources.append(Source(entry.stem, (entry,)))
        elif entry.is_dir():
            parts = [part for part in sorted(entry.rglob("*")) if part.suffix.lower() == ".parquet" and part.is_file()]
            parts = [part for part in parts if not any(p.startswith((".", "_")) for p in part.relative_to(entry).parts)]
            if parts:
                name = entry.stem if entry.suffix.lower() in SUFFIXES else entry.name
                sources.append(Source(name, tuple(parts)))
    return sources


def scan_files(connection: duckdb.DuckDBPyConnection, files: Sequence[Path], folder: Path) -> Scan:
    """What DuckDB reads for the table of these files. Raises DatabaseError that names the file."""
    shown = str(files[0] if len(files) == 1 else files[0].parent)
    with explained(f"cannot read {shown!r}"):
        if files[0].suffix.lower() == ".csv":
            sql, names = csv_sql(files[0], _pattern(files[0]))
            with csv_explained(files[0]):
                wanted = csv_dtypes(connection, sql, names)
            return Scan(sql, dict.fromkeys(names, "VARCHAR"), wanted, tested=True)
        patterns = ", ".join(literal(_pattern(file)) for file in files)
        hive = any("=" in part for file in files for part in file.relative_to(folder).parts[:-1])
        options = f"union_by_name = {len(files) > 1}, hive_partitioning = {hive}"
        sql = f"read_parquet([{patterns}], {options})"
        return Scan(sql, describe(connection, sql), {})


def fingerprint_files(folder: Path, files: Iterable[Path]) -> str:
    """Sixteen hex digits of the files' names, sizes and times of change."""
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        state = f"{file.relative_to(folder)}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}\n"
        digest.update(state.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _pattern(file: Path) -> str:
    """The path of ``file`` as DuckDB takes it: its wildcards are no wildcards."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(file.resolve()))
