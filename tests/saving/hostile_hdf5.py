"""HDF5 files that mean harm.

In: a path.  Out: a file of weights, or of a model, that was changed in one way.  What always holds: the rest of the
file is what graphk writes, so that readers come as far as the change.
"""
import zlib

import h5py
import numpy as np

from graphk import layers as L
from graphk.models import Sequential


def model():
    """What the weights belong to."""
    made = Sequential([L.Dense(3, input_shape=(4,), name="a"), L.Dense(2, name="b")])
    made.compile("adam", "mse")
    return made


def weights(edit):
    """A file of weights after `edit(file, group of the first layer)`; its kernel is gone if the edit says so."""
    def make(path):
        model().save_weights(path)
        with h5py.File(path, "a") as f:
            edit(f, f["a/a"])
    return "weights", make


def instead(put):
    """A file of weights whose first kernel is what `put(group, name)` makes."""
    def edit(f, group):
        del group["kernel:0"]
        put(group, "kernel:0")
    return weights(edit)


def whole(edit):
    """A file of a model after `edit(file)`."""
    def make(path):
        model().save(path)
        with h5py.File(path, "a") as f:
            edit(f)
    return "hdf5", make


def patched(change):
    """A file of a model whose bytes `change` replaces."""
    def make(path):
        model().save(path)
        with open(path, "rb") as f:
            data = bytearray(f.read())
        with open(path, "wb") as f:
            f.write(change(data))
    return "hdf5", make


def _virtual(group, name):
    layout = h5py.VirtualLayout((4, 3), "float32")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (4, 3))
    group.create_virtual_dataset(name, layout)


def _plugin(group, name):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((4, 3))
    properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((4, 3)), properties)
    group[name][...] = 1.


def _raw_chunk(shape, chunks, data, filters=1):
    """An array of one compressed chunk that holds what it should not."""
    def put(group, name):
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk(chunks)
        for _ in range(filters):
            properties.set_deflate(1)
        space = h5py.h5s.create_simple(shape, (h5py.h5s.UNLIMITED,) * len(shape))
        made = h5py.h5d.create(group.id, name.encode(), h5py.h5t.NATIVE_FLOAT, space, properties)
        made.write_direct_chunk((0,) * len(shape), data())
    return put


def _zeros(count, times=1):
    """`count` zeros, deflated some times."""
    machine = zlib.compressobj(9)
    data = b"".join(machine.compress(bytes(1 << 20)) for _ in range(count >> 20)) + machine.flush()
    for _ in range(times - 1):
        data = zlib.compress(data, 9)
    return data


def _attribute(f, name, value):
    f.attrs[name] = value


def _cyclic(f, group):
    f["a"]["again"] = f["a"]
    f["a"].attrs["weight_names"] = np.array([b"again/" * 60 + b"a/kernel:0", b"a/bias:0"])


def _soft_loop(f, group):
    group["one"], group["two"] = h5py.SoftLink("/a/a/two"), h5py.SoftLink("/a/a/one")
    f["a"].attrs["weight_names"] = np.array([b"a/one", b"a/bias:0"])


def _named(names):
    return lambda f, group: f["a"].attrs.__setitem__("weight_names", np.array(names))


def _many_layers(f, group):
    """One layer, named a hundred thousand times."""
    for i in range(50):
        f.attrs[f"layer_names{i}"] = np.array([b"a"] * 2000)
    del f.attrs["layer_names"]


def _other_names(f, group):
    """One layer by many of its names."""
    f.attrs["layer_names"] = np.array([b"/" * i + b"a" for i in range(200)])


def _attribute_bytes(name, change):
    """A file of a model in whose bytes `change(data, place of the attribute's message)` was done."""
    def edit(data):
        place = data.index(name + b"\0") - 8          # version, sizes of name, type and data space
        return change(data, place)
    return patched(edit)


def _put(at, new):
    return lambda data, place: data[:place + at] + new + data[place + at + len(new):]


def _vlen_numbers(group, name):
    made = group.create_dataset(name, (4,), h5py.vlen_dtype("float32"))
    for i in range(4):
        made[i] = np.ones(3, "float32")


