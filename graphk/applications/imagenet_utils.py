"""Images on their way into networks trained on ImageNet, and predictions on their way out.

In: images of 0 to 255, as arrays or tensors, of three or four axes, in both data formats; rows of 1000 probabilities.
Out: images as a network wants them; the names of the likeliest classes.  What always holds: arrays of floats are
changed in place, as in Keras; other arrays are copied.
"""
from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.downloads import get_file

CLASS_INDEX: dict[str, list[str]] | None = None
CLASS_INDEX_PATH = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
_CLASS_INDEX_HASH = "c2c37ea517e94d9795004a39431a14cb"
# What becomes of a pixel in each mode: order of channels, then (x / scale - mean) / deviation.
_MODES: dict[str, tuple[bool, float, list[float], list[float]]] = {
    "caffe": (True, 1., [103.939, 116.779, 123.68], [1., 1., 1.]),
    "tf": (False, 127.5, [1., 1., 1.], [1., 1., 1.]),
    "torch": (False, 255., [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])}


def preprocess_input(x: Any, data_format: str | None = None, mode: str = "caffe", **kwargs: Any) -> Any:
    """Images of 0 to 255, RGB, as networks trained on ImageNet want them.

    x: an array or a tensor, one image or a batch; an array of floats is changed in place.  data_format: that of x, the
    configured one by default.  mode: 'caffe' is BGR less the data set's mean, 'tf' is -1 to 1, 'torch' is 0 to 1
    normalized by the data set's mean and deviation.  ValueError for another mode or data format.

    >>> preprocess_input(np.array([[[0, 255, 255]]]), mode='tf').tolist()
    [[[-1.0, 1.0, 1.0]]]
    """
    reject_unknown("preprocess_input", kwargs)
    data_format = data_format or K.image_data_format()
    if data_format not in ("channels_first", "channels_last"):
        raise ValueError(f"Unknown data_format {data_format}; expected 'channels_first' or 'channels_last'.")
    if mode not in _MODES:
        raise ValueError(f"preprocess_input: unknown mode {mode!r}; expected one of {', '.join(map(repr, _MODES))}.")
    if not isinstance(x, (np.ndarray, Tensor)):
        raise TypeError(f"preprocess_input: the images are a {type(x).__name__}; expected a numpy array or a tensor. "
                        "`keras.preprocessing.image.img_to_array` makes arrays of pictures.")
    if x.ndim not in (3, 4):
        raise ValueError(f"preprocess_input: the images have the shape {tuple(x.shape)}; expected one image (three "
                         "axes) or a batch of them (four).")
    axis = -3 if data_format == "channels_first" else -1
    return _array(x, axis, *_MODES[mode]) if isinstance(x, np.ndarray) else _tensor(x, axis, *_MODES[mode])


def _along(values: list[float], axis: int, dtype: Any) -> np.ndarray:
    return np.reshape(np.array(values, dtype), (3,) + (1,) * (-axis - 1))


def _array(x: np.ndarray, axis: int, flip: bool, scale: float, mean: list[float], deviation: list[float]) -> np.ndarray:
    if not np.issubdtype(x.dtype, np.floating):
        x = x.astype(K.floatx())
    x = np.flip(x, axis) if flip else x
    if scale != 1:
        x /= scale
    if len(set(mean)) == 1:                                     # holds for any number of channels
        x -= mean[0]
        return x
    x -= _along(mean, axis, x.dtype)
    if set(deviation) != {1.}:
        x /= _along(deviation, axis, x.dtype)
    return x


def _tensor(x: Tensor, axis: int, flip: bool, scale: float, mean: list[float], deviation: list[float]) -> Tensor:
    if not K.dtype(x).startswith("float"):
        x = K.cast(x, K.floatx())
    dtype = K.dtype(x)
    x = K.reverse(x, axis % K.ndim(x)) if flip else x
    if len(set(mean)) == 1:
        return x / scale - mean[0]
    centered = x / scale - K.constant(_along(mean, axis, dtype), dtype)
    return centered / K.constant(_along(deviation, axis, dtype), dtype) if set(deviation) != {1.} else centered


def decode_predictions(preds: np.ndarray, top: int = 5, **kwargs: Any) -> list[list[tuple[str, str, float]]]:
    """For each row of predictions, the `top` likeliest classes as (WordNet id, name, score), the likeliest first.

    The names come from a file that is fetched once; ValueError for anything but a (samples, 1000) array.
    """
    reject_unknown("decode_predictions", kwargs)
    shape = np.shape(preds)
    if len(shape) != 2 or shape[1] != 1000:
        raise ValueError("`decode_predictions` expects a batch of predictions (i.e. a 2D array of shape (samples, "
                         f"1000)). Found array with shape: {shape}")
    index = _class_index()
    best = [(row, np.argsort(row)[::-1][:top]) for row in np.asarray(preds)]
    return [[(index[str(i)][0], index[str(i)][1], row[i]) for i in order] for row, order in best]


def _class_index() -> dict[str, list[str]]:
    global CLASS_INDEX
    if CLASS_INDEX is None:
        path = get_file("imagenet_class_index.json", CLASS_INDEX_PATH, cache_subdir="models",
                                   file_hash=_CLASS_INDEX_HASH)
        with open(path, encoding="utf-8") as file:
            CLASS_INDEX = json.load(file)
    return CLASS_INDEX


def reject_unknown(function: str, kwargs: dict[str, Any]) -> None:
    """TypeError for keywords other than the modules that keras_applications takes and graphk does not need."""
    for name in set(kwargs) - {"backend", "layers", "models", "utils"}:
        raise TypeError(f"Invalid keyword argument: {function}() does not take `{name}`.")


def obtain_input_shape(input_shape: Any, default_size: int, min_size: int, data_format: str, require_flatten: bool,
                       weights: Any = None) -> tuple[int | None, ...]:
    """The shape of a network's images: `input_shape`, checked, or what stands for None.

    default_size, min_size: of rows and columns; require_flatten: whether the network ends in a classifier, which needs
    a known size; weights: 'imagenet' needs three channels and, with a classifier, the default size.
    """
    first = data_format == "channels_first"

    def shape(channels: Any, size: int | None) -> tuple[int | None, ...]:
        return (channels, size, size) if first else (size, size, channels)

    if not input_shape:
        return shape(3, default_size if require_flatten else None)
    input_shape = tuple(input_shape)
    if len(input_shape) != 3:
        raise ValueError(f"`input_shape` must be a tuple of three integers. Received input_shape={input_shape}")
    channels, *space = input_shape if first else (input_shape[-1], *input_shape[:2])
    if weights != "imagenet" and channels not in (1, 3):
        warnings.warn("This model usually expects 1 or 3 input channels. However, it was passed an input_shape with "
                      f"{channels} input channels.", stacklevel=2)
    if weights == "imagenet" and require_flatten and input_shape != shape(3, default_size):
        raise ValueError("When setting `include_top=True` and loading `imagenet` weights, `input_shape` should be "
                         f"{shape(3, default_size)}. Received input_shape={input_shape}")
    if weights == "imagenet" and channels != 3:
        raise ValueError(f"The input must have 3 channels; got `input_shape={input_shape}`")
    if any(d is not None and d < min_size for d in space):
        raise ValueError(f"Input size must be at least {min_size}x{min_size}; got `input_shape={input_shape}` with the "
                         f"data format {data_format}")
    if require_flatten and None in input_shape:
        raise ValueError("If `include_top` is True, you should specify a static `input_shape`. Got "
                         f"`input_shape={input_shape}`")
    return input_shape


_obtain_input_shape = obtain_input_shape
