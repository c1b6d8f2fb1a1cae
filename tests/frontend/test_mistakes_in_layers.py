"""What users get wrong about layers: each error names the layer, and a call that failed leaves nothing behind."""

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk import optimizers, regularizers
from graphk.frontend.engine import network
from graphk.models import Model, Sequential


def inp(*shape):
    return L.Input(shape, name="inp")


class WrongCall(L.Layer):
    def call(self, x):
        return K.dot(x, K.ones((7, 2)))


def own(**methods):
    return type("Own", (L.Layer,), methods)


def again(layer, *shapes):
    for shape in shapes:
        layer(L.Input(shape))


def two():
    a, b = L.Input((3,), name="a"), L.Input((4,), name="b")
    return Model([a, b], L.Dense(2, name="d")(L.concatenate([a, b])), name="two")


def called(layer, *shape):
    layer(inp(*(shape or (3,))))
    return layer


def cell(size, call):
    return own(state_size=size, call=call)()


CASES = {
    # the layer, where the message of what went wrong inside does not have it
    "call": (lambda: WrongCall(name="mine")(inp(3)), ValueError,
             "(in the WrongCall layer `mine`, called on inputs of shape (None, 3))"),
    "regularizer": (lambda: L.Dense(2, kernel_regularizer=lambda w: K.sum(w, 0), name="d")(inp(3)), TypeError,
                    "Layer d: the regularizer of the weight `kernel` returned a value of shape (2,); expected one"),
    "build": (lambda: L.GRU(3, name="mem")(inp(4, None)), ValueError, "in the GRU layer `mem`, called on inputs of"),
    "keyword of a call": (lambda: L.Dropout(.5, name="dr")(inp(3), trainig=True), TypeError, "layer `dr`"),
    "two tensors": (lambda: L.Add(name="sum")(inp(3), inp(3)), TypeError, "Layer sum takes its inputs as one argument; "
                    "received 2"),
    "two tensors for a model": (lambda: Sequential([L.Dense(2, input_shape=(3,))], name="net")(inp(3), inp(3)),
                                TypeError, "Layer net takes its inputs as one argument"),
    "input length": (lambda: L.Embedding(5, 2, input_length=4, name="emb")(inp(5)), ValueError, "layer `emb`"),
    "argument left out": (lambda: L.Conv2D(32, name="conv"), TypeError, "'kernel_size' (in Conv2D `conv`)"),
    "argument without name": (lambda: L.Conv2D(32), TypeError, "'kernel_size' (in Conv2D)"),
    "window": (lambda: L.Conv2D(2, (3, 3, 3), name="conv"), ValueError, "(in Conv2D `conv`)"),
    "units of the cell": (lambda: L.LSTM("3", name="mem"), ValueError, "(in LSTM `mem`)"),
    # arguments
    "permutation": (lambda: L.Permute(2), ValueError, "Invalid permutation `dims` for Permute Layer: 2."),
    "axis of a name": (lambda: L.BatchNormalization("c", name="bn"), TypeError,
                       "BatchNormalization layer bn: `axis` must be an integer, the number of an axis; received 'c'"),
    "tensors for arguments": (lambda: L.Concatenate([inp(3), inp(3)], name="cat"), TypeError,
                              "Make the layer first, then call it: Concatenate(...)(tensor)"),
    "tensor for units": (lambda: L.Dense(inp(3), name="d"), ValueError, "then call it: Dense(...)(tensor)"),
    "tensor for a layout": (lambda: L.Flatten(inp(3)), ValueError, "The `data_format` argument must be one of"),
    "noise of text": (lambda: L.GaussianNoise("a", name="n"), TypeError, "layer n: `stddev` must be a number"),
    "rate of text": (lambda: L.GaussianDropout("a", name="n"), TypeError, "layer n: `rate` must be a number"),
    "dropout of text": (lambda: L.LSTM(3, dropout="a", name="mem"), TypeError, "`dropout` must be a number; received"),
    "window of text": (lambda: L.Conv2D(2, "3", name="c"), ValueError, "tuple of 2 integers. Received: '3' (in Conv2D"),
    "layout of images": (lambda: L.Conv2D(2, 5, name="conv")(inp(3, 32, 32)), ValueError,
                         "do not fit into inputs of the shape (None, 3, 32, 32) (channels_last)"),
    "window of ConvLSTM2D": (lambda: L.ConvLSTM2D(2, 5, name="conv")(inp(2, 4, 4, 3)), ValueError,
                             "windows of (5, 5) do not fit into inputs of the shape (None, 2, 4, 4, 3)"),
    "dtype": (lambda: L.Input((3,), dtype="flot32"), TypeError, "'flot32', which is no dtype. Did you mean `float32`"),
    "cell": (lambda: L.RNN(3), ValueError, "`cell` should have a `call` method. The RNN was passed: 3."),
    "class of a cell": (lambda: L.RNN(L.LSTMCell), ValueError, "received the class LSTMCell. Write LSTMCell(units)."),
    "axes of Dot": (lambda: L.Dot("1", name="dot"), TypeError, "list or an int. Received: '1' (in Dot `dot`)"),
    "layer for activation": (lambda: L.Dense(3, activation=L.LeakyReLU), ValueError,
                             "Add LeakyReLU() as a layer of its"),
    "name of a layer for activation": (lambda: L.Activation("leakyrelu"), ValueError,
                                       "add LeakyReLU() after this one."),
    "name": (lambda: L.Dense(3, name=5), TypeError, "The `name` of a layer or model must be a text; received 5."),
    "layers one by one": (lambda: Sequential(L.Flatten(), L.Dense(3)), TypeError, "`name` of a layer or model must be"),
    # shapes
    "sequences wanted": (lambda: Sequential([L.LSTM(3, input_shape=(4, 3), name="a"), L.LSTM(3, name="b")]), ValueError,
                         "layer b: expected ndim=3, found ndim=2 (shape (None, 3), the output of a). Set "
                         "return_sequences=True in the layer a."),
    "an axis too few": (lambda: L.Conv2D(2, 3, name="conv")(inp(28, 28)), ValueError,
                        "Declare inputs of 3 axes, not counting the batch: input_shape=(..., ..., ...)."),
    "an axis too few inside": (lambda: L.GRU(3)(L.Dense(2)(inp(3))), ValueError, "with Reshape or RepeatVector."),
    "an axis too many": (lambda: L.RepeatVector(3, name="r")(inp(4, 3)), ValueError,
                         "Put Flatten, Reshape or a global"),
    "inputs too many": (lambda: L.Dense(3, name="d")([inp(3), inp(3)]), ValueError,
                        "Join them first, with concatenate"),
    "layer for tensor": (lambda: L.Dense(3)(L.Dense(2, name="e")), ValueError, "For the layer `e`, pass its output."),
    "mask": (lambda: L.Flatten(name="f")(L.Embedding(5, 3, mask_zero=True)(inp(4))), TypeError,
             "mask_zero=True before"),
    # layers of the user's own
    "open weight": (lambda: own(build=lambda s, shape: s.add_weight("w", shape))(name="mine")(inp(3)), ValueError,
                    "Layer mine: the weight `w` was asked for in the shape (None, 3); expected integers that"),
    "initializer": (lambda: L.Dense(3, kernel_initializer=lambda s: np.ones((2, 2)), name="d")(inp(3)), ValueError,
                    "Layer d: the initializer of the weight `kernel` gave an array of shape (2, 2); expected (3, 3)."),
    "no super": (lambda: own(__init__=lambda s: None)()(inp(3)), RuntimeError,
                 "Begin it with `super(Own, self).__init__"),
    "weight before super": (lambda: own(__init__=lambda s: s.add_weight("w", (3,)) and None)(), RuntimeError,
                            "The layer class Own has an `__init__` that did not call the one of Layer."),
    "no shape": (lambda: own(compute_output_shape=lambda s, shape: None)(name="mine")(inp(3)), TypeError,
                 "Layer mine: its `compute_output_shape` returned None; expected a tuple with the batch axis"),
    # models
    "no outputs": (lambda: Model(inp(3), []), ValueError, "A Model needs at least one output; received outputs=[]."),
    "layer for output": (lambda: Model(inp(3), L.Dense(2, name="d")), ValueError, "Call `d` on a tensor and pass what"),
    "layer for input": (lambda: Model(L.Dense(2, name="d"), inp(3)), ValueError, "Pass its tensor: `d`.input."),
    "array for tensor": (lambda: L.Input(tensor=np.ones((2, 3))), TypeError, "The tensor of an input must be symbolic"),
    "inside a model": (lambda: Sequential([L.Dense(4, input_shape=(3,), name="first")], "m")(inp(5)), ValueError,
                       "layer first: expected axis -1 of input shape to have value 3 but got shape (None, 5) (shape "
                       "(None, "
                     "5), the output of inp). (in the Sequential layer `m`, called on inputs of shape (None, 5), made "
                     "for "
                     "(None, 3))"),
    "inside a model, behind": (lambda: Sequential([L.Conv2D(4, 3, input_shape=(8, 8, 3)), L.Flatten(),
                                                   L.Dense(2, name="last")], "m")(inp(9, 9, 3)), ValueError,
                               "layer last: expected axis -1 of input shape to have value 144 but got shape (None, "
                               "196)"),
    "rank inside a model": (lambda: Sequential([L.Conv2D(4, 3, input_shape=(8, 8, 3), name="first")], "m")(inp(5)),
                            ValueError, "layer first: expected ndim=4, found ndim=2"),
    "inputs of a model": (lambda: two()(inp(3)), ValueError,
                          """The model "two" takes 2 inputs ['a', 'b'], received 1"""),
    "inputs of a model swapped": (lambda: two()([inp(4), L.Input((5,))]), ValueError,
                                  "made for [(None, 3), (None, 4)])"),
    # a layer that is called again
    **{f"{kind} again": (lambda mk=mk, a=a, b=b: again(mk(), a, b), ValueError, words) for kind, mk, a, b, words in (
        ("Dense", lambda: L.Dense(2, name="d"), (3,), (5,), "layer d: expected axis -1 of input shape to have value 3"),
        ("Conv2D", lambda: L.Conv2D(2, 3, name="c"), (8, 8, 3), (8, 8, 4), "layer c: expected axis -1 of input shape"),
        ("LocallyConnected1D", lambda: L.LocallyConnected1D(3, 2, name="c"), (8, 3), (9, 3),
         "layer c: expected axis 1 of input shape to have value 8 but got shape (None, 9, 3)"),
        ("LSTM", lambda: L.LSTM(3, name="r"), (4, 3), (4, 5), "layer r: expected shape=(None, None, 3)"),
        ("Bidirectional", lambda: L.Bidirectional(L.LSTM(3), name="b"), (4, 3), (4, 5),
         "layer b: expected shape=(None, None, 3), found shape=(None, 4, 5)"),
        ("TimeDistributed", lambda: L.TimeDistributed(L.Dense(3), name="t"), (4, 3), (4, 5), "layer t: expected "
                                                                                             "shape="),
        ("BatchNormalization", lambda: L.BatchNormalization(name="bn"), (3,), (5,), "layer bn: expected axis -1"))},
    "Add again": (lambda: (lambda la: [la([inp(4), L.Input((n,))]) for n in (4, 5)])(L.Add(name="ad")), ValueError,
                  "could not be broadcast together with shapes (4,) (5,) (layer ad)"),
    "Concatenate again": (lambda: (lambda la: [la([inp(4, 3), L.Input((4, n))]) for n in (3, 5)])(L.Concatenate(
        1, name="cat")), ValueError, "[(None, 4, 3), (None, 4, 5)] (layer cat, axis 1)"),
    # functions and weights of the user's
    "name unknown to a function": (lambda: L.Lambda(lambda x: unknown, name="lam")(inp(3)), NameError,   # noqa: F821
                                   "in the Lambda layer `lam`"),
    "key unknown to a build": (lambda: own(build=lambda s, shape: {}["k"])(name="mine")(inp(3)), KeyError,
                               "in the Own layer `mine`, called on inputs of shape (None, 3)"),
    "negative weight": (lambda: own(build=lambda s, shape: s.add_weight("w", (-3,)))(name="mine")(inp(3)), ValueError,
                        "Layer mine: the weight `w` was asked for in the shape (-3,)"),
    "regularizer of nothing": (lambda: L.Dense(2, kernel_regularizer=lambda w: None, name="d")(inp(3)), TypeError,
                               "Layer d: the regularizer of the weight `kernel` returned None"),
    "factor of text": (lambda: regularizers.l2("a"), TypeError, "The factor `l2` of a regularizer must be a number"),
    "loss of text": (lambda: L.Dense(2, name="d").add_loss("a"), TypeError, "add_loss of the layer d takes tensors or"),
    "update of text": (lambda: L.Dense(2, name="d").add_update("a"), TypeError, "add_update of the layer d takes what"),
    "arguments of a Lambda": (lambda: L.Lambda(lambda x: x, arguments=[3], name="lam"), TypeError,
                              "Lambda layer lam: `arguments` must be a dict"),
    "output_shape of a Lambda": (lambda: L.Lambda(lambda x: x, output_shape=5), TypeError, "function; received 5."),
    "momentum of text": (lambda: L.BatchNormalization(momentum="a", name="bn"), TypeError,
                         "BatchNormalization layer bn: `momentum` must be a number; received 'a'"),
    "weights of both directions": (lambda: called(L.Bidirectional(L.LSTM(2), name="b"), 4, 3).set_weights([1]),
                                   ValueError, "set_weights of the layer b takes 6 arrays, of the shapes [(3,"),
    "weights of a model": (lambda: two().set_weights(None), TypeError, "set_weights of the layer two takes a list"),
    "function for a wrapped layer": (lambda: L.TimeDistributed(lambda x: x), ValueError, "by Lambda(function)."),
    "tensor for a wrapped layer": (lambda: L.TimeDistributed(inp(3)), ValueError, "Make the layer and do not call it."),
    "Dense in both directions": (lambda: L.Bidirectional(L.Dense(3, name="d")), ValueError, "received 'd', a Dense."),
    "array for a state": (lambda: L.LSTM(3, name="r")(inp(4, 3), initial_state=[np.ones((2, 3))] * 2), ValueError,
                          "initial state and constants of the layer r must be symbolic tensors; received array"),
    "step that is no pair": (lambda: L.RNN(cell(3, lambda s, x, states: x), name="r")(inp(4, 3)), TypeError,
                             "expected a pair (output, list of new states) (in the RNN layer `r`"),
    "width of a state": (lambda: L.RNN(cell(5, lambda s, x, states: (x, [x])), name="r")(inp(4, 3)), ValueError,
                         "the state 0 begins with the shape (None, 5), and a step returned one of shape (None, 3)"),
    "layer from behind": (lambda: two().get_layer(index=-9), ValueError, "retrieve layer at index -9 but model only "
                                                                         "has"),
    "symbolic data": (lambda: two().predict([inp(3), inp(4)]), ValueError, "you should specify the `steps` argument"),
    "class for an optimizer": (lambda: two().compile(optimizers.SGD, "mse"), ValueError, "Write SGD(...)."),
    "number for a target": (lambda: two().compile("sgd", "mse", target_tensors=5), TypeError, "outputs ['d']; "
                                                                                              "received 5."),
    "strides and dilation": (lambda: L.Conv2D(2, 3, strides=2, dilation_rate=(1, 2), name="c"), ValueError,
                             "Conv2D layer c: strides=(2, 2) and dilation_rate=(1, 2) do not go together"),
    # shapes of inputs
    "shape that is a number": (lambda: L.Input(5), TypeError, "`shape` must be a tuple of sizes; received 5. Write "
                                                              "(5,)."),
    "shape with a text": (lambda: L.Input((None, "a")), ValueError, "`shape` is (None, 'a'); expected integers"),
    "tensor for a shape": (lambda: L.Input(inp(3)), TypeError, "`shape` must be a tuple of sizes; received <graphk"),
    "input_shape that is a number": (lambda: L.Dense(3, input_shape=5), TypeError, "Write (5,). (in Dense)"),
    "batch_input_shape": (lambda: L.Dense(3, batch_input_shape=(2, 1.5)), ValueError, "`batch_input_shape` is (2, "
                                                                                      "1.5)"),
    # configs
    "config of a model": (lambda: Model.from_config({}), ValueError, "Model.from_config takes the dict that "
                                                                     "`get_config()` "
                          "of a Model returns; received one with the keys [], without 'layers', 'input_layers'"),
    "no config": (lambda: L.Dense.from_config(None), TypeError, "Dense.from_config takes the dict that `get_config()` "
                                                                "of a "
                  "Dense returns; received None"),
    "ends of a model": (lambda: Model.from_config({"layers": [], "input_layers": [["a", 0, 0]], "output_layers": []}),
                        ValueError, "`input_layers` of the model config names the layer `a`, which it does not "
                                    "contain."),
    "layer of a config": (lambda: Model.from_config({"layers": [{}], "input_layers": [], "output_layers": []}),
                          ValueError, "keys `name`, `class_name`, `config` and `inbound_nodes`"),
    "config of a Sequential": (lambda: Sequential.from_config({}), ValueError, "without 'layers'"),
    "Sequential of a number": (lambda: Sequential.from_config({"layers": 5}), ValueError, "a list of the configs of "
                                                                                          "layers"),
    "Sequential of a model": (lambda: Sequential.from_config(two().get_config()), ValueError, "Use Model.from_config"),
    "config of a layer": (lambda: Sequential.from_config([{}]), ValueError, "dict with the keys `class_name` and "
                                                                            "`config`"),
    "config of a wrapper": (lambda: L.TimeDistributed.from_config({"name": "t"}), ValueError,
                            "received one with the keys ['name'], without 'layer'"),
    "config of an RNN": (lambda: L.RNN.from_config({}), ValueError, "without 'cell'"),
    "config of cells": (lambda: L.StackedRNNCells.from_config({}), ValueError, "without 'cells'"),
    "config of a Lambda": (lambda: L.Lambda.from_config({}), ValueError, "without 'function'"),
    "no call": (lambda: type("Net", (Model,), {})(name="net").predict(np.ones((2, 3))), NotImplementedError,
                "The model `net` of the class Net has neither tensors nor a `call`."),
    "wrapped class": (lambda: L.TimeDistributed(L.Dense), ValueError, "Write Dense(…), with its arguments."),
    "no list": (lambda: Sequential(3), TypeError, "Sequential takes a list of layers; received 3."),
    "class": (lambda: Sequential([L.Dense]), TypeError, "Make one: Dense(...)."),
    "function for layer": (lambda: Sequential(["relu"]), TypeError, "Found: relu. A function is a layer as Activation"),
    "tensor for layer": (lambda: Sequential([inp(3)]), TypeError, "layers called on tensors make a Model"),
    "several outputs": (lambda: Sequential([L.LSTM(3, return_state=True, input_shape=(4, 3), name="m")]), ValueError,
                        "The layer m gave 3 tensors."),
    "shape to build": (lambda: Sequential([L.Dense(3)], "s").build(3), ValueError, "such as (None, 3); received 3."),
    "no weights": (lambda: L.Dense(3, name="d").set_weights(None), TypeError,
                   "set_weights of the layer d takes a list"),
    "weights too early": (lambda: L.Dense(3).set_weights([1]), ValueError, "The layer has none before it is called."),
    "text for weights": (lambda: called(L.Dense(3, name="d")).set_weights([[["a"] * 3] * 3, np.ones(3)]), ValueError,
                         "(for the weights of the layer `d`)"),
    "function": (lambda: L.Lambda(lambda x, k: x * k, name="lam")(inp(3)), TypeError, "in the Lambda layer `lam`"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_mistake(case):
    make, kind, words = CASES[case]
    with pytest.raises(kind) as e:
        make()
    assert " ".join(words.split()) in " ".join(str(e.value).split())


def test_a_layer_that_was_not_made_takes_no_name():
    K.clear_session()
    for wrong in (lambda: L.Dense(0), lambda: L.LSTM("a"), lambda: L.Conv2D(3)):
        with pytest.raises((ValueError, TypeError)):
            wrong()
    assert [la.name for la in (L.Dense(3), L.LSTM(3), L.Conv2D(3, 3))] == ["dense_1", "lstm_1", "conv2d_1"]


def test_a_model_that_was_not_made_takes_no_name():
    K.clear_session()
    x, sequences = L.Input((3,)), L.LSTM(3)
    for wrong in (lambda: Model(x, []), lambda: Model(x, x + 1), lambda: Sequential([x]),
                  lambda: Sequential([L.InputLayer((3,), name="i"), sequences])):
        with pytest.raises((ValueError, TypeError)):
            wrong()
    assert Model(x, L.Dense(2)(x)).name == "model_1" and Sequential([L.Dense(3)]).name == "sequential_1"


def test_a_build_that_failed_leaves_no_weights():
    d = L.Dense(3, weights=[np.ones((2, 3)), np.ones(3)], name="d")
    with pytest.raises(ValueError, match="not compatible with provided weight shape"):
        d(inp(3))
    assert not d.built and d.weights == [] and d._inbound_nodes == []
    assert Sequential([d, L.Dense(1)]).layers[0] is d
    d(inp(2))
    assert d.get_weights()[0].shape == (2, 3)


@pytest.mark.parametrize("make", [L.Dropout, L.SpatialDropout1D, L.GaussianDropout, L.AlphaDropout])
def test_a_rate_in_percent_is_told(make):
    with pytest.warns(UserWarning, match="`rate` is a fraction from 0 to 1; received 50, which counts as 1.0"):
        assert make(50, name="dr").rate == 1.


def test_a_layer_that_does_not_fit_is_not_added():
    m = Sequential()
    with pytest.raises(ValueError, match="expected ndim=3"):
        m.add(L.LSTM(3, input_shape=(3,)))
    m.add(L.Dense(4, input_shape=(5,)))
    with pytest.raises(ValueError, match="expected ndim=3"):
        m.add(L.LSTM(3))
    with pytest.raises(ValueError, match="used 2 times"):
        m.add(L.Dense(2, name=m.layers[0].name))
    m.add(L.Dense(1))
    assert m.input_shape == (None, 5) and len(m.layers) == 2 and m.output_shape == (None, 1)
    m.pop()
    assert m.output_shape == (None, 4)


def test_a_compile_that_failed_leaves_the_model_as_it_was():
    m = Sequential([L.Dense(2, input_shape=(3,))])
    m.compile("sgd", "mse", metrics=["mae"])
    x, y = np.ones((4, 3)), np.zeros((4, 2))
    first = m.evaluate(x, y, verbose=0)
    for wrong in ({"loss": "msee"}, {"loss": "mae", "metrics": ["none"]}, {"loss": "mae", "loss_weights": "a"},
                  {"loss": lambda a, b: 1 / 0}):
        with pytest.raises((ValueError, TypeError, ZeroDivisionError)):
            m.compile("adam", **wrong)
    assert m.evaluate(x, y, verbose=0) == first and m.metrics_names == ["loss", "mean_absolute_error"]
    assert m.train_on_batch(x, y)[0] == first[0] and type(m.optimizer).__name__ == "SGD"


def test_layers_are_added_in_as_many_steps_as_there_are(monkeypatch):
    made = []
    measure = network.GraphMap
    monkeypatch.setattr(network, "GraphMap", lambda *args: made.append(1) or measure(*args))
    m = Sequential([L.Dense(2, input_shape=(3,), name="d")])
    for _ in range(20):
        m.add(L.Dense(2))
    assert len(made) == 0 and len(m.get_config()["layers"]) == 21
    m.pop()
    assert m.predict(np.ones((2, 3))).shape == (2, 2) and len(m.layers) == 20 and len(made) <= 2
    with pytest.raises(ValueError, match='name "d" is used 2 times'):
        m.add(L.Dense(2, name="d"))
    with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'lairs'"):
        m.lairs()


def test_weights_that_do_not_fit_change_none():
    m = Sequential([L.Dense(2, input_shape=(3,)), L.Dense(1)])
    before = m.get_weights()
    for wrong in ([np.ones((3, 2)), np.ones(2), np.ones((2, 1)), np.ones(4)], [np.ones((3, 2))]):
        with pytest.raises(ValueError, match="not compatible|expecting 4 weights"):
            m.set_weights(wrong)
    assert all((a == b).all() for a, b in zip(before, m.get_weights()))


def test_a_weight_larger_than_the_machine_is_refused_before_it_is_made():
    with pytest.raises(MemoryError, match=r"weight `kernel` of shape \(1000000000, 1000\) needs .* GiB, this machine"):
        L.Dense(1000, name="huge")(inp(10 ** 9))
