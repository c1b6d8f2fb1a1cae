"""The seam between the front end and what runs a graph.

In: a Graph (with the learning phase still in it), the variables it reads or updates, and the phase to
run in.  Out: a callable from arrays to arrays.  What always holds: all reads of variables precede all
writes, and writes go into the variables' own arrays, never replace them.

The environment variable `GRAPHK_EXECUTOR` chooses what runs it: `cpu` (the default: compiled kernels) or
`interp` (the numpy interpreter, the oracle); the setting `device` may name a GPU instead of the CPU, or leave it to
`automatic.py`.
`GRAPHK_DUMP=directory` writes every compiled graph's stages there; `GRAPHK_LOG=passes,fusion,recompile,cache,library`
tells on standard error what the compiler does, as it does it.
"""
from __future__ import annotations

import importlib
import os
from typing import Mapping, Sequence

import numpy as np

from graphk.frontend import automatic, config, scopes
from graphk.frontend.printing import Executable, Shown, marked, show, with_outputs
from graphk.frontend.tensor import Variable
from graphk.ir.interp import run_full
from graphk.ir.node import Graph, Node
from graphk.runtime.writes import write


def compile_graph(graph: Graph, variables: Mapping[Node, Variable], phase: int, device: str | None = None
                  ) -> Executable:
    """A callable that runs `graph` in one learning phase (1 train, 0 test), on the device that is set or the one named.

    It takes one array per input of `graph`, of the input's dtype, C-contiguous and already checked, and
    returns one fresh array per output.
    """
    arrays = {node: v.array for node, v in variables.items()}
    marks = marked(graph, phase)
    if not marks:
        return _compiled(graph, arrays, phase, device)
    return Shown(marks, _compiled(with_outputs(graph, marks), arrays, phase, device))


def _executor() -> str:
    chosen = os.environ.get("GRAPHK_EXECUTOR", "cpu")
    if chosen not in ("cpu", "interp"):
        raise ValueError(f"GRAPHK_EXECUTOR={chosen!r} is unknown; expected `cpu` or `interp`.")
    return chosen


def runs_compiled() -> bool:
    """Whether what is called now is compiled, and does not run in the interpreter."""
    return _executor() != "interp"


def on_host(graph: Graph, device: str | None) -> bool:
    """Whether a graph that is compiled now, for the device that is named or else set, reads the host's memory alone."""
    return _executor() == "interp" or (device or automatic.chosen()) == "cpu" and not _in_parts(graph, device)


def on_device(graph: Graph, device: str | None) -> bool:
    """Whether all of it runs on one device that is not the host."""
    return _executor() != "interp" and (device or automatic.chosen()) != "cpu" and not _in_parts(graph, device)


def _in_parts(graph: Graph, device: str | None) -> bool:
    """Whether the graph's nodes say where they run; a function that is for one device overrules them."""
    if device is not None or not scopes.used:
        return False
    from graphk.passes.place import is_placed
    return is_placed(graph)


def _compiled(graph: Graph, arrays: dict[Node, np.ndarray], phase: int, named: str | None) -> Executable:
    chosen = _executor()
    if chosen == "interp":
        return _interpreted(graph, arrays, phase)
    for variable, module in (("GRAPHK_DUMP", "dumping"), ("GRAPHK_LOG", "live")):
        if os.environ.get(variable):
            _observe(module)
    if os.environ.get("GRAPHK_LOG"):
        automatic.tell()
    device = named or automatic.chosen()
    if _in_parts(graph, named):
        from graphk.passes.place import parts_of
        from graphk.runtime.placed import Placed
        graph, parts = parts_of(graph, phase, device)
        runs = [_compiled(p.graph, {v: arrays[v] for v in p.graph.variables()}, phase, p.device) for p in parts]
        return Placed(graph, parts, runs, arrays)
    if device != "cpu":
        from graphk.runtime.gpu import compile_graph as compile_for_gpu
        return compile_for_gpu(graph, arrays, phase, device, config.get("tf32"))
    from graphk.runtime.compile import compile_graph as compile_for_cpu
    return compile_for_cpu(graph, arrays, phase)


def _observe(module: str) -> None:
    """What is compiled from now on is shown as the environment asks (inspection is loaded for nothing else)."""
    from graphk.runtime.observed import OBSERVERS
    observer = importlib.import_module(f"graphk.inspection.{module}").observer_from_environment()
    if observer not in OBSERVERS:
        OBSERVERS.append(observer)


def _interpreted(graph: Graph, arrays: dict[Node, np.ndarray], phase: int) -> Executable:
    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        outputs, updates = run_full(graph, inputs, arrays, phase)
        for node, value in updates.items():
            write(arrays[node], value)
        return outputs

    return run


def run_once(graph: Graph, arrays: dict[Node, np.ndarray], phase: int = 0) -> list[np.ndarray]:
    """The outputs of a graph without inputs that will not run again (`K.eval`): not worth compiling."""
    marks = marked(graph, phase)
    return show(marks, _interpreted(with_outputs(graph, marks), arrays, phase)([]))
