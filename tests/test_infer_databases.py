"""What inference proposes on real databases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rdl.database import open_reader
from rdl.infer import apply, propose
from rdl.schema import Schema, Stype


def of_database(path: Path) -> Schema:
    reader = open_reader(f"sqlite:///{path}")
    schema = reader.reflect()
    found = apply(schema, propose(reader, schema))
    reader.close()
    assert found.relations == schema.relations  # these databases declare their keys
    return found


def test_formula_one(shared_data: Path) -> None:
    schema = of_database(shared_data / "f1.sqlite")
    times = {name: str(table.time) for name, table in schema.tables.items() if table.time}
    of_race = ("results", "sprint_results", "qualifying", "driver_standings", "constructor_standings",
               "constructor_results", "pit_stops")  # fmt: skip
    assert times == {"races": "date", **dict.fromkeys(of_race, "raceId.date")}
    stypes = {column.name: column.stype for column in schema["results"].columns}
    measures = ("grid", "position", "positionOrder", "points", "laps", "milliseconds", "rank", "fastestLapSpeed")
    assert {stypes[name] for name in measures} == {Stype.numerical}
    assert stypes["statusId"] == stypes["raceId"] == Stype.identifier
    assert schema["drivers"]["nationality"].stype == Stype.categorical
    assert schema["status"]["status"].stype == Stype.text_embedded


@pytest.mark.parametrize(("database", "missed"), [
    ("f1", {"races.year → seasons.year"}),  # a year speaks of no table: suggested
    ("ml_100k", set()),
    ("mind_5k", set()),
    ("beauty", set()),
    ("worldcup", set()),
    ("dumps/sqlite/northwind", {
        "CustomerCustomerDemo.CustomerID → Customers.CustomerID",  # an empty table: suggested
        "CustomerCustomerDemo.CustomerTypeID → CustomerDemographics.CustomerTypeID",
        "Orders.ShipVia → Shippers.ShipperID",  # suggested
    }),
    ("dumps/sqlite/Chinook_Sqlite", set()),
])  # fmt: skip
def test_keys_that_were_forgotten_are_found_again(shared_data: Path, database: str, missed: set[str]) -> None:
    reader = open_reader(f"sqlite:///{shared_data / database}.sqlite")
    declared = reader.reflect()
    bare = Schema({name: replace(table, primary_key=()) for name, table in declared.tables.items()})
    proposals = propose(reader, bare)
    found = apply(bare, proposals)
    reader.close()
    relations = {str(relation) for relation in declared.relations}
    assert relations - set(map(str, found.relations)) == missed
    assert set(map(str, found.relations)) - relations <= {  # true, and not declared
        "group_standings.tournament_id+stage_number+group_name → groups.tournament_id+stage_number+group_name"
    }
    said = {proposal.what for proposal in proposals if proposal.suggested}
    assert missed - said <= {"CustomerCustomerDemo.CustomerTypeID → CustomerDemographics.CustomerTypeID"}
    for name, table in declared.tables.items():
        assert set(found[name].primary_key) <= set(table.primary_key)  # a part may be unique by itself


@pytest.mark.parametrize(("database", "expected"), [
    ("ml_100k", {"ratings": "rated_at", "movies": "release_date", "movie_genres": "movie_id.release_date"}),
    ("mind_5k", {"impressions": "shown_at", "impression_items": "shown_at"}),
    ("beauty", {"interactions": "at"}),
    ("dumps/sqlite/northwind", {
        "Employees": "HireDate", "EmployeeTerritories": "EmployeeID.HireDate", "Orders": "OrderDate",
        "Order Details": "OrderID.OrderDate",
    }),
    ("dumps/sqlite/Chinook_Sqlite", {
        "Employee": "HireDate", "Invoice": "InvoiceDate", "InvoiceLine": "InvoiceId.InvoiceDate",
    }),
])  # fmt: skip
def test_other_databases(shared_data: Path, database: str, expected: dict[str, str]) -> None:
    schema = of_database(shared_data / f"{database}.sqlite")
    assert {name: str(table.time) for name, table in schema.tables.items() if table.time} == expected


def test_worldcup(shared_data: Path) -> None:
    schema = of_database(shared_data / "worldcup.sqlite")
    assert str(schema["goals"].time) == "match_id.match_date"  # and not the earlier start of the tournament
    assert {name for name, table in schema.tables.items() if table.time is None} == {
        "confederations", "teams", "players", "managers", "referees", "stadiums", "awards",
    }  # fmt: skip
