"""Layers by family, and how to make them from configs.

In: configs.  Out: layers.  What always holds: `deserialize` knows every public layer, Model and
Sequential, and what custom objects add; nothing is imported by a name from a config.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend.engine.base_layer import InputSpec, Layer
from graphk.frontend.engine.input_layer import Input, InputLayer
from graphk.frontend.layers.advanced_activations import ELU, LeakyReLU, PReLU, ReLU, Softmax, ThresholdedReLU
from graphk.frontend.layers.convolutional import *        # noqa: F401,F403
from graphk.frontend.layers.convolutional_recurrent import ConvLSTM2D, ConvLSTM2DCell, ConvRNN2D
from graphk.frontend.layers.core import (
    Activation,
    ActivityRegularization,
    Dense,
    Dropout,
    Flatten,
    Lambda,
    Masking,
    Permute,
    RepeatVector,
    Reshape,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from graphk.frontend.layers.cudnn_recurrent import CuDNNGRU, CuDNNLSTM
from graphk.frontend.layers.embeddings import Embedding
from graphk.frontend.layers.legacy_activations import ParametricSoftplus, SReLU
from graphk.frontend.layers.legacy_layers import Highway, MaxoutDense, Merge, TimeDistributedDense
from graphk.frontend.layers.local import LocallyConnected1D, LocallyConnected2D
from graphk.frontend.layers.merge import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    dot,
    maximum,
    minimum,
    multiply,
    subtract,
)
from graphk.frontend.layers.noise import AlphaDropout, GaussianDropout, GaussianNoise
from graphk.frontend.layers.normalization import BatchNormalization
from graphk.frontend.layers.pooling import *              # noqa: F401,F403
from graphk.frontend.layers.recurrent import (
    GRU,
    LSTM,
    RNN,
    GRUCell,
    LSTMCell,
    SimpleRNN,
    SimpleRNNCell,
    StackedRNNCells,
)
from graphk.frontend.layers.wrappers import Bidirectional, TimeDistributed, Wrapper
from graphk.frontend.legacy import modernize
from graphk.frontend.utils.generic_utils import deserialize_keras_object, serialize_keras_object


__all__ = [k for k, v in list(globals().items()) if isinstance(v, type) and issubclass(v, (Layer, InputSpec))]
__all__ += ["Input", "add", "average", "concatenate", "dot", "maximum", "minimum", "multiply", "subtract", "serialize",
            "deserialize"]

for _layer in [v for v in globals().values() if isinstance(v, type) and issubclass(v, Layer) and v is not Layer]:
    modernize(_layer)


def serialize(layer: Layer) -> dict[str, Any]:
    """`{class_name, config}` of a layer."""
    return serialize_keras_object(layer)


def layer_classes() -> dict[str, Any]:
    """Every layer class by name, those that only files of later Keras name too."""
    from graphk.frontend.engine.sequential import Sequential
    from graphk.frontend.engine.training import Model
    from graphk.frontend.layers.newer import NEWER
    table = {k: v for k, v in globals().items() if isinstance(v, type) and issubclass(v, Layer) and v is not Layer}
    return {**NEWER, **table, "Model": Model, "Sequential": Sequential}


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """A layer from its config; ValueError for an unknown class.

    >>> deserialize({"class_name": "Dense", "config": {"units": 3}}).units
    3
    """
    return deserialize_keras_object(config, module_objects=layer_classes(), custom_objects=custom_objects,
                                    printable_module_name="layer")
