"""A model's functions in parts: slices of a batch on devices of their own, sums over them, and one update.

In: a compiled model, the devices, and a `Reducer`, which adds up over processes.  Out: `SplitFunction`, which stands
where the model's compiled function would.  What always holds: a step changes variables once, after all slices were
computed with their values from before it, and as a step on the whole batch would: clipping and the optimizer see the
gradients of the whole batch's loss.  Batch normalization sees a slice, and keeps the mean of what the slices give it.

A step has three parts.  `Replicas` compute a slice each: its outputs, what it adds to the loss (`split_loss.py`) and to
the gradients, and of the updates all that depends on data but not on the sum of gradients.  The sums are taken over
slices, then over processes.  An ordinary `Function` of these values makes all updates.

Gradients of different GPUs do not pass through the host: NCCL (`runtime/nccl.py`) adds them up where they lie, and each
GPU makes all updates on its own copy of the variables; or the first GPU takes and adds them, and updates alone.
"""
from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np

from graphk.frontend import automatic, backend as K, config
from graphk.frontend.backend.random_ops import counters_among
from graphk.frontend.engine import split_loss
from graphk.frontend.engine.reducers import ALONE, DistributedError, Reducer, total_of
from graphk.frontend.execute import runs_compiled
from graphk.frontend.function import CHECKED, Function, combine_updates
from graphk.frontend.printing import reached
from graphk.frontend.tensor import Tensor, variable_of
from graphk.ir.node import Node, topological
from graphk.runtime import nccl
from graphk.runtime.device import Device
from graphk.runtime.device import device as device_named
from graphk.runtime.exchange import DeviceArray


class Replicas:
    """One graph on slices of a batch.  feeds: what is cut along its first axis; more: what all slices are given whole;
    outputs: tensors, each with what becomes of those of the slices: "join" (one after another), "add", "mean" (weighted
    by rows), "first", or "each": a list of them, on their devices."""

    def __init__(self, name: str, feeds: Sequence[Tensor], more: Sequence[Tensor],
                 outputs: Sequence[tuple[Tensor, str]], phase: int, devices: Sequence[str | None], mixed: str | None):
        self.phase, self.devices, self.kinds = phase, devices, [kind for _, kind in outputs]
        self.counters = counters_among(reached([x.node for x, _ in outputs], phase))
        self.functions = {d: Function([*feeds, *more, *self.counters], [x for x, _ in outputs], name=name, device=d,
                                      mixed_precision=mixed) for d in dict.fromkeys(devices)}
        self._pool: Any = None
        if len(self.functions) > 1:
            from concurrent.futures import ThreadPoolExecutor         # which takes its time
            self._pool = ThreadPoolExecutor(len(self.functions))

    def checked(self, inputs: Sequence[Any]) -> list[np.ndarray]:
        """What is fed, as arrays; an error names what does not fit."""
        zeros = [np.zeros((), np.uint32)] * len(self.counters)
        return next(iter(self.functions.values())).check([*inputs, *zeros])[:len(inputs)]

    def run(self, arrays: Sequence[np.ndarray], more: Any, rows: int, rank: int = 0, copies: int = 1
            ) -> list[Any]:
        """The outputs for `rows` rows.  more: what the slices are given besides, for a number of rows; rank, copies: of
        how many processes this is which, so that random numbers differ among them."""
        slices = self._slices(arrays, more, rows, rank, copies)

        def compute(on: tuple[Function, list[Any], int]) -> list[np.ndarray]:
            return on[0].run(on[1], self.phase)
        if self._pool is None or len(slices) == 1:
            found = [compute(on) for on in slices]
        else:
            self.compile()
            found = list(self._pool.map(compute, slices))
        return self._combined(found, slices)

    def overlaps(self) -> bool:
        """Whether `start` comes back while devices compute."""
        return all(f.overlaps(self.phase) for f in self.functions.values())

    def start(self, arrays: Sequence[np.ndarray], more: Any, rows: int) -> Callable[[], list[Any]]:
        """Begin what `run` does, where it `overlaps`; what comes back waits for the outputs.  `arrays` are read now."""
        slices = self._slices(arrays, more, rows, 0, 1)
        begun = [function.start(given, self.phase) for function, given, _ in slices]
        return lambda: self._combined([wait() for wait in begun], slices)

    def _slices(self, arrays: Sequence[np.ndarray], more: Any, rows: int, rank: int, copies: int
                ) -> list[tuple[Function, list[Any], int]]:
        """For each slice of a batch what computes it, what that is given, and the number of rows."""
        parts = slices_of(rows, len(self.devices))
        if len(parts) > 1:                                     # errors name rows of the batch, not of a slice
            next(iter(self.functions.values())).check_ranges(arrays)
        counts = [(int(c.array) * copies + rank) * len(self.devices) for c in self.counters]
        out = []
        for i, part in parts:
            given, own = arrays if len(parts) == 1 else [a[part] for a in arrays], part.stop - part.start
            drawn = [np.asarray((c + i) & 0xFFFFFFFF, np.uint32) for c in counts]
            out.append((self.functions[self.devices[i]], [*given, *more(own), *drawn], own))
        return out

    def _combined(self, found: Sequence[Sequence[Any]], slices: Sequence[tuple[Any, Any, int]]) -> list[Any]:
        """The outputs of the batch, from those of its slices."""
        rows = max(sum(own for *_, own in slices), 1)
        weights = [own / rows for *_, own in slices]
        return [_combined(kind, values, weights) for kind, values in zip(self.kinds, zip(*found))]

    def compile(self) -> None:
        """Make all executables, one after another: the compiler is not for threads."""
        for function in self.functions.values():
            executable: Any = function.executable(self.phase)
            if hasattr(executable, "kept"):                    # outputs for each slice stay on its device
                executable.kept = frozenset(i for i, kind in enumerate(self.kinds) if kind == "each")


