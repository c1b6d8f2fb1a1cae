"""Symbolic gradients, taken on the Graph before any other pass.

In: a scalar (or any) node and the nodes to differentiate by.  Out: nodes for the gradients, None where
there is no path.  What always holds: reverse mode, each op's own `vjp` applied once per node in reverse
topological order; composites without one are differentiated through their expansion; a scan's gradient is a
scan in the other direction over saved carries.
"""
from __future__ import annotations

from typing import Any, Sequence

from graphk.ir.dims import Dim
from graphk.ir.node import Graph, Node, make, origin, replace_inputs, topological, users
from graphk.ir.opdef import ZERO_GRAD
from graphk.ir.ops.contract import dot
from graphk.ir.ops.control import item, scan, scan_op
from graphk.ir.ops.elementwise import add, ones_like, zeros_like
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.recurrent import recurrence_gradient
from graphk.ir.types import TensorType


def gradients(loss: Node, wrt: Sequence[Node], seed: Node | None = None) -> list[Node | None]:
    """d loss / d wrt, each of the shape of its node; None where `loss` does not depend on it.

    `seed` is the gradient that flows into `loss` (ones by default, so that a non-scalar loss is summed).
    """
    return backward([loss], [seed if seed is not None else ones_like(loss)], wrt)


def backward(outputs: Sequence[Node], seeds: Sequence[Node | None], wrt: Sequence[Node], stops: Sequence[Node] = ()
             ) -> list[Node | None]:
    """Gradients of sum(output · seed) with respect to each node of `wrt`; none passes a node of `stops`."""
    grads: dict[Node, Node] = {}
    parts: dict[Node, dict[int, Node]] = {}                  # of nodes with several results
    for o, s in zip(outputs, seeds):
        if s is not None:
            _accumulate(grads, o, s)
    needed = _on_path(outputs, wrt)
    for node in reversed(topological(outputs)):
        if node not in needed or node in stops:
            continue
        with origin(like=node, rule=""):
            if node.op.name == "scan":
                if node in parts:
                    _scan_vjp(node, parts[node], grads)
            elif node.op.vjp == "recurrence":
                if node in parts:
                    _recurrence_vjp(node, parts[node], grads)
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
    if op.expand is not None and op.vjp is None:
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
    return _substitute_all([root], table)[root]


def _recurrence_vjp(node: Node, seeds: dict[int, Node], grads: dict[Node, Node]) -> None:
    """One node for all gradients of a recurrence, which holds those of its body; a gradient's gradients alike."""
    body: Graph = node.attr("body")
    seeded = tuple(sorted(seeds))
    flows = [new_input(body.outputs[i].t, "d_result") for i in seeded]
    found = backward([body.outputs[i] for i in seeded], flows, body.inputs)
    inner = Graph((*body.inputs, *flows), tuple(zeros_like(x) if d is None else d for x, d in zip(body.inputs, found)),
                  name="backward")
    told = {k: v for k, v in node.attrs if k in ("cell", "biases", "roles", "reverse", "in_order")}
    if node.op is recurrence_gradient:
        told["cell"] = ""                                    # no library computes these
    out = recurrence_gradient(*node.inputs, *(seeds[i] for i in seeded), body=inner, seeded=seeded, **told)
    for k, x in enumerate(node.inputs):
        _accumulate(grads, x, item(out, k))


