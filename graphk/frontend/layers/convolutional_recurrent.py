"""Recurrent convolutions: ConvRNN2D, an RNN whose states are images, and ConvLSTM2D (Shi et al., 2015).

In: sequences of images (samples, time, rows, cols, channels), or channels before rows with 'channels_first'.  Out: the
last image of states, or all of them.  What always holds: the convolution of the inputs is done for all steps at once,
that of the states step by step, with stride 1 and 'same' padding, so states keep their shape.
"""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import InputSpec
from graphk.frontend.layers.arguments import windows_fit
from graphk.frontend.layers.cells import Cell, forget_bias, show_gates
from graphk.frontend.layers.recurrent import CellRNN
from graphk.frontend.layers.rnn_base import RNN, sizes
from graphk.frontend.layers.settings import add_kernel, adopt, described
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.conv_utils import conv_output_length, normalize_padding, normalize_tuple
from graphk.frontend.utils.generic_utils import to_list
from graphk.ir.ops import shape as sh

_GEOMETRY = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate")


class ConvRNN2D(RNN):
    """A cell of convolutions run over the time axis of (samples, time, rows, cols, channels).

    cell: as for RNN, and with `filters`, `kernel_size`, `strides`, `padding`, `data_format`, `dilation_rate`,
    `kernel_shape` and `input_conv(x, kernel, padding=)`.  Other arguments: see RNN; a list of cells and `unroll` are
    not possible.

    >>> from graphk.layers import Input
    >>> ConvRNN2D(ConvLSTM2DCell(4, 3), return_sequences=True)(Input((None, 8, 8, 1))).shape
    (None, None, 6, 6, 4)
    """

    def __init__(self, cell: Any, return_sequences: bool = False, return_state: bool = False,
                 go_backwards: bool = False, stateful: bool = False, unroll: bool = False, **kwargs: Any):
        if unroll:
            raise TypeError("Unrolling isn't possible with convolutional RNNs.")
        if isinstance(cell, (list, tuple)):
            raise TypeError("It is not possible at the moment to stack convolutional cells.")
        super().__init__(cell, return_sequences, return_state, go_backwards, stateful, unroll, **kwargs)
        self.input_spec = [InputSpec(ndim=5)]

    # ---------------------------------------------------------------- shapes
    def _image(self, samples: Any, space: Sequence[Any], channels: int) -> tuple[Any, ...]:
        if self.cell.data_format == "channels_first":
            return (samples, channels, *space)
        return (samples, *space, channels)

    def _state_shapes(self, input_shape: Any) -> list[tuple[Any, ...]]:
        cell = self.cell
        space = input_shape[3:] if cell.data_format == "channels_first" else input_shape[2:4]
        space = [conv_output_length(d, k, cell.padding, s, r) for d, k, s, r in
                 zip(space, cell.kernel_size, cell.strides, cell.dilation_rate)]
        return [self._image(input_shape[0], space, n) for n in sizes(cell)]

    def compute_output_shape(self, input_shape: Any) -> Any:
        if isinstance(input_shape, list):
            input_shape = input_shape[0]
        states = self._state_shapes(input_shape)
        shape = (*input_shape[:2], *states[0][1:]) if self.return_sequences else states[0]
        return [shape, *states] if self.return_state else shape

    # ---------------------------------------------------------------- states
    def build(self, input_shape: Any) -> None:
        constants: list[Any] = []
        if isinstance(input_shape, list):
            constants = input_shape[-self._num_constants:] if self._num_constants else []
            input_shape = input_shape[0]
        spec = InputSpec(shape=(input_shape[0] if self.stateful else None, None, *input_shape[2:5]))
        self.input_spec = [spec, *self.input_spec[1:]]
        windows_fit(self.cell, input_shape, self._state_shapes(input_shape)[0])
        self._build_cell((input_shape[0], *input_shape[2:]), constants)
        axis = 1 if self.cell.data_format == "channels_first" else 3
        if self.state_spec is None:
            self.state_spec = [InputSpec(shape=self._image(None, (None, None), n)) for n in sizes(self.cell)]
        elif [s.shape[axis] for s in self.state_spec] != sizes(self.cell):
            raise ValueError("An `initial_state` was passed that is not compatible with `cell.state_size`. Received "
                             f"`state_spec`={self.state_spec}; However `cell.state_size` is {self.cell.state_size}")
        if self.stateful:
            self.reset_states()
        self.built = True

    def get_initial_state(self, inputs: Tensor) -> list[Tensor]:
        """Zeros of the shape that the convolution of one step has, for each state."""
        kernel = K.constant(np.zeros((*self.cell.kernel_shape[:-1], self.cell.filters)), dtype=inputs.dtype)
        made = self.cell.input_conv(inputs[:, 0], kernel, padding=self.cell.padding).node.shape
        space = made[2:] if self.cell.data_format == "channels_first" else made[1:3]
        zero = K.constant(0., dtype=inputs.dtype).node
        return [Tensor(sh.broadcast_to(zero, self._image(made[0], space, n))) for n in sizes(self.cell)]

    def reset_states(self, states: Any = None) -> None:
        """Set the states of a stateful layer to `states` (arrays of images), or to zeros."""
        if not self.stateful:
            raise AttributeError(f"Layer must be stateful. The layer {self.name} was made with stateful=False.")
        shape = to_list(self.input_spec)[0].shape
        shapes = self._state_shapes(shape) if shape else [(None,)]
        if any(d is None for s in shapes for d in s):
            raise ValueError("If a RNN is stateful, it needs to know its batch size and the size of its images. Pass "
                             f"`batch_input_shape` or Input(batch_shape=…) without None, except for time; received "
                             f"{shape}.")
        if self._states is None or self._states[0] is None:
            self._states = [K.variable(np.zeros(s), dtype=K.floatx(), name=f"state_{i}") for i, s in enumerate(shapes)]
        values = [np.zeros(s) for s in shapes] if states is None else to_list(states, allow_tuple=True)
        if len(values) != len(shapes):
            raise ValueError(f"Layer {self.name} expects {len(shapes)} states, but it received {len(values)} state "
                             f"values. Input received: {str(values)[:300]}")
        for i, (value, want) in enumerate(zip(values, shapes)):
            if np.shape(value) != want:
                raise ValueError(f"State {i} is incompatible with layer {self.name}: expected shape={want}, found "
                                 f"shape={np.shape(value)}")
        K.batch_set_value(list(zip(self._states, values)))


