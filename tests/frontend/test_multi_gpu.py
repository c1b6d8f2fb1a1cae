"""Models whose batches are split among replicas."""
import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.models import Model
from graphk.utils import multi_gpu_model
from graphk.utils.multi_gpu_utils import multi_gpu_model as same


def model():
    a, b = L.Input((4,)), L.Input((3,))
    return Model([a, b], [L.Dense(2, name="p")(L.concatenate([a, b])), L.Dense(1, name="q")(b)])


@pytest.mark.parametrize("replicas", [2, 3])
def test_replicas_share_the_weights(replicas):
    single = model()
    several = multi_gpu_model(single, [f"/cpu:{i}" for i in range(replicas)])
    assert several.output_names == single.output_names and several.count_params() == single.count_params()
    assert several.output_shape == [(None, 2), (None, 1)] and same is multi_gpu_model
    random = np.random.RandomState(0)
    for rows in (1, 2, 7, 8):                                   # also fewer rows than replicas
        x = [random.rand(rows, 4), random.rand(rows, 3)]
        for mine, want in zip(several.predict(x), single.predict(x)):
            np.testing.assert_allclose(mine, want, rtol=1e-5)
    twin = model()
    twin.set_weights(single.get_weights())
    y = [np.ones((8, 2)), np.ones((8, 1))]
    for m in (several, twin):
        m.compile("sgd", "mse")
        m.fit(x, y, batch_size=5, epochs=2, shuffle=False, verbose=0)
    for mine, want in zip(single.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(mine, want, rtol=1e-4, atol=1e-6)


def test_relocation_replicates_a_copy():
    single = model()
    several = multi_gpu_model(single, ["cpu:0", "CPU:1"], cpu_relocation=True)
    several.set_weights([w + 1 for w in several.get_weights()])
    assert not any(np.allclose(a, b) for a, b in zip(single.get_weights(), several.get_weights()))


@pytest.mark.parametrize("gpus, words", [
    (None, r"`gpus >= 2`. Received: `gpus=0`"), (1, r"`gpus >= 2`. Received: `gpus=1`"),
    (["cpu:0"], r"`len\(gpus\) >= 2`"),
    (2, r"with `gpus=2`, we expect .* available: \['/cpu:0', '/gpu:0', '/gpu:1'\]. However .* only has: \['/cpu:0'\]"),
    ([0, 1], "Try reducing `gpus`, or name CPU replicas"), (["gpu:0", "cpu:1"], "only has")])
def test_devices_that_are_not_there(gpus, words):
    assert K._get_available_gpus() == []
    with pytest.raises(ValueError, match=words):
        multi_gpu_model(model(), gpus)
    with pytest.raises(TypeError, match="`gpus` of multi_gpu_model is a number, or a list .* received 'cpu:0'"):
        multi_gpu_model(model(), "cpu:0")
