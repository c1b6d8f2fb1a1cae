"""What users get wrong: each error names the layer or argument, what was received, and what was expected."""

import numpy as np
import pytest

from graphk import backend as K
from graphk import callbacks, optimizers, utils
from graphk import layers as L
from graphk.models import Model, Sequential, model_from_json

X, Y = np.ones((6, 3), "float32"), np.eye(2)[[0, 1] * 3]


def mlp(loss="categorical_crossentropy", **args):
    m = Sequential([L.Dense(4, input_shape=(3,), name="first"), L.Dense(2, activation="softmax", name="last")])
    m.compile("sgd", loss, **args)
    return m


def two(compiled=True):
    a, b = L.Input((3,), name="a"), L.Input((2,), name="b")
    m = Model([a, b], [L.Dense(1, name="u")(L.concatenate([a, b])), L.Dense(1, name="v")(a)])
    if compiled:
        m.compile("sgd", "mse")
    return m


def bare():
    return Sequential([L.Dense(2, input_shape=(3,))])


def lookup():
    m = Sequential([L.Embedding(5, 2, input_length=3, name="table"), L.Flatten(), L.Dense(1)])
    m.compile("sgd", "mse")
    return m


def gathered(reshape=lambda p: K.reshape(p, (2, 1))):
    p = K.placeholder((2,), dtype="int32", name="ids")
    return K.function([p], [K.gather(K.ones((3, 2)), reshape(p))])


def doubled():
    p = K.placeholder((2,), dtype="int32", name="p")
    return K.function([p], [p * 2])


def images(shape=(4, 4)):
    return Sequential([L.Flatten(input_shape=shape, name="flat"), L.Dense(2)])


def unflattened():
    m = Sequential([L.Conv1D(2, 1, input_shape=(4, 4)), L.Dense(2)])
    m.compile("sgd", "mse")
    return m


def batches():
    while True:
        yield X, Y


def disconnected():
    a, b = L.Input((3,), name="a"), L.Input((3,), name="b")
    return Model(a, L.add([L.Dense(3, name="da")(a), L.Dense(3, name="db")(b)]))


def same_names():
    x = L.Input((3,))
    return Model(x, L.Dense(2, name="n")(L.Dense(3, name="n")(x)))


def cyclic():
    x = L.Input((3,))
    first = L.Dense(3, name="first")
    z = L.Dense(3, name="second")(first(x))
    node = first._inbound_nodes[0]
    node.inbound_layers[0], node.node_indices[0] = z._keras_history[0], 0
    return Model(x, z)


def outside_layers():
    x = L.Input((3,))
    return Model(x, L.Dense(2, name="late")(K.square(L.Dense(3)(x))))


def many_outputs():
    d = L.Dense(3, name="d")
    d(L.Input((3,)))
    d(L.Input((3,)))
    return d.output


def returns(value):
    class Returns(L.Layer):
        def call(self, inputs):
            return value
    return Returns(name="r")(L.Input((3,)))


def phased():
    x = K.placeholder((None, 3))
    return K.function([x, K.learning_phase()], [K.dropout(x, .5)])


def forgot_super():
    class Net(Model):
        def __init__(self):
            self.d = L.Dense(2)
    return Net()


