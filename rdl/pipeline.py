"""The Python face of rdl: connect to a database, ask a question, fit a model, predict.

>>> import rdl, tempfile, pathlib
>>> from rdl.shop import build_shop
>>> shop = pathlib.Path(tempfile.mkdtemp()) / "shop.duckdb"
>>> build_shop(shop, scale=0.05)
>>> db = rdl.connect(f"duckdb:///{shop}")
>>> db.schema.tables["orders"].time.column
'created_at'
>>> task = db.task("PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id")
>>> task.kind.value
'binary'
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rdl import infer, labels, schema_file
from rdl.config import TrainConfig
from rdl.database import open_reader
from rdl.database.converted import ConvertedReader, formats_of, with_formats
from rdl.database.reader import IfExists, Reader
from rdl.display import Watcher, watcher
from rdl.folders import NewFolder
from rdl.inspection import Inspection, inspect
from rdl.query import Split, Task, TaskTable
from rdl.query.named import read_named
from rdl.schema import Schema
from rdl.snapshot import Snapshot, load_or_build

if TYPE_CHECKING:  # what trains a model is imported where one is trained: looking at a database needs no torch
    import pandas as pd

    from rdl.audit import Audit
    from rdl.embedders import Embedder
    from rdl.graph import TemporalGraph
    from rdl.loader import HeteroLoader
    from rdl.plan import Plan
    from rdl.relbench_export import Exported
    from rdl.run import Run
    from rdl.scoring import Figures
    from rdl.tuning import Tuned


def connect(
    url: str | os.PathLike[str],
    *,
    schema: str | os.PathLike[str] | None = None,
    tables: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    views: Sequence[str] = (),
    refresh: bool = False,
) -> Database:
    """The database at ``url``, reflected, with what it does not declare proposed and applied (``db.proposals``).

    ``schema`` is a TOML file merged over that (default: ``schemas/<database>.toml`` here, where there is one); where it
    says ``infer = false`` it is merged over what the database declares, and nothing is proposed.
    ``tables`` and ``exclude`` pick tables; ``views`` are read beside them. With ``refresh``, only rows newer than the
    last snapshot's are taken where that can be told to be all (:func:`rdl.snapshot.load_or_build`). Raises
    DatabaseError and SchemaError.
    """
    return Database(open_reader(url, tables=tables, exclude=exclude, views=views), schema, refresh=refresh)


class Database:
    """A connected database: its schema, and the questions that can be asked of it."""

    def __init__(
        self,
        reader: Reader,
        schema: str | os.PathLike[str] | None = None,
        *,
        saved: Schema | None = None,
        refresh: bool = False,
    ) -> None:
        """``saved`` is the schema of a run, taken as it is; nothing is inferred then. What either schema says of how
        times are stored is how they are read, before anything is inferred."""
        self.reader, self.url, self._refresh = reader, reader.url, refresh
        self.schema_file: Path | None = None
        self.proposals: list[infer.Proposal] = []
        if saved is not None:
            self.declared = self.schema = saved
            self._convert(formats_of(saved))
            return
        self.declared = reader.reflect()
        default = Path("schemas") / f"{reader.name}.toml"
        self.schema_file = Path(schema) if schema else default if default.is_file() else None
        formats = schema_file.read_formats(self.schema_file, self.declared) if self.schema_file else {}
        self._convert(formats)
        read = with_formats(self.declared, formats)
        if not self.schema_file or schema_file.infers(self.schema_file):
            self.proposals = infer.propose(self.reader, read)
        self.schema = infer.apply(read, self.proposals)
        if self.schema_file:
            self.schema = schema_file.read(self.schema_file, self.schema)

    def _convert(self, formats: Mapping[tuple[str, str], str]) -> None:
        """Reads the columns of ``formats`` as times from here on."""
        if formats:
            self.reader = ConvertedReader(self.reader, formats)

    def _repr_html_(self) -> str:
        return self.inspect()._repr_html_()

    def __repr__(self) -> str:
        return f"Database({self.url!r}: {len(self.schema.tables)} tables, {len(self.schema.relations)} relations)"

    @cached_property
    def snapshot(self) -> Snapshot:
        """The tables, extracted once and kept in rdl's cache until the data or the schema change."""
        return self.extract()

    def extract(self, watch: Watcher | None = None) -> Snapshot:
        """The snapshot, with progress told to ``watch``."""
        if "snapshot" not in self.__dict__:
            self.__dict__["snapshot"] = load_or_build(self.reader, self.schema, listener=watch, refresh=self._refresh)
        return self.snapshot

    def graph(self) -> TemporalGraph:
        """Rows as nodes, foreign keys as edges, ordered by time."""
        from rdl.graph import TemporalGraph

        return TemporalGraph.build(self.snapshot)

    def inspect(self) -> Inspection:
        """Tables, keys, relations, times and types: what is declared, what was inferred, and what looks wrong."""
        return inspect(self.reader, self.declared, self.proposals, self.schema, self.snapshot.report, self.snapshot)

    def task(self, query: str | os.PathLike[str], *, parameters: Mapping[str, object] | None = None) -> BoundTask:
        """The question ``query``: its text, the path of a ``.pql`` file, a RelBench task folder, or, on a RelBench
        database, the name of one of its tasks. Raises QueryError."""
        return BoundTask(self, self._read(query, parameters), parameters)

    def to_relbench(
        self, folder: str | os.PathLike[str], tasks: Mapping[str, Any] | Sequence[Any] = (), *, val: object = None,
        test: object = None,
    ) -> Exported:  # fmt: skip
        """Writes the database as the RelBench data set ``folder``, with ``tasks`` whose labels RelBench makes itself:
        :mod:`rdl.relbench_export` says how. They are whatever :meth:`task` takes or gives, by name or as a list. Raises
        ConfigError and QueryError."""
        from rdl.relbench_export import export, named

        asked = {k: (t if isinstance(t, BoundTask) else self.task(t)).definition for k, t in named(tasks).items()}
        return export(self.snapshot, asked, Path(folder), val=val, test=test)

    def _read(self, query: str | os.PathLike[str], parameters: Mapping[str, object] | None) -> Task:
        known: Mapping[str, Path] = getattr(self.reader, "tasks", {})
        cuts = getattr(self.reader, "val_cut_us", None), getattr(self.reader, "test_cut_us", None)
        return read_named(query, self.schema, tasks=known, cuts=cuts, url=self.url, parameters=parameters)

    def write(self, table: str, rows: pa.Table, *, if_exists: IfExists = "fail", entity: str | None = None) -> int:
        """Writes ``rows`` into ``table`` in one transaction and returns their number.

        Columns named as the key of the table ``entity`` get the types they have there. Raises DatabaseError.
        """
        key = self.schema[entity].primary_key if entity is not None else ()
        like = {column: (str(entity), column) for column in key if column in rows.column_names}
        return self.reader.write(table, rows, if_exists=if_exists, like=like)


