"""Whole models in HDF5 files: architecture, weights, training configuration, optimizer state.

In: a model and where to write it, or a file.  Out: a file, or a model that goes on training where the saved one
stopped.  What always holds: nothing in a file is executed or imported; a model that cannot be written leaves no file.
"""
from __future__ import annotations

import json
import os
import warnings
from typing import Any

from graphk.frontend import optimizers
from graphk.frontend.engine.base_layer import unwritten_weights
from graphk.frontend.engine.network_config import KERAS_VERSION, json_value
from graphk.frontend.models import model_from_config
from graphk.frontend.saving.errors import malformed
from graphk.frontend.saving.hdf5 import Place, reading, writing
from graphk.frontend.saving.text import load_json
from graphk.frontend.saving.weights import load_by_name, load_in_order, put_named, write_weights
from graphk.frontend.utils.generic_utils import CustomObjectScope, deserialize_keras_object
from graphk.frontend.utils.io_utils import ask_to_proceed_with_overwrite


def _may_write(filepath: Any, overwrite: bool) -> bool:
    return overwrite or not isinstance(filepath, (str, os.PathLike)) or not os.path.isfile(filepath) \
        or ask_to_proceed_with_overwrite(filepath)


# ------------------------------------------------------------------ writing
def save_model(model: Any, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
    """Write a model to an HDF5 file.

    filepath: a path, an open h5py file or group, or a file object open for writing; overwrite: False asks before an
    existing file is replaced; include_optimizer: with the training configuration and the optimizer's state.  A path is
    replaced as a whole, when everything has been written.

    >>> import io
    >>> from graphk.layers import Dense
    >>> from graphk.models import Sequential, load_model
    >>> model, file = Sequential([Dense(2, input_shape=(3,))]), io.BytesIO()
    >>> save_model(model, file)
    >>> load_model(file).output_shape
    (None, 2)
    """
    attributes = {"keras_version": KERAS_VERSION, "backend": "tensorflow",
                  "model_config": _json({"class_name": type(model).__name__, "config": model.get_config()})}
    optimizer = getattr(model, "optimizer", None) if include_optimizer else None
    if isinstance(optimizer, optimizers.TFOptimizer):
        warnings.warn("TensorFlow optimizers do not make it possible to access optimizer attributes or optimizer state "
                      "after instantiation. As a result, we cannot save the optimizer as part of the model save file. "
                      "You will have to compile your model again after loading it. Prefer using a Keras optimizer "
                      "instead.", stacklevel=3)
        optimizer = None
    if optimizer is not None:
        attributes["training_config"] = _json(_training_config(model, optimizer))
    if not _may_write(filepath, overwrite):
        return
    with writing(filepath) as root:
        for name, value in attributes.items():
            root.attrs[name] = value.encode("utf-8")
        write_weights(root.create_group("model_weights"), model.layers)
        state = list(getattr(optimizer, "weights", []))
        if state:
            put_named(root.create_group("optimizer_weights"), state)


def _json(value: Any) -> str:
    return json.dumps(value, default=json_value)


def _training_config(model: Any, optimizer: Any) -> dict[str, Any]:
    return {"optimizer_config": {"class_name": type(optimizer).__name__, "config": optimizer.get_config()},
            "loss": model.loss, "metrics": model.metrics, "weighted_metrics": model.weighted_metrics,
            "sample_weight_mode": model.sample_weight_mode, "loss_weights": model.loss_weights}


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Write a model's weights to an HDF5 file; arguments as for `save_model`."""
    if not _may_write(filepath, overwrite):
        return
    with writing(filepath) as root:
        write_weights(root, model.layers)


# ------------------------------------------------------------------ reading
def load_model(filepath: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True) -> Any:
    """A model from a file that `model.save` wrote.

    filepath: a path, an h5py file or group, or a file object open for reading; custom_objects: classes and functions of
    the user's by name; compile: with the training configuration and the optimizer's state, if the file has them.
    Raises FileNotFoundError, or GraphkFormatError (a ValueError) that says what is wrong with the file.
    """
    with reading(filepath) as root, CustomObjectScope(custom_objects or {}):
        text = root.text("model_config")
        if text is None:
            raise root.error(_no_model(root), "model_config")
        place = root._at("model_config")
        with malformed(root.file, place, "the model cannot be made"), unwritten_weights():
            model = model_from_config(load_json(text, root.file, place), custom_objects)
        load_in_order(root.group("model_weights"), model.layers)
        if compile:
            _compile(model, root, custom_objects or {})
    return model


def _no_model(root: Place) -> str:
    if root.has_attribute("layer_names") or root.has_attribute("layer_names0"):
        return "No model found in config file: it holds weights only. Make the model by its code, then call " \
            "`model.load_weights(file)`"
    return f"No model found in config file. It holds {root.keys()[:8]}"


def _compile(model: Any, root: Place, custom_objects: dict[str, Any]) -> None:
    text = root.text("training_config")
    if text is None:
        warnings.warn("No training configuration found in save file: the model was *not* compiled. Compile it "
                      "manually.", stacklevel=4)
        return
    given = load_json(text, root.file, root._at("training_config"))

    def own(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return [own(v) for v in x]
        if isinstance(x, dict) and set(x) == {"class_name", "config"}:          # a loss or metric with a config
            return deserialize_keras_object(x, {}, custom_objects, "loss or metric")
        if isinstance(x, dict):
            return {k: own(v) for k, v in x.items()}
        return custom_objects.get(x, x) if isinstance(x, str) else x
    optimizer = optimizers.deserialize(given["optimizer_config"], custom_objects)
    model.compile(optimizer, own(given.get("loss")), own(given.get("metrics")), given.get("loss_weights"),
                  given.get("sample_weight_mode"), own(given.get("weighted_metrics")))
    if "optimizer_weights" in root:
        _resume(model, root.group("optimizer_weights"))


def _resume(model: Any, place: Place) -> None:
    """The optimizer's state; a warning if it does not fit, and then it starts fresh."""
    model._make_train_function()
    values = [place.array(name).read() for name in place.texts("weight_names") or []]
    try:
        model.optimizer.set_weights(values)
    except ValueError as e:
        warnings.warn(f"Error in loading the saved optimizer state. As a result, your model is starting with a freshly "
                      f"initialized optimizer. ({e})", stacklevel=5)


def load_weights(model: Any, filepath: Any, by_name: bool = False, skip_mismatch: bool = False, reshape: bool = False
                 ) -> None:
    """Give a model the weights of a file (of weights, or of a whole model).

    by_name: only layers whose names the file has, instead of all in order; skip_mismatch (with by_name): warn where
    something does not fit; reshape: reshape kernels of convolutions that have the right number of elements.  Raises
    FileNotFoundError, or GraphkFormatError (a ValueError) that lists all that does not fit; then no weight has changed.
    """
    if skip_mismatch and not by_name:
        raise ValueError("When calling model.load_weights, skip_mismatch can only be set to True when by_name is True.")
    with reading(filepath) as root:
        if by_name:
            load_by_name(root, model.layers, skip_mismatch, reshape)
        else:
            load_in_order(root, model.layers, reshape)


__all__ = ["load_model", "load_weights", "save_model", "save_weights"]
