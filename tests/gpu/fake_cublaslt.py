"""cuBLASLt in Python, for `CublasLt` on machines without a GPU.

In: the calls that graphk makes, with the C types of cublasLt.h.  Out: a status, as it answers.  Products are computed
column-major, as its documentation has them, on a fake driver's memory, when what was captured is replayed.  What a
real one leaves undefined (a matrix that ends beyond its memory, an address less aligned than was promised, attributes
of a wrong size, memory of another lane) is an error.
"""
import ctypes

import numpy as np

OK, INVALID_VALUE, NOT_SUPPORTED = 0, 7, 15
DTYPES = {0: "float32", 1: "float64", 2: "float16", 14: "bfloat16"}
# attribute -> (name, C type), of operations, layouts and preferences
OPERATION = {3: ("transa", ctypes.c_int32), 4: ("transb", ctypes.c_int32), 7: ("epilogue", ctypes.c_uint32),
             8: ("bias", ctypes.c_void_p), 11: ("aux", ctypes.c_void_p), 12: ("aux_ld", ctypes.c_int64)}
# cublasLtEpilogue_t, as its header names them; 256: the sums of A's rows go where a bias is
RELU, GELU, DRELU, DGELU = (2, 6, 130, 134), (32, 36, 160, 164), (136,), (192,)
EPILOGUES = (1, 4, 256, *RELU, *GELU, *DRELU, *DGELU)
LAYOUT = {5: ("batch", ctypes.c_int32), 6: ("offset", ctypes.c_int64)}
PREFERENCE = {1: ("workspace", ctypes.c_uint64), 5: ("a", ctypes.c_uint32), 6: ("b", ctypes.c_uint32),
              7: ("c", ctypes.c_uint32), 8: ("d", ctypes.c_uint32)}


class Function:
    """A function of a shared library: it has a `restype`."""

    def __init__(self, call):
        self.call, self.restype = call, ctypes.c_int

    def __call__(self, *args):
        return self.call(*args)