class BoundTask:
    """A question on a database."""

    def __init__(self, db: Database, task: Task, parameters: Mapping[str, object] | None = None) -> None:
        self.db, self.definition, self.kind = db, task, task.kind
        self.parameters = dict(parameters or {})

    def __repr__(self) -> str:
        return f"BoundTask({self.kind}, for each {self.definition.entity})\n{self.definition.source.strip()}"

    def plan(self) -> Plan:
        """What the question means on this database, without training: windows, rows, balance, warnings."""
        from rdl.plan import plan

        return plan(self.definition, self.db.snapshot, self.db.proposals)

    def audit(self) -> Audit:
        """What may leak in the question on this database, with the evidence and what to write about it."""
        from rdl.audit import audit

        return audit(self.definition, self.db.snapshot, self.db.proposals, self.db.schema_file)

    @cached_property
    def labels(self) -> TaskTable:
        """Every seed with its label and split. Raises QueryError where there is nothing to learn."""
        return labels.build(self.definition, self.db.snapshot)

    def table(self, split: Split | str) -> pd.DataFrame:
        """The seeds of one split: the entity's own key, ``time`` and ``label`` (:func:`rdl.labels.values`)."""
        part = self.labels.of(split)
        label = labels.values(self.definition, part, self.db.snapshot)
        frame: pd.DataFrame = labels.keyed(
            self.definition, self.db.snapshot, part.entity, part.time, {"label": label}
        ).to_pandas()
        return frame

    def baselines(self, **settings: Any) -> dict[str, Figures]:
        """The baselines' metrics by name and split; ``settings`` as in :meth:`fit`."""
        from rdl.scoring import baseline_figures

        labels.refuse_untrained(self.definition)
        config = TrainConfig.of(settings)
        return baseline_figures(self.definition, self.db.snapshot, self.labels, config)

    def loaders(self, **options: Any) -> dict[str, HeteroLoader]:
        """Batches of each split as PyG's ``HeteroData``, for a model of one's own (:func:`rdl.loader.loaders`). Raises
        ConfigError."""
        from rdl.loader import loaders

        return loaders(self.definition, self.db.snapshot, self.labels, **options)

    def fit(
        self,
        *,
        out: str | os.PathLike[str] | None = None,
        resume: bool = False,
        baselines: bool = True,
        importance: bool = True,
        watch: Watcher | None = None,
        text_embedder: object = "hashing",
        **settings: Any,
    ) -> FittedRun:
        """A trained model with its figures and the baselines' beside them; saved as the folder ``out`` if given, with a
        report. For that is measured, within 15 seconds, what the model reads, unless ``importance`` is false.

        ``text_embedder`` turns texts into vectors: a name, a model of sentence-transformers or model2vec, or a function
        of a list of texts (:func:`rdl.embedders.embedder`). ``settings`` are those of :class:`rdl.config.TrainConfig`.
        ``resume`` goes on where an interrupted run that was to be saved as ``out`` stopped. Raises ConfigError where
        ``out`` exists.
        """
        from rdl.report import verdict
        from rdl.run import Run

        started = time.perf_counter()
        by, config = self._config(text_embedder, settings)
        folder = NewFolder(Path(out)) if out else None
        partial = folder.path.with_name(f".{folder.path.name}.partial") if folder else None
        with watcher() if watch is None else watch as watching:
            snapshot = self.db.extract(watching)
            watching.stage("labels")
            extracted = time.perf_counter()
            run = Run.new(self.definition, snapshot, self.labels, config, by)
            run.seconds |= {"snapshot": extracted - started, "labels": time.perf_counter() - extracted}
            watching.stage(f"training, regime {config.regime}")
            run.train(partial=partial, resume=resume, listen=watching.step)
            watching.stage("evaluation and baselines" if baselines else "evaluation")
            run.score(baselines=baselines)
            if watch is None and (said := verdict(self.kind, run.metrics, run.baselines)).startswith("Warning"):
                watching.note(said)  # whoever watches by himself, as the command line, says it himself
            if importance and folder is not None:
                watching.stage("what the model reads")
                run.explain()
        run.seconds["total"] = time.perf_counter() - started
        fitted = FittedRun(self, run, Path(out) if out else None)
        if folder is not None:
            with folder as filling:
                fitted.write(filling)
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        return fitted

    def tune(
        self,
        *,
        out: str | os.PathLike[str],
        trials: int | None = None,
        time_budget_min: float | None = None,
        resume: bool = False,
        watch: Watcher | None = None,
        text_embedder: object = "hashing",
        **settings: Any,
    ) -> FittedRun:
        """The best model on validation of so many ``trials``, or of those that fit into the time (:mod:`rdl.tuning`;
        reading, evaluation and baselines come on top), saved as the folder ``out`` with ``trials.csv`` and
        ``tuning.html``. ``settings`` are those of :meth:`fit`; those given are not searched over. ``resume`` goes on
        where a search that was to end in ``out`` was interrupted. Raises ConfigError."""
        from rdl.run import Run
        from rdl.tuning import Tuning
        from rdl.tuning_page import write_tuning

        started = time.perf_counter()
        by, config = self._config(text_embedder, settings)
        folder = NewFolder(Path(out))
        state = folder.path.with_name(f".{folder.path.name}.tuning")
        search = Tuning(state, trials, time_budget_min, frozenset(settings))
        with watcher() if watch is None else watch as watching:
            start = Run.new(self.definition, self.db.extract(watching), self.labels, config, by)
            tuned = search.run(start, resume=resume, listen=watching.step)
            watching.stage("evaluation and baselines")
            tuned.run.score()
            tuned.run.explain()
        tuned.run.seconds["total"] = time.perf_counter() - started
        fitted = FittedRun(self, tuned.run, Path(out))
        fitted.tuned = tuned
        with folder as filling:
            fitted.write(filling)
            write_tuning(tuned, filling, self.definition, self.db.url)
        shutil.rmtree(state, ignore_errors=True)
        return fitted

    def _config(self, text_embedder: object, settings: Mapping[str, Any]) -> tuple[Embedder, TrainConfig]:
        """The text embedder and the settings, once it is known that a model can be trained with them."""
        from rdl.embedders import embedder
        from rdl.processes import check_devices

        labels.refuse_untrained(self.definition)
        by = embedder(text_embedder)
        config = TrainConfig.of({**settings, "text_embedder": by.name})
        check_devices(config)
        return by, config


