"""Recurrent: what recurrent layers of one's own were derived from before there were cells.

In: sequences (samples, time, features).  Out: the last output, or all of them.  What always holds: the layer itself
has the weights, and its `step` is what a cell's `call` is; everything else is an RNN's.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.backend.recurrence import recur
from graphk.frontend.engine.base_layer import InputSpec, Layer
from graphk.frontend.layers.cells import generate_dropout_mask
from graphk.frontend.layers.rnn_base import RNN
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.generic_utils import config_of, has_arg


class _OwnSteps:
    """The sizes that an RNN asks its cell for, as a Recurrent layer has them."""

    def __init__(self, layer: Any):
        self.layer = layer

    @property
    def output_size(self) -> int:
        """The layer's `units`, or Keras 1's `output_dim`."""
        return self.layer.units if hasattr(self.layer, "units") else self.layer.output_dim

    @property
    def state_size(self) -> list[int]:
        """As many as the layer's `states`, all of the output's size."""
        return [self.output_size] * len(self.layer._states or [None])


class Recurrent(RNN):
    """Base of recurrent layers that define `step(inputs, states) -> (output, new states)` and build their own weights.

    Subclasses set `units` and, in `build`, `states` to a list of as many None as there are states, and may define
    `preprocess_input(x)`, whose steps `step` gets, `get_constants(x)`, which come after the states, and
    `get_initial_state(x)`.

    >>> from graphk.layers import Input
    >>> class Sum(Recurrent):
    ...     units = 3
    ...     def step(self, x, states):
    ...         return x + states[0], [x + states[0]]
    >>> Sum(return_sequences=True)(Input((None, 3))).shape
    (None, None, 3)
    """

    def __init__(self, return_sequences: bool = False, return_state: bool = False, go_backwards: bool = False,
                 stateful: bool = False, unroll: bool = False, implementation: int = 0, **kwargs: Any):
        kwargs.pop("consume_less", None)                              # Keras 1's name of `implementation`
        self.cell: Any = _OwnSteps(self)
        self._init_sequence(return_sequences, return_state, go_backwards, stateful, unroll, kwargs)
        self.implementation = implementation
        self.dropout = self.recurrent_dropout = 0.

    # ---------------------------------------------------------------- what subclasses define
    def build(self, input_shape: Any) -> None:
        if self.stateful:
            self.input_spec = [InputSpec(shape=input_shape[0] if isinstance(input_shape, list) else input_shape)]
            self.reset_states()
        self.built = True

    def step(self, inputs: Tensor, states: list[Tensor]) -> Any:
        """The output and the new states of one step; `states` are followed by the constants."""
        raise NotImplementedError(f"{type(self).__name__} must define step(inputs, states)")

    def preprocess_input(self, inputs: Tensor, training: Any = None) -> Tensor:
        """What steps see of the inputs."""
        return inputs

    def get_constants(self, inputs: Tensor, training: Any = None) -> list[Any]:
        """What every step gets after the states."""
        return []

    def get_initial_state(self, inputs: Tensor) -> list[Tensor]:
        """Zeros for each state, or what Keras 1's `get_initial_states` gives."""
        own = getattr(self, "get_initial_states", None)
        return super().get_initial_state(inputs) if own is None else own(inputs)

    # ---------------------------------------------------------------- an RNN with its own steps
    def _recur(self, inputs: Tensor, initial_state: list[Any], constants: Any, mask: Any, training: Any) -> Any:
        def with_training(fn: Any) -> Any:
            return fn(inputs, training=training) if has_arg(fn, "training") else fn(inputs)
        constants = with_training(self.get_constants)
        return recur(self.step, with_training(self.preprocess_input), initial_state, self.go_backwards, mask,
                     constants, self.unroll, K.int_shape(inputs)[1], self.return_sequences)

    trainable_weights = Layer.trainable_weights
    non_trainable_weights = Layer.non_trainable_weights

    def get_config(self) -> dict[str, Any]:
        own = {"return_sequences": self.return_sequences, "return_state": self.return_state,
               "go_backwards": self.go_backwards, "stateful": self.stateful, "unroll": self.unroll,
               "implementation": self.implementation}
        return {**Layer.get_config(self), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "Recurrent":
        """A layer made from `get_config()`."""
        return cls(**config_of(cls, config))


def time_distributed_dense(x: Tensor, w: Tensor, b: Tensor | None = None, dropout: float | None = None,
                           input_dim: int | None = None, output_dim: int | None = None, timesteps: int | None = None,
                           training: Any = None) -> Tensor:
    """x · w + b at every step of (samples, time, features); `dropout` with one mask for all of them.

    The sizes are known from the tensors; Keras 2.0 asked for them.
    """
    if dropout:
        x = x * K.expand_dims(generate_dropout_mask(K.ones_like(x[:, 0]), dropout, training), 1)
    x = K.dot(x, w)
    return x if b is None else K.bias_add(x, b)


__all__ = ["Recurrent"]
