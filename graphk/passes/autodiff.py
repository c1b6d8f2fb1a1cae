"""Symbolic gradients, taken on the Graph before any other pass.

In: a scalar (or any) node and the nodes to differentiate by.  Out: nodes for the gradients, None where
there is no path.  What always holds: reverse mode, each op's own `vjp` applied once per node in reverse
topological order; composites are differentiated through their expansion; a scan's gradient is a
scan in the other direction over saved carries.
"""
from __future__ import annotations

from typing import Sequence

from graphk.ir.node import Graph, Node, origin, topological
from graphk.ir.opdef import ZERO_GRAD
from graphk.ir.ops.control import item, scan, scan_op
from graphk.ir.ops.elementwise import add, ones_like, zeros_like
from graphk.ir.ops.leaves import new_input
from graphk.ir.types import TensorType


def gradients(loss: Node, wrt: Sequence[Node], seed: Node | None = None) -> list[Node | None]:
    """d loss / d wrt, each of the shape of its node; None where `loss` does not depend on it.

    `seed` is the gradient that flows into `loss` (ones by default, so that a non-scalar loss is summed).
    """
    return backward([loss], [seed if seed is not None else ones_like(loss)], wrt)


def backward(outputs: Sequence[Node], seeds: Sequence[Node | None], wrt: Sequence[Node]) -> list[Node | None]:
    """Gradients of sum(output · seed) with respect to each node of `wrt`."""
    grads: dict[Node, Node] = {}
    parts: dict[Node, dict[int, Node]] = {}                  # of nodes with several results
    for o, s in zip(outputs, seeds):
        if s is not None:
            _accumulate(grads, o, s)
    needed = _on_path(outputs, wrt)
    for node in reversed(topological(outputs)):
        if node not in needed:
            continue
        with origin(like=node, rule=""):
            if node.op.name == "scan":
                if node in parts:
                    _scan_vjp(node, parts[node], grads)
            elif node in grads and node.inputs:
                _node_vjp(node, grads[node], grads, parts)
    return [grads.get(w) for w in wrt]


def _on_path(outputs: Sequence[Node], wrt: Sequence[Node]) -> set[Node]:
    """Nodes that depend on a node of `wrt`."""
    hit = set(wrt)
    for node in topological(outputs):
        if any(i in hit for i in node.inputs):
            hit.add(node)
    return hit


def _accumulate(grads: dict[Node, Node], node: Node, g: Node) -> None:
    grads[node] = add(grads[node], g) if node in grads else g


def _node_vjp(node: Node, g: Node, grads: dict[Node, Node], parts: dict[Node, dict[int, Node]]) -> None:
    op = node.op
    if op.vjp == ZERO_GRAD or not node.t.is_float:
        return
    if op.vjp == "item":
        slot = parts.setdefault(node.inputs[0], {})
        at = node.attr("index")
        slot[at] = add(slot[at], g) if at in slot else g
        return
    if op.expand is not None:
        found = _through(node, g)
    elif op.vjp is None:
        raise NotImplementedError(f"the op `{op.name}` has no gradient")
    else:
        found = op.vjp(g, node, *node.inputs, **dict(node.attrs))
    for x, d in zip(node.inputs, found):
        if d is not None and x.t.is_float:
            _accumulate(grads, x, d)


def _through(node: Node, g: Node) -> list[Node | None]:
    """Gradients of a composite's expansion with respect to its operands only.

    Expansion and gradient are made on stand-ins for operands and `g`, so that nothing upstream of them is visited.
    """
    stand_ins, seed = [new_input(x.t) for x in node.inputs], new_input(g.t)
    assert node.op.expand is not None
    inner = node.op.expand(*stand_ins, **dict(node.attrs))
    back = dict(zip([*stand_ins, seed], [*node.inputs, g]))
    return [None if d is None else _substitute(d, back) for d in backward([inner], [seed], stand_ins)]


def _substitute(root: Node, table: dict[Node, Node]) -> Node:
    from graphk.ir.node import replace_inputs
    new: dict[Node, Node] = {}
    for n in topological([root]):
        new[n] = table[n] if n in table else replace_inputs(n, tuple(new[i] for i in n.inputs))
    return new[root]


# ------------------------------------------------------------------ scan
def _scan_vjp(node: Node, seeds: dict[int, Node], grads: dict[Node, Node]) -> None:
    """Backpropagation through time: a scan the other way, fed with the carries that each step began with."""
    body: Graph = node.attr("body")
    nc, nx, reverse, length = (node.attr(k) for k in ("n_carry", "n_xs", "reverse", "length"))
    init, xs, consts = node.inputs[:nc], node.inputs[nc:nc + nx], node.inputs[nc + nx:]
    saved = Graph(body.inputs, body.outputs + body.inputs[:nc], name=body.name)
    forward = scan(saved, init, xs, consts, length, reverse)
    carries = forward[len(body.outputs):]
    stacked = [i for i in range(nc, len(body.outputs)) if i in seeds]
    back = _scan_back_body(body, nc, nx, stacked)
    g0 = [seeds.get(i) or zeros_like(init[i]) for i in range(nc)]
    acc0 = [zeros_like(c) for c in consts if c.t.is_float]
    out = scan(back, [*_float_only(g0, init), *acc0], [*carries, *xs, *[seeds[i] for i in stacked]], consts,
               length, not reverse)
    fc, fx = [c for c in init if c.t.is_float], [x for x in xs if x.t.is_float]
    targets = fc + [c for c in consts if c.t.is_float] + fx
    for x, d in zip(targets, out):
        _accumulate(grads, x, d)


def _float_only(gs: Sequence[Node], init: Sequence[Node]) -> list[Node]:
    return [g for g, c in zip(gs, init) if c.t.is_float]


def _scan_back_body(body: Graph, nc: int, nx: int, stacked: Sequence[int]) -> Graph:
    """The step of the backward scan: (d carry, d consts so far; carry, x, d y; consts) -> (… ; d x)."""
    carry, xs, consts = body.inputs[:nc], body.inputs[nc:nc + nx], body.inputs[nc + nx:]
    fcarry, fconsts, fxs = ([n for n in group if n.t.is_float] for group in (carry, consts, xs))
    d_carry = [new_input(c.t, "d_carry") for c in fcarry]
    acc = [new_input(c.t, "d_const") for c in fconsts]
    d_ys = [new_input(body.outputs[i].t, "d_y") for i in stacked]
    outs = [o for i, o in enumerate(body.outputs) if i in stacked or (i < nc and o.t.is_float)]
    flows = d_carry + d_ys
    found = backward(outs, flows, [*fcarry, *fconsts, *fxs])
    full = [zeros_like(w) if f is None else f for f, w in zip(found, [*fcarry, *fconsts, *fxs])]
    n1, n2 = len(fcarry), len(fcarry) + len(fconsts)
    outputs = full[:n1] + [add(a, d) for a, d in zip(acc, full[n1:n2])] + full[n2:]
    return Graph((*d_carry, *acc, *carry, *xs, *d_ys, *consts), tuple(outputs), name=body.name + "_grad")


__all__ = ["gradients", "backward", "scan_op", "item", "TensorType"]
