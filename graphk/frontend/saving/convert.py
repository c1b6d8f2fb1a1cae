"""Weights of other Keras versions and back ends, in the order and layout that graphk's layers have.

In: a layer, the arrays that a file stores for it, the version and back end that wrote them.  Out: arrays for
`layer.weights`.  What always holds: arrays of Keras 2 on TensorFlow come out as they went in; nothing is guessed from
values, only from versions, layer classes and shapes.
"""
from __future__ import annotations

from typing import Any, Callable, Iterator, Sequence

import numpy as np

from graphk.frontend.engine.network import Network
from graphk.frontend.layers import (
    GRU,
    LSTM,
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
    ConvLSTM2D,
    CuDNNGRU,
    CuDNNLSTM,
    Wrapper,
)
from graphk.frontend.utils.conv_utils import convert_kernel

_CONVOLUTIONS = (Conv1D, Conv2D, Conv3D, Conv2DTranspose, ConvLSTM2D)
# Keras 1 stored a kernel, a recurrent kernel and a bias for each gate; the order of gates, in that of Keras 2.
_GATES: list[tuple[Any, tuple[int, ...]]] = [(GRU, (0, 1, 2)), (LSTM, (0, 2, 1, 3)), (ConvLSTM2D, (0, 2, 1, 3))]


def leaves(layer: Any) -> Iterator[Any]:
    """The layers inside wrappers and networks, in the order of their weights."""
    inner = layer._inner() if isinstance(layer, Wrapper) else layer.layers if isinstance(layer, Network) else None
    if inner is None:
        yield layer
        return
    for part in inner:
        yield from leaves(part)


def stored_counts(layer: Any, version: str) -> list[int]:
    """How many arrays a file of Keras `version` ('1', '2', …) stores for each of `layer.weights`."""
    counts = {id(w): 1 for w in layer.weights}
    if version == "1":
        for leaf in leaves(layer):
            gates = _gates_of(leaf)
            if gates and len(leaf.weights) == 3:
                counts.update(zip(map(id, leaf.weights), (3 * len(gates), 0, 0)))
    return [counts[id(w)] for w in layer.weights]


def converted(layer: Any, values: Sequence[Any], version: str, backend: str | None, reshape: bool = False) -> list[Any]:
    """Arrays for `layer.weights` from those of a file; their number is `sum(stored_counts(layer, version))`.

    values: arrays, or what becomes one by `np.asarray` and has a shape already; what needs no change stays as it is.
    """
    stored: dict[int, list[Any]] = {}
    at = 0
    for w, count in zip(layer.weights, stored_counts(layer, version)):
        stored[id(w)] = list(values[at:at + count])
        at += count
    for leaf in leaves(layer):
        own = [w for w in leaf.weights if id(w) in stored]
        arrays = [a for w in own for a in stored[id(w)]]
        if arrays:
            arrays = _of_leaf(leaf, arrays, version, backend, reshape)
            stored.update((id(w), [a]) for w, a in zip(own, arrays))
    return [stored[id(w)][0] for w in layer.weights]


def _of_leaf(layer: Any, arrays: list[Any], version: str, backend: str | None, reshape: bool) -> list[Any]:
    if version == "1":
        arrays = _from_keras1(layer, arrays)
    if isinstance(layer, _CONVOLUTIONS):
        arrays = _convolution(layer, arrays, backend, reshape)
    elif isinstance(layer, (LSTM, CuDNNLSTM)):
        arrays = _cudnn(layer, arrays, 4, _lstm_bias)
    elif isinstance(layer, (GRU, CuDNNGRU)):
        arrays = _cudnn(layer, arrays, 3, _gru_bias)
    return arrays


def _transposed(a: Any, *axes: int) -> Any:
    return np.transpose(np.asarray(a), axes) if a.ndim == len(axes) else a


# ------------------------------------------------------------------ Keras 1
def _gates_of(layer: Any) -> tuple[int, ...]:
    return next((gates for cls, gates in _GATES if isinstance(layer, cls)), ())


