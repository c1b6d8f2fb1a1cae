"""Slices: what is computed, and then thrown away, is not computed.

In: any Graph.  Out: an equal one in which a slice that alone reads the result of a product, perhaps through elementwise
operations, is a slice of the product's rows.  What always holds: no product and no elementwise operation gets larger,
and nothing is computed twice; whatever else reads what is sliced keeps it whole.
"""
from __future__ import annotations

from graphk.ir.node import Graph, Node, make, origin, replaced, substitute_nodes, users
from graphk.ir.ops.contract import dot
from graphk.ir.ops.shape import slice_op


def slices(graph: Graph) -> Graph:
    """`graph` with slices before products instead of behind them, until none can move."""
    uses, roots = users(graph.nodes()), set(graph.roots())

    def narrowed(x: Node, cut: Node) -> Node | None:
        """The part of `x` that the slice `cut` takes, from less work; None where nothing is saved."""
        if x in roots or len(uses[x]) > 1:
            return None
        if x.op.name == "dot":
            return _rows(x, cut)
        if x.op.kind != "elementwise":
            return None
        parts = [narrowed(i, cut) if i.shape == x.shape else None for i in x.inputs]
        if not any(parts):
            return None
        with origin(like=x, rule="slices"):
            return make(x.op, tuple(part or _taken(i, x, cut) for i, part in zip(x.inputs, parts)), x.attrs)

    table = {}
    for node in graph.nodes():
        if node.op is slice_op:
            new = narrowed(node.inputs[0], node)
            if new is not None:
                table[node] = replaced(node, new, "slices")
    return slices(substitute_nodes(graph, table)) if table else graph


def _taken(x: Node, whole: Node, cut: Node) -> Node:
    """The part of `x`, an operand that is spread to `whole`, which the slice `cut` of `whole` needs."""
    skip = whole.ndim - x.ndim
    starts, sizes, steps = ([*cut.attr(k)[skip:]] for k in ("starts", "sizes", "steps"))
    for a, d in enumerate(x.shape):
        if d != whole.shape[a + skip]:
            starts[a], sizes[a], steps[a] = 0, d, 1
    if tuple(sizes) == x.shape and not any(starts) and all(s == 1 for s in steps):
        return x
    with origin(like=cut):
        return slice_op(x, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))


def _rows(product: Node, cut: Node) -> Node | None:
    """The rows of a product that a slice takes; None if it takes columns (weights would be copied), or of windows
    (whose fast ways need neighbours)."""
    a, b = product.inputs
    contract, batch = product.attr("contract"), product.attr("batch")
    own = [i for i in range(a.ndim) if i not in contract[0] and i not in batch[0]]
    first = len(batch[0])
    cuts = [i for i, d in enumerate(product.shape) if cut.shape[i] != d or cut.attr("steps")[i] != 1]
    if a.op.name == "windows" or cut.shape == product.shape or not all(first <= i < first + len(own) for i in cuts):
        return None
    starts, sizes, steps = [0] * a.ndim, list(a.shape), [1] * a.ndim
    for i in cuts:
        at = own[i - first]
        starts[at], sizes[at], steps[at] = (cut.attr(k)[i] for k in ("starts", "sizes", "steps"))
    with origin(like=product, rule="slices"):
        return dot(slice_op(a, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps)), b, contract=contract,
                   batch=batch)


__all__ = ["slices"]
