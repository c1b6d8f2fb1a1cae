"""cuDNN's backend interface in Python, for `Cudnn` on machines without a GPU.

In: the calls that graphk makes, with the C types of cudnn_graph.h.  Out: a status, as it answers.  Convolutions are
computed from the tensors' extents and strides, place after place, on a fake driver's memory, when what was captured is
replayed.  Its heuristic offers engines that must not be taken first; to execute one is an error.
"""
import ctypes
import itertools

import numpy as np

OK, BAD_PARAM, NOT_SUPPORTED = 0, 2000, 3000
KINDS = {0: "pointwise", 1: "convolution", 2: "engine", 3: "config", 4: "heuristic", 5: "plan", 10: "forward",
         11: "gradient", 13: "node", 15: "graph", 16: "pack", 17: "tensor"}
TYPES = {0: ctypes.c_void_p, 1: ctypes.c_int, 2: ctypes.c_bool, 3: ctypes.c_int64, 4: ctypes.c_float,
         6: ctypes.c_void_p, 7: ctypes.c_int, 8: ctypes.c_int, 10: ctypes.c_int, 11: ctypes.c_int, 14: ctypes.c_int,
         15: ctypes.c_void_p}
# attribute -> (name, type, number of elements or None)
ATTRIBUTES = {
    "tensor": {900: ("alignment", 3, 1), 901: ("type", 1, 1), 902: ("extents", 3, None), 903: ("strides", 3, None),
               906: ("id", 3, 1), 907: ("virtual", 2, 1)},
    "pointwise": {0: ("mode", 14, 1), 1: ("type", 1, 1), 2: ("nan", 10, 1)},
    "node": {750: ("pointwise", 15, 1), 751: ("x", 15, 1), 752: ("b", 15, 1), 753: ("y", 15, 1)},
    "convolution": {100: ("type", 1, 1), 101: ("mode", 7, 1), 102: ("dilations", 3, None), 103: ("steps", 3, None),
                    104: ("post", 3, None), 105: ("pre", 3, None), 106: ("rank", 3, 1)},
    "forward": {700: ("alpha", 4, 1), 701: ("beta", 4, 1), 702: ("convolution", 15, 1), 703: ("w", 15, 1),
                704: ("x", 15, 1), 705: ("y", 15, 1)},
    "gradient": {712: ("alpha", 4, 1), 713: ("beta", 4, 1), 714: ("convolution", 15, 1), 715: ("w", 15, 1),
                 716: ("x", 15, 1), 717: ("y", 15, 1)},
    "graph": {800: ("handle", 0, 1), 801: ("operations", 15, None)},
    "heuristic": {200: ("mode", 8, 1), 201: ("graph", 15, 1)},
    "plan": {400: ("handle", 0, 1), 401: ("config", 15, 1)},
    "pack": {1000: ("ids", 3, None), 1001: ("pointers", 6, None), 1003: ("workspace", 6, 1)},
    "engine": {}, "config": {}}
DTYPES = {0: "float32", 1: "float64", 2: "float16", 9: "bfloat16"}
OPTIONAL = {"virtual", "nan", "b"}
# engines in the order in which they are offered: (notes, bytes of memory); the first ones must not be taken
ENGINES = [((4,), 0), ((0, 5), 0), ((2,), 0), ((1,), 0), ((), 1 << 40), ((5,), 64)]


