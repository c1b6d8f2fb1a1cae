"""Control: taking results apart, the learning-phase switch, and the loop over a time axis (scan).

In: nodes with several results, a phase, or a body graph.  Out: nodes.  What always holds: a scan's body
is a closed Graph (its inputs: carries, then slices, then constants), so it is interpreted, rewritten
and differentiated by the same code as the outer graph.
"""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from graphk.ir.dims import Dim, evaluate
from graphk.ir.node import Graph, Node, bind_type
from graphk.ir.opdef import OpDef, NodeLike, ZERO_GRAD, as_node, broadcast_shapes, coerce, register
from graphk.ir.types import TensorType, TupleType, shape_text

item_op: OpDef = register(OpDef("item", "control", lambda t, index: t.items[index], vjp="item",
                         ref=lambda xs, index: xs[index], doc="One result of a node that has several."))


def item(node: Node, index: int) -> Node:
    """Result `index` of a node with several results."""
    return item_op(node, index=index)


def _phase_prepare(phase: NodeLike, train: NodeLike, test: NodeLike) -> tuple[tuple[Node, ...], dict[str, Any]]:
    return (as_node(phase), *coerce((train, test))), {}


def _phase_infer(p: TensorType, a: TensorType, b: TensorType) -> TensorType:
    return TensorType(a.dtype, broadcast_shapes([a.shape, b.shape]))


def _phase_vjp(g: Node, y: Node, p: Node, a: Node, b: Node) -> list[Node | None]:
    from graphk.ir.opdef import unbroadcast
    return [None, unbroadcast(phase_gate(p, g, train=True), a), unbroadcast(phase_gate(p, g, train=False), b)]


phase_select: OpDef = register(OpDef(
    "phase_select", "control", _phase_infer, vjp=_phase_vjp, prepare=_phase_prepare,
    ref=lambda p, a, b: np.broadcast_to(a if p else b, np.broadcast_shapes(np.shape(a), np.shape(b))),
    samples=lambda rng: [([np.array(p, np.int32), rng.standard_normal((3, 4)).astype("float32"),
                           rng.standard_normal(4).astype("float32")], {}) for p in (0, 1)],
    doc="The first value in the training phase, the second in the test phase; `specialize` removes it."))

phase_gate: OpDef = register(OpDef(
    "phase_gate", "control", lambda p, g, train: g, vjp=lambda g, y, p, x, train: [None, phase_gate(p, g, train=train)],
    ref=lambda p, g, train: g if bool(p) == train else np.zeros_like(g),
    samples=lambda rng: [([np.array(p, np.int32), rng.standard_normal((3, 4)).astype("float32")], {"train": train})
                         for p in (0, 1) for train in (False, True)],
    doc="A gradient in one phase, none in the other; `specialize` removes it."))


# ------------------------------------------------------------------ scan
def _scan_infer(*ts: TensorType, body: Graph, n_carry: int, n_xs: int, length: Dim, reverse: bool) -> TupleType:
    out = [ts[i] for i in range(n_carry)]
    for y in body.outputs[n_carry:]:
        out.append(TensorType(y.dtype, (length,) + y.shape))
    return TupleType(tuple(out))


def _scan_ref(*arrays: np.ndarray, body: Graph, n_carry: int, n_xs: int, length: int,
              reverse: bool) -> list[np.ndarray]:
    from graphk.ir.interp import run_graph
    carry, xs, rest = list(arrays[:n_carry]), arrays[n_carry:n_carry + n_xs], list(arrays[n_carry + n_xs:])
    ys: list[list[np.ndarray]] = [[] for _ in body.outputs[n_carry:]]
    for t in (range(length - 1, -1, -1) if reverse else range(length)):
        out = run_graph(body, carry + [x[t] for x in xs] + rest)
        carry = out[:n_carry]
        for stack, y in zip(ys, out[n_carry:]):
            stack.append(y)
    stacked = []
    for stack, node in zip(ys, body.outputs[n_carry:]):
        stack = stack[::-1] if reverse else stack
        stacked.append(np.stack(stack) if stack else np.zeros((0, *_no_steps_shape(node, body, arrays, n_carry, n_xs)),
                                                              node.dtype))
    return carry + stacked


def _no_steps_shape(node: Node, body: Graph, arrays: Sequence[np.ndarray], n_carry: int, n_xs: int) -> tuple[int, ...]:
    """The shape that one step's output would have, where no step runs."""
    from graphk.ir.interp import bind_shape, dims_around
    env = dims_around()
    for k, (leaf, array) in enumerate(zip(body.inputs, arrays)):
        bind_shape(env, leaf.shape, array.shape[1:] if n_carry <= k < n_carry + n_xs else array.shape, "scan operand")
    return tuple(evaluate(d, env) for d in node.shape)


scan_op: OpDef = register(OpDef("scan", "control", _scan_infer, _scan_ref, vjp="scan",
                         doc="A loop over the leading axis: body(carries, slices, constants) -> carries, outputs."))


def scan(body: Graph, init: Sequence[Node], xs: Sequence[Node], consts: Sequence[Node] = (), length: Dim | None = None,
         reverse: bool = False) -> tuple[Node, ...]:
    """Run `body` once per index of the leading axis of `xs` (or `length` times).

    Returns the final carries, then each further body output stacked along a new leading axis.
    """
    if length is None:
        if not xs:
            raise ValueError("scan needs `length` when there is nothing to scan over")
        length = xs[0].shape[0]
    want = len(init) + len(xs) + len(consts)
    if len(body.inputs) != want:
        raise ValueError(f"the scan body takes {len(body.inputs)} inputs, received {want}: "
                         f"{len(init)} carries, {len(xs)} sequences, {len(consts)} constants")
    for i, (a, b) in enumerate(zip(init, body.outputs)):
        if a.dtype != b.dtype or a.ndim != b.ndim:
            raise TypeError(f"carry {i} of the scan starts as {a.dtype} of shape {shape_text(a.shape)} but its body "
                            f"returns {b.dtype} of shape {shape_text(b.shape)}; a state keeps dtype and rank")
    node = scan_op(*init, *xs, *consts, body=body, n_carry=len(init), n_xs=len(xs), length=length,
                   reverse=bool(reverse))
    return tuple(item(node, i) for i in range(len(body.outputs)))


# ------------------------------------------------------------------ fusion: made by the fuse pass only
def _fusion_infer(*ts: TensorType, body: Graph, kind: str, order: tuple[int, ...]) -> TupleType:
    return TupleType(tuple(o.t for o in body.outputs))


def _fusion_ref(*arrays: np.ndarray, body: Graph, kind: str, order: tuple[int, ...]) -> list[np.ndarray]:
    from graphk.ir.interp import run_graph
    return run_graph(body, list(arrays))


fusion_op: OpDef = register(OpDef("fusion", "control", _fusion_infer, _fusion_ref, vjp=ZERO_GRAD,
                           doc="A group of nodes that become one kernel; made by the `fuse` pass."))

__all__ = ["item", "phase_select", "scan", "scan_op", "fusion_op", "item_op", "bind_type"]
