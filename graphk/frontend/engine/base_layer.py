"""The Layer class: state, shapes, masks and the record of its calls.

In: tensors from other layers.  Out: tensors that carry `_keras_history` and `_keras_shape`.  What
always holds: `build` runs once, before the first `call`; every IR node made inside carries the
layer's name as its origin; weights are listed trainable first.
"""
from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
from typing import Any, Iterator, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.engine.layer_state import LayerAccessors, LayerState
from graphk.frontend.engine.node import Node
from graphk.frontend.legacy import shape_first
from graphk.frontend.tensor import Tensor, Variable
from graphk.frontend.utils.advice import advice, keywords
from graphk.frontend.utils.blame import naming, unchanged
from graphk.frontend.utils.generic_utils import (
    config_of,
    has_arg,
    is_all_none,
    to_list,
    to_snake_case,
    unpack_singleton,
)
from graphk.ir.node import origin
from graphk.runtime.writes import Unwritten


class InputSpec:
    """What a layer expects of one input: dtype, shape, rank, or sizes of some axes.

    >>> InputSpec(min_ndim=2, axes={-1: 10}).axes
    {-1: 10}
    """

    def __init__(self, dtype: str | None = None, shape: Sequence[Any] | None = None, ndim: int | None = None,
                 max_ndim: int | None = None, min_ndim: int | None = None, axes: dict[int, Any] | None = None):
        self.dtype = dtype
        self.shape = tuple(shape) if shape is not None else None
        self.ndim = len(self.shape) if self.shape is not None else ndim
        self.max_ndim, self.min_ndim = max_ndim, min_ndim
        self.axes = dict(axes or {})

    def __repr__(self) -> str:
        parts = [f"{k}={v!r}" for k, v in vars(self).items() if v]
        return f"InputSpec({', '.join(parts)})"

    def complaint(self, x: Tensor) -> str | None:
        """What is wrong with `x`, in Keras's words; None if it fits."""
        n = x.ndim
        if self.ndim is not None and n != self.ndim:
            return f"expected ndim={self.ndim}, found ndim={n}"
        if self.max_ndim is not None and n > self.max_ndim:
            return f"expected max_ndim={self.max_ndim}, found ndim={n}"
        if self.min_ndim is not None and n < self.min_ndim:
            return f"expected min_ndim={self.min_ndim}, found ndim={n}"
        if self.dtype is not None and K.dtype(x) != self.dtype:
            return f"expected dtype={self.dtype}, found dtype={K.dtype(x)}"
        shape = K.int_shape(x)
        for axis, value in self.axes.items():
            if value is not None and shape[axis] not in (value, None):
                return f"expected axis {axis} of input shape to have value {value} but got shape {shape}"
        if self.shape is not None and any(
            a is not None and b is not None and a != b for a, b in zip(self.shape, shape)
        ):
            return f"expected shape={self.shape}, found shape={shape}"
        return None


@functools.lru_cache(maxsize=1)
def _begin() -> None:
    """Who makes a first layer will run a network soon: on a new machine, compilers start while it is built."""
    from graphk.frontend import automatic
    if os.environ.get("GRAPHK_EXECUTOR", "cpu") != "cpu" or automatic.possible():
        return                                         # nothing will be compiled for this processor, or perhaps so
    from graphk.codegen import cache, objects

    def native_part() -> objects.Job:
        from graphk.runtime.executor import native_job

        return native_job()

    cache.begin(native_part)


_ALLOWED = {"input_shape", "batch_input_shape", "batch_size", "dtype", "name", "trainable", "weights", "input_dtype"}


