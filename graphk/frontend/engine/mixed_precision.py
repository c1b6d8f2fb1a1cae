"""What `compile(mixed_precision=…, loss_scale=…)` asks for.

In: the two arguments, and an optimizer's updates.  Out: the updates of a training step whose gradients are those of the
scaled loss, divided by the scale.  What always holds: weights and what the optimizer keeps are float32; with
`loss_scale="dynamic"` a step one of whose gradients is not finite changes nothing but the scale (metrics aside), all of
it inside the one compiled step.
"""
from __future__ import annotations

import math
from typing import Any, Callable, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.function import combine_updates
from graphk.frontend.tensor import Tensor, variable_of
from graphk.frontend.utils.advice import advice
from graphk.passes.mixed import NARROWED

FIRST, LOWEST, HIGHEST = 2. ** 15, 1., 2. ** 24
PATIENCE = 2000                        # steps in a row with finite gradients before the scale is doubled


class MixedPrecision:
    """dtype: what contractions round to, or None; scale: the variable that multiplies the loss, or None."""

    def __init__(self, dtype: Any = None, loss_scale: Any = None):
        if dtype is not None and dtype not in NARROWED:
            raise ValueError(f"compile(): `mixed_precision` must be 'float16', 'bfloat16' or None; received {dtype!r}"
                             + advice(str(dtype), NARROWED, "types"))
        _check_scale(dtype, loss_scale)
        self.dtype, self.given = dtype, loss_scale
        self.dynamic = loss_scale == "dynamic"
        self.scale: Any = None
        self.good_steps: Any = None
        if loss_scale is not None:
            self.scale = K.variable(FIRST if self.dynamic else loss_scale, dtype="float32", name="loss_scale")
        if self.dynamic:
            self.good_steps = K.variable(0, dtype="int64", name="good_steps")

    def settings(self) -> dict[str, Any]:
        """The arguments of `compile`, if there are any."""
        return {} if self.dtype is None else {"mixed_precision": self.dtype, "loss_scale": self.given}

    def state(self) -> dict[str, Any]:
        """`settings`, and the values of the variables."""
        kept = {name: K.get_value(v).item() for name, v in self.variables().items()}
        return {**self.settings(), **({"state": kept} if kept else {})}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on with the values of the variables that `state` has; ValueError if they cannot be such."""
        kept = state.get("state", {})
        if not isinstance(kept, dict) or not all(
                type(v) in (int, float) and 0 <= v < 2 ** 62 for v in kept.values()):
            raise ValueError(f"the state of a loss scale is a dict of numbers; received {kept!r:.100}")
        _check_scale(self.dtype, kept.get("scale"))
        for name, variable in self.variables().items():
            if name in kept:
                K.set_value(variable, kept[name])

    def variables(self) -> dict[str, Any]:
        """The scale and the count of good steps, as far as there are any."""
        return {name: v for name, v in (("scale", self.scale), ("good_steps", self.good_steps)) if v is not None}

    # ---------------------------------------------------------------- a training step
    def gradients(self, loss: Tensor, params: Sequence[Any]) -> list[Any]:
        """Those of the scaled loss, divided by the scale; None where there is none."""
        if self.scale is None:
            return K.gradients(loss, list(params))
        return [None if g is None else g / K.cast(self.scale, K.dtype(g))
                for g in K.gradients(loss * K.cast(self.scale, K.dtype(loss)), list(params))]

    def updates(self, optimizer: Any, make: Callable[[], Sequence[Any]], others: Sequence[Any],
                take: Callable[[Tensor, Sequence[Any]], list[Any]] | None = None) -> list[Any]:
        """`others`, the updates of layers, with what `make` gives, the optimizer's, for the scaled loss.  take: where
        the optimizer's gradients come from, instead of `gradients`."""
        if self.scale is None and take is None:
            return [*others, *make()]
        taken: list[list[Any]] = []

        def gradients(loss: Tensor, params: Sequence[Any]) -> list[Any]:
            taken.append((take or self.gradients)(loss, params))
            return taken[-1]
        optimizer._gradients = gradients
        try:
            updates = [*others, *make()]
        finally:
            del optimizer._gradients
        if not taken:
            what = "they cannot be added up over slices of a batch" if take else "`loss_scale` cannot divide them again"
            raise ValueError(f"compile(): the optimizer {type(optimizer).__name__} takes gradients by itself, so that "
                             f"{what}. Let its `get_updates` call `self.get_gradients`.")
        found = [g for grads in taken for g in grads if g is not None]
        return self._where_finite(found, updates) if self.dynamic and found else updates

    def _where_finite(self, grads: Sequence[Tensor], updates: Sequence[Any]) -> list[Any]:
        finite = K.all(K.stack([K.all(K.abs(g) < math.inf) for g in grads]))
        out: list[Any] = []
        for node, value in combine_updates(updates):
            variable = variable_of(node)
            out.append(K.update(variable, K.switch(finite, Tensor(value), variable)))
        steps = self.good_steps + 1
        enough = steps >= PATIENCE
        grown = K.switch(enough, K.minimum(self.scale * 2., max(HIGHEST, FIRST)), self.scale)
        none = K.zeros_like(steps)
        return [*out,
                K.update(self.scale, K.switch(finite, grown, K.maximum(self.scale * .5, LOWEST))),
                K.update(self.good_steps, K.switch(finite, K.switch(enough, none, steps), none))]


def settings_of(state: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `compile` in what `MixedPrecision.state` gave."""
    return {k: v for k, v in state.items() if k != "state"}


def _check_scale(dtype: Any, scale: Any) -> None:
    """ValueError unless `scale` is one that `compile` takes."""
    if scale is None or isinstance(scale, str) and scale == "dynamic":
        pass
    elif isinstance(scale, bool) or not isinstance(scale, (int, float, np.number)) or not 0 < scale < math.inf:
        raise ValueError("compile(): `loss_scale` must be 'dynamic', a number above 0 or None; "
                         f"received {scale!r:.100}.")
    if scale is not None and dtype is None:
        raise ValueError(f"compile(): `loss_scale` is for mixed precision; received {scale!r} without "
                         "`mixed_precision`. Give mixed_precision='float16' too.")


class LossScale:
    """`model.loss_scale`: the variable, or None; a model of the user's may have an attribute of this name instead."""

    def __get__(self, model: Any, owner: Any = None) -> Any:
        return None if model is None else model._mixed.scale


FULL = MixedPrecision()

__all__ = ["FULL", "LossScale", "MixedPrecision", "settings_of"]
