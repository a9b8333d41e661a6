"""The entity-relationship diagram of a schema as inline SVG, and the page around it: offline, light and dark."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from itertools import pairwise
from typing import Any

from rdl.schema import Schema

_WIDTH, _GAP_X, _GAP_Y, _LINE, _HEAD = 210, 90, 26, 17, 40

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #6b7280; --line: #c9ced6; --paper: #fff; --box: #f6f7f9;
  --key: #1d4ed8; --time: #b45309; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa3af; --line: #4b5563; --paper: #16181c;
  --box: #1f2329; --key: #93b4ff; --time: #f0b36a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1200px;
  margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.35rem; margin: 0 0 1.2rem; font-weight: 600; } h2 { font-size: 1.02rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .22rem .9rem .22rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } td.n, th.n { text-align: right; } .soft { color: var(--soft); }
code, pre { font: 13px/1.5 ui-monospace, monospace; } pre { background: var(--box); padding: .8rem 1rem; overflow-x: auto;
  border-radius: 6px; white-space: pre-wrap; } b.best { color: var(--key); } .warn { color: var(--time); }
figure { margin: .6rem 1rem .6rem 0; display: inline-block; background: #fff; border-radius: 6px; max-width: 100%; }
figure svg { display: block; max-width: 100%; height: auto; } .scroll { overflow-x: auto; }
svg.er text { font: 12px system-ui, sans-serif; fill: var(--ink); } svg.er .soft { fill: var(--soft); }
svg.er .name { font-weight: 600; } svg.er .key { fill: var(--key); } svg.er .time { fill: var(--time); }
svg.er rect { fill: var(--box); stroke: var(--line); } svg.er path { fill: none; stroke: var(--soft); }
"""


def draw_schema(schema: Schema, declared: Schema, rows: Mapping[str, int]) -> str:
    """The diagram as an ``<svg>``: parents to the left of their children; keys blue, times orange; a dashed arrow is a
    relation that was inferred."""
    columns = _columns(schema)
    lines = {name: _lines(schema, name) for name in schema.tables}
    place: dict[str, tuple[int, int, int]] = {}
    height = 0
    for number, names in enumerate(columns):
        top = 10
        for name in names:
            tall = _HEAD + _LINE * len(lines[name]) + 6
            place[name] = (10 + number * (_WIDTH + _GAP_X), top, tall)
            top += tall + _GAP_Y
        height = max(height, top)
    width = 20 + len(columns) * (_WIDTH + _GAP_X)
    drawn = [
        '<defs><marker id="to" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8" style="stroke:var(--soft)"/></marker></defs>'
    ]
    arriving: dict[str, int] = {}
    for relation in schema.relations:
        arriving[relation.parent] = arriving.get(relation.parent, 0) + 1
        row = next(n for n, (_, _, key) in enumerate(lines[relation.child]) if key == relation.key)
        x, y, _ = place[relation.child]
        start = y + _HEAD + _LINE * row + 8
        px, py, tall = place[relation.parent]
        end = py + min(14 + 5 * arriving[relation.parent], tall - 6)
        dash = "" if relation in declared.relations else ' stroke-dasharray="4 3"'
        if px < x:
            bend = (x - px - _WIDTH) / 2
            path = f"M{x},{start} C{x - bend},{start} {px + _WIDTH + bend},{end} {px + _WIDTH},{end}"
        else:
            far = max(x, px) + _WIDTH
            path = f"M{x + _WIDTH},{start} C{far + 45},{start} {far + 45},{end} {px + _WIDTH},{end}"
        title = escape(f"{relation}{' (inferred)' if dash else ''}")
        drawn.append(f'<path d="{path}" marker-end="url(#to)"{dash}><title>{title}</title></path>')
    for name, (x, y, tall) in place.items():
        drawn.append(f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{tall}" rx="5"/>')
        drawn.append(f'<text class="name" x="{x + 10}" y="{y + 17}">{_short(name, 26)}</text>')
        drawn.append(f'<text class="soft" x="{x + 10}" y="{y + 32}">{rows.get(name, 0):,} rows</text>')
        for number, (kind, text, _) in enumerate(lines[name]):
            at = y + _HEAD + _LINE * number + 12
            drawn.append(f'<text class="{kind}" x="{x + 10}" y="{at}">{_short(text, 32)}</text>')
    return (
        f'<svg class="er" xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><style>{STYLE}</style>{"".join(drawn)}</svg>'
    )


def _columns(schema: Schema) -> list[list[str]]:
    """Tables by column: each to the right of its parents where no cycle forbids it, lone tables last."""
    level = dict.fromkeys(schema.tables, 0)
    for _ in schema.tables:
        for relation in schema.relations:
            if relation.child != relation.parent and level[relation.parent] + 1 < len(schema.tables):
                level[relation.child] = max(level[relation.child], level[relation.parent] + 1)
    used = sorted(set(level.values()))
    columns = [[name for name in schema.tables if level[name] == value] for value in used]
    for left, right in pairwise(columns):
        order = {name: number for number, name in enumerate(left)}

        def middle(name: str, order: Mapping[str, int] = order) -> float:
            parents = [order[r.parent] for r in schema.relations_from(name) if r.parent in order]
            return sum(parents) / len(parents) if parents else len(order) / 2

        right.sort(key=middle)
    return columns


def _lines(schema: Schema, name: str) -> list[tuple[str, str, tuple[str, ...] | None]]:
    """What stands in a table's box: (class, text, foreign key) for its primary key, its foreign keys, its time."""
    table = schema[name]
    keys = [relation.key for relation in schema.relations_from(name)]
    found: list[tuple[str, str, tuple[str, ...] | None]] = []
    if table.primary_key and table.primary_key not in keys:
        found.append(("key", f"⚷ {' + '.join(table.primary_key)}", None))
    found += [("key", f"→ {' + '.join(key)}", key) for key in dict.fromkeys(keys)]
    if table.time:
        found.append(("time", f"◷ {table.time}", None))
    others = len([c for c in table.columns if not any(c.name in key for key in (*keys, table.primary_key))])
    return [*found, ("soft", f"{others} more columns", None)]


def _short(text: str, most: int) -> str:
    return escape(text if len(text) <= most else text[: most - 1] + "…")


def page(title: str, diagram: str, facts: Mapping[str, Any]) -> str:
    """A whole page around a diagram, with the columns, what was inferred and the warnings of an inspection's JSON."""
    parts = [f"<h1>{escape(title)}</h1>", f'<div class="scroll">{diagram}</div>']
    if facts["warnings"]:
        parts += ["<h2>Warnings</h2>", *(f'<div class="warn">{escape(line)}</div>' for line in facts["warnings"])]
    if facts["inferred"]:
        rows = "".join(
            f"<tr><td>{escape(p['what'])}</td><td class=soft>{escape(p['evidence'])}</td></tr>"
            for p in facts["inferred"]
        )
        parts.append(f"<h2>Inferred, not declared</h2><table><tr><th>what</th><th>why</th></tr>{rows}</table>")
    for name, table in facts["tables"].items():
        rows = "".join(
            f"<tr><td>{escape(column)}</td><td>{said['dtype']}</td><td>{said['stype']}</td></tr>"
            for column, said in table["columns"].items()
        )
        time = escape(table["time"] or "timeless")
        parts.append(
            f"<h2>{escape(name)}</h2><div class=soft>{table['rows']:,} rows, time: {time}</div>"
            f"<table><tr><th>column</th><th>stored as</th><th>means</th></tr>{rows}</table>"
        )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )
