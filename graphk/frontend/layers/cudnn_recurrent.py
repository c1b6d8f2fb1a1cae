"""CuDNNGRU and CuDNNLSTM: recurrent layers whose weights lie as cuDNN wants them.

In: sequences (samples, time, features).  Out: as GRU(reset_after=True) and LSTM with sigmoid gates.  What always holds:
they run on every device; each gate's block of a kernel is the memory of the transposed matrix, and inputs and states
have a bias each, so that weight files written by cuDNN layers give what they gave there.
"""
from __future__ import annotations

from typing import Any, Sequence

from graphk.frontend import backend as K
from graphk.frontend.layers.cells import GRUCell, LSTMCell, forget_bias
from graphk.frontend.layers.recurrent import CellRNN
from graphk.frontend.tensor import Tensor

_KEPT = ("units", "kernel_initializer", "recurrent_initializer", "bias_initializer", "unit_forget_bias",
         "kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "activity_regularizer",
         "kernel_constraint", "recurrent_constraint", "bias_constraint", "return_sequences", "return_state",
         "go_backwards", "stateful", "name", "trainable", "batch_input_shape", "dtype", "num_constants")


def transposed(kernel: Tensor, gates: int) -> Tensor:
    """Each gate's block (rows, units), read as the memory of a (units, rows) matrix, transposed: what x multiplies."""
    rows, width = kernel.shape
    units = width // gates
    blocks = [kernel[:, i * units:(i + 1) * units] for i in range(gates)]
    return K.concatenate([K.transpose(K.reshape(b, (units, rows))) for b in blocks], axis=1)


class _Transposed:
    """What both cells do before their step: turn kernels from cuDNN's memory order, and split the bias."""

    gates: int
    units: int
    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor

    def _bias_shape(self) -> tuple[int, ...]:
        return (2 * self.gates * self.units,)

    def project(self, inputs: Tensor, training: Any = None) -> Tensor:
        out = K.dot(inputs, transposed(self.kernel, self.gates))
        return K.bias_add(out, self.bias[:self.gates * self.units], data_format="channels_last")

    def inner(self, h: Tensor) -> Tensor:
        """What the gates make of the state."""
        return K.dot(h, transposed(self.recurrent_kernel, self.gates)) + self.bias[self.gates * self.units:]


class CuDNNGRUCell(_Transposed, GRUCell):
    """One step of CuDNNGRU."""

    def advance(self, projected: Tensor, states: Sequence[Tensor], training: Any = None
                ) -> tuple[Tensor, list[Tensor]]:
        h, inner = states[0], self.inner(states[0])
        z, r = (K.sigmoid(self.columns(projected, i) + self.columns(inner, i)) for i in (0, 1))
        h = z * h + (1. - z) * K.tanh(self.columns(projected, 2) + r * self.columns(inner, 2))
        return h, [h]


class CuDNNLSTMCell(_Transposed, LSTMCell):
    """One step of CuDNNLSTM."""

    def _first_bias(self, shape: Any, dtype: str | None = None) -> Any:
        return forget_bias(self, shape, dtype, 5)                  # of the states' four biases, the second

    def advance(self, projected: Tensor, states: Sequence[Tensor], training: Any = None
                ) -> tuple[Tensor, list[Tensor]]:
        gates, c = projected + self.inner(states[0]), states[1]
        i, f, o = (K.sigmoid(self.columns(gates, k)) for k in (0, 1, 3))
        c = f * c + i * K.tanh(self.columns(gates, 2))
        h = o * K.tanh(c)
        return h, [h, c]


class _CuDNNRNN(CellRNN):
    """What CuDNNGRU and CuDNNLSTM share."""

    def call(self, inputs: Any, mask: Any = None, training: Any = None, initial_state: Any = None) -> Any:  # type: ignore[override]
        """The output(s); ValueError for a mask, which cuDNN does not know."""
        mask = mask[0] if isinstance(mask, list) else mask
        if mask is not None:
            raise ValueError(f"Masking is not supported for CuDNN RNNs. The layer {self.name} received a mask; use "
                             f"{type(self).__name__.removeprefix('CuDNN')} instead, which converts the weights when it "
                             "loads them from a file.")
        return super().call(inputs, None, training, initial_state)

    def get_config(self) -> dict[str, Any]:
        return {k: v for k, v in super().get_config().items() if k in _KEPT}


class CuDNNGRU(_CuDNNRNN):
    """GRU as cuDNN computes it: tanh, sigmoid gates, reset after the product.

    bias: (6 * units,), for inputs z, r, h and states z, r, h.

    >>> CuDNNGRU(4, return_sequences=True)(K.placeholder((None, 7, 3))).shape
    (None, 7, 4)
    """

    def __init__(self, units: int, kernel_initializer: Any = "glorot_uniform",
                 recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, recurrent_regularizer: Any = None, bias_regularizer: Any = None,
                 activity_regularizer: Any = None, kernel_constraint: Any = None, recurrent_constraint: Any = None,
                 bias_constraint: Any = None, return_sequences: bool = False, return_state: bool = False,
                 stateful: bool = False, **kwargs: Any):
        cell = CuDNNGRUCell(
            units, "tanh", "sigmoid", True, kernel_initializer, recurrent_initializer, bias_initializer,
            kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint, recurrent_constraint,
            bias_constraint, implementation=2, reset_after=True, dtype=kwargs.get("dtype"))
        super().__init__(cell, activity_regularizer, {"return_sequences": return_sequences,
                                                      "return_state": return_state, "stateful": stateful, **kwargs})


class CuDNNLSTM(_CuDNNRNN):
    """LSTM as cuDNN computes it: tanh, sigmoid gates.

    bias: (8 * units,), for inputs i, f, c, o and states i, f, c, o.

    >>> CuDNNLSTM(4)(K.placeholder((None, 7, 3))).shape
    (None, 4)
    """

    def __init__(self, units: int, kernel_initializer: Any = "glorot_uniform",
                 recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros",
                 unit_forget_bias: bool = True, kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
                 bias_regularizer: Any = None, activity_regularizer: Any = None, kernel_constraint: Any = None,
                 recurrent_constraint: Any = None, bias_constraint: Any = None, return_sequences: bool = False,
                 return_state: bool = False, stateful: bool = False, **kwargs: Any):
        cell = CuDNNLSTMCell(
            units, "tanh", "sigmoid", True, kernel_initializer, recurrent_initializer, bias_initializer,
            unit_forget_bias, kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint,
            recurrent_constraint, bias_constraint, implementation=2, dtype=kwargs.get("dtype"))
        super().__init__(cell, activity_regularizer, {"return_sequences": return_sequences,
                                                      "return_state": return_state, "stateful": stateful, **kwargs})


__all__ = ["CuDNNGRU", "CuDNNLSTM"]
