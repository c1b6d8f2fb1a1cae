"""The driver in Python with a GPU that runs PTX: what `compile_ptx` makes, as `CudaDevice` loads and launches it.

In: the calls that graphk makes.  Out: (error, results ...).  What always holds: modules are texts of PTX that end in a
zero; a launch's arguments are read as the entry's parameters say; an error of a kernel is raised where it is replayed.
"""
import ctypes

import numpy as np

from tests.gpu.fake_driver import CUresult, FakeDriver
from tests.gpu.ptx_machine import LaunchError, program


class PtxDriver(FakeDriver):
    """One GPU, of a compute capability; the driver knows no newer PTX than the first that knew this GPU.  `apart`:
    warps run one after the other."""

    def __init__(self, capability=(9, 0), apart=False, **options):
        super().__init__(**options)
        self.capability, self.apart = capability, apart
        self.version = (8, 6) if capability > (9, 0) else (7, 8)

    def cuDeviceGetAttribute(self, kind, device):
        return CUresult.CUDA_SUCCESS, self.capability["MAJOR" not in kind.name]

    def cuModuleLoadData(self, text):
        assert isinstance(text, bytes) and text.endswith(b"\0")
        loaded = program(text[:-1].decode())
        if loaded.module.version > self.version:
            return CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION, None
        if loaded.module.target > self.capability:
            return CUresult.CUDA_ERROR_INVALID_VALUE, None
        return CUresult.CUDA_SUCCESS, self._handle("module", loaded)

    def cuModuleGetFunction(self, module, name):
        loaded = self._of(module, "module")
        found = loaded.module.functions.get(name.decode())
        if found is None or not found.entry:
            return CUresult.CUDA_ERROR_INVALID_VALUE, None
        return CUresult.CUDA_SUCCESS, self._handle("function", (loaded, found))

    def cuLaunchKernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, params, extra):
        loaded, entry = self._of(function, "function")
        assert extra == 0
        places = np.frombuffer((ctypes.c_uint64 * len(entry.params)).from_address(params), np.uint64)
        values = [bytes((ctypes.c_uint8 * v.size).from_address(int(p))) for v, p in zip(entry.params, places)]

        def run():
            self.launched += 1
            loaded.launch(entry.name, (gx, gy, gz), (bx, by, bz), shared, values, self.sim.memory.get, self.apart)
        try:
            loaded.check(entry.name, (gx, gy, gz), (bx, by, bz), shared)
        except LaunchError:
            return CUresult.CUDA_ERROR_INVALID_VALUE,
        return self._capture(stream, run)


__all__ = ["PtxDriver"]
