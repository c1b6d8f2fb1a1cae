"""Mixed precision: contractions of operands rounded to a narrow type.

In: a whole Graph, gradients included, and "float16" or "bfloat16".  Out: the same, in which each float32 operand of a
contraction is first rounded to what the narrow type holds.  What always holds: products are added in float32, and
nothing else changes; what only moves elements stays next to its contraction, so that windows are read in place; what
all steps of a loop contract with is rounded once, before it.

A gradient's contractions have the rounded operands of the forward one, or round the gradient: so this, after gradients
were taken, is what they would be if a rounding's gradient were that of the identity.
"""
from __future__ import annotations

from graphk.ir.node import Graph, Node, make, origin, replace_inputs
from graphk.ir.ops.contract import dot
from graphk.ir.ops.control import scan_op
from graphk.ir.ops.elementwise import cast, round_bf16
from graphk.ir.ops.leaves import fresh_input
from graphk.passes.recurrent import recurrent

NARROWED = ("float16", "bfloat16")
RULE = "mixed-precision"
_MOVED = frozenset(("transpose", "reshape", "slice", "embed", "windows"))


def mixed(graph: Graph, dtype: str) -> Graph:
    """`graph` with contractions of numbers of the type `dtype`, one of `NARROWED`."""
    loops, _ = recurrent(graph, lambda form: f"mixed precision rounds what its steps multiply to {dtype}")
    return _Rounding(dtype).graph(loops)


class _Rounding:
    def __init__(self, dtype: str):
        self.dtype = dtype
        self.outside: dict[Node, Node] = {}        # of a loop's constant the leaf that is its rounded value

    def graph(self, graph: Graph) -> Graph:
        new: dict[Node, Node] = {}
        for node in graph.nodes():
            inputs = tuple(new[i] for i in node.inputs)
            if node.op is scan_op:
                new[node] = self.scan(node, inputs)
                continue
            if node.op is dot and node.dtype == "float32":
                inputs = tuple(self.rounded(i) for i in inputs)
            new[node] = replace_inputs(node, inputs)
        return graph.map(lambda n: new[n])

    def rounded(self, x: Node) -> Node:
        """`x`, rounded before its elements are moved."""
        path = []
        while x.op.name in _MOVED:
            path.append(x)
            x, = x.inputs
        out = self.outside.get(x) or self.narrow(x)
        for node in reversed(path):
            with origin(like=node, rule=RULE):
                out = make(node.op, (out,), node.attrs)
        return out

    def narrow(self, x: Node) -> Node:
        with origin(like=x, rule=RULE):
            return round_bf16(x) if self.dtype == "bfloat16" else cast(cast(x, "float16"), "float32")

    def scan(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        """The loop, with one more constant for each that its steps contract with."""
        body: Graph = node.attr("body")
        first = node.attr("n_carry") + node.attr("n_xs")
        constants = {n: outer for n, outer in zip(body.inputs[first:], inputs[first:]) if n.dtype == "float32"}
        for n in constants:
            if n not in self.outside:
                self.outside[n] = fresh_input(n.t)
        inner = self.graph(body)
        read = set(inner.nodes())
        added = {self.outside[n]: outer for n, outer in constants.items() if self.outside[n] in read}
        inner = Graph((*body.inputs, *added), inner.outputs, name=body.name, guards=body.guards)
        attrs = tuple((k, inner if k == "body" else v) for k, v in node.attrs)
        with origin(like=node):
            return make(scan_op, (*inputs, *map(self.narrow, added.values())), attrs)


__all__ = ["NARROWED", "mixed"]
