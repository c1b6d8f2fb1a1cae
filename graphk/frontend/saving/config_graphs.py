"""How layers are joined in configs of other Keras versions: calls, inputs and outputs, Keras 1's Graph.

In: `inbound_nodes` with or without `__keras_tensor__`, one output or many, calls of nested models counted from 0 or 1.
Out: Keras 2's lists `[layer, call, tensor, arguments]`, nested models' calls counted from 1.  What always holds: a
tensor among the arguments is an input of the call, or a complaint.
"""
from __future__ import annotations

from typing import Any, Iterator

from graphk.frontend.utils.generic_utils import has_arg

INNER = ("layer", "backward_layer", "cell", "cells", "layers")               # keys whose values are layers
_EXTRA_INPUTS = ("initial_state", "constants")         # of recurrent layers, which take them behind their input


def _is_ref(x: Any) -> bool:
    return isinstance(x, (list, tuple)) and len(x) in (3, 4) and isinstance(x[0], str) and isinstance(x[1], int) \
        and isinstance(x[2], int)


def references(value: Any) -> Iterator[list[Any]]:
    """Every `[layer, call, tensor]` in a value, in order."""
    if _is_ref(value):
        yield [value[0], value[1], value[2]]
    elif isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield list(value["config"]["keras_history"])
        else:
            for key in sorted(value):
                yield from references(value[key])
    elif isinstance(value, (list, tuple)):
        for x in value:
            yield from references(x)


def count_calls(data: Any) -> int:
    """How many calls of layers building a model takes: those of a nested model, as often as that is called."""
    if isinstance(data, list):
        return sum(map(count_calls, data))
    if not isinstance(data, dict):
        return 0
    config, nodes = data.get("config"), data.get("inbound_nodes")
    inner = count_calls(config) if isinstance(config, list) else \
        sum(count_calls(config.get(key)) for key in INNER) if isinstance(config, dict) else 0
    return max(1, len(nodes) if isinstance(nodes, list) else 1) * max(1, inner)


def calls(nodes: Any, cls: Any, masks: set[str]) -> tuple[list[Any], list[str]]:
    """The calls of a layer of the class `cls`, and complaints; `masks` need not be passed on."""
    out: list[Any] = []
    wrong: list[str] = []
    for node in nodes or []:
        if isinstance(node, dict):                                       # Keras 3
            tensors, kwargs = list(references(node["args"])), dict(node.get("kwargs") or {})
            if any(not _only_tensors(a) for a in node["args"] if a is not None):
                wrong.append(f"it is called with constants: {str(node['args']):.100}")
        else:
            entries = [node] if _is_ref(node) else list(node)
            kwargs = dict(entries[0][3]) if entries and len(entries[0]) > 3 and entries[0][3] else {}
            tensors = [list(e[:3]) for e in entries if e[0] != "_CONSTANT_VALUE"]
            if len(tensors) < len(entries):
                wrong.append("it is called with constants")
        for key in _EXTRA_INPUTS:
            tensors += references(kwargs.get(key))
            kwargs = {k: v for k, v in kwargs.items() if k != key or not any(references(v))}
        if all(r[0] in masks for r in references(kwargs.get("mask"))):
            kwargs.pop("mask", None)
        out.append([[*t, {k: v for k, v in kwargs.items() if _wanted(k, v, cls, wrong)}] for t in tensors])
    return out, wrong


def implied_masks(layers: Any) -> set[str]:
    """The operations that make, in files of Keras 3, the masks that Embedding and Masking give anyway.

    They are `x != 0` of what an Embedding with mask_zero takes (of what a Masking takes: any(x != value)), and what is
    made of such masks alone.
    """
    entries = {d["name"]: d for d in layers if isinstance(d, dict) and isinstance(d.get("name"), str)}
    masking = [d for d in entries.values() if d.get("class_name") == "Masking" or d.get("class_name") == "Embedding"
               and d["config"].get("mask_zero")]
    sources = {r[0] for d in masking for r in references(d.get("inbound_nodes"))}
    found: set[str] = set()
    for name, d in entries.items():                     # in the order in which they were made
        came_from = {r[0] for r in references(d.get("inbound_nodes"))}
        if d.get("class_name") == "NotEqual" and came_from <= sources or \
                d.get("class_name") in ("Any", "LogicalAnd") and came_from <= found:
            found.add(name)
    return found


