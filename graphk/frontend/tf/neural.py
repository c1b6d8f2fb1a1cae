"""`tensorflow.nn`: activations, losses from logits, convolutions and pooling.

In: tensors.  Out: tensors.  What always holds: images have their channels last, or as `data_format` says in
TensorFlow's letters.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.tensor import Tensor, node_of
from graphk.frontend.tf.names import named
from graphk.ir.dims import Dim, floordiv
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import shape as sh

named("nn.relu")(lambda features: K.relu(features))
named("nn.relu6")(lambda features: K.relu(features, max_value=6.))
named("nn.leaky_relu")(lambda features, alpha=.2: K.relu(features, alpha=alpha))
named("nn.elu")(lambda features: K.elu(features))
named("nn.softplus", "math.softplus")(lambda features: K.softplus(features))
named("nn.softsign")(lambda features: K.softsign(features))
named("nn.swish", "nn.silu")(lambda features: features * K.sigmoid(features))
named("nn.bias_add")(lambda value, bias, data_format=None: K.bias_add(value, bias, _format(data_format)))


@named("nn.selu")
def selu(features: Any) -> Tensor:
    """1.0507 · elu(x, 1.6733)."""
    return 1.0507009873554805 * K.elu(features, 1.6732632423543772)


@named("nn.softmax", "math.softmax")
def softmax(logits: Any, axis: Any = None, dim: Any = None) -> Tensor:
    """Softmax over an axis, the last by default."""
    return K.softmax(logits, -1 if axis is None and dim is None else dim if axis is None else axis)


@named("nn.log_softmax", "math.log_softmax")
def log_softmax(logits: Any, axis: int = -1) -> Tensor:
    """log(softmax(x)), computed as x - logsumexp(x)."""
    return logits - K.logsumexp(logits, axis, keepdims=True)


@named("nn.l2_normalize", "math.l2_normalize", "linalg.l2_normalize")
def l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12, dim: Any = None) -> Tensor:
    """x / sqrt(max(sum(x²), epsilon))."""
    total = K.sum(K.square(x), dim if axis is None else axis, keepdims=True)
    return x * Tensor(ew.rsqrt(K.maximum(total, epsilon).node))


@named("nn.l2_loss")
def l2_loss(t: Any) -> Tensor:
    """sum(x²) / 2."""
    return K.sum(K.square(t)) / 2.


@named("nn.moments")
def moments(x: Any, axes: Any, shift: Any = None, keepdims: Any = None, keep_dims: Any = None) -> tuple[Tensor, Tensor]:
    """Mean and variance over axes."""
    keep = bool(keepdims or keep_dims)
    return K.mean(x, list(axes), keep), K.var(x, list(axes), keep)


@named("nn.batch_normalization")
def batch_normalization(x: Any, mean: Any, variance: Any, offset: Any, scale: Any, variance_epsilon: float) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) · scale + offset."""
    factor = Tensor(ew.rsqrt((variance + variance_epsilon).node))
    factor = factor if scale is None else factor * scale
    out = (x - mean) * factor
    return out if offset is None else out + offset


@named("nn.dropout")
def dropout(x: Any, keep_prob: Any = None, noise_shape: Any = None, seed: Any = None, *, rate: Any = None) -> Tensor:
    """Elements are 0 with probability `rate`, the others larger by 1 / (1 - rate).

    ValueError without `rate=` or `keep_prob=`: what a second argument without its name means depends on the version.
    """
    if (rate is None) == (keep_prob is None):
        raise ValueError(f"tf.nn.dropout takes one of rate= and keep_prob=; received {rate} and {keep_prob}")
    return K.dropout(x, 1. - keep_prob if rate is None else rate, noise_shape, seed)


# ------------------------------------------------------------------ losses
@named("nn.sigmoid_cross_entropy_with_logits")
def sigmoid_cross_entropy_with_logits(labels: Any = None, logits: Any = None) -> Tensor:
    """log(1 + exp(x)) - x·z of logits x and labels z."""
    return K.softplus(logits) - logits * labels


@named("nn.softmax_cross_entropy_with_logits", "nn.softmax_cross_entropy_with_logits_v2")
def softmax_cross_entropy_with_logits(labels: Any = None, logits: Any = None, axis: int = -1, dim: Any = None
                                      ) -> Tensor:
    """-sum(labels · log(softmax(logits))) over the last axis."""
    axis = axis if dim is None else dim
    return -K.sum(labels * log_softmax(logits, axis), axis)


