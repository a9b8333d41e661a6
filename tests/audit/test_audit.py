"""No false alarm on the clean shop and on real databases; what is shown, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rdl
from rdl.audit import Audit, Finding, Fix, Kind, Severity
from rdl.audit.finding import hide_text, schema_text
from rdl.errors import LeakageError
from rdl.pipeline import Database
from rdl.query import read_task
from rdl.schema_file import merge
from rdl.shop import QUESTIONS, build_shop
from tests.audit.planted import cells, plant
from tests.audit.test_planted import CHURN, CLICK, LEAKS
from tests.query.shop import SHOP
from tests.test_cli import parsed, refused
from tests.test_cli import rdl as command

ROOT = Path(__file__).resolve().parents[2]
TASKS = ROOT / "tasks"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clean") / "shop.duckdb"
    build_shop(path, scale=0.1)
    return path


@pytest.fixture(scope="module")
def shop(clean: Path) -> Database:
    return rdl.connect(f"duckdb:///{clean}")


@pytest.mark.parametrize("path", sorted((TASKS / "shop").glob("*.pql")), ids=lambda path: path.stem)
def test_nothing_is_found_in_the_clean_shops_tasks(shop: Database, path: Path) -> None:
    found = shop.task(path).audit()
    assert found.findings == ()
    assert all(found.looked.values())
    assert "nothing found" in repr(found)


@pytest.mark.parametrize("title", [title for title, _ in QUESTIONS], ids=lambda title: title.split(":")[0])
def test_nothing_grave_is_found_in_its_questions(shop: Database, title: str) -> None:
    found = shop.task(dict(QUESTIONS)[title]).audit()
    assert cells(found) <= {("companies", "unborn")}, "companies have no time"


@pytest.mark.parametrize(
    ("task", "found"),
    [
        ("f1/driver-top3", {("seasons", "growing")}),
        ("ml_100k/rating-liked", set()),
        ("ml_100k/user-return", set()),
        ("mind_5k/shown-click", set()),
        ("beauty/interaction-item", set()),
    ],
)
def test_real_databases(shared_data: Path, task: str, found: set[tuple[str, str]]) -> None:
    folder = task.split("/", maxsplit=1)[0]
    schema = ROOT / "schemas" / f"{folder}.toml"
    db = rdl.connect(f"sqlite:///{shared_data}/{folder}.sqlite", schema=schema if schema.is_file() else None)
    audited = db.task(TASKS / f"{task}.pql").audit()
    assert cells(audited) == found
    assert all(one.severity is Severity.note for one in audited.findings)


def test_the_score_of_a_match_tells_its_result(shared_data: Path) -> None:
    db = rdl.connect(f"sqlite:///{shared_data}/worldcup.sqlite", schema=ROOT / "schemas" / "worldcup.toml")
    asked = "PREDICT matches.result FOR EACH matches.match_id SPLIT AT '2014-01-01', '2018-01-01'"
    found = db.task(asked).audit()
    told = {one.column for one in found.findings if one.kind is Kind.tells and one.table == "matches"}
    assert told == {
        "home_team_win", "away_team_win", "draw", "home_team_score_margin", "away_team_score_margin", "score",
        "home_team_score", "away_team_score",
    }  # fmt: skip
    assert {one.column for one in found.severe} == {"home_team_win", "away_team_win", "draw"}
    mended = db.task(f"{asked} {found.query_lines}").audit()
    assert not [one for one in mended.findings if one.severity is not Severity.note]


def test_what_is_shown(clean: Path, tmp_path: Path) -> None:
    found = plant(clean, tmp_path, *LEAKS["a number that tells a class"][0], *LEAKS["a time after its row"][0]).audit(
        CLICK
    )
    assert [one.severity for one in found.findings] == [Severity.severe, Severity.severe]
    printed = repr(found)
    assert "2 findings: 2 severe" in printed
    assert "HIDE impressions.dwell" in printed
    assert "[tables.reviews.columns]" in printed
    page = found._repr_html_()
    assert "<code>HIDE impressions.dwell</code>" in page
    assert "body {" not in page
    facts = found.to_json()
    assert json.loads(json.dumps(facts)) == facts
    assert set(facts["findings"][0]) == {"kind", "table", "column", "severity", "evidence", "fix", "fix_in"}  # type: ignore[index]
    with pytest.raises(LeakageError, match=r"2 severe leaks: .*impressions\.dwell"):
        found.check()


def test_the_gravest_stand_first_and_notes_are_left_to_people() -> None:
    task = read_task(CHURN, SHOP)
    found = tuple(
        Finding(Kind.tells, "users", severity.value, severity, "1", Fix.hide("users", severity.value))
        for severity in Severity
    )
    shown = Audit(task, found, {"x": "y"})
    assert shown.query_lines == "HIDE users.severe, users.suspect"
    assert shown.summary == "3 findings: 1 severe, 1 suspect, 1 note"
    Audit(task, found[1:], {}).check()


def test_names_that_need_quotes() -> None:
    fixes = [Fix.hide("Order Details", 'a "b"'), Fix.hide("users", "WHERE"), Fix.leave_out("Order Details", "x.y")]
    assert hide_text(fixes) == 'HIDE "Order Details"."a ""b""", users.WHERE'
    more = [Fix("users", "age", "known_at", "joined_at"), Fix("users", None, "time", value=False)]
    merged = merge(SHOP, schema_text(more))
    assert merged["users"].time is None
    assert merged["users"]["age"].known_at == "joined_at"
    assert schema_text([Fix.leave_out("Order Details", "x.y")]) == (
        '[tables."Order Details".columns]\n"x.y" = {stype = "unsupported"}'
    )


