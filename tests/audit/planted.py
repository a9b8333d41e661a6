"""A sample shop with leaks planted by SQL, and what an audit of a question on it finds."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

import rdl
from rdl.audit import Audit, Finding


@dataclass(frozen=True)
class Shop:
    """A shop in the file ``path``, with what its schema file says."""

    path: Path
    schema: str = ""

    def audit(self, query: str, more: str = "") -> Audit:
        """The audit of a question, with ``more`` in the schema file."""
        file = self.path.with_suffix(".toml")
        file.write_text(f"{self.schema}\n{more}\n")
        return rdl.connect(f"duckdb:///{self.path}", schema=file).task(query).audit()

    def mended(self, query: str, found: Finding) -> Audit:
        """The audit once more, with what ``found`` says to write written."""
        assert found.fix is not None
        if found.fix.where == "query":
            return self.audit(f"{query} {found.fix}")
        return self.audit(query, str(found.fix))


def plant(clean: Path, folder: Path, *sql: str, schema: str = "") -> Shop:
    """A copy of the shop in ``clean``, changed by ``sql``."""
    path = folder / "shop.duckdb"
    shutil.copy(clean, path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("SELECT setseed(0.5)")
        for statement in sql:
            connection.execute(statement)
    return Shop(path, schema)


def cells(found: Audit) -> set[tuple[str, str]]:
    """What was found, as (table or table.column, kind)."""
    return {(one.what, one.kind.name) for one in found.findings}
