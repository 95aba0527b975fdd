"""A topology as a picture (SVG): roles by colour and shape, the shortest-path tree, what links are like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from math import hypot

import networkx as nx

from testbed.spec.check_scenario import ideal_tree
from testbed.spec.layout import layout
from testbed.spec.names import link_names
from testbed.spec.topology import Controller, Link, LinkDefaults, Node, Repository, Router, Site, Topology
from testbed.units import format_duration, format_rate

_FONT = "font-family=\"'Inter','Helvetica Neue',Arial,sans-serif\""
_MARGIN, _HEADER, _FOOTER = 32, 64, 92
_LINK, _TREE, _INK, _MUTED = "#b8c2cc", "#2f6fdb", "#1d2733", "#5b6875"


@dataclass(frozen=True)
class _Style:
    fill: str
    line: str
    text: str
    radius: float


_STYLES: dict[type, _Style] = {
    Repository: _Style("#1d2733", "#1d2733", "#ffffff", 6),
    Router: _Style("#eef2f6", "#7b8997", "#1d2733", 14),
    Site: _Style("#dff3e6", "#2e9e62", "#12452a", 6),
    Controller: _Style("#f0e6fb", "#8a56c9", "#3f1f66", 0),
}


@dataclass(frozen=True)
class _Box:
    """A node on the page: its middle and its size, px."""

    x: float
    y: float
    width: float
    height: float
    name: str
    note: str


def draw_topology(topology: Topology) -> str:
    """The topology as an SVG document; the same topology gives the same bytes on the same machine."""
    boxes, width, height = _place(topology)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" {_FONT}>',
        f"<title>{escape(topology.name)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="40" font-size="20" font-weight="600" fill="{_INK}">{escape(topology.name)}</text>',
        f'<text x="{_MARGIN}" y="61" font-size="13" fill="{_MUTED}">{escape(topology.description)}</text>',
        *_links(topology, boxes),
        *(part for name, node in topology.nodes.items() for part in _node(boxes[name], node, name == topology.rp)),
        *_legend(topology, height),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _place(topology: Topology) -> tuple[dict[str, _Box], int, int]:
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(topology.nodes)
    graph.add_edges_from((k.a, k.b) for k in topology.links if k.a in graph and k.b in graph and k.a != k.b)
    graph.add_edges_from((n, v.at) for n, v in topology.nodes.items() if isinstance(v, Controller) and v.at in graph)
    leaves = {frozenset((a, b)): 0.8 for a, b in graph.edges() if 1 in (graph.degree(a), graph.degree(b))}
    top = next((name for name, node in topology.nodes.items() if isinstance(node, Repository)), None)
    points = layout(graph, leaves, top)

    lengths = sorted(hypot(*(p - q for p, q in zip(points[a], points[b], strict=True))) for a, b in graph.edges())
    # So that links are long enough for their labels: the shorter ones 105 px, which makes a usual one about 140.
    scale = 105 / max(lengths[len(lengths) // 10], 0.3) if lengths else 100
    stretch = 1.25  # boxes are wider than high
    boxes = {}
    for name, (x, y) in points.items():
        note = _note(topology.nodes[name])
        width = max(7.6 * len(name) + 22, 5.6 * len(note) + 20, 40)
        boxes[name] = _Box(x * stretch * scale, y * scale, width, 40 if note else 28, name, note)
    # Shifted into the page, the network in its middle.
    left, right = min(b.x - b.width / 2 for b in boxes.values()), max(b.x + b.width / 2 for b in boxes.values())
    upper, lower = min(b.y for b in boxes.values()), max(b.y for b in boxes.values())
    page = round(max(right - left + 2 * _MARGIN, 6.5 * len(topology.description) + 2 * _MARGIN, 700))
    across, down = (page - left - right) / 2, _HEADER + 50 - upper
    boxes = {name: replace(box, x=box.x + across, y=box.y + down) for name, box in boxes.items()}
    return boxes, page, round(lower + down + 40 + _FOOTER)


def _note(node: Node) -> str:
    match node:
        case Repository():
            return "repository"
        case Site(servers=0):
            return "storage"
        case Site(servers=servers):
            return f"storage · {servers} GPU{'s' * (servers > 1)}"
        case Controller():
            return "controller"
        case Router(bier=False):
            return "no BIER"
        case Router():
            return ""


def _node(box: _Box, node: Node, is_rp: bool) -> Iterator[str]:
    style = _STYLES[type(node)]
    x, y = box.x - box.width / 2, box.y - box.height / 2
    yield f"<g><title>{escape(f'{node.kind} {box.name}')}</title>"
    if is_rp:
        yield _rect(x - 4, y - 4, box.width + 8, box.height + 8, style.radius + 4, "none", "#e0862e", 2)
    yield _rect(x, y, box.width, box.height, style.radius, style.fill, style.line, 1.5)
    down = 5 if not box.note else -2
    yield _text(box.x, box.y + down, box.name, 13, style.text, "600")
    if box.note:
        yield _text(box.x, box.y + 13, box.note, 10.5, style.text, "400")
    yield "</g>"


def _links(topology: Topology, boxes: dict[str, _Box]) -> Iterator[str]:
    for name, node in topology.nodes.items():
        if isinstance(node, Controller) and node.at in boxes:
            a, b = boxes[name], boxes[node.at]
            yield (
                f'<line x1="{a.x:.1f}" y1="{a.y:.1f}" x2="{b.x:.1f}" y2="{b.y:.1f}" '
                f'stroke="{_STYLES[Controller].line}" stroke-width="1.5" stroke-dasharray="4 4"/>'
            )
    sites = [name for name, node in topology.nodes.items() if isinstance(node, Site)]
    tree = set(ideal_tree(topology, sites))
    seen: dict[frozenset[str], int] = {}
    labels: list[str] = []
    for link, name in zip(topology.links, link_names(topology), strict=True):
        if link.a not in boxes or link.b not in boxes:
            continue
        pair = frozenset((link.a, link.b))
        seen[pair] = number = seen.get(pair, 0) + 1
        a, b = boxes[min(pair)], boxes[max(pair)]
        x, y, path = _curve(a, b, number)
        colour, width = (_TREE, 3) if name in tree else (_LINK, 2)
        tip = escape(f"{name}: {_describe(link, topology.defaults.link)}")
        yield f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"><title>{tip}</title></path>'
        labels += _label(x, y, _differs(link, topology.defaults.link))
    yield from labels


def _label(x: float, y: float, lines: list[str]) -> Iterator[str]:
    """Lines of small text over a link, on white so that the link does not run through them."""
    if lines:
        width, height = 6.2 * max(map(len, lines)) + 6, 13 * len(lines) + 2
        yield _rect(x - width / 2, y - height / 2, width, height, 3, "#ffffff", "none", 0)
    for number, line in enumerate(lines):
        yield _text(x, y + 4 + 13 * (number - (len(lines) - 1) / 2), line, 11, _MUTED, "400")


def _curve(a: _Box, b: _Box, number: int) -> tuple[float, float, str]:
    """The middle and the path of the `number`th link between two nodes; the first is straight, others bow out."""
    bow = 0.0 if number == 1 else 34.0 * (number // 2) * (-1) ** number
    length = hypot(b.x - a.x, b.y - a.y) or 1.0
    x = (a.x + b.x) / 2 - (b.y - a.y) / length * bow
    y = (a.y + b.y) / 2 + (b.x - a.x) / length * bow
    # A quadratic curve passes half way between its control point and the straight line.
    control = f"{2 * x - (a.x + b.x) / 2:.1f} {2 * y - (a.y + b.y) / 2:.1f}"
    return x, y, f"M{a.x:.1f} {a.y:.1f} Q{control} {b.x:.1f} {b.y:.1f}"


def _values(link: Link | LinkDefaults, defaults: LinkDefaults) -> dict[str, str]:
    def get(key: str) -> float:
        value: float | None = getattr(link, key)
        return float(getattr(defaults, key) or 0) if value is None else value

    return {
        "rate": format_rate(get("rate")) if get("rate") else "no rate limit",
        "delay": format_duration(get("delay")) + " delay" if get("delay") else "",
        "jitter": "±" + format_duration(get("jitter")) if get("jitter") else "",
        "loss": f"{get('loss') * 100:.3g}% loss" if get("loss") else "",
        "mtu": f"MTU {get('mtu'):.0f}",
        "cost": f"cost {get('cost'):.0f}",
    }


def _describe(link: Link | LinkDefaults, defaults: LinkDefaults) -> str:
    return ", ".join(value for value in _values(link, defaults).values() if value)


def _differs(link: Link, defaults: LinkDefaults) -> list[str]:
    """What of a link is not the default, in few words, one a line."""
    usual = _values(defaults, defaults)
    own = {key: value for key, value in _values(link, defaults).items() if value and value != usual[key]}
    return [value.removeprefix("cost ").removesuffix(" delay") for value in own.values()]


def _legend(topology: Topology, height: int) -> Iterator[str]:
    y = height - 44
    x = float(_MARGIN)
    for kind, name in ((Repository, "repository"), (Router, "router"), (Site, "GPU cloud"), (Controller, "controller")):
        if any(isinstance(node, kind) for node in topology.nodes.values()):
            style = _STYLES[kind]
            yield _rect(x, y - 11, 20, 14, min(style.radius, 7), style.fill, style.line, 1.5)
            yield _text(x + 27, y, name, 12, _MUTED, "400", "start")
            x += 27 + 6.4 * len(name) + 22
    if topology.rp is not None:
        yield _rect(x, y - 11, 20, 14, 7, "none", "#e0862e", 2)
        yield _text(x + 27, y, "rendezvous point", 12, _MUTED, "400", "start")
        x += 27 + 6.4 * 16 + 22
    yield f'<line x1="{x:.1f}" y1="{y - 4}" x2="{x + 22:.1f}" y2="{y - 4}" stroke="{_TREE}" stroke-width="3"/>'
    yield _text(x + 29, y, "shortest-path tree", 12, _MUTED, "400", "start")
    words = f"Links, unless a label says otherwise: {_describe(topology.defaults.link, topology.defaults.link)}."
    yield _text(_MARGIN, height - 18, f"{words} A bare number is an IGP cost.", 12, _MUTED, "400", "start")


def _rect(x: float, y: float, width: float, height: float, radius: float, fill: str, line: str, stroke: float) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:g}" '
        f'fill="{fill}" stroke="{line}" stroke-width="{stroke:g}"/>'
    )


def _text(x: float, y: float, text: str, size: float, fill: str, weight: str, anchor: str = "middle") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
