"""Layers that change the extent of space without weights: zero padding, cropping, upsampling.

In: tensors (samples, *space, channels), or (samples, channels, *space) with 'channels_first'.  Out: the same layout.
What always holds: a layer says how many places come or go along each axis, and the base class does the rest for every
number of spatial axes.
"""
from __future__ import annotations

from typing import Any, Callable

from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import InputSpec
from graphk.frontend.layers.spatial import Spatial
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.conv_utils import normalize_tuple

Pair = tuple[int, int]
_ORDINALS = ("1st", "2nd", "3rd")
_NUMBERS = {2: "two", 3: "3"}
_PARTS = {2: "(symmetric_height_{0}, symmetric_width_{0}), or a tuple of 2 tuples of 2 ints "
             "((top_{0}, bottom_{0}), (left_{0}, right_{0}))",
          3: "(symmetric_dim1_{0}, symmetric_dim2_{0}, symmetric_dim3_{0}), or a tuple of 3 tuples of 2 ints "
             "((left_dim1_{0}, right_dim1_{0}), (left_dim2_{0}, right_dim2_{0}), (left_dim3_{0}, right_dim3_{0}))"}


def _pairs(value: Any, rank: int, name: str) -> tuple[Pair, ...]:
    """(before, after) for each axis, from an int, one int per axis or one pair per axis."""
    if rank == 1 or isinstance(value, int):
        return (normalize_tuple(value, 2, name, 0),) * rank                            # type: ignore[return-value]
    if not hasattr(value, "__len__"):
        short = {"padding": "pad", "cropping": "crop"}[name]
        raise ValueError(f"`{name}` should be either an int, a tuple of {rank} ints {_PARTS[rank].format(short)}. "
                         f"Found: {value}")
    if len(value) != rank:
        raise ValueError(f"`{name}` should have {_NUMBERS[rank]} elements. Found: {value}")
    return tuple(normalize_tuple(v, 2, f"{_ORDINALS[i]} entry of {name}", 0)           # type: ignore[misc]
                 for i, v in enumerate(value))


class _Resized(Spatial):
    """A layer over spatial axes whose argument `what` says how their extents change."""

    what: str

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = "channels_last" if self.rank == 1 else K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def _resized(self, length: Any, axis: int) -> Any:
        """The length of a spatial axis afterwards."""
        raise NotImplementedError(f"{type(self).__name__} does not say how its argument changes an axis: give it "
                                  "_resized")

    def compute_output_shape(self, input_shape: Any) -> Any:
        space = [d if d is None else self._resized(d, i) for i, d in enumerate(self._space(input_shape))]
        if any(isinstance(d, int) and d < 0 for d in space):
            raise ValueError(f"The layer {self.name} takes away more than there is: inputs of the shape {input_shape}, "
                             f"{self.what}={getattr(self, self.what)}.")
        return self._shape(input_shape[0], space, input_shape[self._channel_axis])

    def get_config(self) -> dict[str, Any]:
        value = getattr(self, self.what)
        own = {self.what: value[0]} if self.rank == 1 else {self.what: value, "data_format": self.data_format}
        return {**super().get_config(), **own}


class _ZeroPadding(_Resized):
    what = "padding"

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.padding = _pairs(padding, self.rank, "padding")

    def _resized(self, length: Any, axis: int) -> Any:
        return length + sum(self.padding[axis])

    def call(self, inputs: Tensor) -> Tensor:
        if self.rank == 1:
            return K.temporal_padding(inputs, self.padding[0])
        pad: Callable[..., Tensor] = K.spatial_2d_padding if self.rank == 2 else K.spatial_3d_padding
        return pad(inputs, padding=self.padding, data_format=self.data_format)


