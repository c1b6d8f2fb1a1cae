"""What runs a graph on several devices: its parts, one after another, with values handed on from device to device.

In: the parts of a graph (`passes/place.py`), and what compiles one.  Out: `Placed`, called like any executable.  What
always holds: a part on the host has the newest values of the variables it reads, and devices learn of those it writes;
what goes from one GPU to another does not pass through the host.
"""
from __future__ import annotations

import threading
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from graphk.ir.dims import DimExpr, symbols
from graphk.ir.node import Graph, Node
from graphk.passes.place import Part
from graphk.runtime.exchange import Resident
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.mirrors import among_devices

Run = Callable[[Sequence[Any]], list[Any]]


class Placed:
    """The executable of a graph in parts.  `device`: for messages, all devices together."""
    batches = 1                                    # see `Executable.repeat`

    def __init__(self, graph: Graph, parts: Sequence[Part], runs: Sequence[Run], variables: Mapping[Node, np.ndarray]):
        self.graph, self.parts, self.runs = graph, parts, runs
        self.name = " and ".join(dict.fromkeys(p.device for p in parts))
        self.device = self
        self._read = [[variables[v] for v in p.graph.variables()] for p in parts]
        self._written = [[variables[v] for v, _ in p.graph.updates] for p in parts]
        hosts = {n for p, run in zip(parts, runs) if not isinstance(run, GpuExecutable) for n in p.takes}
        for part, run in zip(parts, runs):
            if isinstance(run, GpuExecutable):
                run.kept = frozenset(i for i, n in enumerate(part.gives) if n not in hosts and n not in graph.outputs)
        self._lock, self._busy = threading.RLock(), False
        self._extents = {str(d): (i, axis) for i, n in enumerate(graph.inputs) for axis, d in enumerate(n.shape)
                         if isinstance(d, DimExpr) and str(d) in symbols(d)}

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self._call(inputs, False)

    def staying(self, inputs: Sequence[np.ndarray]) -> list[Any]:
        """A call whose outputs stay on the devices that compute them."""
        return self._call(inputs, True)

    def _call(self, inputs: Sequence[np.ndarray], stay: bool) -> list[Any]:
        with self._lock:
            if self._busy:
                raise RuntimeError(f"a graph on {self.name} was called by a signal's handler while it runs: what its "
                                   "parts hand on would be lost. Call it when it has returned.")
            self._busy = True
            try:
                return self._run(inputs, stay)
            finally:
                self._busy = False

    def _run(self, inputs: Sequence[np.ndarray], stay: bool) -> list[Any]:
        values: dict[Node | None, Any] = dict(zip(self.graph.inputs, inputs))
        for part, run, read, written in zip(self.parts, self.runs, self._read, self._written):
            if part.extents:
                sizes = (self._extents[name] for name in part.extents)
                values[None] = np.empty((*(inputs[i].shape[axis] for i, axis in sizes), 0), "float32")
            given = [values[n] for n in part.takes]
            if part.device == "cpu":
                with among_devices(read, written):
                    outputs = run([np.asarray(a) for a in given])
            else:
                outputs = (getattr(run, "staying", run) if stay else run)(given)
            values.update(zip(part.gives, outputs))
        wanted = self.graph.outputs
        return [_another(values[n]) if n in wanted[:i] else values[n] for i, n in enumerate(wanted)]


def _another(value: Any) -> Any:
    """A copy of a result where it is: no two results share memory."""
    if not isinstance(value, Resident):
        return value.copy()
    device = value.device
    with device.lock:
        block = device.pool.take(value.nbytes)
        device.move(block.address, value.address, value.nbytes)
    return Resident(block.address, value.shape, value.dtype, block)


__all__ = ["Placed"]
