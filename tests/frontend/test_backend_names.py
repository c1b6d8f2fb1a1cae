"""What scripts find in `K`, besides functions of tensors: other names of it, a session, printing, helpful refusals."""
import importlib

import numpy as np
import pytest

import graphk
from graphk import backend as K
from graphk.backend import common, tensorflow_backend
from graphk.frontend.backend import session


def test_k_has_its_functions_and_nothing_else():
    public = {n for n in dir(K) if not n.startswith("_")}
    assert public == set(K.__all__) | {"common", "tensorflow_backend"} and len(set(K.__all__)) == len(K.__all__)
    assert all(getattr(tensorflow_backend, n) is getattr(K, n) for n in K.__all__)
    assert common.floatx is K.floatx and K._BACKEND == K.backend() == "tensorflow"


def test_k_by_the_names_that_scripts_import_it(monkeypatch):
    import sys
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in [n for n in sys.modules if n.split(".")[0] == "keras"]:
        monkeypatch.delitem(sys.modules, name)
    graphk.install_as_keras()
    assert importlib.import_module("keras.backend") is K
    assert importlib.import_module("keras.backend.tensorflow_backend") is tensorflow_backend
    assert K.tensorflow_backend._get_available_gpus() == K._get_available_gpus() == []
    for name in [n for n in sys.modules if n.split(".")[0] == "keras"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("name,message", [
    ("dev", "CNTK's device"),
    ("th_sparse_module", "Theano's module of sparse matrices. Use K.is_sparse"), ("pattern_broadcast", "Theano"),
    ("squere", "no `squere`: .* Did you mean `square`"), ("placeholders", "Did you mean `placeholder`")])
def test_names_that_k_lacks_say_what_to_use(name, message):
    assert not hasattr(K, name) and not hasattr(tensorflow_backend, name)
    with pytest.raises(AttributeError, match=message):
        getattr(K, name)


def test_optimizers_of_keras_2_3_are_marked_symbolic():
    class Mine(graphk.optimizers.SGD):
        @K.symbolic
        def get_updates(self, loss, params):
            return super().get_updates(loss, params)
    model = graphk.models.Sequential([graphk.layers.Dense(1, input_dim=2)])
    model.compile(Mine(), "mse")
    assert np.isfinite(model.train_on_batch(np.ones((2, 2)), np.ones((2, 1))))


def test_dtypes_by_name():
    assert K.dtype(K.cast(K.constant([1.5]), K.float64)) == "float64"
    assert K.dtype(K.variable(1., dtype=K.float16)) == K.float16


# ------------------------------------------------------------------ the session
def test_a_session_runs_what_it_is_given():
    x, v = K.placeholder((None, 2), name="x"), K.variable([1., 2.])
    run = K.get_session().run
    assert run(x * v, {x: [[3., 4.]]}).tolist() == [[3., 8.]]
    a, b = run([x + 1, K.sum(v)], feed_dict={x: np.zeros((1, 2))})
    assert a.tolist() == [[1., 1.]] and b == 3.
    run(K.update_add(v, [1., 1.]))
    assert run(v).tolist() == [2., 3.] == v.eval(session=K.get_session()).tolist()
    noisy = K.in_train_phase(x * 2, x)
    for phase, want in ((1, 2.), (0, 1.)):
        assert run(noisy, {x: [[1., 1.]], K.learning_phase(): phase}).tolist() == [[want, want]]
    with pytest.raises(ValueError, match="`session` depends on the placeholder `x`"):
        run(x + 1)


def test_a_session_remembers_functions_until_the_session_is_cleared():
    x = K.placeholder((2,))
    y = x + 1
    for _ in range(3):
        K.get_session().run(y, {x: [1., 2.]})
    assert len(session._session._functions) == 1
    K.clear_session()
    assert not session._session._functions


def test_tensors_evaluate_themselves():
    x = K.placeholder((None,))
    assert (x * 2).eval({x: [1., 2.]}).tolist() == [2., 4.]
    assert K.shape(K.ones((2, 3))).eval(session=K.get_session()).tolist() == [2, 3]


def test_shapes_read_as_tensorflow_reads_them():
    x, v = K.placeholder((None, 3)), K.zeros((2, 3))
    for shape in (x.shape, x.get_shape(), (x * v[:1]).shape):
        assert shape == (None, 3) and shape.as_list() == [None, 3] and shape.ndims == 2 and shape[1] == 3
    assert repr(v.shape) == "(2, 3)" and all(type(K.int_shape(t)) is tuple for t in (x, v, x * 2, K.zeros_like(x)))


# ------------------------------------------------------------------ printing
def test_print_tensor_prints_what_each_call_computes(capsys):
    x = K.placeholder((None,))
    shown = K.print_tensor(x * 2, "twice = ")
    f = K.function([x], [shown + 1, K.sum(x)])
    assert f([[1., 2.]])[0].tolist() == [3., 5.] and capsys.readouterr().out == "twice = [2. 4.]\n"
    assert f([[3.]])[1] == 3. and capsys.readouterr().out == "twice = [6.]\n"
    K.function([x], [x * 2])([[1.]])
    assert capsys.readouterr().out == "", "only what the returned tensor is used for prints"
    assert K.int_shape(shown) == (None,) and K.dtype(shown) == "float32"


def test_print_tensor_passes_gradients_and_prints_from_eval(capsys):
    x = K.placeholder((None,))
    slope = K.gradients(K.sum(K.square(K.print_tensor(x))), [x])[0]
    assert K.function([x], [slope])([[1., 3.]])[0].tolist() == [2., 6.] and capsys.readouterr().out == "[1. 3.]\n"
    assert K.eval(K.print_tensor(K.constant([1, 2], dtype="int32"), "n ")).tolist() == [1, 2]
    assert capsys.readouterr().out == "n [1 2]\n"


def test_print_tensor_prints_what_its_phase_computes(capsys):
    x = K.placeholder((None,))
    y = K.in_train_phase(K.print_tensor(x, "train "), K.print_tensor(x, "test "))
    f = K.function([x, K.learning_phase()], [y])
    f([[1.], 1])
    f([[2.], 0])
    assert capsys.readouterr().out == "train [1.]\ntest [2.]\n"


def test_print_tensor_in_a_loop_is_refused_by_name():
    x = K.placeholder((None,))
    for looped in (K.map_fn(lambda e: K.print_tensor(e) * 2, x),
                   K.foldl(lambda a, e: a + K.sum(K.map_fn(lambda z: K.print_tensor(z * e), K.ones((2,)))), x)):
        with pytest.raises(NotImplementedError, match="K.print_tensor was used inside a loop"):
            K.function([x], [looped])([[1., 2.]])
    with pytest.raises(NotImplementedError, match="inside a loop"):
        K.eval(K.map_fn(K.print_tensor, K.ones((2,))))
