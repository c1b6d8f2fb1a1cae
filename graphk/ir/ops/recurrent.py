"""Recurrent layers as one node each: with the steps that they are, and as one call of a vendor's library.

In: sequences (time, samples, features), weights, first states.  Out: nodes.  What always holds: `recurrence` and
`recurrence_gradient` hold a closed graph that computes them, and the pass `recurrent` puts it in their place wherever
no library takes them, so that nothing behind that pass knows them; `rnn` and `rnn_gradient`, which that pass makes for
a library, speak of weights as the library keeps them: one flat array of each gate's matrix for inputs, then each
gate's for states, units by rows, then the biases.  Gates stand in the library's order: LSTM i, f, c, o; GRU r, z, h.
"""
from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from graphk.ir.dims import Dim
from graphk.ir.node import Graph, Node
from graphk.ir.opdef import OpDef, ZERO_GRAD, register
from graphk.ir.types import TensorType, TupleType

GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}
STATES = {"lstm": 2, "gru": 1, "tanh": 1, "relu": 1}
WHY: "weakref.WeakKeyDictionary[Node, str]" = weakref.WeakKeyDictionary()
"""Why a loop over a recurrent cell is no `recurrence`, by the first input of its body (which passes keep)."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a library must know of a recurrent layer to say whether it computes it: float32, one direction."""
    cell: str
    features: int
    units: int
    biases: int                    # of each gate: 0, 1 (for inputs), or 2 (for states, too)

    @property
    def size(self) -> int:
        """Numbers in all weights."""
        return GATES[self.cell] * self.units * (self.features + self.units + self.biases)

    def __str__(self) -> str:
        name = {"lstm": "LSTM", "gru": "GRU", "tanh": "SimpleRNN (tanh)", "relu": "SimpleRNN (relu)"}[self.cell]
        return f"{name} of {self.units} units on {self.features} features, {self.biases} biases a gate"


# ------------------------------------------------------------------ with the steps that they are
def _body_infer(*ts: TensorType, body: Graph, cell: str, biases: int, roles: tuple[int, ...], reverse: bool,
                in_order: bool, seeded: tuple[int, ...] = ()) -> TupleType:
    own = len(ts) - len(seeded)
    if cell and (cell not in GATES or biases not in (0, 1, 2) or len(roles) != 3 + biases + STATES[cell]
                 or not set(roles) <= set(range(own))):
        raise TypeError(f"a recurrence of the cell {cell!r} with {biases} biases has a sequence, two kernels, its "
                        f"biases and first states among its {own} operands; received the roles {roles}")
    return TupleType(tuple(o.t for o in body.outputs))


def _body_ref(*arrays: np.ndarray, body: Graph, **_: Any) -> list[np.ndarray]:
    from graphk.ir.interp import run_graph
    return run_graph(body, list(arrays))


recurrence: OpDef = register(OpDef(
    "recurrence", "control", _body_infer, _body_ref, vjp="recurrence",
    doc="""A recurrent layer: body(operands) -> last states, and all outputs where they are wanted.

    cell: "lstm", "gru", "tanh" or "relu"; biases: 0 to 2; roles: which operand is the sequence, the kernel, the
    recurrent kernel, each bias, each first state (one operand may be several); reverse: the last step comes first;
    in_order: outputs stand in the order of the steps, else in that of time."""))

recurrence_gradient: OpDef = register(OpDef(
    "recurrence_gradient", "control", _body_infer, _body_ref, vjp="recurrence",
    doc="""Gradients of a `recurrence` by each operand: body(its operands, gradients of its results `seeded`).

    Its body begins with the inputs of the recurrence's body; the other attributes are the recurrence's."""))


