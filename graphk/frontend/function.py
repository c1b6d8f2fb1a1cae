"""`K.function`: a compiled function of arrays.

In: symbolic inputs, outputs and updates.  Out: a callable that takes a list of arrays and returns a
list of arrays.  What always holds: inputs are checked (count, dtype, rank, sizes) before anything
runs, so a wrong call changes no variable; a graph that depends on the learning phase has one
executable per phase, compiled when first needed; a graph that draws random numbers advances their
counters.
"""
from __future__ import annotations

import re
from copy import copy
from dataclasses import replace
from typing import Any, Callable, Mapping, Sequence, ValuesView

import numpy as np

from graphk.frontend import config, execute
from graphk.frontend.bounds import bounds_of, check_bounds
from graphk.frontend.later import Outputs, is_later
from graphk.frontend.printing import reached
from graphk.frontend.showing import ShownFunction
from graphk.frontend.slices import check_cuts, cuts_of
from graphk.frontend.sparse import dense
from graphk.frontend.tensor import Tensor, Update, Variable, depends_on_phase, node_of, variable_of
from graphk.ir.dims import DimExpr, evaluate, symbols
from graphk.ir.node import Graph, Node, substitute_nodes
from graphk.ir.ops.leaves import new_input
from graphk.ir.types import shape_text
from graphk.ir.verify import symbols_known
from graphk.passes.mixed import mixed
from graphk.runtime.exchange import DeviceArray, adopted
from graphk.runtime.mirrors import among_devices, mirrored

SEEN_LIMIT = 512                 # shape signatures remembered per function
# What runs the calls instead, while `graphk.debug` is on.
CHECKED: list[Callable[["Function", execute.Executable, Sequence[np.ndarray], int], list[np.ndarray]] | None] = [None]


