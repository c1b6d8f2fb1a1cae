"""`tensorflow.train`: the optimizers that scripts run through a session, beside Keras's.

In: a loss, or gradients with their variables.  Out: a `Step` for `K.get_session().run`.  What always holds: the
formulas are TensorFlow 1's, where they differ from Keras's too (epsilons, first values).
"""
from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.first_values import Step
from graphk.frontend.tensor import Tensor, Variable, node_of, tensor_of
from graphk.frontend.tf.names import named
from graphk.ir.node import topological

Formula = Callable[["Optimizer", Variable, Tensor, Any], tuple[Any, list[Any]]]


class Optimizer:
    """One of TensorFlow's: `minimize(loss)` is what a session runs.

    >>> from graphk import backend as K
    >>> v = K.variable(3.)
    >>> step = K.tf.train.GradientDescentOptimizer(.1).minimize(K.square(v), var_list=[v])
    >>> K.get_session().run([step, K.square(v)])
    [None, array(9., dtype=float32)]
    >>> round(float(K.get_value(v)), 4)
    2.4
    """

    def __init__(self, formula: Formula, settings: dict[str, Any]):
        self._formula, self.settings = formula, settings

    def compute_gradients(self, loss: Tensor, var_list: Sequence[Variable] | None = None) -> list[tuple[Any, Variable]]:
        """Pairs of a gradient, None where there is none, and its variable: by default all that the loss depends on and
        that are trained."""
        found = [tensor_of(n) for n in topological([node_of(loss)]) if n.op.name == "variable"]
        if isinstance(var_list, Tensor):
            var_list = [var_list]
        chosen = list(var_list) if var_list is not None else [v for v in found if v.trainable]   # type: ignore[attr-defined]
        return list(zip(K.gradients(loss, chosen), chosen))                                  # type: ignore[arg-type]

    def apply_gradients(self, grads_and_vars: Any, global_step: Any = None) -> Step:
        """The step; ValueError if there is no gradient at all."""
        pairs = [(g, v) for g, v in grads_and_vars if g is not None]
        if not pairs:
            raise ValueError("No gradients provided for any variable: the loss depends on none of them")
        number = _kept(0., name="step")
        updates = [K.update_add(number, 1.)]
        for g, v in pairs:
            change, more = self._formula(self, v, g, number + 1.)
            new = v - change
            updates += [*more, K.update(v, v.constraint(new) if v.constraint is not None else new)]
        if global_step is not None:
            updates.append(K.update_add(global_step, 1))
        return Step(updates)

    def minimize(self, loss: Tensor, global_step: Any = None, var_list: Sequence[Variable] | None = None) -> Step:
        """The step that makes the loss smaller."""
        return self.apply_gradients(self.compute_gradients(loss, var_list), global_step)


def _slot(v: Variable, value: float = 0.) -> Variable:
    """Numbers of the variable's shape that a formula keeps from step to step."""
    return _kept(np.full(K.int_shape(v), value), K.dtype(v))


def _kept(value: Any, dtype: str | None = None, name: str | None = None) -> Variable:
    """A variable that no gradient changes."""
    out = K.variable(value, dtype, name)
    out.trainable = False
    return out


def _descent(o: Optimizer, v: Variable, g: Tensor, t: Any) -> tuple[Any, list[Any]]:
    return o.settings["learning_rate"] * g, []


def _momentum(o: Optimizer, v: Variable, g: Tensor, t: Any) -> tuple[Any, list[Any]]:
    s, rate = _slot(v), o.settings["learning_rate"]
    speed = o.settings["momentum"] * s + g
    ahead = g + o.settings["momentum"] * speed if o.settings["use_nesterov"] else speed
    return rate * ahead, [K.update(s, speed)]


def _adam(o: Optimizer, v: Variable, g: Tensor, t: Any) -> tuple[Any, list[Any]]:
    m, s, beta1, beta2 = _slot(v), _slot(v), o.settings["beta1"], o.settings["beta2"]
    rate = o.settings["learning_rate"] * K.sqrt(1. - K.pow(beta2, t)) / (1. - K.pow(beta1, t))
    mean, square = beta1 * m + (1. - beta1) * g, beta2 * s + (1. - beta2) * K.square(g)
    return rate * mean / (K.sqrt(square) + o.settings["epsilon"]), [K.update(m, mean), K.update(s, square)]


def _rmsprop(o: Optimizer, v: Variable, g: Tensor, t: Any) -> tuple[Any, list[Any]]:
    s, m, decay = _slot(v, 1.), _slot(v), o.settings["decay"]
    square = decay * s + (1. - decay) * K.square(g)
    change = o.settings["momentum"] * m + o.settings["learning_rate"] * g / K.sqrt(square + o.settings["epsilon"])
    return change, [K.update(s, square), K.update(m, change)]


def _adagrad(o: Optimizer, v: Variable, g: Tensor, t: Any) -> tuple[Any, list[Any]]:
    s = _slot(v, o.settings["initial_accumulator_value"])
    total = s + K.square(g)
    return o.settings["learning_rate"] * g / K.sqrt(total), [K.update(s, total)]


def _optimizer(name: str, formula: Formula, /, **defaults: Any) -> None:
    def made(*args: Any, **kwargs: Any) -> Optimizer:
        given = dict(zip(defaults, args), **kwargs)
        if set(given) - set(defaults) or len(args) > len(defaults):
            raise TypeError(f"tf.train.{name} takes {', '.join(defaults)}; received {len(args)} values and "
                            f"{', '.join(kwargs) or 'no names'}")
        settings = {**defaults, **given}
        if settings["learning_rate"] is None:
            raise TypeError(f"tf.train.{name} needs a learning_rate")
        return Optimizer(formula, settings)
    made.__doc__ = f"{name}: an optimizer whose `minimize(loss)` a session runs."
    named(f"train.{name}")(made)


_optimizer("GradientDescentOptimizer", _descent, learning_rate=None, use_locking=False, name=None)
_optimizer("MomentumOptimizer", _momentum, learning_rate=None, momentum=.9, use_locking=False, name=None,
           use_nesterov=False)
_optimizer("AdamOptimizer", _adam, learning_rate=.001, beta1=.9, beta2=.999, epsilon=1e-8, use_locking=False,
           name=None)
_optimizer("RMSPropOptimizer", _rmsprop, learning_rate=None, decay=.9, momentum=0., epsilon=1e-10,
           use_locking=False, name=None)
_optimizer("AdagradOptimizer", _adagrad, learning_rate=None, initial_accumulator_value=.1,
           use_locking=False, name=None)
