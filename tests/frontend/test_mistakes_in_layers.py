"""What users get wrong about layers: each error names the layer, and a call that failed leaves nothing behind."""

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.models import Sequential


def inp(*shape):
    return L.Input(shape, name="inp")


class WrongCall(L.Layer):
    def call(self, x):
        return K.dot(x, K.ones((7, 2)))


CASES = {
    # the layer, where the message of what went wrong inside does not have it
    "call": (lambda: WrongCall(name="mine")(inp(3)), ValueError,
             "they must be equal (in the WrongCall layer `mine`, called on inputs of shape (None, 3))"),
    "build": (lambda: L.GRU(3, name="mem")(inp(4, None)), ValueError, "in the GRU layer `mem`, called on inputs of"),
    "keyword of a call": (lambda: L.Dropout(.5, name="dr")(inp(3), trainig=True), TypeError, "layer `dr`"),
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
