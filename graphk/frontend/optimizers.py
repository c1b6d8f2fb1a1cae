"""Optimizers: how gradients change weights.

In: a loss tensor and the weights to change.  Out: updates for the train function.  What always holds: all
values are read before any is written; hyperparameters are variables, so `K.set_value(opt.lr, …)` works
while training; a weight's constraint follows its update.
"""
from __future__ import annotations

import functools
import warnings
from typing import Any, Callable, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend import config
from graphk.frontend.tensor import Tensor, Variable
from graphk.frontend.utils.advice import advice, keywords
from graphk.frontend.utils.families import members
from graphk.frontend.utils.generic_utils import (
    config_of,
    deserialize_keras_object,
    has_arg,
    serialize_keras_object,
)

_LATER = config.keras_semantics() == "2.3"          # all states count their steps, and configs say `learning_rate`
_RATE = "learning_rate" if _LATER else "lr"

_CLIPPING = ("clipnorm", "clipnorm_each", "clipvalue")


def clip_norm(g: Tensor, c: float, n: Tensor) -> Tensor:
    """The gradient `g`, scaled to the norm `c` where the norm of all gradients, `n`, is larger."""
    return g if c <= 0 else K.switch(n >= c, g * (c / n), g)


class Optimizer:
    """Base class.  clipnorm: largest global norm of the gradients; clipnorm_each: largest norm of each gradient, which
    is what tf.keras and Keras 3 call clipnorm; clipvalue: largest absolute gradient."""

    def __init__(self, **kwargs: Any):
        for k in kwargs:
            if k not in _CLIPPING:
                known = (keywords(type(self)) | {*_CLIPPING, "learning_rate"}) - {k}
                raise TypeError(f"Unexpected keyword argument passed to optimizer: {k} (in {type(self).__name__})"
                                + advice(k, known, "arguments"))
            self._check_number(k, kwargs[k] or 0)
        self.__dict__.update(kwargs)
        self.updates: list[Any] = []
        self.weights: list[Variable] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Optimizers that take `lr` take it as `learning_rate` (Keras 2.3) too; Keras 1's call of get_updates works."""
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__ and has_arg(cls.__init__, "lr") and not has_arg(cls.__init__, "learning_rate"):
            cls.__init__ = _renaming(cls.__init__)                   # type: ignore[method-assign]
        if "get_updates" in cls.__dict__ and not has_arg(cls.get_updates, "constraints"):
            cls.get_updates = both_orders(cls.get_updates)           # type: ignore[method-assign]

    def __setattr__(self, name: str, value: Any) -> None:
        """A number given to a hyperparameter, as in `optimizer.lr = .1`, becomes its value."""
        name = "lr" if name == "learning_rate" and "lr" in self.__dict__ else name
        old = self.__dict__.get(name)
        if isinstance(old, Variable) and isinstance(value, (int, float, np.number)):
            K.set_value(old, value)
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name == "learning_rate" and "lr" in self.__dict__:
            return self.lr
        raise AttributeError(f"the optimizer {type(self).__name__} has no attribute `{name}`")

    def get_updates(self, loss: Tensor, params: Sequence[Variable]) -> list[Any]:
        """The updates of one training step."""
        raise NotImplementedError(f"{type(self).__name__} must define get_updates(loss, params)")

    def get_gradients(self, loss: Tensor, params: Sequence[Variable]) -> list[Tensor]:
        """Clipped gradients; ValueError if the loss does not depend on a weight."""
        params = [params] if isinstance(params, Tensor) else list(params)      # type: ignore[list-item]
        grads = self._gradients(loss, params)
        for p, g in zip(params, grads):
            if g is None:
                raise ValueError(
                    "An operation has `None` for gradient. Please make sure that all of your ops have a gradient "
                    "defined (i.e. are differentiable). Common ops without gradient: K.argmax, K.round, K.eval. "
                    f"The loss does not depend on `{p.name}`."
                )
        clipnorm, clipvalue = getattr(self, "clipnorm", 0), getattr(self, "clipvalue", 0)
        if clipnorm and clipnorm > 0:
            norm = K.sqrt(sum(K.sum(K.square(g)) for g in grads))
            grads = [clip_norm(g, clipnorm, norm) for g in grads]
        each = getattr(self, "clipnorm_each", 0)
        if each and each > 0:
            grads = [clip_norm(g, each, K.sqrt(K.sum(K.square(g)))) for g in grads]
        if clipvalue and clipvalue > 0:
            grads = [K.clip(g, -clipvalue, clipvalue) for g in grads]
        return grads

    def _gradients(self, loss: Tensor, params: list[Variable]) -> list[Any]:
        """The gradients before clipping, None where there is none; a model that scales its loss has its own way."""
        return K.gradients(loss, params)

    def _begin(self, loss: Tensor, params: Sequence[Variable]) -> tuple[list[Tensor], Tensor, Tensor]:
        """Gradients, the decayed learning rate, and the number of this step (from 1)."""
        grads = self.get_gradients(loss, params)
        self.updates = [K.update_add(self.iterations, 1)]
        steps = K.cast(self.iterations, K.floatx())
        lr: Tensor = self.lr
        if getattr(self, "initial_decay", 0) > 0:
            lr = lr * (1. / (1. + self.decay * steps))
        return grads, lr, steps + 1.

    def _assign(self, p: Variable, new_p: Tensor) -> None:
        if getattr(p, "constraint", None) is not None:
            new_p = p.constraint(new_p)
        self.updates.append(K.update(p, new_p))

    def _counted(self, *state: Any) -> list[Any]:
        """The weights of an optimizer whose formula needs no number of steps; Keras 2.3 keeps it nevertheless."""
        return [*([self.iterations] if _LATER else []), *state]

    def _slots(self, params: Sequence[Variable]) -> list[Any]:
        return [K.zeros(K.int_shape(p), dtype=K.dtype(p)) for p in params]

    def _variables(self, **values: float) -> None:
        with K.name_scope(self.__class__.__name__):
            for name, value in values.items():
                self._check_number(name, value)
                setattr(self, name, K.variable(value, name=name, dtype="int64" if name == "iterations" else None))

    def _check_number(self, name: str, value: Any) -> None:
        if np.ndim(value) == 0 and not isinstance(value, (int, float, np.number, np.ndarray, Tensor)):
            raise TypeError(f"{self.__class__.__name__}: `{name}` must be a number; received {value!r} (a "
                            f"{type(value).__name__}).")

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the state; ValueError if count or shapes differ."""
        if len(weights) != len(self.weights):
            raise ValueError(
                "Length of the specified weight list (" + str(len(weights)) + ") does not match the number of "
                "weights of the optimizer (" + str(len(self.weights)) + ")"
            )
        for p, w in zip(self.weights, weights):
            if p.node.shape != np.shape(w):
                raise ValueError(
                    "Optimizer weight shape " + str(p.node.shape) + " not compatible with provided weight "
                    "shape " + str(np.shape(w))
                )
        K.batch_set_value(list(zip(self.weights, weights)))

    def get_weights(self) -> list[np.ndarray]:
        """The state, as arrays."""
        return K.batch_get_value(self.weights)

    def get_config(self) -> dict[str, Any]:
        """Clipping."""
        return {k: getattr(self, k) for k in _CLIPPING if hasattr(self, k)}

    def _config(self, variables: Sequence[str], **others: Any) -> dict[str, Any]:
        values = {_RATE if name == "lr" else name: float(K.get_value(getattr(self, name))) for name in variables}
        return {**values, **others, **Optimizer.get_config(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Optimizer":
        """An optimizer from `get_config()`."""
        return cls(**config_of(cls, config))


def _renaming(init: Callable[..., None]) -> Callable[..., None]:
    """`init` with `learning_rate` as another name of `lr`."""
    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        if "learning_rate" in kwargs and "lr" not in kwargs:
            kwargs["lr"] = kwargs.pop("learning_rate")
        init(self, *args, **kwargs)
    return wrapped


def both_orders(get_updates: Callable[..., Any]) -> Callable[..., Any]:
    """`get_updates(loss, params)` that may be called as Keras 1's `get_updates(params, constraints, loss)`, too."""
    @functools.wraps(get_updates)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 3 or "constraints" in kwargs:
            given = {**dict(zip(("params", "constraints", "loss"), args)), **kwargs}
            for p, constraint in (given.pop("constraints") or {}).items():
                p.constraint = constraint
            warnings.warn("Update your `get_updates` call to the Keras 2 API: `get_updates(loss, params)`, where each "
                          "of `params` has its `constraint`", stacklevel=2)
            args, kwargs = (), given
        return get_updates(self, *args, **kwargs)
    return wrapped


