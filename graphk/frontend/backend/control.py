"""Control: the learning phase, conditions, and loops over an axis.

In: tensors and Python functions of tensors.  Out: tensors.  What always holds: a loop is one `scan`
whose body is a closed graph; what the Python function took from outside becomes an operand of
the scan, computed once.
"""
from __future__ import annotations

from typing import Any, Callable, Sequence

from graphk.frontend.backend.random_ops import inside_loop, loop_steps
from graphk.frontend.backend.shape_ops import checked_axis
from graphk.frontend.tensor import Tensor, node_of
from graphk.ir.dims import Dim
from graphk.ir.node import Graph, Node, replace_inputs, topological
from graphk.ir.ops import control as ctl
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import shape as sh
from graphk.ir.ops.leaves import learning_phase as phase_node
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.watch import watch
from graphk.ir.types import TensorType

_frozen: list[int] = []


# ------------------------------------------------------------------ learning phase
def learning_phase() -> Any:
    """The learning phase: a scalar tensor (1 train, 0 test), or the int given to `set_learning_phase`.

    >>> f = K.function([K.learning_phase()], [K.in_train_phase(K.constant(1.), K.constant(2.))])
    >>> float(f([1])[0]), float(f([0])[0])
    (1.0, 2.0)
    """
    if _frozen:
        return _frozen[-1]
    x = Tensor(phase_node(), "keras_learning_phase")
    x._keras_shape = ()
    return x


def set_learning_phase(value: int) -> None:
    """Fix the learning phase (0 or 1) of everything built from now on, until `K.clear_session`.

    >>> K.set_learning_phase(1)
    >>> K.learning_phase()
    1
    """
    if value not in (0, 1):
        raise ValueError(f"Expected learning phase to be 0 or 1. Received: {value}")
    _frozen[:] = [int(value)]


def reset_learning_phase() -> None:
    """Make the learning phase dynamic again."""
    _frozen.clear()


def _value(x: Any) -> Any:
    return x() if callable(x) else x


def in_train_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """`x` in training, `alt` in testing; either may be a function without arguments.  Both have one shape.

    training: None for the learning phase, else 0, 1, True, False or a scalar tensor.

    >>> float(K.eval(K.in_train_phase(K.constant(1.), lambda: K.constant(2.), training=0)))
    2.0
    """
    training = learning_phase() if training is None else training
    if not isinstance(training, Tensor):
        return _value(x) if training else _value(alt)
    a, b = _value(x), _value(alt)
    if training.node.op.name != "phase":
        return switch(training, a, b)
    out = Tensor(ctl.phase_select(training.node, node_of(a), node_of(b)))
    if hasattr(b, "_keras_shape"):
        out._keras_shape = b._keras_shape
    return out


