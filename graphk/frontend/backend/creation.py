"""Making tensors and variables, and what can be said of them.

In: shapes, values, names.  Out: tensors and variables; shapes, types, counts.
What always holds: a None in a placeholder's shape is a fresh symbolic size; variables made inside a
`name_scope` carry its name as a prefix.
"""
from __future__ import annotations

import itertools
from collections import defaultdict
from contextlib import contextmanager
from typing import Any, Iterator, Sequence

import numpy as np

from graphk.frontend import seeds
from graphk.frontend.backend.common import computed_dtype, floatx
from graphk.frontend.backend.values import eval
from graphk.frontend.numpy_calls import numbers
from graphk.frontend.sparse import dense, is_sparse_matrix
from graphk.frontend.tensor import ShapeTensor, Tensor, Variable, as_shape, forget_first_values, node_of
from graphk.ir.dims import sym
from graphk.ir.opdef import const
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import shape as sh
from graphk.ir.ops.leaves import new_input
from graphk.ir.types import TensorType
from graphk.runtime.writes import Unwritten

BATCH = sym("n")                             # the batch size that all Input layers share
_fresh = itertools.count(1)
_uids: dict[str, int] = defaultdict(int)
_scopes: list[str] = []


# ------------------------------------------------------------------ names
def get_uid(prefix: str = "") -> int:
    """1 for the first use of `prefix`, then 2, 3, …

    >>> K.get_uid('block'), K.get_uid('block'), K.get_uid('other')
    (1, 2, 1)
    """
    _uids[prefix] += 1
    return _uids[prefix]


def reset_uids() -> None:
    """Start all name counters again.

    >>> _ = K.get_uid('block')
    >>> K.reset_uids()
    >>> K.get_uid('block')
    1
    """
    _uids.clear()


@contextmanager
def kept_uids() -> Iterator[None]:
    """Where an error is raised inside, the name counters are again what they were."""
    before = dict(_uids)
    try:
        yield
    except BaseException:
        _uids.clear()
        _uids.update(before)
        raise


def clear_session() -> None:
    """Forget name counters, the frozen learning phase, what the session has compiled, and variables' first values.

    >>> K.set_learning_phase(1)
    >>> K.clear_session()
    >>> K.is_tensor(K.learning_phase())
    True
    """
    from graphk.frontend.backend import control, random_ops, session
    reset_uids()
    control.reset_learning_phase()
    random_ops.reset_step()
    session.get_session().close()
    forget_first_values()


@contextmanager
def name_scope(name: str) -> Iterator[str]:
    """Variables made inside are named `name/…`.

    >>> with K.name_scope('block'):
    ...     K.zeros((2,), name='w').name
    'block/w:0'
    """
    _scopes.append(name)
    try:
        yield "/".join(_scopes)
    finally:
        _scopes.pop()


# ------------------------------------------------------------------ leaves
def fresh_dim() -> Any:
    """A new symbolic size."""
    return sym(f"d{next(_fresh)}")


def placeholder(shape: Sequence[int | None] | None = None, ndim: int | None = None, dtype: str | None = None,
                sparse: bool = False, name: str | None = None) -> Tensor:
    """An input of a function; None in `shape` is a size known only at call time.

    ValueError without `shape` and `ndim`.  sparse: what `K.is_sparse` says of it; sparse matrices may be fed to any
    placeholder.

    >>> K.placeholder((2, None, 5)).shape
    (2, None, 5)
    """
    if shape is None:
        if ndim is None:
            raise ValueError("Specify either a shape or ndim value.")
        shape = (None,) * ndim
    dims = tuple(fresh_dim() if d is None else d for d in as_dims_or_none(shape))
    kind = computed_dtype(dtype or floatx(), f"the placeholder `{name or ''}`")
    node = new_input(TensorType(kind, dims), name or f"placeholder_{get_uid('placeholder')}")
    x = Tensor(node)
    x._keras_shape = tuple(x.shape.as_list())
    return mark_sparse(x) if sparse else x


def as_dims_or_none(shape: Any) -> tuple[Any, ...]:
    """A shape whose entries may be None."""
    if isinstance(shape, Tensor):
        return as_shape(shape)
    if isinstance(shape, (int, np.integer)):
        return (int(shape),)
    return tuple(None if d is None else as_shape((d,))[0] for d in shape)


def is_placeholder(x: Any) -> bool:
    """Whether `x` is an input made by `placeholder` or `Input`.

    >>> x = K.placeholder((2,))
    >>> K.is_placeholder(x), K.is_placeholder(x + 1)
    (True, False)
    """
    return isinstance(x, Tensor) and x.node.op.name == "input"


