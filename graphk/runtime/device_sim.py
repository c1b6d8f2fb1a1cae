"""Whole programs on a simulated GPU: the CUDA kernels, run in plain Python.

In: a planned Program, arrays for its inputs and variables.  Out: its outputs and the new values of the variables.
What always holds: buffers lie where the memory plan puts them, in one arena of bytes, so that a wrong plan or a
missing barrier between threads of a block shows; launches run one after another, as on one stream.
"""
from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from graphk.codegen.cuda import print_cuda
from graphk.codegen.cuda_sim import launch
from graphk.ir.dims import Dim, evaluate
from graphk.ir.interp import bind_shape
from graphk.ir.node import Node
from graphk.ir.program import AnyStep, Buffer, Program, Step

SIM_THREADS, SIM_TILE = 8, 4      # small blocks are quick ones
GUARD = 0xAB                      # what the arena holds before anything is written


def run_program(program: Program, inputs: Sequence[np.ndarray], variables: Mapping[Node, np.ndarray] | None = None,
                threads: int = SIM_THREADS, tile: int = SIM_TILE) -> tuple[list[np.ndarray], dict[Node, np.ndarray]]:
    """The outputs of `program`, and the values of its variables afterwards (the arrays given are not changed)."""
    if not program.planned:
        raise ValueError(f"the program `{program.name}` has no memory plan: run the pass `memory` first")
    return Simulation(program, inputs, variables or {}, threads, tile).run()


class Simulation:
    """One call of a program."""

    def __init__(self, program: Program, inputs: Sequence[np.ndarray], variables: Mapping[Node, np.ndarray],
                 threads: int, tile: int):
        self.program, self.threads, self.tile = program, threads, tile
        self.table = {b.name: b for b in program.buffers}
        self.env: dict[str, int] = {}
        ins = sorted((b for b in program.buffers if b.place == "input"), key=lambda b: b.index)
        if len(ins) != len(inputs):
            raise ValueError(f"{program.name} takes {len(ins)} inputs, received {len(inputs)}")
        given = dict(zip((b.name for b in ins), inputs))
        given.update({b.name: variables[b.node] for b in program.buffers if b.place == "variable" and b.node})
        for name, array in given.items():
            bind_shape(self.env, self.table[name].type.shape, array.shape, f"`{name}`")
        for a, b in program.guards:
            if self.size(a) != self.size(b):
                raise ValueError(f"{program.name} needs {a} == {b}, which does not hold for {self.env}")
        self.arena = np.full(self.size(program.arena), GUARD, np.uint8)
        self.bytes = {b.name: self.storage(b, given.get(b.name)) for b in program.buffers if b.place != "alias"}
        self.shift: dict[str, int] = {}                       # of windows: bytes from their buffer's start

    def size(self, d: Dim) -> int:
        return evaluate(d, self.env)

    def storage(self, b: Buffer, given: np.ndarray | None) -> np.ndarray:
        """A buffer's bytes."""
        if b.place == "arena":
            start = self.size(b.offset)
            return self.arena[start:start + self.size(b.nbytes)]
        if b.place == "const" and b.node is not None:
            given = b.node.attr("value").array
        if given is None:
            return np.full(self.size(b.nbytes), GUARD, np.uint8)
        return np.array(given, b.type.dtype, order="C").reshape(-1).view(np.uint8).copy()

    def array(self, name: str) -> np.ndarray:
        """A buffer as elements, where its window is now."""
        b, at = self.table[name], 0
        nbytes, dtype = self.size(b.nbytes), np.dtype(b.type.dtype)
        while b.place == "alias":
            at += self.shift.get(b.name, 0)
            b = self.table[b.base]
        return self.bytes[b.name][at:at + nbytes].view(dtype)

    def run(self) -> tuple[list[np.ndarray], dict[Node, np.ndarray]]:
        for s in self.program.steps:
            self.step(s)
        outs = sorted((b for b in self.program.buffers if b.place == "output"), key=lambda b: b.index)
        return ([self.result(b) for b in outs],
                {b.node: self.result(b) for b in self.program.buffers if b.place == "variable" and b.node})

    def result(self, b: Buffer) -> np.ndarray:
        return self.array(b.name).reshape([self.size(d) for d in b.type.shape]).copy()

    def step(self, s: AnyStep) -> None:
        if isinstance(s, Step):
            self.launch(s)
            return
        times = range(self.size(s.length))
        for t in reversed(times) if s.reverse else times:
            for window, _, stride in s.windows:
                self.shift[window] = t * self.size(stride)
            for inner in s.body:
                self.step(inner)

    def launch(self, s: Step) -> None:
        source = print_cuda(s.kernel, self.threads, self.tile)
        sizes = [self.size(d) for d in s.sizes]
        env = dict(zip(s.kernel.sizes, sizes))
        for i, x in enumerate(source.launches):
            launch(source, i, evaluate(x.blocks, env), [self.array(b) for b in s.buffers], sizes)


__all__ = ["Simulation", "run_program"]
