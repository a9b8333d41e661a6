"""The seam between rdl and a database engine: one ``Reader`` a family of engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

import pyarrow as pa

from rdl.schema import Schema

IfExists = Literal["fail", "append", "replace"]


class Reader(Protocol):
    """A connected database: reflects what is declared, reads tables to Arrow, writes predictions back.

    A reader infers no meaning: what is not declared is for :mod:`rdl.infer` to propose.
    """

    #: The URL without its password.
    url: str
    #: A short name of the database, as in ``schemas/<name>.toml``.
    name: str
    #: Cells that did not fit their declared type and were read as NULL, counted by (table, column).
    repairs: Mapping[tuple[str, str], int]
    #: What the last :meth:`reflect` had to leave out or could not make sense of, a line each.
    warnings: Sequence[str]
    #: How many threads may read at once within :meth:`consistent`.
    parallel_reads: int

    def reflect(self) -> Schema:
        """Tables, columns, keys and relations as declared. Each column has the semantic type that its storage type
        suggests; tables that rdl itself wrote predictions into are left out, and so is a column of a type that has
        no meaning here, with a line in ``warnings``. A range is two columns, ``<name>_lower`` and ``<name>_upper``.
        Without a primary key, the first unique constraint over columns that are never NULL is the table's key."""
        ...

    def count(self, table: str) -> int:
        """The number of rows of ``table``."""
        ...

    def consistent(self) -> AbstractContextManager[None]:
        """Within it every :meth:`count`, :meth:`read` and :meth:`fingerprint` sees the database as it stood at the
        beginning, where the engine has transactions; where it has none, DatabaseError is raised on leaving if the data
        changed meanwhile."""
        ...

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        limit: int | None = None,
        since: tuple[str, int] | None = None,
    ) -> pa.RecordBatchReader:
        """The rows of ``table`` in batches, in the engine's own order, at most ``limit`` of them.

        ``since`` (a date or timestamp column, µs UTC) keeps only the rows whose time there is that or later; of a
        column of whole numbers, those whose number is that or larger.

        Arrow types follow ``Column.dtype``: boolean → bool, integer → int64, float → float64, decimal → float64,
        text, uuid and json → string, date and timestamp → timestamp[us] (UTC, without a zone), time → time64[us],
        interval → duration[us], binary → binary, list → list. A cell that does not fit its type becomes NULL and is
        counted in ``repairs``; a time that is infinite or beyond what the type holds is ``clock.NO_END``, or
        ``clock.NO_BEGINNING`` where it lies before. Raises DatabaseError.
        """
        ...

    def fingerprint(self) -> str:
        """Text that changes whenever the data may have changed (tables that rdl wrote do not count)."""
        ...

    def write(
        self,
        table: str,
        rows: pa.Table,
        *,
        if_exists: IfExists = "fail",
        like: Mapping[str, tuple[str, str]] | None = None,
    ) -> int:
        """Writes ``rows`` into ``table`` in one transaction and returns their number: all of them or none.

        ``like`` names, for some columns of ``rows``, the (table, column) of the database whose declared type they
        take; the others have the type that fits theirs in Arrow.

        The table is marked as rdl's within the database (in ``rdl_predictions``; in MySQL, where no transaction spans
        a new table, in its comment), so that it is never taken for an input.
        Raises DatabaseError where the table exists and ``if_exists`` is ``fail``, or was not written by rdl.
        """
        ...

    def close(self) -> None:
        """Lets go of the connection."""
        ...