def variable(value: Any, dtype: str | None = None, name: str | None = None, constraint: Any = None) -> Variable:
    """A variable that starts as `value`: an array, a number, a sparse matrix, or a tensor, which is evaluated.

    >>> K.dtype(K.variable([1, 2]))
    'float32'
    """
    if value is None:
        raise ValueError(f"K.variable `{name or ''}` was given None; expected its first value: an array, a number or a "
                         f"tensor.")
    if isinstance(value, Tensor):
        value = eval(value)
    full = "/".join([*_scopes, name or "Variable"])
    kind = computed_dtype(dtype or floatx(), f"the variable `{name or ''}`")
    data = value if isinstance(value, Unwritten) else numbers(
        dense(value), kind, f"K.variable `{name or ''}`")
    v = Variable(data, name=full if full.endswith(":0") else full + ":0", constraint=constraint)
    if not isinstance(data, Unwritten):
        kept = data if data is not value and data.base is None else data.copy()
        v.first = lambda: kept
    v._keras_shape = tuple(v.shape.as_list())
    v._uses_learning_phase = False
    return mark_sparse(v) if is_sparse_matrix(value) else v


def constant(value: Any, dtype: str | None = None, shape: Any = None, name: str | None = None) -> Tensor:
    """A constant tensor of the shape of `value`; with `shape`, a single `value` fills it.

    >>> K.eval(K.constant(3, shape=(2, 2))).tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    node = const(numbers(value, dtype or floatx(), "K.constant"))
    if shape is not None:
        dims = as_shape(shape)
        node = sh.broadcast_to(node, dims) if node.t.size == 1 and node.ndim <= len(dims) else \
            sh.reshape(node, shape=dims)
    return Tensor(node, name)


def zeros(shape: Any, dtype: str | None = None, name: str | None = None) -> Tensor:
    """A variable of zeros (a tensor, if the shape is symbolic).

    >>> K.eval(K.zeros((2, 3))).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return _filled(0, shape, dtype, name)


def ones(shape: Any, dtype: str | None = None, name: str | None = None) -> Tensor:
    """A variable of ones (a tensor, if the shape is symbolic).

    >>> K.ones(K.shape(K.placeholder((None, 3)))).shape
    (None, 3)
    """
    return _filled(1, shape, dtype, name)


def _filled(value: int, shape: Any, dtype: str | None, name: str | None) -> Tensor:
    dims = as_shape(shape)
    dtype = computed_dtype(dtype or floatx(), f"the variable `{name or ''}`")
    if all(isinstance(d, int) for d in dims):
        out = variable(np.full(dims, value, dtype), dtype, name)
        out.first = lambda: np.full(out.array.shape, value, dtype)
        return out
    return Tensor(sh.broadcast_to(const(value, dtype), dims), name)


