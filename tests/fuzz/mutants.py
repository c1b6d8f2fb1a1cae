"""Files of models, and what becomes of them when bytes, attributes and values change.

In: a number.  Out: the bytes of a mutant, and the reader it is for.  What always holds: the same number gives the same
mutant, so a failure is repeated by its number alone.
"""
import io
import json
import random
import struct
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np

import onnx

from graphk import layers as L
from graphk.models import Model, Sequential
from graphk.onnx import export_model

INTERESTING = [0, 1, 7, 8, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff, 2**63 - 1, 2**64 - 1]
VALUES = [None, True, -1, 0, 1, 2**31, 2**62, 1e308, float("nan"), "", "x", "os.system", "Dense", "relu", [], [[]], {},
          [None], {"class_name": "Dense"}, {"class_name": "Lambda", "config": {}},
          {"class_name": "os.system", "config": {}}]


def models():
    """Small compiled models of several kinds."""
    first = Sequential([L.Dense(3, input_shape=(4,), activation="relu"), L.BatchNormalization(), L.Dense(2)])
    x = L.Input((5,))
    words = L.Embedding(7, 3, mask_zero=True)(x)
    two = L.Bidirectional(L.LSTM(2))(words)
    second = Model(x, [L.Dense(1)(two), L.Activation("softmax")(two)])
    third = Sequential([L.Conv2D(2, 2, input_shape=(4, 4, 1)), L.MaxPooling2D(), L.Flatten(),
                        L.Dense(1, kernel_regularizer="l2")])
    for model, loss in ((first, "mse"), (second, "mse"), (third, "binary_crossentropy")):
        model.compile("adam", loss, metrics=["accuracy"])
        model._make_train_function()
    return first, second, third


def seeds():
    """(reader, bytes) of whole files."""
    out = []
    for model in models():
        for save in (model.save, model.save_weights):
            memory = io.BytesIO()
            save(memory)
            out.append(("hdf5", memory.getvalue()))
        out.append(("json", model.to_json().encode()))
        out.append(("yaml", model.to_yaml().encode()))
        out.append(("onnx", as_onnx(model)))
    for path in sorted((Path(__file__).parents[1] / "saving" / "files").glob("*.zip")):    # what other Keras wrote
        with zipfile.ZipFile(path) as written:
            out += [("hdf5" if name.endswith(".h5") else "keras", written.read(name)) for name in written.namelist()
                    if name.endswith((".h5", ".keras"))]
    return out


def as_onnx(model):
    with tempfile.TemporaryDirectory() as folder:
        export_model(model, Path(folder) / "m.onnx")
        return (Path(folder) / "m.onnx").read_bytes()


# ------------------------------------------------------------------ bytes
def cut(data, r):
    return data[:r.randrange(len(data))]


def flipped(data, r):
    data = bytearray(data)
    for _ in range(r.choice([1, 1, 2, 8, 64])):
        data[r.randrange(len(data))] ^= 1 << r.randrange(8)
    return bytes(data)


def numbered(data, r):
    """An integer of interest where a size, an address or a version may be."""
    at, width = r.randrange(len(data)), r.choice("BHIQ")
    put = struct.pack("<" + width, r.choice(INTERESTING) & (256 ** struct.calcsize(width) - 1))
    return data[:at] + put + data[at + len(put):]


def moved(data, r):
    """A piece left out, doubled, or copied elsewhere."""
    a, n, b = r.randrange(len(data)), r.randrange(1, 200), r.randrange(len(data))
    piece = data[a:a + n]
    return r.choice([data[:a] + data[a + n:], data[:b] + piece + data[b:], data[:b] + piece + data[b + len(piece):]])


# ------------------------------------------------------------------ structure
def value_changed(value, r):
    """A JSON value with one part replaced, left out, or put elsewhere."""
    if isinstance(value, dict) and value and r.random() < .9:
        key = r.choice(sorted(value))
        kind = r.random()
        rest = {k: v for k, v in value.items() if k != key}
        if kind < .1:
            return rest
        if kind < .2:
            return {**rest, r.choice(sorted(value)): value[key]}
        return {**value, key: value_changed(value[key], r)}
    if isinstance(value, list) and value and r.random() < .9:
        at = r.randrange(len(value))
        if r.random() < .2:
            return r.choice([value[:at] + value[at + 1:], value + [value[at]], value[::-1]])
        return value[:at] + [value_changed(value[at], r)] + value[at + 1:]
    return r.choice(VALUES)


def json_changed(data, r):
    value = json.loads(data)
    for _ in range(r.choice([1, 1, 2, 5])):
        value = value_changed(value, r)
    return json.dumps(value).encode()


def places(group):
    found = []
    group.visititems(lambda name, item: found.append(name))
    return found


def hdf5_changed(data, r):
    """A file with attributes, arrays and links changed by h5py, so that its structure stays whole."""
    memory = io.BytesIO(data)
    with h5py.File(memory, "r+") as f:
        for _ in range(r.choice([1, 1, 2])):
            name = r.choice(["/", *places(f)])
            item = f[name]
            if len(item.attrs) and r.random() < .6:
                attribute_changed(item, r)
            elif name != "/":
                item_changed(f, name, item, r)
    return memory.getvalue()


