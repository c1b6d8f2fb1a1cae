"""TensorFlow's types, constants, variables, gradients, loops, random numbers and scopes.

In: what TensorFlow's functions take.  Out: tensors, or what `K` has for the same.  What always holds: nothing here runs
eagerly or opens a session.
"""
from __future__ import annotations

import contextlib
import logging
import warnings
from typing import Any, Callable

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend import seeds
from graphk.frontend.backend.control import loop
from graphk.frontend.foreign import Size
from graphk.frontend.later import later
from graphk.frontend.scopes import device_called, device_scope
from graphk.frontend.tensor import Tensor, Variable, node_of
from graphk.frontend.tf.names import NAMES, named
from graphk.ir.node import Node
from graphk.ir.ops import elementwise as ew
from graphk.ir.types import TensorType
from graphk.passes.autodiff import backward
from graphk.runtime.device import gpu_count

for _name in ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"):
    NAMES[_name] = NAMES[f"dtypes.{_name}"] = _name
NAMES["double"], NAMES["half"], NAMES["Tensor"] = "float64", "float16", Tensor
NAMES["newaxis"] = None
NAMES["Dimension"] = Size
NAMES["version.VERSION"] = NAMES["VERSION"] = "2.0.0"          # whose Keras was 2.2.4
for _level in ("DEBUG", "INFO", "WARN", "ERROR", "FATAL"):
    NAMES[f"logging.{_level}"] = getattr(logging, _level)


class _OfVariable(type):
    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Variable)

    def __call__(cls, initial_value: Any, trainable: bool = True, name: str | None = None, dtype: str | None = None,
                 constraint: Any = None, **kwargs: Any) -> Variable:
        if kwargs:
            raise TypeError(f"tf.Variable takes initial_value, trainable, name, dtype and constraint here; received "
                            f"{sorted(kwargs)}")
        v = K.variable(initial_value() if callable(initial_value) else initial_value, dtype, name, constraint)
        v.trainable = trainable
        return v


class _Variable(metaclass=_OfVariable):
    """`tf.Variable(value)` is `K.variable(value)`, and every variable is an instance."""


NAMES["Variable"] = _Variable


# ------------------------------------------------------------------ making tensors
@named("convert_to_tensor", "constant")
def constant(value: Any, dtype: str | None = None, shape: Any = None, dtype_hint: Any = None) -> Tensor:
    """A tensor of a number, an array, a tensor or a list of them; of Python's numbers int32 or float32."""
    if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value):
        value = K.stack([K.identity(v) for v in value])
    if isinstance(value, Tensor):
        return value if dtype is None else K.cast(value, dtype)
    array = np.asarray(value)
    kind = dtype or (array.dtype.name if isinstance(value, (np.ndarray, np.generic)) else
                     {"f": "float32", "i": "int32"}.get(array.dtype.kind, array.dtype.name))
    return K.constant(array, kind, shape)


@named("identity")
def identity(input: Any) -> Tensor:
    """Another handle of a tensor."""
    return K.identity(input)


@named("placeholder", "compat.v1.placeholder")
def placeholder(dtype: str, shape: Any = None) -> Tensor:
    """An input of a function; ValueError without a shape."""
    return K.placeholder(shape, dtype=dtype)


@named("cast", "dtypes.cast")
def cast(x: Any, dtype: str) -> Tensor:
    """In another type."""
    return K.cast(x, dtype)


for _kind in ("float32", "float64", "int32", "int64"):
    _short = {"float32": "float", "float64": "double"}.get(_kind, _kind)
    named(f"to_{_short}")(lambda x, _kind=_kind: K.cast(x, _kind))
named("is_tensor")(lambda x: isinstance(x, Tensor))
named("stop_gradient")(lambda input: K.stop_gradient(input))
named("executing_eagerly")(lambda: False)
named("disable_eager_execution", "disable_v2_behavior")(lambda: None)
named("logging.set_verbosity")(lambda v: None)        # TensorFlow's messages, of which there are none
named("assign")(lambda ref, value: K.update(ref, value))
named("assign_add")(lambda ref, value: K.update_add(ref, value))
named("assign_sub")(lambda ref, value: K.update_sub(ref, value))


# ------------------------------------------------------------------ gradients and loops
def _list(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (list, tuple)) else [x]


@named("gradients")
def gradients(ys: Any, xs: Any, grad_ys: Any = None, *, stop_gradients: Any = None) -> list[Any]:
    """d sum(y · grad_y) / dx for each x, None where no y depends on it; no gradient passes `stop_gradients`."""
    outputs = [node_of(y) for y in _list(ys)]
    flowing = [None] * len(outputs) if grad_ys is None else _list(grad_ys)
    first = [ew.ones_like(y) if g is None else node_of(g) for y, g in zip(outputs, flowing, strict=True)]
    stops = [node_of(s) for s in _list(stop_gradients)] if stop_gradients is not None else []
    return [None if g is None else Tensor(g) for g in backward(outputs, first, [node_of(x) for x in _list(xs)], stops)]