def eye(size: Any, dtype: str | None = None, name: str | None = None) -> Variable:
    """A variable holding the identity matrix (size, size); `size` may be a pair.

    >>> K.eval(K.eye(2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    shape: Any = as_shape(size)
    return variable(np.eye(shape[0], shape[-1]), dtype, name)


def zeros_like(x: Tensor, dtype: str | None = None, name: str | None = None) -> Tensor:
    """Zeros of the shape of `x`, and of its type unless `dtype` is given.

    >>> K.zeros_like(K.placeholder((None, 3))).shape
    (None, 3)
    """
    node = node_of(x)
    return Tensor(sh.broadcast_to(const(0, dtype or node.dtype), node.shape), name)


def ones_like(x: Tensor, dtype: str | None = None, name: str | None = None) -> Tensor:
    """Ones of the shape of `x`, and of its type unless `dtype` is given.

    >>> K.eval(K.ones_like(K.constant([5., 7.]), dtype='int32')).tolist()
    [1, 1]
    """
    node = node_of(x)
    return Tensor(sh.broadcast_to(const(1, dtype or node.dtype), node.shape), name)


def identity(x: Tensor, name: str | None = None) -> Tensor:
    """Another handle of the same value, with a name of its own.

    >>> K.identity(K.placeholder((None, 3)), name='copy').shape
    (None, 3)
    """
    y = Tensor(node_of(x), name)
    if hasattr(x, "_keras_shape"):
        y._keras_shape = x._keras_shape
    return y


def random_uniform_variable(shape: Any, low: float, high: float, dtype: str | None = None, name: str | None = None,
                            seed: int | None = None) -> Variable:
    """A variable of the given shape, of uniform numbers in [low, high).

    >>> K.eval(K.random_uniform_variable((2, 3), 0, 1, seed=1)).shape
    (2, 3)
    """
    return variable(numpy_rng(seed).uniform(low, high, as_shape(shape)), dtype, name)


def random_normal_variable(shape: Any, mean: float, scale: float, dtype: str | None = None, name: str | None = None,
                           seed: int | None = None) -> Variable:
    """A variable of the given shape, of normal numbers with mean `mean` and standard deviation `scale`.

    >>> K.random_normal_variable((2, 3), 0, 1, seed=1).shape
    (2, 3)
    """
    return variable(numpy_rng(seed).normal(mean, scale, as_shape(shape)), dtype, name)


def numpy_rng(seed: int | None) -> np.random.RandomState:
    """A generator for `seed`; for None one that the global numpy seed determines."""
    return np.random.RandomState(seeds.drawn(10 ** 9) if seed is None else seed)


# ------------------------------------------------------------------ what a tensor is
def is_tensor(x: Any) -> bool:
    """Whether `x` is symbolic.

    >>> K.is_tensor(K.zeros((2,))), K.is_tensor(np.zeros(2))
    (True, False)
    """
    return isinstance(x, Tensor)


def is_variable(x: Any) -> bool:
    """Whether `x` is a variable.

    >>> K.is_variable(K.zeros((2,))), K.is_variable(K.placeholder((2,)))
    (True, False)
    """
    return isinstance(x, Variable)


def is_keras_tensor(x: Any) -> bool:
    """Whether a layer (or `Input`) returned `x`; ValueError if it is not symbolic at all.

    >>> from graphk.layers import Input
    >>> K.is_keras_tensor(Input((2,))), K.is_keras_tensor(K.placeholder((2,)))
    (True, False)
    """
    if not isinstance(x, Tensor):
        raise ValueError("Unexpectedly found an instance of type `" + str(type(x)) + "`. "
                         "Expected a symbolic tensor instance.")
    return hasattr(x, "_keras_history")


def is_sparse(tensor: Any) -> bool:
    """Whether `tensor` was made sparse: by a placeholder or Input with `sparse=True`, by a sparse matrix as the value
    of a variable, or by joining such tensors.  Inside, it is as dense as any other.

    >>> from graphk import backend as K
    >>> K.is_sparse(K.placeholder((2, 2), sparse=True)), K.is_sparse(K.placeholder((2, 2)))
    (True, False)
    """
    return getattr(tensor, "_sparse", False)


def mark_sparse(x: Any) -> Any:
    """`x`, of which `is_sparse` says True from now on."""
    x._sparse = True
    return x


def to_dense(tensor: Tensor) -> Tensor:
    """The same values in a tensor that is not sparse.

    >>> from graphk import backend as K
    >>> K.is_sparse(K.to_dense(K.placeholder((2, 2), sparse=True)))
    False
    """
    return identity(tensor) if is_sparse(tensor) else tensor


def shape(x: Tensor) -> ShapeTensor:
    """The symbolic shape, an int32 vector; it, or parts of it, may be used as a shape.

    >>> x = K.placeholder((None, 3))
    >>> K.function([x], [K.shape(x)])([np.ones((5, 3))])[0].tolist()
    [5, 3]
    """
    return ShapeTensor(node_of(x).shape)


def int_shape(x: Any) -> Any:
    """The static shape, None for unknown sizes; None if `x` has no shape.

    >>> K.int_shape(K.placeholder((None, 3)))
    (None, 3)
    """
    if hasattr(x, "_keras_shape"):
        return x._keras_shape
    try:
        return tuple(x.shape.as_list() if isinstance(x, Tensor) else x.shape)
    except (AttributeError, TypeError):
        return None


def ndim(x: Any) -> int:
    """The number of axes.

    >>> K.ndim(K.placeholder((None, 3)))
    2
    """
    return x.ndim


def dtype(x: Any) -> str:
    """The type of the elements, as a string.

    >>> K.dtype(K.placeholder((2,), dtype='float64'))
    'float64'
    """
    return str(np.dtype(x.dtype))


def count_params(x: Any) -> int:
    """The number of elements of a variable, or of a tensor whose sizes are known.

    >>> K.count_params(K.zeros((2, 3)))
    6
    """
    shape = int_shape(x)
    if shape is None or None in shape:
        raise ValueError(f"K.count_params: the number of elements of a tensor of shape {shape} is not known before a "
                         f"call; K.size(x) computes it there.")
    return int(np.prod(shape, dtype=np.int64))


def size(x: Tensor, name: str | None = None) -> Tensor:
    """The number of elements, an int32 scalar.

    >>> int(K.eval(K.size(K.zeros((2, 3)))))
    6
    """
    return Tensor(sh.dim_value(node_of(x).t.size, "int32"), name)


def get_variable_shape(x: Any) -> tuple[int | None, ...] | None:
    """The static shape of a variable.

    >>> K.get_variable_shape(K.zeros((2, 3)))
    (2, 3)
    """
    return int_shape(x)


def cast(x: Any, dtype: str) -> Tensor:
    """`x` in another element type.

    >>> K.eval(K.cast(K.constant([1.5, -1.5]), 'int32')).tolist()
    [1, -1]
    """
    return Tensor(ew.cast(node_of(x), computed_dtype(dtype, "a cast")))


__all__ = ["get_uid", "reset_uids", "clear_session", "name_scope", "placeholder", "is_placeholder", "variable",
           "constant", "zeros", "ones", "eye", "zeros_like", "ones_like", "identity", "random_uniform_variable",
           "random_normal_variable", "is_tensor", "is_variable", "is_keras_tensor", "is_sparse", "to_dense", "shape",
           "int_shape", "ndim", "dtype", "count_params", "size", "get_variable_shape", "cast"]
