"""ONNX's operators over time, and those with bodies.

In: a `Call`.  Out: its results.  What always holds: each direction of a recurrent operator is one scan, whose input
part is computed for all steps before it; the body of a Scan reads the values around it.
"""
from __future__ import annotations

from typing import Any, Callable

import numpy as np

from graphk.frontend.backend.control import loop
from graphk.ir.dims import floordiv
from graphk.ir.node import Node
from graphk.ir.opdef import const
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import shape as sh
from graphk.ir.ops.contract import dot
from graphk.onnx.operators import OPERATORS, Operator
from graphk.onnx.values import Call, Value, as_value

Step = Callable[[list[Node], Node], list[Node]]
_STEPS = 256                                    # of a loop that is written out
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_USUAL = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


def _recurrent(c: Call) -> list[Node]:
    """RNN, GRU and LSTM.  Operands: x (time, batch, features), w, r (directions, gates * units, …), b, lengths, h."""
    _check_recurrent(c)
    x, directions = c.node(0), {"bidirectional": 2}.get(c.attr("direction", "forward"), 1)
    units = floordiv(c.node(1).shape[1], _GATES[c.op])
    if c.attr("layout"):
        x = sh.transpose(x, perm=(1, 0, 2))
    made = [_direction(c, x, d, units, d == 1 or c.attr("direction") == "reverse") for d in range(directions)]
    ys = _beside([ys for ys, _ in made], 1)                                   # (time, directions, batch, units)
    states = [_beside(list(s), 0) for s in zip(*(last for _, last in made))]
    if c.attr("layout"):
        ys, states = sh.transpose(ys, perm=(2, 0, 1, 3)), [sh.transpose(s, perm=(1, 0, 2)) for s in states]
    return [ys, *states]


def _check_recurrent(c: Call) -> None:
    steps = c.node(0).shape[1 if c.attr("layout") else 0]
    whole = not c.has(4) or (isinstance(c.inputs[4], np.ndarray) and bool((c.known(4) == steps).all()))
    wrong = [what for what, there in (
        ("sequences of several lengths (sequence_lens)", not whole), ("peepholes", c.op == "LSTM" and c.has(7)),
        ("clip", "clip" in c.attributes), ("input_forget", c.attr("input_forget"))) if there]
    if wrong:
        raise c.refuse(f"{c.op} with {', '.join(wrong)}")


def _beside(parts: list[Node], axis: int) -> Node:
    """The directions along a new axis."""
    apart = [sh.reshape(p, shape=(*p.shape[:axis], 1, *p.shape[axis:])) for p in parts]
    return sh.concat(*apart, axis=axis) if len(apart) > 1 else apart[0]


def _of(c: Call, at: int, d: int) -> Node | None:
    """One direction of an operand."""
    if not c.has(at):
        return None
    value = c.node(at)
    return sh.reshape(sh.slice_axis(value, 0, d, 1), shape=value.shape[1:])


