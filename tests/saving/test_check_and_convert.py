"""`graphk check` and `graphk convert`, and archives that are not what they should be."""
import json
import struct
import zipfile

import h5py
import numpy as np
import pytest

from graphk import layers as L
from graphk.__main__ import main
from graphk.frontend.saving import archives
from graphk.frontend.saving.errors import GraphkFormatError
from graphk.models import Model, Sequential, load_model

X, Y = np.random.RandomState(0).rand(8, 4), np.random.RandomState(1).rand(8, 2)


def classifier():
    model = Sequential([L.Dense(3, activation="relu", input_shape=(4,)), L.Dense(2)])
    model.compile("adam", "mse")
    model.train_on_batch(X, Y)
    return model


def test_check_says_what_a_file_holds(tmp_path, capsys):
    model = classifier()
    for name in ("m.h5", "m.keras", "w.weights.h5"):
        (model.save_weights if "weights" in name else model.save)(str(tmp_path / name))
        assert main(["check", str(tmp_path / name)]) == 0
        said = capsys.readouterr().out
        assert "graphk reads this file" in said and ("weights only" if "weights" in name else "Adam, loss mse") in said
    (tmp_path / "m.json").write_text(model.to_json())
    assert main(["check", str(tmp_path / "m.json")]) == 0
    assert main(["check", str(tmp_path / "none.h5")]) == 1
    assert "no such file" in capsys.readouterr().out


def test_weights_in_keras_3s_folders_are_shown(tmp_path, capsys):
    classifier().save(str(tmp_path / "m.keras"))
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        archive.extract("model.weights.h5", tmp_path)
    assert main(["summary", str(tmp_path / "model.weights.h5")]) == 0
    said = capsys.readouterr().out
    assert "weights only, of Keras 3" in said and "layers/dense" in said and "vars/0" in said and "(4, 3)" in said


