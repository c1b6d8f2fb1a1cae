"""What published scripts rely on beside Keras's documentation: lists, star imports, old names, sessions' variables."""
import copy
import enum
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from graphk import backend as K
from graphk.layers import Conv2D, Dense, Input, concatenate
from graphk.models import Model, Sequential

tf = K.tf


def test_a_list_of_inputs_may_grow_after_the_call():
    """As in the dense blocks of DenseNets."""
    features = [Input((3,))]
    x = features[0]
    for _ in range(2):
        features.append(Dense(2)(x))
        x = concatenate(features)
    model = Model(features[0], x)
    assert model.output_shape == (None, 7)
    again = Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    v = np.random.rand(4, 3)
    np.testing.assert_array_equal(again.predict(v), model.predict(v))


@pytest.mark.parametrize("module, names", [
    ("layers", "K np activations initializers regularizers constraints InputSpec Layer"), ("models", "K np Input"),
    ("callbacks", "K np os time json warnings"), ("optimizers", "K"), ("preprocessing.image", "K np os")])
def test_star_imports_hand_on_what_keras_handed_on(module, names):
    found = {}
    exec(f"from graphk.{module} import *", found)
    assert not set(names.split()) - set(found)


def test_a_name_is_the_text_that_is_written():
    """As `layer.name is "conv_2"` of class activation maps asks."""
    assert Dense(2, name="conv" + str(2)).name is sys.intern("conv2")
    for text in (enum.Enum("Names", {"FIRST": "conv2"}, type=str).FIRST, np.str_("conv2")):
        assert Dense(2, name=text).name is sys.intern("conv2")


def test_names_of_keras_1_that_moved():
    from graphk.engine.training import collect_trainable_weights
    from graphk.utils.np_utils import conv_output_length
    model = Sequential([Dense(2, input_dim=3)])
    assert collect_trainable_weights(model) == model.trainable_weights
    assert conv_output_length(9, 3, "same", 2) == 5


def test_the_penalty_on_the_largest_singular_value():
    from graphk import regularizers
    w = np.random.RandomState(0).rand(6, 4).astype("float32")
    penalty = regularizers.EigenvalueRegularizer(.5)
    np.testing.assert_allclose(K.eval(penalty(K.constant(w))), .5 * np.linalg.svd(w)[1][0], rtol=1e-5)
    assert regularizers.get(regularizers.serialize(penalty)).k == .5
    with pytest.raises(ValueError, match="takes a matrix"):
        penalty(K.constant([1.]))


@pytest.mark.parametrize("th", [False, True])
def test_set_input_begins_a_model_on_a_tensor(th):
    K.set_image_dim_ordering("th" if th else "tf")
    try:
        shape = (3, 8, 8) if th else (8, 8, 3)
        base, x = K.variable(np.ones((1, *shape))), K.placeholder((1, *shape))
        first = Conv2D(4, 3, padding="same")
        first.set_input(K.concatenate([base, x], axis=0), (2, *shape))
        model = Sequential()
        model.add(first)
        model.add(Conv2D(2, 3, padding="same"))
        loss = K.sum(K.square(model.output[0] - model.output[1]))
        value, slope = K.function([x], [loss, *K.gradients(loss, x)])([np.ones((1, *shape))])
        assert value == 0 and slope.shape == (1, *shape)
    finally:
        K.set_image_dim_ordering("tf")


def test_sizes_have_the_value_that_tensorflow_1_gave_them():
    x = K.placeholder((None, 4, None))
    assert x.shape[1].value == x.get_shape()[1]._value == 4 and x.shape[0] is None
    assert type(x.shape[1]) is tf.Dimension and type(x.get_shape().as_list()[1]) is int
    assert {type(d) for t in (x, x * 2, K.ones((2, 3))) for d in K.int_shape(t)} == {int, type(None)}
    x.set_shape((None, None, 3))
    assert x.shape == (None, 4, 3)
    with pytest.raises(ValueError, match="which is not"):
        x.set_shape((None, 5, 3))
    assert K.function([x], [x * 2])([np.ones((2, 4, 3))])[0].shape == (2, 4, 3)
    with pytest.raises(ValueError):
        K.function([x], [x * 2])([np.ones((2, 4, 2))])


