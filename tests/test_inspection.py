"""The inspection: its JSON by hand, its warnings, its page and its diagram."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from rdl import clock, infer, problems
from rdl.database import open_reader
from rdl.extract import Report
from rdl.infer import Proposal
from rdl.inspection import Inspection, inspect
from rdl.page import Html, bullets, element, page, table
from rdl.schema import Column, Dtype, Relation, Schema, Stype, Table, TimePath
from rdl.schema_diagram import WIDTH, draw_diagram
from rdl.snapshot import build
from tests.memory import MemoryReader

EVIL = '<b a="1">&\'x'


def schema_of(tables: Mapping[str, Sequence[str]], relations: Sequence[Relation] = (), **times: TimePath) -> Schema:
    """Tables of integer columns whose first is the key."""
    return Schema(
        {
            name: Table(
                name,
                tuple(Column(column, Dtype.integer, Stype.numerical) for column in columns),
                (columns[0],),
                times.get(name),
            )
            for name, columns in tables.items()
        },
        tuple(relations),
    )


OF_USER = Relation("orders", ("user",), "users", ("id",))
DECLARED = schema_of({"users": ("id",), "orders": ("id", "user", "at"), "empty": ("id",)})
PROPOSALS = [
    Proposal("relation", "orders", OF_USER, "all of them are there"),
    Proposal("time", "orders", TimePath("at"), "named so"),
    Proposal("stype", "orders", Stype.categorical, f"few {EVIL}", column="at"),
    Proposal("primary_key", "users", ("name",), "overruled"),
]
SCHEMA = infer.apply(DECLARED, PROPOSALS[:3])
REPORT = Report(
    rows={"users": 3, "orders": 2000, "empty": 0},
    dangling={str(OF_USER): (500, 0.25)},
    duplicate_keys={"users": 1},
    null_times={"orders": 20},
    repairs={"orders.at": 7},
)


def inspected(schema: Schema = SCHEMA, report: Report = REPORT, **facts: Any) -> Inspection:
    reader = MemoryReader({}, keys={}, times={}, relations=[])
    for name, value in facts.items():
        setattr(reader, name, value)
    return inspect(reader, DECLARED, PROPOSALS, schema, report)


class Page(HTMLParser):
    """What a page leads to, and whether its tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    @staticmethod
    def check(text: str) -> Page:
        """``text`` is one whole page that leads nowhere else."""
        found = Page(text)
        assert found.open == []
        assert all(link.startswith("#") for link in found.links)
        assert not set(found.tags) & {"script", "link", "img", "iframe", "object"}
        assert "@import" not in text
        assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
        return found


def test_json_has_what_was_promised() -> None:
    found = inspected().to_json()
    assert list(found)[:3] == ["tables", "relations", "warnings"]
    assert found["tables"]["orders"] == {
        "rows": 2000,
        "primary_key": ["id"],
        "time": "at",
        "time_declared": False,
        "columns": {
            "id": {"dtype": "integer", "stype": "numerical"},
            "user": {"dtype": "integer", "stype": "numerical"},
            "at": {"dtype": "integer", "stype": "categorical"},
        },
    }
    assert found["tables"]["users"]["time"] is None
    assert found["relations"] == [
        {"child": "orders", "key": ["user"], "parent": "users", "referred": ["id"], "declared": False, "dangling": 0.25}
    ]
    assert [(entry["what"], entry["used"]) for entry in found["inferred"]] == [
        ("orders.user → users.id", True),
        ("orders.time = at", True),
        ("orders.at = categorical", True),
        ("users.primary_key = name", False),
    ]


def test_known_at_is_among_what_is_inferred() -> None:
    proposal = Proposal("known_at", "orders", "at", "later", column="user")
    kept = infer.apply(SCHEMA, [proposal])
    assert inspected(kept).uses(proposal)
    assert not inspected(SCHEMA).uses(proposal)


SUGGESTED = [
    Proposal("leak", "orders", Stype.unsupported, f"equals {EVIL}", column="at", suggested=True),
    Proposal("valid_until", "orders", "at", "an end", suggested=True),
]


def test_what_is_suggested_stands_apart_until_a_schema_file_takes_it() -> None:
    def shown(schema: Schema) -> tuple[str, str, list[bool]]:
        reader = MemoryReader({}, keys={}, times={}, relations=[])
        found = inspect(reader, DECLARED, [*PROPOSALS, *SUGGESTED], schema, REPORT)
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(found)
        used = [entry["used"] for entry in found.to_json()["inferred"] if entry["suggested"]]  # type: ignore[index,union-attr]
        return console.export_text(), Page.check(found.to_html()).words, used

    assert infer.apply(DECLARED, SUGGESTED) == DECLARED
    text, page_words, used = shown(SCHEMA)
    assert used == [False, False]
    assert "suggested, not used" in text
    for said in ("orders.at may tell the future", "orders.valid_until = at"):
        assert said in text
        assert f"{said} (not used)" not in text
        assert said in page_words
    assert "Suggested, not used: a schema file can say so: 2" in page_words
    taken = infer.suggestions(SCHEMA, SUGGESTED)
    assert [why for _, why in taken] == [f"equals {EVIL}", "an end"]
    text, _, used = shown(taken[1][0])
    assert used == [False, True]
    assert text.index("orders.valid_until = at") < text.index("suggested, not used")


