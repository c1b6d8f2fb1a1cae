"""Architectures that any Keras wrote, as graphk's own `from_config` takes them.

In: `{class_name, config}` as Keras 0.3 to 3 and tf.keras write it, the version that did, the caller's objects.  Out:
the same model in Keras 2's words, and everything in it that graphk does not know or cannot honour.  What always holds:
nothing is made, imported or executed; what changes results is translated or reported, never dropped.
"""
from __future__ import annotations

from typing import Any, NamedTuple

from graphk.frontend.engine.network import Network
from graphk.frontend.layers import layer_classes
from graphk.frontend.layers.lambda_layer import _given_function
from graphk.frontend.layers.settings import _family
from graphk.frontend.legacy import _known, translate
from graphk.frontend.saving.config_graphs import (
    INNER,
    calls,
    count_calls,
    ends,
    from_one,
    graph_model,
    implied_masks,
)
from graphk.frontend.saving.config_operations import is_operation, operation
from graphk.frontend.saving.config_rules import RULES, anywhere, harmless
from graphk.frontend.saving.config_values import FAMILIES, dtype_of, plain, setting, short
from graphk.frontend.saving.errors import GraphkFormatError
from graphk.frontend.utils.advice import advice
from graphk.frontend.utils.generic_utils import CustomObjectScope, get_custom_objects

_ALIASES = {"Functional": "Model", "Container": "Model", "SyncBatchNormalization": "BatchNormalization",
            "TimeDistributedDense": "Dense"}
_FIRST = ("input_dim", "input_length")                    # of a model's first layer, instead of its input shape
_OF_RNNS = ("zero_output_for_mask", "go_backwards", "return_state", "stateful", "unroll")
_MOST_CALLS = 10_000               # of layers, nested models' each time; the largest networks have a tenth


class Problem(NamedTuple):
    """What is wrong; the name in custom_objects of what would mend it, and what that is."""
    text: str
    needs: str | None = None
    what: str | None = None


def report(problems: list[Problem], file: str = "", place: str = "") -> GraphkFormatError:
    """One error for all of them, with the custom_objects to pass."""
    lines = list(dict.fromkeys(p.text for p in problems))
    names = {p.needs: p.what or (p.needs if p.needs.isidentifier() else "function") for p in problems if p.needs}
    text = lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} things stand in the way:", *lines])
    if names:
        stub = ", ".join(f"'{n}': {what}" for n, what in names.items())
        text += f"\nPass what is yours: custom_objects={{{stub}}}"
    return GraphkFormatError(file, place, text)


def modern(config: Any, version: str | None = None, custom_objects: dict[str, Any] | None = None
           ) -> tuple[dict[str, Any], list[Problem]]:
    """A model's config in Keras 2's words, and what of it cannot be had.

    version: Keras's version, as the file says; custom_objects: the caller's classes and functions by name.

    >>> modern({"class_name": "Functional", "config": {"name": "m", "layers": [], "input_layers": []}})[0]["class_name"]
    'Model'
    """
    count = count_calls(config)
    if count > _MOST_CALLS:
        raise ValueError(f"it calls layers {count} times (those of nested models as often as these are called); more "
                         f"than {_MOST_CALLS} calls are refused")
    walk = _Walk(str(version or "1"), custom_objects or {})
    return walk.layer(config), walk.problems


def of_tensorflow(version: str) -> bool:
    """Whether tf.keras 1.14 or later wrote a file: what calls itself 2.2.4-tf, 2.3.0-tf, 2.4.0, …

    >>> of_tensorflow("2.2.4-tf"), of_tensorflow("2.3.1"), of_tensorflow("2.12.0")
    (True, False, True)
    """
    numbers = [int(n) if n.isdigit() else 0 for n in version.partition("-")[0].split(".")[:3]]
    return numbers[0] == 2 and (numbers[1:2] >= [4] or version.endswith("-tf") and numbers >= [2, 2, 4])