def _from_keras1(layer: Any, arrays: list[Any]) -> list[Any]:
    gates = _gates_of(layer)
    if gates and len(arrays) == 3 * len(gates):
        turn = _hwio if isinstance(layer, ConvLSTM2D) and layer.cell.data_format == "channels_first" else np.asarray
        return [np.concatenate([turn(arrays[3 * g + part]) for g in gates], axis=-1) for part in range(3)]
    if not isinstance(layer, (Conv1D, Conv2D, Conv2DTranspose, Conv3D)):
        return arrays
    first = layer.data_format == "channels_first"
    kernel = arrays[0]
    if isinstance(layer, Conv1D):
        length = layer.kernel_size[0]
        if kernel.ndim == 4 and (kernel.shape[:2] != (length, 1) or kernel.shape[3] != layer.filters):
            kernel = _hwio(kernel)                     # Keras 1.0: (filters, channels, length, 1)
        kernel = np.asarray(kernel)[:, 0] if kernel.ndim == 4 else kernel
    elif isinstance(layer, Conv2DTranspose):
        kernel = _transposed(kernel, 2, 3, 0, 1) if first else _transposed(kernel, 0, 1, 3, 2)
    elif first:
        kernel = _hwio(kernel)
    return [kernel, *arrays[1:]]


def _hwio(kernel: Any) -> np.ndarray:
    """(filters, channels, window…) as (window…, channels, filters); other ranks than a kernel's stay."""
    return np.transpose(np.asarray(kernel), (*range(2, kernel.ndim), 1, 0)) if kernel.ndim > 3 else np.asarray(kernel)


# ------------------------------------------------------------------ convolutions of other back ends
def _convolution(layer: Any, arrays: list[Any], backend: str | None, reshape: bool) -> list[Any]:
    kernels = 2 if isinstance(layer, ConvLSTM2D) else 1
    if backend == "theano":                            # which convolves, where the others correlate
        arrays = [convert_kernel(np.asarray(a)) for a in arrays[:kernels]] + arrays[kernels:]
    want = layer.weights[0].node.shape
    if arrays[0].shape != want:
        if reshape and arrays[0].size == np.prod(want):
            arrays = [np.reshape(np.asarray(arrays[0]), want), *arrays[1:]]
        else:
            arrays = [_transposed(a, 3, 2, 0, 1) for a in arrays[:kernels]] + arrays[kernels:]
    return arrays


# ------------------------------------------------------------------ cuDNN's layout
def _cudnn(layer: Any, arrays: list[Any], gates: int, bias: Callable[..., Any]) -> list[Any]:
    """Weights of a recurrent layer for its cuDNN twin, and back, where the bias shows that the file holds the other."""
    if len(arrays) != 3:
        return arrays
    to_cudnn = isinstance(layer, (CuDNNLSTM, CuDNNGRU))
    turned = bias(layer, arrays[2], to_cudnn)
    if turned is None:
        return arrays
    order = "C" if to_cudnn else "F"

    def each_gate(kernel: np.ndarray) -> np.ndarray:
        blocks = np.split(kernel, gates, axis=1) if kernel.ndim == 2 and kernel.shape[1] % gates == 0 else [kernel]
        return np.hstack([b.T.reshape(b.shape, order=order) for b in blocks])
    return [each_gate(np.asarray(arrays[0])), each_gate(np.asarray(arrays[1])), turned]


def _lstm_bias(layer: Any, bias: Any, to_cudnn: bool) -> np.ndarray | None:
    have, need = ((4, 8) if to_cudnn else (8, 4))
    if bias.shape != (have * layer.units,) or layer.weights[2].node.shape != (need * layer.units,):
        return None
    bias = np.asarray(bias)
    return np.tile(.5 * bias, 2) if to_cudnn else np.add(*np.split(bias, 2))


def _gru_bias(layer: Any, bias: Any, to_cudnn: bool) -> np.ndarray | None:
    flat, pair = (6 * layer.units,), (2, 3 * layer.units)
    if bias.shape == (pair if to_cudnn else flat) and layer.weights[2].node.shape == (flat if to_cudnn else pair):
        return np.asarray(bias).reshape(flat if to_cudnn else pair)
    return None


__all__ = ["converted", "leaves", "stored_counts"]