@named("nn.sparse_softmax_cross_entropy_with_logits")
def sparse_softmax_cross_entropy_with_logits(labels: Any = None, logits: Any = None) -> Tensor:
    """-log(softmax(logits)) of the class whose number `labels` gives."""
    return softmax_cross_entropy_with_logits(K.one_hot(labels, node_of(logits).shape[-1]), logits)


# ------------------------------------------------------------------ images
def _format(letters: Any) -> str:
    if letters in (None, "NHWC", "NWC", "channels_last"):
        return "channels_last"
    if letters in ("NCHW", "NCW", "channels_first"):
        return "channels_first"
    raise ValueError(f"data_format is NHWC or NCHW; received {letters!r}")


def _pair(sizes: Any, data_format: str, what: str) -> tuple[int, int]:
    """The two that are for rows and columns, of one number, two, or one per axis."""
    sizes = [int(s) for s in (sizes if isinstance(sizes, (list, tuple)) else [sizes])]
    if len(sizes) == 4:
        last = data_format == "channels_last"
        if sizes[0] != 1 or sizes[3 if last else 1] != 1:
            raise ValueError(f"{what} over samples or channels must be 1; received {sizes}")
        sizes = sizes[1:3] if last else sizes[2:]
    if len(sizes) not in (1, 2):
        raise ValueError(f"{what} takes 1, 2 or 4 numbers; received {sizes}")
    return sizes[0], sizes[-1]


@named("nn.conv2d")
def conv2d(input: Any, filter: Any = None, strides: Any = 1, padding: str = "VALID", data_format: Any = None,
           dilations: Any = 1, *, filters: Any = None, use_cudnn_on_gpu: Any = None) -> Tensor:
    """A convolution of images by (height, width, channels, filters)."""
    layout = _format(data_format)
    return K.conv2d(input, filter if filters is None else filters, _pair(strides, layout, "strides"), _padding(padding),
                    layout, _pair(dilations, layout, "dilations"))


def _padding(padding: Any) -> str:
    if not isinstance(padding, str) or padding.upper() not in ("SAME", "VALID"):
        raise ValueError(f"padding is SAME or VALID; received {padding!r}. Pad with tf.pad first.")
    return padding.lower()


def _pooling(mode: str, *names: str) -> None:
    def pooled(input: Any = None, ksize: Any = None, strides: Any = None, padding: str = "VALID",
               data_format: Any = None, *, value: Any = None) -> Tensor:
        layout = _format(data_format)
        return K.pool2d(value if input is None else input, _pair(ksize, layout, "ksize"),
                        _pair(strides, layout, "strides"), _padding(padding), layout, mode)
    named(*names)(pooled)


_pooling("max", "nn.max_pool", "nn.max_pool2d")
_pooling("avg", "nn.avg_pool", "nn.avg_pool2d")


@named("space_to_depth", "nn.space_to_depth")
def space_to_depth(input: Any, block_size: int) -> Tensor:
    """Squares of pixels become channels: (n, h, w, c) to (n, h/b, w/b, b·b·c)."""
    x = K.identity(input)
    n, h, w, c = x.node.shape
    b = block_size
    rows, columns = _whole(h, b), _whole(w, b)
    parts = Tensor(sh.reshape(x.node, shape=(n, rows, b, columns, b, c)))     # a call checks that nothing is left over
    turned = K.permute_dimensions(parts, (0, 1, 3, 2, 4, 5)).node
    return Tensor(sh.reshape(turned, shape=(n, rows, columns, b * b * c)))


def _whole(size: Dim, block: int) -> Dim:
    if isinstance(size, int) and size % block:
        raise ValueError(f"tf.space_to_depth with blocks of {block}: an image's size is {size}; expected a multiple")
    return floordiv(size, block)


@named("depth_to_space", "nn.depth_to_space")
def depth_to_space(input: Any, block_size: int) -> Tensor:
    """Channels become squares of pixels: (n, h, w, b·b·c) to (n, h·b, w·b, c)."""
    x = K.identity(input)
    n, h, w, c = x.node.shape
    b = block_size
    if not isinstance(c, int) or c % (b * b):
        raise ValueError(f"tf.depth_to_space with blocks of {b}: {c} channels are no multiple of {b * b}")
    parts = Tensor(sh.reshape(x.node, shape=(n, h, w, b, b, c // (b * b))))
    turned = K.permute_dimensions(parts, (0, 1, 3, 2, 4, 5)).node
    return Tensor(sh.reshape(turned, shape=(n, h * b, w * b, c // (b * b))))
