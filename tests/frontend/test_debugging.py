"""`graphk.debug`: the first NaN, its op, layer and line; variables as they were; nothing while it is off."""
import numpy as np
import pytest

import graphk
from graphk import backend as K
from graphk.frontend import function as functions
from graphk.layers import Dense, Dropout, Lambda
from graphk.models import Sequential


@pytest.fixture(params=["cpu", "interp"], autouse=True)
def executor(request, monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", request.param)
    yield request.param
    functions.CHECKED[0] = None


def test_a_log_of_zero_in_training_is_named():
    np.random.seed(0)
    model = Sequential([Dense(4, activation="relu", input_shape=(3,), name="hidden"), Dropout(0.25),
                        Lambda(lambda t: K.log(t) * t, name="bad_log"), Dense(1, name="out")])
    model.compile("adam", "mse")
    x, y = np.random.RandomState(0).randn(8, 3), np.ones((8, 1))
    model._make_train_function()
    state = [*model.get_weights(), *model.optimizer.get_weights()]
    with graphk.debug(nan=True), pytest.raises(FloatingPointError) as error:
        model.fit(x, y, verbose=0)
    said = str(error.value)
    assert said.startswith("NaN in output 0 of `train_function`; the variables have their values from before")
    assert "`log` f32[n,4] (layer `bad_log`, test_debugging.py:" in said and "made -inf" in said
    assert "there\n" in said
    assert "The first NaN: `mul`" in said
    now = [*model.get_weights(), *model.optimizer.get_weights()]
    assert all(np.array_equal(a, b) for a, b in zip(state, now))
    model.train_on_batch(x, y)                                              # off again
    assert np.isnan(model.get_weights()[0]).any()


def test_what_is_finite_passes_and_trains_the_same():
    def weights(watch):
        np.random.seed(1)
        model = Sequential([Dense(3, input_shape=(2,), name=f"d{watch}"), Dropout(0.5, seed=5)])
        model.compile("sgd", "mse")
        model.set_weights([np.ones((2, 3)), np.zeros(3)])
        x, y = np.random.RandomState(2).randn(6, 2), np.zeros((6, 3))
        if watch:
            with graphk.debug():
                model.train_on_batch(x, y)
        else:
            model.train_on_batch(x, y)
        return model.get_weights()[0].shape
    assert weights(True) == weights(False)


def test_a_step_of_a_loop_is_named():
    x = K.placeholder(shape=(None, 5, 2))
    _, outs, _ = K.rnn(lambda t, s: (K.log(t - s[0]), [s[0] + 0.3]), x, [K.zeros_like(x[:, 0])])
    f = K.function([x], [K.sum(outs)])
    with graphk.debug(nan=True), pytest.raises(FloatingPointError, match="`log` .*, in trip 5 of a loop made NaN"):
        f([np.ones((2, 5, 2))])


def test_a_variable_that_becomes_infinite_keeps_its_value():
    v = K.variable([1., 2.], name="v")
    f = K.function([], [], updates=[K.update(v, v / K.constant([0., 1.]))])
    with graphk.debug(nan=True), pytest.raises(FloatingPointError, match="inf in the new value of the variable `v"):
        f([])
    assert K.get_value(v).tolist() == [1., 2.]


def test_given_nans_are_named():
    x = K.placeholder(shape=(None, 2), name="fed")
    f = K.function([x], [x + 1])
    with graphk.debug(), pytest.raises(FloatingPointError, match="`fed.*` had NaN in it before the call"):
        f([[[1., np.nan]]])


def test_it_is_a_switch_and_nests():
    x = K.placeholder(shape=(None,))
    f = K.function([x], [K.log(x)])
    graphk.debug(nan=True)
    with graphk.debug(nan=False):
        assert np.isneginf(f([[0.]])[0]).all()
    with pytest.raises(FloatingPointError, match="-inf in output 0"):
        f([[0.]])
    graphk.debug(nan=False)
    assert functions.CHECKED[0] is None and np.isneginf(f([[0.]])[0]).all()
    with pytest.raises(TypeError, match="expected True or False, received 3"):
        graphk.debug(nan=3)
