"""Keys that no one declared, in databases of many styles: composite keys, roles, names that say nothing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest

from rdl.infer import Proposal, apply, propose
from rdl.schema import Relation, Schema
from tests.memory import MemoryReader
from tests.test_infer import days, moments, reflect

DRAW = np.random.default_rng(0)


def proposed(tables: Mapping[str, pa.Table], **facts: object) -> list[Proposal]:
    schema = reflect(tables, **facts)  # type: ignore[arg-type]
    return propose(MemoryReader(tables, rows_a_batch=1000), schema)


def found(tables: Mapping[str, pa.Table], **facts: object) -> tuple[Schema, set[str], set[str]]:
    """The schema with what is proposed, the relations used, and what is only suggested."""
    proposals = proposed(tables, **facts)
    schema = apply(reflect(tables, **facts), proposals)  # type: ignore[arg-type]
    suggested = {proposal.what for proposal in proposals if proposal.suggested}
    return schema, set(map(str, schema.relations)), suggested


def keys(tables: Mapping[str, pa.Table]) -> dict[str, tuple[str, ...]]:
    return {name: table.primary_key for name, table in found(tables)[0].tables.items()}


def picked(count: int, below: int, seed: int = 0) -> list[int]:
    """Random whole numbers from 1 to ``below``."""
    return (np.random.default_rng(seed).integers(0, below, count) + 1).tolist()


def lines(orders: int = 60, each: int = 4) -> dict[str, list[int]]:
    """Orders by number and the lines of each."""
    return {"order": [n for n in range(1, orders + 1) for _ in range(each)], "line": [*range(1, each + 1)] * orders}


# Databases of other styles: the relations and keys that people would have declared.

SALESFORCE = {
    "Account": pa.table({"Id": [f"001{n:06}" for n in range(50)], "Name": [f"A {n}" for n in range(50)]}),
    "Contact": pa.table({
        "Id": [f"003{n:06}" for n in range(80)], "AccountId": [f"001{n % 50:06}" for n in range(80)],
        "ReportsToId": [None if n < 5 else f"003{n % 5:06}" for n in range(80)],
    }),
    "Invoice__c": pa.table({
        "Id": [f"a01{n:06}" for n in range(90)], "AccountId__c": [f"001{n % 40:06}" for n in range(90)],
        "Contact__c": [f"003{n % 70:06}" for n in range(90)], "CreatedDate": moments(*range(90)),
    }),
}  # fmt: skip
HUNGARIAN = {
    "tblCustomer": pa.table({"lngCustomerID": range(1, 41), "strName": [f"c{n}" for n in range(40)]}),
    "tblOrder": pa.table({
        "lngOrderID": range(1, 61), "CustomerID_FK": picked(60, 40), "dtmOrdered": moments(*range(60)),
    }),
    "tblOrderLine": pa.table({
        "OrderID_FK": lines()["order"], "intLineNo": lines()["line"], "dblAmount": [n / 7 for n in range(240)],
    }),
}  # fmt: skip
GERMAN = {
    "Kunden": pa.table({"KundenNr": range(1, 41), "Ort": ["Bonn", "Ulm"] * 20}),
    "Bestellungen": pa.table({"BestellNr": range(1, 61), "KundenNr": picked(60, 40), "Datum": days(*range(60))}),
    "Positionen": pa.table({"BestellNr": lines()["order"], "PosNr": lines()["line"], "Menge": picked(240, 9)}),
    "Mitarbeiter": pa.table({"Mitarbeiter_ID": range(1, 31), "Kunde_ID": picked(30, 40)}),
}
FRENCH = {
    "clients": pa.table({"id_client": range(1, 41), "ville": ["Lyon", "Lille"] * 20}),
    "commandes": pa.table({"num_commande": range(1, 61), "id_client": picked(60, 40), "date": days(*range(60))}),
    "lignes": pa.table({"num_commande": lines()["order"], "numero": lines()["line"], "prix": picked(240, 90)}),
}
CAMEL = {
    "userAccounts": pa.table({"userAccountId": range(1, 41)}),
    "blogPosts": pa.table({
        "blogPostId": range(1, 61), "userAccountId": picked(60, 40), "publishedAt": moments(*range(60)),
    }),
    "blogComments": pa.table({
        "id": range(1, 91), "blogPostId": picked(90, 60), "writtenByUserAccountId": picked(90, 40),
    }),
}  # fmt: skip
ORACLE = {
    "EMP": pa.table({
        "EMPNO": range(7000, 7040), "MGR": [None, *([7000] * 39)], "DEPTNO": [10 * n for n in picked(40, 4)],
        "HIREDATE": days(*range(40)), "SAL": picked(40, 5000),
    }),
    "DEPT": pa.table({"DEPTNO": [10, 20, 30, 40], "DNAME": list("abcd")}),
    "CUSTOMERS": pa.table({"CUST_NO": range(100, 140), "REP_EMPNO": [7000 + n for n in range(40)]}),
    "ORDERS": pa.table({
        "ORD_NO": range(1, 61), "CUST_NO": [99 + n for n in picked(60, 40)], "ORD_DT": days(*range(60)),
    }),
}  # fmt: skip


@pytest.mark.parametrize(("tables", "expected", "relations"), [
    (SALESFORCE, {"Account": "Id", "Contact": "Id", "Invoice__c": "Id"}, {
        "Contact.AccountId → Account.Id", "Contact.ReportsToId → Contact.Id",
        "Invoice__c.AccountId__c → Account.Id", "Invoice__c.Contact__c → Contact.Id",
    }),
    (HUNGARIAN, {"tblCustomer": "lngCustomerID", "tblOrder": "lngOrderID", "tblOrderLine": "OrderID_FK+intLineNo"}, {
        "tblOrder.CustomerID_FK → tblCustomer.lngCustomerID", "tblOrderLine.OrderID_FK → tblOrder.lngOrderID",
    }),
    (GERMAN, {
        "Kunden": "KundenNr", "Bestellungen": "BestellNr", "Positionen": "BestellNr+PosNr",
        "Mitarbeiter": "Mitarbeiter_ID",
    }, {
        "Bestellungen.KundenNr → Kunden.KundenNr", "Positionen.BestellNr → Bestellungen.BestellNr",
        "Mitarbeiter.Kunde_ID → Kunden.KundenNr",
    }),
    (FRENCH, {"clients": "id_client", "commandes": "num_commande", "lignes": "num_commande+numero"}, {
        "commandes.id_client → clients.id_client", "lignes.num_commande → commandes.num_commande",
    }),
    (CAMEL, {"userAccounts": "userAccountId", "blogPosts": "blogPostId", "blogComments": "id"}, {
        "blogPosts.userAccountId → userAccounts.userAccountId", "blogComments.blogPostId → blogPosts.blogPostId",
        "blogComments.writtenByUserAccountId → userAccounts.userAccountId",
    }),
    (ORACLE, {"EMP": "EMPNO", "DEPT": "DEPTNO", "CUSTOMERS": "CUST_NO", "ORDERS": "ORD_NO"}, {
        "EMP.DEPTNO → DEPT.DEPTNO", "CUSTOMERS.REP_EMPNO → EMP.EMPNO", "ORDERS.CUST_NO → CUSTOMERS.CUST_NO",
    }),
], ids=["salesforce", "hungarian", "german", "french", "camel", "oracle"])  # fmt: skip
def test_databases_of_many_styles(tables: dict[str, pa.Table], expected: dict[str, str], relations: set[str]) -> None:
    schema, used, suggested = found(tables)
    assert {name: "+".join(table.primary_key) for name, table in schema.tables.items()} == expected
    assert used == relations
    assert not suggested & relations


def test_the_manager_of_an_employee_is_suggested_where_no_word_says_that_it_is_a_key() -> None:
    assert "EMP.MGR → EMP.EMPNO" in found(ORACLE)[2]


def people(**columns: object) -> dict[str, pa.Table]:
    """Forty users, twelve employees, products, and a table of tickets with ``columns``."""
    return {
        "users": pa.table({"id": range(1, 41)}),
        "employees": pa.table({"id": range(1, 13), "manager_id": [None, *([1] * 11)]}),
        "products": pa.table({"id": range(1, 41), "parent_id": [None] * 20 + picked(20, 20)}),
        "tickets": pa.table({"id": range(1, 61), **columns}),
    }


def test_roles() -> None:
    tables = people(created_by=picked(60, 40), assigned_to=picked(60, 12), support_rep_id=picked(60, 12))
    schema, used, _ = found(tables)
    assert used == {
        "employees.manager_id → employees.id", "products.parent_id → products.id", "tickets.created_by → users.id",
        "tickets.assigned_to → employees.id", "tickets.support_rep_id → employees.id",
    }  # fmt: skip
    assert schema["tickets"].primary_key == ("id",)


def test_the_manager_of_a_customer_is_no_customer() -> None:
    tables = people()
    tables["customers"] = pa.table({
        "id": range(1, 41), "account_manager_id": picked(40, 12), "manager_id": picked(40, 12),
        "referred_by": [None, *picked(39, 30)],
    })  # fmt: skip
    assert {relation for relation in found(tables)[1] if relation.startswith("customers")} == {
        "customers.account_manager_id → employees.id", "customers.manager_id → employees.id",
        "customers.referred_by → customers.id",
    }  # fmt: skip


def test_a_role_without_a_word_for_a_key_is_suggested_only() -> None:
    _, used, suggested = found(people(owner=picked(60, 40), author=["x"] * 60))
    assert "tickets.owner → users.id" in suggested
    assert not any(relation.startswith("tickets.") for relation in used)


def test_a_role_whose_values_are_not_there_is_none() -> None:
    _, used, suggested = found(people(created_by=[n + 30 for n in picked(60, 40)]))
    assert not any("created_by" in relation for relation in used | suggested)


def test_two_keys_to_one_table() -> None:
    tables = {
        "teams": pa.table({"id": range(1, 21)}),
        "users": pa.table({"id": range(1, 41)}),
        "games": pa.table({"id": range(1, 61), "home_team_id": picked(60, 20), "away_team_id": picked(60, 20, 1)}),
        "messages": pa.table({"id": range(1, 61), "sender_id": picked(60, 40), "receiver_id": picked(60, 40, 1)}),
    }
    assert found(tables)[1] == {
        "games.home_team_id → teams.id", "games.away_team_id → teams.id",
        "messages.sender_id → users.id", "messages.receiver_id → users.id",
    }  # fmt: skip


def texts(count: int, seed: int) -> list[str]:
    """Random UUIDs."""
    return [str(uuid.UUID(bytes=np.random.default_rng(seed + n).bytes(16))) for n in range(count)]


def test_names_that_say_nothing_and_values_that_are_in_one_key_only() -> None:
    ids, sparse = texts(50, 0), sorted(DRAW.integers(10**12, 10**13, 50).tolist())
    tables = {
        "things": pa.table({"id": ids}),
        "accounts": pa.table({"id": sparse}),
        "notes": pa.table({"id": range(1, 101), "col7": ids * 2, "x_id": sparse * 2, "y": sparse * 2}),
        "dense": pa.table({"id": range(1, 41)}),
        "plain": pa.table({"id": range(1, 101), "owner_ref": picked(100, 40), "z_id": picked(100, 40, 3)}),
    }
    _, used, suggested = found(tables)
    assert used == {"notes.col7 → things.id", "notes.x_id → accounts.id"}
    assert suggested == {"notes.y → accounts.id"}  # large numbers, but not named as a key


def test_large_numbers_that_name_things() -> None:
    doctors = DRAW.choice(np.arange(10**6, 10**7), 60, replace=False).tolist()
    tables = {
        "doctor": pa.table({"npi": doctors, "supervisor": [None] * 5 + [doctors[n % 5] for n in range(55)]}),
        "visit": pa.table({
            "id": range(1, 201), "npi": [doctors[n % 50] for n in range(200)],
            "referring_doctor": [doctors[n % 40] for n in range(200)], "who": [doctors[n % 30] for n in range(200)],
        }),
        "budget": pa.table({"amount": doctors}),
    }  # fmt: skip
    schema, used, suggested = found(tables)
    assert (schema["doctor"].primary_key, schema["budget"].primary_key) == (("npi",), ())
    assert used == {"visit.npi → doctor.npi", "visit.referring_doctor → doctor.npi"}
    assert suggested == {"visit.who → doctor.npi", "doctor.supervisor → doctor.npi"}


def test_values_that_two_keys_have_decide_nothing() -> None:
    ids = texts(50, 0)
    tables = {
        "things": pa.table({"id": ids}),
        "copies": pa.table({"id": ids}),
        "notes": pa.table({"id": range(1, 101), "col7": ids * 2}),
    }
    assert found(tables)[1:] == (set(), set())


def test_junctions_and_lines() -> None:
    tables = {
        "actors": pa.table({"id": range(1, 41)}),
        "films": pa.table({"id": range(1, 61)}),
        "casts": pa.table({"film_id": lines()["order"], "actor_id": [n % 40 + 1 for n in range(240)]}),
        "shifts": pa.table({
            "actor_id": lines(40)["order"], "shift_no": lines(40)["line"], "hours": picked(160, 8),
            "pay": picked(160, 99), "tax": picked(160, 9), "bonus": picked(160, 9), "place": ["x", "y"] * 80,
        }),
        "logs": pa.table({"film_id": picked(300, 60), "at": moments(*range(300)), "value": picked(300, 9)}),
        "twice": pa.table({"film_id": [*range(1, 41)] * 2, "actor_id": [*range(1, 41)] * 2, "note": ["a"] * 80}),
    }  # fmt: skip
    schema, _, suggested = found(tables)
    assert {name: table.primary_key for name, table in schema.tables.items()} == {
        "actors": ("id",), "films": ("id",), "casts": ("film_id", "actor_id"), "shifts": ("actor_id", "shift_no"),
        "logs": (), "twice": (),
    }  # fmt: skip
    assert suggested == {"logs.primary_key = film_id+at"}  # any time would make it unique


def test_a_key_of_several_columns_must_be_unique_in_all_rows() -> None:
    rows = {"film_id": [*lines()["order"], 1], "actor_id": [*(n % 40 + 1 for n in range(240)), 1]}
    tables = {
        "films": pa.table({"id": range(1, 61)}),
        "actors": pa.table({"id": range(1, 41)}),
        "casts": pa.table(rows),
    }
    schema = reflect(tables)
    for limit in (100, 1000):
        proposals = propose(MemoryReader(tables, rows_a_batch=50), schema, sample_rows=limit)
        assert apply(schema, proposals)["casts"].primary_key == ()
    nulls = {**tables, "casts": pa.table({**rows, "actor_id": [*rows["actor_id"][:-1], None]})}
    assert keys(nulls)["casts"] == ()


def shipped(**columns: object) -> dict[str, pa.Table]:
    """Orders, their lines (of every other order, three), and parcels with ``columns``."""
    order, line = lines()["order"], lines()["line"]
    chosen = [(one, other) for one, other in zip(order, line, strict=True) if other <= 1 + (one % 2) * 3]
    return {
        "orders": pa.table({"order_id": range(1, 61)}),
        "order_lines": pa.table({
            "order_id": [one for one, _ in chosen], "line_no": [other for _, other in chosen],
            "amount": picked(len(chosen), 50),
        }),
        "parcels": pa.table({"parcel_id": range(1, len(chosen) + 1), **columns}),
    }  # fmt: skip


def test_relations_over_several_columns() -> None:
    order, line = (shipped()["order_lines"][name].to_pylist() for name in ("order_id", "line_no"))
    relation = "parcels.order_id+line_no → order_lines.order_id+line_no"
    _, used, suggested = found(shipped(order_id=order, line_no=line))
    dense = len(order) > 0.5 * len(set(order)) * len(set(line))
    assert dense  # five of eight combinations are keys: that all parcels are among them may be chance
    assert relation not in used | suggested
    sparse = {**shipped(order_id=order, line_no=line)}
    long = pa.table({"order_id": order, "line_no": [one * 10 + other for one, other in zip(order, line, strict=True)],
                     "amount": picked(len(order), 50)})  # fmt: skip
    sparse["order_lines"] = long
    sparse["parcels"] = sparse["parcels"].set_column(2, "line_no", long["line_no"])
    assert relation in found(sparse)[1]
    wrong = sparse["parcels"].set_column(2, "line_no", pa.array(long["line_no"].to_pylist()[::-1]))
    assert relation not in set().union(*found({**sparse, "parcels": wrong})[1:])
    declared = [Relation("parcels", ("order_id",), "orders", ("order_id",))]
    _, used, suggested = found(sparse, relations=declared)
    assert relation in suggested - used  # who declared the one left the other out


def test_a_table_between_others_that_is_referred_to_by_both_keys_is_suggested() -> None:
    student, course = lines(40, 3)["order"], [n % 7 + 1 for n in range(120)]
    pairs = sorted(set(zip(student, course, strict=True)))
    tables = {
        "students": pa.table({"id": range(1, 41)}),
        "courses": pa.table({"id": range(1, 8)}),
        "enrolments": pa.table({"student_id": [one for one, _ in pairs], "course_id": [other for _, other in pairs]}),
        "grades": pa.table({
            "id": range(1, len(pairs) + 1), "student_id": [one for one, _ in pairs],
            "course_id": [other for _, other in pairs], "grade": picked(len(pairs), 6),
        }),
    }  # fmt: skip
    _, used, suggested = found(tables)
    assert "grades.student_id → students.id" in used
    assert suggested == {"grades.student_id+course_id → enrolments.student_id+course_id"}


def test_empty_columns_named_after_a_table_are_suggested() -> None:
    tables = {
        "languages": pa.table({"language_id": range(1, 7)}),
        "films": pa.table({"film_id": range(1, 61), "original_language_id": pa.array([None] * 60, pa.int64())}),
    }
    _, used, suggested = found(tables)
    assert used == set()
    assert suggested == {"films.original_language_id → languages.language_id"}


def test_an_abbreviation_is_suggested_only() -> None:
    tables = {
        "customers": pa.table({"customer_id": range(1, 41)}),
        "cards": pa.table({"card_id": range(1, 41)}),
        "orders": pa.table({"order_id": range(1, 61), "cust_id": picked(60, 40), "x_id": picked(60, 40)}),
    }
    assert found(tables)[1:] == (set(), {"orders.cust_id → customers.customer_id"})


TEMPTING = (
    "quantity", "status_id", "external_id", "batch_id", "session_id", "zip", "priority", "level", "version", "grade",
    "type_id", "position", "rank", "year", "parent_count", "user_rating", "product_rank", "order_no", "line_number",
    "region_code", "team_size", "score", "flag", "customer_age", "store_level", "n_orders", "item_count", "owner_level",
)  # fmt: skip


def test_small_numbers_are_in_every_key_and_make_no_relation() -> None:
    parents = ("users", "customers", "products", "stores", "teams", "regions", "items", "owners", "employees")
    tables = {name: pa.table({"id": range(1, 201), "score": picked(200, 50)}) for name in parents}
    tempting = {name: picked(300, 150, seed) for seed, name in enumerate(TEMPTING)}
    tables["facts"] = pa.table({"id": range(1, 301), **tempting})
    schema, used, suggested = found(tables)
    assert used == set()
    assert not any("→" in what for what in suggested)
    assert schema["facts"].primary_key == ("id",)


def test_keys_of_other_types_do_not_compare() -> None:
    tables = {
        "days": pa.table({"date": days(*range(60)), "is_holiday": [False, True] * 30}),
        "users": pa.table({"id": [f"u{n}" for n in range(60)]}),
        "facts": pa.table({"user_id": range(60), "col": picked(60, 50), "flag": [True, False] * 30}),
    }
    assert found(tables, keys={"days": ("date",)})[1] == set()


def test_tables_of_a_program_share_a_prefix() -> None:
    tables = {
        "auth_user": pa.table({"id": range(1, 41)}),
        "auth_group": pa.table({"id": range(1, 11)}),
        "auth_user_groups": pa.table({"id": range(1, 61), "user_id": picked(60, 40), "group_id": picked(60, 10)}),
        "shop_orders": pa.table({"id": range(1, 61), "user_id": picked(60, 40)}),
        "shop_items": pa.table({"id": range(1, 81), "order_id": picked(80, 60)}),
        "shop_reviews": pa.table({"id": range(1, 61), "item_id": picked(60, 80), "writer_user_id": picked(60, 40)}),
    }
    assert found(tables)[1] == {
        "auth_user_groups.user_id → auth_user.id", "auth_user_groups.group_id → auth_group.id",
        "shop_orders.user_id → auth_user.id", "shop_items.order_id → shop_orders.id",
        "shop_reviews.item_id → shop_items.id", "shop_reviews.writer_user_id → auth_user.id",
    }  # fmt: skip


def test_what_belongs_to_an_order_is_no_item() -> None:
    tables = {name: pa.table({"id": range(1, 81)}) for name in ("orders", "order_items", "order_notes", "order_logs")}
    tables["views"] = pa.table({"id": range(1, 61), "item_id": picked(60, 80)})
    assert found(tables)[1] == set()


def test_a_star() -> None:
    day = [20_200_100 + n for n in range(1, 32)]
    tables = {
        "dim_date": pa.table({"date_key": day, "weekday": [n % 7 for n in range(31)]}),
        "dim_product": pa.table({"product_key": range(1, 41), "colour": ["red", "blue"] * 20}),
        "fact_sales": pa.table({
            "date_key": [day[n % 31] for n in range(200)], "product_key": [n // 31 % 40 + 1 for n in range(200)],
            "order_date_key": [day[n % 29] for n in range(200)], "quantity": picked(200, 30),
        }),
    }  # fmt: skip
    schema, used, _ = found(tables)
    assert used == {
        "fact_sales.date_key → dim_date.date_key", "fact_sales.order_date_key → dim_date.date_key",
        "fact_sales.product_key → dim_product.product_key",
    }  # fmt: skip
    assert schema["fact_sales"].primary_key in ((), ("date_key", "product_key"))
