"""Pictures made ready for models, as `keras.preprocessing.image`; needs `pip install graphk[images]`."""
import os

import numpy as np

from graphk import backend as K
from graphk.preprocessing.image.convert import array_to_img, img_to_array, list_pictures, load_img, save_img
from graphk.preprocessing.image.files import DataFrameIterator, DirectoryIterator
from graphk.preprocessing.image.generator import ImageDataGenerator
from graphk.preprocessing.image.iterators import Iterator, NumpyArrayIterator
from graphk.preprocessing.image.transform import (
    apply_affine_transform,
    apply_brightness_shift,
    apply_channel_shift,
    apply_transform,
    flip_axis,
    random_brightness,
    random_channel_shift,
    random_rotation,
    random_shear,
    random_shift,
    random_zoom,
    transform_matrix_offset_center,
)

__all__ = ["DataFrameIterator", "DirectoryIterator", "ImageDataGenerator", "Iterator", "NumpyArrayIterator",
           "apply_affine_transform", "apply_brightness_shift", "apply_channel_shift", "apply_transform", "array_to_img",
           "flip_axis", "img_to_array", "list_pictures", "load_img", "random_brightness", "random_channel_shift",
           "random_rotation", "random_shear", "random_shift", "random_zoom", "save_img",
           "transform_matrix_offset_center",
           "K", "np", "os"]                            # what its star import handed on in Keras