@pytest.mark.parametrize("name", ["w.h5", "w.safetensors"])
def test_weights_alone_are_shown_and_need_a_model_for_more(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = classifier()
    model.save("m.h5")
    (tmp_path / "m.json").write_text(model.to_json())
    if name.endswith(".safetensors"):
        pytest.importorskip("safetensors")
        assert main(["convert", "m.h5", name]) == 0
    else:
        model.save_weights(name)
    assert main(["summary", name]) == 0
    said = capsys.readouterr().out
    assert f"{name}: weights only" in said and "(4, 3)" in said and "32" in said and "dense_1" in said
    assert main(["check", name]) == 0
    for command in (["cost", name], ["convert", name, "out.h5"]):
        assert main(command) in (1, 2)
        said = capsys.readouterr().err
        assert said.count(f"{name}:") == 1 and f"MODEL.json --weights {name}" in said
    assert main(["convert", "m.json", "again.h5", "--weights", name]) == 0
    assert np.array_equal(load_model("again.h5", compile=False).predict(X), model.predict(X))


@pytest.mark.parametrize("command", [["summary"], ["cost"], ["convert"], ["check"], ["export", "-o", "out"]])
@pytest.mark.parametrize("name, wrong", [("none.h5", "no such file"), ("", "folder"), ("x.txt", "not an HDF5 file"),
                                         ("cut.h5", "cannot be opened as HDF5")])
def test_files_that_are_no_models_are_named_once(command, name, wrong, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("hello")
    classifier().save("whole.h5")
    (tmp_path / "cut.h5").write_bytes((tmp_path / "whole.h5").read_bytes()[:3000])
    path = name or str(tmp_path)
    assert main([command[0], path, *command[1:], *(["out.h5"] if command == ["convert"] else [])]) in (1, 2)
    said = "".join(capsys.readouterr())
    assert said.count(path) == 1 and wrong in said and "Traceback" not in said


def test_check_lists_all_that_is_wrong(tmp_path, capsys):
    path = str(tmp_path / "m.h5")
    classifier().save(path)
    with h5py.File(path, "a") as f:
        config = json.loads(f.attrs["model_config"])
        first, second = (x["config"] for x in config["config"]["layers"])
        first["activation"], second["kernel_initializer"]["class_name"] = "rellu", "Mine"
        config["config"]["layers"] += [{"class_name": "Densse", "config": {"name": "third"}},
                                       {"class_name": "Conv2D", "config": {"name": "c", "filters": 2, "kernel_size": 3,
                                                                           "groups": 2}}]
        f.attrs["model_config"] = json.dumps(config)
        f.attrs["training_config"] = f.attrs["training_config"].replace('"mse"', '"my_loss"')
        group = f["model_weights/dense_1/dense_1"]
        del group["kernel:0"]
        group["kernel:0"] = h5py.SoftLink("/elsewhere")
    assert main(["check", path]) == 1
    said = capsys.readouterr().out
    for part in ("Did you mean `relu`", "Unknown initializer: Mine", "Unknown layer: Densse", "Did you mean `Dense`",
                 "groups=2", "my_loss", "SoftLink", "'rellu': rellu", "'Densse': Densse", "'my_loss': my_loss"):
        assert part in said, part


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_convert(tmp_path, ending):
    model = classifier()
    paths = [str(tmp_path / n) for n in ("m." + ending, "n.keras", "o.h5", "p.json", "q.weights.h5")]
    model.save(paths[0])
    for out in paths[1:]:
        assert main(["convert", paths[0], out]) == 0
    assert main(["convert", paths[3], str(tmp_path / "r.h5"), "--weights", paths[4]]) == 0
    for path in (*paths[:3], str(tmp_path / "r.h5")):
        again = load_model(path, compile=False)
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
    for path in paths[:3]:
        assert load_model(path).train_on_batch(X, Y) == pytest.approx(model.evaluate(X, Y, verbose=0), rel=1e-5)


@pytest.mark.filterwarnings("ignore:No training configuration")
def test_safetensors(tmp_path, capsys):
    pytest.importorskip("safetensors")
    model = classifier()
    paths = [str(tmp_path / n) for n in ("m.h5", "m.json", "w.safetensors", "n.h5")]
    model.save(paths[0])
    assert main(["convert", paths[0], paths[1]]) == 0 == main(["convert", paths[0], paths[2]])
    assert main(["convert", paths[1], paths[3], "--weights", paths[2]]) == 0
    np.testing.assert_array_equal(load_model(paths[3], compile=False).predict(X), model.predict(X))
    Sequential([L.Dense(3, input_shape=(4,), name="dense_1"), L.Dense(5, name="other")]).save(paths[0])
    assert main(["convert", paths[0], paths[3], "--weights", paths[2]]) == 1
    said = capsys.readouterr().err
    assert "the model has no weight dense_2/dense_2/kernel:0" in said and "it has no weight other/other/bias:0" in said
    for name, damage, says in (("cut", lambda d: d[:len(d) // 2], "not a safetensors file"),
                               ("bomb", lambda d: d[:8] + d[8:].replace(b"[4,3]", b"[9,9]"), "not a safetensors file")):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(damage((tmp_path / "w.safetensors").read_bytes()))
        assert main(["convert", paths[1], paths[3], "--weights", str(path)]) == 1
        assert says in capsys.readouterr().err
    assert main(["convert", paths[1], paths[3], "--weights", str(tmp_path / "none.safetensors")]) == 1


def test_convert_says_why_not(tmp_path, capsys):
    path = str(tmp_path / "m.h5")
    classifier().save(path)
    assert main(["convert", path, str(tmp_path / "m.xyz")]) == 1
    assert "the format `.xyz` is not known" in capsys.readouterr().err
    for layer, way in ((L.LocallyConnected1D(2, 2, input_shape=(4, 1)), "save the model as HDF5 (.h5), which Keras 2"),
                       (L.CuDNNLSTM(2, input_shape=(4, 1)), "LSTM(…, recurrent_activation='sigmoid')"),
                       (L.CuDNNGRU(2, input_shape=(4, 1)), "reset_after=True) takes its weights"),
                       (L.ThresholdedReLU(.5, input_shape=(4, 1)), "save the model as HDF5")):
        model = Sequential([layer])
        model.compile("sgd", "mse")
        model.save(path)
        assert main(["convert", path, str(tmp_path / "m.keras")]) == 1
        said = capsys.readouterr().err
        assert f"layer `{layer.name}` ({type(layer).__name__}): Keras 3 has no such layer" in said and way in said


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamax"])
def test_archives_go_on_bit_for_bit(tmp_path, optimizer):
    x = L.Input((4,))
    inner = Sequential([L.Dense(3, input_shape=(4,)), L.BatchNormalization()])
    model = Model(x, L.Dense(2)(L.add([inner(x), inner(L.Dense(4)(x))])))
    model.compile(optimizer, "mse")
    for _ in range(2):
        model.train_on_batch(X, Y)
    model.save(str(tmp_path / "m.keras"))
    again = load_model(tmp_path / "m.keras")
    for _ in range(2):
        assert model.train_on_batch(X, Y) == again.train_on_batch(X, Y)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights()))


# ------------------------------------------------------------------ hostile archives
def remade(path, out, **members):
    """The archive with some members replaced, left out (None) or added."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            if members.get(info.filename, b"") is not None:
                new.writestr(info.filename, members.pop(info.filename, None) or old.read(info))
        for name, data in members.items():
            if data is not None:
                new.writestr(name, data)
    return out


@pytest.mark.parametrize("members, says", [
    ({"config.json": None}, "no config.json"), ({"model.weights.h5": None}, "no model.weights.h5"),
    ({"config.json": b"{"}, "not JSON"), ({"config.json": b"[1]"}, "expected a JSON object"),
    ({"model.weights.h5": b"nothing"}, "opened as HDF5"),
    ({"config.json": b'{"module": "os", "class_name": "system", "config": {"command": "true"}}'}, "Unknown layer"),
])
def test_hostile_members(tmp_path, members, says):
    classifier().save(str(tmp_path / "m.keras"))
    with pytest.raises(GraphkFormatError, match=says):
        load_model(remade(tmp_path / "m.keras", tmp_path / "n.keras", **members))


def test_a_bomb_is_not_unpacked(tmp_path):
    classifier().save(str(tmp_path / "m.keras"))
    with zipfile.ZipFile(tmp_path / "m.keras") as old, \
            zipfile.ZipFile(tmp_path / "b.keras", "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("config.json", b" " * (64 << 20) + old.read("config.json"))
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
    with pytest.raises(GraphkFormatError, match="are refused"):
        load_model(tmp_path / "b.keras")


def test_other_paths_in_an_archive_are_never_written(tmp_path):
    classifier().save(str(tmp_path / "m.keras"))
    load_model(remade(tmp_path / "m.keras", tmp_path / "n.keras", **{"../../escaped": b"x", "/tmp/escaped": b"x"}))
    assert not (tmp_path.parent / "escaped").exists()


def test_archives_cut_off(tmp_path):
    classifier().save(str(tmp_path / "m.keras"))
    data = (tmp_path / "m.keras").read_bytes()
    for size in (4, 100, len(data) // 2, len(data) - 10):
        (tmp_path / "n.keras").write_bytes(data[:size])
        with pytest.raises(GraphkFormatError):
            load_model(tmp_path / "n.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as z:
        start = z.getinfo("model.weights.h5").header_offset
    bent = bytearray(data)
    struct.pack_into("<H", bent, start + 26, 60000)            # a name as long as the archive
    (tmp_path / "n.keras").write_bytes(bent)
    with pytest.raises(GraphkFormatError):
        load_model(tmp_path / "n.keras")


def test_archives_are_told_by_their_bytes(tmp_path):
    path = tmp_path / "m.keras"
    classifier().save(path)
    path.rename(tmp_path / "m.h5")
    assert archives.is_archive(tmp_path / "m.h5")
    with open(tmp_path / "m.h5", "rb") as f:
        assert load_model(f).output_shape == (None, 2)
