"""Keras 1 calls: each gives the layer of the Keras 2 call beside it, and a warning that shows that call."""
import importlib
import warnings

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers, metrics
from graphk.layers import Dense
from graphk.legacy import interfaces
from graphk.models import Graph, Model, Sequential, model_from_json
from graphk.utils import np_utils

CASES = [
    ("Dense", (), {"output_dim": 2, "init": "normal", "W_regularizer": "l2", "b_constraint": "nonneg", "bias": True},
     "Dense", (2,), {"kernel_initializer": "normal", "kernel_regularizer": "l2", "bias_constraint": "nonneg"}),
    ("Dropout", (), {"p": 0.3}, "Dropout", (0.3,), {}),
    ("SpatialDropout2D", (0.3,), {"dim_ordering": "th"}, "SpatialDropout2D", (0.3,), {"data_format": "channels_first"}),
    ("GaussianNoise", (), {"sigma": 0.1}, "GaussianNoise", (0.1,), {}),
    ("GaussianDropout", (), {"p": 0.1}, "GaussianDropout", (0.1,), {}),
    ("PReLU", (), {"init": "one"}, "PReLU", (), {"alpha_initializer": "one"}),
    ("Embedding", (4, 3), {"init": "normal", "W_constraint": "nonneg", "dropout": 0.2}, "Embedding", (4, 3),
     {"embeddings_initializer": "normal", "embeddings_constraint": "nonneg"}),
    ("BatchNormalization", (), {"mode": 0, "beta_init": "one"}, "BatchNormalization", (), {"beta_initializer": "one"}),
    ("LSTM", (), {"output_dim": 3, "inner_init": "identity", "inner_activation": "sigmoid", "U_regularizer": "l1",
                  "forget_bias_init": "one", "dropout_W": 0.1, "dropout_U": 0.2, "consume_less": "gpu"},
     "LSTM", (3,), {"recurrent_initializer": "identity", "recurrent_activation": "sigmoid", "dropout": 0.1,
                    "recurrent_regularizer": "l1", "recurrent_dropout": 0.2, "implementation": 2}),
    ("GRU", (3,), {"input_dim": 4, "input_length": 5, "consume_less": "mem"}, "GRU", (3,), {"input_shape": (5, 4)}),
    ("Convolution1D", (5, 3), {"border_mode": "same", "subsample_length": 2}, "Conv1D", (5, 3),
     {"padding": "same", "strides": 2}),
    ("Convolution1D", (5,), {"filter_length": 3, "input_dim": 4, "input_length": 7}, "Conv1D", (5, 3),
     {"input_shape": (7, 4)}),
    ("Convolution2D", (5, 3, 4), {"border_mode": "same", "subsample": (2, 2), "dim_ordering": "tf"}, "Conv2D",
     (5, (3, 4)), {"padding": "same", "strides": (2, 2)}),
    ("Convolution2D", (5,), {"nb_row": 3, "nb_col": 4}, "Conv2D", (5, (3, 4)), {}),
    ("Convolution2D", (5, 3), {"nb_col": 4}, "Conv2D", (5, (3, 4)), {}),
    ("Convolution3D", (5, 3, 4, 2), {}, "Conv3D", (5, (3, 4, 2)), {}),
    ("Convolution3D", (5,), {"kernel_dim1": 3, "kernel_dim2": 4, "kernel_dim3": 2}, "Conv3D", (5, (3, 4, 2)), {}),
    ("AtrousConvolution2D", (5, 3, 3), {"atrous_rate": (2, 2)}, "Conv2D", (5, (3, 3)), {"dilation_rate": (2, 2)}),
    ("SeparableConv2D", (5, 3, 3), {"init": "normal"}, "SeparableConv2D", (5, (3, 3)),
     {"depthwise_initializer": "normal", "pointwise_initializer": "normal"}),
    ("Deconvolution2D", (5, 3, 3), {"output_shape": (None, 9, 9, 5), "subsample": (2, 2)}, "Conv2DTranspose",
     (5, (3, 3)), {"strides": (2, 2)}),
    ("Deconvolution2D", (5, 3, 3, (None, 9, 9, 5)), {"subsample": (2, 2)}, "Conv2DTranspose", (5, (3, 3)),
     {"strides": (2, 2)}),
    ("ConvLSTM2D", (5, 3, 3), {"inner_activation": "relu", "dropout_W": .2, "subsample": (2, 2)}, "ConvLSTM2D",
     (5, (3, 3)), {"recurrent_activation": "relu", "dropout": .2, "strides": (2, 2)}),
    ("SimpleRNN", (), {"output_dim": 5, "consume_less": "cpu"}, "SimpleRNN", (5,), {}),
    ("MaxPooling1D", (), {"pool_length": 3, "stride": 2, "border_mode": "same"}, "MaxPooling1D", (3,),
     {"strides": 2, "padding": "same"}),
    ("AveragePooling2D", ((2, 3),), {"dim_ordering": "th"}, "AveragePooling2D", ((2, 3),),
     {"data_format": "channels_first"}),
    ("UpSampling1D", (), {"length": 3}, "UpSampling1D", (3,), {}),
    ("ZeroPadding2D", (), {"padding": {"top_pad": 1, "right_pad": 2}}, "ZeroPadding2D", (((1, 0), (0, 2)),), {}),
    ("InputLayer", ((3,),), {"input_dtype": "int32"}, "InputLayer", ((3,),), {"dtype": "int32"}),
]


