"""The real databases: what is declared in them, and that their rows arrive as SQLite has them."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest

from rdl.clock import format_time
from rdl.database import open_reader
from rdl.database.relbench import RelbenchReader
from rdl.schema import Dtype, Relation, Stype, TimePath

DATABASES = {
    "f1": (13, 21),
    "ml_100k": (5, 4),
    "worldcup": (27, 60),
    "beauty": (5, 4),
    "mind_5k": (5, 5),
    "dumps/sqlite/northwind": (13, 13),
    "dumps/sqlite/Chinook_Sqlite": (11, 11),
}


@pytest.mark.parametrize("name", DATABASES)
def test_rows_agree_with_sqlite(shared_data: Path, name: str) -> None:
    path = shared_data / f"{name}.sqlite"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    reader = open_reader(f"sqlite:///{path}")
    schema = reader.reflect()
    assert (len(schema.tables), len(schema.relations)) == DATABASES[name]
    assert reader.warnings == []  # type: ignore[attr-defined]
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    for table in schema.tables.values():
        found = reader.read(table.name).read_all()
        quoted = ['"' + column.name.replace('"', '""') + '"' for column in table.columns]
        counts = ", ".join(f"count({column})" for column in quoted)
        sums = ", ".join(f"coalesce(total({column}), 0)" for column in quoted)
        expected = connection.execute(f'SELECT count(*), {counts} FROM "{table.name}"').fetchone()
        assert (found.num_rows, *(len(column) - column.null_count for column in found.columns)) == expected
        totals = connection.execute(f'SELECT {sums} FROM "{table.name}"').fetchone()
        for column, total in zip(table.columns, totals, strict=True):
            if column.dtype in (Dtype.integer, Dtype.decimal, Dtype.float):
                values = found[column.name].cast(pa.float64()).drop_null().to_numpy()
                assert values.sum() == pytest.approx(total)
    connection.close()
    assert reader.repairs == {}
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_composite_keys_and_two_keys_to_one_table(shared_data: Path) -> None:
    schema = open_reader(shared_data / "worldcup.sqlite").reflect()
    assert max(len(table.primary_key) for table in schema.tables.values()) == 4
    pairs = [(relation.child, relation.parent) for relation in schema.relations]
    assert len(set(pairs)) < len(pairs)
    f1 = open_reader(shared_data / "f1.sqlite").reflect()
    assert f1["pit_stops"].primary_key == ("raceId", "driverId", "stop")


def test_a_table_with_a_space_blobs_and_a_self_reference(shared_data: Path) -> None:
    reader = open_reader(shared_data / "dumps" / "sqlite" / "northwind.sqlite")
    schema = reader.reflect()
    assert schema["Order Details"].primary_key == ("OrderID", "ProductID")
    assert schema["Employees"]["Photo"].dtype is Dtype.binary
    assert schema["Employees"]["Photo"].stype is Stype.unsupported
    assert Relation("Employees", ("ReportsTo",), "Employees", ("EmployeeID",)) in schema.relations
    assert reader.read("Categories", ["Picture"]).read_all().schema.field("Picture").type == pa.binary()


def test_rel_f1(shared_data: Path) -> None:
    reader = open_reader(f"relbench:{shared_data / 'rel-f1'}")
    assert isinstance(reader, RelbenchReader)
    schema = reader.reflect()
    assert (len(schema.tables), len(schema.relations)) == (9, 13)
    assert sum(reader.count(table) for table in schema.tables) == 97_606
    assert schema["results"].time == TimePath("date")
    assert schema["drivers"].time is None
    assert [format_time(cut) for cut in (reader.val_cut_us, reader.test_cut_us)] == ["2005-01-01", "2010-01-01"]
    assert set(reader.tasks) == {
        "driver-circuit-compete",
        "driver-dnf",
        "driver-position",
        "driver-top3",
        "qualifying-position",
        "results-position",
    }
    assert all((folder / "manifest.yaml").is_file() for folder in reader.tasks.values())
    assert reader.name == "rel-f1"
