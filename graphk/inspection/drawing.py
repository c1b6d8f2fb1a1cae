"""Graphs and programs as SVG, and as a page around it.

In: a Graph or a Program.  Out: text.  What always holds: no program but a browser is needed, the layout is
`layout.py`'s; nodes have their line of text, layer and user's line as a tooltip; values of constants longer than 16 are
left out.
"""
from __future__ import annotations

from html import escape
from typing import Iterator

from graphk.inspection.forms import PALETTE
from graphk.inspection.layout import Key, layered
from graphk.inspection.subjects import without_folders
from graphk.inspection.views import CHAR, HEIGHT, NO_LAYER, PAD, SMALL, GraphView, NodeTable
from graphk.ir.effects import root_of, touched
from graphk.ir.node import Graph
from graphk.ir.program import LoopStep, Program

MARGIN = 10
STYLE = ("text { font: 12px system-ui, sans-serif; text-anchor: middle } .type { font-size: 10px; fill: #555 } "
         ".edge { fill: none; stroke: #99a } rect { stroke: #667; stroke-width: .7 } .box { fill: #f4f4f6 }")


def svg(ir: Graph | Program) -> str:
    """The drawing of a graph (nodes coloured by layer, groups and loops as boxes) or of a program's steps.

    >>> from graphk.ir.text import parse_graph
    >>> svg(parse_graph("graph g(%x: f32[n,3]) { %0 = exp(%x) return %0 }")).count("<rect")
    2
    """
    wide, tall, parts = _graph(ir) if isinstance(ir, Graph) else _program(ir)
    wide, tall = wide + 2 * MARGIN, tall + 2 * MARGIN
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-MARGIN} {-MARGIN} {wide:.0f} {tall:.0f}" '
            f'width="{wide:.0f}" height="{tall:.0f}">\n<style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n")


def html(title: str, ir: Graph | Program, text: str) -> str:
    """A page with the drawing and the text."""
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>' + escape(title) + "</title></head>"
            f"<body><h1>{escape(title)}</h1>\n{svg(ir)}<pre>{escape(text)}</pre></body></html>\n")


def _graph(graph: Graph) -> tuple[float, float, list[str]]:
    table = NodeTable()
    view = GraphView(graph, table)
    layers = {number: name for name, number in table.layers.items()}
    parts = [_box(x, y, w, h, title) for _, x, y, w, h, title, *_ in view.boxes]
    parts += [_edge(points) for _, _, points in view.edges]
    for row, x, y, w, title, subtitle, text, *_ in view.nodes:
        layer, line = table.rows[row][3], table.code[table.rows[row][4]][0]
        named = layers[layer] != NO_LAYER
        hint = "\n".join(p for p in (text, layers[layer] if named else "", line) if p)
        parts.append(_node(x, y, w, title, subtitle, hint, PALETTE[layer % len(PALETTE)] if named else "#fff"))
    return view.width, view.height, parts


def _program(program: Program) -> tuple[float, float, list[str]]:
    """Steps, with an edge from each writer of a buffer to its readers."""
    roots = root_of(program)
    written: dict[str, int] = {}
    edges: dict[tuple[int, int], None] = {}
    labels = [f"{i}: " + (f"loop {s.length}" if isinstance(s, LoopStep) else s.kernel.label)
              for i, s in enumerate(program.steps)]
    origins = [without_folders(s.origin).removeprefix("layer ") for s in program.steps]
    for i, s in enumerate(program.steps):
        reads, writes = touched(s, roots)
        edges.update({(written[b], i): None for b in sorted(reads) if b in written})
        written.update(dict.fromkeys(writes, i))
    sizes: dict[Key, tuple[float, float]] = {
        i: (max(CHAR * len(t), SMALL * len(o)) + PAD, HEIGHT) for i, (t, o) in enumerate(zip(labels, origins))}
    made = layered(sizes, list(edges))
    parts = [_edge([c for p in made.paths[e] for c in p]) for e in edges if e in made.paths]
    for i, (text, o) in enumerate(zip(labels, origins)):
        x, y = made.at[i]
        parts.append(_node(x - sizes[i][0] / 2, y - HEIGHT / 2, sizes[i][0], text, o,
                           "\n".join(program.steps[i].lines({})[:1]).split("    #")[0], "#fff"))
    return made.width, made.height, parts


def _node(x: float, y: float, w: float, title: str, subtitle: str, hint: str, colour: str) -> str:
    return (f'<g><title>{escape(hint)}</title><rect x="{x:.0f}" y="{y:.0f}" width="{w:.0f}" height="{HEIGHT:.0f}" '
            f'rx="4" fill="{colour}"/><text x="{x + w / 2:.0f}" y="{y + 16:.0f}">{escape(title)}</text>'
            f'<text class="type" x="{x + w / 2:.0f}" y="{y + 30:.0f}">{escape(subtitle)}</text></g>')


def _box(x: float, y: float, w: float, h: float, title: str) -> str:
    return (f'<g><rect class="box" x="{x:.0f}" y="{y:.0f}" width="{w:.0f}" height="{h:.0f}" rx="6"/>'
            f'<text x="{x + w / 2:.0f}" y="{y + 15:.0f}">{escape(title)}</text></g>')


def _edge(points: list[float]) -> str:
    return f'<polyline class="edge" points="{" ".join(_pairs(points))}"/>'


def _pairs(points: list[float]) -> Iterator[str]:
    for i in range(0, len(points), 2):
        yield f"{points[i]:.0f},{points[i + 1]:.0f}"


__all__ = ["html", "svg"]