def test_what_was_taken_for_known_when_is_listed(clean: Path, tmp_path: Path) -> None:
    shop = plant(clean, tmp_path, "ALTER TABLE users ADD COLUMN last_login TIMESTAMP")
    found = shop.audit(CHURN)
    assert {one.table: str(one) for one in found.meanings} == {
        "users": "joined_at *; overwritten last_login *", "companies": "timeless", "categories": "timeless", "orders":
        "created_at *; at delivered_at status *, delivered_at *", "messages": "sent_at *",
        "impressions": "shown_at *", "reviews": "created_at *", "items": "listed_at *",
    }  # fmt: skip
    printed = repr(found)
    assert "inferred from all rows" in printed
    said = '[tables.orders]\ntime = "created_at"\ncolumns.delivered_at = {known_at = "delivered_at"}'
    again = {one.table: str(one) for one in shop.audit(CHURN, said).meanings}
    assert again["orders"] == "created_at; at delivered_at status *, delivered_at"
    fixed = shop.audit(CHURN, 'infer = false\n[tables.orders]\ntime = "created_at"\n[tables.users]\ntime = "joined_at"')
    assert not any(one.inferred for one in fixed.meanings)
    assert "inferred from all rows" not in repr(fixed)


def test_the_command(clean: Path, tmp_path: Path) -> None:
    leaky = plant(clean, tmp_path, *LEAKS["a number that tells a class"][0])
    url = f"duckdb:///{leaky.path}"
    found = parsed("audit", CLICK, "--db", url)
    assert [(one["kind"], one["column"]) for one in found["findings"]] == [("tells", "dwell")]
    assert found["query_lines"] == "HIDE impressions.dwell"
    page = tmp_path / "audit.html"
    assert "impressions.dwell" in command("audit", CLICK, "--db", url, "--html", str(page)).stdout
    written = page.read_text(encoding="utf-8")
    assert written.startswith("<!doctype html>")
    assert "<code>HIDE impressions.dwell</code>" in written
    assert "inferred from all rows" in written
    failed = command("audit", CLICK, "--db", url, "--fail", code=3)
    assert "impressions.dwell" in failed.stdout
    assert "1 severe leak" in failed.stderr
    assert "nothing found" in command("audit", f"{CLICK} HIDE impressions.dwell", "--db", url, "--fail").stdout
    assert "clickd" in refused("audit", "PREDICT impressions.clickd FOR EACH impressions.id", "--db", url, "--fail")
