"""RelBench data sets: a folder of manifest.yaml and db/<table>.parquet, on disk or on the RelBench hub."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from rdl.clock import to_us
from rdl.database.failures import explained, reason_of
from rdl.database.files import write_into
from rdl.database.folder import FolderReader, Source, fingerprint_files
from rdl.database.reader import IfExists
from rdl.database.scan import Scan, columns_of, counts_nanos, exact_keys
from rdl.database.selection import fitting
from rdl.database.url import DatabaseUrl
from rdl.errors import ConfigError, DatabaseError, did_you_mean
from rdl.schema import Column, Dtype, Relation, Schema, Table, TimePath

MANIFEST = "manifest.yaml"


class RelbenchReader(FolderReader):
    """A RelBench data set: keys, time columns and relations are those its manifest declares.

    ``val_cut_us`` and ``test_cut_us`` are its validation and test times in µs UTC, ``tasks`` the folders of its tasks
    by name. Predictions are written into the sub-folder ``predictions``.
    """

    val_cut_us: int
    test_cut_us: int
    tasks: dict[str, Path]

    def __init__(
        self,
        url: DatabaseUrl,
        *,
        tables: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        views: Sequence[str] = (),
    ) -> None:
        folder = url.path or _download(url)
        super().__init__(replace(url, path=folder), tables=tables, exclude=exclude, views=views)
        manifest = load_manifest(folder / MANIFEST)
        self.name = str(manifest.get("name") or self.name)
        self._specs = _check_tables(manifest, folder)
        self.val_cut_us, self.test_cut_us = (_cut(manifest, key, folder) for key in ("val_timestamp", "test_timestamp"))
        if self.val_cut_us > self.test_cut_us:
            raise DatabaseError(f"{str(folder / MANIFEST)!r}: val_timestamp is later than test_timestamp")
        self.tasks = {found.parent.name: found.parent for found in sorted(folder.glob(f"tasks/*/{MANIFEST}"))}

    def reflect(self) -> Schema:
        """As :meth:`rdl.database.reader.Reader.reflect` says."""
        tables, warnings = self._reflect_tables()
        relations = [
            Relation(child, (column,), parent, (self._specs[parent]["pkey"],))
            for child, spec in self._specs.items()
            for column, parent in spec["fkeys"].items()
        ]
        schema = Schema(tables, fitting(relations, tables, self._specs, warnings))
        self.warnings = warnings
        return schema

    def _state(self) -> str:
        """The manifest counts as well."""
        with explained(f"{self.url}: cannot be looked at"):
            files = [file for source in self._sources() for file in source.files]
            return fingerprint_files(self.path, [self.path / MANIFEST, *files])

    def write(
        self,
        table: str,
        rows: pa.Table,
        *,
        if_exists: IfExists = "fail",
        like: Mapping[str, tuple[str, str]] | None = None,
    ) -> int:
        """As :meth:`rdl.database.reader.Reader.write` says; the table is ``predictions/<table>.parquet``."""
        folder = self.path / "predictions"
        rows = self._as_declared(table, rows, like or {})
        with explained(f"{self.url}: cannot make {str(folder)!r}"):
            folder.mkdir(exist_ok=True)
        return write_into(folder, table, rows, if_exists, lambda _: False)

    def _sources(self) -> list[Source]:
        return [Source(name, (self.path / "db" / f"{name}.parquet",)) for name in self._specs]

    def _find_scans(self) -> dict[str, Scan]:
        return self._typed(super()._find_scans())

    def _finely_compared(self, scans: Mapping[str, Scan]) -> set[tuple[str, str]]:
        """The keys that are, or refer to, or are referred to by times in nanoseconds; none where one is a time column
        too."""
        found: set[tuple[str, str]] = set()
        for parent in scans:
            keys = [(child, c) for child in scans for c, to in self._specs[child]["fkeys"].items() if to == parent]
            keys += [(parent, self._specs[parent]["pkey"])] if keys else []
            fine = any(counts_nanos(scans[table].types[column]) for table, column in keys)
            if fine and not any(self._specs[table]["time_col"] == column for table, column in keys):
                found.update(keys)
        return found

    def _typed(self, scans: dict[str, Scan]) -> dict[str, Scan]:
        """``scans`` with text in time columns read as times, keys that pandas made floats read as integers, and those
        that no number or time here holds exactly read as text."""
        for name, scan in scans.items():
            _check_columns(self.path, name, self._specs[name], scan)
        typed, fine = {}, self._finely_compared(scans)
        for name, scan in scans.items():
            spec = self._specs[name]
            keys = [column for column in (*spec["fkeys"], spec["pkey"]) if column]
            wanted = {column: Dtype.integer for column in keys if scan.types[column] in ("DOUBLE", "FLOAT")}
            wanted |= exact_keys(scan.types, keys, ())
            wanted |= {column: Dtype.text for column in keys if (name, column) in fine}
            if spec["time_col"] and scan.dtype(spec["time_col"]) is Dtype.text:
                wanted[spec["time_col"]] = Dtype.timestamp
            typed[name] = replace(scan, wanted=wanted)
        return typed

    def _table(self, name: str, scan: Scan) -> Table:
        spec = self._specs[name]
        primary_key = (spec["pkey"],) if spec["pkey"] else ()
        time = TimePath(spec["time_col"]) if spec["time_col"] else None
        columns: tuple[Column, ...] = columns_of(scan, keys={*spec["fkeys"], *primary_key}, required=set(primary_key))
        return Table(name, columns, primary_key, time)


def load_manifest(path: Path) -> dict[str, Any]:
    """The mapping in a manifest. Raises DatabaseError where the file is not there or holds none."""
    if not path.is_file():
        raise DatabaseError(f"{str(path.parent)!r} is no RelBench data set: there is no {path.name} in it")
    with explained(f"{str(path)!r} is not valid YAML"):
        manifest = yaml.safe_load(path.read_text("utf-8"))
    if not isinstance(manifest, dict):
        raise DatabaseError(f"{str(path)!r} does not hold a mapping")
    return manifest


def _download(url: DatabaseUrl) -> Path:
    """The local folder of a data set of the RelBench hub, fetched if need be."""
    spec = url.location.strip("/")
    if not spec or url.location.startswith(("/", ".", "~")) or (os.sep != "/" and os.sep in spec):
        raise DatabaseError(f"there is no folder {url.location!r}", hint="write relbench:path/to/folder.")
    try:
        from relbench.hf import download_dataset_dir
    except ImportError:
        raise DatabaseError(
            f"there is no folder {spec!r}, and the RelBench hub needs a package", hint="pip install relbench"
        ) from None
    problem = "the hub has no such data set"
    try:
        folder = Path(download_dataset_dir(spec))
    except Exception as error:  # whatever the network or the hub's client raises
        problem, folder = reason_of(error), Path()
    if not (folder / MANIFEST).is_file() or folder == Path():
        raise DatabaseError(
            f"there is no folder {spec!r}, and it cannot be had from the RelBench hub: {problem}",
            hint="check the name and the network, or give the path of a folder.",
        )
    return folder


def _cut(manifest: dict[str, Any], key: str, folder: Path) -> int:
    where = f"{str(folder / MANIFEST)!r}: {key}"
    if manifest.get(key) is None:
        raise DatabaseError(f"{where} is missing", hint="write it as 2010-01-01.")
    try:
        return to_us(manifest[key])
    except ConfigError as error:
        raise DatabaseError(f"{where}: {error.message}", hint=error.hint) from None


def _check_tables(manifest: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """The tables of a manifest as ``{"pkey": …, "time_col": …, "fkeys": {column: table}}``."""
    where = repr(str(folder / MANIFEST))
    tables = manifest.get("tables")
    if not isinstance(tables, dict) or not tables:
        raise DatabaseError(f"{where} declares no tables")
    specs: dict[str, dict[str, Any]] = {}
    for name, spec in tables.items():
        fkeys = spec.get("fkeys") or {} if isinstance(spec, dict) else None
        if not isinstance(fkeys, dict):
            raise DatabaseError(f"{where}: table {name!r} needs the entries pkey, time_col and fkeys")
        specs[str(name)] = {"pkey": spec.get("pkey"), "time_col": spec.get("time_col"), "fkeys": fkeys}
    for name, spec in specs.items():
        for column, parent in spec["fkeys"].items():
            if parent not in specs:
                raise DatabaseError(
                    f"{where}: {name}.{column} refers to table {parent!r}", hint=did_you_mean(str(parent), specs)
                )
            if not specs[parent]["pkey"]:
                raise DatabaseError(f"{where}: {name}.{column} refers to {parent!r}, which has no pkey")
        if not (folder / "db" / f"{name}.parquet").is_file():
            raise DatabaseError(f"{where} declares table {name!r}, but there is no file db/{name}.parquet")
    return specs


def _check_columns(folder: Path, name: str, spec: dict[str, Any], scan: Scan) -> None:
    """Raises DatabaseError where a key or time is no column of the file, or a time is no time."""
    where = repr(str(folder / MANIFEST))
    for role, column in [
        ("pkey", spec["pkey"]),
        ("time_col", spec["time_col"]),
        *(("fkeys", c) for c in spec["fkeys"]),
    ]:
        if column is not None and column not in scan.types:
            raise DatabaseError(
                f"{where}: {role} of table {name!r}: the file has no column {column!r}",
                hint=did_you_mean(str(column), scan.types),
            )
    time = spec["time_col"]
    if time and scan.dtype(time) not in (Dtype.date, Dtype.timestamp, Dtype.text):
        raise DatabaseError(
            f"{where}: time_col {name}.{time} holds {scan.types[time]}, which is not a time and has no unit",
            hint="store it as a timestamp.",
        )
