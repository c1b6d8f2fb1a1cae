"""All layers, as `keras.layers`; see `graphk.frontend.layers`."""
import importlib as _importlib

from graphk.frontend.layers import *                        # noqa: F401,F403
from graphk.frontend.layers import deserialize, serialize   # noqa: F401
from graphk.frontend.layers.legacy_recurrent import Recurrent  # noqa: F401
from graphk.layers import (  # noqa: F401
    advanced_activations,
    convolutional,
    convolutional_recurrent,
    core,
    cudnn_recurrent,
    embeddings,
    local,
    noise,
    normalization,
    pooling,
    recurrent,
    wrappers,
)
from graphk.layers.merge import add  # noqa: F401  (from here, so that `merge` is that module: Keras 1's function, too)

_HANDED_ON = {"K": "graphk.backend", "np": "numpy", "warnings": "warnings", "copy": "copy",
              "activations": "graphk.activations",
              "initializers": "graphk.initializers", "regularizers": "graphk.regularizers",
              "constraints": "graphk.constraints"}


def __getattr__(name: str) -> object:
    """What Keras 2's modules of layers import for themselves, which its `keras.layers` handed on to who asked."""
    if name in _HANDED_ON:
        return _importlib.import_module(_HANDED_ON[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
