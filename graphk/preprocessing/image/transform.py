"""Random changes of one picture: turned, shifted, sheared, zoomed, flipped, lighter or darker.

In: an array of rank 3 whose axes are named by number.  Out: an array of the same shape.  What always holds: random
numbers come from numpy's global generator, each function draws in a fixed order, and its argument is not changed.
"""
from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from graphk.preprocessing.image.convert import array_to_img, img_to_array, needs

_FILL_MODES = ("constant", "nearest", "reflect", "wrap", "mirror", "grid-constant", "grid-mirror", "grid-wrap")


def random_rotation(x: Any, rg: float, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
                    fill_mode: str = "nearest", cval: float = 0., interpolation_order: int = 1) -> np.ndarray:
    """`x` turned by a random angle of at most `rg` degrees; the rest as in `apply_affine_transform`."""
    theta = np.random.uniform(-rg, rg)
    return apply_affine_transform(x, theta=theta, row_axis=row_axis, col_axis=col_axis, channel_axis=channel_axis,
                                  fill_mode=fill_mode, cval=cval, order=interpolation_order)


def random_shift(x: Any, wrg: float, hrg: float, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
                 fill_mode: str = "nearest", cval: float = 0., interpolation_order: int = 1) -> np.ndarray:
    """`x` shifted by at most the fraction `wrg` of its width and `hrg` of its height."""
    tx = np.random.uniform(-hrg, hrg) * x.shape[row_axis]
    ty = np.random.uniform(-wrg, wrg) * x.shape[col_axis]
    return apply_affine_transform(x, tx=tx, ty=ty, row_axis=row_axis, col_axis=col_axis, channel_axis=channel_axis,
                                  fill_mode=fill_mode, cval=cval, order=interpolation_order)


def random_shear(x: Any, intensity: float, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
                 fill_mode: str = "nearest", cval: float = 0., interpolation_order: int = 1) -> np.ndarray:
    """`x` sheared by a random angle of at most `intensity` degrees."""
    shear = np.random.uniform(-intensity, intensity)
    return apply_affine_transform(x, shear=shear, row_axis=row_axis, col_axis=col_axis, channel_axis=channel_axis,
                                  fill_mode=fill_mode, cval=cval, order=interpolation_order)


def random_zoom(x: Any, zoom_range: Any, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
                fill_mode: str = "nearest", cval: float = 0., interpolation_order: int = 1) -> np.ndarray:
    """`x` zoomed by two random factors between the two of `zoom_range`, one for rows and one for columns."""
    if len(zoom_range) != 2:
        raise ValueError(f"`zoom_range` should be a tuple or list of two floats. Received: {zoom_range}")
    zx, zy = random_factors(zoom_range)
    return apply_affine_transform(x, zx=zx, zy=zy, row_axis=row_axis, col_axis=col_axis, channel_axis=channel_axis,
                                  fill_mode=fill_mode, cval=cval, order=interpolation_order)


def random_factors(zoom_range: Any) -> Any:
    """Two zoom factors; without a range to draw from, no number is drawn."""
    low, high = zoom_range
    return (1, 1) if low == 1 and high == 1 else np.random.uniform(low, high, 2)


def apply_channel_shift(x: Any, intensity: float, channel_axis: int = 0) -> np.ndarray:
    """`x` with `intensity` added to every value, none getting lower or higher than the extremes of all channels were.

    >>> apply_channel_shift(np.array([[[0, 4, 9]]]), 2).tolist()
    [[[2, 6, 9]]]
    """
    x = np.asarray(x)
    return np.clip(x + intensity, x.min(), x.max())


def random_channel_shift(x: Any, intensity_range: float, channel_axis: int = 0) -> np.ndarray:
    """`apply_channel_shift` by a random number of at most `intensity_range`."""
    return apply_channel_shift(x, np.random.uniform(-intensity_range, intensity_range), channel_axis)


def apply_brightness_shift(x: Any, brightness: float, data_format: str | None = None) -> np.ndarray:
    """`x`, stretched to 0 … 255, with its brightness multiplied; data_format: by default `K.image_data_format()`."""
    enhance = needs("PIL.ImageEnhance", "apply_brightness_shift")
    img = enhance.Brightness(array_to_img(x, data_format)).enhance(brightness)
    return img_to_array(img, data_format)


