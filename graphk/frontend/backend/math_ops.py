"""Arithmetic of tensors: products, reductions, elementwise functions, comparisons, gradients.

In: tensors (numbers and arrays are taken where a tensor is).  Out: tensors.  What always holds: the
names, argument orders and special cases are those of Keras 2.2's backend.
"""
from __future__ import annotations

import builtins
from typing import Any, Sequence

from graphk.frontend import config
from graphk.frontend.backend.common import floatx, stacked, whole
from graphk.frontend.tensor import Tensor, node_of, operands, power
from graphk.ir.node import Node
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import nn
from graphk.ir.ops import reduce as red
from graphk.ir.ops import shape as sh
from graphk.ir.ops.contract import dot as ir_dot


# ------------------------------------------------------------------ products
def dot(x: Any, y: Any) -> Tensor:
    """The product over the last axis of `x` and the last but one of `y`: (…, k)·(…, k, m).

    >>> from graphk import backend as K
    >>> K.dot(K.placeholder((2, 3)), K.ones((4, 3, 5))).shape
    (2, 4, 5)
    """
    a, b = node_of(x), node_of(y)
    if not a.ndim or not b.ndim:
        raise ValueError(f"K.dot takes tensors of at least one axis; received shapes {Tensor(a).shape} and "
                         f"{Tensor(b).shape}. Multiply by a scalar with `*`.")
    return Tensor(ir_dot(a, b))


def batch_dot(x: Any, y: Any, axes: Any = None) -> Tensor:
    """The product of each sample of `x` with the same sample of `y`, over one axis of each.

    axes: int or pair, the axes to sum over (default: last of x and last but one of y, or last of a
    matrix y).  The result has at least 2 axes: (n,) becomes (n, 1).  Between tensors of four or more axes, all
    but the last two axes count as samples, as in Keras 2.2 on TensorFlow (in Keras 2.3 only the first).

    >>> K.batch_dot(K.placeholder((32, 20, 4)), K.placeholder((32, 30, 20)), axes=(1, 2)).shape
    (32, 4, 30)
    """
    a, b = node_of(x), node_of(y)
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"Cannot do batch_dot on inputs with rank < 2. Received inputs with shapes "
                         f"{Tensor(a).shape} and {Tensor(b).shape}.")
    i, j = _dot_axes(axes, a, b)
    if builtins.max(a.ndim, b.ndim) > 3 and config.keras_semantics() == "2.2":
        wide = _batch_matmul(a, b, i, j)
        if wide is not None:
            return Tensor(wide)
    out = ir_dot(a, b, contract=((i,), (j,)), batch=((0,), (0,)))
    return Tensor(sh.reshape(out, shape=out.shape + (1,)) if out.ndim == 1 else out)


def _dot_axes(axes: Any, a: Node, b: Node) -> tuple[int, int]:
    if axes is None:
        axes = (a.ndim - 1, b.ndim - 1 if b.ndim == 2 else b.ndim - 2)
    elif isinstance(axes, int):
        axes = (axes, axes)
    if len(axes) != 2 or builtins.any(isinstance(i, (list, tuple)) for i in axes):
        raise ValueError("Multiple target dimensions are not supported. Expected: None, int, (int, int), Provided: "
                         + str(axes))
    i, j = axes[0] % a.ndim, axes[1] % b.ndim
    if i == 0 or j == 0:
        raise ValueError("Cannot perform batch_dot over axis 0. If your inputs are not batched, add a dummy batch "
                         "dimension to your inputs using K.expand_dims(x, 0)")
    p, q = a.shape[i], b.shape[j]
    if isinstance(p, int) and isinstance(q, int) and p != q:
        raise ValueError(f"Cannot do batch_dot on inputs with shapes {Tensor(a).shape} and {Tensor(b).shape} "
                         f"with axes={[i, j]}. x.shape[{i}] != y.shape[{j}] ({p} != {q}).")
    return i, j


