"""What libraries of layers test themselves with: data, a general test of one layer, and a clean session.

In: a layer class and its arguments.  Out: what the layer computed; AssertionError, naming layer and step, where it does
not keep its promises.  What always holds: nothing here knows a particular layer.
"""
from __future__ import annotations

import functools
from typing import Any, Callable

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.engine.input_layer import Input
from graphk.frontend.engine.sequential import Sequential
from graphk.frontend.engine.training import Model
from graphk.frontend.utils.generic_utils import has_arg

Data = tuple[np.ndarray, np.ndarray]


def get_test_data(num_train: int = 1000, num_test: int = 500, input_shape: Any = (10,), output_shape: Any = (2,),
                  classification: bool = True, num_classes: int = 2) -> tuple[Data, Data]:
    """Samples from which something can be learned: ((x_train, y_train), (x_test, y_test)).

    Each sample is normal noise of deviation 0.7 around one number: its class, or, without `classification`, a random
    number in [0, 1), around which the targets, of `output_shape`, lie too.

    >>> (x, y), _ = get_test_data(4, 2, (3,), num_classes=5)
    >>> x.shape, y.shape
    ((4, 3), (4,))
    """
    n = num_train + num_test

    def around(centres: np.ndarray, shape: Any) -> np.ndarray:
        return np.random.normal(centres.reshape((n,) + (1,) * len(shape)), 0.7, (n, *shape)).astype("float32")
    centres = np.random.randint(0, num_classes, n) if classification else np.random.random(n)
    x, y = around(centres, input_shape), centres if classification else around(centres, output_shape)
    return (x[:num_train], y[:num_train]), (x[num_train:], y[num_train:])


def layer_test(layer_cls: Any, kwargs: dict[str, Any] | None = None, input_shape: Any = None,
               input_dtype: str | None = None, input_data: Any = None, expected_output: Any = None,
               expected_output_dtype: str | None = None, fixed_batch_size: bool = False) -> np.ndarray:
    """Whether a layer with one input does what every layer must; gives what it computes in the test phase.

    layer_cls(**kwargs): the layer; input_shape: with the batch axis, None where a size is drawn; input_data: instead of
    random numbers of that shape; fixed_batch_size: the model knows its batch size.

    Checked are: weights and configs of layer and model go around; in a Model and in a Sequential the output has the
    declared shape and dtype, and is `expected_output` if given; training on it works.

    >>> from graphk.layers import Dense
    >>> layer_test(Dense, {'units': 3}, input_shape=(2, 4)).shape
    (2, 3)
    """
    if input_data is None:
        input_data = _drawn(input_shape, input_dtype)
    input_shape = input_data.shape if input_shape is None else tuple(input_shape)
    input_dtype = input_dtype or str(input_data.dtype)
    layer = layer_cls(**(kwargs or {}))
    declared = layer.compute_output_shape(input_shape)
    layer.set_weights(layer.get_weights())
    x = Input(batch_shape=input_shape, dtype=input_dtype) if fixed_batch_size else \
        Input(shape=input_shape[1:], dtype=input_dtype)
    y = layer(x)
    wanted = expected_output_dtype or input_dtype
    assert K.dtype(y) == wanted, f"{layer.name}: the output is {K.dtype(y)}, expected {wanted}"
    model = Model(x, y)
    output = model.predict(input_data)
    _check_output(layer.name, output, declared, expected_output)
    _check_config_and_weights(model, input_data, output)
    if has_arg(layer.call, "training"):
        _train(model, input_data, output)

    sequential = _sequential(layer, input_shape if fixed_batch_size else (None, *input_shape[1:]))
    again = sequential.predict(input_data)
    _check_output(layer.name + " in a Sequential", again, declared, expected_output)
    _check_config_and_weights(sequential, input_data, again)
    _train(sequential, input_data, again)
    return output


def _drawn(shape: Any, dtype: str | None) -> np.ndarray:
    """Numbers from 0 to 10, of a shape whose open sizes are drawn, too."""
    if shape is None:
        raise ValueError("layer_test received neither `input_shape` nor `input_data`; give one of them")
    sizes = [np.random.randint(1, 4) if d is None else d for d in shape]
    return (10 * np.random.random(sizes)).astype(dtype or K.floatx())


def _sequential(layer: Any, batch_input_shape: Any) -> Sequential:
    """A Sequential of a layer made from the config, with the same weights."""
    model = Sequential([layer.__class__.from_config({**layer.get_config(), "batch_input_shape": batch_input_shape})])
    model.set_weights(layer.get_weights())
    return model


def _check_output(what: str, output: np.ndarray, declared: Any, expected: Any) -> None:
    """The output has the shape that was declared, and the values that are expected."""
    fits = len(declared) == output.ndim and all(d in (None, n) for d, n in zip(declared, output.shape))
    assert fits, f"{what}: the output has the shape {output.shape}; compute_output_shape says {declared}"
    if expected is not None:
        np.testing.assert_allclose(output, expected, rtol=1e-3, err_msg=what)


def _check_config_and_weights(model: Any, x: np.ndarray, output: np.ndarray) -> None:
    """A model made from the config, with the same weights, computes the same."""
    twin = model.__class__.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    np.testing.assert_allclose(twin.predict(x), output, rtol=1e-3,
                               err_msg=f"{model.layers[-1].name}, made again from the config of its model")


def _train(model: Any, x: np.ndarray, y: np.ndarray) -> None:
    model.compile("rmsprop", "mse")
    model.train_on_batch(x, y)


def keras_test(func: Callable[..., Any]) -> Callable[..., Any]:
    """A test function after which the session is cleared, whether it passes or not.

    >>> keras_test(lambda: K.get_uid("dense"))(), keras_test(lambda: K.get_uid("dense"))()
    (1, 1)
    """
    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return func(*args, **kwargs)
        finally:
            K.clear_session()
    return wrapper


__all__ = ["get_test_data", "layer_test", "keras_test"]