def test_a_relation_says_who_named_it() -> None:
    own = Relation("empty", ("id",), "users", ("id",))
    found = inspected(replace(SCHEMA, relations=(*SCHEMA.relations, own)))
    assert (found.origin(OF_USER), found.origin(own)) == ("inferred", "schema file")
    declared = replace(DECLARED, relations=(own,))
    assert inspect(MemoryReader({}, keys={}, times={}, relations=[]), declared, [], declared, REPORT).origin(own) == (
        "declared"
    )


def test_every_problem_is_said_once_with_what_to_do() -> None:
    warnings = inspected(warnings=["view v is left out", "view v is left out", "at mysql://a:secret@h/d"]).warnings
    told = [
        r"orders.user → users.id: 500 keys \(25%\) name no row",
        r"users: 1 row with a key that an earlier row already has",
        r"timeless: users, empty; .* schema file",
        r"orders: 20 rows \(1%\) without a known time \(at\)",
        r"orders.at: 7 cells did not fit",
        r"empty: empty; .*--exclude",
        r"view v is left out",
        r"at mysql://a:\*\*\*@h/d",
    ]
    assert len(warnings) == len(told)
    for line, pattern in zip(warnings, told, strict=True):
        assert re.match(pattern, line), line
        assert "\n" not in line


def test_a_sound_database_has_no_warnings() -> None:
    schema = schema_of({"users": ("id", "at")}, users=TimePath("at"))
    assert problems.find(schema, Report({"users": 3}, {}, {}, {}, {})) == []


def test_what_is_missing_everywhere_is_said() -> None:
    tables = {f"t{n}": Table(f"t{n}", (Column("a", Dtype.integer, Stype.numerical),)) for n in range(12)}
    lines = problems.find(Schema(tables), Report(dict.fromkeys(tables, 1), {}, {}, {}, {}))
    assert len(lines) == 3
    assert lines[0].startswith("no relation between any tables")
    assert lines[1].startswith("no primary key: t0, t1, ")
    assert "t9 and 2 more;" in lines[1]
    assert lines[2].startswith("no table has a time")


DAY = clock.US_PER_DAY


def late_lines(tmp_path: Path, times: Sequence[int], **columns: Sequence[int | None]) -> list[str]:
    values = {name: pa.array(column, pa.timestamp("us")) for name, column in {"at": times, **columns}.items()}
    reader = MemoryReader(
        {"orders": pa.table(values)}, keys={}, times={"orders": "at"}, relations=[], known_at={"told": "told"}
    )
    return [*problems.late_columns(reader.snapshot(tmp_path / "snapshot"))]


def test_times_filled_in_later_are_suspected(tmp_path: Path) -> None:
    lines = late_lines(
        tmp_path,
        [1, 2, 3, 4],
        delivered=[None, None, None, 9],
        before=[0, 0, 0, 0],
        same=[1, 2, 3, 4],
        told=[9, 9, 9, 9],
        without_end=[clock.NO_END] * 4,
    )
    assert len(lines) == 1
    assert lines[0].startswith("orders.delivered: later than its row (at) in 100% of cells")
    assert lines[0].endswith('known_at = "delivered".')


