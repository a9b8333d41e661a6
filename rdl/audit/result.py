"""An audit for programs as JSON, for a terminal through rich, for a notebook as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as Grid
from rich.text import Text

from rdl.audit.finding import Finding, Fix, Severity, clauses_text, hide_text, schema_text
from rdl.audit.meanings import INFERRED, Meaning
from rdl.errors import LeakageError
from rdl.page import Html, element, fragment, page
from rdl.page import table as html_table
from rdl.problems import plural
from rdl.query.task import Task

_STYLES = {Severity.severe: "bold red", Severity.suspect: "yellow", Severity.note: "dim"}


@dataclass(frozen=True, slots=True, repr=False)
class Audit:
    """What may leak in ``task``: ``findings``, gravest first; ``looked`` says by check what was looked at, and
    ``meanings`` when the rows and columns within reach were taken to be known."""

    task: Task
    findings: tuple[Finding, ...]
    looked: Mapping[str, str]
    meanings: tuple[Meaning, ...] = ()

    @property
    def severe(self) -> tuple[Finding, ...]:
        """The findings that the data prove."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.severe)

    @property
    def query_lines(self) -> str:
        """What to add to the query so that the severe and suspect findings go away; empty where nothing."""
        fixes = self._fixes()
        return "\n".join(filter(None, (clauses_text(fixes), hide_text(fixes))))

    @property
    def schema_lines(self) -> str:
        """What to add to the schema file so that the severe and suspect findings go away, as TOML; empty where
        nothing. Notes are left to who knows the data."""
        return schema_text(self._fixes())

    def check(self) -> None:
        """Raises LeakageError where a finding is severe."""
        if self.severe:
            named = "; ".join(f"{finding.what} {finding.kind}" for finding in self.severe)
            raise LeakageError(
                f"{plural(len(self.severe), 'severe leak')}: {named}", hint="the audit says what to write for each."
            )

    def to_json(self) -> dict[str, object]:
        """The audit as JSON values, as ``rdl audit --json`` prints it."""
        return {
            "query": self.task.source,
            "kind": self.task.kind.value,
            "entity": self.task.entity,
            "findings": [finding.to_json() for finding in self.findings],
            "query_lines": self.query_lines,
            "schema_lines": self.schema_lines,
            "looked_at": dict(self.looked),
            "meanings": {one.table: dict(one.facts) for one in self.meanings},
        }

    @property
    def summary(self) -> str:
        """How much was found, on one line."""
        if not self.findings:
            return "nothing found"
        counts = {severity: sum(one.severity is severity for one in self.findings) for severity in Severity}
        named = ", ".join(f"{count} {severity}" for severity, count in counts.items() if count)
        return f"{plural(len(self.findings), 'finding')}: {named}"

    def __repr__(self) -> str:
        console = Console(width=110, no_color=True, highlight=False, force_terminal=False)
        with console.capture() as written:
            console.print(self, crop=False)
        return written.get()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(f"{self.task.kind.value} for each {self.task.entity}: {self.summary}", style="bold")
        if self.findings:
            grid = Grid(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
            for name in ("", "what", "because"):
                grid.add_column(name, overflow="fold")
            for finding in self.findings:
                what = Text(finding.what, style="bold")
                what.append(f"\n{finding.kind}", style="dim not bold")
                because = Text(finding.evidence)
                if finding.fix is not None:
                    because.append(f"\n{finding.fix.where}: ", style="dim").append(
                        _on_one_line(str(finding.fix)), style="green"
                    )
                grid.add_row(Text(finding.severity.value, style=_STYLES[finding.severity]), what, because)
            yield ""
            yield grid
        for title, lines in self._to_paste():
            yield ""
            yield Text(title, style="bold")
            yield Text(lines, style="green")
        yield ""
        yield Text("looked at  ", style="bold").append(self._looked, style="not bold dim")
        if self.meanings:
            yield ""
            facts = Grid(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), show_header=False)
            for meaning in self.meanings:
                facts.add_row(Text(meaning.table), Text(str(meaning), style="dim"))
            yield Text("known when", style="bold")
            yield facts
        if any(meaning.inferred for meaning in self.meanings):
            yield Text(INFERRED, style="dim")

    def _repr_html_(self) -> str:
        return fragment(
            element("h3", f"{self.task.kind.value} for each {self.task.entity}: {self.summary}"), *self._body()
        )

    def to_html(self) -> str:
        """One page that stands alone."""
        title = f"{self.task.kind.value} for each {self.task.entity}: {self.summary}"
        question = element("h1", self.task.source.strip(), kind="question")
        return page(title, question, element("p", title), *self._body())

    def _body(self) -> list[Html]:
        parts: list[Html] = []
        if self.findings:
            rows = []
            for one in self.findings:
                fix = element("code", _on_one_line(str(one.fix))) if one.fix is not None else "–"
                rows.append((one.severity.value, element("b", one.what), one.kind.value, one.evidence, fix))
            parts.append(html_table(("", "what", "", "because", "fix"), rows))
        for title, lines in self._to_paste():
            parts += [element("p", title), element("pre", lines)]
        looked = html_table((), [(element("b", name), text) for name, text in self.looked.items()])
        parts.append(element("details", element("summary", "Looked at"), looked))
        if self.meanings:
            known = html_table((), [(element("b", one.table), str(one)) for one in self.meanings])
            noted = element("p", INFERRED, kind="soft") if any(one.inferred for one in self.meanings) else Html()
            parts.append(element("details", element("summary", "Known when"), known, noted))
        return parts

    @property
    def _looked(self) -> str:
        return "; ".join(f"{name}: {one}" for name, one in self.looked.items() if not one.startswith("nothing:"))

    def _fixes(self) -> list[Fix]:
        return [one.fix for one in self.findings if one.fix is not None and one.severity is not Severity.note]

    def _to_paste(self) -> list[tuple[str, str]]:
        titles = (("add to the query", self.query_lines), ("add to the schema file", self.schema_lines))
        return [(title, lines) for title, lines in titles if lines]


def _on_one_line(text: str) -> str:
    return " ".join(text.split("\n"))
