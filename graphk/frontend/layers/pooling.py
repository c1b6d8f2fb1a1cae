"""Pooling layers: the largest or the mean of windows, or of all of space.

In: tensors (samples, *space, channels), or (samples, channels, *space) with 'channels_first'.  Out: the same layout
with less space, or (samples, channels) for the global ones.  What always holds: each is written once for every number
of spatial axes; padding counts neither for the largest nor for the mean.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.backend.conv_ops import pool
from graphk.frontend.engine.base_layer import InputSpec
from graphk.frontend.layers.arguments import windows_fit
from graphk.frontend.layers.spatial import Spatial
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.conv_utils import conv_output_length, normalize_padding, normalize_tuple


class _Pooling(Spatial):
    """Windows of `rank` spatial axes reduced by `mode`.

    pool_size: the window; strides: steps between windows, pool_size for None; padding: 'valid' or 'same'.  Subclasses
    of the user's may define `_pooling_function` instead of `mode`.
    """

    mode: str

    def __init__(self, pool_size: Any = 2, strides: Any = None, padding: str = "valid", data_format: str | None = None,
                 **kwargs: Any):
        super().__init__(**kwargs)
        rank = self.rank
        self.pool_size = normalize_tuple(pool_size, rank, "pool_size", 1)
        self.strides = self.pool_size if strides is None else normalize_tuple(strides, rank, "strides", 1)
        self.padding = normalize_padding(padding)
        if rank == 1 and data_format is None:
            data_format = "channels_last"
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=rank + 2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        space = [conv_output_length(d, k, self.padding, s)
                 for d, k, s in zip(self._space(input_shape), self.pool_size, self.strides)]
        return self._shape(input_shape[0], space, input_shape[self._channel_axis])

    def _pooling_function(self, inputs: Tensor, pool_size: Any, strides: Any, padding: str, data_format: str) -> Tensor:
        return pool(self.rank, inputs, pool_size, strides, padding, data_format, self.mode)

    def call(self, inputs: Tensor) -> Tensor:
        windows_fit(self, K.int_shape(inputs))
        return self._pooling_function(inputs=inputs, pool_size=self.pool_size, strides=self.strides,
                                      padding=self.padding, data_format=self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": self.strides, "pool_size": self.pool_size, "padding": self.padding,
                "data_format": self.data_format}


class _Pooling1D(_Pooling):
    rank = 1


class _Pooling2D(_Pooling):
    rank = 2


class _Pooling3D(_Pooling):
    rank = 3


class MaxPooling1D(_Pooling1D):
    """The largest of each window of (samples, time, channels).

    >>> from graphk.layers import Input
    >>> MaxPooling1D(2)(Input((9, 3))).shape
    (None, 4, 3)
    """
    mode = "max"


class MaxPooling2D(_Pooling2D):
    """The largest of each window of images.

    >>> from graphk.layers import Input
    >>> MaxPooling2D((2, 3), padding='same')(Input((9, 9, 3))).shape
    (None, 5, 3, 3)
    """
    mode = "max"


class MaxPooling3D(_Pooling3D):
    """The largest of each window of volumes.

    >>> MaxPooling3D(2)(K.placeholder((None, 4, 4, 4, 3))).shape
    (None, 2, 2, 2, 3)
    """
    mode = "max"


class AveragePooling1D(_Pooling1D):
    """The mean of each window of (samples, time, channels).

    >>> K.eval(AveragePooling1D(2)(K.variable([[[1.], [2.], [3.], [4.]]]))).ravel().tolist()
    [1.5, 3.5]
    """
    mode = "avg"


class AveragePooling2D(_Pooling2D):
    """The mean of each window of images.

    >>> AveragePooling2D(2)(K.placeholder((None, 4, 4, 3))).shape
    (None, 2, 2, 3)
    """
    mode = "avg"


class AveragePooling3D(_Pooling3D):
    """The mean of each window of volumes.

    >>> AveragePooling3D(2)(K.placeholder((None, 4, 4, 4, 3))).shape
    (None, 2, 2, 2, 3)
    """
    mode = "avg"


class _GlobalPooling(Spatial):
    """All of space reduced to (samples, channels)."""

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if self.rank == 1 and data_format is None:
            data_format = "channels_last"
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[self._channel_axis])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class _GlobalPooling1D(_GlobalPooling):
    rank = 1


class _GlobalPooling2D(_GlobalPooling):
    rank = 2


class _GlobalPooling3D(_GlobalPooling):
    rank = 3


class _GlobalMaxPooling(_GlobalPooling):
    def call(self, inputs: Tensor) -> Tensor:
        return K.max(inputs, axis=self._space_axes)


class _GlobalAveragePooling(_GlobalPooling):
    def call(self, inputs: Tensor) -> Tensor:
        return K.mean(inputs, axis=self._space_axes)


class GlobalMaxPooling1D(_GlobalMaxPooling, _GlobalPooling1D):
    """The largest over time: (samples, time, channels) to (samples, channels).

    >>> K.eval(GlobalMaxPooling1D()(K.variable([[[1., 4.], [2., 3.]]]))).tolist()
    [[2.0, 4.0]]
    """


class GlobalMaxPooling2D(_GlobalMaxPooling, _GlobalPooling2D):
    """The largest over each image: (samples, channels).

    >>> GlobalMaxPooling2D()(K.placeholder((None, 4, 4, 3))).shape
    (None, 3)
    """


class GlobalMaxPooling3D(_GlobalMaxPooling, _GlobalPooling3D):
    """The largest over each volume: (samples, channels).

    >>> GlobalMaxPooling3D()(K.placeholder((None, 4, 4, 4, 3))).shape
    (None, 3)
    """


class GlobalAveragePooling1D(_GlobalAveragePooling, _GlobalPooling1D):
    """The mean over time, of the steps that the mask keeps if there is one; the mask ends here.

    >>> from graphk.layers import Input
    >>> GlobalAveragePooling1D()(Input((9, 3))).shape
    (None, 3)
    """

    def __init__(self, data_format: str | None = "channels_last", **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.supports_masking = True

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        if mask is None:
            return super().call(inputs)
        (steps,) = self._space_axes
        kept = K.expand_dims(K.cast(mask, K.dtype(inputs)), 3 - steps)
        return K.sum(inputs * kept, axis=steps) / K.sum(kept, axis=steps)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: time is gone."""
        return None


class GlobalAveragePooling2D(_GlobalAveragePooling, _GlobalPooling2D):
    """The mean over each image: (samples, channels).

    >>> GlobalAveragePooling2D()(K.placeholder((None, 4, 4, 3))).shape
    (None, 3)
    """


class GlobalAveragePooling3D(_GlobalAveragePooling, _GlobalPooling3D):
    """The mean over each volume: (samples, channels).

    >>> GlobalAveragePooling3D()(K.placeholder((None, 4, 4, 4, 3))).shape
    (None, 3)
    """


MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D = GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D
GlobalAvgPool1D, GlobalAvgPool2D, GlobalAvgPool3D = \
    GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalAveragePooling3D

__all__ = ["AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "AvgPool1D", "AvgPool2D", "AvgPool3D",
           "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalAvgPool1D",
           "GlobalAvgPool2D", "GlobalAvgPool3D", "GlobalMaxPool1D", "GlobalMaxPool2D", "GlobalMaxPool3D",
           "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "MaxPool1D", "MaxPool2D", "MaxPool3D",
           "MaxPooling1D", "MaxPooling2D", "MaxPooling3D"]
