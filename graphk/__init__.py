"""graphk: a deep-learning compiler that looks like Keras.

In: models written with `graphk.layers`, `graphk.models` and `graphk.backend`, which have Keras 2's names.  Out:
compiled training, testing and prediction.  What always holds: `import graphk` loads nothing but this file; a
submodule is imported when it is first used.

>>> import graphk
>>> model = graphk.Sequential([graphk.layers.Dense(2, input_shape=(3,))])
>>> model.output_shape
(None, 2)
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphk import (
        activations,
        applications,
        backend,
        callbacks,
        constraints,
        distributed,
        engine,
        initializers,
        layers,
        losses,
        metrics,
        models,
        optimizers,
        regularizers,
        utils,
    )
    from graphk.frontend.compat import install_as_keras
    from graphk.frontend.debugging import debug
    from graphk.frontend.on_device import value_on_device
    from graphk.frontend.scopes import device_scope
    from graphk.models import Input, Model, Sequential

__version__ = "0.1.0"
_NAMES = {"Input": "graphk.layers", "Model": "graphk.models", "Sequential": "graphk.models",
          "debug": "graphk.frontend.debugging", "device_scope": "graphk.frontend.scopes",
          "install_as_keras": "graphk.frontend.compat", "value_on_device": "graphk.frontend.on_device"}
__all__ = [
    "Input",
    "Model",
    "Sequential",
    "debug",
    "device_scope",
    "install_as_keras",
    "value_on_device",
    "activations",
    "applications",
    "backend",
    "callbacks",
    "constraints",
    "distributed",
    "engine",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "utils",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if not name.startswith("_"):
        full = f"{__name__}.{name}"
        try:
            return importlib.import_module(full)
        except ModuleNotFoundError as e:
            if e.name != full:
                raise
    raise AttributeError(f"module 'graphk' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
