"""Variables where devices have them: `graphk.value_on_device`.

In: a variable, a device's name.  Out: an array of the variable's own memory there.  What always holds: it is not to be
written; no value passes through the host that a device has already.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import automatic
from graphk.frontend.scopes import device_called
from graphk.frontend.tensor import Variable


def value_on_device(variable: Variable, device: str | None = None) -> Any:
    """A variable's own memory on a device (such as "gpu:1"; by default the one that is set), to be read there.

    What `K.function(..., results="device")` gives is like it, but is a copy; this one is the variable, which other
    libraries take without a copy and cannot write.  It is good until something writes the variable: a step of
    training, a function that updates it, `K.set_value`, `load_weights`.  Call this again after that, and have other
    libraries done with reading before it.  On the CPU it is a numpy array that cannot be written.  TypeError for what
    is no variable.

    >>> from graphk import backend as K
    >>> value_on_device(K.ones((2,)), "cpu").tolist()
    [1.0, 1.0]
    """
    if not isinstance(variable, Variable):
        raise TypeError(f"value_on_device takes a variable, received {variable!r}. What is computed comes from "
                        "K.function(..., results='device')")
    name = automatic.chosen() if device is None else device_called(device, "value_on_device")
    if name != "cpu":
        from graphk.runtime.device import device as named
        from graphk.runtime.mirrors import in_place
        return in_place(variable.storage.drawn, named(name))
    view = variable.array.view()
    view.flags.writeable = False
    return view


__all__ = ["value_on_device"]