# ------------------------------------------------------------------ scan
def _scan_vjp(node: Node, seeds: dict[int, Node], grads: dict[Node, Node]) -> None:
    """Backpropagation through time: a scan the other way, fed with the carries that each step began with.

    Contractions of the forward steps are saved, not computed again; what constants receive from each step is summed
    by one contraction over all steps where it is one (a weight's gradient), else carried along.
    """
    body: Graph = node.attr("body")
    nc, nx, reverse, length = (node.attr(k) for k in ("n_carry", "n_xs", "reverse", "length"))
    init, xs, consts = node.inputs[:nc], node.inputs[nc:nc + nx], node.inputs[nc + nx:]
    stacked = [i for i in range(nc, len(body.outputs)) if i in seeds]
    flows, found = _step_gradients(body, nc, nx, stacked)
    kept = _worth_saving(body, found)
    saved = Graph(body.inputs, (*body.outputs, *body.inputs[:nc], *kept), name=body.name)
    forward = scan(saved, init, xs, consts, length, reverse)
    slices = {**dict(zip(body.inputs[:nc], forward[len(body.outputs):])), **dict(zip(body.inputs[nc:], xs)),
              **dict(zip(kept, forward[len(body.outputs) + nc:]))}
    for i, n in zip(stacked, flows[-len(stacked):] if stacked else ()):
        slices[n] = seeds[i]
    back = _Backward(slices, dict(zip(body.inputs[nc + nx:], consts)), length, reverse)
    g0 = [seeds.get(i) or zeros_like(init[i]) for i in range(nc) if init[i].t.is_float]
    groups = [[n for n in group if n.t.is_float] for group in (body.inputs[:nc], body.inputs[nc + nx:],
                                                               body.inputs[nc:nc + nx])]
    out = back.run(flows[:len(groups[0])], g0, *([found[n] for n in group] for group in groups))
    outer = dict(zip(body.inputs, node.inputs))
    for x, d in zip([n for group in groups for n in group], out):
        _accumulate(grads, outer[x], d)


def _step_gradients(body: Graph, nc: int, nx: int, stacked: Sequence[int]) -> tuple[list[Node], dict[Node, Node]]:
    """Leaves for what flows into a step (d carries, then d of stacked outputs), and the gradients of its inputs."""
    flows = [new_input(c.t, "d_carry") for c in body.inputs[:nc] if c.t.is_float]
    flows += [new_input(body.outputs[i].t, "d_y") for i in stacked]
    outs = [o for i, o in enumerate(body.outputs) if i in stacked or (i < nc and o.t.is_float)]
    wrt = [n for n in body.inputs if n.t.is_float]
    found = backward(outs, flows, wrt)
    return flows, {w: zeros_like(w) if f is None else f for w, f in zip(wrt, found)}


def _worth_saving(body: Graph, found: dict[Node, Node]) -> tuple[Node, ...]:
    """Contractions of the forward step that its gradient needs, each with the sum that it is first used in."""
    own = body.nodes()
    uses = users(own)
    backwards = set(topological(list(found.values())))
    out: dict[Node, None] = {}
    for n in own:
        if n.op.name != "dot" or n not in backwards:
            continue
        while len(uses[n]) == 1 and uses[n][0].op.name == "add" and uses[n][0] in backwards and uses[n][0].t == n.t:
            n = uses[n][0]
        out[n] = None
    return tuple(n for n in out if n not in body.outputs and n not in body.inputs)


_MOVED = ("transpose", "reshape", "embed", "slice", "windows")


