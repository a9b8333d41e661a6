"""A schema as an entity-relationship diagram in SVG: parents on the left, children to the right of them.

The layout is Sugiyama's: relations that close a cycle are turned round, tables are put in layers of bounded height,
relations over several layers bend around the tables between (one way for all that lead to the same parent), each layer
is ordered by the middle of its neighbours, and heights are the least-squares fit to straight relations.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from rdl.schema import Relation, Schema, Table

WIDTH, GUTTER, GAP, HEAD, LINE = 236, 88, 22, 30, 17
#: The height that a bend takes in its layer, and the width of a letter in the lines of a box and in its head.
BEND, LETTER, HEAD_LETTER = 11, 7, 8
#: A diagram is made smaller to fit its place, but not beyond this.
SMALLEST = 0.75

_STYLE = """
.rdl-er { --i: #1d1f23; --s: #6a707b; --r: #c9ccd3; --p: #fff; --h: #f1f3f6; --e: #8a909c; --x: #2f6fb3;
  font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
@media (prefers-color-scheme: dark) { .rdl-er { --i: #e4e6ea; --s: #9aa0ab; --r: #454a54; --p: #1b1e23; --h: #262a31;
  --e: #7d8490; --x: #6ba7e6; } }
.rdl-er text { fill: var(--i); } .rdl-er .s { fill: var(--s); } .rdl-er .n { font-weight: 600; font-size: 13px; }
.rdl-er .box { fill: var(--p); stroke: var(--r); } .rdl-er .head { fill: var(--h); }
.rdl-er .e { fill: none; stroke: var(--e); stroke-width: 1.25; }
.rdl-er .e:hover { stroke: var(--x); stroke-width: 2.5; }
.rdl-er .i { stroke-dasharray: 5 4; } .rdl-er .arrow { fill: var(--e); stroke: none; }
.rdl-er .mark { fill: none; stroke: var(--s); stroke-width: 1.2; } .rdl-er .key { fill: var(--i); stroke: none; }
"""
_ARROW = (
    '<defs><marker id="rdl-to" viewBox="0 0 8 8" refX="0" refY="4" markerWidth="8" markerHeight="8" '
    'markerUnits="userSpaceOnUse" orient="auto"><path class="arrow" d="M0 4L8 0.5V7.5z"/></marker></defs>'
)


@dataclass(eq=False, slots=True)
class _Node:
    """A table, or a bend of the relations to one parent; ``left`` and ``right`` are its neighbours in other layers."""

    height: float
    table: Table | None = None
    layer: int = 0
    y: float = 0.0
    left: list[_Node] = field(default_factory=list)
    right: list[_Node] = field(default_factory=list)

    @property
    def x(self) -> int:
        return 8 + self.layer * (WIDTH + GUTTER)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    @property
    def gap(self) -> float:
        return GAP if self.table else GAP / 2


_Turned = tuple[Relation, str, str]


def draw_diagram(schema: Schema, rows: Mapping[str, int], inferred: Collection[Relation] = ()) -> str:
    """The diagram as one ``<svg>`` element: a box for each table with its rows, keys and time, an arrow from child to
    parent for each relation, dashed for those ``inferred``. Pointing at a table marks its relations.
    """
    nodes = {name: _Node(HEAD + 8 + LINE * len(_lines(schema, table)), table) for name, table in schema.tables.items()}
    turned = _turn(schema)
    layers = _layer(nodes, turned)
    ways = _bend(nodes, turned, layers)
    _arrange(layers)
    number = {name: place for place, name in enumerate(nodes)}
    loops = dict.fromkeys(nodes, 0)
    arrows, boxes = [], []
    for relation in schema.relations:
        child, parent = relation.child, relation.parent
        port, head = _port(schema, relation, nodes[child]), nodes[parent].y + HEAD / 2
        if child == parent:
            path = _loop(nodes[child], port, loops[child])
            loops[child] += 1
        else:
            path = _path(ways[relation], port, head, forward=ways[relation][0] is nodes[parent])
        kind = f"e f{number[child]} f{number[parent]}{' i' if relation in inferred else ''}"
        told = escape(f"{relation}{' (not declared)' if relation in inferred else ''}")
        arrows.append(f'<path class="{kind}" d="{path}" marker-start="url(#rdl-to)"><title>{told}</title></path>')
    for name, node in nodes.items():
        boxes.append(_box(schema, schema[name], rows.get(name), node, number[name]))
    placed = [node for layer in layers for node in layer]
    width = max((node.x + WIDTH for node in placed), default=0) + 8 + 30 * any(loops.values())
    height = max((node.y + node.height for node in placed), default=0) + 8
    pointed = "".join(f".rdl-er:has(.t{n}:hover) .f{n}{{stroke:var(--x);stroke-width:2}}" for n in number.values())
    return (
        f'<svg class="rdl-er" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'style="min-width:{SMALLEST * width:.0f}px;max-width:100%;height:auto" role="img" '
        f'aria-label="Tables and relations"><style>{_STYLE}{pointed}</style>{_ARROW}'
        f"{''.join(arrows)}{''.join(boxes)}</svg>"
    )


def _lines(schema: Schema, table: Table) -> list[tuple[str, str]]:
    """What a box lists: the primary key, the foreign keys, the time, each as its mark and its text."""
    key = [("key", " + ".join(table.primary_key))] if table.primary_key else []
    foreign = dict.fromkeys(relation.key for relation in schema.relations_from(table.name))
    time = ("time", str(table.time)) if table.time else ("none", "timeless")
    return [*key, *(("foreign", " + ".join(key)) for key in foreign if key != table.primary_key), time]


def _port(schema: Schema, relation: Relation, child: _Node) -> float:
    """The height at which a relation leaves its child: the line of its key."""
    texts = [text for mark, text in _lines(schema, schema[relation.child]) if mark in ("key", "foreign")]
    return child.y + HEAD + 4 + LINE * (texts.index(" + ".join(relation.key)) + 0.5)


def _turn(schema: Schema) -> list[_Turned]:
    """Every relation between two tables with its left and its right one: the parent and the child, unless that closes
    a cycle."""
    after: dict[str, list[str]] = {name: [] for name in schema.tables}

    def leads(start: str, end: str) -> bool:
        seen, waiting = set(), [start]
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += after[name]
        return end in seen

    turned = []
    for relation in schema.relations:
        left, right = relation.parent, relation.child
        if left == right:
            continue
        if leads(right, left):
            left, right = right, left
        after[left].append(right)
        turned.append((relation, left, right))
    return turned


def _layer(nodes: Mapping[str, _Node], turned: Sequence[_Turned]) -> list[list[_Node]]:
    """Puts every table right of those it depends on, in the first layer that is not full; tables without relations
    fill what room is left."""
    total = sum(node.height + GAP for node in nodes.values())
    full = max([(total * (WIDTH + GUTTER) / 1.5) ** 0.5, *(node.height for node in nodes.values())], default=0)
    before: dict[str, set[str]] = {name: set() for name in nodes}
    for _, left, right in turned:
        before[right].add(left)
    related = {name for _, *ends in turned for name in ends}
    waiting = [name for name in nodes if name in related]
    layers: list[list[_Node]] = []
    while waiting:
        name = next(name for name in waiting if before[name].isdisjoint(waiting))
        waiting.remove(name)
        _put(nodes[name], layers, max((nodes[left].layer + 1 for left in before[name]), default=0), full)
    for name in nodes:
        if name not in related:
            _put(nodes[name], layers, 0, full)
    return layers


def _put(node: _Node, layers: list[list[_Node]], first: int, full: float) -> None:
    node.layer = first
    while node.layer < len(layers) and sum(n.height + GAP for n in layers[node.layer]) + node.height > full:
        node.layer += 1
    while len(layers) <= node.layer:
        layers.append([])
    layers[node.layer].append(node)


def _bend(
    nodes: Mapping[str, _Node], turned: Sequence[_Turned], layers: list[list[_Node]]
) -> dict[Relation, list[_Node]]:
    """The way of every relation: its left table, one bend in each layer between, its right table."""
    bends: dict[tuple[str, str, int], _Node] = {}
    ways = {}
    for relation, left, right in turned:
        way = [nodes[left]]
        for layer in range(nodes[left].layer + 1, nodes[right].layer):
            # What leads to one parent shares its bends; a turned relation goes alone.
            place = (relation.parent, "" if relation.parent == left else str(relation), layer)
            if place not in bends:
                bends[place] = _Node(BEND, layer=layer)
                layers[layer].append(bends[place])
            way.append(bends[place])
        way.append(nodes[right])
        for one, other in pairwise(way):
            one.right.append(other)
            other.left.append(one)
        ways[relation] = way
    return ways


def _arrange(layers: list[list[_Node]]) -> None:
    """Orders each layer by the middle of its neighbours, then fits heights to them, from both sides in turn."""
    for sweep in range(24):
        forward, ordering = sweep % 2 == 0, sweep < 16
        for layer in layers if forward else reversed(layers):
            wanted = {}
            for node in layer:
                near = node.left + node.right if not ordering else node.left if forward else node.right
                wanted[node] = sum(other.middle for other in near) / len(near) if near else node.middle
            if ordering:
                layer.sort(key=wanted.__getitem__)
            _fit(layer, [wanted[node] - node.height / 2 for node in layer])
    top = min((node.y for layer in layers for node in layer), default=0)
    for layer in layers:
        for node in layer:
            node.y += 8 - top


def _fit(layer: Sequence[_Node], wanted: Sequence[float]) -> None:
    """The heights nearest to ``wanted`` in least squares that keep order and gaps: pooling adjacent violators."""
    offset, offsets = 0.0, []
    blocks: list[tuple[float, int]] = []
    for node, y in zip(layer, wanted, strict=True):
        offsets.append(offset)
        blocks.append((y - offset, 1))
        offset += node.height + node.gap
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean, count), (before, others) = blocks.pop(), blocks.pop()
            blocks.append(((mean * count + before * others) / (count + others), count + others))
    means = [mean for mean, count in blocks for _ in range(count)]
    for node, mean, start in zip(layer, means, offsets, strict=True):
        node.y = mean + start


def _path(way: Sequence[_Node], port: float, head: float, *, forward: bool) -> str:
    """The path from the parent, where the arrow is, to the child; ``forward`` where the parent is the left one."""
    start, end = (head, port) if forward else (port, head)
    points = [(way[0].x + WIDTH, start)]
    for bend in way[1:-1]:
        points += [(bend.x, bend.middle), (bend.x + WIDTH, bend.middle)]
    points.append((way[-1].x, end))
    if not forward:
        points.reverse()
    path = f"M{points[0][0]} {points[0][1]:.1f}"
    for place, ((x, y), (to_x, to_y)) in enumerate(pairwise(points)):
        middle = (x + to_x) / 2
        path += f"H{to_x}" if place % 2 else f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x} {to_y:.1f}"
    return path


def _loop(node: _Node, port: float, number: int) -> str:
    """The path of a relation from a table to itself, right of its box."""
    x, out = node.x + WIDTH, 22 + 7 * number
    return f"M{x} {node.y + HEAD / 2:.1f}h{out - 8}q8 0 8 8V{port - 8:.1f}q0 8 -8 8H{x}"


def _box(schema: Schema, table: Table, rows: int | None, node: _Node, number: int) -> str:
    x, y, count = node.x, node.y, "" if rows is None else f"{rows:,}"
    name = _cut(table.name, WIDTH - 28 - LETTER * len(count), HEAD_LETTER)
    parts = [
        f'<g class="t{number}"><title>{escape(table.name)}: {count} rows, {len(table.columns)} columns</title>',
        f'<rect class="box" x="{x}" y="{y:.1f}" width="{WIDTH}" height="{node.height}" rx="5"/>',
        f'<path class="head" d="M{x + 0.5} {y + HEAD:.1f}v{6 - HEAD}q0 -5.5 5.5 -5.5h{WIDTH - 12}q5.5 0 5.5 5.5'
        f'v{HEAD - 6}z"/>',
        f'<text class="n" x="{x + 10}" y="{y + 20:.1f}">{name}</text>',
        f'<text class="s" x="{x + WIDTH - 10}" y="{y + 20:.1f}" text-anchor="end">{count}</text>',
    ]
    for place, (mark, line) in enumerate(_lines(schema, table)):
        middle = y + HEAD + 4 + LINE * (place + 0.5)
        kind = ' class="s"' if mark in ("none", "time") else ""
        parts.append(_mark(mark, x + 15, middle))
        parts.append(f'<text{kind} x="{x + 26}" y="{middle + 4:.1f}">{_cut(line, WIDTH - 36, LETTER)}</text>')
    return "".join(parts) + "</g>"


def _mark(kind: str, x: float, y: float) -> str:
    """The sign before a line: a dot for the primary key, an arrow for a foreign key, a clock for the time."""
    path = {
        "foreign": f"M{x - 4} {y:.1f}h8m-3 -3l3 3l-3 3",
        "time": f"M{x - 4.5} {y:.1f}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0M{x} {y - 2.5:.1f}v2.5h2",
    }
    if kind == "key":
        return f'<circle class="key" cx="{x}" cy="{y:.1f}" r="3"/>'
    return f'<path class="mark" d="{path[kind]}"/>' if kind in path else ""


def _cut(text: str, room: float, letter: float) -> str:
    """``text`` cut to the width ``room`` and escaped; the whole of it then stands in a title."""
    kept = ""
    for sign in text:
        room -= letter * (2 if unicodedata.east_asian_width(sign) in "WF" else 1)
        if room < 0:
            return f"{escape(kept[:-1])}…<title>{escape(text)}</title>"
        kept += sign
    return escape(text)
