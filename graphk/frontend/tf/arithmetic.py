"""TensorFlow's elementwise functions, comparisons, reductions and products.

In: tensors, arrays, numbers.  Out: tensors.  What always holds: each is one function of `K`, or one op.
"""
from __future__ import annotations

from typing import Any, Callable

from graphk.frontend import backend as K
from graphk.frontend.tensor import Tensor, node_of
from graphk.frontend.tf.names import named
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops.contract import dot, tensordot


def _unary(function: Callable[[Any], Any], *names: str) -> None:
    def computed(x: Any) -> Any:
        return function(x)
    named(*names)(computed)


def _binary(function: Callable[[Any, Any], Any], *names: str) -> None:
    def computed(x: Any, y: Any) -> Any:
        return function(x, y)
    named(*names)(computed)


def _op(op: Callable[..., Any]) -> Callable[..., Tensor]:
    return lambda *xs: Tensor(op(*[node_of(x) for x in xs]))


for _function, _names in [
        (K.abs, "abs"), (K.square, "square"), (K.exp, "exp"), (_op(ew.log), "log"), (_op(ew.sqrt), "sqrt"),
        (K.sign, "sign"), (K.sin, "sin"), (K.cos, "cos"), (K.round, "round"), (_op(ew.rsqrt), "rsqrt"),
        (_op(ew.expm1), "expm1"), (_op(ew.log1p), "log1p"), (_op(ew.erf), "erf"), (_op(ew.floor), "floor"),
        (_op(ew.ceil), "ceil"), (_op(ew.neg), "negative"), (_op(ew.is_nan), "is_nan"), (_op(ew.is_inf), "is_inf"),
        (_op(ew.logical_not), "logical_not")]:
    _unary(_function, _names, f"math.{_names}")
for _name in ("tanh", "sigmoid"):
    _unary(getattr(K, _name), _name, f"math.{_name}", f"nn.{_name}")
_unary(_op(ew.neg), "neg")
_unary(lambda x: 1 / K.identity(x), "reciprocal", "math.reciprocal")
_unary(lambda x: _op(ew.logical_not)(_op(ew.logical_or)(_op(ew.is_nan)(x), _op(ew.is_inf)(x))), "is_finite",
       "math.is_finite")

for _function2, _names in [
        (_op(ew.add), "add"), (_op(ew.sub), "subtract"), (_op(ew.mul), "multiply"), (_op(ew.floordiv), "floordiv"),
        (_op(ew.mod), "mod"), (K.maximum, "maximum"), (K.minimum, "minimum"), (K.equal, "equal"),
        (K.not_equal, "not_equal"), (K.greater, "greater"), (K.greater_equal, "greater_equal"), (K.less, "less"),
        (K.less_equal, "less_equal"), (_op(ew.logical_and), "logical_and"), (_op(ew.logical_or), "logical_or")]:
    _binary(_function2, _names, f"math.{_names}")
_binary(_op(ew.sub), "sub")
_binary(_op(ew.mul), "mul")
_binary(lambda x, y: K.identity(x) / y, "divide", "truediv", "math.divide", "math.truediv")
_binary(lambda x, y: K.switch(K.equal(y, 0.), K.zeros_like(x / y), x / K.switch(K.equal(y, 0.), K.ones_like(y), y)),
        "math.divide_no_nan", "div_no_nan")
_binary(lambda x, y: K.square(K.identity(x) - y), "squared_difference", "math.squared_difference")
_binary(lambda x, y: K.pow(x, y), "pow", "math.pow")


@named("div", "math.div")
def div(x: Any, y: Any) -> Tensor:
    """x / y; of integers the largest integer below, as in Python 2."""
    x, y = K.identity(x), K.identity(y)
    return Tensor(ew.floordiv(x.node, y.node)) if x.dtype.startswith("int") and y.dtype.startswith("int") else x / y


@named("clip_by_value")
def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any) -> Tensor:
    """`t` between two bounds, which may be tensors."""
    return K.minimum(K.maximum(t, clip_value_min), clip_value_max)


@named("add_n", "math.add_n")
def add_n(inputs: Any) -> Tensor:
    """The sum of several tensors."""
    total = K.identity(inputs[0])
    for x in inputs[1:]:
        total = total + x
    return total


