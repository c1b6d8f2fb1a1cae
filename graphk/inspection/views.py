"""Graphs as drawings: nodes with places, edges with paths, boxes around fused groups and loops.

In: the graphs of a `Subject`, one after each pass.  Out: data for the page (lists and numbers only, ready for
JSON): one table of nodes shared by all graphs, since a node that a pass left alone is the same object, and one view per
graph.  What always holds: values of variables are never included; constant arrays are shown by their size; boxes are
drawn from the graph's own fusion and scan nodes.
"""
from __future__ import annotations

import linecache
import os
from dataclasses import dataclass, field
from typing import Any, Iterator

from graphk.inspection.layout import Layout, layered
from graphk.ir.node import ArrayValue, Graph, Node, origin_of
from graphk.ir.text import node_names, node_text
from graphk.passes.lower import group_label

CHAR, SMALL, PAD, HEIGHT = 7.2, 5.9, 18.0, 38.0
BOX_TOP, BOX_SIDE = 24.0, 12.0
NO_LAYER = "outside layers"
LABELS = {"add": "+", "sub": "−", "mul": "×", "div": "÷"}


def is_scalar_const(node: Node) -> bool:
    """A constant that is written inside its readers instead of being drawn."""
    return node.op.name == "const" and node.t.size == 1


def nested(node: Node) -> Graph | None:
    """The body of a fused group or a loop."""
    return next((v for _, v in node.attrs if isinstance(v, Graph)), None)


def safe_text(node: Node, names: dict[Node, str]) -> str:
    """The node's line; large constants by their size, so that a page holds no data."""
    value = node.attr("value") if node.op.name == "const" else None
    if isinstance(value, ArrayValue) and value.array.size > 16:
        return f"%{names.get(node, '?')}: {node.type} = const(<{value.array.size} values>)"
    return node_text(node, names)


def number(x: Any) -> str:
    """A scalar in few characters."""
    return f"{float(x):.4g}" if getattr(x, "dtype", None) is not None and x.dtype.kind == "f" else str(x)


class NodeTable:
    """All nodes of a page, each once, with the layers they come from."""

    def __init__(self) -> None:
        self.index: dict[Node, int] = {}
        self.rows: list[list[Any]] = []
        self.layers: dict[str, int] = {}
        self.lines: dict[str, int] = {"": 0}
        self.code: list[list[str]] = [["", ""]]

    def add(self, node: Node) -> int:
        """The number of a node's row [op, kind, type, layer, line, rule, kin]; layer, line and kin (the node that it
        was rebuilt from, or itself) are numbers, too."""
        found = self.index.get(node)
        if found is None:
            o = origin_of(node)
            layer = self.layers.setdefault(o.layer or NO_LAYER, len(self.layers))
            found = self.index[node] = len(self.rows)
            self.rows.append([node.op.name, node.op.kind, str(node.type), layer, self._line(o.line), o.rule, found])
        return found

    def alias(self, node: Node, original: Node) -> None:
        """Count `node` as `original`, of which it is a copy."""
        self.index[node] = self.add(original)

    def link(self, node: Node, source: Node) -> None:
        """`node` is what a pass made of `source`."""
        self.rows[self.add(node)][6] = self.rows[self.add(source)][6]

    def _line(self, line: str) -> int:
        """The number of the user's line: [file:number without folders, its code]."""
        found = self.lines.get(line)
        if found is None:
            found = self.lines[line] = len(self.code)
            path, _, at = line.rpartition(":")
            self.code.append([os.path.basename(line), linecache.getline(path, int(at)).strip() if at.isdigit() else ""])
        return found


@dataclass
class _Drawn:
    """A node with its size; a group's own layout lies in `inner`."""
    node: Node
    title: str
    subtitle: str
    size: tuple[float, float]
    inner: "_Level | None" = None


@dataclass
class _Level:
    """One graph, or the body of one group."""
    graph: Graph
    drawn: dict[Node, _Drawn] = field(default_factory=dict)
    layout: Layout | None = None

    @property
    def size(self) -> tuple[float, float]:
        assert self.layout is not None
        return self.layout.width + 2 * BOX_SIDE, self.layout.height + BOX_TOP + BOX_SIDE