class _Walk:
    def __init__(self, version: str, custom_objects: dict[str, Any]):
        major = version.split(".")[0]
        self.major = int(major) if major.isdigit() else 2
        self.zeroes = of_tensorflow(version)
        self.given = {**get_custom_objects(), **custom_objects}
        self.classes = {k: v for k, v in layer_classes().items() if not k.startswith("_")}
        self.problems: list[Problem] = []

    def _wrong(self, text: str, needs: str | None = None, what: str | None = None) -> None:
        self.problems.append(Problem(text, needs, what))

    # ---------------------------------------------------------------- one layer
    def layer(self, data: Any) -> dict[str, Any]:
        """The config of a layer or model."""
        data = from_one(data)
        if not isinstance(data, dict) or not isinstance(data.get("class_name"), str) or "config" not in data:
            raise ValueError(f"Improper config format: {str(data):.200}")
        if data["class_name"] == "Graph":
            data = graph_model(data)
        config = data["config"]
        label = f"layer `{config.get('name')}`" if isinstance(config, dict) else data["class_name"]
        name, cls = self._class_of(data)
        if cls is None:
            self._wrong(f"Unknown layer: {name} ({label})" + _nearest(name, self.classes), name)
        elif issubclass(cls, Network) and (isinstance(config, list) or "layers" in config):
            config = self._network(config)
        elif not isinstance(config, dict):
            raise ValueError(f"Improper config format: {str(data):.200}")
        elif name in self.given:
            config = self._of_the_users(config)
        else:
            config = self._known_layer(cls, f"{label} ({name})", plain(config))
        return {"class_name": name, "config": config}

    def _class_of(self, data: dict[str, Any]) -> tuple[str, Any]:
        """The name to look a class up by, and the class; the caller's come before graphk's."""
        name = data["class_name"]
        for own in (data.get("registered_name"), name, short(str(data.get("registered_name"))), short(name)):
            if own in self.given:
                return str(own), self.given[own] if isinstance(self.given[own], type) else object
        if is_operation(data):                             # of Keras 3, whose names are layers', too
            return f"{data.get('module')}.{name}", None
        known = _ALIASES.get(short(name), short(name))
        return (known, self.classes[known]) if known in self.classes else (name, None)

    def _of_the_users(self, config: dict[str, Any]) -> dict[str, Any]:
        config = plain(config)
        if "dtype" in config:
            config["dtype"] = dtype_of(config["dtype"])
        if "batch_shape" in config:
            config["batch_input_shape"] = config.pop("batch_shape")
        return {k: setting(k, v, self.major) if _is_setting(k) else v for k, v in config.items()}

    def _known_layer(self, cls: Any, label: str, config: dict[str, Any]) -> dict[str, Any]:
        config.update((k, self._inner(v)) for k, v in config.items() if k in INNER and v)
        config.update((k, setting(k, v, self.major)) for k, v in config.items() if _is_setting(k))
        anywhere(config)
        if self.zeroes and issubclass(cls, self.classes["Bidirectional"]) and isinstance(config.get("layer"), dict):
            config["layer"]["config"].setdefault("zero_output_for_mask", True)          # which its files do not say
        for apply_to, rule in RULES:
            if issubclass(cls, tuple(self.classes[n] for n in apply_to)):
                for text in rule(config):
                    self._wrong(f"{label}: {text}")
        if issubclass(cls, self.classes["Lambda"]):
            self._functions(label, config)
            return config
        self._settings(label, config)
        return self._keys(cls, label, config)

    def _inner(self, value: Any) -> Any:
        return [self.layer(v) for v in value] if isinstance(value, (list, tuple)) else self.layer(value)

    def _keys(self, cls: Any, label: str, config: dict[str, Any]) -> dict[str, Any]:
        """The config without keys that graphk's class does not take; those that would matter are reported."""
        known = _known(cls)
        if not {"batch_input_shape", "input_shape"}.isdisjoint(config):          # which Keras 1 says in two ways
            config = {k: v for k, v in config.items() if k in known or k not in _FIRST}
        known = known | {"num_constants", *_FIRST, *INNER, "mode_type", "output_shape_type", "output_mask_type",
                               "reverse_state_order", *(_OF_RNNS if issubclass(cls, self.classes["RNN"]) else ())}
        if not config.keys() <= known:
            kept = {k: config.pop(k) for k in [*INNER, "name"] if k in config}
            try:
                config = translate(cls, (), config)[1]
            except (TypeError, ValueError) as e:
                self._wrong(f"{label}: {e}")
            config.update(kept)
        for key in [k for k in config if k not in known]:
            value = config.pop(key)
            if not harmless(key, value):
                self._wrong(f"{label}: it has {key}={value!r:.80}, which graphk's {cls.__name__} cannot honour")
        return config

    def _settings(self, label: str, config: dict[str, Any]) -> None:
        """Look up every activation, initializer, … that the config names."""
        for key, value in config.items():
            if not _is_setting(key) or value is None:
                continue
            try:
                with CustomObjectScope(self.given):
                    _family("init" if key.endswith("init") else key).get(value)
            except (ValueError, TypeError) as e:
                name = value if isinstance(value, str) else value.get("class_name") if isinstance(value, dict) else None
                self._wrong(f"{label}: {key}: {e}", str(name) if "Unknown" in str(e) and name else None)

    def _functions(self, label: str, config: dict[str, Any]) -> None:
        """A Lambda's functions: by their names, for the caller's; stored code is for nobody."""
        name = config.get("name")
        for key in ("function", "mask", "output_shape"):
            if isinstance(config.get(key), dict):                      # {class_name: __lambda__, …}
                config.update({key: "<lambda>", key + "_type": "lambda"})
            elif isinstance(config.get(key), str):
                config.setdefault(key + "_type", "function")
        config.pop("dtype", None)
        for key in [k for k in config if k not in _known(self.classes["Lambda"]) and not k.endswith("_type")]:
            config.pop(key)
        kind = config.get("function_type", "lambda")
        if kind != "raw":
            try:
                _given_function(config.get("function"), name, kind, self.given)
            except ValueError:
                stored = config.get("function")
                own = stored if kind == "function" and isinstance(stored, str) else "a lambda"
                self._wrong(f"{label} computes with a function of yours ({own}); graphk executes no code from files. "
                            f"Pass it by the layer's name", name, "function")

    # ---------------------------------------------------------------- models
    def _network(self, config: Any) -> Any:
        if isinstance(config, list):
            return [self.layer(x) for x in config]
        nested: set[str] = set()
        layers = []
        masks = implied_masks(config["layers"])
        for data in config["layers"]:
            if isinstance(data, dict) and data.get("name") in masks:
                continue
            data = self._operation(data) if is_operation(data) else data
            if data is None:
                continue
            made = self.layer(data)
            if isinstance(data, dict) and "inbound_nodes" in data:
                cls = self.given.get(made["class_name"], self.classes.get(made["class_name"]))
                if isinstance(cls, type) and issubclass(cls, Network):
                    nested.add(data["name"])
                nodes, wrong = calls(data["inbound_nodes"], cls, masks)
                for text in wrong:
                    self._wrong(f"layer `{data['name']}`: {text}")
                made.update(name=data["name"], inbound_nodes=nodes)
            layers.append(made)
        out = {"name": config.get("name"), "layers": layers}
        if config.get("build_input_shape"):
            out["build_input_shape"] = plain(config["build_input_shape"])
        if "input_layers" in config:
            out.update(ends(layers, nested, config["input_layers"], config.get("output_layers")))
        return out

    def _operation(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """The layer that does what an operation does; None, and a complaint, if graphk has none."""
        name = data["class_name"]
        if name in self.given or data.get("registered_name") in self.given:
            return data
        made = operation(data)
        if isinstance(made, str):
            self._wrong(f"layer `{data.get('name')}` computes {made}, an operation that graphk does not have", made)
            return None
        return made


def _nearest(name: str, known: Any) -> str:
    near = advice(name, known)
    return near if "Did you mean" in near else "."


def _is_setting(key: str) -> bool:
    return key.rsplit("_")[-1] in FAMILIES


__all__ = ["Problem", "modern", "of_tensorflow", "report"]