def slices_of(rows: int, count: int) -> list[tuple[int, slice]]:
    """The slices of a batch that are not empty, each with its number: of equal size, and what is left over to the last.

    >>> slices_of(7, 3)
    [(0, slice(0, 2, None)), (1, slice(2, 4, None)), (2, slice(4, 7, None))]
    """
    step = rows // count
    ends = [step * i for i in range(count)] + [rows]
    return [(i, slice(a, b)) for i, (a, b) in enumerate(zip(ends, ends[1:])) if a < b] or [(count - 1, slice(0, rows))]


def _combined(kind: str, values: Sequence[np.ndarray], weights: Sequence[float]) -> Any:
    if kind == "each":
        return list(values)
    if len(values) == 1 or kind == "first" or not values[0].dtype.kind == "f" and kind != "join":
        return values[0]
    if kind == "join" and values[0].ndim:
        return np.concatenate(values)
    total = values[0] if kind == "add" else values[0] * values[0].dtype.type(weights[0])
    for value, weight in zip(values[1:], weights[1:]):
        total = total + (value if kind == "add" else value * value.dtype.type(weight))
    return np.asarray(total)


class SplitFunction:
    """What `model.train_function` is where a batch is computed in slices (or `test_function`: train=False)."""

    def __init__(self, model: Any, devices: Sequence[str | None] = (None,), reducer: Reducer = ALONE,
                 train: bool = True):
        self.model, self.reducer, self.phase = model, reducer, int(train)
        self.name = "train_function" if train else "test_function"
        self._several, self._named, self._checked = len(devices) > 1, "", False
        self._joint = self._by_nccl(devices)
        self._clique: nccl.Clique | None = None
        self._zeros: dict[Device, list[tuple[np.ndarray, DeviceArray]]] = {}
        # Else gradients of GPUs go to the first one, which adds them up; others are added up on the host.
        self._apart = len(devices) if len(set(devices)) == len(devices) > 1 and "cpu" not in devices \
            and reducer.size == 1 and not self._joint else 0
        feeds = model._all_feeds()
        self._feeds = len(feeds)
        self.factor = K.placeholder(shape=(sum(fn is not None for fn in model.loss_functions),), name="factors")
        self.share = K.placeholder(shape=(), name="share")
        self.loss = split_loss.slice_loss(model, self.factor, self.share)
        self._amounts = Function(feeds, split_loss.amounts(model), name=f"{self.name}_amounts", device="cpu")
        self._others: list[int] = []                           # of what is fed, what metrics read besides
        self._local: list[Tensor] = []
        self._summed: list[Tensor] = []
        made = model._train_updates(self._exchange) if train else list(model.state_updates)
        updates = combine_updates([*made, *([] if self._several else model.metrics_updates)])
        handed = [Tensor(n) for n in handed_over([v for _, v in updates], [x.node for x in self._summed])]
        judged = self._judged() if self._several else [model.total_loss, *model.metrics_tensors]
        kinds = [_kind(x) for x in judged] if self._several else ["first"] * len(judged)
        self._judge_at = slice(1, 1 + len(judged))
        self._grads_at = slice(1 + len(judged), 1 + len(judged) + len(self._local))
        self.replicas = Replicas(
            f"{self.name}_of_slice", feeds, [self.factor, self.share],
            [(self.loss, "add"), *zip(judged, kinds),
             *((g, "each" if self._apart or self._joint else "add") for g in self._local),
             *((x, "mean") for x in handed)], self.phase, devices, model._mixed.dtype)
        pairs = [(variable_of(n), Tensor(v)) for n, v in updates]
        pairs += [K.update(c, c + 1) for c in self.replicas.counters if all(c is not v for v, _ in pairs)]
        self.updates = [Function([*self._summed, *handed], [], pairs, name=f"{self.name}_update", device=d)
                        for d in (devices if self._joint else devices[:1]) if pairs]
        self.judge = self._made_judge(judged, feeds) if judged and self._several else None

    def _by_nccl(self, devices: Sequence[str | None]) -> bool:
        """Whether NCCL may add up over devices of this process, and all of them make the updates."""
        if not self.phase or len(devices) == 1 or not runs_compiled():
            return False
        why = nccl.lacking([str(d) for d in devices]) if config.get("nccl") else "the setting nccl is false"
        if self.reducer.size == 1:                             # else all processes will tell, when they know
            nccl.tell(f"{', '.join(map(str, devices))}: {f'without NCCL ({why})' if why else 'NCCL'}")
        return not why

    def _join(self) -> None:
        """Before the first step: find who adds up gradients in the memory of GPUs."""
        several = self.reducer.size > 1 and bool(self._local) and runs_compiled()
        if not self._joint and not several:
            return
        runs = [f.executable(self.phase) for f in (*self.replicas.functions.values(), *self.updates)]
        names = [str(d or automatic.chosen()) for d in self.replicas.devices] if _on_gpus(runs) else ["cpu"]
        if several:
            self._clique = self.reducer.clique(names)
        elif names != ["cpu"]:                                 # a graph that prints hands all over to the host
            self._clique = nccl.Clique.within([device_named(n) for n in names])
        self.replicas.kinds[self._grads_at] = ["add" if self._clique is None else "each"] * len(self._local)
        if self._clique is None:
            self.updates = self.updates[:1]
        self.replicas.compile()

    def _exchange(self, loss: Tensor, params: Sequence[Any]) -> list[Any]:
        """In place of the gradients of a loss, inputs that take their sums."""
        if loss is not self.model.total_loss:
            raise ValueError(f"The optimizer {type(self.model.optimizer).__name__} takes gradients of another tensor "
                             "than the loss it is given, so that they cannot be added up over slices of a batch. Let "
                             "its `get_updates` call `self.get_gradients(loss, params)`.")
        out: list[Any] = []
        for p, g in zip(params, self.model._mixed.gradients(self.loss, params)):
            if g is not None:
                self._local.append(g)
                parts = [K.placeholder(shape=K.int_shape(g), dtype=K.dtype(g), name=f"gradient_of_{p.name}")
                         for _ in range(self._apart or 1)]
                self._summed += parts
            out.append(None if g is None else sum(parts[1:], parts[0]))
        return out

    # ---------------------------------------------------------------- metrics of the whole batch
    def _judged(self) -> list[Tensor]:
        """What metrics are computed from, besides targets and weights: it is computed in slices."""
        model = self.model
        if not model.metrics_tensors:
            return []
        found = [*model.outputs, *(m for m in model._output_masks if m is not None), *_added_metrics(model)]
        return list({x.node: x for x in found}.values())

    def _made_judge(self, judged: Sequence[Tensor], feeds: Sequence[Tensor]) -> Function:
        others = [x for x in feeds if all(x.node is not y.node for y in judged)]
        self._others = [i for i, x in enumerate(feeds) if any(x is y for y in others)]
        return Function([*judged, *others], self.model.metrics_tensors, self.model.metrics_updates,
                        name=f"{self.name}_metrics", device="cpu")

    # ---------------------------------------------------------------- calling
    def __call__(self, inputs: Sequence[Any]) -> list[np.ndarray]:
        """`run`; the learning phase may stand at the end of `inputs`, as models of Keras have it."""
        return self.run(inputs[:self._feeds], self.phase)

    def run(self, inputs: Sequence[Any], phase: int) -> list[np.ndarray]:
        """One step: [loss, metrics ...] for arrays of inputs, targets and weights."""
        what, arrays, more, rows = self._given(inputs, phase)
        found = self.replicas.run(arrays, more, rows, self.reducer.rank, self.reducer.size)
        sums = self._sums(found[self._grads_at], f"the gradients of {what}")
        judged = self._outputs(found, [arrays[i] for i in self._others], phase)    # before updates of what metrics read
        self._update([[*own, *found[self._grads_at.stop:]] for own in sums])
        return judged

    def overlaps(self, phase: int) -> bool:
        """Whether `start` comes back while devices compute: nothing is updated that the next batch reads."""
        return not self.phase and not self.updates and self.replicas.overlaps()

    def start(self, inputs: Sequence[Any], phase: int) -> Callable[[], list[np.ndarray]]:
        """Begin what `run` does, where `overlaps`; what comes back waits for the outputs.  `inputs` are read now."""
        _, arrays, more, rows = self._given(inputs, phase)
        others = [np.array(arrays[i]) for i in self._others]
        begun = self.replicas.start(arrays, more, rows)
        return lambda: self._outputs(begun(), others, phase)

    def _given(self, inputs: Sequence[Any], phase: int) -> tuple[str, list[np.ndarray], Any, int]:
        """What a step does, for messages; its arrays; what slices are given besides, for a number of rows; all rows."""
        arrays = self._amounts.check(inputs)
        rows = len(arrays[0]) if arrays else 1
        what = self._what()
        totals, = total_of(self.reducer, what, [np.append(self._amounts.run(arrays, phase)[0], float(rows))])
        self._check_weights(what)
        if not self._checked:
            self._join()
            self._checked = True
        factors = np.asarray(split_loss.factors(self.model, totals[:-1]), K.floatx())

        def more(own: int) -> list[np.ndarray]:
            return [factors, np.asarray(own / totals[-1], K.floatx())]
        return what, arrays, more, rows

    def _outputs(self, found: Sequence[Any], others: Sequence[np.ndarray], phase: int) -> list[np.ndarray]:
        """[loss, metrics ...] from the outputs of slices and what is fed besides."""
        if self.judge is not None:
            return [found[0], *self.judge.run([*found[self._judge_at], *others], phase)]
        return [found[0]] if self._several else list(found[self._judge_at])

    def _sums(self, grads: Sequence[Any], what: str) -> list[list[Any]]:
        """What the update takes of gradients; for each device its own where NCCL adds up."""
        if self._apart:                                        # a batch of few rows has fewer slices than devices
            return [[x for g, each in zip(self._local, grads) for x in (
                *each, *[np.zeros(K.int_shape(g), K.dtype(g))] * (self._apart - len(each)))]]
        if self._clique is None:
            return [total_of(self.reducer, what, grads)]
        there = {own[0].owner: list(own) for own in zip(*grads)}
        own = [there.get(d) or self._nothing(d) for d in self._clique.devices] if grads else [
            [] for _ in self._clique.devices]
        if grads:
            self.reducer.total_there(what, self._clique, own)
        return own

    def _nothing(self, device: Device) -> list[DeviceArray]:
        """The gradients of a device that has no slice, as a batch has fewer rows than there are devices."""
        if device not in self._zeros:
            zeros = [np.zeros(K.int_shape(g), K.dtype(g)) for g in self._local]
            pairs = [(z, device.pool.take(z.nbytes)) for z in zeros]
            self._zeros[device] = [(z, DeviceArray(b.address, z.shape, z.dtype, device, b)) for z, b in pairs]
        for zero, there in self._zeros[device]:
            device.upload(there.address, zero)
        return [there for _, there in self._zeros[device]]

    def _update(self, given: Sequence[Sequence[Any]]) -> None:
        """Make the updates on every device, or on the first one, from which others take variables as they need them."""
        runs: list[Any] = [f.executable(self.phase) for f in self.updates]
        if len(runs) > 1 and CHECKED[0] is None and _on_gpus(runs):
            from graphk.runtime.together import together
            together(runs, [f.check(own) for f, own in zip(self.updates, given)])
        elif runs:
            self.updates[0].run(given[0], self.phase)

    @property
    def parts(self) -> list[Function]:
        """The compiled functions of a step, in the order in which they run."""
        return [f for f in (self._amounts, *self.replicas.functions.values(), *self.updates[:1], self.judge)
                if f is not None]

    def _what(self) -> str:
        """What tells this step from those of other models."""
        if self.reducer.size > 1 and not self._named:
            shapes = ", ".join(f"{x.dtype}{list(K.int_shape(x))}" for x in self._summed)
            self._named = f"a training step of weights {shapes}, with {K.int_shape(self.factor)[0]} losses"
        return self._named

    def _check_weights(self, what: str) -> None:
        """`DistributedError` unless, before the first step, the weights are the same in all processes."""
        if self._checked or self.reducer.size == 1:
            return
        weights = self.model._collected_trainable_weights
        self.reducer.agree(f"a comparison of the weights before {what}")
        sums = self.reducer.gather([float(np.sum(K.get_value(w), dtype=np.float64)) for w in weights])
        for w, values in zip(weights, zip(*sums)):
            if any(v != values[0] and v == v for v in values):
                raise DistributedError(
                    f"The weight `{w.name}` has not the same values on all ranks (sums by rank: {list(values)}). "
                    "Pass graphk.distributed.callbacks.BroadcastGlobalVariablesCallback(0) to fit.")

    def check_ranges(self, inputs: Sequence[Any]) -> None:
        """ValueError if row or class numbers among `inputs` (which may be a whole data set) are out of range."""
        next(iter(self.replicas.functions.values())).check_ranges(inputs)


