"""Activations, losses of a batch and dropout, with Keras's numerics.

In: tensors.  Out: tensors.  What always holds: probabilities are clipped to [epsilon, 1 - epsilon]
before a logarithm, in the order that Keras 2.2 does it.
"""
from __future__ import annotations

import math
from typing import Any

from graphk.frontend.backend import math_ops as m
from graphk.frontend.backend.common import epsilon
from graphk.frontend.backend.random_ops import bernoulli
from graphk.frontend.backend.shape_ops import one_hot
from graphk.frontend.bounds import note_classes
from graphk.frontend.tensor import Tensor, as_dim, node_of
from graphk.ir.opdef import const
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import nn
from graphk.ir.ops import reduce as red
from graphk.ir.ops import shape as sh


def relu(x: Tensor, alpha: Any = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Tensor:
    """max_value above it, x above `threshold`, alpha * (x - threshold) below.

    With a max_value, an x that is above a negative threshold but not above 0 gives 0.

    >>> from graphk import backend as K
    >>> K.eval(K.relu(K.constant([-1., 2., 9.]), alpha=.5, max_value=6)).tolist()
    [-0.5, 2.0, 6.0]
    """
    node = node_of(x)
    plain = not isinstance(alpha, Tensor) and alpha == 0.0
    if plain and threshold == 0:
        out = ew.relu(node)
        return Tensor(out if max_value is None else ew.min(out, float(max_value)))
    above = node if max_value is None else ew.clip(node, 0.0, float(max_value))
    below = 0.0 if plain else ew.mul(ew.sub(node, threshold) if threshold else node, node_of(alpha, node.dtype))
    return Tensor(ew.select(ew.gt(node, threshold), above, below))


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x above 0, alpha * (exp(x) - 1) below.

    >>> K.eval(K.elu(K.constant([-1., 2.]))).round(3).tolist()
    [-0.6320000290870667, 2.0]
    """
    node = node_of(x)
    low = ew.expm1(ew.min(node, 0.0))            # bounded, so that the unused branch has no infinite gradient
    return Tensor(ew.select(ew.gt(node, 0.0), node, low if alpha == 1 else ew.mul(low, node_of(alpha, node.dtype))))


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) over its sum along `axis`.

    >>> K.eval(K.softmax(K.constant([[0., 0.]]))).tolist()
    [[0.5, 0.5]]
    """
    return Tensor(nn.softmax(node_of(x), axis))


def softplus(x: Tensor) -> Tensor:
    """log(exp(x) + 1).

    >>> float(K.eval(K.softplus(K.constant(100.))))
    100.0
    """
    return Tensor(ew.softplus(node_of(x)))


def softsign(x: Tensor) -> Tensor:
    """x / (|x| + 1).

    >>> K.eval(K.softsign(K.constant([-1., 3.]))).tolist()
    [-0.5, 0.75]
    """
    return x / (m.abs(x) + 1.0)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)).

    >>> float(K.eval(K.sigmoid(K.constant(0.))))
    0.5
    """
    return Tensor(ew.sigmoid(node_of(x)))


def hard_sigmoid(x: Tensor) -> Tensor:
    """clip(0.2 x + 0.5, 0, 1).

    >>> K.eval(K.hard_sigmoid(K.constant([-3., 0., 3.]))).tolist()
    [0.0, 0.5, 1.0]
    """
    return m.clip(x * 0.2 + 0.5, 0.0, 1.0)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent.

    >>> float(K.eval(K.tanh(K.constant(0.))))
    0.0
    """
    return Tensor(ew.tanh(node_of(x)))


# ------------------------------------------------------------------ crossentropies
def _channel_axis(output: Tensor, axis: int) -> int:
    if axis != -1 and axis not in range(output.ndim):
        raise ValueError(f"Unexpected channels axis {axis}. Expected to be -1 or one of the axes of `output`, "
                         f"which has {output.ndim} dimensions.")
    return axis % output.ndim


def categorical_crossentropy(target: Tensor, output: Tensor, from_logits: bool = False, axis: int = -1) -> Tensor:
    """-sum(target * log(output)) along `axis`; probabilities are scaled to sum 1 and clipped first.

    >>> p = K.constant([[.25, .75], [.5, .5]])
    >>> K.eval(K.exp(-K.categorical_crossentropy(K.constant([[0., 1.], [1., 0.]]), p))).tolist()
    [0.75, 0.5]
    """
    axis = _channel_axis(output, axis)
    if from_logits:
        logs = Tensor(nn.log_softmax(node_of(output), axis))
    else:
        output = output / m.sum(output, axis, keepdims=True)
        logs = m.log(m.clip(output, epsilon(), 1.0 - epsilon()))
    return -m.sum(target * logs, axis)


