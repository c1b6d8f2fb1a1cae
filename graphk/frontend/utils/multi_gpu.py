"""One model on several devices: `multi_gpu_model`.

In: a model and the devices.  Out: a model that splits each batch, runs a replica per part on a device of its own, and
joins the results (`engine/split_step.py`).  What always holds: the replicas have the weights of the model that was
given, and a step changes them as one on the whole batch does; a device that is not there is an error which lists those
that are.
"""
from __future__ import annotations

from typing import Any, Sequence

from graphk.frontend import backend as K
from graphk.frontend.engine.training import Model
from graphk.frontend.layers import Activation
from graphk.frontend.models import clone_model
from graphk.frontend.scopes import device_called
from graphk.frontend.utils.generic_utils import to_list, unpack_singleton


def multi_gpu_model(model: Any, gpus: Any = None, cpu_merge: bool = True, cpu_relocation: bool = False) -> Model:
    """A model whose batches are split among replicas of `model`, which share its weights.

    gpus: how many GPUs, or a list of their numbers, or a list of names of devices: `['cpu:0', 'cpu:1']` makes replicas
    on the CPU, `simulator:1` is a simulated GPU; by default all GPUs.  cpu_merge: ignored, results are joined on the
    host; cpu_relocation: replicate a copy of the model, with weights of its own.
    Save and load the model that was given, as its weights are the replicas'.  Batch normalization sees the part of a
    batch that its replica has.

    >>> from graphk.layers import Dense
    >>> from graphk.models import Sequential
    >>> model = Sequential([Dense(2, input_shape=(3,))])
    >>> multi_gpu_model(model, ["cpu:0", "cpu:1"]).output_shape
    (None, 2)
    """
    available = ["/cpu:0", *map(_device, K._get_available_gpus())]
    chosen = _chosen(gpus, available)
    fixed = {x.name: K.int_shape(x) for x in model.inputs if K.int_shape(x)[0] is not None}
    if fixed:
        raise ValueError(f"multi_gpu_model splits batches, but the inputs {fixed} of `{model.name}` have a fixed "
                         "number of samples. Leave it open: give `shape` or `input_shape`, not `batch_shape`.")
    if cpu_relocation:
        model = clone_model(model)
    outputs = to_list(model(unpack_singleton(list(model.inputs))))
    replicated = Model(model.inputs, [Activation("linear", name=n)(y) for n, y in zip(model.output_names, outputs)])
    replicated._devices = tuple(device_called(name, "multi_gpu_model") for name in chosen)
    return replicated


def _chosen(gpus: Any, available: Sequence[str]) -> list[str]:
    """The devices meant by `gpus`; ValueError if they are fewer than two or not available."""
    if not gpus:
        gpus = sum("gpu:" in name for name in available)
    listed = isinstance(gpus, (list, tuple))
    if not listed and not isinstance(gpus, int):
        raise TypeError(f"`gpus` of multi_gpu_model is a number, or a list of numbers or names; received {gpus!r}.")
    if (len(gpus) if listed else gpus) <= 1:
        what = "len(gpus)" if listed else "gpus"
        raise ValueError(f"For multi-gpu usage to be effective, call `multi_gpu_model` with `{what} >= 2`. Received: "
                         f"`gpus={gpus}`. This machine has: {list(available)}; `gpus=['cpu:0', 'cpu:1']` makes "
                         "replicas on the CPU.")
    names = [_device(g) for g in (gpus if listed else range(gpus))]
    if any(name not in available and not name.startswith(("/cpu:", "/simulator:")) for name in names):
        raise ValueError(f"To call `multi_gpu_model` with `gpus={gpus}`, we expect the following devices to be "
                         f"available: {['/cpu:0', *names]}. However this machine only has: {list(available)}. Try "
                         "reducing `gpus`, or name CPU replicas: `gpus=['cpu:0', 'cpu:1']`.")
    return names


def _device(given: Any) -> str:
    """`/gpu:1` for 1, 'gpu:1' and '/device:GPU:1'."""
    return f"/gpu:{given}" if isinstance(given, int) else "/" + ":".join(str(given).lower().strip("/").split(":")[-2:])


__all__ = ["multi_gpu_model"]
