"""Recurrent cells: what SimpleRNN, GRU and LSTM do at one time step.

In: the inputs of one step (samples, features) and the states.  Out: the output and the new states.  What always holds:
the part of a step that needs no state (`project`) takes whole sequences too, so that a layer computes it for all
steps in one product; dropout masks are drawn once for a whole sequence.
"""
from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, Sequence

import numpy as np

from graphk.frontend import config, initializers
from graphk.frontend import backend as K
from graphk.frontend.backend.random_ops import inside_loop, step_node
from graphk.frontend.engine.base_layer import Layer, initial
from graphk.frontend.layers.arguments import fraction, size
from graphk.frontend.layers.settings import add_kernel, adopt, described, settings_of
from graphk.frontend.tensor import Tensor

# What LSTM and GRU take where nothing is given.
RECURRENT_ACTIVATION, IMPLEMENTATION = ("sigmoid", 2) if config.keras_semantics() == "2.3" else ("hard_sigmoid", 1)

_sequences: list[tuple[object, Any]] = []        # the calls of recurrent layers under way: who, and what draws there


@contextmanager
def one_sequence() -> Iterator[None]:
    """All steps made inside share their dropout masks, which are drawn where this was entered."""
    _sequences.append((object(), step_node()))
    try:
        yield
    finally:
        _sequences.pop()


def generate_dropout_mask(ones: Tensor, rate: float, training: Any = None, count: int = 1) -> Any:
    """In training dropout of `ones`, the same for all steps of a sequence; `count` of them if that is more than 1.

    For cells of the user's whose steps are written out, as Keras's own are.
    """
    with inside_loop(_sequences[-1][1] if _sequences else step_node()):
        masks = [K.dropout(ones, rate) for _ in range(count)]
    masks = [K.in_train_phase(m, ones, training=training) for m in masks]
    return masks if count > 1 else masks[0]


class _GatePart:
    """A gate's columns of a weight as an attribute; what a subclass sets under the same name takes its place."""

    def __init__(self, weight: str, gate: int):
        self.weight, self.gate = weight, gate

    def __get__(self, cell: Any, owner: Any = None) -> Any:
        if cell is None:
            return self
        whole = getattr(cell, self.weight)
        return None if whole is None else cell.columns(whole, self.gate)


def show_gates(cls: type, gates: str, weights: Sequence[str]) -> None:
    """Give a cell an attribute for each gate of each weight: `kernel_i`, `kernel_f`, …"""
    for weight in weights:
        for i, gate in enumerate(gates):
            setattr(cls, f"{weight}_{gate}", _GatePart(weight, i))


