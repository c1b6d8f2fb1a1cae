"""Locally connected layers: convolutions whose every window has a kernel of its own.

In: tensors (samples, *space, channels), or (samples, channels, *space) with 'channels_first', of known space.  Out:
the same layout with `filters` channels.  What always holds: nothing is padded; the kernel's first axis counts windows.
"""
from __future__ import annotations

import math
from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import InputSpec
from graphk.frontend.layers.arguments import size, windows_fit
from graphk.frontend.layers.settings import add_kernel, adopt, described, settings_of
from graphk.frontend.layers.spatial import Spatial
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.conv_utils import conv_output_length, normalize_padding, normalize_tuple


class _LocallyConnected(Spatial):
    """activation(window · its own kernel + its own bias) over `rank` spatial axes."""

    activation: Any

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 data_format: str | None = None, activation: Any = None, use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
                 kernel_constraint: Any = None, bias_constraint: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = size(self, "filters", filters)
        self.kernel_size = normalize_tuple(kernel_size, self.rank, "kernel_size", 1)
        self.strides = normalize_tuple(strides, self.rank, "strides", 1)
        self.padding = normalize_padding(padding)
        if self.padding != "valid":
            raise ValueError(f"Invalid border mode for LocallyConnected{self.rank}D (only \"valid\" is supported): "
                             + padding)
        self.data_format = "channels_last" if self.rank == 1 else K.normalize_data_format(data_format)
        self.use_bias = use_bias
        adopt(self, activation=activation, kernel_initializer=kernel_initializer, bias_initializer=bias_initializer,
              kernel_regularizer=kernel_regularizer, bias_regularizer=bias_regularizer,
              activity_regularizer=activity_regularizer, kernel_constraint=kernel_constraint,
              bias_constraint=bias_constraint)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def _windows(self, input_shape: Any) -> tuple[Any, ...]:
        """The number of windows along each axis."""
        return tuple(conv_output_length(d, k, "valid", s)
                     for d, k, s in zip(self._space(input_shape), self.kernel_size, self.strides))

    def build(self, input_shape: Any) -> None:
        if None in input_shape[1:]:
            raise ValueError(f"The spatial dimensions of the inputs to a LocallyConnected{self.rank}D layer should be "
                             f"fully-defined, but layer received the inputs shape {input_shape}. Each window has its "
                             "own weights: give Input (or `input_shape`) every size.")
        channels, self._counts = input_shape[self._channel_axis], self._windows(input_shape)
        windows_fit(self, input_shape)
        self.kernel = add_kernel(self, "kernel", (math.prod(self._counts), math.prod(self.kernel_size) * channels,
                                                  self.filters))
        self.bias: Any = add_kernel(self, "bias", (*self._counts, self.filters)) if self.use_bias else None
        self.input_spec = InputSpec(ndim=self.rank + 2, axes=dict(enumerate(input_shape[1:], 1)))
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        out = K.local_conv1d(inputs, self.kernel, self.kernel_size, self.strides) if self.rank == 1 else \
            K.local_conv2d(inputs, self.kernel, self.kernel_size, self.strides, self._counts, self.data_format)
        if self.use_bias:
            out = K.bias_add(out, self.bias, data_format=self.data_format)
        return self.activation(out)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self._shape(input_shape[0], self._windows(input_shape), self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size,
                "strides": self.strides, "padding": self.padding, "data_format": self.data_format,
                "use_bias": self.use_bias,
                **described(self, "activation", "activity_regularizer", *settings_of("kernel", "bias"))}


class LocallyConnected1D(_LocallyConnected):
    """(samples, time, channels) with a kernel per window; `time` must be known.

    >>> from graphk.layers import Input
    >>> LocallyConnected1D(8, 3)(Input((9, 4))).shape
    (None, 7, 8)
    """
    rank = 1


class LocallyConnected2D(_LocallyConnected):
    """Images with a kernel per window; their sizes must be known.

    >>> LocallyConnected2D(8, 3)(K.placeholder((None, 9, 9, 4))).shape
    (None, 7, 7, 8)
    """
    rank = 2


__all__ = ["LocallyConnected1D", "LocallyConnected2D"]