class _Backward:
    """The scan of the gradients of one scan's steps.

    slices: for each node of a step that is known for all steps, the stack of its values; consts: the constants' values.
    """

    def __init__(self, slices: dict[Node, Node], consts: dict[Node, Node], length: Dim, reverse: bool):
        self.slices, self.consts, self.length, self.reverse = slices, consts, length, reverse
        self.stacks: dict[Node, Node] = {}                    # nodes of the backward step that are stacked, as leaves

    def run(self, d_carry: Sequence[Node], init: Sequence[Node], carries: Sequence[Node], consts: Sequence[Node],
            xs: Sequence[Node]) -> list[Node]:
        """Gradients of the initial carries, the constants and the sequences, given those of one step."""
        later = [self.summed(f) for f in consts]
        loops = [(f, new_input(f.t, "d_const")) for f, l in zip(consts, later) if l is None]
        ys = [*xs, *(n for n in self.stacks if n not in xs)]
        outputs = [*carries, *(add(acc, f) for f, acc in loops), *ys]
        leaves = {n: new_input(n.t, "saved") if n.op.kind != "leaf" else n for n in self.slices}
        new = _substitute_all(outputs, leaves)
        outputs = [new[o] for o in outputs]
        used = set(topological(outputs))
        known, own = [n for n in leaves if leaves[n] in used], [c for c in self.consts if c in used]
        body = Graph((*d_carry, *(acc for _, acc in loops), *(leaves[n] for n in known), *own),
                     tuple(outputs), name="backward")
        out = scan(body, [*init, *(zeros_like(f) for f, _ in loops)], [self.slices[n] for n in known],
                   [self.consts[c] for c in own], self.length, not self.reverse)
        n1, n2 = len(carries), len(carries) + len(loops)
        stacked = dict(zip(ys, out[n2:]))
        back = {leaf: stacked[n] for n, leaf in self.stacks.items()}
        in_loop = iter(out[n1:n2])
        sums = [next(in_loop) if l is None else _substitute(l, back) for l in later]
        return [*out[:n1], *sums, *(stacked[x] for x in xs)]

    def summed(self, f: Node) -> Node | None:
        """The sum of `f` over all steps, from stacks of what it contracts; None if it is no contraction of a step."""
        if f.op.name == "add":
            a, b = map(self.summed, f.inputs)
            return None if a is None or b is None or not f.t == f.inputs[0].t == f.inputs[1].t else add(a, b)
        if f.op.name in ("transpose", "reshape", "embed", "slice") and f.inputs:
            inner = self.summed(f.inputs[0])
            return None if inner is None else make(f.op, (inner,), f.attrs)
        if f.op.name in ("sum", "dot") and not all(map(self.varies, f.inputs)):
            return None
        if f.op.name == "sum" and not f.attr("keepdims"):
            return make(f.op, (self.stack(f.inputs[0]),), tuple(
                (k, (0, *(a + 1 for a in v)) if k == "axes" else v) for k, v in f.attrs))
        if f.op.name != "dot" or f.attr("batch") != ((), ()):
            return None
        contract = tuple((0, *(a + 1 for a in side)) for side in f.attr("contract"))
        return dot(*(self.stack(i) for i in f.inputs), contract=contract)

    def stack(self, n: Node) -> Node:
        """A stack of a step's values, or the leaf that stands for it until the scan is made."""
        if n in self.slices:
            return self.slices[n]
        if n.op.name in _MOVED:                               # never in memory once for each place of a window
            lead = (self.length,) if n.op.name == "slice" else ()              # a window has sizes, too
            return make(n.op, (self.stack(n.inputs[0]),), tuple(
                (k, (*lead, *v) if k == "sizes" else self._shifted(k, v)) for k, v in n.attrs))
        if n not in self.stacks:
            self.stacks[n] = new_input(TensorType(n.dtype, (self.length, *n.shape)), "stack")
        return self.stacks[n]

    def _shifted(self, name: str, value: Any) -> Any:
        """An attribute of an op that moves elements, with the axis of steps before all others."""
        lead = {"shape": (self.length,), "starts": (0,), "steps": (1,), "perm": (0,)}
        if name in ("axes", "perm"):
            value = tuple(a + 1 for a in value)
        return (*lead.get(name, ()), *value)

    def varies(self, n: Node) -> bool:
        """Whether a node of a step depends on anything but constants."""
        return any(i.op.kind == "leaf" and i not in self.consts and i.op.name != "const" for i in topological([n]))


def _substitute_all(roots: Sequence[Node], table: dict[Node, Node]) -> dict[Node, Node]:
    new: dict[Node, Node] = {}
    for n in topological(roots):
        new[n] = table[n] if n in table else replace_inputs(n, tuple(new[i] for i in n.inputs))
    return new


__all__ = ["gradients", "backward", "scan_op", "item", "TensorType"]
