"""Compact: the gradient of a table holds the rows that a batch names, and a place for each row of the table.

In: a Graph of primitives.  Out: an equal one in which a `scatter_add` into many rows that elementwise work alone reads
(an optimizer's update of an embedding) is a `gather` from few: row 0 is zero, and what a row that is named receives is
summed at the place of its last name.  So nothing of the table's size is filled with zeros and added to, and readers
compute what they did before, to the bit.  What always holds: the sum of a gradient's squares (its norm) is one over
the few rows; where anything else reads the gradient, it stays as it was.
"""
from __future__ import annotations

from graphk.ir.dims import evaluate, product, symbols
from graphk.ir.node import Graph, Node, origin, replaced, substitute_nodes, users
from graphk.ir.ops.elementwise import square
from graphk.ir.ops.reduce import sum_
from graphk.ir.ops.shape import gather, places, scatter_add

BATCH = 32                       # a stand-in for symbolic dims: how many rows a batch may name
NARROW = 32                      # elements: shorter rows are more work to look up than to read
LARGE = 1 << 20                  # elements: smaller tables stay in the caches


def compact(graph: Graph) -> Graph:
    """`graph` with gradients of large tables compact."""
    uses, roots = users(graph.nodes()), set(graph.roots())
    table: dict[Node, Node] = {}
    for node in graph.nodes():
        if node.op is not scatter_add or node in roots or not _pays(node):
            continue
        if any(u.op.kind != "elementwise" for u in uses[node]):
            continue
        rows, table[node] = _compacted(node)
        for total in (t for u in uses[node] if u.op is square for t in uses[u] if t.op is sum_ and t.ndim == 0):
            with origin(like=total, rule="compact"):
                table[total] = replaced(total, sum_(square(rows)), "compact")
    return substitute_nodes(graph, table) if table else graph


def _pays(node: Node) -> bool:
    """Whether a table is large, its rows long enough, and more of them than a batch is likely to name."""
    rows, width, count = node.shape[0], product(node.shape[1:]), node.inputs[0].t.size
    return (node.t.is_float and isinstance(rows, int) and isinstance(width, int) and width >= NARROW
            and rows * width >= LARGE and rows >= evaluate(count, dict.fromkeys(symbols(count), BATCH)))


def _compacted(node: Node) -> tuple[Node, Node]:
    """The few rows of a gradient, and what it is for all rows of the table."""
    idx, g = node.inputs
    with origin(like=node, rule="compact"):
        at = places(idx, rows=node.attr("rows"))
        rows = scatter_add(gather(at, idx), g, rows=idx.t.size + 1)
        return rows, replaced(node, gather(rows, at), "compact")


__all__ = ["compact"]
