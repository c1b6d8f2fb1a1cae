"""GRAPHK_FLAGS=keras_semantics=2.3: what Keras 2.3 does otherwise than 2.2, in a process that was started with it."""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
PROGRAM = """
import json, sys, warnings
import numpy as np
warnings.simplefilter("error")
sys.path.insert(0, {here!r})
import semantics as s
import graphk
from graphk import backend as K, layers as L, optimizers as O
from graphk.models import Model, Sequential
out = {{"program": s.run(graphk, sample_weight=s.W, class_weight=s.CLASSES)}}

m = Sequential([L.Masking(0., input_shape=(3, 1)), L.Dense(1, kernel_initializer="ones")])
m.compile("sgd", "mse", metrics=["mse"], weighted_metrics=["mae"], sample_weight_mode="temporal")
x = np.array([[[1.], [2.], [0.]], [[3.], [0.], [0.]]])
out["masked"] = [float(v) for v in m.test_on_batch(x, x * 0, sample_weight=np.array([[1., 0., 1.], [2., 1., 1.]]))]

i = L.Input((1,))
two = Model(i, [L.Dense(1, kernel_initializer="ones", name="a")(i), L.Dense(1, kernel_initializer="ones", name="b")(i)])
two.compile(O.SGD(0.), "mse", metrics=["mae", "mae", lambda t, p: K.max(p)])
z = np.array([[1.], [1.], [3.]])
h = two.fit(z, [0 * z, 0 * z], batch_size=2, shuffle=False, verbose=0).history
out["two"] = {{k: [float(v) for v in h[k]] for k in h}}
one = [two.train_on_batch(z, [0 * z, 0 * z]) for _ in range(2)]
out["same again"] = bool(np.allclose(*one))
two.reset_metrics()
kept = [two.train_on_batch(z[k:k + 1], [0 * z[:1], 0 * z[:1]], reset_metrics=False)[3] for k in (0, 2)]
out["kept"] = [float(v) for v in kept]

out["state"] = {{}}
for cls in (O.RMSprop, O.Adagrad, O.Adadelta, O.Nadam):
    n = Sequential([L.Dense(2, use_bias=False, input_shape=(3,))])
    n.compile(cls(), "mse")
    n.train_on_batch(np.ones((1, 3)), np.ones((1, 2)))
    out["state"][cls.__name__] = [list(w.shape) for w in n.optimizer.get_weights()]
out["optimizer"] = O.Adam(learning_rate=.5).get_config()
out["lr"] = float(K.get_value(O.deserialize(O.serialize(O.Adam(lr=.25))).lr))
out["layers"] = {{c.__name__: [c(2).get_config()[k] for k in ("recurrent_activation", "implementation")]
                 for c in (L.LSTM, L.GRU, L.LSTMCell, L.GRUCell)}}
out["convolution"] = L.ConvLSTM2D(2, 3).get_config()["recurrent_activation"]
out["version"] = json.loads(m.to_json())["keras_version"]
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    home = str(tmp_path_factory.mktemp("home"))
    env = {**os.environ, "GRAPHK_FLAGS": "keras_semantics=2.3", "GRAPHK_HOME": home}
    code = PROGRAM.format(here=str(HERE))
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def test_numbers_of_a_program(later):
    """Names of the user's, no division by the share of weights, metrics as streams, weights that multiply, sigmoid."""
    want, got = json.loads((HERE / "semantics.json").read_text()), later["program"]
    assert got["history"].keys() == want["history"].keys() == {"loss", "accuracy", "mae", "val_loss", "val_accuracy",
                                                              "val_mae"}
    for key in want["history"]:
        np.testing.assert_allclose(got["history"][key], want["history"][key], rtol=1e-5)
    for key in ("evaluate", "train_on_batch", "kernel", "lstm", "gru"):
        np.testing.assert_allclose(got[key], want[key], rtol=1e-4, atol=1e-6)


def test_masks_are_weights(later):
    square, mask = np.array([[1., 4., 0.], [9., 0., 0.]]), np.array([[1., 1., 0.], [1., 0., 0.]])
    w = np.array([[1., 0., 1.], [2., 1., 1.]])
    want = [(square * w * mask).sum() / 6, (square * mask).sum() / mask.sum(),
            (np.sqrt(square) * w * mask).sum() / (w * mask).sum()]
    np.testing.assert_allclose(later["masked"], want, rtol=1e-6)


def test_several_outputs(later):
    h = later["two"]
    assert list(h) == ["loss", "a_loss", "b_loss", "a_mae", "a_mae_1", "a_<lambda>", "b_mae", "b_mae_1", "b_<lambda>"]
    np.testing.assert_allclose(h["loss"], 2 * 11 / 3)            # the mean of samples
    np.testing.assert_allclose(h["a_loss"], (1 + 9) / 2)         # of batches
    np.testing.assert_allclose(h["a_mae"], 5 / 3)
    np.testing.assert_allclose(h["b_<lambda>"], (1 + 3) / 2)
    assert later["same again"], "train_on_batch resets metrics"
    np.testing.assert_allclose(later["kept"], [1, (1 + 3) / 2])


def test_optimizers_layers_and_versions(later):
    assert later["state"] == {"RMSprop": [[], [3, 2]], "Adagrad": [[], [3, 2]], "Adadelta": [[], [3, 2], [3, 2]],
                              "Nadam": [[], [], [3, 2], [3, 2]]}
    assert later["optimizer"]["learning_rate"] == .5 and "lr" not in later["optimizer"] and later["lr"] == .25
    assert later["layers"] == {c: ["sigmoid", 2] for c in ("LSTM", "GRU", "LSTMCell", "GRUCell")}
    assert later["convolution"] == "hard_sigmoid" and later["version"] == "2.3.1"


def test_this_process_has_the_semantics_of_2_2():
    from graphk import layers as L
    from graphk import optimizers as O
    assert L.LSTM(2).get_config()["recurrent_activation"] == L.ConvLSTM2D(2, 3).get_config()["recurrent_activation"] \
        == "hard_sigmoid" and L.GRU(2).implementation == 1
    assert "lr" in O.SGD().get_config() and "learning_rate" not in O.SGD().get_config()


@pytest.mark.peers
def test_the_recorded_numbers_are_tf_keras_own(peer):
    """Records again; GRAPHK_PEER names a Python that has tf_keras."""
    done = subprocess.run([peer, str(HERE / "semantics.py"), "tf_keras"], capture_output=True, text=True, check=True)
    want, got = json.loads((HERE / "semantics.json").read_text()), json.loads(done.stdout)
    for key in want["history"]:
        np.testing.assert_allclose(got["history"][key], want["history"][key], rtol=1e-5)
