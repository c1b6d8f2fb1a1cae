"""Sparse matrices where Keras takes them: they give what the dense arrays give, and batches alone are written out."""
import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from graphk import backend as K
from graphk.layers import Concatenate, Dense, Input
from graphk.models import Model, Sequential

FORMATS = ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"]


def matrix(rows, columns, form="csr", seed=0, dtype="float64"):
    return sparse.random(rows, columns, density=.4, format=form, rng=np.random.default_rng(seed), dtype=dtype)


def model(seed=1, loss="mse", units=2, sparse_input=True):
    np.random.seed(seed)
    m = Sequential([Dense(4, activation="tanh", input_shape=(6,)), Dense(units)])
    if sparse_input:
        x = Input((6,), sparse=True)
        m = Model(x, m(x))
    m.compile("sgd", loss, metrics=["mae"])
    return m


# ------------------------------------------------------------------ K
def test_what_is_sparse():
    x, d = K.placeholder((2, 2), sparse=True), K.placeholder((2, 2), sparse=False)
    v = K.variable(matrix(3, 2))
    assert K.is_sparse(x) and K.is_sparse(v) and K.is_sparse(Input((2,), sparse=True)) and not K.is_sparse(d)
    assert K.is_sparse(K.concatenate([x, x])) and not K.is_sparse(K.concatenate([x, d])) and not K.is_sparse(x * 2)
    dense = K.to_dense(x)
    assert not K.is_sparse(dense) and K.int_shape(dense) == (2, 2) and K.to_dense(d) is d
    assert K.int_shape(x) == x._keras_shape == (2, 2) and K.ndim(K.placeholder(ndim=2, sparse=True)) == 2


@pytest.mark.parametrize("form", FORMATS)
def test_variables_and_values(form):
    m = matrix(3, 4, form)
    v = K.variable(m)
    assert K.dtype(v) == "float32" and K.dtype(K.variable(m, dtype="float64")) == "float64"
    for got in (K.eval(v), K.get_value(v), K.eval(K.to_dense(v))):
        np.testing.assert_allclose(got, m.toarray(), rtol=1e-6)
    K.set_value(v, (m * 2).asformat(form))
    np.testing.assert_allclose(K.eval(v), 2 * m.toarray(), rtol=1e-6)


def test_products_and_joins_equal_dense_ones():
    a, b, w = matrix(3, 4), matrix(3, 4, seed=1), np.random.rand(4, 2)
    np.testing.assert_allclose(K.eval(K.dot(K.variable(a), K.variable(w))), a.toarray() @ w, rtol=1e-5)
    for axis in (0, 1, -1):
        np.testing.assert_allclose(K.eval(K.to_dense(K.concatenate([K.variable(a), K.variable(b)], axis))),
                                   np.concatenate([a.toarray(), b.toarray()], axis), rtol=1e-6)


@pytest.mark.parametrize("form", FORMATS)
def test_functions_take_matrices(form):
    x, d = K.placeholder((None, 4), sparse=True), K.placeholder((None, 4))
    f = K.function([x, d], [K.dot(x, K.ones((4, 2))) + K.sum(d)])
    a, b = matrix(3, 4, form), matrix(3, 4, form, seed=1)
    want = a.toarray().sum(1, keepdims=True) + b.toarray().sum() + np.zeros((3, 2))
    for given in ([a, b], [a.toarray(), b], [a, b.toarray()]):
        np.testing.assert_allclose(f(given)[0], want, rtol=1e-5)
    with pytest.raises(ValueError, match="expected 4"):
        f([matrix(3, 5, form), b])


def test_ctc_labels():
    labels = K.ctc_label_dense_to_sparse(K.constant([[3, 1, 9], [2, 9, 9]]), K.constant([2, 1], dtype="int32"))
    assert K.is_sparse(labels) and K.dtype(labels) == "int32"
    assert K.eval(K.to_dense(labels)).tolist() == [[3, 1, 0], [2, 0, 0]]


# ------------------------------------------------------------------ models
@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("sparse_input", [True, False])
def test_training_and_prediction_equal_dense_ones(form, sparse_input):
    x, y = matrix(10, 6, form), np.random.rand(10, 2)

    def history(x):
        m = model(sparse_input=sparse_input)
        np.random.seed(5)
        h = m.fit(x, y, batch_size=4, epochs=2, verbose=0, validation_split=.2).history
        return {**h, "on_batch": [m.train_on_batch(x, y), m.test_on_batch(x, y)], "p": m.predict(x, batch_size=3),
                "p1": m.predict_on_batch(x), "e": m.evaluate(x, y, batch_size=3, verbose=0)}
    got, want = history(x), history(x.toarray())
    assert set(got) == set(want)
    for k in want:
        np.testing.assert_allclose(got[k], want[k], rtol=1e-5, err_msg=k)


def test_several_inputs_sparse_targets_and_class_weights():
    a, b, x = Input((6,), sparse=True), Input((6,), sparse=True), matrix(8, 6)
    joined = Concatenate()([a, b])
    m = Model([a, b], Dense(3, activation="softmax")(joined))
    m.compile("sgd", "categorical_crossentropy")
    start = m.get_weights()
    y = np.eye(3)[np.arange(8) % 3]
    losses = []
    for given in (sparse.csr_matrix(y), y):
        m.set_weights(start)
        losses.append([m.train_on_batch([x, x], given, class_weight={0: 1., 1: 2., 2: 3.}),
                       m.fit([x, x], given, verbose=0, shuffle=False).history["loss"][0]])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_only_batches_are_written_out(monkeypatch):
    written, real = [], sparse.csr_matrix.toarray
    monkeypatch.setattr(sparse.csr_matrix, "toarray", lambda self: written.append(self.shape) or real(self))
    m, x, y = model(), sparse.csr_matrix(matrix(10, 6)), np.random.rand(10, 2)
    m.fit(x, y, batch_size=4, epochs=1, verbose=0)
    m.predict(x, batch_size=5)
    assert written == [(4, 6), (4, 6), (2, 6), (5, 6), (5, 6)]
    with pytest.raises(ValueError, match=r"to have shape \(6,\) but got array with shape \(2000000,\)"):
        m.predict(sparse.csr_matrix((50_000, 2_000_000)))


def test_the_config_keeps_it():
    m = model()
    config = m.get_config()
    assert config["layers"][0]["config"]["sparse"] is True
    assert K.is_sparse(Model.from_config(config).inputs[0])


def test_scipy_is_imported_by_nobody_but_the_user():
    code = "import sys, numpy, graphk; from graphk.models import Sequential; from graphk.layers import Dense\n" \
           "m = Sequential([Dense(1, input_shape=(2,))]); m.compile('sgd', 'mse'); m.predict(numpy.ones((1, 2)))\n" \
           "print('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