class ConvLSTM2DCell(Cell):
    """One step of ConvLSTM2D; gates i, f, c, o; states h, c.

    inputs: (samples, rows, cols, channels).  Weights: kernel (*kernel_size, channels, 4 * filters), recurrent_kernel
    (*kernel_size, filters, 4 * filters), bias (4 * filters,).  Dropout draws a mask for each gate, over whole images.

    >>> ConvLSTM2DCell(4, 3).state_size
    (4, 4)
    """

    gates = 4

    def __init__(self, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: str = "valid",
                 data_format: str | None = None, dilation_rate: Any = (1, 1), activation: Any = "tanh",
                 recurrent_activation: Any = "hard_sigmoid", use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
                 bias_initializer: Any = "zeros", unit_forget_bias: bool = True, kernel_regularizer: Any = None,
                 recurrent_regularizer: Any = None, bias_regularizer: Any = None, kernel_constraint: Any = None,
                 recurrent_constraint: Any = None, bias_constraint: Any = None, dropout: float = 0.,
                 recurrent_dropout: float = 0., **kwargs: Any):
        super().__init__(filters, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
                         kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint,
                         recurrent_constraint, bias_constraint, dropout, recurrent_dropout, **kwargs)
        self.filters = self.units
        self.kernel_size = normalize_tuple(kernel_size, 2, "kernel_size", 1)
        self.strides = normalize_tuple(strides, 2, "strides", 1)
        self.padding = normalize_padding(padding)
        self.data_format = K.normalize_data_format(data_format)
        self.dilation_rate = normalize_tuple(dilation_rate, 2, "dilation_rate", 1)
        adopt(self, recurrent_activation=recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.implementation = 1
        self.state_size = (self.filters, self.filters)
        self._channel_axis = 1 if self.data_format == "channels_first" else -1

    def build(self, input_shape: Any) -> None:
        channels = input_shape[self._channel_axis]
        if channels is None:
            raise ValueError("The channel dimension of the inputs should be defined. Found `None` (cell "
                             f"{self.name}, shape of one step {tuple(input_shape)}, {self.data_format}).")
        width = 4 * self.filters
        self.kernel_shape = (*self.kernel_size, channels, width)
        self.kernel = add_kernel(self, "kernel", self.kernel_shape)
        self.recurrent_kernel = add_kernel(self, "recurrent", (*self.kernel_size, self.filters, width),
                                           "recurrent_kernel")
        self.bias = add_kernel(self, "bias", (width,), initializer=self._first_bias) if self.use_bias else None
        self.built = True

    def _first_bias(self, shape: Any, dtype: str | None = None) -> Any:
        return forget_bias(self, shape, dtype, 1)

    # ---------------------------------------------------------------- the step
    def input_conv(self, x: Tensor, w: Any, b: Any = None, padding: str = "valid") -> Tensor:
        """The convolution of inputs, of one step or (time, samples, …), with the cell's strides and dilation."""
        node = x.node
        lead = node.shape[:-3]
        flat = Tensor(sh.reshape(node, shape=(lead[0] * lead[1], *node.shape[2:]))) if len(lead) > 1 else x
        out = K.conv2d(flat, w, strides=self.strides, padding=padding, data_format=self.data_format,
                       dilation_rate=self.dilation_rate)
        out = out if b is None else K.bias_add(out, b, data_format=self.data_format)
        return Tensor(sh.reshape(out.node, shape=(*lead, *out.node.shape[1:]))) if len(lead) > 1 else out

    def recurrent_conv(self, x: Tensor, w: Any) -> Tensor:
        """The convolution of a state, which keeps its shape."""
        return K.conv2d(x, w, strides=(1, 1), padding="same", data_format=self.data_format)

    def project(self, inputs: Tensor, training: Any = None) -> Tensor:
        masks = self.dropout_masks("inputs", inputs, self.dropout)
        out = self._gates(lambda x, w: self.input_conv(x, w, padding=self.padding), inputs, self.kernel, masks,
                          training)
        if self.bias is None:
            return out
        first = self.data_format == "channels_first"
        return out + (K.reshape(self.bias, (4 * self.filters, 1, 1)) if first else self.bias)

    def advance(self, projected: Tensor, states: Sequence[Tensor], training: Any = None
                ) -> tuple[Tensor, list[Tensor]]:
        h, c = states
        masks = self.dropout_masks("states", h, self.recurrent_dropout)
        gates = projected + self._gates(self.recurrent_conv, h, self.recurrent_kernel, masks, training)
        i, f, o = (self.recurrent_activation(self._gate(gates, k)) for k in (0, 1, 3))
        c = f * c + i * self.activation(self._gate(gates, 2))
        h = o * self.activation(c)
        return h, [h, c]

    def _gate(self, x: Tensor, gate: int) -> Tensor:
        n = self.filters
        part = slice(gate * n, (gate + 1) * n)
        return x[:, part] if self._channel_axis == 1 else x[..., part]

    def _gates(self, conv: Any, x: Tensor, kernel: Any, masks: list[Tensor] | None, training: Any) -> Tensor:
        """conv(x, kernel); in training each gate sees `x` through a mask of its own."""
        if masks is None:
            return conv(x, kernel)
        axis = -3 if self._channel_axis == 1 else -1

        def apart() -> Tensor:
            seen = [x * m for m in masks]
            made = [conv(s, self.columns(kernel, i)) for i, s in enumerate(seen)]
            return K.concatenate(made, axis=axis % x.ndim)
        return K.in_train_phase(apart, lambda: conv(x, kernel), training=training)

    def dropout_masks(self, kind: str, x: Tensor, rate: float) -> list[Tensor] | None:
        """Masks (samples, rows, cols, channels) for training, one for each gate; None without dropout."""
        if not 0. < rate < 1.:
            return None
        image = x[0] if x.ndim == 5 else x
        flat = super().dropout_masks(kind, K.batch_flatten(image), rate)
        return [Tensor(sh.reshape(m.node, shape=image.node.shape)) for m in flat or []]

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), **{name: getattr(self, name) for name in _GEOMETRY},
                  **described(self, "recurrent_activation"), "unit_forget_bias": self.unit_forget_bias}
        config.pop("units")
        return config


