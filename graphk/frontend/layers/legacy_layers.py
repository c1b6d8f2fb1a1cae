"""Layers of Keras 1: MaxoutDense, Highway and Merge, which Keras 2 keeps in `legacy.layers`; TimeDistributedDense.

In: (samples, features); for Merge several tensors.  Out: (samples, output_dim), or the shape of the input.  What always
holds: arguments and configs have Keras 1's names (`init`, `W_regularizer`, `bias`, …); Merge does what the layer of
`layers.merge`, or the Lambda, that its mode stands for does.
"""
from __future__ import annotations

import warnings
from typing import Any

from graphk.frontend import activations
from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import InputSpec, Layer
from graphk.frontend.engine.sources import get_source_inputs
from graphk.frontend.layers.core import Dense
from graphk.frontend.layers.lambda_layer import Lambda, _described, _given_function
from graphk.frontend.layers.merge import Add, Average, Concatenate, Dot, Maximum, Multiply
from graphk.frontend.layers.settings import adopt, described
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.advice import advice
from graphk.frontend.utils.generic_utils import config_of, has_arg


class _Legacy(Layer):
    """Weights W and b with Keras 1's arguments."""

    init: Any
    W_regularizer: Any
    b_regularizer: Any
    W_constraint: Any
    b_constraint: Any

    def __init__(self, init: Any, weights: Any, W_regularizer: Any, b_regularizer: Any, activity_regularizer: Any,
                 W_constraint: Any, b_constraint: Any, bias: bool, input_dim: int | None, kwargs: dict[str, Any]):
        if input_dim:
            kwargs["input_shape"] = (input_dim,)
        super().__init__(**kwargs)
        adopt(self, init=init, W_regularizer=W_regularizer, b_regularizer=b_regularizer, W_constraint=W_constraint,
              activity_regularizer=activity_regularizer, b_constraint=b_constraint)
        self.bias, self.input_dim = bias, input_dim
        self.initial_weights = weights
        self.input_spec = InputSpec(ndim=2)

    def _width(self, input_shape: Any) -> int:
        """The number of features, which the input spec then asks for."""
        if input_shape[-1] is None:
            raise ValueError(f"The last dimension of the inputs to {self.name} should be defined. Found `None` in "
                             f"{tuple(input_shape)}.")
        self.input_spec = InputSpec(dtype=K.floatx(), shape=(None, input_shape[-1]))
        return input_shape[-1]

    def _weight(self, name: str, shape: tuple[int, ...]) -> Any:
        return self.add_weight(name, shape, initializer=self.init, regularizer=self.W_regularizer,
                               constraint=self.W_constraint)

    def _bias(self, name: str, shape: tuple[int, ...], first: str = "zeros") -> Any:
        return self.add_weight(name, shape, initializer=first, regularizer=self.b_regularizer,
                               constraint=self.b_constraint) if self.bias else None

    def _done(self) -> None:
        if self.initial_weights is not None:
            self.set_weights(self.initial_weights)
            self.initial_weights = None
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **described(self, "init", "W_regularizer", "b_regularizer",
                                                    "activity_regularizer", "W_constraint", "b_constraint"),
                "bias": self.bias, "input_dim": self.input_dim}