# ------------------------------------------------------------------ as calls of a library
def _check(op: str, cell: str, x: TensorType, w: TensorType, h: TensorType, biases: int) -> Form:
    if cell not in GATES or biases not in (0, 1, 2):
        raise TypeError(f"`{op}` has one of the cells {', '.join(GATES)} and 0 to 2 biases; received {cell!r} and "
                        f"{biases}")
    features, units = x.shape[-1], h.shape[-1]
    if not isinstance(features, int) or not isinstance(units, int):
        raise TypeError(f"`{op}` needs to know how many features and units there are; received {x} and {h}")
    form = Form(cell, features, units, biases)
    if x.ndim != 3 or h.ndim != 2 or w.shape != (form.size,) or any(t.dtype != "float32" for t in (x, w, h)):
        raise TypeError(f"`{op}` of a {form} takes f32[time, samples, {form.features}], f32[{form.size}] weights and "
                        f"f32[samples, {form.units}] states; received {x}, {w} and {h}")
    return form


TOKEN = TensorType("float32", (1,))      # stands for what a library keeps for the way back, which only it can measure


def _rnn_infer(x: TensorType, w: TensorType, *states: TensorType, cell: str, biases: int, training: int) -> TupleType:
    form = _check("rnn", cell, x, w, states[0], biases)
    outs: list[TensorType] = [TensorType("float32", (*x.shape[:2], form.units)), *states]
    return TupleType((*outs, TOKEN) if training else tuple(outs))


def _rnn_ref(x: np.ndarray, w: np.ndarray, *states: np.ndarray, cell: str, biases: int, training: int
             ) -> list[np.ndarray]:
    y, last, _ = forward(cell, biases, x, w, states)
    return [y, *last, *([np.zeros(1, "float32")] if training else [])]


rnn: OpDef = register(OpDef(
    "rnn", "control", _rnn_infer, _rnn_ref, vjp=ZERO_GRAD,
    doc="A recurrent layer, of a sequence, flat weights and first states: all outputs, the last states and, where "
        "`training` is not 0, a token of what the gradient needs besides (which uses it up: several gradients are "
        "of calls 1, 2, ...); made by the pass `recurrent` alone."))


def _gradient_infer(x: TensorType, w: TensorType, y: TensorType, token: TensorType, *rest: TensorType, cell: str,
                    biases: int) -> TupleType:
    _check("rnn_gradient", cell, x, w, rest[0], biases)
    return TupleType((x, w, *rest[:STATES[cell]]))


def _gradient_ref(x: np.ndarray, w: np.ndarray, y: np.ndarray, token: np.ndarray, *rest: np.ndarray, cell: str,
                  biases: int) -> list[np.ndarray]:
    n = STATES[cell]
    y, _, saved = forward(cell, biases, x, w, rest[:n])
    dx, dw, first = backward(cell, biases, x, w, y, rest[:n], saved, rest[n], rest[n + 1:])
    return [dx, dw, *first]


rnn_gradient: OpDef = register(OpDef(
    "rnn_gradient", "control", _gradient_infer, _gradient_ref, vjp=ZERO_GRAD,
    doc="Gradients of an `rnn` by its sequence, weights and first states: of these, its outputs, its token, first "
        "states, and the gradients of its outputs and last states; made by the pass `recurrent` alone."))


def equal_extents(node: Node) -> list[tuple[Dim, Dim]]:
    """Pairs of extents that an `rnn` or `rnn_gradient` takes to be equal: steps and samples of all operands."""
    time, samples = node.inputs[0].shape[:2]
    pairs: list[tuple[Dim, Dim]] = []
    for i in node.inputs[2:]:
        if i.ndim == 3:
            pairs.append((time, i.shape[0]))
        if i.ndim > 1:
            pairs.append((samples, i.shape[-2]))
    return pairs


# ------------------------------------------------------------------ in numpy
Arrays = Sequence[np.ndarray]


def _parts(cell: str, biases: int, w: np.ndarray, features: int, units: int) -> list[np.ndarray]:
    """Views of flat weights: (gates, units, features), (gates, units, units), and each bias (gates, units)."""
    gates, at, out = GATES[cell], 0, []
    for shape in ((gates, units, features), (gates, units, units), *[(gates, units)] * biases):
        size = int(np.prod(shape))
        out.append(w[at:at + size].reshape(shape))
        at += size
    return out


def _sigmoid(x: np.ndarray) -> np.ndarray:
    half = np.asarray(.5, x.dtype)
    return half * np.tanh(half * x) + half


