"""RelBench's own labels of a folder, against rdl's: a folder is handed over only where they are the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rdl import labels
from rdl.errors import QueryError
from rdl.keys import session
from rdl.query.task import SPLITS, Kind, TaskTable
from rdl.relbench_export.splits import Asked
from rdl.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

#: How far sums may differ by the order in which floats are added.
_CLOSE = 1e-9


def prove(folder: Path, asked: Asked, snapshot: Snapshot) -> dict[str, int]:
    """Lets RelBench make the labels of a task of the data set in ``folder``, writes them beside the task's manifest as
    RelBench keeps them, and returns their number by split.

    Raises QueryError where RelBench refuses the task, and where a label is not rdl's.
    """
    import relbench

    try:
        task: Any = relbench.load_dataset(folder).load_task(asked.name, regenerate=True)
        db = task.get_db(upto_test_timestamp=False)
        frames = {split.value: task.get_table(split.value, mask_input_cols=False, db=db).df for split in SPLITS}
    except Exception as error:  # RelBench raises whatever pandas, DuckDB and its own checks do
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise _refuse(asked, f"RelBench cannot make its labels: {reason}", "try another window, or SPLIT AT.") from None
    entity = task.src_entity_col if asked.task.kind is Kind.recommendation else task.entity_col
    target = task.dst_entity_col if asked.task.kind is Kind.recommendation else task.target_col
    for name, frame in frames.items():
        other = _differing(_ours(asked, asked.table.of(name), snapshot), _theirs(frame, entity, task.time_col, target))
        if other:
            raise _refuse(
                asked, f"RelBench would give {other:,} other labels among the {len(frame):,} rows of {name}",
                "until test, RelBench knows no row that comes after its beginning: a label may not read later ones.",
            )  # fmt: skip
        frame.to_parquet(folder / "tasks" / asked.name / f"{name}.parquet", index=False)
    return {name: len(frame) for name, frame in frames.items()}


def _ours(asked: Asked, part: TaskTable, snapshot: Snapshot) -> pa.Table:
    """rdl's labels, of row numbers; without the empty lists of a ranking, which RelBench leaves out."""
    if asked.task.kind is Kind.recommendation and part.indptr is not None:
        part = part.take(np.flatnonzero(np.diff(part.indptr)))
        label = pa.LargeListArray.from_arrays(pa.array(part.indptr), pa.array(part.target))
    else:
        label = labels.values(asked.task, part, snapshot)
    return pa.table({"entity": part.entity, "time": pa.array(part.time).cast(pa.timestamp("us")), "label": label})


def _theirs(frame: pd.DataFrame, entity: str, time: str, target: str) -> pa.Table:
    moment = pa.Array.from_pandas(frame[time]).cast(pa.timestamp("us"))
    whole = pa.Array.from_pandas(frame[entity]).cast(pa.int64())
    return pa.table({"entity": whole, "time": moment, "label": pa.Array.from_pandas(frame[target])})


def _differing(ours: pa.Table, theirs: pa.Table) -> int:
    """How many labels stand in one table alone, or are not the same in both."""
    if not (ours.num_rows and theirs.num_rows):
        return int(max(ours.num_rows, theirs.num_rows))
    kind = ours.schema.field("label").type
    one, other = "ours.label", "theirs.label"
    if pa.types.is_floating(kind):
        other = f"CAST({other} AS DOUBLE)"  # a class may be a truth value
        same = f"abs({one} - {other}) <= {_CLOSE} * greatest(1, abs({one}))"
    elif pa.types.is_large_list(kind):
        same = f"list_sort({one}) = list_sort({other})"
    else:
        same = f"{one} = {other}"
    with session() as connection:
        connection.register("ours", ours)
        connection.register("theirs", theirs)
        pairs = "ours JOIN theirs ON ours.entity = theirs.entity AND ours.time = theirs.time"
        ((matched,),) = connection.execute(f"SELECT count(*) FROM {pairs} AND {same}").fetchall()
    return int(max(ours.num_rows, theirs.num_rows) - matched)


def _refuse(asked: Asked, message: str, hint: str) -> QueryError:
    return QueryError(f"task {asked.name!r}: {message}", kind="relbench", hint=hint)
