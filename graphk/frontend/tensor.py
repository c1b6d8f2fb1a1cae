"""Tensors and variables: the handles that users hold.

In: interned IR nodes.  Out: `Tensor`, a handle that carries what Keras attaches to a tensor (its layer
history, static shape, mask, name), and `Variable`, a tensor whose value is one numpy array.
What always holds: a tensor's node never changes; a variable's array is allocated once, C-contiguous
and 64-byte aligned, and every later value is copied into it, because compiled code keeps its address;
`==` is identity, so tensors may be dictionary keys.
"""
from __future__ import annotations

import weakref
from typing import Any, Callable, Sequence

import numpy as np

from graphk.frontend import config
from graphk.frontend.foreign import Foreign, ForeignVariable
from graphk.frontend.numpy_calls import numbers, numpy_call
from graphk.frontend.sizes import sizes_of
from graphk.ir.dims import Dim, DimExpr
from graphk.ir.node import Node
from graphk.ir.opdef import as_node, promote
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import shape as sh
from graphk.ir.ops.contract import dot as ir_dot
from graphk.ir.ops.leaves import new_variable
from graphk.ir.types import TensorType
from graphk.runtime.storage import Storage
from graphk.runtime.writes import Unwritten

Shape = tuple[Any, ...]


class Tensor(Foreign):
    """A symbolic value: shape, dtype and how it is computed, but no numbers.

    `shape` has None for axes whose size is known only at call time; `node` is the IR node.

    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 3))
    >>> (x * 2 + 1).shape
    (None, 3)
    """
    __array_priority__ = 1000
    _keras_shape: Any                      # what layers attach, absent from other tensors
    _keras_mask: Any
    _keras_history: Any
    adds_up: bool

    def __init__(self, node: Node, name: str | None = None):
        self.node = node
        self.name = name or node.attr("name") or f"{node.op.name}_{node.id}"

    # ---------------------------------------------------------------- what Keras code reads
    @property
    def dtype(self) -> str:
        return self.node.dtype

    @property
    def ndim(self) -> int:
        return len(self.node.t.shape)

    def eval(self, feed_dict: Any = None, session: Any = None) -> Any:
        """The value, as `K.get_session().run(self, feed_dict)` computes it."""
        from graphk.frontend.backend.session import get_session
        return get_session().run(self, feed_dict)

    @property
    def _uses_learning_phase(self) -> bool:
        forced = self.__dict__.get("_phase_flag")
        return depends_on_phase(self.node) if forced is None else forced

    @_uses_learning_phase.setter
    def _uses_learning_phase(self, value: bool) -> None:
        self.__dict__["_phase_flag"] = bool(value)

    def __repr__(self) -> str:
        return f"<graphk.{type(self).__name__} '{self.name}' shape={self.shape} dtype={self.dtype}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> "Tensor":
        from graphk.frontend.engine.copying import copied_tensor
        return copied_tensor(self, memo)

    def __reduce__(self) -> Any:
        from graphk.frontend.engine.copying import tensor_state
        return tensor_state(self)

    # ---------------------------------------------------------------- what a symbol cannot do
    def _no_value(self, what: str) -> TypeError:
        return TypeError(f"{what} the symbolic tensor `{self.name}` of shape {self.shape}, which has no value until a "
                         f"function is called. Use K.switch or K.in_train_phase for conditions, and "
                         f"K.eval(x) or K.function(inputs, [x]) to compute it.")

    def __bool__(self) -> bool:
        raise self._no_value("Cannot take the truth value of")

    def __iter__(self) -> Any:
        raise self._no_value("Cannot iterate over")

    # No __len__: programs tell a tensor from a list of tensors by hasattr(x, "__len__").

    def __float__(self) -> float:
        raise self._no_value("Cannot convert to float")

    def __int__(self) -> int:
        raise self._no_value("Cannot convert to int")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return numpy_call(ufunc, method, inputs, options, Tensor, self._no_value)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise self._no_value("Cannot convert to a numpy array")

    # ---------------------------------------------------------------- operators
    def __add__(self, other: Any) -> "Tensor":
        return _binary(ew.add, self, other)

    def __radd__(self, other: Any) -> "Tensor":
        return _binary(ew.add, other, self)

    def __sub__(self, other: Any) -> "Tensor":
        return _binary(ew.sub, self, other)

    def __rsub__(self, other: Any) -> "Tensor":
        return _binary(ew.sub, other, self)

    def __mul__(self, other: Any) -> "Tensor":
        return _binary(ew.mul, self, other)

    def __rmul__(self, other: Any) -> "Tensor":
        return _binary(ew.mul, other, self)

    def __truediv__(self, other: Any) -> "Tensor":
        return _binary(ew.div, self, other)

    def __rtruediv__(self, other: Any) -> "Tensor":
        return _binary(ew.div, other, self)

    def __floordiv__(self, other: Any) -> "Tensor":
        return _binary(ew.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> "Tensor":
        return _binary(ew.floordiv, other, self)

    def __mod__(self, other: Any) -> "Tensor":
        return _binary(ew.mod, self, other)

    def __rmod__(self, other: Any) -> "Tensor":
        return _binary(ew.mod, other, self)

    def __pow__(self, other: Any) -> "Tensor":
        return Tensor(power(self.node, other))

    def __rpow__(self, other: Any) -> "Tensor":
        return _binary(ew.pow, other, self)

    def __matmul__(self, other: Any) -> "Tensor":
        return _binary(ir_dot, self, other)

    def __rmatmul__(self, other: Any) -> "Tensor":
        return _binary(ir_dot, other, self)

    def __neg__(self) -> "Tensor":
        return Tensor(ew.neg(self.node))

    def __abs__(self) -> "Tensor":
        return Tensor(ew.abs(self.node))

    def __lt__(self, other: Any) -> "Tensor":
        return _binary(ew.lt, self, other)

    def __le__(self, other: Any) -> "Tensor":
        return _binary(ew.le, self, other)

    def __gt__(self, other: Any) -> "Tensor":
        return _binary(ew.gt, self, other)

    def __ge__(self, other: Any) -> "Tensor":
        return _binary(ew.ge, self, other)

    def __and__(self, other: Any) -> "Tensor":
        return _binary(ew.logical_and, self, other)

    def __or__(self, other: Any) -> "Tensor":
        return _binary(ew.logical_or, self, other)

    def __invert__(self) -> "Tensor":
        return Tensor(ew.logical_not(self.node))

    __hash__ = object.__hash__

    def __getitem__(self, index: Any) -> "Tensor":
        from graphk.frontend.indexing import element
        return Tensor(element(self, index))


class ShapeTensor(Tensor):
    """A vector of axis sizes (`K.shape(x)`) that still knows them as dims, so that `K.reshape` and
    the like may take it, or parts of it, as a shape."""

    def __init__(self, dims: Sequence[Dim], dtype: str = "int32"):
        self.dims: tuple[Dim, ...] = tuple(dims)
        parts = [sh.reshape(sh.dim_value(d, dtype), shape=(1,)) for d in self.dims]
        super().__init__(sh.concat(*parts, axis=0) if len(parts) > 1 else
                         parts[0] if parts else as_node(np.zeros((0,), dtype)))

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self.dims)))

    def __len__(self) -> int:
        return len(self.dims)

    def __getitem__(self, index: Any) -> Tensor:
        if isinstance(index, slice):
            return ShapeTensor(self.dims[index], self.dtype)
        if isinstance(index, (int, np.integer)):
            return Tensor(sh.dim_value(self.dims[index], self.dtype))
        return super().__getitem__(index)


