"""Tokens → expressions. Operators bind as in SQL: OR, AND, NOT, tests, + -, * / %, unary minus."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rdl.clock import UNITS, Span, to_datetime, to_us, unit_named
from rdl.errors import ConfigError, QueryError, did_you_mean, nearest
from rdl.query.expressions import (
    Arithmetic,
    Between,
    Call,
    Case,
    Compare,
    Expression,
    In,
    IsNull,
    Like,
    ListLiteral,
    Literal,
    Logic,
    Name,
    Negative,
    Not,
)
from rdl.query.functions import AGGREGATES, FUNCTIONS
from rdl.query.grammar import COMPARISONS, CONSTANTS, INFINITE, PRODUCTS, RESERVED, SUMS, TESTS
from rdl.query.habits import FOREIGN, SHORT_UNITS, SYNONYMS
from rdl.query.tokens import Place, Token, TokenKind, refuse

#: A whole number of more digits is read as a float, as engines do; nothing is counted that far.
_MOST_DIGITS = 18
#: No window is longer than the calendar.
_MOST_DAYS = 3_650_000
#: Tests before whose keyword NOT may stand.
_NEGATED = tuple(test.words.split()[0] for test in TESTS if test.negated)


class Parser:
    """Reads expressions from tokens, left to right. Parameters (``:name``) are replaced by their values."""

    def __init__(self, tokens: Sequence[Token], parameters: Mapping[str, object] | None = None) -> None:
        self._tokens = tokens
        self._at = 0
        self._parameters, self._used = dict(parameters or {}), set[str]()

    # --- tokens -----------------------------------------------------------------------------------------------

    def peek(self, ahead: int = 0) -> Token:
        """The token ``ahead`` of the next one; the last one where there are no more."""
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def take(self) -> Token:
        """The next token, which is passed."""
        token = self.peek()
        self._at += 1
        return token

    def accept(self, *words: str) -> Token | None:
        """The next tokens, passed, where they are exactly these keywords or symbols one after another; else None."""
        for ahead, word in enumerate(words):
            if not (self.peek(ahead).is_word(word) or self.peek(ahead).is_symbol(word)):
                return None
        first = self.peek()
        self._at += len(words)
        return first

    def expect(self, word: str, after: str = "") -> Token:
        """The next token, passed. Raises QueryError where it is not ``word``."""
        found = self.accept(word)
        if found is None:
            raise self.unexpected(f"expected {word}{after}")
        return found

    def unexpected(self, message: str, kind: str = "syntax", hint: str | None = None) -> QueryError:
        """The error for the next token."""
        token = self.peek()
        found = "the end of the query" if token.kind is TokenKind.end else repr(token.place.snippet)
        foreign = FOREIGN.get(token.text.upper()) if token.kind is TokenKind.word else None
        return refuse(kind, f"{message}, found {found}", token.place, foreign or hint)

    # --- operators --------------------------------------------------------------------------------------------

    def expression(self, what: str = "a value") -> Expression:
        """The expression that begins at the next token. Raises QueryError where none does, naming ``what``."""
        parts, places = [self._conjunction(what)], []
        while at := self.accept("OR"):
            places.append(at.place)
            parts.append(self._conjunction("a condition"))
        return _joined("OR", parts, places)

    def _conjunction(self, what: str) -> Expression:
        parts, places = [self._negation(what)], []
        while at := self.accept("AND"):
            places.append(at.place)
            parts.append(self._negation("a condition"))
        return _joined("AND", parts, places)

    def _negation(self, what: str) -> Expression:
        if not self.peek(1).is_symbol(".") and (at := self.accept("NOT")):
            return Not(self._negation("a condition"), place=at.place)
        return self._test(what)

    def _test(self, what: str) -> Expression:
        left = self._sum(what)
        while True:
            at = self.peek()
            if at.kind is TokenKind.symbol and at.text in COMPARISONS:
                self.take()
                left = Compare(COMPARISONS[at.text], left, self._sum("a value"), place=at.place)
                continue
            if self.accept("IS"):
                negated = self.accept("NOT") is not None
                self.expect("NULL", " after IS")
                left = IsNull(left, negated, place=at.place)
                continue
            negated = at.is_word("NOT") and self.peek(1).is_word(*_NEGATED)
            if negated:
                self.take()
            tested = self._worded_test(left, negated, at.place)
            if tested is None:
                return left
            left = tested

    def _worded_test(self, left: Expression, negated: bool, place: Place) -> Expression | None:
        if self.accept("IN"):
            return In(left, self.items(), negated, place=place)
        if self.accept("BETWEEN"):
            low = self._sum("a value")
            self.expect("AND", " between the two bounds of BETWEEN")
            return Between(left, low, self._sum("a value"), negated, place=place)
        for test in TESTS:
            if test.sql is not None and self.accept(*test.words.split()):
                return Like(test.words, left, self._sum("a text"), negated, place=place)
        return None

    def items(self) -> tuple[Expression, ...]:
        """The values after IN: a list in parentheses, or a parameter."""
        if self.peek().kind is TokenKind.parameter:
            value = self._parameter(self.take())
            return value.items if isinstance(value, ListLiteral) else (value,)
        if not self.accept("("):
            raise self.unexpected("IN needs a list", "in-without-list", "write IN ('a', 'b') or IN (1, 2).")
        items = [self._sum("a value")]
        while self.accept(","):
            items.append(self._sum("a value"))
        self.expect(")", " after the list of IN")
        return tuple(items)

    def _sum(self, what: str) -> Expression:
        left = self._product(what)
        while (at := self.peek()).is_symbol(*SUMS):
            self.take()
            left = Arithmetic(at.text, left, self._product("a value"), place=at.place)
        return left

    def _product(self, what: str) -> Expression:
        left = self._signed(what)
        while (at := self.peek()).is_symbol(*PRODUCTS):
            self.take()
            left = Arithmetic(at.text, left, self._signed("a value"), place=at.place)
        return left

    def _signed(self, what: str) -> Expression:
        if at := self.accept("-"):
            operand = self._signed("a value")
            if isinstance(operand, Literal) and isinstance(operand.value, int | float):
                return Literal(-operand.value, place=at.place)
            return Negative(operand, place=at.place)
        return self._value(what)

    # --- values -----------------------------------------------------------------------------------------------

    def _value(self, what: str) -> Expression:
        token = self.peek()
        if self.accept("("):
            inner = self.expression()
            self.expect(")")
            return inner
        if token.kind in (TokenKind.string, TokenKind.number, TokenKind.date):
            self.take()
            return Literal(_constant(token), place=token.place)
        if token.kind is TokenKind.parameter:
            return self._parameter(self.take())
        if token.is_word(*CONSTANTS) and not self.peek(1).is_symbol("."):
            self.take()
            return Literal(CONSTANTS[token.text.upper()], place=token.place)
        if token.is_word("CASE") and not self.peek(1).is_symbol("."):
            return self._case()
        if token.kind is TokenKind.word and self.peek(1).is_symbol("(") and not token.is_word(*RESERVED):
            return self._call()
        if token.is_name and (self.peek(1).is_symbol(".") or not token.is_word(*RESERVED, "SELECT", "INTERVAL")):
            return self.name(star=False)
        before = self._tokens[self._at - 1].place.snippet if self._at else ""
        message = f"expected {what}" + (f" after {before}" if what != "a target" and before else "")
        hint = "say of which table: orders.*." if token.is_symbol("*") else None
        raise self.unexpected(message, "expected-target" if what == "a target" else "expected-value", hint)

    def name(self, *, star: bool = False) -> Name:
        """The dotted name that begins at the next token; it may end in ``.*`` where ``star``."""
        first = self.peek()
        if not first.is_name:
            raise self.unexpected("expected a name")
        begin = self._at
        parts = [self.take().text]
        last = first
        while self.accept("."):
            last = self.peek()
            if not (last.is_name or last.is_symbol("*")):
                raise self.unexpected("expected a column after the dot")
            parts.append(self.take().text)
            if last.is_symbol("*"):
                if not star:
                    raise refuse("star", "* belongs to COUNT and EXISTS alone", last.place, "name a column.")
                break
        written = "".join(token.place.snippet for token in self._tokens[begin : self._at])
        place = Place(first.place.line, first.place.column, written)
        return Name(tuple(parts), starred=last.is_symbol("*"), place=place)

    def _case(self) -> Expression:
        at = self.take()
        subject = None if self.peek().is_word("WHEN") else self.expression()
        branches: list[tuple[Expression, Expression]] = []
        while when := self.accept("WHEN"):
            condition = self.expression()
            if subject is not None:
                condition = Compare("=", subject, condition, place=when.place)
            self.expect("THEN")
            branches.append((condition, self.expression()))
        if not branches:
            raise self.unexpected("expected WHEN after CASE")
        otherwise = self.expression() if self.accept("ELSE") else None
        self.expect("END", " to close CASE")
        return Case(tuple(branches), otherwise, place=at.place)

    def _call(self) -> Expression:
        at = self.take()
        function = at.text.upper()
        self.take()
        if function in FUNCTIONS:
            return Call(function, self._arguments(), place=at.place)
        if function not in AGGREGATES:
            close = SYNONYMS.get(function) or nearest(function, (*AGGREGATES, *FUNCTIONS))
            hint = f"did you mean {close}?" if close else f"use one of {', '.join(AGGREGATES)}."
            instead = (close,) if close and function not in FOREIGN else ()
            message = f"unknown aggregate {at.text}"
            raise refuse("unknown-aggregate", message, at.place, FOREIGN.get(function, hint), instead)
        if function == "COUNT" and self.accept("DISTINCT"):
            function = "COUNT_DISTINCT"
        starred = self.peek().is_name and self.peek(1).is_symbol(".")
        argument = self.name(star=True) if starred and self._stars_ahead() else self.expression("a column")
        kept = self.expression("a condition") if self.accept("WHERE") else None
        return self._window(function, argument, kept, at)

    def _stars_ahead(self) -> bool:
        """Whether the dotted name at the next token ends in ``.*``."""
        ahead = 0
        while self.peek(ahead).is_name and self.peek(ahead + 1).is_symbol("."):
            ahead += 2
        return ahead > 0 and self.peek(ahead).is_symbol("*")

    def _arguments(self) -> tuple[Expression, ...]:
        arguments = [self.expression()]
        while self.accept(","):
            arguments.append(self.expression())
        self.expect(")")
        return tuple(arguments)

    def _window(self, function: str, argument: Expression, kept: Expression | None, at: Token) -> Expression:
        if self.peek().is_symbol(")"):
            raise refuse(
                "no-window", f"an aggregate over time needs a window: {function} has none", at.place,
                f"write {function}(…, 0, 30, days).",
            )  # fmt: skip
        self.expect(",", " before the window's start")
        start_at = self.peek()
        start = self._bound(infinite=True)
        self.expect(",", " and the window's end")
        end = self._bound() or 0
        unit = self.unit() if self.accept(",") else "day"
        self.expect(")", " after the window")
        if start is not None and start >= end:
            raise refuse(
                "empty-window", f"the window start {start} is not before its end {end}", start_at.place,
                f"write {min(start, end)}, {max(start, end)}." if start != end else "the window is (start, end].",
            )  # fmt: skip
        if max(abs(start or 0), abs(end)) * Span(1, unit).days > _MOST_DAYS:
            message = f"a window of {max(abs(start or 0), abs(end))} {unit}s leaves the calendar"
            raise refuse("endless-window", message, start_at.place, "-INF begins at the beginning of time.")
        return Call(function, (argument,), kept, start, end, unit, windowed=True, place=at.place)

    def _bound(self, *, infinite: bool = False) -> int | None:
        at = self.peek()
        negative = self.accept("-") is not None
        self.accept("+")
        if self.peek().is_word(*INFINITE):
            if negative and infinite:
                self.take()
                return None
            raise refuse("endless-window", "a window cannot end at infinity", at.place, "-INF can only be its start.")
        number = self.integer("a window's bound")
        return -number if negative else number

    def integer(self, what: str) -> int:
        """The whole number at the next token (or the parameter that stands for one)."""
        token = self.peek()
        if token.is_symbol("-") and self.peek(1).kind is TokenKind.number:
            number = self.peek(1).place.snippet
            place = replace(token.place, snippet=f"-{number}")
            raise refuse("not-a-number", f"{what} is not below 0", place, instead=(number,))
        literal = self._value(what) if token.kind in (TokenKind.number, TokenKind.parameter) else None
        value = literal.value if isinstance(literal, Literal) else None
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 10**_MOST_DIGITS:
            hint = "use a smaller unit for a fraction: 12, hours." if token.kind is TokenKind.number else None
            message = f"{what} is a whole number, found {token.place.snippet[:40] or 'nothing'}"
            raise refuse("not-a-number", message, token.place, FOREIGN.get(token.text.upper(), hint))
        return value

    def unit(self) -> str:
        """The unit of time named at the next token. Raises QueryError where there is none of that name."""
        token = self.take()
        unit = unit_named(token.text) if token.is_name else None
        if unit is None:
            units = [f"{unit}s" for unit in UNITS]
            close = SHORT_UNITS.get(token.text.lower()) or nearest(token.text, units)
            hint = f"did you mean {close!r}?" if close else did_you_mean(token.text, units)
            message = f"unknown unit {token.place.snippet}" if token.place.snippet else "a unit of time is missing"
            instead = (close,) if close else () if token.place.snippet else (" days",)
            raise refuse("unknown-unit", message, token.place, hint, instead)
        return unit

    def time(self) -> int:
        """The time (µs UTC) at the next token: a string, a bare date or a parameter."""
        token = self.peek()
        if token.kind not in (TokenKind.string, TokenKind.date, TokenKind.parameter):
            raise self.unexpected("expected a time", "not-a-time", "write it as '2024-01-31'.")
        literal = self._value("a time")
        try:
            return to_us(literal.value if isinstance(literal, Literal) else None)
        except ConfigError as error:
            raise refuse("not-a-time", error.message, token.place, error.hint) from None

    def check_parameters(self) -> None:
        """Raises QueryError where a value was given for a parameter that the query does not have."""
        for name in self._parameters:
            if name not in self._used:
                asked = [token.text for token in self._tokens if token.kind is TokenKind.parameter]
                message = f"there is a value for :{name}, which the query does not have"
                raise refuse("unknown-parameter", message, Place(), did_you_mean(name, asked))

    def _parameter(self, token: Token) -> Literal | ListLiteral:
        if token.text not in self._parameters:
            missing = f"give it: --param {token.text}=…"
            hint = did_you_mean(token.text, self._parameters) if self._parameters else missing
            raise refuse("unknown-parameter", f"the parameter :{token.text} has no value", token.place, hint)
        self._used.add(token.text)
        value = self._parameters[token.text]
        if isinstance(value, list | tuple | set | frozenset):
            return ListLiteral(tuple(_literal(item, token) for item in value), place=token.place)
        return _literal(value, token)


def _literal(value: object, token: Token) -> Literal:
    """A parameter's value as a literal; a date becomes midnight UTC."""
    if value is None or isinstance(value, bool | int | float | str):
        return Literal(value, place=token.place)
    if isinstance(value, np.generic):
        return _literal(to_datetime(to_us(value)) if isinstance(value, np.datetime64) else value.item(), token)
    if isinstance(value, dt.date):
        return Literal(to_datetime(to_us(value)), place=token.place)
    raise refuse(
        "unknown-parameter", f"the parameter :{token.text} is a {type(value).__name__}", token.place,
        "give text, a number, a truth value, a date, or a list of them.",
    )  # fmt: skip


def _constant(token: Token) -> int | float | str | dt.datetime:
    """The value of a string, a number or a bare date."""
    if token.kind is TokenKind.number:
        whole = token.text.isdigit() and len(token.text) <= _MOST_DIGITS
        return int(token.text) if whole else float(token.text)
    if token.kind is TokenKind.date:
        try:
            return to_datetime(to_us(token.text))
        except ConfigError as error:
            raise refuse("not-a-time", error.message, token.place, error.hint) from None
    return token.text


def _joined(operator: str, parts: Sequence[Expression], places: Sequence[Place]) -> Expression:
    """``parts`` joined by ``operator`` as a tree of little depth, however many there are."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    left, right = _joined(operator, parts[:half], places), _joined(operator, parts[half:], places[half:])
    return Logic(operator, left, right, place=places[half - 1])
