"""Iterators over pictures: orders, seeds, subsets, copies, files, and models that are trained on them."""
import doctest
import pickle
import threading
from itertools import islice

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.models import Sequential
from graphk.preprocessing import image
from graphk.preprocessing.image import convert, generator, transform
from graphk.utils import Sequence

# Processes that fork from one with threads: what Keras does, and what later Pythons warn of.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
X = np.arange(7 * 4 * 3 * 3, dtype="float32").reshape(7, 4, 3, 3)
Y = np.arange(7) % 2
PLAIN = image.ImageDataGenerator()


@pytest.mark.parametrize("module", [convert, generator, transform])
def test_examples(module):
    found = doctest.testmod(module)
    assert not found.failed


class Rows(image.Iterator):
    def _get_batches_of_transformed_samples(self, index_array):
        return index_array.tolist()


def test_an_iterator_of_ones_own():
    it = Rows(5, 2, shuffle=False, seed=None)
    assert isinstance(it, Sequence) and len(it) == 3 and iter(it) is it
    assert list(islice(it, 4)) == [[0, 1], [2, 3], [4], [0, 1]]
    it.reset()
    assert it.next() == [0, 1] and it.batch_index == 1 and it.total_batches_seen == 5
    assert it[2] == [4] and next(it) == [2, 3]
    with it.lock:                                               # as iterators of Keras 2.0 do
        assert next(it.index_generator).tolist() == [4]
    with pytest.raises(ValueError, match="Asked to retrieve element 3, but the Sequence has length 3"):
        it[3]
    with pytest.raises(NotImplementedError, match="Iterator must define _get_batches_of_transformed_samples"):
        image.Iterator(2, 1, False, None).next()
    assert len(Rows(0, 2, True, None)) == 0


def test_each_round_has_an_order_of_its_own():
    it = Rows(6, 4, shuffle=True, seed=None)
    rounds = [sum((it[i] for i in range(2)), []) for _ in range(2) if not it.on_epoch_end()]
    assert rounds[0] != rounds[1] and all(sorted(r) == list(range(6)) for r in rounds)
    assert sorted(sum(islice(it, 2), [])) == list(range(6))
    a, b = (list(islice(Rows(6, 4, True, seed=3), 4)) for _ in range(2))
    assert a == b
    np.random.seed(3)
    assert a[0] == np.random.permutation(6)[:4].tolist()
    np.random.seed(5)                                           # the third batch, where a round begins
    assert a[2] == np.random.permutation(6)[:4].tolist()


@pytest.mark.parametrize("seed", [None, 4])
def test_copies_walk_in_the_same_order(seed):
    it = Rows(9, 2, shuffle=True, seed=seed)
    copies = [pickle.loads(pickle.dumps(it)) for _ in range(3)]
    assert sorted(sum((copies[i % 3][i] for i in range(5)), [])) == list(range(9))
    assert [copies[0][i] for i in range(5)] == [it[i] for i in range(5)]
    assert len(next(copies[1])) == 2
    whole = pickle.loads(pickle.dumps(image.ImageDataGenerator(rescale=.5).flow(X, Y, shuffle=False)))
    assert np.array_equal(whole[0][0], X * .5)


