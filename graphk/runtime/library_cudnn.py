"""Convolutions by cuDNN, through its backend (graph) interface.

In: a `Convolution` and addresses.  Out: what executes a plan on a stream.  What is done with sums is more nodes of the
graph that a plan is made for.  What always holds: a plan is looked for once for a convolution and the alignment of its
addresses; engines that add in another order each time, or in fewer bits, are not taken, nor are tensor cores for
float32 unless tf32 is allowed; memory is taken beforehand, a piece for each lane.

Numbers of enumerators are those of cudnn_graph.h of cuDNN 9.
"""
from __future__ import annotations

import ctypes
from typing import Any, Callable, Mapping, Sequence

from graphk.runtime.device import DeviceError
from graphk.runtime.library import Ask, Convolution, Library, Places, Refused, Run, Tensor, aligned

TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 9}                     # cudnnDataType_t
# cudnnBackendDescriptorType_t
POINTWISE, POINTWISE_OPERATION = 0, 13
CONVOLUTION, ENGINE, ENGINE_CONFIG, HEURISTIC, PLAN, FORWARD, FILTER_GRADIENT = 1, 2, 3, 4, 5, 10, 11
GRAPH, VARIANT_PACK, TENSOR = 15, 16, 17
# cudnnBackendAttributeType_t, and what an element is in C
HANDLE, DATA_TYPE, BOOLEAN, INT64 = (0, ctypes.c_void_p), (1, ctypes.c_int), (2, ctypes.c_bool), (3, ctypes.c_int64)
NAN, POINTWISE_MODE = (10, ctypes.c_int), (14, ctypes.c_int)
FLOAT, POINTER, CONVOLUTION_MODE = (4, ctypes.c_float), (6, ctypes.c_void_p), (7, ctypes.c_int)
HEURISTIC_MODE, NOTE, DESCRIPTOR = (8, ctypes.c_int), (11, ctypes.c_int), (15, ctypes.c_void_p)
# cudnnBackendAttributeName_t
POINTWISE_KIND, POINTWISE_TYPE, POINTWISE_NAN = 0, 1, 2
COMPUTE_TYPE, MODE, DILATIONS, STEPS, POST_PADDINGS, PRE_PADDINGS, RANK = 100, 101, 102, 103, 104, 105, 106
HEURISTIC_MODE_OF, HEURISTIC_GRAPH, HEURISTIC_RESULTS, CONFIG_ENGINE = 200, 201, 202, 300
PLAN_HANDLE, PLAN_CONFIG, PLAN_WORKSPACE, GRAPH_HANDLE, GRAPH_OPERATIONS, ENGINE_NOTES = 400, 401, 402, 800, 801, 1303
FORWARD_ALPHA, FORWARD_BETA, FORWARD_CONVOLUTION, FORWARD_W, FORWARD_X, FORWARD_Y = 700, 701, 702, 703, 704, 705
FILTER_ALPHA, FILTER_BETA, FILTER_CONVOLUTION, FILTER_DW, FILTER_X, FILTER_DY = 712, 713, 714, 715, 716, 717
POINTWISE_OF, POINTWISE_X, POINTWISE_B, POINTWISE_Y = 750, 751, 752, 753
ALIGNMENT, TENSOR_TYPE, EXTENTS, STRIDES, UNIQUE_ID, VIRTUAL = 900, 901, 902, 903, 906, 907
PACK_IDS, PACK_POINTERS, PACK_WORKSPACE = 1000, 1001, 1003
CROSS_CORRELATION = 1                                                                # cudnnConvolutionMode_t
ADD, RELU, PROPAGATE_NAN = 0, 100, 1                                 # cudnnPointwiseMode_t, cudnnNanPropagation_t
HEURISTIC_A, FALLBACK = 3, 2                                                         # cudnnBackendHeurMode_t
TENSOR_CORE, DOWN_CONVERT, REDUCED_SUMS, NONDETERMINISTIC = 0, 1, 2, 4               # cudnnBackendNumericalNote_t
NOTES, CHOICES = 10, 16           # kinds of notes; engines to ask a heuristic for
X, W, Y, BIAS, ADDED, BETWEEN = 1, 2, 3, 4, 5, 6    # names of tensors; those between two operations count on


