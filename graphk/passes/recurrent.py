"""Recurrent: layers that a library of the device computes become calls of it, the others the loops that they are.

In: a Graph in one learning phase, and what says why a library does not take a layer of a `Form` (None: there is no
library, as on a CPU).  Out: the same without `recurrence` and `recurrence_gradient` nodes, and a line for each loop
over a recurrent cell that stayed one.  Ensures `no_recurrences`.  What always holds: where no library takes a layer,
the graph is the very one that was built before its steps were enclosed; a library's call is given the sequence turned
round where the last step comes first, and weights in its own order, by ops that fuse and simplify like any others.
"""
from __future__ import annotations

from typing import Callable, Mapping

import numpy as np

from graphk.ir.node import Graph, Node, origin, origin_of, replace_inputs, replaced, topological
from graphk.ir.opdef import const
from graphk.ir.ops.control import item
from graphk.ir.ops.elementwise import add
from graphk.ir.ops.recurrent import GATES, WHY, Form, recurrence, recurrence_gradient, rnn, rnn_gradient
from graphk.ir.ops.shape import broadcast_to, concat, gather, reshape, slice_op, transpose
from graphk.passes.decompose import with_body

Refuses = Callable[[Form], str]        # why a library does not take a layer; "" if it does
_BOTH = (recurrence, recurrence_gradient)
_TURNED = {"gru": (1, 0, 2)}           # Keras's gates z, r, h in a library's order, and back: where it is another


def recurrent(graph: Graph, refuses: Refuses | None = None) -> tuple[Graph, tuple[str, ...]]:
    """`graph` with its recurrent layers as loops or calls, and why loops are loops (for a device with a library)."""
    run = _Layers(graph, refuses)
    new = run.table(graph)
    return (graph.map(lambda n: new[n]) if new else graph), tuple(dict.fromkeys(run.notes))


def has_recurrences(graph: Graph) -> bool:
    """Whether there is a recurrent layer that is one node, at any depth."""
    return any(n.op in _BOTH for n in graph.nodes()) or any(
        has_recurrences(body) for _, bodies in graph.bodies for body in bodies)


def _key(node: Node) -> tuple[object, ...]:
    """What a recurrence and its gradients have in common, and what makes them that layer's."""
    return (_operands(node), *(node.attr(k) for k in ("cell", "biases", "roles", "reverse")))


def _operands(node: Node) -> tuple[Node, ...]:
    """A recurrence's operands, of it or of its gradient."""
    return node.inputs[:len(node.inputs) - len(node.attr("seeded") or ())]


class _Layers:
    """One run of the pass."""

    def __init__(self, graph: Graph, refuses: Refuses | None):
        self.refuses = refuses
        self.notes: list[str] = []
        self.trained: dict[tuple[object, ...], list[Node]] = {}
        for n in graph.nodes():
            if n.op is recurrence_gradient:
                self.trained.setdefault(_key(n), []).append(n)

    def table(self, graph: Graph) -> dict[Node, Node]:
        """What became of each node; empty if nothing did."""
        loops = [n for n in graph.nodes() if n.op.name == "scan"]
        if self.refuses is not None:
            for n in loops:
                why = WHY.get(n.attr("body").inputs[0]) if n.attr("body").inputs else None
                if why:
                    self._note(n, why)
        if not has_recurrences(graph):
            return {}
        new: dict[Node, Node] = {}
        parts: dict[Node, list[Node]] = {}
        for node in graph.nodes():
            inputs = tuple(new.get(i, i) for i in node.inputs)
            if node.op in _BOTH:
                with origin(like=node):
                    parts[node] = self._layer(node, inputs)
                new[node] = node                             # read by its items alone, which are replaced
            elif node.op.name == "item" and node.inputs[0] in parts:
                new[node] = replaced(node, parts[node.inputs[0]][node.attr("index")], "recurrent")
            else:
                here = replace_inputs(node, inputs)
                new[node] = with_body(here, _inside(here.attr("body"))) if here.op.name == "scan" else here
        return new

    def _note(self, node: Node, why: str) -> None:
        layer = origin_of(node).layer
        self.notes.append(f"loop{f' of {layer}' if layer else ''}: graphk's steps: {why}")

    def _layer(self, node: Node, inputs: tuple[Node, ...]) -> list[Node]:
        """The results of a recurrence or its gradient."""
        why = self._why_not(node)
        if why:
            out = inlined(node, inputs)
            if self.refuses is not None and node.op is recurrence:
                self._note(node, why)
                for n in out:
                    if n.op.name == "item" and n.inputs[0].op.name == "scan":
                        WHY[n.inputs[0].attr("body").inputs[0]] = why
            return out
        own = len(_operands(node))
        layer = _Call(node, inputs[:own])
        back = self.trained.get(_key(node), ())
        training = 1 + back.index(node) if node in back else min(len(back), 1)
        call = rnn(*layer.operands(), cell=layer.form.cell, biases=layer.form.biases, training=training)
        return layer.results(call) if node.op is recurrence else layer.gradients(
            call, dict(zip(node.attr("seeded"), inputs[own:])))

    def _why_not(self, node: Node) -> str:
        if self.refuses is None:
            return "there is no library for them"
        if not node.attr("cell"):
            return "these are gradients of gradients"
        dtypes = {n.dtype for n in _operands(node)} - {"float32"}
        if dtypes:
            return f"a library computes float32, not {', '.join(sorted(dtypes))}"
        form = _form(node)
        return self.refuses(form) if form is not None else "its extents are open"


