"""Nothing is fitted on a label that is asked for: statistics, vocabularies and scales end where training ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from rdl import features, labels
from rdl.aggregates import Seeds, window_features
from rdl.audit.inputs import Inputs
from rdl.audit.rebuild import rebuilt
from rdl.baselines import _LightGbm
from rdl.clock import US_PER_DAY
from rdl.config import Regime, TrainConfig
from rdl.loader import loaders
from rdl.query import read_task
from rdl.query.task import Kind, Task, TaskTable
from rdl.run import Run
from rdl.snapshot import Snapshot
from tests.memory import MemoryReader

ROWS = 201
#: Validation begins with row 160, or where a column says so with row 150, at whose time there is a training row too.
PART = np.array(["train"] * 150 + ["val"] + ["train"] + ["val"] * 20 + ["test"] * 29)


def shown() -> pa.Table:
    """A row a day of two users, but the rows 150 and 151 of one; of so few of each word that one more tells."""
    day = np.arange(ROWS) - (np.arange(ROWS) == 151)
    rng = np.random.default_rng(3)
    return pa.table(
        {
            "id": np.arange(ROWS),
            "user_id": np.arange(ROWS) % 2,
            "price": rng.integers(0, 1000, ROWS).astype(np.float64),
            "word": np.array([f"w{n // 3}" for n in range(ROWS)]),
            "part": PART,
            "at": pa.array(day * US_PER_DAY).cast(pa.timestamp("us")),
        }
    )


def snapshot_of(rows: pa.Table, folder: Path) -> Snapshot:
    users = pa.table({"id": [0, 1], "age": [1.0, 2.0]})
    return MemoryReader(
        {"users": users, "shown": rows},
        keys={"users": "id", "shown": "id"},
        times={"shown": "at"},
        relations=[("shown", "user_id", "users")],
    ).snapshot(folder)


def with_other_label(rows: pa.Table, row: int) -> pa.Table:
    """``rows``, one of which has another price, on the other side of the median, and a word of its own."""
    price = rows["price"].to_numpy().copy()
    price[row] = 0.0 if price[row] > np.median(price) else 1000.0
    word = rows["word"].to_pylist()
    word[row] = "another"
    return rows.set_column(2, "price", pa.array(price)).set_column(3, "word", pa.array(word))


def fitted(task: Task, snapshot: Snapshot, table: TaskTable) -> list[object]:
    """All that is fitted: the model's statistics, a loader's, and the aggregates that LightGBM learns from."""
    config = TrainConfig(channels=8, fanouts=(2,))
    train = np.flatnonzero(table.split == 0)
    seeds = Seeds(table.entity[train], table.time[train], table.time[train])
    found: list[object] = [features.fit(snapshot, table.fitted_at_us, task.hidden)]
    earlier = table if task.kind in (Kind.binary, Kind.regression) else None
    found.append(window_features(task, snapshot, seeds, fitted_at_us=table.fitted_at_us, labels=earlier).to_pydict())
    if task.kind in labels.TRAINED:
        found.append(Run.new(task, snapshot, table, config).statistics)
        found.append(loaders(task, snapshot, table)["train"].statistics)
        seen, names = _LightGbm(task, snapshot, table, Regime.seed_time, 0).features(train, table.time[train])
        found += [seen.tobytes(), names]
    return found


@pytest.mark.parametrize("target", ["shown.price", "shown.price > 500", "shown.word"])
@pytest.mark.parametrize("split", ["", "SPLIT AT '1970-06-02', '1970-07-01'", "SPLIT BY shown.part"])
def test_the_label_of_the_first_validation_seed_is_in_nothing_that_is_fitted(
    target: str, split: str, tmp_path: Path
) -> None:
    rows = shown()
    before = snapshot_of(rows, tmp_path / "before")
    task = read_task(f"PREDICT {target} FOR EACH shown.id {split}", before.schema)
    table = labels.build(task, before)
    val = table.of("val")
    first = int(before.arrow("shown")["id"][int(val.entity[val.time.argmin()])].as_py())
    after = snapshot_of(with_other_label(rows, first), tmp_path / "after")
    changed = labels.build(task, after)
    assert (table.val_cut, table.test_cut) == (changed.val_cut, changed.test_cut)
    one, other = (fitted(task, s, t) for s, t in ((before, table), (after, changed)))
    assert repr(one) == repr(other)
    newest = int(table.of("train").entity[table.of("train").time.argmax() - 2])
    third = snapshot_of(with_other_label(rows, newest), tmp_path / "third")
    assert repr(fitted(task, third, labels.build(task, third))) != repr(one), "a training label is in them"


def test_over_windows_statistics_are_fitted_up_to_the_begin_of_validation(tmp_path: Path) -> None:
    snapshot = snapshot_of(shown(), tmp_path / "s")
    table = labels.build(read_task("PREDICT COUNT(shown.*, 0, 7) FOR EACH users.id", snapshot.schema), snapshot)
    assert table.fitted_at_us == table.val_cut


def test_the_splits_that_a_column_says_begin_with_their_first_seed(tmp_path: Path) -> None:
    snapshot = snapshot_of(shown(), tmp_path / "s")
    task = read_task("PREDICT shown.price FOR EACH shown.id SPLIT BY shown.part", snapshot.schema)
    found = labels.compute(task, snapshot)
    assert [found.table.val_cut, found.table.test_cut] == [150 * US_PER_DAY, 172 * US_PER_DAY]
    assert found.table.fitted_at_us == 150 * US_PER_DAY - 1
    assert not found.warnings


def test_splits_that_a_column_mixes_in_time_are_told(tmp_path: Path) -> None:
    rows = shown().set_column(4, "part", pa.array(np.resize(["train", "train", "val", "test"], ROWS)))
    snapshot = snapshot_of(rows, tmp_path / "s")
    task = read_task("PREDICT shown.price FOR EACH shown.id SPLIT BY shown.part", snapshot.schema)
    found = labels.compute(task, snapshot)
    train = found.table.of("train")
    assert found.table.fitted_at_us == train.time.max()
    assert any("100.0% of the rows of validation and test" in warning for warning in found.warnings)
    assert pc.max(rows["at"]).value == train.time.max(), "the last row is of training"


def test_the_future_deleted_changes_no_statistic_of_a_row_level_task(tmp_path: Path) -> None:
    """At each of three times, of which the first is a training seed's: its own label is deleted with the future."""
    snapshot = snapshot_of(shown(), tmp_path / "s")
    task = read_task("PREDICT shown.price > 500 FOR EACH shown.id", snapshot.schema)
    found = rebuilt(task, labels.build(task, snapshot), Inputs(task, snapshot.schema), snapshot)
    assert found.findings == ()
