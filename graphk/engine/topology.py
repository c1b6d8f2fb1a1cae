"""Keras's `engine.topology` module of versions before 2.2."""
from graphk.frontend.engine.base_layer import InputSpec, Layer
from graphk.frontend.engine.input_layer import Input, InputLayer
from graphk.frontend.engine.network import Network
from graphk.frontend.engine.node import Node
from graphk.frontend.engine.sources import get_source_inputs
from graphk.frontend.layers.legacy_layers import Merge, merge

Container = Network
__all__ = ["InputSpec", "Layer", "Input", "InputLayer", "Network", "Container", "Merge", "Node", "get_source_inputs",
           "merge"]
