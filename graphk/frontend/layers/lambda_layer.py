"""Lambda: a function of the user's as a layer.

In: a function of tensors, and what it takes besides.  Out: what it makes of the inputs.  What always holds: a config
keeps the functions themselves for this process, and their names alone for files; no code is ever read from a file.
"""
from __future__ import annotations

import os
from typing import Any, Callable

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import Layer, plain_shape
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.generic_utils import (
    FunctionName,
    config_of,
    deserialize_keras_object,
    get_custom_objects,
    has_arg,
    to_list,
    unpack_singleton,
)


class Lambda(Layer):
    """A function of tensors as a layer.

    output_shape: tuple without the batch axis, or a function of the input shape; by default what the tensor says.
    mask: a tensor or a function (inputs, mask) -> mask; arguments: further keyword arguments of the function.
    Configs hold the functions for this process, files their names: pass a function in custom_objects, by its name or
    the layer's, to load a model that another process saved.

    >>> K.eval(Lambda(lambda x: K.sum(x, axis=1, keepdims=True))(K.variable([[1., 2.]]))).tolist()
    [[3.0]]
    """

    def __init__(self, function: Callable[..., Any], output_shape: Any = None, mask: Any = None,
                 arguments: dict[str, Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if not callable(function):
            raise TypeError(f"Lambda layer {self.name}: `function` must be a function of tensors; received "
                            f"{function!r}. Activations by name are Activation layers.")
        if arguments is not None and not isinstance(arguments, dict):
            raise TypeError(f"Lambda layer {self.name}: `arguments` must be a dict of keyword arguments of the "
                            f"function; "
                            f"received {arguments!r:.200}.")
        self.function = function
        self.arguments = arguments or {}
        self.mask = mask
        self.supports_masking = mask is not None
        if output_shape is not None and not callable(output_shape) and not isinstance(output_shape, (tuple, list)):
            raise TypeError("In Lambda, `output_shape` must be a list, a tuple, or a function; received "
                            f"{output_shape!r:.200}.")
        known = output_shape is not None and not callable(output_shape)
        self._output_shape = plain_shape(output_shape) if known else output_shape
        self._seen: tuple[Any, Any] = None, None               # shapes of the latest call's inputs and outputs

    def call(self, inputs: Any, mask: Any = None) -> Any:
        arguments = dict(self.arguments)
        if has_arg(self.function, "mask"):
            arguments["mask"] = mask
        out = self.function(inputs, **arguments)
        if not all(isinstance(x, Tensor) for x in (out if isinstance(out, (list, tuple)) else [out])):
            raise ValueError(f"The function of the Lambda layer {self.name} returned {str(out)[:100]} (a "
                             f"{type(out).__name__}); it must return a tensor, or a list of tensors, made with the "
                             "functions of K.")
        given = unpack_singleton([K.int_shape(x) for x in to_list(inputs)])
        self._seen = given, unpack_singleton([K.int_shape(x) for x in to_list(out, allow_tuple=True)])
        return out

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._output_shape is None:
            if self._seen[0] != input_shape:
                self.call(unpack_singleton([K.placeholder(s) for s in to_list(input_shape)]))
            return self._seen[1]
        if callable(self._output_shape):
            shape = self._output_shape(input_shape)
            if not isinstance(shape, (list, tuple)):
                raise ValueError("`output_shape` function must return a tuple or a list of tuples.")
            if isinstance(shape, list) and shape and (isinstance(shape[0], int) or shape[0] is None):
                shape = tuple(shape)
            return shape
        if isinstance(self._output_shape[0] if self._output_shape else None, (tuple, list)):
            return [tuple(s) for s in self._output_shape]
        batch = (input_shape[0] if isinstance(input_shape, list) else input_shape)[0]
        return (batch,) + tuple(self._output_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """What `mask` says."""
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def get_config(self) -> dict[str, Any]:
        function, kind = _described(self.function)
        shape, shape_kind = _described(self._output_shape)
        config = {"function": function, "function_type": kind, "output_shape": shape, "output_shape_type": shape_kind,
                  "arguments": self.arguments}
        if callable(self.mask):
            config["mask"], config["mask_type"] = _described(self.mask)
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "Lambda":
        """A Lambda with the functions of a config of this process; those of a file are looked up in custom_objects,
        under their own or the layer's name."""
        config = {k: v for k, v in config_of(cls, config, "function").items()
                  if k not in ("module", "output_shape_module", "mask_module")}
        for key in ("function", "output_shape", "mask"):
            kind, stored = config.pop(key + "_type", "raw"), config.get(key)
            if key == "output_shape" and kind == "lambda" and str(stored) not in _made_here:
                config[key] = None                             # lost in a file, but tensors know their shapes
            elif kind != "raw":
                name = config.get("name")
                config[key] = _given_function(stored, name if key == "function" else f"{name}.{key}", kind,
                                              custom_objects)
        config["arguments"] = {k: np.array(v["value"]) if isinstance(v, dict) and v.get("type") == "ndarray" else v
                               for k, v in (config.get("arguments") or {}).items()}
        return cls(**config)


_made_here: dict[str, Any] = {}
_process = os.urandom(8).hex()


def _described(x: Any) -> tuple[Any, str]:
    """What a config says of a function, or of anything else, and its kind."""
    if not callable(x):
        return x, "raw"
    own = getattr(x, "__name__", type(x).__name__)
    if own == "<lambda>":
        name = next((FunctionName(n) for n, f in _made_here.items() if f is x), None) \
            or FunctionName(f"<lambda> {len(_made_here)} of {_process}")
    else:
        name = FunctionName(own)
    name.function = x
    _made_here[name] = x if _made_here.get(name, x) is x else None
    return name, "lambda" if own == "<lambda>" else "function"


def _given_function(stored: Any, layer: str | None, kind: str, custom_objects: dict[str, Any] | None) -> Any:
    """The function of a config, or one by the name that a file holds; never from stored byte code."""
    given = {**get_custom_objects(), **(custom_objects or {})}
    if layer in given:
        return given[layer]
    if isinstance(stored, FunctionName):
        return given.get(stored, stored.function)
    if isinstance(stored, str) and stored not in given and _made_here.get(stored) is not None:
        return _made_here[stored]
    if kind == "function" and isinstance(stored, str):
        return deserialize_keras_object(
            stored, custom_objects=custom_objects, printable_module_name="function in Lambda layer"
        )
    raise ValueError(
        f"The Lambda layer `{layer}` holds a function that cannot be loaded: graphk executes no code from files. "
        f"Pass the function by the layer's name: custom_objects={{'{layer}': function}}."
    )
