"""The state of an optimizer, as every Keras has stored it, for graphk's variables.

In: the arrays of a file with their names, the names that the file gives the model's weights, the version.  Out: the
optimizer's state, or the reasons why it cannot be had.  What always holds: every slot has its weight's shape; slots
are matched by name where names say the weight, else by the order in which the version wrote them; nothing is set
unless everything is.
"""
from __future__ import annotations

from typing import Any, Iterator, NamedTuple, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.utils.origin import is_own

# graphk's slots in order, each with the names that tf.keras and Keras 3 give it; the first row is Keras 2's order.
_SLOTS: dict[str, list[tuple[str, ...]]] = {
    "SGD": [("momentum", "m")], "RMSprop": [("rms", "velocity")], "Adagrad": [("accumulator",)],
    "Adadelta": [("accum_grad", "accumulated_grad"), ("accum_var", "accumulated_delta_var")],
    "Adam": [("m", "momentum"), ("v", "velocity"), ("vhat", "v_hat", "velocity_hat")],
    "Adamax": [("m", "momentum"), ("v", "u", "norm")], "Nadam": [("m", "momentum"), ("v", "velocity")]}
_NEEDS_STEPS = {"Adam", "Adamax", "Nadam"}           # whose formulas hold the number of steps


class State(NamedTuple):
    """What a file holds.  names, arrays: of the state; weights: the file's names of the model's weights, by identity;
    version: Keras's; interleaved: the first two kinds of slots are stored weight by weight, not kind by kind."""
    names: Sequence[str]
    arrays: Sequence[Any]
    weights: dict[int, str]
    version: str
    interleaved: bool = False


class Unmatched(ValueError):
    """The state does not fit; the message says what."""


def resume(model: Any, state: State) -> None:
    """Set the optimizer's state, its variables made; Unmatched, with nothing changed, if that is not possible."""
    optimizer, params = model.optimizer, model._collected_trainable_weights
    slots = _SLOTS.get(type(optimizer).__name__)
    if slots is None or not is_own(type(optimizer)):
        optimizer.set_weights([np.asarray(a) for a in state.arrays])
        return
    if type(optimizer).__name__ == "Adam" and not optimizer.amsgrad:
        slots = slots[:2]
    steps, own = _steps(state)
    if type(optimizer).__name__ == "SGD" and not own:
        slots = []                                    # without momentum tf.keras and Keras 3 store no zeros for it
    if steps is None and type(optimizer).__name__ in _NEEDS_STEPS:
        raise Unmatched(f"{type(optimizer).__name__} needs the number of steps, which the file does not hold")
    found = _by_name(params, slots, own, state) or _by_order(params, slots, own, state)
    _set(optimizer, steps, found)


def _steps(state: State) -> tuple[Any, list[tuple[str, Any]]]:
    """The number of steps, None if it is not stored; the entries that are a weight's."""
    entries = list(zip(state.names, state.arrays))
    heads: list[tuple[str, Any]] = []
    while entries and len(heads) < 3 and tuple(entries[0][1].shape) == ():
        heads.append(entries.pop(0))
    return (np.asarray(heads[0][1]).reshape(()) if heads else None), entries


def _plain(name: str) -> str:
    return name.partition(":")[0].replace("/", "_")


def _by_name(params: Sequence[Any], slots: list[tuple[str, ...]], own: list[tuple[str, Any]], state: State
             ) -> list[list[Any]] | None:
    """For each kind of slot the arrays of all weights; None unless names say all of them."""
    wanted: dict[str, tuple[int, int]] = {}
    for i, p in enumerate(params):
        weight = _plain(state.weights.get(id(p), ""))
        if not weight:
            return None
        for kind, aliases in enumerate(slots):
            for alias in aliases:
                for key in (f"{weight}_{alias}", f"{alias}_{weight}"):
                    if wanted.setdefault(key, (i, kind)) != (i, kind):
                        return None                   # two weights of one name
    found: list[list[Any]] = [[None] * len(params) for _ in slots]
    for name, array in own:
        parts = _plain(name).split("_")
        hit = next((wanted[k] for k in ("_".join(parts[i:]) for i in range(len(parts))) if k in wanted), None)
        if hit is not None:
            found[hit[1]][hit[0]] = array
    if any(a is None for kind in found for a in kind):
        return None
    return found if not _misfits(params, found) else None


