"""Folders: what a table is, types of CSV columns, odd files."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rdl.clock import to_us
from rdl.database import open_reader
from rdl.errors import DatabaseError
from rdl.schema import Dtype

NO_END = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)


def read_csv(folder: Path, text: str | bytes) -> tuple[dict[str, str], list[dict[str, object]]]:
    content = text.encode() if isinstance(text, str) else text
    (folder / "t.csv").write_bytes(content)
    reader = open_reader(folder)
    dtypes = {column.name: column.dtype.value for column in reader.reflect()["t"].columns}
    return dtypes, reader.read("t").read_all().to_pylist()


@pytest.mark.parametrize(
    ("cells", "dtype", "values"),
    [
        (["1", "-2", ""], Dtype.integer, [1, -2, None]),
        (["00123", "45"], Dtype.text, ["00123", "45"]),
        (["1", "2.5"], Dtype.float, [1.0, 2.5]),
        (["1e3", "-.5"], Dtype.float, [1000.0, -0.5]),
        (["007.5", "1.0"], Dtype.text, ["007.5", "1.0"]),
        (["9223372036854775808", "1"], Dtype.float, [9223372036854775808.0, 1.0]),
        (["True", "false"], Dtype.boolean, [True, False]),
        (["1", "x"], Dtype.text, ["1", "x"]),
        (["2020-01-31", ""], Dtype.date, [dt.datetime(2020, 1, 31), None]),
        (["2020-01-31", "2020-02-30"], Dtype.text, ["2020-01-31", "2020-02-30"]),
        (
            ["2020-01-31", "2020-01-31 10:00:00"],
            Dtype.timestamp,
            [dt.datetime(2020, 1, 31), dt.datetime(2020, 1, 31, 10)],
        ),
        (
            ["2020-01-31", "infinity", "-infinity", "0044-03-15 BC"],
            Dtype.timestamp,
            [dt.datetime(2020, 1, 31), NO_END, dt.datetime(1, 1, 1), dt.datetime(1, 1, 1)],
        ),
        (["2020-01-31T10:00:00+02:00"], Dtype.timestamp, [dt.datetime(2020, 1, 31, 8)]),
        (["01/02/2020", "03/02/2020"], Dtype.text, ["01/02/2020", "03/02/2020"]),
        (["", ""], Dtype.text, [None, None]),
    ],
)
def test_a_csv_columns_type_is_the_narrowest_that_all_cells_have(
    tmp_path: Path, cells: list[str], dtype: Dtype, values: list[object]
) -> None:
    dtypes, rows = read_csv(tmp_path, "id,v\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(cells)))
    assert dtypes == {"id": "integer", "v": dtype.value}
    assert [row["v"] for row in rows] == values


def test_a_type_does_not_flip_late_in_the_file(tmp_path: Path) -> None:
    _, rows = read_csv(tmp_path, "id,v\n" + "".join(f"{n},{n}\n" for n in range(60_000)) + "60000,last\n")
    assert rows[-1] == {"id": 60_000, "v": "last"}
    assert rows[0] == {"id": 0, "v": "0"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiters_and_line_ends(tmp_path: Path, delimiter: str, newline: str, mark: str) -> None:
    lines = [["id", '"a, b; c"', "note"], ["1", '"x""y"', '"two\nlines"'], ["2", "z", ""]]
    _, rows = read_csv(tmp_path, mark + "".join(delimiter.join(line) + newline for line in lines))
    assert rows == [{"id": 1, "a, b; c": 'x"y', "note": "two\nlines"}, {"id": 2, "a, b; c": "z", "note": None}]


def test_a_csv_file_without_rows(tmp_path: Path) -> None:
    assert read_csv(tmp_path, "a,b\n") == ({"a": "text", "b": "text"}, [])


def test_a_csv_column_without_a_name(tmp_path: Path) -> None:
    assert read_csv(tmp_path, ",b\n0,x\n") == ({"column0": "integer", "b": "text"}, [{"column0": 0, "b": "x"}])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no first line"),
        (b"a,b\n1,2\n1,2,3\n", r"t\.csv', line 3: 3 cells where the first line names 2 columns"),
        (b"a,b\n1,2\n1\n", r"t\.csv', line 3: 1 cells where"),
        (b'a,b\n1,2\n1,"x\n2,y\n', r"t\.csv', line 3: a quote that does not end"),
        (b"a,b\r\n1,2\n3,4\r\n", r"t\.csv': lines that end in two ways"),
        ("a,b\n1,é\n".encode("utf-16"), "iconv -f UTF-16"),
        (b"a,b\n" + b"1,x\n" * 100_000 + "2,é\n".encode("latin-1"), r"t\.csv' is not UTF-8 text"),
        (b"a,A\n1,2\n", "stands twice"),
        ("a,b\n1,café\n".encode("latin-1"), r"t\.csv"),
        ("né,b\n1,2\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_csv_files_that_cannot_be_read(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(DatabaseError, match=reason) as caught:
        read_csv(tmp_path, content)
    assert len(str(caught.value).splitlines()) <= 2


def test_mixed_folders_and_what_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    pq.write_table(pa.table({"y": [1]}), tmp_path / "b.PARQUET")
    (tmp_path / "c.parquet").mkdir()
    pq.write_table(pa.table({"z": [1], "w": ["x"]}), tmp_path / "c.parquet" / "0.parquet")
    pq.write_table(pa.table({"z": [2]}), tmp_path / "c.parquet" / "1.parquet")
    for name in (".hidden.csv", "_SUCCESS.csv", "readme.md"):
        (tmp_path / name).write_text("no,table\n")
    (tmp_path / "empty").mkdir()
    reader = open_reader(tmp_path)
    assert list(reader.reflect().tables) == ["a", "b", "c"]
    assert reader.read("c").read_all().to_pylist() == [{"z": 1, "w": "x"}, {"z": 2, "w": None}]


def test_a_table_that_stands_twice(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    pq.write_table(pa.table({"y": [1]}), tmp_path / "A.parquet")
    with pytest.raises(DatabaseError, match=r"table 'a' stands twice: 'A\.parquet' and 'a\.csv'"):
        open_reader(tmp_path).reflect()


def test_a_folder_without_tables(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"no \.parquet or \.csv"):
        open_reader(tmp_path).reflect()


def test_a_broken_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(DatabaseError, match=r"a\.parquet"):
        open_reader(tmp_path).reflect()


def test_parquet_types(tmp_path: Path) -> None:
    moment = dt.datetime(2020, 1, 31, 10, tzinfo=dt.UTC)
    table = pa.table(
        {
            "ns": pa.array([moment], pa.timestamp("ns")),
            "zoned": pa.array([moment], pa.timestamp("ms", "Europe/Berlin")),
            "class": pa.array(["a"]).dictionary_encode(),
            "large": pa.array(["a"], pa.large_string()),
            "decimal": pa.array([1.5]).cast(pa.decimal128(10, 2)),
            "list": pa.array([["a", "b"]]),
            "half": pa.array([1.5], pa.float16()),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    row = open_reader(tmp_path).read("t").read_all().to_pylist()[0]
    naive = moment.replace(tzinfo=None)
    expected = {
        "ns": naive,
        "zoned": naive,
        "class": "a",
        "large": "a",
        "decimal": 1.5,
        "list": ["a", "b"],
        "half": 1.5,
    }
    assert row == expected


def test_a_broken_list_of_rdls_tables(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "rdl_predictions.json").write_text("[]")
    with pytest.raises(DatabaseError, match="not rdl's list"):
        open_reader(tmp_path).reflect()


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "a\\b"])
def test_predictions_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    with pytest.raises(DatabaseError, match="cannot name a file"):
        open_reader(tmp_path).write(name, pa.table({"a": [1]}))


def test_nested_columns_are_left_out(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "s": [{"x": 1}], "l": [[[1]]], "m": [["x"]]}), tmp_path / "t.parquet")
    pq.write_table(pa.table({"s": [{"x": 1}]}), tmp_path / "u.parquet")
    reader = open_reader(tmp_path)
    schema = reader.reflect()
    assert {name: [column.name for column in table.columns] for name, table in schema.tables.items()} == {
        "t": ["a", "m"]
    }
    assert reader.read("t").read_all().to_pylist() == [{"a": 1, "m": ["x"]}]
    assert len(reader.warnings) == 4


def test_files_that_change_during_a_consistent_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    reader = open_reader(tmp_path)
    with reader.consistent():
        reader.write("p", pa.table({"a": [1]}))
    with pytest.raises(DatabaseError, match="changed while they were read"), reader.consistent():
        (tmp_path / "a.csv").write_text("x\n2\n")


def test_predictions_take_the_types_of_what_they_are_like(tmp_path: Path) -> None:
    key = uuid.UUID(int=7)
    table = pa.table(
        {
            "u": pa.array([key.bytes], pa.uuid()),
            "d": pa.array([Decimal(1)], pa.decimal128(10, 0)),
            "n": pa.array([1], pa.int16()),
            "c": pa.array(["a"]).dictionary_encode(),
            "z": pa.array([0], pa.timestamp("ns", "UTC")),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    (tmp_path / "csv.csv").write_text("x\n1\n")
    reader = open_reader(tmp_path)
    keys = reader.read("t").read_all().combine_chunks()
    assert keys["u"].to_pylist() == [str(key)]
    like = {name: ("t", name) for name in keys.column_names} | {"x": ("csv", "x")}
    rows = keys.append_column("x", pa.array([1])).append_column("score", pa.array([0.5]))
    assert reader.write("p", rows, like=like) == 1
    assert reader.write("p", rows, like=like, if_exists="append") == 1
    found = pq.read_table(tmp_path / "p.parquet")
    declared = [pa.uuid(), pa.decimal128(10, 0), pa.int16(), pa.string(), pa.timestamp("ns", "UTC")]
    assert found.schema.types == [*declared, pa.int64(), pa.float64()]
    assert found["u"].to_pylist() == [key, key]
    with pytest.raises(DatabaseError, match="column 'n'"):
        reader.write("q", rows.set_column(2, "n", pa.array([2**40])), like=like)
    assert not (tmp_path / "q.parquet").exists()


def test_rows_since_a_time_skip_parts_of_a_file(tmp_path: Path) -> None:
    times = pa.array(range(100_000), pa.int64())
    for type_ in (
        pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("ns"), pa.timestamp("ns", "UTC"), pa.date32(),
    ):  # fmt: skip
        scaled = times.cast(pa.int32()).cast(type_) if type_ == pa.date32() else times.cast(type_)
        pq.write_table(pa.table({"at": scaled}), tmp_path / "t.parquet", row_group_size=10_000)
        reader = open_reader(tmp_path)
        every = reader.read("t").read_all()["at"]
        middle = every[70_000].as_py()
        found = reader.read("t", since=("at", to_us(middle))).read_all()["at"]
        assert found.to_pylist() == [time for time in every.to_pylist() if time >= middle]
