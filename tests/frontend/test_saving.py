"""Models in HDF5 files: what is written is read back, and what cannot be is refused with nothing changed."""
import io
import json
import os
import re
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.engine.saving import GraphkFormatError, preprocess_weights_for_loading
from graphk.frontend.utils.generic_utils import to_list
from graphk.models import Model, Sequential, load_model, model_from_json, model_from_yaml, save_model

from tests.frontend.layers import CASES, fill, inputs, make, shapes

RNG = np.random.RandomState(0)
X, Y = RNG.rand(32, 4), RNG.rand(32, 2)


def classifier(optimizer="adam", steps=1):
    model = Sequential([L.Dense(8, activation="relu", input_shape=(4,)), L.BatchNormalization(), L.Dense(2)])
    model.compile(optimizer, "mse", metrics=["mae"])
    for _ in range(steps):
        model.train_on_batch(X, Y)
    return model


def state(model):
    return [*model.get_weights(), *(model.optimizer.get_weights() if getattr(model, "optimizer", None) else [])]


def same(a, b):
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b))


# ------------------------------------------------------------------ round trips
def test_nadam_goes_on(tmp_path):
    model = classifier("nadam", 3)                     # Keras does not store its schedule, which follows from the steps
    model.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    for _ in range(3):
        np.testing.assert_allclose(model.train_on_batch(X, Y), again.train_on_batch(X, Y), rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamax"])
def test_training_goes_on_bit_for_bit(tmp_path, optimizer):
    model = classifier(optimizer, 3)
    model.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    assert same(state(model), state(again))
    for _ in range(3):
        assert model.train_on_batch(X, Y) == again.train_on_batch(X, Y)
    assert same(state(model), state(again))


@pytest.mark.parametrize("case", list(CASES))
def test_every_layer_is_read_back(tmp_path, case, monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")
    x = [L.Input(s) for s in shapes(case)]
    model = Model(x, make(L, case)(x if len(x) > 1 else x[0]))
    fill(model.layers[-1])
    model.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5", compile=False)
    assert again.to_json() == model.to_json()
    assert same(model.get_weights(), again.get_weights())
    data = inputs(case, 2, "float32")
    for a, b in zip(to_list(model.predict_on_batch(data)), to_list(again.predict_on_batch(data))):
        np.testing.assert_array_equal(a, b)


def test_a_file_holds_what_keras_writes(tmp_path):
    model = classifier()
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as f:
        assert set(f.attrs) == {"keras_version", "backend", "model_config", "training_config"}
        assert list(f) == ["model_weights", "optimizer_weights"]
        group = f["model_weights"]
        assert [n.decode() for n in group.attrs["layer_names"]] == [layer.name for layer in model.layers]
        first = model.layers[0].name
        assert [n.decode() for n in group[first].attrs["weight_names"]] == [f"{first}/kernel:0", f"{first}/bias:0"]
        assert group[first][f"{first}/kernel:0"].shape == (4, 8)
        training = json.loads(f.attrs["training_config"])
        assert training["loss"] == "mse" and training["optimizer_config"]["class_name"] == "Adam"


@pytest.mark.parametrize("target", ["path", "bytes", "file", "group", "memory"])
def test_places_to_write(tmp_path, target):
    model = classifier()
    if target == "group":
        with h5py.File(tmp_path / "m.h5", "w") as f:
            model.save(f.create_group("inner"))
            assert same(state(load_model(f["inner"])), state(model))
    elif target == "memory":
        memory = io.BytesIO()
        model.save(memory)
        assert same(state(load_model(memory)), state(model))
    elif target == "file":
        with open(tmp_path / "m.h5", "wb") as f:
            model.save(f)
        with open(tmp_path / "m.h5", "rb") as f:
            assert same(state(load_model(f)), state(model))
    else:
        path = str(tmp_path / "m.h5") if target == "path" else tmp_path / "m.h5"
        model.save(path)
        assert same(state(load_model(path)), state(model))


def test_nested_models_and_frozen_layers(tmp_path):
    inner = Sequential([L.Dense(3, input_shape=(4,)), L.BatchNormalization()])
    x = L.Input((5, 4))
    model = Model(x, L.Bidirectional(L.LSTM(2))(L.TimeDistributed(inner)(x)))
    inner.layers[0].trainable = False
    for w in model.weights:
        K.set_value(w, RNG.rand(*K.int_shape(w)))
    model.save(tmp_path / "m.h5")
    data = RNG.rand(2, 5, 4)
    np.testing.assert_array_equal(load_model(tmp_path / "m.h5", compile=False).predict(data), model.predict(data))


def test_custom_objects_are_passed_by_name(tmp_path):
    def doubled(x):
        return 2 * x

    def far(y, p):
        return K.mean(K.square(y - p) * 3, axis=-1)

    class Twice(L.Layer):
        def call(self, x):
            return x * 2

    model = Sequential([L.Dense(2, activation=doubled, input_shape=(4,)), Twice()])
    model.compile("sgd", far, metrics=[far])
    model.save(tmp_path / "m.h5")
    objects = {"doubled": doubled, "far": far, "Twice": Twice}
    again = load_model(tmp_path / "m.h5", custom_objects=objects)
    assert again.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    with pytest.raises(GraphkFormatError, match="Twice|doubled"):
        load_model(tmp_path / "m.h5")


LAMBDAS = """
import sys, numpy as np
from graphk.layers import Lambda
from graphk.models import Sequential, load_model
def double(x):
    return 2 * x
if sys.argv[1] == "write":
    model = Sequential([Lambda(double, input_shape=(2,), name="first"), Lambda(lambda x: x + 1, name="second")])
    model.save(sys.argv[2])
else:
    for objects in ({}, {"double": double}, {"second": lambda x: x + 3}):
        try:
            load_model(sys.argv[2], objects, compile=False)
        except ValueError as e:
            print(e)
    model = load_model(sys.argv[2], {"double": double, "second": lambda x: x + 3}, compile=False)
    print(model.predict(np.ones((1, 2))).tolist())
"""


def test_lambda_layers_need_their_functions_in_another_process(tmp_path):
    (tmp_path / "script.py").write_text(LAMBDAS)
    run = [sys.executable, "-W", "ignore", str(tmp_path / "script.py")]
    subprocess.run([*run, "write", str(tmp_path / "m.h5")], check=True)
    said = subprocess.run([*run, "read", str(tmp_path / "m.h5")], check=True, capture_output=True, text=True).stdout
    assert [line for line in said.splitlines() if "[[" in line] == ["[[5.0, 5.0]]"]
    assert "(double)" in said and re.search(r"custom_objects={'first': \w+, 'second': \w+}", said)


def test_lambda_layers_of_this_process_are_found(tmp_path):
    model = Sequential([L.Lambda(lambda x: x + 1, input_shape=(4,)), L.Lambda(lambda x: x * 3)])
    model.save(tmp_path / "m.h5")
    want = model.predict(X)
    del model
    np.testing.assert_array_equal(load_model(tmp_path / "m.h5", compile=False).predict(X), want)


# ------------------------------------------------------------------ weights
def test_weights_by_name(tmp_path):
    model = classifier()
    model.save_weights(tmp_path / "w.h5")
    dense = model.layers[0]
    other = Sequential([L.Dense(8, name=dense.name, input_shape=(4,)), L.Dense(5, name="other")])
    before = other.layers[1].get_weights()
    other.load_weights(tmp_path / "w.h5", by_name=True)
    assert same(other.layers[0].get_weights(), dense.get_weights()) and same(other.layers[1].get_weights(), before)

    wide = Sequential([L.Dense(9, name=dense.name, input_shape=(4,)), L.Dense(2, name=model.layers[2].name)])
    kept = wide.get_weights()
    with pytest.raises(ValueError, match="has shape"):
        wide.load_weights(tmp_path / "w.h5", by_name=True)
    assert same(wide.get_weights(), kept)
    with pytest.warns(UserWarning, match="Skipping loading of weights"):
        wide.load_weights(tmp_path / "w.h5", by_name=True, skip_mismatch=True)
    assert same(wide.layers[0].get_weights(), kept[:2])
    with pytest.raises(ValueError, match="skip_mismatch"):
        wide.load_weights(tmp_path / "w.h5", skip_mismatch=True)


def test_an_error_lists_all_that_does_not_fit(tmp_path):
    model = classifier()
    model.save_weights(tmp_path / "w.h5")
    other = Sequential([L.Dense(9, input_shape=(4,)), L.BatchNormalization(), L.Dense(3)])
    kept = other.get_weights()
    with pytest.raises(GraphkFormatError) as e:
        other.load_weights(tmp_path / "w.h5")
    assert all(layer.name in str(e.value) for layer in other.layers) and str(tmp_path / "w.h5") in str(e.value)
    assert same(other.get_weights(), kept)
    with pytest.raises(ValueError, match="containing 3 layers into a model with 1 layers"):
        Sequential([L.Dense(9, input_shape=(4,))]).load_weights(tmp_path / "w.h5")


def test_long_lists_of_names_are_split(tmp_path):
    from graphk.engine.saving import load_attributes_from_hdf5_group, save_attributes_to_hdf5_group
    names = [f"layer_{i}" + "x" * 200 for i in range(1000)]
    with h5py.File(tmp_path / "a.h5", "w") as f:
        save_attributes_to_hdf5_group(f, "layer_names", names)
        assert "layer_names" not in f.attrs and "layer_names0" in f.attrs
        assert load_attributes_from_hdf5_group(f, "layer_names") == names
        with pytest.raises(RuntimeError, match="larger than 64512 bytes"):
            save_attributes_to_hdf5_group(f, "other", ["y" * 70000])


# ------------------------------------------------------------------ other versions and back ends
def test_cudnn_weights_convert_both_ways():
    x = RNG.rand(3, 6, 4)
    for plain, fast in ((L.LSTM(5, recurrent_activation="sigmoid"), L.CuDNNLSTM(5)),
                        (L.GRU(5, recurrent_activation="sigmoid", reset_after=True), L.CuDNNGRU(5))):
        a, b = Sequential([L.InputLayer((6, 4)), plain]), Sequential([L.InputLayer((6, 4)), fast])
        for w in b.weights:
            K.set_value(w, RNG.randn(*K.int_shape(w)))
        plain.set_weights(preprocess_weights_for_loading(plain, fast.get_weights()))
        np.testing.assert_allclose(a.predict(x), b.predict(x), atol=1e-5)
        fast.set_weights(preprocess_weights_for_loading(fast, plain.get_weights()))
        np.testing.assert_allclose(a.predict(x), b.predict(x), atol=1e-5)


def test_keras_1_gates_are_gathered():
    x = RNG.rand(2, 6, 4)
    for layer, order in ((L.LSTM(3), "icfo"), (L.GRU(3), "zrh")):
        model = Sequential([L.InputLayer((6, 4)), layer])
        for w in model.weights:
            K.set_value(w, RNG.randn(*K.int_shape(w)))
        want = model.predict(x)
        ours = {"LSTM": "ifco", "GRU": "zrh"}[type(layer).__name__]
        old = [a[..., 3 * ours.index(g):3 * ours.index(g) + 3] for g in order for a in layer.get_weights()]
        back = preprocess_weights_for_loading(layer, old, "1.2.2", "tensorflow")
        assert same(back, layer.get_weights())
        layer.set_weights(back)
        np.testing.assert_array_equal(model.predict(x), want)


@pytest.mark.parametrize("layer, kernel, axes", [
    (lambda: L.Conv2D(5, (2, 3), data_format="channels_first"), (5, 4, 2, 3), (2, 3, 1, 0)),
    (lambda: L.Conv3D(5, (2, 3, 1), data_format="channels_first"), (5, 4, 2, 3, 1), (2, 3, 4, 1, 0)),
    (lambda: L.Conv2D(5, (2, 3)), (2, 3, 4, 5), (0, 1, 2, 3)),
])
def test_keras_1_kernels_are_transposed(layer, kernel, axes):
    layer = layer()
    rank = len(kernel) - 2
    sizes = (4, *[7] * rank) if layer.data_format == "channels_first" else (*[7] * rank, 4)
    layer(L.Input(sizes))
    old = [RNG.rand(*kernel), np.zeros(5)]
    new = preprocess_weights_for_loading(layer, old, "1", "tensorflow")
    np.testing.assert_array_equal(new[0], old[0].transpose(axes))
    flipped = preprocess_weights_for_loading(layer, old, "1", "theano")
    np.testing.assert_array_equal(flipped[0], np.flip(new[0], tuple(range(rank))))


# ------------------------------------------------------------------ files that are not whole, or something else
def test_an_h5dict_is_what_it_opens(tmp_path):
    from graphk.utils.io_utils import h5dict
    model = classifier()
    with h5dict(str(tmp_path / "m.h5"), mode="w") as d:
        model.save(d)
    with h5dict(str(tmp_path / "m.h5"), mode="r") as d:
        assert same(state(load_model(d)), state(model))
    with pytest.raises(TypeError, match="expected a path, an h5py file"):
        model.save({})


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.h5"
    model = classifier()
    model.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(h5py.Group, "create_dataset", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        model.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["m.h5"]


def test_what_cannot_be_written_makes_no_file(tmp_path):
    class Odd(L.Layer):
        def get_config(self):
            return {**super().get_config(), "odd": object()}
    model = Sequential([L.Dense(2, input_shape=(4,)), Odd()])
    with pytest.raises(TypeError, match="Serializable"):
        model.save(tmp_path / "m.h5")
    assert not os.listdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        classifier().save(tmp_path / "nowhere" / "m.h5")


def test_overwriting_asks(tmp_path, monkeypatch):
    path = tmp_path / "m.h5"
    classifier().save(path)
    before = path.read_bytes()
    answers = iter(["what", "n"])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    classifier().save(path, overwrite=False)
    assert path.read_bytes() == before
    monkeypatch.setattr("builtins.input", lambda _: "y")
    classifier("sgd").save(path, overwrite=False)
    assert path.read_bytes() != before


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(OSError, match="no such file"):
        load_model(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(GraphkFormatError, match="not an HDF5 file"):
        load_model(tmp_path / "text.h5")
    with pytest.raises(GraphkFormatError, match="a folder"):
        load_model(tmp_path)
    classifier().save_weights(tmp_path / "w.h5")
    with pytest.raises(ValueError, match="No model found in config file: it holds weights only"):
        load_model(tmp_path / "w.h5")
    with pytest.raises(TypeError, match="expected a path"):
        load_model(3)


def edited(tmp_path, edit):
    path = tmp_path / "m.h5"
    classifier().save(path)
    with h5py.File(path, "a") as f:
        edit(f)
    return path


def first_kernel(f):
    layer = f["model_weights"].attrs["layer_names"][0].decode()
    return f["model_weights"][layer], f"{layer}/kernel:0"


def soft(f):
    group, name = first_kernel(f)
    del group[name]
    group[name] = h5py.SoftLink("/optimizer_weights")


def external(f):
    group, name = first_kernel(f)
    del group[name]
    group[name] = h5py.ExternalLink("other.h5", "/x")


def bomb(f):
    group, name = first_kernel(f)
    del group[name]
    group.create_dataset(name, (2**20, 2**20, 8), "float32", chunks=(64, 64, 8), compression="gzip")


def outside(f):
    group, name = first_kernel(f)
    del group[name]
    group.create_dataset(name, (4, 8), "float32", external=[("/etc/passwd", 0, 128)])


def virtual(f):
    group, name = first_kernel(f)
    del group[name]
    layout = h5py.VirtualLayout((4, 8), "float32")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4, 8))
    group.create_virtual_dataset(name, layout)


def texts(f):
    group, name = first_kernel(f)
    del group[name]
    group.create_dataset(name, data=np.array([["a"] * 8] * 4, dtype=object), dtype=h5py.string_dtype())


@pytest.mark.parametrize("edit, says", [
    (soft, "SoftLink"), (external, "ExternalLink"), (bomb, "declares the shape"), (outside, "other files"),
    (virtual, "other files"), (texts, "expected numbers"),
    (lambda f: f.attrs.__setitem__("model_config", b"{not json"), "not JSON"),
    (lambda f: f.attrs.__setitem__("model_config", b"\xff\xfe"), "read as text"),
    (lambda f: f.attrs.__setitem__("model_config", 3), "expected text"),
    (lambda f: f.attrs.__setitem__("model_config", b'{"class_name": "os.system", "config": {}}'), "Unknown layer"),
    (lambda f: f.attrs.__setitem__("model_config", b"[" * 100000), "not JSON"),
    (lambda f: f["model_weights"].attrs.__delitem__("layer_names"), "layer_names"),
    (lambda f: f["model_weights"].attrs.__setitem__("layer_names", np.array([b"nothing"])), "nothing"),
    (lambda f: f.__delitem__("model_weights"), "model_weights"),
    (lambda f: f.attrs.__setitem__("model_config", f.attrs["model_config"].replace('ts": 8', 'ts": 8000000000')),
     "cannot be made|has shape"),
])
def test_hostile_files_are_refused(tmp_path, edit, says):
    path = edited(tmp_path, edit)
    with pytest.raises(GraphkFormatError, match=says) as e:
        load_model(path)
    assert str(path) in str(e.value)


def test_a_heap_that_the_library_would_walk_for_ever_is_refused(tmp_path):
    path = tmp_path / "m.h5"
    classifier().save(path)
    data = bytearray(path.read_bytes())
    first = data.index(b"GCOL") + 16
    data[first:first + 16] = bytes(16)                 # a free object of size 0
    path.write_bytes(data)
    for source in (path, io.BytesIO(data)):
        with pytest.raises(GraphkFormatError, match="is not in its heap"):
            load_model(source)


def test_an_optimizer_state_that_does_not_fit_starts_fresh(tmp_path):
    def shorter(f):
        group = f["optimizer_weights"]
        group.attrs["weight_names"] = group.attrs["weight_names"][:-1]
    path = edited(tmp_path, shorter)
    with pytest.warns(UserWarning, match="freshly initialized optimizer"):
        model = load_model(path)
    assert K.get_value(model.optimizer.iterations) == 0


def test_no_training_configuration(tmp_path):
    model = Sequential([L.Dense(2, input_shape=(4,))])
    model.save(tmp_path / "m.h5")
    with pytest.warns(UserWarning, match="not.* compiled"):
        load_model(tmp_path / "m.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_model(tmp_path / "m.h5", compile=False)
    classifier().save(tmp_path / "m.h5", include_optimizer=False)
    with h5py.File(tmp_path / "m.h5") as f:
        assert "training_config" not in f.attrs and list(f) == ["model_weights"]


# ------------------------------------------------------------------ text
def test_text_forms(tmp_path):
    model = classifier()
    for read, text in ((model_from_json, model.to_json()), (model_from_yaml, model.to_yaml())):
        assert read(text).get_config() == model.get_config()
        for bad in ("{", "", "3", "[1, 2", "a: b: c"):
            with pytest.raises((ValueError, TypeError)):
                read(bad)
    with pytest.raises(GraphkFormatError, match="python/object"):
        model_from_yaml("!!python/object/apply:os.system ['true']")
    laughs = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghijklmnopqrstuvw",
                                                                               "bcdefghijklmnopqrstuvwx"))
    with pytest.raises(GraphkFormatError, match="stands for more than"):
        model_from_yaml(laughs)
    with pytest.raises(GraphkFormatError, match="holds it"):
        model_from_yaml("a: &a [*a]")


def test_save_model_is_the_method(tmp_path):
    model = classifier()
    save_model(model, tmp_path / "m.h5")
    assert same(state(load_model(tmp_path / "m.h5")), state(model))


class Mixed:
    """A loss that has arguments, and thus a config."""

    def __init__(self, share):
        self.share = share

    def __call__(self, y_true, y_pred):
        return self.share * K.mean(K.square(y_true - y_pred), -1)

    def get_config(self):
        return {"share": self.share}


@pytest.mark.parametrize("loss", [Mixed(.3), {"last": Mixed(.3)}, [Mixed(.3)]])
def test_a_loss_with_a_config(tmp_path, loss):
    model = Sequential([L.Dense(2, input_shape=(4,), name="last")])
    model.compile("sgd", loss)
    model.save(tmp_path / "model.h5")
    again = load_model(tmp_path / "model.h5", custom_objects={"Mixed": Mixed})
    assert [fn.share for fn in again.loss_functions] == [.3]
    assert again.evaluate(X, Y, verbose=0) == pytest.approx(model.evaluate(X, Y, verbose=0))
    with pytest.raises(ValueError, match="Unknown loss or metric: Mixed"):
        load_model(tmp_path / "model.h5")
