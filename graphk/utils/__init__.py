"""Utilities, as `keras.utils`."""
from graphk.frontend.engine.sources import get_source_inputs
from graphk.frontend.utils.data_utils import GeneratorEnqueuer, OrderedEnqueuer, Sequence, SequenceEnqueuer
from graphk.frontend.utils.downloads import get_file
from graphk.frontend.utils.generic_utils import (
    CustomObjectScope,
    Progbar,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    serialize_keras_object,
)
from graphk.frontend.utils.io_utils import HDF5Matrix
from graphk.frontend.utils.layer_utils import convert_all_kernels_in_model, print_summary
from graphk.frontend.utils.multi_gpu import multi_gpu_model
from graphk.frontend.utils.np_utils import normalize, to_categorical
from graphk.frontend.utils.vis_utils import model_to_dot, plot_model
from graphk.utils import (
    conv_utils,
    data_utils,
    generic_utils,
    io_utils,
    layer_utils,
    multi_gpu_utils,
    np_utils,
    vis_utils,
)

__all__ = ["CustomObjectScope", "GeneratorEnqueuer", "HDF5Matrix", "OrderedEnqueuer", "Progbar", "Sequence",
           "SequenceEnqueuer", "conv_utils", "convert_all_kernels_in_model", "custom_object_scope", "data_utils",
           "deserialize_keras_object", "generic_utils", "get_custom_objects", "get_file", "get_source_inputs",
           "io_utils", "layer_utils", "model_to_dot", "multi_gpu_model", "multi_gpu_utils", "normalize", "np_utils",
           "plot_model", "print_summary", "serialize_keras_object", "to_categorical", "vis_utils"]
