"""The schema is chosen once: a file that says so, or a run, holds it whatever rows come later."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

import rdl
from rdl import features
from rdl.cli import app
from rdl.clock import to_us
from rdl.errors import SchemaError
from rdl.schema import Stype

CUT = to_us("2024-03-01")


def database(path: Path, *later: str) -> str:
    """Sixty days of events, of which ``later`` changes what comes after the cut."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            """CREATE TABLE events AS SELECT i AS id, TIMESTAMP '2024-01-01' + to_hours(i) AS created_at,
            i % 7 AS colour, 'web' AS origin, NULL::DOUBLE AS price FROM range(2000) t(i)"""
        )
        for change in later:
            connection.execute(f"{change} WHERE created_at > '2024-03-01'")
    return f"duckdb:///{path}"


def test_a_column_is_an_input_by_what_was_known_at_the_cut(tmp_path: Path) -> None:
    plain = rdl.connect(database(tmp_path / "plain.duckdb"))
    other = rdl.connect(database(tmp_path / "other.duckdb", "UPDATE events SET origin = 'shop', price = id * 7 % 31"))
    assert other.schema == plain.schema
    for db in (plain, other):
        assert db.schema["events"]["origin"].stype is Stype.categorical
        found = features.fit(db.snapshot, CUT)["events"]
        assert ({*found.numerical}, {*found.categories}) == (set(), {"colour"})
    late = features.fit(other.snapshot, to_us("2024-04-01"))["events"]
    assert {"origin"} <= {*late.categories}
    assert {"price"} <= {*late.numerical}


def test_a_schema_file_holds_what_was_inferred_when_it_was_written(tmp_path: Path) -> None:
    url = database(tmp_path / "first.duckdb")
    changed = database(tmp_path / "changed.duckdb", "UPDATE events SET colour = id")
    file = tmp_path / "schema.toml"
    assert CliRunner().invoke(app, ["schema", url, "--out", str(file)]).exit_code == 0
    first = rdl.connect(url)
    assert first.schema["events"]["colour"].stype is Stype.categorical
    assert rdl.connect(changed).schema["events"]["colour"].stype is Stype.numerical
    fixed = file.read_text().replace("# infer = false", "infer = false")
    assert fixed != file.read_text()
    file.write_text(fixed)
    for at in (url, changed):
        db = rdl.connect(at, schema=file)
        assert db.schema == first.schema
        assert db.proposals == []
    statistics = [features.fit(rdl.connect(at, schema=file).snapshot, CUT) for at in (url, changed)]
    assert statistics[0] == statistics[1]


def test_infer_is_true_or_false(tmp_path: Path) -> None:
    file = tmp_path / "schema.toml"
    file.write_text('infer = "no"')
    with pytest.raises(SchemaError, match="neither true nor false"):
        rdl.connect(database(tmp_path / "one.duckdb"), schema=file)
