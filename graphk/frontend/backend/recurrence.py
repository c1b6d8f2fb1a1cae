"""`K.rnn`: a step function run over the time axis.

In: a step of tensors, a batch of sequences, initial states.  Out: the last output, all outputs, the last states.  What
always holds: one `scan` carries the states (or, unrolled, the steps are written out); at a masked step the states stay
and the output is the previous one; outputs come in the order in which the steps ran.
"""
from __future__ import annotations

from typing import Any, Callable, Protocol, Sequence

from graphk.frontend import config
from graphk.frontend.backend.control import loop
from graphk.frontend.backend.shape_ops import reverse, stack
from graphk.frontend.tensor import Tensor, node_of
from graphk.ir.dims import Dim
from graphk.ir.node import Node
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import shape as sh
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.recurrent import WHY
from graphk.ir.types import TensorType, shape_text

_WRITTEN_OUT = 500                  # steps; of more, a graph of each step helps nobody, and a loop computes the same
Step = Callable[[Tensor, "list[Any]"], "tuple[Tensor, Sequence[Tensor]]"]


class Enclosing(Protocol):
    """What makes one node of a loop (`graphk.frontend.layers.whole.Whole`)."""

    def enclose(self, inputs: Node, first: Sequence[Node], last: Sequence[Node], ys: Sequence[Node], reverse: bool,
                in_order: bool) -> tuple[list[Node], list[Node]] | str:
        """The loop's last states and outputs as results of that node, or why they are not."""


