"""`ImageDataGenerator`: what changes pictures at random and normalizes them, and makes batches of them.

In: pictures as arrays, in a folder or listed in a frame.  Out: iterators of batches.  What always holds: random numbers
come from numpy's global generator, in the order of `get_random_transform`; only `fit` changes what normalizes.
"""
from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.legacy import LAYOUT, renamed
from graphk.preprocessing.image import transform
from graphk.preprocessing.image.convert import layout
from graphk.preprocessing.image.files import DataFrameIterator, DirectoryIterator
from graphk.preprocessing.image.iterators import NumpyArrayIterator, expect_channels

_EPSILON = 1e-6


class ImageDataGenerator:
    """Batches of pictures, changed at random and normalized.

    featurewise_center, featurewise_std_normalization, zca_whitening (zca_epsilon): subtract the mean, divide by the
    standard deviation, decorrelate, by what `fit` finds in a data set; samplewise_center, samplewise_std_normalization:
    by each picture's own; rotation_range: degrees; width_shift_range, height_shift_range: a fraction of the size, or
    pixels from 1, or an int for whole pixels below it, or a list to choose from; shear_range: degrees; zoom_range: a
    factor's range, or what it may differ from 1; channel_shift_range: added to all values; brightness_range: a factor's
    range; fill_mode, cval, interpolation_order: see `apply_affine_transform`; horizontal_flip, vertical_flip: half of
    them; preprocessing_function: applied to each changed picture before it is normalized; rescale: a factor;
    data_format, dtype: of the batches, by default `K.image_data_format()` and `K.floatx()`; validation_split: the
    fraction that the subset 'validation' has.

    >>> batches = ImageDataGenerator(rescale=0.5).flow(np.ones((3, 2, 2, 1)), batch_size=2)
    >>> [len(x) for x, _ in zip(batches, range(3))], float(batches[0].max())
    ([2, 1, 2], 0.5)
    """

    @partial(renamed, names=LAYOUT)
    def __init__(self, featurewise_center: bool = False, samplewise_center: bool = False,
                 featurewise_std_normalization: bool = False, samplewise_std_normalization: bool = False,
                 zca_whitening: bool = False, zca_epsilon: float = 1e-6, rotation_range: float = 0,
                 width_shift_range: Any = 0., height_shift_range: Any = 0., brightness_range: Any = None,
                 shear_range: float = 0., zoom_range: Any = 0., channel_shift_range: float = 0.,
                 fill_mode: str = "nearest", cval: float = 0., horizontal_flip: bool = False,
                 vertical_flip: bool = False, rescale: float | None = None, preprocessing_function: Any = None,
                 data_format: str | None = None, validation_split: float = 0., dtype: Any = None,
                 interpolation_order: int = 1):
        self.zca_whitening, self.zca_epsilon, self.rotation_range = zca_whitening, zca_epsilon, rotation_range
        self.width_shift_range, self.height_shift_range = width_shift_range, height_shift_range
        self.brightness_range, self.shear_range = brightness_range, shear_range
        self.channel_shift_range, self.fill_mode, self.cval = channel_shift_range, fill_mode, cval
        self.horizontal_flip, self.vertical_flip, self.rescale = horizontal_flip, vertical_flip, rescale
        self.preprocessing_function, self.interpolation_order = preprocessing_function, interpolation_order
        self.dtype = K.floatx() if dtype is None else dtype
        self.data_format = layout(data_format)
        last = self.data_format == "channels_last"
        self.channel_axis, self.row_axis, self.col_axis = (3, 1, 2) if last else (1, 2, 3)
        self._image_axes = {"row_axis": self.row_axis - 1, "col_axis": self.col_axis - 1,
                            "channel_axis": self.channel_axis - 1}
        if validation_split and not 0 < validation_split < 1:
            raise ValueError(f"`validation_split` must be strictly between 0 and 1. Received: {validation_split}")
        self._validation_split = validation_split
        self.zoom_range = _zoom_range(zoom_range)
        if brightness_range is not None and np.shape(brightness_range) != (2,):
            raise ValueError("`brightness_range` should be a tuple or list of two floats. Received: "
                             f"{brightness_range}")
        self.mean: Any = None
        self.std: Any = None
        self.principal_components: Any = None
        self._set_normalization(featurewise_center, featurewise_std_normalization, samplewise_center,
                                samplewise_std_normalization)

    def _set_normalization(self, center: bool, std: bool, sample_center: bool, sample_std: bool) -> None:
        """Some imply, or exclude, others."""
        def overrides(one: str, other: str) -> None:
            warnings.warn(f"This ImageDataGenerator specifies `{one}`, which overrides setting of `{other}`.",
                          stacklevel=4)

        if self.zca_whitening:
            if not center:
                overrides("zca_whitening", "featurewise_center")
            if std:
                overrides("zca_whitening", "featurewise_std_normalization")
            center, std = True, False
        if std and not center:
            overrides("featurewise_std_normalization", "featurewise_center")
        if sample_std and not sample_center:
            overrides("samplewise_std_normalization", "samplewise_center")
        self.featurewise_center, self.featurewise_std_normalization = center or std, std
        self.samplewise_center, self.samplewise_std_normalization = sample_center or sample_std, sample_std

    # -------------------------------------------------------------- batches
    def flow(self, x: Any, y: Any = None, batch_size: int = 32, shuffle: bool = True, sample_weight: Any = None,
             seed: int | None = None, save_to_dir: Any = None, save_prefix: str = "", save_format: str = "png",
             subset: str | None = None) -> NumpyArrayIterator:
        """Batches of the pictures in an array; the arguments are those of `NumpyArrayIterator`."""
        return NumpyArrayIterator(
            x, y, self, batch_size=batch_size, shuffle=shuffle, sample_weight=sample_weight, seed=seed,
            data_format=self.data_format, save_to_dir=save_to_dir, save_prefix=save_prefix, save_format=save_format,
            subset=subset, dtype=self.dtype)

    def flow_from_directory(self, directory: Any, target_size: Any = (256, 256), color_mode: str = "rgb",
                            classes: Any = None, class_mode: str | None = "categorical", batch_size: int = 32,
                            shuffle: bool = True, seed: int | None = None, save_to_dir: Any = None,
                            save_prefix: str = "", save_format: str = "png", follow_links: bool = False,
                            subset: str | None = None, interpolation: str = "nearest") -> DirectoryIterator:
        """Batches of the pictures in a folder, one folder in it per class; arguments as for `DirectoryIterator`."""
        return DirectoryIterator(
            directory, self, target_size=target_size, color_mode=color_mode, classes=classes, class_mode=class_mode,
            data_format=self.data_format, batch_size=batch_size, shuffle=shuffle, seed=seed, save_to_dir=save_to_dir,
            save_prefix=save_prefix, save_format=save_format, follow_links=follow_links, subset=subset,
            interpolation=interpolation, dtype=self.dtype)

    def flow_from_dataframe(self, dataframe: Any, directory: Any = None, x_col: str = "filename", y_col: Any = "class",
                            has_ext: bool = True, target_size: Any = (256, 256), color_mode: str = "rgb",
                            classes: Any = None, class_mode: str | None = "categorical", batch_size: int = 32,
                            shuffle: bool = True, seed: int | None = None, save_to_dir: Any = None,
                            save_prefix: str = "", save_format: str = "png", subset: str | None = None,
                            interpolation: str = "nearest", weight_col: str | None = None,
                            validate_filenames: bool = True, **kwargs: Any) -> DataFrameIterator:
        """Batches of the pictures that a frame lists; the arguments are those of `DataFrameIterator`."""
        for name in kwargs:
            if name not in ("sort", "drop_duplicates"):
                raise TypeError(f"flow_from_dataframe() got an unexpected keyword argument {name!r}")
            warnings.warn(f"{name} is deprecated: rows are used as they stand in the frame.", DeprecationWarning,
                          stacklevel=2)
        return DataFrameIterator(
            dataframe, directory, self, x_col=x_col, y_col=y_col, has_ext=has_ext, target_size=target_size,
            color_mode=color_mode, classes=classes, class_mode=class_mode, data_format=self.data_format,
            batch_size=batch_size, shuffle=shuffle, seed=seed, save_to_dir=save_to_dir, save_prefix=save_prefix,
            save_format=save_format, subset=subset, interpolation=interpolation, weight_col=weight_col,
            validate_filenames=validate_filenames, dtype=self.dtype)

    # -------------------------------------------------------------- one picture
    def standardize(self, x: Any) -> Any:
        """`x` normalized; an array of floats is overwritten.  x: one picture, or a batch of them."""
        if self.preprocessing_function:
            x = self.preprocessing_function(x)
            if x is None:
                raise ValueError("`preprocessing_function` returned None; expected the picture, as an array. Does it "
                                 "lack its `return`?")
        if self.rescale:
            x *= self.rescale
        if self.samplewise_center:
            x -= np.mean(x, keepdims=True)
        if self.samplewise_std_normalization:
            x /= np.std(x, keepdims=True) + _EPSILON
        if self.featurewise_center and self._fitted("featurewise_center", self.mean):
            x -= self.mean
        if self.featurewise_std_normalization and self._fitted("featurewise_std_normalization", self.std):
            x /= self.std + _EPSILON
        if self.zca_whitening and self._fitted("zca_whitening", self.principal_components):
            x = np.reshape(np.reshape(x, (-1, np.prod(x.shape[-3:]))) @ self.principal_components, x.shape)
        return x

    def _fitted(self, argument: str, statistic: Any) -> bool:
        if statistic is None:
            warnings.warn(f"This ImageDataGenerator specifies `{argument}`, but it hasn't been fit on any training "
                          "data. Fit it first by calling `.fit(numpy_data)`.", stacklevel=3)
        return statistic is not None

    def get_random_transform(self, img_shape: Any, seed: int | None = None) -> dict[str, Any]:
        """What to do to a picture of this shape, drawn at random: arguments for `apply_transform`."""
        if seed is not None:
            np.random.seed(seed)
        theta = _symmetric(self.rotation_range)
        tx = _shift(self.height_shift_range, img_shape[self.row_axis - 1])
        ty = _shift(self.width_shift_range, img_shape[self.col_axis - 1])
        shear = _symmetric(self.shear_range)
        zx, zy = transform.random_factors(self.zoom_range)
        horizontal = (np.random.random() < 0.5) * self.horizontal_flip
        vertical = (np.random.random() < 0.5) * self.vertical_flip
        channel_shift = _symmetric(self.channel_shift_range) if self.channel_shift_range != 0 else None
        brightness = None if self.brightness_range is None else np.random.uniform(*self.brightness_range)
        return {"theta": theta, "tx": tx, "ty": ty, "shear": shear, "zx": zx, "zy": zy, "flip_horizontal": horizontal,
                "flip_vertical": vertical, "channel_shift_intensity": channel_shift, "brightness": brightness}

    def apply_transform(self, x: Any, transform_parameters: dict[str, Any]) -> Any:
        """`x` changed as told; the keys are those of `get_random_transform`, what is left out does nothing."""
        def told(name: str, otherwise: Any = None) -> Any:
            return transform_parameters.get(name, otherwise)

        x = transform.apply_affine_transform(
            x, told("theta", 0), told("tx", 0), told("ty", 0), told("shear", 0), told("zx", 1), told("zy", 1),
            **self._image_axes, fill_mode=self.fill_mode, cval=self.cval, order=self.interpolation_order)
        if told("channel_shift_intensity") is not None:
            x = transform.apply_channel_shift(x, told("channel_shift_intensity"), self.channel_axis - 1)
        if told("flip_horizontal"):
            x = transform.flip_axis(x, self.col_axis - 1)
        if told("flip_vertical"):
            x = transform.flip_axis(x, self.row_axis - 1)
        if told("brightness") is not None:
            x = transform.apply_brightness_shift(x, told("brightness"), self.data_format)
        return x

    def random_transform(self, x: Any, seed: int | None = None) -> Any:
        """`x`, one picture, changed at random."""
        return self.apply_transform(x, self.get_random_transform(x.shape, seed))

    # -------------------------------------------------------------- a data set
    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Find what featurewise normalization and whitening need.

        x: pictures, of rank 4; augment: changed at random, `rounds` times; seed: for that.
        """
        x = np.array(x, dtype=self.dtype)
        if x.ndim != 4:
            raise ValueError(f"Input to `.fit()` should have rank 4. Got array with shape: {x.shape}")
        expect_channels(x.shape, self.data_format, "Expected input to be images (as Numpy array) following",
                        stacklevel=3)
        if seed is not None:
            np.random.seed(seed)
        if augment:
            x = np.array([self.random_transform(image) for _ in range(rounds) for image in x], dtype=self.dtype)
        axes = (0, self.row_axis, self.col_axis)
        if self.featurewise_center:
            self.mean = np.mean(x, axis=axes, keepdims=True)[0]
            x -= self.mean
        if self.featurewise_std_normalization:
            self.std = np.std(x, axis=axes, keepdims=True)[0]
            x /= self.std + _EPSILON
        if self.zca_whitening:
            flat = x.reshape(len(x), -1)
            u, s, _ = np.linalg.svd(flat.T @ flat / len(flat))
            self.principal_components = (u / np.sqrt(s + self.zca_epsilon)) @ u.T


def _zoom_range(given: Any) -> list[float]:
    if not hasattr(given, "__len__"):
        return [1 - given, 1 + given]
    if len(given) == 2:
        return [given[0], given[1]]
    raise ValueError(f"`zoom_range` should be a float or a tuple or list of two floats. Received: {given}")


def _symmetric(bound: float) -> float:
    """A random number of at most `bound`, on either side; nothing is drawn for 0."""
    return np.random.uniform(-bound, bound) if bound else 0


def _shift(given: Any, size: int) -> Any:
    """Pixels to shift by, drawn as the argument says: an int, a list to choose from, or a float."""
    several = hasattr(given, "__len__")
    if not (len(given) if several else given):
        return 0
    if several or isinstance(given, (int, np.integer)):
        drawn = np.random.choice(given) * np.random.choice([-1, 1])
    else:
        drawn = np.random.uniform(-given, given)
    return drawn * size if np.max(given) < 1 else drawn
