"""SimpleRNN, GRU and LSTM.

In: sequences (samples, time, features).  Out: the last output (samples, units), or all of them.  What always holds:
each is an RNN over its cell, whose arguments and attributes it shows as its own.
"""
from __future__ import annotations

import warnings
from typing import Any

from graphk.frontend import regularizers
from graphk.frontend.layers.cells import IMPLEMENTATION, RECURRENT_ACTIVATION, GRUCell, LSTMCell, SimpleRNNCell
from graphk.frontend.layers.rnn_base import RNN, StackedRNNCells
from graphk.frontend.utils.generic_utils import config_of

_SHOWN = ("units", "activation", "recurrent_activation", "use_bias", "kernel_initializer", "recurrent_initializer",
          "bias_initializer", "unit_forget_bias", "kernel_regularizer", "recurrent_regularizer", "bias_regularizer",
          "kernel_constraint", "recurrent_constraint", "bias_constraint", "dropout", "recurrent_dropout",
          "implementation", "reset_after")


class CellRNN(RNN):
    """An RNN over one of the three cells: what the cell knows is the layer's, too."""

    def __init__(self, cell: Any, activity_regularizer: Any, kwargs: dict[str, Any]):
        super().__init__(cell, **kwargs)
        self.activity_regularizer = regularizers.get(activity_regularizer)

    def get_config(self) -> dict[str, Any]:
        config, cell = super().get_config(), self.cell.get_config()
        config.pop("cell")
        return {**config, **{k: v for k, v in cell.items() if k in _SHOWN},
                "activity_regularizer": regularizers.serialize(self.activity_regularizer)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "CellRNN":
        config = config_of(cls, config)
        number = config.pop("num_constants", None)
        layer = cls(**config)
        layer._num_constants = number
        return layer


def _shown(name: str) -> property:
    return property(lambda self: getattr(self.cell, name), doc=f"The cell's `{name}`.")


for _name in _SHOWN:
    setattr(CellRNN, _name, _shown(_name))


def _implementation(value: int) -> int:
    if value == 0:
        warnings.warn("`implementation=0` has been deprecated, and now defaults to `implementation=1`."
                      "Please update your layer call.", stacklevel=3)
        return 1
    return value


class SimpleRNN(CellRNN):
    """h' = activation(x · kernel + h · recurrent_kernel + bias) over the time axis.

    >>> from graphk.layers import Input
    >>> SimpleRNN(4)(Input((None, 3))).shape
    (None, 4)
    """

    def __init__(self, units: int, activation: Any = "tanh", use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
                 bias_initializer: Any = "zeros", kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
                 bias_regularizer: Any = None, activity_regularizer: Any = None, kernel_constraint: Any = None,
                 recurrent_constraint: Any = None, bias_constraint: Any = None, dropout: float = 0.,
                 recurrent_dropout: float = 0., return_sequences: bool = False, return_state: bool = False,
                 go_backwards: bool = False, stateful: bool = False, unroll: bool = False, **kwargs: Any):
        for name in ("implementation", "consume_less"):
            if name in kwargs:
                kwargs.pop(name)
                warnings.warn(f"The `{name}` argument in `SimpleRNN` has been deprecated. Please remove it from your "
                              "layer call.", stacklevel=2)
        cell = SimpleRNNCell(units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
                             kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint,
                             recurrent_constraint, bias_constraint, dropout, recurrent_dropout,
                             dtype=kwargs.get("dtype"))
        super().__init__(cell, activity_regularizer,
                         {"return_sequences": return_sequences, "return_state": return_state,
                          "go_backwards": go_backwards, "stateful": stateful, "unroll": unroll, **kwargs})


class GRU(CellRNN):
    """Gated recurrent units (Cho et al., 2014; https://arxiv.org/abs/1406.1078); see GRUCell.

    Weights: kernel (features, 3 * units), recurrent_kernel (units, 3 * units), bias; gates z, r, h.

    >>> from graphk.layers import Input
    >>> GRU(4, return_sequences=True)(Input((7, 3))).shape
    (None, 7, 4)
    """

    def __init__(self, units: int, activation: Any = "tanh", recurrent_activation: Any = RECURRENT_ACTIVATION,
                 use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
                 recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, recurrent_regularizer: Any = None, bias_regularizer: Any = None,
                 activity_regularizer: Any = None, kernel_constraint: Any = None, recurrent_constraint: Any = None,
                 bias_constraint: Any = None, dropout: float = 0., recurrent_dropout: float = 0.,
                 implementation: int = IMPLEMENTATION, return_sequences: bool = False, return_state: bool = False,
                 go_backwards: bool = False, stateful: bool = False, unroll: bool = False, reset_after: bool = False,
                 **kwargs: Any):
        cell = GRUCell(units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
                       bias_initializer, kernel_regularizer, recurrent_regularizer, bias_regularizer,
                       kernel_constraint, recurrent_constraint, bias_constraint, dropout, recurrent_dropout,
                       _implementation(implementation), reset_after, dtype=kwargs.get("dtype"))
        super().__init__(cell, activity_regularizer,
                         {"return_sequences": return_sequences, "return_state": return_state,
                          "go_backwards": go_backwards, "stateful": stateful, "unroll": unroll, **kwargs})


class LSTM(CellRNN):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997); see LSTMCell.

    Weights: kernel (features, 4 * units), recurrent_kernel (units, 4 * units), bias (4 * units,); gates i, f, c, o.

    >>> from graphk.layers import Input
    >>> [x.shape for x in LSTM(4, return_state=True)(Input((7, 3)))]
    [(None, 4), (None, 4), (None, 4)]
    """

    def __init__(self, units: int, activation: Any = "tanh", recurrent_activation: Any = RECURRENT_ACTIVATION,
                 use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
                 recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros",
                 unit_forget_bias: bool = True, kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
                 bias_regularizer: Any = None, activity_regularizer: Any = None, kernel_constraint: Any = None,
                 recurrent_constraint: Any = None, bias_constraint: Any = None, dropout: float = 0.,
                 recurrent_dropout: float = 0., implementation: int = IMPLEMENTATION, return_sequences: bool = False,
                 return_state: bool = False, go_backwards: bool = False, stateful: bool = False, unroll: bool = False,
                 **kwargs: Any):
        cell = LSTMCell(units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
                        bias_initializer, unit_forget_bias, kernel_regularizer, recurrent_regularizer,
                        bias_regularizer, kernel_constraint, recurrent_constraint, bias_constraint, dropout,
                        recurrent_dropout, _implementation(implementation), dtype=kwargs.get("dtype"))
        super().__init__(cell, activity_regularizer,
                         {"return_sequences": return_sequences, "return_state": return_state,
                          "go_backwards": go_backwards, "stateful": stateful, "unroll": unroll, **kwargs})


__all__ = ["RNN", "StackedRNNCells", "SimpleRNNCell", "GRUCell", "LSTMCell", "SimpleRNN", "GRU", "LSTM"]