@named("where", "select", "where_v2", "compat.v2.where")
def where(condition: Any, x: Any = None, y: Any = None) -> Tensor:
    """`x` where `condition` holds, else `y`, elementwise.

    ValueError without `x` and `y` (how many places there are is known only when it runs), and for a condition of one
    axis over tensors of several, of which TensorFlow 1 makes rows and TensorFlow 2 columns.
    """
    if x is None or y is None:
        raise ValueError("tf.where(condition) lists places, whose number is known only when it runs; graphk's shapes "
                         "are known before. Give x and y, or multiply by the condition as numbers.")
    c, a, b = node_of(condition), node_of(x), node_of(y)
    if c.ndim == 1 < max(a.ndim, b.ndim):
        raise ValueError(f"tf.where of a condition of shape {Tensor(c).shape} over tensors of shapes {Tensor(a).shape} "
                         f"and {Tensor(b).shape}: TensorFlow 1 chooses rows, TensorFlow 2 columns. Give the condition "
                         "all axes with tf.expand_dims or tf.reshape.")
    return Tensor(ew.select(c if c.dtype == "bool" else ew.cast(c, "bool"), a, b))


# ------------------------------------------------------------------ reductions
def _reduction(function: Callable[..., Tensor], name: str) -> None:
    def reduced(input_tensor: Any, axis: Any = None, keepdims: Any = None, *, reduction_indices: Any = None,
                keep_dims: Any = None) -> Tensor:
        return function(input_tensor, axis=reduction_indices if axis is None else axis,
                        keepdims=bool(keepdims or keep_dims))
    reduced.__doc__ = f"`K.{function.__name__}` under TensorFlow's names of its arguments."
    named(name, f"math.{name}")(reduced)


for _function, _name in [(K.sum, "sum"), (K.mean, "mean"), (K.max, "max"), (K.min, "min"), (K.prod, "prod"),
                         (K.any, "any"), (K.all, "all"), (K.logsumexp, "logsumexp"), (K.var, "variance"),
                         (K.std, "std")]:
    _reduction(_function, f"reduce_{_name}")


def _extreme(function: Callable[..., Tensor], name: str) -> None:
    def place(input: Any, axis: Any = None, dimension: Any = None, output_type: str = "int64") -> Tensor:
        chosen = dimension if axis is None else axis
        return K.cast(function(input, 0 if chosen is None else chosen), output_type)
    place.__doc__ = f"`K.{name}`, by default along the first axis."
    named(name, f"math.{name}")(place)


_extreme(K.argmax, "argmax")
_extreme(K.argmin, "argmin")


@named("cumsum", "math.cumsum")
def cumsum(x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Sums along `axis` up to each element; `exclusive`: without it; `reverse`: from the end."""
    x = K.identity(x)
    sums = K.cumsum(K.reverse(x, axis) if reverse else x, axis)
    sums = K.reverse(sums, axis) if reverse else sums
    return sums - x if exclusive else sums


@named("norm", "linalg.norm")
def norm(tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: bool = False) -> Tensor:
    """The Euclidean norm over `axis`, or that of order 1; ValueError for others."""
    if ord in ("euclidean", 2) and (ord != 2 or isinstance(axis, int)):
        return Tensor(ew.sqrt(K.sum(K.square(tensor), axis, keepdims).node))
    if ord == 1 and isinstance(axis, int):
        return K.sum(K.abs(tensor), axis, keepdims)
    raise ValueError(f"tf.norm with ord={ord!r}, axis={axis!r}: graphk has the Euclidean norm, and orders 1 and 2 over "
                     "one axis")


# ------------------------------------------------------------------ products
@named("matmul", "linalg.matmul", "batch_matmul")
def matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    """The product of matrices, or of stacks of them, whose leading axes must be the same; `b` may be one matrix.

    ValueError for tensors of fewer than two axes, and for stacks of different numbers of axes.
    """
    x, y = node_of(a), node_of(b)
    if min(x.ndim, y.ndim) < 2 or y.ndim not in (2, x.ndim):
        raise ValueError(f"tf.matmul takes matrices, or stacks of them with the same leading axes; received shapes "
                         f"{Tensor(x).shape} and {Tensor(y).shape}. Use tf.tensordot, or repeat one with tf.tile.")
    lead = tuple(range(y.ndim - 2))
    i, j = x.ndim - (2 if transpose_a else 1), y.ndim - (1 if transpose_b else 2)
    if transpose_a and x.ndim != y.ndim:
        raise ValueError(f"tf.matmul(transpose_a=True) of a stack {Tensor(x).shape} and one matrix {Tensor(y).shape}: "
                         "turn the stack with tf.transpose first.")
    return Tensor(dot(x, y, contract=((i,), (j,)), batch=(lead, lead)))


@named("tensordot", "linalg.tensordot")
def _tensordot(a: Any, b: Any, axes: Any) -> Tensor:
    """The sum of products over axes of both: a number of them (the last of `a`, the first of `b`), or two lists."""
    return Tensor(tensordot(node_of(a), node_of(b), axes))
