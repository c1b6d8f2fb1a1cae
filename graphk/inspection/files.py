"""`graphk check FILE` and `graphk convert IN OUT`: model files of any Keras, looked at and rewritten.

In: paths.  Out: a report or another file, and an exit code.  What always holds: nothing in a file is executed and no
model runs; a file that cannot be read is reported with everything that is wrong.
"""
from __future__ import annotations

import errno
import json
import os
import warnings
from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.models import load_model, model_from_json, model_from_yaml
from graphk.frontend.saving import archives
from graphk.frontend.saving.errors import GraphkFormatError, malformed
from graphk.frontend.saving.hdf5 import reading, replacing
from graphk.frontend.saving.layer_folders import has_folders
from graphk.frontend.saving.model_files import parts
from graphk.frontend.saving.weights import has_names, source
from graphk.frontend.utils.optional import need
from graphk.inspection.stored import stored_weights
from graphk.onnx import OnnxGraph, export_model, import_model

_OWN = {"OnnxGraph": OnnxGraph}                # the one layer of graphk's that is none of Keras's
_TEXTS = {".json": model_from_json, ".yaml": model_from_yaml, ".yml": model_from_yaml}


def check(path: str) -> int:
    """Print what a file holds, or all that is wrong with it; 0 if graphk reads it, else 1."""
    said: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            lines = _described(path)
            said = [f"note: {w.message}" for w in caught]
    except (ValueError, OSError, ImportError, NotImplementedError) as e:
        print(told(path, e))
        return 1
    print("\n".join([f"{path}: graphk reads this file", *lines, *dict.fromkeys(said)]))
    return 0


def told(path: str, error: Exception) -> str:
    """What is wrong with a file, which is named once."""
    if isinstance(error, GraphkFormatError):
        more = "\n(On the command line: give a script that loads the model so and calls `predict`, not the file.)"
        return str(error) + more * ("custom_objects=" in error.reason)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or path}: {error.strerror}"
    return str(error) if str(error).startswith(path) else f"{path}: {error}"


def _no_script(path: str) -> None:
    if _ending(path) == ".py":
        raise ValueError(f"{path}: this is a script; expected a model file, such as `model.save` writes")


def _described(path: str) -> list[str]:
    _no_script(path)
    if _ending(path) in (*_TEXTS, ".onnx"):
        return _model_lines(read_model(path, None))
    if _ending(path) == ".safetensors":
        return str(stored_weights(path)).split("\n")[1:]
    if not archives.is_archive(path):
        with reading(path) as root:
            if not root.has_attribute("model_config") and (has_names(root) or has_folders(root)):
                return _weight_lines(root)
    with parts(path) as stored:
        kind = "archive of Keras" if stored.place == archives.CONFIG else "HDF5 file of Keras"
        lines = [f"{kind} {stored.version}" + ("" if stored.training else ", without training configuration")]
    return lines + _model_lines(load_model(path, _OWN))


def _weight_lines(root: Any) -> list[str]:
    if not has_names(root):
        problems = root.unreadable()
        if problems:
            raise GraphkFormatError(root.file, "", "\n  ".join(problems))
        return ["weights only, in Keras 3's folders; the model comes from its code: model.load_weights(file)"]
    found = source(root)
    return [f"weights only, of Keras {found.version} on {found.backend or 'an unnamed back end'}; the model comes from "
            "its code: model.load_weights(file)",
            *(f"  {name}: {', '.join(str(s.shape) for s in stored)}" for name, stored in found.layers)]


def _model_lines(model: Any) -> list[str]:
    optimizer = getattr(model, "optimizer", None)
    return [f"{type(model).__name__} `{model.name}`: {len(model.layers)} layers, {model.count_params()} parameters, "
            f"{model.input_shape} -> {model.output_shape}",
            f"compiled with {type(optimizer).__name__}, loss {model.loss}" if optimizer else "not compiled"]


def _ending(path: str) -> str:
    return ".weights.h5" if path.endswith(".weights.h5") else os.path.splitext(path)[1].lower()


class WeightsOnly(Exception):
    """A file has no architecture."""