def test_the_sixth_argument_of_batch_normalization_was_epsilon():
    x, ones, zeros = K.constant([[3.]]), K.ones((1,)), K.zeros((1,))
    assert K.eval(K.batch_normalization(x, zeros, ones, zeros, ones, 8.)).tolist() == [[1.]]


def test_an_optimizer_takes_the_slope_of_one_tensor():
    model = Sequential([Dense(2, input_dim=3, use_bias=False)])
    model.compile("sgd", "mse")
    slope, = model.optimizer.get_gradients(model.output[:, 1], model.input)
    w = model.get_weights()[0]
    np.testing.assert_allclose(K.function([model.input], [slope])([np.ones((2, 3))])[0], [w[:, 1]] * 2)


def test_variables_get_their_first_values_again():
    model = Sequential([Dense(3, input_dim=2, bias_initializer="ones"), Dense(1, kernel_initializer="zeros")])
    model.compile("adam", "mse")
    session = K.get_session()
    v = K.variable([[1., 2.]])
    before = model.get_weights()
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    session.run(v.assign(v.value() * 3))
    assert K.get_value(v).tolist() == [[3., 6.]] and K.get_value(model.optimizer.iterations) == 1
    model.layers[0].bias.initializer.run(session=session)
    assert model.get_weights()[1].tolist() == [1., 1., 1.]
    found = session.run({"a": [tf.global_variables_initializer(), K.constant(2.)],
                         "b": tf.local_variables_initializer()})
    assert found == {"a": [None, 2.], "b": None}
    assert K.get_value(v).tolist() == [[1., 2.]] and K.get_value(model.optimizer.iterations) == 0
    assert (model.get_weights()[0] != before[0]).all() and not model.get_weights()[2].any()
    v.load([[7., 8.]], session)
    assert session.run([v.assign_sub(1.), v])[0].tolist() == [[6., 7.]]
    assert v in tf.global_variables() and v in tf.trainable_variables()


def test_first_values_are_variables_own_until_the_session_is_cleared():
    given = np.array([[1., 2.]], "float32").view(type("Own", (np.ndarray,), {}))
    v = K.variable(given)
    given[:] = 9
    v.load([[3., 4.]])
    v.initializer.run()
    assert v.eval().tolist() == [[1., 2.]]
    K.clear_session()
    assert v not in tf.global_variables()
    v.load([[3., 4.]])
    K.get_session().run(tf.global_variables_initializer())
    assert v.eval().tolist() == [[3., 4.]]
    with pytest.raises(ValueError, match="is not known"):
        v.initializer.run()


# Five steps from [1, -2, 3] down sum(v³), as TensorFlow 2.21 makes them
STEPS = [("GradientDescent", {}, [0.35004467, -4157.5825, 0.2156763]),
         ("Momentum", {"momentum": .8}, [-0.54103357, -18636.309, -76.201408]),
         ("Momentum", {"momentum": .8, "use_nesterov": True}, [-0.36807835, -44220712., -59658.539]),
         ("Adam", {}, [0.51996398, -2.5022182, 2.504041]),
         ("RMSProp", {"momentum": .3}, [0.30378091, -3.6314795, 1.8040797]),
         ("Adagrad", {}, [0.71766055, -2.3411155, 2.6897352])]


