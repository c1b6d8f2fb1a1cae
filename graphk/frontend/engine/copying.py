"""Deep copies and pickles of layers and models.

In: a layer, a model (compiled or not), a tensor.  Out: one like it with variables of its own, also in another process.
What always holds: a copied layer has been called on nothing yet; a copied model is made again from its config (from its
attributes, where `call` is the user's), with its weights, flags, compilation and the optimizer's state, so that it goes
on training as the original would.
"""
from __future__ import annotations

import copy
import sys
import types
import warnings
from typing import Any, Iterator

from graphk.frontend import backend as K
from graphk.frontend.engine.mixed_precision import settings_of
from graphk.frontend.tensor import Tensor, Variable, variable_of
from graphk.frontend.utils.origin import module_of, written
from graphk.ir.node import Graph, substitute_nodes, topological
from graphk.ir.ops.leaves import new_input

_OF_CALLS = {"_inbound_nodes": list, "_outbound_nodes": list}
_PER_INPUT = {"_per_input_losses": "_losses", "_per_input_updates": "_updates"}


def copied_tensor(x: Tensor, memo: dict[int, Any]) -> Tensor:
    """The same expression of copies of its variables and placeholders; a variable with the same value."""
    if isinstance(x, Variable):
        new = Variable(x.array, x.dtype, x.name, x.constraint, x.trainable)
        new.first = x.first
        return new
    table = {}
    for node in topological([x.node]):
        if node.op.name == "variable":
            table[node] = copy.deepcopy(variable_of(node), memo).node
        elif node.op.name == "input":
            table[node] = memo.setdefault(id(node), new_input(node.t, node.attr("name")))
    out = Tensor(substitute_nodes(Graph((), (x.node,)), table).outputs[0], x.name)
    if hasattr(x, "_keras_shape"):
        out._keras_shape = x._keras_shape
    return out


def tensor_state(x: Tensor) -> tuple[Any, ...]:
    """How to make a variable or a placeholder again elsewhere; TypeError for what is computed from them."""
    if isinstance(x, Variable):
        return _made_variable, (x.array, x.dtype, x.name, x.constraint, x.trainable, x.first is not None)
    if not K.is_placeholder(x):
        raise TypeError(f"The symbolic tensor `{x.name}` of shape {x.shape} cannot be pickled: it is computed from "
                        "others. Pickle the model or the layer that makes it, or its value, K.eval(x).")
    return _made_placeholder, (K.int_shape(x), K.dtype(x), x.name)


def _made_variable(value: Any, dtype: str, name: str, constraint: Any, trainable: bool, starts: bool) -> Variable:
    """The variable, whose first value is the one that it had when it was pickled."""
    new = Variable(value, dtype, name, constraint, trainable)
    if starts:
        new.first = lambda: value
    return new


def _made_placeholder(shape: Any, dtype: str, name: str) -> Tensor:
    return K.placeholder(shape, dtype=dtype, name=name)


# ------------------------------------------------------------------ layers
def copied_layer(layer: Any, memo: dict[int, Any]) -> Any:
    """All attributes copied, but no record of calls, and of losses and updates those that belong to no call."""
    new = layer.__class__.__new__(layer.__class__)
    memo[id(layer)] = new
    for name, value in vars(layer).items():
        if name in _OF_CALLS:
            value = _OF_CALLS[name]()
        elif name in _PER_INPUT:
            value = {"None": value["None"]} if "None" in value else {}
        elif name in _PER_INPUT.values():
            continue
        new.__dict__[name] = copy.deepcopy(value, memo)
    for table, flat in _PER_INPUT.items():
        new.__dict__[flat] = list(new.__dict__[table].get("None", []))
    return new


def layer_state(layer: Any) -> tuple[Any, ...]:
    """How to make a layer again elsewhere; see `__reduce__` in the documentation of `pickle`."""
    shapes = layer._inbound_nodes[0].input_shapes if layer.built and layer._inbound_nodes else None
    return _made_layer, (written(layer.__class__), layer.get_config(), custom_objects([layer]), shapes,
                         layer.get_weights())


def _made_layer(cls: Any, config: dict[str, Any], objects: dict[str, Any], shapes: Any, weights: Any) -> Any:
    from graphk.frontend.utils.generic_utils import CustomObjectScope
    with CustomObjectScope(objects):
        layer = cls.from_config(config)
    if shapes is not None:
        layer.build(shapes[0] if len(shapes) == 1 else shapes)
        layer.built = True
        layer.set_weights(weights)
    return layer


def _parts(things: Any) -> Iterator[Any]:
    """Layers among `things`, and those inside them, each before what it holds."""
    from graphk.frontend.engine.base_layer import Layer
    for x in things:
        if isinstance(x, Layer):
            yield x
            held = list(vars(x).values())
            yield from _parts([v for h in held for v in (h if isinstance(h, (list, tuple)) else [h])])


def custom_objects(layers: Any) -> dict[str, Any]:
    """What configs of `layers` name but graphk does not know: classes and functions of the user's."""
    found: dict[str, Any] = {}
    for layer in _parts(layers):
        for value in (layer, *vars(layer).values()):
            if isinstance(value, types.FunctionType):
                thing: Any = value
            elif hasattr(value, "get_config") and not isinstance(value, type):
                thing = type(value)
            else:
                continue
            if module_of(thing).startswith("graphk.frontend.") or thing.__name__ == "<lambda>":
                continue                                 # configs of this process hold the functions of Lambda layers
            if found.setdefault(thing.__name__, thing) is not thing:
                raise ValueError(f"The layer `{layer.name}` and another one hold two different objects called "
                                 f"`{thing.__name__}`; a config tells them apart by name only. Rename one.")
    return found