def in_test_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """`x` in testing, `alt` in training; the arguments of `in_train_phase`.

    >>> float(K.eval(K.in_test_phase(K.constant(1.), K.constant(2.), training=0)))
    1.0
    """
    return in_train_phase(alt, x, training=training)


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Tensor:
    """`then_expression` where `condition` holds, else the other; a condition of fewer axes is for the leading ones.

    The two may be functions without arguments.  ValueError if the condition has more axes than they have.

    >>> K.eval(K.switch(K.constant([1, 0]), K.ones((2, 2)), K.zeros((2, 2)))).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    a, b = node_of(_value(then_expression)), node_of(_value(else_expression))
    c = node_of(condition)
    if c.ndim > max(a.ndim, b.ndim):
        raise ValueError("Rank of `condition` should be less than or equal to rank of `then_expression` and "
                         "`else_expression`. ndim(condition)=" + str(c.ndim) + ", ndim(then_expression)=" + str(a.ndim))
    if 0 < c.ndim < a.ndim:
        c = sh.reshape(c, shape=c.shape + (1,) * (a.ndim - c.ndim))
    return Tensor(ew.select(c, a, b))


# ------------------------------------------------------------------ closing a Python function over its outside
def close(outputs: Sequence[Node], inner: Sequence[Node], name: str) -> tuple[Graph, list[Node]]:
    """A body graph from nodes built on the stand-ins `inner`, and the outer nodes it needs as further inputs.

    Whatever does not depend on a stand-in is taken from outside whole, so it is computed once, not per step.
    """
    inside = set(inner)
    order = topological(outputs)
    for node in order:
        if any(i in inside for i in node.inputs):
            inside.add(node)
    outer: dict[Node, Node] = {}

    def bring(node: Node) -> Node:
        if node.op.name == "const" and node.ndim == 0 or node.op.name == "phase":
            return node
        if node not in outer:
            outer[node] = new_input(node.t, f"outer{len(outer)}")
        return outer[node]
    new: dict[Node, Node] = {n: n for n in inner}
    for node in order:
        if node in inside and node not in new:
            new[node] = replace_inputs(node, tuple(new[i] if i in inside else bring(i) for i in node.inputs))
    roots = tuple(new[o] if o in inside else bring(o) for o in outputs)
    return Graph((*inner, *outer.values()), roots, name=name), list(outer)


def loop(step: Callable[[list[Node], list[Node]], tuple[list[Node], list[Node]]], carry: Sequence[Node],
         xs: Sequence[Node], length: Dim, reverse: bool = False, name: str = "step") -> tuple[list[Node], list[Node]]:
    """step(carries, slices) -> (carries, outputs) along the leading axis of `xs`; the last carries and stacked
    outputs."""
    c = [new_input(n.t, f"state{i}") for i, n in enumerate(carry)]
    x = [new_input(TensorType(n.dtype, n.shape[1:]), f"x{i}") for i, n in enumerate(xs)]
    counter = new_input(TensorType("uint32", ()), "random_step")
    with inside_loop(counter):
        new_c, ys = step(c, x)
    new_c = [ew.cast(a, b.dtype) for a, b in zip(new_c, c)]
    if counter in topological([*new_c, *ys]):
        x, xs = [*x, counter], [*xs, loop_steps(length)]
    body, outer = close([*new_c, *ys], [*c, *x], name)
    out = ctl.scan(body, list(carry), list(xs), outer, length, reverse)
    return list(out[:len(c)]), list(out[len(c):])


def map_fn(fn: Callable[[Any], Any], elems: Any, name: str | None = None, dtype: Any = None) -> Any:
    """`fn` of each element along axis 0, stacked: (n, …) becomes (n, …).

    `elems` may be several tensors: `fn` then takes a tuple.  `fn` may return several: so does `map_fn`, in a list.

    >>> K.eval(K.map_fn(K.sum, K.constant([[1., 2.], [3., 4.]]))).tolist()
    [3.0, 7.0]
    """
    nodes = [node_of(e) for e in (elems if isinstance(elems, (list, tuple)) else [elems])]
    several = []

    def step(_: list[Node], x: list[Node]) -> tuple[list[Node], list[Node]]:
        arg = [Tensor(i) for i in x]
        y = fn(tuple(arg) if isinstance(elems, (list, tuple)) else arg[0])
        several.append(isinstance(y, (list, tuple)))
        ys = [node_of(i) for i in y] if several[-1] else [node_of(y)]
        kinds = dtype if isinstance(dtype, (list, tuple)) else [dtype] * len(ys)
        return [], [ew.cast(i, kind) if kind else i for i, kind in zip(ys, kinds, strict=True)]
    out = [Tensor(y) for y in loop(step, [], nodes, nodes[0].shape[0], name=name or "map")[1]]
    return out if several[-1] else out[0]


def _fold(fn: Callable[..., Tensor], elems: Any, initializer: Any, reverse: bool, name: str) -> Tensor:
    node = node_of(elems)
    elems = Tensor(node)
    if initializer is None:
        initializer = elems[-1] if reverse else elems[0]
        node = (elems[:-1] if reverse else elems[1:]).node

    def step(c: list[Node], x: list[Node]) -> tuple[list[Node], list[Node]]:
        return [node_of(fn(Tensor(c[0]), Tensor(x[0])))], []
    return Tensor(loop(step, [node_of(initializer)], [node], node.shape[0], reverse, name)[0][0])


def foldl(
    fn: Callable[[Tensor, Tensor], Tensor], elems: Tensor, initializer: Any = None, name: str | None = None
) -> Tensor:
    """fn(accumulator, element) over axis 0, first to last; it starts with `initializer`, or the first element.

    >>> float(K.eval(K.foldl(lambda a, x: a * 2 + x, K.constant([1., 2., 3.]))))
    11.0
    """
    return _fold(fn, elems, initializer, False, name or "foldl")


def foldr(
    fn: Callable[[Tensor, Tensor], Tensor], elems: Tensor, initializer: Any = None, name: str | None = None
) -> Tensor:
    """fn(accumulator, element) over axis 0, last to first; it starts with `initializer`, or the last element.

    >>> float(K.eval(K.foldr(lambda a, x: a * 2 + x, K.constant([1., 2., 3.]))))
    17.0
    """
    return _fold(fn, elems, initializer, True, name or "foldr")


def _cumulate(x: Tensor, axis: int, op: Callable[[Node, Node], Node], start: int) -> Tensor:
    node = node_of(x)
    axis = checked_axis(axis, node.ndim)
    perm = (axis, *[i for i in range(node.ndim) if i != axis])
    moved = sh.transpose(node, perm=perm)
    first = sh.broadcast_to(node_of(start, node.dtype), moved.shape[1:])

    def step(c: list[Node], xs: list[Node]) -> tuple[list[Node], list[Node]]:
        y = op(c[0], xs[0])
        return [y], [y]
    out = loop(step, [first], [moved], moved.shape[0], name="cumulate")[1][0]
    return Tensor(sh.transpose(out, perm=sh.inverse_perm(perm)))


def cumsum(x: Tensor, axis: int = 0) -> Tensor:
    """Running sums along `axis`; the shape stays.

    >>> K.eval(K.cumsum(K.constant([1., 2., 3.]))).tolist()
    [1.0, 3.0, 6.0]
    """
    return _cumulate(x, axis, ew.add, 0)


def cumprod(x: Tensor, axis: int = 0) -> Tensor:
    """Running products along `axis`; the shape stays.

    >>> K.eval(K.cumprod(K.constant([1., 2., 3.]))).tolist()
    [1.0, 2.0, 6.0]
    """
    return _cumulate(x, axis, ew.mul, 1)


def print_tensor(x: Tensor, message: str = "") -> Tensor:
    """`x`, which is printed after `message` by each call of a function that uses what is returned here.

    NotImplementedError inside a loop (`K.rnn`, `K.map_fn`, …), when the function is first called.

    >>> from graphk import backend as K
    >>> x = K.placeholder((None,))
    >>> _ = K.function([x], [K.print_tensor(x * 2, "twice: ") + 1])([[1, 2]])
    twice: [2. 4.]
    """
    return Tensor(watch(node_of(x), str(message)))


__all__ = [
    "learning_phase",
    "set_learning_phase",
    "in_train_phase",
    "in_test_phase",
    "switch",
    "map_fn",
    "foldl",
    "foldr",
    "cumsum",
    "cumprod",
    "print_tensor",
]
