"""Programs on the simulated GPU against the interpreter: cases for `test_cuda.py`, and for the command line.

`python -m tests.codegen.simulate GROUP` prints one line per graph: `ok` or `WRONG`, and why.
"""
from __future__ import annotations

import sys
from typing import Any, Iterator, Mapping

import numpy as np

from graphk.ir.interp import run_full
from graphk.ir.node import Graph, Node
from graphk.ir.opdef import REGISTRY
from graphk.ir.ops import elementwise as ew, reduce
from graphk.ir.ops.contract import dot
from graphk.ir.ops.leaves import new_input
from graphk.ir.types import TensorType
from graphk.passes.pipeline import run_passes
from graphk.runtime.device_sim import SIM_THREADS, SIM_TILE, run_program
from tests.graphs import random_graph

from tests.programs import NOT_LOWERED, f32, mlp_train, scan_graph, swap_graph, values_for
from tests.runtime.test_convolution import arrays_for, layer as convolution_layer

Case = tuple[str, Graph, list[Any], Mapping[Node, Any], int, int]


def ops() -> Iterator[Case]:
    """Every op on its samples that are small."""
    for op in (op for op in REGISTRY.values() if op.samples and op.name not in NOT_LOWERED):
        for arrays, attrs in op.samples(np.random.default_rng(0)):
            if sum(a.size for a in arrays) <= 100:
                ins = tuple(new_input(TensorType(a.dtype.name, a.shape)) for a in arrays)
                yield op.name, Graph(ins, (op(*ins, **attrs),)), arrays, {}, SIM_THREADS, SIM_TILE


def programs() -> Iterator[Case]:
    """Scans and their gradients, a train step, random graphs."""
    env = {"n": 2, "t": 3}
    for graph in (scan_graph(), scan_graph(True, True), swap_graph()):
        yield graph.name, graph, values_for([i.t for i in graph.inputs], env), {}, SIM_THREADS, SIM_TILE
    train, v = mlp_train()
    state = dict(zip(v.values(), values_for([x.t for x in v.values()], {}, seed=1)))
    for batch in (1, 5):
        arrays = values_for([i.t for i in train.inputs], {"n": batch})
        yield f"train-{batch}", train, arrays, state, SIM_THREADS, SIM_TILE
    for seed in range(4):
        graph, arrays = random_graph(seed)
        yield graph.name, graph, arrays, {}, SIM_THREADS, SIM_TILE
    graph = convolution_layer((4, 3), 2, (3, 2), 3, (1, 1), (1, 1))
    yield "convolution", graph, arrays_for(graph, 2), {}, SIM_THREADS, SIM_TILE


def full_blocks() -> Iterator[Case]:
    """Blocks as large as on a GPU; chunks with a second launch; tiles with edges in all directions."""
    a, b, x = new_input(f32(19, 21), "a"), new_input(f32(21, 18), "b"), new_input(f32(3, 150), "x")
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal([int(d) for d in i.shape]).astype("float32") for i in (a, b, x)]
    yield "tile", Graph((a, b), (ew.tanh(ew.mul(dot(a, b), 0.1)),)), arrays[:2], {}, 128, 16
    yield "few results", Graph((a, b), (dot(a, b),)), arrays[:2], {}, 128, 64
    c, d = new_input(f32(91, 5), "c"), new_input(f32(5, 85), "d")
    many = [rng.standard_normal(s).astype("float32") for s in ((91, 5), (5, 85))]
    yield "many results", Graph((c, d), (ew.relu(dot(c, d)),)), many, {}, 8, 8
    yield "rows", Graph((x,), (ew.sub(x, reduce.max_(x, axes=1, keepdims=True)),)), arrays[2:], {}, 128, 16
    big = rng.standard_normal(20000).astype("float32")
    for seed in range(4, 12):
        graph, some = random_graph(seed)
        yield graph.name, graph, some, {}, 64, 8
    y = new_input(f32(20000), "y")
    yield "chunks", Graph((y,), (reduce.sum_(y), reduce.max_(y))), [big], {}, 4, 4
    lo, hi = new_input(f32(0, 3), "lo"), new_input(f32(1, 3), "hi")
    yield "nothing", Graph((lo, hi), (ew.exp(lo), reduce.sum_(lo, axes=0), ew.neg(hi))), [
        np.zeros((0, 3), "float32"), np.ones((1, 3), "float32")], {}, SIM_THREADS, SIM_TILE


GROUPS = {"ops": ops, "programs": programs, "full_blocks": full_blocks}


def check(case: Case) -> None:
    _, graph, arrays, state, threads, tile = case
    outs, after = run_program(run_passes(graph, phase=1), arrays, state, threads, tile)
    want, updates = run_full(graph, arrays, state, 1)
    for got, expected in zip([*outs, *(after[v] for v in updates)], [*want, *updates.values()]):
        assert got.shape == expected.shape and got.dtype == expected.dtype, (got.shape, expected.shape)
        np.testing.assert_allclose(got, expected, rtol=3e-5, atol=3e-5)


def main(group: str) -> None:
    for case in GROUPS[group]():
        try:
            check(case)
            print("ok", case[0])
        except Exception as e:                    # one line per graph; the test shows all that are wrong
            print("WRONG", case[0], f"{type(e).__name__}: {e}".replace("\n", " | "))


if __name__ == "__main__":
    main(sys.argv[1])
