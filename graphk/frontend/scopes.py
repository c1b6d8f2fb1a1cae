"""Where layers run: `graphk.device_scope`.

In: a device's name.  Out: a context, inside which all that is made is to run on that device.  What always holds: names
are checked here, devices opened when something is compiled for them; without a scope nothing is looked at.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import config
from graphk.ir.node import origin

used = False                                        # whether there ever was a scope


class device_scope(origin):                         # noqa: N801 - a context, as TensorFlow's `tf.device`
    """Layers called inside run on a device, with their weights and gradients; elsewhere nothing changes.

    name: '/gpu:0', 'gpu:1', '/device:GPU:1', '/cpu:0' or 'simulator:1'.  What is made outside of scopes runs where its
    largest input is.  A function that was made for one device (`K.function(..., device=...)`, replicas of
    `multi_gpu_model`) runs there alone.  ValueError for other names.

    >>> from graphk.layers import Dense, Input
    >>> from graphk.models import Model
    >>> x = Input((4,))
    >>> with device_scope("/cpu:0"):
    ...     y = Dense(2)(x)
    >>> Model(x, y).output_shape
    (None, 2)
    """
    __slots__ = ()

    def __init__(self, name: Any):
        global used
        super().__init__(device=device_called(name, "device_scope"))
        used = True


def device_called(name: Any, source: str) -> str:
    """The setting that TensorFlow's name of a device means; all of a machine's CPUs are one."""
    text = str(name).lower().strip("/").removeprefix("device:")
    return "cpu" if text.startswith("cpu:") else config.device_name(text, source)


__all__ = ["device_called", "device_scope"]
