"""`.keras` archives that mean harm.

In: a path.  Out: a zip, made from what graphk writes.  What always holds: members that are not the case's are whole.
"""
import io
import struct
import warnings
import zipfile


def _whole():
    """The members of an archive of graphk's."""
    import os
    import tempfile

    from tests.saving.hostile_hdf5 import model
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.keras")
        model().save(path)
        with zipfile.ZipFile(path) as z:
            return {n: z.read(n) for n in z.namelist()}


def packed(change, how=zipfile.ZIP_STORED):
    """An archive of the members that `change(members)` gives as (name or ZipInfo, bytes)."""
    def make(path):
        with zipfile.ZipFile(path, "w", how) as z, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, data in change(_whole()):
                z.writestr(name, data, how)
    return "keras", make


def replaced(**members):
    """An archive with members replaced or added; dots in names are written as `__`."""
    given = {k.replace("__", "."): v for k, v in members.items()}
    return packed(lambda whole: {**whole, **given}.items())


def patched(change):
    """An archive whose bytes `change` replaces."""
    def make(path):
        packed(lambda whole: whole.items())[1](path)
        with open(path, "rb") as f:
            data = bytearray(f.read())
        with open(path, "wb") as f:
            f.write(change(data))
    return "keras", make


def _link(whole):
    """The config as a symbolic link."""
    info = zipfile.ZipInfo("config.json")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return [*((n, d) for n, d in whole.items() if n != "config.json"), (info, b"/etc/passwd")]


def _declared(size):
    """The config declares `size` bytes, in the directory and before the data."""
    def change(data):
        for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            place = data.index(signature)
            while b"config.json" not in data[place:place + 80]:
                place = data.index(signature, place + 1)
            struct.pack_into("<I", data, place + at, size)
        return data
    return change


def _flag(offset, value):
    """A number in the directory's entry of the config."""
    def change(data):
        place = data.index(b"PK\x01\x02")
        while b"config.json" not in data[place:place + 80]:
            place = data.index(b"PK\x01\x02", place + 1)
        struct.pack_into("<H", data, place + offset, value)
        return data
    return change


def _weights(edit):
    """The weights, opened by h5py and edited."""
    def change(whole):
        import h5py
        memory = io.BytesIO(whole["model.weights.h5"])
        with h5py.File(memory, "a") as f:
            edit(f)
        return {**whole, "model.weights.h5": memory.getvalue()}.items()
    return packed(change)


def _soft(f):
    import h5py
    del f["layers/dense/vars/0"]
    f["layers/dense/vars/0"] = h5py.SoftLink("/layers/dense/vars/1")


def _external(f):
    import h5py
    del f["layers/dense/vars"]
    f["layers/dense/vars"] = h5py.ExternalLink("/etc/passwd", "/")


CASES = {
    "members that climb": packed(lambda w: [*w.items(), ("../../escaped", b"x"), ("/tmp/escaped", b"x"),
                                            ("..\\escaped", b"x")]),
    "only members that climb": packed(lambda w: [("../" + n, d) for n, d in w.items()]),
    "a config that is a symbolic link": packed(_link),
    "two configs": packed(lambda w: [*w.items(), ("config.json", b"{}")]),
    "two files of weights": packed(lambda w: [*w.items(), ("model.weights.h5", b"")]),
    "a config of 128 MiB": packed(lambda w: [*((n, d) for n, d in w.items() if n != "config.json"),
                                           ("config.json", b" " * (1 << 27))], zipfile.ZIP_DEFLATED),
    "weights of 128 MiB": packed(lambda w: [*((n, d) for n, d in w.items() if n[0] != "m"), ("metadata.json", b"{}"),
                                          ("model.weights.h5", bytes(1 << 27))], zipfile.ZIP_DEFLATED),
    "a config that declares 4 GiB": patched(_declared(0xfffffffe)),
    "a config that declares nothing": patched(_declared(0)),
    "an encrypted config": patched(_flag(8, 1)),
    "a config packed by lzma": packed(lambda w: w.items(), zipfile.ZIP_LZMA),
    "a config packed by bzip2": packed(lambda w: w.items(), zipfile.ZIP_BZIP2),
    "a config packed by nothing known": patched(_flag(10, 99)),
    "an archive in an archive": replaced(model__weights__h5=b"PK\x03\x04" + bytes(100)),
    "ten thousand members": packed(lambda w: [*w.items(), *((f"a{i}", b"") for i in range(10_000))]),
    "metadata that is a list": replaced(metadata__json=b"[1, 2]"),
    "metadata of brackets": replaced(metadata__json=b"[" * 100_000),
    "a version that is no version": replaced(metadata__json=b'{"keras_version": {"a": [1]}}'),
    "a config of a module": replaced(config__json=b'{"module": "canary_of_graphk", "class_name": "f", "config": {}}'),
    "a build config of its own": replaced(config__json=b'{"module": "keras", "class_name": "Sequential", "config": '
                                          b'{"layers": []}, "build_config": {"input_shape": [1e999]}}'),
    "weights behind a soft link": _weights(_soft),
    "weights in another file": _weights(_external),
    "half an archive": patched(lambda d: d[:len(d) // 2]),
    "an archive without a directory": patched(lambda d: d[:d.index(b"PK\x01\x02")]),
    "a directory that points elsewhere": patched(lambda d: d[:-6] + struct.pack("<I", 2**32 - 2) + d[-2:]),
}
