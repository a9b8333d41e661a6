"""A query that cannot be read → the query that was probably meant, where one small change after another leads there.

Every change is only a guess; what is shown has been read again and is a task.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from rdl.errors import QueryError, nearest
from rdl.query.grammar import CLAUSES, MODIFIERS
from rdl.query.habits import FOREIGN, SHORT_UNITS
from rdl.query.tokens import Token, TokenKind, tokenize

#: How many changes one after another are tried, and how many queries are read in all.
MOST_CHANGES, MOST_READ = 3, 12
#: Longer queries are not mended: nobody waits for that.
LONGEST = 1_000

_CLAUSES = tuple(clause.words.split()[0] for clause in CLAUSES)
_MODIFIERS = tuple(modifier.words.split()[0] for modifier in MODIFIERS)
_CHARACTERS = {
    "&": "AND", "|": "OR", "!": "NOT ", "[": "(", "]": ")", "{": "(", "}": ")", "≥": ">=", "≤": "<=", "≠": "<>",
    "×": "*", "–": "-", "−": "-",
}  # fmt: skip
_QUOTES = "‘’“”´"

Read = Callable[[str], QueryError | None]


def mend(text: str, error: QueryError, read: Read) -> str | None:
    """The query that ``text`` becomes where ``error`` and what follows it are mended; None where that is not known.

    ``read`` gives the error of a query, None where it is a task.
    """
    left = MOST_READ
    tried = {text}

    def search(text: str, error: QueryError, changes: int) -> str | None:
        nonlocal left
        further: list[tuple[str, QueryError]] = []
        for candidate in _candidates(text, error):
            if left == 0 or candidate in tried:
                continue
            left -= 1
            tried.add(candidate)
            found = read(candidate)
            if found is None:
                return candidate
            if (found.kind, found.snippet) != (error.kind, error.snippet) or found.column > error.column:
                further.append((candidate, found))
        for candidate, found in further if changes > 1 else ():
            mended = search(candidate, found, changes - 1)
            if mended is not None:
                return mended
        return None

    return search(text, error, MOST_CHANGES) if len(text) <= LONGEST else None


def _candidates(text: str, error: QueryError) -> Iterator[str]:
    """``text`` with one change at the place of ``error``, the likeliest first."""
    lines = text.split("\n")
    start = sum(len(line) + 1 for line in lines[: error.line - 1]) + error.column - 1
    stop = start + len(error.snippet)
    for instead in error.instead:
        yield text[:start] + instead + text[stop:]
    if error.instead:
        return
    try:
        tokens = tokenize(text)
    except QueryError:
        yield from _characters(text, start)
        return
    at = next((at for at, token in enumerate(tokens) if token.stop > start or token.kind is TokenKind.end), 0)
    yield from _Change(text, tokens, at).of(error)


def _characters(text: str, at: int) -> Iterator[str]:
    """``text`` where the character ``at`` begins no token."""
    found = text[at : at + 1]
    if found in _CHARACTERS:
        stop = at + 2 if text[at : at + 2] in ("&&", "||") else at + 1
        yield text[:at] + _CHARACTERS[found] + text[stop:]
    elif found and found in _QUOTES:
        yield text.translate(dict.fromkeys(map(ord, _QUOTES), "'"))
    elif found == "'":
        yield re.sub(r"'([\w%]+)", r"'\1'", text[at:], count=1).join((text[:at], ""))
    elif match := re.match(r"(\d+)([a-zA-Z]+)", text[at:]):
        unit = SHORT_UNITS.get(match[2].lower(), match[2])
        yield f"{text[:at]}{match[1]}, {unit}{text[at + match.end() :]}"


class _Change:
    """Changes at the token ``at`` of a query."""

    def __init__(self, text: str, tokens: Sequence[Token], at: int) -> None:
        self.text, self.at, self.token = text, at, tokens[at]
        self.end = len(tokens) - 1
        self.tokens = (*tokens, *[tokens[-1]] * 2)  # so that there is something to look at behind the end

    def of(self, error: QueryError) -> Iterator[str]:
        """The changes that may mend ``error``."""
        if error.kind == "tied-paths" and (via := re.search(r"VIA .+?(?= or VIA |$)", error.message)):
            yield self.before(f" {via[0]}", self.end)
        changes = _BY_KIND.get(error.kind)
        if changes is not None:
            yield from changes(self)

    @property
    def foreign(self) -> bool:
        """Whether this is a word of another language, which has nothing to say here."""
        return self.token.is_word(*FOREIGN)

    # --- the means --------------------------------------------------------------------------------------------

    def put(self, written: str, first: int, last: int | None = None) -> str:
        """The query with ``written`` in place of the tokens from ``first`` to ``last``."""
        last = first if last is None else last
        return self.text[: self.tokens[first].start] + written + self.text[self.tokens[last].stop :]

    def before(self, written: str, at: int) -> str:
        """The query with ``written`` before the token ``at``, behind the one before that."""
        stop = self.tokens[at - 1].stop if at else 0
        return f"{self.text[:stop]}{written}{self.text[stop:]}"

    def without(self, first: int, end: int) -> str:
        """The query without the tokens from ``first`` up to, not with, ``end``."""
        return f"{self.text[: self.tokens[first].start].rstrip()} {self.text[self.tokens[end].start :]}".rstrip()

    def moved(self, first: int, end: int, to: int) -> str:
        """The query with the tokens from ``first`` up to ``end`` moved before the token ``to``."""
        part = self.text[self.tokens[first].start : self.tokens[end].start].strip()
        if to < first:
            head, rest = self.text[: self.tokens[to].start], self.text[self.tokens[to].start : self.tokens[first].start]
            gap = "" if rest.startswith(",") else " "
            tail = self.text[self.tokens[end].start :]
            return f"{head.rstrip()} {part}{gap}{rest.rstrip()}{'' if tail.startswith(')') else ' '}{tail}".rstrip()
        head, rest = self.text[: self.tokens[first].start], self.text[self.tokens[end].start : self.tokens[to].start]
        return f"{head}{rest.rstrip()} {part} {self.text[self.tokens[to].start :]}".rstrip()

    def find(self, *words: str, after: int = 0) -> int | None:
        """The first token from ``after`` on that is one of ``words``."""
        return next((at for at in range(after, self.end) if self.tokens[at].is_word(*words)), None)

    def clause_end(self, after: int) -> int:
        """Where the clause that ``after`` is in ends."""
        return self.find(*_CLAUSES, "FOR", after=after + 1) or self.end

    def window(self) -> tuple[int, int, int] | None:
        """The window of the aggregate called at this token: its first token, its second bound's, and the bracket's."""
        depth, commas = 0, []
        for at in range(self.at + 1, self.end):
            depth += self.tokens[at].is_symbol("(") - self.tokens[at].is_symbol(")")
            if self.tokens[at].is_symbol(",") and depth == 1:
                commas.append(at)
            if depth == 0:
                return (commas[0] + 1, commas[1] + 1, at) if len(commas) > 1 else (at, at, at)
        return None

    # --- the changes ------------------------------------------------------------------------------------------

    def opening(self) -> Iterator[str]:
        predict = self.find("PREDICT", after=1)
        if self.token.is_word("FOR") and predict is not None:
            yield self.moved(0, predict, self.end)
        yield self.put("PREDICT", 0)
        yield "PREDICT " + self.text

    def for_each(self) -> Iterator[str]:
        at, token, following = self.at, self.token, self.tokens[self.at + 1]
        later = self.find("FOR", after=at + 1)
        if token.is_word(*_CLAUSES) and later is not None:
            yield self.moved(at, later, self.end)
        if token.is_word("WHERE") and later is not None:
            yield from self.filter_inside(at, later, at - 1)
        if token.is_symbol(")"):
            yield self.put("", at)
        if token.kind is TokenKind.word:
            near = nearest(token.text, _MODIFIERS)
            if near is not None:
                yield self.put(near, at)
            if following.is_name:
                yield self.put("FOR" if following.is_word("EACH") else "FOR EACH", at)
            yield self.before(" FOR EACH", at)
        if later is not None and self.foreign:
            yield self.without(at, later)

    def further(self) -> Iterator[str]:
        """Something that no clause begins with, or that does not stand where it was expected."""
        at, token, before = self.at, self.token, self.tokens[self.at - 1]
        each = self.find("FOR")
        if token.is_word(*_MODIFIERS) and each is not None and each < at:
            yield self.moved(at, self.clause_end(at), each)
        if at > 1 and before.kind is TokenKind.word and self.tokens[at - 2].is_word("FOR"):
            yield self.put("EACH", at - 1)
        if token.is_word("AND", "HAVING"):
            yield self.put("WHERE", at)
        if token.is_word("HAVING"):
            yield self.put("AND", at)
        if token.is_word("SPLIT"):
            yield self.put("AT", at + 1)
            yield self.put("BY", at + 1)
        if token.is_word("AT"):
            yield self.put("AS OF", at)
        if before.is_symbol("%") and self.tokens[at - 2].kind is TokenKind.word:
            yield self.put(f"'{self.tokens[at - 2].text}%'", at - 2, at - 1)
        if token.is_word("NOT"):
            yield self.put("<>", at)
        if before.is_word("IS"):
            yield self.put("=", at - 1)
        if before.is_word("RANK"):
            yield self.before(" TOP", at)
        if before.kind is TokenKind.number and at > 1 and self.tokens[at - 2].is_word("FORECAST"):
            yield self.before(" TIMEFRAMES", at)
        closing = self.find("FOR", after=at)
        if token.is_word("WHERE") and closing is not None:
            yield from self.filter_inside(at, closing - 1, at)
        if token.is_symbol(",") and self.find("BETWEEN") is not None:
            yield self.put(" AND", at)
        if token.kind is TokenKind.word and (near := nearest(token.text, [*_CLAUSES, *_MODIFIERS])) is not None:
            yield self.put(near, at)
        if self.find("CASE") is not None:
            yield self.before(" END", at)
        if not token.is_symbol(")", ","):
            yield self.before(",", at)
        else:
            yield self.put("", at)
        if token.is_symbol(")") and before.kind is TokenKind.number:
            yield self.put(f"0, {before.text}", at - 1)
        yield self.before(")", at)
        if self.foreign:
            yield self.without(at, self.clause_end(at))

    def filter_inside(self, first: int, end: int, closing: int) -> Iterator[str]:
        """The filter from ``first`` up to ``end`` moved into the aggregate before ``closing``, before its window."""
        depth, comma = -int(self.tokens[closing].is_symbol(")")), None
        for at in range(closing, 0, -1):
            depth += self.tokens[at].is_symbol(")") - self.tokens[at].is_symbol("(")
            if self.tokens[at].is_symbol(",") and depth == 0:
                comma = at
            if depth < 0:
                break
        if comma is not None:
            yield self.moved(first, end, comma)

    def number(self) -> Iterator[str]:
        """No whole number where one is needed."""
        at, token = self.at, self.token
        span = self.tokens[at + 1] if token.is_word("INTERVAL") else token
        last = at + 1 if token.is_word("INTERVAL") else at
        if match := re.fullmatch(r"(\d+)\s*([a-zA-Z]*)", span.text if span.kind is TokenKind.string else ""):
            length = f"{match[1]}, {match[2]}" if match[2] else match[1]
            yield self.put(length.replace(",", "") if self.tokens[at - 1].is_word("EVERY") else length, at, last)
            yield self.put(f"0, {length}", at, last)
        if token.is_word("TIMEFRAMES") and self.tokens[at + 1].kind is TokenKind.number:
            yield self.put(f"{self.tokens[at + 1].text} TIMEFRAMES", at, at + 1)
        if self.tokens[at - 1].is_word("TOP"):
            yield self.before(" 10", at) if token.is_word("FOR") else self.put("10", at)

    def no_window(self) -> Iterator[str]:
        found = self.window()
        if found is not None:
            yield self.before(", 0, 30, days", found[2])
            yield self.before(", -30, 0, days", found[2])

    def reversed_window(self) -> Iterator[str]:
        """A window that ends before it begins: its bounds the other way round."""
        comma = next((n for n in range(self.at, self.end) if self.tokens[n].is_symbol(",")), None)
        if comma is not None:
            start = self.text[self.token.start : self.tokens[comma - 1].stop]
            last = comma + 2 if self.tokens[comma + 1].is_symbol("-") else comma + 1
            end = self.text[self.tokens[comma + 1].start : self.tokens[last].stop]
            yield self.put(f"{end}, {start}" if start != end else f"0, {end}", self.at, last)

    def turned_window(self) -> Iterator[str]:
        """A window on the wrong side of t: as long a one on the other."""
        found = self.window()
        if found is not None and found[0] < found[1]:
            first, second, _ = found
            last = second + 1 if self.tokens[second].is_symbol("-") else second
            bounds = [self.tokens[first : second - 1], self.tokens[second : last + 1]]
            start, end = ("".join(token.text for token in bound) for bound in bounds)
            turned = [
                bound[1:] if bound.startswith("-") else bound if bound == "0" else f"-{bound}" for bound in (end, start)
            ]
            yield self.put(", ".join(turned), first, last)

    def ranked(self) -> Iterator[str]:
        """A list of which nothing is said: what stands before FOR EACH says it."""
        each = self.find("FOR")
        if each is not None:
            yield self.before(" RANK TOP 10", each)

    def unranked(self) -> Iterator[str]:
        each = self.find("FOR", after=self.at)
        if each is not None:
            yield self.without(self.at, each)

    def listed(self) -> Iterator[str]:
        """Values after IN without their brackets."""
        values = (TokenKind.string, TokenKind.number, TokenKind.date)
        last = self.at
        while self.tokens[last + 1].is_symbol(",") and self.tokens[last + 2].kind in values:
            last += 2
        if self.token.kind in values:
            yield self.put(f"({self.text[self.token.start : self.tokens[last].stop]})", self.at, last)

    def null(self) -> Iterator[str]:
        """A comparison with NULL as a test for it."""
        compared = self.tokens[self.at - 1]
        yield self.put("IS NULL" if compared.is_symbol("=", "==") else "IS NOT NULL", self.at - 1, self.at)

    def exchanged(self) -> Iterator[str]:
        first, second = (self.tokens[at].place.snippet for at in (self.at, self.at + 2))
        yield self.put(f"{second}, {first}", self.at, self.at + 2)


_BY_KIND: dict[str, Callable[[_Change], Iterator[str]]] = {
    "not-a-query": _Change.opening,
    "expected-for-each": _Change.for_each,
    "syntax": _Change.further,
    "expected-value": _Change.further,
    "not-a-number": _Change.number,
    "in-without-list": _Change.listed,
    "no-window": _Change.no_window,
    "empty-window": _Change.reversed_window,
    "looks-back": _Change.turned_window,
    "looks-ahead": _Change.turned_window,
    "list-without-rank": _Change.ranked,
    "key-target": _Change.ranked,
    "rank-without-list": _Change.unranked,
    "forecast": _Change.unranked,
    "split-order": _Change.exchanged,
    "null": _Change.null,
}
