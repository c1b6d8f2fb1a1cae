"""Convolution layers: plain, transposed, depthwise and separable, over 1 to 3 spatial axes.

In: tensors (samples, *space, channels), or (samples, channels, *space) with 'channels_first'.  Out: the same layout
with `filters` channels.  What always holds: kernels are (*window, channels, filters) in both layouts, so weights do not
depend on it; each kind of layer is written once, and its public classes say how many axes.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import InputSpec
from graphk.frontend.layers.arguments import size, windows_fit
from graphk.frontend.layers.padding import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from graphk.frontend.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
)
from graphk.frontend.layers.settings import add_kernel, adopt, described, settings_of
from graphk.frontend.layers.spatial import Spatial
from graphk.frontend.tensor import Tensor, node_of
from graphk.frontend.utils.conv_utils import conv_output_length, deconv_length, normalize_padding, normalize_tuple

class _Conv(Spatial):
    """activation(convolution of x and kernel + bias) over `rank` spatial axes.

    filters: channels of the output; kernel_size, strides, dilation_rate: an int or one per axis; padding: 'valid',
    'same' or, for Conv1D, 'causal'.  Weights: kernel (*kernel_size, channels, filters), bias (filters,).  A direct
    subclass of the user's gives `rank`, by keyword.
    """

    activation: Any

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 data_format: str | None = None, dilation_rate: Any = 1, activation: Any = None, use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
                 kernel_constraint: Any = None, bias_constraint: Any = None, **kwargs: Any):
        if not hasattr(type(self), "rank"):
            if "rank" not in kwargs:
                raise TypeError(f"{type(self).__name__} received no `rank`, the number of spatial axes (1, 2 or 3); "
                                "pass rank=…, or derive it from Conv1D, Conv2D or Conv3D")
            self.rank = kwargs.pop("rank")
        super().__init__(**kwargs)
        rank = self.rank
        self.filters = filters if filters is None else size(self, "filters", filters)
        self.kernel_size = normalize_tuple(kernel_size, rank, "kernel_size", 1)
        self.strides = normalize_tuple(strides, rank, "strides", 1)
        self.padding = normalize_padding(padding)
        if rank == 1 and data_format is None:
            data_format = "channels_last"
        self.data_format = K.normalize_data_format(data_format)
        self.dilation_rate = normalize_tuple(dilation_rate, rank, "dilation_rate", 1)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(f"{type(self).__name__} layer {self.name}: strides={self.strides} and dilation_rate="
                             f"{self.dilation_rate} do not go together; expected one of them to be 1.")
        self.use_bias = use_bias
        adopt(self, activation=activation, kernel_initializer=kernel_initializer, bias_initializer=bias_initializer,
              kernel_regularizer=kernel_regularizer, bias_regularizer=bias_regularizer,
              activity_regularizer=activity_regularizer, kernel_constraint=kernel_constraint,
              bias_constraint=bias_constraint)
        self.input_spec = InputSpec(ndim=rank + 2)
        if self.padding == "causal" and (rank > 1 or self.data_format != "channels_last"):
            raise ValueError('When using causal padding in `Conv1D`, `data_format` must be "channels_last" (temporal '
                             f"data), and only `Conv1D` has it. Received: {type(self).__name__} with {data_format}.")

    # ---------------------------------------------------------------- weights
    def _channels(self, input_shape: Any) -> int:
        """The number of input channels, which the input spec then asks for."""
        axis = self._channel_axis
        if len(input_shape) != self.rank + 2:
            raise ValueError(f"Inputs should have rank {self.rank + 2}; Received input shape: {input_shape}")
        if input_shape[axis] is None:
            raise ValueError("The channel dimension of the inputs should be defined. Found `None` "
                             f"(layer {self.name}, input shape {input_shape}, {self.data_format}).")
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={axis: input_shape[axis]})
        return input_shape[axis]

    def _kernels(self, channels: int) -> None:
        self.kernel = add_kernel(self, "kernel", (*self.kernel_size, channels, self.filters))

    def build(self, input_shape: Any) -> None:
        channels = self._channels(input_shape)
        self._kernels(channels)
        self.bias: Any = add_kernel(self, "bias", (self._filters(channels),)) if self.use_bias else None
        self.built = True

    def _filters(self, channels: Any) -> Any:
        """Channels of the output."""
        return self.filters

    # ---------------------------------------------------------------- values
    def _convolve(self, inputs: Tensor) -> Tensor:
        fn = (K.conv1d, K.conv2d, K.conv3d)[self.rank - 1]
        one = self.rank == 1
        return fn(inputs, self.kernel, strides=self.strides[0] if one else self.strides, padding=self.padding,
                  data_format=self.data_format, dilation_rate=self.dilation_rate[0] if one else self.dilation_rate)

    def call(self, inputs: Tensor) -> Tensor:
        windows_fit(self, K.int_shape(inputs))
        out = self._convolve(inputs)
        if self.use_bias:
            out = K.bias_add(out, self.bias, data_format=self.data_format)
        return self.activation(out)

    # ---------------------------------------------------------------- shapes and config
    def _lengths(self, space: Any) -> list[Any]:
        return [conv_output_length(d, k, self.padding, s, r)
                for d, k, s, r in zip(space, self.kernel_size, self.strides, self.dilation_rate)]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self._shape(input_shape[0], self._lengths(self._space(input_shape)),
                           self._filters(input_shape[self._channel_axis]))

    def get_config(self) -> dict[str, Any]:
        given = {} if hasattr(type(self), "rank") else {"rank": self.rank}
        return {**super().get_config(), **given, "filters": self.filters, "kernel_size": self.kernel_size,
                "strides": self.strides, "padding": self.padding, "data_format": self.data_format,
                "dilation_rate": self.dilation_rate, "use_bias": self.use_bias,
                **described(self, "activation", "activity_regularizer", *settings_of("kernel", "bias"))}


class Conv1D(_Conv):
    """A convolution over time: (samples, time, channels) to (samples, windows, filters).

    >>> from graphk.layers import Input
    >>> Conv1D(8, 3, padding='causal', dilation_rate=2)(Input((9, 4))).shape
    (None, 9, 8)
    """
    rank = 1


class Conv2D(_Conv):
    """A convolution over images.

    >>> from graphk.layers import Input
    >>> Conv2D(8, (3, 3), strides=2, activation='relu')(Input((9, 9, 3))).shape
    (None, 4, 4, 8)
    """
    rank = 2


class Conv3D(_Conv):
    """A convolution over volumes.

    >>> from graphk.layers import Input
    >>> Conv3D(8, 3, padding='same')(Input((9, 9, 9, 1))).shape
    (None, 9, 9, 9, 8)
    """
    rank = 3


class _ConvTranspose(_Conv):
    """A convolution turned around: from its output's shape back to its input's; kernel (*window, filters, channels)."""

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 output_padding: Any = None, data_format: str | None = None, **kwargs: Any):
        super().__init__(filters, kernel_size, strides, padding, data_format, **kwargs)
        self.output_padding = output_padding
        if output_padding is not None:
            self.output_padding = normalize_tuple(output_padding, self.rank, "output_padding", 0)
            if any(s <= more for s, more in zip(self.strides, self.output_padding)):
                raise ValueError(f"Stride {self.strides} must be greater than output padding {self.output_padding}")

    def _kernels(self, channels: int) -> None:
        self.kernel = add_kernel(self, "kernel", (*self.kernel_size, self.filters, channels))

    def _lengths(self, space: Any) -> list[Any]:
        more = self.output_padding or (None,) * self.rank
        return [deconv_length(d, s, k, self.padding, o, r) for d, s, k, o, r in zip(
            space, self.strides, self.kernel_size, more, self.dilation_rate)]

    def _convolve(self, inputs: Tensor) -> Tensor:
        shape = self.compute_output_shape(node_of(inputs).shape)                   # symbolic sizes stay exact
        if self.rank == 2:
            return K.conv2d_transpose(inputs, self.kernel, shape, self.strides, self.padding, self.data_format,
                                      self.dilation_rate)
        return K.conv3d_transpose(inputs, self.kernel, shape, self.strides, self.padding, self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_padding": self.output_padding}


class Conv2DTranspose(_ConvTranspose):
    """A transposed convolution of images; output_padding makes the output longer than the least.

    >>> from graphk.layers import Input
    >>> Conv2DTranspose(8, 3, strides=2, padding='same')(Input((4, 4, 3))).shape
    (None, 8, 8, 8)
    """
    rank = 2

    def __init__(self, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: str = "valid",
                 output_padding: Any = None, data_format: str | None = None, dilation_rate: Any = (1, 1),
                 activation: Any = None, use_bias: bool = True, **kwargs: Any):
        super().__init__(filters, kernel_size, strides, padding, output_padding, data_format,
                         dilation_rate=dilation_rate, activation=activation, use_bias=use_bias, **kwargs)


class Conv3DTranspose(_ConvTranspose):
    """A transposed convolution of volumes.

    >>> Conv3DTranspose(8, 3, strides=2, padding='same')(K.placeholder((None, 4, 4, 4, 3))).shape
    (None, 8, 8, 8, 8)
    """
    rank = 3

    def __init__(self, filters: int, kernel_size: Any, strides: Any = (1, 1, 1), padding: str = "valid",
                 output_padding: Any = None, data_format: str | None = None, activation: Any = None,
                 use_bias: bool = True, **kwargs: Any):
        super().__init__(filters, kernel_size, strides, padding, output_padding, data_format, activation=activation,
                         use_bias=use_bias, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {k: v for k, v in super().get_config().items() if k != "dilation_rate"}


class _Depthwise(_Conv):
    """What depthwise and separable layers share: a depthwise kernel (*window, channels, depth_multiplier)."""

    def __init__(self, filters: Any, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 data_format: str | None = None, depth_multiplier: int = 1,
                 depthwise_initializer: Any = "glorot_uniform", depthwise_regularizer: Any = None,
                 depthwise_constraint: Any = None, **kwargs: Any):
        super().__init__(filters, kernel_size, strides, padding, data_format, **kwargs)
        self.depth_multiplier = size(self, "depth_multiplier", depth_multiplier)
        adopt(self, depthwise_initializer=depthwise_initializer, depthwise_regularizer=depthwise_regularizer,
              depthwise_constraint=depthwise_constraint)

    def _kernels(self, channels: int) -> None:
        self.depthwise_kernel = add_kernel(
            self, "depthwise", (*self.kernel_size, channels, self.depth_multiplier), "depthwise_kernel")

    def get_config(self) -> dict[str, Any]:
        config = {k: v for k, v in super().get_config().items() if not k.startswith("kernel_") or k == "kernel_size"}
        return {**config, "depth_multiplier": self.depth_multiplier, **described(self, *settings_of("depthwise"))}


class _SeparableConv(_Depthwise):
    """A depthwise convolution, then a pointwise one that mixes the channels.

    Weights: depthwise_kernel, pointwise_kernel (1, …, channels * depth_multiplier, filters), bias.
    """

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 data_format: str | None = None, dilation_rate: Any = 1, depth_multiplier: int = 1,
                 activation: Any = None, use_bias: bool = True, depthwise_initializer: Any = "glorot_uniform",
                 pointwise_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 depthwise_regularizer: Any = None, pointwise_regularizer: Any = None, bias_regularizer: Any = None,
                 activity_regularizer: Any = None, depthwise_constraint: Any = None, pointwise_constraint: Any = None,
                 bias_constraint: Any = None, **kwargs: Any):
        super().__init__(filters, kernel_size, strides, padding, data_format, depth_multiplier, depthwise_initializer,
                         depthwise_regularizer, depthwise_constraint, dilation_rate=dilation_rate,
                         activation=activation, use_bias=use_bias, bias_initializer=bias_initializer,
                         bias_regularizer=bias_regularizer, activity_regularizer=activity_regularizer,
                         bias_constraint=bias_constraint, **kwargs)
        adopt(self, pointwise_initializer=pointwise_initializer, pointwise_regularizer=pointwise_regularizer,
              pointwise_constraint=pointwise_constraint)

    def _kernels(self, channels: int) -> None:
        super()._kernels(channels)
        self.pointwise_kernel = add_kernel(
            self, "pointwise", ((1,) * self.rank + (channels * self.depth_multiplier, self.filters)),
            "pointwise_kernel")

    def _convolve(self, inputs: Tensor) -> Tensor:
        fn = K.separable_conv1d if self.rank == 1 else K.separable_conv2d
        return fn(inputs, self.depthwise_kernel, self.pointwise_kernel, self.strides, self.padding, self.data_format,
                  self.dilation_rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **described(self, *settings_of("pointwise"))}


class SeparableConv1D(_SeparableConv):
    """A separable convolution over time.

    >>> from graphk.layers import Input
    >>> SeparableConv1D(8, 3)(Input((9, 4))).shape
    (None, 7, 8)
    """
    rank = 1


class SeparableConv2D(_SeparableConv):
    """A separable convolution over images.

    >>> SeparableConv2D(8, 3)(K.placeholder((None, 9, 9, 4))).shape
    (None, 7, 7, 8)
    """
    rank = 2


class DepthwiseConv2D(_Depthwise):
    """Each channel of images by its own `depth_multiplier` kernels: channels * depth_multiplier channels come out.

    >>> from graphk.layers import Input
    >>> DepthwiseConv2D(3, depth_multiplier=2)(Input((9, 9, 4))).shape
    (None, 7, 7, 8)
    """
    rank = 2

    def __init__(self, kernel_size: Any, strides: Any = (1, 1), padding: str = "valid", depth_multiplier: int = 1,
                 data_format: str | None = None, activation: Any = None, use_bias: bool = True, **kwargs: Any):
        super().__init__(None, kernel_size, strides, padding, data_format, depth_multiplier, activation=activation,
                         use_bias=use_bias, **kwargs)

    def _filters(self, channels: Any) -> Any:
        return channels if channels is None else channels * self.depth_multiplier

    def _convolve(self, inputs: Tensor) -> Tensor:
        return K.depthwise_conv2d(inputs, self.depthwise_kernel, self.strides, self.padding, self.data_format,
                                  self.dilation_rate)

    def get_config(self) -> dict[str, Any]:
        return {k: v for k, v in super().get_config().items() if k != "filters"}


Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D
SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D
AtrousConvolution1D, AtrousConvolution2D = Conv1D, Conv2D              # their atrous_rate is dilation_rate now
Convolution2DTranspose = Deconvolution2D = Deconv2D = Conv2DTranspose
Deconvolution3D = Deconv3D = Conv3DTranspose

__all__ = ["AtrousConvolution1D", "AtrousConvolution2D", "AveragePooling1D", "AveragePooling2D",
           "AveragePooling3D", "Conv1D", "Conv2D", "Conv2DTranspose", "Conv3D",
           "Conv3DTranspose", "Convolution1D", "Convolution2D", "Convolution2DTranspose", "Convolution3D", "Cropping1D",
           "Cropping2D", "Cropping3D", "Deconv2D", "Deconv3D", "Deconvolution2D", "Deconvolution3D", "DepthwiseConv2D",
           "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "SeparableConv1D", "SeparableConv2D",
           "SeparableConvolution1D", "SeparableConvolution2D", "UpSampling1D", "UpSampling2D", "UpSampling3D",
           "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"]
