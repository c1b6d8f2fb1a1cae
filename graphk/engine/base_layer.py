"""Keras's `engine.base_layer` module; see `graphk.frontend.engine.base_layer`."""
from graphk.frontend.engine.base_layer import *            # noqa: F401,F403
from graphk.frontend.engine.base_layer import collect_input_shape as _collect_input_shape  # noqa: F401
from graphk.frontend.engine.base_layer import collect_previous_mask as _collect_previous_mask  # noqa: F401
from graphk.frontend.utils.generic_utils import to_snake_case as _to_snake_case  # noqa: F401
