"""What single layer classes of other Keras versions mean by their configs, and which keys mean nothing.

In: the config of one layer.  Out: the config in Keras 2's words, changed in place, and complaints.  What always
holds: a key is dropped only where its value changes no result.
"""
from __future__ import annotations

from typing import Any, Callable

import numpy as np

from graphk.frontend.saving.config_values import dtype_of

# Keys that say how something was stored or computed, not what.
_MEANINGLESS = {"module", "registered_name", "build_config", "compile_config", "shared_object_id", "jit_compile",
                "autocast", "fused", "optional", "input_spec", "input_dtype", "supports_jit", "adjustment",
                "synchronized", "sparse", "reset_dropout_mask", "use_cudnn", "cache_readonly", "custom_name",
                "renorm_clipping", "renorm_momentum", "seed", "consume_less"}
# Keys whose value, if it is this, asks for nothing.
_NEUTRAL: dict[str, Any] = {"groups": 1, "dilation_rate": 1, "ragged": False, "time_major": False, "renorm": False,
                            "keepdims": False, "interpolation": "nearest", "lora_rank": None, "implementation": 1,
                            "activity_regularizer": None, "output_padding": None, "data_format": "channels_last",
                            "zero_output_for_mask": False, "rms_scaling": False, "dim_ordering": "tf",
                            "return_runtime": False}


def harmless(key: str, value: Any) -> bool:
    """Whether the key may be dropped.

    >>> harmless("groups", 1), harmless("groups", 4), harmless("dilation_rate", [1, 1])
    (True, False, True)
    """
    if value is None or key in _MEANINGLESS:
        return True
    return key in _NEUTRAL and bool(np.all(np.array(value, dtype=object) == _NEUTRAL[key]))


def anywhere(config: dict[str, Any]) -> None:
    """What every layer's config may hold."""
    if "dtype" in config:
        config["dtype"] = dtype_of(config["dtype"])
    shape = config.pop("batch_shape", None)
    if shape is not None:
        config["batch_input_shape"] = shape


def _input(config: dict[str, Any]) -> list[str]:
    config.pop("trainable", None)
    if config.pop("ragged", False):
        return ["it is an input of ragged rows, which graphk does not have"]
    return [f"its inputs are of the type {config['dtype']}"] if config.get("dtype") == "string" else []


def _batch_normalization(config: dict[str, Any]) -> list[str]:
    axis = config.get("axis")
    if isinstance(axis, (list, tuple)):
        if len(axis) != 1:
            return [f"it normalizes over several axes, {axis}; graphk's has one"]
        config["axis"] = axis[0]
    return []


def _embedding(config: dict[str, Any]) -> list[str]:
    if str(config.get("dtype", "")).startswith(("int", "uint")):       # the inputs', which Keras 2.0 stored
        del config["dtype"]
    if not config.get("dropout"):
        config.pop("dropout", None)                         # Keras 1's; of others the constructor warns
    return []


def _gru(config: dict[str, Any]) -> list[str]:
    config.setdefault("reset_after", False)                 # without the key: Keras 1 and 2.0, which knew no other
    return []


def _recurrent(config: dict[str, Any]) -> list[str]:
    if config.get("implementation") == 0:
        config["implementation"] = 1
    return []


def _simple_rnn(config: dict[str, Any]) -> list[str]:
    config.pop("implementation", None)
    return []


def _leaky_relu(config: dict[str, Any]) -> list[str]:
    if "negative_slope" in config:
        config["alpha"] = config.pop("negative_slope")
    return []


def _softmax(config: dict[str, Any]) -> list[str]:
    if isinstance(config.get("axis"), (list, tuple)) and len(config["axis"]) == 1:
        config["axis"] = config["axis"][0]
    return []


def _bidirectional(config: dict[str, Any]) -> list[str]:
    """graphk makes the backward layer from the forward one, as Keras 2.2 does."""
    inner, back = config["layer"]["config"], config.pop("backward_layer", None)
    name = inner.get("name")
    if isinstance(name, str) and name.startswith("forward_"):
        inner["name"] = name[len("forward_"):]
    if isinstance(back, dict):
        differ = sorted(k for k, v in back["config"].items() if k in inner and v != inner[k] and
                        k not in ("name", "go_backwards") and not k.endswith("initializer"))
        if differ or back["class_name"] != config["layer"]["class_name"]:
            return [f"its backward layer is another than the forward one ({', '.join(differ) or back['class_name']}); "
                    "graphk's has the same in both directions"]
    return []


def _locally_connected(config: dict[str, Any]) -> list[str]:
    if config.pop("implementation", 1) != 1:
        return ["its weights are laid out by `implementation` 2 or 3; only 1 is known"]
    return []


# classes (and those derived from them), and what to do with their configs
RULES: list[tuple[tuple[str, ...], Callable[[dict[str, Any]], list[str]]]] = [
    (("InputLayer",), _input),
    (("BatchNormalization",), _batch_normalization), (("Embedding",), _embedding), (("GRU", "GRUCell"), _gru),
    (("GRU", "LSTM", "GRUCell", "LSTMCell", "ConvLSTM2D"), _recurrent), (("SimpleRNN",), _simple_rnn),
    (("LeakyReLU",), _leaky_relu), (("Softmax",), _softmax), (("Bidirectional",), _bidirectional),
    (("LocallyConnected1D", "LocallyConnected2D"), _locally_connected)]


__all__ = ["RULES", "anywhere", "harmless"]
