"""What a PostgreSQL database declares, however it is named, spread and guarded."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdl.database import open_reader
from rdl.errors import DatabaseError
from rdl.schema import Dtype, Relation, Stype
from rdl.snapshot import build
from tests.database.postgresql_engine import drop, quote, reader_of
from tests.servers import PostgresServer


def test_keys_of_every_kind(postgres: PostgresServer) -> None:
    reader = reader_of(
        postgres,
        'CREATE TABLE "Mixed Case" (b int, a int, PRIMARY KEY (a, b))',
        "CREATE TABLE person (email text UNIQUE, code text NOT NULL UNIQUE, boss text REFERENCES person (code))",
        'CREATE TABLE "from" ("order" int, "group" int, one text REFERENCES person (email), '
        'two text REFERENCES person (code), FOREIGN KEY ("order", "group") REFERENCES "Mixed Case" (b, a))',
        "CREATE TABLE x (id int PRIMARY KEY, y int)",
        "CREATE TABLE y (id int PRIMARY KEY, x int REFERENCES x)",
        "ALTER TABLE x ADD FOREIGN KEY (y) REFERENCES y",
        "CREATE TABLE indexed (a int NOT NULL, b int NOT NULL, c int, v int GENERATED ALWAYS AS (a + 1) STORED)",
        "CREATE UNIQUE INDEX ON indexed (c)",
        "CREATE UNIQUE INDEX ON indexed (a) WHERE a > 0",
        "CREATE UNIQUE INDEX ON indexed ((a + b))",
        "CREATE UNIQUE INDEX ON indexed (b, a) INCLUDE (c)",
        "CREATE TABLE serial (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)",
    )
    schema = reader.reflect()
    keys = {name: table.primary_key for name, table in schema.tables.items()}
    assert keys == {
        "Mixed Case": ("a", "b"),
        "person": ("code",),
        "from": (),
        "x": ("id",),
        "y": ("id",),
        "indexed": ("b", "a"),
        "serial": ("id",),
    }
    assert set(schema.relations) == {
        Relation("person", ("boss",), "person", ("code",)),
        Relation("from", ("one",), "person", ("email",)),
        Relation("from", ("two",), "person", ("code",)),
        Relation("from", ("order", "group"), "Mixed Case", ("b", "a")),
        Relation("x", ("y",), "y", ("id",)),
        Relation("y", ("x",), "x", ("id",)),
    }
    assert not schema["person"]["code"].nullable
    assert schema["person"]["email"].nullable
    assert "v" in schema["indexed"]


SYSTEM_COLUMNS = {"tableoid", "cmax", "xmax", "cmin", "xmin", "ctid"}


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: len(name.encode()) < 60 and name not in {"rdl_predictions", *SYSTEM_COLUMNS})


KEY_TYPES = {"bigint": Dtype.integer, "text": Dtype.text, "uuid": Dtype.uuid, "numeric(9,0)": Dtype.integer}


@st.composite
def schemas(draw: st.DrawFn) -> tuple[list[tuple[str, dict[str, str], list[str]]], list[Relation]]:
    """Tables (name, columns with their types, primary key) and foreign keys between any two of them."""
    tables = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=str.casefold)):
        columns = draw(st.dictionaries(NAMES, st.sampled_from(list(KEY_TYPES)), min_size=1, max_size=4))
        key = draw(st.permutations(list(columns)))[: draw(st.integers(0, 3))]
        tables.append((name, columns, key))
    relations = []
    keyed = [table for table in tables if table[2]]
    for child, _, _ in draw(st.lists(st.sampled_from(tables), max_size=4)) if keyed else []:
        parent, columns, key = draw(st.sampled_from(keyed))
        child_columns = next(columns for name, columns, _ in tables if name == child)
        own = []
        for part in key:  # a column of that type, made where there is none
            name = draw(NAMES.filter(lambda name, taken=child_columns: name not in taken))
            child_columns[name] = columns[part]
            own.append(name)
        relations.append(Relation(child, tuple(own), parent, tuple(key)))
    return tables, relations


@pytest.fixture(scope="module")
def anything(postgres: PostgresServer) -> tuple[PostgresServer, str]:
    return postgres, postgres.database()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schemas())
def test_any_schema_is_reflected_as_it_was_declared(
    anything: tuple[PostgresServer, str], made: tuple[list[tuple[str, dict[str, str], list[str]]], list[Relation]]
) -> None:
    (server, url), (tables, relations) = anything, made
    sql = ["DROP SCHEMA IF EXISTS s CASCADE", "CREATE SCHEMA s", "SET search_path = s"]
    for name, columns, key in tables:
        parts = [f"{quote(column)} {type_}" for column, type_ in columns.items()]
        parts += [f"PRIMARY KEY ({', '.join(map(quote, key))})"] if key else []
        sql.append(f"CREATE TABLE {quote(name)} ({', '.join(parts)})")
    for relation in relations:
        key, referred = (", ".join(map(quote, part)) for part in (relation.key, relation.referred))
        sql.append(
            f"ALTER TABLE {quote(relation.child)} ADD FOREIGN KEY ({key}) "
            f"REFERENCES {quote(relation.parent)} ({referred})"
        )
    script = ";\n".join(sql)
    server.run(url, script)
    reader = open_reader(url + "?schemas=s")
    schema = reader.reflect()
    assert list(schema.tables) == [name for name, _, _ in tables]
    assert set(schema.relations) == set(relations)
    for name, columns, key in tables:
        assert schema[name].primary_key == tuple(key)
        dtypes = {column.name: column.dtype for column in schema[name].columns}
        assert dtypes == {column: KEY_TYPES[type_] for column, type_ in columns.items()}
        assert reader.read(name).read_all().column_names == list(columns)
        assert reader.count(name) == 0
    assert reader.warnings == []
    reader.close()


def test_partitions_are_one_table(postgres: PostgresServer) -> None:
    reader = reader_of(
        postgres,
        "CREATE TABLE who (id int PRIMARY KEY)",
        "INSERT INTO who VALUES (1)",
        "CREATE TABLE pay (at date NOT NULL, who int, PRIMARY KEY (at)) PARTITION BY RANGE (at)",
        "CREATE TABLE pay_a PARTITION OF pay FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
        "CREATE TABLE pay_b PARTITION OF pay FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY LIST (at)",
        "CREATE TABLE pay_b_1 PARTITION OF pay_b DEFAULT",
        "ALTER TABLE pay_a ADD FOREIGN KEY (who) REFERENCES who",
        "ALTER TABLE pay_b_1 ADD FOREIGN KEY (who) REFERENCES who",
        "INSERT INTO pay VALUES ('2020-05-01', 1), ('2021-05-01', 1)",
        "CREATE TABLE refund (pay date REFERENCES pay)",
        "CREATE TABLE part (id int, at date) PARTITION BY RANGE (at)",
        "CREATE TABLE part_a PARTITION OF part (PRIMARY KEY (id)) DEFAULT",
        "CREATE TABLE only_a (a int REFERENCES part_a)",
    )
    schema = reader.reflect()
    assert list(schema.tables) == ["who", "pay", "refund", "part", "only_a"]
    assert set(schema.relations) == {
        Relation("pay", ("who",), "who", ("id",)),
        Relation("refund", ("pay",), "pay", ("at",)),
    }
    assert reader.count("pay") == reader.read("pay").read_all().num_rows == 2
    assert len(reader.warnings) == 1
    assert reader.warnings[0].startswith("foreign key only_a.a was dropped: it refers to one partition")


def test_a_key_of_an_heir_is_not_its_parents(postgres: PostgresServer, tmp_path: Path) -> None:
    reader = reader_of(
        postgres,
        "CREATE TABLE vehicle (id int PRIMARY KEY); INSERT INTO vehicle VALUES (1)",
        "CREATE TABLE car (PRIMARY KEY (id)) INHERITS (vehicle); INSERT INTO car VALUES (1), (2)",
        "CREATE TABLE truck (axles int, PRIMARY KEY (id)) INHERITS (vehicle); INSERT INTO truck VALUES (2, 3), (7, 2)",
        "CREATE TABLE ticket (truck int REFERENCES truck, any_ int REFERENCES vehicle)",
        "INSERT INTO ticket VALUES (2, 1), (7, 1)",
    )
    schema = reader.reflect()
    assert set(schema.relations) == {
        Relation("ticket", ("truck",), "truck", ("id",)),
        Relation("ticket", ("any_",), "vehicle", ("id",)),
    }
    assert list(reader.warnings) == ["table vehicle is inherited by car, truck: each is read as a table of its own"]
    assert {name: reader.count(name) for name in schema.tables} == {"vehicle": 1, "car": 2, "truck": 2, "ticket": 2}
    snapshot = build(reader, schema, tmp_path / "snapshot")
    parents = snapshot.parent(schema.relation("ticket", ("truck",)))
    assert snapshot.arrow("truck")["axles"].take(parents).to_pylist() == [3, 2]
    assert snapshot.report.duplicate_keys == {}


def test_views_are_read_on_request_only(postgres: PostgresServer) -> None:
    sql = (
        "CREATE TABLE t (id int PRIMARY KEY)",
        "INSERT INTO t VALUES (1), (2)",
        "CREATE VIEW v AS SELECT id, id * 2 AS twice FROM t",
        "CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t",
        "CREATE EXTENSION file_fdw",
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
        "CREATE FOREIGN TABLE f (a text) SERVER files OPTIONS (program 'echo far')",
    )
    url = postgres.database()
    postgres.run(url, *sql)
    assert list(open_reader(url).reflect().tables) == ["t"]
    assert list(open_reader(url, tables=["v"]).reflect().tables) == ["v"]
    reader = open_reader(url, views=["v", "m", "f"])
    schema = reader.reflect()
    assert list(schema.tables) == ["t", "v", "m", "f"]
    assert schema["v"].primary_key == ()
    assert reader.read("v").read_all()["twice"].to_pylist() == [2, 4]
    assert reader.read("m").read_all().to_pylist() == [{"n": 2}]
    assert reader.read("f").read_all().to_pylist() == [{"a": "far"}]
    before = reader.fingerprint()
    assert open_reader(url, views=["v", "m", "f"]).fingerprint() == before
    postgres.run(url, "CREATE OR REPLACE VIEW v AS SELECT id, id * 3 AS twice FROM t")
    assert reader.fingerprint() != before
    with pytest.raises(DatabaseError, match="no view 'w'"):
        open_reader(url, views=["w"]).reflect()


def test_schemas(postgres: PostgresServer) -> None:
    url = postgres.database()
    postgres.run(
        url,
        'CREATE SCHEMA "Sales, EU"; CREATE SCHEMA b; CREATE SCHEMA void',
        'CREATE TABLE "Sales, EU".t (id int PRIMARY KEY); CREATE TABLE b.t (id int REFERENCES "Sales, EU".t)',
        "CREATE TABLE b.u (id int)",
    )
    with pytest.raises(DatabaseError, match="has no tables in schema 'public'") as caught:
        open_reader(url).reflect()
    option = "?schemas=Sales%2C EU,b"
    assert f"add {option} to the URL." in str(caught.value)
    assert open_reader(url + "?schemas=b").reflect().relations == ()
    with pytest.raises(DatabaseError, match="did you mean 'void'"):
        open_reader(url + "?schemas=voit").reflect()
    schema = open_reader(url + option).reflect()
    assert set(schema.tables) == {"b.t", "u", "Sales, EU.t"}
    assert schema.relations == (Relation("b.t", ("id",), "Sales, EU.t", ("id",)),)
    on_path = open_reader(url + "?options=-c%20search_path%3Db")
    assert list(on_path.reflect().tables) == ["t", "u"]


def test_columns_and_tables_without_permission(postgres: PostgresServer) -> None:
    url = postgres.database()
    postgres.run(
        url,
        "DROP ROLE IF EXISTS guest",
        "CREATE ROLE guest LOGIN PASSWORD 'g'",
        "CREATE TABLE open (id int PRIMARY KEY, salary int)",
        "CREATE TABLE hidden (id int PRIMARY KEY)",
        "CREATE TABLE child (id int, hidden int REFERENCES hidden, open int REFERENCES open)",
        "INSERT INTO open VALUES (1, 2)",
        "GRANT SELECT (id) ON open TO guest",
        "GRANT SELECT ON child TO guest",
    )
    guest = url.replace(url[url.index("//") : url.index("@")], "//guest:g")
    reader = open_reader(guest)
    schema = reader.reflect()
    assert [column.name for column in schema["open"].columns] == ["id"]
    assert schema.relations == (Relation("child", ("open",), "open", ("id",)),)
    assert "column open.salary was left out: no permission to read it" in reader.warnings
    assert "table hidden was left out: none of its columns can be read" in reader.warnings
    assert reader.read("open").read_all().to_pylist() == [{"id": 1}]
    before = reader.fingerprint()
    assert reader.fingerprint() == before
    postgres.run(url, "UPDATE open SET id = 5")
    assert reader.fingerprint() != before
    with pytest.raises(DatabaseError, match="permission denied for schema public"):
        reader.write("p", pa.table({"a": [1]}))


def test_pagila(postgres: PostgresServer, shared_data: Path) -> None:
    url, folder = postgres.database(), shared_data / "dumps" / "postgresql" / "pagila"
    postgres.run(url, folder / "pagila-schema.sql", folder / "pagila-data.sql")
    reader = open_reader(url)
    schema = reader.reflect()
    assert len(schema.tables) == 15
    assert len(schema.relations) == 22
    assert reader.warnings == ["column film.fulltext was left out: its type tsvector has no meaning here"]
    assert {Relation("store", ("manager_staff_id",), "staff", ("staff_id",))} <= set(schema.relations)
    assert {Relation("staff", ("store_id",), "store", ("store_id",))} <= set(schema.relations)
    for table in schema.tables:
        number = int(postgres.run(url, f"SELECT count(*) FROM {table}"))
        assert reader.count(table) == reader.read(table).read_all().num_rows == number
    film = reader.read("film", ["rating", "special_features", "rental_rate"], limit=1).read_all().to_pylist()[0]
    assert film == {"rating": "PG", "special_features": ["Deleted Scenes", "Behind the Scenes"], "rental_rate": 0.99}
    assert schema["film"]["rating"].stype is Stype.categorical
    periods = reader.read("rental", ["rental_period_lower", "rental_period_upper"]).read_all()
    assert periods["rental_period_upper"].null_count == int(
        postgres.run(url, "SELECT count(*) FROM rental WHERE upper_inf(rental_period)")
    )
    assert reader.repairs == {}
    drop(postgres, url)


def test_chinook_and_northwind(postgres: PostgresServer, shared_data: Path) -> None:
    folder = shared_data / "dumps" / "postgresql"
    postgres.run(postgres.url("postgres"), folder / "chinook" / "Chinook_PostgreSql.sql")
    chinook = open_reader(postgres.url("chinook")).reflect()
    assert (len(chinook.tables), len(chinook.relations)) == (11, 11)
    assert Relation("employee", ("reports_to",), "employee", ("employee_id",)) in chinook.relations
    url = postgres.database()
    postgres.run(url, folder / "northwind" / "northwind.sql")
    reader = open_reader(url)
    schema = reader.reflect()
    assert (len(schema.tables), len(schema.relations)) == (14, 13)
    assert schema["order_details"].primary_key == ("order_id", "product_id")
    assert reader.read("customer_demographics").read_all().num_rows == 0