class FittedRun:
    """A trained model on its database."""

    def __init__(self, task: BoundTask, run: Run, path: Path | None = None, *, data_changed: bool = False) -> None:
        """``data_changed``: the data are not those the run was trained on, so its figures may differ. ``tuned`` is the
        search that a run comes from, where it was just made."""
        self.task, self.run, self.path, self.data_changed = task, run, path, data_changed
        self.tuned: Tuned | None = None
        self.metrics, self.baselines, self.blend, self.seconds = run.metrics, run.baselines, run.blend, run.seconds

    def __repr__(self) -> str:
        return f"FittedRun({self.task.kind}, {self.run.config.regime}, {self.metrics})"

    def evaluate(self, split: Split | str = Split.test) -> dict[str, float]:
        """The metrics of one split, computed anew."""
        return self.run.evaluate(split)

    def predict(
        self,
        *,
        split: Split | str | None = None,
        at: object = None,
        entities: Sequence[object] | pa.Table | None = None,
    ) -> pd.DataFrame:
        """Predictions: the entity's key columns, ``time``, and what :func:`rdl.predict.tabulate` says of each kind.

        Either for the seeds of ``split``, or for the eligible entities ``at`` a time (default: the newest in the
        data), all of them or those whose keys are given. A row-level question is asked of each row at its own time: of
        those known by then whose label is unknown, or of all of them where none is. Raises ConfigError for a key that
        is not there.
        """
        frame: pd.DataFrame = self.predict_arrow(split=split, at=at, entities=entities).to_pandas()
        return frame

    def predict_arrow(
        self,
        *,
        split: Split | str | None = None,
        at: object = None,
        entities: Sequence[object] | pa.Table | None = None,
    ) -> pa.Table:
        """As :meth:`predict`, as an Arrow table."""
        from rdl.predictions import predictions

        return predictions(self.run, split=split, at=at, entities=entities)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Saves the run as the new folder ``path``. Raises ConfigError where it exists or cannot be written."""
        with NewFolder(Path(path)) as filling:
            self.write(filling)
        self.path = Path(path)

    def write(self, folder: Path) -> None:
        """Writes the run's files and its report into the existing ``folder``."""
        from rdl.report import write_report
        from rdl.saving import save

        db = self.task.db
        source = {"url": db.url, "data": db.reader.fingerprint(), "parameters": self.task.parameters}
        save(self.run, folder, source=source)
        write_report(self.run, folder / "report.html", url=db.url)
