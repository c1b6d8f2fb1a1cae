"""First values of weights are drawn when something reads them: nobody can tell, unless he overwrites them first.

What always holds: values follow from the seed, taken when the layer is built, whatever is read, and in whatever order.
"""
from __future__ import annotations

import gc
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest

from graphk import backend as K
from graphk import initializers
from graphk.layers import Conv2D, Dense, Flatten
from graphk.models import Sequential
from graphk.frontend.tensor import variable_of

RANDOM = ("RandomNormal", "RandomUniform", "TruncatedNormal", "glorot_uniform", "he_normal")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is drawn."""
    sizes: list[int] = []
    for name in ("_normal", "_uniform", "_truncated"):
        monkeypatch.setattr(initializers, name, partial(counted, sizes, getattr(initializers, name)))
    return sizes


def counted(sizes: list[int], draw: Any, rng: Any, out: np.ndarray) -> None:
    sizes.append(out.size)
    draw(rng, out)


def network() -> Sequential:
    np.random.seed(7)
    return Sequential([Conv2D(3, 2, kernel_initializer="he_normal", input_shape=(4, 4, 2)), Flatten(),
                       Dense(40, kernel_initializer="random_normal"), Dense(5)])


def test_values_do_not_depend_on_the_order_of_reads() -> None:
    forwards = [K.get_value(w) for w in network().weights]
    model = network()
    np.random.rand(3)
    backwards = [K.get_value(w) for w in reversed(model.weights)][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(a, b)
    np.random.seed(7)
    np.testing.assert_array_equal(forwards[0], initializers.he_normal()((2, 2, 2, 3), "float32"))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", RANDOM)
def test_more_than_a_piece_is_one_sequence_of_numbers(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = getattr(initializers, name)(seed=3)((90, 11), dtype)
    monkeypatch.setattr(initializers, "CHUNK", 64)
    np.testing.assert_array_equal(getattr(initializers, name)(seed=3)((90, 11), dtype), whole)


def test_what_is_overwritten_is_not_drawn(drawn: list[int], tmp_path: Any) -> None:
    model = network()
    assert not drawn
    weights = [np.full(w.shape, i, "float32") for i, w in enumerate(model.weights)]
    model.set_weights(weights)
    model.save_weights(str(tmp_path / "w.h5"))
    again = network()
    again.load_weights(str(tmp_path / "w.h5"))
    for w, value in zip(again.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(w, value)
    assert not drawn
    assert network().get_weights() and drawn


def test_an_interrupted_draw_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    want = network().get_weights()[2]
    monkeypatch.setattr(initializers, "CHUNK", 100)
    model, real, calls = network(), initializers._normal, [0]

    def interrupted(rng: Any, out: np.ndarray) -> None:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        real(rng, out)
    kernel = model.layers[2].kernel
    monkeypatch.setattr(initializers, "_normal", interrupted)
    kernel.storage._draw = initializers._fill(0, interrupted, np.float32, 1., 0.)
    with pytest.raises(KeyboardInterrupt):
        K.get_value(kernel)
    second = K.get_value(kernel)
    monkeypatch.setattr(initializers, "_normal", real)
    np.testing.assert_array_equal(second, initializers.RandomNormal(0., 1., seed=0)(want.shape, "float32"))


def test_the_value_outlives_the_handle(drawn: list[int]) -> None:
    np.random.seed(1)
    layer = Dense(3)
    layer.build((None, 2))
    node = layer.kernel.node
    del layer
    gc.collect()
    assert not drawn
    np.random.seed(1)
    np.testing.assert_array_equal(variable_of(node).get_value(), initializers.glorot_uniform()((2, 3), "float32"))


def test_threads_that_read_and_write_at_once() -> None:
    for _ in range(20):
        layer = Dense(300)
        layer.build((None, 300))
        value = np.ones((300, 300), "float32")
        v = layer.kernel
        threads = [threading.Thread(target=t) for t in (v.get_value, partial(v.set_value, value), v.get_value)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        np.testing.assert_array_equal(layer.kernel.get_value(), value)


def test_a_child_forked_while_a_thread_draws_can_read():
    """The thread that held the lock is not there in the child."""
    import os
    import threading

    from graphk.runtime import storage
    layer = Dense(3, input_shape=(2,))
    layer.build((None, 2))
    holds, done = threading.Event(), threading.Event()

    def hold():
        with storage._lock:
            holds.set()
            done.wait(30)
    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(10)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if layer.get_weights()[0].any() else 1)
    done.set()
    thread.join()
    assert os.waitpid(pid, 0)[1] == 0
