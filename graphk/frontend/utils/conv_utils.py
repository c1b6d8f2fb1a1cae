"""Arithmetic of convolutions: arguments made regular, lengths before and after, kernels turned around.

In: arguments as users write them; lengths as ints, dims, or None where unknown.  Out: the same, checked.  What always
holds: a length that is not known stays None.
"""
from __future__ import annotations

from typing import Any

import numpy as np


def normalize_tuple(value: Any, n: int, name: str, least: int | None = None) -> tuple[int, ...]:
    """`n` integers, of at least `least`, from one for all or a sequence; ValueError, naming the argument, for anything
    else.

    >>> normalize_tuple(3, 2, "kernel_size")
    (3, 3)
    """
    complaint = f"The `{name}` argument must be a tuple of {n} integers. Received: {value!r}"
    if isinstance(value, (int, np.integer)):
        value = (value,) * n
    try:
        given = tuple(value)
    except TypeError:
        raise ValueError(complaint) from None
    if len(given) != n:
        raise ValueError(complaint)
    for single in given:
        if not isinstance(single, (int, np.integer)):
            raise ValueError(f"{complaint} including element {single} of type {type(single)}")
        if least is not None and single < least:
            raise ValueError(f"{complaint}, where each must be {least} or more.")
    return tuple(int(v) for v in given)


def normalize_padding(value: str) -> str:
    """'valid', 'same' or 'causal', in lower case; ValueError for others."""
    padding = str(value).lower()
    if padding not in ("valid", "same", "causal"):
        raise ValueError('The `padding` argument must be one of "valid", "same" (or "causal" for Conv1D). Received: '
                         f"{value}")
    return padding


def convert_kernel(kernel: Any) -> np.ndarray:
    """A kernel (*window, channels, filters) with its window turned around, between Theano's and TensorFlow's way."""
    kernel = np.asarray(kernel)
    if not 3 <= kernel.ndim <= 5:
        raise ValueError(f"Invalid kernel shape: {kernel.shape}; expected (*window, channels, filters).")
    return np.copy(np.flip(kernel, tuple(range(kernel.ndim - 2))))


def conv_output_length(input_length: Any, filter_size: int, padding: str, stride: int, dilation: int = 1) -> Any:
    """How many windows a convolution sees along an axis of `input_length`.

    >>> conv_output_length(9, 3, "same", 2), conv_output_length(9, 3, "valid", 2)
    (5, 4)
    """
    _known(padding, ("same", "valid", "full", "causal"))
    if input_length is None:
        return None
    span = (filter_size - 1) * dilation + 1
    extra = {"same": 0, "causal": 0, "valid": 1 - span, "full": span - 1}[padding]
    return (input_length + extra + stride - 1) // stride


def conv_input_length(output_length: Any, filter_size: int, padding: str, stride: int) -> Any:
    """The least input length that gives `output_length` windows."""
    _known(padding, ("same", "valid", "full"))
    if output_length is None:
        return None
    pad = {"same": filter_size // 2, "valid": 0, "full": filter_size - 1}[padding]
    return (output_length - 1) * stride - 2 * pad + filter_size


def deconv_length(dim_size: Any, stride_size: int, kernel_size: int, padding: str, output_padding: int | None,
                  dilation: int = 1) -> Any:
    """The length that a transposed convolution makes of `dim_size`.

    >>> deconv_length(4, 2, 3, "same", None), deconv_length(4, 2, 3, "valid", None)
    (8, 9)
    """
    _known(padding, ("same", "valid", "full"))
    if dim_size is None:
        return None
    span = (kernel_size - 1) * dilation + 1
    if output_padding is None:
        more = {"same": 0, "valid": max(span - stride_size, 0), "full": -(stride_size + span - 2)}[padding]
        return dim_size * stride_size + more
    pad = {"same": span // 2, "valid": 0, "full": span - 1}[padding]
    return (dim_size - 1) * stride_size + span - 2 * pad + output_padding


def _known(padding: str, allowed: tuple[str, ...]) -> None:
    if padding not in allowed:
        raise ValueError(f"Invalid padding: {padding}. Expected one of {', '.join(map(repr, allowed))}.")
