"""What is known of a database: tables, keys, relations, times and types; what was declared, what was inferred and from
what; and what looks wrong. For programs as JSON, for a terminal through rich, for a browser as one page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, JustifyMethod
from rich.table import Table as Grid
from rich.text import Text

from rdl import problems
from rdl.database.reader import Reader
from rdl.errors import redact
from rdl.extract import Report
from rdl.infer import Proposal
from rdl.page import Html, bullets, element, join, page
from rdl.page import table as html_table
from rdl.problems import percent, plural
from rdl.schema import Relation, Schema, Stype, Table, TimePath
from rdl.schema_diagram import draw_diagram
from rdl.snapshot import Snapshot

_SHORT = {
    Stype.numerical: "num", Stype.categorical: "cat", Stype.multicategorical: "multi", Stype.timestamp: "time",
    Stype.text_embedded: "text", Stype.embedding: "vec", Stype.identifier: "id", Stype.unsupported: "unused",
}  # fmt: skip

_HOW_TO_USE = (
    "`rdl schema` writes them as comments into a schema file: take the # away to use one. A column that may tell the "
    'future is left out there by stype = "unsupported", or masked by known_at = "the column that says when".'
)


def inspect(
    reader: Reader,
    declared: Schema,
    proposals: Sequence[Proposal],
    schema: Schema,
    report: Report,
    snapshot: Snapshot | None = None,
) -> Inspection:
    """The inspection of a database: ``declared`` by it, with ``proposals``, used as ``schema``, extracted with
    ``report``. With its ``snapshot``, columns that may be filled in later than their row are looked for."""
    said = [redact(str(warning)) for warning in getattr(reader, "warnings", ())]
    warnings = tuple(dict.fromkeys([*problems.find(schema, report, snapshot), *said]))
    return Inspection(reader.name, redact(reader.url), declared, tuple(proposals), schema, report, warnings)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of the database ``name`` at ``url``; see :func:`inspect`."""

    name: str
    url: str
    declared: Schema
    proposals: tuple[Proposal, ...]
    schema: Schema
    report: Report
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """``tables`` by name, ``relations``, ``warnings``, and as ``inferred`` what was proposed, each with whether it
        is ``used``. A time is null where a table is timeless; ``dangling`` is a share of the keys that are not NULL;
        a column has a ``time_format`` only where the schema gives it one."""
        tables = {
            table.name: {
                "rows": self.report.rows.get(table.name, 0),
                "primary_key": list(table.primary_key),
                "time": str(table.time) if table.time else None,
                "time_declared": self._is_declared(table),
                "columns": {
                    column.name: {"dtype": column.dtype.value, "stype": column.stype.value}
                    | ({"time_format": column.time_format} if column.time_format else {})
                    for column in table.columns
                },
            }
            for table in self.schema.tables.values()
        }
        relations = [
            {
                "child": relation.child,
                "key": list(relation.key),
                "parent": relation.parent,
                "referred": list(relation.referred),
                "declared": relation in self.declared.relations,
                "dangling": self.dangling(relation),
            }
            for relation in self.schema.relations
        ]
        inferred = [{**proposal.to_json(), "used": self.uses(proposal)} for proposal in self.proposals]
        return {"tables": tables, "relations": relations, "warnings": list(self.warnings), "inferred": inferred}

    def dangling(self, relation: Relation) -> float:
        """The share of the keys of ``relation`` that name no row, of those that are not NULL."""
        return self.report.dangling.get(str(relation), (0, 0.0))[1]

    def uses(self, proposal: Proposal) -> bool:
        """Whether ``proposal`` stands in the schema: a schema file may say otherwise."""
        table = self.schema.tables.get(proposal.table)
        if table is None:
            return False
        match proposal.value:
            case Relation():
                return proposal.value in self.schema.relations
            case TimePath():
                return table.time == proposal.value
            case Stype():
                return any(c.name == proposal.column and c.stype is proposal.value for c in table.columns)
            case str() if proposal.kind == "valid_until":
                return table.valid_until == proposal.value
            case str() if proposal.kind == "time_format":
                return any(c.name == proposal.column and c.time_format == proposal.value for c in table.columns)
            case str():
                return any(c.name == proposal.column and c.known_at == proposal.value for c in table.columns)
            case _:
                return table.primary_key == proposal.value

    def origin(self, relation: Relation) -> str:
        """Who says that ``relation`` is one: ``declared``, ``inferred`` or ``schema file``."""
        if relation in self.declared.relations:
            return "declared"
        return "inferred" if any(proposal.value == relation for proposal in self.proposals) else "schema file"

    def _is_declared(self, table: Table) -> bool:
        before = self.declared.tables.get(table.name)
        return table.time is not None and before is not None and before.time == table.time

    @property
    def summary(self) -> str:
        """How much there is, on one line."""
        schema = self.schema
        columns = sum(len(table.columns) for table in schema.tables.values())
        inferred = sum(relation not in self.declared.relations for relation in schema.relations)
        timed = sum(table.time is not None for table in schema.tables.values())
        parts = [plural(len(schema.tables), "table"), plural(sum(self.report.rows.values()), "row")]
        parts += [plural(columns, "column"), plural(len(schema.relations), "relation")]
        parts[-1] += f" ({inferred} not declared)" if inferred else ""
        return ", ".join([*parts, f"{timed} of {len(schema.tables)} tables with a time"])

    def __rich__(self) -> Group:
        parts: list[object] = [Text(self.name, style="bold"), Text(f"{self.url}\n{self.summary}", style="dim")]
        parts += ["", self._tables()]
        if self.schema.relations:
            parts += ["", self._relations()]
        if self.proposals:
            parts += ["", self._inferred([proposal for proposal in self._open if proposal.kind != "stype"])]
        if self._suggested:
            parts += ["", self._suggestions()]
        if self.warnings:
            lines = Grid.grid(padding=(0, 1))
            for warning in self.warnings:
                lines.add_row(Text("!", style="yellow"), Text(warning))
            parts += ["", Text(plural(len(self.warnings), "warning"), style="bold yellow"), lines]
        return Group(*parts)  # type: ignore[arg-type]

    def _tables(self) -> Grid:
        grid = _grid("table", "rows", "key", "time", "columns", whole=("table", "rows", "time"))
        for table in self.schema.tables.values():
            counts = Counter(column.stype for column in table.columns)
            stypes = ", ".join(f"{counts[stype]} {short}" for stype, short in _SHORT.items() if counts[stype])
            time = Text(str(table.time)) if table.time else Text("timeless", style="dim")
            time.append("" if table.time is None or self._is_declared(table) else " *", style="cyan")
            rows = f"{self.report.rows.get(table.name, 0):,}"
            grid.add_row(Text(table.name, style="bold"), rows, Text(" + ".join(table.primary_key)), time, Text(stypes))
        return grid

    def _relations(self) -> Grid:
        grid = _grid("relation", "", "dangling" if any(map(self.dangling, self.schema.relations)) else "")
        for relation in self.schema.relations:
            share, origin = self.dangling(relation), self.origin(relation)
            style = "dim" if origin == "declared" else "cyan"
            grid.add_row(Text(str(relation)), Text(origin, style=style), percent(share) if share else "")
        return grid

    def _inferred(self, proposals: Sequence[Proposal]) -> Group:
        grid = _grid("inferred *", "because")
        for proposal in proposals:
            what = Text(proposal.what)
            if not self.uses(proposal):
                what.append(" (not used)", style="dim")
            grid.add_row(what, Text(proposal.evidence, style="dim"))
        rest = len(self._open) - len(proposals)
        said = f"{plural(rest, 'semantic type')} inferred too: --json and --html say which, and why."
        return Group(*([grid] if proposals else []), *([Text(said, style="dim")] if rest else []))

    def _suggestions(self) -> Group:
        grid = _grid("suggested, not used", "because")
        for proposal in self._suggested:
            grid.add_row(Text(proposal.what), Text(proposal.evidence, style="dim"))
        return Group(grid, Text(_HOW_TO_USE, style="dim"))

    @property
    def _suggested(self) -> list[Proposal]:
        """What is suggested only, and not taken over by a schema file."""
        return [proposal for proposal in self.proposals if proposal.suggested and not self.uses(proposal)]

    @property
    def _open(self) -> list[Proposal]:
        """What is proposed and not only suggested."""
        return [proposal for proposal in self.proposals if proposal not in self._suggested]

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x:auto">{self._diagram()}</div>'

    def _diagram(self) -> Html:
        undeclared = {relation for relation in self.schema.relations if relation not in self.declared.relations}
        return Html(draw_diagram(self.schema, self.report.rows, undeclared))

    def to_html(self) -> str:
        """One page that stands alone: the diagram, the columns of every table, what was inferred, the warnings."""
        warned = element("p", element("a", plural(len(self.warnings), "warning"), href="#warnings"))
        dashed = any(relation not in self.declared.relations for relation in self.schema.relations)
        legend = (
            f"An arrow leads from the child to the parent it refers to{'; dashed: not declared' if dashed else ''}. "
            "● primary key, → foreign key, ◷ time. Point at a table to see its relations."
        )
        return page(
            f"{self.name}: {plural(len(self.schema.tables), 'table')}",
            element("h1", self.name),
            element("p", element("code", self.url), kind="soft"),
            element("p", self.summary),
            warned if self.warnings else "",
            element("h2", "Tables and relations"),
            element("div", self._diagram(), kind="wide"),
            element("p", legend, kind="soft"),
            element("h2", "Columns"),
            element("div", *map(self._card, self.schema.tables.values()), kind="cards"),
            element("h2", "Inferred"),
            *self._inferred_html(),
            element("h2", "Warnings", id="warnings"),
            bullets(self.warnings) or element("p", "None."),
        )

    def _card(self, table: Table) -> Html:
        facts = [plural(self.report.rows.get(table.name, 0), "row")]
        facts += [f"key {' + '.join(table.primary_key)}"] if table.primary_key else ["no key"]
        facts += [f"time {table.time}" if table.time else "timeless"]
        facts += [f"over at {table.valid_until}"] if table.valid_until else []
        proposed = {p.column for p in self.proposals if p.kind == "stype" and p.table == table.name and self.uses(p)}
        rows = []
        for column in table.columns:
            known = element("span", f" known at {column.known_at}", kind="soft") if column.known_at else ""
            star = element("span", " *", kind="soft") if column.name in proposed else ""
            of = f" ({column.time_format})" if column.time_format else ""
            stored = element("span", column.dtype.value + of, kind="soft")
            rows.append((join([column.name, known]), stored, join([column.stype.value, star])))
        return element(
            "div", element("h3", table.name), element("div", ", ".join(facts), kind="soft"), html_table((), rows),
            kind="card", id=f"table-{list(self.schema.tables).index(table.name)}",
        )  # fmt: skip

    def _inferred_html(self) -> Iterator[Html]:
        if not self.proposals:
            yield element("p", "Nothing: all of it is declared.")
            return
        yield element("p", "Not declared, but suggested by names and rows. A schema file overrules it.", kind="soft")
        parts = [
            ("Keys, relations and times", [p for p in self._open if p.kind != "stype"]),
            ("Suggested, not used: a schema file can say so", self._suggested),
            ("Semantic types, marked * above", [p for p in self._open if p.kind == "stype"]),
        ]
        for title, chosen in parts:
            rows = [(p.what, p.evidence, "" if self.uses(p) else "not used") for p in chosen]
            if rows and chosen is parts[1][1]:
                yield element("p", _HOW_TO_USE, kind="soft")
            if rows:
                shown = {} if title.startswith("Semantic") else {"open": ""}
                listed = html_table(("what", "because", ""), rows)
                yield element("details", element("summary", f"{title}: {len(rows)}"), listed, **shown)


def _grid(*columns: str, whole: Sequence[str] = ()) -> Grid:
    """A table for the terminal; the columns ``whole`` are the last to be made narrower."""
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        justify: JustifyMethod = "right" if name == "rows" else "left"
        if name in whole:
            grid.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis")
        else:
            grid.add_column(name, justify=justify, overflow="fold")
    return grid