class Layer(LayerState, LayerAccessors):
    """Base class of all layers.

    Subclasses define `build(input_shape)` (make weights with `add_weight`), `call(inputs)` and, where the shape
    changes,
    `compute_output_shape(input_shape)`; `get_config` makes them savable.

    >>> class Scale(Layer):
    ...     def build(self, input_shape):
    ...         self.k = self.add_weight("k", (input_shape[-1],), initializer="ones")
    ...         super().build(input_shape)
    ...     def call(self, x):
    ...         return x * self.k
    >>> Scale(input_shape=(3,)).name
    'scale_1'
    """

    def __init__(self, **kwargs: Any):
        for key in kwargs:
            if key not in _ALLOWED:
                raise TypeError(f"Keyword argument not understood: {key} (in {type(self).__name__}"
                                + (f" `{kwargs['name']}`)" if kwargs.get("name") else ")")
                                + advice(key, keywords(type(self)) | _ALLOWED, "arguments"))
        self.input_spec: Any = None
        self.supports_masking = False
        self.stateful = False
        self.name = checked_name(kwargs.get("name")) or self._default_name()
        self.trainable = kwargs.get("trainable", True)
        if "input_shape" in kwargs or "batch_input_shape" in kwargs:
            shape = kwargs.get("batch_input_shape")
            if shape is None:
                shape = (kwargs.get("batch_size"), *checked_shape("`input_shape`", kwargs["input_shape"]))
            self.batch_input_shape = tuple(checked_shape("`batch_input_shape`", shape))
        self.dtype = kwargs.get("dtype") or kwargs.get("input_dtype") or K.floatx()
        self._initial_weights = kwargs.get("weights")
        self._init_state()
        _begin()

    @classmethod
    def _default_name(cls) -> str:
        prefix = to_snake_case(cls.__name__)
        return prefix + "_" + str(K.get_uid(prefix))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keras 1's name of compute_output_shape counts as that."""
        super().__init_subclass__(**kwargs)
        if "get_output_shape_for" in cls.__dict__ and "compute_output_shape" not in cls.__dict__:
            cls.compute_output_shape = cls.get_output_shape_for      # type: ignore[method-assign]

    # ---------------------------------------------------------------- what subclasses define
    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of `input_shape` (batch axis included)."""
        self.built = True

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The outputs for symbolic `inputs`."""
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output shape for an input shape, both with the batch axis."""
        return input_shape

    def get_output_shape_for(self, input_shape: Any) -> Any:
        """Keras 1's name of `compute_output_shape`."""
        return self.compute_output_shape(input_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The output's mask; TypeError if the layer cannot pass a mask on."""
        if not self.supports_masking:
            if mask is not None and not is_all_none(mask):
                raise TypeError("Layer " + self.name + " does not support masking, but was passed an input_mask: "
                                + str(mask) + ". Leave out the Masking layer or mask_zero=True before it, or let a "
                                "layer that ends the mask come between, such as an LSTM(return_sequences=False).")
            return None
        return mask

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make the layer again (without weights)."""
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable}
        if hasattr(self, "batch_input_shape"):
            config["batch_input_shape"] = self.batch_input_shape
        if hasattr(self, "dtype"):
            config["dtype"] = self.dtype
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Layer":
        """A layer made from `get_config()`."""
        return cls(**config_of(cls, config))

    def __copy__(self) -> "Layer":
        new = self.__class__.__new__(self.__class__)
        new.__dict__.update(self.__dict__)
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> "Layer":
        from graphk.frontend.engine.copying import copied_layer
        return copied_layer(self, memo)

    def __reduce__(self) -> Any:
        from graphk.frontend.engine.copying import layer_state
        return layer_state(self)

    # ---------------------------------------------------------------- weights
    @shape_first
    def add_weight(self, name: Any = None, shape: Any = None, dtype: str | None = None, initializer: Any = None,
                   regularizer: Any = None, trainable: bool = True, constraint: Any = None) -> Variable:
        """A new weight of the layer.

        initializer: name, config or callable (glorot_uniform by default); a regularizer's penalty is added to the loss;
        a constraint is applied after each update.
        """
        from graphk.frontend import constraints, initializers, regularizers
        make = initializers.get(initializer if initializer is not None else "glorot_uniform")
        dtype = dtype or K.floatx()
        self._check_begun()
        shape = tuple(shape if shape is not None else ())
        if any(not isinstance(d, (int, float, np.number)) or d < 0 or d != int(d) for d in shape):
            raise ValueError(f"Layer {self.name}: the weight `{name}` was asked for in the shape {shape}; expected "
                             "integers that are not negative. Sizes that are open, such as the batch's, are none of "
                             "weights: use "
                             "input_shape[-1], and declare it in Input.")
        shape = tuple(int(d) for d in shape)
        _check_memory(f"Layer {self.name}: the weight `{name}`", shape, dtype)
        first = Unwritten(shape, dtype) if _unwritten else (
            initializers._later(make, shape, dtype) or initial(make, shape, dtype))
        weight = K.variable(first, dtype, name, constraints.get(constraint))
        if weight.node.shape != shape:
            raise ValueError(f"Layer {self.name}: the initializer of the weight `{name}` gave an array of shape "
                             f"{weight.node.shape}; expected {shape}. Make it of the shape that it is called with.")
        weight.trainable, weight.first = trainable, lambda: initial(make, shape, dtype)
        if regularizer is not None:
            with origin(layer=self.name):
                penalty = regularizers.get(regularizer)(weight)
                if penalty is None or getattr(penalty, "shape", ()) not in ((), (1,)):
                    got = "None" if penalty is None else f"a value of shape {penalty.shape}"
                    raise TypeError(f"Layer {self.name}: the regularizer of the weight `{name}` returned {got}; "
                                    "expected one number, such as K.sum(K.abs(w)).")
                self.add_loss(penalty)
        (self._trainable_weights if trainable else self._non_trainable_weights).append(weight)
        return weight

    # ---------------------------------------------------------------- calling
    _first_input: Any = None

    def set_input(self, input_tensor: Tensor, shape: Sequence[int | None] | None = None) -> None:
        """Keras 1: what the layer is called on when it is added to a Sequential as the first one."""
        from graphk.frontend.engine.input_layer import Input
        input_tensor.set_shape(shape if shape is not None else input_tensor.shape)
        self._first_input = Input(tensor=input_tensor, name=self.name + "_input")

    def __call__(self, inputs: Any, *more: Any, **kwargs: Any) -> Any:
        if more:
            raise TypeError(f"Layer {self.name} takes its inputs as one argument; received {1 + len(more)}: "
                            f"{str([inputs, *more])[:200]}. Pass several tensors as a list, layer([a, b]), and what "
                            f"else the `call` of {type(self).__name__} takes by name.")
        if isinstance(inputs, tuple) and inputs and all(isinstance(x, Tensor) for x in inputs):
            inputs = list(inputs)
        self._check_begun()
        with K.name_scope(self.name), origin(layer=self.name), naming(self.name, lambda: self._called_on(inputs)):
            self._maybe_build(inputs)
            self.assert_input_compatibility(inputs)
            previous_mask = collect_previous_mask(inputs)
            user_kwargs = dict(kwargs)
            if not is_all_none(previous_mask) and "mask" not in kwargs and has_arg(self.call, "mask"):
                kwargs["mask"] = previous_mask
            output = self.call(inputs, **kwargs)
            mask = kwargs["mask"] if kwargs.get("mask") is not None else previous_mask
            self._check_output(output)
            output_mask = self.compute_mask(inputs, mask)
            output = self._fresh_handles(output, inputs)
            self._add_inbound_node(inputs, output, previous_mask, output_mask, user_kwargs)
            self._add_activity_loss(inputs, output)
        return output

    def _maybe_build(self, inputs: Any) -> None:
        if self.built:
            return
        self.assert_input_compatibility(inputs)
        with unchanged(self):
            self.build(collect_input_shape(inputs))
            self.built = True
            if self._initial_weights is not None:
                self.set_weights(self._initial_weights)

    def _called_on(self, inputs: Any) -> str:
        shapes = [K.int_shape(x) for x in to_list(inputs) if isinstance(x, Tensor)]
        return f"in the {type(self).__name__} layer `{self.name}`" + (
            f", called on inputs of shape {', '.join(map(str, shapes))}" if shapes else "")

    def _check_begun(self) -> None:
        if "_inbound_nodes" not in vars(self):
            name = type(self).__name__
            raise RuntimeError(f"The layer class {name} has an `__init__` that did not call the one of Layer. Begin it "
                               f"with `super({name}, self).__init__(**kwargs)`.")

    def _check_output(self, output: Any) -> None:
        for x in to_list(output, allow_tuple=True):
            if not isinstance(x, Tensor):
                raise TypeError(f"Layer {self.name}: its `call` returned {_kind(x)}; expected a symbolic tensor, or a "
                                "list of them. Compute with functions of K, return what they give, and make tensors "
                                "of arrays by K.constant(array).")

    @staticmethod
    def _fresh_handles(output: Any, inputs: Any) -> Any:
        """Outputs that are inputs returned as they came get handles of their own, for their own history."""
        taken = {id(x) for x in to_list(inputs)}
        outs = [Tensor(x.node) if id(x) in taken or hasattr(x, "_keras_history") else x
                for x in to_list(output, allow_tuple=True)]
        return unpack_singleton(outs)                      # a list of one tensor is that tensor

    def _add_activity_loss(self, inputs: Any, output: Any) -> None:
        regularizer = getattr(self, "activity_regularizer", None)
        if regularizer is not None:
            self.add_loss([regularizer(x) for x in to_list(output)], inputs=to_list(inputs))

    def assert_input_compatibility(self, inputs: Any) -> None:
        """ValueError naming the layer and what it expected, if `inputs` do not fit `input_spec`."""
        inputs = to_list(inputs)
        for x in inputs:
            if not isinstance(x, Tensor):
                raise ValueError("Layer " + self.name + " was called with an input that isn't a symbolic tensor. "
                                 "Received type: " + str(type(x)) + ". Full input: " + str(inputs)[:300] +
                                 ". All inputs to the layer should be tensors: call layers on Input(shape) and pass "
                                 "arrays to the model's `predict`, or use K.constant(array)."
                                 + (f" For the layer `{x.name}`, pass its output." if isinstance(x, Layer) else ""))
        if not self.input_spec:
            return
        specs = to_list(self.input_spec, allow_tuple=True)
        if len(inputs) != len(specs):
            raise ValueError("Layer " + self.name + " expects " + str(len(specs)) + " inputs, but it received "
                             + str(len(inputs)) + " input tensors. Input received: " + str(inputs)
                             + ". Join them first, with concatenate or another merge layer, or call it on each.")
        for i, (x, spec) in enumerate(zip(inputs, specs)):
            wrong = spec.complaint(x) if spec is not None else None
            if wrong:
                raise ValueError(f"Input {i} is incompatible with layer {self.name}: {wrong} (shape "
                                 f"{K.int_shape(x)}{_made_by(x)}){_fix(x, spec)}")

    def _output_shapes(self, inputs: list[Tensor], outputs: list[Tensor]) -> list[Any]:
        """Static shapes of the outputs: what the layer declares, or what the nodes say if it declares nothing."""
        if type(self).compute_output_shape is Layer.compute_output_shape and type(self).call is not Layer.call:
            return [K.int_shape(x) for x in outputs] if any(hasattr(x, "_keras_shape") for x in outputs) \
                else [x.shape for x in outputs]
        shape = self.compute_output_shape(unpack_singleton([K.int_shape(x) for x in inputs]))
        if not isinstance(shape, (list, tuple)):
            raise TypeError(f"Layer {self.name}: its `compute_output_shape` returned {shape!r}; expected a tuple with "
                            "the batch axis, or a list of them.")
        return [plain_shape(s) for s in (shape if isinstance(shape, list) else [shape])]

    def _add_inbound_node(self, input_tensors: Any, output_tensors: Any, input_masks: Any, output_masks: Any,
                          arguments: dict[str, Any] | None = None, output_shapes: Any = None) -> None:
        inputs, outputs = to_list(input_tensors), to_list(output_tensors)
        in_masks, masks = to_list(input_masks), to_list(output_masks, allow_tuple=True)
        if len(masks) != len(outputs):
            masks = [masks[0] if masks else None] * len(outputs)
        shapes = output_shapes if output_shapes is not None else self._output_shapes(inputs, outputs)
        history: list[Any] = [getattr(x, "_keras_history", (None, None, None)) for x in inputs]
        index = len(self._inbound_nodes)
        if len(shapes) < len(outputs):
            raise ValueError(
                f"Layer {self.name} returned {len(outputs)} outputs, but its compute_output_shape returned "
                f"{len(shapes)} shapes: {shapes}. It must return one shape per output."
            )
        shapes = shapes[:len(outputs)]                 # layers that give all their inputs' shapes mean the first
        for i, x in enumerate(outputs):
            x._keras_shape = shapes[i]
            x._keras_mask = masks[i]
            x._keras_history = (self, index, i)
        Node(self, [h[0] for h in history], [h[1] for h in history], [h[2] for h in history], inputs, outputs,
             in_masks, masks, [K.int_shape(x) for x in inputs], shapes, arguments)


def _check_memory(what: str, shape: tuple[int, ...], dtype: str) -> None:
    """MemoryError for a weight that this machine cannot hold, before anything tries to allocate it."""
    first = 0 if _unwritten else 8                     # initializers compute in float64
    needed = math.prod(shape) * (np.dtype(dtype).itemsize + first)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise MemoryError(f"{what} of shape {shape} needs {needed / 2**30:.1f} GiB, this machine has "
                          f"{memory / 2**30:.1f} GiB. Make the layer smaller.")


_unwritten: list[bool] = []


@contextlib.contextmanager
def unwritten_weights() -> Iterator[None]:
    """Layers built inside have weights of any value: whoever builds them here gives them theirs before use."""
    _unwritten.append(True)
    try:
        yield
    finally:
        _unwritten.pop()


def _kind(x: Any) -> str:
    return "None" if x is None else f"{x!r:.60}, a {type(x).__module__}.{type(x).__name__}"


def _made_by(x: Tensor) -> str:
    layer = getattr(x, "_keras_history", (None,))[0]
    return f", the output of {layer.name}" if layer is not None else ""


def _fix(x: Tensor, spec: InputSpec) -> str:
    """What to do about an input with too few or too many axes."""
    made: Any = getattr(x, "_keras_history", (None,))[0]
    n, want = K.ndim(x), spec.ndim or spec.min_ndim or 0
    if want > n and getattr(made, "return_sequences", True) is False:
        return f". Set return_sequences=True in the layer {made.name}."
    if want > n and hasattr(made, "is_placeholder"):
        axes = ", ".join(["..."] * (want - 1))
        return f". Declare inputs of {want - 1} axes, not counting the batch: input_shape=({axes})."
    if want > n:
        return ". Add the axes that are missing, with Reshape or RepeatVector."
    return ". Put Flatten, Reshape or a global pooling before it." if n > (spec.ndim or spec.max_ndim or n) else "."


def checked_name(name: Any) -> Any:
    """`name`, the very text that is written in a script (which may ask `layer.name is "conv1"`); TypeError if it is
    neither a text nor None."""
    if name is not None and not isinstance(name, str):
        raise TypeError(f"The `name` of a layer or model must be a text; received {name!r:.100}.")
    return sys.intern(str.__str__(name)) if name is not None else None


def plain_shape(shape: Any) -> tuple[Any, ...]:
    """The shape in Python's integers, which print as such."""
    return tuple(int(d) if isinstance(d, (int, np.integer)) else d for d in shape)


def checked_shape(what: str, shape: Any) -> tuple[Any, ...]:
    """`shape` as a tuple; an error naming `what` unless it holds integers that are not negative, and None."""
    if isinstance(shape, (str, Tensor)) or not hasattr(shape, "__iter__"):
        raise TypeError(f"{what} must be a tuple of sizes; received {shape!r:.200}."
                        + (f" Write ({shape},)." if isinstance(shape, int) else ""))
    if any(d is not None and (isinstance(d, bool) or not isinstance(d, (int, np.integer)) or d < 0) for d in shape):
        raise ValueError(f"{what} is {tuple(shape)}; expected integers that are not negative, or None for open sizes.")
    return plain_shape(shape)


def initial(make: Any, shape: tuple[int, ...], dtype: str | None = None) -> Any:
    """The first value that an initializer gives; one of the user's own may take a shape only, or Keras 1's name."""
    named = {"name": None} if has_arg(make, "name") else {}
    typed = {"dtype": dtype or K.floatx()} if has_arg(make, "dtype", accept_all=True) else {}
    return make(shape, **named, **typed)


def collect_previous_mask(input_tensors: Any) -> Any:
    """The masks of layer outputs, one per tensor (None where there is none)."""
    return unpack_singleton([getattr(x, "_keras_mask", None) for x in to_list(input_tensors)])


def collect_input_shape(input_tensors: Any) -> Any:
    """The static shape of a tensor; of a list the list of its tensors' shapes."""
    return unpack_singleton([K.int_shape(x) for x in to_list(input_tensors)])