def _only_tensors(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return all(_only_tensors(v) for v in x)
    return isinstance(x, dict) and x.get("class_name") == "__keras_tensor__"


def _wanted(key: str, value: Any, cls: Any, wrong: list[str]) -> bool:
    """Whether an argument of a call is to be passed on."""
    if value is None or value == []:
        return False
    if any(references(value)):
        wrong.append(f"the tensor `{key}` among the arguments of its call cannot be honoured")
        return False
    call = getattr(cls, "call", None)
    if call is None or has_arg(call, key, accept_all=True):
        return True
    if key not in ("training", "mask"):
        wrong.append(f"its call has {key}={value!r:.80}, which graphk's does not take")
    return False


def ends(layers: list[dict[str, Any]], nested: set[str], inputs: Any, outputs: Any) -> dict[str, Any]:
    """Inputs and outputs as lists; calls of nested models, everywhere, counted from 1."""
    found = {"input_layers": list(references(inputs)), "output_layers": list(references(outputs))}
    refs = [entry for data in layers for call in data.get("inbound_nodes", []) for entry in call]
    refs += [*found["input_layers"], *found["output_layers"]]
    for name in nested:
        own = [entry for entry in refs if entry[0] == name]
        if any(entry[1] == 0 for entry in own):            # tf.keras counts so what it built when first called
            for entry in own:
                entry[1] += 1
    return found


# ------------------------------------------------------------------ Keras 0.3 and 1.0
def from_one(data: Any) -> Any:
    """`{name: class, argument: value, …}`, as Keras 0.3 wrote layers and models, as `{class_name, config}`."""
    if not isinstance(data, dict) or "class_name" in data or not isinstance(data.get("name"), str):
        return data
    config = {k: v for k, v in data.items() if k not in ("name", "custom_name", "cache_enabled", "input_ndim")}
    if data["name"] == "Sequential":
        return {"class_name": "Sequential", "config": [from_one(x) for x in data.get("layers", [])]}
    if isinstance(data.get("custom_name"), str) and data["custom_name"].lower() != data["name"].lower():
        config["name"] = data["custom_name"]
    return {"class_name": data["name"], "config": config}


def graph_model(data: dict[str, Any]) -> dict[str, Any]:
    """A Graph, Keras's model of several inputs and outputs before 1.0, as a Model."""
    graph = data["config"]
    layers = [{"name": x["name"], "class_name": "InputLayer", "inbound_nodes": [],
               "config": {"name": x["name"], "dtype": x.get("dtype") or "float32", **(
                   {"batch_input_shape": x["batch_input_shape"]} if x.get("batch_input_shape")
                   else {"input_shape": x["input_shape"]})}} for x in graph["input_config"]]

    def source(x: dict[str, Any]) -> str:
        if x.get("input"):
            return str(x["input"])
        name = "merge_inputs_for_" + x["name"]
        config = {k: x[k] for k in ("concat_axis", "dot_axes") if x.get(k) is not None}
        layers.append({"name": name, "class_name": "Merge", "config": {**config, "name": name,
                                                                       "mode": x.get("merge_mode") or "concat"},
                       "inbound_nodes": [[[i, 0, 0] for i in x["inputs"]]]})
        return name
    outputs = []
    for x in graph["node_config"]:
        node = from_one(graph["nodes"][x["name"]])
        came_from = source(x)
        layers.append({"name": x["name"], "class_name": node["class_name"], "inbound_nodes": [[[came_from, 0, 0]]],
                       "config": {**node["config"], "name": x["name"]}})
        if x.get("create_output"):
            outputs.append(x["name"])
    outputs += [source(x) for x in graph["output_config"] if x["name"] not in outputs]
    return {"class_name": "Model", "config": {
        "name": "graph", "layers": layers, "input_layers": [[x["name"], 0, 0] for x in graph["input_config"]],
        "output_layers": [[n, 0, 0] for n in outputs]}}


__all__ = ["INNER", "calls", "count_calls", "ends", "from_one", "graph_model", "references"]
