"""A CUDA driver in Python, for `CudaDevice` on machines without a GPU.

In: the calls that graphk makes, as `cuda.bindings.driver` takes them.  Out: (error, results ...), as it answers.
Memory is a `SimDevice`'s and kernels run in plain Python (their PTX in `ptx_driver`).  What is captured runs at replay
in an order that changes each time, and that only streams and events bind: a missing event shows as a wrong result.
"""
import ctypes
import enum
import random

import numpy as np

from graphk.codegen import cuda_sim
from graphk.runtime.device_sim import SimDevice

COMPILED = {}                      # "PTX" -> (source, launch), as `compile_source` made it


class CUresult(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_INVALID_HANDLE = 400
    CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222


class CUdevice_attribute(enum.IntEnum):
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76
    CU_DEVICE_ATTRIBUTE_PCI_BUS_ID = 33
    CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID = 34
    CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID = 50


class CUpointer_attribute(enum.IntEnum):
    CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9


class CUstream_flags(enum.IntEnum):
    CU_STREAM_NON_BLOCKING = 1


class CUevent_flags(enum.IntEnum):
    CU_EVENT_DISABLE_TIMING = 2


class CUstreamCaptureMode(enum.IntEnum):
    CU_STREAM_CAPTURE_MODE_RELAXED = 2


def compile_source(source, capability):
    """What stands for PTX: a text that names its entry, and is found again."""
    assert capability == (9, 0)
    out = {}
    for launch in source.launches:
        text = f".visible .entry made_{len(COMPILED)}()"
        COMPILED[text] = source, launch
        out[launch.name] = text
    return out


class Node:
    """Something captured, and what it waits for."""

    def __init__(self, run, after):
        self.run, self.after, self.running = run, after, False


class FakeDriver:
    """One GPU of `nbytes`; `alive`: handles that nobody destroyed."""
    CUresult, CUdevice_attribute, CUstream_flags = CUresult, CUdevice_attribute, CUstream_flags
    CUevent_flags, CUstreamCaptureMode = CUevent_flags, CUstreamCaptureMode
    CUpointer_attribute = CUpointer_attribute

    def __init__(self, nbytes=1 << 30, seed=0):
        self.sim = SimDevice(nbytes=nbytes)
        self.random = random.Random(seed)
        self.alive, self.handles, self.pinned = {}, 0x100, {}
        self.default = {number: ("stream", {"last": [], "in": False, "tail": []}) for number in (1, 2)}
        self.capturing = None                          # while a stream is captured: its nodes
        self.context, self.below = None, []            # this thread's, and those to go back to
        self.freed = []                                # pinned memory that was given back
        self.launched = 0
        self.begun = []                                # launches that are not done yet
        self.calls = []                                # what was asked of streams, by name

    def _handle(self, kind, thing):
        assert self.context == "primary", "no context is current"
        self.handles += 1
        self.alive[self.handles] = kind, thing
        return self.handles

    def _of(self, handle, kind):
        found = self.default.get(handle) or self.alive[handle]
        assert found[0] == kind, (found, kind)
        return found[1]

    # devices and memory
    def cuInit(self, flags):
        return CUresult.CUDA_SUCCESS,

    def cuDeviceGetCount(self):
        return CUresult.CUDA_SUCCESS, 1

    def cuDeviceGet(self, number):
        return CUresult.CUDA_SUCCESS, number

    def cuDeviceGetName(self, room, device):
        return CUresult.CUDA_SUCCESS, b"Fake GPU\0" + bytes(room - 9)

    def cuDeviceGetAttribute(self, kind, device):
        return CUresult.CUDA_SUCCESS, 9 if "MAJOR" in kind.name else 0

    def cuDevicePrimaryCtxRetain(self, device):
        return CUresult.CUDA_SUCCESS, "primary"

    def cuCtxSetCurrent(self, context):
        self.context = context
        return CUresult.CUDA_SUCCESS,

    def cuCtxPushCurrent(self, context):
        self.below.append(self.context)
        self.context = context
        return CUresult.CUDA_SUCCESS,

    def cuCtxPopCurrent(self):
        context, self.context = self.context, self.below.pop()
        return CUresult.CUDA_SUCCESS, context

    def cuCtxSynchronize(self):
        assert self.capturing is None, "nobody waits for what is being captured"
        self._until(list(self.begun), self.begun)
        return CUresult.CUDA_SUCCESS,

    def cuMemAlloc(self, nbytes):
        assert self.context == "primary" and nbytes > 0
        if nbytes > self.sim.room()[0]:
            return CUresult.CUDA_ERROR_OUT_OF_MEMORY, None
        return CUresult.CUDA_SUCCESS, self.sim.allocate(nbytes)

    def cuMemFree(self, address):
        self.sim.free(address)
        return CUresult.CUDA_SUCCESS,

    def cuMemGetInfo(self):
        return CUresult.CUDA_SUCCESS, *self.sim.room()

    def cuMemHostAlloc(self, nbytes, flags):
        memory = (ctypes.c_uint8 * nbytes)()
        self.pinned[ctypes.addressof(memory)] = memory
        return CUresult.CUDA_SUCCESS, ctypes.addressof(memory)

    def cuMemFreeHost(self, address):
        memory = self.pinned.pop(address)
        ctypes.memset(address, 0xAB, len(memory))      # which what was started and reads it still will find
        self.freed.append(memory)
        return CUresult.CUDA_SUCCESS,

    @staticmethod
    def _host(address, nbytes):
        return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), np.uint8)

    def cuMemcpyHtoD(self, address, host, nbytes):
        self.sim.upload(address, self._host(host, nbytes))
        return CUresult.CUDA_SUCCESS,

    def cuMemcpyDtoH(self, host, address, nbytes):
        self.sim.download(self._host(host, nbytes), address)
        return CUresult.CUDA_SUCCESS,

    def cuMemcpyDtoD(self, address, source, nbytes):
        self.sim.copy(address, source, nbytes)
        return CUresult.CUDA_SUCCESS,

    def cuMemcpyDtoDAsync(self, address, source, nbytes, stream):
        assert self.context == "primary" and nbytes > 0
        self.enqueue(stream, lambda: self.sim.copy(address, source, nbytes))
        return CUresult.CUDA_SUCCESS,

    def cuMemcpyPeer(self, address, context, source, other, nbytes):
        assert context == other == "primary"
        self.sim.copy(address, source, nbytes)
        return CUresult.CUDA_SUCCESS,

    def cuPointerGetAttribute(self, kind, address):
        assert kind == CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        return (CUresult.CUDA_SUCCESS, 0) if self.sim.holds(address) else (CUresult.CUDA_ERROR_INVALID_VALUE, None)

    # modules
    def cuModuleLoadData(self, text):
        assert text.endswith(b"\0")
        source, launch = COMPILED[text[:-1].decode()]
        return CUresult.CUDA_SUCCESS, self._handle("module", (source, launch, text.decode()))

    def cuModuleGetFunction(self, module, name):
        source, launch, text = self._of(module, "module")
        if f".entry {name.decode()}(" not in text:
            return CUresult.CUDA_ERROR_INVALID_VALUE, None
        functions = self.sim.load(source)
        return CUresult.CUDA_SUCCESS, self._handle("function", functions[source.launches.index(launch)])

    # streams, events, capture
    def cuStreamCreate(self, flags):
        assert flags == CUstream_flags.CU_STREAM_NON_BLOCKING
        return CUresult.CUDA_SUCCESS, self._handle("stream", {"last": [], "in": False, "tail": []})

    def cuEventCreate(self, flags):
        return CUresult.CUDA_SUCCESS, self._handle("event", {"node": None})

    def cuEventDestroy(self, event):
        del self.alive[event]
        return CUresult.CUDA_SUCCESS,

    def cuEventRecord(self, event, stream):
        s = self._of(stream, "stream")
        if s["in"]:
            self._of(event, "event")["node"] = list(s["last"])
        else:
            self._of(event, "event")["tail"] = list(s["tail"])
        return CUresult.CUDA_SUCCESS,

    def cuStreamWaitEvent(self, stream, event, flags):
        if stream not in self.alive and stream not in self.default:
            return CUresult.CUDA_ERROR_INVALID_HANDLE,
        s = self._of(stream, "stream")
        if "tail" in self._of(event, "event"):
            assert not s["in"]
            s["tail"] = [*s["tail"], *self._of(event, "event")["tail"]]
            return CUresult.CUDA_SUCCESS,
        after = self._of(event, "event")["node"]
        assert after is not None, "the event was not recorded"
        s["last"], s["in"] = [*s["last"], *after], True
        return CUresult.CUDA_SUCCESS,

    def cuStreamBeginCapture(self, stream, mode):
        assert self.capturing is None and mode == CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self.capturing = []
        s = self._of(stream, "stream")
        s["last"], s["in"] = [], True
        return CUresult.CUDA_SUCCESS,

    def cuStreamEndCapture(self, stream):
        nodes, self.capturing = self.capturing, None
        seen = self._reached(self._of(stream, "stream")["last"])
        for kind, thing in self.alive.values():
            if kind == "stream":
                thing["last"], thing["in"] = [], False
        if len(seen) != len(nodes):                    # the driver calls this unjoined work
            return CUresult.CUDA_ERROR_INVALID_VALUE, 0
        return CUresult.CUDA_SUCCESS, self._handle("graph", nodes)

    @staticmethod
    def _reached(nodes):
        seen, todo = set(), list(nodes)
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo += node.after
        return seen

    def _capture(self, stream, run):
        s = self._of(stream, "stream")
        assert self.capturing is not None and s["in"], "this stream is not captured"
        node = Node(run, s["last"])
        s["last"] = [node]
        self.capturing.append(node)
        return CUresult.CUDA_SUCCESS,

    def cuMemcpyHtoDAsync(self, address, host, nbytes, stream):
        assert any(a <= host < a + len(m) for a, m in self.pinned.items())
        return self._capture(stream, lambda: self.sim.upload(address, self._host(host, nbytes)))

    def cuMemcpyDtoHAsync(self, host, address, nbytes, stream):
        assert any(a <= host < a + len(m) for a, m in self.pinned.items())
        return self._capture(stream, lambda: self.sim.download(self._host(host, nbytes), address))

    def cuLaunchKernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, params, extra):
        source, number = self._of(function, "function")
        count = len(source.dtypes)
        places = np.frombuffer((ctypes.c_uint64 * (count + len(source.sizes))).from_address(params), np.uint64)
        values = [int(np.frombuffer((ctypes.c_int64 * 1).from_address(int(p)), np.int64)[0]) for p in places]
        arrays = [self.sim.view(a, d) for a, d in zip(values, source.dtypes)]
        assert (gy, gz, by, bz, shared, extra) == (1, 1, 1, 1, 0, 0) and (bx,) == source.launches[number].threads

        def run():
            self.launched += 1
            cuda_sim.launch(source, number, gx, arrays, values[count:])
        return self._capture(stream, run)

    # graphs
    def cuGraphInstantiate(self, graph, flags):
        return CUresult.CUDA_SUCCESS, self._handle("ready", list(self._of(graph, "graph")))

    def cuGraphDestroy(self, graph):
        del self.alive[graph]
        return CUresult.CUDA_SUCCESS,

    def cuGraphExecDestroy(self, ready):
        self._of(ready, "ready")
        del self.alive[ready]
        return CUresult.CUDA_SUCCESS,

    def cuGraphLaunch(self, ready, stream):
        nodes = list(self._of(ready, "ready"))
        self.enqueue(stream, lambda: self._until(nodes, list(nodes)))
        self.calls.append(("launch", stream))
        return CUresult.CUDA_SUCCESS,

    def enqueue(self, stream, run):
        """Something that a stream does, sooner or later, behind what it was told before."""
        s = self._of(stream, "stream")
        assert not s["in"]
        s["tail"] = [Node(run, s["tail"])]
        self.begun += s["tail"]

    def _until(self, wanted, left):
        """Run what is left, in any order that it allows, until what is wanted is done."""
        while any(x in left for x in wanted):
            todo = [x for x in left if not x.running and not any(a in left for a in x.after)]
            if not todo:                               # inside of what runs: something is given back meanwhile
                return
            node = self.random.choice(todo)
            node.running = True
            node.run()
            node.running = False
            left.remove(node)

    def cuStreamSynchronize(self, stream):
        assert self.capturing is None, "nobody waits for what is being captured"
        self.calls.append(("wait", stream))
        self._until(self._of(stream, "stream")["tail"], self.begun)
        return CUresult.CUDA_SUCCESS,

    def cuEventSynchronize(self, event):
        self.calls.append(("wait", event))
        self._until(self._of(event, "event").get("tail", []), self.begun)
        return CUresult.CUDA_SUCCESS,