@named("cond")
def cond(pred: Any, true_fn: Callable[[], Any] | None = None, false_fn: Callable[[], Any] | None = None, *,
         fn1: Any = None, fn2: Any = None) -> Any:
    """What one of two functions returns; both are part of the graph, and only the chosen values are kept."""
    yes, no = (true_fn or fn1)(), (false_fn or fn2)()
    if isinstance(yes, (list, tuple)):
        return type(yes)(K.switch(pred, a, b) for a, b in zip(yes, no, strict=True))
    return K.switch(pred, yes, no)


@named("map_fn")
def map_fn(fn: Callable[[Any], Any], elems: Any, dtype: Any = None, parallel_iterations: Any = None,
           back_prop: bool = True, swap_memory: bool = False) -> Any:
    """`fn` of each element along the first axis, stacked; the last three arguments concern TensorFlow's scheduler."""
    out = K.map_fn(fn, elems, dtype=dtype)
    return out if back_prop else K.stop_gradient(out)


@named("scan")
def scan(fn: Callable[[Any, Any], Any], elems: Any, initializer: Any = None, parallel_iterations: Any = None,
         back_prop: bool = True, swap_memory: bool = False) -> Any:
    """fn(accumulator, element) over the first axis, all its results stacked; it starts with `initializer`, or the first
    element.  Accumulator and elements may be lists of tensors."""
    many = isinstance(elems, (list, tuple))
    several = many if initializer is None else isinstance(initializer, (list, tuple))
    xs = [K.identity(x) for x in _list(elems)]
    carry = [node_of(c) for c in (_list(initializer) if initializer is not None else [x[0] for x in xs])]
    rest = [x if initializer is not None else x[1:] for x in xs]

    def step(c: list[Node], x: list[Node]) -> tuple[list[Node], list[Node]]:
        held, seen = [Tensor(n) for n in c], [Tensor(n) for n in x]
        out = [node_of(y) for y in _list(fn(held if several else held[0], seen if many else seen[0]))]
        return out, out
    found = [Tensor(y) for y in loop(step, carry, [x.node for x in rest], rest[0].node.shape[0], name="scan")[1]]
    if initializer is None:
        found = [K.concatenate([x[:1], y], 0) for x, y in zip(xs, found)]
    found = found if back_prop else [K.stop_gradient(y) for y in found]
    return found if several else found[0]


@named("py_func", "numpy_function", "py_function")
def py_func(func: Callable[..., Any], inp: Any, Tout: str, stateful: bool = True) -> Tensor:
    """A number that a Python function computes from arrays, after the rest of a call: a metric may be one, and nothing
    is computed from it.  TypeError for several results."""
    if not isinstance(Tout, str):
        raise TypeError(f"tf.py_func gives one number here, whose type is a name; received Tout={Tout!r}")

    def compute(*arrays: np.ndarray) -> list[np.ndarray]:
        found = np.asarray(func(*arrays), Tout)
        if found.size != 1:
            raise ValueError(f"tf.py_func gives one number here; the function returned {found.size} of them")
        return [found.reshape(())]
    return later(compute, [node_of(x) for x in _list(inp)], [TensorType(Tout, ())], "py_func")[0]


# ------------------------------------------------------------------ random numbers
named("set_random_seed", "random.set_seed", "random.set_random_seed")(lambda seed: seeds.set_seed(int(seed)))


def _random(function: Callable[..., Tensor], first: tuple[str, float], second: tuple[str, float | None],
            *names: str) -> None:
    def drawn(shape: Any, *args: Any, dtype: str = "float32", seed: Any = None, **kwargs: Any) -> Tensor:
        given = dict(zip((first[0], second[0], "dtype", "seed"), args), **kwargs)
        a, b = given.pop(first[0], first[1]), given.pop(second[0], second[1])
        dtype, seed = given.pop("dtype", dtype), given.pop("seed", seed)
        if given:
            raise TypeError(f"tf.{names[0]} has no argument {sorted(given)}")
        return function(shape, a, 1. if b is None else b, dtype, seed)
    drawn.__doc__ = f"Random numbers by `K.{function.__name__}`, drawn anew at each call."
    named(*names)(drawn)


_random(K.random_uniform, ("minval", 0.), ("maxval", None), "random_uniform", "random.uniform")
_random(K.random_normal, ("mean", 0.), ("stddev", 1.), "random_normal", "random.normal")
_random(K.truncated_normal, ("mean", 0.), ("stddev", 1.), "truncated_normal", "random.truncated_normal")


# ------------------------------------------------------------------ scopes
def _name_scope(name: Any = None, default_name: Any = None, values: Any = None, reuse: Any = None) -> Any:
    """Names for what is made inside."""
    given = name or default_name
    return K.name_scope(given) if given else contextlib.nullcontext()


NAMES["name_scope"] = NAMES["variable_scope"] = _name_scope


@named("device")
def device(device_name: Any) -> Any:
    """Where what is made inside runs: `graphk.device_scope`.  A GPU that is not there is passed over with a warning, as
    the sessions of Keras passed it over (soft placement); None names no device."""
    if device_name is None:
        return contextlib.nullcontext()
    called = device_called(device_name, "tf.device")
    if called.startswith("gpu:") and int(called[4:]) >= gpu_count():
        warnings.warn(f"tf.device({device_name!r}): this machine has no such GPU that graphk could use; what is made "
                      "there runs where everything else does. `graphk doctor` says what is missing.", stacklevel=3)
        return contextlib.nullcontext()
    return device_scope(device_name)
