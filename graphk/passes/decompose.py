"""Decompose: composites become the primitives of their `expand`.

In: any Graph.  Out: the same without composite ops, scan bodies included; argmax and argmin become two plain
reductions, which fuse like any other.  Ensures `no_composites`.
"""
from __future__ import annotations

from graphk.ir.node import Graph, Node, make, origin, replaced, rewrite
from graphk.ir.ops.elementwise import cast, eq, is_nan, logical_or, select
from graphk.ir.ops.reduce import max_, min_
from graphk.ir.ops.shape import dim_value, iota, reshape


def decompose(graph: Graph) -> Graph:
    """`graph` in primitives only."""
    def fn(node: Node) -> Node | None:
        if node.op.expand is not None:
            with origin(like=node, rule=""):
                inner = node.op.expand(*node.inputs, **dict(node.attrs))
                return rewrite([inner], fn, "decompose")[inner]
        if node.op.kind == "reduction" and node.attr("keepdims"):
            return _kept(node)
        if node.op.name in ("argmax", "argmin"):
            return _arg_extreme(node)
        if node.op.name == "scan":
            return with_body(node, decompose(node.attr("body")))
        return None
    table = rewrite(graph.roots(), fn, "decompose")
    return graph.map(lambda n: table[n])


def _kept(node: Node) -> Node:
    """A reduction that keeps its axes, as one that drops them: a mean with and without them is computed once."""
    with origin(like=node, rule=""):
        return reshape(node.op(node.inputs[0], axes=node.attr("axes"), keepdims=False), shape=node.shape)


def _arg_extreme(node: Node) -> Node:
    """The smallest index at which the extreme is attained: the first; the first NaN of a row that has one."""
    x, axis = node.inputs[0], node.attr("axis")
    with origin(like=node, rule="arg-extreme"):
        best = (max_ if node.op.name == "argmax" else min_)(x, axes=(axis,), keepdims=True)
        column = tuple(x.shape[axis] if i == axis else 1 for i in range(x.ndim))
        place = reshape(iota(x.shape[axis], "int32"), shape=column)
        last = dim_value(x.shape[axis] - 1, "int32")
        hit = logical_or(eq(x, best), is_nan(x)) if x.t.is_float else eq(x, best)     # NaN is the extreme, as in numpy
        first = min_(select(hit, place, last), axes=(axis,))
        return cast(first, node.dtype)


def with_body(node: Node, body: Graph) -> Node:
    """A scan with another body."""
    old = node.attr("body")
    if body == old:
        return node
    attrs = tuple((k, body if k == "body" else v) for k, v in node.attrs)
    with origin(like=node):
        return replaced(node, make(node.op, node.inputs, attrs), "")


__all__ = ["decompose", "with_body"]