def _batch_matmul(a: Node, b: Node, i: int, j: int) -> Node | None:
    """All but the last two axes as batch axes; the tensor of lower rank gets axes of extent 1 at its end."""
    rank = builtins.max(a.ndim, b.ndim)
    drop_x, drop_y = rank - a.ndim, rank - b.ndim
    a = sh.reshape(a, shape=a.shape + (1,) * drop_x) if drop_x else a
    b = sh.reshape(b, shape=b.shape + (1,) * drop_y) if drop_y else b
    if i < rank - 2 or j < rank - 2:
        return None
    lead = tuple(range(rank - 2))
    out = ir_dot(a, b, contract=((i,), (j,)), batch=(lead, lead))
    gone = ({rank - 2} if drop_x else set()) | ({rank - 1} if drop_y else set())
    return sh.reshape(out, shape=tuple(d for k, d in enumerate(out.shape) if k not in gone)) if gone else out


def transpose(x: Any) -> Tensor:
    """All axes in reverse order.

    >>> K.transpose(K.placeholder((2, 3))).shape
    (3, 2)
    """
    return Tensor(sh.transpose(node_of(x)))


def gather(reference: Any, indices: Any) -> Tensor:
    """Rows of `reference` (rows, …) by integer `indices` (a, b): (a, b, …).

    >>> K.eval(K.gather(K.constant([[1., 2.], [3., 4.]]), K.constant([1, 1], dtype='int32'))).tolist()
    [[3.0, 4.0], [3.0, 4.0]]
    """
    return Tensor(sh.gather(node_of(reference), whole("K.gather", indices)))


# ------------------------------------------------------------------ reductions
def _axes(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, (list, tuple)) else axis


def _number(x: Any) -> Node:
    node = stacked(x)
    return ew.cast(node, "int32") if node.dtype == "bool" else node


def _real(x: Any) -> Node:
    node = stacked(x)
    return node if node.t.is_float else ew.cast(node, floatx())


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The largest element along `axis`: an int, several, or None for all; `keepdims` leaves these axes with 1 element.

    >>> K.eval(K.max(K.constant([[1., 2.], [3., 0.]]), axis=-1)).tolist()
    [2.0, 3.0]
    """
    return Tensor(red.max_(stacked(x), axes=_axes(axis), keepdims=keepdims))


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The smallest element along `axis`: an int, several, or None for all.

    >>> K.min(K.placeholder((None, 3, 4)), axis=(1, 2), keepdims=True).shape
    (None, 1, 1)
    """
    return Tensor(red.min_(stacked(x), axes=_axes(axis), keepdims=keepdims))


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The sum along `axis`: an int, several, or None for all.

    >>> float(K.eval(K.sum(K.constant([[1., 2.], [3., 4.]]))))
    10.0
    """
    return Tensor(red.sum_(_number(x), axes=_axes(axis), keepdims=keepdims))


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The product along `axis`: an int, several, or None for all.

    >>> K.eval(K.prod(K.constant([[1., 2.], [3., 4.]]), axis=0)).tolist()
    [3.0, 8.0]
    """
    return Tensor(red.prod(_number(x), axes=_axes(axis), keepdims=keepdims))


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The mean along `axis`: an int, several, or None for all; of integers an integer, of bools a share in `floatx`.

    >>> K.eval(K.mean(K.constant([[1., 2.], [3., 4.]]), axis=1)).tolist()
    [1.5, 3.5]
    """
    node = stacked(x)
    whole = not node.t.is_float and node.dtype != "bool"
    out = red.mean(ew.cast(node, "float64") if whole else _real(x), axes=_axes(axis), keepdims=keepdims)
    return Tensor(ew.cast(out, node.dtype) if whole else out)


def var(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The biased variance along `axis`.

    >>> float(K.eval(K.var(K.constant([1., 3.]))))
    1.0
    """
    return Tensor(red.variance(_real(x), axes=_axes(axis), keepdims=keepdims))