class GraphView:
    """The drawing of one graph."""

    def __init__(self, graph: Graph, table: NodeTable, kernels: dict[Node, tuple[str, int]] | None = None):
        """`kernels`: the id of the kernel that a node became part of, and the number of the step that runs it."""
        self.table, self.kernels = table, kernels or {}
        self.nodes: list[list[Any]] = []
        self.edges: list[list[Any]] = []
        self.boxes: list[list[Any]] = []
        self.place: dict[Node, int] = {}
        self.center: dict[Node, tuple[float, float, float, float]] = {}
        self.names: dict[Node, str] = {}
        top = self._level(graph, False)
        assert top.layout is not None
        self.width, self.height = top.layout.width, top.layout.height
        self._emit(top, 0.0, 0.0, ("", -1))
        self._wire(top)

    def data(self) -> dict[str, Any]:
        """What the page needs."""
        return {"w": round(self.width), "h": round(self.height), "nodes": self.nodes, "edges": self.edges,
                "boxes": self.boxes}

    # -------------------------------------------------------------- sizes and layout
    def _level(self, graph: Graph, inside: bool) -> _Level:
        level = _Level(graph)
        self.names.update(node_names(graph))
        skip = set(graph.inputs) if inside else set()
        for n in graph.nodes():
            if n not in skip and n.op.name != "item" and not is_scalar_const(n):
                level.drawn[n] = self._draw(n)
        for n in [*graph.inputs, *graph.variables()]:        # unread inputs and variables that are only written
            if n not in skip and n not in level.drawn:
                level.drawn[n] = self._draw(n)
        edges = [(s, n) for n in level.drawn for s in self._sources(n, level)]
        light = {n for n in level.drawn if n.op.name == "variable"}
        level.layout = layered({n: d.size for n, d in level.drawn.items()}, edges, light)
        return level

    def _draw(self, node: Node) -> _Drawn:
        body = nested(node)
        if body is not None:
            level = self._level(body, True)
            fused = node.op.name == "fusion"
            title = f"{group_label(body)} ({node.attr('kind')})" if fused else f"loop, {node.attr('length')} times"
            wide, tall = level.size
            return _Drawn(node, title, "", (max(wide, 6.7 * len(title) + PAD), tall), level)
        title, subtitle = self._title(node), str(node.type)
        wide = max(CHAR * len(title), SMALL * len(subtitle)) + PAD
        return _Drawn(node, title, subtitle, (max(46.0, wide), HEIGHT))

    @staticmethod
    def _title(node: Node) -> str:
        if node.op.name in ("input", "variable"):
            name = node.attr("name") or node.op.name
            return name if len(name) <= 28 else "…" + name[-27:]
        word = LABELS.get(node.op.name, node.op.name)
        consts = [number(i.attr("value").array.reshape(-1)[0]) for i in node.inputs if is_scalar_const(i)]
        return f"{word} {', '.join(consts)}" if consts else word

    @staticmethod
    def _sources(node: Node, level: _Level) -> Iterator[Node]:
        """The drawn nodes of this level that `node` reads."""
        for i in node.inputs:
            source = i.inputs[0] if i.op.name == "item" else i
            if source in level.drawn:
                yield source

    # -------------------------------------------------------------- places
    def _emit(self, level: _Level, x0: float, y0: float, kernel: tuple[str, int]) -> None:
        assert level.layout is not None
        for n, d in level.drawn.items():
            x, y = level.layout.at[n]
            wide, tall = d.size
            left, top = x0 + x - wide / 2, y0 + y - tall / 2
            own = self.kernels.get(n, kernel)
            if d.inner is not None:
                self.boxes.append([self.table.add(n), round(left), round(top), round(wide), round(tall), d.title, *own])
                pad = (wide - d.inner.size[0]) / 2
                self._emit(d.inner, left + pad + BOX_SIDE, top + BOX_TOP, own)
            else:
                self.place[n] = len(self.nodes)
                self.nodes.append([self.table.add(n), round(left), round(top), round(wide), d.title, d.subtitle,
                                   safe_text(n, self.names), *own])
            self.center[n] = (x0 + x, y0 + y, tall, wide)

    # -------------------------------------------------------------- edges
    def _wire(self, level: _Level, x0: float = 0.0, y0: float = 0.0) -> None:
        assert level.layout is not None
        for n, d in level.drawn.items():
            for k, i in enumerate(n.inputs):
                source, start = self._start(i)
                if source not in level.drawn:
                    continue
                path = level.layout.paths.get((source, n), [])
                via = [(x0 + x, y0 + y) for x, y in path[1:-1]]
                for end in self._ends(n, d, k):
                    self._edge(start, end, via)
            if d.inner is not None:
                cx, cy, tall, wide = self.center[n]
                pad = (wide - d.inner.size[0]) / 2
                self._wire(d.inner, cx - wide / 2 + pad + BOX_SIDE, cy - tall / 2 + BOX_TOP)

    def _start(self, node: Node) -> tuple[Node, Node]:
        """The node or group of this level that a value comes from, and the innermost node that makes it."""
        if node.op.name != "item":
            return node, node
        maker = node.inputs[0]
        body = nested(maker)
        inner = body.outputs[node.attr("index")] if body is not None else maker
        while inner.op.name == "item":
            inner = self._start(inner)[1]
        return maker, inner if inner in self.center else maker

    def _ends(self, node: Node, drawn: _Drawn, k: int) -> list[Node]:
        """The innermost nodes that read input `k` of `node`."""
        if drawn.inner is None:
            return [node]
        body = drawn.inner.graph
        leaf = body.inputs[k]
        readers = [(m, d, j) for m, d in drawn.inner.drawn.items() for j, i in enumerate(m.inputs) if i is leaf]
        found = [e for m, d, j in readers for e in self._ends(m, d, j)]
        return list(dict.fromkeys(found)) or [node]

    def _edge(self, start: Node, end: Node, via: list[tuple[float, float]]) -> None:
        (x1, y1, t1, _), (x2, y2, t2, _) = self.center[start], self.center[end]
        points = [(x1, y1 + t1 / 2), *via, (x2, y2 - t2 / 2)]
        flat = [round(c) for p in points for c in p]
        self.edges.append([self.place.get(start, -1), self.place.get(end, -1), flat])


__all__ = ["NO_LAYER", "GraphView", "NodeTable", "is_scalar_const", "nested", "safe_text"]