CASES = {
    # ---------------------------------------------------------------- links and other files
    "a soft link": instead(lambda g, n: g.__setitem__(n, h5py.SoftLink("/b/b/kernel:0"))),
    "a soft link to nothing": instead(lambda g, n: g.__setitem__(n, h5py.SoftLink("/none"))),
    "soft links that go round": weights(_soft_loop),
    "hard links that go round": weights(_cyclic),
    "a layer that is a soft link": weights(lambda f, g: f.move("a", "c") or f.__setitem__("a", h5py.SoftLink("/c"))),
    "an external link": instead(lambda g, n: g.__setitem__(n, h5py.ExternalLink("secret.h5", "/x"))),
    "an external link to a device": instead(lambda g, n: g.__setitem__(n, h5py.ExternalLink("/dev/zero", "/x"))),
    "data in another file": instead(
        lambda g, n: g.create_dataset(n, (4, 3), "float32", external=[("/etc/passwd", 0, 48)])),
    "a virtual data set": instead(_virtual),
    # ---------------------------------------------------------------- sizes
    "a compressed array of exabytes": instead(
        lambda g, n: g.create_dataset(n, (2**20, 2**20, 2**10), "f4", chunks=(64, 64, 8), compression="gzip")),
    "an array of nothing but its fill value": instead(
        lambda g, n: g.create_dataset(n, (2**15, 2**15), "f4", chunks=(64, 64), fillvalue=1.)),
    "an array that was never written": instead(lambda g, n: g.create_dataset(n, (2**20, 2**20), "f4")),
    "a chunk of 4 GiB for 12 numbers": instead(_raw_chunk((4, 3), (2**15, 2**15 - 1), lambda: _zeros(1 << 20))),
    "a chunk of less than its array": instead(_raw_chunk((4, 3), (64, 63), lambda: zlib.compress(bytes(64)))),
    "a chunk that unpacks to 64 MiB": instead(_raw_chunk((4, 3), (4, 3), lambda: _zeros(1 << 26))),
    "a chunk deflated three times": instead(_raw_chunk((4, 3), (4, 3), lambda: _zeros(1 << 26, 3), 3)),
    "a filter that is a plug-in": instead(_plugin),
    "an array of another size": instead(lambda g, n: g.create_dataset(n, data=np.zeros((4, 3000), "f4"))),
    "an array of 32 axes": instead(lambda g, n: g.create_dataset(n, (1,) * 32, "f4")),
    # ---------------------------------------------------------------- types
    "texts for numbers": instead(lambda g, n: g.create_dataset(n, data=[[b"abc"] * 3] * 4)),
    "texts of any length for numbers": instead(
        lambda g, n: g.create_dataset(n, data=np.array([["a"] * 3] * 4, object), dtype=h5py.string_dtype())),
    "records for numbers": instead(
        lambda g, n: g.create_dataset(n, (4, 3), np.dtype([("a", "f4"), ("b", "i8")]))),
    "references for numbers": instead(lambda g, n: g.create_dataset(n, (4, 3), h5py.ref_dtype)),
    "rows of any length for numbers": instead(_vlen_numbers),
    "opaque bytes for numbers": instead(lambda g, n: g.create_dataset(n, data=np.zeros((4, 3), "V8"))),
    "an empty data space": instead(lambda g, n: g.create_dataset(n, data=h5py.Empty("f4"))),
    "a type where an array should be": instead(lambda g, n: g.__setitem__(n, np.dtype("f4"))),
    "a group where an array should be": instead(lambda g, n: g.create_group(n)),
    "an array where a layer should be": weights(lambda f, g: f.move("a", "c") or f.create_dataset("a", data=[1.])),
    "complex numbers": instead(lambda g, n: g.create_dataset(n, data=np.zeros((4, 3), "c8"))),
    # ---------------------------------------------------------------- names
    "names that climb": weights(_named([b"../../../etc/passwd", b"a/bias:0"])),
    "absolute names": weights(_named([b"/a/a/kernel:0/../../..", b"a/bias:0"])),
    "names that are not UTF-8": weights(_named([b"\xff\xfe/kernel", b"a/bias:0"])),
    "names with zeros": weights(_named([b"a\0/kernel:0", b"a/bias:0"])),
    "a name of a megabyte": weights(lambda f, g: f.attrs.__setitem__("layer_names0", np.array([b"a/" * 30000])) or
                                    f.attrs.__delitem__("layer_names")),
    "one layer named a hundred thousand times": weights(_many_layers),
    "a layer by two hundred of its names": weights(_other_names),
    "one weight named twenty thousand times": weights(_named([b"a/kernel:0"] * 5000)),
    "names that are numbers": weights(lambda f, g: f.attrs.__setitem__("layer_names", np.arange(4))),
    "right to left names": weights(_named(["\u202e0:lenrek/a".encode(), b"a/bias:0"])),
    # ---------------------------------------------------------------- attributes and bytes
    "a config that is a number": whole(lambda f: _attribute(f, "model_config", 3)),
    "a config that is an empty data space": whole(lambda f: _attribute(f, "model_config", h5py.Empty("S10"))),
    "a config that is not UTF-8": whole(lambda f: _attribute(f, "model_config", np.bytes_(b'{"\xff\xfe": 1}'))),
    "a config of references": whole(
        lambda f: f.attrs.create("model_config", f["model_weights"].ref, dtype=h5py.ref_dtype)),
    "a version that is a list": whole(lambda f: _attribute(f["model_weights"], "keras_version", np.arange(5))),
    "a version of digits": whole(lambda f: _attribute(f["model_weights"], "keras_version", "9" * 5000)),
    "a superblock from elsewhere": patched(lambda d: d[:8] + b"\xff" * 16 + d[24:]),
    "a root that is nowhere": patched(lambda d: d[:64] + b"\xff" * 24 + d[88:]),
    "half a file": patched(lambda d: d[:len(d) // 2]),
    "a heap with an object of no size": patched(lambda d: d[:d.index(b"GCOL") + 16] + bytes(16) +
                                                d[d.index(b"GCOL") + 32:]),
    "a heap that ends before it begins": patched(lambda d: d[:d.index(b"GCOL") + 8] + bytes(8) +
                                                 d[d.index(b"GCOL") + 16:]),
    "a text of 4 GiB": _attribute_bytes(b"model_config", _put(8 + 16 + 24 + 8, b"\xff\xff\xff\xff")),
    "a text in a heap that is nowhere": _attribute_bytes(b"model_config", _put(8 + 16 + 24 + 8 + 4, b"\xff" * 7)),
    "a type of texts of one byte": _attribute_bytes(b"model_config", _put(8 + 16 + 4, b"\1")),
    "a text that is a list of any length": _attribute_bytes(b"model_config", _put(8 + 16 + 1, b"\0")),
    "a text with 2**60 places": _attribute_bytes(b"layer_names", _put(8 + 16 + 8 + 8, b"\xff" * 7)),
    "nothing": ("hdf5", lambda path: open(path, "wb").close()),
    "a pickle": ("hdf5", lambda path: open(path, "wb").write(b"cos\nsystem\n(S'touch escaped'\ntR.")),
}
