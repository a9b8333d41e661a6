"""The predictive query language: text and a schema → a :class:`~rdl.query.task.Task`. Reads no row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rdl.errors import ConfigError, QueryError
from rdl.query.clauses import read_clauses
from rdl.query.manifest import read_manifest
from rdl.query.mending import mend
from rdl.query.resolve import resolve_task
from rdl.query.task import Kind, LabelSql, Split, Task, TaskTable
from rdl.query.tokens import TokenKind, tokenize
from rdl.schema import Schema

__all__ = ["Kind", "LabelSql", "Split", "Task", "TaskTable", "parameters_of", "read_manifest", "read_task"]


def read_task(query: str | Path, schema: Schema, *, parameters: Mapping[str, object] | None = None) -> Task:
    """The task that ``query`` asks on ``schema``; ``query`` is its text, or the path of a ``.pql`` file.

    ``parameters`` hold the values of ``:name``: text, numbers, truth values, dates, or lists of them.
    Raises QueryError, which names the line and column in the text or file.
    """
    text = _text(query)
    try:
        return resolve_task(read_clauses(text, parameters), schema, text)
    except QueryError as error:
        error.text = text
        error.corrected = mend(text, error, lambda changed: _refusal(changed, schema, parameters))
        raise
    except RecursionError:
        raise QueryError("the query is nested too deeply", kind="syntax", text=text) from None


def parameters_of(query: str | Path) -> frozenset[str]:
    """The names of the parameters in ``query``, its text or the path of a ``.pql`` file.

    >>> sorted(parameters_of("PREDICT SUM(orders.amount, 0, :days) FOR users.id IN :users"))
    ['days', 'users']
    """
    return frozenset(token.text for token in tokenize(_text(query)) if token.kind is TokenKind.parameter)


def _refusal(text: str, schema: Schema, parameters: Mapping[str, object] | None) -> QueryError | None:
    """The error of the query ``text``; None where it is a task."""
    try:
        resolve_task(read_clauses(text, parameters), schema, text)
    except QueryError as error:
        return error
    except RecursionError:
        return QueryError("the query is nested too deeply", kind="syntax", text=text)
    return None


def _text(query: str | Path) -> str:
    if isinstance(query, str) and ("\n" in query or not query.strip().endswith(".pql")):
        return query
    path = Path(query).expanduser()
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path} cannot be read: {reason}") from None
