"""A program whose results depend on the version of Keras; written for any of them.

`python semantics.py tf_keras > semantics.json` records what a Keras with 2.3's semantics gives; test_semantics.py runs
it on graphk.
"""
import importlib
import json
import sys

import numpy as np

X = np.random.RandomState(0).randn(7, 3).astype("float32")
Y = np.array([[0.], [1.], [1.], [0.], [0.], [1.], [0.]], "float32")
W = np.array([1., 2., 0., .5, 1., 3., 1.], "float32")


def fixed(model):
    state = np.random.RandomState(1)
    model.set_weights([state.randn(*w.shape) * .4 for w in model.get_weights()])
    return model


CLASSES = {0: 1., 1: 2.}
PRODUCT = W * np.array([CLASSES[int(c)] for c in Y[:, 0]], "float32")


def run(keras, **weights):
    """weights: sample and class weights, or their product."""
    layers, out = keras.layers, {}
    m = keras.Sequential([layers.Dense(4, activation="tanh", input_shape=(3,)), layers.Dense(1, activation="sigmoid")])
    m.compile("sgd", "binary_crossentropy", metrics=["accuracy"], weighted_metrics=["mae"])
    fixed(m)
    h = m.fit(X, Y, batch_size=3, epochs=2, shuffle=False, verbose=0, validation_data=(X, Y, W), **weights)
    out["history"] = {k: [float(v) for v in h.history[k]] for k in sorted(h.history)}
    out["evaluate"] = [float(v) for v in m.evaluate(X, Y, batch_size=3, verbose=0, sample_weight=W)]
    out["train_on_batch"] = [[float(v) for v in m.train_on_batch(X[:4], Y[:4], sample_weight=W[:4])] for _ in range(2)]
    out["kernel"] = np.asarray(m.get_weights()[0], float).tolist()
    steps = np.random.RandomState(2).randn(2, 5, 3).astype("float32")
    for name, layer in (("lstm", layers.LSTM(4, input_shape=(5, 3))),
                        ("gru", layers.GRU(4, reset_after=False, input_shape=(5, 3)))):
        out[name] = np.asarray(fixed(keras.Sequential([layer])).predict(steps, verbose=0), float).tolist()
    return out


if __name__ == "__main__":
    json.dump(run(importlib.import_module(sys.argv[1]), sample_weight=PRODUCT), sys.stdout)
