"""Convolutions by cuDNN, through its backend (graph) interface.

In: a `Convolution` and addresses.  Out: what executes a plan on a stream.  What always holds: a plan is looked for
once for a convolution and the alignment of its addresses; engines that add in another order each time, or in fewer
bits, are not taken, nor are tensor cores for float32 unless tf32 is allowed; memory is taken beforehand, a piece for
each lane.

Numbers of enumerators are those of cudnn_graph.h of cuDNN 9.
"""
from __future__ import annotations

import ctypes
from typing import Any, Sequence

from graphk.runtime.device import DeviceError
from graphk.runtime.library import Ask, Convolution, Library, Places, Refused, Run, Tensor, aligned

TYPES = {"float32": 0, "float64": 1}                                                 # cudnnDataType_t
# cudnnBackendDescriptorType_t
CONVOLUTION, ENGINE, ENGINE_CONFIG, HEURISTIC, PLAN, FORWARD, FILTER_GRADIENT = 1, 2, 3, 4, 5, 10, 11
GRAPH, VARIANT_PACK, TENSOR = 15, 16, 17
# cudnnBackendAttributeType_t, and what an element is in C
HANDLE, DATA_TYPE, INT64 = (0, ctypes.c_void_p), (1, ctypes.c_int), (3, ctypes.c_int64)
FLOAT, POINTER, CONVOLUTION_MODE = (4, ctypes.c_float), (6, ctypes.c_void_p), (7, ctypes.c_int)
HEURISTIC_MODE, NOTE, DESCRIPTOR = (8, ctypes.c_int), (11, ctypes.c_int), (15, ctypes.c_void_p)
# cudnnBackendAttributeName_t
COMPUTE_TYPE, MODE, DILATIONS, STEPS, POST_PADDINGS, PRE_PADDINGS, RANK = 100, 101, 102, 103, 104, 105, 106
HEURISTIC_MODE_OF, HEURISTIC_GRAPH, HEURISTIC_RESULTS, CONFIG_ENGINE = 200, 201, 202, 300
PLAN_HANDLE, PLAN_CONFIG, PLAN_WORKSPACE, GRAPH_HANDLE, GRAPH_OPERATIONS, ENGINE_NOTES = 400, 401, 402, 800, 801, 1303
FORWARD_ALPHA, FORWARD_BETA, FORWARD_CONVOLUTION, FORWARD_W, FORWARD_X, FORWARD_Y = 700, 701, 702, 703, 704, 705
FILTER_ALPHA, FILTER_BETA, FILTER_CONVOLUTION, FILTER_DW, FILTER_X, FILTER_DY = 712, 713, 714, 715, 716, 717
ALIGNMENT, TENSOR_TYPE, EXTENTS, STRIDES, UNIQUE_ID = 900, 901, 902, 903, 906
PACK_IDS, PACK_POINTERS, PACK_WORKSPACE = 1000, 1001, 1003
CROSS_CORRELATION = 1                                                                # cudnnConvolutionMode_t
HEURISTIC_A, FALLBACK = 3, 2                                                         # cudnnBackendHeurMode_t
TENSOR_CORE, DOWN_CONVERT, REDUCED_SUMS, NONDETERMINISTIC = 0, 1, 2, 4               # cudnnBackendNumericalNote_t
NOTES, CHOICES = 10, 16           # kinds of notes; engines to ask a heuristic for
X, W, Y = 1, 2, 3                 # names of tensors


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

    def tensor(self, name: int, x: Tensor, dtype: str, alignment: int) -> Any:
        return self.make(TENSOR, (TENSOR_TYPE, DATA_TYPE, [TYPES[dtype]]), (EXTENTS, INT64, x.extents),
                         (STRIDES, INT64, x.strides), (UNIQUE_ID, INT64, [name]), (ALIGNMENT, INT64, [alignment]))

    def operation(self, c: Convolution, alignments: Sequence[int]) -> tuple[Any, list[Any]]:
        """The convolution as a node of a graph, and what it refers to."""
        parts = [self.tensor(name, x, c.dtype, a) for name, x, a in zip((X, W, Y), (c.x, c.w, c.y), alignments)]
        rank = len(c.steps)
        parts.append(self.make(CONVOLUTION, (COMPUTE_TYPE, DATA_TYPE, [TYPES[c.dtype]]),
                               (MODE, CONVOLUTION_MODE, [CROSS_CORRELATION]), (RANK, INT64, [rank]),
                               (DILATIONS, INT64, c.dilations), (STEPS, INT64, c.steps),
                               (PRE_PADDINGS, INT64, [0] * rank), (POST_PADDINGS, INT64, [0] * rank)))
        names = ((FILTER_X, FILTER_DW, FILTER_DY, FILTER_CONVOLUTION, FILTER_ALPHA, FILTER_BETA) if c.gradient else
                 (FORWARD_X, FORWARD_W, FORWARD_Y, FORWARD_CONVOLUTION, FORWARD_ALPHA, FORWARD_BETA))
        refers = [(name, DESCRIPTOR, [part.value]) for name, part in zip(names, parts)]
        return self.make(FILTER_GRADIENT if c.gradient else FORWARD, *refers, (names[4], FLOAT, [1.0]),
                         (names[5], FLOAT, [0.0])), parts

    # -------------------------------------------------------------- calls
    def ask(self, what: Ask, at: Places) -> Run:
        assert isinstance(what, Convolution)
        addresses = (at.left, at.out, at.right) if what.gradient else (at.left, at.right, at.out)     # x, w, y
        key = what, tuple(aligned(x) for x in addresses)
        if key not in self._plans:
            try:
                self._plans[key] = self._plan(what, key[1])
            except Refused as e:
                self._plans[key] = str(e)
        plan = self._plans[key]
        if isinstance(plan, str):
            raise Refused(plan)

        def run(stream: Any, lane: int) -> None:
            pack = self.make(VARIANT_PACK, (PACK_IDS, INT64, (X, W, Y)), (PACK_POINTERS, POINTER, addresses),
                             (PACK_WORKSPACE, POINTER, [self.memory + lane * self.size]))
            self.check("cudnnSetStream", self.handle, ctypes.c_void_p(int(stream)))
            self.check("cudnnBackendExecute", self.handle, plan, pack)
            self._drop(pack)
        return run

    def _plan(self, c: Convolution, alignments: Sequence[int]) -> Any:
        """The first plan, of those that cuDNN ranks by their expected time, that keeps the rules."""
        operation, parts = self.operation(c, alignments)
        graph = self.make(GRAPH, (GRAPH_HANDLE, HANDLE, [self.handle.value]),
                          (GRAPH_OPERATIONS, DESCRIPTOR, [operation.value]))
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
        self._drop(graph, operation, *parts)
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
