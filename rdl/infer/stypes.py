"""What the values of columns mean, by their content where their storage type does not tell."""

from __future__ import annotations

from dataclasses import dataclass

from rdl.infer.proposal import Proposal
from rdl.infer.sample import Sample
from rdl.infer.words import MEASURES, forms, word_set, words
from rdl.keys import quote, session
from rdl.schema import Column, Dtype, Schema, Stype, Table

#: Integers and texts of at most so many distinct values are categories, whatever their name.
FEW_NUMBERS, FEW_TEXTS = 10, 50
#: Texts and codes of at most ``MOST_CATEGORIES`` values are categories where each stands on ``REPEATED`` rows or more.
MOST_CATEGORIES, REPEATED = 5_000, 5
SHORT_NAME_WORDS, SHORT_LIST = 2.5, 200

_CODES = word_set(
    """
    area bucket category class cluster code district dow flag gender group id key kind label language mode month
    occupation postal region segment sex state status type version weekday zip zipcode
    """
)
_NAMES_OF_ONE = word_set(
    """
    barcode code email fax guid hash href iban id isbn key link mail path phone ref serial sku slug token uri url uuid
    """
)
_NUMBERS = (Dtype.integer, Dtype.float, Dtype.decimal)


@dataclass(frozen=True, slots=True)
class _Content:
    """What stands in a column's sampled rows: rows, rows not NULL, distinct values, whether all are whole numbers, and
    for text the mean number of words and the shares of values that are URLs, JSON, numbers or hold a digit."""

    rows: int
    filled: int
    distinct: int
    whole: bool = True
    words: float = 0.0
    urls: float = 0.0
    json: float = 0.0
    numbers: float = 0.0
    digits: float = 0.0


def stypes(schema: Schema, sample: Sample) -> list[Proposal]:
    """A semantic type for each column whose content says another one than its storage type does.

    The content is that of the sampled rows: a table's first, in the engine's order, whenever they came to be. A column
    in which nothing varies has a meaning too: whether it says anything is told where statistics are fitted, at the cut.
    """
    proposals = []
    for table in schema.tables.values():
        contents = _contents(table, sample)
        for column in table.columns:
            found = _stype(schema, table, column, contents.get(column.name))
            if found and found[0] != column.stype:
                rows = sample.rows(table.name).num_rows
                said = found[1] + ("" if sample.is_whole(table.name) else f" (of the first {rows:,} rows)")
                proposals.append(Proposal("stype", table.name, found[0], said, column=column.name))
    return proposals


def _stype(schema: Schema, table: Table, column: Column, content: _Content | None) -> tuple[Stype, str] | None:
    """The semantic type of a column and why; None where its storage type says enough."""
    if table.primary_key == (column.name,):
        return Stype.identifier, "the primary key"
    if any(column.name in relation.key for relation in schema.relations_from(table.name)):
        return Stype.identifier, "a foreign key"
    if content is None or content.rows == 0:
        return None
    if column.dtype == Dtype.boolean:
        return Stype.categorical, "true or false"
    if column.dtype in _NUMBERS:
        return _number(column, content)
    if column.dtype == Dtype.text:
        return _text(column, content)
    if column.dtype in (Dtype.date, Dtype.timestamp) and column.stype is not Stype.unsupported:
        return Stype.timestamp, "a time within a key"  # others are timestamps as they stand
    return None


def _number(column: Column, content: _Content) -> tuple[Stype, str] | None:
    """Numbers stay numbers, but for flags, codes and a few whole numbers whose name measures nothing."""
    named = words(column.name)
    seen = f"{content.distinct} distinct values"
    if not content.whole or content.filled == 0:
        return Stype.numerical, "a quantity"
    if content.distinct <= 2 and not _measures(named[-1:]):
        return Stype.categorical, seen
    if named[-1:] and any(form in _CODES for form in forms(named[-1])):
        if content.distinct <= MOST_CATEGORIES and content.filled >= REPEATED * content.distinct:
            return Stype.categorical, f"named as a code, {seen}"
        return Stype.identifier, f"named as a code, {seen} in {content.filled} rows"
    if _measures(named):
        return Stype.numerical, "named as a quantity"
    if column.dtype == Dtype.integer and content.distinct <= FEW_NUMBERS:
        return Stype.categorical, f"{seen}, not named as a quantity"
    return Stype.numerical, seen