show_gates(ConvLSTM2DCell, "ifco", ("kernel", "recurrent_kernel", "bias"))


class ConvLSTM2D(CellRNN, ConvRNN2D):
    """LSTM with convolutions for products (Shi et al., 2015; https://arxiv.org/abs/1506.04214); see ConvLSTM2DCell.

    Takes (samples, time, rows, cols, channels) and gives (samples, [time,] new rows, new cols, filters).

    >>> from graphk.layers import Input
    >>> ConvLSTM2D(4, (3, 3), padding='same', return_sequences=True)(Input((None, 8, 8, 1))).shape
    (None, None, 8, 8, 4)
    """

    def __init__(self, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: str = "valid",
                 data_format: str | None = None, dilation_rate: Any = (1, 1), activation: Any = "tanh",
                 recurrent_activation: Any = "hard_sigmoid", use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
                 bias_initializer: Any = "zeros", unit_forget_bias: bool = True, kernel_regularizer: Any = None,
                 recurrent_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
                 kernel_constraint: Any = None, recurrent_constraint: Any = None, bias_constraint: Any = None,
                 return_sequences: bool = False, go_backwards: bool = False, stateful: bool = False,
                 dropout: float = 0., recurrent_dropout: float = 0., **kwargs: Any):
        cell = ConvLSTM2DCell(filters, kernel_size, strides, padding, data_format, dilation_rate, activation,
                              recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
                              bias_initializer, unit_forget_bias, kernel_regularizer, recurrent_regularizer,
                              bias_regularizer, kernel_constraint, recurrent_constraint, bias_constraint, dropout,
                              recurrent_dropout, dtype=kwargs.get("dtype"))
        super().__init__(cell, activity_regularizer, {"return_sequences": return_sequences,
                                                      "go_backwards": go_backwards, "stateful": stateful, **kwargs})

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{name: getattr(self.cell, name) for name in _GEOMETRY}}


def _shown(name: str) -> property:
    return property(lambda self: getattr(self.cell, name), doc=f"The cell's `{name}`.")


for _name in _GEOMETRY:
    setattr(ConvLSTM2D, _name, _shown(_name))

__all__ = ["ConvRNN2D", "ConvLSTM2DCell", "ConvLSTM2D"]