# ------------------------------------------------------------------ nodes from anything
def node_of(x: Any, dtype: str | None = None) -> Node:
    """The IR node of a tensor, number or array; numpy float64 arrays take `floatx`."""
    if isinstance(x, Tensor):
        return x.node
    if isinstance(x, Node):
        return x
    if isinstance(x, (list, tuple)) and any(isinstance(i, Tensor) for i in x):
        raise TypeError(f"Expected one tensor, received a {type(x).__name__} of {len(x)} values: {x}. "
                        f"Join them first with K.stack or K.concatenate.")
    return as_node(weak(x), dtype)


def weak(x: Any, like: str | None = None) -> Any:
    """Numbers stay weakly typed; arrays of floats take the type `like`, float64 ones else `floatx`."""
    if isinstance(x, (list, tuple, np.generic)):
        x = np.asarray(x)
    if isinstance(x, np.ndarray):
        if x.dtype == np.float64 or like and x.dtype.kind == "f":
            x = x.astype(like or config.get("floatx"))
        return x.item() if x.ndim == 0 else x
    return x


def _binary(op: Callable[..., Node], a: Any, b: Any) -> Any:
    if any(x is None or isinstance(x, (str, dict, set)) for x in (a, b)):
        return NotImplemented
    return Tensor(op(*operands(a, b)))