def _measures(named: list[str]) -> bool:
    return any(forms(word) & MEASURES for word in named) or named[-1:] == ["at"]


def _text(column: Column, content: _Content) -> tuple[Stype, str] | None:
    if content.filled == 0:
        return None
    of_one = any(form in _NAMES_OF_ONE for word in words(column.name)[-1:] for form in forms(word))
    is_unique = content.distinct >= 0.95 * content.filled and content.filled > 1
    seen = f"{content.distinct} distinct values in {content.filled} rows"
    if content.urls > 0.9:
        return Stype.identifier, "URLs"
    if content.json > 0.9:
        return Stype.unsupported, "JSON"
    repeats = content.distinct <= MOST_CATEGORIES and content.filled >= REPEATED * content.distinct
    if content.numbers > 0.9 and not (of_one or repeats or content.distinct <= FEW_TEXTS):
        return Stype.unsupported, f"numbers written as text, {seen}"
    if is_unique and (of_one or (content.words < 1.5 and content.digits > 0.5 and content.distinct > FEW_TEXTS)):
        return Stype.identifier, f"{seen}, named or written as a code"
    # A name of one or two words on nearly every row says which row it is and nothing that carries over to others;
    # in a short list of values (statuses, genres) it is what the rows mean.
    if content.words < SHORT_NAME_WORDS and content.distinct > max(SHORT_LIST, 0.5 * content.filled):
        return Stype.identifier, f"{seen}, {content.words:.1f} words each: a name"
    if is_unique and (content.words >= 3 or content.distinct > FEW_TEXTS):
        return Stype.text_embedded, f"{seen}, {content.words:.1f} words each"
    if content.words < 8 and (content.distinct <= FEW_TEXTS or repeats):
        return Stype.categorical, seen
    if of_one and content.words < 1.5:
        return Stype.identifier, f"{seen}, named as a code"
    return Stype.text_embedded, f"{seen}, {content.words:.1f} words each"


def _contents(table: Table, sample: Sample) -> dict[str, _Content]:
    """The content of the sampled rows of every column that was read, by one query a table."""
    rows = sample.rows(table.name)
    columns = [table[name] for name in rows.column_names]
    if not columns:
        return {}
    asked: list[str] = []
    for place, column in enumerate(columns):
        name = quote(f"c{place}")
        asked += [f"count({name})", f"count(DISTINCT {name})"]
        if column.dtype == Dtype.text:
            asked += [
                f"avg(len(regexp_split_to_array(trim({name}), '\\s+')))",
                f"avg(CAST(regexp_matches({name}, '^\\s*(https?|ftp)://|^www\\.') AS INT))",
                f"avg(CAST(regexp_matches({name}, '^\\s*(\\{{.*\\}}|\\[.*\\])\\s*$', 's') AS INT))",
                f"avg(CAST(regexp_full_match({name}, '[-+\\d.,:\\s%$€£]*\\d[-+\\d.,:\\s%$€£]*') AS INT))",
                f"avg(CAST(regexp_matches({name}, '\\d') AS INT))",
            ]
        elif column.dtype in _NUMBERS:
            asked += [f"coalesce(bool_and({name} = trunc({name})), true)"]
    with session() as connection:
        connection.register("sampled", rows.rename_columns([f"c{place}" for place in range(len(columns))]))
        answers = iter(connection.execute(f"SELECT {', '.join(asked)} FROM sampled").fetchone() or ())
    contents = {}
    for column in columns:
        filled, distinct = next(answers), next(answers)
        if column.dtype == Dtype.text:
            shares = [float(next(answers) or 0.0) for _ in range(5)]
            contents[column.name] = _Content(rows.num_rows, filled, distinct, True, *shares)
        elif column.dtype in _NUMBERS:
            contents[column.name] = _Content(rows.num_rows, filled, distinct, bool(next(answers)))
        else:
            contents[column.name] = _Content(rows.num_rows, filled, distinct)
    return contents
