"""Text of a predictive query → tokens, each with its place.

No word is reserved here: a table may be called ``rank``, ``order`` or ``timestamp``, and what a word means is decided
by where it stands. (A SQL engine's tokenizer would merge and reclassify such words.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from rdl.errors import QueryError


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the query's text: line and column count from 1."""

    line: int = 1
    column: int = 1
    snippet: str = ""


class TokenKind(StrEnum):
    """What a token is; ``word`` is an unquoted name or keyword, ``name`` a quoted one."""

    word = "word"
    name = "name"
    string = "string"
    number = "number"
    date = "date"
    parameter = "parameter"
    symbol = "symbol"
    end = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """A token: ``text`` is its meaning (quotes removed), ``place.snippet`` what was written."""

    kind: TokenKind
    text: str
    place: Place
    start: int
    stop: int

    def is_word(self, *words: str) -> bool:
        """Whether this is one of these keywords, written unquoted in any case."""
        return self.kind is TokenKind.word and self.text.upper() in words

    def is_symbol(self, *symbols: str) -> bool:
        """Whether this is one of these symbols."""
        return self.kind is TokenKind.symbol and self.text in symbols

    @property
    def is_name(self) -> bool:
        """Whether this can be a part of a name."""
        return self.kind in (TokenKind.word, TokenKind.name)


_PATTERN = re.compile(
    r"""
      (?P<blank>\s+|--[^\n]*|\#[^\n]*|/\*.*?\*/)
    | (?P<string>'(?:[^']|'')*')
    | (?P<name>"(?:[^"]|"")+"|`(?:[^`]|``)+`)
    | (?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}(?![\w-]))
    | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![^\W\d]))
    | (?P<parameter>:[^\W\d]\w*)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<symbol><=|>=|<>|!=|==|[-+*/%(),.<>=;])
    """,
    re.VERBOSE | re.DOTALL,
)


def tokenize(text: str) -> tuple[Token, ...]:
    """The tokens of ``text`` without blanks and comments, closed by one of kind ``end``.

    Raises QueryError at a character that begins no token, such as a quote that is never closed.
    """
    tokens: list[Token] = []
    line, line_start, at = 1, 0, 0
    while at < len(text):
        match = _PATTERN.match(text, at)
        place = Place(line, at - line_start + 1, text[at])
        if match is None or match.lastgroup is None:
            raise _unreadable(text[at], place)
        written, kind = match.group(), match.lastgroup
        if kind != "blank":
            place = Place(line, at - line_start + 1, written)
            tokens.append(Token(TokenKind(kind), _meaning(kind, written), place, at, match.end()))
        at = match.end()
        if "\n" in written:
            line += written.count("\n")
            line_start = at - len(written) + written.rindex("\n") + 1
    tokens.append(Token(TokenKind.end, "", Place(line, at - line_start + 1, ""), at, at))
    return tuple(tokens)


def _meaning(kind: str, written: str) -> str:
    """The text a token stands for: without quotes, doubled quotes single again, a parameter without its colon."""
    if kind in ("string", "name"):
        return written[1:-1].replace(written[0] * 2, written[0])
    return written[1:] if kind == "parameter" else written


def _unreadable(character: str, place: Place) -> QueryError:
    message = f"a quote {character} is never closed" if character in "'\"`" else f"{character!r} is not understood here"
    if character.isdigit():
        message = "a number runs into a name"
    return QueryError(
        message, kind="syntax", line=place.line, column=place.column, snippet=character,
        hint="text stands in 'single quotes', names in \"double quotes\" or `backticks`.",
    )  # fmt: skip


def refuse(kind: str, message: str, place: Place, hint: str | None = None, instead: tuple[str, ...] = ()) -> QueryError:
    """The QueryError for a mistake at ``place``, where ``instead`` may stand; the query's whole text is added where the
    query is read."""
    return QueryError(
        message, kind=kind, line=place.line, column=place.column, snippet=place.snippet, hint=hint, instead=instead
    )


def spelled(*parts: str) -> str:
    """The dotted name of ``parts`` as it is written: quoted where it is no plain word."""
    plain = re.compile(r"[^\W\d][\w$]*|\*")
    return ".".join(part if plain.fullmatch(part) else '"' + part.replace('"', '""') + '"' for part in parts)