class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after (samples, time, channels): an int, or (before, after).

    >>> from graphk.layers import Input
    >>> ZeroPadding1D((1, 2))(Input((5, 3))).shape
    (None, 8, 3)
    """
    rank = 1

    def __init__(self, padding: Any = 1, **kwargs: Any):
        super().__init__(padding, **kwargs)


class ZeroPadding2D(_ZeroPadding):
    """Zeros around images: an int, (rows, columns), or ((top, bottom), (left, right)).

    >>> ZeroPadding2D((1, 2))(K.placeholder((None, 5, 5, 3))).shape
    (None, 7, 9, 3)
    """
    rank = 2


class ZeroPadding3D(_ZeroPadding):
    """Zeros around volumes: an int, one int per axis, or one pair (before, after) per axis.

    >>> ZeroPadding3D(1)(K.placeholder((None, 5, 5, 5, 3))).shape
    (None, 7, 7, 7, 3)
    """
    rank = 3


class _Cropping(_Resized):
    what = "cropping"

    def __init__(self, cropping: Any = 0, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.cropping = _pairs(cropping, self.rank, "cropping")

    def _resized(self, length: Any, axis: int) -> Any:
        return length - sum(self.cropping[axis])

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(K.int_shape(inputs))
        cut = [slice(a, -b or None) for a, b in self.cropping]
        return inputs[(slice(None),) * self._space_axes[0] + tuple(cut)]


class Cropping1D(_Cropping):
    """(samples, time, channels) without the first and last steps: an int, or (before, after).

    >>> from graphk.layers import Input
    >>> Cropping1D((1, 2))(Input((5, 3))).shape
    (None, 2, 3)
    """
    rank = 1

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any):
        super().__init__(cropping, **kwargs)


class Cropping2D(_Cropping):
    """Images without their edges: an int, (rows, columns), or ((top, bottom), (left, right)).

    >>> Cropping2D(((1, 0), (2, 1)))(K.placeholder((None, 5, 5, 3))).shape
    (None, 4, 2, 3)
    """
    rank = 2

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any):
        super().__init__(cropping, data_format, **kwargs)


class Cropping3D(_Cropping):
    """Volumes without their edges: an int, one int per axis, or one pair (before, after) per axis.

    >>> Cropping3D(1)(K.placeholder((None, 5, 5, 5, 3))).shape
    (None, 3, 3, 3, 3)
    """
    rank = 3

    def __init__(self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any):
        super().__init__(cropping, data_format, **kwargs)


class _UpSampling(_Resized):
    what = "size"

    def __init__(self, size: Any = 2, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.size: tuple[int, ...] = normalize_tuple(size, self.rank, "size", 1)

    def _resized(self, length: Any, axis: int) -> Any:
        return length * self.size[axis]


class UpSampling1D(_UpSampling):
    """Each step of (samples, time, channels) `size` times.

    >>> from graphk.layers import Input
    >>> UpSampling1D(2)(Input((5, 3))).shape
    (None, 10, 3)
    """
    rank = 1

    def __init__(self, size: int = 2, **kwargs: Any):
        super().__init__(int(size), **kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        return K.repeat_elements(inputs, self.size[0], axis=1)


class UpSampling2D(_UpSampling):
    """Images `size` times as large, by repetition ('nearest') or along lines between neighbours ('bilinear').

    >>> K.eval(UpSampling2D((1, 2), interpolation='bilinear')(K.variable([[[[0.], [1.]]]]))).ravel().tolist()
    [0.0, 0.5, 1.0, 1.0]
    """
    rank = 2

    def __init__(self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest",
                 **kwargs: Any):
        super().__init__(size, data_format, **kwargs)
        if interpolation not in ("nearest", "bilinear"):
            raise ValueError(f'interpolation should be one of "nearest" or "bilinear". Received: {interpolation}')
        self.interpolation = interpolation

    def call(self, inputs: Tensor) -> Tensor:
        return K.resize_images(inputs, self.size[0], self.size[1], self.data_format, self.interpolation)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "interpolation": self.interpolation}


class UpSampling3D(_UpSampling):
    """Volumes `size` times as large, by repetition.

    >>> UpSampling3D(2)(K.placeholder((None, 4, 4, 4, 3))).shape
    (None, 8, 8, 8, 3)
    """
    rank = 3

    def call(self, inputs: Tensor) -> Tensor:
        return K.resize_volumes(inputs, self.size[0], self.size[1], self.size[2], self.data_format)
