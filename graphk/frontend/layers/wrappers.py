"""Layers around a layer: TimeDistributed and Bidirectional.

In: a layer, and what it takes.  Out: what it makes of each time step, or of the sequence in both directions.  What
always holds: weights, losses and updates are those of the inner layers; a call's updates and penalties are found
under the wrapper's own inputs.
"""
from __future__ import annotations

import copy
from typing import Any, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import InputSpec, Layer
from graphk.frontend.engine.layer_state import check_listed
from graphk.frontend.engine.network import Network
from graphk.frontend.layers.rnn_base import call_with_extra, serialized, standardize_args
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.generic_utils import config_of, has_arg, object_list_uid, to_list
from graphk.frontend.utils.origin import is_own, module_of
from graphk.ir.dims import Dim


class Wrapper(Layer):
    """Base of layers that wrap another, `layer`, and show its weights, losses and updates as their own."""

    _num_constants: int | None

    def __init__(self, layer: Any, **kwargs: Any):
        if not isinstance(layer, Layer):
            hint = f" Write {layer.__name__}(…), with its arguments." if isinstance(layer, type) else \
                " Make the layer and do not call it." if isinstance(layer, Tensor) else \
                " Make a layer of a function by Lambda(function)." if callable(layer) else ""
            raise ValueError(f"{type(self).__name__} wraps a layer; received {layer!r}.{hint}")
        self.layer = layer
        self._input_map: dict[str, Any] = {}       # by the identity of a call's inputs: what inner layers received
        super().__init__(**{"trainable": getattr(layer, "trainable", True), **kwargs})

    def _inner(self) -> list[Any]:
        return [self.layer]

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    @property
    def activity_regularizer(self) -> Any:
        """The inner layer's."""
        return getattr(self.layer, "activity_regularizer", None)

    @property
    def trainable(self) -> Any:
        """Whether training may change the inner layer's weights."""
        return self.layer.trainable

    @trainable.setter
    def trainable(self, value: Any) -> None:
        for layer in self._inner():
            layer.trainable = value

    @property
    def trainable_weights(self) -> list[Any]:
        return [w for layer in self._inner() for w in layer.trainable_weights]

    @property
    def non_trainable_weights(self) -> list[Any]:
        return [w for layer in self._inner() for w in layer.non_trainable_weights]

    def get_weights(self) -> list[np.ndarray]:
        """The values of the inner layer's weights."""
        return [w for layer in self._inner() for w in layer.get_weights()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the values of the inner layer's weights."""
        self.layer.set_weights(weights)

    # ---------------------------------------------------------------- losses and updates
    def _of_call(self, getter: str, inputs: Any) -> list[Any]:
        if inputs is not None:
            inputs = self._input_map.get(object_list_uid(inputs), inputs)
        return [x for layer in self._inner() if hasattr(layer, getter) for x in getattr(layer, getter)(inputs)]

    @property
    def updates(self) -> list[Any]:
        return [u for layer in self._inner() for u in getattr(layer, "updates", [])] + super().updates

    @property
    def losses(self) -> list[Any]:
        return [x for layer in self._inner() for x in getattr(layer, "losses", [])] + super().losses

    def get_updates_for(self, inputs: Any = None) -> list[Any]:
        """The updates of a call on `inputs`, the inner layer's included."""
        return self._of_call("get_updates_for", inputs) + super().get_updates_for(inputs)

    def get_losses_for(self, inputs: Any = None) -> list[Any]:
        """The penalties of a call on `inputs`, the inner layer's included."""
        return self._of_call("get_losses_for", inputs) + super().get_losses_for(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": serialized(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "Wrapper":
        from graphk.frontend.layers import deserialize
        config = config_of(cls, config, "layer")
        number = config.pop("num_constants", None)
        layer = cls(deserialize(config.pop("layer"), custom_objects=custom_objects), **config)
        if number is not None:
            layer._num_constants = number
        return layer


def _treats_samples_alike(layer: Any) -> bool:
    """Whether what the layer makes of all steps' samples at once is what it makes of them step by step: so for
    graphk's own layers without state, and models of them; a layer of the user's may depend on the batch size."""
    if getattr(layer, "stateful", False):
        return False
    if isinstance(layer, Network):
        return is_own(type(layer)) and all(_treats_samples_alike(x) for x in layer.layers)
    if isinstance(layer, Wrapper):
        return module_of(type(layer)) == __name__ and _treats_samples_alike(layer.layer)
    return module_of(type(layer)).startswith("graphk.frontend.") and type(layer).__name__ != "Lambda"


class TimeDistributed(Wrapper):
    """Applies a layer to every time step: (samples, time, …) to (samples, time, …).

    Where the batch size is open, or the layer is one of graphk's, all steps go through the layer as one large batch;
    a layer of the user's with a known batch size runs step by step.

    >>> from graphk.layers import Dense, Input
    >>> TimeDistributed(Dense(4))(Input((None, 3))).shape
    (None, None, 4)
    """

    def __init__(self, layer: Any, **kwargs: Any):
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any = None) -> None:
        if len(input_shape) < 3:
            raise ValueError(f"`TimeDistributed` Layer should be passed an input_shape with at least 3 dimensions, "
                             f"received: {list(input_shape)} (layer {self.name}). The first is the batch, the second "
                             f"time.")
        self.input_spec = InputSpec(shape=(None, None, *input_shape[2:]))
        if not self.layer.built:
            self.layer.build(_step_shape(input_shape))                        # weights are named after the wrapper
            self.layer.built = True
            if self.layer._initial_weights is not None:
                self.layer.set_weights(self.layer._initial_weights)
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        out = self.layer.compute_output_shape(_step_shape(input_shape))
        if isinstance(out, list):
            return [(s[0], input_shape[1], *s[1:]) for s in out]
        return (out[0], input_shape[1], *out[1:])

    def call(self, inputs: Tensor, training: Any = None, mask: Any = None) -> Any:
        """The inner layer's outputs, time axis in place."""
        kwargs: dict[str, Any] = {"training": training} if has_arg(self.layer.call, "training") else {}
        shape = K.int_shape(inputs)
        if shape[0] and not _treats_samples_alike(self.layer):
            def step(x: Tensor, _: Any) -> tuple[Tensor, list[Any]]:
                x._keras_shape = _step_shape(shape)
                return self.layer.call(x, **kwargs), []
            return K.rnn(step, inputs, [], mask=None)[1]
        x = _merged(inputs)
        x._keras_shape = (None, *shape[2:])
        if mask is not None and has_arg(self.layer.call, "mask"):
            kwargs["mask"] = _merged(mask)
        self._input_map[object_list_uid(inputs)] = x
        y = self.layer.call(x, **kwargs)
        batch, time = inputs.node.shape[:2]
        return [_split(z, batch, time) for z in y] if isinstance(y, (list, tuple)) else _split(y, batch, time)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The inner layer's mask of each step; where it has none, whether any part of the step was there."""
        merged = self._input_map.get(object_list_uid(inputs))
        if merged is None:
            return mask
        out = self.layer.compute_mask(merged, None if mask is None else _merged(mask))
        batch, time = inputs.node.shape[:2]
        if isinstance(out, list):
            return [None if m is None else _split(m, batch, time) for m in out]
        if out is not None:
            return _split(out, batch, time)
        while mask is not None and mask.ndim > 2:
            mask = K.any(mask, axis=-1)
        return mask


def _step_shape(shape: Any) -> tuple[Any, ...]:
    return (shape[0], *shape[2:])


def _merged(x: Tensor) -> Tensor:
    """(samples, time, …) as (samples * time, …)."""
    d = x.node.shape
    return K.reshape(x, (d[0] * d[1], *d[2:]))


def _split(x: Tensor, batch: Dim, time: Dim) -> Tensor:
    return K.reshape(x, (batch, time, *x.node.shape[1:]))


def _reversed(layer: Any) -> Any:
    """A layer like `layer`, with weights of its own, that goes the other way."""
    if layer.built:
        config = layer.get_config()
        return layer.__class__.from_config({**config, "go_backwards": not config["go_backwards"]})
    other = copy.deepcopy(layer)              # not from its config, which cannot name functions and cells of the user's
    other.go_backwards = not layer.go_backwards
    return other


class Bidirectional(Wrapper):
    """Runs a recurrent layer over the sequence in both directions and joins the outputs.

    merge_mode: 'concat', 'sum', 'mul', 'ave', or None for a list of both outputs; weights: first weights, those of the
    forward layer, then of the backward one.

    >>> from graphk.layers import LSTM, Input
    >>> Bidirectional(LSTM(4, return_sequences=True))(Input((None, 3))).shape
    (None, None, 8)
    """

    def __init__(self, layer: Any, merge_mode: Any = "concat", weights: Any = None, **kwargs: Any):
        if merge_mode not in ("sum", "mul", "ave", "concat", None):
            raise ValueError('Invalid merge mode. Merge mode should be one of {"sum", "mul", "ave", "concat", None}'
                             f"; received {merge_mode!r}.")
        if not hasattr(layer, "go_backwards"):
            raise ValueError("Bidirectional wraps recurrent layers (RNN, SimpleRNN, GRU, LSTM), made but not called; "
                             f"received {getattr(layer, 'name', layer)!r:.200}, a {type(layer).__name__}.")
        self.forward_layer = copy.copy(layer)
        self.backward_layer = _reversed(layer)
        self.forward_layer.name = "forward_" + self.forward_layer.name
        self.backward_layer.name = "backward_" + self.backward_layer.name
        self.merge_mode = merge_mode
        if weights:
            half = len(weights) // 2
            self.forward_layer._initial_weights, self.backward_layer._initial_weights = weights[:half], weights[half:]
        super().__init__(layer, **kwargs)
        self.stateful, self.return_sequences = layer.stateful, layer.return_sequences
        self.return_state = layer.return_state
        self.supports_masking = True
        self.input_spec = layer.input_spec
        self._num_constants = None

    def _inner(self) -> list[Any]:
        return [self.forward_layer, self.backward_layer]

    @property
    def trainable(self) -> Any:
        """Whether training may change the weights of both directions."""
        return self.forward_layer.trainable

    @trainable.setter
    def trainable(self, value: Any) -> None:
        self.layer.trainable = self.forward_layer.trainable = self.backward_layer.trainable = value

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the weights: the forward layer's, then the backward layer's."""
        check_listed(self, weights)
        want = [w.shape for w in self.weights]
        if len(weights) != len(want):
            raise ValueError(f"set_weights of the layer {self.name} takes {len(want)} arrays, of the shapes {want}, "
                             f"those "
                             f"of the forward layer first; received {len(weights)}.")
        half = len(weights) // 2
        K.batch_set_value([*self.forward_layer._weight_values(weights[:half]),
                           *self.backward_layer._weight_values(weights[half:])])

    def build(self, input_shape: Any = None) -> None:
        for layer in self._inner():
            with K.name_scope(layer.name):
                if not layer.built:
                    layer.build(input_shape)
                    layer.built = True
            if layer._initial_weights is not None:
                layer.set_weights(layer._initial_weights)
        self.input_spec = [to_list(self.forward_layer.input_spec)[0], *to_list(self.input_spec)[1:]]
        self.built = True

    def reset_states(self) -> None:
        """Clear the states of both directions."""
        for layer in self._inner():
            layer.reset_states()

    # ---------------------------------------------------------------- shapes and masks
    def compute_output_shape(self, input_shape: Any) -> Any:
        out = self.forward_layer.compute_output_shape(input_shape)
        out, states = (out[0], out[1:]) if self.return_state else (out, [])
        if self.merge_mode == "concat":
            out = (*out[:-1], out[-1] * 2)
        outs = [out, out] if self.merge_mode is None else [out]
        return [*outs, *states, *states] if self.return_state or len(outs) > 1 else out

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The sequence's mask for outputs that are sequences; None for states."""
        mask = (mask[0] if isinstance(mask, list) else mask) if self.return_sequences else None
        masks = [mask, mask] if self.merge_mode is None else [mask]
        if self.return_state:
            masks += [None] * 2 * len(self.forward_layer.states)
        return masks if len(masks) > 1 else mask

    # ---------------------------------------------------------------- calling
    def __call__(self, inputs: Any, initial_state: Any = None, constants: Any = None, **kwargs: Any) -> Any:
        inputs, initial_state, constants = standardize_args(inputs, initial_state, constants, self._num_constants)
        states = self._halves(initial_state)
        for layer, half in zip(self._inner(), states):
            layer.expect(half, constants)
        if constants:
            self._num_constants = len(constants)
        return call_with_extra(super().__call__, self, inputs, initial_state, constants, kwargs)

    @staticmethod
    def _halves(states: Any) -> tuple[Any, Any]:
        if not states:
            return None, None
        if len(states) % 2:
            raise ValueError("When passing `initial_state` to a Bidirectional RNN, the state should be a list "
                             "containing the states of the underlying RNNs. Found: " + str(states))
        return states[:len(states) // 2], states[len(states) // 2:]

    def call(self, inputs: Any, mask: Any = None, training: Any = None, initial_state: Any = None,
             constants: Any = None) -> Any:
        """Both directions' outputs, joined, then their last states if `return_state`."""
        x = inputs
        if isinstance(inputs, list):
            x, initial_state, constants = standardize_args(inputs, initial_state, constants, self._num_constants)
        self._input_map[object_list_uid(inputs)] = x
        given = {"mask": mask, "training": training, "constants": constants}
        outs: list[Any] = []
        states: list[Any] = []
        for layer, half in zip(self._inner(), self._halves(initial_state)):
            kwargs = {k: v for k, v in {**given, "initial_state": half}.items()
                      if v is not None and has_arg(layer.call, k)}
            y = layer.call(x, **kwargs)
            outs.append(y[0] if self.return_state else y)
            states += y[1:] if self.return_state else []
        if self.return_sequences:
            outs[1] = K.reverse(outs[1], 1)
        merged = self._merge(*outs)
        return [*to_list(merged), *states] if self.return_state else merged

    def _merge(self, y: Tensor, back: Tensor) -> Any:
        if self.merge_mode is None:
            return [y, back]
        if self.merge_mode == "concat":
            return K.concatenate([y, back])
        return y * back if self.merge_mode == "mul" else (y + back) / 2. if self.merge_mode == "ave" else y + back

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "merge_mode": self.merge_mode}
        return config if self._num_constants is None else {**config, "num_constants": self._num_constants}


__all__ = ["Wrapper", "TimeDistributed", "Bidirectional"]
