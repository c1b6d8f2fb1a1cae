"""What a call passes: arrays for a program's inputs, and the sizes that follow from them.

In: a planned Program, and the arrays of a call.  Out: arrays of the declared dtypes, and the values of the symbolic
dims.  What always holds: arrays that disagree are refused, by name and with the op that needs them equal, before
anything runs.
"""
from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from graphk.ir.dims import DimExpr, compile_dims, evaluate, symbols
from graphk.ir.node import Graph, origin_of
from graphk.ir.program import Buffer, Program
from graphk.passes.pipeline import Result
from graphk.passes.shapes import required_equal


class Calls:
    """The ends of a program: its inputs and outputs, in order."""

    def __init__(self, result: Result):
        self.result = result
        self.program: Program = result.program
        self.inputs = self._ends("input")
        self.outputs = self._ends("output")
        self._where = self._symbol_places()
        self.batches = 1                           # that `repeat` may run in one native call, where it is there

    def _ends(self, place: str) -> list[Buffer]:
        return sorted((b for b in self.program.buffers if b.place == place), key=lambda b: b.index)

    def fit(self, b: Buffer, a: np.ndarray) -> np.ndarray:
        """An aligned, contiguous ndarray (not a subclass) of the buffer's dtype."""
        out = np.asarray(a, b.type.dtype)
        if type(out) is not np.ndarray or not (out.flags.c_contiguous and out.flags.aligned):
            out = np.array(out, b.type.dtype, order="C", copy=True, subok=False)
        if out.ndim != len(b.type.shape):
            raise ValueError(f"the input `{b.name}` of {self.program.name} has {out.ndim} axes {out.shape}, "
                             f"expected {b.type}")
        return out

    def _symbol_places(self) -> dict[str, tuple[int, int]]:
        """For each symbolic dim, an input and axis whose extent it is."""
        out: dict[str, tuple[int, int]] = {}
        for b in self.inputs:
            for axis, d in enumerate(b.type.shape):
                if isinstance(d, DimExpr) and str(d) in symbols(d):
                    out.setdefault(str(d), (b.index, axis))
        return out

    def dims_of(self, arrays: Sequence[np.ndarray]) -> dict[str, int]:
        """The values of the symbolic dims; ValueError if inputs disagree."""
        env = {name: arrays[i].shape[axis] for name, (i, axis) in self._where.items()}
        for b, a in zip(self.inputs, arrays):
            want = compile_dims(b.type.shape)(env)
            if want != a.shape:
                raise ValueError(f"the input `{b.name}` of {self.program.name} has shape {a.shape}, expected {want}: "
                                 f"what is computed from it needs {b.type}" + (f", with {env}" if env else ""))
        for x, y in self.program.guards:
            p, q = compile_dims((x, y))(env)
            if p != q:
                raise ValueError(f"{self.program.name} needs {x} == {y}, but with {env} they are {p} and {q}"
                                 + self._where_unequal(env))
        return env

    def _where_unequal(self, env: Mapping[str, int]) -> str:
        """Which op takes sizes to be equal that are not, and whose it is."""
        graph = next((r.after for r in self.result.records if r.name == "shapes"), None)
        for node in graph.nodes() if isinstance(graph, Graph) else ():
            for pair in required_equal(node):
                a, b = (evaluate(d, env) if symbols(d) <= set(env) else None for d in pair)
                if None not in (a, b) and a != b:
                    shapes = " and ".join(str(i.type) for i in node.inputs)
                    return f": `{node.op.name}` of {shapes} to {node.type} meets {a} and {b} ({origin_of(node)})"
        return ""


__all__ = ["Calls"]