class Cudnn(Library):
    """cuDNN on one device.

    `functions`: the shared library, or what stands in for it; `memory`: `size` bytes for each lane, one after another.
    """
    name = "cuDNN"

    def __init__(self, functions: Any, memory: int, size: int):
        self.functions, self.memory, self.size = functions, memory, size
        functions.cudnnGetErrorString.restype = ctypes.c_char_p
        self.handle = ctypes.c_void_p()
        self.check("cudnnCreate", ctypes.byref(self.handle))
        self._plans: dict[Any, Any] = {}

    def check(self, name: str, *args: Any) -> None:
        """Call a function; DeviceError names it and its status."""
        status = getattr(self.functions, name)(*args)
        if status:
            raise DeviceError(f"{name} failed: {self.word(status)} ({status}). cuDNN must be of version 9 and of the "
                              "CUDA version that the driver supports: see `python -m graphk doctor`.")

    def word(self, status: int) -> str:
        """What cuDNN calls a status."""
        return str((self.functions.cudnnGetErrorString(status) or b"?").decode())

    # -------------------------------------------------------------- descriptors
    def make(self, kind: int, *attributes: tuple[int, tuple[int, Any], Sequence[Any]]) -> Any:
        """A descriptor that is finished; `Refused` where cuDNN does not support what it says."""
        out = self._new(kind)
        for name, (number, ctype), values in attributes:
            array = (ctype * len(values))(*values)
            self.check("cudnnBackendSetAttribute", out, name, number, ctypes.c_int64(len(values)), ctypes.byref(array))
        status = self.functions.cudnnBackendFinalize(out)
        if status:
            self._drop(out)
            raise Refused(self.word(status))
        return out

    def _new(self, kind: int) -> Any:
        out = ctypes.c_void_p()
        self.check("cudnnBackendCreateDescriptor", kind, ctypes.byref(out))
        return out

    def _drop(self, *descriptors: Any) -> None:
        for x in descriptors:
            self.check("cudnnBackendDestroyDescriptor", x)

    def read(self, of: Any, name: int, kind: tuple[int, Any], array: Any) -> int:
        """An attribute into an array of C; how many elements there were."""
        count = ctypes.c_int64()
        self.check("cudnnBackendGetAttribute", of, name, kind[0], ctypes.c_int64(len(array)), ctypes.byref(count),
                   ctypes.byref(array))
        return min(count.value, len(array))

    def tensor(self, name: int, x: Tensor, dtype: str, alignment: int = 0) -> Any:
        """A tensor in memory of an alignment, or (0) one that is only handed from one operation to the next."""
        return self.make(TENSOR, (TENSOR_TYPE, DATA_TYPE, [TYPES[dtype]]), (EXTENTS, INT64, x.extents),
                         (STRIDES, INT64, x.strides), (UNIQUE_ID, INT64, [name]), (ALIGNMENT, INT64, [alignment or 16]),
                         *([] if alignment else [(VIRTUAL, BOOLEAN, [True])]))

    def operations(self, c: Convolution, alignments: Mapping[int, int], parts: list[Any]) -> list[Any]:
        """The convolution and what is done with its sums, as nodes of a graph; they and what they refer to are added to
        `parts`."""
        def make(kind: int, *attributes: Any) -> Any:
            parts.append(self.make(kind, *attributes))
            return parts[-1]

        def tensor(name: int, x: Tensor) -> Any:
            operand = name in ((X, Y) if c.gradient else (X, W))
            parts.append(self.tensor(name, x, c.dtype if operand else c.result, alignments.get(name, 0)))
            return parts[-1]
        ones, filters = [1] * len(c.steps), c.w.extents[0]
        bias = Tensor((1, filters, *ones), (filters, 1, *(filters if c.y.strides[1] == 1 else 1 for _ in ones)))
        behind: list[tuple[int, int, Tensor | None]] = [(ADD, ADDED, c.added)] if c.added else []
        behind += [(ADD, BIAS, bias)] if c.bias else []
        behind += [(RELU, 0, None)] if c.activation else []
        names = [*range(BETWEEN, BETWEEN + len(behind)), Y]            # of each operation's result
        made = tensor(names[0], c.y)
        out = [self.convolution(c, (tensor(X, c.x), tensor(W, c.w), made), make)]
        for (kind, name, x), result in zip(behind, names[1:]):
            of, made = made, tensor(result, c.y)
            what = make(POINTWISE, (POINTWISE_KIND, POINTWISE_MODE, [kind]),
                        (POINTWISE_TYPE, DATA_TYPE, [TYPES[c.result]]),
                        *([(POINTWISE_NAN, NAN, [PROPAGATE_NAN])] if kind == RELU else []))
            refers = [(POINTWISE_OF, what), (POINTWISE_X, of), (POINTWISE_Y, made)]
            refers += [(POINTWISE_B, tensor(name, x))] if x is not None else []
            out.append(make(POINTWISE_OPERATION, *((at, DESCRIPTOR, [p.value]) for at, p in refers)))
        return out

    def convolution(self, c: Convolution, tensors: Sequence[Any], make: Callable[..., Any]) -> Any:
        """The convolution as a node; tensors: x, w and y."""
        rank = len(c.steps)
        what = make(CONVOLUTION, (COMPUTE_TYPE, DATA_TYPE, [TYPES[c.result]]),
                    (MODE, CONVOLUTION_MODE, [CROSS_CORRELATION]), (RANK, INT64, [rank]),
                    (DILATIONS, INT64, c.dilations), (STEPS, INT64, c.steps),
                    *((name, INT64, [pair[i] for pair in c.paddings or [(0, 0)] * rank])
                      for i, name in enumerate((PRE_PADDINGS, POST_PADDINGS))))
        names = ((FILTER_X, FILTER_DW, FILTER_DY, FILTER_CONVOLUTION, FILTER_ALPHA, FILTER_BETA) if c.gradient else
                 (FORWARD_X, FORWARD_W, FORWARD_Y, FORWARD_CONVOLUTION, FORWARD_ALPHA, FORWARD_BETA))
        refers = [(name, DESCRIPTOR, [part.value]) for name, part in zip(names, (*tensors, what))]
        return make(FILTER_GRADIENT if c.gradient else FORWARD, *refers, (names[4], FLOAT, [1.0]),
                    (names[5], FLOAT, [0.0]))

    # -------------------------------------------------------------- calls
    def ask(self, what: Ask, at: Places) -> Run:
        assert isinstance(what, Convolution)
        w, y = (at.out, at.right) if what.gradient else (at.right, at.out)
        addresses = {name: x for name, x in ((X, at.left), (W, w), (Y, y), (BIAS, at.bias), (ADDED, at.added)) if x}
        key = what, tuple((name, aligned(x)) for name, x in addresses.items())
        if key not in self._plans:
            try:
                self._plans[key] = self._plan(what, dict(key[1]))
            except Refused as e:
                self._plans[key] = str(e)
        plan = self._plans[key]
        if isinstance(plan, str):
            raise Refused(plan)

        def run(stream: Any, lane: int) -> None:
            pack = self.make(VARIANT_PACK, (PACK_IDS, INT64, [*addresses]),
                             (PACK_POINTERS, POINTER, [*addresses.values()]),
                             (PACK_WORKSPACE, POINTER, [self.memory + lane * self.size]))
            self.check("cudnnSetStream", self.handle, ctypes.c_void_p(int(stream)))
            self.check("cudnnBackendExecute", self.handle, plan, pack)
            self._drop(pack)
        return run

    def _plan(self, c: Convolution, alignments: Mapping[int, int]) -> Any:
        """The first plan, of those that cuDNN ranks by their expected time, that keeps the rules."""
        parts: list[Any] = []
        try:
            return self._first(c, self.operations(c, alignments, parts), parts)
        except Refused:
            self._drop(*parts)
            raise

    def _first(self, c: Convolution, operations: Sequence[Any], parts: list[Any]) -> Any:
        parts.append(self.make(GRAPH, (GRAPH_HANDLE, HANDLE, [self.handle.value]),
                               (GRAPH_OPERATIONS, DESCRIPTOR, [x.value for x in operations])))
        graph = parts[-1]
        reasons: dict[str, None] = {}
        for mode in (HEURISTIC_A, FALLBACK):
            configs = self._configs(graph, mode)
            try:
                for i, config in enumerate(configs):
                    try:
                        plan = self._planned(c, config)
                    except Refused as e:
                        reasons[str(e)] = None
                    else:
                        del configs[i]             # the plan refers to it, as it does to the graph
                        return plan
            finally:
                self._drop(*configs)
        raise Refused("; ".join(reasons) or "no engine")

    def _planned(self, c: Convolution, config: Any) -> Any:
        """The plan of an engine; `Refused` if the engine breaks a rule."""
        refused = {DOWN_CONVERT, REDUCED_SUMS, NONDETERMINISTIC}
        refused |= {TENSOR_CORE} if c.dtype == "float32" and not c.tf32 else set()
        if self._notes(config) & refused:
            raise Refused("no engine that adds in one order and in all bits")
        plan = self.make(PLAN, (PLAN_HANDLE, HANDLE, [self.handle.value]), (PLAN_CONFIG, DESCRIPTOR, [config.value]))
        room = (ctypes.c_int64 * 1)()
        self.read(plan, PLAN_WORKSPACE, INT64, room)
        if room[0] > self.size:
            self._drop(plan)
            raise Refused(f"an engine needs {room[0]:,} bytes of memory, more than {self.size:,}")
        return plan

    def _configs(self, graph: Any, mode: int) -> list[Any]:
        """Engines with their settings, the ones that a heuristic expects to be fastest first."""
        try:
            heuristic = self.make(HEURISTIC, (HEURISTIC_GRAPH, DESCRIPTOR, [graph.value]),
                                  (HEURISTIC_MODE_OF, HEURISTIC_MODE, [mode]))
        except Refused:
            return []
        room = [self._new(ENGINE_CONFIG) for _ in range(CHOICES)]
        found = (ctypes.c_void_p * CHOICES)(*(x.value for x in room))
        count = self.read(heuristic, HEURISTIC_RESULTS, DESCRIPTOR, found)
        self._drop(heuristic, *room[count:])
        return room[:count]

    def _notes(self, config: Any) -> set[int]:
        """What is special about how an engine computes."""
        engine, notes = self._new(ENGINE), (ctypes.c_int * NOTES)()
        self.read(config, CONFIG_ENGINE, DESCRIPTOR, (ctypes.c_void_p * 1)(engine.value))
        count = self.read(engine, ENGINE_NOTES, NOTE, notes)
        self._drop(engine)
        return set(notes[:count])


__all__ = ["Cudnn"]