def test_whole_days_are_compared_as_days(tmp_path: Path) -> None:
    assert late_lines(tmp_path, [0, DAY], noon=[DAY // 2, 3 * DAY // 2]) == []
    (tmp_path / "b").mkdir()
    assert len(late_lines(tmp_path / "b", [0, DAY], next=[DAY, 2 * DAY])) == 1


def test_rows_of_unknown_time_do_not_count(tmp_path: Path) -> None:
    assert late_lines(tmp_path, [5, None], gone=[4, 9]) == []  # type: ignore[list-item]


@given(st.floats(0, 1))
def test_a_share_is_never_rounded_to_none_or_all(share: float) -> None:
    shown = problems.percent(share)
    assert (shown == "0%") == (share == 0)
    assert (shown == "100%") == (share == 1)


def test_the_page_stands_alone_and_escapes_everything() -> None:
    columns = (Column(EVIL, Dtype.integer, Stype.identifier), Column("up", Dtype.integer, Stype.identifier))
    schema = Schema({EVIL: Table(EVIL, columns, (EVIL,))}, (Relation(EVIL, ("up",), EVIL, (EVIL,)),))
    proposals = [Proposal("stype", EVIL, Stype.identifier, EVIL, column=EVIL)]
    report = Report({EVIL: 1}, {}, {}, {}, {f"{EVIL}.up": 1})
    reader = MemoryReader({}, keys={}, times={}, relations=[])
    reader.name, reader.url = EVIL, f"sqlite:///{EVIL}"
    text = inspect(reader, schema, proposals, schema, report).to_html()
    assert "<b a" not in text
    assert Page.check(text).words.count(EVIL) >= 8
    assert "prefers-color-scheme: dark" in text


def test_the_page_tells_all_that_the_json_does() -> None:
    found = inspected()
    words = Page.check(found.to_html()).words
    for proposal in found.proposals:
        assert proposal.what in words
        assert proposal.evidence in words
    for warning in found.warnings:
        assert warning in words
    assert "dashed: not declared" in words
    assert found._repr_html_().count("<svg") == 1


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_terminal_shows_it_within_its_width(width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(inspected())
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= width
    for word in ("orders", "2,000", "timeless", "at *", "inferred", "25%", "users.primary_key = name (not used)"):
        assert word in shown
    assert "6 warnings" in shown


def rectangles(svg: str) -> list[tuple[float, float, float, float]]:
    found = re.findall(r'<rect class="box" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', svg)
    return [(float(x), float(y), float(x) + float(w), float(y) + float(h)) for x, y, w, h in found]


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """Schemas with any relations: to oneself, in cycles, twice to one parent, none."""
    count = draw(st.integers(1, 12))
    pairs = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=25))
    columns: dict[str, list[str]] = {f"t{n}": ["id"] for n in range(count)}
    relations = []
    for number, (child, parent) in enumerate(pairs):
        columns[f"t{child}"].append(f"f{number}")
        relations.append(Relation(f"t{child}", (f"f{number}",), f"t{parent}", ("id",)))
    return schema_of(columns, relations)


@settings(max_examples=60, deadline=None)
@given(schemas())
def test_no_two_tables_overlap_and_every_relation_is_drawn(schema: Schema) -> None:
    inferred = set(schema.relations[::2])
    svg = draw_diagram(schema, dict.fromkeys(schema.tables, 7), inferred)
    boxes = rectangles(svg)
    assert len(boxes) == len(schema.tables)
    width, height = map(float, re.findall(r'viewBox="0 0 (\d+) (\d+)"', svg)[0])
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    for one, other in combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    kinds = re.findall(r'<path class="(e [^"]*)"', svg)
    assert len(kinds) == len(schema.relations)
    assert sum(kind.endswith(" i") for kind in kinds) == len(inferred)
    # every arrow begins at the side of its parent and ends at the side of its child
    names = list(schema.tables)
    for relation, path in zip(schema.relations, re.findall(r'<path class="e [^"]*" d="M([^"]*)"', svg), strict=True):
        numbers = [float(number) for number in re.findall(r"[\d.]+", path)]
        parent, child = boxes[names.index(relation.parent)], boxes[names.index(relation.child)]
        assert numbers[0] in (parent[0], parent[2])
        assert parent[1] <= numbers[1] <= parent[3]
        end = numbers[-1] if "q" in path else numbers[-2]
        assert end in (child[0], child[2])


def test_parents_stand_left_of_their_children_and_layers_stay_low() -> None:
    schema = schema_of(
        {"hub": ("id",), **{f"leaf{n}": ("id", "hub") for n in range(29)}},
        [Relation(f"leaf{n}", ("hub",), "hub", ("id",)) for n in range(29)],
    )
    boxes = dict(zip(schema.tables, rectangles(draw_diagram(schema, {})), strict=True))
    assert all(boxes["hub"][0] + WIDTH < boxes[f"leaf{n}"][0] for n in range(29))
    assert max(bottom for *_, bottom in boxes.values()) < 1600


def test_long_names_are_cut_and_kept_in_a_title() -> None:
    name = "表" * 40
    svg = draw_diagram(schema_of({name: ("id",)}), {name: 5})
    assert f"<title>{name}</title>" in svg
    assert "表…" in svg


def test_html_is_escaped_once() -> None:
    assert element("p", "<", Html("<i>&</i>"), kind='a"') == '<p class="a&quot;">&lt;<i>&</i></p>'
    assert bullets([]) == ""
    assert table(["a", "b"], [["<", 2]], numbers=1).count("&lt;") == 1
    assert '<td class="n">2</td>' in table(["a", "b"], [["<", 2]], numbers=1)
    assert "<title>a&amp;b</title>" in page("a&b")


@pytest.mark.parametrize(("name", "tables", "relations"), [("f1", 13, 21), ("worldcup", 27, 60)])
def test_real_databases(shared_data: Path, tmp_path: Path, name: str, tables: int, relations: int) -> None:
    reader = open_reader(f"sqlite:///{shared_data}/{name}.sqlite")
    declared = reader.reflect()
    proposals = infer.propose(reader, declared)
    schema = infer.apply(declared, proposals)
    snapshot = build(reader, schema, tmp_path / "snapshot")
    found = inspect(reader, declared, proposals, schema, snapshot.report, snapshot)
    facts = found.to_json()
    assert (len(facts["tables"]), len(facts["relations"])) == (tables, relations)
    assert all(relation["declared"] and not relation["dangling"] for relation in facts["relations"])
    if name == "f1":
        assert facts["tables"]["results"]["time"] == "raceId.date"
        assert facts["tables"]["circuits"]["time"] is None
    text = found.to_html()
    assert len(Page.check(text).words) > 1000
    assert len(rectangles(text)) == tables
