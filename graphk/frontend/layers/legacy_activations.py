"""Activations of Keras 1 that Keras 2 left out: SReLU and ParametricSoftplus.

In: tensors.  Out: the same shape.  What always holds: each number of a sample has parameters of its own, but for axes
that share them.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import backend as K
from graphk.frontend import initializers
from graphk.frontend.layers.advanced_activations import _WithParameters
from graphk.frontend.layers.settings import adopt, described
from graphk.frontend.tensor import Tensor

_INITS = ("t_left_init", "a_left_init", "t_right_init", "a_right_init")


class SReLU(_WithParameters):
    """x between two thresholds, lines of learned slopes beyond them (Jin et al., 2016).

    Below t_left: t_left + a_left (x - t_left); above t = t_left + |t_right|: t + a_right (x - t).
    shared_axes: axes (from 1) along which the four parameters are shared.

    >>> K.eval(SReLU(a_left_init='zero', t_right_init='one')(K.variable([[-2., .5, 3.]]))).tolist()
    [[0.0, 0.5, 3.0]]
    """

    t_left_init: Any

    def __init__(self, t_left_init: Any = "zero", a_left_init: Any = "glorot_uniform",
                 t_right_init: Any = "glorot_uniform", a_right_init: Any = "one", shared_axes: Any = None,
                 **kwargs: Any):
        super().__init__(shared_axes, **kwargs)
        adopt(self, t_left_init=t_left_init, a_left_init=a_left_init, t_right_init=t_right_init,
              a_right_init=a_right_init)

    def build(self, input_shape: Any) -> None:
        shape = self._parameter_shape(input_shape)
        self.t_left, self.a_left, self.t_right, self.a_right = (
            self.add_weight(name.removesuffix("_init"), shape, initializer=getattr(self, name)) for name in _INITS)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        right = self.t_left + K.abs(self.t_right)
        return inputs + (1 - self.a_left) * K.relu(self.t_left - inputs) + (self.a_right - 1) * K.relu(inputs - right)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **described(self, *_INITS)}


class ParametricSoftplus(_WithParameters):
    """alpha log(1 + exp(beta x)), with a learned alpha and beta.

    alpha_init, beta_init: numbers, or initializers, as which configs have them;
    shared_axes: axes (from 1) along which the parameters are shared.

    >>> round(float(K.eval(ParametricSoftplus(1., 1.)(K.variable([[0.]])))[0, 0]), 4)
    0.6931
    """

    alpha_init: Any
    beta_init: Any

    def __init__(self, alpha_init: Any = 0.2, beta_init: Any = 5.0, shared_axes: Any = None, **kwargs: Any):
        super().__init__(shared_axes, **kwargs)
        adopt(self, **{name: initializers.Constant(first) if isinstance(first, (int, float)) else first
                       for name, first in (("alpha_init", alpha_init), ("beta_init", beta_init))})

    def build(self, input_shape: Any) -> None:
        shape = self._parameter_shape(input_shape)
        self.alpha = self.add_weight("alpha", shape, initializer=self.alpha_init)
        self.beta = self.add_weight("beta", shape, initializer=self.beta_init)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        return K.softplus(self.beta * inputs) * self.alpha

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **described(self, "alpha_init", "beta_init")}
