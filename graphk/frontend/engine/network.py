"""Network: a graph of layers that is itself a layer.

In: input and output tensors (or nothing, for subclasses such as a Sequential without layers).  Out: a
layer with sub-layers, callable on new inputs.  What always holds: weights are listed trainable first,
in layer order; `layers` are in the order they run.
"""
from __future__ import annotations

import copy
from functools import partial
from typing import Any, Callable, Sequence

from graphk.frontend import backend as K
from graphk.frontend.backend.creation import kept_uids
from graphk.frontend.engine.base_layer import Layer, checked_name
from graphk.frontend.engine.graph_map import GraphMap, node_key
from graphk.frontend.engine.input_layer import InputLayer
from graphk.frontend.engine.layer_state import check_listed
from graphk.frontend.engine.network_config import NetworkConfig
from graphk.frontend.engine.subclassed import Subclassed
from graphk.frontend.legacy import ENDS, modernize_methods
from graphk.frontend.showing import ShownModel
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.advice import advice
from graphk.frontend.utils.blame import naming
from graphk.frontend.utils.generic_utils import has_arg, object_list_uid, to_list, unpack_singleton
from graphk.ir.node import origin


class Network(NetworkConfig, Subclassed, ShownModel):
    """A directed acyclic graph of layers; `Model` adds training to it."""

    @kept_uids()
    def __init__(self, *args: Any, **kwargs: Any):
        name = kwargs.pop("name", None)
        trainable = kwargs.pop("trainable", None)
        if len(args) > 2 and isinstance(args[2], str):
            name, args = args[2], args[:2]
        self._init_network(name)
        names = ("inputs", "outputs")
        given = dict(zip(names, args), **kwargs)
        unknown = set(given) - set(names)
        if unknown:
            name = sorted(unknown)[0]
            raise TypeError(f"Keyword argument not understood: {name} (in {type(self).__name__})"
                            + advice(name, (*names, "name", "trainable"), "arguments"))
        if given:
            if len(given) < 2:
                raise TypeError(f"{type(self).__name__} takes both `inputs` and `outputs`; received only "
                                f"`{next(iter(given))}`")
            self._init_graph(given["inputs"], given["outputs"])
        if trainable is not None:
            self.trainable = trainable

    def _init_network(self, name: str | None) -> None:
        self.name = checked_name(name) or self._default_name()
        self.trainable = True
        self.supports_masking = False
        self.optimizer: Any = None
        self.dtype = None
        self.input_spec = None
        self._initial_weights = None
        self._init_state()
        self._layers: list[Any] = []
        self._is_graph_network = False
        self.inputs: Any = None
        self.outputs: Any = None

    @property
    def stateful(self) -> bool:
        """Whether some layer keeps its state between batches."""
        return any(getattr(layer, "stateful", False) for layer in self._layers)

    @stateful.setter
    def stateful(self, value: bool) -> None:
        raise AttributeError("a model is stateful when one of its layers is; set it on the layer")

    # ---------------------------------------------------------------- building the graph
    def _init_graph(self, inputs: Any, outputs: Any) -> None:
        self._is_graph_network = True
        self.inputs, self.outputs = to_list(inputs, allow_tuple=True), to_list(outputs, allow_tuple=True)
        if not self.outputs:
            raise ValueError("A Model needs at least one output; received outputs=[]. Pass the tensors that the last "
                             "layers gave.")
        self._check_ends()
        self._input_coordinates = [x._keras_history for x in self.inputs]
        self._output_coordinates = [x._keras_history for x in self.outputs]
        self._input_layers = [h[0] for h in self._input_coordinates]
        self._output_layers = [h[0] for h in self._output_coordinates]
        self._map_graph()
        self.input_spec = None
        self.built = True
        self._compute_feeds()
        masks = [getattr(x, "_keras_mask", None) for x in self.outputs]
        self._call_cache: dict[tuple[Any, ...], Any] = {(object_list_uid(self.inputs), ""): (self.outputs, masks)}
        self._record_self(masks)

    def _map_graph(self) -> None:
        """Find the layers and calls between inputs and outputs, and their order."""
        graph = GraphMap(self.inputs, self.outputs)
        self._network_nodes, self._layers = graph.nodes, graph.layers
        self._nodes_by_depth, self._layers_by_depth = graph.nodes_by_depth, graph.layers_by_depth
        self._node_depths = graph.node_depths

    def _record_self(self, masks: list[Any]) -> None:
        """The model's own first call: on its own inputs, giving its own outputs."""
        from graphk.frontend.engine.node import Node
        Node(self, [], [], [], self.inputs, self.outputs, [None] * len(self.inputs), masks,
             [K.int_shape(x) for x in self.inputs], [K.int_shape(x) for x in self.outputs])

    def _check_ends(self) -> None:
        if len({id(x) for x in self.inputs}) != len(self.inputs):
            raise ValueError("The list of inputs passed to the model is redundant. All inputs should only appear once. "
                             "Found: " + str(self.inputs))
        kind = type(self).__name__
        for x in self.inputs:
            if not hasattr(x, "_keras_history"):
                fix = f"Pass its tensor: `{x.name}`.input." if isinstance(x, Layer) else \
                    "Make it with Input(shape), or with Input(tensor=x) if it is a placeholder."
                raise ValueError(f"Input tensors to a {kind} must come from `keras.layers.Input`. Received: "
                                 f"{str(x)[:200]} (missing previous layer metadata). {fix}")
            if not isinstance(x._keras_history[0], InputLayer):
                raise ValueError(f"Input tensors to a {kind} must come from `keras.layers.Input`; `{x}` is the output "
                                 f'of the layer "{x._keras_history[0].name}". Build the model from that layer\'s own '
                                 "inputs, or call the layers on a new Input.")
        for x in self.outputs:
            if not hasattr(x, "_keras_history"):
                fix = f"Call `{x.name}` on a tensor and pass what it gives." if isinstance(x, Layer) else \
                    "Wrap backend operations in a Lambda layer."
                raise ValueError(f"Output tensors to a {kind} must be the output of a Keras `Layer` (thus holding past "
                                 f"layer metadata). Found: {str(x)[:200]}. {fix}")

    def _compute_feeds(self) -> None:
        """Names and shapes of what is fed and returned."""
        self.input_names = [layer.name for layer in self._input_layers]
        self.output_names = [layer.name for layer in self._output_layers]
        self._make_output_names_unique()
        pairs = [(layer, x) for layer, x in zip(self._input_layers, self.inputs) if layer.is_placeholder]
        self._feed_input_names = [layer.name for layer, _ in pairs]
        self._feed_inputs = [x for _, x in pairs]
        self._feed_input_shapes = [K.int_shape(x) for _, x in pairs]

    def _make_output_names_unique(self) -> None:
        seen: dict[str, int] = {}
        names = []
        for name in self.output_names:
            count = seen.get(name, 0)
            names.append(name if not count else f"{name}_{count}")
            seen[name] = count + 1
        self.output_names = names

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        from graphk.frontend.engine.copying import model_state
        make, arguments = model_state(self)
        return make(*copy.deepcopy(arguments, memo))

    def __reduce__(self) -> Any:
        from graphk.frontend.engine.copying import model_state, portable
        state = model_state(self)
        return state if self._is_subclassed else portable(state)

    # ---------------------------------------------------------------- layers and weights
    @property
    def layers(self) -> list[Any]:
        """The layers, in the order they run."""
        return self._layers

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """The layer called `name`, or the one at `index`; ValueError if there is none."""
        names = [layer.name for layer in self.layers]
        if index is not None:
            if not -len(names) <= index < len(names):
                raise ValueError("Was asked to retrieve layer at index " + str(index) + " but model only has "
                                 + str(len(self.layers)) + f" layers: {names}.")
            return self.layers[index]
        if not name:
            raise ValueError(f"Provide either a layer name or layer index. The layers are {names}.")
        if not isinstance(name, str):
            raise TypeError(f"get_layer() takes a name (str); received {name!r}. For a number write "
                            f"get_layer(index={name!r}).")
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError("No such layer: " + name + f". The layers are {names}" + advice(name, names, None))

    @property
    def trainable_weights(self) -> list[Any]:
        if not self.trainable:
            return []
        return [w for layer in self.layers for w in layer.trainable_weights]

    @property
    def non_trainable_weights(self) -> list[Any]:
        weights = [w for layer in self.layers for w in layer.non_trainable_weights]
        if not self.trainable:
            weights = [w for layer in self.layers for w in layer.trainable_weights] + weights
        return weights

    def get_weights(self) -> list[Any]:
        """The values of all weights, layer by layer."""
        return K.batch_get_value([w for layer in self.layers for w in layer.weights])

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the values of all weights, in the order of `get_weights`; ValueError if the count differs."""
        check_listed(self, weights)
        want = sum(len(layer.weights) for layer in self.layers)
        if len(weights) != want:
            raise ValueError(f'You called `set_weights(weights)` on model "{self.name}" with a weight list of length '
                             f"{len(weights)}, but the model was expecting {want} weights, of shapes "
                             f"{[w.shape for layer in self.layers for w in layer.weights]}.")
        left, pairs = list(weights), []
        for layer in self.layers:                                 # in the order of `weights`, also of an inner model
            pairs += layer._weight_values(left)
            del left[:len(layer.weights)]
        K.batch_set_value(pairs)

    # ---------------------------------------------------------------- losses, updates, state
    def _collect(self, getter: str) -> list[Any]:
        out: list[Any] = []
        for layer in self.layers:
            get = getattr(layer, getter, None)
            if get is None:
                continue
            if self._is_graph_network:
                for i, node in enumerate(layer._inbound_nodes):
                    if node_key(layer, i) in self._network_nodes:
                        out += get(node.input_tensors)
            elif self._is_subclassed:
                out += [x for made, node in self._calls if made is layer for x in get(node.input_tensors)]
            out += get(None)
        return list({id(x): x for x in out}.values())

    @property
    def updates(self) -> list[Any]:
        """Updates of all layers that belong to this model's calls."""
        if not self.trainable and not self.stateful:
            return []
        return list({id(x): x for x in self._collect("get_updates_for") + self._updates}.values())

    @property
    def losses(self) -> list[Any]:
        """Penalties of all layers that belong to this model's calls."""
        return list({id(x): x for x in self._collect("get_losses_for") + self._losses}.values())

    def get_updates_for(self, inputs: Any) -> list[Any]:
        """The updates of a call on `inputs`; for the model's own inputs, those of its own graph."""
        if not self.trainable and not self.stateful:
            return []
        if inputs is None:
            return [u for layer in self.layers for u in layer.get_updates_for(None)] + super().get_updates_for(None)
        if self._is_own(inputs):
            return self.updates
        return super().get_updates_for(inputs)

    def get_losses_for(self, inputs: Any) -> list[Any]:
        """The penalties of a call on `inputs`."""
        if inputs is None:
            return [
                x for layer in self.layers if hasattr(layer, "get_losses_for") for x in layer.get_losses_for(None)
            ] + super().get_losses_for(None)
        if self._is_own(inputs):
            return self.losses
        return super().get_losses_for(inputs)

    def _is_own(self, inputs: Any) -> bool:
        return self._is_graph_network and object_list_uid(inputs) == object_list_uid(self.inputs)

    @property
    def uses_learning_phase(self) -> bool:
        """Whether an output depends on the learning phase."""
        return any(x._uses_learning_phase for x in self.outputs or [])

    @property
    def state_updates(self) -> list[Any]:
        """Updates by this model's calls of what stateful layers keep; they run in testing and prediction, too."""
        kept = self._kept_states()
        return [u for u in self.updates if u.variable in kept] if kept else []

    def _kept_states(self) -> set[Any]:
        """The variables that stateful layers, also those of inner models, update."""
        kept: set[Any] = set()
        for layer in self.layers:
            if getattr(layer, "stateful", False):
                kept |= layer._kept_states() if isinstance(layer, Network) else {u.variable for u in layer.updates}
        return kept

    def reset_states(self) -> None:
        """Clear the states of all stateful layers."""
        for layer in self.layers:
            if hasattr(layer, "reset_states") and getattr(layer, "stateful", False):
                layer.reset_states()

    # ---------------------------------------------------------------- calling
    def build(self, input_shape: Any = None) -> None:
        """A model made of tensors is built already; a subclassed one is called on inputs of `input_shape`."""
        if not self.built and not self._is_subclassed:
            raise NotImplementedError(f"The model `{self.name}` of the class {type(self).__name__} has neither tensors "
                                      "nor a `call`. Make it as Model(inputs, outputs), or write call(self, inputs) in "
                                      "its class.")
        if self._is_subclassed and not self.built and input_shape is not None:
            shapes = input_shape if isinstance(input_shape, list) else [input_shape]
            self._call_on_shapes([tuple(s)[1:] for s in shapes])
        self.built = True

    def call(self, inputs: Any, mask: Any = None, training: Any = None) -> Any:
        """The outputs for new inputs, through the same layers."""
        return unpack_singleton(self._run(to_list(inputs), to_list(mask) if mask is not None else None, training)[0])

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The outputs' masks for new inputs."""
        if not self._is_graph_network:
            return None
        return unpack_singleton(self._run(to_list(inputs), to_list(mask) if mask is not None else None)[1])

    def run_internal_graph(self, inputs: Any, masks: Any = None) -> tuple[Any, Any, Any]:
        """Outputs, their masks and their shapes for new inputs, through the same layers."""
        outputs, out_masks = self._run(to_list(inputs), to_list(masks) if masks is not None else None)
        return (unpack_singleton(outputs), unpack_singleton(out_masks),
                unpack_singleton([K.int_shape(x) for x in outputs]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output shape(s) for input shape(s), layer by layer."""
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
        if self._is_subclassed:
            return self._shapes_of_call(shapes)
        if len(shapes) != len(self._input_layers):
            raise ValueError("Invalid input_shape argument " + str(input_shape) + ": model has "
                             + str(len(self._input_layers)) + " tensor inputs.")
        table = {id(x): tuple(s) for x, s in zip(self.inputs, shapes)}
        for node in self._running_order():
            got = [table[id(x)] for x in node.input_tensors]
            out = node.outbound_layer.compute_output_shape(unpack_singleton(got))
            for x, s in zip(node.output_tensors, out if isinstance(out, list) else [out]):
                table[id(x)] = tuple(s)
        return unpack_singleton([table[id(x)] for x in self.outputs])

    def _running_order(self) -> list[Any]:
        return [node for depth in self._node_depths for node in self._nodes_by_depth[depth]
                if not isinstance(node.outbound_layer, InputLayer)]

    def _run(self, inputs: list[Any], masks: list[Any] | None, training: Any = None) -> tuple[list[Any], list[Any]]:
        """Outputs and masks for `inputs`; remembered, since masks are asked for after outputs."""
        masks = masks or [None] * len(inputs)
        if len(masks) == 1 and len(inputs) > 1:
            masks = masks * len(inputs)
        key: tuple[Any, ...] = (object_list_uid(inputs),
                                object_list_uid(masks) if any(m is not None for m in masks) else "")
        if training is not None:
            key += (object_list_uid(training),)
        if key not in self._call_cache:
            self._call_cache[key] = (*self._run_layers(inputs, masks, training), inputs, masks)
        return self._call_cache[key][0], self._call_cache[key][1]

    def _called_on(self, inputs: Any) -> str:
        made = unpack_singleton([K.int_shape(x) for x in self.inputs]) if self.inputs else None
        return super()._called_on(inputs) + (f", made for {made}" if made else "")

    def _run_layers(self, inputs: list[Any], masks: list[Any], training: Any) -> tuple[list[Any], list[Any]]:
        if len(inputs) != len(self.inputs):
            raise ValueError(f'The model "{self.name}" takes {len(self.inputs)} inputs {self.input_names}, received '
                             f"{len(inputs)}: {inputs}. Pass a list of one tensor per input.")
        table: dict[int, tuple[Any, Any]] = {id(x): (y, m) for x, y, m in zip(self.inputs, inputs, masks)}
        for node in self._running_order():
            layer = node.outbound_layer
            args = [table[id(x)] for x in node.input_tensors]
            with origin(layer=self.name), origin(layer=layer.name), naming(
                    layer.name, partial(layer._called_on, [a for a, _ in args])):
                outs, out_masks = _call_layer(
                    layer, [a for a, _ in args], [m for _, m in args], node.arguments, training
                )
                self._inherit(layer, [a for a, _ in args], outs, inputs)
            got = layer._output_shapes([a for a, _ in args], outs) if all(hasattr(a, "_keras_shape") for a, _ in args) \
                else [None] * len(outs)
            for x, y, m, s in zip(node.output_tensors, outs, out_masks, got):
                if s is not None and not hasattr(y, "_keras_shape"):
                    y._keras_shape = s
                table[id(x)] = (y, m)
        ends = [table[id(x)] for x in self.outputs]
        return [y for y, _ in ends], [m for _, m in ends]

    def _inherit(self, layer: Any, args: list[Any], outs: list[Any], inputs: list[Any]) -> None:
        """Updates and penalties of this call of `layer` belong to this call of the model too."""
        regularizer = getattr(layer, "activity_regularizer", None)
        if regularizer is not None:
            Layer.add_loss(layer, [regularizer(x) for x in outs], args)
        self._per_call(layer.get_updates_for(args), self._per_input_updates, inputs)
        self._per_call(layer.get_losses_for(args), self._per_input_losses, inputs)

    @staticmethod
    def _per_call(items: list[Any], table: dict[str, list[Any]], inputs: list[Any]) -> None:
        if items:
            table.setdefault(object_list_uid(inputs), []).extend(items)


modernize_methods(Network, ("__init__",), ENDS)


def _call_layer(layer: Any, args: list[Any], masks: list[Any], arguments: dict[str, Any], training: Any
                ) -> tuple[list[Any], list[Any]]:
    """One layer on new inputs, without a record of the call."""
    kwargs = dict(arguments)
    given: Callable[..., Any] = layer.call
    if any(m is not None for m in masks) and has_arg(given, "mask") and "mask" not in kwargs:
        kwargs["mask"] = unpack_singleton(masks)
    if training is not None and has_arg(given, "training") and "training" not in kwargs:
        kwargs["training"] = training
    try:
        output = to_list(layer.call(unpack_singleton(args), **kwargs), allow_tuple=True)
    except (ValueError, TypeError):
        layer.assert_input_compatibility(args)       # only now, since other sizes than it was built for may work
        raise
    output = [Tensor(y.node) if any(y is a for a in args) else y for y in output]
    out_masks = to_list(layer.compute_mask(unpack_singleton(args), unpack_singleton(masks)), allow_tuple=True)
    return output, out_masks if len(out_masks) == len(output) else out_masks * len(output)
