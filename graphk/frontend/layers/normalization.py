"""Batch normalization.

In: tensors (samples, …).  Out: the same shape, normalized.  What always holds: training uses the batch's own
mean and biased variance and moves the averages; testing uses the averages; masks are passed on unread.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import InputSpec, Layer
from graphk.frontend.layers import arguments
from graphk.frontend.layers.settings import add_kernel, adopt, described, settings_of
from graphk.frontend.tensor import Tensor
from graphk.ir.dims import product
from graphk.ir.ops.shape import dim_value


class BatchNormalization(Layer):
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta along `axis` (Ioffe and Szegedy, 2015).

    Weights: gamma, beta (trainable), moving_mean, moving_variance.  The moving averages are multiplied by `momentum`
    and the batch's statistics added with 1 - momentum; the variance is scaled by n / (n - 1 - epsilon) first.

    >>> [w.name for w in BatchNormalization(name='b')(K.placeholder((None, 3)))._keras_history[0].weights]
    ['b/gamma:0', 'b/beta:0', 'b/moving_mean:0', 'b/moving_variance:0']
    """

    moving_mean_initializer: Any
    moving_variance_initializer: Any

    def __init__(self, axis: int = -1, momentum: float = 0.99, epsilon: float = 1e-3, center: bool = True,
                 scale: bool = True, beta_initializer: Any = "zeros", gamma_initializer: Any = "ones",
                 moving_mean_initializer: Any = "zeros", moving_variance_initializer: Any = "ones",
                 beta_regularizer: Any = None, gamma_regularizer: Any = None, beta_constraint: Any = None,
                 gamma_constraint: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.axis = arguments.axis(self, "axis", axis)
        self.momentum, self.epsilon = (arguments.number(self, "momentum", momentum),
                                       arguments.number(self, "epsilon", epsilon))
        self.center, self.scale = center, scale
        adopt(self, beta_initializer=beta_initializer, gamma_initializer=gamma_initializer,
              moving_mean_initializer=moving_mean_initializer, moving_variance_initializer=moving_variance_initializer,
              beta_regularizer=beta_regularizer, gamma_regularizer=gamma_regularizer, beta_constraint=beta_constraint,
              gamma_constraint=gamma_constraint)

    def build(self, input_shape: Any) -> None:
        if not -len(input_shape) <= self.axis < len(input_shape):
            raise ValueError(f"The layer {self.name} normalizes axis {self.axis}, but its input has the shape "
                             f"{tuple(input_shape)} (batch axis included).")
        dim = input_shape[self.axis]
        if dim is None:
            raise ValueError(f"Axis {self.axis} of input tensor should have a defined dimension but the layer "
                             f"{self.name} received an input with shape {input_shape}. Give Input (or `input_shape`) a "
                             "size there.")
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: dim})
        self.gamma = add_kernel(self, "gamma", (dim,)) if self.scale else None
        self.beta = add_kernel(self, "beta", (dim,)) if self.center else None
        self.moving_mean = self.add_weight("moving_mean", (dim,), initializer=self.moving_mean_initializer,
                                           trainable=False)
        self.moving_variance = self.add_weight("moving_variance", (dim,), initializer=self.moving_variance_initializer,
                                               trainable=False)
        self.built = True

    def call(self, inputs: Tensor, training: Any = None) -> Tensor:
        ndim = inputs.ndim
        axis = self.axis % ndim
        axes = [i for i in range(ndim) if i != axis]

        def spread(w: Any) -> Any:
            return w if w is None or axis == ndim - 1 else K.reshape(w, [-1 if i == axis else 1 for i in range(ndim)])

        def by_averages() -> Tensor:
            return K.batch_normalization(
                inputs,
                spread(self.moving_mean),
                spread(self.moving_variance),
                spread(self.beta),
                spread(self.gamma),
                epsilon=self.epsilon,
            )
        if not isinstance(training, Tensor) and training is not None and not training:
            return by_averages()
        normed, mean, variance = K.normalize_batch_in_training(
            inputs, self.gamma, self.beta, axes, epsilon=self.epsilon
        )
        n = K.cast(Tensor(dim_value(product([inputs.node.shape[i] for i in axes]))), inputs.dtype)
        variance = variance * (n / (n - (1.0 + self.epsilon)))
        self.add_update([K.moving_average_update(self.moving_mean, mean, self.momentum),
                         K.moving_average_update(self.moving_variance, variance, self.momentum)], inputs)
        return K.in_train_phase(normed, by_averages, training=training)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "momentum": self.momentum, "epsilon": self.epsilon,
                "center": self.center, "scale": self.scale,
                **described(self, *settings_of("beta", "gamma"), "moving_mean_initializer",
                            "moving_variance_initializer")}
