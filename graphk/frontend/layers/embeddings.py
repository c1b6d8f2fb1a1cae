"""Embedding: rows of a table by index.

In: integers (samples, …).  Out: (samples, …, output_dim).  What always holds: with mask_zero the index 0
means a missing step.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import Layer
from graphk.frontend.layers.arguments import size
from graphk.frontend.layers.settings import add_kernel, adopt, described, settings_of
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.generic_utils import to_list


class Embedding(Layer):
    """Rows of a learned table (input_dim, output_dim).

    input_length: length of the index sequences, if constant; mask_zero: index 0 is padding.

    >>> from graphk.layers import Input
    >>> Embedding(10, 4)(Input((7,))).shape
    (None, 7, 4)
    """

    def __init__(self, input_dim: int, output_dim: int, embeddings_initializer: Any = "uniform",
                 embeddings_regularizer: Any = None, activity_regularizer: Any = None,
                 embeddings_constraint: Any = None, mask_zero: bool = False, input_length: Any = None, **kwargs: Any):
        if "input_shape" not in kwargs and "batch_input_shape" not in kwargs:
            kwargs["input_shape"] = tuple(to_list(input_length, allow_tuple=True)) if input_length else (None,)
        super().__init__(**kwargs)
        self.input_dim, self.output_dim = size(self, "input_dim", input_dim), size(self, "output_dim", output_dim)
        adopt(self, embeddings_initializer=embeddings_initializer, embeddings_regularizer=embeddings_regularizer,
              activity_regularizer=activity_regularizer, embeddings_constraint=embeddings_constraint)
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero
        self.input_length = input_length

    def build(self, input_shape: Any) -> None:
        self.embeddings = add_kernel(self, "embeddings", (self.input_dim, self.output_dim), dtype=self.dtype)
        self.built = True

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Where the index is not 0, if mask_zero."""
        return K.not_equal(inputs, 0) if self.mask_zero else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self.input_length is None:
            return tuple(input_shape) + (self.output_dim,)
        lengths, given = to_list(self.input_length, allow_tuple=True), tuple(input_shape[1:])
        if len(lengths) != len(given) or any(None not in (a, b) and a != b for a, b in zip(lengths, given)):
            raise ValueError(f'"input_length" is {self.input_length}, but received input has shape {input_shape}. Give '
                             "it the length of the sequences, or leave it out.")
        return (input_shape[0], *(b if a is None else a for a, b in zip(lengths, given)), self.output_dim)

    def call(self, inputs: Tensor) -> Tensor:
        return K.gather(self.embeddings, inputs if inputs.dtype == "int32" else K.cast(inputs, "int32"))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "input_dim": self.input_dim, "output_dim": self.output_dim,
                **described(self, "activity_regularizer", *settings_of("embeddings")),
                "mask_zero": self.mask_zero, "input_length": self.input_length}