# ------------------------------------------------------------------ models
def _networks(network: Any) -> list[Any]:
    """A network and those inside it, whose configs do not hold their flag `trainable`."""
    return [network, *(n for layer in network.layers if hasattr(layer, "layers") and hasattr(layer, "outputs")
                       for n in _networks(layer))]


_COMPILED = {"loss": "loss", "metrics": "metrics", "loss_weights": "loss_weights",
             "sample_weight_mode": "sample_weight_mode", "weighted_metrics": "weighted_metrics",
             "target_tensors": "_target_tensors_given"}
_REMADE = {                             # what compiling a subclassed model and calling its layers give it anew
    *_COMPILED.values(), *_OF_CALLS, *_PER_INPUT, *_PER_INPUT.values(), "built", "history", "input_names", "inputs",
    "loss_functions", "loss_weights_list", "metrics_names", "metrics_tensors", "metrics_updates", "optimizer",
    "output_names", "outputs", "predict_function", "sample_weight_modes", "sample_weights", "stateful_metric_functions",
    "stateful_metric_names", "stop_training", "targets", "test_function", "total_loss", "total_loss_ready",
    "train_function", "_calls", "_collected_trainable_weights", "_compiled_later", "_consistent_at",
    "_feed_input_names", "_feed_input_shapes", "_feed_inputs", "_feed_loss_fns", "_feed_output_names",
    "_feed_output_shapes", "_feed_outputs", "_feed_sample_weight_modes", "_feed_sample_weights", "_feed_targets",
    "_loss_weights_list", "_mixed", "_output_masks", "_plain_weights", "_unit_axes"}


def model_state(model: Any) -> tuple[Any, ...]:
    """How to make a model again elsewhere; see `__reduce__` in the documentation of `pickle`."""
    state: dict[str, Any] = {"flags": [n.trainable for n in _networks(model)], "weights": model.get_weights()}
    if getattr(model, "optimizer", None) is not None:
        state["compiled"] = {key: getattr(model, name) for key, name in _COMPILED.items()}
        state["mixed"] = model._mixed.state()
        state["optimizer"] = _optimizer_state(model.optimizer)
    if model._is_subclassed:
        shapes = [K.int_shape(x)[1:] for x in model.inputs] if model.inputs else None
        return _made_subclassed, (model.__class__, own_attributes(model), shapes, state)
    config = model.get_config()
    return _made_model, (model.__class__, config, custom_objects([model]), state)


def own_attributes(model: Any) -> dict[str, Any]:
    """What the user's `__init__` made of a subclassed model, its layers in order included."""
    return {name: value for name, value in vars(model).items() if name not in _REMADE}


def portable(state: Any) -> Any:
    """A state for another process: what is no part of a module is left to custom_objects there, by its name."""
    if written(state) is not state:
        return written(state)
    if isinstance(state, (types.FunctionType, type)):
        found: Any = sys.modules.get(state.__module__)
        for name in state.__qualname__.split("."):
            found = getattr(found, name, None)
        return state if found is state else state.__name__
    if isinstance(state, dict):
        return {k: portable(v) for k, v in state.items()}
    return type(state)(map(portable, state)) if type(state) in (list, tuple) else state


def _optimizer_state(optimizer: Any) -> tuple[Any, ...]:
    variables = {name: K.get_value(v) for name, v in vars(optimizer).items() if isinstance(v, Variable)}
    return type(optimizer), optimizer.get_config(), variables, optimizer.get_weights()


def _made_model(cls: Any, config: Any, objects: dict[str, Any], state: dict[str, Any]) -> Any:
    from graphk.frontend import layers
    from graphk.frontend.utils.generic_utils import CustomObjectScope
    with CustomObjectScope({name: thing for name, thing in objects.items() if not isinstance(thing, str)}):
        model = layers.deserialize({"class_name": cls, "config": config}) if isinstance(cls, str) else \
            cls.from_config(config)
    return _restored(model, state)


def _made_subclassed(cls: Any, attributes: dict[str, Any], shapes: Any, state: dict[str, Any]) -> Any:
    model = cls.__new__(cls)
    model._init_network(attributes["name"])
    model.__dict__.update(attributes)
    if shapes is not None:
        model._call_on_shapes(shapes)
    return _restored(model, state)


def _restored(model: Any, state: dict[str, Any]) -> Any:
    """The model with flags, weights, compilation and the optimizer's state."""
    from graphk.frontend import optimizers
    for network, flag in zip(_networks(model), state["flags"]):
        network.trainable = flag
    if state["weights"]:
        model.set_weights(state["weights"])
    if "compiled" in state:
        make, settings, variables, weights = state["optimizer"]
        optimizer = optimizers.deserialize({"class_name": make, "config": settings}) if isinstance(make, str) else \
            make.from_config(settings)
        mixed = state.get("mixed", {})
        model.compile(optimizer, **state["compiled"], **settings_of(mixed))
        model._mixed.resume(mixed)
        if weights:
            model._make_train_function()
            _restore_state(optimizer, weights, model.name)
        for name, value in variables.items():
            K.set_value(getattr(optimizer, name), value)
    return model


def _restore_state(optimizer: Any, weights: Any, name: str) -> None:
    """What a config cannot say, that wrappers and inner models share a layer, makes more weights than there were."""
    if len(weights) != len(optimizer.weights):
        warnings.warn(f"The copy of the model `{name}` starts with a fresh optimizer: it has other weights to train "
                      "than the original, in which several wrappers or inner models share a layer. A copy has one "
                      "layer for each of them, with the same values.", stacklevel=2)
        return
    optimizer.set_weights(weights)


__all__ = ["copied_layer", "copied_tensor", "custom_objects", "layer_state", "model_state",
           "own_attributes", "portable", "tensor_state"]
