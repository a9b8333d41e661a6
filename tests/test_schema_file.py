"""Reading, merging and writing of ``schemas/<db>.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.errors import SchemaError
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath
from rdl.schema_file import merge, read, read_formats, write


def columns(**dtypes: Dtype) -> tuple[Column, ...]:
    stypes = {Dtype.integer: Stype.numerical, Dtype.timestamp: Stype.timestamp, Dtype.date: Stype.timestamp}
    return tuple(Column(name, dtype, stypes.get(dtype, Stype.text_embedded)) for name, dtype in dtypes.items())


RACES = Table("races", columns(raceId=Dtype.integer, date=Dtype.date, ended=Dtype.timestamp), ("raceId",))
RESULTS = Table(
    "results", columns(resultId=Dtype.integer, raceId=Dtype.integer, grid=Dtype.integer, note=Dtype.text), ("resultId",)
)
STOPS = Table("stops", columns(a=Dtype.integer, b=Dtype.integer), ())
OF_RACE = Relation("results", ("raceId",), "races", ("raceId",))
F1 = Schema({"races": RACES, "results": RESULTS, "stops": STOPS}, (OF_RACE,))


def test_everything_an_entry_can_say() -> None:
    schema = merge(
        F1,
        """
        [tables.races]
        time = "date"
        valid_until = "ended"
        [tables.results]
        time = "raceId.date"
        [tables.results.columns.grid]
        stype = "categorical"
        [tables.races.columns]
        ended = { known_at = "ended" }
        [tables.stops]
        primary_key = ["a", "b"]
        time = "a.raceId.date"
        [[relations]]
        child = "stops"
        key = ["a"]
        parent = "results"
        """,
    )
    assert schema["races"].time == TimePath("date")
    assert schema["races"].valid_until == "ended"
    assert schema["races"]["ended"].known_at == "ended"
    assert schema["results"].time == TimePath("date", (("raceId",),))
    assert schema["results"]["grid"].stype == Stype.categorical
    assert schema["stops"].primary_key == ("a", "b")
    assert schema["stops"].time == TimePath("date", (("a",), ("raceId",)))
    assert schema.relations == (OF_RACE, Relation("stops", ("a",), "results", ("resultId",)))


def test_what_is_left_out_stands() -> None:
    timed = merge(F1, 'tables.races = { time = "date" }\ntables.results = { time = "raceId.date" }')
    assert merge(timed, "") == timed
    timeless = merge(timed, "tables.results.time = false")
    assert timeless["results"].time is None
    assert timeless["races"].time == TimePath("date")


def test_a_relation_can_be_left_out() -> None:
    ignored = '[[relations]]\nchild = "results"\nkey = "raceId"\nparent = "races"\nignore = true'
    assert merge(F1, ignored).relations == ()
    with pytest.raises(SchemaError, match="relation 1: there is no"):
        merge(replace(F1, relations=()), ignored)


def test_names_with_dots_and_pluses() -> None:
    child = Table("c", columns(**{"a.b": Dtype.integer, "a": Dtype.integer, "x+y": Dtype.integer, "d.e": Dtype.date}))
    parent = Table("p", columns(i=Dtype.integer, j=Dtype.integer, at=Dtype.date), ("i", "j"))
    dotted = Table("q", columns(id=Dtype.integer, at=Dtype.date), ("id",))
    relations = (
        Relation("c", ("a.b",), "q", ("id",)),
        Relation("c", ("x+y",), "q", ("id",)),
        Relation("c", ("a", "x+y"), "p", ("i", "j")),
    )
    schema = Schema({"c": child, "p": parent, "q": dotted}, relations)
    for value, expected in [
        ('"d.e"', TimePath("d.e")),
        ('["a.b", "at"]', TimePath("at", (("a.b",),))),
        ('"x+y.at"', TimePath("at", (("x+y",),))),
        ('[["a", "x+y"], "at"]', TimePath("at", (("a", "x+y"),))),
    ]:
        merged = merge(schema, f"tables.c.time = {value}")
        assert merged["c"].time == expected
        assert merge(schema, write(merged, schema)) == merged
    composite = Relation("c", ("a", "a.b"), "p", ("i", "j"))
    plain = Schema({"c": child, "p": parent}, (replace(composite, key=("a", "x+y")),))
    with pytest.raises(SchemaError, match="no column 'x'"):
        merge(plain, 'tables.c.time = "a+x+y.at"')


@pytest.mark.parametrize(("text", "message"), [
    ("tables.resluts.time = false", r"f1.toml: tables.resluts: there is no table 'resluts'\n.*'results'"),
    ("tables.races.tiem = false", r"tables.races: unknown entry 'tiem'\n.*'time'"),
    ("tabels.races.time = false", r"unknown entry 'tabels'\n.*'tables'"),
    ('tables.races.time = "dat"', r"tables.races.time: table 'races' has no column 'dat'\n.*'date'"),
    ('tables.results.time = "raceid.date"', r"tables.results.time: table 'results' has no column 'raceid'\n.*'raceId'"),
    ('tables.results.time = "grid.date"', r"tables.results.time: results.grid is not a foreign key"),
    ('tables.races.time = "raceId"', r"tables.races.time: column 'raceId' is integer\n.*timestamp needs"),
    ("tables.races.time = true", r"tables.races.time: True is no time"),
    ("tables.races.time = []", r"\[\] is no time"),
    ('tables.races.time = ["date", 3]', r"races.date is not a foreign key"),
    ('tables.races.valid_until = "raceId"', r"valid_until: column 'raceId' is integer"),
    ('tables.races.primary_key = ["race"]', r"primary_key: table 'races' has no column 'race'\n.*'raceId'"),
    ("tables.races.primary_key = 3", r"primary_key: 3 is no list of columns"),
    ("tables.races = 3", r"tables.races: 3 stands where entries are expected"),
    ('tables.results.columns.gird.stype = "numerical"', r"columns.gird: table 'results' has no column 'gird'"),
    ('tables.results.columns.grid.stype = "numeric"', r"columns.grid.stype: 'numeric' is no semantic type\n.*'num"),
    ('tables.results.columns.grid.type = "numerical"', r"columns.grid: unknown entry 'type'\n.*'stype'"),
    ('tables.results.columns.note.stype = "numerical"', r"columns.note.stype: column 'note' is text\n.*needs"),
    ("relations = 3", r"relations is not a list"),
    ('[[relations]]\nchild = "results"', r"relation 1 has no key"),
    ('[[relations]]\nchild = "result"\nkey = ["grid"]\nparent = "races"', r"relation 1: there is no table 'result'"),
    ('[[relations]]\nchild = "results"\nkey = ["gird"]\nparent = "races"', r"relation 1.key: .*no column 'gird'"),
    ('[[relations]]\nchild = "results"\nkey = ["grid", "note"]\nparent = "races"', r"2 columns refer to 1"),
    ("tables time", r"f1.toml is not TOML: .*line 1"),
])  # fmt: skip
def test_what_cannot_be_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message) as caught:
        merge(F1, text, source="f1.toml")
    assert str(caught.value).startswith("f1.toml")
    assert len(str(caught.value).splitlines()) <= 2


def test_a_time_through_a_key_that_is_known_later_is_refused() -> None:
    stops = replace(STOPS, columns=columns(resultId=Dtype.integer, told=Dtype.timestamp))
    results = replace(RESULTS, columns=(*RESULTS.columns, *columns(told=Dtype.timestamp)))
    tables = {"races": RACES, "results": results, "stops": stops}
    schema = Schema(tables, (OF_RACE, Relation("stops", ("resultId",), "results", ("resultId",))))
    late = 'tables.results.columns.raceId.known_at = "told"\n'
    for table, time in (("results", "raceId.date"), ("stops", "resultId.raceId.date")):
        said = f'tables.{table}.time = "{time}"\n'
        assert merge(schema, said)[table].time is not None
        with pytest.raises(SchemaError) as caught:
            merge(schema, said + late, source="f1.toml")
        assert str(caught.value) == (
            f"f1.toml: tables.{table}.time: table {table!r} takes its time, {time}, through results.raceId, which is "
            f"known later than its row, at told: its rows would be seen too early\nHint: give {table!r} a time of its "
            "own, or time = false, or take known_at away from results.raceId."
        )
        timed = replace(schema[table], time=merge(schema, said)[table].time)
        with pytest.raises(SchemaError, match="too early"):
            Schema(
                {**merge(schema, late).tables, table: replace(timed, columns=merge(schema, late)[table].columns)},
                schema.relations,
            )


def test_files(tmp_path: Path) -> None:
    (tmp_path / "f1.toml").write_text('tables.races.time = "date"', encoding="utf-8")
    assert read(tmp_path / "f1.toml", F1)["races"].time == TimePath("date")
    with pytest.raises(SchemaError, match=r"cannot read the schema file .*: No such file"):
        read(tmp_path / "f2.toml", F1)
    (tmp_path / "f3.toml").write_bytes(b"\xff")
    with pytest.raises(SchemaError, match="not UTF-8"):
        read(tmp_path / "f3.toml", F1)


def test_what_is_written_is_short_and_says_why() -> None:
    schema = merge(F1, 'tables.races.time = "date"\ntables.results.columns.grid.stype = "categorical"')
    text = write(schema, F1, {"races.time": "never\nNULL", "results.columns.grid": "20 distinct values"})
    assert 'time = "date" # never NULL' in text
    assert 'grid = {stype = "categorical"} # 20 distinct values' in text
    assert "Timeless, so always known: results, stops." in text
    assert tomllib.loads(text) == {
        "tables": {"races": {"time": "date"}, "results": {"columns": {"grid": {"stype": "categorical"}}}}
    }
    assert tomllib.loads(write(F1, F1)) == {}


NAMES = st.text(min_size=1, max_size=4) | st.sampled_from(["a.b", "a+b", '"', "'", "\n", "time", "é"])
TIMES = (Dtype.date, Dtype.timestamp)
STYPES = {
    Dtype.integer: [Stype.numerical, Stype.categorical, Stype.identifier],
    Dtype.text: [Stype.text_embedded, Stype.categorical, Stype.unsupported],
    Dtype.date: [Stype.timestamp, Stype.unsupported],
}


@st.composite
def schemas(draw: st.DrawFn, shape: dict[str, dict[str, Dtype]]) -> Schema:
    """Any schema whose tables and columns are those of ``shape``."""
    relations: list[Relation] = []
    for _ in range(draw(st.integers(0, 3))):
        child, parent = draw(st.sampled_from(list(shape))), draw(st.sampled_from(list(shape)))
        count = draw(st.integers(1, min(2, len(shape[child]), len(shape[parent]))))
        key = draw(st.permutations(list(shape[child])))[:count]
        relation = Relation(child, tuple(key), parent, tuple(draw(st.permutations(list(shape[parent])))[:count]))
        if all((relation.child, relation.key) != (other.child, other.key) for other in relations):
            relations.append(relation)
    tables = {}
    for name, dtypes in shape.items():
        moments = [column for column, dtype in dtypes.items() if dtype in TIMES]
        maybe = st.sampled_from([None, *moments])
        made = tuple(
            Column(column, dtype, draw(st.sampled_from(STYPES[dtype])), known_at=draw(maybe))
            for column, dtype in dtypes.items()
        )
        key = draw(st.permutations(list(dtypes)))[: draw(st.integers(0, 2))]
        table = Table(name, made, tuple(key), None, draw(maybe))
        paths = [TimePath(column) for column in moments]
        for relation in relations:
            if relation.child == name and not any(table.told_by(table[column]) for column in relation.key):
                reached = [column for column, dtype in shape[relation.parent].items() if dtype in TIMES]
                paths += [TimePath(column, (relation.key,)) for column in reached]
        tables[name] = replace(table, time=draw(st.sampled_from([None, *paths])))
    return Schema(tables, tuple(relations))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Schema, Schema]:
    dtypes = st.dictionaries(NAMES, st.sampled_from(list(STYPES)), min_size=1, max_size=3)
    shape = draw(st.dictionaries(NAMES, dtypes, min_size=1, max_size=3))
    return draw(schemas(shape)), draw(schemas(shape))


@settings(deadline=None, max_examples=200)
@given(pairs())
def test_what_is_written_is_read_back(pair: tuple[Schema, Schema]) -> None:
    reflected, schema = pair
    evidence = {f"{name}.time": "why #\x00\n" for name in schema.tables}
    merged = merge(reflected, write(schema, reflected, evidence))
    assert dict(merged.tables) == dict(schema.tables)
    assert set(merged.relations) == set(schema.relations)


@st.composite
def triples(draw: st.DrawFn) -> tuple[Schema, Schema, Schema]:
    dtypes = st.dictionaries(NAMES, st.sampled_from(list(STYPES)), min_size=1, max_size=3)
    shape = draw(st.dictionaries(NAMES, dtypes, min_size=1, max_size=3))
    return draw(schemas(shape)), draw(schemas(shape)), draw(schemas(shape))


@settings(deadline=None, max_examples=100)
@given(triples())
def test_what_is_suggested_changes_nothing(triple: tuple[Schema, Schema, Schema]) -> None:
    reflected, schema, other = triple
    text = write(schema, reflected, {}, [(other, "why #\x00\n[tables]"), (other, "")])
    merged = merge(reflected, text)
    assert dict(merged.tables) == dict(schema.tables)
    assert set(merged.relations) == set(schema.relations)


def test_what_is_suggested_is_used_by_taking_the_mark_away() -> None:
    more = merge(
        F1,
        """
        [tables.races]
        valid_until = "ended"
        [tables.stops]
        primary_key = ["a", "b"]
        columns.b.stype = "unsupported"
        [tables.results.columns]
        note.stype = "unsupported"
        [[relations]]
        child = "stops"
        key = ["a"]
        parent = "results"
        """,
    )
    base = merge(F1, 'tables.results.columns.note.stype = "categorical"')
    text = write(base, F1, {}, [(more, "seen so")])
    assert merge(F1, text) == base
    assert '# valid_until = "ended" # seen so' in text
    assert '# note = {stype = "unsupported"} # instead: seen so' in text
    head, *lines = text.split("[tables", 1)
    lines = [line for line in lines[0].splitlines() if not line.startswith("note = ")]
    used = head + "[tables" + "\n".join(line.removeprefix("# ") for line in lines)
    assert merge(F1, used) == more


def test_how_times_are_stored() -> None:
    columns_ = columns(id=Dtype.integer, made=Dtype.integer, sent=Dtype.text, late=Dtype.float)
    reflected = Schema({"t": Table("t", columns_, ("id",))})
    said = """
    [tables.t]
    time = "made"
    valid_until = "late"
    columns.made.time_format = "s"
    columns.late = { time_format = "ms" }
    columns.sent = { time_format = "iso", stype = "unsupported", known_at = "late" }
    """
    merged = merge(reflected, said)
    assert [(c.name, c.dtype, c.stype, c.time_format) for c in merged["t"].columns[1:]] == [
        ("made", Dtype.timestamp, Stype.timestamp, "s"),
        ("sent", Dtype.timestamp, Stype.unsupported, "iso"),
        ("late", Dtype.timestamp, Stype.timestamp, "ms"),
    ]
    written = write(merged, reflected)
    assert 'made = {time_format = "s"}' in written
    assert merge(reflected, written) == merged
    assert merge(merged, written) == merged
    assert merge(merged, 'tables.t.columns.made.time_format = "ns"')["t"]["made"].time_format == "ns"
    assert Schema.from_json(merged.to_json()) == merged
    assert merged.fingerprint() != merge(merged, 'tables.t.columns.made.time_format = "ns"').fingerprint()


@pytest.mark.parametrize(("said", "message"), [
    ("made = { time_format = 's' }", "column 'made' is timestamp\n.*already needs no time_format"),
    ("sent = { time_format = 's' }", "column 'sent' is text\n.*'s' needs one of integer, float, decimal"),
    ("late = { time_format = 'iso' }", "column 'late' is integer\n.*'iso' needs one of text"),
    ("late = { time_format = 'seconds' }", "'seconds' is no time format\n.*'s', 'ms', 'us', 'ns', 'iso'"),
    ("late = { time_format = 1 }", "1 is no name"),
    ("late = { time_form = 's' }", "unknown entry 'time_form'\n.*'time_format'"),
])  # fmt: skip
def test_a_format_that_cannot_be_is_refused(said: str, message: str, tmp_path: Path) -> None:
    reflected = Schema({"t": Table("t", columns(made=Dtype.timestamp, sent=Dtype.text, late=Dtype.integer))})
    file = tmp_path / "t.toml"
    file.write_text(f"tables.t.columns.{said}")
    name = said.split(maxsplit=1)[0]
    with pytest.raises(SchemaError, match=f"t.toml: tables.t.columns.{name}[^:]*: {message}"):
        read(file, reflected)
    if "time_form =" not in said:
        with pytest.raises(SchemaError, match=f"t.toml: tables.t.columns.{name}.time_format: {message}"):
            read_formats(file, reflected)


def test_the_schemas_beside_the_package_fit_their_databases(shared_data: Path) -> None:
    from rdl.database import open_reader

    for file in (Path(__file__).parents[1] / "schemas").glob("*.toml"):
        database = shared_data / f"{file.stem}.sqlite"
        if database.exists():
            reader = open_reader(f"sqlite:///{database}")
            schema = read(file, reader.reflect())
            reader.close()
            assert any(table.time for table in schema.tables.values())
