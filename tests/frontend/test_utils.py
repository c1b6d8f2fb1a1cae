"""`graphk.utils`: helpers that programs call themselves."""
import pickle

import numpy as np
import pytest

from graphk import layers as L
from graphk.models import Sequential
from graphk.utils import generic_utils, layer_utils


@pytest.mark.parametrize("target, shape", [("channels_first", (3, 4, 5)), ("channels_last", (4, 5, 3))])
@pytest.mark.parametrize("bias", [True, False])
def test_dense_weights_for_the_other_data_format(target, shape, bias):
    """What a Dense layer makes of feature maps stays the same when their axes change."""
    dense = L.Dense(2, use_bias=bias, input_shape=(60,))
    model = Sequential([dense])
    maps = np.random.rand(6, *shape)                            # as they come from now on
    old = np.moveaxis(maps, 1, -1) if target == "channels_first" else np.moveaxis(maps, -1, 1)
    before = model.predict(old.reshape(6, -1))
    layer_utils.convert_dense_weights_data_format(dense, shape, target)
    np.testing.assert_allclose(model.predict(maps.reshape(6, -1)), before, rtol=1e-5, atol=1e-6)


def test_dense_weights_of_another_size():
    dense = L.Dense(2, input_shape=(60,))
    Sequential([dense])
    with pytest.raises(ValueError, match="kernel of 60 rows, but feature maps of shape .* have 40 values"):
        layer_utils.convert_dense_weights_data_format(dense, (2, 4, 5))
    with pytest.raises(ValueError, match="data_format"):
        layer_utils.convert_dense_weights_data_format(dense, (3, 4, 5), "somewhere")


def test_all_kernels_of_a_model_turned_around():
    model = Sequential([L.Conv2D(2, (3, 2), input_shape=(6, 6, 1)), L.Conv2DTranspose(3, 2), L.SeparableConv2D(2, 2),
                        L.Flatten(), L.Dense(2)])
    old = model.get_weights()
    layer_utils.convert_all_kernels_in_model(model)
    for i, (a, b) in enumerate(zip(old, model.get_weights())):
        np.testing.assert_array_equal(b, a[::-1, ::-1] if i in (0, 2) else a)


def test_unexpected_keys():
    generic_utils.check_for_unexpected_keys("metrics", {"a": 1}, ["a", "b"])
    with pytest.raises(ValueError, match='Unknown entry in metrics dictionary: "c"'):
        generic_utils.check_for_unexpected_keys("metrics", {"c": 1}, ["a", "b"])


def test_functions_taken_apart_and_put_together():
    def scaled(factor):
        return lambda x, shift=1: factor * x + shift
    code, defaults, closure = generic_utils.func_dump(scaled(5))
    assert (defaults, closure) == ((1,), (5,))
    assert generic_utils.func_load((code, defaults, closure))(2) == 11
    assert generic_utils.func_load(code, defaults=[2], closure=[7])(2) == 16
    with pytest.raises(NotImplementedError, match="executes no code from files"):
        generic_utils.func_load(pickle.loads(pickle.dumps(code)), defaults, closure)