def config(layer):
    return {k: v for k, v in layer.get_config().items() if k != "name"}


@pytest.mark.parametrize("old, args, kwargs, new, now, named", CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_an_old_call_makes_the_new_layer(old, args, kwargs, new, now, named):
    with pytest.warns(UserWarning) as seen:
        layer = getattr(layers, old)(*args, **kwargs)
    assert any(f"Update your `{new}` call to the Keras 2 API: `{new}(" in str(w.message) for w in seen)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert config(layer) == config(getattr(layers, new)(*now, **named))


def test_old_beside_new_is_refused():
    with pytest.raises(TypeError, match="`output_dim`, the Keras 1 name, and `units`"):
        Dense(output_dim=3, units=3)
    with pytest.raises(TypeError, match="mode=2"):
        layers.BatchNormalization(mode=2)
    with pytest.raises(ValueError, match="`dim_ordering`.*'middle'"):
        layers.MaxPooling2D(dim_ordering="middle")


def test_subclasses_inherit_the_old_names():
    class Twice(Dense):
        pass
    with pytest.warns(UserWarning, match="Update your `Dense` call"):
        assert Twice(output_dim=3, input_dim=2).units == 3


class Theirs(layers.Layer):
    """A layer of another library."""

    @interfaces.legacy_dense_support
    def __init__(self, units, kernel_initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.units, self.kernel_initializer = units, kernel_initializer


def test_decorators_for_layers_of_other_libraries():
    with pytest.warns(UserWarning, match="Update your `Theirs` call .* `Theirs.*units=3") as seen:
        layer = Theirs(output_dim=3, init="one", input_shape=(2,))
    assert (layer.units, layer.kernel_initializer, layer.batch_input_shape) == (3, "one", (None, 2))
    assert seen[0].filename == __file__ and Theirs(4).units == 4


def small():
    model = Sequential([Dense(2, input_shape=(3,))])
    model.compile("sgd", "mse")
    return model


class Batches:
    """A generator that knows its batch size, as Keras 1's did."""

    batch_size = 4

    def __iter__(self):
        return self

    def __next__(self):
        return np.ones((4, 3), "float32"), np.ones((4, 2), "float32")


def warned(call):
    """The result of a call, and its warnings as one text."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = call()
    return result, "\n".join(str(w.message) for w in seen)


def test_generators_count_samples():
    model = small()
    old = {"samples_per_epoch": 12, "nb_epoch": 2, "max_q_size": 1, "nb_worker": 1, "verbose": 0}
    history, text = warned(lambda: model.fit_generator(Batches(), **old))
    assert "Update your `fit_generator` call" in text and "steps_per_epoch=3" in text
    assert history.epoch == [0, 1] and history.params["steps"] == 3
    history, text = warned(lambda: model.fit_generator(_endless(), samples_per_epoch=2, verbose=0))
    assert "has no `batch_size`" in text and history.params["steps"] == 2
    out, text = warned(lambda: model.predict_generator(_inputs(), val_samples=2))
    assert "Update your `predict_generator` call" in text and out.shape == (8, 2)


def _endless():
    while True:
        yield next(Batches())


def _inputs():
    for x, _ in _endless():
        yield x


def test_model_input_and_output():
    x = layers.Input((3,))
    y = Dense(2)(x)
    with pytest.warns(UserWarning, match=r"Update your `Model` call.*: `Model\(inputs=.*outputs=") as seen:
        assert Model(input=x, output=y).output_shape == (None, 2)
    assert seen[0].filename == __file__, "the warning names the user's own line"
    with pytest.warns(UserWarning, match="Update your `Model` call"):
        assert Model(x, output=[y, y]).output_names == ["dense_1", "dense_1_1"]
    with pytest.raises(TypeError, match="both `output`, the Keras 1 name, and `outputs`"):
        Model(x, output=y, outputs=y)


def test_layers_warn_at_the_users_line():
    with pytest.warns(UserWarning) as seen:
        Dense(output_dim=2)
    assert seen[0].filename == __file__


def test_show_accuracy_and_nb_epoch():
    x, y, model = np.ones((4, 3)), np.ones((4, 2)), small()
    for call in (lambda: model.fit(x, y, verbose=0, show_accuracy=True), lambda: model.evaluate(x, y, 2, 0,
                 show_accuracy=True), lambda: model.fit_generator(Batches(), 1, verbose=0, show_accuracy=False)):
        with pytest.warns(UserWarning, match="The `show_accuracy` argument of `(fit|evaluate)") as seen:
            call()
        assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match="The `nb_epoch` argument in `fit` has been renamed `epochs`") as seen:
        assert model.fit(x, y, nb_epoch=2, verbose=0).epoch == [0, 1]
    assert seen[0].filename == __file__


# ------------------------------------------------------------------ modules and functions of Keras 1
@pytest.mark.parametrize("module, names", [
    ("utils.visualize_util", "plot model_to_dot"), ("utils.training_utils", "multi_gpu_model"),
    ("regularizers", "l1l2 activity_l1 activity_l2 activity_l1l2 WeightRegularizer ActivityRegularizer"),
    ("utils.layer_utils", "layer_from_config"), ("preprocessing.text", "base_filter"),
    ("preprocessing.image", "apply_transform"), ("initializations", "get_fans lecun_uniform he_normal he_uniform one")])
def test_names_of_keras_1(module, names):
    assert all(hasattr(importlib.import_module(f"graphk.{module}"), name) for name in names.split())


def test_initializations_are_functions_that_make_variables():
    from graphk import initializations as old
    for name, std in (("glorot_uniform", .1), ("normal", .05), ("uniform", .0289), ("orthogonal", .11)):
        made = old.get(name)((100, 100), name="w")
        assert isinstance(made, K.variable(0).__class__) and made.name == "w:0"
        assert K.get_value(made).std() == pytest.approx(std, rel=.1)
    np.testing.assert_array_equal(K.eval(old.identity((2, 2), scale=3.)), 3 * np.eye(2))
    assert old.get(old.zero) is old.zero and K.eval(old.one((2,))).tolist() == [1., 1.]
    model = Sequential([Dense(2, kernel_initializer=old.get("he_normal"), input_shape=(3,))])
    assert model_from_json(model.to_json()).layers[0].kernel_initializer.scale == 2


def test_an_initializer_that_takes_keras_1s_name():
    from graphk.initializations import normal
    with pytest.warns(UserWarning, match="Update your `Dense` call"):
        layer = Dense(9, init=lambda shape, name: normal(shape, scale=0.01, name=name), input_shape=(90,))
    layer.build((None, 90))
    assert 0 < layer.get_weights()[0].std() < .02


def test_metrics_of_keras_1():
    true, found = np.array([1, 1, 1, 0, 0, 0, 0, 1.]), np.array([.9, .8, .1, .7, .2, .1, .3, .6])     # 3 1 1 3
    values = {name: K.eval(metrics.get(name)(K.constant(true), K.constant(found))) for name in
              ("precision", "recall", "fmeasure", "fbeta_score", "matthews_correlation")}
    assert values == pytest.approx({"precision": .75, "recall": .75, "fmeasure": .75, "fbeta_score": .75,
                                    "matthews_correlation": .5}, rel=1e-5)
    with pytest.raises(ValueError, match="beta is at least 0"):
        metrics.fbeta_score(K.constant(true), K.constant(found), -1)


def test_classes_of_keras_1():
    with pytest.warns(UserWarning, match=r"Update your `to_categorical` call to the Keras 2 API: `to_categorical\(\[0, "
                                         r"1\], num_classes=3\)`"):
        rows = np_utils.to_categorical([0, 1], nb_classes=3)
    np.testing.assert_array_equal(rows, np_utils.to_categorical(y=[0, 1], num_classes=3))
    assert np_utils.probas_to_classes(rows).tolist() == [0, 1]
    assert np_utils.probas_to_classes(np.array([[.2], [.7]])).tolist() == [0, 1]


def test_a_picture_looked_up_by_a_matrix():
    from graphk.preprocessing.image import apply_transform
    x = np.arange(12.).reshape(3, 4, 1)
    np.testing.assert_array_equal(apply_transform(x, np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]]), channel_axis=2)[0],
                                  x[1])


def test_the_mode_of_classes_that_keras_1_was_told():
    model = Sequential([Dense(1, activation="sigmoid", input_shape=(3,))])
    with pytest.warns(UserWarning, match="The `class_mode` argument of `compile` no longer exists and is ignored"):
        model.compile("sgd", "binary_crossentropy", class_mode="binary")
    assert model.loss == "binary_crossentropy"


def test_the_layout_of_pictures_by_keras_1s_name():
    from graphk.preprocessing.image import ImageDataGenerator, img_to_array
    with pytest.warns(UserWarning, match='Update your `ImageDataGenerator` call to the Keras 2 API: `ImageDataGenerator'
                                         r'\(data_format="channels_first"\)`'):
        assert ImageDataGenerator(dim_ordering="th").data_format == "channels_first"
    with pytest.warns(UserWarning, match="Update your `img_to_array` call"):
        assert img_to_array(np.zeros((4, 5, 3)), dim_ordering="th").shape == (3, 4, 5)


def test_an_interface_of_ones_own():
    def merged(args, kwargs):
        return args, {"c" if k == "a" else k: v for k, v in kwargs.items()}, []

    class Layer:
        @interfaces.generate_legacy_interface(["units", "mode"], [("output_dim", "units"), ("kind", "mode")], merged,
                                              {"kind": {"old": "new"}})
        def __init__(self, units, mode=None, c=None):
            self.got = units, mode, c
    with pytest.warns(UserWarning, match=r'Update your `Layer` call to the Keras 2 API: `Layer\(.*units=3'):
        assert Layer(output_dim=3, kind="old", a=3).got == (3, "new", 3)
    assert Layer(4, "m").got == (4, "m", None)
    with pytest.raises(TypeError, match=r"`Layer` can accept only 2 positional arguments \('units', 'mode'\)"):
        Layer(1, 2, 3)
    with pytest.raises(TypeError, match="received both the legacy keyword argument `output_dim` and the Keras 2"):
        Layer(output_dim=3, units=4)
    plain = interfaces.generate_legacy_interface(conversions=[("old", "new")], object_type="function")(lambda new: new)
    with pytest.warns(UserWarning, match="Update your"):
        assert plain(old=5) == 5


def test_look_ups_of_keras_1():
    from graphk import optimizers
    from graphk.engine.training import slice_X
    from graphk.utils.generic_utils import get_from_module
    assert [a.tolist() for a in slice_X([np.arange(4), np.arange(4) * 2], 1, 3)] == [[1, 2], [2, 4]]
    table = {"Dense": Dense}
    assert get_from_module("Dense", table, "layer") is Dense and get_from_module(3, table, "layer") == 3
    made = get_from_module({"name": "Dense", "units": 2}, table, "layer", kwargs={"use_bias": False})
    assert made.units == 2 and not made.use_bias
    assert get_from_module("Dense", table, "layer", True, {"units": 5}).units == 5
    with pytest.raises(ValueError, match="Invalid layer: Dens. Did you mean `Dense`?"):
        get_from_module("Dens", table, "layer")
    assert optimizers.optimizer_from_config({"class_name": "SGD", "config": {"lr": .5}}).get_config()["lr"] == .5


def test_a_graph_of_keras_1():
    g = Graph()
    g.add_input("a", input_shape=(3,))
    g.add_input("b", input_shape=(3,))
    g.add_shared_node(Dense(4), "both", ["a", "b"], outputs=["of_a", "of_b"])
    g.add_node(Dense(2), "joined", inputs=["of_a", "of_b"], merge_mode="sum")
    g.add_node(Dense(1), "second", input="of_b", create_output=True)
    g.add_output("y", inputs=["joined", "of_a"])
    g.compile("sgd", {"y": "mse", "second": "mae"})
    rng = np.random.RandomState(0)
    data = {"a": rng.rand(8, 3), "b": rng.rand(8, 3), "y": rng.rand(8, 6), "second": rng.rand(8, 1)}
    before = g.evaluate(data, verbose=0)
    history = g.fit(data, epochs=8, verbose=0, validation_data=data).history
    assert history["val_loss"][-1] < before[0] and g.test_on_batch(data)[0] < before[0]
    g.train_on_batch(data)
    got = g.predict(data)
    assert list(got) == ["second", "y"] and got["y"].shape == (8, 6) and got["second"].shape == (8, 1)
    assert g.nodes["joined"].name == "joined" and g.count_params() == g.model.count_params()
    for wrong, words in ((lambda: g.add_input("a", (3,)), "has a node `a` already"),
                         (lambda: g.add_node(Dense(1), "n", input="joind"), "reads `joind`.* Did you mean `joined`?"),
                         (lambda: g.add_node(Dense(1), "n"), "reads nothing"), (lambda: Graph().model, "no output")):
        with pytest.raises(ValueError, match=words):
            wrong()


@pytest.mark.parametrize("call,today", [
    (lambda: K.random_normal((3, 2), mean=1., std=2., seed=1), lambda: K.random_normal((3, 2), 1., 2., seed=1)),
    (lambda: K.random_uniform((3,), low=1., high=2., seed=1), lambda: K.random_uniform((3,), 1., 2., seed=1)),
    (lambda: K.pool2d(K.ones((1, 2, 3, 3)), (2, 2), border_mode="same", dim_ordering="th"),
     lambda: K.pool2d(K.ones((1, 2, 3, 3)), (2, 2), padding="same", data_format="channels_first")),
    (lambda: K.conv2d(K.ones((1, 3, 3, 1)), K.ones((2, 2, 1, 2)), border_mode="same", dim_ordering="tf"),
     lambda: K.conv2d(K.ones((1, 3, 3, 1)), K.ones((2, 2, 1, 2)), padding="same")),
    (lambda: K.spatial_2d_padding(K.ones((1, 2, 3, 3)), ((1, 0), (0, 1)), dim_ordering="th"),
     lambda: K.spatial_2d_padding(K.ones((1, 2, 3, 3)), ((1, 0), (0, 1)), data_format="channels_first"))])
def test_functions_of_k_take_the_names_of_keras_1(call, today):
    with pytest.warns(UserWarning, match="Update your `.*` call to the Keras 2 API"):
        got = call()
    np.testing.assert_array_equal(K.eval(got), K.eval(today()))