def read_model(path: str, weights: str | None) -> Any:
    """The model in a file; WeightsOnly where there is none, but weights for one."""
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "this is a folder; expected a model file", path)
    _no_script(path)
    if _ending(path) not in (*_TEXTS, ".onnx") and os.path.isfile(path) and stored_weights(path) is not None:
        raise WeightsOnly(f"{path}: it holds weights only, no architecture. `graphk summary` shows them; for all else "
                          f"give the model, and these as its weights: MODEL.json --weights {path} (model.to_json() "
                          "makes the text of MODEL.json), or a script that makes the model")
    reader = _TEXTS.get(_ending(path))
    if _ending(path) == ".onnx":
        model = import_model(path)
    elif reader is None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No training configuration")        # whoever needs one says so
            model = load_model(path, _OWN)
    else:
        with open(path, encoding="utf-8") as f:
            text = f.read()
        try:
            model = reader(text)
        except GraphkFormatError as e:                      # which knows a text alone
            raise GraphkFormatError(path, e.place.removeprefix("JSON").removeprefix("YAML"), e.reason) from e
    if weights:
        (_read_safetensors if _ending(weights) == ".safetensors" else _load_weights)(model, weights)
    return model


def _load_weights(model: Any, weights: str) -> None:
    model.load_weights(weights)


def convert(path: str, out: str, weights: str | None = None) -> None:
    """Write the model of one file in the format that the other's ending names; ValueError that names the file which is
    at fault.

    weights: a file of weights for a `path` that holds the architecture alone.
    """
    name = path
    try:
        model = read_model(path, weights)
        name = out
        _write(model, out)
    except WeightsOnly as e:
        raise ValueError(str(e)) from e
    except (ValueError, OSError, ImportError, NotImplementedError) as e:
        raise ValueError(told(name, e)) from e


def _write(model: Any, out: str) -> None:
    ending = _ending(out)
    if ending == ".weights.h5":
        model.save_weights(out)
    elif ending in (".h5", ".hdf5", ".keras"):
        model.save(out)
    elif ending in _TEXTS:
        text = json.dumps(json.loads(model.to_json()), indent=1) if ending == ".json" else model.to_yaml()
        with replacing(out) as aside, open(aside, "w", encoding="utf-8") as f:
            f.write(text)
    elif ending == ".onnx":
        export_model(model, out)
    elif ending == ".safetensors":
        _write_safetensors(model, out)
    else:
        raise ValueError(f"{out}: the format `{ending}` is not known. Known are .h5 and .hdf5 (Keras 2), .keras "
                         "(Keras 3), .weights.h5, .json, .yaml, .onnx and .safetensors")


# ------------------------------------------------------------------ safetensors
def _safetensors() -> Any:
    return need("safetensors.numpy", "safetensors", "safetensors files")


def _by_name(model: Any, file: str) -> dict[str, Any]:
    """The model's weights as `layer/weight`."""
    found = {f"{layer.name}/{w.name}": w for layer in model.layers for w in layer.weights}
    if len(found) < sum(len(layer.weights) for layer in model.layers):
        raise ValueError(f"{file}: two weights of the model have one name, which the format does not allow")
    return found


def _write_safetensors(model: Any, out: str) -> None:
    save_file = _safetensors().save_file
    arrays = {name: w.array for name, w in _by_name(model, out).items()}
    with replacing(out) as aside:
        save_file(arrays, aside)


def _read_safetensors(model: Any, path: str) -> None:
    """Give the model the weights that `_write_safetensors` wrote; GraphkFormatError with all that does not fit."""
    load_file, ours = _safetensors().load_file, _by_name(model, path)
    os.stat(path)                                      # FileNotFoundError
    with malformed(path, "", "it is not a safetensors file"):
        try:
            theirs = load_file(path)
        except need("safetensors", "safetensors", "safetensors files").SafetensorError as e:
            raise ValueError(str(e)) from e
    wrong = [f"the model has no weight {n}" for n in theirs if n not in ours]
    wrong += [f"it has no weight {n}" for n in ours if n not in theirs]
    wrong += [f"{n} has the shape {theirs[n].shape}, expected {w.node.shape}" for n, w in ours.items()
              if n in theirs and theirs[n].shape != w.node.shape]
    if wrong:
        raise GraphkFormatError(path, "", "\n  ".join(wrong[:30]))
    K.batch_set_value([(w, theirs[n]) for n, w in ours.items()])


__all__ = ["WeightsOnly", "check", "convert", "read_model", "told"]