def _direction(c: Call, x: Node, d: int, units: Any, reverse: bool) -> tuple[Node, list[Node]]:
    w, r, b = (_of(c, at, d) for at in (1, 2, 3))
    assert w is not None and r is not None
    width, first = r.shape[0], []
    given = dot(x, w, contract=((2,), (1,)))
    recurrent = None
    if b is not None:
        given = ew.add(given, sh.slice_axis(b, 0, 0, width))
        recurrent = sh.slice_axis(b, 0, width, width)
    for at in (5, 6)[:2 if c.op == "LSTM" else 1]:
        state = c.node(at) if c.has(at) else None
        if state is not None and c.attr("layout"):
            state = sh.transpose(state, perm=(1, 0, 2))
        first.append(sh.broadcast_to(const(0., x.dtype), (x.shape[1], units)) if state is None else
                     sh.reshape(sh.slice_axis(state, 0, d, 1), shape=state.shape[1:]))
    names = c.attr("activations") or _USUAL[c.op] * 2
    per = len(_USUAL[c.op])
    functions = [_activation(c, n, d * per + i) for i, n in enumerate(names[d * per:(d + 1) * per])]
    step = {"RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}[c.op](c, r, recurrent, units, functions)

    def advance(carry: list[Node], xs: list[Node]) -> tuple[list[Node], list[Node]]:
        states = step(carry, xs[0])
        return states, [states[0]]
    last, ys = loop(advance, first, [given], x.shape[0], reverse, c.op.lower())
    return ys[0], last


def _activation(c: Call, name: str, at: int) -> Callable[[Node], Node]:
    """An activation by its name, with the parameters that stand at its place."""
    kinds = {"affine": "", "relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softsign": "Softsign",
             "softplus": "Softplus", "leakyrelu": "LeakyRelu", "thresholdedrelu": "ThresholdedRelu", "elu": "Elu",
             "hardsigmoid": "HardSigmoid"}
    found = kinds.get(name.lower(), "")
    if not found:
        raise c.refuse(f"the activation {name!r}")
    given = {k: v[at] for k, v in (("alpha", c.attr("activation_alpha", [])), ("beta", c.attr("activation_beta", [])))
             if at < len(v)}
    return lambda x: OPERATORS[found](Call(found, [x], given, [""], c.opset, c.run))


def _gates(value: Node, units: Any, count: int) -> list[Node]:
    return [sh.slice_axis(value, 1, i * units, units) for i in range(count)]


def _recurred(h: Node, r: Node, bias: Node | None) -> Node:
    out = dot(h, r, contract=((1,), (1,)))
    return out if bias is None else ew.add(out, bias)


def _rnn_step(c: Call, r: Node, bias: Node | None, units: Any, functions: list[Any]) -> Step:
    return lambda carry, x: [functions[0](ew.add(x, _recurred(carry[0], r, bias)))]


def _lstm_step(c: Call, r: Node, bias: Node | None, units: Any, functions: list[Any]) -> Step:
    f, g, h = functions

    def step(carry: list[Node], x: Node) -> list[Node]:
        i, o, forget, cell = _gates(ew.add(x, _recurred(carry[0], r, bias)), units, 4)
        memory = ew.add(ew.mul(f(forget), carry[1]), ew.mul(f(i), g(cell)))
        return [ew.mul(f(o), h(memory)), memory]
    return step


def _gru_step(c: Call, r: Node, bias: Node | None, units: Any, functions: list[Any]) -> Step:
    f, g = functions

    def step(carry: list[Node], x: Node) -> list[Node]:
        h, (xz, xr, xh) = carry[0], _gates(x, units, 3)
        bz, br, bh = [None] * 3 if bias is None else [sh.slice_axis(bias, 0, i * units, units) for i in range(3)]
        rz, rr, rh = (sh.slice_axis(r, 0, i * units, units) for i in range(3))
        z, reset = f(ew.add(xz, _recurred(h, rz, bz))), f(ew.add(xr, _recurred(h, rr, br)))
        late = c.attr("linear_before_reset")
        new = ew.mul(reset, _recurred(h, rh, bh)) if late else _recurred(ew.mul(reset, h), rh, bh)
        return [ew.add(ew.mul(ew.sub(1.0, z), g(ew.add(xh, new))), ew.mul(z, h))]
    return step


# ------------------------------------------------------------------ bodies
def _scan(c: Call) -> list[Node]:
    """Along the leading axis, all sequences in one direction."""
    if c.opset < 9:
        raise c.refuse("Scan before opset 9")
    body, xs = c.attr("body"), c.nodes()
    slices = c.attr("num_scan_inputs")
    carries = len(xs) - slices
    axes = [*c.attr("scan_input_axes", []), *c.attr("scan_output_axes", [])]
    ways = {*c.attr("scan_input_directions", [0] * slices),
            *c.attr("scan_output_directions", [0] * (len(c.outputs) - carries))}
    if slices < 1 or carries < 0 or any(axes) or len(ways) > 1 or len(body["inputs"]) != len(xs):
        raise c.refuse("a Scan over other axes than the first, or in both directions,")

    def step(carry: list[Node], x: list[Node]) -> tuple[list[Node], list[Node]]:
        names = [i[0] for i in body["inputs"]]
        made: list[Any] = [m if isinstance(m, Node) else const(m) for m in c.run(body, dict(zip(names, [*carry, *x])))]
        return made[:carries], made[carries:]
    last, ys = loop(step, xs[:carries], xs[carries:], xs[carries].shape[0], ways == {1}, "scan")
    return [*last, *ys]


def _if(c: Call) -> list[Value]:
    """The branch that is taken, where that is known."""
    taken = bool(np.asarray(c.known(0)).reshape(()).item())
    return c.run(c.attr("then_branch" if taken else "else_branch"), {})


def _loop(c: Call) -> list[Value]:
    """Written out, step by step, where the number of steps is known."""
    body, most = c.attr("body"), int(c.known(0).item()) if c.has(0) else _STEPS + 1
    go = bool(c.known(1).item()) if c.has(1) else True
    carry: list[Any] = list(c.inputs[2:])
    names, rows, step = [i[0] for i in body["inputs"]], [], 0
    while go and step < most:
        if step == _STEPS:
            raise c.refuse(f"a Loop of more than {_STEPS} steps")
        given = [np.array(step, np.int64), np.array(True), *carry]
        more, *made = c.run(body, dict(zip(names, given, strict=True)))
        if not isinstance(more, np.ndarray):
            raise c.refuse("a Loop whose steps depend on data, or on an open size,")
        go, carry, step = bool(more.item()), made[:len(carry)], step + 1
        rows.append([as_value(m) for m in made[len(carry):]])
    if not rows and len(c.outputs) > len(carry):
        raise c.refuse("a Loop of no steps")
    return [*carry, *(_beside(list(column), 0) for column in zip(*rows))]


LOOPS: dict[str, Operator] = {"RNN": _recurrent, "GRU": _recurrent, "LSTM": _recurrent, "Scan": _scan, "Loop": _loop,
                              "If": _if}

__all__ = ["LOOPS"]
