"""`tensorflow.image`: images of another size.

In: images (samples, rows, columns, channels), or one without samples.  Out: the same, resized.  What always holds:
'bilinear' and 'nearest' as TensorFlow computes them: names of TensorFlow 1 measure from corners of pixels (with
`align_corners` the last pixels coincide), those of TensorFlow 2 from their centres.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.tensor import Tensor, as_dim, as_shape, node_of
from graphk.frontend.tf.names import NAMES, named
from graphk.frontend.tf.shapes import gather
from graphk.ir.dims import Dim
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import shape as sh


class ResizeMethod:
    """Names of the ways to resize; of these graphk has BILINEAR and NEAREST_NEIGHBOR."""

    BILINEAR, NEAREST_NEIGHBOR, BICUBIC, AREA = "bilinear", "nearest", "bicubic", "area"


NAMES["image.ResizeMethod"] = ResizeMethod
_METHODS = {0: "bilinear", 1: "nearest", 2: "bicubic", 3: "area"}


def _float(d: Dim) -> Tensor:
    return Tensor(sh.dim_value(d, "float32"))


def _along(x: Tensor, axis: int, size: Dim, method: str, corners: str) -> Tensor:
    old = x.node.shape[axis]
    if old == size:
        return x
    at = Tensor(sh.iota(size, "float32"))
    if corners == "align":
        at = at * ((_float(old) - 1.) / K.maximum(_float(size) - 1., 1.))
    elif corners == "centres":
        at = (at + .5) * (_float(old) / _float(size)) - (.5 if method == "bilinear" else 0.)
    else:
        at = at * (_float(old) / _float(size))
    if method == "nearest":
        at = at + .5 if corners == "align" else at
        return gather(x, K.cast(K.minimum(Tensor(ew.floor(at.node)), _float(old) - 1.), "int32"), axis=axis)
    at = K.maximum(at, 0.)
    low = K.minimum(Tensor(ew.floor(at.node)), _float(old) - 1.)
    way = K.reshape(at - low, tuple(-1 if i == axis else 1 for i in range(x.ndim)))
    here, next_ = (gather(x, K.cast(i, "int32"), axis=axis) for i in (low, K.minimum(low + 1., _float(old) - 1.)))
    return here + (next_ - here) * way


def _resized(images: Any, size: Any, method: Any, corners: str) -> Tensor:
    method = _METHODS.get(method, method)
    if method not in ("bilinear", "nearest"):
        raise ValueError(f"images are resized by 'bilinear' or 'nearest' here; received method={method!r}")
    x = Tensor(node_of(images))
    if x.ndim not in (3, 4):
        raise ValueError(f"tf.image.resize takes images of 3 or 4 axes; received one of shape {x.shape}")
    sizes = as_shape(size) if isinstance(size, Tensor) else tuple(as_dim(s) for s in size)
    if len(sizes) != 2:
        raise ValueError(f"tf.image.resize takes (height, width); received {size!r}")
    if method == "bilinear" and not x.dtype.startswith("float"):
        x = K.cast(x, "float32")
    for axis, s in zip((x.ndim - 3, x.ndim - 2), sizes):
        x = _along(x, axis, s, method, corners)
    return x


@named("image.resize", "compat.v2.image.resize")
def resize(images: Any, size: Any, method: Any = "bilinear", preserve_aspect_ratio: bool = False,
           antialias: bool = False) -> Tensor:
    """TensorFlow 2's: measured from centres of pixels.  ValueError for the other methods and options."""
    if preserve_aspect_ratio or antialias:
        raise ValueError("tf.image.resize has neither preserve_aspect_ratio nor antialias here; leave them out")
    return _resized(images, size, method, "centres")


@named("image.resize_images", "compat.v1.image.resize", "compat.v1.image.resize_images")
def resize_images(images: Any, size: Any, method: Any = "bilinear", align_corners: bool = False,
                  preserve_aspect_ratio: bool = False) -> Tensor:
    """TensorFlow 1's: measured from corners, or with the last pixels on each other."""
    if preserve_aspect_ratio:
        raise ValueError("tf.image.resize_images has no preserve_aspect_ratio here; leave it out")
    return _resized(images, size, method, "align" if align_corners else "corners")


def _one_way(method: str, name: str) -> None:
    def resized(images: Any, size: Any, align_corners: bool = False, half_pixel_centers: bool = False) -> Tensor:
        if align_corners and half_pixel_centers:
            raise ValueError("align_corners and half_pixel_centers exclude each other")
        return _resized(images, size, method,
                        "align" if align_corners else "centres" if half_pixel_centers else "corners")
    named(f"image.{name}")(resized)


_one_way("bilinear", "resize_bilinear")
_one_way("nearest", "resize_nearest_neighbor")
