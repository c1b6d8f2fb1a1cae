"""Layered layout: where to draw the nodes of a directed graph.

In: sizes of the nodes, and edges.  Out: a centre for each node, and for each edge the points that it passes.  What
always holds: an edge goes from a smaller y to a larger one, no two nodes of a layer overlap, and the same
graph is always laid out the same way.

Source: Sugiyama, Tagawa, Toda, "Methods for visual understanding of hierarchical system structures" (1981): layers,
invisible nodes on long edges, barycentre sweeps, then positions that approach the median of the neighbours.
"""
from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Container, Hashable, Sequence

import networkx as nx

Key = Hashable
Point = tuple[float, float]
GAP_X, GAP_Y = 18.0, 28.0
SWEEPS = 6
DUMMY_LIMIT = 6000                  # invisible nodes beyond which long edges are drawn straight


@dataclass
class Layout:
    """Centres, the points of each edge, and the size of the drawing (its corner is at 0, 0)."""
    at: dict[Key, Point]
    paths: dict[tuple[Key, Key], list[Point]]
    width: float
    height: float


class _Layers:
    """One run."""

    def __init__(self, sizes: dict[Key, tuple[float, float]], edges: Sequence[tuple[Key, Key]], light: Container[Key]):
        self.sizes, self.light = dict(sizes), light
        self.graph = nx.DiGraph()
        self.graph.add_nodes_from(sizes)
        self.graph.add_edges_from(e for e in edges if e[0] != e[1])
        self.edges = list(self.graph.edges)
        self.rank = self._ranks()
        self.chains: dict[tuple[Key, Key], list[Key]] = {}
        self.work = self._with_dummies()
        self.up = {n: list(self.work.predecessors(n)) for n in self.work}
        self.down = {n: list(self.work.successors(n)) for n in self.work}
        self.layers = self._order()

    # -------------------------------------------------------------- layers
    def _ranks(self) -> dict[Key, int]:
        """As early as the inputs allow; then down to the readers where that shortens edges."""
        order = list(nx.topological_sort(self.graph))
        rank: dict[Key, int] = {}
        for n in order:
            rank[n] = max((rank[p] + 1 for p in self.graph.predecessors(n)), default=0)
        for n in reversed(order):
            readers = list(self.graph.successors(n))
            pull = sum(0.3 if p in self.light else 1.0 for p in self.graph.predecessors(n))
            if readers and len(readers) >= pull:
                rank[n] = max(rank[n], min(rank[r] for r in readers) - 1)
        return rank

    def _with_dummies(self) -> nx.DiGraph:
        work = nx.DiGraph()
        work.add_nodes_from(self.graph)
        long = sum(max(0, self.rank[b] - self.rank[a] - 1) for a, b in self.edges)
        for i, (a, b) in enumerate(self.edges):
            between = [("dummy", i, r) for r in range(self.rank[a] + 1, self.rank[b])] if long <= DUMMY_LIMIT else []
            self.chains[a, b] = list(between)
            for d in between:
                self.sizes[d] = (4.0, 0.0)
                self.rank[d] = d[2]
            path = [a, *between, b]
            work.add_edges_from(zip(path, path[1:]))
        return work

    def _order(self) -> list[list[Key]]:
        """The order within layers: sweeps of barycentres, down and up."""
        layers: list[list[Key]] = [[] for _ in range(max(self.rank.values(), default=-1) + 1)]
        for n in nx.dfs_preorder_nodes(self.work.to_undirected()) if self._connected() else self.work:
            layers[self.rank[n]].append(n)
        for sweep in range(SWEEPS):
            down = sweep % 2 == 0
            near = self.up if down else self.down
            for i in range(len(layers)) if down else reversed(range(len(layers))):
                place = {n: k for layer in layers for k, n in enumerate(layer)} if i == 0 else place_of(layers, i, down)
                keys = {n: _mean([place[m] for m in near[n] if m in place], k) for k, n in enumerate(layers[i])}
                layers[i].sort(key=lambda n, keys=keys: keys[n])           # type: ignore[misc]
        return layers

    def _connected(self) -> bool:
        return len(self.work) > 0 and nx.is_weakly_connected(self.work)

    # -------------------------------------------------------------- coordinates
    def run(self) -> Layout:
        x = self._x()
        ys: list[float] = []
        top = 0.0
        for layer in self.layers:
            tall = max((self.sizes[n][1] for n in layer), default=0.0)
            ys.append(top + tall / 2)
            top += tall + GAP_Y
        left = min((x[n] - self.sizes[n][0] / 2 for n in x), default=0.0)
        right = max((x[n] + self.sizes[n][0] / 2 for n in x), default=0.0)
        at = {n: (x[n] - left, ys[self.rank[n]]) for n in x}
        paths = {e: [at[n] for n in (e[0], *self.chains[e], e[1])] for e in self.edges}
        return Layout({n: at[n] for n in self.graph}, paths, right - left, max(0.0, top - GAP_Y))

    def _x(self) -> dict[Key, float]:
        """Positions that approach the median of the neighbours, the order kept."""
        x: dict[Key, float] = {}
        for layer in self.layers:
            at = 0.0
            for n in layer:
                x[n] = at + self.sizes[n][0] / 2
                at += self.sizes[n][0] + GAP_X
            for n in layer:
                x[n] -= (at - GAP_X) / 2
        for sweep in range(2 * SWEEPS):
            down = sweep % 2 == 0
            near = self.up if down else self.down
            for layer in self.layers if down else reversed(self.layers):
                want = [median(x[m] for m in near[n]) if near[n] else x[n] for n in layer]
                for n, value in zip(layer, self._spread(layer, want)):
                    x[n] = value
        return x

    def _spread(self, layer: list[Key], want: list[float]) -> list[float]:
        """The positions nearest to `want` (least squares) with every gap kept: pool adjacent violators."""
        shift = [0.0]
        for a, b in zip(layer, layer[1:]):
            gap = GAP_X / 3 if isinstance(a, tuple) and isinstance(b, tuple) and a[0] == b[0] == "dummy" else GAP_X
            shift.append(shift[-1] + (self.sizes[a][0] + self.sizes[b][0]) / 2 + gap)
        pools: list[tuple[float, float, int]] = []           # (sum, weight, members)
        for w, s, n in zip(want, shift, layer):
            weight = 0.2 if isinstance(n, tuple) and n[0] == "dummy" else 1.0
            pools.append(((w - s) * weight, weight, 1))
            while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
                a, b = pools.pop(), pools.pop()
                pools.append((a[0] + b[0], a[1] + b[1], a[2] + b[2]))
        flat = [total / weight for total, weight, members in pools for _ in range(members)]
        return [p + s for p, s in zip(flat, shift)]


def place_of(layers: list[list[Key]], i: int, down: bool) -> dict[Key, int]:
    """The places of the layer that layer `i` is sorted by."""
    j = i - 1 if down else i + 1
    return {n: k for k, n in enumerate(layers[j])} if 0 <= j < len(layers) else {}


def _mean(values: list[int], default: float) -> float:
    return sum(values) / len(values) if values else float(default)


def layered(sizes: dict[Key, tuple[float, float]], edges: Sequence[tuple[Key, Key]],
            light: Container[Key] = ()) -> Layout:
    """Lay out a graph: node -> (width, height), and edges from producers to readers; ValueError if there is a cycle.

    light: nodes that may stand far from their readers (variables), so that chains which start at them move down.
    """
    try:
        return _Layers(sizes, edges, light).run()
    except nx.NetworkXUnfeasible as e:
        raise ValueError(f"the {len(sizes)} nodes cannot be laid out: their edges contain a cycle ({e}); "
                         "expected the graph of a computation") from None


__all__ = ["Layout", "layered"]