def operands(a: Any, b: Any) -> list[Any]:
    """What an op takes for two operands: arrays of floats have the type of the tensor of floats that they meet."""
    like = next((x.dtype for x in (a, b) if isinstance(x, Tensor) and x.node.t.is_float), None)
    return [x.node if isinstance(x, Tensor) else weak(x, like) for x in (a, b)]


def power(x: Node, a: Any) -> Node:
    """`x ** a`; small integer exponents become products, which are exact for negative bases; integers stay integers."""
    if isinstance(a, (int, float)) and a in (1, 2, 3):
        return {1: x, 2: ew.square(x), 3: ew.mul(ew.square(x), x)}[int(a)]
    to = node_of(a, x.dtype if not isinstance(a, Tensor) else None)
    if x.t.is_float or to.t.is_float or isinstance(a, float):
        return ew.pow(x, to)
    return ew.cast(ew.round(ew.pow(ew.cast(x, "float64"), ew.cast(to, "float64"))), promote([x.dtype, to.dtype]))


_phase_cache: "weakref.WeakKeyDictionary[Node, bool]" = weakref.WeakKeyDictionary()


def depends_on_phase(node: Node) -> bool:
    """Whether the learning phase is among the leaves that `node` is computed from."""
    stack = [node]
    while stack:
        top = stack[-1]
        if top in _phase_cache:
            stack.pop()
            continue
        todo = [i for i in top.inputs if i not in _phase_cache]
        if todo:
            stack.extend(todo)
            continue
        _phase_cache[top] = top.op.name == "phase" or any(_phase_cache[i] for i in top.inputs) or (
            top.op.name == "scan" and any(depends_on_phase(y) for y in top.attr("body").outputs))
        stack.pop()
    return _phase_cache[node]


# ------------------------------------------------------------------ dims from tensors
def as_dim(x: Any) -> Dim:
    """A size given as an int, a dim or a scalar tensor made from `K.shape`; TypeError otherwise."""
    if isinstance(x, (int, np.integer, DimExpr)):
        return x if isinstance(x, DimExpr) else int(x)
    if isinstance(x, Tensor):
        sizes = sizes_of(x.node)
        if len(sizes) == 1:
            return sizes[0]
        raise TypeError(f"one size was expected, received the {len(sizes)} of {x!r}: take one of them by its index")
    raise TypeError(f"expected a size (an int, or K.shape(x)[axis]), received {type(x).__name__}: {x!r}")


def as_shape(shape: Any) -> tuple[Dim, ...]:
    """A shape given as a sequence of sizes or as `K.shape(x)`."""
    if isinstance(shape, ShapeTensor):
        return shape.dims
    if isinstance(shape, Tensor):
        try:
            return sizes_of(shape.node)
        except TypeError as e:
            raise TypeError(f"a shape was expected, received {shape!r}: {e}") from None
    if isinstance(shape, (int, np.integer)):
        return (int(shape),)
    if isinstance(shape, np.ndarray) and shape.dtype.kind == "f" and (shape == np.round(shape)).all():
        shape = shape.astype("int64")                  # np.ones(k) with sizes written into it, which TensorFlow takes
    if not hasattr(shape, "__iter__") or isinstance(shape, str):
        raise TypeError(f"a shape was expected, received {shape!r:.80}; pass a tuple of sizes or K.shape(x)")
    return tuple(as_dim(d) for d in shape)


