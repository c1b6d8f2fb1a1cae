"""Row blocks: steps that may run for a few rows of the batch before they run for the next ones.

In: a Program whose memory is not planned yet.  Out: the same with `blocks`; steps that stood between those of a block
without need were moved ahead of it.  What always holds: only what `block_misfit` finds nothing against is in a block,
and its steps hand each other something; whether it runs by rows, and by how many, is decided for a batch size, when
addresses are.
"""
from __future__ import annotations

from dataclasses import replace

from graphk.ir.dims import evaluate, sym, symbols
from graphk.ir.effects import root_of, touched
from graphk.ir.program import AnyStep, Program, RowBlock
from graphk.ir.row_loops import block_misfit, names_in, row_bytes

COMMON = 1 << 20               # bytes read by all rows of a block at most: they are read again for each group of rows
USUAL = 32                     # what an open size is taken to be


def row_blocks(program: Program) -> Program:
    """`program` with its blocks of rows."""
    names = [str(b.type.shape[0]) for b in program.buffers if b.place == "input" and b.type.shape
             and symbols(b.type.shape[0]) == {str(b.type.shape[0])}]
    if not names or len(program.steps) < 2:
        return program
    found = _Blocks(program, names[0])
    return replace(program, steps=tuple(found.steps), blocks=tuple(found.blocks)) if found.blocks else program


class _Blocks:
    """The blocks of one program, and its steps in their order."""

    def __init__(self, program: Program, rows: str):
        self.rows = sym(rows)
        self.buffers = {b.name: b for b in program.buffers}
        self.roots = root_of(program)
        self.steps: list[AnyStep] = []
        self.blocks: list[RowBlock] = []
        self._open()
        for s in program.steps:
            reads, writes = touched(s, self.roots)
            if block_misfit((s,), self.rows, self.buffers, self.roots):
                if reads & self.written or writes & (self.read | self.written):
                    self._close()
                self.steps.append(s)                     # ahead of a run that has nothing to do with it
                continue
            common = self._common(s)
            if sum({**self.common, **common}.values()) > COMMON:
                self._close()
            self.run.append(s)
            self.handed |= bool(reads & self.written)
            self.read |= reads
            self.written |= writes
            self.common.update(common)
        self._close()

    def _open(self) -> None:
        self.run: list[AnyStep] = []
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.common: dict[str, int] = {}
        self.handed = False                              # whether a step of the run reads what another wrote

    def _common(self, s: AnyStep) -> dict[str, int]:
        """Bytes that all rows read, by storage."""
        shared = [self.buffers[n] for n in names_in((s,)) if row_bytes(self.buffers[n], self.rows) == 0]
        return {self.roots[b.name]: evaluate(b.nbytes, dict.fromkeys(symbols(b.nbytes), USUAL)) for b in shared}

    def _close(self) -> None:
        """End the run: a block if its steps hand each other something."""
        first = len(self.steps)
        self.steps += self.run
        if self.handed and not block_misfit(self.run, self.rows, self.buffers, self.roots):
            self.blocks.append(RowBlock(first, len(self.steps) - 1, self.rows))
        self._open()


__all__ = ["row_blocks"]
