"""The reference of the language, rendered as Markdown from the tables that the parser uses.

``python -m rdl.query.reference`` prints it, for ``tasks/LANGUAGE.md``. What is between the tables stands in
``guide.md``, where ``{{name}}`` is the place of one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.resources import files

from rdl.errors import ConfigError, did_you_mean
from rdl.query.functions import AGGREGATES, FUNCTIONS, AggregateRule, Example, FunctionRule, Type
from rdl.query.grammar import (
    BOUNDS,
    CASE,
    CLAUSES,
    COMPARISONS,
    JUNCTIONS,
    KINDS,
    MODIFIERS,
    OPENING,
    PRODUCTS,
    SPELLED,
    SUMS,
    TESTS,
    UNITS_MEAN,
    KindRule,
    Test,
    Word,
)
from rdl.query.mistakes import MISTAKES, Mistake

#: The section that comes before the first heading of its own.
_OVERVIEW = "overview"
_MADE = "<!-- Made from rdl/query by: python -m rdl.query.reference > tasks/LANGUAGE.md -->"
_GIVES = {Type.number: "a number", Type.boolean: "a truth value", Type.list: "a set", None: "the same type"}
_NOTHING = {"0": "0", "FALSE": "false", "[]": "empty", None: "unknown"}


def reference() -> str:
    """The whole reference as Markdown."""
    guide = files("rdl.query").joinpath("guide.md").read_text(encoding="utf-8")
    title, rest = guide.split("\n", 1)
    tables = _tables()
    return f"{title}\n\n{_MADE}\n{re.sub(r'{{(.+?)}}', lambda place: tables[place[1]], rest)}"


def topics() -> dict[str, str]:
    """The reference by topic, in its order; the first is what comes before the others."""
    first, *others = re.split(r"^(?=## )", reference(), flags=re.MULTILINE)
    named = {part.split("\n", 1)[0].removeprefix("## ").casefold(): part for part in others}
    return {_OVERVIEW: first.replace(f"{_MADE}\n\n", ""), **named}


def find(topic: str = "") -> str:
    """What the reference says on ``topic``: the name of a part, a word of the language, a kind of task or of error; all
    of it where that is empty. Raises ConfigError where it says nothing."""
    parts, entries = topics(), _entries()
    wanted = " ".join(topic.split()).casefold()
    if not wanted:
        return "".join(parts.values())
    if wanted in parts:
        return parts[wanted]
    if wanted in entries:
        where, text = entries[wanted]
        return f"{text}\n\nMore: `rdl language {where}`.\n"
    known = did_you_mean(wanted, [*parts, *entries])
    hint = known if known.startswith("did you mean") else f"there is {', '.join(parts)}."
    raise ConfigError(f"the reference says nothing on {topic!r}", hint=hint)


def _entries() -> dict[str, tuple[str, str]]:
    """What is explained, by its word: the topic it belongs to, and the Markdown on it alone."""
    entries = {unit: ("windows", _table(("unit", "length"), [_unit(unit)])) for unit in UNITS_MEAN}
    entries |= {f"{unit}s": entry for unit, entry in entries.items()}
    entries |= {word.words: ("shape", _clauses([word])) for word in (*OPENING, *CLAUSES)}
    entries |= {word.words: ("targets", _clauses([word])) for word in MODIFIERS}
    entries |= {rule.kind: ("targets", _kinds([rule])) for rule in KINDS}
    entries |= {rule.name: ("aggregates", _aggregates([rule])) for rule in AGGREGATES.values()}
    entries |= {rule.name: ("functions", _functions([rule])) for rule in FUNCTIONS.values()}
    entries |= {test.words: ("conditions", _tests([test])) for test in TESTS}
    entries[CASE.words] = "values", f"{_table(('written', 'is'), [_case()])}\n\n{_block([CASE.example])}"
    entries |= {mistake.kind: ("errors", _mistake(mistake)) for group in MISTAKES.values() for mistake in group}
    return {word.casefold(): entry for word, entry in entries.items()}


# --- tables -------------------------------------------------------------------------------------------------------


def _tables() -> dict[str, str]:
    """What stands in the guide's places, by name."""
    negated = [f"`{test.words}`" for test in TESTS if test.negated]
    return {
        "clauses": _clauses((*OPENING, *CLAUSES)),
        "modifiers": _clauses(MODIFIERS),
        "kinds": _kinds(KINDS),
        "aggregates": _aggregates(AGGREGATES.values()),
        "functions": _functions(FUNCTIONS.values()),
        "bounds": _rows((bound.form, bound.means) for bound in BOUNDS),
        "units": _rows(map(_unit, UNITS_MEAN)),
        "comparisons": _rows([_comparisons()]),
        "tests": _rows(map(_test, TESTS)),
        "junctions": _rows((f"`{junction.form}`", junction.means) for junction in JUNCTIONS),
        "negated": f"{', '.join(negated[:-1])} and {negated[-1]}",
        "test examples": _block(test.example for test in TESTS),
        "spelled": _rows((written.form, written.means) for written in SPELLED.values()),
        "arithmetic": ", ".join(f"`a {symbol} b`" for symbol in (*SUMS, *PRODUCTS)),
        "case": _rows([_case()]),
        "case example": _block([CASE.example]),
        "mistakes": _mistakes(),
    }


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    """Rows of a table."""
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return f"{_rows([head])}\n|{'---|' * len(head)}\n{_rows(rows)}"


