"""Keras's `engine.network` module; see `graphk.frontend.engine.network`."""
from graphk.frontend.engine.graph_map import node_key as _make_node_key  # noqa: F401
from graphk.frontend.engine.input_layer import InputLayer  # noqa: F401
from graphk.frontend.engine.network import *            # noqa: F401,F403
from graphk.frontend.engine.sources import get_source_inputs  # noqa: F401