class SplitPrediction:
    """What `model.predict_function` is where a batch is computed on several devices."""

    def __init__(self, model: Any, devices: Sequence[str]):
        updates = combine_updates(model.state_updates)
        handed = [Tensor(n) for n in handed_over([v for _, v in updates], [])]
        self._outputs, self._feeds, self.name = len(model.outputs), len(model._feed_inputs), "predict_function"
        self._seen: set[Any] = set()
        self.replicas = Replicas("predict_function_of_slice", model._feed_inputs, [],
                                 [*((x, "join") for x in model.outputs), *((x, "mean") for x in handed)], 0, devices,
                                 model._mixed.dtype)
        pairs = [(variable_of(n), Tensor(v)) for n, v in updates]
        pairs += [K.update(c, c + 1) for c in self.replicas.counters]
        self.update = Function(handed, [], pairs, name="predict_function_update", device=devices[0]) if pairs else None

    def __call__(self, inputs: Sequence[Any]) -> list[np.ndarray]:
        """`run`; the learning phase may stand at the end of `inputs`."""
        return self.run(inputs[:self._feeds])

    def run(self, inputs: Sequence[Any], phase: int = 0, stay: bool = False) -> list[np.ndarray]:
        """The model's outputs."""
        if stay:
            raise ValueError("results='device' is for what one device computes; this model's batches are cut into "
                             f"slices for {', '.join(map(str, self.replicas.devices))}. Ask the model that "
                             "multi_gpu_model was given.")
        arrays = self.replicas.checked(inputs)
        found = self.replicas.run(arrays, lambda _: [], len(arrays[0]) if arrays else 1)
        if self.update is not None:
            self.update.run(found[self._outputs:], phase)
        return found[:self._outputs]

    def overlaps(self, phase: int) -> bool:
        """Whether `start` comes back while devices compute: nothing is updated that the next batch reads."""
        return self.update is None and self.replicas.overlaps()

    def start(self, inputs: Sequence[Any], phase: int) -> Callable[[], list[np.ndarray]]:
        """Begin what `run` does, where `overlaps`; what comes back waits for the outputs.  `inputs` are read now."""
        arrays = self.replicas.checked(inputs)
        return self.replicas.start(arrays, lambda _: [], len(arrays[0]) if arrays else 1)

    @property
    def parts(self) -> list[Function]:
        """The compiled functions of a prediction, in the order in which they run."""
        return [*self.replicas.functions.values(), *([self.update] if self.update else [])]

    def many(self, inputs: Sequence[Any], size: int) -> list[np.ndarray]:
        """No batches at once: see `Function.many`."""
        return []


