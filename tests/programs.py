"""Graphs that stand for what users compile, for tests of the lower stages.

In: nothing, or sizes.  Out: named Graphs: every op's samples, scans (with their gradients), a train step of a small
network with dropout and momentum.  What always holds: the same graphs each time.
"""
from __future__ import annotations

from typing import Any, Iterator

import numpy as np

from graphk.ir.dims import Dim, sym
from graphk.ir.node import Graph, Node
from graphk.ir.opdef import REGISTRY
from graphk.ir.ops import elementwise as ew, nn, reduce
from graphk.ir.ops.contract import dot
from graphk.ir.ops.control import scan
from graphk.ir.ops.leaves import new_input, new_variable
from graphk.ir.ops.random import bernoulli
from graphk.ir.types import TensorType
from graphk.passes.autodiff import gradients
from tests.graphs import random_graph

NOT_LOWERED = dict.fromkeys(("phase_select", "phase_gate"),
                            "its phase is a `phase` node in practice, which `specialize` removes")


def f32(*shape: Dim) -> TensorType:
    return TensorType("float32", shape)


def op_graphs() -> Iterator[tuple[str, Graph]]:
    """Each op on each of its samples, with extents as numbers and as symbols."""
    for op in REGISTRY.values():
        for i, (arrays, attrs) in enumerate(op.samples(np.random.default_rng(0)) if op.samples else ()):
            for symbolic in (False, True):
                types = [TensorType(a.dtype.name, tuple(sym(f"d{e}") if symbolic and e > 1 else e for e in a.shape))
                         for a in arrays]
                ins = tuple(new_input(t, f"x{k}") for k, t in enumerate(types))
                if op.name not in NOT_LOWERED:
                    yield f"{op.name}-{i}" + ("-symbolic" if symbolic else ""), Graph(ins, (op(*ins, **attrs),))


def scan_graph(gradient: bool = False, reverse: bool = False) -> Graph:
    """A recurrence h = tanh(x W + h U) over a sequence of any length; with `gradient`, of its loss by W and U."""
    n, t = sym("n"), sym("t")
    xs, h0, w, u = new_input(f32(t, n, 3), "xs"), new_input(f32(n, 4), "h0"), new_input(f32(3, 4), "w"), \
        new_input(f32(4, 4), "u")
    h, x, wi, ui = (new_input(f32(*s)) for s in ((n, 4), (n, 3), (3, 4), (4, 4)))
    new = ew.tanh(ew.add(dot(x, wi), dot(h, ui)))
    body = Graph((h, x, wi, ui), (new, ew.mul(new, 2.0)), name="cell")
    last, ys = scan(body, [h0], [xs], [w, u], reverse=reverse)
    if not gradient:
        return Graph((xs, h0, w, u), (last, ys), name="recurrence")
    loss = ew.add(reduce.sum_(ys), reduce.sum_(ew.square(last)))
    grads = [g for g in gradients(loss, [w, u]) if g is not None]
    return Graph((xs, h0, w, u), (loss, *grads), name="recurrence_gradient")


def swap_graph() -> Graph:
    """A scan whose carries change places, and which has nothing to scan over."""
    a, b = new_input(f32(2), "a"), new_input(f32(2), "b")
    c, d = new_input(f32(2)), new_input(f32(2))
    return Graph((a, b), scan(Graph((c, d), (d, ew.add(c, d)), name="swap"), [a, b], [], length=5), name="fibonacci")


def mlp_train(hidden: int = 5, classes: int = 3) -> tuple[Graph, dict[str, Node]]:
    """One train step: dense, relu, dropout, dense, softmax cross-entropy, gradients, momentum; and its variables."""
    n = sym("n")
    x, y = new_input(f32(n, 4), "x"), new_input(f32(n, classes), "y")
    shapes = {"w1": (4, hidden), "b1": (hidden,), "w2": (hidden, classes), "b2": (classes,)}
    v = {k: new_variable(f32(*s), k) for k, s in shapes.items()}
    speed = {k: new_variable(f32(*s), "m_" + k) for k, s in shapes.items()}
    step = new_variable(TensorType("uint32", ()), "step")
    h = ew.relu(ew.add(dot(x, v["w1"]), v["b1"]))
    h = ew.mul(h, ew.mul(bernoulli(step, 7, h.shape, 0.5), 2.0))
    p = nn.log_softmax(ew.add(dot(h, v["w2"]), v["b2"]))
    loss = ew.neg(reduce.mean(reduce.sum_(ew.mul(y, p), axes=-1)))
    updates: list[tuple[Node, Node]] = []
    for k, g in zip(v, gradients(loss, list(v.values()))):
        assert g is not None
        m = ew.sub(ew.mul(speed[k], 0.5), ew.mul(g, 0.25))
        updates += [(speed[k], m), (v[k], ew.add(v[k], m))]
    updates.append((step, ew.add(step, 1)))
    return Graph((x, y), (loss,), tuple(updates), name="train"), {**v, **{"m_" + k: s for k, s in speed.items()},
                                                                   "step": step}


def graphs(seeds: int = 24) -> list[tuple[str, Graph]]:
    """All of these."""
    out = list(op_graphs())
    out += [(g.name + str(i), g) for i, g in enumerate((
        scan_graph(), scan_graph(True), scan_graph(True, True), swap_graph(), mlp_train()[0]))]
    return out + [(f"random-{seed}", random_graph(seed)[0]) for seed in range(seeds)]


def values_for(types: list[TensorType], env: dict[str, int], seed: int = 0) -> list[Any]:
    """Arrays of these types, symbols at the values in `env`; integers are small."""
    from graphk.ir.dims import evaluate
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, [evaluate(d, env) for d in t.shape]).astype(t.dtype) if t.is_float else
            rng.integers(0, 2, [evaluate(d, env) for d in t.shape]).astype(t.dtype) for t in types]
