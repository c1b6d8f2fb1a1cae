"""Noise that acts in training only.

In: tensors.  Out: the same shape.  What always holds: in the test phase the input comes out unchanged.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import Layer
from graphk.frontend.layers.arguments import fraction, number
from graphk.frontend.tensor import Tensor


class _Noise(Layer):
    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class GaussianNoise(_Noise):
    """Adds normal noise of standard deviation `stddev`.

    >>> K.eval(GaussianNoise(1.)(K.variable([[1., 2.]]))).tolist()                 # the test phase
    [[1.0, 2.0]]
    """

    def __init__(self, stddev: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.stddev = number(self, "stddev", stddev)

    def call(self, inputs: Tensor, training: Any = None) -> Tensor:
        def noised() -> Tensor:
            return inputs + K.random_normal(K.shape(inputs), mean=0., stddev=self.stddev, dtype=inputs.dtype)
        return K.in_train_phase(noised, inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev}


class GaussianDropout(_Noise):
    """Multiplies by normal noise of mean 1 and standard deviation sqrt(rate / (1 - rate)) (Srivastava et al., 2014).

    >>> GaussianDropout(.5)(K.placeholder((None, 3))).shape
    (None, 3)
    """

    def __init__(self, rate: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = fraction(self, "rate", rate)

    def call(self, inputs: Tensor, training: Any = None) -> Tensor:
        if not 0 < self.rate < 1:
            return inputs

        def noised() -> Tensor:
            stddev = float(np.sqrt(self.rate / (1.0 - self.rate)))
            return inputs * K.random_normal(K.shape(inputs), mean=1.0, stddev=stddev, dtype=inputs.dtype)
        return K.in_train_phase(noised, inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


class AlphaDropout(_Noise):
    """Dropout that keeps mean and variance of SELU activations (Klambauer et al., 2017).

    >>> AlphaDropout(.1)(K.placeholder((None, 3))).shape
    (None, 3)
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = fraction(self, "rate", rate)
        self.noise_shape, self.seed = noise_shape, seed

    def call(self, inputs: Tensor, training: Any = None) -> Tensor:
        if not 0. < self.rate < 1.:
            return inputs
        shape = K.shape(inputs) if self.noise_shape is None else tuple(
            K.shape(inputs)[i] if d is None else d for i, d in enumerate(self.noise_shape))
        low = -1.6732632423543772848170429916717 * 1.0507009873554804934193349852946

        def dropped() -> Tensor:
            kept = K.cast(K.greater_equal(K.random_uniform(shape, seed=self.seed), self.rate), inputs.dtype)
            a = ((1 - self.rate) * (1 + self.rate * low ** 2)) ** -0.5
            return (inputs * kept + low * (1 - kept)) * a - a * low * self.rate
        return K.in_train_phase(dropped, inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "noise_shape": self.noise_shape, "seed": self.seed}
