"""What a notebook shows of a model, a function, a history.

In: one of them.  Out: HTML or SVG text that needs nothing from elsewhere.  What always holds: nothing is compiled or
run; every text that comes from a program is escaped; no value of a weight is shown; a drawing that would be too large
to read is left out.
"""
from __future__ import annotations

import math
from html import escape
from typing import Any, Hashable, Sequence

from graphk.frontend.utils.layer_utils import count_params
from graphk.inspection.layers import shape_of
from graphk.inspection.layout import layered
from graphk.inspection.sections import GOLDEN, plural
from graphk.inspection.views import GraphView, NodeTable
from graphk.ir.node import Graph

MOST = 400                         # nodes of a drawing
CHAR, PAD, TALL = 7.0, 20.0, 38.0
INK, LINE, FONT = "#1d2129", "#9aa0aa", "font-family:system-ui,sans-serif"
CURVES = ("#2f5fd0", "#d0702f", "#2f9e5f", "#9a3fb0", "#b03f4f", "#5f6b7a")


# ------------------------------------------------------------------ tables
def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table with its style in it: a notebook has none for graphk."""
    def cell(tag: str, i: int, text: str) -> str:
        return f'<{tag} style="text-align:{"right" if i in right else "left"}">{escape(text)}</{tag}>'
    lines = ["<tr>" + "".join(cell("td", i, c) for i, c in enumerate(r)) + "</tr>" for r in rows]
    top = "".join(cell("th", i, h) for i, h in enumerate(head))
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _with_drawing(text: str, svg: str | None) -> str:
    return text + (f"<details><summary>graph</summary>{svg}</details>" if svg else "")


def model_html(model: Any) -> str:
    """The layers: name, class, output shape, parameters; the drawing behind them, folded."""
    title = f"<p><b>{escape(type(model).__name__)}</b> {escape(model.name)}"
    if not model.built:
        return f"{title}, not built: its input shape is not known yet</p>"
    rows = [(layer.name, type(layer).__name__, shape_of(layer), f"{layer.count_params():,}",
             f"{count_params(layer.trainable_weights):,}") for layer in model.layers]
    total, trainable = count_params(model.weights), count_params(model.trainable_weights)
    return _with_drawing(
        f"{title}: {plural(len(rows), 'layer')}, {total:,} parameters ({trainable:,} trainable)</p>"
        + _table(("layer", "class", "output shape", "parameters", "trainable"), rows, (3, 4)), model_svg(model))


def function_html(function: Any) -> str:
    """Inputs and outputs, and what is compiled; the drawing of the graph behind them, folded."""
    rows = [(word, str(getattr(t, "name", t)), str(getattr(t, "shape", "")), str(getattr(t, "dtype", "")))
            for word, ts in (("input", function.inputs), ("output", function.outputs)) for t in ts]
    phases = len(function._executables)
    made = f"compiled for {plural(phases, 'learning phase')}" if phases else "not compiled yet"
    return _with_drawing(f"<p><b>function</b> {escape(function.name)}: {len(function._graph.nodes())} nodes, {made}</p>"
                         + _table(("", "name", "shape", "dtype"), rows), function_svg(function))


# ------------------------------------------------------------------ drawings of graphs
def model_svg(model: Any) -> str | None:
    """The calls of the layers, and which reads what; None where there are none or too many."""
    calls = _calls(model) if model.built else []
    if not calls or len(calls) > MOST:
        return None
    texts = {key: (layer.name, f"{type(layer).__name__} {shape_of(layer)}") for key, layer, _ in calls}
    sizes: dict[Hashable, tuple[float, float]] = {k: (CHAR * max(map(len, t)) + PAD, TALL) for k, t in texts.items()}
    edges = [(source, key) for key, _, sources in calls for source in sources if source in sizes]
    drawn = layered(sizes, edges)
    order = {name: i for i, name in enumerate(dict.fromkeys(layer.name for _, layer, _ in calls))}
    boxes = [_box(drawn.at[k][0] - sizes[k][0] / 2, drawn.at[k][1] - TALL / 2, sizes[k][0], *text,
                  round(210 + order[text[0]] * GOLDEN) % 360) for k, text in texts.items()]
    lines = [_edge([(x, y + (TALL / 2 if i == 0 else -TALL / 2 if i == len(path) - 1 else 0))
                    for i, (x, y) in enumerate(path)]) for path in drawn.paths.values()]
    return _svg(drawn.width, drawn.height, [*lines, *boxes])


def _calls(model: Any) -> list[tuple[Hashable, Any, list[Hashable]]]:
    """(key, layer, keys of what it reads) for each call of a layer in the model."""
    nodes = [n for level in getattr(model, "_nodes_by_depth", {}).values() for n in level]
    if nodes:
        return [(id(n), n.outbound_layer, [id(layer._inbound_nodes[at]) for layer, at in
                                           zip(n.inbound_layers, n.node_indices)]) for n in nodes]
    return [(i, layer, [i - 1] if i else []) for i, layer in enumerate(model.layers)]


def function_svg(function: Any) -> str | None:
    """The graph as it was captured; None where it is too large."""
    return graph_svg(function._graph)


def graph_svg(graph: Graph) -> str | None:
    """A graph of any stage; None where it is too large."""
    if len(graph.nodes()) > MOST:
        return None
    table = NodeTable()
    data = GraphView(graph, table).data()
    boxes = [_box(x, y, wide, title, kind, round(210 + table.rows[row][3] * GOLDEN) % 360)
             for row, x, y, wide, title, kind, *_ in data["nodes"]]
    frames = [f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="5" fill="none" stroke="{LINE}"/>'
              f'<text x="{x + 6}" y="{y + 15}">{escape(title)}</text>' for _, x, y, w, h, title, *_ in data["boxes"]]
    lines = [_edge(list(zip(flat[::2], flat[1::2]))) for _, _, flat in data["edges"]]
    return _svg(data["w"], data["h"], [*frames, *lines, *boxes])


def _box(x: float, y: float, wide: float, title: str, subtitle: str, hue: int) -> str:
    middle = x + wide / 2
    return (f'<g><rect x="{x:.0f}" y="{y:.0f}" width="{wide:.0f}" height="{TALL:.0f}" rx="4" '
            f'fill="hsl({hue},62%,92%)" stroke="hsl({hue},45%,55%)"/>'
            f'<text x="{middle:.0f}" y="{y + 16:.0f}" text-anchor="middle" font-weight="600">{escape(title)}</text>'
            f'<text x="{middle:.0f}" y="{y + 30:.0f}" text-anchor="middle" font-size="10">{escape(subtitle)}'
            '</text></g>')


def _edge(points: Sequence[tuple[float, float]]) -> str:
    return (f'<polyline points="{" ".join(f"{x:.0f},{y:.0f}" for x, y in points)}" fill="none" stroke="{LINE}" '
            'marker-end="url(#gk-arrow)"/>')


def _svg(wide: float, tall: float, parts: Sequence[str]) -> str:
    arrow = (f'<defs><marker id="gk-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
             f'orient="auto"><path d="M0 0 8 4 0 8z" fill="{LINE}"/></marker></defs>')
    w, h = math.ceil(wide) + 8, math.ceil(tall) + 8
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="-4 -4 {w} {h}" '
            f'style="{FONT};font-size:12px;background:#fff" fill="{INK}">{arrow}{"".join(parts)}</svg>')


# ------------------------------------------------------------------ histories
def history_svg(history: Any) -> str | None:
    """The losses of each epoch as curves; None before two epochs have ended."""
    curves = {k: [float(x) for x in v] for k, v in history.history.items()
              if k.endswith("loss") and all(isinstance(x, (int, float)) or getattr(x, "ndim", 1) == 0 for x in v)}
    finite = [y for v in curves.values() for y in v if math.isfinite(y)]
    longest = max((len(v) for v in curves.values()), default=0)
    if longest < 2 or not finite:
        return None
    low, high = min(finite), max(finite)
    wide, tall, left = 420.0, 160.0, 52.0

    def place(i: int, y: float) -> tuple[float, float]:
        return left + i * (wide - left) / (longest - 1), tall * (1 - (y - low) / ((high - low) or 1.))
    parts = [f'<path d="M{left} 0V{tall}H{wide}" fill="none" stroke="{LINE}"/>',
             *(f'<text x="{left - 6}" y="{y}" text-anchor="end" font-size="10">{v:.4g}</text>'
               for y, v in ((10, high), (tall, low))),
             f'<text x="{wide}" y="{tall + 16}" text-anchor="end" font-size="10">{longest} epochs</text>']
    for n, (name, values) in enumerate(curves.items()):
        ink = CURVES[n % len(CURVES)]
        points = " ".join("{:.1f},{:.1f}".format(*place(i, y)) for i, y in enumerate(values) if math.isfinite(y))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{ink}" stroke-width="1.5"/>'
                     f'<text x="{left + 8}" y="{tall + 16 + 14 * n}" fill="{ink}">{escape(name)} '
                     f'{values[-1]:.4g}</text>')
    return _svg(wide, tall + 16 + 14 * len(curves), parts)


__all__ = ["function_html", "function_svg", "graph_svg", "history_svg", "model_html", "model_svg"]
