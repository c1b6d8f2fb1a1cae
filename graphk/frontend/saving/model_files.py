"""Whole models in HDF5 files: architecture, weights, training configuration, optimizer state.

In: a model and where to write it, or a file.  Out: a file, or a model that goes on training where the saved one
stopped.  What always holds: nothing in a file is executed or imported; a model that cannot be written leaves no file.
"""
from __future__ import annotations

import contextlib
import json
import os
import warnings
from typing import Any, Callable, Iterator, NamedTuple

from graphk.frontend import optimizers
from graphk.frontend.engine.base_layer import unwritten_weights
from graphk.frontend.engine.network_config import KERAS_VERSION
from graphk.frontend.layers import deserialize
from graphk.frontend.saving import archives
from graphk.frontend.saving.config_writing import keras2, keras3, keras3_training, plain_json
from graphk.frontend.saving.configs import Problem, modern, of_tensorflow, report
from graphk.frontend.saving.errors import GraphkFormatError, malformed
from graphk.frontend.saving.hdf5 import Place, reading, writing
from graphk.frontend.saving.layer_folders import has_folders, load_folders, numbered, write_folders
from graphk.frontend.saving.optimizer_state import State, resume
from graphk.frontend.saving.text import load_json
from graphk.frontend.saving.training_configs import compile_as, training_problems
from graphk.frontend.saving.weights import (
    has_names,
    load_by_name,
    load_in_order,
    put_named,
    stored_names,
    write_weights,
)
from graphk.frontend.utils.generic_utils import CustomObjectScope
from graphk.frontend.utils.io_utils import ask_to_proceed_with_overwrite


def _may_write(filepath: Any, overwrite: bool) -> bool:
    return overwrite or not isinstance(filepath, (str, os.PathLike)) or not os.path.isfile(filepath) \
        or ask_to_proceed_with_overwrite(filepath)