@pytest.mark.parametrize("name, settings, expected", STEPS)
def test_train_ops_step_as_tensorflow_does(name, settings, expected):
    v, count = K.variable([1., -2., 3.]), K.variable(0, dtype="int64")
    optimizer = getattr(tf.train, name + "Optimizer")(learning_rate=.1, **settings)
    loss = K.sum(K.square(v) * v)
    step = optimizer.minimize(loss, global_step=count)
    for _ in range(5):
        K.get_session().run([step, loss])
    np.testing.assert_allclose(K.get_value(v), expected, rtol=1e-5)
    assert K.get_value(count) == 5
    with pytest.raises(TypeError, match="takes learning_rate"):
        getattr(tf.train, name + "Optimizer")(.1, speed=2)
    with pytest.raises(ValueError, match="No gradients"):
        optimizer.minimize(K.constant(1.), var_list=[v])


def test_a_function_of_python_may_be_a_metric():
    def spread(y_true, y_pred):
        return tf.py_func(lambda a, b: np.ptp(a) + 10 * np.ptp(b), (y_true, y_pred), tf.double)
    model = Sequential([Dense(1, input_dim=2)])
    model.compile("sgd", "mse", metrics=[spread, "mae"])
    x, y = np.random.rand(20, 2), np.arange(20.)
    found = model.evaluate(x, y, batch_size=20, verbose=0)[1]
    assert found == pytest.approx(19 + 10 * np.ptp(model.predict(x)), rel=1e-5)
    assert "val_spread" in model.fit(x, y, validation_data=(x, y), verbose=0).history
    with pytest.raises(TypeError, match="one number"):
        tf.py_func(np.sum, [K.constant(1.)], [tf.float32, tf.float32])


def test_a_gpu_that_is_not_there_is_passed_over():
    from graphk.runtime.device import gpu_count
    missing = f"/gpu:{gpu_count()}"
    with pytest.warns(UserWarning, match="no such GPU"), tf.device(missing):
        x = Input((2,))
        y = Dense(1)(x)
    with tf.device("/cpu:0"), tf.device(None):
        model = Model(x, y)
    assert model.predict(np.ones((1, 2))).shape == (1, 1)
    with pytest.raises(ValueError, match="unknown value"):
        tf.device("/tpu:0")


def test_tensorboard_writes_where_tensorflow_means_graphk(tmp_path):
    """Its package would take what it finds as `tensorflow` for the whole of it."""
    pytest.importorskip("tensorboard")
    script = textwrap.dedent("""
        import graphk
        graphk.install_as_keras(tensorflow=True)
        import numpy as np
        from keras.callbacks import TensorBoard
        from keras.layers import Dense
        from keras.models import Sequential
        m = Sequential([Dense(1, input_dim=2)])
        m.compile("sgd", "mse")
        m.fit(np.ones((4, 2)), np.ones(4), verbose=0, callbacks=[TensorBoard("logs")])
        """)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=300)
    assert list((tmp_path / "logs").iterdir())


def test_copies_of_variables_know_a_first_value_too():
    v, layer = K.variable([1., 2.]), Dense(2, input_dim=2)
    v.load([3., 4.])
    Sequential([layer])
    found, away = copy.deepcopy(v), pickle.loads(pickle.dumps(v))
    copied = copy.deepcopy(layer)
    for x in (found, away, copied.bias):
        x.load([5., 6.])
    before = K.get_value(copied.kernel)
    K.get_session().run(tf.global_variables_initializer())
    assert [K.get_value(x).tolist() for x in (v, found, away, copied.bias)] == [[1, 2], [1, 2], [3, 4], [0, 0]]
    assert (K.get_value(copied.kernel) != before).all()


def test_what_optimizers_keep_is_not_trained_and_arguments_stand_where_they_did():
    v = K.variable([3.])
    before = len(tf.trainable_variables())
    step = tf.train.AdamOptimizer(.1).minimize(K.sum(K.square(v)), var_list=v)
    assert len(tf.trainable_variables()) == before and len(step.updates) == 4
    settings = tf.train.MomentumOptimizer(.1, .9, True).settings       # the third is `use_locking`
    assert not settings["use_nesterov"] and settings["momentum"] == .9
    with pytest.raises(TypeError, match="received 1 values and speed"):
        tf.train.AdagradOptimizer(.1, speed=2)