class Cell(Layer):
    """What the three cells share: weights, dropout masks, config.

    kernel: (features, gates * units); recurrent_kernel: (units, gates * units); bias: (gates * units,).
    """

    gates = 1
    activation: Any
    recurrent_activation: Any
    recurrent_initializer: Any
    bias_initializer: Any
    bias: Any
    _dropout_mask = _recurrent_dropout_mask = None         # for subclasses that keep masks there, as Keras's cells do
    unit_forget_bias = False

    def __init__(self, units: int, activation: Any = "tanh", use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
                 bias_initializer: Any = "zeros", kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
                 bias_regularizer: Any = None, kernel_constraint: Any = None, recurrent_constraint: Any = None,
                 bias_constraint: Any = None, dropout: float = 0., recurrent_dropout: float = 0., **kwargs: Any):
        super().__init__(**kwargs)
        self.units = size(self, "units", units)
        self.use_bias = use_bias
        adopt(self, activation=activation, kernel_initializer=kernel_initializer, bias_initializer=bias_initializer,
              recurrent_initializer=recurrent_initializer, kernel_regularizer=kernel_regularizer,
              recurrent_regularizer=recurrent_regularizer, bias_regularizer=bias_regularizer,
              kernel_constraint=kernel_constraint, recurrent_constraint=recurrent_constraint,
              bias_constraint=bias_constraint)
        self.dropout = fraction(self, "dropout", dropout)
        self.recurrent_dropout = fraction(self, "recurrent_dropout", recurrent_dropout)
        self.implementation = 2
        self.state_size: Any = self.units
        self.output_size = self.units
        self._masks: dict[Any, list[Tensor]] = {}
        self._masks_of: object = None

    def build(self, input_shape: Any) -> None:
        if input_shape[-1] is None:
            raise ValueError(f"The last dimension of the inputs to {self.name} should be defined. Found `None` in the "
                             f"shape of one step, {tuple(input_shape)}.")
        width = self.gates * self.units
        self.kernel = add_kernel(self, "kernel", (input_shape[-1], width))
        self.recurrent_kernel = add_kernel(self, "recurrent", (self.units, width), "recurrent_kernel",
                                           initializer=self._first_recurrent)
        self.bias = add_kernel(self, "bias", self._bias_shape(), initializer=self._first_bias) if self.use_bias \
            else None
        self.built = True

    def _bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def _first_recurrent(self, shape: Any, dtype: str | None = None) -> Any:
        make = self.recurrent_initializer
        if isinstance(make, initializers.Identity):                            # one for each gate
            return np.concatenate([make((self.units, self.units), dtype)] * self.gates, axis=1)
        return initial(make, shape, dtype)

    def _first_bias(self, shape: Any, dtype: str | None = None) -> Any:
        return initial(self.bias_initializer, shape, dtype)

    # ---------------------------------------------------------------- the step
    def call(self, inputs: Tensor, states: Sequence[Tensor], training: Any = None) -> tuple[Tensor, list[Tensor]]:
        """The output and the new states of one step."""
        return self.advance(self.project(inputs, training), states, training)

    def project(self, inputs: Tensor, training: Any = None) -> Tensor:
        """What a step makes of its inputs alone, (…, gates * units), for one step or (time, samples, …)."""
        masks = self.dropout_masks("inputs", inputs, self.dropout)
        out = self._product(inputs, self.kernel, masks, training)
        bias = self._input_bias()
        return out if bias is None else K.bias_add(out, bias, data_format="channels_last")

    def advance(self, projected: Tensor, states: Sequence[Tensor], training: Any = None
                ) -> tuple[Tensor, list[Tensor]]:
        """The rest of the step, from what `project` made of the inputs."""
        raise NotImplementedError(f"{type(self).__name__} must define `advance`")

    def _input_bias(self) -> Any:
        return self.bias

    def _product(self, x: Tensor, kernel: Tensor, masks: list[Tensor] | None, training: Any) -> Tensor:
        """x · kernel; in training each gate's columns see `x` through a mask of their own, if there are several."""
        if masks is None:
            return K.dot(x, kernel)
        if len(masks) == 1:
            return K.dot(masked(x, masks[0], training), kernel)

        def gate_by_gate() -> Tensor:
            return K.concatenate([K.dot(x * m, self.columns(kernel, i)) for i, m in enumerate(masks)])
        return K.in_train_phase(gate_by_gate, lambda: K.dot(x, kernel), training=training)

    def columns(self, x: Tensor, gate: int, stop: int | None = None) -> Tensor:
        """The part of the last axis that belongs to the gate of that number (or to gates up to `stop`)."""
        return x[..., gate * self.units:(gate + 1 if stop is None else stop) * self.units]

    def dropout_masks(self, kind: str, x: Tensor, rate: float) -> list[Tensor] | None:
        """Masks (samples, features) for training: one, or one per gate for implementation 1; None without dropout.

        Steps of one sequence get the same ones.
        """
        if not 0. < rate < 1.:
            return None
        sequence, draws = _sequences[-1] if _sequences else (None, step_node())
        if self._masks_of is not sequence:
            self._masks, self._masks_of = {}, sequence
        shape = (x.node.shape[-2], x.node.shape[-1])
        key = (kind, shape)
        if key not in self._masks:
            count = self.gates if self.implementation == 1 else 1
            with inside_loop(draws):
                self._masks[key] = [K.random_binomial(shape, 1. - rate, dtype=x.dtype) * (1. / (1. - rate))
                                    for _ in range(count)]
        return self._masks[key]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "use_bias": self.use_bias, "dropout": self.dropout,
                "recurrent_dropout": self.recurrent_dropout,
                **described(self, "activation", *settings_of("kernel", "recurrent", "bias"))}


def masked(x: Tensor, mask: Tensor, training: Any) -> Tensor:
    """`x` times a dropout mask, in training."""
    return K.in_train_phase(lambda: x * mask, x, training=training)


class SimpleRNNCell(Cell):
    """One step of SimpleRNN: activation(x · kernel + h · recurrent_kernel + bias).

    >>> SimpleRNNCell(4).state_size
    4
    """

    def advance(self, projected: Tensor, states: Sequence[Tensor], training: Any = None
                ) -> tuple[Tensor, list[Tensor]]:
        masks = self.dropout_masks("states", states[0], self.recurrent_dropout)
        h = self.activation(projected + self._product(states[0], self.recurrent_kernel, masks, training))
        return h, [h]


