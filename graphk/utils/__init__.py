"""Utilities, as `keras.utils`."""
from graphk.frontend.engine.sources import get_source_inputs
from graphk.frontend.utils.data_utils import GeneratorEnqueuer, OrderedEnqueuer, Sequence, SequenceEnqueuer
from graphk.frontend.utils.generic_utils import (
    CustomObjectScope,
    Progbar,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    serialize_keras_object,
)
from graphk.frontend.utils.layer_utils import convert_all_kernels_in_model, print_summary
from graphk.frontend.utils.np_utils import normalize, to_categorical
from graphk.utils import conv_utils, data_utils, generic_utils, layer_utils, np_utils

__all__ = ["CustomObjectScope", "GeneratorEnqueuer", "OrderedEnqueuer", "Progbar", "Sequence",
           "SequenceEnqueuer", "convert_all_kernels_in_model", "custom_object_scope", "deserialize_keras_object",
           "get_custom_objects", "get_source_inputs",
           "serialize_keras_object", "print_summary", "normalize", "to_categorical", "conv_utils", "data_utils",
           "generic_utils", "layer_utils", "np_utils"]
