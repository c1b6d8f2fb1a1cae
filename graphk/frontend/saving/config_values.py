"""Values in configs of every Keras, as Keras 2 would have written them.

In: JSON values: tuples, arrays, dtype policies, functions, initializers, regularizers and constraints in any
generation's form.  Out: values that graphk's constructors take.  What always holds: nothing is looked up, imported or
executed; what is not known stays as it is, so that whoever reads it can name it.
"""
from __future__ import annotations

import re
from typing import Any

import numpy as np

from graphk.frontend.utils.advice import keywords

FAMILIES = ("initializer", "init", "regularizer", "constraint", "activation")
_NEWER_NAMES = {"silu": "swish", "hard_swish": "hard_silu"}
HARD_SIGMOID_3 = "hard_sigmoid_3"             # what Keras 3 calls hard_sigmoid is another function

# Initializers that are functions in Keras 2 and classes in tf.keras: what they stand for.
_SCALED = {f"{who}{kind}": {"scale": scale, "mode": mode, "distribution": kind.lower()}
           for who, scale, mode in (("Glorot", 1., "fan_avg"), ("He", 2., "fan_in"), ("Lecun", 1., "fan_in"))
           for kind in ("Uniform", "Normal")}
_RENAMED = {"L1": "L1L2", "L2": "L1L2", "WeightRegularizer": "L1L2", "L1L2Regularizer": "L1L2",
            "ActivityRegularizer": "L1L2", "L1Regularizer": "L1L2", "L2Regularizer": "L1L2"}
_DISTRIBUTIONS = {"truncated_normal": "normal", "untruncated_normal": "normal"}       # new weights only; ours are read


def short(name: str) -> str:
    """A class name without the package it was registered for, or the generation of tf.keras.

    >>> short("Custom>Adam"), short("BatchNormalizationV1"), short("<lambda>")
    ('Adam', 'BatchNormalization', '<lambda>')
    """
    return re.sub(r"(?<=[a-zA-Z])V[12]$", "", name.rpartition(">")[2] or name)


def plain(value: Any) -> Any:
    """A value without the wrappings that JSON cannot do without: tuples, arrays, functions, policies."""
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v) for v in value) if type(value) in (list, tuple) else value
    if not isinstance(value, dict):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if kind in ("__tuple__", "TensorShape"):
        return tuple(plain(v) for v in value.get("items") or ())
    if kind == "__numpy__" and isinstance(config, dict):
        return np.array(config["value"], dtype=str(config.get("dtype", "float32")))
    if value.get("type") == "ndarray" and set(value) == {"type", "value"}:
        return np.array(value["value"])
    if kind == "function" and value.get("module") in ("builtins", None) and isinstance(config, str):
        return config
    if kind and "Policy" in str(kind) and isinstance(config, dict):
        return config.get("name")
    if isinstance(kind, str) and "config" in value:
        return {"class_name": kind, "config": plain(config)}
    return {k: plain(v) for k, v in value.items()}


def dtype_of(value: Any) -> Any:
    """The dtype of weights under a policy.

    >>> dtype_of("mixed_float16"), dtype_of({"class_name": "Policy", "config": {"name": "float64"}})
    ('float32', 'float64')
    """
    value = plain(value)
    return "float32" if isinstance(value, str) and value.startswith("mixed_") else value


def setting(key: str, value: Any, major: int) -> Any:
    """The value of a setting such as `kernel_initializer`, of a file of Keras `major`."""
    family = key.rsplit("_")[-1]
    if family == "activation":
        return HARD_SIGMOID_3 if value == "hard_sigmoid" and major >= 3 else _activation(value)
    if isinstance(value, str):
        return short(value)
    if not isinstance(value, dict):
        return value
    if "class_name" not in value and "name" in value:                  # Keras 1: {name, m, axis}
        value = {"class_name": value["name"], "config": {k: v for k, v in value.items() if k != "name"}}
    if not isinstance(value.get("class_name"), str) or not isinstance(value.get("config"), dict):
        return value
    return _of_family(family, short(value["class_name"]), dict(value["config"]))


def _activation(value: Any) -> Any:
    """An activation; the layer that graphk writes for hard_sigmoid, which Keras 3 has not, is that again."""
    if isinstance(value, str) and value in _NEWER_NAMES:
        return _NEWER_NAMES[value]
    config = value.get("config") if isinstance(value, dict) else None
    return "hard_sigmoid" if isinstance(config, dict) and config.get("name") == "hard_sigmoid" else value


def _of_family(family: str, name: str, config: dict[str, Any]) -> dict[str, Any]:
    from graphk.frontend import constraints, initializers, regularizers
    home: Any = {"regularizer": regularizers, "constraint": constraints}.get(family, initializers)
    if home is initializers and name in _SCALED:
        name, config = "VarianceScaling", {**_SCALED[name], "seed": config.get("seed")}
    name = _RENAMED.get(name, name)
    if name == "MaxNorm" and "m" in config:
        config["max_value"] = config.pop("m")
    if home is initializers:
        config["distribution"] = _DISTRIBUTIONS.get(config.get("distribution", ""), config.get("distribution"))
        if not isinstance(config.get("seed"), int):
            config.pop("seed", None)
        cls = getattr(home, name, None)
        if isinstance(cls, type):              # `dtype`, `input_axes`: an initializer's own are what makes its values
            known = keywords(cls)
            config = {k: v for k, v in config.items() if k in known}
    return {"class_name": name, "config": config}


__all__ = ["FAMILIES", "HARD_SIGMOID_3", "dtype_of", "plain", "setting", "short"]