def std(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The biased standard deviation along `axis`.

    >>> float(K.eval(K.std(K.constant([1., 5.]))))
    2.0
    """
    return Tensor(ew.sqrt(var(x, axis, keepdims).node))


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether any element along `axis` is not zero.

    >>> K.eval(K.any(K.constant([[0, 2], [0, 0]]), axis=1)).tolist()
    [True, False]
    """
    return Tensor(red.any_(ew.cast(stacked(x), "bool"), axes=_axes(axis), keepdims=keepdims))


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether all elements along `axis` are not zero.

    >>> K.eval(K.all(K.constant([[1, 2], [0, 1]]), axis=1)).tolist()
    [True, False]
    """
    return Tensor(red.all_(ew.cast(stacked(x), "bool"), axes=_axes(axis), keepdims=keepdims))


def argmax(x: Any, axis: int = -1) -> Tensor:
    """The index of the first largest element along `axis` (int64).

    >>> K.eval(K.argmax(K.constant([[1., 3., 2.]]))).tolist()
    [1]
    """
    return Tensor(red.argmax(stacked(x), axis=axis))


def argmin(x: Any, axis: int = -1) -> Tensor:
    """The index of the first smallest element along `axis` (int64).

    >>> K.eval(K.argmin(K.constant([[1., 3., 2.]]), axis=0)).tolist()
    [0, 0, 0]
    """
    return Tensor(red.argmin(stacked(x), axis=axis))


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) along `axis`, without overflow.

    >>> float(K.eval(K.logsumexp(K.constant([1000., -1000.]))))
    1000.0
    """
    return Tensor(nn.logsumexp(_real(x), axes=_axes(axis), keepdims=keepdims))


# ------------------------------------------------------------------ elementwise
def square(x: Any) -> Tensor:
    """x * x.

    >>> K.eval(K.square(K.constant([2., -3.]))).tolist()
    [4.0, 9.0]
    """
    return Tensor(ew.square(node_of(x)))


def abs(x: Any) -> Tensor:
    """The absolute value.

    >>> K.eval(K.abs(K.constant([2., -3.]))).tolist()
    [2.0, 3.0]
    """
    return Tensor(ew.abs(node_of(x)))


def sqrt(x: Any) -> Tensor:
    """The square root; 0 for negative elements.

    >>> K.eval(K.sqrt(K.constant([4., -4.]))).tolist()
    [2.0, 0.0]
    """
    return Tensor(ew.sqrt(ew.max(_real(x), 0.0)))


def exp(x: Any) -> Tensor:
    """e to the x.

    >>> float(K.eval(K.exp(K.constant(0.))))
    1.0
    """
    return Tensor(ew.exp(_real(x)))


def log(x: Any) -> Tensor:
    """The natural logarithm.

    >>> float(K.eval(K.log(K.constant(1.))))
    0.0
    """
    return Tensor(ew.log(_real(x)))


def round(x: Any) -> Tensor:
    """The nearest integer, halves to even.

    >>> K.eval(K.round(K.constant([.5, 1.5, 2.4]))).tolist()
    [0.0, 2.0, 2.0]
    """
    node = node_of(x)
    return Tensor(ew.round(node) if node.t.is_float else node)


def sign(x: Any) -> Tensor:
    """-1, 0 or 1.

    >>> K.eval(K.sign(K.constant([-2., 0., 5.]))).tolist()
    [-1.0, 0.0, 1.0]
    """
    return Tensor(ew.sign(node_of(x)))


def pow(x: Any, a: Any) -> Tensor:
    """x to the a.

    >>> K.eval(K.pow(K.constant([2., -3.]), 3)).tolist()
    [8.0, -27.0]
    """
    return Tensor(power(node_of(x), a))


def clip(x: Any, min_value: Any, max_value: Any) -> Tensor:
    """`x` limited to [min_value, max_value].

    >>> K.eval(K.clip(K.constant([-2., .5, 5.]), -1, 1)).tolist()
    [-1.0, 0.5, 1.0]
    """
    if isinstance(max_value, (int, float)) and isinstance(min_value, (int, float)) and max_value < min_value:
        max_value = min_value
    node = node_of(x)
    if min_value is not None:
        node = ew.max(*operands(Tensor(node), min_value))
    if max_value is not None:
        node = ew.min(*operands(Tensor(node), max_value))
    return Tensor(node)


def sin(x: Any) -> Tensor:
    """The sine.

    >>> float(K.eval(K.sin(K.constant(0.))))
    0.0
    """
    return Tensor(ew.sin(_real(x)))


def cos(x: Any) -> Tensor:
    """The cosine.

    >>> float(K.eval(K.cos(K.constant(0.))))
    1.0
    """
    return Tensor(ew.cos(_real(x)))


def equal(x: Any, y: Any) -> Tensor:
    """x == y, elementwise, as bool.

    >>> K.eval(K.equal(K.constant([1., 2.]), 2.)).tolist()
    [False, True]
    """
    return Tensor(ew.eq(*operands(x, y)))


def not_equal(x: Any, y: Any) -> Tensor:
    """x != y, elementwise.

    >>> K.eval(K.not_equal(K.constant([1., 2.]), 2.)).tolist()
    [True, False]
    """
    return Tensor(ew.ne(*operands(x, y)))


def greater(x: Any, y: Any) -> Tensor:
    """x > y, elementwise.

    >>> K.eval(K.greater(K.constant([1., 2., 3.]), 2.)).tolist()
    [False, False, True]
    """
    return Tensor(ew.gt(*operands(x, y)))


def greater_equal(x: Any, y: Any) -> Tensor:
    """x >= y, elementwise.

    >>> K.eval(K.greater_equal(K.constant([1., 2., 3.]), 2.)).tolist()
    [False, True, True]
    """
    return Tensor(ew.ge(*operands(x, y)))


def less(x: Any, y: Any) -> Tensor:
    """x < y, elementwise.

    >>> K.eval(K.less(K.constant([1., 2., 3.]), 2.)).tolist()
    [True, False, False]
    """
    return Tensor(ew.lt(*operands(x, y)))


def less_equal(x: Any, y: Any) -> Tensor:
    """x <= y, elementwise.

    >>> K.eval(K.less_equal(K.constant([1., 2., 3.]), 2.)).tolist()
    [True, True, False]
    """
    return Tensor(ew.le(*operands(x, y)))


def maximum(x: Any, y: Any) -> Tensor:
    """The larger of two, elementwise.

    >>> K.eval(K.maximum(K.constant([1., 5.]), K.constant([[2.], [6.]]))).tolist()
    [[2.0, 5.0], [6.0, 6.0]]
    """
    return Tensor(ew.max(*operands(x, y)))


def minimum(x: Any, y: Any) -> Tensor:
    """The smaller of two, elementwise.

    >>> K.eval(K.minimum(K.constant([1., 5.]), 2.)).tolist()
    [1.0, 2.0]
    """
    return Tensor(ew.min(*operands(x, y)))


# ------------------------------------------------------------------ gradients
def gradients(loss: Any, variables: Any) -> list[Any]:
    """d loss / d variable for each variable, of the sum if there are several losses; None where none depends on it.

    >>> x = K.placeholder((None,))
    >>> K.function([x], K.gradients(K.sum(K.square(x)), [x]))([[1., 3.]])[0].tolist()
    [2.0, 6.0]
    """
    from graphk.passes.autodiff import gradients as ir_gradients
    loss = builtins.sum(sum(part) for part in loss) if isinstance(loss, (list, tuple)) else loss
    listed: Sequence[Tensor] = variables if isinstance(variables, (list, tuple)) else [variables]
    return [None if g is None else Tensor(g) for g in ir_gradients(node_of(loss), [node_of(v) for v in listed])]


def stop_gradient(variables: Any) -> Any:
    """`variables` (a tensor or a list) as constants to every gradient.

    >>> x = K.placeholder((None,))
    >>> K.function([x], K.gradients(K.sum(x * K.stop_gradient(x)), [x]))([[1., 3.]])[0].tolist()
    [1.0, 3.0]
    """
    if isinstance(variables, (list, tuple)):
        return [stop_gradient(v) for v in variables]
    return Tensor(ew.stop_gradient(node_of(variables)))


# ------------------------------------------------------------------ normalization
def normalize_batch_in_training(x: Tensor, gamma: Tensor | None, beta: Tensor | None, reduction_axes: Sequence[int],
                                epsilon: float = 1e-3) -> tuple[Tensor, Tensor, Tensor]:
    """`x` normalized by its own mean and variance over `reduction_axes`, and these two.

    >>> y, mean, var = K.normalize_batch_in_training(K.constant([[1.], [3.]]), None, None, [0], epsilon=0.)
    >>> K.eval(y).tolist(), K.eval(mean).tolist(), K.eval(var).tolist()
    ([[-1.0], [1.0]], [2.0], [1.0])
    """
    axes = list(reduction_axes)
    m, v = mean(x, axes, keepdims=True), var(x, axes, keepdims=True)
    full = node_of(m).shape
    own = tuple(d for i, d in enumerate(full) if i not in {a % x.ndim for a in axes})

    def spread(t: Tensor | None) -> Tensor | None:
        return None if t is None else Tensor(sh.reshape(t.node, shape=full))
    normed = batch_normalization(x, m, v, spread(beta), spread(gamma), epsilon=epsilon)
    return normed, Tensor(sh.reshape(m.node, shape=own)), Tensor(sh.reshape(v.node, shape=own))


def batch_normalization(x: Tensor, mean: Any, var: Any, beta: Any, gamma: Any, axis: int = -1,
                        epsilon: float = 1e-3) -> Tensor:
    """gamma * (x - mean) / sqrt(var + epsilon) + beta; the four broadcast against `x`, vectors along the
    integer `axis` (a fraction in its place is `epsilon`, which stood there before Keras 2.2).

    >>> K.eval(K.batch_normalization(K.constant([[5.]]), 3., 4., None, None, epsilon=0.)).tolist()
    [[1.0]]
    """
    axis, epsilon = (-1, axis) if isinstance(axis, float) else (axis, epsilon)
    def fit(t: Any) -> Any:
        if isinstance(t, Tensor) and t.ndim == 1 and x.ndim > 1 and axis not in (-1, x.ndim - 1):
            return Tensor(sh.reshape(t.node, shape=tuple(t.node.shape[0] if i == axis % x.ndim else 1
                                                         for i in range(x.ndim))))
        return t
    scale = Tensor(ew.rsqrt(node_of(fit(var) + epsilon)))
    if gamma is not None:
        scale = scale * fit(gamma)
    out = (x - fit(mean)) * scale
    return out if beta is None else out + fit(beta)


def l2_normalize(x: Tensor, axis: Any = None) -> Tensor:
    """`x` divided by its Euclidean length along `axis`.

    >>> K.eval(K.l2_normalize(K.constant([3., 4.]))).round(2).tolist() == [np.float32(.6), np.float32(.8)]
    True
    """
    total = sum(square(x), axis=axis, keepdims=True)
    return x * Tensor(ew.rsqrt(ew.max(total.node, 1e-12)))


__all__ = [
    "dot", "batch_dot", "transpose", "gather",
    "max", "min", "sum", "prod", "mean", "var", "std", "any", "all", "argmax", "argmin", "logsumexp",
    "square", "abs", "sqrt", "exp", "log", "round", "sign", "pow", "clip", "sin", "cos",
    "equal", "not_equal", "greater", "greater_equal", "less", "less_equal", "maximum", "minimum",
    "gradients", "stop_gradient", "normalize_batch_in_training", "batch_normalization", "l2_normalize"]
