"""One HTML page that stands alone: no script, no font and no picture from elsewhere, light or dark as the reader likes.

Everything that is given as text is escaped; what is already HTML is of the type :class:`Html`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_LIGHT = """--ink: #1d1f23; --soft: #666b75; --rule: #dcdee3; --paper: #fff; --card: #f6f7f9;
  --a: #2f6fb3; --b: #c8641b; --c: #4b8f4b; --warn: #a15c00;"""
_DARK = """--ink: #e4e6ea; --soft: #9aa0ab; --rule: #363a42; --paper: #16181c; --card: #1e2126;
  --a: #6ba7e6; --b: #ec9a5b; --c: #83c283; --warn: #e5a94f;"""
_BODY = """
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
"""
_RULES = """
* { box-sizing: border-box; }
h1 { font-size: 1.55rem; line-height: 1.3; margin: 0 0 .3rem; font-weight: 600; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 2.6rem 0 .7rem; font-weight: 600; border-top: 1px solid var(--rule);
  padding-top: .8rem; }
h3 { font-size: .95rem; margin: 1rem 0 .2rem; font-weight: 600; overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 48rem; }
.soft, th { color: var(--soft); }
code, pre { font: .87em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: .7rem .9rem; margin: .6rem 0;
  white-space: pre-wrap; overflow-wrap: anywhere; }
h1.question { white-space: pre-wrap; font-size: 1.25rem; }
.scroll { overflow-x: auto; }
.wide { overflow-x: auto; margin: 1rem calc(50% - 50vw + 1.5rem); text-align: center; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92em; }
th { font-weight: 500; text-align: left; white-space: nowrap; }
th, td { padding: .22rem 1.1rem .22rem 0; vertical-align: top; }
thead th { border-bottom: 1px solid var(--rule); }
td { overflow-wrap: anywhere; }
.n { text-align: right; white-space: nowrap; }
tr.first td, tr.first th { color: var(--ink); font-weight: 600; }
.best { color: var(--c); font-weight: 600; }
.good, .warn, .even { border-left: 3px solid var(--c); background: var(--card); padding: .55rem .9rem; margin: .8rem 0;
  border-radius: 0 6px 6px 0; max-width: 56rem; }
.warn { border-color: var(--warn); }
.even { border-color: var(--soft); }
ul { padding-left: 1.2rem; margin: .4rem 0; }
li { margin: .25rem 0; overflow-wrap: anywhere; }
figure { margin: 0; }
figcaption { color: var(--soft); font-size: .87em; margin: .1rem 0 .8rem; max-width: 34rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem 2rem; }
.cards { columns: 21rem; column-gap: 1.2rem; }
.card { break-inside: avoid; border: 1px solid var(--rule); border-radius: 6px; padding: .7rem .9rem;
  margin: 0 0 1.2rem; }
.card h3 { margin-top: 0; }
.card table { width: 100%; margin-top: .35rem; }
.card td { padding-right: .7rem; }
.card td + td { white-space: nowrap; overflow-wrap: normal; width: 1%; }
.card td:last-child { padding-right: 0; }
figure svg { display: block; width: 100%; height: auto; }
figure svg * { stroke-linejoin: round; }
a { color: inherit; }
details > summary { cursor: pointer; margin: .4rem 0; }
"""
STYLE = (
    f":root {{ color-scheme: light dark; {_LIGHT} }}\n"
    f"@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}\n{_BODY}{_RULES}"
)
# In a notebook the surroundings say whether it is light or dark: JupyterLab and VS Code by marks of their own.
_FRAGMENT = (
    f".rdl {{ {_LIGHT} max-width: 60rem; {_RULES} }}\n"
    f"@media (prefers-color-scheme: dark) {{ .rdl {{ {_DARK} }} }}\n"
    f'[data-jp-theme-light="false"] .rdl, .vscode-dark .rdl {{ {_DARK} }}\n'
    f'[data-jp-theme-light="true"] .rdl, .vscode-light .rdl {{ {_LIGHT} }}'
)


class Html(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def text(value: object) -> Html:
    """``value`` as HTML: escaped, unless it is HTML already."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def element(tag: str, *parts: object, kind: str = "", **attributes: object) -> Html:
    """``<tag>`` around ``parts``, with the CSS class ``kind`` and other attributes.

    >>> element("p", "a < b", element("b", "!"), kind="soft")
    '<p class="soft">a &lt; b<b>!</b></p>'
    """
    named = {"class": kind, **attributes} if kind else attributes
    shown = "".join(f' {name}="{escape(str(value))}"' for name, value in named.items())
    return Html(f"<{tag}{shown}>{''.join(map(text, parts))}</{tag}>")


def join(parts: Iterable[object], between: str = "") -> Html:
    """``parts`` one after another as HTML, with ``between``, which is HTML, among them."""
    return Html(between.join(map(text, parts)))


def bullets(items: Iterable[object]) -> Html:
    """A list with one line for each of ``items``; nothing where there is none."""
    lines = [element("li", item) for item in items]
    return element("ul", *lines) if lines else Html()


def table(header: Sequence[object], rows: Iterable[Sequence[object]], *, numbers: int = 0, first: int = -1) -> Html:
    """A table whose last ``numbers`` columns are set as numbers; row ``first`` stands out.

    An empty ``header`` leaves it out. A table wider than the page scrolls by itself.
    """

    def cells(tag: str, row: Sequence[object]) -> Html:
        return join(element(tag, cell, kind="n" if len(row) - at <= numbers else "") for at, cell in enumerate(row))

    head = element("thead", element("tr", cells("th", header))) if header else ""
    body = [element("tr", cells("td", row), kind="first" if at == first else "") for at, row in enumerate(rows)]
    return element("div", element("table", head, element("tbody", *body)), kind="scroll")


def fragment(*parts: object) -> Html:
    """``parts`` for a notebook, in the style of a page and without touching what stands around them."""
    return element("div", Html(f"<style>{_FRAGMENT}</style>"), *parts, kind="rdl")


def page(title: str, *parts: object) -> str:
    """The whole page, beginning with ``<!doctype html>``."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{join(parts, chr(10))}\n</body></html>\n'