def random_brightness(x: Any, brightness_range: Any) -> np.ndarray:
    """`apply_brightness_shift` by a random factor between the two of `brightness_range`."""
    if len(brightness_range) != 2:
        raise ValueError(f"`brightness_range` should be a tuple or list of two floats. Received: {brightness_range}")
    return apply_brightness_shift(x, np.random.uniform(brightness_range[0], brightness_range[1]))


def flip_axis(x: Any, axis: int) -> np.ndarray:
    """`x` mirrored along an axis.

    >>> flip_axis([[1, 2], [3, 4]], 1).tolist()
    [[2, 1], [4, 3]]
    """
    return np.flip(np.asarray(x), axis)


def transform_matrix_offset_center(matrix: Any, x: float, y: float) -> np.ndarray:
    """A 3x3 matrix that does what `matrix` does, about the centre of a picture of `x` rows and `y` columns.

    >>> transform_matrix_offset_center(np.diag([2., 2., 1.]), 4, 6).tolist()
    [[2.0, 0.0, -2.5], [0.0, 2.0, -3.5], [0.0, 0.0, 1.0]]
    """
    o_x, o_y = x / 2 + 0.5, y / 2 + 0.5                         # the middle is at x / 2 - 0.5; Keras's is one further
    offset = np.array([[1, 0, o_x], [0, 1, o_y], [0, 0, 1]])
    reset = np.array([[1, 0, -o_x], [0, 1, -o_y], [0, 0, 1]])
    return offset @ matrix @ reset


def _matrix(theta: float, tx: float, ty: float, shear: float, zx: float, zy: float) -> np.ndarray | None:
    """Rotation, shift, shear and zoom as one matrix on (row, column, 1); None where all are nothing."""
    steps = []
    if theta != 0:
        t = np.deg2rad(theta)
        steps.append([[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1]])
    if tx != 0 or ty != 0:
        steps.append([[1, 0, tx], [0, 1, ty], [0, 0, 1]])
    if shear != 0:
        s = np.deg2rad(shear)
        steps.append([[1, -np.sin(s), 0], [0, np.cos(s), 0], [0, 0, 1]])
    if zx != 1 or zy != 1:
        steps.append([[zx, 0, 0], [0, zy, 0], [0, 0, 1]])
    return reduce(np.matmul, map(np.array, steps)) if steps else None


def apply_affine_transform(x: Any, theta: float = 0, tx: float = 0, ty: float = 0, shear: float = 0, zx: float = 1,
                           zy: float = 1, row_axis: int = 0, col_axis: int = 1, channel_axis: int = 2,
                           fill_mode: str = "nearest", cval: float = 0., order: int = 1) -> np.ndarray:
    """`x` turned by `theta` degrees, shifted by `tx` rows and `ty` columns, sheared by `shear` degrees, and zoomed.

    Each place of the result is looked up in `x`: shifts move its content up and left, zooms above 1 make it smaller.
    fill_mode: what lies outside, 'constant' (the value `cval`), 'nearest', 'reflect' or 'wrap'; order: of the splines
    that interpolate, 0 for the nearest value.
    """
    matrix = _matrix(theta, tx, ty, shear, zx, zy)
    if matrix is None:
        return x
    matrix = transform_matrix_offset_center(matrix, x.shape[row_axis], x.shape[col_axis])
    return apply_transform(x, matrix, channel_axis, fill_mode, cval, order)


def apply_transform(x: Any, transform_matrix: Any, channel_axis: int = 0, fill_mode: str = "nearest", cval: float = 0.,
                    order: int = 1) -> np.ndarray:
    """`x`, each place of which is looked up where a 3x3 matrix says; the rest as in `apply_affine_transform`."""
    if fill_mode not in _FILL_MODES:
        raise ValueError(f"Invalid fill_mode: {fill_mode!r}; expected one of: {', '.join(_FILL_MODES)}")
    ndimage = needs("scipy.ndimage", "apply_affine_transform")
    matrix = np.asarray(transform_matrix)
    channels = [ndimage.affine_transform(channel, matrix[:2, :2], matrix[:2, 2], order=order, mode=fill_mode, cval=cval)
                for channel in np.moveaxis(x, channel_axis, 0)]
    return np.moveaxis(np.stack(channels), 0, channel_axis)
