"""A training step in slices against the step on the whole batch."""
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk import losses, optimizers
from graphk.frontend.engine.reducers import DistributedError, Reducer
from graphk.frontend.engine.split_step import Replicas, slices_of
from graphk.frontend.utils.generic_utils import to_list
from graphk.models import Model, Sequential, clone_model

RANDOM = np.random.RandomState(0)
X = RANDOM.rand(12, 4).astype("float32")
ROWS = {"x": X, "y": RANDOM.rand(12, 2).astype("float32")}
SEQUENCES = RANDOM.rand(12, 5, 3).astype("float32")
SEQUENCES[3, 2:] = SEQUENCES[7, 1:] = SEQUENCES[8, 4:] = 0.                  # masked


def dense():
    return Sequential([L.Dense(5, activation="tanh", input_shape=(4,), kernel_regularizer="l2"), L.Dense(2)])


def active():
    return Sequential([L.Dense(5, activation="tanh", input_shape=(4,), activity_regularizer="l1"), L.Dense(2)])


def two_outputs():
    x = L.Input((4,))
    return Model(x, [L.Dense(2, name="p")(x), L.Dense(1, name="q")(x)])


def masked():
    return Sequential([L.Masking(0., input_shape=(5, 3)), L.LSTM(4, return_sequences=True),
                       L.TimeDistributed(L.Dense(2))])


def with_penalty():
    x = L.Input((4,))
    y = L.Dense(2)(x)
    model = Model(x, y)
    model.add_loss(K.mean(K.square(y)))
    return model


WEIGHTS = np.array([1, 0, 2, 0, 0, 0, 1, .5, 3, 1, 0, 1], "float32")
PER_STEP = RANDOM.randint(0, 3, (12, 5)).astype("float32")
TWO = {"x": X, "y": [ROWS["y"], X[:, :1]]}
STEPS = {"x": SEQUENCES, "y": RANDOM.rand(12, 5, 2).astype("float32")}
CASES = {
    "plain": (dense, {"optimizer": "sgd", "loss": "mse", "metrics": ["mae"]}, ROWS),
    "adam": (dense, {"optimizer": "adam", "loss": "mse", "metrics": ["mae"]}, ROWS),
    "clipped": (dense, {"optimizer": lambda: optimizers.Adam(clipnorm=.1, clipvalue=.05), "loss": "mse"}, ROWS),
    "weighted": (dense, {"optimizer": "sgd", "loss": "mse", "metrics": ["mae"], "weighted_metrics": ["mse"]},
                 {**ROWS, "sample_weight": WEIGHTS}),
    "activity": (active, {"optimizer": "sgd", "loss": "mse"}, ROWS),
    "penalty": (with_penalty, {"optimizer": "sgd", "loss": "mae"}, {**ROWS, "sample_weight": WEIGHTS}),
    "outputs": (two_outputs, {"optimizer": "sgd", "loss": ["mse", "mae"], "loss_weights": [1., .3], "metrics": ["mse"]},
                {**TWO, "sample_weight": [WEIGHTS, WEIGHTS[::-1].copy()]}),
    "no loss": (two_outputs, {"optimizer": "sgd", "loss": ["mse", None]}, {"x": X, "y": ROWS["y"]}),
    "sum": (dense, {"optimizer": "sgd", "loss": losses.MeanSquaredError(reduction="sum")},
            {**ROWS, "sample_weight": WEIGHTS}),
    "object": (dense, {"optimizer": "sgd", "loss": losses.MeanSquaredError()}, {**ROWS, "sample_weight": WEIGHTS}),
    "mask": (masked, {"optimizer": "sgd", "loss": "mse", "metrics": ["mae"]}, STEPS),
    "mask, weights": (masked, {"optimizer": "adam", "loss": "mse"}, {**STEPS, "sample_weight": WEIGHTS}),
    "mask, per step": (masked, {"optimizer": "sgd", "loss": "mse", "sample_weight_mode": "temporal"},
                       {**STEPS, "sample_weight": PER_STEP}),
    "scaled": (dense, {"optimizer": "sgd", "loss": "mse", "mixed_precision": "bfloat16", "loss_scale": "dynamic"},
               ROWS),
}


class Together(Reducer):
    """Threads that add up, by rank."""

    def __init__(self, rank, size, shared):
        super().__init__()
        self.rank, self.size, self.shared = rank, size, shared
        self.kinds = []

    @staticmethod
    def of(size):
        shared = {"barrier": threading.Barrier(size, timeout=120), "slots": [None] * size}
        return [Together(i, size, shared) for i in range(size)]

    def gather(self, value):
        self.shared["slots"][self.rank] = value
        self.shared["barrier"].wait()
        found = list(self.shared["slots"])
        self.shared["barrier"].wait()
        return found

    def agree(self, what):
        if len(set(self.gather(what))) > 1:
            raise DistributedError(what)

    def total(self, array):
        assert array.ndim == 1
        self.kinds.append(array.dtype.name)
        array[...] = sum(self.gather(array.copy()))


