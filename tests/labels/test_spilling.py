"""Labels whose computation needs more memory than there is: they are written to disk meanwhile, and are the same."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from rdl import labels
from rdl.clock import US_PER_DAY, to_us
from rdl.labels import running
from rdl.query import read_task
from rdl.schema import Column, Dtype
from rdl.snapshot import Snapshot, build
from tests.memory import MemoryReader
from tests.query.shop import SHOP, START

SIZES = {"users": 20_000, "orders": 400_000, "items": 100}
LIMIT = "72MB"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Orders of a year by many users: far more seeds than fit."""
    rng = np.random.default_rng(0)
    types = {Dtype.integer: pa.int64(), Dtype.float: pa.float64(), Dtype.boolean: pa.bool_(), Dtype.text: pa.string()}

    def column(column: Column, rows: int) -> pa.Array:
        drawn = {
            "id": np.arange(rows), "user_id": rng.integers(0, SIZES["users"], rows), "amount": rng.random(rows),
            "item_id": rng.integers(0, SIZES["items"], rows),
        }  # fmt: skip
        if column.dtype is Dtype.timestamp:
            days = rng.integers(0, 365 * US_PER_DAY, rows) if column.name == "created_at" else np.zeros(rows, np.int64)
            return pa.array(to_us(START) + days, pa.timestamp("us"))
        found = drawn.get(column.name)
        return pa.nulls(rows, types[column.dtype]) if found is None else pa.array(found)

    tables = {
        name: pa.table({made.name: column(made, SIZES.get(name, 0)) for made in table.columns})
        for name, table in SHOP.tables.items()
    }
    return build(MemoryReader(tables), SHOP, tmp_path_factory.mktemp("spilling") / "snapshot")


@pytest.mark.parametrize(
    "asked",
    [
        "COUNT(orders.*, 0, 7) FOR EACH users.id",
        "COUNT(orders.*, 0, 28) FOR EACH users.id EVERY 7 days",
        "SUM(orders.amount, 0, 28) FOR EACH users.id EVERY 7 days",
        "SUM(orders.amount, 0, 7) FORECAST 3 TIMEFRAMES FOR EACH users.id",
        "LIST_DISTINCT(orders.item_id, 0, 28) RANK TOP 9 FOR EACH users.id EVERY 7 days",
    ],
)
def test_labels_that_do_not_fit_are_the_same(asked: str, shop: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    task = read_task(f"PREDICT {asked}", SHOP)
    whole = labels.compute(task, shop)
    with shop.connect() as connection:
        connection.execute(f"SET memory_limit = '{LIMIT}'")
        connection.execute("SET temp_directory = ''")
        with pytest.raises(duckdb.OutOfMemoryException):
            connection.sql(whole.sql).to_arrow_table()
    monkeypatch.setattr(running, "MEMORY_LIMIT", LIMIT)
    spilt = labels.compute(task, shop)
    for name in ("entity", "time", "indptr"):
        np.testing.assert_array_equal(getattr(spilt.table, name), getattr(whole.table, name))
    np.testing.assert_allclose(spilt.table.target, whole.table.target, rtol=1e-12)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("CAST(IF(n < 4000000, '1', 'x') AS INTEGER)", duckdb.ConversionException),
        ("CAST(127 AS TINYINT) + CAST(n // 4000000 AS TINYINT)", duckdb.OutOfRangeException),
        ("IF(n < 4000000, 'x', error('y'))", duckdb.Error),
    ],
)
def test_what_fails_after_the_first_rows_is_told_as_what_fails_at_once(value: str, kind: type[duckdb.Error]) -> None:
    with duckdb.connect() as connection:
        found = running.batches(connection.sql(f"SELECT {value} AS found FROM range(5000000) r(n)"))
        assert next(found).num_rows
        with pytest.raises(kind):
            list(found)
