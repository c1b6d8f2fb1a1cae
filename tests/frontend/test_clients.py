"""What libraries written for Keras rely on, beyond its documentation.

Each test says in a few lines what some published program does, and holds graphk to what Keras 2.2.4 answers.
"""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphk import backend as K
from graphk.layers import Input, Layer
from graphk.models import Model


def test_reductions_take_a_list_of_tensors() -> None:
    """`K.mean([a, b])` is how some add up losses; a list of one reaches `call` where a layer is called on one."""
    a, b = K.constant([1.0, 5.0]), K.constant([3.0, 2.0])
    assert K.eval(K.sum([a, b], axis=0)).tolist() == [4.0, 7.0]
    assert K.eval(K.max([a, b], axis=-1)).tolist() == [5.0, 3.0]
    assert K.eval(K.mean([K.sum(a), 2.0])) == 4.0
    assert K.eval(K.min([a])) == 1.0
    assert K.eval(K.argmax((a, b), axis=0)).tolist() == [1, 0]
    assert K.eval(K.any([K.equal(a, 5.0), K.equal(b, 9.0)])) and not K.eval(K.all([a > 0, b > 2]))
    with pytest.raises(ValueError, match="cannot concatenate"):
        K.sum([a, K.constant([1.0])])

    class Highest(Layer):
        def call(self, x: Any) -> Any:
            return K.max(x, axis=-1, keepdims=True)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return (*input_shape[:-1], 1)

    x = Input((3,))
    y = K.function([x], [K.gradients(K.sum(Highest()([x])), [x])[0]])([np.array([[1.0, 9.0, 2.0]])])[0]
    assert y.tolist() == [[0.0, 1.0, 0.0]]


def test_a_layer_may_give_the_shapes_of_all_its_inputs() -> None:
    """A layer of two inputs and one output that leaves the shapes to a default: the first is the output's."""
    class First(Layer):
        def call(self, inputs: Any) -> Any:
            return inputs[0] * K.sum(inputs[1])

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

    a, b = Input((3,)), Input((2, 2))
    model = Model([a, b], First()([a, b]))
    assert model.output_shape == (None, 3)
    assert model.predict([np.ones((1, 3)), np.ones((1, 2, 2))]).tolist() == [[4.0, 4.0, 4.0]]
