"""Keras's `engine.topology` module of versions before 2.2."""
from typing import Any

from graphk.frontend.engine.base_layer import InputSpec, Layer
from graphk.frontend.engine.base_layer import collect_input_shape as _collect_input_shape  # noqa: F401
from graphk.frontend.engine.base_layer import collect_previous_mask as _collect_previous_mask  # noqa: F401
from graphk.frontend.engine.input_layer import Input, InputLayer
from graphk.frontend.engine.network import Network
from graphk.frontend.engine.node import Node
from graphk.frontend.engine.sources import get_source_inputs
from graphk.frontend.layers.legacy_layers import Merge, merge
from graphk.frontend.utils.generic_utils import is_all_none as _is_all_none  # noqa: F401
from graphk.frontend.utils.generic_utils import object_list_uid as _object_list_uid  # noqa: F401
from graphk.frontend.utils.generic_utils import to_list as _to_list  # noqa: F401
from graphk.frontend.utils.generic_utils import to_snake_case as _to_snake_case  # noqa: F401

Container = Network
__all__ = ["InputSpec", "Layer", "Input", "InputLayer", "Network", "Container", "Merge", "Node", "get_source_inputs",
           "merge"]
_OF_SAVING = ("save_weights_to_hdf5_group", "load_weights_from_hdf5_group", "load_weights_from_hdf5_group_by_name",
              "preprocess_weights_for_loading")


def __getattr__(name: str) -> Any:
    if name not in _OF_SAVING:
        raise AttributeError(f"graphk.engine.topology has no `{name}`")
    from graphk.engine import saving                       # which imports h5py
    return getattr(saving, name)