class FakeCudnn:
    """cuDNN on a `FakeDriver`; `alive`: descriptors that nobody destroyed; `refuse`: it has no engine."""

    def __init__(self, driver):
        from tests.gpu.fake_cublaslt import Function
        self.driver, self.alive, self.numbers, self.refuse, self.stream = driver, {}, 5000, False, None
        self.planned = self.called = 0
        self.taken = []                                # notes of the engines that were executed
        self.chains = []                               # for each of them, modes of what followed the convolution
        self.alone = False                             # whether it has no engine for more than a convolution
        self.even = self.tight = False                 # no engine for zeros more on one side; for any zeros around
        self.wide = False                              # no engine for operands of 16 bits
        self.cudnnGetErrorString = Function(lambda status: b"CUDNN_STATUS_%d" % status)

    def cudnnCreate(self, out):
        assert self.driver.context == "primary", "no context is current"
        return self.cudnnBackendCreateDescriptor(None, out)

    def cudnnSetStream(self, handle, stream):
        self.stream = stream.value
        return OK

    def cudnnBackendCreateDescriptor(self, kind, out):
        self.numbers += 1
        self.alive[self.numbers] = {"kind": KINDS.get(kind, "handle"), "finished": False}
        out._obj.value = self.numbers
        return OK

    def cudnnBackendDestroyDescriptor(self, what):
        del self.alive[what.value]
        return OK

    def cudnnBackendSetAttribute(self, what, attribute, kind, count, array):
        d = self.alive[what.value]
        name, wanted, number = ATTRIBUTES[d["kind"]][attribute]
        if d["finished"] or kind != wanted or type(count) is not ctypes.c_int64 or number not in (None, count.value):
            return BAD_PARAM
        assert array._obj._type_ is TYPES[kind] and len(array._obj) == count.value
        d[name] = list(array._obj) if number is None else array._obj[0]
        return OK

    def cudnnBackendFinalize(self, what):
        d = self.alive[what.value]
        missing = {n for n, _, _ in ATTRIBUTES[d["kind"]].values()} - d.keys() - OPTIONAL
        assert not missing, f"{d['kind']} lacks {missing}"
        for x in d.get("operations", []) + [d[k] for k in ("x", "w", "y", "b", "convolution", "pointwise", "graph")
                                          if k in d]:
            assert self.alive[x]["finished"]
        if d["kind"] == "tensor" and min(*d["extents"], *d["strides"]) < 1:
            return BAD_PARAM
        if d["kind"] in ("forward", "gradient") and not self._fits(d):
            return BAD_PARAM
        if d["kind"] == "plan":
            assert self.driver.capturing is None, "planned while a stream is captured"
            self.planned += 1
            if self.alive[d["config"]]["engine"] is None:
                return NOT_SUPPORTED
        d["finished"] = True
        return OK

    def _fits(self, d):
        """Whether extents are those of a convolution, as the real one checks."""
        x, w, y, c = (self.alive[d[k]] for k in ("x", "w", "y", "convolution"))
        rank = c["rank"]
        lists = [c[k] for k in ("dilations", "steps", "pre", "post")]
        operands, result = ((x, y), w) if d["kind"] == "gradient" else ((x, w), y)
        assert c["mode"] == 1 and result["type"] == c["type"] in (0, 1) and min(c["pre"] + c["post"]) >= 0
        assert len({t["type"] for t in operands}) == 1 and operands[0]["type"] in (c["type"], *((2, 9) if not c["type"]
                                                                                                 else ()))
        if rank < 2 or any(len(v) != rank for v in lists) or any(len(t["extents"]) != rank + 2 for t in (x, w, y)):
            return False
        (n, channels, *image), (filters, inner, *window), (n2, out, *places) = (t["extents"] for t in (x, w, y))
        return (n, channels, filters) == (n2, inner, out) and places == [
            (e + before + after - (r - 1) * dilation - 1) // step + 1 for e, r, dilation, step, before, after in
            zip(image, window, *lists)]

    def cudnnBackendGetAttribute(self, what, attribute, kind, room, count, array):
        d, out = self.alive[what.value], array._obj
        assert room.value == len(out) and out._type_ is TYPES[kind]
        if (d["kind"], attribute) == ("heuristic", 202):
            chained = len(self.alive[d["graph"]]["operations"]) > 1
            engines = [None, *range(len(ENGINES))] if d["mode"] == 3 else [len(ENGINES) - 1]
            first = self.alive[self.alive[self.alive[d["graph"]]["operations"][0]]["convolution"]]
            narrow = self.alive[self.alive[self.alive[d["graph"]]["operations"][0]]["x"]]["type"] in (2, 9)
            uneven = self.even and first["pre"] != first["post"] or self.tight and any(first["pre"] + first["post"])
            engines = [] if self.refuse or self.alone and chained or uneven or self.wide and narrow else engines
            for x, engine in zip(out, engines):
                self.alive[x].update(kind="config", engine=engine, graph=d["graph"])
            count._obj.value = len(engines)
        elif (d["kind"], attribute) == ("config", 300):
            self.alive[out[0]]["engine"], count._obj.value = d["engine"], 1
        elif (d["kind"], attribute) == ("engine", 1303):
            notes = ENGINES[d["engine"]][0] if d["engine"] is not None else ()
            out[:len(notes)], count._obj.value = notes, len(notes)
        elif (d["kind"], attribute) == ("plan", 402):
            out[0], count._obj.value = ENGINES[self.alive[d["config"]]["engine"]][1], 1
        else:
            raise AssertionError((d["kind"], attribute))
        return OK

    def cudnnBackendExecute(self, handle, plan, pack):
        pack, plan = dict(self.alive[pack.value]), self.alive[plan.value]
        config = self.alive[plan["config"]]
        d, *nodes = (self.alive[x] for x in self.alive[config["graph"]]["operations"])
        at = dict(zip(pack["ids"], pack["pointers"]))
        tensors = {k: self.alive[d[k]] for k in "xwy"}
        chain = [(self.alive[x["pointwise"]], {k: self.alive[x[k]] for k in "xyb" if k in x}) for x in nodes]
        for t in {t["id"]: t for ts in (tensors, *(ts for _, ts in chain)) for t in ts.values()}.values():
            assert t.get("virtual", False) == (t["id"] not in at), "a tensor is either in memory or handed on"
            assert t.get("virtual") or at[t["id"]] % t["alignment"] == 0, "less aligned than was promised"
        last = tensors["y"]
        for _, ts in chain:
            assert ts["x"] is last and ts["y"]["extents"] == last["extents"] and last.get("virtual")
            last = ts["y"]
        lane = next(i for i, s in enumerate(h for h, (kind, _) in self.driver.alive.items() if kind == "stream")
                    if s == self.stream)
        assert pack["workspace"] == self.library.memory + lane * self.library.size, "memory of another lane"
        notes, room = ENGINES[config["engine"]]
        assert not {1, 2, 4} & set(notes) and room <= self.library.size, "an engine that must not be taken"
        self.taken.append(notes)

        def run():
            self.called += 1
            self._compute(d["kind"] == "gradient", tensors, at, self.alive[d["convolution"]], chain)
            self.driver.sim.view(pack["workspace"], "uint8")[:self.library.size] = 0xEE
        self.driver._capture(self.stream, run)
        return OK

    def _compute(self, gradient, tensors, at, c, chain):
        def array(t):
            dtype = DTYPES[t["type"]]
            if t.get("virtual"):
                return np.empty(t["extents"], dtype)
            flat = self.driver.sim.view(at[t["id"]], "uint16" if dtype == "bfloat16" else dtype)
            assert sum((e - 1) * s for e, s in zip(t["extents"], t["strides"])) < len(flat), "ends beyond its memory"
            made = np.lib.stride_tricks.as_strided(flat, t["extents"], [s * flat.itemsize for s in t["strides"]])
            if dtype == "bfloat16":
                return (made.astype("uint32") << 16).view("float32")
            return made.astype("float32") if dtype == "float16" else made
        x, w, y = (array(tensors[k]) for k in "xwy")
        made = np.zeros((w if gradient else y).shape, x.dtype)
        for p in itertools.product(*map(range, y.shape[2:])):
            for r in itertools.product(*map(range, w.shape[2:])):
                place = tuple(i * s + j * d - before for i, s, j, d, before in zip(
                    p, c["steps"], r, c["dilations"], c["pre"]))
                if any(not 0 <= at < extent for at, extent in zip(place, x.shape[2:])):
                    continue                           # zeros around the image
                image = x[(slice(None), slice(None), *place)]
                if gradient:
                    made[(slice(None), slice(None), *r)] += y[(slice(None), slice(None), *p)].T @ image
                else:
                    made[(slice(None), slice(None), *p)] += image @ w[(slice(None), slice(None), *r)].T
        self.chains.append([p["mode"] for p, _ in chain])
        if not chain:
            (w if gradient else y)[...] = made
        for pointwise, ts in chain:
            assert pointwise["mode"] in (0, 100) and ("b" in ts) == (pointwise["mode"] == 0)
            assert pointwise["mode"] == 0 or pointwise["nan"] == 1
            made = made + array(ts["b"]) if "b" in ts else np.maximum(made, 0)
            if ts is chain[-1][1]:
                array(ts["y"])[...] = made


def installed(driver, device, workspace=512):
    """A device's library of convolutions, on a fake cuDNN."""
    from graphk.runtime.device import LANES
    from graphk.runtime.library import Convolution
    from graphk.runtime.library_cudnn import Cudnn
    fake = FakeCudnn(driver)
    fake.library = device.libraries[Convolution] = Cudnn(fake, device.allocate(LANES * workspace), workspace)
    return fake