def made(case, weights=None):
    build, settings, _ = CASES[case]
    model = build()
    if weights is not None:
        model.set_weights(weights)
    opt = settings["optimizer"]
    opt = opt() if callable(opt) else optimizers.get(opt)
    model.compile(**{**settings, "optimizer": opt})
    return model


def rows(data, part):
    return {k: [a[part] for a in v] if isinstance(v, list) else v[part] for k, v in data.items()}


def in_ranks(models, data, ends, steps=4):
    """What the losses and weights are when each of several threads trains a model on its own rows."""
    reducers = Together.of(len(models))
    out, errors = [None] * len(models), []
    for model, reducer in zip(models, reducers):
        model.optimizer.reducer = reducer
        model._make_train_function()

    def train(i):
        try:
            out[i] = [models[i].train_on_batch(**rows(data, slice(*ends[i]))) for _ in range(steps)]
        except BaseException as e:                                 # noqa: BLE001 - shown by the test
            errors.append(e)
            reducers[i].shared["barrier"].abort()
    threads = [threading.Thread(target=train, args=(i,)) for i in range(len(models))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return out, reducers


def close(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_slices_on_devices_make_the_step_of_the_whole_batch(case):
    _, _, data = CASES[case]
    whole = made(case)
    sliced = made(case, whole.get_weights())
    sliced._devices = ("cpu", "cpu", "cpu")
    for _ in range(4):
        close(np.atleast_1d(sliced.train_on_batch(**data)), np.atleast_1d(whole.train_on_batch(**data)))
    close(sliced.get_weights(), whole.get_weights())
    close(np.atleast_1d(sliced.test_on_batch(**data)), np.atleast_1d(whole.test_on_batch(**data)))
    close(to_list(sliced.predict(data["x"])), to_list(whole.predict(data["x"])))


@pytest.mark.parametrize("case", CASES)
def test_processes_make_the_step_of_the_batch_of_all(case):
    _, _, data = CASES[case]
    whole = made(case)
    first = whole.get_weights()
    models = [made(case, first), made(case, first)]
    want = [whole.train_on_batch(**data) for _ in range(4)]
    got, reducers = in_ranks(models, data, [(0, 5), (5, 12)])
    for m in models:
        close(m.get_weights(), whole.get_weights())
    for a, b in zip(models[0].get_weights(), models[1].get_weights()):
        np.testing.assert_array_equal(a, b)
    assert np.shape(got[0]) == np.shape(want)
    assert reducers[0].kinds == ["float64", "float32"] * 4         # amounts, then all gradients in one buffer


def test_a_slice_whose_weights_are_all_zero_adds_nothing():
    data = {**ROWS, "sample_weight": np.array([0] * 6 + [1] * 6, "float32")}
    whole = made("plain")
    models = [made("plain", whole.get_weights()) for _ in range(2)]
    whole.train_on_batch(**data)
    in_ranks(models, data, [(0, 6), (6, 12)], steps=1)
    close(models[0].get_weights(), whole.get_weights())


def test_weights_that_differ_are_refused():
    models = [made("plain"), made("plain")]
    with pytest.raises(DistributedError, match=r"has not the same values on all ranks.*BroadcastGlobalVariables"):
        in_ranks(models, ROWS, [(0, 6), (6, 12)])


def test_models_that_differ_are_refused():
    models = [made("plain"), dense()]
    models[1].add(L.Dense(2))
    models[1].compile("sgd", "mse")
    with pytest.raises(DistributedError, match=r"a training step of weights float32\[4, 5\]"):
        in_ranks(models, ROWS, [(0, 6), (6, 12)])


def test_a_scale_that_is_too_large_changes_no_state_on_any_rank():
    def build():
        return Sequential([L.Dense(3, input_shape=(4,)), L.BatchNormalization(), L.Dense(2)])
    first = build().get_weights()
    models = [build(), build()]
    for m in models:
        m.set_weights(first)
        m.compile("sgd", "mse", mixed_precision="float16", loss_scale="dynamic")
    data = {"x": X.copy(), "y": ROWS["y"]}
    data["x"][0, 0] = np.inf                                       # only the first rank sees it
    in_ranks(models, data, [(0, 6), (6, 12)], steps=1)
    for m in models:
        close(m.get_weights(), first)
        assert K.get_value(m.loss_scale) == 2. ** 14


def test_random_numbers_differ_among_slices_processes_and_steps():
    x = K.placeholder((None, 64))
    dropped = K.dropout(x, .5)
    replicas = Replicas("dropped", [x], [], [(dropped, "join")], 1, ("cpu", "cpu"), None)
    drawn = [replicas.run([np.ones((2, 64), "float32")], lambda rows: [], 2, rank, 2)[0] for rank in (0, 1)]
    masks = [row.tobytes() for batch in drawn for row in batch]
    assert len(set(masks)) == 4 and len(replicas.counters) == 1
    model = Sequential([L.Dropout(.5, input_shape=(4,)), L.Dense(2)])
    model.compile("sgd", "mse")
    model._devices = ("cpu", "cpu")
    model.train_on_batch(X, ROWS["y"])
    model.test_on_batch(X, ROWS["y"])
    model.predict(X)
    assert [int(c.array) for c in model.train_function.replicas.counters] == [1]


def test_layers_keep_the_mean_of_the_slices_statistics():
    model = Sequential([L.BatchNormalization(input_shape=(4,), momentum=.5)])
    model.compile("sgd", "mse")
    model._devices = ("cpu", "cpu")
    model.train_on_batch(X[:, :4], X)
    moving = model.get_weights()[2]
    np.testing.assert_allclose(moving, .5 * X.mean(0), rtol=1e-5)


class Counting(L.Layer):
    """Keeps how many rows it was given."""

    def build(self, shape):
        self.count = self.add_weight("count", (), initializer="zeros", trainable=False)
        super().build(shape)

    def call(self, x):
        self.add_update(K.update(self.count, K.cast(K.shape(x)[0], "float32")), x)
        return x


def test_updates_that_depend_on_the_number_of_rows_alone():
    model = Sequential([L.Dense(2, input_shape=(4,)), Counting()])
    model.compile("sgd", "mse")
    model._devices = ("cpu", "cpu")
    model.train_on_batch(X, ROWS["y"])
    assert model.get_weights()[2] == 6                             # the mean over slices, as of all statistics
    model.predict(X[:8])


def test_metrics_read_the_weights_from_before_the_step():
    whole = dense()
    sliced = clone_model(whole)
    sliced.set_weights(whole.get_weights())
    found = []
    for model in (whole, sliced):
        kernel = model.layers[0].kernel
        model.compile("sgd", "mse", metrics=[lambda t, p, kernel=kernel: K.sum(kernel * kernel)])
        model._devices = () if model is whole else ("cpu", "cpu")
        found.append([model.train_on_batch(**ROWS) for _ in range(2)])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def test_errors_name_the_row_of_the_batch():
    model = Sequential([L.Embedding(5, 2, input_length=1), L.Flatten(), L.Dense(2)])
    model.compile("sgd", "mse")
    model._devices = ("cpu", "cpu")
    rows_ = np.zeros((12, 1), "int32")
    rows_[7] = 9
    with pytest.raises(ValueError, match=r"indices\[7,0\] = 9 is not in \[0, 5\)"):
        model.train_on_batch(rows_, ROWS["y"])


@pytest.mark.parametrize("rows, count, want", [(8, 2, [(0, 4), (4, 8)]), (7, 2, [(0, 3), (3, 7)]), (1, 3, [(0, 1)])])
def test_how_a_batch_is_cut(rows, count, want):
    assert [(s.start, s.stop) for _, s in slices_of(rows, count)] == want


def test_an_optimizer_that_takes_gradients_by_itself_is_refused():
    class Own(optimizers.SGD):
        def get_updates(self, loss, params):
            return [K.update(p, p - g) for p, g in zip(params, K.gradients(loss, params))]
    model = clone_model(dense())
    model.compile(Own(), "mse")
    model._devices = ("cpu", "cpu")
    with pytest.raises(ValueError, match="takes gradients by itself, so that they cannot be added up"):
        model.train_on_batch(X, ROWS["y"])


def test_processes_may_have_several_devices_each():
    whole = made("weighted")
    models = [made("weighted", whole.get_weights()) for _ in range(2)]
    models[0]._devices = ("cpu", "cpu")
    data = CASES["weighted"][2]
    for _ in range(3):
        whole.train_on_batch(**data)
    in_ranks(models, data, [(0, 7), (7, 12)], steps=3)
    for m in models:
        close(m.get_weights(), whole.get_weights())


@pytest.mark.slow
def test_the_formulas_of_keras_2_3():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "whole_batch"]
    done = subprocess.run(command, env={**os.environ, "GRAPHK_FLAGS": "keras_semantics=2.3"}, capture_output=True,
                          text=True, cwd=Path(__file__).parents[2], timeout=280)
    assert done.returncode == 0 and f"{len(CASES)} passed" in done.stdout, done.stdout