class FakeCublasLt:
    """cuBLASLt on a `FakeDriver`; `alive`: descriptors that nobody destroyed; `refuse`: it knows no algorithm."""

    def __init__(self, driver):
        self.driver, self.alive, self.numbers, self.refuse = driver, {}, 100, False
        self.asked = self.called = 0
        self.unknown = ()                              # epilogues for which there is no algorithm
        self.epilogues = []                            # of the calls that ran
        self.cublasLtGetStatusName = Function(lambda status: b"CUBLAS_STATUS_%d" % status)

    def _made(self, out, **facts):
        self.numbers += 1
        self.alive[self.numbers] = facts
        out._obj.value = self.numbers
        return OK

    def cublasLtCreate(self, out):
        assert self.driver.context == "primary", "no context is current"
        return self._made(out, kind="handle")

    def cublasLtMatmulDescCreate(self, out, compute, scale):
        return self._made(out, kind="operation", compute=compute, scale=DTYPES[scale], transa=0, transb=0, epilogue=1,
                          bias=None, aux=None, aux_ld=0)

    def cublasLtMatrixLayoutCreate(self, out, dtype, rows, columns, leading):
        assert [type(x) for x in (rows, columns, leading)] == [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64]
        if leading.value < rows.value:
            return INVALID_VALUE
        return self._made(out, kind="layout", dtype=DTYPES[dtype], rows=rows.value, columns=columns.value,
                          leading=leading.value, batch=1, offset=0)

    def cublasLtMatmulPreferenceCreate(self, out):
        return self._made(out, kind="preference", workspace=0, a=256, b=256, c=256, d=256)

    def _set(self, kind, table, of, attribute, value, size):
        name, ctype = table[attribute]
        assert self.alive[of.value]["kind"] == kind
        if type(value._obj) is not ctype or size.value != ctypes.sizeof(ctype):
            return INVALID_VALUE
        self.alive[of.value][name] = value._obj.value
        return OK

    def cublasLtMatmulDescSetAttribute(self, *args):
        return self._set("operation", OPERATION, *args)

    def cublasLtMatrixLayoutSetAttribute(self, *args):
        return self._set("layout", LAYOUT, *args)

    def cublasLtMatmulPreferenceSetAttribute(self, *args):
        return self._set("preference", PREFERENCE, *args)

    def _destroy(self, what):
        del self.alive[what.value]
        return OK
    cublasLtMatmulDescDestroy = cublasLtMatrixLayoutDestroy = cublasLtMatmulPreferenceDestroy = _destroy

    def _checked(self, operation, layouts):
        """The facts of an operation and its layouts; AssertionError where they do not fit each other."""
        o = dict(self.alive[operation.value])
        a, b, c, d = (dict(self.alive[x.value]) for x in layouts)
        m, k = (a["columns"], a["rows"]) if o["transa"] else (a["rows"], a["columns"])
        k2, n = (b["columns"], b["rows"]) if o["transb"] else (b["rows"], b["columns"])
        assert k == k2 and all((x["rows"], x["columns"]) == (m, n) for x in (c, d))
        assert len({x["batch"] for x in (a, b, c, d)}) == 1 and a["dtype"] == b["dtype"] and c["dtype"] == d["dtype"]
        wide = d["dtype"] == "float64"
        assert d["dtype"] == o["scale"] == ("float64" if wide else "float32") and (a["dtype"] == "float64") == wide
        assert o["compute"] in ((70,) if wide else (68, 77)) and o["epilogue"] in EPILOGUES
        if o["epilogue"] & 128:
            bits = o["epilogue"] in (*RELU, *DRELU)
            assert o["aux_ld"] >= d["rows"] and o["aux_ld"] % (128 if bits else 8) == 0 and d["batch"] == 1
            assert o["aux"] % 16 == 0
        return o, a, b, c, d

    def cublasLtMatmulAlgoGetHeuristic(self, handle, operation, a, b, c, d, preference, wanted, found, count):
        assert self.alive[handle.value]["kind"] == "handle" and wanted >= 2
        assert self.driver.capturing is None, "asked while a stream is captured"
        self.asked += 1
        facts = self._checked(operation, (a, b, c, d))
        if self.refuse or facts[0]["epilogue"] in self.unknown:
            return NOT_SUPPORTED
        limits = dict(self.alive[preference.value])
        limits["bias"] = facts[0]["bias"] and facts[0]["bias"] & -facts[0]["bias"]
        found[0].state = NOT_SUPPORTED                 # not every algorithm in the list can be used
        found[1].state, found[1].workspace = OK, limits["workspace"]
        self.numbers += 1
        self.alive[self.numbers] = {"kind": "algorithm", "limits": limits}
        found[1].algo[0] = self.numbers
        count._obj.value = 2
        return OK

    def cublasLtMatmul(self, handle, operation, alpha, a, of_a, b, of_b, beta, c, of_c, d, of_d, algorithm, memory,
                       size, stream):
        facts = o, *layouts = self._checked(operation, (of_a, of_b, of_c, of_d))
        limits = self.alive[algorithm._obj[0]]["limits"]
        at = [x.value for x in (a, b, c, d)]
        assert all(x % limits[name] == 0 for x, name in zip(at, "abcd")), "less aligned than was promised"
        assert not limits["bias"] or o["bias"] % min(limits["bias"], 256) == 0
        assert memory.value % 256 == 0 and size.value >= limits["workspace"]
        number = ctypes.c_double if o["scale"] == "float64" else ctypes.c_float
        assert type(alpha._obj) is type(beta._obj) is number
        scales = alpha._obj.value, beta._obj.value
        lane = next(i for i, s in enumerate(self.streams()) if s == stream.value)
        assert memory.value == self.memory() + lane * size.value, "memory of another lane"

        def run():
            self.called += 1
            self._compute(facts, at, scales)
            self.driver.sim.view(memory.value, "uint8")[:size.value] = 0xEE             # whatever it is used for
        self.driver._capture(stream.value, run)
        return OK

    def streams(self):
        return [h for h, (kind, _) in self.driver.alive.items() if kind == "stream"]

    def memory(self):
        return self.library.memory

    def _matrix(self, address, x):
        flat = self.driver.sim.view(address, "uint16" if x["dtype"] == "bfloat16" else x["dtype"])
        end = (x["batch"] - 1) * x["offset"] + (x["columns"] - 1) * x["leading"] + x["rows"]
        assert end <= len(flat), "a matrix ends beyond its memory"
        size = flat.itemsize
        return np.lib.stride_tricks.as_strided(flat, (x["batch"], x["rows"], x["columns"]),
                                               (x["offset"] * size, size, x["leading"] * size))

    def _compute(self, facts, at, scales):
        o, a, b, c, d = facts
        left, right = (self._wide(self._matrix(p, x), x, o) for p, x in zip(at, (a, b)))
        left, right = (x.transpose(0, 2, 1) if flag else x for x, flag in ((left, o["transa"]), (right, o["transb"])))
        out = scales[0] * np.matmul(left, right)
        if scales[1]:
            out = out + scales[1] * self._matrix(at[2], c)
        e = o["epilogue"]
        self.epilogues.append(e)
        if e & 4:
            out = out + self.driver.sim.view(o["bias"], d["dtype"])[:d["rows"], None]
        if e == 256:
            self.driver.sim.view(o["bias"], d["dtype"])[:d["rows"]] = left.sum(axis=(0, 2))
        if e in (*RELU, *DRELU) and e & 128:           # a bit for each element, a column's begin at a multiple of 128
            mask = self.driver.sim.view(o["aux"], "uint8")[:d["columns"] * o["aux_ld"] // 8]
            assert len(mask) == d["columns"] * o["aux_ld"] // 8, "a mask ends beyond its memory"
            mask = mask.reshape(d["columns"], o["aux_ld"] // 8)
            if e in RELU:
                mask[...] = 0
            for j in range(d["columns"]):
                for i in range(d["rows"]):
                    if e in DRELU:
                        out[0, i, j] = out[0, i, j] if mask[j, i // 8] >> i % 8 & 1 else 0
                    elif out[0, i, j] > 0:
                        mask[j, i // 8] |= 1 << i % 8
        if e in (*GELU, *DGELU):
            x = out
            if e & 128:
                aux = self._matrix(o["aux"], {**d, "leading": o["aux_ld"]})
                if e in GELU:
                    aux[...] = out
                else:
                    x = aux.copy()
            t = np.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))
            slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608028654 * (1 + 3 * 0.044715 * x * x)
            out = out * slope if e in DGELU else 0.5 * x * (1 + t)
        self._matrix(at[3], d)[...] = np.maximum(out, 0) if e in RELU else out

    @staticmethod
    def _wide(x, layout, o):
        if layout["dtype"] == "bfloat16":
            return (x.astype(np.uint32) << np.uint32(16)).view(np.float32)
        x = x.astype(o["scale"])
        if o["compute"] == 77:                         # TF32: ten bits of the mantissa
            x = ((x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
        return x


def installed(driver, device, workspace=512):
    """A device's library, on a fake cuBLASLt."""
    from graphk.runtime.device import LANES
    from graphk.runtime.library import Product
    from graphk.runtime.library_cublas import CublasLt
    fake = FakeCublasLt(driver)
    fake.library = device.libraries[Product] = CublasLt(fake, device.allocate(LANES * workspace), workspace)
    return fake
