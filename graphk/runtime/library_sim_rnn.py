"""Recurrent layers as a vendor's library computes them, by numpy: for tests, on the simulator's memory.

In: a `Recurrent`, and addresses.  Out: what computes it.  What always holds: the way back reads what the way there
kept, nothing is computed again; only what the description says is read and written.
"""
from __future__ import annotations

from typing import Any, Callable

import numpy as np

from graphk.ir.ops.recurrent import SAVED, STATES, Form, backward, forward
from graphk.runtime.library import Run
from graphk.runtime.library_rnn import Addresses, Needs, Recurrent, RecurrentLibrary


class NumpyRecurrent(RecurrentLibrary):
    """`view(address, dtype)`: the elements from an address on; `asked`: everything so far."""
    name = "numpy"

    def __init__(self, view: Callable[[int, str], np.ndarray]):
        self.view = view
        self.asked: list[Recurrent] = []

    def take(self, form: Form, tf32: bool) -> None:
        """It computes all of them."""

    def needs(self, what: Recurrent) -> Needs:
        kept = what.time * what.samples * SAVED[what.form.cell] * what.form.units
        return Needs(64, 4 * (kept + 1))

    def ask(self, what: Recurrent, at: Addresses, needs: Needs) -> Run:
        self.asked.append(what)

        def run(stream: Any, lane: int) -> None:
            assert lane == 0, "calls on other lanes work in the same memory at the same time"
            assert (self.view(at.lengths, "int32")[:what.samples] == what.time).all()
            self.view(at.room, "uint8")[:needs.room] = 0xEE
            compute(self.view, what, at)
        return run


def compute(view: Callable[[int, str], np.ndarray], what: Recurrent, at: Addresses) -> None:
    """What is asked for, on memory."""
    form, n, t = what.form, what.samples, what.time

    def array(address: int, *shape: int) -> np.ndarray:
        size = int(np.prod(shape))
        flat = view(address, "float32")
        if size > len(flat):
            raise IndexError(f"{shape} reaches beyond its memory")
        return flat[:size].reshape(shape)

    def states(*addresses: int) -> list[np.ndarray]:
        return [array(a, n, form.units) for a in addresses[:STATES[form.cell]]]
    x, w = array(at.inputs, t, n, form.features), array(at.weights, form.size)
    if what.tf32:
        x, w = rounded(x), rounded(w)
    first, y = states(at.first, at.first_cells), array(at.outputs, t, n, form.units)
    keeps = (t, n, SAVED[form.cell], form.units)
    if not what.gradient:
        y[...], last, saved = forward(form.cell, form.biases, x, w, first)
        for target, value in zip(states(at.last, at.last_cells), last):
            target[...] = value
        if what.training:
            array(at.kept, *keeps)[...] = saved
        return
    dx, dw, d_first = backward(form.cell, form.biases, x, w, y, first, array(at.kept, *keeps),
                               array(at.d_outputs, t, n, form.units), states(at.d_last, at.d_last_cells))
    array(at.d_inputs, t, n, form.features)[...] = dx
    array(at.d_weights, form.size)[...] += dw
    for target, value in zip(states(at.d_first, at.d_first_cells), d_first):
        target[...] = value


def rounded(x: np.ndarray) -> np.ndarray:
    """Numbers of 10 bits of mantissa, as `tf32` has them."""
    return ((x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


__all__ = ["NumpyRecurrent", "compute"]