class MaxoutDense(_Legacy):
    """The largest of `nb_feature` linear maps of the input, for each output (Goodfellow et al., 2013).

    Weights: W (nb_feature, features, output_dim), b (nb_feature, output_dim).

    >>> from graphk.layers import Input
    >>> MaxoutDense(3, nb_feature=2)(Input((5,))).shape
    (None, 3)
    """

    def __init__(self, output_dim: int, nb_feature: int = 4, init: Any = "glorot_uniform", weights: Any = None,
                 W_regularizer: Any = None, b_regularizer: Any = None, activity_regularizer: Any = None,
                 W_constraint: Any = None, b_constraint: Any = None, bias: bool = True, input_dim: int | None = None,
                 **kwargs: Any):
        super().__init__(init, weights, W_regularizer, b_regularizer, activity_regularizer, W_constraint,
                         b_constraint, bias, input_dim, kwargs)
        self.output_dim, self.nb_feature = output_dim, nb_feature

    def build(self, input_shape: Any) -> None:
        self.W = self._weight("W", (self.nb_feature, self._width(input_shape), self.output_dim))
        self.b = self._bias("b", (self.nb_feature, self.output_dim))
        self._done()

    def call(self, inputs: Tensor) -> Tensor:
        out = K.dot(inputs, self.W)                        # (samples, nb_feature, output_dim)
        return K.max(out if self.b is None else out + self.b, axis=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_dim": self.output_dim, "nb_feature": self.nb_feature}


class Highway(_Legacy):
    """t · activation(x W + b) + (1 - t) · x, where t = sigmoid(x W_carry + b_carry) (Srivastava et al., 2015).

    Weights: W, W_carry (features, features), b, b_carry (features,); b_carry starts as ones.

    >>> from graphk.layers import Input
    >>> Highway(activation='tanh')(Input((5,))).shape
    (None, 5)
    """

    def __init__(self, init: Any = "glorot_uniform", activation: Any = None, weights: Any = None,
                 W_regularizer: Any = None, b_regularizer: Any = None, activity_regularizer: Any = None,
                 W_constraint: Any = None, b_constraint: Any = None, bias: bool = True, input_dim: int | None = None,
                 **kwargs: Any):
        kwargs.pop("transform_bias", None)                 # Keras 1's; Keras 2 drops it, too
        super().__init__(init, weights, W_regularizer, b_regularizer, activity_regularizer, W_constraint,
                         b_constraint, bias, input_dim, kwargs)
        self.activation = activations.get(activation)

    def build(self, input_shape: Any) -> None:
        width = self._width(input_shape)
        self.W = self._weight("W", (width, width))
        self.W_carry = self.add_weight("W_carry", (width, width), initializer=self.init)
        self.b = self._bias("b", (width,))
        self.b_carry = self.add_weight("b_carry", (width,), initializer="ones") if self.bias else None
        self._done()

    def call(self, inputs: Tensor) -> Tensor:
        carry, made = K.dot(inputs, self.W_carry), K.dot(inputs, self.W)
        if self.bias:
            carry, made = carry + self.b_carry, made + self.b
        t = K.sigmoid(carry)
        return self.activation(made) * t + (1. - t) * inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class TimeDistributedDense(Dense):
    """Keras 1's Dense for sequences; Dense takes them, too.

    >>> from graphk.layers import Input
    >>> import warnings; warnings.simplefilter("ignore")
    >>> TimeDistributedDense(4)(Input((7, 3))).shape
    (None, 7, 4)
    """

    def __init__(self, *args: Any, **kwargs: Any):
        warnings.warn("`TimeDistributedDense` is deprecated. Use `Dense`, which takes sequences.", stacklevel=3)
        super().__init__(*args, **kwargs)


_ELEMENTWISE: dict[str, Any] = {"sum": Add, "mul": Multiply, "ave": Average, "max": Maximum}
MODES = (*_ELEMENTWISE, "concat", "dot", "cos")


class Merge(Layer):
    """Several tensors as one: the outputs of `layers` (layers or models that were called already), or a list of inputs.

    mode: sum, mul, ave, max, concat (along concat_axis), dot or cos (along dot_axes: a pair, or one number, counted
    from the end), or a function of the list of tensors; output_shape, output_mask, arguments: as a Lambda's, for such a
    function; node_indices, tensor_indices: which call, and which of its outputs, of each of `layers`.

    >>> from graphk.layers import Dense
    >>> from graphk.models import Sequential
    >>> left, right = (Sequential([Dense(4, input_shape=(n,))]) for n in (2, 3))
    >>> import warnings; warnings.simplefilter("ignore")
    >>> model = Sequential([Merge([left, right], mode="concat"), Dense(1)])
    >>> model.input_shape, model.output_shape
    ([(None, 2), (None, 3)], (None, 1))
    """

    def __init__(self, layers: Any = None, mode: Any = "sum", concat_axis: int = -1, dot_axes: Any = -1,
                 output_shape: Any = None, output_mask: Any = None, arguments: dict[str, Any] | None = None,
                 node_indices: Any = None, tensor_indices: Any = None, name: str | None = None, **kwargs: Any):
        warnings.warn("The `Merge` layer is deprecated. Use instead layers from `keras.layers.merge`, e.g. `add`, "
                      "`concatenate`, etc.", stacklevel=3)
        super().__init__(name=name, **kwargs)
        if not callable(mode) and mode not in MODES:
            raise ValueError(f"Invalid merge mode: {mode!r} (layer {self.name})" + advice(mode, MODES, "modes")
                             + " A function of the list of tensors is a mode, too.")
        self.mode, self.concat_axis, self.dot_axes = mode, concat_axis, dot_axes
        self._output_shape, self._output_mask, self.arguments = output_shape, output_mask, arguments or {}
        self.supports_masking = True
        self.layers = list(layers or [])
        self._tensors: list[Tensor] = []
        if self.layers:
            self._merge_layers(node_indices, tensor_indices)

    def _merge_layers(self, node_indices: Any, tensor_indices: Any) -> None:
        """Call this layer on what its layers gave."""
        count = len(self.layers)
        for index, what in ((node_indices, "node_indices"), (tensor_indices, "tensor_indices")):
            if index and len(index) != count:
                raise ValueError(f"`{what}` of the layer {self.name} needs one number for each of its {count} layers; "
                                 f"received {index}.")
        nodes, tensors = node_indices or [0] * count, tensor_indices or [0] * count
        for layer, i, j in zip(self.layers, nodes, tensors):
            outputs = layer.get_output_at(i)
            self._tensors.append(outputs[j] if isinstance(outputs, list) else outputs)
        self(self._tensors)

    def branch_inputs(self) -> list[Tensor]:
        """The inputs that the merged layers come from, each once; none if there are no such layers."""
        found = [x for layer, out in zip(self.layers, self._tensors)
                 for x in (getattr(layer, "inputs", None) or get_source_inputs(out))]
        return list({id(x): x for x in found}.values())

    # ---------------------------------------------------------------- the layer that does it
    def _joining(self, shapes: list[Any]) -> Any:
        name = self.name
        if callable(self.mode):
            return Lambda(self.mode, self._output_shape, self._output_mask, self.arguments, name=name)
        if self.mode == "concat":
            return Concatenate(self.concat_axis, name=name)
        if self.mode in ("dot", "cos"):
            return Dot(self._pair_of_axes(shapes), normalize=self.mode == "cos", name=name)
        if len({tuple(s[1:]) for s in shapes}) > 1:
            raise ValueError(f"Only layers of same output shape can be merged using {self.mode} mode. Layer shapes: "
                             f"{shapes} (layer {name})")
        return _ELEMENTWISE[self.mode](name=name)

    def _pair_of_axes(self, shapes: list[Any]) -> Any:
        if not isinstance(self.dot_axes, int):
            return tuple(a[0] if isinstance(a, (list, tuple)) and len(a) == 1 else a for a in self.dot_axes)
        return tuple((self.dot_axes if self.dot_axes < 0 else -self.dot_axes) % len(s) for s in shapes)

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list) or len(input_shape) < 2:
            raise ValueError(f"The layer {self.name} merges at least two tensors or layers; received "
                             f"{input_shape if isinstance(input_shape, list) else 'one'}. Write Merge([a, b], mode=…).")
        self._join = self._joining(input_shape)
        self._join.build(input_shape)
        self.built = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        return self._join.call(inputs, mask) if has_arg(self._join.call, "mask") else self._join.call(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (self._join if self.built else self._joining(input_shape)).compute_output_shape(input_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the layer that does it."""
        return self._join.compute_mask(inputs, mask)

    # ---------------------------------------------------------------- configs
    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = {"name": self.name, "concat_axis": self.concat_axis, "dot_axes": self.dot_axes,
                                  "arguments": self.arguments}
        for key, value in (("mode", self.mode), ("output_shape", self._output_shape),
                           ("output_mask", self._output_mask)):
            config[key], config[key + "_type"] = _described(value)
        return config

    def config_with_layers(self) -> dict[str, Any]:
        """The config, with the merged layers: for a model that does not hold these itself, a Sequential."""
        made = [{"class_name": la.__class__.__name__, "config": la.get_config()} for la in self.layers]
        return {**self.get_config(), "layers": made}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "Merge":
        """A Merge, of new layers if the config has any; functions are looked up, as Lambda does, in custom_objects."""
        from graphk.frontend.layers import deserialize
        config = config_of(cls, config)
        for key in ("mode", "output_shape", "output_mask"):
            kind = config.pop(key + "_type", "raw")
            if kind != "raw":
                config[key] = _given_function(config[key], config.get("name") if key == "mode" else None, kind,
                                              custom_objects)
        made = [deserialize(la, custom_objects=custom_objects) for la in config.pop("layers", [])]
        return cls(layers=made, **config)


def merge(inputs: Any, mode: Any = "sum", concat_axis: int = -1, dot_axes: Any = -1, output_shape: Any = None,
          output_mask: Any = None, arguments: dict[str, Any] | None = None, name: str | None = None) -> Tensor:
    """`Merge(mode=mode, …)(inputs)`, for a list of tensors."""
    warnings.warn("The `merge` function is deprecated. Use instead layers from `keras.layers.merge`, e.g. `add`, "
                  "`concatenate`, etc.", stacklevel=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The `Merge` layer is deprecated")
        layer = Merge(None, mode, concat_axis, dot_axes, output_shape, output_mask, arguments, name=name)
    return layer(inputs)


__all__ = ["MaxoutDense", "Highway", "Merge", "TimeDistributedDense", "merge"]
