"""libcuda.so.1 in Python, for the real package `cuda-bindings` on machines without a driver.

In: NVIDIA's header cuda.h, a `FakeDriver`, a compiler of C.  Out: a loaded library of libcuda's name, whose functions
have the header's types and ask the `FakeDriver`.  What always holds: arguments are read and results written as the
header declares them, so that what the bindings pass is what a driver would get.
"""
import ctypes
import re
import subprocess
from pathlib import Path

SOURCE = """
typedef int (*finder)(const char *, void **, int);
static finder find;
void set_finder(finder f) { find = f; }
int cuGetProcAddress_v2(const char *name, void **out, int version, unsigned long long flags, int *status) {
    int error = find(name, out, version);
    if (status) *status = error ? 1 : 0;
    return error;
}
int cuGetProcAddress(const char *name, void **out, int version, unsigned long long flags) {
    return find(name, out, version);
}
"""
NOT_FOUND = 500
DECLARED = re.compile(r"^CUresult CUDAAPI (cu\w+)\(([^)]*)\);", re.M)
RENAMED = re.compile(r"^\s*#define (cu\w+)\s+(?:__CUDA_API_PT[SD]Z\()?(cu\w+)\)?$", re.M)
NUMBERS = {"int": ctypes.c_int, "unsigned int": ctypes.c_uint, "size_t": ctypes.c_size_t, "CUdevice": ctypes.c_int,
           "CUdeviceptr": ctypes.c_uint64, "unsigned long long": ctypes.c_uint64, "cuuint64_t": ctypes.c_uint64}


def header():
    """The path of cuda.h, where a package has brought it; None where none has."""
    try:
        import nvidia
    except ImportError:
        return None
    return next((p for root in nvidia.__path__ for p in sorted(Path(root).glob("*/include/cuda.h"))), None)


def values(text):
    """Enumerators of a header and their values."""
    return {name: int(value, 0) for name, value in re.findall(r"^\s*(CU\w+)\s*=\s*(0[xX]\w+|\d+)\b", text, re.M)}


def prototypes(text):
    """Each function's parameters, as (type, name); a name that a macro gives another one has both."""
    found = {}
    for name, params in DECLARED.findall(text):
        if name not in found:                          # older versions follow
            pieces = [re.sub(r"\s+", " ", p).strip() for p in params.split(",")]
            found[name] = [re.fullmatch(r"(.*?[\s*])(\w+)", p).groups() for p in pieces if p != "void"]
    for name, exported in RENAMED.findall(text):
        if name in found:
            found[exported] = found[name]
    return found


class LibCuda:
    """The library; `called`: names of functions that somebody called."""

    def __init__(self, driver, text, folder, compiler):
        (folder / "stub.c").write_text(SOURCE)
        path = folder / "libcuda.so.1"
        subprocess.run([compiler, "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(path),
                        str(folder / "stub.c")], check=True)
        self.driver, self.prototypes, self.things, self.functions = driver, prototypes(text), {}, {}
        self.plain = {exported: name for name, exported in RENAMED.findall(text)}
        self.called = set()
        self.finder = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int)(
            self._find)
        self.library = ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)      # who opens libcuda.so.1 gets this one
        self.library.set_finder(self.finder)

    def _find(self, name, out, version):
        name = name.decode()
        plain = name if name in self.prototypes and hasattr(self.driver, name) else self.plain.get(name, name)
        if not hasattr(self.driver, plain):
            out[0] = None
            return NOT_FOUND
        if plain not in self.functions:
            kinds = [self._ctype(kind) for kind, _ in self.prototypes[plain]]
            self.functions[plain] = ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(lambda *args: self._call(plain, args))
        out[0] = ctypes.cast(self.functions[plain], ctypes.c_void_p)
        return 0

    @staticmethod
    def _ctype(kind):
        kind = kind.strip()
        if "*" in kind or kind[:2] == "CU" and kind not in NUMBERS and not kind.endswith(("attribute", "Mode")):
            return ctypes.c_void_p                     # pointers, and handles
        return NUMBERS.get(kind, ctypes.c_int)         # enumerations

    def _call(self, name, args):
        self.called.add(name)
        inputs, outputs = [], []
        for (kind, _), value in zip(self.prototypes[name], args):
            (outputs if self._result(name, kind) else inputs).append((kind.strip(), value))
        if name == "cuDeviceGetName":                  # char *name, int len, CUdevice dev
            (_, place), = outputs
            error, text = self.driver.cuDeviceGetName(*(v for _, v in inputs))
            ctypes.memmove(place, text, len(text))
            return int(error)
        error, *results = getattr(self.driver, name)(*(self._given(name, kind, v) for kind, v in inputs))
        if int(error) == 0:
            for (kind, place), result in zip(outputs, results, strict=True):
                self._write(kind, place, result)
        return int(error)

    @staticmethod
    def _result(name, kind):
        """Whether a parameter is where a result goes."""
        kind = kind.strip()
        if kind == "void *":
            return name == "cuPointerGetAttribute"
        return kind.endswith("*") and not kind.startswith("const") and name != "cuLaunchKernel"

    def _given(self, name, kind, value):
        if kind == "const char *":
            return ctypes.string_at(value)
        if name == "cuModuleLoadData":                 # text, up to its zero
            return ctypes.string_at(value) + b"\0"
        if kind == "CUdevice_attribute":
            return self.driver.CUdevice_attribute(value)
        return self.things.get(value, value) if kind == "CUcontext" else value or 0

    def _write(self, kind, place, result):
        if isinstance(result, str):                    # a context
            self.things[0x7000] = result
            result = 0x7000
        target = kind[:-1].strip()
        ctype = ctypes.c_int if target == "void" else self._ctype(target)
        ctypes.cast(place, ctypes.POINTER(ctype))[0] = int(result)


__all__ = ["LibCuda", "header", "prototypes", "values"]
