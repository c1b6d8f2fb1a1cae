"""`h5dict`: one way to put values under names, into files, groups and dicts."""
import h5py
import numpy as np
import pytest

from graphk.utils.io_utils import h5dict

NAMES = [b"layer_%d" % i + b"x" * 9000 for i in range(10)]


def filled(target):
    d = h5dict(target, mode="w")
    d["array"], d["text"], d["number"], d["names"], d["few"] = np.arange(4.), "hello", 3, NAMES, [1, 2]
    d["group"]["inner"] = np.ones((2, 2))
    d.update({"more": np.zeros(2)})
    return d


def check(d):
    np.testing.assert_array_equal(d["array"], np.arange(4.))
    np.testing.assert_array_equal(d["group"]["inner"], np.ones((2, 2)))
    assert (d["text"], d["number"], d["names"], list(d["few"])) == ("hello", 3, NAMES, [1, 2])
    assert "array" in d and "names" in d and "none" not in d and d.get("none", 5) == 5 and "group" in d.keys()


def test_files_groups_and_dicts(tmp_path):
    filled(str(tmp_path / "a.h5")).close()
    with h5dict(str(tmp_path / "a.h5"), mode="r") as d:
        check(d)
        assert len(d) == len(d.keys())
        with pytest.raises(ValueError, match="read only"):
            d["new"] = 1
        with pytest.raises(KeyError, match="read-only mode"):
            d["none"]
    with h5py.File(tmp_path / "b.h5", "w") as f:
        filled(f.create_group("g"))
        check(h5dict(f["g"], mode="r"))
    plain = {}
    check(filled(plain))
    assert plain["text"] == "hello" and set(plain["group"]) == {"inner"}


def test_what_is_there_stays(tmp_path):
    d = filled({})
    with pytest.raises(KeyError, match="exists"):
        d["text"] = "other"
    with pytest.raises(TypeError, match="Required Group, str or dict"):
        h5dict(3)
