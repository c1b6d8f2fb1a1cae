"""Recurrent layers as one node: those whose step is one that libraries of vendors know.

In: a cell, and how its layer is called.  Out: a `Whole`, which encloses the loop over the cell's steps in a
`recurrence`, or the reason why no library computes them.  What always holds: the loop is built first, as for any
cell, and is what the node holds; a `Whole` only says which values of it are the sequence, the weights and the states.
"""
from __future__ import annotations

from typing import Any, Callable, Sequence

from graphk.frontend import activations
from graphk.frontend import backend as K
from graphk.frontend.backend.random_ops import in_a_loop
from graphk.frontend.layers.cells import Cell, GRUCell, LSTMCell, SimpleRNNCell, masked
from graphk.frontend.layers.cudnn_recurrent import CuDNNGRUCell, CuDNNLSTMCell, transposed
from graphk.frontend.tensor import Tensor
from graphk.ir.node import Graph, Node, replace_inputs, topological
from graphk.ir.ops.control import item
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.recurrent import recurrence

_STEPS: dict[Any, str] = {LSTMCell.advance: "lstm", CuDNNLSTMCell.advance: "lstm", GRUCell.advance: "gru",
                          CuDNNGRUCell.advance: "gru", SimpleRNNCell.advance: "simple"}
_OUTSIDE = ("input", "variable", "phase")


class Whole:
    """What of a loop over a cell is what: `cell` as `recurrence` names it."""

    def __init__(self, cell: str, weights: Sequence[Tensor], sequence: Callable[[Tensor], Tensor]):
        self.cell, self.sequence = cell, sequence
        self.weights = [w.node for w in weights]             # kernel, recurrent kernel, biases

    def enclose(self, inputs: Node, first: Sequence[Node], last: Sequence[Node], ys: Sequence[Node], reverse: bool,
                in_order: bool) -> tuple[list[Node], list[Node]] | str:
        """The loop's last states and outputs as results of one node, or why they are not.

        inputs: (time, samples, features), before dropout; first: the states that it began with.
        """
        said = [self.sequence(Tensor(inputs)).node, *self.weights, *first]
        operands = list(dict.fromkeys(said))
        table = {x: new_input(x.t, f"operand{i}") for i, x in enumerate(operands)}
        leaves = tuple(table.values())
        for node in topological([*last, *ys], table):
            if node not in table:
                if node.op.name in _OUTSIDE:
                    return f"its steps read `{node.attr('name') or node.op.name}` besides inputs, weights and states"
                table[node] = replace_inputs(node, tuple(table[i] for i in node.inputs))
        body = Graph(leaves, tuple(table[o] for o in (*last, *ys)), name="recurrence")
        out = recurrence(*operands, body=body, cell=self.cell, biases=len(self.weights) - 2, reverse=reverse,
                         roles=tuple(operands.index(x) for x in said), in_order=in_order)
        made = [item(out, i) for i in range(len(body.outputs))]
        return made[:len(last)], made[len(last):]


def whole(cell: Any, constants: Any, mask: Any, training: Any) -> Whole | str:
    """The cell's steps as a library knows them, or why none does."""
    kind = _STEPS.get(getattr(type(cell), "advance", None))
    if kind is None or type(cell).call is not Cell.call:
        return f"the steps of {type(cell).__name__} are none that a library has"
    own = CuDNNLSTMCell if isinstance(cell, CuDNNLSTMCell) else CuDNNGRUCell if isinstance(cell, CuDNNGRUCell) else Cell
    if type(cell).project is not own.project:
        return f"{type(cell).__name__} has a `project` of its own"
    if in_a_loop():
        return "it is inside another loop"
    if constants:
        return "it has constants"
    if mask is not None:
        return "it has a mask"
    why = _activations_differ(cell, kind)
    if why:
        return why
    if 0. < cell.recurrent_dropout < 1.:
        return "it drops out states"
    if kind == "gru" and not cell.reset_after:
        return "its reset gate multiplies states before their product (reset_after=False)"
    if 0. < cell.dropout < 1. and cell.implementation == 1 and cell.gates > 1:
        return "it drops out inputs for each gate (implementation=1)"

    def sequence(x: Tensor) -> Tensor:
        masks = cell.dropout_masks("inputs", x, cell.dropout)
        return x if masks is None else masked(x, masks[0], training)
    return Whole(activations.serialize(cell.activation) if kind == "simple" else kind, _weights(cell), sequence)


def _activations_differ(cell: Any, kind: str) -> str:
    if isinstance(cell, (CuDNNLSTMCell, CuDNNGRUCell)):
        return ""
    allowed = (activations.tanh, activations.relu) if kind == "simple" else (activations.tanh,)
    if cell.activation not in allowed:
        return (f"its activation is {_name(cell.activation)}; a library has "
                + " or ".join(f.__name__ for f in allowed))
    if kind != "simple" and cell.recurrent_activation is not activations.sigmoid:
        return f"its recurrent activation is {_name(cell.recurrent_activation)}; a library has sigmoid"
    return ""


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _weights(cell: Any) -> list[Tensor]:
    """Kernel, recurrent kernel and the biases that there are, as the steps read them."""
    if isinstance(cell, (CuDNNLSTMCell, CuDNNGRUCell)):
        width = cell.gates * cell.units
        return [transposed(cell.kernel, cell.gates), transposed(cell.recurrent_kernel, cell.gates),
                cell.bias[:width], cell.bias[width:]]
    biases = [] if not cell.use_bias else [cell.bias[0], cell.bias[1]] if isinstance(cell, GRUCell) else [cell.bias]
    return [K.identity(w) if not isinstance(w, Tensor) else w for w in (cell.kernel, cell.recurrent_kernel, *biases)]


__all__ = ["Whole", "whole"]
