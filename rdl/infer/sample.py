"""What inference reads of a database: the first rows of each table once, and more where a sample proves nothing.

However large a table is, at most some million of its rows stand in memory at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rdl.database.reader import Reader
from rdl.keys import match, quote, session
from rdl.schema import Dtype, Schema

#: Tables of more rows are read in pieces of so many, and thinned to so many.
MOST_ROWS = 1_000_000
#: The first rows of a table are read until they are so large.
MOST_BYTES = 2**28

_UNREAD = (Dtype.binary, Dtype.list, Dtype.unknown, Dtype.json)


class Sample:
    """The first ``limit`` rows of each table, and answers that need all of its rows."""

    def __init__(self, reader: Reader, schema: Schema, limit: int) -> None:
        self.reader, self.schema, self.limit = reader, schema, limit
        self._rows: dict[str, pa.Table] = {}
        self._cut: set[str] = set()  # tables of which less than ``limit`` rows were read, as they are wide
        self._columns: dict[tuple[str, tuple[str, ...]], pa.Table] = {}
        self._counts: dict[str, int] = {}
        self._unique: dict[tuple[str, tuple[str, ...]], bool] = {}
        self._spans: dict[tuple[str, str], float] = {}

    def rows(self, table: str) -> pa.Table:
        """At most ``limit`` rows, in the engine's order, and of wide ones fewer; columns of bytes, lists and JSON are
        left out."""
        if table not in self._rows:
            wanted = [column.name for column in self.schema[table].columns if column.dtype not in _UNREAD]
            self._rows[table] = self._first(table, wanted) if wanted else pa.table({})
        return self._rows[table]

    def _first(self, table: str, wanted: list[str]) -> pa.Table:
        """The rows of as many batches as memory has a place for."""
        held: list[pa.RecordBatch] = []
        with contextlib.closing(self.reader.read(table, wanted, limit=self.limit)) as batches:
            for batch in batches:
                held.append(batch)
                if sum(one.nbytes for one in held) > MOST_BYTES:
                    self._cut.add(table)
                    break
            return pa.Table.from_batches(held, batches.schema)

    def is_whole(self, table: str) -> bool:
        """Whether :meth:`rows` holds every row of the table."""
        return bool(self.rows(table).num_rows < self.limit and table not in self._cut)

    def count(self, table: str) -> int:
        """How many rows a table has."""
        if self.is_whole(table):
            return int(self.rows(table).num_rows)
        if table not in self._counts:
            self._counts[table] = self.reader.count(table)
        return self._counts[table]

    def thinned(self, table: str, names: Sequence[str]) -> pa.Table:
        """All rows of the columns ``names`` or, of a table of more than ``MOST_ROWS``, every n-th."""
        if self.is_whole(table):
            return self.rows(table).select(list(names))
        key = (table, tuple(names))
        if key not in self._columns:
            self._columns[key] = self._every(table, names, self.step(table))
        return self._columns[key]

    def step(self, table: str) -> int:
        """Of how many rows :meth:`thinned` keeps one."""
        return max(-(-self.count(table) // MOST_ROWS), 1)

    def _every(self, table: str, names: Sequence[str], step: int) -> pa.Table:
        batches = self.reader.read(table, list(names))
        kept, offset = [], 0
        for batch in batches:
            if step == 1:
                kept.append(batch)
                continue
            kept.append(batch.take(pa.array(np.arange(-offset % step, batch.num_rows, step))))
            offset += batch.num_rows
        return pa.Table.from_batches(kept, schema=batches.schema)

    def pieces(self, table: str, names: Sequence[str]) -> Iterator[pa.Table]:
        """All rows of the columns ``names``, at most some ``MOST_ROWS`` at once; at least one piece."""
        if self.is_whole(table) or self.count(table) <= MOST_ROWS:
            yield self.thinned(table, names)
            return
        with self.reader.read(table, list(names)) as batches:
            held: list[pa.RecordBatch] = []
            for batch in batches:
                held.append(batch)
                if sum(map(len, held)) >= MOST_ROWS:
                    yield pa.Table.from_batches(held)
                    held = []
            yield pa.Table.from_batches(held, schema=batches.schema)

    def is_unique(self, table: str, names: Sequence[str]) -> bool:
        """Whether the columns ``names`` together are different in every row of the table, and never NULL."""
        key = (table, tuple(names))
        if key not in self._unique:
            first = self.rows(table).select(list(names))
            self._unique[key] = _all_different([first]) and (
                self.is_whole(table) or _all_different(self.pieces(table, names))
            )
        return self._unique[key]

    def is_dense(self, table: str, column: str, share: float) -> bool:
        """Whether more than ``share`` of the whole numbers between the least and the largest are in a column, judged
        by the first rows."""
        if (table, column) not in self._spans:
            values = self.rows(table)[column].drop_null()
            low, high = (pc.min_max(values)[name].as_py() for name in ("min", "max"))
            self._spans[table, column] = len(values) / (high - low + 1) if len(values) else 0.0
        return self._spans[table, column] > share

    def lookup(self, keys: pa.Table, table: str, referred: Sequence[str], wanted: Sequence[str] = ()) -> pa.Table:
        """For each row of ``keys`` the columns ``wanted`` of the first row of ``table`` whose ``referred`` columns
        equal it, NULL where none does, and as ``"#row"`` that row's number, NULL where none."""
        names = list(dict.fromkeys((*referred, *wanted)))
        found, begin = np.full(keys.num_rows, -1), 0
        parts: list[pa.Table] = []
        places, taken = np.full(keys.num_rows, -1), 0  # where in ``parts`` the row of each key stands
        for piece in self.pieces(table, names):
            rows = match(keys, piece.select(list(referred))).rows.astype(np.int64)
            new = np.flatnonzero((rows >= 0) & (found < 0))
            found[new] = rows[new] + begin
            places[new] = taken + np.arange(len(new))
            parts.append(piece.select(list(dict.fromkeys(wanted))).take(pa.array(rows[new])))
            taken, begin = taken + len(new), begin + piece.num_rows
            if taken == keys.num_rows:  # mostly the first rows of a table refer to the first of another
                break
        there = pa.array(places, mask=places < 0)
        columns = {name: pa.concat_tables(parts)[name].take(there) for name in dict.fromkeys(wanted)}
        return pa.table({**columns, "#row": pa.array(found, mask=found < 0)})


