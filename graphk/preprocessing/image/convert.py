"""Images and arrays: pictures read, written, and turned into arrays and back.

In: a path, a Pillow image or an array of rank 3.  Out: a Pillow image, or an array in the layout that is asked for.
What always holds: Pillow is imported by the functions that need it and by no other; files are closed on return.
"""
from __future__ import annotations

import os
import warnings
from importlib import import_module
from functools import partial
from typing import Any

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.legacy import LAYOUT, renamed

FORMATS = ("png", "jpg", "jpeg", "bmp", "ppm", "tif", "tiff")
CHANNELS = {"rgb": 3, "rgba": 4, "grayscale": 1}
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")
_PACKAGES = {"PIL": "Pillow", "scipy": "SciPy"}


def needs(module: str, user: str) -> Any:
    """An optional module, imported; ImportError says which function `user` needs it, and how to get it."""
    try:
        return import_module(module)
    except ImportError as e:
        package = _PACKAGES[module.partition(".")[0]]
        raise ImportError(f"The use of `{user}` requires {package}, which could not be imported ({e}). Install it: "
                          "pip install graphk[images]") from None


def layout(data_format: str | None) -> str:
    """`data_format`, or the default one for None; ValueError unless it is one of the two."""
    found = K.image_data_format() if data_format is None else data_format
    if found not in ("channels_last", "channels_first"):
        raise ValueError(f"Invalid data_format: {data_format}; expected 'channels_last' (channels after rows and "
                         "columns) or 'channels_first' (channels before them).")
    return found


@partial(renamed, names=LAYOUT)
def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Any:
    """A Pillow image of an array of rank 3 with 1, 3 or 4 channels.

    data_format: the array's layout, by default `K.image_data_format()`; scale: stretch the values so that the lowest,
    if negative, becomes 0 and the highest 255; dtype: what is computed in, by default `K.floatx()`.
    """
    images = needs("PIL.Image", "array_to_img")
    x = np.asarray(x, dtype=K.floatx() if dtype is None else dtype)
    if x.ndim != 3:
        raise ValueError(f"Expected image array to have rank 3 (single image). Got array with shape: {x.shape}")
    if layout(data_format) == "channels_first":
        x = x.transpose(1, 2, 0)
    if x.shape[2] not in (1, 3, 4):
        raise ValueError(f"Unsupported channel number: {x.shape[2]}. Expected 1 (grayscale), 3 (RGB) or 4 (RGBA) "
                         f"channels, in the layout {layout(data_format)!r}")
    if scale:
        x = x + max(-np.min(x), 0)
        highest = np.max(x)
        x = (x / highest if highest != 0 else x) * 255
    if x.shape[2] > 1:
        return images.fromarray(x.astype("uint8"))
    deep = np.max(x) > 255                                      # of 16 bits per pixel, say
    return images.fromarray(x[:, :, 0].astype("int32" if deep else "uint8"))


@partial(renamed, names=LAYOUT)
def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """The array of rank 3 of a Pillow image (or of an array of shape (rows, columns[, channels])).

    data_format: the layout of the result, by default `K.image_data_format()`; dtype: by default `K.floatx()`.

    >>> img_to_array([[0, 255]]).shape, img_to_array([[0, 255]], 'channels_first').shape
    ((1, 2, 1), (1, 1, 2))
    """
    first = layout(data_format) == "channels_first"
    x = np.asarray(img, dtype=K.floatx() if dtype is None else dtype)
    if x.ndim not in (2, 3):
        raise ValueError(f"Unsupported image shape: {x.shape}. Expected (rows, columns) or (rows, columns, channels)")
    x = x[:, :, None] if x.ndim == 2 else x
    return x.transpose(2, 0, 1) if first else x


def save_img(path: Any, x: Any, data_format: str | None = None, file_format: str | None = None, scale: bool = True,
             **kwargs: Any) -> None:
    """Write an array as a picture.

    path: a file's name or an open file; file_format: by default what the name ends in; data_format, scale: as in
    `array_to_img`; further arguments go to Pillow's `save`.
    """
    img = array_to_img(x, data_format, scale)
    ending = file_format or os.path.splitext(path)[1][1:] if isinstance(path, (str, os.PathLike)) else file_format
    if img.mode == "RGBA" and str(ending).lower() in ("jpg", "jpeg"):
        warnings.warn("The JPG format does not support RGBA images, converting to RGB.", stacklevel=2)
        img = img.convert("RGB")
    img.save(path, format="jpeg" if str(file_format).lower() == "jpg" else file_format, **kwargs)


def load_img(path: Any, grayscale: bool = False, color_mode: str = "rgb", target_size: Any = None,
             interpolation: str = "nearest") -> Any:
    """The Pillow image in a file.

    color_mode: 'rgb', 'rgba' or 'grayscale' (`grayscale=True` is its old spelling); target_size: (rows, columns) to
    stretch it to, with the interpolation 'nearest', 'bilinear', 'bicubic', 'hamming', 'box' or 'lanczos'.
    """
    if grayscale:
        warnings.warn('grayscale is deprecated. Please use color_mode = "grayscale"', stacklevel=2)
        color_mode = "grayscale"
    images = needs("PIL.Image", "load_img")
    if color_mode not in CHANNELS:
        raise ValueError(f'color_mode must be "grayscale", "rgb", or "rgba". Received: {color_mode!r}')
    kept = {"grayscale": ("L", "I;16", "I"), "rgb": ("RGB",), "rgba": ("RGBA",)}[color_mode]
    with images.open(path) as file:
        file.load()
        img = file if file.mode in kept else file.convert(kept[0])
    size = None if target_size is None else (target_size[1], target_size[0])
    if size is None or img.size == size:
        return img
    if interpolation not in _INTERPOLATIONS:
        raise ValueError(f"Invalid interpolation method {interpolation} specified. Supported methods are "
                         + ", ".join(_INTERPOLATIONS))
    return img.resize(size, images.Resampling[interpolation.upper()])


def list_pictures(directory: Any, ext: Any = "jpg|jpeg|bmp|png|ppm|tif|tiff") -> list[str]:
    """The paths of all pictures in a folder and the folders in it; ext: endings, as one text with | or as a list."""
    endings = tuple("." + e.lower() for e in (ext.split("|") if isinstance(ext, str) else ext))
    return [os.path.join(root, name) for root, _, names in os.walk(directory) for name in names
            if name.lower().endswith(endings)]
