"""Operations in configs of tf.keras (`TFOpLambda`, `SlicingOpLambda`) and Keras 3 (`keras.src.ops…`), as layers.

In: an entry of a functional model's `layers`.  Out: the entry of an `Operation`, or the name of what graphk does not
have.  What always holds: an operation stands in its model once, with the constants that it computes with.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend.layers.operations import OPERATIONS
from graphk.frontend.saving.config_graphs import references

_MODULES = ("", "math", "nn", "__operators__", "compat.v1", "linalg")              # of TensorFlow
_NAMES = {"truedivide": "divide", "truediv": "divide", "power": "pow", "concat": "concatenate", "absolute": "abs",
          "neg": "negative", "mul": "multiply", "sub": "subtract", "swish": "silu", "clipbyvalue": "clip",
          "biasadd": "add"}
_SECOND = ("y", "b", "bias")                              # keyword arguments that are the second operand
_SETTINGS = {"newshape": "shape", "perm": "axes", "clip_value_min": "low", "clip_value_max": "high", "x_min": "low",
             "x_max": "high", "slice_spec": "at"}
_NOTHING = ("name", "dtype_hint", "trainable", "dtype")


def is_operation(data: Any) -> bool:
    """Whether an entry is an operation, not a layer; in HDF5 files of Keras 3 it has no module, and no dtype either."""
    if not isinstance(data, dict) or not isinstance(data.get("config"), dict):
        return False
    if data.get("class_name") in ("TFOpLambda", "SlicingOpLambda") or ".ops" in str(data.get("module")):
        return True
    nodes = data.get("inbound_nodes")
    return "module" not in data and bool(nodes) and isinstance(nodes, list) and isinstance(nodes[0], dict) and \
        {"dtype", "trainable", "layers"}.isdisjoint(data["config"]) and _name_of(data["class_name"]) in OPERATIONS


def _name_of(called: Any) -> str:
    name = str(called).replace("_", "").lower().removeprefix("reduce")
    return _NAMES.get(name, name)


def operation(data: dict[str, Any]) -> dict[str, Any] | str:
    """The entry of an Operation; the name of the operation if graphk does not have it."""
    given, called = data["config"], str(data["config"].get("function") or data["class_name"])
    if "function" in given:
        called, shown = called.rpartition(".")[2], "tf." + called
        known = shown[3:].rpartition(".")[0] in _MODULES
        settings: dict[str, Any] = {}
    else:
        known, shown = True, f"{data.get('module', 'keras.ops')}.{called}"
        settings = {k: v for k, v in given.items() if k not in _NOTHING or k == "dtype" and called == "Cast"}
    name = _name_of(called)
    if not known or name not in OPERATIONS or len(data["inbound_nodes"]) != 1:
        return shown
    tensors: list[Any] = []
    arguments, kwargs = _arguments(data["inbound_nodes"][0], name)
    arguments += [kwargs.pop(k) for k in _SECOND if k in kwargs]
    settings.update((k, v) for k, v in kwargs.items() if k != "name")
    settings = {_SETTINGS.get(k, k): v for k, v in settings.items() if v is not None}
    if "at" in settings:
        settings["at"] = [_place(p) for p in settings["at"]]
    config = {"name": data["name"], "operation": name, "arguments": [_numbered(a, tensors) for a in arguments],
              "settings": settings}
    return {"name": data["name"], "class_name": "Operation", "config": config,
            "inbound_nodes": [[[*t, {}] for t in tensors]]}


def _arguments(node: Any, name: str) -> tuple[list[Any], dict[str, Any]]:
    """Operands and keyword arguments of a call; `at`, of Keras 3's second operand of getitem."""
    if isinstance(node, dict):
        args, kwargs = list(node["args"]), dict(node.get("kwargs") or {})
        if name == "getitem" and len(args) > 1:
            kwargs["at"] = args.pop()
        return args, kwargs
    entries = [node] if isinstance(node[0], str) else list(node)
    kwargs = dict(entries[0][3]) if len(entries[0]) > 3 else {}
    args = [e[2] if e[0] == "_CONSTANT_VALUE" else list(e[:3]) for e in entries]
    return [args] if name in ("concatenate", "stack") else args, kwargs


def _numbered(argument: Any, tensors: list[Any]) -> Any:
    """References as `{"tensor": number}`, put into `tensors`."""
    found = list(references(argument))
    if isinstance(argument, list) and found and not (len(found) == 1 and argument == found[0]):
        return [_numbered(a, tensors) for a in argument]
    if not found:
        return argument
    tensors.append(found[0])
    return {"tensor": len(tensors) - 1}


def _place(p: Any) -> Any:
    if not isinstance(p, dict):
        return p
    if p.get("class_name") == "__ellipsis__":
        return "..."
    p = p.get("config", p)
    return {key: p[key] for key in ("start", "stop", "step")}


__all__ = ["is_operation", "operation"]