def _on_gpus(runs: Sequence[Any]) -> bool:
    """Whether each executable is one of a single device."""
    from graphk.runtime.gpu import GpuExecutable
    return all(isinstance(run, GpuExecutable) for run in runs)


def _kind(x: Tensor) -> str:
    return "join" if x.ndim else "mean"


def _added_metrics(owner: Any) -> list[Tensor]:
    """What `add_metric` of a model, its layers and theirs was given."""
    return [*(x for _, x in owner._added_metrics if isinstance(x, Tensor)),
            *(x for layer in getattr(owner, "layers", ()) for x in _added_metrics(layer))]


def handed_over(values: Sequence[Node], summed: Sequence[Node]) -> list[Node]:
    """Of what `values` are computed from, the nodes that depend on data, or on how much there is, but not on `summed`,
    and no larger part."""
    early: set[Node] = set()
    late = set(summed)
    out: dict[Node, None] = {}
    for node in topological(values):
        if node in late or any(i in late for i in node.inputs):
            late.add(node)
            out.update((i, None) for i in node.inputs if i in early)
        elif node.op.name == "input" or node.symbols or any(i in early for i in node.inputs):
            early.add(node)
    out.update((v, None) for v in values if v in early)
    return list(out)


__all__ = ["Replicas", "SplitFunction", "SplitPrediction", "handed_over", "slices_of"]