class Function(ShownFunction):
    """A compiled function; `K.function(inputs, outputs, updates)` makes one.

    `K.learning_phase()` may be among the inputs: the number passed for it then chooses the phase (1 train,
    0 test).  Without it the function runs in the test phase.  An input may be any tensor: a variable or a layer's
    output then has the value that is passed, wherever it is used.  feed_dict: placeholders that are no inputs, and the
    values each call finds for them there; fetches: further updates; mixed_precision: "float16" or "bfloat16", which
    contractions then round their operands to; device: where it runs, such as "gpu:1", by default as the settings say;
    results: "host", for numpy arrays, or "device", for arrays that stay on the GPU that computes them, in memory of
    their own (numpy arrays, too, where the CPU does): other functions and libraries take them there, and
    `numpy.asarray` fetches them.

    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 2))
    >>> K.function([x], [x * 2])([[[1., 2.]]])[0].tolist()
    [[2.0, 4.0]]
    """

    def __init__(self, inputs: Sequence[Any], outputs: Any, updates: Any = None, name: str | None = None,
                 feed_dict: Mapping[Any, Any] | None = None, fetches: Sequence[Update] = (),
                 mixed_precision: str | None = None, device: str | None = None, results: str = "host", **kwargs: Any):
        self._reject_options(kwargs)
        if not isinstance(inputs, (list, tuple)):
            raise TypeError("`inputs` to a graphk function should be a list or tuple.")
        if not isinstance(updates or [], (list, tuple)) or isinstance(updates, Update):
            raise TypeError("`updates` of a graphk function should be a list or tuple.")
        self._fed = {} if feed_dict is None else feed_dict
        inputs = [*inputs, *self._fed]
        self._single = not isinstance(outputs, (list, tuple, ValuesView)) or isinstance(outputs, Update)
        outputs = [outputs] if self._single else list(outputs)
        if any(x is None for x in outputs):
            raise ValueError(f"The output number {[x is None for x in outputs].index(True)} of the function "
                             f"`{name or 'function'}` is None. K.gradients gives None for a variable that the loss "
                             "does not depend on.")
        self.inputs, self.outputs = inputs, outputs
        self.name = name or "function"
        self.device = None if device is None else config.device_name(device, f"The function `{self.name}`")
        self._stay = stays(results, f"The function `{self.name}`")
        self._phase_at = self._find_phase(inputs)
        fed = [_fed_node(x) for x in inputs if not _is_phase(x)]
        self._names = [x.name for x in inputs if not _is_phase(x)]
        computed = {node: new_input(node.t, name) for node, name in zip(fed, self._names) if node.op.name != "input"}
        in_nodes = tuple(computed.get(node, node) for node in fed)
        twice = [name for i, name in enumerate(self._names) if in_nodes[i] in in_nodes[:i]]
        if twice:
            raise ValueError(f"The function `{self.name}` lists `{twice[0]}` twice among its inputs "
                             f"{self._names}; list it once.")
        pairs = [u for u in (*outputs, *fetches) if isinstance(u, Update)] + list(updates or [])
        out_nodes = tuple(x.node if isinstance(x, Update) else node_of(x) for x in outputs)
        self._results = Outputs(out_nodes)
        symbol = re.sub(r"\W|^(?=\d)", "_", self.name)
        self._graph = Graph(in_nodes, self._results.nodes, combine_updates(pairs), symbol)
        if computed:
            self._graph = self._fed_instead(computed)
        if mixed_precision is not None:
            self._graph = mixed(self._graph, mixed_precision)
        self.uses_learning_phase = any(depends_on_phase(n) for n in self._graph.roots())
        self._check_inputs_are_enough()
        self._executables: dict[int, execute.Executable] = {}
        self._seen: set[tuple[Any, ...]] = set()
        self._shorter: dict[int, Function | None] = {}
        self._bounds, self._cuts = bounds_of(self._graph), cuts_of(self._graph)

    # ---------------------------------------------------------------- building
    @staticmethod
    def _reject_options(kwargs: dict[str, Any]) -> None:
        if kwargs:
            raise ValueError(
                f"Invalid argument `{sorted(kwargs)[0]}` passed to K.function, which takes inputs, outputs, updates, "
                f"name, feed_dict, fetches, mixed_precision, device and results; options and run_metadata belong to "
                "TensorFlow."
            )

    def _find_phase(self, inputs: Sequence[Any]) -> int | None:
        at = [i for i, x in enumerate(inputs) if _is_phase(x)]
        return at[0] if at else None

    def _fed_instead(self, computed: Mapping[Node, Node]) -> Graph:
        """The graph that takes the values of variables and of computed tensors from the caller."""
        for variable, _ in self._graph.updates:
            if variable in computed:
                raise ValueError(f"The function `{self.name}` both takes `{computed[variable].attr('name')}` as an "
                                 "input and updates it; leave it out of `inputs`, or out of `updates`.")
        return substitute_nodes(self._graph, computed)

    def _check_inputs_are_enough(self) -> None:
        known = set(self._graph.inputs)
        for node in self._graph.nodes():
            if is_later(node):
                raise NotImplementedError(f"The function `{self.name}` computes with {node.attr('name')}, which is "
                                          "known only after its compiled part has run. Make it an output, and go on "
                                          "with the array.")
            if node.op.name == "input" and node not in known:
                raise ValueError(
                    f"The function `{self.name}` depends on the placeholder `{node.attr('name') or node.id}` of "
                    f"shape {shape_text(node.shape)}, which is not among its inputs {self._names}. Add it to `inputs`."
                )

    def executable(self, phase: int) -> execute.Executable:
        """The compiled form for one learning phase."""
        key = int(phase) if self.uses_learning_phase else 0
        found = self._executables.get(key)
        if found is None:
            graph = with_random_step(self._graph, key)
            variables = {n: variable_of(n) for n in graph.variables()}
            found = self._executables[key] = execute.compile_graph(graph, variables, key, self.device)
            self._on_host = execute.on_host(graph, self.device)
        return found

    # ---------------------------------------------------------------- calling
    def __call__(self, inputs: Sequence[Any] = ()) -> Any:
        if not isinstance(inputs, (list, tuple)):
            raise TypeError("`inputs` should be a list or tuple.")
        if self._phase_at is None and len(inputs) == len(self._names) - len(self._fed) + 1 and _is_flag(inputs[-1]):
            inputs = inputs[:-1]                       # the phase, passed to a function that does not ask for it
        inputs = [*inputs, *self._fed.values()] if self._fed else inputs
        phase = 0
        if self._phase_at is not None and len(inputs) > self._phase_at:
            phase = self._chosen_phase(inputs[self._phase_at])
            inputs = [*inputs[:self._phase_at], *inputs[self._phase_at + 1:]]
        taking = self._of_first(len(inputs)) if len(inputs) < len(self._names) and not self._fed else None
        out = (taking or self).run(inputs, phase, self._stay)
        return out[0] if self._single else out

    def _of_first(self, many: int) -> "Function | None":
        """The function of its first `many` inputs (without the phase), None where it needs another one: a list of
        values may end before inputs that nothing is computed from (`_standardize_user_data(x)` gives no targets)."""
        if many not in self._shorter:
            graph = replace(self._graph, inputs=self._graph.inputs[:many])
            found = None
            if set(graph.nodes()).isdisjoint(self._graph.inputs[many:]) and not any(symbols_known(graph)):
                found = copy(self)
                found._graph, found._names, found._shorter = graph, self._names[:many], {}
                found._bounds, found._cuts = bounds_of(graph), cuts_of(graph)
                found._executables, found._seen = {}, set()
            self._shorter[many] = found
        return self._shorter[many]

    def _chosen_phase(self, given: Any) -> int:
        if not _is_flag(given):
            raise ValueError(f"The input number {self._phase_at} of the function `{self.name}` is the learning phase: "
                             f"expected 0 (test) or 1 (train), received {given!r}.")
        return int(given)

    def run(self, inputs: Sequence[Any], phase: int = 0, stay: bool = False) -> list[Any]:
        """The outputs for `inputs` (without the phase), in one learning phase.  stay: on the device."""
        return self.run_checked(self._as_seen(inputs), phase, stay)

    def _as_seen(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """`check(inputs)`, where inputs like these were not seen before."""
        key = signature(inputs)
        if key is None or key not in self._seen:
            inputs = self.check(inputs)
            if key is not None and len(self._seen) < SEEN_LIMIT and signature(inputs) == key:
                self._seen.add(key)
        return inputs

    def overlaps(self, phase: int) -> bool:
        """Whether `start` comes back while a device computes."""
        return CHECKED[0] is None and self._results.direct and execute.on_device(self._graph, self.device) \
            and hasattr(self.executable(phase), "start")           # what prints on its way has no start

    def start(self, inputs: Sequence[Any], phase: int) -> Callable[[], list[np.ndarray]]:
        """Begin what `run` does, where `overlaps`; what comes back waits for the outputs.  `inputs` are read now."""
        inputs = self._as_seen(inputs)
        if self._bounds:
            check_bounds(self._bounds, inputs)
        exe: Any = self.executable(phase)
        return exe.start(inputs)

    def run_checked(self, inputs: Sequence[Any], phase: int, stay: bool = False) -> list[Any]:
        """`run` of arrays with dtypes and shapes in `_seen`: only values are looked at."""
        if self._bounds:
            check_bounds(self._bounds, inputs)
        check = CHECKED[0]
        run = self._executables.get(phase) or self.executable(phase)
        if stay:
            run = getattr(run, "staying", run)
        if mirrored and self._on_host:
            values = self._among_devices(run, inputs, phase)
        else:
            values = run(inputs) if check is None else check(self, run, inputs, phase)
        return values if self._results.direct else self._results(values)

    def _among_devices(self, run: execute.Executable, inputs: Sequence[Any], phase: int) -> list[np.ndarray]:
        """What the host computes, where devices may have newer values of variables, or hold what it writes."""
        check = CHECKED[0]
        graph = with_random_step(self._graph, int(phase) if self.uses_learning_phase else 0)
        arrays = {node: variable_of(node).array for node in graph.variables()}
        with among_devices(arrays.values(), [arrays[v] for v, _ in graph.updates]):
            return run(inputs) if check is None else check(self, run, inputs, phase)

    def many(self, inputs: Sequence[Any], size: int) -> list[np.ndarray]:
        """In the test phase, the outputs for all rows of `inputs` in batches of `size`, most of which need no step of
        Python between them; empty where that cannot be (one batch takes long, or is not of rows alone)."""
        exe: Any = self.executable(0)
        most = getattr(exe, "batches", 1)                 # the interpreter runs one after another
        outs: list[np.ndarray] = []
        if most == 1 or CHECKED[0] is not None or mirrored or not self._results.direct or not all(
                type(a) is np.ndarray for a in inputs) or self._cuts_rows():
            return []
        at, samples = 0, len(inputs[0])
        while at < samples:
            times = max(min(most, (samples - at) // size), 1)
            part = self._as_seen([a[at:at + times * size] for a in inputs])
            if self._bounds:
                check_bounds(self._bounds, part)
            got = exe.repeat(part, times) if times > 1 else self.run_checked(part, 0)
            if got is None or at == 0 and times * size >= samples:
                return got or []                          # none: the first call has the most batches of all
            outs = outs or [np.empty((samples, *o.shape[1:]), o.dtype) for o in got]
            for whole, o in zip(outs, got):
                whole[at:at + len(o)] = o
            at += times * size
        return outs

    def _cuts_rows(self) -> bool:
        """Whether a slice that a call must check depends on the number of rows, which is that of one batch."""
        rows = {name for n in self._graph.inputs for name in symbols(n.shape[0])}
        return any(rows & symbols(d) for cut in self._cuts for d in (cut.start, cut.size, cut.extent))

    def check_ranges(self, inputs: Sequence[Any]) -> None:
        """ValueError if row or class numbers among `inputs` (which may be a whole data set) are out of range."""
        check_bounds(self._bounds, inputs)

    def check(self, inputs: Sequence[Any]) -> list[np.ndarray]:
        """`inputs` as arrays of the declared dtypes; TypeError or ValueError naming the input that does not fit."""
        if len(inputs) != len(self._graph.inputs):
            raise ValueError(f"The function `{self.name}` takes {len(self._graph.inputs)} inputs "
                             f"({', '.join(self._names) or 'none'}), received {len(inputs)}.")
        arrays = [self._array(n, name, x) for n, name, x in zip(self._graph.inputs, self._names, _computed(inputs))]
        env: dict[str, int] = {}
        owner: dict[str, str] = {}
        for node, name, a in zip(self._graph.inputs, self._names, arrays):
            for d, size in zip(node.shape, a.shape):
                if isinstance(d, DimExpr) and str(d) in symbols(d) and str(d) not in env:
                    env[str(d)], owner[str(d)] = size, name
        for node, name, a in zip(self._graph.inputs, self._names, arrays):
            self._check_sizes(node, name, a, env, owner)
        check_cuts(self._cuts, env, self.name)
        return arrays

    def _array(self, node: Node, name: str, value: Any) -> Any:
        try:
            value = adopted(dense(value))
            if isinstance(value, DeviceArray) and (self._bounds or not execute.on_device(self._graph, self.device)):
                raise value.elsewhere()
        except TypeError as e:
            raise TypeError(f"The input `{name}` of the function `{self.name}`: {e}.") from None
        if isinstance(value, DeviceArray):
            return value
        if hasattr(value, "values") and not isinstance(value, np.ndarray):
            value = value.values() if callable(value.values) else value.values
        try:
            array = np.asarray(value)
            if value is None:
                raise TypeError("no value")
            if array.dtype.kind in "OUSV":
                array = array.astype(node.dtype)
            if array.dtype.kind == "c":
                raise TypeError("complex numbers have no place in it")
            _check_whole(array, node.dtype)
            array = np.ascontiguousarray(array, dtype=node.dtype).reshape(array.shape)
        except (TypeError, ValueError) as e:
            raise TypeError(f"The input `{name}` of the function `{self.name}` cannot be converted to {node.dtype}: "
                            f"received {type(value).__name__} ({e}).") from None
        if array.ndim != node.ndim:
            raise ValueError(f"The input `{name}` of the function `{self.name}` expects {node.ndim} axes, shape "
                             f"{_text(node.shape)}; received an array of shape {array.shape}.")
        return array

    def _check_sizes(self, node: Node, name: str, a: np.ndarray, env: dict[str, int], owner: dict[str, str]) -> None:
        for axis, (d, size) in enumerate(zip(node.shape, a.shape)):
            if not symbols(d) <= set(env):
                continue
            want = evaluate(d, env)
            if want != size:
                src = owner.get(str(d))
                also = f" (the size that the input `{src}` has there)" if src and src != name else ""
                raise ValueError(
                    f"The input `{name}` of the function `{self.name}` expects shape {_text(node.shape)}; "
                    f"received an array of shape {a.shape}: axis {axis} has size {size}, expected {want}{also}."
                )


def stays(results: Any, who: str) -> bool:
    """Whether results stay on the device that computes them; ValueError for what says neither that nor otherwise."""
    if results not in ("host", "device"):
        raise ValueError(f"{who} was given results={results!r}; expected 'host', for numpy arrays, or 'device', for "
                         "arrays that stay where they are computed.")
    return bool(results == "device")


def _computed(inputs: Sequence[Any]) -> Sequence[Any]:
    """`inputs` with the values of those that are symbolic, computed together: random numbers that they share agree."""
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    if not tensors:
        return inputs
    from graphk.frontend.backend.session import get_session
    values = iter(get_session().run(tensors))
    return [next(values) if isinstance(x, Tensor) else x for x in inputs]


def _check_whole(array: np.ndarray, dtype: str) -> None:
    """TypeError unless every number of `array` is one of the integer type `dtype` too; other types take all."""
    if dtype not in ("int32", "int64", "uint32") or np.can_cast(array.dtype, dtype) or not array.size:
        return
    limits = np.iinfo(dtype)
    if array.dtype.kind == "f":
        bad = ~(array == np.trunc(array))
        if bad.any():
            raise TypeError(f"{array[bad][0]} at {_first(bad)} is not a whole number; round it first, or declare the "
                            "placeholder with a float dtype")
    if array.min() < limits.min or array.max() > limits.max:
        bad = (array < limits.min) | (array > limits.max)
        raise TypeError(f"{array[bad][0]} at {_first(bad)} is not between {limits.min} and {limits.max}")


def _first(bad: np.ndarray) -> str:
    return str(tuple(int(i) for i in np.argwhere(bad)[0]))


def _text(shape: Sequence[Any]) -> str:
    return str(tuple(d if isinstance(d, int) else None for d in shape))


def _is_phase(x: Any) -> bool:
    return isinstance(x, (int, np.integer)) or (isinstance(x, Tensor) and x.node.op.name == "phase")


def _is_flag(x: Any) -> bool:
    return not np.ndim(x) and x in (0, 1)


def _fed_node(x: Any) -> Node:
    """The node that takes the caller's values: a placeholder's, or one whose own value they stand for."""
    if not isinstance(x, Tensor):
        raise TypeError(f"the inputs of a function are tensors; received {type(x).__name__}: {x!r}")
    if x.node.op.name != "input" and any(isinstance(d, DimExpr) and str(d) not in symbols(d) for d in x.node.shape):
        raise ValueError(f"`{x.name}` cannot be an input of a function: its size {tuple(map(str, x.node.shape))} is "
                         "computed from others. Begin with a K.placeholder or an Input.")
    return x.node


def signature(inputs: Sequence[Any]) -> tuple[Any, ...] | None:
    """Dtypes and shapes of `inputs` if all are plain contiguous arrays, else None."""
    key = []
    for a in inputs:
        if type(a) is not np.ndarray or not a.flags.c_contiguous:
            return None
        key.append(a.dtype)
        key.append(a.shape)
    return tuple(key)


def combine_updates(pairs: Sequence[Any]) -> tuple[tuple[Node, Node], ...]:
    """Updates as node pairs.  Several updates of one variable apply one after the other: each later value is
    computed from the earlier one (a BatchNormalization layer that is called twice moves its averages twice)."""
    table: dict[Node, Node] = {}
    done: set[int] = set()
    for pair in pairs:
        if isinstance(pair, Update) and id(pair) in done:
            continue
        done.add(id(pair))
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[0], Variable):
            raise TypeError(f"an update is a pair (variable, new value), as K.update returns; received {pair!r}")
        target, value = pair[0].node, _fit(pair[0], node_of(pair[1], pair[0].dtype))
        if target in table:
            value = substitute_nodes(Graph((), (value,)), {target: table[target]}).outputs[0]
        table[target] = value
    return tuple(table.items())


def _fit(variable: Variable, value: Node) -> Node:
    """The new value in the variable's dtype and shape."""
    from graphk.ir.ops.elementwise import add, cast, zeros_like
    from graphk.ir.ops.shape import broadcast_to
    value = cast(value, variable.dtype)
    if value.shape == variable.node.shape:
        return value
    if value.ndim == variable.ndim and all(not isinstance(d, int) or d == v or d == 1
                                           for d, v in zip(value.shape, variable.node.shape)):
        if all(isinstance(d, int) for d in value.shape):
            return broadcast_to(value, variable.node.shape)
        # Axis by axis: sizes that differ at a call are refused there.
        return cast(add(value, zeros_like(variable.node)), variable.dtype)
    if value.ndim < variable.ndim:
        return broadcast_to(value, variable.node.shape)
    raise ValueError(f"the update of the variable `{variable.name}` has shape {_text(value.shape)}, "
                     f"expected {variable.shape}")


def with_random_step(graph: Graph, phase: int) -> Graph:
    """The graph with the update `counter + 1` of each counter of random numbers that it reads in this phase."""
    from graphk.frontend.backend.random_ops import counters_among
    taken = {v for v, _ in graph.updates}
    more = [(c.node, (c + 1).node) for c in counters_among(reached(graph.roots(), phase)) if c.node not in taken]
    return Graph(graph.inputs, graph.outputs, (*graph.updates, *more), graph.name, graph.guards) if more else graph
