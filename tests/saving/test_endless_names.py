"""Groups whose list of free pieces among their names has no end: the HDF5 library would follow it for ever."""
import io
import struct

import h5py
import numpy as np
import pytest

from graphk.frontend.saving.errors import GraphkFormatError
from graphk.frontend.saving.hdf5 import reading
from graphk.layers import Dense
from graphk.models import Sequential, load_model


def saved():
    file = io.BytesIO()
    with h5py.File(file, "w") as f:                       # nothing of graphk's: only groups of the old form
        f.create_group("outer/inner").create_dataset("kernel", data=np.zeros(3))
    return bytearray(file.getvalue())


def heaps(data):
    """Where the lists of names begin, root first."""
    found, at = [], data.find(b"HEAP")
    while at >= 0:
        found.append(at)
        at = data.find(b"HEAP", at + 1)
    return found


def endless(data, heap):
    """The last free piece follows itself."""
    size, _, start = struct.unpack_from("<QQQ", data, heap + 8)
    piece = size - 16
    struct.pack_into("<Q", data, heap + 16, piece)
    struct.pack_into("<QQ", data, start + piece, piece, 16)
    return data


@pytest.mark.parametrize("which", [0, 1, 2])
def test_refused(which, tmp_path):
    data = saved()
    assert len(heaps(data)) == 3
    path = tmp_path / "m.h5"
    path.write_bytes(endless(data, heaps(data)[which]))
    for source in (str(path), io.BytesIO(path.read_bytes())):
        with pytest.raises(GraphkFormatError, match="lead back to one another"):
            with reading(source) as root:
                root.array("outer/inner/kernel")


def test_behind_a_user_block(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w", userblock_size=1024) as f:
        f.create_group("outer")
    with reading(str(tmp_path / "m.h5")) as root:
        assert root.keys() == ["outer"]


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
def test_sound_files_of_all_forms(tmp_path, libver):
    model = Sequential([Dense(3, input_shape=(4,)), Dense(2)])
    file = io.BytesIO()
    with h5py.File(file, "w", libver=libver) as f:
        model.save(f)
    path = tmp_path / "m.h5"
    path.write_bytes(file.getvalue())
    again = load_model(str(path), compile=False)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