def rnn(step_function: Step, inputs: Tensor, initial_states: Sequence[Tensor], go_backwards: bool = False,
        mask: Tensor | None = None, constants: Sequence[Any] | None = None, unroll: bool = False,
        input_length: int | None = None) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Run `step_function(input_t, states + constants) -> (output, new_states)` over axis 1 of `inputs`.

    inputs: (samples, time, …); mask: (samples, time) or (samples, time, 1): at a 0 the states stay and the output is
    the previous one.  Returns (last output, outputs (samples, time, …), last states); with `go_backwards` time runs
    backwards and outputs come in that order.

    >>> def add(x, states):
    ...     return x + states[0], [x + states[0]]
    >>> last, outputs, states = K.rnn(add, K.constant([[[1.], [2.], [4.]]]), [K.zeros((1, 1))])
    >>> K.eval(outputs).tolist(), K.eval(last).tolist()
    ([[[1.0], [3.0], [7.0]]], [[7.0]])
    """
    if mask is not None and not initial_states:
        raise ValueError("No initial states provided! A masked step of K.rnn repeats the output before it, so pass "
                         "`initial_states`, and let the step function return its output as the first new state.")
    last, outputs, states = recur(step_function, inputs, initial_states, go_backwards, mask, constants, unroll,
                                  input_length)
    assert outputs is not None
    return last, outputs, states


def recur(step_function: Step, inputs: Tensor, initial_states: Sequence[Tensor], go_backwards: bool = False,
          mask: Tensor | None = None, constants: Sequence[Any] | None = None, unroll: bool = False,
          input_length: int | None = None, every: bool = True, ahead: Callable[[Tensor], Tensor] | None = None,
          whole: Enclosing | str = "its steps are a function of the program's"
          ) -> tuple[Tensor, Tensor | None, list[Tensor]]:
    """`rnn`; unless `every` output is wanted, None may stand for the outputs, and they are not stored.

    ahead: makes what the steps see from all inputs, (time, samples, …): as the loop walks them, so that the larger
    result is never turned.  whole: encloses the loop in a node that libraries know, or why there is none.
    """
    if inputs.ndim < 3:
        raise ValueError("Input should be at least 3D.")
    time = input_length if input_length is not None and unroll else node_of(inputs).shape[1]
    if unroll and not isinstance(time, int):
        raise ValueError("Unrolling requires a fixed number of timesteps.")
    turned = _swap(node_of(inputs))
    seqs = [turned]
    if ahead is not None:
        seqs = [node_of(ahead(Tensor(seqs[0])))]
    if mask is not None:
        seqs.append(_time_major_mask(node_of(mask)))
    run = _Recurrence(step_function, list(constants or []), [node_of(s) for s in initial_states], mask is not None,
                      every or unroll)
    first = run.start(seqs, unroll)
    written_out = unroll and time <= _WRITTEN_OUT
    last, ys = (_unrolled if written_out else _scanned)(run, first, seqs, time, go_backwards)
    if not isinstance(whole, str):
        enclosed = whole.enclose(turned, first, last, ys, go_backwards, written_out)
        whole = enclosed if isinstance(enclosed, str) else ""
        last, ys = (last, ys) if isinstance(enclosed, str) else enclosed
    if whole and not written_out:                            # else there is no loop to speak of
        WHY[(*last, *ys)[0].inputs[0].attr("body").inputs[0]] = whole
    states = [Tensor(s) for s in last[:run.n_states]]
    if not ys:
        return Tensor(last[run.output_is]), None, states
    outputs = reverse(Tensor(ys[0]), 0) if go_backwards and not written_out else Tensor(ys[0])
    final = outputs[-1] if run.output_is is None else Tensor(last[run.output_is])
    return final, Tensor(_swap(outputs.node)), states


def _swap(node: Node) -> Node:
    return sh.transpose(node, perm=(1, 0, *range(2, node.ndim)))


def _time_major_mask(m: Node) -> Node:
    if m.ndim not in (2, 3):
        raise ValueError(f"K.rnn takes a mask of shape (samples, time) or (samples, time, 1), received one of shape "
                         f"{Tensor(m).shape}; mask whole time steps, not features.")
    return ew.cast(_swap(m if m.ndim == 3 else sh.reshape(m, shape=m.shape + (1,))), "bool")


class _Recurrence:
    """The step as a function of nodes, with masking; remembers which carry equals the output, if one does."""

    def __init__(self, step: Step, constants: list[Any], states: list[Node], masked: bool, every: bool):
        self.step, self.constants, self.masked, self.every = step, constants, masked, every
        self.states, self.n_states = states, len(states)
        self.output_is: Any = None
        self.own_carry = masked                    # whether the output is carried beside the states

    def raw(self, states: Sequence[Node], x: Node) -> tuple[Node, list[Node]]:
        result = self.step(Tensor(x), [*[Tensor(s) for s in states], *self.constants])
        if not isinstance(result, (tuple, list)) or len(result) != 2 or not isinstance(result[1], (tuple, list)):
            raise TypeError(f"K.rnn: a step returned {result!r:.200}; expected a pair (output, list of new states)")
        out, new = result
        if len(new) != self.n_states:
            raise ValueError(f"K.rnn: the step function returned {len(new)} states, expected {self.n_states}")
        for i, (old, s) in enumerate(zip(states, new)):
            if isinstance(s, Tensor) and (s.ndim != old.ndim or any(
                    type(a) is type(b) is int and a != b for a, b in zip(old.shape, s.node.shape))):
                raise ValueError(f"K.rnn: the state {i} begins with the shape {shape_text(old.shape)}, and a step "
                                 f"returned "
                                 f"one of shape {s.shape}; expected the same. A cell's `state_size` says its width.")
        return node_of(out), [node_of(s) for s in new]

    def start(self, seqs: Sequence[Node], unroll: bool) -> list[Node]:
        """The first carries: the states and, with a mask, what a masked first step puts out: zeros if unrolled, else
        the first state where it has the output's shape (what Keras 2.2 on TensorFlow does in its two cases; in Keras
        2.3 both are zeros)."""
        if not self.masked:
            return self.states
        x = new_input(TensorType(seqs[0].dtype, seqs[0].shape[1:]))
        out, new = self.raw(self.states, x)
        like = self.states[0] if self.states and config.keras_semantics() == "2.2" else None
        if unroll or like is None or like.ndim != out.ndim or like.shape[1:] != out.shape[1:] \
                or like.dtype != out.dtype:
            return [*self.states, ew.zeros_like(out)]
        self.own_carry = new[0] is not out         # else the output of a step is the state it leaves
        return [*self.states, like] if self.own_carry else self.states

    def __call__(self, carry: list[Node], xs: list[Node]) -> tuple[list[Node], list[Node]]:
        states = carry[:self.n_states]
        out, new = self.raw(states, xs[0])

        def keep(a: Node, old: Node) -> Node:
            c = xs[1]
            return ew.select(sh.reshape(c, shape=(c.shape[0],) + (1,) * (a.ndim - 1)), a, old)
        if self.own_carry:
            out = keep(out, carry[-1])
            new = [*[keep(a, s) for a, s in zip(new, states)], out]
        else:
            same = [i for i, s in enumerate(new) if s is out]
            new = [keep(a, s) for a, s in zip(new, states)] if self.masked else new
            out = new[same[0]] if same else out
        self.output_is = next((i for i in range(len(new) - 1, -1, -1) if new[i] is out), None)
        return new, [out] if self.every or self.output_is is None else []


def _scanned(run: _Recurrence, carry: list[Node], seqs: list[Node], time: Dim, back: bool
             ) -> tuple[list[Node], list[Node]]:
    return loop(run, carry, seqs, time, back, "rnn_step")


def _unrolled(run: _Recurrence, carry: list[Node], seqs: list[Node], time: int, back: bool
              ) -> tuple[list[Node], list[Node]]:
    """The same steps written out; outputs in the order they were made."""
    outs: list[Tensor] = []
    for t in (range(time - 1, -1, -1) if back else range(time)):
        carry, ys = run(carry, [Tensor(s)[t].node for s in seqs])
        outs.append(Tensor(ys[0]))
    return carry, [stack(outs, 0).node]


__all__ = ["rnn"]