def _epsilon(epsilon: float | None) -> float:
    return K.epsilon() if epsilon is None else epsilon


class SGD(Optimizer):
    """v = momentum v - lr g; p += v; with Nesterov p += momentum v - lr g.  State: [iterations, v…].

    >>> float(K.get_value(SGD(lr=.5).lr))
    0.5
    """

    def __init__(
        self, lr: float = 0.01, momentum: float = 0.0, decay: float = 0.0, nesterov: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self._variables(iterations=0, lr=lr, momentum=momentum, decay=decay)
        self.initial_decay, self.nesterov = decay, nesterov

    def get_updates(self, loss: Tensor, params: Sequence[Variable]) -> list[Any]:
        grads, lr, _ = self._begin(loss, params)
        moments = self._slots(params)
        self.weights = [self.iterations, *moments]
        for p, g, m in zip(params, grads, moments):
            v = self.momentum * m - lr * g
            self.updates.append(K.update(m, v))
            self._assign(p, p + self.momentum * v - lr * g if self.nesterov else p + v)
        return self.updates

    def get_config(self) -> dict[str, Any]:
        return self._config(("lr", "momentum", "decay"), nesterov=self.nesterov)


class RMSprop(Optimizer):
    """a = rho a + (1 - rho) g²; p -= lr g / (sqrt(a) + epsilon)  (Hinton).  State: [a…]."""

    def __init__(
        self, lr: float = 0.001, rho: float = 0.9, epsilon: float | None = None, decay: float = 0.0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self._variables(lr=lr, rho=rho, decay=decay, iterations=0)
        self.epsilon, self.initial_decay = _epsilon(epsilon), decay

    def get_updates(self, loss: Tensor, params: Sequence[Variable]) -> list[Any]:
        grads, lr, _ = self._begin(loss, params)
        accumulators = self._slots(params)
        self.weights = self._counted(*accumulators)
        for p, g, a in zip(params, grads, accumulators):
            new_a = self.rho * a + (1. - self.rho) * K.square(g)
            self.updates.append(K.update(a, new_a))
            self._assign(p, p - lr * g / (K.sqrt(new_a) + self.epsilon))
        return self.updates

    def get_config(self) -> dict[str, Any]:
        return self._config(("lr", "rho", "decay"), epsilon=self.epsilon)


class Adagrad(Optimizer):
    """a += g²; p -= lr g / (sqrt(a) + epsilon)  (Duchi et al., 2011).  State: [a…]."""

    def __init__(self, lr: float = 0.01, epsilon: float | None = None, decay: float = 0., **kwargs: Any):
        super().__init__(**kwargs)
        self._variables(lr=lr, decay=decay, iterations=0)
        self.epsilon, self.initial_decay = _epsilon(epsilon), decay

    def get_updates(self, loss: Tensor, params: Sequence[Variable]) -> list[Any]:
        grads, lr, _ = self._begin(loss, params)
        accumulators = self._slots(params)
        self.weights = self._counted(*accumulators)
        for p, g, a in zip(params, grads, accumulators):
            new_a = a + K.square(g)
            self.updates.append(K.update(a, new_a))
            self._assign(p, p - lr * g / (K.sqrt(new_a) + self.epsilon))
        return self.updates

    def get_config(self) -> dict[str, Any]:
        return self._config(("lr", "decay"), epsilon=self.epsilon)


class Adadelta(Optimizer):
    """Steps scaled by the ratio of past updates to past gradients (Zeiler, 2012).  State: [a…, d…]."""

    def __init__(
        self, lr: float = 1.0, rho: float = 0.95, epsilon: float | None = None, decay: float = 0.0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self._variables(lr=lr, decay=decay, iterations=0)
        self.rho, self.epsilon, self.initial_decay = rho, _epsilon(epsilon), decay

    def get_updates(self, loss: Tensor, params: Sequence[Variable]) -> list[Any]:
        grads, lr, _ = self._begin(loss, params)
        accumulators, deltas = self._slots(params), self._slots(params)
        self.weights = self._counted(*accumulators, *deltas)
        for p, g, a, d in zip(params, grads, accumulators, deltas):
            new_a = self.rho * a + (1. - self.rho) * K.square(g)
            step = g * K.sqrt(d + self.epsilon) / K.sqrt(new_a + self.epsilon)
            self.updates.append(K.update(a, new_a))
            self._assign(p, p - lr * step)
            self.updates.append(K.update(d, self.rho * d + (1 - self.rho) * K.square(step)))
        return self.updates

    def get_config(self) -> dict[str, Any]:
        return self._config(("lr", "decay"), rho=self.rho, epsilon=self.epsilon)


class Adam(Optimizer):
    """Kingma and Ba, "Adam", 2014; amsgrad: Reddi et al., 2018.  State: [iterations, m…, v…, v̂…]."""

    def __init__(self, lr: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float | None = None,
                 decay: float = 0., amsgrad: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self._variables(iterations=0, lr=lr, beta_1=beta_1, beta_2=beta_2, decay=decay)
        self.epsilon, self.initial_decay, self.amsgrad = _epsilon(epsilon), decay, amsgrad

    def get_updates(self, loss: Tensor, params: Sequence[Variable]) -> list[Any]:
        grads, lr, t = self._begin(loss, params)
        alpha = lr * (K.sqrt(1. - K.pow(self.beta_2, t)) / (1. - K.pow(self.beta_1, t)))
        ms, vs = self._slots(params), self._slots(params)
        vhats = self._slots(params) if self.amsgrad else [K.zeros(1) for _ in params]
        self.weights = [self.iterations, *ms, *vs, *vhats]
        for p, g, m, v, vhat in zip(params, grads, ms, vs, vhats):
            new_m = self.beta_1 * m + (1. - self.beta_1) * g
            new_v = self.beta_2 * v + (1. - self.beta_2) * K.square(g)
            used = new_v
            if self.amsgrad:
                used = K.maximum(vhat, new_v)
                self.updates.append(K.update(vhat, used))
            self.updates += [K.update(m, new_m), K.update(v, new_v)]
            self._assign(p, p - alpha * new_m / (K.sqrt(used) + self.epsilon))
        return self.updates

    def get_config(self) -> dict[str, Any]:
        return self._config(("lr", "beta_1", "beta_2", "decay"), epsilon=self.epsilon, amsgrad=self.amsgrad)


class Adamax(Optimizer):
    """Adam with the infinity norm (same paper).  State: [iterations, m…, u…]."""

    def __init__(self, lr: float = 0.002, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float | None = None,
                 decay: float = 0., **kwargs: Any):
        super().__init__(**kwargs)
        self._variables(iterations=0, lr=lr, beta_1=beta_1, beta_2=beta_2, decay=decay)
        self.epsilon, self.initial_decay = _epsilon(epsilon), decay

    def get_updates(self, loss: Tensor, params: Sequence[Variable]) -> list[Any]:
        grads, lr, t = self._begin(loss, params)
        alpha = lr / (1. - K.pow(self.beta_1, t))
        ms, us = self._slots(params), self._slots(params)
        self.weights = [self.iterations, *ms, *us]
        for p, g, m, u in zip(params, grads, ms, us):
            new_m = self.beta_1 * m + (1. - self.beta_1) * g
            new_u = K.maximum(self.beta_2 * u, K.abs(g))
            self.updates += [K.update(m, new_m), K.update(u, new_u)]
            self._assign(p, p - alpha * new_m / (new_u + self.epsilon))
        return self.updates

    def get_config(self) -> dict[str, Any]:
        return self._config(("lr", "beta_1", "beta_2", "decay"), epsilon=self.epsilon)


class Nadam(Optimizer):
    """Adam with Nesterov momentum and a momentum schedule (Dozat, 2015).  State: [iterations, m…, v…]."""

    def __init__(self, lr: float = 0.002, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float | None = None,
                 schedule_decay: float = 0.004, **kwargs: Any):
        super().__init__(**kwargs)
        self._variables(iterations=0, m_schedule=1., lr=lr, beta_1=beta_1, beta_2=beta_2)
        self.epsilon, self.schedule_decay = _epsilon(epsilon), schedule_decay

    def get_updates(self, loss: Tensor, params: Sequence[Variable]) -> list[Any]:
        grads, lr, t = self._begin(loss, params)
        now = self.beta_1 * (1. - 0.5 * K.pow(0.96, t * self.schedule_decay))
        after = self.beta_1 * (1. - 0.5 * K.pow(0.96, (t + 1.) * self.schedule_decay))
        schedule = self.m_schedule * now
        schedule_next = schedule * after
        self.updates.append(K.update(self.m_schedule, schedule))
        ms, vs = self._slots(params), self._slots(params)
        self.weights = [self.iterations, *([self.m_schedule] if _LATER else []), *ms, *vs]
        for p, g, m, v in zip(params, grads, ms, vs):
            new_m = self.beta_1 * m + (1. - self.beta_1) * g
            new_v = self.beta_2 * v + (1. - self.beta_2) * K.square(g)
            bar = (1. - now) * (g / (1. - schedule)) + after * (new_m / (1. - schedule_next))
            v_hat = new_v / (1. - K.pow(self.beta_2, t))
            self.updates += [K.update(m, new_m), K.update(v, new_v)]
            self._assign(p, p - lr * bar / (K.sqrt(v_hat) + self.epsilon))
        return self.updates

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the state, and the momentum schedule, where it is no part of the state, to what it is after its steps."""
        super().set_weights(weights)
        if not any(w is self.m_schedule for w in self.weights):
            steps = np.arange(1., float(K.get_value(self.iterations)) + 1.)
            momenta = float(K.get_value(self.beta_1)) * (1. - 0.5 * 0.96 ** (steps * self.schedule_decay))
            K.set_value(self.m_schedule, np.prod(momenta))

    def get_config(self) -> dict[str, Any]:
        return self._config(("lr", "beta_1", "beta_2"), epsilon=self.epsilon, schedule_decay=self.schedule_decay)


class TFOptimizer(Optimizer):
    """In Keras, an optimizer of TensorFlow's; there is none here, so that nothing can be one of these."""

    def __init__(self, optimizer: Any = None, **kwargs: Any):
        what = type(optimizer).__name__ if optimizer is not None else "optimizer"
        raise NotImplementedError(f"TFOptimizer wraps an optimizer of TensorFlow (received a {what}), whose updates "
                                  f"are TensorFlow's; graphk runs without it. Use one of graphk.optimizers: "
                                  f"{', '.join(sorted(c.__name__ for c in _TABLE.values()))}.")


sgd, rmsprop, adagrad, adadelta, adam, adamax, nadam = SGD, RMSprop, Adagrad, Adadelta, Adam, Adamax, Nadam
_TABLE: dict[str, Any] = {c.__name__.lower(): c for c in (SGD, RMSprop, Adagrad, Adadelta, Adam, Adamax, Nadam)}


def serialize(optimizer: Optimizer) -> Any:
    """The config of an optimizer."""
    return serialize_keras_object(optimizer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """An optimizer from a config; class names of Keras's own are not case sensitive."""
    if isinstance(config, dict) and str(config.get("class_name", "")).lower() in _TABLE:
        config = {**config, "class_name": config["class_name"].lower()}
    return deserialize_keras_object(config, module_objects=members(_TABLE, globals()), custom_objects=custom_objects,
                                    printable_module_name="optimizer")


optimizer_from_config = deserialize                # Keras 1's name


def get(identifier: Any) -> Any:
    """The optimizer for a name, config or instance.

    >>> type(get("adam")).__name__
    'Adam'
    """
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return deserialize({"class_name": identifier, "config": {}})
    if isinstance(identifier, Optimizer):
        return identifier
    hint = f" Write {identifier.__name__}(...)." if isinstance(identifier, type) else ""
    raise ValueError(f"Could not interpret optimizer identifier: {identifier} (a {type(identifier).__name__}). "
                     f"Expected a name ({', '.join(_TABLE)}), a config or an instance.{hint}")