def sparse_categorical_crossentropy(
    target: Tensor, output: Tensor, from_logits: bool = False, axis: int = -1
) -> Tensor:
    """-log of the probability of the class `target`; `target` holds integers, with or without an axis of 1 at the
    end.

    >>> p = K.constant([[.25, .75], [.5, .5]])
    >>> K.eval(K.exp(-K.sparse_categorical_crossentropy(K.constant([1, 0]), p))).tolist()
    [0.75, 0.5]
    """
    axis = _channel_axis(output, axis)
    out = node_of(output)
    if axis != out.ndim - 1:
        out = sh.transpose(out, perm=(*[i for i in range(out.ndim) if i != axis], axis))
    if not from_logits:
        out = ew.log(ew.clip(out, epsilon(), 1.0 - epsilon()))
    logs = nn.log_softmax(out, -1)
    classes = sh.reshape(ew.cast(node_of(target), "int64"), shape=out.shape[:-1])
    if isinstance(out.shape[-1], int):
        note_classes(classes, out.shape[-1])
    hot = ew.cast(nn.one_hot(classes, out.shape[-1], "bool"), "bool")
    return Tensor(ew.neg(red.sum_(ew.select(hot, logs, 0.0), axes=-1)))


def binary_crossentropy(target: Tensor, output: Tensor, from_logits: bool = False) -> Tensor:
    """-(t log p + (1-t) log(1-p)), elementwise; probabilities are clipped first.

    >>> K.eval(K.exp(-K.binary_crossentropy(K.constant([1., 0.]), K.constant([.5, .75])))).tolist()
    [0.5, 0.25]
    """
    if from_logits:
        return m.maximum(output, 0.0) - output * target + softplus(-m.abs(output))
    p = m.clip(output, epsilon(), 1.0 - epsilon())
    return -(target * m.log(p) + (1.0 - target) * m.log(1.0 - p))


# ------------------------------------------------------------------ dropout, top k
def dropout(x: Tensor, level: float, noise_shape: Any = None, seed: int | None = None) -> Tensor:
    """`x` with a fraction `level` of elements set to 0 and the others divided by 1 - level; the shape stays.

    noise_shape: the shape of the mask, with 1 where elements along an axis share their fate, None for x's own size.

    >>> sorted(set(K.eval(K.dropout(K.ones((100,)), .5, seed=1)).tolist()))
    [0.0, 2.0]
    """
    if isinstance(level, (int, float)) and not 0. <= level < 1.:
        raise ValueError(f"Dropout level must be in interval [0, 1[. Received: {level}")
    node = node_of(x)
    keep = 1.0 - level
    shape = node.shape if noise_shape is None else tuple(
        d if want is None else as_dim(want) for want, d in zip(_noise(noise_shape, node.ndim), node.shape))
    mask = bernoulli(shape, keep, node.dtype, seed)
    return Tensor(node) * (Tensor(mask) * (1.0 / keep))


def _noise(noise_shape: Any, ndim: int) -> Any:
    sizes = tuple(getattr(noise_shape, "dims", noise_shape))
    if len(sizes) != ndim:
        raise ValueError(f"dropout: noise_shape {sizes} has {len(sizes)} axes, expected {ndim} as the tensor has")
    return sizes


def in_top_k(predictions: Tensor, targets: Tensor, k: int) -> Tensor:
    """Whether the class `targets` (n,) is among the k largest `predictions` (n, classes) of each row; ties count as in.

    False where the class is none, or a prediction of the row is NaN or infinite.

    >>> K.eval(K.in_top_k(K.constant([[.1, .6, .3]]), K.constant([2], dtype='int32'), 2)).tolist()
    [True]
    """
    node = node_of(predictions)
    hot = ew.cast(node_of(one_hot(targets, node.shape[-1])), "bool")
    sound = red.all_(ew.lt(ew.abs(node), math.inf), axes=-1)
    low = const(-math.inf, node.dtype)
    mine = red.max_(ew.select(hot, node, low), axes=-1, keepdims=True)
    better = red.sum_(ew.cast(ew.gt(node, mine), "int32"), axes=-1)
    limit: Any = as_dim(k)
    return Tensor(ew.logical_and(ew.lt(better, limit), ew.logical_and(sound, red.any_(hot, axes=-1))))


__all__ = ["relu", "elu", "softmax", "softplus", "softsign", "sigmoid", "hard_sigmoid", "tanh",
           "categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy", "dropout", "in_top_k"]