def forward(cell: str, biases: int, x: np.ndarray, w: np.ndarray, first: Arrays
            ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """All outputs, the last states, and what `backward` needs besides: (time, samples, kinds, units)."""
    h, units = first[0], first[0].shape[-1]
    c = first[-1]
    kernel, recurrent, *rest = _parts(cell, biases, w, x.shape[-1], units)
    zeros = np.zeros((GATES[cell], units), x.dtype)
    outer, inner = (*rest, zeros, zeros)[:2]
    ys: list[np.ndarray] = []
    saved: list[tuple[np.ndarray, ...]] = []
    for step in x:
        a = np.einsum("nf,guf->gnu", step, kernel) + outer[:, None]
        b = np.einsum("nv,guv->gnu", h, recurrent) + inner[:, None]
        if cell == "lstm":
            i, f, o = (_sigmoid(a[k] + b[k]) for k in (0, 1, 3))
            g = np.tanh(a[2] + b[2])
            c = f * c + i * g
            h = o * np.tanh(c)
            saved.append((i, f, g, o, c))
        elif cell == "gru":
            r, z = (_sigmoid(a[k] + b[k]) for k in (0, 1))
            new = np.tanh(a[2] + r * b[2])
            h = (1 - z) * new + z * h
            saved.append((r, z, new, b[2]))
        else:
            h = np.tanh(a[0] + b[0]) if cell == "tanh" else np.maximum(a[0] + b[0], 0)
            saved.append(())
        ys.append(h)
    kept = np.array(saved, x.dtype).reshape(len(ys), SAVED[cell], *h.shape).transpose(0, 2, 1, 3)
    return np.array(ys, x.dtype).reshape(len(ys), *h.shape), [h, c][:STATES[cell]], kept


SAVED = {"lstm": 5, "gru": 4, "tanh": 0, "relu": 0}


def backward(cell: str, biases: int, x: np.ndarray, w: np.ndarray, y: np.ndarray, first: Arrays, saved: np.ndarray,
             dy: np.ndarray, last: Arrays) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Gradients of sequence, flat weights and first states, from those of outputs and last states."""
    kernel, recurrent, *_ = _parts(cell, biases, w, x.shape[-1], first[0].shape[-1])
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    d_kernel, d_recurrent, *d_biases = _parts(cell, biases, dw, x.shape[-1], first[0].shape[-1])
    dh, dc = last[0], last[-1]
    for t in range(len(x) - 1, -1, -1):
        h0 = y[t - 1] if t else first[0]
        dh = dh + dy[t]
        keep = saved[t].transpose(1, 0, 2)
        passed: Any = 0
        if cell == "lstm":
            i, f, g, o, c = keep
            c0 = saved[t - 1][:, 4] if t else first[1]
            dc = dc + dh * o * (1 - np.tanh(c) ** 2)
            a = b = np.stack([dc * g * i * (1 - i), dc * c0 * f * (1 - f), dc * i * (1 - g * g),
                              dh * np.tanh(c) * o * (1 - o)])
            dc = dc * f
        elif cell == "gru":
            r, z, new, inner = keep
            d_new = dh * (1 - z) * (1 - new * new)
            a = np.stack([d_new * inner * r * (1 - r), dh * (h0 - new) * z * (1 - z), d_new])
            b = np.stack([a[0], a[1], d_new * r])
            passed = dh * z
        else:
            a = b = (dh * ((1 - y[t] * y[t]) if cell == "tanh" else (y[t] > 0)))[None]
        dx[t] = np.einsum("gnu,guf->nf", a, kernel)
        dh = np.einsum("gnu,guv->nv", b, recurrent) + passed
        d_kernel += np.einsum("gnu,nf->guf", a, x[t])
        d_recurrent += np.einsum("gnu,nv->guv", b, h0)
        for bias, d in zip(d_biases, (a, b)):
            bias += d.sum(1)
    return dx, dw, [dh, dc][:STATES[cell]]


__all__ = ["Form", "GATES", "SAVED", "STATES", "WHY", "backward", "equal_extents", "forward", "recurrence",
           "recurrence_gradient", "rnn", "rnn_gradient"]