def _inside(body: Graph) -> Graph:
    """The body of another loop, where layers are loops."""
    return recurrent(body)[0]


def inlined(node: Node, inputs: tuple[Node, ...]) -> list[Node]:
    """The results of a node's body on other inputs."""
    body: Graph = node.attr("body")
    new = dict(zip(body.inputs, inputs))
    inner = recurrent(body)[0] if has_recurrences(body) else body
    for n in topological(inner.outputs):
        if n not in new:
            new[n] = replace_inputs(n, tuple(new[i] for i in n.inputs))
    return [new[o] for o in inner.outputs]


def _form(node: Node) -> Form | None:
    """What a library must know; None where an extent is open or the ranks are others."""
    x, kernel, recurrent_kernel = (node.inputs[r] for r in node.attr("roles")[:3])
    gates = GATES[node.attr("cell")]
    if x.ndim != 3 or kernel.ndim != 2 or not all(isinstance(d, int) for d in (*kernel.shape, *recurrent_kernel.shape)):
        return None
    features, units = kernel.shape[0], recurrent_kernel.shape[0]
    if (x.shape[2], kernel.shape[1], recurrent_kernel.shape[1]) != (features, gates * units, gates * units):
        return None
    return Form(node.attr("cell"), features, units, node.attr("biases"))


class _Call:
    """A recurrent layer as a library's call: what goes in, and what its results are to the graph."""

    def __init__(self, node: Node, inputs: tuple[Node, ...]):
        form = _form(node)
        assert form is not None
        self.form, self.attrs, self.inputs = form, node.attr, inputs
        self.said = [inputs[r] for r in node.attr("roles")]
        self.first = self.said[3 + form.biases:]

    def operands(self) -> tuple[Node, ...]:
        """Sequence in the order of steps, flat weights, first states."""
        x = self.said[0]
        return (turned(x) if self.attrs("reverse") else x, self._packed(), *self.first)

    def results(self, call: Node) -> list[Node]:
        """The last states, then all outputs if they are wanted."""
        n = len(self.first)
        every = len(self.attrs("body").outputs) > n
        return [*(item(call, 1 + i) for i in range(n)), *([self._in_order(item(call, 0))] if every else [])]

    def gradients(self, call: Node, seeds: Mapping[int, Node]) -> list[Node]:
        """The gradient by each operand; what is an operand twice receives two."""
        x, weights, *first = self.operands()
        y, n = item(call, 0), len(first)
        dy = self._in_order(seeds[n]) if n in seeds else _zeros(y)
        last = [seeds[i] if i in seeds else _zeros(s) for i, s in enumerate(first)]
        back = rnn_gradient(x, weights, y, item(call, 1 + n), *first, dy, *last, cell=self.form.cell,
                            biases=self.form.biases)
        dx = item(back, 0)
        out = [turned(dx) if self.attrs("reverse") else dx, *self._unpacked(item(back, 1)),
               *(item(back, 2 + i) for i in range(n))]
        found: dict[int, Node] = {}
        for role, d in zip(self.attrs("roles"), out, strict=True):
            found[role] = add(found[role], d) if role in found else d
        return [found[i] for i in range(len(self.inputs))]

    def _in_order(self, y: Node) -> Node:
        """Outputs in the order of steps as the graph has them, and back."""
        return turned(y) if self.attrs("reverse") and not self.attrs("in_order") else y

    # -------------------------------------------------------------- weights
    def _gates(self, rows: Node) -> Node:
        """Rows (gates * units, …) in the library's order of gates, or back from it."""
        order = _TURNED.get(self.form.cell)
        if order is None:
            return rows
        places = np.arange(rows.shape[0], dtype=np.int32).reshape(len(order), -1)[list(order)]
        return gather(rows, const(places.reshape(-1)))

    def _packed(self) -> Node:
        """Weights as the library keeps them."""
        kernels, biases = self.said[1:3], self.said[3:3 + self.form.biases]
        rows = [*map(_transposed, kernels), *biases]
        return concat(*(reshape(self._gates(r), shape=(r.t.size,)) for r in rows), axis=0)

    def _unpacked(self, flat: Node) -> list[Node]:
        """Gradients of kernels and biases, as the graph has them."""
        at, out = 0, []
        for w in self.said[1:3 + self.form.biases]:
            size = w.t.size
            assert isinstance(size, int)
            rows = self._gates(reshape(_rows(flat, at, size), shape=w.shape[::-1]))
            out.append(transpose(rows, perm=(1, 0)) if w.ndim == 2 else rows)
            at += size
        return out


def _transposed(kernel: Node) -> Node:
    """A kernel's columns as rows; what was turned gate by gate (a layer's that has cuDNN's order) is turned back."""
    parts = kernel.inputs
    if kernel.op is concat and kernel.attr("axis") == 1 and all(p.op is transpose for p in parts):
        return concat(*(p.inputs[0] for p in parts), axis=0)
    return transpose(kernel, perm=(1, 0))


def _rows(x: Node, start: int, size: int) -> Node:
    return slice_op(x, starts=(start, *(0 for _ in x.shape[1:])), sizes=(size, *x.shape[1:]), steps=(1,) * x.ndim)


def _zeros(like: Node) -> Node:
    return broadcast_to(const(0., like.dtype), shape=like.shape)


def turned(x: Node) -> Node:
    """A sequence backwards, in time."""
    return slice_op(x, starts=(x.shape[0] - 1, *(0 for _ in x.shape[1:])), sizes=x.shape,
                    steps=(-1, *(1 for _ in x.shape[1:])))


__all__ = ["Refuses", "has_recurrences", "recurrent"]