# ------------------------------------------------------------------ writing
def save_model(model: Any, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
    """Write a model to an HDF5 file, or, if the path ends in `.keras`, to an archive for Keras 3.

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
    archive = isinstance(filepath, (str, os.PathLike)) and os.fspath(filepath).endswith(".keras")
    attributes = {"keras_version": KERAS_VERSION, "backend": "tensorflow",
                  "model_config": "" if archive else json.dumps(keras2(model))}
    optimizer = getattr(model, "optimizer", None) if include_optimizer else None
    if isinstance(optimizer, optimizers.TFOptimizer):
        warnings.warn("TensorFlow optimizers do not make it possible to access optimizer attributes or optimizer state "
                      "after instantiation. As a result, we cannot save the optimizer as part of the model save file. "
                      "You will have to compile your model again after loading it. Prefer using a Keras optimizer "
                      "instead.", stacklevel=3)
        optimizer = None
    if optimizer is not None:
        attributes["training_config"] = json.dumps(plain_json(_training_config(model, optimizer)))
    if archive:
        _save_archive(model, filepath, overwrite, optimizer)
    elif _may_write(filepath, overwrite):
        _save_hdf5(model, filepath, attributes, optimizer)


def _save_archive(model: Any, filepath: Any, overwrite: bool, optimizer: Any) -> None:
    config = keras3(model)
    if optimizer is not None:
        config["compile_config"] = keras3_training(_training_config(model, optimizer))
        config |= _mixed(model)
    if _may_write(filepath, overwrite):
        archives.write(filepath, config, {"keras_version": "3.0.0", "date_saved": ""},
                       lambda root: write_folders(root, model, optimizer))


def _save_hdf5(model: Any, filepath: Any, attributes: dict[str, str], optimizer: Any) -> None:
    with writing(filepath) as root:
        for name, value in attributes.items():
            root.attrs[name] = value.encode("utf-8")
        write_weights(root.create_group("model_weights"), model.layers)
        state = list(getattr(optimizer, "weights", []))
        if state:
            put_named(root.create_group("optimizer_weights"), state)


def _training_config(model: Any, optimizer: Any) -> dict[str, Any]:
    return {"optimizer_config": {"class_name": type(optimizer).__name__, "config": optimizer.get_config()},
            "loss": model.loss, "metrics": model.metrics, "weighted_metrics": model.weighted_metrics,
            "sample_weight_mode": model.sample_weight_mode, "loss_weights": model.loss_weights, **_mixed(model)}


def _mixed(model: Any) -> dict[str, Any]:
    """graphk's own entry, which no Keras reads: a model without mixed precision has none."""
    state = model._mixed.state() if hasattr(model, "_mixed") else {}
    return {"mixed_precision": state} if state else {}


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Write a model's weights to an HDF5 file; arguments as for `save_model`."""
    if not _may_write(filepath, overwrite):
        return
    with writing(filepath) as root:
        write_weights(root, model.layers)


# ------------------------------------------------------------------ weights
def load_weights(model: Any, filepath: Any, by_name: bool = False, skip_mismatch: bool = False, reshape: bool = False
                 ) -> None:
    """Give a model the weights of a file (of weights, or of a whole model).

    by_name: only layers whose names the file has, instead of all in order; skip_mismatch (with by_name): warn where
    something does not fit; reshape: reshape kernels of convolutions that have the right number of elements.  Raises
    FileNotFoundError, or GraphkFormatError (a ValueError) that lists all that does not fit; then no weight has changed.
    """
    if skip_mismatch and not by_name:
        raise ValueError("When calling model.load_weights, skip_mismatch can only be set to True when by_name is True.")
    if archives.is_archive(filepath):
        with archives.opened(filepath) as archive:
            _no_names(by_name, archive.file)
            load_folders(archive.weights, model)
        return
    with reading(filepath) as root:
        if has_folders(root) and not has_names(root):
            _no_names(by_name, root.file)
            load_folders(root, model)
        elif by_name:
            load_by_name(root, model.layers, skip_mismatch, reshape)
        else:
            load_in_order(root, model.layers, reshape)


def _no_names(by_name: bool, file: str) -> None:
    if by_name:
        raise GraphkFormatError(file, "", "by_name=True: Keras 3 names the weights' folders after classes, not layers. "
                                          "Load the model with load_model and take its layers' weights")


# ------------------------------------------------------------------ reading
class Parts(NamedTuple):
    """A file's model, whatever the format.  place: where its architecture stands; training: what it was compiled with,
    None if the file does not say; give_weights, state: the weights for a model that was made, the optimizer's state."""
    file: str
    place: str
    config: dict[str, Any]
    version: str
    training: dict[str, Any] | None
    weights: Place
    give_weights: Callable[[Any], None]
    state: Callable[[Any], State | None]


@contextlib.contextmanager
def parts(filepath: Any) -> Iterator[Parts]:
    """The model in a file, nothing of it made yet."""
    if archives.is_archive(filepath):
        with archives.opened(filepath) as archive:
            yield _of_archive(archive)
    else:
        with reading(filepath) as root:
            yield _of_hdf5(root)


def _training_of(config: dict[str, Any]) -> dict[str, Any] | None:
    """What a model of an archive was compiled with; what is graphk's own stands beside what Keras 3 reads."""
    training = config.get("compile_config")
    mixed = {"mixed_precision": config["mixed_precision"]} if "mixed_precision" in config else {}
    return {**training, **mixed} if isinstance(training, dict) else training


def _of_archive(archive: archives.Archive) -> Parts:
    root = archive.weights

    def state(model: Any) -> State | None:
        if "optimizer/vars" not in root:
            return None
        stored = numbered(root.group("optimizer/vars"))
        return State([s.name for s in stored], stored, {}, "3", interleaved=True)
    return Parts(archive.file, archives.CONFIG, archive.config, str(archive.metadata.get("keras_version", "3")),
                 _training_of(archive.config), root,
                 lambda model: load_folders(root, model, archive.config.get("config")), state)


def _of_hdf5(root: Place) -> Parts:
    place, text = root._at("model_config"), root.text("model_config")
    if text is None:
        raise root.error(_no_model(root), "model_config")
    config = load_json(text, root.file, place)
    if not isinstance(config, dict):
        raise root.error(f"expected a JSON object, found {str(config):.60}", "model_config")
    training = root.text("training_config")
    weights = root if has_names(root) else root.group("model_weights")
    version = weights.text("keras_version") or root.text("keras_version") or "1"

    def state(model: Any) -> State | None:
        if "optimizer_weights" not in root:
            return None
        group = root.group("optimizer_weights")
        names = group.texts("weight_names") or []
        return State(names, [group.array(n) for n in names], stored_names(weights, model.layers), version)
    return Parts(root.file, place, config, version,
                 None if training is None else load_json(training, root.file, root._at("training_config")), weights,
                 lambda model: load_in_order(weights, model.layers, whole_model=True), state)


def _no_model(root: Place) -> str:
    if has_names(root) or has_folders(root):
        return "No model found in config file: it holds weights only. Make the model by its code, then call " \
            "`model.load_weights(file)`"
    return f"No model found in config file. It holds {root.keys()[:8]}"


def load_model(filepath: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True) -> Any:
    """A model from a file that `model.save` of any Keras wrote: HDF5, or a `.keras` archive.

    filepath: a path, an h5py file or group, or a file object open for reading; custom_objects: classes and functions of
    the user's by name; compile: with the training configuration and the optimizer's state, if the file has them.
    Raises FileNotFoundError, or GraphkFormatError (a ValueError) that says what is wrong with the file.
    """
    given = custom_objects or {}
    with parts(filepath) as stored, CustomObjectScope(given):
        model = make(stored, given, compile)
        stored.give_weights(model)
        if compile:
            _compile(model, stored, given)
    return model


def make(stored: Parts, custom_objects: dict[str, Any], compile: bool = True) -> Any:
    """The model of a file, its weights not yet set; GraphkFormatError with all that is in the way."""
    with malformed(stored.file, stored.place, "the model cannot be made"):
        config, problems = modern(stored.config, stored.version, custom_objects)
    if compile and stored.training is not None:
        with malformed(stored.file, "training_config", "it cannot be understood"):
            problems += training_problems(stored.training, custom_objects)
    if problems:
        problems += [Problem(text) for text in stored.weights.unreadable()]
        raise report(problems, stored.file, stored.place)
    with malformed(stored.file, stored.place, "the model cannot be made"), unwritten_weights(), \
            warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The `Merge` layer is deprecated")
        model = deserialize(config, custom_objects)
        if not model.built:
            raise ValueError("it has no input shape, so that nothing says which weights it has")
        return model


def _compile(model: Any, stored: Parts, custom_objects: dict[str, Any]) -> None:
    if not stored.training:
        warnings.warn("No training configuration found in save file: the model was *not* compiled. Compile it "
                      "manually.", stacklevel=3)
        return
    later = int(stored.version[0]) >= 3 if stored.version[:1].isdigit() else False
    with malformed(stored.file, "training_config", "the model cannot be compiled"):
        done = compile_as(model, stored.training, custom_objects, later or of_tensorflow(stored.version))
        state = stored.state(model) if done else None
        if state is not None:
            model._make_train_function()               # what makes the optimizer's variables
    if state is None:
        return
    try:
        resume(model, state)
    except ValueError as e:
        warnings.warn(f"Error in loading the saved optimizer state. As a result, your model is starting with a freshly "
                      f"initialized optimizer. ({e})", stacklevel=3)


__all__ = ["Parts", "load_model", "load_weights", "make", "parts", "save_model", "save_weights"]
