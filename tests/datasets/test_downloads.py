"""Files from the network: cached, checked, unpacked safely; the data sets that come this way."""
import gzip
import hashlib
import io
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from graphk import backend as K
from graphk.datasets import boston_housing, cifar10, cifar100, fashion_mnist, files, imdb, mnist, reuters, words
from graphk.utils.data_utils import get_file, validate_file


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHK_HOME", str(tmp_path / "graphk"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path


@pytest.fixture
def served(tmp_path):
    """A folder, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    return folder, folder.as_uri() + "/"


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


# ------------------------------------------------------------------ get_file
def test_a_file_is_downloaded_once_and_checked(served, tmp_path, capsys):
    folder, url = served
    (folder / "a.txt").write_text("one")
    path = get_file("a.txt", url + "a.txt", file_hash=md5(folder / "a.txt"))
    assert path == str(tmp_path / "graphk" / "datasets" / "a.txt") and Path(path).read_text() == "one"
    (folder / "a.txt").write_text("two")
    assert Path(get_file("a.txt", url + "a.txt")).read_text() == "one"
    again = get_file("a.txt", url + "a.txt", file_hash=hashlib.sha256(b"two").hexdigest())
    assert Path(again).read_text() == "two" and "incomplete or outdated" in capsys.readouterr().out
    with pytest.raises(ValueError, match="it is damaged, or another file"):
        get_file("b.txt", url + "a.txt", md5_hash="0" * 32)
    assert os.listdir(tmp_path / "graphk" / "datasets") == ["a.txt"]


def test_kerass_own_cache_is_used(served, tmp_path):
    (tmp_path / "keras" / "models").mkdir(parents=True)
    (tmp_path / "keras" / "models" / "w.h5").write_bytes(b"x")
    assert get_file("w.h5", "file:///nowhere", cache_subdir="models") == str(tmp_path / "keras" / "models" / "w.h5")


def test_without_a_network_the_error_says_where_the_file_must_lie(tmp_path):
    with pytest.raises(OSError, match="URL fetch failure on file:///nowhere.*put the file at .*c/sub/x.bin") as e:
        get_file("x.bin", "file:///nowhere", cache_dir=str(tmp_path / "c"), cache_subdir="sub")
    assert "Without a network" in str(e.value) and not os.listdir(tmp_path / "c" / "sub")
    with pytest.raises(ValueError, match="leads out of the cache"):
        get_file("../x", "file:///nowhere")


def tar_with(path, members):
    with tarfile.open(path, "w:gz") as f:
        for name, text in members:
            info = tarfile.TarInfo(name)
            if isinstance(text, tuple):
                info.type, info.linkname = text
                f.addfile(info)
            else:
                info.size = len(text)
                f.addfile(info, io.BytesIO(text))


def test_archives_are_unpacked(served, tmp_path):
    folder, url = served
    tar_with(folder / "d.tar.gz", [("d/a.txt", b"a"), ("d/e/b.txt", b"b")])
    path = get_file("d", url + "d.tar.gz", untar=True)
    assert sorted(os.listdir(path)) == ["a.txt", "e"]
    os.unlink(path + ".tar.gz")
    assert get_file("d", "file:///nowhere", untar=True) == path
    with zipfile.ZipFile(folder / "z.zip", "w") as z:
        z.writestr("z/c.txt", "c")
    get_file("z.zip", url + "z.zip", extract=True)
    assert (tmp_path / "graphk" / "datasets" / "z" / "c.txt").read_text() == "c"


@pytest.mark.parametrize("members", [
    [("../out.txt", b"x")], [("/tmp/out.txt", b"x"), ("../../out.txt", b"y")],
    [("link", (tarfile.SYMTYPE, "../../..")), ("link/out.txt", b"x")],
    [("hard", (tarfile.LNKTYPE, "../../../etc/passwd"))], [("dev", (tarfile.CHRTYPE, ""))],
])
def test_archives_write_nothing_elsewhere(served, tmp_path, members):
    folder, url = served
    tar_with(folder / "bad.tar.gz", [("bad/fine.txt", b"x"), *members])
    with pytest.raises(ValueError, match="Nothing was unpacked"):
        get_file("bad", url + "bad.tar.gz", untar=True)
    assert os.listdir(tmp_path / "graphk" / "datasets") == ["bad.tar.gz"]
    assert not (tmp_path / "out.txt").exists() and not (tmp_path / "graphk" / "out.txt").exists()


def test_zips_write_nothing_elsewhere(served, tmp_path):
    folder, url = served
    with zipfile.ZipFile(folder / "bad.zip", "w") as z:
        z.writestr("../out.txt", "x")
    with pytest.raises(ValueError, match="leads out of its folder"):
        get_file("bad.zip", url + "bad.zip", extract=True)
    assert not (tmp_path / "graphk" / "out.txt").exists()


def test_a_damaged_archive_is_named(served, tmp_path):
    folder, url = served
    tar_with(folder / "whole.tar.gz", [("a.txt", os.urandom(999))])
    (folder / "cut.tar.gz").write_bytes((folder / "whole.tar.gz").read_bytes()[:600])
    with zipfile.ZipFile(folder / "odd.zip", "w") as z:
        z.writestr("a", "a file")
        z.writestr("a/b", "in it")
    for name in ("cut.tar.gz", "odd.zip"):
        with pytest.raises(ValueError, match=f"{name} cannot be unpacked: .*Nothing was unpacked; delete the file"):
            get_file(name, url + name, extract=True)
    assert sorted(os.listdir(tmp_path / "graphk" / "datasets")) == ["cut.tar.gz", "odd.zip"]


def test_a_name_with_folders_and_a_cache_in_the_home(served, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (served[0] / "a.txt").write_text("x")
    assert get_file("b/c/a.txt", served[1] + "a.txt", cache_dir="~/mine") == str(tmp_path / "mine/datasets/b/c/a.txt")


def test_hashes(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    sha = hashlib.sha256(b"abc").hexdigest()
    assert validate_file(path, sha) and validate_file(path, sha, "sha256") and validate_file(path, md5(path), "md5")
    assert validate_file(path, ["0" * 64, md5(path)]) and not validate_file(path, "0" * 32)


# ------------------------------------------------------------------ data sets
def store(module, monkeypatch, url, hashes="_HASHES"):
    """Let a data set come from a folder; no hash is known of files made here."""
    monkeypatch.setattr(module, "STORE", url)
    for name in ("_HASHES", "_HASH"):
        monkeypatch.setattr(module, name, None, raising=False)


def test_mnist_and_boston_housing(served, monkeypatch):
    folder, url = served
    arrays = {"x_train": np.ones((3, 28, 28), "uint8"), "y_train": np.arange(3), "x_test": np.zeros((1, 28, 28)),
              "y_test": np.array([7])}
    np.savez(folder / "mnist.npz", **arrays)
    store(mnist, monkeypatch, url)
    (x, y), (x_test, y_test) = mnist.load_data()
    assert x.shape == (3, 28, 28) and x.dtype == "uint8" and y.tolist() == [0, 1, 2] and y_test.tolist() == [7]
    np.savez(folder / "boston_housing.npz", x=np.arange(20.).reshape(10, 2), y=np.arange(10.))
    store(boston_housing, monkeypatch, url)
    (x, y), (x_test, y_test) = boston_housing.load_data(test_split=.3)
    order = np.arange(10)
    np.random.RandomState(113).shuffle(order)
    assert y.tolist() == order[:7].tolist() and y_test.tolist() == order[7:].tolist() and x[0, 0] == 2 * order[0]
    with pytest.raises(ValueError, match="test_split is a share"):
        boston_housing.load_data(test_split=1.)


def test_fashion_mnist(served, monkeypatch):
    folder, url = served
    store(fashion_mnist, monkeypatch, url)
    for part, n in (("train", 3), ("t10k", 2)):
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz", "wb") as f:
            f.write(bytes(8) + bytes(range(n)))
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz", "wb") as f:
            f.write(bytes(16) + bytes([5]) * (n * 784))
    (x, y), (x_test, y_test) = fashion_mnist.load_data()
    assert (x.shape, y.tolist(), x_test.shape, y_test.tolist()) == ((3, 28, 28), [0, 1, 2], (2, 28, 28), [0, 1])


def batch(n, **labels):
    return {b"data": np.arange(n * 3072).reshape(n, 3072).astype("uint8"), **{k.encode(): v for k, v in labels.items()}}


def test_cifar(tmp_path):
    folder = tmp_path / "keras" / "datasets" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        (folder / name).write_bytes(pickle.dumps(batch(2, labels=[3, 4]), protocol=2))
    (x, y), (x_test, y_test) = cifar10.load_data()
    assert x.shape == (10, 32, 32, 3) and y.shape == (10, 1) and y_test.tolist() == [[3], [4]]
    assert x[0, 0, 1].tolist() == [1, 1024 % 256 + 1, 2048 % 256 + 1]
    K.set_image_data_format("channels_first")
    try:
        assert cifar10.load_data()[0][0].shape == (10, 3, 32, 32)
    finally:
        K.set_image_data_format("channels_last")
    folder = tmp_path / "keras" / "datasets" / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / name).write_bytes(pickle.dumps(batch(2, fine_labels=[30, 99], coarse_labels=[1, 2])))
    assert cifar100.load_data()[0][1].tolist() == [[30], [99]]
    assert cifar100.load_data("coarse")[0][1].tolist() == [[1], [2]]
    with pytest.raises(ValueError, match="label_mode"):
        cifar100.load_data("other")


def test_pickles_execute_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)
    path = tmp_path / "evil"
    path.write_bytes(pickle.dumps({b"data": Evil()}))
    with open(path, "rb") as f, pytest.raises(ValueError, match="system, which is no part of arrays"):
        files.unpickle(f, str(path))
    np.savez(tmp_path / "evil.npz", x=np.array([Evil()], dtype=object))
    with pytest.raises(ValueError, match="no part of arrays"):
        files.load_npz(str(tmp_path / "evil.npz"))
    assert not (tmp_path / "ran").exists()


TEXTS = [[1, 4, 2], [3, 3], [2, 9, 5, 6], [7]]


def test_imdb_and_reuters(served, monkeypatch):
    folder, url = served
    as_objects = words.objects(TEXTS)
    np.savez(folder / "imdb.npz", x_train=as_objects, y_train=[0, 1, 0, 1], x_test=as_objects, y_test=[1, 1, 0, 0])
    np.savez(folder / "reuters.npz", x=as_objects, y=[5, 6, 7, 8])
    store(imdb, monkeypatch, url)
    store(reuters, monkeypatch, url)
    order = np.arange(4)
    np.random.RandomState(113).shuffle(order)
    (x, y), (x_test, y_test) = imdb.load_data()
    assert [list(t) for t in x] == [[1] + [w + 3 if w != 9 else 2 for w in TEXTS[i]] for i in order]
    assert y.tolist() == [[0, 1, 0, 1][i] for i in order] and len(x_test) == 4
    (x, _), _ = imdb.load_data(num_words=6, skip_top=4, start_char=None, index_from=0)
    assert [list(t) for t in x] == [[w if 4 <= w < 6 else 2 for w in TEXTS[i]] for i in order]
    (x, _), _ = imdb.load_data(oov_char=None, start_char=None, index_from=0, num_words=4)
    assert [list(t) for t in x] == [[w for w in TEXTS[i] if w < 4] for i in order]
    (x, y), (x_test, y_test) = reuters.load_data(test_split=.25, num_words=100)
    assert [list(t) for t in x] == [[1] + [w + 3 for w in TEXTS[i]] for i in order[:3]]
    assert y_test.tolist() == [[5, 6, 7, 8][order[3]]]
    with pytest.raises(ValueError, match="no sequence was kept"):
        imdb.load_data(maxlen=1)
    with pytest.warns(UserWarning, match="renamed `num_words`"):
        reuters.load_data(nb_words=5)
    with pytest.raises(TypeError, match="Unrecognized keyword arguments"):
        imdb.load_data(words=5)


def test_word_indices(served, monkeypatch, tmp_path):
    (tmp_path / "keras" / "datasets").mkdir(parents=True)
    (tmp_path / "keras" / "datasets" / "imdb_word_index.json").write_text(json.dumps({"the": 1}))
    monkeypatch.setattr("graphk.frontend.utils.downloads.validate_file", lambda *a: True)
    assert imdb.get_word_index() == {"the": 1}