def _block(examples: Iterable[Example]) -> str:
    """Examples one below the other, each below what it asks."""
    return "```sql\n" + "\n\n".join(map(_example, examples)) + "\n```"


def _example(example: Example) -> str:
    lines = [f"-- {example.says}"]
    lines += [f"-- after {example.after}"] if example.after else []
    return "\n".join([*lines, *_values(example.parameters), example.query])


def _values(parameters: Mapping[str, object]) -> list[str]:
    return [f"-- with {name} = {value!r}" for name, value in parameters.items()]


def _own(text: str, *, own: bool) -> str:
    return f"{text} ＋" if own else text


def _clauses(words: Sequence[Word]) -> str:
    rows = ((_own(f"`{word.syntax}`", own=word.own), word.means, word.otherwise) for word in words)
    table = _table(("written", "means", "where it is not written"), rows)
    return f"{table}\n\n{_block(word.example for word in words)}"


def _kinds(rules: Sequence[KindRule]) -> str:
    rows = ((f"**{rule.kind}**", rule.targets, rule.label) for rule in rules)
    return f"{_table(('kind', 'target', 'label'), rows)}\n\n{_block(rule.example for rule in rules)}"


def _aggregates(rules: Collection[AggregateRule]) -> str:
    rows = (
        (
            _own(f"`{rule.name}`", own=rule.own),
            f"{rule.means}{'; `table.*` for rows' if rule.stars else ''}",
            "numbers" if rule.takes is Type.number else "any",
            _GIVES[rule.gives],
            _NOTHING[rule.nothing],
        )
        for rule in rules
    )
    head = ("aggregate", "is", "of", "gives", "over nothing")
    return f"{_table(head, rows)}\n\n{_block(rule.example for rule in rules)}"


def _functions(rules: Collection[FunctionRule]) -> str:
    rows = ((f"`{rule.syntax}`", rule.means, _types(rule), "" if rule.strict else "may give a value") for rule in rules)
    return f"{_table(('function', 'is', 'types', 'NULL'), rows)}\n\n{_block(rule.example for rule in rules)}"


def _types(rule: FunctionRule) -> str:
    return f"{rule.takes} → {rule.gives}" if rule.takes and rule.gives else "all alike, and the value"


def _unit(unit: str) -> tuple[str, str]:
    return f"`{unit}s`", UNITS_MEAN[unit]


def _comparisons() -> tuple[str, str]:
    ways: dict[str, list[str]] = {}
    for written, kept in COMPARISONS.items():
        ways.setdefault(kept, []).append(f"`a {written} b`")
    return ", ".join(" or ".join(alike) for alike in ways.values()), "they are equal, unequal, or in this order"


def _tests(tests: Sequence[Test]) -> str:
    return f"{_table(('condition', 'means'), map(_test, tests))}\n\n{_block(test.example for test in tests)}"


def _test(test: Test) -> tuple[str, str]:
    return f"`{test.syntax}`", test.means


def _case() -> tuple[str, str]:
    return f"`{CASE.syntax}`", f"{CASE.means}; ＋"


def _mistakes() -> str:
    return "\n\n".join(f"### {about}\n\n" + "\n\n".join(map(_mistake, group)) for about, group in MISTAKES.items())


def _mistake(mistake: Mistake) -> str:
    shown = mistake.text if "«" in mistake.example else f"{mistake.query}\n\n{mistake.text}"
    lines = "\n".join([*_values(mistake.parameters), shown])
    return f"**`{mistake.kind}`** {mistake.means}\n\n```text\n{lines}\n```"


if __name__ == "__main__":
    sys.stdout.write(reference())
