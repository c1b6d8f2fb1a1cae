"""What libraries written for Keras rely on, beyond its documentation.

Each test says in a few lines what some published program does, and holds graphk to what Keras 2.2.4 answers.
"""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphk import backend as K
from graphk.layers import BatchNormalization, Dense, Dropout, Input, Layer
from graphk.models import Model, Sequential


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


def _small() -> Sequential:
    return Sequential([Dense(4, activation="tanh", input_shape=(3,)), Dropout(0.5), BatchNormalization(), Dense(2)])


def test_a_function_may_begin_at_any_layer() -> None:
    """`K.function([layer.output, K.learning_phase()], [model.output])` runs the rest of a model."""
    model, x = _small(), np.random.RandomState(0).rand(5, 3).astype("f")
    inner = model.layers[0].output
    hidden = K.function([model.input], [inner])([x])[0]
    rest = K.function([inner, K.learning_phase()], [model.output])
    np.testing.assert_array_equal(rest([hidden, 0])[0], model.predict(x))
    assert np.abs(rest([hidden, 1])[0] - model.predict(x)).max() > 1e-3
    with pytest.raises(ValueError, match="depends on the placeholder"):
        K.function([model.layers[2].output], [inner])


def test_a_function_may_take_weights() -> None:
    """Programs that show a training again pass the weights of each epoch; the model's own stay."""
    model, x = _small(), np.random.RandomState(0).rand(5, 3).astype("f")
    kernel, before = model.layers[-1].kernel, model.get_weights()
    run = K.function([model.input, kernel], [model.output, K.gradients(K.sum(model.output), kernel)[0]])
    out, slope = run([x, 2 * K.get_value(kernel)])
    np.testing.assert_allclose(out, 2 * model.predict(x), rtol=1e-5, atol=1e-6)
    assert slope.shape == (4, 2) and run([x, np.zeros((4, 2))])[0].max() == 0
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="both takes `dense_2/kernel:0` as an input and updates it"):
        K.function([kernel], [], updates=[(kernel, 2 * kernel)])
    with pytest.raises(ValueError, match="is computed from others"):
        K.function([K.repeat_elements(K.placeholder((None, 3)), 2, 0)], [kernel])
    with pytest.raises(TypeError, match="received float"):
        K.function([3.5], [kernel])


def test_a_function_that_ignores_the_phase_may_get_it() -> None:
    """`f([x, 0])` and `f([x, 1])` are called where the model may or may not have a dropout layer."""
    x = K.placeholder((None, 2))
    double = K.function([x], [2 * x])
    for phase in (0, 1, 1.0, True, np.int64(0)):
        assert double([[[1.0, 2.0]], phase])[0].tolist() == [[2.0, 4.0]]
    for surplus in (2, np.zeros(3), None):
        with pytest.raises(ValueError, match="takes 1 inputs"):
            double([[[1.0, 2.0]], surplus])


def test_a_model_says_whether_it_is_compiled() -> None:
    model = _small()
    assert not model._is_compiled
    model.compile("sgd", "mse")
    assert model._is_compiled


def test_a_tensor_tells_what_computed_it() -> None:
    """Libraries of attacks and explanations go from probabilities to the logits by `output.op.inputs`."""
    model = Sequential([Dense(4, activation="relu", input_shape=(3,)), Dense(2, activation="softmax")])
    logits, = model.output.op.inputs
    assert model.output.op.type == "Softmax" and logits.op.type == "Add"
    x = np.random.RandomState(0).rand(5, 3).astype("f")
    values = K.function([model.input], [logits])([x])[0]
    np.testing.assert_allclose(np.exp(values) / np.exp(values).sum(1, keepdims=True), model.predict(x), rtol=1e-5)
    kernel, bias = model.layers[-1].weights
    assert (kernel.op.name, kernel.op.type) == ("dense_2/kernel", "VariableV2") and not kernel.op.inputs
    assert logits.op.inputs[1] is bias and model.input.op.type == "Placeholder"


def test_the_values_of_a_dict_are_outputs() -> None:
    model = _small()
    outputs = {layer.name: layer.output for layer in model.layers}
    assert [v.shape for v in K.function([model.input], outputs.values())([np.ones((2, 3))])] == [(2, 4)] * 3 + [(2, 2)]


def test_a_list_of_values_may_end_before_inputs_that_nothing_needs() -> None:
    """`f(model._standardize_user_data(x)[0])` of a function of inputs, targets and weights that computes a layer."""
    model, x = _small(), np.random.RandomState(0).rand(5, 3).astype("f")
    model.compile("sgd", "mse")
    inputs = model._feed_inputs + model._feed_targets + model._feed_sample_weights
    hidden = model.layers[0].output
    run = K.function([*inputs, K.learning_phase()], [hidden, model.output])
    for values in ([x], [x, np.zeros((5, 2)), np.ones(5), 0]):
        np.testing.assert_array_equal(run(values)[1], model.predict(x))
    of_loss = K.function(inputs, [hidden, model.total_loss])
    with pytest.raises(ValueError, match="takes 3 inputs .*received 1"):
        of_loss([x])
    assert of_loss([x, np.zeros((5, 2)), np.ones(5)])[1] > 0
    with pytest.raises(ValueError, match="takes 3 inputs .*received 0"):
        run([])


def test_values_that_are_missing_are_not_taken_from_elsewhere() -> None:
    """Neither what `feed_dict` has for another placeholder, nor the size of an input that is not there."""
    a, b, c = (K.placeholder((None, 2)) for _ in range(3))
    fed = K.function([a, b], [a + b], feed_dict={c: np.full((1, 2), 7.0)})
    sized = K.function([a, b], [a * K.cast(K.shape(b)[0], "float32")])
    for run in (fed, sized):
        with pytest.raises(ValueError, match="takes [23] inputs .*received [12]"):
            run([np.ones((1, 2))])
        assert run([np.ones((1, 2)), np.ones((1, 2))])[0].shape == (1, 2)


def test_the_static_shape_of_a_tensor_may_be_told() -> None:
    """`x.set_shape` is what custom cells call after operations that lose sizes."""
    x = K.placeholder((None, 3))
    y = 2 * x
    y.set_shape([4, None])
    assert K.int_shape(y) == (4, 3)
    assert K.function([x], [y])([np.ones((4, 3))])[0].shape == (4, 3)
    with pytest.raises(ValueError, match="needs"):
        K.function([x], [y])([np.ones((5, 3))])
    y.set_shape(None)
    assert K.int_shape(y) == (4, 3)
    for wrong in ((None, 4), (None,)):
        with pytest.raises(ValueError, match="has the shape"):
            y.set_shape(wrong)
