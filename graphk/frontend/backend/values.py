"""Values of variables and tensors: reading, writing, and updates that a function makes.

In: variables, tensors, arrays.  Out: arrays; `Update` pairs for `K.function` and `add_update`.  What always holds:
`eval` computes what needs no input, and names the input that something else needs.
"""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from graphk.frontend import execute
from graphk.frontend.backend.random_ops import next_draw
from graphk.frontend.sparse import dense
from graphk.frontend.tensor import Tensor, Update, Variable, node_of, variable_of
from graphk.ir.node import Graph


def eval(x: Any) -> Any:
    """The value of a tensor that needs no inputs, as an array; ValueError naming the input it needs.

    Random numbers are drawn anew each time.  Of an update: it is made, and its new value returned.

    >>> float(K.eval(K.constant(2.) * 3))
    6.0
    """
    if isinstance(x, Variable):
        return x.get_value()
    if isinstance(x, Update):
        from graphk.frontend.function import Function
        return Function([], [x])([])[0]
    if not isinstance(x, Tensor):
        return np.asarray(x) if not hasattr(x, "eval") else x.eval()
    graph = Graph((), (x.node,))
    for node in graph.nodes():
        if node.op.name == "input":
            raise ValueError(
                f"K.eval: `{x.name}` depends on the placeholder `{node.attr('name')}`, which has no value. "
                f"Use K.function([placeholder], [x]) and pass a value."
            )
    arrays = {n: variable_of(n).array for n in graph.variables()}
    arrays.update(next_draw(x, arrays))
    return execute.run_once(graph, arrays)[0]


def get_value(x: Any) -> np.ndarray:
    """The value of a variable, as an array.

    >>> K.get_value(K.ones((2,))).tolist()
    [1.0, 1.0]
    """
    return eval(x)


def batch_get_value(ops: Sequence[Variable]) -> list[np.ndarray]:
    """The values of several variables, as arrays.

    >>> [a.tolist() for a in K.batch_get_value([K.ones((2,)), K.zeros((1,))])]
    [[1.0, 1.0], [0.0]]
    """
    return [get_value(x) for x in ops]


def set_value(x: Variable, value: Any) -> None:
    """Give a variable a value of its own shape; ValueError for another.

    >>> v = K.zeros((2,))
    >>> K.set_value(v, [1., 2.])
    >>> K.get_value(v).tolist()
    [1.0, 2.0]
    """
    batch_set_value([(x, value)])


def batch_set_value(tuples: Sequence[tuple[Variable, Any]]) -> None:
    """Set several `(variable, value)` pairs; none of them, if one does not fit.

    >>> v, w = K.zeros((2,)), K.zeros(())
    >>> K.batch_set_value([(v, [1., 2.]), (w, 3.)])
    >>> K.get_value(v).tolist(), float(K.get_value(w))
    ([1.0, 2.0], 3.0)
    """
    checked = []
    for x, value in tuples:
        if not isinstance(x, Variable):
            raise TypeError(f"K.set_value takes a variable, received {x!r}")
        checked.append((x, x.fitting(dense(value))))
    for x, array in checked:
        x.set_value(array)


def update(x: Variable, new_x: Any) -> Update:
    """An update that makes `x` become `new_x`; pass it to `K.function` or `add_update`.

    >>> v = K.zeros((2,))
    >>> _ = K.function([], [], [K.update(v, v + 5.)])([])
    >>> K.get_value(v).tolist()
    [5.0, 5.0]
    """
    return Update(x, new_x if isinstance(new_x, Tensor) else Tensor(node_of(new_x, getattr(x, "dtype", None))))


def update_add(x: Variable, increment: Any) -> Update:
    """An update that adds `increment` to `x`.

    >>> v = K.ones((2,))
    >>> _ = K.function([], [], [K.update_add(v, 2.)])([])
    >>> K.get_value(v).tolist()
    [3.0, 3.0]
    """
    return Update(x, x + increment)


def update_sub(x: Variable, decrement: Any) -> Update:
    """An update that subtracts `decrement` from `x`.

    >>> v = K.ones((2,))
    >>> _ = K.function([], [], [K.update_sub(v, 2.)])([])
    >>> K.get_value(v).tolist()
    [-1.0, -1.0]
    """
    return Update(x, x - decrement)


def moving_average_update(x: Variable, value: Any, momentum: float) -> Update:
    """An update to `x * momentum + value * (1 - momentum)`.

    >>> v = K.ones((2,))
    >>> _ = K.function([], [], [K.moving_average_update(v, K.constant([3., 5.]), .5)])([])
    >>> K.get_value(v).tolist()
    [2.0, 3.0]
    """
    return Update(x, x * momentum + value * (1.0 - momentum))


__all__ = ["eval", "get_value", "batch_get_value", "set_value", "batch_set_value", "update", "update_add", "update_sub",
           "moving_average_update"]
