"""What the networks share: their arguments, the image's entry, their ends, and published weights.

In: a function from an image to features, and what a caller asks for.  Out: a Model.  What always holds: arguments are
checked before a layer is made; layers follow the configured data format, in which weights are the same.
"""
from __future__ import annotations

import os
import warnings
from typing import Any, Callable, NamedTuple, Sequence

from graphk.applications.imagenet_utils import obtain_input_shape, reject_unknown
from graphk.frontend import backend as K
from graphk.frontend.engine.sources import get_source_inputs
from graphk.frontend.layers import (
    Activation,
    BatchNormalization,
    Concatenate,
    Dense,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
)
from graphk.frontend.models import Model
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.downloads import get_file

Body = Callable[[Tensor], Tensor]
Top = Callable[[Tensor, int], Tensor]
KERAS_FILES = "https://github.com/fchollet/deep-learning-models/releases/download/"
TEAM_FILES = "https://github.com/keras-team/keras-applications/releases/download/"


# ------------------------------------------------------------------ layers
def channel_axis() -> int:
    """The axis of the channels in the configured data format."""
    return 1 if K.image_data_format() == "channels_first" else -1


def normalized(x: Tensor, name: str | None = None, **settings: Any) -> Tensor:
    """Batch normalization of the channels."""
    return BatchNormalization(axis=channel_axis(), name=name, **settings)(x)


def relu(x: Tensor, name: str | None = None) -> Tensor:
    """A layer of its own for the rectifier."""
    return Activation("relu", name=name)(x)


def joined(tensors: Sequence[Tensor], name: str | None = None) -> Tensor:
    """The channels of all tensors."""
    return Concatenate(axis=channel_axis(), name=name)(list(tensors))


def channels_of(x: Tensor) -> int:
    """How many channels a tensor has."""
    return K.int_shape(x)[channel_axis()]


def correct_pad(x: Tensor, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The padding with which a window of `size` and strides of 2 give what TensorFlow's 'same' gives.

    An open size counts as even.
    """
    at = 2 if channel_axis() == 1 else 1
    rows, columns = ((size // 2 - (1 if d is None else 1 - d % 2), size // 2) for d in K.int_shape(x)[at:at + 2])
    return rows, columns


def classifier(dense: str, pool: str | None = None) -> Top:
    """The usual end: the mean over space (a layer called `pool`), then a softmax (called `dense`)."""
    def top(x: Tensor, classes: int) -> Tensor:
        return Dense(classes, activation="softmax", name=dense)(GlobalAveragePooling2D(name=pool)(x))
    return top


# ------------------------------------------------------------------ published weights
class File(NamedTuple):
    """A published file: its name in the cache, where it is, and its MD5 hash where that is known."""
    name: str
    origin: str
    hash: str | None = None

    def fetch(self) -> str:
        """Its path in the cache, after a download if need be."""
        return get_file(self.name, self.origin, cache_subdir="models", file_hash=self.hash)


def published(base: str, name: str, hash_top: str, hash_features: str) -> tuple[File, File]:
    """The files of a network with and without its classifier, under their usual names."""
    stem = f"{name}_weights_tf_dim_ordering_tf_kernels"
    return (File(f"{stem}.h5", f"{base}{stem}.h5", hash_top),
            File(f"{stem}_notop.h5", f"{base}{stem}_notop.h5", hash_features))


# ------------------------------------------------------------------ what a caller asks for
class Request:
    """The arguments that all networks take, checked; `title` is the network's name in errors."""

    def __init__(self, title: str, include_top: bool, weights: Any, input_tensor: Any, pooling: str | None,
                 classes: int, kwargs: dict[str, Any]):
        reject_unknown(title, kwargs)
        if not (weights is None or weights == "imagenet" or os.path.exists(weights)):
            raise ValueError("The `weights` argument should be either `None` (random initialization), `imagenet` "
                             "(pre-training on ImageNet), or the path to the weights file to be loaded. Received "
                             f"weights={weights!r}, and there is no such file.")
        if weights == "imagenet" and include_top and classes != 1000:
            raise ValueError('If using `weights` as `"imagenet"` with `include_top` as true, `classes` should be 1000. '
                             f"Received classes={classes}; for other classes use include_top=False and a Dense layer "
                             "of your own, or weights=None.")
        if pooling not in (None, "avg", "max"):
            warnings.warn(f"{title}: unknown pooling={pooling!r}; expected None, 'avg' or 'max'. The features are not "
                          "pooled.", stacklevel=4)
        self.include_top, self.weights, self.input_tensor = include_top, weights, input_tensor
        self.pooling, self.classes = pooling, classes

    def shape(self, input_shape: Any, size: int, least: int) -> tuple[int | None, ...]:
        """The shape of an image; size: the usual number of rows and columns; least: the smallest possible one."""
        return obtain_input_shape(input_shape, size, least, K.image_data_format(), self.include_top, self.weights)

    def image(self, shape: tuple[int | None, ...]) -> Tensor:
        """The tensor that enters the network."""
        if self.input_tensor is None:
            return Input(shape=shape)
        if K.is_keras_tensor(self.input_tensor):
            return self.input_tensor
        known = zip(K.int_shape(self.input_tensor)[1:], shape)                    # what the tensor says comes first
        return Input(tensor=self.input_tensor, shape=tuple(usual if d is None else d for d, usual in known))

    def model(self, name: str, image: Tensor, features: Tensor, top: Top, files: tuple[File, File],
              pools: tuple[str | None, str | None] = (None, None)) -> Model:
        """The model, with its weights; pools: names of the layers that 'avg' and 'max' stand for."""
        x = features
        if self.include_top:
            x = top(x, self.classes)
        elif self.pooling == "avg":
            x = GlobalAveragePooling2D(name=pools[0])(x)
        elif self.pooling == "max":
            x = GlobalMaxPooling2D(name=pools[1])(x)
        model = Model(image if self.input_tensor is None else get_source_inputs(self.input_tensor), x, name=name)
        if self.weights is not None:
            model.load_weights(files[0 if self.include_top else 1].fetch() if self.weights == "imagenet"
                               else self.weights)
        return model


ARGUMENTS = """

    include_top: with the classifier; weights: 'imagenet' (fetched once), a file, or None for random ones; input_tensor:
    a tensor to build upon; input_shape: of an image, at least {least} rows and columns; pooling: without the
    classifier, 'avg' or 'max' over space; classes: of the classifier."""


def network(name: str, top: Top, files: tuple[File, File], size: int = 224, least: int = 32,
            pools: tuple[str | None, str | None] = (None, None)) -> Callable[[Body], Callable[..., Model]]:
    """Turns `body`, from an image to features, into the function that Keras has: from wishes to a model."""
    def decorate(body: Body) -> Callable[..., Model]:
        def build(include_top: bool = True, weights: Any = "imagenet", input_tensor: Any = None,
                  input_shape: Any = None, pooling: str | None = None, classes: int = 1000, **kwargs: Any) -> Model:
            request = Request(body.__name__, include_top, weights, input_tensor, pooling, classes, kwargs)
            image = request.image(request.shape(input_shape, size, least))
            return request.model(name, image, body(image), top, files, pools)

        build.__name__, build.__qualname__, build.__module__ = body.__name__, body.__qualname__, body.__module__
        build.__doc__ = (body.__doc__ or "") + ARGUMENTS.format(least=least)
        return build
    return decorate