def attribute_changed(item, r):
    name = r.choice(sorted(item.attrs))
    value = item.attrs[name]
    if isinstance(value, (str, bytes)) and r.random() < .7:
        text = value if isinstance(value, bytes) else value.encode()
        try:
            item.attrs[name] = json_changed(text, r)
        except ValueError:
            item.attrs[name] = flipped(text or b"x", r)
    elif isinstance(value, np.ndarray) and value.size and r.random() < .6:
        order = [v if isinstance(v, bytes) else str(v).encode() for v in value.reshape(-1).tolist()]
        r.shuffle(order)
        item.attrs[name] = np.array(order[r.randrange(2):] + [r.choice([b"..", b"/", b"", b"none", order[0]])])
    elif r.random() < .4:
        del item.attrs[name]
    else:
        item.attrs[name] = r.choice([3, 2.5, b"\xff\xfe", np.arange(4), b"", np.zeros((2, 2)), "x" * 1000])


def item_changed(f, name, item, r):
    kind = r.randrange(7)
    if kind == 6 and isinstance(item, h5py.Group):
        if len(item):
            item.move(r.choice(sorted(item)), f"moved{r.randrange(10 ** 9)}")
        return
    del f[name]
    if kind == 0:
        f[name] = h5py.SoftLink(r.choice(["/", "/none", name]))
    elif kind == 1:
        f[name] = h5py.ExternalLink("/etc/hostname", "/")
    elif kind == 2:
        f.create_dataset(name, (2**31, 2**10), "f4", chunks=(64, 64), compression="gzip")
    elif kind == 3:
        shape = r.choice([(), (0,), (3,), (4, 3), (1, 1, 1)])
        f.create_dataset(name, data=np.zeros(shape, r.choice(["f8", "i1", "f2"])))
    elif kind == 4:
        f.create_dataset(name, data=r.choice([b"text", "text"]))


def archive_changed(data, r):
    """An archive with one member changed, left out, doubled, or packed otherwise."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        chosen = r.choice(old.namelist())
        for name in old.namelist():
            member = old.read(name)
            if name == chosen:
                kind = r.randrange(6)
                if kind == 0:
                    continue
                if kind == 1:
                    new.writestr("../" + name, member)
                else:
                    change = r.choice(BY_KIND["hdf5" if name.endswith(".h5") else "json"])
                    member = change(member, r)
            new.writestr(name, member, r.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    return out.getvalue()


def onnx_changed(data, r):
    """A graph with a node, a name, an attribute, a type or a size changed, so that the file stays a protobuf."""
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    for _ in range(r.choice([1, 1, 2, 5])):
        node, tensor = r.choice(graph.node), r.choice(graph.initializer)
        names = [n for x in graph.node for n in (*x.input, *x.output)]
        change = r.randrange(8)
        if change == 0 and node.input:
            node.input[r.randrange(len(node.input))] = r.choice(names)
        elif change == 1 and node.output:
            node.output[r.randrange(len(node.output))] = r.choice(names)
        elif change == 2:
            node.op_type = r.choice([r.choice(graph.node).op_type, "Expand", "Tile", "Loop", "If", "Range", "Pad"])
        elif change == 3 and node.attribute:
            attribute_of_onnx(r.choice(node.attribute), r)
        elif change == 4:
            tensor.dims[:] = [r.choice(INTERESTING) & (2**63 - 1) for _ in range(r.randrange(4))]
        elif change == 5:
            tensor.data_type = r.randrange(24)
        elif change == 6:
            graph.node.remove(node)
        elif change == 7 and tensor.raw_data:
            tensor.raw_data = numbered(tensor.raw_data, r)
    return model.SerializeToString()


def attribute_of_onnx(attribute, r):
    if attribute.type == attribute.GRAPH and attribute.g.node:
        attribute.g.node.remove(r.choice(attribute.g.node))
    elif attribute.ints:
        attribute.ints[r.randrange(len(attribute.ints))] = r.choice([-1, 0, 1, 2**31, 2**62])
    else:
        attribute.type = r.randrange(12)
        attribute.i = r.choice([-1, 0, 1, 2**31, 2**62])


BY_KIND = {"hdf5": [cut, flipped, flipped, numbered, numbered, moved, hdf5_changed, hdf5_changed, hdf5_changed],
           "json": [cut, flipped, moved, json_changed, json_changed, json_changed],
           "yaml": [cut, flipped, moved, flipped],
           "onnx": [cut, flipped, numbered, moved, onnx_changed, onnx_changed, onnx_changed],
           "keras": [cut, flipped, numbered, moved, archive_changed, archive_changed, archive_changed]}


def mutant(number, whole):
    """(reader, bytes, name of the change) of one mutant of the files `whole`."""
    r = random.Random(number)
    kind, data = whole[number % len(whole)]
    change = r.choice(BY_KIND[kind])
    try:
        data = change(data, r)
    except (ValueError, KeyError, OSError, RuntimeError):             # the change does not fit this file
        data, change = flipped(data, r), flipped
    if r.random() < .2:
        data = r.choice([flipped, numbered])(data or b"x", r)
    return kind, data, change.__name__