COMPILE_FIRST = "You must compile a model before training/testing. Use `model.compile(optimizer, loss)`."
CASES = {
    # shapes of data
    "input width": (lambda: mlp().fit(np.ones((6, 5)), Y), ValueError,
                    "Error when checking input: expected first_input to have shape (3,) but got array with shape (5,)"),
    "input rank": (lambda: mlp().predict(np.ones((6, 3, 1))), ValueError,
                   "expected first_input to have 2 dimensions, but got array with shape (6, 3, 1)"),
    "one sample": (lambda: mlp().predict(np.ones(3)), ValueError,
                   "expected first_input to have shape (3,) but got array with shape (1,)"),
    "target width": (lambda: mlp().fit(X, np.ones((6, 3))), ValueError,
                     "Error when checking target: expected last to have shape (2,) but got array with shape (3,)"),
    "one sample of images": (lambda: images().predict(np.ones((4, 4))), ValueError, "One sample needs an axis"),
    "images in rows": (lambda: images().predict(np.ones((2, 16))), ValueError, "Reshape it: x.reshape((-1, 4, 4))."),
    "integer targets": (lambda: mlp().fit(X, np.zeros(6)), ValueError,
                        "You are passing a target array of shape (6, 1) while using as loss "
                        "`categorical_crossentropy`. `categorical_crossentropy` expects targets to be binary matrices "
                        "(1s and 0s) of shape (samples, classes), here (None, 2) for the output `last`. If your "
                        "targets are integer classes, you can convert them to the expected format via: ``` from "
                        "keras.utils import to_categorical y_binary = to_categorical(y_int) ``` Alternatively, you can "
                        "use the loss function `sparse_categorical_crossentropy` instead"),
    "integer columns": (lambda: mlp().train_on_batch(X, np.zeros((6, 1), int)), ValueError, "array of shape (6, 1)"),
    "targets of another loss": (lambda: mlp("mse").fit(X, np.zeros((6, 1))), ValueError, "got array with shape (1,). "
                                "The loss `mean_squared_error` takes targets of the output's shape (None, 2)"),
    "one-hot for sparse": (lambda: mlp("sparse_categorical_crossentropy").fit(X, Y), ValueError,
                           "expected last to have shape (1,) but got array with shape (2,). The loss "
                           "`sparse_categorical_crossentropy` takes one class number per sample: use "
                           "`categorical_crossentropy` for one-hot targets, or pass y.argmax(-1)."),
    "sample counts": (lambda: mlp().fit(X, Y[:4]), ValueError, "Found 6 input samples and 4 target samples."),
    "validation shape": (lambda: mlp().fit(X, Y, validation_data=(X[:, :2], Y), verbose=0), ValueError,
                         "expected first_input to have shape (3,) but got array with shape (2,)"),
    "validation tuple": (lambda: mlp().fit(X, Y, validation_data=X), ValueError,
                         "it must contain 2 (x_val, y_val) or 3 (x_val, y_val, val_sample_weights) items"),
    "weights rank": (lambda: mlp().fit(X, Y, sample_weight=np.ones((6, 2))), ValueError,
                     'you should specify sample_weight_mode="temporal" in compile()'),
    "weights length": (lambda: mlp().fit(X, Y, sample_weight=np.ones(5)), ValueError,
                       "Found a sample_weight array with shape (5,) for an input with shape (6, 2). sample_weight "
                       "cannot be broadcast: expected one weight per sample, shape (6,)."),
    "class missing": (lambda: mlp().fit(X, Y, class_weight={0: 1.}), ValueError,
                      "The classes {1} exist in the data but not in `class_weight`."),
    # kinds of data
    "text": (lambda: mlp().fit(np.array([["a", "b", "c"]] * 6), Y), ValueError,
             "expected first_input to hold numbers, but got array of dtype <U1 with shape (6, 3)"),
    "text labels": (lambda: mlp().fit(X, np.array(["cat"] * 6)), ValueError, "expected last to hold numbers"),
    "dates": (lambda: mlp().predict(np.zeros((2, 3), "M8[s]")), ValueError, "dates and times are no numbers"),
    "a file name": (lambda: mlp().predict("data.csv"), TypeError, "data should be a Numpy array"),
    "nothing": (lambda: mlp().predict(None), ValueError, "predict() needs data for the inputs ['first_input']"),
    "no targets": (lambda: mlp().fit(X), ValueError, "fit() needs targets `y` for the outputs ['last']"),
    "empty": (lambda: mlp().fit(X[:0], Y[:0]), ValueError, "the array for `first_input` has shape (0, 3)"),
    "empty test": (lambda: mlp().evaluate(X[:0], Y[:0]), ValueError, "evaluate() received 0 samples"),
    "split of one": (lambda: mlp().fit(X[:1], Y[:1], validation_split=.9), ValueError,
                     "Training data contains 1 samples, which is not sufficient to be split"),
    "split beyond": (lambda: mlp().fit(X, Y, validation_split=1.5), ValueError,
                     "`validation_split` must be at least 0 and less than 1; received 1.5"),
    "batch of zero": (lambda: mlp().fit(X, Y, batch_size=0, verbose=0), ValueError, "positive integer; received 0"),
    "split of text": (lambda: mlp().fit(X, Y, validation_split="a"), TypeError, "must be a number; received 'a'"),
    "fraction of a batch": (lambda: mlp().predict(X, batch_size=2.5), TypeError,
                            "`batch_size` must be a positive integer; received 2.5, a float. Write batch_size=int("),
    "negative batch": (lambda: mlp().evaluate(X, Y, batch_size=-1), ValueError, "positive integer; received -1"),
    "epochs": (lambda: mlp().fit(X, Y, epochs=-1), ValueError,
               "`epochs` must be an integer that is not negative; received -1"),
    "epochs of text": (lambda: mlp().fit(X, Y, epochs="3"), TypeError, "received '3', a str"),
    "steps": (lambda: mlp().fit_generator(batches(), steps_per_epoch=0), ValueError, "`steps_per_epoch` must be"),
    "None in objects": (lambda: mlp().fit(np.array([[1, 2, None]] * 6, object), Y), ValueError, "None at (0, 2)"),
    "rows of lists": (lambda: mlp().fit([[1, 2, 3], [1, 2]], Y[:2]), ValueError,
                      "the list passed for `first_input` has rows of different lengths"),
    "channels first": (lambda: images((8, 8, 3)).predict(np.ones((2, 3, 8, 8))), ValueError,
                       "Is an axis in another place? np.moveaxis(x, 1, -1) has the shape (None, 8, 8, 3)."),
    "no Flatten": (lambda: unflattened().fit(np.ones((6, 4, 4)), Y), ValueError,
                   "the output's shape (None, 4, 2). If "
                   "the output should have fewer axes, put Flatten or a global pooling before the last layer"),
    "rows in a list": (lambda: mlp().fit([[1, 2, 3]] * 6, Y), ValueError, "pass np.array(...) of the list."),
    "texts in a list": (lambda: mlp().fit(X, ["a", "b"] * 3), ValueError, "of the list, after numbering the texts."),
    "sequences in a list": (lambda: mlp().fit([X, X[:2]], Y), ValueError, "of the list, padded to one length."),
    "no inputs": (lambda: mlp().fit(None, Y), ValueError, "Error when checking input: received None for first_input."),
    "None among targets": (lambda: mlp().fit(X, [None]), ValueError, "checking target: received None for last."),
    "no targets to validate": (lambda: mlp().fit(X, Y, validation_data=(X, None), verbose=0), ValueError,
                               "validation_data needs targets `y` for the outputs ['last']"),
    "no epochs": (lambda: mlp().fit(X, Y, epochs=None), TypeError, "`epochs` must be an integer that is not negative"),
    "weight for all": (lambda: mlp().fit(X, Y, sample_weight=3), TypeError,
                       "one weight per sample, or a dict; received 3"),
    "weights by name": (lambda: mlp().fit(X, Y, sample_weight={"z": X[:, 0]}), ValueError, "sample_weight dictionary: "
                        "['z']. Only expected the following keys: ['last']"),
    "None among weights": (lambda: mlp().fit(X, Y, sample_weight=[None] * 6), ValueError,
                           "sample_weight to hold numbers"),
    "None for a class": (lambda: mlp().fit(X, Y, class_weight={0: None, 1: 1}), ValueError,
                         "class_weight to hold numb"),
    "empty batch": (lambda: mlp().train_on_batch(X[:0], Y[:0]), ValueError, "train_on_batch() received 0 samples"),
    "loss called": (lambda: mlp(K.ones((2,)) * 2), ValueError,
                    "Could not interpret loss function identifier: <graphk.T"),
    "text to clip": (lambda: optimizers.SGD(clipnorm="a"), TypeError, "SGD: `clipnorm` must be a number; received 'a'"),
    "keys of classes": (lambda: mlp().fit(X, Y, class_weight={"0": 1}), ValueError, "Its keys are ['0']."),
    # several inputs and outputs
    "one of two": (lambda: two().predict(X), ValueError,
                   "Expected to see 2 array(s), but instead got the following list of 1 arrays"),
    "three of two": (lambda: two().predict([X] * 3), ValueError, "the following list of 3 arrays"),
    "name of input": (lambda: two().predict({"a": X, "c": X}), ValueError,
                      "No data provided for \"b\". Need data for each key in: ['a', 'b']"),
    "keys": (lambda: two().predict({"a": X, "c": X}), ValueError, "Received the keys ['a', 'c']."),
    "name of target": (lambda: two().fit([X, X[:, :2]], {"u": X[:, :1]}), ValueError, 'No data provided for "v"'),
    "name of loss": (lambda: two(False).compile("sgd", {"w": "mse"}), ValueError,
                     "Unknown entry in loss dictionary: \"w\". Only expected the following keys: ['u', 'v']"),
    "losses": (lambda: two(False).compile("sgd", ["mse"] * 3), ValueError, "The model has 2 outputs, but you passed"),
    "name of metric": (lambda: two(False).compile("sgd", "mse", metrics={"z": "acc"}), ValueError,
                       'Unknown entry in metrics dictionary: "z"'),
    "loss weights": (lambda: two(False).compile("sgd", "mse", loss_weights=[1]), ValueError, "loss_weights=[1]"),
    # names
    "near loss": (lambda: mlp("categorical_crossentrpy"), ValueError,
                  "Unknown loss function:categorical_crossentrpy. Did you mean `categorical_crossentropy`?"),
    "near metric": (lambda: mlp(metrics=["acuracy"]), ValueError,
                    "Unknown metric function:acuracy. Did you mean `accuracy`?"),
    "near optimizer": (lambda: bare().compile("Adamm", "mse"), ValueError,
                       "Unknown optimizer: Adamm. Did you mean `adam`?"),
    "near activation": (lambda: L.Activation("softmx"), ValueError, "Did you mean `softmax`?"),
    "near initializer": (lambda: L.Dense(3, kernel_initializer="glorot_unifrm"), ValueError,
                         "Did you mean `glorot_uniform`?"),
    "near constraint": (lambda: L.Dense(3, kernel_constraint="nonng"), ValueError, "Did you mean `nonneg`?"),
    "known regularizers": (lambda: L.Dense(3, kernel_regularizer="ridge"), ValueError,
                           "Unknown regularizer:ridge. Known names: EigenvalueRegularizer, L1L2, l1, l1_l2, l2."),
    "near layer": (lambda: L.deserialize({"class_name": "Dence", "config": {}}), ValueError, "Did you mean `Dense`?"),
    "near keyword": (lambda: L.Dense(3, activaton="relu", name="d"), TypeError,
                     "activaton (in Dense `d`). Did you mean `activation`?"),
    "near base keyword": (lambda: L.Dense(3, input_shap=(3,)), TypeError, "Did you mean `input_shape`?"),
    "near optimizer keyword": (lambda: optimizers.Adam(learnin_rate=1), TypeError,
                               "learnin_rate (in Adam). Did you mean `learning_rate`?"),
    "near model keyword": (lambda: (lambda x: Model(inputs=x, outputs=x, nam="m"))(L.Input((3,))), TypeError,
                           "Did you mean `name`?"),
    "metric of none": (lambda: mlp(metrics=[None]), ValueError, "Could not interpret metric function identifier: None"),
    "loss of number": (lambda: mlp(3), ValueError, "Expected a name, a config or a callable"),
    "activation": (lambda: L.Dense(3, activation="rellu"), ValueError, "Unknown activation function:rellu"),
    "loss": (lambda: mlp("crossentropy"), ValueError, "Unknown loss function:crossentropy"),
    "optimizer": (lambda: bare().compile("adamm", "mse"), ValueError, "Unknown optimizer: adamm"),
    "optimizer type": (lambda: bare().compile(3, "mse"), ValueError, "Could not interpret optimizer identifier: 3"),
    "initializer": (lambda: L.Dense(3, kernel_initializer="glorot"), ValueError, "Unknown initializer:glorot"),
    "regularizer": (lambda: L.Dense(3, kernel_regularizer="l3"), ValueError, "Unknown regularizer:l3"),
    "metric": (lambda: mlp(metrics=["accuracyy"]), ValueError, "Unknown metric function:accuracyy"),
    "layer class": (lambda: model_from_json('{"class_name": "Sequential", "config": [{"class_name": "Mine", '
                                            '"config": {}}]}'), ValueError, "Unknown layer: Mine"),
    "keyword": (lambda: L.Dense(3, activaton="relu"), TypeError, "Keyword argument not understood"),
    "units": (lambda: L.Dense("ten", name="d"), ValueError, "Dense layer d: `units` must be a positive integer"),
    "get_layer": (lambda: mlp().get_layer("nope"), ValueError, "No such layer: nope. The layers are ['first', 'last']"),
    "near get_layer": (lambda: mlp().get_layer("frst"), ValueError, "No such layer: frst. The layers are ['first', "
                       "'last']. Did you mean `first`?"),
    "get_layer number": (lambda: mlp().get_layer(1), TypeError, "For a number write get_layer(index=1)."),
    # numbers that choose rows or classes
    "row": (lambda: lookup().predict(np.array([[0, 1, 7]])), ValueError, 'Layer "table": indices[0,2] = 7 is not in '
            "[0, 5), in the array for the input `table_input` of shape (1, 3). Set input_dim to at least 8."),
    "negative row": (lambda: lookup().predict_on_batch(np.array([[-2, 1, 0]])), ValueError,
                     "indices[0,0] = -2 is not in [0, 5)"),
    "no row": (lambda: lookup().predict(np.array([[0, 1, np.nan]])), ValueError, "indices[0,2] = nan is not in [0, 5)"),
    "row of K.gather": (lambda: gathered()([np.array([1, 3], "int32")]), ValueError,
                        "K.gather: indices[1] = 3 is not in [0, 3), in the array for the input `ids`"),
    "negative row of K.gather": (lambda: gathered()([[1, -1]]), ValueError, "indices[1] = -1 is not in [0, 3)"),
    "repeated row": (lambda: gathered(lambda p: K.repeat_elements(p, 2, 0))([[1, 5]]), ValueError,
                     "indices[1] = 5 is not in [0, 3), in the array for the input `ids`"),
    "class": (lambda: mlp("sparse_categorical_crossentropy").train_on_batch(X, [0, 1, 2, 0, 1, 0]), ValueError,
              "Received a label value of 2 which is outside the valid range of [0, 2): `last_target`[2,0] = 2"),
    "negative class": (lambda: mlp("sparse_categorical_crossentropy").evaluate(X, [0, 1, -1, 0, 1, 0], verbose=0),
                       ValueError, "Received a label value of -1"),
    "fraction": (lambda: doubled()([[1., 1.5]]), TypeError, "1.5 at (1,) is not a whole number"),
    "NaN for int": (lambda: doubled()([[np.nan, 1.]]), TypeError, "nan at (0,) is not a whole number"),
    "too large": (lambda: doubled()([np.array([0, 2 ** 40])]), TypeError, "1099511627776 at (1,) is not between"),
    # graphs
    "disconnected": (disconnected, ValueError, "Graph disconnected: cannot obtain value for tensor"),
    "same names": (same_names, ValueError, 'The name "n" is used 2 times in the model.'),
    "cycle": (cyclic, ValueError, "is part of a cycle"),
    "outside layers": (outside_layers, ValueError, 'The layer "late" was called on'),
    "input twice": (lambda: (lambda x: Model([x, x], L.Dense(2)(x)))(L.Input((3,))), ValueError,
                    "The list of inputs passed to the model is redundant"),
    "array for tensor": (lambda: L.Dense(3, name="d")(X), ValueError,
                         "Layer d was called with an input that isn't a symbolic tensor"),
    "array as input": (lambda: Model(X, L.Dense(2)(L.Input((3,)))), ValueError, "Make it with Input(shape)"),
    "input of a layer": (lambda: (lambda a: Model(L.Dense(2, name="q")(a), a))(L.Input((3,))), ValueError,
                         'is the output of the layer "q"'),
    "output of K": (lambda: (lambda a: Model(a, K.square(L.Dense(2)(a))))(L.Input((3,))), ValueError,
                    "Wrap backend operations in a Lambda layer."),
    "numpy's function": (lambda: np.sin(L.Input((3,), name="i")), TypeError,
                         "Use functions of K (K.sin), not of numpy: cannot compute numpy.sin of the symbolic"),
    "numpy's mean": (lambda: np.mean(L.Input((3,), name="i")), TypeError,
                     "Cannot convert to a numpy array the symbolic tensor `i`"),
    "into an array": (lambda: np.add(np.ones(3), L.Input((3,)), out=np.ones(3)), TypeError, "cannot compute numpy.add"),
    "no layer": (lambda: Sequential([3]), TypeError, "must be an instance of class Layer. Found: 3"),
    "rank for layer": (lambda: Sequential([L.Dense(3, input_shape=(4,)), L.Flatten(name="f")]), ValueError,
                       "Input 0 is incompatible with layer f: expected min_ndim=3, found ndim=2 (shape (None, 3), the "
                       "output of dense_"),
    "open width": (lambda: L.Dense(3, name="d")(L.Input((None,))), ValueError,
                   "The last dimension of the inputs to the layer d should be defined. Found `None` in (None, None). "
                   "Give Input (or `input_shape`) a size there"),
    "merge": (lambda: L.Add(name="m")([L.Input((3,)), L.Input((4,))]), ValueError, "with shapes (3,) (4,) (layer m)"),
    "concatenate": (lambda: L.Concatenate(1, name="c")([L.Input((3, 4)), L.Input((3, 5))]), ValueError,
                    "Got inputs shapes: [(None, 3, 4), (None, 3, 5)] (layer c, axis 1)"),
    "concatenate ranks": (lambda: L.concatenate([L.Input((3, 4)), L.Input((5,))], name="c"), ValueError,
                          "requires inputs with matching shapes except for the concat axis"),
    "concatenate axis": (lambda: L.Concatenate(4, name="c")([L.Input((3,)), L.Input((3,))]), ValueError,
                         "The layer c joins along axis 4, but its inputs have 2 axes"),
    "dot axis": (lambda: L.Dot(5, name="c")([L.Input((3,)), L.Input((3,))]), ValueError, "Expected -2 to 1."),
    "dot sizes": (lambda: L.Dot(1, name="c")([L.Input((3,)), L.Input((4,))]), ValueError,
                  "Dimension incompatibility 3 != 4. Layer shapes: (None, 3), (None, 4) (layer c, axes 1 and 1)"),
    "merge of one": (lambda: L.Add(name="m")([L.Input((3,))]), ValueError, "(layer m): pass at least 2"),
    "negative size": (lambda: L.Input((-3,), name="i"), ValueError, "The shape of the input `i` is (-3,); expected"),
    "no rows": (lambda: L.Embedding(0, 3, name="e"), ValueError, "Embedding layer e: `input_dim` must be a positive"),
    "reshape": (lambda: L.Reshape((4, 2), name="r")(L.Input((6,))), ValueError,
                "total size of new array must be unchanged: the layer r"),
    "mask": (lambda: Sequential([L.Masking(input_shape=(4, 3)), L.Flatten(name="f")]), TypeError,
             "Layer f does not support masking"),
    "output of many": (many_outputs, AttributeError, "Use `get_output_at(node_index)` instead."),
    "if on a tensor": (lambda: Sequential([L.Lambda(lambda x: x if x > 0 else -x, input_shape=(3,))]), TypeError,
                       "Use K.switch or K.in_train_phase for conditions"),
    "call gives an array": (lambda: returns(np.ones((3, 2))), TypeError, "Layer r: its `call` returned array("),
    "call gives nothing": (lambda: returns(None), TypeError, "Layer r: its `call` returned None; expected a symbolic"),
    "call gives a number": (lambda: returns([L.Input((3,)), 3.]), TypeError, "returned 3.0, a builtins.float;"),
    "no list of layers": (lambda: Sequential(L.Dense(3, name="d")), TypeError, "received the layer `d`. Write Seq"),
    "loss gives nothing": (lambda: mlp(lambda y, p: None), TypeError, "`<lambda>` returned None; expected a tensor"),
    "metric gives nothing": (lambda: mlp(metrics=[lambda y, p: None]), TypeError, "`<lambda>` returned None;"),
    "None among inputs": (lambda: mlp().predict([None]), ValueError, "received None for first_input. Pass an arr"),
    "array as generator": (lambda: mlp().fit_generator(X, 3), TypeError, "received a ndarray. For arrays there are"),
    "workers": (lambda: mlp().fit_generator(batches(), 3, workers=-1), ValueError, "0 for none of them; received -1."),
    "forgot super": (forgot_super, RuntimeError, "you forgot to call `super(YourClass, self).__init__()`"),
    "a function of one": (lambda: mlp(lambda y: y), TypeError,
                          "(in the loss or metric `<lambda>`, which is called with "
                          "y_true of shape (None, None) and y_pred of shape (None, 2))"),
    "a loss that fails": (lambda: mlp(lambda y, p: K.dot(p, K.ones((5, 2)))), ValueError,
                          "in the loss or metric `<lam"),
    "metric alone": (lambda: mlp(metrics="acc"), TypeError, "found: acc. Write metrics=['acc']."),
    "near output": (lambda: mlp(loss_weights={"lst": 1}), ValueError, "keys: ['last']. Did you mean `last`?"),
    "weight of a loss": (lambda: mlp(loss_weights=3), TypeError,
                         "expected a list or a dict of numbers, one for each of"),
    # order of things
    "fit first": (lambda: bare().fit(X, Y), RuntimeError, COMPILE_FIRST),
    "evaluate first": (lambda: bare().evaluate(X, Y), RuntimeError, COMPILE_FIRST),
    "train first": (lambda: bare().train_on_batch(X, Y), RuntimeError, COMPILE_FIRST),
    "generator first": (lambda: bare().fit_generator(batches(), 2), RuntimeError, COMPILE_FIRST),
    "no loss": (lambda: bare().compile("sgd"), ValueError, "it has no loss to optimize"),
    "no gradient": (lambda: mlp(lambda y, p: K.sum(y)).fit(X, Y, verbose=0), ValueError,
                    "An operation has `None` for gradient."),
    "summary first": (lambda: Sequential([L.Dense(3)]).summary(), ValueError, "This model has not yet been built."),
    "pop nothing": (lambda: Sequential().pop(), TypeError, "There are no layers in the model."),
    # generators
    "split of a generator": (lambda: mlp().fit(batches(), steps_per_epoch=2, validation_split=.2), ValueError,
                             "Python generator, you cannot use `validation_split`"),
    "targets beside": (lambda: mlp().fit(batches(), Y, steps_per_epoch=2), ValueError,
                       "`y` argument is not supported when data is a generator or Sequence instance"),
    "generator ends": (lambda: mlp().fit_generator(iter([(X, Y)]), 3, verbose=0), StopIteration,
                       "The generator ended before the requested number of steps"),
    "generator of x": (lambda: mlp().fit_generator(iter([X] * 3), 3, verbose=0), ValueError,
                       "Output of generator should be a tuple `(x, y, sample_weight)` or `(x, y)`"),
    "dict from a generator": (lambda: mlp().fit_generator(iter([{"x": X, "y": Y}]), 1, verbose=0), ValueError,
                              "should be a tuple `(x, y, sample_weight)` or `(x, y)`. Found: {'x'"),
    "number for a batch": (lambda: mlp().fit_generator(iter([(3., Y)]), 1, verbose=0), ValueError,
                           "Expected a batch of arrays with one row per sample; received 3.0."),
    "function for generator": (lambda: mlp().fit_generator(batches, 1), TypeError,
                               "that yields batches is called: gen"),
    "queue": (lambda: mlp().fit_generator(batches(), 1, max_queue_size="a"), TypeError, "`max_queue_size` must be"),
    "near generator's keyword": (lambda: mlp().fit_generator(batches(), 1, epoch=3), TypeError,
                                 "fit_generator() got an unexpected keyword argument 'epoch'. Did you mean `epochs`?"),
    "near evaluate keyword": (lambda: mlp().evaluate(X, Y, batchsize=3), TypeError, "Did you mean `batch_size`?"),
    "no steps": (lambda: mlp().fit_generator(batches()), ValueError, "Please specify `steps_per_epoch`"),
    # weights
    "set_weights shape": (lambda: mlp().layers[0].set_weights([np.ones((2, 4)), np.ones(4)]), ValueError,
                          "Layer weight shape (3, 4) not compatible with provided weight shape (2, 4)"),
    "set_weights count": (lambda: mlp().layers[0].set_weights([np.ones((3, 4))]), ValueError,
                          'on layer "first" with a  weight list of length 1, but the layer was expecting 2 weights'),
    "weights of model": (lambda: mlp().set_weights([]), ValueError, "but the model was expecting 4 weights"),
    # K
    "missing placeholder": (lambda: K.function([], [bare().output]), ValueError, "Add it to `inputs`."),
    "function count": (lambda: K.function([K.placeholder((2,), name="p")], [K.ones((2,))])([X, X]), ValueError,
                       "takes 1 inputs (p), received 2"),
    "phase of a function": (lambda: phased()([X, None]), ValueError,
                            "is the learning phase: expected 0 (test) or 1 (train), received None."),
    "phase 2": (lambda: phased()([X, 2]), ValueError, "expected 0 (test) or 1 (train), received 2."),
    "function shape": (lambda: (lambda m: K.function([m.input], [m.output])([np.ones((2, 7))]))(mlp()), ValueError,
                       "axis 1 has size 7, expected 3"),
    # callbacks and helpers
    "name in a checkpoint": (lambda: mlp().fit(X, Y, verbose=0, callbacks=[callbacks.ModelCheckpoint("{val_loss}.h5")]),
                             KeyError, "holds 'val_loss', which is not logged. Known: ['epoch', 'loss']"),
    "name of a late input": (lambda: (lambda m: (m.compile("sgd", "mse"), m.train_on_batch(X, Y), m.predict(X[:, :2])))(
        Sequential([L.Dense(2)], name="late")), ValueError, "expected late_input to have shape (3,)"),
    "class for callback": (lambda: mlp().fit(X, Y, verbose=0, callbacks=[callbacks.EarlyStopping]), TypeError,
                           "received the class `EarlyStopping`"),
    "function for callback": (lambda: mlp().fit(X, Y, verbose=0, callbacks=[print]), TypeError, "LambdaCallback"),
    "schedule": (lambda: mlp().fit(X, Y, verbose=0, callbacks=[callbacks.LearningRateScheduler(lambda e: "x")]),
                 ValueError, 'The output of the "schedule" function should be float.'),
    "no schedule": (lambda: callbacks.LearningRateScheduler(.1), TypeError, "must be a function of the epoch that"),
    "schedule of nothing": (lambda: mlp().fit(X, Y, verbose=0, callbacks=[callbacks.LearningRateScheduler(lambda: 1.)]),
                            TypeError, "in the `schedule` of LearningRateScheduler, which is called with the epoch"),
    "number for a function": (lambda: callbacks.LambdaCallback(on_epoch_end=3), TypeError,
                              "`on_epoch_end` of LambdaCal"),
    "names of classes": (lambda: utils.to_categorical(["cat", "dog"]), ValueError, "Number other labels first"),
    "fit keyword": (lambda: mlp().fit(X, Y, epoch=3), TypeError,
                    "Unrecognized keyword arguments: {'epoch': 3}. Did you mean `epochs`?"),
    "compile keyword": (lambda: bare().compile("sgd", "mse", metric=["acc"]), ValueError, "Did you mean `metrics`?"),
    "classes": (lambda: utils.to_categorical([0, 5], 3), IndexError, "class 5 is out of range for 3 classes"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_mistake(case):
    make, kind, words = CASES[case]
    with pytest.raises(kind) as e:
        make()
    assert " ".join(words.split()) in " ".join(str(e.value).split())


def test_a_wrong_call_changes_nothing():
    m = mlp()
    m.train_on_batch(X, Y)
    before = m.get_weights()
    for x, y in ((X[:, :2], Y), (X, Y[:, :1]), (X[:4], Y)):
        with pytest.raises(ValueError, match="Error when checking|same number of samples|passing a target array"):
            m.train_on_batch(x, y)
    assert all((a == b).all() for a, b in zip(before, m.get_weights()))


def test_a_compile_that_failed_leaves_the_old_one():
    m = mlp(metrics=["acc"])
    m.train_on_batch(X, Y)
    before = m.optimizer, m.loss, m.total_loss, m.metrics_names, m.train_function
    for args in (("adamm", "mse"), ("adam", "typo"), ("adam", "mse", ["typo"]), ("adam", lambda y, p: None)):
        with pytest.raises((ValueError, TypeError)):
            m.compile(*args)
    assert before == (m.optimizer, m.loss, m.total_loss, m.metrics_names, m.train_function)
    assert len(m.train_on_batch(X, Y)) == 2


def test_data_that_a_waiting_model_cannot_take_leaves_it_waiting():
    m = Sequential([L.Dense(2), L.LSTM(3)])
    with pytest.raises(ValueError, match="expected ndim=3"):
        m.predict(X)
    assert len(m.layers) == 2 and not m.built and m.predict(np.ones((2, 4, 3))).shape == (2, 3)


def test_weights_for_no_output_are_told():
    with pytest.warns(UserWarning, match=r"`class_weight` is ignored: its keys \[0\] are none of the outputs"):
        two().fit([X, X[:, :2]], [X[:, :1]] * 2, class_weight={0: 1}, verbose=0)


def test_dtypes_that_are_not_computed_in_are_named():
    x = K.placeholder((None, 2), dtype="uint8")
    assert K.dtype(x) == "uint8"
    assert K.function([x], [K.cast(x, "float32") / 255.])([np.full((1, 2), 255, "uint8")])[0].tolist() == [[1.0, 1.0]]
    for make in (lambda: K.cast(x, "complex64"), lambda: K.placeholder((2,), dtype="complex64")):
        with pytest.raises(TypeError, match="expected one of bool, int32"):
            make()


def test_rows_and_classes_in_range_pass_in_every_dtype():
    assert doubled()([[1., 2.]])[0].tolist() == [2, 4]
    assert gathered()([np.array([0., 2.])])[0].shape == (2, 1, 2)
    for dtype in ("int32", "int64", "float32", "uint8"):
        assert lookup().predict(np.array([[0, 4, 2]], dtype)).shape == (1, 1)
        assert mlp("sparse_categorical_crossentropy").train_on_batch(X, np.array([0, 1] * 3, dtype)) > 0
    assert lookup().predict(np.zeros((0, 3))).shape == (0, 1)
    assert lookup().predict(np.array([[-0., -.5, 4.9]])).shape == (1, 1), "fractions are cut off, as by a cast"


def test_bad_numbers_are_named_once_the_loss_shows_them():
    for x, y, name in ((np.full((6, 3), np.nan), Y, "first_input"), (X, np.full((6, 2), np.inf), "last_target")):
        with pytest.warns(UserWarning, match=f"array for `{name}` holds .* numbers that are NaN or infinite"):
            mlp("mse").fit(x, y, verbose=0)


def test_a_class_out_of_range_stops_fit_before_the_first_step():
    m = mlp("sparse_categorical_crossentropy")
    before = m.get_weights()
    for data in ((X, [0, 1, 0, 1, 0, 7]), (X, [0, 1] * 3, (X, [0, 1, 0, 1, 0, 7]))):
        with pytest.raises(ValueError, match=r"`last_target`\[5,0\] = 7"):
            m.fit(*data[:2], batch_size=2, verbose=0, validation_data=data[2] if len(data) > 2 else None)
    assert all((a == b).all() for a, b in zip(before, m.get_weights()))


def test_class_weight_that_is_no_dict_warns():
    with pytest.warns(UserWarning, match="`class_weight` is ignored: expected a dict"):
        mlp().fit(X, Y, class_weight="auto", verbose=0)


def test_a_row_out_of_range_is_refused_after_good_batches_too():
    m = lookup()
    for _ in range(3):
        m.predict_on_batch(np.zeros((1, 3), "float32"))
    with pytest.raises(ValueError, match="indices"):
        m.predict_on_batch(np.full((1, 3), 5, "float32"))
