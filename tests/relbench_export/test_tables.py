"""Tables of every shape in a RelBench folder."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import relbench
from hypothesis import HealthCheck, given, settings

import rdl
from rdl.errors import QueryError
from rdl.query import read_task
from rdl.relbench_export import export
from rdl.snapshot import build
from tests.database.hostile import DUCKDB, TableSpec, enforced, schemas
from tests.memory import MemoryReader
from tests.query.shop import DAY
from tests.relbench_export.compared import check_tables, keys_of

START = dt.datetime(2024, 1, 1)

hostile = settings(
    max_examples=int(os.environ.get("EXAMPLES", "15")), deadline=None, derandomize="EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)  # fmt: skip


@hostile
@given(tables=schemas(frozenset(DUCKDB.types)).map(enforced))
def test_tables_of_every_shape(tables: list[TableSpec]) -> None:
    """Composite and missing keys, keys to unique columns, to the same table, two to one, odd names, every type."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.duckdb")
        with duckdb.connect(path) as connection:
            for table in tables:
                connection.execute(DUCKDB.create(table, keys=True))
                for statement in DUCKDB.insert(table):
                    connection.execute(statement)
        reader = rdl.database.open_reader(f"duckdb:///{path}")
        snapshot = build(reader, reader.reflect(), Path(folder) / "snapshot")
        reader.close()
        export(snapshot, {}, Path(folder) / "out", val="2001-01-01", test="2002-01-01")
        data = relbench.load_dataset(Path(folder) / "out")
        db = data.get_db(upto_test_timestamp=False)
        assert len(db.table_dict) == len(tables)
        for (name, layout), found in zip(snapshot.schema.tables.items(), db.table_dict.values(), strict=True):
            assert {column.name for column in layout.columns} <= set(found.df.columns)
            assert found.df[found.pkey_col].tolist() == list(range(snapshot.num_rows[name]))
            relations = snapshot.schema.relations_from(name)
            for relation, column in zip(relations, found.fkey_col_to_pkey_table, strict=True):
                assert found.df[column].fillna(-1).astype(int).tolist() == snapshot.parent(relation).tolist()


def test_times_and_odd_values(tmp_path: Path) -> None:
    """Times through a key and of odd names; lengths of time, times of day, decimals and dates inside a label."""
    days = range(120)
    visits = pa.table({
        "When?": [None if day == 60 else START + day * DAY for day in days],
        "who": [None if day % 7 == 0 else day % 3 for day in days],
        "took": [dt.timedelta(minutes=day % 5, microseconds=3) for day in days],
        "at": [dt.time(day % 24, 30, 0, 1) for day in days],
        "blob": [bytes([day]) for day in days],
        "tags": [[day, None] for day in days],
        "nothing": pa.nulls(120),
        "sure": [None if day % 2 else day % 3 == 0 for day in days],
        "from": [day % 4 for day in days],
    })  # fmt: skip
    people = pa.table({"from": [0, 1, 2], "born": [dt.date(1990 + n, 1, 1) for n in range(3)]})
    reader = MemoryReader(
        {"timestamps": visits, "people/all": people}, keys={"people/all": "from"}, times={"timestamps": "When?"},
        relations=[("timestamps", "who", "people/all")],
    )  # fmt: skip
    snapshot = reader.snapshot(tmp_path / "snapshot")
    tasks = {
        "long": 'PREDICT COUNT(timestamps.* WHERE timestamps.sure, 0, 7) FOR EACH "people/all"',
        "sure": "PREDICT timestamps.sure FOR EACH timestamps",
    }
    read = {name: read_task(query, snapshot.schema) for name, query in tasks.items()}
    export(snapshot, read, tmp_path / "out", val="2024-03-15T12:00", test="2024-04-01T12:00")
    data = relbench.load_dataset(tmp_path / "out")
    db = data.get_db(upto_test_timestamp=False)
    visits_, people_ = db.table_dict["timestamps_"], db.table_dict["people_all"]
    assert (visits_.pkey_col, visits_.time_col, people_.pkey_col) == ("row", "time", "row")
    assert visits_.df["took"].tolist()[:2] == [0.000003, 60.000003]
    assert visits_.df["at"].tolist()[1] == "01:30:00.000001"
    assert visits_.df["blob"].tolist()[2] == b"\x02"
    assert np.isnat(visits_.df["time"].to_numpy()[-1])
    assert visits_.df["time"].dtype == "datetime64[ns]"
    assert people_.df["from"].tolist() == [0, 1, 2]
    from relbench.modeling.utils import get_stype_proposal

    assert set(get_stype_proposal(db)) == {"timestamps_", "people_all"}


def test_times_beyond_nanoseconds_are_microseconds(tmp_path: Path) -> None:
    times = [dt.datetime(1500, 1, 1), *(START + day * DAY for day in range(60)), dt.datetime(2900, 1, 1)]
    events = pa.table({"id": range(62), "who": [0] * 62, "t": times, "x": [float(n % 5) for n in range(62)]})
    tables = {"events": events, "who": pa.table({"id": [0]})}
    reader = MemoryReader(
        tables, keys={"events": "id", "who": "id"}, times={"events": "t"}, relations=[("events", "who", "who")]
    )
    snapshot = reader.snapshot(tmp_path / "snapshot")
    task = read_task("PREDICT SUM(events.x, 0, 2) FOR EACH who SPLIT AT '2024-02-01', '2024-02-11'", snapshot.schema)
    with pytest.raises(QueryError, match="more than 100,000"):
        export(snapshot, {"t": task}, tmp_path / "out")
    export(snapshot, {}, tmp_path / "plain", val="2024-02-01", test="2024-02-11")
    db = relbench.load_dataset(tmp_path / "plain").get_db(upto_test_timestamp=False)
    assert db.table_dict["events"].df["t"].tolist() == times


def test_rows_keep_their_order_in_large_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdl.relbench_export.tables._ROWS_AT_ONCE", 1000)
    rows = pa.table({"id": range(2500, 0, -1), "t": [START + number * DAY / 24 for number in range(2500, 0, -1)]})
    snapshot = MemoryReader({"events": rows}, keys={"events": "id"}, times={"events": "t"}).snapshot(tmp_path / "s")
    export(snapshot, {}, tmp_path / "out", val="2024-02-01", test="2024-03-01")
    check_tables(tmp_path / "out", snapshot)
    assert [key for (key,) in keys_of(tmp_path / "out", "events")] == list(range(1, 2501))
