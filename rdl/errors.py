"""The errors a user of rdl meets: what was found, where, what is allowed, what to do.

Every error that a user's input can cause is an :class:`RdlError`; the command line prints it in a line or two and
exits with code 2, or 3 for a :class:`LeakageError`. Anything else that escapes is a fault of rdl and exits with code 1.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class RdlError(Exception):
    """Something the user gave cannot be used.

    ``message`` says what was found and where; ``hint``, where there is one, what to do instead.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(redact(message))
        self.message = redact(message)
        self.hint = redact(hint) if hint else None

    def __str__(self) -> str:
        return f"{self.message}\nHint: {self.hint}" if self.hint else self.message

    def to_json(self) -> dict[str, object]:
        """The error as JSON values: its class, ``message`` and ``hint`` (None: there is none)."""
        return {"error": type(self).__name__, "message": self.message, "hint": self.hint}


class DatabaseError(RdlError):
    """A database cannot be reached, read or written."""


class SchemaError(RdlError):
    """A schema is contradictory, or names something that the database does not have."""


class ConfigError(RdlError):
    """An option, a run folder or an output has a value that cannot be used."""


class LeakageError(RdlError):
    """What was asked would let a model see what was not known at the seed's time."""


class QueryError(RdlError):
    """A predictive query cannot be read or has no meaning on this schema.

    ``line`` and ``column`` count from 1 and point at the first character of ``snippet`` in the query's text;
    ``kind`` is a stable name for the sort of mistake (``unknown-column``, ``tied-paths``, …). ``instead`` holds what
    may stand in place of ``snippet``, the likeliest first; ``corrected`` is the query that would work, where known.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "invalid",
        line: int = 1,
        column: int = 1,
        snippet: str = "",
        text: str = "",
        hint: str | None = None,
        instead: tuple[str, ...] = (),
        corrected: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind, self.line, self.column, self.snippet, self.text = kind, line, column, snippet, text
        self.instead, self.corrected = instead, corrected

    def to_json(self) -> dict[str, object]:
        """The error as JSON values, with its kind, its place, what stands there, and the query that would work."""
        place = {"line": self.line, "column": self.column, "snippet": self.snippet} if self.text else {}
        return {**super().to_json(), "kind": self.kind, **place, "corrected": self.corrected}

    def __str__(self) -> str:
        lines = self.text.splitlines()
        where = f"line {self.line}, column {self.column}: {self.message}" if self.text else self.message
        if 0 < self.line <= len(lines):
            mark = "^" * max(1, len(self.snippet.splitlines()[0]) if self.snippet else 1)
            where += f"\n  {lines[self.line - 1]}\n  {' ' * (self.column - 1)}{mark}"
        if self.hint:
            where += f"\nHint: {self.hint}"
        if self.corrected:
            changed = [line for line in self.corrected.splitlines() if line not in lines]
            where += "\nThis works: " + "\n            ".join(changed)
        return where


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like ``name``, or None where none is close; upper and lower case are alike.

    >>> nearest("amont", ["amount", "status"])
    'amount'
    """
    by_folded = {candidate.casefold(): candidate for candidate in allowed}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest allowed one, else what is allowed (at most eight names)."""
    names = list(allowed)
    close = nearest(name, names)
    if close is not None:
        return f"did you mean {close!r}?"
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"there is {shown}." if names else "there is none."


def redact(text: str) -> str:
    """``text`` with the password of every URL in it replaced by ``***``.

    >>> redact("no server at postgresql://ann:s3cret@db/shop")
    'no server at postgresql://ann:***@db/shop'
    """
    return re.sub(r"(\w[\w+.-]*://[^\s:/@]*):[^\s]*@(?=[^\s@]*(?:\s|$))", r"\1:***@", text)
