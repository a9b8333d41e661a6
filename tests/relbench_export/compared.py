"""What RelBench makes of a folder, against rdl's snapshot and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import relbench

from rdl import labels
from rdl.clock import NEVER, to_us
from rdl.query import Kind, Split, Task
from rdl.snapshot import Snapshot


def plain(label: Any) -> Any:
    """A label in a form that can be compared: lists as sets, truth values as numbers."""
    if isinstance(label, list | np.ndarray):
        return frozenset(label)
    return label if isinstance(label, str) else pytest.approx(float(label), rel=1e-12)


def keys_of(folder: Path, table: str) -> list[tuple[Any, ...]]:
    """The primary keys that the rows of the folder's ``table`` had, by number."""
    file = folder / "keys" / f"{table}.parquet"
    if not file.exists():
        return [(row,) for row in range(pq.read_metadata(folder / "db" / f"{table}.parquet").num_rows)]
    found = pq.read_table(file)
    assert found.column(0).to_pylist() == list(range(len(found)))
    return list(zip(*(column.to_pylist() for column in found.columns[1:]), strict=True))


def check_labels(folder: Path, name: str, task: Task, snapshot: Snapshot, *, files: bool = False) -> None:
    """RelBench, the ``files`` beside the manifest too, and rdl give the same labels for the same keys and times."""
    table = labels.build(task, snapshot)
    keys = keys_of(folder, task.entity)
    for regenerate in (True, False) if files else (True,):
        other: Any = relbench.load_dataset(folder).load_task(name, regenerate=regenerate)
        ranked = task.kind is Kind.recommendation
        db = other.get_db(upto_test_timestamp=False) if regenerate else None
        for split in Split:
            frame = other.get_table(split.value, mask_input_cols=False, db=db).df
            entity, target = (
                (other.src_entity_col, other.dst_entity_col) if ranked else (other.entity_col, other.target_col)
            )
            part = table.of(split)
            shown = labels.values(task, part, snapshot).to_pylist()
            own = zip(*(column.to_pylist() for column in snapshot.keys(task.entity, part.entity).columns), strict=True)
            if not snapshot.schema[task.entity].primary_key:
                own = zip(part.entity.tolist(), strict=True)
            expected = {
                (key, pd.Timestamp(time, unit="us")): label
                for key, time, label in zip(own, part.time, shown, strict=True)
                if not ranked or label
            }
            theirs = frame[target].tolist()
            if ranked:
                items = keys_of(folder, str(task.candidates))
                theirs = [[items[item][0] for item in listed] for listed in theirs]
            found = {
                (keys[row], pd.Timestamp(time)): label
                for row, time, label in zip(frame[entity], frame[other.time_col], theirs, strict=True)
            }
            assert len(found) == len(frame)
            assert found.keys() == expected.keys()
            for seed, label in expected.items():
                assert plain(label) == plain(found[seed]) or found[seed] == plain(label), (split, seed)


def check_tables(folder: Path, snapshot: Snapshot) -> None:
    """RelBench loads every table: its rows, keys, times and parents are the snapshot's."""
    data = relbench.load_dataset(folder)
    upto, whole = data.get_db(), data.get_db(upto_test_timestamp=False)
    test = to_us(data.test_timestamp.to_pydatetime())
    assert len(whole.table_dict) == len(snapshot.schema.tables)
    names = {name: next(t for t in whole.table_dict if t.rstrip("_") == name) for name in snapshot.schema.tables}
    for name, table in snapshot.schema.tables.items():
        found, time = whole.table_dict[names[name]], snapshot.time(name)
        rows = snapshot.num_rows[name]
        assert len(found) == rows
        assert found.df[found.pkey_col].tolist() == list(range(rows))
        assert (found.time_col is None) == (table.time is None)
        known = rows
        if found.time_col is not None:
            theirs = pa.Array.from_pandas(found.df[found.time_col]).cast(pa.timestamp("us")).cast(pa.int64())
            assert theirs.fill_null(NEVER).to_pylist() == time.tolist()
            known = int((time <= test).sum())
        assert len(upto.table_dict[names[name]]) == known
        relations = snapshot.schema.relations_from(name)
        fkeys = list(found.fkey_col_to_pkey_table.items())
        assert [parent for _, parent in fkeys] == [names[relation.parent] for relation in relations]
        for relation, (column, _) in zip(relations, fkeys, strict=True):
            assert found.df[column].fillna(-1).astype(int).tolist() == snapshot.parent(relation).tolist()