class GRUCell(Cell):
    """One step of GRU (Cho et al., 2014); gates z, r, h: h' = z·h + (1-z)·tanh(W x + U (r·h)).

    implementation: 1 draws a dropout mask for each gate, 2 one for all.  reset_after: r multiplies U h instead of h,
    as cuDNN computes it; the bias then is (2, 3 * units), for inputs and states.

    >>> GRUCell(4).state_size
    4
    """

    gates = 3

    def __init__(self, units: int, activation: Any = "tanh", recurrent_activation: Any = RECURRENT_ACTIVATION,
                 use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
                 recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, recurrent_regularizer: Any = None, bias_regularizer: Any = None,
                 kernel_constraint: Any = None, recurrent_constraint: Any = None, bias_constraint: Any = None,
                 dropout: float = 0., recurrent_dropout: float = 0., implementation: int = IMPLEMENTATION,
                 reset_after: bool = False, **kwargs: Any):
        super().__init__(units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
                         kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint,
                         recurrent_constraint, bias_constraint, dropout, recurrent_dropout, **kwargs)
        adopt(self, recurrent_activation=recurrent_activation)
        self.implementation, self.reset_after = implementation, reset_after

    def _bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def _input_bias(self) -> Any:
        return self.bias[0] if self.use_bias and self.reset_after else self.bias

    @property
    def input_bias(self) -> Any:
        """The bias of what the gates make of inputs."""
        return self._input_bias()

    @property
    def recurrent_bias(self) -> Any:
        """The bias of what the gates make of states: None unless reset_after."""
        return self.bias[1] if self.use_bias and self.reset_after else None

    def advance(self, projected: Tensor, states: Sequence[Tensor], training: Any = None
                ) -> tuple[Tensor, list[Tensor]]:
        h = states[0]
        masks = self.dropout_masks("states", h, self.recurrent_dropout)
        if masks is not None and self.implementation != 1:
            h, masks = masked(h, masks[0], training), None           # the old state passes on through the mask, too
        u = self.recurrent_kernel
        if self.reset_after:
            inner = self._product(h, u, masks, training)
            inner = inner + self.bias[1] if self.use_bias else inner
            z, r = (self.recurrent_activation(self.columns(projected, i) + self.columns(inner, i)) for i in (0, 1))
            candidate = r * self.columns(inner, 2)
        else:
            inner = self._product(h, self.columns(u, 0, 2), masks and masks[:2], training)
            z, r = (self.recurrent_activation(self.columns(projected, i) + self.columns(inner, i)) for i in (0, 1))
            seen = h if masks is None else masked(h, masks[2], training)
            candidate = K.dot(r * seen, self.columns(u, 2))
        h = z * h + (1. - z) * self.activation(self.columns(projected, 2) + candidate)
        return h, [h]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **described(self, "recurrent_activation"),
                "implementation": self.implementation, "reset_after": self.reset_after}


class LSTMCell(Cell):
    """One step of LSTM (Hochreiter and Schmidhuber, 1997); gates i, f, c, o; states h, c.

    implementation: 1 draws a dropout mask for each gate, 2 one for all.  unit_forget_bias: the forget gate's bias
    starts at 1 (Jozefowicz et al., 2015).

    >>> LSTMCell(4).state_size
    (4, 4)
    """

    gates = 4

    def __init__(self, units: int, activation: Any = "tanh", recurrent_activation: Any = RECURRENT_ACTIVATION,
                 use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
                 recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros",
                 unit_forget_bias: bool = True, kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
                 bias_regularizer: Any = None, kernel_constraint: Any = None, recurrent_constraint: Any = None,
                 bias_constraint: Any = None, dropout: float = 0., recurrent_dropout: float = 0.,
                 implementation: int = IMPLEMENTATION, **kwargs: Any):
        super().__init__(units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
                         kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint,
                         recurrent_constraint, bias_constraint, dropout, recurrent_dropout, **kwargs)
        adopt(self, recurrent_activation=recurrent_activation)
        self.implementation, self.unit_forget_bias = implementation, unit_forget_bias
        self.state_size = (self.units, self.units)

    def _first_bias(self, shape: Any, dtype: str | None = None) -> Any:
        return forget_bias(self, shape, dtype, 1)

    def advance(self, projected: Tensor, states: Sequence[Tensor], training: Any = None
                ) -> tuple[Tensor, list[Tensor]]:
        h, c = states
        masks = self.dropout_masks("states", h, self.recurrent_dropout)
        gates = projected + self._product(h, self.recurrent_kernel, masks, training)
        i, f, o = (self.recurrent_activation(self.columns(gates, k)) for k in (0, 1, 3))
        c = f * c + i * self.activation(self.columns(gates, 2))
        h = o * self.activation(c)
        return h, [h, c]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **described(self, "recurrent_activation"),
                "unit_forget_bias": self.unit_forget_bias, "implementation": self.implementation}


show_gates(GRUCell, "zrh", ("kernel", "recurrent_kernel", "input_bias", "recurrent_bias"))
show_gates(LSTMCell, "ifco", ("kernel", "recurrent_kernel", "bias"))


def forget_bias(cell: Any, shape: Any, dtype: str | None, gate: int) -> np.ndarray:
    """The first bias of an LSTM: ones at the gate of that number, if `unit_forget_bias`, and else what the initializer
    gives."""
    if not cell.unit_forget_bias:
        return initial(cell.bias_initializer, shape, dtype)
    before, units, gates = gate * cell.units, cell.units, shape[0] // cell.units
    parts = [initial(cell.bias_initializer, (before,), dtype), np.ones((units,)),
             initial(cell.bias_initializer, ((gates - gate - 1) * units,), dtype)]
    return np.concatenate([K.eval(p) if isinstance(p, Tensor) else p for p in parts])