def test_threads_share_a_round():
    it, found = PLAIN.flow(X, np.arange(7), batch_size=1), []
    threads = [threading.Thread(target=lambda: found.append(int(next(it)[1][0]))) for _ in range(7)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(found) == list(range(7))


def test_subsets_split_all_that_is_given():
    split = image.ImageDataGenerator(validation_split=.3)
    data = {"x": [X, np.arange(7)], "y": Y, "sample_weight": np.arange(7.), "shuffle": False}
    for subset, rows in (("validation", slice(0, 2)), ("training", slice(2, 7))):
        (x, more), y, w = next(split.flow(**data, subset=subset))
        assert np.array_equal(x, X[rows]) and more.tolist() == w.tolist() == list(range(7))[rows]
        assert y.tolist() == Y[rows].tolist()


def test_batches_have_the_dtype_of_the_day():
    K.set_floatx("float64")
    assert next(image.ImageDataGenerator().flow(X)).dtype == "float64"
    assert next(image.ImageDataGenerator(dtype="float16").flow(X)).dtype == "float16"
    given = X.copy()
    next(image.ImageDataGenerator(rescale=2).flow(given))
    assert np.array_equal(given, X)


# ------------------------------------------------------------------ files
@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(["a/0", "a/1", "b/0", "b/in/2", "c/9"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        image.save_img(tmp_path / f"{name}.png", np.full((4, 3, 3), 20. * i), scale=False)
    return tmp_path


def test_a_folder(folder, capsys):
    it = PLAIN.flow_from_directory(folder, (4, 3), batch_size=2, shuffle=False)
    assert capsys.readouterr().out == "Found 5 images belonging to 3 classes.\n"
    assert it.filenames == ["a/0.png", "a/1.png", "b/0.png", "b/in/2.png", "c/9.png"]
    assert it.classes.tolist() == [0, 0, 1, 1, 2] and it.class_indices == {"a": 0, "b": 1, "c": 2}
    assert (it.samples, it.n, it.num_classes, it.directory) == (5, 5, 3, str(folder))
    x, y = it[1]
    assert x[:, 0, 0, 0].tolist() == [40, 60] and y.tolist() == [[0, 1, 0]] * 2
    nested = PLAIN.flow_from_directory(folder, (4, 3), classes=["b/in", "c"], class_mode="sparse", shuffle=False)
    assert nested.filenames == ["b/in/2.png", "c/9.png"] and next(nested)[1].tolist() == [0, 1]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        PLAIN.flow_from_directory(folder / "nowhere")


def test_links_are_followed_when_asked(folder):
    (folder / "c/more").symlink_to(folder / "b", target_is_directory=True)
    assert PLAIN.flow_from_directory(folder).samples == 5
    assert PLAIN.flow_from_directory(folder, follow_links=True).samples == 7
    (folder / "c/x.TIFF").write_bytes((folder / "c/9.png").read_bytes())
    with pytest.warns(UserWarning, match="multiple bands will cause distortion"):
        assert PLAIN.flow_from_directory(folder).samples == 6


def test_a_frame_with_names_without_endings(folder):
    frame = {"id": ["c/9", "a/0", "a/7"], "label": ["x", "y", "x"]}
    with pytest.warns(UserWarning, match="Found 1 invalid image filename"):
        it = PLAIN.flow_from_dataframe(frame, folder, "id", "label", has_ext=False, shuffle=False, target_size=(4, 3))
    assert it.filenames == ["c/9.png", "a/0.png"] and it.class_indices == {"x": 0, "y": 1}
    assert next(it)[0][:, 0, 0, 0].tolist() == [80, 0]


def test_a_frame_of_paths(folder, capsys):
    frame = {"filename": [str(folder / "b/0.png"), str(folder / "a/1.png")], "class": [.5, 2.]}
    it = PLAIN.flow_from_dataframe(frame, class_mode="other", shuffle=False, validate_filenames=False)
    assert capsys.readouterr().out == "Found 2 non-validated image filenames.\n"
    x, y = next(it)
    assert x.shape == (2, 256, 256, 3) and y.tolist() == [.5, 2.]


def test_a_pandas_frame(folder):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"filename": ["b/0.png", "a/none.png", "a/1.png"], "class": list("xyx"), "u": [1, 2, 3],
                              "v": [.5, 1., 2.]}, index=[9, 8, 7])
    with pytest.warns(UserWarning, match="Found 1 invalid image filename"):
        it = PLAIN.flow_from_dataframe(frame, folder, y_col=["u", "v"], class_mode="raw", shuffle=False)
    assert next(it)[1].tolist() == [[1, .5], [3, 2.]]
    it = PLAIN.flow_from_dataframe(frame.iloc[[0, 2]], folder, weight_col="v")
    assert it.class_indices == {"x": 0} and sorted(next(it)[2]) == [.5, 2.]


# ------------------------------------------------------------------ models
def pictures_model(data_format):
    K.clear_session()
    K.set_image_data_format(data_format)
    m = Sequential([L.Conv2D(2, 2, kernel_initializer="ones", input_shape=X.shape[1:] if data_format == "channels_last"
                             else (3, 4, 3)),
                    L.GlobalAveragePooling2D(), L.Dense(1, kernel_initializer="ones", activation="sigmoid")])
    m.compile("sgd", "binary_crossentropy")
    return m


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("how", [{"workers": 0}, {"workers": 3}, {"workers": 2, "use_multiprocessing": True}],
                         ids=["main", "threads", "processes"])
def test_models_train_on_flows(how, data_format):
    x = X if data_format == "channels_last" else X.transpose(0, 3, 1, 2)
    m = pictures_model(data_format)
    settings = image.ImageDataGenerator(rescale=1 / 255., validation_split=.3)
    parts = [settings.flow(x, Y, batch_size=2, shuffle=False, subset=s) for s in ("training", "validation")]
    got = m.fit_generator(parts[0], epochs=2, shuffle=False, validation_data=parts[1], verbose=0, **how)
    seen = m.predict_generator(settings.flow(x, batch_size=3, shuffle=False), **how)
    want = pictures_model(data_format)
    same = want.fit(x[2:] / 255, Y[2:], batch_size=2, epochs=2, shuffle=False, verbose=0,
                    validation_data=(x[:2] / 255, Y[:2]))
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(got.history[name], same.history[name], rtol=1e-5)
    np.testing.assert_allclose(seen, want.predict(x / 255), rtol=1e-5)


@pytest.mark.parametrize("how", [{}, {"workers": 2, "use_multiprocessing": True}], ids=["thread", "processes"])
def test_models_train_on_changed_pictures(how, folder):
    settings = image.ImageDataGenerator(rotation_range=20, width_shift_range=.2, zoom_range=.2, horizontal_flip=True,
                                        brightness_range=(.8, 1.2), rescale=1 / 255.)
    it = settings.flow_from_directory(folder, (4, 3), classes=["a", "b"], class_mode="binary", batch_size=2, seed=1)
    m = pictures_model("channels_last")
    found = m.fit_generator(it, steps_per_epoch=3, epochs=2, verbose=0, **how)
    assert np.isfinite(found.history["loss"]).all() and np.isfinite(m.evaluate_generator(it, **how))
