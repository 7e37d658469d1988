"""Graphs as pictures: DOT text, and SVG without other tools.

In: an assembled graph, and shapes as far as they are known. Out: text. The one rule: a node stands below all that it
is computed from; an edge that passes others' rows gets a place in each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from xml.sax.saxutils import escape

from .assemble import Assembled
from .computed import CompNode, Part
from .nodes import Input, Mask, Node
from .parameters import Parameter


@dataclass(frozen=True)
class Box:
    """A node as it is drawn: lines of text, the first one its name."""

    lines: tuple[str, ...]
    kind: str  # "input" or "computed"


@dataclass(frozen=True)
class Picture:
    """Boxes by name, each below those that it is computed from, and edges between them."""

    boxes: Mapping[str, Box]
    edges: tuple[tuple[str, str], ...]


def picture(graph: Assembled, shapes: Mapping[Node, Sequence[int]]) -> Picture:
    """What is drawn: inputs and computed nodes; parameters are lines in the boxes that use them."""
    boxes: dict[str, Box] = {}
    edges: dict[tuple[str, str], None] = {}
    for node in graph.nodes:
        if isinstance(node, Parameter):
            continue
        shape = [_times(shapes[node])] if node in shapes else []
        if isinstance(node, CompNode):
            parameters = [f"{s.name} {_times(s.shape)}" for s in node.sources() if isinstance(s, Parameter)]
            kind = [type(node).__name__] if not node.name.startswith(type(node).__name__) else []
            boxes[node.name] = Box((node.name, *kind, *shape, *parameters), "computed")
        elif isinstance(node, Input):
            boxes[node.name] = Box((node.name, *shape), "input")
        elif node.name not in boxes:
            boxes[node.name] = Box((node.name, *shape), "computed")
        for source in node.sources():
            if not isinstance(source, Parameter) and source.name != node.name:
                edges[_end(source), node.name] = None
    return Picture(boxes, tuple(edges))


def _end(node: Node) -> str:
    return node.whole.name if isinstance(node, Part) and node.name == node.whole.name else node.name


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) if shape else "a number"


def dot(drawn: Picture) -> str:
    """The picture in the DOT language."""
    lines = ["digraph {", '    node [shape=box, style="rounded,filled", fillcolor=white, fontname=sans]']
    for name, box in drawn.boxes.items():
        label = r"\n".join(line.replace("\\", r"\\").replace('"', r"\"") for line in box.lines)
        colour = ', fillcolor="#e8f0fe"' if box.kind == "input" else ""
        lines.append(f'    "{name}" [label="{label}"{colour}]')
    lines += [f'    "{a}" -> "{b}"' for a, b in drawn.edges]
    return "\n".join([*lines, "}", ""])


# -- SVG -----------------------------------------------------------------------------------------------

_LETTER, _BOLD = 6.6, 7.8  # width of a letter
_LINE, _MARGIN = 15, 8  # height of a line, around the text
_GAP_X, _GAP_Y = 18, 30


@dataclass
class _Place:
    """A box, or the point where a long edge passes a row."""

    width: float
    height: float
    box: str | None
    above: list[_Place] = field(default_factory=list)
    below: list[_Place] = field(default_factory=list)
    x: float = 0.0  # the middle
    y: float = 0.0  # the upper edge

    def __hash__(self) -> int:
        return id(self)


def svg(drawn: Picture) -> str:
    """The picture as SVG."""
    rows, chains = _rows(drawn)
    for sweep in range(8):
        _order(rows, down=sweep % 2 == 0)
    _place(rows)
    places = [p for row in rows for p in row]
    left = min((p.x - p.width / 2 for p in places), default=0) - _MARGIN
    width = max((p.x + p.width / 2 for p in places), default=0) + _MARGIN - left
    height = max((p.y + p.height for p in places), default=0) + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="{left:.1f} {-_MARGIN} {width:.1f} {height:.1f}" font-family="sans-serif" font-size="12">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>',
    ]
    parts += [_curve(chain) for chain in chains]
    parts += [part for p in places if p.box is not None for part in _box(p, drawn.boxes[p.box])]
    return "\n".join([*parts, "</svg>", ""])


def _rows(drawn: Picture) -> tuple[list[list[_Place]], list[list[_Place]]]:
    """The places of each row, and for each edge the places that it goes through."""
    depth = dict.fromkeys(drawn.boxes, 0)
    sources: dict[str, list[str]] = {name: [] for name in drawn.boxes}
    users: dict[str, list[str]] = {name: [] for name in drawn.boxes}
    for a, b in drawn.edges:
        sources[b].append(a)
        users[a].append(b)
    for name in drawn.boxes:  # sources come first
        depth[name] = max((depth[s] + 1 for s in sources[name]), default=0)
    for name in reversed(list(drawn.boxes)):  # inputs stand just above what first uses them
        if not sources[name] and users[name]:
            depth[name] = min(depth[u] for u in users[name]) - 1
    rows: list[list[_Place]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    places = {}
    for name, box in drawn.boxes.items():
        letters = max(_BOLD * len(box.lines[0]), *(_LETTER * len(line) for line in box.lines))
        width = letters + 2 * _MARGIN
        places[name] = _Place(width, _LINE * len(box.lines) + _MARGIN, name)
        rows[depth[name]].append(places[name])
    chains = []
    for a, b in drawn.edges:
        chain = [places[a]]
        for row in range(depth[a] + 1, depth[b]):
            chain.append(_Place(_GAP_X, 0, None))
            rows[row].append(chain[-1])
        chain.append(places[b])
        for upper, lower in pairwise(chain):
            upper.below.append(lower)
            lower.above.append(upper)
        chains.append(chain)
    return rows, chains


def _order(rows: list[list[_Place]], down: bool) -> None:
    """Each row by the middle of its neighbours in the row before, so that edges cross little."""
    for row in rows if down else reversed(rows):
        for number, p in enumerate(row):
            p.x = float(number)
    for row in rows if down else reversed(rows):
        middles = {}
        for number, p in enumerate(row):
            neighbours = p.above if down else p.below
            middles[p] = sum(n.x for n in neighbours) / len(neighbours) if neighbours else float(number)
        row.sort(key=lambda p: middles[p])
        for number, p in enumerate(row):
            p.x = float(number)


def _place(rows: list[list[_Place]]) -> None:
    """Coordinates: rows below each other, each place near the middle of its neighbours, none over another."""
    y = 0.0
    for row in rows:
        height = max((p.height for p in row), default=0)
        x = 0.0
        for p in row:
            if p.box is None:  # an edge goes straight down through the row
                p.height = height
            p.y = y + (height - p.height) / 2
            p.x = x + p.width / 2
            x += p.width + _GAP_X
        for p in row:
            p.x -= (x - _GAP_X) / 2
        y += height + _GAP_Y
    for sweep in range(12):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            _settle(row)


def _settle(row: list[_Place]) -> None:
    wanted = []
    for p in row:
        neighbours = [*p.above, *p.below]
        wanted.append(sum(n.x for n in neighbours) / len(neighbours) if neighbours else p.x)
    left, right = list(wanted), list(wanted)
    for k in range(1, len(row)):
        left[k] = max(left[k], left[k - 1] + (row[k - 1].width + row[k].width) / 2 + _GAP_X)
    for k in reversed(range(len(row) - 1)):
        right[k] = min(right[k], right[k + 1] - (row[k + 1].width + row[k].width) / 2 - _GAP_X)
    for p, a, b in zip(row, left, right, strict=True):
        p.x = (a + b) / 2


def _curve(chain: Sequence[_Place]) -> str:
    path = f"M{chain[0].x:.1f},{chain[0].y + chain[0].height:.1f}"
    for upper, lower in pairwise(chain):
        middle = (upper.y + upper.height + lower.y) / 2
        path += f" C{upper.x:.1f},{middle:.1f} {lower.x:.1f},{middle:.1f} {lower.x:.1f},{lower.y:.1f}"
        if lower.box is None:
            path += f" V{lower.y + lower.height:.1f}"
    return f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#tip)"/>'


def _box(p: _Place, box: Box) -> Iterator[str]:
    fill = "#e8f0fe" if box.kind == "input" else "#ffffff"
    yield (
        f'<rect x="{p.x - p.width / 2:.1f}" y="{p.y:.1f}" width="{p.width:.1f}" height="{p.height:.1f}" rx="5"'
        f' fill="{fill}" stroke="#333"/>'
    )
    for number, line in enumerate(box.lines):
        weight = ' font-weight="bold"' if number == 0 else ' fill="#444"'
        y = p.y + _LINE * (number + 1) - 2
        yield f'<text x="{p.x:.1f}" y="{y:.1f}" text-anchor="middle"{weight}>{escape(line)}</text>'


def line(nodes: Sequence[Node]) -> str:
    """A graph in one line: its inputs, and what nothing else is computed from."""
    shown = [n for n in nodes if not isinstance(n, Mask)]
    read = {source for n in shown for source in n.sources()}
    inputs = ", ".join(n.name for n in shown if isinstance(n, Input))
    ends = ", ".join(n.name for n in shown if n not in read and not isinstance(n, Input))
    computed = sum(isinstance(n, CompNode) for n in shown)
    return f"<Graph of {computed} computed nodes: {inputs or 'no input'} -> {ends or 'nothing'}>"