def _all_different(pieces: Iterator[pa.Table] | Sequence[pa.Table]) -> bool:
    """Whether no two rows of all ``pieces`` are equal and nothing is NULL; many rows are compared by 64-bit hashes."""
    seen: list[npt.NDArray[np.uint64]] = []
    for piece in pieces:
        if any(column.null_count for column in piece.columns):
            return False
        if piece.num_columns == 1 and pa.types.is_integer(piece.schema.types[0]):
            codes = np.asarray(piece.column(0).cast(pa.int64()).to_numpy(), np.int64).view(np.uint64)
        else:
            codes = _hashes(piece)
        seen.append(codes)
    codes = np.concatenate(seen) if len(seen) > 1 else seen[0]
    if np.all(codes[1:] > codes[:-1]):
        return True
    codes = np.sort(codes)
    return not np.any(codes[1:] == codes[:-1])


def _hashes(rows: pa.Table) -> npt.NDArray[np.uint64]:
    names = [f"c{place}" for place in range(rows.num_columns)]
    with session() as connection:
        connection.register("hashed", rows.rename_columns(names))
        sql = f"SELECT hash({', '.join(map(quote, names))}) AS h FROM hashed"
        return np.asarray(connection.execute(sql).fetchnumpy()["h"], np.uint64)


def distinct(values: pa.ChunkedArray) -> int:
    """How many different values there are, NULL not counted."""
    return int(pc.count_distinct(values, mode="only_valid").as_py())