def _by_order(params: Sequence[Any], slots: list[tuple[str, ...]], own: list[tuple[str, Any]], state: State
              ) -> list[list[Any]]:
    """As `_by_name`, from the places alone."""
    n, kinds = len(params), len(slots)
    scalars = any(p.node.shape == () for p in params)
    arrays = [a for _, a in own if scalars or a.shape != ()]          # schedules stand among the slots, too
    if len(arrays) == n * (kinds + 1) and all(a.size == 1 for a in arrays[n * kinds:]):
        arrays = arrays[:n * kinds]                   # Keras 2.1 to 2.3 store (1,) in the place of each unused v̂
    if len(arrays) != n * kinds:
        raise Unmatched(f"it holds {len(arrays)} arrays for {n} weights with {kinds} each")
    if state.interleaved:
        pairs = min(kinds, 2)                          # Adam's v̂ come after all
        found = [arrays[k:n * pairs:pairs] for k in range(pairs)] + [arrays[n * pairs:]] * (kinds - pairs)
    else:
        found = [arrays[k * n:(k + 1) * n] for k in range(kinds)]
    orders = [list(range(n))]
    names = [state.weights.get(id(p), "") for p in params]
    if all(names):                                    # Keras 1 and 2.0.0 to 2.0.5 sorted the weights by name
        by_name = sorted(range(n), key=lambda i: names[i])
        orders.insert(0 if _sorts(state.version) else 1, by_name)
    misfits: list[str] = []
    for order in orders if not state.interleaved else orders[-1:] if _sorts(state.version) else orders[:1]:
        placed = [[kind[order.index(i)] for i in range(n)] for kind in found]
        misfits = misfits or _misfits(params, placed)
        if not _misfits(params, placed):
            return placed
    raise Unmatched("; ".join(misfits[:10]))


def _sorts(version: str) -> bool:
    parts = [int(p) if p.isdigit() else 9 for p in version.split(".")[:3]]
    return tuple(parts) < (2, 0, 6)


def _misfits(params: Sequence[Any], found: list[list[Any]]) -> list[str]:
    return [f"a slot of {p.name} has the shape {tuple(a.shape)}, expected {p.node.shape}"
            for kind in found for p, a in zip(params, kind) if tuple(a.shape) != p.node.shape]


def _set(optimizer: Any, steps: Any, found: list[list[Any]]) -> None:
    """Give the variables their values; those that the file has nothing for (the v̂ of no amsgrad) keep theirs."""
    states = [w for w in optimizer.weights if w is not optimizer.iterations
              and w is not getattr(optimizer, "m_schedule", None)]
    values = [a for kind in found for a in kind]
    for w, value in zip(states, values):
        K.set_value(w, np.asarray(value))
    if steps is not None:
        K.set_value(optimizer.iterations, np.asarray(steps).astype("int64"))
    if hasattr(optimizer, "m_schedule"):
        optimizer.set_weights(optimizer.get_weights())              # which makes the schedule anew from the steps


def keras3_order(optimizer: Any, n: int) -> Iterator[Any]:
    """The state of one of graphk's optimizers for `n` weights, in Keras 3's order: steps, rate, slots by weight."""
    yield np.asarray(K.get_value(optimizer.iterations)).astype("int64")
    if not getattr(optimizer, "initial_decay", 0):
        yield K.get_value(optimizer.lr)                # a schedule, which Keras 3 makes of `decay`, has no variable
    slots = [w for w in optimizer.weights if w is not optimizer.iterations
             and w is not getattr(optimizer, "m_schedule", None)]
    kinds = [slots[k:k + n] for k in range(0, len(slots), n)]
    if type(optimizer).__name__ == "Adam" and not optimizer.amsgrad:
        kinds = kinds[:2]
    if type(optimizer).__name__ == "SGD" and not float(K.get_value(optimizer.momentum)):
        kinds = []
    for weight in zip(*kinds[:2]):
        yield from map(K.get_value, weight)
    for kind in kinds[2:]:
        yield from map(K.get_value, kind)
    if type(optimizer).__name__ == "Nadam":
        yield K.get_value(optimizer.m_schedule)


__all__ = ["State", "Unmatched", "keras3_order", "resume"]