# ------------------------------------------------------------------ variables
_storages: "weakref.WeakKeyDictionary[Node, Storage]" = weakref.WeakKeyDictionary()
_handles: "weakref.WeakKeyDictionary[Node, weakref.ref[Variable]]" = weakref.WeakKeyDictionary()


class Variable(Tensor, ForeignVariable):
    """A tensor with a value that lives across calls, in `array`.

    >>> from graphk import backend as K
    >>> v = K.variable([[1., 2.]], name="v")
    >>> K.get_value(v).tolist()
    [[1.0, 2.0]]
    """

    def __init__(self, value: Any, dtype: str | None = None, name: str | None = None, constraint: Any = None,
                 trainable: bool = True):
        data = value if isinstance(value, Unwritten) else np.asarray(value, dtype=dtype)
        self.storage = Storage(data)
        node = new_variable(TensorType(self.storage.dtype, data.shape), name or "Variable")
        super().__init__(node, name or "Variable")
        self.constraint, self.trainable = constraint, trainable
        self.first: Callable[[], Any] | None = None
        _storages[node], _handles[node] = self.storage, weakref.ref(self)

    @property
    def array(self) -> np.ndarray:
        """The variable's own array, with its newest value."""
        return self.storage.value

    def set_value(self, value: Any) -> None:
        """Copy `value` into the variable; ValueError if its shape is another."""
        value = self.fitting(value)
        with self.storage.overwriting() as array:
            array[...] = value

    def fitting(self, value: Any) -> np.ndarray:
        """`value` as an array of the variable's dtype and shape; ValueError naming the variable if it is none."""
        array = numbers(value, np.dtype(self.dtype), f"The variable `{self.name}`")
        if array.shape != self.node.shape:
            raise ValueError(f"Cannot set the variable `{self.name}` of shape {self.node.shape} to a value of shape "
                             f"{array.shape}; expected the variable's own shape")
        return array

    def get_value(self) -> np.ndarray:
        """A copy of the value."""
        return self.array.copy()

    def eval(self, session: Any = None) -> np.ndarray:      # type: ignore[override]    # a variable's takes no values
        return self.get_value()


def tensor_of(node: Node) -> Tensor:
    """A handle around `node`."""
    return variable_of(node) if node.op.name == "variable" else Tensor(node)


def variable_of(node: Node) -> Variable:
    """The Variable of a `variable` node, even when the user dropped the handle he made it with."""
    ref = _handles.get(node)
    found = ref() if ref is not None else None
    if found is None:
        found = Variable.__new__(Variable)
        Tensor.__init__(found, node)
        found.storage, found.constraint, found.trainable, found.first = _storages[node], None, True, None
        _handles[node] = weakref.ref(found)
    return found


def variables() -> list[Variable]:
    """All that somebody holds and that have a first value, which states of random numbers have not, oldest first; but
    not those from before `K.clear_session`."""
    held = (ref() for ref in list(_handles.values()))
    return sorted((v for v in held if v is not None and v.first is not None), key=lambda v: v.node.id)


def forget_first_values() -> None:
    """No variable made until now is one of `variables` any more, and none knows its first value."""
    for v in variables():
        v.first = None


class Update(tuple):
    """`(variable, new value)`, what `K.update` returns; applied after all reads of a call."""

    def __new__(cls, variable: Variable, value: Tensor) -> "Update":
        if not isinstance(variable, Variable):
            raise TypeError(f"only variables can be updated; received {variable!r}")
        return super().__new__(cls, (variable, value))

    variable = property(lambda self: self[0])
    value = property(lambda self: self[1])
    node = property(lambda self: self[1].node)

    __hash__, __eq__, __ne__ = object.__hash__, object.__eq__, object.__ne__

    def __getnewargs__(self) -> Any:
        return self[0], self[1]
