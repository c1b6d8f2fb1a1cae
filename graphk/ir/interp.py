"""The numpy interpreter of Graph: slow, plain, and the oracle for everything else.

In: a Graph and arrays for its inputs (and variables).  Out: arrays for its outputs (and the new values
of updated variables).  What always holds: each node is computed by its op's `ref` alone, in topological
order, and its result is checked against the node's inferred type.
"""
from __future__ import annotations

import contextlib
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np

from graphk.ir.dims import Dim, DimExpr, evaluate, symbols
from graphk.ir.node import Graph, Node, bind_attr, origin_of
from graphk.ir.types import TensorType

# The dims of the graph around a body, which may speak of them, and the learning phase, which holds for bodies too.
_outer: ContextVar[Mapping[str, int]] = ContextVar("outer", default=MappingProxyType({}))
_phase: ContextVar[int] = ContextVar("phase", default=0)
Watcher = Callable[[Node, list[Any], Any], None]
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextlib.contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Meanwhile `watcher(node, operands, value)` is told of each node that has run, those in bodies first."""
    around = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(around)


def dims_around() -> dict[str, int]:
    """The values of the symbolic dims of the graph that is being run: the body of a scan may speak of them."""
    return dict(_outer.get())


def bind_shape(env: dict[str, int], shape: Sequence[Dim], actual: Sequence[int], what: str) -> None:
    """Give values to the symbols of `shape`; ValueError if `actual` does not fit."""
    ok = len(shape) == len(actual)
    for d, n in zip(shape, actual):
        if isinstance(d, DimExpr) and len(symbols(d)) == 1 and str(d) in symbols(d) and str(d) not in env:
            env[str(d)] = int(n)
    for d, n in zip(shape, actual):
        ok = ok and (not symbols(d) <= set(env) or evaluate(d, env) == n)
    if not ok:
        raise ValueError(f"{what}: received an array of shape {tuple(actual)}, expected "
                         f"({', '.join(map(str, shape))})" + (f" with {env}" if env else ""))


def run_graph(graph: Graph, inputs: Sequence[np.ndarray], variables: Mapping[Node, np.ndarray] | None = None,
              phase: int | None = None) -> list[np.ndarray]:
    """The outputs of `graph`; `phase`: None for that of the graph around, 0 if there is none."""
    return run_full(graph, inputs, variables, phase)[0]


def run_full(graph: Graph, inputs: Sequence[np.ndarray], variables: Mapping[Node, np.ndarray] | None = None,
             phase: int | None = None) -> tuple[list[np.ndarray], dict[Node, np.ndarray]]:
    """The outputs of `graph` and the new values of its updated variables (nothing is written in place)."""
    if len(inputs) != len(graph.inputs):
        raise ValueError(f"{graph.name} takes {len(graph.inputs)} inputs, received {len(inputs)}")
    env = dims_around()
    phase = _phase.get() if phase is None else phase
    values: dict[Node, Any] = {}
    watcher = _watcher.get()
    for node, array in zip(graph.inputs, inputs):
        array = np.asarray(array, node.dtype)
        bind_shape(env, node.shape, array.shape, f"input `{node.attr('name') or node.id}`")
        values[node] = array
    for node in graph.variables():
        if variables is None or node not in variables:
            raise KeyError(f"no value for the variable `{node.attr('name')}`")
        bind_shape(env, node.shape, np.shape(variables[node]), f"variable `{node.attr('name')}`")
        values[node] = np.asarray(variables[node])
    for node in graph.nodes():
        if node not in values:
            operands = [values[i] for i in node.inputs]
            values[node] = _eval(node, operands, env, phase)
            if watcher is not None:
                watcher(node, operands, values[node])
    outputs = [np.array(values[o], copy=True) for o in graph.outputs]
    return outputs, {v: np.array(values[x], copy=True) for v, x in graph.updates}


def _eval(node: Node, args: list[Any], env: dict[str, int], phase: int) -> Any:
    if node.op.name == "phase":
        return np.array(phase, np.int32)
    if node.op.name == "input":
        raise KeyError(f"the graph reads {node!r}, which is not among its inputs")
    ref = node.op.ref
    if ref is None:
        raise NotImplementedError(f"the op `{node.op.name}` has no reference implementation")
    attrs = {k: bind_attr(v, env) for k, v in node.attrs}
    around, phase_around = _outer.set(env), _phase.set(phase)
    try:
        with np.errstate(all="ignore"):
            out = ref(*args, **attrs)
    except Exception as e:
        raise type(e)(f"{node!r} ({origin_of(node)}): {e}") from e
    finally:
        _outer.reset(around)
        _phase.reset(phase_around)
    if isinstance(node.type, TensorType):
        out = np.asarray(out, node.dtype)
        bind_shape(env, node.shape, out.shape, f"result of {node!r} ({origin_of(node)})")
    return out
