"""Text → the clauses of a predictive query, not yet resolved on a schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rdl.clock import Span
from rdl.query.expressions import Expression, ListLiteral, Literal, Name
from rdl.query.grammar import CLAUSES, MODIFIERS, MOST_TIMEFRAMES
from rdl.query.parser import Parser
from rdl.query.tokens import Place, TokenKind, refuse, tokenize


@dataclass(slots=True)
class Clauses:
    """A query as written. ``places`` says where each clause given begins, by its first keyword."""

    target: Expression
    entity: Name
    entities: tuple[Literal, ...] | None = None
    classify: bool = False
    rank: int | None = None
    forecast: int | None = None
    where: Expression | None = None
    assuming: Expression | None = None
    every: Span | None = None
    split_at: tuple[int, int] | None = None
    split_by: Name | None = None
    hide: tuple[Name, ...] = ()
    via: tuple[Name, ...] = ()
    as_of: int | None = None
    places: dict[str, Place] = field(default_factory=dict)


def read_clauses(text: str, parameters: Mapping[str, object] | None = None) -> Clauses:
    """The clauses of ``text``. Raises QueryError at the first thing that cannot be read."""
    parser = Parser(tokenize(text), parameters)
    opening = parser.peek()
    if not parser.accept("PREDICT"):
        raise refuse(
            "not-a-query", "this is not a predictive query: it does not begin with PREDICT", opening.place,
            "write PREDICT <target> FOR EACH <table>.<primary key>.",
        )  # fmt: skip
    clauses = Clauses(parser.expression("a target"), Name(()))
    clauses.places["PREDICT"] = opening.place
    _read_modifier(parser, clauses)
    _read_entity(parser, clauses)
    while True:
        parser.accept(";")
        at = parser.peek()
        if at.kind is TokenKind.end:
            parser.check_parameters()
            return clauses
        clause = next((clause for clause in CLAUSES if parser.accept(*clause.words.split())), None)
        if clause is None:
            raise parser.unexpected(f"expected {', '.join(clause.words for clause in CLAUSES)} or the end")
        if clause.words in clauses.places:
            raise refuse(
                "repeated-clause", f"a second {clause.words}", at.place, "give each clause once.", _again(clause.words)
            )
        clauses.places[clause.words] = at.place
        _READERS[clause.words](parser, clauses)


def _again(clause: str) -> tuple[str, ...]:
    """What may stand in place of a clause's keyword where it stands a second time."""
    return {"WHERE": ("AND",), "ASSUMING": ("AND",), "HIDE": (",",), "VIA": (",",)}.get(clause, ())


def _read_modifier(parser: Parser, clauses: Clauses) -> None:
    at = parser.peek()
    modifier = next((modifier for modifier in MODIFIERS if parser.accept(modifier.words)), None)
    if modifier is not None:
        clauses.places[modifier.words] = at.place
        _READERS[modifier.words](parser, clauses)
    elif parser.accept("TOP"):
        raise refuse("top-without-rank", "TOP needs RANK before it", at.place, "write RANK TOP 10.", ("RANK TOP",))


def _read_classify(parser: Parser, clauses: Clauses) -> None:
    clauses.classify = True


def _read_rank(parser: Parser, clauses: Clauses) -> None:
    parser.expect("TOP", " after RANK")
    size = parser.peek()
    clauses.rank = parser.integer("k of RANK TOP k")
    if clauses.rank < 1:
        raise refuse("bad-count", "k of RANK TOP k must be at least 1", size.place)


def _read_forecast(parser: Parser, clauses: Clauses) -> None:
    size = parser.peek()
    clauses.forecast = parser.integer("n of FORECAST n TIMEFRAMES")
    if clauses.forecast < 1:
        raise refuse("bad-count", "n of FORECAST n TIMEFRAMES must be at least 1", size.place)
    if clauses.forecast > MOST_TIMEFRAMES:
        message = f"n of FORECAST n TIMEFRAMES must be at most {MOST_TIMEFRAMES}"
        raise refuse("bad-count", message, size.place, "take longer windows, or fewer of them.")
    if not parser.accept("TIMEFRAMES"):
        parser.expect("TIMEFRAME", "S after FORECAST n")


def _read_entity(parser: Parser, clauses: Clauses) -> None:
    if not parser.accept("FOR"):
        raise parser.unexpected("expected FOR EACH", "expected-for-each", "add FOR EACH <table>.<primary key>.")
    parser.accept("EACH")
    clauses.entity = parser.name()
    clauses.places["FOR"] = clauses.entity.place
    if parser.accept("="):
        clauses.entities = _literals(parser.expression())
    elif parser.peek().is_word("IN"):
        parser.take()
        clauses.entities = tuple(literal for item in parser.items() for literal in _literals(item))


def _literals(value: Expression) -> tuple[Literal, ...]:
    if isinstance(value, ListLiteral):
        return tuple(literal for item in value.items for literal in _literals(item))
    if isinstance(value, Literal):
        return (value,)
    raise refuse("not-a-value", "the entities asked about are values", value.place, "write IN (1, 2, 3).")


def _read_where(parser: Parser, clauses: Clauses) -> None:
    clauses.where = parser.expression("a condition")


def _read_assuming(parser: Parser, clauses: Clauses) -> None:
    clauses.assuming = parser.expression("a condition")


def _read_every(parser: Parser, clauses: Clauses) -> None:
    at = parser.peek()
    count = parser.integer("n of EVERY n <unit>") if at.kind is not TokenKind.word else 1
    if count < 1:
        raise refuse("bad-count", "EVERY needs a length of at least 1", at.place)
    clauses.every = Span(count, parser.unit())


def _read_split_at(parser: Parser, clauses: Clauses) -> None:
    at = parser.peek()
    val_cut = parser.time()
    if not parser.accept(","):
        hint = "give two: when validation begins, and when test begins."
        raise parser.unexpected("expected , between the two times of SPLIT AT", hint=hint)
    clauses.split_at = (val_cut, parser.time())
    if clauses.split_at[0] >= clauses.split_at[1]:
        raise refuse(
            "split-order", "validation does not begin before test", at.place, "give the earlier time of SPLIT AT first."
        )


def _read_split_by(parser: Parser, clauses: Clauses) -> None:
    clauses.split_by = parser.name()


def _read_hide(parser: Parser, clauses: Clauses) -> None:
    clauses.hide = _names(parser)


def _read_via(parser: Parser, clauses: Clauses) -> None:
    clauses.via = _names(parser)


def _read_as_of(parser: Parser, clauses: Clauses) -> None:
    clauses.as_of = parser.time()


def _names(parser: Parser) -> tuple[Name, ...]:
    names = [parser.name()]
    while parser.accept(","):
        names.append(parser.name())
    return tuple(names)


#: How what follows the keywords of each modifier and clause is read.
_READERS: dict[str, Callable[[Parser, Clauses], None]] = {
    "CLASSIFY": _read_classify,
    "RANK": _read_rank,
    "FORECAST": _read_forecast,
    "WHERE": _read_where,
    "ASSUMING": _read_assuming,
    "EVERY": _read_every,
    "SPLIT AT": _read_split_at,
    "SPLIT BY": _read_split_by,
    "HIDE": _read_hide,
    "VIA": _read_via,
    "AS OF": _read_as_of,
}
