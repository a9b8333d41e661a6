"""One suite over every engine: the same content in, the same Arrow out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from rdl import clock
from rdl.clock import to_us
from rdl.database import open_reader
from rdl.database.types import ARROW_TYPES
from rdl.errors import DatabaseError
from rdl.schema import Dtype, Relation, Stype
from tests.database.engines import CONTENT, ORDERS, PEOPLE, Engine, orders


def test_every_engine_reads_the_same_rows(url: str) -> None:
    reader = open_reader(url)
    schema = reader.reflect()
    assert set(schema.tables) == set(CONTENT)
    for name, make in CONTENT.items():
        assert reader.read(name).read_all() == make()
        assert reader.count(name) == make().num_rows
    assert reader.repairs == {}
    reader.close()


def test_every_engine_reflects_the_same_columns(url: str) -> None:
    schema = open_reader(url).reflect()
    dtypes = {column.name: column.dtype for column in schema[ORDERS].columns}
    assert dtypes == {
        "Id": Dtype.integer,
        "person id": Dtype.integer,
        "WHEN": Dtype.timestamp,
        "day": Dtype.date,
        "ok?": Dtype.boolean,
        "note": Dtype.text,
        "amount": Dtype.float,
    }
    stypes = {column.name: column.stype for column in schema[ORDERS].columns}
    assert stypes["ok?"] is Stype.categorical
    assert stypes["WHEN"] is Stype.timestamp
    assert stypes["note"] is Stype.text_embedded
    assert stypes["amount"] is Stype.numerical


def test_declared_keys_and_relations(engine: Engine, url: str) -> None:
    schema = open_reader(url).reflect()
    assert schema[PEOPLE].primary_key == (("id",) if engine.keys else ())
    assert (schema[PEOPLE]["id"].stype is Stype.identifier) == engine.keys
    assert schema[PEOPLE]["id"].nullable == (not engine.keys)
    expected = (Relation(ORDERS, ("person id",), PEOPLE, ("id",)),) if engine.relations else ()
    assert schema.relations == expected
    assert (schema[ORDERS]["person id"].stype is Stype.identifier) == engine.relations


def test_columns_and_limit(url: str) -> None:
    reader = open_reader(url)
    found = reader.read(ORDERS, ["amount", "Id"], limit=3).read_all()
    assert found == orders().select(["amount", "Id"]).slice(0, 3)
    assert reader.read(ORDERS, limit=0).read_all() == orders().slice(0, 0)


def test_the_schema_of_a_read_follows_the_dtypes(url: str) -> None:
    reader = open_reader(url)
    for name, table in reader.reflect().tables.items():
        expected = pa.schema([(column.name, ARROW_TYPES[column.dtype]) for column in table.columns])
        assert reader.read(name).schema == expected


def test_picked_tables_drop_relations_to_others(url: str) -> None:
    schema = open_reader(url, tables=[ORDERS]).reflect()
    assert list(schema.tables) == [ORDERS]
    assert schema.relations == ()
    reader = open_reader(url, exclude=[ORDERS])
    assert list(reader.reflect().tables) == [PEOPLE]
    with pytest.raises(DatabaseError, match="has no table 'select'"):
        reader.count(ORDERS)


@pytest.mark.parametrize("option", ["tables", "exclude"])
def test_an_unknown_table_is_refused_with_the_nearest(url: str, option: str) -> None:
    with pytest.raises(DatabaseError, match="did you mean 'select'"):
        open_reader(url, **{option: ["selct"]}).reflect()


def test_unknown_names_in_a_read(url: str) -> None:
    reader = open_reader(url)
    with pytest.raises(DatabaseError, match="did you mean 'select'"):
        reader.read("Select")
    with pytest.raises(DatabaseError, match="did you mean 'amount'"):
        reader.read(ORDERS, ["amuont"])


def test_reading_changes_no_fingerprint(url: str) -> None:
    reader = open_reader(url)
    before = reader.fingerprint()
    reader.read(ORDERS).read_all()
    assert reader.fingerprint() == before == open_reader(url).fingerprint()


def test_a_database_that_goes_away_is_a_database_error(engine: Engine, server: Any, url: str, tmp_path: Path) -> None:
    reader = open_reader(url)
    reader.reflect()
    if engine.remote:
        engine.remote.drop(server, url)
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        if path.is_file():
            path.unlink()
    for act in (lambda: reader.read(ORDERS).read_all(), lambda: reader.count(ORDERS)):
        with pytest.raises(DatabaseError) as caught:
            act()
        assert len(str(caught.value).splitlines()) <= 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("column", ["WHEN", "day"])
def test_rows_since_a_time(url: str, column: str) -> None:
    reader = open_reader(url)
    moments = [time for time in orders()[column].to_pylist() if time]
    sinces = [to_us(time) + more for time in moments for more in (-1, 0, 1)]
    for since in [*sinces, clock.NO_BEGINNING, clock.NO_END, clock.NO_BEGINNING - 1, clock.NO_END + 1]:
        kept = [row for row in orders().to_pylist() if row[column] and to_us(row[column]) >= since]
        assert reader.read(ORDERS, since=(column, since)).read_all().to_pylist() == kept
        found = reader.read(ORDERS, ["Id"], since=(column, since), limit=1).read_all()
        assert found.to_pylist() == [{"Id": row["Id"]} for row in kept[:1]]


@pytest.mark.parametrize("column", ["Id", "person id"])
def test_rows_since_a_whole_number(url: str, column: str) -> None:
    reader = open_reader(url)
    for since in (-(2**62), 0, 2, 20, 99, 100, 2**63 - 1):
        kept = [row for row in orders().to_pylist() if row[column] is not None and row[column] >= since]
        assert reader.read(ORDERS, since=(column, since)).read_all().to_pylist() == kept
        found = reader.read(ORDERS, ["note"], since=(column, since), limit=1).read_all()
        assert found.to_pylist() == [{"note": row["note"]} for row in kept[:1]]


def test_rows_since_a_time_need_a_time(url: str) -> None:
    reader = open_reader(url)
    with pytest.raises(DatabaseError, match="is no date or timestamp"):
        reader.read(ORDERS, since=("amount", 0))
    with pytest.raises(DatabaseError, match="did you mean 'day'"):
        reader.read(ORDERS, since=("dya", 0))


def test_a_consistent_read(url: str) -> None:
    reader = open_reader(url)
    before = reader.fingerprint()
    with reader.consistent():
        half = reader.read(PEOPLE)
        assert (reader.count(ORDERS), reader.fingerprint()) == (4, before)
        with ThreadPoolExecutor(reader.parallel_reads) as threads:
            names = [PEOPLE, ORDERS] * 4
            found = list(threads.map(lambda name: reader.read(name).read_all(), names))
        assert found == [CONTENT[name]() for name in names]
        assert half.read_all() == CONTENT[PEOPLE]()
    assert reader.fingerprint() == before
    with pytest.raises(KeyError, match="mine"), reader.consistent():
        raise KeyError("mine")
    with reader.consistent():
        assert reader.count(ORDERS) == 4


def test_an_unknown_view_is_refused(url: str) -> None:
    with pytest.raises(DatabaseError, match="has no view 'selct'"):
        open_reader(url, views=["selct"]).reflect()
