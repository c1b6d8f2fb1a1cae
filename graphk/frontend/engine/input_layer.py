"""Inputs of a model.

In: a shape without (or with) the batch axis.  Out: a symbolic tensor to build layers on.  What always
holds: inputs whose batch size is open all share the one symbol `n`.
"""
from __future__ import annotations

from typing import Any, Sequence

from graphk.frontend import backend as K
from graphk.frontend.backend.common import computed_dtype
from graphk.frontend.backend.creation import BATCH, fresh_dim, mark_sparse
from graphk.frontend.engine.base_layer import Layer, checked_shape
from graphk.frontend.engine.node import Node
from graphk.frontend.tensor import Tensor
from graphk.ir.ops.leaves import new_input
from graphk.ir.types import TensorType


class InputLayer(Layer):
    """The entry of a model.  input_shape: without the batch axis; batch_input_shape: with it; sparse: what
    `K.is_sparse` says of it (sparse matrices may be fed to any input).

    >>> InputLayer((3,)).output_shape
    (None, 3)
    """

    def __init__(self, input_shape: Any = None, batch_size: int | None = None, batch_input_shape: Any = None,
                 dtype: str | None = None, input_tensor: Tensor | None = None, sparse: bool = False,
                 name: str | None = None):
        if input_shape is not None and batch_input_shape is not None:
            raise ValueError("Only provide the input_shape OR batch_input_shape argument to InputLayer, not both at "
                             "the same time.")
        if input_tensor is not None and not isinstance(input_tensor, Tensor):
            raise TypeError(f"The tensor of an input must be symbolic; received a {type(input_tensor).__name__}. Use "
                            "K.constant(array), or Input(shape) and pass the array to fit or predict.")
        super().__init__(dtype=dtype or (K.dtype(input_tensor) if input_tensor is not None else None),
                         name=name or "input_" + str(K.get_uid("input")))
        self.trainable = False
        self.built = True
        self.sparse = bool(sparse)
        self.supports_masking = True
        if batch_input_shape is None:
            if input_shape is not None:
                batch_input_shape = (batch_size, *checked_shape("`input_shape`", input_shape))
            elif input_tensor is None:
                raise ValueError("An Input layer should be passed either a `batch_input_shape` or an `input_shape`.")
            else:
                batch_input_shape = K.int_shape(input_tensor)
        self.batch_input_shape = checked_shape(f"The shape of the input `{self.name}`", batch_input_shape)
        self.is_placeholder = input_tensor is None or K.is_placeholder(input_tensor)
        x = input_tensor if input_tensor is not None else self._placeholder()
        x._keras_shape, x._keras_mask, x._keras_history = self.batch_input_shape, None, (self, 0, 0)
        Node(self, [], [], [], [x], [x], [None], [None], [self.batch_input_shape], [self.batch_input_shape])

    def _placeholder(self) -> Tensor:
        dims = [fresh_dim() if d is None else int(d) for d in self.batch_input_shape]
        if dims and self.batch_input_shape[0] is None:
            dims[0] = BATCH
        dtype = computed_dtype(self.dtype, f"the input `{self.name}`")
        x = Tensor(new_input(TensorType(dtype, tuple(dims)), self.name), self.name)
        return mark_sparse(x) if self.sparse else x

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: what is fed has no mask."""
        return None

    def get_config(self) -> dict[str, Any]:
        """The config, with the batch axis in the shape."""
        return {"batch_input_shape": self.batch_input_shape, "dtype": self.dtype, "sparse": self.sparse,
                "name": self.name}


def Input(shape: Any = None, batch_shape: Sequence[int | None] | None = None, name: str | None = None,
          dtype: str | None = None, sparse: bool = False, tensor: Tensor | None = None) -> Tensor:
    """A symbolic input of a model.  shape: without the batch axis, None for open sizes; batch_shape: with it.

    >>> Input((None, 8)).shape
    (None, None, 8)
    """
    if batch_shape is None and tensor is None and shape is None:
        raise ValueError(
            "Please provide to Input either a `shape` or a `batch_shape` argument. Note that `shape` does not "
            "include the batch dimension."
        )
    if shape is not None and batch_shape is None:
        batch_shape = (None, *checked_shape(f"The shape of the input `{name}`" if name else "`shape`", shape))
    layer = InputLayer(
        batch_input_shape=batch_shape,
        name=name,
        dtype=dtype or (None if tensor is not None else K.floatx()),
        sparse=sparse,
        input_tensor=tensor,
    )
    return layer._inbound_nodes[0].output_tensors[0]
